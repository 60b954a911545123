"""Listening tests: what goes into the page, what listeners do with it in Chromium, and what their ratings say."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mixbridge.bridge.errors import EXIT_OK, EXIT_USER_ERROR, ListenError, OutputError
from mixbridge.bridge.features import integrated_loudness_lufs, true_peak_db
from mixbridge.bridge.graph import MixGraph
from mixbridge.bridge.listen.analysis import analyse, analyse_files, interval
from mixbridge.bridge.listen.conditions import ANCHOR_CUTOFFS_HZ, anchor
from mixbridge.bridge.listen.excerpt import representative_start
from mixbridge.bridge.listen.page import SCALE, make_listening_test
from mixbridge.bridge.listen.ratings import RatedSong, Rating, Ratings, TestInfo, read_ratings
from mixbridge.bridge.listen.songs import HIGHEST_PEAK_DB, ListenSettings, read_trial
from mixbridge.cli import app

from .browser import DESKTOP, PHONE, OpenPage, keep_screenshot, sideways_px
from .listening import RATE_HZ, make_folder, rated

SHORT = ListenSettings(length_s=2.0, mid_anchor=True, plain_sum=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    parent = tmp_path_factory.mktemp("songs")
    return [make_folder(parent, name, seed=i) for i, name in enumerate(("First <b>", "Zweites Stück"))]


@pytest.fixture(scope="module")
def page(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "listen.html"
    return make_listening_test(folders, out, settings=SHORT).path


def contents(page: Path) -> tuple[dict[str, Any], list[list[str]]]:
    """The key and the sounds inside a page."""
    html = page.read_text(encoding="utf-8")
    key, sounds = (re.search(rf"data-{name}>(.*?)</script>", html, re.DOTALL) for name in ("key", "sounds"))
    assert key is not None and sounds is not None
    return json.loads(base64.b64decode(key[1])), json.loads(sounds[1])


# ------------------------------------------------------------------------------- what is played


@pytest.mark.parametrize("cutoff_hz", ANCHOR_CUTOFFS_HZ.values())
@pytest.mark.parametrize("rate_hz", [44100, 48000, 96000])
def test_anchors_keep_to_the_recommendation(cutoff_hz: float, rate_hz: int) -> None:
    """ITU-R BS.1534-3 for 3.5 kHz: within 0.1 dB below, 25 dB down at 4 kHz and 50 dB at 4.5 kHz."""
    impulse = np.zeros((2, rate_hz))
    impulse[:, rate_hz // 2] = 1.0
    response = np.fft.rfft(anchor(impulse, cutoff_hz=cutoff_hz, sample_rate_hz=rate_hz)[0])
    with np.errstate(divide="ignore"):
        level_db = 20.0 * np.log10(np.abs(response))
    assert np.abs(level_db[: int(cutoff_hz)]).max() < 0.1
    assert level_db[int(cutoff_hz * 8 / 7) :].max() < -25.0 and level_db[int(cutoff_hz * 9 / 7) :].max() < -50.0
    # Without delay: the response is that of the impulse, real and positive where it passes.
    turned = response * np.exp(2j * np.pi * 0.5 * np.arange(len(response)))
    np.testing.assert_allclose(turned[: int(cutoff_hz)].imag, 0.0, atol=1e-6)


def test_a_signal_shorter_than_the_filter_keeps_its_length() -> None:
    assert anchor(np.ones((2, 50)), cutoff_hz=3500.0, sample_rate_hz=96000).shape == (2, 50)


def test_the_excerpt_is_the_part_that_sounds_like_the_whole() -> None:
    noise = 0.1 * np.random.default_rng(1).standard_normal((2, 16 * RATE_HZ))
    tone = np.sin(2.0 * np.pi * 3000.0 * np.arange(noise.shape[1]) / RATE_HZ)
    inside = np.zeros(noise.shape[1], dtype=bool)
    inside[6 * RATE_HZ : 10 * RATE_HZ] = True
    song = np.where(inside, [0.3 * tone, 0.0 * tone], noise)
    # A quarter of the song is the tone of one side: so is a quarter of the excerpt.
    start = representative_start(song, length_s=4.0, sample_rate_hz=RATE_HZ) / RATE_HZ
    assert start in (3.0, 9.0)
    assert representative_start(song, length_s=60.0, sample_rate_hz=RATE_HZ) == 0
    assert representative_start(0.0 * song, length_s=4.0, sample_rate_hz=RATE_HZ) == 0


def test_a_trial_holds_every_condition_at_one_loudness(folders: list[Path]) -> None:
    trial = read_trial(folders[0], SHORT)
    names = [sound.condition for sound in trial.sounds]
    assert names == ["reference", "match", "real", "plain-sum", "low-anchor", "mid-anchor"] and not trial.notes
    for sound in trial.sounds:
        loudness = integrated_loudness_lufs(sound.audio, sample_rate_hz=RATE_HZ)
        assert loudness == pytest.approx(trial.loudness_lufs, abs=0.01)
        assert true_peak_db(sound.audio, sample_rate_hz=RATE_HZ) <= HIGHEST_PEAK_DB + 0.01
        assert sound.audio.shape == (2, 2 * RATE_HZ) and abs(sound.audio[:, [0, -1]]).max() < 1e-4
    gains = {sound.condition: sound.gain_db for sound in trial.sounds}
    assert gains["match"] - gains["reference"] == pytest.approx(6.02, abs=0.01)
    # The real render is late by ten samples in its file, and back in place here: a scaled reference.
    reference, real = trial.sounds[0].audio, trial.sounds[2].audio
    np.testing.assert_allclose(real, reference, atol=1e-4)


def test_loudness_gives_way_to_peaks(folders: list[Path]) -> None:
    trial = read_trial(folders[0], ListenSettings(length_s=2.0, loudness_lufs=-5.0))
    peaks = [true_peak_db(sound.audio, sample_rate_hz=RATE_HZ) for sound in trial.sounds]
    assert trial.loudness_lufs < -5.0 and max(peaks) == pytest.approx(HIGHEST_PEAK_DB, abs=0.05)


def test_several_sessions_are_told_apart_and_none_is_said(tmp_path: Path) -> None:
    two = read_trial(make_folder(tmp_path, "two", real=2), SHORT)
    assert [s.condition for s in two.sounds][2:4] == ["real-session0", "real-session1"]
    none = read_trial(make_folder(tmp_path, "none", real=0), SHORT)
    assert "real" not in {s.condition for s in none.sounds} and "mixbridge verify" in none.notes[0]


def test_a_missing_stem_costs_only_the_plain_sum(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "song")
    (tmp_path / "song stems" / "b.wav").unlink()
    trial = read_trial(folder, SHORT)
    assert "plain-sum" not in {s.condition for s in trial.sounds} and "b.wav" in trial.notes[0]


def test_the_mix_may_have_moved(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "song")
    moved = tmp_path / "mixes"
    moved.mkdir()
    (tmp_path / "song.wav").rename(moved / "song.wav")
    with pytest.raises(ListenError, match="--mix"):
        read_trial(folder, SHORT)
    for path in (moved, moved / "song.wav"):
        assert read_trial(folder, ListenSettings(length_s=2.0, mix_path=path)).song == "song"


# ------------------------------------------------------------------------------------- the page


def test_the_page_holds_every_sound_and_does_not_say_which_is_which(page: Path, folders: list[Path]) -> None:
    html = page.read_text(encoding="utf-8")
    for word in ("match", "anchor", "plugins", "plain", "Zweites"):
        assert word not in html.partition("<style>")[0] + html.partition("</style>")[2].partition("<script")[0]
        assert word not in html.partition("data-key")[2].partition("<script>")[0]
    key, sounds = contents(page)
    assert [song["song"] for song in key["songs"]] == ["First <b>", "Zweites Stück"]
    for song, files, folder in zip(key["songs"], sounds, folders, strict=True):
        trial = read_trial(folder, SHORT)
        assert song["sounds"][song["reference"]]["condition"] == "reference"
        for told, file in zip(song["sounds"], files, strict=True):
            audio, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(file)))
            meant = next(s.audio for s in trial.sounds if s.condition == told["condition"])
            assert rate_hz == RATE_HZ and np.abs(audio.T - meant).max() < 2.5 / 32768


def test_the_same_seed_makes_the_same_page(page: Path, folders: list[Path], tmp_path: Path) -> None:
    same = make_listening_test(folders, tmp_path / "same.html", settings=SHORT)
    assert same.path.read_bytes() == page.read_bytes()
    other = make_listening_test(folders, tmp_path, settings=ListenSettings(length_s=2.0, seed=1))
    assert other.path == tmp_path / "listen.html" and other.id != same.id
    conditions = [[s["condition"] for s in song["sounds"]] for song in contents(page)[0]["songs"]]
    assert conditions[0] != conditions[1] or conditions[0][0] != "reference"


def test_high_rates_are_played_at_one_that_browsers_have(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "song", seconds=2.0, real=0)
    graph = MixGraph.load(folder / "graph.json")
    graph.model_copy(update={"sample_rate_hz": 88200}).save(folder / "graph.json")
    for file in (folder / "match.wav", tmp_path / "song.wav"):
        audio, _ = soundfile.read(file)
        soundfile.write(file, audio, 88200, subtype="FLOAT")
    made = make_listening_test([folder], tmp_path / "p.html", settings=ListenSettings(length_s=1.0))
    audio, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(contents(made.path)[1][0][0])))
    assert rate_hz == 44100 and len(audio) == pytest.approx(made.trials[0].end_s * 44100, abs=1)


def test_a_page_that_is_too_large_or_there_already_is_refused(page: Path, folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="--max-mb"):
        make_listening_test(folders, tmp_path / "p.html", settings=SHORT, max_mb=0.5)
    assert not (tmp_path / "p.html").exists()
    with pytest.raises(OutputError, match="--overwrite"):
        make_listening_test(folders, page, settings=SHORT)


# ------------------------------------------------------------------------------ in a browser


def scores_of(key: dict[str, Any]) -> dict[str, int]:
    """What the listener of these tests gives each condition."""
    names = [sound["condition"] for sound in key["songs"][0]["sounds"]]
    return {name: 100 if name == "reference" else 10 * (1 + sorted(names).index(name)) for name in names}


def begin(tab: Any, name: str) -> None:
    tab.fill("#name", name)
    tab.click("[data-begin]")
    board_of(tab, "Practice")


def board_of(tab: Any, title: str) -> None:
    tab.wait_for_function("t => document.querySelector('[data-board-title]').textContent === t", arg=title)
    tab.wait_for_selector("[data-items] .item")


def letters(tab: Any) -> list[str]:
    return [button.inner_text() for button in tab.query_selector_all(".item button")]


def rate(tab: Any, values: list[int]) -> None:
    for range_, value in zip(tab.query_selector_all(".item input"), values, strict=True):
        range_.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value)


def downloaded(tab: Any, kind: str, folder: Path) -> Path:
    with tab.expect_download() as download:
        tab.click(f"[data-download={kind}]")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


#: Where the sounds are in their loop: read from the clock that the page shows.
PLACE = "Number(document.querySelector('[data-seek]').value)"


def test_a_listener_plays_switches_rates_and_hands_in(page: Path, open_page: OpenPage, tmp_path: Path) -> None:
    key, _ = contents(page)
    tab = open_page(page, accept_downloads=True)
    tab.click("[data-volume]")
    tab.wait_for_selector("[data-volume][aria-pressed=true]")
    begin(tab, 'Ada "the ear", Müller')
    tab.click("[data-next]")
    board_of(tab, "Song 1 of 2")
    for number in (1, 2):
        board_of(tab, f"Song {number} of 2")
        assert letters(tab) == list("ABCDEF") and tab.is_disabled("[data-next]")
        rate(tab, [10, 20, 30, 40, 100, 60])
        assert tab.is_enabled("[data-next]") and tab.inner_text("[data-missing]") == ""
        tab.click("[data-next]")
    tab.wait_for_selector("[data-screen=done]:not([hidden])")
    tab.fill("[data-comment]", 'Two lines,\nand "quotes"')
    json_file, csv_file = (downloaded(tab, kind, tmp_path) for kind in ("json", "csv"))

    (one,), (two,) = read_ratings(json_file), read_ratings(csv_file)
    assert one == two and one.participant == 'Ada "the ear", Müller' and one.comment == 'Two lines,\nand "quotes"'
    assert {song.song for song in one.songs} == {song["song"] for song in key["songs"]}
    for song in one.songs:
        assert [r.score for r in song.ratings] == [10, 20, 30, 40, 100, 60]
        told = next(s for s in key["songs"] if s["song"] == song.song)
        gains = {sound["condition"]: sound["gain_db"] for sound in told["sounds"]}
        assert {r.condition: r.gain_db for r in song.ratings} == gains
        # Letters do not stand in the order of the file, nor in that of another listener.
        assert song.loudness_lufs == told["loudness_lufs"] and song.end_s - song.start_s == pytest.approx(2.0)
    assert analyse_files([json_file], screening=False).scores


#: Notes which sounds are let through, and when and from where each was started.
LISTENING = """
(() => {
  window.gains = [];
  window.starts = [];
  const makeGain = AudioContext.prototype.createGain, begin = AudioBufferSourceNode.prototype.start;
  AudioContext.prototype.createGain = function () {
    const gain = makeGain.call(this);
    window.gains.push(gain);
    return gain;
  };
  AudioBufferSourceNode.prototype.start = function (...at) {
    window.starts.push([...at, this.loop, this.loopEnd]);
    return begin.apply(this, at);
  };
})();
"""


def test_switching_keeps_the_place(page: Path, open_page: OpenPage) -> None:
    key, _ = contents(page)
    tab = open_page(page)
    tab.add_init_script(LISTENING)
    tab.reload()
    begin(tab, "Ada")
    tab.keyboard.press("Space")
    tab.wait_for_function(f"() => {PLACE} > 0.05")
    # All six were started at the same sample of the same clock, from the same place, and loop alike.
    starts = tab.evaluate("window.starts")
    assert len(starts) == 6 and all(start == starts[0] for start in starts) and starts[0][1:] == [0, True, 2]
    heard = []
    for letter in ("A", "b", "C", "D", "E", "F", "R"):
        before = tab.evaluate(f"[performance.now(), 2 * {PLACE}]")
        tab.keyboard.press(letter)
        tab.wait_for_timeout(60)
        after = tab.evaluate(f"[performance.now(), 2 * {PLACE}]")
        went = ((after[1] - before[1]) % 2.0) - (after[0] - before[0]) / 1000.0
        # The clock is drawn sixty times a second, on a machine that has other things to do.
        assert abs((went + 1.0) % 2.0 - 1.0) < 0.12
        pressed = tab.query_selector_all("[aria-pressed=true]:not([data-volume])")
        assert [b.inner_text().strip()[0] for b in pressed] == [letter.upper()]
        levels = tab.evaluate("window.gains.map((gain) => gain.gain.value)")
        assert sorted(levels) == [0.0] * 5 + [1.0]
        heard.append(levels.index(1.0))
    # Every letter has a sound of its own, and one of them is the reference.
    assert sorted(heard[:6]) == list(range(6)) and heard[6] in [song["reference"] for song in key["songs"]]
    assert len(tab.evaluate("window.starts")) == 6
    tab.keyboard.press("Space")
    held = tab.evaluate(PLACE)
    tab.wait_for_timeout(80)
    assert tab.evaluate(PLACE) == held and tab.get_attribute("[data-play]", "aria-label") == "Play"
    # Going on begins where it was held.
    tab.keyboard.press("Space")
    tab.wait_for_function("() => window.starts.length === 12")
    assert tab.evaluate("window.starts[6][1]") == pytest.approx(2.0 * held, abs=1e-6)


#: Length, channels and one sample of each sound.
DECODED = """
async (files) => {
  const bytes = (file) => Uint8Array.from(atob(file), (c) => c.charCodeAt(0)).buffer;
  const context = new OfflineAudioContext(2, 1, 44100);
  const buffers = await Promise.all(files.map((file) => context.decodeAudioData(bytes(file))));
  return buffers.map((b) => [b.length, b.numberOfChannels, b.getChannelData(0)[20000]]);
}
"""


def test_chromium_decodes_every_sound_to_the_same_length(page: Path, open_page: OpenPage) -> None:
    _, sounds = contents(page)
    decoded = open_page(page).evaluate(DECODED, sounds[0])
    assert {(length, channels) for length, channels, _ in decoded} == {(2 * RATE_HZ, 2)}
    for file, (_, _, sample) in zip(sounds[0], decoded, strict=True):
        assert soundfile.read(io.BytesIO(base64.b64decode(file)))[0][20000, 0] == pytest.approx(sample, abs=1e-6)


def test_orders_belong_to_names(page: Path, open_page: OpenPage) -> None:
    """Asked of the sliders' hidden meaning: the results."""

    def orders(name: str) -> list[list[str]]:
        tab = open_page(page)
        begin(tab, name)
        tab.click("[data-next]")
        for number in (1, 2):
            board_of(tab, f"Song {number} of 2")
            rate(tab, [50] * 6)
            tab.click("[data-next]")
        tab.wait_for_selector("[data-screen=done]:not([hidden])")
        kept = tab.evaluate("JSON.parse(Object.values(localStorage)[0])")
        return [[r["condition"] for r in song["ratings"]] for song in kept["songs"]]

    ada = orders("Ada")
    assert orders(" ada ") == ada
    assert ada[0] != ada[1] and orders("Ben") != ada


def test_what_was_rated_survives_a_reload(page: Path, open_page: OpenPage) -> None:
    tab = open_page(page)
    tab.on("dialog", lambda dialog: dialog.accept())
    begin(tab, "Ada")
    tab.click("[data-next]")
    board_of(tab, "Song 1 of 2")
    rate(tab, [70] * 6)
    tab.click("[data-next]")
    board_of(tab, "Song 2 of 2")
    tab.reload()
    tab.fill("#name", "Ada")
    tab.click("[data-begin]")
    board_of(tab, "Song 2 of 2")


def test_the_test_can_be_done_with_the_keyboard_alone(page: Path, open_page: OpenPage) -> None:
    tab = open_page(page)
    tab.focus("#name")
    tab.keyboard.type("Ada")
    tab.keyboard.press("Enter")
    board_of(tab, "Practice")
    tab.focus("[data-next]")
    tab.keyboard.press("Enter")
    board_of(tab, "Song 1 of 2")
    assert tab.evaluate("document.activeElement.id") == "board-title"
    tab.focus(".item input")
    for index in range(6):
        tab.keyboard.press(("ArrowUp", "PageUp", "End", "Home", "ArrowDown", "Enter")[index])
        if index < 5:
            tab.keyboard.press("Tab")
            tab.keyboard.press("Tab")
    values = [int(output.inner_text()) for output in tab.query_selector_all(".item output")]
    assert values[0] == 51 and values[1] > 51 and values[2:] == [100, 0, 49, 50]
    assert tab.is_enabled("[data-next]")


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True), ((320, 600), False)])
def test_the_page_fits_its_window(page: Path, open_page: OpenPage, size: tuple[int, int], dark: bool) -> None:
    tab = open_page(page, size=size, dark=dark)
    name = f"listen-{size[0]}-{'dark' if dark else 'light'}"
    keep_screenshot(tab, f"{name}-welcome")
    assert sideways_px(tab) == 0
    begin(tab, "Ada")
    rate(tab, [100, 20, 75, 44, 61, 90])
    keep_screenshot(tab, f"{name}-board")
    assert sideways_px(tab) == 0
    # Words of the scale stand beside (or above) the stretch of the slider that they name.
    box = tab.eval_on_selector_all(
        ".scale li, .item input",
        "list => list.map((e) => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })",
    )
    words, sliders = box[: len(SCALE)], box[len(SCALE) :]
    x, y, width, height = sliders[0]
    thumb = 24.0
    if width > height:
        ends = (x + thumb / 2, x + width - thumb / 2)
        assert words[-1][0] == pytest.approx(ends[0], abs=2) and words[0][0] + words[0][2] == pytest.approx(
            ends[1], abs=2
        )
    else:
        ends = (y + thumb / 2, y + height - thumb / 2)
        assert words[0][1] == pytest.approx(ends[0], abs=2) and words[-1][1] + words[-1][3] == pytest.approx(
            ends[1], abs=2
        )


# --------------------------------------------------------------------------------- the ratings

_text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
_name = _text.filter(bool)
_number = st.floats(-200.0, 200.0)
_ratings = st.builds(Rating, condition=_name, title=_text, label=_name, score=st.integers(0, 100), gain_db=_number)
_songs = st.builds(
    RatedSong,
    song=_name,
    position=st.integers(1, 50),
    start_s=_number,
    end_s=_number,
    loudness_lufs=_number,
    seconds=st.floats(0.0, 1e6),
    ratings=st.lists(_ratings, min_size=1, max_size=4, unique_by=lambda r: r.condition).map(tuple),
)
_collected = st.builds(
    Ratings,
    test=st.builds(TestInfo, id=_name, title=_text, seed=st.integers(0, 2**31)),
    participant=_name,
    comment=_text,
    started=_text,
    finished=_text,
    songs=st.lists(_songs, min_size=1, max_size=3, unique_by=(lambda s: s.song, lambda s: s.position)).map(tuple),
)


@settings(max_examples=25, deadline=None)
@given(ratings=_collected)
def test_both_forms_hold_the_same(ratings: Ratings, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("forms")
    for name, text in (("r.json", ratings.to_json()), ("r.csv", ratings.to_csv())):
        (folder / name).write_bytes(text.encode("utf-8"))
        assert read_ratings(folder / name) == [ratings]


def test_files_of_several_listeners_can_be_joined(tmp_path: Path) -> None:
    one, two = (rated(name, {"song": {"reference": 100, "match": 80}}) for name in ("Ada", "Ben"))
    joined = tmp_path / "all.csv"
    joined.write_text(one.to_csv() + two.to_csv().split("\r\n", 1)[1], encoding="utf-8", newline="")
    assert read_ratings(joined) == [one, two]
    listed = tmp_path / "all.json"
    listed.write_text(f"[{one.to_json()}, {two.to_json()}]", encoding="utf-8")
    assert read_ratings(listed) == [one, two]


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.integers(0, 100), min_size=2, max_size=12))
def test_intervals_are_those_of_scipy(values: list[int]) -> None:
    found = interval(values)
    assert found.mean == pytest.approx(np.mean(values)) and found.low is not None and found.high is not None
    if len(set(values)) > 1:
        low, high = scipy.stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values))
        assert (found.low, found.high) == pytest.approx((low, high))
    else:
        assert (found.low, found.high) == (found.mean, found.mean)


def test_known_numbers() -> None:
    """Three listeners, two songs, by hand."""
    match = {"Ada": (80, 60), "Ben": (90, 70), "Cy": (70, 80)}
    collected = [
        rated(name, {"s": {"reference": 100, "match": one}, "t": {"reference": 95, "match": two}})
        for name, (one, two) in match.items()
    ]
    result = analyse(collected)
    by_key = {(score.song, score.condition): score for score in result.scores}
    overall = by_key[None, "match"]
    # Means of the listeners 70, 80 and 75; t of two degrees of freedom is 4.3027.
    half = 4.302653 * 5.0 / np.sqrt(3.0)
    assert overall.score.mean == pytest.approx(75.0) and (overall.assessors, overall.ratings) == (3, 6)
    assert (overall.score.low, overall.score.high) == pytest.approx((75.0 - half, 75.0 + half))
    assert (overall.median, overall.first_quartile, overall.third_quartile) == pytest.approx((75.0, 70.0, 80.0))
    assert overall.difference is not None and overall.difference.mean == pytest.approx(75.0 - 97.5)
    assert by_key["s", "match"].score.mean == pytest.approx(80.0) and by_key["t", "reference"].score.mean == 95.0
    assert by_key[None, "reference"].difference is None
    assert [score.condition for score in result.scores][:2] == ["reference", "match"]


def test_a_condition_of_one_song_is_compared_in_that_song() -> None:
    scores = {"s": {"reference": 100, "match": 50, "real": 60}, "t": {"reference": 90, "match": 50}}
    overall = {score.condition: score for score in analyse([rated("Ada", scores)]).scores if score.song is None}
    assert overall["real"].difference is not None and overall["real"].difference.mean == -40.0
    assert overall["real"].score.low is None


def test_screening() -> None:
    """More than 15 % of the songs: two of ten are too many, one is not."""

    def listener(name: str, low: int, anchor_score: int = 50) -> Ratings:
        songs = {
            f"song {i}": {"reference": 80 if i < low else 90, "mid-anchor": anchor_score, "match": 70}
            for i in range(10)
        }
        return rated(name, songs)

    collected = [listener("Ada", 0), listener("Ben", 1), listener("Cy", 2), listener("Di", 0, anchor_score=91)]
    result = analyse(collected)
    excluded = {a.name: a.excluded for a in result.assessors}
    assert excluded["Ada"] == excluded["Ben"] == ""
    assert "20%" in excluded["Cy"] and "mid anchor" in excluded["Di"]
    assert {score.assessors for score in result.scores} == {2}
    assert {score.assessors for score in analyse(collected, screening=False).scores} == {4}
    with pytest.raises(ListenError, match="nobody is left"):
        analyse(collected[2:])


# ------------------------------------------------------------------------------- the commands


def call(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_listen_says_what_it_made(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "test.html"
    code, text, err = call("listen", *folders, "--out", out, "--start", 1, "--end", 3)
    rows = [line.split("\t") for line in text.splitlines()]
    assert (code, err) == (EXIT_OK, "") and rows[-1][0] == str(out)
    assert rows[0][:3] == ["First <b>", "1.0 to 3.0 s", "Hidden reference"] and len(rows) == 2 * 4 + 1
    code, text, _ = call("listen", folders[0], "--out", tmp_path, "--length", 1, "--json")
    data = json.loads(text)
    assert code == EXIT_OK and set(data["songs"][0]["gain_db"]) == {"reference", "match", "real", "low-anchor"}


def test_results_as_table_and_json(tmp_path: Path) -> None:
    paths = []
    for name, reference in (("Ada", 100), ("Ben", 95), ("Cy", 10)):
        ratings = rated(name, {"s": {"reference": reference, "match": 80}})
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text(ratings.to_csv(), encoding="utf-8", newline="")
    code, out, err = call("listen-results", *paths)
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == EXIT_OK and err.startswith("mixbridge: Cy: left out") and rows[1][:5] == [
        "all songs", "Reference", "2", "2", "97.5",
    ]  # fmt: skip
    code, out, _ = call("listen-results", *paths, "--json", "--no-screening")
    data = json.loads(out)
    assert code == EXIT_OK and [a["excluded"] for a in data["assessors"]] == ["", "", ""]
    assert data["scores"][0]["assessors"] == 3


def test_wrong_folders_are_one_line(folders: list[Path], tmp_path: Path) -> None:
    silent = make_folder(tmp_path, "silent", real=0)
    soundfile.write(silent / "match.wav", np.zeros((4 * RATE_HZ, 2)), RATE_HZ, subtype="FLOAT")
    short = make_folder(tmp_path, "short", real=0)
    soundfile.write(short / "match.wav", np.zeros((100, 2)), RATE_HZ)
    broken = make_folder(tmp_path, "broken", real=0)
    (broken / "graph.json").write_text("{", encoding="utf-8")
    bare = make_folder(tmp_path, "bare", real=0)
    (bare / "match.wav").unlink()
    good, out = folders[0], tmp_path / "page.html"
    wrong: list[tuple[list[object], str]] = [
        ([tmp_path / "missing"], "no such folder"),
        ([tmp_path], "graph.json"),
        ([silent], "silent"),
        ([short], "does not belong"),
        ([broken], "graph.json"),
        ([bare], "match.wav"),
        ([good, good, good], "named twice"),
        ([good, "--start", "9"], "--start"),
        ([good, "--start", "2", "--end", "1"], "--start"),
        ([good, "--start", "1", "--end", "1.5"], "too short"),
        ([good, "--mix", tmp_path / "missing.wav"], "--mix"),
        ([good, "--max-mb", "0.1"], "--max-mb"),
    ]
    for arguments, words in wrong:
        code, text, err = call("listen", *arguments, "--out", out)
        assert (code, text) == (EXIT_USER_ERROR, "") and words in err and len(err.splitlines()) == 1, arguments
        assert not out.exists()


def test_wrong_results_are_one_line(tmp_path: Path) -> None:
    good = rated("Ada", {"s": {"reference": 100, "match": 80}})

    def write(name: str, text: str | bytes) -> Path:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    fine = write("fine.json", good.to_json())
    wrong: list[tuple[list[object], str]] = [
        ([tmp_path / "missing.json"], "check the path"),
        ([tmp_path], "cannot read"),
        ([write("empty.csv", "")], "neither JSON nor CSV"),
        ([write("cut.json", good.to_json()[:-20])], "download it again"),
        ([write("high.json", good.to_json().replace("80", "180"))], "score"),
        ([write("nan.json", good.to_json().replace("-23.0", "NaN"))], "loudness_lufs"),
        ([write("cell.csv", good.to_csv().replace(",80,", ",lots,"))], "'lots' is not a number"),
        ([write("short.csv", good.to_csv().replace(",80,", ","))], "cells"),
        ([write("latin.csv", "Ä".encode("latin-1"))], "UTF-8"),
        ([write("open.json", rated("Ben", {"s": {"match": 80}}).to_json())], "hidden reference"),
        ([fine, fine], "leave one of them out"),
        ([fine, write("b.json", rated("Ben", {"s": {"reference": 100}}, test="other").to_json())], "another test"),
        ([write("low.json", rated("Ben", {"s": {"reference": 5}}).to_json())], "nobody is left"),
    ]
    for arguments, words in wrong:
        code, out, err = call("listen-results", *arguments)
        assert (code, out) == (EXIT_USER_ERROR, "") and words in err and len(err.splitlines()) == 1, (arguments, err)
