"""States of the plugins that come with REAPER (ReaEQ, ReaComp, ReaGate, ReaDelay) in physical units, as bytes.

Tables say where a state keeps what and in which scale. What these plugins do to audio, and how
our processors' parameters become theirs, is in `stock_settings`; the blocks of a project that hold
the states are in `vst_chunk`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Self

from ...bridge.choices import System
from ...bridge.errors import ExportError, SessionFileError
from ...bridge.processors.equations import db_to_gain, gain_to_db
from .vst_chunk import (
    PARAMETER_LIST_MAGIC,
    SIDE_CHAIN_PINS,
    STEREO_PINS,
    VstChunk,
    VstHead,
    vst2_head,
    vst2_number,
)

#: Level that REAPER's plugins show as minus infinity (dB).
SILENT_DB = -150.0

#: Largest level that a fader of these plugins takes, as a gain.
MAX_GAIN = 2.0

#: Frequency at which the filters of detectors and echoes are off (Hz).
FILTER_OFF_HZ = 20000.0

#: Relative difference to the end of a range that is rounding to single precision.
_ROUNDING = 1e-6

#: Largest number in single precision.
_LARGEST = 3.4028234e38


@dataclass(frozen=True)
class StockPlugin:
    """What identifies a plugin, and how a block presents its state."""

    name: str
    code: str
    inputs: tuple[int, ...]
    is_parameter_list: bool

    def head(self, system: System, *, custom_name: str = "") -> VstHead:
        """First line of its block."""
        stem = self.name.lower()
        return vst2_head(self.name, vendor="Cockos", code=self.code, stem=stem, system=system, custom_name=custom_name)


@dataclass(frozen=True)
class _Slot:
    """One stored number: a level as a gain, or ``(value - offset) / full``; `least` and `most` as it is stored."""

    name: str
    full: float = 1.0
    offset: float = 0.0
    is_level: bool = False
    least: float = 0.0
    most: float = 1.0

    @property
    def ends(self) -> tuple[float, float]:
        """Range of the value."""
        return self.value(self.least), self.value(self.most)

    def value(self, stored: float) -> float:
        if self.is_level:
            return gain_to_db(stored)
        # Without an offset minus zero keeps its sign.
        return stored * self.full + self.offset if self.offset else stored * self.full

    def stored(self, value: float) -> float:
        return float(db_to_gain(value)) if self.is_level else (value - self.offset) / self.full


def _level(name: str) -> _Slot:
    return _Slot(name, is_level=True, most=MAX_GAIN)


def _unknown(name: str) -> _Slot:
    """A number whose meaning is not known; it is kept as it is."""
    return _Slot(name, least=-_LARGEST, most=_LARGEST)


_COMPRESSOR_SLOTS = (
    _level("threshold_db"),
    _Slot("ratio", 99.0, 1.0),
    _Slot("attack_ms", 500.0),
    _Slot("release_ms", 5000.0),
    _Slot("look_ahead_ms", 250.0),
    _unknown("reserved"),
    _Slot("detector_low_pass_hz", FILTER_OFF_HZ),
    _Slot("detector_high_pass_hz", FILTER_OFF_HZ),
    _Slot("detector_input", 1084.0),
    _Slot("audition"),
    _level("dry_db"),
    _level("wet_db"),
    _Slot("filter_preview"),
    _Slot("rms_size_ms", 100.0),
    _Slot("knee_db", 24.0),
    _Slot("auto_makeup"),
    _Slot("auto_release"),
    _Slot("classic_attack"),
    _Slot("anti_aliasing", 13.0),
    _unknown("unknown_19"),
    _unknown("unknown_20"),
)

_GATE_SLOTS = (
    _level("threshold_db"),
    _Slot("attack_ms", 500.0),
    _Slot("release_ms", 5000.0),
    _Slot("pre_open_ms", 250.0),
    _Slot("hold_ms", 1000.0),
    _Slot("detector_low_pass_hz", FILTER_OFF_HZ),
    _Slot("detector_high_pass_hz", FILTER_OFF_HZ),
    _Slot("detector_input", 1084.0),
    _Slot("audition"),
    _level("dry_db"),
    _level("wet_db"),
    _level("noise_db"),
    _level("hysteresis_db"),
    _Slot("filter_preview"),
    _Slot("rms_size_ms", 100.0),
    _Slot("sends_midi"),
    _Slot("midi_note", 127.0),
    _unknown("midi_channel"),
    _Slot("inverts_wet"),
    _unknown("unknown_19"),
    _unknown("unknown_20"),
)

_TAP_SLOTS = (
    _unknown("reserved"),
    _Slot("enabled"),
    _Slot("length_ms", 10000.0),
    _Slot("length_beats", 128.0),
    _level("feedback_db"),
    _Slot("low_pass_hz", FILTER_OFF_HZ),
    _Slot("high_pass_hz", FILTER_OFF_HZ),
    _unknown("resolution"),
    _Slot("width", 2.0, -1.0),
    _level("volume_db"),
    _Slot("pan", 2.0, -1.0),
)

_DELAY_SLOTS = (_level("wet_db"), _level("dry_db"))

#: Fields that are no real numbers.
_SWITCHES = frozenset(("audition", "auto_makeup", "auto_release", "sends_midi", "inverts_wet", "enabled"))
_WHOLE = frozenset(("detector_input", "anti_aliasing", "midi_note"))


def _check(value: float, *, what: str, ends: tuple[float, float]) -> None:
    low, high = ends
    slack = [_ROUNDING * max(abs(end), 1.0) if math.isfinite(end) else 0.0 for end in ends]
    if math.isnan(value) or not low - slack[0] <= value <= high + slack[1]:
        raise ExportError(f"{what} is {value:g}, but takes {low:.6g} to {high:.6g}; choose a value in between")


def _pack(values: object, slots: Sequence[_Slot], *, what: str) -> bytes:
    """Single precision numbers of an object's fields."""
    stored = []
    for slot in slots:
        value = float(getattr(values, slot.name))
        _check(value, what=f"{what}: {slot.name}", ends=slot.ends)
        stored.append(slot.stored(value))
    try:
        return struct.pack(f"<{len(stored)}f", *stored)
    except OverflowError:
        raise ExportError(f"{what}: a number is too large for single precision; export again") from None


def _unpack(data: bytes, slots: Sequence[_Slot], *, what: str) -> dict[str, Any]:
    """Fields of an object from single precision numbers; there may be fewer numbers than slots."""
    values: dict[str, Any] = {}
    numbers = struct.unpack(f"<{len(data) // 4}f", data)
    for slot, stored in zip(slots, numbers, strict=False):
        if not math.isfinite(stored) or (slot.is_level and stored < 0.0):
            raise SessionFileError(f"{what}: {slot.name} is stored as {stored:g}; save the project again")
        value = slot.value(stored)
        if slot.name in _SWITCHES:
            values[slot.name] = value >= 0.5
        else:
            values[slot.name] = round(value) if slot.name in _WHOLE else value
    return values


def _decode_list(data: bytes, slots: Sequence[_Slot], *, fewest: int, what: str) -> dict[str, Any]:
    """Fields of a state that is a list of parameters; older versions have fewer of them."""
    body = data[len(PARAMETER_LIST_MAGIC) :]
    if not data.startswith(PARAMETER_LIST_MAGIC) or len(body) % 4 or not fewest <= len(body) // 4 <= len(slots):
        raise SessionFileError(f"{what}: not a state we know ({len(data)} bytes); save the project again")
    return _unpack(body, slots, what=what)


class _ParameterList:
    """A state that is a list of single precision numbers, one for each field."""

    PLUGIN: ClassVar[StockPlugin]
    SLOTS: ClassVar[tuple[_Slot, ...]]
    #: How many numbers the oldest version that we know writes.
    FEWEST: ClassVar[int]

    def encode(self) -> bytes:
        """The bytes of the state.

        Raises
        ------
        ExportError
            If a value is out of the plugin's range.
        """
        return PARAMETER_LIST_MAGIC + _pack(self, self.SLOTS, what=self.PLUGIN.name)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a state; what older versions lack is at its default.

        Raises
        ------
        SessionFileError
            If it is no state of this plugin.
        """
        return cls(**_decode_list(data, cls.SLOTS, fewest=cls.FEWEST, what=cls.PLUGIN.name))


# ---------------------------------------------------------------------------- ReaComp


@dataclass(frozen=True)
class ReaComp(_ParameterList):
    """State of ReaComp; the defaults are the plugin's own.

    Attributes
    ----------
    threshold_db : float, up to 6.02
    ratio : float, 1 to 100
        At 100 the plugin limits.
    attack_ms : float, 0 to 500
    release_ms : float, 0 to 5000
    knee_db : float, 0 to 24
    wet_db, dry_db : float, up to 6.02
        Level of the compressed signal, which is the make-up gain, and of the signal itself.
    rms_size_ms : float, 0 to 100
        Window of the detector; 0 for peaks.
    look_ahead_ms : float, 0 to 250
        The plugin calls it pre-comp.
    detector_low_pass_hz, detector_high_pass_hz : float, 0 to 20000
        Off at 20000 and 0.
    detector_input : int, 0 to 1084
        0 for the main inputs; 2 probably for the side-chain.
    auto_makeup, auto_release, audition : bool
    filter_preview : float, 0 to 1
    classic_attack : float, 0 to 1
        On from 0.5 on.
    anti_aliasing : int, 0 to 13
    reserved, unknown_19, unknown_20 : float
        Kept as they are.
    """

    PLUGIN: ClassVar[StockPlugin] = StockPlugin("ReaComp", "recm", SIDE_CHAIN_PINS, is_parameter_list=True)
    SLOTS: ClassVar[tuple[_Slot, ...]] = _COMPRESSOR_SLOTS
    FEWEST: ClassVar[int] = 18

    threshold_db: float = 0.0
    ratio: float = 4.0
    attack_ms: float = 3.0
    release_ms: float = 100.0
    knee_db: float = 0.0
    wet_db: float = 0.0
    dry_db: float = SILENT_DB
    rms_size_ms: float = 5.0
    look_ahead_ms: float = 0.0
    detector_low_pass_hz: float = FILTER_OFF_HZ
    detector_high_pass_hz: float = 0.0
    detector_input: int = 0
    auto_makeup: bool = False
    auto_release: bool = False
    audition: bool = False
    filter_preview: float = 0.0
    classic_attack: float = 0.25
    anti_aliasing: int = 0
    reserved: float = 0.0
    unknown_19: float = 0.0
    unknown_20: float = 0.0


# ---------------------------------------------------------------------------- ReaGate


@dataclass(frozen=True)
class ReaGate(_ParameterList):
    """State of ReaGate; the defaults are the plugin's own.

    Attributes
    ----------
    threshold_db : float, up to 6.02
    attack_ms : float, 0 to 500
    release_ms : float, 0 to 5000
    pre_open_ms : float, 0 to 250
    hold_ms : float, 0 to 1000
    wet_db, dry_db : float, up to 6.02
        Level of the gated signal and of the signal itself, which is all that is heard of a closed gate.
    noise_db : float, up to 6.02
    hysteresis_db : float, up to 6.02
        Where the gate closes, relative to the threshold.
    rms_size_ms : float, 0 to 100
        Window of the detector; 0 for peaks.
    detector_low_pass_hz, detector_high_pass_hz : float, 0 to 20000
        Off at 20000 and 0.
    detector_input : int, 0 to 1084
        As in `ReaComp`.
    audition, inverts_wet, sends_midi : bool
    filter_preview : float, 0 to 1
    midi_note : int, 0 to 127
    midi_channel, unknown_19, unknown_20 : float
        Kept as they are.
    """

    PLUGIN: ClassVar[StockPlugin] = StockPlugin("ReaGate", "regt", SIDE_CHAIN_PINS, is_parameter_list=True)
    SLOTS: ClassVar[tuple[_Slot, ...]] = _GATE_SLOTS
    FEWEST: ClassVar[int] = 19

    threshold_db: float = SILENT_DB
    attack_ms: float = 3.0
    release_ms: float = 100.0
    pre_open_ms: float = 0.0
    hold_ms: float = 0.0
    wet_db: float = 0.0
    dry_db: float = SILENT_DB
    noise_db: float = SILENT_DB
    hysteresis_db: float = 0.0
    rms_size_ms: float = 0.0
    detector_low_pass_hz: float = FILTER_OFF_HZ
    detector_high_pass_hz: float = 0.0
    detector_input: int = 0
    audition: bool = False
    inverts_wet: bool = False
    sends_midi: bool = False
    filter_preview: float = 0.0
    midi_note: int = 69
    midi_channel: float = 0.0
    unknown_19: float = 0.0
    unknown_20: float = 0.0


# ---------------------------------------------------------------------------- ReaEQ


class BandType(IntEnum):
    """Filter of a band of ReaEQ, by its number."""

    LOW_SHELF = 0
    HIGH_SHELF = 1
    BELL_OLD = 2
    LOW_PASS = 3
    HIGH_PASS = 4
    ALL_PASS = 5
    NOTCH = 6
    BAND_PASS = 7
    BELL = 8
    BELL_ALTERNATIVE = 9
    BAND_PASS_PARALLEL = 10


#: Largest gain that is known of a band (dB): that of its field. Its automation ends at `AUTOMATED_GAIN`.
MAX_BAND_GAIN_DB = 24.0

#: Gain (linear) at which the parameter ends that automation moves; so far a band's gain is certain.
AUTOMATED_GAIN = 4.0

BAND_FREQUENCY_HZ = (20.0, 24000.0)
BANDWIDTH_OCTAVES = (0.01, 4.0)

#: Type, enabled, frequency, gain and bandwidth; a byte follows that older versions lack.
_BAND = struct.Struct("<iiddd")
_BAND_ENDING = b"\x01"
_BAND_SIZES = (_BAND.size, _BAND.size + len(_BAND_ENDING))

#: Two switches, always on, and the output gain; then what concerns the window.
_TAIL = struct.Struct("<iid")
_WINDOW = struct.pack("<IIII", 0, 593, 428, 2)


@dataclass(frozen=True)
class Band:
    """One band of ReaEQ, a filter of second order.

    Attributes
    ----------
    type : BandType
    enabled : bool
    frequency_hz : float, 20 to 24000
    gain_db : float, up to 24
        Passes keep it without use.
    bandwidth_octaves : float, 0.01 to 4
    """

    type: BandType = BandType.BELL
    enabled: bool = True
    frequency_hz: float = 1000.0
    gain_db: float = 0.0
    bandwidth_octaves: float = 2.0

    def encode(self) -> bytes:
        """The bytes of the band (`ExportError` if a value is out of range)."""
        _check(self.frequency_hz, what="ReaEQ: frequency_hz", ends=BAND_FREQUENCY_HZ)
        _check(self.gain_db, what="ReaEQ: gain_db", ends=(-math.inf, MAX_BAND_GAIN_DB))
        _check(self.bandwidth_octaves, what="ReaEQ: bandwidth_octaves", ends=BANDWIDTH_OCTAVES)
        gain = db_to_gain(self.gain_db)
        return _BAND.pack(self.type, self.enabled, self.frequency_hz, gain, self.bandwidth_octaves) + _BAND_ENDING

    @classmethod
    def decode(cls, data: bytes) -> Band:
        """Read a band (`SessionFileError` if it is none)."""
        kind, enabled, frequency_hz, gain, bandwidth = _BAND.unpack_from(data)
        numbers_good = all(math.isfinite(v) for v in (frequency_hz, gain, bandwidth)) and gain >= 0.0
        if kind not in set(BandType) or enabled not in (0, 1) or not numbers_good:
            raise SessionFileError("ReaEQ: a band is not one we know; save the project again")
        if data[_BAND.size :] not in (b"", _BAND_ENDING):
            raise SessionFileError("ReaEQ: a band ends with something we do not know; save the project again")
        return cls(BandType(kind), bool(enabled), frequency_hz, gain_to_db(gain), bandwidth)


@dataclass(frozen=True)
class ReaEq:
    """State of ReaEQ.

    Attributes
    ----------
    bands : tuple of Band
        By default one that does nothing.
    output_gain_db : float, up to 24
    window : bytes
        Size of the window and the like.
    """

    PLUGIN: ClassVar[StockPlugin] = StockPlugin("ReaEQ", "reeq", STEREO_PINS, is_parameter_list=False)

    bands: tuple[Band, ...] = (Band(),)
    output_gain_db: float = 0.0
    window: bytes = field(default=_WINDOW, repr=False)

    def encode(self) -> bytes:
        """The bytes of the state.

        Raises
        ------
        ExportError
            If a value is out of the plugin's range.
        """
        _check(self.output_gain_db, what="ReaEQ: output_gain_db", ends=(-math.inf, MAX_BAND_GAIN_DB))
        head = struct.pack("<II", _BAND_SIZES[-1], len(self.bands))
        tail = _TAIL.pack(1, 1, db_to_gain(self.output_gain_db))
        return head + b"".join(band.encode() for band in self.bands) + tail + self.window

    @classmethod
    def decode(cls, data: bytes) -> ReaEq:
        """Read a state.

        Raises
        ------
        SessionFileError
            If it is no state of this plugin.
        """
        size, count = struct.unpack_from("<II", data) if len(data) >= 8 else (0, 0)
        end = 8 + size * count
        if size not in _BAND_SIZES or len(data) < end + _TAIL.size:
            raise SessionFileError(f"ReaEQ: not a state we know ({len(data)} bytes); save the project again")
        first, second, gain = _TAIL.unpack_from(data, end)
        if (first, second) != (1, 1) or not 0.0 <= gain < math.inf:
            raise SessionFileError("ReaEQ: the state's end is not one we know; save the project again")
        bands = tuple(Band.decode(data[at : at + size]) for at in range(8, end, size))
        return cls(bands, gain_to_db(gain), data[end + _TAIL.size :])


# ---------------------------------------------------------------------------- ReaDelay


@dataclass(frozen=True)
class DelayTap:
    """One tap of ReaDelay; the defaults are the plugin's own.

    Attributes
    ----------
    enabled : bool
    length_ms : float, 0 to 10000
    length_beats : float, 0 to 128
        As the plugin counts them, at the project's tempo; probably it adds to `length_ms`.
    feedback_db, volume_db : float, up to 6.02
    low_pass_hz, high_pass_hz : float, 0 to 20000
        Off at 20000 and 0.
    width, pan : float, -1 to 1
    resolution, reserved : float
        Kept as they are.
    """

    enabled: bool = True
    length_ms: float = 0.0
    length_beats: float = 1.0
    feedback_db: float = SILENT_DB
    low_pass_hz: float = FILTER_OFF_HZ
    high_pass_hz: float = 0.0
    width: float = 1.0
    volume_db: float = 0.0
    pan: float = 0.0
    resolution: float = 1.0
    reserved: float = 0.0


#: Two zeros, how many taps of how many bytes, how many levels follow, and the tap that the window shows.
_DELAY_HEAD = struct.Struct("<6I")
_TAP_BYTES = 4 * len(_TAP_SLOTS)


@dataclass(frozen=True)
class ReaDelay:
    """State of ReaDelay; the defaults are the plugin's own.

    Attributes
    ----------
    taps : tuple of DelayTap
    wet_db, dry_db : float, up to 6.02
        Level of the echoes and of the signal itself.
    shown_tap : int
        Index of the tap in the window.
    """

    PLUGIN: ClassVar[StockPlugin] = StockPlugin("ReaDelay", "redl", STEREO_PINS, is_parameter_list=False)

    taps: tuple[DelayTap, ...] = (DelayTap(),)
    wet_db: float = -6.02
    dry_db: float = 0.0
    shown_tap: int = 0

    def encode(self) -> bytes:
        """The bytes of the state.

        Raises
        ------
        ExportError
            If a value is out of the plugin's range.
        """
        name = self.PLUGIN.name
        _check(self.shown_tap, what=f"{name}: shown_tap", ends=(0, max(len(self.taps) - 1, 0)))
        head = _DELAY_HEAD.pack(0, 0, len(self.taps), _TAP_BYTES, len(_DELAY_SLOTS), self.shown_tap)
        taps = (_pack(tap, _TAP_SLOTS, what=f"{name}: tap {n}") for n, tap in enumerate(self.taps, start=1))
        return head + _pack(self, _DELAY_SLOTS, what=name) + b"".join(taps)

    @classmethod
    def decode(cls, data: bytes) -> ReaDelay:
        """Read a state.

        Raises
        ------
        SessionFileError
            If it is no state of this plugin.
        """
        name = cls.PLUGIN.name
        start = _DELAY_HEAD.size + 4 * len(_DELAY_SLOTS)
        head = _DELAY_HEAD.unpack_from(data) if len(data) >= start else (0,) * 6
        count, shown = head[2], head[5]
        if head[:2] + head[3:5] != (0, 0, _TAP_BYTES, len(_DELAY_SLOTS)) or len(data) != start + count * _TAP_BYTES:
            raise SessionFileError(f"{name}: not a state we know ({len(data)} bytes); save the project again")
        levels = _unpack(data[_DELAY_HEAD.size : start], _DELAY_SLOTS, what=name)
        taps = tuple(
            DelayTap(**_unpack(data[at : at + _TAP_BYTES], _TAP_SLOTS, what=f"{name}: a tap"))
            for at in range(start, len(data), _TAP_BYTES)
        )
        return cls(taps=taps, shown_tap=min(shown, max(count - 1, 0)), **levels)


# ---------------------------------------------------------------------------- as blocks

Stock = ReaEq | ReaComp | ReaGate | ReaDelay

_STATES: tuple[type[Stock], ...] = (ReaEq, ReaComp, ReaGate, ReaDelay)


def stock_chunk(state: Stock, *, preset_name: str = "") -> VstChunk:
    """What the block of a plugin in this state holds; its first line is ``state.PLUGIN.head(system)``.

    Raises
    ------
    ExportError
        If a value is out of the plugin's range.
    """
    plugin = state.PLUGIN
    return VstChunk(
        number=vst2_number(plugin.code),
        state=state.encode(),
        inputs=plugin.inputs,
        is_parameter_list=plugin.is_parameter_list,
        preset_name=preset_name,
    )


def decode_stock(chunk: VstChunk) -> Stock | None:
    """State of a plugin that comes with REAPER; None for any other plugin.

    Raises
    ------
    SessionFileError
        If it is one of them, but its state is damaged.
    """
    for kind in _STATES:
        if chunk.number == vst2_number(kind.PLUGIN.code):
            return kind.decode(chunk.state)
    return None
