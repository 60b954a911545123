"""The DAWproject among the session formats: what it loses, and how the choices of a user reach it."""

from __future__ import annotations

from pathlib import Path

from ...bridge.choices import ExportFormat
from ..losses import Loss
from ..writer import Job, Writer
from .plan import plan_dawproject
from .project import export_dawproject, session_of


def _losses(job: Job) -> tuple[Loss, ...]:
    return plan_dawproject(session_of(job.graph), suites=job.plugins).losses


def _write(job: Job, folder: Path) -> Path:
    return export_dawproject(
        job.graph,
        stems_dir=job.stems_dir,
        folder=folder,
        reference_path=job.reference_path,
        suites=job.plugins,
        system=job.options.system,
        allow_unverified=job.options.allow_unverified,
    )


WRITER = Writer(format=ExportFormat.dawproject, title="DAWproject", write=_write, losses=_losses, holds_tempo=True)
