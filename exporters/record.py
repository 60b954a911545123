"""export.json: which sessions of a graph lie in a folder, and what they could not express; nothing is exported here."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..bridge.files import write_text_whole
from ..bridge.result_folder import EXPORT_FILE
from .losses import NotedLoss

FORMAT = "mixbridge-export"
SCHEMA_VERSION = 1


def record_exports(
    folder: Path,
    *,
    files: Mapping[str, Path],
    losses: Mapping[str, Sequence[NotedLoss]],
    plugins: str,
) -> Path:
    """Note sessions that were written; what was noted of other formats before stays.

    Parameters
    ----------
    folder : Path
        Holds the sessions; their file names are noted relative to it.
    files : mapping of str to Path
        Session file by format.
    losses : mapping of str to sequence of NotedLoss
        By format.
    plugins : str
        The choice of suites they were written for.

    Returns
    -------
    Path
        export.json in `folder`.
    """
    path = folder / EXPORT_FILE
    sessions = noted_sessions(path)
    for kind, file in files.items():
        sessions[kind] = {
            "file": Path(os.path.relpath(file, folder)).as_posix(),
            "plugins": plugins,
            "losses": list(losses.get(kind, ())),
        }
    data = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "sessions": sessions}
    write_text_whole(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return path


def noted_sessions(path: Path) -> dict[str, dict[str, Any]]:
    """The sessions that an export.json notes, by format, as far as they are still there.

    Each has ``file`` (relative to the folder), ``plugins`` and ``losses``.
    """
    try:
        sessions = json.loads(path.read_text(encoding="utf-8"))["sessions"]
        return {kind: noted for kind, noted in sessions.items() if (path.parent / noted["file"]).is_file()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Damaged or none: what is written now is noted all the same.
        return {}
