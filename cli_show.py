"""The command ``mixbridge show``: thin, no logic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .cli_complete import GraphArgument, OnlyOption
from .cli_output import errors_for_people, print_facts, print_json, print_table

if TYPE_CHECKING:
    from .bridge.overview import Overview


def show(
    graph: GraphArgument,
    only: OnlyOption = None,
    settings: Annotated[
        bool, typer.Option("--settings", help="List every setting with its unit, as you would dial it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Tell what is on each track, group, return and the master of a graph.

    Processors in plain words, faders, automation and sends; then match loss, where the graph comes from, what
    its sessions could not express and, where 'verify' ran, its verdict. Piped, the table has no borders and
    tabs between its cells.

    Examples
    --------
    What was found:
    mixbridge show song.mixbridge
    One track, every number:
    mixbridge show song.mixbridge --only kick --settings
    All thresholds, for a spreadsheet:
    mixbridge show song.mixbridge --settings | grep Threshold
    """
    with errors_for_people():
        # Imported here: numpy and scipy take a second to load, and --help must not.
        from .bridge.overview import look

        found = look(graph, only=only or ())
        if as_json:
            print_json(found.to_json())
        elif settings:
            _print_settings(found)
        else:
            headings = ("Channel", "Kind", "Group", "What is on it")
            print_table(headings, found.rows(), title=found.graph.name, lines=True)
            print_facts(found.facts(), tabs=True)


def _print_settings(found: Overview) -> None:
    rows = [(s.channel, s.part, s.parameter, s.value_text, s.unit, s.uncertainty_text) for s in found.settings()]
    print_table(("Channel", "On", "Setting", "Value", "Unit", "Error bar"), rows)
