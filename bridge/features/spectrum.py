"""Levels in bands of frequency: critical bands, octaves, any others; the shape of a spectrum lives in `shape`."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.signal

from .levels import Signal, power_to_db

#: Zwicker, "Subdivision of the audible frequency range into critical bands", JASA 33, 1961: band edges (Hz).
BARK_EDGES_HZ = (
    0, 100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720, 2000, 2320, 2700, 3150, 3700, 4400, 5300, 6400,
    7700, 9500, 12000, 15500,
)  # fmt: skip

#: Centres of the octave bands of IEC 61260 (Hz).
OCTAVE_CENTRES_HZ = (31.5, 63.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)

_SPECTRUM_SIZE = 8192

#: Segments of Welch's method that are transformed at once.
_SEGMENTS = 64


def band_powers(audio: Signal, edges_hz: npt.ArrayLike, *, sample_rate_hz: int) -> npt.NDArray[np.float64]:
    """Mean power of each channel's signal between neighbouring edges.

    Parameters
    ----------
    audio : array, shape=(channels, n), n >= 1
    edges_hz : array, shape=(bands + 1,)
        Ascending; what lies above half the rate holds nothing.

    Returns
    -------
    array, shape=(channels, bands)
    """
    edges = np.asarray(edges_hz, dtype=np.float64)
    size = min(_SPECTRUM_SIZE, audio.shape[-1])
    frequency_hz, density = _welch(audio, size=size, sample_rate_hz=sample_rate_hz)
    # A bin stands for the stretch around its frequency; bands that cut it share it.
    width = sample_rate_hz / size
    lower = frequency_hz - 0.5 * width
    shares = np.clip(np.minimum(edges[1:, None], lower + width) - np.maximum(edges[:-1, None], lower), 0.0, None)
    return np.asarray(density @ shares.T, dtype=np.float64)


def _welch(audio: Signal, *, size: int, sample_rate_hz: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Welch's power density of a whole signal, of some segments at a time: all at once, they are twice the signal."""
    hop = size - size // 2
    count = (audio.shape[-1] - size) // hop + 1
    total: npt.NDArray[np.float64] = np.zeros(1)
    for first in range(0, count, _SEGMENTS):
        segments = min(_SEGMENTS, count - first)
        part = np.asarray(audio[..., first * hop : (first + segments - 1) * hop + size], dtype=np.float64)
        frequency_hz, density = scipy.signal.welch(part, sample_rate_hz, nperseg=size, detrend=False)
        total = total + density * segments
    return frequency_hz, total / count


def bark_spectrum_db(audio: Signal, *, sample_rate_hz: int) -> tuple[float, ...]:
    """Level in each of Zwicker's 24 critical bands (dB), mean of both channels' powers."""
    powers = band_powers(audio, BARK_EDGES_HZ, sample_rate_hz=sample_rate_hz).mean(axis=0)
    return tuple(power_to_db(float(p)) for p in powers)


def octave_levels_db(audio: Signal, *, sample_rate_hz: int) -> tuple[float, ...]:
    """Level in each octave band of `OCTAVE_CENTRES_HZ` (dB), mean of both channels' powers."""
    edges = [OCTAVE_CENTRES_HZ[0] / math.sqrt(2.0), *(c * math.sqrt(2.0) for c in OCTAVE_CENTRES_HZ)]
    powers = band_powers(audio, edges, sample_rate_hz=sample_rate_hz).mean(axis=0)
    return tuple(power_to_db(float(p)) for p in powers)
