"""Audio features that describe a mix: levels, loudness, peaks, stereo image, spectra; two mixes are compared elsewhere.

Signals have the shape (2, n), full scale is 1. Levels of silence are `SILENCE_DB`. Everything is
computed block by block: beside the signal itself, memory does not grow with its length.

The set is the one used to judge automatic mixes: RMS level, crest factor, dynamic spread, stereo
width, imbalance and panning, spectral centroid, bandwidth, contrast, flatness and roll-off, and
Bark spectrum (De Man et al., "An analysis and evaluation of audio features for multitrack music
mixtures", ISMIR 2014; Martínez-Ramírez et al., "Automatic music mixing with deep learning and
out-of-domain data", ISMIR 2022; Vanka et al., "Diff-MST: differentiable mixing style transfer",
ISMIR 2024), with loudness and true peak of ITU-R BS.1770 and loudness range of EBU Tech 3342.
"""

from __future__ import annotations

from dataclasses import dataclass

from .levels import (
    LOUDNESS_BLOCK_S,
    SILENCE_DB,
    TRUE_PEAK_OVERSAMPLING,
    Signal,
    crest_factor_db,
    energy,
    power_to_db,
    rms_db,
    true_peak_db,
)
from .loudness import LoudnessSteps, integrated_loudness_lufs, loudness_steps
from .shape import shape_features
from .spectrum import BARK_EDGES_HZ, OCTAVE_CENTRES_HZ, band_powers, bark_spectrum_db, octave_levels_db
from .stereo import stereo_imbalance, stereo_width

__all__ = [
    "BARK_EDGES_HZ",
    "LOUDNESS_BLOCK_S",
    "OCTAVE_CENTRES_HZ",
    "SILENCE_DB",
    "TRUE_PEAK_OVERSAMPLING",
    "Features",
    "LoudnessSteps",
    "Signal",
    "band_powers",
    "bark_spectrum_db",
    "crest_factor_db",
    "energy",
    "features",
    "integrated_loudness_lufs",
    "loudness_steps",
    "octave_levels_db",
    "power_to_db",
    "rms_db",
    "stereo_imbalance",
    "stereo_width",
    "true_peak_db",
]


@dataclass(frozen=True)
class Features:
    """The feature set of a stereo signal; None where a feature is undefined, as the centroid of silence is.

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
    loudness_range_lu : float or None
        Needs 3 s.
    dynamic_spread_db : float or None
        Mean distance of the loudness of 50 ms from its mean.
    centroid_hz, bandwidth_hz, rolloff_hz : float or None
        Of the spectrum, mean over time.
    flatness : float or None
        0 (a tone) to 1 (white noise), mean over time.
    contrast_db : float or None
        Peaks over valleys of the spectrum, mean over octaves and time.
    panning_rms, panning_rms_low, panning_rms_mid, panning_rms_high : float or None
        Of the whole spectrum, up to 250 Hz, up to 2.5 kHz and above: 0 (all in the centre) to 1.
    """

    rms_db: float
    crest_db: float
    width: float
    imbalance: float
    loudness_lufs: float | None
    true_peak_db: float
    bark_db: tuple[float, ...]
    loudness_range_lu: float | None = None
    dynamic_spread_db: float | None = None
    centroid_hz: float | None = None
    bandwidth_hz: float | None = None
    rolloff_hz: float | None = None
    flatness: float | None = None
    contrast_db: float | None = None
    panning_rms: float | None = None
    panning_rms_low: float | None = None
    panning_rms_mid: float | None = None
    panning_rms_high: float | None = None


def features(audio: Signal, *, sample_rate_hz: int) -> Features:
    """Measure the whole set.

    Parameters
    ----------
    audio : array, shape=(2, n), n >= 1
    sample_rate_hz : int > 0
    """
    steps = loudness_steps(audio, sample_rate_hz=sample_rate_hz)
    return Features(
        rms_db=rms_db(audio),
        crest_db=crest_factor_db(audio),
        width=stereo_width(audio),
        imbalance=stereo_imbalance(audio),
        loudness_lufs=steps.integrated_lufs(),
        true_peak_db=true_peak_db(audio, sample_rate_hz=sample_rate_hz),
        bark_db=bark_spectrum_db(audio, sample_rate_hz=sample_rate_hz),
        loudness_range_lu=steps.range_lu(),
        dynamic_spread_db=steps.dynamic_spread_db(),
        **shape_features(audio, sample_rate_hz=sample_rate_hz),
    )
