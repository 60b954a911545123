"""Plugin blocks of REAPER's projects: identity, bytes, states of its own plugins, and our settings on them."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbridge.bridge.errors import ExportError, ParameterError, SessionFileError
from mixbridge.bridge.processors.equations import db_to_gain
from mixbridge.bridge.processors.laws import law_of
from mixbridge.bridge.processors.reference import eq_sections
from mixbridge.bridge.processors.specs import COMPRESSOR, DELAY, EQ, GATE, spec_of
from mixbridge.exporters.reaper import stock as rea
from mixbridge.exporters.reaper import vst_chunk as vst
from mixbridge.exporters.reaper.rpp import Word
from mixbridge.exporters.reaper.stock import Band, BandType, DelayTap, ReaComp, ReaDelay, ReaEq, ReaGate, Stock
from mixbridge.exporters.reaper.stock_settings import (
    bandwidth_of_q,
    from_stock,
    q_of_bandwidth,
    rea_eq_response,
    stock_limits,
    to_stock,
)
from mixbridge.exporters.reaper.tree import Chunk, Line, ProjectText, tokens_of
from mixbridge.exporters.reaper.vst_chunk import Vst3State, VstChunk, decode_vst_chunk, read_vst_block, vst_block
from mixbridge.exporters.session import Insert
from mixbridge.exporters.vstpreset import decode_vstpreset, encode_vstpreset

EXAMPLES = Path(__file__).resolve().parents[2] / "shared" / "examples" / "rpp"
RATE_HZ = 48000
STATES: tuple[type[Stock], ...] = (ReaEq, ReaComp, ReaGate, ReaDelay)

#: Blocks as REAPER writes them: what a plugin that was just inserted has, and the header's base64.
DEFAULTS = {
    ReaComp: "776t3g3wrd4AAIA/ED74PKabxDsK16M8AAAAAAAAAAAAAIA/AAAAAAAAAAAAAAAAnNEHMwAAgD8AAAAAzcxMPQAA"
    "AAAAAAAAAAAAAAAAgD4AAAAAAAAAAAAAAAA=",
    ReaGate: "776t3g3wrd6c0QczppvEOwrXozwAAAAAAAAAAAAAgD8AAAAAAAAAAAAAAACc0QczAACAP5zRBzMAAIA/AAAAAAAA"
    "AAAAAAAALBYLPwAAAAAAAAAAAAAAAAAAAAA=",
    ReaDelay: "AAAAAAAAAAABAAAALAAAAAIAAAAAAAAAQwIAPwAAgD8AAAAAAACAPwAAAAAAAAA8nNEHMwAAgD8AAAAAAACAPwAA"
    "gD8AAIA/AAAAPw==",
}
HEADERS = {
    ReaComp: "bWNlcu9e7f4EAAAAAQAAAAAAAAACAAAAAAAAAAQAAAAAAAAACAAAAAAAAAACAAAAAQAAAAAAAAACAAAAAAAAAFwAAAAAAAAAAAAQAA==",
    ReaGate: "dGdlcu9e7f4EAAAAAQAAAAAAAAACAAAAAAAAAAQAAAAAAAAACAAAAAAAAAACAAAAAQAAAAAAAAACAAAAAAAAAFwAAAAAAAAAAAAQAA==",
    ReaDelay: "bGRlcu5e7f4CAAAAAQAAAAAAAAACAAAAAAAAAAIAAAABAAAAAAAAAAIAAAAAAAAATAAAAAEAAAAAABAA",
}
EQ_HEADER = "cWVlcu5e7f4CAAAAAQAAAAAAAAACAAAAAAAAAAIAAAABAAAAAAAAAAIAAAAAAAAA"
DRAGONFLY = {
    "linux": ("2046504473616C633172666400000000", 285855749),
    "macos": ("2046504473616C633172666400000000", 285855749),
    "windows": ("445046206173636C3172666400000000", 1474796383),
}


# ---------------------------------------------------------------------------- identity


@pytest.mark.parametrize(
    "class_id,number",
    [
        ("72C4DB717A4D459AB97E51745D84B39D", 756089518),
        ("F2AEE70D00DE4F4E41636D6537536470", 1427182192),
        ("5653544E6924446B6F6E74616B740000", 821777587),
        *DRAGONFLY.values(),
    ],
)
def test_numbers_of_vst3_plugins_are_those_of_reaper(class_id: str, number: int) -> None:
    assert vst.vst3_number(class_id) == vst.vst3_number(class_id.lower()) == number


@pytest.mark.parametrize("system", DRAGONFLY)
@pytest.mark.parametrize("source", ["linux", "windows"])
def test_plugins_made_with_dpf_have_another_class_id_on_windows(source: str, system: Any) -> None:
    class_id, number = DRAGONFLY[system]
    assert vst.class_id_on(DRAGONFLY[source][0], system) == class_id
    head = vst.vst3_head(
        "Hall", vendor="Dragonfly", class_id=DRAGONFLY[source][0], file="Hall.vst3", system=system, custom_name="far"
    )
    assert (head.uid, head.number) == (class_id, number)
    assert head.tokens == ["VST", "VST3: Hall (Dragonfly)", "Hall.vst3", "0", "far", f"{number}{{{class_id}}}", ""]
    assert isinstance(head.tokens[5], Word)
    assert vst.decode_vst_head([str(t) for t in head.tokens]) == head
    assert vst.vst3_chunk(DRAGONFLY[source][0], Vst3State(b""), system=system).number == number


@pytest.mark.parametrize("system", ["linux", "macos", "windows"])
def test_other_class_ids_are_the_same_everywhere(system: Any) -> None:
    assert vst.class_id_on("f2aee70d00de4f4e41636d6537536470", system) == "F2AEE70D00DE4F4E41636D6537536470"


@pytest.mark.parametrize("class_id", ["", "12", "G" * 32, "0" * 33, "\u0660" * 32])
def test_what_is_no_class_id_is_refused(class_id: str) -> None:
    for ask in (vst.vst3_number, lambda c: vst.class_id_on(c, "linux")):
        with pytest.raises(SessionFileError, match="32 hexadecimal"):
            ask(class_id)


@pytest.mark.parametrize(
    "state,identity",
    [
        (ReaComp, "1919247213<5653547265636D726561636F6D700000>"),
        (ReaEq, "1919247729<56535472656571726561657100000000>"),
        (ReaGate, "1919248244<56535472656774726561676174650000>"),
        (ReaDelay, "1919247468<5653547265646C72656164656C617900>"),
    ],
)
def test_first_lines_are_those_of_reaper(state: type[Stock], identity: str) -> None:
    name = state.PLUGIN.name
    endings = {"windows": ".dll", "macos": ".vst.dylib", "linux": ".vst.so"}
    for system, ending in endings.items():
        head = state.PLUGIN.head(system)  # type: ignore[arg-type]
        assert head.tokens == ["VST", f"VST: {name} (Cockos)", name.lower() + ending, "0", "", identity, ""]
        assert vst.decode_vst_head([str(t) for t in head.tokens]) == head


def test_a_first_line_of_reaper_5_has_no_digits() -> None:
    head = vst.decode_vst_head(["VST", "VST: ReaComp (Cockos)", "reacomp.dll", "0", "", "1919247213"])
    assert (head.number, head.uid, head.is_vst3) == (1919247213, "", False)
    assert head.tokens[5] == "1919247213"


@pytest.mark.parametrize(
    "tokens", [[], ["VST"], ["JS", *"abcde"], ["VST", *"abcd", "12{34}"], ["VST", *"abcd", "9" * 10]]
)
def test_other_first_lines_are_refused(tokens: list[str]) -> None:
    with pytest.raises(SessionFileError, match="names no plugin"):
        vst.decode_vst_head(tokens)


@pytest.mark.parametrize("code", ["ree", "reeqq", "reä1"])
def test_codes_have_four_characters(code: str) -> None:
    with pytest.raises(ExportError, match="four ASCII"):
        vst.vst2_head("ReaEQ", vendor="Cockos", code=code, stem="reaeq", system="linux")


# ---------------------------------------------------------------------------- the bytes of blocks


def masks() -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(0, 2**64 - 1), max_size=5).map(tuple)


def chunks() -> st.SearchStrategy[VstChunk]:
    return st.builds(
        VstChunk,
        number=st.integers(0, 2**32 - 1),
        state=st.binary(max_size=300),
        inputs=masks(),
        outputs=masks(),
        is_parameter_list=st.booleans(),
        program=st.integers(0, 0xFFFF),
        preset_name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
        header_revision=st.sampled_from([0, 0x10]),
        footer_revision=st.sampled_from([0, 0x10]),
    )


@settings(max_examples=100, deadline=None)
@given(chunk=chunks(), width=st.integers(1, 300))
def test_blocks_read_back_however_their_lines_break(chunk: VstChunk, width: int) -> None:
    lines = chunk.lines()
    assert decode_vst_chunk(lines) == chunk
    assert all(len(line) <= 128 for line in lines)
    data = b"".join(base64.b64decode(line) for line in lines)
    broken = [base64.b64encode(data[at : at + width]).decode() for at in range(0, len(data), width)]
    assert decode_vst_chunk(broken) == chunk


def test_the_header_of_a_stereo_vst3_is_that_of_reaper() -> None:
    chunk = vst.vst3_chunk("F2AEE70D00DE4F4E41636D6537536470", Vst3State(b"abc"), system="linux")
    assert struct.unpack("<II I2Q I2Q IIHH", chunk.header) == (
        *(1427182192, 0xFEED5EEE, 2, 1, 2, 2, 1, 2),
        *(19, 1, 0xFFFF, 0x10),
    )
    assert chunk.state == b"\3\0\0\0\1\0\0\0abc" + bytes(8)
    # The footer without a preset is the same in every project.
    assert chunk.lines()[-1] == "AAAQAAAA"
    with_side_chain = dataclasses.replace(chunk, inputs=vst.SIDE_CHAIN_PINS)
    assert struct.unpack_from("<I4Q", with_side_chain.header, 8) == (4, 1, 2, 4, 8)


def test_the_mark_of_a_parameter_list_is_kept_where_it_says_otherwise() -> None:
    chunk = VstChunk(number=1, state=b"x", has_list_mark=True)
    assert decode_vst_chunk(chunk.lines()) == chunk
    assert struct.unpack_from("<I", chunk.header, 4) == (0xFEED5EEF,)


@pytest.mark.parametrize("change", [{"number": -1}, {"number": 2**32}, {"inputs": (2**64,)}, {"program": 65536}])
def test_numbers_that_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match="out of range"):
        dataclasses.replace(VstChunk(number=1, state=b""), **change).lines()


def test_states_are_not_larger_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = VstChunk(number=1, state=bytes(200_000))
    lines = chunk.lines()
    assert decode_vst_chunk(lines) == chunk
    monkeypatch.setattr(vst, "MAX_STATE_BYTES", 100_000)
    with pytest.raises(ExportError, match="too large"):
        chunk.lines()
    with pytest.raises(SessionFileError, match="larger than"):
        decode_vst_chunk(lines)


def damaged(data: bytes, edits: list[tuple[int, int]], length: int) -> bytes:
    changed = bytearray(data)
    for at, value in edits:
        changed[at % len(changed)] = value
    return bytes(changed[: length % (len(changed) + 1)])


EDITS = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=6)


def lines_of(data: bytes) -> list[str]:
    return [base64.b64encode(data[at : at + 96]).decode() for at in range(0, len(data), 96)]


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=120), edits=EDITS, length=st.integers(0, 2**16), keep=st.booleans())
def test_damaged_blocks_are_refused_by_name(data: bytes, edits: list[tuple[int, int]], length: int, keep: bool) -> None:
    good = b"".join(base64.b64decode(line) for line in rea.stock_chunk(ReaDelay(), preset_name="x").lines())
    data = data or damaged(good, edits, len(good) if keep else length)
    try:
        found = decode_vst_chunk(lines_of(data))
    except SessionFileError as error:
        assert "\n" not in str(error)
    else:
        assert b"".join(base64.b64decode(line) for line in found.lines()) == data


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=4))
def test_lines_that_are_no_base64_are_refused_by_name(lines: list[str]) -> None:
    with pytest.raises(SessionFileError):
        decode_vst_chunk(lines)


@settings(max_examples=200, deadline=None)
@given(component=st.binary(max_size=99), controller=st.binary(max_size=99), edits=EDITS, length=st.integers(0, 2**16))
def test_states_of_vst3_plugins_read_back_and_go_through_a_preset_file(
    component: bytes, controller: bytes, edits: list[tuple[int, int]], length: int
) -> None:
    state = Vst3State(component, controller)
    assert Vst3State.decode(state.encode()) == state
    preset = state.to_preset("ab" * 16)
    file = encode_vstpreset(preset.class_id, preset.component, preset.controller)
    assert Vst3State.from_preset(decode_vstpreset(file)) == state
    bad = damaged(state.encode(), edits, length)
    with contextlib.suppress(SessionFileError):
        assert Vst3State.decode(bad).encode() == bad
    with pytest.raises(SessionFileError):
        Vst3State.decode(state.encode() + b"\0")


# ---------------------------------------------------------------------------- projects that REAPER wrote


def all_blocks(chunk: Chunk) -> Iterator[Chunk]:
    for item in chunk.items:
        if isinstance(item, Chunk):
            yield from [item] if item.keyword == "VST" else all_blocks(item)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Chunk]:
    if not EXAMPLES.is_dir():
        pytest.skip("needs the example projects beside the checkout")
    found = []
    for path in sorted(EXAMPLES.iterdir()):
        if path.suffix.lower() in (".rpp", ".rfxchain"):
            data = path.read_bytes()
            if path.suffix.lower() == ".rfxchain":
                data = b"<REAPER_PROJECT\n" + data + b"\n>\n"
            copy = tmp_path_factory.mktemp("examples") / "project.rpp"
            copy.write_bytes(data)
            found += list(all_blocks(ProjectText(copy).root))
    return found


def test_every_block_of_the_examples_is_written_as_reaper_wrote_it(examples: list[Chunk]) -> None:
    assert len(examples) >= 25
    vst3 = 0
    for block in examples:
        head, chunk = read_vst_block(block)
        lines = [item.text for item in block.items if isinstance(item, Line)]
        assert chunk.lines() == lines, head.name
        assert head.number == chunk.number
        tokens = tokens_of(block.head.text)
        assert tokens is not None and [str(t) for t in head.tokens][: len(tokens)] == tokens
        if head.is_vst3:
            vst3 += 1
            assert vst.vst3_number(head.uid) == head.number
            assert Vst3State.decode(chunk.state).encode() == chunk.state
        written = vst_block(head, chunk).render().decode("utf-8", "surrogateescape").splitlines()
        assert [line.strip() for line in written[1:-1]] == lines
        assert tokens_of(written[0][1:]) == [str(t) for t in head.tokens]
    assert vst3 >= 7


def test_states_of_the_examples_are_rebuilt_from_their_settings(examples: list[Chunk]) -> None:
    found = [(chunk, state) for b in examples for chunk in [read_vst_block(b)[1]] if (state := rea.decode_stock(chunk))]
    assert {type(state) for _, state in found} == {ReaEq, ReaComp, ReaGate}
    for chunk, state in found:
        again = state.encode()
        if isinstance(state, ReaEq):
            # Gains in decibels have rounded in double precision.
            assert dataclasses.replace(state, bands=()) == dataclasses.replace(ReaEq.decode(again), bands=())
            assert len(again) == len(chunk.state)
            for band, other in zip(state.bands, ReaEq.decode(again).bands, strict=True):
                assert dataclasses.astuple(band) == pytest.approx(dataclasses.astuple(other), rel=1e-14)
        else:
            # Older versions end before the last two numbers.
            assert again.startswith(chunk.state) and not any(again[len(chunk.state) :])


def test_settings_that_users_see_are_found_in_the_examples(examples: list[Chunk]) -> None:
    states = {c.preset_name: rea.decode_stock(c) for b in examples for c in [read_vst_block(b)[1]]}
    comp, gate = states["US 5 - DeEsser"], states["stock - snare gate"]
    assert isinstance(comp, ReaComp) and isinstance(gate, ReaGate)
    assert (comp.threshold_db, comp.ratio) == pytest.approx((-30.0, 15.0), abs=0.05)
    assert (comp.attack_ms, comp.release_ms, comp.rms_size_ms) == pytest.approx((3.0, 99.5, 4.96), abs=0.05)
    assert (comp.detector_low_pass_hz, comp.detector_high_pass_hz) == pytest.approx((8000.0, 6500.0), rel=1e-3)


def test_errors_of_a_block_name_its_line() -> None:
    block = Chunk(Line('VST "VST: ReaEQ (Cockos)" reaeq.dll 0 "" 1919247729', 17), [Line("AAAA", 18)])
    with pytest.raises(SessionFileError, match=r"line 17: VST block: .*cut off"):
        read_vst_block(block)
    with pytest.raises(SessionFileError, match=r"line 3: .*names no plugin"):
        read_vst_block(Chunk(Line('VST "not closed', 3)))


# ---------------------------------------------------------------------------- states of REAPER's plugins


@pytest.mark.parametrize("state", DEFAULTS)
def test_defaults_are_the_bytes_of_a_plugin_just_inserted(state: type[Stock]) -> None:
    data = base64.b64decode(DEFAULTS[state])
    assert state().encode() == data
    chunk = rea.stock_chunk(state())
    assert base64.b64encode(chunk.header).decode() == HEADERS[state]
    assert chunk.lines()[0] == HEADERS[state]
    assert rea.decode_stock(decode_vst_chunk(chunk.lines())) == state.decode(data)


def test_an_eq_has_the_layout_of_reaper() -> None:
    state = ReaEq((Band(BandType.HIGH_PASS, frequency_hz=80.0, gain_db=6.0, bandwidth_octaves=1.5),))
    data = state.encode()
    assert struct.unpack_from("<II", data) == (33, 1)
    assert struct.unpack_from("<iidddB", data, 8) == (4, 1, 80.0, pytest.approx(1.9952623), 1.5, 1)
    assert data[41:] == struct.pack("<iidIIII", 1, 1, 1.0, 0, 0x251, 0x1AC, 2)
    header = rea.stock_chunk(state).header
    expected = base64.b64decode(EQ_HEADER) + struct.pack("<III", len(data), 1, 0x100000)
    assert header == expected


def test_older_states_are_read() -> None:
    comp, gate = ReaComp(ratio=2.0).encode(), ReaGate(hold_ms=5.0).encode()
    assert ReaComp.decode(comp[: 8 + 18 * 4]) == ReaComp.decode(comp)
    assert ReaGate.decode(gate[: 8 + 19 * 4]) == ReaGate.decode(gate)
    with pytest.raises(SessionFileError, match="not a state we know"):
        ReaComp.decode(comp[: 8 + 17 * 4])
    band = struct.pack("<iiddd", 8, 0, 500.0, 1.0, 1.0)
    old = struct.pack("<II", 32, 2) + 2 * band + struct.pack("<iid", 1, 1, 1.0)
    assert ReaEq.decode(old) == ReaEq(2 * (Band(BandType.BELL, False, 500.0, 0.0, 1.0),), window=b"")


LEVELS = st.just(-math.inf) | st.floats(-150.0, 6.02)
CUTS = st.floats(0.0, 20000.0)
DETECTOR: dict[str, Any] = {
    "rms_size_ms": st.floats(0.0, 100.0),
    "detector_low_pass_hz": CUTS,
    "detector_high_pass_hz": CUTS,
    "detector_input": st.integers(0, 1084),
    "audition": st.booleans(),
    "attack_ms": st.floats(0.0, 500.0),
    "release_ms": st.floats(0.0, 5000.0),
    "threshold_db": LEVELS,
    "wet_db": LEVELS,
    "dry_db": LEVELS,
}
COMPS = st.builds(
    ReaComp,
    **DETECTOR,
    ratio=st.floats(1.0, 100.0),
    knee_db=st.floats(0.0, 24.0),
    look_ahead_ms=st.floats(0.0, 250.0),
    auto_makeup=st.booleans(),
    auto_release=st.booleans(),
    anti_aliasing=st.integers(0, 13),
    unknown_19=st.floats(-1e6, 1e6),
)
GATES = st.builds(
    ReaGate,
    **DETECTOR,
    pre_open_ms=st.floats(0.0, 250.0),
    hold_ms=st.floats(0.0, 1000.0),
    hysteresis_db=LEVELS,
    noise_db=LEVELS,
    midi_note=st.integers(0, 127),
    sends_midi=st.booleans(),
    inverts_wet=st.booleans(),
)
BANDS = st.builds(
    Band,
    st.sampled_from(BandType),
    enabled=st.booleans(),
    frequency_hz=st.floats(20.0, 24000.0),
    gain_db=st.just(-math.inf) | st.floats(-150.0, 24.0),
    bandwidth_octaves=st.floats(0.01, 4.0),
)
EQS = st.builds(
    ReaEq, st.lists(BANDS, max_size=6).map(tuple), output_gain_db=st.floats(-60.0, 24.0), window=st.binary(max_size=20)
)
TAPS = st.builds(
    DelayTap,
    enabled=st.booleans(),
    length_ms=st.floats(0.0, 10000.0),
    length_beats=st.floats(0.0, 128.0),
    feedback_db=LEVELS,
    volume_db=LEVELS,
    low_pass_hz=CUTS,
    high_pass_hz=CUTS,
    width=st.floats(-1.0, 1.0),
    pan=st.floats(-1.0, 1.0),
)
DELAYS = st.builds(ReaDelay, st.lists(TAPS, max_size=5).map(tuple), wet_db=LEVELS, dry_db=LEVELS)


def same(found: Any, wanted: Any) -> None:
    """Fields differ by rounding to single precision at most (of the plugin's whole range)."""
    for name in (f.name for f in dataclasses.fields(wanted)):
        a, b = getattr(found, name), getattr(wanted, name)
        if name in ("bands", "taps"):
            assert len(a) == len(b)
            for one, other in zip(a, b, strict=True):
                same(one, other)
        elif isinstance(b, float):
            assert a == b or abs(a - b) <= 2e-6 * max(abs(b), 1.0), name
        else:
            assert a == b, name


@settings(max_examples=200, deadline=None)
@given(st.one_of(COMPS, GATES, EQS, DELAYS))
def test_states_read_back_within_single_precision(state: Stock) -> None:
    data = state.encode()
    found = type(state).decode(data)
    same(found, state)
    if not isinstance(state, ReaEq):
        assert found.encode() == data


@pytest.mark.parametrize(
    "state,words",
    [
        (ReaComp(threshold_db=7.0), "threshold_db is 7, but takes -inf to 6.0206"),
        (ReaComp(ratio=0.5), "ratio is 0.5, but takes 1 to 100"),
        (ReaComp(attack_ms=600.0), "attack_ms is 600, but takes 0 to 500"),
        (ReaComp(knee_db=math.nan), "knee_db is nan"),
        (ReaComp(wet_db=math.inf), "wet_db is inf"),
        (ReaComp(unknown_19=1e39), "unknown_19"),
        (ReaGate(hold_ms=-1.0), "hold_ms is -1, but takes 0 to 1000"),
        (ReaEq((Band(bandwidth_octaves=5.0),)), "bandwidth_octaves is 5, but takes 0.01 to 4"),
        (ReaEq((Band(frequency_hz=10.0),)), "frequency_hz is 10, but takes 20 to 24000"),
        (ReaEq((Band(gain_db=30.0),)), "gain_db is 30"),
        (ReaEq(output_gain_db=math.nan), "output_gain_db"),
        (ReaDelay((DelayTap(), DelayTap(pan=1.1))), "tap 2: pan is 1.1, but takes -1 to 1"),
        (ReaDelay(shown_tap=1), "shown_tap"),
    ],
)
def test_values_out_of_range_are_named(state: Stock, words: str) -> None:
    with pytest.raises(ExportError) as error:
        state.encode()
    assert words in str(error.value) and str(error.value).startswith(state.PLUGIN.name)


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from(STATES),
    raw=st.binary(max_size=200),
    edits=EDITS,
    length=st.integers(0, 2**16),
    how=st.sampled_from(["raw", "prefixed", "edited", "cut"]),
)
def test_damaged_states_are_refused_by_name(
    kind: type[Stock], raw: bytes, edits: list[tuple[int, int]], length: int, how: str
) -> None:
    good = kind().encode()
    data = {
        "raw": raw,
        "prefixed": (good[:8] + raw + good)[: len(good)],
        "edited": damaged(good, edits, len(good)),
        "cut": damaged(good, edits, length),
    }[how]
    try:
        state = kind.decode(data)
        from_stock(state, sample_rate_hz=RATE_HZ)
    except SessionFileError as error:
        assert str(error).startswith(kind.PLUGIN.name) and "\n" not in str(error)
        return
    # What was read may be out of range where we do not use it.
    with contextlib.suppress(ExportError):
        state.encode()


def test_other_plugins_are_left_alone() -> None:
    assert rea.decode_stock(VstChunk(number=1, state=b"")) is None


# ---------------------------------------------------------------------------- our settings on them


def insert(processor_type: str, *, law: str = "", **values: float) -> Insert:
    parameters = spec_of(processor_type).defaults() | values
    return Insert(id="node", type=processor_type, parameters=parameters, mix=1.0, law=law)


@st.composite
def inserts(draw: st.DrawFn, processor_type: str, rate_hz: float = RATE_HZ) -> Insert:
    values = {}
    for name, (low, high) in stock_limits(processor_type, sample_rate_hz=rate_hz).items():
        off_at = spec_of(processor_type).parameter(name).off_at
        values[name] = draw(st.floats(low, high) if off_at is None else st.floats(low, high) | st.just(off_at))
    return insert(processor_type, **values)


def cookbook_db(band: Band, frequency_hz: np.ndarray, rate_hz: float) -> np.ndarray:
    """A band's response from the formulas of bandwidth and slope, without the package's own sections."""
    w0, w = 2 * math.pi * band.frequency_hz / rate_hz, 2 * math.pi * frequency_hz / rate_hz
    amp, cos, sin, octaves = 10 ** (band.gain_db / 40), math.cos(w0), math.sin(w0), band.bandwidth_octaves
    if band.type == BandType.BELL:
        alpha = sin * math.sinh(math.log(2) / 2 * octaves * w0 / sin)
        b, a = (1 + alpha * amp, -2 * cos, 1 - alpha * amp), (1 + alpha / amp, -2 * cos, 1 - alpha / amp)
    elif band.type in (BandType.LOW_PASS, BandType.HIGH_PASS):
        alpha = sin * math.sinh(math.log(2) / 2 * octaves)
        edge = 1 - cos if band.type == BandType.LOW_PASS else -(1 + cos)
        b, a = (abs(edge) / 2, edge, abs(edge) / 2), (1 + alpha, -2 * cos, 1 - alpha)
    else:
        slope = 1 / max(octaves, 0.915) ** 2
        root = 2 * math.sqrt(amp) * sin / 2 * math.sqrt((amp + 1 / amp) * (1 / slope - 1) + 2)
        s = 1 if band.type == BandType.LOW_SHELF else -1
        up, down = amp + 1, amp - 1
        b = (
            amp * (up - s * down * cos + root),
            s * 2 * amp * (down - s * up * cos),
            amp * (up - s * down * cos - root),
        )
        a = (up + s * down * cos + root, -s * 2 * (down + s * up * cos), up + s * down * cos - root)
    z = np.exp(-1j * w)
    return np.asarray(20 * np.log10(np.abs((b[0] + b[1] * z + b[2] * z**2) / (a[0] + a[1] * z + a[2] * z**2))))


FREQUENCIES_HZ = np.geomspace(10.0, 0.99 * RATE_HZ / 2, 200)


def reference_db(of: Insert, rate_hz: float, frequency_hz: np.ndarray) -> np.ndarray:
    sections = eq_sections(of.parameters, sample_rate_hz=rate_hz, law=law_of(of.law, "eq"))
    if not len(sections):
        return np.zeros(len(frequency_hz))
    _, response = scipy.signal.sosfreqz(sections, worN=2 * np.pi * frequency_hz / rate_hz)
    return np.asarray(20 * np.log10(np.abs(response)))


@settings(max_examples=80, deadline=None)
@given(of=inserts("eq"), law=st.sampled_from(["", "pedalboard"]))
def test_an_eq_has_the_response_of_the_reference(of: Insert, law: str) -> None:
    of = dataclasses.replace(of, law=law)
    state = to_stock(of, sample_rate_hz=RATE_HZ)
    assert isinstance(state, ReaEq)
    # What the plugin reads is what counts.
    bands = ReaEq.decode(state.encode()).bands
    wanted = reference_db(of, RATE_HZ, FREQUENCIES_HZ)
    found = rea_eq_response(bands, frequency_hz=FREQUENCIES_HZ, sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(found, wanted, atol=0.01)
    by_hand = sum((cookbook_db(b, FREQUENCIES_HZ, RATE_HZ) for b in bands if b.enabled), np.zeros(len(wanted)))
    np.testing.assert_allclose(by_hand, wanted, atol=0.01)


@settings(max_examples=80, deadline=None)
@given(of=inserts("eq"), law=st.sampled_from(["", "pedalboard"]))
def test_an_eq_reads_back_with_its_response(of: Insert, law: str) -> None:
    of = dataclasses.replace(of, law=law)
    kind, values = from_stock(to_stock(of, sample_rate_hz=RATE_HZ), sample_rate_hz=RATE_HZ, law=law)
    assert kind == "eq" and tuple(values) == EQ.names
    again = dataclasses.replace(of, parameters=values)
    np.testing.assert_allclose(
        reference_db(again, RATE_HZ, FREQUENCIES_HZ), reference_db(of, RATE_HZ, FREQUENCIES_HZ), atol=1e-4
    )


def test_at_a_low_rate_frequencies_are_held_as_in_the_reference() -> None:
    rate_hz = 16000
    of = insert("eq", bell4_hz=12000.0, bell4_db=6.0, bell4_q=1.0, lowpass_hz=15000.0)
    state = to_stock(of, sample_rate_hz=rate_hz)
    assert isinstance(state, ReaEq)
    assert {b.frequency_hz for b in state.bands} == {0.49 * rate_hz}
    frequency_hz = np.linspace(100.0, 7700.0, 99)
    np.testing.assert_allclose(
        rea_eq_response(state.bands, frequency_hz=frequency_hz, sample_rate_hz=rate_hz),
        reference_db(of, rate_hz, frequency_hz),
        atol=0.01,
    )


def test_an_eq_that_does_nothing_has_one_band_that_is_off() -> None:
    state = to_stock(insert("eq"), sample_rate_hz=RATE_HZ)
    assert isinstance(state, ReaEq) and len(state.bands) == 1
    assert not rea_eq_response(state.bands, frequency_hz=FREQUENCIES_HZ, sample_rate_hz=RATE_HZ).any()
    assert from_stock(state, sample_rate_hz=RATE_HZ) == ("eq", EQ.defaults())


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from([BandType.BELL, BandType.LOW_SHELF, BandType.HIGH_SHELF, BandType.LOW_PASS]),
    octaves=st.floats(0.915, 4.0),
    frequency_hz=st.floats(20.0, 20000.0),
    gain_db=st.floats(-24.0, 24.0),
)
def test_bandwidth_and_q_are_inverse(kind: BandType, octaves: float, frequency_hz: float, gain_db: float) -> None:
    where: dict[str, float] = {"frequency_hz": frequency_hz, "gain_db": gain_db, "sample_rate_hz": RATE_HZ}
    q = q_of_bandwidth(kind, octaves, **where)
    assert bandwidth_of_q(kind, q, **where) == pytest.approx(octaves, rel=1e-9)


@pytest.mark.parametrize("rate_hz", [8000, 44100, 96000])
def test_the_ends_of_the_limits_of_an_eq_are_reached_but_not_passed(rate_hz: int) -> None:
    limits = stock_limits("eq", sample_rate_hz=rate_hz)
    assert tuple(limits) == EQ.names
    lowest, highest = limits["bell1_q"]
    assert lowest == pytest.approx(4 / 15) and (highest == 8.0) == (rate_hz >= 44100)
    steepest = limits["low_shelf_q"][1]
    assert steepest == pytest.approx(0.7728, abs=1e-4)
    narrow = {"bell1_hz": 20000.0, "bell1_db": 1.0}
    beyond = [
        {"bell1_hz": 20.0, "bell1_db": 1.0, "bell1_q": 0.99 * lowest},
        {"low_shelf_db": 0.001, "low_shelf_q": 1.01 * steepest},
        {"high_shelf_db": 12.1},
    ]
    within = [
        {"bell1_hz": 20.0, "bell1_db": 1.0, "bell1_q": lowest * 1.0001},
        narrow | {"bell1_q": highest},
        {"low_shelf_db": 0.001, "low_shelf_q": steepest},
        {"high_shelf_db": 12.0},
        {"highpass_hz": 20.0},
        {"highpass_hz": 19.0},
    ]
    if highest < 8.0:
        beyond.append(narrow | {"bell1_q": 1.01 * highest})
    for values in within:
        assert isinstance(to_stock(insert("eq", **values), sample_rate_hz=rate_hz), ReaEq)
    for values in beyond:
        with pytest.raises(ExportError, match=r"node: .*but REAPER's plugin takes .*use the JSFX"):
            to_stock(insert("eq", **values), sample_rate_hz=rate_hz)


@settings(max_examples=60, deadline=None)
@given(of=st.one_of(inserts("compressor"), inserts("delay")))
def test_compressors_and_delays_read_back(of: Insert) -> None:
    state = to_stock(of, sample_rate_hz=RATE_HZ)
    kind, values = from_stock(type(state).decode(state.encode()), sample_rate_hz=RATE_HZ)
    assert kind == of.type and tuple(values) == spec_of(kind).names
    wanted = of.parameters
    if kind == "delay":
        # Silent taps are left out, the others move up.
        used = [n for n in range(1, 5) if wanted[f"tap{n}_level_db"] > -60.0]
        renamed = {f"tap{new}": f"tap{old}" for new, old in enumerate(used, start=1)}
        wanted = DELAY.defaults() | {
            name: wanted[renamed[name[:4]] + name[4:]] for name in DELAY.names if name[:4] in renamed
        }
    for name, value in wanted.items():
        assert values[name] == pytest.approx(value, rel=1e-6, abs=2e-6), name


def test_a_compressor_is_set_without_what_ours_has_not() -> None:
    state = to_stock(
        insert("compressor", threshold_db=-18.0, ratio=4.0, attack_ms=5.0, knee_db=3.0, makeup_db=4.0),
        sample_rate_hz=RATE_HZ,
    )
    assert state == ReaComp(threshold_db=-18.0, ratio=4.0, attack_ms=5.0, knee_db=3.0, wet_db=4.0, rms_size_ms=0.0)


def test_more_make_up_than_the_plugin_has_is_refused() -> None:
    assert stock_limits("compressor", sample_rate_hz=RATE_HZ)["makeup_db"] == pytest.approx((-12.0, 6.0206))
    with pytest.raises(ExportError, match=r"node: makeup_db is 7, but REAPER's plugin takes -12 to 6\.021"):
        to_stock(insert("compressor", makeup_db=7.0), sample_rate_hz=RATE_HZ)


@settings(max_examples=60, deadline=None)
@given(of=inserts("gate"))
def test_gates_become_hard_ones(of: Insert) -> None:
    state = to_stock(of, sample_rate_hz=RATE_HZ)
    assert isinstance(state, ReaGate)
    if state.threshold_db > -100.0:
        assert db_to_gain(state.dry_db) + db_to_gain(state.wet_db) == pytest.approx(1.0, abs=1e-9)
    kind, values = from_stock(ReaGate.decode(state.encode()), sample_rate_hz=RATE_HZ)
    assert kind == "gate" and tuple(values) == GATE.names
    p = of.parameters
    neutral = p["ratio"] == 1.0 or p["range_db"] == 0.0
    kept = {"attack_ms", "release_ms"} if neutral else {"attack_ms", "release_ms", "threshold_db", "range_db"}
    for name in kept:
        assert values[name] == pytest.approx(p[name], rel=1e-6, abs=2e-5), name
    assert values["ratio"] == (1.0 if neutral else 20.0)


def test_a_gate_that_does_nothing_stays_open() -> None:
    for values in ({}, {"ratio": 4.0, "range_db": 0.0, "threshold_db": -20.0}):
        state = to_stock(insert("gate", **values), sample_rate_hz=RATE_HZ)
        assert isinstance(state, ReaGate) and (state.threshold_db, state.wet_db) == (-150.0, 0.0)


def test_a_delay_plays_echoes_only() -> None:
    of = insert("delay", tap2_level_db=-6.0, tap2_time_ms=333.0, tap2_pan=-0.5, tap2_low_cut_hz=200.0)
    state = to_stock(of, sample_rate_hz=RATE_HZ)
    tap = DelayTap(length_ms=333.0, length_beats=0.0, volume_db=-6.0, pan=-0.5, high_pass_hz=200.0)
    assert state == ReaDelay((tap,), wet_db=0.0, dry_db=-math.inf)
    silent = to_stock(insert("delay"), sample_rate_hz=RATE_HZ)
    assert isinstance(silent, ReaDelay) and [t.enabled for t in silent.taps] == [False]
    assert from_stock(silent, sample_rate_hz=RATE_HZ) == ("delay", DELAY.defaults())


@pytest.mark.parametrize(
    "state,words",
    [
        (ReaComp(), "rms_size_ms is 5"),
        (ReaComp(rms_size_ms=0.0, auto_makeup=True), "auto_makeup"),
        (ReaComp(rms_size_ms=0.0, dry_db=-20.0), "dry_db"),
        (ReaComp(rms_size_ms=0.0, ratio=50.0), "ratio"),
        (ReaComp(rms_size_ms=0.0, threshold_db=-math.inf), "threshold_db"),
        (ReaGate(hold_ms=10.0), "hold_ms"),
        (ReaGate(threshold_db=-20.0, dry_db=-6.0), "wet and dry together are at 3.5 dB"),
        (ReaDelay(), "dry_db is 0"),
        (ReaDelay(dry_db=-150.0), "tap 1: length_beats is 1"),
        (ReaDelay((DelayTap(length_beats=0.0, feedback_db=-6.0),), dry_db=-150.0), "feedback_db is -6"),
        (ReaDelay(5 * (DelayTap(length_ms=9.0, length_beats=0.0),), dry_db=-150.0), "more than 4 taps"),
        (ReaEq((Band(BandType.NOTCH),)), "type 'notch' is not read"),
        (ReaEq(5 * (Band(gain_db=1.0),)), "more bands of the type 'bell'"),
        (ReaEq((Band(BandType.HIGH_PASS, bandwidth_octaves=1.0),)), "highpass is not one our EQ has; use 1, the first"),
        (ReaEq((Band(bandwidth_octaves=1e300),)), "bandwidth_octaves of a band is 1e+300"),
        (ReaEq((Band(BandType.LOW_SHELF, gain_db=-math.inf),)), "gain_db of a band is -inf"),
        (ReaEq((Band(gain_db=-60.0),)), "bell1_db"),
        (ReaEq(output_gain_db=1.0), "output_gain_db is 1"),
    ],
)
def test_what_we_have_no_setting_for_is_named(state: Stock, words: str) -> None:
    with pytest.raises(SessionFileError) as error:
        from_stock(state, sample_rate_hz=RATE_HZ)
    assert words in str(error.value)


def test_types_without_a_plugin_and_unknown_laws_are_refused() -> None:
    for ask in (
        lambda: to_stock(insert("imager"), sample_rate_hz=RATE_HZ),
        lambda: stock_limits("limiter", sample_rate_hz=RATE_HZ),
    ):
        with pytest.raises(ExportError, match="no plugin of REAPER's is known"):
            ask()
    with pytest.raises(ParameterError, match="unknown law"):
        to_stock(insert("eq", law="other"), sample_rate_hz=RATE_HZ)
    assert tuple(stock_limits("gate", sample_rate_hz=RATE_HZ)) == GATE.names
    assert tuple(stock_limits("compressor", sample_rate_hz=RATE_HZ)) == COMPRESSOR.names
