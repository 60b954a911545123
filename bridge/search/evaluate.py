"""What a graph's loss is, for the mix and per stem, and what it would be without parts; decisions live in `prune`.

A trial leaves out processors, sends or the volume automation of channels. It renders only what
these feed: the rest of their own chain, then the group and the return it sends into, then the
master. Everything upstream, and all other channels, come from a cache.

The loss of the mix hardly tells whether a quiet or a rare stem is right: it is a mean over the
whole song. The *stem error* is: the mean difference of level (dB) between mix and target over the
cells of time and mel band, weighted by what is heard of the stem there (see `_Hearing`). A stem
that plays for two seconds is judged by these two seconds; one that the others mask has no error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..graph import MixGraph
from ..metrics import FFT_SIZES, LOSS_RATE_HZ, WARM_UP_S, MatchLoss, MelFeatures, match_terms
from ..processors.specs import SEND_LEVEL
from ..render import buses_inner_first
from .engine import SEND, VOLUME_AUTOMATION, Plan, send_gain
from .memory import RELEASE_EVERY, release_unused
from .parameters import ConsoleParameters, plan_of, send_id, volume_id
from .workers import each
from .working_set import WorkingSet

#: Longest part of a song that is evaluated while pruning (s), and the cache it may use.
EVALUATED_S = 32.0
CACHE_BYTES = 1.2e9

#: A trial is given up half way when it costs more than this many times what may be given up.
HOPELESS_FACTOR = 2.0

#: Windows are this long at most: longer transforms only cost more.
WINDOW_S = 9.0

#: Loudness grows with this power of the magnitude (0.3 of the intensity: Stevens, "The measurement
#: of loudness", JASA 27, 1955).
LOUDNESS_EXPONENT = 0.6

#: Stems are heard on the spectrogram of the longest transform: its frames of 137 ms are close to the
#: time over which loudness is integrated.
_HEARD_SIZE = FFT_SIZES.index(max(FFT_SIZES))

_DB_PER_NEPER = 20.0 / math.log(10.0)

_WARM_UP = int(WARM_UP_S * LOSS_RATE_HZ)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Judgement:
    """What a trial costs.

    Attributes
    ----------
    loss : float
        Match loss of the mix.
    stem_error_db : dict of str to float
        Of every stem; empty before `Evaluator.hear`, and where the trial was given up.
    """

    loss: float
    stem_error_db: dict[str, float] = field(default_factory=dict)


@dataclass
class _Window:
    """A part of the song with what is cached for it."""

    start: int
    frames: int
    target: MelFeatures
    node_input: dict[str, Tensor] = field(default_factory=dict)
    channel_output: dict[str, Tensor] = field(default_factory=dict)
    output: MelFeatures | None = None
    loss: float = 0.0
    heard: Tensor | None = None


class Evaluator:
    """Losses of a graph and of trials that leave parts of it out.

    `refresh` must be called whenever the settings or the graph have changed. Parts are named by
    the id of a processor, `parameters.send_id` or `parameters.volume_id`.
    """

    def __init__(
        self,
        song: WorkingSet,
        parameters: ConsoleParameters,
        twins: nn.ModuleDict,
        *,
        nodes: int,
        device: torch.device,
        evaluated_s: float = EVALUATED_S,
    ) -> None:
        self.song = song
        self.parameters = parameters
        self.twins = twins
        self.device = device
        self.meter = MatchLoss().to(device)
        windows = evaluation_windows(song.frames, nodes=nodes, evaluated_s=evaluated_s)
        self.windows = [self._window(start, frames) for start, frames in windows]
        self.graph: MixGraph | None = None
        self.loss = math.inf
        #: Stem errors of the graph; empty before `hear`.
        self.stem_error_db: dict[str, float] = {}
        #: Trials so far: what a method of pruning is measured by.
        self.trials = 0
        self._layout: _Layout | None = None
        self._values: dict[str, dict[str, Tensor]] = {}
        self._send_gains: dict[str, float] = {}

    def _window(self, start: int, frames: int) -> _Window:
        target = self.song.target(start=start, frames=frames, device=self.device)
        with torch.no_grad():
            return _Window(start, frames, self.meter.features(target[:, _WARM_UP:]))

    @torch.no_grad()
    def refresh(self, graph: MixGraph) -> float:
        """Render a graph, fill the cache and return the loss."""
        self.forget()
        self.graph = graph
        self._layout = layout = _Layout(graph)
        self._values = self.parameters.values()
        sends = self._values.get(SEND, {}).get(SEND_LEVEL.name)
        if sends is not None:
            self._send_gains = dict(zip(self.parameters.rows[SEND], send_gain(sends).tolist(), strict=True))
        plan = plan_of(graph)
        values = self.parameters.for_plan(plan, self._values)

        def render(window: _Window) -> None:
            node_input: dict[str, Tensor] = {}
            node_output: dict[str, Tensor] = {}

            def observe(kind: str, names: tuple[str, ...], source: Tensor, output: Tensor) -> None:
                # What a send gives is its channel's output at its gain: no need to keep it.
                if kind != SEND:
                    node_input.update(zip(names, source, strict=True))
                    node_output.update(zip(names, output, strict=True))

            inputs = self._inputs(plan, window)
            node_output.update(zip(plan.inputs, inputs, strict=True))
            output = plan.render(self.twins, inputs, values, start_frame=window.start, observe=observe)
            window.output = self._features(output)
            window.loss = float(match_terms(window.output, window.target).total)
            window.node_input = node_input
            window.channel_output = {c: node_output[layout.end(c)] for c in layout.order}

        each(render, self.windows)
        self.loss = sum(w.loss for w in self.windows) / len(self.windows)
        self.stem_error_db = self._mean_errors(
            [self._errors(w, _there(w.output)) for w in self.windows if w.heard is not None]
        )
        return self.loss

    @torch.no_grad()
    def measure(self, graph: MixGraph, parameters: ConsoleParameters) -> float:
        """Loss of any graph as `refresh` finds it; nothing is kept for trials."""
        self.forget()
        plan = plan_of(graph)
        values = parameters.for_plan(plan, parameters.values())

        def loss(window: _Window) -> float:
            output = plan.render(self.twins, self._inputs(plan, window), values, start_frame=window.start)
            return float(match_terms(self._features(output), window.target).total)

        losses = each(loss, self.windows)
        return sum(losses) / len(losses)

    def forget(self) -> None:
        """Give the cache back: what `refresh` keeps for trials is as large as what a step of a fit needs."""
        self._layout = None
        for window in self.windows:
            window.node_input, window.channel_output, window.output = {}, {}, None
        release_unused()

    def _inputs(self, plan: Plan, window: _Window) -> Tensor:
        return self.song.segment(plan.inputs, start=window.start, frames=window.frames, device=self.device)

    @torch.no_grad()
    def hear(self) -> dict[str, float]:
        """Learn what is heard of every stem in the graph of the last `refresh`; return the stem errors (dB).

        From here on `refresh` and `judge` find the stem errors by what was heard now.
        """
        layout = self._ready()

        def listen(window: _Window) -> tuple[Tensor, Tensor]:
            window.heard = _Hearing(layout, self).weights(window)
            return self._errors(window, _there(window.output))

        self.stem_error_db = self._mean_errors(each(listen, self.windows))
        return dict(self.stem_error_db)

    def trial(self, removed: Iterable[str], *, ceiling: float = math.inf) -> float:
        """Loss of the cached graph without some of its parts; see `judge`."""
        return self.judge(removed, ceiling=ceiling).loss

    @torch.no_grad()
    def judge(self, removed: Iterable[str], *, ceiling: float = math.inf) -> Judgement:
        """What the cached graph would cost without some of its parts.

        A trial whose loss is clearly above `ceiling` on the first half of the windows is given up;
        what is returned then is the estimate, which is above the ceiling.
        """
        trial = _Trial(self._ready(), frozenset(removed))
        if trial.plan is None:
            return Judgement(self.loss, dict(self.stem_error_db))
        self.trials += 1
        if self.trials % RELEASE_EVERY == 0:
            release_unused()
        plan, values = trial.plan, self.parameters.for_plan(trial.plan, self._values)
        margin = HOPELESS_FACTOR * (ceiling - self.loss)

        def render(window: _Window) -> tuple[float, tuple[Tensor, Tensor] | None]:
            inputs = torch.stack([self._input(trial, name, window) for name in plan.inputs])
            features = self._features(plan.render(self.twins, inputs, values, start_frame=window.start))
            increase = float(match_terms(features, window.target).total) - window.loss
            return increase, self._errors(window, features) if window.heard is not None else None

        half = (len(self.windows) + 1) // 2
        found = each(render, self.windows[:half])
        estimate = self.loss + sum(increase for increase, _ in found) / half
        if estimate - self.loss > max(margin, 0.0) and estimate > ceiling:
            return Judgement(estimate)
        found += each(render, self.windows[half:])
        loss = self.loss + sum(increase for increase, _ in found) / len(found)
        return Judgement(loss, self._mean_errors([errors for _, errors in found if errors is not None]))

    def _ready(self) -> _Layout:
        if self._layout is None:
            raise RuntimeError("refresh() comes before trials")
        return self._layout

    def _input(self, trial: _Trial, name: str, window: _Window) -> Tensor:
        """The signal of one "in" node of a trial's plan."""
        if name in trial.entries:
            return window.node_input[trial.entries[name]]
        bus, sources, sends = trial.rests[name]
        total = window.node_input[bus]
        for source in sources:
            total = total - window.channel_output[source]
        for source, send in sends:
            total = total - self._send_gains[send] * window.channel_output[source]
        return total

    def _features(self, output: Tensor) -> MelFeatures:
        return self.meter.features(output[:, _WARM_UP:])

    def _errors(self, window: _Window, features: MelFeatures) -> tuple[Tensor, Tensor]:
        """Of every stem, the weighted sum of level differences (dB) and the sum of weights, shape (stems,)."""
        found, target = (f.magnitudes[_HEARD_SIZE][:2] for f in (features, window.target))
        difference_db = _DB_PER_NEPER * (found.log() - target.log()).abs()
        heard = _there(window.heard)
        return (heard * difference_db).sum(dim=(1, 2, 3)), heard.sum(dim=(1, 2, 3))

    def _mean_errors(self, found: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
        if not found:
            return {}
        errors = torch.stack([e for e, _ in found]).sum(dim=0)
        weights = torch.stack([w for _, w in found]).sum(dim=0)
        means = torch.where(weights > 0.0, errors / weights.clamp_min(1e-30), torch.zeros_like(errors))
        return dict(zip(self._ready().stems, means.tolist(), strict=True))


def _there(value: _T | None) -> _T:
    if value is None:
        raise RuntimeError("refresh() and hear() come before this")
    return value


class _Layout:
    """The channels of a graph as trials need them: what follows what, what flows where."""

    def __init__(self, graph: MixGraph) -> None:
        graph = graph.tidied()
        self.stems = [s.id for s in graph.stems]
        self.master = graph.master.id
        self.order = [*self.stems, *buses_inner_first(graph), self.master]
        self.breakpoints_s = {volume_id(c.id): [p.time_s for p in c.volume] for c in graph.channels() if c.volume}
        self.chains: dict[str, list[tuple[str, str]]] = {}
        self.children: dict[str, list[str]] = {c: [] for c in self.order}
        #: What sends into a bus: channels and ids of sends.
        self.senders: dict[str, list[tuple[str, str]]] = {c: [] for c in self.order}
        self.parents: dict[str, str] = {}
        for channel in self.order:
            automation = [(volume_id(channel), VOLUME_AUTOMATION)] if volume_id(channel) in self.breakpoints_s else []
            self.chains[channel] = [*((p.id, p.kind) for p in graph.chain(channel)), *automation]
            parent = graph.parent(channel)
            if parent is not None:
                self.parents[channel] = parent.id
                self.children[parent.id].append(channel)
        for channel, bus in graph.all_sends():
            self.senders[bus].append((channel, send_id(channel, bus)))

    def end(self, channel: str) -> str:
        """Name of the node whose output is the channel's."""
        chain = self.chains[channel]
        return chain[-1][0] if chain else channel


class _Trial:
    """The part of a graph that has to be rendered again when some of its parts are left out.

    Attributes
    ----------
    plan : Plan or None
        None where nothing is left out.
    entries : dict
        By "in" node, the node of the graph whose input it is.
    rests : dict
        By "in" node, a bus and what is to be taken off its input: outputs of channels, and outputs
        of channels through sends.
    """

    def __init__(self, layout: _Layout, removed: frozenset[str]) -> None:
        self.layout = layout
        self.removed = removed
        self.entries: dict[str, str] = {}
        self.rests: dict[str, tuple[str, list[str], list[tuple[str, str]]]] = {}
        self._nodes: list[tuple[str, str]] = []
        self._edges: list[tuple[str, str]] = []
        # Every channel whose output changes, and the node that gives the new one; None: it falls silent.
        self._changed: dict[str, str | None] = {}
        for channel in layout.order:
            self._add(channel)
        self.plan = self._compiled(self._changed.get(layout.master))

    def _compiled(self, tail: str | None) -> Plan | None:
        if tail is None:
            return None
        # The last sum is there for grafx, which cannot order a graph without any processing.
        nodes = [*self._nodes, ("last:", "mix"), ("output:", "out")]
        edges = [*self._edges, (tail, "last:"), ("last:", "output:")]
        return Plan(nodes, edges, breakpoints_s=self.layout.breakpoints_s)

    def _add(self, channel: str) -> None:
        chain = self.layout.chains[channel]
        hit = next((i for i, (name, _) in enumerate(chain) if name in self.removed), None)
        children = [c for c in self.layout.children[channel] if c in self._changed]
        sends = [s for s in self.layout.senders[channel] if s[0] in self._changed or s[1] in self.removed]
        tail: str | None
        if children or sends:
            tail = self._sum(channel, children, sends)
        elif hit is not None:
            tail = f"entry:{channel}"
            self.entries[tail] = chain[hit][0]
            self._nodes.append((tail, "in"))
            chain = chain[hit:]
        else:
            return
        for name, kind in chain if tail is not None else []:
            if name not in self.removed and tail is not None:
                self._nodes.append((name, kind))
                self._edges.append((tail, name))
                tail = name
        self._changed[channel] = tail

    def _sum(self, bus: str, children: list[str], sends: list[tuple[str, str]]) -> str | None:
        """A bus of which some inputs change; all others come as one ready-made signal."""
        tail = f"sum:{bus}"
        fed = [(source, tail) for child in children if (source := self._changed[child]) is not None]
        for channel, send in sends:
            source = self._changed.get(channel)
            if source is not None and send not in self.removed:
                self._nodes.append((send, SEND))
                fed += [(source, send), (send, tail)]
        if len(children) < len(self.layout.children[bus]) or len(sends) < len(self.layout.senders[bus]):
            rest = f"rest:{bus}"
            self.rests[rest] = (bus, children, sends)
            self._nodes.append((rest, "in"))
            fed.append((rest, tail))
        if not fed:
            return None
        self._nodes.append((tail, "mix"))
        self._edges += fed
        return tail


class _Hearing:
    """How much is heard of every stem in every cell of time and mel band of the mix.

    A stem's weight in a cell is its share of the power of all stems there (a soft mask: little
    where others are louder) times the loudness of the cell in the target. Powers are those the
    stems have in the mix: at the output of their channel, times the mean power gain per band of
    every bus on the way to the master. A-weighted like the loss.
    """

    def __init__(self, layout: _Layout, evaluator: Evaluator) -> None:
        self.layout = layout
        self.evaluator = evaluator

    def weights(self, window: _Window) -> Tensor:
        """Weights in a window, shape (stems, 2, bands, frames)."""
        gains: dict[str, Tensor] = {}
        for bus in reversed(self.layout.order):
            if bus not in self.layout.stems:
                before, after = self._power(window.node_input[bus]), self._power(window.channel_output[bus])
                own = after.sum(dim=-1, keepdim=True) / before.sum(dim=-1, keepdim=True).clamp_min(1e-30)
                parent = self.layout.parents.get(bus)
                gains[bus] = own if parent is None else own * gains[parent]
        powers = [self._power(window.channel_output[s]) * gains[self.layout.parents[s]] for s in self.layout.stems]
        power = torch.stack(powers)
        share = power / power.sum(dim=0).clamp_min(1e-30)
        loudness: Tensor = window.target.magnitudes[_HEARD_SIZE][:2] ** LOUDNESS_EXPONENT
        return share * loudness

    def _power(self, signal: Tensor) -> Tensor:
        """Power of left and right over what the loss takes for silence, shape (2, bands, frames)."""
        meter = self.evaluator.meter
        sizes = (FFT_SIZES[_HEARD_SIZE],)
        silence = meter.features(signal.new_zeros(2, 1), sizes=sizes).magnitudes[0][:2, :, :1]
        magnitude = meter.features(signal[:, _WARM_UP:], sizes=sizes).magnitudes[0][:2]
        return (magnitude.square() - silence.square()).clamp_min(0.0)


def evaluation_windows(frames: int, *, nodes: int, evaluated_s: float = EVALUATED_S) -> list[tuple[int, int]]:
    """Start and length of the windows of a song that are evaluated while pruning.

    The whole song where it is short; otherwise windows of about `evaluated_s` in all, spread evenly
    over it. Each begins with a warm-up that is not scored.
    """
    bytes_per_s = max(nodes, 1) * 2 * 4 * LOSS_RATE_HZ
    total = int(min(evaluated_s, CACHE_BYTES / bytes_per_s) * LOSS_RATE_HZ)
    window = int(WINDOW_S * LOSS_RATE_HZ)
    if frames <= _WARM_UP * 3:
        return [(-_WARM_UP, frames + _WARM_UP)]
    count = max(1, -(-min(total, frames) // window))
    length = min(-(-total // count), -(-frames // count) + (_WARM_UP if count > 1 else 0), frames)
    if count == 1:
        return [((frames - length) // 2, length)]
    last = frames - length
    return [(round(i * last / (count - 1)), length) for i in range(count)]
