"""Polishes a verified session: better settings for its worst nodes, found with the real plugins in the loop.

Only what lowers L_a of the whole song, as the plugins play it, is kept. How a song is played with
a changed node is `polish_bench`'s work, what to try next that of `polish_moves`; here it is decided
which nodes are tried, what is kept and where it is written.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...exporters.options import ExportOptions
from ...exporters.pedalboard import export_pedalboard
from ...exporters.reaper.project import export_reaper
from ...exporters.writer import ExportJob
from ..choices import ExportFormat
from ..errors import MixbridgeError, ParameterError, PluginError
from ..files import printable
from ..graph import Loss, MixGraph, Processor
from ..hosting.pool import PluginPool
from ..result_folder import GRAPH_FILE
from .blame import INNOCENT_NULL_DB
from .locate import Job, Opened, find_jobs, open_job, result_file, target_of
from .polish_bench import Bench, SongLoss, edits
from .polish_moves import Positions, Prober, Room, Surrogate, TwinShop, room_of, settings_of
from .polished import Polished, PolishedNode
from .realise import RenderOptions
from .results import Verification
from .settings import Progress, VerifySettings
from .song import read_target

#: Sessions of polished graphs lie in this folder beside the graph, one folder a format.
POLISHED_FOLDER = "polished"

#: A change that lowers L_a by less is not worth other settings.
SMALLEST_GAIN = 1e-5

#: How far one descent on the twin may move a setting (shares of its range), in how many steps.
_RADIUS, _STEPS = 0.1, 6

#: What is tried of a descent that did not keep its promise, until the node is left to `Prober`.
_SHARES = (1.0, 0.4, 0.1)

#: How far the random directions go at first, and when they are given up (shares of a range).
_REACH, _LEAST_REACH = 0.03, 0.0003

_STREAM = 0x504F4C  # Keeps these random numbers apart from those of a search with the same seed.

_FORMATS = {"chain": ExportFormat.pedalboard, "reaper": ExportFormat.reaper, "ardour": ExportFormat.ardour}


def polish_job(
    job: Job,
    found: Verification,
    *,
    settings: VerifySettings,
    pool: Callable[[], PluginPool],
    progress: Progress | None = None,
) -> Verification:
    """Polish one session, write the new graph and its session, and note it in the session's verify.json.

    The graph is written beside the old one, which stays as it is, and only if something better
    was found. What was polished before in the same way is not polished again.

    Parameters
    ----------
    found : Verification
        What a verification of this very session found.
    settings : VerifySettings
        `polish_trials`, `polish_every_node`, `seed` and `worst` say how much is tried.

    Returns
    -------
    Verification
        With `Verification.polished`, whose note says why nothing was polished, if so: only a
        verify.json that cannot be written is an error.

    Raises
    ------
    OutputError
    """
    asked = Polished(trials=settings.polish_trials, seed=settings.seed, every_node=settings.polish_every_node)
    if not settings.again and _still_there(found.polished, asked):
        return found
    try:
        polished = _polish(job, found, asked, settings=settings, pool=pool, progress=progress)
    except MixbridgeError as error:
        polished = _refused(asked, str(error))
    result = found.model_copy(update={"polished": polished})
    result.save(result_file(job))
    return result


def _still_there(earlier: Polished | None, asked: Polished) -> bool:
    """Whether the same was asked for before and what it led to has not been removed."""
    if earlier is None:
        return False
    same = all(getattr(earlier, name) == getattr(asked, name) for name in ("trials", "seed", "every_node"))
    return same and all(Path(file).is_file() for file in (earlier.graph, earlier.session) if file)


def _polish(
    job: Job,
    found: Verification,
    asked: Polished,
    *,
    settings: VerifySettings,
    pool: Callable[[], PluginPool],
    progress: Progress | None,
) -> Polished:
    report = progress or (lambda _path, _share, _words: None)
    opened = open_job(job, media_folder=settings.stems_dir)
    mix_path, remark = target_of(opened, settings.mix_path)
    obstacle = edits(opened)
    if opened.graph is None or obstacle:
        return _refused(asked, f"{obstacle or 'no graph belongs to it'}; export it again")
    if mix_path is None:
        return _refused(asked, remark)
    nodes = nodes_to_polish(found, opened.graph, every=settings.polish_every_node, count=settings.worst)
    if not nodes:
        words = f"every plugin nulls below {INNOCENT_NULL_DB:g} dB; --polish-all tries all nodes all the same"
        return _refused(asked, words)
    rate_hz = opened.chain.sample_rate_hz
    loss = SongLoss(read_target(opened, mix_path), sample_rate_hz=rate_hz, offset_samples=found.offset_samples)
    options = RenderOptions(settings.stems_dir, settings.allow_unverified, threads=max(settings.jobs, 1))
    path = str(job.session)
    with Bench(opened, nodes, pool=pool, options=options, loss=loss) as bench:
        before = bench.record(progress=lambda share, words: report(path, 0.2 * share, words))
        tried, now = [], before
        for number, node_id in enumerate(bench.nodes):
            report(path, 0.2 + 0.75 * number / len(bench.nodes), f"polish {node_id}")
            tried.append(_polish_node(bench, node_id, now, settings=settings))
            now = tried[-1].loss_after
        graph = bench.graph
    result = asked.model_copy(update={"loss_before": before, "loss_after": now, "nodes": tuple(tried)})
    if not any(node.after for node in tried):
        return result.model_copy(update={"note": "nothing better was found; the graph stays as it is"})
    report(path, 0.95, "write")
    return _write(opened, graph, result, settings=settings, pool=pool)


def _refused(asked: Polished, why: str) -> Polished:
    return asked.model_copy(update={"note": printable(f"not polished: {why}")})


def nodes_to_polish(found: Verification, graph: MixGraph, *, every: bool, count: int) -> list[str]:
    """Processors of the graph to polish, worst first.

    Parameters
    ----------
    every : bool
        All of them; otherwise those whose plugin differs from the reference, at most `count`.
    """
    known = {p.id for p in graph.processors}
    judged = [n for n in found.nodes if n.id in known and n.kind == "insert"]
    if not every:
        return [n.id for n in judged if n.null_db is None or n.null_db > INNOCENT_NULL_DB][:count]
    ids = [n.id for n in judged]
    return ids + [p.id for p in graph.processors if p.id not in ids]


# ------------------------------------------------------------------------------- one node


def _polish_node(bench: Bench, node_id: str, loss: float, *, settings: VerifySettings) -> PolishedNode:
    """Try other settings of one node; what is better is part of the bench's song afterwards."""
    began = bench.node(node_id)
    names = {c.id: c.name for c in bench.opened.chain.channels}
    channel = next(c.id for c in bench.graph.channels() if any(p.id == node_id for p in bench.graph.chain(c.id)))
    work = _NodePolish(bench, node_id, loss, budget=settings.polish_trials)
    note = ""
    try:
        work.run(seed=settings.seed)
    except PluginError as error:
        note = printable(f"given up: {error}")
    old, new = settings_of(began), settings_of(bench.node(node_id))
    changed = [name for name in old if old[name] != new[name]]
    return PolishedNode(
        id=node_id,
        channel_name=printable(names.get(channel, channel)),
        type=began.type,
        loss_before=loss,
        loss_after=work.loss,
        before={name: old[name] for name in changed},
        after={name: new[name] for name in changed},
        trials=work.trials,
        note=note,
    )


@dataclass
class _NodePolish:
    """The search around one node's settings, until it has had its trials."""

    bench: Bench
    node_id: str
    loss: float
    budget: int
    trials: int = 0
    shop: TwinShop = field(init=False)

    def __post_init__(self) -> None:
        self.shop = TwinShop(sample_rate_hz=self.bench.loss.sample_rate_hz)

    @property
    def node(self) -> Processor:
        return self.bench.node(self.node_id)

    @property
    def left(self) -> int:
        """Trials that are left."""
        return self.budget - self.trials

    def run(self, *, seed: int) -> None:
        """First along the twin's gradient as long as that helps, then in random directions."""
        room = room_of(self.node, allowed=self.bench.realiser.allowed)
        if not room.limits or not np.any(self.bench.input_of(self.node_id)):
            return
        self._descend(room)
        self._probe(room, np.random.default_rng([_STREAM, seed, zlib.crc32(self.node_id.encode("utf-8"))]))

    def _descend(self, room: Room) -> None:
        radius = _RADIUS
        while self.left > 0:
            try:
                surrogate = Surrogate(self.bench, self.node_id, room, shop=self.shop)
            except ParameterError:
                # Its law, or one behind it, has no gradient.
                return
            if not surrogate.trusted:
                return
            goal = surrogate.descend(radius=radius, steps=_STEPS)
            del surrogate
            share = self._backtrack(room, goal)
            if share is None:
                return
            radius *= share

    def _backtrack(self, room: Room, goal: Positions) -> float | None:
        """Go as far towards a goal as it is better there; returns the share of the way."""
        for share in _SHARES:
            if self.left <= 0:
                return None
            candidate = room.moved(self.node, goal, share=share)
            loss = self._try(candidate)
            if self._accept(candidate, loss):
                return share
        return None

    def _probe(self, room: Room, random: np.random.Generator) -> None:
        prober = Prober(room, random, _REACH)
        while self.left >= 2 and prober.reach >= _LEAST_REACH:
            start, node = room.start(self.node), self.node
            pair = prober.pair(start)
            tried = [(self._try(c), c) for c in (room.moved(node, positions) for positions in pair)]
            if self.left > 0:
                losses = (tried[0][0], self.loss, tried[1][0])
                lowest = room.moved(node, prober.between(start, pair, losses))
                tried.append((self._try(lowest), lowest))
            loss, candidate = min(tried, key=lambda item: item[0])
            if not self._accept(candidate, loss):
                prober.reach /= 3.0

    def _try(self, candidate: Processor) -> float:
        if candidate == self.node:
            return self.loss
        self.trials += 1
        loss = self.bench.play(candidate)
        return loss if math.isfinite(loss) else math.inf

    def _accept(self, candidate: Processor, loss: float) -> bool:
        bound = self.loss - SMALLEST_GAIN
        again = self.bench.accept(candidate, below=bound) if loss < bound else None
        if again is None:
            return False
        self.loss = again
        return True


# ------------------------------------------------------------------------------- results


def polished_graph_path(job: Job, graph_path: Path) -> Path:
    """Where the polished graph of a session is written: beside the old one, with the session's name if need be."""
    alone = job.analysis is not None and len(find_jobs(job.analysis)) < 2
    label = "" if alone else f"-{job.session.absolute().parent.name}"
    return graph_path.with_name(f"{graph_path.stem}.polished{label}.json")


def _write(
    opened: Opened, graph: MixGraph, result: Polished, *, settings: VerifySettings, pool: Callable[[], PluginPool]
) -> Polished:
    """The graph, and a session of the same kind where the stems are at hand."""
    job = opened.job
    path = polished_graph_path(job, job.graph_path or job.session.with_name(GRAPH_FILE))
    graph = _with_provenance(graph, result, suites=opened.chain.suites)
    graph.save(path)
    result = result.model_copy(update={"graph": printable(str(path))})
    folder = path.parent / POLISHED_FOLDER / _FORMATS[job.kind]
    stems = settings.stems_dir or Path(graph.provenance.sources.get("stems", ""))
    try:
        session = _export(opened, graph, stems, folder, settings=settings, pool=pool)
    except MixbridgeError as error:
        kind, out = _FORMATS[job.kind].value, folder.parent
        words = f"no session was written ({error}); mixbridge export {path} STEMS --export {kind} --out {out} does it"
        return result.model_copy(update={"note": printable(words)})
    # Found there first when this session is verified: the graph two folders up is the old one.
    graph.save(folder / GRAPH_FILE)
    return result.model_copy(update={"session": printable(str(session))})


def _export(
    opened: Opened,
    graph: MixGraph,
    stems: Path,
    folder: Path,
    *,
    settings: VerifySettings,
    pool: Callable[[], PluginPool],
) -> Path:
    sources = [opened.folder / c.source.file for c in opened.chain.channels if c.source is not None]
    link = any(not s.resolve().is_relative_to(opened.folder.resolve()) for s in sources)
    options = ExportOptions(link=link, allow_unverified=settings.allow_unverified)
    if opened.job.kind == "reaper":
        return export_reaper(ExportJob(graph=graph, stems_dir=stems, options=options), folder)
    job = ExportJob(graph=graph, stems_dir=stems, plugins=opened.chain.suites, options=options, pool=pool())
    return export_pedalboard(job, folder)


def _with_provenance(graph: MixGraph, result: Polished, *, suites: str) -> MixGraph:
    noted = graph.provenance
    changed = ", ".join(node.id for node in result.nodes if node.after)
    words = f"Polished with the real plugins ({suites}): L_a {result.loss_before:.4f} to {result.loss_after:.4f}"
    # What the search reached does not hold for other settings.
    loss = Loss(**{**noted.loss.model_dump(), "pruned": None, "reference": None})
    notes = [*noted.notes, f"{words}; changed: {changed}"]
    return graph.model_copy(update={"provenance": noted.model_copy(update={"loss": loss, "notes": notes})})
