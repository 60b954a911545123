"""How two processors of the same type are set differently: bands of EQs and echoes are matched first.

The curves of EQs are compared as well: two EQs with other bands may do the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .difference_values import Change, number_change, text_change
from .graph import Processor
from .processors.specs import BELLS, DELAY, DELAY_TAPS, EQ, MIX, SPECS
from .recovery_measure import eq_response, frequency_grid
from .report.words import (
    AUDIBLE_DB,
    change_text,
    frequency_text,
    level_text,
    processor_title,
    time_text,
)

#: Bells further apart than this (octaves) are two, not one that was moved; echoes likewise.
_SAME_OCTAVES = 1.0

#: Curves are compared down to this level: deeper in a cut nobody hears a difference.
_DEEPEST_DB = -60.0


def node_changes(
    channel: str, kind: str, before: Processor, after: Processor, *, sample_rates_hz: tuple[int, int]
) -> Iterator[Change]:
    """All differences of two processors of one type.

    Parameters
    ----------
    channel, kind : str
        Name and kind of the channel they are on, for the result.
    sample_rates_hz : tuple of int
        Rates of both graphs.
    """
    title = processor_title(before.type)
    if before.law != after.law:
        yield text_change(channel, kind, title, "law", before.law or "reference", after.law or "reference")
    found = list(_setting_changes(channel, kind, title, before, after))
    yield from found
    yield from number_change(channel, kind, title, "mix", MIX, before.mix, after.mix)
    if before.type == EQ.type:
        yield from _curve_change(channel, kind, title, before, after, sample_rates_hz)
    if not found and before.parameters != after.parameters:
        words = "set otherwise where it does nothing, or the same in another order"
        yield Change(channel, kind, title, "changed", "order", text=words, small=True)


def _setting_changes(channel: str, kind: str, title: str, before: Processor, after: Processor) -> Iterator[Change]:
    spec = SPECS[before.type]
    sections = _SECTIONS.get(before.type)
    if sections is None:
        for parameter in spec.parameters:
            values = before.parameters[parameter.name], after.parameters[parameter.name]
            yield from number_change(
                channel, kind, title, _short(parameter.title), parameter, *values, processor_type=before.type
            )
        return
    old, new = (sections(node.parameters) for node in (before, after))
    for a, b in _pairs(old, new):
        if a is None or b is None:
            section = a or b
            if section is not None:
                change = "removed" if b is None else "added"
                yield Change(
                    channel, kind, title, "removed" if b is None else "added", section.name,
                    text=f"{section.words} {change}", small=section.level_db is not None
                    and abs(section.level_db) < AUDIBLE_DB,
                )  # fmt: skip
            continue
        for parameter_a, parameter_b in zip(a.parameters, b.parameters, strict=True):
            parameter = spec.parameter(parameter_a)
            setting = _short(parameter.title.removeprefix(a.label).strip())
            values = before.parameters[parameter_a], after.parameters[parameter_b]
            yield from number_change(
                channel, kind, title, setting, parameter, *values, processor_type=before.type, where=f"{a.name}, "
            )


def _short(title: str) -> str:
    """As it stands within a sentence."""
    return title if len(title) == 1 else title.lower()


# ------------------------------------------------------------------------------ sections


@dataclass(frozen=True)
class _Section:
    """A band of an EQ or an echo that does something.

    Attributes
    ----------
    family : str
        Only sections of one family correspond.
    at : float
        Its frequency or time, in octaves: the nearest ones correspond.
    label : str
        Beginning of its parameters' titles.
    name, words : str
        What it is called, and how it is set.
    level_db : float or None
        Gain of a band; None for what is on or off.
    """

    family: str
    at: float
    label: str
    name: str
    words: str
    parameters: tuple[str, ...]
    level_db: float | None = None


def _bands(values: Mapping[str, float]) -> list[_Section]:
    found = []
    for name, text in (("highpass", "high-pass"), ("lowpass", "low-pass")):
        at_hz = values[f"{name}_hz"]
        if at_hz != EQ.parameter(f"{name}_hz").off_at:
            label = EQ.parameter(f"{name}_hz").title.removesuffix(" frequency")
            words = f"{text} {frequency_text(at_hz)}"
            found.append(_Section(name, math.log2(at_hz), label, text, words, (f"{name}_hz",)))
    for name in ("low_shelf", *(f"bell{n}" for n in range(1, BELLS + 1)), "high_shelf"):
        gain_db, at_hz = values[f"{name}_db"], values[f"{name}_hz"]
        if gain_db == 0.0:
            continue
        text = "bell" if name.startswith("bell") else name.replace("_", " ")
        place = f"{text} at {frequency_text(at_hz)}"
        words = f"{text} {change_text(gain_db)} at {frequency_text(at_hz)} (Q {values[f'{name}_q']:.2g})"
        label = EQ.parameter(f"{name}_hz").title.removesuffix(" frequency")
        parameters = (f"{name}_db", f"{name}_hz", f"{name}_q")
        found.append(_Section(text, math.log2(at_hz), label, place, words, parameters, gain_db))
    return found


def _taps(values: Mapping[str, float]) -> list[_Section]:
    found = []
    for number in range(1, DELAY_TAPS + 1):
        tap = f"tap{number}_"
        level_db, time_ms = values[f"{tap}level_db"], values[f"{tap}time_ms"]
        if level_db == DELAY.parameter(f"{tap}level_db").off_at:
            continue
        parameters = tuple(name for name in DELAY.names if name.startswith(tap))
        name = f"echo at {time_text(time_ms)}"
        words = f"echo {time_text(time_ms)} at {level_text(level_db)}"
        found.append(_Section("echo", math.log2(time_ms), f"Tap {number}", name, words, parameters))
    return found


#: Types whose parameters come in sections that may change places.
_SECTIONS: dict[str, Callable[[Mapping[str, float]], list[_Section]]] = {EQ.type: _bands, DELAY.type: _taps}


def _pairs(old: Sequence[_Section], new: Sequence[_Section]) -> list[tuple[_Section | None, _Section | None]]:
    """Sections that correspond, the nearest first; shelves and passes are one each, however far they moved."""
    single = {"high-pass", "low-pass", "low shelf", "high shelf", "highpass", "lowpass"}
    ranked = sorted(
        (abs(a.at - b.at), i, j) for i, a in enumerate(old) for j, b in enumerate(new) if a.family == b.family
    )
    partner: dict[int, int] = {}
    for octaves, i, j in ranked:
        if i not in partner and j not in partner.values() and (octaves <= _SAME_OCTAVES or old[i].family in single):
            partner[i] = j
    found: list[tuple[_Section | None, _Section | None]] = [
        (a, new[partner[i]] if i in partner else None) for i, a in enumerate(old)
    ]
    return found + [(None, b) for j, b in enumerate(new) if j not in partner.values()]


# -------------------------------------------------------------------------------- curves


def _curve_change(
    channel: str, kind: str, title: str, before: Processor, after: Processor, sample_rates_hz: tuple[int, int]
) -> Iterator[Change]:
    curves = [
        np.maximum(20.0 * np.log10(np.maximum(np.abs(eq_response(node, sample_rate_hz=rate)), 1e-9)), _DEEPEST_DB)
        for node, rate in zip((before, after), sample_rates_hz, strict=True)
    ]
    gap_db = curves[1] - curves[0]
    at = int(np.argmax(np.abs(gap_db)))
    size, at_hz = float(gap_db[at]), float(frequency_grid()[at])
    if size:
        text = f"curve at most {size:+.1f} dB apart, at {frequency_text(at_hz)}"
        yield Change(
            channel, kind, title, "changed", "curve", unit="dB", difference=size, at_hz=at_hz, text=text,
            small=abs(size) < AUDIBLE_DB,
        )  # fmt: skip
