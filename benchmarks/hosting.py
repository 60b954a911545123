"""Measures how fast real plugins render, and what it costs to run them in processes of their own.

    python benchmarks/hosting.py [--seconds 60] [--repeats 3] [--renders 2000] [--out benchmarks/results/hosting.md]

Needs the suites lsp, zam and dragonfly (`mixbridge plugins install`). Each plugin renders the same
audio in turn through the pool and without it, so that the ratio means something on a machine
with other work. The last part sends many short renders of all of them through the pool.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixbridge.bridge.hosting.instance import load
from mixbridge.bridge.hosting.places import VST3_FOLDER, loader_command, loader_environment, suite_prefix
from mixbridge.bridge.hosting.pool import PluginPool, PluginRef, PluginSettings
from mixbridge.bridge.hosting.worker import resident_mb

RATE_HZ = 48000
BLOCK_FRAMES = 8192


def plugins() -> dict[PluginRef, Mapping[str, float | str]]:
    lsp = suite_prefix("lsp") / VST3_FOLDER / "lsp-plugins.vst3"
    zam, dragonfly = suite_prefix("zam") / VST3_FOLDER, suite_prefix("dragonfly") / VST3_FOLDER
    bell = {"Filter type 0": "Bell", "Filter mode 0": "APO (DR)", "Frequency 0": 1000.0, "Gain 0": 6.0}
    return {
        PluginRef("Parametric Equalizer x16 Stereo", lsp): bell,
        PluginRef("Compressor Stereo", lsp): {"Ratio": 4.0, "Attack threshold": -30.0},
        PluginRef("Gate Stereo", lsp): {"Curve threshold": -30.0},
        PluginRef("Limiter Stereo", lsp): {"Threshold": -6.0},
        PluginRef("ZamCompX2", zam / "ZamCompX2.vst3"): {"Ratio": 4.0, "Threshold": -30.0},
        PluginRef("ZamGateX2", zam / "ZamGateX2.vst3"): {"Threshold": -30.0},
        PluginRef("Dragonfly Plate Reverb", dragonfly / "DragonflyPlateReverb.vst3"): {"Decay": 2.0},
        PluginRef("Dragonfly Hall Reverb", dragonfly / "DragonflyHallReverb.vst3"): {"Decay": 2.0},
        PluginRef("Compressor"): {"ratio": 4.0, "threshold_db": -30.0},
        PluginRef("PeakFilter"): {"gain_db": 6.0, "cutoff_frequency_hz": 1000.0},
        PluginRef("Reverb"): {"room_size": 0.5},
    }


class InProcess:
    """The same renders without a pool: in one other process, which times them itself.

    A process of its own because this one may run under a C library too old for the plugins.
    """

    def __init__(self, seconds: float) -> None:
        bundle = suite_prefix("lsp") / VST3_FOLDER / "lsp-plugins.vst3"
        command = [*loader_command(bundle), sys.executable, __file__, "--serve", "--seconds", str(seconds)]
        environment = {**os.environ, **loader_environment(bundle)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )  # fmt: skip

    def seconds_of(self, index: int) -> float:
        """Let it load (the first time) or render plugin `index`; return how long that took."""
        self._process.stdin.write(f"{index}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def serve(audio: NDArray[np.float32]) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    chosen, loaded = list(plugins().items()), {}
    for line in sys.stdin:
        plugin, values = chosen[int(line)]
        began_s = time.perf_counter()
        if plugin not in loaded:
            loaded[plugin] = load(plugin, alive=lambda: None)
        else:
            hosted = loaded[plugin]
            hosted.prepare(
                PluginSettings(values), sample_rate_hz=RATE_HZ, block_frames=BLOCK_FRAMES, alive=lambda: None
            )  # fmt: skip
            step = 64 * BLOCK_FRAMES
            for start in range(0, audio.shape[1], step):
                hosted.process(audio[:, start : start + step])
        answers.write(f"{time.perf_counter() - began_s}\n")
        answers.flush()
    os._exit(0)


def seconds_of(work) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def measure(pool: PluginPool, audio: NDArray[np.float32], *, repeats: int) -> list[str]:
    lines = [
        "| plugin | load s | pool, times real time | in process | pool / in process |",
        "|---|---:|---:|---:|---:|",
    ]
    length_s = audio.shape[1] / RATE_HZ
    other = InProcess(length_s)
    for index, (plugin, values) in enumerate(plugins().items()):

        def through_pool(plugin=plugin, values=values) -> None:
            pool.render(plugin, PluginSettings(values), audio, sample_rate_hz=RATE_HZ, block_frames=BLOCK_FRAMES)

        load_s = other.seconds_of(index)
        through_pool(), other.seconds_of(index)
        pairs = [(seconds_of(through_pool), other.seconds_of(index)) for _ in range(repeats)]
        pool_s, here_s = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(p / h for p, h in pairs)
        lines.append(
            f"| {plugin.name} | {load_s:.2f} | {length_s / pool_s:.0f} | {length_s / here_s:.0f} | {ratio:.2f} |"
        )
        print(lines[-1], flush=True)
    other.close()
    return lines


def many_renders(count: int) -> list[str]:
    audio = noise(0.1)
    chosen = list(plugins().items())
    with PluginPool() as pool:
        began_s = time.perf_counter()
        largest_mb = 0.0
        for first in range(0, count, 100):
            batch = [chosen[k % len(chosen)] for k in range(first, min(count, first + 100))]
            renders = [pool.submit(p, PluginSettings(v), audio, sample_rate_hz=RATE_HZ) for p, v in batch]
            for render in renders:
                render.result()
            largest_mb = max(largest_mb, *(resident_mb(process_id) for process_id in pool.process_ids))
        taken_s = time.perf_counter() - began_s
        left = len(list(pool.log.parent.glob("*.f32")))
    print(f"{count} renders in {taken_s:.1f} s", flush=True)
    return [
        f"{count} renders of 0.1 s, all plugins in turn, {os.cpu_count()} workers: {taken_s:.1f} s"
        f" ({1e3 * taken_s / count:.1f} ms each), no failure, largest worker {largest_mb:.0f} MB,"
        f" {left} temporary files left."
    ]


def noise(seconds: float) -> NDArray[np.float32]:
    frames = round(seconds * RATE_HZ)
    return (0.1 * np.random.default_rng(0).standard_normal((2, frames))).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--renders", type=int, default=2000)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "hosting.md")
    chosen = parser.parse_args()
    if chosen.serve:
        serve(noise(chosen.seconds))
    with PluginPool(workers=1) as pool:
        table = measure(pool, noise(chosen.seconds), repeats=chosen.repeats)
    head = [
        "# Plugin hosting",
        "",
        f"{chosen.seconds:g} s of stereo noise at 48 kHz, median of {chosen.repeats}; one core per render."
        " The ratio is taken pair by pair, so that other work on the machine cancels out.",
        "",
    ]
    text = "\n".join([*head, *table, "", *many_renders(chosen.renders), ""])
    chosen.out.write_text(text, encoding="utf-8")
    print(f"written to {chosen.out}")


if __name__ == "__main__":
    main()
