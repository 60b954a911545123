"""The shipped JSFX: sliders equal the specifications, none of the known pitfalls, same sound as the reference."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import mixbridge.presets.jsfx
from mixbridge.bridge.processors import equations as eq
from mixbridge.bridge.processors.reference import apply_processor
from mixbridge.bridge.processors.specs import MIX, SPECS
from mixbridge.exporters.reaper.effects import JSFX_FILES, SLIDER_COUNT, jsfx_source, slider_tokens
from mixbridge.exporters.session import Insert

from .dsp import RATES_HZ, null_db, programme, random_parameters
from .eel import BUILTIN_VARIABLES, KEYWORDS, MATH, MEMORY_CALLS, SECTIONS, Effect, read_source, tokens_of

FOLDER = Path(str(mixbridge.presets.jsfx.__file__)).parent
NULL_DB = -100.0

each_type = pytest.mark.parametrize("kind", list(SPECS))


def path_of(kind: str) -> Path:
    return FOLDER / JSFX_FILES[kind]


def code_of(kind: str) -> str:
    return "\n".join(read_source(path_of(kind)).sections.values())


def identifiers(code: str) -> list[str]:
    return [t for t in tokens_of(code) if re.fullmatch(r"[a-z_][a-z0-9_.]*", t)]


# ------------------------------------------------------------------------ specification


def test_every_type_has_its_file_and_every_file_its_type() -> None:
    assert {p.name for p in FOLDER.glob("*.jsfx")} == set(JSFX_FILES.values())
    assert all(jsfx_source(kind) == path_of(kind).read_bytes() for kind in SPECS)


@each_type
def test_sliders_are_the_parameters_then_mix(kind: str) -> None:
    sliders = read_source(path_of(kind)).sliders
    expected = [*SPECS[kind].parameters, MIX]
    assert [int(s["number"]) for s in sliders] == list(range(1, len(expected) + 1))
    for slider, parameter in zip(sliders, expected, strict=True):
        assert slider["name"] == parameter.name
        assert slider["label"] == parameter.label
        assert float(slider["default"]) == parameter.default
        assert (float(slider["minimum"]), float(slider["maximum"])) == (parameter.minimum, parameter.maximum)
        assert (slider["shape"] == "log") == (parameter.scale == "log")
        assert 0 < float(slider["step"]) <= (parameter.maximum - parameter.minimum) / 50


@each_type
def test_no_line_that_looks_like_a_slider_is_overlooked(kind: str) -> None:
    source = read_source(path_of(kind))
    assert sum(line.startswith("slider") for line in source.header) == len(source.sliders) <= SLIDER_COUNT


@each_type
def test_slider_line_of_a_project(kind: str) -> None:
    values = random_parameters(SPECS[kind], np.random.default_rng(1))
    line = slider_tokens(Insert("x", kind, values, 0.25))
    assert len(line) == 64
    assert [float(str(t)) for t in line[: len(values) + 1]] == [*values.values(), 0.25]
    assert {str(t) for t in line[len(values) + 1 :]} == {"-"}


def numbers_of(kind: str) -> set[float]:
    return {float(t) for t in tokens_of(code_of(kind)) if t[0].isdigit()}


@each_type
def test_ends_that_switch_a_section_off_are_those_of_the_specification(kind: str) -> None:
    code = re.sub(r"\s+", " ", code_of(kind))
    for p in SPECS[kind].parameters:
        if p.off_at is not None:
            name = re.sub(r"^tap\d_", "", p.name)
            sign = ">" if p.off_at == p.minimum else "<"
            assert f"{name} {sign} {p.off_at:g}" in code, p.name


def test_constants_of_the_equations() -> None:
    assert set(eq.REVERB_SEEDS) | {eq.LCG_MULTIPLIER, eq.LCG_MODULUS} <= numbers_of("reverb")
    assert {*eq.REVERB_CROSSOVERS_HZ, eq.REVERB_BANDWIDTH_HZ, eq.REVERB_MAX_S} <= numbers_of("reverb")
    assert all(eq.MAX_FREQUENCY_SHARE in numbers_of(kind) for kind in ("eq", "delay", "reverb"))
    assert all(10 ** (eq.LEVEL_FLOOR_DB / 20) in numbers_of(kind) for kind in ("compressor", "gate"))
    assert eq.LIMITER_LOOK_AHEAD_MS in numbers_of("limiter")


# ----------------------------------------------------------------------------- pitfalls


@each_type
def test_form_of_the_file(kind: str) -> None:
    data = path_of(kind).read_bytes()
    assert data.isascii() and b"\r" not in data and b"\t" not in data and data.endswith(b"\n")
    text = data.decode()
    lines = text.splitlines()
    assert lines[0].startswith("desc:Mixbridge ") and SPECS[kind].label in lines[0]
    assert not [line for line in lines if re.match(r"\s+@", line)], "an indented section is ignored"
    assert [line for line in lines if line.startswith("@")] and "@sample" in lines
    assert max(map(len, lines)) <= 120
    source = read_source(path_of(kind))
    pins = [line for line in source.header if re.match(r"(in|out)_pin:", line)]
    assert len(pins) == 4 and len(set(pins)) == 4
    # A comment behind a header value would become part of it.
    assert not [line for line in source.header if "//" in line]
    assert source.header[0] == lines[0]


@each_type
def test_code_has_no_exponents_and_no_upper_case(kind: str) -> None:
    code = code_of(kind)
    assert not re.search(r"\d\.?[eE][-+]?\d", code)
    # Names ignore case: two that differ only in it would be one variable.
    assert code == code.lower()


@each_type
def test_names_are_long_enough_to_be_unique_and_shadow_nothing(kind: str) -> None:
    code = code_of(kind)
    assert not [name for name in identifiers(code) if any(len(part) < 2 for part in name.split("."))]
    sliders = {s["name"] for s in read_source(path_of(kind)).sliders}
    host = {"tempo", "srate", "play_state", "play_position", "num_ch", "samplesblock", "beat_position", "ts_num",
            "trigger", "ext_noinit", "ext_tail_size", "reg00", "pi"}  # fmt: skip
    functions = re.findall(r"function\s+(\w+)", code)
    assert all(name == name.lower() for name in sliders)
    assert not sliders & (host | set(MATH) | set(functions))
    assert not set(functions) & (set(MATH) | set(MEMORY_CALLS) | set(KEYWORDS))
    assert max(Counter(functions).values(), default=1) == 1


@each_type
def test_every_name_is_known(kind: str) -> None:
    """A misspelt variable would be 0 in silence."""
    source, code = read_source(path_of(kind)), code_of(kind)
    functions = set(re.findall(r"function\s+(\w+)", code))
    declared = {
        name
        for group in re.findall(r"(?:local|instance|function\s+\w+)\s*\(([^)]*)\)", code)
        for name in re.split(r"[\s,]+", group)
    }
    assigned = set(re.findall(r"([a-z_][a-z0-9_]*)\s*(?:=(?!=)|[-+*/]=)", code))
    sliders = {s["name"] for s in source.sliders}
    known = (
        functions | declared | assigned | sliders
        | set(MATH) | set(MEMORY_CALLS) | set(KEYWORDS) | set(BUILTIN_VARIABLES) | {"this"}
    )  # fmt: skip
    unknown = {name for name in identifiers(code) if name.rpartition(".")[2] not in known}
    assert not unknown
    used = Counter(identifiers(code))
    assert not [name for name in sliders if used[name] == 0], "a slider without effect"


@each_type
def test_sections_and_brackets(kind: str) -> None:
    source = read_source(path_of(kind))
    assert list(source.sections) == [s for s in SECTIONS if s in source.sections]
    for name, code in source.sections.items():
        assert code.count("(") == code.count(")") and code.count("[") == code.count("]"), name
    # Equality has a tolerance of 0.00001: wrong for what the sound depends on.
    assert not re.search(r"_(db|hz|ms)\s*[!=]=(?!=)", code_of(kind))


# ------------------------------------------------------------------------------- sound


def run_effect(kind: str, audio: np.ndarray, parameters: dict[str, float], mix: float, rate_hz: float) -> np.ndarray:
    effect = Effect(path_of(kind), sample_rate_hz=rate_hz, values=[*parameters.values(), mix])
    late = int(effect.variables["pdc_delay"])
    return effect.process(np.pad(audio, ((0, 0), (0, late))))[:, late:]


def assert_twin(kind: str, audio: np.ndarray, parameters: dict[str, float], mix: float, rate_hz: float) -> None:
    expected = apply_processor(kind, audio, parameters=parameters, sample_rate_hz=rate_hz, mix=mix)
    found = run_effect(kind, audio, parameters, mix, rate_hz)
    if np.any(expected):
        assert null_db(found, expected) < NULL_DB
    else:
        assert not np.any(found)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("kind", [k for k in SPECS if k != "reverb"])
def test_twin_of_the_reference(kind: str, rate_hz: int) -> None:
    random = np.random.default_rng(rate_hz)
    audio = programme(seconds=0.03, rate_hz=rate_hz)
    for mix in (1.0, 0.0, 0.37):
        parameters = random_parameters(SPECS[kind], random)
        parameters |= {name: value / 200 for name, value in parameters.items() if name.endswith("time_ms")}
        parameters = {p.name: max(parameters[p.name], p.minimum) for p in SPECS[kind].parameters}
        assert_twin(kind, audio, parameters, mix, rate_hz)


@pytest.mark.parametrize("kind", [k for k in SPECS if k != "reverb"])
def test_twin_at_the_defaults_and_the_ends(kind: str) -> None:
    audio = programme(seconds=0.01)
    spec = SPECS[kind]
    for values in ({p.name: p.default for p in spec.parameters}, {p.name: p.minimum for p in spec.parameters},
                   {p.name: p.maximum for p in spec.parameters}):  # fmt: skip
        assert_twin(kind, audio, values, 1.0, 44100)


@pytest.mark.parametrize(("rate_hz", "decay_s", "low_cut_hz"), [(8000, 0.9, 20.0), (44100, 0.1, 300.0)])
def test_reverb_is_the_twin_of_the_reference(rate_hz: int, decay_s: float, low_cut_hz: float) -> None:
    parameters = {
        "pre_delay_ms": 11.0, "decay_s": decay_s, "low_decay_ratio": 1.3, "high_decay_ratio": 0.4,
        "low_cut_hz": low_cut_hz, "high_cut_hz": 3000.0, "width": 0.8, "level_db": -3.0,
    }  # fmt: skip
    audio = programme(seconds=9000 / rate_hz, rate_hz=rate_hz)
    assert_twin("reverb", audio, parameters, 0.6, rate_hz)


def test_a_mistake_in_the_code_is_noticed(tmp_path: Path) -> None:
    """The null tests can fail: a wrong constant is heard, a misspelt variable is refused."""
    code = path_of("eq").read_text(encoding="utf-8")
    parameters = SPECS["eq"].defaults() | {"low_shelf_db": 3.0}
    audio = programme(seconds=0.01)
    expected = apply_processor("eq", audio, parameters=parameters, sample_rate_hz=44100)
    copy = tmp_path / "copy.jsfx"
    for right, wrong in (("bend = 2 * sqrt(amp)", "bend = 2.001 * sqrt(amp)"), ("+ tilt - bend", "+ tlt - bend")):
        assert right in code
        copy.write_text(code.replace(right, wrong), encoding="utf-8")
        try:
            effect = Effect(copy, sample_rate_hz=44100, values=[*parameters.values(), 1.0])
        except KeyError as error:
            assert "tlt" in str(error)
        else:
            assert right.startswith("bend") and null_db(effect.process(audio), expected) > NULL_DB


def test_reverb_at_its_silent_level_passes_the_dry_part_alone() -> None:
    audio = programme(seconds=0.1, rate_hz=8000)
    parameters = SPECS["reverb"].defaults() | {"decay_s": 0.1}
    assert np.array_equal(run_effect("reverb", audio, parameters, 0.25, 8000), 0.75 * audio)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_the_limiter_is_late_by_its_look_ahead_and_says_so(rate_hz: int) -> None:
    effect = Effect(path_of("limiter"), sample_rate_hz=rate_hz, values=[*SPECS["limiter"].defaults().values(), 1.0])
    audio = np.random.default_rng(2).uniform(-1.0, 1.0, (2, 700))
    out = effect.process(audio)
    late = eq.limiter_look_ahead(rate_hz)
    assert effect.variables["pdc_delay"] == late and effect.variables["pdc_top_ch"] == 2
    assert np.array_equal(out[:, late:], audio[:, :-late]) and not out[:, :late].any()


def test_the_limiter_holds_its_ceiling_while_sliders_move() -> None:
    parameters = SPECS["limiter"].defaults() | {"ceiling_db": -3.0, "release_ms": 5.0}
    effect = Effect(path_of("limiter"), sample_rate_hz=8000, values=[*parameters.values(), 1.0])
    audio = 2.0 * programme(seconds=0.1, rate_hz=8000)
    for slider, value in (("gain_db", 20.0), ("ceiling_db", -12.0), ("release_ms", 500.0)):
        effect.variables[slider] = value
        effect.run("slider")
        out = effect.process(audio)
        # The glide takes 20 ms.
        assert np.abs(out[:, 160:]).max() <= 10 ** (effect.variables["ceiling_db"] / 20)
        assert np.abs(out).max() <= 10 ** (-3 / 20)


@pytest.mark.parametrize(("kind", "slider", "value"), [("gain_pan", "gain_db", -20.0), ("eq", "bell1_db", 12.0),
                                                       ("saturation", "drive_db", 12.0)])  # fmt: skip
def test_a_moved_slider_is_followed_without_a_jump(kind: str, slider: str, value: float) -> None:
    rate_hz = 8000
    effect = Effect(path_of(kind), sample_rate_hz=rate_hz, values=[*SPECS[kind].defaults().values(), 1.0])
    time_s = np.arange(800) / rate_hz
    audio = np.stack([np.sin(2 * np.pi * 150 * time_s)] * 2)
    before = effect.process(audio)
    assert np.array_equal(before, audio)
    effect.variables[slider] = value
    effect.run("slider")
    after = effect.process(audio)
    assert np.max(np.abs(np.diff(after))) < 5 * np.max(np.abs(np.diff(audio)))
    assert abs(after[0, 1] - audio[0, 1]) < 0.05
    settled = apply_processor(
        kind, np.tile(audio, 2), parameters=SPECS[kind].defaults() | {slider: value}, sample_rate_hz=rate_hz
    )
    assert null_db(after[:, 400:], settled[:, 1200:]) < -60
