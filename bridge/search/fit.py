"""Gradient descent on a console's settings, segment by segment; pruning lives elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from ..graph import MixGraph
from ..metrics import MatchLoss
from ..processors.laws import FREEVERB, KIND_SEPARATOR, kind_of
from ..processors.specs import DELAY_TAPS, GAIN_PAN, MIX, REVERB
from .engine import Observer, Plan
from .memory import RELEASE_EVERY, release_unused
from .parameters import ConsoleParameters, plan_of
from .segments import SCORED_FRAMES, WARM_UP_FRAMES, Segments
from .workers import each
from .working_set import WorkingSet

#: Types whose level change is discouraged (gain belongs into the gain node), and how much.
GAIN_STAGED_TYPES = ("eq", "delay", "reverb")
GAIN_STAGING_WEIGHT = 1e-3

#: Learning rates in shares of a parameter's range per step.
BASE_RATE = 0.015
#: Echo times stay where the deconvolution put them: their gradient is true within a fraction of a
#: period only, and descent would carry a tap away from its echo. So does the pre-delay of a reverb
#: whose reflections are at fixed times: once it has moved, nothing leads back.
RATE_FACTORS = {
    MIX.name: 2.0,
    GAIN_PAN.parameter("gain_db").name: 0.5,
    **{f"tap{n}_time_ms": 0.0 for n in range(1, DELAY_TAPS + 1)},
    f"{kind_of(REVERB.type, FREEVERB)}:pre_delay_ms": 0.0,
}

#: Decay of AdamW's means of gradients and of their squares: so few steps leave no time for a long momentum.
BETAS = (0.7, 0.95)

#: Segments whose gradients are averaged in a step, side by side where there are cores.
SEGMENTS_PER_STEP = 2

#: The learning rate rises over this share of the steps: AdamW's first steps are a full rate for every setting,
#: however small its gradient, and would throw away what was identified.
WARM_UP_SHARE = 0.1

#: The cosine schedule ends at this share of the learning rate.
FINAL_RATE_SHARE = 0.05


@dataclass(frozen=True)
class FitSettings:
    """One run of gradient descent.

    Attributes
    ----------
    steps : int
    sparsity : float
        Weight of the L1 norm of all dry/wet weights.
    rate_share : float
        Factor on all learning rates (fine-tuning is gentler).
    stream : int
        Tells the segments of different runs of one search apart.
    """

    steps: int
    sparsity: float = 0.0
    rate_share: float = 1.0
    stream: int = 0


class Fitter:
    """Fits the settings of a graph to a song."""

    def __init__(
        self, song: WorkingSet, parameters: ConsoleParameters, twins: nn.ModuleDict, *, seed: int, device: torch.device
    ) -> None:
        self.song = song
        self.parameters = parameters
        self.twins = twins
        self.seed = seed
        self.device = device
        self.loss = MatchLoss().to(device)
        self.segments = Segments(song)

    def run(self, graph: MixGraph, settings: FitSettings, *, progress: Callable[[int], None] | None = None) -> None:
        """Descend for some steps on the processors that are in `graph`.

        The same seed and stream give the same segments, so the same result on the same machine.
        """
        plan = plan_of(graph)
        if not graph.processors or not settings.steps:
            return
        groups = self.parameters.groups(rate=BASE_RATE * settings.rate_share, rates=RATE_FACTORS)
        optimiser = torch.optim.AdamW(groups, weight_decay=0.0, betas=BETAS)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate_at(step, settings.steps))
        starts = self.segments.starts(seed=self.seed, stream=settings.stream)
        for step in range(settings.steps):
            found = each(partial(self._gradients, plan, settings.sparsity), islice(starts, SEGMENTS_PER_STEP))
            # A segment on which nothing can be learnt (digital silence) must not poison the settings.
            useful = [gradients for gradients in found if gradients is not None]
            if useful:
                for parameter, *gradients in zip(self.parameters.parameters(), *useful, strict=True):
                    parameter.grad = torch.stack(gradients).mean(dim=0)
                optimiser.step()
            schedule.step()
            self.parameters.clip()
            if step % RELEASE_EVERY == RELEASE_EVERY - 1:
                release_unused()
            if progress is not None:
                progress(step + 1)

    def _gradients(self, plan: Plan, sparsity: float, start: int) -> list[Tensor] | None:
        """Of every parameter, on one segment; None where the objective is not finite."""
        inputs, target = self._segment(plan.inputs, start)
        change: list[Tensor] = []
        values = self.parameters.for_plan(plan, self.parameters.values())
        output = plan.render(self.twins, inputs, values, start_frame=start, observe=_level_changes(change))
        features = self.loss.features(target[:, WARM_UP_FRAMES:])
        objective = self.loss(output[:, WARM_UP_FRAMES:], features).total
        if change:
            objective = objective + GAIN_STAGING_WEIGHT * torch.stack(change).sum()
        if sparsity:
            weights = [weight.sum() for weight in self.parameters.weights(values).values()]
            objective = objective + sparsity * torch.stack(weights).sum()
        if not bool(torch.isfinite(objective)):
            return None
        gradients = torch.autograd.grad(objective, list(self.parameters.parameters()), allow_unused=True)
        return [
            torch.zeros_like(parameter)
            if gradient is None
            else torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
            for parameter, gradient in zip(self.parameters.parameters(), gradients, strict=True)
        ]

    def _segment(self, stem_ids: tuple[str, ...], start: int) -> tuple[Tensor, Tensor]:
        frames = WARM_UP_FRAMES + SCORED_FRAMES
        inputs = self.song.segment(stem_ids, start=start, frames=frames, device=self.device)
        mix = self.song.target(start=start, frames=frames, device=self.device)
        return inputs, mix


def _rate_at(step: int, steps: int) -> float:
    rise = round(WARM_UP_SHARE * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return FINAL_RATE_SHARE + (1.0 - FINAL_RATE_SHARE) * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def _level_changes(change: list[Tensor]) -> Observer:
    """Collect |log(energy out / energy in)| of the gain-staged types."""

    def observe(kind: str, names: tuple[str, ...], source: Tensor, output: Tensor) -> None:
        if kind.partition(KIND_SEPARATOR)[0] in GAIN_STAGED_TYPES:
            before, after = (s.square().mean(dim=(1, 2)) + 1e-8 for s in (source, output))
            change.append((after / before).log().abs().sum())

    return observe
