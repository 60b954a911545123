"""Makes a finished graph simpler without changing what it sounds like; fitting and pruning live elsewhere.

`merge` needs the graph alone: gains that follow one another become one fader, equalizers one
equalizer, and what does nothing is dropped. `tidy` also asks for the loss and takes back every
change after which it is above the ceiling.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from ..graph import MixGraph, Node, Processor, Stem
from ..processors.equations import channel_gains, gain_and_pan, gain_to_db
from ..processors.specs import GAIN_PAN, MIX, SEND_LEVEL, SPECS
from .activity import Activity
from .amounts import is_neutral, makes_stereo, readable
from .fit_response import LARGEST_ERROR_DB
from .merge_eq import eq_merges
from .merge_gain import as_fader, gain_moves
from .parameters import Limits
from .rewrite import Rewrite, longest_within, with_nodes
from .sections import sections_of, with_sections_off
from .shared_reverb import shared_reverbs

#: A processor that does no more than this beside a plain gain may become one.
GAIN_RESIDUAL_DB = -50.0

#: A fitted equalizer may be as far off as this where the loss is there to judge it: what it is to
#: equalize may have nothing in the band where it is worst.
LOOSE_ERROR_DB = 1.0

#: By this much L_a may grow in all when sections are switched off.
SECTIONS_LOSS = 0.0005

LossOf = Callable[[MixGraph], float]
Refit = Callable[[MixGraph], MixGraph]


def fold(graph: MixGraph) -> MixGraph:
    """Express what a dry/wet weight does to a gain/pan or imager in its own parameters.

    Both are plain gains, so ``mix * f + (1 - mix)`` is again a gain and pan, or a width.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        if not isinstance(node, Processor) or node.mix == MIX.default:
            nodes.append(node)
            continue
        if node.type == "gain_pan":
            gain, pan = gain_and_pan(*channel_gains(**node.parameters, mix=node.mix))
            gain_db = SPECS["gain_pan"].parameter("gain_db")
            parameters = {"gain_db": gain_db.limited(gain_to_db(gain)), "pan": pan}
            node = node.model_copy(update={"parameters": parameters, "mix": MIX.default})
        elif node.type == "imager":
            width = node.mix * node.parameters["width"] + 1.0 - node.mix
            node = node.model_copy(update={"parameters": {"width": width}, "mix": MIX.default})
        nodes.append(node)
    return graph.model_copy(update={"nodes": nodes})


def merge(graph: MixGraph, *, limits: Limits | None = None) -> MixGraph:
    """Merge what follows one another and drop what does nothing.

    Gains are moved exactly. An equalizer that has to be fitted stays within
    `fit_response.LARGEST_ERROR_DB`; a section or a processor that is dropped changes the level by less
    than `amounts.NEGLIGIBLE_DB`. Merging a merged graph changes nothing.

    Parameters
    ----------
    limits : mapping, optional
        Ranges of parameters that are narrower than the specification's, by type and name.
    """
    while (step := _next_step(graph, limits=limits)) is not None:
        graph = step.graph
    return graph


def _next_step(
    graph: MixGraph,
    *,
    limits: Limits | None,
    refused: Collection[str] = (),
    largest_error_db: float = LARGEST_ERROR_DB,
) -> Rewrite | None:
    steps = _steps(graph, limits, largest_error_db)
    return next((step for step in steps if step.key not in refused), None)


def _steps(graph: MixGraph, limits: Limits | None, largest_error_db: float) -> Iterator[Rewrite]:
    """Every change that could be made to a graph now, the surest first."""
    folded = fold(graph)
    if folded.nodes != graph.nodes:
        yield Rewrite("dry/wet weights of gains", folded)
    yield from _made_readable(graph, limits)
    yield from _neutral(graph)
    yield from gain_moves(graph, limits=limits)
    yield from eq_merges(graph, limits=limits, largest_error_db=largest_error_db)


def _made_readable(graph: MixGraph, limits: Limits | None) -> Iterator[Rewrite]:
    nodes = [
        readable(n, sample_rate_hz=graph.sample_rate_hz, limits=limits) if isinstance(n, Processor) else n
        for n in graph.nodes
    ]
    if nodes != graph.nodes:
        yield Rewrite("settings that do nothing", graph.model_copy(update={"nodes": nodes}))


def _neutral(graph: MixGraph) -> Iterator[Rewrite]:
    for ends, send in graph.all_sends().items():
        if send.send_db == SEND_LEVEL.off_at:
            yield Rewrite(f"send from {ends[0]} to {ends[1]} is off", graph.without_sends([ends]).tidied())
    for channel in graph.channels():
        mono = isinstance(channel, Stem) and channel.channels == 1
        for node in graph.chain(channel.id):
            if is_neutral(node, mono=mono):
                yield Rewrite(f"{node.id} does nothing", graph.without({node.id}))
            mono = mono and not makes_stereo(node)


def tidy(
    graph: MixGraph,
    loss_of: LossOf,
    *,
    ceiling: float,
    limits: Limits | None = None,
    refit: Refit | None = None,
    activity: Mapping[str, Activity] | None = None,
) -> MixGraph:
    """Simplify a graph as far as its loss allows.

    What `merge` does; then processors that are no more than a gain on this song go into a fader,
    reverbs on several channels become sends to one return, and bands of equalizers and taps of
    delays that the song does not miss are switched off.

    Parameters
    ----------
    loss_of : callable
        L_a of a graph over the song.
    ceiling : float
        A change after which the loss is above this is taken back.
    limits
        As for `merge`.
    refit : callable, optional
        Returns a graph with its settings fitted again; used where reverbs were replaced by sends.
    activity : mapping of processor id to Activity, optional
        What each processor does to this song (`activity.activity_of`).
    """
    graph = _merged(graph, loss_of, ceiling, limits)
    graph = _without_plain_gains(graph, activity or {}, loss_of, ceiling, limits)
    graph = _with_shared_reverb(graph, loss_of, ceiling, limits, refit)
    graph = _without_sections(graph, loss_of, ceiling, limits)
    return _merged(graph, loss_of, ceiling, limits)


def _merged(graph: MixGraph, loss_of: LossOf, ceiling: float, limits: Limits | None) -> MixGraph:
    """`merge`, in one go where the loss allows it; then, step by step, what it forbade or what is bolder."""
    merged = merge(graph, limits=limits)
    if merged != graph and loss_of(merged) <= ceiling:
        graph = merged
    refused: set[str] = set()
    while True:
        step = _next_step(graph, limits=limits, refused=refused, largest_error_db=LOOSE_ERROR_DB)
        if step is None:
            return graph
        if loss_of(step.graph) <= ceiling:
            graph = step.graph
        else:
            refused.add(step.key)


def _without_plain_gains(
    graph: MixGraph, activity: Mapping[str, Activity], loss_of: LossOf, ceiling: float, limits: Limits | None
) -> MixGraph:
    for node in graph.processors:
        found = activity.get(node.id)
        if node.type == GAIN_PAN.type or found is None or found.residual_db > GAIN_RESIDUAL_DB:
            continue
        # A step before may have merged it already.
        fader = as_fader(node, found.gains, limits=limits) if node in graph.nodes else None
        if fader is None:
            continue
        simpler = merge(with_nodes(graph, [fader]), limits=limits)
        if len(simpler.processors) < len(graph.processors) and loss_of(simpler) <= ceiling:
            graph = simpler
    return graph


def _with_shared_reverb(
    graph: MixGraph, loss_of: LossOf, ceiling: float, limits: Limits | None, refit: Refit | None
) -> MixGraph:
    for step in shared_reverbs(graph, limits=limits):
        shared = step.graph if refit is None else refit(step.graph)
        if loss_of(shared) <= ceiling:
            # The sets of what is left are others.
            return _with_shared_reverb(shared, loss_of, ceiling, limits, refit)
    return graph


def _without_sections(graph: MixGraph, loss_of: LossOf, ceiling: float, limits: Limits | None) -> MixGraph:
    """Switch off as many sections as the loss allows, those with the least effect first."""
    sections = sections_of(graph)
    if not sections:
        return graph
    ceiling = min(ceiling, loss_of(graph) + SECTIONS_LOSS)
    count = longest_within(
        len(sections), lambda n: loss_of(with_sections_off(graph, sections[:n], limits=limits)) <= ceiling
    )
    return with_sections_off(graph, sections[:count], limits=limits)
