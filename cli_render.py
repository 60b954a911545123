"""The command ``mixbridge render``: thin, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_complete import GraphArgument, complete_channel
from .cli_output import errors_for_people, print_facts, print_json, progress_bar


def render(
    graph: GraphArgument,
    stems: Annotated[
        Path | None, typer.Argument(help="Folder with the stems.", show_default="that of the analysis")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="<song>.render.wav")] = None,
    only: Annotated[
        str, typer.Option("--only", help="Solo of this channel, by name.", autocompletion=complete_channel)
    ] = "",
    stems_out: Annotated[
        Path | None,
        typer.Option("--stems-out", help="Also write the output of every channel into this folder."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of an earlier render.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the paths as JSON.")] = False,
) -> None:
    """Render a graph from its stems with the reference DSP, sample-accurate, without plugins or a DAW.

    The stems are moved, inverted and resampled as the graph says; the result of a graph as it was found equals
    its match.wav. A solo is what the solo button of a mixer leaves: a track or group with its sends, through its
    groups and the master; of a return its sound alone. Compressors on the way hear nothing else, so that solos
    need not add up to the mix.

    Examples
    --------
    The whole mix, from the stems it was made from:
    mixbridge render song.mixbridge
    An edited graph, from stems that were moved:
    mixbridge render edited.json stems/ --out edited.wav
    What the drums contribute:
    mixbridge render song.mixbridge stems/ --only drums --out drums.wav
    Every track, group and return as a file, too:
    mixbridge render song.mixbridge stems/ --stems-out processed/

    Files
    -----
    WAV, 32-bit float at the rate of the session: nothing is clipped, a peak above 0 dBFS is told.
    """
    with errors_for_people():
        # Imported here: scipy and numba take seconds to load, and --help must not.
        from .bridge.render_files import render_files

        with progress_bar() as bar:
            done = render_files(
                graph,
                stems,
                out=out,
                only=only,
                channels_dir=stems_out,
                overwrite=overwrite,
                progress=lambda share, words: bar.report("render", share, words),
            )
        if as_json:
            print_json(done.to_json())
            return
        print_facts(
            [
                ("mix", str(done.path)),
                *(("channel", str(path)) for path in done.channels.values()),
                ("peak", f"{done.peak_db:+.1f} dBFS"),
            ]
        )
