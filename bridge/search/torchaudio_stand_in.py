"""Lets grafx be imported where torchaudio is not installed; nothing else lives here.

grafx 0.6 imports torchaudio in one module of recursive filters that the search never calls, and
torchaudio has no build for every torch build. Where the real one works it is left alone.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any


def ensure_torchaudio() -> None:
    """Register a stand-in for `torchaudio` if the real one cannot be imported."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        stand_in = types.ModuleType("torchaudio")
        functional = types.ModuleType("torchaudio.functional")

        def lfilter(*arguments: Any, **settings: Any) -> Any:
            """Refuse: only grafx's own recursive filters, which are not used here, call it."""
            raise ImportError("torchaudio is not installed; grafx's recursive filters need it")

        # grafx warns about versions below 2.4.0, which have a slower filter.
        vars(functional)["lfilter"] = lfilter
        vars(stand_in).update(__version__="2.4.0", functional=functional)
        sys.modules["torchaudio"] = stand_in
        sys.modules["torchaudio.functional"] = functional
