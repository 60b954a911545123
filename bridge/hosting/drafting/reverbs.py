"""Drafts reverbs: decay, pre-delay, level and cuts from impulse responses; reflections are never the same.

A reverb with reflections of its own cannot null; a draft makes it as loud, as long and as late as ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ...errors import ParameterError, ProfileError
from ...processors import equations as eq
from ...processors.reference import apply_processor
from ...processors.specs import REVERB
from ..refs import ParameterDescription
from . import roles
from .laws import Form, fit_form, number
from .probing import RATE_HZ, Audio, Bench, Value, arrivals, decay_time_s, octave_energy
from .recipe import Recipe, Setting, fixed

Report = Callable[[str], None]

#: Decays at which length and level are measured (s), and pre-delays (ms).
_DECAYS_S = (0.4, 0.8, 1.5, 2.5, 4.0)
_PRE_DELAYS_MS = (0.0, 10.0, 40.0)
_DECAY_S = 1.0
#: Octaves that stand for the lows, the mids and the highs (Hz).
_OCTAVES_HZ = (125.0, 1000.0, 8000.0)
#: A level of this (dB) is measured; % stand for a linear gain.
_LEVEL_PERCENT = 50.0
_LEVEL_DB = -6.0


def draft_reverb(bench: Bench, report: Report) -> Recipe:
    """Draft a reverb.

    Raises
    ------
    ProfileError
        When it has no decay time, or its decay does not follow it.
    PluginError
        As the pool's `render`.
    """
    found = roles.find_roles(bench.description, REVERB.type)
    if "decay_s" not in found:
        raise ProfileError(
            f"{bench.description.name}: no control is named like a decay time; "
            "write its profile by hand (docs/profiles.md)"
        )
    study = _Study(bench, found)
    study.begin()
    report("impulse responses: decay and level")
    recipe = Recipe(REVERB.type)
    study.write_decay(recipe)
    report("impulse responses: pre-delay, level")
    study.write_level(recipe)
    study.write_rest(recipe)
    return recipe


@dataclass
class _Study:
    bench: Bench
    controls: Mapping[str, ParameterDescription]
    base: dict[str, Value] = field(default_factory=dict)
    measured: list[tuple[float, float, float]] = field(default_factory=list)

    def begin(self) -> None:
        """Leave nothing but the reverberation: no dry signal, no early reflections."""
        taken = {c.name for c in self.controls.values()}
        free = [c for c in self.bench.description.parameters if c.writable and c.name not in taken]
        for role, end in ((roles.DRY, "minimum"), (roles.EARLY, "minimum"), (roles.MIX, "maximum")):
            control = role.find(free)
            if control is not None:
                setting = fixed(
                    control, float(getattr(control, end) if getattr(control, end) is not None else -math.inf)
                )
                self.base[control.name] = setting.text if setting.text is not None else float(setting.value or 0.0)

    # ------------------------------------------------------------------ measuring

    def _response(self, *, decay_s: float, more: Mapping[str, Value] | None = None) -> Audio:
        """Impulse response (2, n) at some decay, everything else open and dry as bone."""
        values = dict(self.base)
        values[self.controls["decay_s"].name] = self._clipped("decay_s", decay_s / _seconds(self.controls["decay_s"]))
        for name, wanted in (("pre_delay_ms", 0.0), ("low_cut", 0.0), ("high_cut", 96000.0), ("width", 100.0)):
            if name in self.controls:
                values[self.controls[name].name] = self._clipped(name, wanted)
        if "level_db" in self.controls:
            values[self.controls["level_db"].name] = _LEVEL_PERCENT if self._in_percent() else _LEVEL_DB
        fed = np.zeros((2, round((1.6 * decay_s + 0.5) * RATE_HZ)))
        fed[:, 0] = 1.0
        return self.bench.run({**values, **(more or {})}, fed)

    def _clipped(self, name: str, value: float) -> float:
        control = self.controls[name]
        return min(max(value, float(control.minimum or 0.0)), float(control.maximum or 0.0))

    def _in_percent(self) -> bool:
        return self.controls["level_db"].unit.strip() == "%"

    def _onset_ms(self, response: Audio) -> float:
        return arrivals(response[0], threshold_db=-30.0)[0] * 1000.0 / RATE_HZ

    # ------------------------------------------------------------------ writing

    def write_decay(self, recipe: Recipe) -> None:
        """How the decay follows ours, and how lows and highs go with it."""
        control = self.controls["decay_s"]
        for decay_s in _DECAYS_S:
            response = self._response(decay_s=decay_s)
            energy = octave_energy(response, _OCTAVES_HZ[1])
            self.measured.append((decay_s / _seconds(control), decay_time_s(energy), float(np.sum(energy))))
        seen = [(rt, value) for value, rt, _ in self.measured if rt > 0.0]
        if len(seen) < 3 or max(rt for rt, _ in seen) < 1.5 * min(rt for rt, _ in seen):
            raise ProfileError(
                f"{self.bench.description.name}: its decay does not follow {control.name!r}; "
                "write its profile by hand (docs/profiles.md)"
            )
        for name, position in self.base.items():
            found = self.bench.description.parameter(name)
            if found is not None:
                recipe.settings.append(fixed(found, position if isinstance(position, str) else float(position)))
        form = fit_form(*zip(*seen, strict=True), decibels=False)
        self._put(recipe, control, form, "decay_s")
        recipe.findings.append(f"{control.name} = {form.formula('decay_s')} (within {100.0 * form.worst:.2g} %).")
        response = self._response(decay_s=_DECAY_S)
        low, mid, high = (decay_time_s(octave_energy(response, hz)) for hz in _OCTAVES_HZ)
        for name, other in (("low_decay_ratio", low), ("high_decay_ratio", high)):
            parameter = REVERB.parameter(name)
            ratio = float(f"{min(max(other / max(mid, 1e-3), parameter.minimum), parameter.maximum):.3g}")
            recipe.limits[name] = (ratio, ratio)
            recipe.findings.append(f"{parameter.label} is {number(ratio)} and was not looked for among its controls.")

    def _put(self, recipe: Recipe, control: ParameterDescription, form: Form, name: str) -> None:
        try:
            recipe.put(control, form, REVERB.parameter(name))
        except ParameterError as error:
            raise ProfileError(f"{self.bench.description.name}: {error}; write its profile by hand") from None

    def _reference_energy(self, decay_s: float) -> float:
        fed = np.zeros((2, round((1.6 * decay_s + 0.5) * RATE_HZ)))
        fed[:, 0] = 1.0
        values = {**REVERB.defaults(), "decay_s": min(max(decay_s, 0.1), 5.0), "level_db": 0.0}
        out = apply_processor(REVERB.type, fed, parameters=values, sample_rate_hz=RATE_HZ)
        return float(np.sum(octave_energy(out, _OCTAVES_HZ[1])))

    def write_level(self, recipe: Recipe) -> None:
        """How loud it is beside ours, which depends on its decay."""
        seen = [(rt, energy) for _, rt, energy in self.measured if rt > 0.0]
        own_db = np.array([10.0 * math.log10(energy / self._reference_energy(rt)) for rt, energy in seen])
        slope, start = (float(c) for c in np.polyfit(np.log([rt for rt, _ in seen]), own_db, 1))
        rest = own_db - (start + slope * np.log([rt for rt, _ in seen]))
        recipe.findings.append(f"Its level goes with the decay (within {np.max(np.abs(rest)):.1f} dB).")
        parameter, control = REVERB.parameter("level_db"), self.controls.get("level_db")
        if control is None:
            middle = float(f"{float(np.median(own_db)):.3g}")
            recipe.limits[parameter.name] = (middle, middle)
            return
        loudest_db = max(start + slope * math.log(rt) for rt in (0.2, 5.0))
        top, bottom = float(control.maximum or 0.0), control.minimum
        if self._in_percent():
            start -= eq.gain_to_db(_LEVEL_PERCENT)
            gain = f"db_to_gain(level_db - {_sum(start, slope)})"
            recipe.settings.append(
                Setting(control.name, f"0 if level_db == level_db_off else min({gain}, {number(top)})")
            )
            highest = eq.gain_to_db(top / _LEVEL_PERCENT) + min(own_db)
        else:
            start -= _LEVEL_DB
            least = -math.inf if bottom is None else bottom
            inside = f"min(level_db - {_sum(start, slope)}, {number(top)})"
            off = f"{number(least)}" if math.isfinite(least) else "'-inf'"
            recipe.settings.append(Setting(control.name, f"{off} if level_db == level_db_off else {inside}"))
            highest = top - _LEVEL_DB + min(own_db)
        recipe.limit(parameter, parameter.minimum, float(np.floor(highest)))
        if loudest_db - min(own_db) > 12.0:
            recipe.doubts.append("Its level changes much with the decay; compare by ear.")

    def write_rest(self, recipe: Recipe) -> None:
        """Pre-delay, cuts, width."""
        self._write_pre_delay(recipe)
        for name, side in (("low_cut", "low_cut_hz"), ("high_cut", "high_cut_hz")):
            parameter, control = REVERB.parameter(side), self.controls.get(name)
            off = float(parameter.off_at or 0.0)
            if control is None:
                recipe.limits[side] = (off, off)
                continue
            low, high = float(control.minimum or 0.0), float(control.maximum or 0.0)
            end = low if name == "low_cut" else high
            recipe.settings.append(
                Setting(
                    control.name,
                    f"{number(end)} if {side} == {side}_off else min(max({side}, {number(low)}), {number(high)})",
                )
            )
            keeps_high = parameter.maximum if name == "high_cut" else high
            recipe.limit(parameter, max(low, parameter.minimum), keeps_high)
        width, control = REVERB.parameter("width"), self.controls.get("width")
        if control is None:
            recipe.limits["width"] = (1.0, 1.0)
        else:
            recipe.settings.append(Setting(control.name, "100 * width"))
            recipe.limit(width, float(control.minimum or 0.0) / 100.0, float(control.maximum or 0.0) / 100.0)
        first, second = (self._response(decay_s=_DECAY_S) for _ in range(2))
        if not np.array_equal(first, second):
            recipe.doubts.append("It is random: the same input sounds a little different every time.")
        recipe.expected = "another reverb algorithm: the reflections differ sample by sample, so nothing can cancel"

    def _write_pre_delay(self, recipe: Recipe) -> None:
        parameter, control = REVERB.parameter("pre_delay_ms"), self.controls.get("pre_delay_ms")
        if control is None:
            onset = float(f"{min(self._onset_ms(self._response(decay_s=_DECAY_S)), parameter.maximum):.3g}")
            recipe.limits[parameter.name] = (onset, onset)
            return
        unit = _seconds(control) * 1000.0
        pairs = []
        for wanted in _PRE_DELAYS_MS:
            value = self._clipped("pre_delay_ms", wanted / unit)
            pairs.append((self._onset_ms(self._response(decay_s=_DECAY_S, more={control.name: value})), value * unit))
        offset = float(np.median([value - onset for onset, value in pairs]))
        offset = 0.0 if abs(offset) < 1.0 else float(f"{offset:.3g}")
        text = "pre_delay_ms" if offset == 0.0 else f"pre_delay_ms {'-' if offset < 0.0 else '+'} {number(abs(offset))}"
        form = Form(text if unit == 1.0 else f"({text}) / {number(unit)}", lambda x: (x + offset) / unit)
        self._put(recipe, control, Form(form.text.replace("pre_delay_ms", "{x}"), form.value), parameter.name)
        if offset:
            recipe.findings.append(f"It sets in {number(-offset)} ms late, which counts as pre-delay.")


def _sum(start: float, slope: float) -> str:
    return f"({number(start)} {'-' if slope < 0.0 else '+'} {number(abs(slope))} * log(decay_s))"


def _seconds(control: ParameterDescription) -> float:
    return {"ms": 0.001, "us": 1e-6}.get(control.unit.strip().lower(), 1.0)
