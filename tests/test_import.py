"""Sessions as graphs: what comes back sounds like the session, edits included, and what cannot come back is named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from typer.testing import CliRunner

from mixbridge.bridge.errors import SessionFileError
from mixbridge.bridge.graph import MixGraph
from mixbridge.bridge.import_session import import_session
from mixbridge.cli import app
from mixbridge.exporters.chain import Chain, Channel, PanPoint, Send, Source, VolumePoint

from .exports import export_pedalboard, export_reaper
from .mixes import assert_nulls, reference_render, routed, write_stems
from .plugin_mixes import COMPRESSOR, EQ, GAIN, mix_of

#: Numbers of a project have fifteen digits.
NULL_DB = -120.0


def project_of(graph: MixGraph, root: Path, **options: str) -> Path:
    write_stems(graph, root / "stems")
    return export_reaper(graph, stems_dir=root / "stems", folder=root / "out", **options)  # type: ignore[arg-type]


def edited(path: Path, pattern: str, replacement: str) -> Path:
    text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert count == 1
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    graph = mix_of(
        {}, track=[("eq", EQ, 0.8), ("gain_pan", GAIN, 1.0)], bus=[("compressor", COMPRESSOR, 1.0)], master=[]
    )
    return project_of(graph, tmp_path)


@given(graph=routed())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_project_comes_back_as_a_graph_with_the_same_sound(
    graph: MixGraph, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("import")
    found = import_session(project_of(graph, root))
    assert MixGraph.from_json(found.graph.to_json()) == found.graph
    assert_nulls(
        reference_render(found.graph, found.stems_dir), reference_render(graph, root / "stems"), below_db=NULL_DB
    )
    shutil.rmtree(root)


def test_a_chain_comes_back_as_well(tmp_path: Path) -> None:
    graph = mix_of({}, track=[("gain_pan", GAIN, 0.5)], bus=[("imager", {"width": 1.4}, 1.0)], master=[])
    write_stems(graph, tmp_path / "stems")
    path = export_pedalboard(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out", suites="pedalboard")
    found = import_session(path)
    assert_nulls(
        reference_render(found.graph, found.stems_dir), reference_render(graph, tmp_path / "stems"), below_db=NULL_DB
    )


def test_what_an_engineer_changed_is_in_the_graph(project: Path) -> None:
    before = import_session(project).graph
    edited(project, r'(<JS "<Project>/mixbridge_compressor.jsfx".*\n\s*)\S+', r"\g<1>-31.5")
    after = import_session(project).graph
    (was, now) = ([p for p in g.processors if p.type == "compressor"] for g in (before, after))
    assert was[0].parameters["threshold_db"] == -24.0
    assert now[0].parameters == was[0].parameters | {"threshold_db": -31.5}


def test_dry_and_wet_of_host_and_effect_are_one(project: Path) -> None:
    edited(project, r"(<JS \"<Project>/mixbridge_eq.jsfx\"[^>]*>)", r"\g<1>\n      WET 0.5 0")
    (eq,) = (p for p in import_session(project).graph.processors if p.type == "eq")
    assert eq.mix == pytest.approx(0.4)


def test_what_is_bypassed_is_at_hand_and_what_is_silent_is_said(project: Path) -> None:
    text = project.read_text(encoding="utf-8")
    first = text.index("BYPASS 0 0 0")
    project.write_text(text[:first] + text[first:].replace("BYPASS 0 0 0", "BYPASS 1 0 0", 1), encoding="utf-8")
    edited(project, r'(NAME "?bass"?\n(?:(?!\s*MUTESOLO).*\n)*?\s*MUTESOLO) 0 0 0', r"\g<1> 1 0 0")
    found = import_session(project)
    (note,) = found.notes
    assert note.startswith("bass: is silent")
    assert [p.processor.type for p in found.graph.pruned] == ["compressor"]
    assert "compressor" not in {p.type for p in found.graph.processors}


def test_a_bypassed_plugin_of_others_is_left_out_and_said(project: Path) -> None:
    clap = '<CLAP "CLAP: Thing (Maker)" maker.thing ""\n'
    edited(project, r'BYPASS 0 0 0\n(\s*)<JS "<Project>/mixbridge_eq.jsfx" .*\n.*\n', rf"BYPASS 1 0 0\n\g<1>{clap}")
    (note,) = import_session(project).notes
    assert "CLAP: Thing (Maker) is bypassed and was left out" in note


def test_another_plugin_is_refused_with_a_remedy(project: Path) -> None:
    edited(project, r'<JS "<Project>/mixbridge_eq.jsfx" .*\n.*\n', '<CLAP "CLAP: Thing (Maker)" maker.thing ""\n')
    with pytest.raises(SessionFileError, match=r"CLAP: Thing \(Maker\) is no effect of ours.*bypass it there"):
        import_session(project)


def test_reapers_own_plugins_come_back(tmp_path: Path) -> None:
    graph = mix_of({}, track=[("eq", EQ, 1.0)], bus=[("compressor", COMPRESSOR, 0.6)], master=[])
    found = import_session(project_of(graph, tmp_path, suites="reaplugs")).graph
    assert sorted(p.type for p in found.processors) == ["compressor", "eq"]
    compressor = next(p for p in found.processors if p.type == "compressor")
    assert compressor.mix == 0.6
    assert compressor.parameters == pytest.approx(COMPRESSOR, rel=1e-6)


def chain_of(tmp_path: Path, make: Callable[[dict[str, object]], Channel]) -> Path:
    graph = mix_of({}, track=[], bus=[], master=[])
    write_stems(graph, tmp_path)
    track = make({"id": "t", "name": "t", "kind": "track", "parent": "b", "source": Source(file="kick.wav")})
    channels = (track, Channel(id="b", name="b", kind="bus", parent="m"), Channel(id="m", name="m", kind="master"))
    chain = Chain(name="n", sample_rate_hz=44100, frames=1000, channels=channels)
    chain.save(tmp_path / "chain.json")
    return tmp_path / "chain.json"


def test_a_jump_of_automation_takes_one_sample_and_what_is_too_loud_goes_to_the_fader(tmp_path: Path) -> None:
    points = tuple(VolumePoint(time_s=t, gain_db=g) for t, g in ((0.0, 0.0), (0.01, 0.0), (0.01, 18.0)))
    found = import_session(chain_of(tmp_path, lambda given: Channel(**given, volume=points)))  # type: ignore[arg-type]
    (stem,) = found.graph.stems
    assert [p.gain_db for p in stem.volume] == [-6.0, -6.0, 12.0]
    assert stem.volume[2].time_s - stem.volume[1].time_s == pytest.approx(1 / 44100)
    (fader,) = found.graph.processors
    assert fader.parameters == {"gain_db": 6.0, "pan": 0.0}


def test_a_pan_that_moves_stays_one_and_the_faders_own_becomes_a_processor(tmp_path: Path) -> None:
    points = tuple(PanPoint(time_s=t, pan=p) for t, p in ((0.0, -0.5), (0.01, -0.5), (0.01, 1.0)))
    found = import_session(chain_of(tmp_path, lambda given: Channel(**given, pan=0.25, pan_points=points)))  # type: ignore[arg-type]
    (stem,) = found.graph.stems
    assert [p.pan for p in stem.pan] == [-0.5, -0.5, 1.0]
    assert stem.pan[2].time_s - stem.pan[1].time_s == pytest.approx(1 / 44100)
    assert [p.parameters for p in found.graph.processors] == [{"gain_db": 0.0, "pan": 0.25}]


@pytest.mark.parametrize(
    ("level_db", "gains_db", "send_db", "expected"),
    [
        (0.0, [-6.0, -12.0], 0.0, [-6.0, -12.0]),
        (0.0, [-55.0, -140.0], -60.0, [5.0, -80.0]),
        (6.0, [18.0, 0.0], 12.0, [12.0, -6.0]),
        (-90.0, [40.0, 0.0], -60.0, [10.0, -30.0]),
        (20.0, [-30.0, 4.0], 12.0, [-22.0, 12.0]),
        (0.0, [0.0, -300.0], 0.0, [0.0, -80.0]),
    ],
)
def test_the_level_of_a_send_that_moves_is_shared_between_both_ranges(
    tmp_path: Path, level_db: float, gains_db: list[float], send_db: float, expected: list[float]
) -> None:
    points = tuple(VolumePoint(time_s=0.01 * i, gain_db=g) for i, g in enumerate(gains_db))
    send = Send(target="b", gain=10 ** (level_db / 20), volume=points)
    path = chain_of(tmp_path, lambda given: Channel(**(given | {"parent": "m", "sends": (send,)})))  # type: ignore[arg-type]
    ((_, edge),) = import_session(path).graph.all_sends().items()
    assert edge.send_db == pytest.approx(send_db) and [p.gain_db for p in edge.volume] == pytest.approx(expected)


def test_a_send_that_moves_beyond_every_range_is_refused_or_left_out(tmp_path: Path) -> None:
    def sending(gain_db: float) -> Path:
        send = Send(target="b", gain=1.0, volume=(VolumePoint(time_s=0.0, gain_db=gain_db),))
        return chain_of(tmp_path, lambda given: Channel(**(given | {"parent": "m", "sends": (send,)})))  # type: ignore[arg-type]

    with pytest.raises(SessionFileError, match=r"send: .*turn it down"):
        import_session(sending(25.0))
    found = import_session(sending(-150.0))
    assert not found.graph.all_sends() and any("a send below -140 dB" in note for note in found.notes)


def test_a_send_that_is_too_loud_is_refused_and_one_that_is_silent_left_out(tmp_path: Path) -> None:
    def sending(gain: float) -> Callable[[dict[str, object]], Channel]:
        return lambda given: Channel(**(given | {"parent": "m", "sends": (Send(target="b", gain=gain),)}))  # type: ignore[arg-type]

    with pytest.raises(SessionFileError, match=r"send: .*turn it down"):
        import_session(chain_of(tmp_path, sending(10.0)))
    found = import_session(chain_of(tmp_path, sending(0.0)))
    assert not found.graph.all_sends()
    assert "send below" in found.notes[0]


def test_the_command_writes_a_graph_that_can_be_exported_again(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["import", str(project), "--json"])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["graph"] == "a mix.graph.json" and told["processors"] == 3
    refused = CliRunner().invoke(app, ["import", str(project)])
    assert refused.exit_code == 2 and "--overwrite" in refused.stderr
    again = ["export", told["graph"], told["stems"], "--export", "reaper", "--out", "again", "--json"]
    assert CliRunner().invoke(app, again).exit_code == 0
    found = import_session(next((tmp_path / "again" / "reaper").glob("*.rpp")))
    first = MixGraph.load(tmp_path / told["graph"])
    np.testing.assert_allclose(
        reference_render(found.graph, found.stems_dir), reference_render(first, Path(told["stems"])), atol=1e-9
    )


@pytest.mark.parametrize("content", ["", "<REAPER_PROJECT 0.1\n", "{}"])
def test_files_that_are_no_sessions_cost_one_line(tmp_path: Path, content: str) -> None:
    for name in ("a.rpp", "chain.json"):
        (tmp_path / name).write_text(content, encoding="utf-8")
        done = CliRunner().invoke(app, ["import", str(tmp_path / name), "--out", str(tmp_path / "g.json")])
        assert done.exit_code == 2
        assert len(done.stderr.strip().splitlines()) == 1 and name in done.stderr
        assert not (tmp_path / "g.json").exists()
