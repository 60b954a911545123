"""Ticks of axes over time and frequency; what stands on the axes belongs to the neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .words import frequency_text

_TICKS_HZ = (50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)
_TIME_STEPS_S = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 1800.0),
)
_MOST_TIME_TICKS = 6


@dataclass(frozen=True)
class Tick:
    """A number beside an axis, `at` percent of its length."""

    at: float
    text: str


def clock(time_s: float) -> str:
    """A time as a player shows it, such as "2:05"; below a second in milliseconds."""
    if time_s < 1.0:
        return f"{max(round(1000.0 * time_s), 1 if time_s > 0 else 0)} ms"
    minutes, seconds = divmod(round(time_s), 60)
    return f"{minutes}:{seconds:02d}"


def _short(time_s: float, step_s: float) -> str:
    """A time between others that are `step_s` apart."""
    return f"{time_s:.1f} s" if time_s >= 1.0 > step_s else clock(time_s)


def frequency_ticks(low_hz: float, high_hz: float) -> list[Tick]:
    """Ticks of a logarithmic axis."""
    octaves = math.log(high_hz / low_hz)
    return [
        Tick(100.0 * math.log(f / low_hz) / octaves, frequency_text(f).replace(" kHz", "k").replace(" Hz", ""))
        for f in _TICKS_HZ
        if low_hz < f < high_hz
    ]


def time_ticks(duration_s: float) -> list[Tick]:
    """Ticks from 0 on, at most seven."""
    step = next((s for s in _TIME_STEPS_S if duration_s / s <= _MOST_TIME_TICKS), duration_s / _MOST_TIME_TICKS)
    if step <= 0.0:
        return [Tick(0.0, "0")]
    count = int(duration_s / step + 1e-9)
    return [Tick(100.0 * k * step / duration_s, _short(k * step, step) if k else "0") for k in range(count + 1)]
