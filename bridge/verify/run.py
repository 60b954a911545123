"""Verifies many paths, several at once, so that what fails costs its own row only; one session is `song`'s work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from ..choices import Daw
from ..errors import MixbridgeError, VerifyError
from ..files import printable
from ..hosting.pool import PluginPool
from .daw.known import daw_renderer
from .daw.renderer import DawRenderer
from .locate import OWN_KINDS, Job, find_jobs
from .polish import polish_job
from .results import ObstacleResult, Verification
from .settings import Progress, VerifySettings
from .song import verify_job

_log = logging.getLogger(__name__)


def verify_paths(
    paths: Sequence[Path], *, settings: VerifySettings | None = None, progress: Progress | None = None
) -> list[Verification]:
    """Verify sessions, several at once; what fails costs its own row only.

    Writes ``verify.json`` beside every session file, the render as ``real.wav`` (beside the graph's
    own render in an analysis folder), and rewrites the report of an analysis folder. What was
    verified before and has not changed is not rendered again.

    Parameters
    ----------
    paths : sequence of Path
        See `locate.find_jobs`.
    settings : VerifySettings, optional
    progress : callable, optional

    Returns
    -------
    list of Verification
        In the order of the paths, one for every session file found; `Verification.error` says why
        one could not be verified.

    Raises
    ------
    VerifyError
        If choices contradict each other, or a given render could belong to several sessions.
    DawNotFoundError
        If the DAW that was chosen is not there.
    """
    chosen = settings or VerifySettings()
    chosen.check()
    report = progress or (lambda _path, _share, _words: None)
    daw = None if chosen.daw is None else daw_renderer(chosen.daw, program=chosen.daw_program)
    if daw is not None:
        # Said once, and before anything is read.
        daw.find()
    jobs, results = _find_all(paths, graph_path=chosen.graph_path, daw=daw, any_kind=chosen.render_path is not None)
    if chosen.render_path is not None and len(jobs) > 1:
        named = ", ".join(str(job.session) for job in jobs.values())
        raise VerifyError(f"{chosen.render_path}: of which session is this the render? Name one of {named}")
    work = _group(jobs)
    if len(work) == 1 or chosen.jobs < 2:
        for done, item in enumerate(work):
            results |= _do(item, chosen, _part_of(report, done, len(work)))
    elif work:
        alone = replace(chosen, jobs=1)
        for done, found in enumerate(_in_processes(work, alone, workers=min(chosen.jobs, len(work)))):
            results |= found
            last = next(iter(found.values()))
            report(last.path, (done + 1) / len(work), last.verdict)
    return [results[place] for place in sorted(results)]


#: Where a session stands among all that were named: number of its path, number below the path.
_Place = tuple[int, int]
_Results = dict[_Place, Verification]


@dataclass(frozen=True)
class _Work:
    """Sessions that share a folder and so a report: they are done one after the other."""

    jobs: dict[_Place, Job]


def _find_all(
    paths: Sequence[Path], *, graph_path: Path | None, daw: DawRenderer | None = None, any_kind: bool = False
) -> tuple[dict[_Place, Job], _Results]:
    """Every session once, and a result for each path that holds none that can be rendered.

    `any_kind` of session will do where nobody has to render it.
    """
    jobs: dict[_Place, Job] = {}
    failed: _Results = {}
    seen: set[Path] = set()
    for number, path in enumerate(paths):
        try:
            found = find_jobs(path, graph_path=graph_path)
            for index, job in enumerate(found if any_kind else _rendered_by(daw, path, found)):
                if (session := job.session.resolve()) not in seen:
                    seen.add(session)
                    jobs[number, index] = job
        except (MixbridgeError, OSError) as error:
            failed[number, 0] = _failure(path, error)
    return jobs, failed


def _rendered_by(daw: DawRenderer | None, path: Path, jobs: list[Job]) -> list[Job]:
    """The sessions that a DAW opens, of those below a path; without one, those of our own hosts."""
    if daw is None:
        own = [job for job in jobs if job.kind in OWN_KINDS]
        if not own:
            raise VerifyError(f"{path}: Ardour's sessions are rendered by Ardour itself; add --with {Daw.ardour}")
        return own
    opened = [job for job in jobs if job.kind in daw.kinds]
    if not opened:
        formats = " or ".join(f"--export {kind}" for kind in daw.kinds)
        raise VerifyError(f"{path}: holds no session that {daw.name} opens; export one with '{formats}'")
    return opened


def _group(jobs: Mapping[_Place, Job]) -> list[_Work]:
    groups: dict[Path, dict[_Place, Job]] = {}
    for place, job in jobs.items():
        groups.setdefault((job.analysis or job.session.parent).resolve(), {})[place] = job
    return [_Work(group) for group in groups.values()]


_Doer = Callable[[_Work, VerifySettings, Progress], _Results]


def _part_of(report: Progress, done: int, total: int) -> Progress:
    return lambda path, share, words: report(path, (done + share) / total, words)


def _failure(path: Path, error: BaseException) -> Verification:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    name = printable(str(path))
    words = printable(" ".join(reason.split()))
    found = error.obstacles if isinstance(error, MixbridgeError) else ()
    return Verification(
        path=name,
        verdict="failed",
        error=words if name in words else f"{name}: {words}",
        obstacles=tuple(ObstacleResult(line=o.line, words=printable(o.words)) for o in found),
    )


def _do(work: _Work, settings: VerifySettings, report: Progress) -> _Results:
    found: _Results = {}
    with lazy_pool(settings) as pool:
        for done, (place, job) in enumerate(work.jobs.items()):
            part = _part_of(report, done, len(work.jobs))
            try:
                found[place] = verify_job(job, settings=settings, pool=pool, progress=part)
                if settings.polish:
                    found[place] = polish_job(job, found[place], settings=settings, pool=pool, progress=part)
            except MemoryError:
                found[place] = _failure(job.session, MemoryError("not enough memory; verify fewer at once with --jobs"))
            except (MixbridgeError, OSError) as error:
                found[place] = _failure(job.session, error)
            except Exception as error:
                # A fault of ours: it is told in full, and must not cost a night's run over a thousand songs.
                _log.exception("%s", job.session)
                found[place] = _failure(job.session, RuntimeError(f"unexpected {type(error).__name__}: {error}"))
    return found


def _in_processes(
    work: list[_Work], settings: VerifySettings, *, workers: int, do: _Doer | None = None
) -> Iterator[_Results]:
    """Results as they come; a process that dies costs its own sessions and nothing else."""
    left, do = dict(enumerate(work)), do or _do
    with _executor(workers) as executor:
        futures: dict[Future[_Results], int] = {
            executor.submit(do, item, settings, _silent): number for number, item in left.items()
        }
        for future in as_completed(futures):
            try:
                found = future.result()
            except BrokenProcessPool:
                break
            del left[futures[future]]
            yield found
    # Which one took the others down is not known: each gets a process of its own.
    for item in left.values():
        with _executor(1) as executor:
            try:
                yield executor.submit(do, item, settings, _silent).result()
            except BrokenProcessPool:
                died = MemoryError("its process was ended from outside, perhaps for want of memory; try --jobs 1")
                yield {place: _failure(job.session, died) for place, job in item.jobs.items()}


@contextmanager
def _executor(workers: int) -> Iterator[ProcessPoolExecutor]:
    executor = ProcessPoolExecutor(max_workers=workers, mp_context=get_context("spawn"))
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _silent(_path: str, _share: float, _words: str) -> None:
    return


@contextmanager
def lazy_pool(settings: VerifySettings) -> Iterator[Callable[[], PluginPool]]:
    """A function that gives the plugin workers, which start at its first call and end with the block."""
    with ExitStack() as stack:
        pools: list[PluginPool] = []

        def give() -> PluginPool:
            if not pools:
                made = PluginPool(workers=max(settings.jobs, 1), time_limit_s=settings.time_limit_s)
                pools.append(stack.enter_context(made))
            return pools[0]

        yield give
