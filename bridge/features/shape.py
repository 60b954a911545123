"""Shape of the spectrum and panning over frequency, frame by frame; levels in bands live in `spectrum`.

Frames have 4096 samples with a hop of 1024 at any rate, Hann window. A frame's spectrum is the
root of the mean power of both channels; features are means over the frames that are not more
than 60 dB below the loudest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import librosa
import numpy as np
import numpy.typing as npt

from .levels import Signal

FRAME_SIZE, HOP = 4096, 1024

#: Frames further below the loudest than this (dB) are left out.
QUIET_FRAME_DB = 60.0

#: Share of a frame's magnitude that lies below the roll-off.
ROLLOFF_SHARE = 0.85

#: Bins of a frame further below its strongest than this (dB) have no place between the loudspeakers.
PANNED_BIN_DB = 100.0

#: Tzanetakis et al.: upper edges of the low and the middle band of panning (Hz).
PANNING_EDGES_HZ = (250.0, 2500.0)

#: Valleys count from here up, below the strongest bin of their frame (dB).
_CONTRAST_FLOOR_DB = 80.0
_CONTRAST_LOWEST_HZ, _CONTRAST_OCTAVES = 200.0, 6

_FRAMES_AT_ONCE = 256

_FloatArray = npt.NDArray[np.floating]


#: Fields of `features.Features` that are measured here.
_NAMES = (
    "centroid_hz",
    "bandwidth_hz",
    "rolloff_hz",
    "flatness",
    "contrast_db",
    "panning_rms",
    "panning_rms_low",
    "panning_rms_mid",
    "panning_rms_high",
)


def shape_features(audio: Signal, *, sample_rate_hz: int) -> dict[str, float | None]:
    """Centroid, bandwidth, roll-off, flatness and contrast of the spectrum, and panning RMS; None for silence.

    Centroid, bandwidth (second moment), roll-off (85 % of the magnitude), flatness (of the power)
    and contrast (Jiang et al., "Music type classification by spectral contrast feature", ICME
    2002: six octaves from 200 Hz, of the power; mean over bands) are those of librosa.

    Panning RMS is that of Tzanetakis, Jones and McNally, "Stereo panning features for classifying
    recording production style", ISMIR 2007: a bin's panning is
    ``(1 - 2 |L R*| / (|L|^2 + |R|^2))``, 0 in the centre and 1 on one side; a frame's is the root
    of the mean square over the bins of a band.

    Parameters
    ----------
    audio : array, shape=(2, n), n >= 1
    sample_rate_hz : int > 0
    """
    parts = [_measured(*block, sample_rate_hz=sample_rate_hz) for block in _spectra(audio)]
    powers, values = (np.concatenate(rows, axis=-1) for rows in zip(*parts, strict=True))
    loud = powers > powers.max() * 10.0 ** (-QUIET_FRAME_DB / 10.0)
    if not loud.any():
        return dict.fromkeys(_NAMES)
    return dict(zip(_NAMES, map(float, values[:, loud].mean(axis=1)), strict=True))


def _spectra(audio: Signal) -> Iterator[tuple[_FloatArray, _FloatArray]]:
    """Magnitudes of left and right, shape (bins, frames), for some frames at a time; no frame is left out."""
    frames = audio.shape[-1]
    count = 1 + max(0, math.ceil((frames - FRAME_SIZE) / HOP))
    for first in range(0, count, _FRAMES_AT_ONCE):
        last = min(first + _FRAMES_AT_ONCE, count)
        part = np.asarray(audio[:, first * HOP : (last - 1) * HOP + FRAME_SIZE], dtype=np.float32)
        part = np.pad(part, ((0, 0), (0, (last - first - 1) * HOP + FRAME_SIZE - part.shape[-1])))
        left, right = np.abs(librosa.stft(part, n_fft=FRAME_SIZE, hop_length=HOP, center=False))
        yield left, right


def _measured(
    left: _FloatArray, right: _FloatArray, *, sample_rate_hz: int
) -> tuple[_FloatArray, npt.NDArray[np.float64]]:
    """Power of each frame, shape (frames,), and the features in the order of `_NAMES`, shape (features, frames)."""
    power = 0.5 * (np.square(left) + np.square(right))
    # Relative to the frame's strongest bin, so that the floors inside librosa follow the level.
    peak = power.max(axis=0)
    relative = power / np.where(peak > 0.0, peak, 1.0)
    magnitude, rate = np.sqrt(relative), sample_rate_hz
    centroid = librosa.feature.spectral_centroid(S=magnitude, sr=rate)
    rows = [
        centroid[0],
        librosa.feature.spectral_bandwidth(S=magnitude, sr=rate, centroid=centroid)[0],
        librosa.feature.spectral_rolloff(S=magnitude, sr=rate, roll_percent=ROLLOFF_SHARE)[0],
        librosa.feature.spectral_flatness(S=relative, power=1.0)[0],
        _contrast_db(relative, sample_rate_hz=rate),
        *_panning_rms(left, right, relative, sample_rate_hz=rate),
    ]
    return power.sum(axis=0), np.stack([np.asarray(row, dtype=np.float64) for row in rows])


def _contrast_db(relative: _FloatArray, *, sample_rate_hz: int) -> _FloatArray:
    """Mean over the octaves that lie below half the rate."""
    octaves = math.ceil(math.log2(0.5 * sample_rate_hz / _CONTRAST_LOWEST_HZ))
    if octaves < 1:
        return np.zeros(relative.shape[1])
    # librosa floors at 80 dB below the strongest of all frames it is given; here each frame has its own floor.
    floored = np.maximum(relative, 10.0 ** (-_CONTRAST_FLOOR_DB / 10.0))
    bands = librosa.feature.spectral_contrast(
        S=floored, sr=sample_rate_hz, fmin=_CONTRAST_LOWEST_HZ, n_bands=min(octaves, _CONTRAST_OCTAVES)
    )
    return np.asarray(bands.mean(axis=0))


def _panning_rms(
    left: _FloatArray, right: _FloatArray, relative: _FloatArray, *, sample_rate_hz: int
) -> list[_FloatArray]:
    power = np.square(left) + np.square(right)
    heard = relative > 10.0 ** (-PANNED_BIN_DB / 10.0)
    panning = np.where(heard, 1.0 - 2.0 * left * right / np.where(heard, power, 1.0), 0.0)
    frequency_hz = librosa.fft_frequencies(sr=sample_rate_hz, n_fft=FRAME_SIZE)
    low, high = PANNING_EDGES_HZ
    bands = (
        np.ones(len(frequency_hz), dtype=bool),
        frequency_hz < low,
        (frequency_hz >= low) & (frequency_hz < high),
        frequency_hz >= high,
    )
    return [np.sqrt(np.square(panning[band]).mean(axis=0)) if band.any() else 0.0 * relative[0] for band in bands]
