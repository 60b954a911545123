"""Rendering a graph file: as the analysis did it, one channel alone, every channel, and nothing written over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from typer.testing import CliRunner

from mixbridge.bridge.audio import read_audio, write_wav
from mixbridge.bridge.channels import continued, find_channel, soloed
from mixbridge.bridge.errors import AudioFileError, GraphError, OutputError, ParameterError
from mixbridge.bridge.graph import MIX_SOURCE, STEMS_SOURCE, MixGraph, Provenance
from mixbridge.bridge.processors.specs import SPECS
from mixbridge.bridge.render import render_graph
from mixbridge.bridge.render_files import render_files
from mixbridge.bridge.result_folder import GRAPH_FILE, MATCH_FILE
from mixbridge.cli import app

from .dsp import programme
from .graphs import graph
from .mixes import assert_nulls, reference_render, routed, write_stems

#: Files hold 32-bit floats.
FILE_NULL_DB = -120.0

LINEAR = tuple(kind for kind, spec in SPECS.items() if spec.linear and kind != "reverb")


@pytest.fixture
def song(tmp_path: Path) -> tuple[Path, Path, MixGraph]:
    """Two tracks in a group, one beside it, a return fed by two of them; all of it linear."""
    found = graph(
        {
            "kick": [("gain_pan", {"gain_db": -3.0, "pan": -0.2})],
            "snare": [("eq", {"bell1_db": 5.0})],
            "keys": [("gain_pan", {"gain_db": 2.0})],
        },
        groups={"drums": (["kick", "snare"], [("eq", {"highpass_hz": 90.0})])},
        returns={"echo": ({"snare": -6.0, "keys": -9.0}, [("delay", {"tap1_level_db": -3.0, "tap1_time_ms": 30.0})])},
        master=[("gain_pan", {"gain_db": -1.0})],
    ).model_copy(update={"frames": 30000})
    stems = tmp_path / "stems"
    write_stems(found, stems, frames=24000)
    folder = tmp_path / "song.mixbridge"
    folder.mkdir()
    placed = found.model_copy(update={"provenance": Provenance(sources={STEMS_SOURCE: str(stems)})})
    placed.save(folder / GRAPH_FILE)
    return folder, stems, placed


@given(graph=routed())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_it_renders_what_the_graph_means(graph: MixGraph, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("render")
    write_stems(graph, root / "stems")
    graph.save(root / GRAPH_FILE)
    done = render_files(root, root / "stems", out=root / "out.wav")
    audio = read_audio(done.path)
    assert_nulls(audio, reference_render(graph, root / "stems"), below_db=FILE_NULL_DB)
    assert done.frames == audio.shape[1] == graph.frames
    shutil.rmtree(root)


def test_a_graph_as_it_was_found_gives_its_match(song: tuple[Path, Path, MixGraph], tmp_path: Path) -> None:
    folder, stems, graph = song
    write_wav(folder / MATCH_FILE, reference_render(graph, stems), sample_rate_hz=graph.sample_rate_hz)
    done = render_files(folder, out=tmp_path / "again.wav")
    assert done.path.read_bytes() == (folder / MATCH_FILE).read_bytes()


def test_solos_of_what_is_linear_add_up_to_the_mix(song: tuple[Path, Path, MixGraph], tmp_path: Path) -> None:
    folder, _, _ = song

    def solo(name: str) -> np.ndarray:
        return read_audio(render_files(folder, out=tmp_path / f"{name}.wav", only=name).path).astype(np.float64)

    whole = read_audio(render_files(folder, out=tmp_path / "whole.wav").path)
    kick, snare, keys, drums, echo = (solo(name) for name in ("kick", "SNARE", "keys", "drums", "echo"))
    assert_nulls(kick + snare + keys, whole, below_db=FILE_NULL_DB)
    assert_nulls(kick + snare, drums, below_db=FILE_NULL_DB)
    assert np.array_equal(solo("master"), whole)
    # A return is heard without what feeds it.
    dry = MixGraph.load(folder / GRAPH_FILE)
    (tmp_path / "dry.json").write_text(dry.without_sends(dry.all_sends()).tidied().to_json(), encoding="utf-8")
    assert_nulls(
        echo + read_audio(render_files(tmp_path / "dry.json", tmp_path / "stems", out=tmp_path / "d.wav").path),
        whole,
        below_db=FILE_NULL_DB,
    )


@given(graph=routed(allowed=LINEAR))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_graph_can_be_soloed(graph: MixGraph) -> None:
    audio = {s.id: programme(seconds=0.1, rate_hz=graph.sample_rate_hz, seed=i) for i, s in enumerate(graph.stems)}
    whole = render_graph(graph, lambda stem: audio[stem.id])
    parts = [render_graph(soloed(graph, stem.id), lambda stem: audio[stem.id]) for stem in graph.stems]
    scale = max(1.0, *(float(np.abs(part).max()) for part in parts))
    assert np.abs(sum(parts) - whole).max() < 1e-9 * scale
    outputs: dict[str, np.ndarray] = {}
    render_graph(graph, lambda stem: audio[stem.id], on_channel=outputs.__setitem__)
    for bus in graph.buses:
        if bus.id in outputs:
            rest = continued(graph, bus.id)
            assert [stem.id for stem in rest.stems] == [bus.id]
            assert render_graph(rest, lambda _: outputs[bus.id]).shape == whole.shape  # noqa: B023


def test_every_channel_as_a_file(song: tuple[Path, Path, MixGraph], tmp_path: Path) -> None:
    folder, stems, graph = song
    done = render_files(folder, out=tmp_path / "mix.wav", channels_dir=tmp_path / "channels")
    names = ["kick.wav", "snare.wav", "keys.wav", "drums.wav", "echo.wav", "Master.wav"]
    assert [path.name for path in done.channels.values()] == sorted(
        names, key=lambda n: list(done.channels.values()).index(tmp_path / "channels" / n)
    )
    assert {path.name for path in (tmp_path / "channels").iterdir()} == set(names)
    outputs: dict[str, np.ndarray] = {}
    render_graph(
        graph,
        lambda stem: np.pad(read_audio(stems / stem.file), ((0, 0), (0, graph.frames - 24000))),
        on_channel=outputs.__setitem__,
    )
    for channel, path in done.channels.items():
        assert_nulls(read_audio(path), outputs[channel], below_db=FILE_NULL_DB)
    assert np.array_equal(read_audio(tmp_path / "channels/Master.wav"), read_audio(tmp_path / "mix.wav"))


def test_without_a_length_the_longest_stem_counts(song: tuple[Path, Path, MixGraph], tmp_path: Path) -> None:
    _, stems, graph = song
    moved = [n.model_copy(update={"offset_samples": 500}) if n.id == "keys" else n for n in graph.nodes]
    path = tmp_path / "endless.json"
    graph.model_copy(update={"frames": 0, "nodes": moved}).save(path)
    assert render_files(path, stems, out=tmp_path / "out.wav").frames == 24500


def test_nothing_is_written_over(song: tuple[Path, Path, MixGraph], tmp_path: Path) -> None:
    folder, stems, graph = song
    out = tmp_path / "out.wav"
    render_files(folder, out=out)
    before = out.read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        render_files(folder, out=out, only="kick")
    assert out.read_bytes() == before
    render_files(folder, out=out, only="kick", overwrite=True)
    assert out.read_bytes() != before
    (tmp_path / "channels").mkdir()
    (tmp_path / "channels/echo.wav").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"echo\.wav"):
        render_files(folder, out=tmp_path / "new.wav", channels_dir=tmp_path / "channels")
    assert not (tmp_path / "new.wav").exists()
    kick = (stems / "kick.wav").read_bytes()
    mix = tmp_path / "mix.wav"
    mix.write_bytes(b"the mix")
    graph.model_copy(update={"provenance": Provenance(sources={MIX_SOURCE: str(mix)})}).save(tmp_path / "g.json")
    for target in (stems / "kick.wav", mix):
        with pytest.raises(OutputError, match="stem or the mix"):
            render_files(tmp_path / "g.json", stems, out=target, overwrite=True)
    with pytest.raises(OutputError, match="stem or the mix"):
        render_files(folder, out=tmp_path / "x.wav", channels_dir=stems, overwrite=True)
    assert (stems / "kick.wav").read_bytes() == kick
    with pytest.raises(OutputError, match="both"):
        render_files(folder, out=tmp_path / "c" / "Master.wav", channels_dir=tmp_path / "c")
    for bad in (folder, tmp_path / "g.json" / "x.wav"):
        with pytest.raises(OutputError):
            render_files(folder, out=bad, overwrite=True)


def test_what_is_missing_is_named(song: tuple[Path, Path, MixGraph], tmp_path: Path) -> None:
    folder, stems, graph = song
    with pytest.raises(GraphError, match="cannot read"):
        render_files(tmp_path / "none.json", stems)
    with pytest.raises(AudioFileError, match="no such folder"):
        render_files(folder, tmp_path / "nowhere")
    with pytest.raises(ParameterError, match=r"no such channel; there are kick, snare"):
        render_files(folder, only="vocals")
    (stems / "snare.wav").unlink()
    with pytest.raises(AudioFileError, match=r"snare\.wav"):
        render_files(folder, out=tmp_path / "x.wav")
    twice = [n.model_copy(update={"name": "kick"}) if n.id == "keys" else n for n in graph.nodes]
    with pytest.raises(ParameterError, match="choose by id"):
        find_channel(graph.model_copy(update={"nodes": twice}), "Kick")


def test_the_command(song: tuple[Path, Path, MixGraph], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, _, _ = song
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["render", str(folder), "--only", "drums", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["file"] == "song.drums.render.wav"
    assert told["peak_db"] == pytest.approx(20 * np.log10(np.abs(read_audio(tmp_path / told["file"])).max()))
    again = CliRunner().invoke(app, ["render", str(folder), "--only", "drums"])
    assert (again.exit_code, again.stdout) == (2, "")
    assert again.stderr.count("\n") == 1
    plain = CliRunner().invoke(app, ["render", str(folder), "--stems-out", "channels"])
    assert plain.stdout.splitlines()[0].split() == ["mix", "song.render.wav"]
    assert len(plain.stdout.splitlines()) == 8
