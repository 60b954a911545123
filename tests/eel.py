"""A small interpreter of the language JSFX are written in, enough to run the shipped effects sample by sample.

It is stricter than REAPER: reading a variable that was never assigned is an error here, not 0.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SECTIONS = ("init", "slider", "block", "sample", "serialize")
TOKEN = re.compile(
    r"\s*(?:(\d+\.?\d*|\.\d+)|(\$pi)|([a-z_][a-z0-9_.]*)|(===|[-+*/]=|[<>=!]=|&&|\|\||[-+*/%^&|<>=!?:;,()\[\]]))"
)

SLIDER = re.compile(
    r"slider(?P<number>\d+):(?P<name>[^=<>]*)=(?P<default>[^<]*)"
    r"<(?P<minimum>[^,]*),(?P<maximum>[^,]*),(?P<step>[^:>]*)(?::(?P<shape>\w+))?>(?P<label>.*)"
)


@dataclass
class Source:
    """A JSFX file taken apart: header lines, and the code of each section without comments."""

    header: list[str]
    sections: dict[str, str]

    @property
    def sliders(self) -> list[dict[str, str]]:
        return [m.groupdict() for line in self.header if (m := SLIDER.fullmatch(line))]


def read_source(path: Path) -> Source:
    header: list[str] = []
    sections: dict[str, list[str]] = {}
    current = header
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("@"):
            name = line[1:].strip()
            assert name in SECTIONS, f"{path.name}: unknown section {line}"
            assert name not in sections, f"{path.name}: {line} twice"
            current = sections[name] = []
        elif not (current is header and line.startswith("//")):
            current.append(line)
    code = {name: re.sub(r"//.*", "", "\n".join(lines)) for name, lines in sections.items()}
    return Source(header, code)


def tokens_of(code: str) -> list[str]:
    found, at = [], 0
    code = code.rstrip()
    while at < len(code):
        match = TOKEN.match(code, at)
        assert match, f"cannot read {code[at : at + 40]!r}"
        found.append(match.group(0).strip())
        at = match.end()
    return found


# A compiled expression: called with the locals and the name prefix of the instance.
Code = Callable[[dict[str, float], str], float]


def truth(value: float) -> bool:
    return abs(value) > 1e-5


BINARY: list[dict[str, Callable[[float, float], float]]] = [
    {
        "===": lambda a, b: float(a == b), "==": lambda a, b: float(abs(a - b) < 1e-5),
        "!=": lambda a, b: float(abs(a - b) >= 1e-5), "<": lambda a, b: float(a < b), ">": lambda a, b: float(a > b),
        "<=": lambda a, b: float(a <= b), ">=": lambda a, b: float(a >= b),
    },
    {"&": lambda a, b: float(int(a) & int(b)), "|": lambda a, b: float(int(a) | int(b))},
    {"+": operator.add, "-": operator.sub},
    {"*": operator.mul, "/": operator.truediv},
    {"%": lambda a, b: float(int(a) % int(b))},
    {"^": operator.pow},
]  # fmt: skip

MATH: dict[str, Callable[..., float]] = {
    "sin": math.sin, "cos": math.cos, "exp": math.exp, "log": math.log, "log10": math.log10,
    "sqrt": lambda x: math.sqrt(abs(x)), "sqr": lambda x: x * x, "abs": abs, "floor": lambda x: float(math.floor(x)),
    "ceil": lambda x: float(math.ceil(x)), "min": min, "max": max,
}  # fmt: skip
MEMORY_CALLS = ("memset", "memcpy", "fft", "ifft", "file_var")
BUILTIN_VARIABLES = ("spl0", "spl1", "srate", "pdc_delay", "pdc_bot_ch", "pdc_top_ch")
KEYWORDS = ("function", "local", "instance", "loop", "while")


@dataclass
class Function:
    """A function of the effect."""

    name: str
    parameters: list[str]
    local: list[str] = field(default_factory=list)
    instance: list[str] = field(default_factory=list)
    body: Code | None = None


class Effect:
    """One instance of an effect."""

    def __init__(self, path: Path, *, sample_rate_hz: float, values: list[float]) -> None:
        self.source = read_source(path)
        self.functions: dict[str, Function] = {}
        self.memory = np.zeros(1 << 16)
        self.variables: dict[str, float] = {"srate": float(sample_rate_hz), "spl0": 0.0, "spl1": 0.0, "pdc_delay": 0.0}
        self._scope: Function | None = None
        names = [s["name"] for s in self.source.sliders]
        assert len(names) == len(values)
        self.variables.update(zip(names, values, strict=True))
        # Functions of @init are known to every later section.
        self.code = {name: self._compile(self.source.sections.get(name, "")) for name in SECTIONS}
        self.run("init")
        self.run("slider")

    def run(self, section: str) -> None:
        self.code[section]({}, "")

    def process(self, audio: np.ndarray) -> np.ndarray:
        out = np.empty_like(audio)
        for index, (left, right) in enumerate(audio.T):
            self.variables["spl0"], self.variables["spl1"] = float(left), float(right)
            self.run("sample")
            out[0, index], out[1, index] = self.variables["spl0"], self.variables["spl1"]
        return out

    # ------------------------------------------------------------------- parser

    def _compile(self, code: str) -> Code:
        self._tokens, self._at = tokens_of(code), 0
        result = self._statements(None)
        assert self._at == len(self._tokens)
        return result

    def _peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, expected: str | None = None) -> str:
        token = self._tokens[self._at]
        assert expected is None or token == expected, f"expected {expected}, found {self._tokens[self._at :][:8]}"
        self._at += 1
        return token

    def _statements(self, end: tuple[str, ...] | None) -> Code:
        found: list[Code] = []
        while (token := self._peek()) is not None and token not in (end or ()):
            if token == ";":
                self._take()
            elif token == "function":
                self._function()
            else:
                found.append(self._assignment())
                assert self._peek() in (";", None, *(end or ())), f"missing ; before {self._tokens[self._at :][:8]}"

        def run(local: dict[str, float], this: str) -> float:
            value = 0.0
            for code in found:
                value = code(local, this)
            return value

        return found[0] if len(found) == 1 else run

    def _names(self) -> list[str]:
        self._take("(")
        names = []
        while (token := self._take()) != ")":
            if token != ",":
                names.append(token)
        return names

    def _function(self) -> None:
        self._take("function")
        function = Function(self._take(), self._names())
        while self._peek() in ("local", "instance"):
            setattr(function, self._take(), self._names())
        self.functions[function.name] = self._scope = function
        self._take("(")
        function.body = self._statements((")",))
        self._take(")")
        self._scope = None

    def _assignment(self) -> Code:
        target_at = self._at
        value = self._ternary()
        kind = self._peek()
        if kind not in ("=", "+=", "-=", "*=", "/="):
            return value
        store = self._target(target_at)
        self._take()
        right = self._assignment()
        if kind == "=":
            return lambda local, this: store(local, this, right(local, this))
        change = BINARY[2 if kind in ("+=", "-=") else 3][kind[0]]
        return lambda local, this: store(local, this, change(value(local, this), right(local, this)))

    def _target(self, at: int) -> Callable[[dict[str, float], str, float], float]:
        """The store that belongs to the expression that began at a token and ends here."""
        name = self._tokens[at]
        if self._at == at + 1:
            write = self._writer(name)
            return write
        assert self._tokens[at + 1] == "[", f"cannot assign to {name}"
        end, self._at = self._at, at
        address = self._address(self._take())
        assert self._at == end

        def store(local: dict[str, float], this: str, value: float) -> float:
            self._reach(where := address(local, this))
            self.memory[where] = value
            return value

        return store

    def _ternary(self) -> Code:
        condition = self._logic()
        if self._peek() != "?":
            return condition
        self._take()
        yes, no = self._assignment(), None
        if self._peek() == ":":
            self._take()
            no = self._assignment()

        def choose(local: dict[str, float], this: str) -> float:
            if truth(condition(local, this)):
                return yes(local, this)
            return no(local, this) if no is not None else 0.0

        return choose

    def _logic(self) -> Code:
        left = self._binary(0)
        while (kind := self._peek()) in ("&&", "||"):
            self._take()
            left = self._joined(kind == "&&", left, self._binary(0))
        return left

    @staticmethod
    def _joined(both: bool, left: Code, right: Code) -> Code:
        if both:
            return lambda local, this: float(truth(left(local, this)) and truth(right(local, this)))
        return lambda local, this: float(truth(left(local, this)) or truth(right(local, this)))

    def _binary(self, level: int) -> Code:
        if level == len(BINARY):
            return self._unary()
        left = self._binary(level + 1)
        while (kind := self._peek()) in BINARY[level]:
            self._take()
            left = self._applied(BINARY[level][str(kind)], left, self._binary(level + 1))
        return left

    @staticmethod
    def _applied(change: Callable[[float, float], float], left: Code, right: Code) -> Code:
        return lambda local, this: change(left(local, this), right(local, this))

    def _unary(self) -> Code:
        if self._peek() == "-":
            self._take()
            value = self._unary()
            return lambda local, this: -value(local, this)
        if self._peek() == "!":
            self._take()
            value = self._unary()
            return lambda local, this: float(not truth(value(local, this)))
        return self._primary()

    def _primary(self) -> Code:
        token = self._take()
        if token == "(":
            inner = self._statements((")",))
            self._take(")")
            return inner
        if token == "$pi":
            return lambda local, this: math.pi
        if token[0].isdigit() or token[0] == ".":
            value = float(token)
            return lambda local, this: value
        assert re.fullmatch(r"[a-z_][a-z0-9_.]*", token), f"unexpected {token}"
        if self._peek() == "(":
            return self._call(token)
        if self._peek() == "[":
            address = self._address(token)

            def load(local: dict[str, float], this: str) -> float:
                self._reach(where := address(local, this))
                return float(self.memory[where])

            return load
        return self._reader(token)

    def _address(self, base_name: str) -> Callable[[dict[str, float], str], int]:
        base = self._reader(base_name)
        self._take("[")
        offset = self._statements(("]",))
        self._take("]")
        return lambda local, this: int(base(local, this) + offset(local, this) + 1e-5)

    def _reach(self, address: int) -> None:
        assert 0 <= address < 1 << 25, f"address {address}"
        if address >= len(self.memory):
            self.memory = np.concatenate([self.memory, np.zeros(max(len(self.memory), address + 1 - len(self.memory)))])

    # ---------------------------------------------------------------- variables

    def _is_instance(self, name: str) -> bool:
        return self._scope is not None and name.split(".")[0] in self._scope.instance

    def _is_local(self, name: str) -> bool:
        return self._scope is not None and name in [*self._scope.parameters, *self._scope.local]

    def _reader(self, name: str) -> Code:
        variables = self.variables
        if self._is_local(name):
            return lambda local, this: local[name]
        if self._is_instance(name):
            return lambda local, this: variables[f"{this}.{name}"]
        return lambda local, this: variables[name]

    def _writer(self, name: str) -> Callable[[dict[str, float], str, float], float]:
        is_local, is_instance = self._is_local(name), self._is_instance(name)

        def write(local: dict[str, float], this: str, value: float) -> float:
            if is_local:
                local[name] = value
            else:
                self.variables[f"{this}.{name}" if is_instance else name] = value
            return value

        return write

    # -------------------------------------------------------------------- calls

    def _arguments(self) -> list[Code]:
        self._take("(")
        found = []
        while self._peek() != ")":
            found.append(self._statements((",", ")")))
            if self._peek() == ",":
                self._take()
        self._take(")")
        return found

    def _call(self, name: str) -> Code:
        arguments = self._arguments()
        if name == "loop":
            return self._loop(*arguments)
        if name == "while":
            self._take("(")
            body = self._statements((")",))
            self._take(")")
            return self._while(arguments[0], body)
        if name in MATH:
            apply = MATH[name]
            return lambda local, this: apply(*(a(local, this) for a in arguments))
        if name in MEMORY_CALLS:
            call: Callable[..., float] = getattr(self, f"_{name}")
            return lambda local, this: call(*(a(local, this) for a in arguments))
        return self._own_call(name, arguments)

    def _own_call(self, name: str, arguments: list[Code]) -> Code:
        prefix, _, short = name.rpartition(".")
        function = self.functions[short]
        assert len(arguments) == len(function.parameters), f"{name}: {len(arguments)} arguments"
        inside = prefix == "this" or self._is_instance(prefix)
        member = "" if prefix == "this" else prefix

        def call(local: dict[str, float], this: str) -> float:
            values = {p: a(local, this) for p, a in zip(function.parameters, arguments, strict=True)}
            instance = ".".join(part for part in (this, member) if part) if inside else member
            assert function.body is not None
            return function.body(values, instance)

        return call

    @staticmethod
    def _loop(count: Code, body: Code) -> Code:
        def run(local: dict[str, float], this: str) -> float:
            rounds = int(count(local, this))
            assert rounds <= 1 << 20, "REAPER stops loops here"
            for _ in range(rounds):
                body(local, this)
            return 0.0

        return run

    @staticmethod
    def _while(condition: Code, body: Code) -> Code:
        def run(local: dict[str, float], this: str) -> float:
            for _ in range(1 << 20):
                if not truth(condition(local, this)):
                    return 0.0
                body(local, this)
            raise AssertionError("REAPER stops loops here")

        return run

    def _memset(self, start: float, value: float, count: float) -> float:
        self._reach(int(start + count))
        self.memory[int(start) : int(start + count)] = value
        return start

    def _memcpy(self, to: float, start: float, count: float) -> float:
        self._reach(int(max(to, start) + count))
        self.memory[int(to) : int(to + count)] = self.memory[int(start) : int(start + count)].copy()
        return to

    def _fft(self, start: float, size: float) -> float:
        return self._transform(start, size, np.fft.fft)

    def _ifft(self, start: float, size: float) -> float:
        return self._transform(start, size, lambda x: np.fft.ifft(x) * len(x))

    def _transform(self, start: float, size: float, change: Callable[[Any], Any]) -> float:
        at, length = int(start), int(size)
        assert 16 <= length <= 32768 and length & (length - 1) == 0, f"FFT of {length}"
        assert at // 65536 == (at + 2 * length - 1) // 65536, "an FFT buffer crosses a multiple of 65536"
        self._reach(at + 2 * length)
        pairs = self.memory[at : at + 2 * length].view(np.complex128)
        pairs[:] = change(pairs.copy())
        return start

    def _file_var(self, handle: float, value: float) -> float:
        return value
