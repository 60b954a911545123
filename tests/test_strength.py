"""A match at a chosen strength: what an amount does to each type, what is left out, and the command."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mixbridge.bridge.choices import PARTS
from mixbridge.bridge.errors import ParameterError
from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Processor, Stem, VolumePoint
from mixbridge.bridge.processors.equations import compressor_gain_db, db_to_gain, gain_to_db, gate_gain_db
from mixbridge.bridge.processors.specs import COMPRESSOR, DELAY, EQ, GAIN_PAN, GATE, REVERB, SEND_LEVEL, SPECS, spec_of
from mixbridge.bridge.render import render_graph
from mixbridge.bridge.strength import chosen_amounts, parse_amounts, parse_only, with_amounts
from mixbridge.cli import app

from .dsp import random_parameters
from .mixes import routed, write_stems

RATE_HZ = 48000

STRENGTHS = st.dictionaries(st.sampled_from(PARTS), st.one_of(st.just(0.0), st.floats(0.0, 1.0)))


def one_track(*chain: Processor) -> MixGraph:
    path = ["stem", *(p.id for p in chain), "master"]
    edges = [Edge(source=a, target=b) for a, b in pairwise(path)]
    nodes = [Stem(id="stem", name="s", file="s.wav"), *chain, Master()]
    return MixGraph(name="n", sample_rate_hz=RATE_HZ, frames=RATE_HZ // 4, nodes=nodes, edges=edges)


def weakened(kind: str, amount: float, *, mix: float = 1.0, **values: float) -> Processor:
    node = Processor(id="p", type=kind, parameters={**spec_of(kind).defaults(), **values}, mix=mix)
    (found,) = with_amounts(one_track(node), {kind: amount}).processors
    return found


def audio_of(stem: Stem) -> np.ndarray:
    return np.random.default_rng(len(stem.id)).standard_normal((2, RATE_HZ // 4))


# ------------------------------------------------------------------------- what an amount means


@given(amount=st.floats(0.01, 1.0), seed=st.integers(0, 2**16))
@settings(max_examples=50, deadline=None)
def test_a_compressor_reduces_by_the_amount_at_every_level(amount: float, seed: int) -> None:
    values = random_parameters(COMPRESSOR, np.random.default_rng(seed))
    found = weakened("compressor", amount, **values).parameters
    level_db = np.linspace(-80.0, 10.0, 200)
    shape = {"level_db": level_db, "threshold_db": values["threshold_db"], "knee_db": values["knee_db"], "xp": np}
    np.testing.assert_allclose(
        compressor_gain_db(ratio=found["ratio"], **shape),
        amount * compressor_gain_db(ratio=values["ratio"], **shape),
        atol=1e-9,
    )
    assert found["makeup_db"] == pytest.approx(amount * values["makeup_db"])
    assert found["attack_ms"] == values["attack_ms"]


@given(amount=st.floats(0.01, 1.0), seed=st.integers(0, 2**16))
@settings(max_examples=50, deadline=None)
def test_a_gate_attenuates_by_the_amount_at_every_level(amount: float, seed: int) -> None:
    values = random_parameters(GATE, np.random.default_rng(seed))
    found = weakened("gate", amount, **values).parameters
    shape = {
        "level_db": np.linspace(-120.0, 0.0, 200), "threshold_db": values["threshold_db"],
        "knee_db": values["knee_db"], "xp": np,
    }  # fmt: skip
    np.testing.assert_allclose(
        gate_gain_db(ratio=found["ratio"], range_db=found["range_db"], **shape),
        amount * gate_gain_db(ratio=values["ratio"], range_db=values["range_db"], **shape),
        atol=1e-9,
    )


def test_half_an_eq_has_half_the_decibels_and_cuts_half_the_octaves_away() -> None:
    found = weakened("eq", 0.5, bell2_db=8.0, bell2_hz=700.0, highpass_hz=160.0, lowpass_hz=6000.0).parameters
    assert found["bell2_db"] == 4.0
    assert found["bell2_hz"] == 700.0
    assert found["highpass_hz"] == pytest.approx(40.0)
    assert found["lowpass_hz"] == pytest.approx(12000.0)


def test_a_cut_that_is_off_stays_off() -> None:
    found = weakened("eq", 0.3, bell1_db=3.0).parameters
    assert found["highpass_hz"] == EQ.parameter("highpass_hz").off_at
    assert found["lowpass_hz"] == EQ.parameter("lowpass_hz").off_at


@pytest.mark.parametrize(("kind", "level"), [("delay", "tap1_level_db"), ("reverb", "level_db")])
def test_echo_and_reverb_keep_the_amount_of_their_amplitude(kind: str, level: str) -> None:
    found = weakened(kind, 0.5, mix=0.4, **{level: -6.0})
    assert db_to_gain(found.parameters[level]) == pytest.approx(0.5 * db_to_gain(-6.0))
    assert found.mix == 0.4
    off = weakened("delay", 0.5, tap1_level_db=-6.0).parameters["tap2_level_db"]
    assert off == DELAY.parameter("tap2_level_db").off_at


def test_an_insert_echo_that_is_left_out_leaves_its_dry_level() -> None:
    echo = weakened("delay", 0.0, mix=0.4, tap1_level_db=-6.0)
    assert echo.type == GAIN_PAN.type
    assert echo.parameters["gain_db"] == pytest.approx(gain_to_db(0.6))


def test_gain_and_pan_are_chosen_apart() -> None:
    fader = Processor(id="g", type="gain_pan", parameters={"gain_db": -8.0, "pan": 0.6})
    (found,) = with_amounts(one_track(fader), {"gain": 0.5}).processors
    assert found.parameters == {"gain_db": -4.0, "pan": 0.6}
    (found,) = with_amounts(one_track(fader), parse_only("pan")).processors
    assert found.parameters == {"gain_db": 0.0, "pan": 0.6}


# ------------------------------------------------------------------------- graphs


@given(graph=routed(), amounts=STRENGTHS)
@settings(max_examples=60, deadline=None)
def test_any_graph_at_any_strength_is_a_graph(graph: MixGraph, amounts: dict[str, float]) -> None:
    found = with_amounts(graph, amounts)
    assert MixGraph.from_json(found.to_json()) == found
    assert [s.id for s in found.stems] == [s.id for s in graph.stems]
    for part in (p for p, amount in amounts.items() if amount == 0.0 and p in SPECS and p not in ("delay", "reverb")):
        assert not any(p.type == part for p in found.processors)
    if amounts.get("automation") == 0.0:
        assert not any(c.volume or c.pan for c in found.channels()) and not any(e.volume for e in found.edges)


@given(graph=routed())
@settings(max_examples=30, deadline=None)
def test_full_strength_changes_no_sound(graph: MixGraph) -> None:
    found = with_amounts(graph, dict.fromkeys(PARTS, 1.0))
    heard = [(p.id, p.parameters, p.mix) for p in graph.tidied().processors]
    left = {p.id: p for p in found.processors}
    kept = [(i, v, m) for i, v, m in heard if i in left]
    assert [(left[i].parameters, left[i].mix) for i, _, _ in kept] == [(v, m) for _, v, m in kept]
    # Only what sends at their lowest level and silent returns held may be gone.
    silent = any(e.send_db == SEND_LEVEL.off_at for e in graph.edges) or graph.returns
    assert silent or len(kept) == len(heard)


def with_return(*, reverb_mix: float = 1.0) -> MixGraph:
    wet = {**REVERB.defaults(), "level_db": 0.0}
    nodes = [
        Stem(id="a", name="a", file="a.wav", volume=[VolumePoint(time_s=0.0, gain_db=-6.0)]),
        Stem(id="bb", name="b", file="b.wav"),
        Bus(id="return", name="Room"),
        Processor(id="r", type="reverb", parameters=wet, mix=reverb_mix),
        Master(),
    ]
    edges = [
        Edge(source="a", target="master"), Edge(source="bb", target="master"),
        Edge(source="return", target="r"), Edge(source="r", target="master"),
        Edge(source="a", target="return", send_db=-6.0),
    ]  # fmt: skip
    return MixGraph(name="n", sample_rate_hz=RATE_HZ, frames=RATE_HZ // 4, nodes=nodes, edges=edges)


def test_a_return_without_its_reverb_is_gone_and_not_dry() -> None:
    found = with_amounts(with_return(), {"reverb": 0.0})
    assert not found.buses
    dry = render_graph(with_return().without_sends({("a", "return")}).tidied(), audio_of)
    np.testing.assert_allclose(render_graph(found, audio_of), dry, atol=1e-12)


def test_half_of_the_sends_is_half_of_the_reverb() -> None:
    dry = render_graph(with_amounts(with_return(), {"sends": 0.0}), audio_of)
    full, half = (render_graph(with_amounts(with_return(), {"sends": a}), audio_of) - dry for a in (1.0, 0.5))
    assert np.abs(full).max() > 1e-3
    np.testing.assert_allclose(half, 0.5 * full, atol=1e-9)


def test_half_of_the_automation_is_half_of_its_decibels() -> None:
    found = with_amounts(with_return(), {"automation": 0.5})
    assert [p.gain_db for p in found.stems[0].volume] == [-3.0]


def test_a_weaker_match_says_so_and_claims_no_loss_of_the_full_one() -> None:
    found = with_amounts(with_return(), {"reverb": 0.5})
    assert found.provenance.notes == ["strength of the match: reverb 0.5"]
    assert found.provenance.loss.pruned is None


# ------------------------------------------------------------------------- text and command


def test_short_names_and_both_options_together() -> None:
    assert parse_amounts("eq=0.5, comp=0.8") == {"eq": 0.5, "compressor": 0.8}
    assert parse_amounts("gain_pan=0.5") == {"gain": 0.5, "pan": 0.5}
    found = chosen_amounts(amount="eq=0.5,reverb=0.9", only="eq,pan")
    assert {part for part, amount in found.items() if amount} == {"eq", "pan"}
    assert found["eq"] == 0.5
    assert chosen_amounts(amount=None, only=None) == {}


@pytest.mark.parametrize("text", ["eq", "eq=", "eq=2", "eq=-1", "eq=nan", "fuzz=0.5", "eq=0.5,eq=0.6", ""])
def test_amounts_that_mean_nothing_are_refused_by_name(text: str) -> None:
    with pytest.raises(ParameterError, match="--amount"):
        parse_amounts(text)


def test_parts_that_do_not_exist_are_refused_with_those_that_do() -> None:
    with pytest.raises(ParameterError, match=r"unknown part 'fuzz'.*automation"):
        parse_only("eq,fuzz")


def test_the_command_writes_a_session_and_its_graph_beside_the_full_match(tmp_path: Path) -> None:
    graph = with_return()
    (tmp_path / "full").mkdir()
    graph.save(tmp_path / "full" / "graph.json")
    write_stems(graph, tmp_path / "stems")
    command = ["export", str(tmp_path / "full" / "graph.json"), str(tmp_path / "stems"), "--export", "reaper", "--json"]
    refused = CliRunner().invoke(app, [*command, "--amount", "reverb=0.5"])
    assert refused.exit_code == 2
    assert "--out" in refused.stderr
    done = CliRunner().invoke(app, [*command, "--only", "sends,reverb", "--out", str(tmp_path / "weak")])
    assert done.exit_code == 0, done.stderr
    files = {kind: Path(path) for kind, path in json.loads(done.stdout).items()}
    assert files["reaper"].is_file()
    written = MixGraph.load(files["graph"])
    assert written.provenance.notes[-1].startswith("strength of the match: ")
    assert not written.stems[0].volume
    assert MixGraph.load(tmp_path / "full" / "graph.json") == graph
