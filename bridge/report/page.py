"""Writes report.html, the one self-contained page about a match; what it shows is made by its neighbours."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ..files import write_text_whole
from ..graph import Evidence, MixGraph, Processor
from ..processors.equations import gain_to_db
from ..processors.specs import CHAIN_ORDER, SPECS
from ..verify.results import Verification
from . import pictures
from .drawing import Curve, draw_curve, draw_graph, draw_pan, draw_ride, ride_span_s
from .real import DASH, gap_text, real_section
from .sound import SoundLevels, Sounds, compress
from .words import (
    ChannelSummary,
    describe_pan,
    describe_processor,
    describe_sends,
    describe_tempo,
    describe_volume,
    frequency_text,
    level_text,
    short_label,
    summarise,
)

_LOSS_ROWS = (
    ("plain_sum", "Plain sum", "the stems added up, nothing else"),
    ("gain_pan", "Gain and pan only", "the best fader and pan of every track"),
    ("console", "Full console", "every processor on every channel"),
    ("pruned", "After pruning", "the sparse graph shown here"),
    ("reference", "Reference render", "the same graph, sample-accurate: the match you hear"),
)
_PLAYER_TITLES = {"target": "Target", "match": "Match", "difference": "Difference"}
_TICKS_HZ = (50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)
_TIME_STEPS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
_MOST_TIME_TICKS = 6
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:dB|k?Hz|m?s|%))|(?<=\(Q) ")


@dataclass(frozen=True)
class _Tick:
    at: float
    text: str


@dataclass(frozen=True)
class _Plot:
    title: str
    role: str
    image: str
    alt: str


@dataclass(frozen=True)
class _Legend:
    title: str
    stops: str
    ticks: tuple[_Tick, ...]


@dataclass(frozen=True)
class _LossRow:
    key: str
    title: str
    meaning: str
    value: str
    relative: str
    share: float


@dataclass(frozen=True)
class _Pruned:
    type: str
    title: str
    percent: float
    text: str


@dataclass(frozen=True)
class _Device:
    type: str
    label: str
    text: str
    curve: Curve | None
    evidence: str = ""


@dataclass(frozen=True)
class _Card:
    summary: ChannelSummary
    file: str
    parts: tuple[str, ...]
    senders: tuple[str, ...]
    devices: tuple[_Device, ...]


@dataclass(frozen=True)
class _Player:
    key: str
    title: str
    source: str
    peak: str
    rms: str


@dataclass(frozen=True)
class Verified:
    """A verified session and its render, shape (2, n) like the match."""

    result: Verification
    audio: npt.ArrayLike


def write_report(
    path: Path,
    *,
    graph: MixGraph,
    target: npt.ArrayLike,
    match: npt.ArrayLike,
    warnings: Sequence[str] = (),
    verified: Sequence[Verified] = (),
) -> None:
    """Write the page, whole or not at all.

    It needs nothing from outside: sounds, pictures, style and script are inside, and its content
    policy forbids the browser to ask for anything else.

    Parameters
    ----------
    path : Path
        File to write, usually ``report.html``.
    graph : MixGraph
        What was found; its `provenance` fills the tables.
    target, match : array of float, shape=(2, n), n >= 1
        The finished mix and the rendered graph at `graph.sample_rate_hz`, full scale 1.
    warnings : sequence of str
        Shown before the notes of the graph.
    verified : sequence of Verified
        Each gets a section and a player.

    Raises
    ------
    AudioContentError
        If the shapes differ or a sample is not a finite number.
    OutputError
        If the file cannot be written.
    """
    others = {f"real{number}": session.audio for number, session in enumerate(verified, start=1)}
    sounds = compress(target, match, sample_rate_hz=graph.sample_rate_hz, others=others)
    plots, legends, time_ticks, frequency_ticks, duration_s = _pictures(graph, target, match)
    script, style = (resources.files(__package__).joinpath(name).read_text("utf-8") for name in ("page.js", "page.css"))
    html = (
        _environment()
        .get_template("page.html")
        .render(
            graph=graph,
            notes=list(dict.fromkeys([*map(_printable, warnings), *graph.provenance.notes])),
            facts=_facts(graph, duration_s),
            headline=_headline(graph, sounds),
            losses=_losses(graph),
            pruned=_pruned(graph),
            drawing=draw_graph(graph),
            cards=_cards(graph),
            players=_players(sounds, verified),
            verified=[real_section(v.result, player=len(_PLAYER_TITLES) + n) for n, v in enumerate(verified)],
            sounds=sounds,
            difference=_difference_text(sounds),
            plots=plots,
            legends=legends,
            time_ticks=time_ticks,
            frequency_ticks=frequency_ticks,
            duration_s=duration_s,
            clock=_clock(duration_s),
            anchors={channel.id: f"channel-{index}" for index, channel in enumerate(graph.channels())},
            style=Markup(style),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        )
    )
    write_text_whole(path, html)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["to_db"] = lambda factor: -gain_to_db(factor)
    return environment


def _printable(text: str) -> str:
    """Names from a file system can hold halves of letters that UTF-8 cannot; they become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _data_uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


# --------------------------------------------------------------------------- words


def _facts(graph: MixGraph, duration_s: float) -> list[tuple[str, str]]:
    provenance, processors, bpm = graph.provenance, len(graph.processors), graph.bpm
    of = f" of {provenance.console_processors}" if provenance.console_processors else ""
    facts = [
        ("Length", _clock(duration_s)),
        ("Sample rate", f"{graph.sample_rate_hz / 1000:g} kHz"),
        *([("Tempo", describe_tempo(graph.tempo, bpm=bpm))] if graph.tempo is not None and bpm is not None else []),
        ("Tracks", str(len(graph.stems))),
        ("Groups", str(len(graph.buses) - len(graph.returns))),
        *([("Returns", str(len(graph.returns))), ("Sends", str(len(graph.all_sends())))] if graph.all_sends() else []),
        ("Processors", f"{processors}{of}"),
        ("Tolerance τ", DASH if provenance.tolerance is None else f"{provenance.tolerance:g}"),
        ("Quality", provenance.quality or DASH),
        ("Seed", str(provenance.seed)),
    ]
    return facts


def _headline(graph: MixGraph, sounds: Sounds) -> str:
    """One sentence: how many processors, how close."""
    count, console = len(graph.processors), graph.provenance.console_processors
    text = f"{count} processor{'' if count == 1 else 's'}"
    if console:
        text += f" of a console of {console}"
    tracks = len(graph.stems)
    text += f" turn{'s' if count == 1 else ''} {tracks} stem{'' if tracks == 1 else 's'} into this mix"
    loss = graph.provenance.loss
    reached = next((value for value in (loss.reference, loss.pruned, loss.console) if value is not None), None)
    if reached is not None and loss.plain_sum:
        text += f": match loss {_loss_text(reached)}, against {_loss_text(loss.plain_sum)} for the plain sum"
    return f"{text}. {_difference_text(sounds)}"


def _difference_text(sounds: Sounds) -> str:
    difference_db, target_db = (gain_to_db(sounds.levels[name].rms) for name in ("difference", "target"))
    if difference_db == -math.inf:
        return "Match and target are identical."
    if target_db == -math.inf:
        return "The target is silent; the match is not."
    distance_db = target_db - difference_db
    if distance_db < 0:
        return f"The difference is {level_text(-distance_db)} louder than the target (mean level)."
    return f"The difference lies {level_text(distance_db)} below the target (mean level)."


def _loss_text(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}" if value >= 0.01 or value == 0.0 else f"{value:.1e}"


def _losses(graph: MixGraph) -> list[_LossRow]:
    values: dict[str, float | None] = {key: getattr(graph.provenance.loss, key) for key, _, _ in _LOSS_ROWS}
    largest = max((v for v in values.values() if v is not None), default=0.0)
    base = values["plain_sum"]
    rows = []
    for key, title, meaning in _LOSS_ROWS:
        value = values[key]
        relative = DASH if value is None or not base else f"{100.0 * value / base:.0f} %"
        share = 100.0 * value / largest if value is not None and largest > 0 else 0.0
        rows.append(_LossRow(key, title, meaning, _loss_text(value), relative, min(max(share, 0.0), 100.0)))
    return rows


def _pruned(graph: MixGraph) -> list[_Pruned]:
    ratios = graph.provenance.pruned_ratio
    order = [t for t in CHAIN_ORDER if t in ratios] + [t for t in ratios if t not in CHAIN_ORDER]
    rows = []
    for name in order:
        title = SPECS[name].label if name in SPECS else name.replace("_", " ").capitalize()
        percent = min(max(100.0 * ratios[name], 0.0), 100.0)
        rows.append(_Pruned(name if name in SPECS else "", title, percent, f"{percent:.0f} %"))
    return rows


def _cards(graph: MixGraph) -> dict[str, list[_Card]]:
    """Cards of the channels, by the heading they stand under."""
    files = {stem.id: stem.file for stem in graph.stems}
    kinds: Mapping[str, list[_Card]] = {"track": [], "group": [], "return": [], "master": []}
    sends = graph.all_sends()
    for summary in summarise(graph):
        parts = tuple(child.name for child in graph.children(summary.id)) if summary.kind != "track" else ()
        senders = tuple(graph.channel(source).name for source, target in sends if target == summary.id)
        devices = tuple(_devices(graph, summary.id))
        kinds[summary.kind].append(_Card(summary, files.get(summary.id, ""), parts, senders, devices))
    return {"Tracks": kinds["track"], "Groups": kinds["group"], "Returns": kinds["return"], "Master": kinds["master"]}


def _devices(graph: MixGraph, channel_id: str) -> Iterator[_Device]:
    """What a channel's card lists: processors, automation, sends."""
    bpm = graph.bpm
    for processor in graph.chain(channel_id):
        yield _Device(
            processor.type,
            short_label(processor.type),
            _without_title(processor, bpm=bpm),
            draw_curve(processor, sample_rate_hz=graph.sample_rate_hz),
            _evidence(processor.evidence),
        )
    channel = graph.channel(channel_id)
    if channel.volume:
        curve = draw_ride(channel.volume, duration_s=ride_span_s(graph, channel.volume))
        yield _Device("volume", "Rides", _fixed(describe_volume(channel.volume).partition(": ")[2]), curve)
    if channel.pan:
        curve = draw_pan(channel.pan, duration_s=ride_span_s(graph, channel.pan))
        yield _Device("volume", "Pan rides", _fixed(describe_pan(channel.pan).partition(": ")[2]), curve)
    sends = graph.sends(channel_id)
    if sends:
        evidence = [f"{graph.channel(s.target).name} {_evidence(s.evidence)}" for s in sends if s.evidence is not None]
        words = _fixed(describe_sends(graph, channel_id).partition(": ")[2])
        yield _Device("send", "Sends" if len(sends) > 1 else "Send", words, None, ", ".join(evidence))


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


# --------------------------------------------------------------------------- sounds and pictures


def _players(sounds: Sounds, verified: Sequence[Verified]) -> list[_Player]:
    files = {key: getattr(sounds, key) for key in _PLAYER_TITLES} | sounds.others
    names = [" ".join(n for n in (v.result.session, v.result.host) if n) for v in verified]
    reals = [f"Real plugins{f' ({name})' if len(verified) > 1 else ''}" for name in names]
    titles = _PLAYER_TITLES | dict(zip(sounds.others, reals, strict=True))
    return [
        _Player(
            key,
            title,
            _data_uri(sounds.mime, files[key]),
            _dbfs(sounds.levels[key], peak=True),
            _dbfs(sounds.levels[key], peak=False),
        )
        for key, title in titles.items()
    ]


def _dbfs(levels: SoundLevels, *, peak: bool) -> str:
    level_db = gain_to_db(levels.peak if peak else levels.rms)
    return "silent" if level_db == -math.inf else f"{level_db:.1f}"


def _clock(time_s: float) -> str:
    if time_s < 1.0:
        return f"{max(round(1000.0 * time_s), 1 if time_s > 0 else 0)} ms"
    minutes, seconds = divmod(round(time_s), 60)
    return f"{minutes}:{seconds:02d}"


def _pictures(
    graph: MixGraph, target: npt.ArrayLike, match: npt.ArrayLike
) -> tuple[list[_Plot], list[_Legend], list[_Tick], list[_Tick], float]:
    one = pictures.spectrogram(target, sample_rate_hz=graph.sample_rate_hz)
    two = pictures.spectrogram(match, sample_rate_hz=graph.sample_rate_hz)
    low, high = pictures.level_range_db(one, two)
    plots = []
    for side, first, second in (("mid", one.mid_db, two.mid_db), ("side", one.side_db, two.side_db)):
        error = pictures.error_db(first, second, floor_db=low)
        reach = pictures.ERROR_RANGE_DB
        for role, values, bottom, top, colours in (
            ("target", first, low, high, pictures.LEVEL_MAP),
            ("match", second, low, high, pictures.LEVEL_MAP),
            ("error", error, -reach, reach, pictures.ERROR_MAP),
        ):
            image = _data_uri("image/png", pictures.png(values, low=bottom, high=top, colour_map=colours))
            what = "level difference of match and target" if role == "error" else f"spectrogram of the {role}"
            alt = f"{what.capitalize()}, {side} signal: time from left to right, frequency from bottom to top"
            plots.append(_Plot(f"{role.capitalize()}, {side}", role, image, alt))
    return plots, _legends(low, high), _time_ticks(one.duration_s), _frequency_ticks(one.edges_hz), one.duration_s


def _legends(low: float, high: float) -> list[_Legend]:
    reach = pictures.ERROR_RANGE_DB
    levels = [low + (high - low) * k / 3 for k in range(4)]
    errors = [-reach, -reach / 2, 0.0, reach / 2, reach]
    return [
        _Legend(
            "Level per 1/20 octave (dB, full-scale sine = 0)",
            ", ".join(pictures.colour_stops(pictures.LEVEL_MAP)),
            tuple(_Tick(100.0 * k / 3, f"{level:.0f}") for k, level in enumerate(levels)),
        ),
        _Legend(
            "Error: match against target (dB); blue is too quiet, red too loud, black right",
            ", ".join(pictures.colour_stops(pictures.ERROR_MAP)),
            tuple(_Tick(25.0 * k, f"{error:+.0f}" if error else "0") for k, error in enumerate(errors)),
        ),
    ]


def _frequency_ticks(edges_hz: npt.NDArray[np.float64]) -> list[_Tick]:
    low, high = float(edges_hz[0]), float(edges_hz[-1])
    octaves = math.log(high / low)
    return [
        _Tick(100.0 * math.log(f / low) / octaves, frequency_text(f).replace(" kHz", "k").replace(" Hz", ""))
        for f in _TICKS_HZ
        if low < f < high
    ]


def _time_ticks(duration_s: float) -> list[_Tick]:
    step = next((s for s in _TIME_STEPS_S if duration_s / s <= _MOST_TIME_TICKS), duration_s / _MOST_TIME_TICKS)
    count = int(duration_s / step)
    return [_Tick(100.0 * k * step / duration_s, _clock(k * step) if k else "0") for k in range(count + 1)]
