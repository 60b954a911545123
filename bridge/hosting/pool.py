"""Runs plugins in worker processes and survives whatever they do; what happens inside a worker is in `worker`.

A worker that crashes, hangs or takes too much memory is killed and the request is tried once more
in a new one. Then the caller gets an error that names the plugin, and the pool goes on.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import errors
from ..errors import ParameterError, PluginCrashError, PluginError, PluginRefusalError, PluginTimeoutError
from .audio_exchange import ExchangeFolder
from .places import loader_command, loader_environment
from .refs import BLOCK_FRAMES, ParameterDescription, PluginDescription, PluginRef, PluginSettings
from .worker_process import Launch, WorkerDied, WorkerLimits, WorkerProcess, WorkerSilent, WorkerTooLarge

__all__ = [
    "ParameterDescription",
    "PluginDescription",
    "PluginPool",
    "PluginRef",
    "PluginSettings",
    "close_shared_pool",
    "shared_pool",
]

#: Sample rates a plugin is asked to run at; chains and sessions have no others.
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8000.0, 384000.0
_ATTEMPTS = 2
_LOG_FILE = "plugins.log"

Answer = Mapping[str, Any]
_P = ParamSpec("_P")
_T = TypeVar("_T")


class PluginPool:
    """Worker processes that render audio through plugins; a context manager, safe to use from many threads.

    Parameters
    ----------
    workers : int, optional
        Renders that run at the same time; one per core by default.
    time_limit_s : float
        How long a worker may give no sign of life before it is killed. Long audio is rendered in
        pieces with a sign of life after each, so that this limits a stuck plugin, not a long song.
    memory_limit_mb : int
        Memory a worker may hold; watched on Linux.
    recycle_after : int
        Renders after which a worker is replaced by a new one.
    log : Path, optional
        File that gets what plugins print (appended); by default it goes with the pool.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        time_limit_s: float = 30.0,
        memory_limit_mb: int = 8192,
        recycle_after: int = 200,
        log: Path | None = None,
    ) -> None:
        count = workers if workers is not None else os.cpu_count() or 1
        for name, value in (("workers", count), ("time_limit_s", time_limit_s), ("recycle_after", recycle_after)):
            if not value > 0:
                raise ParameterError(f"{name}: must be above 0, got {value}")
        if memory_limit_mb < 256:
            raise ParameterError(f"memory_limit_mb: must be at least 256, got {memory_limit_mb}")
        self._exchange = ExchangeFolder()
        self.log = log if log is not None else self._exchange.path / _LOG_FILE
        self._limits = WorkerLimits(time_limit_s=time_limit_s, memory_limit_mb=memory_limit_mb)
        self._recycle_after = recycle_after
        self._executor = ThreadPoolExecutor(max_workers=count, thread_name_prefix="plugin-pool")
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._closed = False

    # -- what callers use -----------------------------------------------------------------------

    def render(
        self,
        plugin: PluginRef,
        settings: PluginSettings,
        audio: ArrayLike,
        *,
        sample_rate_hz: float,
        block_frames: int = BLOCK_FRAMES,
    ) -> NDArray[np.float32]:
        """Run audio through a plugin that starts from silence; the latency of the plugin stays in.

        Parameters
        ----------
        audio : array, (channels, frames)
            (1, n) for plugins that are mono, (2, n) for stereo ones.
        sample_rate_hz : float, 8000 to 384000
        block_frames : int
            Frames the plugin gets at a time; some plugins sound different with other blocks.

        Returns
        -------
        array, (channels, frames), float32
            As long as `audio`.

        Raises
        ------
        PluginNotFoundError, PluginCrashError, PluginTimeoutError, PluginRefusalError, PluginOutputError, PluginError
        """
        return self.submit(
            plugin, settings, audio, sample_rate_hz=sample_rate_hz, block_frames=block_frames
        ).result()  # fmt: skip

    def submit(
        self,
        plugin: PluginRef,
        settings: PluginSettings,
        audio: ArrayLike,
        *,
        sample_rate_hz: float,
        block_frames: int = BLOCK_FRAMES,
    ) -> Future[NDArray[np.float32]]:
        """Begin a `render` and return its future. `audio` must not change until it is done."""
        samples = np.ascontiguousarray(audio, dtype=np.float32)
        if samples.ndim != 2 or samples.shape[0] not in (1, 2):
            raise PluginRefusalError(f"{plugin.label}: audio must be (1, n) or (2, n), got shape {samples.shape}")
        if not np.isfinite(samples).all():
            raise PluginRefusalError(f"{plugin.label}: the audio for it holds NaN or infinity")
        if block_frames < 1:
            raise ParameterError(f"block_frames: must be above 0, got {block_frames}")
        _check_rate(plugin, sample_rate_hz)
        request = _request("render", plugin, settings, sample_rate_hz=sample_rate_hz) | {
            "channels": samples.shape[0],
            "frames": samples.shape[1],
            "block_frames": block_frames,
        }
        return self._start(self._render_file, plugin, request, samples)

    def describe(self, plugin: PluginRef) -> PluginDescription:
        """Load a plugin and return what it says of itself."""
        answer = self._start(self._run, plugin, {"do": "describe", "plugin": plugin.to_data()}).result()
        return PluginDescription.from_data(answer["description"])

    def component_state(self, plugin: PluginRef, settings: PluginSettings, *, sample_rate_hz: float) -> bytes:
        """Return what a plugin stores with these settings: the component state of a preset."""
        _check_rate(plugin, sample_rate_hz)
        request = _request("state", plugin, settings, sample_rate_hz=sample_rate_hz)
        answer = self._start(self._run, plugin, request).result()
        return PluginSettings.from_data(answer["settings"]).state or b""

    def read_back(
        self, plugin: PluginRef, settings: PluginSettings, *, sample_rate_hz: float
    ) -> dict[str, float | str]:
        """Return what every parameter of a plugin is at after these settings, by name, in its own unit."""
        _check_rate(plugin, sample_rate_hz)
        request = _request("read_back", plugin, settings, sample_rate_hz=sample_rate_hz)
        values: dict[str, float | str] = self._start(self._run, plugin, request).result()["values"]
        return values

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Ids of the worker processes that run now."""
        with self._lock:
            return tuple(w.process_id for w in (*self._idle, *self._busy))

    def close(self) -> None:
        """Stop the workers, also busy ones, and remove temporary files; more than once is allowed."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for worker in busy:
            worker.kill()
        for worker in idle:
            worker.stop()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._exchange.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- one request ----------------------------------------------------------------------------

    def _start(self, work: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> Future[_T]:
        try:
            return self._executor.submit(work, *arguments, **named)
        except RuntimeError:
            raise PluginError("plugin pool: already closed; open a new one") from None

    def _render_file(
        self, plugin: PluginRef, request: Mapping[str, Any], samples: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        path = self._exchange.new_path()
        try:
            # Written anew for each attempt: a worker that died may have overwritten a part.
            self._run(plugin, {**request, "path": str(path)}, before=lambda: self._exchange.write(path, samples))
            return self._exchange.read(path, channels=samples.shape[0])
        finally:
            path.unlink(missing_ok=True)

    def _run(self, plugin: PluginRef, request: Mapping[str, Any], before: Callable[[], None] = lambda: None) -> Answer:
        """Run a request in a worker, in a second one if the first is lost."""
        lost: PluginError | None = None
        for _ in range(_ATTEMPTS):
            before()
            try:
                with self._worker(plugin) as worker:
                    answer = worker.ask(request, plugin=plugin)
            except WorkerDied as error:
                lost = PluginCrashError(
                    f"{plugin.label}: crashed twice ({error}); use another plugin, or see what it printed in {self.log}"
                )
            except WorkerSilent as error:
                lost = PluginTimeoutError(
                    f"{plugin.label}: gave no answer {error}, twice; use another plugin or raise the time limit"
                )
            except WorkerTooLarge as error:
                lost = PluginError(f"{plugin.label}: needs {error}; raise the memory limit or use another plugin")
            else:
                if "error" in answer:
                    raise _error_of(answer)
                return answer
            if self._closed:
                raise PluginError(f"{plugin.label}: stopped, the plugin pool was closed")
        raise lost if lost is not None else PluginError(f"{plugin.label}: was not tried")

    # -- workers --------------------------------------------------------------------------------

    @contextmanager
    def _worker(self, plugin: PluginRef) -> Iterator[WorkerProcess]:
        """Lend a worker that can load the plugin; back it goes to the idle ones, or is ended."""
        launch = _launch_for(plugin)
        worker = self._take_idle(launch, plugin) or WorkerProcess(launch, limits=self._limits, log=self.log)
        with self._lock:
            self._busy.add(worker)
            closed = self._closed
        healthy = False
        try:
            if closed:
                raise PluginError(f"{plugin.label}: stopped, the plugin pool was closed")
            yield worker
            healthy = True
        finally:
            with self._lock:
                self._busy.discard(worker)
                keep = healthy and not self._closed and worker.requests < self._recycle_after
                if keep:
                    self._idle.append(worker)
            if not keep:
                worker.stop() if healthy else worker.kill()

    def _take_idle(self, launch: Launch, plugin: PluginRef) -> WorkerProcess | None:
        """Take an idle worker, rather one that has the plugin loaded."""
        with self._lock:
            fitting = [w for w in self._idle if w.launch == launch]
            if not fitting:
                return None
            worker = next((w for w in reversed(fitting) if plugin in w.plugins), fitting[-1])
            self._idle.remove(worker)
            return worker


def _launch_for(plugin: PluginRef) -> Launch:
    if plugin.path is None:
        return Launch()
    return Launch(tuple(loader_command(plugin.path)), tuple(sorted(loader_environment(plugin.path).items())))


def _request(do: str, plugin: PluginRef, settings: PluginSettings, *, sample_rate_hz: float) -> dict[str, Any]:
    return {
        "do": do,
        "plugin": plugin.to_data(),
        "settings": settings.to_data(),
        "sample_rate_hz": float(sample_rate_hz),
    }


def _check_rate(plugin: PluginRef, sample_rate_hz: float) -> None:
    if not LOWEST_RATE_HZ <= sample_rate_hz <= HIGHEST_RATE_HZ:
        raise PluginRefusalError(
            f"{plugin.label}: cannot run at {sample_rate_hz:g} Hz; use {LOWEST_RATE_HZ:g} to {HIGHEST_RATE_HZ:g} Hz"
        )


def _error_of(answer: Answer) -> errors.MixbridgeError:
    """Rebuild the error a worker met."""
    kind = getattr(errors, answer["error"], PluginError)
    error: errors.MixbridgeError = kind(answer["message"])
    return error


_shared: PluginPool | None = None
_shared_lock = threading.Lock()


def shared_pool() -> PluginPool:
    """Return the pool of this process, made at the first call and closed when the process ends."""
    global _shared
    with _shared_lock:
        if _shared is None or _shared._closed:
            _shared = PluginPool()
            atexit.register(_shared.close)
        return _shared


def close_shared_pool() -> None:
    """Close the pool of this process; the next `shared_pool` makes a new one."""
    global _shared
    with _shared_lock:
        if _shared is not None:
            _shared.close()
        _shared = None
