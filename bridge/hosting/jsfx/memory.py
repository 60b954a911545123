"""The functions of the language that work on memory, compiled once: memset, memcpy, FFT; reached by their addresses.

Each takes the memory, its size, the status that reports errors (see `traps`), the line of the
call and three numbers; buffers that leave the memory or break the FFT's rules are reported,
where REAPER would go on with wrong sound.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import types
from numba.np.numpy_support import carray

from .header import MEMORY_PAGE_SLOTS
from .language import BLOCK_NUDGE, FFT_SIZES
from .traps import BAD_BUFFER, BAD_FFT_SIZE, FFT_CROSSES_PAGE, STATUS_SIZE

_REALS = numba.types.CPointer(types.float64)  # type: ignore[no-untyped-call]
_SIGNATURE = types.void(_REALS, types.int64, _REALS, _REALS, types.int64, types.float64, types.float64, types.float64)

#: Points on the circle in the table of twiddle factors: the largest FFT.
TURN = FFT_SIZES[-1]

_ANGLES = -2.0 * np.pi * np.arange(TURN) / TURN
#: Cosine and sine of each point, clockwise; compiled code reads it by its address.
TWIDDLES = np.ascontiguousarray(np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1))


@numba.njit(inline="never")
def _trap(status: Any, code: float, line: int, value: float) -> None:
    if status[0] == 0.0:
        status[0], status[1], status[2] = code, float(line), value


@numba.njit(inline="never")
def _range(start: float, count: float, size: int) -> tuple[int, int]:
    """First slot and number of slots; -1 where they leave the memory."""
    first, length = start + BLOCK_NUDGE, count + BLOCK_NUDGE
    if not (0.0 <= first < size and -1.0 < length <= size + 1):
        return -1, 0
    if int(first) + int(length) > size:
        return -1, 0
    return int(first), int(length)


def _memset(data: Any, size: int, state: Any, table: Any, line: int, start: float, value: float, count: float) -> None:
    memory, status = carray(data, size), carray(state, STATUS_SIZE)
    first, length = _range(start, count, size)
    if first < 0:
        _trap(status, BAD_BUFFER, line, start)
        return
    memory[first : first + length] = value


def _memcpy(data: Any, size: int, state: Any, table: Any, line: int, to: float, start: float, count: float) -> None:
    memory, status = carray(data, size), carray(state, STATUS_SIZE)
    source, length = _range(start, count, size)
    target, _ = _range(to, count, size)
    if source < 0 or target < 0:
        _trap(status, BAD_BUFFER, line, start if source < 0 else to)
        return
    if source < target:
        for i in range(length - 1, -1, -1):
            memory[target + i] = memory[source + i]
    else:
        for i in range(length):
            memory[target + i] = memory[source + i]


@numba.njit(inline="never")
def _fft_buffer(start: float, count: float, size: int, status: Any, line: int) -> tuple[int, int]:
    """First slot of an FFT buffer and its length in complex numbers; 0 where it breaks the rules."""
    length = int(count + BLOCK_NUDGE) if 0.0 <= count <= FFT_SIZES[-1] else 0
    if length < FFT_SIZES[0] or length & (length - 1) != 0:
        _trap(status, BAD_FFT_SIZE, line, count)
        return 0, 0
    first, slots = _range(start, 2.0 * length, size)
    if first < 0:
        _trap(status, BAD_BUFFER, line, start)
        return 0, 0
    if first // MEMORY_PAGE_SLOTS != (first + slots - 1) // MEMORY_PAGE_SLOTS:
        _trap(status, FFT_CROSSES_PAGE, line, start)
        return 0, 0
    return first, length


@numba.njit(inline="never")
def _bin_of(position: int, length: int) -> int:
    """Frequency at a position of the order in which `fft` leaves its result."""
    scale, offset, n = 1, 0, length
    # The even bins lie in the first half, bins 4 k - 1 in the third quarter, 4 k + 1 in the last; so on within each.
    while n > 2:
        half, quarter = n >> 1, n >> 2
        if position < half:
            scale, n = scale * 2, half
        elif position < half + quarter:
            position, offset = position - half, offset - scale
            scale, n = scale * 4, quarter
        else:
            position, offset = position - half - quarter, offset + scale
            scale, n = scale * 4, quarter
    return (offset + scale * position) & (length - 1)


@numba.njit(inline="never")
def _split(memory: Any, turns: Any, first: int, size: int) -> None:
    """One step of a forward transform: half-size even part, two quarter-size odd parts (conjugate pair)."""
    quarter, stride = size >> 2, TURN // size
    for k in range(quarter):
        wr, wi = turns[2 * k * stride], turns[2 * k * stride + 1]
        a = first + 2 * k
        b, c, d = a + 2 * quarter, a + 4 * quarter, a + 6 * quarter
        ur, ui = memory[a] - memory[c], memory[a + 1] - memory[c + 1]
        vr, vi = memory[b] - memory[d], memory[b + 1] - memory[d + 1]
        memory[a], memory[a + 1] = memory[a] + memory[c], memory[a + 1] + memory[c + 1]
        memory[b], memory[b + 1] = memory[b] + memory[d], memory[b + 1] + memory[d + 1]
        pr, pi, qr, qi = ur - vi, ui + vr, ur + vi, ui - vr
        memory[c], memory[c + 1] = pr * wr + pi * wi, pi * wr - pr * wi
        memory[d], memory[d + 1] = qr * wr - qi * wi, qr * wi + qi * wr


@numba.njit(inline="never")
def _unite(memory: Any, turns: Any, first: int, size: int) -> None:
    """One step of an inverse transform, the reverse of `_split` up to the scale."""
    quarter, stride = size >> 2, TURN // size
    for k in range(quarter):
        wr, wi = turns[2 * k * stride], turns[2 * k * stride + 1]
        a = first + 2 * k
        b, c, d = a + 2 * quarter, a + 4 * quarter, a + 6 * quarter
        pr, pi = memory[c] * wr - memory[c + 1] * wi, memory[c] * wi + memory[c + 1] * wr
        qr, qi = memory[d] * wr + memory[d + 1] * wi, memory[d + 1] * wr - memory[d] * wi
        sr, si, tr, ti = pr + qr, pi + qi, pi - qi, qr - pr
        memory[c], memory[c + 1] = memory[a] - sr, memory[a + 1] - si
        memory[d], memory[d + 1] = memory[b] - tr, memory[b + 1] - ti
        memory[a], memory[a + 1] = memory[a] + sr, memory[a + 1] + si
        memory[b], memory[b + 1] = memory[b] + tr, memory[b + 1] + ti


@numba.njit(inline="never")
def _pairs(memory: Any, first: int, length: int) -> None:
    """The steps of size 2, forward and inverse alike."""
    start, step = 0, 4
    while start < length:
        for at in range(start, length, step):
            a = first + 2 * at
            for part in range(a, a + 2):
                memory[part], memory[part + 2] = memory[part] + memory[part + 2], memory[part] - memory[part + 2]
        start, step = 2 * step - 2, 4 * step


@numba.njit(inline="never")
def _steps(memory: Any, turns: Any, first: int, length: int, size: int, forward: bool) -> None:
    """All steps of one size; they lie where the halves and quarters of larger steps left them."""
    start, step = 0, 2 * size
    while start < length:
        for at in range(start, length, step):
            if forward:
                _split(memory, turns, first + 2 * at, size)
            else:
                _unite(memory, turns, first + 2 * at, size)
        start, step = 2 * step - size, 4 * step


@numba.njit(inline="never")
def _permute(memory: Any, first: int, length: int, to_natural: bool) -> None:
    """Between the order `fft` leaves and the order of frequencies."""
    copy = np.empty(2 * length)
    for i in range(2 * length):
        copy[i] = memory[first + i]
    for position in range(length):
        frequency = _bin_of(position, length)
        target, source = (frequency, position) if to_natural else (position, frequency)
        memory[first + 2 * target] = copy[2 * source]
        memory[first + 2 * target + 1] = copy[2 * source + 1]


def _fft(data: Any, size: int, state: Any, table: Any, line: int, start: float, count: float, unused: float) -> None:
    memory, status = carray(data, size), carray(state, STATUS_SIZE)
    first, length = _fft_buffer(start, count, size, status, line)
    turns = carray(table, 2 * TURN)
    size = length
    while size > 2:
        _steps(memory, turns, first, length, size, True)
        size >>= 1
    _pairs(memory, first, length)


def _ifft(data: Any, size: int, state: Any, table: Any, line: int, start: float, count: float, unused: float) -> None:
    memory, status = carray(data, size), carray(state, STATUS_SIZE)
    first, length = _fft_buffer(start, count, size, status, line)
    turns = carray(table, 2 * TURN)
    _pairs(memory, first, length)
    size = 4
    while size <= length:
        _steps(memory, turns, first, length, size, False)
        size <<= 1


def _fft_permute(
    data: Any, size: int, state: Any, table: Any, line: int, start: float, count: float, unused: float
) -> None:
    memory, status = carray(data, size), carray(state, STATUS_SIZE)
    first, length = _fft_buffer(start, count, size, status, line)
    if length:
        _permute(memory, first, length, True)


def _fft_ipermute(
    data: Any, size: int, state: Any, table: Any, line: int, start: float, count: float, unused: float
) -> None:
    memory, status = carray(data, size), carray(state, STATUS_SIZE)
    first, length = _fft_buffer(start, count, size, status, line)
    if length:
        _permute(memory, first, length, False)


def _convolve_c(data: Any, size: int, state: Any, table: Any, line: int, to: float, start: float, count: float) -> None:
    memory, status = carray(data, size), carray(state, STATUS_SIZE)
    source, length = _fft_buffer(start, count, size, status, line)
    target, _ = _fft_buffer(to, count, size, status, line)
    if status[0] == 0.0:
        for i in range(0, 2 * length, 2):
            ar, ai = memory[target + i], memory[target + i + 1]
            br, bi = memory[source + i], memory[source + i + 1]
            memory[target + i], memory[target + i + 1] = ar * br - ai * bi, ar * bi + ai * br


_FUNCTIONS: dict[str, Callable[..., None]] = {
    "memset": _memset, "memcpy": _memcpy, "fft": _fft, "ifft": _ifft, "fft_permute": _fft_permute,
    "fft_ipermute": _fft_ipermute, "convolve_c": _convolve_c,
}  # fmt: skip


@functools.cache
def _compiled(name: str) -> Any:
    return numba.cfunc(_SIGNATURE, cache=True)(_FUNCTIONS[name])


def function_address(name: str) -> int:
    """Address of a compiled memory function, valid while the process lives."""
    return int(_compiled(name).address)


def fft_order(length: int) -> npt.NDArray[np.int64]:
    """Frequency (bin number) at each position of what `fft` leaves in memory.

    Parameters
    ----------
    length : int
        Size of the FFT, a power of two.
    """
    return np.array([_bin_of(position, length) for position in range(length)], dtype=np.int64)
