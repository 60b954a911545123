"""Which consoles and plugin suites there are, by name; quick to import, as what they hold is read elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable

from .hosting.places import data_folder

#: Ending of the files of consoles and profiles.
SUFFIX = ".toml"

#: Folder of the data folder that holds the user's own suites and profiles.
OWN_FOLDER = "profiles"

_PRESETS = __package__.rpartition(".")[0] + ".presets"


def consoles_folder() -> Traversable:
    """Where the consoles lie that ship with the product."""
    return resources.files(f"{_PRESETS}.consoles")


def console_names() -> tuple[str, ...]:
    """The consoles that ship with the product."""
    return tuple(sorted(f.name.removesuffix(SUFFIX) for f in consoles_folder().iterdir() if f.name.endswith(SUFFIX)))


def suite_folders() -> Iterator[Traversable]:
    """Folders of suites, the user's own last, so that they win."""
    shipped = resources.files(f"{_PRESETS}.plugins")
    own = data_folder() / OWN_FOLDER
    for root in (shipped, own) if own.is_dir() else (shipped,):
        for folder in root.iterdir():
            if folder.is_dir() and any(f.name.endswith(SUFFIX) for f in folder.iterdir()):
                yield folder


def suite_names() -> tuple[str, ...]:
    """Names of all suites, shipped and the user's own."""
    return tuple(sorted({folder.name for folder in suite_folders()}))
