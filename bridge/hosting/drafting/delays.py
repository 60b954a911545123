"""Drafts delays from impulse responses: which line makes which tap, times to the sample, levels, cuts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...errors import PluginError, ProfileError
from ...processors import equations as eq
from ...processors.laws import law_of
from ...processors.reference import delay_samples
from ...processors.specs import DELAY, DELAY_TAPS
from ..refs import ParameterDescription
from . import roles
from .laws import fit_form, laws_for, number, reach, section_db
from .probing import RATE_HZ, Audio, Bench, Value, arrivals, impulse
from .recipe import Recipe, Setting, constant, fixed
from .roles import TapControls

Report = Callable[[str], None]

#: Times at which a line is measured (ms); none is a whole number of samples.
_TIMES_MS = (37.13, 61.709, 150.3, 222.22)
#: The time at which level and cuts are.
_TIME_MS = 50.0
_LEVELS_DB = (-3.0, -9.0, -18.0)
_LOW_CUTS_HZ = (120.0, 300.0, 800.0)
_HIGH_CUTS_HZ = (1500.0, 4000.0, 9000.0)

#: Levels are measured here (Hz): no cut reaches it where it is off.
_MIDS_HZ = (300.0, 1000.0)

_FRAMES = round(0.4 * RATE_HZ)
#: A cut is ours if its response is within this (dB).
_CLOSE_DB = 0.6


def draft_delay(bench: Bench, report: Report) -> Recipe:
    """Draft a delay.

    Raises
    ------
    ProfileError
        When no line of it gives one clean echo; the message says what to do.
    PluginError
        As the pool's `render`.
    """
    study = _Study(bench, roles.find_taps(bench.description))
    report(f"{len(study.lines)} delay lines: impulse responses")
    study.begin()
    report(f"{study.offset_words()}; levels and cuts")
    return study.recipe()


@dataclass
class _Study:
    bench: Bench
    lines: list[TapControls]
    base: dict[str, Value] = field(default_factory=dict)
    on: dict[str, Value] = field(default_factory=dict)
    cut_errors: dict[tuple[str, str], float] = field(default_factory=dict)
    offset: float = 0.0
    gain: float = 1.0

    # ------------------------------------------------------------------ one clean echo

    def begin(self) -> None:
        """Find the settings that give one echo and nothing else, and where in the sample its time lies."""
        controls = [c for c in self.bench.description.parameters if c.writable]
        dry, mix = roles.DRY.find(controls), roles.MIX.find(controls)
        if mix is not None:
            self._fix(mix, float(mix.maximum or 1.0))
        if dry is not None:
            self._fix(dry, -math.inf if dry.minimum is None else dry.minimum)
        for line in self.lines:
            least = line.feedback.minimum if line.feedback is not None else None
            if line.feedback is not None and least is not None and line.feedback.default != least:
                self._fix(line.feedback, least)
        found = []
        for line in self.lines:
            # What works for one line works for the next.
            known = [p for p in line.on if p in self.on.values()]
            if any(self._works(line, position) for position in (*known, *line.on) or (None,)):
                found.append(line)
            if len(found) == DELAY_TAPS:
                break
        if not found:
            raise ProfileError(
                f"{self.bench.description.name}: none of its delay times gives one clean echo; "
                "write its profile by hand (docs/profiles.md)"
            )
        self.lines = found
        self.offset = self._offset(found[0])
        self.gain = self._gain(self._heard(found[0], _TIME_MS))

    def _fix(self, control: ParameterDescription, position: float) -> None:
        setting = fixed(control, position)
        self.base[control.name] = setting.text if setting.text is not None else float(setting.value or 0.0)

    def _values(self, line: TapControls, time_ms: float) -> dict[str, Value]:
        values = dict(self.base)
        values[line.time.name] = time_ms / _milliseconds(line.time)
        if line.level is not None:
            values[line.level.name] = 0.0
        for cut, switch, end in (
            (line.low_cut, line.low_cut_on, "minimum"),
            (line.high_cut, line.high_cut_on, "maximum"),
        ):
            if cut is not None:
                values[cut.name] = float(getattr(cut, end) or 0.0)
            if switch is not None:
                values[switch.name] = roles.position_at(switch, on=False) or 0.0
        if line.enable is not None and line.enable.name in self.on:
            values[line.enable.name] = self.on[line.enable.name]
        return values

    def _heard(self, line: TapControls, time_ms: float, more: Mapping[str, Value] | None = None) -> Audio:
        values = {**self._values(line, time_ms), **(more or {})}
        # Times move smoothly to where they are set: the impulse comes once they have arrived.
        fed = np.concatenate([np.zeros((2, _FRAMES)), impulse(_FRAMES)], axis=1)
        out = self.bench.run(values, fed)[0, _FRAMES:]
        return np.asarray(out / fed[0, _FRAMES])

    def _peak(self, response: Audio) -> tuple[int, float]:
        at = int(np.argmax(np.abs(response)))
        return at, float(response[at])

    def _gain(self, response: Audio) -> float:
        """Gain of an echo between the cuts, with its sign."""
        spectrum = np.abs(np.fft.rfft(response))
        low, high = (round(hz * len(response) / RATE_HZ) for hz in _MIDS_HZ)
        return math.copysign(float(np.mean(spectrum[low:high])), self._peak(response)[1])

    def _clean(self, line: TapControls) -> bool:
        """Whether a line gives one echo that moves with its time."""
        first, second = (self._heard(line, t) for t in _TIMES_MS[:2])
        moved = self._peak(second)[0] - self._peak(first)[0]
        wanted = (_TIMES_MS[1] - _TIMES_MS[0]) * RATE_HZ / 1000.0
        alone = all(len(arrivals(r, threshold_db=-30.0)) == 1 for r in (first, second))
        return alone and abs(moved - wanted) <= 2.0

    def _works(self, line: TapControls, position: Value | None) -> bool:
        """Whether a line gives a clean echo with its switch in a position; the first such position stays."""
        if line.enable is not None and position is not None:
            self.on[line.enable.name] = position
        try:
            return self._clean(line)
        except PluginError:
            return False

    def _offset(self, line: TapControls) -> float:
        """What must be added to a time in samples so that the plugin delays by exactly that many.

        The middle of what works: 0.5 where a plugin cuts times down to whole samples, 0 where it rounds.
        """
        wanted = [delay_samples(t, sample_rate_hz=RATE_HZ) for t in _TIMES_MS]
        works = []
        for offset in np.arange(-2.25, 2.3, 0.5):
            heard = (self._peak(self._heard(line, (n + float(offset)) * 1000.0 / RATE_HZ))[0] for n in wanted)
            if list(heard) == wanted:
                works.append(float(offset))
        if not works:
            raise ProfileError(
                f"{self.bench.description.name}: its delay differs from its time by a varying number of samples; "
                "write its profile by hand (docs/profiles.md)"
            )
        return 0.5 * (works[0] + works[-1])

    def offset_words(self) -> str:
        """What was found of the times, for people."""
        return (
            f"time goes to the sample when set {number(self.offset)} samples beyond it"
            if self.offset
            else "time is exact"
        )

    # ------------------------------------------------------------------ writing

    def recipe(self) -> Recipe:
        """Write down how each line follows its tap; taps without a line are silent."""
        recipe = Recipe(DELAY.type)
        recipe.findings.append(f"The {self.offset_words()}.")
        if self.bench.channels == 1:
            recipe.doubts.append("The plugin has one channel: a stereo track needs two of it with the same settings.")
        for name, position in self.base.items():
            control = self.bench.description.parameter(name)
            if control is not None:
                recipe.settings.append(fixed(control, position if isinstance(position, str) else float(position)))
        recipe.law = self._law()
        for n in range(1, DELAY_TAPS + 1):
            if n <= len(self.lines):
                self._write_line(recipe, f"tap{n}", self.lines[n - 1])
            else:
                silent = DELAY.parameter(f"tap{n}_level_db").minimum
                recipe.limits[f"tap{n}_level_db"] = (silent, silent)
        recipe.doubts.append("Pans were not looked for: taps are in the middle.")
        return recipe

    def _law(self) -> str:
        """The law whose cuts are nearest to the plugin's; ours if it has none."""
        line = self.lines[0]
        for control, kind, at_hz in _cuts(line):
            found = [(self._cut_error_db(line, control, kind, at_hz[1], law), law) for law in laws_for(DELAY.type)]
            return min(found, key=lambda pair: pair[0])[1]
        return ""

    def _write_line(self, recipe: Recipe, tap: str, line: TapControls) -> None:
        aimed = f"(delay_samples({tap}_time_ms) {'+' if self.offset >= 0.0 else '-'} {number(abs(self.offset))})"
        aimed = aimed if self.offset else f"delay_samples({tap}_time_ms)"
        scale = _milliseconds(line.time)
        time = f"{aimed} * {number(1000.0 / scale)} / sample_rate_hz"
        low, high = float(line.time.minimum or 0.0), float(line.time.maximum or 0.0)
        recipe.settings.append(Setting(line.time.name, f"min(max({time}, {number(low)}), {number(high)})"))
        recipe.limit(DELAY.parameter(f"{tap}_time_ms"), low * scale, high * scale)
        self._write_level(recipe, tap, line)
        recipe.limits[f"{tap}_pan"] = (0.0, 0.0)
        self._write_cut(recipe, f"{tap}_low_cut_hz", line, line.low_cut, "highpass", _LOW_CUTS_HZ)
        self._write_cut(recipe, f"{tap}_high_cut_hz", line, line.high_cut, "lowpass", _HIGH_CUTS_HZ)

    def _write_level(self, recipe: Recipe, tap: str, line: TapControls) -> None:
        parameter = DELAY.parameter(f"{tap}_level_db")
        own_db = eq.gain_to_db(abs(self.gain))
        if line.enable is not None and line.enable.name in self.on:
            off, on = constant(line.off), constant(self.on[line.enable.name])
            recipe.settings.append(
                Setting(line.enable.name, f"{off} if {tap}_level_db == {tap}_level_db_off else {on}")
            )
        if line.level is None:
            level = float(f"{own_db:.4g}")
            recipe.limits[parameter.name] = (level, level)
            return
        pairs = []
        for level in _LEVELS_DB:
            heard = self._gain(self._heard(line, _TIME_MS, {line.level.name: level}))
            pairs.append((eq.gain_to_db(abs(heard)), level))
        form = fit_form(*zip(*pairs, strict=True), decibels=True)
        low, high = line.level.minimum, float(line.level.maximum or 0.0)
        bottom = -math.inf if low is None else float(low)
        clipped = form.formula(parameter.name)
        reached = reach(form, parameter, low=bottom, high=high)
        recipe.settings.append(Setting(line.level.name, clipped))
        recipe.limit(parameter, *reached)
        if self.gain < 0.0:
            recipe.doubts.append("The echo has the opposite polarity; look for a switch that inverts.")

    def _write_cut(
        self,
        recipe: Recipe,
        name: str,
        line: TapControls,
        control: ParameterDescription | None,
        kind: eq.BiquadKind,
        at_hz: Sequence[float],
    ) -> None:
        parameter = DELAY.parameter(name)
        off = float(parameter.off_at or 0.0)
        if control is None:
            recipe.limits[name] = (off, off)
            return
        scale = _hertz(control)
        low, high = float(control.minimum or 0.0) * scale, float(control.maximum or 0.0) * scale
        if (kind, recipe.law) not in self.cut_errors:
            # Lines of one plugin are built alike: the first speaks for all.
            errors = [self._cut_error_db(line, control, kind, f, recipe.law) for f in at_hz if low <= f <= high]
            self.cut_errors[kind, recipe.law] = max(errors, default=math.inf)
        worst = self.cut_errors[kind, recipe.law]
        inside = f"min(max({name}, {number(low)}), {number(high)}, highest_hz)"
        recipe.settings.append(Setting(control.name, inside if scale == 1.0 else f"{inside} / {number(scale)}"))
        recipe.limit(parameter, max(low, parameter.minimum), min(high, parameter.maximum))
        switch = line.low_cut_on if kind == "highpass" else line.high_cut_on
        if switch is not None:
            recipe.settings.append(Setting(switch.name, _either(switch, f"{name} == {name}_off")))
        if line is self.lines[0]:
            recipe.findings.append(f"{control.name} is within {worst:.2g} dB of the cut of this law.")
        if worst > _CLOSE_DB and line is self.lines[0]:
            recipe.doubts.append(f"{control.name!r} is another filter than ours (up to {worst:.1f} dB).")

    def _cut_error_db(
        self, line: TapControls, control: ParameterDescription, kind: eq.BiquadKind, at_hz: float, law: str
    ) -> float:
        more: dict[str, Value] = {control.name: at_hz / _hertz(control)}
        switch = line.low_cut_on if kind == "highpass" else line.high_cut_on
        if switch is not None:
            more[switch.name] = roles.position_at(switch, on=True) or 0.0
        out = self._heard(line, _TIME_MS, more)
        points = np.unique(np.round(np.geomspace(30.0, 16000.0, 120) * 2 * _FRAMES / RATE_HZ).astype(int))
        seen = np.abs(np.fft.rfft(out, 2 * _FRAMES))[points] / max(abs(self.gain), 1e-9)
        hz = points * RATE_HZ / (2 * _FRAMES)
        wanted = _cut_db(kind, at_hz, hz, law)
        return float(
            np.max(np.abs(np.maximum(20.0 * np.log10(np.maximum(seen, 1e-6)), -30.0) - np.maximum(wanted, -30.0)))
        )


def _cut_db(kind: eq.BiquadKind, at_hz: float, hz: Audio, law: str) -> Audio:
    """Response (dB) of the cut of a law."""
    sections = [section_db(kind, at_hz, 0.0, q, hz, RATE_HZ) for q in law_of(law, DELAY.type).cut_qs]
    return np.asarray(np.sum(sections, axis=0))


def _either(switch: ParameterDescription, off: str) -> str:
    """Formula for a two-way switch that is off under a condition."""
    first, second = (constant(roles.position_at(switch, on=on) or 0.0) for on in (False, True))
    return f"{first} if {off} else {second}"


def _cuts(line: TapControls) -> Iterator[tuple[ParameterDescription, eq.BiquadKind, Sequence[float]]]:
    """The cuts a line has, the kind of each and where to measure it."""
    if line.low_cut is not None:
        yield line.low_cut, "highpass", _LOW_CUTS_HZ
    if line.high_cut is not None:
        yield line.high_cut, "lowpass", _HIGH_CUTS_HZ


def _milliseconds(control: ParameterDescription) -> float:
    return {"s": 1000.0, "sec": 1000.0, "us": 0.001}.get(control.unit.strip().lower(), 1.0)


def _hertz(control: ParameterDescription) -> float:
    return 1000.0 if control.unit.strip().lower() == "khz" else 1.0
