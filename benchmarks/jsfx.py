"""Measures the JSFX host: compile time, speed and null depth of every shipped effect; writes results/jsfx.md.

    python benchmarks/jsfx.py [--seconds 20] [--settings 5] [--rate 44100]

Times are CPU seconds of one core, so that they mean something on a machine with other work.
"""

from __future__ import annotations

import argparse
import functools
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np

import mixbridge.presets.jsfx
from mixbridge.bridge.files import write_text_whole
from mixbridge.bridge.hosting.jsfx import Effect, load_effect
from mixbridge.bridge.processors.reference import apply_processor
from mixbridge.bridge.processors.specs import SPECS, ProcessorSpec
from mixbridge.exporters.reaper.effects import JSFX_FILES

RESULT = Path(__file__).parent / "results" / "jsfx.md"
HEAD = "| effect | compile CPU s | median x real time | slowest x real time | worst null dB |"


def programme(seconds: float, rate_hz: int) -> np.ndarray:
    """Decaying noise bursts, louder and softer."""
    random = np.random.default_rng(1)
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    return 0.3 * (np.exp(-8 * (time_s % 0.31)) + 0.02) * random.standard_normal((2, len(time_s)))


def drawn(spec: ProcessorSpec, random: np.random.Generator) -> dict[str, float]:
    shares = random.random(len(spec.parameters))
    return {
        p.name: p.minimum * (p.maximum / p.minimum) ** share
        if p.scale == "log"
        else p.minimum + (p.maximum - p.minimum) * share
        for p, share in zip(spec.parameters, shares, strict=True)
    }


def settings_of(spec: ProcessorSpec, count: int) -> list[dict[str, float]]:
    """Random settings, and for the reverb its longest response."""
    random = np.random.default_rng(2)
    found = [drawn(spec, random) for _ in range(count)]
    if spec is SPECS["reverb"]:
        found.append(
            spec.defaults() | {"level_db": 0.0} | {p.name: p.maximum for p in spec.parameters if "dec" in p.name}
        )
    return found


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """CPU seconds, and what came out."""
    began_s = time.process_time()
    result = work()
    return time.process_time() - began_s, result


def measure(kind: str, *, seconds: float, count: int, rate_hz: int) -> str:
    effect: Effect = load_effect(Path(str(mixbridge.presets.jsfx.__file__)).parent / JSFX_FILES[kind])
    render = functools.partial(effect.render, sample_rate_hz=rate_hz, compensate_latency=True)
    compile_s, _ = timed(lambda: render(np.zeros((2, 1)), {}))
    audio, speeds, nulls = programme(seconds, rate_hz), [], []
    for parameters in settings_of(SPECS[kind], count):
        spent_s, found = timed(functools.partial(render, audio, parameters))
        speeds.append(seconds / spent_s)
        expected = apply_processor(kind, audio, parameters=parameters, sample_rate_hz=rate_hz)
        energy = float(np.sum(expected**2))
        if energy > 0:
            nulls.append(10 * np.log10(float(np.sum((found - expected) ** 2)) / energy + 1e-32))
    return (
        f"| {kind} | {compile_s:.1f} | {statistics.median(speeds):.0f} | {min(speeds):.0f} "
        f"| {max(nulls, default=float('nan')):.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--settings", type=int, default=5)
    parser.add_argument("--rate", type=int, default=44100)
    chosen = parser.parse_args()
    lines = [HEAD, "|---|---|---|---|---|"]
    for kind in SPECS:
        lines.append(measure(kind, seconds=chosen.seconds, count=chosen.settings, rate_hz=chosen.rate))
        print(lines[-1], flush=True)
    command = (
        f"python benchmarks/jsfx.py --seconds {chosen.seconds:g} --settings {chosen.settings} --rate {chosen.rate}"
    )
    machine = f"{platform.machine()}, Python {platform.python_version()}, numba {numba.__version__}"
    intro = (
        f"# JSFX host\n\n`{command}`\non {machine}, one core, CPU time.\n"
        "Settings are random over the whole range; the reverb's slowest is its longest response (6 s).\n"
        "The first compilation on a machine takes a few seconds more for the FFT, which is kept on disk.\n\n"
    )
    write_text_whole(RESULT, intro + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
