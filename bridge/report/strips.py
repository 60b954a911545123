"""Figures of a channel strip: curves over what was measured, with their axes; no measuring and no mark-up here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.signal

from ..graph import MixGraph, Processor
from ..processors.laws import law_of
from ..processors.reference import apply_processor, reverb_length
from ..processors.specs import SILENT_LEVEL_DB
from .drawing import CURVE_HEIGHT, CURVE_WIDTH, Curve, draw_curve, draw_pan, draw_ride, octave_share, path_of
from .scales import Tick, clock, frequency_ticks, time_ticks
from .traces import SPECTRUM_EDGES_HZ, NodeTrace
from .words import frequency_text, level_text, sounding_taps, time_text

#: The spectrum behind an equalizer's curve: its loudest band and what lies so far (dB) below it.
SPECTRUM_RANGE_DB = 54.0

#: Scales of a gain reduction (dB); the smallest that holds it is drawn.
_REDUCTION_SCALES_DB = (3.0, 6.0, 12.0, 24.0, 48.0)
_LEVEL_RANGE_DB = 60.0
_DECAY_POINTS = 160
_HIGHS_HZ = 4000.0


@dataclass(frozen=True)
class Layer:
    """One shape of a figure: SVG path data and what it shows, which is also its class in the style sheet."""

    role: str
    path: str


@dataclass(frozen=True)
class Figure:
    """A figure over common axes.

    Attributes
    ----------
    kind : str
        "eq", "dynamics", "reduction", "taps", "decay" or "ride".
    width, height : float
        Of the view box; all but squares are stretched to the room there is.
    layers : tuple of Layer
        Lowest first.
    x, y : tuple of Tick
        In percent from the left and from the bottom.
    label : str
        What is to be seen, for those who do not see it.
    timed : bool
        Whether the x axis is the song's time from beginning to end.
    """

    kind: str
    width: float
    height: float
    layers: tuple[Layer, ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    label: str
    timed: bool = False


def figures_of(
    processor: Processor, *, sample_rate_hz: int, duration_s: float, trace: NodeTrace | None
) -> tuple[Figure, ...]:
    """All figures of a processor; empty where words say it all."""
    curve = draw_curve(processor, sample_rate_hz=sample_rate_hz)
    found: list[Figure] = []
    if curve is not None:
        found.append(_equalizer(curve, trace) if curve.kind == "eq" else _square(curve))
    if trace is not None and trace.reduction_db:
        found.append(_reduction(trace.reduction_db, duration_s=duration_s))
    if processor.type == "delay":
        found += _taps(processor)
    if processor.type == "reverb":
        found += _decay(processor, sample_rate_hz=sample_rate_hz)
    return tuple(found)


def volume_figure(graph: MixGraph, channel_id: str, *, duration_s: float) -> Figure:
    """Volume automation of a channel over the song."""
    return _ride(draw_ride(graph.channel(channel_id).volume, duration_s=duration_s), duration_s)


def pan_figure(graph: MixGraph, channel_id: str, *, duration_s: float) -> Figure:
    """Pan automation of a channel over the song."""
    return _ride(draw_pan(graph.channel(channel_id).pan, duration_s=duration_s), duration_s)


def _curve_layers(curve: Curve) -> tuple[Layer, ...]:
    return Layer("grid", curve.grid), Layer("line", curve.path)


def _ride(curve: Curve, duration_s: float) -> Figure:
    x = tuple(time_ticks(duration_s))
    return Figure("ride", curve.width, curve.height, _curve_layers(curve), x, curve.ticks, curve.label, timed=True)


def _square(curve: Curve) -> Figure:
    ticks = tuple(Tick(100.0 * (1.0 + level / _LEVEL_RANGE_DB), f"{level:.0f}") for level in (-40.0, -20.0, 0.0))
    return Figure("dynamics", curve.width, curve.height, _curve_layers(curve), ticks, ticks, curve.label)


def _equalizer(curve: Curve, trace: NodeTrace | None) -> Figure:
    layers, label = _curve_layers(curve), curve.label
    levels = np.asarray(trace.spectrum_db if trace is not None else ())
    if len(levels) == len(SPECTRUM_EDGES_HZ) - 1:
        layers = (Layer("spectrum", _area(levels)), *layers)
        label = f"{label}, over the spectrum of what comes in"
    x = tuple(frequency_ticks(SPECTRUM_EDGES_HZ[0], SPECTRUM_EDGES_HZ[-1]))
    return Figure("eq", curve.width, curve.height, layers, x, curve.ticks, label)


def _area(levels_db: npt.NDArray[np.float64]) -> str:
    """A spectrum as a filled shape: its loudest band touches the top."""
    edges = np.asarray(SPECTRUM_EDGES_HZ)
    x = CURVE_WIDTH * octave_share(np.sqrt(edges[1:] * edges[:-1]))
    share = np.clip((levels_db.max() - levels_db) / SPECTRUM_RANGE_DB, 0.0, 1.0)
    return f"{path_of(x, CURVE_HEIGHT * (0.04 + 0.96 * share))}V{CURVE_HEIGHT:g}H{x[0]:.1f}Z"


def _reduction(reduction_db: Sequence[float], *, duration_s: float) -> Figure:
    depth_db = -min(reduction_db)
    span_db = next((s for s in _REDUCTION_SCALES_DB if depth_db <= s), _REDUCTION_SCALES_DB[-1])
    x = np.linspace(0.0, CURVE_WIDTH, len(reduction_db) + 1)
    y = CURVE_HEIGHT * np.clip(-np.asarray(reduction_db) / span_db, 0.0, 1.0)
    # Steps: each value holds for its stretch of the song.
    path = "M0 0" + "".join(f"V{level:.1f}H{end:.1f}" for level, end in zip(y, x[1:], strict=True)) + "V0Z"
    ticks = tuple(Tick(100.0 * (1.0 - share), f"{-share * span_db:g}" if share else "0") for share in (0.0, 0.5, 1.0))
    words = f"takes away up to {level_text(depth_db)}" if depth_db >= 0.05 else "takes nothing away"
    grid = f"M0 {0.5 * CURVE_HEIGHT:g}h{CURVE_WIDTH:g}"
    layers = (Layer("grid", grid), Layer("area", path))
    label = f"Gain reduction over the song: {words}"
    return Figure("reduction", CURVE_WIDTH, CURVE_HEIGHT, layers, tuple(time_ticks(duration_s)), ticks, label, True)


def _taps(processor: Processor) -> list[Figure]:
    """Echoes: a stroke up for what the left hears of a tap and one down for the right."""
    p, taps = processor.parameters, sounding_taps(processor.parameters)
    if not taps:
        return []
    strokes, texts, half = "", [], 0.5 * CURVE_HEIGHT
    end_s = 1.1 * max(p[f"{tap}time_ms"] for tap in taps) / 1000.0
    for tap in taps:
        level_db, time_ms = p[f"{tap}level_db"], p[f"{tap}time_ms"]
        height = half * (1.0 - min(level_db, 0.0) / SILENT_LEVEL_DB)
        left, right = (height * min(1.0, 1.0 + sign * p[f"{tap}pan"]) for sign in (-1.0, 1.0))
        strokes += f"M{CURVE_WIDTH * time_ms / (1000.0 * end_s):.1f} {half - left:.1f}V{half + right:.1f}"
        texts.append(f"{time_text(time_ms)} at {level_text(level_db)}")
    grid = f"M0 {half:g}h{CURVE_WIDTH:g}M0.5 0v{CURVE_HEIGHT:g}"
    y = (Tick(88.0, "L"), Tick(12.0, "R"))
    label = f"Echoes, left up and right down: {'; '.join(texts)}"
    layers = (Layer("grid", grid), Layer("strokes", strokes))
    return [Figure("taps", CURVE_WIDTH, CURVE_HEIGHT, layers, tuple(time_ticks(end_s)), y, label)]


def _decay(processor: Processor, *, sample_rate_hz: int) -> list[Figure]:
    """How the reverb dies away: energy that is still to come (Schroeder, JASA 37, 1965), of all and of the highs."""
    response = _audible(_wet_response(processor, sample_rate_hz=sample_rate_hz))
    remaining = [_remaining_db(r) for r in (response, _highs(response, sample_rate_hz=sample_rate_hz))]
    if remaining[0] is None:
        return []
    end_s = response.shape[1] / sample_rate_hz
    layers = [Layer("grid", f"M0 {0.5 * CURVE_HEIGHT:g}h{CURVE_WIDTH:g}")]
    for role, levels_db in zip(("line", "thin"), remaining, strict=True):
        if levels_db is not None:
            x = np.linspace(0.0, CURVE_WIDTH, len(levels_db))
            layers.append(Layer(role, path_of(x, CURVE_HEIGHT * np.clip(-levels_db / _LEVEL_RANGE_DB, 0.0, 1.05))))
    y = tuple(Tick(100.0 * (1.0 + level / _LEVEL_RANGE_DB), f"{level:.0f}") for level in (-60.0, -30.0, 0.0))
    label = f"Decay over {clock(end_s)}: all of it, and thin what lies above {frequency_text(_HIGHS_HZ)}"
    return [Figure("decay", CURVE_WIDTH, CURVE_HEIGHT, tuple(layers), tuple(time_ticks(end_s)), y, label)]


def _wet_response(processor: Processor, *, sample_rate_hz: int) -> npt.NDArray[np.float64]:
    """What the reverb answers to a click in both channels, at full level and without the dry sound."""
    settings = {**processor.parameters, "level_db": 0.0}
    tail = reverb_length(settings, sample_rate_hz=sample_rate_hz, law=law_of(processor.law, processor.type))
    click = np.zeros((2, tail + math.ceil(0.001 * settings["pre_delay_ms"] * sample_rate_hz) + 1))
    click[:, 0] = 1.0
    return apply_processor(processor.type, click, parameters=settings, sample_rate_hz=sample_rate_hz, law=processor.law)


def _to_come(response: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Energy of both channels from each moment to the end."""
    return np.asarray(np.cumsum(np.sum(np.square(response), axis=0)[::-1])[::-1])


def _audible(response: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The response up to where hardly anything is to come."""
    to_come = _to_come(response)
    heard = to_come > to_come[0] * 10.0 ** (-_LEVEL_RANGE_DB / 10.0)
    return response[:, : max(int(np.count_nonzero(heard)), 2)]


def _highs(response: npt.NDArray[np.float64], *, sample_rate_hz: int) -> npt.NDArray[np.float64]:
    edge_hz = min(_HIGHS_HZ, 0.45 * sample_rate_hz)
    sections = scipy.signal.butter(4, edge_hz, "highpass", fs=sample_rate_hz, output="sos")
    return np.asarray(scipy.signal.sosfilt(sections, response, axis=-1))


def _remaining_db(response: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Energy still to come, in dB of all of it, at evenly spaced moments; None for silence."""
    to_come = _to_come(response)
    if to_come[0] <= 0.0:
        return None
    moments = np.linspace(0, len(to_come) - 1, _DECAY_POINTS).round().astype(int)
    return np.asarray(10.0 * np.log10(np.maximum(to_come[moments] / to_come[0], 1e-12)))
