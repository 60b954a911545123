"""The commands ``mixbridge listen`` and ``mixbridge listen-results``: thin, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_complete import complete_audio, complete_graph
from .cli_help import OUTPUT_PANEL, PART_PANEL
from .cli_output import complain, errors_for_people, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from .bridge.listen.analysis import Interval, ListenResults
    from .bridge.listen.page import ListeningTest


def listen(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of 'analyze', one for each song.", autocompletion=complete_graph)
    ],
    out: Annotated[
        Path, typer.Option(help="The page, or a folder to put listen.html into.", rich_help_panel=OUTPUT_PANEL)
    ] = Path("listen.html"),
    title: Annotated[
        str, typer.Option(help="What the page is called.", rich_help_panel=OUTPUT_PANEL)
    ] = "Listening test",
    start: Annotated[
        float | None, typer.Option(help="Play from here (seconds of the session).", min=0.0, rich_help_panel=PART_PANEL)
    ] = None,
    end: Annotated[
        float | None,
        typer.Option(help="Play up to here (seconds of the session).", min=0.0, rich_help_panel=PART_PANEL),
    ] = None,
    length: Annotated[
        float,
        typer.Option(
            help="Length of excerpts (seconds); where they lie is chosen.",
            min=1.0,
            max=60.0,
            rich_help_panel=PART_PANEL,
        ),
    ] = 12.0,
    mix: Annotated[
        Path | None,
        typer.Option(
            help="The finished mix, or a folder with those of all songs.",
            show_default="that of the analysis",
            autocompletion=complete_audio,
            rich_help_panel=PART_PANEL,
        ),
    ] = None,
    plain_sum: Annotated[bool, typer.Option("--plain-sum", help="Also rate the plain sum of the stems.")] = False,
    mid_anchor: Annotated[bool, typer.Option("--mid-anchor", help="Also have the anchor at 7 kHz.")] = False,
    loudness: Annotated[
        float,
        typer.Option(help="Integrated loudness of every sound (LUFS), as far as peaks allow.", min=-50.0, max=-5.0),
    ] = -23.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same orders.", min=0)] = 0,
    max_mb: Annotated[
        float, typer.Option(help="Largest page to write (MB).", min=0.1, rich_help_panel=OUTPUT_PANEL)
    ] = 150.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier page.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was made as JSON.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
) -> None:
    """Make a listening test (MUSHRA, ITU-R BS.1534-3): one page that works offline in any browser.

    Each song is a trial with the mix as reference. Rated are the hidden reference, the match, the
    renders of 'verify', a low anchor, and what the options add, all at one loudness.

    Examples
    --------
    A test of two songs:
    mixbridge listen one.mixbridge two.mixbridge --out test.html
    With everything BS.1534-3 asks for, and what the faders alone would be:
    mixbridge listen one.mixbridge two.mixbridge --mid-anchor --plain-sum
    A part of one's own, from mixes that have moved:
    mixbridge listen one.mixbridge --start 42 --end 52 --mix mixes/

    Files
    -----
    One page with all its sounds. Who listens downloads results as JSON or CSV, for 'listen-results'.
    """
    with errors_for_people():
        # Imported here: scipy takes seconds to load, and --help must not.
        from .bridge.listen.page import make_listening_test
        from .bridge.listen.songs import ListenSettings

        settings = ListenSettings(
            title=title,
            start_s=start,
            end_s=end,
            length_s=length,
            loudness_lufs=loudness,
            seed=seed,
            mid_anchor=mid_anchor,
            plain_sum=plain_sum,
            mix_path=mix,
        )
        with progress_bar() as bar:
            made = make_listening_test(
                folders,
                out,
                settings=settings,
                max_mb=max_mb,
                overwrite=overwrite,
                progress=lambda share, words: bar.report("listen", share, words),
            )
        if as_json:
            print_json(made.to_json())
        else:
            _print_test(made)


def _print_test(made: ListeningTest) -> None:
    rows = [
        [trial.song, f"{trial.start_s:.1f} to {trial.end_s:.1f} s", sound.title, f"{sound.gain_db:+.2f}"]
        for trial in made.trials
        for sound in trial.sounds
    ]
    print_table(["Song", "Excerpt", "Sound", "Turned up by dB"], rows)
    typer.echo(f"{made.path}\t{made.bytes / 1e6:.1f} MB")
    for trial in made.trials:
        for note in trial.notes:
            complain(note)


def listen_results(
    files: Annotated[list[Path], typer.Argument(help="Downloaded results of listeners, JSON or CSV.")],
    screening: Annotated[
        bool, typer.Option("--screening/--no-screening", help="Leave out who does not recognise the reference.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Analyse the results of a listening test: means with 95 % confidence intervals, medians, quartiles.

    Listeners who rate the hidden reference below 90, or the mid anchor above 90, in more than 15 %
    of the songs are left out (ITU-R BS.1534-3).

    Examples
    --------
    Of all who listened:
    mixbridge listen-results results/ada.json results/ben.csv
    With those who did not recognise the reference, for a script:
    mixbridge listen-results results/ada.json results/ben.csv --no-screening --json
    """
    with errors_for_people():
        from .bridge.listen.analysis import analyse_files

        result = analyse_files(files, screening=screening)
        if as_json:
            print_json(result.to_json())
        else:
            _print_results(result)
        for assessor in result.assessors:
            if assessor.excluded:
                complain(f"{assessor.name}: left out, {assessor.excluded}")


def _print_results(result: ListenResults) -> None:
    rows = [
        [
            score.song or "all songs",
            score.title,
            str(score.assessors),
            str(score.ratings),
            f"{score.score.mean:.1f}",
            _range(score.score),
            f"{score.median:.1f}",
            f"{score.first_quartile:.1f} to {score.third_quartile:.1f}",
            "" if score.difference is None else f"{score.difference.mean:+.1f}",
            "" if score.difference is None else _range(score.difference),
        ]
        for score in result.scores
    ]
    headings = [
        "Song",
        "Sound",
        "Listeners",
        "Ratings",
        "Mean",
        "95 % CI",
        "Median",
        "Quartiles",
        "To reference",
        "95 % CI",
    ]
    print_table(headings, rows, headings_when_piped=True)


def _range(interval: Interval) -> str:
    return "–" if interval.low is None or interval.high is None else f"{interval.low:.1f} to {interval.high:.1f}"
