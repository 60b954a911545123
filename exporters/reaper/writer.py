"""The REAPER project among the session formats: what it can hold, and how the choices of a user reach it."""

from __future__ import annotations

from collections.abc import Mapping

from ...bridge.choices import DEFAULT_SUITES, ExportFormat
from ...bridge.errors import ParameterError
from ...bridge.processors.laws import kind_of, type_and_law
from ...bridge.suites import Profile, choose_profiles
from ..writer import Writer
from .plugins import REAPER_KINDS, plugin_profile
from .project import export_reaper


def _check(laws: Mapping[str, str], plugins: str) -> None:
    profiles = choose_profiles(plugins)
    other = list(dict.fromkeys(type_and_law(n)[0] for n, law in laws.items() if not _can_hold(n, law, profiles)))
    if other:
        parts = [f"{processor_type}={DEFAULT_SUITES}" for processor_type in other]
        raise ParameterError(
            f"--export reaper: nothing of {plugins!r} for {', '.join(other)} runs in REAPER, and our JSFX does not "
            f"follow its law; search with --plugins {','.join([*parts, f'*={plugins}'])} or with "
            f"--plugins {DEFAULT_SUITES}"
        )


def _can_hold(kind: str, law: str, profiles: Mapping[str, Profile]) -> bool:
    """Whether a project can hold a kind: as a plugin of the chosen suites, or as one of our JSFX."""
    profile = plugin_profile(kind, profiles)
    return _has_jsfx(kind, law) if profile is None else profile.kind in REAPER_KINDS


def _has_jsfx(kind: str, law: str) -> bool:
    """Whether one of our JSFX follows a law of a kind: the reference law, or one that stands beside it."""
    processor_type, _ = type_and_law(kind)
    return type_and_law(kind_of(processor_type, law))[1] == law


WRITER = Writer(format=ExportFormat.reaper, title="REAPER project", write=export_reaper, check=_check, holds_tempo=True)
