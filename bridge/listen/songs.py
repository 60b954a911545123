"""Reads a folder of ``analyze`` as one trial: the reference and all that is rated, cut and at one loudness; no page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from ..audio import as_stereo, probe, read_at_rate, read_audio
from ..choices import Host
from ..errors import AudioFileError, ListenError, MixbridgeError, VerifyError
from ..features import Signal, integrated_loudness_lufs, true_peak_db
from ..graph import MIX_SOURCE, STEMS_SOURCE, MixGraph
from ..processors.equations import db_to_gain
from ..result_folder import GRAPH_FILE, MATCH_FILE
from ..verify.locate import find_jobs, result_file
from ..verify.measure import fitted, moved
from ..verify.results import Verification
from .conditions import ANCHOR_CUTOFFS_HZ, LOW_ANCHOR, MATCH, MID_ANCHOR, PLAIN_SUM, REAL, REFERENCE, TITLES, anchor
from .excerpt import representative_start

#: Nothing that is played goes above this (dBTP).
HIGHEST_PEAK_DB = -1.0

#: An excerpt begins and ends in silence for so long (s), so that its loop does not click.
FADE_S = 0.01

#: Loudness and ears need so much (s).
SHORTEST_S = 1.0


@dataclass(frozen=True)
class ListenSettings:
    """How a listening test is made.

    Attributes
    ----------
    start_s, end_s : float or None
        The excerpt, in seconds of the session; chosen, of `length_s`, where both are None.
    mix_path : Path or None
        The mix, or a folder that holds mixes of the names the analyses noted.
    seed : int
        Of the order of sounds in the page, and of what listeners are given in which order.
    """

    title: str = "Listening test"
    start_s: float | None = None
    end_s: float | None = None
    length_s: float = 12.0
    loudness_lufs: float = -23.0
    seed: int = 0
    mid_anchor: bool = False
    plain_sum: bool = False
    mix_path: Path | None = None


@dataclass(frozen=True)
class Sound:
    """One condition of a trial.

    Attributes
    ----------
    audio : array, shape=(2, n)
        As it is played.
    gain_db : float
        By how much it was turned up to be as loud as the others.
    """

    condition: str
    title: str
    audio: Signal
    gain_db: float


@dataclass(frozen=True)
class Trial:
    """One song.

    Attributes
    ----------
    loudness_lufs : float
        Integrated loudness of every sound.
    sounds : tuple of Sound
        The reference first.
    notes : tuple of str
        What was left out, and why.
    """

    song: str
    sample_rate_hz: int
    start_s: float
    end_s: float
    loudness_lufs: float
    sounds: tuple[Sound, ...]
    notes: tuple[str, ...]


def read_trial(folder: Path, settings: ListenSettings) -> Trial:
    """Read one folder.

    Raises
    ------
    ListenError
        If it is no folder of ``analyze``, its mix is gone, or the excerpt lies outside the song or is silent.
    GraphError, AudioFileError, AudioContentError
        If a file is damaged.
    """
    graph = _graph(folder)
    target = _target(folder, graph, settings.mix_path)
    rate_hz = graph.sample_rate_hz
    first, last = _excerpt(folder, target, settings, sample_rate_hz=rate_hz)
    notes: list[str] = []
    found = [(REFERENCE, TITLES[REFERENCE], target[:, first:last])]
    found.append((MATCH, TITLES[MATCH], _match(folder, graph)[:, first:last]))
    found += [(key, title, audio[:, first:last]) for key, title, audio in _real(folder, graph, notes)]
    if settings.plain_sum:
        found += _plain_sum(folder, graph, first, last, notes)
    for key in (LOW_ANCHOR, MID_ANCHOR) if settings.mid_anchor else (LOW_ANCHOR,):
        low = anchor(target[:, first:last], cutoff_hz=ANCHOR_CUTOFFS_HZ[key], sample_rate_hz=rate_hz)
        found.append((key, TITLES[key], low))
    loudness, sounds = _aligned(folder, found, wanted_lufs=settings.loudness_lufs, sample_rate_hz=rate_hz)
    return Trial(graph.name, rate_hz, first / rate_hz, last / rate_hz, loudness, sounds, tuple(notes))


def _graph(folder: Path) -> MixGraph:
    if not folder.is_dir():
        raise ListenError(f"{folder}: no such folder; name folders that 'mixbridge analyze' wrote")
    if not (folder / GRAPH_FILE).is_file():
        raise ListenError(f"{folder}: holds no {GRAPH_FILE}; name a folder that 'mixbridge analyze' wrote")
    return MixGraph.load(folder / GRAPH_FILE)


def _target(folder: Path, graph: MixGraph, mix_path: Path | None) -> Signal:
    noted = graph.provenance.sources.get(MIX_SOURCE, "")
    path = mix_path if mix_path is not None else Path(noted)
    if mix_path is not None and mix_path.is_dir():
        path = mix_path / Path(noted).name
    if not path.is_file():
        where = path if path.name else "the mix"
        raise ListenError(
            f"{folder}: its mix is not there any more ({where}); say where it or its folder is with --mix"
        )
    info, frames = probe(path), _frames(folder, graph)
    return _stereo(read_at_rate(info, rate_hz=graph.sample_rate_hz, start_frame=graph.start_frame, frames=frames))


def _frames(folder: Path, graph: MixGraph) -> int:
    return graph.frames or probe(folder / MATCH_FILE).frames


def _stereo(audio: npt.NDArray[np.float32]) -> Signal:
    return as_stereo(audio).astype(np.float64)


def _match(folder: Path, graph: MixGraph) -> Signal:
    info = probe(folder / MATCH_FILE)
    if info.sample_rate_hz != graph.sample_rate_hz or info.frames != _frames(folder, graph):
        raise ListenError(f"{info.path}: does not belong to the {GRAPH_FILE} beside it; analyse the song again")
    return _stereo(read_audio(info.path))


def _excerpt(folder: Path, target: Signal, settings: ListenSettings, *, sample_rate_hz: int) -> tuple[int, int]:
    """First frame and the one behind the last."""
    length_s = target.shape[1] / sample_rate_hz
    if settings.start_s is None and settings.end_s is None:
        first = representative_start(target, length_s=settings.length_s, sample_rate_hz=sample_rate_hz)
        last = min(first + round(settings.length_s * sample_rate_hz), target.shape[1])
    else:
        start_s = settings.start_s or 0.0
        end_s = settings.end_s if settings.end_s is not None else min(start_s + settings.length_s, length_s)
        if not 0.0 <= start_s < end_s or start_s >= length_s:
            raise ListenError(
                f"{folder}: {start_s:g} to {end_s:g} s are not within its {length_s:.2f} s; change --start"
            )
        first, last = round(start_s * sample_rate_hz), min(round(end_s * sample_rate_hz), target.shape[1])
    if last - first < SHORTEST_S * sample_rate_hz:
        seconds = (last - first) / sample_rate_hz
        raise ListenError(
            f"{folder}: an excerpt of {seconds:.2f} s is too short to be rated; take {SHORTEST_S:g} s or more"
        )
    return first, last


def _real(folder: Path, graph: MixGraph, notes: list[str]) -> Iterator[tuple[str, str, Signal]]:
    """Every render by real plugins, laid under the match."""
    try:
        jobs = find_jobs(folder)
    except VerifyError:
        jobs = []
    results = [path for job in jobs for host in get_args(Host) if (path := result_file(job, host=host)).is_file()]
    if not results:
        notes.append(f"{folder}: no render by real plugins; 'mixbridge verify {folder}' makes one")
    for path in results:
        try:
            result = Verification.load(path)
            audio = _stereo(read_audio(path.parent / result.real_file))
        except (MixbridgeError, OSError) as error:
            notes.append(f"{path}: its render is left out ({error})")
            continue
        if result.sample_rate_hz != graph.sample_rate_hz:
            notes.append(f"{path}: its render is left out, it has another rate than the graph; verify again")
            continue
        placed = moved(fitted(audio, _frames(folder, graph)), -result.offset_samples)
        if len(results) == 1:
            yield REAL, TITLES[REAL], placed
        else:
            name = path.parent.name + path.stem.removeprefix("verify").replace(".verify", "")
            yield f"{REAL}-{name}", f"{TITLES[REAL]} ({name})", placed


def _plain_sum(
    folder: Path, graph: MixGraph, first: int, last: int, notes: list[str]
) -> Iterator[tuple[str, str, Signal]]:
    stems_dir = Path(graph.provenance.sources.get(STEMS_SOURCE, ""))
    total = np.zeros((2, last - first))
    try:
        for stem in graph.stems:
            start = first - graph.position_samples(stem)
            info = probe(stems_dir / stem.file)
            audio = read_at_rate(info, rate_hz=graph.sample_rate_hz, start_frame=start, frames=last - first)
            total += stem.polarity * _stereo(audio)
    except AudioFileError as error:
        notes.append(f"{folder}: no plain sum, a stem is missing ({error})")
        return
    yield PLAIN_SUM, TITLES[PLAIN_SUM], total


def _aligned(
    folder: Path, found: Sequence[tuple[str, str, Signal]], *, wanted_lufs: float, sample_rate_hz: int
) -> tuple[float, tuple[Sound, ...]]:
    """All at one loudness: the wanted one, or what the sound with the highest peaks allows."""
    faded = [(key, title, _faded(audio, round(FADE_S * sample_rate_hz))) for key, title, audio in found]
    loudness, headroom = [], []
    for _, title, audio in faded:
        value = integrated_loudness_lufs(audio, sample_rate_hz=sample_rate_hz)
        if value is None:
            raise ListenError(f"{folder}: {title.lower()} is silent in this excerpt; choose another with --start")
        loudness.append(value)
        headroom.append(value + HIGHEST_PEAK_DB - true_peak_db(audio, sample_rate_hz=sample_rate_hz))
    common = min([wanted_lufs, *headroom])
    gains = [common - value for value in loudness]
    sounds = [Sound(key, title, db_to_gain(g) * audio, g) for (key, title, audio), g in zip(faded, gains, strict=True)]
    return common, tuple(sounds)


def _faded(audio: Signal, frames: int) -> Signal:
    ramp = np.sin(0.5 * np.pi * (np.arange(frames) + 0.5) / frames) ** 2
    out = np.array(audio)
    out[:, :frames] *= ramp
    out[:, out.shape[1] - frames :] *= ramp[::-1]
    return out
