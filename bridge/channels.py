"""Channels as a user names them, and a graph in which one of them is heard alone; nothing is rendered here."""

from __future__ import annotations

from .errors import ParameterError
from .graph import Bus, Master, MixGraph, Node, Stem


def find_channel(graph: MixGraph, text: str) -> Stem | Bus | Master:
    """The track, group, return or master that a user means.

    Parameters
    ----------
    text : str
        Its id or its name; upper and lower case are alike where that leaves one channel.

    Raises
    ------
    ParameterError
        If there is none, or several.
    """
    channels = list(graph.channels())
    exact = [c for c in channels if c.id == text], [c for c in channels if c.name == text]
    for found in (*exact, [c for c in channels if c.name.casefold() == text.casefold()]):
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(repr(channel.id) for channel in found)
            raise ParameterError(f"--only {text!r}: {len(found)} channels have this name; choose by id: {ids}")
    names = ", ".join(dict.fromkeys(channel.name for channel in channels))
    raise ParameterError(f"--only {text!r}: no such channel; there are {names}")


def below(graph: MixGraph, channel_id: str) -> frozenset[str]:
    """Ids of the stems that flow into a channel along main outputs, through groups of groups too."""
    if isinstance(graph.channel(channel_id), Stem):
        return frozenset((channel_id,))
    return frozenset().union(*(below(graph, child.id) for child in graph.children(channel_id)))


def soloed(graph: MixGraph, channel_id: str) -> MixGraph:
    """The graph with what a solo button leaves: a track or group on its way through returns, groups and the master.

    A return is fed as ever; for what follows it alone see `continued`.

    Raises
    ------
    ParameterError
        If no stem reaches the channel.
    """
    is_return = any(bus.id == channel_id for bus in graph.returns)
    stems = graph.stems_reaching(channel_id) if is_return else below(graph, channel_id)
    if not stems:
        raise ParameterError(f"{graph.channel(channel_id).name}: nothing flows into this channel")
    silent = [stem.id for stem in graph.stems if stem.id not in stems]
    gone = {node for stem in silent for node in (stem, *_chain_ids(graph, stem))}
    edges = [edge for edge in graph.edges if edge.source not in gone and edge.target not in gone]
    return graph.rebuilt([node for node in graph.nodes if node.id not in gone], edges).tidied()


def continued(graph: MixGraph, channel_id: str) -> MixGraph:
    """The graph from behind a channel on: a stem of the same id takes its place, and is the only one there is.

    The stem stands for the output of the channel, its automation included; it has no file.
    """
    channel, end = graph.channel(channel_id), graph.end(channel_id)
    kept = {channel_id, graph.master.id} | _downstream(graph, channel_id)
    gone = {node for c in graph.channels() if c.id not in kept for node in (c.id, *_chain_ids(graph, c.id))}
    gone |= set(_chain_ids(graph, channel_id))
    source = Stem(id=channel_id, name=channel.name, file="")
    nodes: list[Node] = [source if n.id == channel_id else n for n in graph.nodes if n.id not in gone]
    onwards = [e.model_copy(update={"source": channel_id}) if e.source == end else e for e in graph.edges]
    edges = [e for e in onwards if not {e.source, e.target} & gone and e.target != channel_id]
    return graph.rebuilt(nodes, edges)


def _chain_ids(graph: MixGraph, channel_id: str) -> list[str]:
    return [node.id for node in graph.chain(channel_id)]


def _downstream(graph: MixGraph, channel_id: str) -> frozenset[str]:
    """Ids of the buses that a channel flows or sends into, and those after them."""
    parent = graph.parent(channel_id)
    targets = {send.target for send in graph.sends(channel_id)} | ({parent.id} if parent is not None else set())
    return frozenset(targets).union(*(_downstream(graph, target) for target in targets))
