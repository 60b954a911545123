"""How well a found graph recovers a true one: errors of its settings, precision and recall of its processors; no files.

Definitions, in the order of the report:

* *fader*: gain of a stem's direct sound from file to mix, its track, groups and master included:
  mean over its A-weighted spectrum of what faders, EQ, make-up and volume automation do to a centred
  source, as one gain and one *pan*. How a mix divides a gain among fader, group and EQ cannot be heard
  and is not judged. *Level* adds the mean change of level by the dynamics along the path.
* *EQ*: the curve of all EQs along the path, RMS difference over 50 Hz to 16 kHz where the stem is
  within 40 dB of its loudest band, less its mean, which is the fader's.
* *automation*: likewise the volume automation along the path over time, where the stem plays.
* *threshold*: less the gain from the dry stems to the processor's input, so that a louder input with
  a higher threshold is the same setting.
* *processors*: see `recovery_match`.

Differences are found minus true. Two graphs of different seeds are compared in the same way.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .errors import GraphError
from .graph import MixGraph, Processor
from .processors.specs import SPECS
from .recovery_match import Agreement, Place, agreements, match_places, places, same_stems, total
from .recovery_measure import (
    HEARD_DB,
    STEP_S,
    Effects,
    StemSound,
    direct_gains,
    echoes,
    eq_curve_db,
    fader_and_pan,
    frequency_grid,
    gain_before_db,
    measure_effects,
    path_nodes,
    pink_sound,
    stem_sound,
    volume_curve_db,
)
from .render import StemLoader

#: EQ curves are compared within this range.
EQ_RANGE_HZ = (50.0, 16000.0)

#: Types whose thresholds and times are compared.
_DYNAMICS = ("compressor", "gate")

#: Types whose change of level belongs to a stem's level.
_LEVEL_CHANGING = ("compressor", "gate", "saturation", "limiter")


@dataclass(frozen=True)
class StemErrors:
    """Errors of one stem's way into the mix.

    Attributes
    ----------
    fader_db, pan : float
        Found minus true; pan in shares of the way from the centre to one side.
    level_db : float or None
        As `fader_db`, with what dynamics do; None where the stems could not be heard.
    eq_db : float or None
        RMS; None where neither graph has an EQ along the path.
    automation_db : float or None
        RMS; None where neither graph has volume automation along the path.
    """

    stem: str
    fader_db: float
    pan: float
    level_db: float | None
    eq_db: float | None
    automation_db: float | None


@dataclass(frozen=True)
class DynamicsErrors:
    """Errors of a compressor or gate that both graphs have.

    Attributes
    ----------
    threshold_db : float
        Found minus true, referred to the dry stems.
    ratio, attack, release : float
        Found divided by true; the ratio is that of the slopes' reciprocals as on the knob.
    """

    place: str
    type: str
    threshold_db: float
    ratio: float
    attack: float
    release: float


@dataclass(frozen=True)
class DelayErrors:
    """Errors of a delay that both graphs have.

    Attributes
    ----------
    time_ms : list of float
        Of each true echo, to the nearest found one (found minus true).
    level_db : list of float
        Of the same pairs.
    """

    place: str
    time_ms: list[float]
    level_db: list[float]


@dataclass(frozen=True)
class ReverbErrors:
    """Errors of a reverb that both graphs have; `decay` is the found RT60 of the mids divided by the true one."""

    place: str
    decay: float
    pre_delay_ms: float


@dataclass(frozen=True)
class Recovery:
    """How well one graph recovers another.

    Attributes
    ----------
    processors : Agreement
        Of all types but gain/pan, which is on every track anyway.
    processors_and_faders : Agreement
        Of all types.
    by_type : dict of str to Agreement
    missed, extra : list of str
        Processors that only the true graph, or only the found graph, has.
    """

    found: str
    truth: str
    stems: list[StemErrors]
    dynamics: list[DynamicsErrors]
    delays: list[DelayErrors]
    reverbs: list[ReverbErrors]
    processors: Agreement
    processors_and_faders: Agreement
    by_type: dict[str, Agreement]
    missed: list[str]
    extra: list[str]

    def magnitudes(self) -> dict[str, list[float]]:
        """Magnitudes of all errors by kind; factors as dB-like distances from 1 (``|log2|``, octaves)."""
        return {
            "fader_db": [abs(s.fader_db) for s in self.stems],
            "pan": [abs(s.pan) for s in self.stems],
            "level_db": [abs(s.level_db) for s in self.stems if s.level_db is not None],
            "eq_db": [s.eq_db for s in self.stems if s.eq_db is not None],
            "automation_db": [s.automation_db for s in self.stems if s.automation_db is not None],
            "threshold_db": [abs(d.threshold_db) for d in self.dynamics if d.type == "compressor"],
            "ratio_octaves": [_octaves(d.ratio) for d in self.dynamics if d.type == "compressor"],
            "attack_octaves": [_octaves(d.attack) for d in self.dynamics if d.type == "compressor"],
            "release_octaves": [_octaves(d.release) for d in self.dynamics if d.type == "compressor"],
            "gate_threshold_db": [abs(d.threshold_db) for d in self.dynamics if d.type == "gate"],
            "delay_time_ms": [abs(t) for d in self.delays for t in d.time_ms],
            "rt60_octaves": [_octaves(r.decay) for r in self.reverbs],
        }

    def medians(self) -> dict[str, float | None]:
        """Median magnitude of every kind of error; None where there is nothing to compare."""
        return medians([self])

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        plain = asdict(self)
        plain["processors"] = self.processors.to_json()
        plain["processors_and_faders"] = self.processors_and_faders.to_json()
        plain["by_type"] = {kind: a.to_json() for kind, a in self.by_type.items()}
        return {**plain, "medians": self.medians()}


def medians(recoveries: Sequence[Recovery]) -> dict[str, float | None]:
    """Median magnitude of every kind of error over all stems and processors of some songs."""
    columns: dict[str, list[float]] = {}
    for recovery in recoveries:
        for kind, values in recovery.magnitudes().items():
            columns.setdefault(kind, []).extend(values)
    return {kind: statistics.median(values) if values else None for kind, values in columns.items()}


def _octaves(factor: float) -> float:
    return abs(float(np.log2(factor)))


def validate(found: MixGraph, truth: MixGraph) -> dict[str, str]:
    """Check that two graphs are of the same stems.

    Returns
    -------
    dict of str to str
        Id in `truth` of every stem of `found`. Stems are the same if id, file or name is.

    Raises
    ------
    GraphError
        If a stem has no counterpart, or the graphs differ in sample rate.
    """
    if found.sample_rate_hz != truth.sample_rate_hz:
        raise GraphError(
            f"{found.name}: sample_rate_hz: {found.sample_rate_hz} Hz, the other graph has {truth.sample_rate_hz} Hz; "
            "compare graphs of the same song"
        )
    renamed = same_stems(found, truth)
    alien = next((s.name for s in found.stems if s.id not in renamed), None)
    if alien is not None:
        raise GraphError(f"{found.name}: the stem {alien!r} is not in the other graph; compare the same song")
    missing = next((s.name for s in truth.stems if s.id not in renamed.values()), None)
    if missing is not None:
        raise GraphError(f"{found.name}: lacks the stem {missing!r} of the other graph; compare the same song")
    return renamed


def evaluate(found: MixGraph, truth: MixGraph, *, load_stem: StemLoader | None = None) -> Recovery:
    """Compare a found graph with a true one, or two graphs with each other.

    Parameters
    ----------
    found, truth : MixGraph
    load_stem : callable, optional
        Returns a stem of `truth` as its session holds it, shape (2, n). Without it all stems are
        taken for pink noise, what dynamics do is left out, and every processor that is not
        neutral counts.

    Raises
    ------
    GraphError
        If the graphs are not of the same stems.
    """
    renamed = validate(found, truth)
    listener = _Listener(found, truth, renamed, load_stem)
    mine = places(found, change_db=listener.change_db(found), stem_ids=renamed)
    true = places(truth, change_db=listener.change_db(truth))
    pairs = match_places(mine, true)
    names = {s.id: s.name for s in truth.stems}
    counts = agreements(pairs, mine, true)
    matched = {"found": {f.key for f, _ in pairs}, "true": {t.key for _, t in pairs}}
    settings = [(t.label(names), t, mine[f], true[t]) for f, t in pairs]
    return Recovery(
        found=found.name,
        truth=truth.name,
        stems=[_stem_errors(listener, found_id, true_id) for found_id, true_id in renamed.items()],
        dynamics=[_dynamics(listener, *item) for item in settings if item[1].type in _DYNAMICS],
        delays=[_delay(label, f, t) for label, place, f, t in settings if place.type == "delay"],
        reverbs=[_reverb(label, f[0], t[0]) for label, place, f, t in settings if place.type == "reverb"],
        processors=total(counts, faders=False),
        processors_and_faders=total(counts, faders=True),
        by_type={kind: counts[kind] for kind in SPECS if kind in counts},
        missed=sorted(place.label(names) for place in true if place.key not in matched["true"]),
        extra=sorted(place.label(names) for place in mine if place.key not in matched["found"]),
    )


class _Listener:
    """What the stems sound like and what the processors of both graphs do to them."""

    def __init__(
        self, found: MixGraph, truth: MixGraph, renamed: Mapping[str, str], load_stem: StemLoader | None
    ) -> None:
        self.found, self.truth, self.renamed = found, truth, renamed
        self.sounds = {s.id: pink_sound() for s in truth.stems}
        self._effects: dict[int, Effects] = {}
        if load_stem is None:
            return
        for stem in truth.stems:
            self.sounds[stem.id] = stem_sound(load_stem(stem), sample_rate_hz=truth.sample_rate_hz)
        self._effects[id(truth)] = measure_effects(truth, load_stem)
        # The found graph may place or turn its stems otherwise; that is not what is compared.
        self._effects[id(found)] = measure_effects(found, lambda s: load_stem(truth.stems[self._row(s.id)]))

    def _row(self, found_id: str) -> int:
        return [s.id for s in self.truth.stems].index(self.renamed[found_id])

    def change_db(self, graph: MixGraph) -> dict[str, float] | None:
        return self._effects[id(graph)].change_db if self._effects else None

    def level_change_db(self, graph: MixGraph, stem_id: str) -> float | None:
        """Mean change of level by the dynamics along a path, beyond their make-up gain."""
        if not self._effects:
            return None
        nodes = [n for n in path_nodes(graph, stem_id) if n.type in _LEVEL_CHANGING]
        levels = self._effects[id(graph)].level_db
        plain = direct_gains(nodes, sample_rate_hz=graph.sample_rate_hz)[0, 0]
        return sum(levels.get(n.id, 0.0) for n in nodes) - 20.0 * float(np.log10(max(plain, 1e-15)))

    def sounds_of(self, graph: MixGraph) -> dict[str, StemSound]:
        """Sounds by the graph's own ids."""
        return self.sounds if graph is self.truth else {mine: self.sounds[t] for mine, t in self.renamed.items()}


def _stem_errors(listener: _Listener, found_id: str, true_id: str) -> StemErrors:
    sides = [(listener.found, found_id), (listener.truth, true_id)]
    sound = listener.sounds[true_id]
    faders, pans, levels = [], [], []
    for graph, stem_id in sides:
        gains = direct_gains(path_nodes(graph, stem_id), sample_rate_hz=graph.sample_rate_hz)
        fader_db, pan = fader_and_pan(gains, sound.loudness_weights)
        faders.append(fader_db)
        pans.append(pan)
        levels.append(listener.level_change_db(graph, stem_id))
    rides = [volume_curve_db(graph, stem_id, steps=_steps(graph, sound)) for graph, stem_id in sides]
    ride_mean_db, automation_db = _difference(rides, _playing(sound, _steps(listener.truth, sound)))
    _, eq_db = _difference([eq_curve_db(graph, stem_id) for graph, stem_id in sides], _compared_bands(sound))
    fader_error = faders[0] - faders[1] + ride_mean_db
    dynamics = None if levels[0] is None or levels[1] is None else levels[0] - levels[1]
    return StemErrors(
        stem=listener.truth.channel(true_id).name,
        fader_db=fader_error,
        pan=pans[0] - pans[1],
        level_db=None if dynamics is None else fader_error + dynamics,
        eq_db=eq_db,
        automation_db=automation_db,
    )


def _difference(curves: Sequence[np.ndarray | None], where: np.ndarray) -> tuple[float, float | None]:
    """Mean difference of two curves in dB, and the RMS around it; 0 and None where neither graph has one."""
    found, true = curves
    if (found is None and true is None) or not where.any():
        return 0.0, None
    flat = np.zeros(len(where))
    gap = ((flat if found is None else found) - (flat if true is None else true))[where]
    return float(gap.mean()), float(gap.std())


def _compared_bands(sound: StemSound) -> np.ndarray:
    grid = frequency_grid()
    return np.asarray(sound.heard & (grid >= EQ_RANGE_HZ[0]) & (grid <= EQ_RANGE_HZ[1]))


def _steps(graph: MixGraph, sound: StemSound) -> int:
    """Steps of a curve over time: those of the stem, else of the length that the points reach."""
    if len(sound.steps):
        return len(sound.steps)
    return max(1, round(graph.frames / graph.sample_rate_hz / STEP_S))


def _playing(sound: StemSound, steps: int) -> np.ndarray:
    if not len(sound.steps):
        return np.ones(steps, dtype=bool)
    return np.asarray(sound.steps > sound.steps.max() * 10.0 ** (-HEARD_DB / 10.0))


def _dynamics(
    listener: _Listener, label: str, place: Place, found: Sequence[Processor], true: Sequence[Processor]
) -> DynamicsErrors:
    """Errors of the first processor of a place; a second one of the type in a row is not judged."""
    mine, theirs = found[0].parameters, true[0].parameters
    own_ids = {t: f for f, t in listener.renamed.items()}
    thresholds = []
    for graph, node, stem_ids in (
        (listener.found, found[0], [own_ids[s] for s in sorted(place.stems)]),
        (listener.truth, true[0], sorted(place.stems)),
    ):
        # A return is reached by sends, whose levels belong to its input as well; there thresholds stand as they are.
        before_db = 0.0 if place.by_send else gain_before_db(graph, node.id, stem_ids, listener.sounds_of(graph))
        thresholds.append(node.parameters["threshold_db"] - before_db)
    return DynamicsErrors(
        place=label,
        type=place.type,
        threshold_db=thresholds[0] - thresholds[1],
        ratio=mine["ratio"] / theirs["ratio"],
        attack=mine["attack_ms"] / theirs["attack_ms"],
        release=mine["release_ms"] / theirs["release_ms"],
    )


def _delay(label: str, found: Sequence[Processor], true: Sequence[Processor]) -> DelayErrors:
    heard = [echo for node in found for echo in echoes(node)]
    times, levels = [], []
    for time_ms, level_db in (echo for node in true for echo in echoes(node)):
        nearest = min(heard, key=lambda echo: abs(echo[0] - time_ms))
        times.append(nearest[0] - time_ms)
        levels.append(nearest[1] - level_db)
    return DelayErrors(place=label, time_ms=times, level_db=levels)


def _reverb(label: str, found: Processor, true: Processor) -> ReverbErrors:
    mine, theirs = found.parameters, true.parameters
    return ReverbErrors(
        place=label,
        decay=mine["decay_s"] / theirs["decay_s"],
        pre_delay_ms=mine["pre_delay_ms"] - theirs["pre_delay_ms"],
    )
