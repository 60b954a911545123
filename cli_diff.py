"""The command ``mixbridge diff``: thin, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .bridge.errors import EXIT_FAILURE
from .cli_complete import GraphArgument, OnlyOption, complete_graph
from .cli_output import complain, errors_for_people, print_json, print_table


def diff(
    graph: GraphArgument,
    other: Annotated[
        Path, typer.Argument(help="The graph it became, or one to set beside it.", autocompletion=complete_graph)
    ],
    only: OnlyOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Also show what is too small to hear.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with code 1 where something differs, as git's diff has it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Tell what changed from one graph to another, setting by setting, in dB, Hz and ms.

    Channels, processors, sends and automation that came, went or moved, and for every EQ by how much its curve
    differs at most and where. Bands and echoes are matched by frequency and time, whatever their number. What
    rounds to the same words is left out. This compares what is dialled; 'compare' listens to the stems and tells
    how far the same sound was reached, by whatever settings.

    Examples
    --------
    What the engineer changed in the session:
    mixbridge diff song.mixbridge edited.json
    Whether another seed finds the same settings on the vocals:
    mixbridge diff seed-0.mixbridge seed-1.mixbridge --only vocals
    Any difference at all, for a script:
    mixbridge diff a.json b.json --all --exit-code --json

    Exit codes
    ----------
    0 done, with --exit-code only where nothing differs; 1 something differs (with --exit-code) or failed;
    2 wrong input (one line names it and the remedy); 130 stopped
    """
    with errors_for_people():
        # Imported here: numpy and scipy take a second to load, and --help must not.
        from .bridge.difference_files import diff_files

        found = diff_files(graph, other, only=only or (), everything=everything)
        if as_json:
            print_json(found.to_json())
        else:
            print_table(("Channel", "What", "Change"), [(c.channel, c.part, c.text) for c in found.changes])
            if not found.changes:
                small = f"; {found.hidden} too small to hear, --all shows them" if found.hidden else ""
                complain(f"no differences{small}")
        if exit_code and found.changes:
            raise typer.Exit(EXIT_FAILURE)
