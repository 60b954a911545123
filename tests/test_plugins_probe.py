"""Certificates: what makes a plugin fail, what is only noted, and that only those that passed are used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from typer.testing import CliRunner

from mixbridge.bridge.errors import (
    PluginCrashError,
    PluginOutputError,
    PluginRefusalError,
    PluginTimeoutError,
    PluginUnverifiedError,
)
from mixbridge.bridge.hosting import certificates, places
from mixbridge.bridge.hosting import probe as probe_module
from mixbridge.bridge.hosting.certificates import Certificate, load_certificate, save_certificate
from mixbridge.bridge.hosting.pool import (
    ParameterDescription,
    PluginDescription,
    PluginPool,
    PluginRef,
    PluginSettings,
)
from mixbridge.bridge.hosting.probe import ensure_certificate, moved_settings, probe
from mixbridge.bridge.hosting.registry import find_plugin, require_certificate
from mixbridge.cli_plugins import plugins_app

from .suites import installed, use_test_home


class FakePool:
    """A plugin that halves the level and forgets nothing, unless a test gives it a fault.

    `fault` gets what was rendered, the settings, the rate and the block length.
    """

    def __init__(
        self,
        fault: Callable[..., np.ndarray] | None = None,
        *,
        channels: tuple[int, ...] = (2,),
        latency_samples: int = 0,
        state: Callable[[PluginSettings], bytes] | None = None,
    ) -> None:
        self.fault = fault or (lambda output, **_more: output)
        self.renders = 0
        self.state = state or self._honest_state
        self.description = PluginDescription(
            *("Fake", "Vendor", "1.0", "Fx", "AB" * 16),
            channels,
            latency_samples,
            (ParameterDescription("Gain", minimum=0.0, maximum=1.0, default=0.5),),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def describe(self, _plugin: PluginRef) -> PluginDescription:
        return self.description

    def render(self, _plugin, settings, audio, *, sample_rate_hz, block_frames=8192):
        self.renders += 1
        gain = float(settings.state) if settings.state else float(settings.values.get("Gain", 0.5))
        output = (gain * np.asarray(audio)).astype(np.float32)
        return self.fault(output, settings=settings, rate_hz=sample_rate_hz, block_frames=block_frames)

    def component_state(self, _plugin, settings, *, sample_rate_hz):
        return self.state(settings)

    @staticmethod
    def _honest_state(settings: PluginSettings) -> bytes:
        return settings.state or str(settings.values.get("Gain", 0.5)).encode()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginRef:
    monkeypatch.setenv(places.HOME_VARIABLE, str(tmp_path / "home"))
    bundle = tmp_path / "Fake.vst3"
    bundle.write_bytes(b"version 1")
    return PluginRef("Fake", bundle, "AB" * 16)


def probe_fake(plugin: PluginRef, pool: FakePool, fresh: FakePool | None = None) -> Certificate:
    return probe(plugin, pool, fresh_pool=lambda: fresh or pool)  # type: ignore[arg-type, return-value]


def test_a_sound_plugin_passes_without_a_note(plugin: PluginRef) -> None:
    found = probe_fake(plugin, FakePool())
    assert found.passed and not found.reasons and not found.notes
    assert found.deterministic and found.state_restored and found.block_frames is None
    assert [r.sample_rate_hz for r in found.rates] == [44100, 48000, 88200, 96000]
    assert all(r.latency_samples == 0 and r.tail_s == pytest.approx(1 / r.sample_rate_hz) for r in found.rates)
    assert found.crosstalk_db is None and found.self_noise_db is None
    assert (found.name, found.vendor, found.class_id, found.bundle) == ("Fake", "Vendor", "AB" * 16, "Fake.vst3")


def test_noise_in_the_output_fails(plugin: PluginRef) -> None:
    random = np.random.default_rng(1)
    noisy = FakePool(lambda output, **_: output + random.uniform(-1e-3, 1e-3, output.shape).astype(np.float32))
    found = probe_fake(plugin, noisy)
    assert not found.passed and not found.deterministic and not found.state_restored
    assert found.reasons[0].startswith("not deterministic: two renders differ by -5")
    assert any("makes a sound of its own from silence (-60 dBFS)" in note for note in found.notes)


def test_other_output_in_a_fresh_process_fails(plugin: PluginRef) -> None:
    elsewhere = FakePool(lambda output, settings, **_: output if settings.state else output * np.float32(1.001))
    found = probe_fake(plugin, FakePool(), elsewhere)
    assert not found.passed and "a fresh process differs" in found.reasons[0]


def test_a_state_that_forgets_fails(plugin: PluginRef) -> None:
    found = probe_fake(plugin, FakePool(state=lambda settings: settings.state or b"0.5"))
    assert found.deterministic and not found.state_restored and not found.passed
    assert "its state does not restore it: a fresh process differs" in found.reasons[0]


def test_a_state_that_does_not_come_back_fails(plugin: PluginRef) -> None:
    forgetful = FakePool(state=lambda s: s.state + b"0" if s.state else str(s.values["Gain"]).encode())
    found = probe_fake(plugin, forgetful)
    assert found.reasons == ("its state does not restore it: given its own state, it stores another one",)


@pytest.mark.parametrize("kind", [PluginCrashError, PluginTimeoutError, PluginOutputError])
def test_crash_hang_and_nan_fail_with_their_reason(plugin: PluginRef, kind: type[Exception]) -> None:
    def fail(_output: np.ndarray, **_: object) -> np.ndarray:
        raise kind(f"{plugin.label}: wrote NaN; use another plugin")

    found = probe_fake(plugin, FakePool(fail))
    assert not found.passed and found.reasons == ("wrote NaN",)


@pytest.mark.parametrize(("refused_hz", "passes"), [(96000.0, True), (48000.0, False)])
def test_refused_rates(plugin: PluginRef, refused_hz: float, passes: bool) -> None:
    def refuse(output: np.ndarray, rate_hz: float, **_: object) -> np.ndarray:
        if rate_hz == refused_hz:
            raise PluginRefusalError(f"{plugin.label}: no; sorry")
        return output

    found = probe_fake(plugin, FakePool(refuse))
    words = f"does not run at {refused_hz / 1000:g} kHz: no"
    assert found.passed is passes and words in found.notes
    assert found.reasons == (() if passes else (words,))


def test_latency_is_measured_and_a_lie_is_noted(plugin: PluginRef) -> None:
    found = probe_fake(plugin, FakePool(lambda output, **_: np.roll(output, 37, axis=1), latency_samples=64))
    assert found.passed and [r.latency_samples for r in found.rates] == [37] * 4
    assert found.reported_latency_samples == 64
    assert "reports a latency of 64 samples; 37 were measured at 44.1 kHz" in found.notes


def test_latency_of_what_swallows_an_impulse_is_measured_all_the_same(plugin: PluginRef) -> None:
    def gate(output: np.ndarray, **_: object) -> np.ndarray:
        output[:, 0] = 0
        return np.roll(output, 12, axis=1)

    assert [r.latency_samples for r in probe_fake(plugin, FakePool(gate)).rates] == [12] * 4


def test_dependence_on_the_block_length_fixes_it(plugin: PluginRef) -> None:
    found = probe_fake(plugin, FakePool(lambda o, block_frames, **_: o * np.float32(1 + 0.01 * (block_frames < 100))))
    assert found.passed and found.block_frames == 8192
    assert any("depends on the block length" in note for note in found.notes)


def test_tail_and_denormals_are_recorded(plugin: PluginRef) -> None:
    def ring(output: np.ndarray, **_: object) -> np.ndarray:
        output[:, 4410] += 1e-3
        output[:, 9000:9010] += np.float32(1e-40)
        return output

    found = probe_fake(plugin, FakePool(ring))
    assert found.rates[0].tail_s == pytest.approx(4411 / 44100) and found.rates[0].denormals == 20
    assert "its tail ends in denormal numbers" in found.notes
    assert probe_fake(plugin, FakePool(lambda o, **_: o + np.float32(0.01))).rates[0].tail_s is None


def test_channels(plugin: PluginRef) -> None:
    def cross(output: np.ndarray, **_: object) -> np.ndarray:
        return output + np.float32(0.1) * output[::-1]

    assert probe_fake(plugin, FakePool(cross)).crosstalk_db == pytest.approx(-20, abs=0.1)
    mono = probe_fake(plugin, FakePool(channels=(1,)))
    assert mono.passed and mono.crosstalk_db is None and mono.notes == ("mono: takes one channel only",)
    assert probe_fake(plugin, FakePool(channels=())).reasons == ("takes neither one nor two channels",)


def test_moved_settings_leave_switches_alone() -> None:
    parameters = (
        ParameterDescription("Threshold", minimum=-60.0, maximum=0.0, default=-12.0),
        ParameterDescription("Input gain", minimum=-np.inf, maximum=60.0, default=0.0),
        ParameterDescription("Bypass", default="off", choices=("off", "on"), steps=2),
        ParameterDescription("Filter type 1", default="Off", choices=("Off", "Bell", "Hi-pass"), steps=3),
        ParameterDescription("Meter", minimum=0.0, maximum=1.0, default=0.0, writable=False),
    )
    moved = moved_settings(parameters).values
    assert moved == {"Threshold": pytest.approx(-21.6), "Input gain": -6.0, "Filter type 1": "Bell"}


# ------------------------------------------------------------------ keeping and asking


def test_only_a_passing_certificate_of_this_version_counts(plugin: PluginRef, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginUnverifiedError, match=r"Fake: was never probed .*plugins probe \"Fake\".*--allow-unver"):
        require_certificate(plugin)
    assert require_certificate(plugin, allow_unverified=True) is None
    good = probe_fake(plugin, FakePool())
    path = save_certificate(plugin, good)
    assert require_certificate(plugin) == good == load_certificate(PluginRef("Fake", plugin.path))
    assert load_certificate(PluginRef("Other", plugin.path, "CD" * 16)) is None

    with monkeypatch.context() as patch:
        patch.setattr(certificates, "host_version", lambda: "pedalboard 99")
        assert load_certificate(plugin) is None
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "PROBE_VERSION", 99)
        assert load_certificate(plugin) is None
    path.write_text("{")
    assert load_certificate(plugin) is None
    save_certificate(plugin, good)
    assert plugin.path is not None
    plugin.path.write_bytes(b"version 2 of it")
    with pytest.raises(PluginUnverifiedError, match="never probed"):
        require_certificate(plugin)

    bad = good.model_copy(
        update={"passed": False, "reasons": ("wrote NaN",), "file_hash": certificates.hash_of(plugin)}
    )
    save_certificate(plugin, bad)
    with pytest.raises(PluginUnverifiedError, match=r"did not pass its probe \(wrote NaN\).*--allow-unverified"):
        require_certificate(plugin)
    assert require_certificate(plugin, allow_unverified=True) == bad


def test_ensure_probes_once_and_not_for_those_who_do_not_care(
    plugin: PluginRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = FakePool()
    monkeypatch.setattr(probe_module, "PluginPool", lambda **_: pool)
    assert ensure_certificate(plugin, pool, allow_unverified=True) is None and not pool.renders  # type: ignore[arg-type]
    first = ensure_certificate(plugin, pool)  # type: ignore[arg-type]
    renders = pool.renders
    assert first is not None and first.passed and renders
    assert ensure_certificate(plugin, pool) == first and pool.renders == renders  # type: ignore[arg-type]


# ------------------------------------------------------------------ real plugins

#: What the shipped profiles of the suites use: bundle, then name.
PROFILED = {
    "lsp": [
        *("Parametric Equalizer x8 Stereo", "Compressor Stereo", "Gate Stereo"),
        *("Slapback Delay Stereo", "Impulse Reverb Stereo"),
    ],
    "zam": ["ZamCompX2", "ZamGateX2"],
    "dragonfly": ["DragonflyPlateReverb", "DragonflyHallReverb"],
}


@pytest.fixture(scope="module")
def pool() -> Iterator[PluginPool]:
    with PluginPool(workers=1, time_limit_s=60.0) as opened:
        yield opened


@pytest.fixture
def real_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the suites but without anything measured before."""
    for suite in PROFILED:
        installed(suite)
    home = tmp_path / "home"
    home.mkdir()
    (home / "suites").symlink_to(use_test_home() / "suites")
    monkeypatch.setenv(places.HOME_VARIABLE, str(home))
    return home


@pytest.mark.slow
def test_every_plugin_of_the_shipped_suites_passes(pool: PluginPool, monkeypatch: pytest.MonkeyPatch) -> None:
    # In the home that all tests share: the others need these certificates, too.
    for suite in PROFILED:
        installed(suite)
    monkeypatch.setattr(places, "system_vst3_folders", list)
    for name in [name for names in PROFILED.values() for name in names]:
        plugin = find_plugin(name=name)
        certificate = ensure_certificate(plugin, pool)
        assert certificate is not None and certificate.passed, name
        assert [r.latency_samples for r in certificate.rates] == [0] * 4, name
        assert require_certificate(plugin) == certificate


def test_real_plugins_that_are_not_fit_are_refused(real_home: Path, pool: PluginPool) -> None:
    with pytest.raises(PluginUnverifiedError, match=r"not pass its probe \(not deterministic"):
        ensure_certificate(find_plugin(name="DragonflyRoomReverb"), pool)
    with pytest.raises(PluginUnverifiedError, match=r"not pass its probe \(wrote NaN"):
        ensure_certificate(find_plugin(name="ZamEQ2"), pool)


def test_latency_a_real_plugin_does_not_report_is_found(real_home: Path, pool: PluginPool) -> None:
    found = probe(find_plugin(name="Limiter Stereo"), pool)
    # Five milliseconds of lookahead, whatever the rate.
    assert [r.latency_samples for r in found.rates] == [220, 240, 441, 480]
    assert any("reports a latency of 0 samples; 220 were measured" in note for note in found.notes)


def test_probe_command(real_home: Path) -> None:
    run = CliRunner().invoke
    good = run(plugins_app, ["probe", "ZamGateX2", "Compressor", "--json"])
    assert good.exit_code == 0 and good.stderr == ""
    assert [(c["name"], c["passed"]) for c in json.loads(good.stdout)] == [("ZamGateX2", True), ("Compressor", True)]
    assert require_certificate(find_plugin(name="ZamGateX2")) is not None
    bad = run(plugins_app, ["probe", "ZamEQ2"])
    assert bad.exit_code == 1 and "did not pass" in bad.stdout and "wrote NaN" in bad.stdout
    shown = run(plugins_app, ["show", "ZamGateX2"])
    assert "passed" in shown.stdout and "48 kHz" in shown.stdout


def test_an_exchanged_bundle_needs_a_new_probe(real_home: Path, tmp_path: Path, pool: PluginPool) -> None:
    bundle = tmp_path / "copy" / "ZamGateX2.vst3"
    shutil.copytree(installed("zam") / "ZamGateX2.vst3", bundle)
    plugin = find_plugin(bundle=str(bundle))
    ensure_certificate(plugin, pool)
    binary = next(bundle.rglob("*.so"))
    binary.write_bytes(binary.read_bytes() + b"\0")
    with pytest.raises(PluginUnverifiedError, match="never probed"):
        require_certificate(plugin)
