"""Finds what belongs to a path a user names: session file, graph, target mix; nothing is rendered here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...exporters.ardour.read import read_summary
from ...exporters.chain import CHAIN_FILE, Chain, Channel
from ...exporters.reaper.contents import read_contents
from ...exporters.reaper.project import PAN_COMPENSATION
from ...exporters.reaper.read import read_project
from ...exporters.session import MAX_FADER_DB, Session, build_session
from ..choices import Host
from ..errors import SessionFileError, VerifyError
from ..graph import MIX_SOURCE, MixGraph
from ..processors.equations import gain_to_db
from ..result_folder import GRAPH_FILE, REAL_FILE
from .results import VERIFY_FILE

PROJECT_SUFFIX = ".rpp"
ARDOUR_SUFFIX = ".ardour"

SessionKind = Literal["reaper", "ardour", "chain"]

#: Sessions that our own hosts render.
OWN_KINDS: tuple[SessionKind, ...] = ("reaper", "chain")


@dataclass(frozen=True)
class Job:
    """One session file to verify.

    Attributes
    ----------
    session : Path
    kind : {"reaper", "ardour", "chain"}
    graph_path : Path or None
    analysis : Path or None
        The analysis folder it lies in.
    """

    session: Path
    kind: SessionKind
    graph_path: Path | None
    analysis: Path | None


def find_jobs(path: Path, *, graph_path: Path | None = None) -> list[Job]:
    """All session files a path stands for.

    Parameters
    ----------
    path : Path
        A project, an Ardour session, a chain file, a folder that holds one, or an analysis folder with
        sessions below.
    graph_path : Path, optional
        The graph the sessions were exported from; otherwise looked for beside and above them.

    Raises
    ------
    VerifyError
        If there is nothing to verify.
    """
    if graph_path is not None and not graph_path.is_file():
        raise VerifyError(f"{graph_path}: no such file; name the graph.json of the analysis with --graph")
    if path.is_file():
        return [_job(path, graph_path)]
    if not path.is_dir():
        raise VerifyError(f"{path}: no such file or folder; name an analysis folder, a .rpp, a .ardour or a chain.json")
    found = _sessions_in(path)
    if not found:
        below = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
        found = [session for folder in below for session in _sessions_in(folder)]
    if not found:
        raise VerifyError(
            f"{path}: holds no session (.rpp, .ardour or {CHAIN_FILE}); export one with 'mixbridge analyze --export'"
        )
    return [_job(session, graph_path) for session in found]


def _sessions_in(folder: Path) -> list[Path]:
    chain = folder / CHAIN_FILE
    projects = (p for p in folder.iterdir() if p.suffix.lower() == PROJECT_SUFFIX and not p.name.startswith("."))
    found = ([chain] if chain.is_file() else []) + sorted(p for p in projects if p.is_file())
    # Ardour keeps a session in a folder of its name, and copies of earlier states beside it.
    homes = [folder, *sorted(p for p in folder.iterdir() if p.is_dir())]
    sessions = (home / f"{home.absolute().name}{ARDOUR_SUFFIX}" for home in homes)
    return found + [session for session in sessions if session.is_file()]


def _job(session: Path, graph_path: Path | None) -> Job:
    kinds: dict[str, SessionKind] = {PROJECT_SUFFIX: "reaper", ARDOUR_SUFFIX: "ardour", ".json": "chain"}
    kind = kinds.get(session.suffix.lower())
    if kind is None:
        raise VerifyError(
            f"{session}: neither a .rpp nor a .ardour nor a {CHAIN_FILE}; name one of these or an analysis folder"
        )
    folder = session.absolute().parent
    beside = [folder / GRAPH_FILE, folder.parent / GRAPH_FILE]
    if kind == "ardour":
        # One folder further down than others.
        beside = [folder.parent / GRAPH_FILE, folder.parent.parent / GRAPH_FILE]
    graph = graph_path or next((g for g in beside if g.is_file()), None)
    analysis = next((g.parent for g in beside if g.is_file() and g == graph), None)
    return Job(session, kind, graph, analysis)


def result_file(job: Job, *, host: Host = "") -> Path:
    """Where the result of a session is written: beside it, under its own name where it is not alone.

    Parameters
    ----------
    host : str
        Who rendered it: each has a file of its own (``verify.reaper.json``).
    """
    folder = job.session.parent
    alone = len(_sessions_in(folder)) < 2
    return folder / (_of_host(VERIFY_FILE, host) if alone else f"{job.session.stem}.{_of_host(VERIFY_FILE, host)}")


def real_file(job: Job, *, host: Host = "") -> Path:
    """Where the render of a session is written: beside the graph's own, or beside the session."""
    folder, session = job.session.parent, job.session
    file = _of_host(REAL_FILE, host)
    beside = _sessions_in(folder)
    if job.analysis is None:
        return folder / (file if len(beside) < 2 else f"{session.stem}.{file}")
    if len(find_jobs(job.analysis)) < 2:
        return job.analysis / file
    label = session.absolute().parent.name if len(beside) < 2 else session.stem
    return job.analysis / _of_host(f"{Path(REAL_FILE).stem}-{label}{Path(REAL_FILE).suffix}", host)


def _of_host(file: str, host: Host) -> str:
    """A file name with the host before its ending; as it is for our own hosts."""
    stem, dot, ending = file.rpartition(".")
    return f"{stem}.{host}{dot}{ending}" if host else file


@dataclass(frozen=True)
class Opened:
    """A session and what belongs to it, read from disk.

    Attributes
    ----------
    wanted : Session or None
        What the graph wants; laid out as the exporter of this kind lays it out.
    unread : str
        Why the session was not read, where others render it and that is no obstacle; the chain
        is then a master and nothing else.
    files : tuple of Path
        Audio files of a session that was not read, as far as they are known.
    """

    job: Job
    chain: Chain
    graph: MixGraph | None
    wanted: Session | None
    unread: str = ""
    files: tuple[Path, ...] = ()

    @property
    def folder(self) -> Path:
        """What file names in the chain are relative to."""
        return self.job.session.parent

    @property
    def frames(self) -> int:
        """Length that is compared: that of the graph where there is one."""
        return self.graph.frames if self.graph is not None and self.graph.frames else self.chain.frames


def open_job(job: Job, *, media_folder: Path | None = None, rendered_elsewhere: bool = False) -> Opened:
    """Read a session and its graph.

    Parameters
    ----------
    media_folder : Path, optional
        Where audio files lie that were moved.
    rendered_elsewhere : bool
        A session that holds what we cannot render is opened all the same, where its graph says how
        long it is (`Opened.unread`).

    Raises
    ------
    SessionFileError, GraphError, AudioFileError
        If a file is malformed or missing.
    VerifyError
        If the graph belongs to another session.
    """
    graph = MixGraph.load(job.graph_path) if job.graph_path is not None else None
    wanted = None if graph is None else build_session(graph, max_fader_db=highest_fader_db(job.kind))
    if job.kind == "ardour":
        return _opened_ardour(job, graph, wanted)
    if job.kind == "chain":
        chain = Chain.load(job.session)
    else:
        master = "master" if graph is None else graph.master.id
        ids = _ids(wanted, graph)
        try:
            chain = read_project(job.session, node_ids=ids, master_id=master, media_folder=media_folder)
        except SessionFileError as error:
            if not rendered_elsewhere or graph is None or not graph.frames or not _all_there(job.session):
                raise
            chain = _master_alone(job, graph, sample_rate_hz=graph.sample_rate_hz, frames=graph.frames)
            why = f"the session itself could not be read: {error}"
            return Opened(job, chain, graph, wanted, unread=why)
    if graph is not None and wanted is not None:
        _check_match(chain, wanted, graph, job)
    return Opened(job, chain, graph, wanted)


def _all_there(project: Path) -> bool:
    """Whether all audio files of a project are where it says; a damaged project raises `SessionFileError`.

    Neither is made good by a DAW: it plays silence in their place.
    """
    files = {file for item in read_contents(project).items for take in item.takes for file in take.files}
    return all((project.parent / file).is_file() for file in files)


def _opened_ardour(job: Job, graph: MixGraph | None, wanted: Session | None) -> Opened:
    """An Ardour session: what is in it is Ardour's to read."""
    summary = read_summary(job.session)
    if graph is not None and summary.sample_rate_hz != graph.sample_rate_hz:
        raise _other_rate(job, graph, summary.sample_rate_hz)
    chain = _master_alone(job, graph, sample_rate_hz=summary.sample_rate_hz, frames=summary.frames)
    why = "what is in an Ardour session is read by Ardour alone"
    return Opened(job, chain, graph, wanted, unread=why, files=summary.media)


def _master_alone(job: Job, graph: MixGraph | None, *, sample_rate_hz: int, frames: int) -> Chain:
    master = Channel(id="master" if graph is None else graph.master.id, name="Master", kind="master")
    return Chain(name=job.session.stem, sample_rate_hz=sample_rate_hz, frames=frames, channels=(master,))


def _other_rate(job: Job, graph: MixGraph, sample_rate_hz: int) -> VerifyError:
    return VerifyError(
        f"{job.session}: {sample_rate_hz} Hz, but {job.graph_path} has {graph.sample_rate_hz} Hz; "
        "export the session again"
    )


def highest_fader_db(kind: SessionKind) -> float:
    """Upper end of the faders the exporter used; louder channels have a gain insert for the rest."""
    return MAX_FADER_DB - gain_to_db(PAN_COMPENSATION) if kind == "reaper" else math.inf


def _ids(session: Session | None, graph: MixGraph | None) -> Iterable[str]:
    for strip in session.strips() if session is not None else ():
        yield strip.id
        yield from (insert.id for insert in strip.inserts)
    yield from (pruned.processor.id for pruned in graph.pruned) if graph is not None else ()


def _check_match(chain: Chain, wanted: Session, graph: MixGraph, job: Job) -> None:
    there = {channel.id for channel in chain.channels}
    if not any(track.strip.id in there for track in wanted.tracks()):
        raise VerifyError(
            f"{job.session}: none of its tracks belongs to {job.graph_path}; name the right graph with --graph"
        )
    if chain.sample_rate_hz != graph.sample_rate_hz:
        raise _other_rate(job, graph, chain.sample_rate_hz)


def routing_notes(chain: Chain, wanted: Session | None) -> list[str]:
    """Channels that the session lacks or has in addition, and channels that flow elsewhere."""
    if wanted is None:
        return []
    names = {strip.id: strip.name for strip in wanted.strips()}
    there = {channel.id: channel for channel in chain.channels}
    notes = [f"{names[i]}: in the graph, but not in the session" for i in names if i not in there]
    notes += [f"{c.name}: in the session, but not in the graph" for c in chain.channels if c.id not in names]
    parents = {child.strip.id: parent for child, parent in wanted.walk()}
    for channel in chain.channels:
        parent = parents.get(channel.id)
        if parent is not None and channel.parent != parent:
            notes.append(f"{channel.name}: flows into {channel.parent!r} instead of {parent!r}")
    return notes


def model_notes(chain: Chain) -> list[str]:
    """Which plugins were computed from their settings, because they run in their DAW alone."""
    playing = (insert for channel in chain.channels for insert in channel.inserts if not insert.bypassed)
    modelled = {i.plugin.name for i in playing if i.kind == "stock" and i.plugin is not None}
    names = ", ".join(sorted(modelled))
    return [f"{names}: computed from the settings read back, not run; they run in their DAW alone"] if names else []


def target_of(opened: Opened, mix_path: Path | None) -> tuple[Path | None, str]:
    """The finished mix to measure against, and a remark where there is none."""
    if mix_path is not None:
        return mix_path, ""
    sources = opened.graph.provenance.sources if opened.graph is not None else {}
    if MIX_SOURCE not in sources:
        return None, "no target: the graph does not say which mix it was found for; name it with --mix"
    path = Path(sources[MIX_SOURCE])
    if not path.is_file():
        return None, f"no target: {path} is gone; name the mix with --mix"
    return path, ""
