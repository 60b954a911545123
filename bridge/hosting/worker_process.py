"""One worker process seen from outside: started, asked, watched, killed. When to do which is decided in `pool`."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError
from .refs import PluginRef
from .worker import resident_mb

#: A worker that is not told to load more keeps this many plugins.
_MOST_PLUGINS = 16
_WATCH_EVERY_S = 0.1
_STOP_WITHIN_S = 2.0
#: What plugins print beyond this is thrown away: some never stop.
_MOST_LOG_BYTES = 16 << 20

#: -P: nothing that happens to lie in the current folder is imported.
_BOOTSTRAP = "import json, sys; from {package} import worker; worker.main(json.loads(sys.argv[1]))"


class WorkerDied(Exception):  # noqa: N818 - never leaves the pool
    """The process ended without an answer; says how."""


class WorkerSilent(Exception):  # noqa: N818
    """No sign of life within the time limit; the process was killed."""


class WorkerTooLarge(Exception):  # noqa: N818
    """More memory than allowed; the process was killed."""


@dataclass(frozen=True)
class Launch:
    """What the command line of a worker begins with and what its environment adds; see `places`."""

    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class WorkerLimits:
    """When a worker is killed; see `PluginPool`."""

    time_limit_s: float
    memory_limit_mb: int


class WorkerProcess:
    """A running worker; used by one thread at a time, killed from any.

    Attributes
    ----------
    requests : int
        Requests it has answered.
    plugins : set of PluginRef
        Plugins it was asked for; it has most of them still loaded.
    """

    def __init__(self, launch: Launch, *, limits: WorkerLimits, log: Path) -> None:
        self.launch = launch
        self.requests = 0
        self.plugins: set[PluginRef] = set()
        self._limits = limits
        self._log = log
        self._ending = threading.Lock()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        inherited: int | None = None
        self._lifeline: int | None = None
        if os.name == "posix":
            inherited, self._lifeline = os.pipe()
        try:
            self._process = self._popen(inherited)
        except OSError as error:
            if self._lifeline is not None:
                os.close(self._lifeline)
            reason = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
            raise OutputError(f"{log}: cannot start a plugin worker ({reason})") from None
        finally:
            if inherited is not None:
                os.close(inherited)
        threading.Thread(target=self._read_answers, name="plugin-answers", daemon=True).start()

    def _popen(self, inherited: int | None) -> subprocess.Popen[bytes]:
        options = {
            "lifeline": inherited,
            "memory_limit_mb": self._limits.memory_limit_mb,
            "most_plugins": _MOST_PLUGINS,
        }
        code = _BOOTSTRAP.format(package=__package__)
        command = [*self.launch.command, sys.executable, "-P", "-c", code, json.dumps(options)]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1", **dict(self.launch.environment)},
                pass_fds=() if inherited is None else (inherited,),
                # Ctrl-C is for the caller: it ends the workers in order.
                start_new_session=os.name == "posix",
            )

    @property
    def process_id(self) -> int:
        """Id of the process."""
        return self._process.pid

    def ask(self, request: Mapping[str, Any], *, plugin: PluginRef) -> Mapping[str, Any]:
        """Send a request and wait for its answer.

        Raises
        ------
        WorkerDied, WorkerSilent, WorkerTooLarge
            After any of these the process is gone.
        """
        self.plugins.add(plugin)
        self.requests += 1
        self._send(json.dumps(request).encode("utf-8") + b"\n")
        until_s = time.monotonic() + self._limits.time_limit_s
        while True:
            try:
                line = self._answers.get(timeout=_WATCH_EVERY_S)
            except queue.Empty:
                self._watch(until_s)
                continue
            if not line:
                raise WorkerDied(self._how_it_died())
            answer: Mapping[str, Any] = json.loads(line)
            if "alive" not in answer:
                return answer
            until_s = time.monotonic() + self._limits.time_limit_s

    def _send(self, line: bytes) -> None:
        stdin = self._process.stdin
        try:
            if stdin is not None:
                stdin.write(line)
                stdin.flush()
        except OSError:
            raise WorkerDied(self._how_it_died()) from None

    def _watch(self, until_s: float) -> None:
        held_mb = resident_mb(self._process.pid)
        if held_mb > self._limits.memory_limit_mb:
            self.kill()
            raise WorkerTooLarge(f"more memory than the limit of {self._limits.memory_limit_mb} MB")
        if time.monotonic() > until_s:
            self.kill()
            raise WorkerSilent(f"within {self._limits.time_limit_s:g} s")
        if self._log.stat().st_size > _MOST_LOG_BYTES:
            os.truncate(self._log, 0)

    def _read_answers(self) -> None:
        stdout = self._process.stdout
        if stdout is not None:
            with stdout:
                for line in stdout:
                    self._answers.put(line)
        self._answers.put(b"")

    def _how_it_died(self) -> str:
        self._process.kill()
        code = self._process.wait()
        if code < 0:
            try:
                return signal.Signals(-code).name
            except ValueError:
                return f"signal {-code}"
        return f"exit code {code}"

    def stop(self) -> None:
        """Let the process end by itself; kill it if it does not."""
        self._close_stdin()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_WITHIN_S)
        self.kill()

    def _close_stdin(self) -> None:
        # What could not be sent to a process that is gone is of no interest.
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def kill(self) -> None:
        """End the process at once, also a stopped or stuck one."""
        self._process.kill()
        self._process.wait()
        with self._ending:
            self._close_stdin()
            if self._lifeline is not None:
                os.close(self._lifeline)
                self._lifeline = None
