"""What goes where in a project: devices, faders and pans of every channel, and what is lost; nothing is written.

The format has a fader and a pan per channel, four devices and plugins, and neither a gain tool nor
a width nor dry/wet. What it lacks is moved to where it does the same; the rest is named as a `Loss`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...bridge.choices import DEFAULT_SUITES
from ...bridge.graph import Breakpoint
from ...bridge.processors.equations import channel_gains, db_to_gain, gain_to_db, pan_gains, saturated, saturation_shape
from ...bridge.processors.laws import kind_of
from ...bridge.processors.specs import (
    DELAY,
    DELAY_TAPS,
    EQ,
    GAIN_PAN,
    IMAGER,
    REVERB,
    SATURATION,
    SEND_EFFECTS,
    spec_of,
)
from ...bridge.suites import Profile, choose_profiles
from .. import chain
from ..inserts import InsertMaker, Responses
from ..losses import Loss
from ..session import PER_CHANNEL, Insert, Session, Strip, solve_fader
from .devices import ELEMENTS, INPUT_GAIN, OUTPUT_GAIN, WITH_GAINS, BuiltIn, built_in, gain_device, with_gain

#: Highest fader position: the end of the scale in the projects of the format's own makers (6 dB).
MAX_FADER_GAIN = 2.0

#: Differences below this are no loss (dB).
_INAUDIBLE_DB = 0.01


@dataclass(frozen=True)
class Plugin:
    """A VST3 plugin of a channel.

    Attributes
    ----------
    enabled : bool
        False where it stands bypassed: it has no dry signal of its own to let through.
    """

    insert: chain.Insert
    enabled: bool = True


Device = BuiltIn | Plugin


@dataclass(frozen=True)
class PlannedChannel:
    """A channel as the format holds it: devices, then a fader, a pan and sends.

    Attributes
    ----------
    gain : float >= 0
        Linear amplitude of the fader; where it is automated, at the first point.
    pan : float, -1 (left) to 1 (right)
        Where it is automated, at the first point.
    volume : tuple of (float, float)
        Times (s) and fader positions (linear amplitude) that straight lines connect; empty: it stands still.
    pan_points : tuple of (float, float)
        Times (s) and pans likewise.
    sends : dict
        Of sends that move, times (s) and linear amplitudes likewise, by the strip they feed.
    muted : bool
        Nothing of what should be heard here can be written.
    """

    devices: tuple[Device, ...]
    gain: float
    pan: float
    volume: tuple[tuple[float, float], ...] = ()
    pan_points: tuple[tuple[float, float], ...] = ()
    sends: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    muted: bool = False


@dataclass(frozen=True)
class DawProjectPlan:
    """All channels by the id of their strip, and what the project cannot express of the session.

    Attributes
    ----------
    responses : dict
        Files that plugins load: name in the project's folder to samples of shape (2, n).
    """

    channels: Mapping[str, PlannedChannel]
    losses: tuple[Loss, ...]
    responses: Responses = field(default_factory=dict)

    def plugins(self) -> Iterator[chain.Insert]:
        """All plugins, in the order of the session."""
        for channel in self.channels.values():
            yield from (device.insert for device in channel.devices if isinstance(device, Plugin))


def plan_dawproject(session: Session, *, suites: str = DEFAULT_SUITES) -> DawProjectPlan:
    """Lay a session out as a DAWproject; nothing is written and no plugin is run.

    Parameters
    ----------
    session : Session
    suites : str
        Choice of plugin suites (`suites.choose_profiles`). Types for which it has no VST3 plugin become the
        format's own devices where there is one.

    Returns
    -------
    DawProjectPlan
        Its `losses` name everything that the project says otherwise, or not at all.

    Raises
    ------
    ExportError, ProfileError
        If a plugin cannot hold a node, or there is no such suite.
    """
    planner = _Planner(session.sample_rate_hz, choose_profiles(suites), suites)
    channels = {strip.id: planner.channel(strip) for strip in session.strips()}
    if session.reference is not None:
        strip = session.reference.strip
        channels[strip.id] = PlannedChannel((), strip.gain, strip.pan, muted=True)
    if session.tempo is not None and any(session.tempo.cut_bars()):
        planner.losses.append(Loss("", "", "a bar that is cut short: the format has no place to say so"))
    return DawProjectPlan(channels, tuple(planner.losses), planner.maker.responses)


@dataclass(frozen=True)
class _Gain:
    """A gain of the left and the right channel between devices."""

    node: str
    left: float
    right: float


@dataclass(frozen=True)
class _Step:
    """A device and the type of processor it is; empty for one that does nothing."""

    type: str
    device: Device


def _per_channel(steps: Sequence[_Step]) -> bool:
    return all(step.type in PER_CHANNEL or not step.type for step in steps)


def _linear(steps: Sequence[_Step]) -> bool:
    return all(not step.type or spec_of(step.type).linear for step in steps)


class _Planner:
    """Plans channel by channel and collects what is lost."""

    def __init__(self, sample_rate_hz: int, profiles: Mapping[str, Profile], suites: str) -> None:
        self.maker = InsertMaker(sample_rate_hz, profiles, suites, kinds=("vst3",))
        self.losses: list[Loss] = []

    def channel(self, strip: Strip) -> PlannedChannel:
        """One channel."""
        left, right = (strip.gain * side for side in pan_gains(strip.pan, xp=math))
        steps: list[_Gain | _Step] = []
        found = list(self._steps(strip))
        # A channel that holds nothing but what is missing stays silent; its fader is where it belongs.
        muted = any(isinstance(step, _Gain) and step.left == step.right == 0.0 for step in found)
        for index, step in enumerate(found):
            if isinstance(step, _Step):
                steps.append(step)
                continue
            if step.left == step.right == 0.0:
                continue
            after = [s for s in found[index + 1 :] if isinstance(s, _Step)]
            gain, pan = solve_fader(step.left, step.right)
            stays = gain if not _linear(after) else 1.0
            if stays != 1.0:
                steps.append(_Gain(step.node, stays, stays))
            if pan != 0.0 and not _per_channel(after):
                self._pan_moved(strip, step.node, pan)
            left, right = left * step.left / stays, right * step.right / stays
        gain, pan = solve_fader(left, right)
        highest = max((float(db_to_gain(point.gain_db)) for point in strip.volume), default=1.0)
        excess = gain * highest / MAX_FADER_GAIN
        if excess > 1.0 + 1e-12:
            steps.append(_Gain("", excess, excess))
            gain /= excess
        volume = _levels(strip.volume, gain)
        pan_points = tuple((point.time_s, point.pan) for point in strip.pan_points)
        if pan_points:
            pan = self._pan_moves(strip, pan)
        if pan != 0.0 or pan_points:
            self._pan_law(strip, max((p for _, p in pan_points), key=abs, default=pan))
        return PlannedChannel(
            tuple(_with_gains(steps)),
            volume[0][1] if volume else gain,
            pan,
            volume=volume,
            pan_points=pan_points,
            sends={send.target: _levels(send.volume, send.gain) for send in strip.sends if send.volume},
            muted=muted,
        )

    # ------------------------------------------------------------------ inserts

    def _steps(self, strip: Strip) -> Iterator[_Gain | _Step]:
        for insert in strip.inserts:
            profile = self.maker.profiles.get(kind_of(insert.type, insert.law))
            if insert.mix == 0.0:
                continue
            if insert.type == GAIN_PAN.type:
                gains = channel_gains(
                    gain_db=insert.parameters["gain_db"], pan=insert.parameters["pan"], mix=insert.mix
                )
                yield _Gain(insert.id, *gains)
            elif insert.type == IMAGER.type:
                self._width(insert, strip)
            elif profile is not None and profile.kind == "vst3":
                yield from self._plugin(insert, strip)
            elif insert.type in ELEMENTS:
                yield self._built_in(insert, strip)
            else:
                yield from self._missing(insert, strip)

    def _lose(self, strip: Strip, node: str, what: str, size_db: float | None = None) -> None:
        self.losses.append(Loss(strip.id, node, what, size_db))

    def _width(self, insert: Insert, strip: Strip) -> None:
        side = 1.0 + insert.mix * (insert.parameters["width"] - 1.0)
        if side != 1.0:
            size_db = abs(gain_to_db(side)) if side > 0.0 else None
            self._lose(strip, insert.id, f"width {side:.3g}: the format has none", size_db)

    def _plugin(self, insert: Insert, strip: Strip) -> Iterator[_Gain | _Step]:
        made = self.maker.make(insert, strip)
        if insert.mix == 1.0:
            yield _Step(insert.type, Plugin(made))
            return
        wet = f"dry/wet {insert.mix:.3g} of {made.title}: the format has none"
        if insert.type in SEND_EFFECTS:
            # On its own it would take the dry signal away: the lesser evil is to leave it bypassed.
            self._lose(strip, insert.id, f"{wet}; the plugin stands bypassed with its settings")
            dry = 1.0 - insert.mix
            yield _Step("", Plugin(made, enabled=False))
            yield _Gain(insert.id, dry, dry)
        else:
            self._lose(strip, insert.id, f"{wet}; it is fully wet")
            yield _Step(insert.type, Plugin(made))

    def _built_in(self, insert: Insert, strip: Strip) -> _Step:
        found = built_in(insert, sample_rate_hz=self.maker.sample_rate_hz)
        size_db = found.difference_db
        differs = size_db is None or size_db >= _INAUDIBLE_DB
        label = spec_of(insert.type).label
        if insert.type == EQ.type:
            if differs:
                self._lose(strip, insert.id, f"{label}: dry/wet {insert.mix:.3g} is approximated", size_db)
        else:
            # Neither a detector nor the meaning of time constants is defined for these devices.
            words = f"{label}: detector, knee and time constants are those of the program that opens it"
            mixed = f"; dry/wet {insert.mix:.3g} is approximated" if insert.mix != 1.0 else ""
            self._lose(strip, insert.id, words + mixed, size_db if differs else None)
        return _Step(insert.type, found.device)

    def _missing(self, insert: Insert, strip: Strip) -> Iterator[_Gain]:
        """A type that the format has no device for, and the chosen suites no plugin."""
        label = spec_of(insert.type).label
        words = f"{label}: the format has none; choose a plugin, such as --plugins {insert.type}=lsp"
        if insert.type == SATURATION.type:
            shape = saturation_shape(insert.parameters["drive_db"])
            peak = insert.mix * float(saturated(np.float64(1.0), shape, xp=np)) + 1.0 - insert.mix
            if peak != 1.0:
                self._lose(strip, insert.id, f"{label}: the format has none", abs(gain_to_db(peak)))
            return
        dry = 1.0 - insert.mix
        if not _silent(insert):
            self._lose(strip, insert.id, words if dry else f"{words}; the channel is muted until then")
        yield _Gain(insert.id, dry, dry)

    # ------------------------------------------------------------- fader and pan

    def _pan_moved(self, strip: Strip, node: str, pan: float) -> None:
        self._lose(strip, node, f"pan {pan:.3g} amid the devices: it acts after them instead", _near_side_db(pan))

    def _pan_moves(self, strip: Strip, pan: float) -> float:
        """Where a pan that moves begins; the one that stands still in front of it has no place of its own."""
        if pan != 0.0:
            words = f"pan {pan:.3g} before a pan that moves: the format has one a channel"
            self._lose(strip, "", words, _near_side_db(pan))
        return strip.pan_points[0].pan

    def _pan_law(self, strip: Strip, pan: float) -> None:
        sends = ", and whether sends follow it" if strip.sends else ""
        words = f"pan {pan:.3g}: which law it follows{sends} is up to the program that opens it"
        self._lose(strip, "", words, _near_side_db(pan))


def _levels(points: Sequence[Breakpoint], gain: float) -> tuple[tuple[float, float], ...]:
    """Times (s) and linear amplitudes of automation that is relative to a gain."""
    return tuple((point.time_s, gain * float(db_to_gain(point.gain_db))) for point in points)


def _near_side_db(pan: float) -> float:
    """What our law adds on the side that is panned to; a balance adds nothing there."""
    return float(gain_to_db(max(pan_gains(pan, xp=math))))


def _silent(insert: Insert) -> bool:
    """Whether a delay or reverb has nothing to say."""
    if insert.type == REVERB.type:
        return insert.parameters["level_db"] == REVERB.parameter("level_db").off_at
    names = [f"tap{number}_level_db" for number in range(1, DELAY_TAPS + 1)]
    return all(insert.parameters[name] == DELAY.parameter(name).off_at for name in names)


def _with_gains(steps: Sequence[_Gain | _Step]) -> Iterator[Device]:
    """The devices of a channel, gains among them put into those that have one, else into an equalizer without bands."""
    devices: list[Device] = []
    pending_db = 0.0
    for step in steps:
        if isinstance(step, _Gain):
            pending_db += gain_to_db(step.left)
            continue
        device = step.device
        if pending_db:
            if isinstance(device, BuiltIn) and device.element in WITH_GAINS:
                device = with_gain(device, INPUT_GAIN, pending_db)
            else:
                _after(devices, pending_db)
            pending_db = 0.0
        devices.append(device)
    if pending_db:
        _after(devices, pending_db)
    yield from devices


def _after(devices: list[Device], gain_db: float) -> None:
    """Add a gain behind the last device."""
    last = devices[-1] if devices else None
    if isinstance(last, BuiltIn) and last.element in WITH_GAINS:
        devices[-1] = with_gain(last, OUTPUT_GAIN, gain_db)
    else:
        devices.append(gain_device(gain_db))
