"""What the readers of datasets share: what they are asked, what they find and small helpers; no layout is known here.

A reader gives every song of a dataset, also one that cannot be used: then with the reason. It reads
folders and metadata alone; audio is looked at later, in `collect`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..batch.manifest import MANIFEST_SUFFIX
from ..choices import AUDIO_SUFFIXES, TrackSource
from ..errors import DatasetError

#: What is written for a dataset; a folder that holds one is none of the dataset's.
MANIFEST_FILE = f"manifest{MANIFEST_SUFFIX}"

#: A metadata file larger than this is none.
MAX_METADATA_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Track:
    """One dry track of a song.

    Attributes
    ----------
    path : Path
    name : str
        Readable; what it will be called as a stem. Need not be unique nor fit for a file.
    group : str
        Its subgroup; empty where it flows into the master.
    """

    path: Path
    name: str
    group: str = ""


@dataclass(frozen=True)
class DatasetSong:
    """A song of a dataset as its metadata and folders describe it.

    Attributes
    ----------
    name : str
    key : str
        What tells it from another song of the same name.
    tracks : tuple of Track
        In the order of the dataset.
    mix : Path or None
        None where the dataset has no file of the mix: it is the sum of the tracks.
    split : str
        Part of the dataset it belongs to, such as "train"; empty where there are none.
    notes : tuple of str
        What a user should know about it, one line each.
    """

    name: str
    key: str
    tracks: tuple[Track, ...]
    mix: Path | None
    split: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """A song that cannot be used, and why."""

    name: str
    reason: str
    split: str = ""


class IncompleteSongError(Exception):
    """Raised by a reader inside one song; its message becomes `Skipped.reason`."""


@dataclass(frozen=True)
class ReadOptions:
    """What a reader may be asked; each layout says which of these concern it.

    Attributes
    ----------
    tracks : TrackSource
        Dry recordings or the stems that a dataset made of them.
    metadata : Path or None
        Folder with the metadata files, where they are not with the songs.
    mixes : Path or None
        Folder with the mixes, where they are not with the songs.
    """

    tracks: TrackSource = TrackSource.raw
    metadata: Path | None = None
    mixes: Path | None = None

    def given(self) -> set[str]:
        """Names of the options that differ from the default."""
        default = ReadOptions()
        return {name for name in vars(self) if getattr(self, name) != getattr(default, name)}


@dataclass(frozen=True)
class Layout:
    """A dataset's layout.

    Attributes
    ----------
    label : str
        The dataset's name.
    expects : str
        What `read` looks for, for messages.
    options : frozenset of str
        Fields of `ReadOptions` that concern it.
    read : callable
        Gives all songs below a root, in the order of their names.
    """

    label: str
    expects: str
    options: frozenset[str]
    read: Callable[[Path, ReadOptions], Iterator[DatasetSong | Skipped]]


# ------------------------------------------------------------------ helpers


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, by name, without hidden ones, manifests' and what macOS leaves in archives.

    Raises
    ------
    DatasetError
        If the folder cannot be read.
    """
    return [p for p in _entries(folder) if p.is_dir() and not (p / MANIFEST_FILE).exists()]


def audio_files(folder: Path, *, below: bool = False) -> list[Path]:
    """Audio files of a folder, by name, if wished with those of the folders below it.

    Raises
    ------
    DatasetError
        If a folder cannot be read.
    """
    found = [p for p in _entries(folder) if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file()]
    if below:
        for inner in subfolders(folder):
            # A link to a folder above would lead in circles.
            if not inner.is_symlink():
                found += audio_files(inner, below=True)
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name != "__MACOSX")
    except OSError as error:
        raise DatasetError(f"{folder}: cannot read ({error.strerror}); name the folder of the dataset") from None


def present(path: Path) -> Path:
    """The path, if it is a file.

    Raises
    ------
    IncompleteSongError
        If it is not.
    """
    if not path.is_file():
        raise IncompleteSongError(f"{path.name} is missing")
    return path


def metadata_text(path: Path) -> str:
    """Text of a metadata file (`IncompleteSongError` where it cannot be read)."""
    try:
        if path.stat().st_size > MAX_METADATA_BYTES:
            raise IncompleteSongError(f"{path.name} is larger than {MAX_METADATA_BYTES} bytes")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise IncompleteSongError(f"{path.name} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise IncompleteSongError(f"{path.name} is not UTF-8 text") from None


def yaml_mapping(path: Path) -> Mapping[str, Any]:
    """Content of a YAML file; every scalar is text (`IncompleteSongError` where it is not a mapping)."""
    try:
        content: object = yaml.load(metadata_text(path), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        raise IncompleteSongError(f"{path.name} is not valid YAML") from None
    return mapping(content, path.name)


def mapping(content: object, what: str) -> Mapping[str, Any]:
    """The content, if it is a mapping with text as keys (`IncompleteSongError` otherwise)."""
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise IncompleteSongError(f"{what}: not a mapping of names")
    return content


def text_at(content: Mapping[str, Any], key: str, what: str) -> str:
    """A text that metadata must have (`IncompleteSongError` where it is missing or empty)."""
    value = content.get(key)
    if not isinstance(value, str) or not value.strip():
        raise IncompleteSongError(f"{what}: '{key}' is missing")
    return value.strip()


def inside(folder: Path, file_name: str) -> Path:
    """A file that metadata names within a folder (`IncompleteSongError` where it points elsewhere)."""
    if Path(file_name).name != file_name or "\\" in file_name or file_name in (".", ".."):
        raise IncompleteSongError(f"{file_name!r} is no file name")
    return folder / file_name


def numbered(names: list[str]) -> list[str]:
    """Names with their number in front, so that sorting by name keeps their order; at least two digits."""
    digits = max(2, len(str(len(names))))
    return [f"{number:0{digits}}_{name}" for number, name in enumerate(names, start=1)]
