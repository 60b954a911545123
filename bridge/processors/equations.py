"""The closed-form equations of the processors, written once for numpy and torch alike.

Each function takes the array module `xp` (numpy or torch) and arrays of that module; shapes
broadcast. Recursions, convolutions and random numbers live in `reference` and `twins`.
"""

from __future__ import annotations

import math
from typing import Any, Literal

BiquadKind = Literal["highpass", "lowpass", "bell", "low_shelf", "high_shelf"]

#: High-pass and low-pass are second-order Butterworth sections.
BUTTERWORTH_Q = math.sqrt(0.5)

#: RBJ sections are used up to this share of the sample rate; above it a low-pass, bell or
#: shelf has its effect beyond what the rate can hold and the frequency is held here.
MAX_FREQUENCY_SHARE = 0.49

#: Levels below this are treated as this (dB); it keeps logarithms finite.
LEVEL_FLOOR_DB = -200.0

#: Natural logarithm of 1000: a decay of 60 dB.
LOG_60_DB = math.log(1000.0)

#: Crossovers of the reverb's three decay bands (Hz), first order.
REVERB_CROSSOVERS_HZ = (250.0, 4000.0)

#: A reverb at 0 dB is about as loud as its input between the crossovers: its mid band carries
#: the energy of white noise of this bandwidth (Hz), whatever the sample rate.
REVERB_BANDWIDTH_HZ = REVERB_CROSSOVERS_HZ[1] - REVERB_CROSSOVERS_HZ[0]

#: Window of an on/off gate's RMS level (samples, at any rate), and the range from which it mutes fully.
SWITCH_WINDOW = 400
SWITCH_MUTE_DB = 50.0

#: Release of the RMS level of a gate that follows its power (ms as in `time_constant`).
RMS_RELEASE_MS = 50.0 / (2.0 * math.pi)

#: How far the limiter sees ahead (ms), and how long its gain takes to get down to a peak. Long against
#: the rise of a drum, so that the gain moves smoothly; short enough not to be heard before it.
LIMITER_LOOK_AHEAD_MS = 3.0

#: Below this square of the driven signal, saturation is its power series (the next term is 1e-12).
_SATURATION_SERIES_BELOW = 0.01

#: The reverb's impulse response ends here (s) even if it has not decayed by 60 dB.
REVERB_MAX_S = 6.0

#: Park and Miller's "minimal standard" generator: exact in double precision everywhere.
LCG_MULTIPLIER = 16807
LCG_MODULUS = 2147483647
#: Start values of the reverb's mid and side noise.
REVERB_SEEDS = (20240611, 73939133)


def db_to_gain(level_db: Any) -> Any:
    """Decibels to linear amplitude: ``10 ** (x / 20)``."""
    return 10.0 ** (level_db / 20.0)


def gain_to_db(gain: float) -> float:
    """Linear amplitude (>= 0) to decibels; minus infinity for 0."""
    return 20.0 * math.log10(gain) if gain > 0.0 else -math.inf


def pan_gains(pan: Any, *, xp: Any) -> tuple[Any, Any]:
    """Left and right gain of a pan position, constant power, unity at the centre.

    ``theta = (1 + pan) pi / 4``, ``L = sqrt(2) cos(theta)``, ``R = sqrt(2) sin(theta)``:
    REAPER's pan law 0.70710678 with 3.01 dB added.
    """
    theta = (1.0 + pan) * (math.pi / 4.0)
    return math.sqrt(2.0) * xp.cos(theta), math.sqrt(2.0) * xp.sin(theta)


def channel_gains(*, gain_db: float, pan: float, mix: float) -> tuple[float, float]:
    """Left and right gain of a gain/pan processor, its dry part included (both >= 0)."""
    wet = mix * db_to_gain(gain_db)
    left, right = pan_gains(pan, xp=math)
    return max(wet * left + 1.0 - mix, 0.0), max(wet * right + 1.0 - mix, 0.0)


def gain_and_pan(left: float, right: float) -> tuple[float, float]:
    """Gain (linear) and pan that give these (non-negative) left and right gains; inverts `pan_gains`.

    Equal gains give a pan of exactly 0.
    """
    if left == right:
        return left, 0.0
    pan = math.atan2(right, left) * 4.0 / math.pi - 1.0
    return math.hypot(left, right) / math.sqrt(2.0), min(max(pan, -1.0), 1.0)


def time_constant(time_ms: Any, *, sample_rate_hz: float, xp: Any) -> Any:
    """One-pole step ``k`` of a time constant: 63.2 % of a step is reached after `time_ms`.

    ``k = 1 - exp(-1 / (time * rate))``; used as ``e += k * (x - e)``.
    """
    return 1.0 - xp.exp(-1000.0 / (time_ms * sample_rate_hz))


def compressor_gain_db(level_db: Any, *, threshold_db: Any, ratio: Any, knee_db: Any, xp: Any) -> Any:
    """Static curve of the compressor (<= 0 dB), quadratic knee of full width `knee_db`.

    Giannoulis, Massberg, Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012, eq. 4.
    """
    over = level_db - threshold_db
    slope = 1.0 / ratio - 1.0
    return slope * _soft_ramp(over, knee_db, xp=xp)


def gate_gain_db(level_db: Any, *, threshold_db: Any, ratio: Any, range_db: Any, knee_db: Any, xp: Any) -> Any:
    """Static curve of the gate, a downward expander that attenuates by `range_db` at most.

    ``-(ratio - 1) * ramp(threshold - level)``, with the compressor's knee, not below ``-range_db``.
    """
    under = threshold_db - level_db
    return xp.maximum((1.0 - ratio) * _soft_ramp(under, knee_db, xp=xp), -range_db + 0.0 * under)


#: The S-curve of a gate spans at most this much (dB).
GATE_ZONE_DB = (0.1, 60.0)


def gate_zone_db(*, ratio: Any, range_db: Any, knee_db: Any, xp: Any) -> tuple[Any, Any]:
    """Width of the S-curve's zone below the threshold, and the reduction below the zone (>= 0), in dB.

    The zone is as wide as the expander of the same ratio needs to reach its range, and wider by
    the knee; where it would be wider than a plugin can have, less is reached. A ratio of 1 does nothing.
    """
    slope = ratio - 1.0
    zero = 0.0 * (slope + range_db + knee_db)
    reach = xp.minimum(range_db / xp.maximum(slope, 1e-9 + zero) + zero, GATE_ZONE_DB[1] + zero)
    return xp.clip(reach + knee_db, *GATE_ZONE_DB), slope * reach


def smoothstep_gate_gain_db(
    level_db: Any, *, threshold_db: Any, ratio: Any, range_db: Any, knee_db: Any, xp: Any
) -> Any:
    """Static curve of a gate that closes along ``3 u^2 - 2 u^3`` (<= 0 dB); open from the threshold up."""
    zone_db, depth_db = gate_zone_db(ratio=ratio, range_db=range_db, knee_db=knee_db, xp=xp)
    u = xp.clip((threshold_db - level_db) / zone_db, 0.0, 1.0)
    return -depth_db * u * u * (3.0 - 2.0 * u)


def _soft_ramp(x: Any, width: Any, *, xp: Any) -> Any:
    """``max(x, 0)`` with a quadratic bend of full width `width` around 0."""
    safe = xp.maximum(width + 0.0 * x, 1e-9 + 0.0 * x)
    bend = (x + 0.5 * safe) ** 2 / (2.0 * safe)
    zero = 0.0 * x
    return xp.where(x <= -0.5 * safe, zero, xp.where(x >= 0.5 * safe, x, bend))


def saturation_shape(drive_db: Any) -> Any:
    """Square ``z = d^2 - 1`` of the factor by which saturation scales its input, ``d`` being the drive as a gain."""
    return 10.0 ** (drive_db / 10.0) - 1.0


def saturated(x: Any, shape: Any, *, xp: Any) -> Any:
    """The saturation curve ``tanh(a x) / a`` with ``a^2 = shape``: unity gain for small signals, at most ``1 / a``.

    The hyperbolic tangent is the usual soft clipper (Zoelzer, "DAFX: Digital Audio Effects", 2nd
    edition 2011, chapter 4); taking ``a = sqrt(d^2 - 1)`` of a drive ``d`` instead of ``d`` itself makes
    no drive exactly neutral and, as the curve is an even function of `a`, leaves it a slope there
    (``-x^3 / 3`` per unit of `shape`), so that an optimiser can leave the default. The curve is
    odd: a bias would add even harmonics, but also an offset that moves with the level. It has no
    memory and nothing is oversampled: harmonics above half the sample rate fold back, alike in
    every realisation.
    """
    square = shape * x * x
    small = square < _SATURATION_SERIES_BELOW
    root = xp.sqrt(xp.where(small, 1.0 + 0.0 * square, square))
    series = 1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 + square * (-17.0 / 315.0 + square * (62.0 / 2835.0))))
    return x * xp.where(small, series, xp.tanh(root) / root)


def saturation_slopes(x: Any, y: Any, shape: Any, *, xp: Any) -> tuple[Any, Any]:
    """Derivatives of ``y = saturated(x, shape)`` by `x` and by `shape`."""
    by_x = 1.0 - shape * y * y
    square = shape * x * x
    small = square < _SATURATION_SERIES_BELOW
    series = -1.0 / 3.0 + square * (4.0 / 15.0 + square * (-17.0 / 105.0 + square * (248.0 / 2835.0)))
    twice = 2.0 * xp.where(small, 1.0 + 0.0 * square, shape + 0.0 * square)
    return by_x, xp.where(small, x * x * x * series, (x * by_x - y) / twice)


def limiter_look_ahead(sample_rate_hz: float) -> int:
    """Samples the limiter sees ahead: `LIMITER_LOOK_AHEAD_MS`, rounded half up."""
    return math.floor(LIMITER_LOOK_AHEAD_MS * sample_rate_hz / 1000.0 + 0.5)


def limiter_boxes(look_ahead: int) -> tuple[int, int]:
    """Lengths of the two moving averages that smooth the limiter's gain, together ``look_ahead + 1`` long."""
    return look_ahead // 2 + 1, look_ahead - look_ahead // 2 + 1


def limiter_reduction(peak: Any, ceiling: Any, *, xp: Any) -> Any:
    """Share of the amplitude (0 up to below 1) a limiter has to take from a peak: ``1 - min(1, ceiling / peak)``.

    Linear amplitudes, ``ceiling > 0``. What follows is the usual look-ahead limiter (Zoelzer, "DAFX:
    Digital Audio Effects", 2nd edition 2011, section 4.2.1; Giannoulis, Massberg, Reiss, JAES 60(6), 2012,
    for the peak follower): the largest reduction within the look-ahead is held, falls back with the
    release, one-pole and in linear gain, and is averaged over the look-ahead. All that is averaged at a peak
    was at least what the peak needs, so no sample ends above the ceiling.
    """
    return xp.maximum(peak - ceiling, 0.0 * peak) / xp.maximum(peak, ceiling + 0.0 * peak)


def biquad(
    kind: BiquadKind, *, frequency_hz: Any, gain_db: Any, q: Any, sample_rate_hz: float, xp: Any
) -> tuple[Any, Any, Any, Any, Any]:
    """Coefficients ``b0, b1, b2, a1, a2`` (``a0 = 1``) of one section.

    R. Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter coefficients"; shelves in
    their Q form. `gain_db` is ignored by the passes. The frequency is held below
    `MAX_FREQUENCY_SHARE` of the rate.
    """
    ceiling = MAX_FREQUENCY_SHARE * sample_rate_hz
    w0 = (2.0 * math.pi / sample_rate_hz) * xp.clip(frequency_hz, 1e-3, ceiling)
    cosine, alpha = xp.cos(w0), xp.sin(w0) / (2.0 * q)
    if kind in ("highpass", "lowpass"):
        sign = 1.0 if kind == "highpass" else -1.0
        b1 = -sign * (1.0 + sign * cosine)
        b0 = 0.5 * (1.0 + sign * cosine)
        b2, a0, a1, a2 = b0, 1.0 + alpha, -2.0 * cosine, 1.0 - alpha
    elif kind == "bell":
        amp = 10.0 ** (gain_db / 40.0)
        b0, b1, b2 = 1.0 + alpha * amp, -2.0 * cosine, 1.0 - alpha * amp
        a0, a1, a2 = 1.0 + alpha / amp, -2.0 * cosine, 1.0 - alpha / amp
    else:
        amp = 10.0 ** (gain_db / 40.0)
        sign = 1.0 if kind == "low_shelf" else -1.0
        plus, minus, bend = amp + 1.0, amp - 1.0, 2.0 * amp**0.5 * alpha
        b0 = amp * (plus - sign * minus * cosine + bend)
        b1 = sign * 2.0 * amp * (minus - sign * plus * cosine)
        b2 = amp * (plus - sign * minus * cosine - bend)
        a0 = plus + sign * minus * cosine + bend
        a1 = -sign * 2.0 * (minus + sign * plus * cosine)
        a2 = plus + sign * minus * cosine - bend
    return b0 / a0, b1 / a0, b2 / a0, a1 / a0, a2 / a0
