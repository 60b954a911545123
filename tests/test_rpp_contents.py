"""What any REAPER project holds: real ones counted a second way, one with everything in it, damaged ones, our own."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import rpp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mixbridge.bridge.errors import (
    AudioFileError,
    MixbridgeError,
    Obstacle,
    SessionFileError,
    VerifyError,
    combined,
)
from mixbridge.bridge.graph import MixGraph
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.verify.locate import highest_fader_db
from mixbridge.bridge.verify.realise import render_chain
from mixbridge.bridge.verify.results import Verification
from mixbridge.cli import app
from mixbridge.exporters.chain import Insert, PluginInfo
from mixbridge.exporters.reaper.contents import (
    Marker,
    Place,
    ProjectContents,
    Take,
    TempoPoint,
    read_contents,
)
from mixbridge.exporters.reaper.guids import node_guid
from mixbridge.exporters.reaper.read import read_project
from mixbridge.exporters.reaper.tree import leading_number
from mixbridge.exporters.session import build_session

from .exports import export_reaper
from .mixes import routed, write_stems

EXAMPLES = Path(__file__).parents[2] / "shared" / "examples" / "rpp"

# ------------------------------------------------------------------------------ real projects

#: Tracks, items, sends (those to hardware included), envelopes, plugins, markers.
COUNTS = {
    "helgobox_issue-15-melda-vst3.rpp": (2, 0, 1, 2, 2, 0),
    "helgobox_issue-459-envelopes.rpp": (2, 0, 1, 5, 1, 0),
    "helgobox_issue-838-masterfx.RPP": (3, 0, 2, 2, 1, 0),
    "helgobox_issue-97-reagate.rpp": (2, 0, 1, 2, 2, 0),
    "iplug2_IPlugSideChain.RPP": (2, 0, 2, 2, 2, 0),
    "perlence_vst.RPP": (10, 3, 4, 3, 3, 2),
    "rppp_audio-file-with-take-fx.RPP": (1, 1, 1, 2, 1, 0),
    "rppp_send-receive.RPP": (2, 0, 2, 3, 0, 0),
    "rppp_tricky-strings.RPP": (17, 3, 1, 2, 0, 0),
    "rppp_tstereo-delay-vst3.RPP": (1, 0, 1, 2, 1, 0),
    "rppp_two-vst3s.RPP": (1, 0, 1, 2, 2, 0),
    "rppp_vst2-reaplugs.RPP": (2, 0, 1, 2, 3, 0),
    "rppp_vst3-track-and-take-fx.RPP": (1, 1, 1, 2, 2, 0),
    "ultraschall_Default_Track_Chain.RfxChain": (0, 0, 0, 0, 5, 0),
    "ultraschall_StudioLink.RPP": (2, 0, 3, 2, 12, 0),
}


def example(name: str) -> Path:
    path = EXAMPLES / name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path


def counts_of(contents: ProjectContents) -> tuple[int, ...]:
    tables = (contents.tracks, contents.items, contents.sends, contents.envelopes, contents.plugins, contents.markers)
    return tuple(len(table) for table in tables)


def lines_of(path: Path) -> list[str]:
    return [line.strip() for line in path.read_bytes().decode("utf-8-sig", "surrogateescape").split("\n")]


def counted_by_lines(path: Path) -> tuple[int, ...]:
    """What the keywords at the beginnings of lines say; a region's two lines are one marker."""
    lines = lines_of(path)

    def count(pattern: str) -> int:
        return sum(re.match(pattern, line) is not None for line in lines)

    markers, region_lines = count(r"MARKER "), count(r'MARKER \d+ [\d.]+ (\w+|"[^"]*") 1 ')
    plugins = r"<(VST|AU|JS|CLAP|LV2|DX|VIDEO_EFFECT|CONTAINER)\s"
    return (
        count(r"<TRACK\b"), count(r"<ITEM\b"), count(r"(AUXRECV|HWOUT|MASTERHWOUT) [\d]"), count(r"<[A-Z]+ENV(EX|2)?$"),
        count(plugins), markers - region_lines // 2,
    )  # fmt: skip


def counted_by_parser(path: Path) -> tuple[int, ...]:
    """Tracks, items, envelopes and plugins as another parser has them."""
    found: Counter[str] = Counter()

    def visit(element: rpp.Element) -> None:
        for child in element.children:
            if isinstance(child, rpp.Element):
                found[child.tag] += 1
                visit(child)

    # It takes one block only, and no lines of blanks.
    visit(rpp.loads("<ALL\n" + "\n".join(line for line in lines_of(path) if line) + "\n>"))
    envelopes = sum(count for tag, count in found.items() if re.fullmatch(r"[A-Z]+ENV(EX|2)?", tag))
    return found["TRACK"], found["ITEM"], envelopes, sum(found[tag] for tag in ("VST", "AU", "JS"))


@pytest.mark.parametrize("name", COUNTS)
def test_real_projects_open_with_all_they_hold(name: str) -> None:
    path = example(name)
    contents = read_contents(path)
    assert counts_of(contents) == COUNTS[name] == counted_by_lines(path)
    tracks, items, _, envelopes, plugins, _ = COUNTS[name]
    assert (tracks, items, envelopes, plugins) == counted_by_parser(path)
    assert sum(block.count for block in contents.blocks) == sum(line.startswith("<") for line in lines_of(path))
    assert contents.damaged_lines == ()
    assert contents.kind == ("chain" if path.suffix == ".RfxChain" else "project")


def test_no_example_is_left_out() -> None:
    if not EXAMPLES.is_dir():
        pytest.skip(f"needs {EXAMPLES}")
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix != ".md"} == set(COUNTS)


def test_details_of_real_projects() -> None:
    names = [track.name for track in read_contents(example("rppp_tricky-strings.RPP")).tracks]
    assert {'"', "'", "`", "``", "'''", '"""', "<>", 'hel"lo'} <= set(names)
    assert any({'"', "'", "`"} <= set(name) for name in names)
    send, hardware = read_contents(example("iplug2_IPlugSideChain.RPP")).sends
    assert (send.source, send.target, send.mode, send.is_hardware) == (1, 0, "pre-fader", False)
    assert (hardware.source, hardware.target, hardware.output, hardware.gain) == (None, None, 0, 1.0)
    envelopes = read_contents(example("helgobox_issue-459-envelopes.rpp")).envelopes
    points = {e.kind: e.points for e in envelopes if e.where == "track"}
    text = example("helgobox_issue-459-envelopes.rpp").read_text("utf-8")
    assert points.keys() == {"VOLENV2", "PANENV2", "WIDTHENV2"} and sum(points.values()) == text.count("PT ")
    plugins = read_contents(example("rppp_vst3-track-and-take-fx.RPP")).plugins
    assert [(p.kind, p.place.kind) for p in plugins] == [("VST3", "track"), ("VST3", "take")]
    assert all(re.fullmatch(r"[0-9A-F]{32}", p.class_id) and p.number for p in plugins)
    assert [m.end_s for m in read_contents(example("perlence_vst.RPP")).markers] == [None, 6.0]
    unknown = {b.keyword for b in read_contents(example("ultraschall_StudioLink.RPP")).unknown_blocks}
    assert unknown == {"SWSAUTOCOLOR", "GUI_STATEMANAGER", "ULTRASCHALL_MAGICROUTING"}


# ------------------------------------------------------------------------------ one with everything in it

EVERYTHING = """<REAPER_PROJECT 0.1 "7.22/win64" 1700000000 0
  SAMPLERATE 48000 1 0
  TEMPO 90 4 4
  MASTERHWOUT 0 0 0.5 -0.25 1 0 0 -1
  <MASTERFXLIST
    BYPASS 0 1 0
    <AU "AUi: Thing (Maker)" "Maker: Thing" "mine" 1635083896 1415869293 1415930728
    >
    <PARMENV 5:_1__Feedback 0 2 1 "1: Feedback"
      ACT 0 -1
      PT 0 1 0
    >
  >
  <FXCHAIN_REC
    BYPASS 0 0 0
    <LV2 "LV2: Room (Mono)" urn:maker:room ""
    >
  >
  <MASTERPANENV2
    ACT 1 -1
    PT 0 0.5 0
  >
  <TEMPOENVEX
    ACT 1 -1
    PT 0 90 1 262148 0 1
    PT 8.5 120 0
  >
  <POOLEDENV
    ID 1
    PPT 0 0.5 0
    PPT 1 1 0
  >
  MARKER 1 2 "" 0 0 1 R
  MARKER 1 4 'the "B" part' 1 0 1 R
  MARKER 1 6.5 "" 1 0 1 R
  MARKER 2 9 "open region" 1 0 1 R
  <TRACK {AAAAAAAA-0000-0000-0000-000000000001}
    NAME "drums & co"
    ISBUS 1 1
    MUTESOLO 1 0 0
    HWOUT 512 3 0.25 0.5 0 0 0 -1:U -1
    <HWVOLENV
      ACT 1 -1
      PT 0 1 0
    >
    <VOLENV2
      ACT 1 -1
      POOLEDENVINST 1 1.375 0.4 0 1 1 0.5 1 1
    >
    <FXCHAIN
      SHOW 0
      BYPASS 1 0 0
      <CONTAINER Container "outer" ""
        CONTAINER_CFG 2 2 2 0
        BYPASS 0 0 0
        <CONTAINER Container inner ""
          BYPASS 0 0 0
          <CLAP "CLAP: Warm (Maker)" com.maker.warm ""
            <STATE
              AAAA
            >
          >
          FXID {AAAAAAAA-0000-0000-0000-00000000000A}
        >
        FXID {AAAAAAAA-0000-0000-0000-00000000000B}
        BYPASS 0 0 0
        <JS "my folder/gain.jsfx" `it's "loud"`
          0.5 - -
        >
        <JS_SER
          AAAA
        >
      >
      PRESETNAME "outer preset"
      FXID {AAAAAAAA-0000-0000-0000-00000000000C}
      <PARMENV 3:2 0 1 0.5
        ACT 1 -1
        PT 0 1 0
        PT 1 0 0
      >
      <PROGRAMENV 12:bypass 0
        PARAMBASE 0.5
      >
      BYPASS 0 0 0
      <VIDEO_EFFECT "Video processor" "titles"
        <CODE
          |<not a block
          |> "nor an end
        >
      >
      BYPASS 0 0 0
      <NEWFORMAT "New: Thing" something
      >
    >
    <FXCHAIN_REC
      BYPASS 0 0 0
      <DX "DX: Old" {11111111-2222-3333-4444-555555555555}
      >
    >
  >
  <TRACK {AAAAAAAA-0000-0000-0000-000000000002}
    NAME `a'b"c'd`
    <NAME
      |a'b"c`d
    >
    ISBUS 2 -1
    MUTESOLO 0 1 0
    TRACKID {AAAAAAAA-0000-0000-0000-000000000022}
    AUXRECV 0 0 1.5 0.5 0 0 0 0 0 -1:U 0 -1 ''
    <AUXPANENV
      ACT 1 -1
      PT 0 1 0
    >
    AUXRECV 2 1 1 0 1 0 0 0 2 -1:U 0 -1 ''
    <AUXVOLENV
      ACT 0 -1
      PT 0 1 0
    >
    <FREEZE 0
      <FXCHAIN
        BYPASS 0 0 0
        <VST "VST: ReaEQ (Cockos)" reaeq.dll 0 "" 1919247729<56535472656571726561657100000000> ""
        >
      >
      <ITEM {AAAAAAAA-0000-0000-0000-000000000003}
        POSITION 0.5
        LENGTH 1.25
        <SOURCE WAVE
          FILE "dry.wav"
        >
      >
    >
    <ITEM
      POSITION 1,5
      LENGTH 12
      MUTE 1 0
      NAME "take one"
      <SOURCE SECTION
        MODE 2
        <SOURCE WAVE
          FILE "C:\\Audio\\kick drum.wav" 1
        >
      >
      <TAKEFX
        BYPASS 0 0 0
        <VST "VST3i: Synth (Maker)" Synth.vst3 0 "lead" 821777587{5653544E6924446B6F6E74616B740000} ""
        >
        PRESETNAME soft
      >
      <PITCHENV
        ACT 1 -1
        PT 0 12 0
      >
      TAKE NULL
      TAKE SEL
      NAME 'take "three"'
      <SOURCE RPP_PROJECT
        FILE "sub/other.rpp"
      >
      <VOLENV
        ACT 1 -1
        PT 0 1 0
      >
    >
    <ITEM
      POSITION 20
      LENGTH 2
      <NOTES
        |nothing to hear
      >
    >
  >
  <TRACK
    NAME
    ISBUS 0 0
    <SOMETHING_NEW 1 2
      <INNER
      >
      <INNER
      >
    >
  >
>
"""


@pytest.fixture
def everything(tmp_path: Path) -> ProjectContents:
    path = tmp_path / "everything.rpp"
    path.write_text(EVERYTHING, encoding="utf-8")
    return read_contents(path)


def test_tracks_of_any_name_and_depth(everything: ProjectContents) -> None:
    guid = "{AAAAAAAA-0000-0000-0000-0000000000%02X}"
    assert (everything.kind, everything.version) == ("project", "7.22/win64")
    assert (everything.sample_rate_hz, everything.tempo_bpm) == (48000.0, 90.0)
    assert [(t.name, t.guid, t.depth) for t in everything.tracks] == [
        ("drums & co", guid % 1, 0), ("a'b\"c`d", guid % 0x22, 1), ("", "", 0)
    ]  # fmt: skip
    assert [(t.is_folder, t.is_muted, t.is_solo) for t in everything.tracks] == [
        (True, True, False), (False, False, True), (False, False, False)
    ]  # fmt: skip


def test_items_with_takes_sections_and_subprojects(everything: ProjectContents) -> None:
    frozen, item, notes = everything.items
    assert (frozen.is_frozen, frozen.position_s, frozen.length_s) == (True, 0.5, 1.25)
    assert frozen.takes == (Take("", "WAVE", ("dry.wav",), is_active=True),)
    assert (item.track, item.position_s, item.length_s, item.is_muted) == (1, 1.5, 12.0, True)
    assert item.takes == (
        Take("take one", "WAVE", ("C:\\Audio\\kick drum.wav",)),
        Take(""),
        Take('take "three"', "RPP_PROJECT", ("sub/other.rpp",), is_active=True),
    )
    assert (notes.position_s, notes.takes) == (20.0, ())
    assert everything.subprojects == ("sub/other.rpp",)


def test_sends_to_tracks_and_to_hardware(everything: ProjectContents) -> None:
    assert [(s.source, s.target, s.output, s.mode, s.gain, s.pan, s.is_muted) for s in everything.sends] == [
        (0, None, 512, "pre-fader", 0.25, 0.5, False),
        (0, 1, None, "post-fader", 1.5, 0.5, False),
        (2, 1, None, "pre-effects", 1.0, 0.0, True),
        (None, None, 0, "post-fader", 0.5, -0.25, True),
    ]
    assert [s.is_hardware for s in everything.sends] == [True, False, False, True]


def test_plugins_of_every_kind_and_place(everything: ProjectContents) -> None:
    listed = [(p.kind, p.name, p.place.kind, p.place.track, p.container) for p in everything.plugins]
    assert listed == [
        ("container", "Container", "track", 0, None),
        ("container", "Container", "track", 0, 0),
        ("CLAP", "CLAP: Warm (Maker)", "track", 0, 1),
        ("JS", "my folder/gain.jsfx", "track", 0, 0),
        ("VIDEO", "Video processor", "track", 0, None),
        ("unknown", "New: Thing", "track", 0, None),
        ("DX", "DX: Old", "input", 0, None),
        ("VST2", "VST: ReaEQ (Cockos)", "track", 1, None),
        ("VST3", "VST3i: Synth (Maker)", "take", 1, None),
        ("AU", "AUi: Thing (Maker)", "master", None, None),
        ("LV2", "LV2: Room (Mono)", "monitoring", None, None),
    ]
    outer, inner, warm, gain, titles, _, old, eq, synth, thing, room = everything.plugins
    assert (outer.custom_name, outer.preset, outer.is_bypassed, inner.custom_name) == (
        "outer", "outer preset", True, "inner"
    )  # fmt: skip
    assert [p.guid[-3:] for p in (outer, inner, warm, gain)] == ["0C}", "0B}", "0A}", ""]
    assert (gain.custom_name, titles.custom_name, gain.file) == ('it\'s "loud"', "titles", "my folder/gain.jsfx")
    assert (warm.class_id, room.class_id) == ("com.maker.warm", "urn:maker:room")
    assert old.class_id == "{11111111-2222-3333-4444-555555555555}"
    assert (eq.number, eq.class_id, eq.file) == (1919247729, "56535472656571726561657100000000", "reaeq.dll")
    assert eq.place == Place("track", 1, is_frozen=True)
    assert (synth.number, synth.class_id) == (821777587, "5653544E6924446B6F6E74616B740000")
    assert (synth.custom_name, synth.preset, synth.place) == ("lead", "soft", Place("take", 1, 1, 0))
    assert (thing.class_id, thing.is_offline) == ("1635083896 1415869293 1415930728", True)
    assert [p for p in everything.plugins if p.is_instrument] == [synth, thing]


def test_envelopes_wherever_they_stand(everything: ProjectContents) -> None:
    assert [(e.kind, e.where, e.points, e.is_active) for e in everything.envelopes] == [
        ("HWVOLENV", "send", 1, True),
        ("VOLENV2", "track", 0, True),
        ("PARMENV", "plugin", 2, True),
        ("AUXPANENV", "send", 1, True),
        ("AUXVOLENV", "send", 1, False),
        ("PITCHENV", "take", 1, True),
        ("VOLENV", "take", 1, True),
        ("PARMENV", "plugin", 1, False),
        ("MASTERPANENV2", "master", 1, True),
        ("TEMPOENVEX", "tempo", 2, True),
        ("POOLEDENV", "pool", 2, True),
    ]
    hardware, volume, parameter, pan, muted, pitch, loudness, feedback, *_ = everything.envelopes
    assert [e.send for e in (hardware, pan, muted)] == [0, 1, 2] and volume.automation_items == 1
    assert (parameter.plugin, parameter.parameter) == (0, "3:2")
    assert (feedback.plugin, feedback.parameter) == (9, "5:_1__Feedback")
    assert (pitch.place, loudness.place) == (Place("take", 1, 1, 0), Place("take", 1, 1, 2))


def test_markers_tempo_and_blocks(everything: ProjectContents) -> None:
    lines = [line.strip() for line in EVERYTHING.split("\n")]
    first = next(number for number, line in enumerate(lines, start=1) if line.startswith("MARKER"))
    assert everything.markers == (
        Marker(first, 1, 2.0),
        Marker(first + 1, 1, 4.0, 'the "B" part', end_s=6.5),
        Marker(first + 3, 2, 9.0, "open region"),
    )
    assert [(p.time_s, p.bpm, p.beats, p.beat_unit, p.is_step) for p in everything.tempo_points] == [
        (0.0, 90.0, 4, 4, True), (8.5, 120.0, None, None, False)
    ]  # fmt: skip
    assert isinstance(everything.tempo_points[0], TempoPoint)
    assert {b.keyword: b.count for b in everything.unknown_blocks} == {"NEWFORMAT": 1, "SOMETHING_NEW": 1, "INNER": 2}
    assert {b.keyword: b.count for b in everything.blocks} == Counter(
        line[1:].split()[0] for line in lines if line.startswith("<")
    )
    # The region that does not end is all that is wrong.
    assert everything.damaged_lines == (first + 3,)


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(everything: ProjectContents, tmp_path: Path) -> None:
    path = tmp_path / "windows.rpp"
    path.write_bytes(b"\xef\xbb\xbf" + EVERYTHING.replace("\n", "\r\n").encode("utf-8"))
    assert read_contents(path) == everything


def test_lines_that_say_nothing_are_listed_and_read_on(everything: ProjectContents, tmp_path: Path) -> None:
    changes = (
        ("POSITION 20", "POSITION twenty"),
        ("AUXRECV 2 1", "AUXRECV 77 1"),
        ('NAME "take one"', 'NAME "take one'),
        ("MUTESOLO 0 1 0", "MUTESOLO ! 1 0"),
    )
    text = EVERYTHING
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = tmp_path / "damaged.rpp"
    path.write_text(text + "behind the end\n", encoding="utf-8")
    contents = read_contents(path)
    wrong = {number for number, line in enumerate(text.split("\n"), start=1) for _, new in changes if new in line}
    wrong |= set(everything.damaged_lines) | {text.count("\n") + 1}
    assert set(contents.damaged_lines) == wrong and len(wrong) == 6
    assert len(contents.sends) == len(everything.sends) - 1 and len(contents.envelopes) == len(everything.envelopes)
    assert contents.items[2].position_s == 0.0 and contents.items[1].takes[0].name == ""
    assert contents.tracks[1].is_solo


def test_chains_and_track_templates(everything: ProjectContents, tmp_path: Path) -> None:
    tracks = EVERYTHING[EVERYTHING.index("  <TRACK") : EVERYTHING.rindex(">")]
    (tmp_path / "two.RTrackTemplate").write_text(tracks, encoding="utf-8")
    template = read_contents(tmp_path / "two.RTrackTemplate")
    assert (template.kind, template.version) == ("tracks", "")
    assert [t.name for t in template.tracks] == [t.name for t in everything.tracks]
    assert counts_of(template)[:3] == (3, 3, 3) and len(template.plugins) == 9
    chain = tracks[tracks.index("SHOW 0") : tracks.index("    <FXCHAIN_REC")].rstrip().removesuffix(">")
    (tmp_path / "one.RfxChain").write_text(chain, encoding="utf-8")
    effects = read_contents(tmp_path / "one.RfxChain")
    assert (effects.kind, [p.name for p in effects.plugins]) == ("chain", [p.name for p in everything.plugins[:6]])
    assert {p.place for p in effects.plugins} == {Place("chain")}
    # Only what lists what is there takes them: nothing of them can be rendered.
    with pytest.raises(SessionFileError, match="not a REAPER project"):
        read_project(tmp_path / "one.RfxChain")


@pytest.mark.parametrize(
    ("token", "value"),
    [("1", 1.0), ("-1:U", -1.0), ("0,5", 0.5), (".5x", 0.5), ("1e-3", 1e-3), ("1e", 1.0), ("", None), ("x1", None),
     ("nan", None), ("inf", None), ("1e999", None), ("9" * 400, None), ("-", None), ("٣", None)],
)  # fmt: skip
def test_numbers_are_taken_as_far_as_they_go(token: str, value: float | None) -> None:
    assert leading_number(token) == value


# ------------------------------------------------------------------------------ what is no project, and too much


@pytest.mark.parametrize(
    "content",
    [b"", b"\n \r\n", b"hello", b"<ITEM\n>\n", b">\n", b"<REAPER_PROJECT 0.1\n", b"<TRACK\n", b"BYPASS 0 0\n>\n",
     b"\x00\xff" * 50, b"<" * 500, b"RIFF\x00\x00\x00\x00WAVE", b"<\x0b\n>", b"\x0c\n"],
)  # fmt: skip
def test_other_files_are_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.rpp"
    path.write_bytes(content)
    for read in (read_contents, read_project):
        with pytest.raises(SessionFileError, match=r"x\.rpp"):
            read(path)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.rpp", Path("zero\0byte.rpp")):
        with pytest.raises(SessionFileError, match="check the path"):
            read_contents(path)


def test_blanks_of_other_alphabets_part_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.rpp"
    path.write_text("<REAPER_PROJECT 0.1\n\x0b\n<\u2028\n>\n<TRACK\n\u00a0 1\nNAME a\u2003b\n>\n>\n", encoding="utf-8")
    assert [track.name for track in read_contents(path).tracks] == ["a\u2003b"]


def test_size_depth_and_number_of_lines_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.rpp"
    for count, words in ((99, ""), (100, "line 101: more than 100 blocks")):
        path.write_text("<REAPER_PROJECT 0.1\n" + "<CONTAINER\n" * count + ">\n" * (count + 1))
        if words:
            with pytest.raises(SessionFileError, match=words):
                read_contents(path)
        else:
            assert read_contents(path).blocks[1].count == count
    inside = "<FXCHAIN\n" + "BYPASS 0\n<CONTAINER\n" * 97 + ">\n" * 98
    path.write_text(f"<REAPER_PROJECT 0.1\n<TRACK\n{inside}>\n>\n")
    assert [p.container for p in read_contents(path).plugins] == [None, *range(96)]
    path.write_text("<REAPER_PROJECT 0.1\n" + "\n" * 2_000_000 + ">\n")
    with pytest.raises(SessionFileError, match="more than 2000000 lines"):
        read_contents(path)
    path.write_text("<REAPER_PROJECT 0.1\n" + "X 1\n" * 50 + ">\n")
    monkeypatch.setattr("mixbridge.exporters.reaper.tree.MAX_LINES", 52)
    with pytest.raises(SessionFileError, match="more than 52 lines"):
        read_contents(path)
    monkeypatch.setattr("mixbridge.exporters.reaper.tree.MAX_LINES", 53)
    assert read_contents(path).tracks == ()
    monkeypatch.setattr("mixbridge.exporters.reaper.tree.MAX_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(SessionFileError, match="larger than"):
        read_contents(path)


# ------------------------------------------------------------------------------ damaged projects

WORDS = [b"-", b"1e9", b"9" * 400, b'"', b"'", b"`", b"<", b">", b"\xff", b"nan", b"-1", b"\n", b"{}", b"0,5", b"\0",
         b"\x0b", b"<TRACK\n", b"<ITEM\n", b"TAKE\n", b"AUXRECV", b"ISBUS 2 -9\n", b"1e308",
         b"\xe2\x80\xa8"]  # fmt: skip


#: What is done to a text, where (as shares of its length) and with what.
Change = tuple[str, float, float, bytes]


@st.composite
def mutations(draw: st.DrawFn) -> list[Change]:
    kinds = st.sampled_from(["delete", "double", "cut", "garble", "insert", "swap", "byte", "drop", "fill"])
    share = st.floats(0.0, 1.0, exclude_max=True)
    one = st.tuples(kinds, share, share, st.one_of(st.sampled_from(WORDS), st.binary(max_size=6)))
    return draw(st.lists(one, min_size=1, max_size=5))


def mutated(data: bytes, changes: list[Change]) -> bytes:
    for kind, share, other, word in changes:
        lines = data.split(b"\n")
        at, place = int(share * len(lines)), int(share * len(data))
        if kind == "delete":
            del lines[at : at + 1 + int(other * 4)]
        elif kind == "double":
            lines[at:at] = lines[at : at + 1 + int(other * 30)]
        elif kind == "swap":
            there = int(other * len(lines))
            lines[at], lines[there] = lines[there], lines[at]
        elif kind == "garble":
            tokens = lines[at].split(b" ")
            tokens[int(other * len(tokens))] = word
            lines[at] = b" ".join(tokens)
        elif kind == "insert":
            lines.insert(at, word)
        if kind in ("delete", "double", "swap", "garble", "insert"):
            data = b"\n".join(lines)
        elif kind == "cut":
            # Near the end, mostly: a file that lacks more is refused at once.
            data = data[: len(data) - int(share**8 * len(data))]
        elif kind == "byte":
            data = data[:place] + word[:1] + data[place + 1 :]
        elif kind == "drop":
            data = data[:place] + data[place + 1 + int(other**4 * 200) :]
        else:
            data = data[:place] + word + data[place:]
    return data


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from .test_rpp_read import export_small

    return export_small(tmp_path_factory.mktemp("export"))


def assert_lists_or_refuses(path: Path) -> bool:
    """Read what a file holds; whether it could be read."""
    try:
        contents = read_contents(path)
    except MixbridgeError as error:
        assert path.name in str(error)
        return False
    lines = [line.strip(" \t\r") for line in path.read_bytes().decode("utf-8-sig", "surrogateescape").split("\n")]
    opened = sum(re.match("[\"'`]?<", line) is not None for line in lines)
    counted = sum(block.count for block in contents.blocks)
    # Every block of the file is counted; those behind its end are not of it.
    assert counted == opened or (counted < opened and contents.damaged_lines)
    # Every number that names a row names one that is there.
    rows = [(len(contents.tracks), s.source) for s in contents.sends]
    rows += [(len(contents.tracks), i.track) for i in contents.items]
    rows += [(len(contents.plugins), e.plugin) for e in contents.envelopes]
    rows += [(len(contents.sends), e.send) for e in contents.envelopes]
    rows += [(len(contents.plugins), p.container) for p in contents.plugins]
    rows += [(len(contents.items), p.place.item) for p in contents.plugins]
    assert all(row is None or 0 <= row < count for count, row in rows)
    assert all(track.depth >= 0 for track in contents.tracks)
    return True


def assert_renders_or_refuses(path: Path) -> None:
    try:
        read_project(path)
    except MixbridgeError as error:
        assert path.name in str(error)
        more = re.search(r"; and (\d+) more$", str(error))
        assert len(error.obstacles) == int(more[1]) + 1 if more else len(error.obstacles) < 2
        assert [o.line or 0 for o in error.obstacles] == sorted(o.line or 0 for o in error.obstacles)
        if error.obstacles:
            assert error.obstacles[0].words in str(error)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutations())
def test_damaged_projects_of_others_are_listed_or_refused(changes: list[Change]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.rpp"
        path.write_bytes(mutated(EVERYTHING.encode("utf-8"), changes))
        assert_lists_or_refuses(path)
        assert_renders_or_refuses(path)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=mutations())
def test_damaged_projects_of_ours_are_read_or_refused(exported: Path, changes: list[Change]) -> None:
    path = exported.with_name("fuzz.rpp")
    path.write_bytes(mutated(exported.read_bytes(), changes))
    assert_lists_or_refuses(path)
    assert_renders_or_refuses(path)


# ------------------------------------------------------------------------------ our own projects


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(routed())
def test_a_project_of_ours_holds_what_its_session_does(graph: MixGraph) -> None:
    session = build_session(graph, max_fader_db=highest_fader_db("reaper"))
    with tempfile.TemporaryDirectory() as folder:
        write_stems(graph, Path(folder) / "stems")
        contents = read_contents(export_reaper(graph, stems_dir=Path(folder) / "stems", folder=Path(folder) / "out"))
    parents = {child.strip.id: parent for child, parent in session.walk()}
    strips = {str(node_guid("track", strip.id)): strip for strip in session.strips()}
    master = strips.pop(str(node_guid("track", session.master.id)))
    assert len(contents.tracks) == len(strips) and {t.guid for t in contents.tracks} == strips.keys()

    def around(strip_id: str) -> Iterator[str]:
        while (strip_id := parents[strip_id]) != session.master.id:
            yield strip_id

    ids = [strips[track.guid].id for track in contents.tracks]
    assert [t.depth for t in contents.tracks] == [len(list(around(i))) for i in ids]
    assert len(contents.items) == sum(1 for _ in session.tracks())
    sent = {(ids[s.source or 0], ids[s.target or 0]): s.gain for s in contents.sends if not s.is_hardware}
    wanted = {(strip.id, send.target): send for strip in strips.values() for send in strip.sends}
    # A send that moves has its level in its envelope.
    still = {key: send.gain for key, send in wanted.items() if not send.volume}
    assert sent.keys() == wanted.keys()
    assert {key: sent[key] for key in still} == {key: pytest.approx(gain, rel=1e-9) for key, gain in still.items()}
    assert len([s for s in contents.sends if not s.is_hardware]) == len(wanted)
    inserts = [(None if p.place.track is None else ids[p.place.track], p.guid) for p in contents.plugins]
    assert Counter(inserts) == Counter(
        (None if strip is master else strip.id, str(node_guid("fx", insert.id)))
        for strip in (*strips.values(), master)
        for insert in strip.inserts
    )
    assert {p.kind for p in contents.plugins} <= {"JS"} and not any(p.is_bypassed for p in contents.plugins)
    moving = [
        (e.kind, ids[e.place.track or 0]) for e in contents.envelopes if e.where == "track" and e.place is not None
    ]
    assert Counter(moving) == Counter(
        [("VOLENV2", strip.id) for strip in strips.values() if strip.volume]
        + [("PANENV2", strip.id) for strip in strips.values() if strip.pan_points]
    )
    on_sends = [e.kind for e in contents.envelopes if e.where == "send"]
    assert on_sends == ["AUXVOLENV"] * sum(bool(send.volume) for send in wanted.values())
    assert [e.kind for e in contents.envelopes if e.where == "master"] == (
        ["MASTERVOLENV2"] * bool(master.volume) + ["MASTERPANENV2"] * bool(master.pan_points)
    )
    assert all(e.is_active for e in contents.envelopes) and not contents.unknown_blocks and not contents.damaged_lines


# ------------------------------------------------------------------------------ everything that stands in the way


def obstacles_of(path: Path) -> tuple[Obstacle, ...]:
    with pytest.raises(MixbridgeError) as caught:
        read_project(path)
    assert isinstance(caught.value, SessionFileError)
    return caught.value.obstacles


def test_all_that_cannot_be_rendered_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "foreign.rpp"
    text = EVERYTHING.replace("SAMPLERATE 48000 1", "SAMPLERATE 48000 0").replace("MUTE 1 0", "MUTE 0 0")
    path.write_text(text, encoding="utf-8")
    lines = [line.strip() for line in path.read_text("utf-8").split("\n")]
    told = [(lines[(o.line or 0) - 1].split()[0], o.words) for o in obstacles_of(path)]
    wanted = [
        # Its pan moves, under a law that has no line.
        ("<REAPER_PROJECT", "pan law"),
        ("SAMPLERATE", "sample rate"),
        ("MUTESOLO", "solo"),
        ("<TAKEFX", "effects"),
        ("<ITEM", "2 takes"),
        ("<PITCHENV", "PITCHENV"),
    ]
    for keyword, words in wanted:
        assert any(k == keyword and words in w for k, w in told), (keyword, words, told)
    with pytest.raises(SessionFileError, match=rf"foreign\.rpp: line 1: MASTER_VOLUME: .*; and {len(told) - 1} more$"):
        read_project(path)


def test_every_obstacle_of_an_edited_project_is_named_with_its_line(exported: Path) -> None:
    text = exported.read_text("utf-8")
    changes = (
        ("PLAYRATE 1 0", "PLAYRATE 1.5 0"),
        ("FADEIN 1 0 0", "FADEIN 1 0.01 0"),
        ("CHANMODE 0", "CHANMODE 2"),
        ("PLAYOFFS 0 1", "PLAYOFFS 0.01 0"),
        ("<Project>/mixbridge_eq", "elsewhere/mixbridge_eq"),
        ('"Media/vox.wav"', '"Media/gone.wav"'),
        ("SOFFS 0\n", "SOFFS 0\n      SM 0 0 + 1 1.1\n"),
        ("MASTERMUTESOLO 0", "MASTERMUTESOLO 1"),
        ("IPHASE 0", "IPHASE twice"),
        ("<MASTERVOLENV2", "<MASTERVOLENV3"),
    )
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = exported.with_name("many.rpp")
    path.write_text(text, encoding="utf-8")
    lines = text.split("\n")
    found = obstacles_of(path)
    assert len(found) == len(changes)
    named = {lines[(o.line or 0) - 1].strip() for o in found}
    for _, new in changes:
        assert any(new.strip().split("\n")[-1].strip() in line for line in named), (new, named)


def test_each_send_is_judged_alone(exported: Path) -> None:
    text = exported.read_text("utf-8")
    at = text.index('"Hall"')
    sends = "".join(f"    AUXRECV 4 0 1 0 0 {mono} 0 0 0 -1:U 0 -1 ''\n" for mono in (1, 0, 1))
    text = text[:at] + text[at:].replace("    MIDIOUT -1", sends + "    MIDIOUT -1", 1)
    path = exported.with_name("sends.rpp")
    path.write_text(text, encoding="utf-8")
    first, second = obstacles_of(path)
    assert (second.line or 0) - (first.line or 0) == 2 and first.words == second.words


def test_missing_files_alone_are_a_matter_of_audio(exported: Path) -> None:
    path = exported.with_name("gone.rpp")
    path.write_text(exported.read_text("utf-8").replace('"Media/', '"Elsewhere/'), encoding="utf-8")
    with pytest.raises(AudioFileError, match=r"line \d+: .*Elsewhere.*; and 2 more$") as caught:
        read_project(path)
    assert len(caught.value.obstacles) == 3


def test_empty_items_play_nothing_and_are_no_obstacle(exported: Path) -> None:
    text = exported.read_text("utf-8")
    at = text.index("<ITEM", text.index('"snare"'))
    empty = "<ITEM\n      POSITION 0.02\n      LENGTH 0.01\n      <NOTES\n        |verse\n      >\n    >\n    "
    path = exported.with_name("notes.rpp")
    path.write_text(text[:at] + empty + text[at:], encoding="utf-8")
    assert read_project(path) == read_project(exported).model_copy(update={"name": "notes"})


def test_several_errors_become_one() -> None:
    one, two = SessionFileError("a: line 3: x"), AudioFileError("a: line 1: y")
    one.obstacles = (Obstacle(3, "x"),)
    assert str(combined([one], mixed=VerifyError)) == "a: line 3: x"
    both = combined([one, two, one], mixed=VerifyError)
    assert type(both) is VerifyError and str(both) == "a: line 3: x; and 1 more"
    assert both.obstacles == (Obstacle(3, "x"), Obstacle(None, "a: line 1: y"))
    assert type(combined([two, two], mixed=VerifyError)) is AudioFileError


def test_every_plugin_that_cannot_run_is_told_at_once(exported: Path) -> None:
    def insert(name: str) -> Insert:
        return Insert(id=name, kind="vst3", plugin=PluginInfo(name=name))

    chain = read_project(exported)
    first, *rest = chain.channels
    changed = first.model_copy(update={"inserts": (insert("VST: Old"), *first.inserts, insert("AU: Other"))})
    chain = chain.model_copy(update={"channels": (changed, *rest)})
    with pytest.raises(VerifyError, match=r"VST: Old.*; and 1 more$") as caught:
        render_chain(chain, exported.parent, pool=no_pool)
    assert ["VST: Old" in o.words or "AU: Other" in o.words for o in caught.value.obstacles] == [True, True]


def no_pool() -> PluginPool:
    raise AssertionError("nothing is rendered")


def test_verify_tells_and_returns_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "foreign.rpp"
    path.write_text(EVERYTHING, encoding="utf-8")
    wanted = obstacles_of(path)
    run = partial(CliRunner().invoke, app)
    result = run(["verify", str(path), "--json"])
    assert result.exit_code == 2
    (told,) = json.loads(result.stdout)
    assert told["obstacles"] == [{"line": o.line, "words": o.words} for o in wanted] and len(wanted) > 4
    assert told["error"].endswith(f"; and {len(wanted) - 1} more")
    lines = run(["verify", str(path)]).stderr.split("\n")
    assert all(any(f"line {o.line}: {o.words}" in line for line in lines) for o in wanted)


def test_results_of_before_are_still_read(tmp_path: Path) -> None:
    new = json.loads(Verification(path="a.rpp", verdict="green").to_json())
    del new["obstacles"]
    (tmp_path / "verify.json").write_text(json.dumps(new))
    assert Verification.load(tmp_path / "verify.json").obstacles == ()
