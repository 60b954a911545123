"""Pieces of a search side by side: order, gradients, exceptions and threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from mixbridge.bridge.search.workers import each, side_by_side

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_whatever_takes_longest() -> None:
    def slow_first(n: int) -> int:
        time.sleep(0.05 if n == 0 else 0.0)
        return n * n

    with side_by_side(CPU):
        assert each(slow_first, range(5)) == [0, 1, 4, 9, 16]


def test_pieces_run_at_the_same_time_on_one_torch_thread_each() -> None:
    # Passed only when two pieces wait for each other.
    meeting = threading.Barrier(2, timeout=10.0)

    def meet(_: int) -> int:
        meeting.wait()
        return torch.get_num_threads()

    with side_by_side(CPU):
        assert each(meet, range(2)) == [1, 1]
    assert torch.get_num_threads() == 2


def test_pieces_keep_gradients_as_the_caller_does() -> None:
    def kept(_: int) -> bool:
        return torch.is_grad_enabled()

    with side_by_side(CPU):
        assert each(kept, range(3)) == [True] * 3
        with torch.no_grad():
            assert each(kept, range(3)) == [False] * 3


def test_pieces_of_pieces_do_not_wait_for_each_other_for_ever() -> None:
    with side_by_side(CPU):
        assert each(lambda n: sum(each(lambda m: n * m, range(3))), range(4)) == [0, 3, 6, 9]


def test_an_exception_reaches_the_caller_and_threads_are_given_back() -> None:
    def fails(n: int) -> int:
        if n == 1:
            raise ValueError("no")
        return n

    with pytest.raises(ValueError, match="no"), side_by_side(CPU):
        each(fails, range(3))
    assert torch.get_num_threads() == 2


def test_without_threads_pieces_follow_one_another() -> None:
    here = threading.get_ident()
    assert each(lambda _: threading.get_ident(), range(3)) == [here] * 3
