"""Graphs as grafx objects with their settings as tensors, and back; files and searches live elsewhere.

Nodes are stems ("in"), buses and the master ("mix"), the output ("out"), processors (by `laws.KINDS`) and,
as nodes of their own where they are, sends, volume automation and pan automation::

    stem -> processors -> volume -> pan -> parent's "mix"
                                        -> send -> volume -> bus's "mix"

They are in grafx's order for rendering, so that ``prepare_render(convert_to_tensor(graph))`` can be called at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from ..errors import GraphError, ParameterError
from ..graph import Bus, Edge, Master, MixGraph, Node, PanPoint, Processor, Stem, VolumePoint
from ..processors.laws import KINDS, type_and_law
from ..processors.specs import GAIN_PAN, MIX, SEND_LEVEL, SPECS, VOLUME
from ..search.engine import SEND, VOLUME_AUTOMATION, breakpoint_columns, padded_times
from ..search.parameters import send_id, volume_id
from ..search.torchaudio_stand_in import ensure_torchaudio

ensure_torchaudio()

from grafx.data import GRAFX, NodeConfigs  # noqa: E402
from grafx.render import reorder_for_fast_render  # noqa: E402

#: Type of nodes that are pan automation; searches have none.
PAN_AUTOMATION = "pan"

IN, MIX_NODE, OUT = "in", "mix", "out"

#: Of all graphs: grafx batches graphs of one configuration alone.
CONFIGS = NodeConfigs([*KINDS, SEND, VOLUME_AUTOMATION, PAN_AUTOMATION])

#: All node types; a node type as a number is its place here.
NODE_TYPES: tuple[str, ...] = tuple(CONFIGS.node_types)

#: What an automation's value is called, by node type.
_VALUES = {VOLUME_AUTOMATION: VOLUME.name, PAN_AUTOMATION: GAIN_PAN.parameter("pan").name}

#: Tensors of an automation besides its values: times (s) and the number of breakpoints that count.
_TIMES, _POINTS = "time_s", "points"

#: Names of the parameters of each node type that has some, in the order of a file's columns.
COLUMNS: dict[str, tuple[str, ...]] = {
    **{kind: (*SPECS[type_and_law(kind)[0]].names, MIX.name) for kind in KINDS},
    SEND: (SEND_LEVEL.name,),
    **{kind: (_TIMES, value, _POINTS) for kind, value in _VALUES.items()},
}

_PAN_SUFFIX = "@pan"

#: By node type and name of the parameter; rows are the nodes of that type in the order of their numbers.
Parameters = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class GrafxMix:
    """A mixing graph as a grafx object.

    Attributes
    ----------
    graph : grafx.data.GRAFX
        Node attributes are "node_type", "name" and "law" (see `Processor.law`); nodes 0, 1, ... are in
        the order of rendering. All graphs have the same `NodeConfigs`.
    parameters : mapping of str to mapping of str to tensor
        By node type and name, in physical units, float64. Processors and sends: shape (nodes,), of a
        processor also "mix". Automation: "time_s" and "gain_db" or "pan" of shape (nodes, breakpoints),
        at least two, and "points" of shape (nodes,), how many of them count; the last is repeated.
    """

    graph: Any
    parameters: Parameters

    def names(self, node_type: str) -> list[str]:
        """Names of the nodes of a type, in the order of their rows."""
        return [self.graph.nodes[i]["name"] for i in _of_type(self.graph, node_type)]


@dataclass
class _Draft:
    """Nodes and edges by name of what they stand for; the names of grafx nodes need not be unique."""

    nodes: list[tuple[str, str, str]] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)
    settings: dict[int, Any] = field(default_factory=dict)

    def add(self, kind: str, name: str, *, law: str = "", settings: object = None) -> int:
        self.nodes.append((kind, name, law))
        self.settings[len(self.nodes) - 1] = settings
        return len(self.nodes) - 1

    def follow(self, source: int, kind: str, name: str, settings: object) -> int:
        """Add a node behind another."""
        node = self.add(kind, name, settings=settings)
        self.edges.append((source, node))
        return node


def to_grafx(graph: MixGraph) -> GrafxMix:
    """Turn a mixing graph into a grafx object.

    Buses that nothing flows into are left out: they are silent. What grafx has no place for (files,
    offsets, names of channels, evidence, tempo, what was pruned) is not in it.
    """
    draft = _drafted(graph.tidied())
    # grafx wants the sources first: they are the rows of the input.
    order = sorted(range(len(draft.nodes)), key=lambda i: draft.nodes[i][0] != IN)
    number = {i: n for n, i in enumerate(order)}
    edges = [(number[source], number[target]) for source, target in draft.edges]
    unordered = grafx_graph([draft.nodes[i] for i in order], edges)
    for i in order:
        unordered.nodes[number[i]]["draft"] = i
    ordered = reorder_for_fast_render(unordered, method="beam")
    settings = {n: draft.settings[data.pop("draft")] for n, data in ordered.nodes(data=True)}
    kinds = dict.fromkeys(ordered.nodes[n]["node_type"] for n in sorted(ordered.nodes))
    parameters = {
        kind: _tensors(kind, [settings[n] for n in _of_type(ordered, kind)])
        for kind in kinds
        if kind not in (IN, MIX_NODE, OUT)
    }
    return GrafxMix(ordered, parameters)


def grafx_graph(nodes: Iterable[tuple[str, str, str]], edges: Iterable[tuple[int, int]]) -> Any:
    """A `grafx.data.GRAFX` of nodes (type, name, law), numbered as they come, and edges between numbers."""
    graph = GRAFX(config=CONFIGS)
    for kind, name, law in nodes:
        graph.nodes[graph.add(kind, name=name)]["law"] = law
    for source, target in edges:
        graph.connect(source, target)
    return graph


def _of_type(graph: Any, node_type: str) -> list[int]:
    return [n for n in sorted(graph.nodes) if graph.nodes[n]["node_type"] == node_type]


def _drafted(graph: MixGraph) -> _Draft:
    draft = _Draft()
    heads = {c.id: draft.add(IN if isinstance(c, Stem) else MIX_NODE, c.id) for c in graph.channels()}
    outs: dict[str, int] = {}
    for channel in graph.channels():
        last = heads[channel.id]
        for p in graph.chain(channel.id):
            node = draft.add(p.kind, p.id, law=p.law, settings={**p.parameters, MIX.name: p.mix})
            draft.edges.append((last, node))
            last = node
        if channel.volume:
            last = draft.follow(last, VOLUME_AUTOMATION, volume_id(channel.id), channel.volume)
        if channel.pan:
            last = draft.follow(last, PAN_AUTOMATION, f"{channel.id}{_PAN_SUFFIX}", channel.pan)
        outs[channel.id] = last
    for channel in graph.channels():
        parent = graph.parent(channel.id)
        if parent is not None:
            draft.edges.append((outs[channel.id], heads[parent.id]))
        for send in graph.sends(channel.id):
            name = send_id(channel.id, send.target)
            last = draft.follow(outs[channel.id], SEND, name, {SEND_LEVEL.name: send.send_db})
            if send.volume:
                last = draft.follow(last, VOLUME_AUTOMATION, volume_id(name), send.volume)
            draft.edges.append((last, heads[send.target]))
    draft.follow(outs[graph.master.id], OUT, OUT, None)
    return draft


def _tensors(kind: str, settings: Sequence[Any]) -> dict[str, Tensor]:
    if kind not in _VALUES:
        return {name: torch.tensor([s[name] for s in settings], dtype=torch.float64) for name in settings[0]}
    value = _VALUES[kind]
    columns = breakpoint_columns([len(points) for points in settings])
    values = [[getattr(points[i], value) for i in chosen] for points, chosen in zip(settings, columns, strict=True)]
    return {
        _TIMES: padded_times([[point.time_s for point in points] for points in settings]),
        value: torch.tensor(values, dtype=torch.float64),
        _POINTS: torch.tensor([len(points) for points in settings]),
    }


def stacked(kind: str, named: Mapping[str, Tensor]) -> Tensor:
    """Parameters of a node type as one float64 tensor, the last dimension as in `COLUMNS`.

    What automation has once a node is repeated at every breakpoint.
    """
    widest = max((value.shape for value in named.values()), key=len)
    columns = [named[name].double() for name in COLUMNS[kind]]
    return torch.stack([c if c.shape == widest else c[:, None].expand(widest) for c in columns], dim=-1)


def unstacked(columns: Sequence[str], table: Tensor) -> dict[str, Tensor]:
    """Undo `stacked` for these columns."""
    named = {name: table[..., index].contiguous() for index, name in enumerate(columns)}
    if _POINTS in named:
        named[_POINTS] = named[_POINTS][:, 0].long()
    return named


# ------------------------------------------------------------------ back


def from_grafx(mix: GrafxMix, *, like: MixGraph | None = None, name: str = "", sample_rate_hz: int = 44100) -> MixGraph:
    """Turn a grafx object into a mixing graph that can be rendered and exported.

    Parameters
    ----------
    mix : GrafxMix
        As `to_grafx` gives it, or one of the same types that was made otherwise; parameters of any float type.
    like : MixGraph, optional
        Where a channel of the same id is there, its name, file, offset and polarity are taken over, and
        the song's name, rate, length, tempo and provenance; otherwise a stem's file is called after it.
    name, sample_rate_hz
        Of the song, where `like` is not given.

    Raises
    ------
    GraphError
        If it is no mixing graph (no single output, a type that is not known), a parameter is missing or
        out of range, or a tensor has another number of rows.
    """
    try:
        return _Reader(mix, like).graph(name=name, sample_rate_hz=sample_rate_hz)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise GraphError(f"grafx graph: {where}: {first['msg']}") from None
    except (ParameterError, KeyError, IndexError) as error:
        words = f"{error.args[0]!r} is missing" if isinstance(error, KeyError | IndexError) else str(error)
        raise GraphError(f"grafx graph: {words}") from None


class _Reader:
    """One grafx graph while it is turned back."""

    def __init__(self, mix: GrafxMix, like: MixGraph | None) -> None:
        self._graph = mix.graph
        self._like = like
        self._known = {} if like is None else {channel.id: channel for channel in like.channels()}
        self._types = {n: data["node_type"] for n, data in sorted(mix.graph.nodes(data=True))}
        self._settings = dict(self._rows(mix.parameters))
        self._ids = self._unique_ids()

    def graph(self, *, name: str, sample_rate_hz: int) -> MixGraph:
        outs = [n for n, kind in self._types.items() if kind == OUT]
        if len(outs) != 1:
            raise GraphError(f"grafx graph: a mix has one output, found {len(outs)}")
        master = self._channel_of(self._before(outs[0]))
        channels = [n for n, kind in self._types.items() if kind in (IN, MIX_NODE)]
        nodes: list[Node] = [self._channel(n, is_master=n == master) for n in channels]
        nodes += [self._processor(n) for n in self._types if self._types[n] not in _NO_PROCESSORS]
        edges = [edge for n in self._ids for edge in self._edges(n)]
        like = self._like
        if like is not None:
            return like.rebuilt(nodes, edges)
        return MixGraph(name=name, sample_rate_hz=sample_rate_hz, nodes=nodes, edges=edges)

    def _rows(self, parameters: Parameters) -> Iterator[tuple[int, dict[str, Any]]]:
        """Settings of every node that has some."""
        for kind in dict.fromkeys(self._types.values()):
            if kind in (IN, MIX_NODE, OUT):
                continue
            if kind not in NODE_TYPES:
                raise GraphError(f"grafx graph: unknown node type {kind!r}; known are {', '.join(NODE_TYPES)}")
            nodes = _of_type(self._graph, kind)
            columns = {name: tensor.tolist() for name, tensor in parameters[kind].items()}
            for parameter, column in columns.items():
                if len(column) != len(nodes):
                    raise GraphError(
                        f"grafx graph: {kind} {parameter}: {len(column)} rows for {len(nodes)} nodes of that type"
                    )
            for row, node in enumerate(nodes):
                yield node, {parameter: column[row] for parameter, column in columns.items()}

    def _unique_ids(self) -> dict[int, str]:
        """Ids of stems, buses, the master and processors; those without a name are called after their type."""
        taken: set[str] = set()
        ids = {}
        for node, kind in self._types.items():
            if kind in (SEND, VOLUME_AUTOMATION, PAN_AUTOMATION, OUT):
                continue
            base = self._graph.nodes[node].get("name") or f"{kind}{node}"
            ids[node] = next(i for n in count(1) if (i := base if n == 1 else f"{base}-{n}") not in taken)
            taken.add(ids[node])
        return ids

    def _before(self, node: int) -> int:
        sources = list(self._graph.predecessors(node))
        if len(sources) != 1:
            raise GraphError(f"grafx graph: node {node} ({self._types[node]}) has {len(sources)} inputs, it needs one")
        return int(sources[0])

    def _channel_of(self, node: int) -> int:
        while self._types[node] not in (IN, MIX_NODE):
            node = self._before(node)
        return node

    def _leaving(self, node: int) -> tuple[list[VolumePoint], list[PanPoint], list[int]]:
        """The automation behind a node, and what follows after it."""
        volume: list[VolumePoint] = []
        pan: list[PanPoint] = []
        after = [int(n) for n in self._graph.successors(node)]
        while len(after) == 1 and self._types[after[0]] in _VALUES:
            inner = after[0]
            if self._types[inner] == PAN_AUTOMATION:
                pan = [PanPoint(time_s=t, pan=v) for t, v in self._points(inner)]
            else:
                volume = [VolumePoint(time_s=t, gain_db=v) for t, v in self._points(inner)]
            after = [int(n) for n in self._graph.successors(inner)]
        return volume, pan, after

    def _points(self, node: int) -> list[tuple[float, float]]:
        own = self._settings[node]
        points = int(own[_POINTS])
        return list(zip(own[_TIMES][:points], own[_VALUES[self._types[node]]][:points], strict=True))

    def _end(self, channel: int) -> int:
        node = channel
        while True:
            after = [int(n) for n in self._graph.successors(node)]
            if len(after) != 1 or self._types[after[0]] in _NO_PROCESSORS:
                return node
            node = after[0]

    def _channel(self, node: int, *, is_master: bool) -> Node:
        volume, pan, _ = self._leaving(self._end(node))
        own = self._ids[node]
        known = self._known.get(own)
        moves = {"volume": volume, "pan": pan}
        kind: type[Stem | Bus | Master] = Stem if self._types[node] == IN else Master if is_master else Bus
        if isinstance(known, kind):
            return known.model_copy(update=moves)
        if kind is Stem:
            return Stem(id=own, name=own, file=f"{own}.wav", volume=volume, pan=pan)
        return kind.model_validate({"id": own, "name": own, **moves})

    def _processor(self, node: int) -> Processor:
        settings = dict(self._settings[node])
        processor_type, law = type_and_law(self._types[node])
        return Processor(
            id=self._ids[node],
            type=processor_type,
            mix=settings.pop(MIX.name),
            parameters={name: settings[name] for name in SPECS[processor_type].names},
            law=self._graph.nodes[node].get("law") or law,
        )

    def _edges(self, node: int) -> Iterator[Edge]:
        source = self._ids[node]
        for target in self._leaving(node)[2]:
            if target in self._ids:
                yield Edge(source=source, target=self._ids[target])
            elif self._types[target] == SEND:
                volume, _, after = self._leaving(target)
                level_db = self._settings[target][SEND_LEVEL.name]
                for bus in after:
                    yield Edge(source=source, target=self._ids[bus], send_db=level_db, volume=volume)


#: Node types that are no processors.
_NO_PROCESSORS = frozenset((IN, MIX_NODE, OUT, SEND, VOLUME_AUTOMATION, PAN_AUTOMATION))
