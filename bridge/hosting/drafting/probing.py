"""Measures a plugin: impulse and frequency responses, level steps, delays, nulls; nothing is fitted here.

All signals are stereo; a plugin of one channel is run once for each side with the same settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy.signal

from ... import null_test
from ...errors import PluginOutputError, PluginRefusalError
from ...processors import equations as eq
from ..refs import PluginDescription

Audio = npt.NDArray[np.float64]
Value = float | str | bool
Values = Mapping[str, Value]

#: Runs the plugin from its default state with these values set: (channels, n) to the same shape.
Render = Callable[[Values, Audio, float], npt.ArrayLike]

#: Rate of all measurements that are not repeated at others.
RATE_HZ = 48000.0

#: Length of impulse responses that show a filter's lowest band (samples), and their height.
RESPONSE_FRAMES = 32768
_IMPULSE_GAIN = 0.5

#: Responses are compared in this range (Hz).
RESPONSE_RANGE_HZ = (20.0, 18000.0)
_RESPONSE_POINTS = 240

#: Levels (dBFS) of the steps that show the times, and how long each lasts (s): down takes longer than up.
STEPS = (
    (-60.0, 0.03),
    (-12.0, 0.06),
    (-30.0, 0.15),
    (-3.0, 0.06),
    (-45.0, 0.2),
    (-18.0, 0.06),
    (-60.0, 0.2),
    (-6.0, 0.06),
    (-36.0, 0.15),
)
#: Levels of the stairs that show the steady curve, and how long each lasts.
STAIRS_DB = tuple(float(level) for level in np.arange(-69.0, 0.1, 2.5))
STAIR_S = 0.06
#: Both halves of a square wave have the same magnitude: no ripple on any detector of peaks or powers.
_SQUARE_HZ = 500.0


@dataclass
class Bench:
    """One plugin on the test bench.

    Attributes
    ----------
    render : callable
        See `Render`.
    description : PluginDescription
    renders : int
        How often the plugin was run.
    """

    render: Render
    description: PluginDescription
    renders: int = field(default=0)

    @property
    def channels(self) -> int:
        """Channels it is run with: two where it takes two.

        Raises
        ------
        PluginRefusalError
            If it takes neither one channel nor two.
        """
        for count in (2, 1):
            if count in self.description.channels:
                return count
        raise PluginRefusalError(
            f"{self.description.name}: takes {self.description.channels} channels; "
            "only mono and stereo plugins can be profiled"
        )

    def run(self, values: Values, audio: Audio, *, sample_rate_hz: float = RATE_HZ) -> Audio:
        """Run it over stereo audio from a fresh start.

        Returns
        -------
        array of float64, shape=(2, n)

        Raises
        ------
        PluginError
            As the pool's `render`.
        """
        sides = [audio] if self.channels == 2 else [audio[:1], audio[1:]]
        if self.channels == 1 and np.array_equal(audio[0], audio[1]):
            sides = sides[:1]
        self.renders += len(sides)
        outs = [np.asarray(self.render(values, side, sample_rate_hz), dtype=np.float64) for side in sides]
        out = np.concatenate(outs) if len(outs) > 1 else outs[0]
        out = np.repeat(out, 2, axis=0) if out.shape[0] == 1 else out
        if out.shape != audio.shape or not np.isfinite(out).all():
            raise PluginOutputError(f"{self.description.name}: returned no finite audio with {dict(values)}")
        return out


# ------------------------------------------------------------------------------- signals


def impulse(frames: int) -> Audio:
    """An impulse on both channels, shape=(2, frames)."""
    out = np.zeros((2, frames))
    out[:, 0] = _IMPULSE_GAIN
    return out


def _square(steps: Sequence[tuple[float, float]], sample_rate_hz: float) -> Audio:
    levels = np.concatenate([np.full(round(s * sample_rate_hz), eq.db_to_gain(level)) for level, s in steps])
    signs = 1.0 - 2.0 * (np.floor(2.0 * _SQUARE_HZ * np.arange(len(levels)) / sample_rate_hz) % 2.0)
    return np.repeat((levels * signs)[None], 2, axis=0)


def level_steps(*, sample_rate_hz: float = RATE_HZ) -> Audio:
    """A square wave whose level jumps through `STEPS`, the same on both channels, shape=(2, n)."""
    return _square(STEPS, sample_rate_hz)


def stairs(*, step_s: float = STAIR_S, sample_rate_hz: float = RATE_HZ) -> Audio:
    """A square wave whose level climbs through `STAIRS_DB`: only the attack delays what it shows. shape=(2, n)."""
    return _square([(level, step_s) for level in STAIRS_DB], sample_rate_hz)


def stair_ends(*, step_s: float = STAIR_S, sample_rate_hz: float = RATE_HZ) -> npt.NDArray[np.int64]:
    """The last sample of each step of `stairs`."""
    return np.arange(1, len(STAIRS_DB) + 1) * round(step_s * sample_rate_hz) - 1


def material(*, seconds: float = 1.5) -> Audio:
    """Drums left and a voice right, so that it matters which side a plugin listens to, shape=(2, n)."""
    drums, voice = (null_test.material(kind, seconds=seconds, sample_rate_hz=RATE_HZ) for kind in ("drums", "voice"))
    return np.stack([drums[0] + 0.2 * voice[0], voice[1] + 0.2 * drums[1]])


# ------------------------------------------------------------------------------- measurements


def frequency_grid(*, sample_rate_hz: float = RATE_HZ, frames: int = RESPONSE_FRAMES) -> npt.NDArray[np.int64]:
    """Bins of a spectrum of `frames` samples, evenly spread over the octaves of `RESPONSE_RANGE_HZ`."""
    low, high = RESPONSE_RANGE_HZ
    points = np.geomspace(low, min(high, 0.45 * sample_rate_hz), _RESPONSE_POINTS)
    return np.unique(np.round(points * frames / sample_rate_hz).astype(np.int64))


def response_db(bench: Bench, values: Values, *, sample_rate_hz: float = RATE_HZ) -> tuple[Audio, Audio]:
    """Frequencies (Hz) and magnitude (dB) of the left channel's response, one value per grid point."""
    out = bench.run(values, impulse(RESPONSE_FRAMES), sample_rate_hz=sample_rate_hz)[0] / _IMPULSE_GAIN
    bins = frequency_grid(sample_rate_hz=sample_rate_hz)
    magnitude = np.abs(np.fft.rfft(out))[bins]
    return bins * sample_rate_hz / RESPONSE_FRAMES, 20.0 * np.log10(np.maximum(magnitude, 1e-10))


def gain_at(audio: Audio, out: Audio, at: npt.NDArray[np.int64]) -> Audio:
    """Gain (dB, left channel) at some samples of a square wave, whose magnitude is never 0."""
    ratio = np.abs(out[0, at]) / np.abs(audio[0, at])
    return np.asarray(20.0 * np.log10(np.maximum(ratio, 1e-6)))


def latency_samples(bench: Bench, values: Values) -> int:
    """Delay of the loudest sample of the impulse response; 0 for a plugin that answers at once.

    To be measured with settings that leave the signal alone.
    """
    return int(np.argmax(np.abs(bench.run(values, impulse(RESPONSE_FRAMES))[0])))


def arrivals(response: Audio, *, threshold_db: float = -40.0) -> list[int]:
    """Samples at which something loud begins: local peaks within `threshold_db` of the loudest, 1 ms apart."""
    magnitude = np.abs(response)
    floor = magnitude.max() * eq.db_to_gain(threshold_db)
    found: list[int] = []
    for index in np.flatnonzero((magnitude > floor) & (magnitude > 0.0)):
        if not found or index - found[-1] > 48:
            found.append(int(index))
    return found


def octave_energy(response: Audio, centre_hz: float) -> Audio:
    """Squared samples of one octave of a response, summed over the channels, shape=(n,)."""
    edges = centre_hz * np.array([2.0**-0.5, 2.0**0.5])
    octave = scipy.signal.butter(2, edges, "bandpass", fs=RATE_HZ, output="sos")
    return np.asarray(np.sum(scipy.signal.sosfilt(octave, response) ** 2, axis=0))


def decay_time_s(energy: Audio) -> float:
    """Reverberation time (s, 60 dB) from -5 to -35 dB of the energy that is left; 0 where it does not fall that far.

    M. R. Schroeder, "New method of measuring reverberation time", JASA 37, 1965.
    """
    left = np.cumsum(energy[::-1])[::-1]
    level = 10.0 * np.log10(np.maximum(left / max(float(left[0]), 1e-30), 1e-20))
    start, end = np.flatnonzero(level < -5.0), np.flatnonzero(level < -35.0)
    if not len(start) or not len(end) or end[0] <= start[0]:
        return 0.0
    return float(2.0 * (end[0] - start[0]) / RATE_HZ)


# ------------------------------------------------------------------------------- what kind of thing it is


@dataclass(frozen=True)
class Behaviour:
    """What a plugin does to plain signals, at some settings.

    Attributes
    ----------
    loud_db, quiet_db : float
        Gain of a steady signal at -6 and at -50 dBFS.
    first_ms, last_ms : float
        When the impulse response begins, and when 99.9 % of its energy is over.
    repeatable : bool
        Whether the same input gave the same output twice.
    """

    loud_db: float
    quiet_db: float
    first_ms: float
    last_ms: float
    repeatable: bool

    @property
    def is_dynamic(self) -> bool:
        """Whether its gain depends on the level."""
        return abs(self.loud_db - self.quiet_db) > 1.0


def behaviour(bench: Bench, values: Values, *, seconds: float = 1.0) -> Behaviour:
    """Measure `Behaviour` with some values set."""
    n = round(seconds * RATE_HZ)
    square = _square([(0.0, seconds)], RATE_HZ)

    def gain_db(level_db: float) -> float:
        fed = eq.db_to_gain(level_db) * square
        out = bench.run(values, fed)[:, n // 2 :]
        return 10.0 * float(np.log10(max(np.mean(out**2) / np.mean(fed**2), 1e-20)))

    heard = [bench.run(values, impulse(n))[0] for _ in range(2)]
    energy = np.cumsum(heard[0] ** 2)
    begin = arrivals(heard[0])
    last = int(np.searchsorted(energy, 0.999 * energy[-1])) if energy[-1] > 0.0 else 0
    ms = 1000.0 / RATE_HZ
    first_ms = begin[0] * ms if begin else 0.0
    return Behaviour(gain_db(-6.0), gain_db(-50.0), first_ms, last * ms, bool(np.array_equal(heard[0], heard[1])))
