"""A batch's folder and the status file of each song; who writes them when is in `task` and `plan`.

::

    DIR/<song>.mixbridge/         what 'analyze' and 'verify' write
    DIR/status/<song>.json        how far it is, and what came of it
    DIR/status/<song>.lock        held by the process that works on it
    DIR/status/<song>.log         what that process and its libraries said
    DIR/batch.csv, batch.json     the table of all songs
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from ..errors import OutputError
from ..files import write_text_whole
from ..graph import Loss
from ..result_folder import FOLDER_SUFFIX
from ..verify.verdict import Verdict

if TYPE_CHECKING:
    from .manifest import Song

#: "stopped": its process was ended before the song was done; the next run goes on from its checkpoint.
State = Literal["running", "done", "failed", "stopped"]

STATUS_FOLDER = "status"
TABLE_STEM = "batch"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class InputFile(_Model):
    """A file that went in, as it was when it was read.

    Attributes
    ----------
    role : str
        "stem", "mix", "groups", "tempo_map" or "console".
    changed_ns : int
        Its time of change; 0 if it was too fresh to tell a later change by.
    """

    role: str
    path: str
    size: int
    changed_ns: int
    digest: str


class Attempt(_Model):
    """One process that worked on a song.

    Attributes
    ----------
    job : str
        Of the cluster; empty for a process of this machine.
    ended_at : str
        Empty while it runs and where it was ended without notice.
    """

    host: str
    pid: int
    job: str = ""
    began_at: str
    ended_at: str = ""
    outcome: Literal["", "done", "failed", "stopped"] = ""


class SessionOutcome(_Model):
    """What verification said about one session of a song."""

    session: str
    verdict: Verdict
    gap: float | None = None
    loss_real: float | None = None
    null_db: float | None = None


class Times(_Model):
    """Where the time of the last attempt went (s).

    Attributes
    ----------
    overhead_s : float
        Start of the process, digests of the files, status.
    total_s, cpu_s : float
        From the start of the process; CPU of all its threads and of the processes it started.
    """

    analyze_s: float = 0.0
    verify_s: float = 0.0
    overhead_s: float = 0.0
    total_s: float = 0.0
    cpu_s: float = 0.0


class Status(_Model):
    """Everything that is known about one song of a batch.

    Attributes
    ----------
    key : str
        Digest of files and settings (see `keys.song_key`); empty while an earlier result is
        cleared away.
    files : tuple of InputFile
        What the key was made of.
    phase, share : str, float
        What is being done, and how much of it is (0 to 1).
    error : str
        Why it failed or was stopped, as one line.
    audio_s, tracks : float, int
        Length that was analysed and number of stems; 0 where it did not come to that.
    """

    format: Literal["mixbridge-status"] = "mixbridge-status"
    schema_version: Literal[1] = 1
    name: str
    state: State
    key: str = ""
    files: tuple[InputFile, ...] = ()
    phase: str = ""
    share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    updated_at: str = ""
    attempts: tuple[Attempt, ...] = ()
    error: str = ""
    quality: str = ""
    audio_s: float = 0.0
    tracks: int = 0
    times: Times = Field(default_factory=Times)
    peak_memory_mb: float = 0.0
    loss: Loss = Field(default_factory=Loss)
    processors_kept: int = 0
    processors_console: int = 0
    export_losses: dict[str, int] = Field(default_factory=dict)
    sessions: tuple[SessionOutcome, ...] = ()
    warnings: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write the status whole or not at all."""
        data = self.model_copy(update={"updated_at": now()}).model_dump(mode="json")
        write_text_whole(path, json.dumps(data, indent=1, ensure_ascii=True) + "\n")

    @property
    def worst(self) -> SessionOutcome | None:
        """The session with the largest gap, or one that could not be rendered."""
        return max(self.sessions, key=_badness, default=None)

    def ended(self, state: Literal["done", "failed", "stopped"], **changes: Any) -> Status:
        """The status after its present attempt has ended."""
        last = self.attempts[-1].model_copy(update={"ended_at": now(), "outcome": state})
        return self.model_copy(update={"state": state, "attempts": (*self.attempts[:-1], last), **changes})


def _badness(outcome: SessionOutcome) -> tuple[bool, float]:
    return outcome.verdict == "failed", float("-inf") if outcome.gap is None else outcome.gap


def now() -> str:
    """The present time in UTC, to the millisecond (ISO 8601)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class SongPlace:
    """Where everything about one song of a batch lies."""

    folder: Path
    name: str

    @property
    def result(self) -> Path:
        """Folder that 'analyze' writes to."""
        return self.folder / f"{self.name}{FOLDER_SUFFIX}"

    @property
    def status_file(self) -> Path:
        """JSON with the `Status`."""
        return self.folder / STATUS_FOLDER / f"{self.name}.json"

    @property
    def log_file(self) -> Path:
        """What the processes said that worked on it."""
        return self.folder / STATUS_FOLDER / f"{self.name}.log"

    def lock(self) -> FileLock:
        """Held while a process works on the song; the system frees it when the process ends, however it ends."""
        path = self.folder / STATUS_FOLDER / f"{self.name}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot write here ({error.strerror}); choose another --out") from None
        return FileLock(path)

    def is_locked(self) -> bool:
        """Whether a process works on the song just now."""
        lock = self.lock()
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        lock.release()
        return False

    def status(self) -> Status | None:
        """What is known; None where nothing is, or a file of another version stands there."""
        try:
            return Status.model_validate_json(self.status_file.read_bytes())
        except (OSError, ValueError):
            return None


def place_of(folder: Path, song: Song) -> SongPlace:
    """Where everything about a song of a batch lies."""
    return SongPlace(folder, song.name)
