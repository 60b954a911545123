"""Removes processors and sends while the loss stays within the tolerance; fitting lives in `fit`.

Lee et al., DAFx 2024, section 4. A round proposes sets of candidates and keeps those removals
after which the loss is below the lowest loss seen plus the tolerance, and no stem has lost what
is heard of it (`evaluate`: the stem error). Which sets are proposed:

* ``brute_force`` tries every candidate alone and proposes those that matter least;
* ``dry_wet`` takes the dry/wet weight (of a send: its gain) as the importance, per type;
* ``hybrid`` is dry/wet with every fourth round by brute force;
* ``taylor`` orders the candidates of all types together by the loss increase that `importance`
  estimates from gradients and looks for the longest front of that list that can go, by interval
  search; the candidate that ends it is needed and skipped. Few evaluations are spent that way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ..choices import Pruning
from ..graph import MixGraph, Pruned
from ..processors.specs import CHAIN_ORDER, GAIN_PAN
from .engine import SEND
from .evaluate import Evaluator, Judgement
from .importance import loss_increases
from .parameters import ConsoleParameters, parts, send_id, without_parts

#: A hybrid search goes by brute force in every round whose number this divides.
BRUTE_FORCE_EVERY = 4

#: Share of a type's candidates that is proposed at once; halved when the proposal fails.
CANDIDATE_SHARE = 0.34

#: Of what the processors win over gain and pan alone, pruning gives back at most this share.
RETURNED_SHARE = 0.8

#: By how much the stem error of any stem may exceed its lowest (dB).
STEM_TOLERANCE_DB = 0.25

#: A stem that is beyond its tolerance already may lose this share of it more: every removal
#: moves every stem a little.
_STEM_SLACK_SHARE = 0.1

#: A round by estimates ends after this many needed candidates in a row, or when less than this share
#: of what may be given up is left.
MISSES = 4
SPENT_SHARE = 0.05

Progress = Callable[[float], None]


@dataclass
class PruneState:
    """What pruning has reached.

    Attributes
    ----------
    removed : list of str
        Ids of processors and sends (see `parameters.parts`) in the order in which they went.
    limit : float
        The loss that is never exceeded, whatever the tolerance: that of gain and pan alone. A graph
        that matches worse than the faders by themselves is of no use, however sparse.
    stem_tolerance_db : float
        By how much the stem error of any stem may exceed its lowest; infinite: stems do not count.
    lowest_stem_error_db : dict of str to float
        Lowest stem error seen of every stem.
    needed : dict of str to float
        Exact loss increase of candidates that could not be removed alone.
    """

    graph: MixGraph
    lowest_loss: float
    tolerance: float
    limit: float = math.inf
    removed: list[str] = field(default_factory=list)
    stem_tolerance_db: float = STEM_TOLERANCE_DB
    lowest_stem_error_db: dict[str, float] = field(default_factory=dict)
    needed: dict[str, float] = field(default_factory=dict)

    @property
    def allowance(self) -> float:
        """By how much the loss may exceed the lowest."""
        return min(self.tolerance, RETURNED_SHARE * max(self.limit - self.lowest_loss, 0.0))

    @property
    def ceiling(self) -> float:
        """Largest loss that is still accepted."""
        return self.lowest_loss + self.allowance

    def see(self, loss: float, stem_error_db: Mapping[str, float]) -> None:
        """Keep the lowest errors seen."""
        self.lowest_loss = min(self.lowest_loss, loss)
        for stem, error_db in stem_error_db.items():
            self.lowest_stem_error_db[stem] = min(self.lowest_stem_error_db.get(stem, math.inf), error_db)

    def suffering(self, judgement: Judgement, now_db: Mapping[str, float]) -> set[str]:
        """Stems whose error would be beyond the tolerance and larger than now."""
        slack_db = _STEM_SLACK_SHARE * self.stem_tolerance_db
        return {
            stem
            for stem, error_db in judgement.stem_error_db.items()
            if error_db > max(self.lowest_stem_error_db[stem] + self.stem_tolerance_db, now_db[stem] + slack_db)
        }


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
    pruner = _Round(state, evaluator, parameters, progress or (lambda share: None))
    if method == Pruning.taylor:
        pruner.taylor()
    elif method == Pruning.brute_force or (method == Pruning.hybrid and number % BRUTE_FORCE_EVERY == 0):
        pruner.brute_force()
    else:
        pruner.dry_wet()
    return evaluator.loss


@dataclass(frozen=True)
class _Answer:
    accepted: bool
    loss: float
    suffering: set[str]


class _Round:
    """One round: proposes sets of candidates and keeps the removals that are acceptable."""

    def __init__(
        self, state: PruneState, evaluator: Evaluator, parameters: ConsoleParameters, progress: Progress
    ) -> None:
        self.state = state
        self.evaluator = evaluator
        self.parameters = parameters
        self.progress = progress
        loss = evaluator.refresh(state.graph)
        stem_error_db = evaluator.hear() if math.isfinite(state.stem_tolerance_db) else {}
        state.see(loss, stem_error_db)

    # ------------------------------------------------------------------ methods

    def dry_wet(self) -> None:
        weights = self.parameters.mixes()
        # Long tails first: while delays, reverbs and what feeds them are there, every trial upstream renders them.
        order = [SEND, *reversed(CHAIN_ORDER)]
        found = set(parts(self.state.graph).values())
        kinds = [k for k in order if k in found]
        for done, kind in enumerate(kinds):
            self.progress(done / len(kinds))
            pool = [part for part, own in parts(self.state.graph).items() if own == kind]
            self._remove_in_shares(sorted(pool, key=lambda i: (weights[i], i)), stop_at_first_needed=True)

    def brute_force(self) -> None:
        ids = list(parts(self.state.graph))
        alone: dict[str, float] = {}
        for done, part in enumerate(ids):
            self.progress(done / len(ids))
            judgement = self.evaluator.judge([part])
            alone[part] = judgement.loss if not self.state.suffering(judgement, self._now_db) else math.inf
        pool = [i for i in ids if alone[i] <= self.state.ceiling]
        self._remove_in_shares(sorted(pool, key=lambda i: (alone[i], i)), stop_at_first_needed=False)

    def taylor(self) -> None:
        estimates = loss_increases(self.state.graph, self.evaluator, self.parameters)
        # What an evaluation has told about a candidate counts for more than its gradient.
        estimates |= {part: known for part, known in self.state.needed.items() if part in estimates}
        queue = _Queue(sorted(estimates, key=lambda i: (estimates[i], i)), estimates)
        total = max(len(queue.pool), 1)
        while queue.pool and queue.misses < MISSES and self._room() > SPENT_SHARE * self.state.allowance:
            self.progress(1.0 - len(queue.pool) / total)
            chosen = queue.front(self._room())
            before = self.evaluator.loss
            answer = self._try(chosen)
            if answer.accepted:
                queue.gone(chosen, left=parts(self.state.graph))
                continue
            spared = self._spared(chosen, answer.suffering)
            needed = queue.failed(chosen, spared=spared, increase=answer.loss - before)
            if needed is not None:
                # One that a stem needs may be cheap by the loss: it must not come first again.
                least = self.state.allowance if answer.suffering else 0.0
                self.state.needed[needed] = max(answer.loss - before, least)

    # ------------------------------------------------------------------ steps

    def _room(self) -> float:
        return self.state.ceiling - self.evaluator.loss

    @property
    def _now_db(self) -> dict[str, float]:
        return self.evaluator.stem_error_db

    def _try(self, chosen: list[str]) -> _Answer:
        """Judge a removal, and make it where it is acceptable."""
        state = self.state
        judgement = self.evaluator.judge(chosen, ceiling=state.ceiling)
        suffering = state.suffering(judgement, self._now_db)
        accepted = judgement.loss <= state.ceiling and not suffering
        if accepted:
            before = parts(state.graph)
            state.graph = without_parts(state.graph, chosen)
            after = parts(state.graph)
            # With its last send a return goes, too.
            state.removed += [*chosen, *(i for i in before if i not in after and i not in chosen)]
            state.see(self.evaluator.refresh(state.graph), self._now_db)
        return _Answer(accepted, judgement.loss, suffering)

    def _spared(self, chosen: list[str], suffering: set[str]) -> list[str]:
        """Candidates of a set that do not concern any of the suffering stems."""
        if not suffering:
            return []
        behind = self._stems_behind()
        return [i for i in chosen if not behind[i] & suffering]

    def _stems_behind(self) -> dict[str, frozenset[str]]:
        """Of every candidate, the stems that run through it."""
        graph = self.state.graph
        through = {c.id: graph.stems_reaching(c.id) for c in graph.channels()}
        found = {p.id: stems for channel, stems in through.items() for p in graph.chain(channel)}
        return found | {send_id(*ends): through[ends[0]] for ends in graph.all_sends()}

    def _remove_in_shares(self, pool: list[str], *, stop_at_first_needed: bool) -> None:
        """Remove from the front of `pool` (least important first) a share at a time.

        The share is halved when a proposal fails. A single candidate that fails is needed: the rest of
        the pool is then given up, or tried one by one.
        """
        share = CANDIDATE_SHARE
        while pool:
            chosen = pool[: max(1, math.floor(share * len(pool)))]
            if self._try(chosen).accepted:
                left = parts(self.state.graph)
                pool = [i for i in pool if i in left]
            elif len(chosen) > 1:
                share /= 2.0
            elif stop_at_first_needed:
                break
            else:
                pool = pool[1:]


class _Queue:
    """Candidates, least important first, of which the largest acceptable set from the front is looked for.

    A set that fails bounds the search: sets are chosen inside it until its smallest failing front is
    known, whose last member is then needed. Sizes follow the estimates, corrected by how far the
    last set was off.
    """

    def __init__(self, pool: list[str], estimates: Mapping[str, float]) -> None:
        self.pool = pool
        self.estimates = estimates
        #: Candidates in a row that were needed.
        self.misses = 0
        #: Length of the front that is known to fail.
        self._failing: int | None = None
        self._correction = 1.0

    def front(self, room: float) -> list[str]:
        """The next set to try, when the loss may still grow by `room`."""
        size = _affordable(self.pool, self.estimates, room / self._correction)
        if self._failing is not None:
            size = min(max(size, self._failing // 4), 3 * self._failing // 4)
        return self.pool[: max(size, 1)]

    def gone(self, chosen: list[str], *, left: Collection[str]) -> None:
        """The last set was removed; `left` is what the graph still has."""
        self.pool = [i for i in self.pool if i in left]
        self.misses, self._correction = 0, 1.0
        if self._failing is not None:
            self._failing -= len(chosen)
            if self._failing <= 1:
                # What was removed and the next one are the very set that failed.
                self._drop_first()

    def failed(self, chosen: list[str], *, spared: list[str], increase: float) -> str | None:
        """The last set failed; returns the candidate that is needed where it was alone."""
        if len(chosen) == 1:
            self._drop_first()
            return chosen[0]
        if spared:
            # Only some stems suffer: what does not concern them goes first.
            self.pool = [*spared, *(i for i in self.pool if i not in spared)]
        self._failing = len(chosen)
        estimate = sum(max(self.estimates[i], 0.0) for i in chosen)
        self._correction = max(increase / estimate, 1.0) if estimate > 0.0 else 1.0
        return None

    def _drop_first(self) -> None:
        self.pool = self.pool[1:]
        self.misses += 1
        self._failing = None


def _affordable(pool: list[str], estimates: Mapping[str, float], budget: float) -> int:
    """How many from the front of a pool fit into a budget by their estimates."""
    spent = 0.0
    for count, part in enumerate(pool):
        spent += max(estimates[part], 0.0)
        if spent > budget:
            return count
    return len(pool)


def pruned_from(console: MixGraph, removed: Collection[str], *, kept: MixGraph) -> list[Pruned]:
    """The processors that pruning took out, in the order of the console, with their settings there.

    Parameters
    ----------
    console : MixGraph
        Before pruning, as it was fitted.
    removed : collection of str
        Ids of processors and sends, as in `PruneState`.
    kept : MixGraph
        What was made of the rest; its channels are those of the console.

    Returns
    -------
    list of Pruned
        Gains and pans are left out: they went into the faders that every channel has anyway.
    """
    found = []
    for channel in console.channels():
        there = {p.id for p in kept.chain(channel.id)} if channel.id in {c.id for c in kept.channels()} else set()
        chain = console.chain(channel.id)
        for place, node in enumerate(chain):
            if node.id in removed and node.type != GAIN_PAN.type:
                before = next((n.id for n in chain[place:] if n.id in there), "")
                found.append(Pruned(channel=channel.id, before=before, processor=node))
    return found
