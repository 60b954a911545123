"""How sure the search is of what it found: the evidence of every processor and send, and its words.

Two figures per processor or send: by how much L_a of the song grows without it (`Evidence.loss_increase`),
and the error bar of every setting (`Evidence.uncertainty`), as `sensitivity` defines it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

from ..graph import Edge, Evidence, MixGraph, Node, Processor
from .parameters import send_id

#: L_a without the processor or send of a graph, by processor id or `parameters.send_id`.
LossWithout = Callable[[str], float]


class Confidence(StrEnum):
    """How much speaks for a processor."""

    sure = "sure"
    likely = "likely"
    weak = "weak"


#: Growth of L_a from which a processor is sure or likely. 0.01 is the usual tolerance of a whole
#: search: what costs that much alone, no search with that tolerance would have given up.
SURE_FROM = 0.01
LIKELY_FROM = 0.002


def evidence(
    graph: MixGraph, loss_without: LossWithout, *, loss: float, bars: Mapping[str, Mapping[str, float]]
) -> MixGraph:
    """The graph with the evidence of every processor and send.

    Parameters
    ----------
    loss_without : callable
        L_a without one processor or send, such as ``lambda part: evaluator.trial([part])``.
    loss : float
        L_a of the graph, measured as `loss_without` does.
    bars : mapping of str to mapping of str to float
        Of `sensitivity.error_bars`; empty where they were not wanted.
    """

    def of(part: str) -> Evidence:
        return Evidence(loss_increase=loss_without(part) - loss, uncertainty=dict(bars.get(part, {})))

    nodes: list[Node] = [
        n.model_copy(update={"evidence": of(n.id)}) if isinstance(n, Processor) else n for n in graph.nodes
    ]
    ids = {(e.source, e.target): send_id(*ends) for ends, e in graph.all_sends().items()}
    edges = [
        e if e.send_db is None else e.model_copy(update={"evidence": of(ids[e.source, e.target])}) for e in graph.edges
    ]
    return graph.model_copy(update={"nodes": nodes, "edges": edges})


def confidence(found: Evidence) -> Confidence:
    """What the growth of L_a says."""
    if found.loss_increase >= SURE_FROM:
        return Confidence.sure
    return Confidence.likely if found.loss_increase >= LIKELY_FROM else Confidence.weak


def describe_evidence(part: Processor | Edge) -> str:
    """A few words, such as "sure: the loss grows by 0.034 without it"; empty without evidence."""
    found = part.evidence
    if found is None:
        return ""
    if found.loss_increase < 0.0005:
        return f"{confidence(found)}: the loss hardly changes without it"
    return f"{confidence(found)}: the loss grows by {found.loss_increase:.3f} without it"
