"""Fits what was measured of a plugin to our equations: sections, curves, times, and the form of each knob.

No plugin is run here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.optimize

from ...errors import ParameterError
from ...processors import equations as eq
from ...processors.laws import LAWS
from ...processors.reference import apply_processor
from ...processors.specs import Parameter, spec_of
from .probing import RATE_HZ, Audio, gain_at, level_steps, stair_ends, stairs

# ------------------------------------------------------------------------------- the form of a knob


@dataclass(frozen=True)
class Form:
    """How a plugin's value follows from a physical parameter.

    Attributes
    ----------
    text : str
        Formula of a profile with ``{x}`` for the parameter.
    value : callable
        The same as a function.
    worst : float
        Largest error of the fit: as a share of the value, or in its unit where the parameter is in dB.
    span : (float, float)
        Physical values between which it holds: a bent curve means nothing beyond what was measured.
    """

    text: str
    value: Callable[[float], float]
    worst: float = 0.0
    span: tuple[float, float] = (-math.inf, math.inf)

    def formula(self, name: str) -> str:
        """Return the formula for a parameter of that name."""
        return self.text.replace("{x}", name)


#: The parameter as it is.
IDENTITY = Form("{x}", lambda x: x)

#: A form is good where it is off by less than this: a share, or dB.
_GOOD_SHARE = 0.01
_GOOD_DB = 0.1

#: Beyond how much of improvement (a factor) a form with more constants is preferred.
_WORTH = 3.0

#: Constants are written with as few digits as keep them within this share.
_ROUNDING = 1e-5

#: Halvings with which the end of a range is found.
_BISECTIONS = 40

#: How far beyond what was measured a bent curve is followed (a factor).
_BEYOND = 1.25


def number(value: float) -> str:
    """A constant for a formula: as few digits as tell it from its neighbours."""
    for digits in range(1, 8):
        text = f"{value:.{digits}g}"
        if abs(float(text) - value) <= _ROUNDING * abs(value):
            break
    return text if "e" not in text or abs(value) < 1e-4 else f"{float(text):.0f}"


def fit_form(physical: Sequence[float], plugin: Sequence[float], *, decibels: bool) -> Form:
    """The simplest form that explains how plugin values go with physical ones.

    Parameters
    ----------
    physical, plugin : sequences of float of the same length
        What was measured and what was set.
    decibels : bool
        Judge errors in dB and look for an offset; otherwise judge shares and look for a factor.
    """
    x, v = np.asarray(physical, dtype=np.float64), np.asarray(plugin, dtype=np.float64)
    good = _GOOD_DB if decibels else _GOOD_SHARE
    best = _best_form(_linear_forms(x, v), x, v, decibels=decibels, good=good)
    if decibels or best.worst < good:
        return best
    return _best_form([best, *_log_forms(x, v)], x, v, decibels=decibels, good=good)


def _best_form(forms: Sequence[Form], x: Audio, v: Audio, *, decibels: bool, good: float) -> Form:
    """The first form that is good enough, or so much better than those before that it is worth its constants."""
    judged = []
    for form in forms:
        errors = np.abs([form.value(a) - b for a, b in zip(x, v, strict=True)])
        worst = float(np.max(errors if decibels else errors / np.maximum(np.abs(v), 1e-9)))
        judged.append(replace(form, worst=worst))
    best = judged[0]
    for form in judged[1:]:
        if best.worst > 0.1 * good and form.worst * _WORTH < best.worst:
            best = form
    return best


def _linear_forms(x: Audio, v: Audio) -> list[Form]:
    """Identity, factor or offset, then both."""
    factor = float(np.dot(x, v) / max(float(np.dot(x, x)), 1e-12))
    offset = float(np.mean(v - x))
    product = "-{x}" if number(factor) == "-1" else f"{number(factor)} * {{x}}"
    forms = [IDENTITY, Form(product, lambda a: factor * a)]
    forms.append(Form(f"{{x}} {_signed(offset)}", lambda a: a + offset))
    if len(x) > 2 and np.ptp(x) > 0.0:
        slope, start = (float(c) for c in np.polyfit(x, v, 1))
        forms.append(Form(f"{number(slope)} * {{x}} {_signed(start)}", lambda a: start + slope * a))
    return forms


def _signed(value: float) -> str:
    return f"{'-' if value < 0.0 else '+'} {number(abs(value))}"


def _log_forms(x: Audio, v: Audio) -> list[Form]:
    """Bandwidth in octaves, power law, bent power laws."""
    if (x <= 0.0).any() or (v <= 0.0).any():
        return []
    octaves = np.array([_octaves(float(a)) for a in x])
    width = float(np.dot(octaves, v) / np.dot(octaves, octaves))
    text = f"{number(width * 2.0 / math.log(2.0))} * log((1 + sqrt(1 + 4 * {{x}} ** 2)) / (2 * {{x}}))"
    forms = [Form(text, lambda a: width * _octaves(a))]
    span = (float(x.min()) / _BEYOND, float(x.max()) * _BEYOND)
    for degree in (1, 2, 3):
        if len(x) > degree + 2 and np.ptp(np.log(x)) > 0.0:
            forms.append(_power_form(x, v, degree, span))
    return forms


def _power_form(x: Audio, v: Audio, degree: int, span: tuple[float, float]) -> Form:
    power = np.polynomial.Polynomial.fit(np.log(x), np.log(v), degree).convert()
    return Form(
        _power_text(np.asarray(power.coef, dtype=np.float64)), lambda a: math.exp(float(power(math.log(a)))), span=span
    )


def _power_text(coefficients: Audio) -> str:
    if len(coefficients) == 2:
        return f"{number(math.exp(float(coefficients[0])))} * {{x}} ** {number(float(coefficients[1]))}"
    terms = [f"{_signed(float(c))} * log({{x}})" + f" ** {k}" * (k > 1) for k, c in enumerate(coefficients) if k > 0]
    return f"exp({number(float(coefficients[0]))} {' '.join(terms)})"


def _octaves(q: float) -> float:
    """Bandwidth (octaves) of a band-pass of that Q."""
    return 2.0 / math.log(2.0) * math.asinh(1.0 / (2.0 * q))


def reach(form: Form, parameter: Parameter, *, low: float, high: float) -> tuple[float, float]:
    """Range of a physical parameter for which a form stays between two plugin values.

    Raises
    ------
    ParameterError
        If that is nowhere.
    """
    if parameter.scale == "log":
        points = np.geomspace(parameter.minimum, parameter.maximum, 2000)
    else:
        points = np.linspace(parameter.minimum, parameter.maximum, 2000)
    points = np.clip(points, parameter.minimum, parameter.maximum)
    # Ends are texts of few digits.
    low, high = low - 1e-6 * abs(low), high + 1e-6 * abs(high)

    def fits(x: float) -> bool:
        return form.span[0] <= x <= form.span[1] and low <= form.value(x) <= high

    inside = [k for k, p in enumerate(points) if fits(float(p))]
    if not inside:
        raise ParameterError(f"{parameter.name}: no value of it is within the plugin's {low:g} to {high:g}")
    ends = []
    for last, beyond in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        good = float(points[last])
        bad = float(points[beyond]) if 0 <= beyond < len(points) else good
        for _ in range(_BISECTIONS):
            middle = 0.5 * (good + bad)
            good, bad = (middle, bad) if fits(middle) else (good, middle)
        ends.append(good)
    return ends[0], ends[1]


# ------------------------------------------------------------------------------- filter sections


@dataclass(frozen=True)
class Section:
    """An RBJ section fitted to a response; `error_db` is the largest difference."""

    kind: eq.BiquadKind
    frequency_hz: float
    gain_db: float
    q: float
    error_db: float


#: A response is not compared below this (dB).
_RESPONSE_FLOOR_DB = -50.0


def section_db(kind: eq.BiquadKind, frequency_hz: float, gain_db: float, q: float, at_hz: Audio, rate: float) -> Audio:
    """Magnitude (dB) of an RBJ section at some frequencies."""
    b0, b1, b2, a1, a2 = eq.biquad(kind, frequency_hz=frequency_hz, gain_db=gain_db, q=q, sample_rate_hz=rate, xp=np)
    z = np.exp(-2j * np.pi * at_hz / rate)
    magnitude = np.abs((b0 + b1 * z + b2 * z * z) / (1.0 + a1 * z + a2 * z * z))
    return np.asarray(20.0 * np.log10(np.maximum(magnitude, 1e-10)))


def fit_section(
    kind: eq.BiquadKind,
    at_hz: Audio,
    measured_db: Audio,
    *,
    frequency_hz: float,
    gain_db: float,
    sample_rate_hz: float = RATE_HZ,
) -> Section:
    """Fit frequency, gain and Q of a section of one kind, starting near what was set.

    Parameters
    ----------
    at_hz, measured_db : array, shape=(points,)
    frequency_hz, gain_db : float
        What the plugin was set to.
    """
    floor = np.maximum(measured_db, _RESPONSE_FLOOR_DB)
    has_gain = kind not in ("highpass", "lowpass")

    def curve(p: npt.NDArray[np.float64]) -> Audio:
        gain = float(p[2]) if has_gain else 0.0
        found = section_db(kind, math.exp(p[0]), gain, math.exp(p[1]), at_hz, sample_rate_hz)
        return np.asarray(np.maximum(found, _RESPONSE_FLOOR_DB) - floor)

    ends = ([math.log(5.0), math.log(0.05), -60.0], [math.log(0.49 * sample_rate_hz), math.log(100.0), 60.0])
    best: Section | None = None
    for start_q in (0.5, 1.5, 6.0):
        start = np.clip([math.log(frequency_hz), math.log(start_q), gain_db], *ends)
        size = 3 if has_gain else 2
        found = scipy.optimize.least_squares(
            curve, start[:size], bounds=(ends[0][:size], ends[1][:size]), x_scale="jac"
        )
        error = float(np.max(np.abs(found.fun)))
        section = Section(
            kind, math.exp(found.x[0]), float(found.x[2]) if has_gain else 0.0, math.exp(found.x[1]), error
        )
        best = section if best is None or section.error_db < best.error_db else best
        if best.error_db < 0.01:
            break
    if best is None:
        raise ParameterError(f"{kind}: nothing to fit")
    return best


# ------------------------------------------------------------------------------- dynamics


@dataclass(frozen=True)
class DynamicsFit:
    """Physical parameters under which our processor does what the plugin did.

    Attributes
    ----------
    law : str
        Key of `laws.LAWS`.
    parameters : mapping of str to float
    error_db : float
        Root mean square of the difference of the gains over time.
    """

    law: str
    parameters: Mapping[str, float]
    error_db: float


#: The parameters of dynamics that are times.
TIMES = ("attack_ms", "release_ms")

#: Gains below this are all the same (dB): nobody hears them.
_GAIN_FLOOR_DB = -60.0
#: A fit this good needs no other attempt (dB).
_EXACT_DB = 0.01
#: Knees are seen from this width (dB) on.
_SEEN_KNEE_DB = 1.5
#: Length of a step (s) on which the reference, at its shortest times, is steady.
_SHORT_STEP_S = 0.014
#: Evaluations after which a fit that has not settled is taken as it is.
_MOST_TRIALS = 60
#: Every how many samples gains are compared.
_STRIDE = 12


def laws_for(processor: str) -> tuple[str, ...]:
    """Names of all laws of a processor, ours (empty) first."""
    return ("", *(name for name, law in LAWS.items() if name and processor in law.types))


def matters(processor: str, law: str, name: str, parameters: Mapping[str, float], audio: Audio) -> bool:
    """Whether a parameter changes anything under a law."""
    spec = spec_of(processor)
    ends = (spec.parameter(name).minimum, spec.parameter(name).maximum)
    low, high = (
        apply_processor(processor, audio, parameters={**parameters, name: end}, sample_rate_hz=RATE_HZ, law=law)
        for end in ends
    )
    return not np.array_equal(low, high)


def fit_curve(
    processor: str, law: str, gain_db: Audio, *, start: Mapping[str, float], held: Sequence[str] = ()
) -> DynamicsFit:
    """Fit all parameters but the times to the steady gain at each of `probing.STAIRS_DB`.

    Parameters
    ----------
    gain_db : array, shape=(len(STAIRS_DB),)
    start : mapping of str to float
        Where to begin, every parameter.
    held : sequence of str
        Parameters that stay where they begin.
    """
    audio, ends = stairs(step_s=_SHORT_STEP_S), stair_ends(step_s=_SHORT_STEP_S)
    quick = {name: spec_of(processor).parameter(name).minimum for name in TIMES}

    def gains(values: Mapping[str, float]) -> Audio:
        out = apply_processor(processor, audio, parameters={**values, **quick}, sample_rate_hz=RATE_HZ, law=law)
        return gain_at(audio, out, ends)

    best: DynamicsFit | None = None
    # The knee bends what ratio and threshold are found from: begin with a narrow and with a wide one.
    for knee_db in (1.0, 9.0):
        begin = {**start, "knee_db": start["knee_db"] if "knee_db" in held else knee_db}
        fit = _fit(processor, law, gains, gain_db, start=begin, held=(*held, *TIMES))
        best = fit if best is None or fit.error_db < best.error_db else best
        if best.error_db < _EXACT_DB:
            break
    if best is None:
        raise ParameterError(f"{processor}: nothing to fit")
    if "knee_db" not in held and 0.0 < best.parameters["knee_db"] < _SEEN_KNEE_DB:
        # A knee narrower than the steps of the stairs is not seen.
        start = {**best.parameters, "knee_db": 0.0}
        hard = _fit(processor, law, gains, gain_db, start=start, held=(*held, *TIMES, "knee_db"))
        best = hard if hard.error_db <= best.error_db + _EXACT_DB else best
    return best


def fit_times(processor: str, law: str, gain_db: Audio, *, start: Mapping[str, float]) -> DynamicsFit:
    """Fit attack and release to the gain at each sample of `probing.level_steps`; the rest stays.

    Parameters
    ----------
    gain_db : array, shape=(n,)
    """
    audio = level_steps()
    every = np.arange(0, audio.shape[1], _STRIDE)

    def gains(values: Mapping[str, float]) -> Audio:
        out = apply_processor(processor, audio, parameters=values, sample_rate_hz=RATE_HZ, law=law)
        return gain_at(audio, out, every)

    held = [p.name for p in spec_of(processor).parameters if p.name not in TIMES]
    return _fit(processor, law, gains, gain_db[every], start=start, held=held)


def _fit(
    processor: str,
    law: str,
    gains: Callable[[Mapping[str, float]], Audio],
    measured_db: Audio,
    *,
    start: Mapping[str, float],
    held: Sequence[str],
) -> DynamicsFit:
    """Least squares over the parameters that are not held, each along its own scale."""
    spec = spec_of(processor)
    free = [p for p in spec.parameters if p.name not in held]
    wanted = np.maximum(measured_db, _GAIN_FLOOR_DB)

    def physical(x: npt.NDArray[np.float64]) -> dict[str, float]:
        values = {p.name: min(max(_unscaled(p, v), p.minimum), p.maximum) for p, v in zip(free, x, strict=True)}
        return {p.name: values.get(p.name, start[p.name]) for p in spec.parameters}

    def difference(x: npt.NDArray[np.float64]) -> Audio:
        return np.maximum(gains(physical(x)), _GAIN_FLOOR_DB) - wanted

    ends = np.array([[_scaled(p, p.minimum), _scaled(p, p.maximum)] for p in free]).T
    span = ends[1] - ends[0]
    begin = np.clip([_scaled(p, start[p.name]) for p in free], ends[0] + 1e-3 * span, ends[1] - 1e-3 * span)
    found = scipy.optimize.least_squares(
        difference, begin, bounds=(ends[0], ends[1]), x_scale=0.05 * span, diff_step=1e-4, max_nfev=_MOST_TRIALS
    )
    return DynamicsFit(law, physical(found.x), float(np.sqrt(np.mean(found.fun**2))))


def _scaled(parameter: Parameter, value: float) -> float:
    return math.log(max(value, 1e-9)) if parameter.scale == "log" else value


def _unscaled(parameter: Parameter, value: float) -> float:
    return math.exp(value) if parameter.scale == "log" else float(value)
