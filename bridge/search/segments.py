"""Which parts of a song a fit listens to, and in what order; the fitting itself lives in `fit`.

Uniformly random segments meet a stem that plays for ten seconds of a song once in twenty steps.
Here a song is cut into tiles, each is heard once per pass, and within a pass the next tile is
the one whose stems were heard least so far.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..metrics import LOSS_RATE_HZ
from .working_set import WorkingSet

#: Segments as in the paper: 1 s of warm-up that is not scored, then 2.8 s that are.
WARM_UP_FRAMES = LOSS_RATE_HZ
SCORED_FRAMES = 2 * LOSS_RATE_HZ + 4 * LOSS_RATE_HZ // 5

#: A stem is heard in a tile where its level is within this of its loudest tile (dB).
HEARD_WITHIN_DB = 40.0

#: Each pass shifts the tiles by up to this share of their length, so that their borders move.
_SHIFT_SHARE = 0.5


class Segments:
    """Endless, seeded sequences of segments of one song.

    Parameters
    ----------
    song : WorkingSet
    """

    def __init__(self, song: WorkingSet) -> None:
        self.frames = song.frames
        self.tiles = max(1, -(-song.frames // SCORED_FRAMES))
        self.heard = heard_stems(song, self.tiles)

    def starts(self, *, seed: int, stream: int) -> Iterator[int]:
        """First frame of every segment, warm-up included (the first may begin before the song).

        The same seed and stream give the same sequence.
        """
        random = np.random.default_rng([seed, stream])
        counts = np.zeros(self.heard.shape[1])
        last = max(self.frames - SCORED_FRAMES, 0)
        while True:
            shift = int(random.uniform(-_SHIFT_SHARE, _SHIFT_SHARE) * SCORED_FRAMES)
            left = list(random.permutation(self.tiles))
            while left:
                worth = [float(np.sum(self.heard[tile] / (1.0 + counts))) for tile in left]
                tile = left.pop(int(np.argmax(worth)))
                counts += self.heard[tile]
                yield min(max(int(tile) * SCORED_FRAMES + shift, 0), last) - WARM_UP_FRAMES


def heard_stems(song: WorkingSet, tiles: int) -> npt.NDArray[np.float64]:
    """Whether a stem plays in a tile, 0 or 1, shape (tiles, stems)."""
    energy = np.zeros((tiles, len(song.stems)))
    for column, stem in enumerate(song.stems):
        for tile in range(tiles):
            piece = np.asarray(stem[:, tile * SCORED_FRAMES : (tile + 1) * SCORED_FRAMES], dtype=np.float64)
            energy[tile, column] = float(np.mean(piece**2)) if piece.size else 0.0
    floor = energy.max(axis=0, initial=0.0) * 10.0 ** (-HEARD_WITHIN_DB / 10.0)
    return np.asarray((energy > floor) & (energy > 0.0), dtype=np.float64)
