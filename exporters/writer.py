"""What every session format tells of itself, so that `formats` can list it; no format is named here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..bridge.choices import DEFAULT_SUITES, ExportFormat, System, this_system
from ..bridge.graph import MixGraph
from ..bridge.hosting.pool import PluginPool
from .losses import Loss
from .names import safe_name
from .options import ExportOptions


@dataclass(frozen=True, kw_only=True)
class ExportJob:
    """A graph, and what a session of it is to be like.

    Attributes
    ----------
    stems_dir : Path
        The folder the stems' file names are relative to.
    plugins : str
        Choice of plugin suites (`suites.choose_profiles`).
    options : ExportOptions
        Its choice of plugins is not looked at: `plugins` is what came of it.
    reference_path : Path or None
        The finished mix, to stand beside the match as a muted track.
    name : str or None
        Of the session; that of the graph if not given.
    pool : PluginPool or None
        Where plugins tell their state; the pool of this process if not given.
    """

    graph: MixGraph
    stems_dir: Path
    plugins: str = DEFAULT_SUITES
    options: ExportOptions = field(default_factory=ExportOptions)
    reference_path: Path | None = None
    name: str | None = None
    pool: PluginPool | None = None

    @property
    def title(self) -> str:
        """A name for the session's file."""
        return safe_name(self.name or self.graph.name, fallback="session")

    @property
    def system(self) -> System:
        """The system that the session is for."""
        return self.options.system or this_system()


def _holds_everything(_laws: Mapping[str, str], _plugins: str) -> None:
    pass


def _loses_nothing(_job: ExportJob) -> tuple[Loss, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Writer:
    """How a format is written.

    Attributes
    ----------
    title : str
        What people call one session of it.
    write : callable
        Writes a job into a folder and returns the session's file. An earlier export in the folder is
        replaced; files that were added or changed since are kept beside the new ones, and nothing is
        left half written. Raises `AudioFileError` or `AudioContentError` if a stem is missing or
        unreadable, `ExportError` if a node, name or path cannot be written, `PluginError` or
        `ProfileError` if a plugin is missing, has no certificate or fails, or there is no such suite, and
        `OutputError` if the folder cannot be written or is not an earlier export.
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
    write: Callable[[ExportJob, Path], Path]
    check: Callable[[Mapping[str, str], str], None] = _holds_everything
    losses: Callable[[ExportJob], tuple[Loss, ...]] = _loses_nothing
    holds_tempo: bool = False
