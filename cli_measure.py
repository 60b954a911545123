"""The command ``mixbridge measure``: thin, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_complete import complete_audio
from .cli_output import complain, errors_for_people, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from .bridge.measure import Measurement


def measure(
    files: Annotated[
        list[Path],
        typer.Argument(help="Audio files (WAV, FLAC, AIFF, OGG, MP3), mono or stereo.", autocompletion=complete_audio),
    ],
    reference: Annotated[
        Path | None, typer.Option(help="Compare every file with this one.", autocompletion=complete_audio)
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Compare two by two: the first with the second, the third with the fourth.")
    ] = False,
    bark: Annotated[bool, typer.Option("--bark", help="Also show the levels in the 24 critical bands.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, the critical bands included.")
    ] = False,
) -> None:
    """Measure the features by which mixes are compared: loudness, dynamics, spectrum, stereo image.

    Piped, the table is separated by tabs, with the names of the files in its first line.

    Mono files count as two equal channels. Differences are file minus reference.

    Examples
    --------
    Two mixes side by side:
    mixbridge measure mix.wav song.mixbridge/match.wav
    How far matches are from the mix:
    mixbridge measure one.mixbridge/match.wav two.mixbridge/match.wav --reference mix.wav
    Many pairs at once, each file and then its reference, for a script:
    mixbridge measure a.wav a-reference.wav b.wav b-reference.wav --pairs --json
    """
    with errors_for_people():
        # Imported here: torch takes seconds to load, and --help must not.
        from .bridge.measure import measure_files

        with progress_bar() as bar:
            result = measure_files(
                files,
                reference=reference,
                pairs=pairs,
                progress=lambda share, words: bar.report("measure", share, words),
            )
        if as_json:
            print_json(result.to_json())
        elif result.pairs:
            _print_pairs(result, bark=bark)
        else:
            _print_files(result, bark=bark)


def _print_files(result: Measurement, *, bark: bool) -> None:
    from .bridge.features.titles import BARK_HEADINGS, FEATURE_TITLES

    measured = [file.features for file in result.files]
    rows = [[t.heading, *(t.text(getattr(f, t.name)) for f in measured)] for t in FEATURE_TITLES]
    if bark:
        rows += [
            [heading, *(f"{level:.1f}" for level in levels)]
            for heading, *levels in zip(BARK_HEADINGS, *(f.bark_db for f in measured), strict=True)
        ]
    print_table(["Feature", *(str(file.path) for file in result.files)], rows, headings_when_piped=True)


def _print_pairs(result: Measurement, *, bark: bool) -> None:
    from .bridge.features.titles import BARK_HEADINGS, FEATURE_TITLES

    rows = [[t.heading, *(t.text(p.differences[t.name], signed=True) for p in result.pairs)] for t in FEATURE_TITLES]
    rows.append(["Bark spectrum, mean distance (dB)", *(f"{p.bark_distance_db:.2f}" for p in result.pairs)])
    rows.append(
        ["Match loss L_a", *("–" if p.match_loss is None else f"{p.match_loss['total']:.4f}" for p in result.pairs)]
    )
    if bark:
        rows += [
            [heading, *(f"{level:+.1f}" for level in levels)]
            for heading, *levels in zip(BARK_HEADINGS, *(p.bark_differences_db for p in result.pairs), strict=True)
        ]
    headings = [f"{pair.file.path} - {pair.reference.path}" for pair in result.pairs]
    print_table(["Difference", *headings], rows, headings_when_piped=True)
    for pair in result.pairs:
        if pair.match_loss is None:
            lengths = f"{pair.file.duration_s:.3f} s against {pair.reference.duration_s:.3f} s"
            complain(f"{pair.file.path}: no match loss, the reference has another length ({lengths})")
