"""Finds, exports and verifies every song of a folder with every suite, and writes a table of transfer gaps.

    python benchmarks/transfer.py SONGS_FOLDER WORK_FOLDER [--suites jsfx lsp] [--quality standard] [--only NAME]

Each song is a folder with ``stems/`` and ``mix.*``. Results stay in WORK_FOLDER/SUITE/SONG, and what
is there already is not searched again, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tables import markdown

from mixbridge.bridge.choices import DEFAULT_QUALITY, DEFAULT_SUITES, ExportFormat
from mixbridge.bridge.graph import MixGraph

_HEAD = (
    "song", "suite", "session", "processors", "sends", "automated",
    "L_a(diff)", "L_a(real)", "gap", "null dB", "ΔLUFS", "true peak dB", "verdict",
)  # fmt: skip


def mixbridge(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"OMP_NUM_THREADS": "2", **os.environ}
    command = [sys.executable, "-m", "mixbridge", *arguments]
    return subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=False)


def format_of(suite: str) -> ExportFormat:
    """What holds a suite: a REAPER project, but for pedalboard's own effects."""
    return ExportFormat.pedalboard if suite == "pedalboard" else ExportFormat.reaper


def session_of(song: Path, out: Path, *, suite: str, quality: str) -> Path:
    """The song's session for a suite, found and exported if it is not there."""
    mix = next(song.glob("mix.*"))
    kind = format_of(suite)
    if not (out / "graph.json").exists():
        mixbridge("analyze", str(song / "stems"), str(mix), "--plugins", suite, "--quality", quality,
                  "--out", str(out), "--overwrite").check_returncode()  # fmt: skip
    if not (out / kind).exists():
        mixbridge("export", str(out / "graph.json"), str(song / "stems"), "--export", kind,
                  "--plugins", suite).check_returncode()  # fmt: skip
    return out / kind


def row_of(song: str, suite: str, folder: Path, result: dict[str, Any]) -> list[str]:
    if result["error"]:
        return [song, suite, result["error"], *[""] * (len(_HEAD) - 3)]
    graph = MixGraph.load(folder / "graph.json")
    loss = result["loss"]
    return [
        song,
        suite,
        format_of(suite).value,
        str(len(graph.processors)),
        str(len(graph.all_sends())),
        str(sum(bool(channel.volume) for channel in graph.channels())),
        f"{loss['differentiable']:.4g}",
        f"{loss['real']:.4g}",
        f"{result['gap']:+.1e}",
        f"{result['null_db']:.0f}",
        f"{result['loudness_difference_lu']:+.3f}",
        f"{result['features']['real']['true_peak_db']:.1f}",
        result["verdict"],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--suites", nargs="+", default=[DEFAULT_SUITES, "lsp"])
    parser.add_argument("--quality", default=DEFAULT_QUALITY.value)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    chosen = parser.parse_args()
    rows, gaps = [], []
    songs = [f for f in sorted(chosen.songs.iterdir()) if (f / "stems").is_dir()]
    for suite in chosen.suites:
        for song in songs:
            if chosen.only and song.name not in chosen.only:
                continue
            out = chosen.work / suite / song.name
            session = session_of(song, out, suite=suite, quality=chosen.quality)
            mix = next(song.glob("mix.*"))
            found = json.loads(mixbridge("verify", str(session), "--mix", str(mix), "--json").stdout)[0]
            rows.append(row_of(song.name, suite, out, found))
            gaps.append(found["gap"])
            print(markdown(_HEAD, rows[-1:]), flush=True)
    measured = [abs(g) for g in gaps if g is not None]
    mean = sum(measured) / len(measured)
    summary = f"\nMean |gap| {mean:.1e}, worst {max(measured):.1e}, {len(measured)} sessions.\n"
    chosen.results.mkdir(parents=True, exist_ok=True)
    (chosen.results / "transfer.md").write_text(markdown(_HEAD, rows) + summary, encoding="utf-8")
    print(summary)


if __name__ == "__main__":
    main()
