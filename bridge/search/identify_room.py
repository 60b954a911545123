"""Whether a mix has the reverb of fixed reflections (`processors.freeverb`) and what is sent to it; no other reverb.

The tail of a reverb made of noise can be compared in energy only (`identify_reverb`). The delays of
this one are the same wherever it runs, so that its answer to every stem can be subtracted as such:
for a decay time and a damping, the send levels are a linear least-squares problem over the
residual's spectrum, and the settings that explain most of its energy are those of the mix.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import soxr

from ..metrics import LOSS_RATE_HZ
from ..processors import freeverb
from ..processors.equations import gain_to_db
from ..processors.specs import REVERB, SEND_LEVEL
from .identify_linear import Array, Audio32
from .identify_reverb import Rest
from .start import non_negative_gains
from .workers import each

Spectrum = npt.NDArray[np.complex64]

#: Settings that are tried first, and the steps of their refinement.
_DECAYS_S = tuple(float(x) for x in np.geomspace(0.4, 6.0, 8))
_HIGH_RATIOS = (0.25, 0.5, 0.9)
_FINER = ((1.2, 1.35), (1.06, 1.12))

#: Impulse responses are followed for so long, and of the song this much is looked at (s).
_RESPONSE_S = 3.0
_LOOK_S = 30.0

#: Products of stems are pooled in bands of this many bins of the response's resolution.
_BANDS = 256

#: The reverb is taken for real when it explains this share of the residual's energy. Chance explains less than
#: 0.0001 (songs with other reverbs), this reverb 0.15 where the dry channels are known as well as they usually are.
_REAL_SHARE = 0.02

#: Ridge of the normal equations, relative to the largest stem.
_RIDGE = 1e-6


@dataclass(frozen=True)
class RoomFit:
    """The reverb of fixed reflections that explains most of a residual.

    Attributes
    ----------
    parameters : dict of str to float
        Decay and high decay ratio; all else is at its default.
    sends_db : tuple of float
        Level of every stem's send (behind its fader); the lowest of the range where there is none.
    explained : float
        Share of the residual's energy, 0 to 1.
    """

    parameters: dict[str, float]
    sends_db: tuple[float, ...]
    explained: float

    @property
    def is_real(self) -> bool:
        """Whether this reverb, and no other, is in the mix."""
        return self.explained > _REAL_SHARE and max(self.sends_db) > SEND_LEVEL.minimum


def room_from_residual(rest: Rest, *, sample_rate_hz: float) -> RoomFit:
    """Find decay, damping and sends.

    Parameters
    ----------
    rest : Rest
        Of `identify_reverb.rest_of`.
    sample_rate_hz : float > 0
        Rate of the session, at which the reverb runs.
    """
    problem = _Problem(rest, sample_rate_hz)
    best = problem.best(list(itertools.product(_DECAYS_S, _HIGH_RATIOS)))
    for decay_step, ratio_step in _FINER:
        decays = [best.parameters["decay_s"] * decay_step**n for n in (-1, 0, 1)]
        ratios = [best.parameters["high_decay_ratio"] * ratio_step**n for n in (-1, 0, 1)]
        best = problem.best(list(itertools.product(decays, ratios)))
    return best


class _Problem:
    """Spectra of the stems and the residual, from which every candidate is solved."""

    def __init__(self, rest: Rest, sample_rate_hz: float) -> None:
        self.sample_rate_hz = sample_rate_hz
        frames = min(len(rest.signal), int(_LOOK_S * LOSS_RATE_HZ))
        self.length = scipy.fft.next_fast_len(frames + int(_RESPONSE_S * LOSS_RATE_HZ), real=True)
        self.stems = each(lambda s: self._spectrum(s[:frames]), rest.signals)
        residual = self._spectrum(rest.signal[:frames])
        self.energy = float(np.sum(np.abs(residual) ** 2, dtype=np.float64))
        # What the residual has in common with each stem; a response only weighs it.
        self.shared = each(lambda s: np.conj(s) * residual, self.stems)
        self.edges = np.linspace(0, len(residual), _BANDS + 1).astype(np.intp)
        pieces = list(itertools.pairwise(self.edges))
        self.products = np.stack(each(self._products, pieces))

    def _spectrum(self, signal: Audio32) -> Spectrum:
        return np.asarray(scipy.fft.rfft(signal, self.length), dtype=np.complex64)

    def _products(self, band: tuple[int, int]) -> Array:
        rows = np.stack([s[band[0] : band[1]] for s in self.stems])
        return np.asarray((rows @ rows.conj().T).real, dtype=np.float64)

    def best(self, candidates: Sequence[tuple[float, float]]) -> RoomFit:
        """The candidate (decay in s, high decay ratio) that explains most."""
        return max(each(self._solved, candidates), key=lambda fit: fit.explained)

    def _solved(self, candidate: tuple[float, float]) -> RoomFit:
        limits = {name: REVERB.parameter(name) for name in ("decay_s", "high_decay_ratio")}
        held = {name: limits[name].limited(value) for name, value in zip(limits, candidate, strict=True)}
        parameters = {**REVERB.defaults(), "pre_delay_ms": 0.0, "level_db": 0.0, **held}
        response = self._spectrum(_response(tuple(sorted(parameters.items())), self.sample_rate_hz))
        power = np.add.reduceat(np.abs(response) ** 2, self.edges[:-1]) / np.diff(self.edges)
        gram = np.tensordot(power.astype(np.float64), self.products, axes=1)
        right = np.array([float(np.vdot(response, shared).real) for shared in self.shared])
        gains = non_negative_gains(gram, right, ridge=_RIDGE)
        explained = float(2.0 * gains @ right - gains @ gram @ gains)
        sends_db = tuple(SEND_LEVEL.limited(gain_to_db(gain)) for gain in gains)
        return RoomFit(parameters, sends_db, explained / max(self.energy, 1e-30))


@functools.lru_cache(maxsize=64)
def _response(parameters: tuple[tuple[str, float], ...], sample_rate_hz: float) -> Audio32:
    """Mean of both channels' impulse responses at `metrics.LOSS_RATE_HZ`, without cuts."""
    impulse = np.zeros(int(_RESPONSE_S * sample_rate_hz))
    impulse[0] = sample_rate_hz / LOSS_RATE_HZ
    answer = freeverb.reverberated(impulse, dict(parameters), sample_rate_hz=sample_rate_hz).mean(axis=0)
    return np.asarray(soxr.resample(answer, sample_rate_hz, LOSS_RATE_HZ), dtype=np.float32)
