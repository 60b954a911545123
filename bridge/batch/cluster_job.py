"""What a job of a cluster runs: one song in a process of its own; who sends jobs there is `slurm`.

Imports little: torch is loaded by the process of the song only.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from .process import SongProcess, song_context
from .request import Request

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

#: How often a song is looked at (s).
_LOOK_EVERY_S = 1.0


@dataclass
class SongJob:
    """Does the song of a request, and is sent again by submitit when its turn is over.

    Attributes
    ----------
    limit_s : float or None
        Longest time for the song in one turn.
    """

    limit_s: float | None = None
    _process: SongProcess | None = field(default=None, repr=False)

    def __call__(self, text: str) -> None:
        """Do the song; its status says what came of it."""
        request = replace(Request.from_json(text), job=job_id())
        # A song that waits for another process is one that a lost node still works on.
        self._process = SongProcess(
            request,
            context=song_context(threads=request.threads, keep_warm=False),
            limit_s=self.limit_s,
            wait_for_others=True,
        )
        # Set here, because submitit sets its own before it calls this; it passes over this signal.
        signal.signal(signal.SIGTERM, self._preempted)
        while self._process.ending() is None:
            wait([self._process.sentinel], timeout=_LOOK_EVERY_S)

    def checkpoint(self, text: str) -> DelayedSubmission:
        """Called by submitit when the time is nearly over: what is to be sent for the next turn."""
        from submitit.helpers import DelayedSubmission

        self._stop("its time was over; it goes on in its next turn")
        return DelayedSubmission(SongJob(self.limit_s), text)

    def _preempted(self, _number: int, _frame: Any) -> None:
        """Whoever sends this ends the job soon, and decides whether it gets another turn.

        A job that left by itself now would count as complete.
        """
        self._stop("its job was ended by the cluster")
        while True:
            time.sleep(1.0)

    def _stop(self, why: str) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end("stopped", why)


def job_id() -> str:
    """The job that this runs in, as `squeue` calls it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID", "unknown")
