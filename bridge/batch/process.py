"""A process that does one song, seen from outside: started, watched, ended; what it does is in `task_process`."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.context import BaseContext
from typing import Literal

from filelock import Timeout

from .request import EXIT_BUSY, Request
from .status import SongPlace, Status, now
from .task_process import THREAD_VARIABLES, end_below, run_request

#: How a process ended: its song's status says the rest, or another process has the song.
Ending = Literal["told", "busy"]

#: How long the lock of a process that was ended may still be held (s): its files are closed after it.
_LOCK_S = 20.0


def song_context(*, threads: int, keep_warm: bool) -> BaseContext:
    """How processes are started, with so many threads each.

    Parameters
    ----------
    keep_warm : bool
        Start them from one that has loaded everything: loading torch and all the rest takes as long
        as a short song.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    # Threads that spin while they wait bring a shared machine to its knees.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not keep_warm or not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", f"{__package__}.task"])
    return context


class SongProcess:
    """One process for one song.

    Parameters
    ----------
    limit_s : float, optional
        It is ended after this time.
    wait_for_others : bool
        It waits for another process that has its song.
    """

    def __init__(
        self, request: Request, *, context: BaseContext, limit_s: float | None = None, wait_for_others: bool = False
    ) -> None:
        self.request, self._limit_s = request, limit_s
        make = context.Process  # type: ignore[attr-defined]
        kept = {"wait_for_others": wait_for_others}
        self._process = make(target=run_request, args=(request.to_json(),), kwargs=kept, name=request.name)
        self._began_s, self._began_at = time.monotonic(), now()
        self._process.start()

    @property
    def sentinel(self) -> int:
        """Becomes ready for `multiprocessing.connection.wait` when the process ends."""
        sentinel: int = self._process.sentinel
        return sentinel

    def ending(self) -> Ending | None:
        """How it ended; None while it runs. One that crashed or took too long is noted as failed."""
        if self._process.is_alive():
            if self._limit_s is None or time.monotonic() - self._began_s < self._limit_s:
                return None
            limit_min = self._limit_s / 60.0
            self.end("failed", f"took longer than {limit_min:g} min; run the batch again, it goes on from there")
            return "told"
        code = self._process.exitcode
        if code == EXIT_BUSY:
            return "busy"
        if code != 0:
            note_end(self.request.place, "failed", self._death(code), pid=self._process.pid, began_at=self._began_at)
        return "told"

    def _death(self, code: int | None) -> str:
        log = self.request.place.log_file
        if code == -getattr(signal, "SIGKILL", 9):
            return f"its process was killed from outside, perhaps for want of memory; try fewer --workers (see {log})"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"its process crashed ({signal.Signals(-code).name}); see {log}"
        return f"its process ended with code {code}; see {log}"

    def end(self, state: Literal["failed", "stopped"], error: str) -> None:
        """End the process and all it started at once, and note why; what was done so far can be gone on with."""
        pid = self._process.pid
        end_below(pid)
        self._process.kill()
        self._process.join()
        note_end(self.request.place, state, error, pid=pid, began_at=self._began_at)


def note_end(
    place: SongPlace, state: Literal["failed", "stopped"], error: str, *, pid: int | None, began_at: str
) -> None:
    """Note what became of a process that could not do so itself, unless another one has taken over by now.

    Parameters
    ----------
    pid : int or None
        Of the process.
    began_at : str
        When it was started (`status.now`).
    """
    try:
        with place.lock().acquire(timeout=_LOCK_S):
            status = place.status() or Status(name=place.name, state="stopped")
            if status.state == "running" and status.attempts and status.attempts[-1].pid == pid:
                status.ended(state, error=error).save(place.status_file)
            elif status.updated_at < began_at:
                # It did not even come to its first words, and nobody else has said any since.
                status.model_copy(update={"state": state, "error": error}).save(place.status_file)
    except Timeout:
        return
