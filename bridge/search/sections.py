"""The sections of equalizers and the taps of delays: how much each does, and graphs without some of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from ..graph import MixGraph, Processor
from ..processors.equations import db_to_gain
from ..processors.specs import DELAY, DELAY_TAPS, EQ
from .amounts import (
    EQ_BANDS,
    EQ_PASSES,
    audible_grid_hz,
    eq_response,
    pass_is_off,
    reset,
)
from .parameters import Limits
from .rewrite import with_nodes

#: Levels below this count as this when effects are compared (dB).
_FLOOR_DB = -60.0


@dataclass(frozen=True)
class Section:
    """A band or pass of an equalizer, or a tap of a delay, that is on.

    Attributes
    ----------
    node : str
        Id of its processor.
    names : tuple of str
        Its parameters.
    effect_db : float
        Change of level it makes, roughly: of a band or pass the mean over the octaves.
    """

    node: str
    names: tuple[str, ...]
    effect_db: float


def sections_of(graph: MixGraph) -> list[Section]:
    """All sections that are on, those with the least effect first."""
    found: list[Section] = []
    for node in graph.processors:
        if node.type == EQ.type:
            found += _eq_sections(node, graph.sample_rate_hz)
        elif node.type == DELAY.type:
            found += _taps(node)
    return sorted(found, key=lambda s: (s.effect_db, s.node, s.names))


def with_sections_off(graph: MixGraph, sections: Collection[Section], *, limits: Limits | None = None) -> MixGraph:
    """The graph without these sections; their settings are the defaults."""
    names: dict[str, list[str]] = {}
    for section in sections:
        names.setdefault(section.node, []).extend(section.names)
    return with_nodes(graph, [reset(n, names[n.id], limits=limits) for n in graph.processors if n.id in names])


def _eq_sections(node: Processor, sample_rate_hz: float) -> Iterator[Section]:
    p = node.parameters
    grid_hz = audible_grid_hz(sample_rate_hz)
    on: list[tuple[str, tuple[str, ...]]] = [
        (band, (f"{band}_hz", f"{band}_db", f"{band}_q")) for band in EQ_BANDS if p[f"{band}_db"] != 0.0
    ]
    on += [(name, (f"{name}_hz",)) for name in EQ_PASSES if not pass_is_off(p, name)]
    for _, names in on:
        alone = EQ.defaults() | {name: p[name] for name in names}
        response = eq_response(alone, frequencies_hz=grid_hz, law=node.law, sample_rate_hz=sample_rate_hz)
        heard = np.maximum(np.abs(node.mix * response + 1.0 - node.mix), db_to_gain(_FLOOR_DB))
        yield Section(node.id, names, float(np.mean(np.abs(20.0 * np.log10(heard)))))


def _taps(node: Processor) -> Iterator[Section]:
    for tap in range(1, DELAY_TAPS + 1):
        level = DELAY.parameter(f"tap{tap}_level_db")
        value = node.parameters[level.name]
        if value != level.off_at:
            names = tuple(n for n in DELAY.names if n.startswith(f"tap{tap}_"))
            dry = max(1.0 - node.mix, db_to_gain(_FLOOR_DB))
            yield Section(node.id, names, 20.0 * math.log10(1.0 + node.mix * db_to_gain(value) / dry))
