"""Finds, exports and verifies every song of a folder with every suite, and writes a table of transfer gaps.

    python benchmarks/transfer.py SONGS_FOLDER WORK_FOLDER [--suites jsfx lsp] [--quality standard] [--only NAME]
                                  [--found-with jsfx] [--rides]

Each song is a folder with ``stems/`` and ``mix.*``. Results stay in WORK_FOLDER/SUITE/SONG, and what
is there already is not searched again, so that a stopped run goes on. With --found-with the graphs that
were found for that suite are written for the others, too, as far as they follow the same laws.

With --rides every graph is written once more with its faders, pans and sends moving (the song is then
called SONG+rides, and its mix is the graph's own render).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tables import markdown

from mixbridge.bridge.audio import load_multitrack, write_wav
from mixbridge.bridge.choices import DEFAULT_QUALITY, DEFAULT_SUITES, ExportFormat
from mixbridge.bridge.graph import Loss, MixGraph, PanPoint, Processor, VolumePoint
from mixbridge.bridge.render import render_graph

_HEAD = (
    "song", "suite", "session", "processors", "sends", "automated",
    "L_a(diff)", "L_a(real)", "gap", "null dB", "ΔLUFS", "true peak dB", "verdict",
)  # fmt: skip


def mixbridge(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"OMP_NUM_THREADS": "2", **os.environ}
    command = [sys.executable, "-m", "mixbridge", *arguments]
    return subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=False)


def format_of(suite: str) -> ExportFormat:
    """What holds a suite: a REAPER project, but for LV2 plugins and pedalboard's own effects."""
    others = {"pedalboard": ExportFormat.pedalboard, "lsp-lv2": ExportFormat.ardour}
    return others.get(suite, ExportFormat.reaper)


def session_of(song: Path, out: Path, *, suite: str, quality: str, found_with: Path | None = None) -> Path:
    """The song's session for a suite, found and exported if it is not there."""
    mix = next(song.glob("mix.*"))
    kind = format_of(suite)
    if not (out / "graph.json").exists() and found_with is not None:
        out.mkdir(parents=True)
        shutil.copyfile(found_with / "graph.json", out / "graph.json")
        shutil.copyfile(found_with / "match.wav", out / "match.wav")
    if not (out / "graph.json").exists():
        mixbridge("analyze", str(song / "stems"), str(mix), "--plugins", suite, "--quality", quality,
                  "--out", str(out), "--overwrite").check_returncode()  # fmt: skip
    if not (out / kind).exists():
        mixbridge("export", str(out / "graph.json"), str(song / "stems"), "--export", kind,
                  "--plugins", suite).check_returncode()  # fmt: skip
    return out / kind


def verified(session: Path, mix: Path, *, suite: str) -> dict[str, Any]:
    """What `verify` says of a session; an Ardour session is rendered by Ardour."""
    daw = ["--with", "ardour"] if format_of(suite) == ExportFormat.ardour else []
    graph = session.parent / "graph.json"
    done = mixbridge("verify", str(session), "--mix", str(mix), "--graph", str(graph), *daw, "--json")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found[0]


def with_rides(graph: MixGraph) -> MixGraph:
    """The graph with every fader, pan and send moving slowly, each in its own way."""
    random = np.random.default_rng(3)
    length_s = graph.frames / graph.sample_rate_hz
    times_s = np.arange(0.0, length_s, 1.5).tolist()

    def volume() -> list[VolumePoint]:
        return [VolumePoint(time_s=t, gain_db=float(random.uniform(-6.0, 3.0))) for t in times_s]

    def pan() -> list[PanPoint]:
        return [PanPoint(time_s=t, pan=float(random.uniform(-0.6, 0.6))) for t in times_s]

    nodes = [
        node if isinstance(node, Processor) else node.model_copy(update={"volume": volume(), "pan": pan()})
        for node in graph.nodes
    ]
    edges = [edge if edge.send_db is None else edge.model_copy(update={"volume": volume()}) for edge in graph.edges]
    return graph.rebuilt(nodes, edges)


def ride(song: Path, found: Path, out: Path) -> None:
    """Write the graph of `found` with rides, and its own render as the mix it is meant for."""
    graph = with_rides(MixGraph.load(found / "graph.json"))
    audio = load_multitrack(song / "stems", next(song.glob("mix.*")))
    sources = {s.id: s for s in audio.stems}
    match = render_graph(graph, lambda stem: audio.stem_audio(sources[stem.id]))
    out.mkdir(parents=True, exist_ok=True)
    for name in ("match.wav", "mix.wav"):
        write_wav(out / name, match, sample_rate_hz=graph.sample_rate_hz)
    places = {"stems": str((song / "stems").resolve()), "mix": str((out / "mix.wav").resolve())}
    provenance = graph.provenance.model_copy(update={"sources": places, "loss": Loss()})
    graph.model_copy(update={"provenance": provenance}).save(out / "graph.json")


def row_of(song: str, suite: str, folder: Path, result: dict[str, Any]) -> list[str]:
    if result["error"]:
        return [song, suite, result["error"], *[""] * (len(_HEAD) - 3)]
    graph = MixGraph.load(folder / "graph.json")
    loss = result["loss"]
    searched = loss["graph"] if loss["differentiable"] is None else loss["differentiable"]
    return [
        song,
        suite,
        format_of(suite).value,
        str(len(graph.processors)),
        str(len(graph.all_sends())),
        str(sum(bool(channel.volume) + bool(channel.pan) for channel in graph.channels())),
        f"{searched:.4g}",
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
    parser.add_argument("--found-with", metavar="SUITE")
    parser.add_argument("--rides", action="store_true")
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
            known = None if chosen.found_with is None else chosen.work / chosen.found_with / song.name
            session = session_of(song, out, suite=suite, quality=chosen.quality, found_with=known)
            cases = [(song.name, out, session, next(song.glob("mix.*")))]
            if chosen.rides:
                moving = out.with_name(f"{song.name}+rides")
                if not (moving / "graph.json").exists():
                    ride(song, out, moving)
                session = session_of(song, moving, suite=suite, quality=chosen.quality)
                cases.append((moving.name, moving, session, moving / "mix.wav"))
            for name, folder, session, mix in cases:
                found = verified(session, mix, suite=suite)
                rows.append(row_of(name, suite, folder, found))
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
