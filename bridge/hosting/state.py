"""Bytes a VST3 stores: the container of JUCE and the component states of LSP and DPF plugins; no plugin is run here."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

import numpy as np

from ..errors import PluginRefusalError

_JUCE_MAGIC = 0x21324356
#: JUCE's own alphabet; six bits per letter, lowest bits first.
_JUCE_ALPHABET = np.frombuffer(b".ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+", dtype=np.uint8)
_JUCE_VALUES = np.full(256, 255, dtype=np.uint8)
_JUCE_VALUES[_JUCE_ALPHABET] = np.arange(64, dtype=np.uint8)

_LSP_MAGIC = b"LSPS"
#: The version every LSP release reads; version 2 is ignored by older ones without an error.
_LSP_VERSION = 1
#: Items that hold text; all others hold a number. Version 1 does not say which is which.
_LSP_TEXT_ID = re.compile(r"link|send|return|ifn\d*|fn\d*")

_DPF_BEGIN = "__dpf_parameters_begin__"
_DPF_END = "__dpf_parameters_end__"


def encode_raw_state(component: bytes, controller: bytes | None = None) -> bytes:
    """Wrap a component (and controller) state as pedalboard's `raw_state` expects it."""
    parts = f"<IComponent>{_juce_text(component)}</IComponent>"
    if controller is not None:
        parts += f"<IEditController>{_juce_text(controller)}</IEditController>"
    xml = f'<?xml version="1.0" encoding="UTF-8"?> <VST3PluginState>{parts}</VST3PluginState>'.encode("ascii")
    return struct.pack("<II", _JUCE_MAGIC, len(xml)) + xml + b"\0"


def decode_raw_state(raw: bytes) -> tuple[bytes, bytes | None]:
    """Return component and controller state held in pedalboard's `raw_state`.

    Raises
    ------
    PluginRefusalError
        When the bytes are not such a container.
    """
    if len(raw) < 8 or struct.unpack("<I", raw[:4])[0] != _JUCE_MAGIC:
        raise PluginRefusalError("plugin state: not in the form JUCE writes; use another plugin or pedalboard version")
    component = re.search(rb"<IComponent>(.*?)</IComponent>", raw, re.DOTALL)
    controller = re.search(rb"<IEditController>(.*?)</IEditController>", raw, re.DOTALL)
    if component is None:
        raise PluginRefusalError("plugin state: holds no component; the plugin stores nothing")
    return _juce_bytes(component.group(1)), _juce_bytes(controller.group(1)) if controller else None


def _juce_text(data: bytes) -> str:
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
    padded = np.concatenate([bits, np.zeros(-len(bits) % 6, dtype=np.uint8)]).reshape(-1, 6)
    letters = _JUCE_ALPHABET[np.packbits(padded, axis=1, bitorder="little")[:, 0]]
    return f"{len(data)}.{letters.tobytes().decode('ascii')}"


def _juce_bytes(text: bytes) -> bytes:
    length, _, letters = text.partition(b".")
    values = _JUCE_VALUES[np.frombuffer(letters, dtype=np.uint8)]
    if not length.isdigit() or (values == 255).any():
        raise PluginRefusalError("plugin state: malformed base64; the plugin's state cannot be read")
    bits = np.unpackbits(values.reshape(-1, 1), axis=1, bitorder="little")[:, :6]
    data = np.packbits(bits.reshape(-1), bitorder="little").tobytes()[: int(length)]
    return data.ljust(int(length), b"\0")


def is_lsp_state(component: bytes) -> bool:
    """Tell whether a component state was written by an LSP plugin."""
    return component[:4] == _LSP_MAGIC


def decode_lsp_state(component: bytes) -> dict[str, float | str]:
    """Return the items of an LSP component state in their order.

    Numbers are physical (Hz, ms, %); levels in dB are stored as linear amplitude.

    Raises
    ------
    PluginRefusalError
        When the bytes are of another version or end early.
    """
    if not is_lsp_state(component) or struct.unpack_from("<H", component, 4)[0] != _LSP_VERSION:
        raise PluginRefusalError(f"plugin state: not an LSP state of version {_LSP_VERSION}")
    items: dict[str, float | str] = {}
    position = 6
    try:
        while position < len(component):
            name, position = _read_text(component, position)
            if _LSP_TEXT_ID.fullmatch(name):
                items[name], position = _read_text(component, position)
            else:
                items[name] = struct.unpack_from("<f", component, position)[0]
                position += 4
    except (struct.error, IndexError, UnicodeDecodeError):
        raise PluginRefusalError("plugin state: LSP state ends early or is malformed") from None
    return items


def encode_lsp_state(items: Mapping[str, float | str]) -> bytes:
    """Inverse of `decode_lsp_state`."""
    parts = [_LSP_MAGIC, struct.pack("<H", _LSP_VERSION)]
    for name, value in items.items():
        is_text = _LSP_TEXT_ID.fullmatch(name) is not None
        if is_text != isinstance(value, str):
            raise PluginRefusalError(f"plugin state: {name!r} holds {'text' if is_text else 'a number'}, got {value!r}")
        parts += [_written_text(name), _written_text(value) if isinstance(value, str) else struct.pack("<f", value)]
    return b"".join(parts)


def _read_text(data: bytes, position: int) -> tuple[str, int]:
    """Read text that begins with its length, seven bits per byte."""
    length = shift = 0
    while True:
        byte = data[position]
        position += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if position + length > len(data):
        raise IndexError
    return data[position : position + length].decode("utf-8"), position + length


def _written_text(text: str) -> bytes:
    encoded = text.encode("utf-8")
    length = len(encoded)
    prefix = bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + encoded


def is_dpf_state(component: bytes) -> bool:
    """Tell whether a component state was written by a plugin built with DPF (ZamAudio, Dragonfly)."""
    return component.startswith(b"__dpf_") and _DPF_BEGIN.encode("ascii") in component


def decode_dpf_state(component: bytes) -> dict[str, float]:
    """Return the parameters of a DPF component state, id to physical value, in their order.

    Raises
    ------
    PluginRefusalError
        When the bytes are not such a state.
    """
    words = component.split(b"\0")
    try:
        first = words.index(_DPF_BEGIN.encode("ascii")) + 1
        last = words.index(_DPF_END.encode("ascii"), first)
        pairs = zip(words[first:last:2], words[first + 1 : last : 2], strict=True)
        return {name.decode("utf-8"): float(value) for name, value in pairs}
    except ValueError:
        raise PluginRefusalError("plugin state: not a DPF state or malformed") from None


def replace_dpf_parameters(component: bytes, values: Mapping[str, float]) -> bytes:
    """Return a DPF component state with some parameters changed; the rest, programs included, stays.

    Raises
    ------
    PluginRefusalError
        When the state lacks one of the ids or is malformed.
    """
    known = decode_dpf_state(component)
    for name in values:
        if name not in known:
            raise PluginRefusalError(f"plugin state: has no parameter {name!r}; known are {', '.join(known)}")
    words = component.split(b"\0")
    first = words.index(_DPF_BEGIN.encode("ascii")) + 1
    for place in range(first, first + 2 * len(known), 2):
        name = words[place].decode("utf-8")
        if name in values:
            # Nine digits carry any float32 exactly.
            words[place + 1] = f"{np.float32(values[name]):.9g}".encode("ascii")
    return b"\0".join(words)
