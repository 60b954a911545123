"""The null test of a plugin profile: reference against plugin on random settings; plugins are run by the caller.

For each setting the same audio goes through the reference law and through the plugin; what is left
of the difference, in dB relative to the reference, is the null depth. Equalizers are also measured
by their frequency response, reverbs by decay time and level: one with other reflections cannot null.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.signal

from .processors.equations import REVERB_CROSSOVERS_HZ, db_to_gain
from .processors.reference import apply_processor
from .processors.specs import EQ, REVERB, Parameter
from .suites import Measured, Profile, Stage, run_stages

Audio = npt.NDArray[np.float64]

#: Runs one stage: stage, audio of shape (2, n), sample rate (Hz) to as many samples.
Runner = Callable[[Stage, Audio, float], npt.ArrayLike]

RATES_HZ = (44100, 48000)

#: Depths a profile should reach (dB) unless it states a shortfall.
LINEAR_TARGET_DB = -60.0
DYNAMICS_TARGET_DB = -40.0
RESPONSE_TARGET_DB = 0.1

#: Frequencies the response is compared at, and how far below its maximum it still counts (dB).
RESPONSE_RANGE_HZ = (20.0, 18000.0)
RESPONSE_DEPTH_DB = 40.0

#: A reverb that differs by more than this (dB) has reflections of its own: what counts is decay and level.
OTHER_REVERB_DB = -20.0

#: RMS level below which nothing is to be heard (dBFS): that of 20 bits.
SILENCE_DB = -120.0

_RESPONSE_FRAMES = 1 << 16
#: Enough for a plugin that computes in single precision not to lose an impulse's tail.
_IMPULSE = 0.5

#: Peak of the material (dBFS).
_PEAK_DB = -3.0


@dataclass(frozen=True)
class NullResult:
    """One setting on one piece of material.

    Attributes
    ----------
    null_db : float
        Energy of the difference relative to the reference's output.
    response_db : float or None
        Largest difference of the frequency response; equalizers only.
    decay_percent, level_db : float or None
        Difference of decay time and level between the crossovers; reverbs only.
    """

    parameters: dict[str, float]
    sample_rate_hz: int
    material: str
    null_db: float
    response_db: float | None = None
    decay_percent: float | None = None
    level_db: float | None = None


# ------------------------------------------------------------------------- material


def _bursts(clock: Audio, times: Audio) -> Audio:
    """Time since the last of `times` (s); large before the first."""
    since = np.full_like(clock, 1e3)
    for start in times:
        after = clock >= start
        since[after] = clock[after] - start
    return since


def _drums(clock: Audio, rate: float, random: np.random.Generator) -> Audio:
    length_s = float(clock[-1])
    kick_s = _bursts(clock, np.arange(0.05, length_s, 0.5))
    snare_s = _bursts(clock, np.arange(0.3, length_s, 0.5))
    hat_s = _bursts(clock, np.arange(0.05, length_s, 0.125))
    kick = np.sin(2 * np.pi * (50.0 * kick_s - 3.4 * np.exp(-kick_s / 0.028))) * np.exp(-kick_s / 0.12)
    wires = scipy.signal.sosfilt(_sos("bandpass", (700.0, 9000.0), rate), random.standard_normal(clock.size))
    metal = scipy.signal.sosfilt(_sos("highpass", 6000.0, rate), random.standard_normal((2, clock.size)))
    both = kick + 0.7 * wires * np.exp(-snare_s / 0.1)
    return np.asarray(both + 0.3 * np.exp(-hat_s / 0.03) * metal)


def _bass(clock: Audio, rate: float, random: np.random.Generator) -> Audio:
    starts = np.arange(0.02, float(clock[-1]), 0.4)
    since = _bursts(clock, starts)
    note_hz = np.choose(np.clip((clock / 0.4).astype(int) % 4, 0, 3), [41.2, 55.0, 61.7, 49.0])
    phase = 2 * np.pi * np.cumsum(note_hz) / rate
    tone = sum(np.sin(k * phase) / k * np.exp(-since * (5.0 + 0.5 * k)) for k in range(1, 25))
    noise = random.standard_normal((2, clock.size)) * np.exp(-since / 0.005)
    return np.asarray(tone * np.array([[1.0], [0.9]]) + 0.05 * noise)


def _voice(clock: Audio, rate: float, random: np.random.Generator) -> Audio:
    vibrato = 1.0 + 0.01 * np.sin(2 * np.pi * 5.5 * clock)
    phase = np.cumsum((180.0 + 60.0 * np.sin(2 * np.pi * 0.4 * clock)) * vibrato) / rate
    pulses = np.diff(np.floor(phase), prepend=0.0) + 0.02 * random.standard_normal(clock.size)
    formants = ((600.0, 1.0), (1200.0, 0.6), (2600.0, 0.3), (7000.0, 0.1))
    sound = sum(
        gain * scipy.signal.sosfilt(_sos("bandpass", (0.85 * f, 1.15 * f), rate), pulses) for f, gain in formants
    )
    # Syllables of different loudness, with pauses between the phrases.
    syllables = (0.15 + np.sin(2 * np.pi * 3.1 * clock) ** 2) * (np.sin(2 * np.pi * 0.7 * clock + 0.4) > -0.5)
    air = 1e-4 * random.standard_normal((2, clock.size))
    return np.asarray(sound * syllables * np.array([[0.8], [1.0]]) + air)


def _sos(kind: str, cutoff_hz: float | tuple[float, float], rate: float) -> Audio:
    return np.asarray(scipy.signal.butter(2, cutoff_hz, kind, fs=rate, output="sos"))


MATERIALS: dict[str, Callable[[Audio, float, np.random.Generator], Audio]] = {
    "drums": _drums,
    "bass": _bass,
    "voice": _voice,
}


def material(kind: str, *, seconds: float, sample_rate_hz: float, seed: int = 1) -> Audio:
    """Synthesise drums, bass or something like a voice.

    Parameters
    ----------
    kind : str
        Key of `MATERIALS`.

    Returns
    -------
    array, shape=(2, n)
        Exact in single precision; both channels differ; peak at -3 dBFS.
    """
    clock = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    sound = MATERIALS[kind](clock, float(sample_rate_hz), np.random.default_rng([seed, len(kind)]))
    scaled = sound * (db_to_gain(_PEAK_DB) / float(np.abs(sound).max()))
    return np.asarray(scaled, dtype=np.float32).astype(np.float64)


# ------------------------------------------------------------------------- settings


def random_parameters(profile: Profile, random: np.random.Generator) -> dict[str, float]:
    """Settings drawn over all that the plugin allows, logarithmic where the scale is."""
    return {p.name: _drawn(p, *profile.allowed(p.name), random.random()) for p in profile.spec.parameters}


def _drawn(parameter: Parameter, low: float, high: float, share: float) -> float:
    if parameter.scale == "log":
        return float(min(max(low * (high / low) ** share, low), high))
    return low + (high - low) * share


# ------------------------------------------------------------------------- the test


def null_depth_db(found: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """Energy of the difference relative to the expected signal (dB); not below -300.

    A signal quieter than `SILENCE_DB` counts as one of that level.
    """
    wanted = np.asarray(expected, dtype=np.float64)
    error = float(np.mean((np.asarray(found, dtype=np.float64) - wanted) ** 2))
    energy = max(float(np.mean(wanted**2)), 10.0 ** (SILENCE_DB / 10.0))
    return 10.0 * math.log10(max(error / energy, 1e-30))


def _realised(
    profile: Profile, audio: Audio, parameters: dict[str, float], sample_rate_hz: float, run: Runner
) -> Audio:
    stages = profile.stages(parameters, sample_rate_hz=sample_rate_hz)
    late = profile.latency_samples
    padded = np.pad(audio, ((0, 0), (0, late)))
    return run_stages(stages, padded, run=lambda stage, signal: run(stage, signal, sample_rate_hz))[:, late:]


def _expected(profile: Profile, audio: Audio, parameters: dict[str, float], sample_rate_hz: float) -> Audio:
    return apply_processor(
        profile.processor, audio, parameters=parameters, sample_rate_hz=sample_rate_hz, law=profile.law
    )


def response_error_db(profile: Profile, parameters: dict[str, float], *, sample_rate_hz: float, run: Runner) -> float:
    """Largest difference between the frequency responses of plugin and reference.

    Compared from 20 Hz to 18 kHz, where the reference is within 60 dB of its maximum.
    """
    impulse = np.zeros((2, _RESPONSE_FRAMES))
    impulse[:, 0] = _IMPULSE
    found, expected = (
        np.abs(np.fft.rfft(response[0]))
        for response in (
            _realised(profile, impulse, parameters, sample_rate_hz, run),
            _expected(profile, impulse, parameters, sample_rate_hz),
        )
    )
    frequency = np.fft.rfftfreq(_RESPONSE_FRAMES, 1.0 / sample_rate_hz)
    counts = (frequency >= RESPONSE_RANGE_HZ[0]) & (frequency <= RESPONSE_RANGE_HZ[1])
    counts &= expected >= expected.max() * db_to_gain(-RESPONSE_DEPTH_DB)
    return float(np.abs(20.0 * np.log10(np.maximum(found[counts], 1e-12) / expected[counts])).max())


def reverb_errors(
    profile: Profile, parameters: dict[str, float], *, sample_rate_hz: float, run: Runner
) -> tuple[float, float]:
    """How far a reverb's decay time (%) and level (dB) are from the reference, between the crossovers."""
    longest_s = parameters["pre_delay_ms"] / 1000.0 + parameters["decay_s"] + 0.5
    impulse = np.zeros((2, round(longest_s * sample_rate_hz)))
    impulse[:, 0] = 1.0
    band = _sos("bandpass", REVERB_CROSSOVERS_HZ, sample_rate_hz)
    decays, levels = [], []
    for response in (
        _realised(profile, impulse, parameters, sample_rate_hz, run),
        _expected(profile, impulse, parameters, sample_rate_hz),
    ):
        energy = np.sum(scipy.signal.sosfilt(band, response) ** 2, axis=0)
        decays.append(_decay_s(energy, sample_rate_hz))
        levels.append(10.0 * math.log10(max(float(energy.sum()), 1e-30)))
    return 100.0 * (decays[0] / decays[1] - 1.0), levels[0] - levels[1]


def _decay_s(energy: Audio, sample_rate_hz: float) -> float:
    """Decay time for 60 dB from the fall of 5 to 35 dB (M. Schroeder's backward integration, 1965)."""
    left_db = 10.0 * np.log10(np.maximum(np.cumsum(energy[::-1])[::-1] / max(float(energy.sum()), 1e-30), 1e-12))
    start, end = (int(np.argmax(left_db < level_db)) for level_db in (-5.0, -35.0))
    return max(2.0 * (end - start) / sample_rate_hz, 1e-3)


def null_test(
    profile: Profile,
    *,
    run: Runner,
    sets: int,
    rates_hz: Sequence[int] = RATES_HZ,
    seconds: float = 1.5,
    seed: int = 1,
    threads: int = 1,
) -> list[NullResult]:
    """Test a profile on random settings, the material changing from one to the next.

    Parameters
    ----------
    run : callable
        Runs a plugin; called from `threads` threads at once.
    sets : int
        Number of settings per sample rate.
    seconds : float
        Length of the material.

    Returns
    -------
    list of NullResult
        The same for the same seed, whatever the number of threads; fewer sets are the first of more.
    """
    sounds = {
        (kind, rate): material(kind, seconds=seconds, sample_rate_hz=rate) for kind in MATERIALS for rate in rates_hz
    }
    kinds = tuple(MATERIALS)
    jobs = [
        (random_parameters(profile, np.random.default_rng([seed, rate, number])), rate, kinds[number % len(kinds)])
        for rate in rates_hz
        for number in range(sets)
    ]

    def one(job: tuple[dict[str, float], int, str]) -> NullResult:
        parameters, rate, kind = job
        audio = sounds[kind, rate]
        found = _realised(profile, audio, parameters, rate, run)
        depth = null_depth_db(found, _expected(profile, audio, parameters, rate))
        result = NullResult(parameters, rate, kind, depth)
        if profile.processor == EQ.type:
            response = response_error_db(profile, parameters, sample_rate_hz=rate, run=run)
            return replace(result, response_db=response)
        if profile.processor == REVERB.type and depth > OTHER_REVERB_DB:
            decay, level = reverb_errors(profile, parameters, sample_rate_hz=rate, run=run)
            return replace(result, decay_percent=decay, level_db=level)
        return result

    with ThreadPoolExecutor(max_workers=threads) as pool:
        return list(pool.map(one, jobs))


def targets(profile: Profile) -> tuple[float, float | None]:
    """Null depth and, for an equalizer, response error (dB) that the profile must keep to."""
    null_db = LINEAR_TARGET_DB if profile.spec.linear else DYNAMICS_TARGET_DB
    response_db = RESPONSE_TARGET_DB if profile.processor == EQ.type else None
    shortfall = profile.shortfall
    if shortfall is not None and shortfall.null_db is not None:
        null_db = shortfall.null_db
    if shortfall is not None and shortfall.response_db is not None:
        response_db = shortfall.response_db
    return null_db, response_db


def summarize(results: Sequence[NullResult], *, version: str = "") -> Measured:
    """Worst and median of the results, as a profile states them."""
    depths = [r.null_db for r in results]
    rates = sorted({r.sample_rate_hz for r in results})
    return Measured(
        sets=len(results) // len(rates),
        rates_hz=rates,
        worst_null_db=round(max(depths), 1),
        median_null_db=round(float(np.median(depths)), 1),
        worst_response_db=_worst(r.response_db for r in results),
        worst_decay_percent=_worst(r.decay_percent for r in results),
        worst_level_db=_worst(r.level_db for r in results),
        version=version,
    )


def _worst(errors: Iterable[float | None]) -> float | None:
    """The largest magnitude to two digits; None if there is nothing."""
    sizes = [abs(e) for e in errors if e is not None]
    return float(f"{max(sizes):.2g}") if sizes else None
