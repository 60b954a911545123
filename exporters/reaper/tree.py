"""The text layer of REAPER's project files, read: chunks, lines, tokens and numbers; what they mean is in `read`.

It is as tolerant as REAPER itself and knows no keyword but the file's first. `rpp` is its counterpart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...bridge.errors import SessionFileError

#: A project larger than this is refused unread.
MAX_FILE_BYTES = 64 * 1024 * 1024

#: Chunks within chunks; REAPER itself stays below ten.
_MAX_DEPTH = 100

_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)")
_QUOTES = "\"'`"


@dataclass(frozen=True)
class Line:
    """A line without its indent, and where it stands in the file (from 1)."""

    text: str
    number: int

    @property
    def keyword(self) -> str:
        """Its first token."""
        return self.text.split(maxsplit=1)[0] if self.text else ""


@dataclass
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


class ProjectText:
    """A project file as a tree, with errors that name the line.

    Raises
    ------
    SessionFileError
        If the file cannot be read, is too large or is not a project; from every method when the
        text is not what it should be.
    """

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

    def _parse(self, text: str) -> Chunk:
        open_chunks: list[Chunk] = []
        for number, raw in enumerate(text.split("\n"), start=1):
            line = raw.strip(" \t\r")
            bare = line[1:] if line[:1] in _QUOTES and line[1:2] == "<" else line
            if bare.startswith("<"):
                chunk = Chunk(Line(bare[1:], number))
                if open_chunks:
                    open_chunks[-1].items.append(chunk)
                elif chunk.keyword != "REAPER_PROJECT":
                    raise self.error(number, "this is not a REAPER project")
                open_chunks.append(chunk)
                if len(open_chunks) > _MAX_DEPTH:
                    raise self.error(number, f"more than {_MAX_DEPTH} blocks within each other")
            elif line.startswith(">"):
                if not open_chunks:
                    raise self.error(number, "a block ends that did not begin")
                chunk = open_chunks.pop()
                if not open_chunks:
                    return chunk
            elif line:
                if not open_chunks:
                    raise self.error(number, "this is not a REAPER project")
                open_chunks[-1].items.append(Line(line, number))
        if open_chunks:
            raise self.error(open_chunks[-1].number, f"the block {open_chunks[-1].keyword} does not end; export again")
        raise SessionFileError(f"{self.path}: the file is empty; export the project again")

    def error(self, number: int, words: str) -> SessionFileError:
        """An error about the line of that number."""
        return SessionFileError(f"{self.path}: line {number}: {words}")

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
