"""The command ``mixbridge batch``: thin, no logic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from . import cli_options as options
from .bridge.choices import (
    DEFAULT_CONSOLE,
    DEFAULT_PRUNING,
    DEFAULT_QUALITY,
    DEFAULT_SUITES,
    DEFAULT_TOLERANCE,
    Cluster,
)
from .bridge.errors import EXIT_FAILURE
from .cli_complete import complete_of
from .cli_export import AllowUnverified, KeepPruned, Link, Reference, Strict, TargetOs
from .cli_help import OUTPUT_PANEL, SESSION_PANEL
from .cli_output import complain, errors_for_people, print_facts, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from .bridge.batch.cost import Estimate
    from .bridge.batch.local import Watch, Working
    from .bridge.batch.run import Doer
    from .bridge.batch.settings import SongSettings
    from .bridge.batch.status import Status

_WHEN_STOPPED = "stopped; the same command goes on with what is not done yet"

_CLUSTER = "Cluster (--cluster)"


def batch(
    songs: Annotated[
        Path,
        typer.Argument(
            help="Manifest (.jsonl), or a folder whose folders have stems/ and mix.* each.",
            autocompletion=complete_of(".jsonl"),
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder to write to; the same one goes on with a batch that was stopped.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ],
    export: options.Export = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify",
            help="Render the sessions and measure what was lost.",
            rich_help_panel=SESSION_PANEL,
        ),
    ] = True,
    quality: options.OfQuality = DEFAULT_QUALITY,
    tolerance: options.Tolerance = DEFAULT_TOLERANCE,
    pruning: options.OfPruning = DEFAULT_PRUNING,
    console: options.OfConsole = DEFAULT_CONSOLE,
    snap: options.Snap = False,
    plugins: options.Plugins = DEFAULT_SUITES,
    allow_unverified: AllowUnverified = False,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    link: Link = False,
    reference: Reference = True,
    keep_pruned: KeepPruned = False,
    target_os: TargetOs = None,
    strict: Strict = False,
    workers: Annotated[
        int | None, typer.Option(help="Songs at once.", min=1, show_default="by cores and memory")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Threads for each song; with another number losses differ in their eighth digit.",
            min=1,
            show_default="cores shared out",
        ),
    ] = None,
    time_limit_min: Annotated[
        float | None, typer.Option(help="Minutes that a song may take.", min=0.01, show_default="no limit")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is left to do and what it costs.")] = False,
    cluster: Annotated[Cluster | None, typer.Option(help="Send the songs there.", show_default="this machine")] = None,
    partition: Annotated[str | None, typer.Option(help="Partition.", rich_help_panel=_CLUSTER)] = None,
    time_min: Annotated[
        int,
        typer.Option(
            help="Minutes to ask for; a song that needs more goes on in another turn.", min=1, rich_help_panel=_CLUSTER
        ),
    ] = 240,
    memory_gb: Annotated[
        float, typer.Option(help="Memory to ask for, for each song.", min=0.1, rich_help_panel=_CLUSTER)
    ] = 8.0,
    cpus: Annotated[int, typer.Option(help="Cores for each song.", min=1, rich_help_panel=_CLUSTER)] = 2,
    gpus: Annotated[int, typer.Option(help="GPUs for each song.", min=0, rich_help_panel=_CLUSTER)] = 0,
    wait: Annotated[
        bool,
        typer.Option("--wait/--no-wait", help="Wait and show how far the songs are.", rich_help_panel=_CLUSTER),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
) -> None:
    """Analyse, export and verify many songs; what was done before and has not changed is not done again.

    Each song has a process of its own: one that fails costs nothing but itself. A batch may be stopped or killed at
    any time, and the same command goes on with it; whether a song is done is told by the content of its files and
    by the settings. A manifest has a JSON object a line, with 'name', 'stems', 'mix' and, where wanted, 'groups',
    'tempo_map', 'start_s' and 'end_s'; paths are relative to it.

    Examples
    --------
    All songs of a folder, as REAPER projects:
    mixbridge batch songs/ --out results --export reaper
    What is left to do, and what it costs:
    mixbridge batch songs.jsonl --out results --quality draft --dry-run
    On a cluster, 40 at once:
    mixbridge batch songs.jsonl --out results --cluster slurm --partition cpu --workers 40

    Files
    -----
    Into the folder: a folder for each song as of 'analyze', status/<song>.json, and the table of all songs as
    batch.csv and batch.json.

    Exit codes
    ----------
    0 all songs are done, 1 some failed, 2 nothing could be begun (one line names it and the remedy), 130 stopped
    """
    with errors_for_people(when_stopped=_WHEN_STOPPED):
        # Imported here: torch takes seconds to load, and --help must not.
        from .bridge.batch.run import Here, read_songs
        from .bridge.batch.settings import SongSettings
        from .bridge.search.search import SearchSettings
        from .exporters.options import ExportOptions

        found = read_songs(songs)
        settings = SongSettings(
            search=SearchSettings(
                quality=quality.value,
                tolerance=tolerance,
                seed=seed,
                device=device,
                method=pruning.value,
                console=str(Path(console).absolute()) if console.endswith(".toml") else console,
                snap=snap,
                plugins=plugins,
            ),
            exports=[kind.value for kind in export or []],
            export_options=ExportOptions(
                link=link,
                with_reference=reference,
                keep_pruned=keep_pruned,
                system=target_os,
                allow_unverified=allow_unverified,
                strict=strict,
            ),
            verify=verify,
        )
        limit_s = None if time_limit_min is None else 60.0 * time_limit_min
        do: Doer = Here(workers=workers, threads=threads, limit_s=limit_s)
        if cluster is not None:
            from .bridge.batch.slurm import OnSlurm

            do = OnSlurm(
                workers=workers,
                limit_s=limit_s,
                partition=partition,
                time_min=time_min,
                memory_gb=memory_gb,
                cpus=threads or cpus,
                gpus=gpus,
                wait=wait,
            )
        settings.check(here=cluster is None)
        if dry_run:
            _estimate(found, out, settings, do, as_json=as_json)
        else:
            _run(found, out, settings, do, as_json=as_json)


def _estimate(songs: Any, out: Path, settings: SongSettings, do: Any, *, as_json: bool) -> None:
    from .bridge.batch.cost import estimate
    from .bridge.batch.plan import plan

    with progress_bar() as bar:
        planned = plan(songs, out, settings, measure=True, report=lambda name, share: bar.report("look", share, name))
    workers, threads = do.shares()
    found = estimate(planned, settings, workers=workers, threads=threads)
    invalid = {p.song.name: p.error for p in planned if p.todo == "invalid"}
    if as_json:
        print_json({**asdict(found), "invalid": invalid, "workers": workers, "threads": threads})
        return
    print_facts(_cost_facts(found, workers, threads))
    for name, error in invalid.items():
        complain(f"{name}: {error}")


def _cost_facts(found: Estimate, workers: int, threads: int) -> list[tuple[str, str]]:
    counts = [f"{count} {todo}" for todo, count in found.songs.items() if count]
    measured = f"{found.calibrated_by} finished songs here" if found.calibrated_by else "songs measured elsewhere"
    return [
        ("songs", ", ".join(counts)),
        ("to do", f"{found.audio_s:.0f} s of audio, {found.tracks} tracks"),
        ("CPU time", f"about {_duration(found.cpu_s)}, by {measured}"),
        ("wall time", f"about {_duration(found.wall_s)} with {workers} at once, {threads} threads each"),
        ("memory", f"about {found.memory_mb / 1000:.1f} GB for the largest song"),
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _run(songs: Any, out: Path, settings: SongSettings, do: Doer, *, as_json: bool) -> None:
    from .bridge.batch.run import run_batch

    with _display(len(songs)) as watch:
        result = run_batch(songs, out, settings, do=do, watch=watch)
    if as_json:
        print_json(list(result.rows))
    else:
        print_table(_HEADINGS, [_cells(row) for row in result.rows], title=str(out))
    if result.failed:
        complain(f"{result.failed} of {len(result.rows)} songs failed; the same command tries them again")
        raise typer.Exit(EXIT_FAILURE)


_HEADINGS = ("Song", "State", "L_a sum", "L_a match", "Kept", "L_a real", "Gap", "Verdict", "Time", "Error")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    from .bridge.report.real import gap_text, loss_text

    kept = f"{row['processors_kept']}/{row['processors_console']}" if row["processors_console"] else "–"
    return (
        row["name"],
        row["state"],
        loss_text(row["loss_plain_sum"]),
        loss_text(row["loss_reference"]),
        kept,
        loss_text(row["loss_real"]),
        gap_text(row["gap"]),
        row["verdict"] or "–",
        _duration(row["total_s"]) if row["total_s"] else "–",
        row["error"],
    )


@contextmanager
def _display(total: int) -> Iterator[Watch]:
    """On a terminal a bar for all songs and one for each that is being done; otherwise a line for each that ends."""
    from .bridge.batch.local import Watch

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.fields[worker]:>8}", markup=False),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        display = _Display(bar, total)
        yield Watch(working=display.working, ended=display.ended)


class _Display:
    """Bars of a batch."""

    def __init__(self, bar: Progress, total: int) -> None:
        self._bar, self._total = bar, total
        self._all = bar.add_task("songs", total=total, worker="all")
        self._rows: dict[str, TaskID] = {}
        self._ended = 0

    def working(self, songs: Sequence[Working]) -> None:
        now = {song.worker: song for song in songs}
        for worker in set(self._rows) - set(now):
            self._bar.remove_task(self._rows.pop(worker))
        for worker, song in now.items():
            if worker not in self._rows:
                self._rows[worker] = self._bar.add_task("", total=100, worker=worker)
            self._bar.update(self._rows[worker], description=f"{song.name}: {song.phase}", completed=100 * song.share)

    def ended(self, status: Status) -> None:
        self._ended += 1
        self._bar.update(self._all, completed=self._ended)
        words = status.error if status.state == "failed" else _duration(status.times.total_s)
        line = f"mixbridge: [{self._ended}/{self._total}] {status.name}: {status.state}, {words}"
        # Through the bars' own console, which keeps them below it.
        self._bar.console.print(Text(line), soft_wrap=True)
