"""REAPER projects: what is written sounds like the graph, survives odd names, and is whole or not there."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixbridge.bridge.errors import AudioFileError, ExportError, MixbridgeError, OutputError
from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Node, PanPoint, Processor, Stem, VolumePoint
from mixbridge.bridge.processors.specs import SPECS
from mixbridge.exporters import folder as folder_module
from mixbridge.exporters.families import colour_of, family_of
from mixbridge.exporters.reaper.read import read_project as read_chain
from mixbridge.exporters.reaper.rpp import Block, Word, number, quote

from .dsp import null_db
from .exports import export_reaper
from .mixes import NASTY, assert_nulls, reference_render, routed, write_stems
from .rpp_rebuild import (
    Tree,
    from_rpp,
    moving_receives,
    read_project,
    receives,
    render_project,
    track_depths,
    track_name,
)

NULL_DB = -80.0


def small_graph(names: list[str] | None = None, *, suffix: str = ".wav") -> MixGraph:
    """One bus with an equalizer and one track beside it, panned."""
    first, second = names or ["kick", "bass"]
    defaults = {kind: spec.defaults() for kind, spec in SPECS.items()}
    eq = Processor(type="eq", id="e", parameters=defaults["eq"] | {"bell1_db": 4.5})
    pan = Processor(type="gain_pan", id="g", parameters={"gain_db": -3.0, "pan": 0.4})
    nodes: list[Node] = [
        Stem(id=first, name=first, file=f"{first}{suffix}", offset_samples=10),
        Stem(id=second, name=second, file=f"{second}{suffix}", channels=1, polarity=-1),
        Bus(id="bus", name="drums"), Master(), eq, pan,
    ]  # fmt: skip
    edges = [
        Edge(source=first, target="bus"), Edge(source="bus", target="e"), Edge(source="e", target="master"),
        Edge(source=second, target="g"), Edge(source="g", target="master"),
    ]  # fmt: skip
    return MixGraph(name="song", sample_rate_hz=44100, frames=12000, nodes=nodes, edges=edges)


def curve(*points: tuple[float, float]) -> list[VolumePoint]:
    return [VolumePoint(time_s=time_s, gain_db=gain_db) for time_s, gain_db in points]


def routed_graph(**volumes: list[VolumePoint]) -> MixGraph:
    """`small_graph` with a return that both a track and the bus send to, and automation by channel."""
    graph = small_graph()
    nodes: list[Node] = [*graph.nodes, Bus(id="hall", name="Hall")]
    nodes = [n if isinstance(n, Processor) else n.model_copy(update={"volume": volumes.get(n.id, [])}) for n in nodes]
    sends = [Edge(source="g", target="hall", send_db=-6.0), Edge(source="e", target="hall", send_db=-20.5)]
    edges = [*graph.edges, *sends, Edge(source="hall", target="master")]
    return MixGraph.model_validate({**graph.model_dump(), "nodes": nodes, "edges": edges})


def panned(graph: MixGraph, **pans: list[tuple[float, float]]) -> MixGraph:
    """The graph with pan automation, by channel."""
    nodes = [
        n.model_copy(update={"pan": [PanPoint(time_s=t, pan=p) for t, p in pans[n.id]]}) if n.id in pans else n
        for n in graph.nodes
    ]
    return graph.rebuilt(nodes, graph.edges)


def send_moves(graph: MixGraph, source: str, *, level_db: float, volume: list[VolumePoint]) -> MixGraph:
    """The graph with another level and automation of the send that leaves a node."""
    edges = [
        e.model_copy(update={"send_db": level_db, "volume": volume}) if e.source == source and e.send_db else e
        for e in graph.edges
    ]
    return graph.rebuilt(graph.nodes, edges)


def exported(graph: MixGraph, root: Path) -> Path:
    write_stems(graph, root / "stems")
    return export_reaper(graph, stems_dir=root / "stems", folder=root / "out")


def points_of(envelope: Tree) -> list[list[float]]:
    return [[float(str(v)) for v in c[1:]] for c in envelope.children if isinstance(c, list) and c[0] == "PT"]


# -------------------------------------------------------------------------------- proof


@given(graph=routed(), link=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_file_alone_sounds_like_the_graph(
    graph: MixGraph, link: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("a folder with blanks")
    write_stems(graph, root / "the stems")
    path = export_reaper(graph, stems_dir=root / "the stems", folder=root / "out put" / "reaper", link=link)
    assert all(len(line) < 4000 for line in path.read_bytes().split(b"\n"))
    assert_nulls(render_project(path), reference_render(graph, root / "the stems"))
    shutil.rmtree(root)


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize(("suffix", "rate_hz"), [(".wav", 48000), (".flac", 44100), (".aiff", 22050), (".ogg", 44100)])
def test_other_formats_and_rates(tmp_path: Path, link: bool, suffix: str, rate_hz: int) -> None:
    graph = small_graph(suffix=suffix)
    write_stems(graph, tmp_path / "stems", rate_hz=rate_hz)
    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out", link=link)
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"))
    media = path.parent / "Media"
    if link:
        assert not media.exists()
        kinds = {t.blocks("ITEM")[0].blocks("SOURCE")[0].parameters[0] for t in read_project(path).blocks("TRACK")[1:]}
        assert kinds == {{".wav": "WAVE", ".aiff": "WAVE", ".flac": "FLAC", ".ogg": "VORBIS"}[suffix]}
    else:
        info = soundfile.info(media / "kick.wav")
        assert (info.format, info.subtype, info.samplerate) == ("WAV", "FLOAT", 44100)
        assert soundfile.info(media / "bass.wav").channels == 1


def test_a_broken_level_is_noticed(tmp_path: Path) -> None:
    """The proof above can fail: a fader that is wrong by 0.01 dB does not null."""
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")
    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    text = path.read_text(encoding="utf-8")
    (line,) = [part for part in text.splitlines() if "VOLPAN" in part and " 0.4 " in part]
    volume = line.split()[1]
    path.write_text(text.replace(volume, str(float(volume) * 10 ** (0.01 / 20))), encoding="utf-8")
    assert null_db(render_project(path), reference_render(graph, tmp_path / "stems")) > NULL_DB


def test_wav_stems_at_the_session_rate_are_copied_byte_for_byte(tmp_path: Path) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")
    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    for stem in graph.stems:
        assert (path.parent / "Media" / stem.file).read_bytes() == (tmp_path / "stems" / stem.file).read_bytes()


@pytest.mark.parametrize(
    ("pattern", "db"),
    [
        (r"(AUXRECV 0 0 )([\d.]+)", 0.05), (r"(PT 0.1 )([\d.]+)", 0.01), (r"(PT )(0.05)", 0.1),
        (r"(PT 0.12 -)([\d.]+)", 0.01), (r"(PT )(0.12)", 0.1), (r"(PT 0.17 )([\d.]+)", 0.05),
    ],
)  # fmt: skip
def test_a_broken_send_or_envelope_is_noticed(tmp_path: Path, pattern: str, db: float) -> None:
    graph = panned(routed_graph(kick=curve((0.05, -9.0), (0.1, 3.0))), kick=[(0.02, -0.5), (0.12, 0.75)])
    graph = send_moves(graph, "g", level_db=-6.0, volume=curve((0.0, 0.0), (0.17, -12.0)))
    path = exported(graph, tmp_path)
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"))
    text, count = re.subn(
        pattern, lambda m: f"{m[1]}{float(m[2]) * 10 ** (db / 20):.9f}", path.read_text(encoding="utf-8")
    )
    assert count == 1
    path.write_text(text, encoding="utf-8")
    assert null_db(render_project(path), reference_render(graph, tmp_path / "stems")) > NULL_DB


# ------------------------------------------------------------------------------- layout


def test_folders_open_and_close_where_they_should(tmp_path: Path) -> None:
    stems = [Stem(id=n, name=n, file=f"{n}.wav") for n in ("a", "b", "c", "d")]
    nodes: list[Node] = [*stems, Bus(id="out", name="outer"), Bus(id="in", name="inner"), Bus(id="none", name="empty"),
                         Master()]  # fmt: skip
    pairs = [("a", "in"), ("in", "out"), ("b", "out"), ("c", "master"), ("d", "in"), ("out", "master"),
             ("none", "master")]  # fmt: skip
    edges = [Edge(source=a, target=b) for a, b in pairs]
    graph = MixGraph(name="n", sample_rate_hz=44100, frames=12000, nodes=nodes, edges=edges)
    write_stems(graph, tmp_path / "stems")
    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    expected = [("outer", 0), ("inner", 1), ("a", 2), ("d", 2), ("b", 1), ("c", 0)]
    assert track_depths(read_project(path)) == expected


def test_the_mixer_is_used_where_it_can_be(tmp_path: Path) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")
    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    project = read_project(path)
    bus, kick, bass = project.blocks("TRACK")
    volume, pan, law, *_ = bass.numbers("VOLPAN")
    assert volume == pytest.approx(10 ** (-3 / 20) * np.sqrt(2)) and pan == pytest.approx(0.4)
    assert law == pytest.approx(0.70710678, abs=1e-8)
    assert not bass.blocks("FXCHAIN") and bass.numbers("IPHASE") == [1]
    assert kick.numbers("VOLPAN")[:3] == [1, 0, -1] and kick.numbers("IPHASE") == [0]
    assert len(bus.blocks("FXCHAIN")[0].blocks("JS")) == 1
    assert project.numbers("PANLAW") == [1]
    assert [p.name for p in (path.parent / "Effects").iterdir()] == ["mixbridge_eq.jsfx"]


def test_returns_are_tracks_behind_the_others_that_receive_post_fader(tmp_path: Path) -> None:
    project = read_project(exported(routed_graph(), tmp_path))
    assert track_depths(project) == [("drums", 0), ("kick", 1), ("bass", 0), ("Hall", 0)]
    hall = project.blocks("TRACK")[-1]
    assert dict(receives(hall)) == pytest.approx({0: 10 ** (-20.5 / 20), 2: 10 ** (-6.0 / 20)}, rel=1e-12)
    assert hall.numbers("MAINSEND") == [1, 0] and not hall.blocks("ITEM")
    assert not any(receives(track) for track in project.blocks("TRACK")[:-1])
    keywords = [c.name if isinstance(c, Tree) else c[0] for c in hall.children]
    assert keywords.index("PERF") < keywords.index("AUXRECV") < keywords.index("MIDIOUT")


def test_a_return_in_a_group_lies_in_its_folder(tmp_path: Path) -> None:
    graph = routed_graph()
    edges = [e if e.source != "hall" else Edge(source="hall", target="bus") for e in graph.edges]
    edges = [e for e in edges if (e.source, e.target) != ("e", "hall")]
    graph = graph.rebuilt(graph.nodes, edges)
    path = exported(graph, tmp_path)
    assert track_depths(read_project(path)) == [("drums", 0), ("kick", 1), ("Hall", 1), ("bass", 0)]
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"))


def test_volume_automation_multiplies_the_fader(tmp_path: Path) -> None:
    """A line in amplitude between points: VOLTYPE 0; the fader counts: automation mode 0."""
    graph = routed_graph(
        bass=curve((0.25, -80.0), (1.5, 4.5)), bus=curve((0.0, 1.0)), hall=curve((0.0, -3.0)), master=curve((0.1, -1.0))
    )
    path = exported(graph, tmp_path)
    project = read_project(path)
    drums, kick, bass, hall = project.blocks("TRACK")
    assert bass.numbers("VOLPAN")[0] == pytest.approx(10 ** (-3 / 20) * np.sqrt(2))
    (envelope,) = bass.blocks("VOLENV2")
    found = points_of(envelope)
    assert [p[::2] for p in found] == [[0.25, 0], [1.5, 0]]
    assert [p[1] for p in found] == pytest.approx([1e-4, 10 ** (4.5 / 20)], rel=1e-12)
    assert envelope.numbers("ACT") == [1, -1] and envelope.numbers("VOLTYPE") == [0]
    assert [len(t.blocks("VOLENV2")) for t in (drums, kick, bass, hall)] == [1, 0, 1, 1]
    assert {t.numbers("AUTOMODE")[0] for t in project.blocks("TRACK")} == {0}
    assert project.numbers("MASTERAUTOMODE") == [0] and project.numbers("GLOBAL_AUTO") == [-1]
    assert points_of(project.blocks("MASTERVOLENV2")[0]) == [[0.1, pytest.approx(10 ** (-1 / 20)), 0]]
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"))


@pytest.mark.parametrize(("top_db", "fader_db", "point_db"), [(6.0, 0.0, 6.0), (10.0, 4.0, 6.0)])
def test_what_an_envelope_may_not_reach_is_left_to_the_fader(
    tmp_path: Path, top_db: float, fader_db: float, point_db: float
) -> None:
    graph = routed_graph(kick=curve((0.0, -80.0), (0.2, top_db)))
    path = exported(graph, tmp_path)
    kick = read_project(path).blocks("TRACK")[1]
    assert 20 * np.log10(kick.numbers("VOLPAN")[0]) == pytest.approx(fader_db, abs=1e-9)
    assert 20 * np.log10(points_of(kick.blocks("VOLENV2")[0])[-1][1]) == pytest.approx(point_db, abs=1e-9)
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"))


def test_the_fader_takes_over_no_more_than_it_has_room_for(tmp_path: Path) -> None:
    graph = routed_graph(bass=curve((0.0, 12.0)))
    loud = [
        n.model_copy(update={"parameters": {"gain_db": 8.0, "pan": 0.0}}) if n.id == "g" else n for n in graph.nodes
    ]
    graph = graph.rebuilt(loud, graph.edges)
    path = exported(graph, tmp_path)
    bass = read_project(path).blocks("TRACK")[2]
    assert 20 * np.log10(bass.numbers("VOLPAN")[0]) == pytest.approx(12.0, abs=1e-9)
    assert 20 * np.log10(points_of(bass.blocks("VOLENV2")[0])[0][1]) == pytest.approx(8.0, abs=1e-9)
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"))


def test_a_pan_that_moves_has_the_fader_centred_under_the_sine_law(tmp_path: Path) -> None:
    """Whether REAPER adds an envelope to a pan or replaces it, the same is heard; +1 is left there."""
    graph = panned(routed_graph(), bass=[(0.05, -1.0), (0.2, 0.25)], master=[(0.1, 0.5)])
    path = exported(graph, tmp_path)
    project = read_project(path)
    drums, _, bass, _ = project.blocks("TRACK")
    assert bass.numbers("VOLPAN")[:3] == pytest.approx([10 ** (-3 / 20) * np.sqrt(2), 0.0, np.sqrt(0.5)], abs=1e-12)
    (envelope,) = bass.blocks("PANENV2")
    assert points_of(envelope) == [[0.05, 1.0, 0], [0.2, -0.25, 0]] and envelope.numbers("ACT") == [1, -1]
    assert not drums.blocks("PANENV2") and drums.numbers("VOLPAN")[2] == -1
    # The pan of the graph's own processor stays, in front of the one that moves.
    assert len(bass.blocks("FXCHAIN")[0].blocks("JS")) == 1
    assert points_of(project.blocks("MASTERPANENV2")[0]) == [[0.1, -0.5, 0]]
    assert project.numbers("MASTER_VOLUME")[1:3] == pytest.approx([0.0, np.sqrt(0.5)], abs=1e-12)
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"), below_db=-120.0)


@pytest.mark.parametrize(
    ("level_db", "top_db", "send_db", "point_db"),
    [(-6.0, 3.0, 0.0, -3.0), (4.0, 8.0, 6.0, 6.0), (12.0, 12.0, 12.0, 12.0)],
)
def test_a_send_that_moves_has_its_level_in_the_envelope_as_far_as_that_reaches(
    tmp_path: Path, level_db: float, top_db: float, send_db: float, point_db: float
) -> None:
    graph = send_moves(routed_graph(), "g", level_db=level_db, volume=curve((0.0, -80.0), (0.2, top_db)))
    path = exported(graph, tmp_path)
    hall = read_project(path).blocks("TRACK")[-1]
    still, moving = moving_receives(hall)
    assert still == (0, pytest.approx(10 ** (-20.5 / 20)), [])
    assert 20 * np.log10(moving[1]) == pytest.approx(send_db, abs=1e-9)
    (envelope,) = moving[2]
    assert envelope.numbers("VOLTYPE") == [0]
    assert 20 * np.log10(points_of(envelope)[-1][1]) == pytest.approx(point_db, abs=1e-9)
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"), below_db=-120.0)


def test_points_on_a_line_are_left_out(tmp_path: Path) -> None:
    times_s = np.linspace(0.0, 0.2, 201)
    gains = np.interp(times_s, [0.0, 0.1, 0.2], [1.0, 0.25, 0.5])
    ride = curve(*((float(t), float(20 * np.log10(g))) for t, g in zip(times_s, gains, strict=True)))
    swing = [
        (float(t), float(p)) for t, p in zip(times_s, np.interp(times_s, [0.0, 0.05, 0.2], [-1, 1, 0]), strict=True)
    ]
    graph = send_moves(panned(routed_graph(kick=ride), kick=swing), "g", level_db=-6.0, volume=ride)
    path = exported(graph, tmp_path)
    _, kick, _, hall = read_project(path).blocks("TRACK")
    found = [kick.blocks("VOLENV2")[0], kick.blocks("PANENV2")[0], moving_receives(hall)[-1][2][0]]
    assert [[p[0] for p in points_of(e)] for e in found] == [
        pytest.approx(times) for times in ([0.0, 0.1, 0.2], [0.0, 0.05, 0.2], [0.0, 0.1, 0.2])
    ]
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"), below_db=-120.0)


def test_an_envelope_of_many_points_keeps_its_lines_short(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    times_s = np.sort(random.uniform(0, 0.27, 5000))
    graph = routed_graph(kick=curve(*((float(t), float(random.uniform(-30.0, 0.0))) for t in times_s)))
    path = exported(graph, tmp_path)
    assert max(len(line) for line in path.read_bytes().split(b"\n")) < 1000
    assert len(points_of(read_project(path).blocks("TRACK")[1].blocks("VOLENV2")[0])) == 5000
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"))


def test_the_finished_mix_stands_beside_the_match_and_is_not_heard(tmp_path: Path) -> None:
    graph = small_graph().model_copy(update={"start_frame": 500})
    write_stems(graph, tmp_path / "stems")
    mix = tmp_path / "mix of the song.wav"
    soundfile.write(mix, np.random.default_rng(1).uniform(-1, 1, (15000, 2)).astype(np.float32), 44100)
    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out", reference_path=mix)
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"))
    track = read_project(path).blocks("TRACK")[-1]
    assert track_name(track) == "mix of the song (reference)"
    assert track.numbers("MUTESOLO")[0] == 1 and track.numbers("MAINSEND")[0] == 0
    # Once it is heard it must not pass the master's effects, but it must be heard.
    assert track.line("HWOUT")[:3] == ["0", "0", "1"]
    (item,) = track.blocks("ITEM")
    assert item.numbers("POSITION") == [0]
    np.testing.assert_allclose([item.numbers(k)[0] for k in ("SOFFS", "LENGTH")], [500 / 44100, 12000 / 44100])
    assert (path.parent / "Media" / "mix of the song.wav").read_bytes() == mix.read_bytes()
    without = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "without")
    chains = [read_chain(p) for p in (path, without)]
    assert chains[0] == chains[1]


def test_tracks_have_the_colour_of_their_family(tmp_path: Path) -> None:
    tracks = read_project(exported(routed_graph(), tmp_path)).blocks("TRACK")
    colours = {track_name(t): int(t.numbers("PEAKCOL")[0]) for t in tracks}
    # Red lies in the lowest byte, and bit 24 says that the colour counts.
    assert colours["kick"] == colours["drums"] == 0x1000000 + 0xD5 + (0x5E << 8)
    assert colours["bass"] == 0x1000000 + (0x72 << 8) + (0xB2 << 16)
    assert len({colours["kick"], colours["bass"], colours["Hall"]}) == 3


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (("00_kick",), "drums"), (("08_bassdrum_acoustic01",), "drums"), (("Bass Drum",), "drums"),
        (("02_Bass_Slap_02",), "bass"), (("04_epiano",), "keys"), (("02_accomp_guitar",), "guitar"),
        (("10_vox_lead",), "voice"), (("Lead Vocal",), "voice"), (("07_lead",), "synth"),
        (("06_bgvox_main",), "voice"), (("09_Closed_HihHat_03",), "drums"), (("BD_03",), "drums"),
        (("take 3", "Drums"), "drums"), (("solo", "everything"), ""), (("BD_03", "Voices"), "drums"), ((), ""),
    ],
)  # fmt: skip
def test_names_tell_the_family(names: tuple[str, ...], family: str) -> None:
    assert family_of(*names) == family
    assert bool(colour_of(family)) == bool(family)


def test_rendering_gives_the_master_as_float_and_nothing_more(tmp_path: Path) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")
    project = read_project(export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out"))
    assert project.numbers("RENDER_RANGE")[:4] == [0, 0, 12000 / 44100, 0]
    assert project.numbers("RENDER_FMT") == [0, 2, 44100] and project.numbers("SAMPLERATE")[:2] == [44100, 1]
    assert project.numbers("RENDER_STEMS") == [0] and project.numbers("RENDER_DITHER") == [0]
    assert project.blocks("RENDER_CFG")[0].children == [["ZXZhdyAAAQ=="]]
    assert project.line("RENDER_FILE") == ["song.wav"]


def test_a_session_without_a_length_covers_its_files(tmp_path: Path) -> None:
    graph = small_graph().model_copy(update={"frames": 0})
    write_stems(graph, tmp_path / "stems")
    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    assert render_project(path).shape[1] == 11000 + 10


def test_a_stem_outside_the_session_gets_an_empty_track(tmp_path: Path) -> None:
    graph = small_graph().model_copy(update={"start_frame": 20000})
    write_stems(graph, tmp_path / "stems")
    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    assert not any(t.blocks("ITEM") for t in read_project(path).blocks("TRACK"))
    assert not np.any(render_project(path))


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")
    paths = [export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / n / "out") for n in ("one", "two")]
    files = [{p.relative_to(q.parent): p.read_bytes() for p in q.parent.rglob("*") if p.is_file()} for q in paths]
    assert files[0] == files[1]
    guids = [line for line in paths[0].read_text().splitlines() if "{" in line and "TRACKID" not in line]
    assert len(guids) == len(set(guids)) > 5


# -------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", NASTY)
def test_names_survive(tmp_path: Path, name: str) -> None:
    graph = small_graph()
    nodes = [n.model_copy(update={"name": name}) if isinstance(n, Stem | Bus) else n for n in graph.nodes]
    graph = graph.model_copy(update={"nodes": nodes, "name": name})
    write_stems(graph, tmp_path / "stems")
    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    assert [track_name(t) for t in read_project(path).blocks("TRACK")] == [name] * 3
    assert path.suffix == ".rpp" and path.parent == tmp_path / "out"


@pytest.mark.skipif(os.name == "nt", reason="Windows does not allow such file names")
def test_files_with_odd_names_are_found_again(tmp_path: Path) -> None:
    graph = small_graph(["#a\"b'c", "音 ;`x`"])
    write_stems(graph, tmp_path / "st ems")
    for link in (False, True):
        path = export_reaper(graph, stems_dir=tmp_path / "st ems", folder=tmp_path / "out", link=link)
        assert_nulls(render_project(path), reference_render(graph, tmp_path / "st ems"))


def test_two_stems_whose_files_would_get_one_name(tmp_path: Path) -> None:
    graph = small_graph(["a:b", "A?B"])
    write_stems(graph, tmp_path / "stems")
    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    assert len(list((path.parent / "Media").iterdir())) == 2
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"))


def test_an_unwritable_link_is_refused_with_a_remedy(tmp_path: Path) -> None:
    graph = small_graph(["a\"b'c`d", "x"])
    write_stems(graph, tmp_path / "stems")
    with pytest.raises(ExportError, match="without --link"):
        export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out", link=True)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("file", ["../secret.wav", "/etc/hostname", "a/../../b.wav"])
def test_stems_outside_the_stems_folder_are_refused(tmp_path: Path, file: str) -> None:
    graph = small_graph()
    nodes = [n.model_copy(update={"file": file}) if isinstance(n, Stem) else n for n in graph.nodes]
    with pytest.raises(ExportError, match="inside the stems folder"):
        export_reaper(graph.model_copy(update={"nodes": nodes}), stems_dir=tmp_path, folder=tmp_path / "out")


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=300, deadline=None)
def test_any_text_is_one_token_on_one_line(text: str) -> None:
    block = Block([Word("TEST")])
    block.add("NAME", text, "next")
    lines = block.render().decode("utf-8").split("\n")
    assert len(lines) == 4 and len(lines[1].splitlines()) == 1
    (found,) = from_rpp("\n".join(lines)).children
    assert found[2] == "next"  # type: ignore[index]
    if text.isprintable() and not all(q in text for q in "\"'`"):
        assert found[1] == text  # type: ignore[index]


def test_quotes_follow_reapers_own_rule() -> None:
    assert quote("a b") == '"a b"'
    assert quote('a"b') == "'a\"b'"
    assert quote("a\"b'c") == "`a\"b'c`"
    assert quote("a\"b'c`d") == "`a\"b'c'd`"
    assert quote("a\r\nb") == '"a  b"'


@given(value=st.floats(-1e9, 1e9) | st.floats(-1e-9, 1e-9))
@settings(max_examples=300, deadline=None)
def test_numbers_read_back_exactly_and_have_no_exponent(value: float) -> None:
    text = number(value)
    assert "e" not in text.lower()
    assert float(text) == value


def test_a_line_that_reaper_cannot_read_is_refused() -> None:
    block = Block([Word("TEST")])
    block.add("FILE", "音" * 1400)
    with pytest.raises(ExportError, match="too long"):
        block.render()


# ------------------------------------------------------------------- whole or not there


def assert_nothing_left(root: Path) -> None:
    assert [p.name for p in root.iterdir() if p.name != "stems"] == []


def test_a_missing_stem_leaves_nothing(tmp_path: Path) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")
    (tmp_path / "stems" / "bass.wav").unlink()
    with pytest.raises(AudioFileError, match=r"bass\.wav"):
        export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["_write_manifest", "_carry_over", "_swap"])
def test_a_failure_leaves_the_old_export_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, where: str
) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")

    def fail(*_: object, **__: object) -> None:
        raise error

    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(folder_module, where, fail)
        with pytest.raises(expected):
            export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    assert_nothing_left(tmp_path)

    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    before = {p: p.read_bytes() for p in path.parent.rglob("*") if p.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(folder_module, where, fail)
        with pytest.raises(expected):
            export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out", name="other")
    assert {p: p.read_bytes() for p in path.parent.rglob("*") if p.is_file()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "stems"]


def test_an_interrupt_between_the_two_renames_brings_the_old_export_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")
    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    rename = Path.rename

    def fail_for_new(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(KeyboardInterrupt):
        export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    assert path.is_file()


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder_module.tempfile, "mkdtemp", refuse)
    with pytest.raises(OutputError, match=r"Permission denied.*--out"):
        export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "locked" / "out")


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(MixbridgeError):
            export_reaper(graph, stems_dir=tmp_path / "stems", folder=folder)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_foreign_folder_is_not_touched(tmp_path: Path) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not an export of Mixbridge"):
        export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_what_the_user_added_or_changed_is_kept(tmp_path: Path) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")
    path = export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    fresh = path.read_bytes()
    path.write_bytes(b"my edit")
    (path.parent / "Media" / "vocals.wav").write_bytes(b"my recording")
    for _ in range(2):
        export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
        names = {p.relative_to(path.parent).as_posix(): p.read_bytes() for p in path.parent.rglob("*") if p.is_file()}
        assert names["song.rpp"] == fresh
        assert names["song (kept 1).rpp"] == b"my edit"
        assert names["Media/vocals.wav"] == b"my recording"
        # Project, script, effect, media, list of what was written, and the user's two.
        assert {"verify_in_reaper.lua", "Effects/mixbridge_eq.jsfx", ".mixbridge-export.json"} <= names.keys()
        assert len(names) == 1 + 1 + 1 + 2 + 1 + 2, sorted(names)


def test_what_a_killed_export_left_is_cleared_away(tmp_path: Path) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")
    (tmp_path / ".partial-out-x1" / "new").mkdir(parents=True)
    export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "stems"]


def test_an_old_name_does_not_linger(tmp_path: Path) -> None:
    graph = small_graph()
    write_stems(graph, tmp_path / "stems")
    export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out", name="first")
    export_reaper(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out", name="second", link=True)
    assert [p.name for p in (tmp_path / "out").glob("*.rpp")] == ["second.rpp"]
    manifest = json.loads((tmp_path / "out" / folder_module.MANIFEST).read_text())
    assert set(manifest) == {"second.rpp", "verify_in_reaper.lua", "Effects/mixbridge_eq.jsfx"}
