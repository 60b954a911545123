"""What is identified without descent, on mixes made with the reference DSP and known settings."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.signal

from mixbridge.bridge.graph import VolumePoint, volume_gains
from mixbridge.bridge.metrics import LOSS_RATE_HZ
from mixbridge.bridge.processors.equations import channel_gains
from mixbridge.bridge.processors.reference import apply_processor, detector_level_db, eq_sections
from mixbridge.bridge.processors.specs import EQ, GAIN_PAN, REVERB, spec_of
from mixbridge.bridge.search.identify import Identified, Scope, identify
from mixbridge.bridge.search.identify_frames import FRAME, frame_levels_db
from mixbridge.bridge.search.identify_linear import linear_responses
from mixbridge.bridge.search.working_set import WorkingSet

RATE = LOSS_RATE_HZ

DRY = Scope(
    compressors=False, gates=False, volumes=False, reverb=False, room=False, echoes=False, master_compressor=False
)


@functools.cache
def _stem(kind: str, *, seconds: float, seed: int) -> np.ndarray:
    """A drum, a bass, chords or a noisy lead with pauses: mono, shape (2, n)."""
    random = np.random.default_rng(seed)
    n = int(seconds * RATE)
    time_s = np.arange(n) / RATE
    out = np.zeros(n)
    step_s = {"drum": 0.43, "bass": 0.61, "chords": 1.37, "lead": 0.83}[kind]
    for start_s in np.arange(0.1, seconds, step_s):
        if kind == "lead" and random.random() < 0.3:
            continue
        since = np.clip(time_s - start_s, 0.0, None)
        level = 10.0 ** random.uniform(-0.9, 0.0) * (time_s >= start_s)
        if kind == "drum":
            out += 0.5 * level * np.exp(-since / 0.06) * random.standard_normal(n)
            continue
        pitch_hz = random.choice([55.0, 65.4, 82.4, 98.0]) * {"bass": 1.0, "chords": 4.0, "lead": 6.0}[kind]
        tone = sum(np.sin(2 * math.pi * pitch_hz * h * since) / h**0.7 for h in range(1, 40) if pitch_hz * h < 14000.0)
        out += (
            0.12 * level * np.exp(-since / (0.25 if kind == "bass" else 0.6)) * (tone + 0.2 * random.standard_normal(n))
        )
    return np.stack([out, out])


KINDS = ("drum", "bass", "chords", "lead")

SETTINGS: dict[str, dict[str, Mapping[str, float]]] = {
    "drum": {"eq": {"bell1_hz": 400.0, "bell1_db": -6.0, "bell1_q": 1.0}, "gain_pan": {"gain_db": -3.0, "pan": 0.0}},
    "bass": {"eq": {"high_shelf_hz": 3000.0, "high_shelf_db": 5.0}, "gain_pan": {"gain_db": 2.0, "pan": -0.3}},
    "chords": {
        "eq": {"highpass_hz": 150.0, "bell2_hz": 2500.0, "bell2_db": 5.0, "bell2_q": 1.4},
        "gain_pan": {"gain_db": -6.0, "pan": 0.6},
    },
    "lead": {"eq": {}, "gain_pan": {"gain_db": 1.0, "pan": 0.1}},
}


def _processed(audio: np.ndarray, chain: list[tuple[str, Mapping[str, float]]]) -> np.ndarray:
    for kind, values in chain:
        parameters = {**spec_of(kind).defaults(), **values}
        audio = apply_processor(kind, audio, parameters=parameters, sample_rate_hz=RATE)
    return audio


def _song(*, seconds: float = 14.0, extra: Mapping[str, list[tuple[str, Mapping[str, float]]]] | None = None) -> Any:
    """Stems, and their signals behind EQ, extra processors and fader, by kind."""
    stems, wet = {}, {}
    for seed, kind in enumerate(KINDS):
        stems[kind] = _stem(kind, seconds=seconds, seed=seed).copy()
        chain = [("eq", SETTINGS[kind]["eq"]), *(extra or {}).get(kind, []), ("gain_pan", SETTINGS[kind]["gain_pan"])]
        wet[kind] = _processed(stems[kind], chain)
    return stems, wet


def _working_set(stems: Mapping[str, np.ndarray], mix: np.ndarray) -> WorkingSet:
    return WorkingSet(tuple(stems), [s.astype(np.float32) for s in stems.values()], mix.astype(np.float32))


def _curve_db(eq: Mapping[str, float], gain_pan: Mapping[str, float], frequency_hz: np.ndarray) -> np.ndarray:
    """Gain of both channels in dB, shape (2, n)."""
    sections = eq_sections({**EQ.defaults(), **eq}, sample_rate_hz=RATE)
    response = np.ones(len(frequency_hz))
    if len(sections):
        response = np.abs(scipy.signal.sosfreqz(sections, worN=2 * math.pi * frequency_hz / RATE)[1])
    gains = channel_gains(gain_db=gain_pan["gain_db"], pan=gain_pan["pan"], mix=1.0)
    return 20.0 * np.log10(response * np.array(gains)[:, None])


def _curve_error_db(found: Identified, kind: str) -> float:
    """Rms error of EQ, gain and pan where the stem makes up more than a hundredth of the mix."""
    responses, track = found.responses, found.tracks[kind]
    true_db = _curve_db(SETTINGS[kind]["eq"], SETTINGS[kind]["gain_pan"], responses.frequency_hz)
    found_db = _curve_db(track.eq, track.gain_pan, responses.frequency_hz)
    energy = responses.energy[KINDS.index(kind)] * 10.0 ** (true_db / 10.0)
    heard = (energy > 0.01 * responses.mix_energy) & (responses.frequency_hz > 40.0)
    return float(np.sqrt(np.mean((found_db - true_db)[heard] ** 2)))


# ------------------------------------------------------------------------------- filters


@pytest.fixture(scope="module")
def linear_song() -> WorkingSet:
    stems, wet = _song()
    return _working_set(stems, sum(wet.values()))


def test_eq_gain_and_pan_of_a_linear_mix(linear_song: WorkingSet) -> None:
    found = identify(linear_song, sample_rate_hz=RATE, scope=DRY)
    for kind in KINDS:
        assert _curve_error_db(found, kind) < 0.3, kind
        assert found.tracks[kind].gain_pan["pan"] == pytest.approx(SETTINGS[kind]["gain_pan"]["pan"], abs=0.02)
    # A flat channel gets no EQ.
    assert found.tracks["lead"].sections == 0
    assert found.error_share < 1e-3


def test_nothing_is_invented_in_a_linear_mix(linear_song: WorkingSet) -> None:
    found = identify(linear_song, sample_rate_hz=RATE)
    assert not any(fit.is_real for fit in (*found.compressors.values(), *found.gates.values()))
    assert not found.volumes
    assert found.reverb is not None
    assert not found.reverb.is_real


def test_the_same_song_gives_the_same_result(linear_song: WorkingSet) -> None:
    first, second = (identify(linear_song, sample_rate_hz=RATE, scope=DRY) for _ in range(2))
    assert first.tracks == second.tracks


def test_a_stem_that_is_not_in_the_mix_is_turned_down() -> None:
    stems, wet = _song(seconds=8.0)
    song = _working_set(stems, sum(w for kind, w in wet.items() if kind != "lead"))
    found = identify(song, sample_rate_hz=RATE, scope=DRY)
    assert found.tracks["lead"].gain_pan["gain_db"] < -35.0
    assert found.tracks["drum"].gain_pan["gain_db"] == pytest.approx(-3.0, abs=0.3)


def test_silence_is_survived() -> None:
    silent = {kind: np.zeros((2, RATE)) for kind in KINDS}
    found = identify(_working_set(silent, np.zeros((2, RATE))), sample_rate_hz=RATE)
    for track in found.tracks.values():
        assert track.gain_pan["gain_db"] == GAIN_PAN.parameter("gain_db").minimum


def test_errors_of_responses_are_honest(linear_song: WorkingSet) -> None:
    """With noise in the mix, the standard errors cover what the gains are off."""
    random = np.random.default_rng(5)
    noise = 0.02 * random.standard_normal(linear_song.mix.shape).astype(np.float32)
    noisy = WorkingSet(linear_song.stem_ids, linear_song.stems, linear_song.mix + noise)
    clean, found = linear_responses(linear_song), linear_responses(noisy)
    known = np.isfinite(found.errors) & (found.errors < 0.3 * np.abs(found.gains))
    off = (np.abs(found.gains - clean.gains) / found.errors)[known]
    assert known.sum() > 200
    assert np.mean(off < 2.0) > 0.95


# ------------------------------------------------------------------------------- dynamics


def test_levels_are_those_of_the_reference_detector() -> None:
    audio = _stem("drum", seconds=2.0, seed=3)
    settings = {"attack_ms": 4.0, "release_ms": 70.0}
    exact = detector_level_db(audio, settings, sample_rate_hz=RATE)[0]
    mean_db = 20.0 * np.log10(np.mean(10.0 ** (exact.reshape(-1, FRAME) / 20.0), axis=1))
    found = frame_levels_db(np.abs(audio).max(axis=0).astype(np.float32), **settings)
    loud = mean_db > -70.0
    assert np.abs(found - mean_db)[loud].max() < 0.05


COMPRESSORS = {
    "drum": {"threshold_db": -22.0, "ratio": 4.0, "attack_ms": 5.0, "release_ms": 80.0, "knee_db": 0.0},
    "chords": {"threshold_db": -28.0, "ratio": 3.0, "attack_ms": 15.0, "release_ms": 200.0, "makeup_db": 4.0},
}


@pytest.fixture(scope="module")
def compressed() -> Identified:
    stems, wet = _song(seconds=20.0, extra={kind: [("compressor", c)] for kind, c in COMPRESSORS.items()})
    scope = Scope(reverb=False, room=False, echoes=False, gates=False)
    return identify(_working_set(stems, sum(wet.values())), sample_rate_hz=RATE, scope=scope)


def test_compressors_are_found_where_they_are(compressed: Identified) -> None:
    assert {c for c, fit in compressed.compressors.items() if fit.is_real} == set(COMPRESSORS)
    for kind, true in COMPRESSORS.items():
        found = compressed.compressors[kind].parameters
        assert found["threshold_db"] == pytest.approx(true["threshold_db"], abs=2.0), kind
        assert found["ratio"] == pytest.approx(true["ratio"], rel=0.35), kind
        assert 0.4 < found["attack_ms"] / true["attack_ms"] < 2.5, kind
        assert 0.5 < found["release_ms"] / true["release_ms"] < 2.0, kind
    assert compressed.error_share < 0.2 * compressed.static_error_share


def test_compression_does_not_bias_the_filters(compressed: Identified) -> None:
    for kind in KINDS:
        makeup_db = COMPRESSORS.get(kind, {}).get("makeup_db", 0.0)
        track = compressed.tracks[kind]
        assert track.gain_pan["gain_db"] == pytest.approx(SETTINGS[kind]["gain_pan"]["gain_db"] + makeup_db, abs=1.0), (
            kind
        )


def test_a_bus_compressor_is_told_from_those_of_tracks() -> None:
    stems, wet = _song(seconds=20.0)
    bus = {"threshold_db": -20.0, "ratio": 4.0, "attack_ms": 5.0, "release_ms": 100.0}
    mix = _processed(wet["drum"] + wet["bass"], [("compressor", bus)]) + wet["chords"] + wet["lead"]
    scope = Scope(
        buses={"rhythm": ("drum", "bass")}, reverb=False, room=False, echoes=False, gates=False, compressors=False
    )
    found = identify(_working_set(stems, mix), sample_rate_hz=RATE, scope=scope)
    assert found.compressors["rhythm"].is_real
    assert found.compressors["rhythm"].parameters["threshold_db"] == pytest.approx(-20.0, abs=2.0)
    assert not found.compressors["master"].is_real


def test_a_gate_is_found() -> None:
    gate = {"threshold_db": -22.0, "ratio": 10.0, "range_db": 60.0, "attack_ms": 1.0, "release_ms": 60.0}
    stems, wet = _song(seconds=20.0, extra={"chords": [("gate", gate)]})
    scope = Scope(reverb=False, room=False, echoes=False, compressors=False, master_compressor=False)
    found = identify(_working_set(stems, sum(wet.values())), sample_rate_hz=RATE, scope=scope)
    assert {c for c, fit in found.gates.items() if fit.is_real} == {"chords"}
    # The gate hears the track behind an EQ that is not exactly known; the descent does the rest.
    assert found.gates["chords"].parameters["threshold_db"] == pytest.approx(-22.0, abs=4.5)


# ------------------------------------------------------------------------------- volumes


def _curve_points(points: list[VolumePoint], frames: int) -> np.ndarray:
    return volume_gains(points, frames=frames, sample_rate_hz=RATE)


def _level_errors_db(found: list[VolumePoint], true: list[VolumePoint], *, frames: int) -> np.ndarray:
    """Difference of two curves in dB while the true one is above -20 dB, constants removed."""
    a, b = (_curve_points(points, frames)[:: RATE // 20] for points in (found, true))
    heard = b > 0.1
    off = 20.0 * np.log10(np.maximum(a[heard], 1e-4) / b[heard])
    return off - np.median(off)


def test_fades_of_the_mix() -> None:
    true = [
        VolumePoint(time_s=0.0, gain_db=-80.0),
        VolumePoint(time_s=3.0, gain_db=0.0),
        VolumePoint(time_s=15.0, gain_db=0.0),
        VolumePoint(time_s=19.5, gain_db=-80.0),
    ]
    stems, wet = _song(seconds=20.0)
    mix = sum(wet.values())
    frames = mix.shape[1]
    song = _working_set(stems, mix * _curve_points(true, frames))
    found = identify(song, sample_rate_hz=RATE, scope=Scope(reverb=False, room=False, echoes=False, gates=False))
    assert set(found.volumes) == {"master"}
    assert len(found.volumes["master"]) <= 6
    errors = _level_errors_db(found.volumes["master"], true, frames=frames)
    assert np.sqrt(np.mean(errors**2)) < 0.5
    # The faders are those of the mix before its fades.
    assert found.tracks["bass"].gain_pan["gain_db"] == pytest.approx(2.0, abs=0.5)


def test_a_ride_of_one_track() -> None:
    true = [
        VolumePoint(time_s=6.0, gain_db=0.0),
        VolumePoint(time_s=7.0, gain_db=-9.0),
        VolumePoint(time_s=12.0, gain_db=-9.0),
        VolumePoint(time_s=13.0, gain_db=0.0),
    ]
    stems, wet = _song(seconds=20.0)
    frames = wet["chords"].shape[1]
    wet["chords"] = wet["chords"] * _curve_points(true, frames)
    scope = Scope(reverb=False, room=False, echoes=False, gates=False)
    found = identify(_working_set(stems, sum(wet.values())), sample_rate_hz=RATE, scope=scope)
    assert set(found.volumes) == {"chords"}
    assert len(found.volumes["chords"]) <= 6
    errors = _level_errors_db(found.volumes["chords"], true, frames=frames)
    assert np.sqrt(np.mean(errors**2)) < 0.5


# ------------------------------------------------------------------------------- reverb and echoes


@pytest.mark.parametrize("decay_s", [0.8, 2.4])
def test_a_shared_reverb_and_its_sends(decay_s: float) -> None:
    sends_db = {"drum": -12.0, "lead": -6.0}
    stems, wet = _song(seconds=20.0)
    send = sum(wet[kind] * 10.0 ** (level / 20.0) for kind, level in sends_db.items())
    reverb = {"decay_s": decay_s, "high_decay_ratio": 0.5, "level_db": 0.0}
    mix = sum(wet.values()) + _processed(send, [("reverb", reverb)])
    found = identify(_working_set(stems, mix), sample_rate_hz=RATE).reverb
    assert found is not None
    assert found.is_real
    assert found.parameters["decay_s"] == pytest.approx(decay_s, rel=0.15)
    levels = dict(zip(KINDS, found.sends_db, strict=True))
    for kind in KINDS:
        if kind in sends_db:
            assert levels[kind] == pytest.approx(sends_db[kind], abs=3.0), kind
        else:
            assert levels[kind] < -18.0, kind


def test_an_echo_is_found_in_the_residual() -> None:
    stems, wet = _song(seconds=14.0)
    tap = {"tap1_time_ms": 350.0, "tap1_level_db": -8.0}
    mix = sum(wet.values()) + _processed(wet["lead"], [("delay", tap)])
    echoes = identify(_working_set(stems, mix), sample_rate_hz=RATE).echoes["lead"]
    best = max(echoes, key=lambda e: e.clarity)
    assert best.time_ms == pytest.approx(350.0, abs=1.0)


def test_a_mix_in_which_no_reverb_helps_has_none() -> None:
    """Noise before the stems set in: whatever is added behind them makes the fit worse."""
    stems, wet = _song(seconds=1.5)
    noise = 0.05 * np.random.default_rng(3).standard_normal((2, int(1.5 * RATE)))
    noise[:, RATE // 12 :] = 0.0
    found = identify(_working_set(stems, sum(wet.values()) + noise), sample_rate_hz=RATE)
    assert found.reverb is not None
    assert not found.reverb.is_real


ROOM_ONLY = replace(DRY, room=True)


def _with_send(law: str, **settings: float) -> tuple[WorkingSet, dict[str, float]]:
    """Dry channels and one reverb, with what each stem sends to it (linear)."""
    stems = {kind: _stem(kind, seconds=10.0, seed=4) for kind in KINDS}
    sends = dict(zip(KINDS, (0.3, 0.0, 0.6, 0.15), strict=True))
    wet = {kind: _processed(stems[kind], list(SETTINGS[kind].items())) for kind in KINDS}
    send = sum(sends[kind] * wet[kind] for kind in KINDS)
    parameters = {**REVERB.defaults(), "level_db": 0.0, **settings}
    mix = sum(wet.values()) + apply_processor("reverb", send, parameters=parameters, sample_rate_hz=RATE, law=law)
    return _working_set(stems, mix), sends


@pytest.mark.parametrize("decay_s", [0.9, 2.2])
def test_a_reverb_of_fixed_reflections_and_its_sends(decay_s: float) -> None:
    song, sends = _with_send("freeverb", decay_s=decay_s, high_decay_ratio=0.6)
    found = identify(song, sample_rate_hz=RATE, scope=ROOM_ONLY).room
    assert found is not None
    assert found.is_real
    assert found.parameters["decay_s"] == pytest.approx(decay_s, rel=0.2)
    # The filter of a sustained sound explains part of its reverberation before the reverb is looked for.
    within_db = {"drum": 2.0, "lead": 3.0, "chords": 7.0}
    for kind, level_db in zip(KINDS, found.sends_db, strict=True):
        if sends[kind] > 0.0:
            assert level_db == pytest.approx(20.0 * math.log10(sends[kind]), abs=within_db[kind]), kind
        else:
            assert level_db < -30.0, kind


def test_another_reverb_is_not_taken_for_that_of_fixed_reflections() -> None:
    song, _ = _with_send("", decay_s=1.5, high_decay_ratio=0.5)
    found = identify(song, sample_rate_hz=RATE, scope=ROOM_ONLY).room
    assert found is not None
    assert not found.is_real
    assert found.explained < 0.01
