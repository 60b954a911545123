"""Levels and peaks of a signal, block by block; loudness and spectra live beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import scipy.signal

Signal = npt.NDArray[np.floating]

#: What a level reads where there is nothing (dB).
SILENCE_DB = -200.0

#: ITU-R BS.1770, annex 2: true peak is measured at four times the rate.
TRUE_PEAK_OVERSAMPLING = 4

#: Shortest signal whose loudness is defined: one gating block (s).
LOUDNESS_BLOCK_S = 0.4

_BLOCK_FRAMES = 1 << 18
_PEAK_MARGIN = 64


def power_to_db(power: float) -> float:
    """Ten times the logarithm, not below `SILENCE_DB`."""
    return max(10.0 * math.log10(power), SILENCE_DB) if power > 0.0 else SILENCE_DB


def blocks_of(frames: int) -> Iterator[slice]:
    """Stretches of a signal that follow each other."""
    for start in range(0, frames, _BLOCK_FRAMES):
        yield slice(start, min(start + _BLOCK_FRAMES, frames))


def energy(audio: Signal) -> float:
    """Sum of the squares of all samples, in blocks and in double precision."""
    blocks = (np.asarray(audio[..., part], dtype=np.float64) for part in blocks_of(audio.shape[-1]))
    return float(sum(np.vdot(block, block) for block in blocks))


def rms_db(audio: Signal) -> float:
    """Root mean square level over both channels (dBFS)."""
    return power_to_db(energy(audio) / max(audio.size, 1))


def crest_factor_db(audio: Signal) -> float:
    """Sample peak over RMS (dB); 0 for silence."""
    peak = max((float(np.max(np.abs(audio[..., part]), initial=0.0)) for part in blocks_of(audio.shape[-1])), default=0)
    return 20.0 * math.log10(peak) - rms_db(audio) if peak > 0.0 else 0.0


def true_peak_db(audio: Signal, *, sample_rate_hz: int) -> float:
    """Highest inter-sample peak (dBTP), ITU-R BS.1770-4 annex 2: at four times the rate, twice from 80 kHz up."""
    factor = TRUE_PEAK_OVERSAMPLING if sample_rate_hz < 80000 else TRUE_PEAK_OVERSAMPLING // 2
    peak = 0.0
    for part in blocks_of(audio.shape[-1]):
        # Blocks overlap by more than the filter's length, so that no peak falls between two.
        wide = np.asarray(audio[..., max(part.start - _PEAK_MARGIN, 0) : part.stop + _PEAK_MARGIN], dtype=np.float64)
        peak = max(peak, float(np.max(np.abs(scipy.signal.resample_poly(wide, factor, 1, axis=-1)), initial=0.0)))
    return power_to_db(peak * peak)
