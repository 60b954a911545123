"""What the browser fixture promises: pages that misbehave do not pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .browser import Opener, pages


def opened(chromium: Any, tmp_path: Path, body: str) -> Opener:
    path = tmp_path / "page.html"
    path.write_text(f"<!DOCTYPE html><title>t</title><link rel=icon href=data:,>{body}")
    with pages(chromium) as opener:
        opener(path).wait_for_timeout(100)
    return opener


def test_a_page_that_behaves_passes(chromium: Any, tmp_path: Path) -> None:
    assert opened(chromium, tmp_path, "<p>fine</p>").problems == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<script>console.error('broken')</script>", "broken"),
        ("<script>nothing.there()</script>", "nothing is not defined"),
        ("<img src='http://127.0.0.1:9/a.png'>", "asked the network for http://127.0.0.1:9/a.png"),
    ],
    ids=["complains", "throws", "asks the network"],
)
def test_a_page_that_misbehaves_fails(chromium: Any, tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        opened(chromium, tmp_path, body)
