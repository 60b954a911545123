"""How a project says what REAPER renders, and the same project with other words for it; nothing is rendered here."""

from __future__ import annotations

import io
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence

from ...bridge.errors import ExportError
from .rpp import Block, Word, has_all_quotes

#: Lines and blocks that begin with this say what is rendered, where to and in which format.
_PREFIX = b"RENDER_"

#: Quote characters, one of which may stand before the "<" of a block.
_QUOTES = (b'"', b"'", b"`")

#: Format of a render: a WAV file ("evaw") of 32 bits, floating point.
FLOAT_WAV = "ZXZhdyAAAQ=="


def add_render_settings(project: Block, *, file: str, sample_rate_hz: int, length_s: float) -> None:
    """Add the lines that make REAPER render the master, from 0 to `length_s` and not a sample more, as float.

    Parameters
    ----------
    project : Block
    file : str
        Where to render to; relative to the project, or absolute.
    sample_rate_hz : int
    length_s : float
        Seconds, from 0.
    """
    project.add("RENDER_FILE", file)
    project.add("RENDER_PATTERN", "")
    project.add("RENDER_FMT", 0, 2, sample_rate_hz)
    project.add("RENDER_1X", 0)
    project.add("RENDER_RANGE", 0, 0, length_s, 0, 1000)
    project.add("RENDER_RESAMPLE", 3, 0, 1)
    project.add("RENDER_ADDTOPROJ", 0)
    project.add("RENDER_STEMS", 0)
    project.add("RENDER_DITHER", 0)
    project.block("RENDER_CFG").values([Word(FLOAT_WAV)])


def with_render_settings(project: bytes, *, file: str, sample_rate_hz: int, length_s: float) -> bytes:
    """A project whose render settings are those of `add_render_settings`, every other byte as it was.

    Settings that are not among ours (normalising, fades, a second format, a file name pattern) are
    taken out, so that what is rendered does not depend on what was rendered last.

    Parameters
    ----------
    project : bytes
        A project file that `tree.ProjectText` reads.
    file, sample_rate_hz, length_s
        See `add_render_settings`.

    Raises
    ------
    ExportError
        If a project cannot hold the name of the file.
    """
    if has_all_quotes(file):
        raise ExportError(f"{file}: REAPER projects cannot refer to a path with this mix of quotes; use another folder")
    ours = Block([Word("REAPER_PROJECT")])
    add_render_settings(ours, file=file, sample_rate_hz=sample_rate_hz, length_s=length_s)
    # Without the first and the last line, which open and close the block.
    settings = ours.render().splitlines(keepends=True)[1:-1]
    return b"".join(_with(settings, project))


def _with(settings: Sequence[bytes], project: bytes) -> Iterator[bytes]:
    """The lines of a project with these settings in place of its own."""
    depth, dropping = 0, False
    # Only line feeds end a line, as in `tree`.
    for raw in io.BytesIO(project.removeprefix(BOM_UTF8)):
        line = raw.strip(b" \t\r\n")
        bare = line[1:] if line[:1] in _QUOTES and line[1:2] == b"<" else line
        opens, closes = bare.startswith(b"<"), line.startswith(b">")
        depth += opens
        ours = depth == 1 + opens and bare.removeprefix(b"<").startswith(_PREFIX)
        dropping = dropping or (opens and ours)
        if not dropping and not ours:
            # The last line of all has no line feed in some files.
            yield raw if raw.endswith(b"\n") else raw + b"\n"
        depth -= closes
        dropping = dropping and depth > 1
        if opens and depth == 1:
            yield from settings
