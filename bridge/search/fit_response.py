"""Fits one parametric equalizer to a wanted frequency response, phase included, by least squares."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.optimize

from ..processors.equations import BiquadKind, biquad, db_to_gain
from ..processors.laws import law_of
from ..processors.specs import BELLS, EQ
from .amounts import EQ_BANDS, EQ_PASSES, allowed, audible_grid_hz, pass_is_off
from .parameters import Limits

#: By this much a fitted response may differ from the wanted one, phase included: an error of 0.25 dB
#: is one of 2.9 % of the wanted response, whatever its phase. Where that is further than `_DEPTH_DB`
#: below its peak, the error may be as large as it may be there.
LARGEST_ERROR_DB = 0.25
_DEPTH_DB = 30.0

#: Bells begin here where there is nothing to put into them.
_SPARE_HZ = (80.0, 300.0, 1200.0, 5000.0)

_MOST_STEPS = 80

#: Step of the numerical derivatives, in decibels or natural logarithms.
_DERIVATIVE_STEP = 1e-5

_LOGARITHMIC = np.array([p.scale == "log" for p in EQ.parameters])

Response = npt.NDArray[np.complex128]
Numbers = npt.NDArray[np.float64]


def fitted(
    wanted: Response,
    begin: dict[str, float],
    *,
    law: str,
    sample_rate_hz: float,
    limits: Limits | None = None,
    largest_error_db: float = LARGEST_ERROR_DB,
) -> dict[str, float] | None:
    """Settings of an equalizer with a wanted response, by least squares.

    Parameters
    ----------
    wanted : array of complex, shape=(frequencies,)
        On `amounts.audible_grid_hz`.
    begin : dict of str to float
        Where the fit begins. Passes that are off there stay off; all bands take part.

    Returns
    -------
    dict of str to float or None
        None where the best fit is further off than `LARGEST_ERROR`.
    """
    ranges = tuple(allowed(p, EQ.type, limits) for p in EQ.parameters)
    start = _with_spares(begin)
    found, error = _fitted(wanted.tobytes(), tuple(start[n] for n in EQ.names), ranges, law, sample_rate_hz)
    return dict(zip(EQ.names, found, strict=True)) if error <= db_to_gain(largest_error_db) - 1.0 else None


# Every step of tidying asks again for all merges that are possible.
@lru_cache(maxsize=512)
def _fitted(
    wanted: bytes, begin: tuple[float, ...], ranges: tuple[tuple[float, float], ...], law: str, sample_rate_hz: float
) -> tuple[tuple[float, ...], float]:
    """Settings that fit best and their largest error in shares of the wanted response."""
    problem = _Problem(np.frombuffer(wanted, dtype=np.complex128), begin, ranges, law, sample_rate_hz)
    low, high = problem.low, problem.high
    found = scipy.optimize.least_squares(
        lambda positions: _parts(problem.error(positions)),
        np.clip(problem.first, low, high),
        jac=lambda positions: _parts(problem.derivatives(positions)),
        bounds=(low, high),
        x_scale=(high - low) * 0.05,
        max_nfev=_MOST_STEPS,
        ftol=1e-6,
        xtol=1e-6,
    )
    return tuple(problem.settings(found.x).tolist()), float(np.abs(problem.error(found.x)).max())


def _parts(numbers: Response) -> Numbers:
    """Real above imaginary parts."""
    return np.concatenate([numbers.real, numbers.imag])


class _Problem:
    """What the least-squares solver asks for; a position is a decibel or the logarithm of a frequency or Q."""

    def __init__(
        self,
        wanted: Response,
        begin: tuple[float, ...],
        ranges: tuple[tuple[float, float], ...],
        law: str,
        sample_rate_hz: float,
    ) -> None:
        self.wanted = wanted
        # Where the wanted response is far down, an error is judged by what it is to the whole.
        self.scale = np.maximum(np.abs(wanted), np.abs(wanted).max() * db_to_gain(-_DEPTH_DB))
        self.begin, self.ranges = np.array(begin), np.array(ranges)
        self.pass_qs, self.rate_hz = law_of(law, EQ.type).pass_qs, sample_rate_hz
        self.delay = np.exp(-2.0j * np.pi * audible_grid_hz(sample_rate_hz) / sample_rate_hz)
        values = dict(zip(EQ.names, begin, strict=True))
        on = [*(n for n in EQ_PASSES if not pass_is_off(values, n)), *EQ_BANDS]
        names = [(n, [f"{n}_hz"] if n in EQ_PASSES else [f"{n}_hz", f"{n}_db", f"{n}_q"]) for n in on]
        #: Sections that take part, each with the places of its parameters.
        self.sections = [(n, [EQ.names.index(name) for name in own]) for n, own in names]
        taking_part = {place for _, places in self.sections for place in places}
        self.free = np.array([i for i, (low, high) in enumerate(ranges) if i in taking_part and low < high])
        self.logarithmic = _LOGARITHMIC[self.free]
        self.first = self._positions(self.begin)
        self.low, self.high = (self._positions(bound) for bound in self.ranges.T)

    def _positions(self, numbers: Numbers) -> Numbers:
        own = numbers[self.free]
        return np.where(self.logarithmic, np.log(np.where(self.logarithmic, own, 1.0)), own)

    def settings(self, positions: Numbers) -> Numbers:
        """All parameters of the equalizer at a position, in slider order."""
        numbers = self.begin.copy()
        held = np.clip(positions, self.low, self.high)
        numbers[self.free] = np.where(self.logarithmic, np.exp(np.where(self.logarithmic, held, 0.0)), held)
        # An exponential of a logarithm may be past the end by a rounding error.
        return np.asarray(np.clip(numbers, self.ranges[:, 0], self.ranges[:, 1]))

    def error(self, positions: Numbers) -> Response:
        """Difference to the wanted response in shares of it, shape (frequencies,)."""
        numbers = self.settings(positions)
        response = np.prod([self._section(name, numbers[places]) for name, places in self.sections], axis=0)
        return np.asarray((response - self.wanted) / self.scale)

    def derivatives(self, positions: Numbers) -> Response:
        """Of `error` by the positions, shape (frequencies, positions): a position changes one section only."""
        numbers = self.settings(positions)
        responses = [self._section(name, numbers[places]) for name, places in self.sections]
        whole = np.prod(responses, axis=0) / self.scale
        columns = {}
        for (name, places), response in zip(self.sections, responses, strict=True):
            for place in places:
                step = _DERIVATIVE_STEP * (numbers[place] if _LOGARITHMIC[place] else 1.0)
                moved = numbers.copy()
                moved[place] += step
                columns[place] = whole * (self._section(name, moved[places]) / response - 1.0) / _DERIVATIVE_STEP
        return np.stack([columns[place] for place in self.free], axis=1)

    def _section(self, name: str, numbers: Numbers) -> Response:
        if name in EQ_PASSES:
            kind: BiquadKind = "highpass" if name == "highpass" else "lowpass"
            return np.asarray(np.prod([self._biquad(kind, numbers[0], 0.0, q) for q in self.pass_qs], axis=0))
        kind = "low_shelf" if name == "low_shelf" else "high_shelf" if name == "high_shelf" else "bell"
        return self._biquad(kind, numbers[0], numbers[1], numbers[2])

    def _biquad(self, kind: BiquadKind, frequency_hz: float, gain_db: float, q: float) -> Response:
        b0, b1, b2, a1, a2 = biquad(
            kind, frequency_hz=frequency_hz, gain_db=gain_db, q=q, sample_rate_hz=self.rate_hz, xp=np
        )
        z = self.delay
        return np.asarray((b0 + z * (b1 + z * b2)) / (1.0 + z * (a1 + z * a2)))


def _with_spares(values: dict[str, float]) -> dict[str, float]:
    """Bells that are off where a fit begins are spread over the spectrum."""
    found = dict(values)
    off = [band for band in EQ_BANDS[1 : BELLS + 1] if values[f"{band}_db"] == 0.0]
    for band, frequency_hz in zip(off, _SPARE_HZ, strict=False):
        found |= {f"{band}_hz": frequency_hz, f"{band}_q": 1.0}
    return found
