"""Audio between the caller and the workers: files in a private folder, one per render; no processes here.

A file holds raw float32 samples, (channels, frames), and is overwritten in place by the worker.
The folder goes when the pool closes; what a killed caller left behind goes when the next pool opens.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from itertools import count
from pathlib import Path
from threading import Lock
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_PREFIX = "mixbridge-audio-"
_LOCK_FILE = "owner.lock"
#: Younger folders are let be: their owner may not hold its lock yet.
_SETTLED_S = 60.0


class ExchangeFolder:
    """A private temporary folder whose files carry audio to the workers and back."""

    def __init__(self) -> None:
        _remove_abandoned(Path(tempfile.gettempdir()))
        try:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._lock_file = (self.path / _LOCK_FILE).open("wb")
        except OSError as error:
            raise OutputError(f"{tempfile.gettempdir()}: cannot write here ({error.strerror}); set TMPDIR") from None
        if fcntl is not None:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._numbers = count()
        self._lock = Lock()

    def new_path(self) -> Path:
        """Return a path in the folder that was not used before."""
        with self._lock:
            return self.path / f"{next(self._numbers)}.f32"

    def write(self, path: Path, audio: NDArray[np.float32]) -> None:
        """Write audio (channels, frames) for a worker.

        Raises
        ------
        OutputError
            When the folder is full.
        """
        try:
            audio.tofile(path)
        except OSError as error:
            reason = error.strerror or "disk full"
            raise OutputError(f"{path}: cannot write ({reason}); free some space or set TMPDIR") from None

    def read(self, path: Path, *, channels: int) -> NDArray[np.float32]:
        """Read back what a worker left (channels, frames)."""
        return np.fromfile(path, dtype=np.float32).reshape(channels, -1)

    def close(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock_file.close()


def _remove_abandoned(folder: Path) -> None:
    """Remove exchange folders whose owner no longer runs: the system drops a lock with its process."""
    if fcntl is None:
        return
    for lock_path in folder.glob(f"{_PREFIX}*/{_LOCK_FILE}"):
        try:
            if time.time() - lock_path.stat().st_mtime < _SETTLED_S:
                continue
            with lock_path.open("rb") as lock_file:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock_path.parent, ignore_errors=True)
        except OSError:
            continue


def map_audio(path: Path, *, channels: int, frames: int) -> NDArray[np.float32]:
    """Map a file of the exchange folder for reading and writing (channels, frames)."""
    if channels * frames == 0:
        return np.zeros((channels, frames), dtype=np.float32)
    return np.memmap(path, dtype=np.float32, mode="r+", shape=(channels, frames))
