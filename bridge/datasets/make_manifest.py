"""From a dataset's folder to a manifest: which songs are complete, and what they are called; layouts live in modules of
their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..audio import AudioInfo, probe
from ..batch.manifest import Song, read_manifest, safe_name, write_manifest
from ..choices import DatasetKind
from ..errors import AudioContentError, AudioFileError, DatasetError, OutputError, ParameterError
from . import medleydb, mixing_secrets, moisesdb, musdb
from .layout import MANIFEST_FILE, DatasetSong, Layout, ReadOptions, Skipped
from .song_folder import song_folder

LAYOUTS: dict[DatasetKind, Layout] = {
    DatasetKind.medleydb: medleydb.LAYOUT,
    DatasetKind.mixing_secrets: mixing_secrets.LAYOUT,
    DatasetKind.moisesdb: moisesdb.LAYOUT,
    DatasetKind.musdb: musdb.LAYOUT,
}

SONGS_FOLDER = "songs"

#: A mix shorter than this share of its longest track is that of an excerpt, or of another song.
_SHORTEST_MIX = 0.5

#: Called with the share done, 0 to 1, and a few words.
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Selection:
    """Which songs of a dataset are wanted.

    Attributes
    ----------
    split : str
        Only those of this part of the dataset; empty for all.
    only : tuple of str
        Only those whose name fits one of these patterns (``*`` and ``?``, whatever the case); empty for all.
    limit : int or None
        At most so many, the first that are complete.
    """

    split: str = ""
    only: tuple[str, ...] = ()
    limit: int | None = None

    def wants(self, song: DatasetSong | Skipped) -> bool:
        """Whether a song is of the wanted split and name."""
        name = song.name.casefold()
        named = not self.only or any(fnmatchcase(name, pattern.casefold()) for pattern in self.only)
        return named and (not self.split or song.split.casefold() == self.split.casefold())


@dataclass(frozen=True)
class FoundSong:
    """A complete song: what the dataset has, and what it is called in the manifest."""

    name: str
    song: DatasetSong

    @property
    def groups(self) -> int:
        """Number of subgroups with more than one track."""
        return sum(n > 1 for group, n in Counter(t.group for t in self.song.tracks).items() if group)

    def to_json(self) -> dict[str, Any]:
        """Plain data for scripts."""
        return {
            "name": self.name,
            "split": self.song.split,
            "tracks": len(self.song.tracks),
            "groups": self.groups,
            "mix": str(self.song.mix) if self.song.mix else "",
            "notes": list(self.song.notes),
        }


@dataclass(frozen=True)
class Made:
    """What was found, and the manifest where one was written."""

    songs: tuple[FoundSong, ...]
    skipped: tuple[Skipped, ...]
    manifest: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data for scripts."""
        return {
            "manifest": str(self.manifest) if self.manifest else "",
            "songs": [song.to_json() for song in self.songs],
            "skipped": [{"name": s.name, "split": s.split, "reason": s.reason} for s in self.skipped],
        }


@dataclass
class _Chosen:
    songs: list[DatasetSong] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def find_songs(
    kind: DatasetKind,
    root: Path,
    *,
    selection: Selection | None = None,
    options: ReadOptions | None = None,
    progress: Progress | None = None,
) -> Made:
    """Look for the songs of a dataset; nothing is written.

    Parameters
    ----------
    kind : DatasetKind
    root : Path
        The dataset's folder.
    selection : Selection, optional
        All songs if not given.
    options : ReadOptions, optional
        What the layout is asked.

    Returns
    -------
    Made
        Complete songs with unique names, and what was skipped.

    Raises
    ------
    DatasetError
        If the folder does not have that layout or no such split, or no song is wanted.
    ParameterError
        If an option does not concern the dataset.
    """
    layout, asked, wanted = LAYOUTS[kind], options or ReadOptions(), selection or Selection()
    _check(layout, root, asked)
    everything = list(layout.read(root, asked))
    if not everything:
        raise DatasetError(f"{root}: no song of {layout.label} here; expected {layout.expects}")
    splits = sorted({song.split for song in everything if song.split})
    if wanted.split and wanted.split.casefold() not in {split.casefold() for split in splits}:
        there = f"there are {', '.join(splits)}" if splits else "this dataset has no splits"
        raise DatasetError(f"{root}: no split {wanted.split!r}; {there}")
    candidates = [song for song in everything if wanted.wants(song)]
    if not candidates:
        raise DatasetError(f"{root}: none of {len(everything)} songs is called {' or '.join(wanted.only)}")
    # Named before the limit cuts, so that a song keeps its name when more are asked for.
    names = _names([song for song in candidates if isinstance(song, DatasetSong)])
    chosen = _complete(candidates, limit=wanted.limit, progress=progress or (lambda _share, _words: None))
    found = tuple(FoundSong(names[id(song)], song) for song in chosen.songs)
    return Made(found, tuple(chosen.skipped))


def make_manifest(
    kind: DatasetKind,
    root: Path,
    out: Path,
    *,
    selection: Selection | None = None,
    options: ReadOptions | None = None,
    progress: Progress | None = None,
) -> Made:
    """Write a manifest of a dataset's songs, and a folder of links for each.

    Run again it brings both up to date. Of songs that were in the manifest, what was added by hand
    (tempo map, start, end) stays, and so do songs that lie elsewhere.

    Parameters
    ----------
    kind, root, selection, options
        As for `find_songs`.
    out : Path
        Gets ``manifest.jsonl`` and ``songs/<name>/``.

    Returns
    -------
    Made
        A song whose sum could not be formed is among those skipped.

    Raises
    ------
    DatasetError, ParameterError
        As `find_songs`; or if no song is complete.
    OutputError
        If `out` cannot be written.
    ManifestError
        If there is a manifest that cannot be read.
    """
    report = progress or (lambda _share, _words: None)
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; choose another folder with --out")
    path = out / MANIFEST_FILE
    before = read_manifest(path) if path.exists() else ()
    found = find_songs(kind, root, selection=selection, options=options, progress=lambda s, w: report(s / 2, w))
    songs: list[Song] = []
    kept: list[FoundSong] = []
    skipped = list(found.skipped)
    for number, one in enumerate(found.songs):
        report(0.5 + number / len(found.songs) / 2, one.name)
        try:
            songs.append(song_folder(one.song, out / SONGS_FOLDER / one.name, name=one.name))
            kept.append(one)
        except (AudioFileError, AudioContentError) as error:
            skipped.append(Skipped(one.name, str(error), one.song.split))
    if not songs:
        first = f", '{skipped[0].name}' because: {skipped[0].reason}" if skipped else ""
        raise DatasetError(f"{root}: no song is complete{first}")
    write_manifest(path, _merged(songs, before, made_in=out / SONGS_FOLDER))
    return Made(tuple(kept), tuple(skipped), path)


def _check(layout: Layout, root: Path, options: ReadOptions) -> None:
    if not root.is_dir():
        raise DatasetError(
            f"{root}: {'not a folder' if root.exists() else 'no such folder'}; name the dataset's folder"
        )
    for name in sorted(options.given() - layout.options):
        raise ParameterError(f"--{name} does not concern {layout.label}; leave it out")
    for place in (options.metadata, options.mixes):
        if place is not None and not place.is_dir():
            raise DatasetError(f"{place}: no such folder; name the folder that holds the files")


def _complete(candidates: Sequence[DatasetSong | Skipped], *, limit: int | None, progress: Progress) -> _Chosen:
    chosen = _Chosen()
    for number, song in enumerate(candidates):
        if limit is not None and len(chosen.songs) >= limit:
            break
        progress(number / len(candidates), song.name)
        reason = song.reason if isinstance(song, Skipped) else _obstacle(song)
        if reason:
            chosen.skipped.append(Skipped(song.name, reason, song.split))
        elif isinstance(song, DatasetSong):
            chosen.songs.append(song)
    return chosen


def _obstacle(song: DatasetSong) -> str:
    """Why a song's audio cannot be used; empty where it can. Headers alone are read."""
    if not song.tracks:
        return "no tracks"
    try:
        tracks = [probe(track.path) for track in song.tracks]
        mix = None if song.mix is None else probe(song.mix)
    except (AudioFileError, AudioContentError) as error:
        return str(error)
    longest: AudioInfo = max(tracks, key=lambda info: info.duration_s)
    if mix is not None and mix.duration_s < _SHORTEST_MIX * longest.duration_s:
        return f"{mix.path.name} lasts {mix.duration_s:.0f} s, {longest.path.name} {longest.duration_s:.0f} s"
    return ""


def _names(songs: Sequence[DatasetSong]) -> dict[int, str]:
    """Unique names for manifest and folders, by identity of the songs."""
    names = {id(song): safe_name(song.name) for song in songs}
    count = Counter(name.casefold() for name in names.values())
    for song in songs:
        if count[names[id(song)].casefold()] > 1:
            names[id(song)] = safe_name(f"{song.name} ({song.key})")
    return names


def _merged(songs: Sequence[Song], before: Sequence[Song], *, made_in: Path) -> list[Song]:
    known = {song.name.casefold(): song for song in before}
    merged = []
    for song in songs:
        old = known.get(song.name.casefold())
        by_hand = {} if old is None else {key: getattr(old, key) for key in ("tempo_map", "start_s", "end_s")}
        merged.append(song.model_copy(update=by_hand))
    names = {song.name.casefold() for song in songs}
    place = made_in.resolve()
    merged += [
        song for name, song in known.items() if name not in names and not song.stems.resolve().is_relative_to(place)
    ]
    return merged
