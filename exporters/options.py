"""What a user chooses about the sessions that are written; which format can do what lives in `formats`."""

from __future__ import annotations

from dataclasses import dataclass

from ..bridge.choices import System


@dataclass(frozen=True)
class ExportOptions:
    """Choices about an export; a format that has no use for one passes over it.

    Attributes
    ----------
    plugins : str or None
        Choice of plugin suites (`suites.choose_profiles`); None for those of the search.
    link : bool
        Refer to the stems where they are instead of copying them.
    with_reference : bool
        DAW sessions have the finished mix as a muted track.
    keep_pruned : bool
        DAW sessions have the processors that pruning took out, bypassed.
    system : {"windows", "macos", "linux"}, optional
        The system that DAW sessions are for; this one if not given.
    allow_unverified : bool
        Use plugins that have no passing certificate.
    strict : bool
        What a format cannot express is an error.
    """

    plugins: str | None = None
    link: bool = False
    with_reference: bool = True
    keep_pruned: bool = False
    system: System | None = None
    allow_unverified: bool = False
    strict: bool = False
