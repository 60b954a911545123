"""The compiled dynamics: the same signal and the same gradients as the tensor operations they replace."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
import torch

from mixbridge.bridge.processors import kernels
from mixbridge.bridge.processors.kernels import compress
from mixbridge.bridge.processors.twins import CompressorTwin, GateTwin, TwinSettings

RATE_HZ = 30000
NODES, FRAMES = 4, 6000

RANGES = {
    "threshold_db": (-45.0, -10.0),
    "ratio": (1.0, 9.0),
    "range_db": (5.0, 50.0),
    "attack_ms": (0.1, 40.0),
    "release_ms": (5.0, 400.0),
    "knee_db": (0.0, 18.0),
    "makeup_db": (-6.0, 9.0),
}


def gradients(twin: CompressorTwin | GateTwin, seed: int) -> list[torch.Tensor]:
    """Output, and gradients by the signal and by every setting, of random bursts."""
    random = torch.Generator().manual_seed(seed)
    bursts = torch.sin(torch.arange(FRAMES) / 500.0).clamp_min(0.0) ** 2
    x = (0.5 * bursts * torch.randn(NODES, 2, FRAMES, dtype=torch.double, generator=random)).requires_grad_(True)
    settings = {}
    for name in twin.spec.names:
        low, high = RANGES[name]
        share = torch.rand(NODES, dtype=torch.double, generator=random)
        # One node at the ends of all ranges: no knee, no ratio.
        settings[name] = (low + (high - low) * share * (torch.arange(NODES) > 0)).requires_grad_(True)
    y = twin.wet(x, settings)
    weights = torch.randn(y.shape, dtype=torch.double, generator=random)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), [x, *settings.values()])]


@pytest.mark.parametrize("kind", [CompressorTwin, GateTwin])
@pytest.mark.parametrize("seed", [0, 1])
def test_one_pass_agrees_with_tensor_operations(
    kind: type[CompressorTwin | GateTwin], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = kind(TwinSettings.exact(sample_rate_hz=RATE_HZ))
    fast = gradients(twin, seed)
    monkeypatch.setattr(kind, "in_one_pass", lambda self, x: False)
    slow = gradients(twin, seed)
    for found, expected in zip(fast, slow, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_nothing_is_kept_after_the_backward_pass() -> None:
    def live() -> int:
        gc.collect()
        return sum(1 for o in gc.get_objects() if type(o) is torch.Tensor)

    def step() -> None:
        x = torch.randn(2, 2, 500, requires_grad=True)
        one = torch.ones(2)
        y = compress(x, steps=(0.1 * one, 0.01 * one), curve=(-20.0 * one, 4.0 * one, 6.0 * one), makeup_db=one)
        y.square().sum().backward()

    step()
    before = live()
    for _ in range(5):
        step()
    assert live() == before


@pytest.mark.parametrize("kernel", [kernels._compressor, kernels._gate])
def test_every_value_that_the_gradient_may_read_is_written(kernel: Callable[..., None]) -> None:
    """Rounded to single precision a level may be on the other side of a limit: no value may be left to chance."""
    x = np.random.default_rng(0).standard_normal((1, 2, 500)).astype(np.float32) * np.geomspace(1e-4, 1.0, 500)
    settings = np.array([[0.3, 0.1, -20.0, -0.75, 6.0, 20.0]])
    y = np.empty_like(x)
    saved = np.full((3, 1, 500), np.nan, dtype=np.float32)
    kernel(x, settings, y, *saved)
    assert np.isfinite(saved).all()
