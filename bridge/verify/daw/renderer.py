"""What every DAW that renders for us has in common: what it is asked, what it gives; each DAW has its own module.

A DAW comes in by a class with the attributes and methods of `DawRenderer` and a line in `known`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ...audio import AudioInfo, probe, read_audio
from ...errors import AudioContentError, AudioFileError, DawError, DawNotFoundError
from ...files import whole_file
from ..locate import SessionKind

#: A render that ends earlier than the session by more than this (s) was cut short.
_MISSING_S = 0.1

#: Frames looked at at once.
_BLOCK_FRAMES = 1 << 20


@dataclass(frozen=True)
class DawSession:
    """What a DAW renders: the session's file, from 0 to its end, at its rate."""

    path: Path
    sample_rate_hz: int
    frames: int

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate_hz


@dataclass(frozen=True)
class RenderedByDaw:
    """A finished render.

    Attributes
    ----------
    version : str
        What the DAW says of its version; empty where it says nothing.
    log : str
        The end of what it printed.
    complaints : tuple of str
        What of that speaks of missing plugins or files.
    """

    version: str
    log: str
    complaints: tuple[str, ...] = ()


class DawRenderer(Protocol):
    """A DAW that renders a session on its own.

    Attributes
    ----------
    name : str
        What people call it.
    kinds : tuple of str
        Kinds of session that it opens (`locate.Job.kind`).
    """

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def kinds(self) -> tuple[SessionKind, ...]:
        """Kinds of session that it opens."""

    def find(self) -> Path:
        """The program (`DawNotFoundError` where there is none)."""

    def render(self, session: DawSession, out: Path, *, timeout_s: float) -> RenderedByDaw:
        """Render a session from 0 to its end into a WAV file; the session's own files stay as they are.

        Parameters
        ----------
        session : DawSession
        out : Path
            Written whole, or not at all.
        timeout_s : float
            Seconds until the program is ended with all that it started.

        Raises
        ------
        DawNotFoundError
            If the program is not there.
        DawTimeoutError
            If it takes too long.
        DawError
            If it fails, or what it wrote is silent or cut short.
        """


def find_program(
    daw: str, *, chosen: Path | None, variable: str, usual: Sequence[Path], commands: Sequence[str], remedy: str
) -> Path:
    """The program of a DAW: the one chosen, else that of the environment, of the usual places, or of PATH.

    Parameters
    ----------
    daw : str
        Its name, for the message.
    chosen : Path or None
        What the user named.
    variable : str
        Environment variable that names it.
    usual : sequence of Path
        Where it is installed usually.
    commands : sequence of str
        How it is called on PATH.
    remedy : str
        Where one gets it.

    Raises
    ------
    DawNotFoundError
        If what was named is no program, or nothing is found; says where it was looked for.
    """
    named = os.environ.get(variable, "").strip()
    for path, source in ((chosen, "--daw-program"), (Path(named).expanduser() if named else None, variable)):
        if path is None:
            continue
        if program := _program(path):
            return program
        raise DawNotFoundError(f"{path}: no program that can be run; name that of {daw} with {source}")
    found = next((program for path in usual if (program := _program(path))), None)
    found = found or next((Path(which) for command in commands if (which := shutil.which(command))), None)
    if found is None:
        places = ", ".join(map(str, usual))
        raise DawNotFoundError(
            f"{daw}: not found in {variable}, {places} or PATH; {remedy}, or name its program with --daw-program"
        )
    return found


def _program(path: Path) -> Path | None:
    if path.suffix == ".app" and path.is_dir():
        # An application of macOS is a folder.
        path = path / "Contents" / "MacOS" / path.stem
    return path.absolute() if path.is_file() and os.access(path, os.X_OK) else None


def deliver(made: Path, out: Path, *, session: DawSession, daw: str) -> None:
    """Check what a DAW wrote and put it, whole, where it belongs.

    Raises
    ------
    DawError
        If it cannot be read, is silent, or ends too early.
    OutputError
        If it cannot be written.
    """
    try:
        info = probe(made)
        silent = _is_silent(info)
    except (AudioFileError, AudioContentError) as error:
        raise DawError(f"{session.path}: what {daw} rendered cannot be read ({_reason(error, made)})") from None
    if silent:
        raise DawError(
            f"{session.path}: {daw} rendered silence; open the session there and look for missing audio files, "
            "muted tracks and plugins that were not loaded"
        )
    length_s = info.frames / info.sample_rate_hz
    if length_s < session.length_s - _MISSING_S:
        raise DawError(
            f"{session.path}: the render of {daw} ends after {length_s:.1f} s of {session.length_s:.1f} s; "
            "render there by hand and compare it with --render"
        )
    with whole_file(out) as temporary:
        shutil.copyfile(made, temporary)


def _is_silent(info: AudioInfo) -> bool:
    starts = range(0, info.frames, _BLOCK_FRAMES)
    return not any(
        np.any(read_audio(info.path, start_frame=start, frames=min(_BLOCK_FRAMES, info.frames - start)))
        for start in starts
    )


def _reason(error: Exception, path: Path) -> str:
    # The file is gone when the message is read: its name helps nobody.
    return str(error).removeprefix(f"{path}: ")
