"""Writes a mix as a folder that pedalboard can render: chain, presets, impulse responses, stems and a script.

Which plugin realises a node is decided by the profiles of `bridge.suites`; what the script does
with all this is in `pedalboard_render`, which is copied as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from itertools import combinations, groupby
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..bridge.audio import AudioInfo, write_wav
from ..bridge.errors import ExportError, ParameterError, ProfileError
from ..bridge.graph import MixGraph
from ..bridge.hosting.pool import PluginPool, PluginRef, PluginSettings, shared_pool
from ..bridge.hosting.probe import ensure_certificate
from ..bridge.hosting.registry import find_plugin
from ..bridge.hosting.state import decode_lsp_state, encode_lsp_state
from ..bridge.processors.laws import kind_of
from ..bridge.processors.specs import GAIN_PAN, IMAGER, spec_of
from ..bridge.suites import Profile, choose_profiles, suite_names
from ..bridge.suites import Stage as ProfileStage
from .chain import (
    CHAIN_FILE,
    Branch,
    Chain,
    Channel,
    Insert,
    PluginInfo,
    Send,
    Source,
    Stage,
    VolumePoint,
    in_signal_order,
)
from .folder import replaced_folder
from .media import PlacedMedia, place_media, session_frames, write_media
from .names import safe_name
from .session import Child, Media, Session, Strip, Track, build_session
from .session import Insert as SessionInsert
from .vstpreset import encode_vstpreset

AUDIO_FOLDER = "audio"
PRESET_FOLDER = "presets"
RESPONSE_FOLDER = "ir"
SCRIPT_FILE = "render.py"
README_FILE = "README.txt"

#: The script as it ships.
SCRIPT_SOURCE = "pedalboard_render.py"

README = """\
To render this mix: pip install pedalboard numpy soundfile, then python render.py --out mix.wav
Plugins are looked for where your system keeps them; name other folders with --plugin-folder FOLDER.
"""

#: What the script computes itself, whatever the suites say.
MIXER_TYPES = (GAIN_PAN.type, IMAGER.type)

#: Built-ins that are linear and treat each channel by itself: gains may come after them instead of before.
_COMMUTING = frozenset(
    (
        "Convolution",
        "Delay",
        "Gain",
        "HighpassFilter",
        "HighShelfFilter",
        "LowpassFilter",
        "LowShelfFilter",
        "PeakFilter",
    )
)

Responses = dict[str, npt.NDArray[np.float64]]


def export_pedalboard(
    graph: MixGraph,
    *,
    stems_dir: Path,
    folder: Path,
    suites: str,
    link: bool = False,
    allow_unverified: bool = False,
    pool: PluginPool | None = None,
) -> Path:
    """Write a graph as a chain of plugins that sounds like `render.render_graph`, with a script that renders it.

    Parameters
    ----------
    graph : MixGraph
    stems_dir : Path
        The folder the stems' file names are relative to.
    folder : Path
        Where to write. An earlier export there is replaced; files that were added or changed
        since are kept beside the new ones.
    suites : str
        Choice of plugin suites (`suites.choose_profiles`).
    link : bool
        Refer to the stems where they are instead of copying them. Stems at another sample rate
        than the mix are converted and copied all the same.
    allow_unverified : bool
        Use plugins that have no passing certificate.
    pool : PluginPool, optional
        Where plugins tell their state; the pool of this process if not given.

    Returns
    -------
    Path
        The chain file.

    Raises
    ------
    AudioFileError, AudioContentError
        If a stem is missing or unreadable.
    ExportError
        If the chosen suites cannot hold a node; the message names node, suite and remedy.
    PluginError
        If a plugin is missing, has no certificate or fails.
    ProfileError
        If there is no such suite.
    OutputError
        If the folder cannot be written or is not an earlier export. Nothing is left half written.
    """
    profiles = choose_profiles(suites)
    # Faders of the script have no upper end.
    session = build_session(graph, max_fader_db=math.inf)

    def can_link(info: AudioInfo) -> bool:
        return link and info.sample_rate_hz == session.sample_rate_hz

    placed = place_media(session, stems_dir=stems_dir, folder=folder, subfolder=AUDIO_FOLDER, can_link=can_link)
    _check_links(placed.values())
    plan = _plan(session, profiles=profiles, suites=suites, placed=placed)
    plugins = _find_plugins(plan.chain, allow_unverified=allow_unverified, pool=pool)
    with replaced_folder(folder) as target:
        write_media(placed.values(), folder=target, sample_rate_hz=session.sample_rate_hz)
        for name, response in plan.responses.items():
            write_wav(target / name, response, sample_rate_hz=session.sample_rate_hz)
        _write_presets(plan.chain, plugins, folder=folder, target=target, pool=pool)
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
    """A chain, and the files its plugins load: name in the folder to samples of shape (2, n)."""

    chain: Chain
    responses: Responses


def _plan(
    session: Session, *, profiles: Mapping[str, Profile], suites: str, placed: Mapping[str, PlacedMedia] | None
) -> _Plan:
    inserts = _Inserts(session.sample_rate_hz, profiles, suites)
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
        sends=tuple(Send(target=send.target, gain=send.gain) for send in strip.sends),
    )


def _source(media: Media, placed: PlacedMedia | None) -> Source:
    return Source(
        file=media.file if placed is None else placed.reference,
        offset_samples=media.offset_samples,
        polarity=1 if media.polarity > 0 else -1,
        channels=1 if media.channels == 1 else 2,
    )


@dataclass
class _Inserts:
    """Turns the inserts of a session into those of a chain, numbered through all channels."""

    sample_rate_hz: int
    profiles: Mapping[str, Profile]
    suites: str
    responses: Responses = field(default_factory=dict)
    number: int = 0

    def of(self, strip: Strip) -> Iterator[Insert]:
        """The inserts of one channel."""
        for insert in strip.inserts:
            self.number += 1
            try:
                yield self._insert(insert, strip)
            except (ParameterError, ProfileError) as error:
                raise ExportError(f"{strip.name}: {insert.id}: {error}") from None

    def _insert(self, insert: SessionInsert, strip: Strip) -> Insert:
        given = partial(
            Insert,
            id=insert.id,
            type=insert.type,
            law=insert.law,
            parameters=dict(insert.parameters),
            mix=insert.mix,
        )
        if insert.type in MIXER_TYPES:
            return given(kind="mixer")
        profile = self._profile(insert, strip)
        name = f"{self.number:02d}-{safe_name(strip.name, fallback='channel')}-{insert.type}"
        if profile.kind == "builtin":
            stages = profile.stages(insert.parameters, sample_rate_hz=self.sample_rate_hz)
            return given(kind="builtin", branches=tuple(self._branches(stages, name)))
        files = profile.files(insert.parameters, sample_rate_hz=self.sample_rate_hz)
        return given(
            kind="vst3",
            plugin=profile.plugin,
            values=profile.settings(insert.parameters, sample_rate_hz=self.sample_rate_hz),
            preset=f"{PRESET_FOLDER}/{name}.vstpreset",
            files=self._files(files, name),
            latency_samples=profile.latency_samples,
        )

    def _profile(self, insert: SessionInsert, strip: Strip) -> Profile:
        """The profile of an insert, which must follow the insert's law."""
        where = f"{strip.name}: {insert.id}"
        label = spec_of(insert.type).label
        profile = self.profiles.get(kind_of(insert.type, insert.law))
        if profile is None:
            raise ExportError(f"{where}: --plugins {self.suites} has no {label}; {self._remedy(insert)}")
        if profile.kind not in ("vst3", "builtin"):
            raise ExportError(f"{where}: {profile.suite} runs in REAPER only; {self._remedy(insert)}")
        if profile.law != insert.law:
            raise ExportError(
                f"{where}: the {profile.suite} suite's follows another law ({_law(profile.law)}) than this {label} "
                f"({_law(insert.law)}) and would sound different; {self._remedy(insert)}, "
                f"or search again with --plugins {self.suites}"
            )
        return profile

    def _remedy(self, insert: SessionInsert) -> str:
        """What to pass as --plugins instead: the same choice but for this type."""
        fitting = [
            suite
            for suite in suite_names()
            for profile in [choose_profiles(suite).get(kind_of(insert.type, insert.law))]
            if profile is not None and profile.kind in ("vst3", "builtin") and profile.law == insert.law
        ]
        if not fitting:
            return "no suite has one that follows this law"
        others = [part for part in self.suites.split(",") if part.partition("=")[0].strip() != insert.type]
        rest = [part if "=" in part else f"*={part.strip()}" for part in others if part.strip()]
        return f"use --plugins {','.join([f'{insert.type}={fitting[0]}', *rest])}"

    def _branches(self, stages: Sequence[ProfileStage], name: str) -> Iterator[Branch]:
        for number, (_, group) in enumerate(groupby(stages, key=lambda stage: stage.branch), start=1):
            branch = list(group)
            if any(stage.mono for stage in branch[1:]):
                raise ProfileError("stage: only the first stage of a branch may be mono; put the others into another")
            for before, after in combinations(branch, 2):
                if before.gains != (1.0, 1.0) and _name_of(after) not in _COMMUTING:
                    raise ProfileError(f"stage: gains before {_name_of(after)} cannot be exported; put them after it")
            left, right = (math.prod(stage.gains[side] for stage in branch) for side in (0, 1))
            yield Branch(
                mono=branch[0].mono,
                stages=tuple(self._stage(stage, f"{name}-{number}") for stage in branch),
                left=left,
                right=right,
            )

    def _stage(self, stage: ProfileStage, name: str) -> Stage:
        return Stage(name=_name_of(stage), values=dict(stage.values), files=self._files(stage.files, name))

    def _files(self, responses: Mapping[str, npt.NDArray[np.float64]], name: str) -> dict[str, str]:
        """Where the files a plugin loads will lie."""
        files = {}
        for state_id, response in responses.items():
            files[state_id] = f"{RESPONSE_FOLDER}/{name}-{state_id}.wav"
            self.responses[files[state_id]] = response
        return files


def _name_of(stage: ProfileStage) -> str:
    return stage.plugin.name if stage.plugin is not None else ""


def _law(name: str) -> str:
    return f"that of {name}" if name else "ours"


def _check_links(placed: Iterable[PlacedMedia]) -> None:
    for media in placed:
        try:
            media.reference.encode("utf-8")
        except UnicodeEncodeError:
            raise ExportError(
                f"{media.source}: a chain cannot refer to a path that is not valid text; "
                "rename it or export without --link"
            ) from None


# ------------------------------------------------------------------------------ plugins


def _vst3_inserts(chain: Chain) -> list[Insert]:
    return [insert for channel in chain.channels for insert in channel.inserts if insert.kind == "vst3"]


def _plugin_of(insert: Insert) -> PluginInfo:
    if insert.plugin is None:
        raise ExportError(f"{insert.id}: a VST3 insert without a plugin; correct its profile")
    return insert.plugin


def _find_plugins(chain: Chain, *, allow_unverified: bool, pool: PluginPool | None) -> dict[PluginInfo, PluginRef]:
    """Every plugin of a chain on this machine, each with its certificate."""
    found = {}
    for info in dict.fromkeys(_plugin_of(insert) for insert in _vst3_inserts(chain)):
        plugin = find_plugin(class_id=info.class_id, name=info.name, bundle=info.bundle)
        ensure_certificate(plugin, pool or shared_pool(), allow_unverified=allow_unverified)
        found[info] = plugin
    return found


def _write_presets(
    chain: Chain, plugins: Mapping[PluginInfo, PluginRef], *, folder: Path, target: Path, pool: PluginPool | None
) -> None:
    """Write what each plugin stores when it is set as its insert says; `folder` is where `target` will be."""
    for insert in _vst3_inserts(chain):
        info = _plugin_of(insert)
        # The plugin must find its files while it is asked, and later where they will be.
        files = {state_id: str((target / file).resolve()) for state_id, file in insert.files.items()}
        component = (pool or shared_pool()).component_state(
            plugins[info],
            PluginSettings(values=insert.values, strings=files),
            sample_rate_hz=float(chain.sample_rate_hz),
        )
        if files:
            later = {state_id: str((folder / file).resolve()) for state_id, file in insert.files.items()}
            component = encode_lsp_state(decode_lsp_state(component) | later)
        path = target / (insert.preset or f"{PRESET_FOLDER}/{safe_name(insert.id, fallback='insert')}.vstpreset")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_vstpreset(info.class_id, component))
