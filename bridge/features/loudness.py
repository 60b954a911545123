"""Loudness over time and what is read off it: integrated loudness, loudness range, dynamic spread; no other levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.signal
from pyloudnorm.iirfilter import IIRfilter

from .levels import LOUDNESS_BLOCK_S, Signal, blocks_of

#: Powers are kept for steps of this length (s); all windows are whole numbers of them.
STEP_S = 0.05

#: ITU-R BS.1770-4 and EBU Tech 3342: what is quieter is no part of the programme (LUFS).
ABSOLUTE_GATE_LUFS = -70.0

#: Relative gates below the mean of what is left (LU): of integrated loudness and of loudness range.
INTEGRATED_GATE_LU, RANGE_GATE_LU = -10.0, -20.0

#: EBU Tech 3342: short-term loudness is that of 3 s, and the range lies between these percentiles.
SHORT_TERM_S = 3.0
RANGE_PERCENTILES = (10.0, 95.0)

#: Below this rate (Hz), the shelf of the K-weighting lies above half the rate, and loudness is undefined.
LOWEST_RATE_HZ = 4000

#: Gating blocks and short-term windows begin every so many steps: 10 times a second.
_HOP_STEPS = 2

_OFFSET_DB = -0.691


@dataclass(frozen=True)
class LoudnessSteps:
    """K-weighted power of a signal, summed over the channels, in steps of `STEP_S`.

    Attributes
    ----------
    powers : array, shape=(steps,)
    """

    powers: npt.NDArray[np.float64]

    def windows_lufs(self, duration_s: float, *, hop_steps: int = _HOP_STEPS) -> npt.NDArray[np.float64]:
        """Loudness of windows of this length (a whole number of steps); -inf for silence."""
        length = round(duration_s / STEP_S)
        if len(self.powers) < length:
            return np.zeros(0)
        sums = np.convolve(self.powers, np.full(length, 1.0 / length), mode="valid")[::hop_steps]
        with np.errstate(divide="ignore"):
            # The sum of a running convolution may end a rounding error below zero.
            return np.asarray(_OFFSET_DB + 10.0 * np.log10(np.maximum(sums, 0.0)))

    def integrated_lufs(self) -> float | None:
        """Gated loudness of the whole, ITU-R BS.1770-4: blocks of 400 ms that overlap by 75 %; None where undefined."""
        kept = _gated(self.windows_lufs(LOUDNESS_BLOCK_S), INTEGRATED_GATE_LU)
        return _mean_lufs(kept) if len(kept) else None

    def range_lu(self) -> float | None:
        """Loudness range, EBU Tech 3342: spread of the short-term loudness after both gates; None where undefined."""
        kept = _gated(self.windows_lufs(SHORT_TERM_S), RANGE_GATE_LU)
        if not len(kept):
            return None
        low, high = np.percentile(kept, RANGE_PERCENTILES)
        return float(high - low)

    def dynamic_spread_db(self) -> float | None:
        """Mean absolute deviation of the loudness of 50 ms from its mean (dB); None where all is silent.

        After Vickers, "Automatic long-term loudness and dynamics matching", AES 111th convention,
        2001, with p = 1; loudness is that of BS.1770, and what EBU Tech 3342 gates away is left out.
        """
        kept = _gated(self.windows_lufs(STEP_S, hop_steps=1), RANGE_GATE_LU)
        return float(np.mean(np.abs(kept - kept.mean()))) if len(kept) else None


def loudness_steps(audio: Signal, *, sample_rate_hz: int) -> LoudnessSteps:
    """Weigh a signal with the K-weighting of ITU-R BS.1770 and keep its power over time.

    Parameters
    ----------
    audio : array, shape=(2, n), n >= 1
    sample_rate_hz : int > 0
        What is left at the end of less than a step counts for nothing.
    """
    frames = audio.shape[-1]
    if sample_rate_hz < LOWEST_RATE_HZ:
        return LoudnessSteps(np.zeros(0))
    weigh, steps = _k_weighting(sample_rate_hz, channels=audio.shape[0]), math.floor(frames / sample_rate_hz / STEP_S)
    edges = np.round(np.arange(steps + 1) * STEP_S * sample_rate_hz).astype(np.int64)
    sums = np.zeros(max(steps, 1))
    for part in blocks_of(frames):
        squares = np.square(weigh(np.asarray(audio[..., part], dtype=np.float64))).sum(axis=0)
        step_of = np.searchsorted(edges, np.arange(part.start, part.stop), side="right") - 1
        inside = step_of < steps
        sums += np.bincount(step_of[inside], squares[inside], minlength=len(sums))
    return LoudnessSteps(sums[:steps] / np.diff(edges))


def integrated_loudness_lufs(audio: Signal, *, sample_rate_hz: int) -> float | None:
    """Gated loudness of the whole signal, ITU-R BS.1770-4; None where it is undefined."""
    return loudness_steps(audio, sample_rate_hz=sample_rate_hz).integrated_lufs()


def k_weighting_sos(sample_rate_hz: int) -> npt.NDArray[np.float64]:
    """The two stages of the K-weighting, ITU-R BS.1770-4 annex 1, for any rate; shape (2, 6).

    The analogue prototype behind the tables of the recommendation is that of De Man, "Evaluation
    of implementations of the EBU R128 loudness measurement", AES 145th convention, 2018.
    """
    shelf = IIRfilter(3.99984385397, 0.7071752369554193, 1681.9744509555319, sample_rate_hz, "high_shelf_DeMan")
    high_pass = IIRfilter(0.0, 0.5003270373253953, 38.13547087613982, sample_rate_hz, "high_pass_DeMan")
    return np.array([[*stage.b, *stage.a] for stage in (shelf, high_pass)], dtype=np.float64)


def _k_weighting(sample_rate_hz: int, *, channels: int) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    sos = k_weighting_sos(sample_rate_hz)
    state = np.zeros((len(sos), channels, 2))

    def weigh(block: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        out, state[:] = scipy.signal.sosfilt(sos, block, axis=-1, zi=state)
        return np.asarray(out)

    return weigh


def _mean_lufs(loudness: npt.NDArray[np.float64]) -> float:
    """Loudness of the mean power."""
    return 10.0 * math.log10(float(np.mean(10.0 ** (loudness / 10.0))))


def _gated(loudness: npt.NDArray[np.float64], gate_lu: float) -> npt.NDArray[np.float64]:
    """What is above the absolute gate and, after that, above the relative one."""
    loud = loudness[loudness >= ABSOLUTE_GATE_LUFS]
    return loud[loud > _mean_lufs(loud) + gate_lu] if len(loud) else loud
