"""Replacing the folder of an earlier export as a whole, without losing what others put there; no formats here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..bridge.errors import OutputError

#: Lists what an export wrote, so that the next one can tell its own files from the user's.
MANIFEST = ".mixbridge-export.json"

#: Larger files are told apart by size and time of change instead of their content.
_HASHED_BYTES = 1 << 20


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Yield a new, empty folder that takes the place of `folder` when the block ends without error.

    Files in `folder` that an earlier export did not write, or that were changed since, are
    carried over; where a new file has the same name, the old one is renamed.

    Raises
    ------
    OutputError
        If `folder` exists and is not an earlier export, or nothing can be written beside it.
    """
    known = _read_manifest(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        temporary = Path(tempfile.mkdtemp(prefix=f".partial-{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from None
    new = temporary / "new"
    try:
        new.mkdir()
        yield new
        _write_manifest(new)
        _carry_over(folder, new, known)
        _swap(folder, new, old=temporary / "old")
    except OSError as error:
        if isinstance(error, OutputError) or error.errno is None:
            raise
        raise _unwritable(folder, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove what exports that were killed left behind, unless it holds an older export."""
    prefix = f".partial-{folder.name}-"
    for path in folder.parent.iterdir():
        if path.name.startswith(prefix) and not (path / "old").exists():
            shutil.rmtree(path, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder}: cannot write here ({error.strerror}); free some space or choose another folder with --out"
    )


def _swap(folder: Path, new: Path, *, old: Path) -> None:
    try:
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except BaseException:
        # An interrupt must not take the old export along.
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise


def _read_manifest(folder: Path) -> dict[str, str]:
    """What an earlier export wrote there: file names with their marks."""
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return {}
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(data, dict) and all(isinstance(mark, str) for mark in data.values()):
            return data
    except (OSError, ValueError):
        pass
    raise OutputError(f"{folder}: exists and is not an export of Mixbridge; move it away or choose another folder")


def _write_manifest(folder: Path) -> None:
    marks = {name: _mark(folder / name) for name in _files(folder)}
    text = json.dumps(marks, indent=1, sort_keys=True, ensure_ascii=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _files(folder: Path) -> list[str]:
    found = []
    for root, directories, names in os.walk(folder):
        links = [name for name in directories if (Path(root) / name).is_symlink()]
        found += [(Path(root) / name).relative_to(folder).as_posix() for name in [*names, *links]]
    return sorted(found)


def _mark(path: Path) -> str:
    status = path.lstat()
    if path.is_symlink() or status.st_size > _HASHED_BYTES:
        return f"{status.st_size}:{status.st_mtime_ns}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _carry_over(old: Path, new: Path, known: dict[str, str]) -> None:
    for name in _files(old) if old.is_dir() else []:
        source = old / name
        if name == MANIFEST or known.get(name) == _mark(source):
            continue
        target = _free_name(new / name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target, follow_symlinks=False)
        except (OSError, NotImplementedError):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(source, target, follow_symlinks=False)


def _free_name(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists() or candidate.is_symlink():
        candidate = path.with_name(f"{path.stem} (kept {number}){path.suffix}")
        number += 1
    return candidate
