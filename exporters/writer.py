"""What every session format tells of itself, so that `formats` can list it; no format is named here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..bridge.choices import ExportFormat
from ..bridge.graph import MixGraph
from .losses import Loss
from .options import ExportOptions


@dataclass(frozen=True, kw_only=True)
class Job:
    """A graph, and what its sessions are to be like.

    Attributes
    ----------
    stems_dir : Path
        The folder the stems' file names are relative to.
    plugins : str
        Choice of plugin suites (`suites.choose_profiles`).
    reference_path : Path or None
        The finished mix, for sessions to have as a muted track.
    """

    graph: MixGraph
    stems_dir: Path
    options: ExportOptions
    plugins: str
    reference_path: Path | None


def _holds_everything(_laws: Mapping[str, str], _plugins: str) -> None:
    pass


def _loses_nothing(_job: Job) -> tuple[Loss, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Writer:
    """How a format is written.

    Attributes
    ----------
    title : str
        What people call one session of it.
    write : callable
        Writes a job into a folder and returns the session's file.
    check : callable
        Takes the laws of all kinds of processors (`laws.kind_of`) and the choice of suites; raises
        `ParameterError` where the format cannot hold a kind.
    losses : callable
        What the format cannot express of a job.
    holds_tempo : bool
        Whether a session has tempo, bars and markers.
    """

    format: ExportFormat
    title: str
    write: Callable[[Job, Path], Path]
    check: Callable[[Mapping[str, str], str], None] = _holds_everything
    losses: Callable[[Job], tuple[Loss, ...]] = _loses_nothing
    holds_tempo: bool = False
