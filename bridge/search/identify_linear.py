"""Complex gains from every stem to the mix, frequency by frequency; fitting processors to them is done elsewhere.

The spectra of the mix are a sum of the stems' spectra, each times what its channel does at that
frequency. In every band (a fraction of an octave) that is a linear least-squares problem with as
many unknowns as stems; its normal equations are summed up block by block, so that memory depends
on neither the length of the song nor the number of its frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

from ..metrics import LOSS_RATE_HZ
from .workers import each
from .working_set import WorkingSet

Array = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]
Audio32 = npt.NDArray[np.float32]
Spectra = npt.NDArray[np.complex64]

#: Transform of the spectra: bins 7.3 Hz apart, a window of 0.14 s.
FFT_SIZE = 4096
_HOP = FFT_SIZE // 2

#: Where responses are estimated, and the width of a band (octaves; never less than a bin).
LOWEST_HZ, HIGHEST_HZ = 18.0, 14500.0
BAND_OCTAVES = 1.0 / 12.0

#: Added to the diagonal of a band's normal equations, as a share of its mean.
_RIDGE = 1e-6

#: Frames transformed at once.
_BLOCK_FRAMES = 96

#: Frames overlap and music repeats itself: errors scatter as if a bin of a frame counted this much.
_INDEPENDENT_SHARE = 0.15

#: No frame is taken for quieter than this share of the band's mean.
_WEIGHT_FLOOR = 0.02


@dataclass(frozen=True)
class LinearResponses:
    """What happens to every stem on its way into the mix, as far as that is linear.

    Attributes
    ----------
    stem_ids : tuple of str
    frequency_hz : array, shape=(bands,)
        Centres of the bands.
    gains : complex array, shape=(stems, 2, bands)
        From a stem's channel to the same channel of the mix.
    errors : array, shape=(stems, 2, bands)
        Standard error of a gain; infinite where the stem has no energy.
    energy : array, shape=(stems, 2, bands)
        Energy of the stem (arbitrary unit, the same everywhere).
    mix_energy, residual_energy : array, shape=(2, bands)
        Energy of the mix, and of what the gains leave unexplained.
    """

    stem_ids: tuple[str, ...]
    frequency_hz: Array
    gains: ComplexArray
    errors: Array
    energy: Array
    mix_energy: Array
    residual_energy: Array

    @property
    def residual_db(self) -> float:
        """Energy that linear channels leave unexplained, relative to the mix."""
        left = float(self.residual_energy.sum()) / max(float(self.mix_energy.sum()), 1e-30)
        return 10.0 * float(np.log10(max(left, 1e-20)))


def linear_responses(
    song: WorkingSet, *, gain_curves: Sequence[Array | None] | None = None, frame_rate_hz: float = 100.0
) -> LinearResponses:
    """Estimate the response from every stem to the mix by least squares, band by band.

    Solved twice: the first solution tells which frames say most (see `_frame_weights`).

    Parameters
    ----------
    song : WorkingSet
    gain_curves : sequence of array or None, optional
        Linear gain of every stem over time, at `frame_rate_hz` from the first sample on (a
        compressor's, say): it is applied to the stem before its response is estimated.
    frame_rate_hz : float > 0
    """
    first = _estimate(song, gain_curves, frame_rate_hz, None)
    second = _estimate(song, gain_curves, frame_rate_hz, first)
    # Energies are those of the signals as they are.
    return replace(second, energy=first.energy, mix_energy=first.mix_energy, residual_energy=first.residual_energy)


def _estimate(
    song: WorkingSet,
    gain_curves: Sequence[Array | None] | None,
    frame_rate_hz: float,
    known: LinearResponses | None,
) -> LinearResponses:
    """Normal equations of all bands, summed up and solved; frames are weighted once something is known."""
    bands = band_edges()
    centres_hz = np.array([0.5 * (low + high - 1) for low, high in bands]) * (LOSS_RATE_HZ / FFT_SIZE)
    count = len(song.stems)
    gram = np.zeros((2, FFT_SIZE // 2 + 1, count + 1, count + 1), dtype=np.complex128)
    frames = 0
    for spectra in _spectra(song, gain_curves, frame_rate_hz):
        if known is not None:
            spectra *= _frame_weights(spectra, known, bands)
        # (channels, bins, signals, frames): one small matrix product per bin.
        gram += spectra @ spectra.conj().swapaxes(-1, -2)
        frames += spectra.shape[-1]
    pooled = np.stack([gram[:, low:high].sum(axis=1) for low, high in bands], axis=1)
    width = np.array([high - low for low, high in bands])
    independent = np.maximum(_INDEPENDENT_SHARE * frames * width - count, 1.0)
    return _solved(song.stem_ids, centres_hz, pooled, independent)


def _frame_weights(spectra: Spectra, known: LinearResponses, bands: Sequence[tuple[int, int]]) -> Audio32:
    """Square roots of the weights of all frames, shape (2, bins, 1, frames).

    What a channel does besides filtering grows with its level. Frames count by the inverse of the
    energy that the stems are predicted to have together, so that the moments in which a stem is
    alone say most about it. The mix itself must not enter: weights that depend on the errors bias.
    """
    first, last = bands[0][0], bands[-1][1]
    power = np.abs(spectra[:, first:last, :-1]) ** 2
    pooled = np.add.reduceat(power, [low - first for low, _ in bands], axis=1)
    predicted = np.einsum("sck,ckst->ckt", np.abs(known.gains).astype(np.float32) ** 2, pooled)
    floor = _WEIGHT_FLOOR * predicted.mean(axis=-1, keepdims=True) + 1e-20
    weights = np.zeros((2, spectra.shape[1], 1, spectra.shape[3]), dtype=np.float32)
    weights[:, first:last, 0] = np.repeat(1.0 / np.sqrt(predicted + floor), [h - low for low, h in bands], axis=1)
    return weights


def band_edges() -> list[tuple[int, int]]:
    """First bin and the one after the last of every band."""
    step_hz = LOSS_RATE_HZ / FFT_SIZE
    edges = [round(LOWEST_HZ / step_hz)]
    while edges[-1] * step_hz < HIGHEST_HZ:
        edges.append(max(edges[-1] + 1, round(edges[-1] * 2.0**BAND_OCTAVES)))
    return list(itertools.pairwise(edges))


def _spectra(song: WorkingSet, gain_curves: Sequence[Array | None] | None, frame_rate_hz: float) -> Iterator[Spectra]:
    """Spectra of the stems and, last, the mix, in blocks of shape (2, bins, stems + 1, frames)."""
    window = scipy.signal.get_window("hann", FFT_SIZE).astype(np.float32)
    length = _BLOCK_FRAMES * _HOP
    for start in range(0, max(song.frames - FFT_SIZE, 1), length):

        def spectrum(row: int, start: int = start) -> Spectra:
            audio = song.mix if row == len(song.stems) else song.stems[row]
            piece = np.asarray(audio[:, start : start + length + FFT_SIZE - _HOP])
            curve = gain_curves[row] if gain_curves is not None and row < len(gain_curves) else None
            if curve is not None:
                piece = piece * gains_at(curve, start, piece.shape[1], frame_rate_hz)
            return np.asarray(scipy.fft.rfft(_frames(piece) * window, axis=-1))

        # Of each signal (channels, frames, bins) -> (channels, bins, signals, frames)
        spectra = np.stack(each(spectrum, range(len(song.stems) + 1)), axis=2)
        yield np.ascontiguousarray(spectra.transpose(0, 3, 2, 1))


def gains_at(curve: Array, start: int, frames: int, frame_rate_hz: float) -> Audio32:
    """A gain curve at the samples of a block, linear between its points; shape (frames,)."""
    place = (start + np.arange(frames)) * (frame_rate_hz / LOSS_RATE_HZ)
    return np.asarray(np.interp(place, np.arange(len(curve)), curve), dtype=np.float32)


def _frames(piece: Audio32) -> Audio32:
    """Overlapping frames, shape (2, frames, FFT_SIZE); the end is filled with silence."""
    count = max(-(-(piece.shape[1] - FFT_SIZE) // _HOP) + 1, 1)
    missing = (count - 1) * _HOP + FFT_SIZE - piece.shape[1]
    filled = np.pad(piece, ((0, 0), (0, max(missing, 0))))
    return np.lib.stride_tricks.sliding_window_view(filled, FFT_SIZE, axis=-1)[:, ::_HOP]


def _solved(stem_ids: tuple[str, ...], centres_hz: Array, gram: ComplexArray, independent: Array) -> LinearResponses:
    """Solve the normal equations of all bands; `gram` holds ``sum x_i conj(x_j)``, the mix last."""
    count = len(stem_ids)
    normal = gram[..., :count, :count].conj()
    right = gram[..., count, :count]
    energy = np.real(np.einsum("cbii->cbi", normal))
    mix_energy = np.real(gram[..., count, count])
    ridge = _RIDGE * energy.mean(axis=-1) + 1e-20 * max(float(mix_energy.max()), 1e-20)
    inverse = np.linalg.inv(normal + ridge[..., None, None] * np.eye(count))
    gains = np.einsum("cbij,cbj->cbi", inverse, right)
    explained = np.real(np.einsum("cbi,cbi->cb", gains.conj(), right))
    residual = np.clip(mix_energy - explained, 1e-9 * mix_energy, None)
    variance = np.real(np.einsum("cbii->cbi", inverse)) * (residual / independent)[..., None]
    errors = np.where(energy > 1e-9 * energy.max(initial=1e-30), np.sqrt(np.maximum(variance, 0.0)), np.inf)
    return LinearResponses(
        stem_ids,
        centres_hz,
        np.moveaxis(gains, -1, 0),
        np.moveaxis(errors, -1, 0),
        np.moveaxis(energy, -1, 0),
        mix_energy,
        residual,
    )
