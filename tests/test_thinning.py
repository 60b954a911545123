"""Breakpoints that are left out of a session: what they held is there all the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbridge.bridge.graph import PanPoint, VolumePoint, pan_positions, volume_gains
from mixbridge.exporters.thinning import TOLERANCE, thinned_pan, thinned_volume

RATE_HZ = 1000

#: Steps of a course: few of them, so that lines and held values come often; some of almost nothing.
STEPS = st.lists(st.sampled_from([0.0, 0.0, 0.05, 0.05, -0.05, 1e-9, 3e-8, -3e-8, 1e-6]), min_size=1, max_size=40)


def courses(steps: list[float]) -> np.ndarray:
    return np.clip(np.cumsum(steps), -0.9, 0.9)


@given(steps=STEPS)
@settings(max_examples=100, deadline=None)
def test_pans_stay_where_they_were(steps: list[float]) -> None:
    points = [PanPoint(time_s=0.01 * i, pan=float(p)) for i, p in enumerate(courses(steps))]
    fewer = thinned_pan(points)
    before, after = (pan_positions(p, frames=500, sample_rate_hz=RATE_HZ) for p in (points, fewer))
    assert np.abs(before - after).max() <= TOLERANCE * (1 + 1e-6)
    assert fewer[0] == points[0] and fewer[-1] == points[-1] and all(p in points for p in fewer)


@given(steps=STEPS)
@settings(max_examples=100, deadline=None)
def test_gains_stay_what_they_were(steps: list[float]) -> None:
    points = [VolumePoint(time_s=0.01 * i, gain_db=float(60.0 * p)) for i, p in enumerate(courses(steps) - 0.75)]
    before, after = (volume_gains(p, frames=500, sample_rate_hz=RATE_HZ) for p in (points, thinned_volume(points)))
    assert np.abs(after / before - 1.0).max() <= TOLERANCE * (1 + 1e-6)


def test_lines_and_held_values_need_their_ends_alone() -> None:
    pans = [0.0, 0.25, 0.5, 0.5, 0.5, -1.0]
    points = [PanPoint(time_s=float(i), pan=p) for i, p in enumerate(pans)]
    assert [p.time_s for p in thinned_pan(points)] == [0.0, 2.0, 4.0, 5.0]
    assert thinned_pan([]) == () and thinned_pan(points[:1]) == (points[0],)
    # What is quiet is as exact, in proportion, as what is loud.
    quiet = [VolumePoint(time_s=float(i), gain_db=-79.0 + g) for i, g in enumerate([0.0, 0.001, 0.0])]
    assert len(thinned_volume(quiet)) == 3
