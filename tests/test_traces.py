"""What the report's strips are made of: spectra, gain reduction, figures, the sheet and the summary in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbridge.bridge.graph import MixGraph, Processor
from mixbridge.bridge.processors.reference import apply_processor
from mixbridge.bridge.processors.specs import SPECS, spec_of
from mixbridge.bridge.report import traces
from mixbridge.bridge.report.pictures import spectrogram
from mixbridge.bridge.report.plain import summary_points
from mixbridge.bridge.report.sheet import processor_settings, settings_sheet, sheet_markdown
from mixbridge.bridge.report.strips import figures_of
from mixbridge.bridge.report.traces import SPECTRUM_EDGES_HZ, NodeTrace, Traces, fingerprint, reduction_db

from .report_pages import RATE_HZ, band_graph, band_traces


def processor(kind: str, *, mix: float = 1.0, **values: float) -> Processor:
    return Processor(type=kind, id="p", mix=mix, parameters=spec_of(kind).defaults() | values)


def tone(level_db: float, *, hz: float = 1000.0, seconds: float = 1.0) -> np.ndarray:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return 10 ** (level_db / 20) * np.sin(2 * np.pi * hz * time_s) * np.ones((2, 1))


def reduction_of(node: Processor, audio: np.ndarray) -> tuple[float, ...]:
    output = apply_processor(node.type, audio, parameters=node.parameters, sample_rate_hz=RATE_HZ, mix=node.mix)
    return reduction_db(node, audio, output, sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize("makeup_db", [0.0, 6.0])
def test_gain_reduction_is_what_the_curve_says_and_make_up_is_not_in_it(makeup_db: float) -> None:
    node = processor("compressor", threshold_db=-20.0, ratio=4.0, knee_db=0.0, attack_ms=0.1, release_ms=2000.0,
                     makeup_db=makeup_db)  # fmt: skip
    found = reduction_of(node, np.hstack([tone(-8.0), tone(-40.0, seconds=9.0)]))
    # 12 dB above the threshold at 4:1 is 9 dB of reduction; long after, nothing.
    assert np.median(found[: len(found) // 12]) == pytest.approx(-9.0, abs=0.2)
    assert found[-1] == pytest.approx(0.0, abs=0.1)


def test_a_gate_takes_away_what_is_under_its_threshold_and_silence_says_nothing() -> None:
    node = processor("gate", threshold_db=-30.0, ratio=20.0, range_db=40.0, knee_db=0.0, release_ms=5.0)
    found = reduction_of(node, np.hstack([tone(-10.0), tone(-50.0), np.zeros((2, RATE_HZ))]))
    third = len(found) // 3
    assert np.median(found[:third]) > -0.5
    assert np.median(found[third : 2 * third]) == pytest.approx(-40.0, abs=2.0)
    assert found[-1] == 0.0


@pytest.mark.parametrize("level_db", [-6.0, -30.0])
@pytest.mark.parametrize("hz", [100.0, 1000.0, 8000.0])
def test_a_tone_stands_in_its_band_at_its_level(hz: float, level_db: float) -> None:
    levels = np.array(traces.spectrum_db(tone(level_db, hz=hz, seconds=3.0), sample_rate_hz=RATE_HZ))
    band = int(np.argmax(levels))
    assert SPECTRUM_EDGES_HZ[band] * 0.94 <= hz <= SPECTRUM_EDGES_HZ[band + 1] * 1.06
    power_db = 10 * np.log10(np.sum(10 ** (levels / 10)))
    assert power_db == pytest.approx(level_db - 10 * np.log10(2), abs=0.2)


@settings(max_examples=25, deadline=None)
@given(frames=st.integers(1, 5000), kind=st.sampled_from(traces.DYNAMICS))
def test_any_length_has_a_trace_of_reductions(frames: int, kind: str) -> None:
    audio = 0.5 * np.random.default_rng(frames).standard_normal((2, frames))
    found = reduction_of(processor(kind), audio)
    assert 1 <= len(found) <= traces.REDUCTION_STEPS and max(found) <= 0.0


def test_traces_belong_to_one_graph_and_survive_their_file(tmp_path: Path) -> None:
    graph = band_graph()
    _, found = band_traces(graph)
    path = tmp_path / "traces.json"
    found.save(path)
    assert Traces.of(path, graph) == found
    assert set(found.nodes) == {"kick-eq", "kick-comp", "hats-gate", "master-limiter"}
    moved = graph.model_copy(update={"frames": graph.frames + 1})
    assert Traces.of(path, moved) == Traces()
    path.write_text('{"nodes": 3}')
    assert Traces.of(path, graph) == Traces() == Traces.of(tmp_path / "none.json", graph)


def test_the_fingerprint_follows_what_is_heard_alone() -> None:
    graph = band_graph()
    told = graph.model_copy(update={"provenance": graph.provenance.model_copy(update={"seed": 5}), "name": "other"})
    assert fingerprint(told) == fingerprint(graph)
    nodes = [n.model_copy(update={"mix": 0.5}) if n.id == "kick-eq" else n for n in graph.nodes]
    assert fingerprint(graph.rebuilt(nodes, graph.edges)) != fingerprint(graph)


@pytest.mark.parametrize("kind", list(SPECS))
@pytest.mark.parametrize("rate_hz", [8000, 96000])
def test_every_type_has_figures_without_holes_at_any_rate(kind: str, rate_hz: int) -> None:
    node = processor(kind, **({"tap1_level_db": -3.0} if kind == "delay" else {}))
    trace = NodeTrace(spectrum_db=(-20.0,) * (len(SPECTRUM_EDGES_HZ) - 1), reduction_db=(0.0, -3.0))
    for figure in figures_of(node, sample_rate_hz=rate_hz, duration_s=4.0, trace=trace):
        assert figure.label and figure.layers
        for layer in figure.layers:
            assert layer.path.startswith("M") and "nan" not in layer.path and "inf" not in layer.path
        assert all(-0.01 <= tick.at <= 100.01 for tick in (*figure.x, *figure.y))


def test_a_decay_falls_by_sixty_decibels_in_the_decay_time() -> None:
    node = processor("reverb", level_db=-6.0, decay_s=1.0, high_decay_ratio=1.0)
    (figure,) = figures_of(node, sample_rate_hz=RATE_HZ, duration_s=4.0, trace=None)
    # The figure ends where 60 dB are gone: at the last of its ticks or soon after.
    assert figure.kind == "decay" and figure.x[-1].text in ("1.0 s", "800 ms")


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_the_sheet_names_every_setting_that_does_something(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(SPECS)))
    values = {p.name: data.draw(st.floats(p.minimum, p.maximum), label=p.name) for p in spec_of(kind).parameters}
    lines = list(processor_settings(processor(kind, mix=0.5, **values)))
    assert lines[-1].value == "50 % wet"
    assert all(line.name and line.value and "nan" not in line.value for line in lines)


def test_the_sheet_reads_as_one_dials() -> None:
    sheet = {channel.name: channel for channel in settings_sheet(band_graph())}
    lines = [(s.device, s.name, s.value) for s in sheet["Kick"].settings]
    assert lines[:5] == [
        ("Track", "Alignment", "polarity inverted"),
        ("EQ", "High-pass", "40 Hz"),
        ("EQ", "Bell", "-6 dB at 300 Hz, Q 0.71"),
        ("EQ", "High shelf", "+3 dB at 8 kHz, Q 0.71"),
        ("Comp", "Threshold", "-24 dB"),
    ]
    assert ("Gain/pan", "Pan", "40 % left") in lines and ("Comp", "Ratio", "4:1") in lines
    keys = [(s.device, s.name, s.value) for s in sheet["Keys"].settings]
    assert ("Delay", "Tap 2", "250 ms, -12 dB, 70 % right") in keys and ("Send", "Room", "-9 dB") in keys


def test_markdown_holds_names_as_they_are() -> None:
    graph = band_graph()
    nodes = [n.model_copy(update={"name": "a|b\n*c*"}) if n.id == "kick" else n for n in graph.nodes]
    text = sheet_markdown(graph.rebuilt(nodes, graph.edges))
    assert "## a\\|b \\*c\\* (track)" in text
    assert all(line.replace("\\|", "").count("|") == 4 for line in text.splitlines() if line.startswith("|"))


def summary(graph: MixGraph, target: np.ndarray, match: np.ndarray) -> dict[str, str]:
    one, two = (spectrogram(audio, sample_rate_hz=RATE_HZ) for audio in (target, match))
    points = summary_points(graph, closeness="Near.", target=one, match=two, verified=())
    return {point.title: point.text for point in points}


def test_the_summary_says_what_matters_and_where_the_match_is_weakest() -> None:
    low, high = tone(-10.0, hz=125.0, seconds=2.0), tone(-12.0, hz=2000.0, seconds=2.0)
    found = summary(band_graph(), low + high, low + 2.0 * high)
    assert found["What matters most"].startswith("EQ on Kick (high-pass 40 Hz); ")
    assert "75 % is closed" in found["How close"]
    assert "furthest off in the middle around 2 kHz, on average 6 dB too loud" in found["How close"]
    same = summary(band_graph(), low, low)
    assert "furthest off" not in same["How close"]
