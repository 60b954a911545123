"""The text layer of REAPER's project files, read: chunks, lines, tokens and numbers; what they mean is in `read`.

It is as tolerant as REAPER itself and knows no keyword but those a file begins with. `rpp` is its counterpart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...bridge.errors import MixbridgeError, Obstacle, SessionFileError

#: A project larger than this is refused unread.
MAX_FILE_BYTES = 64 * 1024 * 1024

#: A project of more lines is refused unparsed; MIDI and plugin states of a long film stay below a quarter of it.
MAX_LINES = 2_000_000

#: Chunks within chunks; REAPER itself stays below ten.
_MAX_DEPTH = 100

_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)", re.ASCII)
_LEADING_NUMBER = re.compile(_NUMBER.pattern + r"(?:[eE][-+]?\d+)?", re.ASCII)
_QUOTES = "\"'`"

#: What a file of effects or of tracks begins with; everything else that is not a project is no file of REAPER's.
_FRAGMENT_KEYWORDS = frozenset(
    (
        "BYPASS", "WNDRECT", "SHOW", "LASTSEL", "DOCKED", "TRACK", "FXCHAIN", "TAKEFX",
        "VST", "JS", "AU", "CLAP", "LV2", "DX", "VIDEO_EFFECT", "CONTAINER",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its indent, and where it stands in the file (from 1)."""

    text: str
    number: int

    @property
    def keyword(self) -> str:
        """Its first token."""
        # Blanks of other kinds than these two part nothing.
        return self.text.lstrip(" \t").partition(" ")[0].partition("\t")[0]


@dataclass(slots=True)
class Chunk:
    """A block of the file: its first line without the ``<``, and the lines and blocks within, in order."""

    head: Line
    items: list[Line | Chunk] = field(default_factory=list)

    @property
    def keyword(self) -> str:
        """What kind of block it is."""
        return self.head.keyword

    @property
    def number(self) -> int:
        """Where it begins."""
        return self.head.number

    def chunks(self, keyword: str) -> list[Chunk]:
        """The blocks of that kind directly within."""
        return [i for i in self.items if isinstance(i, Chunk) and i.keyword == keyword]

    def lines(self, keyword: str) -> list[Line]:
        """The lines of that keyword directly within."""
        return [i for i in self.items if isinstance(i, Line) and i.keyword == keyword]

    def line(self, keyword: str) -> Line | None:
        """The last line of that keyword, as REAPER itself takes it."""
        found = self.lines(keyword)
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


def leading_number(token: str) -> float | None:
    """The number that a token begins with, as REAPER itself takes it ("-1:U" is -1); None for none and for infinity."""
    found = _LEADING_NUMBER.match(token)
    value = float(found[0].replace(",", ".")) if found else math.nan
    return value if math.isfinite(value) else None


class ProjectText:
    """A project file as a tree, with errors that name the line.

    Parameters
    ----------
    path : Path
    fragments : bool
        Also read files of effects (``.RfxChain``) and of tracks (``.RTrackTemplate``), which hold what a
        project holds further in; `root` then has no keyword.

    Attributes
    ----------
    root : Chunk
    rest_number : int or None
        Where text begins that stands behind the end of the project, which REAPER does not read.

    Raises
    ------
    SessionFileError
        If the file cannot be read, is too large or is not a project; from every method when the
        text is not what it should be.
    """

    def __init__(self, path: Path, *, fragments: bool = False) -> None:
        self.path = path
        self.rest_number: int | None = None
        data = self._read()
        # Blank lines cost memory without end, too, so that they count.
        if data.count(b"\n") >= MAX_LINES:
            raise SessionFileError(f"{path}: more than {MAX_LINES} lines; split it into several projects")
        # Names of files that are not valid text keep their bytes.
        text = data.decode("utf-8-sig", "surrogateescape")
        self.root = self._parse(text, fragments=fragments)

    def _read(self) -> bytes:
        path = self.path
        try:
            size = path.stat().st_size
            if size <= MAX_FILE_BYTES:
                return path.read_bytes()
        except OSError as error:
            raise SessionFileError(f"{path}: cannot read the project ({error.strerror}); check the path") from None
        except ValueError:
            raise SessionFileError(f"{path}: cannot read the project (no valid file name); check the path") from None
        raise SessionFileError(f"{path}: larger than {MAX_FILE_BYTES} bytes; split it into several projects")

    def _parse(self, text: str, *, fragments: bool) -> Chunk:
        open_chunks: list[Chunk] = []
        closed: Chunk | None = None
        for number, raw in enumerate(text.split("\n"), start=1):
            line = raw.strip(" \t\r")
            if not line:
                continue
            if closed is not None:
                self.rest_number = number
                return closed
            bare = line[1:] if line[0] in _QUOTES and line[1:2] == "<" else line
            found = Line(bare.removeprefix("<"), number)
            if not open_chunks:
                if line.startswith(">"):
                    raise self.error(number, "a block ends that did not begin")
                is_project = bare.startswith("<") and found.keyword == "REAPER_PROJECT"
                if not is_project and not (fragments and found.keyword in _FRAGMENT_KEYWORDS):
                    raise self.error(number, "this is not a REAPER project")
                if not is_project:
                    open_chunks.append(Chunk(Line("", 0)))
            if bare.startswith("<"):
                self._open(Chunk(found), open_chunks)
            elif line.startswith(">"):
                closed = self._close(number, open_chunks)
            else:
                open_chunks[-1].items.append(found)
        if open_chunks and open_chunks[-1].number:
            raise self.error(open_chunks[-1].number, f"the block {open_chunks[-1].keyword} does not end; export again")
        root = open_chunks[0] if open_chunks else closed
        if root is None:
            raise SessionFileError(f"{self.path}: the file is empty; export the project again")
        return root

    def _open(self, chunk: Chunk, open_chunks: list[Chunk]) -> None:
        if open_chunks:
            open_chunks[-1].items.append(chunk)
        open_chunks.append(chunk)
        if len(open_chunks) > _MAX_DEPTH:
            raise self.error(chunk.number, f"more than {_MAX_DEPTH} blocks within each other")

    def _close(self, number: int, open_chunks: list[Chunk]) -> Chunk | None:
        """End the innermost block; return the project when that is it."""
        if not open_chunks[-1].number:
            raise self.error(number, "a block ends that did not begin")
        chunk = open_chunks.pop()
        return None if open_chunks else chunk

    def error(self, number: int, words: str, *, kind: type[MixbridgeError] = SessionFileError) -> MixbridgeError:
        """An error about the line of that number, which is its one obstacle."""
        error = kind(f"{self.path}: line {number}: {words}")
        error.obstacles = (Obstacle(number, words),)
        return error

    def tokens(self, line: Line) -> list[str]:
        """The tokens of a line, its keyword included."""
        found = tokens_of(line.text)
        if found is None:
            raise self.error(line.number, "a quote is not closed")
        return found

    def number_of(self, token: str, line: Line) -> float:
        """A token as a number; `line` is where it stands."""
        if _NUMBER.fullmatch(token):
            value = float(token.replace(",", "."))
            if math.isfinite(value):
                return value
        raise self.error(line.number, f"expected a number, found {token[:40]!r}")

    def numbers(self, chunk: Chunk, keyword: str, defaults: Sequence[float], *, required: bool = False) -> list[float]:
        """The leading numbers of a line; `defaults` where the line or its end is missing."""
        line = chunk.line(keyword)
        if line is None:
            if required:
                raise self.error(chunk.number, f"{chunk.keyword} has no line {keyword}")
            return list(defaults)
        found = self.tokens(line)[1 : 1 + len(defaults)]
        return [self.number_of(t, line) for t in found] + list(defaults[len(found) :])

    def line_number(self, chunk: Chunk, keyword: str) -> int:
        """Where a line stands; where its block begins if there is none."""
        line = chunk.line(keyword)
        return chunk.number if line is None else line.number
