"""Writes a mix as a folder that pedalboard can render: chain, presets, impulse responses, stems and a script.

Which plugin realises a node is decided by the profiles of `bridge.suites`; what the script does
with all this is in `pedalboard_render`, which is copied as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from ..bridge.audio import AudioInfo
from ..bridge.choices import ExportFormat
from ..bridge.errors import ExportError, ParameterError
from ..bridge.graph import MixGraph
from ..bridge.processors.laws import type_and_law
from ..bridge.suites import Profile, choose_profiles
from .chain import (
    CHAIN_FILE,
    Chain,
    Channel,
    PanPoint,
    Send,
    Source,
    VolumePoint,
    in_signal_order,
)
from .folder import replaced_folder
from .inserts import MIXER_TYPES, InsertMaker, Responses, component_state, find_plugins, write_responses
from .media import PlacedMedia, place_media, session_frames, write_media
from .session import Child, Media, Session, Strip, Track, build_session
from .vstpreset import encode_vstpreset
from .writer import ExportJob, Writer

AUDIO_FOLDER = "audio"
SCRIPT_FILE = "render.py"
README_FILE = "README.txt"

#: The script as it ships.
SCRIPT_SOURCE = "pedalboard_render.py"

README = """\
To render this mix: pip install pedalboard numpy soundfile, then python render.py --out mix.wav
Plugins are looked for where your system keeps them; name other folders with --plugin-folder FOLDER.
"""


def export_pedalboard(job: ExportJob, folder: Path) -> Path:
    """Write a graph as a chain of plugins that sounds like `render.render_graph`, with a script that renders it.

    Linked stems at another sample rate than the mix are converted and copied all the same. A script has
    no use for a reference track or for what is bypassed.

    Parameters
    ----------
    job : ExportJob
    folder : Path

    Returns
    -------
    Path
        The chain file.

    Raises
    ------
    MixbridgeError
        As for every format, see `writer.Writer`.
    """
    profiles = choose_profiles(job.plugins)
    # Faders of the script have no upper end.
    session = build_session(job.graph, max_fader_db=math.inf)

    def can_link(info: AudioInfo) -> bool:
        return job.options.link and info.sample_rate_hz == session.sample_rate_hz

    placed = place_media(session, stems_dir=job.stems_dir, folder=folder, subfolder=AUDIO_FOLDER, can_link=can_link)
    _check_links(placed.values())
    plan = _plan(session, profiles=profiles, suites=job.plugins, placed=placed)
    inserts = [insert for channel in plan.chain.channels for insert in channel.inserts]
    plugins = find_plugins(inserts, allow_unverified=job.options.allow_unverified, pool=job.pool)
    with replaced_folder(folder) as target:
        write_media(placed.values(), folder=target, sample_rate_hz=session.sample_rate_hz)
        write_responses(plan.responses, target=target, sample_rate_hz=session.sample_rate_hz)
        for insert in inserts:
            if insert.plugin is None or insert.preset is None:
                continue
            component = component_state(
                insert,
                plugins[insert.plugin],
                sample_rate_hz=session.sample_rate_hz,
                folder=folder,
                target=target,
                pool=job.pool,
            )
            (target / insert.preset).parent.mkdir(exist_ok=True)
            (target / insert.preset).write_bytes(encode_vstpreset(insert.plugin.class_id, component))
        plan.chain.save(target / CHAIN_FILE)
        (target / SCRIPT_FILE).write_bytes((resources.files(__package__) / SCRIPT_SOURCE).read_bytes())
        (target / README_FILE).write_text(README, encoding="utf-8")
    return folder / CHAIN_FILE


def build_chain(
    session: Session,
    graph: MixGraph,
    *,
    profiles: Mapping[str, Profile],
    placed: Mapping[str, PlacedMedia] | None = None,
    suites: str = "",
) -> Chain:
    """Lay a session out as a chain; nothing is read or written.

    Parameters
    ----------
    session : Session
        Of `graph`.
    profiles : mapping of str to Profile
        By kind of processor (`laws.kind_of`).
    placed : mapping of str to PlacedMedia, optional
        Where each track's file will be, by track id; the stems' own names if not given.
    suites : str
        The choice that led to the profiles, for the file and for messages.

    Raises
    ------
    ExportError
        If the profiles cannot hold a node; the message names it.
    """
    if placed is None and not graph.frames:
        raise ExportError(f"{graph.name}: frames: the graph does not say how long it is; analyse the song again")
    return _plan(session, profiles=profiles, suites=suites, placed=placed).chain


# ------------------------------------------------------------------------------- layout


@dataclass(frozen=True)
class _Plan:
    """A chain, and the files its plugins load, by their name in the folder."""

    chain: Chain
    responses: Responses


def _plan(
    session: Session, *, profiles: Mapping[str, Profile], suites: str, placed: Mapping[str, PlacedMedia] | None
) -> _Plan:
    inserts = InsertMaker(session.sample_rate_hz, profiles, suites, kinds=("vst3", "builtin"))
    channels = [_channel(child, parent, placed=placed) for child, parent in session.walk()]
    channels.append(_mixer_channel(session.master, "master", None))
    strips = {strip.id: strip for strip in session.strips()}
    # The files of inserts are numbered in the order they are rendered in.
    channels = [
        channel.model_copy(update={"inserts": tuple(inserts.of(strips[channel.id]))})
        for channel in in_signal_order(channels)
    ]
    chain = Chain(
        name=session.name,
        sample_rate_hz=session.sample_rate_hz,
        frames=session.frames if placed is None else session_frames(session, placed),
        suites=suites,
        channels=tuple(channels),
    )
    return _Plan(chain, inserts.responses)


def _channel(child: Child, parent: str, *, placed: Mapping[str, PlacedMedia] | None) -> Channel:
    """A track or bus without its inserts."""
    if not isinstance(child, Track):
        return _mixer_channel(child.strip, "bus", parent)
    source = _source(child.media, None if placed is None else placed[child.strip.id])
    return _mixer_channel(child.strip, "track", parent, source=source)


def _mixer_channel(
    strip: Strip, kind: Literal["track", "bus", "master"], parent: str | None, *, source: Source | None = None
) -> Channel:
    return Channel(
        id=strip.id,
        name=strip.name,
        kind=kind,
        parent=parent,
        source=source,
        gain=strip.gain,
        pan=strip.pan,
        volume=VolumePoint.copies(strip.volume),
        pan_points=PanPoint.copies(strip.pan_points),
        sends=tuple(
            Send(target=send.target, gain=send.gain, volume=VolumePoint.copies(send.volume)) for send in strip.sends
        ),
    )


def _source(media: Media, placed: PlacedMedia | None) -> Source:
    return Source(
        file=media.file if placed is None else placed.reference,
        offset_samples=media.offset_samples,
        polarity=1 if media.polarity > 0 else -1,
        channels=1 if media.channels == 1 else 2,
    )


def _check_links(placed: Iterable[PlacedMedia]) -> None:
    for media in placed:
        try:
            media.reference.encode("utf-8")
        except UnicodeEncodeError:
            raise ExportError(
                f"{media.source}: a chain cannot refer to a path that is not valid text; "
                "rename it or export without --link"
            ) from None


# ------------------------------------------------------------------------ as a session format


def _check(laws: Mapping[str, str], plugins: str) -> None:
    profiles = choose_profiles(plugins)
    scripts = [t for t in laws if t not in MIXER_TYPES and t in profiles and profiles[t].kind in ("jsfx", "stock")]
    if scripts:
        types = dict.fromkeys(type_and_law(name)[0] for name in scripts)
        raise ParameterError(
            f"--export pedalboard: the {plugins!r} plugins for {', '.join(types)} run in REAPER only; "
            "choose other plugins, such as --plugins lsp"
        )


WRITER = Writer(format=ExportFormat.pedalboard, title="pedalboard chain", write=export_pedalboard, check=_check)
