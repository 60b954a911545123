"""Twins against the reference: null tests over random settings and rates, gradients, rates that differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixbridge.bridge.errors import ParameterError
from mixbridge.bridge.processors.laws import LAWS, law_of
from mixbridge.bridge.processors.reference import apply_processor
from mixbridge.bridge.processors.specs import SPECS, spec_of
from mixbridge.bridge.processors.twins import TWINS, TwinSettings, fast_fft_length

from .dsp import RATES_HZ, null_db, programme, random_parameters

LINEAR_NULL_DB, DYNAMICS_NULL_DB = -80.0, -60.0

#: Every type with every law that has a gradient.
KINDS_AND_LAWS = [(kind, "") for kind in SPECS] + [
    (kind, law.name) for law in LAWS.values() for kind in law.types if (kind, law.gate) != ("gate", "switch")
]


def as_tensors(settings: list[dict[str, float]], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: torch.tensor([s[name] for s in settings], dtype=dtype) for name in settings[0]}


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize(("kind", "law"), KINDS_AND_LAWS)
def test_twin_nulls_against_the_reference(kind: str, law: str, rate_hz: int) -> None:
    random = np.random.default_rng([rate_hz, len(kind)])
    audio = programme(seconds=1.5, rate_hz=rate_hz)
    settings = [random_parameters(spec_of(kind), random) for _ in range(10)]
    mixes = random.uniform(0.1, 1.0, len(settings))
    twin = TWINS[kind](TwinSettings.exact(sample_rate_hz=rate_hz), law_of(law, kind))
    # Single precision: what the search runs on.
    batch = torch.tensor(audio, dtype=torch.float32).expand(len(settings), 2, -1)
    with torch.no_grad():
        found = twin(batch, mix=torch.tensor(mixes).float(), **as_tensors(settings, torch.float32)).numpy()
    limit = LINEAR_NULL_DB if spec_of(kind).linear else DYNAMICS_NULL_DB
    for row, (values, mix) in enumerate(zip(settings, mixes, strict=True)):
        expected = apply_processor(kind, audio, parameters=values, sample_rate_hz=rate_hz, mix=float(mix), law=law)
        assert null_db(found[row], expected) < limit, (values, mix)


@pytest.mark.parametrize(("kind", "law"), KINDS_AND_LAWS)
def test_every_parameter_has_a_finite_gradient(kind: str, law: str) -> None:
    random = np.random.default_rng(7)
    settings = [random_parameters(spec_of(kind), random) for _ in range(3)]
    if kind == "gate":
        # Slow gates never close again within a second.
        settings[0].update(threshold_db=-15.0, ratio=2.0, range_db=6.0, release_ms=10.0)
    parameters = {k: v.requires_grad_() for k, v in as_tensors(settings, torch.float32).items()}
    mix = torch.full((3,), 0.6, requires_grad=True)
    twin = TWINS[kind](TwinSettings.for_search(sample_rate_hz=30000, design_rate_hz=44100), law_of(law, kind))
    audio = torch.tensor(programme(seconds=1.0, rate_hz=30000), dtype=torch.float32).expand(3, 2, -1)
    twin(audio, mix=mix, **parameters).square().mean().backward()
    for name, tensor in {**parameters, "mix": mix}.items():
        assert tensor.grad is None or torch.isfinite(tensor.grad).all(), name
    moved = [name for name, tensor in parameters.items() if tensor.grad is not None and tensor.grad.abs().max() > 0]
    # A gate that follows the power has no floor, the combs of Freeverb nothing that takes from the lows.
    without = {"range_db"} if law_of(law, kind).gate == "power" and kind == "gate" else set()
    without |= {"low_decay_ratio"} if law == "freeverb" else set()
    assert set(moved) == set(spec_of(kind).names) - without


LIMITED = {"gain_db": 3.0, "ceiling_db": -4.0, "release_ms": 20.0}


@pytest.mark.parametrize(
    ("kind", "name", "changes"),
    [
        ("compressor", "threshold_db", {"threshold_db": -30.0, "ratio": 3.0}),
        ("gate", "threshold_db", {"threshold_db": -25.0, "ratio": 3.0}),
        ("eq", "bell2_db", {"bell2_db": 4.0}),
        ("saturation", "drive_db", {"drive_db": 5.0}),
        ("limiter", "gain_db", LIMITED),
        ("limiter", "ceiling_db", LIMITED),
        ("limiter", "release_ms", LIMITED),
    ],
)
def test_gradient_agrees_with_a_finite_difference(kind: str, name: str, changes: dict[str, float]) -> None:
    values = {**spec_of(kind).defaults(), **changes}
    twin = TWINS[kind](TwinSettings.exact(sample_rate_hz=30000))
    audio = torch.tensor(programme(seconds=0.5, rate_hz=30000)).expand(1, 2, -1)

    def energy(value: torch.Tensor) -> torch.Tensor:
        parameters = {**as_tensors([values], torch.float64), name: value}
        out: torch.Tensor = twin(audio, mix=torch.ones(1).double(), **parameters).square().sum()
        return out

    centre = torch.tensor([values[name]], dtype=torch.float64, requires_grad=True)
    energy(centre).backward()
    step = 1e-4
    with torch.no_grad():
        difference = (energy(centre + step) - energy(centre - step)) / (2 * step)
    assert centre.grad is not None
    assert float(centre.grad) == pytest.approx(float(difference), rel=1e-3)


@pytest.mark.parametrize(("kind", "changes"), [("saturation", {"drive_db": 5.0}), ("limiter", LIMITED)])
def test_gradient_of_the_signal_agrees_with_a_finite_difference(kind: str, changes: dict[str, float]) -> None:
    """What the processors before it are told."""
    twin = TWINS[kind](TwinSettings.exact(sample_rate_hz=30000))
    parameters = as_tensors([{**spec_of(kind).defaults(), **changes}], torch.float64)
    random = np.random.default_rng(1)
    weights, change = (torch.tensor(random.standard_normal((1, 2, 6000))) for _ in range(2))

    def weighted(signal: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = (weights * twin(signal, mix=torch.full((1,), 0.8).double(), **parameters)).sum()
        return out

    audio = torch.tensor(programme(seconds=0.2, rate_hz=30000))[None].requires_grad_()
    weighted(audio).backward()
    assert audio.grad is not None
    step = 1e-7
    with torch.no_grad():
        difference = (weighted(audio + step * change) - weighted(audio - step * change)) / (2 * step)
    assert float((audio.grad * change).sum()) == pytest.approx(float(difference), rel=1e-4)


def test_saturation_can_leave_its_default() -> None:
    """Without drive there is nothing to hear, but a slope: the search must be able to start there."""
    twin = TWINS["saturation"](TwinSettings.for_search(sample_rate_hz=30000, design_rate_hz=44100))
    audio = torch.tensor(programme(seconds=0.2, rate_hz=30000), dtype=torch.float32)[None]
    drive = torch.zeros(1, requires_grad=True)
    out = twin(audio, mix=torch.ones(1), drive_db=drive)
    assert torch.equal(out, audio)
    out.square().sum().backward()
    assert drive.grad is not None and float(drive.grad) < -0.1


def test_a_search_finds_the_settings_of_a_limiter() -> None:
    """From a ceiling that hardly touches the peaks, on the waveform itself."""
    settings = TwinSettings.for_search(sample_rate_hz=30000, design_rate_hz=30000)
    truth = {"gain_db": 3.0, "ceiling_db": -5.0, "release_ms": 40.0}
    audio = programme(seconds=1.5, rate_hz=30000)
    target = apply_processor("limiter", audio, parameters=truth, sample_rate_hz=30000)
    twin, signal = TWINS["limiter"](settings), torch.tensor(audio, dtype=torch.float32)[None]
    wanted = torch.tensor(target, dtype=torch.float32)[None]
    levels = torch.tensor([1.0, -1.0], requires_grad=True)
    release = torch.tensor([np.log(150.0)], dtype=torch.float32, requires_grad=True)
    optimiser = torch.optim.Adam([{"params": [levels], "lr": 0.3}, {"params": [release], "lr": 0.1}])
    for step in range(120):
        for group, rate in zip(optimiser.param_groups, (0.3, 0.1), strict=True):
            group["lr"] = rate * (1 - step / 120)
        optimiser.zero_grad()
        out = twin(signal, mix=torch.ones(1), gain_db=levels[:1], ceiling_db=levels[1:], release_ms=release.exp())
        (out - wanted).square().mean().backward()
        optimiser.step()
    gain_db, ceiling_db = levels.tolist()
    assert gain_db == pytest.approx(truth["gain_db"], abs=0.1)
    assert ceiling_db == pytest.approx(truth["ceiling_db"], abs=0.1)
    assert float(release.detach().exp()) == pytest.approx(truth["release_ms"], rel=0.1)


@pytest.mark.parametrize("kind", ["eq", "delay", "reverb"])
def test_a_search_at_30_khz_sees_what_the_session_will_play(kind: str) -> None:
    """Filters take their response at the session's rate: compare spectra below 12 kHz."""
    random = np.random.default_rng(11)
    values = random_parameters(spec_of(kind), random)
    if kind == "eq":
        values.update(bell4_hz=9000.0, bell4_db=9.0, bell4_q=1.0, high_shelf_hz=11000.0, high_shelf_db=6.0)
    if kind == "reverb":
        values.update(level_db=0.0, decay_s=0.5, low_decay_ratio=1.0)
    impulse = np.zeros((2, 44100 * 2))
    impulse[:, 0] = 1.0
    expected = np.abs(np.fft.rfft(apply_processor(kind, impulse, parameters=values, sample_rate_hz=44100)))
    twin = TWINS[kind](TwinSettings.for_search(sample_rate_hz=30000, design_rate_hz=44100))
    short = torch.zeros(1, 2, 60000)
    short[:, :, 0] = 1.0
    with torch.no_grad():
        out = twin(short, mix=torch.ones(1), **as_tensors([values], torch.float32))[0]
    found = np.abs(np.fft.rfft(out.numpy()))
    band = slice(80 * 2, 12000 * 2)
    error = np.linalg.norm(found[:, band] - expected[:, band]) / np.linalg.norm(expected[:, band])
    assert 20 * np.log10(error) < -34.0


def test_a_law_without_a_gradient_is_refused() -> None:
    with pytest.raises(ParameterError, match="zam"):
        TWINS["gate"](TwinSettings.exact(sample_rate_hz=30000), law_of("zam", "gate"))


@pytest.mark.parametrize(("kind", "law"), KINDS_AND_LAWS)
def test_every_law_leaves_the_signal_alone_at_the_defaults(kind: str, law: str) -> None:
    audio = programme(seconds=0.5, rate_hz=44100)
    if kind == "limiter":
        audio /= np.abs(audio).max()
    found = apply_processor(kind, audio, parameters=spec_of(kind).defaults(), sample_rate_hz=44100, law=law)
    silent = kind in ("delay", "reverb")
    np.testing.assert_allclose(found, 0.0 * audio if silent else audio, atol=1e-12)


def test_parameter_size_names_every_parameter() -> None:
    for kind, twin in TWINS.items():
        sizes = twin(TwinSettings.exact(sample_rate_hz=44100)).parameter_size()
        assert set(sizes) == {*spec_of(kind).names, "mix"}


@pytest.mark.parametrize("n", [1, 31, 32, 173999, 234375])
def test_fft_lengths_are_long_enough_even_and_smooth(n: int) -> None:
    length = fast_fft_length(n)
    assert n <= length < 1.3 * n + 64
    assert length % 32 == 0
    for factor in (2, 3, 5):
        while length % factor == 0:
            length //= factor
    assert length == 1
