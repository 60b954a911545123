"""The DAWproject among the session formats: what it loses, and how the choices of a user reach it."""

from __future__ import annotations

from ...bridge.choices import ExportFormat
from ..losses import Loss
from ..writer import ExportJob, Writer
from .plan import plan_dawproject
from .project import export_dawproject, session_of


def _losses(job: ExportJob) -> tuple[Loss, ...]:
    return plan_dawproject(session_of(job.graph), suites=job.plugins).losses


WRITER = Writer(
    format=ExportFormat.dawproject,
    title="DAWproject",
    write=export_dawproject,
    losses=_losses,
    holds_tempo=True,
)
