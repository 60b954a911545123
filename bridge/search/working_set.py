"""The song as the search sees it: stems and mix at 30 kHz, on disk, read as needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..files import whole_file
from ..metrics import LOSS_RATE_HZ

if TYPE_CHECKING:
    from ..audio import Multitrack

Stereo = npt.NDArray[np.float32]


class WorkingSet:
    """Stems and mix at `metrics.LOSS_RATE_HZ`, memory-mapped.

    Attributes
    ----------
    stem_ids : tuple of str
    stems : list of array, shape=(2, frames)
    mix : array, shape=(2, frames)
    """

    def __init__(self, stem_ids: tuple[str, ...], stems: list[Stereo], mix: Stereo) -> None:
        self.stem_ids = stem_ids
        self.stems = stems
        self.mix = mix
        self._rows = {stem_id: row for row, stem_id in enumerate(stem_ids)}

    @property
    def frames(self) -> int:
        """Length at `metrics.LOSS_RATE_HZ`."""
        return int(self.mix.shape[1])

    @classmethod
    def create(cls, song: Multitrack, folder: Path, *, progress: Callable[[str], None] | None = None) -> WorkingSet:
        """Resample a song into `folder`; what is there already is used again.

        Only one stem at a time is in memory.
        """
        folder.mkdir(parents=True, exist_ok=True)
        mix = _stored(folder / "mix.npy", lambda: song.mix_audio(rate_hz=LOSS_RATE_HZ))
        stems = []
        for number, stem in enumerate(song.stems):
            if progress is not None:
                progress(stem.name)
            audio = _stored(folder / f"stem{number:03d}.npy", lambda: song.stem_audio(stem, rate_hz=LOSS_RATE_HZ))  # noqa: B023
            stems.append(audio)
        frames = min(mix.shape[1], *(s.shape[1] for s in stems))
        return cls(tuple(s.id for s in song.stems), [s[:, :frames] for s in stems], mix[:, :frames])

    def segment(self, stem_ids: tuple[str, ...], *, start: int, frames: int, device: torch.device) -> Tensor:
        """Some stems over a window, shape (stems, 2, frames), silence beyond the end."""
        rows = [_window(self.stems[self._rows[stem_id]], start, frames) for stem_id in stem_ids]
        return torch.tensor(np.stack(rows), device=device)

    def target(self, *, start: int, frames: int, device: torch.device) -> Tensor:
        """The mix over a window, shape (2, frames)."""
        return torch.tensor(_window(self.mix, start, frames), device=device)


def _window(audio: Stereo, start: int, frames: int) -> Stereo:
    """A window of a signal that may begin before it or end behind it; there it is silent."""
    out = np.zeros((2, frames), dtype=np.float32)
    piece = audio[:, max(start, 0) : max(start + frames, 0)]
    offset = max(-start, 0)
    out[:, offset : offset + piece.shape[1]] = piece
    return out


def _stored(path: Path, make: Callable[[], Stereo]) -> Stereo:
    if not path.exists():
        audio = make()
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(audio, dtype=np.float32))
    loaded: Stereo = np.load(path, mmap_mode="r")
    return loaded
