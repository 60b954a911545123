"""The report: its words, its pictures, its sounds and the page as a browser would read it."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from mixbridge.bridge.errors import AudioContentError
from mixbridge.bridge.graph import (
    Bus,
    Edge,
    Evidence,
    Loss,
    Master,
    MixGraph,
    Node,
    PanPoint,
    Processor,
    Provenance,
    Stem,
    VolumePoint,
    volume_gains,
)
from mixbridge.bridge.processors.reference import apply_processor
from mixbridge.bridge.processors.specs import CHAIN_ORDER, SPECS, Parameter, ProcessorSpec, spec_of
from mixbridge.bridge.report import drawing, pictures, sound, words
from mixbridge.bridge.report.page import DASH, write_report

from .graphs import GraphBuilder

RATE_HZ = 44100
HOSTILE = "<script>alert(1)</script>"
QUOTED = "a\"b'c & <i>#kick"
KANJI = "音のトラック"


# ------------------------------------------------------------------------------ inputs


def processor(kind: str, *, id: str = "p", mix: float = 1.0, **values: float) -> Processor:
    return Processor(type=kind, id=id, mix=mix, parameters=spec_of(kind).defaults() | values)


def example_chain(prefix: str) -> list[Processor]:
    """One processor of every type in chain order, each audible."""
    settings: dict[str, dict[str, float]] = {
        "eq": {"highpass_hz": 82.3, "bell3_hz": 2300.0, "bell3_db": 4.2, "bell3_q": 1.4},
        "compressor": {"threshold_db": -21.0, "ratio": 3.2, "makeup_db": 2.0},
        "gate": {"threshold_db": -48.0, "ratio": 4.0},
        "imager": {"width": 1.4},
        "gain_pan": {"gain_db": -4.2, "pan": -0.35},
        "delay": {"tap1_level_db": -12.0, "tap1_time_ms": 375.0},
        "reverb": {"level_db": -6.0, "decay_s": 1.4},
        "saturation": {"drive_db": 9.0},
        "limiter": {"gain_db": 3.0, "ceiling_db": -1.0},
    }
    return [processor(kind, id=f"{prefix}-{kind}", **settings[kind]) for kind in CHAIN_ORDER]


def example_graph(*, provenance: Provenance | None = None) -> MixGraph:
    builder = GraphBuilder()
    builder.channel(
        Stem(id="kick", name=QUOTED, file="kick.wav", offset_samples=132, polarity=-1),
        into="drums",
        chain=example_chain("k"),
    )
    builder.channel(Stem(id="snare", name=KANJI, file="音.wav"), into="drums")
    builder.channel(Stem(id="vox", name=HOSTILE, file=HOSTILE + ".wav"), into="master", chain=example_chain("v")[:2])
    builder.channel(Bus(id="drums", name="Drums & <b>more"), into="master", chain=example_chain("d")[3:5])
    builder.channel(Master(), into=None, chain=example_chain("m")[:1])
    return builder.build(name=HOSTILE, provenance=provenance)


def plain_graph(*, rate_hz: int = RATE_HZ) -> MixGraph:
    builder = GraphBuilder()
    builder.channel(Stem(id="a", name="Bass", file="bass.wav"), into="master")
    builder.channel(Master(), into=None)
    return builder.build(rate_hz=rate_hz)


def music(seconds: float, *, seed: int = 1, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Two channels of decaying tones over a little noise; far from full scale."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    beats = np.exp(-6.0 * (time_s % 0.5))
    tones = [np.sin(2 * np.pi * f * time_s) for f in rng.uniform(80.0, 3000.0, 6)]
    left, right = sum(tones[:4]) * beats, sum(tones[2:]) * beats
    return 0.08 * np.stack([left, right]) + 0.001 * rng.standard_normal((2, len(time_s)))


# ------------------------------------------------------------------------------ reading the page


class Page(HTMLParser):
    """What a page holds: every tag with its attributes, and the text outside style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.raw: dict[str, str] = {"style": "", "script": ""}
        self._inside: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag in self.raw:
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside[-1]] += data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def decoded(self, player: str) -> tuple[np.ndarray, int]:
        source = next(a["src"] for a in self.all("audio") if a["data-player"] == player)
        audio, rate_hz = soundfile.read(io.BytesIO(data_of(source)), always_2d=True)
        return audio.T, rate_hz


def data_of(uri: str) -> bytes:
    header, _, body = uri.partition(",")
    assert header.startswith("data:") and header.endswith(";base64")
    return base64.b64decode(body, validate=True)


def page_of(tmp_path: Path, graph: MixGraph, target: np.ndarray, match: np.ndarray, **options: list[str]) -> Page:
    path = tmp_path / "report.html"
    write_report(path, graph=graph, target=target, match=match, **options)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    target = music(2.5)
    return target, 0.8 * target + 0.2 * music(2.5, seed=2)


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory, pair: tuple[np.ndarray, np.ndarray]) -> Path:
    provenance = Provenance(
        seed=7,
        tolerance=0.01,
        console_processors=35,
        loss=Loss(plain_sum=1.2, gain_pan=0.9, console=0.5, pruned=0.54321),
        pruned_ratio={"reverb": 0.875, "eq": 0.25},
        versions={"mixbridge": "0.1.0"},
        notes=[f"a note about {QUOTED}"],
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(
        path,
        graph=example_graph(provenance=provenance),
        target=pair[0],
        match=pair[1],
        warnings=[f"a warning about {HOSTILE}"],
    )
    return path


@pytest.fixture(scope="module")
def page(page_path: Path) -> Page:
    return Page(page_path.read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            processor("eq", highpass_hz=82.3, bell3_hz=2300.0, bell3_db=4.2, bell3_q=1.4),
            "EQ: high-pass 82 Hz; bell +4.2 dB at 2.3 kHz (Q 1.4)",
        ),
        (
            processor("eq", low_shelf_db=-3.0, bell1_db=0.05, bell2_db=-0.09, high_shelf_db=2.0, lowpass_hz=14210.0),
            "EQ: low shelf -3 dB at 100 Hz (Q 0.71); high shelf +2 dB at 8 kHz (Q 0.71); low-pass 14.2 kHz",
        ),
        # A band is judged beside the dry signal: 1 dB at a mix of 5 % is 0.05 dB.
        (processor("eq", bell1_db=1.0, mix=0.05), "EQ: flat, mix 5 %"),
        (
            processor("compressor", threshold_db=-21.0, ratio=3.2, attack_ms=12.0, release_ms=140.0, makeup_db=2.0),
            "Compressor: threshold -21 dB, ratio 3.2:1, attack 12 ms, release 140 ms, knee 6 dB, make-up +2 dB",
        ),
        (
            processor("compressor", threshold_db=-21.0, ratio=2.0, knee_db=0.0, release_ms=1400.0, mix=0.4),
            "Compressor: threshold -21 dB, ratio 2:1, attack 10 ms, release 1.4 s, hard knee, mix 40 %",
        ),
        (processor("compressor", threshold_db=-21.0), "Compressor: no gain reduction"),
        (processor("compressor", makeup_db=-3.0), "Compressor: make-up -3 dB"),
        (
            processor("gate", threshold_db=-48.0, ratio=4.0, range_db=30.0, attack_ms=0.35),
            "Noise gate: threshold -48 dB, ratio 1:4, range 30 dB, attack 0.35 ms, release 100 ms, knee 6 dB",
        ),
        (processor("gate", threshold_db=-48.0, ratio=4.0, range_db=0.0), "Noise gate: always open"),
        (processor("imager", width=1.4), "Stereo imager: width 140 % (wider)"),
        (processor("imager", width=0.0), "Stereo imager: mono"),
        (processor("gain_pan", gain_db=-4.2, pan=-0.35), "Gain -4.2 dB, pan 35 % left"),
        (processor("gain_pan", gain_db=0.05, pan=1.0), "Pan hard right"),
        (processor("gain_pan", gain_db=3.0, pan=0.001), "Gain +3 dB"),
        (
            processor("delay", tap3_level_db=-12.0, tap1_level_db=-18.0, tap1_low_cut_hz=200.0, tap3_pan=0.3, mix=0.5),
            "Delay: 2 taps: 125 ms at -18 dB, low cut 200 Hz; 375 ms at -12 dB, 30 % right, mix 50 %",
        ),
        (
            processor("reverb", level_db=-6.0, decay_s=1.4, pre_delay_ms=20.0, high_cut_hz=8000.0, width=0.8, mix=0.12),
            "Reverb: decay 1.4 s (highs x0.6), pre-delay 20 ms, high cut 8 kHz, width 80 %, level -6 dB, mix 12 %",
        ),
        (processor("reverb", level_db=-6.0, mix=0.0), "Reverb: bypassed (mix 0 %)"),
        (processor("gain_pan", gain_db=-6.0, mix=0.998), "Gain -6 dB, mix 99.8 %"),
        (processor("saturation", drive_db=7.25), "Saturation: drive 7.2 dB"),
        (processor("saturation", drive_db=0.002), "Saturation: no drive"),
        (
            processor("limiter", gain_db=4.0, ceiling_db=-0.3, release_ms=60.0, mix=0.5),
            "Limiter: input gain +4 dB, ceiling -0.3 dB, release 60 ms, mix 50 %",
        ),
        (processor("limiter", ceiling_db=-0.05), "Limiter: only above full scale"),
    ],
)
def test_processors_are_described_in_words_and_numbers(given: Processor, expected: str) -> None:
    assert words.describe_processor(given) == expected


@pytest.mark.parametrize("kind", list(SPECS))
def test_a_processor_at_its_defaults_claims_no_effect(kind: str) -> None:
    # Between title and full stop there must be no setting left; the numbers would be invented.
    assert not re.search(r"\d", words.describe_processor(processor(kind)))


def test_a_type_without_words_of_its_own_is_described_by_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    amount = Parameter("amount_db", "Amount (dB)", 0.0, 0.0, 40.0, "dB")
    tone = Parameter("tone", "Tone (0 ... 1)", 0.5, 0.0, 1.0, "")
    monkeypatch.setitem(SPECS, "exciter", ProcessorSpec("exciter", "y", "Exciter", False, (amount, tone)))
    assert words.describe_processor(processor("exciter", amount_db=7.25, mix=0.5)) == (
        "Exciter: amount 7.25 dB, mix 50 %"
    )
    assert words.short_label("exciter") == "Exciter"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (words.frequency_text(999.6), "1 kHz"),
        (words.frequency_text(999.4), "999 Hz"),
        (words.frequency_text(12345.0), "12.3 kHz"),
        (words.time_text(999.7), "1 s"),
        (words.time_text(1.25), "1.2 ms"),
        (words.change_text(-0.04), "0 dB"),
        (words.change_text(0.3), "+0.3 dB"),
        (words.level_text(-10.0), "-10 dB"),
        (words.level_text(100.0), "100 dB"),
        (words.pan_text(-1.0), "hard left"),
        (words.pan_text(0.0), "centre"),
    ],
)
def test_numbers_are_rounded_sensibly(text: str, expected: str) -> None:
    assert text == expected


def points(*pairs: tuple[float, float]) -> list[VolumePoint]:
    return [VolumePoint(time_s=time_s, gain_db=gain_db) for time_s, gain_db in pairs]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ""),
        (points((0, -3.1), (2, 1), (3, 0), (4, -1)), "Fader rides: 4 points, -3.1 to +1 dB"),
        (points((1, -2.0)), "Fader rides: -2 dB throughout"),
        (points((1, 0.0), (2, 0.04)), "Fader rides: unity throughout"),
        (points((0, -80), (1.25, 0), (61.2, 0), (64, -60)),
         "Fader rides: fades in from 0 s to 1.2 s; fades out from 61.2 s to 64 s"),
        (points((0, -80), (1, 0), (2, 3.0)), "Fader rides: fades in from 0 s to 1 s; 2 points, 0 to +3 dB"),
        (points((0, -80), (1, -70)), "Fader rides: 2 points, -80 to -70 dB"),
        (points((5, 2), (6, -80)), "Fader rides: +2 dB throughout; fades out from 5 s to 6 s"),
    ],
)  # fmt: skip
def test_volume_automation_is_described_in_words_and_numbers(given: list[VolumePoint], expected: str) -> None:
    assert words.describe_volume(given) == expected


def pans(*pairs: tuple[float, float]) -> list[PanPoint]:
    return [PanPoint(time_s=time_s, pan=pan) for time_s, pan in pairs]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ""),
        (pans((0, -0.35), (2, 1), (3, 0)), "Pan rides: 3 points, 35 % left to hard right"),
        (pans((1, 0.5), (2, 0.5)), "Pan rides: 50 % right throughout"),
        (pans((1, 0.0)), "Pan rides: centre throughout"),
    ],
)
def test_pan_automation_is_described_in_words_and_numbers(given: list[PanPoint], expected: str) -> None:
    assert words.describe_pan(given) == expected


def test_a_send_that_moves_says_how_far() -> None:
    send = Edge(source="a", target="b", send_db=-12.3)
    assert words.send_words(send) == "-12.3 dB"
    moving = send.model_copy(update={"volume": points((0, -20), (2, 3))})
    assert words.send_words(moving) == "-12.3 dB (rides -20 to +3 dB)"
    assert words.send_words(send.model_copy(update={"volume": points((0, 0.01))})) == "-12.3 dB"


def test_the_page_shows_pans_and_sends_that_move(tmp_path: Path, pair: tuple[np.ndarray, np.ndarray]) -> None:
    graph = routed_graph()
    nodes = [n.model_copy(update={"pan": pans((0, -1), (1, 0.5))}) if n.id == "s0" else n for n in graph.nodes]
    edges = [e.model_copy(update={"volume": points((0, -6), (1, 0))}) if e.send_db == 2.0 else e for e in graph.edges]
    page = page_of(tmp_path, graph.rebuilt(nodes, edges), *pair)
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "2 points, hard left to 50 % right" in text and "Slap +2 dB (rides -6 to 0 dB)" in text
    assert len([a for a in page.all("g") if a.get("class", "").startswith("chip ride")]) == 3


def nested_graph() -> MixGraph:
    builder = GraphBuilder()
    for index, into in enumerate(["low", "low", "high", "all", "master", "high"]):
        builder.channel(Stem(id=f"s{index}", name=f"stem {index}", file=f"{index}.wav"), into=into)
    builder.channel(Bus(id="low", name="Low"), into="all")
    builder.channel(Bus(id="high", name="High"), into="all")
    builder.channel(Bus(id="all", name="All"), into="master")
    builder.channel(Bus(id="unused", name="Unused"), into="master")
    builder.channel(Master(), into=None)
    return builder.build()


def routed_graph() -> MixGraph:
    """The nested graph with two returns, one of them in a group, sends from tracks and groups, and automation."""
    graph = nested_graph()
    rides = {"s0": points((0, -60), (1, 0)), "hall": points((0, 1), (2, -3))}
    returns: list[Node] = [
        Bus(id="hall", name=HOSTILE, volume=rides["hall"]),
        processor("reverb", id="hall-r", level_db=-6.0).model_copy(update={"evidence": Evidence(loss_increase=0.0123)}),
        Bus(id="slap", name="Slap"),
    ]
    nodes = [n.model_copy(update={"volume": rides[n.id]}) if n.id in rides else n for n in graph.nodes]
    chains = [("hall", "hall-r"), ("hall-r", "master"), ("slap", "all")]
    sends = {
        ("s0", "hall"): -12.3,
        ("s0", "slap"): 2.0,
        ("s4", "hall"): -60.0,
        ("low", "hall"): 0.0,
        ("s5", "low"): -9.0,
    }
    edges = [*graph.edges, *(Edge(source=a, target=b) for a, b in chains)]
    edges += [Edge(source=a, target=b, send_db=level) for (a, b), level in sends.items()]
    return graph.rebuilt([*nodes, *returns], edges)


def test_the_summary_tells_returns_sends_and_rides() -> None:
    found = {s.id: s for s in words.summarise(routed_graph())}
    assert found["s0"].mixer == (
        "Fader rides: fades in from 0 s to 1 s",
        f"Sends: {HOSTILE} -12.3 dB, Slap +2 dB",
    )
    assert found["s4"].mixer == (f"Send: {HOSTILE} -60 dB",) and found["s1"].mixer == ()
    assert {i: found[i].kind for i in ("hall", "slap", "low", "unused")} == {
        "hall": "return", "slap": "return", "low": "group", "unused": "group",
    }  # fmt: skip
    assert found["slap"].group == "All"


def test_the_page_shows_returns_sends_and_rides(tmp_path: Path, pair: tuple[np.ndarray, np.ndarray]) -> None:
    page = page_of(tmp_path, routed_graph(), *pair)
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert f"{HOSTILE} -12.3 dB, Slap +2 dB" in text and "Fades in from 0 s to 1 s" in text
    assert "Fed by sends of" in text and "Returns" in text and "Lₐ +0.0123 without it" in text
    assert len([a for a in page.all("path") if a.get("class") == "wire send"]) == 5
    assert len([a for a in page.all("g") if a.get("class", "").startswith("chip send")]) == 5
    assert len([a for a in page.all("g") if a.get("class", "").startswith("chip ride")]) == 2
    assert not page.all("b") and "alert" not in page.raw["script"]


def test_the_summary_lists_every_channel_with_its_processors() -> None:
    summaries = words.summarise(example_graph())
    assert [(s.kind, s.name, s.group, len(s.texts)) for s in summaries] == [
        ("track", QUOTED, "Drums & <b>more", len(CHAIN_ORDER)),
        ("track", KANJI, "Drums & <b>more", 0),
        ("track", HOSTILE, None, 2),
        ("group", "Drums & <b>more", None, 2),
        ("master", "Master", None, 1),
    ]
    assert summaries[0].alignment == "moved 3 ms (132 samples) later, polarity inverted"
    assert summaries[1].alignment == ""


# ------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("rate_hz", [8000, 44100, 96000])
@pytest.mark.parametrize("tone_hz", [100.0, 440.0, 3000.0])
def test_a_tone_stands_at_its_frequency_and_level(rate_hz: int, tone_hz: float) -> None:
    tone = 0.5 * np.sin(2 * np.pi * tone_hz * np.arange(3 * rate_hz) / rate_hz)
    result = pictures.spectrogram(np.stack([tone, tone]), sample_rate_hz=rate_hz)
    middle = result.mid_db[:, result.mid_db.shape[1] // 2]
    row = int(np.argmax(middle))
    octaves = abs(np.log2(np.sqrt(result.edges_hz[row] * result.edges_hz[row + 1]) / tone_hz))
    assert octaves <= 1.0 / pictures.ROWS_PER_OCTAVE
    assert 10 * np.log10(np.sum(10 ** (middle / 10))) == pytest.approx(20 * np.log10(0.5), abs=0.1)
    assert np.all(result.side_db == pictures.FLOOR_DB)


def test_mid_and_side_are_not_mixed_up() -> None:
    tone = np.sin(2 * np.pi * 1000.0 * np.arange(RATE_HZ) / RATE_HZ)
    result = pictures.spectrogram(np.stack([tone, -tone]), sample_rate_hz=RATE_HZ)
    assert np.all(result.mid_db == pictures.FLOOR_DB)
    assert result.side_db.max() > -6.0


@pytest.mark.parametrize("seconds", [3.0, 40.0, 100.0])
def test_a_short_event_stands_at_its_time_and_none_is_missed(seconds: float) -> None:
    rng = np.random.default_rng(0)
    frames = round(seconds * 8000)
    for place in rng.uniform(0.02, 0.98, 5):
        audio = np.zeros((2, frames), dtype=np.float32)
        audio[:, round(place * frames)] = 1.0
        result = pictures.spectrogram(audio, sample_rate_hz=8000)
        columns = result.mid_db.shape[1]
        assert columns <= pictures.MAX_COLUMNS
        loudest = int(np.argmax(result.mid_db.mean(axis=0)))
        assert result.mid_db.max() > -70.0
        assert abs((loudest + 0.5) / columns - place) < 1.0 / columns + 0.06 / seconds


def test_white_noise_rises_by_three_decibels_an_octave() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, 10 * RATE_HZ))
    result = pictures.spectrogram(noise, sample_rate_hz=RATE_HZ)
    power_db = 10 * np.log10(np.mean(10 ** (result.mid_db / 10), axis=1))
    octave = pictures.ROWS_PER_OCTAVE
    slope = np.polyfit(np.arange(4 * octave, 9 * octave) / octave, power_db[4 * octave : 9 * octave], 1)[0]
    assert slope == pytest.approx(3.01, abs=0.15)


def test_the_error_is_match_minus_target_and_silence_in_both_is_no_error() -> None:
    target = np.array([[-20.0, -150.0, -150.0]], dtype=np.float32)
    match = np.array([[-26.0, -90.0, -60.0]], dtype=np.float32)
    assert pictures.error_db(target, match, floor_db=-80.0).tolist() == [[-6.0, 0.0, 20.0]]


def test_a_picture_holds_its_values_upright() -> None:
    values = np.linspace(0.0, 1.0, 6, dtype=np.float32).reshape(2, 3)
    with Image.open(io.BytesIO(pictures.png(values, low=0.0, high=1.0, colour_map=pictures.LEVEL_MAP))) as image:
        colours = np.asarray(image.convert("RGB")).astype(int)
    assert colours.shape == (2, 3, 3)
    brightness = colours.sum(axis=2)
    # Row 0 lies at the bottom and the map grows brighter with the level.
    assert np.all(np.diff(np.concatenate([brightness[1], brightness[0]])) > 0)
    assert "#{:02x}{:02x}{:02x}".format(*colours[0, 2]) == pictures.colour_stops(pictures.LEVEL_MAP)[-1]


# ------------------------------------------------------------------------------ sounds


def test_the_players_decode_to_what_went_in(page: Page, pair: tuple[np.ndarray, np.ndarray]) -> None:
    target, match = pair
    for name, expected in (("target", target), ("match", match), ("difference", target - match)):
        audio, rate_hz = page.decoded(name)
        assert rate_hz == RATE_HZ
        assert audio.shape == expected.shape
        for got, wanted in zip(audio, expected, strict=True):
            assert np.corrcoef(got, wanted)[0, 1] > 0.99
            assert np.std(got) == pytest.approx(np.std(wanted), rel=0.05)


def test_loud_sounds_are_turned_down_together() -> None:
    target, match = 16.0 * music(1.0), 4.0 * music(1.0)
    result = sound.compress(target, match, sample_rate_hz=RATE_HZ)
    peak = np.max(np.abs(target))
    assert peak > 1.0
    assert result.scale == pytest.approx(1.0 / peak)
    assert result.levels["target"].peak == pytest.approx(peak)
    for data, expected in ((result.target, target), (result.match, match), (result.difference, target - match)):
        audio, _ = soundfile.read(io.BytesIO(data), always_2d=True)
        assert np.std(audio) == pytest.approx(result.scale * np.std(expected), rel=0.05)
        assert np.max(np.abs(audio)) < 1.05


@pytest.mark.parametrize(("rate_hz", "played_hz"), [(96000, 48000), (88200, 44100), (8000, 48000), (22050, 44100)])
def test_rates_a_browser_may_not_know_are_resampled(rate_hz: int, played_hz: int) -> None:
    tone = np.tile(0.5 * np.sin(2 * np.pi * 440.0 * np.arange(2 * rate_hz) / rate_hz), (2, 1))
    result = sound.compress(tone, tone, sample_rate_hz=rate_hz)
    audio, got_hz = soundfile.read(io.BytesIO(result.target), always_2d=True)
    assert got_hz == played_hz
    assert len(audio) == pytest.approx(2 * played_hz, abs=2)
    spectrum = np.abs(np.fft.rfft(audio[:, 0] * np.hanning(len(audio))))
    assert np.argmax(spectrum) * played_hz / len(audio) == pytest.approx(440.0, abs=1.0)


def test_ogg_is_written_where_mp3_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"OGG": "OGG", "WAV": "WAV"})
    target = music(1.0)
    result = sound.compress(target, target, sample_rate_hz=RATE_HZ)
    assert result.mime == "audio/ogg"
    with soundfile.SoundFile(io.BytesIO(result.target)) as file:
        assert file.format == "OGG"
        audio = file.read(always_2d=True).T
    assert audio.shape == target.shape
    assert np.corrcoef(audio[0], target[0])[0, 1] > 0.98


def test_the_bit_rate_falls_with_the_length_of_the_song() -> None:
    rates = [sound.bit_rate_kbps(seconds) for seconds in (10.0, 150.0, 240.0, 3600.0)]
    assert rates[0] == 192
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 96
    assert 3 * 240.0 * rates[2] * 125 * 4 / 3 <= sound.PLAYERS_BYTES


@pytest.mark.slow
def test_four_minutes_fit_into_fifteen_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    target = 0.1 * rng.standard_normal((2, 240 * 48000), dtype=np.float32)
    match = target + 0.05 * rng.standard_normal(target.shape, dtype=np.float32)
    path = tmp_path / "report.html"
    write_report(path, graph=plain_graph(rate_hz=48000), target=target, match=match)
    assert path.stat().st_size <= 15_000_000


@pytest.mark.parametrize("bad", ["shape", "mono", "empty", "nan", "infinite"])
def test_unusable_sound_is_refused_and_nothing_is_written(tmp_path: Path, bad: str) -> None:
    target, match = music(0.2), music(0.2)
    if bad == "shape":
        match = match[:, :-1]
    elif bad == "mono":
        target, match = target[:1], match[:1]
    elif bad == "empty":
        target, match = target[:, :0], match[:, :0]
    else:
        match[1, 50] = np.nan if bad == "nan" else np.inf
    with pytest.raises(AudioContentError, match=r"^report: the (target|match) [^\n]+$"):
        write_report(tmp_path / "report.html", graph=plain_graph(), target=target, match=match)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------ drawing


def test_boxes_follow_the_chain_and_lie_inside_their_block() -> None:
    graph = example_graph()
    drawn = drawing.draw_graph(graph)
    for block in drawn.blocks:
        assert [b.type for b in block.boxes] == [p.type for p in graph.chain(block.id)]
        lefts = [b.x for b in block.boxes]
        assert lefts == sorted(lefts)
        for box in block.boxes:
            assert block.x < box.x and box.x + drawn.box_width < block.x + block.width
            assert block.y < box.y and box.y + drawn.box_height < block.y + drawn.block_height


@pytest.mark.parametrize(
    "graph",
    [example_graph(), nested_graph(), plain_graph(), routed_graph()],
    ids=["example", "nested", "plain", "routed"],
)
def test_signal_flows_to_the_right_and_wires_pass_between_the_blocks(graph: MixGraph) -> None:
    drawn = drawing.draw_graph(graph)
    blocks = {block.id: block for block in drawn.blocks}
    assert set(blocks) == {c.id for c in graph.channels()}
    for channel in graph.channels():
        block, parent = blocks[channel.id], graph.parent(channel.id)
        assert block.x > 0 and block.x + block.width < drawn.width and block.y + drawn.block_height < drawn.height
        if parent is None:
            continue
        into = blocks[parent.id]
        assert block.x + block.width + drawing.COLUMN_GAP <= into.x
        height = block.y + drawn.block_height / 2
        for other in drawn.blocks:
            crossed = block.x + block.width < other.x < into.x and abs(other.y + drawn.block_height / 2 - height) < 28
            assert not crossed, f"the wire of {channel.id} runs through {other.id}"
    assert len(drawn.wires) == len(blocks)


def test_sends_leave_and_arrive_on_the_way_to_the_right() -> None:
    graph = routed_graph()
    drawn = drawing.draw_graph(graph)
    blocks = {block.id: block for block in drawn.blocks}
    assert len(drawn.sends) == len(graph.all_sends())
    for (source, target), wire in zip(graph.all_sends(), drawn.sends, strict=True):
        start, across, down, end = (float(n) for n in re.findall(r"[MHV](-?[\d.]+)", wire.path))
        left, right = blocks[source], blocks[target]
        assert start == pytest.approx(left.x + left.width, abs=0.1) and end == pytest.approx(right.x, abs=0.1)
        assert start < across < start + drawing.COLUMN_GAP < end + 0.1
        assert right.y < down < right.y + drawn.block_height
        if right.kind == "return":
            behind = [b for b in drawn.blocks if across < b.x < end and b.y <= down <= b.y + drawn.block_height]
            assert not behind, f"the send from {source} to {target} runs through {behind[0].id}"
    for block in drawn.blocks:
        for chip in block.chips:
            assert block.x < chip.x and chip.x + drawn.box_width < block.x + block.width
    (ride,) = (c for c in blocks["s0"].chips if c.kind == "ride")
    assert [c.label for c in blocks["s0"].chips] == ["", "→ -12.3", "→ +2"] and "nan" not in ride.path


def test_the_curve_of_automation_is_what_is_heard() -> None:
    given = points((1, -12), (3, 6))
    curve = drawing.draw_ride(given, duration_s=4.0)
    drawn = [tuple(map(float, pair.split())) for pair in curve.path[1:].split("L")]
    gains = volume_gains(given, frames=4001, sample_rate_hz=1000)
    for x, y in drawn:
        level_db = 12.0 - 36.0 * y / curve.height
        assert level_db == pytest.approx(20 * np.log10(gains[round(4000 * x / curve.width)]), abs=0.1)


def test_long_and_wide_names_are_cut_to_the_width_of_the_block() -> None:
    assert drawing.shorten("kick", cells=4) == "kick"
    assert drawing.shorten("kick drum", cells=6) == "kick…"
    assert drawing.shorten("音音音音", cells=8) == "音音音音"
    assert drawing.shorten("音音音音", cells=6) == "音音…"


def test_the_curve_of_an_equalizer_is_what_the_reference_does() -> None:
    eq = processor("eq", highpass_hz=80.0, bell2_hz=700.0, bell2_db=-9.0, high_shelf_db=5.0, mix=0.7)
    impulse = np.zeros((2, 1 << 15))
    impulse[:, 0] = 1.0
    output = apply_processor("eq", impulse, parameters=eq.parameters, sample_rate_hz=RATE_HZ, mix=eq.mix)
    response = np.fft.rfft(output[0])
    bins = np.array([30, 100, 520, 4000, 12000])
    expected = 20 * np.log10(np.abs(response[bins]))
    got = drawing.eq_response_db(eq, bins * RATE_HZ / (1 << 15), sample_rate_hz=RATE_HZ)
    np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize("kind", list(SPECS))
def test_equalizers_and_dynamics_have_a_curve(kind: str) -> None:
    curve = drawing.draw_curve(next(p for p in example_chain("x") if p.type == kind), sample_rate_hz=8000)
    assert (curve is not None) == (kind in ("eq", "compressor", "gate", "saturation", "limiter"))
    if curve is not None:
        assert "nan" not in curve.path and curve.path.count("L") >= 60


@pytest.mark.parametrize("kind", ["saturation", "limiter"])
def test_the_curve_of_a_steady_level_is_what_the_reference_does(kind: str) -> None:
    node = next(p for p in example_chain("x") if p.type == kind)
    curve = drawing.draw_curve(node, sample_rate_hz=RATE_HZ)
    assert curve is not None
    points = [tuple(map(float, pair.split())) for pair in curve.path[1:].split("L")]
    for x, y in points[::6]:
        level_db = -60.0 * (1.0 - x / curve.width)
        steady = np.full((2, 4000), 10 ** (level_db / 20))
        out = apply_processor(kind, steady, parameters=node.parameters, sample_rate_hz=RATE_HZ)[0, 2000]
        # Drawn to a tenth of a pixel, of which a decibel has 1.2.
        assert -60.0 * y / curve.height == pytest.approx(20 * np.log10(out), abs=0.1)


# ------------------------------------------------------------------------------ the page


def test_the_page_asks_for_nothing_from_outside(page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "data", "poster", "action", "background"):
            value = attributes.get(name, "")
            assert not value or value.startswith(("data:", "#")), f"<{tag} {name}={value[:60]}>"
        assert "url(" not in attributes.get("style", "")
        assert not [name for name in attributes if name.startswith("on")]
    assert "@import" not in page.raw["style"] and "url(" not in page.raw["style"]
    for call in ("fetch(", "XMLHttpRequest", "import(", "WebSocket", "EventSource", "sendBeacon", "http"):
        assert call not in page.raw["script"], call
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_the_page_names_all_channels_and_processors(page: Page) -> None:
    graph = example_graph()
    for summary in words.summarise(graph):
        assert summary.name in page.text
        for text in summary.texts:
            title, colon, rest = text.partition(": ")
            settings = rest if colon else title
            assert settings[1:] in page.text
    assert "moved 3 ms (132 samples) later, polarity inverted" in page.text
    boxes = [a for a in page.all("g") if a.get("class", "").startswith("box type-")]
    assert len(boxes) == len(graph.processors)
    assert len(page.all("article")) == len(list(graph.channels()))
    assert "Straight through" in page.text


def test_names_from_a_song_are_harmless(page: Page) -> None:
    assert len(page.all("script")) == 1
    assert "alert" not in page.raw["script"]
    assert page.text.count(HOSTILE) >= 4  # title, heading, warning and card, all as plain text
    assert QUOTED in page.text
    assert not page.all("b")
    assert all("style" in a or a.get("class") == "playhead" for a in page.all("i"))


def test_links_lead_to_the_channels(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.all("a")]
    channels = [link for link in links if link.startswith("#channel-")]
    assert len(channels) == 5
    inside = [link for link in links if not link.startswith("data:text/markdown")]
    assert len(inside) == len(links) - 1 and all(link.removeprefix("#") in ids for link in inside)


def test_the_page_holds_six_pictures_with_words_for_them(page: Page) -> None:
    images = page.all("img")
    assert len(images) == 6
    for image in images:
        assert image["alt"]
        with Image.open(io.BytesIO(data_of(image["src"]))) as opened:
            assert opened.format == "PNG"
            assert opened.size[0] <= pictures.MAX_COLUMNS
    assert len({image["src"] for image in images}) == 6


def test_the_tables_hold_the_numbers_and_a_dash_where_there_is_none(page: Page, tmp_path: Path) -> None:
    assert re.search(r"Plain sum.{0,60}1\.200 ?100 %", page.text)
    assert re.search(r"After pruning.{0,60}0\.543 ?45 %", page.text)
    assert re.search(rf"Reference render.{{0,80}}{DASH} ?{DASH}", page.text)
    assert re.search(r"Parametric EQ ?25 %", page.text)
    assert re.search(r"Reverb ?88 %", page.text)
    assert "35" in page.text and "a warning about" in page.text and "a note about" in page.text
    bare = page_of(tmp_path, plain_graph(), music(0.3), music(0.3))
    assert len(re.findall(rf"{DASH} ?{DASH}", bare.text)) >= 5
    assert "does not say what was pruned" in bare.text
    assert "Match and target are identical." in bare.text
    assert "Notes and warnings" not in bare.text


@pytest.mark.parametrize("frames", [1, 7, 100, 5000])
@pytest.mark.parametrize("level", [0.0, 0.1])
def test_silent_and_very_short_songs_have_a_page(tmp_path: Path, frames: int, level: float) -> None:
    target = level * music(1.0)[:, :frames]
    page = page_of(tmp_path, plain_graph(), target, np.zeros_like(target))
    assert len(page.all("img")) == 6
    audio, _ = page.decoded("target")
    assert audio.shape == (2, frames)
    assert "nan" not in page.text.lower() and "inf" not in page.text.lower().replace("information", "")


def test_warnings_with_halves_of_letters_do_not_break_the_page(tmp_path: Path) -> None:
    page = page_of(tmp_path, plain_graph(), music(0.1), music(0.1), warnings=["caf\udce9.wav is silent"])
    assert "caf?.wav is silent" in page.text


def test_a_warning_that_the_graph_notes_too_is_said_once(tmp_path: Path) -> None:
    graph = plain_graph()
    graph.provenance.notes = ["the mix clips", "nothing above 9 kHz"]
    page = page_of(tmp_path, graph, music(0.1), music(0.1), warnings=["the mix clips"])
    assert page.text.count("the mix clips") == 1
    assert "nothing above 9 kHz" in page.text


def test_float32_and_float64_give_the_same_page(tmp_path: Path) -> None:
    target, match = music(0.3).astype(np.float32), music(0.3, seed=3).astype(np.float32)
    write_report(tmp_path / "a.html", graph=plain_graph(), target=target, match=match)
    write_report(tmp_path / "b.html", graph=plain_graph(), target=target.astype(float), match=match.astype(float))
    one, two = ((tmp_path / name).read_text("utf-8") for name in ("a.html", "b.html"))
    assert [a["alt"] for a in Page(one).all("img")] == [a["alt"] for a in Page(two).all("img")]
    assert Page(one).text == Page(two).text


@pytest.mark.slow
def test_a_browser_shows_the_page_without_a_word_of_complaint(page_path: Path, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    flags += ["--enable-logging=stderr", "--virtual-time-budget=3000"]
    run = subprocess.run(
        [browser, *flags, f"--user-data-dir={tmp_path}", "--dump-dom", page_path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    complaints = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
    # The script took over: the transport is there and the browser's own controls are gone.
    shown = Page(run.stdout)
    assert all("controls" not in a for a in shown.all("audio"))
    assert all("hidden" not in a for _, a in shown.tags if "data-transport" in a)
