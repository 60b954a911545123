"""What is handed to the process that does a song, as JSON; light, because those who only hand it on need no more."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .status import SongPlace

if TYPE_CHECKING:
    from .manifest import Song
    from .settings import SongSettings

#: Exit code of a process whose song another one works on (EX_TEMPFAIL of sysexits.h).
EXIT_BUSY = 75


@dataclass(frozen=True)
class Request:
    """One song to be done by one process.

    Attributes
    ----------
    folder : str
        Of the batch.
    song, settings : dict
        `manifest.Song` and `settings.SongSettings` as plain data.
    threads : int
        How many the process may use.
    job : str
        Of the cluster; empty for a process of this machine.
    """

    folder: str
    name: str
    song: dict[str, Any]
    settings: dict[str, Any]
    threads: int = 1
    job: str = ""

    @property
    def place(self) -> SongPlace:
        """Where everything about the song lies."""
        return SongPlace(Path(self.folder), self.name)

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Request:
        """The opposite of `to_json`."""
        return cls(**json.loads(text))


def request_of(folder: Path, song: Song, settings: SongSettings, *, threads: int = 1) -> Request:
    """A request that any process may fulfil, wherever it is started: its paths are absolute."""
    here = song.below(Path.cwd())
    return Request(
        folder=str(folder.absolute()),
        name=song.name,
        song=here.model_dump(mode="json"),
        settings=settings.to_json(),
        threads=threads,
    )
