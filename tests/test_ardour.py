"""Ardour sessions: Ardour itself renders the graph from them, names survive, losses are told, errors are for people."""

from __future__ import annotations

import json
import re
import stat
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from lxml import etree
from typer.testing import CliRunner

from mixbridge.bridge.errors import (
    DawError,
    DawNotFoundError,
    DawTimeoutError,
    ExportError,
    PluginNotFoundError,
    SessionFileError,
)
from mixbridge.bridge.graph import (
    Bus,
    Edge,
    Master,
    MixGraph,
    Node,
    PanPoint,
    Processor,
    Provenance,
    Pruned,
    Stem,
    VolumePoint,
    pan_automation_gains,
    volume_gains,
)
from mixbridge.bridge.hosting.lv2 import find_lv2, link_bundles
from mixbridge.bridge.null_test import DYNAMICS_TARGET_DB, LINEAR_TARGET_DB, null_depth_db
from mixbridge.bridge.processors.equations import db_to_gain, gain_and_pan
from mixbridge.bridge.suites import choose_profiles
from mixbridge.bridge.tempo import Marker, TempoMap, TempoPoint
from mixbridge.bridge.verify.daw import ardour as ardour_module
from mixbridge.bridge.verify.daw.ardour import PROGRAM_VARIABLE, Ardour
from mixbridge.bridge.verify.daw.renderer import DawSession
from mixbridge.cli import app
from mixbridge.exporters.ardour.project import plan_ardour
from mixbridge.exporters.ardour.read import read_summary
from mixbridge.exporters.ardour.rides import CURVE_TOLERANCE, FADER_SMOOTHING_PER_S, MAX_FADER_GAIN, strip_ride
from mixbridge.exporters.ardour.routes import fader_and_azimuth
from mixbridge.exporters.ardour.session_file import RESERVED_NAMES, route_names
from mixbridge.exporters.formats import export_graph

from .ardour_mixer import Mixer
from .exports import export_ardour
from .mixes import NASTY, reference_render, routed, write_stems
from .plugin_mixes import DELAY, EQ, GATE, dynamics_mix, linear_mix, mix_of, settings_of

#: Has no plugin for gain, pan and width: everything is done by routing.
ROUTING = "zam"
LV2 = "lsp-lv2"

EXACT_DB = -90.0

#: Slow rides: what is left are round corners and straight lines for curves.
RIDES_DB = -60.0

NAMES = [
    *NASTY,
    "a: b",
    "a:b",
    "::",
    "Master",
    "monitor",
    "kick",
    "kick",
    "Kick",
    "🥁 drums",
    "naïve/&'",
    "\x07bell",
    "x" * 99,
]

MIXER_KINDS = ("gain_pan", "imager")


def found_ardour() -> Ardour:
    try:
        Ardour().find()
    except DawNotFoundError as error:
        pytest.skip(str(error))
    return Ardour()


def whole(path: Path) -> DawSession:
    summary = read_summary(path)
    return DawSession(path, sample_rate_hz=summary.sample_rate_hz, frames=summary.frames)


def needs_lsp() -> None:
    uris = {p.plugin.class_id for p in choose_profiles(LV2).values() if p.plugin is not None}
    if set(find_lv2(uris)) != uris:
        pytest.skip("LSP's LV2 plugins are not installed (apt-get install lsp-plugins-lv2)")


def rendered(path: Path) -> np.ndarray:
    out = path.parent.parent.parent / "ardour.wav"
    found_ardour().render(whole(path), out, timeout_s=60.0)
    audio, _ = soundfile.read(out, always_2d=True)
    return np.asarray(audio.T)


def exported(
    graph: MixGraph, root: Path, *, suites: str = ROUTING, link: bool = False, mix: Path | None = None
) -> Path:
    write_stems(graph, root / "stems")
    return export_ardour(
        graph, stems_dir=root / "stems", folder=root / "out put", suites=suites, link=link, reference_path=mix
    )


def without_volume(graph: MixGraph) -> MixGraph:
    """The graph with everything standing still."""
    nodes = [
        n
        if isinstance(n, Processor)
        else n.model_copy(update={key: [] for key in ("volume", "pan") if hasattr(n, key)})
        for n in graph.nodes
    ]
    return graph.rebuilt(nodes, [edge.model_copy(update={"volume": []}) for edge in graph.edges])


def merged(graphs: Sequence[MixGraph]) -> MixGraph:
    """One graph with the tracks and buses of several, names that are hard to write, and the master of the first."""
    nodes: list[Node] = []
    edges: list[Edge] = []
    names = iter(NAMES * len(graphs))
    for index, graph in enumerate(graphs):
        masters = {"master", *(p.id for p in graph.chain("master"))}

        def own(node_id: str, *, index: int = index, masters: set[str] = masters) -> str:
            return node_id if node_id in masters and (index == 0 or node_id == "master") else f"{index}/{node_id}"

        for node in graph.nodes:
            if node.id in masters and index > 0:
                continue
            changes: dict[str, object] = {"id": own(node.id)}
            if isinstance(node, Stem):
                changes |= {"file": f"{index} {node.file}", "name": next(names)}
            elif isinstance(node, Bus):
                changes["name"] = next(names)
            nodes.append(node.model_copy(update=changes))
        for edge in graph.edges:
            if edge.source not in masters or index == 0:
                edges.append(edge.model_copy(update={"source": own(edge.source), "target": own(edge.target)}))
    return MixGraph.model_validate({**graphs[0].model_dump(), "nodes": nodes, "edges": edges})


def many(count: int, *, start: int) -> MixGraph:
    """Random graphs side by side, so that Ardour has to be started but once."""
    drawn: list[MixGraph] = []

    @seed(start)
    @settings(max_examples=3 * count, phases=[Phase.generate], database=None, deadline=None)
    @given(routed(MIXER_KINDS))
    def collect(graph: MixGraph) -> None:
        drawn.append(without_volume(graph))

    collect()
    largest = sorted(drawn, key=lambda graph: len(graph.nodes))[-count:]
    return merged([g.model_copy(update={"start_frame": 0}) for g in largest])


# ---------------------------------------------------------------------------- by Ardour


@pytest.mark.parametrize(("suites", "link"), [(ROUTING, True), (LV2, False)])
def test_ardour_renders_the_graph(tmp_path: Path, suites: str, link: bool) -> None:
    found_ardour()
    if suites == LV2:
        needs_lsp()
    graph = many(6, start=7)
    assert len(graph.stems) >= 8 and len(graph.buses) >= 4 and any(e.send_db is not None for e in graph.edges)
    mix = tmp_path / "mix.wav"
    soundfile.write(mix, np.random.default_rng(1).uniform(-1, 1, (graph.frames, 2)), graph.sample_rate_hz)
    path = exported(graph, tmp_path, suites=suites, link=link, mix=mix)
    before = {p: p.stat().st_mtime_ns for p in path.parent.rglob("*")}
    audio = rendered(path)
    expected = reference_render(graph, tmp_path / "stems")
    assert audio.shape == expected.shape
    assert null_depth_db(audio, expected) < EXACT_DB
    assert {p: p.stat().st_mtime_ns for p in path.parent.rglob("*")} == before, "the session was changed"


def test_linear_plugins_of_ardour_null(tmp_path: Path) -> None:
    found_ardour()
    needs_lsp()
    profiles = choose_profiles(LV2)
    steep = mix_of(profiles, track=[("delay", DELAY, 0.5)], bus=[], master=[], rate_hz=48000)
    steep = steep.rebuilt(
        [n.model_copy(update={"law": "lsp"}) if isinstance(n, Processor) else n for n in steep.nodes], steep.edges
    )
    graph = merged([linear_mix(profiles, rate_hz=48000), steep])
    path = exported(graph, tmp_path, suites=LV2)
    assert null_depth_db(rendered(path), reference_render(graph, tmp_path / "stems")) < LINEAR_TARGET_DB


def test_dynamics_of_ardour_null(tmp_path: Path) -> None:
    found_ardour()
    needs_lsp()
    graph = dynamics_mix(choose_profiles(LV2), rate_hz=44100)
    path = exported(graph, tmp_path, suites=LV2)
    assert null_depth_db(rendered(path), reference_render(graph, tmp_path / "stems")) < DYNAMICS_TARGET_DB


def automated() -> MixGraph:
    curve = [VolumePoint(time_s=t, gain_db=g) for t, g in ((0.1, 0.0), (0.4, -12.0), (0.7, 9.0), (0.71, -20.0))]
    stem = Stem(id="a", name="a", file="a.wav", volume=curve)
    nodes: list[Node] = [stem, Master()]
    return MixGraph(
        name="n", sample_rate_hz=48000, frames=48000, nodes=nodes, edges=[Edge(source="a", target="master")]
    )


def test_automation_is_that_of_a_smoothed_fader_and_the_difference_is_told(tmp_path: Path) -> None:
    found_ardour()
    graph = automated()
    write_stems(graph, tmp_path / "stems", frames=48000)
    path = export_ardour(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out" / "ardour", suites=ROUTING)
    audio = rendered(path)
    dry = reference_render(without_volume(graph), tmp_path / "stems")
    early, step = 48000 / FADER_SMOOTHING_PER_S, FADER_SMOOTHING_PER_S / 48000
    points = [p.model_copy(update={"time_s": p.time_s - early / 48000}) for p in automated().stems[0].volume]
    curve = volume_gains(points, frames=48000, sample_rate_hz=48000)
    followed, _ = scipy.signal.lfilter([step], [1.0, step - 1.0], curve, zi=[(1.0 - step) * curve[0]])
    assert null_depth_db(audio, dry * followed) < -75.0
    (loss,) = plan_ardour(graph, suites=ROUTING).losses
    known = volume_gains(graph.stems[0].volume, frames=48000, sample_rate_hz=48000)
    below_db = int(re.findall(r"round corners, (\d+) dB below the signal", loss.what)[0])
    assert loss.channel == "a" and below_db == pytest.approx(-null_depth_db(audio, dry * known), abs=3.0)


def ridden(start: int, *, rate_hz: int = 48000, seconds: float = 6.0) -> MixGraph:
    """Every fader, pan and send moves, slowly and at random, by more than a fader or a send has room for, too."""
    random, times_s = np.random.default_rng(start), np.arange(0.0, seconds, 1.5)

    def levels(lowest_db: float, highest_db: float) -> list[VolumePoint]:
        return [VolumePoint(time_s=t, gain_db=random.uniform(lowest_db, highest_db)) for t in times_s]

    def pans() -> list[PanPoint]:
        # Not where the volumes have their points.
        return [PanPoint(time_s=t + 0.4, pan=random.uniform(-1.0, 1.0)) for t in times_s]

    nodes: list[Node] = [
        Stem(id="a", name="a", file="a.wav", volume=levels(-12.0, 12.0), pan=pans()),
        Stem(id="b", name="b", file="b.wav", channels=1, pan=pans()),
        Stem(id="c", name="c", file="c.wav", volume=levels(-20.0, 3.0)),
        Bus(id="hall", name="Hall", volume=levels(-9.0, 3.0), pan=pans()),
        Master(volume=levels(-6.0, 3.0), pan=pans()),
    ]
    edges = [
        Edge(source="a", target="master"), Edge(source="a", target="hall", send_db=-6.0, volume=levels(-12.0, 6.0)),
        Edge(source="b", target="master"), Edge(source="b", target="hall", send_db=9.0, volume=levels(-12.0, 6.0)),
        Edge(source="c", target="master"), Edge(source="hall", target="master"),
    ]  # fmt: skip
    return MixGraph(name="n", sample_rate_hz=rate_hz, frames=round(seconds * rate_hz), nodes=nodes, edges=edges)


def test_rides_of_faders_pans_and_sends_null_in_ardour(tmp_path: Path) -> None:
    found_ardour()
    graph = ridden(7)
    write_stems(graph, tmp_path / "stems", frames=graph.frames)
    path = export_ardour(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out" / "ardour", suites=ROUTING)
    audio, expected = rendered(path), reference_render(graph, tmp_path / "stems")
    assert null_depth_db(audio, expected) < RIDES_DB
    assert null_depth_db(audio, Mixer(path).render()) < EXACT_DB


# ------------------------------------------------------------------------ by the file


@given(start=st.integers(0, 999), rate_hz=st.sampled_from([8000, 44100]))
@settings(max_examples=6, deadline=None)
def test_the_file_alone_moves_like_the_graph(
    start: int, rate_hz: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, graph = tmp_path_factory.mktemp("ardour"), ridden(start, rate_hz=rate_hz, seconds=4.0)
    write_stems(graph, root / "stems", frames=graph.frames)
    path = export_ardour(graph, stems_dir=root / "stems", folder=root / "out", suites=ROUTING)
    check_structure(path)
    expected = reference_render(graph, root / "stems")
    assert null_depth_db(Mixer(path).render(), expected) < RIDES_DB
    for name, spoilt_db in (("pan-azimuth", -30.0), ("send", -30.0), ("gain", -30.0)):
        tree = ET.parse(path)
        for parent in tree.iter("Automation"):
            for listed in parent.findall(f"AutomationList[@automation-id='{name}']"):
                parent.remove(listed)
        tree.write(path.with_name("spoilt.ardour"))
        assert null_depth_db(Mixer(path.with_name("spoilt.ardour")).render(), expected) > spoilt_db


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_fader_and_balance_together_are_volume_and_pan(data: st.DataObject) -> None:
    def times() -> list[float]:
        return sorted(data.draw(st.sets(st.floats(0.0, 2.0).map(lambda t: round(t, 3)), min_size=1, max_size=5)))

    volume = [VolumePoint(time_s=t, gain_db=data.draw(st.floats(-80.0, 12.0))) for t in times()]
    pan = [PanPoint(time_s=t, pan=data.draw(st.floats(-1.0, 1.0))) for t in times()]
    ride, known = strip_ride(volume, pan, gain=0.5), {"frames": 20000, "sample_rate_hz": 10000}
    wanted = 0.5 * volume_gains(volume, **known) * pan_automation_gains(pan, **known)
    fader, balance = (
        np.interp(np.arange(20000) / 10000, [p.time_s for p in curve], [p.value for p in curve])
        for curve in (ride.fader, ride.balance)
    )
    found = fader * np.minimum(1.0, [2.0 - 2.0 * balance, 2.0 * balance])
    assert np.max(np.abs(found - wanted)) < 2.0 * CURVE_TOLERANCE * np.max(wanted)
    assert len(ride.balance) < 100 * len(pan)


@given(graph=routed(MIXER_KINDS), link=st.booleans())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_file_alone_sounds_like_the_graph(
    graph: MixGraph, link: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("ardour")
    flat = without_volume(graph)
    path = exported(flat, root, link=link)
    assert null_depth_db(Mixer(path).render(), reference_render(flat, root / "stems")) < -120.0
    written = export_ardour(graph, stems_dir=root / "stems", folder=root / "automated", suites=LV2)
    check_structure(written)


def check_structure(path: Path) -> None:
    """What Ardour would leave out in silence, or crash at."""
    root = ET.parse(path).getroot()
    assert etree.tostring(etree.parse(str(path)), method="c14n") == ET.canonicalize(from_file=path).encode()
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib and e.tag != "Port"]
    assert len(ids) == len(set(ids)) and int(root.attrib["id-counter"]) > max(map(int, ids))
    names = [r.attrib["name"] for r in root.iterfind("Routes/Route")]
    assert len({n.casefold() for n in names}) == len(names) and not any(":" in n for n in names)
    ports = {p.attrib["name"] for p in root.iterfind("Routes/Route/IO[@direction='Input']/Port")}
    for connection in root.iter("Connection"):
        assert connection.attrib["other"] in ports | {"system:playback_1", "system:playback_2"}
    returns = {
        r.attrib["id"] for r in root.iterfind("Routes/Route") if r.find("Processor[@type='intreturn']") is not None
    }
    assert {p.attrib["target"] for p in root.iterfind("Routes/Route/Processor[@type='intsend']")} <= returns
    assert all(p.attrib["active"] in "01" for p in root.iter("Processor"))
    for gain in root.iterfind("Routes/Route/Processor[@type='amp']/Controllable"):
        assert 0.0 <= float(gain.attrib["value"]) <= MAX_FADER_GAIN * (1 + 1e-9)
    for events in root.iter("events"):
        points = [line.split() for line in (events.text or "").splitlines()]
        times = [int(t.removeprefix("a")) for t, _ in points]
        assert times[0] == 0 and times == sorted(times)
        assert all(0.0 <= float(g) <= MAX_FADER_GAIN * (1 + 1e-9) for _, g in points)
    sources = {s.attrib["id"] for s in root.iterfind("Sources/Source")}
    for region in root.iter("Region"):
        assert {region.attrib["source-0"], region.attrib["source-1"]} <= sources
    masters = [p for p in root.iter("PresentationInfo") if "MasterOut" in p.attrib["flags"]]
    assert len(masters) == 1 and {"Config", "Sources", "Regions", "Locations", "Routes", "Playlists", "RouteGroups",
                                  "TempoMap"} <= {e.tag for e in root}  # fmt: skip


def test_a_broken_level_is_noticed(tmp_path: Path) -> None:
    graph = many(2, start=3)
    path = exported(graph, tmp_path)
    expected = reference_render(graph, tmp_path / "stems")
    assert null_depth_db(Mixer(path).render(), expected) < -120.0
    tree = ET.parse(path)
    fader = tree.find("Routes/Route/Processor[@type='amp']/Controllable")
    assert fader is not None
    fader.set("value", str(float(fader.attrib["value"]) * db_to_gain(0.01)))
    tree.write(path)
    assert null_depth_db(Mixer(path).render(), expected) > EXACT_DB


@given(left=st.floats(0.0, 4.0), right=st.floats(0.0, 4.0))
def test_fader_and_balance_give_any_two_gains(left: float, right: float) -> None:
    fader, azimuth = fader_and_azimuth(left, right)
    assert 0.0 <= azimuth <= 1.0 and (left != right or azimuth == 0.5)
    assert fader * min(1.0, 2.0 - 2.0 * azimuth) == pytest.approx(left, rel=1e-12, abs=1e-12)
    assert fader * min(1.0, 2.0 * azimuth) == pytest.approx(right, rel=1e-12, abs=1e-12)


def test_names_are_unique_and_fit_for_ports() -> None:
    graph = many(1, start=1)
    (route, *_) = plan_ardour(graph, suites=ROUTING).routes
    routes = [replace(route, key=(str(n), 0), name=name, kind="bus") for n, name in enumerate(NAMES)]
    names = list(route_names(routes).values())
    assert len({n.casefold() for n in names}) == len(names) and not {n.casefold() for n in names} & {*RESERVED_NAMES}
    assert all(n and ":" not in n and n == n.strip() for n in names)
    etree.fromstring(etree.tostring(etree.Element("Route", {"name": "".join(names)})))
    assert "音" in names and "🥁 drums" in names and "a- b" in names


def test_tempo_markers_colour_and_polarity_are_written(tmp_path: Path) -> None:
    points = (
        TempoPoint(time_s=0.0, bpm=93.5, numerator=7, denominator=8, new_bar=True),
        TempoPoint(time_s=0.1, bpm=60, numerator=7, denominator=8),
    )
    tempo = TempoMap(points=points, markers=(Marker(time_s=0.05, name="verse"), Marker(time_s=99.0, name="after")))
    stem = Stem(id="k", name="kick", file="k.wav", polarity=-1, channels=1, offset_samples=-40)
    nodes: list[Node] = [stem, Master()]
    graph = MixGraph(
        name="s", sample_rate_hz=44100, frames=9000, nodes=nodes, edges=[Edge(source="k", target="master")]
    )
    graph = graph.with_tempo(tempo)
    root = ET.parse(exported(graph, tmp_path)).getroot()
    written = root.find("TempoMap/Tempos/Tempo"), root.find("TempoMap/Meters/Meter")
    assert written[0] is not None and float(written[0].attrib["npm"]) == 93.5 and written[0].get("note-type") == "4"
    assert written[1] is not None and (written[1].get("divisions-per-bar"), written[1].get("note-value")) == ("7", "8")
    marks = [(e.get("name"), e.get("start")) for e in root.iterfind("Locations/Location[@flags='IsMark']")]
    assert marks == [("verse", "a14112000")]
    (loss,) = plan_ardour(graph, suites=ROUTING).losses
    assert "tempo" in loss.what
    kick = root.find("Routes/Route[@name='kick']")
    assert kick is not None and kick.find("PresentationInfo").get("color") == str(0xD55E00FF)  # type: ignore[union-attr]
    assert kick.find("Controllable[@name='phase']").get("phase-invert") == "11"  # type: ignore[union-attr]


# ------------------------------------------------------------------------------ losses


def test_what_no_plugin_can_do_is_told(tmp_path: Path) -> None:
    graph = mix_of(
        choose_profiles("jsfx"),
        track=[("gate", GATE, 1.0), ("saturation", settings_of("saturation"), 1.0)],
        bus=[],
        master=[("limiter", settings_of("limiter"), 1.0)],
    rate_hz=44100)  # fmt: skip
    gate, saturation, limiter = plan_ardour(graph, suites=LV2).losses
    assert (gate.channel, gate.node) == ("stem0", "stem0/0")
    assert re.search(
        r"LSP Gate Stereo follows another law than this .*; it differs [2-9]\d dB below its output", gate.what
    )
    assert (saturation.node, limiter.node) == ("stem0/1", "master/0")
    assert "left out" in saturation.what and limiter.text(graph).startswith("Master: Limiter left out")
    check_structure(exported(graph, tmp_path, suites=LV2))


def test_what_was_pruned_stands_by_switched_off(tmp_path: Path) -> None:
    graph = mix_of(choose_profiles(LV2), track=[("eq", EQ, 1.0)], bus=[], master=[], rate_hz=44100)
    eq = next(node for node in graph.nodes if node.id == "stem0/0")
    assert isinstance(eq, Processor)
    rest = mix_of(choose_profiles(LV2), track=[], bus=[], master=[], rate_hz=44100)
    twin = eq.model_copy(update={"id": "width", "type": "imager", "parameters": {"width": 0.5}})
    pruned = [Pruned(channel="stem0", processor=node, before="") for node in (eq, twin)]
    rest = rest.model_copy(update={"pruned": pruned})
    write_stems(rest, tmp_path / "stems")
    path = export_ardour(rest, stems_dir=tmp_path / "stems", folder=tmp_path / "out", keep_pruned=True)
    found = ET.parse(path).getroot().findall("Routes/Route/Processor[@type='lv2']")
    assert [(p.get("name"), p.get("active")) for p in found] == [
        ("LSP Parametric Equalizer x16 Stereo", "0"), ("LSP Compressor MidSide", "0"),
    ]  # fmt: skip
    assert not plan_ardour(rest, suites=LV2, keep_pruned=True).losses
    (loss,) = plan_ardour(rest, suites="zam,eq=lsp-lv2", keep_pruned=True).losses
    assert loss.node == "width" and "left out" in loss.what


def test_only_what_moves_too_fast_is_told() -> None:
    def told(graph: MixGraph) -> list[str]:
        return [loss.what for loss in plan_ardour(graph, suites=ROUTING).losses]

    assert told(ridden(1)) == []
    points = [PanPoint(time_s=0.0, pan=-0.5), PanPoint(time_s=0.02, pan=0.5)]
    curve = [VolumePoint(time_s=0.0, gain_db=-60.0), VolumePoint(time_s=0.02, gain_db=0.0)]
    nodes: list[Node] = [Stem(id="a", name="a", file="a.wav", pan=points), Bus(id="hall", name="Hall"), Master()]
    edges = [
        Edge(source="a", target="master"), Edge(source="a", target="hall", send_db=0.0, volume=curve),
        Edge(source="hall", target="master"),
    ]  # fmt: skip
    graph = MixGraph(name="n", sample_rate_hz=44100, frames=9000, nodes=nodes, edges=edges)
    assert [what.partition(" has round corners")[0] for what in told(graph)] == [
        "pan automation", "automation of the send to hall",
    ]  # fmt: skip
    track = plan_ardour(graph, suites=ROUTING).routes[0]
    assert gain_and_pan(track.left, track.right) == pytest.approx((1.0, -0.5))
    assert [send.gain for send in track.sends] == pytest.approx([db_to_gain(-60.0)])


def test_a_suite_that_lacks_a_plugin_others_have_is_an_error() -> None:
    graph = linear_mix(choose_profiles("jsfx"), rate_hz=44100)
    with pytest.raises(ExportError, match="nothing of --plugins jsfx runs in Ardour; use --plugins lsp-lv2"):
        plan_ardour(graph, suites="jsfx")
    with pytest.raises(
        ExportError, match=r"the jsfx suite's Reverb runs in REAPER only; use --plugins reverb=lsp-lv2,"
    ):
        plan_ardour(graph, suites="reverb=jsfx,*=lsp-lv2")


# --------------------------------------------------------------------------- rendering


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return exported(many(1, start=1), tmp_path)


def fake(folder: Path, body: str) -> Ardour:
    """An exporter that does what `body` says; its arguments are those of the real one."""
    program = folder / "ardour7-export"
    program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return Ardour(program)


def test_a_run_that_hangs_is_repeated(session: Path, tmp_path: Path) -> None:
    sound, count = tmp_path / "sound.wav", tmp_path / "count"
    frames = whole(session).frames
    soundfile.write(sound, np.ones((frames, 2)), 44100)
    once = fake(tmp_path, f'if [ ! -e "{count}" ]; then touch "{count}"; sleep 60; fi\ncp "{sound}" "$4"')
    done = once.render(whole(session), tmp_path / "out.wav", timeout_s=1.0)
    assert soundfile.info(tmp_path / "out.wav").frames == frames
    assert done.version == "Ardour 7"


def test_a_run_that_never_ends_is_given_up(session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ardour_module, "ATTEMPTS", 2)
    with pytest.raises(DawTimeoutError, match=r"Ardour was not done in 2 runs of up to 0\.2 s; raise --daw-timeout-s"):
        fake(tmp_path, "sleep 60").render(whole(session), tmp_path / "out.wav", timeout_s=0.2)
    assert not (tmp_path / "out.wav").exists()


def test_what_ardour_would_not_say_is_found(session: Path, tmp_path: Path) -> None:
    silent, asked, out = fake(tmp_path, "exit 0"), whole(session), tmp_path / "out.wav"
    with pytest.raises(DawError, match="ended without a render"):
        silent.render(asked, out, timeout_s=9.0)
    with pytest.raises(DawError, match=r"does not open it \(no good\)"):
        fake(tmp_path, "echo no good; exit 1").render(asked, out, timeout_s=9.0)
    media = next((session.parent / "interchange").rglob("*.wav"))
    media.rename(media.with_suffix(".gone"))
    with pytest.raises(DawError, match=f"refers to {media.name}, which is missing"):
        silent.render(asked, out, timeout_s=9.0)
    media.with_suffix(".gone").rename(media)
    text = session.read_text(encoding="utf-8")
    effect = '<Processor type="lv2" active="1" unique-id="urn:nowhere"><lv2/></Processor><Processor'
    session.write_text(text.replace("<Processor", effect, 1), encoding="utf-8")
    with pytest.raises(PluginNotFoundError, match="urn:nowhere: no LV2 plugin"):
        silent.render(asked, out, timeout_s=9.0)
    session.write_text(text[:200], encoding="utf-8")
    with pytest.raises(SessionFileError, match="no valid XML"):
        silent.render(asked, out, timeout_s=9.0)
    with pytest.raises(SessionFileError, match="cannot be read"):
        whole(tmp_path / "none.ardour")


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        ('sample-rate="44100"', 'sample-rate="fast"', "sample-rate: not a number"),
        ("IsSessionRange", "IsMark", "no range that says how long it is"),
        ('end="a[0-9]+" flags="IsSessionRange"', 'end="now" flags="IsSessionRange"', "no range that says"),
        ("<Session ", "<Sessions ", "no valid XML"),
    ],
)
def test_a_damaged_session_is_named(session: Path, pattern: str, replacement: str, message: str) -> None:
    text, count = re.subn(pattern, replacement, session.read_text(encoding="utf-8"))
    assert count == 1
    session.write_text(text, encoding="utf-8")
    with pytest.raises(SessionFileError, match=message):
        whole(session)


def test_the_command_lets_ardour_render(tmp_path: Path) -> None:
    found_ardour()
    mix, sources = tmp_path / "mix.wav", {"stems": str(tmp_path / "stems"), "mix": str(tmp_path / "mix.wav")}
    provenance = Provenance(plugins=ROUTING, sources=sources)
    # Longer than what the match loss leaves out at the beginning.
    graph = many(3, start=5).model_copy(update={"provenance": provenance, "frames": 2 * 44100})
    write_stems(graph, tmp_path / "stems", frames=2 * 44100)
    soundfile.write(mix, reference_render(graph, tmp_path / "stems").T, graph.sample_rate_hz, subtype="DOUBLE")
    (tmp_path / "out").mkdir()
    graph.save(tmp_path / "out" / "graph.json")
    export_graph(graph, ["ardour"], stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    own = CliRunner().invoke(app, ["verify", str(tmp_path / "out")])
    assert own.exit_code == 2 and "add --with ardour" in own.stderr
    for _again in range(2):
        done = CliRunner().invoke(app, ["verify", str(tmp_path / "out"), "--with", "ardour", "--json"])
        assert done.exit_code == 0, done.stderr
        (result,) = json.loads(done.stdout)
        assert (result["host"], result["host_version"], result["session"]) == ("ardour", "Ardour 7", "ardour")
        assert (result["verdict"], result["offset_samples"]) == ("green", 0)
        assert result["null_db"] < EXACT_DB and abs(result["gap"]) < 1e-4


def test_no_ardour_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(PROGRAM_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DawNotFoundError, match="apt-get install ardour"):
        Ardour().find()
    monkeypatch.setenv(PROGRAM_VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(DawNotFoundError, match="nothing: no program that can be run"):
        Ardour().find()


def test_bundles_are_found_and_reduced_to_what_is_used(tmp_path: Path) -> None:
    bundle = tmp_path / "all" / "many.lv2"
    bundle.mkdir(parents=True)
    (bundle / "manifest.ttl").write_text(
        "@prefix lv2: <http://lv2plug.in/ns/lv2core#> .\n@prefix p: <http://example.org/1.0/> .\n\n"
        "p:one\n\ta lv2:Plugin ;\n\tlv2:binary <a.so> ;\n\trdfs:seeAlso <one.ttl> .\n\n"
        "<urn:two>\n\ta lv2:Plugin ;\n\tlv2:binary <b.so> ;\n\trdfs:seeAlso <two.ttl> , <more.ttl> .\n",
        encoding="utf-8",
    )
    for name in ("a.so", "b.so", "one.ttl", "two.ttl", "more.ttl"):
        (bundle / name).write_text(name, encoding="utf-8")
    found = find_lv2(["http://example.org/1.0/one", "urn:two", "urn:three"], folders=[tmp_path / "all"])
    assert set(found) == {"http://example.org/1.0/one", "urn:two"}
    assert found["urn:two"].described_in == ("two.ttl", "more.ttl")
    (tmp_path / "few").mkdir()
    link_bundles([found["urn:two"]], tmp_path / "few")
    again = find_lv2(["http://example.org/1.0/one", "urn:two"], folders=[tmp_path / "few"])
    assert set(again) == {"urn:two"} and again["urn:two"].binary == "b.so"
    assert (again["urn:two"].bundle / "b.so").read_text(encoding="utf-8") == "b.so"
