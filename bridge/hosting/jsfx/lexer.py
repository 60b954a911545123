"""Cuts the code of a section into tokens with their lines; grammar lives in `parser`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ...errors import ScriptError
from .language import CONSTANTS

Kind = Literal["number", "name", "operator", "end"]

_SPACE = re.compile(r"[ \t\n\r\f\v]+|//[^\n]*|/\*.*?\*/", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_DECIMAL = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_EXPONENT = re.compile(r"[eE][-+]?[0-9]+")
_SPECIAL = re.compile(
    r"""(?:\$[xX]|0[xX])(?P<hex>[0-9A-Fa-f]+)\b | \$(?P<constant>[A-Za-z]+\b)
    | \$~(?P<bits>[0-9]+)\b | \$?'(?P<character>[ -&(-~])'""",
    re.VERBOSE,
)
_OPERATOR = re.compile(r"===|!==|<<|>>|[-+*/%^|&~<>=!]=|&&|\|\||[-+*/%^&|~<>=!?:;,()\[\]]")

_WRONG = {
    "++": "there is no ++; write name += 1",
    "--": "there is no --; write name -= 1, or a - (-b)",
    "**": "power is ^; write x ^ y",
    "->": "members are reached with a dot; write object.name",
    "=>": "greater or equal is >=",
    "=<": "less or equal is <=",
    "{": "statements are grouped with ( and )",
    "}": "statements are grouped with ( and )",
    '"': "text is not hosted; use numbers",
    "#": "there are no preprocessor lines, and text is not hosted",
    "\\": "lines need no backslash; statements end with ;",
    "<?": "the preprocessor is missing in older REAPER; write the code out",
}


@dataclass(frozen=True)
class Token:
    """One token: its text in lower case, and the line of the file it stands in."""

    kind: Kind
    text: str
    line: int
    value: float = 0.0


class _Lexer:
    def __init__(self, code: str, *, first_line: int, path: str, spelling: dict[str, str]) -> None:
        self._code, self._path, self._spelling = code, path, spelling
        self._at, self._line = 0, first_line

    def fail(self, message: str) -> ScriptError:
        return ScriptError(f"{self._path}:{self._line}: {message}")

    def tokens(self) -> list[Token]:
        found: list[Token] = []
        while True:
            self._skip_space()
            if self._at >= len(self._code):
                return [*found, Token("end", "end of the section", self._line)]
            found.append(self._next())

    def _advance(self, match: re.Match[str]) -> str:
        self._at = match.end()
        self._line += match.group().count("\n")
        return match.group()

    def _skip_space(self) -> None:
        while match := _SPACE.match(self._code, self._at):
            self._advance(match)
        if self._code.startswith("/*", self._at):
            raise self.fail("the comment has no end; write */ behind it")

    def _next(self) -> Token:
        rest = self._code[self._at : self._at + 2]
        if not rest[0].isascii() or not (rest[0].isprintable()):
            raise self.fail(f"{rest[0]!r} is not allowed in code; keep it to comments and labels")
        for wrong in (rest, rest[0]):
            if wrong in _WRONG:
                raise self.fail(f"{wrong}: {_WRONG[wrong]}")
        if match := _SPECIAL.match(self._code, self._at):
            return self._special(match)
        if match := _DECIMAL.match(self._code, self._at):
            return self._decimal(match)
        if match := _NAME.match(self._code, self._at):
            return self._name(self._advance(match))
        if match := _OPERATOR.match(self._code, self._at):
            return Token("operator", self._advance(match), self._line)
        raise self.fail(f"cannot read {self._code[self._at : self._at + 20].splitlines()[0]!r}")

    def _name(self, name: str) -> Token:
        lower = name.lower()
        if "" in lower.split("."):
            raise self.fail(f"{name}: a dot stands between two names; write object.name")
        if any(part[0].isdigit() for part in lower.split(".")):
            raise self.fail(f"{name}: a member's name starts with a letter")
        if len(name) > 127:
            raise self.fail(f"{name[:20]}...: names have 127 characters at most")
        known = self._spelling.setdefault(lower, name)
        if known != name:
            raise self.fail(
                f"{known} and {name} are one variable, as names ignore case; write both alike or rename one"
            )
        return Token("name", lower, self._line)

    def _special(self, match: re.Match[str]) -> Token:
        text = self._advance(match)
        if match["constant"]:
            if text.lower() not in CONSTANTS:
                raise self.fail(f"{text} is unknown; constants are {', '.join(CONSTANTS)}")
            return self._number(text, CONSTANTS[text.lower()])
        if match["hex"]:
            if len(match["hex"]) > 13:
                raise self.fail(f"{text} does not fit a number exactly; write at most 13 hexadecimal digits")
            return self._number(text, float(int(match["hex"], 16)))
        if match["bits"]:
            if len(match["bits"]) > 2 or int(match["bits"]) > 53:
                raise self.fail(f"{text} does not fit a number exactly; write at most $~53")
            return self._number(text, float((1 << int(match["bits"])) - 1))
        return self._number(text, float(ord(match["character"])))

    def _decimal(self, match: re.Match[str]) -> Token:
        text = self._advance(match)
        if exponent := _EXPONENT.match(self._code, self._at):
            value = f"{float(text + exponent.group()):.17f}".rstrip("0").rstrip(".")
            raise self.fail(f"{text}{exponent.group()[:6]}: code has no exponents; write {value[:40]}")
        if re.match(r"[A-Za-z_.$0-9]", self._code[self._at : self._at + 1]):
            raise self.fail(f"{text}{self._code[self._at]}: a number ends here without an operator")
        return self._number(text, float(text))

    def _number(self, text: str, value: float) -> Token:
        if value > 1e300:
            raise self.fail("this number is too large to compute with")
        return Token("number", text, self._line, value)


def tokens_of(code: str, *, first_line: int, path: str, spelling: dict[str, str]) -> list[Token]:
    """Cut code into tokens; the last one is of kind "end".

    Parameters
    ----------
    code : str
    first_line : int
        Line of the file in which the code begins.
    path : str
        Name for messages.
    spelling : dict of str to str
        Names seen so far, lower case to as written; grows.

    Raises
    ------
    ScriptError
        If the code holds something REAPER would reject, or one name in two spellings.
    """
    return _Lexer(code, first_line=first_line, path=path, spelling=spelling).tokens()
