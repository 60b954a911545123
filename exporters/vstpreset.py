"""Files in the .vstpreset format: written and read as bytes; what the states in them mean is no business of theirs."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from ..bridge.errors import SessionFileError

_MAGIC = b"VST3"
_VERSION = 1
_HEADER_BYTES = 48
_LIST_ID = b"List"
_COMPONENT_ID = b"Comp"
_CONTROLLER_ID = b"Cont"
_CLASS_ID = re.compile(r"[0-9A-F]{32}")


@dataclass(frozen=True)
class VstPreset:
    """What a preset file holds.

    Attributes
    ----------
    class_id : str
        32 hexadecimal digits, upper case: the plugin it belongs to.
    component : bytes
        State of the audio component.
    controller : bytes or None
        State of the edit controller; None where there is none or it is empty.
    """

    class_id: str
    component: bytes
    controller: bytes | None = None


def encode_vstpreset(class_id: str, component: bytes, controller: bytes | None = None) -> bytes:
    """Return the bytes of a .vstpreset file.

    Raises
    ------
    SessionFileError
        When `class_id` is not 32 hexadecimal digits.
    """
    if not _CLASS_ID.fullmatch(class_id.upper()):
        raise SessionFileError(f"preset: class id {class_id!r} is not 32 hexadecimal digits; scan the plugin again")
    chunks = [(_COMPONENT_ID, component)]
    if controller is not None:
        chunks.append((_CONTROLLER_ID, controller))
    entries, body = b"", b""
    for name, data in chunks:
        entries += name + struct.pack("<qq", _HEADER_BYTES + len(body), len(data))
        body += data
    head = _MAGIC + struct.pack("<i", _VERSION) + class_id.upper().encode("ascii")
    head += struct.pack("<q", _HEADER_BYTES + len(body))
    return head + body + _LIST_ID + struct.pack("<i", len(chunks)) + entries


def decode_vstpreset(data: bytes) -> VstPreset:
    """Read the bytes of a .vstpreset file.

    Raises
    ------
    SessionFileError
        When they are no preset, of another version, cut off or without a component state.
    """
    if data[:4] != _MAGIC or len(data) < _HEADER_BYTES:
        raise SessionFileError("preset: not a .vstpreset file; save the preset again")
    version, offset = struct.unpack_from("<i", data, 4)[0], struct.unpack_from("<q", data, 40)[0]
    class_id = data[8:40].decode("ascii", errors="replace").upper()
    if version != _VERSION or not _CLASS_ID.fullmatch(class_id):
        raise SessionFileError(f"preset: version {version}, class id {class_id!r}: not a preset that can be read")
    chunks: dict[bytes, bytes] = {}
    try:
        if offset < _HEADER_BYTES or data[offset : offset + 4] != _LIST_ID:
            raise SessionFileError("preset: its list of chunks is missing; the file is cut off")
        for index in range(struct.unpack_from("<i", data, offset + 4)[0]):
            name, start, size = struct.unpack_from("<4sqq", data, offset + 8 + 20 * index)
            if start < 0 or size < 0 or start + size > len(data):
                raise SessionFileError(f"preset: chunk {name!r} lies outside the file; the file is cut off")
            chunks[name] = data[start : start + size]
    except struct.error:
        raise SessionFileError("preset: its list of chunks is cut off; save the preset again") from None
    if _COMPONENT_ID not in chunks:
        raise SessionFileError("preset: holds no component state; save the preset again")
    return VstPreset(class_id, chunks[_COMPONENT_ID], chunks.get(_CONTROLLER_ID) or None)


def read_vstpreset(path: Path) -> VstPreset:
    """Read a .vstpreset file.

    Raises
    ------
    SessionFileError
        When it cannot be read or is no preset; the message names the file.
    """
    try:
        return decode_vstpreset(path.read_bytes())
    except OSError as error:
        raise SessionFileError(f"{path}: cannot read the preset ({error.strerror}); export the session again") from None
    except SessionFileError as error:
        raise SessionFileError(f"{path}: {error}; export the session again") from None
