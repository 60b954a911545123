"""Writes report.html, the one self-contained page about a match; what it shows is made by its neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..features import integrated_loudness_lufs
from ..files import printable, write_text_whole
from ..graph import MixGraph
from ..processors.equations import gain_to_db
from ..processors.specs import CHAIN_ORDER, SPECS
from ..verify.results import Verification
from ..webpage import data_uri, self_contained_page
from .cards import cards_of
from .drawing import draw_graph
from .plain import summary_points
from .real import DASH, loss_figure, real_section
from .scales import clock
from .sheet import settings_sheet, sheet_markdown
from .sound import SoundLevels, Sounds, compress
from .spectra import MOST_PICTURED, Spectra, spectra_of
from .strips import SPECTRUM_RANGE_DB
from .traces import Traces
from .words import describe_tempo, level_text

_LOSS_ROWS = (
    ("plain_sum", "Plain sum", "the stems added up, nothing else"),
    ("gain_pan", "Gain and pan only", "the best fader and pan of every track"),
    ("console", "Full console", "every processor on every channel"),
    ("pruned", "After pruning", "the sparse graph shown here"),
    ("reference", "Reference render", "the same graph, sample-accurate: the match you hear"),
)
_PLAYER_TITLES = {"target": "Target", "match": "Match", "difference": "Null"}
_SCRIPTS = ("player.js", "graph.js", "page.js")
_STYLES = ("page.css", "strips.css", "print.css")


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
class _Player:
    key: str
    title: str
    source: str
    peak: str
    rms: str
    gain_db: float


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
    traces: Traces | None = None,
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
    traces : Traces, optional
        What the processors met and did, drawn on the channel strips.

    Raises
    ------
    AudioContentError
        If the shapes differ or a sample is not a finite number.
    OutputError
        If the file cannot be written.
    """
    others = {f"real{number}": session.audio for number, session in enumerate(verified, start=1)}
    sounds = compress(target, match, sample_rate_hz=graph.sample_rate_hz, others=others)
    gains_db = _matching_gains_db({"target": target, "match": match, **others}, graph.sample_rate_hz)
    players = _players(sounds, verified, gains_db)
    spectra = _spectra(graph, target, match, players=players, others=others)
    values = {
        **_page_words(graph, sounds, spectra, verified),
        **_page_parts(graph, traces or Traces(), duration_s=spectra.duration_s),
        "notes": list(dict.fromkeys([*map(printable, warnings), *graph.provenance.notes])),
        "players": players,
        "verified": [real_section(v.result, player=len(_PLAYER_TITLES) + n) for n, v in enumerate(verified)],
        "sounds": sounds,
        "spectra": spectra,
        "clock": clock(spectra.duration_s),
    }
    filters = {"to_db": lambda factor: -gain_to_db(factor)}
    package = __package__ or ""
    html = self_contained_page(package, values, scripts=_SCRIPTS, styles=_STYLES, filters=filters)
    write_text_whole(path, html)


def _page_words(graph: MixGraph, sounds: Sounds, spectra: Spectra, verified: Sequence[Verified]) -> dict[str, object]:
    """What the page says before and beside its pictures."""
    results = [v.result for v in verified]
    closeness = _difference_text(sounds)
    return {
        "facts": _facts(graph, spectra.duration_s),
        "headline": _headline(graph, sounds),
        "difference": closeness,
        "summary": summary_points(
            graph, closeness=closeness, target=spectra.target, match=spectra.match, verified=results
        ),
    }


def _page_parts(graph: MixGraph, traces: Traces, *, duration_s: float) -> dict[str, object]:
    """What the page shows of the graph: drawing, strips, sheet and tables."""
    markdown = sheet_markdown(graph)
    return {
        "graph": graph,
        "anchors": {channel.id: f"channel-{index}" for index, channel in enumerate(graph.channels())},
        "drawing": draw_graph(graph),
        "cards": cards_of(graph, traces=traces, duration_s=duration_s),
        "spectrum_range": f"{SPECTRUM_RANGE_DB:.0f}",
        "sheet": settings_sheet(graph),
        "markdown": markdown,
        "markdown_file": data_uri("text/markdown", markdown.encode("utf-8", "replace")),
        "losses": _losses(graph),
        "pruned": _pruned(graph),
    }


# --------------------------------------------------------------------------- words


def _facts(graph: MixGraph, duration_s: float) -> list[tuple[str, str]]:
    provenance, processors, bpm = graph.provenance, len(graph.processors), graph.bpm
    of = f" of {provenance.console_processors}" if provenance.console_processors else ""
    facts = [
        ("Length", clock(duration_s)),
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
        text += f": match loss {loss_figure(reached)}, against {loss_figure(loss.plain_sum)} for the plain sum"
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


def _losses(graph: MixGraph) -> list[_LossRow]:
    values: dict[str, float | None] = {key: getattr(graph.provenance.loss, key) for key, _, _ in _LOSS_ROWS}
    largest = max((v for v in values.values() if v is not None), default=0.0)
    base = values["plain_sum"]
    rows = []
    for key, title, meaning in _LOSS_ROWS:
        value = values[key]
        relative = DASH if value is None or not base else f"{100.0 * value / base:.0f} %"
        share = 100.0 * value / largest if value is not None and largest > 0 else 0.0
        rows.append(_LossRow(key, title, meaning, loss_figure(value), relative, min(max(share, 0.0), 100.0)))
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


# --------------------------------------------------------------------------- sounds and pictures


def _matching_gains_db(takes: Mapping[str, npt.ArrayLike], sample_rate_hz: int) -> dict[str, float]:
    """Gains, 0 dB or below, that bring takes to the loudness of the quietest; 0 dB where one has no loudness."""
    loudness = {
        key: integrated_loudness_lufs(np.asarray(audio), sample_rate_hz=sample_rate_hz) for key, audio in takes.items()
    }
    known = {key: value for key, value in loudness.items() if value is not None}
    if len(known) < len(takes):
        return dict.fromkeys(takes, 0.0)
    return {key: min(known.values()) - value for key, value in known.items()}


def _players(sounds: Sounds, verified: Sequence[Verified], gains_db: Mapping[str, float]) -> list[_Player]:
    files = {key: getattr(sounds, key) for key in _PLAYER_TITLES} | sounds.others
    names = [" ".join(n for n in (v.result.session, v.result.host) if n) for v in verified]
    reals = [f"Real plugins{f' ({name})' if len(verified) > 1 else ''}" for name in names]
    titles = _PLAYER_TITLES | dict(zip(sounds.others, reals, strict=True))
    return [
        _Player(
            key,
            title,
            data_uri(sounds.mime, files[key]),
            _dbfs(sounds.levels[key], peak=True),
            _dbfs(sounds.levels[key], peak=False),
            gains_db.get(key, 0.0),
        )
        for key, title in titles.items()
    ]


def _dbfs(levels: SoundLevels, *, peak: bool) -> str:
    level_db = gain_to_db(levels.peak if peak else levels.rms)
    return "silent" if level_db == -math.inf else f"{level_db:.1f}"


def _spectra(
    graph: MixGraph,
    target: npt.ArrayLike,
    match: npt.ArrayLike,
    *,
    players: Sequence[_Player],
    others: Mapping[str, npt.ArrayLike],
) -> Spectra:
    titles = {player.key: player.title for player in players}
    takes = {
        key: (titles[key], audio)
        for key, audio in ({"match": match} | dict(list(others.items())[:MOST_PICTURED])).items()
    }
    return spectra_of(target, takes, sample_rate_hz=graph.sample_rate_hz)
