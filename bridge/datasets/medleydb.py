"""The layout of MedleyDB 1 and 2; nothing else lives here.

Every song has a folder ``<Artist>_<Title>`` with

* ``<Song>_MIX.wav``: the stereo mix,
* ``<Song>_STEMS/<Song>_STEM_01.wav``: stereo stems with all processing but that of the master,
* ``<Song>_RAW/<Song>_RAW_01_01.wav``: unprocessed recordings, numbered by stem,
* ``<Song>_METADATA.yaml``: under ``stems``, by ``S01`` ..., ``filename``, ``instrument``, ``component`` and, under
  ``raw`` by ``R01`` ..., the ``filename`` and ``instrument`` of each recording; ``has_bleed`` of the song. An
  instrument is a text or a list of texts.

The song folders lie in the root or in ``Audio``, ``V1`` or ``V2``. Later releases keep the metadata apart, in a folder
``Metadata`` (in the repository of the tools: ``medleydb/data/Metadata``).

Source: R. Bittner et al., "MedleyDB: A multitrack dataset for annotation-intensive MIR research", ISMIR 2014; the tools
at https://github.com/marl/medleydb (``multitrack.py``).

The recordings become the tracks and the dataset's stems the subgroups, as in S. Lee et al., "Searching for music mixing
graphs: a pruning approach", DAFx 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..choices import TrackSource
from .layout import (
    DatasetSong,
    IncompleteSongError,
    Layout,
    ReadOptions,
    Skipped,
    Track,
    inside,
    mapping,
    numbered,
    present,
    subfolders,
    text_at,
    yaml_mapping,
)

#: Folders of a release that hold the songs.
_SONG_FOLDERS = ("Audio", "V1", "V2")
#: Places of metadata that is kept apart, from the root.
_METADATA_FOLDERS = ("Metadata", "medleydb/data/Metadata", "../Metadata")


def read(root: Path, options: ReadOptions) -> Iterator[DatasetSong | Skipped]:
    """Give all songs of a copy of MedleyDB.

    Parameters
    ----------
    root : Path
        Folder of the songs, or one that holds ``Audio``, ``V1`` or ``V2``.
    options : ReadOptions
        `tracks` and `metadata` concern it.
    """
    places = [(root, "")] + [(root / name, name) for name in _SONG_FOLDERS if (root / name).is_dir()]
    metadata = [options.metadata] if options.metadata else [root / name for name in _METADATA_FOLDERS]
    for place, split in places:
        for folder in subfolders(place):
            song = folder.name
            if not any((folder / f"{song}_{part}").exists() for part in ("MIX.wav", "RAW", "STEMS", "METADATA.yaml")):
                continue
            try:
                yield _song(folder, [folder, *metadata], split=split, source=options.tracks)
            except IncompleteSongError as error:
                yield Skipped(song, str(error), split)


def _song(folder: Path, metadata: list[Path], *, split: str, source: TrackSource) -> DatasetSong:
    song = folder.name
    file_name = f"{song}_METADATA.yaml"
    found = next((place / file_name for place in metadata if (place / file_name).is_file()), None)
    if found is None:
        raise IncompleteSongError(f"{file_name} is missing; name the folder that holds it with --metadata")
    content = yaml_mapping(found)
    stems = mapping(content.get("stems"), f"{file_name}: stems")
    mix = present(folder / f"{song}_MIX.wav")
    tracks: list[Track] = []
    notes: list[str] = []
    groups = _group_names(stems, file_name)
    for key in sorted(stems):
        stem = mapping(stems[key], f"{file_name}: stems.{key}")
        where = f"{file_name}: stems.{key}"
        recordings = stem.get("raw")
        if source is TrackSource.raw and isinstance(recordings, Mapping) and recordings:
            tracks += _recordings(recordings, folder / f"{song}_RAW", where=where, group=groups[key])
            continue
        if source is TrackSource.raw:
            notes.append(f"stem {key} has no recordings, so the stem itself is the track")
        path = present(inside(folder / f"{song}_STEMS", text_at(stem, "filename", where)))
        tracks.append(Track(path, groups[key]))
    if content.get("has_bleed") == "yes":
        notes.append("recordings with bleed")
    names = numbered([track.name for track in tracks])
    named = tuple(Track(t.path, name, t.group) for t, name in zip(tracks, names, strict=True))
    return DatasetSong(song, split or "root", named, mix, split, tuple(notes))


def _recordings(recordings: Mapping[Any, Any], folder: Path, *, where: str, group: str) -> Iterator[Track]:
    for key in sorted(mapping(recordings, f"{where}.raw")):
        place = f"{where}.raw.{key}"
        recording = mapping(recordings[key], place)
        path = present(inside(folder, text_at(recording, "filename", place)))
        yield Track(path, _instrument(recording) or group, group)


def _group_names(stems: Mapping[str, Any], file_name: str) -> dict[str, str]:
    """The instrument of every stem, numbered where there are several."""
    names: dict[str, str] = {}
    for key in sorted(stems):
        base = _instrument(mapping(stems[key], f"{file_name}: stems.{key}")) or key
        name, number = base, 2
        while name in names.values():
            name, number = f"{base} {number}", number + 1
        names[key] = name
    return names


def _instrument(content: Mapping[str, Any]) -> str:
    value = content.get("instrument")
    words = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return ", ".join(word.strip() for word in words if isinstance(word, str) and word.strip())


LAYOUT = Layout(
    label="MedleyDB",
    expects="folders <Song> with <Song>_MIX.wav, <Song>_RAW/ and <Song>_METADATA.yaml",
    options=frozenset({"tracks", "metadata"}),
    read=read,
)
