"""Gives memory that is no longer used back to the system; nothing else lives here."""

from __future__ import annotations

import ctypes
import sys

#: Steps of a fit, or trials while pruning, between two calls; a call costs about a tenth of a step.
RELEASE_EVERY = 4


def release_unused() -> None:
    """Return free heap pages to the system (Linux with glibc; elsewhere nothing happens).

    Every step allocates and frees some gigabytes in pieces of many sizes. glibc keeps what is freed,
    in fragments: without this a search grows by 20 to 40 MB a step until it holds three times
    what it needs.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return
