"""Texts as names: on one line, and of files that every system accepts; no files are touched here."""

from __future__ import annotations

import unicodedata

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_FORBIDDEN = '<>:"/\\|?*'
_LONGEST_NAME = 120


def one_line(text: str) -> str:
    """The text with line breaks and other control characters replaced by blanks."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)


def safe_name(name: str, *, fallback: str) -> str:
    """A file name without its ending that every system accepts, as close to `name` as possible."""
    text = unicodedata.normalize("NFC", one_line(name))
    text = "".join("_" if c in _FORBIDDEN or "\ud800" <= c <= "\udfff" else c for c in text)[:_LONGEST_NAME]
    # File systems count bytes: 255 at most, less what endings and temporary names need.
    text = text.encode("utf-8")[: 2 * _LONGEST_NAME - 20].decode("utf-8", "ignore").strip().rstrip(". ")
    if text.startswith("."):
        text = "_" + text[1:]
    if text.split(".")[0].lower() in _RESERVED:
        text = "_" + text
    return text or fallback


def unused_name(name: str, taken: set[str]) -> str:
    """`name`, numbered if it is `taken` already; what is returned is added to `taken`."""
    # Some file systems do not tell upper from lower case.
    chosen, number = name, 2
    while chosen.casefold() in taken:
        chosen, number = f"{name}-{number}", number + 1
    taken.add(chosen.casefold())
    return chosen
