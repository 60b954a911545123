"""Impulse responses as files that say which reverb made them, so that the reverb can be had back from the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .audio import probe, read_audio, read_comment, write_wav
from .errors import PluginSettingError
from .null_test import null_depth_db
from .processors.laws import law_of
from .processors.specs import REVERB
from .profiles import reverb_response

#: How a comment of ours begins, as a key of JSON.
_MARK = "mixbridge reverb"

#: A file differs from what its comment says by no more (dB): single precision comes to about -140 dB.
SAME_RESPONSE_DB = -100.0

#: The level is the plugin's; a response is at 0 dB.
_LEVEL = "level_db"


@dataclass(frozen=True)
class Response:
    """The impulse response of a reverb.

    Attributes
    ----------
    samples : array, shape=(2, n)
    parameters : mapping of str to float
        Those of the reverb it is of.
    law : str
        Key of `laws.LAWS`.
    """

    samples: npt.NDArray[np.float64]
    parameters: Mapping[str, float]
    law: str = ""

    def save(self, path: Path, *, sample_rate_hz: int) -> None:
        """Write a WAV file of 32-bit floats whose comment holds law and parameters."""
        without_level = {name: value for name, value in self.parameters.items() if name != _LEVEL}
        comment = json.dumps({_MARK: self.law, **without_level})
        write_wav(path, self.samples, sample_rate_hz=sample_rate_hz, comment=comment)


def load_response(path: Path) -> Response:
    """Read the impulse response of a reverb of ours, and which reverb it is of.

    Parameters
    ----------
    path : Path
        Written by `Response.save`. The level of its parameters is 0 dB.

    Raises
    ------
    AudioFileError, AudioContentError
        If the file is missing or cannot be used.
    PluginSettingError
        If it is another response: not ours, or no longer what its comment says.
    """
    info, samples = probe(path), read_audio(path).astype(np.float64)
    try:
        told = json.loads(read_comment(path))
        law = law_of(told.pop(_MARK), REVERB.type).name
        parameters = REVERB.check({**told, _LEVEL: 0.0})
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise PluginSettingError(
            f"{path}: does not say which reverb of ours it is; choose the file of the export again or bypass the plugin"
        ) from None
    made = reverb_response(parameters, sample_rate_hz=info.sample_rate_hz, law=law)
    if made.shape != samples.shape or null_depth_db(samples, made) > SAME_RESPONSE_DB:
        raise PluginSettingError(
            f"{path}: is no longer the response that was exported; export the session again or bypass the plugin"
        )
    return Response(samples, parameters, law)
