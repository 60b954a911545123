"""DAWprojects: they follow the schema, hold what the session says, lose nothing silently and read back."""

from __future__ import annotations

import io
import math
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from lxml import etree

import mixbridge
from mixbridge.bridge.audio import as_stereo, read_audio
from mixbridge.bridge.choices import DEFAULT_SUITES
from mixbridge.bridge.errors import SessionFileError
from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, PanPoint, Processor, Stem, VolumePoint
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.processors.equations import db_to_gain, gain_to_db, pan_gains
from mixbridge.bridge.processors.reference import apply_processor, eq_sections
from mixbridge.bridge.processors.specs import SPECS, spec_of
from mixbridge.bridge.suites import choose_profiles
from mixbridge.bridge.tempo import Marker, TempoMap, TempoPoint
from mixbridge.exporters.dawproject import devices, plan, read
from mixbridge.exporters.dawproject.devices import BuiltIn, Unit, percent_to_ratio, semitones_to_hertz
from mixbridge.exporters.dawproject.plan import DawProjectPlan, plan_dawproject
from mixbridge.exporters.dawproject.project import beats_at, number_text, session_of, xml_text
from mixbridge.exporters.dawproject.read import ReadProject, ReadTrack, read_dawproject, read_state
from mixbridge.exporters.session import Folder, Insert, Return, Session, Track
from mixbridge.exporters.vstpreset import decode_vstpreset

from .dsp import programme, random_parameters
from .exports import export_dawproject
from .mixes import assert_nulls, chain_edges, reference_render, routed, write_stems
from .plugin_mixes import COMPRESSOR, DELAY, EQ, GATE, REVERB, mix_of, settings_of
from .suites import installed

SCHEMAS = Path(mixbridge.__file__).resolve().parent.parent / "shared" / "schemas"
RATE_HZ = 44100

slow_setup = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def schema(name: str) -> etree.XMLSchema:
    path = SCHEMAS / name
    if not path.is_file():
        pytest.skip(f"{name} is not beside the checkout")
    return etree.XMLSchema(etree.parse(path))


def exported(graph: MixGraph, root: Path, **options: object) -> Path:
    write_stems(graph, root / "stems")
    return export_dawproject(graph, stems_dir=root / "stems", folder=root / "out", **options)  # type: ignore[arg-type]


def planned(graph: MixGraph, suites: str = DEFAULT_SUITES) -> tuple[Session, DawProjectPlan]:
    session = session_of(graph)
    return session, plan_dawproject(session, suites=suites)


def one_track(*chain: tuple[str, dict[str, float], float], law: str = "", **stem: object) -> MixGraph:
    """A track with some processors, straight into the master."""
    nodes = [
        Processor(type=kind, id=f"n{index}", parameters=values, mix=mix, law=law)
        for index, (kind, values, mix) in enumerate(chain)
    ]
    track = Stem(id="t", name="track", file="t.wav", **stem)  # type: ignore[arg-type]
    return MixGraph(
        name="song", sample_rate_hz=RATE_HZ, frames=10000, nodes=[track, *nodes, Master()],
        edges=chain_edges("t", nodes, "master"),
    )  # fmt: skip


def losses(graph: MixGraph, suites: str = DEFAULT_SUITES) -> dict[str, float | None]:
    return {loss.node: loss.size_db for loss in planned(graph, suites)[1].losses}


def track_of(project: ReadProject, name: str) -> ReadTrack:
    (found,) = (track for track in project.tracks if track.name == name)
    return found


# ------------------------------------------------------------------------------ schema


@slow_setup
@given(graph=routed())
def test_every_project_follows_the_schema(graph: MixGraph) -> None:
    project, metadata = schema("Project.xsd"), schema("MetaData.xsd")
    with tempfile.TemporaryDirectory() as root, zipfile.ZipFile(exported(graph, Path(root))) as archive:
        project.assertValid(etree.fromstring(archive.read("project.xml")))
        metadata.assertValid(etree.fromstring(archive.read("metadata.xml")))


@given(st.text())
@example("\x00\x0b￾\x85\u2028\r\n\t\x7f")
def test_any_name_is_an_attribute_that_reads_back_as_it_is(name: str) -> None:
    text = xml_text(name)
    element = etree.fromstring(etree.tostring(etree.Element("Track", name=text), encoding="UTF-8"))
    assert element.get("name") == text
    kept = [a for a, b in zip(name, text, strict=True) if a == b]
    assert all(a in kept for a in name if a.isalnum())


@given(st.floats(-1e9, 1e9))
def test_numbers_have_no_exponent(value: float) -> None:
    text = number_text(value)
    assert "e" not in text and abs(float(text) - value) <= 5e-13 + 1e-15 * abs(value)


# ------------------------------------------------------------------- what it holds


@slow_setup
@given(graph=routed())
def test_a_project_reads_back_as_the_session(graph: MixGraph) -> None:
    with tempfile.TemporaryDirectory() as root:
        path = exported(graph, Path(root))
        project = read_dawproject(path)
        session, made = planned(graph)
        assert_same_mixer(project, session, made)
        assert_same_audio(path, project, session, Path(root) / "stems")


def assert_same_mixer(project: ReadProject, session: Session, made: DawProjectPlan) -> None:
    strips = list(session.strips())
    assert [t.name for t in project.tracks] == [xml_text(s.name)[:200] for s in strips]
    channel_of = {strip.id: track for strip, track in zip(strips, project.tracks, strict=True)}
    roles = {Track: "regular", Folder: "submix", Return: "effect"}
    for child, parent in session.walk():
        track = channel_of[child.strip.id]
        assert track.role == roles[type(child)]
        assert track.destination == channel_of[parent].channel_id
        inside = parent != session.master.id
        assert track.parent == (channel_of[parent].id if inside else "")
        assert [(s.destination, s.type) for s in track.sends] == [
            (channel_of[s.target].channel_id, "post") for s in child.strip.sends
        ]
        for found, send in zip(track.sends, child.strip.sends, strict=True):
            moving = made.channels[child.strip.id].sends.get(send.target, ())
            assert found.volume.value == pytest.approx(moving[0][1] if moving else send.gain, abs=1e-11)
            assert bool(moving) == bool(send.volume)
            assert_same_points(found.volume_points, moving)
    assert project.tracks[-1].role == "master" and not project.tracks[-1].destination
    for strip_id, track in channel_of.items():
        channel = made.channels[strip_id]
        assert track.volume.unit == Unit.linear and track.volume.value == pytest.approx(channel.gain, abs=1e-11)
        assert track.pan.unit == Unit.normalized and 2 * track.pan.value - 1 == pytest.approx(channel.pan, abs=1e-11)
        assert track.muted == channel.muted
        assert [d.element for d in track.devices] == [d.element for d in channel.devices]  # type: ignore[union-attr]
        for found, wanted in zip(track.devices, channel.devices, strict=True):
            assert_same_device(found, wanted)  # type: ignore[arg-type]
        assert_same_points(track.volume_points, channel.volume)
        assert_same_points([(time_s, 2 * p - 1) for time_s, p in track.pan_points], channel.pan_points)


def assert_same_points(found: Sequence[tuple[float, float]], wanted: Sequence[tuple[float, float]]) -> None:
    # What holds before the first point is said by a point of its own.
    begun = wanted and wanted[0][0] > 0.0
    points = [(0.0, wanted[0][1]), *wanted] if begun else wanted
    assert len(found) == len(points)
    assert np.allclose(np.array(found), np.array(points), atol=1e-11)


def assert_same_device(found: BuiltIn, wanted: BuiltIn) -> None:
    assert {name: q.unit for name, q in found.settings.items()} == {n: q.unit for n, q in wanted.settings.items()}
    for name, quantity in wanted.settings.items():
        assert found.settings[name].value == pytest.approx(quantity.value, abs=1e-11)
    assert [b.type for b in found.bands] == [b.type for b in wanted.bands]
    for band, other in zip(found.bands, wanted.bands, strict=True):
        assert band.frequency.value == pytest.approx(other.frequency.value, abs=1e-11)
        assert (band.gain is None) == (other.gain is None)
        assert band.q is not None and other.q is not None and band.q.value == pytest.approx(other.q.value, abs=1e-11)


def assert_same_audio(path: Path, project: ReadProject, session: Session, stems_dir: Path) -> None:
    """What the clips play is the stem, placed and with its polarity, sample by sample."""
    for track in session.tracks():
        where = [s.id for s in session.strips()].index(track.strip.id)
        stem = read_audio(stems_dir / track.media.file)
        wanted = placed(stem, start=track.media.offset_samples, frames=session.frames) * track.media.polarity
        found = np.zeros_like(wanted)
        for clip in project.tracks[where].clips:
            found += played(path, clip, session)
        np.testing.assert_array_equal(found, wanted)


def placed(audio: np.ndarray, *, start: int, frames: int) -> np.ndarray:
    out = np.zeros((audio.shape[0], frames))
    where = np.arange(audio.shape[1]) + start
    inside = (where >= 0) & (where < frames)
    out[:, where[inside]] = audio[:, inside]
    return out


def played(path: Path, clip: read.ReadClip, session: Session) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        audio, rate = soundfile.read(io.BytesIO(archive.read(clip.file)), always_2d=True)
    assert (rate, audio.shape[1]) == (clip.sample_rate_hz, clip.channels)
    assert clip.file_duration_s == pytest.approx(len(audio) / rate, abs=1e-9)
    position, skipped, length = (round(t * rate) for t in (clip.time_s, clip.start_s, clip.duration_s))
    out = np.zeros((audio.shape[1], session.frames))
    out[:, position : position + length] = audio.T[:, skipped : skipped + length]
    return out


def test_the_same_session_gives_the_same_bytes(tmp_path: Path) -> None:
    graph = mix_of({}, track=[("eq", EQ, 1.0)], bus=[("compressor", COMPRESSOR, 1.0)], master=[])
    first, second = (exported(graph, tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["project.xml", "metadata.xml", "audio/kick.wav", "audio/bass.wav"]
    # The folder holds the project and what tells exports from other folders.
    assert sorted(p.name for p in first.parent.iterdir()) == [".mixbridge-export.json", "a mix.dawproject"]


def test_the_finished_mix_is_a_muted_track_before_the_master(tmp_path: Path) -> None:
    graph = one_track()
    soundfile.write(tmp_path / "finished.wav", programme(seconds=0.2, rate_hz=RATE_HZ, seed=9).T, RATE_HZ)
    project = read_dawproject(exported(graph, tmp_path, reference_path=tmp_path / "finished.wav"))
    assert [(t.name, t.muted, t.role) for t in project.tracks] == [
        ("track", False, "regular"), ("finished (reference)", True, "regular"), ("Master", False, "master"),
    ]  # fmt: skip
    assert track_of(project, "finished (reference)").clips


def test_tracks_have_the_colours_of_their_families(tmp_path: Path) -> None:
    graph = mix_of({}, track=[], bus=[], master=[])
    project = read_dawproject(exported(graph, tmp_path))
    assert {t.name: t.colour for t in project.tracks} == {
        "drums": "#d55e00", "kick/in": "#d55e00", "bass": "#0072b2", "Master": "",
    }  # fmt: skip


TEMPO = TempoMap(
    points=(
        TempoPoint(time_s=0.0, bpm=120.0, numerator=3, new_bar=True),
        TempoPoint(time_s=0.75, bpm=60.0, numerator=6, denominator=8, new_bar=True),
        TempoPoint(time_s=1.0, bpm=240.0, numerator=6, denominator=8),
        TempoPoint(time_s=50.0, bpm=90.0, numerator=6, denominator=8),
    ),
    markers=(Marker(time_s=0.0, name="verse"), Marker(time_s=1.1, name="a\x01b"), Marker(time_s=60.0, name="gone")),
)


def test_tempo_signatures_and_markers_are_counted_in_beats(tmp_path: Path) -> None:
    graph = one_track().model_copy(update={"tempo": TEMPO, "frames": 2 * RATE_HZ})
    path = exported(graph, tmp_path)
    project = read_dawproject(path)
    assert (project.bpm, project.signature) == (120.0, (3, 4))
    assert project.tempi == ((0.0, 120.0), (1.5, 60.0), (1.75, 240.0))
    assert project.signatures == ((0.0, 3, 4), (1.5, 6, 8))
    assert project.markers == ((0.0, "verse"), (pytest.approx(2.15), "a b"))
    assert beats_at(TEMPO, 51.0) == pytest.approx(1.75 + 49 * 4 + 1.5)
    # The first bar of three quarters is cut after one and a half.
    assert [loss.what for loss in planned(graph)[1].losses] == [
        "a bar that is cut short: the format has no place to say so"
    ]
    with zipfile.ZipFile(path) as archive:
        schema("Project.xsd").assertValid(etree.fromstring(archive.read("project.xml")))


def test_without_a_tempo_map_the_transport_has_the_default(tmp_path: Path) -> None:
    project = read_dawproject(exported(one_track(), tmp_path))
    assert (project.bpm, project.signature, project.tempi, project.markers) == (120.0, (4, 4), (), ())


# ---------------------------------------------------------------------------- devices


def built_in(kind: str, values: dict[str, float], mix: float = 1.0, law: str = "") -> devices.Realised:
    return devices.built_in(Insert("n", kind, values, mix, law), sample_rate_hz=RATE_HZ)


def sections_of(device: BuiltIn) -> np.ndarray:
    """The bands of a device as those of our equalizer, one at a time, through its reference."""
    rows = []
    for band in device.bands:
        hertz = semitones_to_hertz(band.frequency.value)
        name = {"lowShelf": "low_shelf", "highShelf": "high_shelf"}.get(band.type, "bell1")
        if band.type == "highPass":
            values = settings_of("eq", highpass_hz=hertz)
        elif band.type == "lowPass":
            values = settings_of("eq", lowpass_hz=hertz)
        else:
            assert band.gain is not None and band.q is not None
            values = settings_of("eq") | {
                f"{name}_hz": hertz, f"{name}_db": band.gain.value, f"{name}_q": band.q.value
            }  # fmt: skip
        rows.append(eq_sections(values, sample_rate_hz=RATE_HZ))
    return np.concatenate(rows) if rows else np.zeros((0, 6))


def test_the_bands_of_an_equalizer_are_those_of_ours() -> None:
    values = dict(EQ) | {"highpass_hz": 40.0}
    found = built_in("eq", values)
    np.testing.assert_allclose(sections_of(found.device), eq_sections(values, sample_rate_hz=RATE_HZ), atol=1e-9)
    assert [b.type for b in found.device.bands] == [
        "highPass", "lowShelf", "bell", "bell", "highShelf", "lowPass",
    ]  # fmt: skip
    assert {b.frequency.unit for b in found.device.bands} == {Unit.semitones}
    assert found.difference_db == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("mix", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("gain_db", [-12.0, 9.0])
def test_a_bell_beside_its_dry_signal_is_another_bell(mix: float, gain_db: float) -> None:
    values = settings_of("eq", bell1_db=gain_db, bell1_hz=3000.0, bell1_q=1.3)
    found = built_in("eq", values, mix)
    impulse = np.zeros((2, 4096))
    impulse[:, 0] = 1.0
    wanted = apply_processor("eq", impulse, parameters=values, sample_rate_hz=RATE_HZ, mix=mix)
    (band,) = found.device.bands
    assert band.gain is not None and band.q is not None
    written = settings_of("eq", bell1_db=band.gain.value, bell1_hz=3000.0, bell1_q=band.q.value)
    np.testing.assert_allclose(
        apply_processor("eq", impulse, parameters=written, sample_rate_hz=RATE_HZ), wanted, atol=1e-12
    )
    assert found.difference_db == pytest.approx(0.0, abs=1e-6)
    assert losses(one_track(("eq", values, mix))) == {}


def test_what_dry_and_wet_of_an_equalizer_changes_has_a_size() -> None:
    values = dict(EQ) | {"highpass_hz": 300.0}
    (size_db,) = losses(one_track(("eq", values, 0.5))).values()
    # A high-pass with half of the dry signal holds the lows at -6 dB; without, they are gone.
    assert size_db is not None and size_db > 20.0
    assert losses(one_track(("eq", values, 0.0))) == {}


def test_the_settings_of_dynamics_have_the_units_of_the_format() -> None:
    found = built_in("compressor", COMPRESSOR).device
    values = {name: (round(q.value, 9), q.unit) for name, q in found.settings.items()}
    assert values == {
        "Attack": (0.008, Unit.seconds), "Release": (0.09, Unit.seconds), "Threshold": (-24.0, Unit.decibel),
        "Ratio": (75.0, Unit.percent), "OutputGain": (5.0, Unit.decibel),
    }  # fmt: skip
    assert percent_to_ratio(75.0) == 4.0 and percent_to_ratio(100.0) == math.inf
    found = built_in("gate", GATE).device
    assert found.settings["Range"].value == pytest.approx(-40.0) and found.element == "NoiseGate"
    found = built_in("limiter", settings_of("limiter", gain_db=6.0, ceiling_db=-1.0)).device
    assert (found.settings["InputGain"].value, found.settings["Threshold"].value) == (6.0, -1.0)


def test_a_knee_that_the_device_lacks_has_a_size() -> None:
    hard = losses(one_track(("compressor", dict(COMPRESSOR), 1.0)))
    assert hard == {"n0": None}
    knee = dict(COMPRESSOR) | {"knee_db": 12.0}
    # At the threshold, a knee of width w takes w/8 of what the slope takes per dB.
    assert losses(one_track(("compressor", knee, 1.0)))["n0"] == pytest.approx(12.0 / 8.0 * 0.75, abs=0.01)


def test_a_compressor_beside_its_dry_signal_keeps_both_ends_of_the_curve() -> None:
    mix, threshold_db = 0.4, -24.0
    found = built_in("compressor", COMPRESSOR, mix)
    makeup = found.device.settings["OutputGain"].value
    ratio = percent_to_ratio(found.device.settings["Ratio"].value)
    assert makeup == pytest.approx(gain_to_db(mix * db_to_gain(5.0) + 1.0 - mix))
    full_scale = gain_to_db(mix * db_to_gain(0.75 * threshold_db + 5.0) + 1.0 - mix)
    assert (1.0 / ratio - 1.0) * -threshold_db + makeup == pytest.approx(full_scale)
    assert found.difference_db is not None and 0.1 < found.difference_db < 3.0


def test_a_gate_that_is_a_switch_has_no_size() -> None:
    assert built_in("gate", GATE, law="zam").difference_db is None
    assert built_in("gate", GATE).difference_db == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("after", "element", "setting"),
    [
        ("compressor", "Compressor", "InputGain"),
        ("limiter", "Limiter", "InputGain"),
        ("gate", "Equalizer", "OutputGain"),
    ],
)
def test_a_gain_before_dynamics_is_put_into_a_device(after: str, element: str, setting: str) -> None:
    graph = one_track(("gain_pan", {"gain_db": 7.0, "pan": 0.0}, 1.0), (after, settings_of(after), 1.0))
    found = planned(graph)[1].channels["t"].devices
    holders = [d for d in found if isinstance(d, BuiltIn) and d.element == element]
    assert [d.settings[setting].value for d in holders] == [pytest.approx(7.0)]
    assert len(found) == (2 if after == "gate" else 1)
    assert planned(graph)[1].channels["t"].gain == pytest.approx(1.0)


def test_a_pan_before_linked_dynamics_moves_behind_them_and_is_named() -> None:
    graph = one_track(("gain_pan", {"gain_db": 0.0, "pan": 0.5}, 1.0), ("compressor", COMPRESSOR, 1.0))
    channel = planned(graph)[1].channels["t"]
    assert channel.pan == pytest.approx(0.5)
    near = gain_to_db(max(pan_gains(0.5, xp=math)))
    assert losses(graph)["n0"] == pytest.approx(near) and losses(graph)[""] == pytest.approx(near)
    # Before an equalizer it may come later without a difference.
    assert "n0" not in losses(one_track(("gain_pan", {"gain_db": 0.0, "pan": 0.5}, 1.0), ("eq", dict(EQ), 1.0)))


def test_what_the_format_lacks_is_lost_by_name() -> None:
    lost = losses(
        one_track(
            ("imager", {"width": 2.0}, 1.0),
            ("saturation", settings_of("saturation", drive_db=12.0), 1.0),
            ("delay", DELAY, 0.25),
            ("imager", {"width": 1.0}, 1.0),
        )
    )
    assert set(lost) == {"n0", "n1", "n2"}
    assert lost["n0"] == pytest.approx(6.02, abs=0.01) and lost["n1"] is not None and lost["n2"] is None
    # The dry part of what is missing stays: three quarters.
    graph = one_track(("delay", DELAY, 0.25))
    assert planned(graph)[1].channels["t"].gain == pytest.approx(0.75)
    silent = one_track(("reverb", settings_of("reverb"), 0.5))
    assert losses(silent) == {} and planned(silent)[1].channels["t"].gain == pytest.approx(0.5)


def with_return() -> MixGraph:
    reverb = Processor(type="reverb", id="r0", parameters=dict(REVERB))
    nodes = [Stem(id="t", name="track", file="t.wav"), Bus(id="r", name="hall"), reverb, Master()]
    edges = [
        Edge(source="t", target="master"), Edge(source="t", target="r", send_db=-6.0),
        Edge(source="r", target="r0"), Edge(source="r0", target="master"),
    ]  # fmt: skip
    return MixGraph(name="song", sample_rate_hz=RATE_HZ, frames=10000, nodes=nodes, edges=edges)


def test_a_return_without_its_reverb_is_muted(tmp_path: Path) -> None:
    """Otherwise it would play the dry sends, on top of the tracks."""
    graph = with_return()
    assert list(losses(graph)) == ["r0"]
    project = read_dawproject(exported(graph, tmp_path))
    hall = track_of(project, "hall")
    assert (hall.muted, hall.role, hall.volume.value) == (True, "effect", 1.0)
    (send,) = track_of(project, "track").sends
    assert send.destination == hall.channel_id and send.enabled
    assert send.volume.value == pytest.approx(db_to_gain(-6.0))


def test_faders_above_their_end_are_split(tmp_path: Path) -> None:
    graph = one_track(("gain_pan", {"gain_db": 20.0, "pan": 0.0}, 1.0))
    channel = planned(graph)[1].channels["t"]
    (device,) = channel.devices
    assert isinstance(device, BuiltIn) and device.bands == ()
    assert channel.gain == pytest.approx(plan.MAX_FADER_GAIN)
    assert device.settings["OutputGain"].value + gain_to_db(channel.gain) == pytest.approx(20.0)
    points = [VolumePoint(time_s=0.1, gain_db=-6.0), VolumePoint(time_s=0.2, gain_db=12.0)]
    channel = planned(one_track(volume=points))[1].channels["t"]
    assert max(gain for _, gain in channel.volume) == pytest.approx(plan.MAX_FADER_GAIN)
    assert losses(graph) == {}


@pytest.mark.parametrize("suites", ["jsfx", "reaplugs", "pedalboard"])
def test_suites_without_vst3_plugins_become_the_devices_of_the_format(suites: str) -> None:
    graph = one_track(
        *((kind, settings_of(kind), 1.0) for kind in ("eq", "compressor", "gate", "saturation", "limiter"))
    )
    found = planned(graph, suites)[1].channels["t"].devices
    assert [d.element for d in found if isinstance(d, BuiltIn)] == [
        "Equalizer", "Compressor", "NoiseGate", "Limiter",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", SPECS)
def test_every_setting_that_sounds_is_written_or_lost(kind: str) -> None:
    """No processor away from its defaults goes by without a device, a fader, a pan or a loss."""
    values = random_parameters(spec_of(kind), np.random.default_rng(1))
    _, made = planned(one_track((kind, values, 0.7)))
    channel = made.channels["t"]
    assert channel.devices or made.losses or (channel.gain, channel.pan) != (1.0, 0.0)
    if kind not in ("eq", "compressor", "gate", "limiter", "gain_pan"):
        assert [loss.node for loss in made.losses] == ["n0"]


# ----------------------------------------------------------------------------- sound


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graph=routed(("gain_pan",)))
def test_gains_pans_sends_and_automation_sound_like_the_graph(graph: MixGraph) -> None:
    """Rendered from the file alone, with our pan law."""
    # A pan in front of one that moves is a loss of its own.
    moving = {p.id for c in graph.channels() if c.pan for p in graph.chain(c.id)}
    centred = [
        n.model_copy(update={"parameters": n.parameters | {"pan": 0.0}}) if n.id in moving else n for n in graph.nodes
    ]
    graph = graph.rebuilt(centred, graph.edges)
    # Times are written in whole picoseconds: points nearer to each other become a jump.
    curves = [curve for c in graph.channels() for curve in (c.volume, c.pan)] + [e.volume for e in graph.edges]
    assume(all(b.time_s - a.time_s > 1e-9 for curve in curves for a, b in pairwise(curve)))
    with tempfile.TemporaryDirectory() as root:
        path = exported(graph, Path(root))
        project = read_dawproject(path)
        assert all(not loss.node for loss in planned(graph)[1].losses)
        found = rendered(path, project, session_of(graph))
        wanted = reference_render(graph, Path(root) / "stems")
        if np.abs(wanted).max() > 1e-4:
            assert_nulls(found, wanted, below_db=-120.0)


def test_stems_at_another_rate_are_embedded_at_that_of_the_session(tmp_path: Path) -> None:
    graph = one_track(offset_samples=300, polarity=-1)
    write_stems(graph, tmp_path / "stems", rate_hz=48000)
    path = export_dawproject(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out")
    project = read_dawproject(path)
    (clip,) = track_of(project, "track").clips
    assert clip.sample_rate_hz == RATE_HZ
    found = rendered(path, project, session_of(graph))
    assert_nulls(found, reference_render(graph, tmp_path / "stems"), below_db=-120.0)


def rendered(path: Path, project: ReadProject, session: Session) -> np.ndarray:
    """What a mixer does with a project whose devices are gains."""
    buses = {t.channel_id: np.zeros((2, session.frames)) for t in project.tracks}
    for track in project.tracks:
        for clip in track.clips:
            buses[track.channel_id] += as_stereo(played(path, clip, session))
    feeds = {t.channel_id: [t.destination, *(s.destination for s in t.sends)] for t in project.tracks}
    waiting = list(project.tracks)
    out = np.zeros((2, session.frames))
    while waiting:
        track = next(t for t in waiting if not any(t.channel_id in feeds[w.channel_id] for w in waiting))
        waiting.remove(track)
        out = mixed(track, buses.pop(track.channel_id), session)
        if track.destination:
            buses[track.destination] += out
        for send in track.sends:
            buses[send.destination] += course(send.volume_points, send.volume.value, session) * out
    return out


def mixed(track: ReadTrack, audio: np.ndarray, session: Session) -> np.ndarray:
    for device in track.devices:
        assert isinstance(device, BuiltIn) and not device.bands
        audio = audio * db_to_gain(sum(quantity.value for quantity in device.settings.values()))
    pan = 2.0 * course(track.pan_points, track.pan.value, session) - 1.0
    return audio * np.stack(pan_gains(pan, xp=np)) * course(track.volume_points, track.volume.value, session)


def course(points: Sequence[tuple[float, float]], rest: float, session: Session) -> np.ndarray:
    """A parameter at every sample; `rest` where it stands still."""
    if not points:
        return np.full(session.frames, rest)
    times, values = zip(*points, strict=True)
    return np.interp(np.arange(session.frames) / session.sample_rate_hz, times, values)


def test_a_pan_that_moves_is_written_and_one_before_it_is_lost(tmp_path: Path) -> None:
    ride = [PanPoint(time_s=0.05, pan=-0.25), PanPoint(time_s=0.1, pan=0.5)]
    project = read_dawproject(exported(one_track(pan=ride), tmp_path))
    track = track_of(project, "track")
    assert track.pan_points == ((0.0, 0.375), (0.05, 0.375), (0.1, 0.75)) and track.pan.value == 0.375
    moving = one_track(("gain_pan", {"gain_db": -3.0, "pan": 0.4}, 1.0), pan=ride)
    _, made = planned(moving)
    assert [loss.what.partition(":")[0] for loss in made.losses] == ["pan 0.4 before a pan that moves", "pan 0.5"]
    assert made.channels["t"].gain == pytest.approx(
        db_to_gain(-3.0) * math.hypot(*pan_gains(0.4, xp=math)) / math.sqrt(2)
    )


# ---------------------------------------------------------------------------- plugins


@pytest.fixture(scope="module")
def pool() -> Iterator[PluginPool]:
    installed("lsp")
    with PluginPool(workers=1) as made:
        yield made


def test_plugins_carry_their_state(tmp_path: Path, pool: PluginPool) -> None:
    graph = mix_of(
        choose_profiles("lsp"),
        track=[("eq", EQ, 1.0)], bus=[("reverb", REVERB, 0.5)], master=[("limiter", settings_of("limiter"), 1.0)],
    )  # fmt: skip
    path = exported(graph, tmp_path, suites="lsp", pool=pool)
    project = read_dawproject(path)
    (equalizer,) = track_of(project, "kick/in").devices
    (reverb,) = track_of(project, "drums").devices
    (limiter,) = track_of(project, "Master").devices
    # What the suite lacks is the format's own.
    assert isinstance(limiter, BuiltIn) and limiter.element == "Limiter"
    for device, enabled in ((equalizer, True), (reverb, False)):
        assert isinstance(device, read.ReadPlugin) and device.vendor and device.enabled == enabled
        preset = decode_vstpreset(read_state(path, device.state))
        assert preset.class_id == device.class_id.replace("-", "").upper()
        assert [len(part) for part in device.class_id.split("-")] == [8, 4, 4, 4, 12]
        assert preset.component
    assert set(losses(graph, "lsp")) == {"bus/0", "master/0"}
    # Half of the dry signal is left of the reverb that nothing can mix in.
    assert track_of(project, "drums").volume.value == pytest.approx(0.5)
    assert list((path.parent / "ir").iterdir())
    with zipfile.ZipFile(path) as archive:
        schema("Project.xsd").assertValid(etree.fromstring(archive.read("project.xml")))


# ------------------------------------------------------------------------ damaged files


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    graph = mix_of({}, track=[("eq", EQ, 1.0)], bus=[("compressor", COMPRESSOR, 1.0)], master=[])
    return exported(graph, tmp_path_factory.mktemp("good")).read_bytes()


def rezipped(good: bytes, text: bytes | None) -> bytes:
    """The project with another project.xml, or none."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as read_from, zipfile.ZipFile(out, "w") as written:
        for name in read_from.namelist():
            if name != "project.xml":
                written.writestr(name, read_from.read(name))
        if text is not None:
            written.writestr("project.xml", text)
    return out.getvalue()


def project_text(good: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        return archive.read("project.xml")


EDITS = {
    "no XML": (b"<Project", b"<<"),
    "another root": (b"Project", b"Song"),
    "a unit that is none": (b'unit="linear"', b'unit="loud"'),
    "a number that is none": (b'unit="percent" value="75.0"', b'unit="percent" value="x"'),
    "not finite": (b'unit="percent" value="75.0"', b'unit="percent" value="inf"'),
    "a channel that is not there": (b'destination="channel', b'destination="chanel'),
    "a track as a channel": (b'destination="channel', b'destination="track'),
    "a file that is not there": (b"audio/kick.wav", b"audio/kock.wav"),
    "an unknown device": (b"Compressor", b"Reverberator"),
    "no channel": (b"Channel", b"Kanal"),
    "a signature of halves": (b'numerator="4"', b'numerator="4.5"'),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_damaged_projects_are_refused_in_one_line(good: bytes, tmp_path: Path, edit: tuple[bytes, bytes]) -> None:
    text = project_text(good)
    assert edit[0] in text
    path = tmp_path / "damaged.dawproject"
    path.write_bytes(rezipped(good, text.replace(*edit)))
    with pytest.raises(SessionFileError, match="export it again") as caught:
        read_dawproject(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_no_project_are_refused(good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.dawproject"
    for data in (b"", b"PK", good[:200], rezipped(good, None), rezipped(good, b"")):
        path.write_bytes(data)
        with pytest.raises(SessionFileError):
            read_dawproject(path)
    with pytest.raises(SessionFileError):
        read_dawproject(tmp_path / "missing.dawproject")
    path.write_bytes(good)
    with pytest.raises(SessionFileError, match="holds no plugins/x"):
        read_state(path, "plugins/x.vstpreset")
    monkeypatch.setattr(read, "MAX_XML_BYTES", 100)
    with pytest.raises(SessionFileError, match="larger than"):
        read_dawproject(path)


def test_entities_are_not_expanded(good: bytes, tmp_path: Path) -> None:
    """A few lines that stand for gigabytes, and files of the machine, stay what they are."""
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    outside = f'<!DOCTYPE Project [<!ENTITY e SYSTEM "{(tmp_path / "secret").as_uri()}">]>'.encode()
    text = project_text(good).replace(b"<Project", outside + b"<Project").replace(b"<Scenes/>", b"<Scenes>&e;</Scenes>")
    path = tmp_path / "x.dawproject"
    path.write_bytes(rezipped(good, text))
    assert len(read_dawproject(path).tracks) == 4


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage_never_crashes_the_reader(good: bytes, tmp_path: Path, data: st.DataObject) -> None:
    text = bytearray(project_text(good))
    whole = bytearray(good)
    target = data.draw(st.sampled_from([text, whole]))
    for _ in range(data.draw(st.integers(1, 6))):
        target[data.draw(st.integers(0, len(target) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.dawproject"
    path.write_bytes(rezipped(good, bytes(text)) if target is text else bytes(whole))
    try:
        read_dawproject(path)
    except SessionFileError as error:
        assert "\n" not in str(error)
