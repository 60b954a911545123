"""Tiny songs and settings for tests of batches: a song takes some seconds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from mixbridge.bridge.batch.local import Watch, Working
from mixbridge.bridge.batch.manifest import Song
from mixbridge.bridge.batch.run import BatchResult, Here, run_batch
from mixbridge.bridge.batch.settings import SongSettings
from mixbridge.bridge.batch.status import SongPlace, Status
from mixbridge.bridge.search.search import SearchSettings

RATE_HZ = 44100
SECONDS = 1.5

#: The smallest console there is.
CONSOLE = """description = "Faders and pans"
track = ["gain_pan"]
group = []
master = []
"""


def write_song(folder: Path, *, seed: int = 0, gain: float = 0.4, seconds: float = SECONDS) -> Song:
    """Two stems and their sum at known gains, in a folder that is called after the song."""
    stems = folder / "stems"
    stems.mkdir(parents=True)
    frames = int(seconds * RATE_HZ)
    mix = np.zeros((frames, 2))
    for number in range(2):
        random = np.random.default_rng([seed, number])
        steps = np.repeat(random.uniform(0.05, 1.0, size=frames // 1500 + 1), 1500)[:frames, None]
        audio = 0.1 * random.standard_normal((frames, 1)) * steps
        soundfile.write(stems / f"track{number}.wav", audio, RATE_HZ, subtype="FLOAT")
        mix = mix + audio * (gain + 0.3 * number) * np.array([1.0, 0.7])
    soundfile.write(folder / "mix.wav", mix, RATE_HZ, subtype="FLOAT")
    age(folder)
    return Song(name=folder.name, stems=stems, mix=folder / "mix.wav")


def age(folder: Path) -> None:
    """Make files as old as those of a user: the freshest are looked at again."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 100.0, time.time() - 100.0))


def tiny_settings(folder: Path, *, export: bool = True) -> SongSettings:
    console = folder / "faders.toml"
    console.write_text(CONSOLE)
    age(folder)
    search = SearchSettings(quality="draft", console=str(console))
    return SongSettings(search=search, exports=["reaper"] if export else [])


def quiet(*, working: Callable[[Sequence[Working]], None] | None = None) -> Watch:
    return Watch(working=working or (lambda _songs: None), ended=lambda _status: None)


def run(songs: Sequence[Song], out: Path, settings: SongSettings, **choices: object) -> BatchResult:
    """A batch on this machine, one song at once on one thread."""
    watch = choices.pop("watch", None) or quiet()
    here = Here(**{"workers": 1, "threads": 1, **choices})  # type: ignore[arg-type]
    return run_batch(songs, out, settings, do=here, watch=watch)  # type: ignore[arg-type]


def status_of(out: Path, name: str) -> Status:
    status = SongPlace(out, name).status()
    assert status is not None
    return status


def begin_command(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """The command ``batch`` in a process group of its own, its words caught."""
    return subprocess.Popen(
        [sys.executable, "-m", "mixbridge", "batch", *(str(a) for a in arguments)],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_until(true: Callable[[], bool], *, limit_s: float = 120.0) -> None:
    ends_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < ends_s, "this did not happen in time"
        time.sleep(0.02)


def files_of(out: Path, name: str) -> dict[str, bytes]:
    """What must be the same however often a batch was stopped."""
    result = SongPlace(out, name).result
    return {
        file: (result / file).read_bytes() for file in ("graph.json", "match.wav", "real.wav", f"reaper/{name}.rpp")
    }
