"""Measures the features of audio files and how far files are from their references; it is shown elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .audio import Audio, as_stereo, probe, read_audio, resample, resampled_frames
from .errors import ParameterError
from .features import Features, features
from .features.titles import FEATURE_TITLES
from .metrics import LOSS_RATE_HZ, MatchLoss, match_loss, song_features

#: Bands further below the strongest of both signals than this (dB) count as equally empty.
BARK_FLOOR_DB = 80.0

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class MeasuredFile:
    """Features of one file; a mono file counts as two equal channels."""

    path: Path
    sample_rate_hz: int
    channels: int
    frames: int
    features: Features

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate_hz

    def to_json(self) -> dict[str, object]:
        """What ``measure --json`` prints of a file."""
        return {
            "file": str(self.path),
            "sample_rate_hz": self.sample_rate_hz,
            "channels": self.channels,
            "duration_s": self.duration_s,
            "features": asdict(self.features),
        }


@dataclass(frozen=True)
class MeasuredPair:
    """A file against its reference.

    Attributes
    ----------
    differences : dict of str to float or None
        File minus reference, for each of `FEATURE_TITLES`; None where one of them is undefined.
    bark_differences_db : tuple of float
        File minus reference, per critical band.
    bark_distance_db : float
        Mean of the absolute differences over the critical bands.
    match_loss : dict of str to float, or None
        L_a with its parts (see `metrics`); None where the files differ in length.
    """

    file: MeasuredFile
    reference: MeasuredFile
    differences: dict[str, float | None]
    bark_differences_db: tuple[float, ...]
    bark_distance_db: float
    match_loss: dict[str, float] | None

    def to_json(self) -> dict[str, object]:
        """What ``measure --json`` prints of a pair."""
        return {
            "file": str(self.file.path),
            "reference": str(self.reference.path),
            "differences": self.differences,
            "bark_differences_db": list(self.bark_differences_db),
            "bark_distance_db": self.bark_distance_db,
            "match_loss": self.match_loss,
        }


@dataclass(frozen=True)
class Measurement:
    """All files, each once, and the pairs they form."""

    files: tuple[MeasuredFile, ...]
    pairs: tuple[MeasuredPair, ...]

    def to_json(self) -> dict[str, object]:
        """What ``measure --json`` prints."""
        return {"files": [f.to_json() for f in self.files], "pairs": [p.to_json() for p in self.pairs]}


def measure_files(
    paths: Sequence[Path], *, reference: Path | None = None, pairs: bool = False, progress: Progress | None = None
) -> Measurement:
    """Measure files, and compare them where that is asked for.

    Parameters
    ----------
    paths : sequence of Path
    reference : Path, optional
        What every file is compared with.
    pairs : bool
        Compare every first file with the second that follows it.
    progress : callable, optional
        Called with the share that is done and a few words.

    Raises
    ------
    AudioFileError, AudioContentError
        If a file cannot be read.
    ParameterError
        If pairs are asked for and the number of files is odd or there is a reference, too.
    """
    couples = _couples(paths, reference=reference, pairs=pairs)
    report = progress or (lambda _share, _words: None)
    wanted = list(dict.fromkeys([*paths, *([reference] if reference is not None else [])]))
    for path in wanted:
        probe(path)  # what is missing shows before minutes are spent on the others
    total, done, measured = len(wanted) + len(couples), 0, {}
    for path in wanted:
        report(done / total, path.name)
        measured[path] = measure_file(path)
        done += 1
    compared = []
    for one, two in couples:
        report(done / total, f"{one.name} against {two.name}")
        compared.append(compare(measured[one], measured[two]))
        done += 1
    return Measurement(tuple(measured.values()), tuple(compared))


def _couples(paths: Sequence[Path], *, reference: Path | None, pairs: bool) -> list[tuple[Path, Path]]:
    if pairs and reference is not None:
        raise ParameterError("--pairs and --reference exclude each other; choose one")
    if pairs and len(paths) % 2:
        raise ParameterError(
            f"--pairs: {len(paths)} files were named; name an even number, each file and its reference"
        )
    if pairs:
        return list(zip(paths[::2], paths[1::2], strict=True))
    return [(path, reference) for path in paths] if reference is not None else []


def measure_file(path: Path) -> MeasuredFile:
    """Features of one file (`AudioFileError` or `AudioContentError` where it cannot be read)."""
    info = probe(path)
    audio = as_stereo(read_audio(path))
    found = features(audio, sample_rate_hz=info.sample_rate_hz)
    return MeasuredFile(path, info.sample_rate_hz, info.channels, audio.shape[1], found)


def compare(file: MeasuredFile, reference: MeasuredFile) -> MeasuredPair:
    """How far a file is from its reference (errors as `measure_file`)."""
    bark = np.array([file.features.bark_db, reference.features.bark_db])
    floored = np.maximum(bark, bark.max() - BARK_FLOOR_DB)
    away = floored[0] - floored[1]
    return MeasuredPair(
        file=file,
        reference=reference,
        differences=dict(_differences(file.features, reference.features)),
        bark_differences_db=tuple(float(d) for d in away),
        bark_distance_db=float(np.mean(np.abs(away))),
        match_loss=_match_loss(file, reference),
    )


def _differences(one: Features, two: Features) -> Iterator[tuple[str, float | None]]:
    for feature in FEATURE_TITLES:
        pair: tuple[float | None, float | None] = (getattr(one, feature.name), getattr(two, feature.name))
        yield feature.name, pair[0] - pair[1] if pair[0] is not None and pair[1] is not None else None


def _match_loss(file: MeasuredFile, reference: MeasuredFile) -> dict[str, float] | None:
    # Files of other rates may end up a sample apart.
    if abs(file.duration_s - reference.duration_s) > 1.5 / LOSS_RATE_HZ:
        return None
    frames = min(resampled_frames(m.frames, from_hz=m.sample_rate_hz, to_hz=LOSS_RATE_HZ) for m in (file, reference))
    meter = MatchLoss()
    # One after the other: of long files, two signals and what is made of them are too much for a small machine.
    one, two = (song_features(_at_loss_rate(m, frames=frames), loss=meter) for m in (file, reference))
    return match_loss(one, two, loss=meter)


def _at_loss_rate(measured: MeasuredFile, *, frames: int) -> Audio:
    audio = resample(as_stereo(read_audio(measured.path)), from_hz=measured.sample_rate_hz, to_hz=LOSS_RATE_HZ)
    return audio[:, :frames]
