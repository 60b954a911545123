"""What a graph, or the folder of an analysis, holds: channels, settings, losses, origin; nothing is printed here.

The words are those of `report.words`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from ..exporters.record import noted_sessions
from .channels import find_channel
from .choices import Host
from .errors import VerifyError
from .graph import MixGraph, PanPoint, Processor, Stem, VolumePoint
from .processors.specs import MIX, SEND_LEVEL, SPECS, VOLUME
from .report.real import headline, loss_text, session_title
from .report.words import describe_tempo, processor_title, short_label, summarise
from .result_folder import EXPORT_FILE, GRAPH_FILE, graph_file
from .verify.locate import find_jobs, result_file
from .verify.results import Verification

#: Decimals that a setting is dialled to, by unit.
_DECIMALS = {"dB": 2, "Hz": 1, "ms": 2, "s": 3, "ratio": 2, "": 3}


@dataclass(frozen=True)
class Setting:
    """One number that an engineer would dial.

    Attributes
    ----------
    channel : str
        Name.
    part : str
        What it is on: a processor, a send, the fader's automation.
    parameter : str
        Name for people, without the unit.
    value : float or None
        In `unit`; None where the section is off.
    unit : str
        "dB", "Hz", "ms", "s", "samples", "ratio" or "" (dimensionless).
    uncertainty : float or None
        Error bar of the search, in the same unit.
    """

    channel: str
    part: str
    parameter: str
    value: float | None
    unit: str
    uncertainty: float | None = None

    @property
    def value_text(self) -> str:
        """The value as it is dialled."""
        return "off" if self.value is None else number_text(self.value, self.unit)

    @property
    def uncertainty_text(self) -> str:
        """The error bar; empty where there is none."""
        return "" if self.uncertainty is None else f"± {number_text(self.uncertainty, self.unit)}"

    def to_json(self) -> dict[str, Any]:
        """Plain data; the unit of the value is a field of its own."""
        return {
            "channel": self.channel,
            "part": self.part,
            "parameter": self.parameter,
            "value": self.value,
            "unit": self.unit,
            "uncertainty": self.uncertainty,
        }


def number_text(value: float, unit: str) -> str:
    """A number with the decimals that a setting of this unit is dialled to."""
    return f"{value:z.{_DECIMALS.get(unit, 0)}f}"


@dataclass(frozen=True)
class Overview:
    """A graph and what lies beside it.

    Attributes
    ----------
    channels : tuple of str
        Ids of the channels to tell about, in file order.
    verified : tuple of Verification
        Results of the sessions in the folder.
    sessions : mapping of str to mapping
        What export.json notes, by format.
    """

    graph: MixGraph
    path: Path
    channels: tuple[str, ...]
    verified: tuple[Verification, ...] = ()
    sessions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, ...]]:
        """Channel, kind, group and what is on it: one line for each processor and each thing of the mixer."""
        found: list[tuple[str, ...]] = []
        for summary in summarise(self.graph):
            if summary.id in self.channels:
                lines = [*summary.texts, *summary.mixer, *([summary.alignment] if summary.alignment else [])]
                found.append((summary.name, summary.kind, summary.group or "", "\n".join(lines) or "unchanged"))
        return found

    def settings(self) -> list[Setting]:
        """Every setting of the channels, in signal order."""
        return [setting for channel in self.channels for setting in _channel_settings(self.graph, channel)]

    def facts(self) -> list[tuple[str, str]]:
        """Length, losses, where the graph comes from, and what became of its sessions."""
        graph, source = self.graph, self.graph.provenance
        length = f"{graph.frames / graph.sample_rate_hz:.1f} s at {graph.sample_rate_hz} Hz"
        if graph.start_frame:
            length += f", from {graph.start_frame / graph.sample_rate_hz:.1f} s of the mix"
        facts = [("Song", f"{graph.name}, {length}")]
        if graph.tempo is not None and graph.bpm is not None:
            facts.append(("Tempo", describe_tempo(graph.tempo, bpm=graph.bpm)))
        losses = source.loss.model_dump().items()
        shown = [f"{name.replace('_', ' ')} {loss_text(value)}" for name, value in losses if value is not None]
        if shown:
            facts.append(("Match loss", ", ".join(shown)))
        facts.append(("Processors", _kept(graph)))
        if source.quality:
            facts.append(("Search", _search(graph)))
        facts += [(name.capitalize(), place) for name, place in source.sources.items()]
        if source.versions:
            facts.append(("Made with", ", ".join(f"{name} {version}" for name, version in source.versions.items())))
        facts += [("Note", note) for note in source.notes]
        return (
            facts
            + [fact for kind, noted in self.sessions.items() for fact in _session_facts(kind, noted)]
            + [
                ("Verified", f"{session_title(v)}: {headline(v)}{' ' + v.error if v.error else ''}")
                for v in self.verified
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        graph = self.graph
        summaries = {summary.id: summary for summary in summarise(graph)}
        return {
            "name": graph.name,
            "file": str(self.path),
            "sample_rate_hz": graph.sample_rate_hz,
            "start_frame": graph.start_frame,
            "frames": graph.frames,
            "channels": [
                {
                    "id": channel,
                    "kind": summaries[channel].kind,
                    "name": summaries[channel].name,
                    "group": summaries[channel].group,
                    "processors": [
                        {**node.model_dump(mode="json"), "text": text}
                        for node, text in zip(graph.chain(channel), summaries[channel].texts, strict=True)
                    ],
                    "mixer": list(summaries[channel].mixer),
                    "alignment": summaries[channel].alignment,
                    "settings": [setting.to_json() for setting in _channel_settings(graph, channel)],
                }
                for channel in self.channels
            ],
            "provenance": graph.provenance.model_dump(mode="json"),
            "sessions": dict(self.sessions),
            "verified": [
                {"path": v.path, "session": v.session, "verdict": v.verdict, "gap": v.gap, "null_db": v.null_db}
                for v in self.verified
            ],
        }


def look(path: Path, *, only: Sequence[str] = ()) -> Overview:
    """Read a graph file or the folder of an analysis.

    Parameters
    ----------
    only : sequence of str
        Ids or names of the channels to tell about; all of them if empty.

    Raises
    ------
    GraphError
        If the graph cannot be read.
    ParameterError
        If it has no channel of that name.
    """
    file = graph_file(path)
    graph = MixGraph.load(file)
    wanted = {find_channel(graph, name).id for name in only} or {c.id for c in graph.channels()}
    channels = tuple(c.id for c in graph.channels() if c.id in wanted)
    if file.name != GRAPH_FILE:
        # What lies beside it belongs to another graph.
        return Overview(graph, file, channels)
    return Overview(graph, file, channels, tuple(_verified(file.parent)), noted_sessions(file.parent / EXPORT_FILE))


def _verified(folder: Path) -> Iterator[Verification]:
    """Results of 'verify' for the sessions of an analysis, as far as there are such."""
    try:
        jobs = find_jobs(folder)
    except VerifyError:
        return
    for file in (result_file(job, host=host) for job in jobs for host in get_args(Host)):
        with suppress(VerifyError):
            yield Verification.load(file)


def _kept(graph: MixGraph) -> str:
    counts = {kind: sum(p.type == kind for p in graph.processors) for kind in SPECS}
    parts = ", ".join(f"{count} {short_label(kind)}" for kind, count in counts.items() if count)
    of = f" of {graph.provenance.console_processors}" if graph.provenance.console_processors else ""
    return f"{len(graph.processors)}{of}" + (f": {parts}" if parts else "")


def _search(graph: MixGraph) -> str:
    source = graph.provenance
    tolerance = "" if source.tolerance is None else f", tolerance {source.tolerance:g}"
    plugins = f", plugins {source.plugins}" if source.plugins else ""
    return f"{source.quality}, seed {source.seed}{tolerance}{plugins}"


def _session_facts(kind: str, noted: Mapping[str, Any]) -> list[tuple[str, str]]:
    losses = noted.get("losses", [])
    lost = f", {len(losses)} not expressed" if losses else ""
    return [("Session", f"{kind}: {noted['file']}{lost}"), *(("Lost", f"{kind}: {loss['text']}") for loss in losses)]


# ------------------------------------------------------------------------------- settings


def _channel_settings(graph: MixGraph, channel_id: str) -> Iterator[Setting]:
    channel = graph.channel(channel_id)
    if isinstance(channel, Stem):
        if channel.offset_samples:
            yield Setting(channel.name, "File", "Offset", channel.offset_samples, "samples")
        if channel.polarity < 0:
            yield Setting(channel.name, "File", "Polarity", channel.polarity, "")
    chain = graph.chain(channel_id)
    for node in chain:
        same = [n.id for n in chain if n.type == node.type]
        number = f" {same.index(node.id) + 1}" if len(same) > 1 else ""
        yield from _processor_settings(channel.name, processor_title(node.type) + number, node)
    yield from _ride(channel.name, "Fader ride", channel.volume)
    yield from _ride(channel.name, "Pan ride", channel.pan)
    for send in graph.sends(channel_id):
        part = f"Send to {graph.channel(send.target).name}"
        error = None if send.evidence is None else send.evidence.uncertainty.get(SEND_LEVEL.name)
        yield Setting(channel.name, part, "Level", send.send_db, SEND_LEVEL.unit, error)
        yield from _ride(channel.name, f"{part}, ride", send.volume)


def _processor_settings(channel: str, part: str, node: Processor) -> Iterator[Setting]:
    errors = {} if node.evidence is None else node.evidence.uncertainty
    for parameter in SPECS[node.type].parameters:
        value = node.parameters[parameter.name]
        shown = None if value == parameter.off_at else value
        yield Setting(channel, part, parameter.title, shown, parameter.unit, errors.get(parameter.name))
    yield Setting(channel, part, MIX.title, node.mix, MIX.unit, errors.get(MIX.name))


def _ride(channel: str, part: str, points: Sequence[VolumePoint] | Sequence[PanPoint]) -> Iterator[Setting]:
    for point in points:
        value, unit = (point.gain_db, VOLUME.unit) if isinstance(point, VolumePoint) else (point.pan, "")
        yield Setting(channel, part, f"at {point.time_s:.3f} s", value, unit)
