"""The JSFX host: shipped effects null against the reference, code means what it does in REAPER, the rest is refused."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import mixbridge.presets.jsfx
from mixbridge.bridge.errors import ParameterError, ScriptError
from mixbridge.bridge.hosting.jsfx import Effect, host, load_effect
from mixbridge.bridge.hosting.jsfx.memory import fft_order
from mixbridge.bridge.processors.reference import apply_processor
from mixbridge.bridge.processors.specs import MIX, SPECS
from mixbridge.exporters.reaper.effects import JSFX_FILES

from . import eel
from .dsp import RATES_HZ, null_db, programme, random_parameters

FOLDER = Path(str(mixbridge.presets.jsfx.__file__)).parent
NULL_DB = -100.0


def shipped(kind: str) -> Effect:
    return load_effect(FOLDER / JSFX_FILES[kind])


def effect(sample: str, *, init: str = "", header: str = "", block: str = "", slider: str = "") -> Effect:
    """An effect of a few lines; the code of @sample begins in line 3 where nothing else is given."""
    sections = [("init", init), ("slider", slider), ("block", block), ("sample", sample)]
    code = "".join(f"@{name}\n{text}\n" for name, text in sections if text or name == "sample")
    return load_effect(f"desc:test\n{header}{code}", name="t.jsfx")


def render(loaded: Effect, audio: np.ndarray | None = None, **values: float) -> np.ndarray:
    return loaded.render(np.zeros((2, 8)) if audio is None else audio, values, sample_rate_hz=48000)


def values_of(expressions: list[str], *, init: str = "") -> list[float]:
    """Compute expressions in one effect and read them from its output."""
    stores = "".join(f"results[{place}] = {text};\n" for place, text in enumerate(expressions))
    loaded = effect("spl0 = results[at]; at += 1;", init=f"at = 0; results = 1000;\n{init}\n{stores}")
    return render(loaded, np.zeros((2, len(expressions))))[0].tolist()


# -------------------------------------------------------------------- shipped effects


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("kind", list(SPECS))
def test_shipped_effects_null_against_the_reference(kind: str, rate_hz: int) -> None:
    random = np.random.default_rng(rate_hz)
    loaded = shipped(kind)
    audio = programme(seconds=0.4, rate_hz=rate_hz)
    for mix in (1.0, 0.0, 0.37, 0.81):
        parameters = random_parameters(SPECS[kind], random)
        expected = apply_processor(kind, audio, parameters=parameters, sample_rate_hz=rate_hz, mix=mix)
        found = loaded.render(audio, parameters | {"mix": mix}, sample_rate_hz=rate_hz, compensate_latency=True)
        assert found.shape == expected.shape
        assert null_db(found, expected) < NULL_DB if np.any(expected) else not np.any(found)


@pytest.mark.parametrize("kind", list(SPECS))
def test_sliders_are_those_of_the_specification(kind: str) -> None:
    expected = [(p.name, p.default, p.minimum, p.maximum, p.label) for p in (*SPECS[kind].parameters, MIX)]
    found = [(s.variable, s.default, s.minimum, s.maximum, s.label) for s in shipped(kind).sliders]
    assert found == expected
    assert SPECS[kind].label in shipped(kind).name


@pytest.mark.parametrize("kind", ["compressor", "eq", "delay"])
def test_an_independent_reader_hears_the_same(kind: str) -> None:
    audio = programme(seconds=0.02)
    parameters = random_parameters(SPECS[kind], np.random.default_rng(3))
    values = [*parameters.values(), 0.6]
    expected = eel.Effect(FOLDER / JSFX_FILES[kind], sample_rate_hz=44100, values=values).process(audio)
    assert null_db(shipped(kind).render(audio, values, sample_rate_hz=44100), expected) < -200


def test_blocks_of_any_length_sound_the_same() -> None:
    audio = programme(seconds=0.02)
    parameters = random_parameters(SPECS["eq"], np.random.default_rng(5))
    loaded = shipped("eq")
    whole = loaded.render(audio, parameters, sample_rate_hz=44100, block_frames=100_000)
    for frames in (1, 7, 512):
        assert np.array_equal(loaded.render(audio, parameters, sample_rate_hz=44100, block_frames=frames), whole)


def test_latency_is_reported_and_taken_out_on_demand() -> None:
    loaded = shipped("reverb")
    settings_ = {"level_db": -60.0, "mix": 0.5}
    late = loaded.latency_samples(settings_, sample_rate_hz=48000)
    assert late == 4096 and loaded.latency_samples(settings_, sample_rate_hz=96000) == 8192
    audio = programme(seconds=0.2, rate_hz=48000)
    raw = loaded.render(audio, settings_, sample_rate_hz=48000)
    assert not raw[:, :late].any() and np.allclose(raw[:, late:], 0.5 * audio[:, :-late])
    assert np.allclose(loaded.render(audio, settings_, sample_rate_hz=48000, compensate_latency=True), 0.5 * audio)
    assert shipped("eq").latency_samples({}, sample_rate_hz=48000) == 0


def test_a_mistake_in_an_effect_is_heard(tmp_path: Path) -> None:
    code = (FOLDER / JSFX_FILES["compressor"]).read_text(encoding="utf-8")
    wrong = code.replace("makeup.now) * 0.05", "makeup.now) * 0.0501")
    assert wrong != code
    (tmp_path / "wrong.jsfx").write_text(wrong, encoding="utf-8")
    audio = programme(seconds=0.1)
    parameters = SPECS["compressor"].defaults() | {"threshold_db": -30.0, "ratio": 4.0}
    expected = apply_processor("compressor", audio, parameters=parameters, sample_rate_hz=44100)
    found = load_effect(tmp_path / "wrong.jsfx").render(audio, parameters, sample_rate_hz=44100)
    assert null_db(found, expected) > NULL_DB


# --------------------------------------------------------------------------- language


def test_operators_mean_what_reaper_means() -> None:
    cases = {
        "2 ^ 3 ^ 2": 64, "-2 ^ 2": 4, "-7 % 3": 1, "7.9 % 3.9": 1, "2 * 3 % 2 * 5": 10, "2 * 7 % 4": 6,
        "3 - 1 << 2": -1, "1 << 3 % 2": 0, "-8 >> 1": -4, "5 | 2 & 4": 4, "7 & 3 | 8 ~ 1": 10, "10 - 3 + 2 - 4": 5,
        "6 & 3 == 2": 1, "1 + 1 & 2": 2, "1 == 1 == 0": 0, "0 || 5": 1, "3 && 0.000001": 0, "0 && 1 || 1": 1,
        "1 || 1 && 0": 0, "!3": 0, "!0.000001": 1, "!1 + 1": 1, "- - 3": 3, "+4": 4, "flag ? 5": 0, "other ? 5": 5,
        "flag ? : 7": 7, "other ? : 7": 0, "flag ? 1 : other ? 2 : 3": 2, "(1; 2; 9)": 9,
        "1 + (kept = 3)": 4, "kept": 3,
        "2 * more = 3 + 1": 8, "-less = 5": -5, "tiny == 0": 1, "0.00002 == 0": 0, "tiny != 0": 0,
        "tiny === 0": 0, "tiny !== 0": 1, "3 === 3": 1, "2 < 3 < 2": 1, "3 >= 3": 1, "2.5 <= 2": 0,
        "0x1F + $xff": 286, "$~8 + 'a' + $'b'": 450, "$pi": math.pi, "$e": math.e, "$phi": (1 + 5**0.5) / 2,
        ".5 + 1.": 1.5, "8 / 2 / 2": 2, "9 | 0": 9, "-1 & 255": 255, "(2.7 | 0)": 2,
    }  # fmt: skip
    found = values_of(list(cases), init="flag = 0; other = 1; tiny = 0.000009;")
    assert {text: value for text, value in zip(cases, found, strict=True) if value != cases[text]} == {}


def test_functions_of_numbers() -> None:
    cases = {
        "sin(0.3)": math.sin(0.3), "cos(0.3)": math.cos(0.3), "tan(0.3)": math.tan(0.3), "asin(0.3)": math.asin(0.3),
        "acos(0.3)": math.acos(0.3), "atan(0.3)": math.atan(0.3), "atan2(1, -2)": math.atan2(1, -2),
        "exp(1.5)": math.exp(1.5), "log(5)": math.log(5), "log10(5)": math.log10(5), "pow(2, 0.5)": 2**0.5,
        "sqrt(-4)": 2, "sqr(-3)": 9, "abs(-3)": 3, "sign(-3)": -1, "sign(0)": 0, "sign(2)": 1, "floor(-1.5)": -2,
        "ceil(-1.5)": -1, "min(2, -1)": -1, "max(2, -1)": 2, "10 ^ -3": 10**-3.0,
    }  # fmt: skip
    for text, value in zip(cases, values_of(list(cases)), strict=True):
        assert value == pytest.approx(cases[text], rel=1e-15, abs=1e-15), text
    (approximate,) = values_of(["invsqrt(2)"])
    assert 1e-6 < abs(approximate - 0.5**0.5) < 2.5e-4


PROGRAMS: dict[str, tuple[str, str, float]] = {
    "an object keeps its members": (
        "function put(x) instance(now) ( now = x; ); function get() instance(now) ( now; );",
        "left.put(3); right.put(4); spl0 = 10 * left.get() + right.now;", 34,
    ),
    "objects hold objects": (
        "function put(x) instance(now) ( now = x; );\n"
        "function both(x) instance(low high) ( low.put(x); high.put(2 * x); );",
        "tap.both(3); spl0 = tap.low.now + tap.high.now;", 9,
    ),
    "this is the object": (
        "function one() ( this.count += 1; ); function two() ( this.one(); this.one(); this.count; );",
        "spl0 = thing.two();", 2,
    ),
    "parameters are copies": ("function f(x) ( x += 1; x; );", "y = 5; f(y); spl0 = y;", 5),
    "locals keep their value": ("function f() local(n) ( n += 1; n; );", "f(); f(); spl0 = f();", 3),
    "objects share the locals": (
        "function f() instance(k) local(n) ( n += 1; k = n; );", "a.f(); a.f(); b.f(); spl0 = 10 * a.k + b.k;", 23,
    ),
    "locals hide variables": ("function f() local(x) ( x = 1; ); x = 7;", "f(); spl0 = x;", 7),
    "calls within calls": ("function f(x) ( 2 * x; );", "spl0 = f(f(f(1)));", 8),
    "globals may be listed": ("k = 2; function f() globals(k) ( k * 2; );", "spl0 = f();", 4),
    "lists may use commas": ("function f(a, b) local(c, d) ( c = a; d = b; c - d; );", "spl0 = f(5, 3);", 2),
    "loop counts": ("", "n = 0; loop(5.9, n += 1); spl0 = n;", 5),
    "loop of nothing": ("", "n = 0; loop(-3, n += 1); spl0 = n;", 0),
    "loop walks memory": ("", "p = 100; s = 0; loop(10, p[0] = p; s += p[0]; p += 1); spl0 = s;", 1045),
    "loop walks backwards": ("", "p = 20; loop(10, p[0] = p; p -= 2); spl0 = 2[0] + 20[0];", 22),
    "loop walks by halves": ("", "p = 0; loop(8, p[0] += 1; p += 0.5); spl0 = 10 * 0[0] + 3[0];", 22),
    "loop reads behind itself": ("", "0[0] = 1; p = 0; loop(5, p[1] = 2 * p[0]; p += 1); spl0 = 5[0];", 32),
    "loops in loops": ("", "n = 0; loop(3, loop(4, n += 1)); spl0 = n;", 12),
    "while with a body": ("", "n = 0; while(n < 7) ( n += 2; ); spl0 = n;", 8),
    "while without a body": ("", "n = 0; while(n += 1; n < 7); spl0 = n;", 7),
    "memory adds up": ("", "a = 10; a[5] = 3; 15[1] = 4; spl0 = 10 * 15[] + a[6];", 34),
    "memory cuts fractions": ("", "2[0] = 3; spl0 = 2.999[0] + 1.99999[0];", 6),
    "memory in place": ("", "9[0] = 3; 9[0] *= 2; 9[0] -= 1; 9[0] ^= 2; spl0 = 9[0] % 7;", 4),
    "operators in place": ("", "n = 13; n %= 8; n |= 8; n &= 9; n ~= 1; n /= 4; n += 1; spl0 = n;", 3),
    "assignments in a row": ("", "a = b = c = 2; spl0 = a + b + c;", 6),
    "choices in a row": ("x = 2;", "x == 1 ? y = 1 : x == 2 ? y = 2 : y = 3; spl0 = y;", 2),
    "only what is needed": ("", "n = 0; 0 && (n += 1); 1 || (n += 2); 1 && (n += 4); spl0 = n;", 4),
    "memory is set and copied": (
        "", "memset(0, 3, 5); memcpy(2, 0, 5); memcpy(10, 2, 4); spl0 = 6[0] + 7[0] + 13[0];", 6,
    ),
    "comments": ("/* a\n b */ k = 1; // c", "spl0 = k; // spl0 = 2;", 1),
    "names may be upper case throughout": ("Gain = 3;", "spl0 = Gain;", 3),
    "a slider by its number": ("", "spl0 = slider1 + level;", 1),
    "a function of a later section": ("", "function g(x) ( x + 1; ); spl0 = g(1);", 2),
}  # fmt: skip


@pytest.mark.parametrize("title", PROGRAMS)
def test_programs(title: str) -> None:
    init, sample, expected = PROGRAMS[title]
    loaded = effect(sample, init=init, header="slider1:level=0.5<0,1,0.1>Level\n")
    assert render(loaded, np.zeros((2, 1)))[0, 0] == expected


def test_sections_run_in_their_order() -> None:
    loaded = effect(
        "spl0 = trace; spl1 = blocks;", init="trace = 1; blocks = 0; rate = srate; channels = num_ch;",
        slider="trace = trace * 10 + level; level = 1;", block="blocks += samplesblock;",
        header="slider1:level=5<0,9,1>Level\n",
    )  # fmt: skip
    out = loaded.render(np.zeros((2, 5)), {"level": 7}, sample_rate_hz=48000, block_frames=2)
    assert out[0].tolist() == [17.0] * 5 and out[1].tolist() == [2.0, 2.0, 4.0, 4.0, 5.0]
    assert loaded.render(np.zeros((2, 1)), [2], sample_rate_hz=48000)[0, 0] == 12
    assert loaded.render(np.zeros((2, 1)), {}, sample_rate_hz=48000)[0, 0] == 15


def test_renders_do_not_know_of_each_other() -> None:
    loaded = effect("env += 1; 5[0] += 1; spl0 = env + 5[0];")
    first = render(loaded)
    assert np.array_equal(render(loaded), first) and first[0, -1] == 16
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(render(loaded))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(np.array_equal(r, first) for r in results)


def test_decays_end_at_zero() -> None:
    loaded = effect("env *= 0.001; spl0 = env;", init="env = 1;")
    out = loaded.render(np.zeros((2, 400)), {}, sample_rate_hz=48000, block_frames=10)
    assert out[0, 50] > 0 and not np.any(out[0, 120:])


# ---------------------------------------------------------------------------- Fourier


@pytest.mark.parametrize("bits", range(4, 16))
def test_order_of_the_fft_is_a_permutation(bits: int) -> None:
    length = 1 << bits
    assert np.array_equal(np.sort(fft_order(length)), np.arange(length))


@pytest.mark.parametrize("length", [16, 512, 32768])
def test_fft_equals_numpy(length: int) -> None:
    random = np.random.default_rng(length)
    data = random.standard_normal(length) + 1j * random.standard_normal(length)
    audio = np.zeros((2, 2 * length))
    audio[:, :length] = data.real, data.imag
    code = f"at < {length} ? ( base[2 * at] = spl0; base[2 * at + 1] = spl1; ); at += 1; "
    for work, expected in (
        ("fft(base, size); fft_permute(base, size);", np.fft.fft(data)),
        ("fft_ipermute(base, size); ifft(base, size);", np.fft.ifft(data) * length),
        ("fft(base, size); ifft(base, size);", data * length),
        ("fft(base, size); fft_permute(base, size); fft_ipermute(base, size); ifft(base, size);", data * length),
        ("fft(base, size); memcpy(other, base, 2 * size); convolve_c(base, other, size); fft_permute(base, size);",
         np.fft.fft(data) ** 2),
    ):  # fmt: skip
        tail = f"at == {length} ? ( {work} ); "
        tail += f"at > {length} ? ( spl0 = base[2 * out]; spl1 = base[2 * out + 1]; out += 1; );"
        loaded = effect(code + tail, init=f"base = 65536; other = 131072; at = out = 0; size = {length};")
        left, right = render(loaded, np.pad(audio, ((0, 0), (0, 1))))[:, length:-1]
        assert np.max(np.abs(left + 1j * right - expected)) < 1e-12 * np.max(np.abs(expected))


# ------------------------------------------------------------------------- strictness

REFUSED_CODE = {
    "x = 1e-6;": "exponents; write 0.000001",
    "x = 2.5E3;": "exponents; write 2500",
    "gain = 1; spl0 = Gain;": "names ignore case",
    "function f() local(k) ( k = 1; ); K = 2; f();": "names ignore case",
    "spl0 = pi;": "write $pi",
    "spl0 = misspelt;": "misspelt is never assigned",
    "function f() instance(a) ( a; ); spl0 = thing.f();": "thing.a is never assigned",
    "function f() ( misspelt; ); spl0 = 1;": "misspelt is never assigned",
    "function f() local(a) ( a; ); spl0 = f();": "reads its local a, which is never assigned",
    "x += misspelt;": "misspelt is never assigned",
    "spl0 = tanh(spl0);": "exp(2 * max(min(x, 20), -20))",
    "spl0 = round(spl0);": "floor(x + 0.5)",
    "spl0 = nonsense(spl0);": "no function nonsense",
    "if (spl0 > 1) spl0 = 1;": "condition ? ( ... ) : ( ... )",
    "for (x = 0; x < 3; x += 1) spl0 = 1;": "loop(count",
    "spl0 = min(1, 2, 3);": "min(min(a, b), c)",
    "spl0 = sin();": "sin takes 1 arguments, 0",
    "function f(a) ( a; ); spl0 = f(1, 2);": "f takes 1 arguments, 2",
    "x++;": "name += 1",
    "x = 1; x--;": "name -= 1",
    "x = 2 ** 3;": "power is ^",
    "x = { 1 };": "( and )",
    'x = "text";': "text is not hosted",
    "#define X": "preprocessor",
    "x = 5 y = 3;": "expected ;",
    "x = (1;": "never closed; write )",
    "x = (1": "never closed; write )",
    "x = sin(1": "never closed; write )",
    "x = 1[2;": "never closed; write ]",
    "x = 1);": "expected ;",
    "x = [1];": "expected a value",
    "x = 1 +;": "expected a value",
    "x = ();": "holds no statement",
    "1 = 2;": "only a variable or memory[index]",
    "x = 1; y = x + 1 = 2;": "only a variable or memory[index]",
    "x = 1.2.3;": "a number ends here",
    "x = 3z;": "a number ends here",
    "x = $tau;": "constants are $pi",
    "x = caf\u00e9;": "not allowed in code",
    "/* without end": "write */",
    "spl0 == 3;": "has no effect",
    "spl0;": "has no effect",
    "x = 1; x == 0.000001 ? spl0 = 1;": "use === or <",
    "0 ? spl0 = 1;": "condition is a constant",
    "while(1) ( spl0 += 1; );": "condition is a constant",
    "while(spl0 < 1, 2) ( spl0 += 1; );": "while(condition)",
    "loop(3);": "loop(count, statements)",
    "a = 1; spl0 = a + (a = 3);": "a changes while",
    "function bump() ( a += 1; ); a = 1; spl0 = a * bump();": "a changes while",
    "a = 1; spl0 = max(a, a = 3);": "a changes while",
    "a = 1; a[0] = (a = 3);": "address changes",
    "function f(x) ( f(x); ); spl0 = f(1);": "calls itself",
    "function f(x) ( g(x); ); function g(x) ( x; ); spl0 = f(1);": "defined below",
    "function f() ( 1; ); function f() ( 2; ); spl0 = f();": "second time",
    "function sin(x) ( x; ); spl0 = sin(1);": "REAPER's own",
    "function f(a) local(a) ( a; ); spl0 = f(1);": "twice",
    "function f(a*) ( a.x; ); spl0 = f(1);": "object parameters",
    "function f() instance(a) ( a = 1; ); f();": "write object.f( )",
    "function f() globals(a) ( b = 1; ); f();": "not in the globals",
    "function f(a) ( a.b = 1; ); f(1);": "has no members",
    "spl0 = (function f() ( 1; ));": "between statements",
    "function f() ( );": "has no statement",
    "this.x = 1;": "functions alone",
    "f = 1; spl0 = loop;": "cannot be used as a variable",
    "function f() ( 1; ); f = 2;": "is a function",
    "srate = 3;": "belongs to the host",
    "spl2 = 0;": "only stereo",
    "spl(0) = 0;": "write spl0 or spl1",
    "slider3 = 1;": "no such slider",
    "LEVEL = 1;": "names ignore case",
    "spl0 = tempo;": "no value in an offline render",
    "spl0 = samplesblock;": "use it in @block",
    "pdc_delay = 5;": "set it in @init or @slider",
    "spl0 = rand(1);": "differs at every playback",
    "spl0 = file_open(0);": "not hosted",
    "file_var(0, spl0);": "@serialize alone",
    "spl0 = gmem[0];": "no value",
    "_global.x = 1;": "no value",
    "gfx_line(0, 0, 1, 1);": "not hosted",
    "x = 1; x -> y = 2;": "object.name",
    "x. = 1;": "a dot stands between",
    "x = " + "(" * 200 + "1" + ")" * 200 + ";": "inside each other",
    "x = " + "1 + " * 300 + "1;": "in a row",
    "x = " + "- " * 300 + "1;": "in a row",
}  # fmt: skip


@pytest.mark.parametrize("code", REFUSED_CODE)
def test_code_that_reaper_rejects_or_misreads_is_refused(code: str) -> None:
    with pytest.raises(ScriptError) as caught:
        effect(f"\n{code}", header="slider1:level=0<0,1,0.1>Level\n")
    message = str(caught.value)
    assert REFUSED_CODE[code] in message and message.startswith("t.jsfx:5: ") and "\n" not in message


def test_growth_by_calls_of_calls_is_refused() -> None:
    functions = "function f0() ( x += 1; );" + "".join(
        f"function f{n}() ( {' '.join([f'f{n - 1}();'] * 10)} );" for n in range(1, 8)
    )
    with pytest.raises(ScriptError, match="grows beyond"):
        effect(f"{functions} f7();")


REFUSED_AT_WORK = {
    "spl0 = 1 / zero;": "infinite or no number",
    "spl0 = zero / zero;": "infinite or no number",
    "x = 1; x /= zero;": "infinite or no number",
    "x = log(zero);": "infinite or no number",
    "x = log10(-1);": "infinite or no number",
    "x = exp(1000);": "infinite or no number",
    "x = (-2) ^ 0.5;": "infinite or no number",
    "x = asin(2);": "infinite or no number",
    "x = 5 % zero;": "guard it by hand",
    "x = (10 ^ 20) | 0;": "whole numbers",
    "x = 1 << 40;": "whole numbers",
    "x = 1 << -1;": "whole numbers",
    "zero[-1] = 1;": "outside the effect's memory",
    "spl0 = 9000000[0];": "outside the effect's memory",
    "p = 8388600; loop(20, p[0] = 1; p += 1);": "outside the effect's memory",
    "p = 5; loop(20, spl0 = p[0]; p -= 1);": "outside the effect's memory",
    "memset(8388600, 0, 20);": "leaves the effect's memory",
    "memcpy(0, 8388600, 20);": "leaves the effect's memory",
    "memset(-5, 0, 20);": "leaves the effect's memory",
    "loop(1048577, x += 1);": "1048576 rounds",
    "while(zero < 1) ( x += 1; );": "1048576 rounds",
    "loop(1000, loop(1000000, x += 1));": "spread the work",
    "fft(0, 100);": "power of two",
    "fft(0, 65536);": "power of two",
    "fft(60000, 16384);": "align it",
    "spl0 = 10 ^ 300; spl0 *= spl0;": "",
}


@pytest.mark.parametrize("code", REFUSED_AT_WORK)
def test_what_reaper_hides_while_it_runs_is_an_error(code: str) -> None:
    loaded = effect(f"\n{code}", init="zero = 0; x = 0;")
    with pytest.raises(ScriptError) as caught:
        render(loaded)
    message = str(caught.value)
    assert REFUSED_AT_WORK[code] in message and message.startswith(
        "t.jsfx:" if not REFUSED_AT_WORK[code] else "t.jsfx:6: "
    )


LINES = "desc:test\nslider1:level=0<0,1,0.1>Level\n@init\nx = 1;\n@sample\nspl0 = x;\n"

REFUSED_FILES = {
    "byte order mark": ("\ufeff" + LINES, 1, "byte order mark"),
    "no name": (LINES.replace("desc:test\n", ""), 1, "first line must be desc:"),
    "empty name": (LINES.replace("desc:test", "desc:"), 1, "no name"),
    "two names": (LINES.replace("@init", "desc:again\n@init"), 3, "second time"),
    "empty file": ("", 1, "first line must be desc:"),
    "no sound": (LINES.partition("@sample")[0], 1, "without @sample"),
    "indented section": (LINES.replace("@sample", " @sample"), 5, "column 1"),
    "upper case section": (LINES.replace("@sample", "@Sample"), 5, "unknown section"),
    "unknown section": (LINES.replace("@sample", "@smaple"), 5, "unknown section"),
    "section with a comment": (LINES.replace("@sample", "@sample // x"), 5, "alone on its line"),
    "section twice": (LINES + "@init\ny = 1;\n", 7, "second time"),
    "drawing": (LINES + "@gfx 100 100\nx = 1;\n", 7, "not hosted"),
    "comment in the header": (LINES.replace("desc:test", "desc:test // x"), 1, "part of the value"),
    "unknown header": (LINES.replace("@init", "sldier2:a=0<0,1>A\n@init"), 3, "put // before it"),
    "import": (LINES.replace("@init", "import x.jsfx-inc\n@init"), 3, "not hosted"),
    "file": (LINES.replace("@init", "filename:0,ir.wav\n@init"), 3, "not hosted"),
    "option": (LINES.replace("@init", "options:gmem=x\n@init"), 3, "not hosted"),
    "memory": (LINES.replace("@init", "options:maxmem=99999999999\n@init"), 3, "maxmem"),
    "mono": (LINES.replace("@init", "in_pin:in\nout_pin:out\n@init"), 1, "only stereo"),
    "no label": (LINES.replace(">Level", ">"), 2, "label"),
    "hidden without label": (LINES.replace(">Level", ">-"), 2, "label"),
    "no range": (LINES.replace("<0,1,0.1>", ","), 2, "would vanish"),
    "path slider": (LINES.replace("level=0<0,1,0.1>", "/irs:a.wav:"), 2, "would vanish"),
    "upper case variable": (LINES.replace("level", "Level", 1), 2, "lower case"),
    "variable with a space": (LINES.replace("level", "the level", 1), 2, "lower case"),
    "variable of REAPER": (LINES.replace("level", "tempo", 1), 2, "REAPER's own"),
    "default outside": (LINES.replace("=0<0,1", "=2<0,1"), 2, "must lie in"),
    "endless range": (LINES.replace("=0<0,1", "=0<0,1e999"), 2, "must lie in"),
    "number twice": (LINES.replace("@init", "slider1:b=0<0,1,1>B\n@init"), 3, "second time"),
    "variable twice": (LINES.replace("@init", "slider2:level=0<0,1,1>B\n@init"), 3, "another slider"),
    "number too high": (LINES.replace("slider1", "slider65"), 2, "1 to 64"),
    "shape": (LINES.replace("0.1>", "0.1:lgo>"), 2, "unknown"),
    "choices": (LINES.replace("<0,1,0.1>", "<0,1,1{a,b,c}>"), 2, "<0,2,1{"),
    "setting overridden": (LINES.replace("x = 1;", "x = level = 1;"), 4, "overrides the user's setting"),
    "sample in init": (LINES.replace("x = 1;", "x = spl0;"), 4, "no value in @init"),
    "zero byte": (LINES + "\0", 0, "zero byte"),
}  # fmt: skip


@pytest.mark.parametrize("title", REFUSED_FILES)
def test_files_that_reaper_rejects_or_misreads_are_refused(title: str) -> None:
    text, line, part = REFUSED_FILES[title]
    with pytest.raises(ScriptError) as caught:
        load_effect(text, name="t.jsfx")
    message = str(caught.value)
    assert part in message and message.startswith(f"t.jsfx:{line}: " if line else "t.jsfx: ")


def test_the_file_of_the_refusals_is_accepted_as_it_stands() -> None:
    accepted = load_effect(LINES)
    assert render(accepted)[0].tolist() == [1.0] * 8
    windows = LINES.replace("\n", "\r\n").replace("0.1>", "0.1:log=0.5>").replace("Level", "-Pegel \u00e4")
    assert load_effect(windows).sliders[0].label == "Pegel \u00e4"
    listed = load_effect(LINES.replace("<0,1,0.1>", "<0,2,1{low, mid,high}>"))
    assert listed.sliders[0].choices == ("low", "mid", "high")
    assert listed.sliders[0].maximum == 2


def test_functions_of_one_section_are_unknown_to_others() -> None:
    with pytest.raises(ScriptError, match="known in @slider alone"):
        effect("spl0 = f();", slider="function f() ( 1; );")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="cannot read"):
        load_effect(tmp_path / "missing.jsfx")
    (tmp_path / "latin.jsfx").write_bytes("desc:\u00e4".encode("latin-1"))
    with pytest.raises(ScriptError, match="UTF-8"):
        load_effect(tmp_path / "latin.jsfx")


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"level": 2.0}, "outside 0 to 1"), ({"level": math.nan}, "expected a number"),
        ({"levle": 1.0}, "no slider levle"),
        ({"level": True}, "expected a number"), ([], "expected 1 slider values, got 0"), ([0.0, 1.0], "got 2"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(values: dict[str, float], part: str) -> None:
    with pytest.raises(ParameterError, match=part):
        load_effect(LINES).render(np.zeros((2, 4)), values, sample_rate_hz=44100)


def test_wrong_audio_is_refused() -> None:
    loaded = load_effect(LINES)
    for audio in (np.zeros(4), np.zeros((1, 4)), np.full((2, 4), np.nan)):
        with pytest.raises(ParameterError, match="audio"):
            render(loaded, audio)
    with pytest.raises(ParameterError, match="block_frames"):
        loaded.render(np.zeros((2, 4)), {}, sample_rate_hz=44100, block_frames=0)
    with pytest.raises(ParameterError, match="sample_rate_hz"):
        loaded.render(np.zeros((2, 4)), {}, sample_rate_hz=0)
    assert render(loaded, np.zeros((2, 0))).shape == (2, 0)


def test_a_latency_that_hosts_would_ignore_is_refused() -> None:
    for init, part in (("pdc_delay = 5;", "pdc_top_ch = 2"), ("pdc_delay = 0.5; pdc_top_ch = 2;", "whole number")):
        with pytest.raises(ScriptError, match=part):
            effect("spl0 = 0;", init=init).latency_samples({}, sample_rate_hz=44100)


def test_an_effect_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    count = []
    original: Callable[..., object] = host.compile_program
    monkeypatch.setattr(host, "compile_program", lambda *a, **k: count.append(1) or original(*a, **k))
    text = LINES.replace("spl0 = x", "spl0 = x + 0.25")
    (tmp_path / "a.jsfx").write_text(text)
    for source in (text, tmp_path / "a.jsfx", text):
        assert render(load_effect(source))[0, 0] == 1.25
    assert len(count) == 1


# ------------------------------------------------------------------- random programs

#: Binary operators as written, how tightly they bind, and what they mean.
MEANING: dict[str, tuple[int, Callable[[float, float], float]]] = {
    "&&": (0, lambda a, b: float(abs(a) >= 1e-5 and abs(b) >= 1e-5)),
    "||": (0, lambda a, b: float(abs(a) >= 1e-5 or abs(b) >= 1e-5)),
    "<": (1, lambda a, b: float(a < b)), ">=": (1, lambda a, b: float(a >= b)),
    "==": (1, lambda a, b: float(abs(a - b) < 1e-5)), "!=": (1, lambda a, b: float(abs(a - b) >= 1e-5)),
    "&": (2, lambda a, b: float(math.trunc(a) & math.trunc(b))),
    "|": (2, lambda a, b: float(math.trunc(a) | math.trunc(b))),
    "~": (2, lambda a, b: float(math.trunc(a) ^ math.trunc(b))),
    "+": (3, lambda a, b: a + b), "-": (4, lambda a, b: a - b), "*": (5, lambda a, b: a * b),
    "%": (7, lambda a, b: float(math.trunc(abs(a)) % math.trunc(abs(b)))),
}  # fmt: skip
TIGHTEST = 9

#: Text, value, and how tightly the outermost operator of the text binds.
Expression = tuple[str, float, int]


def grouped(part: Expression, level: int) -> str:
    return part[0] if part[2] >= level else f"({part[0]})"


def joined(operator: str, left: Expression, right: Expression) -> Expression:
    level, apply = MEANING[operator]
    if operator == "%" and math.trunc(abs(right[1])) == 0:
        right = ("3", 3.0, TIGHTEST)
    if max(abs(left[1]), abs(right[1])) > 1e6:
        return left
    text = f"{grouped(left, level)} {operator} {grouped(right, level + 1)}"
    return text, apply(left[1], right[1]), level


def chosen(condition: Expression, yes: Expression, no: Expression) -> Expression:
    text = f"({grouped(condition, 0)}) + 0 ? {grouped(yes, 0)} : {grouped(no, 0)}"
    return text, yes[1] if abs(condition[1]) >= 1e-5 else no[1], -1


LEAVES = st.integers(0, 40).map(lambda n: (f"{n / 4:g}", n / 4, TIGHTEST))
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda parts: st.one_of(
        st.builds(joined, st.sampled_from(sorted(MEANING)), parts, parts),
        st.builds(chosen, parts, parts, parts),
        parts.map(lambda p: (f"- {grouped(p, TIGHTEST)}", -p[1], TIGHTEST)),
        parts.map(lambda p: (f"!{grouped(p, TIGHTEST)}", float(abs(p[1]) < 1e-5), TIGHTEST)),
        parts.map(lambda p: (f"{grouped(p, 6)} / 4", p[1] / 4, 6)),
        parts.map(lambda p: (f"floor({p[0]})", float(math.floor(p[1])), TIGHTEST)),
        st.integers(0, 2).flatmap(
            lambda n: parts.map(lambda p: (f"{grouped(p, 8)} ^ {n}", p[1] ** n, 8) if abs(p[1]) < 1e3 else p)
        ),
    ),
    max_leaves=20,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EXPRESSIONS, min_size=20, max_size=20))
def test_random_expressions_have_the_value_of_an_independent_evaluation(expressions: list[Expression]) -> None:
    # The value is kept with the text while it is built, so that grouping is known and nothing is parsed twice.
    texts = [text for text, _, _ in expressions]
    assert values_of(texts) == [value for _, value, _ in expressions]


@pytest.mark.parametrize("seed", range(3))
def test_random_programs_run_as_in_an_independent_interpreter(seed: int, tmp_path: Path) -> None:
    """Statements over a few variables and memory, as the interpreter of the tests reads them."""
    random = np.random.default_rng(seed)
    names = ["aa", "bb", "cc", "dd"]

    def term() -> str:
        pick = random.integers(4)
        if pick == 0:
            return f"{random.integers(1, 9) / 8:g}"
        if pick == 1:
            return f"table[floor(abs({random.choice(names)})) % 7]"
        return str(random.choice([*names, "spl0", "spl1"]))

    def expression() -> str:
        form = random.choice(["{} + {}", "{} - {}", "{} * {}", "min({}, {})", "{} > {} ? 0.5 : {}", "sin({}) * {}"])
        return form.format(*(term() for _ in range(3)))

    def statement() -> str:
        target = random.choice([*names, f"table[{random.integers(7)}]"])
        body = f"{target} {random.choice(['=', '+=', '-=', '='])} {expression()};"
        form = random.choice(["{}", "{}", "{} > 0.1 ? ( {} );", "loop(3, {} );"])
        return form.format(*([term(), body] if "?" in form else [body]))

    calm = "".join(f"{name} = max(min({name}, 4), -4);\n" for name in names)
    code = (
        "\n".join(statement() for _ in range(30)) + f"\n{calm}loop(7, table[nn] = sin(table[nn]); nn += 1); nn = 0;\n"
    )
    init = f"nn = 0; table = 100; {' = '.join(names)} = 0.5;"
    text = f"desc:random\n@init\n{init}\n@sample\n{code}spl0 = aa; spl1 = bb + cc + dd;\n"
    (tmp_path / "random.jsfx").write_text(text)
    audio = random.uniform(-1, 1, (2, 200))
    expected = eel.Effect(tmp_path / "random.jsfx", sample_rate_hz=44100, values=[]).process(audio)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(load_effect(text).render(audio, {}, sample_rate_hz=44100), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_loops_through_memory_run_as_in_an_independent_interpreter(seed: int, tmp_path: Path) -> None:
    """Addresses that move evenly are checked once for the whole loop, the others at every access."""
    random = np.random.default_rng(seed)
    pool = [
        "pp[2] = qq[0] + 1;", "pp[0] *= 0.5;", "qq[-1] -= pp[1];", "pp += 2;", "qq -= 1;", "qq += 3;", "pp -= 2;",
        "qq[0] > 1 ? pp[3] = qq[1];", "pp > 70 ? qq[2] = 3;", "pp += 0.5;", "rr += qq[pp % 3];", "rr[4] = 0.25 * rr;",
        "rr[0] += 1;", "ss = rr[1];", "pp[1] = ss;", "qq += ss > 1;",
    ]  # fmt: skip
    loops = ""
    for _ in range(4):
        body = " ".join(random.choice(pool, size=random.integers(3, 7), replace=False))
        starts = f"pp = {random.integers(50, 90)}; qq = {random.integers(50, 90)};"
        loops += f"{starts} loop({random.integers(1, 12)}, {body});\n"
    init = "at = 0; loop(120, at[0] = at % 5; at += 1); at = 0; rr = 30; ss = 1;"
    text = f"desc:loops\n@init\n{init}\n{loops}\n@sample\nspl0 = at[0]; at += 1; spl1 = pp + qq + rr;\n"
    (tmp_path / "loops.jsfx").write_text(text)
    silence = np.zeros((2, 200))
    expected = eel.Effect(tmp_path / "loops.jsfx", sample_rate_hz=44100, values=[]).process(silence)
    assert np.count_nonzero(expected[0]) > 50
    np.testing.assert_array_equal(load_effect(text).render(silence, {}, sample_rate_hz=44100), expected)


WORDS = [
    *"()[];,=+-*/%^&|~!?:<>'#.xyf", "==", "===", "&&", "||", "<<", "+=", "spl0", "spl1", "srate", "level", "0", "1",
    "2.5", ".5", "0x1f", "$pi", "loop(", "while(", "function", "f(", "instance(", "local(", "this.x", "o.f(", "sin(",
    "min(", "memset(", "fft(", "@init", "@sample", "@slider", "\n", "//", "/*", "*/", '"', "desc:", "slider1:", "1e5",
    "if", "\u00e9", "\0",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)), st.integers(0, 2))
@example("@sample", 0)
def test_any_text_loads_or_is_refused_as_a_script(text: str, place: int) -> None:
    around = [
        "{}",
        "desc:t\nslider1:level=0<0,1,0.1>L{}\n@sample\nspl0 = 1;",
        "desc:t\n@init\nx = 0;\n@sample\n{}\nspl0 = x;",
    ]
    try:
        loaded = load_effect(around[place].replace("{}", text))
    except ScriptError as error:
        assert "\n" not in str(error)
        return
    assert loaded.name


STATEMENTS = st.lists(
    st.sampled_from(
        ["x += 1;", "x = x * 3 - y;", "y = x / (x - 4);", "x[y] = x;", "y = x[0];", "loop(x, y += 1);", "y = 1 << x;",
         "while(x < y) ( x += 1; );", "y = x % y;", "memset(x, y, x);", "x = log(y);", "x = -x ^ y;", "fft(x, y);",
         "x > y ? ( y = 2 * x; ) : x = sqr(y);", "loop(1000, loop(2000, x += 1));", "x = y | 3;", "o.f(x);",
         "spl0 = x;", "y = 65536;", "x = 16;", "memcpy(x, y, 9);", "spl1 = o.kept;"]
    ), min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(STATEMENTS)
def test_any_program_renders_or_is_refused_as_a_script(statements: list[str]) -> None:
    init = "x = y = 1; function f(v) instance(kept) ( kept = v; ); o.f(2);"
    try:
        out = render(effect("".join(statements), init=init))
    except ScriptError as error:
        assert str(error).startswith("t.jsfx")
    else:
        assert np.isfinite(out).all()
