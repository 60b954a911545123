"""Makes mixes with known settings, finds their graphs and tells how well: faders, pans, curves, thresholds, processors.

    python benchmarks/recovery.py SONGS_FOLDER WORK_FOLDER [--count 24] [--quality standard] [--seeds 0 1]

Songs are those of the folder (``stems/`` and ``mix.*`` each) and the demo song. Half of the mixes are
made by Pedalboard's built-ins, half by LSP's VST3 plugins (``mixbridge plugins install lsp``); see
`recovery_mixes`. With a second seed the graphs that the two found are compared with each other.
What is in WORK_FOLDER already is not made or found again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recovery_mixes import make_mix, read_source
from search import machine
from tables import markdown

from mixbridge.bridge.demo import make_demo
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.recovery import Recovery, medians
from mixbridge.bridge.recovery_files import compare_files
from mixbridge.bridge.recovery_match import Agreement

SUITES = ("pedalboard", "lsp")

#: Kind of error, heading, form and target of the columns.
COLUMNS = (
    ("fader_db", "fader dB", ".2f", 0.3),
    ("level_db", "level dB", ".2f", None),
    ("pan", "pan", ".3f", 0.02),
    ("eq_db", "EQ dB", ".2f", 0.5),
    ("threshold_db", "threshold dB", ".1f", 1.5),
    ("ratio_octaves", "ratio oct", ".2f", None),
    ("attack_octaves", "attack oct", ".2f", None),
    ("release_octaves", "release oct", ".2f", None),
    ("delay_time_ms", "echo ms", ".1f", None),
    ("rt60_octaves", "RT60 oct", ".2f", None),
)
F1_TARGET, SEEDS_F1_TARGET = 0.85, 0.9


def songs_of(folder: Path, work: Path) -> list[Path]:
    demo = work / "songs" / "demo"
    if not (demo / "truth.json").exists():
        make_demo(demo)
    return [*(f for f in sorted(folder.iterdir()) if (f / "stems").is_dir()), demo]


def make_all(songs: Sequence[Path], work: Path, *, count: int, seed: int) -> list[tuple[str, Path]]:
    """Suite and folder of every mix."""
    mixes: list[tuple[str, Path]] = []
    wanted: dict[Path, list[tuple[str, Path, int]]] = {}
    for number in range(count):
        song, suite = songs[number % len(songs)], SUITES[(number // len(songs)) % len(SUITES)]
        folder = work / "mixes" / f"{number:02d}-{suite}-{song.name}"
        mixes.append((suite, folder))
        if not (folder / "graph.json").exists():
            wanted.setdefault(song, []).append((suite, folder, 1000 * seed + number))
    if wanted:
        with PluginPool() as pool:
            for song, todo in wanted.items():
                source = read_source(song)
                for suite, folder, mix_seed in todo:
                    make_mix(source, folder, suite=suite, seed=mix_seed, pool=pool)
                    print(f"made {folder.name}", flush=True)
    return mixes


def found_graph(mix: Path, out: Path, *, suite: str, quality: str, seed: int, options: Sequence[str]) -> dict[str, Any]:
    """What ``mixbridge analyze`` says about a mix, run if it has not been."""
    summary = out.with_suffix(".json")
    if not summary.exists() or not (out / "graph.json").exists():
        environment = {"OMP_NUM_THREADS": "2", **os.environ}
        command = [sys.executable, "-m", "mixbridge", "analyze", str(mix / "stems"), str(mix / "mix.wav"), "--json",
                   "--plugins", suite, "--quality", quality, "--seed", str(seed), "--out", str(out),
                   "--overwrite", *options]  # fmt: skip
        out.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise SystemExit(f"{mix.name}: analyze failed with exit code {done.returncode}")
        summary.write_text(done.stdout, encoding="utf-8")
    result: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    return result


def row(name: str, errors: dict[str, float | None], agreement: Agreement, more: Sequence[str]) -> list[str]:
    cells = [name]
    for kind, _, form, _ in COLUMNS:
        value = errors.get(kind)
        cells.append("" if value is None else format(value, form))
    counts = f"{agreement.both}/{agreement.found_only}/{agreement.true_only}"
    return [*cells, f"{agreement.f1:.2f}", counts, *more]


def table(rows: Sequence[Sequence[str]]) -> str:
    head = ["mix", *(title for _, title, _, _ in COLUMNS), "F1", "both/extra/missed", "L_a", "CPU s", "seeds F1"]
    return markdown(head, rows)


def summary_of(results: Sequence[Recovery]) -> dict[str, Any]:
    both = sum((r.processors for r in results), Agreement())
    faders = sum((r.processors_and_faders for r in results), Agreement())
    kinds = sorted({kind for r in results for kind in r.by_type})
    return {
        "mixes": len(results),
        "medians": medians(results),
        "processors": both.to_json(),
        "processors_and_faders": faders.to_json(),
        "by_type": {k: sum((r.by_type[k] for r in results if k in r.by_type), Agreement()).to_json() for k in kinds},
    }


def targets_met(summary: dict[str, Any]) -> dict[str, bool]:
    met = {
        kind: summary["medians"][kind] is not None and summary["medians"][kind] <= target
        for kind, _, _, target in COLUMNS
        if target is not None
    }
    return {**met, "f1": summary["processors"]["f1"] >= F1_TARGET}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--seed", type=int, default=0, help="of the mixes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the searches; the first is judged")
    parser.add_argument("--only", action="append", default=[], help="parts of the names of mixes")
    parser.add_argument("--make-only", action="store_true")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="handed on to analyze; comes last")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    chosen = parser.parse_args()
    mixes = make_all(songs_of(chosen.songs, chosen.work), chosen.work, count=chosen.count, seed=chosen.seed)
    if chosen.make_only:
        return
    judged: list[tuple[str, Recovery]] = []
    seeds: list[Recovery] = []
    rows, records = [], []
    for suite, mix in mixes:
        if chosen.only and not any(part in mix.name for part in chosen.only):
            continue
        folders = [chosen.work / chosen.quality / f"seed{seed}" / mix.name for seed in chosen.seeds]
        runs = [
            found_graph(mix, out, suite=suite, quality=chosen.quality, seed=seed, options=chosen.options)
            for seed, out in zip(chosen.seeds, folders, strict=True)
        ]
        result = compare_files(folders[0], mix / "graph.json")
        between = [compare_files(other, folders[0], stems_dir=mix / "stems") for other in folders[1:]]
        judged.append((suite, result))
        seeds += between
        same = f"{sum((r.processors for r in between), Agreement()).f1:.2f}" if between else ""
        more = [f"{runs[0]['loss']['reference']:.4f}", f"{runs[0]['cpu_s']:.0f}", same]
        rows.append(row(mix.name, result.medians(), result.processors, more))
        records.append({"mix": mix.name, "suite": suite, "loss": runs[0]["loss"], "cpu_s": runs[0]["cpu_s"],
                        "wall_s": runs[0]["wall_s"], **result.to_json()})  # fmt: skip
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    publish(chosen, judged, seeds, rows, records)


def publish(
    chosen: argparse.Namespace,
    judged: Sequence[tuple[str, Recovery]],
    seeds: Sequence[Recovery],
    rows: Sequence[Sequence[str]],
    records: Sequence[dict[str, Any]],
) -> None:
    summaries = {suite: summary_of([r for s, r in judged if s == suite]) for suite in SUITES}
    summaries["all"] = summary_of([r for _, r in judged])
    last = [
        row(f"**{name}** ({s['mixes']})", s["medians"], sum((r.processors for x, r in judged if name in (x, "all")),
            Agreement()), ["", "", ""])
        for name, s in summaries.items()
    ]  # fmt: skip
    between = sum((r.processors for r in seeds), Agreement())
    content = {
        "machine": machine(),
        "quality": chosen.quality,
        "seed": chosen.seed,
        "search_seeds": chosen.seeds,
        "summary": summaries,
        "targets_met": targets_met(summaries["all"]) | ({"seeds_f1": between.f1 >= SEEDS_F1_TARGET} if seeds else {}),
        "seeds": between.to_json() if seeds else None,
        "mixes": list(records),
    }
    chosen.results.mkdir(parents=True, exist_ok=True)
    stem = chosen.results / f"recovery-{chosen.quality}"
    stem.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(table([*rows, *last]), encoding="utf-8")
    print(table([*rows, *last]))
    print(json.dumps(content["targets_met"]))


if __name__ == "__main__":
    main()
