"""Batches on this machine: songs done once, whatever is stopped, killed, changed or broken."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from typer.testing import CliRunner

from mixbridge.bridge.batch.cost import estimate, model_cpu_s
from mixbridge.bridge.batch.keys import input_paths, look_at, song_key
from mixbridge.bridge.batch.local import Working
from mixbridge.bridge.batch.manifest import Song, write_manifest
from mixbridge.bridge.batch.plan import plan
from mixbridge.bridge.batch.settings import SongSettings
from mixbridge.bridge.batch.status import SongPlace
from mixbridge.bridge.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_USER_ERROR, OutputError, ParameterError
from mixbridge.bridge.result_folder import UNFINISHED_FOLDER
from mixbridge.bridge.verify.results import Verification
from mixbridge.cli import app

from .batches import (
    RATE_HZ,
    begin_command,
    files_of,
    quiet,
    run,
    status_of,
    tiny_settings,
    wait_until,
    write_song,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("batch")


@pytest.fixture(scope="module")
def songs(home: Path) -> list[Song]:
    return [write_song(home / "songs" / name, seed=seed) for seed, name in enumerate(("one", "two"))]


@pytest.fixture(scope="module")
def settings(home: Path) -> SongSettings:
    return tiny_settings(home)


@pytest.fixture(scope="module")
def undisturbed(home: Path, songs: list[Song], settings: SongSettings) -> Path:
    """The results of a batch that nothing went wrong with but its bad songs."""
    broken = write_song(home / "broken", seed=7)
    soundfile.write(broken.stems / "track0.wav", np.full((RATE_HZ, 1), np.nan), RATE_HZ, subtype="FLOAT")
    missing = Song(name="missing", stems=home / "nowhere", mix=broken.mix)
    result = run([broken, songs[0], missing, songs[1]], home / "out", settings)
    assert [row["state"] for row in result.rows] == ["failed", "done", "failed", "done"]
    assert (result.failed, result.done_now) == (2, 2)
    return home / "out"


def line_options(settings: SongSettings) -> list[str]:
    options = ["--quality", "draft", "--console", settings.search.console, "--workers", "1", "--threads", "1"]
    return [*options, *(word for kind in settings.exports for word in ("--export", kind))]


# ------------------------------------------------------------------ keys


@pytest.fixture
def tiny(tmp_path: Path) -> Song:
    return write_song(tmp_path / "tiny")


def key_of(song: Song, settings: SongSettings) -> str:
    return song_key(song, settings, look_at(input_paths(song, settings)))


def test_the_key_is_of_the_content(tiny: Song, settings: SongSettings, tmp_path: Path) -> None:
    key = key_of(tiny, settings)
    copy = shutil.copytree(tiny.stems.parent, tmp_path / "elsewhere" / "tiny")
    moved = tiny.model_copy(update={"stems": copy / "stems", "mix": copy / "mix.wav"})
    assert key_of(moved, settings) == key
    linked = replace(settings, export_options=replace(settings.export_options, link=True))
    assert key_of(moved, linked) != key_of(tiny, linked), "linked sessions name the place of the stems"
    os.utime(tiny.mix, (1.0, 1.0))
    assert key_of(tiny, settings) == key
    (tiny.stems / "track1.wav").rename(tiny.stems / "other.wav")
    assert key_of(tiny, settings) != key, "tracks are called after their stems"


@pytest.mark.parametrize(
    "change",
    [
        {"search": {"seed": 1}},
        {"search": {"quality": "standard"}},
        {"exports": ["dawproject"]},
        {"verify": False},
        {"export_options": {"keep_pruned": True}},
    ],
)
def test_settings_are_in_the_key(change: dict[str, object], tiny: Song, settings: SongSettings) -> None:
    nested = {
        key: replace(getattr(settings, key), **value) if isinstance(value, dict) else value
        for key, value in change.items()
    }
    changed = replace(settings, **nested)
    assert key_of(tiny, changed) != key_of(tiny, settings)
    assert SongSettings.from_json(json.loads(json.dumps(changed.to_json()))).to_json() == changed.to_json()


def test_parts_groups_and_consoles_are_in_the_key(tiny: Song, tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    groups = tmp_path / "groups.yaml"
    groups.write_text("all: [track0, track1]")
    keys = {key_of(tiny, settings)}
    for change in ({"start_s": 0.5}, {"end_s": 1.0}, {"groups": groups}, {"name": "other"}):
        keys.add(key_of(tiny.model_copy(update=change), settings))
    Path(settings.search.console).write_text(Path(settings.search.console).read_text() + "\n# another")
    keys.add(key_of(tiny, settings))
    assert len(keys) == 6


def test_files_that_did_not_change_are_not_read_again(tiny: Song, settings: SongSettings) -> None:
    paths = input_paths(tiny, settings)
    before = look_at(paths)
    stat = tiny.mix.stat()
    tiny.mix.write_bytes(bytes(stat.st_size))
    os.utime(tiny.mix, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert look_at(paths, known=before) == before, "length and time are the same, so nobody looked"
    os.utime(tiny.mix, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert look_at(paths, known=before) != before
    tiny.mix.touch()
    fresh = next(file for file in look_at(paths) if file.role == "mix")
    assert fresh.changed_ns == 0, "it can change again without a new time"
    assert next(f for f in look_at(paths, known=[fresh]) if f.role == "mix").digest == fresh.digest


# ------------------------------------------------------------------ a batch


def test_bad_songs_cost_themselves_alone(undisturbed: Path) -> None:
    assert "track0.wav" in status_of(undisturbed, "broken").error
    assert "nowhere" in status_of(undisturbed, "missing").error
    for name in ("one", "two"):
        status = status_of(undisturbed, name)
        assert status.worst is not None and status.worst.verdict == "green"
        assert [attempt.outcome for attempt in status.attempts] == ["done"]
        result = SongPlace(undisturbed, name).result
        verified = Verification.load(result / "reaper" / "verify.json")
        assert verified.gap == status.worst.gap
        assert status.loss.pruned is not None and status.loss.plain_sum is not None
        assert status.loss.pruned < 0.01 * status.loss.plain_sum
        assert 0 < status.times.overhead_s < status.times.total_s
        assert status.peak_memory_mb > 100


def test_the_table_has_a_row_for_each_song(undisturbed: Path) -> None:
    with (undisturbed / "batch.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    data = json.loads((undisturbed / "batch.json").read_text(encoding="utf-8"))["songs"]
    assert [row["name"] for row in rows] == [row["name"] for row in data] == ["broken", "one", "missing", "two"]
    assert [row["verdict"] for row in rows] == ["", "green", "", "green"]
    assert float(rows[1]["gap"]) == data[1]["gap"]
    assert (undisturbed / data[1]["folder"] / "graph.json").is_file()


def test_what_is_done_is_left_alone(undisturbed: Path, songs: list[Song], settings: SongSettings) -> None:
    def times() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in undisturbed.rglob("*") if p.is_file() and p.parent != undisturbed}

    before = times()
    result = run(songs, undisturbed, settings)
    assert (result.failed, result.done_now) == (0, 0)
    assert times() == before


def test_a_song_is_called_by_its_name(undisturbed: Path) -> None:
    assert json.loads((undisturbed / "one.mixbridge" / "graph.json").read_text())["name"] == "one"


def test_changed_and_half_cleared_songs_are_done_anew(
    undisturbed: Path, songs: list[Song], settings: SongSettings, tmp_path: Path
) -> None:
    """Killed while an earlier result was cleared away, and with the leavings of another song in its place."""
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    place = SongPlace(out, "one")
    shutil.copy(out / "two.mixbridge" / "graph.json", place.result)
    status_of(out, "one").model_copy(update={"key": "", "state": "running"}).save(place.status_file)
    (place.result / "match.wav").unlink()
    assert [p.todo for p in plan(songs, out, settings)] == ["begun", "done"]
    assert run(songs, out, settings).done_now == 1
    assert files_of(out, "one") == files_of(undisturbed, "one")

    changed = write_song(tmp_path / "two", seed=1, gain=0.2)
    assert [p.todo for p in plan([changed], out, settings)] == ["changed"]
    assert run([changed], out, settings).done_now == 1
    assert files_of(out, "two")["match.wav"] != files_of(undisturbed, "two")["match.wav"]


def test_what_was_found_is_not_searched_again(
    undisturbed: Path, songs: list[Song], settings: SongSettings, tmp_path: Path
) -> None:
    """Killed after the search, before the session was verified."""
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    place = SongPlace(out, "one")
    status_of(out, "one").model_copy(update={"state": "running"}).save(place.status_file)
    (place.result / "reaper" / "verify.json").unlink()
    before = (place.result / "graph.json").stat().st_mtime_ns
    assert run(songs[:1], out, settings).done_now == 1
    assert (place.result / "graph.json").stat().st_mtime_ns == before
    assert files_of(out, "one") == files_of(undisturbed, "one")


def test_a_folder_that_is_not_ours_is_left_alone(songs: list[Song], settings: SongSettings, tmp_path: Path) -> None:
    (tmp_path / "one.mixbridge").mkdir()
    kept = tmp_path / "one.mixbridge" / "diary.txt"
    kept.write_text("dear diary")
    result = run(songs[:1], tmp_path, settings)
    assert result.failed == 1 and "not of this batch" in result.rows[0]["error"]
    assert kept.read_text() == "dear diary"


def test_a_bad_out_folder_costs_one_line(songs: list[Song], settings: SongSettings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises((OutputError, RuntimeError), match="file"):
            run(songs[:1], out, settings)


# ------------------------------------------------------------------ stopped, killed, side by side


def test_two_batches_share_the_work(
    undisturbed: Path, songs: list[Song], settings: SongSettings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found: list[Sequence[dict[str, object]]] = []
    threads = [
        threading.Thread(target=lambda order: found.append(run(order, out, settings).rows), args=(order,))
        for order in (songs, songs[::-1])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert [[row["state"] for row in rows] for rows in found] == [["done", "done"]] * 2
    for name in ("one", "two"):
        assert len(status_of(out, name).attempts) == 1, "nobody else has begun it"
        assert files_of(out, name) == files_of(undisturbed, name)


def test_a_crash_costs_one_song_and_the_time_limit_too(
    undisturbed: Path, songs: list[Song], settings: SongSettings, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_first(working: Sequence[Working]) -> None:
        status = SongPlace(tmp_path, "one").status()
        if not killed and any(w.name == "one" for w in working) and status is not None and status.state == "running":
            killed.append(status.attempts[-1].pid)
            os.kill(killed[0], signal.SIGKILL)

    result = run(songs, tmp_path, settings, watch=quiet(working=kill_first))
    assert [row["state"] for row in result.rows] == ["failed", "done"]
    assert "killed" in result.rows[0]["error"]
    late = run(songs, tmp_path, settings, limit_s=0.3)
    assert "longer than" in late.rows[0]["error"] and late.rows[1]["state"] == "done"
    assert run(songs, tmp_path, settings).failed == 0
    assert [a.outcome for a in status_of(tmp_path, "one").attempts][-1:] == ["done"]
    assert len(status_of(tmp_path, "two").attempts) == 1
    assert files_of(tmp_path, "one") == files_of(undisturbed, "one")


@pytest.fixture
def begun(home: Path, songs: list[Song], settings: SongSettings, tmp_path: Path) -> Iterator[tuple[psutil.Popen, Path]]:
    """The command as users give it, killed with all it started at the end of the test."""
    write_manifest(tmp_path / "songs.jsonl", songs)
    process = begin_command("songs.jsonl", "--out", "out", *line_options(settings), cwd=tmp_path)
    yield process, tmp_path / "out"
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def searching(out: Path) -> bool:
    return (out / "one.mixbridge" / UNFINISHED_FOLDER / "search.json").is_file()


@pytest.mark.slow
def test_a_batch_that_is_killed_goes_on_to_the_same_results(
    begun: tuple[psutil.Popen, Path], undisturbed: Path, songs: list[Song], settings: SongSettings
) -> None:
    process, out = begun
    wait_until(lambda: searching(out))
    worker = status_of(out, "one").attempts[-1].pid
    # Alone, so that it leaves processes, which must notice.
    process.kill()
    process.communicate()
    wait_until(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)
    assert not (out / "one.mixbridge" / "graph.json").exists()
    assert [p.todo for p in plan(songs, out, settings)] == ["begun", "new"]
    assert run(songs, out, settings).done_now == 2
    assert [a.outcome for a in status_of(out, "one").attempts] == ["", "done"]
    for name in ("one", "two"):
        assert files_of(out, name) == files_of(undisturbed, name)


@pytest.mark.slow
def test_ctrl_c_ends_cleanly(begun: tuple[psutil.Popen, Path]) -> None:
    process, out = begun
    wait_until(lambda: searching(out))
    worker = status_of(out, "one").attempts[-1].pid
    os.killpg(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED
    assert "goes on" in words and "Traceback" not in words
    assert not psutil.pid_exists(worker)
    assert (status_of(out, "one").state, (out / "batch.csv").is_file()) == ("stopped", True)


# ------------------------------------------------------------------ the command


def call(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["batch", *(str(a) for a in arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_command_takes_a_folder_and_prints_the_table(home: Path, undisturbed: Path, settings: SongSettings) -> None:
    code, text, _ = call(home / "songs", "--out", undisturbed, *line_options(settings))
    assert code == 0
    assert [line.split("\t")[:2] for line in text.splitlines()] == [["one", "done"], ["two", "done"]]
    code, text, _ = call(home / "songs", "--out", undisturbed, *line_options(settings), "--json")
    assert code == 0 and [row["verdict"] for row in json.loads(text)] == ["green", "green"]


def test_failures_show_in_the_exit_code(home: Path, settings: SongSettings, tmp_path: Path) -> None:
    manifest = tmp_path / "songs.jsonl"
    manifest.write_text('{"name": "a", "stems": "none", "mix": "none.wav"}\n')
    code, text, errors = call(manifest, "--out", tmp_path / "out", *line_options(settings))
    assert code == EXIT_FAILURE and "1 of 1 songs failed" in errors and "none" in text
    manifest.write_text('{"name": "a"}\n')
    code, _, errors = call(manifest, "--out", tmp_path / "out2", *line_options(settings))
    assert code == EXIT_USER_ERROR and "line 1" in errors and not (tmp_path / "out2").exists()
    code, _, errors = call(home / "songs", "--out", tmp_path / "out2", "--console", "organ")
    assert code == EXIT_USER_ERROR and "organ" in errors and not (tmp_path / "out2").exists()


def test_a_dry_run_counts_and_writes_nothing(
    home: Path, undisturbed: Path, songs: list[Song], settings: SongSettings, tmp_path: Path
) -> None:
    more = [write_song(tmp_path / "new"), songs[0], Song(name="gone", stems=tmp_path / "gone", mix=tmp_path / "gone")]
    write_manifest(tmp_path / "songs.jsonl", more)
    before = sorted(undisturbed.rglob("*"))
    arguments = [tmp_path / "songs.jsonl", "--out", undisturbed, *line_options(settings), "--dry-run"]
    code, text, _ = call(*arguments, "--json")
    found = json.loads(text)
    assert code == 0
    assert (found["songs"]["new"], found["songs"]["done"], found["songs"]["invalid"]) == (1, 1, 1)
    assert (found["audio_s"], found["tracks"], found["calibrated_by"]) == (1.5, 2, 1)
    took_s = status_of(undisturbed, "one").times.cpu_s
    assert found["cpu_s"] == pytest.approx(took_s, rel=0.01), "a song like the one that is done takes as long"
    assert sorted(undisturbed.rglob("*")) == before
    code, text, errors = call(*arguments)
    assert "1 done, 1 new, 1 invalid" in text and "gone" in errors


def test_estimates_grow_with_the_work(songs: list[Song], settings: SongSettings, tmp_path: Path) -> None:
    costs = [
        model_cpu_s(audio_s=audio_s, tracks=tracks, quality=quality)
        for audio_s, tracks, quality in ((10, 4, "draft"), (20, 4, "draft"), (20, 8, "draft"), (20, 8, "standard"))
    ]
    assert costs == sorted(set(costs))
    planned = plan(songs, tmp_path, settings, measure=True)
    one, two = (estimate(planned, settings, workers=workers, threads=1) for workers in (1, 2))
    assert two.wall_s == pytest.approx(one.wall_s / 2)


def test_settings_that_no_song_can_be_done_with_are_refused_at_once(settings: SongSettings) -> None:
    with pytest.raises(ParameterError):
        replace(settings, search=replace(settings.search, device="toaster")).check()
    replace(settings, search=replace(settings.search, device="cuda:7")).check(here=False)
