"""A session as Ardour's routes: tracks and buses with their processors and connections; no XML here.

Ardour has no dry/wet of inserts, no width and no gain that commutes with nothing. What a plugin cannot do
itself is done by routing, exactly: a strip becomes several routes in a row, the last of which has the
strip's name and fader, with parallel buses in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ...bridge.processors.equations import channel_gains, pan_gains
from ...bridge.processors.specs import GAIN_PAN, IMAGER
from ..session import Insert, Media, Session, Strip, Track
from .plugins import ArdourPlugins, Effect, Run
from .rides import MAX_FADER_GAIN, Curve, StripRide, balance_position, level_ride, room_needed, scaled, strip_ride

#: The highest gain of the trim that every route begins with (+20 dB).
MAX_TRIM_GAIN = 10.0

#: What exceeds a fader by rounding alone needs no gain of its own.
_ROUNDING = 1e-12

#: Most routes do not move.
_STILL = StripRide()

Kind = Literal["track", "bus", "master"]

#: A route of a strip: its id, and a number; 0 is the route that has its fader.
Key = tuple[str, int]


@dataclass(frozen=True)
class Feed:
    """A connection to the inputs of another route.

    Attributes
    ----------
    crossed : bool
        Left goes to right and right to left.
    """

    target: Key
    crossed: bool = False


@dataclass(frozen=True)
class RouteSend:
    """An internal send; `gain` is linear, and so is that of its automation, if any."""

    target: Key
    gain: float
    ride: Curve = ()


@dataclass(frozen=True)
class Route:
    """One track or bus.

    Attributes
    ----------
    name : str
        As the strip's, not yet made unique.
    inverted : bool
        Both channels change their sign at the input.
    trim : float > 0
        Linear gain at the input.
    left, right : float >= 0
        Linear gain of fader and panner together; where they move, that of the beginning.
    taps : tuple of RouteSend
        Pre-fader, after the plugins.
    sends : tuple of RouteSend
        Post-fader.
    feeds : tuple of Feed
        None at all: the master, or silence.
    ride : StripRide
        Automation of fader and balance, in values of their own.
    outside : bool
        It plays past the master, straight into the outputs.
    """

    key: Key
    name: str
    kind: Kind
    plugins: tuple[Effect, ...]
    left: float
    right: float
    feeds: tuple[Feed, ...]
    inverted: bool = False
    trim: float = 1.0
    taps: tuple[RouteSend, ...] = ()
    sends: tuple[RouteSend, ...] = ()
    ride: StripRide = _STILL
    family: str = ""
    media: Media | None = None
    muted: bool = False
    outside: bool = False


def fader_and_azimuth(left: float, right: float) -> tuple[float, float]:
    """The fader and the azimuth whose product on a stereo balance is these gains.

    Parameters
    ----------
    left, right : float >= 0

    Returns
    -------
    fader : float >= 0
    azimuth : float, 0 (left) to 1 (right)
    """
    return max(left, right), balance_position(left, right)


@dataclass
class _Draft:
    """A route in the making; `inside` are its connections within the strip."""

    suffix: str = ""
    plugins: list[Effect] = field(default_factory=list)
    left: float = 1.0
    right: float = 1.0
    trim: float = 1.0
    inverted: bool = False
    taps: list[tuple[_Draft, float]] = field(default_factory=list)
    inside: list[tuple[_Draft, bool]] = field(default_factory=list)
    key: Key = ("", 0)


@dataclass
class _StripBuilder:
    """Lays the inserts of one strip out as routes in a row (`stages`) and buses beside them (`beside`)."""

    strip: Strip
    plugins: ArdourPlugins
    stages: list[_Draft] = field(default_factory=lambda: [_Draft()])
    beside: list[_Draft] = field(default_factory=list)

    def add(self, insert: Insert) -> None:
        """Continue the strip with one insert."""
        if insert.bypassed:
            self.stages[-1].plugins += self.plugins.standby(insert, self.strip)
            return
        if insert.type == GAIN_PAN.type and not self.plugins.has(insert):
            self._gain(*channel_gains(**insert.parameters, mix=insert.mix))
            return
        if insert.type == IMAGER.type and not self.plugins.has(insert):
            self._width(insert.mix * insert.parameters["width"] + 1.0 - insert.mix)
            return
        run = self.plugins.run(insert, self.strip)
        if run is not None:
            self._run(insert, run)

    def lift(self, gain: float) -> None:
        """Multiply by a gain that the last fader has no room for."""
        self._gain(gain, gain)

    def _run(self, insert: Insert, run: Run) -> None:
        """A single plugin that mixes by itself stays an insert; everything else gets a bus for each branch."""
        if run.alone is not None:
            self.stages[-1].plugins.append(run.alone)
            return
        before, after = self._cut()
        # The straight connection is the dry part; where there is none, nothing may pass.
        before.left = before.right = 1.0 - run.mix
        for number, branch in enumerate(run.branches, start=1):
            count = f" {number}" if len(run.branches) > 1 else ""
            bus = _Draft(f"{insert.type}{count}", plugins=list(branch.effects))
            # The plugins hear the full level, as dynamics must; what they add is turned down behind them.
            bus.left, bus.right = run.mix * branch.left, run.mix * branch.right
            bus.inside.append((after, False))
            before.taps.append((bus, 1.0))
            self.beside.append(bus)

    def _gain(self, left: float, right: float) -> None:
        """A gain of each side: fader and balance of a route that ends here."""
        before, after = self._cut()
        highest = max(left, right)
        share = min(1.0, MAX_FADER_GAIN / highest) if highest > 0.0 else 1.0
        before.left, before.right = left * share, right * share
        rest = 1.0 / share
        while rest > MAX_TRIM_GAIN:
            after.trim = MAX_TRIM_GAIN
            rest /= MAX_TRIM_GAIN
            after.inside.append((middle := _Draft("gain"), False))
            self.stages.append(middle)
            after = middle
        after.trim = rest

    def _width(self, width: float) -> None:
        """Each side gets a part of the other: a bus whose outputs are crossed."""
        before, after = self._cut()
        own, other = 0.5 * (1.0 + width), 0.5 * (1.0 - width)
        before.left = before.right = own
        if other:
            bus = _Draft("width", inverted=other < 0.0)
            bus.inside.append((after, True))
            before.taps.append((bus, abs(other)))
            self.beside.append(bus)

    def _cut(self) -> tuple[_Draft, _Draft]:
        """End the last stage and begin another that it flows into."""
        before, after = self.stages[-1], _Draft()
        before.inside.append((after, False))
        self.stages.append(after)
        return before, after

    def drafts(self) -> Iterator[_Draft]:
        """All of the strip's routes with their keys, in the order of the signal; the last has the number 0."""
        drafts = [*self.stages[:-1], *self.beside]
        for number, draft in enumerate(drafts, start=1):
            draft.key = (self.strip.id, number)
            draft.suffix = draft.suffix or "in"
        last = self.stages[-1]
        last.key = (self.strip.id, 0)
        yield from drafts
        yield last


def build_routes(session: Session, plugins: ArdourPlugins) -> tuple[Route, ...]:
    """All routes of a session, each before those that follow it on a mixer, the master last.

    Parameters
    ----------
    plugins : ArdourPlugins
        Says what an insert is; it is told of every insert and notes what none can hold.

    Raises
    ------
    ExportError
        If the chosen suites have no plugin for an insert and others have.
    """
    planner = _Planner(plugins)
    routes: list[Route] = []
    for child, parent in session.walk():
        media = child.media if isinstance(child, Track) else None
        routes += planner.routes(child.strip, "bus" if media is None else "track", parent, media=media)
    if session.reference is not None:
        routes.append(_reference(session.reference))
    routes += planner.routes(session.master, "master", None)
    return tuple(_entered(route, planner.entries) for route in routes)


@dataclass
class _Planner:
    plugins: ArdourPlugins
    #: The first route of each strip: where what feeds the strip flows into.
    entries: dict[str, Key] = field(default_factory=dict)

    def routes(self, strip: Strip, kind: Kind, parent: str | None, *, media: Media | None = None) -> Iterator[Route]:
        builder = _StripBuilder(strip, self.plugins)
        for insert in strip.inserts:
            builder.add(insert)
        pan = strip.pan_points[0].pan if strip.pan_points else strip.pan
        left, right = (strip.gain * float(gain) for gain in pan_gains(pan, xp=math))
        # A pan that moves changes the fader, too; one that stands still is part of its gain.
        ride = strip_ride(strip.volume, strip.pan_points, gain=strip.gain if strip.pan_points else max(left, right))
        lift = max(room_needed(ride.fader), max(left, right) / MAX_FADER_GAIN)
        if lift > 1.0 + _ROUNDING:
            builder.lift(lift)
            left, right = left / lift, right / lift
            ride = StripRide(scaled(ride.fader, 1.0 / lift), ride.balance)
        self.entries[strip.id] = (strip.id, 0)
        first, drafts = builder.stages[0], list(builder.drafts())
        sends, boosts = _sends(strip, number=len(drafts))
        yield from boosts
        for draft in drafts:
            last = draft.key[1] == 0
            if draft is first:
                self.entries[strip.id] = draft.key
            yield Route(
                key=draft.key,
                name=strip.name if last else f"{strip.name} {draft.suffix}",
                kind=_kind(kind, first=draft is first, last=last),
                plugins=tuple(draft.plugins),
                left=left if last else draft.left,
                right=right if last else draft.right,
                feeds=tuple(Feed(d.key, crossed) for d, crossed in draft.inside)
                + ((Feed((parent, 0)),) if last and parent is not None else ()),
                inverted=draft.inverted != (media is not None and media.polarity < 0 and draft is first),
                trim=draft.trim,
                taps=tuple(RouteSend(d.key, gain) for d, gain in draft.taps),
                sends=sends if last else (),
                ride=ride if last else _STILL,
                family=strip.family,
                media=media if draft is first else None,
            )


def _sends(strip: Strip, *, number: int) -> tuple[tuple[RouteSend, ...], list[Route]]:
    """The sends of a strip, and a bus for each whose automation has no room: it adds the gain that is missing.

    The buses have the numbers from `number` on.
    """
    sends: list[RouteSend] = []
    boosts: list[Route] = []
    for send in strip.sends:
        ride, target = level_ride(send.volume, gain=send.gain), (send.target, 0)
        lift = room_needed(ride)
        if lift > 1.0 + _ROUNDING:
            ride, key = scaled(ride, 1.0 / lift), (strip.id, number + len(boosts))
            boosts.append(Route(key, f"{strip.name} send", "bus", (), 1.0, 1.0, (Feed(target),), trim=lift))
            target = key
        sends.append(RouteSend(target, ride[0].value if ride else send.gain, ride))
    return tuple(sends), boosts


def _kind(kind: Kind, *, first: bool, last: bool) -> Kind:
    """A track's file is played by its first route, the master is the last of its routes."""
    return kind if (kind == "track" and first) or (kind == "master" and last) else "bus"


def _reference(track: Track) -> Route:
    """The finished mix: muted, and past the master once it is heard."""
    strip = track.strip
    return Route(
        key=(strip.id, 0),
        name=strip.name,
        kind="track",
        plugins=(),
        left=1.0,
        right=1.0,
        feeds=(),
        family=strip.family,
        media=track.media,
        muted=True,
        outside=True,
    )


def _entered(route: Route, entries: Mapping[str, Key]) -> Route:
    """The route, with what leads to another strip led to that strip's first route."""

    def entry(target: Key) -> Key:
        return target if target[0] == route.key[0] else entries[target[0]]

    return replace(
        route,
        feeds=tuple(replace(feed, target=entry(feed.target)) for feed in route.feeds),
        sends=tuple(replace(send, target=entry(send.target)) for send in route.sends),
    )
