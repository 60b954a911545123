"""Verifies one session: renders what was written, compares it, writes what was found; many paths are `run`'s work."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ...exporters.chain import Source
from ..audio import AudioInfo, probe, read_audio, resampled_frames, write_wav
from ..errors import GraphError, VerifyError
from ..features import OCTAVE_CENTRES_HZ, Signal, features
from ..files import printable
from ..graph import STEMS_SOURCE, Stem
from ..hosting.pool import PluginPool
from ..render import render_graph
from ..result_folder import GRAPH_FILE, MATCH_FILE
from .blame import contributions
from .daw.known import daw_renderer
from .daw.renderer import DawSession
from .inputs import digest, still_valid
from .locate import Job, Opened, model_notes, open_job, real_file, result_file, routing_notes, target_of
from .measure import LossMeter, find_offset, fitted, moved, null_db, octave_differences_db
from .nodes import NodeMeter, expectations
from .realise import Audio, ChainRenderer, RenderOptions, read_excerpt, read_source
from .report import rewrite_report
from .results import LossResult, OctaveResult, Verification
from .settings import Progress, VerifySettings
from .verdict import verdict_of

#: A render that ends earlier than the session by more than this (s) is noted.
_MISSING_S = 0.1

#: What the search noted holds for this target when the graph's render agrees with it to this (in L_a).
_SAME_LOSS = 0.002


def verify_job(
    job: Job, *, settings: VerifySettings, pool: Callable[[], PluginPool], progress: Progress | None = None
) -> Verification:
    """Verify one session file and write what was found.

    Raises
    ------
    MixbridgeError
        If a file is missing or malformed, or a plugin fails.
    """
    report = progress or (lambda _path, _share, _words: None)
    path = str(job.session)
    report(path, 0.0, "read")
    opened = open_job(job, media_folder=settings.stems_dir, rendered_elsewhere=bool(settings.host))
    mix_path, remark = target_of(opened, settings.mix_path)
    inputs = digest(opened, mix_path, settings)
    # Which files a session plays that was not read may not be known: one of them may have changed.
    earlier = (
        None if settings.again or (opened.unread and not opened.files) else still_valid(job, inputs, host=settings.host)
    )
    if earlier is not None:
        report(path, 1.0, "unchanged")
        return earlier
    began_s = time.monotonic()
    if settings.host:
        real_path, found = _rendered_elsewhere(opened, mix_path, settings=settings, progress=report)
    else:
        real, found = _render(opened, mix_path, settings=settings, pool=pool, progress=report)
        report(path, 0.95, "write")
        real_path = real_file(job)
        write_wav(real_path, real, sample_rate_hz=opened.chain.sample_rate_hz)
    notes = (*_session_notes(opened, ran=not settings.host), remark, *found.notes)
    result = found.model_copy(
        update={
            "notes": tuple(printable(n) for n in notes if n),
            "real_file": _relative(real_path, job.session.parent),
            "inputs": inputs,
            "wall_s": round(time.monotonic() - began_s, 3),
        }
    )
    result.save(result_file(job, host=settings.host))
    if job.analysis is not None and opened.graph is not None and mix_path is not None:
        rewrite_report(job.analysis, opened.graph, read_target(opened, mix_path))
    report(path, 1.0, result.verdict)
    return result


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        # On another drive.
        return path.absolute().as_posix()


def _session_notes(opened: Opened, *, ran: bool) -> list[str]:
    """`ran` by our own hosts, which compute what runs in a DAW alone."""
    if opened.unread:
        return [f"only the master is compared, {opened.unread}"]
    return [*routing_notes(opened.chain, opened.wanted), *(model_notes(opened.chain) if ran else ())]


def _render(
    opened: Opened,
    mix_path: Path | None,
    *,
    settings: VerifySettings,
    pool: Callable[[], PluginPool],
    progress: Progress,
) -> tuple[Audio, Verification]:
    """The render by plugins, and all that is measured of it."""
    path = str(opened.job.session)
    options = RenderOptions(settings.stems_dir, settings.allow_unverified, threads=max(settings.jobs, 1))
    meter = NodeMeter(opened.chain, {} if opened.wanted is None else expectations(opened.wanted))
    keep = mix_path is not None and settings.worst > 0
    with ChainRenderer(opened.chain, opened.folder, pool=pool, options=options, keep=keep) as renderer:
        real = renderer.render(captures=meter, progress=lambda share, words: progress(path, 0.7 * share, words))
        progress(path, 0.7, "compare")
        comparison = _compare(opened, real, mix_path, options=options)
        nodes, loss = meter.nodes(real), comparison.result.loss.real
        if keep and loss is not None:
            progress(path, 0.85, "worst nodes")
            measure = comparison.loss_of
            nodes = contributions(nodes, opened, renderer, loss_of=measure, real_loss=loss, count=settings.worst)
    return real, comparison.result.model_copy(update={"nodes": nodes, "channels": meter.channels()})


def _rendered_elsewhere(
    opened: Opened, mix_path: Path | None, *, settings: VerifySettings, progress: Progress
) -> tuple[Path, Verification]:
    """The file of a render by a DAW or the user, and what is measured of it: the master alone."""
    path, chain = str(opened.job.session), opened.chain
    version, file = "", settings.render_path
    notes: tuple[str, ...] = ()
    if settings.daw is not None:
        daw = daw_renderer(settings.daw, program=settings.daw_program)
        progress(path, 0.1, f"rendered by {daw.name}")
        file = real_file(opened.job, host=settings.host)
        session = DawSession(opened.job.session, sample_rate_hz=chain.sample_rate_hz, frames=opened.frames)
        made = daw.render(session, file, timeout_s=settings.daw_timeout_s)
        version, notes = printable(made.version), tuple(f"{daw.name} says: {words}" for words in made.complaints)
    if file is None:
        raise VerifyError(f"{path}: neither a DAW nor a render was given; use --with or --render")
    progress(path, 0.7, "compare")
    info = probe(file)
    options = RenderOptions(settings.stems_dir)
    real = _whole_render(info, opened)
    result = _compare(opened, real, mix_path, options=options).result
    notes = (*_render_notes(info, opened), *notes)
    return file, result.model_copy(update={"host": settings.host, "host_version": version, "notes": notes})


def _whole_render(info: AudioInfo, opened: Opened) -> Audio:
    """A render at the session's rate, with what follows its end as far as it may come too late."""
    rate_hz = opened.chain.sample_rate_hz
    frames = resampled_frames(info.frames, from_hz=info.sample_rate_hz, to_hz=rate_hz)
    audio = read_excerpt(info, sample_rate_hz=rate_hz, frames=min(frames, opened.frames + rate_hz))
    if not np.any(audio):
        raise VerifyError(f"{info.path}: the render is silent; look for muted tracks and missing files in the DAW")
    return audio


def _render_notes(info: AudioInfo, opened: Opened) -> list[str]:
    rate_hz = opened.chain.sample_rate_hz
    length_s = opened.frames / rate_hz
    notes = []
    if info.sample_rate_hz != rate_hz:
        notes.append(f"the render has {info.sample_rate_hz} Hz, the session {rate_hz} Hz; it was resampled")
    if info.duration_s < length_s - _MISSING_S:
        notes.append(f"the render ends after {info.duration_s:.2f} s, the session after {length_s:.2f} s")
    return notes


# ------------------------------------------------------------------------------- compare


@dataclass(frozen=True)
class _Comparison:
    result: Verification
    losses: LossMeter | None

    def loss_of(self, audio: Audio) -> float:
        """L_a of another render of the same session; only where there is a target."""
        if self.losses is None:
            return math.nan
        return self.losses.measure(_aligned(audio, self.result.frames, late_by=self.result.offset_samples))["total"]


def _aligned(audio: Audio, frames: int, *, late_by: int) -> Signal:
    """A render moved back by what it is late, `frames` long; what follows its end comes in there."""
    longer = audio if audio.shape[-1] >= frames else fitted(audio, frames)
    return fitted(moved(longer, -late_by), frames)


def _compare(opened: Opened, real: Audio, mix_path: Path | None, *, options: RenderOptions) -> _Comparison:
    """Everything that is measured of the song as a whole."""
    rate_hz, frames = opened.chain.sample_rate_hz, opened.frames
    target = None if mix_path is None else read_target(opened, mix_path)
    graph = _graph_render(opened, options)
    heard = fitted(real, frames)
    against = graph if graph is not None else target
    offset = 0 if against is None else find_offset(heard, against, sample_rate_hz=rate_hz)
    heard = _aligned(real, frames, late_by=offset)
    losses = None if target is None else LossMeter(target, sample_rate_hz=rate_hz)
    loss = _losses(opened, heard, graph, losses)
    gap, gap_to = _gap(loss)
    measured = {
        name: features(audio, sample_rate_hz=rate_hz)
        for name, audio in (("real", heard), ("graph", graph), ("target", target))
        if audio is not None
    }
    loud = [measured[name].loudness_lufs if name in measured else None for name in ("real", "graph")]
    result = Verification(
        path=printable(str(opened.job.session)),
        name=printable(opened.graph.name if opened.graph is not None else opened.chain.name),
        session=opened.job.kind,
        suites=opened.chain.suites,
        verdict=verdict_of(gap),
        graph="" if opened.job.graph_path is None else printable(str(opened.job.graph_path)),
        target="" if mix_path is None else printable(str(mix_path)),
        sample_rate_hz=rate_hz,
        frames=frames,
        loss=loss,
        gap=gap,
        gap_to=gap_to,
        offset_samples=offset,
        null_db=None if graph is None else null_db(heard, graph),
        loudness_difference_lu=loud[0] - loud[1] if loud[0] is not None and loud[1] is not None else None,
        octaves=_octaves(heard, graph, target, sample_rate_hz=rate_hz),
        features=measured,
    )
    return _Comparison(result, losses)


def read_target(opened: Opened, mix_path: Path) -> Audio:
    """The part of the mix that the session covers, at the session's rate; shape (2, n)."""
    start = opened.graph.start_frame if opened.graph is not None else 0
    rate_hz, frames = opened.chain.sample_rate_hz, opened.frames
    return read_excerpt(probe(mix_path), sample_rate_hz=rate_hz, offset_samples=-start, frames=frames)


def _graph_render(opened: Opened, options: RenderOptions) -> Audio | None:
    """The graph's own render: the file of the analysis, else made anew; None without a graph."""
    graph, job = opened.graph, opened.job
    if graph is None or job.graph_path is None:
        return None
    file = job.graph_path.parent / MATCH_FILE
    # Another graph in that folder, as of polishing, has another render.
    if job.graph_path.name == GRAPH_FILE and file.is_file():
        info = probe(file)
        if (info.sample_rate_hz, info.frames, info.channels) == (graph.sample_rate_hz, opened.frames, 2):
            return read_audio(file).astype(np.float64)
    return render_graph(graph, lambda stem: _stem_audio(opened, stem, options))


def _stem_audio(opened: Opened, stem: Stem, options: RenderOptions) -> Audio:
    """A stem as the graph places it, from the file the session plays for it."""
    channel = next((c for c in opened.chain.channels if c.id == stem.id), None)
    source, folder = channel.source if channel is not None else None, opened.folder
    if source is None and opened.unread and opened.graph is not None:
        # What the session plays is not known; the graph knows where its stems were.
        folder = Path(opened.graph.provenance.sources.get(STEMS_SOURCE, ""))
        source = Source(file=stem.file, channels=stem.channels) if (folder / stem.file).is_file() else None
    if source is None:
        raise GraphError(f"{stem.file}: the session does not hold this stem; its graph cannot be rendered")
    position = opened.graph.position_samples(stem) if opened.graph is not None else 0
    source = source.model_copy(update={"offset_samples": position, "polarity": stem.polarity})
    return read_source(
        source,
        folder,
        sample_rate_hz=opened.chain.sample_rate_hz,
        frames=opened.frames,
        media_folder=options.media_folder,
    )


def _losses(opened: Opened, real: Signal, graph: Audio | None, losses: LossMeter | None) -> LossResult:
    if losses is None:
        return LossResult()
    own = None if graph is None else losses.measure(graph)["total"]
    noted = opened.graph.provenance.loss if opened.graph is not None else None
    twins = None
    if noted is not None and own is not None and noted.reference is not None and noted.pruned is not None:
        # Another target than the search had, or a graph edited since, makes its figures void.
        twins = noted.pruned if abs(own - noted.reference) <= _SAME_LOSS else None
    return LossResult(real=losses.measure(real)["total"], graph=own, differentiable=twins)


def _gap(loss: LossResult) -> tuple[float | None, Literal["", "differentiable", "graph"]]:
    if loss.real is not None and loss.differentiable is not None:
        return loss.real - loss.differentiable, "differentiable"
    if loss.real is not None and loss.graph is not None:
        return loss.real - loss.graph, "graph"
    return None, ""


def _octaves(
    real: Signal, graph: Audio | None, target: Audio | None, *, sample_rate_hz: int
) -> tuple[OctaveResult, ...]:
    to_graph, to_target = (
        [None] * len(OCTAVE_CENTRES_HZ)
        if audio is None
        else list(octave_differences_db(real, audio, sample_rate_hz=sample_rate_hz))
        for audio in (graph, target)
    )
    rows = zip(OCTAVE_CENTRES_HZ, to_graph, to_target, strict=True)
    return tuple(
        OctaveResult(centre_hz=centre, to_graph_db=one, to_target_db=two)
        for centre, one, two in rows
        if centre / math.sqrt(2.0) < sample_rate_hz / 2
    )
