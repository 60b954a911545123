"""The commands: thin, no logic. Results go to stdout, progress and messages to stderr."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Threads that spin while they wait bring a shared machine to its knees; read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from . import __version__
from . import cli_options as options
from .bridge.choices import (
    DEFAULT_CONSOLE,
    DEFAULT_PRUNING,
    DEFAULT_QUALITY,
    DEFAULT_SUITES,
    DEFAULT_TOLERANCE,
)
from .cli_batch import batch
from .cli_compare import compare
from .cli_complete import complete_audio, complete_of, whole_words
from .cli_dataset import dataset, manifest
from .cli_diff import diff
from .cli_export import (
    MIDI_HELP,
    AllowUnverified,
    KeepPruned,
    Link,
    Reference,
    Strict,
    TargetOs,
    complete_midi,
)
from .cli_export import export as export_command
from .cli_help import (
    CHECK_PANEL,
    LOOK_PANEL,
    MAKE_PANEL,
    MANY_PANEL,
    OUTPUT_PANEL,
    PART_PANEL,
    SEARCH_PANEL,
    SESSION_PANEL,
    lay_out_help,
)
from .cli_import import import_
from .cli_listen import listen, listen_results
from .cli_measure import measure
from .cli_output import errors_for_people, print_json, print_losses, progress_bar
from .cli_plugins import plugins_app
from .cli_render import render
from .cli_show import show
from .cli_verify import verify

_WHEN_STOPPED = "stopped; the same command with --resume goes on from the last finished phase"

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Turn dry stems and their finished mix into an editable DAW session.",
)


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


@app.command(rich_help_panel=MAKE_PANEL)
def analyze(
    stems: Annotated[Path, typer.Argument(help="Folder with the dry stems (WAV, FLAC, AIFF, OGG, MP3).")],
    mix: Annotated[Path, typer.Argument(help="The finished mix of these stems.", autocompletion=complete_audio)],
    export: options.Export = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to.", show_default="<mix name>.mixbridge", rich_help_panel=OUTPUT_PANEL),
    ] = None,
    quality: options.OfQuality = DEFAULT_QUALITY,
    tolerance: options.Tolerance = DEFAULT_TOLERANCE,
    pruning: options.OfPruning = DEFAULT_PRUNING,
    console: options.OfConsole = DEFAULT_CONSOLE,
    snap: options.Snap = False,
    plugins: options.Plugins = DEFAULT_SUITES,
    allow_unverified: AllowUnverified = False,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    groups: Annotated[
        Path | None,
        typer.Option(
            help="YAML file: group name to list of stems.",
            show_default="from file-name prefixes",
            autocompletion=complete_of(".yaml"),
            rich_help_panel=SEARCH_PANEL,
        ),
    ] = None,
    tempo_map: Annotated[
        Path | None, typer.Option(help=MIDI_HELP, autocompletion=complete_midi, rich_help_panel=SESSION_PANEL)
    ] = None,
    start: Annotated[
        float | None, typer.Option(help="Analyse from here (seconds of the mix).", rich_help_panel=PART_PANEL)
    ] = None,
    end: Annotated[
        float | None, typer.Option(help="Analyse up to here (seconds of the mix).", rich_help_panel=PART_PANEL)
    ] = None,
    link: Link = False,
    reference: Reference = True,
    keep_pruned: KeepPruned = False,
    target_os: TargetOs = None,
    strict: Strict = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier result.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
) -> None:
    """Find the processors that turn STEMS into MIX and write an editable session.

    Small offsets and inverted stems are found and corrected. The search may be stopped at any time, and the
    same command with --resume goes on; an earlier result is never replaced without --overwrite.

    Examples
    --------
    A REAPER project of a song:
    mixbridge analyze stems/ mix.wav --export reaper
    A first look at 20 seconds:
    mixbridge analyze stems/ mix.wav --quality draft --start 60 --end 80 --out first-look.mixbridge
    With plugins that you have, in round numbers:
    mixbridge analyze stems/ mix.wav --export reaper --plugins lsp --snap
    Go on with a run that was stopped:
    mixbridge analyze stems/ mix.wav --resume

    Files
    -----
    Into the folder: graph.json, match.wav, report.html, traces.json, and a folder for each session.
    """
    with errors_for_people(when_stopped=_WHEN_STOPPED):
        # Imported here: torch takes seconds to load, and --help must not.
        from .bridge.analyze import AnalyzeSettings, analyze
        from .bridge.search.search import SearchSettings
        from .exporters.options import ExportOptions

        settings = AnalyzeSettings(
            search=SearchSettings(
                quality=quality.value,
                tolerance=tolerance,
                seed=seed,
                device=device,
                method=pruning.value,
                console=console,
                snap=snap,
                plugins=plugins,
            ),
            exports=[kind.value for kind in export or []],
            start_s=start,
            end_s=end,
            groups_path=groups,
            tempo_map_path=tempo_map,
            export_options=ExportOptions(
                link=link,
                with_reference=reference,
                keep_pruned=keep_pruned,
                system=target_os,
                allow_unverified=allow_unverified,
                strict=strict,
            ),
            resume=resume,
            overwrite=overwrite,
        )
        with progress_bar() as progress:
            result = analyze(stems, mix, folder=out, settings=settings, progress=progress.report)
        if as_json:
            print_json(result.to_json())
        else:
            _print_summary(result.to_json())


@app.command(rich_help_panel=MAKE_PANEL)
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to write the song to.")] = Path("mixbridge-demo"),
    seed: Annotated[int, typer.Option(help="The same seed makes the same song.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the paths as JSON.")] = False,
) -> None:
    """Make a small song to try things on: stems/, mix.flac and the truth behind the mix.

    Eight synthesised stems and a mix of them whose settings are known, so that what is found can be judged.

    Examples
    --------
    mixbridge demo
    Another song, elsewhere:
    mixbridge demo my-demo --seed 7

    Files
    -----
    Into the folder: stems/, mix.flac and truth.json.
    """
    with errors_for_people():
        from .bridge.demo import make_demo

        song = make_demo(folder, seed=seed)
        paths = {"stems": song.stems_dir, "mix": song.mix_path, "truth": song.truth_path}
        if as_json:
            print_json({kind: str(path) for kind, path in paths.items()})
        else:
            for kind, path in paths.items():
                typer.echo(f"{kind:6} {path}")
            typer.echo(f"try    mixbridge analyze {song.stems_dir} {song.mix_path} --export reaper")


# ------------------------------------------------------------------ shared by the commands


# Below the command that comes first in a user's day.
app.command("export", rich_help_panel=MAKE_PANEL)(export_command)
app.command("import", rich_help_panel=MAKE_PANEL)(import_)
for look in (show, diff, render):
    app.command(rich_help_panel=LOOK_PANEL)(look)
for check in (verify, compare, measure, listen):
    app.command(rich_help_panel=CHECK_PANEL)(check)
app.command("listen-results", rich_help_panel=CHECK_PANEL)(listen_results)
for many in (batch, manifest, dataset):
    app.command(rich_help_panel=MANY_PANEL)(many)
app.add_typer(plugins_app, name="plugins", rich_help_panel=CHECK_PANEL)
lay_out_help(app)


def _print_summary(result: dict[str, object]) -> None:
    console = Console(file=sys.stdout)
    table = Table(title=Text(str(result["name"])), show_lines=True)
    for heading in ("Channel", "Group", "Processors"):
        table.add_column(heading, overflow="fold")
    for channel in result["channels"]:  # type: ignore[attr-defined]
        texts = "\n".join([*channel["processors"], *channel["mixer"]]) or "unchanged"
        table.add_row(Text(channel["name"]), Text(channel["group"] or ""), Text(texts))
    console.print(table)
    match: dict[str, float | None] = result["loss"]  # type: ignore[assignment]
    shown = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in match.items() if value is not None]
    console.print(Text("Match loss: " + ", ".join(shown)))
    counts: dict[str, int] = result["processors"]  # type: ignore[assignment]
    console.print(Text(f"Processors: {counts['pruned_graph']} of {counts['console']} kept"))
    for warning in result["warnings"]:  # type: ignore[attr-defined]
        console.print(Text(f"Note: {warning}"))
    losses: dict[str, list[dict[str, str]]] = result["losses"]  # type: ignore[assignment]
    print_losses({kind: [loss["text"] for loss in found] for kind, found in losses.items()})
    for kind, path in result["files"].items():  # type: ignore[attr-defined]
        console.print(Text(f"{kind:7} {path}"), soft_wrap=True)


def main() -> None:
    """Entry point of the ``mixbridge`` command."""
    whole_words(os.environ)
    app(prog_name="mixbridge")
