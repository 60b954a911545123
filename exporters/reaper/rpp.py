"""The text layer of REAPER's project files: blocks, tokens, quoting and numbers; what they mean is in `project`.

A project file is a tree of blocks. A block starts with a line ``<WORD tokens``, holds lines and
blocks, and ends with ``>``. A token that holds blanks is quoted with one of three quote
characters; there are no escapes, so that a token holding all three cannot be written as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ...bridge.errors import ExportError
from ..names import one_line

#: REAPER reads lines into a buffer of 4096 bytes.
MAX_LINE_BYTES = 3999

_QUOTES = "\"'`"


class Word(str):
    """A token that is written as it is: a keyword, a number, a GUID."""

    __slots__ = ()


#: A plain string is quoted, a `Word` is not.
Token = Word | str | int


def number(value: float) -> Word:
    """A number with the fewest digits that read back exactly, never with an exponent."""
    text = format(Decimal(repr(float(value))), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return Word("0" if text in ("-0", "") else text)


def has_all_quotes(text: str) -> bool:
    """True for a text that no quote character can hold."""
    return all(quote in text for quote in _QUOTES)


def quote(text: str) -> str:
    """Quote a string token.

    A text that holds all three quote characters gets backticks, its own backticks become ``'``
    as REAPER itself does it.
    """
    text = one_line(text)
    for mark in _QUOTES:
        if mark not in text:
            return f"{mark}{text}{mark}"
    return "`" + text.replace("`", "'") + "`"


@dataclass
class Block:
    """A block: its first line, and the lines and blocks within.

    `add` and `block` append; `text` appends a line of free text, as notes have it.
    """

    head: Sequence[Token]
    body: list[Sequence[Token] | Block] = field(default_factory=list)

    def add(self, keyword: str, *tokens: Token | float) -> None:
        """Append a line ``KEYWORD tokens``."""
        self.values([Word(keyword), *(number(t) if isinstance(t, float) else t for t in tokens)])

    def values(self, tokens: Sequence[Token]) -> None:
        """Append a line without a keyword."""
        self.body.append(tokens)

    def text(self, line: str) -> None:
        """Append a line of free text."""
        self.body.append([Word("|" + one_line(line))])

    def block(self, keyword: str, *tokens: Token | float) -> Block:
        """Append a block and return it."""
        head: list[Token] = [Word(keyword), *(number(t) if isinstance(t, float) else t for t in tokens)]
        inner = Block(head)
        self.body.append(inner)
        return inner

    def render(self) -> bytes:
        """The block as the bytes of a file.

        Raises
        ------
        ExportError
            If a line would be longer than REAPER can read.
        """
        lines = []
        for line in _lines(self, 0):
            # Names of files that are not valid text keep their bytes.
            data = line.encode("utf-8", "surrogateescape")
            if len(data) > MAX_LINE_BYTES:
                raise ExportError(
                    f"{line.strip()[:60]}...: a line of {len(data)} bytes is too long for a REAPER project; "
                    "use shorter folder and file names"
                )
            lines.append(data + b"\n")
        return b"".join(lines)


def _lines(block: Block, depth: int) -> Iterator[str]:
    indent = "  " * depth
    yield f"{indent}<{_join(block.head)}"
    for item in block.body:
        if isinstance(item, Block):
            yield from _lines(item, depth + 1)
        else:
            yield f"{indent}  {_join(item)}"
    yield f"{indent}>"


def _join(tokens: Sequence[Token]) -> str:
    return " ".join(str(t) if isinstance(t, Word | int) else quote(t) for t in tokens)
