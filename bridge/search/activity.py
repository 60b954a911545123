"""What each processor does to one song: much, or no more than a plain gain."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..graph import MixGraph
from .amounts import Gains
from .node_signals import NodeSignals
from .segments import SCORED_FRAMES, WARM_UP_FRAMES
from .sensitivity import WINDOWS, channel_loudness, choose_windows
from .working_set import WorkingSet


@dataclass(frozen=True)
class Activity:
    """What a processor did on the windows it was watched in.

    Attributes
    ----------
    gains : Gains
        The gain per channel that comes nearest to it.
    residual_db : float
        Energy of its output less that of its input at these gains, relative to the output.
    """

    gains: Gains
    residual_db: float


@torch.no_grad()
def activity_of(
    graph: MixGraph, song: WorkingSet, twins: nn.ModuleDict, *, device: torch.device
) -> dict[str, Activity]:
    """Watch every processor at work on a few windows of the song; silent ones are left out."""
    energies: dict[str, Tensor] = {}
    for window in choose_windows(channel_loudness(graph, song), WINDOWS):
        start, frames = window * SCORED_FRAMES - WARM_UP_FRAMES, WARM_UP_FRAMES + SCORED_FRAMES
        signals = NodeSignals(graph, song, twins, start=start, frames=frames, device=device)
        for node_id, source in signals.node_input.items():
            before, after = (s[:, WARM_UP_FRAMES:].double() for s in (source, signals.node_output[node_id]))
            found = torch.stack([(a * b).sum(dim=1) for a, b in ((before, before), (before, after), (after, after))])
            energies[node_id] = energies.get(node_id, torch.zeros_like(found)) + found
    return {node_id: _activity(e) for node_id, e in energies.items() if float(e[2].sum()) > 0.0}


def _activity(energies: Tensor) -> Activity:
    """From ``<x, x>``, ``<x, y>`` and ``<y, y>`` per channel."""
    xx, xy, yy = energies.tolist()
    gains = [max(cross / own, 0.0) if own > 0.0 else 1.0 for own, cross in zip(xx, xy, strict=True)]
    # A channel on which nothing is heard has the gain of the other: nobody could tell.
    if xx[0] <= 0.0 or xx[1] <= 0.0:
        heard = gains[1] if xx[0] <= 0.0 else gains[0]
        gains = [heard, heard]
    left_over = sum(y - 2.0 * g * c + g * g * x for g, x, c, y in zip(gains, xx, xy, yy, strict=True))
    ratio = max(left_over, 0.0) / sum(yy)
    return Activity(Gains(*gains), 10.0 * math.log10(ratio) if ratio > 0.0 else -math.inf)
