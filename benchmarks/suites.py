"""Measures how fast a song of twelve tracks is rendered from its written session, suite by suite.

    python benchmarks/suites.py [--seconds 60] [--tracks 12] [--only lsp] [--results FOLDER]

Every track has an equalizer, a compressor and a fader; every fourth a gate, one a delay and one a
reverb; three groups are compressed, and the master has an equalizer. Types a suite lacks are left
out. The first render loads the plugins, the second finds them loaded. Certificates are made before.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mixbridge.bridge.audio import write_wav
from mixbridge.bridge.choices import DEFAULT_SUITES, ExportFormat
from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Node, Processor, Stem
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.processors.specs import spec_of
from mixbridge.bridge.search.parameters import position_of
from mixbridge.bridge.suites import Profile, choose_profiles, suite_names
from mixbridge.bridge.verify.realise import render_chain
from mixbridge.exporters.chain import Chain
from mixbridge.exporters.formats import export_graph
from mixbridge.exporters.options import ExportOptions
from mixbridge.exporters.reaper.read import read_project

RATE_HZ = 44100
GROUPS = 3


def settings(profile: Profile, random: np.random.Generator) -> dict[str, float]:
    """Random settings near the middle of every range, which no plugin refuses."""
    values = {}
    for p in spec_of(profile.processor).parameters:
        share = random.uniform(0.4, 0.6) if p.off_at is None else position_of(p, p.default)
        values[p.name] = p.minimum * (p.maximum / p.minimum) ** share if p.scale == "log" else p.default
    values |= {"bell1_db": 4.0, "low_shelf_db": -3.0} if profile.processor == "eq" else {}
    values |= {"threshold_db": -30.0, "ratio": 3.0} if profile.processor in ("compressor", "gate") else {}
    values |= {"tap1_level_db": -12.0} if profile.processor == "delay" else {}
    values |= {"level_db": -12.0} if profile.processor == "reverb" else {}
    return dict(profile.clamp(values))


def song(profiles: Mapping[str, Profile], *, tracks: int, frames: int) -> MixGraph:
    random = np.random.default_rng(1)
    nodes: list[Node] = [Master()]
    edges: list[Edge] = []

    def channel(node: Stem | Bus | Master, kinds: list[str], target: str | None) -> None:
        if target is not None:
            nodes.append(node)
        last = node.id
        for kind in (k for k in kinds if k in profiles):
            profile = profiles[kind]
            found = Processor(type=kind, id=f"{node.id}/{kind}", parameters=settings(profile, random),
                              law=profile.law, mix=0.8)  # fmt: skip
            nodes.append(found)
            edges.append(Edge(source=last, target=found.id))
            last = found.id
        if target is not None:
            edges.append(Edge(source=last, target=target))

    for n in range(tracks):
        kinds = ["eq", "compressor", *(["gate"] if n % 4 == 0 else []), "gain_pan"]
        kinds += ["delay"] if n == 1 else ["reverb"] if n == 2 else []
        channel(Stem(id=f"t{n}", name=f"track {n}", file=f"t{n}.wav"), kinds, f"g{n % GROUPS}")
    for n in range(GROUPS):
        channel(Bus(id=f"g{n}", name=f"group {n}"), ["compressor", "gain_pan"], "master")
    channel(nodes[0], ["eq"], None)  # type: ignore[arg-type]
    return MixGraph(name="song", sample_rate_hz=RATE_HZ, frames=frames, nodes=nodes, edges=edges)


def cpu_s() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in uses)


def measure(suite: str, stems: Path, folder: Path, *, tracks: int, seconds: float) -> list[str]:
    graph = song(choose_profiles(suite), tracks=tracks, frames=int(seconds * RATE_HZ))
    kind = ExportFormat.reaper if suite == DEFAULT_SUITES else ExportFormat.pedalboard
    options = ExportOptions(plugins=suite)
    file = export_graph(graph, [kind], stems_dir=stems, folder=folder, options=options).files[kind]
    chain = read_project(file) if kind == ExportFormat.reaper else Chain.load(file)
    walls = []
    before_s = cpu_s()
    with PluginPool() as pool:
        for _ in range(2):
            began_s = time.monotonic()
            render_chain(chain, file.parent, pool=pool)
            walls.append(time.monotonic() - began_s)
    spent_s = cpu_s() - before_s
    inserts = sum(len(c.inserts) for c in chain.channels)
    return [suite, str(tracks), str(inserts), *(f"{seconds / w:.1f}" for w in walls), f"{2 * seconds / spent_s:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--tracks", type=int, default=12)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    chosen = parser.parse_args()
    rows = [
        [
            "suite",
            "tracks",
            "inserts",
            "first render, x real time",
            "second render, x real time",
            "x real time per CPU s",
        ]
    ]
    rows.append(["---"] * len(rows[0]))
    with tempfile.TemporaryDirectory() as scratch:
        random = np.random.default_rng(2)
        stems = Path(scratch) / "stems"
        stems.mkdir()
        for n in range(chosen.tracks):
            noise = random.standard_normal((2, int(chosen.seconds * RATE_HZ))) * 0.1
            write_wav(stems / f"t{n}.wav", noise, sample_rate_hz=RATE_HZ)
        for suite in chosen.only or suite_names():
            rows.append(measure(suite, stems, Path(scratch) / suite, tracks=chosen.tracks, seconds=chosen.seconds))
            print(rows[-1], flush=True)
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    chosen.results.mkdir(parents=True, exist_ok=True)
    (chosen.results / "suites.md").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
