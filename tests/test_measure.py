"""Features of mixes against closed forms and the test signals of their standards, and the command that prints them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mixbridge.bridge import features as feature_set
from mixbridge.bridge.errors import EXIT_OK, EXIT_USER_ERROR, ParameterError
from mixbridge.bridge.features import Features, features, loudness_steps
from mixbridge.bridge.features.loudness import k_weighting_sos
from mixbridge.bridge.features.titles import BARK_HEADINGS, FEATURE_TITLES
from mixbridge.bridge.measure import compare, measure_file, measure_files
from mixbridge.bridge.verify.results import Verification
from mixbridge.cli import app

RATE_HZ = 48000


def tone(*parts: tuple[float, float], frequency_hz: float = 1000.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A sine in both channels, of so many dBFS (peak) for so many seconds, part after part."""
    gains = np.concatenate([np.full(round(s * rate_hz), 10.0 ** (db / 20.0)) for db, s in parts])
    sine = gains * np.sin(2.0 * np.pi * frequency_hz * np.arange(len(gains)) / rate_hz)
    return np.stack([sine, sine]).astype(np.float32)


def noise(seconds: float, *, seed: int = 0, gain: float = 0.1) -> np.ndarray:
    shape = (2, round(seconds * RATE_HZ))
    return (gain * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def pink(audio: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft(audio)
    spectrum[:, 1:] /= np.sqrt(np.arange(1, spectrum.shape[1]))
    coloured = np.fft.irfft(spectrum, n=audio.shape[1])
    return np.asarray(0.1 / coloured.std() * coloured, dtype=np.float32)


# ------------------------------------------------------------------------------ loudness


def test_the_k_weighting_is_that_of_the_recommendation() -> None:
    """ITU-R BS.1770-4, tables 1 and 2, for 48 kHz."""
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585]
    high_pass = [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621]
    np.testing.assert_allclose(k_weighting_sos(48000), [shelf, high_pass], atol=1e-7)


#: EBU Tech 3341, minimum requirements 1 to 5: level and duration of the parts; 0.1 LU either way.
INTEGRATED = [
    (-23.0, [(-23.0, 20.0)]),
    (-33.0, [(-33.0, 20.0)]),
    (-23.0, [(-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0)]),
    (-23.0, [(-72.0, 10.0), (-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0), (-72.0, 10.0)]),
    (-23.0, [(-26.0, 20.0), (-20.0, 20.1), (-26.0, 20.0)]),
]

#: EBU Tech 3342, minimum requirements 1 to 4; 1 LU either way.
RANGES = [
    (10.0, [(-20.0, 20.0), (-30.0, 20.0)]),
    (5.0, [(-20.0, 20.0), (-15.0, 20.0)]),
    (20.0, [(-40.0, 20.0), (-20.0, 20.0)]),
    (15.0, [(-50.0, 20.0), (-35.0, 20.0), (-20.0, 20.0), (-35.0, 20.0), (-50.0, 20.0)]),
]


@pytest.mark.parametrize(("wanted", "parts"), INTEGRATED)
def test_integrated_loudness_of_the_ebu_signals(wanted: float, parts: list[tuple[float, float]]) -> None:
    found = loudness_steps(tone(*parts), sample_rate_hz=RATE_HZ).integrated_lufs()
    assert found == pytest.approx(wanted, abs=0.1)


@pytest.mark.parametrize(("wanted", "parts"), RANGES)
@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_loudness_range_of_the_ebu_signals(wanted: float, parts: list[tuple[float, float]], rate_hz: int) -> None:
    found = loudness_steps(tone(*parts, rate_hz=rate_hz), sample_rate_hz=rate_hz).range_lu()
    # The meter of the standard allows 1 LU; here the levels are exact.
    assert found == pytest.approx(wanted, abs=0.1)


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 96000])
def test_integrated_loudness_equals_that_of_pyloudnorm(rate_hz: int) -> None:
    audio = noise(6.0) * np.linspace(0.01, 1.0, 6 * RATE_HZ) ** 2
    audio = audio[:, : audio.shape[1] // rate_hz * rate_hz]  # pyloudnorm also counts a block that is not full
    wanted = pyloudnorm.Meter(rate_hz, filter_class="DeMan").integrated_loudness(audio.T.astype(np.float64))
    assert feature_set.integrated_loudness_lufs(audio, sample_rate_hz=rate_hz) == pytest.approx(wanted, abs=0.02)


def test_dynamic_spread_is_half_the_distance_of_two_levels() -> None:
    steady = loudness_steps(tone((-20.0, 4.0)), sample_rate_hz=RATE_HZ).dynamic_spread_db()
    steps = loudness_steps(tone(*[(-20.0, 2.0), (-30.0, 2.0)] * 4), sample_rate_hz=RATE_HZ)
    assert steady is not None and steady < 0.05
    assert steps.dynamic_spread_db() == pytest.approx(5.0, abs=0.1)


def test_what_is_too_short_or_silent_has_no_loudness() -> None:
    short = loudness_steps(tone((-20.0, 0.39)), sample_rate_hz=RATE_HZ)
    assert short.integrated_lufs() is None and short.range_lu() is None
    assert short.dynamic_spread_db() is not None
    longer = loudness_steps(tone((-20.0, 2.9)), sample_rate_hz=RATE_HZ)
    assert longer.integrated_lufs() is not None and longer.range_lu() is None
    silent = loudness_steps(np.zeros((2, 4 * RATE_HZ)), sample_rate_hz=RATE_HZ)
    assert (silent.integrated_lufs(), silent.range_lu(), silent.dynamic_spread_db()) == (None, None, None)


@pytest.mark.parametrize(
    ("phase", "amplitude", "divisor", "wanted"),
    [(0.0, 0.5, 4, -6.0), (45.0, 0.5, 4, -6.0), (60.0, 0.5, 6, -6.0), (67.5, 0.5, 8, -6.0), (45.0, 1.41, 4, 3.0)],
)
def test_true_peak_of_the_ebu_signals(phase: float, amplitude: float, divisor: int, wanted: float) -> None:
    """EBU Tech 3341, minimum requirements 15 to 19: +0.2 or -0.4 dB."""
    n = np.arange(2 * RATE_HZ)
    sine = amplitude * np.sin(2.0 * np.pi * n / divisor + np.radians(phase))
    fade = np.minimum(1.0, np.minimum(n, n[::-1]) / (0.1 * RATE_HZ))
    found = feature_set.true_peak_db(np.stack([sine * fade] * 2), sample_rate_hz=RATE_HZ)
    assert wanted - 0.4 <= found <= wanted + 0.2


# -------------------------------------------------------------------- levels, spectra, image


def test_levels_of_a_sine_and_a_square() -> None:
    sine = features(tone((0.0, 4.0)), sample_rate_hz=RATE_HZ)
    assert sine.rms_db == pytest.approx(-3.01, abs=0.01) and sine.crest_db == pytest.approx(3.01, abs=0.01)
    square = features(np.sign(tone((0.0, 4.0), frequency_hz=997.0)), sample_rate_hz=RATE_HZ)
    assert square.rms_db == pytest.approx(0.0, abs=0.02) and square.crest_db == pytest.approx(0.0, abs=0.02)


def test_shape_of_a_tone_of_white_and_of_pink_noise() -> None:
    low = features(tone((-6.0, 2.0)), sample_rate_hz=RATE_HZ)
    white = features(noise(4.0), sample_rate_hz=RATE_HZ)
    pinker = features(pink(noise(4.0)), sample_rate_hz=RATE_HZ)
    assert low.centroid_hz == pytest.approx(1000.0, abs=15.0) and low.flatness == pytest.approx(0.0, abs=1e-4)
    assert low.rolloff_hz == pytest.approx(1000.0, abs=2.0 * RATE_HZ / 4096)
    # A flat spectrum up to half the rate: its middle, its standard deviation, its 85 %.
    assert white.centroid_hz == pytest.approx(RATE_HZ / 4, rel=0.01)
    assert white.bandwidth_hz == pytest.approx(RATE_HZ / 2 / np.sqrt(12.0), rel=0.01)
    assert white.rolloff_hz == pytest.approx(0.85 * RATE_HZ / 2, rel=0.01)
    assert white.flatness is not None and white.flatness > 0.6
    # Magnitude falls with the root of the frequency: the mean of f over f^-1/2 is a third of the band.
    assert pinker.centroid_hz == pytest.approx(RATE_HZ / 2 / 3, rel=0.03)
    assert pinker.rolloff_hz == pytest.approx(0.85**2 * RATE_HZ / 2, rel=0.03)
    assert pinker.flatness is not None and low.flatness is not None
    assert low.flatness < pinker.flatness < white.flatness
    assert white.contrast_db is not None and pinker.contrast_db is not None
    chord = sum(tone((-40.0, 2.0), frequency_hz=f) for f in np.arange(120.0, 20000.0, 120.0))
    harmonic = features(np.asarray(chord), sample_rate_hz=RATE_HZ).contrast_db
    assert harmonic is not None and harmonic > 2.0 * white.contrast_db
    assert harmonic > 2.0 * pinker.contrast_db
    # White noise has as much power in every hertz, so bands grow with their width.
    widths = 10.0 * np.log10(np.diff(feature_set.BARK_EDGES_HZ))
    np.testing.assert_allclose(np.array(white.bark_db) - widths, white.bark_db[0] - 20.0, atol=0.6)


def test_the_image_of_a_centred_a_hard_panned_and_a_wide_signal() -> None:
    mono = noise(2.0)[:1]
    centred = features(np.repeat(mono, 2, axis=0), sample_rate_hz=RATE_HZ)
    left = features(np.concatenate([mono, 0.0 * mono]), sample_rate_hz=RATE_HZ)
    wide = features(noise(2.0), sample_rate_hz=RATE_HZ)
    names = ("panning_rms", "panning_rms_low", "panning_rms_mid", "panning_rms_high")
    assert [getattr(centred, n) for n in names] == pytest.approx([0.0] * 4, abs=1e-6)
    assert [getattr(left, n) for n in names] == pytest.approx([1.0] * 4, abs=1e-3)
    assert (centred.width, centred.imbalance, left.imbalance) == (0.0, 0.0, -1.0)
    assert left.width == pytest.approx(1.0) and wide.width == pytest.approx(1.0, abs=0.02)
    # A level difference of 6.02 dB in every bin: 1 - 2 * 0.5 / 1.25.
    half = features(np.concatenate([mono, 0.5 * mono]), sample_rate_hz=RATE_HZ)
    assert [getattr(half, n) for n in names] == pytest.approx([0.2] * 4, abs=1e-4)


def test_panning_is_told_apart_by_band() -> None:
    bass, middle = tone((-12.0, 2.0), frequency_hz=100.0), tone((-12.0, 2.0), frequency_hz=1000.0)
    found = features(bass * [[1.0], [1.0]] + middle * [[1.0], [0.0]], sample_rate_hz=RATE_HZ)
    assert found.panning_rms_low is not None and found.panning_rms_mid is not None
    assert found.panning_rms_mid > 0.1 > 10.0 * found.panning_rms_low


GAIN_INVARIANT = [t.name for t in FEATURE_TITLES if t.name not in ("loudness_lufs", "true_peak_db", "rms_db")]


@settings(max_examples=8, deadline=None)
@given(gain_db=st.floats(-30.0, 12.0), seed=st.integers(0, 1000), colour=st.booleans())
def test_levels_follow_the_gain_and_nothing_else_does(gain_db: float, seed: int, colour: bool) -> None:
    audio = noise(3.2, seed=seed, gain=0.05) * np.linspace(0.2, 1.0, round(3.2 * RATE_HZ), dtype=np.float32)
    audio[1] *= 0.7
    audio = pink(audio) if colour else audio
    before = features(audio, sample_rate_hz=RATE_HZ)
    after = features(np.float32(10.0 ** (gain_db / 20.0)) * audio, sample_rate_hz=RATE_HZ)
    for name in ("loudness_lufs", "true_peak_db", "rms_db"):
        assert getattr(after, name) - getattr(before, name) == pytest.approx(gain_db, abs=1e-3)
    np.testing.assert_allclose(np.subtract(after.bark_db, before.bark_db), gain_db, atol=1e-3)
    for name in GAIN_INVARIANT:
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-3, abs=1e-3)


@settings(max_examples=6, deadline=None)
@given(frames=st.integers(1, 30_000), rate_hz=st.sampled_from([300, 8000, 44100]))
def test_any_length_and_rate_gives_numbers_or_none(frames: int, rate_hz: int) -> None:
    audio = np.random.default_rng(frames).standard_normal((2, frames)).astype(np.float32)
    found = features(audio, sample_rate_hz=rate_hz)
    values = [getattr(found, t.name) for t in FEATURE_TITLES]
    assert np.isfinite([v for v in (*values, *found.bark_db) if v is not None]).all()


def test_swapped_channels_change_only_the_balance() -> None:
    audio = noise(4.0) * [[1.0], [0.3]]
    one, two = (features(a, sample_rate_hz=RATE_HZ) for a in (audio, audio[::-1]))
    assert two.imbalance == pytest.approx(-one.imbalance)
    for name in {t.name for t in FEATURE_TITLES} - {"imbalance"}:
        assert getattr(two, name) == pytest.approx(getattr(one, name), rel=1e-6)


def test_memory_does_not_grow_with_the_length() -> None:
    def peak_bytes(seconds: float) -> int:
        audio = np.zeros((2, round(seconds * RATE_HZ)), dtype=np.float32)
        audio[:] = np.sin(np.arange(audio.shape[1]))
        tracemalloc.start()
        features(audio, sample_rate_hz=RATE_HZ)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    short, long = peak_bytes(12.0), peak_bytes(48.0)
    assert long < 1.15 * short


def test_features_are_kept_in_the_result_of_verify() -> None:
    """Also results of before there were as many."""
    measured = {"real": features(noise(4.0), sample_rate_hz=RATE_HZ)}
    kept = Verification(path="a", verdict="green", features=measured)
    assert Verification.model_validate_json(kept.to_json()).features == measured
    data = json.loads(kept.to_json())
    for name in ("centroid_hz", "loudness_range_lu"):
        del data["features"]["real"][name]
    old = Verification.model_validate_json(json.dumps(data)).features["real"]
    assert isinstance(old, Features) and old.centroid_hz is None and old.width == measured["real"].width


# ------------------------------------------------------------------------------ files and pairs


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, audio: np.ndarray, *, rate_hz: int = RATE_HZ) -> Path:
        soundfile.write(tmp_path / name, audio.T, rate_hz, subtype="FLOAT")
        return tmp_path / name

    return write


def test_a_mono_file_counts_as_two_equal_channels(write: Callable[..., Path]) -> None:
    audio = noise(4.0)[:1]
    one, two = (measure_file(write(f"{len(a)}.wav", a)) for a in (audio, np.repeat(audio, 2, axis=0)))
    assert (one.channels, two.channels) == (1, 2) and one.features == two.features


def test_a_file_against_itself_and_a_copy_turned_down(write: Callable[..., Path]) -> None:
    audio = noise(4.0)
    loud = write("loud.wav", audio)
    same, quiet = measure_files([loud, write("quiet.wav", 0.5 * audio)], reference=loud).pairs
    assert set(same.differences.values()) == {0.0} and same.bark_distance_db == 0.0
    assert same.match_loss is not None and same.match_loss["total"] == pytest.approx(0.0, abs=1e-6)
    assert quiet.differences["loudness_lufs"] == pytest.approx(-6.02, abs=0.01)
    assert quiet.bark_distance_db == pytest.approx(6.02, abs=0.01)
    # Half the level: convergence 0.5, and a logarithm of ln 2 where nothing is floored.
    assert quiet.match_loss is not None and 0.9 < quiet.match_loss["total"] < 0.5 + np.log(2.0)


def test_empty_bands_do_not_count_as_different(write: Callable[..., Path]) -> None:
    one, two = tone((-6.0, 4.0)), tone((-6.0, 4.0))
    two += np.float32(1e-6) * noise(4.0)
    pair = compare(measure_file(write("1.wav", one)), measure_file(write("2.wav", two)))
    assert pair.bark_distance_db < 0.1


def test_other_rates_have_a_match_loss_and_other_lengths_have_none(write: Callable[..., Path]) -> None:
    smooth = pink(noise(4.0))
    whole = write("whole.wav", smooth)
    slower = write("slower.wav", smooth[:, ::3], rate_hz=16000)
    cut = write("cut.wav", smooth[:, : 3 * RATE_HZ])
    resampled, shorter = measure_files([slower, cut], reference=whole).pairs
    assert resampled.match_loss is not None and shorter.match_loss is None


def test_pairs_are_made_two_by_two(write: Callable[..., Path]) -> None:
    paths = [write(f"{i}.wav", noise(0.5, seed=i)) for i in range(4)]
    made = measure_files(paths, pairs=True).pairs
    assert [(p.file.path, p.reference.path) for p in made] == [(paths[0], paths[1]), (paths[2], paths[3])]
    with pytest.raises(ParameterError, match="even"):
        measure_files(paths[:3], pairs=True)
    with pytest.raises(ParameterError, match="exclude"):
        measure_files(paths, pairs=True, reference=paths[0])


# ------------------------------------------------------------------------------ the command


def call(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["measure", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_prints_a_table_with_a_line_for_each_feature(write: Callable[..., Path]) -> None:
    one, two = write("one.wav", noise(3.5)), write("two.wav", np.zeros((2, 100)))
    code, out, err = call(one, two, "--bark")
    rows = [line.split("\t") for line in out.splitlines()]
    assert (code, err) == (EXIT_OK, "")
    assert rows[0] == ["Feature", str(one), str(two)] and all(len(row) == 3 for row in rows)
    assert [row[0] for row in rows[1:]] == [*(t.heading for t in FEATURE_TITLES), *BARK_HEADINGS]
    assert rows[1][2] == "–" and float(rows[1][1]) == pytest.approx(-13.8, abs=0.2)


def test_the_command_prints_differences(write: Callable[..., Path]) -> None:
    one, two = write("one.wav", noise(3.5)), write("two.wav", 0.5 * noise(3.4))
    code, out, err = call(two, "--reference", one)
    rows = dict(line.split("\t") for line in out.splitlines())
    assert code == EXIT_OK and rows["Integrated loudness (LUFS)"] == "-6.0" and rows["Match loss L_a"] == "–"
    assert "another length" in err and len(err.splitlines()) == 1


def test_the_command_prints_json(write: Callable[..., Path]) -> None:
    one, two = write("one.wav", noise(1.0)), write("two.wav", noise(1.0, seed=1)[:1], rate_hz=44100)
    code, out, _ = call(one, two, "--pairs", "--json")
    data = json.loads(out)
    assert code == EXIT_OK and [f["channels"] for f in data["files"]] == [2, 1]
    assert set(data["files"][0]["features"]) == set(Features.__dataclass_fields__)
    (pair,) = data["pairs"]
    assert pair["match_loss"] is None and len(pair["bark_differences_db"]) == 24


def test_wrong_input_is_one_line(tmp_path: Path, write: Callable[..., Path]) -> None:
    good, broken = write("good.wav", noise(0.5)), tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF, but no more")
    wrong: list[tuple[list[object], str]] = [
        ([tmp_path / "missing.wav"], "no such file"),
        ([tmp_path], "not a file"),
        ([broken], "broken.wav"),
        ([write("nan.wav", np.full((2, 100), np.nan))], "NaN"),
        ([write("six.wav", np.zeros((6, 100)))], "6 channels"),
        ([good, "--reference", tmp_path / "missing.wav"], "no such file"),
        ([good, "--pairs"], "even number"),
    ]
    for arguments, words in wrong:
        code, out, err = call(*arguments)
        assert (code, out) == (EXIT_USER_ERROR, "") and words in err and len(err.splitlines()) == 1
