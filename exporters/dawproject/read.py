"""Reads a DAWproject back as plain data, with zipfile and lxml alone; nothing is rendered and no DAW is asked.

What stands in the file is what is returned: units and identifiers as written, references checked.
Damaged files end in a `SessionFileError`, however they are damaged.
"""

from __future__ import annotations

import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lxml import etree

from ...bridge.errors import SessionFileError
from .devices import Band, BuiltIn, Quantity, Unit
from .project import PROJECT_FILE

#: A project.xml larger than this is refused; so is a state of a plugin.
MAX_XML_BYTES = 64 * 1024 * 1024
MAX_STATE_BYTES = 64 * 1024 * 1024

#: More files than this are no session.
MAX_ENTRIES = 100_000

#: What zipfile raises for damaged files, by what it stumbles upon.
_BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    ArithmeticError,
    ValueError,
    LookupError,
    RuntimeError,
)

_BUILT_IN = ("Equalizer", "Compressor", "NoiseGate", "Limiter")


@dataclass(frozen=True)
class ReadPlugin:
    """A VST3 plugin.

    Attributes
    ----------
    class_id : str
        As the file has it.
    state : str
        Name of the preset in the zip; empty where there is none.
    """

    class_id: str
    name: str
    vendor: str
    state: str
    enabled: bool


@dataclass(frozen=True)
class ReadSend:
    """A send.

    Attributes
    ----------
    destination : str
        Id of a channel.
    type : str
        pre or post.
    volume_points : tuple of (float, float)
        As `ReadTrack` has them.
    """

    destination: str
    volume: Quantity
    pan: Quantity
    type: str
    enabled: bool
    volume_points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class ReadClip:
    """A clip that plays an audio file; all times in seconds."""

    time_s: float
    duration_s: float
    start_s: float
    file: str
    file_duration_s: float
    channels: int
    sample_rate_hz: int


@dataclass(frozen=True)
class ReadTrack:
    """A track with its channel.

    Attributes
    ----------
    parent : str
        Id of the track it lies in; empty on the top level.
    destination : str
        Id of the channel it flows into; empty for none.
    volume_points : tuple of (float, float)
        Times (s) and values of its volume's automation, in the unit of `volume`.
    pan_points : tuple of (float, float)
        The same of its pan.
    """

    id: str
    name: str
    colour: str
    content: tuple[str, ...]
    parent: str
    channel_id: str
    role: str
    destination: str
    volume: Quantity
    pan: Quantity
    muted: bool
    devices: tuple[BuiltIn | ReadPlugin, ...] = ()
    sends: tuple[ReadSend, ...] = ()
    clips: tuple[ReadClip, ...] = ()
    volume_points: tuple[tuple[float, float], ...] = ()
    pan_points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class ReadProject:
    """What a DAWproject holds.

    Attributes
    ----------
    tracks : tuple of ReadTrack
        In the order of the file, a group before what lies in it.
    tempi : tuple of (float, float)
        Beats and quarter notes per minute; empty where the tempo never changes.
    signatures : tuple of (float, int, int)
        Beats, numerators and denominators.
    markers : tuple of (float, str)
        Beats and names.
    """

    application: str
    bpm: float
    signature: tuple[int, int]
    tracks: tuple[ReadTrack, ...]
    tempi: tuple[tuple[float, float], ...] = ()
    signatures: tuple[tuple[float, int, int], ...] = ()
    markers: tuple[tuple[float, str], ...] = ()
    files: tuple[str, ...] = field(default=())


def read_dawproject(path: Path) -> ReadProject:
    """Read a DAWproject.

    Raises
    ------
    SessionFileError
        If it cannot be read, is damaged or too large, or refers to what it does not hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) > MAX_ENTRIES:
                raise SessionFileError(f"{path}: holds more than {MAX_ENTRIES} files; this is not a session")
            data = _entry(archive, PROJECT_FILE, limit=MAX_XML_BYTES, path=path)
    except SessionFileError:
        raise
    except _BROKEN_ZIP as error:
        raise _damaged(path, error) from None
    return _Reader(path, data, frozenset(names)).project(tuple(names))


def read_state(path: Path, name: str) -> bytes:
    """The bytes of a plugin's state in a DAWproject.

    Raises
    ------
    SessionFileError
        If it is missing, damaged or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _entry(archive, name, limit=MAX_STATE_BYTES, path=path)
    except SessionFileError:
        raise
    except _BROKEN_ZIP as error:
        raise _damaged(path, error) from None


def _entry(archive: zipfile.ZipFile, name: str, *, limit: int, path: Path) -> bytes:
    if name not in archive.namelist():
        raise SessionFileError(f"{path}: holds no {name}; export it again")
    # The size in the zip's directory may be a lie: no more is unpacked than is allowed.
    with archive.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise SessionFileError(f"{path}: {name} is larger than {limit // 2**20} MiB; this is not a session")
    return data


def _damaged(path: Path, error: Exception) -> SessionFileError:
    words = (getattr(error, "strerror", None) or str(error) or "it ends too early").splitlines()[0]
    return SessionFileError(f"{path}: not a readable DAWproject ({words}); export it again")


class _Reader:
    """Reads the tree of one project.xml."""

    def __init__(self, path: Path, data: bytes, files: frozenset[str]) -> None:
        self.path, self.files = path, files
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        try:
            self.root = etree.fromstring(data, parser)
        except (etree.XMLSyntaxError, ValueError) as error:
            raise _damaged(path, error) from None
        if self.root.tag != "Project":
            raise SessionFileError(f"{path}: {PROJECT_FILE} holds {self.root.tag}, not a Project; export it again")
        self.ids = {element.get("id"): element for element in self.root.iter("*") if element.get("id")}
        # Looked up once: a file may hold many tracks.
        self.clips: dict[str, list[etree._Element]] = {}
        for lane in self.root.iterfind("Arrangement/Lanes/Lanes"):
            self.clips.setdefault(lane.get("track", ""), []).extend(lane.iterfind("Clips/Clip"))
        self.points: dict[str, etree._Element] = {
            target.get("parameter", ""): points
            for points in self.root.iterfind("Arrangement/Lanes/Points")
            for target in points.findall("Target")
        }

    def project(self, files: tuple[str, ...]) -> ReadProject:
        """The whole project."""
        application = self._child(self.root, "Application")
        tempo = self.root.find("Transport/Tempo")
        signature = self.root.find("Transport/TimeSignature")
        structure = self.root.find("Structure")
        arrangement = self.root.find("Arrangement")
        tracks = () if structure is None else tuple(self._tracks(structure, ""))
        return ReadProject(
            application=application.get("name", ""),
            bpm=120.0 if tempo is None else self._number(tempo, "value"),
            signature=(4, 4) if signature is None else self._signature(signature),
            tracks=tracks,
            tempi=tuple(
                (self._number(p, "time"), self._number(p, "value"))
                for p in self._all(arrangement, "TempoAutomation/RealPoint")
            ),
            signatures=tuple(
                (self._number(p, "time"), *self._signature(p))
                for p in self._all(arrangement, "TimeSignatureAutomation/TimeSignaturePoint")
            ),
            markers=tuple(
                (self._number(m, "time"), m.get("name", "")) for m in self._all(arrangement, "Markers/Marker")
            ),
            files=files,
        )

    # --------------------------------------------------------------- elements

    def _error(self, element: etree._Element, words: str) -> SessionFileError:
        return SessionFileError(f"{self.path}: {PROJECT_FILE} line {element.sourceline}: {words}; export it again")

    def _child(self, element: etree._Element, name: str) -> etree._Element:
        found = element.find(name)
        if found is None:
            raise self._error(element, f"{element.tag} without {name}")
        return found

    def _all(self, element: etree._Element | None, path: str) -> list[etree._Element]:
        return [] if element is None else list(element.findall(path))

    def _number(self, element: etree._Element, name: str, default: float | None = None) -> float:
        text = element.get(name)
        if text is None and default is not None:
            return default
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self._error(element, f"{element.tag} {name} is {text!r}, not a number")
        return value

    def _integer(self, element: etree._Element, name: str) -> int:
        value = self._number(element, name)
        if value != round(value):
            raise self._error(element, f"{element.tag} {name} is {value:g}, not a whole number")
        return int(value)

    def _signature(self, element: etree._Element) -> tuple[int, int]:
        return self._integer(element, "numerator"), self._integer(element, "denominator")

    def _quantity(self, element: etree._Element) -> Quantity:
        text = element.get("unit")
        if text not in list(Unit):
            raise self._error(element, f"{element.tag} has the unit {text!r}")
        return Quantity(self._number(element, "value"), Unit(text))

    def _quantity_or(self, parent: etree._Element, name: str, default: Quantity) -> Quantity:
        found = parent.find(name)
        return default if found is None else self._quantity(found)

    def _switch(self, parent: etree._Element, name: str, default: bool) -> bool:
        found = parent.find(name)
        return default if found is None else found.get("value") in ("true", "1")

    def _target(self, element: etree._Element, attribute: str, tag: str) -> str:
        """An identifier that refers to an element of some kind; empty where there is none."""
        text = str(element.get(attribute, ""))
        if text and (text not in self.ids or self.ids[text].tag != tag):
            raise self._error(element, f"{attribute} {text!r} names no {tag}")
        return text

    # ----------------------------------------------------------------- tracks

    def _tracks(self, parent: etree._Element, parent_id: str) -> Iterator[ReadTrack]:
        for element in parent.findall("Track"):
            track = self._track(element, parent_id)
            yield track
            yield from self._tracks(element, track.id)

    def _track(self, element: etree._Element, parent: str) -> ReadTrack:
        channel = self._child(element, "Channel")
        volume = channel.find("Volume")
        track_id = str(element.get("id", ""))
        return ReadTrack(
            id=track_id,
            name=element.get("name", ""),
            colour=element.get("color", ""),
            content=tuple(element.get("contentType", "").split()),
            parent=parent,
            channel_id=channel.get("id", ""),
            role=channel.get("role", "regular"),
            destination=self._target(channel, "destination", "Channel"),
            volume=Quantity(1.0, Unit.linear) if volume is None else self._quantity(volume),
            pan=self._quantity_or(channel, "Pan", _CENTRE),
            muted=self._switch(channel, "Mute", False),
            devices=tuple(self._devices(channel)),
            sends=tuple(self._send(send) for send in channel.findall("Sends/Send")),
            clips=tuple(self._clip(clip) for clip in self.clips.get(track_id, ())),
            volume_points=self._automation(volume),
            pan_points=self._automation(channel.find("Pan")),
        )

    def _send(self, element: etree._Element) -> ReadSend:
        return ReadSend(
            destination=self._target(element, "destination", "Channel"),
            volume=self._quantity(self._child(element, "Volume")),
            pan=self._quantity_or(element, "Pan", _CENTRE),
            type=element.get("type", "post"),
            enabled=self._switch(element, "Enable", True),
            volume_points=self._automation(element.find("Volume")),
        )

    def _devices(self, channel: etree._Element) -> Iterator[BuiltIn | ReadPlugin]:
        for element in channel.findall("Devices/*"):
            if element.tag in _BUILT_IN:
                yield BuiltIn(
                    element=element.tag,
                    name=element.get("name", ""),
                    settings=self._settings(element),
                    bands=tuple(self._band(band) for band in element.findall("Band")),
                    enabled=self._switch(element, "Enabled", True),
                )
            elif element.tag == "Vst3Plugin":
                state = element.find("State")
                yield ReadPlugin(
                    class_id=element.get("deviceID", ""),
                    name=element.get("deviceName", ""),
                    vendor=element.get("deviceVendor", ""),
                    state="" if state is None else self._file(state),
                    enabled=self._switch(element, "Enabled", True),
                )
            else:
                raise self._error(element, f"a device of the kind {element.tag} is not read")

    def _settings(self, element: etree._Element) -> Mapping[str, Quantity]:
        return {child.tag: self._quantity(child) for child in element.findall("*") if child.get("unit") is not None}

    def _band(self, element: etree._Element) -> Band:
        gain, q = element.find("Gain"), element.find("Q")
        return Band(
            type=element.get("type", ""),
            frequency=self._quantity(self._child(element, "Freq")),
            gain=None if gain is None else self._quantity(gain),
            q=None if q is None else self._quantity(q),
            enabled=self._switch(element, "Enabled", True),
        )

    # ------------------------------------------------------------ arrangement

    def _file(self, element: etree._Element) -> str:
        name = str(element.get("path", ""))
        if name not in self.files:
            raise self._error(element, f"{element.tag}: the file holds no {name!r}")
        return name

    def _clip(self, clip: etree._Element) -> ReadClip:
        audio = self._child(clip, "Audio")
        if clip.get("contentTimeUnit") != "seconds":
            raise self._error(clip, "a clip whose content is not counted in seconds is not read")
        return ReadClip(
            time_s=self._number(clip, "time"),
            duration_s=self._number(clip, "duration"),
            start_s=self._number(clip, "playStart", 0.0),
            file=self._file(self._child(audio, "File")),
            file_duration_s=self._number(audio, "duration"),
            channels=self._integer(audio, "channels"),
            sample_rate_hz=self._integer(audio, "sampleRate"),
        )

    def _automation(self, parameter: etree._Element | None) -> tuple[tuple[float, float], ...]:
        """Times and values of a parameter that moves."""
        found = None if parameter is None else self.points.get(parameter.get("id", ""))
        points = self._all(found, "RealPoint")
        return tuple((self._number(point, "time"), self._number(point, "value")) for point in points)


_CENTRE = Quantity(0.5, Unit.normalized)
