"""What a song says about gains that change over time: sums over short frames, and the side-chain signals.

If every stem, filtered and panned as in the mix, is multiplied by a gain that is constant within a
frame, then the error energy of the whole mix is a quadratic form of those gains. Its coefficients,
one small matrix per frame, replace the audio: gain curves of any kind are then fitted to them.
Signals are whitened first (filtered so that the mix has as much energy in every band), else the bass
alone would decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

from ..metrics import LOSS_RATE_HZ
from ..processors.equations import channel_gains, time_constant
from ..processors.reference import eq_sections
from .identify_linear import HIGHEST_HZ, LOWEST_HZ, Array, Audio32, LinearResponses, gains_at
from .workers import each
from .working_set import WorkingSet

#: Length of a frame (samples) and how many there are in a second.
FRAME = 150
FRAME_RATE_HZ = LOSS_RATE_HZ / FRAME

#: Samples filtered at once, with room for a filter's tail before them and for the whitening's before and after.
_BLOCK, _BEFORE, _AFTER = FRAME * 192, 3000, 968

#: Whitening stops this far below the loudest band.
_WHITEN_FLOOR_DB = -60.0

#: Frames count by the inverse of the predicted energy around them (s), but not of less than this share of its mean.
_WEIGHT_SPAN_S, _WEIGHT_FLOOR = 0.1, 0.03


@dataclass(frozen=True)
class ChannelSettings:
    """EQ, gain and pan of one stem as far as they are known."""

    eq: Mapping[str, float]
    gain_pan: Mapping[str, float]


@dataclass
class FrameSums:
    """Coefficients of the error energy ``power - 2 g.cross + g.gram.g`` of every frame.

    Attributes
    ----------
    gram : array, shape=(frames, stems, stems)
    cross : array, shape=(frames, stems)
    power : array, shape=(frames,)
    weights : array, shape=(frames,)
        How much a frame counts (mean of weighted power about 1).
    sidechains : list of array, shape=(samples,)
        Larger magnitude of the two channels of every stem behind its EQ, before its fader.
    """

    gram: npt.NDArray[np.float32]
    cross: npt.NDArray[np.float32]
    power: npt.NDArray[np.float32]
    weights: Array
    sidechains: list[Audio32]

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.power)

    def unit(self, members: Sequence[int], gains: Array) -> tuple[Array, Array]:
        """Coefficients for one common gain of some stems while all others stay as they are.

        Parameters
        ----------
        members : sequence of int
        gains : array, shape=(frames, stems)
            Present gains of all stems; those of the members multiply the common gain.

        Returns
        -------
        quadratic, linear : array, shape=(frames,)
            Weighted: the error is ``const + quadratic * g^2 - 2 * linear * g``.
        """
        rows = list(members)
        others = [i for i in range(self.gram.shape[1]) if i not in set(rows)]
        inside = gains[:, rows]
        quadratic = np.einsum("ni,nij,nj->n", inside, self.gram[:, rows][:, :, rows], inside)
        linear = (inside * self.cross[:, rows]).sum(axis=1)
        if others:
            linear = linear - np.einsum("ni,nij,nj->n", inside, self.gram[:, rows][:, :, others], gains[:, others])
        return self.weights * quadratic, self.weights * linear

    @property
    def energy(self) -> float:
        """Weighted energy of the mix in all frames."""
        return float((self.weights * self.power).sum())

    def error(self, gains: Array) -> float:
        """Weighted error energy of all frames."""
        explained = 2.0 * (gains * self.cross).sum(axis=1) - np.einsum("ni,nij,nj->n", gains, self.gram, gains)
        return float((self.weights * (self.power - explained)).sum())


def frame_sums(
    song: WorkingSet,
    settings: Sequence[ChannelSettings],
    responses: LinearResponses,
    *,
    sample_rate_hz: float,
) -> FrameSums:
    """Filter the stems as in the mix and sum up their products frame by frame.

    Parameters
    ----------
    settings : sequence of ChannelSettings
        One per stem.
    responses : LinearResponses
        Of the same song; tells the whitening the mix's spectrum.
    sample_rate_hz : float > 0
        Rate of the session, at which the EQs run.
    """
    count, frames = len(song.stems), -(-song.frames // FRAME)
    gram = np.zeros((frames, count, count), dtype=np.float32)
    cross = np.zeros((frames, count), dtype=np.float32)
    power = np.zeros(frames, dtype=np.float32)
    sidechains = [np.zeros(frames * FRAME, dtype=np.float32) for _ in range(count)]
    for start, signals, magnitudes in filtered_blocks(song, settings, responses, sample_rate_hz=sample_rate_hz):
        width = min(_BLOCK, frames * FRAME - start)
        # (stems + 1, 2, samples) -> (frames, stems + 1, 2 * FRAME)
        pieces = signals[:, :, :width].reshape(count + 1, 2, width // FRAME, FRAME)
        by_frame = np.ascontiguousarray(pieces.transpose(2, 0, 1, 3)).reshape(width // FRAME, count + 1, 2 * FRAME)
        products = by_frame @ by_frame.transpose(0, 2, 1)
        rows = slice(start // FRAME, (start + width) // FRAME)
        gram[rows], cross[rows], power[rows] = products[:, :-1, :-1], products[:, :-1, -1], products[:, -1, -1]
        for sidechain, magnitude in zip(sidechains, magnitudes, strict=True):
            sidechain[start : start + width] = magnitude[:width]
    return FrameSums(gram, cross, power, _weights(gram), sidechains)


def _weights(gram: npt.NDArray[np.float32]) -> Array:
    span = max(int(_WEIGHT_SPAN_S * FRAME_RATE_HZ), 1)
    predicted = np.einsum("nii->n", gram).astype(np.float64)
    smooth = np.convolve(predicted, np.full(span, 1.0 / span), mode="same")
    floor = _WEIGHT_FLOOR * float(smooth.mean()) + 1e-20
    return np.asarray(1.0 / (smooth + floor))


def filtered_blocks(
    song: WorkingSet, settings: Sequence[ChannelSettings], responses: LinearResponses, *, sample_rate_hz: float
) -> Iterator[tuple[int, Audio32, list[Audio32]]]:
    """The song as its channels make it, block by block.

    Yields
    ------
    start : int
        First sample of the block.
    signals : array, shape=(stems + 1, 2, samples)
        Whitened stems behind EQ and fader and, last, the whitened mix; silent beyond the end.
    magnitudes : list of array, shape=(samples,)
        Larger magnitude of the two channels of every stem behind its EQ, not whitened.
    """
    length = _BLOCK + _BEFORE + _AFTER
    frequency_hz = scipy.fft.rfftfreq(length, 1.0 / LOSS_RATE_HZ)
    whitening = _whitening(responses, frequency_hz)
    curves = [_eq_response(s.eq, frequency_hz, sample_rate_hz) for s in settings]
    faders = [channel_gains(gain_db=s.gain_pan["gain_db"], pan=s.gain_pan["pan"], mix=1.0) for s in settings]
    out = slice(_BEFORE, _BEFORE + _BLOCK)
    for start in range(0, song.frames, _BLOCK):
        signals = np.zeros((len(settings) + 1, 2, _BLOCK), dtype=np.float32)

        def render(row: int, start: int = start, signals: Audio32 = signals) -> Audio32:
            spectrum = _spectrum(_piece(song.stems[row], start - _BEFORE, length)) * curves[row]
            white = scipy.fft.irfft(spectrum * whitening, length, axis=-1)[:, out]
            signals[row] = white * np.array(faders[row], dtype=np.float32)[:, None]
            filtered: Audio32 = scipy.fft.irfft(spectrum, length, axis=-1)[:, out]
            return np.asarray(np.abs(filtered).max(axis=0))

        magnitudes = each(render, range(len(settings)))
        spectrum = scipy.fft.rfft(_piece(song.mix, start - _BEFORE, length), axis=-1)
        signals[-1] = scipy.fft.irfft(spectrum * whitening, length, axis=-1)[:, out]
        yield start, signals, magnitudes


def _spectrum(piece: Audio32) -> npt.NDArray[np.complex64]:
    """Spectra of both channels, or of one where they are the same."""
    mono = np.array_equal(piece[0], piece[1])
    return np.asarray(scipy.fft.rfft(piece[:1] if mono else piece, axis=-1))


def _piece(audio: Audio32, start: int, frames: int) -> Audio32:
    piece = np.asarray(audio[:, max(start, 0) : max(start + frames, 0)])
    before = max(-start, 0)
    return np.pad(piece, ((0, 0), (before, frames - before - piece.shape[1])))


def _eq_response(eq: Mapping[str, float], frequency_hz: Array, sample_rate_hz: float) -> npt.NDArray[np.complex64]:
    sections = eq_sections(eq, sample_rate_hz=sample_rate_hz)
    if not len(sections):
        return np.ones(len(frequency_hz), dtype=np.complex64)
    # A session's rate may be below that of the search; nothing is known beyond its half.
    place = np.minimum(2.0 * np.pi * frequency_hz / sample_rate_hz, np.pi)
    return np.asarray(scipy.signal.sosfreqz(sections, worN=place)[1], dtype=np.complex64)


def _whitening(responses: LinearResponses, frequency_hz: Array) -> npt.NDArray[np.float32]:
    """Zero-phase magnitude that gives every octave of the mix the same energy; nothing outside the bands."""
    bands_hz = responses.frequency_hz
    octaves = np.gradient(np.log2(bands_hz))
    energy = responses.mix_energy.sum(axis=0)
    smooth = scipy.signal.convolve(energy, np.hanning(9)[1:-1] / np.hanning(9).sum(), mode="same")
    width = scipy.signal.convolve(octaves, np.hanning(9)[1:-1] / np.hanning(9).sum(), mode="same")
    per_octave = smooth / width
    floor = per_octave.max() * 10.0 ** (_WHITEN_FLOOR_DB / 10.0) + 1e-20
    level = np.interp(frequency_hz, bands_hz, 1.0 / np.sqrt(per_octave + floor))
    edge = np.clip(frequency_hz / LOWEST_HZ - 0.5, 0.0, 1.0) * np.clip(
        2.0 * (HIGHEST_HZ * 1.02 - frequency_hz) / 1000.0, 0.0, 1.0
    )
    return np.asarray(level * edge / level.max(), dtype=np.float32)


# ------------------------------------------------------------------------------- side-chains


@numba.njit(cache=True, nogil=True)
def _followed(sidechain: Audio32, k_attack: float, k_release: float, frame: int) -> Array:
    """Mean over every frame of the envelope of `reference.detector_level_db`."""
    frames = len(sidechain) // frame
    levels = np.empty(frames)
    state = 0.0
    for n in range(frames):
        total = 0.0
        for i in range(n * frame, (n + 1) * frame):
            step = sidechain[i] - state
            state += (k_attack if step > 0.0 else k_release) * step
            total += state
        levels[n] = total / frame
    return levels


def frame_levels_db(sidechain: Audio32, *, attack_ms: float, release_ms: float, every: int = 1) -> Array:
    """Detector level of compressor and gate in every frame (dBFS), as `reference.detector_level_db`.

    Parameters
    ----------
    sidechain : array, shape=(samples,)
        Magnitudes at `metrics.LOSS_RATE_HZ` divided by `every`.
    every : int
        1, or how many samples have been averaged to one (`thinned`), a divisor of `FRAME`.
    """
    rate_hz = LOSS_RATE_HZ / every
    attack, release = (float(time_constant(t, sample_rate_hz=rate_hz, xp=np)) for t in (attack_ms, release_ms))
    return np.asarray(20.0 * np.log10(np.maximum(_followed(sidechain, attack, release, FRAME // every), 1e-10)))


def thinned(sidechain: Audio32, every: int) -> Audio32:
    """Means of so many samples: slower rates are good enough for a first look."""
    return np.asarray(sidechain.reshape(-1, every).mean(axis=1), dtype=np.float32)


def channel_sidechain(
    song: WorkingSet,
    settings: Sequence[ChannelSettings],
    members: Sequence[int],
    gains: Array,
    *,
    sample_rate_hz: float,
) -> Audio32:
    """Larger magnitude of the two channels of a sum of stems (a group, or the whole mix).

    Parameters
    ----------
    gains : array, shape=(frames, stems)
        Of all stems, frame by frame.
    """
    length = _BLOCK + _BEFORE + _AFTER
    frequency_hz = scipy.fft.rfftfreq(length, 1.0 / LOSS_RATE_HZ)
    out = np.zeros(-(-song.frames // FRAME) * FRAME, dtype=np.float32)
    curves = {i: _eq_response(settings[i].eq, frequency_hz, sample_rate_hz) for i in members}
    faders = {
        i: channel_gains(gain_db=settings[i].gain_pan["gain_db"], pan=settings[i].gain_pan["pan"], mix=1.0)
        for i in members
    }
    for start in range(0, song.frames, _BLOCK):

        def render(i: int, start: int = start) -> Audio32:
            spectrum = _spectrum(_piece(song.stems[i], start - _BEFORE, length)) * curves[i]
            wet = scipy.fft.irfft(spectrum, length, axis=-1)[:, _BEFORE : _BEFORE + _BLOCK]
            gain = gains_at(gains[:, i], start, _BLOCK, FRAME_RATE_HZ)
            return np.asarray(wet * gain * np.array(faders[i], dtype=np.float32)[:, None])

        total = sum(each(render, members), np.zeros((2, _BLOCK), dtype=np.float32))
        width = min(_BLOCK, len(out) - start)
        out[start : start + width] = np.abs(total).max(axis=0)[:width]
    return out
