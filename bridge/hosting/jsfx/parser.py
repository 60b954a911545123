"""Grammar of the language: tokens to syntax tree; names are given their meaning in `link`."""

from __future__ import annotations

import re

from ...errors import ScriptError
from .header import Source
from .language import (
    ASSIGNMENTS,
    BUILTIN_VARIABLES,
    KEYWORDS,
    LOOPS,
    MATH_FUNCTIONS,
    MEMORY_FUNCTIONS,
    PRECEDENCE,
    REMEDIES,
    STATE_FUNCTIONS,
    UNHOSTED_FUNCTIONS,
)
from .lexer import Token, tokens_of
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

#: Brackets within brackets; more is a mistake, and would exhaust the stack.
MAX_NESTING = 60
#: Operators in one expression without brackets, for the same reason.
MAX_CHAIN = 100
MAX_PARAMETERS = 40

_LEVEL = {operator: level for level, operators in enumerate(PRECEDENCE) for operator in operators}


class _Parser:
    """Recursive descent with precedence climbing; one per section."""

    def __init__(self, tokens: list[Token], *, section: str, path: str, functions: dict[str, Function]) -> None:
        self._tokens, self._at = tokens, 0
        self._section, self._path, self._functions = section, path, functions
        self._nesting = 0

    # ----------------------------------------------------------------------- tokens

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    @property
    def _at_end(self) -> bool:
        return self._token.kind == "end"

    def _fail(self, message: str, line: int | None = None) -> ScriptError:
        return ScriptError(f"{self._path}:{self._token.line if line is None else line}: {message}")

    def _is(self, *texts: str) -> bool:
        return self._token.kind in ("operator", "end") and self._token.text in texts

    def _take(self) -> Token:
        token = self._token
        self._at += token.kind != "end"
        return token

    def _expect(self, text: str, why: str) -> Token:
        if not self._is(text):
            raise self._fail(f"expected {text} {why}, found {self._token.text[:40]}{self._remedy()}")
        return self._take()

    def _remedy(self) -> str:
        remedy = REMEDIES.get(self._token.text) if self._token.kind == "name" else None
        if remedy is None and self._at:
            before = self._tokens[self._at - 1]
            remedy = REMEDIES.get(before.text) if before.kind == "name" else None
        return f"; {remedy}" if remedy else ""

    # ------------------------------------------------------------------- statements

    def section(self) -> Sequence:
        """The whole section; its functions are added to those of the effect."""
        found: list[Node] = []
        line = self._token.line
        while not self._at_end:
            if self._token.kind == "name" and self._token.text == "function":
                self._function()
                while self._is(";"):
                    self._take()
                continue
            found.append(self._expression())
            if not self._at_end:
                self._expect(";", "between two statements")
            while self._is(";"):
                self._take()
        return Sequence(line, tuple(found))

    def _statements(self, *ends: str, opened: int) -> Node:
        """Statements up to one of the closing tokens, which is left; the bracket was opened in a line."""
        line, found = self._token.line, [self._expression()]
        while self._is(";"):
            while self._is(";"):
                self._take()
            if self._is(*ends) or self._at_end:
                break
            found.append(self._expression())
        if self._at_end:
            raise self._fail(f"the bracket opened here is never closed; write {ends[-1]}", opened)
        if not self._is(*ends):
            self._expect(ends[-1], "or ;")
        return found[0] if len(found) == 1 else Sequence(line, tuple(found))

    # ------------------------------------------------------------------ expressions

    def _expression(self) -> Node:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self._fail(f"more than {MAX_NESTING} brackets or choices inside each other; split the expression")
        condition = self._binary(0)
        result = self._choice(condition) if self._is("?") else condition
        if self._token.kind == "operator" and self._token.text in ASSIGNMENTS:
            raise self._fail(f"only a variable or memory[index] can stand before {self._token.text}")
        self._nesting -= 1
        return result

    def _choice(self, condition: Node) -> Node:
        line = self._take().line
        yes = None if self._is(":") else self._expression()
        no = None
        if self._is(":"):
            self._take()
            no = self._expression()
        return Choice(line, condition, yes, no)

    def _binary(self, level: int) -> Node:
        left = self._unary()
        count = 0
        while self._token.kind == "operator" and (found := _LEVEL.get(self._token.text, -1)) >= level:
            count += 1
            if count > MAX_CHAIN:
                raise self._fail(f"more than {MAX_CHAIN} operators in a row; split the expression")
            token = self._take()
            right = self._binary(found + 1)
            kind = Logic if token.text in ("&&", "||") else Binary
            left = kind(token.line, token.text, left, right)
        return left

    def _unary(self) -> Node:
        if not self._is("-", "+", "!"):
            return self._assignment()
        signs = []
        while self._is("-", "+", "!"):
            signs.append(self._take())
            if len(signs) > MAX_CHAIN:
                raise self._fail(f"more than {MAX_CHAIN} signs in a row")
        value = self._assignment()
        for sign in reversed(signs):
            if sign.text != "+":
                value = Unary(sign.line, sign.text, value)
        return value

    def _assignment(self) -> Node:
        """An operand, or an assignment, which binds to the operand at its left alone."""
        target = self._postfix()
        if self._token.kind != "operator" or self._token.text not in ASSIGNMENTS:
            return target
        token = self._take()
        if isinstance(target, Call) and target.name in UNHOSTED_FUNCTIONS:
            raise self._fail(f"{target.name} {UNHOSTED_FUNCTIONS[target.name]}", token.line)
        if not isinstance(target, Name | Memory):
            raise self._fail(f"only a variable or memory[index] can stand before {token.text}", token.line)
        return Assign(token.line, token.text[:-1], target, self._expression())

    def _postfix(self) -> Node:
        value = self._primary()
        while self._is("["):
            line = self._take().line
            index: Node = Number(line, 0.0) if self._is("]") else self._statements("]", opened=line)
            self._expect("]", "behind the index")
            value = Memory(line, value, index)
        return value

    def _primary(self) -> Node:
        token = self._token
        if token.kind == "number":
            self._take()
            return Number(token.line, token.value)
        if token.kind == "name":
            return self._name()
        if self._is("("):
            self._take()
            if self._is(")"):
                raise self._fail("( ) holds no statement; write 0 for no effect")
            inner = self._statements(")", opened=token.line)
            self._expect(")", "behind the statements")
            return inner
        raise self._fail(f"expected a value, found {token.text[:40]}{self._remedy()}")

    def _name(self) -> Node:
        token = self._take()
        if token.text == "function":
            raise self._fail("functions are defined between statements, not inside one", token.line)
        if not self._is("("):
            if token.text in REMEDIES:
                raise self._fail(f"{token.text}: {REMEDIES[token.text]}", token.line)
            if token.text in (*KEYWORDS, *LOOPS):
                raise self._fail(f"{token.text} cannot be used as a variable", token.line)
            return Name(token.line, token.text)
        if token.text in LOOPS:
            return self._loop(token)
        if token.text in REMEDIES and token.text not in self._functions:
            raise self._fail(f"there is no {token.text}; {REMEDIES[token.text]}", token.line)
        return Call(token.line, token.text, self._arguments())

    def _arguments(self) -> tuple[Node, ...]:
        opened = self._expect("(", "before the arguments").line
        found: list[Node] = []
        while not self._is(")"):
            found.append(self._statements(",", ")", opened=opened))
            if self._is(","):
                self._take()
                if self._is(")"):
                    raise self._fail("an argument is missing behind the comma")
        self._take()
        return tuple(found)

    def _loop(self, token: Token) -> Node:
        arguments = self._arguments()
        if token.text == "loop":
            if len(arguments) != 2:
                raise self._fail("write loop(count, statements)", token.line)
            return Loop(token.line, arguments[0], arguments[1])
        if len(arguments) != 1:
            raise self._fail("write while(condition) ( statements )", token.line)
        if not self._is("("):
            return While(token.line, arguments[0], None)
        body = self._statements(")", opened=self._take().line)
        self._expect(")", "behind the statements")
        return While(token.line, arguments[0], body)

    # -------------------------------------------------------------------- functions

    def _function(self) -> None:
        line = self._take().line
        name = self._new_name("function")
        parameters = self._names()
        lists: dict[str, tuple[str, ...]] = {}
        while self._token.kind == "name" and self._token.text in ("local", "static", "instance", "global", "globals"):
            kind = {"static": "local", "global": "globals"}.get(self._token.text, self._token.text)
            self._take()
            lists[kind] = (*lists.get(kind, ()), *self._names(new=kind != "globals"))
        self._check_lists(line, name, parameters, lists)
        opened = self._expect("(", f"before the body of {name}").line
        if self._is(")"):
            raise self._fail(f"function {name} has no statement; write 0 for no effect")
        body = self._statements(")", opened=opened)
        self._expect(")", f"behind the body of {name}")
        self._functions[name] = Function(
            line=line, name=name, section=self._section, order=len(self._functions), parameters=parameters,
            local=lists.get("local", ()), instance=lists.get("instance", ()), shared=lists.get("globals"), body=body,
        )  # fmt: skip

    def _new_name(self, what: str) -> str:
        token = self._take()
        if token.kind != "name":
            raise self._fail(f"expected the name of the {what}, found {token.text[:40]}", token.line)
        if "." in token.text:
            raise self._fail(f"{token.text}: a {what} has a name without dots", token.line)
        taken = (
            *KEYWORDS, *LOOPS, *MATH_FUNCTIONS, *MEMORY_FUNCTIONS, *STATE_FUNCTIONS, *UNHOSTED_FUNCTIONS,
            *BUILTIN_VARIABLES,
        )  # fmt: skip
        if token.text in taken or re.fullmatch(r"(spl|slider|reg)[0-9]+", token.text):
            raise self._fail(f"{token.text} is REAPER's own; choose another name for the {what}", token.line)
        if what == "function" and token.text in self._functions:
            raise self._fail(f"function {token.text} is defined a second time; rename one", token.line)
        return token.text

    def _names(self, *, new: bool = True) -> tuple[str, ...]:
        self._expect("(", "before the names")
        found = []
        while not self._is(")"):
            if not new and self._token.kind == "name":
                found.append(self._take().text)
            else:
                found.append(self._new_name("variable"))
            if self._is("*"):
                raise self._fail(f"{found[-1]}*: object parameters are not hosted; call object.function() instead")
            if self._is(","):
                self._take()
        self._take()
        return tuple(found)

    def _check_lists(
        self, line: int, name: str, parameters: tuple[str, ...], lists: dict[str, tuple[str, ...]]
    ) -> None:
        if len(parameters) > MAX_PARAMETERS:
            raise self._fail(f"{name} has more than {MAX_PARAMETERS} parameters", line)
        names = [*parameters, *lists.get("local", ()), *lists.get("instance", ()), *lists.get("globals", ())]
        for twice in names:
            if names.count(twice) > 1:
                raise self._fail(f"{name} names {twice} twice in its lists; keep one", line)


def parse_module(source: Source) -> Module:
    """Parse all sections of an effect.

    Raises
    ------
    ScriptError
        If the code breaks the grammar; the message names file, line and remedy.
    """
    spelling = {slider.variable: slider.variable for slider in source.sliders}
    functions: dict[str, Function] = {}
    sections = {}
    for name, section in source.sections.items():
        tokens = tokens_of(section.code, first_line=section.first_line, path=source.path, spelling=spelling)
        parser = _Parser(tokens, section=name, path=source.path, functions=functions)
        sections[name] = parser.section()
    return Module(sections, functions)
