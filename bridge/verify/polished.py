"""What polishing found, as it stands in verify.json; the polishing itself is in `polish`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class PolishedNode(_Model):
    """One node that was tried with other settings in its real plugin.

    Attributes
    ----------
    loss_before, loss_after : float
        L_a of the whole song as the plugins play it; equal where nothing better was found.
    before, after : dict of str to float
        The settings that changed, in physical units ("mix" is the dry/wet weight).
    trials : int
        Renders it took.
    note : str
        Why it was given up early; empty otherwise.
    """

    id: str
    channel_name: str
    type: str
    loss_before: float
    loss_after: float
    before: dict[str, float] = Field(default_factory=dict)
    after: dict[str, float] = Field(default_factory=dict)
    trials: Count = 0
    note: str = ""


class Polished(_Model):
    """What polishing a session led to.

    Attributes
    ----------
    graph : str
        The new graph; empty where nothing better was found.
    session : str
        The session that was exported from it; empty where none was.
    loss_before, loss_after : float or None
        L_a of the whole song as the plugins play it; None where nothing was tried.
    nodes : tuple of PolishedNode
        All that were tried, in the order they were tried in.
    trials, seed, every_node :
        What was asked for (see `settings.VerifySettings`).
    note : str
        For the user: why nothing was polished, or what is left to do.
    """

    graph: str = ""
    session: str = ""
    loss_before: float | None = None
    loss_after: float | None = None
    nodes: tuple[PolishedNode, ...] = ()
    trials: Count
    seed: Count = 0
    every_node: bool = False
    note: str = ""
