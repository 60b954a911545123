"""Runs a program that may hang, crash or talk without end, with all that it starts; knows nothing of DAWs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...errors import DawError

_POLL_S = 0.1

#: How long a program may take to end when it is told to.
_GRACE_S = 2.0

#: What a program prints beyond this is thrown away: some never stop.
MOST_LOG_BYTES = 4 << 20

#: So much of the end of a log is kept for people.
_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes
    ----------
    exit_code : int or None
        Below 0: the signal that ended it; None if it was ended by us because its time was over.
    log : str
        The end of what it printed.
    """

    exit_code: int | None
    log: str

    @property
    def last_words(self) -> str:
        """The last lines it printed, as one line."""
        lines = [" ".join(line.split()) for line in self.log.splitlines()]
        return " / ".join([line for line in lines if line][-3:])[-400:]


def run_program(
    command: Sequence[str | Path], *, folder: Path, timeout_s: float, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run a program to its end, or end it with everything it started when its time is over.

    Parameters
    ----------
    command : sequence
        Program and arguments.
    folder : Path
        Its current folder; its log is written there.
    timeout_s : float
    environment : mapping, optional
        Variables in addition to those of this process.

    Raises
    ------
    DawError
        If it cannot be started.
    """
    log = folder / "log.txt"
    with log.open("ab") as stream:
        try:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                # A group of its own, so that all of it can be ended, and Ctrl-C reaches us alone.
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            raise DawError(f"{command[0]}: cannot be started ({error.strerror}); check the program") from None
    try:
        exit_code, cut = _watch(process, log, until_s=time.monotonic() + timeout_s)
    finally:
        # Also what the program left behind, and all of it when we are interrupted.
        _end(process)
    return Ended(exit_code, (cut + _tail(log))[-_TAIL_BYTES:])


def _watch(process: subprocess.Popen[bytes], log: Path, *, until_s: float) -> tuple[int | None, str]:
    """The exit code, and the end of what was thrown away of the log: its last words may be there."""
    cut = ""
    while time.monotonic() < until_s:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL_S), cut
        if log.stat().st_size > MOST_LOG_BYTES:
            cut = _tail(log)
            os.truncate(log, 0)
    return process.poll(), cut


def _end(process: subprocess.Popen[bytes]) -> None:
    if os.name != "posix":
        if process.poll() is None:
            # Windows has no groups that are ended at once: this ends the program and its children.
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
        process.wait()
        return
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # Gone already, or, on macOS, nothing but remains of it.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _tail(log: Path) -> str:
    """The end of a text file; empty if there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(log.stat().st_size - _TAIL_BYTES, 0))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
