"""The settings of a console as trainable tensors; ranges come from the specifications.

A parameter is held as its position in its range, 0 to 1 (logarithmic where the range is), so
that one learning rate suits them all. After every step positions are clipped to the range; a
margin keeps them off the ends, where a section is bypassed and its gradient vanishes, and
`ConsoleParameters.to_graph` snaps to the end what came within the margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ..graph import MixGraph, Node, Processor
from ..processors.specs import MIX, SPECS, Parameter
from .engine import Plan

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


#: Allowed range of some parameters, by type and name, where a plugin has less than the specification.
Limits = Mapping[str, Mapping[str, tuple[float, float]]]


def _margins(parameter: Parameter) -> tuple[float, float]:
    low = EDGE_MARGIN if parameter.off_at == parameter.minimum else 0.0
    high = 1.0 - EDGE_MARGIN if parameter.off_at == parameter.maximum else 1.0
    return low, high


def _all_parameters(kind: str) -> tuple[Parameter, ...]:
    return (*SPECS[kind].parameters, MIX)


class ConsoleParameters(nn.Module):
    """Trainable settings of all processors of a graph, one tensor (nodes,) per type and name."""

    def __init__(self, graph: MixGraph, *, device: torch.device, limits: Limits | None = None) -> None:
        super().__init__()
        self.limits = limits or {}
        self.rows: dict[str, list[str]] = {}
        for node in graph.processors:
            self.rows.setdefault(node.type, []).append(node.id)
        self.positions = nn.ParameterDict()
        for kind, ids in self.rows.items():
            nodes = [graph.node(node_id) for node_id in ids]
            for parameter in _all_parameters(kind):
                start = [_start_position(parameter, n) for n in nodes]
                tensor = torch.tensor(start, dtype=torch.float32, device=device)
                self.positions[f"{kind}:{parameter.name}"] = nn.Parameter(tensor)
        self.clip()

    def values(self) -> dict[str, dict[str, Tensor]]:
        """Physical values of all processors, by type and name, rows as in `rows`."""
        return {
            kind: {p.name: value_at(p, self.positions[f"{kind}:{p.name}"]) for p in _all_parameters(kind)}
            for kind in self.rows
        }

    def for_plan(self, plan: Plan, values: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """The rows a plan needs, in its order."""
        chosen = {}
        for kind, names in plan.names_by_type.items():
            index = {node_id: row for row, node_id in enumerate(self.rows[kind])}
            rows = torch.tensor([index[n] for n in names], device=next(self.parameters()).device)
            chosen[kind] = {name: value.index_select(0, rows) for name, value in values[kind].items()}
        return chosen

    @torch.no_grad()
    def clip(self) -> None:
        """Bring every position back into its range."""
        for kind in self.rows:
            for parameter in _all_parameters(kind):
                self.positions[f"{kind}:{parameter.name}"].clamp_(*self._positions_allowed(kind, parameter))

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
        rates : mapping of parameter name to float
            Factors on `rate` for some names.
        """
        return [
            {"params": [tensor], "lr": rate * rates.get(key.partition(":")[2], 1.0)}
            for key, tensor in self.positions.items()
        ]

    @torch.no_grad()
    def mixes(self) -> dict[str, float]:
        """Dry/wet weight of every processor by id."""
        return {
            node_id: float(weight)
            for kind, ids in self.rows.items()
            for node_id, weight in zip(ids, self.positions[f"{kind}:{MIX.name}"], strict=True)
        }

    @torch.no_grad()
    def to_graph(self, graph: MixGraph) -> MixGraph:
        """A copy of a graph (of these processors or fewer) with the present settings."""
        columns = {kind: {name: v.tolist() for name, v in named.items()} for kind, named in self.values().items()}
        place = {node_id: (kind, row) for kind, ids in self.rows.items() for row, node_id in enumerate(ids)}
        nodes: list[Node] = []
        for node in graph.nodes:
            if not isinstance(node, Processor):
                nodes.append(node)
                continue
            kind, row = place[node.id]
            found = {
                p.name: _snapped(p, columns[kind][p.name][row], allowed=self.allowed(kind, p))
                for p in _all_parameters(kind)
            }
            mix = found.pop(MIX.name)
            nodes.append(Processor(id=node.id, type=kind, parameters=found, mix=mix, law=node.law))
        return graph.model_copy(update={"nodes": nodes})


def _start_position(parameter: Parameter, node: Node) -> float:
    if not isinstance(node, Processor):
        raise TypeError(f"{node.id} is not a processor")
    value = node.mix if parameter is MIX else node.parameters[parameter.name]
    return position_of(parameter, value)


def _snapped(parameter: Parameter, value: float, *, allowed: tuple[float, float]) -> float:
    low, high = allowed
    clipped = min(max(value, low), high)
    if parameter.off_at is not None and low <= parameter.off_at <= high:
        distance = abs(position_of(parameter, clipped) - position_of(parameter, parameter.off_at))
        if distance <= _SNAP:
            return parameter.off_at
    return clipped


def plan_of(graph: MixGraph, *, without: Iterable[str] = ()) -> Plan:
    """Compile a graph (less some processors) for rendering with the twins."""
    smaller = graph.without(set(without)) if without else graph
    kinds = {"stem": "in", "bus": "mix", "master": "mix"}
    nodes = [(n.id, kinds.get(n.type, n.type)) for n in smaller.nodes]
    edges = [(e.source, e.target) for e in smaller.edges]
    last = ({n for n, _ in nodes} - {source for source, _ in edges}).pop()
    output = "out"
    while any(name == output for name, _ in nodes):
        output += "_"
    return Plan([*nodes, (output, "out")], [*edges, (last, output)])
