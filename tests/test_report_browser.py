"""The report in a real browser: it loads without asking for anything, plays, switches, zooms, and fits its window."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .browser import DESKTOP, PHONE, Opener, keep_screenshot, sideways_px, until
from .report_pages import SECONDS, band_graph, band_report

NULL_INDEX = 2


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return band_report(tmp_path_factory.mktemp("report") / "report.html")


def places_s(page: Any) -> list[float]:
    return list(page.evaluate("[...document.querySelectorAll('audio')].map((a) => a.currentTime)"))


def pressed(page: Any, selector: str) -> list[str]:
    return [b.inner_text().strip() for b in page.query_selector_all(f"{selector}[aria-pressed=true]")]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_its_window_and_all_pictures_are_there(
    open_page: Opener, report: Path, size: tuple[int, int], dark: bool
) -> None:
    page = open_page(report, size=size, dark=dark)
    assert sideways_px(page) <= 0
    assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    keep_screenshot(page, f"report-{size[0]}-{'dark' if dark else 'light'}")


def test_all_players_run_together_and_switch_without_losing_the_place(open_page: Opener, report: Path) -> None:
    page = open_page(report)
    page.get_by_role("button", name="Play").click()
    until(page, "document.querySelector('audio').currentTime > 0.6")
    for key in ("2", "4", "1"):
        before = max(places_s(page))
        page.keyboard.press(key)
        found = places_s(page)
        assert min(found) >= before - 0.05, "a player fell back"
        assert max(found) - min(found) < 0.1, "the players are apart"
    assert page.evaluate("player.soundsMixed()")
    page.keyboard.press("2")
    assert "Match" in pressed(page, "[data-select]")[0]
    page.get_by_role("button", name="Pause").click()
    stopped = places_s(page)
    page.wait_for_timeout(150)
    assert places_s(page) == stopped


def test_a_click_on_a_picture_over_time_goes_there(open_page: Opener, report: Path) -> None:
    page = open_page(report)
    for canvas in ("#spectrograms [data-canvas]", ".figure-reduction [data-canvas]"):
        box = page.locator(canvas).first
        box.scroll_into_view_if_needed()
        size = box.bounding_box()
        box.click(position={"x": 0.5 * size["width"], "y": 10})
        assert places_s(page)[0] == pytest.approx(0.5 * SECONDS, abs=0.05)
        page.evaluate("document.querySelectorAll('audio').forEach((a) => { a.currentTime = 0; })")


def test_loudness_is_matched_and_the_null_is_told_apart(open_page: Opener, report: Path) -> None:
    page = open_page(report)
    gains_db = page.evaluate("[...document.querySelectorAll('audio')].map((a) => Number(a.dataset.gain))")
    # The real render is the match at 0.9: it is the quietest, and the match is brought down to it.
    assert gains_db[3] == 0.0 and gains_db[1] == pytest.approx(-0.915, abs=0.02)
    assert gains_db[NULL_INDEX] == 0.0
    assert page.get_by_label("Same loudness").is_checked()


def test_a_blind_test_counts_and_says_how_far_guessing_gets(open_page: Opener, report: Path) -> None:
    page = open_page(report)
    page.get_by_role("button", name="Blind test").click()
    page.evaluate("() => { crypto.getRandomValues = (array) => { array[0] = 1; return array; }; }")
    page.get_by_role("button", name="Start again").click()
    page.get_by_role("button", name="Hear X").click()
    assert pressed(page, "[data-select]") == [], "a button tells what X is"
    score = page.locator("[data-score]")
    for _ in range(4):
        page.get_by_role("button", name="X is A").click()
    assert score.inner_text() == "4 of 4 right; guessing does as well in 6 % of cases."
    page.get_by_role("button", name="X is B").click()
    assert score.inner_text() == "4 of 5 right; guessing does as well in 19 % of cases."
    page.get_by_role("button", name="Start again").click()
    assert score.inner_text() == "No answer yet."


def test_the_drawing_zooms_tells_settings_and_shows_one_channel_alone(open_page: Opener, report: Path) -> None:
    page = open_page(report)
    graph = page.locator("[data-graph]")
    whole = graph.get_attribute("viewBox")
    page.get_by_role("button", name="Zoom in").click()
    assert float(graph.get_attribute("viewBox").split()[2]) < float(whole.split()[2])
    page.get_by_role("button", name="Fit").click()
    assert [float(v) for v in graph.get_attribute("viewBox").split()] == [float(v) for v in whole.split()]
    tip = page.locator("[data-tooltip]")
    page.locator(".box.type-compressor").first.hover()
    assert "threshold -24 dB, ratio 4:1" in tip.inner_text()
    assert page.locator(".wire.lit").count() >= 2
    keep_screenshot(page, "report-tip", whole=False)
    page.locator("[data-channel]", has_text="Kick").click()
    alone = [a.inner_text() for a in page.query_selector_all("article.card h4") if a.is_visible()]
    assert len(alone) == 1 and alone[0].startswith("Kick")
    shown = [row.inner_text() for row in page.query_selector_all(".nodes tbody tr") if row.is_visible()]
    assert len(shown) == 1 and "Kick" in shown[0]
    keep_screenshot(page, "report-alone", whole=False)
    page.keyboard.press("Escape")
    visible = [a for a in page.query_selector_all("article.card") if a.is_visible()]
    assert len(visible) == len(list(band_graph().channels()))


def test_the_drawing_can_be_used_with_the_keyboard_alone(open_page: Opener, report: Path) -> None:
    page = open_page(report)
    page.locator("[data-stage]").focus()
    page.keyboard.press("+")
    page.keyboard.press("Tab")
    assert "Kick" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert "EQ: high-pass 40 Hz" in page.locator("[data-tooltip]").inner_text()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    assert page.locator("[data-solo]").input_value() == "channel-0"


def test_pictures_of_match_and_real_plugins_take_turns(open_page: Opener, report: Path) -> None:
    page = open_page(report)
    seen = [p.inner_text() for p in page.query_selector_all(".plot figcaption") if p.is_visible()]
    assert seen == ["Target, mid", "Target, side", "Match, mid", "Match, side", "Error of match, mid",
                    "Error of match, side"]  # fmt: skip
    page.locator("[data-picture=real1]").click()
    seen = [p.inner_text() for p in page.query_selector_all(".plot figcaption") if p.is_visible()]
    assert "Error of real plugins, side" in seen and "Match, mid" not in seen


def test_the_sheet_is_copied_and_saved_as_markdown(open_page: Opener, report: Path) -> None:
    page = open_page(report, permissions=["clipboard-read", "clipboard-write"], accept_downloads=True)
    page.get_by_role("button", name="Copy as Markdown").click()
    until(page, "document.querySelector('[data-copy]').textContent === 'Copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as Markdown").click()
    assert Path(download.value.path()).read_text(encoding="utf-8") == copied
    assert "## Kick (track) → Drums" in copied and "| Comp | Threshold | -24 dB |" in copied


def test_on_paper_the_sheet_stands_alone_and_the_page_has_no_controls(
    open_page: Opener, report: Path, tmp_path: Path
) -> None:
    page = open_page(report, dark=True)
    page.emulate_media(media="print")
    assert not page.locator("[data-transport]").is_visible()
    assert page.locator("#spectrograms").is_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    page.evaluate("document.documentElement.classList.add('sheet-only')")
    assert page.locator("#sheet").is_visible() and not page.locator("#spectrograms").is_visible()
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF") and 1 <= len(re.findall(rb"/Type ?/Page\b", pdf)) <= 4
