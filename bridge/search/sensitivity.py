"""Error bars: how far a setting can move before the match gets worse; signals are rendered in `node_signals`.

The *error bar* of a setting is the distance it can move in either direction, all others held, until
L_a of the song has grown by `BAR_LOSS`. A short bar is a setting the song pins down; a long one
says that nobody could tell.

To find it by trying settings would take many renders of the song. Here every setting is moved once,
by a small step, on a few short windows in which its channel is heard, and the logarithm of every
mel magnitude is taken to change in proportion from there on. The loss along that line needs no
further render, and it has the kinks of absolute values, which a second derivative would miss: they
are why L_a is seldom a parabola at its minimum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..graph import Edge, MixGraph, Processor
from ..metrics import MatchLoss, MelFeatures, match_terms
from ..processors.specs import DELAY_TAPS, MIX, SEND_LEVEL, SPECS, Parameter
from ..render import buses_inner_first
from .amounts import EQ_BANDS, EQ_PASSES, allowed, pass_is_off
from .memory import release_unused
from .node_signals import BATCH, NodeSignals
from .parameters import Limits, position_of, send_id
from .rewrite import longest_within
from .segments import SCORED_FRAMES, WARM_UP_FRAMES
from .workers import each
from .working_set import WorkingSet

#: Growth of L_a that an error bar stands for.
BAR_LOSS = 0.001

#: Windows rendered for a song, and of these, windows every channel is looked at in.
WINDOWS = 6
WINDOWS_PER_CHANNEL = 2

#: Of the frames of a spectrogram, every so many-th counts along the line.
_EVERY_FRAME = 12

#: A setting is moved by this much: decibels, milliseconds of a delay, shares of the range of others.
_STEP_DB = 0.5
_STEP_MS = {"pre_delay_ms": 1.0, **{f"tap{n}_time_ms": 0.1 for n in range(1, DELAY_TAPS + 1)}}
_STEP_SHARE = 0.015

#: Multiples of the step at which the loss is looked at, from small to large.
_MULTIPLES = tuple(2.0**n for n in range(-5, 6))

#: Loudness grows with this power of the amplitude.
_LOUDNESS_EXPONENT = 0.6

#: Samples skipped when levels are measured.
_STRIDE = 7

SEND_LEVEL_NAME = "send_db"


@dataclass(frozen=True)
class _Probe:
    """One setting, moved by a step; `step` is in the position of `parameters.position_of`."""

    parameter: Parameter
    value: float
    step: float

    def at(self, multiple: float) -> float:
        """The value at so many steps, held in its range."""
        p = self.parameter
        position = min(max(position_of(p, self.value) + multiple * self.step, 0.0), 1.0)
        if p.scale == "log":
            return float(p.minimum * (p.maximum / p.minimum) ** position)
        return p.minimum + (p.maximum - p.minimum) * position


@dataclass(frozen=True)
class _Line:
    """Features of the mix at a setting and what one step changes, on one window."""

    target: MelFeatures
    logarithms: tuple[Tensor, ...]
    changes: tuple[Tensor, ...]
    weight: float

    def loss(self, steps: float) -> float:
        """Weighted L_a of the window so many steps away."""
        moved = tuple(torch.exp(m + steps * d) for m, d in zip(self.logarithms, self.changes, strict=True))
        return self.weight * float(match_terms(MelFeatures(moved), self.target).total)


@torch.no_grad()
def error_bars(
    graph: MixGraph,
    song: WorkingSet,
    twins: nn.ModuleDict,
    *,
    device: torch.device,
    limits: Limits | None = None,
    bar_loss: float = BAR_LOSS,
) -> dict[str, dict[str, float]]:
    """Error bars of all settings of a graph that do something.

    Parameters
    ----------
    twins
        With the laws of the graph's processors.
    limits
        As for `ConsoleParameters`.
    bar_loss : float > 0
        Growth of L_a the bars stand for.

    Returns
    -------
    dict of str to dict of str to float
        By id of a processor (or `parameters.send_id`) and name of a parameter (``"mix"`` and
        ``"send_db"`` too), each in the parameter's unit. No bar is longer than the way to the far
        end of the parameter's range.
    """
    graph = graph.tidied()
    loudness = channel_loudness(graph, song)
    chosen = choose_windows(loudness, WINDOWS)
    meter = MatchLoss().to(device)

    def look(window: int) -> list[tuple[tuple[str, str], _Probe, _Line]]:
        of_window = _Window(graph, song, twins, meter, start=window * SCORED_FRAMES, device=device)
        seen: list[tuple[tuple[str, str], _Probe, _Line]] = []
        for channel, levels in loudness.items():
            best = sorted(chosen, key=lambda k: (-levels[k], k))[:WINDOWS_PER_CHANNEL]
            heard = float(sum(levels[k] for k in best))
            if window in best and heard > 0.0:
                seen += of_window.lines(channel, float(levels.sum()) / heard / len(levels), limits)
                release_unused()
        return seen

    lines: dict[tuple[str, str], list[_Line]] = {}
    probes: dict[tuple[str, str], _Probe] = {}
    for key, probe, line in chain.from_iterable(each(look, chosen)):
        probes[key] = probe
        lines.setdefault(key, []).append(line)
    bars = each(lambda key: _bar(probes[key], lines[key], bar_loss), probes)
    found: dict[str, dict[str, float]] = {}
    for (node_id, name), bar in zip(probes, bars, strict=True):
        found.setdefault(node_id, {})[name] = bar
    return found


def channel_loudness(graph: MixGraph, song: WorkingSet) -> dict[str, npt.NDArray[np.float64]]:
    """Rough loudness of what flows into every channel, one value per stretch of `SCORED_FRAMES`."""
    count = max(1, song.frames // SCORED_FRAMES)
    found: dict[str, npt.NDArray[np.float64]] = {}
    for stem_id, audio in zip(song.stem_ids, song.stems, strict=True):
        pieces = [audio[:, k * SCORED_FRAMES : (k + 1) * SCORED_FRAMES : _STRIDE] for k in range(count)]
        rms = np.array([math.sqrt(float(np.mean(np.square(p, dtype=np.float64)))) if p.size else 0.0 for p in pieces])
        found[stem_id] = rms**_LOUDNESS_EXPONENT
    loudness = {stem.id: found[stem.id] for stem in graph.stems}
    senders: dict[str, list[str]] = {}
    for channel, bus in graph.all_sends():
        senders.setdefault(bus, []).append(channel)
    for bus in (*buses_inner_first(graph), graph.master.id):
        inputs = [*(c.id for c in graph.children(bus)), *senders.get(bus, [])]
        loudness[bus] = sum((loudness[c] for c in inputs), start=np.zeros(count))
    return loudness


def choose_windows(loudness: dict[str, npt.NDArray[np.float64]], count: int) -> list[int]:
    """Stretches in which together every channel is heard as much as possible, in order of time.

    Greedy; the share of a channel's loudness counts by its root, so that a rare channel gets a
    stretch before a busy one gets its third.
    """
    shares = np.array([levels / levels.sum() for levels in loudness.values() if levels.sum() > 0.0])
    if not len(shares):
        return [0]
    chosen: list[int] = []
    covered = np.zeros(len(shares))
    while len(chosen) < min(count, shares.shape[1]):
        gains = np.sqrt(covered[:, None] + shares).sum(axis=0) - np.sqrt(covered).sum()
        gains[chosen] = -np.inf
        best = int(np.argmax(gains))
        chosen.append(best)
        covered += shares[:, best]
    return sorted(chosen)


class _Window:
    """One window of the song: the graph's signals there and the target's features."""

    def __init__(
        self,
        graph: MixGraph,
        song: WorkingSet,
        twins: nn.ModuleDict,
        meter: MatchLoss,
        *,
        start: int,
        device: torch.device,
    ) -> None:
        self.graph, self.meter = graph, meter
        frames = WARM_UP_FRAMES + min(SCORED_FRAMES, max(song.frames - start, 1))
        begin = start - WARM_UP_FRAMES
        self.signals = NodeSignals(graph, song, twins, start=begin, frames=frames, device=device)
        self.target = _thinned(self._features(song.target(start=begin, frames=frames, device=device)))
        self.logarithms = tuple(m.log() for m in _thinned(self._features(self.signals.output)).magnitudes)

    def lines(
        self, channel: str, weight: float, limits: Limits | None
    ) -> Iterator[tuple[tuple[str, str], _Probe, _Line]]:
        """Every setting of a channel, moved by its step."""
        for node in self.graph.chain(channel):
            probes = list(probes_of(node, limits))
            for begin in range(0, len(probes), BATCH):
                batch = probes[begin : begin + BATCH]
                settings = [{**node.parameters, MIX.name: node.mix, p.parameter.name: p.at(1.0)} for p in batch]
                mixes = self.signals.mix_with(node.id, self.signals.with_settings(node, settings))
                for probe, mix in zip(batch, mixes, strict=True):
                    yield (node.id, probe.parameter.name), probe, self._line(mix, weight)
        for send in self.graph.sends(channel):
            probe = _send_probe(send)
            mix = self.signals.mix_with_sends(channel, send.target, [probe.at(1.0)])[0]
            yield (send_id(channel, send.target), SEND_LEVEL_NAME), probe, self._line(mix, weight)

    def _line(self, mix: Tensor, weight: float) -> _Line:
        moved = _thinned(self._features(mix)).magnitudes
        changes = tuple(m.log() - before for m, before in zip(moved, self.logarithms, strict=True))
        return _Line(self.target, self.logarithms, changes, weight)

    def _features(self, audio: Tensor) -> MelFeatures:
        return self.meter.features(audio[:, WARM_UP_FRAMES:])


def _thinned(features: MelFeatures) -> MelFeatures:
    # The longest transform has few frames as it is.
    longest = min(m.shape[-1] for m in features.magnitudes)
    every = [max(1, min(_EVERY_FRAME, m.shape[-1] * _EVERY_FRAME // (8 * longest))) for m in features.magnitudes]
    return MelFeatures(tuple(m[..., ::step].contiguous() for m, step in zip(features.magnitudes, every, strict=True)))


def probes_of(node: Processor, limits: Limits | None = None) -> Iterator[_Probe]:
    """The settings of a processor that do something, each with its step."""
    for parameter in (*SPECS[node.type].parameters, MIX):
        value = node.mix if parameter is MIX else node.parameters[parameter.name]
        low, high = (MIX.minimum, MIX.maximum) if parameter is MIX else allowed(parameter, node.kind, limits)
        if low < high and is_active(node, parameter):
            yield _Probe(parameter, value, _step(parameter, value, low=low, high=high))


def is_active(node: Processor, parameter: Parameter) -> bool:
    """Whether a setting does something: its section is on, and it is no dry/wet weight at its default."""
    name, values = parameter.name, node.parameters
    if parameter is MIX:
        return node.mix != MIX.default
    if parameter.off_at is not None and values[name] == parameter.off_at:
        return False
    if node.type == "eq":
        section = name.rpartition("_")[0]
        if section in EQ_PASSES:
            return not pass_is_off(values, section)
        return section not in EQ_BANDS or values[f"{section}_db"] != 0.0
    if node.type == "delay":
        level = SPECS["delay"].parameter(f"{name.partition('_')[0]}_level_db")
        return values[level.name] != level.off_at
    return True


def _send_probe(send: Edge) -> _Probe:
    value = SEND_LEVEL.default if send.send_db is None else send.send_db
    return _Probe(SEND_LEVEL, value, _step(SEND_LEVEL, value, low=SEND_LEVEL.minimum, high=SEND_LEVEL.maximum))


def _step(parameter: Parameter, value: float, *, low: float, high: float) -> float:
    """A small step in the position, towards the inside where the value is at an end."""
    span = parameter.maximum - parameter.minimum
    if parameter.name in _STEP_MS:
        there = value + _STEP_MS[parameter.name] * (1.0 if value + _STEP_MS[parameter.name] <= high else -1.0)
        return position_of(parameter, there) - position_of(parameter, value)
    step = _STEP_DB / span if parameter.unit == "dB" else _STEP_SHARE
    upwards = position_of(parameter, value) + step <= position_of(parameter, high)
    return step if upwards else -step


def _bar(probe: _Probe, lines: Sequence[_Line], bar_loss: float) -> float:
    """The shorter of the ways up and down; a way that ends where the range does says nothing."""
    before = sum(line.loss(0.0) for line in lines)
    bounded: list[float] = []
    ends: list[float] = []
    for sign in (1.0, -1.0):
        steps = _reach(lines, sign, before, before + bar_loss)
        position = position_of(probe.parameter, probe.value) + sign * steps * probe.step
        away = abs(probe.at(sign * steps) - probe.value)
        (bounded if 0.0 <= position <= 1.0 else ends).append(away)
    return min(bounded) if bounded else max(ends)


def _reach(lines: Sequence[_Line], sign: float, before: float, ceiling: float) -> float:
    """Steps until the loss along the line reaches a ceiling; the last multiple if it never does.

    Along a line the loss falls and rises once at most, so that multiples can be bisected.
    """
    losses = {-1: before}

    def is_below(count: int) -> bool:
        if count == 0:
            return True
        losses[count - 1] = sum(line.loss(sign * _MULTIPLES[count - 1]) for line in lines)
        return losses[count - 1] < ceiling

    count = longest_within(len(_MULTIPLES), is_below)
    near = _MULTIPLES[count - 1] if count else 0.0
    if count == len(_MULTIPLES):
        return near
    near_loss, far_loss = losses[count - 1], losses[count]
    return near + (_MULTIPLES[count] - near) * (ceiling - near_loss) / (far_loss - near_loss)
