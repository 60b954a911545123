"""What a session format cannot express of a mix; which format loses what is decided by its exporter."""

from __future__ import annotations

from dataclasses import dataclass


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
