"""Geometry of the drawn graph and of the small response curves; colours and mark-up belong to the page.

Tracks stand at the left, then the groups and returns by depth, the master at the right. Every
channel is a block: its name on one line, below it its processors as boxes in chain order, its
volume automation and its sends.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.signal

from ..graph import (
    Breakpoint,
    Bus,
    Master,
    MixGraph,
    PanBreakpoint,
    Processor,
    Stem,
    Timed,
    pan_positions,
    volume_gains,
)
from ..processors.equations import compressor_gain_db, db_to_gain, gate_gain_db, saturated, saturation_shape
from ..processors.reference import eq_sections
from .scales import Tick
from .words import channel_kind, describe_pan, describe_processor, describe_volume, send_text, send_words, short_label

BOX_WIDTH, BOX_HEIGHT, BOX_GAP = 56.0, 22.0, 8.0
BLOCK_HEIGHT, BLOCK_PADDING, ROW_GAP, COLUMN_GAP = 56.0, 10.0, 12.0, 72.0
_MIN_BOXES = 3
_SEND_EXIT, _LANE_START, _LANE_STEP, _LANES = 10.0, 12.0, 7.0, 7
_NAME_CELL = 7.6  # width of a Latin letter at the size the page sets names in; wide letters count twice

CURVE_WIDTH, CURVE_HEIGHT = 240.0, 72.0
SQUARE_SIZE = 72.0
_DYNAMICS_LOW_DB = -60.0
_EQ_LOW_HZ, _EQ_HIGH_HZ = 20.0, 20000.0
_RIDE_LOW_DB, _RIDE_HIGH_DB, _RIDE_STEPS = -24.0, 12.0, 160


@dataclass(frozen=True)
class Box:
    """One processor: a labelled box."""

    x: float
    y: float
    type: str
    label: str
    text: str
    mix: float


@dataclass(frozen=True)
class Chip:
    """Volume automation or a send of a channel, as large as a box; of automation `path` is its course."""

    x: float
    y: float
    kind: Literal["ride", "send"]
    label: str
    text: str
    path: str = ""


@dataclass(frozen=True)
class Block:
    """One channel: its frame, name, boxes and, after them, chips."""

    id: str
    kind: str
    x: float
    y: float
    width: float
    name: str
    full_name: str
    boxes: tuple[Box, ...]
    chips: tuple[Chip, ...] = ()


@dataclass(frozen=True)
class Wire:
    """A connection: SVG path data and the ids of its ends; of a send, `text` says them and its level in words."""

    path: str
    source: str
    target: str
    text: str = ""


@dataclass(frozen=True)
class Drawing:
    """The graph, laid out; `wires` are main outputs."""

    width: float
    height: float
    blocks: tuple[Block, ...]
    wires: tuple[Wire, ...]
    sends: tuple[Wire, ...] = ()
    box_width: float = BOX_WIDTH
    box_height: float = BOX_HEIGHT
    block_height: float = BLOCK_HEIGHT


@dataclass(frozen=True)
class Curve:
    """A response curve: SVG path data, grid lines and what to read aloud.

    Attributes
    ----------
    kind : {"eq", "dynamics", "ride"}
        Gain over log frequency, output over input level, or gain over time.
    path : str
    width, height : float
        Of the view box.
    grid : str
        Path data of the grid.
    label : str
        What the axes span.
    ticks : tuple of Tick
        Of the y axis, in percent from the bottom.
    """

    kind: str
    path: str
    width: float
    height: float
    grid: str
    label: str
    ticks: tuple[Tick, ...] = ()


def draw_graph(graph: MixGraph) -> Drawing:
    """Lay out tracks, groups, returns and master; tracks beside their siblings, every group centred on its tracks."""
    columns, rows = _columns(graph), _rows(graph)
    widths = [0.0] * (max(columns.values()) + 1)
    for channel in graph.channels():
        width = _block_width(max(_MIN_BOXES, _slots(graph, channel)))
        widths[columns[channel.id]] = max(widths[columns[channel.id]], width)
    lefts = [1.0 + sum(widths[:c]) + COLUMN_GAP * c for c in range(len(widths))]
    blocks = {
        channel.id: _block(
            graph, channel, x=lefts[columns[channel.id]], row=rows[channel.id], width=widths[columns[channel.id]]
        )
        for channel in graph.channels()
    }
    wires = []
    for channel in graph.channels():
        parent = graph.parent(channel.id)
        if parent is not None:
            wires.append(Wire(_wire(blocks[channel.id], blocks[parent.id]), channel.id, parent.id))
    master = blocks[graph.master.id]
    wires.append(Wire(f"M{master.x + master.width:.1f} {_middle(master):.1f}h24", master.id, ""))
    height = max(b.y for b in blocks.values()) + BLOCK_HEIGHT + 1.0
    sends = tuple(_send_wires(graph, blocks))
    return Drawing(master.x + master.width + 32.0, height, tuple(blocks.values()), tuple(wires), sends)


def _slots(graph: MixGraph, channel: Stem | Bus | Master) -> int:
    return len(graph.chain(channel.id)) + bool(channel.volume) + bool(channel.pan) + len(graph.sends(channel.id))


def _columns(graph: MixGraph) -> dict[str, int]:
    depth = {stem.id: 0 for stem in graph.stems}
    senders: dict[str, list[str]] = {}
    for source, target in graph.all_sends():
        senders.setdefault(target, []).append(source)

    def depth_of(channel_id: str) -> int:
        if channel_id not in depth:
            feeding = [*(c.id for c in graph.children(channel_id)), *senders.get(channel_id, [])]
            depth[channel_id] = 1 + max(map(depth_of, feeding), default=0)
        return depth[channel_id]

    for channel in graph.channels():
        depth_of(channel.id)
    depth[graph.master.id] = 1 + max(depth[c.id] for c in graph.channels() if not isinstance(c, Master))
    return depth


def _rows(graph: MixGraph) -> dict[str, float]:
    """Row of every channel; what flows into the same place stands together, so that wires never cross."""
    rows: dict[str, float] = {}
    returns = {bus.id for bus in graph.returns}
    free = 0

    def place(channel: Stem | Bus | Master) -> None:
        nonlocal free
        # Groups first: the wires of lone tracks then pass below all of them. Returns last, as on a mixer.
        children: list[Stem | Bus] = [] if isinstance(channel, Stem) else graph.children(channel.id)
        children = sorted(children, key=lambda child: (child.id in returns, isinstance(child, Stem)))
        for child in children:
            place(child)
        if children:
            rows[channel.id] = 0.5 * (rows[children[0].id] + rows[children[-1].id])
        else:
            rows[channel.id] = float(free)
            free += 1

    place(graph.master)
    return rows


def _block_width(boxes: int) -> float:
    return 2 * BLOCK_PADDING + boxes * BOX_WIDTH + (boxes - 1) * BOX_GAP


def _block(graph: MixGraph, channel: Stem | Bus | Master, *, x: float, row: float, width: float) -> Block:
    y, bpm = 1.0 + row * (BLOCK_HEIGHT + ROW_GAP), graph.bpm
    boxes = tuple(
        Box(
            x + BLOCK_PADDING + index * (BOX_WIDTH + BOX_GAP),
            y + BLOCK_HEIGHT - BOX_HEIGHT - 8.0,
            processor.type,
            short_label(processor.type),
            describe_processor(processor, bpm=bpm),
            processor.mix,
        )
        for index, processor in enumerate(graph.chain(channel.id))
    )
    name = shorten(channel.name, cells=int((width - 2 * BLOCK_PADDING) / _NAME_CELL))
    chips = tuple(_chips(graph, channel, x=x + BLOCK_PADDING + len(boxes) * (BOX_WIDTH + BOX_GAP), y=y))
    return Block(channel.id, channel_kind(graph, channel), x, y, width, name, channel.name, boxes, chips)


def _chips(graph: MixGraph, channel: Stem | Bus | Master, *, x: float, y: float) -> Iterator[Chip]:
    top = y + BLOCK_HEIGHT - BOX_HEIGHT - 8.0
    for words, times_s, share in _rides(graph, channel):
        left, inside = x + 4.0, BOX_WIDTH - 8.0
        across = left + inside * times_s / max(float(times_s[-1]), 1e-9)
        path = path_of(across, top + 3.0 + (BOX_HEIGHT - 6.0) * share)
        yield Chip(x, top, "ride", "", words, path)
        x += BOX_WIDTH + BOX_GAP
    for send in graph.sends(channel.id):
        text = f"Send to {graph.channel(send.target).name}: {send_words(send)}"
        yield Chip(x, top, "send", f"\N{RIGHTWARDS ARROW} {send_text(send).removesuffix(' dB')}", text)
        x += BOX_WIDTH + BOX_GAP


def _rides(
    graph: MixGraph, channel: Stem | Bus | Master
) -> Iterator[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Each automation of a channel: in words, its times (s), and its heights, 0 at the top."""
    if channel.volume:
        times_s, gain_db = _ride(channel.volume, duration_s=ride_span_s(graph, channel.volume))
        yield describe_volume(channel.volume), times_s, _ride_share(gain_db)
    if channel.pan:
        times_s, pan = _pan_ride(channel.pan, duration_s=ride_span_s(graph, channel.pan))
        yield describe_pan(channel.pan), times_s, _pan_share(pan)


def shorten(text: str, *, cells: int) -> str:
    """Cut a text to a number of letter cells (East Asian letters take two) with an ellipsis."""
    used = 0
    sizes = [2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text]
    if sum(sizes) <= cells:
        return text
    for index, size in enumerate(sizes):
        used += size
        if used > cells - 1:
            return text[:index].rstrip() + "…"
    return text


def _middle(block: Block) -> float:
    return block.y + 0.5 * BLOCK_HEIGHT


def _wire(source: Block, target: Block) -> str:
    """Straight until the gap in front of the target, so that it passes between blocks, then a bend."""
    x0, y0, x1, y1 = source.x + source.width, _middle(source), target.x, _middle(target)
    bend = x1 - COLUMN_GAP
    half = 0.5 * COLUMN_GAP
    return (
        f"M{x0:.1f} {y0:.1f}H{bend:.1f}C{bend + half:.1f} {y0:.1f} {x1 - half:.1f} {y1:.1f} {x1 - 5.0:.1f} {y1:.1f}h5"
    )


def _send_wires(graph: MixGraph, blocks: dict[str, Block]) -> Iterator[Wire]:
    """Down or up right behind the channel, a lane for every bus, then along the row of the bus."""
    sends = graph.all_sends()
    lanes = {target: number for number, target in enumerate(dict.fromkeys(target for _, target in sends))}
    for (channel_id, target_id), send in sends.items():
        source, target = blocks[channel_id], blocks[target_id]
        right, bottom = source.x + source.width, source.y + BLOCK_HEIGHT - _SEND_EXIT
        lane = right + _LANE_START + _LANE_STEP * (lanes[target_id] % _LANES)
        # Groups get their main inputs in the middle.
        into = _middle(target) + 0.25 * BLOCK_HEIGHT
        path = f"M{right:.1f} {bottom:.1f}H{lane:.1f}V{into:.1f}H{target.x:.1f}"
        text = f"{source.full_name} to {target.full_name}: {send_words(send)}"
        yield Wire(path, channel_id, target_id, text)


# ------------------------------------------------------------------------------- curves


def ride_span_s(graph: MixGraph, points: Sequence[Timed]) -> float:
    """Over how long automation is drawn: the song, or up to its last point where that is not known."""
    return graph.frames / graph.sample_rate_hz if graph.frames else points[-1].time_s


def draw_ride(points: Sequence[Breakpoint], *, duration_s: float) -> Curve:
    """Volume automation over time."""
    times_s, gain_db = _ride(points, duration_s=duration_s)
    x = CURVE_WIDTH * times_s / max(duration_s, 1e-9)
    grid = [f"M0 {CURVE_HEIGHT * float(_ride_share(np.float64(level))):.1f}h{CURVE_WIDTH:g}" for level in (-12, 0)]
    label = f"{duration_s:.0f} s, {_RIDE_LOW_DB:g} to +{_RIDE_HIGH_DB:g} dB"
    ticks = tuple(Tick(100.0 * (1.0 - float(_ride_share(np.float64(v)))), f"{v:g}") for v in (-12.0, 0.0, 12.0))
    path = path_of(x, CURVE_HEIGHT * _ride_share(gain_db))
    return Curve("ride", path, CURVE_WIDTH, CURVE_HEIGHT, "".join(grid), label, ticks)


def draw_pan(points: Sequence[PanBreakpoint], *, duration_s: float) -> Curve:
    """Pan automation over time, left at the top."""
    times_s, pan = _pan_ride(points, duration_s=duration_s)
    x = CURVE_WIDTH * times_s / max(duration_s, 1e-9)
    grid = f"M0 {0.5 * CURVE_HEIGHT:.1f}h{CURVE_WIDTH:g}"
    label = f"{duration_s:.0f} s, left to right"
    ticks = (Tick(100.0, "L"), Tick(50.0, "C"), Tick(0.0, "R"))
    return Curve("ride", path_of(x, CURVE_HEIGHT * _pan_share(pan)), CURVE_WIDTH, CURVE_HEIGHT, grid, label, ticks)


def _pan_ride(
    points: Sequence[PanBreakpoint], *, duration_s: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Times (s) and positions of pan automation from the first to the last moment."""
    rate_hz = _RIDE_STEPS / max(duration_s, 1e-9)
    pan = pan_positions(points, frames=_RIDE_STEPS + 1, sample_rate_hz=rate_hz)
    return np.arange(_RIDE_STEPS + 1) / rate_hz, pan


def _pan_share(pan: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Height of a pan, 0 at the top, which is left."""
    return 0.5 * (1.0 + pan)


def _ride(
    points: Sequence[Breakpoint], *, duration_s: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Times (s) and gains (dB) of volume automation from the first to the last moment."""
    rate_hz = _RIDE_STEPS / max(duration_s, 1e-9)
    gains = volume_gains(points, frames=_RIDE_STEPS + 1, sample_rate_hz=rate_hz)
    return np.arange(_RIDE_STEPS + 1) / rate_hz, 20.0 * np.log10(np.maximum(gains, 1e-6))


def _ride_share(gain_db: npt.NDArray[np.float64] | np.float64) -> npt.NDArray[np.float64]:
    """Height of a gain, 0 at the top."""
    return np.asarray((_RIDE_HIGH_DB - np.clip(gain_db, _RIDE_LOW_DB, _RIDE_HIGH_DB)) / (_RIDE_HIGH_DB - _RIDE_LOW_DB))


def draw_curve(processor: Processor, *, sample_rate_hz: int) -> Curve | None:
    """Response of an equalizer or static curve of a dynamics processor, dry share included; None for other types."""
    if processor.type == "eq":
        return _eq_curve(processor, sample_rate_hz)
    if processor.type in _GAIN_DB:
        return _dynamics_curve(processor)
    return None


def eq_response_db(
    processor: Processor, frequencies_hz: npt.NDArray[np.float64], *, sample_rate_hz: int
) -> npt.NDArray[np.float64]:
    """Gain in dB of an equalizer at the given frequencies, dry share included, not below -120."""
    sections = eq_sections(processor.parameters, sample_rate_hz=sample_rate_hz)
    wet = np.ones(len(frequencies_hz), dtype=np.complex128)
    if len(sections):
        _, wet = scipy.signal.sosfreqz(sections, worN=frequencies_hz, fs=sample_rate_hz)
    total = processor.mix * wet + (1.0 - processor.mix)
    return np.asarray(20.0 * np.log10(np.maximum(np.abs(total), 1e-6)))


def _eq_curve(processor: Processor, sample_rate_hz: int) -> Curve:
    frequencies_hz = np.geomspace(_EQ_LOW_HZ, min(_EQ_HIGH_HZ, 0.4999 * sample_rate_hz), 121)
    response_db = eq_response_db(processor, frequencies_hz, sample_rate_hz=sample_rate_hz)
    # A high-pass falls without end: the boosts and the bells decide the scale, cuts may leave it.
    reach = float(np.max(np.abs(np.clip(response_db, -24.0, 24.0))))
    span_db = 6.0 if reach <= 6.0 else 12.0 if reach <= 12.0 else 24.0
    x = CURVE_WIDTH * octave_share(frequencies_hz)
    y = 0.5 * CURVE_HEIGHT * (1.0 - np.clip(response_db / span_db, -1.05, 1.05))
    grid = [f"M{CURVE_WIDTH * float(octave_share(np.float64(f))):.1f} 0v{CURVE_HEIGHT:g}" for f in (100, 1000, 10000)]
    grid.append(f"M0 {0.5 * CURVE_HEIGHT:g}h{CURVE_WIDTH:g}")
    label = f"20 Hz to 20 kHz, ±{span_db:g} dB"
    ticks = tuple(Tick(50.0 * (1.0 + share), f"{share * span_db:+.0f}" if share else "0") for share in (-1.0, 0.0, 1.0))
    return Curve("eq", path_of(x, y), CURVE_WIDTH, CURVE_HEIGHT, "".join(grid), label, ticks)


def octave_share(frequency_hz: npt.NDArray[np.float64] | np.float64) -> npt.NDArray[np.float64]:
    """Place of a frequency on the axis of an equalizer, 0 (20 Hz) to 1 (20 kHz)."""
    return np.asarray(np.log(frequency_hz / _EQ_LOW_HZ) / np.log(_EQ_HIGH_HZ / _EQ_LOW_HZ))


def _compressor_gain_db(level_db: npt.NDArray[np.float64], p: Mapping[str, float]) -> Any:
    static = {name: p[name] for name in ("threshold_db", "ratio", "knee_db")}
    return p["makeup_db"] + compressor_gain_db(level_db, **static, xp=np)


def _gate_gain_db(level_db: npt.NDArray[np.float64], p: Mapping[str, float]) -> Any:
    static = {name: p[name] for name in ("threshold_db", "ratio", "range_db", "knee_db")}
    return gate_gain_db(level_db, **static, xp=np)


def _saturation_gain_db(level_db: npt.NDArray[np.float64], p: Mapping[str, float]) -> Any:
    peak = db_to_gain(level_db)
    return 20.0 * np.log10(saturated(peak, saturation_shape(p["drive_db"]), xp=np) / peak)


def _limiter_gain_db(level_db: npt.NDArray[np.float64], p: Mapping[str, float]) -> Any:
    return np.minimum(p["gain_db"], p["ceiling_db"] - level_db)


#: Gain (dB) of a steady level, by type; of a saturation, that of the peaks.
_GAIN_DB: dict[str, Callable[[npt.NDArray[np.float64], Mapping[str, float]], Any]] = {
    "compressor": _compressor_gain_db,
    "gate": _gate_gain_db,
    "saturation": _saturation_gain_db,
    "limiter": _limiter_gain_db,
}


def _dynamics_curve(processor: Processor) -> Curve:
    level_db = np.linspace(_DYNAMICS_LOW_DB, 0.0, 61)
    gain_db = _GAIN_DB[processor.type](level_db, processor.parameters)
    total = np.maximum(processor.mix * db_to_gain(gain_db) + (1.0 - processor.mix), 1e-6)
    out_db = np.clip(level_db + 20.0 * np.log10(total), 1.05 * _DYNAMICS_LOW_DB, -0.05 * _DYNAMICS_LOW_DB)
    x = SQUARE_SIZE * (1.0 - level_db / _DYNAMICS_LOW_DB)
    y = SQUARE_SIZE * out_db / _DYNAMICS_LOW_DB
    grid = f"M0 {SQUARE_SIZE:g}L{SQUARE_SIZE:g} 0"
    for share in (1 / 3, 2 / 3):
        grid += f"M{share * SQUARE_SIZE:.1f} 0v{SQUARE_SIZE:g}M0 {share * SQUARE_SIZE:.1f}h{SQUARE_SIZE:g}"
    return Curve("dynamics", path_of(x, y), SQUARE_SIZE, SQUARE_SIZE, grid, "in and out -60 to 0 dBFS")


def path_of(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> str:
    """SVG path data of straight lines from point to point."""
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
