"""What changed between two graphs: every change is told with its unit, what cannot be heard only when asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mixbridge.bridge.difference import changes, match_channels
from mixbridge.bridge.difference_files import diff_files
from mixbridge.bridge.difference_values import Change, number_change, resolution
from mixbridge.bridge.errors import GraphError, ParameterError
from mixbridge.bridge.graph import Loss, MixGraph, PanPoint, Processor, Provenance, Stem, VolumePoint
from mixbridge.bridge.processors.specs import BELLS, EQ, MIX, SPECS, Parameter
from mixbridge.bridge.recovery_measure import eq_response
from mixbridge.bridge.report.sheet import value_text
from mixbridge.cli import app

from .dsp import random_parameters
from .graphs import Chain, graph
from .mixes import routed

COMP, GAIN, DELAY = "compressor", "gain_pan", "delay"

PARAMETERS = [*(p for spec in SPECS.values() for p in spec.parameters), MIX]


def shown(before: MixGraph, after: MixGraph) -> list[tuple[str, str, str]]:
    return [(c.channel, c.part, c.text) for c in changes(before, after) if not c.small]


def one_track(chain: Chain, **more: Any) -> MixGraph:
    return graph({"a": chain, "b": []}, **more)


def texts(before: Chain, after: Chain) -> list[str]:
    return [text for _, _, text in shown(one_track(before), one_track(after))]


def test_parameters_with_their_units() -> None:
    before = {"threshold_db": -18.0, "ratio": 4.0, "attack_ms": 5.0, "release_ms": 100.0, "knee_db": 6.0}
    after = {"threshold_db": -21.5, "ratio": 2.5, "attack_ms": 12.0, "release_ms": 1500.0, "knee_db": 6.04}
    (row, *_) = rows = shown(one_track([(COMP, before)]), one_track([(COMP, after | {"mix": 0.5})]))
    assert row == ("a", "Compressor", "threshold -18 → -21.5 dB (-3.5)")
    assert [text for _, _, text in rows[1:]] == [
        "ratio 4:1 → 2.5:1 (-1.5)",
        "attack 5 → 12 ms (+7 ms)",
        "release 100 ms → 1.5 s (+1.4 s)",
        "mix 100 → 50 %",
    ]
    pan = shown(one_track([(GAIN, {"pan": -0.3})]), one_track([(GAIN, {"pan": 0.35})]))
    assert pan == [("a", "Gain/pan", "pan 30 % left → 35 % right")]


def test_bands_are_matched_by_frequency_and_not_by_number() -> None:
    before: Chain = [("eq", {"bell1_hz": 200.0, "bell1_db": 3.0, "bell2_hz": 3000.0, "bell2_db": -4.0})]
    swapped: Chain = [("eq", {"bell3_hz": 200.0, "bell3_db": 3.0, "bell1_hz": 3000.0, "bell1_db": -4.0})]
    assert texts(before, swapped) == []
    (small,) = [c for c in changes(one_track(before), one_track(swapped)) if c.setting == "order"]
    assert small.small
    moved: Chain = [("eq", {"bell3_hz": 250.0, "bell3_db": 3.0, "bell1_hz": 3000.0, "bell1_db": -6.0})]
    assert texts(before, moved)[:2] == [
        "bell at 200 Hz, frequency 200 → 250 Hz (+50 Hz)",
        "bell at 3 kHz, gain -4 → -6 dB (-2)",
    ]
    gone: Chain = [("eq", {"bell1_hz": 200.0, "bell1_db": 3.0, "highpass_hz": 80.0})]
    assert texts(before, gone)[:2] == ["bell -4 dB at 3 kHz (Q 0.71) removed", "high-pass 80 Hz added"]
    far: Chain = [("eq", {"bell1_hz": 900.0, "bell1_db": 3.0, "bell2_hz": 3000.0, "bell2_db": -4.0})]
    assert texts(before, far)[0] == "bell +3 dB at 200 Hz (Q 0.71) removed", "more than an octave is another band"
    shelf: Chain = [("eq", {"low_shelf_db": 3.0, "low_shelf_hz": 50.0})]
    assert texts(shelf, [("eq", {"low_shelf_db": 3.0, "low_shelf_hz": 400.0})])[0].startswith(
        "low shelf at 50 Hz, frequency"
    )


def test_the_largest_difference_of_the_curves() -> None:
    before = one_track([("eq", {"bell1_hz": 200.0, "bell1_db": 3.0})])
    after = one_track([("eq", {"bell1_hz": 200.0, "bell1_db": 3.0, "bell2_hz": 3000.0, "bell2_db": -5.0})])
    (curve,) = [c for c in changes(before, after) if c.setting == "curve"]
    assert curve.difference == pytest.approx(-5.0, abs=0.05)
    assert curve.at_hz == pytest.approx(3000.0, rel=0.03)
    assert curve.text == "curve at most -5.0 dB apart, at 3 kHz"


@given(seed=st.integers(0, 2**32), order=st.permutations(range(1, BELLS + 1)))
@settings(max_examples=15, deadline=None)
def test_curves_that_are_the_same_are_no_difference(seed: int, order: list[int]) -> None:
    values = random_parameters(EQ, np.random.default_rng(seed))
    other = dict(values)
    for old, new in enumerate(order, 1):
        other |= {f"bell{new}_{unit}": values[f"bell{old}_{unit}"] for unit in ("hz", "db", "q")}
    before, after = one_track([("eq", values)]), one_track([("eq", other)])
    pair = [eq_response(g.processors[0], sample_rate_hz=44100) for g in (before, after)]
    assert np.allclose(*pair)
    assert shown(before, after) == []


def test_echoes_are_matched_by_time() -> None:
    before: Chain = [(DELAY, {"tap1_level_db": -6.0, "tap1_time_ms": 250.0})]
    after: Chain = [
        (DELAY, {"tap1_level_db": -9.0, "tap1_time_ms": 20.0, "tap2_level_db": -8.0, "tap2_time_ms": 260.0})
    ]
    assert texts(before, after) == [
        "echo at 250 ms, time 250 → 260 ms (+10 ms)",
        "echo at 250 ms, level -6 → -8 dB (-2)",
        "echo 20 ms at -9 dB added",
    ]


def test_processors_come_go_and_change_places() -> None:
    eq: tuple[str, dict[str, float]] = ("eq", {"bell1_db": 3.0})
    comp: tuple[str, dict[str, float]] = (COMP, {"threshold_db": -20.0, "ratio": 2.0})
    assert shown(one_track([eq]), one_track([eq, comp])) == [
        ("a", "Compressor", "added: Compressor: threshold -20 dB, ratio 2:1, attack 10 ms, release 100 ms, knee 6 dB")
    ]
    assert [text.partition(":")[0] for text in texts([eq, comp], [comp])] == ["removed"]
    assert texts([eq, comp], [comp, eq]) == ["order EQ, Compressor → Compressor, EQ"]
    second: tuple[str, dict[str, float]] = (COMP, {"threshold_db": -40.0, "ratio": 8.0})
    assert texts([comp, second], [comp, (COMP, second[1] | {"ratio": 6.0})]) == ["ratio 8:1 → 6:1 (-2)"]


def test_channels_sends_groups_and_losses() -> None:
    drums: dict[str, Any] = {"groups": {"drums": (["a"], [])}}
    before = graph({"a": [], "b": [], "c": []}, **drums, returns={"hall": ({"b": -12.0, "c": -6.0}, [])})
    after = graph({"a": [], "b": [], "d": [(GAIN, {"gain_db": 2.0})]}, returns={"hall": ({"b": -14.0, "a": -3.0}, [])})
    before = before.model_copy(update={"provenance": Provenance(loss=Loss(pruned=0.3012), seed=1)})
    after = after.model_copy(update={"provenance": Provenance(loss=Loss(pruned=0.2951), seed=1)})
    assert shown(before, after) == [
        ("song", "Match loss", "pruned 0.3012 → 0.2951 (-0.0061)"),
        ("a", "Group", "drums → Master"),
        ("a", "Send to hall", "added: -3 dB"),
        ("b", "Send to hall", "level -12 → -14 dB (-2)"),
        ("c", "Track", "removed: without processors"),
        ("drums", "Group", "removed: without processors"),
        ("d", "Track", "added: Gain +2 dB"),
    ]


def test_groups_are_matched_by_their_stems_where_names_differ() -> None:
    before = graph({"a": [], "b": [], "c": []}, groups={"drums": (["a", "b"], [(GAIN, {"gain_db": 1.0})])})
    after = graph({"a": [], "b": [], "c": []}, groups={"kit": (["a", "b"], [(GAIN, {"gain_db": 2.0})])})
    assert match_channels(before, after)["drums"] == "kit"
    assert shown(before, after) == [
        ("kit", "Group", "name drums → kit"),
        ("kit", "Gain/pan", "gain +1 → +2 dB (+1)"),
    ]


def test_automation_and_placement() -> None:
    rides = [VolumePoint(time_s=0.0, gain_db=0.0), VolumePoint(time_s=2.0, gain_db=-6.0)]
    before, after = graph({"a": []}), graph({"a": []}, volume={"a": rides})
    (change,) = changes(before, after)
    assert (change.change, change.part, change.unit) == ("added", "Fader ride", "dB")
    assert change.difference == pytest.approx(-6.0, abs=0.01)
    assert change.at_s == pytest.approx(2.0, abs=0.06)
    assert change.text == "none → 2 points, -6 to 0 dB; at most -6.0 dB apart, at 2.0 s"
    nodes = [
        n.model_copy(update={"polarity": -1, "pan": [PanPoint(time_s=0.0, pan=0.5)]}) if isinstance(n, Stem) else n
        for n in before.nodes
    ]
    assert shown(before, before.model_copy(update={"nodes": nodes})) == [
        ("a", "File", "placed as it is → polarity inverted"),
        ("a", "Pan ride", "none → 50 % right throughout; at most 50 % to the right apart, at 0.0 s"),
    ]


@given(graph=routed())
@settings(max_examples=15, deadline=None)
def test_a_graph_does_not_differ_from_itself(graph: MixGraph) -> None:
    assert changes(graph, MixGraph.from_json(graph.to_json())) == []


@given(graph=routed(), data=st.data())
@settings(max_examples=20, deadline=None)
def test_any_changed_parameter_is_found(graph: MixGraph, data: st.DataObject) -> None:
    if not graph.processors:
        return
    node = data.draw(st.sampled_from(graph.processors))
    parameter = data.draw(st.sampled_from(SPECS[node.type].parameters))
    value = data.draw(st.floats(parameter.minimum, parameter.maximum))
    other = node.model_copy(update={"parameters": node.parameters | {parameter.name: value}})
    nodes = [other if isinstance(n, Processor) and n.id == node.id else n for n in graph.nodes]
    found = changes(graph, graph.rebuilt(nodes, graph.edges))
    assert bool(found) == (value != node.parameters[parameter.name])
    assert {c.channel_kind for c in found} <= {"track", "group", "return", "master"}


@given(parameter=st.sampled_from(PARAMETERS), data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_shown_reads_differently(parameter: Parameter, data: st.DataObject) -> None:
    values = st.floats(parameter.minimum, parameter.maximum)
    before, after = data.draw(values), data.draw(values)
    found: list[Change] = list(number_change("a", "track", "EQ", "x", parameter, before, after))
    assert len(found) == (before != after)
    for change in found:
        old, new = ("off" if v == parameter.off_at else value_text("", parameter, v) for v in (before, after))
        if abs(after - before) < 0.5 * resolution(parameter, before) and parameter.off_at not in (before, after):
            assert change.small
        elif not change.small:
            assert old != new
            assert change.text.startswith(f"x {old.split()[0]}")


def test_files_and_the_command(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    one_track([(GAIN, {"gain_db": -3.0})]).save(paths[0])
    one_track([(GAIN, {"gain_db": -1.0})]).save(paths[1])
    one_track([(GAIN, {"gain_db": -3.01})]).save(paths[2])
    run = CliRunner()
    different = run.invoke(app, ["diff", str(paths[0]), str(paths[1])])
    assert (different.exit_code, different.stdout) == (0, "a\tGain/pan\tgain -3 → -1 dB (+2)\n")
    assert run.invoke(app, ["diff", str(paths[0]), str(paths[1]), "--exit-code"]).exit_code == 1
    same = run.invoke(app, ["diff", str(paths[0]), str(paths[2]), "--exit-code"])
    assert (same.exit_code, same.stdout) == (0, "")
    assert "1 too small to hear, --all shows them" in " ".join(same.stderr.split())
    everything = run.invoke(app, ["diff", str(paths[0]), str(paths[2]), "--all", "--exit-code"])
    assert (everything.exit_code, everything.stdout) == (1, "a\tGain/pan\tgain -3 → -3.01 dB (-0.01)\n")
    data = json.loads(run.invoke(app, ["diff", str(paths[0]), str(paths[1]), "--json"]).stdout)
    assert data["identical"] is False
    (change,) = data["changes"]
    assert (change["before"], change["after"], change["difference"], change["unit"]) == (-3.0, -1.0, 2.0, "dB")
    assert json.loads(run.invoke(app, ["diff", str(paths[0]), str(paths[0]), "--json"]).stdout)["identical"] is True
    assert diff_files(*paths[:2], only=["B"]).changes == ()
    with pytest.raises(ParameterError, match="no such channel"):
        diff_files(*paths[:2], only=["x"])
    with pytest.raises(GraphError, match="cannot read"):
        diff_files(paths[0], tmp_path / "none.json")
