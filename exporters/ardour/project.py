"""Writes a mix as an Ardour session with its media; what stands in the session file is in `session_file`.

The session lies in ``<name>/<name>.ardour`` with its audio in ``<name>/interchange``, as Ardour lays it out.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...bridge.audio import AudioInfo
from ...bridge.errors import ExportError
from ...bridge.graph import MixGraph
from ...bridge.hosting.pool import PluginPool
from ...bridge.processors.equations import gain_to_db
from ..folder import replaced_folder
from ..inserts import Responses, component_state, find_plugins, write_responses
from ..losses import Loss
from ..media import PlacedMedia, place_media, session_frames, write_media
from ..session import Session, build_session
from ..vstpreset import encode_vstpreset
from ..writer import ExportJob
from .plugins import ArdourPlugins, Effect
from .rides import MAX_FADER_GAIN, strip_difference_db
from .routes import Key, Route, build_routes
from .session_file import PlacedEffect, SessionWriter
from .state import write_state

#: Ending of a session file.
SUFFIX = ".ardour"

#: Folder of a session with a folder for each plugin that has files, named by the plugin's id.
PLUGINS_FOLDER = "plugins"

#: What a pan to one side adds to the fader: the balance only takes away.
_PAN_ROOM = np.sqrt(2.0)

#: Automation that Ardour follows this well needs no mention (dB).
_FINE_AUTOMATION_DB = -60.0


@dataclass(frozen=True)
class ArdourPlan:
    """A mix as Ardour will have it.

    Attributes
    ----------
    session : Session
    routes : tuple of Route
        In the order of the mixer, the master last.
    losses : tuple of Loss
        What is otherwise than in the graph, or missing.
    responses : dict
        Files that plugins load, by name.
    """

    session: Session
    routes: tuple[Route, ...]
    losses: tuple[Loss, ...]
    responses: Responses = field(default_factory=dict)


def plan_ardour(
    graph: MixGraph, *, suites: str, reference_path: Path | None = None, keep_pruned: bool = False
) -> ArdourPlan:
    """Lay a graph out as Ardour's routes; nothing is read or written.

    Parameters
    ----------
    suites : str
        Choice of plugin suites (`suites.choose_profiles`).
    reference_path : Path, optional
        The finished mix, to stand beside the match as a muted track.
    keep_pruned : bool
        Have the processors that pruning took out, bypassed.

    Raises
    ------
    ExportError
        If the chosen suites have no plugin for a node and others have, or one cannot hold its settings.
    ProfileError
        If there is no such suite.
    """
    session = build_session(
        graph,
        max_fader_db=gain_to_db(MAX_FADER_GAIN / _PAN_ROOM),
        reference_path=reference_path,
        keep_pruned=keep_pruned,
    )
    plugins = ArdourPlugins(suites=suites, sample_rate_hz=session.sample_rate_hz)
    routes = build_routes(session, plugins)
    losses = (*plugins.losses, *_automation_losses(session), *_tempo_losses(session))
    return ArdourPlan(session, routes, losses, plugins.maker.responses)


def export_ardour(job: ExportJob, folder: Path) -> Path:
    """Write a graph as an Ardour session that sounds like `render.render_graph`; `plan_ardour` tells what is lost.

    Linked stems at another rate than the session's are converted and copied all the same: Ardour would
    play them too fast or too slow. Ardour names plugins alike on all systems.

    Parameters
    ----------
    job : ExportJob
    folder : Path
        Where the session's folder will be.

    Returns
    -------
    Path
        The session file.

    Raises
    ------
    MixbridgeError
        As for every format, see `writer.Writer`.
    """
    plan = plan_ardour(
        job.graph, suites=job.plugins, reference_path=job.reference_path, keep_pruned=job.options.keep_pruned
    )
    session, title = plan.session, job.title.replace(";", "_")

    def can_link(info: AudioInfo) -> bool:
        return job.options.link and info.sample_rate_hz == session.sample_rate_hz

    placed = place_media(
        session,
        stems_dir=job.stems_dir,
        folder=folder,
        subfolder=f"{title}/interchange/{title}/audiofiles",
        can_link=can_link,
    )
    _check_links(placed)
    with replaced_folder(folder) as target:
        write_media(placed.values(), folder=target, sample_rate_hz=session.sample_rate_hz)
        ids = itertools.count(1)
        places = _EffectWriter(
            plan,
            target / title,
            folder / title,
            ids=ids,
            allow_unverified=job.options.allow_unverified,
            pool=job.pool,
        )
        writer = SessionWriter(
            name=title,
            sample_rate_hz=session.sample_rate_hz,
            frames=session_frames(session, placed),
            routes=plan.routes,
            placed=placed,
            effects=places.written(),
            ids=ids,
            tempo=session.tempo,
        )
        (target / title).mkdir(exist_ok=True)
        (target / title / f"{title}{SUFFIX}").write_bytes(writer.text())
    return folder / title / f"{title}{SUFFIX}"


def _check_links(placed: Mapping[str, PlacedMedia]) -> None:
    for media in placed.values():
        path = str(media.source.resolve())
        if media.linked and any(not c.isprintable() for c in path):
            raise ExportError(
                f"{media.source}: Ardour sessions cannot refer to a path with control characters or one that is not "
                "valid text; rename it or export without --link"
            )


@dataclass
class _EffectWriter:
    """Writes what plugins need besides the session file: states and the files in them."""

    plan: ArdourPlan
    target: Path
    final: Path
    ids: Iterator[int]
    allow_unverified: bool
    pool: PluginPool | None

    def written(self) -> dict[Key, list[PlacedEffect]]:
        """All effects by route."""
        effects = [effect for route in self.plan.routes for effect in route.plugins]
        inserts = [effect.insert for effect in effects if effect.insert is not None]
        self.plugins = find_plugins(inserts, allow_unverified=self.allow_unverified, pool=self.pool)
        loaded = {file for insert in inserts for file in insert.files.values()}
        shared = {name: response for name, response in self.plan.responses.items() if name in loaded}
        write_responses(shared, target=self.target, sample_rate_hz=self.plan.session.sample_rate_hz)
        return {route.key: [self._placed(effect) for effect in route.plugins] for route in self.plan.routes}

    def _placed(self, effect: Effect) -> PlacedEffect:
        number = next(self.ids)
        if effect.insert is not None and effect.insert.plugin is not None:
            return PlacedEffect(effect, number, chunk=self._chunk(effect))
        if not effect.files:
            return PlacedEffect(effect, number)
        files = {key: self.plan.responses[file] for key, file in effect.files.items()}
        folder = self.target / PLUGINS_FOLDER / str(number)
        state = write_state(effect.id, files, folder=folder, sample_rate_hz=self.plan.session.sample_rate_hz)
        return PlacedEffect(effect, number, state_folder=state)

    def _chunk(self, effect: Effect) -> str:
        insert = effect.insert
        if insert is None or insert.plugin is None:
            return ""
        component = component_state(
            insert,
            self.plugins[insert.plugin],
            sample_rate_hz=self.plan.session.sample_rate_hz,
            folder=self.final,
            target=self.target,
            pool=self.pool,
        )
        return base64.b64encode(encode_vstpreset(insert.plugin.class_id, component)).decode("ascii")


# ------------------------------------------------------------------------------- losses


def _automation_losses(session: Session) -> Iterator[Loss]:
    """How far faders and sends, which are smoothed, stay behind the curves they follow."""
    length_s = session.frames / session.sample_rate_hz
    for strip in session.strips():
        if strip.volume or strip.pan_points:
            what = " and ".join(w for w, points in (("volume", strip.volume), ("pan", strip.pan_points)) if points)
            size_db = strip_difference_db(strip.volume, strip.pan_points, length_s=length_s)
            yield from _smoothed(strip.id, f"{what} automation", size_db, by="fader is")
        for send in strip.sends:
            if not send.volume:
                continue
            size_db = strip_difference_db(send.volume, (), length_s=length_s)
            yield from _smoothed(strip.id, f"automation of the send to {send.target}", size_db, by="sends are")


def _smoothed(channel: str, what: str, size_db: float, *, by: str) -> Iterator[Loss]:
    if size_db > _FINE_AUTOMATION_DB:
        text = f"{what} has round corners, {-size_db:.0f} dB below the signal: Ardour's {by} smoothed"
        yield Loss(channel, "", text)


def _tempo_losses(session: Session) -> Iterator[Loss]:
    if session.tempo is not None and len(session.tempo.points) > 1:
        yield Loss("", "", "only the first tempo and time signature are written")
