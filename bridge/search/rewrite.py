"""Small changes of graphs that tidying is made of; which changes are made is decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..graph import Edge, MixGraph, Processor


@dataclass(frozen=True)
class Rewrite:
    """A changed graph.

    Attributes
    ----------
    key : str
        What was changed, in words; the same change has the same key every time.
    graph : MixGraph
    """

    key: str
    graph: MixGraph


def with_nodes(graph: MixGraph, changed: Iterable[Processor]) -> MixGraph:
    """The graph with some processors in place of those of the same id."""
    by_id = {node.id: node for node in changed}
    return graph.model_copy(update={"nodes": [by_id.get(node.id, node) for node in graph.nodes]})


def appended(graph: MixGraph, channel_id: str, node: Processor) -> MixGraph:
    """The graph with one more processor at the end of a channel; all its outputs leave from there."""
    end = graph.end(channel_id)
    moved = [e.model_copy(update={"source": node.id}) if e.source == end else e for e in graph.edges]
    place = next(i for i, n in enumerate(graph.nodes) if n.id == end) + 1
    nodes = [*graph.nodes[:place], node, *graph.nodes[place:]]
    return graph.rebuilt(nodes, [*moved, Edge(source=end, target=node.id)])


def free_id(wanted: str, taken: set[str]) -> str:
    """An id that is not taken yet."""
    while wanted in taken:
        wanted += "_"
    return wanted


def longest_within(count: int, holds: Callable[[int], bool]) -> int:
    """Largest number of steps, up to `count`, for which `holds`, by bisection; for none it always does.

    All are tried first: often they hold.
    """
    within, beyond = 0, count + 1
    while beyond - within > 1:
        tried = count if beyond > count else (within + beyond) // 2
        if holds(tried):
            within = tried
        else:
            beyond = tried
    return within
