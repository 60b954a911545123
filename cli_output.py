"""What the commands share: errors for people, a progress bar, JSON or a table; no command is defined here.

Results go to stdout, progress and messages to stderr.
"""

from __future__ import annotations

import json
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .bridge.errors import EXIT_FAILURE, EXIT_INTERRUPTED, MixbridgeError
from .bridge.result_folder import EXPORT_FILE

#: So many things that a format lost are shown; the rest stands in the file.
_LOSSES_SHOWN = 5


class Reporter:
    """A progress bar on stderr; silent where stderr is not a terminal."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=1.0, words="")

    def report(self, phase: str, share: float, words: str) -> None:
        """Show the phase, the share of it that is done (0 to 1) and a few words."""
        self._bar.update(self._task, description=phase, completed=share, words=words)


@contextmanager
def progress_bar(*, after_s: float = 0.0) -> Iterator[Reporter]:
    """Show a progress bar while the block runs, if it runs for longer than `after_s`."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:14}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    begin = threading.Timer(after_s, bar.start)
    begin.daemon = True
    if after_s:
        begin.start()
    else:
        bar.start()
    try:
        yield Reporter(bar)
    finally:
        begin.cancel()
        if begin.is_alive():
            # It may be starting the bar just now.
            begin.join()
        bar.stop()


@contextmanager
def errors_for_people(*, when_stopped: str = "stopped") -> Iterator[None]:
    """Turn errors a user can cause into one line and the exit code that belongs to them.

    Parameters
    ----------
    when_stopped : str
        What to say after Ctrl-C.
    """
    try:
        with warnings.catch_warnings():
            # Warnings of libraries are for developers, who use the library and not the command.
            warnings.simplefilter("ignore")
            yield
    except MixbridgeError as error:
        complain(str(error))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        complain(when_stopped)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except MemoryError:
        complain("not enough memory; analyse a part of the song with --start and --end")
        raise typer.Exit(EXIT_FAILURE) from None


def complain(message: str) -> None:
    """Print a message on stderr, as one line."""
    Console(stderr=True, soft_wrap=True).print(Text("mixbridge: " + " ".join(message.split())))


def print_losses(losses: Mapping[str, Sequence[str]]) -> None:
    """Tell, on stderr, what session formats could not express, by format; long lists are cut short."""
    for kind, texts in losses.items():
        for text in texts[:_LOSSES_SHOWN]:
            complain(f"{kind}: lost: {text}")
        if len(texts) > _LOSSES_SHOWN:
            complain(f"{kind}: lost: {len(texts) - _LOSSES_SHOWN} more, see {EXPORT_FILE}")


def print_json(content: object) -> None:
    """Print machine-readable results."""
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False))


def print_facts(facts: Sequence[tuple[str, str]], *, tabs: bool = False) -> None:
    """Print names and values, one pair a line; a name may come more than once.

    Parameters
    ----------
    tabs : bool
        Where the output is piped, print them as `print_table` does.
    """
    width = max((len(name) for name, _ in facts), default=0)
    console = Console(file=sys.stdout, soft_wrap=True)
    if tabs and not console.is_terminal:
        print_table((), facts)
        return
    for name, value in facts:
        console.print(Text(f"{name:{width}}  {' '.join(value.split())}"))


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    lines: bool = False,
    headings_when_piped: bool = False,
) -> None:
    """Print a table: with borders on a terminal, separated by tabs where the output is piped.

    Parameters
    ----------
    lines : bool
        Draw a line below every row, for cells of several lines. Piped, these are joined by bars.
    headings_when_piped : bool
        For tables whose columns are not always the same.
    """
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        for row in [headings, *rows] if headings_when_piped else rows:
            typer.echo("\t".join(" | ".join(" ".join(line.split()) for line in cell.splitlines()) for cell in row))
        return
    table = Table(title=Text(title) if title else None, show_lines=lines)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
