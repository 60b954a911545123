"""The .vstpreset container: what is written reads back; damaged files are told apart."""

import struct

import pytest

from mixbridge.bridge.errors import SessionFileError
from mixbridge.exporters.vstpreset import VstPreset, decode_vstpreset, encode_vstpreset

CLASS_ID = "64737020706538732020202061356538"


def test_the_layout_is_that_of_the_format():
    data = encode_vstpreset(CLASS_ID, b"component", b"ctl")
    assert data[:4] == b"VST3" and struct.unpack_from("<i", data, 4) == (1,)
    assert data[8:40] == CLASS_ID.encode()
    (offset,) = struct.unpack_from("<q", data, 40)
    assert data[48:offset] == b"componentctl"
    assert data[offset : offset + 8] == b"List" + struct.pack("<i", 2)
    assert struct.unpack_from("<4sqq", data, offset + 8) == (b"Comp", 48, 9)
    assert struct.unpack_from("<4sqq", data, offset + 28) == (b"Cont", 57, 3)
    assert len(data) == offset + 48


@pytest.mark.parametrize("controller", [None, b"\0\1\2"])
def test_what_is_written_reads_back(controller):
    component = bytes(range(256)) * 5
    assert decode_vstpreset(encode_vstpreset(CLASS_ID.lower(), component, controller)) == VstPreset(
        CLASS_ID, component, controller
    )


def test_an_empty_controller_reads_as_none():
    assert decode_vstpreset(encode_vstpreset(CLASS_ID, b"x", b"")).controller is None


def test_a_wrong_class_id_is_refused():
    with pytest.raises(SessionFileError, match="32 hexadecimal digits"):
        encode_vstpreset("Compressor", b"")


GOOD = encode_vstpreset(CLASS_ID, b"component", b"ctl")
DAMAGED = {
    "empty": b"",
    "another format": b"RIFF" + GOOD[4:],
    "header only": GOOD[:48],
    "cut in the list": GOOD[:-4],
    "another version": GOOD[:4] + struct.pack("<i", 2) + GOOD[8:],
    "negative offset": GOOD[:40] + struct.pack("<q", -8) + GOOD[48:],
    "offset beyond the end": GOOD[:40] + struct.pack("<q", 1 << 40) + GOOD[48:],
    "chunk beyond the end": GOOD[:-8] + struct.pack("<q", 1 << 40),
    "no component": GOOD.replace(b"Comp" + struct.pack("<q", 48), b"Xomp" + struct.pack("<q", 48)),
    "class id is no number": GOOD[:8] + b"Z" * 32 + GOOD[40:],
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_refused_in_one_line(data):
    with pytest.raises(SessionFileError) as caught:
        decode_vstpreset(data)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("preset: ")
