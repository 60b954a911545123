"""Compares a real render with the graph's own and with the target: alignment, null, loss, levels; no rendering here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..audio import Aligner, resample
from ..features import Signal, energy, octave_levels_db, power_to_db
from ..metrics import LOSS_RATE_HZ, MatchLoss, match_loss, song_features
from .results import DEEPEST_NULL_DB


def null_db(audio: Signal, reference: Signal) -> float:
    """Energy of the difference over that of the reference (dB), `DEEPEST_NULL_DB` for equal signals.

    Against a silent reference, the energy of the signal relative to one full-scale sample per frame.
    """
    difference, whole = energy(np.subtract(audio, reference, dtype=np.float64)), energy(reference)
    if difference == 0.0:
        return DEEPEST_NULL_DB
    return max(power_to_db(difference / (whole if whole > 0.0 else max(reference.size, 1))), DEEPEST_NULL_DB)


def level_error_db(audio: Signal, reference: Signal) -> float | None:
    """How much louder a signal is than its reference (dB, mean level); None where one of them is silent."""
    one, two = energy(audio), energy(reference)
    return power_to_db(one / two) if one > 0.0 and two > 0.0 else None


def find_offset(audio: Signal, reference: Signal, *, sample_rate_hz: int) -> int:
    """Samples by which `audio` comes later than `reference` (below 0: earlier), within half a second.

    Whitened cross-correlation (`audio.Aligner`). An offset counts only when taking it back leaves
    a smaller difference; 0 otherwise.

    Parameters
    ----------
    audio, reference : array, shape=(2, n)
    """
    if not np.any(audio) or not np.any(reference) or audio.shape[-1] < sample_rate_hz // 10:
        return 0
    aligner = Aligner(np.asarray(reference, dtype=np.float32), sample_rate_hz=sample_rate_hz)
    lags = np.abs(aligner.correlation(np.asarray(audio, dtype=np.float32)))
    # Lags say by how much the first signal would have to be moved later.
    offset = len(lags) // 2 - int(lags.argmax())
    if offset == 0 or null_db(moved(audio, -offset), reference) >= null_db(audio, reference):
        return 0
    return offset


def moved(audio: Signal, samples: int) -> Signal:
    """The signal moved later by `samples` (earlier below 0), with silence where nothing is left; same shape."""
    if samples == 0:
        return audio
    out = np.zeros_like(audio)
    if abs(samples) < audio.shape[-1]:
        if samples > 0:
            out[..., samples:] = audio[..., :-samples]
        else:
            out[..., :samples] = audio[..., -samples:]
    return out


def fitted(audio: Signal, frames: int) -> Signal:
    """The signal cut or filled up with silence to `frames` frames."""
    if audio.shape[-1] >= frames:
        return audio[..., :frames]
    return np.pad(audio, ((0, 0), (0, frames - audio.shape[-1])))


class LossMeter:
    """Measures L_a against one target; reuses what does not change."""

    def __init__(self, target: Signal, *, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._loss = MatchLoss()
        self._target = song_features(self._at_loss_rate(target), loss=self._loss)

    def _at_loss_rate(self, audio: Signal) -> npt.NDArray[np.float32]:
        return resample(audio, from_hz=self._rate_hz, to_hz=LOSS_RATE_HZ)

    def measure(self, audio: Signal) -> dict[str, float]:
        """L_a of a render of the target's length: ``total``, ``left_right``, ``mid``, ``side`` (see `metrics`)."""
        return match_loss(self._at_loss_rate(audio), self._target, loss=self._loss)


def octave_differences_db(audio: Signal, reference: Signal, *, sample_rate_hz: int) -> tuple[float, ...]:
    """Level of a signal over its reference in each octave band (dB); 0 where both are silent."""
    pair = (octave_levels_db(a, sample_rate_hz=sample_rate_hz) for a in (audio, reference))
    return tuple(one - two for one, two in zip(*pair, strict=True))
