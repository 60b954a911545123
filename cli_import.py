"""The command ``mixbridge import``: thin, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_complete import complete_session
from .cli_output import complain, errors_for_people, print_json, progress_bar

#: Most sessions are read in less time (s): a progress bar would only flash.
_UNHURRIED_S = 2.0


def import_(
    session: Annotated[
        Path, typer.Argument(help="REAPER project (.rpp) or chain.json.", autocompletion=complete_session)
    ],
    out: Annotated[Path | None, typer.Option(help="Graph to write.", show_default="<session>.graph.json")] = None,
    stems: Annotated[Path | None, typer.Option(help="Where to look for audio files that were moved.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier graph.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the paths and notes as JSON.")] = False,
) -> None:
    """Turn a session back into a graph, with what was changed in it, to measure or to export it elsewhere.

    Reads our own effects, those that come with REAPER, and VST3 plugins that have a profile and are on this machine.

    Examples
    --------
    What the engineer made of the session:
    mixbridge import song.mixbridge/reaper/song.rpp --out edited.json
    A session whose audio files were moved:
    mixbridge import song.rpp --stems ~/stems

    Files
    -----
    One graph file. Where its stems lie is told.
    """
    with errors_for_people():
        # Imported here: numpy and scipy take a second to load, and --help must not.
        from .bridge.import_session import save_import

        with progress_bar(after_s=_UNHURRIED_S) as progress:
            found = save_import(
                session,
                out,
                media_folder=stems,
                overwrite=overwrite,
                progress=lambda share, words: progress.report("read", share, words),
            )
        if as_json:
            print_json(found.to_json())
            return
        for note in found.imported.notes:
            complain(note)
        typer.echo(f"graph  {found.path}")
        typer.echo(f"stems  {found.imported.stems_dir}")
