"""Tidying: merging keeps the sound, is done when it is done, and drops only what does nothing; snapping."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbridge.bridge.graph import Bus, Edge, Evidence, Master, MixGraph, Node, Processor, Stem, VolumePoint
from mixbridge.bridge.null_test import null_depth_db
from mixbridge.bridge.processors.equations import channel_gains, gain_to_db
from mixbridge.bridge.processors.specs import SPECS, spec_of
from mixbridge.bridge.render import render_graph
from mixbridge.bridge.search.activity import Activity
from mixbridge.bridge.search.amounts import (
    NEGLIGIBLE_DB,
    Gains,
    audible_grid_hz,
    eq_response,
    is_neutral,
    readable,
)
from mixbridge.bridge.search.fit_response import LARGEST_ERROR_DB
from mixbridge.bridge.search.merge_eq import joined_eqs, without_mix
from mixbridge.bridge.search.merge_gain import carried
from mixbridge.bridge.search.shared_reverb import common_settings, shared_reverbs
from mixbridge.bridge.search.snap import roundest, snap
from mixbridge.bridge.search.tidy import fold, merge, tidy

from .dsp import programme, random_parameters
from .mixes import chain_edges, graphs

RATE_HZ = 44100


def rendered(graph: MixGraph, *, frames: int = 9000) -> np.ndarray:
    def load(stem: Stem) -> np.ndarray:
        index = [s.id for s in graph.stems].index(stem.id)
        audio = programme(seconds=frames / RATE_HZ, seed=index)
        return stem.polarity * (audio if stem.channels == 2 else np.stack([audio[0], audio[0]]))

    return render_graph(graph, load)


def processor(kind: str, node_id: str, *, mix: float = 1.0, law: str = "", **values: float) -> Processor:
    return Processor(type=kind, id=node_id, parameters=spec_of(kind).defaults() | values, mix=mix, law=law)


def song(
    chains: dict[str, list[Processor]],
    *,
    groups: dict[str, list[str]] | None = None,
    sends: list[Edge] | None = None,
    volume: dict[str, list[VolumePoint]] | None = None,
    mono: frozenset[str] = frozenset(),
) -> MixGraph:
    """A graph of stems a, b, ... whose names are the chains' keys, but for groups and the master."""
    groups = groups or {}
    parent = {member: group for group, members in groups.items() for member in members}
    nodes: list[Node] = []
    edges: list[Edge] = []
    channels: list[Stem | Bus | Master] = [
        Stem(id=n, name=n, file=f"{n}.wav", channels=1 if n in mono else 2)
        for n in chains
        if n not in groups and n != "master"
    ]
    channels += [*(Bus(id=g, name=g) for g in groups), Master()]
    for channel in channels:
        chain = chains.get(channel.id, [])
        nodes += [channel.model_copy(update={"volume": (volume or {}).get(channel.id, [])}), *chain]
        edges += chain_edges(channel.id, chain, None if channel.id == "master" else parent.get(channel.id, "master"))
    return MixGraph(name="song", sample_rate_hz=RATE_HZ, frames=9000, nodes=nodes, edges=[*edges, *(sends or [])])


#: What a level that is off by `NEGLIGIBLE_DB` leaves over.
NEGLIGIBLE_NULL_DB = gain_to_db(10.0 ** (NEGLIGIBLE_DB / 20.0) - 1.0)

WITHOUT_EQ = tuple(kind for kind in SPECS if kind != "eq")


def fader(node_id: str, gain_db: float, pan: float = 0.0, *, mix: float = 1.0) -> Processor:
    return processor("gain_pan", node_id, gain_db=gain_db, pan=pan, mix=mix)


def types(graph: MixGraph, channel: str) -> list[str]:
    return [p.type for p in graph.chain(channel)]


# ------------------------------------------------------------------------------- merging


@settings(max_examples=25, deadline=None)
@given(graphs(allowed=(*WITHOUT_EQ, "gain_pan", "gain_pan", "gain_pan")))
def test_merging_gains_keeps_the_sound(graph: MixGraph) -> None:
    merged = merge(graph)
    assert len(merged.processors) <= len(graph.processors)
    assert null_depth_db(rendered(merged), rendered(graph)) < NEGLIGIBLE_NULL_DB
    assert merge(merged) == merged


@pytest.mark.parametrize("kind", [kind for kind in SPECS if kind != "gain_pan"])
def test_what_is_carried_behind_a_gain_does_the_same(kind: str) -> None:
    random = np.random.default_rng(3)
    gains = Gains(0.5, 0.5)
    found = 0
    for _ in range(6):
        node = processor(kind, "n", mix=0.7, **random_parameters(spec_of(kind), random))
        behind = carried(node, gains)
        if behind is None:
            continue
        found += 1
        before = song({"a": [fader("g", gain_to_db(0.5)), node]})
        after = song({"a": [behind, fader("g", gain_to_db(0.5))]})
        assert null_depth_db(rendered(after), rendered(before)) < -120.0
    assert found


def test_a_pan_stays_before_what_mixes_the_channels() -> None:
    graph = song({"a": [fader("a/1", -3.0, 0.5), processor("imager", "a/2", width=0.3), fader("a/3", 1.0, -0.2)]})
    assert merge(graph).processors == graph.processors
    level = song({"a": [fader("a/1", -3.0), processor("imager", "a/2", width=0.3), fader("a/3", 1.0, -0.2)]})
    assert types(merge(level), "a") == ["imager", "gain_pan"]


def test_a_make_up_goes_into_the_fader_and_moves_the_threshold_of_the_gate_between() -> None:
    comp = processor("compressor", "c", threshold_db=-30.0, ratio=4.0, makeup_db=6.0)
    gate = processor("gate", "n", threshold_db=-40.0, ratio=4.0)
    graph = song({"a": [comp, gate, fader("g", -2.0)]})
    merged = merge(graph)
    c, n, g = merged.chain("a")
    assert (c.parameters["makeup_db"], n.parameters["threshold_db"]) == (0.0, pytest.approx(-46.0))
    assert g.parameters["gain_db"] == pytest.approx(4.0)
    assert null_depth_db(rendered(merged), rendered(graph)) < -120.0
    # With a dry part the make-up is not a gain of the whole.
    parallel = song({"a": [comp.model_copy(update={"mix": 0.5}), fader("g", -2.0)]})
    assert merge(parallel).processors == parallel.processors


def test_a_group_fader_goes_into_its_tracks_whose_sends_make_up_for_it() -> None:
    graph = song(
        {
            "a": [fader("a/g", -1.0, 0.3)],
            "b": [fader("b/g", 2.0)],
            "drums": [processor("eq", "drums/eq", bell1_db=3.0), fader("drums/g", -4.0)],
            "verb": [processor("reverb", "verb/r", level_db=-6.0)],
        },
        groups={"drums": ["a", "b"], "verb": []},
        sends=[Edge(source="b/g", target="verb", send_db=-8.0)],
        volume={"a": [VolumePoint(time_s=0.05, gain_db=-6.0), VolumePoint(time_s=0.15, gain_db=0.0)]},
    )
    merged = merge(graph)
    assert types(merged, "drums") == ["eq"]
    assert [merged.chain(c)[-1].parameters["gain_db"] for c in "ab"] == pytest.approx([-5.0, -2.0])
    assert [s.send_db for s in merged.sends("b")] == pytest.approx([-4.0])
    assert null_depth_db(rendered(merged), rendered(graph)) < -120.0


def test_a_group_fader_stays_where_a_track_has_none_or_a_limiter_would_notice() -> None:
    one_without = song({"a": [fader("a/g", -1.0)], "b": [], "g": [fader("g/g", -4.0)]}, groups={"g": ["a", "b"]})
    assert types(merge(one_without), "g") == ["gain_pan"]
    panned = song(
        {"a": [fader("a/g", -1.0)], "g": [processor("compressor", "g/c", ratio=4.0), fader("g/g", -4.0, 0.5)]},
        groups={"g": ["a"]},
    )
    assert types(merge(panned), "g") == ["compressor", "gain_pan"]
    alone = song({"a": [], "b": [], "g": [fader("g/g", -4.0)]}, groups={"g": ["a"]})
    assert (types(merge(alone), "a"), types(merge(alone), "g")) == (["gain_pan"], [])


def test_the_fader_of_a_return_goes_into_its_sends() -> None:
    graph = song(
        {"a": [fader("a/g", -1.0)], "verb": [processor("reverb", "verb/r", level_db=0.0), fader("verb/g", -5.0)]},
        groups={"verb": []},
        sends=[Edge(source="a/g", target="verb", send_db=-8.0)],
    )
    merged = merge(graph)
    assert [s.send_db for s in merged.sends("a")] == pytest.approx([-13.0])
    assert types(merged, "verb") == ["reverb"]
    assert null_depth_db(rendered(merged), rendered(graph)) < -120.0


def test_a_limiter_follows_the_fader_of_the_master() -> None:
    limiter = processor("limiter", "l", gain_db=12.0, ceiling_db=-6.0)
    graph = song({"a": [fader("a/g", 6.0)], "master": [limiter, fader("m/g", -3.0)]})
    merged = merge(graph)
    assert types(merged, "master") == ["limiter"]
    assert merged.chain("master")[0].parameters["ceiling_db"] == pytest.approx(-9.0)
    assert null_depth_db(rendered(merged), rendered(graph)) < -120.0


@pytest.mark.parametrize(
    "node",
    [
        processor("eq", "x", bell1_db=0.04, bell1_hz=1000.0),
        processor("eq", "x", bell2_db=6.0, mix=0.0),
        processor("compressor", "x", threshold_db=-30.0),
        processor("compressor", "x", threshold_db=-10.0, ratio=1.0002),
        processor("gate", "x", threshold_db=-20.0, range_db=0.0, ratio=4.0),
        processor("imager", "x", width=1.002),
        fader("x", 0.03, 0.001),
        fader("x", -12.0, 0.5, mix=0.0),
        processor("saturation", "x"),
        processor("delay", "x", tap1_level_db=-59.0, tap1_time_ms=20.0, mix=0.003),
        processor("reverb", "x", mix=0.001),
    ],
    ids=lambda n: n.type,
)
def test_what_does_nothing_is_dropped_and_cannot_be_heard(node: Processor) -> None:
    graph = song({"a": [node]})
    assert merge(graph).processors == []
    assert null_depth_db(rendered(merge(graph)), rendered(graph)) < NEGLIGIBLE_NULL_DB


@pytest.mark.parametrize(
    "node",
    [
        processor("limiter", "x"),
        processor("compressor", "x", threshold_db=-30.0, ratio=1.2),
        processor("gate", "x", threshold_db=-20.0, ratio=1.5),
        processor("saturation", "x", drive_db=3.0),
        processor("imager", "x", width=0.97),
        processor("eq", "x", highpass_hz=30.0),
        processor("delay", "x", tap3_level_db=-30.0),
        processor("gate", "x", law="zam", threshold_db=-20.0, ratio=1.0),
    ],
    ids=lambda n: n.type + n.law,
)
def test_what_does_something_stays(node: Processor) -> None:
    assert not is_neutral(node)
    assert merge(song({"a": [node]})).processors


def test_an_imager_does_nothing_on_a_mono_stem_until_something_makes_it_stereo() -> None:
    imager = processor("imager", "w", width=0.4)
    assert merge(song({"a": [imager]}, mono=frozenset("a"))).processors == []
    assert types(merge(song({"a": [fader("g", 0.0, 0.5), imager]}, mono=frozenset("a"))), "a") == ["gain_pan", "imager"]


def test_settings_of_what_is_off_are_reset() -> None:
    eq = processor("eq", "e", bell1_hz=777.0, bell1_db=0.01, bell1_q=3.0, bell2_db=4.0, bell2_hz=800.0)
    delay = processor("delay", "d", tap1_time_ms=33.0, tap1_pan=0.7, tap2_level_db=-9.0, tap2_time_ms=44.0)
    e, d = (readable(n, sample_rate_hz=RATE_HZ) for n in (eq, delay))
    assert e.parameters == spec_of("eq").defaults() | {"bell2_db": 4.0, "bell2_hz": 800.0}
    assert d.parameters == spec_of("delay").defaults() | {"tap2_level_db": -9.0, "tap2_time_ms": 44.0}
    # A plugin may not have our default.
    held = readable(eq, sample_rate_hz=RATE_HZ, limits={"eq": {"bell1_hz": (200.0, 400.0)}})
    assert held.parameters["bell1_hz"] == 200.0


# ------------------------------------------------------------------------------- equalizers


@st.composite
def few_bands(draw: st.DrawFn) -> dict[str, float]:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = spec_of("eq").defaults()
    for band in draw(st.lists(st.sampled_from(["low_shelf", "bell1", "bell2", "high_shelf"]), max_size=3, unique=True)):
        values[f"{band}_db"] = float(random.uniform(-9.0, 9.0))
        values[f"{band}_hz"] = float(np.exp(random.uniform(np.log(60.0), np.log(9000.0))))
        values[f"{band}_q"] = float(random.uniform(0.5, 2.0))
    if draw(st.booleans()):
        values["highpass_hz"] = float(random.uniform(20.0, 200.0))
    return values


def response(values: dict[str, float], mix: float = 1.0) -> np.ndarray:
    grid_hz = audible_grid_hz(RATE_HZ)
    return mix * eq_response(values, frequencies_hz=grid_hz, law="", sample_rate_hz=RATE_HZ) + 1.0 - mix


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    deep = np.abs(wanted).max() * 10.0 ** (-30.0 / 20.0)
    assert (
        np.max(np.abs(found - wanted) / np.maximum(np.abs(wanted), deep))
        <= 10.0 ** (LARGEST_ERROR_DB / 20.0) - 1.0 + 1e-6
    )


@settings(max_examples=10, deadline=None)
@given(few_bands(), few_bands())
def test_two_equalizers_in_one_have_their_response(first: dict[str, float], second: dict[str, float]) -> None:
    a, b = (Processor(type="eq", id=i, parameters=p) for i, p in (("a", first), ("b", second)))
    joined = joined_eqs(a, b, sample_rate_hz=RATE_HZ)
    if joined is not None:
        assert joined.id == "a"
        assert_close(response(joined.parameters), response(first) * response(second))


def test_equalizers_whose_sections_have_room_in_one_are_joined_exactly() -> None:
    a = processor("eq", "a", highpass_hz=80.0, bell1_db=3.0, bell1_hz=300.0, low_shelf_db=2.0)
    b = processor("eq", "b", bell1_db=-4.0, bell1_hz=2500.0, bell1_q=2.0, high_shelf_db=1.5, lowpass_hz=12000.0)
    joined = joined_eqs(a, b, sample_rate_hz=RATE_HZ)
    assert joined is not None
    np.testing.assert_allclose(response(joined.parameters), response(a.parameters) * response(b.parameters), rtol=1e-9)
    other_law = b.model_copy(update={"law": "pedalboard"})
    assert joined_eqs(a, other_law, sample_rate_hz=RATE_HZ) is None


def test_equalizers_that_one_cannot_follow_stay_two() -> None:
    a = processor("eq", "a", highpass_hz=120.0)
    b = processor("eq", "b", highpass_hz=150.0)
    assert joined_eqs(a, b, sample_rate_hz=RATE_HZ) is None


def test_a_diluted_bell_is_a_bell() -> None:
    diluted = processor("eq", "a", bell2_db=8.0, bell2_hz=900.0, bell2_q=1.5, mix=0.6)
    wet = without_mix(diluted, sample_rate_hz=RATE_HZ)
    assert wet is not None
    assert wet.mix == 1.0
    assert_close(response(wet.parameters), response(diluted.parameters, 0.6))


def test_equalizers_merge_across_what_is_linear_and_into_an_only_child() -> None:
    a = processor("eq", "a/eq", bell1_db=3.0)
    b = processor("eq", "g/eq", high_shelf_db=-4.0)
    graph = song({"a": [a, fader("a/g", -3.0, 0.4)], "b": [], "g": [b]}, groups={"g": ["a"]})
    merged = merge(graph)
    assert (types(merged, "a"), types(merged, "g")) == (["eq", "gain_pan"], [])
    assert null_depth_db(rendered(merged), rendered(graph)) < -120.0
    compressed = song(
        {"a": [a, processor("compressor", "a/c", ratio=4.0, threshold_db=-30.0)], "b": [], "g": [b]},
        groups={"g": ["a"]},
    )
    assert types(merge(compressed), "g") == ["eq"]
    riding = [VolumePoint(time_s=0.05, gain_db=-6.0), VolumePoint(time_s=0.15, gain_db=0.0)]
    moving = song({"a": [a], "b": [], "g": [b]}, groups={"g": ["a"]}, volume={"a": riding})
    assert types(merge(moving), "g") == ["eq"]


def test_folding_a_mix_leaves_all_wet_processors_alone() -> None:
    graph = song({"a": [fader("a/g", -3.123456789, 0.123456789), fader("a/h", -20.0, 0.0, mix=0.5)]})
    first, second = fold(graph).chain("a")
    assert first == graph.chain("a")[0]
    assert second.mix == 1.0
    assert channel_gains(**second.parameters, mix=1.0) == pytest.approx(
        channel_gains(**graph.chain("a")[1].parameters, mix=0.5)
    )


# ------------------------------------------------------------------------------- tidying


def distance_to(target: MixGraph) -> object:
    """A loss: energy of the difference to what a graph sounds like."""
    wanted = rendered(target)
    return lambda graph: float(np.mean(np.square(rendered(graph) - wanted))) / float(np.mean(np.square(wanted)))


def test_a_merge_that_costs_too_much_is_taken_back_alone() -> None:
    diluted = processor("eq", "a/eq", highpass_hz=200.0, bell1_db=9.0, bell2_db=-9.0, bell2_hz=900.0, mix=0.6)
    graph = song({"a": [diluted, fader("a/1", -3.0), fader("a/2", -3.0)]})
    loss_of = distance_to(graph)
    assert [p.mix for p in merge(graph).chain("a")] == [1.0, 1.0]
    exact = tidy(graph, loss_of, ceiling=1e-12)
    assert [p.mix for p in exact.chain("a")] == [0.6, 1.0]
    assert loss_of(exact) <= 1e-12


def test_a_processor_that_is_a_gain_on_this_song_goes_into_the_fader() -> None:
    never = processor("gate", "a/n", threshold_db=-79.0, ratio=2.0)
    graph = song({"a": [never, fader("a/g", -3.0)]})
    loss_of = distance_to(graph)
    watched = {"a/n": Activity(Gains(1.0, 1.0), -80.0)}
    assert types(tidy(graph, loss_of, ceiling=1e-6, activity=watched), "a") == ["gain_pan"]
    busy = {"a/n": Activity(Gains(0.7, 0.7), -20.0)}
    assert types(tidy(graph, loss_of, ceiling=1e-6, activity=busy), "a") == ["gate", "gain_pan"]
    # Wrong about it: the loss tells.
    wrong = {"a/n": Activity(Gains(0.5, 0.5), -80.0)}
    assert types(tidy(graph, loss_of, ceiling=1e-6, activity=wrong), "a") == ["gate", "gain_pan"]


def test_bands_the_song_does_not_miss_are_switched_off() -> None:
    eq = processor("eq", "a/eq", bell1_db=8.0, bell1_hz=700.0, bell2_db=0.12, bell2_hz=60.0, bell2_q=5.0)
    graph = song({"a": [eq]})
    found = tidy(graph, distance_to(graph), ceiling=1e-3).chain("a")[0].parameters
    assert found == spec_of("eq").defaults() | {"bell1_db": 8.0, "bell1_hz": 700.0}


def reverbs(levels_db: dict[str, float], *, decay_s: float = 0.8, mix: float = 0.4) -> dict[str, list[Processor]]:
    return {
        name: [fader(f"{name}/g", -2.0), processor("reverb", f"{name}/r", level_db=level, decay_s=decay_s, mix=mix)]
        for name, level in levels_db.items()
    }


def test_equal_reverbs_become_sends_to_one_return() -> None:
    graph = song(reverbs({"a": -3.0, "b": -9.0, "c": -6.0}))
    shared = tidy(graph, distance_to(graph), ceiling=1e-9)
    assert [b.name for b in shared.returns] == ["Reverb"]
    assert sum(p.type == "reverb" for p in shared.processors) == 1
    assert [types(shared, c) for c in "abc"] == [["gain_pan"]] * 3
    levels = [shared.sends(c)[0].send_db for c in "abc"]
    assert np.diff(levels) == pytest.approx([-6.0, 3.0])
    assert null_depth_db(rendered(shared), rendered(graph)) < -120.0


def test_reverbs_that_differ_are_shared_only_if_the_loss_allows_it() -> None:
    graph = song({**reverbs({"a": -3.0}, decay_s=0.3), **reverbs({"b": -3.0}, decay_s=3.0)})
    loss_of = distance_to(graph)
    assert tidy(graph, loss_of, ceiling=1e-6).returns == []
    assert len(tidy(graph, loss_of, ceiling=10.0).returns) == 1
    refitted: list[MixGraph] = []

    def refit(changed: MixGraph) -> MixGraph:
        refitted.append(changed)
        return changed

    tidy(graph, loss_of, ceiling=1e-6, refit=refit)
    assert len(refitted) == 1


def test_reverbs_of_one_group_return_into_it() -> None:
    graph = song(
        {**reverbs({"a": -3.0, "b": -9.0}), "c": [], "g": [processor("saturation", "g/s", drive_db=12.0)]},
        groups={"g": ["a", "b"]},
    )
    shared = next(shared_reverbs(graph)).graph
    assert [shared.parent(b.id).id for b in shared.returns] == ["g"]
    assert null_depth_db(rendered(shared), rendered(graph)) < -120.0


def test_common_settings_are_those_of_most_of_the_reverberation() -> None:
    found = common_settings([{"decay_s": 1.0}, {"decay_s": 2.0}, {"decay_s": 3.0}], [0.1, 0.2, 0.9])
    assert found == {"decay_s": 3.0}


# ------------------------------------------------------------------------------- snapping


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([(k, p.name) for k, s in SPECS.items() for p in s.parameters]), st.floats(0, 1), st.floats(0, 1))
def test_snapping_stays_within_the_error_bar_and_the_range(which: tuple[str, str], place: float, length: float) -> None:
    parameter = spec_of(which[0]).parameter(which[1])
    span = parameter.maximum - parameter.minimum
    value, bar = parameter.minimum + place * span, length**3 * span
    found = roundest(parameter, value, bar, low=parameter.minimum, high=parameter.maximum)
    assert abs(found - value) <= bar * (1.0 + 1e-9)
    assert parameter.minimum <= found <= parameter.maximum
    assert found == value or found != parameter.off_at


@pytest.mark.parametrize(
    ("kind", "name", "value", "bar", "wanted"),
    [
        ("gain_pan", "gain_db", -3.62, 0.03, -3.6),
        ("gain_pan", "gain_db", -3.62, 0.2, -3.5),
        ("gain_pan", "gain_db", -3.62, 0.5, -4.0),
        ("gain_pan", "gain_db", -3.62, 0.001, -3.62),
        ("gain_pan", "pan", 0.271, 0.03, 0.3),
        ("gain_pan", "pan", 0.241, 0.02, 0.25),
        ("gain_pan", "pan", 0.02, 0.03, 0.0),
        ("compressor", "ratio", 3.8, 0.3, 4.0),
        ("compressor", "ratio", 3.1, 0.2, 3.0),
        ("compressor", "attack_ms", 11.3, 2.0, 10.0),
        ("compressor", "attack_ms", 28.0, 3.0, 30.0),
        ("compressor", "release_ms", 113.0, 4.0, 110.0),
        ("eq", "bell2_hz", 1080.0, 100.0, 1000.0),
        ("eq", "bell2_hz", 1210.0, 60.0, 1250.0),
        ("eq", "bell2_hz", 1127.0, 30.0, 1100.0),
        ("delay", "tap1_time_ms", 123.4, 50.0, 123.4),
        ("reverb", "decay_s", 1.83, 0.2, 2.0),
    ],
)
def test_the_roundest_number_within_the_bar_wins(kind: str, name: str, value: float, bar: float, wanted: float) -> None:
    parameter = spec_of(kind).parameter(name)
    found = roundest(parameter, value, bar, low=parameter.minimum, high=parameter.maximum)
    assert found == pytest.approx(wanted)


def snappable() -> MixGraph:
    node = fader("a/g", -3.62, 0.271)
    known = node.model_copy(update={"evidence": Evidence(loss_increase=0.1, uncertainty={"gain_db": 0.2, "pan": 0.05})})
    graph = song({"a": [known], "r": [processor("reverb", "r/r", level_db=-6.0)]}, groups={"r": []})
    send = Edge(
        source="a/g", target="r", send_db=-12.34, evidence=Evidence(loss_increase=0.1, uncertainty={"send_db": 0.4})
    )
    return graph.rebuilt(graph.nodes, [*graph.edges, send])


def test_snapping_reads_the_evidence_and_keeps_it() -> None:
    snapped = snap(snappable())
    assert snapped.chain("a")[0].parameters == {"gain_db": -3.5, "pan": 0.3}
    assert snapped.sends("a")[0].send_db == -12.0
    assert snapped.chain("a")[0].evidence is not None


def test_snapping_moves_less_where_the_loss_forbids_it() -> None:
    graph = snappable()
    tried: list[int] = []

    def loss_of(changed: MixGraph) -> float:
        new, old = changed.chain("a")[0].parameters, graph.chain("a")[0].parameters
        moved = sum(new[n] != old[n] for n in new) + (changed.sends("a")[0].send_db != -12.34)
        tried.append(moved)
        return 0.001 * moved

    snapped = snap(graph, loss_of=loss_of, ceiling=0.001)
    assert loss_of(snapped) <= 0.001
    assert max(tried) > 1
    assert snap(graph, loss_of=lambda g: math.inf if g != graph else 0.0, ceiling=0.001) == graph
