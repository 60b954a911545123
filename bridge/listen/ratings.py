"""The results a listener downloads: their two file forms, read and written alike; statistics live in `analysis`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import ListenError

FORMAT: Literal["mixbridge-listening"] = "mixbridge-listening"
SCHEMA_VERSION: Literal[1] = 1

HIGHEST_SCORE = 100

#: A result file larger than this is refused unread.
MAX_FILE_BYTES = 16 * 1024 * 1024

_Text = Annotated[str, Field(max_length=10_000)]
_Name = Annotated[str, Field(min_length=1, max_length=1000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Rating(_Model):
    """What one sound was given.

    Attributes
    ----------
    condition, title : str
        What it was.
    label : str
        The letter it had on the page.
    score : int
        0 (bad) to 100 (excellent).
    gain_db : float
        By how much it was turned up to be as loud as the others.
    """

    condition: _Name
    title: _Text
    label: _Name
    score: Annotated[int, Field(ge=0, le=HIGHEST_SCORE)]
    gain_db: float


class RatedSong(_Model):
    """One trial.

    Attributes
    ----------
    position : int
        When it came, from 1.
    seconds : float
        For how long the listener had it before them.
    """

    song: _Name
    position: Annotated[int, Field(ge=1)]
    start_s: float
    end_s: float
    loudness_lufs: float
    seconds: Annotated[float, Field(ge=0.0)]
    ratings: Annotated[tuple[Rating, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _no_condition_twice(self) -> Self:
        if len({rating.condition for rating in self.ratings}) < len(self.ratings):
            raise ValueError(f"{self.song}: a condition was rated twice")
        return self


class TestInfo(_Model):
    """Which test it was."""

    __test__ = False  # not a test case, whatever its name

    id: _Name
    title: _Text
    seed: int


class Ratings(_Model):
    """All that one listener rated.

    Attributes
    ----------
    started, finished : str
        Times as the browser tells them (ISO 8601).
    """

    format: Literal["mixbridge-listening"] = FORMAT
    schema_version: Literal[1] = SCHEMA_VERSION
    test: TestInfo
    participant: _Name
    comment: _Text = ""
    started: _Text = ""
    finished: _Text = ""
    songs: Annotated[tuple[RatedSong, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _no_song_twice(self) -> Self:
        if len({song.song for song in self.songs}) < len(self.songs):
            raise ValueError("a song was rated twice")
        if len({song.position for song in self.songs}) < len(self.songs):
            raise ValueError("two songs came at the same position")
        return self

    def to_json(self) -> str:
        """As the page's JSON download."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=True, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """As the page's CSV download: one line per rating, with all that JSON has."""
        stream = io.StringIO()
        writer = csv.writer(stream, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
        writer.writerow(csv_columns())
        writer.writerows(self._rows())
        return stream.getvalue()

    def _rows(self) -> Iterator[list[object]]:
        head = (FORMAT, SCHEMA_VERSION, self.test.id, self.test.title, self.test.seed)
        who = (self.participant, self.comment, self.started, self.finished)
        for s in self.songs:
            what = (s.song, s.position, repr(s.start_s), repr(s.end_s), repr(s.loudness_lufs), repr(s.seconds))
            for r in s.ratings:
                yield [*head, *who, *what, r.condition, r.title, r.label, r.score, repr(r.gain_db)]


_INTEGERS = frozenset(("schema_version", "seed", "position", "score"))
_NUMBERS = frozenset(("start_s", "end_s", "loudness_lufs", "seconds", "gain_db"))
_OF_TEST, _OF_LISTENER = ("id", "title", "seed"), ("participant", "comment", "started", "finished")
_OF_SONG = ("song", "position", "start_s", "end_s", "loudness_lufs", "seconds")
_OF_RATING = ("condition", "title", "label", "score", "gain_db")


def csv_columns() -> list[str]:
    """Headings of the CSV form."""
    rated = ["condition_title" if name == "title" else name for name in _OF_RATING]
    return ["format", "schema_version", *(f"test_{name}" for name in _OF_TEST), *_OF_LISTENER, *_OF_SONG, *rated]


def read_ratings(path: Path) -> list[Ratings]:
    """Read one downloaded file: JSON of one listener or a list of such, or CSV of one or more listeners.

    Raises
    ------
    ListenError
        If the file is missing, too large, or not a result.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ListenError(f"{path}: larger than {MAX_FILE_BYTES} bytes; this is not a result of a listening test")
        text = path.read_bytes().decode("utf-8-sig")  # line ends inside of cells stay as they are
    except OSError as error:
        raise ListenError(f"{path}: cannot read the results ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise ListenError(f"{path}: not a text in UTF-8; give the file as it was downloaded") from None
    try:
        data = json.loads(text) if text.lstrip()[:1] in ("{", "[") else _from_csv(text)
        return [Ratings.model_validate_json(json.dumps(one)) for one in (data if isinstance(data, list) else [data])]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ListenError(f"{path}: not a result of a listening test ({where}: {first['msg']})") from None
    except (ValueError, RecursionError, csv.Error) as error:
        raise ListenError(f"{path}: not a result of a listening test ({error}); download it again") from None


def _from_csv(text: str) -> list[dict[str, Any]]:
    """What the JSON form of the same results holds."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    columns = csv_columns()
    if not rows or rows[0] != columns:
        raise ValueError("neither JSON nor CSV with the headings of the page")
    lines = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(columns):
            raise ValueError(f"line {number} has {len(row)} cells and should have {len(columns)}")
        lines.append({name: _value(name, cell, number) for name, cell in zip(columns, row, strict=True)})

    def listener(line: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(line[name] for name in columns[: columns.index("song")])

    return [_listener(list(of_one)) for _, of_one in groupby(lines, key=listener)]


def _value(name: str, cell: str, number: int) -> str | int | float:
    try:
        bare = name.removeprefix("test_")
        return int(cell) if bare in _INTEGERS else float(cell) if bare in _NUMBERS else cell
    except ValueError:
        raise ValueError(f"line {number}: {cell!r} is not a number ({name})") from None


def _listener(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = lines[0]
    songs = []
    for _, group in groupby(lines, key=lambda line: (line["position"], line["song"])):
        rated = list(group)
        ratings = [
            {name: line["condition_title" if name == "title" else name] for name in _OF_RATING} for line in rated
        ]
        songs.append({name: rated[0][name] for name in _OF_SONG} | {"ratings": ratings})
    return {
        "format": first["format"],
        "schema_version": first["schema_version"],
        "test": {name: first[f"test_{name}"] for name in _OF_TEST},
        **{name: first[name] for name in _OF_LISTENER},
        "songs": songs,
    }
