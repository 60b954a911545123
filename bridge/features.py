"""Audio features that describe a mix: levels, loudness, peaks, stereo image, spectra; two mixes are not compared here.

Signals have the shape (2, n), full scale is 1. Levels of silence are `SILENCE_DB`.

The set is the one used to judge automatic mixes: RMS level, crest factor, stereo width, stereo
imbalance and Bark spectrum (De Man et al., "An analysis and evaluation of audio features for
multitrack music mixtures", ISMIR 2014; Vanka et al., "Diff-MST: differentiable mixing style
transfer", ISMIR 2024), with loudness and true peak of ITU-R BS.1770.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyloudnorm
import scipy.signal

Signal = npt.NDArray[np.floating]

#: What a level reads where there is nothing (dB).
SILENCE_DB = -200.0

#: ITU-R BS.1770, annex 2: true peak is measured at four times the rate.
TRUE_PEAK_OVERSAMPLING = 4

#: Zwicker, "Subdivision of the audible frequency range into critical bands", JASA 33, 1961: band edges (Hz).
BARK_EDGES_HZ = (
    0, 100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720, 2000, 2320, 2700, 3150, 3700, 4400, 5300, 6400,
    7700, 9500, 12000, 15500,
)  # fmt: skip

#: Centres of the octave bands of IEC 61260 (Hz).
OCTAVE_CENTRES_HZ = (31.5, 63.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)

#: Shortest signal whose loudness is defined: one gating block (s).
LOUDNESS_BLOCK_S = 0.4

_SPECTRUM_SIZE = 8192
_BLOCK_FRAMES = 1 << 18
_PEAK_MARGIN = 64


@dataclass(frozen=True)
class Features:
    """The feature set of a stereo signal.

    Attributes
    ----------
    rms_db : float
        Mean level over both channels (dBFS; a full-scale square is 0).
    crest_db : float
        Peak over mean level (dB).
    width : float
        Level of the side over that of the mid, linear; 0 for mono, 1 for unrelated channels.
    imbalance : float
        (E_R - E_L) / (E_R + E_L), -1 (all left) to 1 (all right).
    loudness_lufs : float or None
        Integrated loudness; None where it is undefined (silence, less than 0.4 s).
    true_peak_db : float
        dBTP.
    bark_db : tuple of float
        Level in each of the 24 critical bands (dB, arithmetic mean of the channels' powers).
    """

    rms_db: float
    crest_db: float
    width: float
    imbalance: float
    loudness_lufs: float | None
    true_peak_db: float
    bark_db: tuple[float, ...]


def features(audio: Signal, *, sample_rate_hz: int) -> Features:
    """Measure the whole set.

    Parameters
    ----------
    audio : array, shape=(2, n), n >= 1
    sample_rate_hz : int > 0
    """
    return Features(
        rms_db=rms_db(audio),
        crest_db=crest_factor_db(audio),
        width=stereo_width(audio),
        imbalance=stereo_imbalance(audio),
        loudness_lufs=integrated_loudness_lufs(audio, sample_rate_hz=sample_rate_hz),
        true_peak_db=true_peak_db(audio, sample_rate_hz=sample_rate_hz),
        bark_db=bark_spectrum_db(audio, sample_rate_hz=sample_rate_hz),
    )


def power_to_db(power: float) -> float:
    """Ten times the logarithm, not below `SILENCE_DB`."""
    return max(10.0 * math.log10(power), SILENCE_DB) if power > 0.0 else SILENCE_DB


def energy(audio: Signal) -> float:
    """Sum of the squares of all samples, in blocks and in double precision."""
    blocks = (np.asarray(audio[..., part], dtype=np.float64) for part in _blocks(audio.shape[-1]))
    return float(sum(np.vdot(block, block) for block in blocks))


def _blocks(frames: int) -> Iterator[slice]:
    for start in range(0, frames, _BLOCK_FRAMES):
        yield slice(start, min(start + _BLOCK_FRAMES, frames))


def rms_db(audio: Signal) -> float:
    """Root mean square level over both channels (dBFS)."""
    return power_to_db(energy(audio) / max(audio.size, 1))


def crest_factor_db(audio: Signal) -> float:
    """Sample peak over RMS (dB); 0 for silence."""
    peak = float(np.max(np.abs(audio), initial=0.0))
    return 20.0 * math.log10(peak) - rms_db(audio) if peak > 0.0 else 0.0


def stereo_width(audio: Signal) -> float:
    """Level of the side over that of the mid: ``sqrt(sum (L - R)^2 / sum (L + R)^2)``.

    Tzanetakis et al., "Stereo panning features for classifying recording production style",
    ISMIR 2007, use the same sum and difference. Held at 1000 for a signal without mid.
    """
    mid, side = energy(audio[0] + audio[1]), energy(audio[0] - audio[1])
    return math.sqrt(side / max(mid, 1e-6 * side)) if side > 0.0 else 0.0


def stereo_imbalance(audio: Signal) -> float:
    """(E_R - E_L) / (E_R + E_L); 0 for silence."""
    left, right = energy(audio[0]), energy(audio[1])
    return (right - left) / (right + left) if left + right > 0.0 else 0.0


def integrated_loudness_lufs(audio: Signal, *, sample_rate_hz: int) -> float | None:
    """Gated loudness of the whole signal, ITU-R BS.1770-4; None where it is undefined."""
    if audio.shape[-1] <= LOUDNESS_BLOCK_S * sample_rate_hz:
        return None
    with np.errstate(divide="ignore"):
        value = float(pyloudnorm.Meter(sample_rate_hz).integrated_loudness(np.asarray(audio, dtype=np.float64).T))
    return value if math.isfinite(value) else None


def true_peak_db(audio: Signal, *, sample_rate_hz: int) -> float:
    """Highest inter-sample peak (dBTP), ITU-R BS.1770-4 annex 2: at four times the rate, twice from 80 kHz up."""
    factor = TRUE_PEAK_OVERSAMPLING if sample_rate_hz < 80000 else TRUE_PEAK_OVERSAMPLING // 2
    peak = 0.0
    for part in _blocks(audio.shape[-1]):
        # Blocks overlap by more than the filter's length, so that no peak falls between two.
        wide = np.asarray(audio[..., max(part.start - _PEAK_MARGIN, 0) : part.stop + _PEAK_MARGIN], dtype=np.float64)
        peak = max(peak, float(np.max(np.abs(scipy.signal.resample_poly(wide, factor, 1, axis=-1)), initial=0.0)))
    return power_to_db(peak * peak)


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
    frequency_hz, density = scipy.signal.welch(
        np.asarray(audio, dtype=np.float64), sample_rate_hz, nperseg=size, detrend=False
    )
    # A bin stands for the stretch around its frequency; bands that cut it share it.
    width = sample_rate_hz / size
    lower = frequency_hz - 0.5 * width
    shares = np.clip(np.minimum(edges[1:, None], lower + width) - np.maximum(edges[:-1, None], lower), 0.0, None)
    return np.asarray(density @ shares.T, dtype=np.float64)


def bark_spectrum_db(audio: Signal, *, sample_rate_hz: int) -> tuple[float, ...]:
    """Level in each of Zwicker's 24 critical bands (dB), mean of both channels' powers."""
    powers = band_powers(audio, BARK_EDGES_HZ, sample_rate_hz=sample_rate_hz).mean(axis=0)
    return tuple(power_to_db(float(p)) for p in powers)


def octave_levels_db(audio: Signal, *, sample_rate_hz: int) -> tuple[float, ...]:
    """Level in each octave band of `OCTAVE_CENTRES_HZ` (dB), mean of both channels' powers."""
    edges = [OCTAVE_CENTRES_HZ[0] / math.sqrt(2.0), *(c * math.sqrt(2.0) for c in OCTAVE_CENTRES_HZ)]
    powers = band_powers(audio, edges, sample_rate_hz=sample_rate_hz).mean(axis=0)
    return tuple(power_to_db(float(p)) for p in powers)
