"""Writes a session as a REAPER project; what goes where in the file, and the folder around it, is decided here.

The project is self-contained: ``<name>.rpp``, ``Media/`` and ``Effects/``, which REAPER searches
for effects that are referred to as ``<Project>/...``; beside it lies the script of `check_script`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...bridge.audio import AudioInfo
from ...bridge.errors import ExportError
from ...bridge.graph import Breakpoint
from ...bridge.processors.equations import db_to_gain, gain_to_db
from ...bridge.processors.laws import kind_of
from ...bridge.processors.specs import MIX, spec_of
from ...bridge.tempo import DEFAULT_POINT, TempoMap
from ..families import colour_of
from ..folder import replaced_folder
from ..media import PlacedMedia, part_heard, place_media, session_frames, write_media
from ..names import one_line
from ..session import MAX_FADER_DB, Child, Folder, Insert, Media, Send, Session, Strip, Track, build_session
from ..writer import ExportJob
from .check_script import SCRIPT_FILE, check_script
from .effects import EFFECTS_FOLDER, JSFX_FILES, jsfx_reference, jsfx_source, slider_tokens
from .guids import node_guid
from .plugins import plan_plugins, plugin_blocks
from .rendering import add_render_settings
from .rpp import Block, Word, has_all_quotes, number

#: Folder of a project that holds its audio.
MEDIA_FOLDER = "Media"

#: How a project names the kind of a file that REAPER reads itself, by file name ending.
SOURCE_KINDS = {
    ".wav": "WAVE", ".wave": "WAVE", ".aif": "WAVE", ".aiff": "WAVE", ".aifc": "WAVE",
    ".flac": "FLAC", ".ogg": "VORBIS", ".oga": "VORBIS", ".mp3": "MP3",
}  # fmt: skip

#: REAPER's pan law with this centre gain is sine and cosine exactly; every other law has a table.
SINE_PAN_LAW = math.sqrt(0.5)

#: What `SINE_PAN_LAW` takes away at the centre and the fader gives back.
PAN_COMPENSATION = math.sqrt(2.0)

#: Automation mode in which the fader multiplies the volume envelope and its pan adds to the pan envelope; in the
#: others the envelopes replace both. What is written sounds alike in either wherever a fader can stay at rest.
TRIM_READ = 0

#: A pan envelope counts the other way round than a fader's pan: its upper end is left.
PAN_ENVELOPE_SIGN = -1.0

#: Envelope shape that holds a value up to the next point.
SQUARE = 1

#: Bits of a tempo point: it sets a time signature; the bar before it need not be full.
_SIGNATURE, _CUT_BAR = 1, 4

#: How far up volume envelopes reach unless a user asks for more. Nobody says what becomes of points above.
ENVELOPE_TOP_DB = 6.0

#: Longer names would not fit REAPER's line buffer and are of no use on a mixer.
MAX_NAME_LENGTH = 200

#: Longest line of free text in the project's notes.
_NOTE_WIDTH = 400

#: A track without a colour of its own, and what is added to a colour that is one (red in the lowest byte).
NO_COLOUR, CUSTOM_COLOUR = 16576, 0x1000000


def export_reaper(job: ExportJob, folder: Path) -> Path:
    """Write a graph as a REAPER project that sounds like `render.render_graph`.

    Processors for which the chosen suites have no plugin are JSFX of ours. Linked stems that REAPER
    cannot read are converted and copied all the same.

    Parameters
    ----------
    job : ExportJob
    folder : Path
        The project's folder.

    Returns
    -------
    Path
        The project file.

    Raises
    ------
    MixbridgeError
        As for every format, see `writer.Writer`.
    """
    # A panned fader stands higher by the compensation of the pan law.
    session = build_session(
        job.graph,
        max_fader_db=MAX_FADER_DB - gain_to_db(PAN_COMPENSATION),
        reference_path=job.reference_path,
        keep_pruned=job.options.keep_pruned,
    )

    def can_link(info: AudioInfo) -> bool:
        return job.options.link and info.path.suffix.lower() in SOURCE_KINDS

    placed = place_media(session, stems_dir=job.stems_dir, folder=folder, subfolder=MEDIA_FOLDER, can_link=can_link)
    _check_links(placed.values())
    title = job.title
    planned = plan_plugins(session, suites=job.plugins, allow_unverified=job.options.allow_unverified, pool=job.pool)
    inserts = [insert for strip in session.strips() for insert in strip.inserts]
    with replaced_folder(folder) as target:
        write_media(placed.values(), folder=target, sample_rate_hz=session.sample_rate_hz)
        effects = target / EFFECTS_FOLDER
        effects.mkdir()
        for kind in sorted({kind_of(i.type, i.law) for i in inserts if i.id not in planned.inserts}):
            (effects / JSFX_FILES[kind]).write_bytes(jsfx_source(kind))
        plugins = plugin_blocks(
            planned,
            sample_rate_hz=session.sample_rate_hz,
            folder=folder,
            target=target,
            system=job.system,
            pool=job.pool,
        )
        text = project_text(
            session, placed, notes=job.graph.provenance.notes, render_file=f"{title}.wav", plugins=plugins
        )
        (target / f"{title}.rpp").write_bytes(text)
        length_s = session_frames(session, placed) / session.sample_rate_hz
        script = check_script(session, title=title, length_s=length_s, plugins=planned.inserts)
        (target / SCRIPT_FILE).write_bytes(script)
    return folder / f"{title}.rpp"


def _check_links(placed: Iterable[PlacedMedia]) -> None:
    for media in placed:
        reference = media.reference
        if media.linked and (has_all_quotes(reference) or one_line(reference) != reference):
            raise ExportError(
                f"{media.source}: REAPER projects cannot refer to a path with this mix of quotes or control "
                "characters; rename it or export without --link"
            )


def project_text(
    session: Session,
    placed: Mapping[str, PlacedMedia],
    *,
    notes: Sequence[str] = (),
    render_file: str,
    plugins: Mapping[str, Block] | None = None,
) -> bytes:
    """The bytes of the project file.

    Parameters
    ----------
    session : Session
    placed : mapping of str to PlacedMedia
        By track id.
    notes : sequence of str
        Free text for the project's notes.
    render_file : str
        Where REAPER renders to, relative to the project.
    plugins : mapping of str to Block, optional
        By insert id, the blocks of those that are plugins; all others are JSFX.
    """
    chains = _Chains(plugins or {})
    frames = session_frames(session, placed)
    project = Block([Word("REAPER_PROJECT"), number(0.1), "6.83/mixbridge", 0])
    _add_notes(project, session.name, notes)
    length_s = frames / session.sample_rate_hz
    _add_settings(project, session, length_s=length_s, render_file=render_file)
    _add_master(project, session.master, chains)
    if session.tempo is not None:
        _add_tempo(project, session.tempo, length_s=length_s)
    channels = list(_in_file_order([*session.children, *session.returns]))
    receives = _receives(channels)
    for channel in channels:
        track = project.block("TRACK", node_guid("track", channel.strip.id))
        _add_strip(track, channel, receives.get(channel.strip.id, ()), chains)
        if channel.media is not None:
            media = placed[channel.strip.id]
            _add_item(track, channel.strip, channel.media, media, frames=frames, rate_hz=session.sample_rate_hz)
    if session.reference is not None:
        _add_reference(project, session.reference, placed, frames=frames, rate_hz=session.sample_rate_hz)
    return project.render()


# ------------------------------------------------------------------------------ project


def _add_notes(project: Block, name: str, notes: Sequence[str]) -> None:
    block = project.block("NOTES", 0, 2)
    for line in (f"{name}: session written by Mixbridge", *notes):
        for part in line.splitlines():
            for start in range(0, len(part), _NOTE_WIDTH):
                block.text(part[start : start + _NOTE_WIDTH])


def _add_settings(project: Block, session: Session, *, length_s: float, render_file: str) -> None:
    rate_hz = session.sample_rate_hz
    project.add("RIPPLE", 0)
    project.add("AUTOXFADE", 0)
    # 0 dB at the centre: channels in the middle pass unchanged. Panned ones bring their own law.
    project.add("PANLAW", 1)
    project.add("PROJOFFS", 0, 0, 0)
    project.add("PANMODE", 3)
    project.add("CURSOR", 0)
    project.add("USE_REC_CFG", 0)
    project.add("LOOP", 0)
    add_render_settings(project, file=render_file, sample_rate_hz=rate_hz, length_s=length_s)
    project.add("ITEMMIX", 0)
    project.add("SAMPLERATE", rate_hz, 1, 0)
    project.add("LOCK", 1)
    # No override: every track follows its own automation mode.
    project.add("GLOBAL_AUTO", -1)
    first = DEFAULT_POINT if session.tempo is None else session.tempo.points[0]
    if session.tempo is not None:
        # Items and tempo stay where they are in time when the tempo is edited: audio is never stretched.
        project.add("TIMELOCKMODE", 0)
        project.add("TEMPOENVLOCKMODE", 0)
    project.add("TEMPO", first.bpm, first.numerator, first.denominator)
    project.add("PLAYRATE", 1, 0, 0.25, 4)


def _add_master(project: Block, master: Strip, chains: _Chains) -> None:
    lift_db = _lift_db(master)
    project.add("MASTERAUTOMODE", TRIM_READ)
    project.add("MASTERMUTESOLO", 0)
    project.add("MASTER_NCH", 2, 2)
    project.add("MASTER_VOLUME", *_fader(master, lift_db=lift_db))
    project.add("MASTER_FX", 1)
    if master.inserts:
        chains.add(project.block("MASTERFXLIST"), master.inserts)
    _add_automation(project, master, keywords=("MASTERVOLENV2", "MASTERPANENV2"), lift_db=lift_db)


def _add_tempo(project: Block, tempo: TempoMap, *, length_s: float) -> None:
    """Tempo changes, time signatures and markers, as far as they lie within the session."""
    points = [(p, cut) for p, cut in zip(tempo.points, tempo.cut_bars(), strict=True) if p.time_s < length_s]
    # A tempo that never changes is said by the project's settings.
    if len(points) > 1:
        envelope = project.block("TEMPOENVEX")
        envelope.add("EGUID", node_guid("tempo", "map"))
        envelope.add("ACT", 1, -1)
        envelope.add("VIS", 1, 0, 1)
        envelope.add("LANEHEIGHT", 0, 0)
        envelope.add("ARM", 0)
        envelope.add("DEFSHAPE", SQUARE, -1, -1)
        for point, cut in points:
            bar = (point.denominator << 16 | point.numerator, 0, _SIGNATURE | (_CUT_BAR if cut else 0))
            envelope.add("PT", point.time_s, point.bpm, SQUARE, *(bar if point.new_bar else ()))
    within = (m for m in tempo.markers if m.time_s < length_s)
    for number_of_marker, marker in enumerate(within, start=1):
        project.add("MARKER", number_of_marker, marker.time_s, marker.name[:MAX_NAME_LENGTH], 0, 0, 1, Word("R"))


# ------------------------------------------------------------------------------- tracks


@dataclass(frozen=True)
class _Channel:
    """A track, folder or return as a line of REAPER's flat track list."""

    strip: Strip
    media: Media | None
    opens: bool
    closes: int


def _in_file_order(children: Sequence[Child], closes: int = 0) -> Iterator[_Channel]:
    """Flatten the tree; the last track of a folder closes it, and all folders that end with it."""
    for index, child in enumerate(children):
        closing = closes if index == len(children) - 1 else 0
        if isinstance(child, Folder):
            yield _Channel(child.strip, None, True, 0)
            yield from _in_file_order(child.children, closing + 1)
        else:
            yield _Channel(child.strip, child.media if isinstance(child, Track) else None, False, closing)


@dataclass(frozen=True)
class _Receive:
    """A send as REAPER keeps it: on the track it goes to."""

    source_index: int
    source_id: str
    send: Send


def _receives(channels: Sequence[_Channel]) -> dict[str, list[_Receive]]:
    """What each track receives, by its id, in the order of the sending tracks."""
    found: dict[str, list[_Receive]] = {}
    for index, channel in enumerate(channels):
        for send in channel.strip.sends:
            found.setdefault(send.target, []).append(_Receive(index, channel.strip.id, send))
    return found


def _add_strip(
    track: Block, channel: _Channel, receives: Sequence[_Receive], chains: _Chains, *, to_master: bool = True
) -> None:
    strip, lift_db = channel.strip, _lift_db(channel.strip)
    name = strip.name[:MAX_NAME_LENGTH]
    track.add("NAME", name)
    if has_all_quotes(name):
        # The line above cannot hold the name as it is; REAPER reads this block instead.
        track.block("NAME").text(name)
    track.add("PEAKCOL", _colour(strip.family))
    track.add("BEAT", -1)
    track.add("AUTOMODE", TRIM_READ)
    track.add("VOLPAN", *_fader(strip, lift_db=lift_db))
    track.add("MUTESOLO", 0 if to_master else 1, 0, 0)
    track.add("IPHASE", 1 if channel.media is not None and channel.media.polarity < 0 else 0)
    track.add("PLAYOFFS", 0, 1)
    track.add("ISBUS", *((1, 1) if channel.opens else (2, -channel.closes) if channel.closes else (0, 0)))
    track.add("BUSCOMP", 0, 0, 0, 0, 0)
    track.add("SHOWINMIX", 1, 0.6667, 0.5, 1, 0.5, 0, 0, 0)
    track.add("SEL", 0)
    track.add("REC", 0, 0, 1, 0, 0, 0, 0, 0)
    track.add("VU", 2)
    track.add("TRACKHEIGHT", 0, 0, 0, 0, 0, 0, 0)
    track.add("NCHAN", 2)
    track.add("FX", 1)
    track.add("TRACKID", node_guid("track", strip.id))
    track.add("PERF", 0)
    for receive in receives:
        _add_receive(track, receive)
    if not to_master:
        # Straight to the first pair of outputs, where the master plays, too.
        track.add("HWOUT", 0, 0, 1, 0, 0, 0, 0, Word("-1:U"), 0)
    track.add("MIDIOUT", -1)
    track.add("MAINSEND", 1 if to_master else 0, 0)
    _add_automation(track, strip, keywords=("VOLENV2", "PANENV2"), lift_db=lift_db)
    if strip.inserts:
        chains.add(track.block("FXCHAIN"), strip.inserts)


def _add_receive(track: Block, receive: _Receive) -> None:
    """A send, and behind it its envelope.

    What moves has its whole level in the envelope as far as that reaches, and the send at 0 dB.
    """
    send, lift_db = receive.send, 0.0
    if send.volume:
        at_rest_db = gain_to_db(send.gain)
        lift_db = _excess_db(send.volume, at_rest_db=at_rest_db, fader_db=0.0)
    # Post-fader, stereo into stereo, centred under the project's pan law, which leaves the centre alone.
    gain = db_to_gain(lift_db) if send.volume else send.gain
    track.add("AUXRECV", receive.source_index, 0, gain, 0, 0, 0, 0, 0, 0, Word("-1:U"), 0, -1, Word("''"))
    if send.volume:
        points = [(p.time_s, send.gain * db_to_gain(p.gain_db - lift_db)) for p in send.volume]
        guid = node_guid("send", f"{receive.source_id}>{send.target}")
        _add_envelope(track.block("AUXVOLENV"), points, guid=guid, amplitude=True)


def _add_reference(
    project: Block, reference: Track, placed: Mapping[str, PlacedMedia], *, frames: int, rate_hz: int
) -> None:
    """The finished mix as the last track: muted, and past the master's effects once it is heard."""
    track = project.block("TRACK", node_guid("track", reference.strip.id))
    _add_strip(track, _Channel(reference.strip, reference.media, False, 0), (), _Chains({}), to_master=False)
    _add_item(track, reference.strip, reference.media, placed[reference.strip.id], frames=frames, rate_hz=rate_hz)


def _lift_db(strip: Strip) -> float:
    """What the fader takes over from volume automation that reaches beyond an envelope's range (dB, >= 0)."""
    return _excess_db(strip.volume, at_rest_db=0.0, fader_db=gain_to_db(_fader(strip)[0]))


def _excess_db(points: Sequence[Breakpoint], *, at_rest_db: float, fader_db: float) -> float:
    """How far (dB, >= 0) points above a level at rest exceed an envelope's range, as far as a fader has room for it."""
    excess_db = max((point.gain_db for point in points), default=0.0) + at_rest_db - ENVELOPE_TOP_DB
    if excess_db <= 0.0 or fader_db == -math.inf:
        return 0.0
    return min(excess_db, max(MAX_FADER_DB - fader_db, 0.0))


def _fader(strip: Strip, *, lift_db: float = 0.0) -> tuple[float, float, float, int, int]:
    """Volume, pan, pan law, and the unused dual pan, as VOLPAN and MASTER_VOLUME have them."""
    gain = strip.gain * db_to_gain(lift_db)
    if strip.pan == 0.0 and not strip.pan_points:
        return gain, 0.0, -1.0, -1, 1
    return gain * PAN_COMPENSATION, strip.pan, SINE_PAN_LAW, -1, 1


def _add_automation(block: Block, strip: Strip, *, keywords: tuple[str, str], lift_db: float) -> None:
    """Volume and pan automation of a channel, behind its effects; `keywords` are those of its two envelopes.

    The fader multiplies the volume envelope and stands higher by `lift_db`. Where the pan moves the
    fader's own is centred, so that it does not matter whether it is added or replaced.
    """
    volume, pan = keywords
    if strip.volume:
        points = [(p.time_s, db_to_gain(p.gain_db - lift_db)) for p in strip.volume]
        _add_envelope(block.block(volume), points, guid=node_guid("volume", strip.id), amplitude=True)
    if strip.pan_points:
        points = [(p.time_s, PAN_ENVELOPE_SIGN * p.pan) for p in strip.pan_points]
        _add_envelope(block.block(pan), points, guid=node_guid("pan", strip.id))


def _add_envelope(
    envelope: Block, points: Iterable[tuple[float, float]], *, guid: Word, amplitude: bool = False
) -> None:
    """Fill an envelope with points (time in s, value) that straight lines connect.

    Amplitude scaling (``VOLTYPE 0``) is what makes REAPER draw straight lines in amplitude between
    the points, as `graph.volume_gains` does; measured on a render of REAPER's within 0.002 dB. Its
    own choice for new envelopes may be lines that are straight along the fader's scale. Only
    envelopes of a volume have a scaling.
    """
    envelope.add("EGUID", guid)
    envelope.add("ACT", 1, -1)
    envelope.add("VIS", 1, 1, 1)
    envelope.add("LANEHEIGHT", 0, 0)
    envelope.add("ARM", 1)
    envelope.add("DEFSHAPE", 0, -1, -1)
    if amplitude:
        envelope.add("VOLTYPE", 0)
    for time_s, value in points:
        envelope.add("PT", time_s, value, 0)


@dataclass(frozen=True)
class _Chains:
    """Writes chains of effects; `plugins` are the blocks of the inserts that are no JSFX, by insert id."""

    plugins: Mapping[str, Block]

    def add(self, chain: Block, inserts: Sequence[Insert]) -> None:
        """Fill a chain, its window closed."""
        chain.add("SHOW", 0)
        chain.add("LASTSEL", 0)
        chain.add("DOCKED", 0)
        for insert in inserts:
            chain.add("BYPASS", 1 if insert.bypassed else 0, 0, 0)
            if insert.id in self.plugins:
                chain.body.append(self.plugins[insert.id])
                if insert.mix != MIX.default:
                    chain.add("WET", insert.mix, 0)
            else:
                kind = kind_of(insert.type, insert.law)
                effect = chain.block("JS", jsfx_reference(kind), spec_of(insert.type).label)
                effect.values(slider_tokens(insert))
            chain.add("FLOATPOS", 0, 0, 0, 0)
            chain.add("FXID", node_guid("fx", insert.id))
            chain.add("WAK", 0, 0)


def _add_item(track: Block, strip: Strip, media: Media, placed: PlacedMedia, *, frames: int, rate_hz: int) -> None:
    """The track's item: the part of the file that lies within the session, without fades."""
    position, skipped, length = part_heard(media, placed, frames=frames)
    if length <= 0:
        return
    item = track.block("ITEM")
    item.add("POSITION", position / rate_hz)
    item.add("SNAPOFFS", 0)
    item.add("LENGTH", length / rate_hz)
    item.add("LOOP", 0)
    item.add("ALLTAKES", 0)
    item.add("FADEIN", 1, 0, 0, 1, 0, 0, 0)
    item.add("FADEOUT", 1, 0, 0, 1, 0, 0, 0)
    item.add("MUTE", 0, 0)
    item.add("SEL", 0)
    item.add("IGUID", node_guid("item", strip.id))
    item.add("NAME", one_line(strip.name)[:MAX_NAME_LENGTH])
    item.add("VOLPAN", 1, 0, 1, -1)
    item.add("SOFFS", skipped / rate_hz)
    item.add("PLAYRATE", 1, 1, 0, -1, 0, 0.0025)
    item.add("CHANMODE", 0)
    item.add("GUID", node_guid("take", strip.id))
    kind = SOURCE_KINDS[placed.source.suffix.lower() if placed.linked else ".wav"]
    item.block("SOURCE", Word(kind)).add("FILE", placed.reference)


def _colour(family: str) -> int:
    """The colour of a family as REAPER counts it."""
    colour = colour_of(family)
    if not colour:
        return NO_COLOUR
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return CUSTOM_COLOUR + red + (green << 8) + (blue << 16)
