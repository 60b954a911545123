"""Says which node or send loses what: each against its reference fed with the same input; no plugin is run here."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ...exporters import chain as written
from ...exporters.session import Insert, Session, Strip, Track
from ..errors import ParameterError
from ..features import Signal, energy, power_to_db
from ..processors.reference import apply_processor
from ..processors.specs import MIX
from ..render import ridden
from .measure import find_offset, level_error_db, moved, null_db
from .realise import Audio, Gain, InsertRun, fader_gains, send_gain
from .results import ChannelResult, NodeKind, NodeResult

#: A worse null is looked into: perhaps the plugin only comes late.
_LATE_NULL_DB = -40.0

#: An offset is looked for in this much audio (s), where the reference is loudest.
_EXCERPT_S = 8.0

#: Faders, sends and automation that differ by less (relative) are the same but for rounding in a session file.
MIXER_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Expectation:
    """What the graph wants of a channel; built from the same session layout the exporters start from."""

    strip: Strip
    track: Track | None


def expectations(session: Session) -> dict[str, Expectation]:
    """What is wanted of every channel, by id."""
    tracks = {track.strip.id: track for track in session.tracks()}
    return {strip.id: Expectation(strip, tracks.get(strip.id)) for strip in session.strips()}


def reference_of(insert: Insert, *, sample_rate_hz: int) -> InsertRun:
    """The reference DSP of a node as a function of its input, dry part included."""
    return functools.partial(
        _apply, insert.type, insert.parameters, insert.mix, insert.law, sample_rate_hz=sample_rate_hz
    )


def _apply(
    kind: str, parameters: Mapping[str, float], mix: float, law: str, audio: Audio, *, sample_rate_hz: int
) -> Audio:
    return apply_processor(kind, audio, parameters=parameters, sample_rate_hz=sample_rate_hz, mix=mix, law=law)


def insert_as_written(insert: written.Insert) -> Insert | None:
    """The node an insert claims to be; None where it realises none of our processors."""
    if not insert.type or not insert.parameters:
        return None
    # Our JSFX have a dry/wet slider of their own before that of the host.
    own = insert.values.get(MIX.name, MIX.default) if insert.kind == "jsfx" else MIX.default
    mix = insert.mix * float(own)
    return Insert(insert.id, insert.type, dict(insert.parameters), mix, insert.law)


@dataclass(frozen=True)
class Step:
    """One place in a channel's insert chain.

    Attributes
    ----------
    real : chain.Insert or None
        What the session has there; None where it lacks a node of the graph.
    wanted : session.Insert or None
        What should be there; None where the graph has nothing or nothing is known.
    kind : NodeKind
    """

    real: written.Insert | None
    wanted: Insert | None
    kind: NodeKind


def steps_of(channel: written.Channel, expectation: Expectation | None) -> list[Step]:
    """Lay the inserts a channel has beside those it should have, in signal order."""
    real = [i for i in channel.inserts if not i.bypassed]
    if expectation is None:
        return [Step(i, insert_as_written(i), "insert") for i in real]
    wanted = {i.id: (n, i) for n, i in enumerate(expectation.strip.inserts)}
    missing = [i for i in expectation.strip.inserts if i.id not in {r.id for r in real}]
    steps: list[Step] = []
    for insert in real:
        place, match = wanted.get(insert.id, (-1, None))
        while missing and wanted[missing[0].id][0] < place:
            steps.append(Step(None, missing.pop(0), "missing"))
        steps.append(Step(insert, match, "insert" if match is not None else "extra"))
    return steps + [Step(None, i, "missing") for i in missing]


@dataclass
class _Difference:
    """How far a node is from its reference, until the level of the whole song is known."""

    result: NodeResult
    error: tuple[float, float] = (0.0, 0.0)


@dataclass
class _ChannelState:
    """What is known of a channel while its inserts are rendered."""

    steps: list[Step]
    at: int = 0
    expected: Audio | None = None


@dataclass
class NodeMeter:
    """Hears a render (`realise.Captures`) and compares every node with its reference.

    Parameters
    ----------
    chain : Chain
    wanted : dict of str to Expectation
        By channel id; empty where no graph is known, so that every node is compared with what it
        claims to be.
    """

    chain: written.Chain
    wanted: Mapping[str, Expectation]
    _differences: list[_Difference] = field(default_factory=list, init=False)
    _channels: dict[str, ChannelResult] = field(default_factory=dict, init=False)
    _states: dict[str, _ChannelState] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _powers: dict[str, Audio] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        # What a channel feeds comes after it.
        for channel in reversed(self.chain.channels):
            power = fader_gains(channel.gain, channel.pan) ** 2 * self._power_behind(channel)
            self._powers[channel.id] = power * _mean_power(automation_of(channel, chain=self.chain))

    # ---------------------------------------------------------------------- captures

    def on_source(self, channel: written.Channel, audio: Audio) -> None:
        """Compare a track's place and polarity with the graph's."""
        track = self.wanted[channel.id].track if channel.id in self.wanted else None
        source = channel.source
        if track is None or source is None:
            return
        late, flip = source.offset_samples - track.media.offset_samples, source.polarity * track.media.polarity
        if late == 0 and flip == 1:
            return
        reference = moved(audio, -late) * flip
        words = [f"moved by {late} samples"] * bool(late) + ["polarity inverted"] * (flip < 0)
        self._add(channel, _Node(f"{channel.id}:media", "media", "", ""), audio, reference, ", ".join(words))

    def on_insert(self, channel: written.Channel, insert: written.Insert, before: Audio, after: Audio) -> None:
        """Compare an insert's output with that of its reference."""
        state = self._state(channel, before)
        self._pass_missing(channel, state, before)
        step = state.steps[state.at]
        state.at += 1
        node = _Node(insert.id, step.kind, insert.type, _plugin_name(insert))
        first = state.expected is before
        reference = self._reference(step, before)
        if reference is None:
            state.expected = after
            self._add_unknown(channel, node)
            return
        self._add(channel, node, after, reference, "not in the graph" if step.kind == "extra" else "")
        if first:
            state.expected = reference
        elif state.expected is not None:
            state.expected = self._reference(step, state.expected)

    def on_channel(self, channel: written.Channel, before: Audio, into_fader: Audio, after: Audio) -> None:
        """Compare fader, automation and sends, and the channel as a whole."""
        state = self._state(channel, before)
        self._pass_missing(channel, state, into_fader)
        expectation = self.wanted.get(channel.id)
        strip = expectation.strip if expectation is not None else None
        wanted: written.Channel | Strip = channel if strip is None else strip
        gains, moving = fader_gains(wanted.gain, wanted.pan), automation_of(wanted, chain=self.chain)
        moved_what = mixer_difference(channel, wanted, chain=self.chain)
        if moved_what:
            node = _Node(f"{channel.id}:{moved_what}", moved_what, "", "")
            reference = into_fader * gains * moving
            words = "fader or pan moved" if moved_what == "fader" else "automation changed"
            self._add(channel, node, after, reference, words, power=self._power_behind(channel))
        if strip is not None:
            self._compare_sends(channel, strip, after)
        expected = state.expected if state.expected is not None else before
        reference = expected * gains * moving
        result = ChannelResult(
            id=channel.id,
            name=channel.name,
            kind=channel.kind,
            null_db=null_db(after, reference),
            level_error_db=level_error_db(after, reference),
        )
        with self._lock:
            self._channels[channel.id] = result
            del self._states[channel.id]

    def _compare_sends(self, channel: written.Channel, strip: Strip, after: Audio) -> None:
        """Compare what a channel sends with what the graph wants it to send."""
        for target, (real, wanted) in send_gains(channel, strip, chain=self.chain).items():
            words = send_difference(real, wanted)
            if not words:
                continue
            name = next((c.name for c in self.chain.channels if c.id == target), target)
            node = _Node(f"{channel.id}>{target}", "send", "", "")
            power = self._powers.get(target, np.zeros((2, 1)))
            self._add(channel, node, real * after, wanted * after, f"to {name}: {words}", power=power)

    # --------------------------------------------------------------------- results

    def channels(self) -> tuple[ChannelResult, ...]:
        """One result a channel, in the order of the chain."""
        return tuple(self._channels[c.id] for c in self.chain.channels if c.id in self._channels)

    def nodes(self, song: Audio) -> tuple[NodeResult, ...]:
        """All nodes, worst first; `song` is the render they were heard in."""
        whole = energy(song)
        results = []
        # Tracks finish in any order; equals must not depend on which came first.
        order = {channel.id: place for place, channel in enumerate(self.chain.channels)}
        for difference in sorted(self._differences, key=lambda d: order[d.result.channel]):
            share = sum(difference.error) / whole if whole > 0.0 else 0.0
            results.append(difference.result.model_copy(update={"impact_db": power_to_db(share)}))
        return tuple(sorted(results, key=worst_first))

    # ------------------------------------------------------------------ the work

    def _state(self, channel: written.Channel, before: Audio) -> _ChannelState:
        with self._lock:
            if channel.id not in self._states:
                steps = steps_of(channel, self.wanted.get(channel.id))
                self._states[channel.id] = _ChannelState(steps, expected=before)
            return self._states[channel.id]

    def _pass_missing(self, channel: written.Channel, state: _ChannelState, audio: Audio) -> None:
        """Account for nodes of the graph that the session does not have at this place."""
        while state.at < len(state.steps) and state.steps[state.at].real is None:
            step = state.steps[state.at]
            state.at += 1
            reference = self._reference(step, audio)
            if step.wanted is None or reference is None:
                continue
            node = _Node(step.wanted.id, "missing", step.wanted.type, "")
            self._add(channel, node, audio, reference, "missing or bypassed in the session")
            state.expected = self._reference(step, audio if state.expected is None else state.expected)

    def _reference(self, step: Step, audio: Audio) -> Audio | None:
        if step.kind == "extra":
            return audio
        if step.wanted is None:
            return None
        try:
            return reference_of(step.wanted, sample_rate_hz=self.chain.sample_rate_hz)(audio)
        except ParameterError:
            # Settings outside our ranges, made by hand: the plugin may well do them, the reference does not.
            return None

    def _add(
        self,
        channel: written.Channel,
        node: _Node,
        after: Audio,
        reference: Signal,
        note: str,
        *,
        power: Audio | None = None,
    ) -> None:
        """Note a difference; `power` is what becomes of its energy on the way to the song, if not that of an insert."""
        difference = null_db(after, reference)
        offset = 0
        if difference > _LATE_NULL_DB and node.kind == "insert":
            part = _loudest(reference, round(_EXCERPT_S * self.chain.sample_rate_hz))
            offset = find_offset(after[:, part], reference[:, part], sample_rate_hz=self.chain.sample_rate_hz)
        result = NodeResult(
            id=node.id,
            channel=channel.id,
            channel_name=channel.name,
            type=node.type,
            kind=node.kind,
            plugin=node.plugin,
            null_db=difference,
            level_error_db=level_error_db(after, reference),
            offset_samples=offset,
            note=note,
        )
        power = self._powers[channel.id] if power is None else power
        left, right = (energy(after[side] - reference[side]) * float(power[side, 0]) for side in (0, 1))
        with self._lock:
            self._differences.append(_Difference(result, (left, right)))

    def _add_unknown(self, channel: written.Channel, node: _Node) -> None:
        result = NodeResult(
            id=node.id,
            channel=channel.id,
            channel_name=channel.name,
            type=node.type,
            kind=node.kind,
            plugin=node.plugin,
            note="no reference to compare with",
        )
        with self._lock:
            self._differences.append(_Difference(result))

    def _gain(self, send: written.Send) -> Gain:
        return send_gain((send,), frames=self.chain.frames, sample_rate_hz=self.chain.sample_rate_hz)

    def _power_behind(self, channel: written.Channel) -> Audio:
        """What becomes of energy between a channel's output and the master's, shape (2, 1)."""
        powers = [_mean_power(self._gain(send)) * self._powers[target] for target, send in channel.feeds()]
        return np.asarray(sum(powers)) if powers else np.ones((2, 1))


def send_gains(channel: written.Channel, strip: Strip, *, chain: written.Chain) -> dict[str, tuple[Gain, Gain]]:
    """Linear send gains of a channel by target: as the session has them, as the graph wants them; 0 for none."""
    frames, rate_hz = chain.frames, chain.sample_rate_hz
    real, wanted = (
        {send.target: send_gain((send,), frames=frames, sample_rate_hz=rate_hz) for send in c.sends}
        for c in (channel, strip)
    )
    return {target: (real.get(target, 0.0), wanted.get(target, 0.0)) for target in {**wanted, **real}}


def send_difference(real: Gain, wanted: Gain) -> str:
    """In words, what a send's gain has become; empty where it is the wanted one."""
    if _same(real, wanted):
        return ""
    if not np.any(real):
        return "missing in the session"
    if not np.any(wanted):
        return "not in the graph"
    return "level moved"


def automation_of(channel: written.Channel | Strip, *, chain: written.Chain) -> Gain:
    """Gains of a channel's automation over a chain's length: 1, or shape (2, frames)."""
    if not channel.volume and not channel.pan_points:
        return 1.0
    ones = np.ones((2, chain.frames))
    return ridden(ones, volume=channel.volume, pan=channel.pan_points, sample_rate_hz=chain.sample_rate_hz)


def _mean_power(gain: Gain) -> Gain:
    """Mean square of a gain over time, of each side where there are sides: a number, or shape (2, 1)."""
    if isinstance(gain, float):
        return gain**2
    return np.mean(np.square(gain), axis=-1, keepdims=gain.ndim > 1) if gain.shape[-1] else 1.0


def mixer_difference(
    channel: written.Channel, wanted: written.Channel | Strip, *, chain: written.Chain
) -> Literal["", "fader", "volume"]:
    """Whether fader, pan and automation together do something else than wanted.

    Only their product counts: a DAW whose automation does not reach high enough has the rest on
    its fader. "fader" where the automation has the wanted course, at another level.
    """
    curves = [automation_of(c, chain=chain) for c in (channel, wanted)]
    gains = [fader_gains(c.gain, c.pan) * curve for c, curve in zip((channel, wanted), curves, strict=True)]
    if _same(*gains):
        return ""
    peaks = [float(np.max(curve, initial=0.0)) for curve in curves]
    courses = [curve / peak if peak > 0.0 else curve for curve, peak in zip(curves, peaks, strict=True)]
    return "fader" if _same(*courses) else "volume"


def _same(one: Gain, two: Gain) -> bool:
    """Whether two gains differ by rounding alone, measured by the greater one's peak."""
    peak = max(float(np.max(one, initial=0.0)), float(np.max(two, initial=0.0)))
    return bool(np.max(np.abs(one - two), initial=0.0) <= MIXER_TOLERANCE * peak)


def with_fader_of(channel: written.Channel, strip: Strip) -> written.Channel:
    """A channel with the fader, the pan and their automation that the graph wants."""
    volume, pan = written.VolumePoint.copies(strip.volume), written.PanPoint.copies(strip.pan_points)
    wanted = {"gain": strip.gain, "pan": strip.pan, "volume": volume, "pan_points": pan}
    return channel.model_copy(update=wanted)


@dataclass(frozen=True)
class _Node:
    id: str
    kind: NodeKind
    type: str
    plugin: str


def worst_first(node: NodeResult) -> tuple[float, float, float]:
    """Key to sort by: what costs most L_a, then what reaches the song loudest, then the poorest null."""
    contribution = node.contribution if node.contribution is not None else 0.0
    impact_db = node.impact_db if node.impact_db is not None else 0.0
    return (-contribution, -impact_db, -(node.null_db if node.null_db is not None else 0.0))


def _plugin_name(insert: written.Insert) -> str:
    if insert.plugin is not None:
        return insert.plugin.name
    names: Iterator[str] = (stage.name for branch in insert.branches for stage in branch.stages)
    return ", ".join(dict.fromkeys(names))


def _loudest(audio: Signal, frames: int) -> slice:
    """Where `frames` frames in a row hold the most energy, to a tenth of their length."""
    step = max(frames // 10, 1)
    if audio.shape[1] <= frames:
        return slice(0, audio.shape[1])
    powers: Sequence[float] = [energy(audio[:, s : s + step]) for s in range(0, audio.shape[1] - step + 1, step)]
    count = max(frames // step, 1)
    sums = np.convolve(powers, np.ones(count), mode="valid")
    start = int(sums.argmax()) * step if len(sums) else 0
    return slice(start, start + frames)
