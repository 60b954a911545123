"""Drafts compressors and gates: settings of side-chain switches, law, curve and times, from level steps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...errors import ParameterError, PluginError, ProfileError
from ...null_test import null_depth_db
from ...processors.laws import law_of
from ...processors.reference import apply_processor
from ...processors.specs import Parameter, spec_of
from ..refs import ParameterDescription
from . import roles
from .laws import TIMES, DynamicsFit, Form, fit_curve, fit_form, fit_times, laws_for, matters, number
from .probing import (
    RATE_HZ,
    Audio,
    Bench,
    Value,
    gain_at,
    latency_samples,
    level_steps,
    material,
    stair_ends,
    stairs,
)
from .recipe import Recipe, fixed

Report = Callable[[str], None]

#: Settings at which curve and times are fitted.
_SETS = 6
#: Switches are not tried further once the null is this deep (dB).
_DEEP_DB = -70.0
#: A position of a switch must deepen the null by this much (dB) to be taken.
_GAIN_DB = 1.0
#: An output that is the input within this (dB), but for a constant gain, was not processed.
_ASLEEP_DB = -70.0
#: Laws are told apart by how well they fit the level steps where that differs by more than this factor, or dB.
_ALIKE, _ALIKE_DB = 3.0, 0.02
#: A steady curve is not ours if it is off by more than this (dB).
_BAD_CURVE_DB = 0.2
#: Times are not looked for where the curve is off by more than this (dB).
_HOPELESS_DB = 2.0
#: More positions than this are a list of presets rather than a switch.
_MOST_POSITIONS = 8

#: Where measurements move each parameter: from, to, in its own unit.
_SPANS: Mapping[str, tuple[float, float]] = {
    "threshold_db": (-35.3, -13.1),
    "ratio": (1.7, 8.0),
    "attack_ms": (2.0, 15.0),
    "release_ms": (20.0, 50.0),
    "knee_db": (0.0, 9.0),
    "makeup_db": (0.0, 6.0),
    "range_db": (12.0, 36.0),
}

#: Positions to begin with, by the name of the switch: what the reference does.
_PREFERRED: tuple[tuple[str, str], ...] = (
    (r"\b(mode|detect\w*|type)\b", r"\bpeak\b"),
    (r"\b(source|link|detect\w*|stereo)\b", r"^max"),
    (r"\bmode\b", r"^down"),
    (r"\btype\b", r"^feed forward"),
)


def draft_dynamics(bench: Bench, processor: str, report: Report) -> Recipe:
    """Draft a compressor or gate.

    Raises
    ------
    ProfileError
        When no curve of ours fits, or it has no threshold; the message says what to do.
    PluginError
        As the pool's `render`.
    """
    found = roles.find_roles(bench.description, processor)
    if "threshold_db" not in found:
        raise ProfileError(
            f"{bench.description.name}: no control is named like a threshold; "
            "write its profile by hand (docs/profiles.md)"
        )
    study = _Study(bench, processor, found)
    study.begin()
    report("level steps: which law, which switches")
    study.leave_broken_knee()
    best = study.choose_law()
    best = study.choose_switches(best, report)
    if best.null_db > -6.0:
        raise ProfileError(
            f"{bench.description.name}: does not do what a {processor} of ours does (null {best.null_db:.1f} dB); "
            "name another type with --processor, or write its profile by hand (docs/profiles.md)"
        )
    report(f"level steps at {_SETS} settings: curve and times")
    return study.recipe(best)


@dataclass(frozen=True)
class _Trial:
    """One choice of switches: what fits it best, and how deep it nulls on music-like material."""

    switches: Mapping[str, Value]
    fit: DynamicsFit
    null_db: float
    gains: tuple[Audio, Audio]
    music: Audio


@dataclass
class _Study:
    bench: Bench
    processor: str
    controls: Mapping[str, ParameterDescription]
    switches: dict[str, Value] = field(default_factory=dict)
    latency: int = 0
    laws: tuple[str, ...] = ()
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spec = spec_of(self.processor)
        self.steps, self.stairs, self.music = level_steps(), stairs(), material()
        self.laws = laws_for(self.processor)
        self.settings = _spread(self.controls)
        self.all = [c for c in self.bench.description.parameters if c.writable]

    # ------------------------------------------------------------------ rendering

    def begin(self) -> None:
        """Set switches to where their names say, one by one if the plugin takes them."""
        taken = {c.name for c in self.controls.values()}
        for control in (roles.DRY.find(self.all, taken), roles.MIX.find(self.all, taken)):
            if control is not None:
                end = control.minimum if control is roles.DRY.find(self.all, taken) else control.maximum
                setting = fixed(control, float(end if end is not None else 0.0))
                self.switches[control.name] = setting.text if setting.text is not None else float(setting.value or 0.0)
        for control in self._free_switches():
            position = _preferred(control)
            if position is not None:
                self.switches[control.name] = position
        # With everything open nothing is held back: what remains of a delay is latency.
        self.latency = latency_samples(self.bench, self.switches)

    def _free_switches(self) -> list[ParameterDescription]:
        taken = {c.name for c in self.controls.values()} | {
            n for n in self.switches if (c := self.bench.description.parameter(n)) and not roles.is_switch(c)
        }
        return [
            c
            for c in self.all
            if c.name not in taken
            and roles.is_switch(c)
            and not roles.is_cosmetic(c)
            and len(roles.positions(c)) <= _MOST_POSITIONS
        ]

    def _run(self, switches: Mapping[str, Value], settings: Mapping[str, float], audio: Audio) -> Audio:
        values = {**switches, **{self.controls[name].name: value for name, value in settings.items()}}
        fed = np.pad(audio, ((0, 0), (0, self.latency)))
        return self.bench.run(values, fed)[:, self.latency :]

    # ------------------------------------------------------------------ law and switches

    def leave_broken_knee(self) -> None:
        """Keep a knee at its hardest where only that gives a curve of ours."""
        control = self.controls.get("knee_db")
        if control is None:
            return
        hard = min(max(0.0, float(control.minimum or 0.0)), float(control.maximum or 0.0))

        def worst(settings: Mapping[str, float]) -> float:
            gains = self._outputs(self.switches, settings)
            start = self._start(settings)
            fits = (fit_curve(self.processor, law, gains[0], start=start, held=self._held()) for law in self.laws)
            return min(fit.error_db for fit in fits)

        soft, hardest = worst(self.settings[0]), worst({**self.settings[0], "knee_db": hard})
        if soft > _BAD_CURVE_DB and hardest < 0.25 * soft:
            self.remarks.append(f"Its {control.name!r} stays at {number(hard)}: with more its curve is none of ours.")
            self.controls = {n: c for n, c in self.controls.items() if n != "knee_db"}
            self.settings = [{n: v for n, v in s.items() if n != "knee_db"} for s in self.settings]
            self.switches[control.name] = hard

    def choose_law(self) -> _Trial:
        """Fit every law at the first settings; keep those that fit the level steps for what follows."""
        self.laws = laws_for(self.processor)
        trials = self._trials(self.switches, start=None)
        bound = max(_ALIKE * min(t.fit.error_db for t in trials), _ALIKE_DB)
        trials = [t for t in trials if t.fit.error_db <= bound]
        self.laws = tuple(t.fit.law for t in trials)
        return min(trials, key=lambda t: t.null_db)

    def _trials(self, switches: Mapping[str, Value], *, start: _Trial | None) -> list[_Trial]:
        settings = self.settings[0]
        outputs = self._outputs(switches, settings)
        same = start is not None and all(map(np.array_equal, outputs, start.gains))
        music = self._run(switches, settings, self.music)
        works = self._works(music)
        trials = []
        for law in self.laws:
            if not works:
                fit = DynamicsFit(law, self._start(settings), math.inf)
            elif start is not None and same and start.fit.law == law:
                fit = start.fit
            else:
                fit = self._fit(law, outputs, settings)
            depth_db = null_depth_db(music, self._reference(fit, self.music)) if works else 0.0
            trials.append(_Trial(dict(switches), fit, depth_db, outputs, music))
        return trials

    def _outputs(self, switches: Mapping[str, Value], settings: Mapping[str, float]) -> tuple[Audio, Audio]:
        """Steady gains on the stairs, taken with short times, and the gain at each sample of the steps."""
        quick = {n: v for n, v in _shortest(self.controls).items() if n in settings}
        stair = self._run(switches, {**settings, **quick}, self.stairs)
        step = self._run(switches, settings, self.steps)
        every = np.arange(self.steps.shape[1])
        return gain_at(self.stairs, stair, stair_ends()), gain_at(self.steps, step, every)

    def _fit(self, law: str, outputs: tuple[Audio, Audio], settings: Mapping[str, float]) -> DynamicsFit:
        start = self._start(settings)
        curve = fit_curve(self.processor, law, outputs[0], start=start, held=self._held())
        if curve.error_db > _HOPELESS_DB:
            return curve
        return fit_times(self.processor, law, outputs[1], start=curve.parameters)

    def _start(self, settings: Mapping[str, float]) -> dict[str, float]:
        """Where fits begin: the plugin's values taken literally."""
        return {**self._without_control(), **{n: self._first_guess(n, v) for n, v in settings.items()}}

    def _held(self) -> tuple[str, ...]:
        """A floor that no control sets is as far down as ours can be: no step is deep enough to show it."""
        return () if "range_db" in self.controls or self.processor != "gate" else ("range_db",)

    def _without_control(self) -> dict[str, float]:
        start = self.spec.defaults() | {"threshold_db": -24.0, "ratio": 4.0, "knee_db": 1.0}
        if "range_db" in start and "range_db" not in self.controls:
            start["range_db"] = self.spec.parameter("range_db").maximum
        return start

    def _first_guess(self, name: str, value: float) -> float:
        parameter = self.spec.parameter(name)
        guess = value * _milliseconds(self.controls[name]) if parameter.unit == "ms" else value
        guess = abs(guess) if name in ("knee_db", "range_db") else guess
        return min(max(guess, parameter.minimum), parameter.maximum)

    def _reference(self, fit: DynamicsFit, audio: Audio) -> Audio:
        return apply_processor(self.processor, audio, parameters=fit.parameters, sample_rate_hz=RATE_HZ, law=fit.law)

    def choose_switches(self, best: _Trial, report: Report) -> _Trial:
        """Try the positions of each switch; keep what nulls deeper."""
        for control in self._free_switches():
            if best.null_db < _DEEP_DB:
                break
            for position in roles.positions(control):
                if best.switches.get(control.name, control.default) == position:
                    continue
                trial = self._tried({**best.switches, control.name: position}, best)
                if trial is not None and trial.null_db < best.null_db - _GAIN_DB:
                    report(f"{control.name} = {position}: null {trial.null_db:.1f} dB")
                    best = trial
        if best.fit.error_db > _ALIKE_DB and best.switches != self.switches:
            self.switches = dict(best.switches)
            return self.choose_law()
        return best

    def _tried(self, switches: Mapping[str, Value], best: _Trial) -> _Trial | None:
        """The best trial with other switches; None where the plugin refuses or nothing changes."""
        try:
            outputs = self._run(switches, self.settings[0], self.music)
            if np.array_equal(outputs, best.music) or not self._works(outputs):
                return None
            return min(self._trials(switches, start=best), key=lambda t: t.null_db)
        except PluginError:
            return None

    def _works(self, out: Audio) -> bool:
        """Whether the plugin does more than a fader: one that is asleep would null with one that is asleep."""
        energy = float(np.sum(self.music**2))
        gain = float(np.sum(self.music * out)) / energy
        return bool(np.any(out)) and null_depth_db(out, gain * self.music) > _ASLEEP_DB

    # ------------------------------------------------------------------ curve and times

    def recipe(self, best: _Trial) -> Recipe:
        """Fit all settings and write down how each control follows its parameter."""
        fits = [best.fit]
        for settings in self.settings[1:]:
            fits.append(self._fit(best.fit.law, self._outputs(best.switches, settings), settings))
        recipe = Recipe(self.processor, best.fit.law, "linked", latency_samples=self.latency)
        recipe.findings += self.remarks
        if self.bench.channels == 1:
            recipe.stereo = "per channel"
            recipe.doubts.append("The plugin has one channel: a stereo track needs two of it with the same settings.")
            if law_of(best.fit.law, self.processor).linked:
                recipe.expected = "two plugins of one channel each listen to their own side, the law to the louder one"
        for name, position in best.switches.items():
            control = self.bench.description.parameter(name)
            if control is not None:
                recipe.settings.append(fixed(control, position if isinstance(position, str) else float(position)))
        for name in self.spec.names:
            if name in self.controls:
                self._follow(recipe, name, fits)
            else:
                self._leave(recipe, name, fits)
        if self._held():
            recipe.expected = "it has no floor: what ours attenuates by its range, and no more, it attenuates on and on"
        errors = [fit.error_db for fit in fits]
        recipe.findings.append(
            f"Gains over level steps differ from {_law_words(best.fit.law)} by {np.median(errors):.2g} dB (median of "
            f"{len(fits)} settings; worst {max(errors):.2g} dB)."
        )
        if max(errors) > 0.5:
            recipe.doubts.append(f"The curve or the times differ by {max(errors):.2g} dB at some settings.")
        return recipe

    def _follow(self, recipe: Recipe, name: str, fits: Sequence[DynamicsFit]) -> None:
        parameter, control = self.spec.parameter(name), self.controls[name]
        if not matters(self.processor, recipe.law, name, fits[0].parameters, self.steps):
            recipe.findings.append(f"Its {control.name!r} has no counterpart in this law and stays at its default.")
            return
        pairs = [
            (fit.parameters[name], settings[name])
            for fit, settings in zip(fits, self.settings, strict=True)
            if _well_inside(parameter, fit.parameters[name])
        ]
        if len(pairs) < 3:
            recipe.doubts.append(f"{control.name!r} did not move {name} as expected; it follows it one to one.")
            pairs = [(v, v) for v in (s[name] for s in self.settings)]
        form = _robust(pairs, decibels=parameter.unit == "dB")
        try:
            recipe.put(control, form, parameter)
        except ParameterError as error:
            raise ProfileError(f"{self.bench.description.name}: {error}; write its profile by hand") from None
        unit = " dB" if parameter.unit == "dB" else " %"
        worst = form.worst if parameter.unit == "dB" else 100.0 * form.worst
        within = f"within {worst:.2g}{unit}" if worst >= 0.01 else "exactly"
        recipe.findings.append(f"{control.name} = {form.formula(name)} ({within}).")
        if worst > (0.5 if parameter.unit == "dB" else 3.0):
            recipe.doubts.append(f"{control.name!r} follows {name} only within {worst:.2g}{unit}.")

    def _leave(self, recipe: Recipe, name: str, fits: Sequence[DynamicsFit]) -> None:
        """A parameter without a control has the value that fits, if it has any effect."""
        parameter = self.spec.parameter(name)
        if not matters(self.processor, recipe.law, name, fits[0].parameters, self.steps):
            return
        values = [fit.parameters[name] for fit in fits]
        value = float(np.median(values))
        if parameter.unit == "dB" and abs(value) < 0.05:
            value = 0.0
        value = min(max(float(f"{value:.4g}"), parameter.minimum), parameter.maximum)
        recipe.limits[name] = (value, value)
        recipe.findings.append(f"It has no control for {name}, which is {number(value)}.")
        if np.ptp(values) > (1.0 if parameter.unit == "dB" else 0.1 * value):
            ends = f"{number(float(f'{min(values):.3g}'))} to {number(float(f'{max(values):.3g}'))}"
            recipe.doubts.append(f"It has no control for {name}, which goes from {ends} with its other controls.")


def _robust(pairs: Sequence[tuple[float, float]], *, decibels: bool) -> Form:
    """The form of a knob from fitted pairs, without the one that fits worst if it stands out."""
    form = fit_form(*zip(*pairs, strict=True), decibels=decibels)
    if len(pairs) < 5:
        return form
    errors = [abs(form.value(x) - v) for x, v in pairs]
    rest = [p for k, p in enumerate(pairs) if k != int(np.argmax(errors))]
    other = fit_form(*zip(*rest, strict=True), decibels=decibels)
    return other if other.worst < 0.2 * form.worst else form


def _well_inside(parameter: Parameter, value: float) -> bool:
    """Whether a fit did not end at an end of the range, where it means nothing."""
    if parameter.scale == "log":
        return parameter.minimum * 1.001 < value < parameter.maximum * 0.999
    slack = 1e-3 * (parameter.maximum - parameter.minimum)
    return value < parameter.maximum - slack and (value > parameter.minimum + slack or parameter.minimum == 0.0)


def _law_words(law: str) -> str:
    return f"the law {law!r}" if law else "the reference law"


def _milliseconds(control: ParameterDescription) -> float:
    return {"s": 1000.0, "sec": 1000.0, "us": 0.001}.get(control.unit.strip().lower(), 1.0)


def _preferred(control: ParameterDescription) -> str | None:
    """The choice that a switch of that name should have for the reference's law, or None."""
    for name, wanted in _PREFERRED:
        if re.search(name, roles.plain(control.name)):
            found = next((c for c in control.choices if re.search(wanted, roles.plain(c))), None)
            if found is not None:
                return found
    return None


def _shortest(controls: Mapping[str, ParameterDescription]) -> dict[str, float]:
    """Times short enough for a steady gain on every step of the stairs, in the plugin's units."""
    wanted_ms = {"attack_ms": 1.0, "release_ms": 20.0}
    return {
        name: min(max(wanted_ms[name] / _milliseconds(c), float(c.minimum or 0.0)), float(c.maximum or 0.0))
        for name, c in controls.items()
        if name in TIMES
    }


def _spread(controls: Mapping[str, ParameterDescription]) -> list[dict[str, float]]:
    """Settings that move all controls independently of each other, in the plugin's units."""
    random = np.random.default_rng(5)
    columns: dict[str, list[float]] = {}
    for name, control in controls.items():
        low, high = (x / _milliseconds(control) for x in _SPANS[name]) if name.endswith("_ms") else _SPANS[name]
        bottom, top = float(control.minimum or 0.0), float(control.maximum or 0.0)
        if name in ("knee_db", "range_db") and bottom < 0.0:
            low, high = -high, -low
        low, high = min(max(low, bottom), top), min(max(high, bottom), top)
        shares = (random.permutation(_SETS) + 0.5) / _SETS
        if low > 0.0 and name not in ("knee_db", "makeup_db"):
            columns[name] = [float(low * (high / low) ** s) for s in shares]
        else:
            columns[name] = [float(low + (high - low) * s) for s in shares]
    return [{name: float(f"{column[k]:.4g}") for name, column in columns.items()} for k in range(_SETS)]
