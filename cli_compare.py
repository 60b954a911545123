"""The command ``mixbridge compare``: thin, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_complete import GraphArgument, complete_graph
from .cli_output import errors_for_people, print_facts, print_json, print_table

if TYPE_CHECKING:
    from .bridge.recovery import Recovery


def compare(
    graph: GraphArgument,
    truth: Annotated[
        Path,
        typer.Argument(
            help="The graph to compare it with: the truth, or one of another seed.", autocompletion=complete_graph
        ),
    ],
    stems: Annotated[
        Path | None, typer.Option(help="Folder with the stems.", show_default="that of the analysis")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Tell how well a graph recovers another: errors of its settings, and which processors both have.

    The stems are listened to: what counts is what they have gone through from file to mix, by whatever settings
    and on whatever channel. What is dialled differently, knob by knob, is told by 'diff'.

    Examples
    --------
    Whether the truth was found:
    mixbridge compare song.mixbridge truth/graph.json --stems truth/stems/
    Whether another seed finds the same:
    mixbridge compare seed-0.mixbridge seed-1.mixbridge --json
    """
    with errors_for_people():
        # Imported here: scipy and numba take seconds to load, and --help must not.
        from .bridge.recovery_files import compare_files

        result = compare_files(graph, truth, stems_dir=stems)
        if as_json:
            print_json(result.to_json())
        else:
            _print(result)


def _print(result: Recovery) -> None:
    rows = [
        [
            s.stem,
            f"{s.fader_db:+.2f}",
            _number(s.level_db, "+.2f"),
            f"{s.pan:+.3f}",
            _number(s.eq_db, ".2f"),
            _number(s.automation_db, ".2f"),
        ]
        for s in result.stems
    ]
    print_table(["Stem", "Fader dB", "Level dB", "Pan", "EQ dB RMS", "Volume dB RMS"], rows)
    facts = [
        (d.place, f"threshold {d.threshold_db:+.1f} dB, ratio x{d.ratio:.2f}, "
                  f"attack x{d.attack:.2f}, release x{d.release:.2f}")
        for d in result.dynamics
    ]  # fmt: skip
    facts += [(d.place, "echoes off by " + ", ".join(f"{t:+.1f} ms" for t in d.time_ms)) for d in result.delays]
    facts += [(r.place, f"decay x{r.decay:.2f}, pre-delay {r.pre_delay_ms:+.0f} ms") for r in result.reverbs]
    facts += [("missed", place) for place in result.missed]
    facts += [("extra", place) for place in result.extra]
    both = result.processors
    facts.append(("processors", f"precision {both.precision:.2f}, recall {both.recall:.2f}, F1 {both.f1:.2f}"))
    facts.append(("with faders", f"F1 {result.processors_and_faders.f1:.2f}"))
    print_facts(facts)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
