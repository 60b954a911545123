"""Replaces reverbs on several channels by sends to one return; whether that pays is decided in `tidy`.

A reverb in a channel gives ``mix * level * R(x) + (1 - mix) * x``. The same comes from a fader that is
down by ``1 - mix`` and a send that makes up for it into a return with the reverb alone. What no longer is
the same: the reverbs become one, with the settings most of the reverberation had, and what was
reverberated before the chain of a group now passes beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..graph import Bus, Edge, MixGraph, Processor, Stem
from ..processors.equations import db_to_gain, gain_to_db
from ..processors.specs import GAIN_PAN, MIX, REVERB, SEND_LEVEL
from .amounts import Gains, allowed, gains_of
from .merge_gain import as_fader
from .parameters import Limits
from .rewrite import Rewrite, appended, free_id, with_nodes

#: Name of the return, and the type in its processors' ids.
RETURN_NAME = "Reverb"


@dataclass(frozen=True)
class _Insert:
    """A reverb at the end of a track or group.

    Attributes
    ----------
    wet : float
        Linear level of its wet path when it stands alone on the return at 0 dB.
    """

    channel: str
    node: Processor
    wet: float


def shared_reverbs(graph: MixGraph, *, limits: Limits | None = None) -> Iterator[Rewrite]:
    """Graphs in which reverbs on two channels or more are one on a return, the largest set first.

    First all of them, then those of every group by themselves.
    """
    inserts = list(_inserts(graph))
    sets = [inserts]
    for bus in graph.buses:
        children = {c.id for c in graph.children(bus.id)}
        sets.append([i for i in inserts if i.channel in children])
    tried: set[frozenset[str]] = set()
    for chosen in sets:
        key = frozenset(i.channel for i in chosen)
        for law in sorted({i.node.law for i in chosen}):
            same = [i for i in chosen if i.node.law == law]
            if len(same) < 2 or key in tried:
                continue
            shared = _shared(graph, same, limits)
            if shared is not None and len(shared.processors) < len(graph.processors):
                yield Rewrite(f"reverbs of {', '.join(i.channel for i in same)} become sends", shared)
        tried.add(key)


def _inserts(graph: MixGraph) -> Iterator[_Insert]:
    returns = {b.id for b in graph.returns}
    channels: list[Stem | Bus] = [*graph.stems, *graph.buses]
    for channel in channels:
        chain = graph.chain(channel.id)
        # A channel that sends elsewhere would send less once its fader is down.
        if not chain or chain[-1].type != REVERB.type or channel.id in returns or graph.sends(channel.id):
            continue
        node = chain[-1]
        dry = MIX.maximum - node.mix
        if node.mix > 0.0 and dry > 0.0:
            yield _Insert(channel.id, node, node.mix / dry * db_to_gain(node.parameters["level_db"]))


def _shared(graph: MixGraph, inserts: Sequence[_Insert], limits: Limits | None) -> MixGraph | None:
    settings = common_settings([i.node.parameters for i in inserts], [i.wet for i in inserts])
    low, high = allowed(REVERB.parameter("level_db"), inserts[0].node.kind, limits)
    settings["level_db"] = min(max(settings["level_db"], low), high)
    parents = {p.id for i in inserts if (p := graph.parent(i.channel)) is not None}
    # Where all come from one group the return goes there too, through the same processors as before.
    target = parents.pop() if len(parents) == 1 else graph.master.id
    levels_db: dict[str, float] = {}
    smaller = graph
    for insert in inserts:
        beside = 1.0 if target != graph.master.id else _gain_of_groups(graph, insert.channel)
        level_db = gain_to_db(insert.wet * beside) - settings["level_db"]
        if not SEND_LEVEL.minimum < level_db <= SEND_LEVEL.maximum:
            return None
        levels_db[insert.channel] = level_db
        lowered = _without_insert(smaller, insert, limits)
        if lowered is None:
            return None
        smaller = lowered
    taken = {n.id for n in graph.nodes}
    bus = Bus(id=free_id("return:reverb", taken), name=RETURN_NAME)
    reverb = Processor(
        id=free_id(f"{bus.id}/{REVERB.type}", taken), type=REVERB.type, parameters=settings, law=inserts[0].node.law
    )
    place = next(i for i, n in enumerate(smaller.nodes) if n.id == smaller.master.id)
    nodes = [*smaller.nodes[:place], bus, reverb, *smaller.nodes[place:]]
    sends = [Edge(source=smaller.end(c), target=bus.id, send_db=level_db) for c, level_db in levels_db.items()]
    chain = [Edge(source=bus.id, target=reverb.id), Edge(source=reverb.id, target=target)]
    return smaller.rebuilt(nodes, [*smaller.edges, *sends, *chain])


def _gain_of_groups(graph: MixGraph, channel_id: str) -> float:
    """Mean linear gain of the faders a channel passes on its way to the master's input."""
    gain = 1.0
    parent = graph.parent(channel_id)
    while isinstance(parent, Bus):
        for node in graph.chain(parent.id):
            gains = gains_of(node) if node.type == GAIN_PAN.type else None
            gain *= 1.0 if gains is None else math.hypot(gains.left, gains.right) / math.sqrt(2.0)
        parent = graph.parent(parent.id)
    return gain


def _without_insert(graph: MixGraph, insert: _Insert, limits: Limits | None) -> MixGraph | None:
    """The graph without a reverb, whose dry level goes into the channel's fader."""
    dry = Gains(MIX.maximum - insert.node.mix, MIX.maximum - insert.node.mix)
    smaller = graph.without({insert.node.id})
    chain = smaller.chain(insert.channel)
    if chain and chain[-1].type == GAIN_PAN.type:
        fader = as_fader(chain[-1], dry * (gains_of(chain[-1]) or Gains(1.0, 1.0)), limits=limits)
        return None if fader is None else with_nodes(smaller, [fader])
    taken = {n.id for n in smaller.nodes}
    blank = Processor(
        id=free_id(f"{insert.channel}/{GAIN_PAN.type}", taken), type=GAIN_PAN.type, parameters=GAIN_PAN.defaults()
    )
    fader = as_fader(blank, dry, limits=limits)
    return None if fader is None else appended(smaller, insert.channel, fader)


def common_settings(settings: Sequence[dict[str, float]], weights: Sequence[float]) -> dict[str, float]:
    """The weighted median of every parameter: the value half of the weight lies above and half below."""
    return {name: _weighted_median([s[name] for s in settings], weights) for name in settings[0]}


def _weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    half, seen = sum(weights) / 2.0, 0.0
    pairs = sorted(zip(values, weights, strict=True))
    for value, weight in pairs:
        seen += weight
        if seen >= half:
            return value
    return pairs[-1][0]
