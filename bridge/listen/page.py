"""Writes the page of a listening test: sounds, texts, style and script in one file; how it looks is in page.html."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from markupsafe import Markup

from ..audio import resample
from ..errors import ListenError, OutputError
from ..features import Signal
from ..files import printable, write_text_whole
from ..webpage import self_contained_page
from .ratings import FORMAT, HIGHEST_SCORE, SCHEMA_VERSION, csv_columns
from .songs import ListenSettings, Trial, read_trial

#: Browsers take longer and longer to open a page, and mail does not carry it.
DEFAULT_MAX_MB = 150.0

PAGE_FILE = "listen.html"

#: ITU-R BS.1534-3, section 5.4: more sounds in a trial than this tire the listener.
MOST_SOUNDS = 12

#: What a page plays; others are resampled.
_PLAYED_RATES_HZ = (44100, 48000)

#: ITU-R BS.1534-3, section 6: the scale, best first.
SCALE = ("Excellent", "Good", "Fair", "Poor", "Bad")

Progress = Callable[[float, str], None]


@dataclasses.dataclass(frozen=True)
class ListeningTest:
    """What was made.

    Attributes
    ----------
    path : Path
    id : str
        The same songs, excerpts and seed have the same.
    bytes : int
    trials : tuple of Trial
    """

    path: Path
    id: str
    bytes: int
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, object]:
        """What ``listen --json`` prints."""
        songs = [
            {
                "song": trial.song,
                "start_s": trial.start_s,
                "end_s": trial.end_s,
                "loudness_lufs": trial.loudness_lufs,
                "gain_db": {sound.condition: sound.gain_db for sound in trial.sounds},
                "notes": list(trial.notes),
            }
            for trial in self.trials
        ]
        return {"page": str(self.path), "test": self.id, "bytes": self.bytes, "songs": songs}


def make_listening_test(
    folders: Sequence[Path],
    out: Path,
    *,
    settings: ListenSettings,
    max_mb: float = DEFAULT_MAX_MB,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ListeningTest:
    """Make the page, one trial per folder.

    Parameters
    ----------
    folders : sequence of Path
        What ``analyze`` wrote, one per song.
    out : Path
        The page, or a folder to put it into.
    max_mb : float
        A larger page is not written.

    Raises
    ------
    ListenError
        If a folder cannot be used or is named twice, or the page would be too large.
    OutputError
        If the page cannot be written, or is there and `overwrite` is not set.
    """
    path = out / PAGE_FILE if out.is_dir() or out.suffix.lower() not in (".html", ".htm") else out
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: is there already; choose another --out, or replace it with --overwrite")
    report = progress or (lambda _share, _words: None)
    trials: list[Trial] = []
    packed: list[list[bytes]] = []
    size = 0
    for index, folder in enumerate(folders):
        report(index / len(folders), folder.name)
        trial = read_trial(folder, settings)
        if trial.song in (t.song for t in trials):
            # Two analyses of one song are two trials.
            trial = dataclasses.replace(trial, song=f"{trial.song} ({folder.name})")
        if trial.song in (t.song for t in trials):
            raise ListenError(f"{folder}: is named twice; name every folder once")
        if len(trial.sounds) > MOST_SOUNDS:
            raise ListenError(
                f"{folder}: {len(trial.sounds)} sounds are too many for one trial; keep {MOST_SOUNDS} at most"
            )
        files = [_flac(sound.audio, sample_rate_hz=trial.sample_rate_hz) for sound in trial.sounds]
        size += sum(len(file) for file in files)
        if size * 4 / 3 > max_mb * 1e6:
            raise ListenError(
                f"{folder}: with this song the page is larger than {max_mb:g} MB; "
                "make several pages, take a shorter --length, or allow more with --max-mb"
            )
        trials.append(trial)
        packed.append(files)
    report(0.95, "write")
    html, test_id = _page(trials, packed, settings)
    write_text_whole(path, html)
    return ListeningTest(path, test_id, len(html.encode("utf-8")), tuple(trials))


def _flac(audio: Signal, *, sample_rate_hz: int) -> bytes:
    """Lossless, 16 bit, with a triangular dither that is the same for every sound."""
    rate_hz = sample_rate_hz
    if rate_hz not in _PLAYED_RATES_HZ:
        rate_hz = 44100 if rate_hz % 11025 == 0 else 48000
    samples = np.asarray(resample(audio, from_hz=sample_rate_hz, to_hz=rate_hz), dtype=np.float64).T
    dither = np.random.default_rng(0).uniform(-0.5, 0.5, size=(2, *samples.shape)).sum(axis=0)
    whole = np.clip(np.round(samples * 32767.0 + dither), -32768, 32767).astype(np.int16)
    stream = io.BytesIO()
    soundfile.write(stream, whole, rate_hz, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def _page(trials: Sequence[Trial], packed: Sequence[Sequence[bytes]], settings: ListenSettings) -> tuple[str, str]:
    """The page and the id of the test."""
    random = np.random.default_rng(settings.seed)
    digest = hashlib.sha256(f"{settings.seed} {settings.title}".encode("utf-8", "replace"))
    key, sounds = [], []
    for trial, files in zip(trials, packed, strict=True):
        # The place of a sound in the page tells nothing of what it is.
        order = [int(i) for i in random.permutation(len(files))]
        for index in order:
            digest.update(hashlib.sha256(files[index]).digest())
        sounds.append([base64.b64encode(files[index]).decode("ascii") for index in order])
        key.append(_key(trial, order))
    test_id = digest.hexdigest()[:12]
    test = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "columns": csv_columns(),
        "highest": HIGHEST_SCORE,
        "test": {"id": test_id, "title": printable(settings.title), "seed": settings.seed},
        "songs": key,
    }
    values = {
        "title": printable(settings.title),
        "scale": SCALE,
        "highest": HIGHEST_SCORE,
        "songs": len(trials),
        "minutes": _minutes(trials),
        "key": base64.b64encode(json.dumps(test, ensure_ascii=True).encode("ascii")).decode("ascii"),
        # Base64 has nothing that a page could mistake for mark-up.
        "sounds": Markup(json.dumps(sounds)),
    }
    html = self_contained_page(__package__ or "", values, scripts=("page.js",), styles=("page.css",))
    return html, test_id


def _minutes(trials: Sequence[Trial]) -> int:
    """How long listeners take, about: they hear every sound twice and think a little."""
    return math.ceil(sum(2.0 * len(trial.sounds) * (trial.end_s - trial.start_s) + 20.0 for trial in trials) / 60.0)


def _key(trial: Trial, order: Sequence[int]) -> dict[str, object]:
    """What the page needs to know of a trial; its sounds in the order of the page."""
    return {
        "song": printable(trial.song),
        "start_s": trial.start_s,
        "end_s": trial.end_s,
        "loudness_lufs": trial.loudness_lufs,
        "reference": order.index(0),
        "sounds": [
            {"condition": s.condition, "title": s.title, "gain_db": s.gain_db} for s in (trial.sounds[i] for i in order)
        ],
    }
