"""Reads two graph files and tells what changed from one to the other; how is in `difference`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .channels import find_channel
from .difference import changes
from .difference_values import Change
from .errors import ParameterError
from .graph import MixGraph
from .result_folder import graph_file


@dataclass(frozen=True)
class Differences:
    """What changed from one graph file to another.

    Attributes
    ----------
    changes : tuple of Change
        Those that are to be shown.
    hidden : int
        How many more are too small to hear.
    """

    before: Path
    after: Path
    changes: tuple[Change, ...]
    hidden: int

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "before": str(self.before),
            "after": str(self.after),
            "identical": not self.changes and not self.hidden,
            "changes": [change.to_json() for change in self.changes],
            "hidden": self.hidden,
        }


def diff_files(
    before_path: Path, after_path: Path, *, only: Sequence[str] = (), everything: bool = False
) -> Differences:
    """Compare the settings of two graph files.

    Parameters
    ----------
    before_path, after_path : Path
        Graph files, or folders of an analysis that hold one.
    only : sequence of str
        Ids or names of channels of either graph; all, and what concerns the song, if empty.
    everything : bool
        Also what is too small to hear.

    Raises
    ------
    GraphError
        If a file cannot be read.
    ParameterError
        If neither graph has a channel of that name.
    """
    files = graph_file(before_path), graph_file(after_path)
    graphs = MixGraph.load(files[0]), MixGraph.load(files[1])
    wanted = {name for text in only for name in _names(graphs, text)}
    found = [c for c in changes(*graphs) if not only or c.channel in wanted]
    shown = tuple(c for c in found if everything or not c.small)
    return Differences(*files, shown, len(found) - len(shown))


def _names(graphs: tuple[MixGraph, MixGraph], text: str) -> list[str]:
    """Names that a channel has in either graph."""
    found = []
    for graph in graphs:
        try:
            found.append(find_channel(graph, text).name)
        except ParameterError as error:
            refused = error
    if not found:
        raise refused
    return found
