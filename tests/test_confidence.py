"""Confidence: signals inside a graph, error bars against the loss they stand for, evidence and its words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixbridge.bridge.graph import Bus, Edge, Evidence, Master, MixGraph, Node, Processor, Stem, VolumePoint
from mixbridge.bridge.metrics import LOSS_RATE_HZ, match_loss
from mixbridge.bridge.processors.specs import MIX, spec_of
from mixbridge.bridge.processors.twins import TwinSettings, make_twins
from mixbridge.bridge.search.activity import activity_of
from mixbridge.bridge.search.confidence import Confidence, confidence, describe_evidence, evidence
from mixbridge.bridge.search.node_signals import NodeSignals
from mixbridge.bridge.search.parameters import ConsoleParameters, plan_of
from mixbridge.bridge.search.rewrite import with_nodes
from mixbridge.bridge.search.sensitivity import BAR_LOSS, choose_windows, error_bars
from mixbridge.bridge.search.working_set import WorkingSet

from .dsp import programme
from .mixes import chain_edges

CPU = torch.device("cpu")
SECONDS = 6.0


@pytest.fixture(scope="module")
def twins() -> torch.nn.ModuleDict:
    return make_twins(TwinSettings.for_search(sample_rate_hz=LOSS_RATE_HZ, design_rate_hz=LOSS_RATE_HZ))


def processor(kind: str, node_id: str, *, mix: float = 1.0, **values: float) -> Processor:
    return Processor(type=kind, id=node_id, parameters=spec_of(kind).defaults() | values, mix=mix)


@pytest.fixture(scope="module")
def graph() -> MixGraph:
    """A loud track that sends, a quiet one with a ride in a compressed group, a return and a master."""
    chains: dict[str, list[Processor]] = {
        "loud": [
            processor("eq", "loud/eq", bell2_db=4.0, bell2_hz=900.0, highpass_hz=60.0),
            processor("gain_pan", "loud/g", gain_db=-4.0, pan=-0.2),
        ],
        "quiet": [processor("gain_pan", "quiet/g", gain_db=-38.0, pan=0.3)],
        "group": [processor("compressor", "group/c", threshold_db=-30.0, ratio=3.0, mix=0.8)],
        "verb": [processor("reverb", "verb/r", level_db=-4.0)],
        "master": [processor("imager", "master/w", width=1.2)],
    }
    ride = [VolumePoint(time_s=1.0, gain_db=0.0), VolumePoint(time_s=2.0, gain_db=-6.0)]
    channels: list[tuple[Stem | Bus | Master, str | None]] = [
        (Stem(id="loud", name="loud", file="loud.wav"), "group"),
        (Stem(id="quiet", name="quiet", file="quiet.wav", volume=ride), "group"),
        (Bus(id="group", name="group"), "master"),
        (Bus(id="verb", name="verb"), "master"),
        (Master(), None),
    ]
    nodes: list[Node] = []
    edges = [Edge(source="loud/g", target="verb", send_db=-9.0), Edge(source="quiet/g", target="verb", send_db=-20.0)]
    for channel, target in channels:
        nodes += [channel, *chains[channel.id]]
        edges += chain_edges(channel.id, chains[channel.id], target)
    frames = int(SECONDS * LOSS_RATE_HZ)
    return MixGraph(name="song", sample_rate_hz=LOSS_RATE_HZ, frames=frames, nodes=nodes, edges=edges)


def rendered(graph: MixGraph, song: WorkingSet, twins: torch.nn.ModuleDict) -> np.ndarray:
    plan = plan_of(graph)
    parameters = ConsoleParameters(graph, device=CPU)
    values = parameters.values()
    # Trainable settings keep off the ends of their ranges; here what is off shall be off.
    for kind in {p.type for p in graph.processors}:
        nodes = [graph.node(node_id) for node_id in parameters.rows[kind]]
        for name in values[kind]:
            column = [n.mix if name == MIX.name else n.parameters[name] for n in nodes if isinstance(n, Processor)]
            values[kind][name] = torch.tensor(column)
    with torch.no_grad():
        inputs = song.segment(plan.inputs, start=0, frames=song.frames, device=CPU)
        out = plan.render(twins, inputs, parameters.for_plan(plan, values), start_frame=0)
    return np.asarray(out.numpy())


@pytest.fixture(scope="module")
def song(graph: MixGraph, twins: torch.nn.ModuleDict) -> WorkingSet:
    """A mix that the graph nearly reaches: its render and noise of its own."""
    stems = []
    for number in range(2):
        audio = programme(seconds=SECONDS, rate_hz=LOSS_RATE_HZ, seed=number)
        stems.append(np.asarray(0.5 * audio, dtype=np.float32))
    dry = WorkingSet(("loud", "quiet"), stems, stems[0])
    clean = rendered(graph, dry, twins)
    noise = np.random.default_rng(9).standard_normal(clean.shape)
    return WorkingSet(dry.stem_ids, stems, np.asarray(clean + 0.02 * noise, dtype=np.float32))


@pytest.fixture(scope="module")
def bars(graph: MixGraph, song: WorkingSet, twins: torch.nn.ModuleDict) -> dict[str, dict[str, float]]:
    return error_bars(graph, song, twins, device=CPU)


def test_signals_inside_are_those_of_the_search(graph: MixGraph, song: WorkingSet, twins: torch.nn.ModuleDict) -> None:
    signals = NodeSignals(graph, song, twins, start=0, frames=song.frames, device=CPU)
    np.testing.assert_allclose(signals.output.numpy(), rendered(graph, song, twins), atol=1e-5)


@pytest.mark.parametrize("node_id", ["loud/eq", "loud/g", "quiet/g", "group/c", "verb/r", "master/w"])
def test_a_changed_setting_gives_the_mix_of_a_changed_graph(
    node_id: str, graph: MixGraph, song: WorkingSet, twins: torch.nn.ModuleDict
) -> None:
    node = next(p for p in graph.processors if p.id == node_id)
    parameter = spec_of(node.type).parameters[0]
    other = 0.5 * (parameter.minimum + parameter.maximum)
    signals = NodeSignals(graph, song, twins, start=0, frames=song.frames, device=CPU)
    same, changed = ({**node.parameters, MIX.name: node.mix} for _ in range(2))
    changed[parameter.name] = other
    mixes = signals.mix_with(node_id, signals.with_settings(node, [same, changed]))
    moved = node.model_copy(update={"parameters": node.parameters | {parameter.name: other}})
    np.testing.assert_allclose(mixes[0].numpy(), rendered(graph, song, twins), atol=1e-4)
    expected = rendered(with_nodes(graph, [moved]), song, twins)
    np.testing.assert_allclose(mixes[1].numpy(), expected, atol=1e-4 * np.abs(expected).max())


def test_a_changed_send_gives_the_mix_of_a_changed_graph(
    graph: MixGraph, song: WorkingSet, twins: torch.nn.ModuleDict
) -> None:
    signals = NodeSignals(graph, song, twins, start=0, frames=song.frames, device=CPU)
    mix = signals.mix_with_sends("quiet", "verb", [-3.0])[0]
    edges = [e.model_copy(update={"send_db": -3.0}) if e.source == "quiet/g" and e.send_db else e for e in graph.edges]
    expected = rendered(graph.model_copy(update={"edges": edges}), song, twins)
    np.testing.assert_allclose(mix.numpy(), expected, atol=1e-5)


def test_only_settings_that_do_something_have_error_bars(bars: dict[str, dict[str, float]]) -> None:
    assert set(bars["loud/eq"]) == {"highpass_hz", "bell2_hz", "bell2_db", "bell2_q"}
    assert MIX.name in bars["group/c"]
    assert MIX.name not in bars["loud/g"]
    assert set(bars["loud>verb"]) == {"send_db"}
    assert all(bar > 0.0 for own in bars.values() for bar in own.values())


@pytest.mark.parametrize(
    ("node_id", "name"),
    [("loud/g", "gain_db"), ("loud/g", "pan"), ("loud/eq", "bell2_db"), ("loud/eq", "bell2_hz"), ("verb/r", "level_db"),
     ("group/c", "threshold_db"), ("group/c", "ratio"), ("verb/r", "decay_s"), ("master/w", "width")],
)  # fmt: skip
def test_at_the_end_of_its_bar_a_setting_costs_what_the_bar_stands_for(
    node_id: str, name: str, graph: MixGraph, song: WorkingSet, twins: torch.nn.ModuleDict,
    bars: dict[str, dict[str, float]],
) -> None:  # fmt: skip
    node = next(p for p in graph.processors if p.id == node_id)
    before = match_loss(rendered(graph, song, twins), song.mix)["total"]
    costs = []
    for sign in (1.0, -1.0):
        moved = node.parameters | {name: node.parameters[name] + sign * bars[node_id][name]}
        changed = with_nodes(graph, [node.model_copy(update={"parameters": moved})])
        costs.append(match_loss(rendered(changed, song, twins), song.mix)["total"] - before)
    assert 0.3 * BAR_LOSS < max(costs) < 3.0 * BAR_LOSS


def test_the_fader_of_a_quiet_track_is_known_less_well(bars: dict[str, dict[str, float]]) -> None:
    assert bars["quiet/g"]["gain_db"] > 4.0 * bars["loud/g"]["gain_db"]


def test_windows_cover_a_channel_that_is_heard_once() -> None:
    loudness = {"always": np.ones(20), "once": np.eye(20)[13]}
    assert 13 in choose_windows(loudness, 2)
    assert choose_windows({"silent": np.zeros(20)}, 2) == [0]


def test_activity_tells_a_gain_from_a_compressor(song: WorkingSet, twins: torch.nn.ModuleDict, graph: MixGraph) -> None:
    found = activity_of(graph, song, twins, device=CPU)
    assert found["loud/g"].residual_db < -60.0
    assert found["loud/g"].gains.left > found["loud/g"].gains.right
    assert found["group/c"].residual_db > -40.0
    assert found["loud/eq"].residual_db > -40.0


def test_every_processor_and_send_has_evidence(graph: MixGraph, bars: dict[str, dict[str, float]]) -> None:
    asked: list[str] = []

    def loss_without(part: str) -> float:
        asked.append(part)
        return 0.5 if part == "loud/g" else 0.301

    found = evidence(graph, loss_without, loss=0.3, bars=bars)
    assert set(asked) == {*(p.id for p in graph.processors), "loud>verb", "quiet>verb"}
    fader = next(p for p in found.processors if p.id == "loud/g")
    assert fader.evidence is not None
    assert fader.evidence.loss_increase == pytest.approx(0.2)
    assert fader.evidence.uncertainty == pytest.approx(bars["loud/g"])
    assert all(s.evidence is not None for s in found.all_sends().values())
    assert MixGraph.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("increase", "grade", "words"),
    [
        (0.0341, Confidence.sure, "sure: the loss grows by 0.034 without it"),
        (0.004, Confidence.likely, "likely: the loss grows by 0.004 without it"),
        (0.0011, Confidence.weak, "weak: the loss grows by 0.001 without it"),
        (-0.002, Confidence.weak, "weak: the loss hardly changes without it"),
    ],
)
def test_evidence_in_words(increase: float, grade: Confidence, words: str) -> None:
    known = Evidence(loss_increase=increase)
    assert confidence(known) == grade
    assert describe_evidence(processor("eq", "e").model_copy(update={"evidence": known})) == words
    assert describe_evidence(Edge(source="a", target="b", send_db=-3.0, evidence=known)) == words
    assert describe_evidence(processor("eq", "e")) == ""
