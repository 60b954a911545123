"""The search's engine: sends and volume automation render as the reference does; settings travel both ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from mixbridge.bridge.errors import GraphError
from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Node, Processor, Stem, VolumePoint, volume_gains
from mixbridge.bridge.metrics import LOSS_RATE_HZ
from mixbridge.bridge.processors.specs import SEND_LEVEL, spec_of
from mixbridge.bridge.processors.twins import TwinSettings, make_twins
from mixbridge.bridge.render import render_graph
from mixbridge.bridge.search.engine import SEND, VOLUME_AUTOMATION, volume_curves
from mixbridge.bridge.search.parameters import ConsoleParameters, plan_of, send_id

from .dsp import null_db, programme, random_parameters
from .mixes import chain_edges, routed

CPU = torch.device("cpu")

LINEAR_KINDS = ("eq", "imager", "gain_pan", "compressor")


def at_search_rate(graph: MixGraph) -> MixGraph:
    return graph.model_copy(update={"sample_rate_hz": LOSS_RATE_HZ})


def rendered_by_the_engine(graph: MixGraph, stems: dict[str, np.ndarray], *, start_frame: int = 0) -> np.ndarray:
    plan = plan_of(graph)
    parameters = ConsoleParameters(graph, device=CPU)
    twins = make_twins(TwinSettings.exact(sample_rate_hz=LOSS_RATE_HZ))
    with torch.no_grad():
        inputs = torch.tensor(np.stack([stems[name] for name in plan.inputs]), dtype=torch.float32)
        values = parameters.for_plan(plan, parameters.values())
        return plan.render(twins, inputs, values, start_frame=start_frame).numpy()


@pytest.fixture(scope="module")
def sounds() -> list[np.ndarray]:
    return [0.3 * programme(seconds=0.5, rate_hz=LOSS_RATE_HZ, seed=n).astype(np.float32) for n in range(4)]


@settings(
    max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(graph=routed(LINEAR_KINDS, searched=True))
def test_a_graph_with_sends_and_automation_nulls_against_the_reference(
    graph: MixGraph, sounds: list[np.ndarray]
) -> None:
    graph = at_search_rate(graph)
    # What positions snap to the end of a range is compared after the snap.
    graph = ConsoleParameters(graph, device=CPU).to_graph(graph)
    stems = {s.id: sounds[i] for i, s in enumerate(graph.stems)}
    expected = render_graph(graph, lambda stem: stems[stem.id])
    assert null_db(rendered_by_the_engine(graph, stems), expected) < -60.0


@given(graph=routed(LINEAR_KINDS))
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_pans_and_sends_that_move_are_refused_and_never_dropped(graph: MixGraph) -> None:
    moves = any(c.pan for c in graph.channels()) or any(e.volume for e in graph.edges)
    if moves:
        with pytest.raises(GraphError, match="pan and sends has no twin"):
            plan_of(graph)
    else:
        plan_of(graph)


def band(*, volume: list[VolumePoint] | None = None) -> MixGraph:
    """Two tracks in a group and one outside, all sending into one return with a reverb."""
    chains = {"kick": ("eq", "gain_pan"), "bass": (), "keys": ("gain_pan",), "drums": ("compressor",)}
    parents = {"kick": "drums", "bass": "drums", "keys": "master", "drums": "master"}
    nodes: list[Node] = []
    edges: list[Edge] = []
    random = np.random.default_rng(0)
    for channel, kinds in chains.items():
        chain = [
            Processor(type=k, id=f"{channel}/{k}", parameters=random_parameters(spec_of(k), random)) for k in kinds
        ]
        automation = (volume or []) if channel in ("bass", "keys") else []
        nodes.append(
            Bus(id=channel, name=channel, volume=automation)
            if channel == "drums"
            else Stem(id=channel, name=channel, file=f"{channel}.wav", volume=automation)
        )
        nodes += chain
        edges += chain_edges(channel, chain, parents[channel])
        edges.append(Edge(source=chain[-1].id if chain else channel, target="hall", send_db=-9.0))
    reverb = Processor(type="reverb", id="hall/reverb", parameters=random_parameters(spec_of("reverb"), random))
    nodes += [Bus(id="hall", name="hall"), reverb, Master(volume=volume or [])]
    edges += chain_edges("hall", [reverb], "master")
    return MixGraph(name="band", sample_rate_hz=LOSS_RATE_HZ, frames=LOSS_RATE_HZ // 2, nodes=nodes, edges=edges)


FADE = [
    VolumePoint(time_s=0.05, gain_db=-80.0),
    VolumePoint(time_s=0.3, gain_db=0.0),
    VolumePoint(time_s=0.4, gain_db=-6.0),
]


def test_a_segment_knows_its_place_in_the_song(sounds: list[np.ndarray]) -> None:
    graph = band(volume=FADE).without({"drums/compressor", "hall/reverb", "kick/eq"})
    stems = {s.id: sounds[i] for i, s in enumerate(graph.stems)}
    whole = rendered_by_the_engine(graph, stems)
    start = LOSS_RATE_HZ // 5
    part = rendered_by_the_engine(graph, {n: a[:, start:] for n, a in stems.items()}, start_frame=start)
    np.testing.assert_allclose(part, whole[:, start:], atol=1e-6)
    elsewhere = rendered_by_the_engine(graph, {n: a[:, start:] for n, a in stems.items()})
    assert null_db(elsewhere, whole[:, start:]) > -20.0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_curves_are_those_of_the_graph(count: int) -> None:
    points = FADE[:count]
    times = torch.tensor([[p.time_s for p in points] + [9.0] * (3 - count)], dtype=torch.float64)
    gains = torch.tensor([[p.gain_db for p in points] + [points[-1].gain_db] * (3 - count)])
    if count == 1:
        times[0, 2] = 10.0
    found = volume_curves(times, gains, start_frame=-3000, frames=20000)[0].numpy()
    expected = volume_gains(points, frames=17000, sample_rate_hz=LOSS_RATE_HZ)
    np.testing.assert_allclose(found[3000:], expected, atol=1e-5)
    np.testing.assert_allclose(found[:3000], expected[0], atol=1e-6)


def test_sends_and_breakpoints_learn_and_return_into_the_graph(sounds: list[np.ndarray]) -> None:
    graph = band(volume=FADE)
    parameters = ConsoleParameters(graph, device=CPU)
    assert parameters.rows[SEND] == [send_id(*ends) for ends in graph.all_sends()]
    plan = plan_of(graph)
    stems = {s.id: sounds[i] for i, s in enumerate(graph.stems)}
    inputs = torch.tensor(np.stack([stems[name] for name in plan.inputs]))
    twins = make_twins(TwinSettings.for_search(sample_rate_hz=LOSS_RATE_HZ, design_rate_hz=LOSS_RATE_HZ))
    plan.render(twins, inputs, parameters.for_plan(plan, parameters.values())).square().mean().backward()
    for key in (f"{SEND}:level_db", f"{VOLUME_AUTOMATION}:gain_db"):
        gradient = parameters.positions[key].grad
        assert gradient is not None and bool((gradient != 0.0).all())
    with torch.no_grad():
        parameters.positions[f"{SEND}:level_db"].add_(0.1)
        parameters.positions[f"{VOLUME_AUTOMATION}:gain_db"].mul_(0.5)
    after = parameters.to_graph(graph.without({"kick/gain_pan"}))
    span = SEND_LEVEL.maximum - SEND_LEVEL.minimum
    for send in after.all_sends().values():
        assert send.send_db == pytest.approx(-9.0 + 0.1 * span, abs=1e-3)
    assert [p.time_s for p in after.channel("bass").volume] == [p.time_s for p in FADE]
    assert after.channel("master").volume[1].gain_db == pytest.approx(-40.0, abs=1e-3)
    MixGraph.from_json(after.to_json())


def test_a_send_weighs_its_gain_and_a_processor_its_wet_share() -> None:
    parameters = ConsoleParameters(band(), device=CPU)
    weights = parameters.mixes()
    assert weights["kick>hall"] == pytest.approx(10 ** (-9 / 20), rel=1e-4)
    assert weights["hall/reverb"] == pytest.approx(1.0)
    assert len(weights) == 5 + 4


def test_a_return_that_nothing_feeds_is_left_out(sounds: list[np.ndarray]) -> None:
    graph = band()
    silent = graph.without_sends(set(graph.all_sends()))
    stems = {s.id: sounds[i] for i, s in enumerate(graph.stems)}
    assert "hall/reverb" not in plan_of(silent).names_by_type.get("reverb", [])
    expected = render_graph(silent, lambda stem: stems[stem.id])
    assert null_db(rendered_by_the_engine(silent, stems), expected) < -60.0
