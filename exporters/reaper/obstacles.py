"""Collects what a project does that cannot be followed, to tell it all at once; what that is, is in `read`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from ...bridge.errors import AudioContentError, AudioFileError, MixbridgeError, SessionFileError, combined
from .tree import Chunk, Line, ProjectText

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


class Obstacles:
    """What stands in the way so far; whoever notes something reads on with what changes nothing else."""

    def __init__(self) -> None:
        self._errors: list[MixbridgeError] = []

    def __len__(self) -> int:
        return len(self._errors)

    def note(self, error: MixbridgeError) -> None:
        """Keep an error instead of raising it."""
        self._errors.append(error)

    def attempt(
        self, instead: _Found, read: Callable[_Given, _Found], *args: _Given.args, **kwargs: _Given.kwargs
    ) -> _Found:
        """What a function returns; `instead`, and its error noted, where it raises one about the file or its audio."""
        try:
            return read(*args, **kwargs)
        except (SessionFileError, AudioFileError, AudioContentError) as error:
            self.note(error)
            return instead

    def raise_any(self) -> None:
        """Raise all that was noted as one error, in the order of the lines.

        Raises
        ------
        SessionFileError
            With `obstacles`; it is of the type of what was noted where that was all of one.
        """
        if self._errors:
            in_order = sorted(self._errors, key=lambda error: error.obstacles[0].line or 0 if error.obstacles else 0)
            raise combined(in_order, mixed=SessionFileError)


class NotingText(ProjectText):
    """A project whose numbers are read on behind a damaged one, with the default in its place."""

    def __init__(self, path: Path, obstacles: Obstacles) -> None:
        super().__init__(path)
        self._obstacles = obstacles

    def numbers(self, chunk: Chunk, keyword: str, defaults: Sequence[float], *, required: bool = False) -> list[float]:
        """See `ProjectText.numbers`; nothing is raised."""
        return self._obstacles.attempt(list(defaults), super().numbers, chunk, keyword, defaults, required=required)


def each_receive(track: Chunk) -> list[Chunk]:
    """A track once for each line of a receive, with the envelopes behind it, so that one cannot hide the next."""
    parts: list[Chunk] = []
    for item in track.items:
        if isinstance(item, Line) and item.keyword == "AUXRECV":
            parts.append(Chunk(track.head, [item]))
        elif parts and isinstance(item, Chunk) and item.keyword.startswith("AUX"):
            parts[-1].items.append(item)
    return parts
