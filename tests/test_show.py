"""A graph in words: every channel, every setting, what lies beside it, on a terminal and in a pipe."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from typer.testing import CliRunner

from mixbridge.bridge.errors import GraphError, ParameterError
from mixbridge.bridge.graph import (
    Evidence,
    Loss,
    MixGraph,
    PanPoint,
    Processor,
    Provenance,
    Stem,
    VolumePoint,
)
from mixbridge.bridge.overview import look
from mixbridge.bridge.processors.specs import SPECS
from mixbridge.bridge.result_folder import EXPORT_FILE, GRAPH_FILE
from mixbridge.bridge.verify.results import VERIFY_FILE, Verification
from mixbridge.cli import app
from mixbridge.exporters.record import record_exports

from .graphs import graph
from .mixes import routed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = graph(
        {"kick": [("compressor", {"threshold_db": -21.0, "ratio": 4.0})], "keys": [("gain_pan", {"gain_db": 2.0})]},
        groups={"drums": (["kick"], [])},
        returns={"hall": ({"keys": -12.3}, [("reverb", {"level_db": 0.0, "decay_s": 1.8})])},
        master=[("limiter", {"gain_db": 3.0})],
        volume={"keys": [VolumePoint(time_s=0.0, gain_db=-3.0), VolumePoint(time_s=1.5, gain_db=1.0)]},
    )
    nodes = []
    for node in found.nodes:
        update: dict[str, object] = {}
        if isinstance(node, Processor) and node.type == "compressor":
            update = {"evidence": Evidence(loss_increase=0.1, uncertainty={"threshold_db": 0.6})}
        if isinstance(node, Stem) and node.id == "kick":
            update = {"polarity": -1, "offset_samples": 441, "pan": [PanPoint(time_s=0.5, pan=0.25)]}
        nodes.append(node.model_copy(update=update))
    provenance = Provenance(
        seed=3, quality="draft", tolerance=0.01, plugins="jsfx", console_processors=20,
        loss=Loss(plain_sum=1.25, pruned=0.0312), notes=["keys: clipped"],
    )  # fmt: skip
    found = found.model_copy(update={"nodes": nodes, "provenance": provenance})
    out = tmp_path / "song.mixbridge"
    out.mkdir()
    found.save(out / GRAPH_FILE)
    return out


def verified(folder: Path) -> None:
    (folder / "reaper").mkdir()
    (folder / "reaper/song.rpp").write_text("<REAPER_PROJECT 0.1\n>\n", encoding="utf-8")
    loss = {"channel": "kick", "node": "", "text": "kick: pan automation", "size_db": None}
    record_exports(folder, files={"reaper": folder / "reaper/song.rpp"}, losses={"reaper": [loss]}, plugins="jsfx")  # type: ignore[list-item]
    Verification(path="song.rpp", session="reaper", verdict="green", gap=0.0012).save(folder / "reaper" / VERIFY_FILE)


def test_every_channel_with_what_is_on_it(folder: Path) -> None:
    rows = {row[0]: row[1:] for row in look(folder).rows()}
    assert list(rows) == ["kick", "keys", "drums", "hall", "Master"]
    kind, group, text = rows["kick"]
    assert (kind, group) == ("track", "drums")
    assert text.split("\n")[0].startswith("Compressor: threshold -21 dB, ratio 4:1")
    assert text.split("\n")[1:] == [
        "Pan rides: 25 % right throughout",
        "moved 10 ms (441 samples) later, polarity inverted",
    ]
    assert rows["keys"][2].split("\n") == ["Gain +2 dB", "Fader rides: 2 points, -3 to +1 dB", "Send: hall -12.3 dB"]
    assert rows["drums"] == ("group", "", "unchanged")
    assert rows["hall"][0] == "return"
    assert look(folder / GRAPH_FILE).rows() == look(folder).rows()


def test_where_it_comes_from_and_what_became_of_it(folder: Path) -> None:
    facts = look(folder).facts()
    assert ("Match loss", "plain sum 1.2500, pruned 0.0312") in facts
    assert ("Processors", "4 of 20: 1 Comp, 1 Gain/pan, 1 Reverb, 1 Limit") in facts
    assert ("Search", "draft, seed 3, tolerance 0.01, plugins jsfx") in facts
    assert ("Note", "keys: clipped") in facts
    assert not {"Verified", "Session", "Lost"} & {name for name, _ in facts}
    verified(folder)
    found = dict(look(folder).facts())
    assert re.match(r"REAPER project: Nothing audible was lost.* gap is \+0\.0012", found["Verified"])
    assert found["Session"] == "reaper: reaper/song.rpp, 1 not expressed"
    assert found["Lost"] == "reaper: kick: pan automation"
    (folder / "reaper" / VERIFY_FILE).write_text("{", encoding="utf-8")
    (folder / EXPORT_FILE).write_text("[]", encoding="utf-8")
    assert look(folder).facts() == facts, "what is damaged is not there"


def test_another_graph_in_the_folder_was_not_verified(folder: Path) -> None:
    verified(folder)
    (folder / "other.json").write_bytes((folder / GRAPH_FILE).read_bytes())
    assert "Verified" not in dict(look(folder / "other.json").facts())


def test_settings_are_all_there_with_their_units(folder: Path) -> None:
    found = {(s.channel, s.part, s.parameter): s for s in look(folder).settings()}
    threshold = found["kick", "Compressor", "Threshold"]
    assert (threshold.value_text, threshold.unit, threshold.uncertainty_text) == ("-21.00", "dB", "± 0.60")
    assert found["kick", "File", "Offset"].value == 441
    assert found["kick", "File", "Polarity"].value == -1
    assert found["kick", "Pan ride", "at 0.500 s"].value == 0.25
    cut = found["hall", "Reverb", "Low cut frequency"]
    assert (cut.value_text, cut.unit) == ("off", "Hz")
    assert found["keys", "Send to hall", "Level"].value_text == "-12.30"
    assert found["keys", "Fader ride", "at 1.500 s"].value == 1.0


@given(graph=routed())
@settings(max_examples=15, deadline=None)
def test_any_graph_can_be_shown(graph: MixGraph, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("show") / "any.json"
    graph.save(path)
    found = look(path)
    assert len(found.rows()) == len(list(graph.channels()))
    named = sum(len(SPECS[p.type].parameters) + 1 for p in graph.processors)
    rides = sum(len(c.volume) + len(c.pan) for c in graph.channels())
    sends = [edge for edge in graph.edges if edge.send_db is not None]
    moved = sum((s.offset_samples != 0) + (s.polarity < 0) for s in graph.stems)
    assert len(found.settings()) == named + rides + len(sends) + sum(len(e.volume) for e in sends) + moved
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["name"] == graph.name


def test_the_command_in_a_pipe_and_on_a_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = CliRunner().invoke(app, ["show", str(folder), "--only", "KICK", "--only", "keys"]).stdout.splitlines()
    assert [line.split("\t")[0] for line in piped[:3]] == ["kick", "keys", "Song"]
    assert all(line.count("\t") == 3 for line in piped[:2])
    assert all(line.count("\t") == 1 for line in piped[2:])
    assert " | Send: hall -12.3 dB" in piped[1]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    drawn = CliRunner().invoke(app, ["show", str(folder)]).stdout
    assert "What is on it" in drawn
    assert "│" in drawn
    assert "\t" not in drawn


def test_the_command_as_data(folder: Path) -> None:
    verified(folder)
    data = json.loads(CliRunner().invoke(app, ["show", str(folder), "--json"]).stdout)
    kick = data["channels"][0]
    assert kick["processors"][0]["parameters"]["threshold_db"] == -21.0
    assert {"channel": "kick", "part": "Compressor", "parameter": "Ratio", "value": 4.0, "unit": "ratio",
            "uncertainty": None} in kick["settings"]  # fmt: skip
    assert data["verified"][0]["verdict"] == "green"
    lines = CliRunner().invoke(app, ["show", str(folder), "--settings", "--only", "kick"]).stdout.splitlines()
    assert "kick\tCompressor\tThreshold\t-21.00\tdB\t± 0.60" in lines


def test_what_cannot_be_shown_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no such channel"):
        look(folder, only=["vocals"])
    with pytest.raises(GraphError):
        look(tmp_path)
    (tmp_path / "bad.json").write_text('{"format": "mixbridge-graph", "x": NaN}', encoding="utf-8")
    for path in (tmp_path / "bad.json", tmp_path / "none.json"):
        done = CliRunner().invoke(app, ["show", str(path)])
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
