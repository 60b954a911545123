"""What graphs are compared by: gains and curves of a stem's path, and how much each node does; nothing is compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import librosa
import numpy as np
import numpy.typing as npt
import scipy.signal

from .graph import MixGraph, Processor, volume_gains
from .processors.equations import channel_gains, db_to_gain, gain_and_pan
from .processors.laws import law_of
from .processors.reference import eq_sections
from .processors.specs import DELAY, DELAY_TAPS, GAIN_PAN, REVERB, SPECS
from .render import StemLoader, render_graph

Array = npt.NDArray[np.float64]

#: Curves are compared at this many points per octave.
_PER_OCTAVE = 12
_LOWEST_HZ, _HIGHEST_HZ = 20.0, 20000.0

#: Levels over time are compared at steps of this length (s).
STEP_S = 0.05

#: A stem counts where its level is within this of its loudest band or moment (dB).
HEARD_DB = 40.0

#: Window of the power spectra.
_WINDOW = 8192

_SILENT_DB = -300.0


def frequency_grid() -> Array:
    """Frequencies at which curves are compared (Hz), a twelfth of an octave apart."""
    octaves = math.log2(_HIGHEST_HZ / _LOWEST_HZ)
    return np.asarray(_LOWEST_HZ * 2.0 ** (np.arange(int(octaves * _PER_OCTAVE) + 1) / _PER_OCTAVE))


@dataclass(frozen=True)
class StemSound:
    """What a dry stem sounds like.

    Attributes
    ----------
    power : array, shape=(len(frequency_grid()),)
        Energy per twelfth of an octave, in any unit.
    steps : array, shape=(n,)
        Energy per step of `STEP_S` from the session's first frame, in any unit; empty where it is not known.
    """

    power: Array
    steps: Array

    @property
    def heard(self) -> npt.NDArray[np.bool_]:
        """Bands that are within `HEARD_DB` of the loudest."""
        return np.asarray(self.power > self.power.max() * 10.0 ** (-HEARD_DB / 10.0))

    @property
    def loudness_weights(self) -> Array:
        """A-weighted energy per band, sum 1."""
        weighted = self.power * 10.0 ** (librosa.A_weighting(frequency_grid()) / 10.0)
        return np.asarray(weighted / weighted.sum())


def pink_sound() -> StemSound:
    """The sound that is assumed where a stem cannot be heard: equal energy in every octave."""
    return StemSound(np.ones(len(frequency_grid())), np.zeros(0))


def stem_sound(audio: npt.ArrayLike, *, sample_rate_hz: float) -> StemSound:
    """Measure a stem.

    Parameters
    ----------
    audio : array, shape=(2, n)
        As it lies in the session; a silent stem is taken for `pink_sound`.
    sample_rate_hz : float
    """
    signal = np.asarray(audio, dtype=np.float64)
    if not signal.any():
        return pink_sound()
    frequency_hz, density = scipy.signal.welch(signal, sample_rate_hz, nperseg=min(_WINDOW, signal.shape[1]))
    grid = frequency_grid()
    # Narrow bands hold less than one bin: the density there is interpolated, not summed.
    density = np.interp(grid, frequency_hz, density.sum(axis=0), right=0.0)
    step = max(1, round(STEP_S * sample_rate_hz))
    energy = (signal**2).sum(axis=0)
    steps = np.add.reduceat(energy, np.arange(0, len(energy), step))
    return StemSound(density * grid, np.asarray(steps))


# -------------------------------------------------------------------- gains of a path


def path_nodes(graph: MixGraph, stem_id: str, *, before: str = "") -> list[Processor]:
    """Processors that a stem flows through, in order; only those in front of `before` if it is given."""
    nodes = [node for channel in graph.path(stem_id) for node in graph.chain(channel)]
    ids = [node.id for node in nodes]
    return nodes[: ids.index(before)] if before else nodes


def eq_response(node: Processor, *, sample_rate_hz: float) -> npt.NDArray[np.complex128]:
    """Complex response of an EQ at `frequency_grid`, its dry part included; 1 above half the rate."""
    grid = frequency_grid()
    sections = eq_sections(node.parameters, sample_rate_hz=sample_rate_hz, law=law_of(node.law, node.type))
    response = np.ones(len(grid), dtype=np.complex128)
    below = grid < sample_rate_hz / 2.0
    if len(sections):
        _, response[below] = scipy.signal.sosfreqz(sections, worN=grid[below], fs=sample_rate_hz)
    return np.asarray(node.mix * response + 1.0 - node.mix)


def direct_gains(nodes: Sequence[Processor], *, sample_rate_hz: float) -> Array:
    """Gain of a row of processors for the direct sound of a centred source.

    What is linear counts: faders, EQ, make-up and input gains, and the dry share of delay and
    reverb. What dynamics take away, echoes and tails do not, and width does not change a centred source.

    Returns
    -------
    array, shape=(2, len(frequency_grid()))
        Linear amplitude in the left and right channel.
    """
    response = np.ones((2, len(frequency_grid())), dtype=np.complex128)
    for node in nodes:
        if node.type == "eq":
            response *= eq_response(node, sample_rate_hz=sample_rate_hz)
        elif node.type == GAIN_PAN.type:
            response *= np.array(channel_gains(**node.parameters, mix=node.mix))[:, None]
        elif node.type in (DELAY.type, REVERB.type):
            response *= 1.0 - node.mix
        else:
            wet = float(db_to_gain(node.parameters.get(_GAIN_OF.get(node.type, ""), 0.0)))
            response *= node.mix * wet + 1.0 - node.mix
    return np.abs(response)


#: Parameter that is a plain gain, of types that have one.
_GAIN_OF = {"compressor": "makeup_db", "limiter": "gain_db"}


def fader_and_pan(gains: Array, weights: Array) -> tuple[float, float]:
    """One gain (dB) and pan (-1 to 1) for gains over frequency, shape (2, bands); `weights` sum to 1."""
    left, right = np.sqrt((gains**2 * weights).sum(axis=1))
    gain, pan = gain_and_pan(float(left), float(right))
    return _db(gain), pan


def gain_before_db(graph: MixGraph, node_id: str, stem_ids: Sequence[str], sounds: Mapping[str, StemSound]) -> float:
    """Mean gain from some dry stems to the input of a node that they flow through, weighted by energy (dB)."""
    arriving = departing = 0.0
    for stem_id in stem_ids:
        gains = direct_gains(path_nodes(graph, stem_id, before=node_id), sample_rate_hz=graph.sample_rate_hz)
        power = sounds[stem_id].power
        arriving += float((gains**2 * power).sum()) / 2.0
        departing += float(power.sum())
    return _db(math.sqrt(arriving / departing))


def eq_curve_db(graph: MixGraph, stem_id: str) -> Array | None:
    """All EQs that a stem flows through, at `frequency_grid` (dB); None where there are none."""
    nodes = [node for node in path_nodes(graph, stem_id) if node.type == "eq"]
    if not nodes:
        return None
    response = np.prod([eq_response(n, sample_rate_hz=graph.sample_rate_hz) for n in nodes], axis=0)
    return np.asarray(20.0 * np.log10(np.maximum(np.abs(response), 1e-6)))


def volume_curve_db(graph: MixGraph, stem_id: str, *, steps: int) -> Array | None:
    """All volume automation that a stem flows through, at the middle of each step (dB); None without any."""
    curves = [graph.channel(c).volume for c in graph.path(stem_id) if graph.channel(c).volume]
    if not curves:
        return None
    # Ten values a step, of which the middle one is taken.
    gains = [volume_gains(points, frames=steps * 10, sample_rate_hz=10.0 / STEP_S)[5::10] for points in curves]
    return np.asarray(20.0 * np.log10(np.prod(gains, axis=0)))


# -------------------------------------------------------------------- what nodes do


@dataclass(frozen=True)
class Effects:
    """What the processors of a graph do to the song, measured with the reference DSP.

    Attributes
    ----------
    change_db : dict of str to float
        By id: energy of the difference that a processor makes, relative to its input (dB). For
        processors of a return no more than the energy of the return relative to that of its senders.
    level_db : dict of str to float
        By id: change of level from input to output (dB).
    """

    change_db: dict[str, float]
    level_db: dict[str, float]


def measure_effects(graph: MixGraph, load_stem: StemLoader) -> Effects:
    """Render a graph and measure what its processors do (see `Effects`)."""
    change_db: dict[str, float] = {}
    level_db: dict[str, float] = {}
    channel_energy: dict[str, float] = {}

    def on_channel(channel_id: str, output: Array) -> None:
        channel_energy[channel_id] = float((output**2).sum())

    def on_node(node: Processor, source: Array, output: Array) -> None:
        energy = float((source**2).sum())
        change_db[node.id] = _ratio_db(float(((output - source) ** 2).sum()), energy)
        level_db[node.id] = _ratio_db(float((output**2).sum()), energy)

    render_graph(graph, load_stem, on_node=on_node, on_channel=on_channel)
    for bus in graph.returns:
        senders = [channel for channel, target in graph.all_sends() if target == bus.id]
        sent = sum(channel_energy.get(channel, 0.0) for channel in senders)
        ceiling = _ratio_db(channel_energy.get(bus.id, 0.0), sent)
        change_db |= {n.id: min(change_db.get(n.id, _SILENT_DB), ceiling) for n in graph.chain(bus.id)}
    return Effects(change_db, level_db)


def is_neutral(node: Processor) -> bool:
    """Whether a processor does nothing whatever it hears."""
    values = node.parameters
    if node.mix == 0.0:
        return True
    if node.type == "eq":
        law = law_of(node.law, node.type)
        return not len(eq_sections(values, sample_rate_hz=48000.0, law=law))
    if node.type == "compressor":
        return values["ratio"] == 1.0 and values["makeup_db"] == 0.0
    if node.type == "gate":
        return values["ratio"] == 1.0 or values["range_db"] == 0.0
    if node.type in (DELAY.type, REVERB.type):
        # With no echo the dry share still is a gain, which has a type of its own.
        return not _sounding_levels(node)
    if node.type == "limiter":
        return False
    return values == SPECS[node.type].defaults()


def _sounding_levels(node: Processor) -> list[str]:
    names = ["level_db"] if node.type == REVERB.type else [f"tap{n}_level_db" for n in range(1, DELAY_TAPS + 1)]
    spec = SPECS[node.type]
    return [name for name in names if node.parameters[name] != spec.parameter(name).off_at]


def echoes(node: Processor) -> list[tuple[float, float]]:
    """Time (ms) and level (dB, dry/wet weight included) of the taps of a delay that sound, earliest first."""
    numbers = [name.removesuffix("_level_db") for name in _sounding_levels(node)]
    wet_db = _db(node.mix)
    return sorted((node.parameters[f"{n}_time_ms"], node.parameters[f"{n}_level_db"] + wet_db) for n in numbers)


def _db(gain: float) -> float:
    return 20.0 * math.log10(max(gain, 1e-15))


def _ratio_db(energy: float, reference: float) -> float:
    return 10.0 * math.log10(energy / reference) if energy > 0.0 and reference > 0.0 else _SILENT_DB
