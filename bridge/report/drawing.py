"""Geometry of the drawn graph and of the small response curves; colours and mark-up belong to the page.

Tracks stand at the left, then the groups by depth, the master at the right. Every channel is a
block: its name on one line, its processors as boxes in chain order below.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.signal

from ..graph import Bus, Master, MixGraph, Processor, Stem
from ..processors.equations import compressor_gain_db, db_to_gain, gate_gain_db
from ..processors.reference import eq_sections
from .words import describe_processor, short_label

BOX_WIDTH, BOX_HEIGHT, BOX_GAP = 56.0, 22.0, 8.0
BLOCK_HEIGHT, BLOCK_PADDING, ROW_GAP, COLUMN_GAP = 56.0, 10.0, 12.0, 72.0
_MIN_BOXES = 3
_NAME_CELL = 7.6  # width of a Latin letter at the size the page sets names in; wide letters count twice

CURVE_WIDTH, CURVE_HEIGHT = 240.0, 72.0
SQUARE_SIZE = 72.0
_DYNAMICS_LOW_DB = -60.0
_EQ_LOW_HZ, _EQ_HIGH_HZ = 20.0, 20000.0


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
class Block:
    """One channel: its frame, name and boxes."""

    id: str
    kind: str
    x: float
    y: float
    width: float
    name: str
    full_name: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Drawing:
    """The graph, laid out; wires are SVG path data."""

    width: float
    height: float
    blocks: tuple[Block, ...]
    wires: tuple[str, ...]
    box_width: float = BOX_WIDTH
    box_height: float = BOX_HEIGHT
    block_height: float = BLOCK_HEIGHT


@dataclass(frozen=True)
class Curve:
    """A response curve: SVG path data, grid lines and what to read aloud.

    Attributes
    ----------
    kind : {"eq", "dynamics"}
        Gain over log frequency, or output over input level.
    path : str
    width, height : float
        Of the view box.
    grid : str
        Path data of the grid.
    label : str
        What the axes span.
    """

    kind: str
    path: str
    width: float
    height: float
    grid: str
    label: str


def draw_graph(graph: MixGraph) -> Drawing:
    """Lay out tracks, groups and master; every track beside its siblings, every group centred on its tracks."""
    columns, rows = _columns(graph), _rows(graph)
    widths = [0.0] * (max(columns.values()) + 1)
    for channel in graph.channels():
        boxes = max(_MIN_BOXES, len(graph.chain(channel.id)))
        widths[columns[channel.id]] = max(widths[columns[channel.id]], _block_width(boxes))
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
            wires.append(_wire(blocks[channel.id], blocks[parent.id]))
    master = blocks[graph.master.id]
    wires.append(f"M{master.x + master.width:.1f} {_middle(master):.1f}h24")
    height = max(b.y for b in blocks.values()) + BLOCK_HEIGHT + 1.0
    return Drawing(master.x + master.width + 32.0, height, tuple(blocks.values()), tuple(wires))


def _columns(graph: MixGraph) -> dict[str, int]:
    depth = {stem.id: 0 for stem in graph.stems}

    def depth_of(channel_id: str) -> int:
        if channel_id not in depth:
            depth[channel_id] = 1 + max((depth_of(c.id) for c in graph.children(channel_id)), default=0)
        return depth[channel_id]

    for channel in graph.channels():
        depth_of(channel.id)
    depth[graph.master.id] = 1 + max(depth[c.id] for c in graph.channels() if not isinstance(c, Master))
    return depth


def _rows(graph: MixGraph) -> dict[str, float]:
    """Row of every channel; what flows into the same place stands together, so that wires never cross."""
    rows: dict[str, float] = {}
    free = 0

    def place(channel: Stem | Bus | Master) -> None:
        nonlocal free
        # Groups first: the wires of lone tracks then pass below all of them.
        children: list[Stem | Bus] = [] if isinstance(channel, Stem) else graph.children(channel.id)
        children = sorted(children, key=lambda child: isinstance(child, Stem))
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
    y = 1.0 + row * (BLOCK_HEIGHT + ROW_GAP)
    boxes = tuple(
        Box(
            x + BLOCK_PADDING + index * (BOX_WIDTH + BOX_GAP),
            y + BLOCK_HEIGHT - BOX_HEIGHT - 8.0,
            processor.type,
            short_label(processor.type),
            describe_processor(processor),
            processor.mix,
        )
        for index, processor in enumerate(graph.chain(channel.id))
    )
    kind = {"stem": "track", "bus": "group"}.get(channel.type, channel.type)
    name = shorten(channel.name, cells=int((width - 2 * BLOCK_PADDING) / _NAME_CELL))
    return Block(channel.id, kind, x, y, width, name, channel.name, boxes)


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


# ------------------------------------------------------------------------------- curves


def draw_curve(processor: Processor, *, sample_rate_hz: int) -> Curve | None:
    """Response of an equalizer or static curve of a dynamics processor, dry share included; None for other types."""
    if processor.type == "eq":
        return _eq_curve(processor, sample_rate_hz)
    if processor.type in ("compressor", "gate"):
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
    x = CURVE_WIDTH * _octave_share(frequencies_hz)
    y = 0.5 * CURVE_HEIGHT * (1.0 - np.clip(response_db / span_db, -1.05, 1.05))
    grid = [f"M{CURVE_WIDTH * float(_octave_share(np.float64(f))):.1f} 0v{CURVE_HEIGHT:g}" for f in (100, 1000, 10000)]
    grid.append(f"M0 {0.5 * CURVE_HEIGHT:g}h{CURVE_WIDTH:g}")
    label = f"20 Hz to 20 kHz, ±{span_db:g} dB"
    return Curve("eq", _path(x, y), CURVE_WIDTH, CURVE_HEIGHT, "".join(grid), label)


def _octave_share(frequency_hz: npt.NDArray[np.float64] | np.float64) -> npt.NDArray[np.float64]:
    return np.asarray(np.log(frequency_hz / _EQ_LOW_HZ) / np.log(_EQ_HIGH_HZ / _EQ_LOW_HZ))


def _dynamics_curve(processor: Processor) -> Curve:
    level_db, p = np.linspace(_DYNAMICS_LOW_DB, 0.0, 61), processor.parameters
    if processor.type == "compressor":
        gain_db = p["makeup_db"] + compressor_gain_db(
            level_db, threshold_db=p["threshold_db"], ratio=p["ratio"], knee_db=p["knee_db"], xp=np
        )
    else:
        gain_db = gate_gain_db(
            level_db,
            threshold_db=p["threshold_db"],
            ratio=p["ratio"],
            range_db=p["range_db"],
            knee_db=p["knee_db"],
            xp=np,
        )
    total = np.maximum(processor.mix * db_to_gain(gain_db) + (1.0 - processor.mix), 1e-6)
    out_db = np.clip(level_db + 20.0 * np.log10(total), 1.05 * _DYNAMICS_LOW_DB, -0.05 * _DYNAMICS_LOW_DB)
    x = SQUARE_SIZE * (1.0 - level_db / _DYNAMICS_LOW_DB)
    y = SQUARE_SIZE * out_db / _DYNAMICS_LOW_DB
    grid = f"M0 {SQUARE_SIZE:g}L{SQUARE_SIZE:g} 0"
    for share in (1 / 3, 2 / 3):
        grid += f"M{share * SQUARE_SIZE:.1f} 0v{SQUARE_SIZE:g}M0 {share * SQUARE_SIZE:.1f}h{SQUARE_SIZE:g}"
    return Curve("dynamics", _path(x, y), SQUARE_SIZE, SQUARE_SIZE, grid, "in and out -60 to 0 dBFS")


def _path(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
