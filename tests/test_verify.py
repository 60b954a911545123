"""The verifier: what is written nulls, what was changed is found and named, and nothing stops a long list."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixbridge.bridge import features as feature_set
from mixbridge.bridge.audio import resample, write_wav
from mixbridge.bridge.errors import EXIT_AMBER, EXIT_FAILURE, EXIT_OK, EXIT_USER_ERROR, VerifyError
from mixbridge.bridge.graph import (
    Bus,
    Edge,
    Loss,
    Master,
    MixGraph,
    Node,
    PanPoint,
    Processor,
    Provenance,
    Stem,
    VolumePoint,
)
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.hosting.state import decode_lsp_state, encode_lsp_state
from mixbridge.bridge.metrics import LOSS_RATE_HZ, match_loss
from mixbridge.bridge.processors.specs import spec_of
from mixbridge.bridge.suites import choose_profiles
from mixbridge.bridge.verify import run
from mixbridge.bridge.verify.locate import find_jobs
from mixbridge.bridge.verify.measure import find_offset, moved, null_db
from mixbridge.bridge.verify.nodes import NodeMeter, expectations
from mixbridge.bridge.verify.realise import ChainRenderer, RenderOptions, render_chain
from mixbridge.bridge.verify.results import NodeResult, Verification
from mixbridge.bridge.verify.run import verify_paths
from mixbridge.bridge.verify.settings import Progress, VerifySettings
from mixbridge.bridge.verify.verdict import AMBER_GAP, GREEN_GAP, exit_code, verdict_of
from mixbridge.exporters.chain import Chain
from mixbridge.exporters.inserts import MIXER_TYPES
from mixbridge.exporters.pedalboard import build_chain
from mixbridge.exporters.reaper.read import read_project
from mixbridge.exporters.session import build_session
from mixbridge.exporters.vstpreset import decode_vstpreset, encode_vstpreset

from .dsp import programme
from .exports import export_pedalboard, export_reaper
from .mixes import assert_nulls, reference_render, routed, write_stems
from .suites import installed
from .test_report import Page

RATE_HZ = 44100
SECONDS = 3.2
FRAMES = int(SECONDS * RATE_HZ)

#: What the search is made to have reached, above the reference render.
TWIN_LOSS_SHARE = 0.0005


def mixing_graph(*, dynamics: bool = True, suite: str = "jsfx") -> MixGraph:
    """Three tracks, a group and a master, with something to lose on each, in the laws of a suite."""
    profiles = choose_profiles(suite)

    def processor(kind: str, node: str, *, mix: float = 1.0, **values: float) -> Processor:
        law = profiles[kind].law if kind in profiles else ""
        return Processor(type=kind, id=node, mix=mix, law=law, parameters=spec_of(kind).defaults() | values)

    compressor: list[Node] = [processor("compressor", "bass-c", threshold_db=-30.0, ratio=4.0, makeup_db=3.0)]
    glue: list[Node] = [processor("compressor", "m-c", threshold_db=-18.0, ratio=2.0)]
    chains: list[tuple[str, list[Node]]] = [
        ("drums", [Stem(id="kick", name="kick", file="kick.wav"), processor("eq", "kick-eq", bell2_db=4.5),
                   processor("gain_pan", "kick-gp", gain_db=-3.0, pan=0.2)]),
        ("master", [Stem(id="bass", name="bass", file="bass.wav", channels=1, offset_samples=30, polarity=-1),
                    *(compressor if dynamics else []), processor("gain_pan", "bass-gp", gain_db=2.0)]),
        ("master", [Stem(id="vox", name="vox", file="vox.wav"), processor("gain_pan", "vox-gp", gain_db=-1.0),
                    processor("reverb", "vox-r", mix=0.25, level_db=-6.0, decay_s=0.6)]),
        ("master", [Bus(id="drums", name="drums"), processor("eq", "drums-eq", highpass_hz=60.0)]),
        ("", [Master(), *(glue if dynamics else [])]),
    ]  # fmt: skip
    nodes = [node for _, chain in chains for node in chain]
    ends = [[node.id for node in chain] + ([target] if target else []) for target, chain in chains]
    edges = [Edge(source=a, target=b) for chain in ends for a, b in pairwise(chain)]
    return MixGraph(name="song", sample_rate_hz=RATE_HZ, frames=FRAMES, nodes=nodes, edges=edges)


def with_sends(graph: MixGraph, *, suite: str) -> MixGraph:
    """The same with two returns, one in the group, and automation on a track, a group, a return and the master."""
    delay = spec_of("delay").defaults() | {"tap1_level_db": -3.0, "tap1_time_ms": 80.0, "tap1_pan": 0.5}
    swell = [VolumePoint(time_s=0.5, gain_db=-6.0), VolumePoint(time_s=2.0, gain_db=3.0)]
    nodes = [
        *graph.nodes,
        Bus(id="hall", name="hall", volume=swell),
        Processor(type="delay", id="hall-d", parameters=delay, law=choose_profiles(suite)["delay"].law),
        Processor(type="gain_pan", id="hall-gp", parameters={"gain_db": 2.0, "pan": -0.3}),
        Bus(id="slap", name="slap"),
    ]  # fmt: skip
    rides = {
        "kick": [VolumePoint(time_s=0.0, gain_db=-80.0), VolumePoint(time_s=1.0, gain_db=0.0)],
        "drums": [VolumePoint(time_s=1.0, gain_db=1.0), VolumePoint(time_s=1.5, gain_db=-3.0)],
        "master": [VolumePoint(time_s=2.5, gain_db=0.0), VolumePoint(time_s=3.2, gain_db=-80.0)],
    }
    nodes = [n.model_copy(update={"volume": rides[n.id]}) if n.id in rides else n for n in nodes]
    swing = [PanPoint(time_s=0.5, pan=-0.6), PanPoint(time_s=2.5, pan=0.8)]
    nodes = [n.model_copy(update={"pan": swing}) if n.id in ("vox", "hall") else n for n in nodes]
    chains = [("hall", "hall-d"), ("hall-d", "hall-gp"), ("hall-gp", "master"), ("slap", "drums")]
    sends = [
        ("kick-gp", "hall", -6.0),
        ("vox-r", "hall", -9.0),
        ("kick-gp", "slap", -12.0),
        ("drums-eq", "hall", -15.0),
    ]
    edges = [*graph.edges, *(Edge(source=a, target=b) for a, b in chains)]
    moving = [Edge(source=a, target=b, send_db=level, volume=swell if a == "vox-r" else []) for a, b, level in sends]
    return graph.rebuilt(nodes, [*edges, *moving])


def write_song(
    folder: Path, *, dynamics: bool = True, suite: str = "jsfx", sends: bool = False, plugins: bool = True
) -> MixGraph:
    """Stems, a mix that is nearly the graph's render, and an analysis folder without sessions."""
    (folder / "stems").mkdir(parents=True)
    for number, (name, channels) in enumerate((("kick", 2), ("bass", 1), ("vox", 2))):
        audio = 0.35 * programme(seconds=SECONDS, seed=number)[:channels]
        soundfile.write(folder / "stems" / f"{name}.wav", audio.T, RATE_HZ, subtype="FLOAT")
    graph = mixing_graph(dynamics=dynamics, suite=suite)
    if sends:
        graph = with_sends(graph, suite=suite)
    if not plugins:
        graph = graph.without({p.id for p in graph.processors if p.type not in MIXER_TYPES})
    match = reference_render(graph, folder / "stems")
    mix = match + 0.002 * np.random.default_rng(9).standard_normal(match.shape)
    write_wav(folder / "mix.wav", mix, sample_rate_hz=RATE_HZ)
    pair = [resample(a, from_hz=RATE_HZ, to_hz=LOSS_RATE_HZ) for a in (match, mix)]
    reference = match_loss(*pair)["total"]
    graph = graph.model_copy(
        update={
            "provenance": Provenance(
                sources={"mix": str(folder / "mix.wav"), "stems": str(folder / "stems")},
                loss=Loss(reference=reference, pruned=reference + TWIN_LOSS_SHARE),
            )
        }
    )
    out = folder / "song.mixbridge"
    out.mkdir()
    write_wav(out / "match.wav", match, sample_rate_hz=RATE_HZ)
    graph.save(out / "graph.json")
    return graph


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A song analysed and exported to REAPER; not to be changed."""
    folder = tmp_path_factory.mktemp("original")
    graph = write_song(folder)
    export_reaper(graph, stems_dir=folder / "stems", folder=folder / "song.mixbridge" / "reaper")
    return folder


@pytest.fixture
def song(original: Path, tmp_path: Path) -> Path:
    """A copy of the song in which everything may be changed; its graph refers to the original mix."""
    shutil.copytree(original, tmp_path / "song")
    return tmp_path / "song"


def project_of(song: Path) -> Path:
    return song / "song.mixbridge" / "reaper" / "song.rpp"


def change(path: Path, old: str, new: str, *, after: str = "") -> None:
    text = path.read_text("utf-8")
    start = text.index(after)
    assert old in text[start:], old
    path.write_text(text[:start] + text[start:].replace(old, new, 1), encoding="utf-8")


def verify_one(path: Path, **settings: object) -> Verification:
    (result,) = verify_paths([path], settings=VerifySettings(**settings))  # type: ignore[arg-type]
    assert result.error == ""
    return result


def node_of(result: Verification, node: str) -> NodeResult:
    return next(n for n in result.nodes if n.id == node)


# ------------------------------------------------------------------------------ what is written sounds the same


@pytest.fixture(scope="module")
def verified(original: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Verification]:
    folder = tmp_path_factory.mktemp("verified") / "song"
    shutil.copytree(original, folder)
    return folder, verify_one(folder / "song.mixbridge")


def test_a_written_session_nulls_and_is_green(verified: tuple[Path, Verification]) -> None:
    _, result = verified
    assert result.verdict == "green" and exit_code([result.verdict]) == EXIT_OK
    assert result.null_db is not None and result.null_db < -80.0
    assert result.loss.real == pytest.approx(result.loss.graph, abs=1e-5)
    # The gap is that to the search, which the song says was a little worse than the reference.
    assert result.gap_to == "differentiable" and result.gap == pytest.approx(-TWIN_LOSS_SHARE, abs=1e-5)
    assert result.offset_samples == 0 and result.loudness_difference_lu == pytest.approx(0.0, abs=1e-4)
    assert {n.id for n in result.nodes} == {"kick-eq", "bass-c", "vox-r", "drums-eq", "m-c"}
    assert all(n.null_db is not None and n.null_db < -100.0 and n.contribution is None for n in result.nodes)
    assert [c.id for c in result.channels] == ["kick", "drums", "bass", "vox", "master"]
    assert all(c.null_db is not None and c.null_db < -100.0 for c in result.channels)
    assert all(abs(o.to_graph_db or 0.0) < 1e-3 for o in result.octaves)
    assert set(result.features) == {"real", "graph", "target"}
    assert result.features["real"].true_peak_db == pytest.approx(result.features["graph"].true_peak_db, abs=1e-4)


def test_it_writes_result_render_and_report(verified: tuple[Path, Verification]) -> None:
    folder, result = verified
    out = folder / "song.mixbridge"
    assert Verification.load(out / "reaper" / "verify.json") == result
    real, rate_hz = soundfile.read(out / "reaper" / result.real_file, always_2d=True)
    assert (out / "real.wav").samefile(out / "reaper" / result.real_file)
    match, _ = soundfile.read(out / "match.wav", always_2d=True)
    assert rate_hz == RATE_HZ and null_db(real.T, match.T) < -80.0
    page = Page((out / "report.html").read_text("utf-8"))
    assert [a["data-player"] for a in page.all("audio")] == ["target", "match", "difference", "real1"]
    assert [b["data-listen"] for b in page.all("button") if "data-listen" in b] == ["0", "1", "3"]
    assert [s["data-verdict"] for s in page.all("section") if "data-verdict" in s] == ["green"]
    assert "With real plugins" in page.text and "bass" in page.text and "Compressor" in page.text
    heard, heard_hz = page.decoded("real1")
    assert heard_hz == RATE_HZ and heard.shape[1] == pytest.approx(FRAMES, abs=3000)


def test_a_session_alone_is_measured_as_far_as_possible(song: Path) -> None:
    project = project_of(song)
    (song / "song.mixbridge" / "graph.json").unlink()
    result = verify_one(project)
    assert result.verdict == "unknown" and exit_code([result.verdict]) == EXIT_AMBER
    assert result.null_db is None and result.gap is None and result.loss.real is None
    assert all(n.null_db is not None and n.null_db < -100.0 for n in result.nodes)
    assert "--mix" in result.notes[0]
    with_mix = verify_one(project, mix_path=song / "mix.wav")
    assert with_mix.verdict == "unknown" and with_mix.loss.real is not None and with_mix.loss.graph is None
    assert (project.parent / "real.wav").is_file()


def test_the_graph_is_rendered_anew_where_its_render_is_missing(song: Path) -> None:
    (song / "song.mixbridge" / "match.wav").unlink()
    result = verify_one(project_of(song))
    assert result.verdict == "green" and result.null_db is not None and result.null_db < -100.0


def no_pool() -> PluginPool:
    raise AssertionError("a session of JSFX needs no plugin workers")


def test_threads_change_nothing_and_a_change_renders_only_what_it_touches(original: Path) -> None:
    project = project_of(original)
    chain = read_project(project, node_ids=[n.id for n in mixing_graph().nodes])
    renders = [
        render_chain(chain, project.parent, pool=no_pool, options=RenderOptions(threads=threads)) for threads in (1, 3)
    ]
    assert np.array_equal(*renders)
    bass = chain.channel("bass")
    louder = bass.model_copy(update={"gain": 2.0 * bass.gain})
    heard: list[str] = []

    def silenced(audio: np.ndarray) -> np.ndarray:
        heard.append("kick-eq")
        return 0.0 * audio

    with ChainRenderer(chain, project.parent, pool=no_pool, keep=True) as renderer:
        renderer.render()
        assert null_db(renderer.render_with(), renders[0]) < -120.0
        changed = renderer.render_with(channels={"bass": louder}, runs={"kick-eq": silenced})
    others = [louder if c.id == "bass" else c for c in chain.channels]
    others[0] = others[0].model_copy(update={"gain": 0.0})
    whole = render_chain(chain.model_copy(update={"channels": tuple(others)}), project.parent, pool=no_pool)
    assert heard == ["kick-eq"] and null_db(changed, whole) < -120.0 < -20.0 < null_db(changed, renders[0])


# ------------------------------------------------------------------------------ what was changed is found


def test_a_fader_moved_by_one_decibel_is_named(song: Path) -> None:
    project = project_of(song)
    text = project.read_text("utf-8")
    volume = text[text.index("VOLPAN", text.index('"vox"')) :].split()[1]
    change(project, f"VOLPAN {volume}", f"VOLPAN {float(volume) * 10 ** (1 / 20)!r}", after='"vox"')
    result = verify_one(song / "song.mixbridge")
    assert result.verdict in ("amber", "red") and exit_code([result.verdict]) in (EXIT_AMBER, EXIT_FAILURE)
    worst = result.nodes[0]
    assert (worst.id, worst.kind, worst.channel_name) == ("vox:fader", "fader", "vox")
    assert worst.level_error_db == pytest.approx(1.0, abs=0.01)
    assert worst.contribution is not None and worst.contribution > 0.5 * ((result.gap or 0.0) + TWIN_LOSS_SHARE)
    assert all((n.null_db or 0.0) < -100.0 for n in result.nodes[1:])
    tracks = {c.id: c.null_db for c in result.channels}
    assert tracks["vox"] == pytest.approx(worst.null_db, abs=0.5) and (tracks["kick"] or 0.0) < -100.0
    page = Page((song / "song.mixbridge" / "report.html").read_text("utf-8"))
    assert "Fader" in page.text and "fader or pan moved" in page.text


def test_a_changed_equalizer_band_is_named(song: Path) -> None:
    change(project_of(song), "4.5 ", "9 ", after='NAME "kick"')
    result = verify_one(song / "song.mixbridge")
    assert result.verdict in ("amber", "red")
    assert result.nodes[0].id == "kick-eq" and result.nodes[0].plugin == "mixbridge_eq.jsfx"
    assert result.nodes[0].contribution is not None and result.nodes[0].contribution > 0.0
    assert all((n.null_db or 0.0) < -100.0 for n in result.nodes[1:])
    bands = {o.centre_hz: o.to_graph_db for o in result.octaves}
    assert (bands[500.0] or 0.0) > 1.0 and abs(bands[8000.0] or 0.0) < 0.3


def test_a_bypassed_effect_is_missing_and_an_added_one_is_extra(song: Path) -> None:
    project = project_of(song)
    change(project, "BYPASS 0 0 0", "BYPASS 1 0 0", after='NAME "bass"')
    text = project.read_text("utf-8")
    start = text.index("BYPASS", text.index('NAME "kick"'))
    added = text[start : text.index("WAK", start)].replace("4.5 ", "-7 ")
    added = "".join(line for line in added.splitlines(keepends=True) if "FXID" not in line)
    project.write_text(text[:start] + added + text[start:], encoding="utf-8")
    result = verify_one(project)
    kinds = {n.id: n.kind for n in result.nodes}
    assert kinds["bass-c"] == "missing" and kinds["kick:eq"] == "extra"
    assert {n.id for n in result.nodes[:2]} == {"bass-c", "kick:eq"}
    cured = {n.id: n.contribution for n in result.nodes if n.contribution is not None}
    assert (cured["bass-c"] or 0.0) > 0.0 and (cured["kick:eq"] or 0.0) > 0.0


def test_a_track_that_lies_elsewhere_is_named(song: Path) -> None:
    change(project_of(song), "POSITION 0\n", "POSITION 0.01\n", after='NAME "vox"')
    change(project_of(song), "IPHASE 1", "IPHASE 0", after='NAME "bass"')
    result = verify_one(song / "song.mixbridge")
    notes = {n.id: n.note for n in result.nodes if n.kind == "media"}
    assert notes == {"vox:media": "moved by 441 samples", "bass:media": "polarity inverted"}
    assert result.verdict == "red"


def test_a_late_session_is_aligned_and_the_offset_reported(song: Path) -> None:
    project = project_of(song)
    late_s = 300 / RATE_HZ
    for track in ("kick", "bass", "vox"):
        text = project.read_text("utf-8")
        position = text[text.index("POSITION", text.index(f'NAME "{track}"')) :].split()[1]
        change(project, f"POSITION {position}\n", f"POSITION {float(position) + late_s!r}\n", after=f'NAME "{track}"')
    result = verify_one(project)
    assert result.offset_samples == 300
    # All but what is lost at the end is the same.
    assert result.null_db is not None and result.null_db < -15.0
    assert all((n.null_db or 0.0) < -100.0 for n in result.nodes if n.kind == "insert")


def test_channels_that_are_gone_or_flow_elsewhere_are_noted(song: Path) -> None:
    project = project_of(song)
    text = project.read_text("utf-8")
    project.write_text(text.replace("ISBUS 1 1", "ISBUS 0 0").replace("ISBUS 2 -1", "ISBUS 0 0"), encoding="utf-8")
    result = verify_one(project)
    assert result.notes == ("kick: flows into 'master' instead of 'drums'",)
    assert result.verdict in ("amber", "red") and result.null_db is not None and result.null_db > -40.0


# ------------------------------------------------------------------------------ many paths


@pytest.mark.slow
def test_one_bad_path_costs_its_own_row(song: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "reaper"
    broken.mkdir(parents=True)
    (broken / "x.rpp").write_text("<REAPER_PROJECT 0.1\n")
    nothing = tmp_path / "nothing.mixbridge"
    seen: list[tuple[str, float]] = []
    paths = [nothing, song / "song.mixbridge", broken, project_of(song)]
    results = verify_paths(
        paths, settings=VerifySettings(jobs=2), progress=lambda path, share, words: seen.append((path, share))
    )
    # The project is the analysis folder's own: it is done once.
    assert [r.verdict for r in results] == ["failed", "green", "failed"]
    assert "nothing.mixbridge" in results[0].error and "line 1" in results[2].error
    assert exit_code(r.verdict for r in results) == EXIT_USER_ERROR
    assert seen[-1][1] == 1.0


def dies_over_bad(work: run._Work, settings: VerifySettings, progress: Progress) -> run._Results:
    """Stands in for a verification whose process is killed."""
    if any("bad" in job.session.name for job in work.jobs.values()):
        os._exit(9)
    return {place: Verification(path=str(job.session), verdict="green") for place, job in work.jobs.items()}


@pytest.mark.slow
def test_a_process_that_dies_takes_no_other_along(tmp_path: Path) -> None:
    paths = []
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / f"{name}.rpp")
        paths[-1].touch()
    jobs, _ = run._find_all(paths, graph_path=None)
    results: run._Results = {}
    for found in run._in_processes(run._group(jobs), VerifySettings(), workers=2, do=dies_over_bad):
        results |= found
    verdicts = [results[place].verdict for place in sorted(results)]
    assert verdicts == ["failed", "green"]
    assert "bad.rpp" in results[0, 0].error


def test_what_has_not_changed_is_not_verified_again(song: Path) -> None:
    first = verify_one(song / "song.mixbridge")
    written = song / "song.mixbridge" / "reaper" / "verify.json"
    stamp = written.stat().st_mtime_ns
    assert verify_one(song / "song.mixbridge") == first
    assert written.stat().st_mtime_ns == stamp
    effect = project_of(song).parent / "Effects" / "mixbridge_eq.jsfx"
    effect.write_text(effect.read_text("utf-8") + "\n", encoding="utf-8")
    second = verify_one(song / "song.mixbridge")
    assert second.inputs != first.inputs and written.stat().st_mtime_ns != stamp
    (song / "song.mixbridge" / "real.wav").unlink()
    assert verify_one(song / "song.mixbridge").inputs == second.inputs
    assert (song / "song.mixbridge" / "real.wav").is_file()
    stamp = written.stat().st_mtime_ns
    verify_one(song / "song.mixbridge", again=True)
    assert written.stat().st_mtime_ns != stamp


# ------------------------------------------------------------------------------ bad input


def failure(path: Path, **settings: object) -> str:
    (result,) = verify_paths([path], settings=VerifySettings(**settings))  # type: ignore[arg-type]
    assert result.verdict == "failed" and "\n" not in result.error
    return result.error


def test_bad_input_is_one_line_that_names_the_file(song: Path, tmp_path: Path) -> None:
    out, project = song / "song.mixbridge", project_of(song)
    assert "gone" in failure(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "empty" in failure(tmp_path / "empty") and "export" in failure(tmp_path / "empty")
    assert ".rpp" in failure(song / "mix.wav")
    assert "none.json" in failure(project, graph_path=tmp_path / "none.json")
    assert "none.wav" in failure(project, mix_path=tmp_path / "none.wav")
    chain = tmp_path / "chain" / "chain.json"
    chain.parent.mkdir()
    for content in (b"", b"{}", b'{"format": "mixbridge-chain"}', b"\xff\xfe", b"[" * 100_000):
        chain.write_bytes(content)
        assert "chain.json" in failure(chain.parent)
    (out / "graph.json").write_text("{")
    assert "graph.json" in failure(out)
    other = mixing_graph().model_dump()
    renamed = json.loads(json.dumps(other).replace('"kick"', '"a"').replace('"bass"', '"b"').replace('"vox"', '"c"'))
    MixGraph.model_validate(renamed).save(out / "graph.json")
    assert "--graph" in failure(out)


def test_missing_media_and_effects_are_named_and_found_elsewhere(song: Path, tmp_path: Path) -> None:
    project = project_of(song)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(project.parent / "Media" / "vox.wav", tmp_path / "elsewhere")
    assert "vox.wav" in failure(project)
    assert verify_one(project, stems_dir=tmp_path / "elsewhere").verdict == "green"
    (project.parent / "Effects" / "mixbridge_eq.jsfx").unlink()
    assert "mixbridge_eq.jsfx" in failure(project, stems_dir=tmp_path / "elsewhere")


def test_a_plugin_whose_settings_cannot_be_read_is_named(song: Path) -> None:
    vst = 'BYPASS 0 0 0\n      <VST "VST3: Thing (Maker)" Thing.vst3 0 "" 1{00} ""\n        AAAA\n      >\n      '
    change(project_of(song), "BYPASS 0 0 0", f"{vst}BYPASS 0 0 0", after='NAME "bass"')
    assert "bass: VST3: Thing (Maker)" in failure(project_of(song))
    change(project_of(song), "BYPASS 0 0 0", "BYPASS 1 0 0", after='NAME "bass"')
    assert verify_one(project_of(song)).verdict == "green"


def test_a_mix_that_is_gone_leaves_the_null(song: Path) -> None:
    graph = song / "song.mixbridge" / "graph.json"
    loaded = MixGraph.load(graph)
    loaded.provenance.sources["mix"] = str(song / "no such mix.wav")
    loaded.save(graph)
    result = verify_one(song / "song.mixbridge")
    assert result.verdict == "unknown" and result.null_db is not None and result.null_db < -80.0
    assert any("no such mix.wav" in note and "--mix" in note for note in result.notes)
    again = verify_one(song / "song.mixbridge", mix_path=song / "mix.wav")
    assert again.verdict == "green"


def test_another_mix_makes_the_loss_of_the_search_void(song: Path) -> None:
    mix, _ = soundfile.read(song / "mix.wav", always_2d=True)
    write_wav(song / "other.wav", 0.7 * mix.T, sample_rate_hz=RATE_HZ)
    result = verify_one(song / "song.mixbridge", mix_path=song / "other.wav")
    assert result.loss.differentiable is None and result.gap_to == "graph"
    assert result.gap == pytest.approx(0.0, abs=1e-5) and (result.loss.graph or 0.0) > 0.1


# ------------------------------------------------------------------------------ sends and automation


@given(graph=routed(allowed=("gain_pan", "gain_pan", "imager")), threads=st.sampled_from([1, 3]))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_routing_is_rendered_exactly(
    graph: MixGraph, threads: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("routed")
    write_stems(graph, folder)
    session = build_session(graph, max_fader_db=math.inf)
    chain = build_chain(session, graph, profiles={})
    meter = NodeMeter(chain, expectations(session))
    real = render_chain(chain, folder, pool=no_pool, captures=meter, options=RenderOptions(threads=threads))
    assert_nulls(real, reference_render(graph, folder), below_db=-120.0)
    assert all((n.null_db or 0.0) < -100.0 and n.kind == "insert" for n in meter.nodes(real))
    assert [c.id for c in meter.channels()] == [c.id for c in chain.channels]
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def sending(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Verification]:
    """A song of faders, sends and automation, exported as a chain and verified; not to be changed."""
    folder = tmp_path_factory.mktemp("sending")
    graph = write_song(folder, suite="pedalboard", sends=True, plugins=False)
    out = folder / "song.mixbridge"
    export_pedalboard(graph, stems_dir=folder / "stems", folder=out / "pedalboard", suites="pedalboard")
    return folder, verify_one(out)


def changed_chain(sending: tuple[Path, Verification], tmp_path: Path, change: Callable[[Any], None]) -> Path:
    """A copy of the song in which the channels of the chain, by id, were changed by hand."""
    shutil.copytree(sending[0], tmp_path / "song")
    path = tmp_path / "song" / "song.mixbridge" / "pedalboard" / "chain.json"
    data = json.loads(path.read_bytes())
    change({channel["id"]: channel for channel in data["channels"]})
    path.write_text(json.dumps(data), encoding="utf-8")
    return path.parent.parent


def test_sends_and_automation_null_with_real_plugins(tmp_path: Path) -> None:
    graph = write_song(tmp_path, dynamics=False, suite="pedalboard", sends=True)
    out = tmp_path / "song.mixbridge"
    export_pedalboard(graph, stems_dir=tmp_path / "stems", folder=out / "pedalboard", suites="pedalboard")
    result = verify_one(out)
    assert result.verdict == "green" and result.null_db is not None and result.null_db < -60.0
    assert {n.kind for n in result.nodes} == {"insert"}
    assert [c.id for c in result.channels].index("hall") > [c.id for c in result.channels].index("drums")
    assert {c.id for c in result.channels} == {"kick", "bass", "vox", "drums", "hall", "slap", "master"}


def test_a_project_with_sends_and_automation_nulls(tmp_path: Path) -> None:
    graph = write_song(tmp_path, sends=True)
    out = tmp_path / "song.mixbridge"
    export_reaper(graph, stems_dir=tmp_path / "stems", folder=out / "reaper")
    result = verify_one(out)
    assert result.verdict == "green" and result.null_db is not None and result.null_db < -80.0
    assert {n.kind for n in result.nodes} == {"insert"} and not result.notes
    assert {c.id for c in result.channels} == {"kick", "bass", "vox", "drums", "hall", "slap", "master"}


@pytest.mark.parametrize(
    ("change", "node", "kind", "words"),
    [
        (lambda c: c["vox"]["sends"][0].update(gain=1.0), "vox>hall", "send", "to hall: level moved"),
        (lambda c: c["master"]["volume"].clear(), "master:volume", "volume", "automation changed"),
        (lambda c: c["vox"]["pan_points"][0].update(pan=1.0), "vox:volume", "volume", "automation changed"),
        (lambda c: c["vox"]["sends"][0]["volume"][0].update(gain_db=6.0), "vox>hall", "send", "to hall: level moved"),
        (lambda c: [p.update(gain_db=p["gain_db"] + 3.0) for p in c["drums"]["volume"]], "drums:fader", "fader",
         "fader or pan moved"),
    ],
    ids=["send", "automation", "pan", "send that moves", "level of automation"],
)  # fmt: skip
def test_a_changed_send_or_ride_is_named_and_blamed(
    sending: tuple[Path, Verification],
    tmp_path: Path,
    change: Callable[[Any], None],
    node: str,
    kind: str,
    words: str,
) -> None:
    result = verify_one(changed_chain(sending, tmp_path, change))
    found, before = result.nodes[0], sending[1].loss.real
    assert (found.id, found.kind, found.note) == (node, kind, words)
    assert found.null_db is not None and found.null_db > -40.0 and (found.impact_db or -200.0) > -90.0
    # All that was lost comes back with it.
    assert result.loss.real is not None and before is not None and result.loss.real - before > 1e-3
    assert found.contribution == pytest.approx(result.loss.real - before, abs=1e-5)


def test_sends_that_are_gone_or_new_are_each_named(sending: tuple[Path, Verification], tmp_path: Path) -> None:
    def change(channels: Any) -> None:
        channels["kick"]["sends"].clear()
        channels["bass"]["sends"] = [{"target": "hall", "gain": 0.5}]
        channels["drums"]["sends"][0]["gain"] *= 1.0 + 1e-9

    result = verify_one(changed_chain(sending, tmp_path, change))
    notes = {n.id: n.note for n in result.nodes if n.kind != "insert"}
    assert notes == {
        "kick>hall": "to hall: missing in the session",
        "kick>slap": "to slap: missing in the session",
        "bass>hall": "to hall: not in the graph",
    }
    assert node_of(result, "bass>hall").contribution and node_of(result, "kick>hall").contribution
    page = Page((tmp_path / "song" / "song.mixbridge" / "report.html").read_text("utf-8"))
    assert "Send" in page.text and "to slap: missing in the session" in page.text


def test_automation_that_a_fader_makes_up_for_is_no_difference(
    sending: tuple[Path, Verification], tmp_path: Path
) -> None:
    """As in a DAW whose automation does not reach as high."""

    def shift(channels: Any) -> None:
        drums = channels["drums"]
        drums["gain"] *= 10 ** (4.0 / 20)
        for point in drums["volume"]:
            point["gain_db"] -= 4.0

    result = verify_one(changed_chain(sending, tmp_path, shift))
    assert result.null_db is not None and result.null_db < -120.0
    assert all(n.kind == "insert" for n in (*result.nodes, *sending[1].nodes))


# ------------------------------------------------------------------------------ real plugins


def test_a_chain_of_built_in_plugins_nulls(tmp_path: Path) -> None:
    folder = tmp_path / "builtin"
    graph = write_song(folder, dynamics=False, suite="pedalboard")
    out = folder / "song.mixbridge"
    chain = export_pedalboard(graph, stems_dir=folder / "stems", folder=out / "pedalboard", suites="pedalboard")
    result = verify_one(out)
    assert (result.session, result.suites, result.path) == ("chain", "pedalboard", str(chain))
    assert result.verdict == "green" and result.null_db is not None and result.null_db < -60.0
    assert "PeakFilter" in node_of(result, "kick-eq").plugin
    assert {n.kind for n in result.nodes} == {"insert"}
    data = json.loads(chain.read_bytes())
    stages = [s for c in data["channels"] if c["id"] == "kick" for i in c["inserts"] for b in i["branches"]
              for s in b["stages"]]  # fmt: skip
    peak = next(s for s in stages if s["name"] == "PeakFilter" and s["values"]["gain_db"] > 4.0)
    peak["values"]["gain_db"] += 4.0
    chain.write_text(json.dumps(data), encoding="utf-8")
    tampered = verify_one(out)
    assert tampered.verdict in ("amber", "red") and tampered.nodes[0].id == "kick-eq"


def test_two_sessions_of_one_analysis_share_its_report(song: Path) -> None:
    out = song / "song.mixbridge"
    shutil.copytree(out / "reaper", out / "second")
    results = verify_paths([out])
    assert [(Path(r.path).parent.name, r.verdict) for r in results] == [("reaper", "green"), ("second", "green")]
    assert {p.name for p in out.glob("real*.wav")} == {"real-reaper.wav", "real-second.wav"}
    page = Page((out / "report.html").read_text("utf-8"))
    assert [a["data-player"] for a in page.all("audio")][-2:] == ["real1", "real2"]


@pytest.mark.slow
def test_a_chain_of_vst3_plugins_nulls_and_a_missing_one_is_named(tmp_path: Path) -> None:
    installed("lsp")
    folder = tmp_path / "vst3"
    graph = write_song(folder, suite="lsp")
    out = folder / "song.mixbridge"
    chain = export_pedalboard(
        graph, stems_dir=folder / "stems", folder=out / "pedalboard", suites="lsp", allow_unverified=True
    )
    result = verify_one(out, allow_unverified=True)
    assert result.verdict == "green" and result.null_db is not None and result.null_db < -40.0
    assert node_of(result, "kick-eq").plugin.startswith("Parametric Equalizer")

    # What a host loads is the preset: a change there is heard, whatever the chain says.
    (insert,) = (i for c in Chain.load(chain).channels for i in c.inserts if i.id == "kick-eq")
    path = chain.parent / str(insert.preset)
    whole = path.read_bytes()
    preset = decode_vstpreset(whole)
    state = decode_lsp_state(preset.component)
    path.write_bytes(encode_vstpreset(preset.class_id, encode_lsp_state({**state, "g_out": 2.0})))
    louder = node_of(verify_one(out, allow_unverified=True), "kick-eq")
    assert louder.level_error_db == pytest.approx(6.02, abs=0.2)
    path.write_bytes(b"no preset")
    assert path.name in failure(out, allow_unverified=True)
    path.write_bytes(whole)

    text = chain.read_text("utf-8")
    chain.write_text(
        text.replace("Parametric Equalizer", "Imaginary EQ").replace("64737020", "00000000"), encoding="utf-8"
    )
    assert "Imaginary EQ" in failure(out, allow_unverified=True)


# ------------------------------------------------------------------------------ measures


def test_verdicts_and_exit_codes() -> None:
    assert [verdict_of(g) for g in (None, -0.2, GREEN_GAP, 0.011, AMBER_GAP, 0.051)] == [
        "unknown", "green", "green", "amber", "amber", "red"
    ]  # fmt: skip
    assert exit_code([]) == exit_code(["green"]) == EXIT_OK
    assert exit_code(["green", "amber"]) == exit_code(["unknown", "green"]) == EXIT_AMBER
    assert exit_code(["amber", "red", "green"]) == EXIT_FAILURE
    assert exit_code(["red", "failed"]) == EXIT_USER_ERROR


@pytest.mark.parametrize("late", [-700, -1, 0, 1, 2, 63, 5000])
def test_offsets_are_found_to_the_sample(late: int) -> None:
    audio = programme(seconds=2.0, seed=4)
    assert find_offset(moved(audio, late), audio, sample_rate_hz=RATE_HZ) == late
    assert find_offset(-0.5 * moved(audio, late), audio, sample_rate_hz=RATE_HZ) in (late, 0)


def test_no_offset_is_claimed_where_there_is_none() -> None:
    audio = programme(seconds=2.0, seed=4)
    assert find_offset(np.zeros_like(audio), audio, sample_rate_hz=RATE_HZ) == 0
    assert find_offset(audio[:, :100], audio[:, :100], sample_rate_hz=RATE_HZ) == 0
    other = programme(seconds=2.0, seed=5)
    offset = find_offset(other, audio, sample_rate_hz=RATE_HZ)
    assert offset == 0 or null_db(moved(other, -offset), audio) < null_db(other, audio)


def sine(frequency_hz: float, *, phase: float = 0.0, seconds: float = 2.0) -> np.ndarray:
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return np.sin(2 * np.pi * frequency_hz * time_s + phase)


def test_features_of_signals_whose_features_are_known() -> None:
    tone = sine(997.0)
    both, left = np.stack([tone, tone]), np.stack([tone, 0 * tone])
    assert feature_set.rms_db(both) == pytest.approx(-3.01, abs=0.01)
    assert feature_set.crest_factor_db(both) == pytest.approx(3.01, abs=0.01)
    # ITU-R BS.1770-4: a full-scale sine of 997 Hz in one channel reads -3.01 LKFS.
    assert feature_set.integrated_loudness_lufs(left, sample_rate_hz=RATE_HZ) == pytest.approx(-3.01, abs=0.05)
    assert feature_set.stereo_width(both) == 0.0
    assert feature_set.stereo_width(left) == pytest.approx(1.0)
    assert feature_set.stereo_width(np.stack([tone, -tone])) == pytest.approx(1000.0)
    assert feature_set.stereo_imbalance(left) == -1.0 and feature_set.stereo_imbalance(both) == 0.0
    assert feature_set.stereo_imbalance(np.stack([0.5 * tone, tone])) == pytest.approx(0.6)
    # Between the samples of a quarter of the rate, half way up, lies the true peak.
    quarter = np.repeat(sine(RATE_HZ / 4, phase=np.pi / 4)[None], 2, axis=0)
    quarter *= np.hanning(quarter.shape[1])
    assert np.abs(quarter).max() == pytest.approx(np.sqrt(0.5), abs=1e-3)
    assert feature_set.true_peak_db(quarter, sample_rate_hz=RATE_HZ) == pytest.approx(0.0, abs=0.1)
    octaves = feature_set.octave_levels_db(both, sample_rate_hz=RATE_HZ)
    assert octaves[5] == pytest.approx(-3.01, abs=0.05) and max(octaves[:4] + octaves[7:]) < -60.0
    bark = feature_set.bark_spectrum_db(both, sample_rate_hz=RATE_HZ)
    assert len(bark) == 24 and int(np.argmax(bark)) == 8 and bark[8] == pytest.approx(-3.01, abs=0.05)


def test_features_of_silence_and_of_very_short_signals_are_numbers() -> None:
    for audio in (np.zeros((2, RATE_HZ)), np.zeros((2, 1)), np.full((2, 3), 0.5)):
        found = feature_set.features(audio, sample_rate_hz=RATE_HZ)
        assert found.loudness_lufs is None
        numbers = (found.rms_db, found.crest_db, found.width, found.imbalance, found.true_peak_db, *found.bark_db)
        assert np.isfinite(numbers).all()
    assert feature_set.features(np.zeros((2, RATE_HZ)), sample_rate_hz=RATE_HZ).rms_db == feature_set.SILENCE_DB


# ------------------------------------------------------------------------------ the command


def test_the_command_prints_a_table_or_json(command: Callable[..., tuple[int, str, str]], song: Path) -> None:
    code, stdout, stderr = command(song / "song.mixbridge", "--jobs", "1")
    assert (code, stderr) == (EXIT_OK, "") and "green" in stdout and "song.rpp" in stdout
    code, stdout, stderr = command(song / "song.mixbridge", "--json", song / "missing")
    data = json.loads(stdout)
    assert code == EXIT_USER_ERROR and [r["verdict"] for r in data] == ["green", "failed"]
    assert len(stderr.strip().splitlines()) == 1 and "missing" in stderr


def test_nothing_to_verify_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(VerifyError, match="analyze"):
        find_jobs(tmp_path)
