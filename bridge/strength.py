"""A match at a chosen strength: graphs with some of their types weakened or left out; nothing is exported here.

A strength scales what an engineer would call the amount of a processor: the decibels of an EQ, the gain
reduction of a compressor, the level of an echo. 1 is the match as it was found, 0 leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from .choices import AUTOMATION, GAIN, PAN, PARTS, SENDS
from .errors import ParameterError
from .graph import Edge, Loss, MixGraph, Node, PanPoint, Processor, VolumePoint
from .processors.equations import db_to_gain, gain_to_db
from .processors.specs import (
    COMPRESSOR,
    DELAY,
    EQ,
    GAIN_PAN,
    GATE,
    IMAGER,
    LIMITER,
    REVERB,
    SATURATION,
    SEND_EFFECTS,
    SEND_LEVEL,
    SPECS,
    Parameter,
    ProcessorSpec,
    type_named,
)

_Values = dict[str, float]


def parse_amounts(text: str) -> dict[str, float]:
    """Read strengths such as ``eq=0.5,comp=0.8``.

    Returns
    -------
    dict of str to float
        Strength, 0 to 1, by part (`PARTS`); what is not named is absent.

    Raises
    ------
    ParameterError
        On an unknown part, a part that is named twice or a strength out of range.
    """
    found: dict[str, float] = {}
    for item in text.split(","):
        name, _, value = (s.strip() for s in item.partition("="))
        try:
            amount = float(value)
        except ValueError:
            raise ParameterError(f"--amount {text!r}: {item.strip()!r} is not of the form eq=0.5") from None
        if not 0.0 <= amount <= 1.0:
            raise ParameterError(f"--amount {text!r}: {value} is outside 0 (left out) to 1 (as found)")
        for part in _parts_named(name, option=f"--amount {text!r}"):
            if part in found:
                raise ParameterError(f"--amount {text!r}: {part} is named twice")
            found[part] = amount
    return found


def parse_only(text: str) -> dict[str, float]:
    """Read what alone is to stay, such as ``eq,pan``, as strengths of everything.

    Raises
    ------
    ParameterError
        On an unknown part.
    """
    kept = {part for name in text.split(",") for part in _parts_named(name.strip(), option=f"--only {text!r}")}
    return {part: float(part in kept) for part in PARTS}


def chosen_amounts(*, amount: str | None, only: str | None) -> dict[str, float]:
    """Strengths by part of both options together: what `only` leaves, at the strengths of `amount`."""
    kept = parse_only(only) if only is not None else {}
    scaled = parse_amounts(amount) if amount is not None else {}
    return {part: kept.get(part, 1.0) * scaled.get(part, 1.0) for part in PARTS if part in kept or part in scaled}


def _parts_named(name: str, *, option: str) -> tuple[str, ...]:
    processor = type_named(name)
    if processor == GAIN_PAN.type:
        return GAIN, PAN
    if processor not in PARTS:
        raise ParameterError(f"{option}: unknown part {name!r}; choose of {', '.join(PARTS)}")
    return (processor,)


def with_amounts(graph: MixGraph, amounts: Mapping[str, float]) -> MixGraph:
    """The graph at other strengths.

    Parameters
    ----------
    amounts : mapping of str to float
        Strength, 0 to 1, by part (`PARTS`); parts that are absent stay as they are.

    Returns
    -------
    MixGraph
        Without the processors and sends of strength 0. Dry levels stay: where the echo of an insert
        is left out, the gain of its dry path stays behind.
    """
    changed = {node.id: _weakened(node, amounts) for node in graph.processors}
    gone = {node_id for node_id, node in changed.items() if node is None}
    rebuilt = graph.rebuilt(
        [_ridden(n, amounts) if not isinstance(n, Processor) else changed[n.id] or n for n in graph.nodes],
        [_sent(edge, amounts) for edge in graph.edges],
    )
    silent = {bus.id for bus in rebuilt.returns if any(_is_silent(n) for n in rebuilt.chain(bus.id))}
    sends = rebuilt.all_sends().items()
    unheard = {ends for ends, edge in sends if edge.send_db == SEND_LEVEL.off_at or ends[1] in silent}
    # Sends first: a return that a bypassed reverb left dry must not be heard.
    return _noted(rebuilt.without_sends(unheard).tidied().without(gone), amounts)


def _noted(graph: MixGraph, amounts: Mapping[str, float]) -> MixGraph:
    """The graph with its strengths among its notes, and without the losses of the full match."""
    words = ", ".join(f"{part} {amount:g}" for part, amount in amounts.items() if amount != 1.0)
    if not words:
        return graph
    notes = [*graph.provenance.notes, f"strength of the match: {words}"]
    return graph.model_copy(update={"provenance": graph.provenance.model_copy(update={"notes": notes, "loss": Loss()})})


def _weakened(node: Processor, amounts: Mapping[str, float]) -> Processor | None:
    """A processor at the strength of its type; None where nothing of it is left."""
    if node.type == GAIN_PAN.type:
        gain, pan = amounts.get(GAIN, 1.0), amounts.get(PAN, 1.0)
        values = {"gain_db": gain * node.parameters["gain_db"], "pan": pan * node.parameters["pan"]}
        return None if gain == pan == 0.0 else _with(node, values)
    amount = amounts.get(node.type, 1.0)
    if amount == 1.0:
        return node
    if amount > 0.0:
        return _with(node, _SCALED[node.type](node.parameters, amount))
    if node.type not in SEND_EFFECTS or node.mix == 0.0:
        return None
    if node.mix == 1.0:
        return _with(node, _SCALED[node.type](node.parameters, 0.0))
    dry_db = amounts.get(GAIN, 1.0) * gain_to_db(1.0 - node.mix)
    dry = {"gain_db": GAIN_PAN.parameter("gain_db").limited(dry_db), "pan": 0.0}
    return Processor(id=node.id, type=GAIN_PAN.type, parameters=dry) if dry_db else None


def _with(node: Processor, values: Mapping[str, float]) -> Processor:
    """A processor with other settings, which are no longer those that the search was sure of."""
    parameters = {**node.parameters, **values}
    return (
        node if parameters == node.parameters else node.model_copy(update={"parameters": parameters, "evidence": None})
    )


def _is_silent(node: Processor) -> bool:
    """Whether a fully wet echo or reverb lets nothing through."""
    levels = [p for p in SPECS[node.type].parameters if p.name.endswith("level_db")]
    return node.type in SEND_EFFECTS and node.mix == 1.0 and all(node.parameters[p.name] == p.off_at for p in levels)


def _ridden(channel: Node, amounts: Mapping[str, float]) -> Node:
    """A channel whose automation moves less: its pan is a pan like any other, so that both strengths count."""
    if isinstance(channel, Processor) or not (channel.volume or channel.pan):
        return channel
    amount = amounts.get(AUTOMATION, 1.0)
    reach = amount * amounts.get(PAN, 1.0)
    pan = [PanPoint(time_s=p.time_s, pan=reach * p.pan) for p in channel.pan] if reach else []
    return channel.model_copy(update={"volume": _calmer(channel.volume, amount), "pan": pan})


def _calmer(points: Sequence[VolumePoint], amount: float) -> list[VolumePoint]:
    """Volume automation at a share of its decibels; none at all where nothing is left."""
    return [VolumePoint(time_s=p.time_s, gain_db=amount * p.gain_db) for p in points] if amount else []


def _sent(edge: Edge, amounts: Mapping[str, float]) -> Edge:
    if edge.send_db is None:
        return edge
    calmer = edge.model_copy(update={"volume": _calmer(edge.volume, amounts.get(AUTOMATION, 1.0))})
    amount = amounts.get(SENDS, 1.0)
    if amount == 1.0:
        return calmer
    return calmer.model_copy(update={"send_db": _level_db(SEND_LEVEL, edge.send_db, amount), "evidence": None})


# ------------------------------------------------------------------------- what an amount means


def _level_db(parameter: Parameter, level_db: float, amount: float) -> float:
    """A level at a share of its amplitude."""
    return parameter.limited(gain_to_db(amount * db_to_gain(level_db))) if amount else parameter.minimum


def _scaled_eq(values: Mapping[str, float], amount: float) -> _Values:
    """Gains in proportion; cuts move towards where they are off, evenly in octaves."""
    found = {p.name: amount * values[p.name] for p in EQ.parameters if p.unit == "dB"}
    cuts = [(p, p.off_at) for p in EQ.parameters if p.off_at is not None]
    return found | {p.name: p.limited(off_hz * (values[p.name] / off_hz) ** amount) for p, off_hz in cuts}


def _scaled_compressor(values: Mapping[str, float], amount: float) -> _Values:
    """Gain reduction in proportion: ``1 - 1 / ratio`` is what it is proportional to."""
    ratio = 1.0 / (1.0 - amount * (1.0 - 1.0 / values["ratio"]))
    return {"ratio": ratio, "makeup_db": amount * values["makeup_db"]}


def _scaled_gate(values: Mapping[str, float], amount: float) -> _Values:
    """Attenuation in proportion, its slope ``ratio - 1`` and its floor alike."""
    return {"ratio": 1.0 + amount * (values["ratio"] - 1.0), "range_db": amount * values["range_db"]}


def _scaled_levels(spec: ProcessorSpec, values: Mapping[str, float], amount: float) -> _Values:
    """Echoes and reverb in proportion of their amplitude."""
    return {
        p.name: values[p.name] if values[p.name] == p.off_at else _level_db(p, values[p.name], amount)
        for p in spec.parameters
        if p.name.endswith("level_db")
    }


def _scaled_towards_default(
    spec: ProcessorSpec, names: Sequence[str], values: Mapping[str, float], amount: float
) -> _Values:
    defaults = spec.defaults()
    return {name: defaults[name] + amount * (values[name] - defaults[name]) for name in names}


#: Settings of each type at a share of their amount, given all of its settings.
_SCALED: dict[str, Callable[[Mapping[str, float], float], _Values]] = {
    EQ.type: _scaled_eq,
    COMPRESSOR.type: _scaled_compressor,
    GATE.type: _scaled_gate,
    SATURATION.type: partial(_scaled_towards_default, SATURATION, ("drive_db",)),
    IMAGER.type: partial(_scaled_towards_default, IMAGER, ("width",)),
    DELAY.type: partial(_scaled_levels, DELAY),
    REVERB.type: partial(_scaled_levels, REVERB),
    LIMITER.type: partial(_scaled_towards_default, LIMITER, ("gain_db", "ceiling_db")),
}
