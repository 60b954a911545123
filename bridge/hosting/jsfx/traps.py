"""What can go wrong while an effect runs: numbers for the machine code, messages for people."""

from __future__ import annotations

from .header import MEMORY_PAGE_SLOTS
from .language import FFT_SIZES, MAX_ROUNDS

#: Numbers that report the first error: its code, the line, the value that caused it.
STATUS_SIZE = 3

BAD_ADDRESS, BAD_BUFFER, BAD_FFT_SIZE, FFT_CROSSES_PAGE = 1, 2, 3, 4
TOO_MANY_ROUNDS, TOO_LONG, NOT_FINITE, BAD_INTEGER, BAD_MODULO = 5, 6, 7, 8, 9

#: Rounds of all loops together, in one run of a section and for one sample frame.
SECTION_ROUNDS = 1 << 28
FRAME_ROUNDS = 1 << 24

_MESSAGES = {
    BAD_ADDRESS: "memory[{value:.12g}] is outside the effect's memory; check the index, or raise options:maxmem=",
    BAD_BUFFER: "the buffer at {value:.12g} leaves the effect's memory; check its place, or raise options:maxmem=",
    BAD_FFT_SIZE: "an FFT of {value:.12g} is not possible; use a power of two "
    f"from {FFT_SIZES[0]} to {FFT_SIZES[-1]}",
    FFT_CROSSES_PAGE: "the FFT buffer at {value:.12g} crosses a multiple of "
    f"{MEMORY_PAGE_SLOTS}, where REAPER leaves it unchanged; align it to its own length",
    TOO_MANY_ROUNDS: f"REAPER ends this loop in silence after {MAX_ROUNDS} rounds; use fewer, or two loops",
    TOO_LONG: "the loops take more than {value:.0f} rounds at once, which would stop the sound; spread the work",
    NOT_FINITE: "the result is infinite or no number (operand {value:.12g}); guard the division or logarithm by hand",
    BAD_INTEGER: "{value:.12g} is outside the whole numbers this operator works on; limit it beforehand",
    BAD_MODULO: "% by {value:.12g}, which counts as 0 or is too large; guard it by hand",
}


def describe(code: int, value: float) -> str:
    """The message of an error."""
    return _MESSAGES[code].format(value=value)
