"""Spectrograms of mid and side as bounded arrays and small PNG files; axes and layout belong to the page.

The frequency axis is logarithmic. Each row holds the power inside a band of a twentieth of an
octave, so that a full-scale sine reads 0 dB and pink noise is flat, as on a mixing engineer's
analyser.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal
from PIL import Image

Levels = npt.NDArray[np.float32]

MAX_COLUMNS = 800
ROWS_PER_OCTAVE = 20
LOWEST_HZ = 20.0
HIGHEST_HZ = 20000.0

#: Silence, and anything below it, reads this (dB).
FLOOR_DB = -160.0

#: Span of the level scale (dB) below the loudest band of target and match.
RANGE_DB = 78.0

#: The error map ends at plus and minus this (dB).
ERROR_RANGE_DB = 12.0

#: Sequential and diverging maps (both from dark); readable with any colour vision.
LEVEL_MAP = "inferno"
ERROR_MAP = "berlin"

#: Length of an analysis window (s), rounded up to a power of two in samples: 5 Hz per bin.
_WINDOW_S = 0.17

#: Columns analysed at a time; it bounds the memory.
_BLOCK_COLUMNS = 32


@dataclass(frozen=True)
class Spectrogram:
    """Levels over time and frequency.

    Attributes
    ----------
    mid_db, side_db : array of float32, shape=(rows, columns)
        Band levels in dB, row 0 lowest; 0 dB is a full-scale sine.
    edges_hz : array, shape=(rows + 1,)
        Borders of the bands.
    duration_s : float
    """

    mid_db: Levels
    side_db: Levels
    edges_hz: npt.NDArray[np.float64]
    duration_s: float


def spectrogram(audio: npt.ArrayLike, *, sample_rate_hz: int) -> Spectrogram:
    """Band levels of mid ``(L + R) / 2`` and side ``(L - R) / 2``.

    Parameters
    ----------
    audio : array of float, shape=(2, n), n >= 1
    sample_rate_hz : int > 0

    Returns
    -------
    Spectrogram
        At most `MAX_COLUMNS` columns that share the duration evenly; every sample is covered.
    """
    signal = np.asarray(audio)
    frames = signal.shape[1]
    size = 2 ** math.ceil(math.log2(_WINDOW_S * sample_rate_hz))
    hop = size // 4
    columns = min(MAX_COLUMNS, max(1, math.ceil(frames / hop)))
    per_column = max(1, math.ceil(frames / columns / hop))
    edges_hz = band_edges_hz(sample_rate_hz)
    window = scipy.signal.get_window("hann", size).astype(np.float32)
    bands = _band_weights(edges_hz, size=size, sample_rate_hz=sample_rate_hz)
    # A sine of amplitude A has the peak A * sum(w) / 2 and is spread over the window's noise bandwidth.
    scale = 4.0 / (np.sum(window, dtype=np.float64) * np.sum(window.astype(np.float64) ** 2) * size / np.sum(window))
    levels = np.empty((2, len(edges_hz) - 1, columns), dtype=np.float32)
    for first in range(0, columns, _BLOCK_COLUMNS):
        last = min(first + _BLOCK_COLUMNS, columns)
        centres = (np.arange(first * per_column, last * per_column) + 0.5) * (frames / (columns * per_column))
        starts = np.floor(centres).astype(np.int64) - size // 2
        for channel, pieces in enumerate(_mid_and_side(signal, starts, size)):
            power = np.abs(scipy.fft.rfft(pieces * window, axis=-1)) ** 2
            mean = power.reshape(last - first, per_column, -1).mean(axis=1)
            levels[channel, :, first:last] = _decibels(bands @ mean.T * scale)
    return Spectrogram(levels[0], levels[1], edges_hz, frames / sample_rate_hz)


def _mid_and_side(signal: npt.NDArray[np.floating], starts: npt.NDArray[np.int64], size: int) -> Iterator[Levels]:
    """Windows of mid, then of side, that begin at `starts`; silence beyond the ends of the signal."""
    low, high = int(starts[0]), int(starts[-1]) + size
    inside = signal[:, max(low, 0) : max(high, 0)].astype(np.float32)
    inside = np.pad(inside, ((0, 0), (max(-low, 0), 0)))
    stretch = np.pad(inside, ((0, 0), (0, max(high - low - inside.shape[1], 0))))
    for sign in (1.0, -1.0):
        one = np.float32(0.5) * (stretch[0] + np.float32(sign) * stretch[1])
        yield np.lib.stride_tricks.sliding_window_view(one, size)[starts - low]


def band_edges_hz(sample_rate_hz: int) -> npt.NDArray[np.float64]:
    """Borders of the rows, from `LOWEST_HZ` to `HIGHEST_HZ` or the highest frequency the rate holds."""
    top = min(HIGHEST_HZ, 0.5 * sample_rate_hz)
    rows = round(ROWS_PER_OCTAVE * math.log2(top / LOWEST_HZ))
    return np.geomspace(LOWEST_HZ, top, rows + 1)


def _band_weights(edges_hz: npt.NDArray[np.float64], *, size: int, sample_rate_hz: int) -> Levels:
    """Share of every bin's power that falls into every band, shape=(rows, bins).

    A bin stands for the stretch of one bin around its frequency, so bands narrower than a bin
    share it without gaps.
    """
    width = sample_rate_hz / size
    lower = (np.arange(size // 2 + 1) - 0.5) * width
    overlap = np.minimum(edges_hz[1:, None], lower + width) - np.maximum(edges_hz[:-1, None], lower)
    return np.asarray(np.maximum(overlap, 0.0) / width, dtype=np.float32)


def _decibels(power: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return np.asarray(10.0 * np.log10(np.maximum(power, 10.0 ** (FLOOR_DB / 10.0))))


def level_range_db(*spectrograms: Spectrogram) -> tuple[float, float]:
    """Bottom and top of one scale for all the given pictures, on multiples of 6 dB."""
    top = max(float(np.max(levels)) for s in spectrograms for levels in (s.mid_db, s.side_db))
    top = 0.0 if top <= FLOOR_DB else 6.0 * math.ceil(top / 6.0)
    return top - RANGE_DB, top


def error_db(target_db: Levels, match_db: Levels, *, floor_db: float) -> Levels:
    """Match minus target in dB; what both hold below `floor_db` counts as equal."""
    floor = np.float32(floor_db)
    return np.asarray(np.maximum(match_db, floor) - np.maximum(target_db, floor))


def png(values: Levels, *, low: float, high: float, colour_map: str) -> bytes:
    """A PNG with one pixel per value, row 0 at the bottom.

    Parameters
    ----------
    values : array, shape=(rows, columns)
    low, high : float
        Values at the ends of the colour map; values beyond are held there.
    colour_map : str
        Name of a matplotlib colour map.
    """
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    # 8-bit indices into a palette: a third of the size of true colour, and nothing is lost.
    image = Image.fromarray(np.round(share[::-1] * 255.0).astype(np.uint8))
    image.putpalette(_palette(colour_map).tobytes())
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _palette(colour_map: str) -> npt.NDArray[np.uint8]:
    colours = mpl.colormaps[colour_map](np.linspace(0.0, 1.0, 256))
    return np.round(np.asarray(colours)[:, :3] * 255.0).astype(np.uint8)


def colour_stops(colour_map: str, *, count: int = 13) -> list[str]:
    """Evenly spaced colours of a map as "#rrggbb", lowest value first."""
    palette = _palette(colour_map)
    return ["#" + bytes(palette[i]).hex() for i in np.linspace(0, 255, count).round().astype(int)]
