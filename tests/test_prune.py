"""Trials and pruning: a trial equals a full render, stems are judged by what is heard of them, methods keep rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mixbridge.bridge.choices import Pruning
from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Node, Processor, Stem
from mixbridge.bridge.metrics import LOSS_RATE_HZ
from mixbridge.bridge.processors.specs import SEND_LEVEL, spec_of
from mixbridge.bridge.processors.twins import TwinSettings, make_twins
from mixbridge.bridge.render import render_graph
from mixbridge.bridge.search.evaluate import Evaluator
from mixbridge.bridge.search.importance import segment_slopes
from mixbridge.bridge.search.parameters import ConsoleParameters, parts, plan_of, volume_id, without_parts
from mixbridge.bridge.search.prune import STEM_TOLERANCE_DB, PruneState, prune_round
from mixbridge.bridge.search.segments import SCORED_FRAMES, WARM_UP_FRAMES
from mixbridge.bridge.search.working_set import WorkingSet

from .dsp import programme
from .mixes import chain_edges
from .test_engine import FADE, band

CPU = torch.device("cpu")
NAMES = ("kick", "bass", "keys")


def song_of(stems: list[np.ndarray], mix: np.ndarray) -> WorkingSet:
    return WorkingSet(NAMES, [np.asarray(s, dtype=np.float32) for s in stems], np.asarray(mix, dtype=np.float32))


@pytest.fixture(scope="module")
def song() -> WorkingSet:
    stems = [0.3 * programme(seconds=1.5, rate_hz=LOSS_RATE_HZ, seed=n) for n in range(len(NAMES))]
    return song_of(stems, 0.8 * stems[0] + 0.5 * stems[1] + 0.3 * stems[2])


def twins() -> torch.nn.ModuleDict:
    return make_twins(TwinSettings.for_search(sample_rate_hz=LOSS_RATE_HZ, design_rate_hz=LOSS_RATE_HZ))


def evaluator_of(graph: MixGraph, song: WorkingSet) -> Evaluator:
    parameters = ConsoleParameters(graph, device=CPU)
    return Evaluator(song, parameters, twins(), nodes=len(graph.nodes), device=CPU)


def routed_band() -> MixGraph:
    graph = band(volume=FADE)
    # A compressor after the sum makes the order of things matter, a gain keeps it out of silence.
    glue = Processor(
        type="compressor", id="glue", parameters={**spec_of("compressor").defaults(), "threshold_db": -40.0}
    )
    edges = [*graph.edges, {"source": "master", "target": "glue"}]
    return MixGraph.model_validate({**graph.model_dump(), "nodes": [*graph.nodes, glue], "edges": edges})


def test_trials_equal_full_renders_in_graphs_with_sends_and_automation(song: WorkingSet) -> None:
    graph = routed_band()
    evaluator = evaluator_of(graph, song)
    everything = [*parts(graph), *(volume_id(c.id) for c in graph.channels() if c.volume)]
    random = np.random.default_rng(1)
    choices = [list(random.choice(everything, size=random.integers(1, 5), replace=False)) for _ in range(6)]
    choices += [["kick>hall"], ["hall/reverb"], ["drums/compressor"], ["bass@volume"], everything]
    choices += [[name for name in everything if ">hall" in name]]
    for removed in choices:
        evaluator.refresh(graph)
        quick = evaluator.trial(removed)
        smaller = without_parts(graph, removed)
        assert not set(removed) & set(parts(smaller))
        assert quick == pytest.approx(evaluator.refresh(smaller), abs=1e-5), removed


def test_a_trial_of_nothing_costs_nothing(song: WorkingSet) -> None:
    evaluator = evaluator_of(band(), song)
    loss = evaluator.refresh(band())
    assert evaluator.trial([]) == loss
    assert evaluator.trials == 0


def test_without_its_last_send_a_return_is_gone() -> None:
    graph = band()
    sends = [name for name, kind in parts(graph).items() if kind == "send"]
    assert len(sends) == 4
    assert any(p.type == "reverb" for p in without_parts(graph, sends[:3]).processors)
    smaller = without_parts(graph, sends)
    assert not smaller.returns and not any(p.type == "reverb" for p in smaller.processors)
    assert plan_of(smaller).names_by_type.keys() == {"eq", "gain_pan", "compressor"}


# ---------------------------------------------------------------------------------- stems


def tracks(chains: dict[str, dict[str, dict[str, float]]]) -> MixGraph:
    """Tracks straight into the master; per track, its processors and what of their settings is no default."""
    nodes: list[Node] = []
    edges: list[Edge] = []
    for name in NAMES:
        chain = [
            Processor(type=kind, id=f"{name}/{kind}", parameters={**spec_of(kind).defaults(), **own})
            for kind, own in chains.get(name, {}).items()
        ]
        nodes += [Stem(id=name, name=name, file=f"{name}.wav"), *chain]
        edges += chain_edges(name, chain, "master")
    return MixGraph(name="s", sample_rate_hz=LOSS_RATE_HZ, frames=45000, nodes=[*nodes, Master()], edges=edges)


def ideal(graph: MixGraph, stems: list[np.ndarray]) -> WorkingSet:
    """A song whose mix the graph matches exactly."""
    by_name = dict(zip(NAMES, stems, strict=True))
    return song_of(stems, render_graph(graph, lambda stem: by_name[stem.id]))


def prune(
    graph: MixGraph, song: WorkingSet, method: str = "brute_force", **limits: float
) -> tuple[PruneState, Evaluator]:
    parameters = ConsoleParameters(graph, device=CPU)
    evaluator = Evaluator(song, parameters, twins(), nodes=len(graph.nodes), device=CPU)
    state = PruneState(graph, lowest_loss=evaluator.refresh(graph), tolerance=limits.pop("tolerance"), **limits)
    loss = prune_round(state, evaluator, parameters, method=method, number=1)
    assert loss <= state.ceiling
    return state, evaluator


LOW_PASSED = {"keys": {"eq": {"lowpass_hz": 1200.0}}}


def test_a_rare_stem_keeps_what_the_mix_hardly_misses() -> None:
    stems = [0.3 * programme(seconds=4.0, rate_hz=LOSS_RATE_HZ, seed=n) for n in range(3)]
    # The keys play for a third of a second and alone.
    stems[2][:, : 2 * LOSS_RATE_HZ] = 0.0
    stems[2][:, 2 * LOSS_RATE_HZ + 10000 :] = 0.0
    for other in stems[:2]:
        other[:, 2 * LOSS_RATE_HZ : 2 * LOSS_RATE_HZ + 12000] = 0.0
    graph = tracks(LOW_PASSED)
    song = ideal(graph, stems)
    deaf, evaluator = prune(graph, song, tolerance=0.4, stem_tolerance_db=math.inf)
    assert deaf.removed == ["keys/eq"]
    evaluator.refresh(graph)
    evaluator.hear()
    error_db = evaluator.judge(["keys/eq"]).stem_error_db
    assert error_db["keys"] > 3.0 > 1.0 > max(error_db["kick"], error_db["bass"])
    kept, _ = prune(graph, song, tolerance=0.4)
    assert kept.removed == []


def test_a_masked_stem_keeps_nothing() -> None:
    stems = [0.3 * programme(seconds=1.5, rate_hz=LOSS_RATE_HZ, seed=n) for n in range(3)]
    random = np.random.default_rng(0)
    stems[0] = 0.3 * random.standard_normal(stems[0].shape)
    stems[2] *= 1e-3
    graph = tracks(LOW_PASSED)
    state, evaluator = prune(graph, ideal(graph, stems), tolerance=0.02)
    assert state.removed == ["keys/eq"]
    assert max(evaluator.stem_error_db.values()) < STEM_TOLERANCE_DB


def test_what_makes_a_stem_better_is_no_harm() -> None:
    stems = [0.3 * programme(seconds=1.5, rate_hz=LOSS_RATE_HZ, seed=n) for n in range(3)]
    song = ideal(tracks({}), stems)
    state, evaluator = prune(tracks(LOW_PASSED), song, tolerance=0.001)
    assert state.removed == ["keys/eq"]
    assert max(evaluator.stem_error_db.values()) < 0.1


# -------------------------------------------------------------------------------- methods


@pytest.fixture(scope="module")
def faded() -> tuple[MixGraph, WorkingSet]:
    """Faders are all that matters; the rest, a return with its sends included, is next to silent."""
    idle = {
        "eq": {"bell1_db": 0.02},
        "compressor": {"threshold_db": -3.0, "ratio": 1.05},
        "imager": {"width": 0.999},
    }
    graph = tracks({n: {**idle, "gain_pan": {"gain_db": g}} for n, g in zip(NAMES, (-3.0, 4.0, -8.0), strict=True)})
    reverb = Processor(type="reverb", id="hall/reverb", parameters={**spec_of("reverb").defaults(), "level_db": 0.0})
    sends = [Edge(source=graph.end(n), target="hall", send_db=-55.0) for n in NAMES]
    graph = graph.rebuilt(
        [*graph.nodes, Bus(id="hall", name="hall"), reverb],
        [*graph.edges, *sends, *chain_edges("hall", [reverb], "master")],
    )
    stems = [0.3 * programme(seconds=1.2, rate_hz=LOSS_RATE_HZ, seed=n) for n in range(3)]
    return graph, ideal(graph, stems)


@pytest.mark.parametrize("method", list(Pruning))
def test_every_method_leaves_the_faders_alone(faded: tuple[MixGraph, WorkingSet], method: str) -> None:
    graph, song = faded
    state, evaluator = prune(graph, song, method, tolerance=0.03)
    assert {p.id for p in state.graph.processors} == {f"{n}/gain_pan" for n in NAMES}
    assert not state.graph.returns
    assert sorted(state.removed) == sorted(set(parts(graph)) - set(parts(state.graph)))
    assert parts(without_parts(graph, state.removed)) == parts(state.graph)
    assert evaluator.graph == state.graph


def test_estimates_save_evaluations(faded: tuple[MixGraph, WorkingSet]) -> None:
    graph, song = faded
    trials = {method: prune(graph, song, method, tolerance=0.03)[1].trials for method in ("brute_force", "taylor")}
    assert trials["taylor"] < trials["brute_force"]


def test_slopes_are_those_of_the_loss(faded: tuple[MixGraph, WorkingSet]) -> None:
    graph, song = faded
    parameters = ConsoleParameters(graph, device=CPU)
    evaluator = Evaluator(song, parameters, twins(), nodes=len(graph.nodes), device=CPU)
    plan = plan_of(graph)
    with torch.no_grad():
        # Away from the exact match, where the loss has a kink.
        parameters.positions["gain_pan:gain_db"].add_(0.05)
        parameters.positions["send:level_db"].add_(0.5)
    found = segment_slopes(plan, evaluator, parameters, 0)

    def loss_at(key: str, row: int, position: float) -> float:
        tensor = parameters.positions[key]
        with torch.no_grad():
            before = float(tensor[row])
            tensor[row] = position
            values = parameters.for_plan(plan, parameters.values())
            inputs = song.segment(plan.inputs, start=0, frames=WARM_UP_FRAMES + SCORED_FRAMES, device=CPU)
            target = song.target(start=0, frames=WARM_UP_FRAMES + SCORED_FRAMES, device=CPU)
            output = plan.render(evaluator.twins, inputs, values)[:, WARM_UP_FRAMES:]
            tensor[row] = before
            return float(evaluator.meter(output, evaluator.meter.features(target[:, WARM_UP_FRAMES:])).total)

    step = 0.02
    below, above = (loss_at("gain_pan:mix", 1, 1.0 + side * step) for side in (-1, 1))
    assert found["bass/gain_pan"] == pytest.approx((above - below) / (2.0 * step), rel=0.05)
    middle = float(parameters.positions["send:level_db"][0])
    below, above = (loss_at("send:level_db", 0, middle + side * step) for side in (-1, 1))
    db = 2.0 * step * (SEND_LEVEL.maximum - SEND_LEVEL.minimum)
    assert found["kick>hall"] == pytest.approx((above - below) / db * 20.0 / math.log(10.0), rel=0.1)


@pytest.mark.parametrize("method", list(Pruning))
def test_there_may_be_nothing_to_remove(method: str, song: WorkingSet) -> None:
    graph = tracks({})
    parameters = ConsoleParameters(graph, device=CPU)
    evaluator = Evaluator(song, parameters, twins(), nodes=len(graph.nodes), device=CPU)
    state = PruneState(graph, lowest_loss=math.inf, tolerance=0.01)
    assert prune_round(state, evaluator, parameters, method=method, number=4) == state.lowest_loss
    assert state.removed == []
