"""The channel strips of the page: what each lists and draws, channel by channel; mark-up belongs to the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..graph import Evidence, MixGraph, Processor
from ..processors.specs import GAIN_PAN, SPECS
from .drawing import ride_span_s
from .real import gap_text
from .strips import Figure, figures_of, pan_figure, volume_figure
from .traces import Traces
from .words import (
    ChannelSummary,
    describe_pan,
    describe_processor,
    describe_sends,
    describe_volume,
    short_label,
    summarise,
)

_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:dB|k?Hz|m?s|%))|(?<=\(Q) ")


@dataclass(frozen=True)
class Device:
    """One line of a strip: a processor, automation or the sends; `pan`, in percent from the left, where it has one."""

    type: str
    label: str
    text: str
    figures: tuple[Figure, ...] = ()
    evidence: str = ""
    pan: float | None = None


@dataclass(frozen=True)
class Card:
    """The strip of one channel."""

    summary: ChannelSummary
    file: str
    parts: tuple[str, ...]
    senders: tuple[str, ...]
    devices: tuple[Device, ...]


def cards_of(graph: MixGraph, *, traces: Traces, duration_s: float) -> dict[str, list[Card]]:
    """Cards of the channels, by the heading they stand under."""
    files = {stem.id: stem.file for stem in graph.stems}
    kinds: Mapping[str, list[Card]] = {"track": [], "group": [], "return": [], "master": []}
    sends = graph.all_sends()
    for summary in summarise(graph):
        parts = tuple(child.name for child in graph.children(summary.id)) if summary.kind != "track" else ()
        senders = tuple(graph.channel(source).name for source, target in sends if target == summary.id)
        devices = tuple(_devices(graph, summary.id, traces=traces, duration_s=duration_s))
        kinds[summary.kind].append(Card(summary, files.get(summary.id, ""), parts, senders, devices))
    return {"Tracks": kinds["track"], "Groups": kinds["group"], "Returns": kinds["return"], "Master": kinds["master"]}


def _devices(graph: MixGraph, channel_id: str, *, traces: Traces, duration_s: float) -> Iterator[Device]:
    """What a channel's card lists: processors, automation, sends."""
    for processor in graph.chain(channel_id):
        trace = traces.nodes.get(processor.id)
        pan = 50.0 * (1.0 + processor.parameters["pan"]) if processor.type == GAIN_PAN.type else None
        yield Device(
            processor.type,
            short_label(processor.type),
            _without_title(processor, bpm=graph.bpm),
            figures_of(processor, sample_rate_hz=graph.sample_rate_hz, duration_s=duration_s, trace=trace),
            _evidence(processor.evidence),
            pan,
        )
    channel = graph.channel(channel_id)
    if channel.volume:
        figure = volume_figure(graph, channel_id, duration_s=ride_span_s(graph, channel.volume))
        yield Device("volume", "Rides", _fixed(describe_volume(channel.volume).partition(": ")[2]), (figure,))
    if channel.pan:
        figure = pan_figure(graph, channel_id, duration_s=ride_span_s(graph, channel.pan))
        yield Device("volume", "Pan rides", _fixed(describe_pan(channel.pan).partition(": ")[2]), (figure,))
    sends = graph.sends(channel_id)
    if sends:
        evidence = [f"{graph.channel(s.target).name} {_evidence(s.evidence)}" for s in sends if s.evidence is not None]
        words = _fixed(describe_sends(graph, channel_id).partition(": ")[2])
        yield Device("send", "Sends" if len(sends) > 1 else "Send", words, evidence=", ".join(evidence))


def _evidence(evidence: Evidence | None) -> str:
    """What the song loses without a processor or send."""
    return "" if evidence is None else f"Lₐ {gap_text(evidence.loss_increase)} without it"


def _without_title(processor: Processor, *, bpm: float | None) -> str:
    """The words of a processor where its label stands beside them already; units stay on the line of their number."""
    text = describe_processor(processor, bpm=bpm)
    title, colon, rest = text.partition(": ")
    text = rest if colon and title in ("EQ", SPECS[processor.type].label, short_label(processor.type)) else text
    return _fixed(text)


def _fixed(text: str) -> str:
    """A text that begins with a capital and in which no unit is parted from its number."""
    return _BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", text[:1].upper() + text[1:])
