"""Folders of songs of one shape, made of links into a dataset; which songs there are is found elsewhere.

A folder holds ``stems/`` (flat, readable names), ``mix.*``, ``groups.yaml`` and ``source.json``, which tells what each
file stands for. Nothing of the dataset is changed. A mix that a dataset does not have is summed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..audio import Audio, AudioInfo, as_stereo, probe, read_at_rate, resampled_frames, write_wav
from ..batch.manifest import GROUPS_FILE, MIX_STEM, STEMS_FOLDER, Song, safe_name
from ..errors import OutputError
from ..files import write_text_whole
from ..groups import ALL, RESERVED
from .layout import DatasetSong, Track

#: Tells what the files of a song's folder stand for, which are ours, and whether the folder is complete.
SOURCE_FILE = "source.json"
FORMAT = "mixbridge-dataset-song"
SCHEMA_VERSION = 1

#: Tracks are read in blocks of this length (s) where a mix is summed.
_BLOCK_S = 20.0


def song_folder(song: DatasetSong, folder: Path, *, name: str) -> Song:
    """Make the folder of a song, or bring it up to date; nothing is written where it is.

    Parameters
    ----------
    song : DatasetSong
        Its audio files exist and can be read.
    folder : Path
        May hold an earlier version of the song.
    name : str
        What the song is called in a manifest.

    Raises
    ------
    OutputError
        If the folder holds files that are not ours, or cannot be written.
    AudioFileError, AudioContentError
        If a mix is summed and a track cannot be decoded.
    """
    stems = _stem_files(song.tracks)
    mix_file = f"{MIX_STEM}{song.mix.suffix.lower()}" if song.mix else f"{MIX_STEM}.wav"
    record = _record(song, stems, mix_file)
    made = Song(name=name, stems=folder / STEMS_FOLDER, mix=folder / mix_file, groups=folder / GROUPS_FILE)
    links = {f"{STEMS_FOLDER}/{file}": track.path for file, track in zip(stems, song.tracks, strict=True)}
    if song.mix is not None:
        links[mix_file] = song.mix
    before = _record_of(folder)
    whole = made.mix.is_file() and (folder / GROUPS_FILE).is_file()
    if whole and before == record and all(_stands_for(folder / place, path) for place, path in links.items()):
        return made
    _claim(folder, before, record)
    try:
        for place, path in links.items():
            _link(folder / place, path)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write here ({error.strerror}); choose another folder with --out") from None
    summed = before is not None and before.get("complete") and before.get("sources") == record["sources"]
    if song.mix is None and not (summed and made.mix.is_file()):
        made.mix.unlink(missing_ok=True)
        sum_tracks([track.path for track in song.tracks], made.mix)
    write_text_whole(folder / GROUPS_FILE, groups_text(song.tracks, stems))
    # Last, because it says that the folder is complete.
    _write_record(folder, record)
    return made


def groups_text(tracks: Sequence[Track], files: Sequence[str]) -> str:
    """groups.yaml of a song; where no two tracks share a subgroup all form one.

    A subgroup of one track is none: a second chain behind the track's own says nothing new.
    """
    groups: dict[str, list[str]] = {}
    for track, file in zip(tracks, files, strict=True):
        if track.group:
            groups.setdefault(_group_name(track.group), []).append(file)
    kept = {name: members for name, members in groups.items() if len(members) > 1} or {ALL: list(files)}
    return yaml.safe_dump(kept, allow_unicode=True, sort_keys=False, width=1000)


def _group_name(text: str) -> str:
    name = "".join(c if c.isprintable() else "_" for c in safe_name(text))
    return f"{name} group" if name in RESERVED else name


def _stem_files(tracks: Sequence[Track]) -> list[str]:
    """A unique file name for every track, whatever the case."""
    taken: set[str] = set()
    files = []
    for track in tracks:
        base, number = safe_name(track.name), 2
        name = base
        while name.casefold() in taken:
            name, number = f"{base} {number}", number + 1
        taken.add(name.casefold())
        files.append(f"{name}{track.path.suffix.lower()}")
    return files


def sum_tracks(paths: Sequence[Path], target: Path) -> None:
    """Write the sum of audio files as a stereo 32-bit float WAV file.

    Mono files go to both channels; files that end earlier are followed by silence. The rate is that of most files.
    The files are read in blocks; the sum is held in memory.

    Raises
    ------
    AudioFileError, AudioContentError
        If a file cannot be decoded.
    OutputError
        If the sum cannot be written.
    """
    infos = [probe(path) for path in paths]
    rate_hz = Counter(info.sample_rate_hz for info in infos).most_common(1)[0][0]
    frames = max(_frames_at(info, rate_hz) for info in infos)
    total: Audio = np.zeros((2, frames), dtype=np.float32)
    block = round(_BLOCK_S * rate_hz)
    for start in range(0, frames, block):
        part = np.zeros((2, min(block, frames - start)))
        for info in infos:
            part += as_stereo(read_at_rate(info, rate_hz=rate_hz, start_frame=start, frames=part.shape[1]))
        total[:, start : start + part.shape[1]] = part
    write_wav(target, total, sample_rate_hz=rate_hz)


def _frames_at(info: AudioInfo, rate_hz: int) -> int:
    return resampled_frames(info.frames, from_hz=info.sample_rate_hz, to_hz=rate_hz)


# ------------------------------------------------------------------ what stands for what


def _record(song: DatasetSong, stems: Sequence[str], mix_file: str) -> dict[str, Any]:
    files = {f"{STEMS_FOLDER}/{file}": t.path for file, t in zip(stems, song.tracks, strict=True)}
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "song": song.name,
        "split": song.split,
        "mix": mix_file if song.mix else "sum of the tracks",
        "groups": [track.group for track in song.tracks],
        "sources": {
            place: _stamp(path) for place, path in [*files.items(), *([(mix_file, song.mix)] if song.mix else [])]
        },
        "files": sorted([*files, mix_file, GROUPS_FILE]),
        "notes": list(song.notes),
        "complete": True,
    }


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    write_text_whole(folder / SOURCE_FILE, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def _stamp(path: Path) -> list[Any]:
    """Path, size and time of change: another file of the same name is another source."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _record_of(folder: Path) -> Mapping[str, Any] | None:
    try:
        content = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(content, Mapping) and content.get("format") == FORMAT
    files = content.get("files") if known else None
    return content if isinstance(files, list) and all(isinstance(file, str) for file in files) else None


def _stands_for(place: Path, source: Path) -> bool:
    try:
        # A copy is as good as its record says; a link has to lead to the source.
        return place.samefile(source) if place.is_symlink() else place.stat().st_size == source.stat().st_size
    except OSError:
        return False


def _claim(folder: Path, before: Mapping[str, Any] | None, record: Mapping[str, Any]) -> None:
    """Say that the folder is being written, and remove what an earlier version of the song left.

    A file that no record of ours names is somebody's, whatever it is called.
    """
    stems = folder / STEMS_FOLDER
    ours = set((before or {}).get("files", ()))
    try:
        there = [p for place in (folder, stems) if place.is_dir() for p in place.iterdir() if p != stems]
        there = [p for p in there if p != folder / SOURCE_FILE and not p.name.startswith(".")]
        for path in there:
            if path.relative_to(folder).as_posix() not in ours:
                raise OutputError(f"{path}: is not ours; move it away or choose another folder with --out")
        # A run that is stopped from here on leaves files that the next one knows as its own.
        _write_record(folder, {**record, "files": sorted(ours | set(record["files"])), "complete": False})
        for path in there:
            if path.relative_to(folder).as_posix() not in record["files"]:
                path.unlink()
        stems.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{folder}: cannot write here ({error.strerror}); choose another folder with --out") from None


def _link(place: Path, source: Path) -> None:
    """A symbolic link, else a hard link, else a copy."""
    place.unlink(missing_ok=True)
    full = source.resolve()
    try:
        place.symlink_to(full)
    except (OSError, NotImplementedError):
        # Windows allows links to administrators and developers only.
        try:
            os.link(full, place)
        except OSError:
            shutil.copy2(full, place)
