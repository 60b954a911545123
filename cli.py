"""The commands: thin, no logic. Results go to stdout, progress and messages to stderr."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

# Threads that spin while they wait bring a shared machine to its knees; read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from . import __version__
from .bridge.errors import EXIT_FAILURE, EXIT_INTERRUPTED, MixbridgeError

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Turn dry stems and their finished mix into an editable DAW session.",
)


class Quality(StrEnum):
    """How much work a search does."""

    draft = "draft"
    standard = "standard"
    best = "best"


class Pruning(StrEnum):
    """How candidates for pruning are ordered."""

    hybrid = "hybrid"
    dry_wet = "dry_wet"
    brute_force = "brute_force"


class ExportFormat(StrEnum):
    """Session formats."""

    reaper = "reaper"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mixbridge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Turn dry stems and their finished mix into an editable DAW session."""


@app.command()
def analyze(
    stems: Annotated[Path, typer.Argument(help="Folder with the dry stems (WAV, FLAC, AIFF, OGG, MP3).")],
    mix: Annotated[Path, typer.Argument(help="The finished mix of these stems.")],
    export: Annotated[list[ExportFormat] | None, typer.Option(help="Write a session for this DAW.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to.", show_default="<mix name>.mixbridge")] = None,
    quality: Annotated[Quality, typer.Option(help="How long to search.")] = Quality.standard,
    tolerance: Annotated[
        float, typer.Option(help="Match loss that may be given up for a sparser graph.", min=0.0, max=10.0)
    ] = 0.01,
    pruning: Annotated[Pruning, typer.Option(help="How processors are chosen for removal.")] = Pruning.hybrid,
    seed: Annotated[int, typer.Option(help="The same seed finds the same graph.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="Torch device of the search, such as cpu or cuda.")] = "cpu",
    groups: Annotated[
        Path | None,
        typer.Option(help="YAML file: group name to list of stems.", show_default="from file-name prefixes"),
    ] = None,
    start: Annotated[float | None, typer.Option(help="Analyse from here (seconds of the mix).")] = None,
    end: Annotated[float | None, typer.Option(help="Analyse up to here (seconds of the mix).")] = None,
    link: Annotated[bool, typer.Option("--link", help="Refer to the stems where they are; copy nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Find the processors that turn STEMS into MIX and write an editable session.

    Example: mixbridge analyze stems/ mix.wav --export reaper
    """
    with _errors_for_people():
        # Imported here: torch takes seconds to load, and --help must not.
        from .bridge.analyze import AnalyzeSettings, analyze
        from .bridge.search.search import SearchSettings

        settings = AnalyzeSettings(
            search=SearchSettings(
                quality=quality.value, tolerance=tolerance, seed=seed, device=device, method=pruning.value
            ),
            exports=[kind.value for kind in export or []],
            start_s=start,
            end_s=end,
            groups_path=groups,
            link=link,
            resume=resume,
            overwrite=overwrite,
        )
        with _progress() as progress:
            result = analyze(stems, mix, folder=out, settings=settings, progress=progress.report)
        if as_json:
            typer.echo(json.dumps(result.to_json(), indent=1, ensure_ascii=False))
        else:
            _print_summary(result.to_json())


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to write the song to.")] = Path("mixbridge-demo"),
    seed: Annotated[int, typer.Option(help="The same seed makes the same song.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the paths as JSON.")] = False,
) -> None:
    """Make a small song to try things on: stems/, mix.flac and the truth behind the mix.

    Example: mixbridge demo my-demo
    """
    with _errors_for_people():
        from .bridge.demo import make_demo

        song = make_demo(folder, seed=seed)
        paths = {"stems": song.stems_dir, "mix": song.mix_path, "truth": song.truth_path}
        if as_json:
            typer.echo(json.dumps({kind: str(path) for kind, path in paths.items()}, ensure_ascii=False))
        else:
            for kind, path in paths.items():
                typer.echo(f"{kind:6} {path}")
            typer.echo(f"try    mixbridge analyze {song.stems_dir} {song.mix_path} --export reaper")


# ------------------------------------------------------------------ shared by the commands


class _Reporter:
    """A progress bar on stderr; silent where stderr is not a terminal."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=1.0, words="")

    def report(self, phase: str, share: float, words: str) -> None:
        self._bar.update(self._task, description=phase, completed=share, words=words)


@contextmanager
def _progress() -> Iterator[_Reporter]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:14}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield _Reporter(bar)


@contextmanager
def _errors_for_people() -> Iterator[None]:
    """Turn our errors into one line and an exit code; nobody reads a traceback for a wrong path."""
    try:
        with warnings.catch_warnings():
            # What libraries say to programmers is no news for a mix engineer.
            warnings.simplefilter("ignore")
            yield
    except MixbridgeError as error:
        _complain(str(error))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        _complain("stopped; the same command with --resume goes on from the last finished phase")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except MemoryError:
        _complain("not enough memory; analyse a part of the song with --start and --end")
        raise typer.Exit(EXIT_FAILURE) from None


def _complain(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(Text("mixbridge: " + " ".join(message.split())))


def _print_summary(result: dict[str, object]) -> None:
    console = Console(file=sys.stdout)
    table = Table(title=Text(str(result["name"])), show_lines=True)
    for heading in ("Channel", "Group", "Processors"):
        table.add_column(heading, overflow="fold")
    for channel in result["channels"]:  # type: ignore[attr-defined]
        texts = "\n".join(channel["processors"]) or "unchanged"
        table.add_row(Text(channel["name"]), Text(channel["group"] or ""), Text(texts))
    console.print(table)
    losses: dict[str, float | None] = result["loss"]  # type: ignore[assignment]
    shown = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in losses.items() if value is not None]
    console.print(Text("Match loss: " + ", ".join(shown)))
    counts: dict[str, int] = result["processors"]  # type: ignore[assignment]
    console.print(Text(f"Processors: {counts['pruned_graph']} of {counts['console']} kept"))
    for warning in result["warnings"]:  # type: ignore[attr-defined]
        console.print(Text(f"Note: {warning}"))
    for kind, path in result["files"].items():  # type: ignore[attr-defined]
        console.print(Text(f"{kind:7} {path}"), soft_wrap=True)


def main() -> None:
    """Entry point of the ``mixbridge`` command."""
    app(prog_name="mixbridge")
