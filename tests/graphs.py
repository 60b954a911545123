"""Small graphs written by hand: only what differs from the defaults is named."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Node, Processor, Provenance, Stem, VolumePoint
from mixbridge.bridge.processors.specs import spec_of

RATE_HZ = 44100
FRAMES = 3 * RATE_HZ

Chain = list[tuple[str, dict[str, float]]]


class GraphBuilder:
    """A graph channel by channel, of nodes that were made by hand."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []

    def channel(self, node: Node, *, into: str | None, chain: Sequence[Processor] = ()) -> None:
        self.nodes += [node, *chain]
        ids = [node.id, *(p.id for p in chain), *([into] if into else [])]
        self.edges += [Edge(source=a, target=b) for a, b in pairwise(ids)]

    def build(
        self, *, name: str = "A song", rate_hz: int = RATE_HZ, frames: int = 0, provenance: Provenance | None = None
    ) -> MixGraph:
        return MixGraph(
            name=name,
            sample_rate_hz=rate_hz,
            frames=frames,
            nodes=self.nodes,
            edges=self.edges,
            provenance=provenance or Provenance(),
        )


def graph(
    tracks: dict[str, Chain],
    *,
    groups: dict[str, tuple[list[str], Chain]] | None = None,
    returns: dict[str, tuple[dict[str, float], Chain]] | None = None,
    master: Chain | None = None,
    volume: dict[str, list[VolumePoint]] | None = None,
) -> MixGraph:
    """Tracks of the same ids and names, with the processors given in words; groups and returns flow into the master."""
    nodes: list[Node] = []
    edges: list[Edge] = []
    ends: dict[str, str] = {}

    def channel(node: Stem | Bus | Master, chain: Chain, target: str | None) -> None:
        nodes.append(node)
        last = node.id
        for kind, given in chain:
            values = dict(given)
            mix, law = values.pop("mix", 1.0), ""
            found = Processor(
                type=kind,
                id=f"{node.id}/{kind}{len(nodes)}",
                parameters=spec_of(kind).defaults() | values,
                mix=mix,
                law=law,
            )
            nodes.append(found)
            edges.append(Edge(source=last, target=found.id))
            last = found.id
        ends[node.id] = last
        if target is not None:
            edges.append(Edge(source=last, target=target))

    parents = {member: name for name, (members, _) in (groups or {}).items() for member in members}
    for name, chain in tracks.items():
        stem = Stem(id=name, name=name, file=f"{name}.wav", volume=(volume or {}).get(name, []))
        channel(stem, chain, parents.get(name, "master"))
    for name, (_, chain) in (groups or {}).items():
        channel(Bus(id=name, name=name), chain, "master")
    for name, (sends, chain) in (returns or {}).items():
        channel(Bus(id=name, name=name), chain, "master")
        edges.extend(Edge(source=ends[s], target=name, send_db=level_db) for s, level_db in sends.items())
    channel(Master(volume=(volume or {}).get("master", [])), master or [], None)
    return MixGraph(name="song", sample_rate_hz=RATE_HZ, frames=FRAMES, nodes=nodes, edges=edges)
