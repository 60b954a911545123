"""What processors met and did, as it was rendered: spectra and gain reduction; nothing is drawn here.

An analysis measures them while it renders the match and keeps them in `traces.json` beside it, so that the
report can be written again without the stems.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..features import SILENCE_DB, band_powers, power_to_db
from ..files import write_text_whole
from ..graph import MixGraph, Processor
from ..processors.equations import db_to_gain, gain_to_db
from ..processors.reference import Audio

#: Spectra: power in sixths of an octave from 20 Hz to 20 kHz, the edges of the bands (Hz).
SPECTRUM_EDGES_HZ = tuple(float(f) for f in 20.0 * 2.0 ** (np.arange(61) / 6.0))

#: Moments at which a gain reduction is kept, at most.
REDUCTION_STEPS = 400

#: Processors whose gain moves with the signal.
DYNAMICS = ("compressor", "gate", "limiter")

# Gain is looked at in windows of this length; what lies below the floor says nothing about it.
_WINDOW_S = 0.01
_QUIET_DB = -70.0

_DIGITS = 2
_FORMAT_VERSION = 1

#: A file larger than this is not ours.
_MAX_BYTES = 64 * 1024 * 1024


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NodeTrace(_Model):
    """What one processor met and did.

    Attributes
    ----------
    spectrum_db : tuple of float
        Of its input: level in each band of `SPECTRUM_EDGES_HZ` (dB, mean of both channels' powers);
        empty for others than equalizers.
    reduction_db : tuple of float
        Of dynamics: the gain they took away (0 or below), its deepest in each of at most
        `REDUCTION_STEPS` equal stretches of the song; empty for others.
    """

    spectrum_db: tuple[float, ...] = ()
    reduction_db: tuple[float, ...] = ()


class Traces(_Model):
    """The traces of a graph's processors.

    Attributes
    ----------
    graph : str
        `fingerprint` of the graph they were measured of.
    nodes : dict of str to NodeTrace
        By id of the processor.
    """

    version: Annotated[int, Field(ge=_FORMAT_VERSION, le=_FORMAT_VERSION)] = _FORMAT_VERSION
    graph: str = ""
    nodes: dict[str, NodeTrace] = Field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all (`OutputError` where that fails)."""
        write_text_whole(path, self.model_dump_json(exclude_defaults=True) + "\n")

    @classmethod
    def of(cls, path: Path, graph: MixGraph) -> Self:
        """The traces in a file; none where there is no such file, or it belongs to another graph."""
        try:
            found = cls.model_validate_json(path.read_bytes()) if path.stat().st_size <= _MAX_BYTES else cls()
        except (OSError, ValidationError):
            return cls()
        return found if found.graph == fingerprint(graph) else cls()


def fingerprint(graph: MixGraph) -> str:
    """Changes with everything that is heard: nodes, connections, rate and length, not where they come from."""
    heard = graph.model_dump(mode="json", include={"sample_rate_hz", "start_frame", "frames", "nodes", "edges"})
    for item in (*heard["nodes"], *heard["edges"]):
        item.pop("evidence", None)
    return hashlib.sha256(json.dumps(heard, sort_keys=True).encode("utf-8")).hexdigest()


class TraceMeter:
    """Measures processors as they are rendered; `observe` is for `render.render_graph`'s `on_node`."""

    def __init__(self, *, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._nodes: dict[str, NodeTrace] = {}

    def observe(self, node: Processor, source: Audio, output: Audio) -> None:
        """Take note of one processor's input and output, shape (2, n)."""
        if not source.shape[-1]:
            return
        if node.type == "eq":
            self._nodes[node.id] = NodeTrace(spectrum_db=spectrum_db(source, sample_rate_hz=self._rate_hz))
        elif node.type in DYNAMICS:
            found = reduction_db(node, source, output, sample_rate_hz=self._rate_hz)
            self._nodes[node.id] = NodeTrace(reduction_db=found)

    def traces(self, graph: MixGraph) -> Traces:
        """What was measured of `graph`."""
        return Traces(graph=fingerprint(graph), nodes=dict(self._nodes))


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(v), _DIGITS) + 0.0 for v in values)


def spectrum_db(audio: Audio, *, sample_rate_hz: int) -> tuple[float, ...]:
    """Level in each band of `SPECTRUM_EDGES_HZ` (dB), mean of both channels' powers and of the whole signal.

    Parameters
    ----------
    audio : array, shape=(2, n), n >= 1
    """
    powers = band_powers(audio, SPECTRUM_EDGES_HZ, sample_rate_hz=sample_rate_hz).mean(axis=0)
    return _rounded(power_to_db(float(p)) for p in powers)


def idle_gain_db(node: Processor) -> float:
    """Gain of a dynamics processor that leaves a signal alone: make-up or input gain, with the dry share."""
    gain_db = node.parameters.get("makeup_db", 0.0) if node.type != "limiter" else node.parameters["gain_db"]
    return gain_to_db(node.mix * float(db_to_gain(gain_db)) + 1.0 - node.mix)


def reduction_db(node: Processor, source: Audio, output: Audio, *, sample_rate_hz: int) -> tuple[float, ...]:
    """Gain that a dynamics processor takes away over time, as it shows in the sound.

    Output over input in windows of 10 ms, less the gain of a signal that is left alone; of each stretch the
    deepest. Windows below -70 dBFS count as left alone.

    Parameters
    ----------
    source, output : array, shape=(2, n), n >= 1

    Returns
    -------
    tuple of float
        At most `REDUCTION_STEPS` levels (dB), 0 or below.
    """
    window = max(round(_WINDOW_S * sample_rate_hz), 1)
    before, after = (_window_powers(audio, window) for audio in (source, output))
    heard = before > float(db_to_gain(_QUIET_DB)) ** 2
    gain_db = np.zeros(len(before))
    ratio = np.maximum(after[heard] / before[heard], float(db_to_gain(SILENCE_DB)) ** 2)
    gain_db[heard] = 10.0 * np.log10(ratio) - idle_gain_db(node)
    stretches = np.array_split(np.minimum(gain_db, 0.0), min(REDUCTION_STEPS, len(gain_db)))
    return _rounded(float(np.min(part)) for part in stretches)


def _window_powers(audio: Audio, window: int) -> npt.NDArray[np.float64]:
    """Mean power of both channels in windows; the last one may be shorter."""
    power = np.mean(np.square(audio, dtype=np.float64), axis=0)
    starts = np.arange(0, len(power), window)
    lengths = np.diff(np.append(starts, len(power)))
    return np.asarray(np.add.reduceat(power, starts) / lengths)
