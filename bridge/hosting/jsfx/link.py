"""Gives every name its meaning: functions are inlined per object, variables become slots; no machine code here.

What the language would accept and compute wrongly is an error: names that are never assigned,
operands that change while they are read, variables that mean nothing where they stand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from ...errors import ScriptError
from .header import Slider, Source
from .language import (
    HOST_VARIABLES,
    MATH_FUNCTIONS,
    MEMORY_FUNCTIONS,
    REMEDIES,
    REPORT_VARIABLES,
    STATE_FUNCTIONS,
    TOLERANCE,
    UNHOSTED_FUNCTIONS,
    UNHOSTED_VARIABLES,
)
from .syntax import (
    Assign,
    Binary,
    Call,
    Choice,
    Function,
    Logic,
    Loop,
    Memory,
    Module,
    Name,
    Node,
    Number,
    Sequence,
    Unary,
    While,
)

#: Nodes after inlining; calls of calls of calls grow without bound.
MAX_NODES = 20_000

#: Slots with this mark live for one call only.
TEMPORARY = "%"

#: Object and section for which functions that nobody calls are checked.
_NOBODY = "(nobody)"
_ANYWHERE = "(anywhere)"


@dataclass(frozen=True)
class Program:
    """An effect ready to be compiled.

    Attributes
    ----------
    sections : dict of str to Node
        Trees whose names are slots and whose calls are all of the language's own functions.
    slots : tuple of str
        All variables that keep their value; host and slider variables are among them.
    """

    sections: dict[str, Node]
    slots: tuple[str, ...]


def link_module(module: Module, source: Source) -> Program:
    """Resolve all names of an effect.

    Raises
    ------
    ScriptError
        If a name is unknown, misplaced or never assigned, or an expression depends on the
        order in which its parts are computed; the message names file, line and remedy.
    """
    return _Linker(module, source).link()


# -------------------------------------------------------------------------- tree walks


def children(node: Node) -> Iterator[Node]:
    """Parts of a node, in the order in which they are computed."""
    match node:
        case Memory():
            yield from (node.base, node.index)
        case Unary():
            yield node.operand
        case Binary() | Logic():
            yield from (node.left, node.right)
        case Choice():
            yield from (part for part in (node.condition, node.yes, node.no) if part is not None)
        case Assign():
            if isinstance(node.target, Memory):
                yield node.target
            yield node.value
        case Call():
            yield from node.arguments
        case Loop():
            yield from (node.count, node.body)
        case While():
            yield node.condition
            if node.body is not None:
                yield node.body
        case Sequence():
            yield from node.statements
        case _:
            return


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        yield found
        waiting.extend(children(found))


def written(node: Node) -> set[str]:
    """Names assigned anywhere below a node."""
    return {n.target.name for n in walk(node) if isinstance(n, Assign) and isinstance(n.target, Name)}


def _read(node: Node) -> set[str]:
    names = {n.name for n in walk(node) if isinstance(n, Name)}
    return names | {
        n.target.name for n in walk(node) if isinstance(n, Assign) and isinstance(n.target, Name) and n.operator
    }


def _has_effect(node: Node) -> bool:
    return any(isinstance(part, Assign | Call | Loop | While) for part in walk(node))


def read_before_set(function: Function) -> set[str]:
    """Local names of a function that may be read before the same call has assigned them."""
    found: set[str] = set()
    _follow(function.body, frozenset(function.parameters), frozenset(function.local), found)
    return found


def _follow(node: Node, known: frozenset[str], local: frozenset[str], found: set[str]) -> frozenset[str]:
    """Names certainly assigned after a node, of those before it; reads of others go to `found`."""
    match node:
        case Name():
            if node.name in local and node.name not in known:
                found.add(node.name)
            return known
        case Assign(target=Name(name=name)):
            known = _follow(node.value, known, local, found)
            if node.operator and name in local and name not in known:
                found.add(name)
            return known | {name}
        case Logic():
            known = _follow(node.left, known, local, found)
            _follow(node.right, known, local, found)
            return known
        case Choice():
            known = _follow(node.condition, known, local, found)
            ends = [known if part is None else _follow(part, known, local, found) for part in (node.yes, node.no)]
            return ends[0] & ends[1]
        case Loop():
            known = _follow(node.count, known, local, found)
            _follow(node.body, known, local, found)
            return known
        case While():
            known = _follow(node.condition, known, local, found)
            if node.body is not None:
                _follow(node.body, known, local, found)
            return known
    for part in children(node):
        known = _follow(part, known, local, found)
    return known


def needs_object(function: Function) -> bool:
    """Whether a function uses the object it is called on."""
    return bool(function.instance) or any(
        (isinstance(n, Name | Call) and n.name.startswith("this."))
        or (isinstance(n, Assign) and isinstance(n.target, Name) and n.target.name.startswith("this."))
        for n in walk(function.body)
    )  # fmt: skip


# ------------------------------------------------------------------------------ linker


@dataclass(frozen=True)
class _Scope:
    """Where a piece of code stands: section, function, object, and the slots of its own names."""

    section: str
    function: Function | None = None
    this: str | None = None
    own: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> str:
        return self.function.section if self.function else self.section


class _Linker:
    def __init__(self, module: Module, source: Source) -> None:
        self._module, self._path = module, source.path
        self._sliders: dict[str, Slider] = {s.variable: s for s in source.sliders}
        self._aliases = {f"slider{s.index}": s.variable for s in source.sliders}
        self._reads: dict[str, int] = {}
        self._writes: set[str] = set()
        self._nodes = 0
        self._inlined = 0
        self._called: set[str] = set()
        self._unset = {f.name: read_before_set(f) for f in module.functions.values()}
        self._objects = {f.name for f in module.functions.values() if needs_object(f)}

    def _fail(self, line: int, message: str) -> ScriptError:
        return ScriptError(f"{self._path}:{line}: {message}")

    def link(self) -> Program:
        for function in self._module.functions.values():
            self._check_function(function)
        sections = {name: self._section(name, body) for name, body in self._module.sections.items()}
        slots = set(self._writes)
        for function in reversed(self._module.functions.values()):
            if function.name not in self._called:
                self._inline(function, _NOBODY, (), _Scope(_ANYWHERE, function), function.line)
        known = {*slots, *self._sliders, *HOST_VARIABLES, *REPORT_VARIABLES}
        for name, line in self._reads.items():
            if name not in known and not name.startswith((TEMPORARY, _NOBODY)):
                raise self._fail(line, f"{name} is never assigned and would be 0; assign it, or correct the spelling")
        return Program(sections, tuple(sorted(known)))

    def _section(self, name: str, body: Sequence) -> Node:
        for statement in body.statements:
            self._check_effect(statement)
        return self._link(body, _Scope(name))

    def _check_effect(self, statement: Node) -> None:
        if not _has_effect(statement):
            raise self._fail(statement.line, "this statement has no effect; write = to assign, or remove it")

    def _check_function(self, function: Function) -> None:
        if isinstance(function.body, Sequence):
            for statement in function.body.statements[:-1]:
                self._check_effect(statement)
        for name in sorted(self._unset[function.name] - written(function.body)):
            raise self._fail(function.line, f"{function.name} reads its local {name}, which is never assigned")

    # ------------------------------------------------------------------------ nodes

    def _link(self, node: Node, scope: _Scope) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._fail(node.line, f"the effect grows beyond {MAX_NODES} operations; call functions fewer times")
        link: Callable[[Node], Node] = partial(self._link, scope=scope)
        match node:
            case Number():
                return node
            case Name():
                return Name(node.line, self._variable(node, scope, reads=True))
            case Memory():
                return self._memory(node, scope)
            case Unary():
                return Unary(node.line, node.operator, link(node.operand))
            case Binary():
                return self._binary(node, scope)
            case Logic():
                return Logic(node.line, node.operator, link(node.left), link(node.right))
            case Choice():
                self._check_condition(node.condition)
                yes, no = (None if part is None else link(part) for part in (node.yes, node.no))
                return Choice(node.line, link(node.condition), yes, no)
            case Assign():
                return self._assign(node, scope)
            case Call():
                return self._call(node, scope)
            case Loop():
                return Loop(node.line, link(node.count), link(node.body))
            case While():
                self._check_condition(node.condition)
                return While(node.line, link(node.condition), None if node.body is None else link(node.body))
            case Sequence():
                return Sequence(node.line, tuple(link(statement) for statement in node.statements))

    def _check_condition(self, condition: Node) -> None:
        if isinstance(condition, Number):
            raise self._fail(condition.line, "the condition is a constant; compare with ==, or remove the choice")

    def _memory(self, node: Memory, scope: _Scope) -> Memory:
        base, index = self._link(node.base, scope), self._link(node.index, scope)
        self._check_order(node.line, base, index)
        return Memory(node.line, base, index)

    def _binary(self, node: Binary, scope: _Scope) -> Binary:
        if node.operator in ("==", "!="):
            for side in (node.left, node.right):
                value = side.operand if isinstance(side, Unary) else side
                if isinstance(value, Number) and 0 < value.value < TOLERANCE:
                    raise self._fail(
                        node.line, f"{node.operator} takes numbers closer than {TOLERANCE:.5f} as equal; use === or <"
                    )
        left, right = self._link(node.left, scope), self._link(node.right, scope)
        self._check_order(node.line, left, right)
        return Binary(node.line, node.operator, left, right)

    def _check_order(self, line: int, *operands: Node) -> None:
        """A variable that a later operand changes may be read before or after that."""
        for at, operand in enumerate(operands[:-1]):
            if isinstance(operand, Name) and any(operand.name in written(later) for later in operands[at + 1 :]):
                name = operand.name.rpartition(TEMPORARY)[2]
                raise self._fail(line, f"{name} changes while the expression is computed; write two statements")

    def _assign(self, node: Assign, scope: _Scope) -> Node:
        value = self._link(node.value, scope)
        if isinstance(node.target, Name):
            slot = self._variable(node.target, scope, reads=bool(node.operator))
            self._check_target(node.target, slot, scope)
            self._writes.add(slot)
            return Assign(node.line, node.operator, Name(node.line, slot), value)
        target = self._memory(node.target, scope)
        if _read(target) & written(value):
            raise self._fail(node.line, "the address changes while the value is computed; write two statements")
        return Assign(node.line, node.operator, target, value)

    # -------------------------------------------------------------------- variables

    def _variable(self, node: Name, scope: _Scope, *, reads: bool) -> str:
        slot = self._slot(node.line, node.name, scope)
        if reads and not slot.startswith(TEMPORARY):
            self._reads.setdefault(slot, node.line)
        return slot

    def _slot(self, line: int, name: str, scope: _Scope) -> str:
        root, dot, _ = name.partition(".")
        if root in scope.own:
            if dot:
                raise self._fail(line, f"{root} is a parameter or local here and has no members; rename one")
            return scope.own[root]
        if root == "this" or (scope.function and root in scope.function.instance):
            return self._member(line, name, scope)
        self._check_shared(line, root, scope)
        name = self._aliases.get(name, name)
        self._check_global(line, name, scope)
        return name

    def _member(self, line: int, name: str, scope: _Scope) -> str:
        if scope.this is None:
            raise self._fail(line, f"{name}: this is known in functions alone; write the object's name")
        return f"{scope.this}.{name.removeprefix('this.')}"

    def _check_shared(self, line: int, root: str, scope: _Scope) -> None:
        if scope.function and scope.function.shared is not None and root not in scope.function.shared:
            raise self._fail(line, f"{root} is not in the globals(...) of {scope.function.name}; add it there")

    def _check_global(self, line: int, name: str, scope: _Scope) -> None:
        root = name.partition(".")[0]
        if name in UNHOSTED_VARIABLES or root == "_global" or re.fullmatch(r"reg[0-9]{2}|gfx_\w+", name):
            raise self._fail(line, f"{name} has no value in an offline render of one effect; remove it")
        if re.fullmatch(r"spl[0-9]+", name) and name not in HOST_VARIABLES:
            raise self._fail(line, f"{name}: only stereo is hosted; use spl0 and spl1")
        if re.fullmatch(r"slider[0-9]+", name) and name not in self._sliders:
            raise self._fail(line, f"{name}: there is no such slider; correct the number, or add its line")
        if name in self._module.functions or name in MATH_FUNCTIONS or name in MEMORY_FUNCTIONS:
            raise self._fail(line, f"{name} is a function; write {name}( ), or rename the variable")
        if name in HOST_VARIABLES and scope.section not in (*HOST_VARIABLES[name], _ANYWHERE):
            sections = ", ".join(f"@{section}" for section in HOST_VARIABLES[name])
            raise self._fail(line, f"{name} has no value in @{scope.section}; use it in {sections}")

    def _check_target(self, target: Name, slot: str, scope: _Scope) -> None:
        if slot in HOST_VARIABLES and slot not in ("spl0", "spl1"):
            raise self._fail(target.line, f"{slot} belongs to the host; choose another name")
        if slot in REPORT_VARIABLES and scope.section not in (*REPORT_VARIABLES[slot], _ANYWHERE):
            raise self._fail(target.line, f"{slot} cannot change in @{scope.section}; set it in @init or @slider")
        if slot in self._sliders and scope.section == "init":
            raise self._fail(
                target.line, f"assigning {slot} in @init overrides the user's setting; remove it, or use another name"
            )

    # ------------------------------------------------------------------------ calls

    def _call(self, node: Call, scope: _Scope) -> Node:
        path, _, name = node.name.rpartition(".")
        function = self._module.functions.get(name)
        if function is None:
            return self._own_call(node, scope)
        self._check_reach(node, function, scope)
        if len(node.arguments) != len(function.parameters):
            raise self._fail(
                node.line, f"{name} takes {len(function.parameters)} arguments, {len(node.arguments)} are given"
            )
        this = self._object(node, path, scope) if path else None
        if this is None and name in self._objects:
            raise self._fail(node.line, f"{name} works on an object; write object.{name}( )")
        self._called.add(name)
        arguments = tuple(self._link(argument, scope) for argument in node.arguments)
        self._check_order(node.line, *arguments)
        return self._inline(function, this, arguments, scope, node.line)

    def _check_reach(self, node: Call, function: Function, scope: _Scope) -> None:
        caller = scope.function
        if caller is not None and function.order >= caller.order:
            reason = "calls itself, which is not possible" if function is caller else "is defined below its call"
            raise self._fail(node.line, f"{function.name} {reason}; define functions before they are used")
        if function.section not in ("init", scope.home):
            raise self._fail(node.line, f"{function.name} is known in @{function.section} alone; define it in @init")
        if caller is None and function.section == scope.section and node.line < function.line:
            raise self._fail(node.line, f"{function.name} is defined below its call; move it up")

    def _object(self, node: Call, path: str, scope: _Scope) -> str:
        if path == "this":
            if scope.this is None:
                raise self._fail(node.line, "this is known in functions alone; write the object's name")
            return scope.this
        root = path.partition(".")[0]
        if root in scope.own:
            raise self._fail(node.line, f"{root} is a parameter or local here and no object; rename one")
        if root == "this" or (scope.function and root in scope.function.instance):
            return self._member(node.line, path, scope)
        self._check_shared(node.line, root, scope)
        return path

    def _inline(
        self, function: Function, this: str | None, arguments: tuple[Node, ...], scope: _Scope, line: int
    ) -> Node:
        """The body of a function for one object, its parameters assigned before it."""
        self._inlined += 1
        own = {name: f"{TEMPORARY}{self._inlined}{TEMPORARY}{name}" for name in (*function.parameters, *function.local)}
        for name in self._unset[function.name]:
            # This local keeps its value from call to call, whatever the object.
            own[name] = f"{function.name}:{name}"
            self._writes.add(own[name])
        inner = _Scope(scope.section, function, this, own)
        given = [
            Assign(line, "", Name(line, own[name]), value)
            for name, value in zip(function.parameters, arguments, strict=False)
        ]
        body = self._link(function.body, inner)
        return Sequence(line, (*given, body)) if given else body

    def _own_call(self, node: Call, scope: _Scope) -> Node:
        """A call of a function of the language."""
        name = node.name
        if name in UNHOSTED_FUNCTIONS:
            raise self._fail(node.line, f"{name} {UNHOSTED_FUNCTIONS[name]}")
        if re.match(r"(gfx|str|midi)_?", name) and name not in MATH_FUNCTIONS:
            raise self._fail(node.line, f"{name} is unknown, or about drawing, text or MIDI, which are not hosted")
        known = {**MATH_FUNCTIONS, **MEMORY_FUNCTIONS, **(STATE_FUNCTIONS if scope.section == "serialize" else {})}
        if name in STATE_FUNCTIONS and name not in known:
            raise self._fail(node.line, f"{name} is hosted in @serialize alone; compute tables in @init")
        if name not in known:
            remedy = REMEDIES.get(name, "define it in @init, or correct the spelling")
            raise self._fail(node.line, f"there is no function {name}; {remedy}")
        if len(node.arguments) != known[name]:
            nested = f"; write {name}({name}(a, b), c)" if name in ("min", "max") and len(node.arguments) > 2 else ""
            raise self._fail(
                node.line, f"{name} takes {known[name]} arguments, {len(node.arguments)} are given{nested}"
            )
        arguments = tuple(self._link(argument, scope) for argument in node.arguments)
        self._check_order(node.line, *arguments)
        return Call(node.line, name, arguments)
