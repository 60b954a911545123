"""The search as a whole: start, fit, prune, tidy; resumable after every phase.

`search` takes a song and returns its sparse graph. Nothing about files other than its own
checkpoint, and nothing about DAWs, lives here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from .. import errors
from ..choices import (
    DEFAULT_CONSOLE,
    DEFAULT_PRUNING,
    DEFAULT_QUALITY,
    DEFAULT_SUITES,
    DEFAULT_TOLERANCE,
    Pruning,
    Quality,
)
from ..console import build_console, load_console
from ..graph import Loss, MixGraph, Provenance, Stem
from ..metrics import FFT_SIZES, LOSS_RATE_HZ, MatchLoss, MelFeatures, match_loss, song_features
from ..processors.specs import SPECS
from ..processors.twins import TwinSettings, make_twins
from ..suites import choose_profiles
from . import start
from .activity import activity_of
from .begin import begin, faders_only
from .confidence import SURE_FROM, evidence
from .evaluate import EVALUATED_S, Evaluator
from .fit import FitSettings, Fitter
from .parameters import ConsoleParameters, parts, plan_of, send_id, without_parts
from .prune import PruneState, prune_round, pruned_from
from .sensitivity import error_bars
from .snap import snap
from .state import SearchState, fingerprint_of
from .tidy import fold, tidy
from .workers import each, side_by_side
from .working_set import WorkingSet

#: Weight of the L1 norm of the dry/wet weights; in the second half of the console's fit and after.
SPARSITY = 1e-4

#: Random segments of the phases of a search are drawn from streams of their own.
_STREAM_GAIN_PAN, _STREAM_CONSOLE, _STREAM_SPARSE, _STREAM_TIDY, _STREAM_SHARED, _STREAM_ROUND = 1, 2, 3, 4, 5, 100

#: Learning rates after the console's fit, in shares of it: what is left is near its place.
_SETTLED_RATE_SHARE = 0.4

#: Tidying may take the loss up by this share of the tolerance; what it saves is nodes.
_TIDY_SHARE = 0.25

#: Called with the phase's name, its share done (0 to 1) and a few words.
Progress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Effort:
    """How much work a search does; a step hears `fit.SEGMENTS_PER_STEP` segments.

    Attributes
    ----------
    settle_steps : int
        Steps of the fit of what is left in the end. They are cheap, few processors being left, and win back
        most of what pruning gave away.
    evaluated_s : float
        Longest part of the song that losses are taken over between the phases and while pruning.
    error_bars : bool
        Whether settings get error bars (they always do where values are to be rounded).
    keep_all : bool
        Whether delays and gates that nothing speaks for at the start are fitted, too.
    """

    gain_pan_steps: int
    console_steps: int
    rounds: int
    round_steps: int
    settle_steps: int
    evaluated_s: float = EVALUATED_S
    error_bars: bool = True
    keep_all: bool = False


EFFORTS: dict[str, Effort] = {
    Quality.draft: Effort(
        gain_pan_steps=6,
        console_steps=12,
        rounds=1,
        round_steps=5,
        settle_steps=6,
        evaluated_s=16.0,
        error_bars=False,
    ),
    Quality.standard: Effort(gain_pan_steps=20, console_steps=64, rounds=3, round_steps=8, settle_steps=32),
    Quality.best: Effort(gain_pan_steps=80, console_steps=400, rounds=8, round_steps=30, settle_steps=120),
}


@dataclass(frozen=True)
class SearchSettings:
    """What a user chooses about a search.

    Attributes
    ----------
    bpm : float or None
        Tempo (quarter notes per minute) whose note values `snap` rounds delay times to; None leaves
        them alone.
    """

    quality: str = DEFAULT_QUALITY
    tolerance: float = DEFAULT_TOLERANCE
    seed: int = 0
    device: str = "cpu"
    method: str = DEFAULT_PRUNING
    console: str = DEFAULT_CONSOLE
    plugins: str = DEFAULT_SUITES
    snap: bool = False
    bpm: float | None = None

    def check(self) -> None:
        """Raise `ParameterError` for a setting out of range."""
        if self.quality not in EFFORTS:
            raise errors.ParameterError(f"quality {self.quality!r}: choose one of {', '.join(EFFORTS)}")
        if not 0.0 <= self.tolerance <= 10.0:
            raise errors.ParameterError(f"tolerance {self.tolerance}: choose a value from 0 to 10 (0.01 is usual)")
        if self.method not in list(Pruning):
            raise errors.ParameterError(f"method {self.method!r}: choose one of {', '.join(Pruning)}")
        if self.seed < 0:
            raise errors.ParameterError(f"seed {self.seed}: choose 0 or a positive number")
        check_device(self.device)
        choose_profiles(self.plugins)
        load_console(self.console)


def check_device(name: str) -> torch.device:
    """The torch device of a name (`ParameterError` if it is unknown or not there)."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise errors.ParameterError(f"device {name!r} cannot be used ({reason}); use --device cpu") from None
    return device


class Search:
    """One search over one song.

    Parameters
    ----------
    song : WorkingSet
        Stems and mix at 30 kHz.
    name, sample_rate_hz, start_frame, frames, stems, groups
        Of the session, as in `console.build_console`.
    settings : SearchSettings
    checkpoint : Path, optional
        File that keeps the state; an existing one is continued if `resume`.
    """

    def __init__(
        self,
        song: WorkingSet,
        *,
        name: str,
        sample_rate_hz: int,
        start_frame: int,
        frames: int,
        stems: Sequence[Stem],
        groups: dict[str, tuple[str, ...]],
        settings: SearchSettings,
        checkpoint: Path | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> None:
        settings.check()
        self.song, self.settings, self.effort = song, settings, EFFORTS[settings.quality]
        self.device = check_device(settings.device)
        self.progress = progress
        self.checkpoint = checkpoint
        torch.manual_seed(settings.seed)
        profiles = {kind: p for kind, p in choose_profiles(settings.plugins).items() if p.search}
        self.limits = {kind: profile.limits for kind, profile in profiles.items()}
        laws = {kind: profile.law for kind, profile in profiles.items()}
        console = build_console(
            name=name,
            sample_rate_hz=sample_rate_hz,
            start_frame=start_frame,
            frames=frames,
            stems=stems,
            groups=groups,
            preset=load_console(settings.console),
            laws=laws,
        )
        self.console_processors = len(console.processors)
        silent = [s.id for s, a in zip(stems, song.stems, strict=True) if not np.any(a)]
        # Nothing can be learnt about a silent channel, so its chain is gone from the start.
        gone = {p.id for stem_id in silent for p in console.chain(stem_id)}
        gone |= {send_id(*ends) for ends in console.all_sends() if ends[0] in silent}
        self.console = without_parts(console, gone)
        self.fingerprint = fingerprint_of(console, song, asdict(settings))
        self.state = self._load(resume)
        rates = TwinSettings.for_search(sample_rate_hz=LOSS_RATE_HZ, design_rate_hz=sample_rate_hz)
        self.twins = make_twins(rates, laws=laws).to(self.device)
        self._meter = MatchLoss()

    # ------------------------------------------------------------------ phases

    def run(self) -> MixGraph:
        """Search and return the sparse graph with its provenance."""
        if not np.any(self.song.mix):
            raise errors.AudioContentError("the mix is digital silence; choose another file or another --start/--end")
        with side_by_side(self.device):
            return self._run()

    def _run(self) -> MixGraph:
        if self.state.phase == "new":
            self._report("start", 0.0, "least squares")
            self._start()
        active = MixGraph.from_json(self.state.graph, origin="checkpoint")
        parameters = self._parameters(active)
        if self._is_gains_and_pans():
            # No processor can win back more than the tolerance gives away: keep the faders as they are.
            self.state.loss["console"] = self.state.loss["gain_pan"]
            return self._described(fold(parameters.to_graph(active)))
        fitter = Fitter(self.song, parameters, self.twins, seed=self.settings.seed, device=self.device)
        evaluator = self._evaluator(active, parameters)
        if self.state.phase == "started":
            self._fit_console(active, fitter, evaluator)
        prune = PruneState(
            without_parts(active, self.state.removed),
            self.state.lowest_loss,
            self.settings.tolerance,
            limit=self.state.gain_pan_loss,
            removed=list(self.state.removed),
            needed=dict(self.state.needed),
            lowest_stem_error_db=dict(self.state.lowest_stem_error_db),
        )
        for number in range(self.state.rounds_done + 1, self.effort.rounds + 1):
            self._prune_round(prune, fitter, evaluator, number)
        found = self._finish(parameters.to_graph(prune.graph), evaluator, ceiling=prune.ceiling)
        return found.with_pruned(pruned_from(parameters.to_graph(active), prune.removed, kept=found))

    def _start(self) -> None:
        gains = start.least_squares_gains(self.song)
        # The best gain and pan per track: least squares, then a few steps on the loss itself.
        only = start.with_gains(faders_only(self.console), self.song, gains)
        parameters = self._trainable(only)
        evaluator = self._evaluator(self.console, parameters)
        fitter = Fitter(self.song, parameters, self.twins, seed=self.settings.seed, device=self.device)
        before = evaluator.measure(only, parameters)
        settings = FitSettings(self.effort.gain_pan_steps, rate_share=0.25, stream=_STREAM_GAIN_PAN)
        self.state.gain_pan_loss = self._fit_if_better(fitter, evaluator, only, settings, before, "gain and pan")
        faders = parameters.to_graph(only)
        self.state.loss["plain_sum"] = self.whole_loss(without_parts(self.console, set(parts(self.console))))
        self.state.loss["gain_pan"] = self.whole_loss(faders)
        self.state.lowest_loss = self.state.gain_pan_loss
        begun = faders if self._is_gains_and_pans() else self._begun(faders, gains, evaluator)
        self.state.graph = begun.to_json()
        self._save("started", self._trainable(begun))

    def _begun(self, faders: MixGraph, gains: start.Array, evaluator: Evaluator) -> MixGraph:
        """The console with start values."""
        self._report("start", 0.5, "reading filters, dynamics and reverb off the song")
        return begin(
            self.console,
            self.song,
            faders=faders,
            gains=gains,
            loss_of=lambda graph: self._loss_of(evaluator, graph),
            limits=self.limits,
            keep_all=self.effort.keep_all,
        )

    def _fit_console(self, active: MixGraph, fitter: Fitter, evaluator: Evaluator) -> None:
        steps = self.effort.console_steps
        loss = evaluator.measure(active, fitter.parameters)
        halves = [(_STREAM_CONSOLE, 0.0, 1.0), (_STREAM_SPARSE, SPARSITY, 0.7)]
        for half, (stream, sparsity, share) in enumerate(halves):
            settings = FitSettings(steps // 2, sparsity=sparsity, rate_share=share, stream=stream)
            loss = self._fit_if_better(fitter, evaluator, active, settings, loss, f"console {half + 1}/2")
        self.state.lowest_loss = min(self.state.lowest_loss, loss)
        self.state.loss["console"] = self.whole_loss(active, fitter.parameters)
        self._save("fitted", fitter.parameters)

    def _prune_round(self, prune: PruneState, fitter: Fitter, evaluator: Evaluator, number: int) -> None:
        title = f"prune {number}/{self.effort.rounds}"

        def progress(share: float) -> None:
            self._report(title, share, f"{len(prune.graph.processors)} of {self.console_processors} processors left")

        loss = prune_round(
            prune, evaluator, fitter.parameters, method=self.settings.method, number=number, progress=progress
        )
        sparsity = SPARSITY if number < self.effort.rounds else 0.0
        settings = FitSettings(
            self.effort.round_steps,
            sparsity=sparsity,
            rate_share=_SETTLED_RATE_SHARE,
            stream=_STREAM_ROUND + number,
        )
        loss = self._fit_if_better(fitter, evaluator, prune.graph, settings, loss, f"fit {number}/{self.effort.rounds}")
        self.state.removed = list(prune.removed)
        self.state.needed = dict(prune.needed)
        self.state.lowest_stem_error_db = dict(prune.lowest_stem_error_db)
        self.state.lowest_loss = min(prune.lowest_loss, loss)
        self.state.rounds_done = number
        self._save("fitted", fitter.parameters)

    def _fit_if_better(
        self, fitter: Fitter, evaluator: Evaluator, graph: MixGraph, settings: FitSettings, loss: float, title: str
    ) -> float:
        """Fit; keep the old settings where random segments made the song as a whole worse."""
        before = {key: tensor.detach().clone() for key, tensor in fitter.parameters.positions.items()}

        def progress(step: int) -> None:
            self._report(title, step / max(settings.steps, 1), f"loss {loss:.4f}")

        fitter.run(graph, settings, progress=progress)
        after = evaluator.measure(graph, fitter.parameters)
        # A little is given up for sparser weights: the next round of pruning lives off it.
        if after <= loss + self.settings.tolerance * settings.sparsity / SPARSITY / 4:
            return after
        with torch.no_grad():
            for key, tensor in fitter.parameters.positions.items():
                tensor.copy_(before[key])
        return loss

    def _is_gains_and_pans(self) -> bool:
        return self.state.loss["gain_pan"] <= self.settings.tolerance

    def _finish(self, graph: MixGraph, evaluator: Evaluator, *, ceiling: float) -> MixGraph:
        """Tidy, settle, weigh and (if wished) round a pruned graph."""

        def loss_of(candidate: MixGraph) -> float:
            return self._loss_of(evaluator, candidate)

        self._report("tidy", 0.0, f"{len(graph.processors)} processors")
        loss = loss_of(graph)
        shared = FitSettings(self.effort.round_steps, rate_share=_SETTLED_RATE_SHARE, stream=_STREAM_SHARED)
        settled = FitSettings(self.effort.settle_steps, rate_share=_SETTLED_RATE_SHARE, stream=_STREAM_TIDY)
        graph = tidy(
            graph,
            loss_of,
            ceiling=max(loss, min(loss + _TIDY_SHARE * self.settings.tolerance, ceiling)),
            limits=self.limits,
            refit=lambda candidate: self._refitted(candidate, evaluator, shared, "share reverb"),
            activity=activity_of(graph, self.song, self.twins, device=self.device),
        )
        graph = fold(self._refitted(graph, evaluator, settled, "settle"))
        self._report("weigh", 0.0, f"{len(graph.processors)} processors")
        if parts(graph):
            graph = self._weighed(graph, evaluator)
        if self.settings.snap:
            graph = snap(
                graph,
                loss_of=loss_of,
                ceiling=loss_of(graph) + self.settings.tolerance,
                limits=self.limits,
                bpm=self.settings.bpm,
            )
        return self._described(graph)

    def _weighed(self, graph: MixGraph, evaluator: Evaluator) -> MixGraph:
        """The graph with the evidence of its parts."""
        bars = {}
        if self.effort.error_bars or self.settings.snap:
            bars = error_bars(graph, self.song, self.twins, device=self.device, limits=self.limits)
        evaluator.parameters = self._trainable(graph)
        loss = evaluator.refresh(graph)
        # Once it is sure that a part is needed, half of the song tells how much.
        weighed = evidence(graph, lambda part: evaluator.trial([part], ceiling=loss + SURE_FROM), loss=loss, bars=bars)
        evaluator.forget()
        return weighed

    def _refitted(self, graph: MixGraph, evaluator: Evaluator, settings: FitSettings, title: str) -> MixGraph:
        """The graph with its settings fitted a little more, where that helps."""
        if not parts(graph):
            return graph
        parameters = self._trainable(graph)
        fitter = Fitter(self.song, parameters, self.twins, seed=self.settings.seed, device=self.device)
        self._fit_if_better(fitter, evaluator, graph, settings, evaluator.measure(graph, parameters), title)
        return parameters.to_graph(graph)

    def _described(self, graph: MixGraph) -> MixGraph:
        """The graph with its provenance."""
        self.state.loss["pruned"] = self.whole_loss(graph)
        counts = {kind: sum(p.type == kind for p in self.console.processors) for kind in SPECS}
        left = {kind: sum(p.type == kind for p in graph.processors) for kind in SPECS}
        provenance = Provenance(
            seed=self.settings.seed,
            quality=self.settings.quality,
            tolerance=self.settings.tolerance,
            plugins=self.settings.plugins,
            console_processors=self.console_processors,
            loss=Loss(**self.state.loss),
            pruned_ratio={kind: 1.0 - left[kind] / counts[kind] for kind in SPECS if counts[kind]},
            versions=versions(),
        )
        return graph.model_copy(update={"provenance": provenance})

    # ------------------------------------------------------------------ helpers

    def _evaluator(self, graph: MixGraph, parameters: ConsoleParameters) -> Evaluator:
        return Evaluator(
            self.song,
            parameters,
            self.twins,
            nodes=len(graph.nodes),
            device=self.device,
            evaluated_s=self.effort.evaluated_s,
        )

    def _loss_of(self, evaluator: Evaluator, graph: MixGraph) -> float:
        """L_a of any graph over the evaluated windows."""
        return evaluator.measure(graph, self._trainable(graph))

    @torch.no_grad()
    def whole_loss(self, graph: MixGraph, parameters: ConsoleParameters | None = None) -> float:
        """L_a over the whole song as it is reported, rendered by the twins.

        Parameters
        ----------
        parameters : ConsoleParameters, optional
            Settings to use instead of the graph's own.
        """
        plan = plan_of(graph)
        held = parameters or self._trainable(graph)
        values = held.for_plan(plan, held.values())
        out = np.zeros((2, self.song.frames), dtype=np.float32)
        warm_up, block = 3 * LOSS_RATE_HZ, 10 * LOSS_RATE_HZ

        def render(first: int) -> None:
            inputs = self.song.segment(plan.inputs, start=first - warm_up, frames=block + warm_up, device=self.device)
            piece = plan.render(self.twins, inputs, values, start_frame=first - warm_up)[:, warm_up:].cpu().numpy()
            width = min(block, self.song.frames - first)
            out[:, first : first + width] = piece[:, :width]

        each(render, range(0, self.song.frames, block))
        return match_loss(self._song_features(out), self._mix_features)["total"]

    @cached_property
    def _mix_features(self) -> MelFeatures:
        return self._song_features(np.asarray(self.song.mix))

    def _song_features(self, audio: npt.NDArray[np.float32]) -> MelFeatures:
        return MelFeatures(
            tuple(each(lambda n: song_features(audio, loss=self._meter, sizes=(n,)).magnitudes[0], FFT_SIZES))
        )

    def _trainable(self, graph: MixGraph) -> ConsoleParameters:
        return ConsoleParameters(graph, device=self.device, limits=self.limits)

    def _parameters(self, active: MixGraph) -> ConsoleParameters:
        parameters = self._trainable(active)
        with torch.no_grad():
            for key, tensor in parameters.positions.items():
                tensor.copy_(torch.tensor(self.state.positions[key]))
        return parameters

    def _report(self, phase: str, share: float, words: str) -> None:
        if self.progress is not None:
            self.progress(phase, share, words)

    def _save(self, phase: str, parameters: ConsoleParameters) -> None:
        self.state.phase = phase
        self.state.positions = {key: tensor.tolist() for key, tensor in parameters.positions.items()}
        if self.checkpoint is not None:
            self.state.save(self.checkpoint, fingerprint=self.fingerprint)

    def _load(self, resume: bool) -> SearchState:
        if self.checkpoint is None or not resume or not self.checkpoint.exists():
            return SearchState()
        return SearchState.load(self.checkpoint, fingerprint=self.fingerprint)


def versions() -> dict[str, str]:
    """Versions of what a search depends on."""
    return {name: metadata.version(name) for name in ("mixbridge", "torch", "grafx", "torchcomp", "numpy", "soxr")}
