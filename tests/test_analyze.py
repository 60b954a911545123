"""The main job as a user types it: results, bad input, nothing half written, stop and resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from mixbridge.bridge.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USER_ERROR
from mixbridge.bridge.graph import MixGraph, Stem
from mixbridge.bridge.hosting.places import HOME_VARIABLE, system_vst3_folders
from mixbridge.bridge.render import render_graph

from .dsp import null_db, programme

RATE_HZ = 44100
SECONDS = 5.0
STEMS = {"drums_kick": 1, "drums_hat": 2, "bass": 1}


def write_song(folder: Path, *, seconds: float = SECONDS) -> tuple[Path, Path]:
    """A folder of stems (two of them mono) and a mix with levels, pans and a filter."""
    stems = folder / "stems"
    stems.mkdir(parents=True)
    mix = np.zeros((2, int(seconds * RATE_HZ)))
    for number, (name, channels) in enumerate(STEMS.items()):
        audio = 0.3 * programme(seconds=seconds, seed=number)
        if channels == 1:
            audio[1] = audio[0]
        soundfile.write(stems / f"{name}.wav", audio[:channels].T, RATE_HZ, subtype="FLOAT")
        if name == "bass":
            # Faders alone must not make this mix: the session needs an effect.
            audio = scipy.signal.sosfilt(scipy.signal.butter(2, 900.0, fs=RATE_HZ, output="sos"), audio)
        mix += np.array([[0.8], [0.4 + 0.2 * number]]) * audio
    soundfile.write(folder / "mix.wav", mix.T, RATE_HZ, subtype="FLOAT")
    return stems, folder / "mix.wav"


def mixbridge(*arguments: object, cwd: Path, timeout_s: float = 900.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mixbridge", *(str(a) for a in arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_song(tmp_path_factory.mktemp("song"))


@pytest.fixture(scope="module")
def result(song: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """One draft run with everything, shared by the tests that look at what it wrote."""
    folder = tmp_path_factory.mktemp("cwd") / "out here"
    done = mixbridge(
        "analyze", *song, "--export", "reaper", "--quality", "draft", "--out", folder, "--json", cwd=folder.parent
    )
    assert done.returncode == EXIT_OK, done.stderr
    assert done.stderr == "", "nothing but the result is printed when piped"
    return folder, json.loads(done.stdout)


@pytest.mark.slow
def test_the_folder_holds_what_the_readme_promises(result: tuple[Path, dict[str, object]]) -> None:
    folder, _ = result
    names = {p.name for p in folder.iterdir()}
    assert names == {"graph.json", "match.wav", "report.html", "traces.json", "export.json", "reaper"}
    assert len(list((folder / "reaper").glob("*.rpp"))) == 1
    # The stems, and the finished mix to compare with.
    assert {p.stem for p in (folder / "reaper" / "Media").iterdir()} == {*STEMS, "mix"}
    assert list((folder / "reaper" / "Effects").glob("*.jsfx"))


@pytest.mark.slow
def test_json_lists_files_that_exist_and_losses_that_fell(result: tuple[Path, dict[str, object]]) -> None:
    folder, data = result
    assert all(Path(p).exists() for p in data["files"].values())  # type: ignore[attr-defined]
    loss: dict[str, float] = data["loss"]  # type: ignore[assignment]
    assert loss["pruned"] < loss["plain_sum"]
    assert loss["reference"] == pytest.approx(loss["pruned"], abs=0.05)
    assert [c["name"] for c in data["channels"]] == [*sorted(STEMS), "drums", "Master"]  # type: ignore[attr-defined]
    graph = MixGraph.load(folder / "graph.json")
    assert graph.provenance.loss.pruned == loss["pruned"]
    assert graph.pruned, "what was pruned is at hand"


@pytest.mark.slow
def test_match_wav_is_the_reference_render_of_the_graph(
    result: tuple[Path, dict[str, object]], song: tuple[Path, Path]
) -> None:
    folder, _ = result
    graph = MixGraph.load(folder / "graph.json")
    match, rate_hz = soundfile.read(folder / "match.wav", always_2d=True)
    assert (rate_hz, len(match)) == (RATE_HZ, int(SECONDS * RATE_HZ))

    def load(stem: Stem) -> np.ndarray:
        audio, _ = soundfile.read(song[0] / stem.file, always_2d=True)
        placed = np.zeros((2, len(match)))
        late = graph.position_samples(stem)
        source = stem.polarity * audio.T[:, max(-late, 0) : len(match) - max(late, 0)]
        placed[:, max(late, 0) : max(late, 0) + source.shape[1]] = source
        return placed

    assert null_db(match.T, render_graph(graph, load)) < -120.0


def stopped_by(stop: signal.Signals, song: tuple[Path, Path], out: Path) -> tuple[int, str]:
    """Begin a run and stop it when it first says how far it is; its exit code and what it said."""
    command = [sys.executable, "-m", "mixbridge", "analyze", *map(str, song), "--quality", "draft", "--out", str(out)]
    # A job in the background is started with Ctrl-C ignored, and would hand that on.
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    checkpoint = out / ".unfinished" / "search.json"
    deadline = time.monotonic() + 600
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=300)
    assert {p.name for p in out.iterdir()} == {".unfinished"}
    return process.returncode, errors


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(song: tuple[Path, Path], tmp_path: Path) -> None:
    code, errors = stopped_by(signal.SIGINT, song, tmp_path / "out")
    assert code == EXIT_INTERRUPTED
    assert "--resume" in errors and "Traceback" not in errors


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_graph_of_one_that_was_not(
    result: tuple[Path, dict[str, object]], song: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stopped_by(signal.SIGKILL, song, out)
    refused = mixbridge("analyze", *song, "--quality", "draft", "--out", out, cwd=tmp_path)
    assert refused.returncode == EXIT_USER_ERROR and "--resume" in refused.stderr
    resumed = mixbridge("analyze", *song, "--quality", "draft", "--out", out, "--resume", cwd=tmp_path)
    assert resumed.returncode == EXIT_OK, resumed.stderr
    assert "Match loss" in resumed.stdout and "bass" in resumed.stdout
    # Another process, another folder, and a stop on the way: the same command gives the same graph.
    assert (out / "graph.json").read_text() == (result[0] / "graph.json").read_text()
    assert not (out / ".unfinished").exists()


# ------------------------------------------------------------------ bad input


def bad_nan(stems: Path) -> None:
    audio = programme(seconds=1.0)
    audio[0, 100] = np.nan
    soundfile.write(stems / "bass.wav", audio.T, RATE_HZ, subtype="FLOAT")


BAD_STEMS = {
    "empty folder": (lambda s: [p.unlink() for p in s.iterdir()], "no audio"),
    "no folder": (lambda s: ([p.unlink() for p in s.iterdir()], s.rmdir()), "stems"),
    "unreadable file": (lambda s: (s / "bass.wav").write_bytes(b"not audio at all"), "bass.wav"),
    "NaN samples": (bad_nan, "bass.wav"),
    "all silent": (
        lambda s: [soundfile.write(p, np.zeros((RATE_HZ, 1)), RATE_HZ) for p in list(s.iterdir())],
        "silent",
    ),
}


@pytest.mark.parametrize("case", list(BAD_STEMS))
def test_bad_stems_cost_one_line_and_leave_nothing(case: str, tmp_path: Path) -> None:
    stems, mix = write_song(tmp_path, seconds=1.5)
    spoil, message = BAD_STEMS[case]
    spoil(stems)
    refused(tmp_path, ["analyze", stems, mix], message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--start", "9"], "start"),
        (["--start", "1", "--end", "0.5"], "end"),
        (["--groups", "none.yaml"], "none.yaml"),
        (["--device", "toaster"], "toaster"),
        (["--out", "mix.wav"], "--out"),
        (["--out", "stems"], "--out"),
        (["--plugins", "abbey"], "abbey"),
        (["--plugins", "reverb=abbey,*=jsfx"], "abbey"),
        (["--plugins", "pedalboard", "--export", "reaper"], "eq=jsfx,compressor=jsfx"),
        (["--export", "pedalboard"], "--plugins lsp"),
    ],
)
def test_bad_settings_cost_one_line_and_leave_nothing(options: list[str], message: str, tmp_path: Path) -> None:
    stems, mix = write_song(tmp_path, seconds=1.5)
    refused(tmp_path, ["analyze", stems, mix, *options], message)


def test_missing_plugins_are_named_before_the_search(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any(list(folder.rglob("lsp-plugins.vst3")) for folder in system_vst3_folders()):
        pytest.skip("the plugins are installed on this system")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path_factory.mktemp("home")))
    stems, mix = write_song(tmp_path, seconds=1.5)
    arguments: list[object] = ["analyze", stems, mix, "--plugins", "lsp", "--export", "pedalboard"]
    refused(tmp_path, arguments, "plugins install lsp")


def test_a_missing_or_broken_mix_costs_one_line(tmp_path: Path) -> None:
    stems, mix = write_song(tmp_path, seconds=1.5)
    refused(tmp_path, ["analyze", stems, "none.wav"], "none.wav")
    mix.write_bytes(b"RIFF")
    refused(tmp_path, ["analyze", stems, mix], "mix.wav")


def test_an_earlier_result_is_not_overwritten(tmp_path: Path) -> None:
    stems, mix = write_song(tmp_path, seconds=1.5)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "graph.json").write_text("{}")
    refused(tmp_path, ["analyze", stems, mix, "--out", "out"], "--overwrite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    stems, mix = write_song(tmp_path, seconds=1.5)
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(tmp_path, ["analyze", stems, mix, "--out", "locked/out"], "locked")


def test_usage_errors_have_exit_code_2(tmp_path: Path) -> None:
    for arguments in (["analyze"], ["analyze", "a", "b", "--quality", "perfect"], ["fly"]):
        assert mixbridge(*arguments, cwd=tmp_path).returncode == EXIT_USER_ERROR


def refused(folder: Path, arguments: list[object], message: str) -> None:
    before = sorted(folder.rglob("*"))
    done = mixbridge(*arguments, cwd=folder)
    assert done.returncode == EXIT_USER_ERROR, done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert message in lines[0]
    assert sorted(folder.rglob("*")) == before, "a refused command writes nothing"
