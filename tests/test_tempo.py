"""Tempo maps: read as they were written, laid under a session, and note values of delay times."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mixbridge.bridge import tempo as tempo_module
from mixbridge.bridge.analyze import AnalyzeSettings, _in_tempo
from mixbridge.bridge.audio import Multitrack
from mixbridge.bridge.errors import EXIT_USER_ERROR, GraphError, MixbridgeError, ParameterError, TempoMapError
from mixbridge.bridge.graph import Edge, Master, MixGraph, Processor, Stem
from mixbridge.bridge.processors.specs import SPECS
from mixbridge.bridge.report.words import describe_processor, describe_tempo, summarise
from mixbridge.bridge.search.search import SearchSettings
from mixbridge.bridge.search.snap import snap
from mixbridge.bridge.tempo import (
    DEFAULT_POINT,
    DENOMINATORS,
    DIVISIONS,
    Marker,
    NoteValue,
    TempoMap,
    TempoPoint,
    note_value,
    read_tempo_map,
)
from mixbridge.cli import app
from mixbridge.exporters.reaper import read
from mixbridge.exporters.session import build_session

from .exports import export_reaper
from .mixes import assert_nulls, reference_render, write_stems
from .rpp_rebuild import Tree, read_project, render_project

RATE_HZ = 44100


def meta(tick: int, kind: str, **values: object) -> tuple[int, mido.MetaMessage]:
    return tick, mido.MetaMessage(kind, **values)


def tempo_us(bpm: float) -> int:
    return round(60e6 / bpm)


def tempo(tick: int, bpm: float) -> tuple[int, mido.MetaMessage]:
    return meta(tick, "set_tempo", tempo=tempo_us(bpm))


def signature(tick: int, numerator: int, denominator: int) -> tuple[int, mido.MetaMessage]:
    return meta(tick, "time_signature", numerator=numerator, denominator=denominator)


def track_of(events: Sequence[tuple[int, mido.MetaMessage]]) -> mido.MidiTrack:
    track, before = mido.MidiTrack(), 0
    for tick, message in sorted(events, key=lambda e: e[0]):
        track.append(message.copy(time=tick - before))
        before = tick
    return track


def write(
    path: Path, *tracks: Sequence[tuple[int, mido.MetaMessage]], division: int = 480, kind: int = 1, charset: str = ""
) -> Path:
    midi = mido.MidiFile(type=kind, ticks_per_beat=division, charset=charset or "latin1")
    midi.tracks.extend(track_of(events) for events in tracks)
    midi.save(path)
    return path


def change(time_s: float, bpm: float, numerator: int = 4, denominator: int = 4, *, new_bar: bool = False) -> TempoPoint:
    return TempoPoint(time_s=time_s, bpm=bpm, numerator=numerator, denominator=denominator, new_bar=new_bar)


# ---------------------------------------------------------------------------------- reading


@st.composite
def songs(draw: st.DrawFn) -> tuple[int, int, dict[int, int], dict[int, tuple[int, int]], list[tuple[int, str]]]:
    """Division, type, tempi (µs) and time signatures by tick, and markers."""
    ticks = st.integers(0, 200_000)
    names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=12)
    return (
        draw(st.integers(24, 32767)),
        draw(st.sampled_from([0, 1])),
        draw(st.dictionaries(ticks, st.integers(62_500, 16_777_215), max_size=12)),
        draw(st.dictionaries(ticks, st.tuples(st.integers(1, 32), st.sampled_from(DENOMINATORS)), max_size=6)),
        draw(st.lists(st.tuples(ticks, names), max_size=6)),
    )


@settings(max_examples=60, deadline=None)
@given(songs())
def test_what_was_written_is_read_at_its_times(tmp_path_factory: pytest.TempPathFactory, song: tuple) -> None:
    division, kind, tempi, signatures, markers = song
    changes = [meta(tick, "set_tempo", tempo=us) for tick, us in tempi.items()]
    bars = [signature(tick, *pair) for tick, pair in signatures.items()]
    named = [meta(tick, "marker", text=name) for tick, name in markers]
    tracks = [[*changes, *bars, *named]] if kind == 0 else [changes, [*bars, *named]]
    path = write(tmp_path_factory.mktemp("midi") / "song.mid", *tracks, division=division, kind=kind, charset="utf-8")
    found = read_tempo_map(path)

    def at(tick: int) -> Fraction:
        """Seconds, added up from tempo to tempo."""
        total, before, us = Fraction(0), 0, 500_000
        for change_tick in sorted(t for t in tempi if t < tick):
            total += Fraction((change_tick - before) * us, division * 10**6)
            before, us = change_tick, tempi[change_tick]
        return total + Fraction((tick - before) * us, division * 10**6)

    def held(values: dict, tick: int, otherwise: object) -> object:
        past = [t for t in values if t <= tick]
        return values[max(past)] if past else otherwise

    times = [p.time_s for p in found.points]
    for tick in {0, *tempi, *signatures}:
        # Just behind the change, where rounding cannot hide it, and a microsecond is the whole tolerance.
        point = found.tempo_at(float(at(tick)) + 1e-6)
        later = [t for t in {*tempi, *signatures} if t > tick]
        if later and at(min(later)) - at(tick) < 2e-6:
            continue
        assert point.bpm == pytest.approx(60e6 / int(str(held(tempi, tick, 500_000))), rel=1e-12)
        assert point.signature == held(signatures, tick, (4, 4))
    known = [0.0, *(float(at(tick)) for tick in {*tempi, *signatures})]
    assert all(min(abs(time_s - t) for t in known) < 1e-6 for time_s in times)
    wanted = sorted((float(at(tick)), name) for tick, name in markers)
    assert [m.time_s for m in found.markers] == pytest.approx([time_s for time_s, _ in wanted], abs=1e-6)
    assert sorted(m.name for m in found.markers) == sorted(name for _, name in wanted)


def test_tempo_changes_between_beats_and_tracks_are_joined(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mid",
        [tempo(0, 120.0), tempo(600, 60.0)],
        [signature(0, 3, 4), signature(1440, 6, 8)],
        [meta(600, "cue_marker", text="Hit"), (0, mido.Message("note_on", note=60)), meta(1440, "lyrics", text="la")],
    )
    assert read_tempo_map(path) == TempoMap(
        points=(
            change(0.0, 120.0, 3, 4, new_bar=True),
            change(0.625, 60.0, 3, 4),
            change(2.375, 60.0, 6, 8, new_bar=True),
        ),
        markers=(Marker(time_s=0.625, name="Hit"),),
    )


def test_a_file_without_a_tempo_has_that_of_the_format(tmp_path: Path) -> None:
    assert read_tempo_map(write(tmp_path / "a.mid", [])) == TempoMap(points=(DEFAULT_POINT,))
    assert read_tempo_map(write(tmp_path / "b.mid", [tempo(480, 96.0)])).points == (DEFAULT_POINT, change(0.5, 96.0))


def test_what_says_nothing_new_is_no_point(tmp_path: Path) -> None:
    same = [tempo(480 * n, 120.0) for n in range(9)]
    bars = [signature(1920 * n, 4, 4) for n in range(5)]
    assert read_tempo_map(write(tmp_path / "a.mid", same, bars)).points == (DEFAULT_POINT,)
    # The same signature inside a bar begins another bar.
    assert read_tempo_map(write(tmp_path / "b.mid", [signature(960, 4, 4)])).points == (
        DEFAULT_POINT,
        change(1.0, 120.0, new_bar=True),
    )


@pytest.mark.parametrize(
    ("frames", "ticks", "rate"), [(24, 100, 24.0), (25, 40, 25.0), (29, 80, 30000 / 1001), (30, 4, 30.0)]
)
def test_smpte_time_passes_whatever_the_tempo(tmp_path: Path, frames: int, ticks: int, rate: float) -> None:
    division = (-frames << 8) | ticks
    path = tmp_path / "smpte.mid"
    events = [tempo(0, 100.0), tempo(50_000, 50.0), meta(100_000, "marker", text="End")]
    path.write_bytes(smpte_bytes(events, division))
    found = read_tempo_map(path)
    assert [p.bpm for p in found.points] == [100.0, 50.0]
    assert found.points[1].time_s == pytest.approx(50_000 / (rate * ticks), abs=1e-9)
    assert found.markers[0].time_s == pytest.approx(100_000 / (rate * ticks), abs=1e-9)


def smpte_bytes(events: Sequence[tuple[int, mido.MetaMessage]], division: int) -> bytes:
    """A file whose division mido itself cannot count with."""
    body = b""
    before = 0
    for tick, message in events:
        body += variable(tick - before) + bytes(message.bytes())
        before = tick
    body += b"\x00\xff\x2f\x00"
    head = b"MThd" + (6).to_bytes(4, "big") + (1).to_bytes(2, "big") * 2 + division.to_bytes(2, "big", signed=True)
    return head + b"MTrk" + len(body).to_bytes(4, "big") + body


def variable(value: int) -> bytes:
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("Strophe Ä".encode(), "Strophe Ä"),
        ("Refrain é".encode("cp1252"), "Refrain é"),
        ("Мост".encode("utf-16"), "Мост"),
        ("\ufeffSolo".encode(), "Solo"),
        (b"two\r\nlines\x00", "two lines"),
        (b"\x81\x8d", "\x81\x8d"),
        (b"", ""),
    ],
)
def test_names_are_read_in_their_encoding(tmp_path: Path, data: bytes, name: str) -> None:
    path = write(tmp_path / "a.mid", [meta(0, "marker", text=data.decode("latin-1"))])
    assert read_tempo_map(path).markers[0].name == name


def damaged(path: Path) -> Path:
    data = write(path, [tempo(0, 100.0)]).read_bytes()
    path.write_bytes(data[:-6])
    return path


def of_text(path: Path) -> Path:
    path.write_text("tempo: 120")
    return path


def key_signature(path: Path) -> Path:
    data = write(path, [meta(0, "key_signature", key="C")]).read_bytes()
    path.write_bytes(data.replace(b"\xff\x59\x02\x00\x00", b"\xff\x59\x02\x63\x00"))
    return path


def no_bytes(path: Path) -> Path:
    path.touch()
    return path


def no_division(path: Path) -> Path:
    path.write_bytes(smpte_bytes([], 0))
    return path


def odd_frames(path: Path) -> Path:
    path.write_bytes(smpte_bytes([], (-26 << 8) | 10))
    return path


def many_events(path: Path) -> Path:
    return write(path, [tempo(n, 100.0 + n % 2) for n in range(tempo_module.MAX_EVENTS + 1)])


BROKEN: list[tuple[Callable[[Path], Path], str]] = [
    (lambda path: path, "check the path"),
    (lambda path: path.parent, "check the path"),
    (no_bytes, "too early"),
    (damaged, "too early"),
    (of_text, "export the tempo track"),
    (key_signature, "export the tempo track"),
    (no_division, "no ticks"),
    (odd_frames, "26 frames"),
    (many_events, "save the tempo track anew"),
    (lambda path: write(path, [], kind=2), "type 0 or 1"),
    (lambda path: write(path, [meta(0, "set_tempo", tempo=0)]), "lasts 0 s"),
    (lambda path: write(path, [meta(0, "set_tempo", tempo=100)]), "bpm"),
    (lambda path: write(path, [signature(0, 4, 128)]), "denominator"),
]


@pytest.mark.parametrize(("make", "message"), BROKEN)
def test_what_is_no_tempo_map_is_refused_in_one_line(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    path = make(tmp_path / "song.mid")
    with pytest.raises(TempoMapError) as caught:
        read_tempo_map(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempo_module, "MAX_FILE_BYTES", 10)
    with pytest.raises(TempoMapError, match="larger"):
        read_tempo_map(write(tmp_path / "song.mid", [tempo(0, 100.0)]))


def test_damaged_files_are_read_or_refused_but_never_crash(tmp_path: Path) -> None:
    events = [tempo(0, 100.0), signature(0, 3, 4), tempo(700, 90.0), meta(900, "marker", text="A")]
    events += [meta(5, "key_signature", key="F#m"), meta(9, "smpte_offset"), (20, mido.Message("sysex", data=[1, 2]))]
    path = write(tmp_path / "song.mid", events, [(0, mido.Message("note_on", note=60))])
    whole = path.read_bytes()
    rng = random.Random(4)
    refused = 0
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(bytes(data[: rng.randint(0, len(data))]) if rng.random() < 0.3 else bytes(data))
        try:
            read_tempo_map(path)
        except MixbridgeError:
            refused += 1
    assert 0 < refused < 500


# ---------------------------------------------------------------------------------- the map


def test_a_map_out_of_order_is_refused() -> None:
    for points in [
        (),
        (change(1.0, 120.0, new_bar=True),),
        (change(0.0, 120.0),),
        (DEFAULT_POINT, change(0.0, 100.0)),
        (DEFAULT_POINT, change(1.0, 100.0, 3, 4)),
    ]:
        with pytest.raises(ValueError, match="points"):
            TempoMap(points=points)
    with pytest.raises(ValueError, match="markers"):
        TempoMap(markers=(Marker(time_s=2.0), Marker(time_s=1.0)))


def test_a_tempo_holds_up_to_the_next() -> None:
    song = TempoMap(points=(DEFAULT_POINT, change(2.0, 90.0), change(4.0, 60.0)))
    assert [song.tempo_at(t).bpm for t in (-1.0, 0.0, 1.999, 2.0, 3.9, 4.0, 1e9)] == [120, 120, 120, 90, 90, 60, 60]


def test_the_tempo_of_a_song_is_the_one_most_of_it_has() -> None:
    song = TempoMap(points=(DEFAULT_POINT, change(2.0, 90.0), change(10.0, 60.0)))
    assert [song.prevailing_bpm(s) for s in (0.0, 1.0, 9.0, 12.0, 60.0)] == [120.0, 120.0, 90.0, 90.0, 60.0]
    drift = TempoMap(points=(change(0.0, 100.0, new_bar=True), change(3.0, 103.0), change(6.0, 101.0)))
    assert drift.prevailing_bpm(9.0) == 101.0


@st.composite
def maps(draw: st.DrawFn) -> TempoMap:
    """Changes of tempo and time signature anywhere, on bar lines or not."""
    first = change(0.0, draw(st.floats(40, 240)), draw(st.integers(2, 7)), draw(st.sampled_from([4, 8])), new_bar=True)
    points = [first]
    for _ in range(draw(st.integers(0, 5))):
        last = points[-1]
        span_s = draw(st.floats(0.2, 20.0))
        bpm = draw(st.floats(40, 240))
        if draw(st.booleans()):
            points.append(last.model_copy(update={"time_s": last.time_s + span_s, "bpm": bpm, "new_bar": False}))
        else:
            numerator, denominator = draw(st.integers(2, 7)), draw(st.sampled_from([4, 8]))
            points.append(change(last.time_s + span_s, bpm, numerator, denominator, new_bar=True))
    times = draw(st.lists(st.floats(0.0, 60.0), max_size=4))
    return TempoMap(points=tuple(points), markers=tuple(Marker(time_s=t) for t in sorted(times)))


def bar_lines(song: TempoMap, end_s: float) -> list[float]:
    """Times of all bar lines before an end, by walking through the song in quarter notes."""
    lines, left = [], math.inf
    for point, following in itertools.pairwise([*song.points, change(end_s + 100.0, 60.0)]):
        at = point.time_s
        if point.new_bar:
            lines.append(at)
            left = point.bar
        while at + left * 60.0 / point.bpm < following.time_s - 1e-9:
            at += left * 60.0 / point.bpm
            lines.append(at)
            left = point.bar
        left -= (following.time_s - at) * point.bpm / 60.0
    return [t for t in lines if t < end_s]


@settings(max_examples=100, deadline=None)
@given(maps(), st.floats(0.0, 80.0))
def test_an_excerpt_has_the_tempo_and_the_bars_of_the_song(song: TempoMap, start_s: float) -> None:
    part = song.shifted(start_s)
    for time_s in [0.0, 0.3, 1.0, 7.7, 33.3]:
        here, there = part.tempo_at(time_s), song.tempo_at(start_s + time_s)
        near = min((abs(p.time_s - start_s - time_s) for p in song.points), default=1.0) < 1e-5
        assert near or (here.bpm, here.signature) == (there.bpm, there.signature)
    assert [m.time_s for m in part.markers] == pytest.approx(
        [m.time_s - start_s for m in song.markers if m.time_s >= start_s - 1e-6], abs=1e-5
    )
    end_s = 60.0
    wanted = [t - start_s for t in bar_lines(song, start_s + end_s) if t > start_s + 0.01]
    found = [t for t in bar_lines(part, end_s) if t > 0.01]
    for one, other in ((wanted, found), (found, wanted)):
        for time_s in one:
            edge = time_s > end_s - 0.05 or time_s < 0.05
            assert edge or min((abs(time_s - t) for t in other), default=1.0) < 0.01


def test_an_excerpt_inside_a_bar_begins_with_its_rest() -> None:
    song = TempoMap(points=(DEFAULT_POINT, change(9.0, 60.0)), markers=(Marker(time_s=8.5, name="B"),))
    part = song.shifted(8.5)
    # A beat of the bar is over: half a second and two slow beats are left of it.
    assert part.points == (DEFAULT_POINT, change(0.5, 60.0), change(2.5, 60.0, new_bar=True))
    assert part.cut_bars() == (False, False, True)
    assert part.markers == (Marker(time_s=0.0, name="B"),)
    assert song.shifted(8.0).points == (DEFAULT_POINT, change(1.0, 60.0))
    assert song.shifted(0.0) == song
    with pytest.raises(ParameterError):
        song.shifted(-1.0)


# ------------------------------------------------------------------------------ note values


@given(st.sampled_from(DIVISIONS), st.sampled_from(["straight", "dotted", "triplet"]), st.floats(30, 300))
def test_a_note_value_is_recognised_and_what_is_off_is_not(division: int, kind: str, bpm: float) -> None:
    note = NoteValue(division, kind)  # type: ignore[arg-type]
    length_ms = note.time_ms(bpm)
    for factor in (0.9901, 1.0, 1.0099):
        assert note_value(length_ms * factor, bpm=bpm) == note
    for factor in (0.985, 1.015):
        assert note_value(length_ms * factor, bpm=bpm) is None
    assert note_value(length_ms * 1.015, bpm=bpm, tolerance=0.02) == note


@pytest.mark.parametrize(
    ("time_ms", "bpm", "text"),
    [
        (500.0, 120.0, "1/4"), (375.0, 120.0, "1/8 dotted"), (1000.0 / 3.0, 120.0, "1/4 triplet"),
        (125.0, 120.0, "1/16"), (2000.0, 120.0, "1/1"), (3000.0, 120.0, "1/1 dotted"), (62.5, 120.0, "1/32"),
        (351.5625, 128.0, "1/8 dotted"), (430.0, 120.0, "None"), (0.0, 120.0, "None"), (20.0, 120.0, "None"),
    ],
)  # fmt: skip
def test_note_values_have_the_names_of_a_delay_unit(time_ms: float, bpm: float, text: str) -> None:
    assert str(note_value(time_ms, bpm=bpm)) == text


def delay(node: str = "d", *, mix: float = 1.0, **values: float) -> Processor:
    return Processor(type="delay", id=node, parameters=SPECS["delay"].defaults() | values, mix=mix)


def graph_of(*chain: Processor, seconds: float = 0.25, start_s: float = 0.0, tempo: TempoMap | None = None) -> MixGraph:
    ids = ["a", *(p.id for p in chain), "master"]
    return MixGraph(
        name="song",
        sample_rate_hz=RATE_HZ,
        start_frame=round(start_s * RATE_HZ),
        frames=round(seconds * RATE_HZ),
        tempo=tempo,
        nodes=[Stem(id="a", name="a", file="a.wav"), Master(), *chain],
        edges=[Edge(source=one, target=two) for one, two in itertools.pairwise(ids)],
    )


HEARD = {"tap1_level_db": -6.0, "tap1_time_ms": 373.0}


def test_delay_times_are_named_where_the_tempo_is_known() -> None:
    echo = delay(**HEARD, tap2_level_db=-9.0, tap2_time_ms=430.0)
    assert describe_processor(echo) == "Delay: 2 taps: 373 ms at -6 dB; 430 ms at -9 dB"
    assert describe_processor(echo, bpm=120.0) == "Delay: 2 taps: 373 ms (1/8 dotted) at -6 dB; 430 ms at -9 dB"
    (track, _) = summarise(graph_of(echo, tempo=TempoMap()))
    assert track.texts == ("Delay: 2 taps: 373 ms (1/8 dotted) at -6 dB; 430 ms at -9 dB",)


def test_a_tempo_map_is_described() -> None:
    assert describe_tempo(TempoMap(), bpm=120.0) == "120 bpm, 4/4"
    song = TempoMap(points=(DEFAULT_POINT, change(2.0, 97.456, 3, 4, new_bar=True)))
    assert describe_tempo(song, bpm=97.456) == "about 97.46 bpm, 4/4, 3/4, 1 change"
    assert describe_tempo(TempoMap().shifted(0.5), bpm=120.0) == "120 bpm, 4/4"


# --------------------------------------------------------------------------------- snapping


def times_of(graph: MixGraph, node: str = "d") -> tuple[float, float]:
    found = next(p for p in graph.processors if p.id == node).parameters
    return found["tap1_time_ms"], found["tap2_time_ms"]


def test_taps_near_a_note_value_become_it() -> None:
    graph = graph_of(delay(**HEARD, tap2_level_db=-9.0, tap2_time_ms=430.0))
    assert times_of(snap(graph, bpm=120.0)) == (375.0, 430.0)
    assert snap(graph) == graph


def test_taps_that_are_not_heard_stay() -> None:
    silent = graph_of(delay(tap1_time_ms=373.0, tap2_level_db=-9.0, tap2_time_ms=252.0))
    assert times_of(snap(silent, bpm=120.0)) == (373.0, 250.0)
    dry = graph_of(delay(**HEARD, mix=0.0))
    assert snap(dry, bpm=120.0) == dry


def test_a_plugin_that_cannot_be_set_to_the_note_value_keeps_its_time() -> None:
    graph = graph_of(delay(**HEARD))
    limits = {"delay": {"tap1_time_ms": (1.0, 374.0)}}
    assert times_of(snap(graph, bpm=120.0, limits=limits))[0] == 373.0


def test_an_analysis_rounds_at_the_tempo_of_its_excerpt() -> None:
    song = TempoMap(points=(DEFAULT_POINT, change(10.0, 90.0)))
    excerpt = cast(Multitrack, SimpleNamespace(sample_rate_hz=RATE_HZ, start_frame=8 * RATE_HZ, frames=30 * RATE_HZ))
    rounded = AnalyzeSettings(search=SearchSettings(snap=True))
    assert _in_tempo(rounded, song, excerpt).search.bpm == 90.0
    assert _in_tempo(rounded, None, excerpt).search.bpm is None
    # A run that rounds nothing can be resumed with any map.
    assert _in_tempo(AnalyzeSettings(), song, excerpt) == AnalyzeSettings()


def test_a_tap_moves_only_as_far_as_the_match_allows() -> None:
    graph = graph_of(delay(**HEARD, tap2_level_db=-9.0, tap2_time_ms=251.0))

    def loss_of(changed: MixGraph) -> float:
        first, second = times_of(changed)
        return 0.5 * (first != 373.0) + 0.001 * (second != 251.0)

    assert times_of(snap(graph, loss_of=loss_of, ceiling=0.01, bpm=120.0)) == (373.0, 250.0)
    assert times_of(snap(graph, loss_of=loss_of, ceiling=1.0, bpm=120.0)) == (375.0, 250.0)


# ------------------------------------------------------------------------------- graph.json


def test_the_map_is_kept_by_files_and_by_changes_of_the_graph() -> None:
    song = TempoMap(
        points=(DEFAULT_POINT, change(1.0, 90.5, 6, 8, new_bar=True)), markers=(Marker(time_s=0.5, name="Ä"),)
    )
    graph = graph_of(delay(**HEARD), tempo=song)
    again = MixGraph.from_json(graph.to_json())
    assert again == graph
    assert again.tempo == song
    assert again.to_json() == graph.to_json()
    assert graph.without({"d"}).tempo == song


def test_a_graph_without_a_map_is_written_as_ever() -> None:
    graph = graph_of(delay(**HEARD))
    assert "tempo" not in json.loads(graph.to_json())
    assert MixGraph.from_json(graph.to_json()) == graph
    assert graph.bpm is None


def test_a_bad_map_in_a_file_is_named() -> None:
    data = json.loads(graph_of(tempo=TempoMap()).to_json())
    data["tempo"]["points"][0]["bpm"] = 0.0
    with pytest.raises(GraphError, match=r"tempo\.points\.0\.bpm"):
        MixGraph.from_json(json.dumps(data))


def test_a_map_counts_from_the_mix_and_the_graph_from_the_excerpt() -> None:
    song = TempoMap(points=(DEFAULT_POINT, change(10.0, 90.0)))
    graph = graph_of(seconds=30.0, start_s=8.0).with_tempo(song)
    assert graph.tempo is not None
    assert graph.tempo.points == (DEFAULT_POINT, change(2.0, 90.0))
    assert graph.bpm == 90.0
    assert build_session(graph).tempo == graph.tempo


# ----------------------------------------------------------------------------------- REAPER


def exported(graph: MixGraph, root: Path) -> Path:
    write_stems(graph, root / "stems")
    return export_reaper(graph, stems_dir=root / "stems", folder=root / "out")


def lines_of(block: Tree, keyword: str) -> list[list[object]]:
    return [c[1:] for c in block.children if isinstance(c, list) and c[0] == keyword]


SONG = TempoMap(
    points=(
        change(0.0, 128.5, 3, 4, new_bar=True),
        change(0.0625, 90.0, 3, 4),
        change(0.125, 90.0, 6, 8, new_bar=True),
        change(9.0, 60.0, 6, 8),
    ),
    markers=(Marker(time_s=0.0, name="In \"tro\" 'a'"), Marker(time_s=0.2, name=""), Marker(time_s=8.0, name="Late")),
)


def test_a_project_has_the_tempo_bars_and_markers_of_the_map(tmp_path: Path) -> None:
    project = read_project(exported(graph_of(delay(**HEARD), tempo=SONG), tmp_path))
    assert project.numbers("TEMPO") == [128.5, 3, 4]
    assert project.numbers("TIMELOCKMODE") == [0]
    assert project.numbers("TEMPOENVLOCKMODE") == [0]
    (envelope,) = project.blocks("TEMPOENVEX")
    assert [float(str(v)) for v in envelope.line("ACT")] == [1, -1]
    # What lies behind the end is left out; the second signature cuts a bar.
    assert [[float(str(v)) for v in point] for point in lines_of(envelope, "PT")] == [
        [0.0, 128.5, 1, 4 * 65536 + 3, 0, 1],
        [0.0625, 90.0, 1],
        [0.125, 90.0, 1, 8 * 65536 + 6, 0, 5],
    ]
    markers = lines_of(project, "MARKER")
    assert [[int(str(m[0])), float(str(m[1])), m[2]] for m in markers] == [
        [1, 0.0, "In \"tro\" 'a'"],
        [2, 0.2, ""],
    ]
    assert [[str(v) for v in m[3:]] for m in markers] == [["0", "0", "1", "R"]] * 2


def test_a_song_of_one_tempo_needs_no_envelope(tmp_path: Path) -> None:
    one = TempoMap(points=(change(0.0, 97.5, 7, 8, new_bar=True),))
    project = read_project(exported(graph_of(tempo=one), tmp_path))
    assert project.numbers("TEMPO") == [97.5, 7, 8]
    assert not project.blocks("TEMPOENVEX")


def test_without_a_map_a_project_says_nothing_of_tempo(tmp_path: Path) -> None:
    text = exported(graph_of(delay(**HEARD)), tmp_path).read_text(encoding="utf-8")
    assert "  TEMPO 120 4 4\n" in text
    assert not any(word in text for word in ("TEMPOENV", "MARKER", "TIMELOCKMODE"))


def test_a_tempo_map_changes_no_sound_and_is_passed_over_by_our_reader(tmp_path: Path) -> None:
    graph = graph_of(delay(**HEARD), tempo=SONG)
    path = exported(graph, tmp_path)
    assert_nulls(render_project(path), reference_render(graph, tmp_path / "stems"))
    plain = exported(graph_of(delay(**HEARD)), tmp_path / "plain")
    assert read.read_project(path) == read.read_project(plain)


# ------------------------------------------------------------------------------ the commands


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def found(tmp_path: Path) -> tuple[Path, Path]:
    """A graph that was found over an excerpt, and its stems."""
    graph = graph_of(delay(**HEARD), start_s=2.0)
    write_stems(graph, tmp_path / "stems")
    graph.save(tmp_path / "graph.json")
    return tmp_path / "graph.json", tmp_path / "stems"


def test_export_writes_the_map_from_where_the_excerpt_begins(tmp_path: Path, found: tuple[Path, Path]) -> None:
    midi = write(tmp_path / "song.mid", [tempo(0, 120.0), tempo(1920, 90.0), meta(1968, "marker", text="Verse")])
    code, out, errors = run("export", *found, "--export", "reaper", "--tempo-map", midi, "--json")
    assert code == 0, errors
    project = read_project(Path(json.loads(out)["reaper"]))
    assert project.numbers("TEMPO")[0] == pytest.approx(90.0, abs=1e-3)
    (marker,) = lines_of(project, "MARKER")
    assert float(str(marker[1])) == pytest.approx(48 / 480 * 60 / 90, abs=1e-6)


def test_a_graph_that_has_a_map_is_exported_with_it(found: tuple[Path, Path]) -> None:
    graph = MixGraph.load(found[0]).with_tempo(TempoMap(points=(change(0.0, 77.0, new_bar=True),)))
    graph.save(found[0])
    code, out, errors = run("export", *found, "--export", "reaper", "--json")
    assert code == 0, errors
    assert read_project(Path(json.loads(out)["reaper"])).numbers("TEMPO") == [77, 4, 4]


def test_a_broken_file_costs_one_line_and_leaves_nothing(tmp_path: Path, found: tuple[Path, Path]) -> None:
    midi = damaged(tmp_path / "song.mid")
    before = sorted(tmp_path.rglob("*"))
    for arguments in (
        ["export", *found, "--export", "reaper", "--tempo-map", midi],
        ["analyze", found[1], found[1] / "a.wav", "--out", tmp_path / "out", "--tempo-map", midi],
    ):
        code, out, errors = run(*arguments)
        assert (code, out) == (EXIT_USER_ERROR, ""), errors
        (line,) = errors.strip().splitlines()
        assert str(midi) in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_map_for_a_session_without_a_tempo_is_refused(tmp_path: Path, found: tuple[Path, Path]) -> None:
    midi = write(tmp_path / "song.mid", [])
    code, _, errors = run("export", *found, "--export", "pedalboard", "--plugins", "pedalboard", "--tempo-map", midi)
    assert code == EXIT_USER_ERROR
    assert "--export reaper" in errors
