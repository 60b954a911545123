"""Every command explains itself: examples that parse, described options, exit codes, and all that at once."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mixbridge.cli import app
from mixbridge.cli_help import HelpPage, help_page

FEWEST_EXAMPLES, MOST_EXAMPLES = 2, 4

#: Nothing of these is needed to explain a command, and all take long to load.
HEAVY = ("torch", "numba", "scipy", "numpy", "librosa", "matplotlib")


def leaves(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


ROOT: Any = typer.main.get_command(app)
COMMANDS = dict(leaves(ROOT))


def page(name: str) -> HelpPage:
    return help_page(COMMANDS[name].callback)


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """The command that a line names and what it is called with; nothing is run."""
    words = shlex.split(line.partition("|")[0])
    assert words.pop(0) == "mixbridge"
    command, path = ROOT, []
    while hasattr(command, "commands"):
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    return " ".join(path), command.make_context(path[-1], words).params


def test_there_are_commands_and_commands_of_groups() -> None:
    assert {"analyze", "show", "diff", "render", "plugins show"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_commands_that_parse(name: str) -> None:
    examples = page(name).examples
    assert FEWEST_EXAMPLES <= len(examples) <= MOST_EXAMPLES, (
        f"{name}: {len(examples)} examples; its docstring needs a section 'Examples', see CONTRIBUTING.md"
    )
    for _, line in examples:
        assert parsed(line)[0] == name, line


def test_an_example_that_does_not_parse_is_noticed() -> None:
    for line in ("mixbridge show", "mixbridge show a.json --no-such-option", "mixbridge analyze a b --quality hasty"):
        with pytest.raises(Exception, match=r"(?i)missing|no such|not one of"):
            parsed(line)
    assert parsed("mixbridge show a.json --settings | grep Threshold")[1]["settings"] is True


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_is_described(name: str) -> None:
    for param in COMMANDS[name].params:
        assert param.help, f"{name}: {param.name}"
        assert param.help.rstrip().endswith("."), f"{name}: the help of {param.name} is no sentence"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_shows_it_all_in_order(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, [*name.split(), "--help"])
    assert shown.exit_code == 0
    text = page(name)
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    found = [lines.index(heading) for heading in ("Examples", "Exit codes")]
    assert found == sorted(found)
    assert max(i for i, line in enumerate(lines) if line.startswith("╰")) < found[0], "options come first"
    assert text.synopsis.split("\n")[0] in lines
    for words, command in text.examples:
        assert command in lines
        assert not words or words in lines
    assert not any("----" in line for line in lines), "a section is not known"


def test_sections_and_paragraphs() -> None:
    def command() -> None:
        """Do it [now].

        In a long
        paragraph.

        Examples
        --------
        mixbridge demo
        With words:
        mixbridge demo there --json

        Exit codes
        ----------
        0 always
        """

    found = help_page(command)
    assert found.synopsis == "Do it [now].\n\nIn a long paragraph."
    assert found.examples == (("", "mixbridge demo"), ("With words:", "mixbridge demo there --json"))
    assert (found.files, found.exit_codes) == ("", "0 always")
    assert "Files" not in found.epilog


def test_help_comes_without_loading_what_computes() -> None:
    program = f"""
import sys
from typer.testing import CliRunner
from mixbridge.cli import app
for name in {[*COMMANDS, ""]!r}:
    assert CliRunner().invoke(app, [*name.split(), "--help"]).exit_code == 0, name
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
