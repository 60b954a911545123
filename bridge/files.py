"""Writing files whole or not at all, and names of files as text; no formats live here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without error.

    The temporary name keeps the suffix, so that writers that look at it still work.

    Raises
    ------
    OutputError
        If the folder cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{path}: cannot write here ({error.strerror}); choose another folder with --out") from None
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        raise OutputError(f"{path}: cannot write ({error.strerror}); free some space or choose another --out") from None
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text_whole(path: Path, text: str) -> None:
    """Write UTF-8 text so that a reader sees the old file or the new one, never a part."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def printable(text: str) -> str:
    """Names from a file system can hold halves of letters that UTF-8 cannot; they become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
