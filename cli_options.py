"""Options of the commands that search, told once; those of commands that write sessions are in `cli_export`."""

from __future__ import annotations

from typing import Annotated

import typer

from .bridge.choices import ExportFormat, Pruning, Quality
from .cli_complete import complete_console, complete_suites
from .cli_help import SEARCH_PANEL, SESSION_PANEL

Export = Annotated[
    list[ExportFormat] | None,
    typer.Option(help="Write a session for this DAW; may be given more than once.", rich_help_panel=SESSION_PANEL),
]
OfQuality = Annotated[Quality, typer.Option(help="How long to search.", rich_help_panel=SEARCH_PANEL)]
Tolerance = Annotated[
    float,
    typer.Option(
        help="Match loss that may be given up for a sparser graph.", min=0.0, max=10.0, rich_help_panel=SEARCH_PANEL
    ),
]
OfPruning = Annotated[
    Pruning, typer.Option(help="How processors are chosen for removal.", rich_help_panel=SEARCH_PANEL)
]
OfConsole = Annotated[
    str,
    typer.Option(
        help="What may be found: full, lti, dmc, paper, or a .toml file of your own.",
        autocompletion=complete_console,
        rich_help_panel=SEARCH_PANEL,
    ),
]
Snap = Annotated[
    bool,
    typer.Option(
        "--snap",
        help="Round settings to numbers an engineer would dial, within their error bars.",
        rich_help_panel=SEARCH_PANEL,
    ),
]
Plugins = Annotated[
    str,
    typer.Option(
        help="Plugins of the session: a suite (jsfx, lsp, zam, pedalboard) or eq=lsp,*=jsfx.",
        autocompletion=complete_suites,
        rich_help_panel=SESSION_PANEL,
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed finds the same graph.", min=0, rich_help_panel=SEARCH_PANEL)]
Device = Annotated[
    str, typer.Option(help="Torch device of the search, such as cpu or cuda.", rich_help_panel=SEARCH_PANEL)
]
