"""Finds variables that walk through memory in even steps while a loop runs; what is done with them is in `compile`.

Addresses of the language are fractions that are checked and cut at every access. Where a loop
moves a variable by whole numbers only, one check before the loop can stand for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .link import walk
from .syntax import Assign, Loop, Memory, Name, Node, Number, Sequence, While

#: Steps and offsets beyond this are left to the general way.
_LARGEST = 1 << 31


@dataclass(frozen=True)
class Walker:
    """A variable that serves as address in a loop.

    Attributes
    ----------
    slot : str
    step : int
        By how much one round moves it in all, 0 if it stands still.
    lowest, highest : int
        First and last slot accessed in the first round, relative to where it starts.
    """

    slot: str
    step: int
    lowest: int
    highest: int


def offset_of(index: Node) -> int | None:
    """The index of a memory access, if it is a whole number known beforehand."""
    if isinstance(index, Number) and index.value.is_integer() and abs(index.value) < _LARGEST:
        return int(index.value)
    return None


def step_of(statement: Node) -> int | None:
    """By how much a statement like ``x += 2`` moves its variable."""
    match statement:
        case Assign(operator="+" | "-", target=Name(), value=value):
            amount = offset_of(value)
            return -amount if amount is not None and statement.operator == "-" else amount
    return None


def walkers_of(loop: Loop) -> tuple[Walker, ...]:
    """Variables whose accesses all rounds of an innermost loop can be checked for at once."""
    parts = list(walk(loop.body))
    if any(isinstance(part, Loop | While) for part in parts):
        return ()
    statements = list(_statements(loop.body))
    moves = [name for name in map(_target, statements) if name]
    writes = [p.target.name for p in parts if isinstance(p, Assign) and isinstance(p.target, Name)]
    found = []
    for slot in dict.fromkeys(p.base.name for p in parts if isinstance(p, Memory) and isinstance(p.base, Name)):
        if writes.count(slot) == moves.count(slot):
            found.append(_follow(slot, statements))
    return tuple(walker for walker in found if walker is not None)


def _target(statement: Node) -> str:
    """Variable that a statement moves by a whole number, if it does nothing else."""
    if step_of(statement) is not None and isinstance(statement, Assign) and isinstance(statement.target, Name):
        return statement.target.name
    return ""


def _statements(node: Node) -> Iterator[Node]:
    """Statements that every round runs, in their order."""
    if isinstance(node, Sequence):
        for statement in node.statements:
            yield from _statements(statement)
    else:
        yield node


def _follow(slot: str, statements: list[Node]) -> Walker | None:
    at, reached = 0, []
    for statement in statements:
        for part in walk(statement):
            if isinstance(part, Memory) and isinstance(part.base, Name) and part.base.name == slot:
                offset = offset_of(part.index)
                if offset is not None:
                    reached.append(at + offset)
        if _target(statement) == slot:
            at += step_of(statement) or 0
    return Walker(slot, at, min(reached), max(reached)) if reached else None
