"""Reads a REAPER project from disk as a `Chain`; what goes beyond that is refused by name, nothing is rendered.

Whatever does not touch the sound (windows, colours, unknown blocks) is passed over. What does and
cannot be followed (envelopes, sends, fades, edited items) ends the reading with the line at which
it stands: a render that leaves it out would be another mix.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from ...bridge.audio import AudioInfo, probe, resampled_frames
from ...bridge.errors import AudioContentError, AudioFileError, ScriptError, SessionFileError
from ...bridge.hosting.jsfx import Effect, load_effect
from ...bridge.processors.equations import gain_and_pan
from ...bridge.processors.specs import MIX, SPECS
from ..chain import Chain, Channel, Insert, PluginInfo, Source
from .effects import EFFECTS_FOLDER, JSFX_FILES, PROJECT_PREFIX, SLIDER_COUNT
from .project import PAN_COMPENSATION, SINE_PAN_LAW, node_guid

#: A project larger than this is refused unread.
MAX_FILE_BYTES = 64 * 1024 * 1024

#: Blocks within blocks; REAPER itself stays below ten.
_MAX_DEPTH = 100

#: Panning mode of the exported project: stereo balance / mono pan.
_PAN_MODE = 3

#: Times in seconds are rounded to samples, so that a position and a length may disagree by this (samples).
_ROUNDING = 2

_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)")
_QUOTES = "\"'`"
_TYPE_OF_FILE = {file: processor_type for processor_type, file in JSFX_FILES.items()}

_ENVELOPES = frozenset(
    (
        "VOLENV", "VOLENV2", "VOLENV3", "PANENV", "PANENV2", "WIDTHENV", "WIDTHENV2", "MUTEENV", "PARMENV",
        "MASTERVOLENV", "MASTERVOLENV2", "MASTERVOLENV3", "MASTERPANENV", "MASTERPANENV2", "MASTERWIDTHENV",
        "MASTERWIDTHENV2", "MASTERPLAYSPEEDENV", "PLAYSPEEDENV",
    )
)  # fmt: skip

_PLUGIN_BLOCKS = frozenset(("VST", "CLAP", "AU", "DX", "LV2", "VIDEO_EFFECT", "CONTAINER"))


# ------------------------------------------------------------------------------ the text


@dataclass(frozen=True)
class _Line:
    text: str
    number: int

    @property
    def keyword(self) -> str:
        return self.text.split(maxsplit=1)[0] if self.text else ""


@dataclass
class _Block:
    head: _Line
    items: list[_Line | _Block] = field(default_factory=list)

    @property
    def keyword(self) -> str:
        return self.head.keyword

    @property
    def number(self) -> int:
        return self.head.number

    def blocks(self, keyword: str) -> list[_Block]:
        return [i for i in self.items if isinstance(i, _Block) and i.keyword == keyword]

    def line(self, keyword: str) -> _Line | None:
        """The last line of that keyword, as REAPER itself takes it."""
        found = [i for i in self.items if isinstance(i, _Line) and i.keyword == keyword]
        return found[-1] if found else None


def tokens_of(text: str) -> list[str] | None:
    """Split a line into tokens: three quote characters, no escapes, comments after a bare ``#`` or ``;``.

    Returns
    -------
    list of str or None
        None for a line whose quote is not closed, which REAPER skips.
    """
    tokens: list[str] = []
    at, end = 0, len(text)
    while at < end:
        if text[at] in " \t":
            at += 1
        elif text[at] in "#;":
            break
        elif text[at] in _QUOTES:
            closing = text.find(text[at], at + 1)
            if closing < 0:
                return None
            tokens.append(text[at + 1 : closing])
            at = closing + 1
        else:
            stop = at
            while stop < end and text[stop] not in " \t":
                stop += 1
            tokens.append(text[at:stop])
            at = stop
    return tokens


class _Text:
    """A project file as a tree, with errors that name the line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise SessionFileError(f"{path}: larger than {MAX_FILE_BYTES} bytes; this is not one of our projects")
            data = path.read_bytes()
        except OSError as error:
            raise SessionFileError(f"{path}: cannot read the project ({error.strerror}); check the path") from None
        # Names of files that are not valid text keep their bytes.
        self.root = self._parse(data.decode("utf-8-sig", "surrogateescape"))

    def _parse(self, text: str) -> _Block:
        open_blocks: list[_Block] = []
        for number, raw in enumerate(text.split("\n"), start=1):
            line = raw.strip(" \t\r")
            bare = line[1:] if line[:1] in _QUOTES and line[1:2] == "<" else line
            if bare.startswith("<"):
                block = _Block(_Line(bare[1:], number))
                if open_blocks:
                    open_blocks[-1].items.append(block)
                elif block.keyword != "REAPER_PROJECT":
                    raise self.error(number, "this is not a REAPER project")
                open_blocks.append(block)
                if len(open_blocks) > _MAX_DEPTH:
                    raise self.error(number, f"more than {_MAX_DEPTH} blocks within each other")
            elif line.startswith(">"):
                if not open_blocks:
                    raise self.error(number, "a block ends that did not begin")
                block = open_blocks.pop()
                if not open_blocks:
                    return block
            elif line:
                if not open_blocks:
                    raise self.error(number, "this is not a REAPER project")
                open_blocks[-1].items.append(_Line(line, number))
        if open_blocks:
            raise self.error(open_blocks[-1].number, f"the block {open_blocks[-1].keyword} does not end; export again")
        raise SessionFileError(f"{self.path}: the file is empty; export the project again")

    def error(self, number: int, words: str) -> SessionFileError:
        return SessionFileError(f"{self.path}: line {number}: {words}")

    def tokens(self, line: _Line) -> list[str]:
        found = tokens_of(line.text)
        if found is None:
            raise self.error(line.number, "a quote is not closed")
        return found

    def number_of(self, token: str, line: _Line) -> float:
        if _NUMBER.fullmatch(token):
            value = float(token.replace(",", "."))
            if math.isfinite(value):
                return value
        raise self.error(line.number, f"expected a number, found {token[:40]!r}")

    def numbers(self, block: _Block, keyword: str, defaults: Sequence[float], *, required: bool = False) -> list[float]:
        """The leading numbers of a line; `defaults` where the line or its end is missing."""
        line = block.line(keyword)
        if line is None:
            if required:
                raise self.error(block.number, f"{block.keyword} has no line {keyword}")
            return list(defaults)
        found = self.tokens(line)[1 : 1 + len(defaults)]
        return [self.number_of(t, line) for t in found] + list(defaults[len(found) :])

    def line_number(self, block: _Block, keyword: str) -> int:
        line = block.line(keyword)
        return block.number if line is None else line.number


# -------------------------------------------------------------------------- the project


@dataclass(frozen=True)
class _Item:
    """One audio file on a track; times in samples of the session."""

    source: Source
    end: int


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
        `Source.file` and `PluginInfo.bundle` are relative to the project's folder. Plugins other
        than JSFX are listed, without settings.

    Raises
    ------
    SessionFileError
        If the file is not a project, is damaged, or does something that cannot be followed; the
        message names the line.
    AudioFileError, AudioContentError
        If an audio file is missing or cannot be used.
    """
    return _Reader(path, names=_Names(node_ids, master_id), master_id=master_id, media_folder=media_folder).chain()


class _Reader:
    def __init__(self, path: Path, *, names: _Names, master_id: str, media_folder: Path | None) -> None:
        self._path, self._names, self._master_id, self._media = path, names, master_id, media_folder
        self._text = _Text(path)
        self._effects: dict[str, Effect] = {}
        self._end = 0

    def chain(self) -> Chain:
        text, root = self._text, self._text.root
        rate, use_rate = text.numbers(root, "SAMPLERATE", (0.0, 0.0), required=True)
        if not use_rate or rate != round(rate) or rate <= 0:
            raise text.error(text.line_number(root, "SAMPLERATE"), "the project must have a sample rate of its own")
        self._rate_hz = int(rate)
        (self._law,) = text.numbers(root, "PANLAW", (1.0,))
        (self._mode,) = text.numbers(root, "PANMODE", (float(_PAN_MODE),))
        if text.numbers(root, "PLAYRATE", (1.0,)) != [1.0]:
            raise text.error(text.line_number(root, "PLAYRATE"), "the project must play at its normal rate")
        tracks = root.blocks("TRACK")
        solo = any(text.numbers(t, "MUTESOLO", (0.0, 0.0))[1] for t in tracks)
        if solo:
            raise text.error(root.number, "a track is on solo; switch that off and save the project")
        try:
            channels = [*self._in_order(tracks), self._master(root)]
            return Chain(
                name=self._path.stem,
                sample_rate_hz=self._rate_hz,
                frames=self._frames(),
                suites="jsfx",
                channels=tuple(channels),
            )
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise SessionFileError(f"{self._path}: {where}: {first['msg']}; export the project again") from None

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

    def _in_order(self, tracks: Sequence[_Block]) -> Iterator[Channel]:
        """Channels so that each stands before the folder it flows into."""
        folders: list[Channel] = []
        for track in tracks:
            kind, change = self._text.numbers(track, "ISBUS", (0.0, 0.0))
            parent = folders[-1].id if folders else self._master_id
            if change > 1 or change != round(change) or (kind == 1) != (change == 1):
                raise self._text.error(self._text.line_number(track, "ISBUS"), "not a folder line we know")
            channel, items = self._track(track, parent=parent, folder=change == 1)
            yield from items
            if change == 1:
                folders.append(channel)
                continue
            yield channel
            for _ in range(int(-change)):
                if not folders:
                    number = self._text.line_number(track, "ISBUS")
                    raise self._text.error(number, "more folders end than begin")
                yield folders.pop()
        # REAPER closes at the end of the list what was left open.
        yield from reversed(folders)

    def _track(self, track: _Block, *, parent: str, folder: bool) -> tuple[Channel, list[Channel]]:
        """A track as one channel; items that cannot be its source become channels that flow into it."""
        text = self._text
        self._refuse(track)
        name = self._name(track)
        channel_id = self._names.give(self._guid(track, "TRACKID"), name)
        (inverted,) = text.numbers(track, "IPHASE", (0.0,))
        items = [item for block in track.blocks("ITEM") if (item := self._item(block, inverted=inverted == 1))]
        if inverted and folder:
            raise text.error(text.line_number(track, "IPHASE"), f"{name}: a folder with inverted polarity")
        gain, pan = self._fader(track, "VOLPAN")
        mute, _solo = text.numbers(track, "MUTESOLO", (0.0, 0.0))
        (sends,) = text.numbers(track, "MAINSEND", (1.0,))
        (fx_on,) = text.numbers(track, "FX", (1.0,))
        simple = len(items) == 1 and not folder
        channel = Channel(
            id=channel_id,
            name=name,
            kind="track" if simple else "bus",
            parent=parent,
            source=items[0].source if simple else None,
            inserts=tuple(self._inserts(track.blocks("FXCHAIN"), channel_id, active=fx_on != 0)),
            gain=0.0 if mute or not sends else gain,
            pan=pan,
        )
        if simple:
            return channel, []
        return channel, [
            Channel(
                id=self._names.give("", f"{channel_id} item"),
                name=f"{name}, item {number}",
                kind="track",
                parent=channel_id,
                source=item.source,
            )
            for number, item in enumerate(items, start=1)
        ]

    def _master(self, root: _Block) -> Channel:
        text = self._text
        (fx_on,) = text.numbers(root, "MASTER_FX", (1.0,))
        (state,) = text.numbers(root, "MASTERMUTESOLO", (0.0,))
        if state != 0:
            raise text.error(text.line_number(root, "MASTERMUTESOLO"), "the master is muted or mono; switch that off")
        for block in root.items:
            self._refuse_envelope(block)
        gain, pan = self._fader(root, "MASTER_VOLUME")
        inserts = self._inserts(root.blocks("MASTERFXLIST"), self._master_id, active=fx_on != 0)
        return Channel(id=self._master_id, name="Master", kind="master", inserts=tuple(inserts), gain=gain, pan=pan)

    def _name(self, track: _Block) -> str:
        for block in track.blocks("NAME"):
            # A name with all three quote characters stands in a block of its own.
            for item in block.items:
                if isinstance(item, _Line):
                    return item.text.removeprefix("|")
        line = track.line("NAME")
        tokens = [] if line is None else self._text.tokens(line)
        return tokens[1] if len(tokens) > 1 else ""

    def _guid(self, block: _Block, keyword: str) -> str:
        line = block.line(keyword)
        tokens = self._text.tokens(line if line is not None else block.head)
        return tokens[1] if len(tokens) > 1 else ""

    def _refuse(self, track: _Block) -> None:
        """Name what would change the sound and is not followed."""
        for item in track.items:
            self._refuse_envelope(item)
            if item.keyword == "AUXRECV":
                raise self._text.error(item.number, "the track receives a send; sends are not read")
        (mode,) = self._text.numbers(track, "PANMODE", (self._mode,))
        if mode != _PAN_MODE:
            number = self._text.line_number(track, "PANMODE")
            raise self._text.error(number, f"panning mode {mode:g} is not read; use 'stereo balance / mono pan'")

    def _refuse_envelope(self, item: _Line | _Block) -> None:
        if isinstance(item, _Block) and item.keyword in _ENVELOPES:
            # Envelopes that were never armed hold no point or are switched off.
            active = self._text.numbers(item, "ACT", (1.0,))[0] != 0
            if active and item.line("PT") is not None:
                raise self._text.error(item.number, f"{item.keyword}: automation is not read; remove the envelope")

    def _fader(self, block: _Block, keyword: str) -> tuple[float, float]:
        """Gain and pan in our law from a fader in REAPER's."""
        text, number = self._text, self._text.line_number(block, keyword)
        volume, pan, law = text.numbers(block, keyword, (1.0, 0.0, -1.0))
        law = self._law if law < 0 else law
        if volume < 0 or not -1 <= pan <= 1:
            raise text.error(number, f"{keyword}: volume {volume:g}, pan {pan:g} is out of range")
        if pan == 0.0:
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

    def _item(self, item: _Block, *, inverted: bool) -> _Item | None:
        """The audio file of an item; None for a muted one."""
        text = self._text
        if text.numbers(item, "MUTE", (0.0,))[0]:
            return None
        take_gain = self._plain_item(item)
        sources = item.blocks("SOURCE")
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
        return _Item(
            Source(
                file=reference,
                offset_samples=start - skipped,
                polarity=1 if polarity > 0 else -1,
                channels=1 if info.channels == 1 else 2,
            ),
            start + length,
        )

    def _session_end(self) -> int:
        bounds, start_s, end_s = self._text.numbers(self._text.root, "RENDER_RANGE", (1.0, 0.0, 0.0))
        return round(end_s * self._rate_hz) if bounds == 0 and 0 <= end_s - start_s < 1e6 else 1 << 62

    def _whole(self, item: _Block, keyword: str) -> int:
        """A time of an item to the nearest sample."""
        (time_s,) = self._text.numbers(item, keyword, (0.0,), required=keyword != "SOFFS")
        number = self._text.line_number(item, keyword)
        if time_s < 0:
            raise self._text.error(number, f"{keyword}: {time_s:g} s lies before the start")
        return self._samples(time_s, number, keyword)

    def _plain_item(self, item: _Block) -> float:
        """Refuse what changes an item's sound; return the sign of its take volume."""
        text = self._text
        for keyword in ("FADEIN", "FADEOUT"):
            if any(text.numbers(item, keyword, (0.0, 0.0, 0.0))[1:]):
                raise text.error(text.line_number(item, keyword), "the item is faded; remove the fade or glue it")
        volume, take_pan, take_volume = text.numbers(item, "VOLPAN", (1.0, 0.0, 1.0))
        if volume != 1 or take_pan != 0 or abs(take_volume) != 1:
            raise text.error(text.line_number(item, "VOLPAN"), "the item has its own volume or pan; glue it first")
        rate, _keep_pitch, pitch = text.numbers(item, "PLAYRATE", (1.0, 1.0, 0.0))
        if rate != 1 or pitch != 0:
            raise text.error(text.line_number(item, "PLAYRATE"), "the item is stretched or shifted in pitch")
        if text.numbers(item, "CHANMODE", (0.0,))[0]:
            raise text.error(text.line_number(item, "CHANMODE"), "the item has a channel mode; glue it first")
        if item.blocks("TAKEFX"):
            raise text.error(item.number, "the item has effects of its own; move them to the track")
        return take_volume

    def _file(self, source: _Block) -> tuple[AudioInfo, str]:
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
            raise type(error)(f"{self._path}: line {line.number}: {error}") from None
        except (OSError, ValueError):
            raise self._text.error(line.number, f"{reference[:80]!r} is not a file name") from None

    # --------------------------------------------------------------------- effects

    def _inserts(self, chains: Sequence[_Block], channel_id: str, *, active: bool) -> Iterator[Insert]:
        for chain in chains:
            bypassed, effect = False, None
            after: list[_Line] = []
            for item in chain.items:
                if isinstance(item, _Line) and item.keyword == "BYPASS":
                    if effect is not None:
                        yield self._insert(effect, after, channel_id, bypassed=bypassed or not active)
                    effect, after = None, []
                    tokens = self._text.tokens(item)[1:3]
                    bypassed = any(self._text.number_of(t, item) for t in tokens)
                elif isinstance(item, _Line):
                    after.append(item)
                elif item.keyword == "JS" or item.keyword in _PLUGIN_BLOCKS:
                    if effect is not None:
                        yield self._insert(effect, after, channel_id, bypassed=bypassed or not active)
                        after = []
                    effect = item
                else:
                    self._refuse_envelope(item)
            if effect is not None:
                yield self._insert(effect, after, channel_id, bypassed=bypassed or not active)

    def _insert(self, effect: _Block, after: Sequence[_Line], channel_id: str, *, bypassed: bool) -> Insert:
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

    def _foreign(self, effect: _Block, guid: str, channel_id: str, *, mix: float, bypassed: bool) -> Insert:
        """A plugin whose state is not read: it is named, so that whoever renders can say what is missing."""
        tokens = self._text.tokens(effect.head)
        name = tokens[1] if len(tokens) > 1 else effect.keyword
        return Insert(
            id=self._names.give(guid, f"{channel_id}:{name}"),
            kind="vst3",
            plugin=PluginInfo(name=name, bundle=tokens[2] if len(tokens) > 2 else ""),
            mix=mix,
            bypassed=bypassed,
        )

    def _jsfx(self, effect: _Block, guid: str, channel_id: str, *, mix: float, bypassed: bool) -> Insert:
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
        processor_type = _TYPE_OF_FILE.get(Path(file).name, "")
        names = SPECS[processor_type].names if processor_type else ()
        return Insert(
            id=self._names.give(guid, f"{channel_id}:{processor_type or Path(file).stem}"),
            type=processor_type,
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

    def _slider_values(self, effect: _Block, script: Effect) -> dict[str, float]:
        lines = [i for i in effect.items if isinstance(i, _Line)]
        tokens = self._text.tokens(lines[0])[:SLIDER_COUNT] if lines else []
        values = {}
        for slider in script.sliders:
            token = tokens[slider.index - 1] if slider.index <= len(tokens) else "-"
            values[slider.variable] = slider.default if token == "-" else self._text.number_of(token, lines[0])
        return values
