"""One shared reverb and how much every track sends to it, from the energy that dry channels leave unexplained.

Reverberation is noise to a linear fit but not in energy: in every octave and frame it is the
stems' earlier energies, decayed. For given decay times and pre-delay that is a non-negative
least-squares problem in the tracks' send levels; times are found by trying.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

from ..metrics import LOSS_RATE_HZ
from ..processors.equations import LOG_60_DB, REVERB_CROSSOVERS_HZ
from ..processors.specs import DELAY_TAPS, REVERB, SEND_LEVEL
from .identify_frames import FRAME_RATE_HZ, ChannelSettings, filtered_blocks
from .identify_linear import Array, Audio32, LinearResponses, gains_at
from .start import Echo, find_echoes, non_negative_gains
from .workers import each
from .working_set import WorkingSet

#: Frames of the energies (samples) and the edges of their bands (Hz).
_FRAME = 600
_FRAME_S = _FRAME / LOSS_RATE_HZ
_EDGES_HZ = (60.0, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 7000.0, 12000.0)

_BANDS = len(_EDGES_HZ) - 1

#: Decays and pre-delays that are tried.
_DECAYS_S = tuple(float(x) for x in np.geomspace(0.2, 5.0, 18))
_PRE_DELAYS = (0, 1, 2, 3, 5, 8)
_PRE_DELAY_SHARE = 0.97

#: Longest part of a song in which echoes are looked for.
_LOOK_S = 60.0

#: A reverb is taken for real from this gain in log-likelihood per frame and band on.
_REAL = 0.02

#: Rounds in which the weights of the energies follow the model.
_REWEIGHTED = 3


@dataclass(frozen=True)
class ReverbFit:
    """A shared reverb.

    Attributes
    ----------
    parameters : dict of str to float
        Complete reverb parameters; the level is 0 dB.
    sends_db : tuple of float
        Level of every stem's send (behind its fader); the lowest of the range where there is none.
    evidence : float
        Gain in log-likelihood per band and frame over a model without reverb.
    """

    parameters: dict[str, float]
    sends_db: tuple[float, ...]
    evidence: float

    @property
    def is_real(self) -> bool:
        """Whether there is a reverb at all, and anything is sent to it."""
        return self.evidence > _REAL and max(self.sends_db) > SEND_LEVEL.minimum


@dataclass(frozen=True)
class Rest:
    """What dry channels leave unexplained, beside these channels.

    Attributes
    ----------
    residual, sends, dry : array
        Energies by frame and band, shapes (frames, bands) and (stems, frames, bands): of the
        residual, of the stems' mids behind their faders, and of both their channels.
    side_to_mid : array, shape=(bands,)
        Energy of the residual's side relative to its mid.
    signals : list of array, shape=(samples,)
        The stems in mono, whitened like the residual.
    signal : array, shape=(samples,)
        The residual in mono.
    """

    residual: Array
    sends: Array
    dry: Array
    side_to_mid: Array
    signals: list[Audio32]
    signal: Audio32


def rest_of(
    song: WorkingSet,
    settings: Sequence[ChannelSettings],
    gains: Array,
    responses: LinearResponses,
    *,
    sample_rate_hz: float,
) -> Rest:
    """Subtract what is known of the mix from it.

    Parameters
    ----------
    settings : sequence of ChannelSettings
        EQ, gain and pan of every stem.
    gains : array, shape=(frames, stems)
        Gain over time of every stem, at `identify_frames.FRAME_RATE_HZ`.
    responses : LinearResponses
        Tells the whitening the spectrum of the mix.
    sample_rate_hz : float > 0
        Rate of the session, at which the EQs run.
    """
    window = scipy.signal.get_window("hann", 2 * _FRAME).astype(np.float32)
    edges = np.searchsorted(scipy.fft.rfftfreq(2 * _FRAME, 1.0 / LOSS_RATE_HZ), _EDGES_HZ).astype(np.intp)
    residuals, sends, dries, widths = [], [], [], np.zeros((2, _BANDS))
    looked = min(song.frames, int(_LOOK_S * LOSS_RATE_HZ))
    mono = np.zeros((len(settings) + 1, looked), dtype=np.float32)
    for start, signals, _ in filtered_blocks(song, settings, responses, sample_rate_hz=sample_rate_hz):
        stems, rest = signals[:-1], signals[-1]
        for row, stem in enumerate(stems):
            stem *= gains_at(gains[:, row], start, stem.shape[1], FRAME_RATE_HZ)
        rest -= stems.sum(axis=0)
        width = max(min(signals.shape[2], looked - start), 0)
        mono[:, start : start + width] = 0.5 * signals[:, :, :width].sum(axis=1)
        sides = np.stack([0.5 * (rest[0] + rest[1]), 0.5 * (rest[0] - rest[1])])
        mids, both = 0.5 * stems.sum(axis=1), stems.reshape(-1, stems.shape[-1])
        powers = [_power(x, window, edges) for x in (rest, mids, both, sides)]
        residuals.append(powers[0].sum(axis=0))
        sends.append(powers[1])
        dries.append(powers[2].reshape(len(stems), 2, *powers[2].shape[1:]).sum(axis=1))
        widths += powers[3].sum(axis=1)
    return Rest(
        np.concatenate(residuals),
        np.concatenate(sends, axis=1),
        np.concatenate(dries, axis=1),
        widths[1] / np.maximum(widths[0], 1e-30),
        list(mono[:-1]),
        mono[-1],
    )


def echoes_from_residual(rest: Rest) -> list[list[Echo]]:
    """Repetitions of every stem in the residual, as `start.find_echoes` finds them."""
    residual = rest.signal.astype(np.float64)
    return each(lambda s: find_echoes(s.astype(np.float64), residual, count=DELAY_TAPS), rest.signals)


def reverb_from_residual(rest: Rest) -> ReverbFit:
    """Find decay, damping, pre-delay, cuts, width and the sends of one reverb."""
    bands = each(lambda b: _Band(rest.residual[:, b], rest.sends[:, :, b], rest.dry[:, :, b]).tried(), range(_BANDS))
    merits = {lag: sum(band.found[lag].merit for band in bands) for lag in _PRE_DELAYS}
    best = max(merits.values())
    if best <= 0.0:
        return _no_reverb(rest)
    # Early energy may be the dry channels' own: a longer pre-delay must clearly be better.
    pre_delay = min(lag for lag, merit in merits.items() if merit >= _PRE_DELAY_SHARE * best)
    found = [band.found[pre_delay] for band in bands]
    heard = [b for b, f in enumerate(found) if f.merit > 0.0 and f.sends.sum() > 0.0]
    evidence = sum(f.merit for f in found) / _BANDS
    if not heard:
        return _no_reverb(rest)
    return _described(found, heard, rest, pre_delay, evidence)


def _no_reverb(rest: Rest) -> ReverbFit:
    return ReverbFit(REVERB.defaults(), (SEND_LEVEL.minimum,) * len(rest.sends), 0.0)


# ------------------------------------------------------------------------------- energies


def _power(signals: npt.NDArray[np.float32], window: npt.NDArray[np.float32], edges: npt.NDArray[np.intp]) -> Array:
    """Energies of frames in bands, shape (signals, frames, bands); a block's last half frame is left out."""
    padded = np.pad(signals, ((0, 0), (_FRAME // 2, _FRAME // 2)))
    framed = np.lib.stride_tricks.sliding_window_view(padded, 2 * _FRAME, axis=-1)[:, ::_FRAME]
    spectra = np.abs(scipy.fft.rfft(framed * window, axis=-1)) ** 2
    return np.asarray(np.add.reduceat(spectra, edges, axis=-1)[..., :-1], dtype=np.float64)


# ------------------------------------------------------------------------------- one band


@dataclass(frozen=True)
class _Found:
    """The best decay of a band.

    `merit` is the gain in log-likelihood per frame; `sends` are energies of the reverberation
    (both channels) relative to those of the stems' mids.
    """

    merit: float
    decay_s: float
    sends: Array


class _Band:
    """Energies of one band."""

    def __init__(self, residual: Array, sends: Array, dry: Array) -> None:
        scale = max(float(residual.mean()), 1e-30)
        self.residual, self.sends, self.dry = residual / scale, sends / scale, dry / scale
        self.floor = 1e-3
        self.base = self._fit(self.dry.T)[1]
        #: The decay that fits best, by frames of pre-delay.
        self.found: dict[int, _Found] = {}

    def tried(self) -> _Band:
        """Itself, once all pre-delays have been tried."""
        for lag in _PRE_DELAYS:
            self.found[lag] = max((self._at(decay_s, lag) for decay_s in _DECAYS_S), key=lambda f: f.merit)
        return self

    def _at(self, decay_s: float, lag: int) -> _Found:
        step = math.exp(-2.0 * LOG_60_DB * _FRAME_S / decay_s)
        wet = scipy.signal.lfilter([0.0, 1.0 - step], [1.0, -step], self.sends, axis=-1)
        if lag:
            wet = np.pad(wet, ((0, 0), (lag, 0)))[:, :-lag]
        values, cost = self._fit(np.concatenate([wet, self.dry]).T)
        return _Found(self.base - cost, decay_s, values[: len(self.sends)])

    def _fit(self, columns: Array) -> tuple[Array, float]:
        """Non-negative weights of columns, and the cost of a gamma distribution about their sum."""
        weights = 1.0 / (self.residual + 0.1)
        values = np.zeros(columns.shape[1])
        for _ in range(_REWEIGHTED):
            weighted = columns * weights[:, None]
            values = non_negative_gains(weighted.T @ weighted, weighted.T @ (self.residual * weights))
            model = columns @ values + self.floor
            weights = 1.0 / model
        return values, float(np.mean(np.log(model) + self.residual / model))


# ------------------------------------------------------------------------------- parameters


def _described(
    found: Sequence[_Found], heard: Sequence[int], energies: Rest, pre_delay: int, evidence: float
) -> ReverbFit:
    centres_hz = np.sqrt(np.array(_EDGES_HZ[:-1]) * np.array(_EDGES_HZ[1:]))
    weight = np.array([max(f.merit, 0.0) for f in found])
    decays = _decays(centres_hz, np.array([f.decay_s for f in found]), weight)
    width = float(
        np.clip(np.sqrt(np.average(energies.side_to_mid[list(heard)], weights=weight[list(heard)])), 0.0, 1.0)
    )
    # Energy of a send relative to its dry mid, both channels of the return together.
    by_band = np.array([f.sends for f in found])
    levels, shape = _levels_and_shape(by_band, weight[:, None] * energies.sends.mean(axis=1).T)
    rt = np.interp(
        np.log(centres_hz), np.log([125.0, 1000.0, 8000.0]), [decays[0] * decays[1], decays[0], decays[0] * decays[2]]
    )
    shape = shape / (rt / decays[0])
    low_cut_hz, high_cut_hz = _cuts(centres_hz, shape, weight)
    middle = (centres_hz > 400.0) & (centres_hz < 4500.0) & (weight > 0.0)
    level = (
        float(np.average(shape[middle], weights=weight[middle])) if middle.any() else float(shape[list(heard)].max())
    )
    energy = levels * level / (2.0 * (1.0 + width**2))
    sends_db = tuple(
        float(np.clip(10.0 * math.log10(max(e, 1e-12)), SEND_LEVEL.minimum, SEND_LEVEL.maximum)) for e in energy
    )
    parameters = {
        **REVERB.defaults(),
        "pre_delay_ms": 1000.0 * pre_delay * _FRAME_S,
        "decay_s": decays[0],
        "low_decay_ratio": decays[1],
        "high_decay_ratio": decays[2],
        "low_cut_hz": low_cut_hz,
        "high_cut_hz": high_cut_hz,
        "width": width,
        "level_db": 0.0,
    }
    limits = {p.name: p for p in REVERB.parameters}
    held = {n: limits[n].limited(v) for n, v in parameters.items()}
    return ReverbFit(REVERB.check(held), sends_db, evidence)


def _decays(centres_hz: Array, decays_s: Array, weight: Array) -> tuple[float, float, float]:
    """Decay of the mids and the ratios of lows and highs, as geometric means."""
    low, high = REVERB_CROSSOVERS_HZ

    def mean(inside: npt.NDArray[np.bool_]) -> float | None:
        weights = weight * inside
        return float(np.exp(np.average(np.log(decays_s), weights=weights))) if weights.sum() > 0.0 else None

    mids = mean((centres_hz > low) & (centres_hz < high)) or mean(np.ones(len(centres_hz), dtype=bool)) or 1.0
    lows, highs = mean(centres_hz < low), mean(centres_hz > high)
    default = REVERB.defaults()
    return (
        mids,
        lows / mids if lows else default["low_decay_ratio"],
        highs / mids if highs else default["high_decay_ratio"],
    )


def _levels_and_shape(by_band: Array, weight: Array) -> tuple[Array, Array]:
    """Split energies (bands, stems) into levels of the stems and one spectrum of the return.

    What a stem says about a band counts by the energy that it has there (`weight`, same shape).
    """
    levels, shape = np.ones(by_band.shape[1]), np.ones(by_band.shape[0])
    share = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-30)
    for _ in range(30):
        product = (weight * shape[:, None] * by_band).sum(axis=0)
        levels = product / np.maximum((weight * shape[:, None] ** 2).sum(axis=0), 1e-30)
        shape = (share * by_band * levels).sum(axis=1) / np.maximum((share * levels**2).sum(axis=1), 1e-30)
        shape /= max(float(shape.max()), 1e-30)
    return levels, shape


def _cuts(centres_hz: Array, shape: Array, weight: Array) -> tuple[float, float]:
    """Corner frequencies of second-order cuts that explain the return's spectrum; off where none does."""
    low_off, high_off = REVERB.parameter("low_cut_hz").off_at or 0.0, REVERB.parameter("high_cut_hz").off_at or 0.0
    lows = [low_off, *np.geomspace(40.0, 800.0, 14)]
    highs = [*np.geomspace(1500.0, 14000.0, 12), high_off]
    target = np.log(np.maximum(shape, 1e-6 * max(float(shape.max()), 1e-30)))
    best = (math.inf, low_off, high_off)
    for low_hz in lows:
        for high_hz in highs:
            ratio = (centres_hz / low_hz) ** 4
            curve = -np.log1p((centres_hz / high_hz) ** 4) * (high_hz != high_off)
            curve = curve + np.log(ratio / (1.0 + ratio)) * (low_hz != low_off)
            rest = np.clip(target - curve, -8.0, 8.0)
            spread = float(np.average((rest - np.average(rest, weights=weight)) ** 2, weights=weight))
            cost = spread + 0.05 * ((low_hz != low_off) + (high_hz != high_off))
            best = min(best, (cost, float(low_hz), float(high_hz)))
    return best[1], best[2]
