"""Which processors of two graphs correspond, and how well the two agree; what they are set to is compared elsewhere.

A processor is where it is heard: its place is the set of stems that flow through it. So groups
are matched by their members and not by their names, a processor on a group of one track is one on
that track, and one on a group of all tracks is one on the master. Delays and reverbs on a return
count like inserts for the stems that send to it, all other processors of returns by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .graph import MixGraph, Processor
from .processors.specs import DELAY, GAIN_PAN, REVERB
from .recovery_measure import is_neutral

#: A processor counts when the difference it makes is above this, relative to its input: that of 0.1 dB of gain.
MATTERS_DB = -40.0

#: Where sends are involved, two sets of stems are the same place when they share at least this much of their union.
SAME_RETURN_SHARE = 0.5


@dataclass(frozen=True)
class Place:
    """Where a processor is heard.

    Attributes
    ----------
    type : str
        Of the processor.
    stems : frozenset of str
        Ids of the stems that flow through it.
    is_return : bool
        On a return, and of a type that makes a difference of.
    by_send : bool
        Reached by sends: places that share most of their stems are taken for one.
    """

    type: str
    stems: frozenset[str]
    is_return: bool
    by_send: bool

    @property
    def key(self) -> tuple[str, frozenset[str], bool]:
        """What two equal places share."""
        return self.type, self.stems, self.is_return

    def label(self, names: Mapping[str, str]) -> str:
        """For people: the type and what it is on."""
        everything = len(self.stems) == len(names) and len(names) > 1
        stems = "all tracks" if everything else ", ".join(names[s] for s in sorted(self.stems))
        return f"{self.type} on {'a return of ' if self.is_return else ''}{stems}"


def places(
    graph: MixGraph, *, change_db: Mapping[str, float] | None = None, stem_ids: Mapping[str, str] | None = None
) -> dict[Place, list[Processor]]:
    """Processors that do something, by where they are heard, in signal order.

    Parameters
    ----------
    change_db : mapping of processor id to float, optional
        What each processor changes (`recovery_measure.Effects`); those below `MATTERS_DB` are left
        out. Without it only those that do nothing whatever they hear are.
    stem_ids : mapping of str to str, optional
        Other names of this graph's stems.
    """
    renamed = stem_ids or {s.id: s.id for s in graph.stems}
    returns = {bus.id for bus in graph.returns}
    found: dict[Place, list[Processor]] = {}
    for channel in graph.channels():
        stems = frozenset(renamed[s] for s in graph.stems_reaching(channel.id))
        for node in graph.chain(channel.id):
            if is_neutral(node) or (change_db is not None and change_db.get(node.id, MATTERS_DB) < MATTERS_DB):
                continue
            by_send = channel.id in returns
            own = by_send and node.type not in (DELAY.type, REVERB.type)
            found.setdefault(Place(node.type, stems, own, by_send), []).append(node)
    return _joined(found)


def _joined(found: Mapping[Place, list[Processor]]) -> dict[Place, list[Processor]]:
    """Places that are equal but for how they are reached, as one."""
    by_key: dict[tuple[str, frozenset[str], bool], Place] = {}
    joined: dict[Place, list[Processor]] = {}
    for place, nodes in found.items():
        first = by_key.setdefault(place.key, place)
        joined.setdefault(first, []).extend(nodes)
    return joined


def match_places(found: Iterable[Place], truth: Iterable[Place]) -> list[tuple[Place, Place]]:
    """Pairs of places (found, true): equal ones first, then those by sends that share most of their stems."""
    left = {place.key: place for place in found}
    open_truth = {place.key: place for place in truth}
    pairs = [(left.pop(key), open_truth.pop(key)) for key in list(open_truth) if key in left]
    candidates = [
        (share_of_union(mine.stems, true.stems), mine, true)
        for mine in left.values()
        for true in open_truth.values()
        if (mine.type, mine.is_return) == (true.type, true.is_return) and (mine.by_send or true.by_send)
    ]
    for share, mine, true in sorted(candidates, key=lambda c: c[0], reverse=True):
        if share >= SAME_RETURN_SHARE and mine.key in left and true.key in open_truth:
            pairs.append((left.pop(mine.key), open_truth.pop(true.key)))
    return pairs


def share_of_union(one: frozenset[str], other: frozenset[str]) -> float:
    """How much of two sets, of which one is not empty, they have in common, 0 to 1."""
    return len(one & other) / len(one | other)


def same_stems(found: MixGraph, truth: MixGraph) -> dict[str, str]:
    """Id in `truth` of the stems of `found` that both have: those whose id, file or name is the same."""
    left = {s.id: s for s in truth.stems}
    renamed: dict[str, str] = {}
    for stem in found.stems:
        same = [t.id for t in left.values() if stem.id == t.id]
        same += [t.id for t in left.values() if stem.file == t.file]
        same += [t.id for t in left.values() if stem.name == t.name]
        if same:
            renamed[stem.id] = left.pop(same[0]).id
    return renamed


@dataclass(frozen=True)
class Agreement:
    """How well two sets of processors agree; add the counts of several songs for their micro-average.

    Attributes
    ----------
    both, found_only, true_only : int
        Processors in both graphs, and in one of them alone.
    """

    both: int = 0
    found_only: int = 0
    true_only: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.both + other.both, self.found_only + other.found_only, self.true_only + other.true_only)

    @property
    def precision(self) -> float:
        """Share of the found processors that are true, 0 to 1; 1 where nothing was found."""
        count = self.both + self.found_only
        return self.both / count if count else 1.0

    @property
    def recall(self) -> float:
        """Share of the true processors that were found, 0 to 1; 1 where there are none."""
        count = self.both + self.true_only
        return self.both / count if count else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where both graphs are without processors."""
        count = 2 * self.both + self.found_only + self.true_only
        return 2 * self.both / count if count else 1.0

    def to_json(self) -> dict[str, float]:
        """Counts and figures."""
        counts = {"both": self.both, "found_only": self.found_only, "true_only": self.true_only}
        return {**counts, "precision": self.precision, "recall": self.recall, "f1": self.f1}


def agreements(
    pairs: Iterable[tuple[Place, Place]], found: Iterable[Place], truth: Iterable[Place]
) -> dict[str, Agreement]:
    """Agreement by processor type, for the types that either graph has."""
    matched = list(pairs)
    counts: dict[str, Agreement] = {}

    def count(kind: str, add: Agreement) -> None:
        counts[kind] = counts.get(kind, Agreement()) + add

    mine, true = {f.key for f, _ in matched}, {t.key for _, t in matched}
    for place, _ in matched:
        count(place.type, Agreement(both=1))
    for place in found:
        if place.key not in mine:
            count(place.type, Agreement(found_only=1))
    for place in truth:
        if place.key not in true:
            count(place.type, Agreement(true_only=1))
    return counts


def total(counts: Mapping[str, Agreement], *, faders: bool) -> Agreement:
    """Agreement over all types, with or without gain/pan."""
    chosen = [a for kind, a in counts.items() if faders or kind != GAIN_PAN.type]
    return sum(chosen, Agreement())
