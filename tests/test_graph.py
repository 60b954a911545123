"""graph.json: round trips, topology rules, and errors that name the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbridge.bridge.choices import DEFAULT_CONSOLE
from mixbridge.bridge.console import build_console, load_console
from mixbridge.bridge.errors import GraphError, ParameterError
from mixbridge.bridge.graph import (
    MixGraph,
    PanPoint,
    Processor,
    Stem,
    VolumePoint,
    pan_automation_gains,
    volume_gains,
)
from mixbridge.bridge.processors.specs import SPECS, spec_of
from mixbridge.bridge.render import buses_inner_first, render_graph

from .dsp import random_parameters
from .mixes import routed

NAMES = ["#kick", "a\"b'c", "音", "two words", ";x", "`"]


def console(
    names: list[str] | None = None, groups: dict[str, list[str]] | None = None, *, preset: str = DEFAULT_CONSOLE
) -> MixGraph:
    chosen = names or ["kick", "bass"]
    stems = [Stem(id=n, name=n, file=f"{n}.wav") for n in chosen]
    return build_console(
        name="song", sample_rate_hz=44100, start_frame=0, frames=44100, stems=stems,
        groups={"all": chosen} if groups is None else groups, preset=load_console(preset),
    )  # fmt: skip


@st.composite
def graphs(draw: st.DrawFn) -> MixGraph:
    """Pruned consoles with random names, groups and settings."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    grouped = names[: draw(st.integers(0, len(names)))]
    full = console(names, {"group": grouped} if grouped else {})
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    keep = draw(st.integers(0, 6))
    chosen = {p.id for p in random.permutation(np.array(full.processors, dtype=object))[keep:]}
    sparse = full.without(chosen)
    data = json.loads(sparse.to_json())
    for node in data["nodes"]:
        if node["type"] in SPECS:
            node["parameters"] = random_parameters(spec_of(node["type"]), random)
            node["mix"] = float(random.random())
    return MixGraph.from_json(json.dumps(data))


@given(graph=graphs())
@settings(max_examples=40, deadline=None)
def test_load_save_load_is_stable(graph: MixGraph, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("graph") / "graph.json"
    graph.save(path)
    again = MixGraph.load(path)
    assert again == graph
    assert again.to_json() == path.read_text(encoding="utf-8")


def test_a_law_is_kept_and_must_concern_the_type() -> None:
    data = json.loads(console(preset="paper").to_json())
    nodes = {n["id"]: n for n in data["nodes"]}
    nodes["kick/gate"]["law"] = "lsp"
    graph = MixGraph.from_json(json.dumps(data))
    again = MixGraph.from_json(graph.to_json())
    assert {p.id: p.law for p in again.processors if p.law} == {"kick/gate": "lsp"}
    for node, law in (("kick/eq", "lsp"), ("kick/gate", "nobody's")):
        broken = json.loads(graph.to_json())
        next(n for n in broken["nodes"] if n["id"] == node)["law"] = law
        with pytest.raises(GraphError, match=law):
            MixGraph.from_json(json.dumps(broken))


def test_a_console_has_the_types_that_have_a_law() -> None:
    stems = [Stem(id="kick", name="kick", file="kick.wav")]
    graph = build_console(
        name="song", sample_rate_hz=44100, start_frame=0, frames=10, stems=stems, groups={},
        preset=load_console(), laws={"gate": "lsp", "gain_pan": ""},
    )  # fmt: skip
    assert [(p.type, p.law) for p in graph.chain("kick")] == [("gate", "lsp"), ("gain_pan", "")]


def test_console_has_the_chains_of_its_preset() -> None:
    graph, preset = console(["a", "b", "c"], {"g": ["a", "b"]}), load_console()
    chains = {"a": preset.track, "b": preset.track, "c": preset.track, "group:g": preset.group, "master": preset.master}
    chains |= {f"return:{r.name}": r.chain for r in preset.returns}
    assert {c.id: tuple(p.kind for p in graph.chain(c.id)) for c in graph.channels()} == chains
    returns = [b.id for b in graph.returns]
    assert [c.id for c in graph.children("master")] == ["c", "group:g", *returns]
    assert set(graph.all_sends()) == {(stem, bus) for stem in "abc" for bus in returns}
    assert graph.parent("a").id == "group:g"  # type: ignore[union-attr]


def test_a_stem_named_like_a_group_node_gets_no_clash() -> None:
    graph = console(["group:g", "b"], {"g": ["group:g"]})
    assert len({n.id for n in graph.nodes}) == len(graph.nodes)


def test_unknown_console_is_refused() -> None:
    with pytest.raises(ParameterError, match="full"):
        load_console("../../etc/passwd")


@given(graph=graphs(), data=st.data())
@settings(max_examples=30, deadline=None)
def test_without_keeps_the_order_of_what_is_left(graph: MixGraph, data: st.DataObject) -> None:
    ids = [p.id for p in graph.processors]
    gone = set(data.draw(st.lists(st.sampled_from(ids), unique=True))) if ids else set()
    smaller = graph.without(gone)
    for channel in graph.channels():
        kept = [p.id for p in graph.chain(channel.id) if p.id not in gone]
        assert [p.id for p in smaller.chain(channel.id)] == kept
        before, after = graph.parent(channel.id), smaller.parent(channel.id)
        assert (before and before.id) == (after and after.id)


def change(path: str, value: object) -> str:
    """The JSON of a small console with one field replaced (or removed when value is ...)."""
    data = json.loads(console().to_json())
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    target = data
    for parent in parents:
        target = target[parent]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", "else", "format"),
        ("schema_version", 99, "schema_version"),
        ("sample_rate_hz", "fast", "sample_rate_hz"),
        ("sample_rate_hz", 7, "sample_rate_hz"),
        ("frames", -1, "frames"),
        ("nodes", {}, "nodes"),
        ("nodes.0.type", "flanger", "nodes.0.type"),
        ("nodes.0.polarity", 0, "nodes.0.polarity"),
        ("nodes.0.surprise", 1, "nodes.0.surprise"),
        ("nodes.1.parameters.bell1_q", 1000.0, "nodes.1.*bell1_q"),
        ("nodes.1.parameters.bell1_q", "wide", "nodes.1.parameters.bell1_q"),
        ("nodes.1.parameters.bell1_q", ..., "nodes.1.*bell1_q"),
        ("nodes.1.parameters.bell9_q", 1.0, "nodes.1.*bell9_q"),
        ("nodes.1.mix", 1.5, "nodes.1.mix"),
        ("nodes.2.id", "kick/eq", "used twice"),
        ("edges.0.target", "nowhere", "edges.0.target"),
        ("edges.0", "kick", "edges.0"),
        ("edges", [], "input"),
        ("provenance.loss.pruned", "low", "provenance.loss.pruned"),
        ("name", ..., "name"),
    ],
)
def test_wrong_files_get_an_error_that_names_the_field(field: str, value: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text(change(field, value), encoding="utf-8")
    with pytest.raises(GraphError, match=message) as caught:
        MixGraph.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "NaN", '{"format": NaN}', "[" * 100000])
def test_what_is_not_a_graph_is_refused(text: str) -> None:
    with pytest.raises(GraphError):
        MixGraph.from_json(text)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="cannot read"):
        MixGraph.load(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GraphError, match="UTF-8"):
        MixGraph.load(tmp_path / "binary.json")


def rewired(edges: list[tuple[str, str]]) -> str:
    data = json.loads(console().without({p.id for p in console().processors}).to_json())
    data["edges"] = [{"source": s, "target": t} for s, t in edges]
    return json.dumps(data)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([("kick", "group:all"), ("bass", "group:all"), ("group:all", "kick")], "loop|cannot have an input"),
        ([("kick", "group:all"), ("bass", "group:all"), ("group:all", "master"), ("kick", "master")], "outputs"),
        ([("kick", "group:all"), ("group:all", "master")], "bass"),
        ([("kick", "master"), ("kick", "master"), ("bass", "master")], "twice"),
        ([("kick", "group:all"), ("bass", "master"), ("master", "group:all")], "."),
    ],
)
def test_broken_wiring_is_refused(edges: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        MixGraph.from_json(rewired(edges))


@given(text=st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(GraphError):
        MixGraph.from_json(text)


# ------------------------------------------------------------------------- sends and automation


def _sending() -> MixGraph:
    """Two stems; the kick sends from behind its EQ into a return with a reverb."""
    chain = {"type": "eq", "id": "kick/eq", "parameters": spec_of("eq").defaults()}
    reverb = {"type": "reverb", "id": "room/reverb", "parameters": spec_of("reverb").defaults()}
    nodes = [
        {"type": "stem", "id": "kick", "name": "kick", "file": "kick.wav"}, chain,
        {"type": "stem", "id": "bass", "name": "bass", "file": "bass.wav"},
        {"type": "bus", "id": "room", "name": "Room"}, reverb,
        {"type": "master", "id": "master", "name": "Master"},
    ]  # fmt: skip
    main = [("kick", "kick/eq"), ("kick/eq", "master"), ("bass", "master"), ("room", "room/reverb")]
    edges = [{"source": a, "target": b} for a, b in [*main, ("room/reverb", "master")]]
    edges.append({"source": "kick/eq", "target": "room", "send_db": -12.0})
    data = {"format": "mixbridge-graph", "schema_version": 2, "name": "song", "sample_rate_hz": 44100, "frames": 4410}
    return MixGraph.from_json(json.dumps({**data, "nodes": nodes, "edges": edges}))


def test_a_send_is_found_by_its_channel_and_a_bus_fed_by_sends_alone_is_a_return() -> None:
    graph = _sending()
    assert [(e.source, e.target, e.send_db) for e in graph.sends("kick")] == [("kick/eq", "room", -12.0)]
    assert graph.sends("bass") == []
    assert [b.id for b in graph.returns] == ["room"]
    assert graph.parent("kick") == graph.master
    assert [c.id for c in graph.children("master")] == ["kick", "bass", "room"]


def test_a_send_stays_with_its_channel_when_processors_go() -> None:
    graph = _sending().without({"kick/eq"})
    assert [(e.source, e.target, e.send_db) for e in graph.sends("kick")] == [("kick", "room", -12.0)]
    assert graph.without({"room/reverb"}).sends("kick") == graph.sends("kick")


def test_a_return_without_sends_is_tidied_away() -> None:
    graph = _sending().without_sends({("kick", "room")})
    assert graph.sends("kick") == []
    assert [b.id for b in graph.tidied().buses] == []
    assert [p.id for p in graph.tidied().processors] == ["kick/eq"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": "kick"}, "leaves the end of a channel"),
        ({"target": "bass"}, "cannot have an input"),
        ({"target": "master", "source": "bass"}, "listed twice"),
        ({"target": "kick/eq", "source": "bass"}, "needs exactly one"),
        ({"source": "master"}, "loop"),
        ({"send_db": 13.0}, "outside"),
        ({"send_db": None}, "two outputs"),
    ],
)
def test_a_send_that_breaks_a_rule_is_refused(change: dict[str, object], words: str) -> None:
    data = json.loads(_sending().to_json())
    data["edges"][-1] |= change
    with pytest.raises(GraphError, match=words):
        MixGraph.from_json(json.dumps(data))


def test_times_of_volume_automation_grow() -> None:
    data = json.loads(_sending().to_json())
    data["nodes"][0]["volume"] = [{"time_s": 1.0, "gain_db": 0.0}, {"time_s": 1.0, "gain_db": -3.0}]
    with pytest.raises(GraphError, match="must grow"):
        MixGraph.from_json(json.dumps(data))


def test_a_file_of_the_first_version_is_read() -> None:
    data = json.loads(console(preset="paper").to_json())
    data["schema_version"] = 1
    for node in data["nodes"]:
        for key in ("volume", "evidence"):
            node.pop(key, None)
    data["edges"] = [{"source": e["source"], "target": e["target"]} for e in data["edges"]]
    assert MixGraph.from_json(json.dumps(data)) == console(preset="paper")


@given(graph=routed())
@settings(max_examples=40, deadline=None)
def test_graphs_with_sends_and_automation_survive_a_round_trip(graph: MixGraph) -> None:
    assert MixGraph.from_json(graph.to_json()) == graph
    order = buses_inner_first(graph)
    for bus in graph.buses:
        for send in graph.sends(bus.id):
            assert order.index(bus.id) < order.index(send.target)


def test_volume_automation_is_linear_in_amplitude_and_held_at_its_ends() -> None:
    points = [VolumePoint(time_s=1.0, gain_db=0.0), VolumePoint(time_s=2.0, gain_db=-20.0)]
    gains = volume_gains(points, frames=40, sample_rate_hz=10)
    np.testing.assert_allclose(gains[[0, 10, 15, 20, 39]], [1.0, 1.0, 0.55, 0.1, 0.1], atol=1e-12)
    assert np.all(volume_gains([], frames=7, sample_rate_hz=10) == 1.0)


def test_pan_automation_is_linear_in_position_and_follows_the_law_of_every_pan() -> None:
    points = [PanPoint(time_s=1.0, pan=0.0), PanPoint(time_s=2.0, pan=-1.0)]
    left, right = pan_automation_gains(points, frames=40, sample_rate_hz=10)
    np.testing.assert_allclose(left[[0, 10, 20, 39]], [1.0, 1.0, np.sqrt(2), np.sqrt(2)], atol=1e-12)
    np.testing.assert_allclose(right[[0, 10, 20, 39]], [1.0, 1.0, 0.0, 0.0], atol=1e-12)
    assert left[15] == pytest.approx(np.sqrt(2) * np.cos(np.pi / 8), abs=1e-12)
    np.testing.assert_allclose(left**2 + right**2, 2.0, atol=1e-12)
    assert np.all(pan_automation_gains([], frames=7, sample_rate_hz=10) == np.ones((2, 7)))


def _moving() -> MixGraph:
    """A track and a group that send to a room, the track's pan and its send moving."""
    graph = _sending()
    pan = [PanPoint(time_s=0.0, pan=-1.0), PanPoint(time_s=0.05, pan=0.5)]
    ride = [VolumePoint(time_s=0.0, gain_db=0.0), VolumePoint(time_s=0.05, gain_db=-20.0)]
    nodes = [n if isinstance(n, Processor) else n.model_copy(update={"pan": pan}) for n in graph.nodes]
    return graph.rebuilt(
        nodes, [e.model_copy(update={"volume": ride if e.send_db is not None else []}) for e in graph.edges]
    )


def test_a_render_follows_pans_and_sends_that_move() -> None:
    graph = _moving().without({"kick/eq", "room/reverb"})
    assert all(c.pan for c in graph.channels()) and all(e.volume for e in graph.all_sends().values())
    random = np.random.default_rng(1)
    audio = {s.id: random.standard_normal((2, 4410)) for s in graph.stems}
    places = np.arange(4410) / graph.sample_rate_hz
    theta = np.pi / 4 * (1.0 + np.interp(places, [0.0, 0.05], [-1.0, 0.5]))
    pan = np.sqrt(2) * np.stack([np.cos(theta), np.sin(theta)])
    sent = pan * audio["kick"] * 10 ** (-12 / 20) * np.interp(places, [0.0, 0.05], [1.0, 0.1])
    expected = pan * (pan * (audio["kick"] + audio["bass"]) + pan * sent)
    np.testing.assert_allclose(render_graph(graph, lambda stem: audio[stem.id]), expected, atol=1e-12)


def test_copies_keep_what_moves() -> None:
    graph = _moving()
    moving = {c.id: c.pan for c in graph.channels()}
    for copy in (graph.tidied(), graph.without({"kick/eq"}), MixGraph.from_json(graph.to_json())):
        assert {c.id: c.pan for c in copy.channels()} == moving
        assert {k: e.volume for k, e in copy.all_sends().items()} == {k: e.volume for k, e in graph.all_sends().items()}


def test_a_file_without_moving_pans_and_sends_says_nothing_of_them() -> None:
    data = json.loads(_sending().to_json())
    assert not any("pan" in node for node in data["nodes"]) and not any("volume" in edge for edge in data["edges"])
    moving = json.loads(_moving().to_json())
    stems = [n["pan"] for n in moving["nodes"] if n["type"] == "stem"]
    assert stems == 2 * [[{"time_s": 0.0, "pan": -1.0}, {"time_s": 0.05, "pan": 0.5}]]
    assert [len(e["volume"]) for e in moving["edges"] if "volume" in e] == [2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["nodes"][0]["pan"][1].update(pan=1.5), "nodes.0.pan.1.pan: pan: 1.5 is outside -1 to 1"),
        (lambda d: d["nodes"][0]["pan"][1].update(time_s=-1.0), "nodes.0.pan.1.time_s"),
        (lambda d: d["nodes"][0]["pan"].reverse(), "nodes.0.pan: the times of pan automation must grow"),
        (lambda d: d["nodes"][0]["pan"][0].update(gain_db=0.0), "nodes.0.pan.0.gain_db"),
        (lambda d: sent(d)["volume"][0].update(gain_db=13.0), r"edges.\d.volume.0.gain_db: gain_db: 13.0 is outside"),
        (lambda d: sent(d)["volume"].reverse(), r"edges.\d.volume: the times of volume automation must grow"),
        (lambda d: d["edges"][0].update(volume=sent(d)["volume"]), "edges.0.volume: only sends have automation"),
    ],
)  # fmt: skip
def test_damaged_automation_is_named(change: Callable[[Any], None], words: str) -> None:
    data = json.loads(_moving().to_json())
    change(data)
    with pytest.raises(GraphError, match=words):
        MixGraph.from_json(json.dumps(data))


def sent(data: Any) -> Any:
    return next(edge for edge in data["edges"] if "volume" in edge)


def test_a_render_follows_sends_and_automation() -> None:
    graph = _sending().without({"kick/eq", "room/reverb"})
    stems = [s.model_copy(update={"volume": [VolumePoint(time_s=0.0, gain_db=-6.0)]}) for s in graph.stems]
    graph = graph.rebuilt([*stems, *graph.buses, graph.master], graph.edges)
    random = np.random.default_rng(1)
    audio = {s.id: random.standard_normal((2, 4410)) for s in stems}
    gain = 10 ** (-6 / 20)
    expected = gain * audio["kick"] * (1 + 10 ** (-12 / 20)) + gain * audio["bass"]
    np.testing.assert_allclose(render_graph(graph, lambda stem: audio[stem.id]), expected, atol=1e-12)
