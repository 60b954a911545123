"""The demo song: right files, true truth, the same bytes for the same seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pedalboard
import pytest
import soundfile

from mixbridge.bridge.audio import load_multitrack, read_audio
from mixbridge.bridge.demo import GROUPS, TRACKS, DemoSong, make_demo
from mixbridge.bridge.errors import OutputError
from mixbridge.bridge.processors.reference import apply_processor
from mixbridge.bridge.processors.specs import spec_of

RATE_HZ = 44100


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> DemoSong:
    return make_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def truth(song: DemoSong) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(song.truth_path.read_text(encoding="utf-8"))
    return loaded


def test_files_are_24_bit_and_about_30_seconds(song: DemoSong) -> None:
    files = sorted(song.stems_dir.iterdir())
    assert len(files) >= 6
    channels = set()
    for file in [*files, song.mix_path]:
        info = soundfile.info(file)
        assert (info.samplerate, info.subtype) == (RATE_HZ, "PCM_24")
        assert 25 < info.duration < 35
        channels.add(info.channels)
    assert channels == {1, 2}
    assert soundfile.info(song.mix_path).channels == 2


def test_levels(song: DemoSong) -> None:
    peak_db = 20 * np.log10(np.abs(read_audio(song.mix_path)).max())
    assert -3 < peak_db < -1
    for file in song.stems_dir.iterdir():
        audio = read_audio(file)
        assert np.abs(audio).max() < 0.9
        assert abs(audio.mean()) < 1e-3
        blocks = (audio[0, : len(audio[0]) // 4410 * 4410].reshape(-1, 4410) ** 2).mean(axis=1)
        # Real dynamics: loud and soft tenths of a second differ.
        assert np.percentile(blocks, 95) > 2 * np.percentile(blocks, 20), file.name


def test_loads_without_a_remark_and_in_its_groups(song: DemoSong) -> None:
    loaded = load_multitrack(song.stems_dir, song.mix_path)
    assert loaded.warnings == ()
    assert {stem.id for stem in loaded.stems} == set(TRACKS)
    assert {k: set(v) for k, v in loaded.groups.items()} == {k: set(v) for k, v in GROUPS.items()}
    assert all(s.offset_samples == 0 and s.polarity == 1 for s in loaded.stems)


def _eq_parameters(bands: list[dict[str, Any]]) -> dict[str, float]:
    values = spec_of("eq").defaults()
    bell = 0
    for band in bands:
        slot = band["kind"]
        if slot == "bell":
            bell += 1
            slot = f"bell{bell}"
        values |= {f"{slot}_hz": band["frequency_hz"], f"{slot}_db": band["gain_db"], f"{slot}_q": band["q"]}
    return values


def _render(audio: np.ndarray, stem: dict[str, Any]) -> np.ndarray:
    """A stem's channel from the truth alone, by the reference DSP."""
    chain: list[tuple[str, dict[str, float]]] = [("eq", _eq_parameters(stem["eq"]))]
    if stem["compressor"]:
        chain.append(("compressor", {k: stem["compressor"][k] for k in spec_of("compressor").names}))
    chain.append(("gain_pan", {"gain_db": stem["gain_db"], "pan": stem["pan"]}))
    if stem["delay"]:
        values = spec_of("delay").defaults()
        for n, tap in enumerate(stem["delay"]["taps"], start=1):
            values |= {f"tap{n}_time_ms": tap["time_ms"], f"tap{n}_level_db": tap["level_db"]}
        chain.append(("delay", values))  # the wet path alone: the dry signal is added below
    for kind, parameters in chain:
        wet = apply_processor(kind, audio, parameters=parameters, sample_rate_hz=RATE_HZ)
        audio = audio + wet if kind == "delay" else wet
    return np.asarray(audio)


def test_truth_is_what_was_done(song: DemoSong, truth: dict[str, Any]) -> None:
    """Rebuilt from truth.json by the reference DSP, all but the reverb cancels; the rest is the stated reverb."""
    loaded = load_multitrack(song.stems_dir, song.mix_path)
    master = 10 ** (truth["master"]["gain_db"] / 20)
    dry = np.zeros((2, loaded.frames))
    keys = np.zeros((2, loaded.frames))
    for stem in loaded.stems:
        part = master * _render(loaded.stem_audio(stem).astype(np.float64), truth["stems"][stem.id])
        dry += part
        if stem.id in truth["reverb"]["stems"]:
            keys += part
    wet = loaded.mix_audio() - dry
    assert 10 * np.log10((wet**2).mean() / (keys**2).mean()) == pytest.approx(truth["reverb"]["wet_to_dry_db"], abs=0.1)
    # Nothing but the keys may be in the rest: before their first note it is silent.
    onset = int(np.argmax(np.abs(keys).max(axis=0) > 1e-4))
    assert np.abs(wet[:, : onset + 800]).max() < 1e-4

    r = truth["reverb"]
    plugin = pedalboard.Reverb(
        room_size=r["room_size"], damping=r["damping"], wet_level=r["wet_level"], dry_level=0.0, width=r["width"]
    )
    lead = 8820
    expected = plugin.process(np.pad(keys, ((0, 0), (lead, 0))).astype(np.float32), RATE_HZ)[:, lead:]
    residual_db = 10 * np.log10(((wet - expected) ** 2).mean() / (loaded.mix_audio() ** 2).mean())
    assert residual_db < -50


def test_reverb_decay_matches_its_impulse_response(truth: dict[str, Any]) -> None:
    assert 1.0 < truth["reverb"]["rt60_s"] < 3.0
    assert truth["reverb"]["rt60_high_s"] < truth["reverb"]["rt60_s"]


def test_truth_states_units_and_time_constants(truth: dict[str, Any]) -> None:
    for stem in truth["stems"].values():
        assert set(stem) == {"gain_db", "pan", "eq", "compressor", "delay"}
        c = stem["compressor"]
        if c:
            assert c["juce_attack_ms"] / c["attack_ms"] == pytest.approx(2 * np.pi, rel=1e-3)
            assert c["max_gain_reduction_db"] >= c["typical_gain_reduction_db"] > 0


def test_enough_decisions_are_clear(truth: dict[str, Any]) -> None:
    kinds = [effect["effect"] for effect in truth["clear_effects"]]
    assert kinds.count("eq") >= 6
    assert kinds.count("compressor") >= 2
    assert kinds.count("pan") >= 3
    assert kinds.count("delay") == kinds.count("reverb") == 1
    for effect in truth["clear_effects"]:
        if effect["effect"] == "eq":
            assert abs(effect["gain_db"]) >= 3
        if effect["effect"] == "compressor":
            assert effect["typical_gain_reduction_db"] >= 3
        assert effect["channel"] in {*truth["stems"], *truth["groups"]}


def test_same_seed_same_bytes_other_seed_other_song(song: DemoSong, tmp_path: Path) -> None:
    again, other = make_demo(tmp_path / "a"), make_demo(tmp_path / "b", seed=1)
    for first, second in zip(sorted(song.stems_dir.iterdir()), sorted(again.stems_dir.iterdir()), strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert song.mix_path.read_bytes() == again.mix_path.read_bytes()
    assert song.truth_path.read_bytes() == again.truth_path.read_bytes()
    assert song.mix_path.read_bytes() != other.mix_path.read_bytes()


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        make_demo(tmp_path / "file")
