"""The settings of a console as trainable tensors; ranges come from the specifications.

A parameter is held as its position in its range, 0 to 1 (logarithmic where the range is), so
that one learning rate suits them all. After every step positions are clipped to the range; a
margin keeps them off the ends, where a section is bypassed and its gradient vanishes, and
`ConsoleParameters.to_graph` snaps to the end what came within the margin.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from ..errors import GraphError
from ..graph import Edge, MixGraph, Node, Processor, VolumePoint
from ..processors.laws import type_and_law
from ..processors.specs import MIX, SEND_EFFECTS, SEND_LEVEL, SPECS, VOLUME, Parameter
from .engine import SEND, VOLUME_AUTOMATION, Plan, breakpoint_columns, send_gain

#: Positions stay this far inside a range that ends in a bypass.
EDGE_MARGIN = 0.004

#: Positions within this of a bypassing end are snapped to it in the finished graph.
_SNAP = 0.012


def position_of(parameter: Parameter, value: float) -> float:
    """Position of a physical value in its range, 0 to 1."""
    low, high = parameter.minimum, parameter.maximum
    if parameter.scale == "log":
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def value_at(parameter: Parameter, position: Tensor) -> Tensor:
    """Physical value at a position, 0 to 1."""
    low, high = parameter.minimum, parameter.maximum
    if parameter.scale == "log":
        return low * torch.exp(position * math.log(high / low))
    return low + (high - low) * position


#: Allowed ranges of parameters where a plugin has less than the specification, by `Processor.kind` and name.
Limits = Mapping[str, Mapping[str, tuple[float, float]]]


def _margins(parameter: Parameter) -> tuple[float, float]:
    low = EDGE_MARGIN if parameter.off_at == parameter.minimum else 0.0
    high = 1.0 - EDGE_MARGIN if parameter.off_at == parameter.maximum else 1.0
    return low, high


def _all_parameters(kind: str) -> tuple[Parameter, ...]:
    if kind == SEND:
        return (SEND_LEVEL,)
    return (VOLUME,) if kind == VOLUME_AUTOMATION else (*SPECS[type_and_law(kind)[0]].parameters, MIX)


def send_id(channel_id: str, bus_id: str) -> str:
    """Name of a send, from its channel and its bus."""
    return f"{channel_id}>{bus_id}"


def volume_id(channel_id: str) -> str:
    """Name of a channel's volume automation."""
    return f"{channel_id}@volume"


class ConsoleParameters(nn.Module):
    """Trainable settings of a graph, one tensor (nodes,) per type and name.

    Processors, sends (type "send", rows are `send_id`) and the breakpoints of volume automation
    (type "volume", one row per breakpoint; their times are fixed).
    """

    def __init__(self, graph: MixGraph, *, device: torch.device, limits: Limits | None = None) -> None:
        super().__init__()
        self.limits = limits or {}
        self.rows: dict[str, list[str]] = {}
        columns: dict[str, list[list[float]]] = {}

        def add(kind: str, row: str, values: Mapping[str, float]) -> None:
            self.rows.setdefault(kind, []).append(row)
            columns.setdefault(kind, []).append([position_of(p, values[p.name]) for p in _all_parameters(kind)])

        for node in graph.processors:
            add(node.kind, node.id, {**node.parameters, MIX.name: node.mix})
        for (channel_id, bus_id), send in graph.all_sends().items():
            add(SEND, send_id(channel_id, bus_id), {SEND_LEVEL.name: _level_db(send)})
        #: Rows of the breakpoints of each `volume_id`.
        self.breakpoints: dict[str, list[int]] = {}
        for channel in graph.channels():
            for point in channel.volume:
                self.breakpoints.setdefault(volume_id(channel.id), []).append(len(self.rows.get(VOLUME_AUTOMATION, [])))
                add(VOLUME_AUTOMATION, f"{channel.id}@{point.time_s}", {VOLUME.name: point.gain_db})
        self.positions = nn.ParameterDict()
        for kind, rows in columns.items():
            for parameter, column in zip(_all_parameters(kind), zip(*rows, strict=True), strict=True):
                tensor = torch.tensor(column, dtype=torch.float32, device=device)
                self.positions[f"{kind}:{parameter.name}"] = nn.Parameter(tensor)
        #: Rows of processors whose mix stays at 1 (`always_wet`).
        self.wet_rows: dict[str, list[int]] = {}
        for node_id in sorted(always_wet(graph)):
            kind = next(k for k, ids in self.rows.items() if node_id in ids)
            self.wet_rows.setdefault(kind, []).append(self.rows[kind].index(node_id))
        self.clip()

    def values(self) -> dict[str, dict[str, Tensor]]:
        """Physical values, by type and name, rows as in `rows`."""
        return {
            kind: {p.name: value_at(p, self.positions[f"{kind}:{p.name}"]) for p in _all_parameters(kind)}
            for kind in self.rows
        }

    def for_plan(self, plan: Plan, values: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """The rows a plan needs, in its order."""
        chosen = {}
        for kind, names in plan.names_by_type.items():
            if kind == VOLUME_AUTOMATION:
                own = [self.breakpoints[name] for name in names]
                columns = breakpoint_columns([len(rows) for rows in own])
                index = [[rows[i] for i in columns] for rows, columns in zip(own, columns, strict=True)]
                rows = torch.tensor(index)
            else:
                place = {node_id: row for row, node_id in enumerate(self.rows[kind])}
                rows = torch.tensor([place[n] for n in names])
            chosen[kind] = {name: value[rows.to(value.device)] for name, value in values[kind].items()}
        return chosen

    @torch.no_grad()
    def clip(self) -> None:
        """Bring every position back into its range."""
        for kind in self.rows:
            for parameter in _all_parameters(kind):
                self.positions[f"{kind}:{parameter.name}"].clamp_(*self._positions_allowed(kind, parameter))
        for kind, rows in self.wet_rows.items():
            self.positions[f"{kind}:{MIX.name}"][rows] = MIX.maximum

    def _positions_allowed(self, kind: str, parameter: Parameter) -> tuple[float, float]:
        low, high = self.allowed(kind, parameter)
        lowest, highest = _margins(parameter)
        # A range that a plugin fixes to the bypassing end has no room for a margin.
        least, most = position_of(parameter, low), position_of(parameter, high)
        return min(max(least, lowest), most), max(min(most, highest), least)

    def allowed(self, kind: str, parameter: Parameter) -> tuple[float, float]:
        """Lowest and highest physical value of a parameter."""
        return self.limits.get(kind, {}).get(parameter.name, (parameter.minimum, parameter.maximum))

    def groups(self, *, rate: float, rates: Mapping[str, float]) -> list[dict[str, object]]:
        """Parameter groups for an optimiser.

        Parameters
        ----------
        rate : float
            Learning rate in shares of the range per step.
        rates : mapping of str to float
            Factors on `rate` for some parameters, by name or by key (type and name, as in `positions`).
        """
        return [
            {"params": [tensor], "lr": rate * rates.get(key, rates.get(key.rpartition(":")[2], 1.0))}
            for key, tensor in self.positions.items()
        ]

    def weights(self, values: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """By type, how much of each there is: dry/wet weights of processors, linear gains of sends.

        Parameters
        ----------
        values : as `values` or `for_plan` returns them
            Volume automation has no weight.
        """
        found = {kind: named[MIX.name] for kind, named in values.items() if MIX.name in named}
        if SEND in values:
            found[SEND] = send_gain(values[SEND][SEND_LEVEL.name])
        return found

    @torch.no_grad()
    def mixes(self) -> dict[str, float]:
        """Dry/wet weight of every processor and linear gain of every send, by id."""
        return {
            node_id: float(weight)
            for kind, column in self.weights(self.values()).items()
            for node_id, weight in zip(self.rows[kind], column, strict=True)
        }

    @torch.no_grad()
    def to_graph(self, graph: MixGraph) -> MixGraph:
        """A copy of a graph (of these processors and sends or fewer) with the present settings."""
        columns = {kind: {name: v.tolist() for name, v in named.items()} for kind, named in self.values().items()}
        place = {node_id: (kind, row) for kind, ids in self.rows.items() for row, node_id in enumerate(ids)}

        def found(kind: str, row: int) -> dict[str, float]:
            return {
                p.name: _snapped(p, columns[kind][p.name][row], allowed=self.allowed(kind, p))
                for p in _all_parameters(kind)
            }

        nodes: list[Node] = []
        for node in graph.nodes:
            if isinstance(node, Processor):
                kind, row = place[node.id]
                parameters = found(kind, row)
                mix = parameters.pop(MIX.name)
                nodes.append(Processor(id=node.id, type=node.type, parameters=parameters, mix=mix, law=node.law))
                continue
            rows = self.breakpoints[volume_id(node.id)] if node.volume else []
            points = [
                VolumePoint(time_s=point.time_s, gain_db=found(VOLUME_AUTOMATION, row)[VOLUME.name])
                for point, row in zip(node.volume, rows, strict=True)
            ]
            nodes.append(node.model_copy(update={"volume": points}) if points else node)
        names = {(e.source, e.target): send_id(*ends) for ends, e in graph.all_sends().items()}
        levels = {ends: found(*place[name])[SEND_LEVEL.name] for ends, name in names.items()}
        edges = [Edge(source=e.source, target=e.target, send_db=levels.get((e.source, e.target))) for e in graph.edges]
        return graph.model_copy(update={"nodes": nodes, "edges": edges})


def _level_db(send: Edge) -> float:
    if send.send_db is None:
        raise TypeError(f"{send.source} to {send.target} is not a send")
    return send.send_db


def _snapped(parameter: Parameter, value: float, *, allowed: tuple[float, float]) -> float:
    low, high = allowed
    clipped = min(max(value, low), high)
    if parameter.off_at is not None and low <= parameter.off_at <= high:
        distance = abs(position_of(parameter, clipped) - position_of(parameter, parameter.off_at))
        if distance <= _SNAP:
            return parameter.off_at
    return clipped


def always_wet(graph: MixGraph) -> set[str]:
    """Ids of the effects of returns: what they add is set by the sends, and no dry signal passes them."""
    return {p.id for bus in graph.returns for p in graph.chain(bus.id) if p.type in SEND_EFFECTS}


def parts(graph: MixGraph) -> dict[str, str]:
    """Type by id of all that can be left out of a graph: processors and sends.

    The effect of a return is none of them: it goes when its last send goes.
    """
    wet = always_wet(graph)
    found = {p.id: p.type for p in graph.processors if p.id not in wet}
    return found | {send_id(*ends): SEND for ends in graph.all_sends()}


def without_parts(graph: MixGraph, removed: Collection[str]) -> MixGraph:
    """A copy without some processors, sends (`send_id`) and volume automation (`volume_id`).

    Returns that nothing feeds any more, and their processors, are gone too.
    """
    sends = {ends for ends in graph.all_sends() if send_id(*ends) in removed}
    smaller = graph.without_sends(sends).without({p.id for p in graph.processors if p.id in removed})
    nodes: list[Node] = [
        n if isinstance(n, Processor) or volume_id(n.id) not in removed else n.model_copy(update={"volume": []})
        for n in smaller.nodes
    ]
    return smaller.rebuilt(nodes, smaller.edges).tidied()


def plan_of(graph: MixGraph, *, without: Iterable[str] = ()) -> Plan:
    """Compile a graph (less some processors) for rendering with the twins.

    Volume automation becomes a node after the chain of its channel, every send a node of its own.
    Buses that nothing flows into are left out.

    Raises
    ------
    GraphError
        If a pan or a send is automated: no search moves those, and what it fitted without would be another mix.
    """
    if any(c.pan for c in graph.channels()) or any(e.volume for e in graph.edges):
        raise GraphError(f"{graph.name}: automation of pan and sends has no twin; remove it before a search")
    smaller = (graph.without(set(without)) if without else graph).tidied()
    kinds = {"stem": "in", "bus": "mix", "master": "mix"}
    nodes = [(n.id, n.kind if isinstance(n, Processor) else kinds[n.type]) for n in smaller.nodes]
    names = {(e.source, e.target): send_id(*ends) for ends, e in smaller.all_sends().items()}
    # What leaves the end of a channel with volume automation leaves its volume node instead.
    volumes = {smaller.end(c.id): c for c in smaller.channels() if c.volume}
    onwards = {end: volume_id(channel.id) for end, channel in volumes.items()}
    nodes += [(name, VOLUME_AUTOMATION) for name in onwards.values()] + [(name, SEND) for name in names.values()]
    edges = list(onwards.items())
    for edge in smaller.edges:
        source = onwards.get(edge.source, edge.source)
        if edge.send_db is None:
            edges.append((source, edge.target))
        else:
            name = names[edge.source, edge.target]
            edges += [(source, name), (name, edge.target)]
    last = smaller.end(smaller.master.id)
    output = "out"
    while any(name == output for name, _ in nodes):
        output += "_"
    times = {volume_id(c.id): [p.time_s for p in c.volume] for c in volumes.values()}
    return Plan([*nodes, (output, "out")], [*edges, (onwards.get(last, last), output)], breakpoints_s=times)
