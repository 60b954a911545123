"""A session as a graph, the way back of the exporters: what an engineer changed can be measured and exported elsewhere.

Reading session files is the work of their readers; here a `Chain` becomes a `MixGraph`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..exporters.chain import CHAIN_FILE, Chain, Channel, Insert
from ..exporters.reaper.read import read_project
from ..exporters.session import Insert as WrittenNode
from .errors import MixbridgeError, OutputError, ParameterError, SessionFileError
from .graph import (
    Breakpoint,
    Bus,
    Edge,
    Master,
    MixGraph,
    Node,
    PanPoint,
    Processor,
    Pruned,
    Stem,
    Timed,
    VolumePoint,
)
from .hosting.pool import PluginPool, shared_pool
from .import_plugins import PluginReader
from .processors.equations import gain_to_db
from .processors.specs import GAIN_PAN, SEND_LEVEL, VOLUME
from .result_folder import GRAPH_FILE
from .verify.nodes import insert_as_written

#: Called with the share done, 0 to 1, and the name of the plugin that is asked next.
Progress = Callable[[float, str], None]

#: A gain this near to unity (dB) is a fader at rest, and so is a pan this near to the centre.
_AT_REST = 1e-9

#: Automation that fits a graph's range but for this (dB) fits: it went through a session's amplitudes.
_ROUNDING_DB = 1e-6


@dataclass(frozen=True)
class Imported:
    """A session as a graph.

    Attributes
    ----------
    graph : MixGraph
        File names of its stems are relative to `stems_dir`.
    stems_dir : Path
        The folder that holds all audio files of the session.
    notes : tuple of str
        What the graph leaves out, for people.
    """

    graph: MixGraph
    stems_dir: Path
    notes: tuple[str, ...]


def import_session(
    path: Path,
    *,
    media_folder: Path | None = None,
    pool: PluginPool | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Read a session as a graph that renders to the same mix.

    Parameters
    ----------
    path : Path
        A REAPER project (``.rpp``) or a ``chain.json`` of our JSFX, REAPER's own plugins, and VST3 plugins
        that have a profile.
    media_folder : Path, optional
        Where to look for audio files that are not where the session says.
    pool : PluginPool, optional
        Where VST3 plugins tell what they are set to; the pool of this process if not given. No sound goes
        through them, so that no certificate is needed.
    progress : callable, optional

    Returns
    -------
    Imported

    Raises
    ------
    SessionFileError
        If the file is not a session, or holds what a graph cannot; the message names it.
    AudioFileError, AudioContentError
        If an audio file is missing or cannot be used.
    PluginError
        If a plugin is not on this machine, fails, or is set to something that its profile never writes.
    """
    is_chain = path.suffix.lower() == Path(CHAIN_FILE).suffix
    chain = Chain.load(path) if is_chain else read_project(path, media_folder=media_folder)
    reader = PluginReader(
        path.parent, chain.sample_rate_hz, pool=lambda: pool or shared_pool(), media_folder=media_folder
    )
    return _Import(chain, path, reader, progress or (lambda _share, _words: None)).imported()


class _Import:
    def __init__(self, chain: Chain, path: Path, plugins: PluginReader, progress: Progress) -> None:
        self._chain, self._path, self._plugins, self._progress = chain, path, plugins, progress
        kinds = [i.kind for c in chain.channels for i in c.inserts]
        self._plugin_count, self._plugins_done = kinds.count("vst3"), 0
        self._notes: list[str] = []
        files = {c.id: path.parent / c.source.file for c in chain.channels if c.source is not None}
        self._files = {channel_id: file.resolve() for channel_id, file in files.items()}

    def imported(self) -> Imported:
        stems_dir = self._common_folder()
        channels: list[Node] = []
        inserted: list[Node] = []
        edges: list[Edge] = []
        for channel in self._chain.channels:
            processors = [*self._processors(channel), *self._fader(channel)]
            channels.append(self._channel(channel, stems_dir))
            inserted += processors
            path = [channel.id, *(p.id for p in processors), *([channel.parent] if channel.parent else [])]
            edges += [Edge(source=a, target=b) for a, b in pairwise(path)]
            edges += self._sends(channel, source=path[-2] if channel.parent else path[-1])
        graph = MixGraph(
            name=self._chain.name,
            sample_rate_hz=self._chain.sample_rate_hz,
            frames=self._chain.frames,
            nodes=[*channels, *inserted],
            edges=edges,
            pruned=[pruned for channel in self._chain.channels for pruned in self._pruned(channel)],
        )
        return Imported(graph, stems_dir, tuple(self._notes))

    def _common_folder(self) -> Path:
        if not self._files:
            raise SessionFileError(f"{self._path}: no track with an audio file; there is nothing to import")
        try:
            return Path(os.path.commonpath([file.parent for file in self._files.values()]))
        except ValueError:
            raise SessionFileError(
                f"{self._path}: its audio files lie on several drives; copy them into one folder"
            ) from None

    def _channel(self, channel: Channel, stems_dir: Path) -> Stem | Bus | Master:
        volume, pan = self._volume(channel.volume, less_db=_lift_db(channel.volume)), self._pan(channel)
        if channel.kind == "master":
            return Master(id=channel.id, name=channel.name, volume=volume, pan=pan)
        if channel.source is None:
            return Bus(id=channel.id, name=channel.name, volume=volume, pan=pan)
        return Stem(
            id=channel.id,
            name=channel.name,
            file=self._files[channel.id].relative_to(stems_dir).as_posix(),
            channels=channel.source.channels,
            offset_samples=channel.source.offset_samples,
            polarity=channel.source.polarity,
            volume=volume,
            pan=pan,
        )

    # ------------------------------------------------------------------------ inserts

    def _processors(self, channel: Channel) -> Iterable[Processor]:
        for insert in channel.inserts:
            if not insert.bypassed:
                yield self._processor(channel, insert)

    def _processor(self, channel: Channel, insert: Insert) -> Processor:
        node = self._plugin(channel, insert) if insert.kind == "vst3" else insert_as_written(insert)
        if node is None:
            raise SessionFileError(
                f"{self._path}: {channel.name}: {insert.title} is no effect of ours or REAPER's, nor a VST3 with a "
                "profile; bypass it there and save, or replace it"
            )
        try:
            return Processor(type=node.type, id=node.id, parameters=node.parameters, mix=node.mix, law=node.law)
        except ValueError as error:
            raise SessionFileError(f"{self._path}: {channel.name}: {insert.title}: {error}") from None

    def _pruned(self, channel: Channel) -> Iterable[Pruned]:
        """What is bypassed in the session is no part of the mix, but at hand."""
        for place, insert in enumerate(channel.inserts):
            if not insert.bypassed:
                continue
            try:
                processor = self._processor(channel, insert)
            except MixbridgeError:
                self._notes.append(f"{channel.name}: {insert.title} is bypassed and was left out")
                continue
            before = next((i.id for i in channel.inserts[place:] if not i.bypassed), "")
            yield Pruned(channel=channel.id, before=before, processor=processor)

    def _plugin(self, channel: Channel, insert: Insert) -> WrittenNode | None:
        """The processor that a VST3 is set to be; None for one without a profile."""
        self._progress(self._plugins_done / self._plugin_count, f"{channel.name}: {insert.title}")
        self._plugins_done += 1
        try:
            found = self._plugins.read(insert)
        except MixbridgeError as error:
            raise type(error)(f"{self._path}: {channel.name}: {error}") from None
        if found is None:
            return None
        self._notes += [f"{channel.name}: {note}" for note in found.notes]
        return found.node

    # ------------------------------------------------------------------------ mixer

    def _fader(self, channel: Channel) -> Iterable[Processor]:
        """The fader as gain/pan processors, as many as their range needs; none at rest."""
        if channel.gain == 0.0:
            self._notes.append(f"{channel.name}: is silent in the session; its gain is the lowest there is")
        gain_range = GAIN_PAN.parameter("gain_db")
        gain_db = max(gain_to_db(channel.gain) + _lift_db(channel.volume), gain_range.minimum)
        if abs(gain_db) < _AT_REST and abs(channel.pan) < _AT_REST:
            return
        number, pan = 1, channel.pan
        while True:
            part_db = gain_range.limited(gain_db)
            yield Processor(
                type=GAIN_PAN.type,
                id=self._unused(f"{channel.id}/fader{number}"),
                parameters={"gain_db": part_db, "pan": pan},
            )
            gain_db, pan, number = gain_db - part_db, 0.0, number + 1
            if abs(gain_db) < _AT_REST:
                return

    def _unused(self, wanted: str) -> str:
        taken = {c.id for c in self._chain.channels} | {i.id for c in self._chain.channels for i in c.inserts}
        while wanted in taken:
            wanted += "'"
        return wanted

    def _volume(self, points: Sequence[Breakpoint], *, less_db: float) -> list[VolumePoint]:
        """Automation lowered by what the fader or send took over, within a graph's range."""
        return [
            VolumePoint(time_s=time_s, gain_db=VOLUME.limited(point.gain_db - less_db))
            for time_s, point in zip(self._growing(points), points, strict=True)
        ]

    def _pan(self, channel: Channel) -> list[PanPoint]:
        points = channel.pan_points
        return [PanPoint(time_s=t, pan=point.pan) for t, point in zip(self._growing(points), points, strict=True)]

    def _growing(self, points: Sequence[Timed]) -> list[float]:
        """Times of automation (s); of points at one time, a jump, the later ones come a sample late."""
        times_s: list[float] = []
        for point in points:
            late = bool(times_s) and point.time_s <= times_s[-1]
            times_s.append(times_s[-1] + 1.0 / self._chain.sample_rate_hz if late else point.time_s)
        return times_s

    def _sends(self, channel: Channel, *, source: str) -> Iterable[Edge]:
        for send in channel.sends:
            level_db = gain_to_db(send.gain)
            loudest_db = level_db + max((p.gain_db for p in send.volume), default=0.0)
            lowest_db = SEND_LEVEL.minimum + (VOLUME.minimum if send.volume else 0.0)
            if loudest_db < lowest_db:
                self._notes.append(f"{channel.name}: a send below {lowest_db:g} dB was left out")
                continue
            try:
                # A send that moves may have its level in the automation alone, beyond the range of that.
                held_db = SEND_LEVEL.limited(level_db + _lift_db(send.volume)) if send.volume else level_db
                if loudest_db - held_db > VOLUME.maximum + _ROUNDING_DB:
                    VOLUME.check(loudest_db - held_db)
                held_db = SEND_LEVEL.check(held_db)
            except ParameterError as error:
                raise SessionFileError(f"{self._path}: {channel.name}: send: {error}; turn it down") from None
            points = self._volume(send.volume, less_db=held_db - level_db)
            yield Edge(source=source, target=send.target, send_db=held_db, volume=points)


def _lift_db(points: Sequence[Breakpoint]) -> float:
    """What a fader or send takes over from automation that goes beyond a graph's range, up or down (dB)."""
    gains_db = [p.gain_db for p in points] or [0.0]
    too_high_db, too_low_db = max(gains_db) - VOLUME.maximum, VOLUME.minimum - min(gains_db)
    if too_high_db > 0.0:
        return too_high_db
    # What is lower by more than there is room above is silence anyway.
    return -too_low_db if 0.0 < too_low_db <= _ROUNDING_DB - too_high_db else 0.0


@dataclass(frozen=True)
class Saved:
    """An imported graph and where it was written."""

    imported: Imported
    path: Path

    def to_json(self) -> dict[str, object]:
        """What the command prints, as plain data."""
        graph = self.imported.graph
        return {
            "graph": str(self.path),
            "stems": str(self.imported.stems_dir),
            "processors": len(graph.processors),
            "notes": list(self.imported.notes),
        }


def save_import(
    session: Path,
    out: Path | None = None,
    *,
    media_folder: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Saved:
    """Import a session and write its graph; see `import_session`.

    Parameters
    ----------
    out : Path, optional
        ``<session>.graph.json`` in the current folder if not given.

    Raises
    ------
    MixbridgeError
        Also if `out` exists and `overwrite` is not set.
    """
    path = out or Path(f"{session.stem}.{GRAPH_FILE}")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; add --overwrite or choose another file with --out")
    imported = import_session(session, media_folder=media_folder, progress=progress)
    imported.graph.save(path)
    return Saved(imported, path)
