"""Reads a REAPER project from disk as a `Chain`; what goes beyond that is refused by name, nothing is rendered.

Whatever does not touch the sound (windows, colours, unknown blocks) is passed over. What does and
cannot be followed (other envelopes than of volume and pan, panned sends, fades, edited items) is
noted with the line at which it stands, and all of it raised in the end: a render that leaves it out
would be another mix. `contents` lists what any project holds.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from ...bridge.audio import AudioInfo, probe, resampled_frames
from ...bridge.choices import this_system
from ...bridge.errors import AudioContentError, AudioFileError, ScriptError, SessionFileError
from ...bridge.hosting.jsfx import Effect, load_effect
from ...bridge.processors.equations import gain_and_pan
from ...bridge.processors.laws import type_and_law
from ...bridge.processors.specs import MIX, SPECS
from ..chain import Chain, Channel, Insert, PluginInfo, Send, Source, in_signal_order
from .effects import EFFECTS_FOLDER, JSFX_FILES, PROJECT_PREFIX, SLIDER_COUNT
from .guids import node_guid
from .obstacles import NotingText, Obstacles, each_receive
from .project import PAN_COMPENSATION, SINE_PAN_LAW, TRIM_READ
from .routing import (
    SEND_VOLUME,
    Automation,
    Receive,
    Tap,
    check_receives,
    is_active,
    read_pan,
    read_receives,
    read_volume,
    split_at_taps,
)
from .stock import decode_stock
from .stock_settings import from_stock
from .tree import Chunk, Line
from .vst_chunk import Vst3State, VstChunk, VstHead, class_id_on, read_vst_block

#: Panning mode of the exported project: stereo balance / mono pan.
_PAN_MODE = 3

#: A track's playback offset is switched off.
_OFFSET_OFF = 1

#: Times in seconds are rounded to samples, so that a position and a length may disagree by this (samples).
_ROUNDING = 2

_KIND_OF_FILE = {file: kind for kind, file in JSFX_FILES.items()}

#: The volume and pan envelopes of a track behind its effects, and those of the master.
_FADER, _MASTER_FADER = ("VOLENV2", "PANENV2"), ("MASTERVOLENV2", "MASTERPANENV2")

_ENVELOPES = frozenset(
    (
        "VOLENV", "VOLENV2", "VOLENV3", "PANENV", "PANENV2", "WIDTHENV", "WIDTHENV2", "MUTEENV", "PARMENV",
        "MASTERVOLENV", "MASTERVOLENV2", "MASTERVOLENV3", "MASTERPANENV", "MASTERPANENV2", "MASTERWIDTHENV",
        "MASTERWIDTHENV2", "MASTERPLAYSPEEDENV", "PLAYSPEEDENV", "AUXVOLENV", "AUXPANENV", "AUXMUTEENV", "PITCHENV",
        "DUALPANENV", "DUALPANENVL", "DUALPANENV2", "DUALPANENVL2",
    )
)  # fmt: skip

_PLUGIN_BLOCKS = frozenset(("VST", "CLAP", "AU", "DX", "LV2", "VIDEO_EFFECT", "CONTAINER"))


# -------------------------------------------------------------------------- the project


@dataclass(frozen=True)
class _Track:
    """A track as the channels it becomes.

    Attributes
    ----------
    channels : tuple of Channel
        The first one is what others feed; none for a track that nobody hears.
    ends : dict of Tap to str
        Id of the channel behind which each tap lies.
    """

    channels: tuple[Channel, ...]
    ends: dict[Tap, str]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        # Names that are too long or hold a zero byte.
        return False


class _Names:
    """Ids of channels and inserts: those of the graph where its marks are found, else readable ones."""

    def __init__(self, known: Iterable[str], master_id: str) -> None:
        ids = list(known)
        self._of_guid = {str(node_guid(kind, node)): node for kind in ("track", "fx") for node in ids}
        self._taken = {master_id}

    def give(self, guid: str, fallback: str) -> str:
        wanted = self._of_guid.get(guid, fallback or "unnamed")
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted} {number}", number + 1
        self._taken.add(name)
        return name


def read_project(
    path: Path, *, node_ids: Iterable[str] = (), master_id: str = "master", media_folder: Path | None = None
) -> Chain:
    """Read a project as a chain that renders like REAPER renders its master.

    Parameters
    ----------
    path : Path
        The ``.rpp``. Its effects are looked for in ``Effects`` beside it.
    node_ids : iterable of str
        Ids of the graph it was exported from, of channels and processors. Tracks and effects
        that carry their marks get these ids; others are called by their names.
    master_id : str
    media_folder : Path, optional
        Where to look for audio files that are not where the project says.

    Returns
    -------
    Chain
        `Source.file` and, of a JSFX, `PluginInfo.bundle` are relative to the project's folder. VST3
        plugins have their state; other plugins are listed, without settings.

    Raises
    ------
    SessionFileError
        If the file is not a project, is damaged, or does something that cannot be followed; the
        message names the first line, `obstacles` has all of them.
    AudioFileError, AudioContentError
        If audio files are missing or cannot be used, and nothing else stands in the way.
    """
    return _Reader(path, names=_Names(node_ids, master_id), master_id=master_id, media_folder=media_folder).chain()


class _Reader:
    def __init__(self, path: Path, *, names: _Names, master_id: str, media_folder: Path | None) -> None:
        self._path, self._names, self._master_id, self._media = path, names, master_id, media_folder
        self._obstacles = Obstacles()
        self._text = NotingText(path, self._obstacles)
        self._effects: dict[str, Effect] = {}
        self._end = 0

    def chain(self) -> Chain:
        text, root = self._text, self._text.root
        rate, use_rate = text.numbers(root, "SAMPLERATE", (0.0, 0.0), required=True)
        if not use_rate or rate != round(rate) or rate <= 0:
            number = text.line_number(root, "SAMPLERATE")
            self._obstacles.note(text.error(number, "the project must have a sample rate of its own"))
        # Only to read on with, where it is none.
        self._rate_hz = int(rate) if rate >= 1 else 48000
        (self._law,) = text.numbers(root, "PANLAW", (1.0,))
        (self._mode,) = text.numbers(root, "PANMODE", (float(_PAN_MODE),))
        if text.numbers(root, "PLAYRATE", (1.0,)) != [1.0]:
            number = text.line_number(root, "PLAYRATE")
            self._obstacles.note(text.error(number, "the project must play at its normal rate"))
        tracks = root.chunks("TRACK")
        for track in tracks:
            if text.numbers(track, "MUTESOLO", (0.0, 0.0))[1]:
                number = text.line_number(track, "MUTESOLO")
                self._obstacles.note(text.error(number, "a track is on solo; switch that off and save the project"))
        try:
            channels = [*self._tracks(tracks), self._master(root)]
            frames = self._obstacles.attempt(0, self._frames)
            self._obstacles.raise_any()
            return Chain(
                name=self._path.stem,
                sample_rate_hz=self._rate_hz,
                frames=frames,
                suites="jsfx",
                channels=self._in_signal_order(channels),
            )
        except ValidationError as error:
            self._obstacles.raise_any()
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise SessionFileError(f"{self._path}: {where}: {first['msg']}; export the project again") from None

    def _in_signal_order(self, channels: Sequence[Channel]) -> tuple[Channel, ...]:
        try:
            return in_signal_order(channels)
        except SessionFileError as error:
            raise SessionFileError(f"{self._path}: {error}") from None

    def _frames(self) -> int:
        """Length of what REAPER renders: the stated range, or up to the end of the last item."""
        text, root = self._text, self._text.root
        bounds, start_s, end_s = text.numbers(root, "RENDER_RANGE", (1.0, 0.0, 0.0))
        if bounds != 0 or end_s <= start_s:
            return self._end
        number = text.line_number(root, "RENDER_RANGE")
        if start_s != 0:
            raise text.error(number, "the render range must begin at 0")
        return self._samples(end_s, number, "render range")

    def _samples(self, time_s: float, number: int, what: str) -> int:
        samples = time_s * self._rate_hz
        if abs(samples) > 1e10:
            raise self._text.error(number, f"{what}: {time_s:g} s is out of reach")
        return round(samples)

    # -------------------------------------------------------------------- channels

    def _tracks(self, tracks: Sequence[Chunk]) -> list[Channel]:
        """All tracks as channels, in the order of the file, with their sends."""
        names = [self._obstacles.attempt("", self._name, track) for track in tracks]
        modes = [self._automation_mode(track, "AUTOMODE") for track in tracks]
        receives = [self._receives(track, index, names, modes) for index, track in enumerate(tracks)]
        taps: list[set[Tap]] = [set() for _ in tracks]
        for receive in (r for one in receives for r in one):
            taps[receive.source_index].add(receive.tap)
        found: list[_Track] = []
        folders: list[str] = []
        known = True
        for index, track in enumerate(tracks):
            before = len(self._obstacles)
            change = self._obstacles.attempt(0, self._folder_change, track)
            # Behind a line that is not known, it is not known which folders are open, either.
            known = known and len(self._obstacles) == before
            if known and -change > len(folders):
                number = self._text.line_number(track, "ISBUS")
                self._obstacles.note(self._text.error(number, "more folders end than begin"))
            parent = folders[-1] if folders else self._master_id
            sums = change == 1 or bool(receives[index])
            if not sums and not taps[index] and not self._plays_into_parent(track):
                # Nobody hears it in the master, such as the finished mix that stands beside the match.
                found.append(_Track((), {}))
            else:
                found.append(self._track(track, name=names[index], parent=parent, sums=sums, taps=taps[index]))
            if change == 1:
                folders.append(found[-1].channels[0].id)
            elif change:
                # REAPER closes at the end of the list what is left open.
                del folders[change:]
        # Sends of what was not read lead nowhere, and no chain comes of it.
        return [] if self._obstacles else list(_with_sends(found, receives))

    def _receives(self, track: Chunk, index: int, names: Sequence[str], modes: Sequence[float]) -> list[Receive]:
        def read(part: Chunk) -> list[Receive]:
            return list(
                read_receives(self._text, part, index=index, names=names, automation_modes=modes, pan_law=self._law)
            )

        found = [receive for part in each_receive(track) for receive in self._obstacles.attempt([], read, part)]
        self._obstacles.attempt(None, check_receives, self._text, track, found, index=index, names=names)
        return found

    def _plays_into_parent(self, track: Chunk) -> bool:
        (to_parent,) = self._text.numbers(track, "MAINSEND", (1.0,))
        return to_parent != 0

    def _folder_change(self, track: Chunk) -> int:
        """1 for a track that opens a folder, minus the number of folders that end with it, or 0."""
        kind, change = self._text.numbers(track, "ISBUS", (0.0, 0.0))
        if change > 1 or change != round(change) or (kind == 1) != (change == 1):
            raise self._text.error(self._text.line_number(track, "ISBUS"), "not a folder line we know")
        return int(change)

    def _track(self, track: Chunk, *, name: str, parent: str, sums: bool, taps: set[Tap]) -> _Track:
        """A track as channels: cut where sends leave it; items that cannot be its source flow into it.

        `sums` tells whether other tracks flow into it.
        """
        text = self._text
        self._refuse(track, name)
        self._refuse_routing(track, name, sums=sums, early=not taps <= {Tap.FADER})
        channel_id = self._names.give(self._obstacles.attempt("", self._guid, track, "TRACKID"), name)
        (inverted,) = text.numbers(track, "IPHASE", (0.0,))
        items = (
            self._obstacles.attempt(None, self._item, item, inverted=inverted == 1) for item in track.chunks("ITEM")
        )
        sources = [source for source in items if source is not None]
        mute, _solo = text.numbers(track, "MUTESOLO", (0.0, 0.0))
        (fx_on,) = text.numbers(track, "FX", (1.0,))
        simple = len(sources) == 1 and not sums
        moving = self._automation(track, _FADER, "AUTOMODE", name)
        gain, pan = self._obstacles.attempt((1.0, 0.0), self._fader, track, "VOLPAN", moving)
        whole = Channel(
            id=channel_id,
            name=name,
            kind="track" if simple else "bus",
            parent=parent,
            source=sources[0] if simple else None,
            inserts=tuple(self._inserts(track.chunks("FXCHAIN"), channel_id, active=fx_on != 0)),
            gain=0.0 if mute else gain,
            pan=pan,
            volume=moving.volume,
            pan_points=moving.pan,
        )
        parts, ends = split_at_taps(
            whole, taps, to_parent=self._plays_into_parent(track), unused_id=lambda wanted: self._names.give("", wanted)
        )
        return _Track((*parts, *(self._items(whole, sources) if not simple else ())), ends)

    def _items(self, channel: Channel, sources: Sequence[Source]) -> Iterator[Channel]:
        """Items as tracks of their own that flow into what their track became."""
        for number, source in enumerate(sources, start=1):
            yield Channel(
                id=self._names.give("", f"{channel.id} item"),
                name=f"{channel.name}, item {number}",
                kind="track",
                parent=channel.id,
                source=source,
            )

    def _master(self, root: Chunk) -> Channel:
        text = self._text
        (fx_on,) = text.numbers(root, "MASTER_FX", (1.0,))
        (state,) = text.numbers(root, "MASTERMUTESOLO", (0.0,))
        if state != 0:
            number = text.line_number(root, "MASTERMUTESOLO")
            self._obstacles.note(text.error(number, "the master is muted or mono; switch that off"))
        self._refuse_envelopes(root, "the master")
        moving = self._automation(root, _MASTER_FADER, "MASTERAUTOMODE", "the master")
        gain, pan = self._obstacles.attempt((1.0, 0.0), self._fader, root, "MASTER_VOLUME", moving)
        return Channel(
            id=self._master_id,
            name="Master",
            kind="master",
            inserts=tuple(self._inserts(root.chunks("MASTERFXLIST"), self._master_id, active=fx_on != 0)),
            gain=gain,
            pan=pan,
            volume=moving.volume,
            pan_points=moving.pan,
        )

    def _automation_mode(self, channel: Chunk, keyword: str) -> float:
        (mode,) = self._text.numbers(channel, keyword, (float(TRIM_READ),))
        (override,) = self._text.numbers(self._text.root, "GLOBAL_AUTO", (-1.0,))
        return mode if override < 0 else override

    def _automation(self, channel: Chunk, keywords: tuple[str, str], mode_keyword: str, name: str) -> Automation:
        """Both envelopes of a fader; what is wrong with one does not hide the other."""
        mode = self._automation_mode(channel, mode_keyword)
        text, attempt = self._text, self._obstacles.attempt
        volume = attempt((), read_volume, text, channel, keywords[0], name=name, automation_mode=mode)
        pan = attempt((), read_pan, text, channel, keywords[1], name=name, automation_mode=mode)
        return Automation(volume, pan, replaces_fader=mode != TRIM_READ)

    def _name(self, track: Chunk) -> str:
        for block in track.chunks("NAME"):
            # A name with all three quote characters stands in a block of its own.
            for item in block.items:
                if isinstance(item, Line):
                    return item.text.removeprefix("|")
        line = track.line("NAME")
        tokens = [] if line is None else self._text.tokens(line)
        return tokens[1] if len(tokens) > 1 else ""

    def _guid(self, block: Chunk, keyword: str) -> str:
        line = block.line(keyword)
        tokens = self._text.tokens(line if line is not None else block.head)
        return tokens[1] if len(tokens) > 1 else ""

    def _refuse(self, track: Chunk, name: str) -> None:
        """Name what would change the sound and is not followed."""
        text = self._text
        self._refuse_envelopes(track, name)
        (mode,) = text.numbers(track, "PANMODE", (self._mode,))
        if mode != _PAN_MODE:
            words = f"panning mode {mode:g} is not read; use 'stereo balance / mono pan'"
            self._obstacles.note(text.error(text.line_number(track, "PANMODE"), words))
        offset, off = text.numbers(track, "PLAYOFFS", (0.0, 1.0))
        if offset and not int(off) & _OFFSET_OFF:
            words = f"{name}: plays its items earlier or later than they stand; set its playback offset to 0"
            self._obstacles.note(text.error(text.line_number(track, "PLAYOFFS"), words))

    def _refuse_routing(self, track: Chunk, name: str, *, sums: bool, early: bool) -> None:
        """Name what REAPER does not state for tracks that others flow into or that send from before their fader."""
        text = self._text
        (inverted,) = text.numbers(track, "IPHASE", (0.0,))
        (mute,) = text.numbers(track, "MUTESOLO", (0.0,))
        _, offset = text.numbers(track, "MAINSEND", (1.0, 0.0))
        if inverted and (sums or early):
            what = "sends from before its fader" if early else "sums others"
            words = f"{name}: inverted polarity on a track that {what}"
            self._obstacles.note(text.error(text.line_number(track, "IPHASE"), words))
        if mute and early:
            words = f"{name}: muted, but sends from before its fader"
            self._obstacles.note(text.error(text.line_number(track, "MUTESOLO"), words))
        if offset:
            words = f"{name}: plays into other channels than 1/2"
            self._obstacles.note(text.error(text.line_number(track, "MAINSEND"), words))

    def _refuse_envelopes(self, block: Chunk, name: str) -> None:
        for item in block.items:
            self._obstacles.attempt(None, self._refuse_envelope, item, name)

    def _refuse_envelope(self, item: Line | Chunk, name: str) -> None:
        if not isinstance(item, Chunk) or item.keyword not in _ENVELOPES - {*_FADER, *_MASTER_FADER, SEND_VOLUME}:
            return
        # Envelopes that were never armed hold no point or are switched off.
        if is_active(self._text, item):
            raise self._text.error(
                item.number, f"{name}: {item.keyword}: this automation is not read; remove the envelope"
            )

    def _fader(self, block: Chunk, keyword: str, automation: Automation) -> tuple[float, float]:
        """Gain and pan in our law from a fader in REAPER's."""
        text, number = self._text, self._text.line_number(block, keyword)
        volume, pan, law = text.numbers(block, keyword, (1.0, 0.0, -1.0))
        volume = 1.0 if automation.replaces_fader and automation.volume else volume
        law = self._law if law < 0 else law
        if volume < 0 or not -1 <= pan <= 1:
            raise text.error(number, f"{keyword}: volume {volume:g}, pan {pan:g} is out of range")
        if automation.pan and pan != 0.0 and not automation.replaces_fader:
            raise text.error(number, f"{keyword}: the pan {pan:g} adds to a pan envelope; centre the fader's pan")
        pan = 0.0 if automation.pan else pan
        moves = any(point.pan != 0.0 for point in automation.pan)
        if pan == 0.0 and not moves:
            return volume * law, 0.0
        if abs(law - SINE_PAN_LAW) > 1e-6:
            raise text.error(
                number, f"{keyword}: a pan under the pan law {law:g} is not read; set the track's pan law to -3.01 dB"
            )
        theta = (1.0 + pan) * math.pi / 4.0
        if abs(law - SINE_PAN_LAW) < 1e-9:
            return volume / PAN_COMPENSATION, pan
        return gain_and_pan(volume * math.cos(theta), volume * math.sin(theta))

    # ----------------------------------------------------------------------- items

    def _item(self, item: Chunk, *, inverted: bool) -> Source | None:
        """The audio file of an item; None for a muted one and an empty one."""
        text = self._text
        if text.numbers(item, "MUTE", (0.0,))[0]:
            return None
        sources = item.chunks("SOURCE")
        if not sources and item.line("TAKE") is None:
            # It is empty or holds notes: nothing plays, but the project lasts as long.
            self._end = max(self._end, self._whole(item, "POSITION") + self._whole(item, "LENGTH"))
            return None
        take_gain = self._plain_item(item)
        if len(sources) != 1:
            raise text.error(item.number, f"an item with {len(sources)} takes; keep one")
        info, reference = self._file(sources[0])
        frames = resampled_frames(info.frames, from_hz=info.sample_rate_hz, to_hz=self._rate_hz)
        start, length, skipped = (self._whole(item, key) for key in ("POSITION", "LENGTH", "SOFFS"))
        rest = frames - skipped
        if (skipped and start) or length > rest + _ROUNDING:
            raise text.error(item.number, "the item was moved into its file or is longer than it; glue it first")
        if length < rest - _ROUNDING and start + length < self._session_end() - _ROUNDING:
            raise text.error(item.number, "the item ends before its file does; glue it first")
        self._end = max(self._end, start + length)
        polarity = -1 if inverted != (take_gain < 0) else 1
        return Source(
            file=reference,
            offset_samples=start - skipped,
            polarity=1 if polarity > 0 else -1,
            channels=1 if info.channels == 1 else 2,
        )

    def _session_end(self) -> int:
        bounds, start_s, end_s = self._text.numbers(self._text.root, "RENDER_RANGE", (1.0, 0.0, 0.0))
        return round(end_s * self._rate_hz) if bounds == 0 and 0 <= end_s - start_s < 1e6 else 1 << 62

    def _whole(self, item: Chunk, keyword: str) -> int:
        """A time of an item to the nearest sample."""
        (time_s,) = self._text.numbers(item, keyword, (0.0,), required=keyword != "SOFFS")
        number = self._text.line_number(item, keyword)
        if time_s < 0:
            raise self._text.error(number, f"{keyword}: {time_s:g} s lies before the start")
        return self._samples(time_s, number, keyword)

    def _plain_item(self, item: Chunk) -> float:
        """Refuse what changes an item's sound; return the sign of its take volume."""
        text = self._text

        def refuse(keyword: str, words: str) -> None:
            self._obstacles.note(text.error(text.line_number(item, keyword), words))

        for keyword in ("FADEIN", "FADEOUT"):
            if any(text.numbers(item, keyword, (0.0, 0.0, 0.0))[1:]):
                refuse(keyword, "the item is faded; remove the fade or glue it")
        volume, take_pan, take_volume = text.numbers(item, "VOLPAN", (1.0, 0.0, 1.0))
        if volume != 1 or take_pan != 0 or abs(take_volume) != 1:
            refuse("VOLPAN", "the item has its own volume or pan; glue it first")
        rate, _keep_pitch, pitch = text.numbers(item, "PLAYRATE", (1.0, 1.0, 0.0))
        if rate != 1 or pitch != 0:
            refuse("PLAYRATE", "the item is stretched or shifted in pitch")
        if item.line("SM") is not None:
            refuse("SM", "the item has stretch markers; glue it first")
        if text.numbers(item, "CHANMODE", (0.0,))[0]:
            refuse("CHANMODE", "the item has a channel mode; glue it first")
        for effects in item.chunks("TAKEFX"):
            self._obstacles.note(text.error(effects.number, "the item has effects of its own; move them to the track"))
        self._refuse_envelopes(item, "the item")
        return take_volume

    def _file(self, source: Chunk) -> tuple[AudioInfo, str]:
        """Header and reference of an audio file; the reference is relative to the project's folder."""
        line = source.line("FILE")
        tokens = [] if line is None else self._text.tokens(line)
        if line is None or len(tokens) < 2:
            raise self._text.error(source.number, "the item has no audio file")
        reference = tokens[1]
        file = Path(reference)
        if self._media is not None and not _is_file(self._path.parent / file):
            file = self._media.resolve() / file.name
        try:
            return probe(self._path.parent / file), file.as_posix()
        except (AudioFileError, AudioContentError) as error:
            raise self._text.error(line.number, str(error), kind=type(error)) from None
        except (OSError, ValueError):
            raise self._text.error(line.number, f"{reference[:80]!r} is not a file name") from None

    # --------------------------------------------------------------------- effects

    def _inserts(self, chains: Sequence[Chunk], channel_id: str, *, active: bool) -> Iterator[Insert]:
        for chain in chains:
            bypassed, effect = False, None
            after: list[Line] = []
            for item in chain.items:
                if isinstance(item, Line) and item.keyword == "BYPASS":
                    if effect is not None:
                        yield from self._one_insert(effect, after, channel_id, bypassed=bypassed or not active)
                    effect, after = None, []
                    bypassed = any(self._text.numbers(Chunk(chain.head, [item]), "BYPASS", (0.0, 0.0)))
                elif isinstance(item, Line):
                    after.append(item)
                elif item.keyword == "JS" or item.keyword in _PLUGIN_BLOCKS:
                    if effect is not None:
                        yield from self._one_insert(effect, after, channel_id, bypassed=bypassed or not active)
                        after = []
                    effect = item
                else:
                    self._obstacles.attempt(None, self._refuse_envelope, item, channel_id)
            if effect is not None:
                yield from self._one_insert(effect, after, channel_id, bypassed=bypassed or not active)

    def _one_insert(
        self, effect: Chunk, after: Sequence[Line], channel_id: str, *, bypassed: bool
    ) -> tuple[Insert, ...]:
        """An insert, or none where that cannot be read."""
        insert = self._obstacles.attempt(None, self._insert, effect, after, channel_id, bypassed=bypassed)
        return () if insert is None else (insert,)

    def _insert(self, effect: Chunk, after: Sequence[Line], channel_id: str, *, bypassed: bool) -> Insert:
        text = self._text
        lines = {line.keyword: line for line in after}
        if "PARALLEL" in lines:
            raise text.error(lines["PARALLEL"].number, "effects in parallel are not read")
        mix = MIX.default
        if "WET" in lines:
            tokens = text.tokens(lines["WET"])
            mix = text.number_of(tokens[1], lines["WET"]) if len(tokens) > 1 else mix
            if not MIX.minimum <= mix <= MIX.maximum:
                raise text.error(lines["WET"].number, f"WET {mix:g} is outside 0 to 1")
        marks = text.tokens(lines["FXID"]) if "FXID" in lines else []
        guid = marks[1] if len(marks) > 1 else ""
        if effect.keyword != "JS":
            return self._foreign(effect, guid, channel_id, mix=mix, bypassed=bypassed)
        return self._jsfx(effect, guid, channel_id, mix=mix, bypassed=bypassed)

    def _foreign(self, effect: Chunk, guid: str, channel_id: str, *, mix: float, bypassed: bool) -> Insert:
        """A plugin: a VST3 with its state, REAPER's own with its settings; others are only named.

        Whoever renders says then what is missing.
        """
        tokens = self._text.tokens(effect.head)
        name = tokens[1] if len(tokens) > 1 else effect.keyword
        given = partial(Insert, mix=mix, bypassed=bypassed)
        block = _vst_block(effect)
        stock = self._stock(effect, block[1], f"{channel_id}: {name}", bypassed=bypassed) if block else None
        if stock is not None:
            processor_type, parameters = stock
            insert_id = self._names.give(guid, f"{channel_id}:{processor_type}")
            plugin = PluginInfo(name=name.partition(": ")[2].rpartition(" (")[0])
            return given(id=insert_id, kind="stock", type=processor_type, plugin=plugin, parameters=parameters)
        insert_id = self._names.give(guid, f"{channel_id}:{name}")
        component = _vst3_component(*block) if block else None
        if block and component is not None:
            state = base64.b64encode(component).decode("ascii")
            return given(id=insert_id, kind="vst3", plugin=_vst3_info(block[0]), state=state)
        named = PluginInfo(name=name, bundle=tokens[2] if len(tokens) > 2 else "")
        return given(id=insert_id, kind="vst3", plugin=named)

    def _stock(
        self, effect: Chunk, chunk: VstChunk, title: str, *, bypassed: bool
    ) -> tuple[str, dict[str, float]] | None:
        """Type and parameters of a plugin that comes with REAPER; None for others, and for a bypassed one of no use."""
        try:
            state = decode_stock(chunk)
            return None if state is None else from_stock(state, sample_rate_hz=self._rate_hz)
        except SessionFileError as error:
            if bypassed:
                return None
            raise self._text.error(effect.number, f"{title}: {error}") from None

    def _jsfx(self, effect: Chunk, guid: str, channel_id: str, *, mix: float, bypassed: bool) -> Insert:
        text = self._text
        tokens = text.tokens(effect.head)
        if len(tokens) < 2:
            raise text.error(effect.number, "a JSFX without a name")
        reference = tokens[1]
        file = f"{EFFECTS_FOLDER}/{reference.removeprefix(PROJECT_PREFIX)}"
        inside = reference.startswith(PROJECT_PREFIX) and ".." not in Path(file).parts
        if not inside or not _is_file(self._path.parent / file):
            raise text.error(
                effect.number, f"the JSFX {reference[:80]!r} is not in {EFFECTS_FOLDER} beside the project"
            )
        values = self._slider_values(effect, self._effect(file, effect.number))
        kind = _KIND_OF_FILE.get(Path(file).name, "")
        processor_type, law = type_and_law(kind) if kind else ("", "")
        names = SPECS[processor_type].names if processor_type else ()
        return Insert(
            id=self._names.give(guid, f"{channel_id}:{kind or Path(file).stem}"),
            type=processor_type,
            law=law,
            kind="jsfx",
            plugin=PluginInfo(name=Path(file).name, bundle=file),
            parameters={name: values[name] for name in names if name in values},
            values=dict(values),
            mix=mix,
            bypassed=bypassed,
        )

    def _effect(self, file: str, number: int) -> Effect:
        if file not in self._effects:
            try:
                self._effects[file] = load_effect(self._path.parent / file)
            except ScriptError as error:
                raise self._text.error(number, str(error)) from None
        return self._effects[file]

    def _slider_values(self, effect: Chunk, script: Effect) -> dict[str, float]:
        lines = [i for i in effect.items if isinstance(i, Line)]
        tokens = self._text.tokens(lines[0])[:SLIDER_COUNT] if lines else []
        values = {}
        for slider in script.sliders:
            token = tokens[slider.index - 1] if slider.index <= len(tokens) else "-"
            values[slider.variable] = slider.default if token == "-" else self._text.number_of(token, lines[0])
        return values


def _vst_block(effect: Chunk) -> tuple[VstHead, VstChunk] | None:
    """A VST plugin's block; None for others, and where it is damaged."""
    try:
        return read_vst_block(effect) if effect.keyword == "VST" else None
    except SessionFileError:
        return None


def _vst3_component(head: VstHead, chunk: VstChunk) -> bytes | None:
    """State of a VST3's component; None for a VST2, and where it is damaged."""
    try:
        return Vst3State.decode(chunk.state).component if head.is_vst3 else None
    except SessionFileError:
        return None


def _vst3_info(head: VstHead) -> PluginInfo:
    """Which plugin a block's first line names, with the class id that it has here."""
    listed = head.name.partition(": ")[2]
    return PluginInfo(
        name=listed.rpartition(" (")[0] or listed,
        bundle=head.file,
        class_id=class_id_on(head.uid, this_system()) if head.uid else "",
    )


def _with_sends(tracks: Sequence[_Track], receives: Sequence[Sequence[Receive]]) -> Iterator[Channel]:
    """The channels of all tracks with what each sends; several sends to one target become one."""
    sends: dict[str, dict[str, Send]] = {}
    for target, received in zip(tracks, receives, strict=True):
        for receive in received:
            target_id = target.channels[0].id
            sending = sends.setdefault(tracks[receive.source_index].ends[receive.tap], {})
            sending[target_id] = _joined(sending.get(target_id), receive, target_id)
    for channel in (c for track in tracks for c in track.channels):
        yield channel.model_copy(update={"sends": tuple(sends.get(channel.id, {}).values())})


def _joined(send: Send | None, receive: Receive, target_id: str) -> Send:
    """A send and another one to the same place as one; `check_receives` saw to it that they move alike."""
    return Send(target=target_id, gain=receive.gain + (send.gain if send else 0.0), volume=receive.volume)
