"""The command ``mixbridge verify``: thin, no logic."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .bridge.choices import Daw
from .bridge.verify.settings import DEFAULT_DAW_TIMEOUT_S, DEFAULT_POLISH_TRIALS
from .cli_complete import complete_graph_file, complete_verifiable
from .cli_help import POLISH_PANEL, RENDERER_PANEL
from .cli_output import complain, errors_for_people, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from .bridge.verify.polished import Polished
    from .bridge.verify.results import Verification

_WHEN_STOPPED = "stopped; the same command goes on with what is not verified yet"


def verify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of 'analyze', sessions (.rpp, chain.json) or folders that hold one.",
            autocompletion=complete_verifiable,
        ),
    ],
    mix: Annotated[
        Path | None, typer.Option(help="The finished mix to measure against.", show_default="that of the analysis")
    ] = None,
    graph: Annotated[
        Path | None,
        typer.Option(
            help="graph.json the session was exported from.",
            show_default="found beside or above it",
            autocompletion=complete_graph_file,
        ),
    ] = None,
    stems: Annotated[Path | None, typer.Option(help="Where to look for audio files that were moved.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="How much to do at once.", min=1, show_default="one per core")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also verify what has not changed since the last time.")
    ] = False,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Use plugins that have no passing certificate.")
    ] = False,
    time_limit: Annotated[
        float, typer.Option("--time-limit", help="Seconds a plugin may take to answer.", min=0.1)
    ] = 30.0,
    polish: Annotated[
        bool,
        typer.Option(
            "--polish",
            rich_help_panel=POLISH_PANEL,
            help="Improve the worst nodes with the real plugins; writes a new graph.",
        ),
    ] = False,
    polish_all: Annotated[
        bool,
        typer.Option(
            "--polish-all",
            rich_help_panel=POLISH_PANEL,
            help="Improve every node, also those whose plugin differs in nothing.",
        ),
    ] = False,
    polish_trials: Annotated[
        int, typer.Option("--polish-trials", rich_help_panel=POLISH_PANEL, help="Settings to try for each node.", min=1)
    ] = DEFAULT_POLISH_TRIALS,
    daw: Annotated[
        Daw | None,
        typer.Option(
            "--with",
            rich_help_panel=RENDERER_PANEL,
            help="A DAW that renders its sessions itself.",
            show_default="our own plugin hosts",
        ),
    ] = None,
    daw_program: Annotated[
        Path | None,
        typer.Option(
            "--daw-program", rich_help_panel=RENDERER_PANEL, help="Program of that DAW.", show_default="looked for"
        ),
    ] = None,
    daw_timeout_s: Annotated[
        float,
        typer.Option(
            "--daw-timeout-s", rich_help_panel=RENDERER_PANEL, help="Seconds that DAW may take for a session.", min=1.0
        ),
    ] = DEFAULT_DAW_TIMEOUT_S,
    render: Annotated[
        Path | None,
        typer.Option(
            help="Compare this render of the session instead of rendering it.", rich_help_panel=RENDERER_PANEL
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="The same seed tries the same settings.", min=0, rich_help_panel=POLISH_PANEL)
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all results as JSON.")] = False,
) -> None:
    """Render written sessions with real plugins, or let their DAW do it, and measure what was lost.

    What was written is rendered, not the graph: transfer gap, null depth, level, loudness and, for every
    processor, how far its plugin is from what was meant. What has not changed since the last time is not
    rendered again.

    Examples
    --------
    Every session of an analysis:
    mixbridge verify song.mixbridge
    Many, and every number:
    mixbridge verify a.mixbridge b.mixbridge --jobs 4 --json
    By the DAW itself:
    mixbridge verify song.mixbridge --with reaper
    Improve what was lost, with the plugins in the loop:
    mixbridge verify song.mixbridge --polish

    Files
    -----
    verify.json beside the session, real.wav beside match.wav, and a section in report.html.

    Exit codes
    ----------
    0 green, 3 amber or nothing to measure against, 1 red, 2 something could not be verified, 130 stopped
    """
    with errors_for_people(when_stopped=_WHEN_STOPPED):
        # Imported here: torch takes seconds to load, and --help must not.
        from .bridge.verify.run import verify_paths
        from .bridge.verify.settings import VerifySettings
        from .bridge.verify.verdict import exit_code

        settings = VerifySettings(
            mix_path=mix,
            graph_path=graph,
            stems_dir=stems,
            jobs=jobs or os.cpu_count() or 1,
            again=again,
            allow_unverified=allow_unverified,
            time_limit_s=time_limit,
            polish=polish or polish_all,
            polish_every_node=polish_all,
            polish_trials=polish_trials,
            seed=seed,
            daw=daw,
            daw_program=daw_program,
            daw_timeout_s=daw_timeout_s,
            render_path=render,
        )
        with progress_bar() as bar:
            results = verify_paths(
                paths,
                settings=settings,
                progress=lambda path, share, words: bar.report("verify", share, f"{path} {words}"),
            )
        if as_json:
            print_json([result.model_dump(mode="json") for result in results])
        else:
            _print_results(results)
        for result in results:
            if result.error:
                complain(result.error)
            # The message has the first one.
            for obstacle in result.obstacles[1:]:
                place = f"line {obstacle.line}: " if obstacle.line is not None else ""
                complain(f"{result.path}: {place}{obstacle.words}")
        raise typer.Exit(exit_code(result.verdict for result in results))


def _print_results(results: Sequence[Verification]) -> None:
    from .bridge.report.real import gap_text, host_title, loss_text, node_title, null_text

    headings = (
        *("Session", "Verdict", "L_a search", "L_a real", "Gap", "Null", "ΔLUFS", "dBTP", "Worst node"),
        "Rendered by",
    )
    rows = []
    for result in results:
        real = result.features.get("real")
        worst = result.nodes[0] if result.nodes else None
        found = worst is not None and worst.null_db is not None
        loudness = result.loudness_difference_lu
        searched = result.loss.differentiable if result.loss.differentiable is not None else result.loss.graph
        rows.append(
            (
                result.path,
                result.verdict,
                loss_text(searched),
                loss_text(result.loss.real),
                gap_text(result.gap),
                null_text(result.null_db),
                "–" if loudness is None else "0" if abs(loudness) < 0.005 else f"{loudness:+.2f}",
                "–" if real is None else f"{real.true_peak_db:.1f}",
                f"{worst.channel_name}: {node_title(worst)}, {null_text(worst.null_db)}" if worst and found else "–",
                "–" if result.verdict == "failed" else host_title(result),
            )
        )
    print_table(headings, rows)
    for result in results:
        for note in result.notes:
            complain(f"{result.path}: {note}")
        if result.polished is not None:
            _print_polished(result.path, result.polished)


def _print_polished(path: str, polished: Polished) -> None:
    from .bridge.report.real import loss_text

    changed = [node.id for node in polished.nodes if node.after]
    if polished.graph:
        losses = f"L_a {loss_text(polished.loss_before)} to {loss_text(polished.loss_after)}"
        typer.echo(f"{path}: polished, {losses} ({', '.join(changed)})")
        typer.echo(f"  {polished.graph}")
    if polished.session:
        typer.echo(f"  {polished.session}")
    for words in (polished.note, *(f"{node.id}: {node.note}" for node in polished.nodes if node.note)):
        if words:
            complain(f"{path}: {words}")
