"""Runs a batch undisturbed and one that is killed at random and resumed, compares them, and measures throughput.

    python benchmarks/batch.py SONGS_FOLDER WORK_FOLDER [--songs 24] [--kills 3] [--seed 0] [--seconds 5]

The songs are parts of the songs of a folder (each with ``stems/`` and ``mix.*``), and of demo songs
of several seeds. The batch is ``mixbridge batch`` as users run it, with export and verification. In
a folder of its own it is killed with SIGKILL, all its processes at once, at moments that a seeded
generator chooses, and begun again each time. Then files are compared, byte for byte: graph.json,
match.wav, the session and the render by its plugins; and the verdicts and gaps of verify.json.

Throughput is that of fresh batches of the first songs at 1 and 2 workers with one thread each. The
overhead of a song is the time of its process outside of analysis, export and verification.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tables import markdown

from mixbridge.bridge.audio import probe
from mixbridge.bridge.batch.manifest import Song, read_manifest, songs_in, write_manifest
from mixbridge.bridge.batch.status import SongPlace
from mixbridge.bridge.demo import make_demo
from mixbridge.bridge.verify.results import Verification

#: Shares of a real song's length at which its parts begin.
PARTS = (0.3, 0.5, 0.7)

#: Where the part of a demo song begins (s): everything plays by then.
DEMO_START_S = 8.0

#: Until the first song begins (s): everything is loaded.
START_S = 20.0

OPTIONS = ("--export", "reaper", "--quality", "draft")


def make_songs(folder: Path, work: Path, *, count: int, seconds: float) -> Path:
    """A manifest of parts of real songs, and of demo songs where these do not suffice."""
    found: list[Song] = []
    real = songs_in(folder)
    for share in PARTS:
        for song in real:
            start_s = round(share * probe(song.mix).duration_s, 2)
            part = {"name": f"{song.name}-{round(100 * share)}", "start_s": start_s, "end_s": start_s + seconds}
            found.append(song.model_copy(update=part))
    # As many demo songs as real ones are spared, from the front, so that a small batch has both.
    demos = max(count - len(found), count // 3)
    found = found[: count - demos]
    for seed in range(demos):
        place = work / "demo" / f"demo-{seed}"
        if not (place / "mix.flac").exists():
            make_demo(place, seed=seed)
        part = {"start_s": DEMO_START_S, "end_s": DEMO_START_S + seconds}
        found.append(songs_in(place)[0].model_copy(update=part))
    path = work / "songs.jsonl"
    write_manifest(path, found)
    return path


def command(manifest: Path, out: Path, *, workers: int | None = None) -> list[str]:
    chosen = [] if workers is None else ["--workers", str(workers), "--threads", "1"]
    return [sys.executable, "-m", "mixbridge", "batch", str(manifest), "--out", str(out), "--json", *OPTIONS, *chosen]


def run(manifest: Path, out: Path, *, workers: int | None = None) -> tuple[float, list[dict[str, Any]]]:
    """Wall time (s) and the rows of a batch."""
    began_s = time.monotonic()
    done = subprocess.run(
        command(manifest, out, workers=workers), stdout=subprocess.PIPE, text=True, check=False,
        env={"COLUMNS": "200", **os.environ},
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise SystemExit(f"the batch did not run (exit code {done.returncode})")
    return time.monotonic() - began_s, json.loads(done.stdout)


def run_killed(manifest: Path, out: Path, *, kills: int, within_s: float, seed: int) -> dict[str, Any]:
    """A batch that is killed so many times, and then left alone."""
    chosen = random.Random(seed)
    moments_s: list[float] = []
    for _ in range(kills):
        # Some time to begin, and shares that never add up to the end.
        moment_s = START_S + chosen.uniform(0.1, 0.9) * within_s / (kills + 1)
        process = subprocess.Popen(command(manifest, out), stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(timeout=moment_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            moments_s.append(round(moment_s, 1))
    last_s, rows = run(manifest, out)
    return {"killed_after_s": moments_s, "last_run_s": round(last_s, 1), "rows": rows}


def compare(songs: Sequence[Song], one: Path, other: Path) -> list[str]:
    """What differs between two batches, one line each."""
    found = []
    for song in songs:
        places = [SongPlace(out, song.name).result for out in (one, other)]
        for file in ("graph.json", "match.wav", "real.wav", f"reaper/{song.name}.rpp"):
            contents = [(p / file).read_bytes() if (p / file).is_file() else None for p in places]
            if contents[0] is None or contents[0] != contents[1]:
                found.append(f"{song.name}: {file}")
        verified = [Verification.load(p / "reaper" / "verify.json") for p in places]
        if len({(v.verdict, v.gap, v.loss.real, v.null_db) for v in verified}) > 1:
            found.append(f"{song.name}: verify.json")
    return found


def outcomes(songs: Sequence[Song], out: Path) -> list[list[str]]:
    statuses = [SongPlace(out, song.name).status() for song in songs]
    return [[attempt.outcome or "killed" for attempt in status.attempts] if status else [] for status in statuses]


def throughput(manifest: Path, work: Path, *, count: int) -> list[dict[str, Any]]:
    """The first songs at 1 and 2 workers."""
    few = work / "few.jsonl"
    write_manifest(few, read_manifest(manifest)[:count])
    rows = []
    for workers in (1, 2):
        out = work / f"workers-{workers}"
        shutil.rmtree(out, ignore_errors=True)
        wall_s, table = run(few, out, workers=workers)
        again_s, _ = run(few, out, workers=workers)
        rows.append(
            {
                "workers": workers,
                "songs": len(table),
                "wall_s": round(wall_s, 1),
                "songs_per_hour": round(3600 * len(table) / wall_s, 1),
                "cpu_s": round(sum(row["cpu_s"] for row in table), 1),
                "overhead_s": round(statistics.median(row["overhead_s"] for row in table), 2),
                "nothing_to_do_s": round(again_s, 1),
            }
        )
    return rows


def text_of(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    killed, rows = found["killed"], found["undisturbed"]["rows"]
    head = ("song", "tracks", "sum", "match", "kept", "real", "gap", "verdict", "s", "CPU s", "overhead s", "peak GB",
            "attempts when killed")  # fmt: skip
    cells = [
        (
            row["name"], str(row["tracks"]), *(_number(row[k]) for k in ("loss_plain_sum", "loss_reference")),
            f"{row['processors_kept']}/{row['processors_console']}", _number(row["loss_real"]), _number(row["gap"]),
            row["verdict"] or row["error"], f"{row['total_s']:.0f}", f"{row['cpu_s']:.0f}", f"{row['overhead_s']:.2f}",
            f"{row['peak_memory_mb'] / 1000:.2f}", ", ".join(attempts),
        )
        for row, attempts in zip(rows, found["attempts"], strict=True)
    ]  # fmt: skip
    speeds = markdown(
        ("workers", "songs", "wall s", "songs/hour", "CPU s", "overhead s a song", "nothing to do s"),
        [[str(value) for value in row.values()] for row in found["throughput"]],
    )
    done = sum(row["state"] == "done" for row in rows)
    moments = ", ".join(f"{moment:g} s" for moment in killed["killed_after_s"])
    differ = "; ".join(found["different"]) or "nothing"
    return (
        f"{found['machine']}. `mixbridge batch {' '.join(OPTIONS)}`, {found['seconds']:g} s of each song.\n\n"
        f"{done} of {len(rows)} songs done in {found['undisturbed']['wall_s']:.0f} s. Killed after {moments} and begun "
        f"again: what differs from the undisturbed batch is {differ}. Songs done more than once: "
        f"{sum(attempts.count('done') > 1 for attempts in found['attempts'])}.\n\n"
        f"{markdown(head, cells)}\n{speeds}"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}" if abs(value) < 0.001 else f"{value:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs_folder", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--songs", type=int, default=24)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--throughput-songs", type=int, default=6)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    manifest = make_songs(chosen.songs_folder, chosen.work, count=chosen.songs, seconds=chosen.seconds)
    songs = read_manifest(manifest)
    one, other = chosen.work / "undisturbed", chosen.work / "killed"
    for out in (one, other):
        shutil.rmtree(out, ignore_errors=True)
    wall_s, rows = run(manifest, one)
    killed = run_killed(manifest, other, kills=chosen.kills, within_s=wall_s, seed=chosen.seed)
    found = {
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "seconds": chosen.seconds,
        "undisturbed": {"wall_s": round(wall_s, 1), "rows": rows},
        "killed": killed,
        "attempts": outcomes(songs, other),
        "different": compare([s for s, row in zip(songs, rows, strict=True) if row["state"] == "done"], one, other),
        "throughput": throughput(manifest, chosen.work, count=min(chosen.throughput_songs, len(songs))),
    }
    chosen.results.mkdir(parents=True, exist_ok=True)
    (chosen.results / "batch.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (chosen.results / "batch.md").write_text(text_of(found), encoding="utf-8")
    print(text_of(found))


if __name__ == "__main__":
    main()
