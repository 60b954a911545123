"""The Ardour session among the session formats: what it can hold, and how the choices of a user reach it."""

from __future__ import annotations

from collections.abc import Mapping

from ...bridge.choices import ExportFormat
from ...bridge.errors import ParameterError
from ...bridge.suites import choose_profiles
from ..inserts import MIXER_TYPES
from ..losses import Loss
from ..writer import ExportJob, Writer
from .plugins import ARDOUR_KINDS, DEFAULT_ARDOUR_SUITES
from .project import export_ardour, plan_ardour


def _check(laws: Mapping[str, str], plugins: str) -> None:
    """Refuse suites whose plugins run elsewhere; types that they lack are left out and told."""
    profiles = choose_profiles(plugins)
    other = [kind for kind in laws if kind not in MIXER_TYPES and kind in profiles]
    other = [kind for kind in other if profiles[kind].kind not in ARDOUR_KINDS]
    if other:
        raise ParameterError(
            f"--export ardour: nothing of {plugins!r} for {', '.join(other)} runs in Ardour; choose others, such "
            f"as --plugins {DEFAULT_ARDOUR_SUITES}"
        )


def _losses(job: ExportJob) -> tuple[Loss, ...]:
    return plan_ardour(job.graph, suites=job.plugins, keep_pruned=job.options.keep_pruned).losses


WRITER = Writer(
    format=ExportFormat.ardour,
    title="Ardour session",
    write=export_ardour,
    check=_check,
    losses=_losses,
    holds_tempo=True,
)
