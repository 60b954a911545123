"""Small generated songs for the tests, and the order of the test files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from mixbridge.cli_verify import verify

from .browser import Opener, pages, running_chromium

SONG_RATE_HZ = 44100

#: Files that take minutes, the longest first: begun last, they would keep one process busy alone.
LONG_FILES = (
    "test_analyze",
    "test_search",
    "test_documentation",
    "test_recovery",
    "test_identify",
    "test_batch_slurm",
    "test_batch",
    "test_profiles",
    "test_pedalboard_export",
    "test_verify",
    "test_plugins_probe",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    items.sort(key=lambda item: LONG_FILES.index(item.path.stem) if item.path.stem in LONG_FILES else len(LONG_FILES))


@dataclass
class SmallSong:
    """Three short stems that start and stop, and their sum at known gains."""

    stems_dir: Path
    mix_path: Path
    stems: dict[str, np.ndarray]
    mix: np.ndarray

    def write_stem(self, name: str, audio: np.ndarray, *, rate_hz: int = SONG_RATE_HZ, subtype: str = "FLOAT") -> Path:
        path = self.stems_dir / name
        soundfile.write(path, np.atleast_2d(audio).T, rate_hz, subtype=subtype)
        return path

    def write_mix(self, audio: np.ndarray, *, rate_hz: int = SONG_RATE_HZ, subtype: str = "FLOAT") -> Path:
        soundfile.write(self.mix_path, np.atleast_2d(audio).T, rate_hz, subtype=subtype)
        return self.mix_path


@pytest.fixture
def make_small_song(tmp_path: Path) -> Callable[..., SmallSong]:
    """Write a song of a few seconds; `gains` may hold other stems than kick, bass and keys."""

    def make(*, seconds: float = 4.0, gains: Mapping[str, float] | None = None) -> SmallSong:
        chosen = dict(gains or {"kick": 0.8, "bass": 0.5, "keys": 0.6})
        n = round(seconds * SONG_RATE_HZ)
        stems = {}
        for index, name in enumerate(chosen):
            random = np.random.default_rng([7, index])
            steps = random.uniform(0.05, 1.0, size=n // 3000 + 1) ** 2
            stereo = random.standard_normal((1 if index % 2 else 2, n)) * np.repeat(steps, 3000)[:n]
            stems[name] = (0.08 * stereo).astype(np.float32)
        mix = np.zeros((2, n), dtype=np.float32)
        for name, gain in chosen.items():
            mix += gain * stems[name]
        song = SmallSong(tmp_path / "stems", tmp_path / "mix.wav", stems, mix)
        song.stems_dir.mkdir()
        for name, audio in stems.items():
            song.write_stem(f"{name}.wav", audio)
        song.write_mix(mix)
        return song

    return make


@pytest.fixture
def small_song(make_small_song: Callable[..., SmallSong]) -> SmallSong:
    return make_small_song()


@pytest.fixture
def command() -> Callable[..., tuple[int, str, str]]:
    """The command ``verify`` by itself: its exit code, stdout and stderr."""
    app = typer.Typer()
    app.command()(verify)

    def call(*arguments: object) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    return call


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all tests of a process."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Opener]:
    """Opens files in Chromium; fails the test where a page complains or asks the network."""
    with pages(chromium) as opener:
        yield opener
