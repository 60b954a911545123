"""A parametric EQ, a gain and a pan that fit a measured response; measuring it is done in `identify_linear`.

Both channels of a track are taken for one common curve times a gain of their own. The curve is
approached in decibels by one section after the other: the candidate that lowers the weighted
error most is kept if it pays for its parameters, and all sections are refined together (Levenberg
and Marquardt, MINPACK, analytic in what is linear and differences per section elsewhere).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize

from ..processors.equations import BUTTERWORTH_Q, BiquadKind, biquad, gain_and_pan, gain_to_db
from ..processors.specs import BELLS, EQ, GAIN_PAN
from .identify_linear import Array, ComplexArray, LinearResponses

#: No band is known better than this (dB): what a channel does is not exactly linear.
_LEAST_ERROR_DB = 0.35

#: Bands whose gain is not known better than this share of itself say nothing about its size.
_UNKNOWN_SHARE = 0.3

#: A section must lower chi-square by this much per parameter, and by this share of what is left.
_PRICE = 4.0
_PRICE_SHARE = 0.012

#: Width of a gentle pull on the parameters: gain (dB), octaves of frequency, octaves of Q.
_PRIOR_DB, _PRIOR_OCTAVES, _PRIOR_Q_OCTAVES = 6.0, 2.0, 1.0

#: Width of the pull on the mean of an EQ's bells and shelves over the known bands (dB): level belongs to the fader,
#: and a high shelf below everything that sounds is a fader in disguise.
_PRIOR_LEVEL_DB = 2.0

#: Residuals beyond this many standard errors count linearly.
_ROBUST = 3.0

#: Kind of every section that is not a bell.
_KINDS: dict[str, BiquadKind] = {
    "highpass": "highpass",
    "lowpass": "lowpass",
    "low_shelf": "low_shelf",
    "high_shelf": "high_shelf",
}

#: Names of the sections of every kind.
_NAMES: dict[BiquadKind, tuple[str, ...]] = {
    "highpass": ("highpass",),
    "low_shelf": ("low_shelf",),
    "bell": tuple(f"bell{n}" for n in range(1, BELLS + 1)),
    "high_shelf": ("high_shelf",),
    "lowpass": ("lowpass",),
}

#: All sections of the EQ.
MAX_SECTIONS = BELLS + 4

#: Candidates that are looked at more closely, beside high- and low-pass.
_CANDIDATES = 2

#: Steps of a refinement, and of a first glance at a candidate.
_EVALUATIONS, _GLANCE = 40, 6


@dataclass(frozen=True)
class _Section:
    """One section in the making; `values` are log2 of frequency, gain in dB, log2 of Q (passes: frequency only)."""

    name: str
    kind: BiquadKind
    values: tuple[float, ...]
    start: tuple[float, ...]

    @property
    def is_pass(self) -> bool:
        return self.kind in ("highpass", "lowpass")


@dataclass(frozen=True)
class EqFit:
    """Settings of a track's EQ and fader found from its response.

    Attributes
    ----------
    eq, gain_pan : dict of str to float
        Complete parameters of the two processors.
    sections : int
        Sections of the EQ in use.
    error_db : float
        Weighted rms difference of the fitted and the measured curve.
    flat_error_db : float
        The same for gain and pan alone.
    certainty_db : float
        Typical standard error of the measured curve (weighted like `error_db`).
    """

    eq: dict[str, float]
    gain_pan: dict[str, float]
    sections: int
    error_db: float
    flat_error_db: float
    certainty_db: float


def eq_from_response(
    responses: LinearResponses,
    stem: int,
    *,
    sample_rate_hz: float,
    allowed: Mapping[str, tuple[float, float]] | None = None,
    max_sections: int = MAX_SECTIONS,
) -> EqFit:
    """Fit EQ, gain and pan of one stem.

    Parameters
    ----------
    responses : LinearResponses
    stem : int
        Index of the stem in it.
    sample_rate_hz : float > 0
        Rate of the session, at which the EQ will run.
    allowed : mapping, optional
        Ranges of some EQ parameters where a plugin has less than the specification.
    max_sections : int
        Sections of the EQ at most.

    Returns
    -------
    EqFit
        An EQ at its defaults where nothing but a gain pays for itself; a gain at its lowest and
        no pan where the stem cannot be heard.
    """
    curve, left_right = _common_curve(responses.gains[stem], responses.errors[stem])
    size = np.abs(curve.gain)
    known = curve.error < _UNKNOWN_SHARE * size
    if np.count_nonzero(known) < 3:
        return _unheard()
    frequency_hz = responses.frequency_hz[known]
    target_db = 20.0 * np.log10(size[known])
    error_db = np.hypot(20.0 / math.log(10.0) * curve.error[known] / size[known], _LEAST_ERROR_DB)
    fitter = _Fitter(frequency_hz, target_db, error_db, sample_rate_hz, dict(allowed or {}))
    sections = fitter.search(max_sections)
    flat_db, rest_db = fitter.level_and_residual([]), fitter.level_and_residual(sections)
    weights = error_db**-2
    return EqFit(
        fitter.parameters(sections),
        _gain_pan(rest_db[0], left_right),
        len(sections),
        _rms(rest_db[1], weights),
        _rms(flat_db[1], weights),
        float(np.sqrt(1.0 / weights.mean())),
    )


def _rms(values: Array, weights: Array) -> float:
    return float(np.sqrt((weights * values**2).sum() / weights.sum()))


@dataclass(frozen=True)
class _Curve:
    gain: ComplexArray
    error: Array


def _common_curve(gains: ComplexArray, errors: Array) -> tuple[_Curve, Array]:
    """Split two channels' responses into one curve and two non-negative gains of mean square 1."""
    weights = np.where(np.isfinite(errors), 1.0 / np.maximum(errors, 1e-12 + 0.02 * np.abs(gains)) ** 2, 0.0)
    left_right = np.ones(2)
    curve = np.zeros(gains.shape[1], dtype=np.complex128)
    for _ in range(12):
        power = np.einsum("c,cb->b", left_right**2, weights)
        curve = np.einsum("c,cb,cb->b", left_right, weights, gains) / np.maximum(power, 1e-30)
        fitted = np.einsum("cb,cb,b->c", weights, np.real(gains * curve.conj()), np.ones(gains.shape[1]))
        left_right = np.maximum(fitted, 0.0) / np.maximum((weights * np.abs(curve) ** 2).sum(axis=1), 1e-30)
        size = math.sqrt(float((left_right**2).mean()))
        left_right = left_right / size if size > 0.0 else np.ones(2)
    power = np.einsum("c,cb->b", left_right**2, weights)
    error = np.where(power > 0.0, 1.0 / np.sqrt(np.maximum(power, 1e-30)), np.inf)
    return _Curve(curve, error), left_right


def _gain_pan(level_db: float, left_right: Array) -> dict[str, float]:
    gain, pan = gain_and_pan(float(left_right[0]), float(left_right[1]))
    spec = GAIN_PAN.parameter("gain_db")
    gain_db = level_db + gain_to_db(gain)
    return {"gain_db": spec.limited(gain_db), "pan": pan}


def _unheard() -> EqFit:
    gain_db = GAIN_PAN.parameter("gain_db").minimum
    return EqFit(EQ.defaults(), {**GAIN_PAN.defaults(), "gain_db": gain_db}, 0, 0.0, 0.0, math.inf)


class _Fitter:
    """Greedy fit of sections to one curve in decibels; the level is a free constant."""

    def __init__(
        self,
        frequency_hz: Array,
        target_db: Array,
        error_db: Array,
        rate_hz: float,
        allowed: dict[str, tuple[float, float]],
    ) -> None:
        self.frequency_hz, self.target_db, self.error_db = frequency_hz, target_db, error_db
        self.rate_hz, self.allowed = rate_hz, allowed
        w = 2.0 * np.pi * frequency_hz / rate_hz
        self.cosines = np.cos(w), np.cos(2.0 * w)
        self.shapes = self._shapes()
        self.shape_curves = np.concatenate([self.curve_db(s.kind, np.array([s.values])) for s in self.shapes])
        levels = self.shape_curves.mean(axis=1) / _PRIOR_LEVEL_DB
        self.shape_pulls = np.array(
            [0.0 if s.is_pass else _PRIOR_DB**-2 + level**2 for s, level in zip(self.shapes, levels, strict=True)]
        )

    # ---------------------------------------------------------------- curves

    def curve_db(self, kind: BiquadKind, values: Array) -> Array:
        """Responses in dB of sections of one kind; `values` has shape (n, 1 or 3), the result (n, bands)."""
        is_pass = kind in ("highpass", "lowpass")
        frequency = 2.0 ** values[:, :1]
        gain_db = 0.0 if is_pass else values[:, 1:2]
        q = BUTTERWORTH_Q if is_pass else 2.0 ** values[:, 2:3]
        b0, b1, b2, a1, a2 = biquad(
            kind, frequency_hz=frequency, gain_db=gain_db, q=q, sample_rate_hz=self.rate_hz, xp=np
        )
        one, two = self.cosines
        above = b0 * b0 + b1 * b1 + b2 * b2 + 2.0 * (b0 * b1 + b1 * b2) * one + 2.0 * b0 * b2 * two
        below = 1.0 + a1 * a1 + a2 * a2 + 2.0 * (a1 + a1 * a2) * one + 2.0 * a2 * two
        return np.asarray(10.0 * np.log10(np.maximum(above, 1e-20) / np.maximum(below, 1e-20)))

    def curves_db(self, sections: Sequence[_Section]) -> Array:
        """Sum of the sections' responses, shape (bands,)."""
        total = np.zeros(len(self.frequency_hz))
        for section in sections:
            total += self.curve_db(section.kind, np.array([section.values]))[0]
        return total

    def offset(self, sections: Sequence[_Section]) -> float:
        """Mean of bells and shelves over the bands, in units of its pull."""
        return float(self.curves_db([s for s in sections if not s.is_pass]).mean()) / _PRIOR_LEVEL_DB

    def level_and_residual(self, sections: Sequence[_Section]) -> tuple[float, Array]:
        """Best constant in dB, and what is left of the target."""
        rest = self.target_db - self.curves_db(sections)
        level = _robust_mean(rest, self.error_db)
        return level, rest - level

    # ---------------------------------------------------------------- search

    def search(self, max_sections: int) -> list[_Section]:
        """Add sections as long as they pay for themselves, then try to leave each one out again."""
        sections: list[_Section] = []
        cost = self._refined(sections)[1]
        while len(sections) < max_sections:
            trials = [self._refined([*sections, c], evaluations=_GLANCE) for c in self._candidates(sections)]
            if not trials:
                break
            glanced, _ = min(trials, key=lambda t: t[1] + self._price(t[0], cost))
            best, best_cost = self._refined(glanced)
            if best_cost + self._price(best, cost) - self._price(sections, cost) >= cost:
                break
            sections, cost = best, best_cost
        return self._pruned(sections, cost)

    def _price(self, sections: Sequence[_Section], cost: float) -> float:
        return sum(len(s.values) for s in sections) * max(_PRICE, _PRICE_SHARE * cost / 3.0)

    def _pruned(self, sections: list[_Section], cost: float) -> list[_Section]:
        for section in list(sections):
            fewer, fewer_cost = self._refined([s for s in sections if s.name != section.name])
            if fewer_cost + self._price(fewer, cost) <= cost + self._price(sections, cost):
                sections, cost = fewer, fewer_cost
        return sections

    def _candidates(self, sections: Sequence[_Section]) -> list[_Section]:
        """The best unused section of every kind, promising ones only."""
        used = {s.name for s in sections}
        _, rest = self.level_and_residual(sections)
        merits, gains = self._merits(rest)
        found: list[tuple[float, _Section]] = []
        for kind in ("low_shelf", "bell", "high_shelf", "highpass", "lowpass"):
            free = [n for n in _NAMES[kind] if n not in used]
            rows = [i for i, shape in enumerate(self.shapes) if shape.kind == kind]
            if not free or not rows:
                continue
            row = max(rows, key=lambda i: merits[i])
            shape = self.shapes[row]
            section = _section(free[0], 2.0 ** shape.values[0], gains[row], 2.0 ** shape.values[-1])
            if self._may_be_used(section):
                found.append((float(merits[row]), section))
        best = sorted(found, key=lambda item: -item[0])
        # The frequency of a pass has not been fitted yet, as the gain of the others has: it looks worse than it is.
        passes = [section for merit, section in best if section.is_pass and merit > 0.0]
        return [section for _, section in best if not section.is_pass][:_CANDIDATES] + passes

    def _merits(self, rest: Array) -> tuple[Array, Array]:
        """By how much each shape lowers the error when its gain (and the level) are chosen best, and that gain."""
        weights = self.error_db**-2
        total = float(weights.sum())
        centred = self.shape_curves - ((self.shape_curves @ weights) / total)[:, None]
        power = (centred**2 @ weights) + self.shape_pulls
        gains = (centred @ (weights * rest)) / np.maximum(power, 1e-12)
        passes = self.shape_pulls == 0.0
        # A pass has no gain: it fits as it is or not.
        fixed = 2.0 * (centred @ (weights * rest)) - centred**2 @ weights
        return np.where(passes, fixed, gains**2 * power), gains

    def _shapes(self) -> list[_Section]:
        """Sections that are tried: every kind over the frequencies that are known."""
        low, high = math.log2(self.frequency_hz[0]), math.log2(self.frequency_hz[-1])
        octaves = np.arange(low - 0.5, high + 0.5, 0.5)
        shapes = []
        for octave in octaves:
            shapes += [_shape("bell", octave, q) for q in (0.7, 1.4, 3.0)]
            shapes += [_shape("low_shelf", octave, BUTTERWORTH_Q), _shape("high_shelf", octave, BUTTERWORTH_Q)]
            shapes += [_shape("highpass", octave, 1.0)] if octave < low + 0.6 * (high - low) else []
            shapes += [_shape("lowpass", octave, 1.0)] if octave > low + 0.6 * (high - low) else []
        return [s for s in shapes if self._is_in_range(s)]

    def _is_in_range(self, shape: _Section) -> bool:
        low, high = self._range(f"{_NAMES[shape.kind][0]}_hz")
        return bool(low <= 2.0 ** shape.values[0] <= high)

    def _may_be_used(self, section: _Section) -> bool:
        low, high = self._range(f"{section.name}_hz")
        if section.is_pass:
            return low < high
        return low < high and self._range(f"{section.name}_db")[0] < self._range(f"{section.name}_db")[1]

    def _range(self, name: str) -> tuple[float, float]:
        spec = EQ.parameter(name)
        return self.allowed.get(name, (spec.minimum, spec.maximum))

    # ---------------------------------------------------------------- refinement

    def _refined(
        self, sections: Sequence[_Section], *, evaluations: int = _EVALUATIONS
    ) -> tuple[list[_Section], float]:
        """Refine all sections together; returns them and their robust chi-square."""
        if not sections:
            return [], self._cost(self.level_and_residual([])[1])
        start = np.concatenate([[0.0], *(s.values for s in sections)])
        start[0] = self.level_and_residual(sections)[0]
        low, high = self._bounds(sections)
        start = np.clip(start, low, high)
        result = scipy.optimize.leastsq(
            self._residuals,
            start,
            args=(sections, low, high),
            Dfun=self._jacobian,
            maxfev=evaluations,
            ftol=1e-4,
            xtol=1e-4,
            full_output=True,
        )
        values = np.clip(result[0], low, high)
        fitted = _with_values(sections, values[1:])
        return fitted, self._cost(self.level_and_residual(fitted)[1]) + self.offset(fitted) ** 2

    def _cost(self, rest: Array) -> float:
        share = np.abs(rest / self.error_db)
        return float(np.where(share <= _ROBUST, share**2, _ROBUST * (2.0 * share - _ROBUST)).sum())

    def _bounds(self, sections: Sequence[_Section]) -> tuple[Array, Array]:
        low, high = [-200.0], [200.0]
        for section in sections:
            for name in ("hz",) if section.is_pass else ("hz", "db", "q"):
                least, most = self._range(f"{section.name}_{name}")
                low.append(least if name == "db" else math.log2(least))
                high.append(most if name == "db" else math.log2(most))
        return np.array(low), np.array(high)

    def _residuals(self, x: Array, sections: Sequence[_Section], low: Array, high: Array) -> Array:
        inside = np.clip(x, low, high)
        fitted = _with_values(sections, inside[1:])
        rest = (inside[0] + self.curves_db(fitted) - self.target_db) / self.error_db
        share = np.abs(rest)
        # The square of this is the robust cost.
        bent = np.where(
            share <= _ROBUST, rest, np.sign(rest) * np.sqrt(_ROBUST * np.maximum(2.0 * share - _ROBUST, 0.0))
        )
        return np.concatenate([bent, _pull(fitted), [self.offset(fitted)], (x - inside) * 10.0])

    def _jacobian(self, x: Array, sections: Sequence[_Section], low: Array, high: Array) -> Array:
        inside = np.clip(x, low, high)
        fitted = _with_values(sections, inside[1:])
        rest = (inside[0] + self.curves_db(fitted) - self.target_db) / self.error_db
        share = np.maximum(np.abs(rest), 1e-9)
        slope = np.where(share <= _ROBUST, 1.0, _ROBUST / np.sqrt(_ROBUST * np.maximum(2.0 * share - _ROBUST, 1e-9)))
        columns, offsets = [np.ones(len(rest))], [0.0]
        for section in fitted:
            step = 1e-3
            moved = np.array([section.values] * (2 * len(section.values)))
            index = np.arange(len(section.values))
            moved[index, index] += step
            moved[index + len(index), index] -= step
            curves = self.curve_db(section.kind, moved)
            slopes = (curves[: len(index)] - curves[len(index) :]) / (2.0 * step)
            columns += list(slopes)
            offsets += [0.0 if section.is_pass else float(c.mean()) / _PRIOR_LEVEL_DB for c in slopes]
        data = np.stack(columns, axis=1) * (slope / self.error_db)[:, None]
        free = (x >= low) & (x <= high)
        data = data * free
        pulls = np.concatenate([_pull_slopes(fitted, len(x)), [offsets]]) * free
        return np.concatenate([data, pulls, np.diag(np.where(free, 0.0, 10.0))])

    def parameters(self, sections: Sequence[_Section]) -> dict[str, float]:
        """Complete EQ parameters; bells in order of frequency, unused sections off."""
        values = EQ.defaults()
        bells = sorted((s for s in sections if s.kind == "bell"), key=lambda s: s.values[0])
        names = {s.name: f"bell{n}" for n, s in enumerate(bells, start=1)}
        for section in sections:
            name = names.get(section.name, section.name)
            values[f"{name}_hz"] = 2.0 ** section.values[0]
            if not section.is_pass:
                values[f"{name}_db"], values[f"{name}_q"] = section.values[1], 2.0 ** section.values[2]
        return {p.name: p.limited(float(values[p.name])) for p in EQ.parameters}


def _shape(kind: BiquadKind, octave: float, q: float) -> _Section:
    """A section of 1 dB that others are measured against."""
    values = (octave,) if kind in ("highpass", "lowpass") else (octave, 1.0, math.log2(q))
    return _Section(kind, kind, values, values)


def _section(name: str, frequency_hz: float, gain_db: float, q: float) -> _Section:
    kind = _KINDS.get(name, "bell")
    values: tuple[float, ...] = (math.log2(frequency_hz),)
    if kind not in ("highpass", "lowpass"):
        values = (math.log2(frequency_hz), float(np.clip(gain_db, -18.0, 18.0)) or 0.1, math.log2(q))
    return _Section(name, kind, values, values)


def _with_values(sections: Sequence[_Section], flat: Array) -> list[_Section]:
    fitted, place = [], 0
    for section in sections:
        size = len(section.values)
        values = tuple(float(v) for v in flat[place : place + size])
        fitted.append(_Section(section.name, section.kind, values, section.start))
        place += size
    return fitted


def _pull(sections: Sequence[_Section]) -> Array:
    pulls = []
    for s in sections:
        pulls.append((s.values[0] - s.start[0]) / _PRIOR_OCTAVES)
        if not s.is_pass:
            pulls += [s.values[1] / _PRIOR_DB, (s.values[2] - s.start[2]) / _PRIOR_Q_OCTAVES]
    return np.array(pulls)


def _pull_slopes(sections: Sequence[_Section], size: int) -> Array:
    widths = []
    for s in sections:
        widths += [_PRIOR_OCTAVES] if s.is_pass else [_PRIOR_OCTAVES, _PRIOR_DB, _PRIOR_Q_OCTAVES]
    slopes = np.zeros((len(widths), size))
    slopes[np.arange(len(widths)), np.arange(1, len(widths) + 1)] = 1.0 / np.array(widths)
    return slopes


def _robust_mean(values: Array, errors: Array) -> float:
    centre = float(np.average(values, weights=errors**-2))
    for _ in range(8):
        share = np.maximum(np.abs(values - centre) / errors, 1e-9)
        centre = float(np.average(values, weights=errors**-2 * np.minimum(1.0, _ROBUST / share)))
    return centre
