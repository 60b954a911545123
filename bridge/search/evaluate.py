"""What a graph's loss is, and what it would be without some processors; decisions live in `prune`.

A trial without a processor renders only what that processor feeds: the rest of its own chain,
then its group and the master. Everything upstream, and all other channels, come from a cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..graph import MixGraph
from ..metrics import LOSS_RATE_HZ, WARM_UP_S, MatchLoss, MelFeatures, match_terms
from ..render import buses_inner_first
from .engine import Plan
from .memory import release_unused
from .parameters import ConsoleParameters, plan_of
from .working_set import WorkingSet

#: Longest part of a song that is evaluated while pruning (s), and the cache it may use.
EVALUATED_S = 32.0
CACHE_BYTES = 1.2e9

#: A trial is given up half way when it costs more than this many times what may be given up.
HOPELESS_FACTOR = 2.0

#: Windows are this long at most: longer transforms only cost more.
WINDOW_S = 9.0


@dataclass
class _Window:
    """A part of the song with what is cached for it."""

    start: int
    frames: int
    target: MelFeatures
    node_input: dict[str, Tensor] = field(default_factory=dict)
    channel_output: dict[str, Tensor] = field(default_factory=dict)
    loss: float = 0.0


class Evaluator:
    """Losses of a graph and of trials that leave processors out.

    `refresh` must be called whenever the settings or the graph have changed.
    """

    def __init__(
        self,
        song: WorkingSet,
        parameters: ConsoleParameters,
        twins: nn.ModuleDict,
        *,
        nodes: int,
        device: torch.device,
    ) -> None:
        self.song = song
        self.parameters = parameters
        self.twins = twins
        self.device = device
        self.meter = MatchLoss().to(device)
        self.windows = [self._window(start, frames) for start, frames in evaluation_windows(song.frames, nodes=nodes)]
        self.graph: MixGraph | None = None
        self.loss = math.inf

    def _window(self, start: int, frames: int) -> _Window:
        target = self.song.target(start=start, frames=frames, device=self.device)
        with torch.no_grad():
            return _Window(start, frames, self.meter.features(target[:, _WARM_UP:]))

    @torch.no_grad()
    def refresh(self, graph: MixGraph) -> float:
        """Render a graph, fill the cache and return the loss."""
        self.graph = graph
        release_unused()
        plan = plan_of(graph)
        values = self.parameters.for_plan(plan, self.parameters.values())
        for window in self.windows:
            inputs = self.song.segment(plan.inputs, start=window.start, frames=window.frames, device=self.device)
            node_input: dict[str, Tensor] = {}
            node_output: dict[str, Tensor] = dict(zip(plan.inputs, inputs, strict=True))

            def observe(
                kind: str,
                names: tuple[str, ...],
                source: Tensor,
                output: Tensor,
                node_input: dict[str, Tensor] = node_input,
                node_output: dict[str, Tensor] = node_output,
            ) -> None:
                node_input.update(zip(names, source, strict=True))
                node_output.update(zip(names, output, strict=True))

            window.loss = self._loss(window, plan.render(self.twins, inputs, values, observe=observe))
            window.node_input = node_input
            window.channel_output = {c.id: node_output[_last(graph, c.id)] for c in graph.channels()}
        self.loss = sum(w.loss for w in self.windows) / len(self.windows)
        return self.loss

    @torch.no_grad()
    def trial(self, removed: Iterable[str], *, ceiling: float = math.inf) -> float:
        """Loss of the cached graph without some of its processors.

        A trial whose loss is clearly above `ceiling` on the first half of the windows is given up;
        what is returned then is the estimate, which is above the ceiling.
        """
        graph = self.graph
        if graph is None:
            raise RuntimeError("refresh() comes before trial()")
        trial = _Trial(graph, frozenset(removed))
        values = self.parameters.for_plan(trial.plan, self.parameters.values())
        margin = HOPELESS_FACTOR * (ceiling - self.loss)
        increases: list[float] = []
        for number, window in enumerate(self.windows, start=1):
            inputs = torch.stack([trial.input(name, window) for name in trial.plan.inputs])
            increases.append(self._loss(window, trial.plan.render(self.twins, inputs, values)) - window.loss)
            estimate = self.loss + sum(increases) / number
            if number >= len(self.windows) / 2 and estimate - self.loss > max(margin, 0.0) and estimate > ceiling:
                return estimate
        return self.loss + sum(increases) / len(increases)

    def _loss(self, window: _Window, output: Tensor) -> float:
        features = self.meter.features(output[:, _WARM_UP:])
        return float(match_terms(features, window.target).total)


_WARM_UP = int(WARM_UP_S * LOSS_RATE_HZ)


class _Trial:
    """The part of a graph that has to be rendered again when some processors are left out."""

    def __init__(self, graph: MixGraph, removed: frozenset[str]) -> None:
        self.graph = graph
        self.removed = removed
        self._entry: dict[str, str] = {}
        self._rest: dict[str, list[str]] = {}
        nodes: list[tuple[str, str]] = []
        edges: list[tuple[str, str]] = []
        changed: dict[str, str] = {}
        for channel in _inner_first(graph):
            chain = graph.chain(channel)
            sources = (
                [c.id for c in graph.children(channel) if c.id in changed] if channel not in _stem_ids(graph) else []
            )
            hit = next((i for i, node in enumerate(chain) if node.id in removed), None)
            if hit is None and not sources:
                continue
            if sources:
                # Everything else that flows into the bus is one ready-made signal.
                rest, bus = f"rest:{channel}", f"sum:{channel}"
                self._rest[rest] = [channel, *sources]
                nodes += [(rest, "in"), (bus, "mix")]
                edges += [(rest, bus), *((changed[s], bus) for s in sources)]
                tail, remaining = bus, chain
            else:
                entry = f"entry:{channel}"
                self._entry[entry] = chain[hit or 0].id
                nodes.append((entry, "in"))
                tail, remaining = entry, chain[hit or 0 :]
            for node in remaining:
                if node.id not in removed:
                    nodes.append((node.id, node.type))
                    edges.append((tail, node.id))
                    tail = node.id
            changed[channel] = tail
        # The last sum is there for grafx, which cannot order a graph without any processing.
        nodes += [("last:", "mix"), ("output:", "out")]
        self.plan = Plan(nodes, [*edges, (changed[graph.master.id], "last:"), ("last:", "output:")])

    def input(self, name: str, window: _Window) -> Tensor:
        """The signal of one "in" node of the plan."""
        if name in self._entry:
            return window.node_input[self._entry[name]]
        channel, *sources = self._rest[name]
        total = window.node_input[channel]
        for source in sources:
            total = total - window.channel_output[source]
        return total


def _stem_ids(graph: MixGraph) -> set[str]:
    return {s.id for s in graph.stems}


def _inner_first(graph: MixGraph) -> list[str]:
    return [*(s.id for s in graph.stems), *buses_inner_first(graph), graph.master.id]


def _last(graph: MixGraph, channel_id: str) -> str:
    chain = graph.chain(channel_id)
    return chain[-1].id if chain else channel_id


def evaluation_windows(frames: int, *, nodes: int) -> list[tuple[int, int]]:
    """Start and length of the windows of a song that are evaluated while pruning.

    The whole song where it is short; otherwise windows spread evenly over it. Each begins with
    a warm-up that is not scored.
    """
    bytes_per_s = max(nodes, 1) * 2 * 4 * LOSS_RATE_HZ
    total = int(min(EVALUATED_S, CACHE_BYTES / bytes_per_s) * LOSS_RATE_HZ)
    window = int(WINDOW_S * LOSS_RATE_HZ)
    if frames <= _WARM_UP * 3:
        return [(-_WARM_UP, frames + _WARM_UP)]
    count = max(1, -(-min(total, frames) // window))
    length = min(window, -(-frames // count) + (_WARM_UP if count > 1 else 0), frames)
    if count == 1:
        return [((frames - length) // 2, length)]
    last = frames - length
    return [(round(i * last / (count - 1)), length) for i in range(count)]
