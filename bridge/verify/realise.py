"""Renders a chain as a host would: media, plugins, delay compensation, faders, sends, sums; nothing is measured here.

Plugins run in the worker processes of a pool, JSFX in our own host, the mixer's arithmetic here.
"""

from __future__ import annotations

import base64
import functools
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from ...exporters import session as strips
from ...exporters.chain import Branch, Chain, Channel, Insert, Send, Source
from ...exporters.vstpreset import read_vstpreset
from ..audio import AudioInfo, as_stereo, probe, read_at_rate
from ..errors import (
    AudioFileError,
    MixbridgeError,
    PluginNotFoundError,
    ScriptError,
    SessionFileError,
    VerifyError,
    combined,
)
from ..graph import volume_gains
from ..hosting.jsfx import Effect, load_effect
from ..hosting.pool import PluginPool
from ..hosting.probe import ensure_certificate
from ..hosting.refs import BLOCK_FRAMES, PluginRef, PluginSettings
from ..hosting.registry import find_plugin
from ..hosting.stereo import render_stereo
from ..processors.equations import pan_gains
from ..processors.reference import apply_processor
from ..render import ridden

Audio = npt.NDArray[np.float64]

#: One gain for all samples, or one a sample.
Gain = float | Audio

#: Runs one insert over its input, dry part included; shape (2, n) to (2, n).
InsertRun = Callable[[Audio], Audio]

#: Called with the share done, 0 to 1, and the name of the channel that was rendered.
Progress = Callable[[float, str], None]


class Captures(Protocol):
    """Hears what flows through a chain while it is rendered, possibly on several threads at once."""

    def on_source(self, channel: Channel, audio: Audio) -> None:
        """The audio of a track before its inserts."""

    def on_insert(self, channel: Channel, insert: Insert, before: Audio, after: Audio) -> None:
        """Input and output of an insert that is not bypassed; `after` holds dry and wet."""

    def on_channel(self, channel: Channel, before: Audio, into_fader: Audio, after: Audio) -> None:
        """What a channel starts from, what reaches its fader, and what leaves it."""


class PoolSource(Protocol):
    """Gives the pool when the first plugin needs it: a chain of JSFX never starts a worker."""

    def __call__(self) -> PluginPool:
        """The pool."""


@dataclass(frozen=True)
class RenderOptions:
    """How a chain is rendered.

    Attributes
    ----------
    media_folder : Path or None
        Where to look for audio files that are not where the chain says.
    allow_unverified : bool
        Use plugins without a passing certificate.
    threads : int
        Tracks rendered at once.
    """

    media_folder: Path | None = None
    allow_unverified: bool = False
    threads: int = 2


def render_chain(
    chain: Chain,
    folder: Path,
    *,
    pool: PluginPool | PoolSource,
    progress: Progress | None = None,
    captures: Captures | None = None,
    options: RenderOptions | None = None,
) -> Audio:
    """Render a chain from the files it names.

    Parameters
    ----------
    chain : Chain
    folder : Path
        What the chain's file names are relative to.
    pool : PluginPool, or a function that gives one
    progress, captures : optional

    Returns
    -------
    array of float64, shape=(2, chain.frames)

    Raises
    ------
    AudioFileError, AudioContentError
        If an audio file is missing or cannot be used.
    PluginError, ScriptError
        If a plugin or JSFX is missing or fails.
    VerifyError
        If an insert cannot be rendered; the message names the channel and the plugin.
    """
    with ChainRenderer(chain, folder, pool=pool, options=options) as renderer:
        return renderer.render(progress=progress, captures=captures)


class ChainRenderer:
    """Renders a chain, and then again with single inserts changed, without rendering what they do not touch.

    A context manager: with `keep` the outputs of all channels lie in a temporary folder until it ends.
    """

    def __init__(
        self,
        chain: Chain,
        folder: Path,
        *,
        pool: PluginPool | PoolSource,
        options: RenderOptions | None = None,
        keep: bool = False,
    ) -> None:
        self.chain, self.folder = chain, folder
        self._options = options or RenderOptions()
        self._pool = pool
        self._numbers = {channel.id: number for number, channel in enumerate(chain.channels)}
        self._effects: dict[str, Effect] = {}
        self._kept = tempfile.TemporaryDirectory(prefix="mixbridge-verify-") if keep else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept is not None:
            self._kept.cleanup()

    # ---------------------------------------------------------------------- the whole

    def render(self, *, progress: Progress | None = None, captures: Captures | None = None) -> Audio:
        """Render everything; see `render_chain`."""
        runs = self._runs(self.chain.channels, {})
        sums = {c.id: self._silence() for c in self.chain.channels if c.kind != "track"}
        done = 0

        def finish(channel: Channel, audio: Audio) -> None:
            nonlocal done
            done += 1
            if self._kept is not None:
                np.save(self._output_file(channel), audio.astype(np.float32))
            for target, send in channel.feeds():
                sums[target] += self._gain(send) * audio
            if progress is not None:
                progress(done / len(self.chain.channels), channel.name)

        def play(track: Channel) -> Audio:
            source = self._source(track)
            if captures is not None:
                captures.on_source(track, source)
            return self._channel(track, source, runs, captures)

        tracks = [c for c in self.chain.channels if c.kind == "track"]
        for track, audio in _in_order(play, tracks, threads=self._options.threads):
            finish(track, audio)
        out = self._silence()
        for channel in self.chain.channels:
            if channel.kind != "track":
                out = self._channel(channel, sums.pop(channel.id), runs, captures)
                finish(channel, out)
        return out

    def render_with(
        self, *, channels: Mapping[str, Channel] | None = None, runs: Mapping[str, InsertRun] | None = None
    ) -> Audio:
        """Render again with something changed; only channels it touches and those behind them are run.

        Needs ``keep=True`` and an earlier `render`.

        Parameters
        ----------
        channels : mapping, optional
            Channels by id in place of the chain's own, with other inserts, settings, faders, automation
            or sends (into channels behind them); their sources and parents stay.
        runs : mapping, optional
            Functions by insert id that stand in for the insert.

        Returns
        -------
        array of float64, shape=(2, chain.frames)
        """
        if self._kept is None:
            raise VerifyError("render_with: needs a renderer that keeps the outputs of its channels (keep=True)")
        changed, given = channels or {}, runs or {}
        now = [changed.get(c.id, c) for c in self.chain.channels]
        fresh: dict[str, Audio] = {}
        for original, channel in zip(self.chain.channels, now, strict=True):
            touched = channel is not original or any(i.id in given for i in channel.inserts)
            # What no longer feeds it counts as well: its part is missing now.
            feeding = {c.id for c in (*self.chain.channels, *now) if original.id in dict(c.feeds())}
            if touched or not feeding.isdisjoint(fresh):
                start = self._source(channel) if original.kind == "track" else self._sum(original.id, now, fresh)
                fresh[channel.id] = self._channel(channel, start, self._runs([channel], given), None)
        master = self.chain.channels[-1]
        return fresh[master.id] if master.id in fresh else self._output(master)

    def _sum(self, target_id: str, channels: Sequence[Channel], fresh: Mapping[str, Audio]) -> Audio:
        """What flows into a bus or the master."""
        total = self._silence()
        for channel in channels:
            for target, send in channel.feeds():
                if target == target_id:
                    total += self._gain(send) * (fresh[channel.id] if channel.id in fresh else self._output(channel))
        return total

    def _gain(self, send: Send) -> Gain:
        return send_gain((send,), frames=self.chain.frames, sample_rate_hz=self.chain.sample_rate_hz)

    def run_of(self, channel: Channel, insert: Insert) -> InsertRun:
        """The function that runs an insert, dry part included; bypassed ones pass the signal on.

        Raises
        ------
        PluginError, ScriptError, VerifyError
            If it cannot be run; the message names the plugin.
        """
        if insert.bypassed or insert.mix == 0.0:
            return _pass
        try:
            wet = self._wet(insert)
        except MixbridgeError as error:
            raise type(error)(f"{channel.name}: {error}") from None
        return functools.partial(_with_dry, wet, insert.mix, f"{channel.name}: {insert.title}")

    # ----------------------------------------------------------------------- the parts

    def _runs(self, channels: Sequence[Channel], given: Mapping[str, InsertRun]) -> dict[str, InsertRun]:
        """Every insert's function, all of them found before anything is rendered; what is missing is told at once."""
        runs: dict[str, InsertRun] = {}
        missing: list[MixbridgeError] = []
        for channel in channels:
            for insert in channel.inserts:
                if insert.id in runs:
                    raise VerifyError(f"{channel.name}: the insert id {insert.id!r} is used twice; export again")
                try:
                    runs[insert.id] = given.get(insert.id) or self.run_of(channel, insert)
                except (PluginNotFoundError, ScriptError, VerifyError) as error:
                    # Those that cost nothing to find; a plugin that hangs is not waited for twenty times.
                    missing.append(error)
        if missing:
            raise combined(missing, mixed=VerifyError)
        return runs

    def _silence(self) -> Audio:
        return np.zeros((2, self.chain.frames))

    def _output_file(self, channel: Channel) -> Path:
        # Only reached where outputs are kept.
        folder = self._kept.name if self._kept is not None else ""
        return Path(folder) / f"{self._numbers[channel.id]}.npy"

    def _output(self, channel: Channel) -> Audio:
        return np.asarray(np.load(self._output_file(channel)), dtype=np.float64)

    def _source(self, track: Channel) -> Audio:
        # Every channel of kind "track" has a source: the chain was checked.
        source = track.source or Source(file="")
        return read_source(
            source,
            self.folder,
            sample_rate_hz=self.chain.sample_rate_hz,
            frames=self.chain.frames,
            media_folder=self._options.media_folder,
        )

    def _channel(
        self, channel: Channel, start: Audio, runs: Mapping[str, InsertRun], captures: Captures | None
    ) -> Audio:
        signal = start
        for insert in channel.inserts:
            if insert.bypassed:
                continue
            after = runs[insert.id](signal)
            if captures is not None:
                captures.on_insert(channel, insert, signal, after)
            signal = after
        out = faded(signal, channel, sample_rate_hz=self.chain.sample_rate_hz)
        if captures is not None:
            captures.on_channel(channel, start, signal, out)
        return out

    def _wet(self, insert: Insert) -> InsertRun:
        rate_hz = self.chain.sample_rate_hz
        if insert.kind in ("mixer", "stock"):
            # A DAW's own plugins run in the DAW alone; `locate.model_notes` says which were modelled.
            return functools.partial(_modelled, insert, rate_hz)
        if insert.kind == "jsfx":
            return self._jsfx(insert)
        if insert.kind == "builtin":
            return functools.partial(self._branches, insert.branches)
        return self._vst3(insert)

    def _jsfx(self, insert: Insert) -> InsertRun:
        file = insert.plugin.bundle if insert.plugin is not None else ""
        if file not in self._effects:
            path = _inside(self.folder, file)
            if not path.is_file():
                raise VerifyError(f"{path}: the JSFX is missing; export the session again")
            self._effects[file] = load_effect(path)
        effect, values = self._effects[file], {k: float(v) for k, v in insert.values.items()}
        rate_hz = self.chain.sample_rate_hz
        return lambda audio: effect.render(audio, values, sample_rate_hz=rate_hz, compensate_latency=True)

    def _vst3(self, insert: Insert) -> InsertRun:
        info = insert.plugin
        if info is None or (not insert.values and insert.preset is None and insert.state is None):
            raise VerifyError(
                f"{insert.title}: the settings of this plugin cannot be read from this session; "
                "bypass it there and save, or verify a chain.json"
            )
        plugin = find_plugin(class_id=info.class_id, name=info.name, bundle=info.bundle)
        certificate = ensure_certificate(plugin, self._pool_now(), allow_unverified=self._options.allow_unverified)
        block = certificate.block_frames if certificate is not None else None
        strings = {key: str(_inside(self.folder, file).resolve()) for key, file in insert.files.items()}
        settings = PluginSettings(values=dict(insert.values), strings=strings)
        if insert.preset is not None:
            # What hosts load is the preset; the values are for people to read.
            settings = PluginSettings(values={}, strings=strings, state=self._preset(insert, plugin))
        latency = insert.latency_samples
        if insert.state is not None:
            settings = PluginSettings(values={}, strings=strings, state=base64.b64decode(insert.state))
            # A DAW takes back the delay that the plugin reports.
            latency = certificate.reported_latency_samples if certificate is not None else latency
        return functools.partial(self._plugin, plugin, settings, latency=latency, block_frames=block or BLOCK_FRAMES)

    def _preset(self, insert: Insert, plugin: PluginRef) -> bytes:
        """The component state in the preset of an insert."""
        path = _inside(self.folder, insert.preset or "")
        try:
            preset = read_vstpreset(path)
        except SessionFileError as error:
            raise VerifyError(str(error)) from None
        if plugin.class_id and preset.class_id != plugin.class_id:
            raise VerifyError(f"{path}: belongs to another plugin than {plugin.name}; export the session again")
        return preset.component

    def _plugin(
        self,
        plugin: PluginRef,
        settings: PluginSettings,
        audio: Audio,
        *,
        latency: int = 0,
        block_frames: int = BLOCK_FRAMES,
    ) -> Audio:
        """One plugin over a signal, its delay removed."""
        fed = np.pad(audio, ((0, 0), (0, latency))).astype(np.float32)
        rate_hz = float(self.chain.sample_rate_hz)
        out = render_stereo(self._pool_now(), plugin, settings, fed, sample_rate_hz=rate_hz, block_frames=block_frames)
        return np.asarray(out[:, latency : latency + audio.shape[1]], dtype=np.float64)

    def _branches(self, branches: Sequence[Branch], audio: Audio) -> Audio:
        total = np.zeros_like(audio)
        for branch in branches:
            signal = np.repeat(audio.mean(axis=0, keepdims=True), 2, axis=0) if branch.mono else audio
            for stage in branch.stages:
                files = {key: str(_inside(self.folder, file).resolve()) for key, file in stage.files.items()}
                settings = PluginSettings(values=dict(stage.values), strings=files)
                signal = self._plugin(PluginRef(name=stage.name), settings, signal)
            total += signal * np.array([[branch.left], [branch.right]])
        return total

    def _pool_now(self) -> PluginPool:
        return self._pool if isinstance(self._pool, PluginPool) else self._pool()


def _pass(audio: Audio) -> Audio:
    return audio


def _with_dry(wet_of: InsertRun, mix: float, name: str, audio: Audio) -> Audio:
    if audio.shape[1] == 0:
        return audio
    try:
        wet = wet_of(audio)
    except MixbridgeError as error:
        raise type(error)(f"{name}: {error}") from None
    if wet.shape != audio.shape or not np.isfinite(wet).all():
        raise VerifyError(f"{name}: returned samples that are not numbers or of another length; check the plugin")
    return wet if mix == 1.0 else mix * wet + (1.0 - mix) * audio


def _modelled(insert: Insert, sample_rate_hz: int, audio: Audio) -> Audio:
    return apply_processor(
        insert.type, audio, parameters=insert.parameters, sample_rate_hz=sample_rate_hz, law=insert.law
    )


def fader_gains(gain: float, pan: float) -> Audio:
    """Left and right gain of a fader and pan, shape (2, 1)."""
    left, right = pan_gains(pan, xp=math)
    # A centred pan must not cost the last bit of every sample.
    return gain * (np.array([[left], [right]]) if pan != 0.0 else np.ones((2, 1)))


def faded(signal: Audio, channel: Channel, *, sample_rate_hz: float) -> Audio:
    """What leaves a channel: its fader, pan and their automation over a whole signal of shape (2, n)."""
    out = signal * fader_gains(channel.gain, channel.pan)
    return ridden(out, volume=channel.volume, pan=channel.pan_points, sample_rate_hz=sample_rate_hz)


def send_gain(sends: Iterable[Send | strips.Send], *, frames: int, sample_rate_hz: float) -> Gain:
    """Linear gain of sends into one place together: a number, or shape (frames,) where one of them moves."""
    total: Gain = 0.0
    for send in sends:
        moving = volume_gains(send.volume, frames=frames, sample_rate_hz=sample_rate_hz) if send.volume else 1.0
        total = total + send.gain * moving
    return total


def _in_order(
    work: Callable[[Channel], Audio], channels: Sequence[Channel], *, threads: int
) -> Iterator[tuple[Channel, Audio]]:
    """Results in the order of the channels, some at work ahead: sums must not depend on who is first."""
    if threads < 2 or len(channels) < 2:
        for channel in channels:
            yield channel, work(channel)
        return
    waiting: list[tuple[Channel, Future[Audio]]] = []
    with ThreadPoolExecutor(max_workers=threads) as executor:
        try:
            for channel in channels:
                waiting.append((channel, executor.submit(work, channel)))
                if len(waiting) > threads:
                    first, future = waiting.pop(0)
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


# ------------------------------------------------------------------------------- media


def _inside(folder: Path, file: str) -> Path:
    try:
        return folder / file
    except (TypeError, ValueError):
        raise VerifyError(f"{file!r}: not a file name; export the session again") from None


def find_media(source: Source, folder: Path, *, media_folder: Path | None = None) -> Path:
    """Where a track's audio file lies: where the chain says, else by its name in `media_folder`.

    Raises
    ------
    AudioFileError
        If it is in neither place.
    """
    path = _inside(folder, source.file)
    if path.is_file():
        return path
    if media_folder is not None and (media_folder / path.name).is_file():
        return media_folder / path.name
    raise AudioFileError(f"{path}: no such file; put the stem back or say where the stems are with --stems")


def read_source(
    source: Source, folder: Path, *, sample_rate_hz: int, frames: int, media_folder: Path | None = None
) -> Audio:
    """A track's audio as it lies in the session: at its place, with its polarity, mono on both sides.

    Returns
    -------
    array of float64, shape=(2, frames)
        Zeros where the file has no audio.
    """
    info = probe(find_media(source, folder, media_folder=media_folder))
    return read_excerpt(
        info,
        sample_rate_hz=sample_rate_hz,
        offset_samples=source.offset_samples,
        polarity=source.polarity,
        frames=frames,
    )


def read_excerpt(
    info: AudioInfo, *, sample_rate_hz: int, frames: int, offset_samples: int = 0, polarity: int = 1
) -> Audio:
    """A file laid into a session of `frames` frames, its first sample at `offset_samples`; shape (2, frames)."""
    audio = read_at_rate(info, rate_hz=sample_rate_hz, start_frame=-offset_samples, frames=frames)
    return polarity * as_stereo(audio).astype(np.float64)
