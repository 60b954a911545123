"""Plugins in worker processes: right and repeatable audio, and faults that cost one render, not the run."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pedalboard
import pytest
import soundfile
from scipy.signal import fftconvolve

from mixbridge.bridge.errors import (
    MixbridgeError,
    ParameterError,
    PluginCrashError,
    PluginError,
    PluginNotFoundError,
    PluginOutputError,
    PluginRefusalError,
    PluginTimeoutError,
)
from mixbridge.bridge.hosting import audio_exchange, state
from mixbridge.bridge.hosting.places import loader_command, loader_environment
from mixbridge.bridge.hosting.pool import PluginPool, PluginRef, PluginSettings, close_shared_pool, shared_pool
from mixbridge.bridge.hosting.stereo import render_stereo

from .suites import installed

RATE_HZ = 48000
COMPRESSOR = PluginRef("Compressor")
EQ_VALUES = {
    "Filter type 0": "Bell",
    "Filter mode 0": "APO (DR)",
    "Frequency 0": 1000.0,
    "Gain 0": 12.0,
    "Quality factor 0": 2.0,
}


@pytest.fixture(scope="module")
def pool():
    with PluginPool(workers=2) as shared:
        yield shared


def lsp(name: str) -> PluginRef:
    return PluginRef(name, installed("lsp") / "lsp-plugins.vst3")


def zam(name: str) -> PluginRef:
    return PluginRef(name, installed("zam") / f"{name}.vst3")


def noise(frames: int = RATE_HZ, channels: int = 2, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    steps = np.repeat(random.uniform(0.02, 1.0, frames // 1000 + 1), 1000)[:frames]
    return (0.3 * steps * random.standard_normal((channels, frames))).astype(np.float32)


def impulse(frames: int = RATE_HZ) -> np.ndarray:
    audio = np.zeros((2, frames), dtype=np.float32)
    audio[:, 0] = 1.0
    return audio


def response_db(audio: np.ndarray) -> np.ndarray:
    """Level at every frequency that one second of impulse response resolves: index = Hz."""
    return 20 * np.log10(np.abs(np.fft.rfft(audio.astype(np.float64))) + 1e-12)


def residual_db(audio: np.ndarray, wanted: np.ndarray) -> float:
    difference = audio.astype(np.float64) - wanted
    return 10 * np.log10(np.mean(difference**2) / np.mean(np.asarray(wanted, dtype=np.float64) ** 2) + 1e-30)


def md5(audio: np.ndarray) -> str:
    return hashlib.md5(np.ascontiguousarray(audio)).hexdigest()


def is_one_line(error: BaseException, *names: str) -> bool:
    text = str(error)
    return "\n" not in text and len(text) < 600 and all(name in text for name in names)


# -- states ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 6, 1000])
def test_raw_state_reads_back(length):
    component = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8).tobytes()
    assert state.decode_raw_state(state.encode_raw_state(component)) == (component, None)
    assert state.decode_raw_state(state.encode_raw_state(component, b"ctl")) == (component, b"ctl")


def test_raw_state_is_written_as_juce_does():
    # Six bits per letter, lowest first, in an alphabet that begins with a full stop.
    assert b"<IComponent>3.AHV.</IComponent>" in state.encode_raw_state(bytes([0x01, 0x62, 0x01]))


@pytest.mark.parametrize(
    "raw", [b"", b"VC2!", b"XXXX\0\0\0\0<x/>", state.encode_raw_state(b"a").replace(b"1.", b"1.*")]
)
def test_malformed_raw_state_is_refused(raw):
    with pytest.raises(PluginRefusalError, match="plugin state"):
        state.decode_raw_state(raw)


def test_lsp_state_reads_back():
    items = {"link": "a" * 200, "al": 0.25, "ifn0": "/ä/b.wav", "fft": 6.0, "send": ""}
    assert state.decode_lsp_state(state.encode_lsp_state(items)) == items
    with pytest.raises(PluginRefusalError, match="malformed"):
        state.decode_lsp_state(state.encode_lsp_state(items)[:-1])
    with pytest.raises(PluginRefusalError, match="version"):
        state.decode_lsp_state(b"LSPS\2\0")
    with pytest.raises(PluginRefusalError, match="holds a number"):
        state.encode_lsp_state({"al": "loud"})


def test_dpf_state_changes_only_what_is_asked():
    before = b"__dpf_program__\x001\0__dpf_parameters_begin__\0att\x0010\0thr\0-12.5\0__dpf_parameters_end__\0\xfe\0"
    after = state.replace_dpf_parameters(before, {"thr": -20.1})
    assert state.decode_dpf_state(after) == {"att": 10.0, "thr": pytest.approx(-20.1, rel=1e-7)}
    assert np.float32(state.decode_dpf_state(after)["thr"]) == np.float32(-20.1)
    assert after.startswith(b"__dpf_program__\x001\0") and after.endswith(b"__dpf_parameters_end__\0\xfe\0")
    with pytest.raises(PluginRefusalError, match="no parameter 'knee'"):
        state.replace_dpf_parameters(before, {"knee": 1.0})


# -- built-ins, and what every plugin has in common -----------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
def test_a_builtin_sounds_as_in_this_process(pool, channels):
    # Longer than what a worker renders at once.
    audio = noise(1_200_000, channels)
    values = {"threshold_db": -30.0, "ratio": 4.0, "attack_ms": 3.3, "release_ms": 77.0}
    wanted = pedalboard.Compressor(**values).process(audio, RATE_HZ, buffer_size=1000)
    output = pool.render(COMPRESSOR, PluginSettings(values), audio, sample_rate_hz=RATE_HZ, block_frames=1000)
    assert output.shape == audio.shape and output.dtype == np.float32
    assert md5(output) == md5(wanted)
    assert pool.read_back(COMPRESSOR, PluginSettings(values), sample_rate_hz=RATE_HZ) == pytest.approx(values)


def test_a_builtin_with_a_choice_and_one_with_a_file(pool, tmp_path):
    audio = noise()
    ladder = PluginSettings({"mode": "HPF24", "cutoff_hz": 500.0})
    wanted = pedalboard.LadderFilter(mode=pedalboard.LadderFilter.Mode.HPF24, cutoff_hz=500.0)(audio, RATE_HZ)
    assert md5(pool.render(PluginRef("LadderFilter"), ladder, audio, sample_rate_hz=RATE_HZ)) == md5(wanted)
    path = str(tmp_path / "ir.wav")
    soundfile.write(path, noise(2000).T, RATE_HZ, subtype="FLOAT")
    convolution = PluginSettings({"mix": 0.5}, {"impulse_response_filename": path})
    output = pool.render(PluginRef("Convolution"), convolution, audio, sample_rate_hz=RATE_HZ)
    assert residual_db(output, pedalboard.Convolution(path, mix=0.5)(audio, RATE_HZ)) < -100
    assert residual_db(output, audio) > -20


@pytest.mark.parametrize("frames", [0, 1, 2, 3])
def test_very_short_audio_keeps_its_length(pool, frames):
    audio = noise(frames)
    output = pool.render(PluginRef("Gain"), PluginSettings({"gain_db": 6.0206}), audio, sample_rate_hz=44100)
    assert output.shape == (2, frames)
    np.testing.assert_allclose(output, 2 * audio, rtol=1e-4)


@pytest.mark.parametrize(
    ("plugin", "values", "kind", "words"),
    [
        (PluginRef("Nonesuch"), {}, PluginNotFoundError, "no such effect"),
        (PluginRef("Pedalboard"), {}, PluginNotFoundError, "no such effect"),
        (PluginRef("VST3Plugin"), {}, PluginNotFoundError, "no such effect"),
        (PluginRef("Missing", Path("/nowhere/missing.vst3")), {}, PluginNotFoundError, "/nowhere/missing.vst3"),
        (COMPRESSOR, {"knee_db": 3.0}, PluginRefusalError, "threshold_db"),
        (COMPRESSOR, {"attack_ms": "quick"}, PluginRefusalError, "attack_ms"),
        (PluginRef("LadderFilter"), {"mode": "HPF99"}, PluginRefusalError, "mode = HPF99"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(pool, plugin, values, kind, words):
    with pytest.raises(kind, match=words) as caught:
        pool.render(plugin, PluginSettings(values), noise(100), sample_rate_hz=RATE_HZ)
    assert is_one_line(caught.value, plugin.name.lower() if plugin.path else plugin.name)


def test_audio_and_rates_that_no_plugin_takes_are_refused(pool):
    settings = PluginSettings()
    bad = noise(100)
    bad[0, 5] = np.nan
    with pytest.raises(PluginRefusalError, match="NaN"):
        pool.render(COMPRESSOR, settings, bad, sample_rate_hz=RATE_HZ)
    for shape in [(100,), (3, 100), (0, 100)]:
        with pytest.raises(PluginRefusalError, match="shape"):
            pool.render(COMPRESSOR, settings, np.zeros(shape), sample_rate_hz=RATE_HZ)
    for rate_hz in (0.0, 7999.0, 1e6, np.nan):
        with pytest.raises(PluginRefusalError, match="Hz"):
            pool.render(COMPRESSOR, settings, noise(100), sample_rate_hz=rate_hz)
    with pytest.raises(ParameterError, match="workers"):
        PluginPool(workers=0)
    with pytest.raises(PluginError, match="either"):
        PluginSettings({"a": 1.0}, state=b"x")


def test_the_shared_pool_is_one_until_it_is_closed():
    first = shared_pool()
    assert shared_pool() is first
    close_shared_pool()
    with pytest.raises(PluginError, match="closed"):
        first.render(COMPRESSOR, PluginSettings(), noise(10), sample_rate_hz=RATE_HZ)
    assert shared_pool() is not first
    close_shared_pool()


# -- faults ------------------------------------------------------------------------------------------

SLOW = PluginRef("PitchShift")
SLOW_SETTINGS = PluginSettings({"semitones": 3.0})


def wait_for(condition, within_s: float = 20.0):
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def processor_seconds(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_worker(pool: PluginPool, *, other_than: int = 0) -> int:
    """Wait until the only worker is in the middle of a render; return its process id."""
    wait_for(lambda: pool.process_ids and pool.process_ids[0] != other_than)
    process_id = pool.process_ids[0]
    started = processor_seconds(process_id)
    wait_for(lambda: processor_seconds(process_id) > started + 0.7)
    return process_id


def begin_slow_render(pool: PluginPool, seconds: int = 90):
    return pool.submit(SLOW, SLOW_SETTINGS, noise(RATE_HZ * seconds), sample_rate_hz=RATE_HZ)


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


@linux_only
def test_a_worker_killed_once_costs_a_retry_and_nothing_else():
    audio = noise(RATE_HZ * 15)
    with PluginPool(workers=1) as pool:
        render = pool.submit(SLOW, SLOW_SETTINGS, audio, sample_rate_hz=RATE_HZ)
        killed = busy_worker(pool)
        assert not render.done()
        os.kill(killed, signal.SIGKILL)
        output = render.result()
        assert killed not in pool.process_ids
        assert md5(output) == md5(pool.render(SLOW, SLOW_SETTINGS, audio, sample_rate_hz=RATE_HZ))
        # Killed between two renders it is not even noticed.
        os.kill(pool.process_ids[0], signal.SIGKILL)
        assert pool.render(PluginRef("Gain"), PluginSettings(), audio, sample_rate_hz=RATE_HZ).shape == audio.shape


@linux_only
def test_a_worker_killed_twice_is_a_crash_of_the_plugin():
    with PluginPool(workers=1) as pool:
        render = begin_slow_render(pool)
        first = busy_worker(pool)
        os.kill(first, signal.SIGKILL)
        os.kill(busy_worker(pool, other_than=first), signal.SIGKILL)
        with pytest.raises(PluginCrashError) as caught:
            render.result(30)
        assert is_one_line(caught.value, "PitchShift", "SIGKILL", str(pool.log))
        output = pool.render(PluginRef("Gain"), PluginSettings(), noise(100), sample_rate_hz=RATE_HZ)
        assert output.shape == (2, 100)


@linux_only
def test_a_worker_that_stands_still_is_ended_by_the_time_limit():
    with PluginPool(workers=1, time_limit_s=3.0) as pool:
        render = begin_slow_render(pool)
        first = busy_worker(pool)
        os.kill(first, signal.SIGSTOP)
        os.kill(busy_worker(pool, other_than=first), signal.SIGSTOP)
        with pytest.raises(PluginTimeoutError) as caught:
            render.result(30)
        assert is_one_line(caught.value, "PitchShift", "3 s")
        pool.render(PluginRef("Gain"), PluginSettings(), noise(100), sample_rate_hz=RATE_HZ)


@linux_only
def test_closing_stops_busy_workers_and_leaves_nothing_behind():
    with PluginPool(workers=1) as pool:
        render = begin_slow_render(pool)
        busy = busy_worker(pool)
        folder = pool.log.parent
        assert any(folder.glob("*.f32"))
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 3.0
    with pytest.raises(PluginError, match="closed"):
        render.result(1)
    assert not folder.exists() and not Path(f"/proc/{busy}").exists()
    pool.close()


ORPHANS = """
import os, sys, time, signal
sys.path[:0] = {path!r}
from tests.test_hosting import begin_slow_render, busy_worker
from mixbridge.bridge.hosting.pool import PluginPool
pool = PluginPool(workers=1)
render = begin_slow_render(pool)
print(busy_worker(pool), pool.log.parent, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@linux_only
def test_workers_end_with_a_killed_caller_and_its_files_with_the_next_pool():
    code = ORPHANS.format(path=[str(Path(__file__).parent.parent)])
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    worker, folder = killed.stdout.split()
    wait_for(lambda: not Path(f"/proc/{worker}").exists(), within_s=5.0)
    left = Path(folder)
    assert left.exists()
    with PluginPool(workers=1):
        assert left.exists(), "may belong to a pool that is just being opened"
    old = time.time() - 1000
    os.utime(left / "owner.lock", (old, old))
    with PluginPool(workers=1):
        assert not left.exists()


def test_an_exchange_folder_in_use_is_never_removed():
    folder = audio_exchange.ExchangeFolder()
    os.utime(folder.path / "owner.lock", (0, 0))
    audio_exchange.ExchangeFolder().close()
    assert folder.path.exists()
    folder.close()
    assert not folder.path.exists()


def test_workers_are_replaced_after_their_renders(pool):
    settings, seen = PluginSettings(), set()
    with PluginPool(workers=1, recycle_after=3) as short_lived:
        for _ in range(7):
            short_lived.render(PluginRef("Gain"), settings, noise(100), sample_rate_hz=RATE_HZ)
            seen.update(short_lived.process_ids)
    assert len(seen) == 3


# -- real plugins ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [44100, 48000])
def test_lsp_equalizer_is_at_the_right_frequency(pool, rate_hz):
    output = pool.render(
        lsp("Parametric Equalizer x8 Stereo"), PluginSettings(EQ_VALUES), impulse(rate_hz), sample_rate_hz=rate_hz
    )
    for channel in output:
        level = response_db(channel)
        assert level.argmax() == 1000
        assert level[1000] == pytest.approx(12.0, abs=1e-3)
        # Peaking filter of the cookbook, Q = 2, at one octave below: evaluated directly.
        assert level[500] == pytest.approx(cookbook_bell_db(500.0, rate_hz), abs=2e-3)
        assert level[8000] == pytest.approx(cookbook_bell_db(8000.0, rate_hz), abs=2e-3)


def cookbook_bell_db(at_hz: float, rate_hz: int) -> float:
    amplitude, w0 = 10 ** (EQ_VALUES["Gain 0"] / 40), 2 * np.pi * EQ_VALUES["Frequency 0"] / rate_hz
    alpha = np.sin(w0) / (2 * EQ_VALUES["Quality factor 0"])
    z = np.exp(-2j * np.pi * at_hz / rate_hz)
    top = 1 + alpha * amplitude - 2 * np.cos(w0) * z + (1 - alpha * amplitude) * z**2
    bottom = 1 + alpha / amplitude - 2 * np.cos(w0) * z + (1 - alpha / amplitude) * z**2
    return float(20 * np.log10(abs(top / bottom)))


NAIVE = """
import sys, json
import numpy as np, pedalboard
from pathlib import Path
from mixbridge.bridge.hosting.factory import narrow
bundle, name, state, audio_path = sys.argv[1:]
narrow(Path(bundle), name=name, class_id="")
plugin = pedalboard.VST3Plugin(bundle, plugin_name=name)
plugin.raw_state = Path(state).read_bytes()
audio = np.load(audio_path)
np.save(audio_path, plugin(audio, 48000))
"""


def naive_render(plugin: PluginRef, component: bytes, audio: np.ndarray, folder: Path) -> np.ndarray:
    """Load, set the state, run: as one would without knowing the traps."""
    (folder / "state").write_bytes(state.encode_raw_state(component))
    np.save(folder / "audio.npy", audio)
    command = [*loader_command(plugin.path), sys.executable, "-P", "-c", NAIVE, str(plugin.path), plugin.name]
    environment = {**os.environ, **loader_environment(plugin.path)}
    subprocess.run(
        [*command, str(folder / "state"), str(folder / "audio.npy")], check=True, capture_output=True, env=environment
    )
    return np.load(folder / "audio.npy")


def test_without_the_protocol_the_equalizer_is_at_a_wrong_frequency(pool, tmp_path):
    plugin = lsp("Parametric Equalizer x8 Stereo")
    component = pool.component_state(plugin, PluginSettings(EQ_VALUES), sample_rate_hz=RATE_HZ)
    naive = naive_render(plugin, component, impulse(), tmp_path)
    assert abs(response_db(naive[0]).argmax() - 1000) > 50, "the protocol is no longer needed here"


#: Of each: something set, and something left at its default, which must be right at the rate as well.
REPEATED = {
    "Parametric Equalizer x8 Stereo": EQ_VALUES,
    "Compressor Stereo": {"Ratio": 4.0, "Attack threshold": -30.0, "Attack time": 7.7, "Sidechain mode": "Peak"},
    "Gate Stereo": {"Curve threshold": -20.0},
    "Limiter Stereo": {"Threshold": -12.0},
}


@pytest.mark.parametrize("name", REPEATED)
def test_lsp_plugins_repeat_bit_by_bit_also_in_another_process(pool, name):
    plugin, audio = lsp(name), noise()
    settings = PluginSettings(REPEATED[name])
    first = md5(pool.render(plugin, settings, audio, sample_rate_hz=RATE_HZ))
    assert first != md5(pool.render(plugin, PluginSettings(), audio, sample_rate_hz=RATE_HZ))
    # Another rate and other settings in between leave no trace.
    pool.render(plugin, settings, noise(seed=3), sample_rate_hz=44100)
    assert md5(pool.render(plugin, settings, audio, sample_rate_hz=RATE_HZ)) == first
    component = pool.component_state(plugin, settings, sample_rate_hz=RATE_HZ)
    with PluginPool(workers=1) as other:
        assert md5(other.render(plugin, settings, audio, sample_rate_hz=RATE_HZ)) == first
        assert md5(other.render(plugin, PluginSettings(state=component), audio, sample_rate_hz=RATE_HZ)) == first


def test_parameters_at_their_default_are_right_at_another_rate_too(pool):
    plugin = lsp("Delay Compensator Stereo")
    values = {"Mode": "Time", "Time": 100.0}
    for rate_hz in (44100, 48000):
        output = pool.render(plugin, PluginSettings(values), impulse(rate_hz), sample_rate_hz=rate_hz)
        assert np.flatnonzero(np.abs(output[0]) > 0.5).tolist() == [rate_hz // 10]
    limiter = pool.render(lsp("Limiter Stereo"), PluginSettings(), 0.1 * impulse(), sample_rate_hz=48000)
    # Its look-ahead is 5 ms by default.
    assert np.abs(limiter[0]).argmax() == 240


def test_lsp_displays_change_nothing_but_the_speed(pool):
    plugin, audio = lsp("Parametric Equalizer x8 Stereo"), noise()
    shown = {p.name: "on" for p in pool.describe(plugin).parameters if "FFT graph enable" in p.name}
    assert len(shown) == 6
    with_displays = pool.render(plugin, PluginSettings(EQ_VALUES | shown), audio, sample_rate_hz=RATE_HZ)
    without = pool.render(plugin, PluginSettings(EQ_VALUES), audio, sample_rate_hz=RATE_HZ)
    assert md5(with_displays) == md5(without)
    read = pool.read_back(plugin, PluginSettings(EQ_VALUES), sample_rate_hz=RATE_HZ)
    assert {read[name] for name in shown} == {"on"}, "presets keep them"


def test_values_arrive_exactly_and_wrong_ones_are_refused(pool):
    settings = PluginSettings({"Ratio": 3.3333, "Attack time": 1.2345, "Makeup gain": 2.71, "Sidechain mode": "Peak"})
    read = pool.read_back(lsp("Compressor Stereo"), settings, sample_rate_hz=RATE_HZ)
    assert read["Sidechain mode"] == "Peak"
    for name in ("Ratio", "Attack time", "Makeup gain"):
        assert read[name] == pytest.approx(settings.values[name], rel=2e-7)
    zam_settings = PluginSettings({"Attack": 5.4321, "Threshold": -23.456, "Ratio": 2.2})
    read = pool.read_back(zam("ZamCompX2"), zam_settings, sample_rate_hz=RATE_HZ)
    for name, value in zam_settings.values.items():
        assert read[name] == pytest.approx(value, rel=2e-7)
    refused = {
        lsp("Compressor Stereo"): [{"Ratio": 1000.0}, {"Sidechain mode": "Loud"}, {"Rato": 2.0}, {"Ratio": "much"}],
        zam("ZamCompX2"): [{"Ratio": 21.0}, {"Sample Rate": 44100.0}, {"Gain Reduction": 3.0}],
    }
    for plugin, cases in refused.items():
        for values in cases:
            with pytest.raises(PluginRefusalError) as caught:
                pool.read_back(plugin, PluginSettings(values), sample_rate_hz=RATE_HZ)
            assert is_one_line(caught.value, plugin.name, *values)


def test_a_description_says_what_can_be_set(pool):
    plugin = lsp("Parametric Equalizer x8 Stereo")
    described = pool.describe(plugin)
    assert (described.class_id, described.channels, described.vendor) == (
        "64737020706538732020202061356538",
        (2,),
        "LSP VST3",
    )
    frequency, mode = described.parameter("Frequency 0"), described.parameter("Filter mode 0")
    assert (frequency.minimum, frequency.maximum, frequency.unit, frequency.state_id) == (10.0, 24000.0, "Hz", "f_0")
    assert mode.choices[-1] == "APO (DR)"
    assert described.parameter("nothing") is None
    json.dumps(described.to_data())
    assert pool.describe(PluginRef(plugin.name, plugin.path, described.class_id)) == described
    with pytest.raises(PluginError, match="not in this bundle"):
        pool.describe(PluginRef(plugin.name, plugin.path, "0" * 32))
    with pytest.raises(PluginNotFoundError, match="Compressor Stereo"):
        pool.describe(lsp("Compresor Stereo"))
    zam_plugin = zam("ZamCompX2")
    with pytest.raises(PluginError, match="class id"):
        pool.describe(PluginRef(zam_plugin.name, zam_plugin.path, "0" * 32))


def test_an_impulse_response_is_loaded_before_the_audio_begins(pool, tmp_path):
    random = np.random.default_rng(1)
    decay = np.exp(-np.arange(24000) / 6000)
    response = (0.05 * decay * random.standard_normal((2, 24000))).astype(np.float32)
    path = tmp_path / "hall ä.wav"
    soundfile.write(path, response.T, RATE_HZ, subtype="FLOAT")
    plugin, audio = lsp("Impulse Responses Stereo"), noise(RATE_HZ * 3)
    values = {"Dry amount": -np.inf, "FFT size": 1024.0}
    settings = PluginSettings(values, {"ifn0": str(path)})
    wanted = [fftconvolve(a.astype(np.float64), r)[: RATE_HZ * 3] for a, r in zip(audio, response, strict=True)]
    renders = [pool.submit(plugin, settings, audio, sample_rate_hz=RATE_HZ) for _ in range(6)]
    outputs = [render.result() for render in renders]
    assert max(residual_db(output, np.stack(wanted)) for output in outputs) < -100
    # It spreads its work by a number that differs between processes: so does the last bit.
    assert len({md5(output) for output in outputs}) <= 2
    quiet = tmp_path / "silent.wav"
    soundfile.write(quiet, 0.0 * response.T, RATE_HZ, subtype="FLOAT")
    muted = pool.render(plugin, PluginSettings(values, {"ifn0": str(quiet)}), audio, sample_rate_hz=RATE_HZ)
    assert not np.any(muted)
    with pytest.raises(PluginRefusalError, match=r"gone\.wav"):
        pool.render(plugin, PluginSettings(values, {"ifn0": "gone.wav"}), audio, sample_rate_hz=RATE_HZ)
    with pytest.raises(PluginRefusalError, match="ifn9"):
        pool.render(plugin, PluginSettings(values, {"ifn9": str(path)}), audio, sample_rate_hz=RATE_HZ)


def test_a_mono_plugin_runs_as_two_instances(pool):
    plugin, settings = zam("ZamComp"), PluginSettings({"Threshold": -30.0, "Ratio": 4.0})
    audio = noise() * np.array([[1.0], [0.1]], dtype=np.float32)
    with pytest.raises(PluginRefusalError, match="takes mono"):
        pool.render(plugin, settings, audio, sample_rate_hz=RATE_HZ)
    both = render_stereo(pool, plugin, settings, audio, sample_rate_hz=RATE_HZ)
    for side in (0, 1):
        alone = pool.render(plugin, settings, audio[side : side + 1], sample_rate_hz=RATE_HZ)
        assert np.array_equal(both[side : side + 1], alone)
    # A refusal that has nothing to do with the channels stays one.
    with pytest.raises(PluginRefusalError, match="no parameter"):
        render_stereo(pool, plugin, PluginSettings({"Nothing": 1.0}), audio, sample_rate_hz=RATE_HZ)


def test_a_delay_that_gets_its_memory_late_is_waited_for(pool):
    plugin = lsp("Artistic Delay Stereo")
    values = {"Delay 0 on": "on", "Delay 0 time addition": 0.25}
    output = pool.render(plugin, PluginSettings(values), impulse(), sample_rate_hz=RATE_HZ)
    taps = np.flatnonzero(np.abs(output[0]) > 1e-3).tolist()
    assert taps == [0, RATE_HZ // 4]


def test_zam_and_dragonfly_repeat_and_short_audio_works(pool):
    audio = noise()
    for plugin in (
        zam("ZamCompX2"),
        zam("ZaMaximX2"),
        PluginRef("", installed("dragonfly") / "DragonflyPlateReverb.vst3"),
    ):
        first = pool.render(plugin, PluginSettings(), audio, sample_rate_hz=RATE_HZ)
        assert first.shape == audio.shape and np.abs(first).max() > 0.01
        assert md5(pool.render(plugin, PluginSettings(), audio, sample_rate_hz=RATE_HZ)) == md5(first)
        for frames in (0, 1, 2, 3):
            short = pool.render(plugin, PluginSettings(), audio[:, :frames], sample_rate_hz=RATE_HZ)
            np.testing.assert_array_equal(short, first[:, :frames])


def test_faulty_plugins_cost_a_line_each_and_the_pool_goes_on():
    audio = noise(4800)
    good = zam("ZamCompX2")
    with PluginPool(workers=2, time_limit_s=4.0) as pool:
        wanted = md5(pool.render(good, PluginSettings(), audio, sample_rate_hz=RATE_HZ))
        faults = [
            (lsp("Sidechain Compressor Stereo"), audio, PluginCrashError, "SIGSEGV"),
            (zam("ZamVerb"), audio, PluginTimeoutError, "4 s"),
            (zam("ZamEQ2"), audio[:1], PluginOutputError, "NaN"),
            (zam("ZamEQ2"), audio, PluginRefusalError, "mono"),
            (good, audio[:1], PluginRefusalError, "stereo"),
        ]
        renders = [
            (pool.submit(plugin, PluginSettings(), sound, sample_rate_hz=RATE_HZ), plugin, kind, word)
            for plugin, sound, kind, word in faults
        ]
        for render, plugin, kind, word in renders:
            with pytest.raises(MixbridgeError) as caught:
                render.result(60)
            assert type(caught.value) is kind, caught.value
            assert is_one_line(caught.value, plugin.name, word)
            assert md5(pool.render(good, PluginSettings(), audio, sample_rate_hz=RATE_HZ)) == wanted
        mono = PluginSettings({"Boost/Cut 1": 0.001, "Boost/Cut 2": 0.001, "Boost/Cut L": 0.001, "Boost/Cut H": 0.001})
        assert pool.render(zam("ZamEQ2"), mono, audio[:1], sample_rate_hz=RATE_HZ).shape == (1, 4800)
        # ZamVerb prints without end while it hangs.
        assert 0 < pool.log.stat().st_size < 64 << 20


@linux_only
def test_a_plugin_that_takes_too_much_memory_is_ended():
    # This one needs half a gigabyte.
    with PluginPool(workers=1, memory_limit_mb=256) as pool:
        with pytest.raises(PluginError, match="256 MB") as caught:
            pool.describe(lsp("Slapback Delay Stereo"))
        assert is_one_line(caught.value, "Slapback Delay Stereo")
        pool.render(COMPRESSOR, PluginSettings(), noise(100), sample_rate_hz=RATE_HZ)


@pytest.mark.slow
@linux_only
def test_two_thousand_renders_leak_nothing(tmp_path):
    audio = noise(2400)
    plugins = [
        (lsp("Parametric Equalizer x8 Stereo"), PluginSettings(EQ_VALUES)),
        (lsp("Compressor Stereo"), PluginSettings({"Ratio": 3.0})),
        (zam("ZamCompX2"), PluginSettings({"Ratio": 3.0})),
        (COMPRESSOR, PluginSettings({"ratio": 3.0})),
    ]
    hashes: dict[str, set[str]] = {plugin.name: set() for plugin, _ in plugins}
    sizes_mb: dict[int, list[float]] = {}
    with PluginPool(workers=2, recycle_after=1000) as pool:
        for batch in range(20):
            chosen = [plugins[k % len(plugins)] for k in range(100)]
            renders = [
                (plugin, pool.submit(plugin, settings, audio, sample_rate_hz=RATE_HZ)) for plugin, settings in chosen
            ]
            for plugin, render in renders:
                hashes[plugin.name].add(md5(render.result()))
            for process_id in pool.process_ids:
                sizes_mb.setdefault(process_id, []).append(resident_mb(process_id))
            if batch == 4:
                open_files = len(list(Path("/proc/self/fd").iterdir()))
        assert {name: len(found) for name, found in hashes.items()} == dict.fromkeys(hashes, 1)
        assert not list(pool.log.parent.glob("*.f32"))
        assert len(list(Path("/proc/self/fd").iterdir())) <= open_files + 4
        assert all(s[-1] - s[len(s) // 2] < 40 for s in sizes_mb.values()), sizes_mb


def resident_mb(process_id: int) -> float:
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
