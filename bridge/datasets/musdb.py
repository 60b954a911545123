"""The layout of MUSDB18-HQ; nothing else lives here.

``train/<Artist> - <Title>/`` and ``test/...`` each hold ``mixture.wav``, ``bass.wav``, ``drums.wav``, ``other.wav`` and
``vocals.wav``, all stereo at 44.1 kHz. The four are processed stems and the mixture is close to their sum, so that
little is left to find but what the master does.

Source: Z. Rafii et al., "MUSDB18-HQ: an uncompressed version of MUSDB18", 2019, https://doi.org/10.5281/zenodo.3338373;
the tools at https://github.com/sigsep/sigsep-mus-db.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .layout import DatasetSong, IncompleteSongError, Layout, ReadOptions, Skipped, Track, present, subfolders

SPLITS = ("train", "test")
MIXTURE = "mixture.wav"
SOURCES = ("bass", "drums", "other", "vocals")


def read(root: Path, _options: ReadOptions) -> Iterator[DatasetSong | Skipped]:
    """Give all songs of a copy of MUSDB18-HQ; `root` holds ``train`` and ``test``, or is one of them."""
    places = [(root / split, split) for split in SPLITS if (root / split).is_dir()]
    for place, split in places or [(root, root.name if root.name in SPLITS else "")]:
        for folder in subfolders(place):
            if not any((folder / name).exists() for name in (MIXTURE, *(f"{s}.wav" for s in SOURCES))):
                continue
            try:
                tracks = tuple(Track(present(folder / f"{source}.wav"), source) for source in SOURCES)
                yield DatasetSong(folder.name, split, tracks, present(folder / MIXTURE), split)
            except IncompleteSongError as error:
                yield Skipped(folder.name, str(error), split)


LAYOUT = Layout(
    label="MUSDB18-HQ",
    expects=f"train/<Song>/ and test/<Song>/ with {MIXTURE} and bass, drums, other and vocals",
    options=frozenset(),
    read=read,
)
