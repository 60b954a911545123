"""How ``--help`` is laid out: synopsis first, then options, then examples, files and exit codes; no command lives here.

A command's docstring has it all, in sections as numpydoc has them: ``Examples``, ``Files`` and ``Exit codes``,
each underlined. Of the examples, lines that begin with ``mixbridge`` are commands, the others say what they do.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

import typer
from rich.markup import escape

from .bridge.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USER_ERROR

EXAMPLES, FILES, EXIT_CODES = "Examples", "Files", "Exit codes"

#: Groups of options; what belongs to none of them stays under "Options".
SEARCH_PANEL, PART_PANEL, SESSION_PANEL, OUTPUT_PANEL = "Search", "Which part of the song", "Session", "Output"
RENDERER_PANEL, POLISH_PANEL = "Who renders", "Polish"

#: Groups of commands.
MAKE_PANEL, LOOK_PANEL, CHECK_PANEL = "Make sessions", "Look and listen", "Check and compare"
MANY_PANEL = "Many songs"

_PROGRAM = "mixbridge"
_SECTION = re.compile(rf"^({EXAMPLES}|{FILES}|{EXIT_CODES})\n-+\n", re.MULTILINE)

#: Exit codes of every command that does not say otherwise.
_COMMON_CODES = (
    f"{EXIT_OK} done, {EXIT_FAILURE} failed, {EXIT_USER_ERROR} wrong input (one line names it and the remedy), "
    f"{EXIT_INTERRUPTED} stopped"
)


@dataclass(frozen=True)
class HelpPage:
    """What a command's docstring tells.

    Attributes
    ----------
    synopsis : str
        One line, and what has to be explained, in paragraphs.
    examples : tuple of (str, str)
        What a command does (may be empty), and the command.
    files : str
        What is written; may be empty.
    exit_codes : str
    """

    synopsis: str
    examples: tuple[tuple[str, str], ...]
    files: str
    exit_codes: str

    @property
    def epilog(self) -> str:
        """What stands below the options, in rich's mark-up."""
        parts = []
        if self.examples:
            lines = []
            for words, command in self.examples:
                lines += [f"  [dim]{escape(words)}[/dim]"] if words else []
                lines.append(f"    [cyan]{escape(command)}[/cyan]")
            parts.append("\n".join([f"[bold]{EXAMPLES}[/bold]", *lines]))
        for title, text in ((FILES, self.files), (EXIT_CODES, self.exit_codes)):
            if text:
                parts.append(f"[bold]{title}[/bold]\n  {escape(text)}")
        return "\n\n".join(parts)


def help_page(function: Callable[..., object]) -> HelpPage:
    """Read a command's docstring."""
    text = inspect.getdoc(function) or ""
    synopsis, *rest = _SECTION.split(text)
    sections = {title: body.strip() for title, body in zip(rest[::2], rest[1::2], strict=True)}
    return HelpPage(
        synopsis="\n\n".join(map(_unwrapped, synopsis.strip().split("\n\n"))),
        examples=tuple(_examples(sections.get(EXAMPLES, ""))),
        files=_unwrapped(sections.get(FILES, "")),
        exit_codes=_unwrapped(sections.get(EXIT_CODES, _COMMON_CODES)),
    )


def _unwrapped(paragraph: str) -> str:
    """A paragraph as one line: the terminal wraps it where it is narrow."""
    return " ".join(paragraph.split())


def _examples(text: str) -> list[tuple[str, str]]:
    found, words = [], ""
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if line.split()[0] == _PROGRAM:
            found.append((words, line))
            words = ""
        else:
            words = line
    return found


def lay_out_help(app: typer.Typer) -> None:
    """Give every command of an app, and of the apps below it, its help from its docstring."""
    for command in app.registered_commands:
        if command.callback is not None:
            page = help_page(command.callback)
            command.help, command.epilog = escape(page.synopsis), page.epilog
    for group in app.registered_groups:
        if group.typer_instance is not None:
            lay_out_help(group.typer_instance)
