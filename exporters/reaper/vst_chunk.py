"""The blocks of VST plugins in REAPER's projects, as text and bytes: first line, pins, state; no plugin's own format.

A block's first line names the plugin, the lines below it are base64: a header with the pins (which
channels of the track the plugin's inputs and outputs are), the plugin's state, and a footer with
the name of its preset. What Cockos' own plugins keep in their states is in `stock`.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...bridge.choices import System
from ...bridge.errors import ExportError, SessionFileError
from ..vstpreset import VstPreset
from .rpp import Block, Token, Word
from .tree import Chunk, Line, tokens_of

#: A block that holds more is refused; the largest states, of samplers, are a few megabytes.
MAX_STATE_BYTES = 32 * 1024 * 1024

#: Bytes that REAPER puts into a line of base64.
_LINE_BYTES = 96

#: Behind the identifier: the state is the plugin's own, or a list of parameters.
_OWN_STATE, _PARAMETER_LIST = 0xFEED5EEE, 0xFEED5EEF

#: A state that is a list of parameters begins with these bytes; single precision numbers follow.
PARAMETER_LIST_MAGIC = bytes.fromhex("EFBEADDE0DF0ADDE")

#: Plugins have fewer pins.
_MAX_PINS = 1024

#: The upper half of the header's last word, and the footer's last word; older versions write 0.
_REVISION = 0x10

#: Number of the program where there is none.
NO_PROGRAM = 0xFFFF

_FILE_ENDINGS: dict[System, str] = {"windows": ".dll", "macos": ".vst.dylib", "linux": ".vst.so"}

_CLASS_ID = re.compile(r"[0-9A-F]{32}")
_IDENTITY = re.compile(r"(\d{1,10})(?:<([0-9A-Fa-f]{0,64})>|\{([0-9A-Fa-f]{32})\})?")


def pins(channels: int) -> tuple[int, ...]:
    """Masks of pins of which each is one channel of the track, from the first on."""
    return tuple(1 << channel for channel in range(channels))


#: A plugin on channels 1 and 2 of its track.
STEREO_PINS = pins(2)

#: Inputs of a plugin whose side-chain listens to channels 3 and 4.
SIDE_CHAIN_PINS = pins(4)


# ---------------------------------------------------------------------------- who the plugin is


def _class_id_bytes(class_id: str) -> bytes:
    text = class_id.upper()
    if not _CLASS_ID.fullmatch(text):
        raise SessionFileError(f"class id {class_id!r} is not 32 hexadecimal digits; scan the plugin again")
    return bytes.fromhex(text)


def _com_order(data: bytes) -> bytes:
    """The 16 bytes of a class id as Windows' interfaces order them: three integers turned round. Its own inverse."""
    return data[3::-1] + data[5:3:-1] + data[7:5:-1] + data[8:]


def vst3_number(class_id: str) -> int:
    """Number by which REAPER tells VST3 plugins apart: a hash (FNV-1a) of the class id, 31 bits.

    Parameters
    ----------
    class_id : str
        32 hexadecimal digits, as a .vstpreset has them.

    Raises
    ------
    SessionFileError
        If `class_id` is anything else.
    """
    value = 0x811C9DC5
    for byte in _com_order(_class_id_bytes(class_id)):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value & 0x7FFFFFFF


#: How class ids of plugins made with DPF begin on Linux and macOS, where nothing is turned round.
_DPF = bytes.fromhex("2046504473616C63")


def class_id_on(class_id: str, system: System) -> str:
    """The class id that a plugin has on a system.

    It is the same everywhere, but for plugins made with DPF (ZamAudio, Dragonfly Reverb, Cardinal):
    they keep the bytes, not the text, so that their text and number are different on Windows.

    Parameters
    ----------
    class_id : str
        That of any system, 32 hexadecimal digits.

    Raises
    ------
    SessionFileError
        If `class_id` is anything else.
    """
    data = _class_id_bytes(class_id)
    turned = _com_order(data)
    if data.startswith(_DPF):
        data = turned if system == "windows" else data
    elif turned.startswith(_DPF):
        data = data if system == "windows" else turned
    return data.hex().upper()


def vst2_number(code: str) -> int:
    """Number of a VST2 plugin: its code of four characters as an integer.

    Raises
    ------
    ExportError
        If `code` is not four ASCII characters.
    """
    if len(code) != 4 or not code.isascii():
        raise ExportError(f"VST code {code!r} is not four ASCII characters; copy it from a project with it")
    return int.from_bytes(code.encode("ascii"), "big")


def vst2_uid(code: str, name: str) -> str:
    """Hexadecimal digits that stand for a VST2 plugin in a project: ``VST``, its code and its name's beginning."""
    short = name.lower().encode("utf-8", "replace")[:9]
    return (b"VST" + vst2_number(code).to_bytes(4, "big") + short.ljust(9, b"\0")).hex().upper()


@dataclass(frozen=True)
class VstHead:
    """First line of a block: which plugin it is.

    Attributes
    ----------
    name : str
        As REAPER lists it, kind and vendor included: ``VST: ReaEQ (Cockos)``.
    file : str
        Of the plugin, without folders; it may differ from system to system.
    number : int
        `vst2_number` or `vst3_number`.
    uid : str
        Hexadecimal digits: a VST3's class id, a VST2's `vst2_uid`; empty in projects of REAPER 5.
    is_vst3 : bool
    custom_name : str
        Name of the instance; empty for none.
    """

    name: str
    file: str
    number: int
    uid: str
    is_vst3: bool = False
    custom_name: str = ""

    @property
    def tokens(self) -> list[Token]:
        """The line, keyword included."""
        mark = "{%s}" if self.is_vst3 else "<%s>"
        identity = str(self.number) + (mark % self.uid.upper() if self.uid else "")
        return [Word("VST"), self.name, self.file, Word("0"), self.custom_name, Word(identity), ""]


def vst2_head(name: str, *, vendor: str, code: str, stem: str, system: System, custom_name: str = "") -> VstHead:
    """First line of a VST2 effect; `stem` is its file's name without the ending.

    Raises
    ------
    ExportError
        If `code` is not four ASCII characters.
    """
    return VstHead(
        name=f"VST: {name} ({vendor})",
        file=stem + _FILE_ENDINGS[system],
        number=vst2_number(code),
        uid=vst2_uid(code, name),
        custom_name=custom_name,
    )


def vst3_head(name: str, *, vendor: str, class_id: str, file: str, system: System, custom_name: str = "") -> VstHead:
    """First line of a VST3 effect; `class_id` may be that of another system than `system`, for which it is written.

    Raises
    ------
    SessionFileError
        If `class_id` is not 32 hexadecimal digits.
    """
    uid = class_id_on(class_id, system)
    return VstHead(
        name=f"VST3: {name} ({vendor})",
        file=file,
        number=vst3_number(uid),
        uid=uid,
        is_vst3=True,
        custom_name=custom_name,
    )


def decode_vst_head(tokens: Sequence[str]) -> VstHead:
    """Read the tokens of a first line, keyword included.

    Raises
    ------
    SessionFileError
        If they are not those of a VST plugin.
    """
    found = _IDENTITY.fullmatch(tokens[5]) if len(tokens) > 5 and tokens[0] == "VST" else None
    if found is None or int(found[1]) > 0xFFFFFFFF:
        raise SessionFileError("VST block: its first line names no plugin; save the project again")
    _, name, file, _, custom_name = tokens[:5]
    return VstHead(
        name=name,
        file=file,
        number=int(found[1]),
        uid=(found[2] or found[3] or "").upper(),
        is_vst3=found[3] is not None,
        custom_name=custom_name,
    )


# ---------------------------------------------------------------------------- what the block holds


@dataclass(frozen=True)
class VstChunk:
    """What the lines of a block hold.

    Attributes
    ----------
    number : int
        That of the first line.
    state : bytes
        As the plugin gave it; for a VST3 see `Vst3State`.
    inputs, outputs : tuple of int
        For each pin of the plugin the channels of the track, as bits.
    is_parameter_list : bool
        The state is `PARAMETER_LIST_MAGIC` and numbers, instead of the plugin's own.
    program : int
        Number of the plugin's program, or `NO_PROGRAM`.
    preset_name : str
        Shown in the plugin's window; empty for none.
    has_list_mark : bool or None
        Whether the header announces a parameter list. None: as `is_parameter_list`, but for a few plugins.
    header_revision, footer_revision : int
        Written by REAPER 6 and 7 as they are here.
    """

    number: int
    state: bytes
    inputs: tuple[int, ...] = STEREO_PINS
    outputs: tuple[int, ...] = STEREO_PINS
    is_parameter_list: bool = False
    program: int = 0
    preset_name: str = ""
    has_list_mark: bool | None = None
    header_revision: int = _REVISION
    footer_revision: int = _REVISION

    @property
    def header(self) -> bytes:
        """What stands before the state.

        Raises
        ------
        ExportError
            If a number is out of range or the state too large.
        """
        if len(self.state) > MAX_STATE_BYTES:
            raise ExportError(f"VST block: a state of {len(self.state)} bytes is too large; choose another preset")
        marked = self.is_parameter_list if self.has_list_mark is None else self.has_list_mark
        try:
            return b"".join(
                (
                    struct.pack("<II", self.number, _PARAMETER_LIST if marked else _OWN_STATE),
                    *(struct.pack(f"<I{len(masks)}Q", len(masks), *masks) for masks in (self.inputs, self.outputs)),
                    struct.pack("<II", len(self.state), 0 if self.is_parameter_list else 1),
                    struct.pack("<HH", self.program, self.header_revision),
                )
            )
        except struct.error as error:
            raise ExportError(f"VST block: a number of the header is out of range ({error}); export again") from None

    @property
    def footer(self) -> bytes:
        """What stands behind the state."""
        name = self.preset_name.replace("\0", " ").encode("utf-8", "surrogateescape")
        return b"\0" + name + b"\0" + struct.pack("<I", self.footer_revision)

    def lines(self) -> list[str]:
        """The block's lines of base64: header, state and footer begin lines of their own, as REAPER writes them."""
        parts = (self.header, self.state, self.footer)
        return [
            base64.b64encode(part[at : at + _LINE_BYTES]).decode("ascii")
            for part in parts
            for at in range(0, len(part), _LINE_BYTES)
        ]


def decode_vst_chunk(lines: Iterable[str]) -> VstChunk:
    """Read the lines of a block; where they break, and padding within, means nothing.

    Raises
    ------
    SessionFileError
        If they are not base64, cut off, or larger than `MAX_STATE_BYTES` and a header.
    """
    data = _joined(lines)
    reader = _Reader(data)
    number, mark = reader.take("II")
    if mark not in (_OWN_STATE, _PARAMETER_LIST):
        raise SessionFileError("VST block: its header is not one we know; save the project again")
    inputs, outputs = reader.masks(), reader.masks()
    size, own = reader.take("II")
    program, header_revision = reader.take("HH")
    if own > 1:
        raise SessionFileError(f"VST block: a state of kind {own} is not one we know; save the project again")
    state = reader.bytes(size)
    rest = data[reader.at :]
    end = rest.find(b"\0", 1)
    if rest[:1] != b"\0" or end != len(rest) - 5:
        raise SessionFileError("VST block: its end is not one we know; save the project again")
    return VstChunk(
        number=number,
        state=state,
        inputs=inputs,
        outputs=outputs,
        is_parameter_list=not own,
        program=program,
        preset_name=rest[1:end].decode("utf-8", "surrogateescape"),
        has_list_mark=None if (mark == _PARAMETER_LIST) == (not own) else mark == _PARAMETER_LIST,
        header_revision=header_revision,
        footer_revision=struct.unpack_from("<I", rest, end + 1)[0],
    )


def _joined(lines: Iterable[str]) -> bytes:
    parts, total = [], 0
    for number, line in enumerate(lines, start=1):
        try:
            parts.append(base64.b64decode(line, validate=True))
        except ValueError:
            raise SessionFileError(f"VST block: line {number} is not base64; save the project again") from None
        total += len(parts[-1])
        # Header and footer are small against the state.
        if total > MAX_STATE_BYTES + 64 * _MAX_PINS:
            raise SessionFileError(f"VST block: larger than {MAX_STATE_BYTES} bytes; choose a preset with less in it")
    return b"".join(parts)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def bytes(self, count: int) -> bytes:
        found = self._data[self.at : self.at + count]
        if len(found) != count:
            raise SessionFileError("VST block: it is cut off; save the project again")
        self.at += count
        return found

    def take(self, form: str) -> tuple[int, ...]:
        return struct.unpack("<" + form, self.bytes(struct.calcsize("<" + form)))

    def masks(self) -> tuple[int, ...]:
        (count,) = self.take("I")
        if count > _MAX_PINS:
            raise SessionFileError(f"VST block: {count} pins are more than a plugin can have; save the project again")
        return self.take(f"{count}Q")


# ---------------------------------------------------------------------------- states of VST3 plugins


@dataclass(frozen=True)
class Vst3State:
    """State of a VST3 plugin: a section of its audio component and one of its edit controller.

    Attributes
    ----------
    component : bytes
    controller : bytes
        Empty where there is none.
    """

    component: bytes
    controller: bytes = b""

    @classmethod
    def from_preset(cls, preset: VstPreset) -> Vst3State:
        """The same state as a .vstpreset holds it."""
        return cls(preset.component, preset.controller or b"")

    def to_preset(self, class_id: str) -> VstPreset:
        """The state as a .vstpreset holds it."""
        return VstPreset(class_id.upper(), self.component, self.controller or None)

    def encode(self) -> bytes:
        """The bytes that `VstChunk.state` takes."""
        sections = ((self.component, 1), (self.controller, 0))
        return b"".join(struct.pack("<II", len(data), kind) + data for data, kind in sections)

    @classmethod
    def decode(cls, data: bytes) -> Vst3State:
        """Read `VstChunk.state`.

        Raises
        ------
        SessionFileError
            If it does not consist of these two sections.
        """
        sections, at = [], 0
        for kind in (1, 0):
            size, found = struct.unpack_from("<II", data, at) if len(data) >= at + 8 else (0, None)
            if found != kind or at + 8 + size > len(data):
                raise SessionFileError("VST3 state: not a component's and a controller's; save the project again")
            sections.append(data[at + 8 : at + 8 + size])
            at += 8 + size
        if at != len(data):
            raise SessionFileError("VST3 state: something follows its two sections; save the project again")
        return cls(*sections)


def vst3_chunk(
    class_id: str, state: Vst3State, *, system: System, inputs: tuple[int, ...] = STEREO_PINS, preset_name: str = ""
) -> VstChunk:
    """What the block of a VST3 effect holds; `class_id` may be that of another system than `system`.

    Raises
    ------
    SessionFileError
        If `class_id` is not 32 hexadecimal digits.
    """
    return VstChunk(
        number=vst3_number(class_id_on(class_id, system)),
        state=state.encode(),
        inputs=inputs,
        program=NO_PROGRAM,
        preset_name=preset_name,
    )


# ---------------------------------------------------------------------------- blocks as text


def vst_block(head: VstHead, chunk: VstChunk) -> Block:
    """The block as `rpp` writes it.

    Raises
    ------
    ExportError
        If a number of the header is out of range or the state too large.
    """
    return Block(head.tokens, [[Word(line)] for line in chunk.lines()])


def read_vst_block(block: Chunk) -> tuple[VstHead, VstChunk]:
    """Read a block as `tree` has it.

    Raises
    ------
    SessionFileError
        If it is not a VST plugin's, or damaged; the message names the line of the project.
    """
    try:
        return (
            decode_vst_head(tokens_of(block.head.text) or ()),
            decode_vst_chunk(item.text for item in block.items if isinstance(item, Line)),
        )
    except SessionFileError as error:
        raise SessionFileError(f"line {block.number}: {error}") from None
