"""What the search finds on the demo song, against the truth its mix was made with.

Stated tolerances, for effects that truth.json calls clear:

* equalizer: in the third of an octave around a band, the found curve (track, group and master
  together, relative to its mean over the stem's spectrum) has the truth's sign and at least
  `EQ_SHARE` of its size;
* compressor: the stem's chain reduces the gain by at least `REDUCTION_SHARE` of the truth's
  typical reduction, measured in the same way;
* pan: within `PAN_TOLERANCE`;
* delay: a tap within `DELAY_TOLERANCE_MS` of an echo's time;
* reverb: one on the right group, its tracks, the master or a return they send to, RT60 within a factor of
  `RT60_FACTOR`.

A draft finds all that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile

from mixbridge.bridge.graph import MixGraph, Processor
from mixbridge.bridge.processors import equations as eq
from mixbridge.bridge.processors.reference import apply_processor, eq_sections
from mixbridge.bridge.processors.specs import spec_of

EQ_SHARE = 0.4
REDUCTION_SHARE = 0.35
PAN_TOLERANCE = 0.15
DELAY_TOLERANCE_MS = 10.0
RT60_FACTOR = 2.0

pytestmark = pytest.mark.slow


class Found:
    """A graph found on the demo song, with the truth and the stems beside it."""

    def __init__(self, folder: Path, graph: MixGraph) -> None:
        self.folder, self.graph = folder, graph
        self.truth: dict[str, Any] = json.loads((folder / "truth.json").read_text(encoding="utf-8"))

    def stem(self, name: str) -> np.ndarray:
        path = next((self.folder / "stems").glob(f"{name}.*"))
        audio, _ = soundfile.read(path, always_2d=True)
        return np.broadcast_to(audio.T, (2, len(audio)))

    def path(self, name: str) -> list[Processor]:
        """All processors between a stem and the output."""
        found: list[Processor] = []
        channel: str | None = name
        while channel is not None:
            found += self.graph.chain(channel)
            parent = self.graph.parent(channel)
            channel = None if parent is None else parent.id
        return found


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("recovery")

    def run(*arguments: object) -> dict[str, Any]:
        command = [sys.executable, "-m", "mixbridge", *map(str, arguments), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    song = run("demo", folder / "song")
    result = run("analyze", song["stems"], song["mix"], "--quality", "draft", "--out", folder / "out")
    return Found(folder / "song", MixGraph.load(Path(result["files"]["graph"])))


def clear(found: Found, effect: str) -> list[dict[str, Any]]:
    """Clear effects of one kind; there is at least one."""
    chosen = [e for e in found.truth["clear_effects"] if e["effect"] == effect]
    assert chosen
    return chosen


def eq_curve_db(processors: list[Processor], frequency_hz: np.ndarray, rate_hz: int) -> np.ndarray:
    total = np.ones(len(frequency_hz), dtype=complex)
    for node in processors:
        if node.type == "eq":
            sections = eq_sections(node.parameters, sample_rate_hz=rate_hz)
            response = np.ones_like(total)
            if len(sections):
                _, response = scipy.signal.sosfreqz(sections, worN=frequency_hz, fs=rate_hz)
            total *= node.mix * response + 1.0 - node.mix
    return 20.0 * np.log10(np.abs(total) + 1e-9)


def true_curve_db(bands: list[dict[str, Any]], frequency_hz: np.ndarray, rate_hz: int) -> np.ndarray:
    total = np.zeros(len(frequency_hz))
    for band in bands:
        b0, b1, b2, a1, a2 = eq.biquad(
            band["kind"], frequency_hz=band["frequency_hz"], gain_db=band["gain_db"], q=band["q"],
            sample_rate_hz=rate_hz, xp=np,
        )  # fmt: skip
        _, response = scipy.signal.freqz([b0, b1, b2], [1.0, a1, a2], worN=frequency_hz, fs=rate_hz)
        total += 20.0 * np.log10(np.abs(response))
    return total


def test_the_match_is_far_better_than_gain_and_pan(found: Found) -> None:
    loss = found.graph.provenance.loss
    assert loss.pruned is not None and loss.gain_pan is not None and loss.reference is not None
    assert loss.pruned < 0.6 * loss.gain_pan
    assert loss.reference == pytest.approx(loss.pruned, abs=0.02)
    assert len(found.graph.processors) <= found.graph.provenance.console_processors / 2


def test_equalizer_bands_show_up(found: Found) -> None:
    figures = {
        f"{e['channel']} {e['kind']} {e['frequency_hz']:.0f} Hz": band_figures(found, e) for e in clear(found, "eq")
    }
    missed = {k: v for k, v in figures.items() if v[0] * np.sign(v[1]) < EQ_SHARE * abs(v[1])}
    assert not missed, f"found and true dB: {missed}"


def band_figures(found: Found, effect: dict[str, Any]) -> tuple[float, float]:
    """Found and true level (dB) of a band, relative to the mean of the curve over the stem's spectrum."""
    name, rate_hz = effect["channel"], found.truth["sample_rate_hz"]
    frequency_hz, power = scipy.signal.welch(found.stem(name)[0], rate_hz, nperseg=4096)
    audible = (frequency_hz > 40.0) & (frequency_hz < 14000.0)
    frequency_hz, weight = frequency_hz[audible], power[audible] / power[audible].sum()
    curves = [
        eq_curve_db(found.path(name), frequency_hz, rate_hz),
        true_curve_db(found.truth["stems"][name]["eq"], frequency_hz, rate_hz),
    ]
    near = np.abs(np.log2(frequency_hz / effect["frequency_hz"])) < 1 / 6
    if effect["kind"] == "low_shelf":
        near = frequency_hz <= effect["frequency_hz"]
    elif effect["kind"] == "high_shelf":
        near = (frequency_hz >= effect["frequency_hz"]) & (frequency_hz < 2 * effect["frequency_hz"])
    here, true = (float(c[near].mean() - c @ weight) for c in curves)
    return here, true


def test_compression_shows_up(found: Found) -> None:
    figures = {
        e["channel"]: (reduction_db(found, e["channel"]), e["typical_gain_reduction_db"])
        for e in clear(found, "compressor")
    }
    missed = {k: v for k, v in figures.items() if v[0] < REDUCTION_SHARE * v[1]}
    assert not missed, f"found and true dB: {missed}"


def reduction_db(found: Found, name: str) -> float:
    """Gain reduction of a track's compressors: mean over the stem, weighted by energy."""
    rate_hz = found.truth["sample_rate_hz"]
    signal = np.asarray(found.stem(name), dtype=np.float64)
    total_db = 0.0
    for node in found.graph.chain(name):
        output = apply_processor(node.type, signal, parameters=node.parameters, sample_rate_hz=rate_hz, mix=node.mix)
        if node.type == "compressor":
            energy = (signal**2).sum(axis=0)
            loud = energy > 1e-10
            change_db = 10.0 * np.log10((output**2).sum(axis=0)[loud] / energy[loud])
            # Make-up is what it does to the quietest sounds.
            change_db -= np.percentile(change_db, 99)
            total_db -= float(change_db @ energy[loud] / energy[loud].sum())
        signal = output
    return total_db


def test_pans_show_up(found: Found) -> None:
    figures = {}
    for effect in clear(found, "pan"):
        left = right = 1.0
        for node in found.graph.chain(effect["channel"]):
            if node.type == "gain_pan":
                gains = eq.pan_gains(node.parameters["pan"], xp=np)
                left, right = left * float(gains[0]), right * float(gains[1])
        figures[effect["channel"]] = (eq.gain_and_pan(left, right)[1], effect["pan"])
    missed = {k: v for k, v in figures.items() if abs(v[0] - v[1]) > PAN_TOLERANCE}
    assert not missed, f"found and true pan: {missed}"


def test_the_delay_shows_up(found: Found) -> None:
    (effect,) = clear(found, "delay")
    silent = spec_of("delay").parameter("tap1_level_db").off_at
    times = [
        node.parameters[f"tap{n}_time_ms"]
        for node in found.graph.chain(effect["channel"])
        if node.type == "delay"
        for n in range(1, 5)
        if node.parameters[f"tap{n}_level_db"] != silent
    ]
    assert any(abs(t - effect["time_ms"]) <= DELAY_TOLERANCE_MS for t in times), times


def test_the_reverb_shows_up(found: Found) -> None:
    (effect,) = clear(found, "reverb")
    stems = found.truth["reverb"]["stems"]
    # An insert somewhere on the way, or a return that one of the stems sends to.
    sent = {bus for channel, bus in found.graph.all_sends() if channel in stems}
    nodes = [n for s in stems for n in found.path(s)] + [n for bus in sent for n in found.graph.chain(bus)]
    decays = [n.parameters["decay_s"] for n in nodes if n.type == "reverb"]
    assert decays, "no reverb on the group, its tracks, the master, or a return they send to"
    ratios = [d / effect["rt60_s"] for d in decays]
    assert any(1 / RT60_FACTOR <= r <= RT60_FACTOR for r in ratios), decays
