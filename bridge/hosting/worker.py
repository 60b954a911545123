"""The process that plugins run in: reads requests, one JSON object a line, and answers them; knows nothing of the pool.

Started by `pool` with the log as its standard error. What plugins print goes there too; answers
go to what was standard output when the process started. Audio is overwritten in place in the
files that requests name. Everything runs in the main thread: plugins demand it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import IO, Any

from ..errors import MixbridgeError, PluginError
from .audio_exchange import map_audio
from .instance import Hosted, load
from .refs import PluginRef, PluginSettings

#: Frames processed between two signs of life.
_CHUNK_FRAMES = 1 << 19


class Worker:
    """Answers requests with plugins it keeps loaded."""

    def __init__(self, answers: IO[str], *, most_plugins: int, memory_limit_mb: int) -> None:
        self._answers = answers
        self._most_plugins = most_plugins
        self._memory_limit_mb = memory_limit_mb
        self._loaded: OrderedDict[PluginRef, Hosted] = OrderedDict()
        self._handlers: Mapping[str, Callable[[Hosted, Mapping[str, Any]], Mapping[str, Any]]] = {
            "render": self._render,
            "describe": self._describe,
            "state": self._state,
            "read_back": self._read_back,
        }

    def answer(self, request: Mapping[str, Any]) -> None:
        """Do what a request asks and send one answer."""
        ref = PluginRef.from_data(request["plugin"])
        try:
            self._send(self._handlers[request["do"]](self._plugin(ref), request))
        except MixbridgeError as error:
            # It may have failed half-way: the next request gets a new instance.
            self._loaded.pop(ref, None)
            self._send({"error": type(error).__name__, "message": str(error)})
        except MemoryError:
            self._loaded.pop(ref, None)
            limit = f"{ref.label}: needs more memory than the limit of {self._memory_limit_mb} MB"
            self._send({"error": PluginError.__name__, "message": f"{limit}; raise it or use another plugin"})

        except Exception as error:
            # Whatever the host raises: this one request fails, and the plugin is not trusted any more.
            self._loaded.pop(ref, None)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._send({"error": PluginError.__name__, "message": f"{ref.label}: {reason}"})

    def _send(self, answer: Mapping[str, Any]) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()

    def alive(self) -> None:
        """Give a sign of life."""
        self._send({"alive": True})

    def _plugin(self, ref: PluginRef) -> Hosted:
        if ref in self._loaded:
            self._loaded.move_to_end(ref)
            return self._loaded[ref]
        crowded = resident_mb(os.getpid()) > self._memory_limit_mb / 2
        while self._loaded and (crowded or len(self._loaded) >= self._most_plugins):
            self._loaded.popitem(last=False)
        self._loaded[ref] = load(ref, alive=self.alive)
        self.alive()
        return self._loaded[ref]

    def _render(self, plugin: Hosted, request: Mapping[str, Any]) -> Mapping[str, Any]:
        channels, frames, block_frames = request["channels"], request["frames"], request["block_frames"]
        plugin.check_channels(channels)
        settings = PluginSettings.from_data(request["settings"])
        plugin.prepare(
            settings, sample_rate_hz=request["sample_rate_hz"], block_frames=block_frames, alive=self.alive
        )  # fmt: skip
        audio = map_audio(request["path"], channels=channels, frames=frames)
        # Whole blocks, so that the plugin sees the same blocks as in one call.
        step = max(1, _CHUNK_FRAMES // block_frames) * block_frames
        for start in range(0, frames, step):
            audio[:, start : start + step] = plugin.process(audio[:, start : start + step])
            self.alive()
        return {}

    def _describe(self, plugin: Hosted, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"description": plugin.describe().to_data()}

    def _state(self, plugin: Hosted, request: Mapping[str, Any]) -> Mapping[str, Any]:
        settings = PluginSettings.from_data(request["settings"])
        state = plugin.component_state(settings, sample_rate_hz=request["sample_rate_hz"], alive=self.alive)
        return {"settings": PluginSettings(state=state).to_data()}

    def _read_back(self, plugin: Hosted, request: Mapping[str, Any]) -> Mapping[str, Any]:
        settings = PluginSettings.from_data(request["settings"])
        return {"values": plugin.read_back(settings, sample_rate_hz=request["sample_rate_hz"], alive=self.alive)}


def resident_mb(process_id: int) -> float:
    """Memory a process holds, in MB; 0 where the system does not tell (elsewhere than on Linux)."""
    try:
        with open(f"/proc/{process_id}/statm", "rb") as file:  # noqa: PTH123 - read ten times a second
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, ValueError, IndexError):
        return 0.0


def _die_with_parent(lifeline: int) -> None:
    """Have the kernel end this process when the other end of a pipe closes, also inside a stuck plugin."""
    import fcntl

    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    # Elsewhere the signal is SIGIO, which ends a process just as well.
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    try:
        if os.read(lifeline, 1) == b"":
            os._exit(0)
    except BlockingIOError:
        pass


def _limit_memory(limit_mb: int) -> None:
    """Let allocations fail far above the limit that the pool watches, should one be too quick for it."""
    if sys.platform == "linux":
        import resource

        # Address space is no measure: each thread reserves far more than it uses.
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = 2 * limit_mb * 1_000_000
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def main(options: Mapping[str, Any]) -> None:
    """Serve requests from standard input until it closes."""
    if options["lifeline"] is not None:
        _die_with_parent(options["lifeline"])
    _limit_memory(options["memory_limit_mb"])
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is needed
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    worker = Worker(answers, most_plugins=options["most_plugins"], memory_limit_mb=options["memory_limit_mb"])
    worker.alive()
    for line in requests:
        worker.answer(json.loads(line))
    # Plugins are not unloaded: some crash while they are.
    os._exit(0)
