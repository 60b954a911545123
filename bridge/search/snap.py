"""Rounds settings to what an engineer would dial, where the match cannot tell the difference.

A setting may move within its error bar (see `sensitivity`). Of the numbers there the roundest is
taken: every kind of setting has rows of numbers from round to fine, and the first row that has one
within the bar decides. What is round for a delay time depends on the tempo: where that is known, times
near a note value become it; else they are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..graph import MixGraph, Processor
from ..processors.specs import DELAY, DELAY_TAPS, MIX, SEND_LEVEL, SPECS, Parameter
from ..tempo import NOTE_TOLERANCE, note_value
from .amounts import allowed, replaced
from .parameters import Limits, send_id
from .rewrite import longest_within
from .sensitivity import SEND_LEVEL_NAME

#: Returns the number of a row that is nearest to a value.
Row = Callable[[float], float]

#: A third-octave series per decade (ISO 266), and its octaves.
_ISO_THIRDS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
_ISO_OCTAVES_HZ = (16.0, 31.5, 63.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)

#: Shares of the error bars within which all moves are tried together.
_SHARES_OF_BAR = (1.0, 0.5, 0.25, 0.125)

#: Below this a setting with decades of numbers is 0.
_TINY = 1e-6

#: Level and time of every tap.
_TAPS = tuple((f"tap{n}_level_db", f"tap{n}_time_ms") for n in range(1, DELAY_TAPS + 1))

_NOT_SNAPPED = frozenset(time for _, time in _TAPS)

Bars = Mapping[str, Mapping[str, float]]


def _steps(step: float) -> Row:
    # Rounded again: 3 * 0.1 is 0.30000000000000004.
    return lambda value: round(round(value / step) * step, 6)


def _among(numbers: Sequence[float]) -> Row:
    return lambda value: min(numbers, key=lambda n: (abs(n - value), n))


def _decades(numbers: Sequence[float]) -> Row:
    """These numbers, times every power of ten; nearest by ratio."""

    def nearest(value: float) -> float:
        if value < _TINY:
            return 0.0
        exponent = math.floor(math.log10(value))
        near = [round(n * 10.0**e, 9) for e in (exponent - 1, exponent, exponent + 1) for n in numbers]
        return min(near, key=lambda n: abs(math.log(n / value)))

    return nearest


def _two_digits(value: float) -> float:
    return float(f"{value:.1e}")


_DECIBELS = (_steps(1.0), _steps(0.5), _steps(0.1))
_SHARES = (_steps(1.0), _steps(0.1), _steps(0.05), _steps(0.01))
_FREQUENCIES = (_among(_ISO_OCTAVES_HZ), _decades(_ISO_THIRDS), _two_digits)
_TIMES = (_decades((1.0, 2.0, 5.0)), _decades((1.0, 1.5, 2.0, 3.0, 5.0, 7.0)), _two_digits)
_RATIOS = (
    _among((2.0, 4.0, 8.0, 20.0)),
    _among((1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 10.0, 20.0)),
    _steps(0.5),
    _steps(0.1),
)
_QS = (_among((0.5, 1.0, 2.0, 4.0, 8.0)), _among((0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 4.0, 6.0, 8.0)), _steps(0.1))


def rows_of(parameter: Parameter) -> tuple[Row, ...]:
    """Rows of numbers for a parameter, from round to fine; none where it is not rounded."""
    if parameter.name in _NOT_SNAPPED:
        return ()
    if parameter.unit == "Hz":
        return _FREQUENCIES
    if parameter.unit == "dB":
        return _DECIBELS
    if parameter.unit in ("ms", "s"):
        return _TIMES
    if parameter.name == "ratio":
        return _RATIOS
    return _QS if parameter.name.endswith("_q") else _SHARES


def roundest(parameter: Parameter, value: float, bar: float, *, low: float, high: float) -> float:
    """The roundest number within `bar` of a value and from `low` to `high`; the value if there is none.

    Passes, taps and wet paths are neither switched on nor off by it; a band may come to 0 dB.
    """
    for row in rows_of(parameter):
        number = row(value)
        off = parameter.off_at is not None and number == parameter.off_at
        if low <= number <= high and abs(number - value) <= bar and not off:
            return number
    return value


@dataclass(frozen=True)
class _Move:
    """A setting and the number it is rounded to; `risk` is the share this takes of the bar, or tolerance, it has."""

    part: str
    name: str
    number: float
    risk: float


def error_bars_of(graph: MixGraph) -> dict[str, dict[str, float]]:
    """Error bars a graph carries as evidence, by processor or `parameters.send_id`."""
    bars = {p.id: dict(p.evidence.uncertainty) for p in graph.processors if p.evidence is not None}
    for ends, edge in graph.all_sends().items():
        if edge.evidence is not None:
            bars[send_id(*ends)] = dict(edge.evidence.uncertainty)
    return bars


def snap(
    graph: MixGraph,
    error_bars: Bars | None = None,
    *,
    loss_of: Callable[[MixGraph], float] | None = None,
    ceiling: float = math.inf,
    limits: Limits | None = None,
    bpm: float | None = None,
) -> MixGraph:
    """Round the settings of a graph within their error bars, and delay times to note values.

    Parameters
    ----------
    error_bars : mapping, optional
        As `sensitivity.error_bars` returns them; those of the graph's evidence by default.
        What has no error bar stays.
    loss_of : callable, optional
        L_a of a graph over the song. A bar is for one setting alone: where many moves at once bring
        the loss above `ceiling`, they are held within a half of the bars, a quarter and an eighth, and
        at last only the least risky of them are made.
    ceiling : float
        In L_a.
    bpm : float, optional
        Tempo of the song (quarter notes per minute). The delay times of taps that are heard then become
        the note value they are near to (`tempo.NOTE_TOLERANCE`), each by itself and only as far as the
        loss stays below `ceiling`: their error bars are too short to reach from note to note.

    Returns
    -------
    MixGraph
        Evidence is kept: the error bars hold for the rounded values as well.
    """
    if bpm is not None:
        # First, while nothing else has used up what may be lost: a time that is right costs nothing.
        graph = _in_time(graph, bpm, loss_of=loss_of, ceiling=ceiling, limits=limits)
    bars = error_bars_of(graph) if error_bars is None else error_bars
    if loss_of is None:
        return _moved(graph, _moves(graph, bars, limits, share=1.0))
    for share in _SHARES_OF_BAR:
        moves = _moves(graph, bars, limits, share=share)
        snapped = _moved(graph, moves)
        if not moves or loss_of(snapped) <= ceiling:
            return snapped
    return _moved(graph, moves[: longest_within(len(moves), lambda n: loss_of(_moved(graph, moves[:n])) <= ceiling)])


def _in_time(
    graph: MixGraph,
    bpm: float,
    *,
    loss_of: Callable[[MixGraph], float] | None,
    ceiling: float,
    limits: Limits | None,
) -> MixGraph:
    """The graph with the delay times that the match lets be note values."""
    for move in _note_moves(graph, bpm, limits):
        moved = _moved(graph, [move])
        if loss_of is None or loss_of(moved) <= ceiling:
            graph = moved
    return graph


def _note_moves(graph: MixGraph, bpm: float, limits: Limits | None) -> list[_Move]:
    """Delay times and the note values they are near to, the nearest first."""
    found: list[_Move] = []
    for node in graph.processors:
        if node.type != DELAY.type or node.mix == 0.0:
            continue
        for level, time in _TAPS:
            value, silent = node.parameters[time], DELAY.parameter(level).off_at
            note = note_value(value, bpm=bpm)
            if note is None or node.parameters[level] == silent:
                continue
            number = note.time_ms(bpm)
            low, high = allowed(DELAY.parameter(time), node.kind, limits)
            if number != value and low <= number <= high:
                found.append(_Move(node.id, time, number, abs(number - value) / (NOTE_TOLERANCE * number)))
    return sorted(found, key=lambda m: (m.risk, m.part, m.name))


def _moves(graph: MixGraph, bars: Bars, limits: Limits | None, *, share: float) -> list[_Move]:
    """All moves within a share of the error bars, the least risky first."""
    bars = {part: {name: share * bar for name, bar in own.items()} for part, own in bars.items()}
    found: list[_Move] = []
    for node in graph.processors:
        for parameter in (*SPECS[node.type].parameters, MIX):
            value = node.mix if parameter is MIX else node.parameters[parameter.name]
            low, high = (MIX.minimum, MIX.maximum) if parameter is MIX else allowed(parameter, node.kind, limits)
            found += _move(node.id, parameter.name, parameter, value, bars, low=low, high=high)
    for ends, edge in graph.all_sends().items():
        if edge.send_db is not None:
            low, high = SEND_LEVEL.minimum, SEND_LEVEL.maximum
            found += _move(send_id(*ends), SEND_LEVEL_NAME, SEND_LEVEL, edge.send_db, bars, low=low, high=high)
    return sorted(found, key=lambda m: (m.risk, m.part, m.name))


def _move(
    part: str, name: str, parameter: Parameter, value: float, bars: Bars, *, low: float, high: float
) -> list[_Move]:
    bar = bars.get(part, {}).get(name, 0.0)
    number = roundest(parameter, value, bar, low=low, high=high)
    return [] if number == value else [_Move(part, name, number, abs(number - value) / bar)]


def _moved(graph: MixGraph, moves: Sequence[_Move]) -> MixGraph:
    changed: dict[str, dict[str, float]] = {}
    for move in moves:
        changed.setdefault(move.part, {})[move.name] = move.number
    nodes = [
        _with_numbers(n, changed[n.id]) if isinstance(n, Processor) and n.id in changed else n for n in graph.nodes
    ]
    ids = {(e.source, e.target): send_id(*ends) for ends, e in graph.all_sends().items()}
    edges = []
    for edge in graph.edges:
        part = ids.get((edge.source, edge.target), "")
        if part in changed:
            edge = edge.model_copy(update={"send_db": changed[part][SEND_LEVEL_NAME]})
        edges.append(edge)
    return graph.model_copy(update={"nodes": nodes, "edges": edges})


def _with_numbers(node: Processor, numbers: dict[str, float]) -> Processor:
    mix = numbers.get(MIX.name, node.mix)
    parameters = node.parameters | {name: number for name, number in numbers.items() if name != MIX.name}
    return replaced(node, parameters, mix=mix).model_copy(update={"evidence": node.evidence})
