"""A small song with everything a report can show, for the tests that open its page."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixbridge.bridge.graph import (
    Bus,
    Edge,
    Evidence,
    Loss,
    Master,
    MixGraph,
    PanPoint,
    Processor,
    Provenance,
    Stem,
    VolumePoint,
)
from mixbridge.bridge.processors.specs import spec_of
from mixbridge.bridge.render import render_graph
from mixbridge.bridge.report.page import Verified, write_report
from mixbridge.bridge.report.traces import TraceMeter, Traces
from mixbridge.bridge.verify.results import LossResult, NodeResult, Verification

from .graphs import GraphBuilder

RATE_HZ = 44100
SECONDS = 6.0


def _processor(kind: str, node_id: str, *, mix: float = 1.0, lost: float = 0.01, **values: float) -> Processor:
    settings = spec_of(kind).defaults() | values
    return Processor(type=kind, id=node_id, mix=mix, parameters=settings, evidence=Evidence(loss_increase=lost))


def band_graph() -> MixGraph:
    """Three tracks, a group, a return with a send, and the master; every kind of figure is somewhere."""
    frames = round(SECONDS * RATE_HZ)
    band = GraphBuilder()
    kick = [
        _processor("eq", "kick-eq", highpass_hz=40.0, bell2_hz=300.0, bell2_db=-6.0, high_shelf_db=3.0, lost=0.2),
        _processor("compressor", "kick-comp", threshold_db=-24.0, ratio=4.0, makeup_db=3.0, attack_ms=5.0),
        _processor("gain_pan", "kick-gain", gain_db=-2.0, pan=-0.4),
    ]
    rides = [VolumePoint(time_s=0.0, gain_db=-60.0), VolumePoint(time_s=1.0, gain_db=0.0)]
    pans = [PanPoint(time_s=0.0, pan=-0.8), PanPoint(time_s=SECONDS, pan=0.8)]
    echo = _processor(
        "delay", "keys-delay", mix=0.3, tap1_level_db=-6.0, tap1_time_ms=250.0, tap2_level_db=-12.0, tap2_pan=0.7
    )
    band.channel(Stem(id="kick", name="Kick", file="kick.wav", polarity=-1), into="drums", chain=kick)
    gate = _processor("gate", "hats-gate", threshold_db=-30.0, ratio=4.0)
    band.channel(Stem(id="hats", name="Hats", file="hats.wav"), into="drums", chain=[gate])
    band.channel(Stem(id="keys", name="Keys", file="keys.wav", volume=rides, pan=pans), into="master", chain=[echo])
    band.channel(Bus(id="drums", name="Drums"), into="master")
    room = _processor("reverb", "room-reverb", level_db=-6.0, decay_s=1.2)
    band.channel(Bus(id="room", name="Room"), into="master", chain=[room])
    limiter = _processor("limiter", "master-limiter", gain_db=3.0, ceiling_db=-6.0)
    band.channel(Master(), into=None, chain=[limiter])
    band.edges.append(Edge(source="keys-delay", target="room", send_db=-9.0))
    loss = Loss(plain_sum=1.2, gain_pan=0.9, console=0.5, pruned=0.31, reference=0.3)
    provenance = Provenance(loss=loss, console_processors=40, quality="draft", pruned_ratio={"eq": 0.5})
    return band.build(name="A band", frames=frames, provenance=provenance)


def band_stem(stem: Stem) -> np.ndarray:
    """Decaying tones, another pitch and rhythm for each stem."""
    seed = {"kick": 1, "hats": 2, "keys": 3}[stem.id]
    random = np.random.default_rng(seed)
    time_s = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
    tones = sum(np.sin(2 * np.pi * f * time_s) for f in random.uniform(60.0 * 4**seed / 2, 90.0 * 4**seed, 4))
    envelope = np.exp(-8.0 * (time_s % (0.5 / seed)))
    return 0.1 * tones * envelope * np.ones((2, 1)) + 0.0005 * random.standard_normal((2, len(time_s)))


def band_traces(graph: MixGraph) -> tuple[np.ndarray, Traces]:
    """The graph's render and what its processors did."""
    meter = TraceMeter(sample_rate_hz=graph.sample_rate_hz)
    match = render_graph(graph, band_stem, on_node=meter.observe)
    return match, meter.traces(graph)


def band_report(path: Path) -> Path:
    """The report of the band, with one verified session."""
    graph = band_graph()
    match, traces = band_traces(graph)
    target = match + 0.02 * np.random.default_rng(9).standard_normal(match.shape)
    nodes = (
        NodeResult(id="kick-eq", channel="kick", channel_name="Kick", type="eq", plugin="EQ.vst3", null_db=-41.0),
        NodeResult(id="room-reverb", channel="room", channel_name="Room", type="reverb", null_db=-80.0),
    )
    result = Verification(
        name="A band", path="reaper/band.rpp", session="reaper", verdict="amber", gap=0.02,
        sample_rate_hz=RATE_HZ, nodes=nodes, loss=LossResult(real=0.32, graph=0.3),
    )  # fmt: skip
    write_report(path, graph=graph, target=target, match=match, traces=traces, verified=[Verified(result, 0.9 * match)])
    return path
