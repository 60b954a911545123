"""Does songs in processes of this machine, several at once; which songs and what came of them is in `run`."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import psutil

from .manifest import Song
from .process import SongProcess, song_context
from .request import request_of
from .settings import SongSettings
from .status import Status, place_of

#: Memory that a song of usual length and size needs (bytes): the median of those that were measured.
SONG_MEMORY_BYTES = 3_000_000_000

#: Cores that a song makes good use of: a second one makes it quicker by a fifth at most.
SONG_CORES = 1

#: How often running songs are looked at (s), and songs that others work on.
_LOOK_EVERY_S = 0.5
_ASK_EVERY_S = 2.0


@dataclass(frozen=True)
class Working:
    """A song that is being done, for whoever shows it.

    Attributes
    ----------
    worker : str
        Number of the worker, or where on the cluster.
    share : float
        Of the present phase, 0 to 1.
    """

    worker: str
    name: str
    phase: str
    share: float


@dataclass(frozen=True)
class Watch:
    """Who is told what happens.

    Attributes
    ----------
    working : callable
        Called several times a second with the songs that are being done.
    ended : callable
        Called with the status of each song that has ended.
    """

    working: Callable[[Sequence[Working]], None]
    ended: Callable[[Status], None]


def default_workers() -> int:
    """As many songs at once as the machine has cores and memory for."""
    cores = (os.cpu_count() or 1) // SONG_CORES
    return max(1, min(cores, int(psutil.virtual_memory().available) // SONG_MEMORY_BYTES))


def do_here(
    songs: Sequence[Song],
    folder: Path,
    settings: SongSettings,
    *,
    workers: int,
    threads: int,
    limit_s: float | None,
    watch: Watch,
) -> None:
    """Do songs, each in a process of its own, and write their statuses.

    A process that crashes costs its own song. Songs that another batch works on are waited for,
    and done here if that batch does not finish them. If this is interrupted, all processes are
    ended and their songs can be gone on with.

    Parameters
    ----------
    workers : int
        So many songs at once.
    threads : int
        Of each process.
    limit_s : float or None
        Longest time for one song.
    """
    context = song_context(threads=threads, keep_warm=True)
    left, running = deque(songs), dict[int, SongProcess]()
    asked: dict[str, float] = {}
    try:
        while left or running:
            for slot in range(workers):
                song = _next(left, folder, asked) if slot not in running else None
                if song is not None:
                    request = request_of(folder, song, settings, threads=threads)
                    running[slot] = SongProcess(request, context=context, limit_s=limit_s)
            _pause(running)
            for slot, process in list(running.items()):
                if (ending := process.ending()) is None:
                    continue
                del running[slot]
                if ending == "busy":
                    left.append(Song.model_validate(process.request.song, strict=False))
                elif (status := process.request.place.status()) is not None:
                    watch.ended(status)
            watch.working([_seen(slot, process) for slot, process in sorted(running.items())])
    finally:
        for process in running.values():
            process.end("stopped", "the batch was stopped; run it again to go on")


def _next(left: deque[Song], folder: Path, asked: dict[str, float]) -> Song | None:
    """The first song that nobody works on; others are asked for again after a while."""
    for _ in range(len(left)):
        song = left.popleft()
        if time.monotonic() - asked.get(song.name, float("-inf")) > _ASK_EVERY_S:
            if not place_of(folder, song).is_locked():
                return song
            asked[song.name] = time.monotonic()
        left.append(song)
    return None


def _pause(running: dict[int, SongProcess]) -> None:
    if running:
        wait([process.sentinel for process in running.values()], timeout=_LOOK_EVERY_S)
    else:
        time.sleep(_LOOK_EVERY_S)


def _seen(slot: int, process: SongProcess) -> Working:
    status = process.request.place.status()
    begun = status is not None and status.state == "running"
    phase, share = (status.phase, status.share) if status is not None and begun else ("start", 0.0)
    return Working(str(slot + 1), process.request.name, phase, share)
