"""Chooses the part of a song that stands for the whole; nothing is cut here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..features import BARK_EDGES_HZ, Signal, band_powers

#: Excerpts begin at multiples of this (s).
STEP_S = 0.5

#: What is further below the strongest band of the song than this (dB) is not told apart.
_FLOOR_DB = 50.0


def representative_start(audio: Signal, *, length_s: float, sample_rate_hz: int) -> int:
    """First frame of the excerpt whose spectrum and image are nearest to those of the song.

    Compared are the mean levels of mid and side in the critical bands (dB), by the root of the mean
    square of their differences; the earliest of equals wins.

    Parameters
    ----------
    audio : array, shape=(2, n)
    length_s : float
        Length of the excerpt; a song that is not longer is taken from its start.
    sample_rate_hz : int
    """
    step, frames = round(STEP_S * sample_rate_hz), audio.shape[-1]
    length = round(length_s / STEP_S)
    if frames <= round(length_s * sample_rate_hz) or frames // step <= length:
        return 0
    powers = np.stack([_powers(audio[:, i * step : (i + 1) * step], sample_rate_hz) for i in range(frames // step)])
    sums = np.cumsum(np.concatenate([np.zeros((1, powers.shape[1])), powers]), axis=0)
    windows = (sums[length:] - sums[:-length]) / length
    song = powers.mean(axis=0)
    floor = song.max() * 10.0 ** (-_FLOOR_DB / 10.0)
    if floor <= 0.0:
        return 0
    away_db = 10.0 * np.log10(np.maximum(windows, floor) / np.maximum(song, floor))
    return int(np.argmin(np.sqrt(np.mean(np.square(away_db), axis=1)))) * step


def _powers(part: Signal, sample_rate_hz: int) -> npt.NDArray[np.float64]:
    left, right = np.asarray(part, dtype=np.float64)
    image = np.stack([left + right, left - right])
    return band_powers(image, BARK_EDGES_HZ, sample_rate_hz=sample_rate_hz).ravel()
