"""Removes processors while the loss stays within the tolerance; fitting lives in `fit`.

Lee et al., DAFx 2024, section 4. A round proposes sets of processors and keeps those removals
after which the loss is below the lowest loss seen plus the tolerance. Which sets are proposed:

* ``brute_force`` tries every processor alone and proposes those that matter least;
* ``dry_wet`` takes the dry/wet weight of a processor as its importance, per type;
* ``hybrid`` is dry/wet with every fourth round by brute force.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ..choices import Pruning
from ..graph import MixGraph
from ..processors.specs import CHAIN_ORDER
from .evaluate import Evaluator
from .parameters import ConsoleParameters

#: A hybrid search goes by brute force in every round whose number this divides.
BRUTE_FORCE_EVERY = 4

#: Share of a type's processors that is proposed at once; halved when the proposal fails.
CANDIDATE_SHARE = 0.34

#: Of what the processors win over gain and pan alone, pruning gives back at most this share.
RETURNED_SHARE = 0.8

Progress = Callable[[float], None]


@dataclass
class PruneState:
    """What pruning has reached.

    Attributes
    ----------
    limit : float
        The loss that is never exceeded, whatever the tolerance: that of gain and pan alone. A graph
        that matches worse than the faders by themselves is of no use, however sparse.
    """

    graph: MixGraph
    lowest_loss: float
    tolerance: float
    limit: float = math.inf
    removed: list[str] = field(default_factory=list)

    @property
    def ceiling(self) -> float:
        """Largest loss that is still accepted."""
        gained = max(self.limit - self.lowest_loss, 0.0)
        return self.lowest_loss + min(self.tolerance, RETURNED_SHARE * gained)


def prune_round(
    state: PruneState,
    evaluator: Evaluator,
    parameters: ConsoleParameters,
    *,
    method: str,
    number: int,
    progress: Progress | None = None,
) -> float:
    """Run one round (numbered from 1) on `state` and return the loss after it."""
    loss = evaluator.refresh(state.graph)
    state.lowest_loss = min(state.lowest_loss, loss)
    by_brute_force = method == Pruning.brute_force or (method == Pruning.hybrid and number % BRUTE_FORCE_EVERY == 0)
    if by_brute_force:
        return _brute_force(state, evaluator, loss, progress)
    return _dry_wet(state, evaluator, parameters, loss, progress)


def _accept(state: PruneState, evaluator: Evaluator, chosen: list[str]) -> None:
    state.graph = state.graph.without(set(chosen))
    state.removed += chosen
    evaluator.refresh(state.graph)


def _dry_wet(
    state: PruneState, evaluator: Evaluator, parameters: ConsoleParameters, loss: float, progress: Progress | None
) -> float:
    weights = parameters.mixes()
    # Delays and reverbs first: while they are there, every trial upstream renders their long tails.
    kinds = [k for k in reversed(CHAIN_ORDER) if any(n.type == k for n in state.graph.processors)]
    for done, kind in enumerate(kinds):
        if progress is not None:
            progress(done / len(kinds))
        pool = sorted((n.id for n in state.graph.processors if n.type == kind), key=lambda i: (weights[i], i))
        loss = _remove_in_shares(state, evaluator, pool, loss, stop_at_first_needed=True)
    return loss


def _brute_force(state: PruneState, evaluator: Evaluator, loss: float, progress: Progress | None) -> float:
    ids = [n.id for n in state.graph.processors]
    alone: dict[str, float] = {}
    for done, node_id in enumerate(ids):
        if progress is not None:
            progress(done / len(ids))
        alone[node_id] = evaluator.trial([node_id])
    pool = sorted((i for i in ids if alone[i] <= state.ceiling), key=lambda i: (alone[i], i))
    return _remove_in_shares(state, evaluator, pool, loss, stop_at_first_needed=False)


def _remove_in_shares(
    state: PruneState, evaluator: Evaluator, pool: list[str], loss: float, *, stop_at_first_needed: bool
) -> float:
    """Remove from the front of `pool` (least important first) a share at a time; return the loss.

    The share is halved when a proposal fails. A single processor that fails is needed: the rest of
    the pool is then given up, or tried one by one.
    """
    share = CANDIDATE_SHARE
    while pool:
        chosen = pool[: max(1, math.floor(share * len(pool)))]
        found = evaluator.trial(chosen, ceiling=state.ceiling)
        if found <= state.ceiling:
            _accept(state, evaluator, chosen)
            state.lowest_loss = min(state.lowest_loss, found)
            loss = found
            pool = pool[len(chosen) :]
        elif len(chosen) > 1:
            share /= 2.0
        elif stop_at_first_needed:
            break
        else:
            pool = pool[1:]
    return loss
