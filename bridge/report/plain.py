"""The summary in plain words: what was done to the song, where the match is weakest, what real plugins made of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..features import OCTAVE_CENTRES_HZ
from ..graph import MixGraph
from ..verify.results import Verification
from .pictures import Spectrogram
from .real import headline, loss_figure, session_title
from .sheet import settings_sheet
from .words import channel_kind, describe_processor, frequency_text, level_text

#: Bands that hold less than this below the loudest (dB) are not worth a remark.
_FAINT_DB = 40.0
#: Errors below this (dB, mean over time) are not worth one either.
_SMALL_ERROR_DB = 0.5
_MOST_NAMED = 3


@dataclass(frozen=True)
class Point:
    """One statement of the summary: a word for it and a sentence or two."""

    title: str
    text: str


def summary_points(
    graph: MixGraph, *, closeness: str, target: Spectrogram, match: Spectrogram, verified: Sequence[Verification]
) -> list[Point]:
    """What a reader who looks no further should know.

    Parameters
    ----------
    closeness : str
        How far the difference lies below the target, in words.
    target, match : Spectrogram
        Over the same time and frequencies.
    """
    points = [Point("The mix", _shape(graph)), Point("What matters most", _moves(graph))]
    points.append(Point("How close", " ".join([*_closeness(graph), closeness, *_weakest(target, match)])))
    points += [Point(_capital(session_title(v)), headline(v)) for v in verified]
    return [p for p in points if p.text]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1] if names else ""


def _shape(graph: MixGraph) -> str:
    kinds = [channel_kind(graph, channel) for channel in graph.channels()]
    count, console = len(graph.processors), graph.provenance.console_processors
    kept = f"{_count(count, 'processor')}{f' (of {console} tried)' if console else ''}"
    through = [_count(kinds.count(kind), kind) for kind in ("group", "return") if kind in kinds]
    way = f", through {_listed(through)}" if through else ""
    settings = sum(len(channel.settings) for channel in settings_sheet(graph))
    verb = "turns" if count == 1 else "turn"
    sheet = f"The sheet at the end lists {_count(settings, 'setting')} to dial by hand."
    return f"{kept} {verb} {_count(len(graph.stems), 'stem')} into this mix{way}. {sheet}"


def _moves(graph: MixGraph) -> str:
    """The processors and sends without which the song would lose most."""
    found: list[tuple[float, str]] = []
    for channel in graph.channels():
        for processor in graph.chain(channel.id):
            if processor.evidence is not None:
                title, colon, rest = describe_processor(processor).partition(": ")
                settings = f" ({rest.partition(';')[0]})" if colon else ""
                found.append((processor.evidence.loss_increase, f"{title} on {channel.name}{settings}"))
        for send in graph.sends(channel.id):
            if send.evidence is not None:
                words = f"the send from {channel.name} to {graph.channel(send.target).name}"
                found.append((send.evidence.loss_increase, words))
    found = sorted((item for item in found if item[0] > 0.0), key=lambda item: -item[0])
    return _capital(f"{'; '.join(text for _, text in found[:_MOST_NAMED])}.") if found else ""


def _closeness(graph: MixGraph) -> Iterator[str]:
    loss = graph.provenance.loss
    reached = next((value for value in (loss.reference, loss.pruned, loss.console) if value is not None), None)
    if reached is not None and loss.plain_sum:
        share = 100.0 * (1.0 - reached / loss.plain_sum)
        closed = f"{share:.0f} %" if share < 99.5 else "more than 99 %"
        losses = f"match loss {loss_figure(reached)}, from {loss_figure(loss.plain_sum)}"
        yield f"Of the distance between the plain sum of the stems and the mix, {closed} is closed ({losses})."


def _weakest(target: Spectrogram, match: Spectrogram) -> Iterator[str]:
    """Octave and image in which match and target differ most."""
    worst = max(_octave_errors(target, match), key=lambda error: abs(error[0]), default=None)
    if worst is None or abs(worst[0]) < _SMALL_ERROR_DB:
        return
    error_db, centre_hz, image = worst
    where = f"the {image} around {frequency_text(centre_hz)}"
    yield f"It is furthest off in {where}, on average {level_text(abs(error_db))} too {_side(error_db)}."


def _side(error_db: float) -> str:
    return "loud" if error_db > 0.0 else "quiet"


def _octave_errors(target: Spectrogram, match: Spectrogram) -> Iterator[tuple[float, float, str]]:
    """Level of the match over that of the target (dB), centre (Hz) and image, where the target is not faint."""
    centres = np.sqrt(target.edges_hz[1:] * target.edges_hz[:-1])
    images = (("middle", target.mid_db, match.mid_db), ("sides", target.side_db, match.side_db))
    octaves = [np.abs(np.log2(centres / hz)) <= 0.5 for hz in OCTAVE_CENTRES_HZ]
    powers = {
        (image, hz): tuple(float(np.mean(10.0 ** (levels[rows] / 10.0))) for levels in pair)
        for image, *pair in images
        for hz, rows in zip(OCTAVE_CENTRES_HZ, octaves, strict=True)
        if rows.any()
    }
    loudest = max((wanted for wanted, _ in powers.values()), default=0.0)
    for (image, hz), (wanted, got) in powers.items():
        if wanted > loudest * 10.0 ** (-_FAINT_DB / 10.0) and got > 0.0:
            yield 10.0 * math.log10(got / wanted), hz, image
