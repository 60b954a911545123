"""Machine code for a linked effect, through numba; what names mean was settled in `link`.

The trees are handed to LLVM as they are, by an intrinsic of numba: a large effect compiles in
a second or two, where the same code written out as Python takes numba many times that. All
variables of a section are kept in registers while it runs and go back to the state after it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .header import SECTIONS
from .language import ADDRESS_NUDGE, MATH_FUNCTIONS, MAX_ROUNDS, TOLERANCE
from .link import TEMPORARY, Program, walk, written
from .memory import TWIDDLES, function_address
from .syntax import Assign, Binary, Call, Choice, Logic, Loop, Memory, Name, Node, Number, Sequence, Unary, While
from .traps import (
    BAD_ADDRESS,
    BAD_INTEGER,
    BAD_MODULO,
    FRAME_ROUNDS,
    NOT_FINITE,
    SECTION_ROUNDS,
    TOO_LONG,
    TOO_MANY_ROUNDS,
)
from .walkers import Walker, offset_of, step_of, walkers_of

_REAL, _INT, _BOOL, _VOID = ir.DoubleType(), ir.IntType(64), ir.IntType(1), ir.VoidType()
_REALS = _REAL.as_pointer()

#: The arrays compiled code works on, in the order of their addresses.
ARRAYS = ("variables", "memory", "left", "right", "status")
#: A section takes the arrays, the first frame and the end frame.
_SECTION_TYPE = ir.FunctionType(_VOID, [*[_REALS] * len(ARRAYS), _INT, _INT])
#: Section, first frame, end frame, address of the addresses of the arrays.
_RUN_TYPE = types.void(*[types.int64] * 4)

#: Numbers below this are no longer stored at full precision, and slow to compute with.
_SMALLEST = sys.float_info.min

_COMPARISONS = {"<": "<", ">": ">", "<=": "<=", ">=": ">=", "===": "==", "!==": "!="}
_LLVM_MATH = {"sin", "cos", "exp", "log", "log10", "floor", "ceil", "pow"}
_LIBRARY_MATH = {"tan", "asin", "acos", "atan", "atan2"}
#: Functions and operators whose result may be infinite or no number where their operands are fine.
_MAY_FAIL = {"exp", "log", "log10", "pow", "tan", "asin", "acos", "invsqrt", "/"}

Run = Callable[[int, int, int, int], None]


@dataclass(frozen=True)
class Machine:
    """A compiled effect.

    Attributes
    ----------
    run : callable
        ``run(section, start, end, addresses)``: the number of the section in `SECTIONS`, the
        frames to process, and the address of an array of addresses, those of `ARRAYS`, which
        are all of float64.
    slots : dict of str to int
        Place of each variable in the array of variables.
    """

    run: Run
    slots: dict[str, int]


def compile_program(program: Program, *, memory_slots: int) -> Machine:
    """Compile all sections of an effect that a render runs.

    Parameters
    ----------
    program : Program
    memory_slots : int
        Size of the memory the code will be given.
    """
    slots = {name: place for place, name in enumerate(program.slots)}

    def typed(context: Any, section: Any, start: Any, end: Any, addresses: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _dispatch(builder, arguments, program, slots, memory_slots)
            return context.get_dummy_value()

        return _RUN_TYPE, generate

    emit: Any = intrinsic(typed)

    @numba.njit([_RUN_TYPE], nogil=True)
    def run(section: int, start: int, end: int, addresses: int) -> None:
        emit(section, start, end, addresses)

    return Machine(run, slots)


def _dispatch(builder: Any, arguments: Any, program: Program, slots: dict[str, int], memory_slots: int) -> None:
    """Call the function of the section that the first argument names."""
    section, start, end, addresses = arguments
    table = builder.inttoptr(addresses, _INT.as_pointer())
    arrays = [builder.inttoptr(builder.load(builder.gep(table, [_int(place)])), _REALS) for place in range(len(ARRAYS))]
    given = [*arrays, start, end]
    after = builder.append_basic_block("after")
    switch = builder.switch(section, after)
    for number, name in enumerate(SECTIONS):
        if name in program.sections and name != "serialize":
            function = _Section(builder.module, name, slots, memory_slots).build(program.sections[name])
            block = builder.append_basic_block(name)
            switch.add_case(ir.Constant(_INT, number), block)
            builder.position_at_end(block)
            builder.call(function, given)
            builder.branch(after)
    builder.position_at_end(after)


def _real(value: float) -> Any:
    return ir.Constant(_REAL, float(value))


def _int(value: int) -> Any:
    return ir.Constant(_INT, value)


class _Section:
    """Emits the function of one section."""

    def __init__(self, module: Any, name: str, slots: dict[str, int], memory_slots: int) -> None:
        self._module, self._name, self._places, self._memory_slots = module, name, slots, memory_slots
        self._function = ir.Function(module, _SECTION_TYPE, f"jsfx.{name}")
        self._function.linkage = "internal"
        self._function.attributes.add("noinline")
        self._variables, self._memory, self._left, self._right, self._status, self._start, self._end = (
            self._function.args
        )
        self._entry = ir.IRBuilder(self._function.append_basic_block("entry"))
        self._cells: dict[str, Any] = {}
        self._rounds = self._entry.alloca(_INT)
        #: Variables whose addresses need no check in the loop that is being emitted, as integers.
        self._walkers: dict[str, Any] = {}
        self.b = self._entry

    # ------------------------------------------------------------------- the frame

    def build(self, tree: Node) -> Any:
        """The function: load the state, run the tree once or for every frame, store the state."""
        body = self._function.append_basic_block("body")
        self.b = ir.IRBuilder(body)
        if self._name == "sample":
            self._frames(tree)
        else:
            self.b.store(_int(SECTION_ROUNDS), self._rounds)
            self._value(tree)
        kept = written(tree) | ({"spl0", "spl1"} if self._name == "sample" else set())
        for name in sorted(kept & self._cells.keys()):
            if not name.startswith(TEMPORARY):
                self.b.store(self._without_denormals(self.b.load(self._cells[name])), self._place(self.b, name))
        self.b.ret_void()
        for name, cell in self._cells.items():
            first = _real(0) if name.startswith(TEMPORARY) else self._entry.load(self._place(self._entry, name))
            self._entry.store(first, cell)
        self._entry.branch(body)
        return self._function

    def _frames(self, tree: Node) -> None:
        frame = self._entry.alloca(_INT)
        self.b.store(self._start, frame)
        with self._while() as leave:
            index = self.b.load(frame)
            leave(self.b.icmp_signed(">=", index, self._end))
            leave(self._trapped())
            channels = [("spl0", self._left), ("spl1", self._right)]
            for name, audio in channels:
                self.b.store(self.b.load(self.b.gep(audio, [index])), self._cell(name))
            self.b.store(_int(FRAME_ROUNDS), self._rounds)
            self._value(tree)
            for name, audio in channels:
                self.b.store(self.b.load(self._cell(name)), self.b.gep(audio, [index]))
            self.b.store(self.b.add(index, _int(1)), frame)

    def _cell(self, name: str) -> Any:
        """Where a variable lives while the section runs."""
        if name not in self._cells:
            self._cells[name] = self._entry.alloca(_REAL)
        return self._cells[name]

    def _place(self, builder: Any, name: str) -> Any:
        return builder.gep(self._variables, [_int(self._places[name])])

    def _without_denormals(self, value: Any) -> Any:
        """What the language does at every assignment; here once a block, which keeps decays as quick."""
        return self.b.select(self.b.fcmp_unordered("<", self._magnitude(value), _real(_SMALLEST)), _real(0), value)

    # ------------------------------------------------------------------ small parts

    def _intrinsic(self, name: str, *values: Any) -> Any:
        return self.b.call(self._module.declare_intrinsic(f"llvm.{name}", [_REAL]), list(values))

    def _magnitude(self, value: Any) -> Any:
        return self._intrinsic("fabs", value)

    def _trapped(self) -> Any:
        return self.b.fcmp_unordered("!=", self.b.load(self._status), _real(0))

    def _trap_if(self, wrong: Any, code: int, line: int, value: Any) -> None:
        with self.b.if_then(wrong, likely=False):
            self._trap(code, line, value)

    def _trap(self, code: int, line: int, value: Any) -> None:
        """Report an error, unless an earlier one is reported."""
        with self.b.if_then(self.b.not_(self._trapped())):
            for place, report in enumerate((_real(code), _real(line), value)):
                self.b.store(report, self.b.gep(self._status, [_int(place)]))

    @contextmanager
    def _while(self) -> Iterator[Callable[[Any], None]]:
        """A loop without end; the function it gives leaves it where a condition holds."""
        top, after = self.b.append_basic_block("top"), self.b.append_basic_block("after")
        self.b.branch(top)
        self.b.position_at_end(top)

        def leave(condition: Any) -> None:
            go_on = self.b.append_basic_block("go_on")
            self.b.cbranch(condition, after, go_on)
            self.b.position_at_end(go_on)

        yield leave
        self.b.branch(top)
        self.b.position_at_end(after)

    def _whole(self, value: Any, limit: float, line: int) -> Any:
        """A number cut to an integer, reported where its magnitude reaches the limit."""
        wrong = self.b.not_(self.b.fcmp_ordered("<", self._magnitude(value), _real(limit)))
        self._trap_if(wrong, BAD_INTEGER, line, value)
        return self.b.fptosi(self.b.select(wrong, _real(0), value), _INT)

    def _finite(self, result: Any, line: int, operand: Any) -> Any:
        wrong = self.b.not_(self.b.fcmp_ordered("<", self._magnitude(result), _real(float("inf"))))
        self._trap_if(wrong, NOT_FINITE, line, operand)
        return result

    # -------------------------------------------------------------------- values

    def _value(self, node: Node) -> Any:
        """Emit a node; the number it gives."""
        match node:
            case Number():
                return _real(node.value)
            case Name():
                return self.b.load(self._cell(node.name))
            case Memory():
                return self.b.load(self._address(node))
            case Unary(operator="-"):
                return self.b.fneg(self._value(node.operand))
            case Binary() if node.operator in ("==", "!=") or node.operator in _COMPARISONS:
                return self._as_number(self._condition(node))
            case Binary():
                return self._operate(node.operator, self._value(node.left), self._value(node.right), node.line)
            case Unary() | Logic():
                return self._as_number(self._condition(node))
            case Choice():
                return self._choice(node)
            case Assign():
                return self._assign(node)
            case Call():
                return self._call(node)
            case Loop():
                return self._loop(node)
            case While():
                return self._while_loop(node)
            case Sequence():
                values = [self._value(statement) for statement in node.statements]
                return values[-1] if values else _real(0)

    def _as_number(self, condition: Any) -> Any:
        return self.b.uitofp(condition, _REAL)

    def _condition(self, node: Node) -> Any:
        """Emit a node as a truth value."""
        match node:
            case Unary(operator="!"):
                return self.b.not_(self._condition(node.operand))
            case Binary() if node.operator in _COMPARISONS:
                left, right = self._value(node.left), self._value(node.right)
                compare = self.b.fcmp_unordered if node.operator == "!==" else self.b.fcmp_ordered
                return compare(_COMPARISONS[node.operator], left, right)
            case Binary(operator="==" | "!="):
                apart = self._magnitude(self.b.fsub(self._value(node.left), self._value(node.right)))
                return self.b.fcmp_ordered("<" if node.operator == "==" else ">=", apart, _real(TOLERANCE))
            case Logic():
                return self._logic(node)
        return self.b.fcmp_ordered(">=", self._magnitude(self._value(node)), _real(TOLERANCE))

    def _logic(self, node: Logic) -> Any:
        left = self._condition(node.left)
        before = self.b.block
        right_block, after = self.b.append_basic_block("right"), self.b.append_basic_block("joined")
        both = node.operator == "&&"
        self.b.cbranch(left, right_block if both else after, after if both else right_block)
        self.b.position_at_end(right_block)
        right = self._condition(node.right)
        end = self.b.block
        self.b.branch(after)
        self.b.position_at_end(after)
        joined = self.b.phi(_BOOL)
        joined.add_incoming(ir.Constant(_BOOL, not both), before)
        joined.add_incoming(right, end)
        return joined

    def _choice(self, node: Choice) -> Any:
        condition = self._condition(node.condition)
        blocks = [self.b.append_basic_block(name) for name in ("yes", "no", "chosen")]
        self.b.cbranch(condition, blocks[0], blocks[1])
        incoming = []
        for part, block in zip((node.yes, node.no), blocks, strict=False):
            self.b.position_at_end(block)
            incoming.append((_real(0) if part is None else self._value(part), self.b.block))
            self.b.branch(blocks[2])
        self.b.position_at_end(blocks[2])
        chosen = self.b.phi(_REAL)
        for value, block in incoming:
            chosen.add_incoming(value, block)
        return chosen

    def _assign(self, node: Assign) -> Any:
        # The address comes first; a variable that is changed in place is read after the value is known.
        place = self._address(node.target) if isinstance(node.target, Memory) else self._cell(node.target.name)
        value = self._value(node.value)
        if node.operator:
            value = self._operate(node.operator, self.b.load(place), value, node.line)
        self.b.store(value, place)
        if isinstance(node.target, Name) and node.target.name in self._walkers:
            shadow = self._walkers[node.target.name]
            self.b.store(self.b.add(self.b.load(shadow), _int(step_of(node) or 0)), shadow)
        return value

    def _address(self, node: Memory) -> Any:
        """Pointer to a slot of the memory, to the first one where the address is outside."""
        offset = offset_of(node.index)
        if isinstance(node.base, Name) and node.base.name in self._walkers and offset is not None:
            shadow = self.b.load(self._walkers[node.base.name])
            return self.b.gep(self._memory, [self.b.add(shadow, _int(offset))])
        base = self._value(node.base)
        if isinstance(node.index, Number):
            nudged = self.b.fadd(base, _real(node.index.value + ADDRESS_NUDGE))
        else:
            nudged = self.b.fadd(self.b.fadd(base, self._value(node.index)), _real(ADDRESS_NUDGE))
        inside = self.b.and_(
            self.b.fcmp_ordered(">=", nudged, _real(0)), self.b.fcmp_ordered("<", nudged, _real(self._memory_slots))
        )
        before = self.b.block
        with self.b.if_then(self.b.not_(inside), likely=False):
            self._trap(BAD_ADDRESS, node.line, nudged)
            outside = self.b.block
        place = self.b.phi(_REAL)
        place.add_incoming(nudged, before)
        place.add_incoming(_real(0), outside)
        return self.b.gep(self._memory, [self.b.fptosi(place, _INT)])

    # ----------------------------------------------------------------- operators

    def _operate(self, operator: str, left: Any, right: Any, line: int) -> Any:
        simple = {"+": self.b.fadd, "-": self.b.fsub, "*": self.b.fmul}
        if operator in simple:
            return simple[operator](left, right)
        if operator == "/":
            return self._finite(self.b.fdiv(left, right), line, right)
        if operator == "^":
            return self._finite(self._intrinsic("pow", left, right), line, left)
        if operator == "%":
            return self._modulo(left, right, line)
        if operator in ("<<", ">>"):
            return self._shift(operator, left, right, line)
        apply = {"&": self.b.and_, "|": self.b.or_, "~": self.b.xor}[operator]
        return self.b.sitofp(apply(self._whole(left, 2.0**63, line), self._whole(right, 2.0**63, line)), _REAL)

    def _modulo(self, left: Any, right: Any, line: int) -> Any:
        """The remainder of the magnitudes, cut to integers."""
        size = self._magnitude(right)
        fits = self.b.and_(self.b.fcmp_ordered(">=", size, _real(1)), self.b.fcmp_ordered("<", size, _real(2.0**31)))
        self._trap_if(self.b.not_(fits), BAD_MODULO, line, right)
        divisor = self.b.fptosi(self.b.select(fits, size, _real(1)), _INT)
        return self.b.sitofp(self.b.srem(self._whole(self._magnitude(left), 2.0**63, line), divisor), _REAL)

    def _shift(self, operator: str, left: Any, right: Any, line: int) -> Any:
        """Shifts work on 32 bits with sign."""
        narrow = ir.IntType(32)
        value = self.b.trunc(self._whole(left, 2.0**31, line), narrow)
        wrong = self.b.not_(
            self.b.and_(self.b.fcmp_ordered(">", right, _real(-1)), self.b.fcmp_ordered("<", right, _real(32)))
        )
        self._trap_if(wrong, BAD_INTEGER, line, right)
        by = self.b.fptosi(self.b.select(wrong, _real(0), right), narrow)
        shifted = self.b.shl(value, by) if operator == "<<" else self.b.ashr(value, by)
        return self.b.sitofp(shifted, _REAL)

    # ----------------------------------------------------------------- functions

    def _call(self, node: Call) -> Any:
        values = [self._value(argument) for argument in node.arguments]
        if node.name in MATH_FUNCTIONS:
            result = self._math(node.name, *values)
            return self._finite(result, node.line, values[0]) if node.name in _MAY_FAIL else result
        if node.name != "freembuf":
            self._memory_call(node, values)
        return values[0]

    def _memory_call(self, node: Call, values: list[Any]) -> None:
        kind = ir.FunctionType(_VOID, [_REALS, _INT, _REALS, _REALS, _INT, _REAL, _REAL, _REAL])
        table = self.b.inttoptr(_int(TWIDDLES.ctypes.data), _REALS)
        function = self.b.inttoptr(_int(function_address(node.name)), kind.as_pointer())
        given = [*values, *[_real(0)] * (3 - len(values))]
        self.b.call(function, [self._memory, _int(self._memory_slots), self._status, table, _int(node.line), *given])

    def _math(self, name: str, *values: Any) -> Any:
        first = values[0]
        if name in _LLVM_MATH:
            return self._intrinsic(name, *values)
        if name in _LIBRARY_MATH:
            function = self._module.globals.get(name)
            kind = ir.FunctionType(_REAL, [_REAL] * len(values))
            return self.b.call(function or ir.Function(self._module, kind, name), list(values))
        match name:
            case "abs":
                return self._magnitude(first)
            case "sqrt":
                return self._intrinsic("sqrt", self._magnitude(first))
            case "sqr":
                return self.b.fmul(first, first)
            case "min" | "max":
                takes_second = self.b.fcmp_ordered(">" if name == "min" else "<", *values)
                return self.b.select(takes_second, values[1], first)
            case "sign":
                below = self.b.select(self.b.fcmp_ordered("<", first, _real(0)), _real(-1), first)
                return self.b.select(self.b.fcmp_ordered(">", first, _real(0)), _real(1), below)
        return self._inverse_root(first)

    def _inverse_root(self, value: Any) -> Any:
        """``invsqrt``: the estimate by the float's bits and one Newton step, with its error of 2e-4."""
        bits = self.b.bitcast(self.b.fptrunc(value, ir.FloatType()), ir.IntType(32))
        guess = self.b.sub(ir.Constant(ir.IntType(32), 0x5F3759DF), self.b.ashr(bits, ir.Constant(ir.IntType(32), 1)))
        y = self.b.fpext(self.b.bitcast(guess, ir.FloatType()), _REAL)
        square = self.b.fmul(self.b.fmul(self.b.fmul(value, _real(0.5)), y), y)
        usable = self.b.fcmp_ordered(">", value, _real(0))
        return self.b.select(usable, self.b.fmul(y, self.b.fsub(_real(1.5), square)), _real(float("nan")))

    # --------------------------------------------------------------------- loops

    def _spend(self, rounds: Any, limit: int, line: int) -> Any:
        """Take rounds off what the section may still do; whether they were too many."""
        left = self.b.sub(self.b.load(self._rounds), rounds)
        self.b.store(left, self._rounds)
        over = self.b.icmp_signed("<", left, _int(0))
        self._trap_if(over, TOO_LONG, line, _real(limit))
        return over

    @property
    def _limit(self) -> int:
        return FRAME_ROUNDS if self._name == "sample" else SECTION_ROUNDS

    def _loop(self, node: Loop) -> Any:
        count = self._value(node.count)
        fits = self.b.fcmp_ordered("<", count, _real(MAX_ROUNDS + 1))
        self._trap_if(self.b.not_(fits), TOO_MANY_ROUNDS, node.line, count)
        usable = self.b.and_(fits, self.b.fcmp_ordered(">=", count, _real(1)))
        rounds = self.b.fptosi(self.b.select(usable, count, _real(0)), _INT)
        over = self._spend(rounds, self._limit, node.line)
        left = self._entry.alloca(_INT)
        self.b.store(self.b.select(over, _int(0), rounds), left)
        walkers = walkers_of(node)
        if not walkers:
            self._all_rounds(node, left)
            return _real(0)
        with self.b.if_else(self._all_inside(walkers, rounds)) as (quick, general):
            with quick:
                self._walkers = {walker.slot: self._shadow(walker.slot) for walker in walkers}
                self._all_rounds(node, left)
                self._walkers = {}
            with general:
                self._all_rounds(node, left)
        return _real(0)

    def _all_rounds(self, node: Loop, left: Any) -> None:
        nested = any(isinstance(inner, Loop | While) for inner in walk(node.body))
        with self._while() as leave:
            now = self.b.load(left)
            leave(self.b.icmp_signed("<=", now, _int(0)))
            if nested:
                leave(self._trapped())
            self.b.store(self.b.sub(now, _int(1)), left)
            self._value(node.body)

    def _all_inside(self, walkers: tuple[Walker, ...], rounds: Any) -> Any:
        """Whether all walkers start at whole numbers and stay within the memory in all rounds."""
        inside = ir.Constant(_BOOL, True)
        further = self.b.sitofp(self.b.sub(rounds, _int(1)), _REAL)
        for walker in walkers:
            start = self.b.load(self._cell(walker.slot))
            end = self.b.fadd(start, self.b.fmul(further, _real(walker.step)))
            low, high = (start, end) if walker.step >= 0 else (end, start)
            for test in (
                self.b.fcmp_ordered("==", start, self._intrinsic("floor", start)),
                self.b.fcmp_ordered(">=", self.b.fadd(low, _real(walker.lowest)), _real(0)),
                self.b.fcmp_ordered("<", self.b.fadd(high, _real(walker.highest)), _real(self._memory_slots)),
            ):
                inside = self.b.and_(inside, test)
        return inside

    def _shadow(self, slot: str) -> Any:
        """An integer that follows a walker."""
        shadow = self._entry.alloca(_INT)
        self.b.store(self.b.fptosi(self.b.load(self._cell(slot)), _INT), shadow)
        return shadow

    def _while_loop(self, node: While) -> Any:
        done = self._entry.alloca(_INT)
        self.b.store(_int(0), done)
        with self._while() as leave:
            leave(self.b.not_(self._condition(node.condition)))
            before = self.b.load(done)
            wrong = self.b.icmp_signed(">=", before, _int(MAX_ROUNDS))
            self._trap_if(wrong, TOO_MANY_ROUNDS, node.line, _real(MAX_ROUNDS))
            leave(self._spend(_int(1), self._limit, node.line))
            leave(self._trapped())
            self.b.store(self.b.add(before, _int(1)), done)
            if node.body is not None:
                self._value(node.body)
        return _real(0)
