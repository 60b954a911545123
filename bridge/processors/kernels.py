"""Dynamics in one pass over the samples, with hand-written gradients, for CPUs; the equations are in `equations`.

A compressor written as a dozen tensor operations moves every sample through memory a dozen
times, and as often again for the gradient. Here detector, static curve and gain are one loop,
and the gradient another, with the same result (`test_twins` compares both). Devices other
than the CPU use the tensor operations of `twins`.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .equations import LEVEL_FLOOR_DB, db_to_gain

_FLOOR = float(db_to_gain(LEVEL_FLOOR_DB))
_DB_PER_NEPER = 20.0 / math.log(10.0)

Array = npt.NDArray[np.floating[Any]]


#: So far below its threshold every gate is closed (dB).
_CLOSED_DB = 1e9


@numba.njit(cache=True, nogil=True)
def _ramp(over: float, knee: float) -> tuple[float, float, float]:  # pragma: no cover - compiled
    """``equations._soft_ramp`` with its slopes by `over` and by `knee`."""
    half = 0.5 * knee
    if over <= -half:
        return 0.0, 0.0, 0.0
    if over >= half:
        return over, 1.0, 0.0
    bend = over + half
    return bend * bend / (2.0 * knee), bend / knee, bend / (2.0 * knee) - bend * bend / (2.0 * knee * knee)


@numba.njit(cache=True, nogil=True)
def _compressor(
    x: Array, p: Array, y: Array, envelope: Array, over: Array, gain: Array
) -> None:  # pragma: no cover - compiled
    """Rows of `p`: attack and release step, threshold (dB), slope, knee (dB), make-up (dB)."""
    rows, channels, frames = x.shape
    for row in range(rows):
        attack, release, threshold, slope, knee, makeup = p[row]
        # Up to here the curve does nothing, and no logarithm has to be taken.
        quiet = math.exp((threshold - 0.5 * knee) / _DB_PER_NEPER)
        makeup_gain = math.exp(makeup / _DB_PER_NEPER)
        e = 0.0
        for t in range(frames):
            peak = abs(x[row, 0, t])
            for c in range(1, channels):
                peak = max(peak, abs(x[row, c, t]))
            e += (attack if peak > e else release) * (peak - e)
            g = makeup_gain
            # Rounded to single precision the level may be on the other side of a limit: so every value is there.
            over[row, t] = -0.5 * knee
            if e > quiet:
                over[row, t] = _DB_PER_NEPER * math.log(max(e, _FLOOR)) - threshold
                ramp, _, _ = _ramp(over[row, t], knee)
                g = math.exp((slope * ramp + makeup) / _DB_PER_NEPER)
            envelope[row, t] = e
            gain[row, t] = g
            for c in range(channels):
                y[row, c, t] = g * x[row, c, t]


@numba.njit(cache=True, nogil=True)
def _compressor_gradient(
    x: Array, p: Array, envelope: Array, over: Array, gain: Array, dy: Array, dx: Array, dp: Array
) -> None:  # pragma: no cover - compiled
    rows, channels, frames = x.shape
    for row in range(rows):
        attack, release, threshold, slope, knee, _ = p[row]
        quiet = math.exp((threshold - 0.5 * knee) / _DB_PER_NEPER)
        by_attack = by_release = by_threshold = by_slope = by_knee = by_makeup = 0.0
        later = 0.0
        for t in range(frames - 1, -1, -1):
            e, g = envelope[row, t], gain[row, t]
            by_gain_db = 0.0
            for c in range(channels):
                by_gain_db += dy[row, c, t] * x[row, c, t]
                dx[row, c, t] = dy[row, c, t] * g
            by_gain_db *= g / _DB_PER_NEPER
            by_makeup += by_gain_db
            if e > quiet:
                ramp, rise, bend = _ramp(over[row, t], knee)
                by_slope += by_gain_db * ramp
                by_knee += by_gain_db * bend
                by_threshold -= by_gain_db * rise
                if e > _FLOOR:
                    later += by_gain_db * slope * rise * _DB_PER_NEPER / e
            step, excess, rising = _follow_back(x, envelope, attack, release, later, row, t, dx)
            if rising:
                by_attack += later * excess
            else:
                by_release += later * excess
            later *= 1.0 - step
        dp[row, 0], dp[row, 1], dp[row, 2] = by_attack, by_release, slope * by_threshold
        dp[row, 3], dp[row, 4], dp[row, 5] = by_slope, slope * by_knee, by_makeup


@numba.njit(cache=True, nogil=True)
def _gate(
    x: Array, p: Array, y: Array, envelope: Array, over: Array, gain: Array
) -> None:  # pragma: no cover - compiled
    """Rows of `p`: attack and release step, threshold (dB), ``1 - ratio``, knee (dB), range (dB)."""
    rows, channels, frames = x.shape
    for row in range(rows):
        attack, release, threshold, slope, knee, range_db = p[row]
        open_from = math.exp((threshold + 0.5 * knee) / _DB_PER_NEPER)
        closed_to = _closed_to(threshold, slope, knee, range_db)
        closed_gain = math.exp(-range_db / _DB_PER_NEPER)
        e = 0.0
        for t in range(frames):
            peak = abs(x[row, 0, t])
            for c in range(1, channels):
                peak = max(peak, abs(x[row, c, t]))
            e += (attack if peak > e else release) * (peak - e)
            g = 1.0
            over[row, t] = -0.5 * knee
            if e < closed_to:
                over[row, t] = _CLOSED_DB
                g = closed_gain
            elif e < open_from:
                over[row, t] = threshold - _DB_PER_NEPER * math.log(max(e, _FLOOR))
                ramp, _, _ = _ramp(over[row, t], knee)
                g = math.exp(max(slope * ramp, -range_db) / _DB_PER_NEPER)
            envelope[row, t] = e
            gain[row, t] = g
            for c in range(channels):
                y[row, c, t] = g * x[row, c, t]


@numba.njit(cache=True, nogil=True)
def _closed_to(threshold: float, slope: float, knee: float, range_db: float) -> float:  # pragma: no cover - compiled
    """Level (linear) below which a gate is closed for certain."""
    if slope > -1e-6:
        return 0.0
    below_db = max(-range_db / slope, 0.5 * knee) + 1e-3
    return math.exp((threshold - below_db) / _DB_PER_NEPER)


@numba.njit(cache=True, nogil=True)
def _gate_gradient(
    x: Array, p: Array, envelope: Array, over: Array, gain: Array, dy: Array, dx: Array, dp: Array
) -> None:  # pragma: no cover - compiled
    rows, channels, frames = x.shape
    for row in range(rows):
        attack, release, threshold, slope, knee, range_db = p[row]
        open_from = math.exp((threshold + 0.5 * knee) / _DB_PER_NEPER)
        closed_to = _closed_to(threshold, slope, knee, range_db)
        by_attack = by_release = by_threshold = by_slope = by_knee = by_range = 0.0
        later = 0.0
        for t in range(frames - 1, -1, -1):
            e, g = envelope[row, t], gain[row, t]
            by_gain_db = 0.0
            for c in range(channels):
                by_gain_db += dy[row, c, t] * x[row, c, t]
                dx[row, c, t] = dy[row, c, t] * g
            by_gain_db *= g / _DB_PER_NEPER
            if e < closed_to:
                by_range -= by_gain_db
            elif e < open_from:
                ramp, rise, bend = _ramp(over[row, t], knee)
                if slope * ramp < -range_db:
                    by_range -= by_gain_db
                else:
                    by_threshold += by_gain_db * rise
                    by_slope += by_gain_db * ramp
                    by_knee += by_gain_db * bend
                    if e > _FLOOR:
                        later -= by_gain_db * slope * rise * _DB_PER_NEPER / e
            step, excess, rising = _follow_back(x, envelope, attack, release, later, row, t, dx)
            if rising:
                by_attack += later * excess
            else:
                by_release += later * excess
            later *= 1.0 - step
        dp[row, 0], dp[row, 1], dp[row, 2] = by_attack, by_release, slope * by_threshold
        dp[row, 3], dp[row, 4], dp[row, 5] = by_slope, slope * by_knee, by_range


@numba.njit(cache=True, nogil=True)
def _follow_back(
    x: Array, envelope: Array, attack: float, release: float, by_envelope: float, row: int, t: int, dx: Array
) -> tuple[float, float, bool]:  # pragma: no cover - compiled
    """Take one step of the follower back: its constant, how far the peak was above it, and whether it rose."""
    peak = abs(x[row, 0, t])
    loudest = 0
    for c in range(1, x.shape[1]):
        if abs(x[row, c, t]) > peak:
            peak = abs(x[row, c, t])
            loudest = c
    excess = peak - (envelope[row, t - 1] if t > 0 else 0.0)
    step = attack if excess > 0.0 else release
    dx[row, loudest, t] += by_envelope * step * np.sign(x[row, loudest, t])
    return step, excess, excess > 0.0


class _Dynamics(torch.autograd.Function):
    """Shared by both: signals (rows, channels, n), settings (rows, 6) in double precision.

    Results live in tensors' own memory, which is aligned: numpy's is not always, and sums over it
    then round differently from run to run.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, settings: Tensor, kind: str) -> Tensor:
        signal = np.ascontiguousarray(x.detach().numpy())
        rows, _, frames = signal.shape
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        found = torch.empty((3, rows, frames), dtype=x.dtype)
        p = np.ascontiguousarray(settings.detach().numpy())
        envelope, over, gain = found.numpy()
        (_compressor if kind == "compressor" else _gate)(signal, p, y.numpy(), envelope, over, gain)
        ctx.kind = kind
        # What autograd saves it frees after the backward pass; attributes of `ctx` it would keep for good.
        ctx.save_for_backward(x, settings, found)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, settings, found = ctx.saved_tensors
        signal, p, dy = (np.ascontiguousarray(t.detach().numpy()) for t in (x, settings, gradients[0]))
        dx = torch.empty_like(x, memory_format=torch.contiguous_format)
        dp = torch.zeros_like(settings, memory_format=torch.contiguous_format)
        envelope, over, gain = found.numpy()
        (_compressor_gradient if ctx.kind == "compressor" else _gate_gradient)(
            signal, p, envelope, over, gain, dy, dx.numpy(), dp.numpy()
        )
        return dx, dp, None


def compress(x: Tensor, *, steps: tuple[Tensor, ...], curve: tuple[Tensor, ...], makeup_db: Tensor) -> Tensor:
    """The compressor that follows the level of the louder channel.

    Parameters
    ----------
    x : Tensor, shape=(nodes, channels, n)
        On the CPU, single or double precision.
    steps : two of Tensor, shape=(nodes,)
        Attack and release (`equations.time_constant`).
    curve : three of Tensor, shape=(nodes,)
        Threshold (dBFS), ratio, knee (dB), as in `equations.compressor_gain_db`.
    makeup_db : Tensor, shape=(nodes,)

    Returns
    -------
    Tensor, shape=(nodes, channels, n)
    """
    threshold_db, ratio, knee_db = curve
    return _apply(x, (*steps, threshold_db, 1.0 / ratio - 1.0, knee_db, makeup_db), "compressor")


def gate(x: Tensor, *, steps: tuple[Tensor, ...], curve: tuple[Tensor, ...], range_db: Tensor) -> Tensor:
    """The gate that follows the level of the louder channel.

    Parameters
    ----------
    x, steps
        As in `compress`.
    curve : three of Tensor, shape=(nodes,)
        Threshold (dBFS), ratio, knee (dB), as in `equations.gate_gain_db`.
    range_db : Tensor, shape=(nodes,)
    """
    threshold_db, ratio, knee_db = curve
    return _apply(x, (*steps, threshold_db, 1.0 - ratio, knee_db, range_db), "gate")


def _apply(x: Tensor, settings: tuple[Tensor, ...], kind: str) -> Tensor:
    stacked = torch.stack([s.double() for s in settings], dim=1)
    y: Tensor = _Dynamics.apply(x, stacked, kind)  # type: ignore[no-untyped-call]
    return y
