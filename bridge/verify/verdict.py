"""From a transfer gap to a verdict, and from verdicts to an exit code; nothing is measured here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from ..errors import EXIT_AMBER, EXIT_FAILURE, EXIT_OK, EXIT_USER_ERROR

#: "unknown" where there is no target to measure a gap against; "failed" where nothing could be rendered.
Verdict = Literal["green", "amber", "red", "unknown", "failed"]

#: Largest transfer gap (in L_a) that nobody hears, and the largest one worth a look.
GREEN_GAP, AMBER_GAP = 0.01, 0.05

#: Better first.
_ORDER: tuple[tuple[Verdict, int], ...] = (
    ("green", EXIT_OK),
    ("unknown", EXIT_AMBER),
    ("amber", EXIT_AMBER),
    ("red", EXIT_FAILURE),
    ("failed", EXIT_USER_ERROR),
)


def verdict_of(gap: float | None) -> Verdict:
    """The verdict on a transfer gap; a match that got better on the way is green."""
    if gap is None:
        return "unknown"
    return "green" if gap <= GREEN_GAP else "amber" if gap <= AMBER_GAP else "red"


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """Exit code of the worst verdict."""
    names = [name for name, _ in _ORDER]
    return _ORDER[max((names.index(v) for v in verdicts), default=0)][1]
