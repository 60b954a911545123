"""The match loss L_a and its parts; alignment and audio features do not live here.

L_a compares two stereo signals at 30 kHz (Lee et al., "Searching for Music Mixing Graphs: A
Pruning Approach", DAFx 2024, eqs. 3 to 5):

``L_a = 0.5 (L_left + L_right) / 2 + 0.25 L_mid + 0.25 L_side``

where mid is left + right, side is left - right, and each term is the mean over FFT sizes 512,
1024 and 4096 (Hann, hop 1/4) of spectral convergence plus the mean absolute difference of the
logarithms, on 96 mel bands of the A-weighted signals. Spectral convergence is normalised by the
target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import librosa
import numpy as np
import scipy.signal
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from .processors.twins import fast_fft_length

#: Rate at which the search works and every loss is reported.
LOSS_RATE_HZ = 30000

#: Left out at the start of a song when its loss is reported (the warm-up of a segment).
WARM_UP_S = 1.0

FFT_SIZES = (512, 1024, 4096)
MEL_BANDS = 96
WEIGHT_LEFT_RIGHT, WEIGHT_MID, WEIGHT_SIDE = 0.5, 0.25, 0.25

#: Floor of a bin's power; about -80 dBFS for a sine at FFT size 512.
POWER_FLOOR = 1e-4

#: Spectral convergence divides by the target's norm, but not by less than this share of the
#: norm of the loudest channel: a mono mix has no side at all.
NORM_FLOOR_SHARE = 1e-3

_A_WEIGHTING_TAPS = 101

#: Frames of a spectrogram computed at once on long signals.
_FRAME_BLOCK = 4096


def a_weighting_taps(sample_rate_hz: float) -> np.ndarray:
    """Linear-phase FIR of the A-weighting curve (IEC 61672-1), least-squares design.

    Returns
    -------
    array, shape=(101,)
        Unity gain at 1 kHz in the analogue prototype (bilinear transform).
    """
    pole_hz = (20.598997, 107.65265, 737.86223, 12194.217)
    w = 2.0 * np.pi * np.array(pole_hz)
    poles = -np.array([w[0], w[0], w[1], w[2], w[3], w[3]])
    gain = (2.0 * np.pi * pole_hz[3]) ** 2 * 10 ** (1.9997 / 20.0)
    zeros, poles, gain = scipy.signal.bilinear_zpk(np.zeros(4), poles, gain, sample_rate_hz)
    frequency_hz, response = scipy.signal.freqz_zpk(zeros, poles, gain, worN=512, fs=sample_rate_hz)
    return np.asarray(
        scipy.signal.firls(_A_WEIGHTING_TAPS, frequency_hz, np.abs(response), fs=sample_rate_hz), dtype=np.float64
    )


@dataclass(frozen=True)
class MatchTerms:
    """L_a and its three parts, scalar tensors."""

    total: Tensor
    left_right: Tensor
    mid: Tensor
    side: Tensor


@dataclass(frozen=True)
class MelFeatures:
    """Mel magnitudes of left, right, mid and side, one tensor (4, 96, frames) per FFT size."""

    magnitudes: tuple[Tensor, ...]


class MatchLoss(nn.Module):
    """The match loss; the target's features are computed once and reused.

    Parameters
    ----------
    sample_rate_hz : float
        Rate of the signals; `LOSS_RATE_HZ` wherever a figure is reported.
    """

    weighting: Tensor

    def __init__(self, sample_rate_hz: float = LOSS_RATE_HZ) -> None:
        super().__init__()
        self.register_buffer("weighting", torch.as_tensor(a_weighting_taps(sample_rate_hz), dtype=torch.float32))
        for size in FFT_SIZES:
            bank = librosa.filters.mel(sr=sample_rate_hz, n_fft=size, n_mels=MEL_BANDS)
            # A copy, in memory as aligned as torch's own: sums over memory that is not round differently,
            # and differently from run to run.
            self.register_buffer(f"mel_{size}", torch.tensor(bank))
            self.register_buffer(f"window_{size}", torch.hann_window(size))

    def features(self, audio: Tensor, *, sizes: Sequence[int] = FFT_SIZES) -> MelFeatures:
        """Mel magnitudes of a stereo signal of shape (2, n); the loss needs those of all `sizes`."""
        weighted = self._weight(audio)
        magnitudes = []
        for size in sizes:
            blocks = [self._mel(frames, size) for frames in _frames(weighted, size)]
            magnitudes.append(blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-1))
        return MelFeatures(tuple(magnitudes))

    def forward(self, prediction: Tensor, target: MelFeatures) -> MatchTerms:
        """Loss of a prediction of shape (2, n) against the features of its target."""
        return match_terms(self.features(prediction), target)

    def _weight(self, audio: Tensor) -> Tensor:
        taps = self.weighting
        length = fast_fft_length(audio.shape[-1] + len(taps))
        spectrum = torch.fft.rfft(audio, n=length) * torch.fft.rfft(taps, n=length)
        half = len(taps) // 2
        weighted: Tensor = torch.fft.irfft(spectrum, n=length)[..., half : half + audio.shape[-1]]
        return weighted

    def _mel(self, frames: Tensor, size: int) -> Tensor:
        # (2, frames, size) -> (4, 96, frames); mid and side are formed in the STFT domain.
        spectrum = torch.fft.rfft(frames * getattr(self, f"window_{size}"))
        left, right = spectrum[0], spectrum[1]
        stacked = torch.stack([left, right, left + right, left - right])
        power = stacked.real.square() + stacked.imag.square()
        magnitude = power.clamp_min(POWER_FLOOR).sqrt()
        mel: Tensor = torch.matmul(getattr(self, f"mel_{size}"), magnitude.transpose(1, 2))
        return mel


def _frames(audio: Tensor, size: int) -> Iterator[Tensor]:
    """Blocks of overlapping frames (2, frames, size), centred as `torch.stft` centres them."""
    pad = size // 2
    mode = "reflect" if audio.shape[-1] > pad else "constant"
    padded = functional.pad(audio[None], (pad, pad), mode=mode)[0]
    frames = padded.unfold(-1, size, size // 4)
    if torch.is_grad_enabled() and audio.requires_grad:
        yield frames
        return
    for start in range(0, frames.shape[1], _FRAME_BLOCK):
        yield frames[:, start : start + _FRAME_BLOCK]


def match_terms(prediction: MelFeatures, target: MelFeatures) -> MatchTerms:
    """Loss between two sets of features of equal shape."""
    per_channel = torch.stack(
        [_terms(p, t) for p, t in zip(prediction.magnitudes, target.magnitudes, strict=True)]
    ).mean(dim=0)
    left_right, mid, side = per_channel[:2].mean(), per_channel[2], per_channel[3]
    total = WEIGHT_LEFT_RIGHT * left_right + WEIGHT_MID * mid + WEIGHT_SIDE * side
    return MatchTerms(total, left_right, mid, side)


def _terms(prediction: Tensor, target: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(target, dim=(1, 2))
    norm = norm.clamp_min(float(norm.max()) * NORM_FLOOR_SHARE)
    convergence: Tensor = torch.linalg.vector_norm(prediction - target, dim=(1, 2)) / norm
    logarithmic: Tensor = (prediction.log() - target.log()).abs().mean(dim=(1, 2))
    return convergence + logarithmic


def song_features(audio: np.ndarray, *, loss: MatchLoss | None = None, sizes: Sequence[int] = FFT_SIZES) -> MelFeatures:
    """Features of a whole song without its first second.

    Parameters
    ----------
    audio : array, shape=(2, n)
        At `LOSS_RATE_HZ`.
    loss : MatchLoss, optional
        Reused where many are computed.
    sizes : sequence of int
        Of `FFT_SIZES`.
    """
    meter = loss if loss is not None else MatchLoss()
    with torch.no_grad():
        scored = torch.tensor(audio[:, skipped_frames(audio.shape[-1]) :], dtype=torch.float32)
        return meter.features(scored, sizes=sizes)


def match_loss(
    prediction: np.ndarray | MelFeatures, target: np.ndarray | MelFeatures, *, loss: MatchLoss | None = None
) -> dict[str, float]:
    """L_a of a whole song, without its first second.

    Parameters
    ----------
    prediction, target : array, shape=(2, n), or MelFeatures
        At `LOSS_RATE_HZ`, or what `song_features` gives for it.
    loss : MatchLoss, optional
        Reused where many are computed.

    Returns
    -------
    dict
        Keys ``total``, ``left_right``, ``mid``, ``side``.
    """
    meter = loss if loss is not None else MatchLoss()
    pair = [x if isinstance(x, MelFeatures) else song_features(x, loss=meter) for x in (prediction, target)]
    with torch.no_grad():
        terms = match_terms(*pair)
    return {name: float(getattr(terms, name)) for name in ("total", "left_right", "mid", "side")}


def skipped_frames(frames: int) -> int:
    """Frames left out at the start of a song of `frames` frames at `LOSS_RATE_HZ`; none of a very short one."""
    warm_up = int(WARM_UP_S * LOSS_RATE_HZ)
    return warm_up if frames >= 3 * warm_up else 0
