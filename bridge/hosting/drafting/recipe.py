"""What a draft consists of and how it is written as a profile; nothing is measured or fitted here.

The format is that of `suites`; docs/profiles.md describes it.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...processors.specs import Parameter
from ..refs import ParameterDescription, PluginDescription
from . import roles
from .laws import Form, number, reach


@dataclass(frozen=True)
class Setting:
    """One control of a profile: a formula or constant in `value`, or a fixed `text`."""

    parameter: str
    value: str | float | None = None
    text: str | None = None

    def line(self, state_id: str) -> str:
        """Return the entry of the profile's list of controls."""
        parts = [f"parameter = {toml(self.parameter)}"]
        if state_id:
            parts.append(f"id = {toml(state_id)}")
        if self.text is not None:
            parts.append(f"text = {toml(self.text)}")
        else:
            parts.append(f"value = {toml(self.value if isinstance(self.value, str) else float(self.value or 0.0))}")
        return f"  {{ {', '.join(parts)} }},"


def fixed(control: ParameterDescription, position: float | str) -> Setting:
    """A control that stays at one position."""
    if isinstance(position, str):
        return Setting(control.name, text=position)
    if not math.isfinite(position):
        return Setting(control.name, text="-inf" if position < 0.0 else "inf")
    return Setting(control.name, value=float(position))


def constant(position: float | str | bool) -> str:
    """A position as a constant within a formula."""
    return repr(position) if isinstance(position, str) else number(float(position))


@dataclass
class Recipe:
    """A profile in the making.

    Attributes
    ----------
    settings : list of Setting
        In the order they are written.
    limits : dict of str to (float, float)
        Ranges narrower than the specification's.
    findings : list of str
        What was measured, for the notes.
    doubts : list of str
        What a person should look at.
    expected : str
        Why it cannot be as close as others, where that is known.
    bounds : dict of str to float
        Entries of `profiles.Shortfall` that it can keep to.
    """

    processor: str
    law: str = ""
    stereo: str = "per channel"
    search: bool = True
    latency_samples: int = 0
    settings: list[Setting] = field(default_factory=list)
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    expected: str = ""
    bounds: dict[str, float] = field(default_factory=dict)

    def put(self, control: ParameterDescription, form: Form, parameter: Parameter) -> None:
        """Let a control follow a physical parameter, and narrow the parameter to what the control reaches.

        Raises
        ------
        ParameterError
            When no value of the parameter is within the control's range.
        """
        self.settings.append(Setting(control.name, form.formula(parameter.name)))
        low, high = float(control.minimum or 0.0), float(control.maximum or 0.0)
        self.limit(parameter, *reach(form, parameter, low=low, high=high))

    def limit(self, parameter: Parameter, low: float, high: float) -> None:
        """Keep a physical parameter within a range, where that is less than its own."""
        low, high = max(low, parameter.minimum), min(high, parameter.maximum)
        if (low, high) != (parameter.minimum, parameter.maximum):
            self.limits[parameter.name] = (round(low, 4) + 0.0, round(high, 4) + 0.0)


def toml(value: str | float) -> str:
    """A value as TOML writes it: a basic string is written as in JSON."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value) if math.isfinite(value) else ("inf" if value > 0.0 else "-inf")


def write_recipe(recipe: Recipe, description: PluginDescription, bundle: Path, measured: Mapping[str, object]) -> str:
    """Write a draft as TOML.

    Parameters
    ----------
    bundle : Path
        The plugin's VST3 bundle; its file name goes into the profile.
    measured : mapping
        Entries of the table `suites.Measured`; left out if empty.
    """
    ids = {c.name: c.state_id for c in description.parameters}
    lines = [f"# Drafted from measurements of {description.name}; correct what is marked, then measure again."]
    lines += [f"# LOOK: {line}" for doubt in recipe.doubts for line in textwrap.wrap(doubt, 108)]
    lines += [f"processor = {toml(recipe.processor)}", f"law = {toml(recipe.law)}", 'kind = "vst3"']
    lines += ["search = false"] * (not recipe.search)
    lines.append(f"stereo = {toml(recipe.stereo)}")
    if recipe.latency_samples:
        lines.append(f"latency_samples = {recipe.latency_samples}")
    notes = "\n".join(textwrap.wrap(" ".join(recipe.findings), 116)).replace("\\", "/").replace('"""', "'''")
    lines += ['notes = """', notes, '"""', "", "control = ["]
    lines += [setting.line(ids.get(setting.parameter, "")) for setting in recipe.settings]
    lines += ["]", "", *_unknown(recipe, description)]
    if recipe.limits:
        lines += [
            "[limits]",
            *(f"{n} = [{number(low)}, {number(high)}]" for n, (low, high) in recipe.limits.items()),
            "",
        ]
    lines += ["[plugin]", f"name = {toml(description.name)}", f"bundle = {toml(bundle.name)}"]
    lines += [f"class_id = {toml(description.class_id)}", f"version = {toml(description.version)}"]
    if recipe.expected:
        lines += ["", "[shortfall]", f"reason = {toml(recipe.expected)}"]
        lines += [f"{name} = {toml(float(value))}" for name, value in recipe.bounds.items()]
    if measured:
        # Last, as whoever measures again replaces the end of the file.
        lines += ["", "[measured]", *(f"{name} = {_plain(value)}" for name, value in measured.items())]
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(str(v) for v in value)}]"
    return toml(value) if isinstance(value, str | float) else str(value)


#: More unused controls than this are summed up.
_MOST_LISTED = 60


def _unknown(recipe: Recipe, description: PluginDescription) -> list[str]:
    """Controls that the draft leaves at their defaults, as comments for a person to go through."""
    used = {setting.parameter for setting in recipe.settings}
    left = [c for c in description.parameters if c.writable and c.name not in used and not roles.is_cosmetic(c)]
    if not left:
        return []
    lines = ["# Controls left at their defaults:"]
    for control in left[:_MOST_LISTED]:
        default = control.default if isinstance(control.default, str) else number(control.default)
        span = ", ".join(control.choices)
        if roles.is_number(control):
            span = f"{number(control.minimum or 0.0)} to {number(control.maximum or 0.0)} {control.unit}".rstrip()
        lines.append(f"#   {' '.join(control.name.split())} = {default} ({' '.join(span.split())})")
    if len(left) > _MOST_LISTED:
        lines.append(f"#   and {len(left) - _MOST_LISTED} more")
    return [*lines, ""]
