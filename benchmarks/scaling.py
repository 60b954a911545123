"""Measures time and peak memory of ``mixbridge analyze`` against the number of tracks.

    python benchmarks/scaling.py WORK_FOLDER [--songs SONGS_FOLDER] [--tracks 4 8 10 16 32] [--qualities draft standard]

Songs are made from the stems of the demo song, and of the songs of a folder if one is given: as many
tracks as wanted, repeated with another position, level and tone once all have been used, looped to
the length wanted, and mixed by the reference DSP with EQ, compressors, faders, a group for every
four tracks and a master EQ. Every analysis is a process of its own on ``--threads`` threads; its CPU
time and peak memory are read from the system when it ends. Sizes take turns, so that other work on
the machine touches all of them alike. What is in WORK_FOLDER already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
from search import machine
from tables import markdown

from mixbridge.bridge.audio import as_stereo, load_multitrack, write_wav
from mixbridge.bridge.console import build_console, load_console
from mixbridge.bridge.demo import make_demo
from mixbridge.bridge.graph import Stem
from mixbridge.bridge.processors.reference import Audio
from mixbridge.bridge.render import render_graph
from mixbridge.bridge.search.start import with_values

RATE_HZ = 44100
PER_GROUP = 4

#: What the project wants of a song of 10 tracks and 60 s: wall time by quality (s), and peak memory (GB).
REFERENCE_TRACKS, REFERENCE_S = 10, 60.0
WALL_TARGETS_S = {"draft": 60.0, "standard": 300.0}
MEMORY_TARGET_GB = 3.0


def stem_pool(work: Path, songs: Path | None) -> list[Audio]:
    """Stems that songs are made of, one of each song in turn, shape (2, n) at `RATE_HZ`."""
    demo = work / "demo"
    if not (demo / "truth.json").exists():
        make_demo(demo)
    folders = [demo, *(f for f in sorted(songs.iterdir()) if (f / "stems").is_dir())] if songs else [demo]
    columns: list[list[Audio]] = []
    for folder in folders:
        song = load_multitrack(folder / "stems", next(folder.glob("mix.*")))
        columns.append([as_stereo(song.stem_audio(s, rate_hz=RATE_HZ)) for s in song.stems if not s.silent])
    turns = range(max(len(c) for c in columns))
    return [column[turn] for turn in turns for column in columns if turn < len(column)]


def make_song(pool: Sequence[Audio], folder: Path, *, tracks: int, seconds: float) -> None:
    random = np.random.default_rng(tracks)
    frames = int(seconds * RATE_HZ)
    stems: dict[str, np.ndarray] = {}
    for number in range(tracks):
        audio = pool[number % len(pool)].astype(np.float64)
        if number >= len(pool):
            audio = _varied(audio, random)
        repeats = -(-frames // audio.shape[1])
        stems[f"g{number // PER_GROUP}_{number:02d}"] = np.tile(audio, repeats)[:, :frames]
    nodes = [Stem(id=name, name=name, file=f"{name}.wav") for name in stems]
    groups = {f"g{n}": [s for s in stems if s.startswith(f"g{n}_")] for n in range(-(-tracks // PER_GROUP))}
    console = build_console(
        name="mix", sample_rate_hz=RATE_HZ, start_frame=0, frames=frames, stems=nodes, groups=groups,
        preset=load_console("dmc"),
    )  # fmt: skip
    truth = with_values(console, {p.id: _settings(p.type, random) for p in console.processors})
    mix = render_graph(truth, lambda s: stems[s.id])
    (folder / "stems").mkdir(parents=True, exist_ok=True)
    for name, audio in stems.items():
        write_wav(folder / "stems" / f"{name}.wav", audio, sample_rate_hz=RATE_HZ)
    write_wav(folder / "mix.wav", mix * (0.9 / np.abs(mix).max()), sample_rate_hz=RATE_HZ)


def _varied(audio: Audio, random: np.random.Generator) -> np.ndarray:
    """Another position, level and tone."""
    moved = np.roll(audio, int(random.integers(audio.shape[1])), axis=1) * random.uniform(0.4, 1.0)
    cut_hz = float(np.exp(random.uniform(np.log(1000.0), np.log(10000.0))))
    kind = "lowpass" if random.uniform() < 0.5 else "highpass"
    section = scipy.signal.butter(1, cut_hz if kind == "lowpass" else cut_hz / 10.0, kind, fs=RATE_HZ, output="sos")
    return np.asarray(scipy.signal.sosfilt(section, moved, axis=-1))


def _settings(kind: str, random: np.random.Generator) -> dict[str, float]:
    some: dict[str, dict[str, float]] = {
        "eq": {"bell2_db": random.uniform(-6.0, 6.0), "high_shelf_db": random.uniform(-6.0, 6.0)},
        "compressor": {"threshold_db": random.uniform(-30.0, -15.0), "ratio": random.uniform(1.5, 4.0)},
        "gain_pan": {"gain_db": random.uniform(-9.0, 0.0), "pan": random.uniform(-0.7, 0.7)},
    }
    return some.get(kind, {})


def measure(song: Path, *, quality: str, threads: int, out: Path) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "mixbridge", "analyze", str(song / "stems"), str(song / "mix.wav"),
               "--quality", quality, "--out", str(out), "--overwrite", "--json"]  # fmt: skip
    began_s = time.monotonic()
    with (song / "summary.json").open("w+") as stdout:
        process = subprocess.Popen(command, stdout=stdout, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - began_s
        if status:
            raise SystemExit(f"{song.name}: failed with exit code {os.waitstatus_to_exitcode(status)}")
        stdout.seek(0)
        result = json.load(stdout)
    shutil.rmtree(out)
    return {
        "wall_s": round(wall_s, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_memory_gb": round(usage.ru_maxrss * 1024 / 1e9, 2),
        "console_processors": result["processors"]["console"],
        "processors": result["processors"]["pruned_graph"],
        "loss": result["loss"],
        "load": round(os.getloadavg()[0], 2),
    }


def middle(rows: Sequence[dict[str, Any]], key: str) -> float:
    return float(statistics.median(r[key] for r in rows))


def growth(sizes: dict[int, list[dict[str, Any]]], key: str) -> dict[str, float]:
    """Straight line through cost against tracks, and the power of tracks that cost grows with."""
    tracks = np.array(sorted(sizes), dtype=float)
    cost = np.array([middle(sizes[int(n)], key) for n in tracks])
    slope, offset = np.polyfit(tracks, cost, 1)
    spread = float(((cost - cost.mean()) ** 2).sum())
    rest = float(((cost - (slope * tracks + offset)) ** 2).sum())
    power = float(np.polyfit(np.log(tracks), np.log(cost), 1)[0])
    return {"per_track": float(slope), "offset": float(offset), "r2": 1.0 - rest / spread, "power": power}


def table(cases: dict[str, dict[int, list[dict[str, Any]]]]) -> str:
    head = ["quality", "tracks", "console", "kept", "wall s", "CPU s", "CPU s per track", "peak GB", "L_a"]
    lines: list[list[str]] = []
    for quality, sizes in cases.items():
        for tracks, rows in sorted(sizes.items()):
            cpu_s = middle(rows, "cpu_s")
            lines.append([quality, str(tracks), str(rows[0]["console_processors"]), str(rows[0]["processors"]),
                          f"{middle(rows, 'wall_s'):.0f}", f"{cpu_s:.0f}", f"{cpu_s / tracks:.1f}",
                          f"{middle(rows, 'peak_memory_gb'):.2f}", f"{rows[0]['loss']['pruned']:.4f}"])  # fmt: skip
    return markdown(head, lines)


def targets_met(cases: dict[str, dict[int, list[dict[str, Any]]]], *, seconds: float) -> dict[str, bool]:
    met: dict[str, bool] = {}
    for quality, sizes in cases.items():
        rows = sizes.get(REFERENCE_TRACKS)
        if rows and seconds == REFERENCE_S:
            met[f"{quality} wall"] = middle(rows, "wall_s") <= WALL_TARGETS_S.get(quality, float("inf"))
            met[f"{quality} memory"] = middle(rows, "peak_memory_gb") <= MEMORY_TARGET_GB
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--songs", type=Path)
    parser.add_argument("--tracks", type=int, nargs="+", default=[4, 8, 10, 16, 32])
    parser.add_argument("--qualities", nargs="+", default=["draft", "standard"])
    parser.add_argument("--seconds", type=float, default=REFERENCE_S)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    chosen = parser.parse_args()
    pool: list[Audio] = []
    cases: dict[str, dict[int, list[dict[str, Any]]]] = {q: {n: [] for n in chosen.tracks} for q in chosen.qualities}
    for repeat in range(chosen.repeats):
        for quality in chosen.qualities:
            for tracks in chosen.tracks:
                song = chosen.work / f"{tracks:02d}-tracks-{chosen.seconds:g}s"
                if not (song / "mix.wav").exists():
                    pool = pool or stem_pool(chosen.work, chosen.songs)
                    make_song(pool, song, tracks=tracks, seconds=chosen.seconds)
                file = song / f"{quality}-{repeat}.json"
                if not file.exists():
                    found = measure(song, quality=quality, threads=chosen.threads, out=song / "out")
                    file.write_text(json.dumps(found) + "\n", encoding="utf-8")
                    print(tracks, quality, found, flush=True)
                cases[quality][tracks].append(json.loads(file.read_text(encoding="utf-8")))
    content = {
        "machine": machine(),
        "threads": chosen.threads,
        "seconds": chosen.seconds,
        "growth": {
            q: {key: growth(sizes, key) for key in ("cpu_s", "wall_s", "peak_memory_gb")}
            for q, sizes in cases.items()
            if len(sizes) > 2
        },
        "targets_met": targets_met(cases, seconds=chosen.seconds),
        "runs": {q: {str(n): rows for n, rows in sizes.items()} for q, sizes in cases.items()},
    }
    chosen.results.mkdir(parents=True, exist_ok=True)
    (chosen.results / "scaling.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (chosen.results / "scaling.md").write_text(table(cases), encoding="utf-8")
    print(table(cases))
    print(json.dumps({"growth": content["growth"], "targets_met": content["targets_met"]}))


if __name__ == "__main__":
    main()
