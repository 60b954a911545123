"""A real Chromium without a window, for the pages we write; what the pages are to do is for their own tests.

A page opened here may neither ask the network for anything nor complain in its console: both fail the test.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: Where screenshots are kept: beside the checkout's other builds, and not in git.
SCREENSHOTS = Path(__file__).resolve().parent.parent / "build" / "screenshots"

DESKTOP, PHONE = (1280, 900), (390, 844)

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# Root may not have the sandbox; sound plays into nothing, as fast as real sound would.
FLAGS = ("--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage", "--disable-gpu")


@contextmanager
def running_chromium() -> Iterator[Any]:
    """A browser of Playwright's; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no Chromium here (looked for {', '.join(PROGRAMS)})")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Opener:
    """Opens pages and remembers what they did that they must not do."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self._contexts: list[Any] = []
        self.problems: list[str] = []

    def __call__(self, path: Path, *, size: tuple[int, int] = DESKTOP, dark: bool = False, **options: Any) -> Any:
        """A loaded page; options go to Playwright's `new_context`."""
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            **options,
        )
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self._requested)
        page.goto(path.resolve().as_uri())
        return page

    def _requested(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.problems.append(f"asked the network for {request.url}")

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@contextmanager
def pages(browser: Any) -> Iterator[Opener]:
    """An opener whose pages must have behaved when the block ends."""
    opener = Opener(browser)
    try:
        yield opener
    finally:
        opener.close()
    assert not opener.problems, "\n".join(opener.problems)


def keep_screenshot(page: Any, name: str, *, whole: bool = True) -> Path:
    """Save a picture of the page as `name`.png among the screenshots."""
    path = SCREENSHOTS / f"{re.sub(r'[^a-z0-9-]+', '-', name.lower())}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(path), full_page=whole)
    return path


def until(page: Any, script: str, *, within_s: float = 10.0) -> None:
    """Wait until a script says true; Playwright's own way evaluates text in the page, which our pages forbid."""
    for _ in range(round(within_s / 0.05)):
        if page.evaluate(script):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {script}")


def sideways_px(page: Any) -> int:
    """By how many pixels the page is wider than its window."""
    script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(page.evaluate(script))


OpenPage = Callable[..., Any]
