"""Runs the stages of a profile through the plugin pool; what the stages are is said by `suites`."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import soundfile

from ..errors import PluginNotFoundError
from ..files import whole_file
from ..suites import Stage
from .pool import PluginPool, PluginRef, PluginSettings
from .registry import find_plugin
from .stereo import render_stereo


class StageRunner:
    """Callable ``(stage, audio, sample_rate_hz) -> audio``; a context manager, safe to use from many threads.

    Parameters
    ----------
    pool : PluginPool
    """

    def __init__(self, pool: PluginPool) -> None:
        self._pool = pool
        self._folder = tempfile.TemporaryDirectory(prefix="mixbridge-responses-")

    def __call__(self, stage: Stage, audio: npt.ArrayLike, sample_rate_hz: float) -> npt.NDArray[np.float32]:
        """Run one VST3 or built-in stage over audio of shape (2, n).

        Raises
        ------
        PluginNotFoundError
            When the plugin is not on this machine, or the stage is none of a plugin.
        PluginError
            As `PluginPool.render`.
        """
        strings = {key: str(self._written(response, sample_rate_hz)) for key, response in stage.files.items()}
        settings = PluginSettings(values=stage.values, strings=strings)
        return render_stereo(self._pool, plugin_of(stage), settings, audio, sample_rate_hz=sample_rate_hz)

    def _written(self, response: npt.NDArray[np.float64], sample_rate_hz: float) -> Path:
        samples = np.ascontiguousarray(response.T, dtype=np.float32)
        # Named by what is in it: plugins may keep a file they have loaded under its path.
        digest = hashlib.sha256(samples.tobytes() + str(sample_rate_hz).encode("ascii")).hexdigest()[:32]
        path = Path(self._folder.name) / f"{digest}.wav"
        if not path.exists():
            with whole_file(path) as temporary:
                soundfile.write(temporary, samples, round(sample_rate_hz), subtype="FLOAT")
        return path

    def close(self) -> None:
        """Remove the files that were written for plugins."""
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def plugin_of(stage: Stage) -> PluginRef:
    """The plugin of a stage, as it lies on this machine.

    Raises
    ------
    PluginNotFoundError
        When it does not, or the stage is none of a plugin.
    """
    if stage.plugin is None or stage.kind not in ("vst3", "builtin"):
        raise PluginNotFoundError(f"{stage.kind}: is no plugin; it is run elsewhere")
    if stage.kind == "builtin":
        return PluginRef(name=stage.plugin.name)
    return find_plugin(class_id=stage.plugin.class_id, name=stage.plugin.name, bundle=stage.plugin.bundle)
