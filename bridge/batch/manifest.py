"""Lists of songs: manifests as JSON Lines, and folders of songs; nothing is analysed and no audio is read here.

One song a line::

    {"name": "caesium", "stems": "caesium/stems", "mix": "caesium/mix.flac"}
    {"name": "band8", "stems": "band8/stems", "mix": "band8/mix.flac", "groups": "band8.yaml", "start_s": 10}

Paths are relative to the folder of the manifest. Blank lines are skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..choices import AUDIO_SUFFIXES
from ..errors import ManifestError, Obstacle, combined
from ..files import write_text_whole

MANIFEST_SUFFIX = ".jsonl"

#: What a song's folder holds, beside ``mix`` with any ending of an audio file.
STEMS_FOLDER, MIX_STEM, GROUPS_FILE = "stems", "mix", "groups.yaml"

#: Bytes of a name: file systems take 255, and what is made of it gets endings.
MAX_NAME_BYTES = 180

#: A manifest larger than this is not one: room for a hundred thousand songs.
_MAX_FILE_BYTES = 64 * 1024 * 1024

#: What no folder on any of the three systems may hold.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
#: Devices of Windows, whatever their ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def _checked_name(name: str) -> str:
    if name != safe_name(name):
        raise ValueError(f"{name!r} is no name for a folder on every system; call it {safe_name(name)!r}")
    return name


def safe_name(text: str) -> str:
    """The nearest name to `text` that a folder may have on every system; one that may have it stays as it is.

    Returns
    -------
    str
        Not empty, at most `MAX_NAME_BYTES` in UTF-8. Two texts may get the same name.
    """
    # Windows drops dots and blanks at the end, others hide what begins with a dot.
    name = _UNSAFE.sub("_", text.encode("utf-8", "replace").decode()).strip(". ")
    if not name or _DEVICE.match(name):
        name = f"_{name}"
    return name.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore").rstrip(". ")


class Song(BaseModel):
    """One song of a batch.

    Attributes
    ----------
    name : str
        Its folder of results is called after it; unique in a manifest, whatever the case.
    stems : Path
        Folder with the dry stems.
    mix : Path
        The finished mix.
    groups : Path or None
        YAML file with the groups of the stems; see `groups.read_groups`.
    tempo_map : Path or None
        MIDI file with the tempo of the song.
    start_s, end_s : float or None
        The part of the mix that is analysed.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    name: Annotated[str, AfterValidator(_checked_name)]
    stems: Path
    mix: Path
    groups: Path | None = None
    tempo_map: Path | None = None
    start_s: Annotated[float, Field(ge=0.0)] | None = None
    end_s: Annotated[float, Field(gt=0.0)] | None = None

    @model_validator(mode="after")
    def _check_part(self) -> Self:
        if self.end_s is not None and self.end_s <= (self.start_s or 0.0):
            raise ValueError(f"end_s {self.end_s:g} is not after start_s {self.start_s or 0.0:g}")
        return self

    def below(self, folder: Path) -> Song:
        """The same song with paths that began at `folder`."""
        found = {key: folder / path for key, path in self if isinstance(path, Path)}
        return self.model_copy(update=found)


def read_manifest(path: Path) -> tuple[Song, ...]:
    """Read a manifest; whether its files exist is not looked at.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of Song
        In the order of the file; paths start where `path` does.

    Raises
    ------
    ManifestError
        If it cannot be read, holds no song, or a line is malformed, has unknown keys or a name
        that came before; the message names the line, `obstacles` has all of them.
    """
    songs: list[Song] = []
    seen: dict[str, int] = {}
    errors: list[ManifestError] = []
    for number, line in enumerate(_text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            song = _song_of(line)
            _note_name(song, number, seen)
        except ValueError as error:
            errors.append(ManifestError(f"{path}: line {number}: {error}"))
            errors[-1].obstacles = (Obstacle(number, str(error)),)
        else:
            songs.append(song.below(path.parent))
    if errors:
        raise combined(errors, mixed=ManifestError)
    if not songs:
        raise ManifestError(f"{path}: holds no song; each line is one, such as {_EXAMPLE}")
    return tuple(songs)


_EXAMPLE = '{"name": "song", "stems": "song/stems", "mix": "song/mix.wav"}'


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ManifestError(f"{path}: is larger than {_MAX_FILE_BYTES >> 20} MB and no manifest")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{path}: cannot read ({error.strerror}); name a manifest ({MANIFEST_SUFFIX})") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: is not UTF-8 text; a manifest has one JSON object a line") from None


def _song_of(line: str) -> Song:
    """The song of a line; errors are one line of words."""
    try:
        return Song.model_validate_json(line)
    except ValidationError as error:
        raise ValueError("; ".join(_words(dict(found)) for found in error.errors())) from None


def _words(found: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in found["loc"])
    match found["type"]:
        case "json_invalid":
            return f"is not JSON ({found['msg'].removeprefix('Invalid JSON: ')})"
        case "model_type":
            return f"is not a JSON object such as {_EXAMPLE}"
        case "extra_forbidden":
            return f"unknown key '{field}'; known are {', '.join(Song.model_fields)}"
        case "missing":
            return f"lacks '{field}'"
        case _:
            words = found["msg"].removeprefix("Value error, ")
            return f"{field}: {words}" if field else words


def _note_name(song: Song, number: int, seen: dict[str, int]) -> None:
    # Two folders that differ in case only are one on some systems.
    first = seen.setdefault(song.name.casefold(), number)
    if first != number:
        raise ValueError(f"name '{song.name}' is that of line {first}; every song needs its own")


def write_manifest(path: Path, songs: Iterable[Song]) -> None:
    """Write a manifest that `read_manifest` reads to the same songs.

    Paths below the manifest's folder are written relative to it, so that both can be moved
    together; others are written in full.

    Raises
    ------
    ManifestError
        If there is no song, or a name comes twice.
    OutputError
        If it cannot be written.
    """
    lines: list[str] = []
    seen: dict[str, int] = {}
    for number, song in enumerate(songs, start=1):
        try:
            _note_name(song, number, seen)
        except ValueError as error:
            raise ManifestError(f"{path}: line {number}: {error}") from None
        lines.append(json.dumps(_written(song, path.parent.resolve()), ensure_ascii=False) + "\n")
    if not lines:
        raise ManifestError(f"{path}: no song to write")
    write_text_whole(path, "".join(lines))


def _written(song: Song, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in song:
        if isinstance(value, Path):
            # The last part stays as it is called: a link of another name would be another song.
            full = value.parent.resolve() / value.name
            found[key] = (full.relative_to(folder) if full.is_relative_to(folder) else full).as_posix()
        elif value is not None:
            found[key] = value
    return found


def songs_in(folder: Path) -> tuple[Song, ...]:
    """The songs of a folder whose subfolders each hold ``stems/`` and ``mix.*``, or that is such a song itself.

    A ``groups.yaml`` beside them is taken for the song's groups. Other subfolders are no songs.

    Returns
    -------
    tuple of Song
        Called after their folders, in the order of the names.

    Raises
    ------
    ManifestError
        If there is none, a song has several mixes, or two get the same name.
    """
    try:
        places = [folder, *sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))]
        songs = [song for place in places if (song := _song_at(place)) is not None]
    except OSError as error:
        raise ManifestError(f"{folder}: cannot read ({error.strerror}); name a folder of songs") from None
    if not songs:
        raise ManifestError(
            f"{folder}: no song here; each is a folder with '{STEMS_FOLDER}/' and '{MIX_STEM}.*' (WAV, FLAC, ...)"
        )
    _check_names(folder, songs)
    return tuple(songs)


def _check_names(folder: Path, songs: Sequence[Song]) -> None:
    seen: dict[str, Path] = {}
    for song in songs:
        other = seen.setdefault(song.name.casefold(), song.stems.parent)
        if other != song.stems.parent:
            raise ManifestError(
                f"{folder}: '{other.name}' and '{song.stems.parent.name}' would both be '{song.name}'; rename one"
            )


def _song_at(folder: Path) -> Song | None:
    stems = folder / STEMS_FOLDER
    if not stems.is_dir():
        return None
    mixes = sorted(p for p in folder.glob(f"{MIX_STEM}.*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
    if not mixes:
        return None
    if len(mixes) > 1:
        named = " or ".join(f"'{mix.name}'" for mix in mixes)
        raise ManifestError(f"{folder}: which is the mix, {named}? Move the other away")
    groups = folder / GROUPS_FILE
    return Song(
        name=safe_name(folder.resolve().name), stems=stems, mix=mixes[0], groups=groups if groups.is_file() else None
    )
