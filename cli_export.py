"""The command ``mixbridge export``, and the options of all commands that write sessions: thin, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .bridge.choices import ExportFormat, System
from .cli_complete import (
    complete_amounts,
    complete_graph_file,
    complete_of,
    complete_parts,
    complete_suites,
)
from .cli_help import OUTPUT_PANEL, SESSION_PANEL
from .cli_output import errors_for_people, print_json, print_losses, progress_bar

AllowUnverified = Annotated[
    bool,
    typer.Option(
        "--allow-unverified", help="Use plugins that have no passing certificate.", rich_help_panel=SESSION_PANEL
    ),
]
Link = Annotated[
    bool,
    typer.Option("--link", help="Refer to the stems where they are; copy nothing.", rich_help_panel=SESSION_PANEL),
]
Reference = Annotated[
    bool,
    typer.Option(
        "--reference/--no-reference",
        help="Put the finished mix into the session as a muted track.",
        rich_help_panel=SESSION_PANEL,
    ),
]
KeepPruned = Annotated[
    bool,
    typer.Option(
        "--keep-pruned",
        help="Put the processors that were pruned into the session, bypassed.",
        rich_help_panel=SESSION_PANEL,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Refuse sessions that cannot express the whole match.", rich_help_panel=SESSION_PANEL
    ),
]
TargetOs = Annotated[
    System | None,
    typer.Option(help="System that the session is for.", show_default="this one", rich_help_panel=SESSION_PANEL),
]
MIDI_HELP = "MIDI file with the tempo, time signatures and markers of the song, beginning with the mix."
complete_midi = complete_of(".mid")


def export(
    graph: Annotated[Path, typer.Argument(help="graph.json of an analysis.", autocompletion=complete_graph_file)],
    stems: Annotated[Path, typer.Argument(help="Folder with the stems it was made from.")],
    formats: Annotated[
        list[ExportFormat],
        typer.Option("--export", help="Session format to write; may be given more than once."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to.", show_default="beside the graph", rich_help_panel=OUTPUT_PANEL),
    ] = None,
    plugins: Annotated[
        str | None,
        typer.Option(
            help="Plugins of the session.",
            show_default="those of the search",
            autocompletion=complete_suites,
            rich_help_panel=SESSION_PANEL,
        ),
    ] = None,
    allow_unverified: AllowUnverified = False,
    amount: Annotated[
        str | None,
        typer.Option(
            help="Strength of the match by processor, 0 to 1, such as eq=0.5,comp=0.8.",
            autocompletion=complete_amounts,
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="What alone to take over, such as eq,pan; the rest is left out.", autocompletion=complete_parts
        ),
    ] = None,
    tempo_map: Annotated[
        Path | None,
        typer.Option(
            help=MIDI_HELP,
            show_default="that of the graph",
            autocompletion=complete_midi,
            rich_help_panel=SESSION_PANEL,
        ),
    ] = None,
    link: Link = False,
    reference: Reference = True,
    keep_pruned: KeepPruned = False,
    target_os: TargetOs = None,
    strict: Strict = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the paths as JSON.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
) -> None:
    """Write another session of a graph that was found before, in other plugins or at another strength.

    Nothing is searched. What a format cannot express is told, and refused with --strict.

    Examples
    --------
    For another DAW:
    mixbridge export song.mixbridge/graph.json stems/ --export ardour --plugins lsp-lv2
    A plugin chain that Python can render:
    mixbridge export song.mixbridge/graph.json stems/ --export pedalboard --plugins lsp
    Half of the EQ and nothing of the reverb:
    mixbridge export song.mixbridge/graph.json stems/ --export reaper --amount eq=0.5,reverb=0 --out half/

    Files
    -----
    A folder for each session, and export.json, which lists them and what they could not express.
    """
    with errors_for_people():
        from .bridge.strength import chosen_amounts
        from .exporters.formats import export_again
        from .exporters.options import ExportOptions

        with progress_bar() as progress:
            written = export_again(
                graph,
                [kind.value for kind in formats],
                stems_dir=stems,
                folder=out,
                options=ExportOptions(
                    plugins=plugins,
                    link=link,
                    with_reference=reference,
                    keep_pruned=keep_pruned,
                    system=target_os,
                    allow_unverified=allow_unverified,
                    strict=strict,
                ),
                amounts=chosen_amounts(amount=amount, only=only),
                tempo_map_path=tempo_map,
                report=lambda words: progress.report("write", 0.5, words),
            )
        if as_json:
            print_json(written.to_json())
        else:
            for kind, path in written.files.items():
                typer.echo(f"{kind:11} {path}")
            print_losses({kind: [loss["text"] for loss in losses] for kind, losses in written.losses.items()})
