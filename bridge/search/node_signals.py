"""The signals inside a graph on a window of a song, and what becomes of the mix when one of them changes.

The search's `Plan` renders whole graphs in batches of nodes; here one node is looked at with many
settings at once, so that the batch is over settings and only what follows the node is rendered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..graph import MixGraph, Processor, volume_gains
from ..metrics import LOSS_RATE_HZ
from ..processors.equations import db_to_gain
from ..processors.specs import MIX
from ..render import buses_inner_first
from .working_set import WorkingSet

#: Settings rendered at once.
BATCH = 4


class NodeSignals:
    """A graph rendered with the twins on one window.

    Attributes
    ----------
    node_input, node_output : dict of str to Tensor, shape=(2, frames)
        By processor.
    channel_output : dict of str to Tensor, shape=(2, frames)
        By stem, bus or master, volume automation included.
    """

    @torch.no_grad()
    def __init__(
        self,
        graph: MixGraph,
        song: WorkingSet,
        twins: nn.ModuleDict,
        *,
        start: int,
        frames: int,
        device: torch.device,
    ) -> None:
        self.graph = graph = graph.tidied()
        self.twins = twins
        self.start, self.frames, self.device = start, frames, device
        self.node_input: dict[str, Tensor] = {}
        self.node_output: dict[str, Tensor] = {}
        self.channel_output: dict[str, Tensor] = {}
        self._channel_input: dict[str, Tensor] = {}
        self._order = [*(s.id for s in graph.stems), *buses_inner_first(graph), graph.master.id]
        self._chains = {c: graph.chain(c) for c in self._order}
        self._outputs = {c: list(self._flows(c)) for c in self._order}
        self._volumes = {c: self._volume(c) for c in self._order}
        stem_ids = tuple(s.id for s in graph.stems)
        stems = song.segment(stem_ids, start=start, frames=frames, device=device)
        self._channel_input.update(zip(stem_ids, stems, strict=True))
        for channel in self._order:
            self._render(channel)

    @property
    def output(self) -> Tensor:
        """The mix, shape (2, frames)."""
        return self.channel_output[self.graph.master.id]

    @torch.no_grad()
    def with_settings(self, node: Processor, settings: Sequence[Mapping[str, float]]) -> Tensor:
        """Outputs of one processor with other settings (all parameters and "mix"), shape (settings, 2, frames)."""
        columns = {name: self._tensor([s[name] for s in settings]) for name in settings[0]}
        source = self.node_input[node.id].expand(len(settings), -1, -1)
        changed: Tensor = self.twins[node.kind](source, **columns)
        return changed

    @torch.no_grad()
    def mix_with(self, node_id: str, outputs: Tensor) -> Tensor:
        """The mix when one processor gives these outputs, shape (settings, 2, frames) as they."""
        channel = next(c for c, chain in self._chains.items() if any(n.id == node_id for n in chain))
        chain = self._chains[channel]
        place = next(i for i, n in enumerate(chain) if n.id == node_id)
        changed = self._through(channel, outputs, chain[place + 1 :])
        return self._mix(channel, changed)

    @torch.no_grad()
    def mix_with_sends(self, channel_id: str, bus_id: str, levels_db: Sequence[float]) -> Tensor:
        """The mix when a send has these levels, shape (levels, 2, frames)."""
        before = next(gain for target, gain in self._outputs[channel_id][1:] if target == bus_id)
        gains = self._tensor([db_to_gain(level_db) - before for level_db in levels_db])
        return self._spread({bus_id: gains[:, None, None] * self.channel_output[channel_id]})

    def _mix(self, channel: str, changed: Tensor) -> Tensor:
        if channel == self.graph.master.id:
            return changed
        difference = changed - self.channel_output[channel]
        return self._spread({target: gain * difference for target, gain in self._outputs[channel]})

    def _spread(self, pending: dict[str, Tensor]) -> Tensor:
        """Carry changes of the inputs of channels to the master's output."""
        for channel in self._order:
            if channel not in pending:
                continue
            source = self._channel_input[channel] + pending.pop(channel)
            changed = self._through(channel, source, self._chains[channel])
            if channel == self.graph.master.id:
                return changed
            difference = changed - self.channel_output[channel]
            for target, gain in self._outputs[channel]:
                pending[target] = pending[target] + gain * difference if target in pending else gain * difference
        raise RuntimeError("a change does not reach the master")

    def _through(self, channel: str, signal: Tensor, chain: Sequence[Processor]) -> Tensor:
        for node in chain:
            values = {**node.parameters, MIX.name: node.mix}
            columns = {name: self._tensor([value]).expand(len(signal)) for name, value in values.items()}
            signal = self.twins[node.kind](signal, **columns)
        volume = self._volumes[channel]
        return signal if volume is None else signal * volume

    def _render(self, channel: str) -> None:
        signal = self._channel_input.setdefault(channel, torch.zeros(2, self.frames, device=self.device))
        for node in self._chains[channel]:
            self.node_input[node.id] = signal
            signal = self.with_settings(node, [{**node.parameters, MIX.name: node.mix}])[0]
            self.node_output[node.id] = signal
        volume = self._volumes[channel]
        signal = signal if volume is None else signal * volume
        self.channel_output[channel] = signal
        for target, gain in self._outputs[channel]:
            held = self._channel_input.get(target)
            self._channel_input[target] = gain * signal if held is None else held + gain * signal

    def _flows(self, channel: str) -> Iterator[tuple[str, float]]:
        """Where a channel's output goes and at which gain; its parent first."""
        parent = self.graph.parent(channel)
        if parent is not None:
            yield parent.id, 1.0
        for send in self.graph.sends(channel):
            yield send.target, float(db_to_gain(send.send_db))

    def _volume(self, channel: str) -> Tensor | None:
        points = self.graph.channel(channel).volume
        if not points:
            return None
        end = self.start + self.frames
        gains = volume_gains(points, frames=max(end, 1), sample_rate_hz=LOSS_RATE_HZ)
        window = torch.as_tensor(gains[max(self.start, 0) : end], dtype=torch.float32, device=self.device)
        before = window.new_full((self.frames - len(window),), float(gains[0]))
        return torch.cat([before, window])

    def _tensor(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)
