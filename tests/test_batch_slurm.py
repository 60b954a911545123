"""Batches on a real SLURM of two nodes: a node that dies, a song that is sent again and again, none done twice."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mixbridge.bridge.batch.local import Working
from mixbridge.bridge.batch.manifest import Song
from mixbridge.bridge.batch.request import request_of
from mixbridge.bridge.batch.run import BatchResult, run_batch
from mixbridge.bridge.batch.settings import SongSettings
from mixbridge.bridge.batch.slurm import OnSlurm, job_states, max_array_size
from mixbridge.bridge.batch.status import SongPlace
from mixbridge.bridge.batch.task import do_song
from mixbridge.bridge.errors import BatchError

from .batches import files_of, quiet, status_of, tiny_settings, wait_until, write_song
from .slurm_cluster import NODES, Cluster, missing_programs, running_cluster

#: So long may all songs take on a busy machine (s).
LIMIT_S = 400.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("submitit")
    missing = missing_programs()
    if missing:
        pytest.skip(f"SLURM is not on this machine: no {', '.join(missing)}")
    before = {name: os.environ.get(name) for name in ("PATH", "SLURM_CONF")}
    with running_cluster() as found:
        os.environ.update({name: found.environment[name] for name in before})
        try:
            yield found
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@pytest.fixture
def songs(tmp_path: Path) -> list[Song]:
    # Long enough to be disturbed in the middle.
    return [write_song(tmp_path / "songs" / name, seed=seed, seconds=6.0) for seed, name in enumerate(("one", "two"))]


@pytest.fixture
def settings(tmp_path: Path) -> SongSettings:
    return tiny_settings(tmp_path)


def asked(**choices: object) -> OnSlurm:
    return OnSlurm(**{"cpus": 1, "memory_gb": 1.0, "time_min": 20, **choices})  # type: ignore[arg-type]


class Ran(threading.Thread):
    """A batch on the cluster, beside the test that disturbs it."""

    def __init__(self, songs: Sequence[Song], out: Path, settings: SongSettings) -> None:
        super().__init__(daemon=True)
        self._arguments = (songs, out, settings)
        self.seen: set[tuple[str, str]] = set()
        self.result: BatchResult | None = None

    def run(self) -> None:
        self.result = run_batch(*self._arguments, do=asked(), watch=quiet(working=self._note))

    def _note(self, working: Sequence[Working]) -> None:
        self.seen |= {(w.name, w.worker.split("/")[0]) for w in working}


def job_of(out: Path, name: str) -> str:
    """The job that works on a song just now; empty if none does."""
    status = SongPlace(out, name).status()
    if status is None or status.state != "running" or status.phase in ("", "read"):
        return ""
    return status.attempts[-1].job


def turns(out: Path, name: str) -> int:
    return len(status_of(out, name).attempts)


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_is_done_twice(
    cluster: Cluster, songs: list[Song], settings: SongSettings, tmp_path: Path
) -> None:
    """One song's node dies. The other's is taken for something that is urgent, and then its time is over."""
    assert cluster.listeners() == {"127.0.0.1"}
    out = tmp_path / "out"
    sent = run_batch(songs, out, settings, do=asked(wait=False), watch=quiet())
    assert [row["state"] for row in sent.rows] == ["stopped", "stopped"]
    batch = Ran(songs, out, settings)
    batch.start()
    wait_until(lambda: all(job_of(out, name) for name in ("one", "two")), limit_s=LIMIT_S)
    jobs = {name: job_of(out, name) for name in ("one", "two")}
    nodes = {name: job_states([job])[job][1] for name, job in jobs.items()}
    assert set(nodes.values()) == set(NODES)
    cluster.kill_node(nodes["one"])
    urgent = ["sbatch", "--partition=urgent", f"--nodelist={nodes['two']}", "--output=/dev/null", "--wrap=sleep 1"]
    cluster.ask(*urgent)
    wait_until(lambda: job_of(out, "two") == jobs["two"] and turns(out, "two") == 2, limit_s=LIMIT_S)
    # What SLURM itself says when the time of a job is nearly over.
    cluster.ask("scancel", "--signal=USR2", jobs["two"])
    batch.join(timeout=LIMIT_S)
    assert batch.result is not None, cluster.words()
    assert [row["state"] for row in batch.result.rows] == ["done", "done"]
    assert batch.seen == {("one", node) for node in NODES} | {("two", nodes["two"])}
    outcomes = {name: [attempt.outcome for attempt in status_of(out, name).attempts] for name in jobs}
    assert outcomes["one"] == ["", "done"], "its node died in the middle"
    # Where it is preempted it may not even come to say so.
    assert outcomes["two"][0] in ("", "stopped") and outcomes["two"][1:] == ["stopped", "done"]
    for name, job in jobs.items():
        assert {attempt.job for attempt in status_of(out, name).attempts} == {job}, "SLURM itself has sent it again"
    for song in songs:
        do_song(request_of(tmp_path / "here", song, settings))
        assert files_of(out, song.name) == files_of(tmp_path / "here", song.name)


def test_what_slurm_says_is_read(cluster: Cluster) -> None:
    assert max_array_size() == 1001, "SLURM's own default"
    assert job_states(["999999"]) == {}


def test_slurm_refuses_in_one_line(cluster: Cluster, songs: list[Song], settings: SongSettings, tmp_path: Path) -> None:
    with pytest.raises(BatchError, match="partition") as caught:
        run_batch(songs[:1], tmp_path / "out", settings, do=asked(partition="none"), watch=quiet())
    assert "\n" not in str(caught.value)
    assert cluster.job_numbers() == []


def test_gpus_that_nobody_would_use_are_refused(settings: SongSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BatchError, match="--device cuda"):
        asked(gpus=1).check(settings)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BatchError, match="sbatch"):
        asked().check(settings)
