"""Signals, random settings and null depth, shared by the tests."""

from __future__ import annotations

import numpy as np

from mixbridge.bridge.processors.specs import ProcessorSpec

RATES_HZ = (44100, 48000, 96000)


def programme(*, seconds: float, rate_hz: int = 44100, seed: int = 1) -> np.ndarray:
    """Stereo noise bursts with a tone, moving level: gives dynamics something to do. Shape (2, n)."""
    random = np.random.default_rng(seed)
    n = int(seconds * rate_hz)
    time_s = np.arange(n) / rate_hz
    burst = np.exp(-8.0 * (time_s % 0.31)) + 0.02
    tone = np.sin(2 * np.pi * 220.0 * time_s) * (0.5 + 0.5 * np.sin(2 * np.pi * 0.7 * time_s))
    return 0.3 * burst * random.standard_normal((2, n)) + 0.2 * tone


def random_parameters(spec: ProcessorSpec, random: np.random.Generator) -> dict[str, float]:
    """Settings drawn over the whole range of every parameter, logarithmic where the range is."""
    values = {}
    for p in spec.parameters:
        share = random.random()
        if p.scale == "log":
            values[p.name] = float(p.minimum * (p.maximum / p.minimum) ** share)
        else:
            values[p.name] = float(p.minimum + (p.maximum - p.minimum) * share)
    return values


def null_db(found: np.ndarray, expected: np.ndarray) -> float:
    """Energy of the difference relative to the expected signal, in dB."""
    error = float(np.sum((np.asarray(found) - expected) ** 2))
    return 10.0 * np.log10(error / float(np.sum(np.asarray(expected) ** 2)) + 1e-32)
