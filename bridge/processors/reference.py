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
import scipy.signal

from ..errors import ParameterError
from . import equations as eq
from .specs import BELLS, DELAY, DELAY_TAPS, EQ, MIX, REVERB, spec_of

Audio = npt.NDArray[np.float64]
Parameters = Mapping[str, float]


def apply_processor(
    processor_type: str, audio: npt.ArrayLike, *, parameters: Parameters, sample_rate_hz: float, mix: float = 1.0
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

    Returns
    -------
    array of float64, shape=(2, n)
        Tails beyond the input's length are cut.

    Raises
    ------
    ParameterError
        If the type, a parameter or the shape is wrong.
    """
    values = spec_of(processor_type).check(parameters)
    MIX.check(mix)
    dry = np.asarray(audio, dtype=np.float64)
    if dry.ndim != 2 or dry.shape[0] != 2:
        raise ParameterError(f"audio: expected shape (2, n), got {dry.shape}")
    if dry.shape[1] == 0 or mix == 0.0:
        return dry.copy()
    wet = _PROCESSORS[processor_type](dry, values, float(sample_rate_hz))
    return wet if mix == 1.0 else mix * wet + (1.0 - mix) * dry


# ------------------------------------------------------------------------------- linear


def eq_sections(parameters: Parameters, *, sample_rate_hz: float) -> Audio:
    """Active sections of the parametric EQ as second-order sections.

    Returns
    -------
    array, shape=(sections, 6)
        ``b0 b1 b2 1 a1 a2`` per row; bypassed passes and 0 dB bands are left out.
    """
    rows = []
    if parameters["highpass_hz"] != EQ.parameter("highpass_hz").off_at:
        rows.append(_section("highpass", parameters["highpass_hz"], 0.0, eq.BUTTERWORTH_Q, sample_rate_hz))
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
        rows.append(_section("lowpass", parameters["lowpass_hz"], 0.0, eq.BUTTERWORTH_Q, sample_rate_hz))
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


def _eq(audio: Audio, p: Parameters, rate: float) -> Audio:
    return _filter(audio, eq_sections(p, sample_rate_hz=rate))


def _imager(audio: Audio, p: Parameters, rate: float) -> Audio:
    mid = 0.5 * (audio[0] + audio[1])
    side = 0.5 * p["width"] * (audio[0] - audio[1])
    return np.stack([mid + side, mid - side])


def _gain_pan(audio: Audio, p: Parameters, rate: float) -> Audio:
    left, right = eq.pan_gains(p["pan"], xp=np)
    gain = eq.db_to_gain(p["gain_db"])
    return np.asarray(audio * np.array([[gain * left], [gain * right]]))


def delay_samples(time_ms: float, *, sample_rate_hz: float) -> int:
    """Delay times are whole samples, rounded half up."""
    return math.floor(time_ms * sample_rate_hz / 1000.0 + 0.5)


def cut_sections(low_cut_hz: float, high_cut_hz: float, *, low_off: float, high_off: float, rate: float) -> Audio:
    """Low and high cut of a wet path as second-order sections, none where a cut is off."""
    rows = []
    if low_cut_hz != low_off:
        rows.append(_section("highpass", low_cut_hz, 0.0, eq.BUTTERWORTH_Q, rate))
    if high_cut_hz != high_off:
        rows.append(_section("lowpass", high_cut_hz, 0.0, eq.BUTTERWORTH_Q, rate))
    return np.array(rows, dtype=np.float64).reshape(-1, 6)


def _delay(audio: Audio, p: Parameters, rate: float) -> Audio:
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
            p[f"tap{tap}_low_cut_hz"], p[f"tap{tap}_high_cut_hz"], low_off=low_off, high_off=high_off, rate=rate
        )
        left, right = eq.pan_gains(p[f"tap{tap}_pan"], xp=np)
        gain = eq.db_to_gain(level_db)
        out[:, lag:] += _filter(audio[:, : n - lag], sections) * np.array([[gain * left], [gain * right]])
    return out


# ------------------------------------------------------------------------------- reverb


@numba.njit(cache=True)
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


def reverb_length(p: Parameters, *, sample_rate_hz: float) -> int:
    """Length of the impulse response without pre-delay, in samples."""
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


def _reverb(audio: Audio, p: Parameters, rate: float) -> Audio:
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
    )
    send = _filter(0.5 * (audio[:1] + audio[1:]), sections)[0, : n - lag] * eq.db_to_gain(p["level_db"])
    response = reverb_impulse_response(p, sample_rate_hz=rate)
    for channel in range(2):
        out[channel, lag:] = scipy.signal.oaconvolve(send, response[channel])[: n - lag]
    return out


# ------------------------------------------------------------------------------- dynamics


@numba.njit(cache=True)
def _follow(rectified: Audio, k_attack: float, k_release: float) -> Audio:
    envelope = np.empty_like(rectified)
    state = 0.0
    for i in range(rectified.shape[0]):
        step = rectified[i] - state
        state += (k_attack if step > 0.0 else k_release) * step
        envelope[i] = state
    return envelope


def detector_level_db(audio: Audio, p: Parameters, *, sample_rate_hz: float) -> Audio:
    """Stereo-linked detector of compressor and gate: peak, branching one-pole, in dB.

    The larger of the two channels' magnitudes is followed with the attack constant when it is
    above the envelope and with the release constant otherwise, starting from silence.

    Returns
    -------
    array, shape=(n,)
        dBFS, not below `equations.LEVEL_FLOOR_DB`.
    """
    envelope = _follow(
        np.abs(audio).max(axis=0),
        float(eq.time_constant(p["attack_ms"], sample_rate_hz=sample_rate_hz, xp=np)),
        float(eq.time_constant(p["release_ms"], sample_rate_hz=sample_rate_hz, xp=np)),
    )
    return np.asarray(20.0 * np.log10(np.maximum(envelope, eq.db_to_gain(eq.LEVEL_FLOOR_DB))))


def _compressor(audio: Audio, p: Parameters, rate: float) -> Audio:
    level = detector_level_db(audio, p, sample_rate_hz=rate)
    gain = eq.compressor_gain_db(level, threshold_db=p["threshold_db"], ratio=p["ratio"], knee_db=p["knee_db"], xp=np)
    return np.asarray(audio * eq.db_to_gain(gain + p["makeup_db"]))


def _gate(audio: Audio, p: Parameters, rate: float) -> Audio:
    level = detector_level_db(audio, p, sample_rate_hz=rate)
    gain = eq.gate_gain_db(
        level,
        threshold_db=p["threshold_db"],
        ratio=p["ratio"],
        range_db=p["range_db"],
        knee_db=p["knee_db"],
        xp=np,
    )
    return np.asarray(audio * eq.db_to_gain(gain))


_PROCESSORS: dict[str, Callable[[Audio, Parameters, float], Audio]] = {
    "eq": _eq,
    "compressor": _compressor,
    "gate": _gate,
    "imager": _imager,
    "gain_pan": _gain_pan,
    "delay": _delay,
    "reverb": _reverb,
}
