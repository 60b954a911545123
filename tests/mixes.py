"""Random mixing graphs with their stems and reference renders, for the exporters' tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import strategies as st

from mixbridge.bridge.audio import as_stereo, read_audio, resample
from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Node, PanPoint, Processor, Provenance, Stem, VolumePoint
from mixbridge.bridge.null_test import null_depth_db
from mixbridge.bridge.processors.specs import SPECS, spec_of
from mixbridge.bridge.render import render_graph

from .dsp import programme, random_parameters

NASTY = ["#kick", "a\"b'c", "音", "a\"b'c`d", "two words", ";x", "<TRACK", ">", "|", "007", "1e5", "", "  ", "`", "-"]

#: Gain/pan is what exporting rearranges, so that it comes more often.
ALL_KINDS = (*SPECS, "gain_pan", "gain_pan")


def chain_edges(channel: str, chain: list[Processor], target: str | None) -> list[Edge]:
    path = [channel, *(p.id for p in chain)]
    ends = [*path[1:], target]
    return [Edge(source=a, target=b) for a, b in zip(path, ends, strict=True) if b is not None]


@st.composite
def chains(
    draw: st.DrawFn, channel: str, random: np.random.Generator, allowed: Sequence[str] = ALL_KINDS
) -> list[Processor]:
    kinds = draw(st.lists(st.sampled_from(allowed), max_size=5))
    found = []
    for index, kind in enumerate(kinds):
        parameters = random_parameters(spec_of(kind), random)
        if kind == "gain_pan":
            parameters = {
                "gain_db": float(random.uniform(-20, 15)),
                "pan": draw(st.sampled_from([0.0, 1.0, -1.0, float(random.uniform(-1, 1))])),
            }
        elif "makeup_db" in parameters:
            parameters["makeup_db"] = float(random.uniform(-6, 6))
        mix = draw(st.sampled_from([1.0, 0.0, float(random.random())]))
        found.append(Processor(type=kind, id=f"{channel}/{index}", parameters=parameters, mix=mix))
    return found


def times(length_s: float) -> st.SearchStrategy[list[float]]:
    """Times of breakpoints, also beyond the end of the session; often none."""
    found = st.lists(st.floats(0.0, 1.5 * length_s, allow_subnormal=False), max_size=4, unique=True)
    return found.map(sorted)


@st.composite
def volumes(draw: st.DrawFn, *, length_s: float) -> list[VolumePoint]:
    """Volume automation of a channel or a send."""
    return [VolumePoint(time_s=t, gain_db=draw(st.floats(-80.0, 12.0))) for t in draw(times(length_s))]


@st.composite
def pans(draw: st.DrawFn, *, length_s: float) -> list[PanPoint]:
    """Pan automation of a channel."""
    positions = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1.0, 1.0))
    return [PanPoint(time_s=t, pan=draw(positions)) for t in draw(times(length_s))]


@st.composite
def routed(draw: st.DrawFn, allowed: Sequence[str] = ALL_KINDS, *, searched: bool = False) -> MixGraph:
    """Graphs with sends, returns and automation, too.

    What was `searched` for has automation of volumes alone: no search moves pans and sends.
    """
    graph = draw(graphs(allowed))
    length_s = graph.frames / graph.sample_rate_hz
    nodes = [
        node
        if isinstance(node, Processor)
        else node.model_copy(
            update={
                "volume": draw(volumes(length_s=length_s)),
                "pan": [] if searched else draw(pans(length_s=length_s)),
            }
        )
        for node in graph.nodes
    ]
    edges = list(graph.edges)
    for index, bus in enumerate(graph.buses):
        # A bus flows into the master or an earlier bus, so that later channels can send into it without a loop.
        senders = [*graph.buses[index + 1 :], *graph.stems]
        for channel in draw(st.lists(st.sampled_from(senders), max_size=2, unique_by=lambda c: c.id)):
            source = graph.end(channel.id)
            if not any((e.source, e.target) == (source, bus.id) for e in edges):
                level_db, ride = draw(st.floats(-60.0, 12.0)), [] if searched else draw(volumes(length_s=length_s))
                edges.append(Edge(source=source, target=bus.id, send_db=level_db, volume=ride))
    return MixGraph.model_validate({**graph.model_dump(), "nodes": nodes, "edges": edges})


@st.composite
def graphs(draw: st.DrawFn, allowed: Sequence[str] = ALL_KINDS) -> MixGraph:
    """Any tree of channels: nested and empty buses, processors in any order, odd names."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    names = draw(st.lists(st.one_of(st.sampled_from(NASTY), text), min_size=1, max_size=4))
    bus_count = draw(st.integers(0, 3))
    nodes: list[Node] = []
    edges: list[Edge] = []
    targets = ["master"]
    for index in range(bus_count):
        bus = Bus(id=f"bus{index}", name=draw(st.sampled_from(NASTY)))
        chain = draw(chains(bus.id, random, allowed))
        nodes += [bus, *chain]
        edges += chain_edges(bus.id, chain, draw(st.sampled_from(targets)))
        targets.append(bus.id)
    for index, name in enumerate(names):
        stem = Stem(
            id=f"stem{index}", name=name, file=f"stem {index}.wav", channels=draw(st.sampled_from([1, 2])),
            offset_samples=draw(st.integers(-3000, 3000)), polarity=draw(st.sampled_from([1, -1])),
        )  # fmt: skip
        chain = draw(chains(stem.id, random, allowed))
        nodes += [stem, *chain]
        edges += chain_edges(stem.id, chain, draw(st.sampled_from(targets)))
    chain = draw(chains("master", random, allowed))
    nodes += [Master(), *chain]
    edges += chain_edges("master", chain, None)
    return MixGraph(
        name=draw(st.sampled_from([*NASTY, "song"])),
        sample_rate_hz=draw(st.sampled_from([44100, 48000])),
        start_frame=draw(st.sampled_from([0, 1234])),
        frames=draw(st.sampled_from([12000, 9000])),
        nodes=nodes,
        edges=edges,
        provenance=Provenance(notes=draw(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3))),
    )


def write_stems(graph: MixGraph, stems_dir: Path, *, rate_hz: int | None = None, frames: int = 11000) -> None:
    stems_dir.mkdir(parents=True, exist_ok=True)
    for index, stem in enumerate(graph.stems):
        rate = rate_hz or graph.sample_rate_hz
        audio = programme(seconds=frames / rate, rate_hz=rate, seed=index)[: stem.channels]
        soundfile.write(stems_dir / stem.file, audio.T.astype(np.float32), rate)


def reference_render(graph: MixGraph, stems_dir: Path) -> np.ndarray:
    """The graph rendered from the stems themselves, placed sample by sample."""

    def load(stem: Stem) -> np.ndarray:
        path = stems_dir / stem.file
        from_hz = soundfile.info(path).samplerate
        audio = as_stereo(resample(read_audio(path), from_hz=from_hz, to_hz=graph.sample_rate_hz))
        out = np.zeros((2, graph.frames))
        for frame in range(2):
            where = np.arange(audio.shape[1]) + stem.offset_samples - graph.start_frame
            inside = (where >= 0) & (where < graph.frames)
            out[frame, where[inside]] = stem.polarity * audio[frame, inside]
        return out

    return render_graph(graph, load)


def assert_nulls(found: np.ndarray, expected: np.ndarray, *, below_db: float = -80.0) -> None:
    assert found.shape == expected.shape
    # Random graphs may turn everything down until nothing can be heard.
    assert null_depth_db(found, expected) < below_db
