"""What a session format cannot express of a mix; which format loses what is decided by its exporter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from ..bridge.graph import MixGraph


@dataclass(frozen=True)
class Loss:
    """One thing that a session lacks, or that may sound different in the program that opens it.

    Attributes
    ----------
    channel : str
        Id of the strip; empty where it concerns the whole session.
    node : str
        Id of the insert; empty where it concerns the channel's mixer.
    what : str
        What is lost, in one line.
    size_db : float or None
        By how much the level may be off at most, where that can be said.
    """

    channel: str
    node: str
    what: str
    size_db: float | None = None

    def text(self, graph: MixGraph) -> str:
        """One line for people, with the names that the graph gives to channels."""
        names = {channel.id: channel.name for channel in graph.channels()}
        where = [names.get(self.channel, self.channel)] if self.channel else []
        size = "" if self.size_db is None else f" ({self.size_db:.1f} dB)"
        return ": ".join([*where, self.what]) + size

    def noted(self, graph: MixGraph) -> NotedLoss:
        """As plain data, with the line for people."""
        return {"channel": self.channel, "node": self.node, "text": self.text(graph), "size_db": self.size_db}


class NotedLoss(TypedDict):
    """A loss as export.json and summaries have it."""

    channel: str
    node: str
    text: str
    size_db: float | None
