"""Differentiable twins of the processors: torch, batched over nodes, grafx's interface.

A twin is a module called as ``twin(input_signals, mix=..., **parameters)`` with signals of shape
(nodes, 2, n) and every parameter of shape (nodes,), in physical units; it returns the same shape.
``parameter_size`` names the parameters, as grafx's own processors do. Same equations as
`reference` (from `equations`); linear processors work in the frequency domain.

Two rates: `sample_rate_hz` is the rate of the signals, `design_rate_hz` the rate of the session
that will be exported. Filters take the response they will have *there*, so that a search at
30 kHz fits what a 44.1 kHz session plays. Where both agree, twin and reference null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import soxr
import torch
from torch import Tensor, nn
from torchcomp.core import compressor_core

from ..errors import ParameterError
from . import equations as eq
from . import kernels
from .freeverb_twin import FreeverbTail
from .laws import KINDS, REFERENCE, Law, law_of, type_and_law
from .reference import reverb_length, reverb_noise
from .specs import BELLS, DELAY_TAPS, SPECS, ProcessorSpec

#: Samples by which frequency-sampled filters may ring before their main tap.
_LEAD = 64


def fast_fft_length(n: int) -> int:
    """Smallest length >= n of the form ``32 * 2^a 3^b 5^c`` (odd or prime lengths are many times slower)."""
    return 32 * int(scipy.fft.next_fast_len(-(-n // 32), real=True))


def _steady(n: int) -> int:
    """Round a length up, so that settings that drift do not change the size of every tensor.

    Sizes that are new at every step fragment the heap: memory grew by 20 MB a step.
    """
    return -(-n // 8192) * 8192


def _gain(level_db: Tensor) -> Tensor:
    gain: Tensor = eq.db_to_gain(level_db)
    return gain


@dataclass(frozen=True)
class TwinSettings:
    """Rates and accuracy of a set of twins.

    Attributes
    ----------
    sample_rate_hz, design_rate_hz : float
        Rate of the signals; rate of the session (equal for null tests).
    filter_s : float
        Length of the EQ's sampled impulse response; what rings longer folds back.
    cut_s : float
        The same for the cuts of delay taps and reverb.
    reverb_s : float
        Longest reverb tail that is rendered.
    dtype : torch.dtype
        In which filter responses are computed.
    """

    sample_rate_hz: float
    design_rate_hz: float
    filter_s: float
    cut_s: float
    reverb_s: float
    dtype: torch.dtype

    @classmethod
    def for_search(cls, *, sample_rate_hz: float, design_rate_hz: float) -> TwinSettings:
        """Settings that trade the last decibels of accuracy for speed."""
        return cls(sample_rate_hz, design_rate_hz, filter_s=0.4, cut_s=0.06, reverb_s=2.0, dtype=torch.float32)

    @classmethod
    def exact(cls, *, sample_rate_hz: float) -> TwinSettings:
        """Settings that null against the reference."""
        return cls(
            sample_rate_hz,
            sample_rate_hz,
            filter_s=2.0,
            cut_s=0.5,
            reverb_s=eq.REVERB_MAX_S,
            dtype=torch.float64,
        )


class Twin(nn.Module):
    """Base of all twins: dry/wet, shapes and parameter names."""

    spec: ProcessorSpec

    def __init__(self, settings: TwinSettings, law: Law = REFERENCE) -> None:
        super().__init__()
        self.settings = settings
        self.law = law

    def parameter_size(self) -> dict[str, int]:
        """Size of each parameter per node, as grafx's processors report it."""
        return dict.fromkeys((*self.spec.names, "mix"), 1)

    def forward(self, input_signals: Tensor, *, mix: Tensor, **parameters: Tensor) -> Tensor:
        """Process signals of shape (nodes, 2, n); every parameter has shape (nodes,)."""
        weight = mix[:, None, None]
        return torch.lerp(input_signals, self.wet(input_signals, parameters), weight)

    def wet(self, x: Tensor, p: dict[str, Tensor]) -> Tensor:
        """The processed signal without the dry/wet."""
        raise TypeError(f"{type(self).__name__} does not define wet()")


# ------------------------------------------------------------------------------- filters


class FilterGrid(nn.Module):
    """Responses of biquads on a grid of frequencies, and their impulse responses.

    The response of a section is evaluated in the form

    ``B = (b0 + b1 + b2) - (b0 + b2) 2 sin^2(w/2) + j (b0 - b2) sin w``

    (numerator and denominator share the factor ``exp(-jw)``), which loses no precision at low
    frequencies, where ``1 + a1 + a2`` is tiny.
    """

    sin1: Tensor
    sin2: Tensor
    w: Tensor

    def __init__(self, settings: TwinSettings, *, length_s: float) -> None:
        super().__init__()
        self.settings = settings
        self.length = fast_fft_length(int(length_s * settings.sample_rate_hz))
        frequency = np.fft.rfftfreq(self.length, 1.0 / settings.sample_rate_hz)
        design_w = 2.0 * np.pi * frequency / settings.design_rate_hz
        self.register_buffer("sin2", torch.as_tensor(2.0 * np.sin(design_w / 2) ** 2, dtype=settings.dtype))
        self.register_buffer("sin1", torch.as_tensor(np.sin(design_w), dtype=settings.dtype))
        w = 2.0 * np.pi * np.arange(len(frequency)) / self.length
        self.register_buffer("w", torch.as_tensor(w, dtype=settings.dtype))

    def response(self, kind: eq.BiquadKind, *, frequency_hz: Tensor, gain_db: Tensor, q: Tensor) -> Tensor:
        """Complex response, shape of the parameters plus (bins,)."""
        b0, b1, b2, a1, a2 = eq.biquad(
            kind,
            frequency_hz=frequency_hz.double(),
            gain_db=gain_db.double(),
            q=q.double(),
            sample_rate_hz=self.settings.design_rate_hz,
            xp=torch,
        )
        response: Tensor = self._polynomial(b0, b1, b2) / self._polynomial(torch.ones_like(a1), a1, a2)
        return response

    def _polynomial(self, c0: Tensor, c1: Tensor, c2: Tensor) -> Tensor:
        dtype = self.settings.dtype
        total, even, odd = ((t.to(dtype))[..., None] for t in (c0 + c1 + c2, c0 + c2, c0 - c2))
        return torch.complex(total - even * self.sin2, odd * self.sin1)

    def cut(self, kind: eq.BiquadKind, frequency_hz: Tensor, *, off_at: float, qs: Sequence[float]) -> Tensor:
        """Response of a high-pass or low-pass with one section per Q that is bypassed at `off_at`."""
        response = torch.ones((), dtype=self.sin1.dtype, device=self.sin1.device)
        for section_q in qs:
            q = torch.full_like(frequency_hz, section_q)
            response = response * self.response(kind, frequency_hz=frequency_hz, gain_db=torch.zeros_like(q), q=q)
        return torch.where((frequency_hz == off_at)[..., None], torch.ones_like(response), response)

    def shift(self, samples: Tensor) -> Tensor:
        """Response of a delay by a (fractional) number of samples."""
        phase = -samples.to(self.settings.dtype)[..., None] * self.w
        return torch.polar(torch.ones_like(phase), phase)

    def impulse_response(self, response: Tensor) -> Tensor:
        """Taps of a response, delayed by `_LEAD` samples."""
        taps = torch.fft.irfft(response, n=self.length)
        delayed: Tensor = torch.roll(taps, _LEAD, dims=-1)
        return delayed


def convolve(x: Tensor, taps: Tensor, *, lead: int = 0) -> Tensor:
    """Causal convolution over the last axis, cut to the length of `x`, advanced by `lead`."""
    n = x.shape[-1]
    length = fast_fft_length(n + taps.shape[-1])
    spectrum = torch.fft.rfft(x, n=length) * torch.fft.rfft(taps.to(x.dtype), n=length)
    wet: Tensor = torch.fft.irfft(spectrum, n=length)[..., lead : lead + n]
    return wet


class EqTwin(Twin):
    """Parametric EQ: the cascade's response, sampled and applied as one FIR."""

    spec = SPECS["eq"]

    def __init__(self, settings: TwinSettings, law: Law = REFERENCE) -> None:
        super().__init__(settings, law)
        self.grid = FilterGrid(settings, length_s=settings.filter_s)

    def wet(self, x: Tensor, p: dict[str, Tensor]) -> Tensor:
        """The processed signal without the dry/wet."""
        return convolve(x, self.grid.impulse_response(self.response(p))[:, None], lead=_LEAD)

    def response(self, p: dict[str, Tensor]) -> Tensor:
        """Complex response of the cascade, shape (nodes, bins)."""
        grid, spec, qs = self.grid, self.spec, self.law.pass_qs
        total = grid.cut("highpass", p["highpass_hz"], off_at=spec.parameter("highpass_hz").off_at or 0.0, qs=qs)
        total = total * grid.cut("lowpass", p["lowpass_hz"], off_at=spec.parameter("lowpass_hz").off_at or 0.0, qs=qs)
        kinds: list[tuple[eq.BiquadKind, list[str]]] = [
            ("low_shelf", ["low_shelf"]),
            ("bell", [f"bell{n}" for n in range(1, BELLS + 1)]),
            ("high_shelf", ["high_shelf"]),
        ]
        for kind, bands in kinds:
            stacked = (torch.stack([p[f"{b}_{s}"] for b in bands]) for s in ("hz", "db", "q"))
            frequency_hz, gain_db, q = stacked
            total = total * grid.response(kind, frequency_hz=frequency_hz, gain_db=gain_db, q=q).prod(dim=0)
        return total


# ------------------------------------------------------------------------------- level and width


class ImagerTwin(Twin):
    """Stereo imager."""

    spec = SPECS["imager"]

    def wet(self, x: Tensor, p: dict[str, Tensor]) -> Tensor:
        """The processed signal without the dry/wet."""
        width = p["width"][:, None]
        mid = 0.5 * (x[:, 0] + x[:, 1])
        side = 0.5 * width * (x[:, 0] - x[:, 1])
        return torch.stack([mid + side, mid - side], dim=1)


class GainPanTwin(Twin):
    """Gain and pan."""

    spec = SPECS["gain_pan"]

    def wet(self, x: Tensor, p: dict[str, Tensor]) -> Tensor:
        """The processed signal without the dry/wet."""
        gains = torch.stack(eq.pan_gains(p["pan"], xp=torch), dim=1) * _gain(p["gain_db"])[:, None]
        return x * gains[:, :, None]


# ------------------------------------------------------------------------------- dynamics


class _DetectorTwin(Twin):
    def detected(self, x: Tensor) -> Tensor:
        """What the detector listens to, shape (nodes, 1 or 2, n)."""
        magnitude = x.abs()
        return magnitude.amax(dim=1, keepdim=True) if self.law.linked else magnitude

    def constants(self, p: dict[str, Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
        """Steps of attack and release, shape (nodes,)."""
        rate = self.settings.sample_rate_hz
        attack, release = (
            eq.time_constant(p[name], sample_rate_hz=rate, xp=torch).to(like) for name in ("attack_ms", "release_ms")
        )
        return attack, release

    def in_one_pass(self, x: Tensor) -> bool:
        """Whether `kernels` can do this signal: they run on the CPU."""
        return x.device.type == "cpu"

    def apart(self, x: Tensor) -> Tensor:
        """Signals as rows that share a detector: nodes, or each channel by itself."""
        return x if self.law.linked else x.reshape(-1, 1, x.shape[-1])

    def each(self, setting: Tensor) -> Tensor:
        """A setting of shape (nodes,) for every row of `apart`."""
        return setting if self.law.linked else setting.repeat_interleave(2)

    def one_pass(self, p: dict[str, Tensor]) -> dict[str, tuple[Tensor, ...]]:
        """Arguments that both kernels take."""
        steps = self.constants(p, p["attack_ms"].double())
        curve = (p["threshold_db"], p["ratio"], p["knee_db"])
        return {"steps": tuple(map(self.each, steps)), "curve": tuple(map(self.each, curve))}

    def level_db(self, magnitude: Tensor, p: dict[str, Tensor]) -> Tensor:
        """Detector level in dBFS, shape of `magnitude`; see `reference.detector_level_db`."""
        return _to_db(_follow(magnitude, *self.constants(p, magnitude)))


def _to_db(magnitude: Tensor) -> Tensor:
    level: Tensor = 20.0 * torch.log10(magnitude.clamp_min(eq.db_to_gain(eq.LEVEL_FLOOR_DB)))
    return level


def _follow(rectified: Tensor, attack: Tensor, release: Tensor) -> Tensor:
    """Branching one-pole over the last axis of (nodes, channels, n); one attack and release per node."""
    nodes, channels, frames = rectified.shape
    flat = rectified.reshape(nodes * channels, frames)
    attack, release = (step.repeat_interleave(channels) for step in (attack, release))
    # torchcomp's follower takes its attack constant while the input is *below* its state
    # (it follows gains, not levels): on negated signals that is the rising level.
    envelope: Tensor = -compressor_core(-flat, flat.new_zeros(len(flat)), attack, release)
    return envelope.reshape(rectified.shape)


class CompressorTwin(_DetectorTwin):
    """Compressor."""

    spec = SPECS["compressor"]

    def wet(self, x: Tensor, p: dict[str, Tensor]) -> Tensor:
        """The processed signal without the dry/wet."""
        if self.in_one_pass(x) and self.law.compressor_detector == "level":
            return kernels.compress(self.apart(x), **self.one_pass(p), makeup_db=self.each(p["makeup_db"])).view_as(x)
        static = {name: p[name][:, None, None] for name in ("threshold_db", "ratio", "knee_db")}
        magnitude = self.detected(x)
        if self.law.compressor_detector == "gain_reduction":
            reduction = -eq.compressor_gain_db(_to_db(magnitude), **static, xp=torch)
            gain = -_follow(reduction, *self.constants(p, magnitude))
        else:
            gain = eq.compressor_gain_db(self.level_db(magnitude, p), **static, xp=torch)
        return x * _gain(gain + p["makeup_db"][:, None, None])


class GateTwin(_DetectorTwin):
    """Noise gate."""

    spec = SPECS["gate"]

    def __init__(self, settings: TwinSettings, law: Law = REFERENCE) -> None:
        super().__init__(settings, law)
        if law.gate == "switch":
            raise ParameterError(f"gate: the law {law.name!r} switches and has no gradient; it cannot be searched")

    def wet(self, x: Tensor, p: dict[str, Tensor]) -> Tensor:
        """The processed signal without the dry/wet."""
        if self.in_one_pass(x) and self.law.gate == "expander":
            return kernels.gate(self.apart(x), **self.one_pass(p), range_db=self.each(p["range_db"])).view_as(x)
        static = {name: p[name][:, None, None] for name in ("threshold_db", "ratio", "range_db", "knee_db")}
        magnitude = self.detected(x)
        if self.law.gate == "power":
            at_once = magnitude.new_ones(len(magnitude))
            rate = self.settings.sample_rate_hz
            release = at_once * (1.0 - math.exp(-1000.0 / (eq.RMS_RELEASE_MS * rate)))
            # The floor keeps the slope of the root finite in silence.
            magnitude = _follow(magnitude.square(), at_once, release).clamp_min(1e-20).sqrt()
            static["range_db"] = torch.full_like(static["range_db"], torch.inf)
        return x * _gain(self.law.gate_curve(self.level_db(magnitude, p), **static, xp=torch))


class SaturationTwin(Twin):
    """Saturation."""

    spec = SPECS["saturation"]

    def wet(self, x: Tensor, p: dict[str, Tensor]) -> Tensor:
        """The processed signal without the dry/wet."""
        wet: Tensor = _Saturated.apply(x, eq.saturation_shape(p["drive_db"])[:, None, None])  # type: ignore[no-untyped-call]
        return wet


class _Saturated(torch.autograd.Function):
    """`equations.saturated` with its closed derivatives: a third of the time of tracing every operation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Tensor) -> Tensor:
        y: Tensor = eq.saturated(x, shape, xp=torch)
        ctx.save_for_backward(x, y, shape)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        by_x, by_shape = eq.saturation_slopes(*ctx.saved_tensors, xp=torch)
        return gradient * by_x, (gradient * by_shape).sum(dim=(1, 2), keepdim=True)


class LimiterTwin(Twin):
    """Limiter; its look-ahead is no delay, as in the reference."""

    spec = SPECS["limiter"]

    def wet(self, x: Tensor, p: dict[str, Tensor]) -> Tensor:
        """The processed signal without the dry/wet."""
        driven = x * _gain(p["gain_db"])[:, None, None]
        ahead = eq.limiter_look_ahead(self.settings.sample_rate_hz)
        peak = driven.abs().amax(dim=1)
        needed = eq.limiter_reduction(peak, _gain(p["ceiling_db"])[:, None], xp=torch)
        held = _sliding_maximum(nn.functional.pad(needed, (ahead, ahead)), ahead + 1)
        release = eq.time_constant(p["release_ms"], sample_rate_hz=self.settings.sample_rate_hz, xp=torch).to(x)
        # Double precision: moving averages are differences of long sums.
        reduction = _follow(held[:, None], torch.ones_like(release), release).double()
        for length in eq.limiter_boxes(ahead):
            reduction = _moving_average(reduction, length)
        return driven * (1.0 - reduction).to(x.dtype)


def _sliding_maximum(x: Tensor, length: int) -> Tensor:
    """Largest of each `length` neighbours of the last axis, which becomes ``length - 1`` shorter."""
    with torch.no_grad():
        largest, place = x, torch.arange(x.shape[-1], device=x.device).expand(x.shape)
        span = 1
        while span < length:
            step = min(span, length - span)
            later = largest[..., step:] > largest[..., :-step]
            largest = torch.where(later, largest[..., step:], largest[..., :-step])
            place = torch.where(later, place[..., step:], place[..., :-step])
            span += step
    return x.gather(-1, place)


def _moving_average(x: Tensor, length: int) -> Tensor:
    """Mean of each `length` neighbours of the last axis, which becomes ``length - 1`` shorter."""
    total = nn.functional.pad(x, (1, 0)).cumsum(dim=-1)
    return (total[..., length:] - total[..., :-length]) / length


# ------------------------------------------------------------------------------- delay and reverb


class _WetPathTwin(Twin):
    """Shared by delay and reverb: delayed, band-limited taps."""

    def __init__(self, settings: TwinSettings, law: Law = REFERENCE) -> None:
        super().__init__(settings, law)
        self.grid = FilterGrid(settings, length_s=settings.cut_s)

    def whole_samples(self, time_ms: Tensor) -> Tensor:
        """Delay in samples of the signal that is a whole number of samples of the session.

        The rounding is passed straight through by the gradient.
        """
        design_rate = self.settings.design_rate_hz
        exact = time_ms.double() * (design_rate / 1000.0)
        rounded = exact + (torch.floor(exact + 0.5) - exact).detach()
        samples: Tensor = rounded * (self.settings.sample_rate_hz / design_rate)
        return samples

    def cut_taps(self, time_ms: Tensor, low_cut_hz: Tensor, high_cut_hz: Tensor, *, name: str) -> tuple[Tensor, Tensor]:
        """Taps (..., length), `_LEAD` early, and the whole number of samples (...) they start at."""
        samples = self.whole_samples(time_ms)
        # Half a sample is added so that a rate conversion that lands just below a whole number stays there.
        whole = torch.floor(samples.detach() + 0.5)
        low_off = self.spec.parameter(f"{name}low_cut_hz").off_at or 0.0
        high_off = self.spec.parameter(f"{name}high_cut_hz").off_at or 0.0
        qs = self.law.cut_qs
        response = self.grid.cut("highpass", low_cut_hz, off_at=low_off, qs=qs)
        response = response * self.grid.cut("lowpass", high_cut_hz, off_at=high_off, qs=qs)
        response = response * self.grid.shift(samples - whole)
        return self.grid.impulse_response(response), whole.long()

    def gain(self, level_db: Tensor, *, name: str) -> Tensor:
        """Linear level, exactly zero at the silent end of the range."""
        silent_db = level_db.new_tensor(self.spec.parameter(name).off_at or 0.0)
        return torch.where(level_db == silent_db, torch.zeros_like(level_db), _gain(level_db))


class DelayTwin(_WetPathTwin):
    """Multitap delay."""

    spec = SPECS["delay"]

    def wet(self, x: Tensor, p: dict[str, Tensor]) -> Tensor:
        """The processed signal without the dry/wet."""
        names = [f"tap{n}_" for n in range(1, DELAY_TAPS + 1)]
        time_ms, level_db, pan, low, high = (
            torch.stack([p[name + part] for name in names], dim=1)
            for part in ("time_ms", "level_db", "pan", "low_cut_hz", "high_cut_hz")
        )
        taps, start = self.cut_taps(time_ms, low, high, name="tap1_")
        gains = torch.stack(eq.pan_gains(pan, xp=torch), dim=1) * self.gain(level_db, name="tap1_level_db")[:, None]
        index = start[..., None] + torch.arange(taps.shape[-1], device=taps.device)
        size = _steady(int(start.max())) + taps.shape[-1]
        # (nodes, channel, tap, sample): every tap lands at its own place of the impulse response.
        weighted = (gains.to(taps.dtype)[..., None] * taps[:, None]).flatten(2)
        response = weighted.new_zeros(len(x), 2, size)
        response = response.scatter_add(2, index.flatten(1)[:, None].expand(-1, 2, -1), weighted)
        return convolve(x, response, lead=_LEAD)


class ReverbTwin(_WetPathTwin):
    """Reverb: decaying band-split noise, as one impulse response per node, or the law's own tail."""

    spec = SPECS["reverb"]
    noise: Tensor

    def __init__(self, settings: TwinSettings, law: Law = REFERENCE) -> None:
        super().__init__(settings, law)
        rate, design_rate = settings.sample_rate_hz, settings.design_rate_hz
        self.freeverb: FreeverbTail | None = None
        if law.reverb == "freeverb":
            self.freeverb = FreeverbTail(sample_rate_hz=rate, design_rate_hz=design_rate, dtype=settings.dtype)
            return
        noise = reverb_noise(int(settings.reverb_s * design_rate), sample_rate_hz=design_rate)
        step = design_rate / rate
        self.energy_ratio = 1.0
        if rate != design_rate:
            native = noise
            flat = native.reshape(6, -1).T
            noise = soxr.resample(flat, design_rate, rate, quality="VHQ").T.reshape(2, 3, -1)
            self.energy_ratio = float(np.sum(native[0, 1] ** 2) / np.sum(noise[0, 1] ** 2))
        # Sampled `step` times more coarsely, a response needs taps `step` times as large.
        self.register_buffer("noise", torch.as_tensor(np.ascontiguousarray(noise), dtype=settings.dtype))
        self.tap_scale = step * math.sqrt(2.0 * eq.REVERB_BANDWIDTH_HZ / design_rate)

    def wet(self, x: Tensor, p: dict[str, Tensor]) -> Tensor:
        """The processed signal without the dry/wet."""
        n, path = x.shape[-1], self.path(p)
        send = 0.5 * (x[:, 0] + x[:, 1])
        if self.freeverb is not None:
            wet = self.freeverb(send, path, p, length=fast_fft_length(n + path.shape[-1]))
        else:
            response = self.impulse_response(p)
            length = fast_fft_length(n + path.shape[-1] + response.shape[-1])
            before = torch.fft.rfft(send, n=length) * torch.fft.rfft(path.to(x.dtype), n=length)
            wet = torch.fft.irfft(before[:, None] * torch.fft.rfft(response.to(x.dtype), n=length), n=length)
        advanced: Tensor = wet[..., _LEAD : _LEAD + n]
        return advanced

    def path(self, p: dict[str, Tensor]) -> Tensor:
        """Impulse response of pre-delay, cuts and level, `_LEAD` late, shape (nodes, taps)."""
        taps, start = self.cut_taps(p["pre_delay_ms"], p["low_cut_hz"], p["high_cut_hz"], name="")
        taps = taps * self.gain(p["level_db"], name="level_db").to(taps.dtype)[:, None]
        path = taps.new_zeros(len(start), _steady(int(start.max())) + taps.shape[-1])
        return path.scatter_add(1, start[:, None] + torch.arange(taps.shape[-1], device=taps.device), taps)

    def impulse_response(self, p: dict[str, Tensor]) -> Tensor:
        """Left and right impulse response, shape (nodes, 2, taps); see `reference.reverb_impulse_response`."""
        noise, rate = self.noise, self.settings.sample_rate_hz
        decays = torch.stack([p["decay_s"] * p["low_decay_ratio"], p["decay_s"], p["decay_s"] * p["high_decay_ratio"]])
        lengths = self._lengths(p)
        n = min(_steady(int(lengths.max())), noise.shape[-1])
        time = torch.arange(n, device=noise.device, dtype=noise.dtype)
        envelopes = torch.exp(-(eq.LOG_60_DB / rate) / decays.to(noise.dtype)[..., None] * time)
        envelopes = envelopes * (time < lengths[:, None])
        energy = ((envelopes[1] * noise[0, 1, :n]) ** 2).sum(dim=-1) * self.energy_ratio
        scale = self.tap_scale / energy.sqrt()
        mid, side = ((envelopes * noise[stream, :, None, :n]).sum(dim=0) * scale[:, None] for stream in range(2))
        side = side * p["width"].to(side.dtype)[:, None]
        return torch.stack([mid + side, mid - side], dim=1)

    def _lengths(self, p: dict[str, Tensor]) -> Tensor:
        names = ("decay_s", "low_decay_ratio", "high_decay_ratio")
        columns = [p[name].detach().cpu().double().tolist() for name in names]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        rate = self.settings.sample_rate_hz
        return torch.tensor([reverb_length(row, sample_rate_hz=rate) for row in rows], device=self.noise.device)


_TWINS: tuple[type[Twin], ...] = (
    EqTwin,
    CompressorTwin,
    GateTwin,
    SaturationTwin,
    ImagerTwin,
    GainPanTwin,
    DelayTwin,
    ReverbTwin,
    LimiterTwin,
)

TWINS: dict[str, type[Twin]] = {twin.spec.type: twin for twin in _TWINS}


def make_twins(settings: TwinSettings, *, laws: Mapping[str, str] | None = None) -> nn.ModuleDict:
    """One twin per kind of processor (`laws.kind_of`), keyed by kind, as `grafx.render.render_grafx` takes them.

    Parameters
    ----------
    laws : mapping of kind to name of a law, optional
        Kinds that are not in it have the reference law, or the one they name.

    Raises
    ------
    ParameterError
        If a law is unknown, does not concern its type or has no gradient.
    """
    chosen = laws or {}
    twins = {}
    for kind in KINDS:
        processor_type, own_law = type_and_law(kind)
        twins[kind] = TWINS[processor_type](settings, law_of(chosen.get(kind, own_law), processor_type))
    return nn.ModuleDict(twins)
