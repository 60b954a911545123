"""What L_a falls by when the reference takes a node's place in the real chain; nulls are measured in `nodes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...exporters.chain import Chain, Channel, Insert, Send, VolumePoint
from ...exporters.session import Strip
from .locate import Opened
from .nodes import expectations, reference_of, steps_of, with_fader_of, worst_first
from .realise import Audio, ChainRenderer, InsertRun
from .results import NodeResult

#: Nodes that null better than this lose nothing worth a further render.
INNOCENT_NULL_DB = -60.0

#: Nor do nodes whose error reaches the song below this.
_INAUDIBLE_DB = -90.0


def contributions(
    nodes: Sequence[NodeResult],
    opened: Opened,
    renderer: ChainRenderer,
    *,
    loss_of: Callable[[Audio], float],
    real_loss: float,
    count: int,
) -> tuple[NodeResult, ...]:
    """The nodes with `NodeResult.contribution` filled in for the worst of them; worst first.

    Each costs one more render of what lies behind the node, and one more loss.

    Parameters
    ----------
    nodes : sequence of NodeResult
        Worst first.
    renderer : ChainRenderer
        With the outputs of its channels kept.
    loss_of : callable
        L_a of a render.
    count : int
        How many nodes are measured.
    """
    judged: list[NodeResult] = []
    for node in nodes:
        if count > 0 and _suspect(node):
            count -= 1
            cured = _without_error(node, opened, renderer)
            if cured is not None:
                node = node.model_copy(update={"contribution": real_loss - loss_of(cured)})
        judged.append(node)
    return tuple(sorted(judged, key=worst_first))


def _suspect(node: NodeResult) -> bool:
    return (
        node.kind != "media"
        and node.null_db is not None
        and node.null_db > INNOCENT_NULL_DB
        and (node.impact_db is None or node.impact_db > _INAUDIBLE_DB)
    )


def _without_error(node: NodeResult, opened: Opened, renderer: ChainRenderer) -> Audio | None:
    """The whole song with this one node as the graph wants it; None where that cannot be rendered."""
    channel = opened.chain.channel(node.channel)
    wanted = {} if opened.wanted is None else expectations(opened.wanted)
    expectation = wanted.get(channel.id)
    if node.kind in ("fader", "volume", "send"):
        cured = None if expectation is None else _mixer_cured(node, channel, expectation.strip, opened.chain)
        return None if cured is None else renderer.render_with(channels={channel.id: cured})
    inserts: list[Insert] = []
    runs: dict[str, InsertRun] = {}
    for step in steps_of(channel, expectation):
        is_it = node.id in {step.real.id if step.real is not None else "", step.wanted.id if step.wanted else ""}
        if not is_it:
            inserts += [step.real] if step.real is not None else []
        elif step.wanted is not None:
            # Only its place counts: the reference runs instead.
            inserts.append(Insert(id=node.id, kind="mixer", type=step.wanted.type))
            runs[node.id] = reference_of(step.wanted, sample_rate_hz=opened.chain.sample_rate_hz)
    return renderer.render_with(channels={channel.id: _with(channel, inserts)}, runs=runs)


def _mixer_cured(node: NodeResult, channel: Channel, strip: Strip, chain: Chain) -> Channel | None:
    """A channel with fader and automation, or one of its sends, as the graph wants it; None where that cannot be."""
    if node.kind in ("fader", "volume"):
        return with_fader_of(channel, strip)
    target = node.id.removeprefix(f"{channel.id}>")
    ids = [c.id for c in chain.channels]
    if target not in ids[ids.index(channel.id) + 1 :]:
        return None
    wanted = (
        Send(target=target, gain=send.gain, volume=VolumePoint.copies(send.volume))
        for send in strip.sends
        if send.target == target
    )
    others = (send for send in channel.sends if send.target != target)
    return channel.model_copy(update={"sends": (*others, *wanted)})


def _with(channel: Channel, inserts: Sequence[Insert]) -> Channel:
    return channel.model_copy(update={"inserts": tuple(inserts)})
