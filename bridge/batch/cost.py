"""How long a batch will take, from the lengths of its songs and what was measured; nothing is analysed here.

The search looks at a part of a song, and its work grows with the channels; reading, rendering and
verifying go through all of it. So the CPU time of a song is modelled as::

    song + tracks * (track + search * min(audio, heard) / heard + pass * audio)

with `audio` in seconds and `heard` the longest part that a search of this quality listens to. The
figures are for the full console: five songs and five recovery mixes at standard quality took 41 to
64 s CPU a track (benchmarks/results, songs and scaling), excerpts of 5 s in draft 7 to 11 s (batch).
Songs that are done tell how this machine, this console and these songs compare.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ..choices import Quality
from ..search.search import EFFORTS
from .plan import PlannedSong
from .settings import SongSettings

#: Work for a song however small (s CPU): its report, its verification.
SONG_S = 3.0

#: Work for a track however short (s CPU): where its settings begin.
TRACK_S = 6.0

#: Search of one track (s CPU) over all that the search listens to, by quality. That of "best" is not
#: measured, but scaled from "standard" by its steps.
SEARCH_S = {Quality.draft: 12.0, Quality.standard: 34.0, Quality.best: 250.0}

#: Reading, rendering, exporting and verifying one track (s CPU for each second of it).
PASS_S = 0.06

#: Memory of a process (MB): what is loaded, and what each track needs.
START_MB, TRACK_MB = 1000.0, 250.0

#: Gain of each core of a process beyond its first: little of the work of a short song is split.
EXTRA_CORE_GAIN = 0.15


@dataclass(frozen=True)
class Estimate:
    """What is left to do and what it will cost.

    Attributes
    ----------
    songs : dict of str to int
        Number of songs by what is to be done with them (`plan.Todo`).
    audio_s, tracks : float, int
        Of the songs that are to be done.
    cpu_s, wall_s : float
        Of all of them; with so many workers at once, if nothing else runs.
    memory_mb : float
        Of the largest song.
    calibrated_by : int
        Finished songs of this batch that corrected the model; 0: it is as measured elsewhere.
    """

    songs: dict[str, int]
    audio_s: float
    tracks: int
    cpu_s: float
    wall_s: float
    memory_mb: float
    calibrated_by: int


def model_cpu_s(*, audio_s: float, tracks: int, quality: str) -> float:
    """CPU time of a song by the model (s)."""
    heard_s = EFFORTS[quality].evaluated_s
    search_s = SEARCH_S[Quality(quality)] * min(audio_s, heard_s) / heard_s
    return SONG_S + tracks * (TRACK_S + search_s + PASS_S * audio_s)


def estimate(planned: Sequence[PlannedSong], settings: SongSettings, *, workers: int, threads: int) -> Estimate:
    """What a batch will cost.

    Parameters
    ----------
    planned : sequence of PlannedSong
        With lengths (`measure` of `plan.plan`).
    workers : int
        Songs at once.
    threads : int
        Of each of them.
    """
    quality = settings.search.quality
    todo = [p for p in planned if p.todo not in ("done", "invalid")]
    factor, count = _calibration(planned, quality)
    costs = [factor * model_cpu_s(audio_s=p.audio_s, tracks=p.tracks, quality=quality) for p in todo]
    speed = 1.0 + EXTRA_CORE_GAIN * (min(threads, 4) - 1)
    songs = dict.fromkeys(("done", "new", "begun", "changed", "failed", "invalid"), 0)
    for p in planned:
        songs[p.todo] += 1
    return Estimate(
        songs=songs,
        audio_s=sum(p.audio_s for p in todo),
        tracks=sum(p.tracks for p in todo),
        cpu_s=sum(costs),
        # The last one may begin when the others end.
        wall_s=max(sum(costs) / max(min(workers, len(todo)), 1), max(costs, default=0.0)) / speed,
        memory_mb=max((START_MB + TRACK_MB * p.tracks for p in todo), default=0.0),
        calibrated_by=count,
    )


def _calibration(planned: Sequence[PlannedSong], quality: str) -> tuple[float, int]:
    """By how much finished songs took longer than the model says, and how many there are."""
    ratios = [
        s.times.cpu_s / model_cpu_s(audio_s=s.audio_s, tracks=s.tracks, quality=quality)
        for p in planned
        if (s := p.status) is not None
        and s.state == "done"
        and s.quality == quality
        # One that was gone on with does not tell what the whole of it takes.
        and len(s.attempts) == 1
        and s.times.cpu_s > 0.0
    ]
    return (statistics.median(ratios), len(ratios)) if ratios else (1.0, 0)
