"""The inverse of a profile: from a plugin's own values back to physical parameters; no plugin is run here.

What a profile writes is known as formulas, so its inverse is searched for: one physical parameter after
the other where a value depends on one alone, several at once where it does not. Whatever is found is put
through the formulas again and must give the plugin's values. What lies in files is `response_inverse`'s.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import scipy.optimize

from .errors import PluginSettingError
from .expressions import Value
from .hosting.parameters import number_in
from .profiles import ControlRecipe, Plain, Profile, formula_constants, formula_functions

#: Values that differ by less, relative or in their own unit, are the same: plugins hold single precision, and
#: levels as amplitudes.
SAME_VALUE = 2e-6

#: Places at which a formula is looked at for a sign change, evenly over a parameter's range.
_GRID = 49

#: A neighbour of a point, in shares of the range: what a switch does there need not be what it does at the point.
_BESIDE = 1e-9

#: Halvings that find the end of an interval to the last digit.
_HALVINGS = 60

#: Starts of a search for several parameters, as shares of their ranges.
_STARTS = (0.5, 0.15, 0.85)


@dataclass(frozen=True)
class Reading:
    """What a plugin is set to.

    Attributes
    ----------
    parameters : dict of str to float
        All physical parameters of the profile's processor.
    notes : tuple of str
        Values that were passed over because they are not heard.
    """

    parameters: dict[str, float]
    notes: tuple[str, ...] = ()


def same_value(found: Plain, wanted: Plain, *, resolution: float = 0.0) -> bool:
    """Tell whether two values of a plugin's parameter are one, as closely as a plugin stores them."""
    a, b = _number(found), _number(wanted)
    if a is None or b is None:
        return str(found).strip().casefold() == str(wanted).strip().casefold()
    # Equal infinities are levels of silence.
    return a == b or math.isclose(a, b, rel_tol=SAME_VALUE, abs_tol=max(SAME_VALUE, resolution))


def read_parameters(
    profile: Profile,
    values: Mapping[str, Plain],
    *,
    sample_rate_hz: float,
    near: Mapping[str, float] | None = None,
) -> Reading:
    """Find the physical parameters for which a profile sets these values on its plugin.

    Parameters
    ----------
    profile : Profile
        Of kind "vst3".
    values : mapping of str to float or str
        What the plugin's parameters are at, by name; those the profile does not set are not looked at.
    near : mapping of str to float, optional
        Physical parameters that are taken wherever the values allow them; the defaults if not given. Of
        several settings that write the same values the roundest is taken otherwise.

    Returns
    -------
    Reading
        ``profile.settings`` of its parameters gives `values`, but for those its notes name.

    Raises
    ------
    PluginSettingError
        If there are none; the message names the plugin, the setting and what the profile would write.
    """
    return _Inverse(profile, values, sample_rate_hz, near or profile.spec.defaults()).reading()


def _number(value: Plain) -> float | None:
    return number_in(value) if isinstance(value, str) else float(value)


@dataclass
class _Inverse:
    profile: Profile
    values: Mapping[str, Plain]
    rate: float
    near: Mapping[str, float]
    _ignored: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._controls = self.profile.recipe[0].controls
        self._names: dict[str, Value] = {
            **formula_constants(self.profile.spec, self.rate),
            **self.profile.clamp(self.near),
        }
        self._functions = formula_functions(self.rate)
        self._needs = {c.parameter: self._physical(c) for c in self._controls}

    # ------------------------------------------------------------------ in order

    def reading(self) -> Reading:
        lacking = [c.parameter for c in self._controls if c.parameter not in self.values]
        if lacking:
            raise PluginSettingError(
                f"{self._title}: nothing says what its {lacking[0]} is set to; bypass it or export the session again"
            )
        pending = [c for c in self._controls if self._needs[c.parameter]]
        unknown = {name for names in self._needs.values() for name in names}
        while unknown:
            found = self._next_alone(pending, unknown) or self._next_together(pending, unknown)
            unknown -= found
            pending = [c for c in pending if self._needs[c.parameter] & unknown]
        self._check()
        notes = tuple(self._ignored.values())
        return Reading({name: float(self._names[name]) for name in self.profile.spec.names}, notes)

    def _physical(self, control: ControlRecipe) -> frozenset[str]:
        """The physical parameters a control is computed from, also through intermediate results."""
        if isinstance(control.value, str):
            return frozenset()
        steps = dict(self.profile.let)
        used, open_names = set[str](), set(control.value.uses)
        while open_names:
            name = open_names.pop()
            used.add(name)
            open_names |= (steps[name].uses if name in steps else frozenset()) - used
        return frozenset(used & set(self.profile.spec.names))

    def _next_alone(self, pending: Sequence[ControlRecipe], unknown: set[str]) -> set[str] | None:
        """Find one parameter from controls that depend on no other unknown one; None if there is no such."""
        second: tuple[str, list[ControlRecipe]] | None = None
        for name in (n for n in self.profile.spec.names if n in unknown):
            touching = [c for c in pending if name in self._needs[c.parameter]]
            alone = [c for c in touching if self._needs[c.parameter] & unknown == {name}]
            if alone and len(alone) == len(touching):
                self._solve_one(name, alone)
                return {name}
            if second is None and any(_number(self.values[c.parameter]) is not None for c in alone):
                # Its other controls are left for the parameters that they share with it.
                second = name, alone
        if second is None:
            return None
        self._solve_one(*second)
        return {second[0]}

    # ------------------------------------------------------------------ one parameter

    def _solve_one(self, name: str, controls: Sequence[ControlRecipe]) -> None:
        """Set a parameter so that these controls agree, or as many of them as can."""

        def agrees(value: float) -> bool:
            self._names[name] = value
            return all(self._agrees(c) for c in controls)

        kept = float(self._names[name])
        special = self._special(name)
        if agrees(kept):
            return
        roots = [r for c in controls for r in self._roots(name, c)]
        beside = [p for r in (*roots, *special) for p in self._beside(name, r)]
        for candidate in (*special, *roots, *beside):
            if agrees(candidate):
                self._names[name] = candidate if candidate in special else self._roundest(name, candidate, agrees)
                return
        if not self._switched_off(name, controls, special):
            self._names[name] = min((kept, *special, *roots, *beside), key=lambda v: self._misses(name, v, controls))

    def _special(self, name: str) -> list[float]:
        """Values at which formulas may do something else: default and ends, off, and zero."""
        parameter = self.profile.spec.parameter(name)
        low, high = self.profile.allowed(name)
        wanted = (parameter.default, parameter.off_at, 0.0, low, high)
        return list(dict.fromkeys(v for v in wanted if v is not None and low <= v <= high))

    def _beside(self, name: str, value: float) -> list[float]:
        low, high = self.profile.allowed(name)
        step = _BESIDE * (high - low)
        return [v for v in (value - step, value + step) if low <= v <= high]

    def _at(self, name: str, share: float) -> float:
        """A value of the allowed range by its share, evenly on the parameter's scale."""
        low, high = self.profile.allowed(name)
        logarithmic = self.profile.spec.parameter(name).scale == "log"
        value = low * (high / low) ** share if logarithmic else low + share * (high - low)
        return min(max(value, low), high)

    def _roots(self, name: str, control: ControlRecipe) -> Iterator[float]:
        """Where a control's formula passes through the plugin's value, along one parameter."""
        target = _number(self.values[control.parameter])
        if target is None or not math.isfinite(target):
            return

        def error(value: float) -> float:
            self._names[name] = value
            written = self._number_of(control)
            return written - target if written is not None else math.nan

        low, high = self.profile.allowed(name)
        points = [self._at(name, k / (_GRID - 1)) for k in range(_GRID)]
        # The ends may be where something is off.
        points = sorted({low, *self._beside(name, low), *points, *self._beside(name, high), high})
        errors = [error(p) for p in points]
        for (a, at_a), (b, at_b) in itertools.pairwise(zip(points, errors, strict=True)):
            if math.isfinite(at_a) and math.isfinite(at_b) and at_a * at_b < 0.0:
                yield float(scipy.optimize.brentq(error, a, b, xtol=1e-300, rtol=1e-14))
        # What was cut down to the range on its way lies at its end.
        known = [(abs(e), p) for p, e in zip(points, errors, strict=True) if math.isfinite(e)]
        if known:
            yield min(known)[1]

    def _roundest(self, name: str, good: float, agrees: Callable[[float], bool]) -> float:
        """The value with the fewest digits around `good` for which the controls agree."""
        low, high = (self._edge(good, end, agrees) for end in self.profile.allowed(name))
        middle = low + 0.5 * (high - low)
        for digits in range(1, 16):
            value = float(f"{middle:.{digits}g}")
            if low <= value <= high and agrees(value):
                return value
        return middle if agrees(middle) else good

    def _edge(self, good: float, end: float, agrees: Callable[[float], bool]) -> float:
        """How far one may go from `good` to `end` while the controls agree."""
        if agrees(end):
            return end
        for _ in range(_HALVINGS):
            middle = good + 0.5 * (end - good)
            if agrees(middle):
                good = middle
            else:
                end = middle
        return good

    def _switched_off(self, name: str, controls: Sequence[ControlRecipe], special: Iterable[float]) -> bool:
        """Whether a switch says that a parameter is off; the numbers beside the switch then say nothing.

        Off is where the formula of the switch gives another text than on both sides of that value.
        """
        switches = [c for c in controls if _number(self.values[c.parameter]) is None]
        for value in special:
            self._names[name] = value
            if not switches or not all(self._agrees(c) for c in switches):
                continue
            texts = [self._written(c) for c in switches]
            for beside in self._beside(name, value):
                self._names[name] = beside
                if [self._written(c) for c in switches] == texts:
                    break
            else:
                self._names[name] = value
                shown = f"{switches[0].parameter} is {self.values[switches[0].parameter]}"
                for control in controls:
                    if not self._agrees(control):
                        self._ignored[control.parameter] = (
                            f"{self._title}: {control.parameter} {_shown(self.values[control.parameter])} "
                            f"does nothing while {shown}, and was left out"
                        )
                return True
        return False

    def _misses(self, name: str, value: float, controls: Sequence[ControlRecipe]) -> tuple[int, float]:
        """How many controls disagree at a value, and by how much altogether (relative)."""
        self._names[name] = value
        wrong = [c for c in controls if not self._agrees(c)]
        return len(wrong), sum(self._distance(c) for c in wrong)

    # ------------------------------------------------------------------ several parameters

    def _next_together(self, pending: Sequence[ControlRecipe], unknown: set[str]) -> set[str]:
        """Find parameters that depend on each other through the controls they share."""
        first = min(pending, key=lambda c: len(self._needs[c.parameter] & unknown))
        names = set(self._needs[first.parameter] & unknown)
        controls = [c for c in pending if self._needs[c.parameter] & unknown <= names]
        ordered = [n for n in self.profile.spec.names if n in names]
        if not all(self._agrees(c) for c in controls):
            kept = {n: float(self._names[n]) for n in ordered}
            for held in self._held(ordered, controls):
                self._names.update(kept)
                if self._solve_several([n for n in ordered if n not in held], controls):
                    break
            else:
                self._names.update(kept)
        return names

    def _held(self, names: Sequence[str], controls: Sequence[ControlRecipe]) -> Iterator[tuple[str, ...]]:
        """Which parameters to leave where they are: as many as are too many first, the last ones first; then fewer."""
        for count in range(max(len(names) - len(controls), 0), -1, -1):
            yield from itertools.combinations(reversed(names), count)

    def _solve_several(self, names: Sequence[str], controls: Sequence[ControlRecipe]) -> bool:
        numeric = [c for c in controls if _number(self.values[c.parameter]) is not None]

        def errors(shares: Sequence[float]) -> list[float]:
            for name, share in zip(names, shares, strict=True):
                self._names[name] = self._at(name, float(share))
            return [self._error(c) for c in numeric]

        for start in itertools.product(_STARTS, repeat=len(names)):
            tight = 1e-15
            found = scipy.optimize.least_squares(errors, start, bounds=(0.0, 1.0), xtol=tight, ftol=tight, gtol=tight)
            errors(found.x)
            if all(self._agrees(c) for c in controls):
                for name in names:
                    self._names[name] = self._rounded(name, controls)
                return True
        return False

    def _rounded(self, name: str, controls: Sequence[ControlRecipe]) -> float:
        value = float(self._names[name])

        def agrees(candidate: float) -> bool:
            self._names[name] = candidate
            return all(self._agrees(c) for c in controls)

        return self._roundest(name, value, agrees)

    # ------------------------------------------------------------------ what the profile writes

    def _written(self, control: ControlRecipe) -> Plain | None:
        """What the profile writes with the parameters as they are now; None where a formula has no result."""
        if isinstance(control.value, str):
            return control.value
        try:
            for name, formula in self.profile.let:
                self._names[name] = formula(self._names, self._functions)
            value = control.value(self._names, self._functions)
        except ValueError:
            return None
        return float(value) if isinstance(value, bool) else value

    def _number_of(self, control: ControlRecipe) -> float | None:
        written = self._written(control)
        number = None if written is None else _number(written)
        return number if number is not None and math.isfinite(number) else None

    def _error(self, control: ControlRecipe) -> float:
        """Difference of what is written to what was found, relative to the latter."""
        target, written = _number(self.values[control.parameter]), self._number_of(control)
        if target is None or written is None or not math.isfinite(target):
            return 1.0
        return (written - target) / max(abs(target), 1.0)

    def _distance(self, control: ControlRecipe) -> float:
        return min(abs(self._error(control)), 1e6)

    def _agrees(self, control: ControlRecipe) -> bool:
        written = self._written(control)
        if written is None:
            return False
        resolution = 0.0
        if control.resolution is not None:
            resolution = float(control.resolution(self._names, self._functions))
        return same_value(self.values[control.parameter], written, resolution=resolution)

    # ------------------------------------------------------------------ the proof

    @property
    def _title(self) -> str:
        return self.profile.plugin.name if self.profile.plugin is not None else self.profile.name

    def _check(self) -> None:
        """Compare everything the profile writes with the plugin's values."""
        for control in self._controls:
            if control.parameter in self._ignored or self._agrees(control):
                continue
            found = _shown(self.values[control.parameter])
            if self.profile.shows_only(control.parameter):
                self._ignored[control.parameter] = (
                    f"{self._title}: {control.parameter} is {found}, which only changes its display, and was left out"
                )
                continue
            written = self._written(control)
            nearest = f"; set it to {_shown(written)}" if written is not None else "; reset it"
            raise PluginSettingError(
                f"{self._title}: {control.parameter} is {found}, which the profile "
                f"{self.profile.suite}/{self.profile.name} never writes{nearest}, or bypass the plugin"
            )


def _shown(value: Plain | None) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
