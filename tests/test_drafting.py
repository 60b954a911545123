"""Drafting of profiles: guesses from names, fits, and whole drafts of made-up and of real plugins."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import typer
from typer.testing import CliRunner

from mixbridge.bridge.errors import PluginNotFoundError, PluginOutputError, PluginRefusalError, ProfileError
from mixbridge.bridge.hosting import places
from mixbridge.bridge.hosting.drafting import laws, probing, roles
from mixbridge.bridge.hosting.drafting.draft import bench_for, choose_plugin, draft_profile
from mixbridge.bridge.hosting.drafting.probing import Bench
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.hosting.refs import ParameterDescription, PluginDescription
from mixbridge.bridge.processors.reference import apply_processor
from mixbridge.bridge.processors.specs import COMPRESSOR, EQ
from mixbridge.bridge.suites import choose_profiles
from mixbridge.cli_profile import profile_command

from .suites import installed, link_suites, use_test_home

BUNDLE = Path("made-up.vst3")


def control(name: str, low: float, high: float, default: float, unit: str = "", steps: int = 0) -> ParameterDescription:
    return ParameterDescription(name, name.lower(), unit, low, high, default, steps)


def choice(name: str, *choices: str, default: str = "") -> ParameterDescription:
    return ParameterDescription(name, name.lower(), default=default or choices[0], steps=len(choices), choices=choices)


def description(name: str, *controls: ParameterDescription, channels: int = 2) -> PluginDescription:
    return PluginDescription(name, "Nobody", "1.0", "Fx", "0" * 32, (channels,), 0, controls)


# ------------------------------------------------------------------------------- names


def test_words_split_at_signs_numbers_and_humps() -> None:
    assert roles.words("Boost/Cut 1") == ("boost", "cut", "1")
    assert roles.words("LowGain2") == ("low", "gain", "2")


def test_a_compressor_is_told_from_its_controls_and_the_roles_are_found() -> None:
    seen = description(
        "Squeezer",
        control("Attack threshold", -60, 0, -12, "dB"),
        control("Release threshold", -60, 0, -60, "dB"),
        control("Ratio", 1, 100, 4),
        control("Attack time", 0, 2000, 20, "ms"),
        control("Release time", 0, 5000, 100, "ms"),
        control("Gain Reduction", 0, 40, 0, "dB"),
        control("Makeup gain", -60, 60, 0, "dB"),
    )
    assert roles.rank_types(seen)[0].processor == "compressor"
    found = {name: c.name for name, c in roles.find_roles(seen, "compressor").items()}
    assert found == {
        "threshold_db": "Attack threshold",
        "ratio": "Ratio",
        "attack_ms": "Attack time",
        "release_ms": "Release time",
        "makeup_db": "Makeup gain",
    }


def test_several_thresholds_are_a_multiband_and_none_of_ours() -> None:
    bands = [control(f"Threshold {n}", -60, 0, -20, "dB") for n in (1, 2, 3)]
    seen = description("Multi Compressor", *bands, control("Ratio1", 1, 20, 4))
    assert roles.rank_types(seen) == []
    assert "several thresholds" in roles.multiband_reason(seen)


def test_bands_of_an_equalizer_are_grouped_by_number_and_by_name() -> None:
    seen = description(
        "Shaper",
        choice("Filter type 0", "Off", "Bell", "Hi-pass", "Lo-shelf"),
        control("Frequency 0", 10, 24000, 100, "Hz"),
        control("Gain 0", -36, 36, 0, "dB"),
        control("Quality factor 0", 0, 100, 0),
        control("High Shelf Freq", 1, 20, 8, "kHz"),
        control("High Shelf Gain", -12, 12, 0, "dB"),
        control("Frequency shift", -12, 12, 0, "st"),
    )
    numbered, named = roles.find_bands(seen)
    assert numbered.shapes == {"bell": "Bell", "highpass": "Hi-pass", "low_shelf": "Lo-shelf"}
    assert (numbered.off, numbered.q[0].name) == ("Off", "Quality factor 0")
    assert (named.shape, named.gain is not None) == ("high_shelf", True)


# ------------------------------------------------------------------------------- forms


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: x, "{x}"),
        (lambda x: 2.5 * x, "2.5 * {x}"),
        (lambda x: 2.0 * x - 1.0, "2 * {x} - 1"),
        (lambda x: 3.0 * x**-0.5, "3 * {x} ** -0.5"),
    ],
)
def test_the_simplest_form_that_explains_the_values_is_chosen(function: object, text: str) -> None:
    x = [0.3, 0.7, 1.1, 2.0, 3.5, 6.0]
    form = laws.fit_form(x, [function(a) for a in x], decibels=False)  # type: ignore[operator]
    assert form.text == text
    assert form.worst < 1e-6


def test_octaves_are_recognised_and_the_formula_is_the_function() -> None:
    x = [0.3, 0.7, 1.1, 2.0, 3.5, 6.0]
    octaves = [2.0 / math.log(2.0) * math.asinh(1.0 / (2.0 * q)) for q in x]
    form = laws.fit_form(x, octaves, decibels=False)
    names = {"q": 1.7, "log": math.log, "sqrt": math.sqrt, "exp": math.exp}
    assert eval(form.formula("q"), {}, names) == pytest.approx(form.value(1.7), rel=1e-5)
    assert form.value(1.7) == pytest.approx(2.0 / math.log(2.0) * math.asinh(1.0 / 3.4), rel=1e-6)


def test_reach_is_the_range_within_the_control() -> None:
    form = laws.fit_form([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], decibels=False)
    low, high = laws.reach(form, COMPRESSOR.parameter("attack_ms"), low=1.0, high=100.0)
    assert (low, high) == (pytest.approx(0.5, rel=1e-5), pytest.approx(50.0, rel=1e-5))


@pytest.mark.parametrize("kind", ["bell", "low_shelf", "high_shelf"])
def test_a_section_is_fitted_to_its_response(kind: str) -> None:
    at = np.geomspace(20.0, 18000.0, 200)
    response = laws.section_db(kind, 900.0, -7.0, 1.3, at, probing.RATE_HZ)  # type: ignore[arg-type]
    fit = laws.fit_section(kind, at, response, frequency_hz=1000.0, gain_db=-6.0)  # type: ignore[arg-type]
    assert (fit.frequency_hz, fit.gain_db, fit.q) == pytest.approx((900.0, -7.0, 1.3), rel=1e-4)
    assert fit.error_db < 1e-4


# ------------------------------------------------------------------------------- made-up plugins


def made_up_compressor(*, asleep: bool = False) -> Bench:
    """Times for 90 % of a step, in seconds; a knee of half width; a side-chain that may hear one side only."""
    seen = description(
        "Squeezer",
        control("Threshold", -50, 0, 0, "dB"),
        control("Ratio", 1, 30, 1),
        control("Attack", 0.0005, 1, 0.01, "s"),
        control("Release", 0.005, 2, 0.1, "s"),
        control("Knee", 0, 12, 0, "dB"),
        choice("Sensing", "Left", "Louder"),
        choice("External side-chain", "off", "on"),
    )

    def render(values: Mapping[str, float | str | bool], audio: np.ndarray, rate: float) -> np.ndarray:
        v = {c.name: values.get(c.name, c.default) for c in seen.parameters}
        if asleep or v["External side-chain"] == "on":
            return audio
        parameters = COMPRESSOR.defaults() | {
            "threshold_db": float(v["Threshold"]),
            "ratio": min(float(v["Ratio"]), 20.0),
            "attack_ms": min(max(1000.0 * float(v["Attack"]) / math.log(10.0), 0.1), 200.0),
            "release_ms": min(max(1000.0 * float(v["Release"]) / math.log(10.0), 5.0), 2000.0),
            "knee_db": 2.0 * float(v["Knee"]),
        }
        heard = audio if v["Sensing"] == "Louder" else np.stack([audio[0], 0.0 * audio[1]])
        gain = apply_processor("compressor", heard, parameters=parameters, sample_rate_hz=rate)
        loud = np.argmax(np.abs(heard), axis=0)
        picked = np.take_along_axis(heard, loud[None], axis=0)[0]
        shared = np.take_along_axis(gain, loud[None], axis=0)[0] / np.where(picked == 0.0, 1.0, picked)
        return audio * np.where(picked == 0.0, 1.0, shared)

    return Bench(render, seen)


def test_a_compressor_of_another_definition_is_drafted_exactly() -> None:
    draft = draft_profile(made_up_compressor(), BUNDLE, sets=3)
    assert (draft.profile.processor, draft.profile.law, draft.profile.stereo) == ("compressor", "", "linked")
    settings = draft.profile.settings(
        COMPRESSOR.defaults() | {"threshold_db": -20.0, "ratio": 3.0, "attack_ms": 20.0, "knee_db": 8.0},
        sample_rate_hz=48000.0,
    )
    assert settings["Sensing"] == "Louder"
    assert settings.get("External side-chain", "off") == "off"
    assert settings["Attack"] == pytest.approx(0.02 * math.log(10.0), rel=2e-3)
    assert settings["Knee"] == pytest.approx(4.0, rel=2e-3)
    assert draft.profile.limits["makeup_db"] == (0.0, 0.0)
    assert draft.profile.limits["threshold_db"] == (-50.0, 0.0)
    assert draft.measured.worst_null_db < -60.0


def test_a_plugin_that_does_nothing_is_no_compressor() -> None:
    with pytest.raises(ProfileError, match="does not do what a compressor of ours does"):
        draft_profile(made_up_compressor(asleep=True), BUNDLE)


def made_up_equalizer(*, nan_at_zero: bool = False, crooked: bool = False) -> Bench:
    """Two bells with a bandwidth in octaves and a fixed high shelf."""
    seen = description(
        "Shaper",
        *(
            c
            for n in (1, 2)
            for c in (
                control(f"Frequency {n}", 30, 16000, 1000, "Hz"),
                control(f"Gain {n}", -15, 15, 0, "dB"),
                control(f"Bandwidth {n}", 0.2, 4, 1),
            )
        ),
        control("Treble Freq", 1000, 16000, 8000, "Hz"),
        control("Treble Gain", -15, 15, 0, "dB"),
        choice("Colour", "Clean", "Warm", default="Warm"),
    )

    def render(values: Mapping[str, float | str | bool], audio: np.ndarray, rate: float) -> np.ndarray:
        v = {c.name: values.get(c.name, c.default) for c in seen.parameters}
        p = EQ.defaults() | {"high_shelf_q": 0.6}
        for n in (1, 2):
            octaves = float(v[f"Bandwidth {n}"])
            q = 1.0 / (2.0 * math.sinh(math.log(2.0) / 2.0 * octaves))
            p |= {f"bell{n}_hz": float(v[f"Frequency {n}"]), f"bell{n}_db": float(v[f"Gain {n}"]), f"bell{n}_q": q}
        p |= {"high_shelf_hz": float(v["Treble Freq"]), "high_shelf_db": float(v["Treble Gain"])}
        if nan_at_zero and 0.0 in (p["bell1_db"], p["bell2_db"], p["high_shelf_db"]):
            return np.full_like(audio, np.nan)
        p = {name: min(max(x, EQ.parameter(name).minimum), EQ.parameter(name).maximum) for name, x in p.items()}
        out = apply_processor("eq", audio, parameters=p, sample_rate_hz=rate)
        tilt = scipy.signal.butter(1, 3000.0, fs=rate, output="sos")
        boosted = abs(p["bell1_db"]) > 0.01 or abs(p["bell2_db"]) > 0.01
        if crooked or (v["Colour"] == "Warm" and boosted):
            out = out + 0.5 * scipy.signal.sosfilt(tilt, out)
        return out

    return Bench(render, seen)


def test_bandwidth_fixed_shelf_and_a_switch_are_found() -> None:
    draft = draft_profile(made_up_equalizer(), BUNDLE, sets=3)
    settings = draft.profile.settings(
        draft.profile.clamp(EQ.defaults() | {"bell2_db": 5.0, "bell2_hz": 700.0, "bell2_q": 1.4}),
        sample_rate_hz=48000.0,
    )
    assert settings["Colour"] == "Clean"
    assert settings["Bandwidth 2"] == pytest.approx(2.0 / math.log(2.0) * math.asinh(1.0 / 2.8), rel=2e-3)
    assert draft.profile.limits["highpass_hz"] == (10.0, 10.0)
    assert draft.profile.limits["bell3_db"] == (0.0, 0.0)
    assert draft.profile.limits["bell1_db"] == (-15.0, 15.0)
    assert draft.profile.limits["high_shelf_q"] == pytest.approx((0.6, 0.6), rel=1e-3)
    assert draft.measured.worst_null_db < -60.0
    assert draft.measured.worst_response_db is not None
    assert draft.measured.worst_response_db < 0.1


def test_a_gain_of_zero_that_breaks_a_plugin_is_avoided() -> None:
    draft = draft_profile(made_up_equalizer(nan_at_zero=True), BUNDLE, sets=2)
    settings = draft.profile.settings(draft.profile.clamp(EQ.defaults()), sample_rate_hz=48000.0)
    assert settings["Gain 1"] == 0.001
    assert draft.measured.worst_null_db < -60.0


def test_an_equalizer_that_is_never_flat_is_refused() -> None:
    with pytest.raises(ProfileError, match=r"Shaper: is not flat .* by hand"):
        draft_profile(made_up_equalizer(crooked=True), BUNDLE)


def test_what_no_draft_can_be_made_for_is_refused_with_a_remedy() -> None:
    synth = Bench(lambda values, audio, rate: audio, description("Synth", control("Cutoff", 20, 20000, 500, "Hz")))
    with pytest.raises(PluginRefusalError, match=r"Synth: is none of eq, .*--processor"):
        draft_profile(synth, BUNDLE)
    with pytest.raises(PluginRefusalError, match="choose of eq, compressor, gate, delay, reverb"):
        draft_profile(synth, BUNDLE, processor="imager")


def test_the_bench_runs_mono_plugins_side_by_side_and_refuses_nan() -> None:
    seen = description("Mono", control("Gain", -10, 10, 0, "dB"), channels=1)
    shapes = []

    def render(values: object, audio: np.ndarray, rate: float) -> np.ndarray:
        shapes.append(audio.shape)
        return 2.0 * audio if audio.max() < 1.0 else np.full_like(audio, np.nan)

    bench = Bench(render, seen)
    fed = np.stack([np.full(64, 0.1), np.full(64, 0.2)])
    np.testing.assert_array_equal(bench.run({}, fed), 2.0 * fed)
    assert shapes == [(1, 64), (1, 64)]
    with pytest.raises(PluginOutputError, match="Mono: returned no finite audio"):
        bench.run({}, 10.0 * fed)


# ------------------------------------------------------------------------------- real plugins


@pytest.mark.slow
def test_expander_of_lsp_is_drafted_to_the_reference_law() -> None:
    bundle = installed("lsp") / "lsp-plugins.vst3"
    with PluginPool(workers=1) as pool:
        draft = draft_profile(bench_for(pool, choose_plugin(bundle, "Expander Stereo")), bundle, sets=5)
    assert (draft.profile.processor, draft.profile.law) == ("gate", "")
    lines = {line.split('"')[1]: line for line in draft.text.splitlines() if line.startswith("  { parameter")}
    assert 'text = "Down"' in lines["Expander mode"]
    assert 'text = "Max"' in lines["Sidechain source"]
    assert 'value = "threshold_db"' in lines["Attack threshold"]
    assert 'value = "-0.5 * knee_db"' in lines["Knee"]
    # 70.7 % of a step instead of 63.2 %.
    factor = float(lines["Attack time"].split('value = "')[1].split(" * ")[0])
    assert factor == pytest.approx(-math.log(1.0 - math.sqrt(0.5)), rel=1e-3)
    # Where everything is closed, it goes on where ours has its floor: the worst may be anything.
    assert draft.measured.median_null_db < -60.0
    assert "no floor" in draft.text


@pytest.mark.slow
def test_equalizer_of_sixteen_bands_of_lsp_is_drafted_in_its_rbj_mode() -> None:
    bundle = installed("lsp") / "lsp-plugins.vst3"
    with PluginPool(workers=1) as pool:
        plugin = choose_plugin(bundle, "Parametric Equalizer x16 Stereo")
        draft = draft_profile(bench_for(pool, plugin), bundle, sets=5)
    settings = draft.profile.settings(EQ.defaults() | {"bell1_db": 3.0, "bell1_q": 2.0}, sample_rate_hz=48000.0)
    assert {settings[f"Filter mode {n}"] for n in range(16)} == {"APO (DR)"}
    assert 2.0 in settings.values()
    assert draft.profile.limits == {}
    assert draft.measured.median_null_db < -60.0
    assert draft.measured.worst_null_db < -45.0


def test_the_command_drafts_a_delay_that_can_be_chosen_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = installed("zam") / "ZamDelay.vst3"
    link_suites(tmp_path, "zam")
    monkeypatch.setenv(places.HOME_VARIABLE, str(tmp_path))
    app = typer.Typer()
    app.command()(profile_command)
    result = CliRunner().invoke(app, [str(bundle), "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["processor"] == "delay"
    assert answer["measured"]["worst_null_db"] < -60.0
    assert any("one channel" in doubt for doubt in answer["doubts"])
    assert Path(answer["file"]) == tmp_path / "profiles" / "drafts" / "zamdelay.toml"
    chosen = choose_profiles("delay=drafts:zamdelay")["delay"]
    assert chosen.plugin is not None
    assert chosen.plugin.name == "ZamDelay"
    again = CliRunner().invoke(app, [str(bundle)])
    assert again.exit_code == 2
    assert "--overwrite" in again.output


def test_several_plugins_in_a_file_need_a_name_and_multibands_are_refused() -> None:
    use_test_home()
    with pytest.raises(PluginNotFoundError, match=r"holds \d+ plugins; say which one with --name"):
        choose_plugin(installed("lsp") / "lsp-plugins.vst3")
    with pytest.raises(PluginNotFoundError, match="no such plugin"):
        choose_plugin(Path("/nowhere/none.vst3"))
    bundle = installed("zam") / "ZaMultiCompX2.vst3"
    with PluginPool(workers=1) as pool, pytest.raises(PluginRefusalError, match="several thresholds"):
        draft_profile(bench_for(pool, choose_plugin(bundle)), bundle)
