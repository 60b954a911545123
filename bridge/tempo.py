"""Tempo maps: tempo, bars and markers of a song, read from MIDI files, and note values; no DAW's format lives here."""

from __future__ import annotations

import codecs
import io
import math
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import mido
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import ParameterError, TempoMapError

#: Tempi a map may hold (quarter notes per minute): what the tempo map of a DAW takes.
MIN_BPM, MAX_BPM = 1.0, 960.0

#: Highest numerator of a time signature, and its denominators.
MAX_NUMERATOR = 255
DENOMINATORS = (1, 2, 4, 8, 16, 32, 64)

#: A MIDI file larger than this is refused unread: a song with all its notes stays far below.
MAX_FILE_BYTES = 4 * 1024 * 1024

#: More tempo changes or markers than this are no tempo map anybody works with.
MAX_EVENTS = 20_000

#: A time this near to a note value, as a share of it, has that note value.
NOTE_TOLERANCE = 0.01

#: Note values from a whole note to 1/32.
DIVISIONS = (1, 2, 4, 8, 16, 32)

#: Points nearer to a bar line than this lie on it (quarter notes): times are rounded to ticks.
_ON_THE_BAR = 1e-3

#: Times nearer to each other than this are the same (s).
_SAME_TIME_S = 1e-6

_MICROSECONDS = 1_000_000

#: Frames per second by the number that stands for them in a file; 29 is NTSC's drop frame.
_SMPTE_RATES = {24: Fraction(24), 25: Fraction(25), 29: Fraction(30_000, 1001), 30: Fraction(30)}

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

#: What the MIDI library raises for a damaged file, by what it stumbles upon.
_BROKEN = (OSError, EOFError, ValueError, LookupError, TypeError, struct.error, mido.KeySignatureError)

Kind = Literal["straight", "dotted", "triplet"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class TempoPoint(_Frozen):
    """A tempo and time signature that hold from a time on.

    Attributes
    ----------
    time_s : float >= 0
    bpm : float, `MIN_BPM` to `MAX_BPM`
        Quarter notes per minute, in every time signature.
    numerator : int, 1 to `MAX_NUMERATOR`
    denominator : int, one of `DENOMINATORS`
    new_bar : bool
        A bar begins here, even if the one before is not full.
    """

    time_s: Annotated[float, Field(ge=0.0)]
    bpm: Annotated[float, Field(ge=MIN_BPM, le=MAX_BPM)]
    numerator: Annotated[int, Field(ge=1, le=MAX_NUMERATOR)] = 4
    denominator: int = 4
    new_bar: bool = False

    @field_validator("denominator")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value not in DENOMINATORS:
            raise ValueError(f"{value} is not one of {', '.join(map(str, DENOMINATORS))}")
        return value

    @property
    def signature(self) -> tuple[int, int]:
        """Numerator and denominator."""
        return self.numerator, self.denominator

    @property
    def bar(self) -> float:
        """Length of a bar in quarter notes."""
        return 4.0 * self.numerator / self.denominator


class Marker(_Frozen):
    """A named place in a song.

    Attributes
    ----------
    time_s : float >= 0
    name : str
        On one line; may be empty.
    """

    time_s: Annotated[float, Field(ge=0.0)]
    name: str = ""


#: What holds where a file says nothing.
DEFAULT_POINT = TempoPoint(time_s=0.0, bpm=120.0, new_bar=True)


class TempoMap(_Frozen):
    """Tempo, time signatures and markers over time; immutable.

    Attributes
    ----------
    points : tuple of TempoPoint
        At least one. The first lies at 0 and begins a bar, their times grow, and a change of the
        time signature begins a bar. A tempo holds up to the next point.
    markers : tuple of Marker
        In order of time.
    """

    points: Annotated[tuple[TempoPoint, ...], Field(strict=False, min_length=1)] = (DEFAULT_POINT,)
    markers: Annotated[tuple[Marker, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        first = self.points[0]
        if first.time_s != 0.0 or not first.new_bar:
            raise ValueError("points.0: the first point must lie at 0 and begin a bar")
        for index, (earlier, later) in enumerate(pairwise(self.points), start=1):
            if later.time_s <= earlier.time_s:
                raise ValueError(f"points.{index}.time_s: the times must grow from point to point")
            if later.signature != earlier.signature and not later.new_bar:
                raise ValueError(f"points.{index}.new_bar: a new time signature begins a bar")
        if any(later.time_s < earlier.time_s for earlier, later in pairwise(self.markers)):
            raise ValueError("markers: must be in order of time")
        return self

    def tempo_at(self, time_s: float) -> TempoPoint:
        """The point that holds at a time (s); the first one before 0."""
        return self.points[self._index_at(time_s)]

    def _index_at(self, time_s: float) -> int:
        return max(bisect_right(self.points, time_s, key=lambda p: p.time_s) - 1, 0)

    def prevailing_bpm(self, duration_s: float) -> float:
        """The one tempo that stands for a whole song.

        It is the median over time: the tempo that holds longest where there are two, the middle
        one where the tempo drifts.

        Parameters
        ----------
        duration_s : float
            Length of the song; with 0 or less the first tempo is taken.
        """
        ends = [p.time_s for p in self.points[1:]] + [math.inf]
        spans = sorted(
            (point.bpm, min(end, duration_s) - point.time_s)
            for point, end in zip(self.points, ends, strict=True)
            if point.time_s < duration_s
        )
        past = 0.0
        for bpm, span_s in spans:
            past += span_s
            if past >= duration_s / 2:
                return bpm
        return self.points[0].bpm

    def _into_bars(self) -> Iterator[float]:
        """How far into a bar each point lies by the bars before it (quarter notes; 0 on a bar line)."""
        into = 0.0
        yield into
        for before, point in pairwise(self.points):
            into = _into_bar(0.0 if before.new_bar else into, before, point.time_s - before.time_s)
            yield into

    def cut_bars(self) -> tuple[bool, ...]:
        """For every point, whether a bar begins there before the one ahead of it is full."""
        return tuple(p.new_bar and into > 0.0 for p, into in zip(self.points, self._into_bars(), strict=True))

    def shifted(self, by_s: float) -> TempoMap:
        """The map of an excerpt that begins `by_s` seconds into the song.

        Where that is inside a bar, the excerpt begins with the rest of this bar.

        Raises
        ------
        ParameterError
            If `by_s` is negative.
        """
        if by_s < 0.0:
            raise ParameterError(f"a tempo map cannot begin {-by_s:g} s before the song; choose 0 or more")
        index = self._index_at(by_s)
        here = self.points[index]
        into = 0.0 if here.new_bar else list(self._into_bars())[index]
        into = _into_bar(into, here, by_s - here.time_s)
        points = [here.model_copy(update={"time_s": 0.0, "new_bar": True})]
        points += [p.model_copy(update={"time_s": p.time_s - by_s}) for p in self.points[index + 1 :]]
        if into > 0.0:
            points = _with_bar_after(points, here.bar - into)
        markers = [
            m.model_copy(update={"time_s": max(m.time_s - by_s, 0.0)})
            for m in self.markers
            if m.time_s >= by_s - _SAME_TIME_S
        ]
        return TempoMap(points=tuple(points), markers=tuple(markers))

    def simplified(self) -> TempoMap:
        """The same map without points that say nothing new."""
        kept = [self.points[0]]
        into = list(self._into_bars())
        for index, point in enumerate(self.points[1:], start=1):
            same = (point.bpm, point.signature) == (kept[-1].bpm, kept[-1].signature)
            if not same or (point.new_bar and into[index] > 0.0):
                kept.append(point)
        return self.model_copy(update={"points": tuple(kept)})


def _into_bar(into: float, point: TempoPoint, span_s: float) -> float:
    """Where in a bar one is `span_s` after a point that lies `into` (both in quarter notes; 0 on a bar line)."""
    rest = (into + span_s * point.bpm / 60.0) % point.bar
    return 0.0 if min(rest, point.bar - rest) < _ON_THE_BAR else rest


def _with_bar_after(points: Sequence[TempoPoint], rest: float) -> list[TempoPoint]:
    """Points among which a bar begins `rest` quarter notes after the first, unless one begins before."""
    for index, point in enumerate(points):
        if index and point.new_bar:
            break
        following = points[index + 1] if index + 1 < len(points) else None
        time_s = point.time_s + rest * 60.0 / point.bpm
        if following is None or time_s < following.time_s - _SAME_TIME_S:
            begun = point.model_copy(update={"time_s": time_s, "new_bar": True})
            return [*points[: index + 1], begun, *points[index + 1 :]]
        if time_s < following.time_s + _SAME_TIME_S:
            begun = following.model_copy(update={"new_bar": True})
            return [*points[: index + 1], begun, *points[index + 2 :]]
        rest -= (following.time_s - point.time_s) * point.bpm / 60.0
    return list(points)


# --------------------------------------------------------------------------- note values


@dataclass(frozen=True)
class NoteValue:
    """A note value, such as ``1/8 dotted``.

    Attributes
    ----------
    division : int
        One of `DIVISIONS`: 4 for a quarter note.
    kind : {"straight", "dotted", "triplet"}
    """

    division: int
    kind: Kind = "straight"

    def __str__(self) -> str:
        return f"1/{self.division}" + (f" {self.kind}" if self.kind != "straight" else "")

    def time_ms(self, bpm: float) -> float:
        """How long it lasts at a tempo (quarter notes per minute)."""
        whole_ms = 240_000.0 / bpm
        # The times of round tempi stay round: multiplied first, divided last.
        times, parts = {"straight": (1, 1), "dotted": (3, 2), "triplet": (2, 3)}[self.kind]
        return whole_ms * times / (parts * self.division)


_KINDS: tuple[Kind, ...] = ("straight", "dotted", "triplet")
_NOTE_VALUES = tuple(NoteValue(division, kind) for division in DIVISIONS for kind in _KINDS)


def note_value(time_ms: float, *, bpm: float, tolerance: float = NOTE_TOLERANCE) -> NoteValue | None:
    """The note value a time has at a tempo.

    Parameters
    ----------
    time_ms : float
    bpm : float > 0
        Quarter notes per minute.
    tolerance : float
        By how much the time may differ, as a share of the note value.

    Returns
    -------
    NoteValue or None
        The nearest from 1/1 to 1/32, straight, dotted or triplet; None if none is near enough.
    """
    nearest = min(_NOTE_VALUES, key=lambda note: abs(time_ms / note.time_ms(bpm) - 1.0))
    length_ms = nearest.time_ms(bpm)
    # A time at the very edge counts, whatever its last digit.
    return nearest if abs(time_ms - length_ms) <= tolerance * length_ms * (1.0 + 1e-9) else None


# ---------------------------------------------------------------------------- MIDI files


def read_tempo_map(path: Path) -> TempoMap:
    """Read tempo, time signatures and markers from a Standard MIDI File; its notes are passed over.

    Parameters
    ----------
    path : Path
        Of type 0 or 1, with ticks per quarter note or per SMPTE frame.

    Returns
    -------
    TempoMap
        120 quarter notes per minute in 4/4 where the file says nothing else.

    Raises
    ------
    TempoMapError
        If the file is missing, too large, damaged, of type 2 or holds what no DAW's tempo map takes.
    """
    midi = _parsed(path)
    if midi.type == 2:
        raise TempoMapError(f"{path}: its tracks run independently (type 2); save it as type 0 or 1")
    events = _events(midi.tracks)
    if len(events) > MAX_EVENTS:
        raise TempoMapError(f"{path}: more than {MAX_EVENTS} tempo changes and markers; save the tempo track anew")
    try:
        return _tempo_map(events, midi.ticks_per_beat)
    except ValueError as error:
        raise TempoMapError(
            f"{path}: not a usable tempo map ({_reason(error)}); export the tempo track from the DAW again"
        ) from None


def _reason(error: ValueError) -> str:
    """What is wrong, in one line: that of the first field for an error of the model."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def _parsed(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise TempoMapError(
                f"{path}: larger than {MAX_FILE_BYTES // 2**20} MiB; save the tempo track without the notes"
            )
        data = path.read_bytes()
    except OSError as error:
        raise TempoMapError(f"{path}: cannot read the MIDI file ({error.strerror}); check the path") from None
    try:
        return mido.MidiFile(file=io.BytesIO(data), clip=True)
    except _BROKEN as error:
        words = str(error) or "it ends too early"
        raise TempoMapError(
            f"{path}: not a readable MIDI file ({words}); export the tempo track from the DAW again"
        ) from None


def _events(tracks: Sequence[Sequence[Any]]) -> list[tuple[int, Any]]:
    """Tempi, time signatures and markers of all tracks with their ticks, in order of time."""
    found = []
    for track in tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type in ("set_tempo", "time_signature", "marker", "cue_marker"):
                found.append((tick, message))
    return sorted(found, key=lambda event: event[0])


def _smpte_tick_s(division: int) -> Fraction:
    """Length of a tick in a file whose division is negative: frames per second and ticks per frame."""
    frames, ticks = -(division >> 8), division & 0xFF
    if frames not in _SMPTE_RATES or not ticks:
        raise ValueError(f"a division of {frames} frames and {ticks} ticks is unknown")
    return 1 / (_SMPTE_RATES[frames] * ticks)


def _tempo_map(events: Sequence[tuple[int, Any]], division: int) -> TempoMap:
    """Events as a map; times are exact up to the last rounding."""
    if division == 0:
        raise ValueError("a quarter note has no ticks")
    fixed_s = _smpte_tick_s(division) if division < 0 else None
    points, markers = [DEFAULT_POINT], []
    tempo_us, now, before = 500_000, Fraction(0), 0
    for tick, message in events:
        now += (tick - before) * (fixed_s or Fraction(tempo_us, _MICROSECONDS * division))
        before = tick
        if message.type in ("marker", "cue_marker"):
            markers.append(Marker(time_s=float(now), name=_decoded(message.text)))
            continue
        # The last one holds that stands at a time, whichever track it is from.
        last, time_s = points[-1], float(now)
        last = points.pop() if last.time_s == time_s else last.model_copy(update={"new_bar": False})
        if message.type == "set_tempo":
            if message.tempo == 0:
                raise ValueError("a quarter note that lasts 0 s")
            tempo_us = message.tempo
            new: dict[str, Any] = {"bpm": 60.0 * _MICROSECONDS / tempo_us}
        else:
            new = {"numerator": message.numerator, "denominator": message.denominator, "new_bar": True}
        points.append(TempoPoint.model_validate({**last.model_dump(), "time_s": time_s, **new}))
    return TempoMap(points=tuple(points), markers=tuple(markers)).simplified()


def _decoded(text: str) -> str:
    """The text of a meta event on one line; the library has read every byte as a character.

    The format names no encoding: UTF-8 is recognised with certainty, what is not gets the usual one
    of Windows.
    """
    data = text.encode("latin-1")
    encodings = ["utf-16"] if data.startswith(_UTF16_MARKS) else []
    for encoding in [*encodings, "utf-8-sig", "cp1252"]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        break
    return " ".join(text.replace("\x00", " ").split())
