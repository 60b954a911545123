"""The match loss against an independent implementation and its own properties."""

from __future__ import annotations

import auraloss
import numpy as np
import pytest
import torch

from mixbridge.bridge.metrics import (
    FFT_SIZES,
    LOSS_RATE_HZ,
    MEL_BANDS,
    POWER_FLOOR,
    MatchLoss,
    match_loss,
    skipped_frames,
)

from .dsp import programme


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.tensor(programme(seconds=3.0, rate_hz=LOSS_RATE_HZ), dtype=torch.float32)
    other = torch.tensor(programme(seconds=3.0, rate_hz=LOSS_RATE_HZ, seed=4), dtype=torch.float32)
    return 0.7 * target + 0.2 * other, target


def test_equals_auraloss_on_the_same_terms(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    prediction, target = pair
    independent = auraloss.freq.MultiResolutionSTFTLoss(
        fft_sizes=list(FFT_SIZES), hop_sizes=[n // 4 for n in FFT_SIZES], win_lengths=list(FFT_SIZES),
        scale="mel", n_bins=MEL_BANDS, sample_rate=LOSS_RATE_HZ, perceptual_weighting=True,
        w_sc=1.0, w_log_mag=1.0, w_lin_mag=0.0, eps=POWER_FLOOR,
    )  # fmt: skip

    def term(p: torch.Tensor, t: torch.Tensor) -> float:
        return float(independent(p[None, None], t[None, None]))

    left, right = (term(prediction[c], target[c]) for c in range(2))
    mid, side = term(prediction.sum(0), target.sum(0)), term(prediction[0] - prediction[1], target[0] - target[1])
    loss = MatchLoss()
    terms = loss(prediction, loss.features(target))
    assert float(terms.left_right) == pytest.approx((left + right) / 2, rel=1e-3)
    assert float(terms.mid) == pytest.approx(mid, rel=1e-3)
    assert float(terms.side) == pytest.approx(side, rel=1e-3)
    assert float(terms.total) == pytest.approx(0.25 * (left + right) + 0.25 * mid + 0.25 * side, rel=1e-3)


def test_is_zero_only_for_the_target(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    prediction, target = pair
    loss = MatchLoss()
    features = loss.features(target)
    assert float(loss(target, features).total) == pytest.approx(0.0, abs=1e-5)
    assert float(loss(prediction, features).total) > 0.05


def test_is_symmetric_in_left_and_right(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    prediction, target = pair
    loss = MatchLoss()
    straight = loss(prediction, loss.features(target)).total
    swapped = loss(prediction.flip(0), loss.features(target.flip(0))).total
    assert float(straight) == pytest.approx(float(swapped), rel=1e-5)


def test_a_mono_mix_has_a_finite_loss() -> None:
    audio = programme(seconds=4.0, rate_hz=LOSS_RATE_HZ)
    mono = np.repeat(audio.mean(axis=0, keepdims=True), 2, axis=0)
    assert match_loss(mono, mono)["total"] == pytest.approx(0.0, abs=1e-5)
    assert np.isfinite(match_loss(audio, mono)["total"])


def test_long_signals_in_blocks_equal_one_piece() -> None:
    # Without a gradient frames are processed in blocks; with one they are not.
    audio = torch.tensor(programme(seconds=20.0, rate_hz=LOSS_RATE_HZ), dtype=torch.float32)
    loss = MatchLoss()
    with torch.no_grad():
        blocks = loss.features(audio)
    whole = loss.features(audio.requires_grad_())
    for one, other in zip(blocks.magnitudes, whole.magnitudes, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-4, atol=1e-5)


def test_the_first_second_does_not_count() -> None:
    target = programme(seconds=6.0, rate_hz=LOSS_RATE_HZ)
    spoilt = target.copy()
    spoilt[:, : LOSS_RATE_HZ - 5000] += 0.5
    assert match_loss(spoilt, target)["total"] == pytest.approx(0.0, abs=1e-5)
    assert skipped_frames(LOSS_RATE_HZ) == 0


def test_short_and_silent_signals_have_a_finite_loss() -> None:
    for frames in (10, 300, 5000):
        silence = np.zeros((2, frames))
        assert np.isfinite(match_loss(silence, silence)["total"])
        assert np.isfinite(match_loss(np.ones((2, frames)) * 0.1, silence)["total"])
