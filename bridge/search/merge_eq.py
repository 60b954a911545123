"""Puts equalizers into one, and what a dry/wet weight does to one into its bands; imagers likewise.

Where the active sections of two equalizers have room in one, the result is exact. Otherwise the
sections of one equalizer are fitted to the joint response by least squares and taken if they come
within a bound of it, `fit_response.LARGEST_ERROR_DB` unless told otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from ..graph import Bus, Master, MixGraph, Processor, Stem
from ..processors.specs import BELLS, EQ, IMAGER, MIX, SPECS
from .amounts import (
    EQ_BANDS,
    EQ_PASSES,
    allowed,
    audible_grid_hz,
    eq_response,
    fits,
    gains_of,
    pass_is_off,
    replaced,
)
from .fit_response import LARGEST_ERROR_DB, Response, fitted
from .parameters import Limits
from .rewrite import Rewrite, with_nodes

_BELL_NAMES = tuple(f"bell{n}" for n in range(1, BELLS + 1))


class _Fitting(TypedDict):
    """What fits are made under; see `fit_response.fitted`."""

    sample_rate_hz: float
    limits: Limits | None
    largest_error_db: float


@dataclass(frozen=True)
class _Section:
    """An active section: the name of its band without the bell's number."""

    kind: str
    values: dict[str, float]


def eq_merges(
    graph: MixGraph, *, limits: Limits | None = None, largest_error_db: float = LARGEST_ERROR_DB
) -> Iterator[Rewrite]:
    """Graphs with an equalizer or imager less, or with one that needs no dry/wet weight any more."""
    fitting: _Fitting = {"sample_rate_hz": graph.sample_rate_hz, "limits": limits, "largest_error_db": largest_error_db}
    for node in graph.processors:
        if node.type == EQ.type and node.mix != MIX.default:
            wet = without_mix(node, **fitting)
            if wet is not None:
                yield Rewrite(f"mix of {node.id}", with_nodes(graph, [wet]))
    for row in _rows(graph):
        for i, first in enumerate(row):
            j = next((j for j in range(i + 1, len(row)) if row[j].type == first.type), None)
            if j is None or not all(_lets_pass(first.type, n) for n in row[i + 1 : j]):
                continue
            joined = _joined(first, row[j], **fitting)
            if joined is not None:
                yield Rewrite(f"{row[j].id} into {first.id}", with_nodes(graph, [joined]).without({row[j].id}))


def _rows(graph: MixGraph) -> Iterator[list[Processor]]:
    """Processors that follow one another without anything between: a channel's, then its parent's, and so on.

    A channel ends where its volume or pan moves, where it sends, or where something else flows in.
    """
    fed_by_sends = {e.target for e in graph.edges if e.send_db is not None}
    for channel in graph.channels():
        row: list[Processor] = []
        current: Stem | Bus | Master | None = channel
        while current is not None:
            row += graph.chain(current.id)
            parent = graph.parent(current.id)
            if current.volume or current.pan or graph.sends(current.id) or parent is None or parent.id in fed_by_sends:
                break
            current = parent if len(graph.children(parent.id)) == 1 else None
        yield row


def _lets_pass(kind: str, node: Processor) -> bool:
    """Whether a processor of a kind may change places with `node`."""
    if kind == EQ.type:
        # The same filter on both channels commutes with every linear and time-invariant processor.
        return SPECS[node.type].linear
    gains = gains_of(node)
    return node.type == EQ.type or (gains is not None and gains.equal)


def _joined(first: Processor, second: Processor, **fitting: Unpack[_Fitting]) -> Processor | None:
    if first.type == EQ.type:
        return joined_eqs(first, second, **fitting)
    if first.type == IMAGER.type:
        # Both scale the side and nothing else.
        width = 1.0
        for node in (first, second):
            width *= node.mix * node.parameters["width"] + 1.0 - node.mix
        settings = {"width": width}
        return replaced(first, settings, mix=MIX.default) if fits(IMAGER.type, settings, fitting["limits"]) else None
    return None


def joined_eqs(
    first: Processor,
    second: Processor,
    *,
    sample_rate_hz: float,
    limits: Limits | None = None,
    largest_error_db: float = LARGEST_ERROR_DB,
) -> Processor | None:
    """One equalizer, with the id of the first, for two in a row; None where one cannot do it.

    Exact where the active sections fit into one, otherwise within `largest_error_db`.
    """
    if first.law != second.law or first.mix != MIX.default or second.mix != MIX.default:
        return None
    sections = [*_sections(first.parameters), *_sections(second.parameters)]
    placed, left = _placed(sections, limits)
    if left:
        grid_hz = audible_grid_hz(sample_rate_hz)
        wanted = np.ones(len(grid_hz), dtype=np.complex128)
        for node in (first, second):
            wanted *= _wet(node.parameters, grid_hz, node.law, sample_rate_hz)
        found = fitted(
            wanted,
            placed,
            law=first.law,
            sample_rate_hz=sample_rate_hz,
            limits=limits,
            largest_error_db=largest_error_db,
        )
        return None if found is None else replaced(first, found)
    return replaced(first, placed) if fits(EQ.type, placed, limits) else None


def without_mix(
    node: Processor,
    *,
    sample_rate_hz: float,
    limits: Limits | None = None,
    largest_error_db: float = LARGEST_ERROR_DB,
) -> Processor | None:
    """An all-wet equalizer for one with a dry/wet weight; None where none comes within `largest_error_db`."""
    grid_hz = audible_grid_hz(sample_rate_hz)
    wanted = node.mix * _wet(node.parameters, grid_hz, node.law, sample_rate_hz) + 1.0 - node.mix
    begin = _diluted(node.parameters, node.mix)
    found = fitted(
        wanted, begin, law=node.law, sample_rate_hz=sample_rate_hz, limits=limits, largest_error_db=largest_error_db
    )
    return None if found is None else replaced(node, found, mix=MIX.default)


def _diluted(values: dict[str, float], mix: float) -> dict[str, float]:
    """Where a fit to a diluted equalizer begins: bells as they become exactly, shelves nearly.

    A bell is ``N / D``, so that ``mix * N / D + 1 - mix`` is again one: its numerator's middle
    term is the weighted mean of both.
    """
    found = dict(values)
    for band in EQ_BANDS:
        amp, q = 10.0 ** (values[f"{band}_db"] / 40.0), values[f"{band}_q"]
        above, below = (mix * amp + (1.0 - mix) / amp) / q, 1.0 / (amp * q)
        new_amp = (above / below) ** 0.5
        found[f"{band}_db"] = 40.0 * float(np.log10(new_amp))
        if band in _BELL_NAMES:
            found[f"{band}_q"] = 1.0 / (above * below) ** 0.5
    # A diluted pass is a shelf.
    for name, shelf in zip(EQ_PASSES, ("low_shelf", "high_shelf"), strict=True):
        if not pass_is_off(values, name) and found[f"{shelf}_db"] == 0.0:
            found[f"{shelf}_hz"] = values[f"{name}_hz"]
            found[f"{shelf}_db"] = 20.0 * float(np.log10(max(1.0 - mix, 0.07)))
            found[f"{name}_hz"] = EQ.parameter(f"{name}_hz").default
    return found


def _sections(values: dict[str, float]) -> list[_Section]:
    found = [_Section(n, {f"{n}_hz": values[f"{n}_hz"]}) for n in EQ_PASSES if not pass_is_off(values, n)]
    for band in EQ_BANDS:
        if values[f"{band}_db"] != 0.0:
            own = {end: values[f"{band}_{end}"] for end in ("hz", "db", "q")}
            found.append(_Section("bell" if band in _BELL_NAMES else band, own))
    return found


def _placed(sections: Sequence[_Section], limits: Limits | None) -> tuple[dict[str, float], list[_Section]]:
    """Settings with as many sections as there is room for, and those left over: the weaker ones."""
    values, left = _flat(limits), []
    bells = sorted((s for s in sections if s.kind == "bell"), key=_weight)
    for section in sorted((s for s in sections if s.kind != "bell"), key=_weight):
        taken = values[f"{section.kind}_hz"] != _flat(limits)[f"{section.kind}_hz"] or (
            section.kind in EQ_BANDS and values[f"{section.kind}_db"] != 0.0
        )
        if taken:
            left.append(section)
        elif section.kind in EQ_PASSES:
            values.update(section.values)
        else:
            values.update({f"{section.kind}_{end}": value for end, value in section.values.items()})
    kept = sorted(bells[: len(_BELL_NAMES)], key=lambda s: s.values["hz"])
    for band, section in zip(_BELL_NAMES, kept, strict=False):
        values.update({f"{band}_{end}": value for end, value in section.values.items()})
    return values, left + bells[len(_BELL_NAMES) :]


def _weight(section: _Section) -> float:
    """Orders the sections of a kind, the one with the largest effect first."""
    if section.kind == "highpass":
        return -section.values["highpass_hz"]
    if section.kind == "lowpass":
        return section.values["lowpass_hz"]
    return -abs(section.values["db"]) / math.sqrt(section.values["q"])


def _flat(limits: Limits | None) -> dict[str, float]:
    values = {}
    for parameter in EQ.parameters:
        low, high = allowed(parameter, EQ.type, limits)
        values[parameter.name] = min(max(parameter.default, low), high)
    return values


def _wet(values: dict[str, float], grid_hz: npt.NDArray[np.float64], law: str, sample_rate_hz: float) -> Response:
    return eq_response(values, frequencies_hz=grid_hz, law=law, sample_rate_hz=sample_rate_hz)
