"""Width and balance of a stereo signal over its whole length; panning over frequency lives in `shape`."""

from __future__ import annotations

import math

import numpy as np

from .levels import Signal, blocks_of, energy


def stereo_width(audio: Signal) -> float:
    """Level of the side over that of the mid: ``sqrt(sum (L - R)^2 / sum (L + R)^2)``.

    Tzanetakis et al., "Stereo panning features for classifying recording production style",
    ISMIR 2007, use the same sum and difference. Held at 1000 for a signal without mid.
    """
    mid = side = 0.0
    for part in blocks_of(audio.shape[-1]):
        left, right = np.asarray(audio[:, part], dtype=np.float64)
        mid, side = mid + energy(left + right), side + energy(left - right)
    return math.sqrt(side / max(mid, 1e-6 * side)) if side > 0.0 else 0.0


def stereo_imbalance(audio: Signal) -> float:
    """(E_R - E_L) / (E_R + E_L); 0 for silence."""
    left, right = energy(audio[0]), energy(audio[1])
    return (right - left) / (right + left) if left + right > 0.0 else 0.0
