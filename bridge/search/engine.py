"""Renders consoles with the twins: grafx graphs, grafx's batching, stage by stage.

grafx orders a graph so that all nodes of one type that can be processed at once form a stage
(`reorder_for_fast_render`) and lists what each stage reads and writes (`prepare_render`). Both
are used as they are. Its executor, `render_grafx`, writes every stage into one big buffer in
place, which autograd pays for with a copy of the whole buffer at every stage (about 40 % of a
step on a CPU); `Plan.render` keeps one tensor per stage instead and gives the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..metrics import LOSS_RATE_HZ
from ..processors.equations import db_to_gain
from ..processors.laws import KINDS
from ..processors.specs import SEND_LEVEL, VOLUME
from .torchaudio_stand_in import ensure_torchaudio

ensure_torchaudio()

from grafx.data import GRAFX, NodeConfigs  # noqa: E402
from grafx.data.conversion import convert_to_tensor  # noqa: E402
from grafx.render import prepare_render, reorder_for_fast_render  # noqa: E402
from grafx.render.core import aggregate_tensor  # noqa: E402

#: Graphs with more nodes than this save memory at the price of a second forward pass of every step:
#: 119 processors take 4.3 GB without, and a song of 32 stems must fit into 6 GB.
FRUGAL_NODES = 150

#: Types of plan nodes that are gains and no processors: a send, and the volume automation of a channel.
SEND, VOLUME_AUTOMATION = "send", "volume"

_TYPES = (*KINDS, SEND, VOLUME_AUTOMATION)
_CONFIGS = NodeConfigs(list(_TYPES))

#: Per type, its parameters (of a processor also "mix") as tensors of shape (nodes,); those of
#: volume automation have shape (nodes, breakpoints).
TypeParameters = Mapping[str, Mapping[str, Tensor]]

#: Called with the type of a stage, its nodes' names, their inputs and their outputs.
Observer = Callable[[str, tuple[str, ...], Tensor, Tensor], None]


@dataclass(frozen=True)
class _Read:
    """Where a stage's input lies: rows of one earlier stage, or of several, concatenated."""

    stages: tuple[int, ...]
    rows: tuple[Tensor, ...]
    order: Tensor | None


@dataclass(frozen=True)
class _Stage:
    node_type: str
    names: tuple[str, ...]
    read: _Read
    aggregation: Any
    first_parameter: int


class Plan:
    """A graph compiled for batched rendering.

    Parameters
    ----------
    nodes : sequence of (name, type)
        Types are "in", "mix", "out", `SEND`, `VOLUME_AUTOMATION` and `laws.KINDS`. Names are unique.
    edges : sequence of (source name, target name)
    breakpoints_s : mapping of name to times, optional
        Of every node of volume automation, its breakpoints, seconds from the song's first frame.

    Attributes
    ----------
    inputs : tuple of str
        Names of the "in" nodes in the order `render` expects their signals.
    names_by_type : dict of str to list of str
        Processors, sends and volume automation in the order `render` expects their parameters.
    """

    def __init__(
        self,
        nodes: Sequence[tuple[str, str]],
        edges: Sequence[tuple[str, str]],
        *,
        breakpoints_s: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.graph = _ordered_graph(nodes, edges)
        tensor = convert_to_tensor(self.graph)
        self.render_data = prepare_render(tensor)
        names = [data["name"] for _, data in sorted(self.graph.nodes(data=True))]
        place: dict[int, tuple[int, int]] = {}
        seen: dict[str, int] = {}
        self.stages: list[_Stage] = []
        for number, data in enumerate(self.render_data.iter_list):
            ids = _indices(data.dest_write)
            read = _no_read() if number == 0 else _resolve(_indices(data.source_reads[0]), place)
            kind = data.node_type
            self.stages.append(
                _Stage(kind, tuple(names[i] for i in ids), read, data.aggregations[0], seen.get(kind, 0))
            )
            seen[kind] = seen.get(kind, 0) + len(ids)
            place.update({node: (number, row) for row, node in enumerate(ids)})
        self.inputs = self.stages[0].names
        last = {source: number for number, stage in enumerate(self.stages) for source in stage.read.stages}
        #: By stage, the stages that nothing after it reads.
        self._read_up = [[s for s in last if last[s] == number] for number in range(len(self.stages))]
        self.frugal = len(nodes) > FRUGAL_NODES
        self.names_by_type: dict[str, list[str]] = {}
        for stage in self.stages[1:]:
            if stage.node_type in _TYPES:
                self.names_by_type.setdefault(stage.node_type, []).extend(stage.names)
        times = [list((breakpoints_s or {})[n]) for n in self.names_by_type.get(VOLUME_AUTOMATION, [])]
        self.breakpoints_s = padded_times(times)

    def render(
        self,
        twins: nn.ModuleDict,
        inputs: Tensor,
        parameters: TypeParameters,
        *,
        start_frame: int = 0,
        observe: Observer | None = None,
    ) -> Tensor:
        """Render signals of shape (inputs, 2, n) to the output, shape (2, n).

        Parameters
        ----------
        start_frame : int
            Place of the first sample in the song, in frames at `metrics.LOSS_RATE_HZ`; volume
            automation needs it. Negative before the song's beginning.
        observe : callable, optional
            Called for every stage with its type, the names of its nodes, their inputs and their outputs.
        """
        outputs: list[Tensor] = [inputs]
        for number, stage in enumerate(self.stages[1:], start=1):
            signal = aggregate_tensor(_gather(outputs, stage.read), stage.aggregation, dim=0)
            source = signal
            if stage.node_type in _TYPES:
                rows = slice(stage.first_parameter, stage.first_parameter + len(stage.names))
                values = {name: value[rows] for name, value in parameters[stage.node_type].items()}
                if stage.node_type == SEND:
                    signal = signal * send_gain(values[SEND_LEVEL.name])[:, None, None]
                elif stage.node_type == VOLUME_AUTOMATION:
                    signal = signal * self._volume(values[VOLUME.name], rows, start_frame, signal.shape[-1])
                else:
                    signal = self._process(twins[stage.node_type], signal, values)
            if observe is not None:
                observe(stage.node_type, stage.names, source, signal)
            outputs.append(signal)
            for done in self._read_up[number]:
                outputs[done] = signal.new_empty(0)
        return outputs[-1][0]

    def _volume(self, gain_db: Tensor, rows: slice, start_frame: int, frames: int) -> Tensor:
        times_s = self.breakpoints_s[rows].to(gain_db.device)
        return volume_curves(times_s, gain_db, start_frame=start_frame, frames=frames)[:, None]

    def _process(self, twin: nn.Module, signal: Tensor, values: dict[str, Tensor]) -> Tensor:
        if self.frugal and torch.is_grad_enabled():
            # Only inputs and outputs of a stage are kept; the rest is computed again in the backward pass.
            again: Tensor = checkpoint(lambda x: twin(x, **values), signal, use_reentrant=False)
            return again
        processed: Tensor = twin(signal, **values)
        return processed


def send_gain(level_db: Tensor) -> Tensor:
    """Linear gain of sends."""
    gain: Tensor = db_to_gain(level_db)
    return gain


def volume_curves(times_s: Tensor, gain_db: Tensor, *, start_frame: int, frames: int) -> Tensor:
    """Gain of volume automation at every sample; `graph.volume_gains`, batched and differentiable.

    Parameters
    ----------
    times_s, gain_db : tensor, shape=(nodes, breakpoints)
        At least two breakpoints, times growing.
    start_frame, frames : int
        At `metrics.LOSS_RATE_HZ`.

    Returns
    -------
    tensor, shape=(nodes, frames)
        Linear amplitude.
    """
    now_s = (start_frame + torch.arange(frames, device=times_s.device, dtype=torch.float64)) / LOSS_RATE_HZ
    later = torch.searchsorted(times_s, now_s.expand(len(times_s), -1).contiguous())
    later = later.clamp(1, times_s.shape[1] - 1)
    begin, end = times_s.gather(1, later - 1), times_s.gather(1, later)
    share = ((now_s - begin) / (end - begin)).clamp(0.0, 1.0).to(gain_db.dtype)
    gain: Tensor = db_to_gain(gain_db)
    return torch.lerp(gain.gather(1, later - 1), gain.gather(1, later), share)


def breakpoint_columns(counts: Sequence[int]) -> list[list[int]]:
    """For nodes with these numbers of breakpoints, which of its own each has in every column.

    All rows are as long as the longest, two at least; the last breakpoint is repeated.
    """
    width = max([2, *counts])
    return [[min(column, count - 1) for column in range(width)] for count in counts]


def padded_times(times_s: Sequence[Sequence[float]]) -> Tensor:
    """Times of breakpoints as one tensor (nodes, breakpoints), columns as in `breakpoint_columns`.

    What is repeated comes ever later.
    """
    columns = breakpoint_columns([len(row) for row in times_s])
    rows = [[row[i] + (c - i) for c, i in enumerate(chosen)] for row, chosen in zip(times_s, columns, strict=True)]
    return torch.tensor(rows, dtype=torch.float64)


def _ordered_graph(nodes: Sequence[tuple[str, str]], edges: Sequence[tuple[str, str]]) -> Any:
    graph = GRAFX(config=_CONFIGS)
    # grafx wants the sources first: they are the rows of the input.
    ids = {name: graph.add(kind, name=name) for name, kind in sorted(nodes, key=lambda item: item[1] != "in")}
    for source, target in edges:
        graph.connect(ids[source], ids[target])
    return reorder_for_fast_render(graph, method="beam")


def _indices(access: Any) -> list[int]:
    if access.method == "slice":
        return list(range(*access.idx))
    return [int(i) for i in access.idx]


def _no_read() -> _Read:
    return _Read((), (), None)


def _resolve(sources: list[int], place: Mapping[int, tuple[int, int]]) -> _Read:
    found = [place[node] for node in sources]
    stages = sorted({stage for stage, _ in found})
    rows = []
    order: list[int] = []
    for stage in stages:
        positions = [i for i, (s, _) in enumerate(found) if s == stage]
        order += positions
        rows.append(torch.tensor([found[i][1] for i in positions]))
    inverse = torch.argsort(torch.tensor(order))
    in_order = bool((inverse == torch.arange(len(order))).all())
    return _Read(tuple(stages), tuple(rows), None if in_order else inverse)


def _gather(outputs: Sequence[Tensor], read: _Read) -> Tensor:
    pieces = []
    for stage, rows in zip(read.stages, read.rows, strict=True):
        source = outputs[stage]
        whole = len(rows) == len(source) and bool((rows == torch.arange(len(rows))).all())
        pieces.append(source if whole else source.index_select(0, rows.to(source.device)))
    joined = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    return joined if read.order is None else joined.index_select(0, read.order.to(joined.device))
