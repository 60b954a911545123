"""Profiles read backwards: what a profile writes gives its settings again, all else is refused; no plugin is run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbridge.bridge.errors import PluginSettingError
from mixbridge.bridge.null_test import random_parameters
from mixbridge.bridge.processors.reference import delay_samples
from mixbridge.bridge.processors.specs import spec_of
from mixbridge.bridge.profile_inverse import read_parameters, same_value
from mixbridge.bridge.profiles import Plain
from mixbridge.bridge.suites import Profile, load_suite, read_profile

PROFILES = [
    profile for suite in ("lsp", "zam") for profile in load_suite(suite).profiles.values() if profile.kind == "vst3"
]

#: Parameters of which a plugin has fewer than we: others that write the same do as well.
SHARED = {"lsp/gate": {"ratio", "range_db", "knee_db"}}


def title(profile: Profile) -> str:
    return f"{profile.suite}/{profile.name}"


def profile_of(suite: str, name: str) -> Profile:
    return load_suite(suite).profiles[name]


def stored(values: dict[str, Plain]) -> dict[str, Plain]:
    """Values as a plugin holds them."""
    return {name: float(np.float32(v)) if isinstance(v, float) else v for name, v in values.items()}


def written(profile: Profile, rate_hz: int = 48000, **changed: float) -> dict[str, Plain]:
    parameters = profile.clamp(profile.spec.defaults() | changed)
    return stored(profile.settings(parameters, sample_rate_hz=rate_hz))


@st.composite
def drawn(draw: st.DrawFn, profile: Profile) -> dict[str, float]:
    """Settings within the limits of a profile, often at an end, a default or where something is off."""
    parameters = random_parameters(profile, np.random.default_rng(draw(st.integers(0, 2**32))))
    for p in profile.spec.parameters:
        low, high = profile.allowed(p.name)
        special = [v for v in (low, high, p.default, p.off_at, 0.0) if v is not None and low <= v <= high]
        if draw(st.integers(0, 3)) == 0:
            parameters[p.name] = draw(st.sampled_from(special))
    return parameters


def determined(profile: Profile, parameters: dict[str, float], rate_hz: int) -> Iterator[str]:
    """Parameters that show in the plugin's values: another one would write others."""
    there = profile.settings(parameters, sample_rate_hz=rate_hz)
    for name in set(parameters) - SHARED.get(title(profile), set()):
        low, high = profile.allowed(name)
        others = [min(max(parameters[name] + step, low), high) for step in (0.01 * (high - low), -0.01 * (high - low))]
        moved = [profile.settings(parameters | {name: v}, sample_rate_hz=rate_hz) for v in set(others)]
        if low < high and all(m != there for m in moved):
            yield name


@pytest.mark.parametrize("profile", PROFILES, ids=title)
def test_what_a_profile_writes_gives_the_settings_again(profile: Profile) -> None:
    @given(parameters=drawn(profile), rate_hz=st.sampled_from([44100, 48000, 96000]))
    @settings(max_examples=12, deadline=None)
    def check(parameters: dict[str, float], rate_hz: int) -> None:
        values = stored(profile.settings(parameters, sample_rate_hz=rate_hz))
        found = read_parameters(profile, values, sample_rate_hz=rate_hz)
        assert found.notes == ()
        assert profile.check(found.parameters) == found.parameters
        again = profile.settings(found.parameters, sample_rate_hz=rate_hz)
        half_a_sample_ms = 500.0 / rate_hz
        for name, value in values.items():
            is_time = profile.processor == "delay" and name.endswith(" time")
            assert same_value(value, again[name], resolution=half_a_sample_ms if is_time else 0.0), name
        for name in determined(profile, parameters, rate_hz):
            if profile.processor == "delay" and name.endswith("time_ms"):
                samples = [delay_samples(p[name], sample_rate_hz=rate_hz) for p in (parameters, found.parameters)]
                assert samples[0] == samples[1]
            else:
                assert found.parameters[name] == pytest.approx(parameters[name], rel=2e-5, abs=2e-5), name

    check()


@pytest.mark.parametrize("profile", PROFILES, ids=title)
def test_settings_that_are_known_are_kept_to_the_digit(profile: Profile) -> None:
    parameters = random_parameters(profile, np.random.default_rng(3))
    values = stored(profile.settings(parameters, sample_rate_hz=44100))
    assert read_parameters(profile, values, sample_rate_hz=44100, near=parameters).parameters == parameters


def test_numbers_of_an_engineer_come_back_as_such() -> None:
    found = read_parameters(
        profile_of("lsp", "compressor"),
        written(profile_of("lsp", "compressor"), threshold_db=-24.3, attack_ms=7.7, release_ms=123.0, ratio=3.3),
        sample_rate_hz=48000,
    ).parameters
    wanted = {"threshold_db": -24.3, "attack_ms": 7.7, "release_ms": 123.0, "ratio": 3.3}
    assert {name: found[name] for name in wanted} == wanted


def test_what_is_switched_off_is_off_whatever_its_knobs_say() -> None:
    profile = profile_of("lsp", "eq")
    values = written(profile, bell2_db=6.0, bell2_hz=700.0, highpass_hz=80.0) | {
        "Filter type 2": "Off",
        "Filter type 7": "Off",
    }
    found = read_parameters(profile, values, sample_rate_hz=48000)
    assert (found.parameters["bell2_db"], found.parameters["bell2_hz"]) == (0.0, 700.0)
    assert found.parameters["highpass_hz"] == spec_of("eq").parameter("highpass_hz").off_at
    assert sorted(note.split(" does nothing")[0] for note in found.notes) == [
        "Parametric Equalizer x8 Stereo: Frequency 7 80",
        "Parametric Equalizer x8 Stereo: Gain 2 6",
    ]


def test_what_is_on_at_its_end_is_on() -> None:
    """A band at 0 dB and a low cut at 20 Hz that are switched on: next to what our own would call off."""
    profile = profile_of("lsp", "eq")
    found = read_parameters(profile, written(profile) | {"Filter type 3": "Bell"}, sample_rate_hz=48000).parameters
    assert 0.0 < abs(found["bell3_db"]) < 1e-5
    profile = profile_of("lsp", "delay")
    values = written(profile, tap1_level_db=-6.0) | {"Delay 0 low-cut": "on"}
    found = read_parameters(profile, values, sample_rate_hz=48000).parameters
    assert 20.0 < found["tap1_low_cut_hz"] < 20.001


@pytest.mark.parametrize("time_ms", [31.7, 250.0, 3.33])
def test_delay_times_between_samples_are_those_of_the_sample(time_ms: float) -> None:
    profile = profile_of("lsp", "delay")
    values = written(profile, 44100, tap1_level_db=-6.0) | {"Delay 0 time": time_ms}
    found = read_parameters(profile, values, sample_rate_hz=44100).parameters
    # The plugin cuts down to whole samples.
    assert delay_samples(found["tap1_time_ms"], sample_rate_hz=44100) == int(time_ms * 44.1)


@pytest.mark.parametrize(
    ("suite", "name", "changed", "message"),
    [
        ("lsp", "compressor", {"Sidechain mode": "RMS"}, r"Sidechain mode is RMS.*set it to Peak, or bypass"),
        ("lsp", "compressor", {"Attack time": 1500.0}, r"Attack time is 1500.*lsp/compressor never writes.*245\.5"),
        ("zam", "compressor", {"Knee": 3.0}, r"ZamCompX2: Knee is 3.*set it to 0"),
        ("zam", "compressor", {"Makeup": 27.0}, r"Makeup is 27.*set it to 24"),
        ("lsp", "delay", {"Delay 0 gain": float("-inf")}, r"Delay 0 gain is -inf"),
        ("lsp", "eq", {"Filter type 1": "Notch"}, r"Filter type 1 is Notch"),
        ("zam", "reverb", {"Low Cut": 10.0}, r"Low Cut is 10.*never writes"),
    ],
)
def test_what_no_setting_writes_is_refused_by_name(
    suite: str, name: str, changed: dict[str, Plain], message: str
) -> None:
    profile = profile_of(suite, name)
    values = written(profile, tap1_level_db=-6.0) if name == "delay" else written(profile)
    with pytest.raises(PluginSettingError, match=message):
        read_parameters(profile, values | changed, sample_rate_hz=48000)


def test_missing_values_are_refused_and_what_only_shows_is_noted() -> None:
    profile = profile_of("lsp", "eq")
    values = written(profile)
    found = read_parameters(profile, values | {"Input FFT graph enable Left": "on"}, sample_rate_hz=48000)
    assert "only changes its display" in found.notes[0]
    del values["Gain 1"]
    with pytest.raises(PluginSettingError, match="Gain 1"):
        read_parameters(profile, values, sample_rate_hz=48000)


OWN = """
processor = "compressor"
kind = "vst3"
stereo = "linked"
control = [
  { parameter = "Drive", value = "(threshold_db + 30) ** 2" },
  { parameter = "Side", value = "side" },
  { parameter = "Sum", value = "ratio + scaled" },
  { parameter = "Product", value = "ratio * scaled" },
  { parameter = "Time", value = "floor(attack_ms)", resolution = 0.5 },
]
[let]
scaled = "knee_db / 4"
side = "0 if threshold_db < -30 else 1"
[limits]
ratio = [4, 20]
knee_db = [0, 12]
[plugin]
name = "Own"
"""


@given(
    threshold_db=st.floats(-59.0, -1.0), ratio=st.floats(4.1, 20.0), knee_db=st.floats(0.1, 11.9),
    attack_ms=st.floats(1.0, 200.0),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_formulas_with_two_branches_shared_parameters_and_steps(
    threshold_db: float, ratio: float, knee_db: float, attack_ms: float
) -> None:
    profile = read_profile(OWN, suite="own", name="compressor", source="own.toml")
    parameters = profile.spec.defaults() | {
        "threshold_db": threshold_db, "ratio": ratio, "knee_db": knee_db, "attack_ms": attack_ms,
    }  # fmt: skip
    values = profile.settings(parameters, sample_rate_hz=48000)
    found = read_parameters(profile, values, sample_rate_hz=48000).parameters
    again = profile.settings(found, sample_rate_hz=48000)
    assert all(same_value(values[name], again[name], resolution=0.5 * (name == "Time")) for name in values)
    assert found["threshold_db"] == pytest.approx(threshold_db, abs=2e-3)
    assert (found["ratio"], found["knee_db"]) == pytest.approx((ratio, knee_db), rel=1e-3)
