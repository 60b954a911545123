"""Every exporter with its choices as keywords, for tests that write one session and look at it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from mixbridge.bridge.choices import DEFAULT_SUITES
from mixbridge.bridge.graph import MixGraph
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.exporters import pedalboard
from mixbridge.exporters.ardour import project as ardour
from mixbridge.exporters.ardour.plugins import DEFAULT_ARDOUR_SUITES
from mixbridge.exporters.dawproject import project as dawproject
from mixbridge.exporters.options import ExportOptions
from mixbridge.exporters.reaper import project as reaper
from mixbridge.exporters.writer import ExportJob


def job_of(
    graph: MixGraph,
    *,
    stems_dir: Path,
    suites: str = DEFAULT_SUITES,
    name: str | None = None,
    reference_path: Path | None = None,
    pool: PluginPool | None = None,
    **options: Any,
) -> ExportJob:
    """A job; `options` are those of `ExportOptions`."""
    return ExportJob(
        graph=graph,
        stems_dir=stems_dir,
        plugins=suites,
        options=ExportOptions(**options),
        reference_path=reference_path,
        name=name,
        pool=pool,
    )


def _export(write: Any, default_suites: str, graph: MixGraph, *, folder: Path, **choices: Any) -> Path:
    path = write(job_of(graph, **{"suites": default_suites, **choices}), folder)
    assert isinstance(path, Path)
    return path


export_reaper = partial(_export, reaper.export_reaper, DEFAULT_SUITES)
export_ardour = partial(_export, ardour.export_ardour, DEFAULT_ARDOUR_SUITES)
export_dawproject = partial(_export, dawproject.export_dawproject, DEFAULT_SUITES)
export_pedalboard = partial(_export, pedalboard.export_pedalboard, DEFAULT_SUITES)
