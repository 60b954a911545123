"""The commands ``mixbridge manifest`` and ``mixbridge dataset``: thin, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .bridge.choices import DatasetKind, TrackSource
from .bridge.errors import EXIT_FAILURE
from .cli_output import complain, errors_for_people, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from .bridge.batch.collect import Collected
    from .bridge.datasets.make_manifest import Made

_Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything was skipped.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")]


def manifest(
    kind: Annotated[DatasetKind, typer.Argument(help="The dataset's layout.")],
    root: Annotated[Path, typer.Argument(help="The dataset's folder.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for manifest.jsonl and songs/, links into the dataset.")
    ] = None,
    split: Annotated[str, typer.Option(help="Only this part, such as train or test.", show_default="all")] = "",
    only: Annotated[list[str] | None, typer.Option(help="Only songs called like this, such as 'A*'.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many songs.", min=1)] = None,
    tracks: Annotated[
        TrackSource, typer.Option(help="MedleyDB: dry recordings with its stems as groups, or its stems.")
    ] = TrackSource.raw,
    metadata: Annotated[
        Path | None, typer.Option(help="MedleyDB: folder of the metadata.", show_default="with the songs")
    ] = None,
    mixes: Annotated[
        Path | None, typer.Option(help="Mixing Secrets: folder of the mixes.", show_default="beside or with the songs")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the songs; write nothing.")] = False,
    strict: _Strict = False,
    as_json: _AsJson = False,
) -> None:
    """List the songs of a published multitrack dataset, with their groups, for a batch.

    Songs that are incomplete are skipped and named on stderr; what there is of the others is linked into folders of
    one shape. Run again it takes in songs that were added and leaves alone what is as it was. Nothing is written
    into the dataset.

    Examples
    --------
    What is there, and what is missing:
    mixbridge manifest mixing-secrets multitracks/ --mixes previews/ --dry-run
    The test songs of MUSDB18-HQ:
    mixbridge manifest musdb18-hq musdb18hq/ --split test --out musdb-test/
    Ten songs of MedleyDB, its stems as groups of its recordings:
    mixbridge manifest medleydb MedleyDB/ --metadata medleydb/data/Metadata --limit 10 --out medley/

    Files
    -----
    manifest.jsonl, one song a line, and songs/<name>/ with stems/, mix.*, groups.yaml and source.json

    Exit codes
    ----------
    0 done; 1 something was skipped (with --strict) or failed; 2 wrong input, or no song is complete (one line names
    it and the remedy); 130 stopped
    """
    with errors_for_people():
        from .bridge.datasets.layout import ReadOptions
        from .bridge.datasets.make_manifest import Selection, find_songs, make_manifest
        from .bridge.errors import ParameterError

        if out is None and not dry_run:
            raise ParameterError("name the folder to write to with --out, or look first with --dry-run")
        selection = Selection(split=split, only=tuple(only or ()), limit=limit)
        options = ReadOptions(tracks=tracks, metadata=metadata, mixes=mixes)
        with progress_bar() as progress:

            def report(share: float, words: str) -> None:
                progress.report("read", share, words)

            if dry_run or out is None:
                made = find_songs(kind, root, selection=selection, options=options, progress=report)
            else:
                made = make_manifest(kind, root, out, selection=selection, options=options, progress=report)
        if as_json:
            print_json(made.to_json())
        else:
            _print_songs(made)
        for skipped in made.skipped:
            complain(f"{skipped.name}: skipped, {skipped.reason}")
        if strict and made.skipped:
            raise typer.Exit(EXIT_FAILURE)


def _print_songs(made: Made) -> None:
    rows = [
        [one.name, one.song.split, str(len(one.song.tracks)), str(one.groups), "; ".join(one.song.notes)]
        for one in made.songs
    ]
    print_table(["Song", "Split", "Tracks", "Groups", "Notes"], rows)
    if made.manifest:
        typer.echo(f"manifest {made.manifest}")


def dataset(
    out: Annotated[Path, typer.Argument(help="Folder of a batch, or any folder with results below it.")],
    to: Annotated[Path, typer.Option(help="File to write: .jsonl (graphs as JSON) or .pt (graphs for grafx).")],
    audio: Annotated[bool, typer.Option("--audio", help="Keep the paths of stems, mixes and renders.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier file.")] = False,
    strict: _Strict = False,
    as_json: _AsJson = False,
) -> None:
    """Collect the graphs of many songs into one file for training.

    Losses, verdicts of 'verify', seeds, versions and digests come with them. Results that are damaged or unfinished
    are skipped and named on stderr. Paths of this machine are left out unless they are wished for.

    Examples
    --------
    As JSON, one song a line:
    mixbridge dataset results/ --to graphs.jsonl
    As tensors for grafx, with the paths of stems and mixes:
    mixbridge dataset results/ --to graphs.pt --audio --overwrite

    Exit codes
    ----------
    0 done; 1 something was skipped (with --strict) or failed; 2 wrong input, or no finished result (one line names
    it and the remedy); 130 stopped
    """
    with errors_for_people():
        # Imported here: torch takes seconds to load, and --help must not.
        from .bridge.batch.collect import collect_to

        with progress_bar() as progress:
            found = collect_to(
                out,
                to,
                with_paths=audio,
                overwrite=overwrite,
                progress=lambda share, words: progress.report("collect", share, words),
            )
        if as_json:
            print_json(found.to_json())
        else:
            _print_collected(found, to)
        for skipped in found.skipped:
            complain(f"{skipped.name}: skipped, {skipped.reason}")
        if strict and found.skipped:
            raise typer.Exit(EXIT_FAILURE)


def _print_collected(found: Collected, to: Path) -> None:
    rows = [
        [
            entry.name,
            str(len(entry.graph.stems)),
            str(len(entry.graph.processors)),
            "" if entry.loss is None else f"{entry.loss:.4f}",
            ", ".join(f"{check.session or check.path} {check.verdict}" for check in entry.verify),
        ]
        for entry in found.entries
    ]
    print_table(["Song", "Stems", "Processors", "Match loss", "Verified"], rows)
    typer.echo(f"dataset  {to}")
