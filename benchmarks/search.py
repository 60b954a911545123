"""Compares ways to search: match loss L_a of the whole song against CPU time, with curves.

    python benchmarks/search.py SONGS_FOLDER WORK_FOLDER [--songs band8 ...] [--methods default recipe ...]
    python benchmarks/search.py SONGS_FOLDER WORK_FOLDER --plot

Each song is a folder with ``stems/`` and ``mix.*``. The methods:

* ``plain_sum``, ``gain_pan``: the stems as they are; the best gain and pan of each.
* ``lti``: complex least-squares gains per stem, channel and frequency band, no processors at all.
* ``recipe``: the published recipe (Lee et al., DAFx 2024) on the published console, ``--console paper``.
  Every dry/wet weight starts at 0.5, AdamW at a constant rate, one uniformly random segment of 3.8 s
  a step, no least squares. Neither sparsity nor pruning, which only cost loss: a reading in its
  favour. Its rate of 0.01 in logits moves a weight by at most a quarter of that, so 0.0025 of the
  range a step here; for gains, EQ and thresholds that is more than the recipe's own step in dB.
* ``recipe_fast``: the same with a rate four times as high.
* ``paper``: the published console from our start with our optimiser, all of the budget for the fit.
* ``default``, ``draft``, ``best``: the search as users run it, pruning included.

CPU time is that of the process; what the curve's own points cost to evaluate is left out, and so
are reading and resampling of the song, which all methods share. The methods without a budget of
their own get ``--budget-factor`` times what ``default`` took on the song, or ``--budget`` seconds.
Each (song, method) has a file of its own in WORK_FOLDER; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.signal
import torch
from tables import markdown

from mixbridge.bridge.analyze import search_of
from mixbridge.bridge.audio import load_multitrack
from mixbridge.bridge.graph import MixGraph
from mixbridge.bridge.metrics import LOSS_RATE_HZ, MatchLoss, match_loss
from mixbridge.bridge.search import search as search_module
from mixbridge.bridge.search.fit import SCORED_FRAMES, WARM_UP_FRAMES, FitSettings, Fitter
from mixbridge.bridge.search.memory import RELEASE_EVERY, release_unused
from mixbridge.bridge.search.parameters import plan_of
from mixbridge.bridge.search.search import Search, SearchSettings, versions
from mixbridge.bridge.search.start import with_values
from mixbridge.bridge.search.working_set import WorkingSet

#: Learning rate of the recipe, in shares of a parameter's range per step.
RECIPE_RATE = 0.0025

#: Start of the recipe's processors: flat or neutral where it is so there, its own values where it has them.
RECIPE_START: dict[str, dict[str, float]] = {
    "eq": {"highpass_hz": 20.0, "lowpass_hz": 20000.0},
    "compressor": {"threshold_db": -26.0, "ratio": 2.0},
    "gate": {"threshold_db": -26.0, "ratio": 2.0},
    "imager": {},
    "gain_pan": {},
    "delay": {f"tap{n}_level_db": -12.0 for n in range(1, 5)},
    "reverb": {"decay_s": 0.5, "level_db": 0.0},
}

#: Points of a curve: so many between the first and the last second of the budget, evenly spaced in log time.
POINTS = 20
FIRST_POINT_S = 8.0

ORDER = ("plain_sum", "gain_pan", "lti", "recipe", "recipe_fast", "paper", "draft", "default", "best")
ONE_SHOT = ("plain_sum", "gain_pan", "lti")
QUALITIES = {"draft": "draft", "default": "standard", "best": "best"}


class Curve:
    """Points of loss against CPU time; the time spent on the points themselves does not count."""

    def __init__(self, *, budget_s: float, on_point: Callable[[list[dict[str, Any]]], None] | None = None) -> None:
        self._began_s = time.process_time()
        self._aside_s = 0.0
        self._on_point = on_point
        self.budget_s = budget_s
        self.points: list[dict[str, Any]] = []
        ratio = max(budget_s, 2 * FIRST_POINT_S) / FIRST_POINT_S
        self._due = [FIRST_POINT_S * ratio ** (k / (POINTS - 1)) for k in range(POINTS)]

    @property
    def cpu_s(self) -> float:
        return time.process_time() - self._began_s - self._aside_s

    @contextmanager
    def aside(self) -> Iterator[None]:
        began_s = time.process_time()
        yield
        self._aside_s += time.process_time() - began_s

    @property
    def is_due(self) -> bool:
        return bool(self._due) and self.cpu_s >= self._due[0]

    def add(self, loss: Callable[[], float], note: str) -> None:
        cpu_s = self.cpu_s
        while self._due and self._due[0] <= cpu_s:
            self._due.pop(0)
        with self.aside():
            self.points.append({"cpu_s": round(cpu_s, 2), "loss": loss(), "note": note})
            print(f"  {note:24} {cpu_s:8.1f} CPU s  L_a {self.points[-1]['loss']:.4f}", flush=True)
            if self._on_point is not None:
                self._on_point(self.points)


# -------------------------------------------------------------------- the methods


def prepare(song: Path, work: Path, settings: SearchSettings) -> Search:
    """A search over a song; the song is resampled once for all methods."""
    source = load_multitrack(song / "stems", next(song.glob("mix.*")))
    return search_of(source, WorkingSet.create(source, work / "songs" / song.name), settings=settings)


def run_plain_sum(song: Path, work: Path, curve: Curve, *, seed: int) -> None:
    search = prepare(song, work, SearchSettings(seed=seed))
    with curve.aside():
        total = np.sum([np.asarray(s, dtype=np.float32) for s in search.song.stems], axis=0)
    curve.add(lambda: match_loss(total, np.asarray(search.song.mix))["total"], "plain sum")


def run_gain_pan(song: Path, work: Path, curve: Curve, *, seed: int) -> None:
    with curve.aside():
        search = prepare(song, work, SearchSettings(seed=seed, quality="best"))
    search._start()
    curve.add(lambda: float(search.state.loss["gain_pan"]), "gain and pan")


def run_lti(song: Path, work: Path, curve: Curve, *, seed: int) -> None:
    with curve.aside():
        search = prepare(song, work, SearchSettings(seed=seed))
    match = lti_least_squares(search.song)
    curve.add(lambda: match_loss(match, np.asarray(search.song.mix))["total"], "LTI least squares")


def lti_least_squares(song: WorkingSet, *, size: int = 4096, bands: int = 96, ridge: float = 1e-4) -> np.ndarray:
    """The mix that the best complex gain per stem, channel and band gives; shape (2, frames).

    Bands are triangular in ERB rate, so that neighbouring gains blend; the normal equations of a
    band sum over its bins and all frames of the song.
    """
    transform = scipy.signal.ShortTimeFFT(np.hanning(size), hop=size // 4, fs=LOSS_RATE_HZ, fft_mode="onesided")
    stems = [transform.stft(np.asarray(s, dtype=np.float32)).astype(np.complex64) for s in song.stems]
    mix = transform.stft(np.asarray(song.mix, dtype=np.float32)).astype(np.complex64)
    shares = _band_shares(transform.f, bands)
    out = np.zeros_like(mix)
    for channel in range(2):
        rows = np.stack([s[channel] for s in stems])
        gram = np.einsum("sft,rft->fsr", rows.conj(), rows)
        right = np.einsum("sft,ft->fs", rows.conj(), mix[channel])
        normal = np.einsum("bf,fsr->bsr", shares, gram)
        wanted = np.einsum("bf,fs->bs", shares, right)
        load = ridge * np.einsum("bss->b", normal).real / len(stems) + 1e-12
        gains = np.linalg.solve(normal + load[:, None, None] * np.eye(len(stems)), wanted[..., None])[..., 0]
        out[channel] = np.einsum("bf,bs,sft->ft", shares, gains, rows)
    return transform.istft(out, k1=song.frames).real.astype(np.float32)


def _band_shares(frequency_hz: np.ndarray, bands: int) -> np.ndarray:
    """Triangular shares of the bands in each bin, shape (bands, bins); they sum to 1."""
    rate = 21.4 * np.log10(1.0 + 0.00437 * frequency_hz)
    centres = np.linspace(0.0, rate[-1], bands)
    return np.maximum(1.0 - np.abs(rate - centres[:, None]) / (centres[1] - centres[0]), 0.0)


def run_recipe(song: Path, work: Path, curve: Curve, *, seed: int, rate: float = RECIPE_RATE) -> None:
    with curve.aside():
        search = prepare(song, work, SearchSettings(seed=seed, console=published_console()))
    console = search.console
    start = {p.id: {**RECIPE_START[p.type], "mix": 0.5} for p in console.processors}
    parameters = search._trainable(with_values(console, start))
    print(f"  {len(console.processors)} processors", flush=True)
    optimiser = torch.optim.AdamW(parameters.parameters(), lr=rate)
    plan, meter = plan_of(console), MatchLoss()
    random = np.random.default_rng(seed)
    frames = WARM_UP_FRAMES + SCORED_FRAMES
    curve.add(lambda: search.whole_loss(console, parameters), "step 0")
    step = 0
    while curve.cpu_s < curve.budget_s:
        begin = int(random.integers(-WARM_UP_FRAMES, max(search.song.frames - frames, 0), endpoint=True))
        inputs = search.song.segment(plan.inputs, start=begin, frames=frames, device=search.device)
        target = search.song.target(start=begin, frames=frames, device=search.device)
        output = plan.render(search.twins, inputs, parameters.for_plan(plan, parameters.values()))
        loss = meter(output[:, WARM_UP_FRAMES:], meter.features(target[:, WARM_UP_FRAMES:])).total
        optimiser.zero_grad()
        if bool(torch.isfinite(loss)):
            loss.backward()
            for parameter in parameters.parameters():
                if parameter.grad is not None:
                    torch.nan_to_num_(parameter.grad, nan=0.0, posinf=0.0, neginf=0.0)
            optimiser.step()
        parameters.clip()
        step += 1
        if step % RELEASE_EVERY == 0:
            release_unused()
        if curve.is_due or curve.cpu_s >= curve.budget_s:
            curve.add(lambda: search.whole_loss(console, parameters), f"step {step}")


def published_console() -> str:
    return "paper"


def run_paper(song: Path, work: Path, curve: Curve, *, seed: int) -> None:
    """The published console from our start: as many steps of one cosine schedule as the budget holds."""
    with curve.aside():
        search = prepare(song, work, SearchSettings(seed=seed, quality="best", console=published_console()))
    search._start()
    console = MixGraph.from_json(search.state.graph, origin="start")
    parameters = search._parameters(console)
    curve.add(lambda: search.whole_loss(console, parameters), "start")
    fitter = Fitter(search.song, parameters, search.twins, seed=seed, device=search.device)
    trial = 6
    with curve.aside():
        before = {key: tensor.detach().clone() for key, tensor in parameters.positions.items()}
        began_s = time.process_time()
        fitter.run(console, FitSettings(trial, stream=99))
        step_s = (time.process_time() - began_s) / trial
        with torch.no_grad():
            for key, tensor in parameters.positions.items():
                tensor.copy_(before[key])
    steps = max(1, int((curve.budget_s - curve.cpu_s) / step_s))

    def sample(step: int) -> None:
        if curve.is_due or step == steps:
            curve.add(lambda: search.whole_loss(console, parameters), f"step {step} of {steps}")

    fitter.run(console, FitSettings(steps, stream=1), progress=sample)


def run_search(song: Path, work: Path, curve: Curve, *, seed: int, quality: str) -> MixGraph:
    """The search as it is, with points taken between its steps."""
    with curve.aside():
        search = prepare(song, work, SearchSettings(seed=seed, quality=quality))

    class Watched(Fitter):
        def run(self, graph: MixGraph, settings: FitSettings, **options: Any) -> None:
            inner = options.pop("progress", None)

            def progress(step: int) -> None:
                if inner is not None:
                    inner(step)
                if curve.is_due:
                    curve.add(lambda: search.whole_loss(graph, self.parameters), "fit")

            super().run(graph, settings, progress=progress, **options)

    with mock.patch.object(search_module, "Fitter", Watched):
        graph = search.run()
    loss = graph.provenance.loss
    curve.add(lambda: float(loss.pruned if loss.pruned is not None else math.nan), "end, pruned")
    return graph


def outcome(graph: MixGraph) -> dict[str, Any]:
    count, left = graph.provenance.console_processors, len(graph.processors)
    return {
        "loss": graph.provenance.loss.model_dump(),
        "console_processors": count,
        "processors": left,
        "pruned_share": round(1.0 - left / count, 4) if count else 0.0,
        "graph": graph.model_dump(),
    }


# -------------------------------------------------------------------- files


def machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **versions(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def result_file(work: Path, song: str, method: str) -> Path:
    return work / "curves" / f"{song}.{method}.json"


def budget_of(work: Path, song: str, method: str, *, budget_s: float | None, factor: float) -> float:
    if method in ONE_SHOT or method in QUALITIES:
        # Only spaces the points of the curve; these methods end by themselves.
        return 600.0
    if budget_s is not None:
        return budget_s
    file = result_file(work, song, "default")
    if not file.exists():
        raise SystemExit(f"{file}: run the method 'default' on {song} first, or give --budget")
    return factor * float(json.loads(file.read_text(encoding="utf-8"))["points"][-1]["cpu_s"])


def run(song: Path, work: Path, method: str, *, budget_s: float, seed: int) -> None:
    file = result_file(work, song.name, method)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    head = {"song": song.name, "method": method, "seed": seed, "budget_s": budget_s, "machine": machine()}

    def keep(points: list[dict[str, Any]]) -> None:
        unfinished.write_text(json.dumps({**head, "points": points}, indent=1) + "\n", encoding="utf-8")

    print(f"{song.name}, {method}, budget {budget_s:.0f} CPU s", flush=True)
    torch.manual_seed(seed)
    curve = Curve(budget_s=budget_s, on_point=keep)
    result: dict[str, Any] = {}
    if method in QUALITIES:
        result = outcome(run_search(song, work, curve, seed=seed, quality=QUALITIES[method]))
    elif method == "recipe_fast":
        run_recipe(song, work, curve, seed=seed, rate=4 * RECIPE_RATE)
    else:
        {"plain_sum": run_plain_sum, "gain_pan": run_gain_pan, "lti": run_lti,
         "recipe": run_recipe, "paper": run_paper}[method](song, work, curve, seed=seed)  # fmt: skip
    file.write_text(json.dumps({**head, "points": curve.points, **result}, indent=1) + "\n", encoding="utf-8")
    unfinished.unlink(missing_ok=True)


def collect(work: Path) -> list[dict[str, Any]]:
    found = [json.loads(f.read_text(encoding="utf-8")) for f in sorted((work / "curves").glob("*.json"))]
    return sorted(found, key=lambda r: (r["song"], ORDER.index(r["method"])))


def loss_at(points: list[dict[str, Any]], cpu_s: float) -> float | None:
    """Lowest loss a method has reached by a time: a reading in its favour."""
    reached = [p["loss"] for p in points if p["cpu_s"] <= cpu_s]
    return min(reached) if reached else None


def table(results: list[dict[str, Any]]) -> str:
    head = ["song", "method", "CPU s", "L_a at the end", "L_a by the CPU time of default", "by 10 x that", "pruned %"]
    lines: list[list[str]] = []
    reference = {r["song"]: r["points"][-1]["cpu_s"] for r in results if r["method"] == "default"}
    for r in results:
        last, whole = r["points"][-1], reference.get(r["song"])
        at = [loss_at(r["points"], f * whole) if whole else None for f in (1.0, 10.0)]
        if r["method"] in QUALITIES:
            # A search is judged by what it hands over, not by the full console on the way.
            at = [last["loss"] if whole and last["cpu_s"] <= f * whole else None for f in (1.0, 10.0)]
        pruned = f"{100 * r['pruned_share']:.0f}" if "pruned_share" in r else ""
        cells = [r["song"], r["method"], f"{last['cpu_s']:.0f}", f"{last['loss']:.4f}",
                 *("" if a is None else f"{a:.4f}" for a in at), pruned]  # fmt: skip
        lines.append(cells)
    return markdown(head, lines)


def plot(results: list[dict[str, Any]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    songs = sorted({r["song"] for r in results})
    columns = min(2, len(songs))
    rows = -(-len(songs) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(6.5 * columns, 4 * rows), squeeze=False)
    for axis, song in zip(axes.flat, songs, strict=False):
        for r in (r for r in results if r["song"] == song):
            colour = f"C{ORDER.index(r['method'])}"
            points = r["points"]
            if r["method"] in ONE_SHOT:
                axis.axhline(points[-1]["loss"], label=r["method"], color=colour, linestyle=":", linewidth=1)
            else:
                axis.plot(
                    [p["cpu_s"] for p in points], [p["loss"] for p in points], ".-", color=colour, label=r["method"]
                )
            if r["method"] in QUALITIES:
                axis.plot(points[-1]["cpu_s"], points[-1]["loss"], "o", color=colour)
        axis.set(title=song, xscale="log", yscale="log", xlabel="CPU time (s)", ylabel="match loss L_a")
        axis.set_xlim(left=4.0)
        axis.grid(visible=True, which="both", alpha=0.25)
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def publish(work: Path, results: Path) -> None:
    found = collect(work)
    if not found:
        raise SystemExit(f"{work}: no curves yet")
    results.mkdir(parents=True, exist_ok=True)
    slim = [{k: v for k, v in r.items() if k != "graph"} for r in found]
    (results / "search.json").write_text(json.dumps(slim, indent=1) + "\n", encoding="utf-8")
    (results / "search.md").write_text(table(found), encoding="utf-8")
    plot(found, results / "search.png")
    print(table(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs_folder", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--songs", nargs="+", help="names of songs; all of the folder if not given")
    parser.add_argument("--methods", nargs="+", choices=ORDER, default=["default", *ONE_SHOT, "recipe", "paper"])
    parser.add_argument("--budget-factor", type=float, default=10.0)
    parser.add_argument("--budget", type=float, help="CPU seconds of recipe and paper, instead of the factor")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", action="store_true", help="only write table, JSON and plot of what is there")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    chosen = parser.parse_args()
    folders = [f for f in sorted(chosen.songs_folder.iterdir()) if (f / "stems").is_dir()]
    names = chosen.songs or [f.name for f in folders]
    for name in () if chosen.plot else names:
        for method in chosen.methods:
            if result_file(chosen.work, name, method).exists():
                continue
            budget_s = budget_of(chosen.work, name, method, budget_s=chosen.budget, factor=chosen.budget_factor)
            if len(names) * len(chosen.methods) == 1:
                run(chosen.songs_folder / name, chosen.work, method, budget_s=budget_s, seed=chosen.seed)
                continue
            # A process of its own, so that no method inherits another's memory or compiled code.
            command = [sys.executable, __file__, str(chosen.songs_folder), str(chosen.work), "--songs", name,
                       "--methods", method, "--budget", str(budget_s), "--seed", str(chosen.seed),
                       "--results", str(chosen.work / "last")]  # fmt: skip
            subprocess.run(command, check=True)
    publish(chosen.work, chosen.results)


if __name__ == "__main__":
    main()
