"""Runs independent pieces of a search side by side on the cores of the machine; what they are is not known here.

The operations of a search are too short to be split over threads: with two of them a step takes as
long as with one, and more energy. Whole windows of the song are not, and keep every core busy. Each
piece runs on one thread, and results come in order, so that they do not depend on the number of cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

_T = TypeVar("_T")
_R = TypeVar("_R")

#: None: one piece after the other. Threads of the pool do not see it, so pieces of pieces wait their turn.
_POOL: ContextVar[ThreadPoolExecutor | None] = ContextVar("pool", default=None)


@contextmanager
def side_by_side(device: torch.device) -> Iterator[None]:
    """Let `each` use as many threads as torch was given; meanwhile torch and BLAS have one in each.

    Devices other than the CPU run many operations at once by themselves.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            if threads == 1 or device.type != "cpu":
                yield
                return
            with ThreadPoolExecutor(threads, thread_name_prefix="search") as pool:
                token = _POOL.set(pool)
                try:
                    yield
                finally:
                    _POOL.reset(token)
    finally:
        torch.set_num_threads(threads)


def each(function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """Results of a function for all items, in their order; the first exception is raised."""
    todo, pool = list(items), _POOL.get()
    if pool is None or len(todo) < 2:
        return [function(item) for item in todo]
    gradients = torch.is_grad_enabled()

    def piece(item: _T) -> _R:
        # Whether gradients are kept is a matter of every thread by itself.
        with torch.set_grad_enabled(gradients):
            return function(item)

    return list(pool.map(piece, todo))
