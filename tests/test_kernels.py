"""The compiled dynamics: the same signal and the same gradients as the tensor operations they replace."""

from __future__ import annotations

import gc

import pytest
import torch

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


def test_gradients_do_not_depend_on_what_memory_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels on the very limit of the curve, where single and double precision may disagree."""
    x = torch.full((1, 2, 4000), 10.0 ** (-20.0005 / 20.0))
    x += 1e-8 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    found = []
    for garbage in (0.0, 1e6):
        empty = torch.empty
        monkeypatch.setattr(torch, "empty", lambda *a, g=garbage, e=empty, **o: e(*a, **o).fill_(g))
        settings = [torch.tensor([v], requires_grad=True) for v in (-20.0, 4.0, 1e-3)]
        moving = x.clone().requires_grad_(True)
        steps = (0.5 * torch.ones(1), 0.5 * torch.ones(1))
        compress(moving, steps=steps, curve=tuple(settings), makeup_db=torch.zeros(1)).square().sum().backward()
        monkeypatch.undo()
        found.append(torch.cat([t.grad.flatten() for t in (moving, *settings) if t.grad is not None]))
    assert torch.equal(*found)
