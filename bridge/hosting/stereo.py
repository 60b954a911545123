"""Stereo audio through any effect: a mono plugin runs as two instances with the same settings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import PluginRefusalError
from .pool import PluginPool
from .refs import BLOCK_FRAMES, PluginRef, PluginSettings


def render_stereo(
    pool: PluginPool,
    plugin: PluginRef,
    settings: PluginSettings,
    audio: npt.ArrayLike,
    *,
    sample_rate_hz: float,
    block_frames: int = BLOCK_FRAMES,
) -> npt.NDArray[np.float32]:
    """Run stereo audio through a plugin; the two instances of a mono one hear one channel each.

    A mono plugin that listens to its level is therefore not linked, as in a DAW.

    Parameters
    ----------
    audio : array, shape=(2, n)

    Returns
    -------
    array of float32, shape=(2, n)

    Raises
    ------
    PluginError
        As `PluginPool.render`.
    """
    samples = np.asarray(audio, dtype=np.float32)
    try:
        return pool.render(plugin, settings, samples, sample_rate_hz=sample_rate_hz, block_frames=block_frames)
    except PluginRefusalError:
        # Asked only now: describing a plugin costs as much as loading it, and most are stereo.
        if pool.describe(plugin).channels != (1,):
            raise
    sides = [
        pool.submit(plugin, settings, side[None], sample_rate_hz=sample_rate_hz, block_frames=block_frames)
        for side in samples
    ]
    return np.concatenate([side.result() for side in sides])
