"""Writes a session as a DAWproject: a zip of project.xml, metadata.xml, the audio and the plugins' states.

What goes onto which channel is decided in `plan`; the XML and the file are made here.
"""

from __future__ import annotations

import itertools
import math
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import soundfile
from lxml import etree

from ... import __version__
from ...bridge.audio import read_audio, write_wav
from ...bridge.choices import System
from ...bridge.graph import MixGraph
from ...bridge.hosting.pool import PluginPool, PluginRef, shared_pool
from ...bridge.tempo import DEFAULT_POINT, MAX_BPM, MIN_BPM, TempoMap
from .. import chain
from ..families import colour_of
from ..folder import replaced_folder
from ..inserts import component_state, find_plugins, write_responses
from ..media import PlacedMedia, part_heard, place_media, session_frames, write_media
from ..names import one_line
from ..reaper.vst_chunk import class_id_on
from ..session import Child, Folder, Return, Session, Strip, Track, build_session
from ..vstpreset import encode_vstpreset
from ..writer import ExportJob
from .devices import Band, BuiltIn, Quantity, Unit
from .plan import MAX_FADER_GAIN, DawProjectPlan, Device, Plugin, plan_dawproject

#: Names within the zip.
PROJECT_FILE, METADATA_FILE = "project.xml", "metadata.xml"
AUDIO_FOLDER, PLUGIN_FOLDER = "audio", "plugins"

SUFFIX = ".dawproject"

#: Version of the format.
FORMAT_VERSION = "1.0"

#: Time of every file in the zip, the earliest it can hold: the same session gives the same bytes.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)

#: Readable by all, as the zip keeps it.
_ZIP_MODE = 0o100644 << 16

#: Decimals of numbers: times far below a sample, gains far below anything audible.
_DECIMALS = 12

#: Longer names are of no use on a mixer.
MAX_NAME_LENGTH = 200

_CENTRE = 0.5


def export_dawproject(job: ExportJob, folder: Path) -> Path:
    """Write a graph as a DAWproject; what the format cannot express of it is told by `plan.plan_dawproject`.

    Processors for which the chosen suites have no VST3 plugin become the format's own devices. Stems are
    always embedded.

    Parameters
    ----------
    job : ExportJob
    folder : Path

    Returns
    -------
    Path
        The project file.

    Raises
    ------
    MixbridgeError
        As for every format, see `writer.Writer`.
    """
    session = session_of(job.graph, reference_path=job.reference_path)
    placed = place_media(
        session, stems_dir=job.stems_dir, folder=folder, subfolder=AUDIO_FOLDER, can_link=lambda _info: False
    )
    plan = plan_dawproject(session, suites=job.plugins)
    title = job.title
    plugins = _find(plan, job.system, allow_unverified=job.options.allow_unverified, pool=job.pool)
    with replaced_folder(folder) as target:
        write_media(placed.values(), folder=target, sample_rate_hz=session.sample_rate_hz)
        _turn_polarity(session, placed, folder=target)
        write_responses(plan.responses, target=target, sample_rate_hz=session.sample_rate_hz)
        presets = _presets(
            plan, plugins, sample_rate_hz=session.sample_rate_hz, folder=folder, target=target, pool=job.pool
        )
        texts = {
            PROJECT_FILE: project_xml(session, plan, _audio_files(placed, folder=target), placed, plugins),
            METADATA_FILE: metadata_xml(job.name or job.graph.name, job.graph.provenance.notes),
        }
        media = [(target / file.reference, file.reference) for file in placed.values()]
        _write_zip(target / f"{title}{SUFFIX}", texts | presets, media)
        # The zip holds them; in the folder they were on their way there.
        shutil.rmtree(target / AUDIO_FOLDER, ignore_errors=True)
    return folder / f"{title}{SUFFIX}"


def session_of(graph: MixGraph, *, reference_path: Path | None = None) -> Session:
    """The session that a project of this graph holds: its faders have no end, as `plan` splits what exceeds one."""
    return build_session(graph, max_fader_db=math.inf, reference_path=reference_path)


def _turn_polarity(session: Session, placed: Mapping[str, PlacedMedia], *, folder: Path) -> None:
    """Invert the copies of stems that the mix holds inverted: the format has no switch for it."""
    for track in session.tracks():
        if track.media.polarity < 0:
            path = folder / placed[track.strip.id].reference
            write_wav(path, -read_audio(path), sample_rate_hz=session.sample_rate_hz)


@dataclass(frozen=True)
class _AudioFile:
    """What an audio file in the zip is."""

    channels: int
    sample_rate_hz: int
    frames: int


def _audio_files(placed: Mapping[str, PlacedMedia], *, folder: Path) -> dict[str, _AudioFile]:
    found = {}
    for track_id, media in placed.items():
        info = soundfile.info(str(folder / media.reference))
        found[track_id] = _AudioFile(info.channels, info.samplerate, info.frames)
    return found


# ------------------------------------------------------------------------------ plugins


@dataclass(frozen=True)
class PluginEntry:
    """A plugin on this machine, and how the project refers to it.

    Attributes
    ----------
    class_id : str
        On the system that the project is for.
    """

    reference: PluginRef
    class_id: str
    vendor: str


Plugins = Mapping[chain.PluginInfo, PluginEntry]


def _find(plan: DawProjectPlan, system: System, *, allow_unverified: bool, pool: PluginPool | None) -> Plugins:
    """Every plugin of a plan; `PluginError` where one cannot be used."""
    found = find_plugins(plan.plugins(), allow_unverified=allow_unverified, pool=pool)
    return {
        info: PluginEntry(plugin, class_id_on(info.class_id, system), (pool or shared_pool()).describe(plugin).vendor)
        for info, plugin in found.items()
    }


def _presets(
    plan: DawProjectPlan,
    plugins: Plugins,
    *,
    sample_rate_hz: int,
    folder: Path,
    target: Path,
    pool: PluginPool | None,
) -> dict[str, bytes]:
    """The preset of every plugin by its name in the zip; see `inserts.component_state` for the folders."""
    presets = {}
    for insert in plan.plugins():
        if insert.plugin is None:
            continue
        entry = plugins[insert.plugin]
        component = component_state(
            insert, entry.reference, sample_rate_hz=sample_rate_hz, folder=folder, target=target, pool=pool
        )
        presets[preset_name(insert)] = encode_vstpreset(entry.class_id, component)
    return presets


def preset_name(insert: chain.Insert) -> str:
    """Where the zip holds the state of a plugin."""
    return f"{PLUGIN_FOLDER}/{PurePosixPath(insert.preset or insert.id).name}"


def device_id(class_id: str) -> str:
    """A class id of VST3, 32 hexadecimal digits, as the format writes it: a UUID in lower case."""
    text = class_id.lower()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


# ---------------------------------------------------------------------------------- zip


def _write_zip(path: Path, texts: Mapping[str, bytes], files: Iterable[tuple[Path, str]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in texts.items():
            archive.writestr(_entry(name, zipfile.ZIP_DEFLATED), data)
        for source, name in files:
            entry = _entry(name, zipfile.ZIP_STORED)
            entry.file_size = source.stat().st_size
            with source.open("rb") as read, archive.open(entry, "w") as written:
                shutil.copyfileobj(read, written, 1 << 20)


def _entry(name: str, compression: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _ZIP_TIME)
    entry.compress_type = compression
    entry.external_attr = _ZIP_MODE
    # As if written on Unix, on every system.
    entry.create_system = 3
    return entry


# ---------------------------------------------------------------------------------- XML


def metadata_xml(title: str, notes: Sequence[str]) -> bytes:
    """The bytes of metadata.xml."""
    root = etree.Element("MetaData")
    etree.SubElement(root, "Title").text = xml_text(title)
    lines = [line for note in ("session written by Mixbridge", *notes) for line in note.splitlines()]
    etree.SubElement(root, "Comment").text = "\n".join(xml_text(line) for line in lines)
    return _bytes_of(root)


def project_xml(
    session: Session,
    plan: DawProjectPlan,
    audio: Mapping[str, _AudioFile],
    placed: Mapping[str, PlacedMedia],
    plugins: Plugins,
) -> bytes:
    """The bytes of project.xml."""
    return _bytes_of(_ProjectWriter(session, plan, audio, placed, plugins).project())


def _bytes_of(root: etree._Element) -> bytes:
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=True, pretty_print=True))


def xml_text(text: str) -> str:
    """A text on one line without the characters that XML forbids."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" or c in "\ufffe\uffff" else c for c in one_line(text))


def number_text(value: float) -> str:
    """A number without an exponent, which not every reader takes."""
    text = f"{value:.{_DECIMALS}f}".rstrip("0")
    text = text + "0" if text.endswith(".") else text
    return "0.0" if text == "-0.0" else text


class _ProjectWriter:
    """Makes the tree of project.xml; identifiers are counted in the order of the file."""

    def __init__(
        self,
        session: Session,
        plan: DawProjectPlan,
        audio: Mapping[str, _AudioFile],
        placed: Mapping[str, PlacedMedia],
        plugins: Plugins,
    ) -> None:
        self.session, self.plan, self.audio, self.placed, self.plugins = session, plan, audio, placed, plugins
        self.frames = session_frames(session, placed)
        self._numbers = itertools.count()
        strips = [*session.strips(), *([session.reference.strip] if session.reference is not None else [])]
        # Sends and destinations name channels that come later in the file.
        self.track_ids = {strip.id: f"track{index}" for index, strip in enumerate(strips)}
        self.channel_ids = {strip.id: f"channel{index}" for index, strip in enumerate(strips)}
        #: Ids of the parameters that may move: of faders and pans by strip, of sends by strip and target.
        self.volume_ids: dict[str, str] = {}
        self.pan_ids: dict[str, str] = {}
        self.send_ids: dict[tuple[str, str], str] = {}

    def _id(self) -> str:
        return f"id{next(self._numbers)}"

    def project(self) -> etree._Element:
        """The whole tree."""
        session = self.session
        root = etree.Element("Project", version=FORMAT_VERSION)
        etree.SubElement(root, "Application", name="Mixbridge", version=__version__)
        tempo_id, signature_id = self._transport(root)
        structure = etree.SubElement(root, "Structure")
        for child in (*session.children, *session.returns):
            self._child(structure, child, session.master.id)
        if session.reference is not None:
            self._child(structure, session.reference, session.master.id)
        self._track(structure, session.master, "audio notes", "master", None)
        arrangement = etree.SubElement(root, "Arrangement", id=self._id())
        lanes = etree.SubElement(arrangement, "Lanes", timeUnit="seconds", id=self._id())
        for track in (*session.tracks(), *([session.reference] if session.reference is not None else [])):
            self._clips(lanes, track)
        for strip in session.strips():
            self._automation(lanes, strip)
        if session.tempo is not None:
            self._tempo(arrangement, session.tempo, tempo_id, signature_id)
        etree.SubElement(root, "Scenes")
        return root

    # ------------------------------------------------------------------ parts

    def _real(
        self,
        parent: etree._Element,
        element: str,
        quantity: Quantity,
        *,
        name: str = "",
        limits: tuple[float, float] | None = None,
    ) -> str:
        """A parameter with a number; its id."""
        made = etree.SubElement(parent, element)
        if limits is not None:
            made.set("max", number_text(limits[1]))
            made.set("min", number_text(limits[0]))
        made.set("unit", quantity.unit.value)
        made.set("value", number_text(quantity.value))
        identifier = self._id()
        made.set("id", identifier)
        made.set("name", name or element)
        return identifier

    def _bool(self, parent: etree._Element, element: str, value: bool) -> None:
        etree.SubElement(parent, element, value="true" if value else "false", id=self._id(), name=element)

    def _transport(self, root: etree._Element) -> tuple[str, str]:
        first = DEFAULT_POINT if self.session.tempo is None else self.session.tempo.points[0]
        transport = etree.SubElement(root, "Transport")
        tempo = self._real(transport, "Tempo", Quantity(first.bpm, Unit.bpm), limits=(MIN_BPM, MAX_BPM))
        signature = self._id()
        etree.SubElement(
            transport,
            "TimeSignature",
            denominator=str(first.denominator),
            numerator=str(first.numerator),
            id=signature,
        )
        return tempo, signature

    def _child(self, parent: etree._Element, child: Child, destination: str) -> None:
        if isinstance(child, Folder):
            track = self._track(parent, child.strip, "tracks", "submix", destination)
            for inside in child.children:
                self._child(track, inside, child.strip.id)
        elif isinstance(child, Return):
            self._track(parent, child.strip, "audio", "effect", destination)
        else:
            track = self._track(parent, child.strip, "audio", "regular", destination)
            if child.media.polarity < 0:
                track.set("comment", "polarity inverted in the audio file")

    def _track(
        self, parent: etree._Element, strip: Strip, content: str, role: str, destination: str | None
    ) -> etree._Element:
        track = etree.SubElement(parent, "Track", contentType=content, loaded="true", id=self.track_ids[strip.id])
        track.set("name", xml_text(strip.name)[:MAX_NAME_LENGTH])
        if colour_of(strip.family):
            track.set("color", colour_of(strip.family))
        channel = etree.SubElement(track, "Channel", audioChannels="2")
        if destination is not None:
            channel.set("destination", self.channel_ids[destination])
        channel.set("role", role)
        channel.set("solo", "false")
        channel.set("id", self.channel_ids[strip.id])
        self._mixer(channel, strip)
        return track

    def _mixer(self, channel: etree._Element, strip: Strip) -> None:
        """What a channel does, in the order of the schema."""
        planned = self.plan.channels[strip.id]
        if planned.devices:
            devices = etree.SubElement(channel, "Devices")
            for device in planned.devices:
                self._device(devices, device)
        self._bool(channel, "Mute", planned.muted)
        self.pan_ids[strip.id] = self._pan(channel, planned.pan)
        if strip.sends:
            sends = etree.SubElement(channel, "Sends")
            for send in strip.sends:
                made = etree.SubElement(sends, "Send", destination=self.channel_ids[send.target], type="post")
                made.set("id", self._id())
                self._bool(made, "Enable", True)
                self._pan(made, 0.0)
                moving = planned.sends.get(send.target)
                level = Quantity(moving[0][1] if moving else send.gain, Unit.linear)
                self.send_ids[strip.id, send.target] = self._real(made, "Volume", level)
        self.volume_ids[strip.id] = self._real(
            channel, "Volume", Quantity(planned.gain, Unit.linear), limits=(0.0, MAX_FADER_GAIN)
        )

    def _pan(self, parent: etree._Element, pan: float) -> str:
        return self._real(parent, "Pan", Quantity(_normalized(pan), Unit.normalized), limits=(0.0, 1.0))

    # ---------------------------------------------------------------- devices

    def _device(self, parent: etree._Element, device: Device) -> None:
        if isinstance(device, Plugin):
            self._plugin(parent, device)
            return
        made = etree.SubElement(parent, device.element, deviceName=device.element, deviceRole="audioFX", loaded="true")
        made.set("id", self._id())
        made.set("name", xml_text(device.name))
        self._bool(made, "Enabled", device.enabled)
        for index, band in enumerate(device.bands):
            self._band(made, band, index)
        self._settings(made, device)

    def _settings(self, made: etree._Element, device: BuiltIn) -> None:
        """The schema lists settings in the order of their names."""
        automatic = "AutoMakeup" if device.element == "Compressor" else ""
        for name in sorted({*device.settings, automatic} - {""}):
            if name == automatic:
                self._bool(made, name, False)
            else:
                self._real(made, name, device.settings[name])

    def _band(self, parent: etree._Element, band: Band, index: int) -> None:
        made = etree.SubElement(parent, "Band", type=band.type, order=str(index))
        self._real(made, "Freq", band.frequency)
        if band.gain is not None:
            self._real(made, "Gain", band.gain)
        if band.q is not None:
            self._real(made, "Q", band.q)
        self._bool(made, "Enabled", band.enabled)

    def _plugin(self, parent: etree._Element, device: Plugin) -> None:
        info = device.insert.plugin
        if info is None:
            return
        entry = self.plugins[info]
        made = etree.SubElement(parent, "Vst3Plugin", deviceID=device_id(entry.class_id))
        made.set("deviceName", xml_text(info.name))
        made.set("deviceRole", "audioFX")
        if entry.vendor:
            made.set("deviceVendor", xml_text(entry.vendor))
        made.set("loaded", "true")
        made.set("id", self._id())
        made.set("name", xml_text(info.name))
        self._bool(made, "Enabled", device.enabled)
        etree.SubElement(made, "State", path=preset_name(device.insert), external="false")

    # ------------------------------------------------------------- arrangement

    def _clips(self, lanes: etree._Element, track: Track) -> None:
        """The track's clip: the part of the file that lies within the session, neither stretched nor faded."""
        strip, media, placed = track.strip, track.media, self.placed[track.strip.id]
        rate_hz = self.session.sample_rate_hz
        lane = etree.SubElement(lanes, "Lanes", track=self.track_ids[strip.id], id=self._id())
        clips = etree.SubElement(lane, "Clips", timeUnit="seconds", id=self._id())
        position, skipped, length = part_heard(media, placed, frames=self.frames)
        if length <= 0:
            return
        clip = etree.SubElement(clips, "Clip", time=number_text(position / rate_hz))
        clip.set("duration", number_text(length / rate_hz))
        clip.set("contentTimeUnit", "seconds")
        clip.set("playStart", number_text(skipped / rate_hz))
        clip.set("playStop", number_text((skipped + length) / rate_hz))
        clip.set("name", xml_text(strip.name)[:MAX_NAME_LENGTH])
        found = self.audio[strip.id]
        audio = etree.SubElement(clip, "Audio", timeUnit="seconds", id=self._id())
        audio.set("channels", str(found.channels))
        audio.set("duration", number_text(found.frames / found.sample_rate_hz))
        audio.set("sampleRate", str(found.sample_rate_hz))
        etree.SubElement(audio, "File", path=placed.reference, external="false")

    def _automation(self, lanes: etree._Element, strip: Strip) -> None:
        planned = self.plan.channels[strip.id]
        pan = tuple((time_s, _normalized(position)) for time_s, position in planned.pan_points)
        moving = [
            (self.volume_ids[strip.id], Unit.linear, planned.volume),
            (self.pan_ids[strip.id], Unit.normalized, pan),
        ]
        moving += [(self.send_ids[strip.id, target], Unit.linear, points) for target, points in planned.sends.items()]
        for parameter, unit, points in moving:
            if points:
                made = self._points(lanes, parameter, unit, "seconds", track=self.track_ids[strip.id])
                for time_s, value in _from_the_start(points):
                    _real_point(made, time_s, value, "linear")

    def _points(
        self,
        parent: etree._Element,
        target: str,
        unit: Unit | None,
        time_unit: str,
        *,
        element: str = "Points",
        track: str = "",
    ) -> etree._Element:
        made = etree.SubElement(parent, element, timeUnit=time_unit, id=self._id())
        if unit is not None:
            made.set("unit", unit.value)
        if track:
            made.set("track", track)
        etree.SubElement(made, "Target", parameter=target)
        return made

    def _tempo(self, arrangement: etree._Element, tempo: TempoMap, tempo_id: str, signature_id: str) -> None:
        """Markers, tempi and time signatures as far as they lie within the session, counted in beats.

        Beats are what the format counts in unless it is told otherwise, and what its readers expect here.
        """
        length_s = self.frames / self.session.sample_rate_hz
        markers = [marker for marker in tempo.markers if marker.time_s < length_s]
        if markers:
            made = etree.SubElement(arrangement, "Markers", timeUnit="beats", id=self._id())
            for marker in markers:
                etree.SubElement(
                    made,
                    "Marker",
                    time=number_text(beats_at(tempo, marker.time_s)),
                    name=xml_text(marker.name)[:MAX_NAME_LENGTH],
                )
        points = [point for point in tempo.points if point.time_s < length_s] or [tempo.points[0]]
        if len(points) == 1:
            # A tempo that never changes is said by the transport.
            return
        made = self._points(arrangement, tempo_id, Unit.bpm, "beats", element="TempoAutomation")
        for point in points:
            _real_point(made, beats_at(tempo, point.time_s), point.bpm, "hold")
        bars = [point for point in points if point.new_bar]
        if len({point.signature for point in bars}) > 1:
            made = self._points(arrangement, signature_id, None, "beats", element="TimeSignatureAutomation")
            for point in bars:
                etree.SubElement(
                    made,
                    "TimeSignaturePoint",
                    time=number_text(beats_at(tempo, point.time_s)),
                    numerator=str(point.numerator),
                    denominator=str(point.denominator),
                )


def _normalized(pan: float) -> float:
    return _CENTRE * (1.0 + pan)


def _from_the_start(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The points, with one at 0 where they begin later: what holds before the first is not defined."""
    if points[0][0] > 0.0:
        yield 0.0, points[0][1]
    yield from points


def _real_point(parent: etree._Element, time: float, value: float, interpolation: str) -> None:
    etree.SubElement(parent, "RealPoint", time=number_text(time), value=number_text(value), interpolation=interpolation)


def beats_at(tempo: TempoMap, time_s: float) -> float:
    """Quarter notes from the session's first frame up to a time."""
    beats = 0.0
    for point, following in itertools.pairwise([*tempo.points, None]):
        if point is None:
            break
        end_s = time_s if following is None else min(following.time_s, time_s)
        if end_s <= point.time_s:
            break
        beats += (end_s - point.time_s) * point.bpm / 60.0
    return beats
