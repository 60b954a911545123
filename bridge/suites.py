"""Plugin suites: families of plugins, and the choice of one profile for each processor; no plugin is run here.

A suite is a folder of profiles, ``presets/plugins/<suite>``. Profiles of the user's own, in
``profiles/<suite>`` of the data folder, take precedence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from pydantic import Field, field_validator

from .errors import ProfileError
from .hosting.places import data_folder
from .preset_names import suite_folders, suite_names
from .processors.laws import kind_of
from .processors.specs import SPECS, spec_of, type_named
from .profile_files import load_profile, parsed, read_profile
from .profiles import Measured, Profile, Shortfall, Stage, StrictModel, run_stages

__all__ = [
    "Measured",
    "Profile",
    "Shortfall",
    "Stage",
    "Suite",
    "choose_profiles",
    "load_profile",
    "load_suite",
    "read_profile",
    "run_stages",
    "suite_names",
]

#: File of a suite's folder that describes the suite itself.
SUITE_FILE = "suite.toml"

#: Every processor type that the chosen suites do not name otherwise.
OTHERS = "*"


class _SuiteFile(StrictModel):
    description: str
    install: list[str] = Field(default_factory=list)
    mixer: list[str] = Field(default_factory=list)

    @field_validator("mixer")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return [spec_of(name).type for name in value]


@dataclass(frozen=True)
class Suite:
    """A family of plugins.

    Attributes
    ----------
    profiles : mapping of str to Profile
        By the name of their file; the one named like its processor type is the standard.
    install : tuple of str
        What ``mixbridge plugins install`` must have put on the machine.
    """

    name: str
    description: str
    install: tuple[str, ...]
    profiles: Mapping[str, Profile]


def load_suite(name: str) -> Suite:
    """Read a suite with all its profiles.

    Raises
    ------
    ProfileError
        When there is none of that name or a file of it is malformed.
    """
    if name not in suite_names():
        raise ProfileError(f"plugin suite {name!r} does not exist; choose of {', '.join(suite_names())}")
    return _load_suite(name, str(data_folder()))


@lru_cache(maxsize=64)
def _load_suite(name: str, _data_folder: str) -> Suite:
    about = _SuiteFile(description="")
    profiles: dict[str, Profile] = {}
    for folder in (f for f in suite_folders() if f.name == name):
        files = {f.name: f for f in folder.iterdir() if f.name.endswith(".toml")}
        if SUITE_FILE in files:
            about = parsed(str(files[SUITE_FILE]), files.pop(SUITE_FILE).read_bytes(), _SuiteFile)
        for file_name, file in sorted(files.items()):
            stem = file_name.removesuffix(".toml")
            profile = read_profile(file.read_text(encoding="utf-8"), suite=name, name=stem, source=str(file))
            profiles[stem] = profile
    for processor in about.mixer:
        profiles.setdefault(processor, Profile(suite=name, name=processor, processor=processor, kind="mixer"))
    order = list(SPECS)
    ordered = sorted(profiles.items(), key=lambda item: (order.index(item[1].processor), item[0]))
    return Suite(name, about.description, tuple(about.install), dict(ordered))


def choose_profiles(text: str) -> dict[str, Profile]:
    """Read a choice of suites: a suite's name, or ``type=suite`` pairs and ``*=suite`` for the rest.

    Parameters
    ----------
    text : str
        Such as ``lsp`` or ``eq=lsp,compressor=zam,*=pedalboard``. ``type=suite:name`` chooses
        another profile than the suite's standard one (``reverb=zam:reverb_hall``).

    Returns
    -------
    dict of str to Profile
        By processor type, in the order of the specifications; types that the chosen suites lack
        are absent. Behind each type, by kind (`laws.kind_of`), what its suite has for the laws that
        stand beside the standard.

    Raises
    ------
    ProfileError
        On an unknown suite, type or profile, or a type that is chosen twice.
    """
    wanted: dict[str, str] = {}
    for part in (p.strip() for p in text.split(",")):
        key, _, choice = (s.strip() for s in part.partition("=")) if "=" in part else (OTHERS, "", part)
        key = type_named(key)
        if key not in SPECS and key != OTHERS:
            raise ProfileError(f"plugins {text!r}: unknown processor type {key!r}; known are {', '.join(SPECS)}")
        if key in wanted:
            raise ProfileError(f"plugins {text!r}: {key!r} is chosen twice")
        wanted[key] = choice
    chosen = {}
    for processor in SPECS:
        if processor in wanted:
            chosen[processor] = _chosen(processor, wanted[processor])
        elif OTHERS in wanted:
            standard = load_suite(wanted[OTHERS]).profiles.get(processor)
            if standard is not None:
                chosen[processor] = standard
    return dict(kind for profile in chosen.values() for kind in _kinds(profile))


def _kinds(profile: Profile) -> Iterator[tuple[str, Profile]]:
    """A chosen profile by its processor type, then one for each kind beside it; itself where it is of that kind."""
    processor = profile.processor
    yield processor, profile
    others = [p for p in load_suite(profile.suite).profiles.values() if p.processor == processor]
    kinds = {kind_of(processor, other.law): other for other in (*reversed(others), profile)}
    yield from ((kind, other) for kind, other in kinds.items() if kind != processor)


def _chosen(processor: str, choice: str) -> Profile:
    suite_name, _, name = choice.partition(":")
    suite = load_suite(suite_name)
    fitting = {n: p for n, p in suite.profiles.items() if p.processor == processor}
    if (name or processor) not in fitting:
        known = ", ".join(f"{suite_name}:{n}" for n in fitting) or "none"
        raise ProfileError(f"plugins: {choice!r} has no such profile for {processor!r}; there is {known}")
    return fitting[name or processor]
