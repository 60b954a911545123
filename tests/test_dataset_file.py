"""Files of many graphs: what goes in comes out, in both forms; damaged results and files are named."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mixbridge.bridge.batch.collect import collect, collect_to
from mixbridge.bridge.batch.dataset import Check, Entry, digest_of, read_dataset, write_dataset
from mixbridge.bridge.batch.dataset_grafx import NODE_TYPES, GrafxMix, from_grafx, to_grafx
from mixbridge.bridge.batch.dataset_torch import as_grafx, read_torch
from mixbridge.bridge.errors import DatasetError, GraphError, OutputError
from mixbridge.bridge.graph import Edge, Loss, Master, MixGraph, Processor, Provenance, Stem
from mixbridge.bridge.metrics import LOSS_RATE_HZ
from mixbridge.bridge.processors.specs import spec_of
from mixbridge.bridge.processors.twins import TwinSettings, make_twins
from mixbridge.bridge.render import render_graph
from mixbridge.bridge.search.parameters import plan_of
from mixbridge.bridge.verify.results import LossResult, Verification
from mixbridge.cli import app

from .dsp import programme
from .mixes import routed

quiet = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def small_graph(name: str = "song", *, gain_db: float = -3.0) -> MixGraph:
    eq = Processor(type="eq", id="lead/eq", parameters=spec_of("eq").defaults() | {"low_shelf_db": 2.5}, mix=0.5)
    fader = Processor(type="gain_pan", id="lead/gain", parameters={"gain_db": gain_db, "pan": 0.25})
    return MixGraph(
        name=name,
        sample_rate_hz=44100,
        frames=1000,
        nodes=[Stem(id="lead", name="Lead", file="lead.wav"), eq, fader, Master()],
        edges=[
            Edge(source="lead", target=eq.id),
            Edge(source=eq.id, target=fader.id),
            Edge(source=fader.id, target="master"),
        ],
        provenance=Provenance(
            seed=7,
            quality="draft",
            versions={"mixbridge": "1"},
            loss=Loss(pruned=0.2, reference=0.25),
            sources={"stems": "/secret/stems", "mix": "/secret/mix.wav"},
        ),
    )


def comparable(graph: MixGraph) -> tuple[object, object]:
    """What grafx keeps, whatever the order: channels, processors with their settings, and connections."""
    nodes = {
        n.id: n.model_copy(update={"evidence": None}) if isinstance(n, Processor) else n for n in graph.tidied().nodes
    }
    edges = {(e.source, e.target): (e.send_db, tuple(e.volume)) for e in graph.tidied().edges}
    return nodes, edges


# ------------------------------------------------------------------ one graph


@quiet
@given(graph=routed())
def test_a_graph_comes_back_from_a_line(graph: MixGraph) -> None:
    entry = Entry(name="a/b", graph=graph, paths={"mix": "m"})
    assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry


@quiet
@given(graph=routed())
def test_a_graph_comes_back_from_grafx(graph: MixGraph) -> None:
    again = from_grafx(to_grafx(graph), like=graph)
    assert comparable(again) == comparable(graph)
    # Every channel still has its processors in their order.
    for channel in graph.tidied().channels():
        assert [p.id for p in again.chain(channel.id)] == [p.id for p in graph.chain(channel.id)]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graph=routed(("eq", "imager", "gain_pan", "compressor"), searched=True))
def test_what_was_written_sounds_like_the_graph(graph: MixGraph) -> None:
    graph = graph.model_copy(update={"sample_rate_hz": LOSS_RATE_HZ})
    stems = {
        s.id: 0.3 * programme(seconds=0.3, rate_hz=LOSS_RATE_HZ, seed=i).astype(np.float32)
        for i, s in enumerate(graph.stems)
    }
    mix, plan = to_grafx(graph), plan_of(graph)
    values = {}
    for kind, names in plan.names_by_type.items():
        rows = [mix.names(kind).index(name) for name in names]
        values[kind] = {name: value[rows].float() for name, value in mix.parameters[kind].items()}
        if kind == "volume":
            assert torch.equal(mix.parameters[kind]["time_s"][rows], plan.breakpoints_s)
        values[kind] = {name: value for name, value in values[kind].items() if name not in ("time_s", "points")}
    twins = make_twins(TwinSettings.exact(sample_rate_hz=LOSS_RATE_HZ))
    with torch.no_grad():
        inputs = torch.tensor(np.stack([stems[name] for name in mix.names("in")]))
        found = plan.render(twins, inputs, values).numpy()
    expected = render_graph(graph, lambda stem: stems[stem.id])
    # A mix may be silent but for rounding: panned to one side, then to the other.
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max() + 1e-5


def test_grafx_takes_the_graphs_as_they_are() -> None:
    from grafx.data.conversion import convert_to_tensor
    from grafx.render import prepare_render

    first, second = to_grafx(small_graph()), to_grafx(small_graph(gain_db=1.0))
    stages = prepare_render(convert_to_tensor(first.graph)).iter_list
    assert [stage.node_type for stage in stages] == ["in", "eq", "gain_pan", "mix", "out"]
    assert first.graph.config is second.graph.config
    assert second.parameters["gain_pan"]["gain_db"].tolist() == [1.0]


def test_a_grafx_graph_of_its_own_becomes_a_mix() -> None:
    made = to_grafx(small_graph())
    for node in made.graph.nodes:
        made.graph.nodes[node]["name"] = None
    graph = from_grafx(made, name="new")
    assert [s.file for s in graph.stems] == ["in0.wav"]
    assert [(p.type, p.mix) for p in graph.chain("in0")] == [("eq", 0.5), ("gain_pan", 1.0)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: {**p, "eq": {**p["eq"], "mix": torch.tensor([2.0])}}, "mix"),
        (lambda p: {**p, "eq": {**p["eq"], "mix": torch.tensor([1.0, 1.0])}}, "2 rows for 1 nodes"),
        (lambda p: {"eq": p["eq"]}, "'gain_pan' is missing"),
        (lambda p: {**p, "eq": {"mix": p["eq"]["mix"]}}, "is missing"),
        (lambda p: {**p, "eq": {**p["eq"], "mix": torch.tensor([float("nan")])}}, "mix"),
    ],
)
def test_settings_that_are_none_are_refused(
    change: Callable[..., dict[str, dict[str, torch.Tensor]]], words: str
) -> None:
    made = to_grafx(small_graph())
    with pytest.raises(GraphError, match="grafx graph: ") as caught:
        from_grafx(GrafxMix(made.graph, change(made.parameters)))
    assert words in str(caught.value)


# ------------------------------------------------------------------ files


@quiet
@given(graph=routed())
def test_both_files_give_the_same_entries(graph: MixGraph, tmp_path: Path) -> None:
    entries = [Entry(name="one", graph=graph), Entry(name="two", graph=small_graph())]
    for name in ("d.jsonl", "d.pt"):
        write_dataset(tmp_path / name, entries)
        assert read_dataset(tmp_path / name) == entries
    for found, made in zip(read_torch(tmp_path / "d.pt"), as_grafx(entries), strict=True):
        assert comparable(from_grafx(found.mix, like=graph)) == comparable(from_grafx(made.mix, like=graph))
        assert found.mix.graph.type_sequence == made.mix.graph.type_sequence
        for kind, named in made.mix.parameters.items():
            assert all(torch.equal(found.mix.parameters[kind][name], value) for name, value in named.items())


def test_the_torch_file_holds_nothing_that_runs(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.pt", [Entry(name="one", graph=small_graph())])
    content = torch.load(tmp_path / "d.pt", weights_only=True)
    (entry,) = content["entries"]
    assert content["node_types"] == list(NODE_TYPES)
    assert [content["node_types"][i] for i in entry["types"]] == ["in", "eq", "gain_pan", "mix", "out"]
    assert entry["edges"].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert content["columns"]["gain_pan"] == ["gain_db", "pan", "mix"]
    assert entry["parameters"]["gain_pan"].tolist() == [[-3.0, 0.25, 1.0]]
    assert entry["losses"] == {"pruned": 0.2, "reference": 0.25}


def test_the_digest_is_that_of_sorted_json() -> None:
    assert digest_of({"b": 1, "a": "ü"}) == digest_of({"a": "ü", "b": 1})
    assert digest_of({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d | {"graph": {**d["graph"], "frames": 5}}, "not the one that was written"),
        (lambda d: d | {"schema_version": 9}, "schema_version 9"),
        (lambda d: d | {"name": 3}, "name"),
        (lambda d: d | {"verify": None}, "verify"),
        (lambda d: {k: v for k, v in d.items() if k != "graph"}, "not the one that was written"),
        (lambda d: d | {"graph": {}, "graph_sha256": digest_of({})}, "not a Mixbridge graph"),
        (lambda d: [1], "not an entry"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, change: Callable[[dict[str, object]], object], words: str) -> None:
    good = Entry(name="one", graph=small_graph()).to_json()
    path = tmp_path / "d.jsonl"
    path.write_text(f"{json.dumps(good)}\n{json.dumps(change(good))}\n")
    with pytest.raises(DatasetError, match="line 2: ") as caught:
        read_dataset(path)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["d.jsonl", "d.pt"])
@pytest.mark.parametrize("content", [None, b"", b"\x80\x04.", b"\xff\xfe{", b"[]", b'{"a": NaN'])
def test_what_is_no_dataset_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=name) as caught, warnings.catch_warnings():
        warnings.simplefilter("error")
        read_dataset(path)
    assert "\n" not in str(caught.value)


@quiet
@given(place=st.floats(0.0, 1.0, exclude_max=True), byte=st.integers(0, 255))
def test_a_torch_file_with_a_changed_byte_reads_or_is_refused(place: float, byte: int, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.pt", tmp_path / "bad.pt"
    if not good.exists():
        write_dataset(good, [Entry(name="one", graph=small_graph())])
    content = bytearray(good.read_bytes())
    content[int(place * len(content))] = byte
    bad.write_bytes(content)
    try:
        (entry,) = read_dataset(bad)
        assert entry.graph == small_graph()
    except DatasetError as error:
        assert "\n" not in str(error)


def test_a_torch_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "a.pt")
    torch.save({"format": "mixbridge-dataset", "schema_version": 1, "entries": [{}]}, tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        with pytest.raises(DatasetError, match=name):
            read_dataset(tmp_path / name)
    with pytest.raises(DatasetError, match="call the file"):
        read_dataset(tmp_path / "a.txt")


# ------------------------------------------------------------------ collecting


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    for name in ("b", "a"):
        place = folder / f"{name}.mixbridge"
        small_graph(name).save(place / "graph.json")
        (place / "match.wav").write_bytes(b"")
    verification = Verification(
        path="song.rpp", session="reaper", suites="jsfx", verdict="green", gap=0.004, null_db=-90.0,
        gap_to="differentiable", loss=LossResult(real=0.254, graph=0.25, differentiable=0.25),
    )  # fmt: skip
    verification.save(folder / "a.mixbridge" / "reaper" / "verify.json")
    return folder


def test_results_are_collected_without_what_they_say_about_the_machine(results: Path) -> None:
    found = collect(results)
    assert [e.name for e in found.entries] == ["a", "b"] and not found.skipped
    (check,) = found.entries[0].verify
    assert (check.path, check.verdict, check.gap) == ("reaper/song.rpp", "green", 0.004)
    line = json.dumps(found.entries[0].to_json())
    assert "secret" not in line and str(results) not in line
    data = found.entries[0].to_json()
    assert (data["seed"], data["versions"], data["losses"]["reference"]) == (7, {"mixbridge": "1"}, 0.25)


def test_paths_are_kept_where_they_are_wished_for(results: Path) -> None:
    entry = collect(results, with_paths=True).entries[0]
    assert entry.paths == {
        "folder": str(results / "a.mixbridge"),
        "stems": "/secret/stems",
        "mix": "/secret/mix.wav",
        "match": str(results / "a.mixbridge" / "match.wav"),
    }
    assert entry.graph == small_graph("a")


def test_damaged_and_unfinished_results_are_named(results: Path) -> None:
    (results / "b.mixbridge" / "graph.json").write_text("{")
    (results / "c.mixbridge" / ".unfinished").mkdir(parents=True)
    (results / "a.mixbridge" / "reaper" / "verify.json").write_text("[]")
    found = collect(results)
    assert [e.name for e in found.entries] == ["a"] and not found.entries[0].verify
    reasons = {s.name: s.reason for s in found.skipped}
    assert set(reasons) == {"a/reaper/verify.json", "b", "c"}
    assert "not valid JSON" in reasons["b"] and "unfinished" in reasons["c"]


def test_one_result_alone_is_collected(results: Path) -> None:
    assert [e.name for e in collect(results / "a.mixbridge").entries] == ["a"]


def test_an_earlier_file_stays_unless_it_may_be_replaced(results: Path, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    collect_to(results, path)
    with pytest.raises(OutputError, match="--overwrite"):
        collect_to(results, path)
    assert len(collect_to(results, path, overwrite=True).entries) == 2
    with pytest.raises(DatasetError, match="call the file"):
        collect_to(results, tmp_path / "d.zip")
    with pytest.raises(DatasetError, match="no such folder"):
        collect_to(tmp_path / "nowhere", tmp_path / "e.pt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no finished result"):
        collect_to(tmp_path / "empty", tmp_path / "e.pt")


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_collecting_is_a_command(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "graphs.jsonl"
    code, out, err = run("dataset", results, "--to", file)
    assert (
        code == 0 and out.startswith("a\t1\t2\t0.2500\treaper green\nb\t1\t2\t0.2500\t") and not err and file.is_file()
    )
    code, out, _ = run("dataset", results, "--to", tmp_path / "g.pt", "--json", "--audio")
    assert code == 0 and [s["name"] for s in json.loads(out)["songs"]] == ["a", "b"]
    code, _, err = run("dataset", results, "--to", file)
    assert code == 2 and "--overwrite" in err
    (results / "b.mixbridge" / "graph.json").write_text("")
    code, _, err = run("dataset", results, "--to", file, "--overwrite", "--strict")
    assert code == 1 and "b: skipped" in err


# ------------------------------------------------------------------ documentation

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "datasets.md").read_text(encoding="utf-8")


def keys_told(heading: str) -> set[str]:
    """Names in the first column of the first table below a heading."""
    lines = PAGE.partition(f"### `{heading}`\n")[2].partition("\n#")[0].splitlines()
    return {key for line in lines if line.startswith("| `") for key in re.findall(r"`(\w+)`", line.split(" | ")[0])}


def test_the_page_names_every_key(tmp_path: Path) -> None:
    entry = Entry(name="one", graph=small_graph())
    write_dataset(tmp_path / "d.pt", [entry])
    content = torch.load(tmp_path / "d.pt", weights_only=True)
    assert keys_told(".jsonl") == set(entry.to_json())
    assert keys_told(".pt") == set(content["entries"][0])
    for name in [*content, *Check.model_fields]:
        assert f"`{name}`" in PAGE, name


def test_the_program_of_the_page_needs_grafx_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "graphs.pt", [Entry(name="one", graph=small_graph())])
    monkeypatch.chdir(tmp_path)
    program = PAGE.partition("```python\n")[2].partition("```")[0]
    assert "mixbridge" not in program
    names: dict[str, Any] = {}
    exec(program, names)  # grafx is imported already, with a stand-in for torchaudio where that is missing.
    assert capsys.readouterr().out.startswith("one 5 {'pruned': 0.2")
    mine = to_grafx(small_graph()).graph
    assert (str(names["graph"]), names["graph"].type_sequence) == (str(mine), mine.type_sequence)
