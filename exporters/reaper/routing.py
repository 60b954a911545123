"""Reads the sends and the volume envelopes of a project as a chain has them; no other part of a track is read here.

Only what a chain can hold exactly is read. The rest is refused with its line and the name of the
track: REAPER states neither how it pans sends nor how its fader scale runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from ...bridge.processors.equations import gain_to_db
from ..chain import Channel, VolumePoint
from .project import TRIM_READ
from .tree import Chunk, Line, ProjectText

#: What a point of silence is read as; nothing is louder than 1e-15 behind it.
SILENCE_DB = -300.0

#: Decibels are rounded far below anything audible, so that what was written as -3.5 dB reads so.
_GAIN_DIGITS = 10

#: Modes in which REAPER plays envelopes in place of the fader while nobody touches it: read, touch, latch.
_FADER_REPLACED = (1, 2, 4)

_LINEAR, _SQUARE = 0, 1


class Tap(Enum):
    """Behind what a send takes its signal, in the order the signal gets there."""

    INPUT = "input"
    INSERTS = "inserts"
    FADER = "fader"


#: Fields of a channel that act before a tap and after the one before it.
_ACTS_BEFORE = {Tap.INPUT: (), Tap.INSERTS: ("inserts",), Tap.FADER: ("gain", "pan", "volume")}


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
    """

    source_index: int
    tap: Tap
    gain: float


@dataclass(frozen=True)
class Volume:
    """A volume envelope; without points the fader stands still.

    Attributes
    ----------
    replaces_fader : bool
        Whether the envelope plays in place of the fader rather than on top of it.
    """

    points: tuple[VolumePoint, ...] = ()
    replaces_fader: bool = False


def read_receives(
    text: ProjectText, track: Chunk, *, name: str, names: Sequence[str], pan_law: float
) -> Iterator[Receive]:
    """What a track receives; muted sends and those without audio are left out.

    Parameters
    ----------
    name : str
        Of the track.
    names : sequence of str
        Of all tracks, in the order of the file.
    pan_law : float
        The project's, linear.

    Raises
    ------
    SessionFileError
        For a send that changes more than the level.
    """
    for line in track.lines("AUXRECV"):
        # The pan law comes as "-1:U".
        tokens = [token.partition(":")[0] for token in text.tokens(line)[1:11]]
        given = [text.number_of(token, line) for token in tokens]
        if not given:
            raise text.error(line.number, f"{name}: a send without a source")
        defaults = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]
        source, mode, gain, pan, mute, mono, inverted, from_channel, to_channel, law = [*given, *defaults[len(given) :]]
        if source != round(source) or not 0 <= source < len(names):
            raise text.error(line.number, f"{name}: receives from a track that is not there")
        if mute or from_channel < 0:
            continue
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
                raise text.error(line.number, f"{name}: the send from {names[int(source)]!r} {words}")
        yield Receive(int(source), _TAP_OF_MODE[int(mode)], gain)


def is_active(text: ProjectText, envelope: Chunk) -> bool:
    """Whether an envelope does anything: it is switched on and has points."""
    return text.numbers(envelope, "ACT", (1.0,))[0] != 0 and envelope.line("PT") is not None


def read_volume(text: ProjectText, channel: Chunk, keyword: str, *, name: str, automation_mode: float) -> Volume:
    """The post-effects volume envelope of a track or the master.

    Parameters
    ----------
    keyword : str
        Of the envelope's block.
    automation_mode : float
        As AUTOMODE has it.

    Raises
    ------
    SessionFileError
        For points that straight lines in amplitude cannot connect as REAPER does, for automation
        items, and for modes in which playing would write.
    """
    envelopes = [e for e in channel.chunks(keyword) if is_active(text, e)]
    if not envelopes:
        return Volume()
    envelope = envelopes[-1]
    if automation_mode != TRIM_READ and automation_mode not in _FADER_REPLACED:
        raise text.error(
            envelope.number, f"{name}: its automation mode ({automation_mode:g}) is not read; set it to trim/read"
        )
    for line in envelope.lines("POOLEDENVINST"):
        raise text.error(line.number, f"{name}: automation items are not read; delete them but preserve their points")
    return Volume(tuple(_points(text, envelope, name)), automation_mode != TRIM_READ)


@dataclass(frozen=True)
class _Point:
    line: Line
    time_s: float
    gain: float
    shape: float


def _points(text: ProjectText, envelope: Chunk, name: str) -> Iterator[VolumePoint]:
    """The points such that straight lines connect them; a step becomes two points at one time."""
    points = [_point(text, line, name) for line in envelope.lines("PT")]
    (fader_scale,) = text.numbers(envelope, "VOLTYPE", (0.0,))
    yield _volume_point(points[0].time_s, points[0].gain)
    for point, following in pairwise(points):
        if following.time_s < point.time_s:
            raise text.error(following.line.number, f"{name}: its volume envelope is not in the order of time")
        if following.gain != point.gain and following.time_s > point.time_s:
            if point.shape == _SQUARE:
                yield _volume_point(following.time_s, point.gain)
            elif point.shape != _LINEAR:
                raise text.error(point.line.number, f"{name}: its volume envelope is curved; set the shape to linear")
            elif fader_scale:
                raise text.error(
                    point.line.number,
                    f"{name}: its volume envelope runs along the fader's scale; set it to amplitude scaling",
                )
        yield _volume_point(following.time_s, following.gain)


def _point(text: ProjectText, line: Line, name: str) -> _Point:
    numbers = [text.number_of(token, line) for token in text.tokens(line)[1:4]]
    if len(numbers) < 2 or numbers[0] < 0 or numbers[1] < 0:
        raise text.error(line.number, f"{name}: its volume envelope needs a time and a gain, both from 0 up")
    return _Point(line, numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else _LINEAR)


def _volume_point(time_s: float, gain: float) -> VolumePoint:
    gain_db = max(gain_to_db(gain), SILENCE_DB)
    return VolumePoint(time_s=time_s, gain_db=round(gain_db, _GAIN_DIGITS))


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
