"""Specifications and reference DSP: neutral defaults, published equations, independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pedalboard
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbridge.bridge.errors import ParameterError
from mixbridge.bridge.processors import equations as eq
from mixbridge.bridge.processors.reference import (
    apply_processor,
    eq_sections,
    limiter_gain,
    reverb_impulse_response,
    reverb_noise,
)
from mixbridge.bridge.processors.specs import CHAIN_ORDER, SPECS, spec_of

from .dsp import RATES_HZ, null_db, programme, random_parameters


def run(kind: str, audio: np.ndarray, rate_hz: float = 44100, mix: float = 1.0, **changes: float) -> np.ndarray:
    parameters = {**spec_of(kind).defaults(), **changes}
    return apply_processor(kind, audio, parameters=parameters, sample_rate_hz=rate_hz, mix=mix)


@pytest.mark.parametrize("kind", ["eq", "compressor", "gate", "saturation", "imager", "gain_pan"])
def test_defaults_leave_the_signal_unchanged(kind: str) -> None:
    audio = programme(seconds=1.0)
    assert null_db(run(kind, audio), audio) < -250.0


def test_a_limiter_at_its_defaults_leaves_what_is_within_full_scale() -> None:
    audio = programme(seconds=1.0)
    assert np.array_equal(run("limiter", audio / np.abs(audio).max()), audio / np.abs(audio).max())
    assert np.abs(run("limiter", 2.0 * audio)).max() == 1.0


@pytest.mark.parametrize("kind", ["delay", "reverb"])
def test_wet_paths_are_silent_at_their_defaults(kind: str) -> None:
    assert not run(kind, programme(seconds=1.0)).any()


@pytest.mark.parametrize("kind", list(SPECS))
def test_mix_blends_dry_and_wet(kind: str) -> None:
    audio = programme(seconds=0.7)
    parameters = random_parameters(spec_of(kind), np.random.default_rng(3))
    wet = apply_processor(kind, audio, parameters=parameters, sample_rate_hz=44100)
    half = apply_processor(kind, audio, parameters=parameters, sample_rate_hz=44100, mix=0.3)
    assert null_db(half, 0.3 * wet + 0.7 * audio) < -250.0


@pytest.mark.parametrize("kind", list(SPECS))
def test_processors_are_causal_and_finite(kind: str) -> None:
    random = np.random.default_rng(5)
    audio = programme(seconds=0.6)
    later = audio.copy()
    later[:, 10000:] = 0.0
    # The limiter alone sees ahead, and no further than it says.
    same = 10000 - (eq.limiter_look_ahead(44100) if kind == "limiter" else 0)
    for _ in range(4):
        parameters = random_parameters(spec_of(kind), random)
        whole, cut = (apply_processor(kind, a, parameters=parameters, sample_rate_hz=44100) for a in (audio, later))
        assert np.isfinite(whole).all()
        # Convolution by FFT spreads rounding errors over the block.
        np.testing.assert_allclose(whole[:, :same], cut[:, :same], atol=1e-9)


@pytest.mark.parametrize("kind", [k for k, s in SPECS.items() if s.linear])
def test_types_called_linear_are_linear(kind: str) -> None:
    random = np.random.default_rng(8)
    parameters = random_parameters(spec_of(kind), random)
    one, two = random.standard_normal((2, 2, 8000))
    joint, first, second = (
        apply_processor(kind, a, parameters=parameters, sample_rate_hz=48000) for a in (0.5 * one - 2.0 * two, one, two)
    )
    np.testing.assert_allclose(joint, 0.5 * first - 2.0 * second, atol=1e-9)


@given(pan=st.floats(-1.0, 1.0), gain_db=st.floats(-40.0, 20.0))
def test_gain_and_pan_inverts_pan_gains(pan: float, gain_db: float) -> None:
    left, right = (float(g) * 10 ** (gain_db / 20) for g in eq.pan_gains(pan, xp=np))
    gain, found_pan = eq.gain_and_pan(max(left, 0.0), max(right, 0.0))
    assert 20 * math.log10(gain) == pytest.approx(gain_db, abs=1e-9)
    assert found_pan == pytest.approx(pan, abs=1e-9)


def test_pan_has_unity_at_the_centre_and_constant_power() -> None:
    assert eq.pan_gains(0.0, xp=np) == pytest.approx((1.0, 1.0))
    left, right = eq.pan_gains(np.linspace(-1, 1, 21), xp=np)
    np.testing.assert_allclose(left**2 + right**2, 2.0)


@pytest.mark.parametrize(
    ("band", "effect"),
    [
        ("bell1", lambda hz, db, q: pedalboard.PeakFilter(hz, db, q)),
        ("low_shelf", lambda hz, db, q: pedalboard.LowShelfFilter(hz, db, q)),
        ("high_shelf", lambda hz, db, q: pedalboard.HighShelfFilter(hz, db, q)),
    ],
)
def test_bands_equal_an_independent_rbj_filter(band: str, effect: object) -> None:
    # Pedalboard's filters are RBJ with the same Q; single precision limits them to about -70 dB here.
    audio = programme(seconds=1.0)
    mine = run("eq", audio, **{f"{band}_hz": 2200.0, f"{band}_db": 7.5, f"{band}_q": 1.3})
    theirs = effect(2200.0, 7.5, 1.3)(audio.astype(np.float32), 44100)  # type: ignore[operator]
    assert null_db(mine, theirs) < -70.0


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_passes_are_butterworth(rate_hz: int) -> None:
    defaults = spec_of("eq").defaults()
    sections = eq_sections({**defaults, "highpass_hz": 120.0, "lowpass_hz": 9000.0}, sample_rate_hz=rate_hz)
    assert len(sections) == 2
    for section, kind, edge_hz in zip(sections, ("highpass", "lowpass"), (120.0, 9000.0), strict=True):
        expected = scipy.signal.butter(2, edge_hz, kind, fs=rate_hz, output="sos")[0]
        np.testing.assert_allclose(section, expected, atol=1e-9)


def test_eq_bands_have_their_gain_at_their_frequency() -> None:
    sections = eq_sections({**spec_of("eq").defaults(), "bell3_hz": 1000.0, "bell3_db": -6.0}, sample_rate_hz=48000)
    _, response = scipy.signal.sosfreqz(sections, worN=[1000.0], fs=48000)
    assert 20 * math.log10(abs(response[0])) == pytest.approx(-6.0, abs=1e-6)


def test_compressor_static_curve() -> None:
    level = np.array([-60.0, -30.0, -20.0, -10.0, 0.0])
    hard = eq.compressor_gain_db(level, threshold_db=-20.0, ratio=4.0, knee_db=0.0, xp=np)
    np.testing.assert_allclose(hard, [0.0, 0.0, 0.0, -7.5, -15.0], atol=1e-6)
    soft = eq.compressor_gain_db(level, threshold_db=-20.0, ratio=4.0, knee_db=8.0, xp=np)
    np.testing.assert_allclose(soft, [0.0, 0.0, -0.75, -7.5, -15.0], atol=1e-6)


def test_gate_static_curve_stops_at_its_range() -> None:
    level = np.array([-90.0, -50.0, -40.0, -20.0])
    gain = eq.gate_gain_db(level, threshold_db=-40.0, ratio=3.0, range_db=25.0, knee_db=0.0, xp=np)
    np.testing.assert_allclose(gain, [-25.0, -20.0, 0.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_attack_and_release_reach_63_percent_at_the_stated_time(rate_hz: int) -> None:
    frames = rate_hz // 2
    step = np.zeros((2, frames))
    step[:, : frames // 2] = 0.5
    from mixbridge.bridge.processors.reference import detector_level_db

    parameters = {**spec_of("compressor").defaults(), "attack_ms": 20.0, "release_ms": 50.0}
    envelope = 10 ** (detector_level_db(step, parameters, sample_rate_hz=rate_hz)[0] / 20)
    attack = int(0.020 * rate_hz)
    assert envelope[attack - 1] == pytest.approx(0.5 * (1 - math.exp(-1)), rel=1e-3)
    release = frames // 2 + int(0.050 * rate_hz)
    assert envelope[release - 1] == pytest.approx(envelope[frames // 2 - 1] * math.exp(-1), rel=1e-3)


def test_compressor_equals_pedalboard_where_their_laws_agree() -> None:
    # Pedalboard's compressor is hard-kneed and per channel; its "10 ms" is our 10 / (2 pi) ms.
    audio = np.repeat(programme(seconds=2.0)[:1], 2, axis=0)
    mine = run(
        "compressor",
        audio,
        threshold_db=-24.0,
        ratio=4.0,
        knee_db=0.0,
        attack_ms=12.0 / (2 * math.pi),
        release_ms=150.0 / (2 * math.pi),
    )
    theirs = pedalboard.Compressor(threshold_db=-24.0, ratio=4.0, attack_ms=12.0, release_ms=150.0)(
        audio.astype(np.float32), 44100
    )
    assert null_db(mine, theirs) < -90.0


def test_dynamics_are_stereo_linked() -> None:
    audio = programme(seconds=1.0)
    audio[1] *= 0.01
    out = run("compressor", audio, threshold_db=-30.0, ratio=8.0)
    loud = np.abs(audio) > 1e-4
    ratio = np.where(loud, out / np.where(loud, audio, 1.0), np.nan)
    np.testing.assert_allclose(ratio[0][loud.all(axis=0)], ratio[1][loud.all(axis=0)], rtol=1e-9)


# --------------------------------------------------------------- saturation and limiter


@given(
    drive_db=st.floats(0.0, 36.0),
    levels=st.lists(st.floats(-40.0, 40.0), min_size=1, max_size=20),
)
def test_saturation_is_odd_rising_never_louder_and_bounded(drive_db: float, levels: list[float]) -> None:
    x = np.sort(np.array([*levels, *(-np.array(levels))]))
    y = run("saturation", np.stack([x, -x]), drive_db=drive_db)
    np.testing.assert_array_equal(y[0], -y[1])
    # But for rounding.
    assert (np.diff(y[0]) >= -1e-14).all()
    assert (np.abs(y) <= np.abs(x) * (1 + 1e-14)).all()
    bound = np.sqrt(10 ** (drive_db / 10) - 1)
    assert bound == 0.0 or np.abs(y).max() <= (1 + 1e-12) / bound


@pytest.mark.parametrize("drive_db", [0.5, 6.0, 36.0])
def test_saturation_is_a_hyperbolic_tangent_with_unity_gain_when_quiet(drive_db: float) -> None:
    scale = math.sqrt(10 ** (drive_db / 10) - 1)
    x = np.concatenate([np.linspace(-3.0, 3.0, 1001), np.geomspace(1e-9, 1e-3, 50)])
    y = run("saturation", np.stack([x, x]), drive_db=drive_db)
    np.testing.assert_allclose(y[0], np.tanh(scale * x) / scale, rtol=1e-12)
    assert run("saturation", np.full((2, 1), 1e-6), drive_db=drive_db)[0, 0] == pytest.approx(1e-6, rel=1e-6)


def test_saturation_equals_an_independent_waveshaper() -> None:
    audio = programme(seconds=0.5)
    scale = math.sqrt(10**1.2 - 1)
    theirs = pedalboard.Distortion(drive_db=20 * math.log10(scale))(audio.astype(np.float32), 44100) / scale
    assert null_db(run("saturation", audio, drive_db=12.0), theirs) < -120.0


@pytest.mark.parametrize("square", [0.0, 1e-8, 0.0099, 0.0101, 0.5, 30.0])
@pytest.mark.parametrize("x", [-0.7, 1.3])
def test_slopes_of_the_saturation_are_those_of_its_curve(square: float, x: float) -> None:
    shape, step = square / x**2, 1e-5
    by_x, by_shape = eq.saturation_slopes(x, eq.saturated(x, shape, xp=np), shape, xp=np)
    rise_x, rise_shape = (
        (eq.saturated(x + dx, shape + dz, xp=np) - eq.saturated(x - dx, shape - dz, xp=np)) / (2 * step)
        for dx, dz in ((step, 0.0), (0.0, step))
    )
    assert by_x == pytest.approx(rise_x, rel=1e-6, abs=1e-9)
    assert by_shape == pytest.approx(rise_shape, rel=1e-5)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_sample_ends_above_the_ceiling(data: st.DataObject) -> None:
    rate_hz = data.draw(st.sampled_from([8000, *RATES_HZ]))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    parameters = random_parameters(spec_of("limiter"), random)
    audio = random.standard_normal((2, data.draw(st.integers(1, 2000)))) * random.random((2, 1)) ** 4 * 10
    # Peaks anywhere, at the very ends as well.
    for place in data.draw(st.lists(st.integers(-1, audio.shape[1] - 1), max_size=5)):
        audio[data.draw(st.integers(0, 1)), place] = data.draw(st.floats(-100.0, 100.0))
    out = apply_processor("limiter", audio, parameters=parameters, sample_rate_hz=rate_hz)
    ceiling = 10 ** (parameters["ceiling_db"] / 20)
    assert np.abs(out).max() <= ceiling
    # The clip at the end takes away rounding errors alone.
    driven = audio * 10 ** (parameters["gain_db"] / 20)
    gain = limiter_gain(driven, parameters, sample_rate_hz=rate_hz)
    assert np.abs(driven * gain).max() <= ceiling * (1 + 1e-9)
    assert gain.min() > 0.0 and gain.max() <= 1.0 + 1e-12


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_limiter_comes_down_within_its_look_ahead_and_goes_back_with_its_release(rate_hz: int) -> None:
    ahead, place = eq.limiter_look_ahead(rate_hz), rate_hz // 4
    assert ahead == pytest.approx(0.003 * rate_hz, abs=0.5)
    audio = np.zeros((2, rate_hz))
    audio[1, place] = 2.0
    parameters = {**spec_of("limiter").defaults(), "ceiling_db": -6.0, "release_ms": 50.0}
    gain = limiter_gain(audio, parameters, sample_rate_hz=rate_hz)
    assert gain[place] == pytest.approx(0.5 * 10 ** (-6 / 20))
    np.testing.assert_allclose(gain[: place - ahead], 1.0, atol=1e-12)
    assert (np.diff(gain[place - ahead : place + 1]) <= 1e-12).all()
    assert (np.diff(gain[place + 1 + ahead :]) >= -1e-12).all()
    later = place + 2 * ahead + np.array([0, round(0.05 * rate_hz)])
    assert np.divide(*(1.0 - gain[later])) == pytest.approx(math.e, rel=1e-2)


def test_a_limiter_holds_both_channels_together() -> None:
    audio = programme(seconds=0.5)
    audio[0] *= 0.1
    out = run("limiter", audio, ceiling_db=-12.0, gain_db=6.0)
    clear = np.abs(audio).min(axis=0) > 1e-3
    np.testing.assert_allclose((out[0] / audio[0])[clear], (out[1] / audio[1])[clear], rtol=1e-9)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_delay_taps_land_on_whole_samples(rate_hz: int) -> None:
    impulse = np.zeros((2, rate_hz))
    impulse[:, 0] = 1.0
    out = run("delay", impulse, rate_hz, tap2_time_ms=333.3, tap2_level_db=-6.0, tap2_pan=1.0)
    place = round(0.3333 * rate_hz)
    assert np.flatnonzero(np.abs(out[1]) > 1e-12).tolist() == [place]
    assert out[1, place] == pytest.approx(10 ** (-6 / 20) * math.sqrt(2))
    assert np.abs(out[0]).max() < 1e-12


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_reverb_decays_as_stated_in_its_mid_band(rate_hz: int) -> None:
    parameters = {**spec_of("reverb").defaults(), "decay_s": 1.2}
    response = reverb_impulse_response(parameters, sample_rate_hz=rate_hz)[0]
    band = scipy.signal.sosfilt(scipy.signal.butter(4, [700, 1400], "band", fs=rate_hz, output="sos"), response)
    energy = np.cumsum(band[::-1] ** 2)[::-1]
    curve = 10 * np.log10(energy / energy[0])
    start, stop = (int(np.argmax(curve < level)) for level in (-5.0, -25.0))
    assert 3.0 * (stop - start) / rate_hz == pytest.approx(1.2, rel=0.12)


def test_reverb_level_does_not_depend_on_rate_or_decay() -> None:
    random = np.random.default_rng(2)
    levels = []
    for rate_hz in RATES_HZ:
        for decay_s in (0.4, 2.0):
            noise = random.standard_normal((1, 4 * rate_hz))
            band = scipy.signal.butter(4, [500, 2000], "band", fs=rate_hz, output="sos")
            dry = np.repeat(scipy.signal.sosfilt(band, noise), 2, axis=0)
            wet = run("reverb", dry, rate_hz, level_db=0.0, decay_s=decay_s, width=0.0)
            levels.append(10 * math.log10(np.mean(wet[:, 2 * rate_hz :] ** 2) / np.mean(dry[:, 2 * rate_hz :] ** 2)))
    assert max(levels) - min(levels) < 2.0


def test_reverb_noise_is_the_documented_generator() -> None:
    state, expected = eq.REVERB_SEEDS[0], []
    for _ in range(2000):
        state = eq.LCG_MULTIPLIER * state % eq.LCG_MODULUS
        expected.append(2 * state / eq.LCG_MODULUS - 1)
    np.testing.assert_allclose(reverb_noise(2000, sample_rate_hz=44100)[0].sum(axis=0), expected, atol=1e-12)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_out_of_range_values_are_refused_by_name(data: st.DataObject) -> None:
    spec = spec_of(data.draw(st.sampled_from(CHAIN_ORDER)))
    parameter = data.draw(st.sampled_from(spec.parameters))
    bad = data.draw(
        st.one_of(
            st.floats(max_value=parameter.minimum, exclude_max=True),
            st.floats(min_value=parameter.maximum, exclude_min=True),
            st.just(math.nan),
        )
    )
    with pytest.raises(ParameterError, match=parameter.name):
        spec.check({**spec.defaults(), parameter.name: bad})


def test_unknown_and_missing_parameters_are_refused_by_name() -> None:
    with pytest.raises(ParameterError, match="wobble"):
        spec_of("imager").check({"width": 1.0, "wobble": 0.0})
    with pytest.raises(ParameterError, match="width"):
        spec_of("imager").check({})
    with pytest.raises(ParameterError, match="flanger"):
        spec_of("flanger")


def test_every_default_is_in_range_and_off_ends_are_ends() -> None:
    for spec in SPECS.values():
        spec.check(spec.defaults())
        assert len(set(spec.names)) == len(spec.names)
        for parameter in spec.parameters:
            assert parameter.off_at in (None, parameter.minimum, parameter.maximum)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ParameterError, match="shape"):
        run("imager", np.zeros((3, 10)))
