"""What the language knows by itself: operators, functions, variables, constants, and what it lacks; data, no code.

Figures and names follow REAPER's public JSFX reference and measurements of two JSFX engines.
"""

from __future__ import annotations

import math
from types import MappingProxyType

#: Comparison with == and !=, and the truth of a number, allow for this much.
TOLERANCE = 0.00001

#: `loop` and `while` end in silence after this many rounds.
MAX_ROUNDS = 1_048_576

#: Added to a memory address before its fraction is cut off.
ADDRESS_NUDGE = 0.00001

#: The same for the arguments of the functions that work on memory.
BLOCK_NUDGE = 0.0001

#: Sizes the FFT functions take, in complex numbers.
FFT_SIZES = tuple(1 << bits for bits in range(4, 16))

#: Binary operators by precedence, loosest first; all of them group from the left.
PRECEDENCE: tuple[frozenset[str], ...] = (
    frozenset({"&&", "||"}),
    frozenset({"<", ">", "<=", ">=", "==", "!=", "===", "!=="}),
    frozenset({"&", "|", "~"}),
    frozenset({"+"}),
    frozenset({"-"}),
    frozenset({"*"}),
    frozenset({"/"}),
    frozenset({"%", "<<", ">>"}),
    frozenset({"^"}),
)

ASSIGNMENTS = frozenset({"=", "+=", "-=", "*=", "/=", "%=", "^=", "|=", "&=", "~="})

CONSTANTS = MappingProxyType({"$pi": math.pi, "$e": math.e, "$phi": (1 + math.sqrt(5)) / 2})

#: Functions of numbers, and how many they take.
MATH_FUNCTIONS = MappingProxyType(
    {
        "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1, "atan2": 2, "exp": 1, "log": 1, "log10": 1,
        "pow": 2, "sqrt": 1, "sqr": 1, "invsqrt": 1, "abs": 1, "sign": 1, "floor": 1, "ceil": 1, "min": 2, "max": 2,
    }
)  # fmt: skip

#: Functions that work on the effect's memory, and how many numbers they take.
MEMORY_FUNCTIONS = MappingProxyType(
    {
        "memset": 3, "memcpy": 3, "freembuf": 1, "fft": 2, "ifft": 2, "fft_permute": 2, "fft_ipermute": 2,
        "convolve_c": 3,
    }
)  # fmt: skip

#: Functions that may stand in @serialize alone, which a render never runs.
STATE_FUNCTIONS = MappingProxyType({"file_var": 2, "file_mem": 3, "file_avail": 1})

#: `loop(count, body)` and `while(condition) (body)` or `while(body)`.
LOOPS = ("loop", "while")

KEYWORDS = ("function", "local", "static", "instance", "global", "globals", "this")

#: Variables the host sets, and the sections in which they mean something ("" = all).
HOST_VARIABLES = MappingProxyType(
    {
        "spl0": ("sample",), "spl1": ("sample",),
        "srate": ("init", "slider", "block", "sample", "serialize"),
        "num_ch": ("init", "slider", "block", "sample", "serialize"),
        "samplesblock": ("block",),
    }
)  # fmt: skip

#: Variables the host reads, and the sections in which setting them is hosted.
REPORT_VARIABLES = MappingProxyType(
    {
        "pdc_delay": ("init", "slider"), "pdc_bot_ch": ("init", "slider"), "pdc_top_ch": ("init", "slider"),
        "ext_noinit": ("init",), "ext_tail_size": ("init", "slider"),
    }
)  # fmt: skip

#: Variables of REAPER that have no value in an offline render of audio.
UNHOSTED_VARIABLES = frozenset(
    {
        "tempo", "play_state", "play_position", "beat_position", "ts_num", "ts_denom", "trigger", "ext_midi_bus",
        "midi_bus", "pdc_midi", "ext_nodenorm", "gmem", "mouse_x", "mouse_y", "mouse_cap", "mouse_wheel",
    }
)  # fmt: skip

BUILTIN_VARIABLES = frozenset({*HOST_VARIABLES, *REPORT_VARIABLES, *UNHOSTED_VARIABLES})

#: Functions of REAPER that would make a render depend on more than audio and settings.
UNHOSTED_FUNCTIONS = MappingProxyType(
    {
        "rand": "differs at every playback; write a generator of your own",
        "time": "differs at every playback; count samples instead",
        "time_precise": "differs at every playback; count samples instead",
        "file_open": "reads files, which is not hosted; compute the table in @init",
        "file_close": "reads files, which is not hosted; compute the table in @init",
        "file_riff": "reads files, which is not hosted; compute the table in @init",
        "file_text": "reads files, which is not hosted; compute the table in @init",
        "file_rewind": "reads files, which is not hosted; compute the table in @init",
        "file_string": "reads files, which is not hosted; compute the table in @init",
        "midirecv": "is about MIDI, which is not hosted",
        "midisend": "is about MIDI, which is not hosted",
        "sliderchange": "moves sliders, which a render cannot follow; leave it out",
        "slider_automate": "moves sliders, which a render cannot follow; leave it out",
        "slider_next_chg": "needs automation inside a block, which is not hosted",
        "slider_show": "is about the window, which is not hosted",
        "spl": "needs a channel known beforehand; write spl0 or spl1",
        "slider": "needs a slider known beforehand; write its variable",
        "gmem": "is shared between effects, which is not hosted",
        "fft_real": "is not hosted; use fft with imaginary parts of 0",
        "ifft_real": "is not hosted; use ifft",
        "mem_multiply_sum": "is missing in older REAPER; write a loop",
        "mem_insert_shuffle": "is missing in older REAPER; write a loop",
        "mem_set_values": "is not hosted; write one assignment per value",
        "mem_get_values": "is not hosted; write one assignment per value",
        "stack_push": "is not hosted; keep the value in a variable",
        "stack_pop": "is not hosted; keep the value in a variable",
        "stack_peek": "is not hosted; keep the value in a variable",
        "stack_exch": "is not hosted; keep the value in a variable",
        "atomic_get": "is about @gfx, which is not hosted",
        "atomic_set": "is about @gfx, which is not hosted",
        "atomic_setifequal": "is about @gfx, which is not hosted",
        "atomic_exch": "is about @gfx, which is not hosted",
        "atomic_add": "is about @gfx, which is not hosted",
        "printf": "is about text, which is not hosted",
        "sprintf": "is about text, which is not hosted",
        "__memtop": "is not hosted; set options:maxmem= and use that number",
    }
)

#: Names of other languages that REAPER does not know, and what to write instead.
REMEDIES = MappingProxyType(
    {
        "if": "write condition ? ( ... ) : ( ... )",
        "else": "write condition ? ( ... ) : ( ... )",
        "for": "write loop(count, ... ) or while(condition) ( ... )",
        "do": "write while(condition) ( ... )",
        "return": "the last value of the function's body is its result",
        "break": "end the loop by its condition",
        "continue": "put the rest of the body into condition ? ( ... )",
        "tanh": "write 1 - 2 / (exp(2 * max(min(x, 20), -20)) + 1)",
        "sinh": "write 0.5 * (exp(x) - exp(-x))",
        "cosh": "write 0.5 * (exp(x) + exp(-x))",
        "round": "write floor(x + 0.5)",
        "int": "write floor(x)",
        "trunc": "write sign(x) * floor(abs(x))",
        "fabs": "write abs(x)",
        "fmod": "write x - y * floor(x / y)",
        "mod": "write x - y * floor(x / y)",
        "clamp": "write max(min(x, highest), lowest)",
        "log2": "write log(x) / log(2)",
        "exp2": "write 2 ^ x",
        "cbrt": "write x ^ (1 / 3)",
        "hypot": "write sqrt(sqr(x) + sqr(y))",
        "pi": "write $pi",
        "true": "write 1",
        "false": "write 0",
        "var": "variables need no declaration",
        "define": "there is no #define; assign a variable in @init",
    }
)
