"""The recovery report: what counts as the same processor, what an error is, and what is not heard does not count."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mixbridge.bridge.audio import write_wav
from mixbridge.bridge.errors import AudioFileError, GraphError
from mixbridge.bridge.graph import VolumePoint
from mixbridge.bridge.recovery import Recovery, evaluate, medians
from mixbridge.bridge.recovery_files import compare_files
from mixbridge.bridge.recovery_match import Agreement
from mixbridge.bridge.render import StemLoader
from mixbridge.cli import app

from .graphs import FRAMES, RATE_HZ, Chain, graph


@pytest.fixture(scope="module")
def stems() -> dict[str, np.ndarray]:
    """Three kinds of noise that come and go, the middle one below 2 kHz only."""
    random = np.random.default_rng(4)
    noise = 0.1 * random.standard_normal((3, 2, FRAMES))
    spectrum = np.fft.rfft(noise[1])
    spectrum[:, int(2000 * FRAMES / RATE_HZ) :] = 0.0
    noise[1] = np.fft.irfft(spectrum, n=FRAMES)
    beat = (np.arange(FRAMES) // (RATE_HZ // 4)) % 2
    noise[0] *= 0.2 + 0.8 * beat
    return {"a": noise[0], "b": noise[1], "c": noise[2]}


@pytest.fixture(scope="module")
def loader(stems: dict[str, np.ndarray]) -> StemLoader:
    return lambda stem: stems[stem.id]


GAIN, EQ, COMP = "gain_pan", "eq", "compressor"


def stem_errors(report: Recovery, stem: str) -> dict[str, float]:
    return next(vars(s) for s in report.stems if s.stem == stem)


def test_a_graph_recovers_itself(loader: StemLoader) -> None:
    truth = graph(
        {
            "a": [(EQ, {"bell1_db": 4.0}), (COMP, {"threshold_db": -30.0, "ratio": 4.0})],
            "b": [(GAIN, {"gain_db": -3.0})],
        },
        master=[(EQ, {"high_shelf_db": 2.0})],
    )
    report = evaluate(truth, truth, load_stem=loader)
    assert report.processors.f1 == 1.0
    assert report.processors == Agreement(both=3)
    assert report.processors_and_faders == Agreement(both=4)
    assert report.missed == report.extra == []
    assert all(value == pytest.approx(0.0, abs=1e-9) for value in report.medians().values() if value is not None)
    assert report.medians()["threshold_db"] == 0.0


def test_faders_are_judged_along_the_whole_path(loader: StemLoader) -> None:
    on_track = graph({"a": [(GAIN, {"gain_db": -5.0, "pan": 0.4})], "b": []})
    divided = graph(
        {"a": [(GAIN, {"gain_db": 1.0, "pan": 0.4})], "b": [(GAIN, {"gain_db": 6.0})]},
        groups={"all": (["a", "b"], [(GAIN, {"gain_db": -4.0})])},
        master=[(COMP, {"makeup_db": -2.0, "ratio": 1.0})],
    )
    errors = stem_errors(evaluate(divided, on_track, load_stem=loader), "a")
    assert errors["fader_db"] == pytest.approx(0.0, abs=1e-6)
    assert errors["pan"] == pytest.approx(0.0, abs=1e-6)
    louder = graph({"a": [(GAIN, {"gain_db": -3.5, "pan": 0.1})], "b": []})
    errors = stem_errors(evaluate(louder, on_track, load_stem=loader), "a")
    assert errors["fader_db"] == pytest.approx(1.5, abs=1e-6)
    assert errors["pan"] == pytest.approx(-0.3, abs=1e-6)


def test_the_dry_share_of_an_insert_delay_is_a_gain() -> None:
    wet = graph({"a": [("delay", {"tap1_level_db": -20.0, "mix": 0.5})], "b": []})
    dry = graph({"a": [(GAIN, {"gain_db": -6.0206})], "b": []})
    assert stem_errors(evaluate(wet, dry), "a")["fader_db"] == pytest.approx(0.0, abs=1e-3)


def test_an_eq_is_judged_where_the_stem_has_energy_and_without_its_mean(loader: StemLoader) -> None:
    truth = graph({"a": [(EQ, {"bell2_db": 6.0})], "b": [(EQ, {"bell2_db": 6.0})], "c": []})
    far = {"bell2_db": 6.0, "bell4_db": 9.0, "bell4_hz": 9000.0, "bell4_q": 3.0}
    found = graph({"a": [(EQ, far)], "b": [(EQ, far)], "c": []})
    report = evaluate(found, truth, load_stem=loader)
    assert stem_errors(report, "a")["eq_db"] > 1.0
    assert stem_errors(report, "b")["eq_db"] < 0.1
    assert stem_errors(report, "c")["eq_db"] is None
    # A shelf at the very bottom raises all there is: that is a fader.
    lifted = graph({"a": [(EQ, {"bell2_db": 6.0, "low_shelf_db": 3.0, "low_shelf_hz": 20000.0, "low_shelf_q": 0.2})],
                    "b": [(EQ, {"bell2_db": 6.0})], "c": []})  # fmt: skip
    flat = stem_errors(evaluate(lifted, truth, load_stem=loader), "a")
    assert flat["fader_db"] > 1.5
    assert flat["eq_db"] < 0.6


def test_an_eq_on_a_group_of_one_track_is_one_on_the_track(loader: StemLoader) -> None:
    curve = {"bell3_db": -5.0}
    truth = graph({"a": [(EQ, curve)], "b": [], "c": []})
    found = graph({"a": [], "b": [], "c": []}, groups={"alone": (["a"], [(EQ, curve)])})
    report = evaluate(found, truth, load_stem=loader)
    assert report.processors == Agreement(both=1)
    assert stem_errors(report, "a")["eq_db"] == pytest.approx(0.0, abs=1e-9)
    elsewhere = graph({"a": [], "b": [(EQ, curve)], "c": []})
    report = evaluate(elsewhere, truth, load_stem=loader)
    assert report.processors == Agreement(found_only=1, true_only=1)
    assert report.missed == ["eq on a"]
    assert report.extra == ["eq on b"]
    assert report.processors.f1 == 0.0


def test_a_group_of_everything_is_the_master_and_names_do_not_matter(loader: StemLoader) -> None:
    squeeze = [(COMP, {"threshold_db": -25.0, "ratio": 3.0})]
    truth = graph({"a": [], "b": [], "c": []}, groups={"drums": (["a", "b"], squeeze)}, master=squeeze)
    found = graph({"a": [], "b": [], "c": []}, groups={"x": (["b", "a"], squeeze), "y": (["c"], [])}, master=squeeze)
    assert evaluate(found, truth, load_stem=loader).processors == Agreement(both=2)
    all_in_one = graph({"a": [], "b": [], "c": []}, groups={"all": (["a", "b", "c"], squeeze)})
    assert evaluate(all_in_one, truth, load_stem=loader).processors == Agreement(both=1, true_only=1)


def test_thresholds_are_referred_to_the_stem(loader: StemLoader) -> None:
    truth = graph({"a": [(COMP, {"threshold_db": -30.0, "ratio": 4.0, "attack_ms": 10.0})], "b": []})
    # Everything 6 dB up in front of the compressor and its threshold with it: the same setting.
    up = {"low_shelf_db": 6.0, "low_shelf_hz": 20000.0, "low_shelf_q": 0.2,
          "high_shelf_db": 6.0, "high_shelf_hz": 20.0, "high_shelf_q": 0.2}  # fmt: skip
    found = graph({"a": [(EQ, up), (COMP, {"threshold_db": -18.0, "ratio": 2.0, "attack_ms": 20.0})], "b": []})
    report = evaluate(found, truth, load_stem=loader)
    (errors,) = report.dynamics
    assert errors.threshold_db == pytest.approx(0.0, abs=1.0)
    assert errors.ratio == pytest.approx(0.5)
    assert errors.attack == pytest.approx(2.0)
    assert errors.release == pytest.approx(1.0)
    assert report.medians()["attack_octaves"] == pytest.approx(1.0)
    plain = graph({"a": [(COMP, {"threshold_db": -27.0, "ratio": 4.0})], "b": []})
    assert evaluate(plain, truth, load_stem=loader).dynamics[0].threshold_db == pytest.approx(3.0)


def test_what_changes_nothing_does_not_count(loader: StemLoader) -> None:
    truth = graph({"a": [], "b": []})
    idle: Chain = [
        (COMP, {"threshold_db": 0.0, "ratio": 8.0, "knee_db": 0.0}),
        ("gate", {"threshold_db": -80.0, "ratio": 4.0}),
        (EQ, {"bell1_db": 0.02}),
        ("delay", {}),
        ("reverb", {"level_db": -20.0, "mix": 0.0}),
    ]
    found = graph({"a": idle, "b": [(GAIN, {})]})
    assert evaluate(found, truth, load_stem=loader).processors == Agreement()
    # Without the stems nobody knows that the levels stay below the threshold.
    assert evaluate(found, truth).processors == Agreement(found_only=3)
    working = graph({"a": [(COMP, {"threshold_db": -40.0, "ratio": 8.0})], "b": []})
    assert evaluate(working, truth, load_stem=loader).extra == ["compressor on a"]


def test_what_dynamics_take_away_counts_for_the_level_only(loader: StemLoader) -> None:
    truth = graph({"a": [], "b": []})
    found = graph({"a": [(COMP, {"threshold_db": -45.0, "ratio": 4.0, "makeup_db": 3.0})], "b": []})
    errors = stem_errors(evaluate(found, truth, load_stem=loader), "a")
    assert errors["fader_db"] == pytest.approx(3.0, abs=1e-6)
    assert errors["level_db"] < -3.0
    assert stem_errors(evaluate(found, truth), "a")["level_db"] is None


def test_a_send_counts_like_an_insert_and_may_miss_a_sender(loader: StemLoader) -> None:
    room = [("reverb", {"level_db": 0.0, "decay_s": 1.0})]
    truth = graph({"a": [], "b": [], "c": []}, returns={"room": ({"a": -12.0, "b": -10.0}, room)})
    longer = [("reverb", {"level_db": 0.0, "decay_s": 1.5, "pre_delay_ms": 20.0})]
    found = graph({"a": [], "b": [], "c": []}, returns={"other": ({"a": -9.0, "b": -12.0, "c": -30.0}, longer)})
    report = evaluate(found, truth, load_stem=loader)
    assert report.processors == Agreement(both=1)
    (errors,) = report.reverbs
    assert errors.decay == pytest.approx(1.5)
    assert errors.pre_delay_ms == pytest.approx(20.0)
    half_wet: Chain = [("reverb", {"level_db": -10.0, "mix": 0.5})]
    insert = graph({"a": [], "b": [], "c": []}, groups={"ab": (["a", "b"], half_wet)})
    assert evaluate(insert, truth, load_stem=loader).processors == Agreement(both=1)
    alone = graph({"a": [], "b": [], "c": half_wet})
    assert evaluate(alone, truth, load_stem=loader).processors == Agreement(found_only=1, true_only=1)


def test_a_return_that_is_hardly_heard_does_not_count(loader: StemLoader) -> None:
    truth = graph({"a": [], "b": []})
    faint = graph({"a": [], "b": []}, returns={"room": ({"a": -58.0}, [("reverb", {"level_db": 0.0})])})
    assert evaluate(faint, truth, load_stem=loader).processors == Agreement()
    loud = graph({"a": [], "b": []}, returns={"room": ({"a": -12.0}, [("reverb", {"level_db": 0.0})])})
    assert evaluate(loud, truth, load_stem=loader).processors == Agreement(found_only=1)


def test_echoes_are_matched_by_the_nearest() -> None:
    echoes = {"tap1_time_ms": 200.0, "tap1_level_db": -6.0, "tap2_time_ms": 410.0, "tap2_level_db": -12.0}
    truth = graph({"a": [("delay", echoes)], "b": []})
    # The same two taps the other way round, one 3 ms late, and a third that nobody asked for.
    other = {"tap1_time_ms": 413.0, "tap1_level_db": -12.0, "tap3_time_ms": 200.0, "tap3_level_db": -5.0,
             "tap2_time_ms": 900.0, "tap2_level_db": -30.0}  # fmt: skip
    (errors,) = evaluate(graph({"a": [("delay", other)], "b": []}), truth).delays
    assert errors.time_ms == pytest.approx([0.0, 3.0])
    assert errors.level_db == pytest.approx([1.0, 0.0])


def test_automation_is_judged_by_its_shape_and_its_mean_is_a_fader(loader: StemLoader) -> None:
    fade = [VolumePoint(time_s=0.0, gain_db=-20.0), VolumePoint(time_s=1.0, gain_db=0.0)]
    truth = graph({"a": [], "b": []}, volume={"a": fade})
    on_master = graph({"a": [], "b": []}, volume={"master": fade})
    report = evaluate(on_master, truth, load_stem=loader)
    assert stem_errors(report, "a")["automation_db"] == pytest.approx(0.0, abs=1e-9)
    assert stem_errors(report, "b")["automation_db"] > 1.0
    constant = graph({"a": [], "b": []}, volume={"a": [VolumePoint(time_s=0.0, gain_db=-4.0)]})
    errors = stem_errors(evaluate(constant, graph({"a": [], "b": []}), load_stem=loader), "a")
    assert errors["automation_db"] == pytest.approx(0.0, abs=1e-6)
    assert errors["fader_db"] == pytest.approx(-4.0, abs=1e-6)


def test_micro_average_and_medians_over_songs(loader: StemLoader) -> None:
    truth = graph({"a": [(EQ, {"bell1_db": 4.0})], "b": [(EQ, {"bell1_db": 4.0})]})
    half = graph({"a": [(EQ, {"bell1_db": 4.0})], "b": [(GAIN, {"gain_db": 1.0})]})
    reports = [evaluate(half, truth, load_stem=loader), evaluate(truth, truth, load_stem=loader)]
    both = sum((r.processors for r in reports), Agreement())
    assert both == Agreement(both=3, true_only=1)
    assert both.f1 == pytest.approx(6 / 7)
    assert both.precision == 1.0
    assert both.recall == pytest.approx(0.75)
    assert medians(reports)["fader_db"] == pytest.approx(0.0, abs=1e-6)
    assert medians([]) == {}


def test_other_songs_are_refused() -> None:
    one = graph({"a": [], "b": []})
    with pytest.raises(GraphError, match="'z' is not in the other graph"):
        evaluate(graph({"a": [], "z": []}), one)
    with pytest.raises(GraphError, match="lacks the stem 'b'"):
        evaluate(graph({"a": []}), one)


def test_the_command_reads_files_and_prints_json(tmp_path: Path, stems: dict[str, np.ndarray]) -> None:
    (tmp_path / "stems").mkdir()
    for name in ("a", "b"):
        write_wav(tmp_path / "stems" / f"{name}.wav", stems[name], sample_rate_hz=RATE_HZ)
    truth, found = tmp_path / "truth.json", tmp_path / "graph.json"
    graph({"a": [(GAIN, {"gain_db": -3.0})], "b": [(EQ, {"bell1_db": 5.0})]}).save(truth)
    graph({"a": [(GAIN, {"gain_db": -2.5})], "b": [(EQ, {"bell1_db": 5.0})]}).save(found)
    done = CliRunner().invoke(app, ["compare", str(found), str(truth), "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["stems"][0]["fader_db"] == pytest.approx(0.5, abs=1e-6)
    assert report["processors"]["f1"] == 1.0
    text = CliRunner().invoke(app, ["compare", str(found), str(truth)])
    assert "+0.50" in text.stdout
    with pytest.raises(AudioFileError, match="--stems"):
        compare_files(found, truth, stems_dir=tmp_path / "nowhere")
