"""What one parameter of a loaded VST3 takes and how a physical value becomes its 0..1 value; no audio, no state."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from ..errors import PluginRefusalError
from .refs import ParameterDescription

#: Parameters with more steps are numbers, also where every step has a text.
_MOST_CHOICES = 128
#: A physical value may pass the ends of its range by this share of the range: ends are rounded texts.
_END_TOLERANCE = 1e-4

_NUMBER = re.compile(r"\s*([-+]?(?:inf|\d+\.?\d*(?:e[-+]?\d+)?|\.\d+))", re.IGNORECASE)


def number_in(text: str) -> float | None:
    """Return the number a parameter's text begins with ("-12.50 dB"), or None."""
    found = _NUMBER.match(text)
    return float(found.group(1)) if found else None


def as_text(value: float) -> str:
    """Write a number as plugins read it: full float32 precision, no exponent."""
    return f"{value:.10f}" if math.isfinite(value) else ("inf" if value > 0 else "-inf")


@dataclass(frozen=True)
class ParameterFacts:
    """What never changes of a parameter; see `ParameterDescription`.

    Attributes
    ----------
    texts : tuple of str
        Texts of all steps; empty for a continuous parameter.
    """

    label: str
    name: str
    unit: str
    steps: int
    texts: tuple[str, ...]
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    default_text: str
    writable: bool

    @classmethod
    def of(cls, parameter: Any, *, label: str) -> ParameterFacts:
        """Ask a parameter of pedalboard; `label` names the plugin in errors."""
        # Not `is_discrete`: it varies by chance after a reset.
        steps = parameter.num_steps if parameter.num_steps <= _MOST_CHOICES else 0
        texts = tuple(parameter.get_text_for_raw_value(k / (steps - 1)) for k in range(steps)) if steps > 1 else ()
        # Steps whose texts are all numbers are set by number.
        choices = texts if any(number_in(t) is None for t in texts) else ()
        low, high = (None, None) if choices else (number_in(parameter.get_text_for_raw_value(x)) for x in (0.0, 1.0))
        return cls(
            label=label,
            name=parameter.name,
            unit=parameter.label.strip(),
            steps=steps,
            texts=texts,
            choices=choices,
            minimum=low,
            maximum=high,
            default_text=parameter.get_text_for_raw_value(parameter.default_raw_value),
            writable=bool(parameter.is_automatable),
        )

    def describe(self, *, state_id: str) -> ParameterDescription:
        """Return the parameter as callers see it."""
        default = None if self.choices else number_in(self.default_text)
        return ParameterDescription(
            name=self.name,
            state_id=state_id,
            unit=self.unit,
            minimum=self.minimum,
            maximum=self.maximum,
            default=self.default_text if default is None else default,
            steps=self.steps,
            choices=self.choices,
            writable=self.writable,
        )

    def choice_index(self, value: float | str | bool) -> int:
        """Return the index of a choice given by text, index or truth."""
        if isinstance(value, str):
            for index, text in enumerate(self.choices):
                if text.strip().casefold() == value.strip().casefold():
                    return index
        elif float(value).is_integer() and 0 <= value < len(self.choices):
            return int(value)
        raise PluginRefusalError(f"{self.label}: {self.name}: has no choice {value!r}; use {', '.join(self.choices)}")

    def number(self, value: float | str | bool) -> float:
        """Return the physical value, checked against the range.

        Raises
        ------
        PluginRefusalError
            When it is no number or outside the range.
        """
        number = number_in(value) if isinstance(value, str) else float(value)
        if number is None or math.isnan(number):
            raise PluginRefusalError(f"{self.label}: {self.name}: {value!r} is not a number")
        low, high = self.minimum, self.maximum
        if low is None or high is None:
            return number
        slack = _END_TOLERANCE * (high - low if math.isfinite(high - low) else abs(high))
        if not low - slack <= number <= high + slack:
            unit = f" {self.unit}" if self.unit else ""
            raise PluginRefusalError(f"{self.label}: {self.name} = {number:g}: takes {low:g} to {high:g}{unit}")
        return min(max(number, low), high)

    def step_index(self, value: float | str | bool) -> int:
        """Return the index of a step given as `choice_index` takes it, or by its number where steps are numbers."""
        if self.choices:
            return self.choice_index(value)
        number = self.number(value)
        for index, text in enumerate(self.texts):
            if number_in(text) == number:
                return index
        raise PluginRefusalError(f"{self.label}: {self.name}: has no step {number:g}; use {', '.join(self.texts)}")

    def raw_value(self, parameter: Any, value: float | str | bool) -> float:
        """Return the 0..1 value that means `value`."""
        if self.texts:
            index = self.step_index(value)
            even = index / (self.steps - 1)
            # Plugins round down: a value at the very edge may fall to the step below.
            tries = (float(parameter.get_raw_value_for_text(self.texts[index])), even, min(1.0, even + 1e-6))
            fitting = [raw for raw in tries if parameter.get_text_for_raw_value(raw) == self.texts[index]]
            return fitting[0] if fitting else even
        if self.minimum is None and isinstance(value, str):
            return float(parameter.get_raw_value_for_text(value))
        return float(parameter.get_raw_value_for_text(as_text(self.number(value))))

    def is_at(self, parameter: Any, value: float | str | bool) -> bool:
        """Tell whether the plugin shows `value` now, as closely as its text can tell."""
        wanted = parameter.get_text_for_raw_value(self.raw_value(parameter, value))
        shown = parameter.string_value
        if wanted == shown:
            return True
        a, b = number_in(wanted), number_in(shown)
        if self.choices or a is None or b is None:
            return False
        # The last digit of a text may round either way.
        return math.isclose(a, b, rel_tol=2e-3, abs_tol=1.01 * 10.0 ** -_decimals(shown))


def _decimals(text: str) -> int:
    found = re.search(r"\.(\d+)", text)
    return len(found.group(1)) if found else 0
