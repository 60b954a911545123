"""Runs the main job on every song of a folder and writes a table of losses, sparsity and cost.

    python benchmarks/songs.py SONGS_FOLDER [--quality standard] [--only NAME] [--results FOLDER]

Each song is a folder with ``stems/`` and ``mix.*``. Every run is a process of its own, so that CPU
time and peak memory are its own; they are read from the system when it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mixbridge.bridge.processors.specs import SPECS


def run_song(folder: Path, *, quality: str, out: Path) -> dict[str, Any]:
    mix = next(folder.glob("mix.*"))
    # Two threads, as on the two-core machines the published figures are from.
    environment = {"OMP_NUM_THREADS": "2", **os.environ}
    command = [
        sys.executable, "-m", "mixbridge", "analyze", str(folder / "stems"), str(mix),
        "--export", "reaper", "--quality", quality, "--out", str(out), "--json",
    ]  # fmt: skip
    began_s = time.monotonic()
    with tempfile.TemporaryFile("w+") as stdout:
        process = subprocess.Popen(command, stdout=stdout, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{folder.name}: failed with exit code {os.waitstatus_to_exitcode(status)}")
        stdout.seek(0)
        result = json.load(stdout)
    return {
        "song": folder.name,
        "stems": len(list((folder / "stems").iterdir())),
        "loss": result["loss"],
        **result["processors"],
        "wall_s": round(time.monotonic() - began_s, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_memory_gb": round(usage.ru_maxrss / 1e6, 2),
    }


def table(rows: list[dict[str, Any]]) -> str:
    kinds = list(SPECS)
    head = ["song", "stems", "sum", "gain/pan", "console", "pruned", "reference", "kept", "pruned %",
            *(f"{SPECS[k].letter} %" for k in kinds), "wall s", "CPU s", "peak GB"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        loss = row["loss"]
        share = 100 * (1 - row["pruned_graph"] / row["console"])
        cells = [row["song"], row["stems"],
                 *(f"{loss[k]:.4g}" for k in ("plain_sum", "gain_pan", "console", "pruned", "reference")),
                 f"{row['pruned_graph']}/{row['console']}", f"{share:.0f}",
                 *(f"{100 * row['pruned_ratio'][k]:.0f}" for k in kinds),
                 row["wall_s"], row["cpu_s"], row["peak_memory_gb"]]  # fmt: skip
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", type=Path)
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    chosen = parser.parse_args()
    rows = []
    folders = [f for f in sorted(chosen.songs.iterdir()) if (f / "stems").is_dir()]
    for folder in folders:
        if chosen.only and folder.name not in chosen.only:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(run_song(folder, quality=chosen.quality, out=Path(scratch) / "out"))
        print(table(rows[-1:]), flush=True)
        stem = chosen.results / f"songs-{chosen.quality}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        stem.with_suffix(".md").write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
