"""The torch side of Freeverb: its differentiable response and its tail; its figures are in `freeverb`.

The reverberator has no end, and the response of an endless tail, sampled on a grid of frequencies,
folds it back onto its beginning. So signals fade by `exp(-a t)` on their way in and are restored
on their way out, and the response is taken at the complex frequencies that belong to that: what
folds back is `exp(-a L)` times what it was (`L` is the length of the transform), and rounding
errors grow by no more than the inverse of it. With ``exp(-a L)`` the root of the precision both are
-69 dB in single precision.

What would come before its time folds back too, onto the end, and grows by as much. Delay lines that
are no whole samples of the signals ring before their time if they end at a wall in frequency; so
there the response goes to zero smoothly (`TAPER`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import freeverb as fv

#: From this share of the highest frequency on the response is tapered where the rates differ.
TAPER = 0.95

#: Tables are kept for this many lengths of transforms: that of training and that of evaluation.
_KEPT = 2


@dataclass(frozen=True)
class _Tables:
    """What depends on the length of a transform only.

    Attributes
    ----------
    fade : tensor, shape=(length,)
        ``exp(-a t)``.
    unit : tensor, shape=(bins,)
        ``1 / z`` at the session's rate.
    combs : tensor, shape=(2, 8, bins)
        ``z ** -length`` of each comb.
    all_passes : tensor, shape=(2, bins)
        Product of the responses of all four.
    """

    fade: Tensor
    unit: Tensor
    combs: Tensor
    all_passes: Tensor


class FreeverbTail(nn.Module):
    """Sends signals through the reverberator; see `freeverb.reverberated`.

    Parameters
    ----------
    sample_rate_hz, design_rate_hz : float
        Rate of the signals; rate of the session, whose whole samples the delay lines have.
    dtype : torch.dtype
        In which responses are computed.
    """

    def __init__(self, *, sample_rate_hz: float, design_rate_hz: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.sample_rate_hz, self.design_rate_hz, self.dtype = sample_rate_hz, design_rate_hz, dtype
        self._kept: dict[tuple[int, torch.dtype, torch.device], _Tables] = {}

    def forward(self, send: Tensor, path: Tensor, p: dict[str, Tensor], *, length: int) -> Tensor:
        """Filter mono sends and reverberate them.

        Parameters
        ----------
        send : tensor, shape=(nodes, n)
        path : tensor, shape=(nodes, taps)
            Impulse response of what lies before.
        p : dict of str to tensor, shape=(nodes,)
            "decay_s", "high_decay_ratio" and "width".
        length : int
            Of the transform, at least ``n + taps``.

        Returns
        -------
        tensor, shape=(nodes, 2, length)
            What is beyond ``n`` is no tail: cut it off.
        """
        tables = self._tables(length, send.dtype, send.device)
        gain = fv.feedback(p["decay_s"].double(), xp=torch)
        damp = fv.damping(
            p["decay_s"].double(), p["high_decay_ratio"].double(), sample_rate_hz=self.design_rate_hz, xp=torch
        )
        # Beyond the plugin's damping nothing changes, but the gradient still says which way is back.
        damp = damp + (damp.clamp(max=fv.FULL_DAMPING) - damp).detach()
        response = _Response.apply(gain.to(self.dtype), damp.to(self.dtype), tables)  # type: ignore[no-untyped-call]
        scale = fv.unity_gain(gain, xp=torch).to(send.dtype)[:, None]
        before = torch.fft.rfft(send * tables.fade[: send.shape[-1]], n=length)
        before = before * torch.fft.rfft(scale * path.to(send.dtype) * tables.fade[: path.shape[-1]], n=length)
        spectrum = before[:, None] * response.to(before.dtype)
        own, other = (w.to(before.real.dtype)[:, None, None] for w in fv.channel_weights(p["width"]))
        both: Tensor = torch.fft.irfft(own * spectrum + other * spectrum.flip(1), n=length)
        return both / tables.fade

    def _tables(self, length: int, dtype: torch.dtype, device: torch.device) -> _Tables:
        key = (length, dtype, device)
        if key not in self._kept:
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            with torch.no_grad():
                self._kept[key] = self._made(length, dtype, device)
        return self._kept[key]

    def _made(self, length: int, dtype: torch.dtype, device: torch.device) -> _Tables:
        step = self.sample_rate_hz / self.design_rate_hz
        # What the taper leaves before its time may not be amplified by more than this.
        precision = torch.finfo(dtype if step == 1.0 else torch.float32).eps
        # Per sample of the signal.
        fade = -0.5 * math.log(precision) / length
        angle = torch.arange(length // 2 + 1, dtype=torch.float64, device=device) * (2.0 * math.pi / length)

        def delayed(samples: int) -> Tensor:
            late = samples * step
            return torch.polar(torch.full_like(angle, math.exp(-fade * late)), -late * angle)

        combs, all_passes = fv.line_lengths(self.design_rate_hz)
        products = []
        for lengths in all_passes:
            lines = [delayed(n) for n in lengths]
            one = fv.ALL_PASS_FEEDBACK
            factors = [((1.0 + one) * line - 1.0) / (1.0 - one * line) for line in lines]
            products.append(math.prod(factors[1:], start=factors[0]))
        if step != 1.0:
            share = ((angle / math.pi - TAPER) / (1.0 - TAPER)).clamp(min=0.0)
            products = [product * torch.cos(0.5 * math.pi * share).square() for product in products]
        kind = torch.promote_types(self.dtype, torch.complex64)
        return _Tables(
            fade=torch.exp(-fade * torch.arange(length, dtype=torch.float64, device=device)).to(dtype),
            unit=delayed(1).to(kind),
            combs=torch.stack([torch.stack([delayed(n).to(kind) for n in lengths]) for lengths in combs]),
            all_passes=torch.stack(products).to(kind),
        )


class _Response(torch.autograd.Function):
    """Response of both channels, with its closed derivatives by feedback and damping.

    A comb is ``E / (1 - g Q E)`` with ``E`` its delay and ``Q = (1 - d) / (1 - d / z)`` its damping:
    its derivative by ``g Q`` is its square, so that the sum of the squares is all the backward pass needs.
    """

    @staticmethod
    def forward(ctx: Any, gain: Tensor, damp: Tensor, tables: _Tables) -> Tensor:
        damp = damp[:, None]
        low_pass = (1.0 - damp) / (1.0 - damp * tables.unit)
        loop = gain[:, None] * low_pass
        total, squares = (loop.new_zeros(len(gain), *tables.all_passes.shape) for _ in range(2))
        for channel, combs in enumerate(tables.combs):
            for late in combs:
                comb = torch.div(late, (loop * late).neg_().add_(1.0))
                total[:, channel] += comb
                squares[:, channel].addcmul_(comb, comb)
        total *= tables.all_passes
        if any(ctx.needs_input_grad[:2]):
            squares *= tables.all_passes
            by_damp = gain[:, None] * (tables.unit - 1.0) / (1.0 - damp * tables.unit).square()
            ctx.save_for_backward(squares, low_pass, by_damp)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        squares, low_pass, by_damp = ctx.saved_tensors
        by_loop = (gradients[0].conj() * squares).sum(dim=1)
        return (by_loop * low_pass).real.sum(dim=-1), (by_loop * by_damp).real.sum(dim=-1), None
