"""Sends songs to a SLURM cluster and waits for them; what a job does is in `cluster_job`.

Results come through the status files on the folder that all nodes share. Of SLURM itself only its
queue is asked: accounting is not set up everywhere.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BatchError
from ..files import write_text_whole
from .cluster_job import SongJob
from .local import Watch, Working
from .manifest import Song
from .request import Request, request_of
from .settings import SongSettings
from .status import SongPlace, Status, now

SLURM_FOLDER = "slurm"

#: Which song is in which job, so that the same command finds them again.
_JOBS_FILE = "songs.json"

#: Songs at once where nothing else is said.
_WORKERS = 256

#: So often a song gets another turn after its time was over.
_TURNS = 10

#: So often a song is sent again whose job was lost with its node.
_SENT_AGAIN = 3

#: So long before the time is over the job is told (s).
_NOTICE_S = 60

#: States of jobs that do not come back, and those of them that are not the song's doing.
_OVER = (
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE"),
    *("OUT_OF_MEMORY", "REVOKED"),
)
#: What is said of a job that SLURM has forgotten.
_GONE = "GONE"
_NOT_ITS_FAULT = frozenset(("NODE_FAIL", "PREEMPTED", "BOOT_FAIL"))

#: A status may reach this machine so much later than the end of the job (s): folders of networks are cached.
_GRACE_S = 30.0

_LOOK_EVERY_S = 2.0
_COMMAND_LIMIT_S = 120.0


@dataclass
class _Sent:
    """One song on the cluster."""

    request: Request
    job: str
    at: str
    times: int = 1
    over_since_s: float | None = None

    @property
    def place(self) -> SongPlace:
        return self.request.place


@dataclass(frozen=True)
class OnSlurm:
    """Does songs as jobs of SLURM, one array for all of them.

    Attributes
    ----------
    workers : int or None
        Songs at once.
    limit_s : float or None
        Longest time for one song in one turn.
    partition : str or None
    time_min, memory_gb, cpus, gpus
        What is asked for, for each song. A song that needs more time goes on in another turn.
    wait : bool
        Wait until all are done; otherwise the same command finds out later.
    """

    workers: int | None = None
    limit_s: float | None = None
    partition: str | None = None
    time_min: int = 240
    memory_gb: float = 8.0
    cpus: int = 2
    gpus: int = 0
    wait: bool = True

    def shares(self) -> tuple[int, int]:
        """Songs at once, and threads of each."""
        return self.workers or _WORKERS, self.cpus

    def check(self, settings: SongSettings) -> None:
        """Raise `BatchError` where songs cannot be sent."""
        if self.gpus and settings.search.device == "cpu":
            raise BatchError("--gpus: the search would not use them; add --device cuda")
        if shutil.which("sbatch") is None:
            raise BatchError("--cluster slurm: there is no 'sbatch' here; log in to the cluster, or leave it out")
        try:
            import submitit  # noqa: F401
        except ImportError:
            raise BatchError(
                "--cluster slurm needs submitit; install it with: pip install 'mixbridge[cluster]'"
            ) from None

    def __call__(self, songs: Sequence[Song], folder: Path, settings: SongSettings, *, watch: Watch) -> None:
        """Send all that are not there yet, and wait for them."""
        self.check(settings)
        requests = [request_of(folder, song, settings, threads=self.cpus) for song in songs]
        sent = self._found_again(requests, folder)
        self._send([r for r in requests if r.name not in sent], folder, sent)
        if self.wait:
            self._await(sent, folder, watch)

    # ------------------------------------------------------------------ sending

    def _found_again(self, requests: Sequence[Request], folder: Path) -> dict[str, _Sent]:
        """Songs that an earlier command sent and that are still there."""
        noted = _read_jobs(folder)
        wanted = {r.name: noted[r.name]["job"] for r in requests if noted.get(r.name, {}).get("request") == _digest(r)}
        states = job_states(wanted.values())
        return {
            r.name: _Sent(r, wanted[r.name], noted[r.name]["at"])
            for r in requests
            if r.name in wanted and states.get(wanted[r.name], (_GONE, ""))[0] not in (*_OVER, _GONE)
        }

    def _send(self, requests: Sequence[Request], folder: Path, sent: dict[str, _Sent]) -> None:
        size = max_array_size() if len(requests) > 1 else 1
        for begin in range(0, len(requests), size):
            part, began_at = requests[begin : begin + size], now()
            for request, job in zip(part, self._submit(part, folder), strict=True):
                before = sent.get(request.name)
                sent[request.name] = _Sent(request, job, began_at, before.times + 1 if before else 1)
            _note_jobs(folder, sent)

    def _submit(self, requests: Sequence[Request], folder: Path) -> list[str]:
        """Job ids of requests that were sent."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        place = (folder / SLURM_FOLDER).absolute()
        executor = submitit.AutoExecutor(folder=place, cluster="slurm", slurm_max_num_timeout=_TURNS)
        asked: dict[str, Any] = {
            "name": "mixbridge",
            "timeout_min": self.time_min,
            "mem_gb": self.memory_gb,
            "cpus_per_task": self.cpus,
            "slurm_array_parallelism": self.workers or _WORKERS,
            "slurm_signal_delay_s": min(_NOTICE_S, 15 * self.time_min),
            # A lost node or a job of more weight must not cost the song, whatever the cluster does by default.
            "slurm_additional_parameters": {"requeue": True},
        }
        if self.gpus:
            asked["gpus_per_node"] = self.gpus
        if self.partition:
            asked["slurm_partition"] = self.partition
        executor.update_parameters(**asked)
        try:
            jobs = executor.map_array(SongJob(self.limit_s), [r.to_json() for r in requests])
        except (FailedJobError, FailedSubmissionError, subprocess.SubprocessError, OSError) as error:
            words = " ".join(str(error).split())[-300:]
            raise BatchError(
                f"SLURM did not take the songs ({words}); check --partition, --time-min and --gpus"
            ) from None
        return [str(job.job_id) for job in jobs]

    # ------------------------------------------------------------------ waiting

    def _await(self, sent: dict[str, _Sent], folder: Path, watch: Watch) -> None:
        left = dict(sent)
        while left:
            states = job_states(s.job for s in left.values())
            lost = []
            for name, song in list(left.items()):
                state, _ = states.get(song.job, (_GONE, ""))
                if not self._is_over(song, state):
                    continue
                status = song.place.status()
                if status is not None and status.state in ("done", "failed") and _is_of(status, song):
                    del left[name]
                    watch.ended(status)
                elif _waited_long(song):
                    if state in _NOT_ITS_FAULT and song.times <= _SENT_AGAIN:
                        lost.append(song.request)
                    else:
                        del left[name]
                        watch.ended(_note_lost(song, state))
            if lost:
                self._send(lost, folder, left)
            watch.working(_working(left, states))
            if left:
                time.sleep(_LOOK_EVERY_S)

    @staticmethod
    def _is_over(song: _Sent, state: str) -> bool:
        if state not in _OVER and state != _GONE:
            song.over_since_s = None
            return False
        if song.over_since_s is None:
            song.over_since_s = time.monotonic()
        return True


def _waited_long(song: _Sent) -> bool:
    return song.over_since_s is not None and time.monotonic() - song.over_since_s > _GRACE_S


def _is_of(status: Status, song: _Sent) -> bool:
    """Whether a status is what came of the job, and not what stood there before it."""
    return status.updated_at > song.at


def _note_lost(song: _Sent, state: str) -> Status:
    log = song.place.folder / SLURM_FOLDER
    error = f"its job {song.job} ended without it ({state}); see {log}, and run the batch again"
    with song.place.lock():
        status = song.place.status() or Status(name=song.request.name, state="failed")
        if status.state != "done":
            status = (
                status.ended("failed", error=error)
                if status.state == "running"
                else status.model_copy(update={"state": "failed", "error": error})
            )
            status.save(song.place.status_file)
    return status


def _working(left: Mapping[str, _Sent], states: Mapping[str, tuple[str, str]]) -> list[Working]:
    found = []
    for name, song in left.items():
        state, node = states.get(song.job, (_GONE, ""))
        if state != "RUNNING":
            continue
        status = song.place.status()
        begun = status is not None and status.state == "running"
        phase, share = (status.phase, status.share) if status is not None and begun else ("start", 0.0)
        found.append(Working(f"{node or song.job}/{song.job}", name, phase, share))
    return found


# ---------------------------------------------------------------------- SLURM's own commands


def job_states(jobs: Any) -> dict[str, tuple[str, str]]:
    """State and node of jobs by id; jobs that SLURM has forgotten are not among them.

    Raises
    ------
    BatchError
        If SLURM does not answer.
    """
    numbers = sorted({job.split("_")[0] for job in jobs})
    found: dict[str, tuple[str, str]] = {}
    for number in numbers:
        # One by one: a single forgotten job makes an error of all of them.
        answer = _ask("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%N", f"--jobs={number}")
        for line in answer.splitlines():
            job, state, node = (part.strip() for part in line.split("|"))
            found[job] = (state, node)
    return found


def max_array_size() -> int:
    """How many jobs an array may have."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.MULTILINE)
    return max(int(match[1]), 1) if match else 1000


def _ask(*command: str) -> str:
    """What a command of SLURM says; it is asked again while its controller does not answer."""
    for attempt in range(5):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_LIMIT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            words = str(error)
        else:
            if done.returncode == 0:
                return done.stdout
            if "Invalid job id" in done.stderr:
                return ""
            words = done.stderr
        time.sleep(2.0**attempt)
    reason = " ".join(words.split())[-200:]
    raise BatchError(f"{command[0]}: SLURM does not answer ({reason}); the songs go on there, run this again later")


# ---------------------------------------------------------------------- which song is in which job


def _digest(request: Request) -> str:
    return hashlib.blake2b(request.to_json().encode(), digest_size=16).hexdigest()


def _read_jobs(folder: Path) -> dict[str, dict[str, str]]:
    try:
        data = json.loads((folder / SLURM_FOLDER / _JOBS_FILE).read_text(encoding="utf-8"))
        return {name: {key: str(noted[key]) for key in ("job", "at", "request")} for name, noted in data.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # None, or damaged: what is sent again waits for what is there, and finds it done.
        return {}


def _note_jobs(folder: Path, sent: Mapping[str, _Sent]) -> None:
    new = {s.request.name: {"job": s.job, "at": s.at, "request": _digest(s.request)} for s in sent.values()}
    known = _read_jobs(folder) | new
    write_text_whole(folder / SLURM_FOLDER / _JOBS_FILE, json.dumps(known, indent=1) + "\n")
