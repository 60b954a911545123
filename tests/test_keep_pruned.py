"""What pruning took out: kept in the graph, written into projects bypassed, and never heard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mixbridge.bridge.errors import GraphError
from mixbridge.bridge.graph import MixGraph, Processor, Pruned
from mixbridge.bridge.import_session import import_session
from mixbridge.bridge.processors.specs import SPECS
from mixbridge.bridge.search.prune import pruned_from
from mixbridge.bridge.strength import with_amounts
from mixbridge.exporters.formats import export_graph
from mixbridge.exporters.options import ExportOptions
from mixbridge.exporters.reaper.read import read_project as read_chain
from mixbridge.exporters.session import Strip, build_session

from .mixes import reference_render, write_stems
from .plugin_mixes import COMPRESSOR, EQ, GAIN, mix_of
from .rpp_rebuild import render_project


def node(processor_type: str, node_id: str, mix: float = 1.0, **values: float) -> Processor:
    return Processor(type=processor_type, id=node_id, parameters=SPECS[processor_type].defaults() | values, mix=mix)


@pytest.fixture
def graph() -> MixGraph:
    """EQ, compressor and fader on the track; a gate stood before the compressor, a delay at the end."""
    kept = mix_of(
        {}, track=[("eq", EQ, 1.0), ("compressor", COMPRESSOR, 0.8), ("gain_pan", GAIN, 1.0)], bus=[], master=[]
    )
    track = kept.stems[0].id
    compressor = next(p for p in kept.processors if p.type == "compressor")
    return kept.with_pruned(
        [
            Pruned(channel=track, before=compressor.id, processor=node("gate", "gone-gate", threshold_db=-33.0)),
            Pruned(channel=track, processor=node("delay", "gone-delay", mix=0.25)),
            Pruned(channel="master", processor=node("eq", "gone-eq", bell1_db=2.0)),
        ]
    )


def types(strip: Strip) -> list[tuple[str, bool]]:
    return [(insert.type, insert.bypassed) for insert in strip.inserts]


def test_they_come_back_from_the_file_and_old_files_stay_as_they_were(graph: MixGraph) -> None:
    assert MixGraph.from_json(graph.to_json()) == graph
    assert "pruned" not in json.loads(graph.with_pruned([]).to_json())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel": "nobody"}, "pruned.0.channel: no channel has the id 'nobody'"),
        ({"before": "gone-delay"}, "pruned.0.before: 'gone-delay' is no processor of"),
    ],
)
def test_a_place_that_is_not_there_is_named(graph: MixGraph, change: dict[str, str], message: str) -> None:
    data = json.loads(graph.to_json())
    data["pruned"][0] |= change
    with pytest.raises(GraphError, match=message):
        MixGraph.from_json(json.dumps(data))


def test_an_id_is_used_once(graph: MixGraph) -> None:
    data = json.loads(graph.to_json())
    data["pruned"][1]["processor"]["id"] = data["pruned"][0]["processor"]["id"]
    with pytest.raises(GraphError, match=r"pruned\.1\.processor\.id: the id 'gone-gate' is used twice"):
        MixGraph.from_json(json.dumps(data))


def test_a_session_has_them_on_request_where_they_were(graph: MixGraph) -> None:
    plain, full = build_session(graph), build_session(graph, keep_pruned=True)
    track = next(full.tracks())
    assert types(track.strip) == [("eq", False), ("gate", True), ("compressor", False), ("delay", True)]
    assert types(full.master) == [("eq", True)]
    assert not any(insert.bypassed for strip in plain.strips() for insert in strip.inserts)
    assert [s.gain for s in plain.strips()] == [s.gain for s in full.strips()]


def test_a_project_sounds_the_same_with_them(graph: MixGraph, tmp_path: Path) -> None:
    write_stems(graph, tmp_path / "stems")
    written = {
        keep: export_graph(
            graph,
            ["reaper"],
            stems_dir=tmp_path / "stems",
            folder=tmp_path / str(keep),
            options=ExportOptions(keep_pruned=keep),
        ).files["reaper"]
        for keep in (False, True)
    }
    assert written[True].read_text().count("BYPASS 1 ") == 3
    assert np.array_equal(render_project(written[True]), render_project(written[False]))
    ids = [p.processor.id for p in graph.pruned]
    chain = read_chain(written[True], node_ids=ids)
    read = {i.id: i for c in chain.channels for i in c.inserts if i.bypassed}
    assert set(read) == set(ids)
    assert read["gone-gate"].parameters == graph.pruned[0].processor.parameters
    assert read["gone-delay"].mix * float(read["gone-delay"].values.get("mix", 1.0)) == 0.25


def test_a_project_gives_them_back(graph: MixGraph, tmp_path: Path) -> None:
    write_stems(graph, tmp_path / "stems")
    options = ExportOptions(keep_pruned=True)
    written = export_graph(graph, ["reaper"], stems_dir=tmp_path / "stems", folder=tmp_path, options=options)
    found = import_session(written.files["reaper"])
    assert not found.notes
    assert [(p.processor.type, p.processor.mix) for p in found.graph.pruned] == [
        ("gate", 1.0),
        ("delay", 0.25),
        ("eq", 1.0),
    ]
    again = build_session(found.graph, keep_pruned=True)
    assert [types(s) for s in again.strips()] == [types(s) for s in build_session(graph, keep_pruned=True).strips()]


def test_they_stay_with_a_weaker_match_and_go_with_their_channel(graph: MixGraph) -> None:
    assert with_amounts(graph, {"eq": 0.5}).pruned == graph.pruned
    compressor = next(p for p in graph.processors if p.type == "compressor")
    assert graph.without({compressor.id}).pruned[0].before == ""


def test_a_search_notes_what_it_removed_but_faders(graph: MixGraph) -> None:
    console = graph.with_pruned([])
    removed = [p.id for p in console.processors if p.type != "compressor"]
    kept = console.without(set(removed))
    (found,) = pruned_from(console, removed, kept=kept)
    compressor = next(p for p in console.processors if p.type == "compressor")
    assert (found.processor.type, found.before) == ("eq", compressor.id)
    reference = kept.with_pruned([found])
    assert reference.processors == kept.processors


def test_what_is_pruned_is_not_rendered(graph: MixGraph, tmp_path: Path) -> None:
    write_stems(graph, tmp_path / "stems")
    without = graph.with_pruned([])
    assert np.array_equal(reference_render(graph, tmp_path / "stems"), reference_render(without, tmp_path / "stems"))
