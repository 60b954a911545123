"""One difference of two graphs, in words and numbers; what is compared with what is decided in `difference`.

A number counts where its words differ and it moved by at least half of what these words can resolve.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .processors.specs import MIX, Parameter
from .report.sheet import value_text
from .report.words import change_text, frequency_text, time_text

ChangeKind = Literal["added", "removed", "changed"]


@dataclass(frozen=True)
class Change:
    """One thing that differs.

    Attributes
    ----------
    channel : str
        Name; "song" where the whole graph is concerned.
    channel_kind : str
        "track", "group", "return", "master" or "song".
    part : str
        What it is on, such as "Compressor" or "Send to Reverb".
    change : {"added", "removed", "changed"}
    setting : str
        Which setting; empty where it is the part as a whole.
    before, after : float, str or None
        In `unit` where they are numbers; None where there is none, or the section is off.
    difference : float or None
        After minus before, or the largest difference of two curves.
    at_hz, at_s : float or None
        Where two curves differ most.
    text : str
        All of it for people, but channel and part.
    small : bool
        Too small to hear.
    """

    channel: str
    channel_kind: str
    part: str
    change: ChangeKind
    setting: str = ""
    before: float | str | None = None
    after: float | str | None = None
    unit: str = ""
    difference: float | None = None
    at_hz: float | None = None
    at_s: float | None = None
    text: str = ""
    small: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def text_change(channel: str, kind: str, part: str, setting: str, before: str, after: str) -> Change:
    """Two texts that differ."""
    text = f"{setting} {before} → {after}".strip()
    return Change(channel, kind, part, "changed", setting, before, after, text=text)


def number_change(
    channel: str,
    kind: str,
    part: str,
    setting: str,
    parameter: Parameter,
    before: float,
    after: float,
    *,
    processor_type: str = "",
    where: str = "",
) -> Iterator[Change]:
    """The difference of two values of a parameter, if there is one.

    Parameters
    ----------
    processor_type : str
        Of the parameter; empty for levels of sends and dry/wet weights.
    where : str
        What comes before the setting in the text, such as "bell at 2.3 kHz, ".
    """
    if before == after:
        return
    off = [value == parameter.off_at for value in (before, after)]
    words = [
        "off" if value == parameter.off_at else value_text(processor_type, parameter, value)
        for value in (before, after)
    ]
    moved = after - before
    small = not any(off) and (words[0] == words[1] or abs(moved) < 0.5 * resolution(parameter, before))
    if words[0] == words[1]:
        words = [f"{value:.9g} {parameter.unit}".strip() for value in (before, after)]
    delta = "" if any(off) else _delta_text(parameter, before, after)
    yield Change(
        channel, kind, part, "changed", setting,
        None if off[0] else before, None if off[1] else after, parameter.unit,
        difference=None if any(off) else moved,
        text=f"{where}{setting} {arrow(*words)}{delta}", small=small,
    )  # fmt: skip


def arrow(before: str, after: str) -> str:
    """Two values, with their unit once if it is the same: "-18 → -21.5 dB"."""
    start, _, unit = before.rpartition(" ")
    return f"{start} → {after}" if start and after.endswith(f" {unit}") and _is_number(start) else f"{before} → {after}"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def resolution(parameter: Parameter, value: float) -> float:
    """What the last digit of its words stands for, in the unit of the parameter; of a Q, what can be told apart."""
    if parameter.unit == "dB":
        return 0.1
    if parameter.unit == "Hz":
        return 1.0 if round(value) < 1000 else 100.0
    if parameter.unit in ("ms", "s"):
        time_ms = value * _in_ms(parameter)
        return (0.01 if time_ms < 1 else 0.1 if time_ms < 10 else 1.0 if round(time_ms) < 1000 else 10.0) / _in_ms(
            parameter
        )
    if parameter.unit == "ratio":
        return 0.01 if value < 2 else 0.1
    if parameter.name.endswith("_q"):
        return 0.01 if value < 1 else 0.1
    return 0.001 if value < 0.1 and parameter.name == MIX.name else 0.01


def _in_ms(parameter: Parameter) -> float:
    return 1000.0 if parameter.unit == "s" else 1.0


def _delta_text(parameter: Parameter, before: float, after: float) -> str:
    """By how much a value moved, in brackets; of decibels what lies between the values that are shown."""
    moved = after - before
    if parameter.unit == "dB":
        shown = round(after, 1) - round(before, 1)
        return f" ({change_text(shown).removesuffix(' dB')})" if abs(shown) >= 0.05 else f" ({moved:+.2g})"
    sign = "-" if moved < 0 else "+"
    if parameter.unit == "Hz":
        return f" ({sign}{frequency_text(abs(moved))})" if abs(moved) >= 0.5 else f" ({moved:+.2g} Hz)"
    if parameter.unit in ("ms", "s"):
        return f" ({sign}{time_text(abs(moved) * _in_ms(parameter))})"
    return f" ({moved:+.2g})" if parameter.unit == "ratio" else ""
