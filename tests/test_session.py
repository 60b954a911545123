"""The DAW-neutral session: what goes onto faders, what stays an insert, and the order of tracks."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Node, Processor, Stem, VolumePoint
from mixbridge.bridge.processors.equations import channel_gains, db_to_gain, pan_gains
from mixbridge.bridge.processors.reference import apply_processor
from mixbridge.bridge.processors.specs import SPECS, spec_of
from mixbridge.exporters.session import (
    MAX_FADER_DB,
    Child,
    Folder,
    Return,
    Send,
    Session,
    Strip,
    Track,
    build_session,
    solve_fader,
)

from .dsp import null_db, programme, random_parameters
from .mixes import routed

RATE_HZ = 44100


def gain_pan(number: int, gain_db: float, pan: float, mix: float = 1.0) -> Processor:
    return Processor(type="gain_pan", id=f"g{number}", parameters={"gain_db": gain_db, "pan": pan}, mix=mix)


def of_type(kind: str, number: int = 0) -> Processor:
    values = random_parameters(spec_of(kind), np.random.default_rng(3))
    return Processor(type=kind, id=f"{kind}{number}", parameters=values, mix=0.7)


def channel_graph(chain: list[Processor], *, on: str = "stem") -> MixGraph:
    nodes: list[Node] = [Stem(id="stem", name="s", file="s.wav"), Bus(id="bus", name="b"), Master(), *chain]
    path = [on, *(p.id for p in chain)]
    follower = {"stem": "bus", "bus": "master"}
    edges = [Edge(source=a, target=b) for a, b in itertools.pairwise(path)]
    edges += [Edge(source=path[-1] if on == a else a, target=b) for a, b in follower.items()]
    return MixGraph(name="n", sample_rate_hz=RATE_HZ, frames=100, nodes=nodes, edges=edges)


def strip_of(session: Session, channel: str) -> Strip:
    return next(s for s in session.strips() if s.id == channel)


def run_strip(strip: Strip, audio: np.ndarray) -> np.ndarray:
    for insert in strip.inserts:
        audio = apply_processor(
            insert.type, audio, parameters=insert.parameters, sample_rate_hz=RATE_HZ, mix=insert.mix
        )
    left, right = pan_gains(strip.pan, xp=np)
    return audio * strip.gain * np.array([[left], [right]])


# ------------------------------------------------------------------------------- faders


@given(left=st.floats(0, 100), right=st.floats(0, 100))
@settings(max_examples=300, deadline=None)
def test_every_pair_of_gains_has_a_fader_and_pan(left: float, right: float) -> None:
    gain, pan = solve_fader(left, right)
    assert gain >= 0 and -1 <= pan <= 1
    found = gain * np.array(pan_gains(pan, xp=np))
    assert np.allclose(found, [left, right], rtol=0, atol=2e-6 * max(left, right))


@given(gain_db=st.floats(-80, 36), pan=st.floats(-1, 1), mix=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_channel_gains_are_those_of_the_reference(gain_db: float, pan: float, mix: float) -> None:
    node = gain_pan(0, gain_db, pan, mix)
    expected = apply_processor("gain_pan", np.ones((2, 1)), parameters=node.parameters, sample_rate_hz=RATE_HZ, mix=mix)
    assert np.allclose(channel_gains(**node.parameters, mix=node.mix), expected[:, 0], rtol=1e-12, atol=1e-12)


def test_a_plain_setting_comes_out_as_it_went_in() -> None:
    strip = strip_of(build_session(channel_graph([gain_pan(0, -6.0, 0.4)])), "stem")
    assert strip.gain == pytest.approx(db_to_gain(-6.0), rel=1e-12)
    assert strip.pan == 0.4


@pytest.mark.parametrize("channel", ["stem", "bus", "master"])
@pytest.mark.parametrize(
    ("chain", "inserts", "on_fader"),
    [
        ([gain_pan(0, -6, 0.5)], [], True),
        ([gain_pan(0, -6, 0.5), gain_pan(1, 3, -0.2, 0.4)], [], True),
        ([of_type("compressor"), gain_pan(0, -6, 0.5)], ["compressor"], True),
        ([gain_pan(0, -6, 0.5), of_type("eq"), of_type("delay")], ["eq", "delay"], True),
        ([gain_pan(0, -6, 0.0), of_type("imager"), of_type("reverb")], ["imager", "reverb"], True),
        ([gain_pan(0, -6, 0.5), of_type("reverb")], ["gain_pan", "reverb"], True),
        ([gain_pan(0, -6, 0.5), of_type("eq"), of_type("imager")], ["gain_pan", "eq", "imager"], True),
        ([gain_pan(0, -6, 0.5), of_type("compressor")], ["gain_pan", "compressor"], False),
        ([gain_pan(0, -6, 0.0), of_type("gate")], ["gain_pan", "gate"], False),
    ],
)
def test_faders_take_what_commutes_with_the_rest(
    channel: str, chain: list[Processor], inserts: list[str], on_fader: bool
) -> None:
    strip = strip_of(build_session(channel_graph(chain, on=channel)), channel)
    assert [i.type for i in strip.inserts] == inserts
    assert (strip.gain != 1.0) == on_fader
    if on_fader:
        assert all(i.parameters["gain_db"] == 0.0 for i in strip.inserts if i.type == "gain_pan")


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_strip_sounds_like_its_chain(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    kinds = data.draw(st.lists(st.sampled_from([*SPECS, "gain_pan", "gain_pan"]), max_size=5))
    chain = []
    for index, kind in enumerate(kinds):
        values = random_parameters(spec_of(kind), random)
        chain.append(Processor(type=kind, id=str(index), parameters=values, mix=float(random.random())))
    strip = strip_of(build_session(channel_graph(chain)), "stem")
    audio = programme(seconds=0.2, seed=4)
    expected = audio
    for node in chain:
        expected = apply_processor(
            node.type, expected, parameters=node.parameters, sample_rate_hz=RATE_HZ, mix=node.mix
        )
    assert null_db(run_strip(strip, audio), expected) < -110
    assert strip.gain <= db_to_gain(MAX_FADER_DB)


@pytest.mark.parametrize(("gains_db", "trims"), [([12.0], 0), ([12.1], 1), ([36.0, 36.0, 36.0], 3)])
def test_what_is_too_loud_for_a_fader_gets_trims(gains_db: list[float], trims: int) -> None:
    chain = [gain_pan(index, gain, 0.0) for index, gain in enumerate(gains_db)]
    strip = strip_of(build_session(channel_graph(chain)), "stem")
    assert len(strip.inserts) == trims
    total = 20 * math.log10(strip.gain) + sum(i.parameters["gain_db"] for i in strip.inserts)
    assert total == pytest.approx(sum(gains_db))
    assert len({i.id for i in strip.inserts}) == trims


# ------------------------------------------------------------------------------- layout


def names(children: tuple[Child, ...]) -> list[object]:
    return [(c.strip.id, names(c.children)) if isinstance(c, Folder) else c.strip.id for c in children]


def test_tracks_stand_in_stem_order_inside_their_folders() -> None:
    stems = [Stem(id=n, name=n, file=f"{n}.wav", offset_samples=7) for n in "abcd"]
    nodes: list[Node] = [Bus(id="late", name="L"), Bus(id="early", name="E"), Bus(id="empty", name="0"), Master()]
    pairs = [("a", "early"), ("b", "master"), ("c", "late"), ("d", "early"), ("late", "early"), ("early", "master"),
             ("empty", "late")]  # fmt: skip
    edges = [Edge(source=x, target=y) for x, y in pairs]
    graph = MixGraph(name="n", sample_rate_hz=48000, start_frame=5, frames=9, nodes=[*stems, *nodes], edges=edges)
    session = build_session(graph)

    assert names(session.children) == [("early", ["a", ("late", ["c"]), "d"]), "b"]
    assert [t.media.file for t in session.tracks()] == ["a.wav", "c.wav", "d.wav", "b.wav"]
    assert {t.media.offset_samples for t in session.tracks()} == {2}
    assert (session.frames, session.sample_rate_hz) == (9, 48000)
    assert [s.id for s in session.strips()] == ["early", "a", "late", "c", "d", "b", "master"]


def send_graph(sends: list[tuple[str, str, float]], *, chain: list[Processor]) -> MixGraph:
    """Stems a and b (which lies in the group), a return in the group, one on the master, and a silent one."""
    volume = [VolumePoint(time_s=0.5, gain_db=-80.0), VolumePoint(time_s=1.0, gain_db=2.0)]
    nodes: list[Node] = [Stem(id="a", name="a", file="a.wav", volume=volume), Stem(id="b", name="b", file="b.wav")]
    nodes += [Bus(id=n, name=n) for n in ("hall", "group", "slap", "silent")] + [Master(volume=volume[:1]), *chain]
    ends = {"a": chain[-1].id if chain else "a"}
    pairs = [("a", "master"), ("b", "group"), ("hall", "master"), ("group", "master"), ("slap", "group"),
             ("silent", "master")]  # fmt: skip
    edges = [Edge(source=x, target=y) for x, y in itertools.pairwise(["a", *(p.id for p in chain)])]
    edges += [Edge(source=ends.get(x, x), target=y) for x, y in pairs]
    edges += [Edge(source=ends.get(x, x), target=y, send_db=level) for x, y, level in sends]
    return MixGraph(name="n", sample_rate_hz=48000, frames=9, nodes=nodes, edges=edges)


def test_sends_and_automation_come_after_fader_and_inserts() -> None:
    sends = [("a", "hall", -6.0), ("a", "group", 3.0), ("b", "slap", 0.0), ("slap", "hall", -60.0)]
    graph = send_graph(sends, chain=[gain_pan(0, -6, 0.5), of_type("eq")])
    session = build_session(graph)
    assert names(session.children) == ["a", ("group", ["b", "slap"])]
    assert [r.strip.id for r in session.returns] == ["hall"]
    assert isinstance(next(c for c, _ in session.walk() if c.strip.id == "slap"), Return)
    assert [s.id for s in session.strips()] == ["a", "group", "b", "slap", "hall", "master"]
    assert {c.strip.id: parent for c, parent in session.walk()} == {
        "a": "master", "group": "master", "b": "group", "slap": "group", "hall": "master",
    }  # fmt: skip
    strip = strip_of(session, "a")
    assert strip.gain == pytest.approx(db_to_gain(-6.0)) and [i.type for i in strip.inserts] == ["eq"]
    assert strip.sends == (Send("hall", db_to_gain(-6.0)), Send("group", db_to_gain(3.0)))
    assert strip_of(session, "slap").sends == (Send("hall", db_to_gain(-60.0)),)
    assert strip.volume == tuple(graph.channel("a").volume) and len(session.master.volume) == 1
    assert not session.master.sends and not strip_of(session, "b").volume


def test_a_return_nobody_sends_to_is_left_out_with_what_only_it_feeds() -> None:
    session = build_session(send_graph([("silent", "slap", 0.0), ("silent", "hall", 0.0)], chain=[]))
    assert [s.id for s in session.strips()] == ["a", "group", "b", "master"]


@given(graph=routed())
@settings(max_examples=40, deadline=None)
def test_every_send_leads_to_a_channel_of_the_session(graph: MixGraph) -> None:
    session = build_session(graph)
    strips = {s.id: s for s in session.strips()}
    kept = graph.tidied().all_sends()
    assert {(s.id, t.target) for s in strips.values() for t in s.sends} == set(kept)
    assert {target for _, target in kept} <= {c.strip.id for c, _ in session.walk() if not isinstance(c, Track)}
    assert {r.id for r in graph.tidied().returns} == {c.strip.id for c, _ in session.walk() if isinstance(c, Return)}


def test_exporters_never_load_torch() -> None:
    code = (
        "import sys, mixbridge.exporters.session, mixbridge.exporters.reaper.project; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
