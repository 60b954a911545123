"""What runs in the process of one song: its threads, its log, its end with that of its parent; the work is in `task`.

Imports little: it is loaded by processes that only start others.
"""

from __future__ import annotations

import faulthandler
import logging
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import wait
from pathlib import Path

from .request import EXIT_BUSY, Request

#: What libraries read when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def run_request(text: str, *, wait_for_others: bool = False) -> None:
    """Entry point of the process: do the song of a request, given as JSON, and leave.

    Exit code 0 when the song's status says what came of it, `EXIT_BUSY` if another process has the song.
    """
    request = Request.from_json(text)
    _leave_signals_to_the_parent(in_job=bool(request.job))
    _end_with_the_parent()
    _write_to(request.place.log_file)
    # Only now: whoever starts this need not wait for torch, and its threads are decided.
    import torch

    from .task import SongBusyError, do_song

    torch.set_num_threads(request.threads)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    try:
        do_song(Request.from_json(text), wait=wait_for_others)
    except SongBusyError:
        sys.exit(EXIT_BUSY)


def _leave_signals_to_the_parent(*, in_job: bool) -> None:
    """Ctrl-C reaches every process of a terminal, and a cluster's signals every process of a job.

    Whoever started this one ends it in an orderly way; plugin workers inherit what is ignored.
    """
    ignored = ["SIGINT", *(["SIGTERM", "SIGCONT", "SIGUSR1", "SIGUSR2"] if in_job else [])]
    for name in ignored:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _end_with_the_parent() -> None:
    """Nobody would know of a process whose batch was killed: it would run beside the one that goes on."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        end_below(os.getpid())
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def end_below(pid: int) -> None:
    """End all processes that a process has started, and theirs."""
    import psutil

    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return
    for process in below:
        try:
            process.kill()
        except psutil.Error:
            continue


def _write_to(path: Path) -> None:
    """What libraries, also those that are no Python, print goes to the song's log; a crash tells where it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    sys.stdout = open(1, "w", buffering=1, closefd=False, encoding="utf-8", errors="replace")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, encoding="utf-8", errors="replace")  # noqa: SIM115
    faulthandler.enable(file=sys.stderr, all_threads=False)
