"""Sample-accurate reference DSP of every processor type, float64, any sample rate.

Recursions are compiled with numba; closed forms come from `equations`. This module is the
authority: twins, JSFX and plugin profiles are accepted by null tests against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numba
import numpy as np
import numpy.typing as npt
import scipy.ndimage
import scipy.signal

from ..errors import ParameterError
from . import equations as eq
from . import freeverb
from .laws import REFERENCE, Law, law_of
from .specs import BELLS, DELAY, DELAY_TAPS, EQ, MIX, REVERB, spec_of

Audio = npt.NDArray[np.float64]
Parameters = Mapping[str, float]


def apply_processor(
    processor_type: str,
    audio: npt.ArrayLike,
    *,
    parameters: Parameters,
    sample_rate_hz: float,
    mix: float = 1.0,
    law: str = "",
) -> Audio:
    """Run one processor over a whole signal: ``mix * f(u) + (1 - mix) * u``.

    Parameters
    ----------
    processor_type : str
        Key of `specs.SPECS`.
    audio : array, shape=(2, n)
        Stereo signal; full scale is 1.
    parameters : mapping of str to float
        All parameters of the type in physical units.
    sample_rate_hz : float > 0
    mix : float, 0 to 1
    law : str
        Key of `laws.LAWS`; empty for ours.

    Returns
    -------
    array of float64, shape=(2, n)
        Tails beyond the input's length are cut.

    Raises
    ------
    ParameterError
        If the type, a parameter, the law or the shape is wrong.
    """
    values = spec_of(processor_type).check(parameters)
    MIX.check(mix)
    chosen = law_of(law, processor_type)
    dry = np.asarray(audio, dtype=np.float64)
    if dry.ndim != 2 or dry.shape[0] != 2:
        raise ParameterError(f"audio: expected shape (2, n), got {dry.shape}")
    if dry.shape[1] == 0 or mix == 0.0:
        return dry.copy()
    wet = _PROCESSORS[processor_type](dry, values, float(sample_rate_hz), chosen)
    return wet if mix == 1.0 else mix * wet + (1.0 - mix) * dry


# ------------------------------------------------------------------------------- linear


def eq_sections(parameters: Parameters, *, sample_rate_hz: float, law: Law = REFERENCE) -> Audio:
    """Active sections of the parametric EQ as second-order sections.

    Returns
    -------
    array, shape=(sections, 6)
        ``b0 b1 b2 1 a1 a2`` per row; bypassed passes and 0 dB bands are left out.
    """
    rows = []
    if parameters["highpass_hz"] != EQ.parameter("highpass_hz").off_at:
        rows += [_section("highpass", parameters["highpass_hz"], 0.0, q, sample_rate_hz) for q in law.pass_qs]
    bands = ["low_shelf", *(f"bell{n}" for n in range(1, BELLS + 1)), "high_shelf"]
    for band in bands:
        if parameters[f"{band}_db"] != 0.0:
            kind: eq.BiquadKind = "low_shelf" if band == "low_shelf" else "bell"
            if band == "high_shelf":
                kind = "high_shelf"
            rows.append(
                _section(
                    kind, parameters[f"{band}_hz"], parameters[f"{band}_db"], parameters[f"{band}_q"], sample_rate_hz
                )
            )
    if parameters["lowpass_hz"] != EQ.parameter("lowpass_hz").off_at:
        rows += [_section("lowpass", parameters["lowpass_hz"], 0.0, q, sample_rate_hz) for q in law.pass_qs]
    return np.array(rows, dtype=np.float64).reshape(-1, 6)


def _section(kind: eq.BiquadKind, frequency_hz: float, gain_db: float, q: float, sample_rate_hz: float) -> list[float]:
    b0, b1, b2, a1, a2 = eq.biquad(
        kind, frequency_hz=frequency_hz, gain_db=gain_db, q=q, sample_rate_hz=sample_rate_hz, xp=np
    )
    return [float(b0), float(b1), float(b2), 1.0, float(a1), float(a2)]


def _filter(audio: Audio, sections: Audio) -> Audio:
    if not len(sections):
        return audio.copy()
    return np.asarray(scipy.signal.sosfilt(sections, audio, axis=-1))


def _eq(audio: Audio, p: Parameters, rate: float, law: Law) -> Audio:
    return _filter(audio, eq_sections(p, sample_rate_hz=rate, law=law))


def _imager(audio: Audio, p: Parameters, rate: float, law: Law) -> Audio:
    mid = 0.5 * (audio[0] + audio[1])
    side = 0.5 * p["width"] * (audio[0] - audio[1])
    return np.stack([mid + side, mid - side])


def _gain_pan(audio: Audio, p: Parameters, rate: float, law: Law) -> Audio:
    left, right = eq.pan_gains(p["pan"], xp=np)
    gain = eq.db_to_gain(p["gain_db"])
    return np.asarray(audio * np.array([[gain * left], [gain * right]]))


def delay_samples(time_ms: float, *, sample_rate_hz: float) -> int:
    """Delay times are whole samples, rounded half up."""
    return math.floor(time_ms * sample_rate_hz / 1000.0 + 0.5)


def cut_sections(
    low_cut_hz: float, high_cut_hz: float, *, low_off: float, high_off: float, rate: float, law: Law = REFERENCE
) -> Audio:
    """Low and high cut of a wet path as second-order sections, none where a cut is off."""
    rows = []
    if low_cut_hz != low_off:
        rows += [_section("highpass", low_cut_hz, 0.0, q, rate) for q in law.cut_qs]
    if high_cut_hz != high_off:
        rows += [_section("lowpass", high_cut_hz, 0.0, q, rate) for q in law.cut_qs]
    return np.array(rows, dtype=np.float64).reshape(-1, 6)


def _delay(audio: Audio, p: Parameters, rate: float, law: Law) -> Audio:
    out = np.zeros_like(audio)
    n = audio.shape[1]
    low_off = DELAY.parameter("tap1_low_cut_hz").off_at or 0.0
    high_off = DELAY.parameter("tap1_high_cut_hz").off_at or 0.0
    for tap in range(1, DELAY_TAPS + 1):
        level_db = p[f"tap{tap}_level_db"]
        lag = delay_samples(p[f"tap{tap}_time_ms"], sample_rate_hz=rate)
        if level_db == DELAY.parameter(f"tap{tap}_level_db").off_at or lag >= n:
            continue
        sections = cut_sections(
            p[f"tap{tap}_low_cut_hz"],
            p[f"tap{tap}_high_cut_hz"],
            low_off=low_off,
            high_off=high_off,
            rate=rate,
            law=law,
        )
        left, right = eq.pan_gains(p[f"tap{tap}_pan"], xp=np)
        gain = eq.db_to_gain(level_db)
        out[:, lag:] += _filter(audio[:, : n - lag], sections) * np.array([[gain * left], [gain * right]])
    return out


# ------------------------------------------------------------------------------- reverb


@numba.njit(cache=True, nogil=True)
def _noise_bands(seed: float, n: int, k_low: float, k_high: float, multiplier: float, modulus: float) -> Audio:
    """Low, mid and high part of the generator's white noise; they sum to the noise."""
    bands = np.empty((3, n))
    state, low, high = seed, 0.0, 0.0
    for i in range(n):
        product = multiplier * state
        state = product - modulus * math.floor(product / modulus)
        x = 2.0 * state / modulus - 1.0
        low += k_low * (x - low)
        high += k_high * (x - high)
        bands[0, i] = low
        bands[1, i] = high - low
        bands[2, i] = x - high
    return bands


def reverb_noise(n: int, *, sample_rate_hz: float) -> Audio:
    """The reverb's raw material: band-split noise of the mid and the side.

    Returns
    -------
    array, shape=(2, 3, n)
        Axis 0: mid, side; axis 1: low, mid, high band.
    """
    steps = [1.0 - math.exp(-2.0 * math.pi * f / sample_rate_hz) for f in eq.REVERB_CROSSOVERS_HZ]
    low, high = steps
    multiplier, modulus = float(eq.LCG_MULTIPLIER), float(eq.LCG_MODULUS)
    return np.stack([_noise_bands(float(seed), n, low, high, multiplier, modulus) for seed in eq.REVERB_SEEDS])


def reverb_decays_s(p: Parameters) -> tuple[float, float, float]:
    """RT60 of the low, mid and high band."""
    return p["decay_s"] * p["low_decay_ratio"], p["decay_s"], p["decay_s"] * p["high_decay_ratio"]


def reverb_length(p: Parameters, *, sample_rate_hz: float, law: Law = REFERENCE) -> int:
    """Length of the impulse response without pre-delay, in samples; where it has no end, until it is inaudible."""
    if law.reverb == "freeverb":
        return freeverb.response_length(p, sample_rate_hz=sample_rate_hz)
    return int(sample_rate_hz * min(1.2 * max(reverb_decays_s(p)), eq.REVERB_MAX_S))


def reverb_impulse_response(p: Parameters, *, sample_rate_hz: float) -> Audio:
    """Left and right impulse response without pre-delay, cuts and level.

    Scaled so that the mid band of the mid signal has the energy ``2 B / rate`` (`B` is
    `equations.REVERB_BANDWIDTH_HZ`): the level depends neither on the decay time nor on the rate.

    Returns
    -------
    array, shape=(2, n)
    """
    n = reverb_length(p, sample_rate_hz=sample_rate_hz)
    bands = reverb_noise(n, sample_rate_hz=sample_rate_hz)
    time_s = np.arange(n) / sample_rate_hz
    envelopes = np.exp(-eq.LOG_60_DB * time_s / np.array(reverb_decays_s(p))[:, None])
    bands *= envelopes
    norm = math.sqrt(2.0 * eq.REVERB_BANDWIDTH_HZ / (sample_rate_hz * float(np.sum(bands[0, 1] ** 2))))
    mid, side = norm * bands.sum(axis=1)
    side *= p["width"]
    return np.stack([mid + side, mid - side])


def _reverb(audio: Audio, p: Parameters, rate: float, law: Law) -> Audio:
    out = np.zeros_like(audio)
    n = audio.shape[1]
    lag = delay_samples(p["pre_delay_ms"], sample_rate_hz=rate)
    if p["level_db"] == REVERB.parameter("level_db").off_at or lag >= n:
        return out
    sections = cut_sections(
        p["low_cut_hz"],
        p["high_cut_hz"],
        low_off=REVERB.parameter("low_cut_hz").off_at or 0.0,
        high_off=REVERB.parameter("high_cut_hz").off_at or 0.0,
        rate=rate,
        law=law,
    )
    send = _filter(0.5 * (audio[:1] + audio[1:]), sections)[0, : n - lag] * eq.db_to_gain(p["level_db"])
    if law.reverb == "freeverb":
        out[:, lag:] = freeverb.reverberated(send, p, sample_rate_hz=rate)
        return out
    response = reverb_impulse_response(p, sample_rate_hz=rate)
    for channel in range(2):
        out[channel, lag:] = scipy.signal.oaconvolve(send, response[channel])[: n - lag]
    return out


# ------------------------------------------------------------------------------- dynamics


@numba.njit(cache=True, nogil=True)
def _follow(rectified: Audio, k_attack: float, k_release: float) -> Audio:
    envelope = np.empty_like(rectified)
    state = 0.0
    for i in range(rectified.shape[0]):
        step = rectified[i] - state
        state += (k_attack if step > 0.0 else k_release) * step
        envelope[i] = state
    return envelope


def _steps(p: Parameters, rate: float) -> tuple[float, float]:
    attack, release = (eq.time_constant(p[n], sample_rate_hz=rate, xp=np) for n in ("attack_ms", "release_ms"))
    return float(attack), float(release)


def _to_db(magnitude: Audio) -> Audio:
    return np.asarray(20.0 * np.log10(np.maximum(magnitude, eq.db_to_gain(eq.LEVEL_FLOOR_DB))))


def _detected(audio: Audio, law: Law) -> Audio:
    """Magnitudes that dynamics listen to, shape (1, n) if the channels are linked, else (2, n)."""
    magnitude = np.abs(audio)
    return magnitude.max(axis=0, keepdims=True) if law.linked else magnitude


def detector_level_db(audio: Audio, p: Parameters, *, sample_rate_hz: float, law: Law = REFERENCE) -> Audio:
    """Detector of compressor and gate: peak, branching one-pole, in dB.

    The larger of the two channels' magnitudes (each channel's own where a law does not link them)
    is followed with the attack constant when it is above the envelope and with the release
    constant otherwise, starting from silence.

    Returns
    -------
    array, shape=(1, n) or (2, n)
        dBFS, not below `equations.LEVEL_FLOOR_DB`.
    """
    attack, release = _steps(p, sample_rate_hz)
    return _to_db(np.stack([_follow(row, attack, release) for row in _detected(audio, law)]))


def _compressor(audio: Audio, p: Parameters, rate: float, law: Law) -> Audio:
    static = {name: p[name] for name in ("threshold_db", "ratio", "knee_db")}
    if law.compressor_detector == "gain_reduction":
        reduction = -eq.compressor_gain_db(_to_db(_detected(audio, law)), **static, xp=np)
        gain = -np.stack([_follow(row, *_steps(p, rate)) for row in reduction])
    else:
        level = detector_level_db(audio, p, sample_rate_hz=rate, law=law)
        gain = eq.compressor_gain_db(level, **static, xp=np)
    return np.asarray(audio * eq.db_to_gain(gain + p["makeup_db"]))


def _gate(audio: Audio, p: Parameters, rate: float, law: Law) -> Audio:
    if law.gate == "switch":
        return audio * _switched_gain(audio, p, rate)
    if law.gate == "power":
        # Mean square with a release of its own, and neither knee nor floor.
        release = eq.time_constant(eq.RMS_RELEASE_MS, sample_rate_hz=rate, xp=np)
        power = np.stack([_follow(row * row, 1.0, float(release)) for row in _detected(audio, law)])
        level = _to_db(np.stack([_follow(row, *_steps(p, rate)) for row in np.sqrt(power)]))
        p = {**p, "range_db": np.inf}
    else:
        level = detector_level_db(audio, p, sample_rate_hz=rate, law=law)
    static = {name: p[name] for name in ("threshold_db", "ratio", "range_db", "knee_db")}
    return np.asarray(audio * eq.db_to_gain(law.gate_curve(level, **static, xp=np)))


def _switched_gain(audio: Audio, p: Parameters, rate: float) -> Audio:
    """Gain of an on/off gate on the RMS of `equations.SWITCH_WINDOW` samples with linear ramps."""
    total = np.concatenate([np.zeros((2, 1)), np.cumsum(audio * audio, axis=1)], axis=1)
    total[:, eq.SWITCH_WINDOW :] -= total[:, : -eq.SWITCH_WINDOW].copy()
    rms = np.sqrt(np.maximum(total[:, 1:], 0.0) / eq.SWITCH_WINDOW).max(axis=0)
    floor = 0.0 if p["range_db"] >= eq.SWITCH_MUTE_DB else eq.db_to_gain(-p["range_db"])
    up, down = (1000.0 / (p[name] * rate) for name in ("attack_ms", "release_ms"))
    return _ramp(rms > eq.db_to_gain(p["threshold_db"]), up, down, floor)


@numba.njit(cache=True, nogil=True)
def _ramp(is_open: npt.NDArray[np.bool_], up: float, down: float, floor: float) -> Audio:
    gains = np.empty(is_open.shape[0])
    gain = 0.0
    for i in range(is_open.shape[0]):
        gain = min(1.0, gain + up) if is_open[i] else max(floor, gain - down)
        gains[i] = gain
    return gains


def _saturation(audio: Audio, p: Parameters, rate: float, law: Law) -> Audio:
    return np.asarray(eq.saturated(audio, eq.saturation_shape(p["drive_db"]), xp=np))


def _limiter(audio: Audio, p: Parameters, rate: float, law: Law) -> Audio:
    driven = audio * eq.db_to_gain(p["gain_db"])
    ceiling = eq.db_to_gain(p["ceiling_db"])
    # The averages leave rounding errors, which must not exceed the ceiling either.
    return np.asarray(np.clip(driven * limiter_gain(driven, p, sample_rate_hz=rate), -ceiling, ceiling))


def limiter_gain(driven: Audio, p: Parameters, *, sample_rate_hz: float) -> Audio:
    """Linear gain (0 to 1) of the limiter for a signal that has had its input gain.

    Parameters
    ----------
    driven : array, shape=(2, n)

    Returns
    -------
    array, shape=(n,)
        In time with the signal: the look-ahead is no delay here. Silence is assumed before and after it.
    """
    ahead = eq.limiter_look_ahead(sample_rate_hz)
    needed = eq.limiter_reduction(np.abs(driven).max(axis=0), eq.db_to_gain(p["ceiling_db"]), xp=np)
    # From `ahead` samples before the signal on: the gain is on its way when the first sample comes.
    padded = np.pad(needed, ahead)
    window = ahead + 1
    held = scipy.ndimage.maximum_filter1d(padded, window, origin=-(window // 2))[: len(padded) - ahead]
    release = eq.time_constant(p["release_ms"], sample_rate_hz=sample_rate_hz, xp=np)
    first, second = (np.full(length, 1.0 / length) for length in eq.limiter_boxes(ahead))
    smooth = scipy.signal.oaconvolve(_follow(held, 1.0, float(release)), np.convolve(first, second), mode="valid")
    return np.asarray(1.0 - smooth)


_PROCESSORS: dict[str, Callable[[Audio, Parameters, float, Law], Audio]] = {
    "eq": _eq,
    "compressor": _compressor,
    "gate": _gate,
    "saturation": _saturation,
    "imager": _imager,
    "gain_pan": _gain_pan,
    "delay": _delay,
    "reverb": _reverb,
    "limiter": _limiter,
}
