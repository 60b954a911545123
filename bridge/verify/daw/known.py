"""Which DAWs can render for us, by the name that a user types; how each does it is in its own module."""

from __future__ import annotations

from pathlib import Path

from ...choices import Daw
from .ardour import Ardour
from .reaper import Reaper
from .renderer import DawRenderer


def daw_renderer(daw: Daw, *, program: Path | None = None) -> DawRenderer:
    """The renderer of a DAW; `program` is where its program lies, if the user said so."""
    return Reaper(program=program) if daw is Daw.reaper else Ardour(program=program)
