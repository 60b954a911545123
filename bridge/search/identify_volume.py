"""Fades and rides as few breakpoints, from gains that change slowly; level-dependent gains are read elsewhere.

The error of the mix is quadratic in a channel's gain, frame by frame, and a gain that is linear in
amplitude between breakpoints is linear in the gains at these points. So for given times the best
gains are one small linear system; times are added one by one as long as each pays for itself, moved,
and left out again where they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ..graph import VolumePoint
from ..processors.equations import gain_to_db
from ..processors.specs import VOLUME
from .identify_frames import FRAME_RATE_HZ, FrameSums
from .identify_linear import Array

#: Frames are summed up over so many seconds: slower than a compressor, quick enough for a fade.
CELL_S = 0.25

#: Breakpoints of one channel at most.
MAX_POINTS = 24

#: A point must lower the error by this share of what the mix's model leaves unexplained in a second.
_PRICE = 3.0

#: The model of a mix is taken for no better than this share of its energy.
_LEAST_ERROR_SHARE = 1e-3

#: A curve that never leaves this range of its own mean is no automation (dB).
_LEAST_RANGE_DB = 1.0

#: Pull towards a gain that does not change, as a share of the mean energy of a cell.
_STIFFNESS = 1e-3


@dataclass(frozen=True)
class VolumeFit:
    """Volume automation of a channel.

    Attributes
    ----------
    points : list of VolumePoint
        Empty where nothing significant was found.
    gain_db : float
        Constant that belongs to the fader: the curve is 0 dB at its loudest plateau.
    gains : array, shape=(frames,)
        Linear gain of every frame, the constant included.
    improvement : float
        Share of the mix's error that the curve takes away, compared with the best constant.
    """

    points: list[VolumePoint]
    gain_db: float
    gains: Array
    improvement: float


def volume_from_gains(sums: FrameSums, members: Sequence[int], gains: Array) -> VolumeFit:
    """Find the breakpoints of one channel's volume.

    Parameters
    ----------
    sums : FrameSums
    members : sequence of int
        Stems of the channel: one for a track, all for the master.
    gains : array, shape=(frames, stems)
        Present gains of all stems without the channel's volume.
    """
    quadratic, linear = sums.unit(members, gains)
    fitter = _Fitter(_cells(quadratic), _cells(linear), error=sums.error(gains), power=sums.energy)
    knots = fitter.search()
    flat = fitter.solve([0])[1]
    values, merit = fitter.solve(knots)
    if len(knots) < 2 or _range_db(values, fitter.weight_at(knots)) < _LEAST_RANGE_DB:
        return VolumeFit([], 0.0, np.ones(sums.frames), 0.0)
    return _described(fitter, knots, values, sums, (merit - flat) / max(fitter.error, 1e-30))


def _cells(values: Array) -> Array:
    width = round(CELL_S * FRAME_RATE_HZ)
    return np.add.reduceat(values, np.arange(0, len(values), width))


class _Fitter:
    """Piecewise linear gains over cells with `quadratic * g^2 - 2 * linear * g` as the error of each."""

    def __init__(self, quadratic: Array, linear: Array, *, error: float, power: float) -> None:
        self.quadratic, self.linear, self.error = quadratic, linear, error
        self.count = len(quadratic)
        self.floor = _LEAST_ERROR_SHARE * power
        self.price = self._price_of(error)
        self.stiffness = _STIFFNESS * float(quadratic.mean()) + 1e-30

    def weight_at(self, knots: Sequence[int]) -> Array:
        """Energy that each point's gain rests on."""
        return self._basis(knots).T @ self.quadratic

    def _basis(self, knots: Sequence[int]) -> Array:
        place = np.arange(self.count, dtype=np.float64)
        return np.stack([np.interp(place, knots, row) for row in np.eye(len(knots))], axis=1)

    def solve(self, knots: Sequence[int]) -> tuple[Array, float]:
        """Best gains at some knots (cells, ascending), and how much they explain."""
        basis = self._basis(knots)
        normal = basis.T @ (basis * self.quadratic[:, None])
        right = basis.T @ self.linear
        # Where the channel is silent the line is drawn on.
        steps = np.diff(np.eye(len(knots)), axis=0)
        normal_stiff = normal + self.stiffness * (steps.T @ steps + 1e-6 * np.eye(len(knots)))
        values = np.maximum(scipy.linalg.solve(normal_stiff, right, assume_a="pos"), 0.0)
        return values, float(2.0 * values @ right - values @ normal @ values)

    def merit(self, knots: Sequence[int]) -> float:
        """What some knots explain, less their price."""
        return self.solve(knots)[1] - self.price * len(knots)

    def _price_of(self, left: float) -> float:
        """What a point must explain where so much error is left."""
        return _PRICE * max(left, self.floor) / max(self.count * CELL_S, 1.0)

    def search(self) -> list[int]:
        """The knots that explain most for their price."""
        knots = self._searched([0])
        if len(knots) > 1:
            # The first price was that of the error with the automation in it.
            explained = self.solve(knots)[1] - self.solve([0])[1]
            self.price = self._price_of(self.error - explained)
            knots = self._searched(knots)
        return knots

    def _searched(self, knots: list[int]) -> list[int]:
        while len(knots) < MAX_POINTS:
            # A ramp needs two more points before it helps: pairs are tried beside single points.
            tried = self._best(self._longer(knots))
            tried = self._moved(tried)
            if self.merit(tried) <= self.merit(knots):
                break
            knots = self._pruned(tried)
        return knots

    def _best(self, trials: Sequence[Sequence[int]]) -> list[int]:
        merits = [self.merit(knots) for knots in trials]
        return list(trials[int(np.argmax(merits))])

    def _longer(self, knots: Sequence[int]) -> list[list[int]]:
        step = max(self.count // 80, 1)
        places = [p for p in range(0, self.count, step) if p not in knots]
        single = [sorted([*knots, p]) for p in places]
        best = sorted(single, key=self.merit)[-4:]
        first = [next(p for p in trial if p not in knots) for trial in best]
        coarse = places[:: max(len(places) // 24, 1)]
        pairs = [sorted({*knots, p, q}) for p in first for q in (*coarse, 0, self.count - 1) if q != p]
        return single + pairs

    def _moved(self, knots: list[int]) -> list[int]:
        """Shift one knot after the other by ever smaller steps."""
        step = max(self.count // 40, 1)
        while step >= 1:
            for index in range(len(knots)):
                low = knots[index - 1] + 1 if index else 0
                high = knots[index + 1] - 1 if index + 1 < len(knots) else self.count - 1
                for place in (knots[index] - step, knots[index] + step):
                    if low <= place <= high:
                        moved = [*knots[:index], place, *knots[index + 1 :]]
                        knots = self._best([knots, moved])
            step //= 2
        return knots

    def _pruned(self, knots: list[int]) -> list[int]:
        while len(knots) > 1:
            fewer = self._best([[k for k in knots if k != out] for out in knots])
            if self.merit(fewer) < self.merit(knots):
                break
            knots = fewer
        return knots


def _range_db(values: Array, weights: Array) -> float:
    """Range of the gains that rest on some energy."""
    heard = values[weights > 1e-3 * float(weights.max())]
    least = 10.0 ** (VOLUME.minimum / 20.0)
    return gain_to_db(float(heard.max())) - gain_to_db(max(float(heard.min()), least)) if len(heard) else 0.0


def _described(fitter: _Fitter, knots: Sequence[int], values: Array, sums: FrameSums, improvement: float) -> VolumeFit:
    weights = fitter.weight_at(knots)
    heard = weights > 1e-2 * float(weights.max())
    top = float(values[heard].max()) if heard.any() else float(values.max())
    # The middle of a cell is where its gain holds.
    times_s = (np.asarray(knots) + 0.5) * CELL_S
    times_s[0] = 0.0 if knots[0] == 0 else times_s[0]
    points = [
        VolumePoint(time_s=float(t), gain_db=_decibels(float(v) / max(top, 1e-12)))
        for t, v in zip(times_s, values, strict=True)
    ]
    seconds = (np.arange(sums.frames) + 0.5) / FRAME_RATE_HZ
    gains = np.interp(seconds, times_s, values)
    return VolumeFit(points, gain_to_db(max(top, 1e-4)), np.asarray(gains), improvement)


def _decibels(gain: float) -> float:
    return VOLUME.limited(gain_to_db(max(gain, 1e-9)))
