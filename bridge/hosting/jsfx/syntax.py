"""The nodes of a parsed effect; what builds and what reads them lives elsewhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Number:
    """A literal or constant."""

    line: int
    value: float


@dataclass(frozen=True, eq=False)
class Name:
    """A variable; after linking, a slot."""

    line: int
    name: str


@dataclass(frozen=True, eq=False)
class Memory:
    """``base[index]``."""

    line: int
    base: Node
    index: Node


@dataclass(frozen=True, eq=False)
class Unary:
    """``-x`` or ``!x``."""

    line: int
    operator: str
    operand: Node


@dataclass(frozen=True, eq=False)
class Binary:
    """Two operands that are both evaluated, left first."""

    line: int
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, eq=False)
class Logic:
    """``a && b`` or ``a || b``: the right side only where it matters."""

    line: int
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, eq=False)
class Choice:
    """``condition ? yes : no``; either part may be missing."""

    line: int
    condition: Node
    yes: Node | None
    no: Node | None


@dataclass(frozen=True, eq=False)
class Assign:
    """``target = value`` or with an operator, which is then without its equals sign."""

    line: int
    operator: str
    target: Name | Memory
    value: Node


@dataclass(frozen=True, eq=False)
class Call:
    """A function with its arguments; of a user's function, `name` holds the object too."""

    line: int
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Loop:
    """``loop(count, body)``."""

    line: int
    count: Node
    body: Node


@dataclass(frozen=True, eq=False)
class While:
    """``while(condition) (body)``, or ``while(condition)`` where the body is None."""

    line: int
    condition: Node
    body: Node | None


@dataclass(frozen=True, eq=False)
class Sequence:
    """Statements; the value is that of the last."""

    line: int
    statements: tuple[Node, ...]


Node = Number | Name | Memory | Unary | Binary | Logic | Choice | Assign | Call | Loop | While | Sequence


@dataclass(frozen=True, eq=False)
class Function:
    """A function of the effect.

    Attributes
    ----------
    section : str
        Where it is defined: in @init it is known to all later sections, elsewhere to its own.
    order : int
        Position among all definitions: calls reach only what was defined before.
    shared : tuple of str or None
        Names in `globals(...)`: the only global variables it may use, where given.
    """

    line: int
    name: str
    section: str
    order: int
    parameters: tuple[str, ...]
    local: tuple[str, ...]
    instance: tuple[str, ...]
    shared: tuple[str, ...] | None
    body: Node


@dataclass(frozen=True, eq=False)
class Module:
    """All code of an effect: the body of each section, and the functions in order of definition."""

    sections: dict[str, Sequence]
    functions: dict[str, Function]
