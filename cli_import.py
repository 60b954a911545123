"""The command ``mixbridge import``: thin, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_output import complain, errors_for_people, print_json


def import_(
    session: Annotated[Path, typer.Argument(help="REAPER project (.rpp) or chain.json.")],
    out: Annotated[Path | None, typer.Option(help="Graph to write.", show_default="<session>.graph.json")] = None,
    stems: Annotated[Path | None, typer.Option(help="Where to look for audio files that were moved.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier graph.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the paths and notes as JSON.")] = False,
) -> None:
    """Turn a session back into a graph, with what was changed in it, to measure or to export it elsewhere.

    Reads our own effects and those that come with REAPER.

    Example: mixbridge import song.mixbridge/reaper/song.rpp --out edited.json
    """
    with errors_for_people():
        # Imported here: numpy and scipy take a second to load, and --help must not.
        from .bridge.import_session import save_import

        found = save_import(session, out, media_folder=stems, overwrite=overwrite)
        if as_json:
            print_json(found.to_json())
            return
        for note in found.imported.notes:
            complain(note)
        typer.echo(f"graph  {found.path}")
        typer.echo(f"stems  {found.imported.stems_dir}")
