"""What Ardour's faders, balances and sends follow where a mix moves: curves of straight lines; no XML here.

A pan of ours is a fader and a balance of Ardour's (`balance_position`), both of which have to move for it. Between
two points of ours neither is straight, so that they get points of their own, close enough that nobody hears it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.signal

from ...bridge.graph import Breakpoint, PanBreakpoint, Timed, pan_automation_gains, volume_gains
from ...bridge.processors.equations import db_to_gain, gain_to_db, pan_gains
from ..thinning import kept

#: The highest gain of a fader or a send, and with it of its automation (+6 dB).
MAX_FADER_GAIN = 2.0

#: A fader follows its automation through a one-pole low-pass of this rate (1/s, 25 Hz), which is late by its inverse.
#: So does a send; a balance does not.
FADER_SMOOTHING_PER_S = 156.825
FADER_LAG_S = 1.0 / FADER_SMOOTHING_PER_S

#: What straight lines may change of what is curved: a share of the gain (-74 dB), for the fader and for the balance.
CURVE_TOLERANCE = 2e-4

#: Lines that a pan from one side to the other is cut into before those that are not needed are left out again:
#: together they are off by less than half of `CURVE_TOLERANCE`.
_FULL_PAN_LINES = 96

#: The pan's way through the centre gets a point of its own unless one is this near (s).
_SAME_TIME_S = 1e-6

#: How finely the difference between a ride and what Ardour makes of it is looked at (Hz).
_LOOK_HZ = 6000.0

_Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CurvePoint:
    """A point of a curve that is straight between its points; `value` is a linear gain, or a balance from 0 to 1."""

    time_s: float
    value: float


Curve: TypeAlias = tuple[CurvePoint, ...]


@dataclass(frozen=True)
class StripRide:
    """How fader and balance of a strip move; a curve without points stands still."""

    fader: Curve = ()
    balance: Curve = ()


def balance_position(left: float, right: float) -> float:
    """The azimuth at which a stereo balance has these gains, but for a factor.

    The balance leaves one side alone and takes the other down on a straight line: for an azimuth x up to
    0.5, left has a gain of 1 and right one of 2 x.

    Parameters
    ----------
    left, right : float >= 0

    Returns
    -------
    float, 0 (left) to 1 (right)
    """
    if left == right:
        return 0.5
    return 0.5 * right / left if left > right else 1.0 - 0.5 * left / right


def level_ride(points: Sequence[Breakpoint], *, gain: float) -> Curve:
    """Volume automation as a curve of linear gain, straight in amplitude as `graph.volume_gains` has it."""
    return tuple(CurvePoint(p.time_s, gain * float(db_to_gain(p.gain_db))) for p in points)


def strip_ride(volume: Sequence[Breakpoint], pan: Sequence[PanBreakpoint], *, gain: float) -> StripRide:
    """The curves of fader and balance that together are a strip's automation of volume and pan.

    Parameters
    ----------
    volume : sequence of Breakpoint
        Relative to `gain`.
    pan : sequence of PanBreakpoint
        Empty: the fader alone moves, and what a pan that stands still adds to it is in `gain`.
    gain : float >= 0
        Linear.
    """
    if not pan:
        return StripRide(level_ride(volume, gain=gain))
    times_s = _times(volume, pan)
    positions = np.interp(times_s, [p.time_s for p in pan], [p.pan for p in pan])
    levels = np.interp(times_s, [p.time_s for p in volume], _gains(volume)) if volume else np.ones(len(times_s))
    left, right = pan_gains(positions, xp=np)
    faders = gain * levels * np.maximum(left, right)
    balances = [balance_position(max(float(a), 0.0), max(float(b), 0.0)) for a, b in zip(left, right, strict=True)]
    # The side that is taken down has twice the balance as its gain.
    return StripRide(
        fader=_thinned(times_s, faders.tolist(), (CURVE_TOLERANCE * faders).tolist()),
        balance=_thinned(times_s, balances, [0.5 * CURVE_TOLERANCE] * len(balances)),
    )


def _gains(volume: Sequence[Breakpoint]) -> list[float]:
    return [float(db_to_gain(p.gain_db)) for p in volume]


def _times(volume: Sequence[Timed], pan: Sequence[PanBreakpoint]) -> list[float]:
    """Times (s) between which fader and balance are as good as straight."""
    knots_s = {p.time_s for p in (*volume, *pan)}
    for start, end in pairwise(pan):
        if start.pan * end.pan < 0.0:
            # In the centre the fader turns from the one side's gain to the other's.
            centre_s = start.time_s + (end.time_s - start.time_s) * start.pan / (start.pan - end.pan)
            if min(centre_s - start.time_s, end.time_s - centre_s) > _SAME_TIME_S:
                knots_s.add(centre_s)
    ordered_s = sorted(knots_s)
    positions = np.interp(ordered_s, [p.time_s for p in pan], [p.pan for p in pan])
    times_s: list[float] = []
    for (start_s, end_s), (first, last) in zip(pairwise(ordered_s), pairwise(positions), strict=True):
        # By the root, as a fade adds to the curvature of even a small pan.
        lines = max(1, math.ceil(_FULL_PAN_LINES * math.sqrt(abs(last - first) / 2.0)))
        times_s += np.linspace(start_s, end_s, lines, endpoint=False).tolist()
    return [*times_s, ordered_s[-1]]


def _thinned(times_s: Sequence[float], values: Sequence[float], tolerances: Sequence[float]) -> Curve:
    points = [CurvePoint(time_s, value) for time_s, value in zip(times_s, values, strict=True)]
    return tuple(points[i] for i in kept(points, values, tolerances))


def scaled(curve: Curve, gain: float) -> Curve:
    """The curve times a gain."""
    return tuple(CurvePoint(p.time_s, gain * p.value) for p in curve)


def room_needed(curve: Curve) -> float:
    """The gain (1 or more) that has to come from elsewhere for a fader or send to follow the curve."""
    return max(1.0, *(p.value / MAX_FADER_GAIN for p in curve)) if curve else 1.0


def events(curve: Curve, *, early_s: float) -> Curve:
    """The curve as it is written: from the beginning of the session on, and earlier by what its follower is late."""
    begin = float(np.interp(early_s, [p.time_s for p in curve], [p.value for p in curve]))
    later = (CurvePoint(p.time_s - early_s, p.value) for p in curve if p.time_s > early_s)
    return (CurvePoint(0.0, begin), *later)


# ------------------------------------------------------------------- what becomes of it


def strip_difference_db(volume: Sequence[Breakpoint], pan: Sequence[PanBreakpoint], *, length_s: float) -> float:
    """How far below its gains the difference between a ride and what Ardour's fader and balance make of it is.

    A send is a strip without a pan.

    Returns
    -------
    float
        In dB of energy, of both sides together; strongly negative where there is no difference.
    """
    ride = strip_ride(volume, pan, gain=1.0)
    frames = _look_frames(length_s)
    balance = _played(ride.balance, frames=frames, smoothed=False) if pan else np.full(frames, 0.5)
    sides = np.minimum(1.0, 2.0 * np.stack([1.0 - balance, balance]))
    wanted = volume_gains(volume, frames=frames, sample_rate_hz=_LOOK_HZ) * pan_automation_gains(
        pan, frames=frames, sample_rate_hz=_LOOK_HZ
    )
    return _difference_db(_played(ride.fader, frames=frames, smoothed=True) * sides, wanted)


def _look_frames(length_s: float) -> int:
    return max(1, round(length_s * _LOOK_HZ))


def _played(curve: Curve, *, frames: int, smoothed: bool) -> _Array:
    """What follows a curve, at `_LOOK_HZ`."""
    written = events(curve, early_s=FADER_LAG_S if smoothed else 0.0)
    values = np.interp(np.arange(frames) / _LOOK_HZ, [p.time_s for p in written], [p.value for p in written])
    if not smoothed:
        return np.asarray(values)
    # The step at which straight lines are late by exactly the fader's lag, at this rate too.
    step = 1.0 / (1.0 + FADER_LAG_S * _LOOK_HZ)
    followed, _ = scipy.signal.lfilter([step], [1.0, step - 1.0], values, zi=[(1.0 - step) * values[0]])
    return np.asarray(followed)


def _difference_db(played: _Array, wanted: _Array) -> float:
    share = float(np.sum((played - wanted) ** 2) / max(float(np.sum(wanted**2)), np.finfo(float).tiny))
    return 0.5 * float(gain_to_db(share))
