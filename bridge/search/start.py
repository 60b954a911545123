"""Where the search begins: closed-form gains and pans, and starting values of all processors.

Gain and pan of every track come from one least-squares problem over the whole song: hundreds of
gradient steps for one line of algebra.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.linalg
import scipy.optimize
import scipy.signal

from ..graph import MixGraph, Node, Processor
from ..metrics import LOSS_RATE_HZ, a_weighting_taps
from ..processors.equations import compressor_gain_db, db_to_gain, gain_and_pan, gain_to_db
from ..processors.reference import detector_level_db
from ..processors.specs import DELAY_TAPS, GAIN_PAN, spec_of
from .parameters import always_wet
from .workers import each
from .working_set import WorkingSet

Array = npt.NDArray[np.float64]

#: Added to the diagonal of the normal equations, as a share of the largest stem's energy.
RIDGE = 1e-9

_GAIN_DB = GAIN_PAN.parameter("gain_db")

#: Samples processed at once.
_BLOCK = 1 << 20

#: Longest part of a song that is used to look for delays and levels.
_LOOK_S = 60.0

#: Wet share a delay or reverb starts with: enough for a gradient, too little to be heard.
START_WET = 0.006

#: Level of a send whose reverb has not been identified, and the lowest a send starts at: below, the
#: gradient of a level in decibels is too small to bring it back.
START_SEND_DB = -34.0
QUIETEST_SEND_DB = -40.0

#: An effect on a return has no dry path; its level is set by the sends.
_FULLY_WET = {"mix": 1.0, "level_db": 0.0}

#: From this clarity on an echo is taken for real and starts at its own level, up to this wet share.
CLEAR_ECHO = 12.0
LARGEST_START_WET = 0.4

#: Segment of the estimate of an impulse response (samples, a power of two).
_ECHO_SEGMENT = 1 << 17

#: Where echoes are looked for.
ECHO_RANGE_MS = (30.0, 1000.0)


def least_squares_gains(song: WorkingSet) -> Array:
    """Non-negative gain of every stem in the left and right channel of the mix.

    Minimises ``|mix - sum(gain * stem)|^2`` per channel over the A-weighted signals.

    Returns
    -------
    array, shape=(stems, 2)
    """
    taps = a_weighting_taps(LOSS_RATE_HZ)
    count = len(song.stems)
    gram = np.zeros((2, count + 1, count + 1))
    for start in range(0, song.frames, _BLOCK):
        blocks = [a[:, start : start + _BLOCK] for a in (*song.stems, song.mix)]
        rows = each(lambda block: _weighted(block, taps), blocks)
        stacked = np.stack(rows, axis=1)
        gram += stacked @ stacked.transpose(0, 2, 1)
    gains = np.zeros((count, 2))
    for channel in range(2):
        gains[:, channel] = non_negative_gains(gram[channel, :count, :count], gram[channel, :count, count])
    return gains


def non_negative_gains(normal: Array, right: Array, *, ridge: float = RIDGE) -> Array:
    """Non-negative solution of normal equations; `ridge` is relative to the largest unknown's energy."""
    load = ridge * max(float(np.diag(normal).max()), 1e-30)
    root = scipy.linalg.cholesky(normal + load * np.eye(len(normal)))
    gains, _ = scipy.optimize.nnls(root, scipy.linalg.solve_triangular(root, right, trans=1))
    return np.asarray(gains)


def _weighted(audio: npt.NDArray[np.float32], taps: Array) -> Array:
    return np.asarray(scipy.signal.oaconvolve(audio.astype(np.float64), taps[None], mode="same", axes=-1))


def with_gains(graph: MixGraph, song: WorkingSet, gains: Array) -> MixGraph:
    """A graph with the gain/pan of every track set from least squares."""
    found = {}
    for stem_id, (left, right) in zip(song.stem_ids, gains, strict=True):
        gain, pan = gain_and_pan(float(left), float(right))
        gain_db = _GAIN_DB.limited(gain_to_db(gain))
        found[f"{stem_id}/gain_pan"] = {"gain_db": gain_db, "pan": pan}
    return with_values(graph, found)


def with_values(graph: MixGraph, values: Mapping[str, Mapping[str, float]]) -> MixGraph:
    """A copy of a graph with some parameters (and "mix") of some processors replaced."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node, Processor) and node.id in values:
            new = dict(values[node.id])
            mix = new.pop("mix", node.mix)
            node = Processor(id=node.id, type=node.type, parameters={**node.parameters, **new}, mix=mix, law=node.law)
        nodes.append(node)
    return graph.model_copy(update={"nodes": nodes})


def with_start_values(
    graph: MixGraph, song: WorkingSet, gains: Array, *, echoes: Mapping[str, Sequence[Echo]] | None = None
) -> MixGraph:
    """A console at its start: gains from least squares, everything else present but next to inaudible.

    Dynamics thresholds are put where the channel's level is, delay taps where the mix holds echoes
    (`echoes` by channel, where they are known already).
    """
    frames = min(song.frames, int(_LOOK_S * LOSS_RATE_HZ))
    signals = _channel_signals(graph, song, gains, frames)
    residual = song.mix[:, :frames].mean(axis=0, dtype=np.float64)
    residual -= signals[graph.master.id].mean(axis=0)
    values: dict[str, dict[str, float]] = {}
    wet = always_wet(graph)
    for channel in graph.channels():
        signal = signals[channel.id]
        level_db = _levels_db(signal)
        for node in graph.chain(channel.id):
            if node.id in wet:
                values[node.id] = (
                    {**_START["reverb"](level_db), **_FULLY_WET} if node.type == "reverb" else {"mix": 1.0}
                )
            elif node.type == "delay":
                faded = _faded(signal, channel.id, gains, song)
                known = (echoes or {}).get(channel.id)
                values[node.id] = _delay_start(known or find_echoes(faded, residual, count=DELAY_TAPS))
            elif node.type == "limiter":
                # Where it limited, no sample of the mix is louder; where it did not, it has nothing to do there.
                values[node.id] = {"ceiling_db": _peak_db(song)}
            else:
                values[node.id] = _START[node.type](level_db) if node.type in _START else {}
    return with_send_levels(with_values(with_gains(graph, song, gains), values), {})


def with_send_levels(graph: MixGraph, levels_db: Mapping[tuple[str, str], float]) -> MixGraph:
    """A copy with sends at these levels, by channel and bus; `START_SEND_DB` where none is given."""
    ends = {(send.source, send.target): key for key, send in graph.all_sends().items()}
    edges = [
        edge
        if edge.send_db is None
        else edge.model_copy(update={"send_db": levels_db.get(ends[edge.source, edge.target], START_SEND_DB)})
        for edge in graph.edges
    ]
    return graph.rebuilt(graph.nodes, edges)


def _channel_signals(graph: MixGraph, song: WorkingSet, gains: Array, frames: int) -> dict[str, Array]:
    """Input of every channel when only the least-squares gains are applied."""
    signals: dict[str, Array] = {}
    total = np.zeros((2, frames))
    for stem_id, stem, gain in zip(song.stem_ids, song.stems, gains, strict=True):
        dry = stem[:, :frames].astype(np.float64)
        signals[stem_id] = dry
        scaled = dry * gain[:, None]
        parent = graph.parent(stem_id)
        if parent is not None and parent.id != graph.master.id:
            signals[parent.id] = signals.get(parent.id, 0.0) + scaled
        total += scaled
    signals[graph.master.id] = total
    for (channel_id, bus_id), _ in graph.all_sends().items():
        fed = signals[channel_id]
        if channel_id in song.stem_ids:
            fed = fed * gains[song.stem_ids.index(channel_id)][:, None]
        signals[bus_id] = signals.get(bus_id, 0.0) + fed
    return signals


def _peak_db(song: WorkingSet) -> float:
    """Peak of the mix in the range of a limiter's ceiling."""
    ceiling_db = spec_of("limiter").parameter("ceiling_db")
    peak = max((float(np.abs(song.mix[:, i : i + _BLOCK]).max()) for i in range(0, song.frames, _BLOCK)), default=0.0)
    return ceiling_db.limited(gain_to_db(peak))


def share_db(count: int) -> float:
    """By how much each of several incoherent sources is softer than all of them together (dB)."""
    return 10.0 * math.log10(count)


def _faded(signal: Array, channel_id: str, gains: Array, song: WorkingSet) -> Array:
    """A channel in mono at the level at which it is in the mix."""
    if channel_id in song.stem_ids:
        signal = signal * gains[song.stem_ids.index(channel_id)][:, None]
    return np.asarray(signal.mean(axis=0))


def _levels_db(signal: Array) -> Array:
    """Detector level while the channel plays (within 50 dB of its loudest moment)."""
    reference = {**spec_of("compressor").defaults()}
    level = detector_level_db(signal, reference, sample_rate_hz=LOSS_RATE_HZ)[0, :: LOSS_RATE_HZ // 200]
    return np.asarray(level[level > level.max() - 50.0])


def _compressor_start(level_db: Array) -> dict[str, float]:
    """Just at work, and by its make-up as loud as without it: the faders are right already."""
    threshold = float(np.clip(np.percentile(level_db, 75) - 3.0, -55.0, -3.0))
    values = {"threshold_db": threshold, "ratio": 1.15}
    knee_db = spec_of("compressor").defaults()["knee_db"]
    reduction_db = compressor_gain_db(level_db, **values, knee_db=knee_db, xp=np)
    power = db_to_gain(level_db) ** 2
    return {**values, "makeup_db": -float(np.average(reduction_db, weights=power + 1e-12 * power.max() + 1e-30))}


def _gate_start(level_db: Array) -> dict[str, float]:
    threshold = float(np.clip(np.percentile(level_db, 10), -75.0, -10.0))
    return {"threshold_db": threshold, "ratio": 1.05, "range_db": 40.0}


_START: dict[str, Callable[[Array], dict[str, float]]] = {
    "eq": lambda level_db: {"highpass_hz": 20.0, "lowpass_hz": 20000.0},
    "compressor": _compressor_start,
    "gate": _gate_start,
    "reverb": lambda level_db: {"level_db": 6.0, "mix": START_WET, "low_cut_hz": 80.0, "high_cut_hz": 12000.0},
}


def are_clear(echoes: Sequence[Echo]) -> bool:
    """Whether any of these echoes is a real one."""
    return any(e.clarity >= CLEAR_ECHO for e in echoes)


def _delay_start(found: Sequence[Echo]) -> dict[str, float]:
    clear = [e.gain for e in found if e.clarity >= CLEAR_ECHO]
    # A clear echo starts at its own level, the strongest tap at 0 dB; otherwise all is next to silent.
    mix = min(max(clear, default=START_WET), LARGEST_START_WET)
    values = {"mix": mix}
    for tap, echo in enumerate(found, start=1):
        level_db = 20.0 * float(np.log10(max(echo.gain / mix, 1e-9))) if echo.clarity >= CLEAR_ECHO else -12.0
        values |= {f"tap{tap}_time_ms": echo.time_ms, f"tap{tap}_level_db": float(np.clip(level_db, -30.0, 3.0))}
        values |= {f"tap{tap}_low_cut_hz": 40.0, f"tap{tap}_high_cut_hz": 12000.0}
    return values


@dataclass(frozen=True)
class Echo:
    """A lag at which a channel seems to be repeated in the mix.

    Attributes
    ----------
    time_ms : float
    gain : float
        Linear level of the repetition relative to the channel.
    clarity : float
        Its height in standard deviations of all lags; noise stays below about 8.
    """

    time_ms: float
    gain: float
    clarity: float


def find_echoes(signal: Array, residual: Array, *, count: int) -> list[Echo]:
    """Where and how loudly the rest of the mix repeats a channel.

    The impulse response from the channel to the residual is estimated by regularised division of
    cross and power spectra averaged over overlapping segments; its largest peaks in
    `ECHO_RANGE_MS`, at least 10 ms apart, are the echoes.

    Parameters
    ----------
    signal, residual : array, shape=(n,)
        The channel, and the mix less what is already explained, at `metrics.LOSS_RATE_HZ`.

    Returns
    -------
    list of Echo
        `count` of them, earliest first; where there are fewer peaks, evenly spread ones of clarity 0.
    """
    response = _response(signal, residual)
    low, high = (int(t * LOSS_RATE_HZ / 1000) for t in ECHO_RANGE_MS)
    window = response[low:high]
    spread = float(window.std())
    peaks, _ = scipy.signal.find_peaks(window, distance=LOSS_RATE_HZ // 100, height=max(spread, 1e-12))
    best = sorted(peaks[np.argsort(window[peaks])[::-1][:count]])
    echoes = [Echo(1000.0 * (p + low) / LOSS_RATE_HZ, float(window[p]), float(window[p]) / spread) for p in best]
    return [*echoes, *(Echo(120.0 * n, 0.0, 0.0) for n in range(len(echoes) + 1, count + 1))]


def _response(signal: Array, residual: Array) -> Array:
    """Impulse response from one signal to another, shape (segment,)."""
    frames = min(len(signal), _ECHO_SEGMENT)
    window = np.hanning(frames)
    bias = float(window.sum() / max((window**2).sum(), 1e-12))
    cross = np.zeros(_ECHO_SEGMENT + 1, dtype=np.complex128)
    power = np.zeros(_ECHO_SEGMENT + 1)
    for start in range(0, len(signal) - frames + 1, max(frames // 2, 1)):
        # The window fades the channel only: an echo of its end must still be seen.
        source = scipy.fft.rfft(signal[start : start + frames] * window, 2 * _ECHO_SEGMENT)
        answer = scipy.fft.rfft(residual[start : start + 2 * frames], 2 * _ECHO_SEGMENT)
        cross += answer * np.conj(source)
        power += np.abs(source) ** 2 * bias
    return np.asarray(scipy.fft.irfft(cross / (power + 0.01 * power.mean() + 1e-20))[:_ECHO_SEGMENT])
