"""Finds the VST3 plugins of this machine and keeps them in the registry; each bundle in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import PluginNotFoundError
from . import places
from .bundles import changed_ns, file_hash, find_bundles
from .registry import BundleEntry, PluginEntry, Registry, load_registry, update_registry

#: Called with the phase, the share done (0 to 1) and a few words.
Progress = Callable[[str, float, str], None]

#: Longest time a bundle may take to say what is in it.
TIME_LIMIT_S = 15.0

#: Words for the signals a plugin that misbehaves dies of.
_SIGNALS = {"SIGSEGV": "segmentation fault", "SIGABRT": "abort", "SIGILL": "illegal instruction", "SIGBUS": "bus error"}


@dataclass(frozen=True)
class ScanResult:
    """What a scan found: the bundles of the folders it looked through, and which of them it opened now."""

    bundles: tuple[BundleEntry, ...]
    opened: frozenset[str]

    @property
    def blacklisted(self) -> tuple[BundleEntry, ...]:
        """The bundles that must not be loaded."""
        return tuple(b for b in self.bundles if b.blacklisted is not None)

    @property
    def plugins(self) -> int:
        """Number of plugins that can be used."""
        return sum(len(b.plugins) for b in self.bundles)


def scan(
    paths: Sequence[Path] = (),
    *,
    retry: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ScanResult:
    """Look for VST3 plugins in the standard folders, our own suites and `paths`, and update the registry.

    A bundle that was scanned before and not exchanged since is not opened again. A bundle that
    crashes, hangs or cannot be loaded is blacklisted with the reason; the others are unaffected.

    Parameters
    ----------
    paths : sequence of Path
        More folders, or bundles.
    retry : bool
        Also open blacklisted bundles again.
    time_limit_s : float > 0
        For each bundle.
    workers : int, optional
        Bundles opened at the same time; one per processor core by default.

    Raises
    ------
    PluginNotFoundError
        When one of `paths` does not exist.
    PluginError
        When the registry cannot be written.
    """
    report = progress or (lambda _phase, _share, _words: None)
    for path in paths:
        if not path.exists():
            raise PluginNotFoundError(f"{path}: no such folder or plugin; check --path")
    before = load_registry()
    bundles = find_bundles([*places.vst3_folders(), *paths])
    known = {path: before.bundle(path) for path in bundles}
    to_open = [p for p, entry in known.items() if entry is None or (retry and entry.blacklisted is not None)]
    opened = _open_all(to_open, time_limit_s=time_limit_s, workers=workers or os.cpu_count() or 1, report=report)
    found = (opened.get(path) or entry for path, entry in known.items())
    entries = tuple(entry for entry in found if entry is not None)
    update_registry(lambda registry: _merged(registry, entries))
    return ScanResult(entries, frozenset(map(str, opened)))


def _merged(registry: Registry, entries: Sequence[BundleEntry]) -> Registry:
    """Take the scanned bundles in and keep others that are still there."""
    scanned = {entry.path for entry in entries}
    others = [b for b in registry.bundles if b.path not in scanned and Path(b.path).exists()]
    return Registry(bundles=(*entries, *others))


def _open_all(
    bundles: Sequence[Path], *, time_limit_s: float, workers: int, report: Progress
) -> dict[Path, BundleEntry]:
    found: dict[Path, BundleEntry] = {}
    running: set[subprocess.Popen[bytes]] = set()
    with tempfile.TemporaryDirectory(prefix="mixbridge-scan-") as folder:
        pool = ThreadPoolExecutor(max_workers=workers)
        try:
            jobs = {
                pool.submit(_open, bundle, Path(folder) / str(index), time_limit_s, running): bundle
                for index, bundle in enumerate(bundles)
            }
            for job in as_completed(jobs):
                found[jobs[job]] = job.result()
                report("scan", len(found) / len(bundles), jobs[job].name)
        finally:
            # After Ctrl-C nothing may go on loading plugins behind the user's back.
            pool.shutdown(wait=False, cancel_futures=True)
            for process in tuple(running):
                _kill(process)
            pool.shutdown(wait=True)
    return found


def _open(bundle: Path, folder: Path, time_limit_s: float, running: set[subprocess.Popen[bytes]]) -> BundleEntry:
    """Have a process look into a bundle and turn whatever happens to it into an entry."""
    folder.mkdir()
    plugins: tuple[PluginEntry, ...] = ()
    try:
        plugins = _look(bundle, folder, time_limit_s, running)
        reason = None
    except _UnusableError as error:
        reason = str(error)
    return BundleEntry(
        path=str(bundle),
        file_hash=file_hash(bundle),
        changed_ns=changed_ns(bundle),
        blacklisted=reason,
        plugins=plugins,
    )


class _UnusableError(Exception):
    """A bundle has to be blacklisted; the message is the reason."""


def _look(
    bundle: Path, folder: Path, time_limit_s: float, running: set[subprocess.Popen[bytes]]
) -> tuple[PluginEntry, ...]:
    result = folder / "result.json"
    command = [*places.loader_command(bundle), sys.executable, "-m", f"{__package__}.look", str(bundle), str(result)]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | places.loader_environment(bundle) | {"OMP_NUM_THREADS": "1"},
            # A group of its own: whatever the plugin starts is ended with it, and Ctrl-C is ours to handle.
            start_new_session=True,
        )
        running.add(process)
        try:
            code = process.wait(timeout=time_limit_s)
        except subprocess.TimeoutExpired:
            raise _UnusableError(f"it did not finish loading within {time_limit_s:g} s") from None
        finally:
            _kill(process)
            running.discard(process)
    if code < 0:
        name = signal.Signals(-code).name
        raise _UnusableError(f"it crashed while it was loaded ({_SIGNALS.get(name, name)})")
    try:
        answer: dict[str, Any] = json.loads(result.read_bytes())
        if "error" in answer:
            raise _UnusableError(f"it cannot be loaded: {_short(str(answer['error']), bundle)}")
        return tuple(PluginEntry.model_validate(plugin) for plugin in answer["plugins"])
    except (OSError, ValueError, ValidationError, KeyError):
        raise _UnusableError(f"it ended the process that loaded it (exit code {code})") from None


def _short(message: str, bundle: Path) -> str:
    """Leave out the path, which is said already."""
    return message.replace(f"{bundle}/", "").replace(str(bundle), bundle.name)


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()
