"""The settings sheet: what an engineer would dial by hand on every channel, as rows and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..graph import MixGraph, Processor, Stem
from ..processors.specs import MIX, Parameter, spec_of
from .words import (
    ChannelKind,
    change_text,
    channel_kind,
    cuts_in_words,
    describe_alignment,
    describe_pan,
    describe_volume,
    eq_sections_in_words,
    frequency_text,
    level_text,
    pan_text,
    percent_text,
    ratio_text,
    send_words,
    short_label,
    sounding_taps,
    time_text,
)


@dataclass(frozen=True)
class Setting:
    """One line of the sheet, such as ("Comp", "Threshold", "-21 dBFS"); `type` is that of the processor, if any."""

    device: str
    name: str
    value: str
    type: str = ""


@dataclass(frozen=True)
class SheetChannel:
    """The lines of one channel; `into` names the group it flows into, if any."""

    id: str
    kind: ChannelKind
    name: str
    into: str
    settings: tuple[Setting, ...]


def settings_sheet(graph: MixGraph) -> tuple[SheetChannel, ...]:
    """Every channel with all that has to be set there, in the order of the graph."""
    sheet = []
    for channel in graph.channels():
        parent = graph.parent(channel.id)
        into = "" if parent is None or parent.id == graph.master.id else parent.name
        lines = tuple(_channel_settings(graph, channel.id))
        sheet.append(SheetChannel(channel.id, channel_kind(graph, channel), channel.name, into, lines))
    return tuple(sheet)


def sheet_markdown(graph: MixGraph) -> str:
    """The sheet as Markdown: a heading and a table for each channel."""
    parts = [f"# {_plain(graph.name)}: settings"]
    for channel in settings_sheet(graph):
        into = f" \N{RIGHTWARDS ARROW} {_plain(channel.into)}" if channel.into else ""
        parts.append(f"## {_plain(channel.name)} ({channel.kind}){into}")
        if not channel.settings:
            parts.append("Straight through.")
            continue
        rows = [f"| {_plain(s.device)} | {_plain(s.name)} | {_plain(s.value)} |" for s in channel.settings]
        parts.append("\n".join(["| Device | Setting | Value |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """A text that means nothing to Markdown."""
    for letter in "\\`*_[]<>|#":
        text = text.replace(letter, f"\\{letter}")
    return " ".join(text.split())


def _channel_settings(graph: MixGraph, channel_id: str) -> Iterator[Setting]:
    channel = graph.channel(channel_id)
    if isinstance(channel, Stem):
        alignment = describe_alignment(channel, sample_rate_hz=graph.sample_rate_hz)
        if alignment:
            yield Setting("Track", "Alignment", alignment)
    for processor in graph.chain(channel_id):
        yield from processor_settings(processor)
    for name, text in (("Volume", describe_volume(channel.volume)), ("Pan", describe_pan(channel.pan))):
        if text:
            yield Setting("Automation", name, text.partition(": ")[2], "volume")
    for send in graph.sends(channel_id):
        yield Setting("Send", graph.channel(send.target).name, send_words(send), "send")


def processor_settings(processor: Processor) -> Iterator[Setting]:
    """The lines of one processor: sections that are off or do nothing are left out."""
    device, p = short_label(processor.type), processor.parameters
    lines = _LINES.get(processor.type, _each)(processor.type, p)
    for name, value in lines:
        yield Setting(device, name, value, processor.type)
    if processor.mix < 0.9995:
        yield Setting(device, "Dry/wet", f"{percent_text(processor.mix)} wet", processor.type)


def value_text(processor_type: str, parameter: Parameter, value: float) -> str:
    """A value with its unit, rounded as one dials it, such as "-21 dB", "2.3 kHz" or "35 % left"."""
    if parameter.unit == "dB":
        return change_text(value) if parameter.minimum < 0.0 < parameter.maximum else level_text(value)
    if parameter.unit == "Hz":
        return frequency_text(value)
    if parameter.unit in ("ms", "s"):
        return time_text(value if parameter.unit == "ms" else 1000.0 * value)
    if parameter.name == "ratio":
        return f"1:{ratio_text(value)}" if processor_type == "gate" else f"{ratio_text(value)}:1"
    if parameter.name.endswith("pan"):
        return pan_text(value)
    if parameter.name in ("width", MIX.name):
        return percent_text(value)
    return f"\N{MULTIPLICATION SIGN} {value:.2g}" if parameter.unit == "ratio" else f"{value:.3g}"


def _each(processor_type: str, p: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    for parameter in spec_of(processor_type).parameters:
        value = p[parameter.name]
        if parameter.off_at is None or value != parameter.off_at:
            yield parameter.title, value_text(processor_type, parameter, value)


def _equalizer(processor_type: str, p: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    for section in eq_sections_in_words(p):
        value = f"{section.gain} at {section.frequency}, {section.q}" if section.gain else section.frequency
        yield section.name.capitalize(), value


def _delay(processor_type: str, p: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    spec = spec_of(processor_type)
    for tap in sounding_taps(p):
        parts = [time_text(p[f"{tap}time_ms"]), level_text(p[f"{tap}level_db"]), pan_text(p[f"{tap}pan"])]
        yield f"Tap {tap.removeprefix('tap').removesuffix('_')}", ", ".join([*parts, *cuts_in_words(spec, p, tap)])


_LINES = {"eq": _equalizer, "delay": _delay}
