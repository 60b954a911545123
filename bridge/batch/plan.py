"""What is left to do of a batch, seen from its files alone; nothing is analysed or written here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..audio import probe
from ..errors import BatchError, MixbridgeError
from .keys import input_paths, look_at, song_key
from .manifest import Song
from .settings import SongSettings
from .status import Status, place_of
from .task import is_done

#: "changed": done before with other files or settings; "begun": an attempt at it was stopped; "failed":
#: the last attempt failed, it is tried again; "invalid": it cannot be done with these files.
Todo = Literal["done", "new", "begun", "changed", "failed", "invalid"]


@dataclass(frozen=True)
class PlannedSong:
    """One song and what is to be done with it.

    Attributes
    ----------
    status : Status or None
        What is known of it so far.
    error : str
        Why it is invalid.
    audio_s, tracks : float, int
        Length to analyse and number of stems; 0 unless asked for, or where it is invalid.
    """

    song: Song
    todo: Todo
    status: Status | None = None
    error: str = ""
    audio_s: float = 0.0
    tracks: int = 0


def plan(
    songs: Sequence[Song],
    folder: Path,
    settings: SongSettings,
    *,
    measure: bool = False,
    report: Callable[[str, float], None] | None = None,
) -> tuple[PlannedSong, ...]:
    """Look at every song: is it done, and if not, can it be?

    Parameters
    ----------
    folder : Path
        Of the batch.
    measure : bool
        Also look at how long the songs are.
    report : callable, optional
        Called with a name and the share that is looked through (0 to 1).

    Returns
    -------
    tuple of PlannedSong
        In the order of the songs.
    """
    found = []
    for number, song in enumerate(songs):
        if report is not None:
            report(song.name, number / len(songs))
        found.append(_look(song, folder, settings, measure=measure))
    return tuple(found)


def _look(song: Song, folder: Path, settings: SongSettings, *, measure: bool) -> PlannedSong:
    place = place_of(folder, song)
    status = place.status()
    try:
        paths = input_paths(song, settings)
        missing = next((path for _, path in paths if not path.is_file()), None)
        if missing is not None:
            raise BatchError(f"{missing}: no such file; correct the song '{song.name}'")
        todo: Todo = "new"
        if status is not None:
            todo = _after(status)
            # What is not done gets its digests where it is done, not before the first song begins.
            if status.state == "done":
                key = song_key(song, settings, look_at(paths, known=status.files))
                todo = "done" if is_done(status, key, place, settings) else "changed"
        elif place.result.exists():
            raise BatchError(f"{place.result}: is not of this batch; move it away or choose another --out")
        tracks = sum(role == "stem" for role, _ in paths)
        return PlannedSong(song, todo, status, audio_s=_length_s(song) if measure else 0.0, tracks=tracks)
    except MixbridgeError as error:
        return PlannedSong(song, "invalid", status, " ".join(str(error).split()))


def _after(status: Status) -> Todo:
    return "failed" if status.state == "failed" else "begun"


def _length_s(song: Song) -> float:
    whole_s = probe(song.mix).duration_s
    start_s = song.start_s or 0.0
    end_s = whole_s if song.end_s is None else min(song.end_s, whole_s)
    if end_s <= start_s:
        raise BatchError(f"{song.mix}: is {whole_s:.2f} s long; correct 'start_s' and 'end_s' of '{song.name}'")
    return end_s - start_s
