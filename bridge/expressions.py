"""Small formulas in data files, parsed and evaluated safely; what the names mean is the caller's business.

A formula is one Python expression of numbers, texts, given names, arithmetic, comparisons,
``and``/``or``/``not``, ``a if b else c`` and calls of given functions. Nothing else is accepted:
no attributes, no subscripts, no keywords. All numbers are floats, so no formula can run long.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

Value = float | str | bool
Function = Callable[..., Any]

#: A formula longer than this is refused unread.
MAX_LENGTH = 1000

_BINARY: dict[type[ast.operator], Function] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Function] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_COMPARE: dict[type[ast.cmpop], Function] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

#: Functions of every formula; callers add their own.
FUNCTIONS: dict[str, Function] = {
    "abs": abs,
    "ceil": lambda x: float(math.ceil(x)),
    "exp": math.exp,
    "floor": lambda x: float(math.floor(x)),
    "log": math.log,
    "log10": math.log10,
    "max": max,
    "min": min,
    "sqrt": math.sqrt,
}


class Formula:
    """One parsed formula.

    Parameters
    ----------
    text : str
    names, functions : collections of str
        What may be used; a function's name cannot be used as a value.

    Attributes
    ----------
    text : str
    uses : frozenset of str
        Names, without those of functions, that occur in it.

    Raises
    ------
    ValueError
        When the text is no formula or uses something unknown; the message says what.
    """

    def __init__(self, text: str, *, names: Collection[str], functions: Collection[str]) -> None:
        self.text = text
        if len(text) > MAX_LENGTH:
            raise ValueError(f"formula of {len(text)} characters; {MAX_LENGTH} are allowed")
        try:
            self._body = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ValueError(f"{text!r} is not a formula") from None
        try:
            _check(self._body, names, functions)
        except RecursionError:
            raise ValueError(f"{text[:40]!r}... is nested too deeply") from None
        called = {id(node.func) for node in ast.walk(self._body) if isinstance(node, ast.Call)}
        self.uses = frozenset(
            node.id for node in ast.walk(self._body) if isinstance(node, ast.Name) and id(node) not in called
        )

    def __call__(self, names: Mapping[str, Value], functions: Mapping[str, Function]) -> Value:
        """Evaluate with these values and functions.

        Raises
        ------
        ValueError
            When the result is not a finite number, text or truth value.
        """
        try:
            value = _evaluate(self._body, names, functions)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise ValueError(f"{self.text!r} cannot be computed ({error})") from None
        if isinstance(value, bool | str):
            return value
        if isinstance(value, complex) or not math.isfinite(value):
            raise ValueError(f"{self.text!r} gives {value}, not a finite number")
        return float(value)


def _check(node: ast.expr, names: Collection[str], functions: Collection[str]) -> None:
    """Refuse everything that `_evaluate` does not know."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str()):
            inner: list[ast.expr] = []
        case ast.Name(id=name):
            if name not in names:
                raise ValueError(f"unknown name {name!r}; known are {', '.join(sorted(names))}")
            inner = []
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            inner = [operand]
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
            inner = [left, right]
        case ast.BoolOp(values=values):
            inner = values
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARE for op in ops):
            inner = [left, *others]
        case ast.IfExp(test=test, body=body, orelse=orelse):
            inner = [test, body, orelse]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            if name not in functions:
                raise ValueError(f"unknown function {name!r}; known are {', '.join(sorted(functions))}")
            inner = args
        case _:
            raise ValueError(f"{ast.unparse(node)!r} is not allowed in a formula")
    for child in inner:
        _check(child, names, functions)


def _evaluate(node: ast.expr, names: Mapping[str, Value], functions: Mapping[str, Function]) -> Any:
    def value(child: ast.expr) -> Any:
        return _evaluate(child, names, functions)

    match node:
        case ast.Constant(value=constant):
            return float(constant) if isinstance(constant, int) and not isinstance(constant, bool) else constant
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](value(operand))
        case ast.BinOp(op=op, left=left, right=right):
            return _BINARY[type(op)](value(left), value(right))
        case ast.BoolOp(op=ast.And(), values=values):
            return all(value(v) for v in values)
        case ast.BoolOp(values=values):
            return any(value(v) for v in values)
        case ast.Compare(left=left, ops=ops, comparators=others):
            found = [value(child) for child in (left, *others)]
            return all(_COMPARE[type(op)](a, b) for op, a, b in zip(ops, found, found[1:], strict=False))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return value(body) if value(test) else value(orelse)
        case ast.Call(func=ast.Name(id=name), args=args):
            return functions[name](*(value(arg) for arg in args))
    raise ValueError("not a formula")
