"""Runs a batch from the list of its songs to its table; how songs are done, here or on a cluster, lives elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import BatchError
from .local import Watch, default_workers, do_here
from .manifest import Song, read_manifest, songs_in
from .plan import PlannedSong, plan
from .settings import SongSettings
from .status import Status, place_of
from .table import row_of, write_table


class Doer(Protocol):
    """Does songs and writes their statuses."""

    def __call__(self, songs: Sequence[Song], folder: Path, settings: SongSettings, *, watch: Watch) -> None:
        """Do them all, or leave them to somebody else and return."""


@dataclass(frozen=True)
class Here:
    """Does songs on this machine.

    Attributes
    ----------
    workers : int or None
        Songs at once; as many as the machine has cores and memory for if not given.
    threads : int or None
        Of each; the cores shared out among the workers if not given.
    limit_s : float or None
        Longest time for one song.
    """

    workers: int | None = None
    threads: int | None = None
    limit_s: float | None = None

    def shares(self) -> tuple[int, int]:
        """Workers, and threads of each."""
        workers = self.workers or default_workers()
        return workers, self.threads or max((os.cpu_count() or 1) // workers, 1)

    def __call__(self, songs: Sequence[Song], folder: Path, settings: SongSettings, *, watch: Watch) -> None:
        """Do them all."""
        workers, threads = self.shares()
        do_here(songs, folder, settings, workers=workers, threads=threads, limit_s=self.limit_s, watch=watch)


@dataclass(frozen=True)
class BatchResult:
    """What came of a batch.

    Attributes
    ----------
    rows : tuple of dict
        One a song, in the order of the songs (`table.row_of`).
    done_now : int
        Songs that were done in this run; the others were done before.
    """

    rows: tuple[dict[str, Any], ...]
    done_now: int

    @property
    def failed(self) -> int:
        """Songs without a result."""
        return sum(row["state"] == "failed" for row in self.rows)


def read_songs(source: Path) -> tuple[Song, ...]:
    """The songs of a manifest or of a folder of songs (`ManifestError` where there is none)."""
    return songs_in(source) if source.is_dir() else read_manifest(source)


def run_batch(
    songs: Sequence[Song],
    folder: Path,
    settings: SongSettings,
    *,
    do: Doer,
    watch: Watch,
    look: Callable[[str, float], None] | None = None,
) -> BatchResult:
    """Do what is left to do of a batch and write its table.

    Parameters
    ----------
    songs : sequence of Song
        With names of their own (`manifest.read_manifest`).
    folder : Path
        Everything is written there; a batch that was stopped goes on in the same folder.
    do : callable
        `Here`, or the cluster.
    look : callable, optional
        Told how far the songs are looked through before the first begins.

    Returns
    -------
    BatchResult

    Raises
    ------
    MixbridgeError
        If the settings do not fit each other, or the folder cannot be written. What is wrong with
        a song is in its row.
    """
    check_folder(folder)
    planned = plan(songs, folder, settings, report=look)
    for p in planned:
        if p.todo == "invalid":
            watch.ended(_note_invalid(p, folder))
    todo = [p.song for p in planned if p.todo not in ("done", "invalid")]
    try:
        if todo:
            do(todo, folder, settings, watch=watch)
    finally:
        rows = rows_of(songs, folder)
        write_table(folder, rows)
    before = {p.song.name for p in planned if p.todo == "done"}
    return BatchResult(rows, sum(row["state"] == "done" and row["name"] not in before for row in rows))


def check_folder(folder: Path) -> None:
    """Raise `BatchError` for a place that cannot be the folder of a batch."""
    if folder.exists() and not folder.is_dir():
        raise BatchError(f"{folder}: is a file; choose a folder with --out")
    if folder.is_symlink() and not folder.exists():
        raise BatchError(f"{folder}: is a link to nowhere; choose another folder with --out")


def _note_invalid(planned: PlannedSong, folder: Path) -> Status:
    place = place_of(folder, planned.song)
    known = planned.status or Status(name=planned.song.name, state="failed")
    status = known.model_copy(update={"state": "failed", "error": planned.error})
    with place.lock():
        status.save(place.status_file)
    return status


def rows_of(songs: Sequence[Song], folder: Path) -> tuple[dict[str, Any], ...]:
    """The rows of a batch's table as its statuses are now; songs that were not begun are "stopped"."""
    rows = []
    for song in songs:
        place = place_of(folder, song)
        status = place.status() or Status(name=song.name, state="stopped", error="was not begun")
        rows.append(row_of(status, place))
    return tuple(rows)
