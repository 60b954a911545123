"""Leaves out breakpoints that the line between their neighbours passes through anyway; no file's format here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from ..bridge.graph import Breakpoint, PanBreakpoint, Timed
from ..bridge.processors.equations import db_to_gain

#: What leaving points out may change: a share of the gain (-140 dB), and as much in pan position.
TOLERANCE = 1e-7

_Volume = TypeVar("_Volume", bound=Breakpoint)
_Pan = TypeVar("_Pan", bound=PanBreakpoint)


def thinned_volume(points: Sequence[_Volume]) -> tuple[_Volume, ...]:
    """Volume automation without the points that change its gain by less than `TOLERANCE` of itself at any time.

    Parameters
    ----------
    points : sequence
        Of growing times.

    Returns
    -------
    tuple
        Some of the points; the first and the last among them.
    """
    gains = [float(db_to_gain(p.gain_db)) for p in points]
    return tuple(points[i] for i in kept(points, gains, [TOLERANCE * gain for gain in gains]))


def thinned_pan(points: Sequence[_Pan]) -> tuple[_Pan, ...]:
    """Pan automation without the points that change its position by less than `TOLERANCE`; see `thinned_volume`."""
    return tuple(points[i] for i in kept(points, [p.pan for p in points], [TOLERANCE] * len(points)))


def kept(points: Sequence[Timed], values: Sequence[float], tolerances: Sequence[float]) -> list[int]:
    """Which points stay, so that lines between them pass all others within their tolerances.

    Parameters
    ----------
    points : sequence
        Of growing times.
    values, tolerances : sequence of float
        Of each point.

    Returns
    -------
    list of int
        The first and the last among them.

    Notes
    -----
    From each kept point on, the slopes of all lines that pass the next points closely enough are a
    range that only narrows; the last point in that direction is the next one kept. The deviation
    of two piecewise straight lines is greatest at a point, so that nothing between needs a look.
    """
    kept = [0] if points else []
    lowest, highest = -math.inf, math.inf
    for index in range(1, len(points)):
        slope = _slope(points, values, kept[-1], index)
        if not lowest <= slope <= highest:
            kept.append(index - 1)
            lowest, highest = -math.inf, math.inf
        anchor, tolerance = kept[-1], tolerances[index]
        lowest = max(lowest, _slope(points, values, anchor, index, by=-tolerance))
        highest = min(highest, _slope(points, values, anchor, index, by=tolerance))
    if len(points) > 1:
        kept.append(len(points) - 1)
    return kept


def _slope(points: Sequence[Timed], values: Sequence[float], start: int, end: int, *, by: float = 0.0) -> float:
    """Slope of the line from one point to another one, moved up `by`; the times of both differ."""
    return (values[end] + by - values[start]) / (points[end].time_s - points[start].time_s)
