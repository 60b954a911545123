"""Compares one gradient step through our stage executor with one through grafx's `render_grafx`.

    python benchmarks/engine.py [--tracks 8] [--repeats 5]

Both run in turn in one process, so that the ratio means something on a machine with other work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from mixbridge.bridge.console import build_console, load_console
from mixbridge.bridge.graph import Stem
from mixbridge.bridge.metrics import LOSS_RATE_HZ, MatchLoss
from mixbridge.bridge.processors.twins import TwinSettings, make_twins
from mixbridge.bridge.search.fit import SCORED_FRAMES, WARM_UP_FRAMES
from mixbridge.bridge.search.parameters import ConsoleParameters, plan_of


def main() -> None:
    from grafx.render import render_grafx

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    stems = [Stem(id=f"track{n}", name=f"track{n}", file=f"track{n}.wav") for n in range(chosen.tracks)]
    groups = {f"group{n}": [s.id for s in stems[n::3]] for n in range(3)}
    console = build_console(
        name="benchmark", sample_rate_hz=44100, start_frame=0, frames=0, stems=stems, groups=groups,
        preset=load_console(),
    )  # fmt: skip
    plan = plan_of(console)
    parameters = ConsoleParameters(console, device=torch.device("cpu"))
    twins = make_twins(TwinSettings.for_search(sample_rate_hz=LOSS_RATE_HZ, design_rate_hz=44100))
    torch.manual_seed(0)
    inputs = 0.1 * torch.randn(chosen.tracks, 2, WARM_UP_FRAMES + SCORED_FRAMES)
    loss = MatchLoss()
    target = loss.features(inputs.sum(0)[:, WARM_UP_FRAMES:])

    def step(render: Callable[[], torch.Tensor]) -> float:
        began_s = time.perf_counter()
        loss(render().reshape(2, -1)[:, WARM_UP_FRAMES:], target).total.backward()
        return time.perf_counter() - began_s

    def ours() -> torch.Tensor:
        return plan.render(twins, inputs, parameters.for_plan(plan, parameters.values()))

    def theirs() -> torch.Tensor:
        values = parameters.for_plan(plan, parameters.values())
        output: torch.Tensor = render_grafx(twins, inputs, values, plan.render_data)[0]
        return output

    step(ours), step(theirs)
    pairs = [(step(ours), step(theirs)) for _ in range(chosen.repeats)]
    mine_s, grafx_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(theirs_s / ours_s for ours_s, theirs_s in pairs)
    print(f"{chosen.tracks} tracks, {len(console.processors)} processors, segments of 3.8 s, forward and backward")
    print(f"stage executor {mine_s:.2f} s, render_grafx {grafx_s:.2f} s, ratio {ratio:.1f}")


if __name__ == "__main__":
    main()
