"""Plays a song again with one node changed, through the real plugins; which change to try is chosen elsewhere.

What flows into a node, and everything that joins its signal on its ways to the master, sends among
them, is kept on disk: a trial runs the node's own plugin and those behind it, and nothing else.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from ...exporters import chain as written
from ...exporters.pedalboard import build_chain
from ...exporters.reaper.effects import JSFX_FILES, jsfx_source
from ...exporters.session import Insert, Media, Session, Strip, Track, build_session
from ..audio import resample, write_wav
from ..features import Signal
from ..graph import MixGraph, Processor
from ..metrics import LOSS_RATE_HZ, MatchLoss, match_terms, skipped_frames
from ..processors.laws import kind_of, type_and_law
from ..processors.specs import MIX, spec_of
from ..suites import choose_profiles
from .locate import Opened, highest_fader_db, routing_notes
from .measure import fitted, moved
from .nodes import (
    expectations,
    insert_as_written,
    mixer_difference,
    send_difference,
    send_gains,
    steps_of,
    with_fader_of,
)
from .realise import Audio, ChainRenderer, Gain, InsertRun, PoolSource, RenderOptions, faded, send_gain

#: Settings of inserts in a session file may differ from the graph's by this (relative, and absolute) through rounding.
_ROUNDING = 1e-6


class SongLoss:
    """L_a of renders of one session against its target, as `measure.LossMeter` measures it.

    Parameters
    ----------
    target : array, shape=(2, n)
        At the session's rate.
    offset_samples : int
        By how much the renders come too late; they are moved back before they are compared.
    """

    def __init__(self, target: Signal, *, sample_rate_hz: int, offset_samples: int = 0) -> None:
        self.sample_rate_hz, self.offset_samples, self.frames = sample_rate_hz, offset_samples, target.shape[1]
        self.meter = MatchLoss()
        #: The target as late as the renders are.
        self.late_target = moved(target, offset_samples).astype(np.float32)
        self._features = self.meter.features(self._scored(target))

    def of(self, audio: Signal) -> float:
        """L_a of a render of shape (2, n)."""
        aligned = moved(fitted(audio, self.frames), -self.offset_samples)
        with torch.no_grad():
            return float(match_terms(self.meter.features(self._scored(aligned)), self._features).total)

    def _scored(self, audio: Signal) -> torch.Tensor:
        at_loss_rate = resample(audio, from_hz=self.sample_rate_hz, to_hz=LOSS_RATE_HZ)
        return torch.from_numpy(np.ascontiguousarray(at_loss_rate[:, skipped_frames(at_loss_rate.shape[1]) :]))


# ------------------------------------------------------------------------------- session


def edits(opened: Opened) -> str:
    """What was changed in a session by hand since it was exported from its graph; empty if nothing was."""
    if opened.wanted is None:
        return "no graph belongs to it"
    routing = routing_notes(opened.chain, opened.wanted)
    if routing:
        return routing[0]
    wanted = expectations(opened.wanted)
    for channel in opened.chain.channels:
        expectation = wanted[channel.id]
        strip, source = expectation.strip, channel.source
        if [s.kind for s in steps_of(channel, expectation)] != ["insert"] * len(strip.inserts):
            return f"{channel.name}: other inserts than in the graph"
        pairs = zip(channel.inserts, strip.inserts, strict=True)
        changed = next((two for one, two in pairs if not _same_settings(one, two)), None)
        if changed is not None:
            return f"{channel.name}: other settings of {changed.id} than in the graph"
        moved_on_the_mixer = _mixer_edits(channel, strip, opened.chain)
        if moved_on_the_mixer:
            return f"{channel.name}: {moved_on_the_mixer}"
        if source is not None and expectation.track is not None:
            media = expectation.track.media
            if (source.offset_samples, source.polarity) != (media.offset_samples, media.polarity):
                return f"{channel.name}: audio moved or inverted"
    return ""


def _mixer_edits(channel: written.Channel, strip: Strip, chain: written.Chain) -> str:
    """What was moved on a channel's fader, its automation and its sends; empty if nothing was."""
    difference = mixer_difference(channel, strip, chain=chain)
    if difference:
        return "fader or pan moved" if difference == "fader" else "automation changed"
    if any(send_difference(*pair) for pair in send_gains(channel, strip, chain=chain).values()):
        return "other sends than in the graph"
    return ""


def _same_settings(real: written.Insert, wanted: Insert) -> bool:
    found = insert_as_written(real)
    if found is None or (real.id, found.type, found.law) != (wanted.id, wanted.type, wanted.law):
        return False
    pairs = [(found.mix, wanted.mix), *((found.parameters.get(n, math.nan), v) for n, v in wanted.parameters.items())]
    return all(math.isclose(one, two, rel_tol=_ROUNDING, abs_tol=_ROUNDING) for one, two in pairs)


class Realiser:
    """Turns a node of the graph into an insert as the exporter of this kind of session writes it.

    Parameters
    ----------
    scratch : Path
        A folder for the files plugins load.
    """

    def __init__(self, opened: Opened, graph: MixGraph, scratch: Path) -> None:
        self._graph = graph.model_copy(update={"frames": opened.chain.frames})
        self._kind, self._chain, self._scratch, self._numbers = opened.job.kind, opened.chain, scratch, count()
        self.profiles = choose_profiles(opened.chain.suites) if opened.job.kind == "chain" else {}

    def allowed(self, kind: str, name: str) -> tuple[float, float]:
        """Lowest and highest value of a parameter (or of the dry/wet weight) in this session."""
        if name == MIX.name:
            return MIX.minimum, MIX.maximum
        profile = self.profiles.get(kind)
        parameter = spec_of(type_and_law(kind)[0]).parameter(name)
        return profile.allowed(name) if profile is not None else (parameter.minimum, parameter.maximum)

    def insert(self, wanted: Insert) -> written.Insert:
        """The insert of a node.

        Raises
        ------
        ExportError, ProfileError
            If the session's suites cannot hold it.
        """
        return self._jsfx(wanted) if self._kind == "reaper" else self._of_chain(wanted)

    def _jsfx(self, wanted: Insert) -> written.Insert:
        kind = kind_of(wanted.type, wanted.law)
        path = self._scratch / JSFX_FILES[kind]
        if not path.is_file():
            path.write_bytes(jsfx_source(kind))
        return written.Insert(
            id=wanted.id,
            type=wanted.type,
            law=wanted.law,
            kind="jsfx",
            plugin=written.PluginInfo(name=path.name, bundle=str(path)),
            parameters=dict(wanted.parameters),
            values={**wanted.parameters, MIX.name: wanted.mix},
        )

    def _of_chain(self, wanted: Insert) -> written.Insert:
        """What the exporter makes of a session with this one insert, with its files on disk."""
        chain = self._chain
        strip = Strip("track", "track", (wanted,), 1.0, 0.0)
        session = Session(
            name=chain.name,
            sample_rate_hz=chain.sample_rate_hz,
            frames=chain.frames,
            children=(Track(strip, Media(file="", offset_samples=0, polarity=1, channels=2)),),
            master=Strip("master", "master", (), 1.0, 0.0),
        )
        made = build_chain(session, self._graph, profiles=self.profiles, suites=chain.suites).channels[0].inserts[0]
        # No preset was written for it: its values count.
        made = made.model_copy(update={"preset": None})
        if made.files or any(stage.files for branch in made.branches for stage in branch.stages):
            return self._with_files(made, wanted)
        return made

    def _with_files(self, made: written.Insert, wanted: Insert) -> written.Insert:
        rate_hz = self._chain.sample_rate_hz
        stages = iter(self.profiles[kind_of(wanted.type, wanted.law)].stages(wanted.parameters, sample_rate_hz=rate_hz))
        if made.kind == "vst3":
            return made.model_copy(update={"files": self._write(next(stages).files)})
        branches = tuple(
            branch.model_copy(
                update={
                    "stages": tuple(
                        stage.model_copy(update={"files": self._write(next(stages).files)}) for stage in branch.stages
                    )
                }
            )
            for branch in made.branches
        )
        return made.model_copy(update={"branches": branches})

    def _write(self, files: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, str]:
        # A new name every time: plugins that are kept loaded need not look again at a file they know.
        paths = {}
        for state_id, response in files.items():
            path = self._scratch / f"{next(self._numbers)}-{state_id}.wav"
            write_wav(path, response, sample_rate_hz=self._chain.sample_rate_hz)
            paths[state_id] = str(path)
        return paths


# ------------------------------------------------------------------------------- signals


class _Shelf:
    """Signals on disk, by name. What is put there counts from `commit` on; `drop` forgets it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, count()
        self._files: dict[str, Path] = {}
        self._fresh: dict[str, Path] = {}

    def put(self, name: str, audio: Signal) -> None:
        """Put a signal there in single precision, as plugins get it."""
        if name not in self._fresh:
            self._fresh[name] = self._folder / f"{next(self._numbers)}.npy"
        np.save(self._fresh[name], np.asarray(audio, dtype=np.float32))

    def commit(self) -> None:
        """Let what was put there take the place of what had the same names."""
        for name, path in self._fresh.items():
            if name in self._files:
                self._files[name].unlink()
            self._files[name] = path
        self._fresh = {}

    def drop(self) -> None:
        """Forget what was put there since the last `commit`."""
        for path in self._fresh.values():
            path.unlink(missing_ok=True)
        self._fresh = {}

    def part(self, name: str, part: slice = slice(None)) -> Audio:
        """A part of a signal, shape (2, n)."""
        return np.asarray(np.load(self._files[name], mmap_mode="r")[:, part], dtype=np.float64)


@dataclass(frozen=True)
class Leg:
    """A piece of the ways from a node to the master's output: part of a channel, then its fader.

    Attributes
    ----------
    channel : chain.Channel
        Its fader, automation and sends.
    inserts : tuple of session.Insert
        What the signal runs through.
    feeders : dict of str to tuple of chain.Send
        Levels at which earlier legs flow into this one, by channel; empty for the node's own channel.
    rest : callable or None
        A part of what else flows into the channel, shape (2, n); None for the node's own channel.
    """

    channel: written.Channel
    inserts: tuple[Insert, ...]
    feeders: Mapping[str, tuple[written.Send, ...]]
    rest: Callable[[slice], Audio] | None


@dataclass(frozen=True)
class _State:
    """The song as it is now: its graph, and its channels as they are wanted and as they are realised."""

    graph: MixGraph
    strips: Mapping[str, Strip]
    channels: Mapping[str, written.Channel]


@dataclass(frozen=True)
class _Tape:
    """Hears the first render (`realise.Captures`) and keeps what trials start from."""

    bench: Bench

    def on_source(self, channel: written.Channel, audio: Audio) -> None:
        """Sources are not kept: trials begin behind them."""

    def on_insert(self, channel: written.Channel, insert: written.Insert, before: Audio, after: Audio) -> None:
        """Keep what flows into and out of a node that may be changed."""
        position = [i.id for i in channel.inserts].index(insert.id)
        self.bench.keep_inputs(channel.id, position, before)
        self.bench.keep_output(insert.id, after)

    def on_channel(self, channel: written.Channel, before: Audio, into_fader: Audio, after: Audio) -> None:
        """Keep what trials of other channels are added to."""
        self.bench.keep_inputs(channel.id, len(channel.inserts), into_fader)
        self.bench.keep_channel(channel.id, start=before, out=after)


class Bench:
    """Plays a session with changed nodes.

    A context manager. `record` comes first; `play` tries a node and leaves everything as it was,
    `accept` makes a node's settings part of the song.

    Parameters
    ----------
    opened : Opened
        With a graph, and not edited since its export (`edits`).
    nodes : sequence of str
        Processors of the graph that may be changed.
    """

    def __init__(
        self, opened: Opened, nodes: Sequence[str], *, pool: PoolSource, options: RenderOptions, loss: SongLoss
    ) -> None:
        if opened.graph is None or opened.wanted is None:
            raise ValueError("only sessions with a graph can be polished")
        self.opened, self.loss = opened, loss
        self._temporary = tempfile.TemporaryDirectory(prefix="mixbridge-polish-")
        folder = Path(self._temporary.name)
        self.realiser = Realiser(opened, opened.graph, folder)
        self._shelf = _Shelf(folder)
        self._renderer = ChainRenderer(opened.chain, opened.folder, pool=pool, options=options)
        strips = {strip.id: strip for strip in opened.wanted.strips()}
        self._state = _State(opened.graph, strips, {c.id: c for c in opened.chain.channels})
        self._channel_of = {p.id: c.id for c in opened.graph.channels() for p in opened.graph.chain(c.id)}
        # Buses that nothing flows into are not in the session.
        self.nodes = tuple(n for n in nodes if self._channel_of[n] in strips)
        self._touched = {c for n in self.nodes for c in self._path(self._channel_of[n])}
        self._runs: dict[str, tuple[written.Insert, InsertRun]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._temporary.cleanup()

    @property
    def graph(self) -> MixGraph:
        """The graph with everything that was accepted."""
        return self._state.graph

    def node(self, node_id: str) -> Processor:
        """A processor as it is now."""
        node = self.graph.node(node_id)
        if not isinstance(node, Processor):
            raise TypeError(f"{node_id} is not a processor")
        return node

    # ---------------------------------------------------------------------- rendering

    def record(self, *, progress: Callable[[float, str], None] | None = None) -> float:
        """Render the whole session, keep what trials need, and return L_a."""
        song = self._renderer.render(captures=_Tape(self), progress=progress)
        self._shelf.commit()
        return self.loss.of(song)

    def play(self, node: Processor) -> float:
        """L_a of the song with other settings of one node.

        Raises
        ------
        PluginError
            If a plugin fails.
        ExportError, ProfileError
            If the session cannot hold the settings.
        """
        return self.loss.of(self._play(node, self._state_with(node), keep=False))

    def accept(self, node: Processor, *, below: float) -> float | None:
        """Make settings part of the song if L_a is below a bound when they are played again.

        Returns
        -------
        float or None
            L_a; None where it is not below, as of a plugin that sounds different every time.
        """
        state = self._state_with(node)
        try:
            loss = self.loss.of(self._play(node, state, keep=True))
            if not loss < below:
                return None
            self._shelf.commit()
            self._state = state
            return loss
        finally:
            self._shelf.drop()

    def _state_with(self, node: Processor) -> _State:
        now = self._state
        graph = now.graph.model_copy(update={"nodes": [node if n.id == node.id else n for n in now.graph.nodes]})
        session = build_session(graph, max_fader_db=highest_fader_db(self.opened.job.kind))
        strip = next(s for s in session.strips() if s.id == self._channel_of[node.id])
        channel = self._realised(strip)
        return _State(graph, {**now.strips, strip.id: strip}, {**now.channels, strip.id: channel})

    def _play(self, node: Processor, state: _State, *, keep: bool) -> Audio:
        """Everything from a node's input to the master's output."""
        own = self._channel_of[node.id]
        start = self._entries(state.strips[own])[node.id]
        signal = self._shelf.part(_input(node.id))
        out = self._run(state.channels[own], state.strips[own], signal, start=start, keep=keep)
        outs = {own: out}
        # By how much each channel on the way puts out something else than before.
        for channel_id in self._path(own):
            if channel_id != own:
                signal = self._shelf.part(_sum(channel_id))
                for feeder, sends in self._feeders(channel_id, outs).items():
                    signal += self._gain(sends) * (outs[feeder] - self._shelf.part(_output(feeder)))
                if keep:
                    self._shelf.put(_sum(channel_id), signal)
                out = self._run(state.channels[channel_id], state.strips[channel_id], signal, start=0, keep=keep)
                outs[channel_id] = out
            if keep:
                self._shelf.put(_output(channel_id), out)
        return out

    def _realised(self, strip: Strip) -> written.Channel:
        """A channel laid out as its strip says; inserts that have not changed stay as they are."""
        now, before = self._state.channels[strip.id], self._state.strips[strip.id]
        have, had = {i.id: i for i in now.inserts}, {i.id: i for i in before.inserts}
        inserts = tuple(have[i.id] if had.get(i.id) == i else self.realiser.insert(i) for i in strip.inserts)
        same_fader = (before.gain, before.pan) == (strip.gain, strip.pan)
        if same_fader:
            return now.model_copy(update={"inserts": inserts})
        # The automation comes along: what the session's lacks may be on the session's fader.
        return with_fader_of(now.model_copy(update={"inserts": inserts}), strip)

    def _run(self, channel: written.Channel, strip: Strip, signal: Audio, *, start: int, keep: bool) -> Audio:
        for position in range(start, len(channel.inserts) + 1):
            if keep:
                self._keep_inputs(strip, position, signal)
            if position < len(channel.inserts):
                insert = channel.inserts[position]
                signal = self._run_of(channel, insert)(signal)
                if keep:
                    self.keep_output(insert.id, signal)
        return faded(signal, channel, sample_rate_hz=self.opened.chain.sample_rate_hz)

    def _run_of(self, channel: written.Channel, insert: written.Insert) -> InsertRun:
        known = self._runs.get(insert.id)
        if known is None or known[0] is not insert:
            known = self._runs[insert.id] = (insert, self._renderer.run_of(channel, insert))
        return known[1]

    # ------------------------------------------------------------------ what is kept

    def keep_inputs(self, channel_id: str, position: int, audio: Signal) -> None:
        """Keep what flows into the nodes that take effect from this place of the channel on."""
        self._keep_inputs(self._state.strips[channel_id], position, audio)

    def _keep_inputs(self, strip: Strip, position: int, audio: Signal) -> None:
        for node_id, entry in self._entries(strip).items():
            if entry == position:
                self._shelf.put(_input(node_id), audio)

    def keep_output(self, node_id: str, audio: Signal) -> None:
        """Keep what comes out of a node's plugin."""
        if node_id in self.nodes:
            self._shelf.put(_after(node_id), audio)

    def keep_channel(self, channel_id: str, *, start: Signal, out: Signal) -> None:
        """Keep what a channel on the way of a node starts from, and its output."""
        if channel_id in self._touched:
            self._shelf.put(_sum(channel_id), start)
            self._shelf.put(_output(channel_id), out)

    def _path(self, channel_id: str) -> list[str]:
        """A channel and all it flows into on the way to the master, in signal order."""
        reached = {channel_id}
        for channel in self.opened.chain.channels:
            if channel.id in reached:
                reached.update(target for target, _ in channel.feeds())
        return [c.id for c in self.opened.chain.channels if c.id in reached]

    def _feeders(self, channel_id: str, among: Collection[str]) -> dict[str, tuple[written.Send, ...]]:
        """Which of some channels flow into another one, and at what levels."""
        # A channel may send to the bus it lies in.
        found = {
            feeder: tuple(send for target, send in self._state.channels[feeder].feeds() if target == channel_id)
            for feeder in among
        }
        return {feeder: sends for feeder, sends in found.items() if sends}

    def _gain(self, sends: Sequence[written.Send], part: slice = slice(None)) -> Gain:
        """Linear gain of sends into one place together, for a part of the song."""
        chain = self.opened.chain
        gain = send_gain(sends, frames=chain.frames, sample_rate_hz=chain.sample_rate_hz)
        return gain if isinstance(gain, float) else gain[part]

    def _entries(self, strip: Strip) -> dict[str, int]:
        """From which place of a channel on each of its nodes can change anything.

        A gain that moved onto the fader may come back as an insert, at the earliest where the
        graph has it.
        """
        chain = [p.id for p in self.graph.chain(strip.id)]
        here = [i.id for i in strip.inserts]
        return {
            node_id: sum(before in here for before in chain[: chain.index(node_id)])
            for node_id in self.nodes
            if self._channel_of[node_id] == strip.id
        }

    # --------------------------------------------------------------- for the proposals

    def insert(self, node_id: str) -> Insert | None:
        """A node as an insert; None where it is on a fader."""
        strip = self._state.strips[self._channel_of[node_id]]
        return next((i for i in strip.inserts if i.id == node_id), None)

    def legs(self, node_id: str) -> Iterator[Leg]:
        """The ways from behind a node to the master's output, in signal order."""
        own = self._channel_of[node_id]
        path = self._path(own)
        for place, channel_id in enumerate(path):
            strip, channel = self._state.strips[channel_id], self._state.channels[channel_id]
            if channel_id == own:
                behind = strip.inserts[[i.id for i in strip.inserts].index(node_id) + 1 :]
                yield Leg(channel, behind, {}, None)
            else:
                feeders = self._feeders(channel_id, path[:place])
                yield Leg(channel, strip.inserts, feeders, self._rest(channel_id, feeders))

    def _rest(self, channel_id: str, feeders: Mapping[str, tuple[written.Send, ...]]) -> Callable[[slice], Audio]:
        def rest(part: slice) -> Audio:
            audio = self._shelf.part(_sum(channel_id), part)
            for feeder, sends in feeders.items():
                audio -= self._gain(sends, part) * self._shelf.part(_output(feeder), part)
            return audio

        return rest

    def input_of(self, node_id: str, part: slice = slice(None)) -> Audio:
        """A part of what flows into a node, shape (2, n)."""
        return self._shelf.part(_input(node_id), part)

    def output_of(self, node_id: str, part: slice = slice(None)) -> Audio:
        """A part of what comes out of a node's plugin, dry part included."""
        return self._shelf.part(_after(node_id), part)

    def song(self, part: slice = slice(None)) -> Audio:
        """A part of the whole song as the plugins play it now."""
        return self._shelf.part(_output(self.opened.chain.channels[-1].id), part)


def _input(node_id: str) -> str:
    return f"in:{node_id}"


def _after(node_id: str) -> str:
    return f"after:{node_id}"


def _sum(channel_id: str) -> str:
    return f"sum:{channel_id}"


def _output(channel_id: str) -> str:
    return f"out:{channel_id}"
