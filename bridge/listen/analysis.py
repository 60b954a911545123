"""What collected ratings say: who is left out and why, means with confidence intervals; no files are written here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy.stats

from ..errors import ListenError
from .conditions import MID_ANCHOR, REFERENCE
from .ratings import Ratings, read_ratings

#: ITU-R BS.1534-3, section 4.1.2: who rates the hidden reference lower, or the mid anchor higher, in more than
#: this share of the songs, is not counted.
SCREENING_SCORE, SCREENING_SHARE = 90, 0.15

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval (t distribution); the interval needs two values."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Assessor:
    """One listener.

    Attributes
    ----------
    reference_share : float
        Share of the songs in which the hidden reference got less than 90.
    anchor_share : float or None
        Share of the songs with a mid anchor in which that got more than 90; None without such.
    excluded : str
        Why their ratings do not count; empty where they do.
    """

    name: str
    songs: int
    reference_share: float
    anchor_share: float | None
    excluded: str


@dataclass(frozen=True)
class ConditionScore:
    """One condition, in one song or in all.

    Attributes
    ----------
    song : str or None
        None for all songs.
    assessors, ratings : int
    score : Interval
        Over assessors; in all songs each counts with the mean over theirs, as ratings of one
        person are not independent.
    median, first_quartile, third_quartile : float
        Over ratings.
    difference : Interval or None
        Score less that of the hidden reference, paired by assessor; None for the reference itself.
    """

    song: str | None
    condition: str
    title: str
    assessors: int
    ratings: int
    score: Interval
    median: float
    first_quartile: float
    third_quartile: float
    difference: Interval | None


@dataclass(frozen=True)
class ListenResults:
    """All that is said about a test."""

    test: str
    title: str
    assessors: tuple[Assessor, ...]
    scores: tuple[ConditionScore, ...]

    def to_json(self) -> dict[str, object]:
        """What ``listen-results --json`` prints."""
        return asdict(self)


def analyse_files(paths: Iterable[Path], *, screening: bool = True) -> ListenResults:
    """Read collected files and analyse them.

    Raises
    ------
    ListenError
        If a file is no result, files are of different tests, a listener comes twice, or nobody is left.
    """
    collected: dict[str, tuple[Path, Ratings]] = {}
    for path in paths:
        for ratings in read_ratings(path):
            name = ratings.participant
            if name in collected:
                raise ListenError(f"{path}: {name!r} is in {collected[name][0]}, too; leave one of them out")
            other = next(iter(collected.values()), None)
            if other is not None and other[1].test.id != ratings.test.id:
                raise ListenError(f"{path}: belongs to another test than {other[0]}; analyse them apart")
            collected[name] = (path, ratings)
    for path, ratings in collected.values():
        for song in ratings.songs:
            if REFERENCE not in {rating.condition for rating in song.ratings}:
                raise ListenError(
                    f"{path}: {song.song}: the hidden reference has no rating; download the results again"
                )
    return analyse([ratings for _, ratings in collected.values()], screening=screening)


def analyse(collected: Sequence[Ratings], *, screening: bool = True) -> ListenResults:
    """Screen the listeners and describe every condition.

    Parameters
    ----------
    collected : sequence of Ratings
        One per listener, of one test.
    screening : bool
        Leave out who does not recognise the hidden reference, ITU-R BS.1534-3, section 4.1.2.

    Raises
    ------
    ListenError
        If nobody is left.
    """
    assessors = tuple(_assessor(ratings, screening=screening) for ratings in collected)
    kept = [ratings for ratings, assessor in zip(collected, assessors, strict=True) if not assessor.excluded]
    if not kept:
        names = ", ".join(f"{a.name} ({a.excluded})" for a in assessors)
        raise ListenError(f"nobody is left after screening: {names or 'no listeners'}; --no-screening keeps them")
    titles = {r.condition: r.title for ratings in kept for song in ratings.songs for r in song.ratings}
    songs = sorted({song.song for ratings in kept for song in ratings.songs})
    scores = [_described(_table(kept, song), titles, song) for song in (None, *songs)]
    return ListenResults(kept[0].test.id, kept[0].test.title, assessors, tuple(row for rows in scores for row in rows))


def interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Mean of at least one value, and ``mean -+ t s / sqrt(n)`` with Student's t of n - 1 degrees of freedom."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Interval(mean, None, None)
    t = float(scipy.stats.t.ppf(0.5 * (1.0 + confidence), count - 1))
    half = t * float(np.std(values, ddof=1)) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def _assessor(ratings: Ratings, *, screening: bool) -> Assessor:
    by_condition = {
        condition: [r.score for song in ratings.songs for r in song.ratings if r.condition == condition]
        for condition in (REFERENCE, MID_ANCHOR)
    }
    reference, middle = by_condition[REFERENCE], by_condition[MID_ANCHOR]
    low = sum(score < SCREENING_SCORE for score in reference) / max(len(reference), 1)
    high = sum(score > SCREENING_SCORE for score in middle) / len(middle) if middle else None
    reason = ""
    if screening and low > SCREENING_SHARE:
        reason = f"hidden reference below {SCREENING_SCORE} in {low:.0%} of the songs"
    elif screening and high is not None and high > SCREENING_SHARE:
        reason = f"mid anchor above {SCREENING_SCORE} in {high:.0%} of the songs"
    return Assessor(ratings.participant, len(ratings.songs), low, high, reason)


#: Scores of each condition, by listener, each with that of the hidden reference of the same song.
_Table = Mapping[str, Mapping[str, Sequence[tuple[int, int]]]]


def _table(kept: Sequence[Ratings], wanted: str | None) -> _Table:
    table: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for ratings in kept:
        for song in ratings.songs:
            if wanted not in (None, song.song):
                continue
            reference = next(rating.score for rating in song.ratings if rating.condition == REFERENCE)
            for rating in song.ratings:
                pairs = table.setdefault(rating.condition, {}).setdefault(ratings.participant, [])
                pairs.append((rating.score, reference))
    return table


def _described(table: _Table, titles: Mapping[str, str], song: str | None) -> list[ConditionScore]:
    """Every condition, best first."""
    rows = []
    for condition, by_listener in table.items():
        means = [float(np.mean([score for score, _ in pairs])) for pairs in by_listener.values()]
        away = [float(np.mean([score - reference for score, reference in pairs])) for pairs in by_listener.values()]
        every = [score for pairs in by_listener.values() for score, _ in pairs]
        low, middle, high = (float(q) for q in np.percentile(every, (25.0, 50.0, 75.0)))
        rows.append(
            ConditionScore(
                song=song,
                condition=condition,
                title=titles[condition],
                assessors=len(means),
                ratings=len(every),
                score=interval(means),
                median=middle,
                first_quartile=low,
                third_quartile=high,
                difference=None if condition == REFERENCE else interval(away),
            )
        )
    return sorted(rows, key=lambda row: (-row.score.mean, row.condition))
