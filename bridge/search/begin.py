"""A console at the start of a descent, with what was identified; least squares and echoes are in `start`.

What is read off the spectra is right about most mixes and wrong about some, so it is taken in
steps (faders; filters; dynamics and automation; reverb and echoes) and each step only where it
brings the loss down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..graph import MixGraph, Node, Processor, VolumePoint
from ..processors.laws import FREEVERB
from ..processors.specs import MIX
from . import start
from .identify import Identified, Scope, identify
from .identify_reverb import ReverbFit
from .identify_room import RoomFit
from .parameters import parts, send_id, without_parts
from .working_set import WorkingSet

#: L_a of a graph.
LossOf = Callable[[MixGraph], float]

#: Settings of processors by id; "mix" is the dry/wet weight.
Values = dict[str, dict[str, float]]

#: Types that are audible at the start of a descent without having been identified.
_DRY_TYPES = ("eq", "compressor", "gate", "gain_pan")


def faders_only(graph: MixGraph) -> MixGraph:
    """The graph with nothing but the gain/pan of every track."""
    faders = {p.id for s in graph.stems for p in graph.chain(s.id) if p.type == "gain_pan"}
    return without_parts(graph, set(parts(graph)) - faders)


def scope_of(graph: MixGraph, limits: Mapping[str, Mapping[str, tuple[float, float]]]) -> Scope:
    """What a console can hold, and so what is worth looking for."""
    tracks = {p.type for s in graph.stems for p in graph.chain(s.id)}
    rooms = _rooms(graph)
    buses = {
        bus.id: [s.id for s in graph.stems if bus.id in graph.path(s.id)]
        for bus in graph.buses
        if any(p.type == "compressor" for p in graph.chain(bus.id))
    }
    return Scope(
        compressors="compressor" in tracks,
        gates="gate" in tracks,
        reverb=bool(_returns(graph) - rooms),
        room=bool(rooms),
        echoes="delay" in tracks,
        buses={bus: stems for bus, stems in buses.items() if stems},
        master_id=graph.master.id,
        master_compressor=any(p.type == "compressor" for p in graph.chain(graph.master.id)),
        allowed=dict(limits.get("eq", {})),
    )


def begin(
    console: MixGraph,
    song: WorkingSet,
    *,
    faders: MixGraph,
    gains: start.Array,
    loss_of: LossOf,
    limits: Mapping[str, Mapping[str, tuple[float, float]]],
    keep_all: bool,
) -> MixGraph:
    """Give a console its start values.

    Parameters
    ----------
    console : MixGraph
    faders : MixGraph
        `faders_only` of it, fitted.
    gains : array, shape=(stems, 2)
        Of `start.least_squares_gains`.
    loss_of : callable
        L_a of a graph, whose settings may be any.
    limits
        Ranges that plugins keep to, by type and parameter.
    keep_all : bool
        Keep delays without a clear echo and gates that were not identified, too.

    Returns
    -------
    MixGraph
        Without the parts that nothing speaks for; with volume automation where it was found.
    """
    found = identify(song, sample_rate_hz=console.sample_rate_hz, scope=scope_of(console, limits))
    begun = start.with_start_values(console, song, gains, echoes=found.echoes)
    begun = start.with_values(begun, {p.id: {**p.parameters, MIX.name: p.mix} for p in faders.processors})
    begun = _best(begun, found, loss_of, limits)
    rooms = _rooms(begun)
    for fit, returns in ((found.room, rooms), (found.reverb, _returns(begun) - rooms)):
        candidate = _with_reverb(begun, found, fit, returns)
        if candidate is not None and loss_of(_audible(candidate)) < loss_of(_audible(begun)):
            begun = candidate
            break
    heard = begun if keep_all else without_parts(begun, _unspoken_for(begun, found))
    return _with_true_echoes(heard, loss_of)


def _with_true_echoes(graph: MixGraph, loss_of: LossOf) -> MixGraph:
    """Delays at the level of their echoes only where the loss falls: loops repeat themselves, too."""
    echoing = [p.id for p in graph.processors if p.type == "delay" and p.mix > start.START_WET]
    if not echoing:
        return graph
    best = loss_of(_audible(graph, echoes=True))
    for node_id in echoing:
        softer = start.with_values(graph, {node_id: {MIX.name: start.START_WET}})
        loss = loss_of(_audible(softer, echoes=True))
        if loss < best:
            best, graph = loss, softer
    return graph


def _best(
    begun: MixGraph, found: Identified, loss_of: LossOf, limits: Mapping[str, Mapping[str, tuple[float, float]]]
) -> MixGraph:
    """Take filters, dynamics and automation, each where the loss falls."""
    best = loss_of(_dry(begun))
    filters = _filters(begun, found)
    both = {**filters, **_dynamics(begun, found)}
    steps: list[tuple[Values, dict[str, list[VolumePoint]]]] = [(filters, {}), (both, {}), (both, found.volumes)]
    chosen = begun
    for values, volumes in steps:
        candidate = _with_volumes(start.with_values(begun, _within(begun, values, limits)), volumes)
        loss = loss_of(_dry(candidate))
        if loss < best:
            best, chosen = loss, candidate
    return chosen


def _dry(graph: MixGraph) -> MixGraph:
    """Only what is audible before reverbs and echoes: quick to render."""
    return without_parts(graph, {part for part, kind in parts(graph).items() if kind not in _DRY_TYPES})


def _audible(graph: MixGraph, *, echoes: bool = False) -> MixGraph:
    """Dry channels and the returns; delays on channels where echoes are in question."""
    keep = {p.id for b in graph.returns for p in graph.chain(b.id)}
    kinds = (*_DRY_TYPES, "send", *(("delay",) if echoes else ()))
    gone = {part for part, kind in parts(graph).items() if kind not in kinds and part not in keep}
    return without_parts(graph, gone)


def _filters(graph: MixGraph, found: Identified) -> Values:
    values: Values = {}
    for stem in graph.stems:
        fit = found.tracks[stem.id]
        for node in graph.chain(stem.id):
            if node.type == "eq":
                values[node.id] = {**fit.eq, MIX.name: MIX.maximum}
            elif node.type == "gain_pan":
                values[node.id] = {**fit.gain_pan, MIX.name: MIX.maximum}
    return values


def _dynamics(graph: MixGraph, found: Identified) -> Values:
    values: Values = {}
    for channel in graph.channels():
        for kind, fits in (("compressor", found.compressors), ("gate", found.gates)):
            fit = fits.get(channel.id)
            for node in graph.chain(channel.id):
                if node.type == kind and fit is not None and fit.is_real:
                    values[node.id] = {**fit.parameters, MIX.name: MIX.maximum}
    return values


def _within(graph: MixGraph, values: Values, limits: Mapping[str, Mapping[str, tuple[float, float]]]) -> Values:
    """Values held in what the plugins can do."""
    kinds = {p.id: p.kind for p in graph.processors}
    held: Values = {}
    for node_id, own in values.items():
        allowed = limits.get(kinds[node_id], {})
        held[node_id] = {
            name: min(max(value, allowed[name][0]), allowed[name][1]) if name in allowed else value
            for name, value in own.items()
        }
    return held


def _with_volumes(graph: MixGraph, volumes: Mapping[str, list[VolumePoint]]) -> MixGraph:
    nodes: list[Node] = [
        n if isinstance(n, Processor) or n.id not in volumes else n.model_copy(update={"volume": volumes[n.id]})
        for n in graph.nodes
    ]
    return graph.rebuilt(nodes, graph.edges)


def _returns(graph: MixGraph) -> set[str]:
    """Ids of the returns that hold a reverb."""
    return {b.id for b in graph.returns if any(p.type == "reverb" for p in graph.chain(b.id))}


def _rooms(graph: MixGraph) -> set[str]:
    """Ids of the returns that hold the reverb of fixed reflections."""
    return {b.id for b in graph.returns if any(p.law == FREEVERB for p in graph.chain(b.id))}


def _with_reverb(
    graph: MixGraph, found: Identified, fit: ReverbFit | RoomFit | None, returns: set[str]
) -> MixGraph | None:
    """Some returns with the reverb that was found for them and its sends; None where there is none."""
    if fit is None or not fit.is_real or not returns:
        return None
    # Several returns share the energy.
    shared_db = start.share_db(len(returns))
    levels_db = dict(zip(found.tracks, fit.sends_db, strict=True))
    sends = {
        ends: max(levels_db[ends[0]] - shared_db, start.QUIETEST_SEND_DB)
        for ends in graph.all_sends()
        if ends[0] in levels_db and ends[1] in returns
    }
    reverbs = [p.id for bus_id in returns for p in graph.chain(bus_id) if p.type == "reverb"]
    values = {node_id: {**fit.parameters, MIX.name: MIX.maximum} for node_id in reverbs}
    return start.with_send_levels(start.with_values(graph, values), sends)


def _unspoken_for(graph: MixGraph, found: Identified) -> set[str]:
    """Delays on tracks without a clear echo, gates that nothing was seen of, and a room that is not there.

    All can be told from the song at once, and all cost a descent as much as an equalizer.
    """
    gone: set[str] = set()
    if found.room is not None and not found.room.is_real:
        rooms = _rooms(graph)
        gone |= {p.id for bus_id in rooms for p in graph.chain(bus_id)}
        gone |= {send_id(*ends) for ends in graph.all_sends() if ends[1] in rooms}
    for channel in graph.channels():
        echoes = found.echoes.get(channel.id, [])
        for node in graph.chain(channel.id):
            if node.type == "delay" and not start.are_clear(echoes):
                gone.add(node.id)
            gate = found.gates.get(channel.id)
            if node.type == "gate" and not (gate is not None and gate.is_real):
                gone.add(node.id)
    return gone
