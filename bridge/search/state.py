"""What a stopped search needs to go on, and its file; the phases themselves are in `search`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OutputError
from ..files import write_text_whole
from ..graph import MixGraph
from .working_set import WorkingSet


@dataclass
class SearchState:
    """Everything a resumed search needs; phases run in order and each is saved when it is done.

    Attributes
    ----------
    phase : str
        "new", "started" (a console with start values) or "fitted".
    graph : str
        The console with its start values as graph.json: what was identified decides on its form.
    positions : dict
        Present settings of that console, as `parameters.ConsoleParameters` holds them.
    removed : list of str
        Parts that pruning has removed from it.
    """

    phase: str = "new"
    rounds_done: int = 0
    graph: str = ""
    loss: dict[str, float] = field(default_factory=dict)
    lowest_loss: float = float("inf")
    gain_pan_loss: float = float("inf")
    removed: list[str] = field(default_factory=list)
    positions: dict[str, list[float]] = field(default_factory=dict)
    needed: dict[str, float] = field(default_factory=dict)
    lowest_stem_error_db: dict[str, float] = field(default_factory=dict)

    def save(self, path: Path, *, fingerprint: str) -> None:
        """Write the state whole or not at all."""
        data: dict[str, Any] = {"fingerprint": fingerprint, **asdict(self)}
        write_text_whole(path, json.dumps(data))

    @classmethod
    def load(cls, path: Path, *, fingerprint: str) -> SearchState:
        """Read a state.

        Raises
        ------
        OutputError
            If it is damaged or belongs to another search.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            found = data.pop("fingerprint")
            state = cls(**data)
        except (OSError, ValueError, KeyError, TypeError):
            raise OutputError(
                f"{path}: this checkpoint cannot be read; delete the folder or run without --resume"
            ) from None
        if found != fingerprint:
            raise OutputError(
                f"{path}: belongs to other stems or settings; run without --resume or choose another --out"
            )
        return state


def fingerprint_of(console: MixGraph, song: WorkingSet, settings: dict[str, Any]) -> str:
    """Tells searches apart: console, audio and settings."""
    digest = hashlib.sha256(console.to_json().encode())
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for audio in (song.mix, *song.stems):
        digest.update(np.ascontiguousarray(audio[:, ::97]).tobytes())
    return digest.hexdigest()
