"""Does one song of a batch in the present process: analyse, export, verify; who starts the process is not known here.

Doing a song twice gives the same as doing it once: what was finished under the same key is left
alone, and what was begun is gone on with.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import Timeout

from ...exporters.formats import export_again
from ..analyze import Analysis, AnalyzeSettings, analyze
from ..errors import BatchError, MixbridgeError, OutputError
from ..graph import MixGraph, Stem
from ..result_folder import EXPORT_FILE, GRAPH_FILE, MATCH_FILE, UNFINISHED_FOLDER
from ..verify.results import Verification
from ..verify.run import verify_paths
from ..verify.settings import VerifySettings
from .keys import input_paths, look_at, song_key
from .manifest import Song
from .request import Request
from .settings import SongSettings
from .status import Attempt, InputFile, SessionOutcome, SongPlace, Status, Times, now

_log = logging.getLogger(__name__)

#: Seconds between two notes of how far a song is.
_NOTE_EVERY_S = 1.0


class SongBusyError(BatchError):
    """Another process works on the song."""


def do_song(request: Request, *, wait: bool = False) -> Status:
    """Do what is left to do of a song, and write its status.

    Parameters
    ----------
    request : Request
    wait : bool
        Wait for another process that works on the song, instead of raising.

    Returns
    -------
    Status
        "done" or "failed"; whatever goes wrong with the song is in it.

    Raises
    ------
    SongBusyError
        If another process works on the song and `wait` is false.
    OutputError
        If the folder of the batch cannot be written.
    """
    task = _Task.of(request)
    try:
        with task.place.lock().acquire(blocking=wait):
            return task.run()
    except Timeout:
        raise SongBusyError(f"{request.name}: another process works on it") from None


def result_is_whole(place: SongPlace, settings: SongSettings) -> bool:
    """Whether the files are there that a song is done with."""
    wanted = [GRAPH_FILE, MATCH_FILE, *([EXPORT_FILE] if settings.exports else [])]
    return not _unfinished(place) and all((place.result / name).is_file() for name in wanted)


def _unfinished(place: SongPlace) -> bool:
    return (place.result / UNFINISHED_FOLDER).is_dir()


@dataclass
class _Clock:
    """Where the time goes (s); a process of ours begins with the first line of its program."""

    began_s: float
    analyze_s: float = 0.0
    verify_s: float = 0.0

    def times(self) -> Times:
        total_s = time.time() - self.began_s
        used = os.times()
        return Times(
            analyze_s=round(self.analyze_s, 3),
            verify_s=round(self.verify_s, 3),
            overhead_s=round(max(total_s - self.analyze_s - self.verify_s, 0.0), 3),
            total_s=round(total_s, 3),
            cpu_s=round(used.user + used.system + used.children_user + used.children_system, 3),
        )


class _Task:
    """One attempt at one song; its lock is held."""

    def __init__(self, place: SongPlace, song: Song, settings: SongSettings, *, threads: int, job: str) -> None:
        self.place, self.song, self.settings = place, song, settings
        self._threads, self._job = threads, job
        self._clock = _Clock(psutil.Process().create_time())
        self._noted_s = 0.0
        self._status = Status(name=song.name, state="running", quality=settings.search.quality)

    @classmethod
    def of(cls, request: Request) -> _Task:
        # What was JSON once needs the leave of JSON: paths are text there.
        song = Song.model_validate(request.song, strict=False)
        settings = SongSettings.from_json(request.settings)
        return cls(request.place, song, settings, threads=request.threads, job=request.job)

    def run(self) -> Status:
        earlier = self.place.status()
        try:
            return self._run(earlier)
        except MixbridgeError as error:
            words = str(error)
        except MemoryError:
            words = "not enough memory; do fewer songs at once with --workers, or analyse a part of it"
        except Exception as error:
            # A fault of ours must not cost a night's run over a thousand songs; all of it is in the log.
            _log.exception("%s", self.song.name)
            words = f"unexpected {type(error).__name__}: {error}; see {self.place.log_file}"
        return self._end("failed", error=" ".join(words.split()))

    def _run(self, earlier: Status | None) -> Status:
        self._begin(earlier)
        files = look_at(input_paths(self.song, self.settings), known=earlier.files if earlier else ())
        key = song_key(self.song, self.settings, files)
        if earlier is not None and is_done(earlier, key, self.place, self.settings):
            # Somebody was quicker. Times of change may be new, though.
            done = earlier.model_copy(update={"files": files})
            done.save(self.place.status_file)
            return done
        self._make_room(earlier, key)
        self._note("read", 0.0, force=True, key=key, files=files)
        graph = self._analyze()
        outcomes = self._verify()
        self._check_unchanged(files, key)
        return self._end("done", phase="", share=1.0, sessions=outcomes, **_found(graph))

    def _begin(self, earlier: Status | None) -> None:
        attempt = Attempt(host=socket.gethostname(), pid=os.getpid(), job=self._job, began_at=now())
        before = earlier.attempts if earlier is not None else ()
        self._status = self._status.model_copy(update={"attempts": (*before, attempt)})
        if earlier is not None:
            self._status = self._status.model_copy(update={"key": earlier.key, "files": earlier.files})

    def _make_room(self, earlier: Status | None, key: str) -> None:
        """Clear away what was found with other files or settings; what is not ours is left alone."""
        result = self.place.result
        if earlier is not None and earlier.key == key:
            return
        if earlier is None:
            if result.exists():
                raise OutputError(f"{result}: is not of this batch; move it away or choose another --out")
            return
        # In this order: a result that is half cleared away must not pass for one of either key.
        self._note("clear", 0.0, force=True, key="")
        _remove(result)

    def _note(self, phase: str, share: float, *, force: bool = False, **changes: Any) -> None:
        """Write down how far the song is, once in a while."""
        share = min(max(share, 0.0), 1.0)
        self._status = self._status.model_copy(update={"phase": phase, "share": share, **changes})
        if force or time.monotonic() - self._noted_s > _NOTE_EVERY_S:
            self._noted_s = time.monotonic()
            self._status.save(self.place.status_file)

    def _end(self, state: Any, **changes: Any) -> Status:
        ended = self._status.ended(state, times=self._clock.times(), peak_memory_mb=_peak_memory_mb(), **changes)
        ended.save(self.place.status_file)
        return ended

    # ------------------------------------------------------------------ the steps

    def _analyze(self) -> MixGraph:
        began_s = time.monotonic()
        try:
            if (self.place.result / GRAPH_FILE).is_file() and not _unfinished(self.place):
                return self._export_again()
            return self._search()
        finally:
            self._clock.analyze_s = time.monotonic() - began_s

    def _search(self) -> MixGraph:
        resume = _unfinished(self.place)
        try:
            found = self._call_analyze(resume=resume)
        except OutputError:
            if not resume:
                raise
            # Its checkpoint is damaged, or of another version.
            _remove(self.place.result)
            found = self._call_analyze(resume=False)
        self._status = self._status.model_copy(
            update={
                "export_losses": {kind: len(losses) for kind, losses in found.losses.items()},
                "warnings": found.warnings,
            }
        )
        return found.graph

    def _call_analyze(self, *, resume: bool) -> Analysis:
        song, settings = self.song, self.settings
        chosen = AnalyzeSettings(
            search=settings.search,
            exports=settings.exports,
            export_options=settings.export_options,
            start_s=song.start_s,
            end_s=song.end_s,
            groups_path=song.groups,
            tempo_map_path=song.tempo_map,
            name=song.name,
            resume=resume,
        )
        return analyze(
            song.stems,
            song.mix,
            folder=self.place.result,
            settings=chosen,
            progress=lambda phase, share, _words: self._note(phase, share),
        )

    def _export_again(self) -> MixGraph:
        """The graph of an attempt that came this far; its sessions where they were not written."""
        path = self.place.result / GRAPH_FILE
        graph = MixGraph.load(path)
        update: dict[str, Any] = {"warnings": tuple(graph.provenance.notes)}
        if self.settings.exports:
            self._note("write", 0.0, force=True)
            # Written anew: which losses were noted is not known otherwise.
            written = export_again(
                path,
                self.settings.exports,
                stems_dir=self.song.stems,
                folder=self.place.result,
                options=self.settings.export_options,
            )
            update["export_losses"] = {kind: len(losses) for kind, losses in written.losses.items()}
        self._status = self._status.model_copy(update=update)
        return graph

    def _verify(self) -> tuple[SessionOutcome, ...]:
        if not self.settings.verifies:
            return ()
        began_s = time.monotonic()
        # Again, because an attempt that was killed may have got as far as the result, but not to the report.
        chosen = VerifySettings(
            jobs=self._threads, allow_unverified=self.settings.export_options.allow_unverified, again=True
        )
        results = verify_paths(
            [self.place.result],
            settings=chosen,
            progress=lambda _path, share, _words: self._note("verify", share),
        )
        self._clock.verify_s = time.monotonic() - began_s
        failed = next((r for r in results if r.error), None)
        if failed is not None:
            raise BatchError(failed.error)
        return tuple(self._outcome(r) for r in results)

    def _outcome(self, result: Verification) -> SessionOutcome:
        path = Path(result.path)
        inside = path.relative_to(self.place.result) if path.is_relative_to(self.place.result) else path
        return SessionOutcome(
            session=inside.as_posix(),
            verdict=result.verdict,
            gap=result.gap,
            loss_real=result.loss.real,
            null_db=result.null_db,
        )

    def _check_unchanged(self, files: tuple[InputFile, ...], key: str) -> None:
        again = look_at(input_paths(self.song, self.settings), known=files)
        if song_key(self.song, self.settings, again) != key:
            raise BatchError(f"{self.song.name}: its files were changed while it was done; run the batch again")
        self._status = self._status.model_copy(update={"files": again})


def is_done(status: Status, key: str, place: SongPlace, settings: SongSettings) -> bool:
    """Whether a song was done under this key and its result is still there."""
    return status.state == "done" and status.key == key and result_is_whole(place, settings)


def _found(graph: MixGraph) -> dict[str, Any]:
    return {
        "audio_s": round(graph.frames / graph.sample_rate_hz, 3),
        "tracks": sum(isinstance(node, Stem) for node in graph.nodes),
        "loss": graph.provenance.loss,
        "processors_kept": len(graph.processors),
        "processors_console": graph.provenance.console_processors,
    }


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{folder}: cannot remove ({error.strerror}); change its access rights") from None


def _peak_memory_mb() -> float:
    """The most memory that this process and the largest of those it started have had at once."""
    try:
        import resource
    except ImportError:
        return round(float(psutil.Process().memory_info().peak_wset) / 1e6, 1)
    # Kilobytes on Linux, bytes on macOS.
    unit = 1e6 if os.uname().sysname == "Darwin" else 1e3
    parts = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(float(sum(parts)) / unit, 1)
