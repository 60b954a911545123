"""Moves plain gains along the signal path until one fader has them all; equalizers are merged elsewhere.

What may be moved is exact: a gain commutes with everything linear (with a pan, if both channels
are treated alone). It passes what has a threshold if the threshold moves with it, because what a
compressor, a gate or a limiter does depends on the distance of the level from the threshold only;
saturation follows likewise with its drive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ..graph import Bus, Edge, Master, MixGraph, Processor, Stem
from ..processors.equations import db_to_gain, gain_to_db, saturation_shape
from ..processors.specs import GAIN_PAN, MIX, SATURATION, SEND_LEVEL, SPECS
from .amounts import Gains, allowed, fits, gain_pan_settings, gains_of, replaced
from .parameters import Limits
from .rewrite import Rewrite, appended, free_id, with_nodes

#: Linear types that treat each channel alone, those that mix the channels, and where types have a threshold.
_PER_CHANNEL = ("eq", "gain_pan", "delay")
_ACROSS_CHANNELS = ("imager", "reverb")
_THRESHOLDS = {"compressor": "threshold_db", "gate": "threshold_db", "limiter": "ceiling_db"}


def gain_moves(graph: MixGraph, *, limits: Limits | None = None) -> Iterator[Rewrite]:
    """Graphs with a gain fewer, each equal to the given one."""
    for channel in graph.channels():
        chain = graph.chain(channel.id)
        yield from _within(graph, chain, limits)
        yield from _make_ups(graph, chain, limits)
    buses: list[Bus | Master] = [*graph.buses, graph.master]
    for bus in buses:
        yield from _into_inputs(graph, bus, limits)


def carried(node: Processor, gains: Gains, *, limits: Limits | None = None) -> Processor | None:
    """The processor that does behind a gain what `node` does in front of it.

    ``node(gains * x) == gains * carried(node, gains)(x)``; None where there is none.
    """
    if node.type in _PER_CHANNEL:
        return node
    if not gains.equal or gains.left <= 0.0:
        return None
    if node.type in _ACROSS_CHANNELS:
        return node
    values = dict(node.parameters)
    if node.type in _THRESHOLDS:
        values[_THRESHOLDS[node.type]] -= gain_to_db(gains.left)
    elif node.type == SATURATION.type:
        # tanh(a g x) / a == g tanh(a g x) / (a g): the shape, the square of a, grows with the gain's.
        values["drive_db"] = gain_to_db((1.0 + saturation_shape(values["drive_db"]) * gains.left**2) ** 0.5)
    else:
        return None
    return replaced(node, values) if fits(node.type, values, limits) else None


def _carried_all(nodes: Sequence[Processor], gains: Gains | None, limits: Limits | None) -> list[Processor] | None:
    if not nodes:
        return []
    if gains is None:
        return None
    found = [carried(node, gains, limits=limits) for node in nodes]
    return [n for n in found if n is not None] if all(n is not None for n in found) else None


def as_fader(node: Processor, gains: Gains, *, limits: Limits | None = None) -> Processor | None:
    """A gain/pan of a node's id with these gains; None where they are out of range."""
    settings = gain_pan_settings(gains, limits=limits)
    return None if settings is None else Processor(id=node.id, type=GAIN_PAN.type, parameters=settings)


def _within(graph: MixGraph, chain: Sequence[Processor], limits: Limits | None) -> Iterator[Rewrite]:
    """A gain and the next one of the same channel become one."""
    places = [i for i, node in enumerate(chain) if gains_of(node) is not None]
    for i, j in pairwise(places):
        first, second = gains_of(chain[i]), gains_of(chain[j])
        if first is None or second is None:
            continue
        later, earlier = chain[i + 1 : j], second.inverse
        # The fader at the end is where a gain is looked for; the other way only where it must be.
        for between, keeps, gone in (
            (_carried_all(later, first, limits), chain[j], chain[i]),
            (_carried_all(later, earlier, limits), chain[i], chain[j]),
        ):
            fader = as_fader(keeps, first * second, limits=limits)
            if between is not None and fader is not None:
                smaller = with_nodes(graph, [*between, fader]).without({gone.id})
                yield Rewrite(f"gain {gone.id} into {keeps.id}", smaller)
                break
    for i in places:
        fader = as_fader(chain[i], gains_of(chain[i]) or Gains(1.0, 1.0), limits=limits)
        if chain[i].type != GAIN_PAN.type and fader is not None:
            yield Rewrite(f"{chain[i].id} is a gain", with_nodes(graph, [fader]))


def _make_ups(graph: MixGraph, chain: Sequence[Processor], limits: Limits | None) -> Iterator[Rewrite]:
    """The make-up gain of a compressor moves into the fader behind it."""
    for i, node in enumerate(chain):
        make_up_db = node.parameters.get("makeup_db", 0.0)
        j = next((j for j in range(i + 1, len(chain)) if chain[j].type == GAIN_PAN.type), None)
        if make_up_db == 0.0 or node.mix != MIX.default or j is None:
            continue
        low, high = allowed(SPECS[node.type].parameter("makeup_db"), node.type, limits)
        gain = db_to_gain(make_up_db)
        moved = Gains(gain, gain)
        between = _carried_all(chain[i + 1 : j], moved, limits)
        fader = as_fader(chain[j], moved * (gains_of(chain[j]) or Gains(1.0, 1.0)), limits=limits)
        if low <= 0.0 <= high and between is not None and fader is not None:
            plain = replaced(node, {**node.parameters, "makeup_db": 0.0})
            yield Rewrite(f"make-up of {node.id} into {fader.id}", with_nodes(graph, [plain, *between, fader]))


def _into_inputs(graph: MixGraph, bus: Bus | Master, limits: Limits | None) -> Iterator[Rewrite]:
    """The fader of a group, a return or the master moves into everything that flows into it."""
    chain = graph.chain(bus.id)
    for place, node in enumerate(chain):
        gains = gains_of(node)
        if node.type != GAIN_PAN.type or gains is None:
            continue
        # node(pre(x)) == pre'(node(x)): what comes before is carried behind the gain.
        before = _carried_all(chain[:place], gains.inverse, limits)
        if before is None:
            continue
        moved = _inputs_with(with_nodes(graph, before), bus, gains, limits)
        if moved is not None:
            yield Rewrite(f"fader of {bus.id} into its inputs", moved.without({node.id}))


def _inputs_with(graph: MixGraph, bus: Bus | Master, gains: Gains, limits: Limits | None) -> MixGraph | None:
    """The graph in which everything that flows into a bus has these gains on top."""
    children = graph.children(bus.id)
    sends = [e for e in graph.edges if e.send_db is not None and e.target == bus.id]
    if not children and not sends:
        return None
    moved: MixGraph | None = graph
    for child in children:
        moved = None if moved is None else _child_with(moved, child, gains, alone=len(children) == 1, limits=limits)
    if moved is None or not sends:
        return moved
    # What the children send here has their fader in it by now, and was corrected for that.
    return _sends_changed(moved, [e for e in moved.edges if e.send_db is not None and e.target == bus.id], gains)


def _child_with(
    graph: MixGraph, child: Stem | Bus, gains: Gains, *, alone: bool, limits: Limits | None
) -> MixGraph | None:
    """The graph in which a channel's main output has these gains on top and its sends have not."""
    chain = graph.chain(child.id)
    sends = graph.sends(child.id)
    inverse = gains.inverse
    place = max((i for i, n in enumerate(chain) if n.type == GAIN_PAN.type), default=None)
    if place is None:
        if not alone:
            return None
        settings = gain_pan_settings(gains, limits=limits)
        if settings is None:
            return None
        taken = {n.id for n in graph.nodes}
        fader = Processor(id=free_id(f"{child.id}/{GAIN_PAN.type}", taken), type=GAIN_PAN.type, parameters=settings)
        graph = appended(graph, child.id, fader)
    else:
        fader_gains = gains_of(chain[place])
        behind = _carried_all(chain[place + 1 :], inverse, limits)
        new = None if fader_gains is None else as_fader(chain[place], gains * fader_gains, limits=limits)
        if behind is None or new is None:
            return None
        graph = with_nodes(graph, [*behind, new])
    if not sends:
        return graph
    targets = {s.target for s in sends}
    after = [s for s in graph.sends(child.id) if s.target in targets]
    return None if inverse is None else _sends_changed(graph, after, inverse)


def _sends_changed(graph: MixGraph, sends: Sequence[Edge], gains: Gains) -> MixGraph | None:
    """The graph with a gain on some sends; None where it has a pan or leaves the range."""
    if not gains.equal:
        return None
    places = {(s.source, s.target) for s in sends}
    edges = []
    for edge in graph.edges:
        if edge.send_db is not None and (edge.source, edge.target) in places:
            send_db = edge.send_db + gain_to_db(gains.left)
            if not SEND_LEVEL.minimum < send_db <= SEND_LEVEL.maximum:
                return None
            edge = edge.model_copy(update={"send_db": send_db, "evidence": None})
        edges.append(edge)
    return graph.model_copy(update={"edges": edges})
