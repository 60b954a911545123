"""Proposes other settings for a node: by the gradient of its twin, or by trying; no plugin is run here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...exporters.session import Insert
from ..audio import resample
from ..errors import ParameterError
from ..features import energy
from ..graph import Processor
from ..metrics import LOSS_RATE_HZ, WARM_UP_S, MelFeatures, match_terms, skipped_frames
from ..processors.laws import law_of
from ..processors.specs import BELLS, DELAY, EQ, MIX, Parameter, spec_of
from ..processors.twins import TWINS, Twin, TwinSettings
from ..search.fit import RATE_FACTORS
from ..search.parameters import position_of, value_at
from .polish_bench import Bench, Leg
from .realise import Audio, faded, send_gain

#: Positions of a node's searchable settings in their ranges, 0 to 1, by name.
Positions = dict[str, float]

#: The parts of a song the gradient is taken on, in turn: at most this many, of this many whole seconds.
WINDOWS, WINDOW_S = 4, 4

#: A twin that misses more than this share of what the plugin does to the signal (energy) points nowhere:
#: another reverb of the same length and level has the same sound and none of its samples.
_LARGEST_MISFIT = 0.5

#: A descent ends with this share of its first step: the windows do not agree to the last bit.
_FINAL_RATE_SHARE = 0.2

_BANDS = ("low_shelf", *(f"bell{n}" for n in range(1, BELLS + 1)), "high_shelf")


# ------------------------------------------------------------------------------- settings


def parameter_of(processor_type: str, name: str) -> Parameter:
    """A parameter of a type, or the dry/wet weight."""
    return MIX if name == MIX.name else spec_of(processor_type).parameter(name)


def settings_of(node: Processor) -> dict[str, float]:
    """All settings of a node, the dry/wet weight among them."""
    return {**node.parameters, MIX.name: node.mix}


@dataclass(frozen=True)
class Room:
    """The settings of a node that may be moved, and how far.

    Attributes
    ----------
    processor_type : str
    limits : dict of str to (float, float)
        Lowest and highest position of each.
    """

    processor_type: str
    limits: Mapping[str, tuple[float, float]]

    def start(self, node: Processor) -> Positions:
        """Where a node's movable settings are."""
        values = settings_of(node)
        return {name: position_of(parameter_of(self.processor_type, name), values[name]) for name in self.limits}

    def moved(self, node: Processor, positions: Positions, *, share: float = 1.0) -> Processor:
        """The node with its settings moved towards positions; what does not move keeps its value exactly."""
        values, start = settings_of(node), self.start(node)
        for name, (low, high) in self.limits.items():
            position = start[name] + share * (positions[name] - start[name])
            if position != start[name]:
                values[name] = self._value(name, min(max(position, low), high))
        mix = values.pop(MIX.name)
        return node.model_copy(update={"parameters": values, "mix": mix})

    def _value(self, name: str, position: float) -> float:
        parameter = parameter_of(self.processor_type, name)
        value = float(value_at(parameter, torch.tensor(position, dtype=torch.float64)))
        low, high = (
            float(value_at(parameter, torch.tensor(p, dtype=torch.float64))) for p in self.limits[name]
        )  # fmt: skip
        # Rounding must not lead out of the range.
        return min(max(value, low, parameter.minimum), high, parameter.maximum)


def room_of(node: Processor, *, allowed: Callable[[str, str], tuple[float, float]]) -> Room:
    """Which settings of a node may be moved.

    Those that are fixed in its plugin, that switch a section off or belong to one that is off, and
    echo times (whose gradient is true within a fraction of a period only) stay where they are; so
    does the dry/wet weight of a node that is wholly wet.

    Parameters
    ----------
    allowed : callable
        Lowest and highest value of a parameter, by kind (`Processor.kind`) and name.
    """
    limits = {}
    values = settings_of(node)
    still = set(_idle(node))
    for name, value in values.items():
        parameter = parameter_of(node.type, name)
        low, high = allowed(node.kind, name)
        switched = value == parameter.off_at or (parameter is MIX and value in (MIX.minimum, MIX.maximum))
        if low < high and not switched and name not in still and RATE_FACTORS.get(name) != 0.0:
            limits[name] = (position_of(parameter, low), position_of(parameter, high))
    return Room(node.type, limits)


def _idle(node: Processor) -> Iterator[str]:
    """Settings that do nothing: those of EQ bands at 0 dB and of silent echoes."""
    values = node.parameters
    if node.mix == MIX.minimum:
        yield from node.parameters
    if node.type == EQ.type:
        for band in _BANDS:
            if values[f"{band}_db"] == 0.0:
                yield from (f"{band}_hz", f"{band}_q")
    for name, value in values.items():
        if name.endswith("level_db") and value == parameter_of(node.type, name).off_at:
            tap = name.removesuffix("level_db")
            yield from (n for n in values if n.startswith(tap) and (tap or node.type != DELAY.type))


# ------------------------------------------------------------------------------- gradient


@dataclass(frozen=True)
class _Window:
    """A part of the song at 30 kHz; signals have shape (1, 2, n), gains of a leg (2, n), of its feeders (1) or (n)."""

    source: Tensor
    after: Tensor
    rests: tuple[Tensor | None, ...]
    gains: tuple[Tensor, ...]
    fed: tuple[dict[str, Tensor], ...]
    song: Tensor
    target: MelFeatures
    twin_after: Tensor
    twin_song: Tensor


class TwinShop:
    """Twins by type and law, made when they are needed."""

    def __init__(self, *, sample_rate_hz: int) -> None:
        self._settings = TwinSettings.for_search(sample_rate_hz=LOSS_RATE_HZ, design_rate_hz=sample_rate_hz)
        self._made: dict[tuple[str, str], Twin] = {}

    def twin(self, processor_type: str, law: str) -> Twin:
        """The twin of a type (`ParameterError` if its law has no gradient)."""
        key = (processor_type, law)
        if key not in self._made:
            self._made[key] = TWINS[processor_type](self._settings, law_of(law, processor_type))
        return self._made[key]


class Surrogate:
    """A model of the song in the settings of one node: what the plugins played, changed as the twins would change it.

    At the node's present settings it is the real song to the last bit, and the gradient of its loss is that
    of the twins taken at the real signals. It holds nearby and must be made anew after a move.

    Raises
    ------
    ParameterError
        If the node or one behind it has no twin.
    """

    def __init__(self, bench: Bench, node_id: str, room: Room, *, shop: TwinShop) -> None:
        insert = bench.insert(node_id)
        if insert is None:
            raise ParameterError(f"{node_id}: is on a fader and has no twin of its own")
        self._node, self._room, self._shop = bench.node(node_id), room, shop
        self._twin = shop.twin(insert.type, insert.law)
        self._legs = tuple(bench.legs(node_id))
        for leg in self._legs:
            for behind in leg.inserts:
                shop.twin(behind.type, behind.law)
        self._meter = bench.loss.meter
        self._windows = [self._window(bench, node_id, part) for part in self._parts(bench, node_id)]

    @property
    def trusted(self) -> bool:
        """Whether the twin does to the signal what the plugin does."""
        missed = sum(_scored_energy(w.after - w.twin_after) for w in self._windows)
        done = sum(_scored_energy(w.after - w.source) for w in self._windows)
        return missed <= _LARGEST_MISFIT * done

    def descend(self, *, radius: float, steps: int) -> Positions:
        """Descend on the loss within a distance of the present settings.

        Parameters
        ----------
        radius : float
            How far any setting may move, in shares of its range.

        Returns
        -------
        dict of str to float
            Where it came to.
        """
        start = self._room.start(self._node)
        names = list(start)
        here = torch.tensor([start[n] for n in names], dtype=torch.float64)
        bounds = torch.tensor([self._room.limits[n] for n in names], dtype=torch.float64)
        low, high = torch.maximum(here - radius, bounds[:, 0]), torch.minimum(here + radius, bounds[:, 1])
        positions = here.clone().requires_grad_()
        optimiser = torch.optim.Adam([positions], lr=2.0 * radius / steps)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, _FINAL_RATE_SHARE, total_iters=steps)
        for step in range(steps):
            optimiser.zero_grad()
            window = self._windows[step % len(self._windows)]
            torch.autograd.backward(self._loss(window, dict(zip(names, positions, strict=True))))
            if positions.grad is not None:
                torch.nan_to_num_(positions.grad, nan=0.0, posinf=0.0, neginf=0.0)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                positions.clamp_(low, high)
        return dict(zip(names, positions.tolist(), strict=True))

    def _loss(self, window: _Window, positions: Mapping[str, Tensor]) -> Tensor:
        after = window.after + self._wet(window, positions) - window.twin_after
        song = window.song + self._behind(window, after) - window.twin_song
        return match_terms(self._features(song), window.target).total

    def _wet(self, window: _Window, positions: Mapping[str, Tensor]) -> Tensor:
        values: dict[str, Tensor] = {n: torch.tensor([v]) for n, v in settings_of(self._node).items()}
        for name, position in positions.items():
            values[name] = value_at(parameter_of(self._node.type, name), position).to(torch.float32).reshape(1)
        out: Tensor = self._twin(window.source, **values)
        return out

    def _behind(self, window: _Window, signal: Tensor) -> Tensor:
        """All ways to the master's output."""
        outs: dict[str, Tensor] = {}
        for leg, rest, gains, fed in zip(self._legs, window.rests, window.gains, window.fed, strict=True):
            if rest is not None:
                signal = rest + sum(fed[feeder] * outs[feeder] for feeder in leg.feeders)
            for insert in leg.inserts:
                signal = self._shop.twin(insert.type, insert.law)(signal, **_constants(insert))
            signal = outs[leg.channel.id] = signal * gains
        return signal

    def _features(self, song: Tensor) -> MelFeatures:
        return self._meter.features(song[0, :, skipped_frames(song.shape[-1]) :])

    # ---------------------------------------------------------------------- windows

    @staticmethod
    def _parts(bench: Bench, node_id: str) -> list[slice]:
        """Where the gradient is taken: in each quarter of the song where the node has most to do."""
        rate_hz, frames = bench.loss.sample_rate_hz, bench.loss.frames
        starts = busiest_starts(bench.input_of(node_id), sample_rate_hz=rate_hz)
        return [slice(start * rate_hz, min((start + WINDOW_S) * rate_hz, frames)) for start in starts]

    @torch.no_grad()
    def _window(self, bench: Bench, node_id: str, part: slice) -> _Window:
        rate_hz = bench.loss.sample_rate_hz
        source, after, song, target = (
            _at_loss_rate(audio, rate_hz)
            for audio in (
                bench.input_of(node_id, part),
                bench.output_of(node_id, part),
                bench.song(part),
                bench.loss.late_target[:, part],
            )
        )
        rests = tuple(None if leg.rest is None else _at_loss_rate(leg.rest(part), rate_hz) for leg in self._legs)
        # Windows start and end at whole seconds but for the end of the song.
        begin, frames = part.start // rate_hz * LOSS_RATE_HZ, source.shape[-1]
        gains = tuple(_gains_at_loss_rate(leg, begin, begin + frames) for leg in self._legs)
        fed = tuple(_fed_at_loss_rate(leg, begin, begin + frames) for leg in self._legs)
        none = torch.zeros_like(source)
        bare = _Window(source, after, rests, gains, fed, song, self._features(target), none, none)
        return replace(bare, twin_after=self._wet(bare, {}), twin_song=self._behind(bare, after))


def _scored_energy(signal: Tensor) -> float:
    return float(signal[..., skipped_frames(signal.shape[-1]) :].double().square().sum())


def _constants(insert: Insert) -> dict[str, Tensor]:
    return {name: torch.tensor([value]) for name, value in {**insert.parameters, MIX.name: insert.mix}.items()}


def _at_loss_rate(audio: Audio | npt.NDArray[np.float32], sample_rate_hz: int) -> Tensor:
    return torch.from_numpy(resample(audio, from_hz=sample_rate_hz, to_hz=LOSS_RATE_HZ).copy())[None]


def _gains_at_loss_rate(leg: Leg, begin: int, end: int) -> Tensor:
    """Fader, pan and automation of a leg from one frame at 30 kHz to another."""
    curve = faded(np.ones((2, end)), leg.channel, sample_rate_hz=LOSS_RATE_HZ)[:, begin:]
    return torch.from_numpy(curve).to(torch.float32)


def _fed_at_loss_rate(leg: Leg, begin: int, end: int) -> dict[str, Tensor]:
    """Gains at which earlier legs flow into a leg, likewise; a single number where nothing moves."""
    found = {}
    for feeder, sends in leg.feeders.items():
        gain = np.atleast_1d(send_gain(sends, frames=end, sample_rate_hz=LOSS_RATE_HZ))
        found[feeder] = torch.from_numpy(gain[begin:] if len(gain) > 1 else gain).to(torch.float32)
    return found


def busiest_starts(audio: Audio, *, sample_rate_hz: int) -> list[int]:
    """Starts (whole seconds, so that all rates have a sample there) of windows that hold most of a signal.

    One window in each of `WINDOWS` equal parts of the signal; fewer where it is short.
    """
    seconds = audio.shape[1] // sample_rate_hz
    last = max(seconds - WINDOW_S, 0)
    levels = [energy(audio[:, s * sample_rate_hz : (s + 1) * sample_rate_hz]) for s in range(seconds)]
    scored = [sum(levels[s + int(WARM_UP_S) : s + WINDOW_S]) for s in range(last + 1)]
    count = min(WINDOWS, max(seconds // WINDOW_S, 1))
    groups = np.array_split(np.arange(last + 1), min(count, last + 1))
    return [max(group.tolist(), key=lambda s: scored[s]) for group in groups if len(group)]


# ------------------------------------------------------------------------------- by trying


@dataclass
class Prober:
    """Moves along random directions in which every setting takes part (SPSA), with a parabola through three losses.

    Attributes
    ----------
    reach : float
        How far each setting goes, in shares of its range (and of what a search moves it by at a time);
        a third of it whenever a direction fails.
    """

    room: Room
    random: np.random.Generator
    reach: float

    def pair(self, start: Positions) -> tuple[Positions, Positions]:
        """Two positions on opposite sides of the present one."""
        signs = dict(zip(start, self.random.choice((-1.0, 1.0), size=len(start)).tolist(), strict=True))
        one, two = (
            {
                name: self._inside(name, at + side * signs[name] * self.reach * RATE_FACTORS.get(name, 1.0))
                for name, at in start.items()
            }
            for side in (-1.0, 1.0)
        )
        return one, two

    def between(self, start: Positions, pair: tuple[Positions, Positions], losses: Sequence[float]) -> Positions:
        """Where the parabola through the losses at one side, here, and at the other side is lowest.

        At most twice as far out as the pair; there, on the better side, where it has no lowest point.
        """
        left, here, right = losses
        slope, curve = (right - left) / 2.0, left + right - 2.0 * here
        share = -slope / curve if curve > 0.0 else math.copysign(2.0, left - right)
        share = min(max(share, -2.0), 2.0)
        goal = pair[1] if share > 0.0 else pair[0]
        return {name: self._inside(name, at + abs(share) * (goal[name] - at)) for name, at in start.items()}

    def _inside(self, name: str, position: float) -> float:
        low, high = self.room.limits[name]
        return min(max(position, low), high)
