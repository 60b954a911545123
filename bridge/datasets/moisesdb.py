"""The layout of MoisesDB; nothing else lives here.

``moisesdb_v0.1/<uuid>/data.json`` has ``song``, ``artist``, ``genre`` and, under ``stems``, a list of ``stemName`` and
``tracks``; each track has an ``id``, a ``trackType``, an ``extension`` and ``has_bleed``. Its audio is
``<uuid>/<stemName>/<id>.<extension>``. A stem name may come more than once. There is no file of the mix: it is the sum
of all tracks, those that end earlier followed by silence.

Source: I. Pereira et al., "MoisesDB: A dataset for source separation beyond 4-stems", ISMIR 2023; the tools at
https://github.com/moises-ai/moises-db (``track.py``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .layout import (
    DatasetSong,
    IncompleteSongError,
    Layout,
    ReadOptions,
    Skipped,
    Track,
    inside,
    mapping,
    metadata_text,
    numbered,
    present,
    subfolders,
    text_at,
)

VERSION_FOLDER = "moisesdb_v0.1"
DATA_FILE = "data.json"


def read(root: Path, _options: ReadOptions) -> Iterator[DatasetSong | Skipped]:
    """Give all songs of a copy of MoisesDB; `root` is the folder of the songs or holds ``moisesdb_v0.1``."""
    place = root / VERSION_FOLDER if (root / VERSION_FOLDER).is_dir() else root
    for folder in subfolders(place):
        if not (folder / DATA_FILE).exists():
            continue
        name = folder.name
        try:
            data = _data(folder)
            name = _name(data) or name
            yield _song(folder, data, name)
        except IncompleteSongError as error:
            yield Skipped(name, str(error))


def _data(folder: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(metadata_text(folder / DATA_FILE))
    except (ValueError, RecursionError):
        raise IncompleteSongError(f"{DATA_FILE} is not valid JSON") from None
    return mapping(content, DATA_FILE)


def _name(data: Mapping[str, Any]) -> str:
    parts = [data.get("artist"), data.get("song")]
    return " - ".join(part.strip() for part in parts if isinstance(part, str) and part.strip())


def _song(folder: Path, data: Mapping[str, Any], name: str) -> DatasetSong:
    stems = data.get("stems")
    if not isinstance(stems, list) or not stems:
        raise IncompleteSongError(f"{DATA_FILE}: 'stems' is missing")
    found: list[Track] = []
    bleed = 0
    for index, stem in enumerate(stems):
        where = f"{DATA_FILE}: stems.{index}"
        stem_name = text_at(mapping(stem, where), "stemName", where)
        tracks = stem.get("tracks")
        for number, track in enumerate(tracks if isinstance(tracks, list) else []):
            place = f"{where}.tracks.{number}"
            file_name = f"{text_at(mapping(track, place), 'id', place)}.{text_at(track, 'extension', place)}"
            path = present(inside(inside(folder, stem_name), file_name))
            found.append(Track(path, text_at(track, "trackType", place), stem_name))
            bleed += track.get("has_bleed") is True
    # The same stem may be listed twice; its tracks stay together.
    order = list(dict.fromkeys(track.group for track in found))
    found.sort(key=lambda track: order.index(track.group))
    names = numbered([track.name for track in found])
    notes = (f"bleed in {bleed} of {len(found)} tracks",) if bleed else ()
    named = tuple(Track(t.path, n, t.group) for t, n in zip(found, names, strict=True))
    return DatasetSong(name, folder.name[:8], named, None, notes=notes)


LAYOUT = Layout(
    label="MoisesDB",
    expects=f"{VERSION_FOLDER}/<uuid>/{DATA_FILE} with folders of tracks beside it",
    options=frozenset(),
    read=read,
)
