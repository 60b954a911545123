"""Plugin suites and profiles: the data that ships, formulas, choices and messages; no plugin is run here."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from mixbridge.bridge.errors import ParameterError, ProfileError
from mixbridge.bridge.expressions import FUNCTIONS, MAX_LENGTH, Formula
from mixbridge.bridge.hosting import places
from mixbridge.bridge.null_test import material, null_depth_db, random_parameters, targets
from mixbridge.bridge.processors.laws import KINDS, LAWS, law_of
from mixbridge.bridge.processors.reference import apply_processor, delay_samples
from mixbridge.bridge.processors.specs import SPECS, spec_of
from mixbridge.bridge.profiles import reverb_response
from mixbridge.bridge.suites import (
    Profile,
    Stage,
    choose_profiles,
    load_profile,
    load_suite,
    read_profile,
    run_stages,
    suite_names,
)
from mixbridge.exporters.chain import PluginInfo

from .dsp import programme

RATES_HZ = (44100, 48000, 96000)
SHIPPED = ("jsfx", "lsp", "lsp-lv2", "pedalboard", "reaplugs", "zam")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own, so that the user's profiles stay out of it."""
    monkeypatch.setenv(places.HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def shipped() -> list[tuple[str, str]]:
    return [(suite, name) for suite in SHIPPED for name in load_suite(suite).profiles]


def profile_of(suite: str, name: str) -> Profile:
    return load_suite(suite).profiles[name]


# ------------------------------------------------------------------------------ what ships


def test_the_suites_that_ship() -> None:
    assert suite_names() == SHIPPED
    lacking = {suite: set(SPECS) - set(choose_profiles(suite)) for suite in SHIPPED}
    assert lacking == {
        "jsfx": set(),
        "lsp": {"saturation", "limiter"},
        "lsp-lv2": {"saturation", "limiter"},
        "pedalboard": {"limiter"},
        "reaplugs": set(),
        "zam": {"eq", "delay", "saturation", "limiter"},
    }
    assert load_suite("zam").install == ("zam", "dragonfly")
    assert all(load_suite(suite).description for suite in SHIPPED)


@pytest.mark.parametrize(("suite", "name"), shipped())
def test_every_formula_gives_finite_values_at_every_setting(suite: str, name: str) -> None:
    profile = profile_of(suite, name)
    random = np.random.default_rng(5)
    neutral = profile.clamp(profile.spec.defaults())
    corners = [{p.name: profile.allowed(p.name)[end] for p in profile.spec.parameters} for end in (0, 1)]
    # An impulse response takes its time.
    count, rates = (3, RATES_HZ[:1]) if profile.processor == "reverb" else (20, RATES_HZ)
    drawn = [random_parameters(profile, random) for _ in range(count)]
    for rate in rates:
        for parameters in (neutral, *corners, *drawn):
            for stage in profile.stages(parameters, sample_rate_hz=rate):
                assert stage.kind == profile.kind
                numbers = [v for v in (*stage.values.values(), *stage.gains) if not isinstance(v, str)]
                assert np.isfinite(numbers).all()
                assert all(np.isfinite(f).all() and f.shape[0] == 2 for f in stage.files.values())


@pytest.mark.parametrize(("suite", "name"), shipped())
def test_every_profile_is_complete(suite: str, name: str) -> None:
    profile = profile_of(suite, name)
    assert law_of(profile.law, profile.processor).name == profile.law
    assert (profile.plugin is None) == (profile.kind == "mixer")
    assert profile.kind == "mixer" or profile.notes
    for parameter, (low, high) in profile.limits.items():
        spec = profile.spec.parameter(parameter)
        assert spec.minimum <= low <= high <= spec.maximum
        assert (low, high) != (spec.minimum, spec.maximum), "a limit that does not limit"
    if profile.kind == "vst3":
        assert profile.plugin is not None
        assert len(profile.plugin.class_id) == 32 and profile.plugin.bundle.endswith(".vst3") and profile.plugin.version
        ids = profile.state_ids()
        assert set(ids) == set(profile.settings(profile.clamp(profile.spec.defaults()), sample_rate_hz=48000))
        assert len(set(ids.values())) == len(ids), "two parameters with one id"


@pytest.mark.parametrize(("suite", "name"), [s for s in shipped() if profile_of(*s).kind in ("vst3", "builtin")])
def test_every_profile_states_what_was_measured_and_keeps_to_it(suite: str, name: str) -> None:
    profile = profile_of(suite, name)
    assert profile.measured is not None
    assert profile.measured.sets >= 100 and profile.measured.rates_hz == [44100, 48000]
    null_db, response_db = targets(profile)
    assert profile.measured.worst_null_db <= null_db
    if response_db is not None:
        assert profile.measured.worst_response_db is not None
        assert profile.measured.worst_response_db <= response_db
    assert profile.shortfall is None or profile.shortfall.reason


def test_every_law_is_used_by_the_suite_of_its_name_or_beside_others() -> None:
    for name, law in LAWS.items():
        for suite in SHIPPED if law.beside else (name,) if name else ():
            used = {p.processor for p in load_suite(suite).profiles.values() if p.law == name}
            # Another algorithm of another suite's plugins cannot follow it.
            assert used == (set() if law.beside and suite == "zam" else set(law.types)), f"the law {name} in {suite}"


def test_an_lv2_profile_takes_formulas_limits_and_law_from_its_base() -> None:
    """One truth: the LV2 and the VST3 of LSP have the same ports, in other units."""
    base, own = profile_of("lsp", "gate"), profile_of("lsp-lv2", "gate")
    assert (own.law, own.limits, own.measured) == (base.law, base.limits, None)
    parameters = own.clamp({**own.spec.defaults(), "threshold_db": -20.0, "ratio": 3.0, "attack_ms": 8.0})
    theirs = base.settings(parameters, sample_rate_hz=48000)
    values = own.settings(parameters, sample_rate_hz=48000)
    assert set(values) == set(base.state_ids().values())
    assert values["at"] == theirs["Attack"] and values["gt"] == pytest.approx(0.1)
    assert (values["scm"], values["scs"], values["gh"]) == (0.0, 5.0, 0.0)
    eq = profile_of("lsp-lv2", "eq").settings(profile_of("lsp-lv2", "eq").spec.defaults(), sample_rate_hz=48000)
    assert "ife_l" not in eq and eq["fm_3"] == 6.0


def test_a_delay_of_the_lv2_suite_has_a_branch_for_each_tap_that_sounds() -> None:
    profile = profile_of("lsp-lv2", "delay")
    taps = {"tap2_level_db": 0.0, "tap4_level_db": -6.0, "tap4_time_ms": 1500.0, "tap4_low_cut_hz": 100.0}
    stages = profile.stages(profile.spec.defaults() | taps, sample_rate_hz=48000)
    assert [(s.branch, s.plugin.name) for s in stages if s.plugin is not None] == [
        (2, "comp_delay_x2_stereo"), (4, "comp_delay_x2_stereo"), (4, "comp_delay_x2_stereo"),
        (4, "para_equalizer_x16_stereo"),
    ]  # fmt: skip
    times_ms = [float(s.values["time_l"]) for s in stages[:3]]
    assert times_ms[0] == pytest.approx(250.0, abs=0.02) and sum(times_ms[1:]) == pytest.approx(1500.0, abs=0.03)


LV2 = """
base = "lsp:gate"
kind = "lv2"

[plugin]
name = "Gate"
class_id = "urn:gate"

[lv2]
gains = ["gt", "gz", "gr"]
dry = "cdr"
wet = "cwt"

[lv2.choices]
scm = ["Peak"]
scs = ["Max"]
"""


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("lsp:gate", "lsp:gaze", "base: there is no profile 'lsp:gaze'"),
        ('wet = "cwt"\n', "", "give both dry and wet"),
        ('"lv2"', '"vst3"', "only a profile of kind lv2 has it"),
        ('"Peak"', '"RMS"', "control.1.value: 'Peak' is none of RMS"),
    ],
)
def test_what_is_wrong_in_an_lv2_profile_is_named(before: str, after: str, message: str) -> None:
    def values(text: str) -> object:
        profile = read_profile(text, suite="mine", name="gate", source="mine/gate.toml")
        return profile.settings(profile.clamp(profile.spec.defaults()), sample_rate_hz=48000)

    assert values(LV2)
    with pytest.raises(ProfileError) as caught:
        values(LV2.replace(before, after, 1))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_gain_and_width_are_the_hosts_own() -> None:
    for suite in ("lsp", "zam", "pedalboard"):
        for name in ("gain_pan", "imager"):
            profile = profile_of(suite, name)
            parameters = profile.spec.defaults()
            assert profile.kind == "mixer" and profile.plugin is None and profile.law == ""
            assert profile.settings(parameters, sample_rate_hz=48000) == parameters


# ------------------------------------------------------------------------------ single values


def test_the_lsp_compressor_gets_its_own_measure_of_times_and_knee() -> None:
    parameters = {
        "threshold_db": -21.5,
        "ratio": 3.3,
        "attack_ms": 8.0,
        "release_ms": 120.0,
        "knee_db": 5.0,
        "makeup_db": -2.5,
    }
    values = profile_of("lsp", "compressor").settings(parameters, sample_rate_hz=48000)
    assert values["Attack threshold"] == -21.5 and values["Ratio"] == 3.3 and values["Makeup gain"] == -2.5
    assert values["Knee"] == -2.5
    # One reaches 63.2 % after its time, the other 70.7 %.
    for name, ours_ms in (("Attack time", 8.0), ("Release time", 120.0)):
        theirs_ms = values[name]
        assert isinstance(theirs_ms, float)
        assert 1 - math.exp(-theirs_ms / ours_ms) == pytest.approx(math.sqrt(0.5), abs=1e-12)
    assert values["Sidechain mode"] == "Peak" and values["Sidechain source"] == "Max"


def test_the_lsp_equalizer_leaves_out_what_does_nothing() -> None:
    profile = profile_of("lsp", "eq")
    off = profile.settings(spec_of("eq").defaults(), sample_rate_hz=48000)
    assert [off[f"Filter type {n}"] for n in range(8)] == ["Off"] * 8
    parameters = spec_of("eq").defaults() | {"bell2_db": 3.0, "bell2_hz": 700.0, "highpass_hz": 40.0}
    values = profile.settings(parameters, sample_rate_hz=48000)
    assert [n for n in range(8) if values[f"Filter type {n}"] != "Off"] == [2, 7]
    assert (values["Filter type 2"], values["Frequency 2"], values["Gain 2"]) == ("Bell", 700.0, 3.0)
    assert (values["Filter type 7"], values["Frequency 7"]) == ("Hi-pass", 40.0)


@pytest.mark.parametrize("rate", RATES_HZ)
def test_delay_times_survive_being_cut_down_to_whole_samples(rate: int) -> None:
    random = np.random.default_rng(2)
    for suite, unit in (("lsp", 1e3), ("pedalboard", 1.0)):
        profile = profile_of(suite, "delay")
        for _ in range(50):
            parameters = random_parameters(profile, random)
            for n in range(1, 5):
                wanted = delay_samples(parameters[f"tap{n}_time_ms"], sample_rate_hz=rate)
                if suite == "lsp":
                    time = profile.settings(parameters, sample_rate_hz=rate)[f"Delay {n - 1} time"]
                else:
                    stages = profile.stages(parameters, sample_rate_hz=rate)
                    [time] = [
                        s.values["delay_seconds"] for s in stages if s.branch == n and "delay_seconds" in s.values
                    ]
                # Plugins compute in single precision.
                assert math.floor(float(np.float32(time)) / unit * rate) == wanted


def test_a_tap_that_is_panned_has_the_gains_of_the_reference() -> None:
    parameters = spec_of("delay").defaults() | {"tap1_level_db": -6.0, "tap1_pan": 0.3}
    values = profile_of("lsp", "delay").settings(parameters, sample_rate_hz=48000)
    balance, gain_db = values["Delay 0 balance"], values["Delay 0 gain"]
    assert isinstance(balance, float) and isinstance(gain_db, float)
    gain = 10 ** (gain_db / 20)
    # The plugin's balance takes away from one side only.
    found = np.array([gain * min(1.0, 1.0 - balance / 100), gain * min(1.0, 1.0 + balance / 100)])
    impulse = np.zeros((2, 48000))
    impulse[:, 0] = 1.0
    expected = apply_processor("delay", impulse, parameters=parameters, sample_rate_hz=48000).max(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_reverb_responses_are_the_reference_at_0_db() -> None:
    parameters = spec_of("reverb").defaults() | {"pre_delay_ms": 20.0, "decay_s": 0.6, "low_cut_hz": 150.0}
    parameters["level_db"] = -7.0
    response = reverb_response(parameters, sample_rate_hz=44100)
    audio = programme(seconds=0.8)
    found = scipy.signal.oaconvolve(audio.mean(axis=0, keepdims=True), response, axes=-1)[:, : audio.shape[1]]
    expected = apply_processor("reverb", audio, parameters=parameters, sample_rate_hz=44100)
    assert null_depth_db(found * 10 ** (-7.0 / 20), expected) < -100
    [file] = profile_of("lsp", "reverb").files(parameters, sample_rate_hz=44100).values()
    np.testing.assert_array_equal(file, response)
    assert profile_of("lsp", "compressor").files(spec_of("compressor").defaults(), sample_rate_hz=44100) == {}


def test_jsfx_sliders_are_the_parameters_fully_wet() -> None:
    parameters = spec_of("imager").defaults()
    profile = profile_of("jsfx", "imager")
    assert profile.settings(parameters, sample_rate_hz=48000) == parameters | {"mix": 1.0}
    assert profile.plugin == PluginInfo(name="mixbridge_imager.jsfx")


# ------------------------------------------------------------------------------ limits


def test_settings_outside_the_limits_are_refused_and_can_be_clamped() -> None:
    profile = profile_of("zam", "compressor")
    parameters = spec_of("compressor").defaults() | {"attack_ms": 150.0, "knee_db": 0.0}
    with pytest.raises(ParameterError, match=r"compressor.attack_ms: 150 is outside 0.1 to 100.*ZamCompX2.*zam"):
        profile.settings(parameters, sample_rate_hz=48000)
    clamped = profile.clamp(parameters)
    assert clamped == parameters | {"attack_ms": 100.0}
    assert profile.settings(clamped, sample_rate_hz=48000)["Attack"] == 100.0
    # What lies outside by rounding alone is inside.
    rounded = clamped | {"attack_ms": 100.0 * (1 + 1e-12)}
    assert profile.settings(rounded, sample_rate_hz=48000)["Attack"] == 100.0
    with pytest.raises(ParameterError, match="makeup_db"):
        profile.check(clamped | {"makeup_db": -1.0})
    with pytest.raises(ParameterError, match="missing"):
        profile.check({"ratio": 2.0})


# ------------------------------------------------------------------------------ choosing


def test_suites_are_mixed_by_type() -> None:
    chosen = choose_profiles("eq=lsp, compressor=zam,*=pedalboard")
    suites = {processor: profile.suite for processor, profile in chosen.items()}
    there = [kind for kind in KINDS if kind != "limiter"]
    assert suites == dict.fromkeys(there, "pedalboard") | {"eq": "lsp", "compressor": "zam"}
    assert list(choose_profiles("compressor=zam")) == ["compressor"]
    assert sorted(chosen) == sorted(there) and list(chosen)[-2:] == ["reverb", "reverb:freeverb"]
    plate = choose_profiles("lsp,reverb=zam:reverb_plate")["reverb"]
    assert (plate.name, plate.suite) == ("reverb_plate", "zam")
    assert choose_profiles("zam")["reverb"].name == "reverb"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("waves", "'waves' does not exist; choose of jsfx, lsp"),
        ("", "does not exist"),
        ("eq=", "does not exist"),
        ("equalizer=lsp", "unknown processor type 'equalizer'"),
        ("eq=lsp,eq=zam", "'eq' is chosen twice"),
        ("lsp,zam", "chosen twice"),
        ("eq=zam", "'zam' has no such profile for 'eq'; there is none"),
        ("reverb=zam:eq", "there is zam:reverb, zam:reverb_plate"),
        ("../jsfx", "does not exist"),
    ],
)
def test_choices_that_cannot_be_met_are_refused(text: str, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        choose_profiles(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_users_own_profiles_take_precedence(own_home: Path) -> None:
    folder = own_home / "profiles"
    (folder / "mine").mkdir(parents=True)
    (folder / "lsp").mkdir()
    (folder / "mine" / "gate.toml").write_text(GATE)
    (folder / "lsp" / "gate.toml").write_text(GATE)
    assert suite_names() == tuple(sorted((*SHIPPED, "mine")))
    assert list(choose_profiles("mine")) == ["gate"]
    # One file is replaced, the rest of the shipped suite stays.
    assert choose_profiles("lsp")["gate"].law == "" and choose_profiles("lsp")["eq"].plugin is not None
    assert load_profile(folder / "mine" / "gate.toml").suite == "mine"
    with pytest.raises(ProfileError, match=r"nothing.toml: cannot read"):
        load_profile(folder / "nothing.toml")


# ------------------------------------------------------------------------------ files

GATE = """
processor = "gate"
kind = "vst3"
stereo = "linked"
control = [
  { parameter = "Threshold", value = "threshold_db + lift" },
  { parameter = "Mode {n}", text = "hard", each.n = [1, 2] },
]
[let]
lift = "0.5 * knee_db"
[limits]
range_db = [0, 40]
[plugin]
name = "A Gate"
bundle = "gate.vst3"
"""


def read(text: str) -> Profile:
    return read_profile(text, suite="mine", name="gate", source="mine/gate.toml")


def test_a_profile_is_read() -> None:
    profile = read(GATE)
    parameters = profile.clamp(spec_of("gate").defaults() | {"threshold_db": -30.0, "knee_db": 4.0})
    assert profile.settings(parameters, sample_rate_hz=48000) == {
        "Threshold": -28.0,
        "Mode 1": "hard",
        "Mode 2": "hard",
    }
    assert profile.limits == {"range_db": (0.0, 40.0)} and profile.allowed("ratio") == (1.0, 20.0)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"gate"', '"gait"', "processor: unknown processor type 'gait'"),
        ('"vst3"', '"vst4"', "kind: "),
        ('"vst3"', '"builtin"', "plugin: a profile of kind vst3, lv2 or stock has one"),
        ('stereo = "linked"', "", "stereo: "),
        ("threshold_db + lift", "threshold_db + lft", "control.1.value: unknown name 'lft'"),
        ("threshold_db + lift", "threshold_db +", "control.1.value: 'threshold_db +' is not a formula"),
        ("threshold_db + lift", "open('x')", "control.1.value: unknown function 'open'"),
        ("0.5 * knee_db", "0.5 * lift", "let.lift: unknown name 'lift'"),
        ("each.n = [1, 2]", "each.m = [1, 2]", "control.2.parameter: 'Mode {n}' has a placeholder"),
        ("each.n = [1, 2]", "each.n = [1, 1]", "control.2.parameter: 'Mode 1' is set twice"),
        ("each.n = [1, 2]", "each = { n = [1, 2], m = [1] }", "control.2: each: its lists must be of the same length"),
        ('text = "hard"', 'text = "hard", value = "1"', "control.2: give either value (a formula) or text"),
        ("[0, 40]", "[0, 400]", "limits.range_db: must rise and lie within 0 to 80"),
        ("[0, 40]", "[40, 0]", "limits.range_db: must rise"),
        ("range_db = [0", "rage_db = [0", "unknown parameter 'rage_db'"),
        ("range_db = [0, 40]", 'range_db = [0, "40"]', "limits.range_db.2: "),
        ("[plugin]", 'law = "zamm"\n[plugin]', "limits.law: "),
        ('kind = "vst3"', 'kind = "vst3"\nlaw = "zamm"', "unknown law 'zamm'"),
        ('kind = "vst3"', 'kind = "vst3"\ncolour = 3', "colour: "),
        ('bundle = "gate.vst3"', "bundle = gate", "not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_profile_is_named(before: str, after: str, message: str) -> None:
    assert before in GATE
    with pytest.raises(ProfileError) as caught:
        read(GATE.replace(before, after, 1))
    assert str(caught.value).startswith("mine/gate.toml: ")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_formula_that_fails_at_some_setting_is_named() -> None:
    profile = read(GATE.replace("threshold_db + lift", "1 / (ratio - 1)"))
    parameters = profile.clamp(spec_of("gate").defaults())
    with pytest.raises(ProfileError, match=r"mine/gate.toml: control.1.value: .*division by zero"):
        profile.settings(parameters, sample_rate_hz=48000)
    profile = read(GATE.replace("threshold_db + lift", "1e300 * 1e300"))
    with pytest.raises(ProfileError, match="not a finite number"):
        profile.settings(parameters, sample_rate_hz=48000)


# ------------------------------------------------------------------------------ formulas


def value_of(text: str) -> object:
    names = {"x": 3.0, "word": "on"}
    return Formula(text, names=names, functions=FUNCTIONS)(names, FUNCTIONS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * x - 4 / 8", 6.5),
        ("-x ** 2", -9.0),
        ("max(x, 5, 1) + min(2, 1)", 6.0),
        ("log10(1000) + sqrt(16) + abs(-1) + floor(1.7) + ceil(1.2)", 11.0),
        ("'a' if x > 2 else 'b'", "a"),
        ("1 if 1 < x <= 3 and not x == 2 else 0", 1.0),
        ("x != 3 or word == 'on'", True),
        ("7", 7.0),
    ],
)
def test_formulas(text: str, value: object) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "x.real",
        "(1).__class__",
        "[1, 2]",
        "x[0]",
        "lambda: 1",
        "max(1, key=2)",
        "max(*(1, 2))",
        "f'{x}'",
        "x := 2",
        "x; x",
        "b'x'",
        "1j",
        "None",
        "y",
        "max",
        "",
        "x is 3",
        "x // 2 % 2",
        "~1",
        "1 +" * MAX_LENGTH,
        "-" * (MAX_LENGTH - 1) + "1",
        "(" * 400 + "1" + ")" * 400,
    ],
)
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Formula(text, names={"x"}, functions=FUNCTIONS)


@pytest.mark.parametrize(
    "text", ["1 / 0", "9.0 ** 9 ** 9 ** 9", "9 ** 9 ** 9", "(-8) ** 0.5", "log(0)", "'a' * 3", "'a' + 1", "1 < 'a'"]
)
def test_formulas_that_give_no_number_are_refused_quickly(text: str) -> None:
    with pytest.raises(ValueError):
        value_of(text)


# ------------------------------------------------------------------------------ stages


def test_branches_are_added_and_stages_follow_each_other() -> None:
    def stage(name: str, **how: object) -> Stage:
        return Stage("builtin", PluginInfo(name=name), {}, **how)  # type: ignore[arg-type]

    def run(stage: Stage, audio: np.ndarray) -> np.ndarray:
        assert stage.plugin is not None
        return audio + 1.0 if stage.plugin.name == "add" else audio * 2.0

    audio = np.array([[1.0, 2.0], [3.0, 6.0]])
    serial = run_stages([stage("add"), stage("double", gains=(1.0, 10.0))], audio, run=run)
    np.testing.assert_array_equal(serial, [[4.0, 6.0], [80.0, 140.0]])
    parallel = run_stages([stage("add"), stage("double", branch=1, mono=True)], audio, run=run)
    np.testing.assert_array_equal(parallel, audio + 1.0 + 2.0 * audio.mean(axis=0))
    assert not run_stages([], audio, run=run).any()
    np.testing.assert_array_equal(audio, [[1.0, 2.0], [3.0, 6.0]])


def test_built_ins_that_do_nothing_are_left_out() -> None:
    eq = profile_of("pedalboard", "eq")
    names = [s.plugin.name for s in eq.stages(spec_of("eq").defaults(), sample_rate_hz=48000) if s.plugin]
    assert names == ["Gain"]
    parameters = spec_of("eq").defaults() | {"highpass_hz": 50.0, "bell3_db": -2.0}
    names = [s.plugin.name for s in eq.stages(parameters, sample_rate_hz=48000) if s.plugin]
    assert names == ["Gain", "PeakFilter", "HighpassFilter", "HighpassFilter"]
    for silent in ("delay", "reverb"):
        stages = profile_of("pedalboard", silent).stages(spec_of(silent).defaults(), sample_rate_hz=48000)
        assert not run_stages(stages, np.ones((2, 8)), run=lambda stage, audio: audio).any()


# ------------------------------------------------------------------------------ material


def test_material_is_repeatable_stereo_and_moves() -> None:
    for kind in ("drums", "bass", "voice"):
        audio = material(kind, seconds=2.0, sample_rate_hz=44100)
        assert audio.shape == (2, 88200) and np.abs(audio).max() == pytest.approx(10 ** (-3 / 20), rel=1e-6)
        np.testing.assert_array_equal(audio, material(kind, seconds=2.0, sample_rate_hz=44100))
        assert not np.allclose(audio[0], audio[1])
        levels = 10 * np.log10(np.mean(audio.reshape(2, 40, -1) ** 2, axis=(0, 2)) + 1e-12)
        assert np.ptp(levels) > 12.0, "dynamics need something to do"


def test_null_depth() -> None:
    audio = programme(seconds=0.2)
    assert null_depth_db(audio, audio) < -250
    assert null_depth_db(1.01 * audio, audio) == pytest.approx(-40.0)
    assert null_depth_db(0.0 * audio, audio) == pytest.approx(0.0)
    # Silence against silence is no failure, noise against silence is one.
    assert null_depth_db(np.full((2, 9), 1e-9), np.zeros((2, 9))) < -50
    assert null_depth_db(np.full((2, 9), 1e-3), np.zeros((2, 9))) > 50


# ------------------------------------------------------------------------------ documentation


def test_the_page_shows_the_figures_of_the_profiles() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "profiles.md").read_text(encoding="utf-8")
    table = page.partition("<!-- measured: begin -->")[2].partition("<!-- measured: end -->")[0]
    rows = {(c[1], c[2]): c[3:5] for c in (line.split("|") for line in table.splitlines()) if len(c) > 5}
    for suite, name in shipped():
        measured = profile_of(suite, name).measured
        if measured is not None:
            row = rows[f" `{suite}` ", f" `{name}` "]
            assert [float(cell) for cell in row] == [measured.worst_null_db, measured.median_null_db]
    for suite in SHIPPED:
        assert f"| `{suite}` |" in page
    for name in LAWS:
        assert not name or f"| `{name}` |" in page
