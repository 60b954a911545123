"""Compressors and gates from gains that change with the level; the sums they are read from are made elsewhere.

For given attack and release the detector's level of every frame is known, and the gain is a
function of that level. The error of the whole mix is then a sum over bins of level, and the
best threshold, ratio and knee are found by trying all of a grid at once, with the make-up in closed form.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..processors.equations import compressor_gain_db, gate_gain_db
from ..processors.specs import COMPRESSOR, GATE
from .identify_frames import FrameSums, frame_levels_db, thinned
from .identify_linear import Array, Audio32
from .workers import each

Dynamics = Literal["compressor", "gate"]

#: Bins of the detector's level (dB).
_LEVELS_DB = np.arange(-90.0, 12.01, 0.5)

#: Settings that are tried first, and the steps of their refinement.
_ATTACKS_MS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_RELEASES_MS = (10.0, 30.0, 80.0, 200.0, 500.0, 1300.0)
_GATE_TIMES_MS = tuple(itertools.product((0.5, 5.0), (30.0, 120.0, 500.0)))
_RATIOS = (1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0)
_KNEES_DB = (0.0, 6.0, 14.0)
_GATE_RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
_GATE_RANGES_DB = (10.0, 20.0, 40.0, 70.0)

#: Samples averaged to one for a first and a second look at the time constants.
_COARSE, _FINE = 10, 5

#: Thresholds further below the loudest moment than this are not tried (dB).
_DEPTH_DB = 45.0

#: A processor is taken for real from this improvement on: in standard errors squared per parameter.
_REAL: dict[Dynamics, float] = {"compressor": 1.5, "gate": 10.0}

#: A compressor that takes less than this on average is none (dB): the error of a nearly exact model is not noise.
_LEAST_REDUCTION_DB = 0.05

#: Frames follow each other closely: errors scatter as if one in this many were independent.
_DEPENDENCE = 4.0


@dataclass(frozen=True)
class DynamicsFit:
    """A compressor or gate read from the song.

    Attributes
    ----------
    kind : str
        "compressor" or "gate".
    parameters : dict of str to float
        Complete; the make-up is 0 dB.
    gain_db : float
        Constant gain that goes with it (make-up, to be added to the fader).
    gains : array, shape=(frames,)
        Linear gain of every frame, make-up included.
    improvement : float
        Share of the mix's error (weighted, whitened) that it takes away.
    evidence : float
        Improvement in units of its standard error squared; `is_real` compares it.
    reduction_db : float
        Energy-weighted mean of the reduction while the channel plays.
    """

    kind: Dynamics
    parameters: dict[str, float]
    gain_db: float
    gains: Array
    improvement: float
    evidence: float
    reduction_db: float

    @property
    def is_real(self) -> bool:
        """Whether the improvement is far beyond chance, and can be heard."""
        is_felt = self.reduction_db < -_LEAST_REDUCTION_DB
        return is_felt and self.evidence > _REAL[self.kind] and self.improvement > 1e-4


def dynamics_from_gains(
    sums: FrameSums,
    members: Sequence[int],
    gains: Array,
    *,
    sidechain: Audio32,
    kind: Dynamics = "compressor",
) -> DynamicsFit:
    """Find the compressor or gate whose gain explains the mix best.

    Parameters
    ----------
    sums : FrameSums
    members : sequence of int
        Stems that pass through it: one for a track's, several for a group's.
    gains : array, shape=(frames, stems)
        Present gains of all stems without the processor in question.
    sidechain : array, shape=(samples,)
        What its detector hears.
    kind : str
        "compressor" or "gate".
    """
    quadratic, linear = sums.unit(members, gains)
    error = sums.error(gains)
    grid = list(itertools.product(_ATTACKS_MS, _RELEASES_MS)) if kind == "compressor" else list(_GATE_TIMES_MS)
    best = _best(thinned(sidechain, _COARSE), quadratic, linear, grid, kind, every=_COARSE)
    near = _around(best.attack_ms, best.release_ms, 1.6)
    best = _best(thinned(sidechain, _FINE), quadratic, linear, near, kind, every=_FINE)
    best = _best(sidechain, quadratic, linear, _star(best.attack_ms, best.release_ms, 1.3), kind)
    return _described(best, sidechain, quadratic, linear, error, kind)


@dataclass(frozen=True)
class _Static:
    """The best static curve for one pair of times; `gain` is what it takes from the error."""

    gain: float
    attack_ms: float
    release_ms: float
    curve: dict[str, float]


def _around(attack_ms: float, release_ms: float, step: float) -> list[tuple[float, float]]:
    factors = (1.0 / step, 1.0, step)
    return sorted({_in_range(attack_ms * a, release_ms * r) for a, r in itertools.product(factors, repeat=2)})


def _star(attack_ms: float, release_ms: float, step: float) -> list[tuple[float, float]]:
    factors = [(1.0, 1.0), (step, 1.0), (1.0 / step, 1.0), (1.0, step), (1.0, 1.0 / step)]
    return sorted({_in_range(attack_ms * a, release_ms * r) for a, r in factors})


def _in_range(attack_ms: float, release_ms: float) -> tuple[float, float]:
    attack, release = COMPRESSOR.parameter("attack_ms"), COMPRESSOR.parameter("release_ms")
    return attack.limited(attack_ms), release.limited(release_ms)


def _best(
    sidechain: Audio32,
    quadratic: Array,
    linear: Array,
    grid: Sequence[tuple[float, float]],
    kind: Dynamics,
    *,
    every: int = 1,
) -> _Static:
    def fitted(times_ms: tuple[float, float]) -> _Static:
        attack_ms, release_ms = times_ms
        level_db = frame_levels_db(sidechain, attack_ms=attack_ms, release_ms=release_ms, every=every)
        gain, curve = _best_static(level_db, quadratic, linear, kind)
        return _Static(gain, attack_ms, release_ms, curve)

    return max(each(fitted, grid), key=lambda s: s.gain)


def _best_static(level_db: Array, quadratic: Array, linear: Array, kind: Dynamics) -> tuple[float, dict[str, float]]:
    """Static curve that lowers the error most; the make-up is free."""
    index = np.clip(np.rint((level_db - _LEVELS_DB[0]) / (_LEVELS_DB[1] - _LEVELS_DB[0])), 0, len(_LEVELS_DB) - 1)
    bins = index.astype(np.int64)
    power = np.bincount(bins, quadratic, minlength=len(_LEVELS_DB))
    product = np.bincount(bins, linear, minlength=len(_LEVELS_DB))
    used = np.flatnonzero(power > 1e-6 * power.max(initial=0.0))
    if not len(used):
        return 0.0, {}
    curves = _curves(kind)
    columns = slice(int(used[0]), int(used[-1]) + 1)
    product, power = product[columns].astype(np.float32), power[columns].astype(np.float32)
    explained = np.maximum(curves.gains[:, columns] @ product, 0.0).astype(np.float64)
    merit = explained**2 / np.maximum(curves.squares[:, columns] @ power, 1e-30)
    lowest_db, highest_db = _LEVELS_DB[used[[0, -1]]]
    threshold_db = curves.values[:, 0]
    useful = (threshold_db >= max(lowest_db - 6.0, highest_db - _DEPTH_DB)) & (threshold_db <= highest_db)
    merit = np.where(useful, merit, 0.0)
    flat = max(float(product.sum(dtype=np.float64)), 0.0) ** 2 / max(float(power.sum(dtype=np.float64)), 1e-30)
    row = int(np.argmax(merit))
    return float(merit[row] - flat), curves.parameters(row)


@dataclass(frozen=True)
class _Curves:
    """A grid of static curves: linear gains and their squares, shape (curves, levels), and the parameters of each."""

    gains: Audio32
    squares: Audio32
    names: tuple[str, ...]
    values: Array

    def parameters(self, row: int) -> dict[str, float]:
        return {name: float(v) for name, v in zip(self.names, self.values[row], strict=True)}


@functools.lru_cache(maxsize=2)
def _curves(kind: Dynamics) -> _Curves:
    """All static curves that are tried, at `_LEVELS_DB`."""
    levels_db = _LEVELS_DB
    limits = (COMPRESSOR if kind == "compressor" else GATE).parameter("threshold_db")
    thresholds = np.arange(limits.minimum, limits.maximum + 0.01, 1.0)
    if kind == "compressor":
        values = np.array(list(itertools.product(thresholds, _RATIOS, _KNEES_DB)))
        t, r, k = (values[:, i : i + 1] for i in range(3))
        gains_db = compressor_gain_db(levels_db[None], threshold_db=t, ratio=r, knee_db=k, xp=np)
        names: tuple[str, ...] = ("threshold_db", "ratio", "knee_db")
    else:
        values = np.array(list(itertools.product(thresholds, _GATE_RATIOS, _GATE_RANGES_DB)))
        t, r, d = (values[:, i : i + 1] for i in range(3))
        gains_db = gate_gain_db(
            levels_db[None], threshold_db=t, ratio=r, range_db=d, knee_db=GATE.parameter("knee_db").default, xp=np
        )
        names = ("threshold_db", "ratio", "range_db")
    gains = (10.0 ** (gains_db / 20.0)).astype(np.float32)
    return _Curves(gains, gains**2, names, values)


def _described(
    best: _Static, sidechain: Audio32, quadratic: Array, linear: Array, error: float, kind: Dynamics
) -> DynamicsFit:
    spec = COMPRESSOR if kind == "compressor" else GATE
    parameters = {**spec.defaults(), **best.curve, "attack_ms": best.attack_ms, "release_ms": best.release_ms}
    parameters = spec.check(parameters)
    level_db = frame_levels_db(sidechain, attack_ms=best.attack_ms, release_ms=best.release_ms)
    reduction_db = static_gain_db(kind, parameters, level_db)
    shape = 10.0 ** (reduction_db / 20.0)
    makeup = max(float((shape * linear).sum()), 0.0) / max(float((shape**2 * quadratic).sum()), 1e-30)
    left = max(error - best.gain, 1e-12 * max(error, 1e-30))
    count = max(len(quadratic) / _DEPENDENCE, 1.0)
    free = len(best.curve) + 2
    return DynamicsFit(
        kind,
        parameters,
        20.0 * math.log10(max(makeup, 1e-4)),
        makeup * shape,
        best.gain / max(error, 1e-30),
        best.gain / left * count / free,
        float((quadratic * reduction_db).sum() / max(float(quadratic.sum()), 1e-30)),
    )


def static_gain_db(kind: Dynamics, parameters: dict[str, float], level_db: Array) -> Array:
    """Gain of a compressor (make-up left out) or gate at some detector levels."""
    names = (
        ("threshold_db", "ratio", "knee_db")
        if kind == "compressor"
        else ("threshold_db", "ratio", "range_db", "knee_db")
    )
    curve = compressor_gain_db if kind == "compressor" else gate_gain_db
    return np.asarray(curve(level_db, **{n: parameters[n] for n in names}, xp=np))
