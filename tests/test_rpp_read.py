"""Projects read back as chains: what was exported, what a user may change in between, and what is refused."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings

from mixbridge.bridge.errors import AudioFileError, MixbridgeError, SessionFileError
from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Node, Processor, Stem, VolumePoint, volume_gains
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.processors.equations import db_to_gain
from mixbridge.bridge.processors.specs import spec_of
from mixbridge.bridge.verify.locate import highest_fader_db
from mixbridge.bridge.verify.realise import render_chain, send_gain
from mixbridge.exporters.chain import Chain, Channel, Insert
from mixbridge.exporters.pedalboard import build_chain
from mixbridge.exporters.reaper.read import read_project
from mixbridge.exporters.reaper.tree import tokens_of
from mixbridge.exporters.session import Session, build_session

from .exports import export_reaper
from .mixes import assert_nulls, reference_render, routed, write_stems
from .rpp_rebuild import render_project

RATE_HZ = 44100
FRAMES = 4410
QUOTES = "a\"b'c`d"


def processor(kind: str, node: str, *, mix: float = 1.0, **values: float) -> Processor:
    return Processor(type=kind, id=node, mix=mix, parameters=spec_of(kind).defaults() | values)


def curve(*points: tuple[float, float]) -> list[VolumePoint]:
    return [VolumePoint(time_s=time_s, gain_db=gain_db) for time_s, gain_db in points]


def small_graph() -> MixGraph:
    """Two tracks in folders within each other, one at the master, a return, and something on every strip."""
    ride, fade = curve((0.01, -3.5), (0.05, 2.0)), curve((0.0, 0.0), (0.06, -80.0))
    chains: list[tuple[str, list[Node]]] = [
        ("kit", [Stem(id="kick", name=QUOTES, file="kick.wav", offset_samples=-100, polarity=-1, volume=ride),
                 processor("eq", "kick-eq", bell2_db=4.5), processor("gain_pan", "kick-gp", gain_db=-3.0, pan=0.25)]),
        ("drums", [Bus(id="kit", name="Kit"), processor("compressor", "kit-c", threshold_db=-30.0, ratio=3.0)]),
        ("drums", [Stem(id="snare", name="snare", file="snare.wav", channels=1, offset_samples=50)]),
        ("master", [Bus(id="drums", name="Drums"), processor("gain_pan", "drums-gp", gain_db=2.0)]),
        ("master", [Stem(id="vox", name="Käte", file="vox.wav"), processor("reverb", "vox-r", mix=0.3, level_db=-9.0)]),
        ("master", [Bus(id="hall", name="Hall", volume=curve((0.02, -1.0))),
                    processor("delay", "hall-d", tap1_time_ms=5.0, tap1_level_db=-3.0)]),
        ("", [Master(volume=fade), processor("imager", "m-w", width=1.2), processor("gain_pan", "m-gp", pan=-0.1)]),
    ]  # fmt: skip
    nodes = [node for _, chain in chains for node in chain]
    ends = [[node.id for node in chain] + ([target] if target else []) for target, chain in chains]
    edges = [Edge(source=a, target=b) for chain in ends for a, b in pairwise(chain)]
    edges += [
        Edge(source=a, target="hall", send_db=b) for a, b in (("vox-r", -12.0), ("kick-gp", -7.5), ("kit-c", 1.0))
    ]
    return MixGraph(name="small", sample_rate_hz=RATE_HZ, frames=FRAMES, nodes=nodes, edges=edges)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small(tmp_path_factory.mktemp("export"))


def export_small(folder: Path) -> Path:
    """The project of `small_graph`, with noise for its stems."""
    (folder / "stems").mkdir()
    for number, (name, channels) in enumerate((("kick", 2), ("snare", 1), ("vox", 2))):
        audio = 0.1 * np.random.default_rng(number).standard_normal((FRAMES + 200, channels))
        soundfile.write(folder / "stems" / f"{name}.wav", audio, RATE_HZ, subtype="FLOAT")
    return export_reaper(small_graph(), stems_dir=folder / "stems", folder=folder / "reaper")


@pytest.fixture
def edited(exported: Path) -> Callable[..., Path]:
    """Write a changed copy beside the project; every change must hit something.

    A change may name the text behind which it is made; `after` is that of the others.
    """

    def edit(*changes: tuple[str, ...], after: str = "") -> Path:
        text = exported.read_text("utf-8")
        for old, new, *where in changes:
            start = text.index(where[0] if where else after)
            assert old in text[start:], old
            text = text[:start] + text[start:].replace(old, new, 1)
        path = exported.with_name("edited.rpp")
        path.write_text(text, encoding="utf-8")
        return path

    return edit


def read(path: Path) -> Chain:
    ids = [n.id for n in small_graph().nodes]
    return read_project(path, node_ids=ids)


def insert_of(chain: Chain, node: str) -> Insert:
    return next(i for c in chain.channels for i in c.inserts if i.id == node)


# ------------------------------------------------------------------------------ our own projects


def test_everything_of_the_graph_is_found_again(exported: Path) -> None:
    chain = read(exported)
    assert (chain.sample_rate_hz, chain.frames) == (RATE_HZ, FRAMES)
    parents = {c.id: c.parent for c in chain.channels}
    assert parents == {
        "kick": "kit",
        "kit": "drums",
        "snare": "drums",
        "drums": "master",
        "vox": "master",
        "hall": "master",
        "master": None,
    }
    kick = chain.channel("kick")
    assert kick.name == QUOTES and kick.source is not None
    assert (kick.source.offset_samples, kick.source.polarity, kick.source.channels) == (-100, -1, 2)
    assert kick.gain == pytest.approx(db_to_gain(-3.0), rel=1e-12) and kick.pan == pytest.approx(0.25, abs=1e-12)
    snare = chain.channel("snare").source
    assert snare is not None and (snare.offset_samples, snare.channels) == (50, 1)
    assert chain.channel("drums").gain == pytest.approx(db_to_gain(2.0), rel=1e-12)
    assert chain.channel("master").pan == pytest.approx(-0.1, abs=1e-12)
    for node in small_graph().processors:
        if node.type != "gain_pan":
            insert = insert_of(chain, node.id)
            assert insert.type == node.type and insert.kind == "jsfx" and not insert.bypassed
            assert insert.parameters == node.parameters
            assert insert.values == {**node.parameters, "mix": node.mix}
            assert insert.plugin is not None and (exported.parent / insert.plugin.bundle).is_file()


def test_sends_and_automation_are_what_another_export_of_the_graph_has(exported: Path) -> None:
    graph = small_graph()
    # Plugins are beside the point here, and no suite has them all.
    graph = graph.without({p.id for p in graph.processors if p.type not in ("gain_pan", "imager")})
    other = build_chain(build_session(graph), graph, profiles={})
    chain = read(exported)
    assert [c.id for c in chain.channels] == [c.id for c in other.channels]
    assert [c.volume for c in chain.channels] == [c.volume for c in other.channels]
    assert [sends_of(c) for c in chain.channels] == [pytest.approx(sends_of(c), rel=1e-12) for c in other.channels]
    assert sum(len(c.sends) for c in chain.channels) == 3 and sum(len(c.volume) for c in chain.channels) == 5


def sends_of(channel: Channel) -> dict[str, float]:
    assert len({s.target for s in channel.sends}) == len(channel.sends)
    return {send.target: send.gain for send in channel.sends}


def no_pool() -> PluginPool:
    raise AssertionError("a project of JSFX needs no plugin workers")


def test_the_chain_renders_like_an_independent_rebuild_of_the_project(exported: Path) -> None:
    audio = render_chain(read(exported), exported.parent, pool=no_pool)
    wanted = render_project(exported)
    assert audio.shape == wanted.shape and np.abs(wanted).max() > 0.01
    assert np.abs(audio - wanted).max() < 1e-9


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(routed())
def test_any_graph_comes_back_as_a_chain_that_sounds_the_same(graph: MixGraph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_stems(graph, Path(folder) / "stems")
        project = export_reaper(graph, stems_dir=Path(folder) / "stems", folder=Path(folder) / "reaper")
        chain = read_project(project, node_ids=[n.id for n in graph.nodes])
        assert_mixers_agree(chain, build_session(graph, max_fader_db=highest_fader_db("reaper")))
        audio = render_chain(chain, project.parent, pool=no_pool)
        assert_nulls(audio, reference_render(graph, Path(folder) / "stems"))


def assert_mixers_agree(chain: Chain, session: Session) -> None:
    """Automation and sends are the same; a fader may have taken over a part of its volume automation."""
    assert {c.id for c in chain.channels} == {s.id for s in session.strips()}
    level = {"frames": chain.frames, "sample_rate_hz": chain.sample_rate_hz}
    for strip in session.strips():
        channel = chain.channel(strip.id)
        assert [p.time_s for p in channel.volume] == [p.time_s for p in strip.volume]
        lines = [c.gain * volume_gains(c.volume, **level) for c in (channel, strip)]
        np.testing.assert_allclose(lines[0], lines[1], rtol=1e-9)
        assert [(p.time_s, p.pan) for p in channel.pan_points] == [(p.time_s, p.pan) for p in strip.pan_points]
        assert channel.pan == pytest.approx(strip.pan, abs=1e-12)
        real, wanted = ({s.target: s for s in c.sends} for c in (channel, strip))
        assert real.keys() == wanted.keys()
        for target, send in real.items():
            assert [p.time_s for p in send.volume] == [p.time_s for p in wanted[target].volume]
            gains = [send_gain((s,), **level) for s in (send, wanted[target])]
            np.testing.assert_allclose(gains[0], gains[1], rtol=1e-9)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(routed(allowed=("gain_pan", "imager")))
def test_faders_sends_and_automation_come_back_exactly(graph: MixGraph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_stems(graph, Path(folder) / "stems")
        project = export_reaper(graph, stems_dir=Path(folder) / "stems", folder=Path(folder) / "reaper")
        chain = read_project(project, node_ids=[n.id for n in graph.nodes])
        assert_mixers_agree(chain, build_session(graph, max_fader_db=highest_fader_db("reaper")))
        audio = render_chain(chain, project.parent, pool=no_pool)
        assert_nulls(audio, reference_render(graph, Path(folder) / "stems"), below_db=-120.0)
        assert_nulls(render_project(project), audio, below_db=-120.0)


def test_without_a_graph_things_are_called_by_their_names(exported: Path) -> None:
    chain = read_project(exported)
    assert [c.id for c in chain.channels] == [QUOTES, "Kit", "snare", "Drums", "Käte", "Hall", "master"]
    assert [i.id for c in chain.channels for i in c.inserts] == [
        f"{QUOTES}:eq", "Kit:compressor", "Käte:reverb", "Hall:delay", "master:imager"
    ]  # fmt: skip


# ------------------------------------------------------------------------------ what a user changes


def test_changes_made_in_the_daw_are_read(edited: Callable[..., Path]) -> None:
    chain = read(edited(("BYPASS 0 0 0", "BYPASS 1 0 0"), after="FXCHAIN"))
    assert [i.id for c in chain.channels for i in c.inserts if i.bypassed] == ["kit-c"]
    assert read(edited(("MUTESOLO 0 0 0", "MUTESOLO 1 0 0"), after='"Drums"')).channel("drums").gain == 0.0
    assert read(edited(("MAINSEND 1 0", "MAINSEND 0 0"), after='"Drums"')).channel("drums").gain == 0.0
    assert all(i.bypassed for i in read(edited(("FX 1", "FX 0"), after='"Kit"')).channel("kit").inserts)
    assert read(edited(("MASTER_FX 1", "MASTER_FX 0"))).channel("master").inserts[0].bypassed
    wet = read(edited(("FLOATPOS", "WET 0.25 0\n      FLOATPOS"), after='"Kit"'))
    assert wet.channel("kit").inserts[0].mix == 0.25
    moved = read(edited(("POSITION 0\n", "POSITION 0.01\n"), after='"Käte"')).channel("vox").source
    assert moved is not None and moved.offset_samples == 441


def receive(source: int, mode: int, gain: float, rest: str = "0 0 0 0 0 0 -1:U 0 -1 ''") -> tuple[str, str]:
    """An edit that lets the next track receive from the track of that number in the file."""
    return "MIDIOUT -1", f"AUXRECV {source} {mode} {gain} {rest}\n    MIDIOUT -1"


VOX, HALL, DRUMS, KICK = '"Käte"', '"Hall"', '"Drums"', "`a\"b'c'd`"
QUIET = ("VOLPAN 1 0 -1", "VOLPAN 0.5 0 -1", VOX)


def rendered(path: Path) -> np.ndarray:
    return render_chain(read(path), path.parent, pool=no_pool)


def test_several_sends_to_one_target_add_up_and_muted_ones_do_not_count(edited: Callable[..., Path]) -> None:
    before = sends_of(read(edited()).channel("vox"))["hall"]
    chain = read(edited(receive(4, 0, 0.5), after=HALL))
    assert sends_of(chain.channel("vox")) == {"hall": pytest.approx(before + 0.5, rel=1e-12)}
    for silent in (receive(4, 0, 0.5, "0 1 0 0 0 0 -1:U 0 -1 ''"), receive(4, 3, 0.5, "0 0 0 0 -1 0 -1:U 0 -1 ''")):
        assert read(edited(silent, after=HALL)).channels == read(edited()).channels
    assert sends_of(read(edited(receive(3, 0, 0.5, ""), after=HALL)).channel("snare")) == {"hall": 0.5}


def test_a_track_with_an_item_that_receives_becomes_a_bus(edited: Callable[..., Path]) -> None:
    chain = read(edited(receive(2, 0, 0.5), after=VOX))
    vox = chain.channel("vox")
    assert vox.kind == "bus" and [c.source for c in chain.channels if c.parent == "vox"] != [None]
    assert sends_of(chain.channel("kick"))["vox"] == 0.5
    assert sends_of(vox).keys() == {"hall"} and [i.id for i in vox.inserts] == ["vox-r"]


def test_a_send_from_before_the_fader_does_not_hear_it(edited: Callable[..., Path]) -> None:
    path = edited(QUIET, receive(4, 3, 0.25), after=HALL)
    chain = read(path)
    vox, fader = (chain.channel(name) for name in ("vox", "vox part 2"))
    assert sends_of(vox) == {"hall": 0.25} and [i.id for i in vox.inserts] == ["vox-r"] and vox.gain == 1.0
    assert sends_of(fader).keys() == {"hall"} and not fader.inserts and fader.gain == 0.5
    assert (vox.kind, fader.kind, vox.parent, fader.parent) == ("track", "bus", "vox part 2", "master")
    # A fader at -6 dB takes half of what a send behind it takes, which is what is made up for here.
    before, behind = rendered(path), rendered(edited(QUIET, receive(4, 0, 0.5), after=HALL))
    assert np.abs(before - behind).max() < 1e-12 < 1e-4 < np.abs(before - rendered(edited(QUIET))).max()


def test_a_send_from_before_the_effects_does_not_hear_them(edited: Callable[..., Path]) -> None:
    chain = read(edited(receive(4, 1, 0.25), after=HALL))
    vox, rest = (chain.channel(name) for name in ("vox", "vox part 2"))
    assert (vox.kind, vox.inserts, sends_of(vox), vox.parent) == ("track", (), {"hall": 0.25}, "vox part 2")
    assert [i.id for i in rest.inserts] == ["vox-r"] and sends_of(rest).keys() == {"hall"} and rest.parent == "master"


def test_a_folder_may_send_from_before_its_fader(edited: Callable[..., Path]) -> None:
    chain = read(edited(receive(1, 1, 0.25), receive(1, 3, 0.125), after=HALL))
    parts = [c for c in chain.channels if c.id.startswith("kit")]
    assert [(c.id, c.parent) for c in parts] == [
        ("kit", "kit part 2"), ("kit part 2", "kit part 3"), ("kit part 3", "drums")
    ]  # fmt: skip
    assert chain.channel("kick").parent == "kit" and [len(c.inserts) for c in parts] == [0, 1, 0]
    assert [sends_of(c)["hall"] for c in parts] == [0.25, 0.125, pytest.approx(db_to_gain(1.0))]


def test_a_track_that_plays_into_its_sends_alone(edited: Callable[..., Path]) -> None:
    path = edited(("MAINSEND 1 0", "MAINSEND 0 0"), after=VOX)
    chain = read(path)
    vox = chain.channel("vox")
    assert vox.gain == 1.0 and sends_of(vox).keys() == {"hall"}
    assert vox.parent == "vox part 2" and chain.channel("vox part 2").gain == 0.0
    heard = rendered(path)
    unheard = rendered(edited(("MAINSEND 1 0", "MAINSEND 0 0"), ("MUTESOLO 0", "MUTESOLO 1", HALL), after=VOX))
    assert np.abs(heard - unheard).max() > 1e-4


def envelope(*points: str, extra: str = "", kind: str = "VOLENV2", behind: str = "MAINSEND 1 0") -> tuple[str, str]:
    """An edit that puts an envelope behind a line."""
    lines = "".join(f" PT {p}\n" for p in points)
    return behind, f"{behind}\n<{kind}\n ACT 1 -1\n{extra}\n{lines}>"


def pan_envelope(*points: str, extra: str = "") -> tuple[str, str]:
    return envelope(*points, extra=extra, kind="PANENV2")


#: The first send into the hall comes from the kick, at this level.
KICK_SEND = f"AUXRECV 2 0 {db_to_gain(-7.5)!r} 0 0 0 0 0 0 -1:U 0 -1 ''"


def send_envelope(*points: str, extra: str = "", behind: str = KICK_SEND) -> tuple[str, str]:
    return envelope(*points, extra=extra, kind="AUXVOLENV", behind=behind)


#: A fader that may be panned.
SINE = ("VOLPAN 1 0 -1 -1 1", "VOLPAN 1 0 0.7071067811865476 -1 1")


def test_steps_and_silence_of_an_envelope_are_read(edited: Callable[..., Path], exported: Path) -> None:
    path = edited(envelope("0 1 1", "0.05 0.5 0", "0.05 0 0", "0.08 2 0 1 1"), after=VOX)
    points = [(p.time_s, p.gain_db) for p in read(path).channel("vox").volume]
    assert points == [
        (0.0, 0.0), (0.05, 0.0), (0.05, pytest.approx(-6.0206, abs=1e-4)), (0.05, -300.0),
        (0.08, pytest.approx(6.0206, abs=1e-4)),
    ]  # fmt: skip
    audio, still, step = rendered(path), rendered(exported), int(0.05 * RATE_HZ)
    assert np.array_equal(audio[:, :step], still[:, :step]) and np.abs(audio - still)[:, step].max() > 1e-4


def test_flat_parts_of_an_envelope_are_flat_in_any_shape_and_scale(edited: Callable[..., Path]) -> None:
    chain = read(edited(envelope("0 0.5 5", "0.05 0.5 1", "0.06 1 2", extra=" VOLTYPE 1"), after=VOX))
    assert [p.time_s for p in chain.channel("vox").volume] == [0.0, 0.05, 0.06, 0.06]


def test_in_read_mode_the_envelope_replaces_the_fader(edited: Callable[..., Path]) -> None:
    points = envelope("0 0.25 0")
    for mode, gain in ((0, 0.5), (1, 1.0), (4, 1.0)):
        vox = read(edited(("AUTOMODE 0", f"AUTOMODE {mode}"), QUIET, points, after=VOX)).channel("vox")
        assert vox.gain == gain and [p.gain_db for p in vox.volume] == [pytest.approx(-12.0412, abs=1e-4)]
    kick = read(edited(("AUTOMODE 0", "AUTOMODE 1"), after=KICK)).channel("kick")
    assert kick.gain == pytest.approx(db_to_gain(-3.0103), rel=1e-4) and kick.pan == pytest.approx(0.25)
    override = read(edited(("GLOBAL_AUTO -1", "GLOBAL_AUTO 1")))
    assert override.channel("hall").gain == 1.0 and override.channel("snare").gain == 1.0
    assert override.channel("master").gain == pytest.approx(db_to_gain(-3.0103), rel=1e-4)


def test_a_pan_envelope_counts_the_other_way_round(edited: Callable[..., Path]) -> None:
    path = edited(SINE, pan_envelope("0 1 0", "0.05 -0.5 1", "0.06 0 0"), after=VOX)
    vox = read(path).channel("vox")
    assert [(p.time_s, p.pan) for p in vox.pan_points] == [(0.0, -1.0), (0.05, 0.5), (0.06, 0.5), (0.06, 0.0)]
    assert vox.pan == 0.0 and vox.gain == pytest.approx(1 / np.sqrt(2)) and not vox.volume
    assert str(vox.pan_points[-1].pan) == "0.0"


def test_a_pan_envelope_replaces_the_faders_pan_in_read_mode_alone(edited: Callable[..., Path]) -> None:
    points = pan_envelope("0 0.5 0")
    sine = ("VOLPAN 1 0 -1 -1 1", "VOLPAN 0.5 0.25 0.7071067811865476 -1 1")
    vox = read(edited(("AUTOMODE 0", "AUTOMODE 1"), sine, points, after=VOX)).channel("vox")
    assert vox.pan == 0.0 and [p.pan for p in vox.pan_points] == [-0.5]
    # Its volume has no envelope that could.
    assert vox.gain == pytest.approx(0.5 / np.sqrt(2))
    with pytest.raises(SessionFileError, match=r"line \d+: VOLPAN: the pan 0.25 adds to a pan envelope; centre"):
        read(edited(sine, points, after=VOX))


def test_a_pan_envelope_in_the_centre_needs_no_pan_law(edited: Callable[..., Path]) -> None:
    assert read(edited(pan_envelope("0 0 0"), after=VOX)).channel("vox").gain == 1.0


def test_the_level_of_a_send_moves(edited: Callable[..., Path], exported: Path) -> None:
    path = edited(send_envelope("0 1 0", "0.05 0.5 1", "0.06 0 0"), after=HALL)
    (send,) = read(path).channel("kick").sends
    assert send.gain == pytest.approx(db_to_gain(-7.5))
    assert [(p.time_s, p.gain_db) for p in send.volume] == [
        (0.0, 0.0), (0.05, pytest.approx(-6.0206, abs=1e-4)), (0.06, pytest.approx(-6.0206, abs=1e-4)), (0.06, -300.0)
    ]  # fmt: skip
    assert np.abs(rendered(path) - rendered(exported)).max() > 1e-4


@pytest.mark.parametrize(("source", "hall", "replaced"), [(0, 0, False), (1, 4, True), (2, 2, True)])
def test_a_send_plays_by_the_mode_of_its_tracks(
    edited: Callable[..., Path], source: int, hall: int, replaced: bool
) -> None:
    modes = [("AUTOMODE 0", f"AUTOMODE {mode}", where) for mode, where in ((source, KICK), (hall, HALL))]
    path = edited(*modes, (*send_envelope("0 0.25 0"), HALL))
    (send,) = read(path).channel("kick").sends
    assert send.gain == pytest.approx(1.0 if replaced else db_to_gain(-7.5)) and len(send.volume) == 1


def test_a_send_at_unity_plays_alike_in_both_modes(edited: Callable[..., Path]) -> None:
    unity = "AUXRECV 2 0 1 0 0 0 0 0 0 -1:U 0 -1 ''"
    moving = ((KICK_SEND, unity, HALL), (*send_envelope("0 0.25 0", behind=unity), HALL))
    one, two = (read(edited(("AUTOMODE 0", f"AUTOMODE {m}", KICK), *moving)).channel("kick").sends for m in (0, 1))
    assert one == two and one[0].gain == 1.0


def test_a_send_with_a_mode_of_its_own_follows_that(edited: Callable[..., Path]) -> None:
    own = KICK_SEND.replace(" -1 ''", " 1 ''")
    path = edited((KICK_SEND, own, HALL), (*send_envelope("0 0.25 0", behind=own), HALL))
    assert read(path).channel("kick").sends[0].gain == 1.0


def test_sends_of_one_course_add_up(edited: Callable[..., Path]) -> None:
    second = "AUXRECV 2 0 0.5 0 0 0 0 0 0 -1:U 0 -1 ''"
    points = ("0 0.25 0", "0.05 1 0")
    path = edited(
        (KICK_SEND, f"{KICK_SEND}\n    {second}", HALL),
        (*send_envelope(*points), HALL),
        (*send_envelope(*points, behind=second), HALL),
    )
    (send,) = read(path).channel("kick").sends
    assert send.gain == pytest.approx(db_to_gain(-7.5) + 0.5) and len(send.volume) == 2


def test_an_envelope_that_is_switched_off_does_nothing(edited: Callable[..., Path]) -> None:
    chain = read(edited(("ACT 1 -1", "ACT 0 -1"), after=HALL))
    assert chain.channel("hall").volume == ()


def test_windows_line_ends_a_byte_order_mark_and_unknown_chunks_change_nothing(exported: Path) -> None:
    text = exported.read_text("utf-8")
    text = text.replace(
        "  RIPPLE 0\n", '  RIPPLE 0\n  SOMETHING "new" 1 2\n  <NEWBLOCK x \'y\n    <INNER\n    >\n  >\n'
    )
    path = exported.with_name("other.rpp")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode("utf-8"))
    assert read(path).channels == read(exported).channels


def test_a_track_of_two_items_becomes_a_bus_of_two_tracks(exported: Path) -> None:
    text = exported.read_text("utf-8")
    start = text.index("<ITEM", text.index('"snare"'))
    item = text[start : text.index("<TRACK", start)].rsplit(">", 1)[0]
    path = exported.with_name("twice.rpp")
    path.write_text(text[:start] + item + text[start:], encoding="utf-8")
    chain = read(path)
    assert chain.channel("snare").kind == "bus"
    items = [c for c in chain.channels if c.parent == "snare"]
    assert len(items) == 2 and {c.source for c in items} == {read(exported).channel("snare").source}


@pytest.mark.parametrize(
    ("old", "new", "after", "words"),
    [
        ("SAMPLERATE 44100 1 0", "SAMPLERATE 44100 0 0", "", "sample rate"),
        ("PANMODE 3", "PANMODE 6", "", "panning mode"),
        ("PLAYRATE 1 0", "PLAYRATE 1.5 0", "", "normal rate"),
        ("MUTESOLO 0 0 0", "MUTESOLO 0 1 0", '"Drums"', "solo"),
        ("MASTERMUTESOLO 0", "MASTERMUTESOLO 1", "", "master"),
        ("MAINSEND 1 0", "MAINSEND 1 2", VOX, "Käte: .*channels"),
        (*receive(4, 0, 1, "0.5 0 0 0 0 0 -1:U"), HALL, "Hall: the send from 'Käte' is panned"),
        (*receive(4, 0, 1, "0 0 1 0 0 0 -1:U"), HALL, "Käte.* mono"),
        (*receive(4, 0, 1, "0 0 0 1 0 0 -1:U"), HALL, "Käte.* polarity"),
        (*receive(4, 0, -1), HALL, "Käte.* polarity"),
        (*receive(4, 0, 1, "0 0 0 0 2 0 -1:U"), HALL, "Käte.* side-chain"),
        (*receive(4, 0, 1, "0 0 0 0 0 2 -1:U"), HALL, "Käte.* side-chain"),
        (*receive(4, 0, 1, "0 0 0 0 0 0 0.5:U"), HALL, "Käte.* pan law"),
        (*receive(4, 2, 1), HALL, "Käte.* mode"),
        (*receive(99, 0, 1), HALL, "Hall: .*not there"),
        (*receive(-1, 0, 1), HALL, "Hall: .*not there"),
        (*receive(2, 3, 1), HALL, "polarity"),
        ("MIDIOUT -1", "AUXRECV\n    MIDIOUT -1", HALL, "Hall: a send without a source"),
        ("MIDIOUT -1", "<AUXPANENV\n ACT 1 -1\n PT 0 1 0\n >\n    MIDIOUT -1", HALL, "Hall: AUXPANENV.*automation"),
        ("MIDIOUT -1", "<AUXMUTEENV\n ACT 1 -1\n PT 0 1 0\n >\n    MIDIOUT -1", HALL, "Hall: AUXMUTEENV.*automation"),
        ("MIDIOUT -1", "<AUXVOLENV\n ACT 1 -1\n PT 0 1 0\n >\n    MIDIOUT -1", VOX, "Käte: AUXVOLENV belongs to no"),
        ("MAINSEND 1 0", "<PANENV\n ACT 1 -1\n PT 0 1 0\n >\n    MAINSEND 1 0", DRUMS, "Drums: PANENV:.*automation"),
        (*pan_envelope("0 1 2", "1 0 0"), VOX, "Käte: its pan envelope is curved"),
        (*pan_envelope("1 1 0", "0 0 0"), VOX, "Käte: its pan envelope .*order"),
        (*pan_envelope("0 1.5 0"), VOX, "Käte: its pan envelope .*between -1 and 1"),
        (*pan_envelope("-1 1 0"), VOX, "Käte: its pan envelope .*between -1 and 1"),
        (*pan_envelope("0 0 0", extra=" POOLEDENVINST 1 0 1"), VOX, "Käte: automation items"),
        (*pan_envelope("0 0.5 0"), VOX, "VOLPAN: .*pan law"),
        (*send_envelope("0 1 5", "1 0 0"), HALL, "Hall: the send from .*: its volume envelope is curved"),
        (*send_envelope("0 1 0", "1 0 0", extra=" VOLTYPE 1"), HALL, "Hall: the send from .*amplitude scaling"),
        (*send_envelope("0 -1 0"), HALL, "Hall: the send from .*from 0 up"),
        (*send_envelope("0 1 0", extra=" POOLEDENVINST 1 0 1"), HALL, "Hall: the send from .*automation items"),
        (KICK_SEND, f"{KICK_SEND}\n{KICK_SEND}\n<AUXVOLENV\n ACT 1 -1\n PT 0 1 0\n>", HALL, "Hall: two sends .*apart"),
        ("MAINSEND 1 0", "<VOLENV\n ACT 1 -1\n PT 0 1 0\n >\n    MAINSEND 1 0", DRUMS, "Drums: VOLENV:.*automation"),
        ("<MASTERVOLENV2", "<MASTERVOLENV", "", "the master: MASTERVOLENV:.*automation"),
        (*envelope("0 1 0", "1 2 0", extra=" VOLTYPE 1"), VOX, "Käte: .*amplitude scaling"),
        (*envelope("0 1 2", "1 2 0"), VOX, "Käte: .*linear"),
        (*envelope("0 1 5", "1 2 0"), VOX, "Käte: .*linear"),
        (*envelope("1 1 0", "0 2 0"), VOX, "Käte: .*order"),
        (*envelope("-1 1 0"), VOX, "Käte: .*from 0 up"),
        (*envelope("0 -1 0"), VOX, "Käte: .*from 0 up"),
        (*envelope("0"), VOX, "Käte: .*from 0 up"),
        (*envelope("0 1 0", extra=" POOLEDENVINST 1 0 1"), VOX, "Käte: automation items"),
        ("AUTOMODE 0", "AUTOMODE 3", HALL, "Hall: its automation mode"),
        ("GLOBAL_AUTO -1", "GLOBAL_AUTO 5", "", "automation mode"),
        ("FADEIN 1 0 0", "FADEIN 1 0.01 0", '"snare"', "fade"),
        ("VOLPAN 1 0 1 -1", "VOLPAN 0.5 0 1 -1", "<ITEM", "volume"),
        ("PLAYRATE 1 1 0", "PLAYRATE 2 1 0", "<ITEM", "stretched"),
        ("CHANMODE 0", "CHANMODE 2", "<ITEM", "channel mode"),
        ("LENGTH 0.1", "LENGTH 9.1", '"Käte"', "longer"),
        ("LENGTH 0.1", "LENGTH 0.05", '"Käte"', "ends before"),
        ("ISBUS 1 1", "ISBUS 1 2", "", "folder"),
        ("ISBUS 2 -1", "ISBUS 2 -7", "", "folders"),
        ("<Project>/mixbridge_eq", "<Project>/../mixbridge_eq", "", "JSFX"),
        ("<Project>/mixbridge_eq", "loser/3BandEQ", "", "JSFX"),
        ("4.5 ", "4.5e3 ", "FXCHAIN", "number"),
        ("4.5 ", "nan ", "FXCHAIN", "number"),
        ('FILE "Media/vox.wav"', 'FILE "Media/vox.wav', "", "quote"),
        ("VOLPAN", "VOLPAN -1 0 -1 -1 1\n    VOLPANX", '"Drums"', "out of range"),
        ("VOLPAN", "VOLPAN 1 0.5 1 -1 1\n    VOLPANX", '"Drums"', "pan law"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_line(
    edited: Callable[..., Path], old: str, new: str, after: str, words: str
) -> None:
    path = edited((old, new), after=after)
    with pytest.raises(SessionFileError, match=r"edited\.rpp: line \d+: .*" + words):
        read(path)


def test_a_send_that_moves_in_a_mode_that_is_not_sure_is_refused(edited: Callable[..., Path]) -> None:
    written = KICK_SEND.replace(" -1 ''", " 3 ''")
    for change, line, words in (
        (("AUTOMODE 0", "AUTOMODE 1", KICK), KICK_SEND, "modes of two tracks"),
        ((KICK_SEND, written, HALL), written, "its automation mode"),
    ):
        path = edited(change, (*send_envelope("0 0.25 0", behind=line), HALL))
        with pytest.raises(SessionFileError, match=rf"line \d+: Hall: the send from .*{words}"):
            read(path)


@pytest.mark.parametrize(("kind", "name"), [("VOLENV2", "Käte"), ("PANENV2", "Käte"), ("WIDTHENV2", "Käte: WIDTHENV2")])
def test_automation_items_without_points_of_their_own_are_refused(
    edited: Callable[..., Path], kind: str, name: str
) -> None:
    with pytest.raises(SessionFileError, match=rf"line \d+: {name}: .*automation"):
        read(edited(envelope(extra=" POOLEDENVINST 1 0 1", kind=kind), after=VOX))


def test_both_envelopes_of_a_fader_are_told(edited: Callable[..., Path]) -> None:
    path = edited(envelope("0 1 5", "1 0 0"), pan_envelope("0 1 2", "1 0 0"), after=VOX)
    with pytest.raises(SessionFileError) as caught:
        read(path)
    assert sum("envelope is curved" in obstacle.words for obstacle in caught.value.obstacles) == 2


def test_sends_that_lead_back_are_refused(edited: Callable[..., Path]) -> None:
    with pytest.raises(SessionFileError, match=r"edited\.rpp: .*(Kit|Drums).*lead back"):
        read(edited(receive(0, 0, 1.0), after='"Kit"'))
    with pytest.raises(SessionFileError, match=r"edited\.rpp: Hall: .*lead back"):
        read(edited(receive(5, 0, 1.0), after=HALL))


def test_a_muted_track_that_sends_from_before_its_fader_is_refused(edited: Callable[..., Path]) -> None:
    path = edited(("MUTESOLO 0 0 0", "MUTESOLO 1 0 0"), receive(4, 3, 1.0), after=VOX)
    with pytest.raises(SessionFileError, match=r"line \d+: Käte: muted"):
        read(path)


def test_other_plugins_are_named_and_refused_only_by_who_renders(edited: Callable[..., Path]) -> None:
    vst = '<VST "VST3: Thing (Maker)" Thing.vst3 0 "" 1{00} ""\n        AAAA\n      >\n      FLOATPOS 0 0 0 0'
    path = edited(("BYPASS 0 0 0", f"BYPASS 0 0 0\n      {vst}\n      BYPASS 0 0 0"), after='"Kit"')
    kit = read(path).channel("kit")
    assert [i.kind for i in kit.inserts] == ["vst3", "jsfx"]
    assert kit.inserts[0].plugin is not None and kit.inserts[0].plugin.name == "VST3: Thing (Maker)"


def test_missing_files_are_named(exported: Path, edited: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(SessionFileError, match="nowhere"):
        read_project(tmp_path / "nowhere.rpp")
    gone = edited(('"Media/vox.wav"', '"Media/gone.wav"'))
    with pytest.raises(AudioFileError, match=r"line \d+: .*gone\.wav"):
        read(gone)
    soundfile.write(tmp_path / "gone.wav", np.zeros((FRAMES, 2)), RATE_HZ)
    source = read_project(gone, media_folder=tmp_path).channel("Käte").source
    assert source is not None and Path(source.file) == tmp_path / "gone.wav"


# ------------------------------------------------------------------------------ broken text


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("NAME kick", ["NAME", "kick"]),
        ('FILE "a b.wav" 1', ["FILE", "a b.wav", "1"]),
        ("NAME 'a \"b\"' `c`", ["NAME", 'a "b"', "c"]),
        ('X "" 1 # rest', ["X", "", "1"]),
        ('X "#1" ;rest', ["X", "#1"]),
        ('X "open', None),
        ("", []),
    ],
)
def test_lines_are_split_as_reaper_splits_them(line: str, tokens: list[str] | None) -> None:
    assert tokens_of(line) == tokens


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"hello", b"<REAPER_PROJECT 0.1\n", b"<ITEM\n>\n", b">\n", b"\x00\xff" * 50, b"<" * 500]
)
def test_what_is_not_a_project_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.rpp"
    path.write_bytes(content)
    with pytest.raises(SessionFileError, match=r"x\.rpp"):
        read_project(path)


def test_deep_nesting_and_huge_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep.rpp"
    path.write_text("<REAPER_PROJECT 0.1\n" + "<A\n" * 100_000)
    with pytest.raises(SessionFileError, match="line 101"):
        read_project(path)
    monkeypatch.setattr("mixbridge.exporters.reaper.tree.MAX_FILE_BYTES", 10)
    with pytest.raises(SessionFileError, match="larger"):
        read_project(path)


def test_damaged_projects_are_read_or_refused_but_never_crash(exported: Path) -> None:
    data = exported.read_bytes()
    generator = random.Random(5)
    path = exported.with_name("fuzz.rpp")
    words = [b"-", b"1e9", b"9" * 400, b'"', b"<", b">", b"\xff", b"nan", b"-1", b"\n", b"{}", b"0,5"]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(400):
        broken = bytearray(data)
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(broken))
            end = min(at + generator.choice((0, 1, 3, 40)), len(broken))
            broken[at:end] = generator.choice(words) if generator.random() < 0.8 else b""
        path.write_bytes(broken)
        try:
            read(path)
            outcomes["read"] += 1
        except MixbridgeError as error:
            assert "fuzz.rpp" in str(error), error
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20, outcomes
