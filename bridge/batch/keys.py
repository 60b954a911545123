"""Tells by content whether a song was done before: files, part and settings; what came of it is in `status`.

A file whose length and time of change are those of the last look is not read again, so that a
thousand songs are looked through in a second.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from ... import __version__
from ..audio import list_stems
from ..errors import BatchError
from ..preset_names import SUFFIX as CONSOLE_SUFFIX
from .manifest import Song
from .settings import SongSettings
from .status import InputFile

#: Raised when the same input would no longer give the same result folder.
_KEY_VERSION = 1

#: A file changed more recently than this (s) can change again within the same tick of its clock.
_SETTLED_S = 2.0

_BLOCK_BYTES = 1 << 20


def input_paths(song: Song, settings: SongSettings) -> list[tuple[str, Path]]:
    """Everything that is read for a song, with its role; stems by name.

    Raises
    ------
    AudioFileError
        If there are no stems.
    """
    stems, _ = list_stems(song.stems, mix_path=song.mix)
    others = {"mix": song.mix, "groups": song.groups, "tempo_map": song.tempo_map}
    if settings.search.console.endswith(CONSOLE_SUFFIX):
        others["console"] = Path(settings.search.console)
    return [("stem", path) for path in stems] + [(role, path) for role, path in others.items() if path is not None]


def look_at(paths: Iterable[tuple[str, Path]], *, known: Iterable[InputFile] = ()) -> tuple[InputFile, ...]:
    """Digests of files; those that are as they were when they were last read are not read.

    Raises
    ------
    BatchError
        If one is missing or cannot be read.
    """
    before = {file.path: file for file in known}
    return tuple(_look(role, path, before) for role, path in paths)


def _look(role: str, path: Path, before: Mapping[str, InputFile]) -> InputFile:
    full = str(path.absolute())
    try:
        now_ns, found = time.time_ns(), path.stat()
        last = before.get(full)
        if last is not None and last.changed_ns and (last.size, last.changed_ns) == (found.st_size, found.st_mtime_ns):
            return last.model_copy(update={"role": role})
        digest = hashlib.blake2b(digest_size=20)
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise BatchError(f"{path}: cannot read ({error.strerror}); correct '{role}' of the song") from None
    settled = found.st_mtime_ns < now_ns - _SETTLED_S * 1e9
    changed_ns = found.st_mtime_ns if settled else 0
    return InputFile(role=role, path=full, size=found.st_size, changed_ns=changed_ns, digest=digest.hexdigest())


def song_key(song: Song, settings: SongSettings, files: Iterable[InputFile]) -> str:
    """Digest of everything that decides on the result of a song.

    Where the files lie does not count, unless sessions refer to them there.
    """
    linked = settings.export_options.link
    chosen = settings.to_json()
    if settings.search.console.endswith(CONSOLE_SUFFIX):
        # Its content counts, wherever it lies.
        chosen["search"]["console"] = Path(settings.search.console).name
    content = {
        "format": [_KEY_VERSION, __version__],
        "name": song.name,
        "part": [song.start_s, song.end_s],
        "settings": chosen,
        "files": [[f.role, f.path if linked else Path(f.path).name, f.digest] for f in files],
    }
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=20).hexdigest()
