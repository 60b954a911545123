"""The table of a batch: one row a song, as CSV and JSON; statuses are read elsewhere."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import write_text_whole
from .status import TABLE_STEM, SongPlace, Status

FORMAT = "mixbridge-batch"
SCHEMA_VERSION = 1


def row_of(status: Status, place: SongPlace) -> dict[str, Any]:
    """What the table says of a song; None where something is not known."""
    worst, loss = status.worst, status.loss
    last = status.attempts[-1] if status.attempts else None
    return {
        "name": status.name,
        "state": status.state,
        "error": status.error,
        "verdict": None if worst is None else worst.verdict,
        "gap": None if worst is None else worst.gap,
        "null_db": None if worst is None else worst.null_db,
        "loss_plain_sum": loss.plain_sum,
        "loss_gain_pan": loss.gain_pan,
        "loss_console": loss.console,
        "loss_pruned": loss.pruned,
        "loss_reference": loss.reference,
        "loss_real": None if worst is None else worst.loss_real,
        "processors_kept": status.processors_kept,
        "processors_console": status.processors_console,
        "lost_in_export": sum(status.export_losses.values()),
        "tracks": status.tracks,
        "audio_s": status.audio_s,
        **status.times.model_dump(),
        "peak_memory_mb": status.peak_memory_mb,
        "attempts": len(status.attempts),
        "host": "" if last is None else last.host,
        "began_at": "" if last is None else last.began_at,
        "ended_at": "" if last is None else last.ended_at,
        "folder": place.result.name,
    }


def write_table(folder: Path, rows: Sequence[dict[str, Any]]) -> tuple[Path, Path]:
    """Write ``batch.csv`` and ``batch.json``.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["name"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    table, data = (folder / f"{TABLE_STEM}{suffix}" for suffix in (".csv", ".json"))
    write_text_whole(table, text.getvalue())
    content = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "songs": list(rows)}
    write_text_whole(data, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return table, data
