"""Renders a graph with the reference DSP, one stem in memory at a time; no files, no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import networkx as nx
import numpy as np
import numpy.typing as npt

from .errors import GraphError
from .graph import Breakpoint, MixGraph, PanBreakpoint, Processor, Stem, pan_automation_gains, volume_gains
from .processors.equations import db_to_gain
from .processors.reference import Audio, apply_processor

#: Called with a stem; returns it aligned, with its polarity applied, shape (2, graph.frames).
StemLoader = Callable[[Stem], npt.ArrayLike]
Progress = Callable[[str], None]

#: Called with a processor, its input and its output, and with a channel's id and its output.
NodeObserver = Callable[[Processor, Audio, Audio], None]
ChannelObserver = Callable[[str, Audio], None]


def render_channel(
    graph: MixGraph, channel_id: str, audio: npt.ArrayLike, *, on_node: NodeObserver | None = None
) -> Audio:
    """Run one track, group or the master over its input: its processors, then its automation.

    Parameters
    ----------
    audio : array, shape=(2, n)
        What flows into the channel, at the graph's sample rate.
    on_node : callable, optional
        Called with each processor, its input and its output.
    """
    signal = np.asarray(audio, dtype=np.float64)
    for node in graph.chain(channel_id):
        source, signal = signal, apply_node(node, signal, sample_rate_hz=graph.sample_rate_hz)
        if on_node is not None:
            on_node(node, source, signal)
    channel = graph.channel(channel_id)
    return ridden(signal, volume=channel.volume, pan=channel.pan, sample_rate_hz=graph.sample_rate_hz)


def ridden(
    signal: Audio, *, volume: Sequence[Breakpoint], pan: Sequence[PanBreakpoint], sample_rate_hz: float
) -> Audio:
    """A whole signal of shape (2, n) with volume and pan automation."""
    if volume:
        signal = signal * volume_gains(volume, frames=signal.shape[-1], sample_rate_hz=sample_rate_hz)
    if pan:
        signal = signal * pan_automation_gains(pan, frames=signal.shape[-1], sample_rate_hz=sample_rate_hz)
    return signal


def apply_node(node: Processor, audio: npt.ArrayLike, *, sample_rate_hz: float) -> Audio:
    """Run one processor of a graph over a whole signal of shape (2, n)."""
    return apply_processor(
        node.type, audio, parameters=node.parameters, sample_rate_hz=sample_rate_hz, mix=node.mix, law=node.law
    )


def render_graph(
    graph: MixGraph,
    load_stem: StemLoader,
    *,
    progress: Progress | None = None,
    on_node: NodeObserver | None = None,
    on_channel: ChannelObserver | None = None,
) -> Audio:
    """Render a graph with the reference DSP at the session's own rate.

    Parameters
    ----------
    graph : MixGraph
    load_stem : callable
        Returns a stem as the session holds it: shape (2, n), the same n for all.
    progress : callable, optional
        Called with the name of each channel before it is rendered.
    on_node, on_channel : callable, optional
        Called with each processor, its input and its output, and with each channel's id and output.

    Returns
    -------
    array of float64, shape=(2, n)

    Raises
    ------
    GraphError
        If the stems differ in length or shape.
    """
    sums: dict[str, Audio] = {}

    def pour(bus_id: str, signal: Audio) -> None:
        if bus_id not in sums:
            sums[bus_id] = signal.copy()
        elif sums[bus_id].shape != signal.shape:
            raise GraphError(f"{bus_id}: what flows into it has shape {signal.shape}, expected {sums[bus_id].shape}")
        else:
            sums[bus_id] += signal

    def add(channel_id: str, signal: Audio) -> None:
        parent = graph.parent(channel_id)
        if parent is not None:
            pour(parent.id, signal)
        for send in graph.sends(channel_id):
            sent = ridden(signal, volume=send.volume, pan=(), sample_rate_hz=graph.sample_rate_hz)
            pour(send.target, float(db_to_gain(send.send_db)) * sent)

    def run(channel_id: str, name: str, audio: npt.ArrayLike) -> Audio:
        if progress is not None:
            progress(name)
        output = render_channel(graph, channel_id, audio, on_node=on_node)
        if on_channel is not None:
            on_channel(channel_id, output)
        return output

    for stem in graph.stems:
        add(stem.id, run(stem.id, stem.name, load_stem(stem)))
    for bus in buses_inner_first(graph):
        if bus in sums:
            add(bus, run(bus, bus, sums.pop(bus)))
    return run(graph.master.id, graph.master.name, sums[graph.master.id])


def buses_inner_first(graph: MixGraph) -> list[str]:
    """Ids of the buses so that a bus comes before every bus it flows or sends into.

    Of those whose order does not matter, the one that comes first in the file comes first.
    """
    order = {bus.id: index for index, bus in enumerate(graph.buses)}
    net: nx.DiGraph[str] = nx.DiGraph()
    net.add_nodes_from(order)
    for bus in graph.buses:
        parent = graph.parent(bus.id)
        targets = [s.target for s in graph.sends(bus.id)] + ([parent.id] if parent is not None else [])
        net.add_edges_from((bus.id, target) for target in targets if target in order)
    return list(nx.lexicographical_topological_sort(net, key=order.__getitem__))
