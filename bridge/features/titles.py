"""What the features are called and in which units and decimals they are shown; nothing is measured here."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from .spectrum import BARK_EDGES_HZ


@dataclass(frozen=True)
class FeatureTitle:
    """How one field of `features.Features` is shown."""

    name: str
    title: str
    unit: str
    decimals: int

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def text(self, value: float | None, *, signed: bool = False) -> str:
        """The number in words; a dash where it is undefined."""
        # Adding zero takes the sign off a negative zero.
        return "–" if value is None else f"{round(value, self.decimals) + 0.0:{'+' if signed else ''}.{self.decimals}f}"


#: In the order in which they are shown; the Bark spectrum comes apart.
FEATURE_TITLES = (
    FeatureTitle("loudness_lufs", "Integrated loudness", "LUFS", 1),
    FeatureTitle("loudness_range_lu", "Loudness range", "LU", 1),
    FeatureTitle("true_peak_db", "True peak", "dBTP", 1),
    FeatureTitle("rms_db", "Mean level (RMS)", "dBFS", 1),
    FeatureTitle("crest_db", "Crest factor", "dB", 1),
    FeatureTitle("dynamic_spread_db", "Dynamic spread", "dB", 2),
    FeatureTitle("centroid_hz", "Spectral centroid", "Hz", 0),
    FeatureTitle("bandwidth_hz", "Spectral bandwidth", "Hz", 0),
    FeatureTitle("rolloff_hz", "Spectral roll-off", "Hz", 0),
    FeatureTitle("flatness", "Spectral flatness", "", 4),
    FeatureTitle("contrast_db", "Spectral contrast", "dB", 1),
    FeatureTitle("width", "Stereo width", "", 3),
    FeatureTitle("imbalance", "Stereo imbalance", "", 3),
    FeatureTitle("panning_rms", "Panning RMS", "", 3),
    FeatureTitle("panning_rms_low", "Panning RMS, low", "", 3),
    FeatureTitle("panning_rms_mid", "Panning RMS, middle", "", 3),
    FeatureTitle("panning_rms_high", "Panning RMS, high", "", 3),
)

#: Of each critical band, lowest first.
BARK_HEADINGS = tuple(f"Bark {i}, {low} to {high} Hz (dB)" for i, (low, high) in enumerate(pairwise(BARK_EDGES_HZ), 1))
