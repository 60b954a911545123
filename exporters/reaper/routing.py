"""Reads a project's sends and its volume and pan envelopes as a chain has them; no other part of a track is read here.

Only what a chain can hold exactly is read. The rest is refused with its line and the name of the
track: REAPER states neither how it pans sends nor how its fader scale runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise

from ...bridge.processors.equations import gain_to_db
from ..chain import Channel, PanPoint, VolumePoint
from .project import PAN_ENVELOPE_SIGN, TRIM_READ
from .tree import Chunk, Line, ProjectText

#: What a point of silence is read as; nothing is louder than 1e-15 behind it.
SILENCE_DB = -300.0

#: Decibels are rounded far below anything audible, so that what was written as -3.5 dB reads so.
_GAIN_DIGITS = 10

#: Modes in which REAPER plays envelopes in place of the fader while nobody touches it: read, touch, latch.
_FADER_REPLACED = (1, 2, 4)

_LINEAR, _SQUARE = 0, 1

#: How an envelope lists its automation items.
_ITEMS = "POOLEDENVINST"

#: The volume envelope of a send; it stands behind the line of the send.
SEND_VOLUME = "AUXVOLENV"


class Tap(Enum):
    """Behind what a send takes its signal, in the order the signal gets there."""

    INPUT = "input"
    INSERTS = "inserts"
    FADER = "fader"


#: Fields of a channel that act before a tap and after the one before it.
_ACTS_BEFORE = {Tap.INPUT: (), Tap.INSERTS: ("inserts",), Tap.FADER: ("gain", "pan", "volume", "pan_points")}


#: A send's mode, as the file has it.
_TAP_OF_MODE = {0: Tap.FADER, 1: Tap.INPUT, 3: Tap.INSERTS}


@dataclass(frozen=True)
class Receive:
    """A send, seen from the track that receives it.

    Attributes
    ----------
    source_index : int
        Place of the sending track in the file, from 0.
    gain : float >= 0
        Linear amplitude.
    volume : tuple of VolumePoint
        Automation of the level, relative to `gain`.
    number : int
        Of its line in the file.
    """

    source_index: int
    tap: Tap
    gain: float
    volume: tuple[VolumePoint, ...] = ()
    number: int = 0


@dataclass(frozen=True)
class Automation:
    """The envelopes of a fader; without points it stands still.

    Attributes
    ----------
    volume : tuple of VolumePoint
    pan : tuple of PanPoint
    replaces_fader : bool
        Whether envelopes, where there are any, play in place of the fader rather than on top of it.
    """

    volume: tuple[VolumePoint, ...] = ()
    pan: tuple[PanPoint, ...] = ()
    replaces_fader: bool = False


def read_receives(
    text: ProjectText,
    track: Chunk,
    *,
    index: int,
    names: Sequence[str],
    automation_modes: Sequence[float],
    pan_law: float,
) -> Iterator[Receive]:
    """What a track receives; muted sends and those without audio are left out.

    Parameters
    ----------
    track : Chunk
        With the lines of its receives, each with its envelopes behind it.
    index : int
        Place of the track in the file, from 0.
    names, automation_modes : sequence
        Of all tracks, in the order of the file.
    pan_law : float
        The project's, linear.

    Raises
    ------
    SessionFileError
        For a send that changes more than the level, and for envelopes as `read_volume` does.
    """
    for line, envelopes in _sends(text, track):
        # The pan law comes as "-1:U".
        tokens = [token.partition(":")[0] for token in text.tokens(line)[1:11]]
        given = [text.number_of(token, line) for token in tokens]
        if not given:
            raise text.error(line.number, f"{names[index]}: a send without a source")
        defaults = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]
        source, mode, gain, pan, mute, mono, inverted, from_channel, to_channel, law = [*given, *defaults[len(given) :]]
        if source != round(source) or not 0 <= source < len(names):
            raise text.error(line.number, f"{names[index]}: receives from a track that is not there")
        if mute or from_channel < 0:
            continue
        sender = f"{names[index]}: the send from {names[int(source)]!r}"
        wrong = {
            f"is of a mode that is not known ({mode:g})": mode not in _TAP_OF_MODE,
            "is panned; centre it": pan != 0.0,
            "is mono; switch that off": mono != 0.0,
            "is inverted in polarity; switch that off": inverted != 0.0 or gain < 0.0,
            "goes from or to other channels than 1/2 (a side-chain); remove it": bool(from_channel or to_channel),
            "has a pan law other than 0 dB; set the project's pan law to 0 dB": (pan_law if law < 0 else law) != 1.0,
        }
        for words, applies in wrong.items():
            if applies:
                raise text.error(line.number, f"{sender} {words}")
        receive = Receive(int(source), _TAP_OF_MODE[int(mode)], gain, number=line.number)
        if envelopes:
            follows = [automation_modes[receive.source_index], automation_modes[index]]
            receive = _moving(text, line, envelopes[-1], receive, name=sender, follows=follows)
        yield receive


def _moving(
    text: ProjectText, line: Line, envelope: Chunk, receive: Receive, *, name: str, follows: Sequence[float]
) -> Receive:
    """A send with its envelope; `follows` are the modes of both of its tracks."""
    own = text.tokens(line)[12:13]
    modes = [text.number_of(own[0], line)] if own and not own[0].startswith("-") else follows
    replaces = {_replaces(text, envelope, name, mode) for mode in modes}
    if len(replaces) > 1 and receive.gain != 1.0:
        # Nobody says which of the two tracks a send follows.
        words = f"{name}: its volume envelope plays by the modes of two tracks; set both to trim/read"
        raise text.error(line.number, words)
    gain = 1.0 if True in replaces else receive.gain
    return replace(receive, gain=gain, volume=_volume(text, envelope, name))


def _sends(text: ProjectText, track: Chunk) -> Iterator[tuple[Line, list[Chunk]]]:
    """The lines of a track's receives, each with the active volume envelopes that follow it."""
    found: list[tuple[Line, list[Chunk]]] = []
    for item in track.items:
        if isinstance(item, Line) and item.keyword == "AUXRECV":
            found.append((item, []))
        elif found and isinstance(item, Chunk) and item.keyword == SEND_VOLUME and is_active(text, item):
            found[-1][1].append(item)
    yield from found


def check_receives(
    text: ProjectText, track: Chunk, receives: Sequence[Receive], *, index: int, names: Sequence[str]
) -> None:
    """Check that what a track receives can be added up by sender.

    Raises
    ------
    SessionFileError
        For two sends of one track that move apart, and for an active envelope in front of all sends.
    """
    moving: dict[tuple[int, Tap], tuple[VolumePoint, ...]] = {}
    for receive in receives:
        if moving.setdefault((receive.source_index, receive.tap), receive.volume) != receive.volume:
            words = f"two sends from {names[receive.source_index]!r} move apart; put them on tracks of their own"
            raise text.error(receive.number, f"{names[index]}: {words}")
    for item in track.items:
        if isinstance(item, Line) and item.keyword == "AUXRECV":
            return
        if isinstance(item, Chunk) and item.keyword == SEND_VOLUME and is_active(text, item):
            raise text.error(item.number, f"{names[index]}: {SEND_VOLUME} belongs to no send; remove the envelope")


def is_active(text: ProjectText, envelope: Chunk) -> bool:
    """Whether an envelope does anything: it is switched on and has points, or automation items that have some."""
    return text.numbers(envelope, "ACT", (1.0,))[0] != 0 and any(envelope.lines(k) for k in ("PT", _ITEMS))


def read_volume(
    text: ProjectText, channel: Chunk, keyword: str, *, name: str, automation_mode: float
) -> tuple[VolumePoint, ...]:
    """The post-effects volume envelope of a track or the master; empty where nothing moves.

    Parameters
    ----------
    keyword : str
        Of the envelope's block.
    automation_mode : float
        As AUTOMODE has it.

    Raises
    ------
    SessionFileError
        For points that straight lines (of a volume, in amplitude) cannot connect as REAPER does, for
        automation items, and for modes in which playing would write.
    """
    envelope = _active(text, channel, keyword, name=name, automation_mode=automation_mode)
    return () if envelope is None else _volume(text, envelope, name)


def read_pan(
    text: ProjectText, channel: Chunk, keyword: str, *, name: str, automation_mode: float
) -> tuple[PanPoint, ...]:
    """The post-effects pan envelope of a track or the master; see `read_volume`."""
    envelope = _active(text, channel, keyword, name=name, automation_mode=automation_mode)
    return () if envelope is None else _pan(text, envelope, name)


def _active(text: ProjectText, channel: Chunk, keyword: str, *, name: str, automation_mode: float) -> Chunk | None:
    """The envelope of a kind that plays, in a mode that is known."""
    envelopes = [e for e in channel.chunks(keyword) if is_active(text, e)]
    if not envelopes:
        return None
    _replaces(text, envelopes[-1], name, automation_mode)
    return envelopes[-1]


def _replaces(text: ProjectText, envelope: Chunk, name: str, automation_mode: float) -> bool:
    """Whether a mode lets an envelope play in place of its fader; `name` is whose envelope it is."""
    if automation_mode != TRIM_READ and automation_mode not in _FADER_REPLACED:
        raise text.error(
            envelope.number, f"{name}: its automation mode ({automation_mode:g}) is not read; set it to trim/read"
        )
    return automation_mode != TRIM_READ


def _volume(text: ProjectText, envelope: Chunk, name: str) -> tuple[VolumePoint, ...]:
    (fader_scale,) = text.numbers(envelope, "VOLTYPE", (0.0,))
    points = _points(text, envelope, name, _GAIN, along_fader=fader_scale != 0)
    levels_db = ((time_s, max(gain_to_db(gain), SILENCE_DB)) for time_s, gain in points)
    return tuple(VolumePoint(time_s=time_s, gain_db=round(level_db, _GAIN_DIGITS)) for time_s, level_db in levels_db)


def _pan(text: ProjectText, envelope: Chunk, name: str) -> tuple[PanPoint, ...]:
    points = _points(text, envelope, name, _PAN, along_fader=False)
    # Nothing is added so that the centre has no sign.
    return tuple(PanPoint(time_s=time_s, pan=PAN_ENVELOPE_SIGN * value + 0.0) for time_s, value in points)


@dataclass(frozen=True)
class _Values:
    """What the points of an envelope hold: its name, their range, and what is said where they leave it."""

    envelope: str
    lowest: float
    highest: float
    words: str


_GAIN = _Values("volume envelope", 0.0, math.inf, "needs a time and a gain, both from 0 up")
_PAN = _Values("pan envelope", -1.0, 1.0, "needs a time from 0 up and a pan between -1 and 1")


@dataclass(frozen=True)
class _Point:
    line: Line
    time_s: float
    value: float
    shape: float


def _points(
    text: ProjectText, envelope: Chunk, name: str, values: _Values, *, along_fader: bool
) -> Iterator[tuple[float, float]]:
    """Times (s) and values such that straight lines connect them; a step becomes two points at one time.

    `along_fader` says that REAPER's lines are straight along the fader's scale instead.
    """
    what = f"{name}: its {values.envelope}"
    for line in envelope.lines(_ITEMS):
        raise text.error(line.number, f"{name}: automation items are not read; delete them but preserve their points")
    points = [_point(text, line, what, values) for line in envelope.lines("PT")]
    yield points[0].time_s, points[0].value
    for point, following in pairwise(points):
        if following.time_s < point.time_s:
            raise text.error(following.line.number, f"{what} is not in the order of time")
        if following.value != point.value and following.time_s > point.time_s:
            if point.shape == _SQUARE:
                yield following.time_s, point.value
            elif point.shape != _LINEAR:
                raise text.error(point.line.number, f"{what} is curved; set the shape to linear")
            elif along_fader:
                raise text.error(point.line.number, f"{what} runs along the fader's scale; set it to amplitude scaling")
        yield following.time_s, following.value


def _point(text: ProjectText, line: Line, what: str, values: _Values) -> _Point:
    numbers = [text.number_of(token, line) for token in text.tokens(line)[1:4]]
    if len(numbers) < 2 or numbers[0] < 0 or not values.lowest <= numbers[1] <= values.highest:
        raise text.error(line.number, f"{what} {values.words}")
    return _Point(line, numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else _LINEAR)


def split_at_taps(
    channel: Channel, taps: Collection[Tap], *, to_parent: bool, unused_id: Callable[[str], str]
) -> tuple[list[Channel], dict[Tap, str]]:
    """Cut a channel into several in a row, so that each tap is the end of one of them.

    A chain knows sends behind the fader alone; what a track sends from before it comes from a
    channel of its own.

    Parameters
    ----------
    channel : Channel
        The whole track; its id stays that of the first part, which is what others feed.
    taps : collection of Tap
        Where sends leave it.
    to_parent : bool
        Whether the track plays into its parent at all.
    unused_id : callable
        Makes an id unique.

    Returns
    -------
    parts : list of Channel
        In signal order.
    ends : dict of Tap to str
        Id of the part that ends at each tap.
    """
    parts: list[dict[str, object]] = [{}]
    places: dict[Tap, int] = {}
    for tap, fields in _ACTS_BEFORE.items():
        parts[-1] |= {name: getattr(channel, name) for name in fields}
        places[tap] = len(parts) - 1
        if tap in taps and tap is not Tap.FADER:
            parts.append({})
    if not to_parent:
        if Tap.FADER in taps:
            parts.append({})
        parts[-1]["gain"] = 0.0
    ids = [channel.id, *(unused_id(f"{channel.id} part {number}") for number in range(2, len(parts) + 1))]
    found = [
        Channel(
            id=ids[index],
            name=channel.name if index == 0 else f"{channel.name}, part {index + 1}",
            kind=channel.kind if index == 0 else "bus",
            parent=ids[index + 1] if index + 1 < len(parts) else channel.parent,
            source=channel.source if index == 0 else None,
            **part,  # type: ignore[arg-type]
        )
        for index, part in enumerate(parts)
    ]
    return found, {tap: ids[place] for tap, place in places.items()}
