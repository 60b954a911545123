"""What a user chooses about a verification; nothing is done here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Called with the path at work, the share of all work done (0 to 1) and a few words.
Progress = Callable[[str, float, str], None]


#: Settings tried for each node that is polished.
DEFAULT_POLISH_TRIALS = 8


@dataclass(frozen=True)
class VerifySettings:
    """What a user chooses about a verification.

    Attributes
    ----------
    mix_path, graph_path, stems_dir : Path or None
        The target, the graph and the stems, where they are not where the session says.
    jobs : int
        Sessions verified at once; for a single one, tracks rendered at once.
    again : bool
        Verify also what was verified before and has not changed since.
    allow_unverified : bool
        Use plugins without a passing certificate.
    time_limit_s : float
        How long a plugin may take for an answer.
    worst : int
        For so many of the worst nodes it is measured what L_a falls by without their error; so many
        are polished.
    polish : bool
        Improve nodes with the real plugins in the loop (see `polish`).
    polish_every_node : bool
        All of them, not only those whose plugin differs from its reference.
    polish_trials : int
        How many settings are tried for each.
    seed : int
        The same seed tries the same settings.
    """

    mix_path: Path | None = None
    graph_path: Path | None = None
    stems_dir: Path | None = None
    jobs: int = 1
    again: bool = False
    allow_unverified: bool = False
    time_limit_s: float = 30.0
    worst: int = 3
    polish: bool = False
    polish_every_node: bool = False
    polish_trials: int = DEFAULT_POLISH_TRIALS
    seed: int = 0
