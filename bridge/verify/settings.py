"""What a user chooses about a verification; nothing is done here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..choices import DAW_HOSTS, Daw, Host
from ..errors import VerifyError

#: Called with the path at work, the share of all work done (0 to 1) and a few words.
Progress = Callable[[str, float, str], None]


#: How long a DAW may take for one session (s): it starts, looks for plugins, loads and renders.
DEFAULT_DAW_TIMEOUT_S = 900.0

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
    daw : Daw or None
        A DAW that renders instead of our own hosts.
    daw_program : Path or None
        Its program; looked for if not given.
    daw_timeout_s : float
        How long it may take for one session.
    render_path : Path or None
        A render of the one session that is verified, to compare instead of rendering it.
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
    daw: Daw | None = None
    daw_program: Path | None = None
    daw_timeout_s: float = DEFAULT_DAW_TIMEOUT_S
    render_path: Path | None = None

    @property
    def host(self) -> Host:
        """Who renders."""
        if self.render_path is not None:
            return "given"
        return "" if self.daw is None else DAW_HOSTS[self.daw]

    def check(self) -> None:
        """Raise `VerifyError` for choices that contradict each other."""
        if self.render_path is not None and self.daw is not None:
            raise VerifyError("--render compares a render that is there, --with makes one; give one of them")
        if self.host and self.polish:
            raise VerifyError("--polish runs single plugins in our own hosts; leave out --with and --render")
        if self.daw is not None and self.stems_dir is not None:
            raise VerifyError("--stems: a DAW plays the files that the session names; put the stems back there")
        if self.daw is None and self.daw_program is not None:
            raise VerifyError("--daw-program: say which DAW it is with --with")
