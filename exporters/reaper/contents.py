"""What a REAPER project holds, as tables of tracks, items, sends, envelopes, plugins; nothing is rendered here.

Any project opens, whatever made it: an effect chain (``.RfxChain``) and a track template as well.
What a line should say and does not is taken as REAPER takes it, and the line is listed. Blocks of no
table are listed by their names with their number. `read` is the reader for rendering.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .tree import Chunk, Line, ProjectText, leading_number, tokens_of

#: What a file is: all of a song, a chain of effects, or tracks alone.
FileKind = Literal["project", "chain", "tracks"]
PluginKind = Literal["VST2", "VST3", "JS", "AU", "CLAP", "LV2", "DX", "VIDEO", "container", "unknown"]
PlaceKind = Literal["track", "input", "take", "master", "monitoring", "chain"]
EnvelopeWhere = Literal["track", "master", "send", "plugin", "take", "tempo", "pool"]
SendMode = Literal["post-fader", "pre-effects", "pre-fader", "unknown"]

_MODES: dict[int, SendMode] = {0: "post-fader", 1: "pre-effects", 3: "pre-fader"}

_PLUGIN_KINDS: dict[str, PluginKind] = {
    "VST": "VST2", "JS": "JS", "AU": "AU", "CLAP": "CLAP", "LV2": "LV2", "DX": "DX", "VIDEO_EFFECT": "VIDEO",
    "CONTAINER": "container",
}  # fmt: skip

#: Blocks that stand in a chain and are no plugin.
_BESIDE_PLUGINS = frozenset(
    ("PARMENV", "PROGRAMENV", "JS_SER", "JS_PINMAP", "IN_PINS", "OUT_PINS", "COMMENT", "NOTES", "EXT")
)

_CHAINS = ("FXCHAIN", "FXCHAIN_REC", "MASTERFXLIST", "TAKEFX")

#: Blocks that hold no sound, or are read with the block that holds them.
_OTHER_BLOCKS = frozenset(
    (
        "REAPER_PROJECT", "TRACK", "ITEM", "SOURCE", "NAME", "NOTES", "FREEZE", "RECORD_CFG", "APPLYFX_CFG",
        "RENDER_CFG", "METRONOME", "PROJBAY", "EXTENSIONS", "EXTSTATE", "EXT", "CODE", "STATE", "SPLS", "X",
    )
)  # fmt: skip

#: Envelopes, whatever their number, but for what modulates a parameter.
_ENVELOPE = re.compile(r"[A-Z]*ENV(?:EX|L)?[0-9]?")

#: As REAPER lists them: "VST3i: Name (Vendor)".
_INSTRUMENT = re.compile(r"(?:VST3?|AU|CLAP|LV2|DX)i:")

_VST_IDENTITY = re.compile(r"(\d{1,10})(?:[<{]([0-9A-Fa-f]*)[>}]?)?", re.ASCII)


# ------------------------------------------------------------------------------ the tables


@dataclass(frozen=True)
class Place:
    """Where something stands; the numbers are places in the tables of `ProjectContents`, from 0.

    Attributes
    ----------
    kind : {"track", "input", "take", "master", "monitoring", "chain"}
        "input": effects while recording; "chain": a file that is nothing but a chain.
    track, item, take : int or None
        `take` counts within its item.
    is_frozen : bool
        Part of what a frozen track was made from, which does not play.
    """

    kind: PlaceKind
    track: int | None = None
    item: int | None = None
    take: int | None = None
    is_frozen: bool = False


@dataclass(frozen=True)
class Track:
    """A track.

    Attributes
    ----------
    line : int
        Where it begins in the file, from 1.
    guid : str
        With its braces; empty for none.
    depth : int >= 0
        Number of folders around it.
    """

    line: int
    name: str
    guid: str
    depth: int = 0
    is_folder: bool = False
    is_muted: bool = False
    is_solo: bool = False


@dataclass(frozen=True)
class Take:
    """One of the recordings that an item can play.

    Attributes
    ----------
    source_kind : str
        As the file has it: WAVE, MIDI, VIDEO, RPP_PROJECT; that within for a section of a file; empty for none.
    files : tuple of str
        As the file has them: relative to the project's folder or absolute, of any system.
    """

    name: str
    source_kind: str = ""
    files: tuple[str, ...] = ()
    is_active: bool = False


@dataclass(frozen=True)
class Item:
    """An item; without takes it is empty or holds notes.

    Attributes
    ----------
    track : int
    position_s, length_s : float
    is_frozen : bool
        See `Place`.
    """

    line: int
    track: int
    position_s: float
    length_s: float
    is_muted: bool = False
    takes: tuple[Take, ...] = ()
    is_frozen: bool = False


@dataclass(frozen=True)
class Send:
    """A send between tracks, or to an output of the audio device.

    Attributes
    ----------
    source : int or None
        The sending track; None for the master.
    target : int or None
        The receiving track; None for a hardware output.
    output : int or None
        The hardware output, coded as in the file; None for a send between tracks.
    gain : float
        Linear amplitude.
    pan : float
        -1 (left) to 1.
    """

    line: int
    source: int | None
    target: int | None
    output: int | None = None
    mode: SendMode = "post-fader"
    gain: float = 1.0
    pan: float = 0.0
    is_muted: bool = False

    @property
    def is_hardware(self) -> bool:
        """Whether it leaves the project."""
        return self.output is not None


@dataclass(frozen=True)
class Envelope:
    """Automation.

    Attributes
    ----------
    kind : str
        The block's keyword, such as VOLENV2, AUXPANENV or PARMENV.
    where : {"track", "master", "send", "plugin", "take", "tempo", "pool"}
        "pool": what automation items share.
    place : Place or None
        The track, take or chain; None for tempo and pool.
    send, plugin : int or None
        Places in the tables of that name.
    parameter : str
        Of a plugin, as the file has it: its number, then perhaps its name.
    points : int
    automation_items : int
    is_on : bool
    """

    line: int
    kind: str
    where: EnvelopeWhere
    place: Place | None = None
    send: int | None = None
    plugin: int | None = None
    parameter: str = ""
    points: int = 0
    automation_items: int = 0
    is_on: bool = True

    @property
    def is_active(self) -> bool:
        """Whether it does anything: it is switched on and not empty."""
        return self.is_on and (self.points > 0 or self.automation_items > 0)


@dataclass(frozen=True)
class Plugin:
    """An effect, an instrument or a container of such.

    Attributes
    ----------
    name : str
        As REAPER lists it; a JSFX's path.
    file : str
        Empty where the kind has none.
    class_id : str
        Of a VST the hexadecimal digits, else the text by which its kind tells plugins apart; empty for none.
    number : int or None
        Of a VST.
    guid : str
        Of this instance, with its braces; empty for none.
    place : Place
    container : int or None
        Place in the table of plugins of the container that it stands in.
    custom_name, preset : str
        What the user called it; the preset shown.
    """

    line: int
    kind: PluginKind
    name: str
    place: Place
    file: str = ""
    class_id: str = ""
    number: int | None = None
    guid: str = ""
    container: int | None = None
    custom_name: str = ""
    preset: str = ""
    is_instrument: bool = False
    is_bypassed: bool = False
    is_offline: bool = False


@dataclass(frozen=True)
class Marker:
    """A marker, or a region if it has an end."""

    line: int
    number: int
    position_s: float
    name: str = ""
    end_s: float | None = None


@dataclass(frozen=True)
class TempoPoint:
    """A point of the tempo map.

    Attributes
    ----------
    time_s : float
    bpm : float
        As the file counts them.
    beats, beat_unit : int or None
        A time signature that begins here.
    is_step : bool
        The tempo stays until the next point.
    """

    line: int
    time_s: float
    bpm: float
    beats: int | None = None
    beat_unit: int | None = None
    is_step: bool = True


@dataclass(frozen=True)
class BlockCount:
    """How often a kind of block occurs, wherever it stands.

    Attributes
    ----------
    line : int
        Of the first one.
    is_known : bool
        Whether we know what it is for.
    """

    keyword: str
    count: int
    line: int
    is_known: bool


@dataclass(frozen=True)
class ProjectContents:
    """Everything a file holds, each kind in the order of the file.

    Attributes
    ----------
    kind : {"project", "chain", "tracks"}
    version : str
        Of the REAPER that wrote it; empty for none.
    sample_rate_hz : float or None
        None where it is that of the audio device.
    tempo_bpm : float
        At the start, where no tempo point says otherwise.
    blocks : tuple of BlockCount
        Every block of the file is counted in here.
    damaged_lines : tuple of int
        Lines of which we took less than they should say; what follows the project's end is one.
    """

    kind: FileKind
    version: str = ""
    sample_rate_hz: float | None = None
    tempo_bpm: float = 120.0
    tracks: tuple[Track, ...] = ()
    items: tuple[Item, ...] = ()
    sends: tuple[Send, ...] = ()
    envelopes: tuple[Envelope, ...] = ()
    plugins: tuple[Plugin, ...] = ()
    markers: tuple[Marker, ...] = ()
    tempo_points: tuple[TempoPoint, ...] = ()
    blocks: tuple[BlockCount, ...] = ()
    damaged_lines: tuple[int, ...] = ()

    @property
    def subprojects(self) -> tuple[str, ...]:
        """Projects that play as items of this one, as their files are named here."""
        takes = (take for item in self.items for take in item.takes if take.source_kind == "RPP_PROJECT")
        return tuple(file for take in takes for file in take.files)

    @property
    def unknown_blocks(self) -> tuple[BlockCount, ...]:
        """Blocks of which we do not know what they are for."""
        return tuple(block for block in self.blocks if not block.is_known)


def read_contents(path: Path) -> ProjectContents:
    """List what a project, a chain of effects (``.RfxChain``) or a track template holds.

    Parameters
    ----------
    path : Path
        Nothing else is opened: neither audio files nor plugins or subprojects.

    Raises
    ------
    SessionFileError
        If the file cannot be read, is too large, is none of REAPER's, or a block of it does not end.
    """
    return _Contents(ProjectText(path, fragments=True)).all()


# ------------------------------------------------------------------------------ how they are filled


class _Contents:
    def __init__(self, text: ProjectText) -> None:
        self._root = text.root
        self._damaged: set[int] = set() if text.rest_number is None else {text.rest_number}
        self._tracks: list[Track] = []
        self._items: list[Item] = []
        self._sends: list[Send] = []
        self._envelopes: list[Envelope] = []
        self._plugins: list[Plugin] = []

    def all(self) -> ProjectContents:
        root = self._root
        is_project = root.keyword == "REAPER_PROJECT"
        chunks = root.chunks("TRACK")
        kind: FileKind = "project" if is_project else "tracks" if chunks else "chain"
        self._list_tracks(chunks)
        for number, chunk in enumerate(chunks):
            self._track(chunk, number)
        if kind == "project":
            self._master()
        else:
            self._chain(root.items, Place("chain"))
        rate, use_rate = self._numbers(root.line("SAMPLERATE"), 0.0, 0.0)
        (bpm,) = self._numbers(root.line("TEMPO"), 120.0)
        return ProjectContents(
            kind=kind,
            version=_token(self._tokens(root.head), 2) if is_project else "",
            sample_rate_hz=rate if use_rate and rate > 0 else None,
            tempo_bpm=bpm,
            tracks=tuple(self._tracks),
            items=tuple(self._items),
            sends=tuple(self._sends),
            envelopes=tuple(self._envelopes),
            plugins=tuple(self._plugins),
            markers=tuple(self._markers()),
            tempo_points=tuple(self._tempo_points()),
            blocks=tuple(_count_blocks(root)),
            damaged_lines=tuple(sorted(self._damaged)),
        )

    # ------------------------------------------------------------------ tokens and numbers

    def _tokens(self, line: Line) -> list[str]:
        """The tokens of a line; of one whose quote is not closed, which REAPER skips, none."""
        found = tokens_of(line.text)
        if found is None:
            self._damaged.add(line.number)
        return found or []

    def _numbers(self, line: Line | None, *defaults: float) -> list[float]:
        """The numbers of a line, as many as there are defaults for what is missing."""
        return list(defaults) if line is None else self._values(line, self._tokens(line)[1:], *defaults)

    def _values(self, line: Line, tokens: Sequence[str], *defaults: float) -> list[float]:
        found = []
        for token, default in zip(tokens, defaults, strict=False):
            value = leading_number(token)
            if value is None:
                self._damaged.add(line.number)
            found.append(default if value is None else value)
        return found + list(defaults[len(found) :])

    def _index(self, value: float, line: Line, *, below: int | None = None) -> int | None:
        """A number as a place in a table; None, and the line listed, where it is none."""
        if value == round(value) and 0 <= value < (1 << 31 if below is None else below):
            return int(value)
        self._damaged.add(line.number)
        return None

    # ------------------------------------------------------------------ tracks

    def _list_tracks(self, chunks: Sequence[Chunk]) -> None:
        """All tracks before what they hold: sends name tracks further down."""
        depth = 0
        for chunk in chunks:
            mute, solo = self._numbers(chunk.line("MUTESOLO"), 0.0, 0.0)
            kind, change = self._numbers(chunk.line("ISBUS"), 0.0, 0.0)
            head = self._tokens(chunk.head)
            marks = self._tokens(found) if (found := chunk.line("TRACKID")) is not None else []
            self._tracks.append(
                Track(
                    line=chunk.number,
                    name=self._name(chunk),
                    guid=_token(marks, 1) or _token(head, 1),
                    depth=depth,
                    is_folder=kind == 1,
                    is_muted=mute != 0,
                    is_solo=solo != 0,
                )
            )
            # A track can open one folder, and end no more than there are.
            depth = max(depth + int(min(change, 1.0)), 0)

    def _name(self, chunk: Chunk) -> str:
        """A name; one with all three quote characters stands in a block of its own beside the line."""
        for block in chunk.chunks("NAME"):
            for item in block.items:
                if isinstance(item, Line):
                    return item.text.removeprefix("|")
        line = chunk.line("NAME")
        return "" if line is None else _token(self._tokens(line), 1)

    def _track(self, chunk: Chunk, track: int) -> None:
        place, send = Place("track", track), None
        for item in chunk.items:
            if isinstance(item, Line):
                if item.keyword in ("AUXRECV", "HWOUT"):
                    send = self._send(item, track)
            elif item.keyword == "ITEM":
                self._item(item, track)
            elif item.keyword == "FXCHAIN":
                self._chain(item.items, place)
            elif item.keyword == "FXCHAIN_REC":
                self._chain(item.items, Place("input", track))
            elif item.keyword == "FREEZE":
                self._frozen(item, track)
            elif _is_envelope(item):
                self._envelope(item, place, send=send if item.keyword.startswith(("AUX", "HW")) else None)

    def _frozen(self, chunk: Chunk, track: int) -> None:
        for item in chunk.items:
            if isinstance(item, Chunk) and item.keyword == "ITEM":
                self._item(item, track, is_frozen=True)
            elif isinstance(item, Chunk) and item.keyword == "FXCHAIN":
                self._chain(item.items, Place("track", track, is_frozen=True))

    def _send(self, line: Line, track: int) -> int | None:
        """A line on the receiving track, or one to a hardware output; its place in the table."""
        other, mode, gain, pan, mute = self._numbers(line, -1.0, 0.0, 1.0, 0.0, 0.0)
        hardware = line.keyword == "HWOUT"
        end = self._index(other, line, below=None if hardware else len(self._tracks))
        if end is None:
            return None
        self._sends.append(
            Send(
                line=line.number,
                source=track if hardware else end,
                target=None if hardware else track,
                output=end if hardware else None,
                mode=_MODES.get(int(mode), "unknown"),
                gain=gain,
                pan=pan,
                is_muted=mute != 0,
            )
        )
        return len(self._sends) - 1

    def _master(self) -> None:
        place, send = Place("master"), None
        for item in self._root.items:
            if isinstance(item, Line):
                # A master without outputs has the bare word.
                if item.keyword == "MASTERHWOUT" and len(self._tokens(item)) > 1:
                    send = self._master_output(item)
            elif item.keyword in ("MASTERFXLIST", "FXCHAIN_REC"):
                self._chain(item.items, place if item.keyword == "MASTERFXLIST" else Place("monitoring"))
            elif _is_envelope(item):
                self._envelope(item, place, send=send if item.keyword.startswith(("MASTERHW", "HW")) else None)

    def _master_output(self, line: Line) -> int | None:
        output, mode, gain, pan, mute = self._numbers(line, 0.0, 0.0, 1.0, 0.0, 0.0)
        end = self._index(output, line)
        if end is None:
            return None
        given = _MODES.get(int(mode), "unknown")
        self._sends.append(Send(line.number, None, None, end, mode=given, gain=gain, pan=pan, is_muted=mute != 0))
        return len(self._sends) - 1

    # ------------------------------------------------------------------ items

    def _item(self, chunk: Chunk, track: int, *, is_frozen: bool = False) -> None:
        (position_s,) = self._numbers(chunk.line("POSITION"), 0.0)
        (length_s,) = self._numbers(chunk.line("LENGTH"), 0.0)
        (mute,) = self._numbers(chunk.line("MUTE"), 0.0)
        number = len(self._items)
        takes: list[Take] = []
        parts = _by_take(chunk)
        for part in parts:
            given = self._take(part, is_only=len(parts) == 1)
            self._take_effects(part, Place("take", track, number, None if given is None else len(takes), is_frozen))
            if given is not None:
                takes.append(given)
        if takes and not any(take.is_active for take in takes):
            takes[0] = replace(takes[0], is_active=True)
        self._items.append(
            Item(chunk.number, track, position_s, length_s, mute != 0, tuple(takes), is_frozen=is_frozen)
        )

    def _take(self, part: Chunk, *, is_only: bool) -> Take | None:
        """A take, perhaps an empty one; None where an item has none."""
        source = next(iter(part.chunks("SOURCE")), None)
        if source is None and is_only:
            return None
        inner = source
        while inner is not None and (within := inner.chunks("SOURCE")):
            inner = within[0]
        return Take(
            name=self._name(part),
            source_kind="" if inner is None else _token(self._tokens(inner.head), 1),
            files=() if source is None else tuple(self._files(source)),
            is_active=part.keyword == "TAKE" and "SEL" in self._tokens(part.head),
        )

    def _files(self, source: Chunk) -> Iterator[str]:
        for item in source.items:
            if isinstance(item, Chunk) and item.keyword == "SOURCE":
                yield from self._files(item)
            elif isinstance(item, Line) and item.keyword == "FILE":
                tokens = self._tokens(item)
                if len(tokens) > 1:
                    yield tokens[1]

    def _take_effects(self, part: Chunk, place: Place) -> None:
        for item in part.items:
            if isinstance(item, Chunk) and item.keyword == "TAKEFX":
                self._chain(item.items, place)
            elif isinstance(item, Chunk) and _is_envelope(item):
                self._envelope(item, place)

    # ------------------------------------------------------------------ effects

    def _chain(self, items: Iterable[Line | Chunk], place: Place, *, container: int | None = None) -> None:
        """A chain: a line with the switches, the plugin's block, then what belongs to that."""
        plugin: int | None = None
        switches: Line | None = None
        for item in items:
            if isinstance(item, Line):
                if item.keyword == "BYPASS":
                    plugin, switches = None, item
                elif item.keyword == "PRESETNAME" and plugin is not None:
                    preset = _token(self._tokens(item), 1)
                    self._plugins[plugin] = replace(self._plugins[plugin], preset=preset)
                elif item.keyword == "FXID" and plugin is not None:
                    guid = _token(self._tokens(item), 1)
                    self._plugins[plugin] = replace(self._plugins[plugin], guid=guid)
            elif item.keyword in _PLUGIN_KINDS or (switches is not None and item.keyword not in _BESIDE_PLUGINS):
                plugin = self._plugin(item, place, switches, container=container)
                switches = None
            elif item.keyword in _CHAINS:
                # A file of a chain may have its block around it.
                self._chain(item.items, place, container=container)
            elif _is_envelope(item):
                self._envelope(item, place, plugin=plugin)

    def _plugin(self, chunk: Chunk, place: Place, switches: Line | None, *, container: int | None) -> int:
        bypassed, offline = self._numbers(switches, 0.0, 0.0)
        number = len(self._plugins)
        plugin = _named(chunk, self._tokens(chunk.head), place)
        self._plugins.append(
            replace(plugin, container=container, is_bypassed=bypassed != 0, is_offline=offline != 0),
        )
        if plugin.kind == "container":
            self._chain(chunk.items, place, container=number)
        return number

    # ------------------------------------------------------------------ envelopes, markers, tempo

    def _envelope(self, chunk: Chunk, place: Place, *, send: int | None = None, plugin: int | None = None) -> None:
        where: EnvelopeWhere = "master" if place.kind == "master" else "take" if place.kind == "take" else "track"
        if chunk.keyword == "TEMPOENVEX":
            where = "tempo"
        elif chunk.keyword == "POOLEDENV":
            where = "pool"
        elif send is not None or chunk.keyword.startswith(("AUX", "HW", "MASTERHW")):
            where = "send"
        elif plugin is not None or chunk.keyword == "PARMENV":
            where = "plugin"
        (is_on,) = self._numbers(chunk.line("ACT"), 1.0)
        self._envelopes.append(
            Envelope(
                line=chunk.number,
                kind=chunk.keyword,
                where=where,
                place=None if where in ("tempo", "pool") else place,
                send=send,
                plugin=plugin,
                parameter=_token(self._tokens(chunk.head), 1) if where == "plugin" else "",
                points=len(chunk.lines("PT")) + len(chunk.lines("PPT")),
                automation_items=len(chunk.lines("POOLEDENVINST")),
                is_on=is_on != 0,
            )
        )

    def _markers(self) -> list[Marker]:
        """Markers; the two lines of a region become one."""
        found: list[Marker] = []
        begun: dict[int, int] = {}
        for line in self._root.lines("MARKER"):
            tokens = self._tokens(line)
            # Between them stands the name.
            number, position_s, flags = self._values(line, [*tokens[1:3], *tokens[4:5]], 0.0, 0.0, 0.0)
            is_region = bool(int(flags) & 1)
            if is_region and int(number) in begun:
                place = begun.pop(int(number))
                found[place] = replace(found[place], end_s=position_s)
                continue
            if is_region:
                begun[int(number)] = len(found)
            found.append(Marker(line.number, int(number), position_s, _token(tokens, 3)))
        # A region whose end was lost is none.
        self._damaged.update(found[place].line for place in begun.values())
        return found

    def _tempo_points(self) -> Iterator[TempoPoint]:
        for chunk in self._root.chunks("TEMPOENVEX"):
            for line in chunk.lines("PT"):
                time_s, bpm, shape, signature = self._numbers(line, 0.0, 0.0, 1.0, 0.0)
                unit, beats = divmod(int(signature), 1 << 16)
                has_signature = unit > 0 and beats > 0
                yield TempoPoint(
                    line=line.number,
                    time_s=time_s,
                    bpm=bpm,
                    beats=beats if has_signature else None,
                    beat_unit=unit if has_signature else None,
                    is_step=shape == 1,
                )


# ------------------------------------------------------------------------------ what lines and blocks are


def _token(tokens: Sequence[str], index: int) -> str:
    return tokens[index] if index < len(tokens) else ""


def _is_envelope(chunk: Chunk) -> bool:
    # The modulation of a parameter has the name of one, but neither points nor a curve.
    return chunk.keyword != "PROGRAMENV" and _ENVELOPE.fullmatch(chunk.keyword) is not None


def _by_take(item: Chunk) -> list[Chunk]:
    """An item in parts, each of which begins a take but for the first, which is the item's own as well."""
    parts = [Chunk(item.head)]
    for found in item.items:
        if isinstance(found, Line) and found.keyword == "TAKE":
            parts.append(Chunk(found))
        else:
            parts[-1].items.append(found)
    return parts


def _named(chunk: Chunk, tokens: Sequence[str], place: Place) -> Plugin:
    """The plugin that a block's first line names; every kind has an order of its own."""
    kind = _PLUGIN_KINDS.get(chunk.keyword, "unknown")
    name = _token(tokens, 1)
    listed_as = name.partition(":")[0]
    plugin = Plugin(
        chunk.number, kind, name, place, is_instrument=listed_as in ("VSTi", "VST3i", "AUi", "CLAPi", "LV2i")
    )
    if kind == "VST2":
        identity = _VST_IDENTITY.match(_token(tokens, 5))
        number, digits = (int(identity[1]), identity[2] or "") if identity else (None, "")
        is_vst3 = name.startswith("VST3") or "{" in _token(tokens, 5)
        return replace(
            plugin,
            kind="VST3" if is_vst3 else "VST2",
            file=_token(tokens, 2),
            custom_name=_token(tokens, 4),
            number=number,
            class_id=digits.upper(),
        )
    if kind == "JS":
        return replace(plugin, file=name, custom_name=_token(tokens, 2))
    if kind == "AU":
        return replace(plugin, file=_token(tokens, 2), custom_name=_token(tokens, 3), class_id=" ".join(tokens[4:]))
    if kind in ("VIDEO", "container"):
        return replace(plugin, custom_name=_token(tokens, 2))
    return replace(plugin, class_id=_token(tokens, 2), custom_name=_token(tokens, 3))


def _count_blocks(root: Chunk) -> Iterator[BlockCount]:
    """Every kind of block in the tree, in the order of their first lines."""
    found: dict[str, list[int]] = {}
    left = [root]
    while left:
        chunk = left.pop()
        left += [item for item in chunk.items if isinstance(item, Chunk)]
        # What holds the parts of a file that is no project is no block of it.
        if chunk.number:
            found.setdefault(chunk.keyword, []).append(chunk.number)
    for keyword, lines in sorted(found.items(), key=lambda kind: min(kind[1])):
        yield BlockCount(keyword, len(lines), min(lines), is_known=_is_known(keyword))


def _is_known(keyword: str) -> bool:
    known = keyword in _OTHER_BLOCKS or keyword in _CHAINS or keyword in _PLUGIN_KINDS or keyword in _BESIDE_PLUGINS
    return known or _ENVELOPE.fullmatch(keyword) is not None
