"""Segments of a fit: complete, fair to rare stems, and the same for the same seed."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbridge.bridge.search.segments import SCORED_FRAMES, WARM_UP_FRAMES, Segments
from mixbridge.bridge.search.working_set import WorkingSet

TILES = 12


def song(playing: list[list[int]], frames: int = TILES * SCORED_FRAMES) -> WorkingSet:
    """Stems that play noise in the given tiles alone."""
    random = np.random.default_rng(0)
    stems = []
    for tiles in playing:
        stem = np.zeros((2, frames), dtype=np.float32)
        for tile in tiles:
            part = stem[:, tile * SCORED_FRAMES : (tile + 1) * SCORED_FRAMES]
            part[:] = random.standard_normal(part.shape)
        stems.append(stem)
    return WorkingSet(tuple(f"s{n}" for n in range(len(stems))), stems, np.sum(stems, axis=0, dtype=np.float32))


def test_one_pass_hears_the_whole_song() -> None:
    starts = list(islice(Segments(song([list(range(TILES))])).starts(seed=1, stream=2), TILES))
    heard = np.zeros(TILES * SCORED_FRAMES, dtype=bool)
    for start in starts:
        heard[start + WARM_UP_FRAMES : start + WARM_UP_FRAMES + SCORED_FRAMES] = True
    # The shift leaves out at most half a tile at one end.
    assert heard.mean() > 1.0 - 0.6 / TILES


def test_a_rare_stem_is_heard_at_once() -> None:
    rare = 7
    segments = Segments(song([list(range(TILES)), [rare]]))
    for seed in range(20):
        first = next(segments.starts(seed=seed, stream=0)) + WARM_UP_FRAMES
        assert abs(first - rare * SCORED_FRAMES) <= SCORED_FRAMES / 2


def test_the_same_seed_and_stream_give_the_same_segments() -> None:
    segments = Segments(song([list(range(TILES))]))

    def first(seed: int, stream: int) -> list[int]:
        return list(islice(segments.starts(seed=seed, stream=stream), 3 * TILES))

    assert first(3, 4) == first(3, 4)
    assert first(3, 4) != first(3, 5) != first(4, 4)


@given(frames=st.integers(1, 5 * SCORED_FRAMES), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_segments_stay_within_the_song(frames: int, seed: int) -> None:
    mix = np.ones((2, frames), dtype=np.float32)
    for start in islice(Segments(WorkingSet(("a",), [mix], mix)).starts(seed=seed, stream=0), 20):
        assert -WARM_UP_FRAMES <= start <= max(frames - SCORED_FRAMES, 0) - WARM_UP_FRAMES


@pytest.mark.parametrize("playing", [[[]], [[], [1]]])
def test_silent_stems_do_no_harm(playing: list[list[int]]) -> None:
    assert len(list(islice(Segments(song(playing)).starts(seed=0, stream=0), 40))) == 40
