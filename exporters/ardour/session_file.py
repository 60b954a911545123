"""The text of an Ardour session, format 7002: routes, regions, connections and tempo as XML; no file is written here.

Only what Ardour 7 needs, or what says something, is written; it fills in the rest by itself.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lxml import etree

from ...bridge.tempo import DEFAULT_POINT, TempoMap
from ..families import colour_of
from ..media import PlacedMedia, part_heard
from ..names import one_line, unused_name
from ..session import Media
from .plugins import Effect
from .rides import FADER_LAG_S, Curve, events
from .routes import Key, Route, RouteSend, fader_and_azimuth

#: The version of the format, as Ardour 7.3 writes it.
FORMAT_VERSION = 7002

#: Ticks per second of Ardour's clock: a whole number of them in a sample at every usual rate.
CLOCK_HZ = 282_240_000

#: What the physical outputs are called, whatever the driver.
PLAYBACK_PORTS = ("system:playback_1", "system:playback_2")

#: Names that Ardour keeps for itself.
RESERVED_NAMES = ("auditioner", "click", "control", "master", "monitor")

#: What the master is called.
MASTER_NAME = "Master"

#: Longer names are of no use on a mixer.
MAX_NAME_LENGTH = 60

_FLAGS = {"track": "AudioTrack", "bus": "AudioBus", "master": "MasterOut"}

#: An element of the file; the library has no types of its own.
Element: TypeAlias = Any


@dataclass(frozen=True)
class PlacedEffect:
    """An effect with what only the writing of files can tell.

    Attributes
    ----------
    state_folder : str
        Of an LV2 plugin that loads files: its state, within its folder below ``plugins``; else empty.
    chunk : str
        Of a VST3 plugin: its preset file, base64.
    number : int
        Id of the processor.
    """

    effect: Effect
    number: int
    state_folder: str = ""
    chunk: str = ""


def clock(seconds_or_frames: float, *, per_second: float) -> str:
    """A time as Ardour writes it, from a count of `per_second` units."""
    return f"a{round(seconds_or_frames * CLOCK_HZ / per_second)}"


def plain(value: float) -> str:
    """A number with all its digits."""
    return repr(float(value))


def route_names(routes: Iterable[Route]) -> dict[Key, str]:
    """A name for every route that no other one has and that connections can refer to."""
    taken = set(RESERVED_NAMES)
    return {
        route.key: MASTER_NAME if route.kind == "master" else unused_name(_clean(route.name) or "Track", taken)
        for route in routes
    }


def _clean(name: str) -> str:
    """The name without what XML or the names of ports cannot hold: a colon ends the client's part of those."""
    kept = "".join(c for c in one_line(name).replace(":", "-") if unicodedata.category(c) not in ("Cs", "Cn", "Cc"))
    return kept.strip()[:MAX_NAME_LENGTH].strip()


@dataclass
class SessionWriter:
    """Writes one session; every element with an id gets the next number.

    Attributes
    ----------
    effects : mapping of Key to sequence of PlacedEffect
        By route.
    ids : iterator of int
        Where ids come from: those of the effects are taken already.
    """

    name: str
    sample_rate_hz: int
    frames: int
    routes: Sequence[Route]
    placed: Mapping[str, PlacedMedia]
    effects: Mapping[Key, Sequence[PlacedEffect]]
    ids: Iterator[int]
    tempo: TempoMap | None = None
    root: Element = field(default_factory=lambda: etree.Element("Session"))
    names: dict[Key, str] = field(default_factory=dict)
    numbers: dict[Key, str] = field(default_factory=dict)

    def text(self) -> bytes:
        """The bytes of the session file."""
        self.names = route_names(self.routes)
        self.numbers = {route.key: self._id() for route in self.routes}
        root = self.root
        root.set("version", str(FORMAT_VERSION))
        root.set("name", self.name)
        root.set("sample-rate", str(self.sample_rate_hz))
        config = _sub(root, "Config")
        for key, value in (("native-file-data-format", "FormatFloat"), ("native-file-header-format", "WAVE")):
            _sub(config, "Option", name=key, value=value)
        sources, _ = _sub(root, "Sources"), _sub(root, "Regions")
        self._locations(_sub(root, "Locations"))
        routes, playlists = _sub(root, "Routes"), _sub(root, "Playlists")
        order = list(self.routes)
        # The master must be there before anything connects to it.
        for place, route in sorted(enumerate(order), key=lambda item: item[1].kind != "master"):
            element = self._route(routes, route, place)
            if route.media is not None:
                self._playlist(playlists, sources, route, element)
        _sub(root, "RouteGroups")
        self._tempo(_sub(root, "TempoMap"))
        root.set("id-counter", self._id())
        etree.indent(root)
        return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))

    # ---------------------------------------------------------------- session

    def _id(self) -> str:
        return str(next(self.ids))

    def _frames(self, frames: int) -> str:
        return clock(frames, per_second=self.sample_rate_hz)

    def _locations(self, parent: Element) -> None:
        end = self._frames(self.frames)
        _sub(parent, "Location", id=self._id(), name="session", start="a0", end=end, flags="IsSessionRange")
        length_s = self.frames / self.sample_rate_hz
        for marker in self.tempo.markers if self.tempo is not None else ():
            if marker.time_s < length_s:
                at = clock(marker.time_s, per_second=1.0)
                name = _clean(marker.name) or "mark"
                _sub(parent, "Location", id=self._id(), name=name, start=at, end=at, flags="IsMark")

    def _tempo(self, parent: Element) -> None:
        """The first tempo and time signature."""
        first = DEFAULT_POINT if self.tempo is None else self.tempo.points[0]
        start = {"sclock": "0", "quarters": "0:0", "bbt": "1|1|0"}
        bpm = plain(first.bpm)
        tempo = {"npm": bpm, "enpm": bpm, "note-type": "4", "type": "Constant", "active": "1", "locked-to-meter": "0"}
        _sub(_sub(parent, "Tempos"), "Tempo", **tempo, **start)
        bar = {"note-value": str(first.denominator), "divisions-per-bar": str(first.numerator)}
        _sub(_sub(parent, "Meters"), "Meter", **bar, **start)

    # ----------------------------------------------------------------- routes

    def _route(self, parent: Element, route: Route, place: int) -> Element:
        name, fader, azimuth = self.names[route.key], *fader_and_azimuth(route.left, route.right)
        element = _sub(parent, "Route", id=self.numbers[route.key], name=name, active="1")
        element.set("default-type", "audio")
        colour = colour_of(route.family)
        about = _sub(element, "PresentationInfo", order=str(place), flags=f"{_FLAGS[route.kind]},OrderSet")
        if colour:
            about.set("color", str(int(colour.removeprefix("#") + "ff", 16)))
        self._ports(element, name, "in", ([], []))
        self._ports(element, name, "out", self._connections(route))
        if route.muted:
            self._control(element, "mute", 1.0)
            mute = _sub(element, "MuteMaster", muted="1")
            mute.set("mute-point", "PreFader,PostFader,Listen,Main")
        if route.inverted:
            self._control(element, "phase", 0.0).set("phase-invert", "11")
        pannable = _sub(element, "Pannable")
        self._automation(pannable, "pan-azimuth", route.ride.balance, early_s=0.0)
        self._control(pannable, "pan-azimuth", azimuth)
        self._control(pannable, "pan-width", 1.0)
        if route.media is not None:
            self._processor(element, "diskreader", "player")
        if route.kind != "track":
            self._processor(element, "intreturn", "Return")
        if route.trim != 1.0:
            self._control(self._processor(element, "trim", "Trim"), "trimcontrol", route.trim)
        for effect in self.effects.get(route.key, ()):
            self._effect(element, effect)
        self._sends(element, route.taps)
        amp = self._processor(element, "amp", "Fader")
        self._automation(amp, "gain", route.ride.fader, early_s=FADER_LAG_S)
        self._control(amp, "gaincontrol", fader)
        self._sends(element, route.sends)
        outs = self._processor(element, "main-outs", name)
        outs.set("role", "Main")
        outs.set("output", name)
        return element

    def _connections(self, route: Route) -> tuple[list[str], list[str]]:
        """What left and right output are connected to."""
        sides: tuple[list[str], list[str]] = ([], [])
        for feed in route.feeds:
            for side in (0, 1):
                sides[side].append(f"{self.names[feed.target]}/audio_in {(1 - side if feed.crossed else side) + 1}")
        if route.outside or route.kind == "master":
            for side in (0, 1):
                sides[side].append(PLAYBACK_PORTS[side])
        return sides

    def _ports(self, route: Element, name: str, way: str, connections: tuple[list[str], list[str]]) -> None:
        io = _sub(route, "IO", name=name, id=self._id(), direction={"in": "Input", "out": "Output"}[way])
        for number, others in enumerate(connections, start=1):
            port = _sub(io, "Port", type="audio", name=f"{name}/audio_{way} {number}")
            for other in others:
                _sub(port, "Connection", other=other)

    def _control(self, parent: Element, name: str, value: float) -> Element:
        return _sub(parent, "Controllable", name=name, id=self._id(), value=plain(value))

    def _processor(self, route: Element, kind: str, name: str) -> Element:
        return _sub(route, "Processor", id=self._id(), name=name, active="1", type=kind)

    def _sends(self, route: Element, sends: Iterable[RouteSend]) -> None:
        for send in sends:
            processor = self._processor(route, "intsend", f"to {self.names[send.target]}")
            processor.set("role", "Aux")
            processor.set("target", self.numbers[send.target])
            # By another name than a fader's: a send that is told to follow "gain" stands still.
            self._automation(processor, "send", send.ride, early_s=FADER_LAG_S)
            self._control(processor, "gaincontrol", send.gain)

    def _effect(self, route: Element, placed: PlacedEffect) -> None:
        effect = placed.effect
        processor = self._processor(route, effect.kind, effect.name)
        processor.set("id", str(placed.number))
        processor.set("active", "1" if effect.active else "0")
        processor.set("unique-id", effect.id)
        processor.set("count", "1")
        state = _sub(processor, effect.kind)
        if placed.state_folder:
            state.set("state-dir", placed.state_folder)
        for symbol, value in effect.ports.items():
            _sub(state, "Port", symbol=symbol, value=plain(value))
        if placed.chunk:
            _sub(state, "chunk").text = placed.chunk

    def _automation(self, parent: Element, what: str, curve: Curve, *, early_s: float) -> None:
        """What a control follows, if it does: straight lines between the points of the curve."""
        if not curve:
            return
        automation = _sub(parent, "Automation")
        listed = _sub(automation, "AutomationList", id=self._id(), state="Play")
        listed.set("automation-id", what)
        listed.set("interpolation-style", "Linear")
        listed.set("time-domain", "AudioTime")
        points = events(curve, early_s=early_s)
        lines = [f"{clock(point.time_s, per_second=1.0)} {plain(point.value)}\n" for point in points]
        _sub(listed, "events").text = "".join(lines)

    # ------------------------------------------------------------------ media

    def _playlist(self, playlists: Element, sources: Element, route: Route, element: Element) -> None:
        playlist_id, name = self._id(), self.names[route.key]
        element.set("audio-playlist", playlist_id)
        element.set("mode", "Normal")
        playlist = _sub(playlists, "Playlist", id=playlist_id, name=name, type="audio")
        playlist.set("orig-track-id", self.numbers[route.key])
        media, placed = route.media, self.placed[route.key[0]]
        if media is not None:
            self._region(playlist, self._sources(sources, placed), media, placed, name)

    def _sources(self, parent: Element, placed: PlacedMedia) -> list[str]:
        """Ids of what left and right play; a file with one channel is played on both sides."""
        reference = str(placed.source.resolve()) if placed.linked else placed.reference.rpartition("/")[2]
        found = []
        for channel in range(min(placed.info.channels, 2)):
            number = self._id()
            source = _sub(parent, "Source", id=number, name=reference, type="audio", channel=str(channel))
            source.set("flags", "")
            source.set("origin", reference if placed.linked else "")
            found.append(number)
        return found if len(found) == 2 else found * 2

    def _region(self, playlist: Element, sources: list[str], media: Media, placed: PlacedMedia, name: str) -> None:
        """The part of the file that lies within the session, without fades."""
        position, skipped, length = part_heard(media, placed, frames=self.frames)
        if length <= 0:
            return
        region = _sub(playlist, "Region", id=self._id(), name=name, type="audio", start=self._frames(skipped))
        region.set("length", f"{self._frames(length)}@{self._frames(position)}")
        region.set("channels", str(len(sources)))
        region.set("fade-in-active", "0")
        region.set("fade-out-active", "0")
        for number, source in enumerate(sources):
            region.set(f"source-{number}", source)
            region.set(f"master-source-{number}", source)


def _sub(parent: Element, tag: str, **attributes: str) -> Element:
    return etree.SubElement(parent, tag, attributes)
