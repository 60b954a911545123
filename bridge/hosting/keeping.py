"""Files kept in the data folder: one writer at a time, whole or not at all; what is in them is elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from ..errors import OutputError, PluginError
from ..files import write_text_whole
from .places import HOME_VARIABLE


@contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Keep other processes and threads from the same block about the same file until it ends.

    Raises
    ------
    PluginError
        If the folder cannot be written.
    """
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise _refused(path, error.strerror) from None
    try:
        yield
    finally:
        lock.release()


def keep_text(path: Path, text: str) -> None:
    """Write a file whole or not at all (`PluginError` if that cannot be)."""
    try:
        write_text_whole(path, text)
    except OutputError:
        raise _refused(path, "no access or no space") from None


def _refused(path: Path, reason: str | None) -> PluginError:
    return PluginError(f"{path}: cannot be written ({reason}); set {HOME_VARIABLE} to a folder that can")
