"""Reads a mix's settings off its spectra and levels, before any descent; puts the parts in `identify_*` together.

Filters bias what is read about dynamics, and compressors bias what is read about filters. Both are
read in turn: responses with the present gain curves applied to the stems, then gain curves of
tracks, groups and the master with the present filters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..graph import VolumePoint
from ..processors.equations import db_to_gain
from ..processors.specs import COMPRESSOR, GAIN_PAN
from .identify_dynamics import Dynamics, DynamicsFit, dynamics_from_gains
from .identify_eq import MAX_SECTIONS, EqFit, eq_from_response
from .identify_frames import FRAME_RATE_HZ, ChannelSettings, FrameSums, channel_sidechain, frame_sums
from .identify_linear import Array, Audio32, LinearResponses, gains_at, linear_responses
from .identify_reverb import ReverbFit, echoes_from_residual, rest_of, reverb_from_residual
from .identify_room import RoomFit, room_from_residual
from .identify_volume import VolumeFit, volume_from_gains
from .start import Echo
from .working_set import WorkingSet

#: Times that filters and gains are read in turn, at most.
READINGS = 2

#: Sections of an EQ that is read before gains over time are known.
FIRST_SECTIONS = 4


@dataclass(frozen=True)
class Identified:
    """What was read off a song.

    Attributes
    ----------
    responses : LinearResponses
        Of the last round: gains that change over time are taken into account.
    tracks : dict of str to EqFit
        EQ, gain and pan by stem id; the make-up of every compressor is in the gains.
    compressors, gates : dict of str to DynamicsFit
        By channel id (stem, bus or master; gates of stems only), real or not (`DynamicsFit.is_real`).
        Thresholds hold with the gains in `tracks`.
    volumes : dict of str to list of VolumePoint
        Breakpoints by stem id or id of the master; only where there are any.
    reverb : ReverbFit or None
        The shared reverb and its sends, where it was looked for.
    room : RoomFit or None
        The reverb of fixed reflections and its sends, where it was looked for.
    echoes : dict of str to list of Echo
        Repetitions of every stem in what is left of the mix, by stem id, where they were looked for.
    gains : array, shape=(frames, stems)
        Gain of every stem over time from all that is real, at `FRAME_RATE_HZ`.
    error_share, static_error_share : float
        Energy of the mix that the model leaves unexplained (whitened, weighted), with and without `gains`.
    """

    responses: LinearResponses
    tracks: dict[str, EqFit]
    compressors: dict[str, DynamicsFit]
    gates: dict[str, DynamicsFit]
    volumes: dict[str, list[VolumePoint]]
    reverb: ReverbFit | None
    room: RoomFit | None
    echoes: dict[str, list[Echo]]
    gains: Array
    error_share: float
    static_error_share: float


@dataclass(frozen=True)
class Scope:
    """What may be there, and so is looked for.

    Attributes
    ----------
    compressors, gates, volumes, reverb, room, echoes : bool
        On tracks; volumes also on the master. `room`: the reverb of fixed reflections.
    buses : mapping of str to sequence of str
        Ids of the stems below every bus that may hold a compressor, inner buses first.
    master_id : str
        Id of the master.
    master_compressor : bool
    allowed : mapping
        Ranges of EQ parameters where a plugin has less than the specification.
    """

    compressors: bool = True
    gates: bool = True
    volumes: bool = True
    reverb: bool = True
    room: bool = True
    echoes: bool = True
    buses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    master_id: str = "master"
    master_compressor: bool = True
    allowed: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def identify(
    song: WorkingSet, *, sample_rate_hz: float, scope: Scope | None = None, readings: int = READINGS
) -> Identified:
    """Identify filters, faders, pans, dynamics, volume automation, a shared reverb and echoes.

    Parameters
    ----------
    song : WorkingSet
    sample_rate_hz : float > 0
        Rate of the session.
    scope : Scope, optional
        Everything is looked for on tracks and the master if not given.
    readings : int >= 1
        Filters are read once more after gains were found, up to so many times.
    """
    reader = _Reader(song, sample_rate_hz, scope or Scope())
    for number in range(readings):
        reader.read_filters(thorough=number == readings - 1)
        if not reader.read_gains():
            # Nothing changes over time: what is left to do is to look at the filters closely.
            if number < readings - 1:
                reader.read_filters(thorough=True)
            break
    return reader.result()


class _Reader:
    """The state of an identification; gains start flat."""

    def __init__(self, song: WorkingSet, sample_rate_hz: float, scope: Scope) -> None:
        self.song, self.sample_rate_hz, self.scope = song, sample_rate_hz, scope
        everything = list(range(len(song.stem_ids)))
        self.members: dict[str, list[int]] = {stem: [i] for i, stem in enumerate(song.stem_ids)}
        for bus_id, stems in scope.buses.items():
            self.members[bus_id] = [i for i, s in enumerate(song.stem_ids) if s in set(stems)]
        self.members[scope.master_id] = everything
        self.order = {channel_id: place for place, channel_id in enumerate(self.members)}
        self.compressors: dict[str, DynamicsFit] = {}
        self.gates: dict[str, DynamicsFit] = {}
        self.volumes: dict[str, VolumeFit] = {}
        self.fits: list[EqFit] = []
        self.curves: list[Array] | None = None
        self.responses: LinearResponses
        self.sums: FrameSums

    @property
    def settings(self) -> list[ChannelSettings]:
        return [ChannelSettings(f.eq, f.gain_pan) for f in self.fits]

    # ---------------------------------------------------------------- filters

    def read_filters(self, *, thorough: bool) -> None:
        """Responses, EQs and faders with the present gain curves; EQs of few sections if not thorough."""
        self.responses = linear_responses(self.song, gain_curves=self.curves, frame_rate_hz=FRAME_RATE_HZ)
        self.fits = [
            eq_from_response(
                self.responses,
                i,
                sample_rate_hz=self.sample_rate_hz,
                allowed=self.scope.allowed,
                max_sections=MAX_SECTIONS if thorough else FIRST_SECTIONS,
            )
            for i in range(len(self.song.stems))
        ]
        self.sums = frame_sums(self.song, self.settings, self.responses, sample_rate_hz=self.sample_rate_hz)

    # ---------------------------------------------------------------- gains over time

    def read_gains(self) -> bool:
        """Volumes, then dynamics of tracks, buses and the master; whether there are any."""
        if self.scope.volumes:
            for channel_id in (self.scope.master_id, *self.song.stem_ids):
                self.volumes.pop(channel_id, None)
                found = volume_from_gains(self.sums, self.members[channel_id], self.gains())
                if found.points:
                    self.volumes[channel_id] = found
        for index, stem_id in enumerate(self.song.stem_ids):
            if self.scope.compressors:
                self._read(self.compressors, stem_id, self.sums.sidechains[index], "compressor")
        for bus_id in (*self.scope.buses, *((self.scope.master_id,) if self.scope.master_compressor else ())):
            sidechain = channel_sidechain(
                self.song,
                self.settings,
                self.members[bus_id],
                self.gains(into=bus_id),
                sample_rate_hz=self.sample_rate_hz,
            )
            self._read(self.compressors, bus_id, sidechain, "compressor")
        if self.scope.gates:
            for index, stem_id in enumerate(self.song.stem_ids):
                self._read(self.gates, stem_id, self._behind_compressor(index, stem_id), "gate")
        self.curves = list(self.gains().T)
        return bool(self.volumes) or any(f.is_real for _, f in self._dynamics())

    def _read(self, store: dict[str, DynamicsFit], channel_id: str, sidechain: Audio32, kind: Dynamics) -> None:
        store.pop(channel_id, None)
        store[channel_id] = dynamics_from_gains(
            self.sums, self.members[channel_id], self.gains(), sidechain=sidechain, kind=kind
        )

    def _behind_compressor(self, index: int, stem_id: str) -> Audio32:
        """What a track's gate hears: the compressor without its make-up, which is in the fader."""
        sidechain, fit = self.sums.sidechains[index], self.compressors.get(stem_id)
        if fit is None or not fit.is_real:
            return sidechain
        curve = fit.gains / db_to_gain(fit.gain_db)
        return sidechain * gains_at(curve, 0, len(sidechain), FRAME_RATE_HZ)

    def _dynamics(self) -> list[tuple[str, DynamicsFit]]:
        return [*self.compressors.items(), *self.gates.items()]

    def gains(self, *, into: str | None = None) -> Array:
        """Gain of every stem over time from all that is real, shape (frames, stems).

        Parameters
        ----------
        into : str, optional
            Id of a bus or the master: only what comes before it.
        """
        total = np.ones((self.sums.frames, len(self.song.stems)))
        real = [(c, f.gains) for c, f in self._dynamics() if f.is_real]
        for channel_id, curve in [*real, *((c, f.gains) for c, f in self.volumes.items())]:
            if into is None or self.order[channel_id] < self.order[into]:
                total[:, self.members[channel_id]] *= curve[:, None]
        return total

    # ---------------------------------------------------------------- result

    def result(self) -> Identified:
        """What was found, make-up gains moved to the faders of the tracks."""
        gains = self.gains()
        total = max(self.sums.energy, 1e-30)
        reverb, room, echoes = self._read_rest(gains)
        return Identified(
            self.responses,
            {s: with_more_gain(f, self._extra_db(s)) for s, f in zip(self.song.stem_ids, self.fits, strict=True)},
            {c: self._behind_faders(c, f) for c, f in self.compressors.items()},
            dict(self.gates),
            {c: f.points for c, f in self.volumes.items()},
            reverb,
            room,
            echoes,
            gains,
            self.sums.error(gains) / total,
            self.sums.error(np.ones_like(gains)) / total,
        )

    def _read_rest(self, gains: Array) -> tuple[ReverbFit | None, RoomFit | None, dict[str, list[Echo]]]:
        """Reverbs and echoes, from what dry channels leave unexplained."""
        if not (self.scope.reverb or self.scope.room or self.scope.echoes):
            return None, None, {}
        found = rest_of(self.song, self.settings, gains, self.responses, sample_rate_hz=self.sample_rate_hz)
        reverb = reverb_from_residual(found) if self.scope.reverb else None
        room = room_from_residual(found, sample_rate_hz=self.sample_rate_hz) if self.scope.room else None
        echoes = echoes_from_residual(found) if self.scope.echoes else []
        return reverb, room, dict(zip(self.song.stem_ids, echoes, strict=False))

    def _extra_db(self, stem_id: str) -> float:
        """Make-up and constants of everything that a stem passes."""
        index = self.order[stem_id]
        fits = [(c, f.gain_db) for c, f in self._dynamics() if f.is_real]
        fits += [(c, f.gain_db) for c, f in self.volumes.items()]
        return sum(gain_db for c, gain_db in fits if index in self.members[c])

    def _behind_faders(self, channel_id: str, fit: DynamicsFit) -> DynamicsFit:
        """A bus compressor as it must be when its make-up, and that of what follows, is in the faders before it."""
        if channel_id in self.song.stem_ids or not fit.is_real:
            return fit
        below = set(self.members[channel_id])
        later = [(c, f.gain_db) for c, f in self.compressors.items() if f.is_real]
        later += [(c, f.gain_db) for c, f in self.volumes.items() if c == self.scope.master_id]
        moved_db = fit.parameters["threshold_db"] + sum(
            gain_db for c, gain_db in later if self.order[c] >= self.order[channel_id] and below <= set(self.members[c])
        )
        limits = COMPRESSOR.parameter("threshold_db")
        threshold_db = limits.limited(moved_db)
        return replace(fit, parameters={**fit.parameters, "threshold_db": threshold_db})


def with_more_gain(fit: EqFit, gain_db: float) -> EqFit:
    """The same EQ and pan with a louder or softer fader, held in its range."""
    limits = GAIN_PAN.parameter("gain_db")
    level_db = limits.limited(fit.gain_pan["gain_db"] + gain_db)
    return replace(fit, gain_pan={**fit.gain_pan, "gain_db": level_db})
