"""Freeverb, the Schroeder-Moorer reverberator: its figures, closed forms and recursion; no torch (see `freeverb_twin`).

Eight damped comb filters beside each other, then four all-passes in a row, per channel; both
channels hear the same mono sum and differ by the lengths of their delay lines. Public domain, by
"Jezar at Dreampoint", 2000; described by J. O. Smith, "Physical Audio Signal Processing", online book,
2010, chapter "Freeverb". Figures and scaling are those of the class Reverb of JUCE, which pedalboard wraps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from . import equations as eq

Audio = npt.NDArray[np.float64]
Lengths = tuple[int, ...]

#: Delays of combs and all-passes of the left channel (samples at `TUNED_RATE_HZ`); those of the right are longer.
COMBS = (1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617)
ALL_PASSES = (556, 441, 341, 225)
SPREAD = 23
TUNED_RATE_HZ = 44100

#: Feedback of the all-passes; fixed.
ALL_PASS_FEEDBACK = 0.5

#: Feedback of the combs at the ends of the plugin's room size, 0 to 1.
ROOM_FEEDBACK = (0.7, 0.98)

#: One-pole coefficient of the combs at the plugin's full damping.
FULL_DAMPING = 0.4

#: The plugin's gain from the sum of its inputs to its combs, times that of its wet level 1.
WET_GAIN = 0.015 * 3.0

#: Mean delay of the combs (s), whose round trips make the decay time.
MEAN_DELAY_S = (sum(COMBS) / len(COMBS) + 0.5 * SPREAD) / TUNED_RATE_HZ

#: Where the high decay ratio holds (Hz): in the middle, by octaves, of what is above the upper crossover.
DAMPING_HZ = 8000.0

#: An impulse response is written until even the longest comb has decayed by this much (dB).
RESPONSE_DB = 72.0

#: Energy of the impulse response of one all-pass: -1, then 1 and its powers of the feedback.
#: (It is an approximate all-pass: it lets through 7/3 of the energy of noise.)
_ALL_PASS_ENERGY = 1.0 + 1.0 / (1.0 - ALL_PASS_FEEDBACK**2)


def line_lengths(sample_rate_hz: float) -> tuple[tuple[Lengths, Lengths], tuple[Lengths, Lengths]]:
    """Delays of combs and all-passes in samples, each for left and right; cut down to whole samples."""
    combs, all_passes = (
        tuple(
            tuple(max(int(sample_rate_hz) * (length + spread) // TUNED_RATE_HZ, 1) for length in lengths)
            for spread in (0, SPREAD)
        )
        for lengths in (COMBS, ALL_PASSES)
    )
    return (combs[0], combs[1]), (all_passes[0], all_passes[1])


def feedback(decay_s: Any, *, xp: Any) -> Any:
    """Feedback (0 to 1) of the combs for an RT60 at low frequencies: 60 dB in ``decay / MEAN_DELAY_S`` round trips."""
    return xp.exp(-eq.LOG_60_DB * MEAN_DELAY_S / decay_s)


def damping(decay_s: Any, high_decay_ratio: Any, *, sample_rate_hz: float, xp: Any) -> Any:
    """One-pole coefficient ``d`` in the combs for a decay at `DAMPING_HZ` of this share of that of the lows.

    The loop's low-pass ``(1 - d) / (1 - d / z)`` must take ``feedback ** (1 / ratio - 1)`` there; that is
    a quadratic equation in ``d``. Not limited: the plugin goes up to `FULL_DAMPING`.
    """
    share = xp.exp(-2.0 * eq.LOG_60_DB * MEAN_DELAY_S / decay_s * (1.0 / high_decay_ratio - 1.0))
    angle = 2.0 * math.pi * min(DAMPING_HZ / sample_rate_hz, eq.MAX_FREQUENCY_SHARE)
    cosine = math.cos(angle)
    root = xp.sqrt(share * (1.0 - cosine) * (2.0 - share * (1.0 + cosine)))
    return (1.0 - share) / (1.0 - share * cosine + root)


def unity_gain(comb_feedback: Any, *, xp: Any) -> Any:
    """Gain that makes the reverb at 0 dB about as loud as its input at any decay time, as ours is.

    Combs without damping add up ``1 / (1 - g^2)`` of energy each, all-passes multiply it by
    `_ALL_PASS_ENERGY`; each channel gets 2 (at full width, as mid and side of ours have 1 each).
    """
    energy = len(COMBS) * _ALL_PASS_ENERGY ** len(ALL_PASSES) / (1.0 - comb_feedback**2)
    return xp.sqrt(2.0 / energy)


def channel_weights(width: Any) -> tuple[Any, Any]:
    """Weights of a channel's own reverberator and of the other's."""
    return 0.5 * (1.0 + width), 0.5 * (1.0 - width)


def settings(parameters: Mapping[str, float], *, sample_rate_hz: float) -> tuple[float, float, float]:
    """Feedback, damping and `unity_gain` of a set of parameters; damping is limited to what the plugin can do."""
    decay_s = parameters["decay_s"]
    gain = feedback(decay_s, xp=np)
    damp = damping(decay_s, parameters["high_decay_ratio"], sample_rate_hz=sample_rate_hz, xp=np)
    return float(gain), min(float(damp), FULL_DAMPING), float(unity_gain(gain, xp=np))


def room_size(decay_s: float) -> float:
    """The plugin's room size (0 to 1 where it can have this decay)."""
    low, high = ROOM_FEEDBACK
    return (float(feedback(decay_s, xp=np)) - low) / (high - low)


def damping_share(decay_s: float, high_decay_ratio: float, *, sample_rate_hz: float) -> float:
    """The plugin's damping, 0 to 1."""
    found = settings({"decay_s": decay_s, "high_decay_ratio": high_decay_ratio}, sample_rate_hz=sample_rate_hz)
    return found[1] / FULL_DAMPING


def wet_level(decay_s: float) -> float:
    """The plugin's wet level for 0 dB; above 1, what is missing must come from elsewhere."""
    # The plugin adds its channels where the reference takes their mean.
    return float(unity_gain(feedback(decay_s, xp=np), xp=np)) / (2.0 * WET_GAIN)


def response_length(parameters: Mapping[str, float], *, sample_rate_hz: float) -> int:
    """Samples until the impulse response, which has no end, is `RESPONSE_DB` down."""
    combs, all_passes = line_lengths(sample_rate_hz)
    slowest_s = parameters["decay_s"] * max(combs[1]) / (MEAN_DELAY_S * sample_rate_hz)
    return math.ceil(slowest_s * RESPONSE_DB / 60.0 * sample_rate_hz) + 4 * sum(all_passes[1])


def reverberated(send: Audio, parameters: Mapping[str, float], *, sample_rate_hz: float) -> Audio:
    """Send a mono signal through the reverberator, at 0 dB and without pre-delay and cuts.

    Parameters
    ----------
    send : array, shape=(n,)
        Mean of both channels.

    Returns
    -------
    array, shape=(2, n)
    """
    loop_gain, damp, gain = settings(parameters, sample_rate_hz=sample_rate_hz)
    combs, all_passes = line_lengths(sample_rate_hz)
    scaled = np.ascontiguousarray(gain * send)
    left, right = (
        _channel(scaled, np.array(c), np.array(a), loop_gain, damp) for c, a in zip(combs, all_passes, strict=True)
    )
    own, other = channel_weights(parameters["width"])
    return np.stack([own * left + other * right, own * right + other * left])


@numba.njit(cache=True, nogil=True)
def _channel(
    send: Audio, combs: npt.NDArray[np.int64], all_passes: npt.NDArray[np.int64], loop_gain: float, damp: float
) -> Audio:
    out = np.zeros_like(send)
    for length in combs:
        line = np.zeros(length)
        place, low = 0, 0.0
        for i in range(send.shape[0]):
            late = line[place]
            low = late + damp * (low - late)
            line[place] = send[i] + loop_gain * low
            out[i] += late
            place = place + 1 if place + 1 < length else 0
    for length in all_passes:
        line = np.zeros(length)
        place = 0
        for i in range(send.shape[0]):
            late = line[place]
            line[place] = out[i] + ALL_PASS_FEEDBACK * late
            out[i] = late - out[i]
            place = place + 1 if place + 1 < length else 0
    return out
