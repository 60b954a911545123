"""Renders a graph with the reference DSP, one stem in memory at a time; no files, no torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .errors import GraphError
from .graph import MixGraph, Processor, Stem
from .processors.reference import Audio, apply_processor

#: Called with a stem; returns it aligned, with its polarity applied, shape (2, graph.frames).
StemLoader = Callable[[Stem], npt.ArrayLike]
Progress = Callable[[str], None]


def render_channel(graph: MixGraph, channel_id: str, audio: npt.ArrayLike) -> Audio:
    """Run the processors of one track, group or the master over its input.

    Parameters
    ----------
    audio : array, shape=(2, n)
        What flows into the channel, at the graph's sample rate.
    """
    signal = np.asarray(audio, dtype=np.float64)
    for node in graph.chain(channel_id):
        signal = apply_node(node, signal, sample_rate_hz=graph.sample_rate_hz)
    return signal


def apply_node(node: Processor, audio: npt.ArrayLike, *, sample_rate_hz: float) -> Audio:
    """Run one processor of a graph over a whole signal of shape (2, n)."""
    return apply_processor(
        node.type, audio, parameters=node.parameters, sample_rate_hz=sample_rate_hz, mix=node.mix, law=node.law
    )


def render_graph(graph: MixGraph, load_stem: StemLoader, *, progress: Progress | None = None) -> Audio:
    """Render a graph with the reference DSP at the session's own rate.

    Parameters
    ----------
    graph : MixGraph
    load_stem : callable
        Returns a stem as the session holds it: shape (2, n), the same n for all.
    progress : callable, optional
        Called with the name of each channel before it is rendered.

    Returns
    -------
    array of float64, shape=(2, n)

    Raises
    ------
    GraphError
        If the stems differ in length or shape.
    """
    sums: dict[str, Audio] = {}

    def add(channel_id: str, signal: Audio) -> None:
        parent = graph.parent(channel_id)
        if parent is None:
            return
        if parent.id not in sums:
            sums[parent.id] = signal.copy()
        elif sums[parent.id].shape != signal.shape:
            raise GraphError(f"{channel_id}: its audio has shape {signal.shape}, expected {sums[parent.id].shape}")
        else:
            sums[parent.id] += signal

    for stem in graph.stems:
        if progress is not None:
            progress(stem.name)
        add(stem.id, render_channel(graph, stem.id, load_stem(stem)))
    for bus in buses_inner_first(graph):
        if bus in sums:
            if progress is not None:
                progress(bus)
            add(bus, render_channel(graph, bus, sums.pop(bus)))
    if progress is not None:
        progress(graph.master.name)
    return render_channel(graph, graph.master.id, sums[graph.master.id])


def buses_inner_first(graph: MixGraph) -> list[str]:
    """Ids of the buses so that a bus comes before the bus it flows into."""

    def depth(bus_id: str) -> int:
        parent = graph.parent(bus_id)
        return 0 if parent is None else 1 + depth(parent.id)

    return sorted((b.id for b in graph.buses), key=depth, reverse=True)
