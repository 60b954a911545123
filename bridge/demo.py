"""Makes a small song of our own: synthesised stems, a mix with known settings and its truth; no search lives here.

The stems are made with numpy and scipy, the mix with Pedalboard's built-in effects. truth.json
says what was done in physical units, and which of it is heard clearly enough to be found again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pedalboard
import scipy.signal
import soundfile

from .files import whole_file, write_text_whole
from .processors.equations import BUTTERWORTH_Q, db_to_gain, gain_to_db, pan_gains

Signal = npt.NDArray[np.float64]

NAME = "demo"
RATE_HZ = 44100
TEMPO_BPM = 96
BEAT_S = 60 / TEMPO_BPM
BARS = 12
BEATS_PER_BAR = 4
LENGTH = round(BARS * BEATS_PER_BAR * BEAT_S * RATE_HZ)

#: Peak of every stem and of the mix (dBFS).
STEM_PEAK_DB = -6.0
MIX_PEAK_DB = -1.5

#: An equalizer band of at least this (dB) is clear ...
CLEAR_EQ_DB = 3.0
#: ... if its track makes up at least this much (dB) of the mix within the band.
CLEAR_SHARE_DB = -12.0
#: Typical gain reduction (dB) and pan from which on they are clear.
CLEAR_REDUCTION_DB = 3.0
CLEAR_PAN = 0.2

#: JUCE's ballistics reach 63.2 % after the set time divided by this (``exp(-2 pi / (time rate))``).
JUCE_TIME_DIVISOR = 2.0 * math.pi
#: JUCE's reverb multiplies its wet level by this.
JUCE_WET_SCALE = 3.0


@dataclass(frozen=True)
class DemoSong:
    """Where the demo song was written."""

    stems_dir: Path
    mix_path: Path
    truth_path: Path


# -------------------------------------------------------------------- settings of the mix


@dataclass(frozen=True)
class Band:
    """One band of an equalizer (RBJ equations)."""

    kind: Literal["bell", "low_shelf", "high_shelf"]
    frequency_hz: float
    gain_db: float
    q: float = BUTTERWORTH_Q


@dataclass(frozen=True)
class Compression:
    """A compressor as Pedalboard takes it: hard knee, peak detector, times in JUCE's definition."""

    threshold_db: float
    ratio: float
    juce_attack_ms: float
    juce_release_ms: float


@dataclass(frozen=True)
class Echo:
    """A feedback delay beside the dry signal; `level_db` is that of the first repeat."""

    time_ms: float
    feedback: float
    level_db: float


@dataclass(frozen=True)
class Track:
    """What the mix does with one stem: equalizer, compressor, gain, pan, delay, in this order."""

    gain_db: float
    pan: float = 0.0
    eq: tuple[Band, ...] = ()
    compressor: Compression | None = None
    delay: Echo | None = None


@dataclass(frozen=True)
class Room:
    """The reverb of a group, beside the dry signal, in Pedalboard's terms."""

    room_size: float
    damping: float
    wet_level: float
    width: float


#: A dotted eighth, in whole samples.
_DELAY_MS = 1000.0 * round(0.75 * BEAT_S * RATE_HZ) / RATE_HZ

TRACKS: dict[str, Track] = {
    "drums_kick": Track(
        gain_db=6.0,
        eq=(Band("bell", 350.0, -8.0, 0.9), Band("high_shelf", 3500.0, 6.0)),
        compressor=Compression(threshold_db=-24.0, ratio=5.0, juce_attack_ms=30.0, juce_release_ms=250.0),
    ),
    "drums_snare": Track(
        gain_db=9.0,
        pan=0.1,
        eq=(Band("bell", 220.0, 5.0, 1.2), Band("bell", 4500.0, 6.0, 0.9)),
        compressor=Compression(threshold_db=-24.0, ratio=5.0, juce_attack_ms=25.0, juce_release_ms=400.0),
    ),
    "drums_hats": Track(gain_db=-2.0, pan=0.45, eq=(Band("high_shelf", 9000.0, -6.0),)),
    "bass": Track(
        gain_db=1.0,
        eq=(Band("low_shelf", 90.0, 4.0), Band("bell", 750.0, 8.0, 1.0)),
        compressor=Compression(threshold_db=-18.0, ratio=4.0, juce_attack_ms=40.0, juce_release_ms=600.0),
    ),
    "keys_epiano": Track(gain_db=-1.0, pan=-0.35, eq=(Band("bell", 420.0, -6.0, 0.9),)),
    "keys_pluck": Track(gain_db=4.0, pan=0.6, eq=(Band("high_shelf", 4000.0, 6.0),)),
    "pad": Track(gain_db=-8.0, eq=(Band("low_shelf", 250.0, -9.0), Band("bell", 1400.0, 8.0, 0.8))),
    "lead": Track(
        gain_db=-10.0,
        pan=-0.25,
        eq=(Band("bell", 2400.0, 6.0, 1.0),),
        delay=Echo(time_ms=_DELAY_MS, feedback=0.25, level_db=-6.0),
    ),
}

GROUPS: dict[str, tuple[str, ...]] = {
    "drums": ("drums_kick", "drums_snare", "drums_hats"),
    "keys": ("keys_epiano", "keys_pluck"),
}

REVERB_GROUP = "keys"
REVERB = Room(room_size=0.72, damping=0.35, wet_level=0.16, width=1.0)


# -------------------------------------------------------------------- instruments

#: Am7, Fmaj7, C, G as MIDI notes: the root of the bass and the chord of the keys.
_CHORDS = ((45, (57, 60, 64, 67)), (41, (57, 60, 64, 65)), (48, (55, 60, 64, 67)), (43, (55, 59, 62, 67)))
_SCALE = (69, 72, 74, 76, 79, 81, 84)


def _hertz(note: float) -> float:
    return float(440.0 * 2.0 ** ((note - 69) / 12))


def _clock(length_s: float) -> Signal:
    return np.arange(round(length_s * RATE_HZ)) / RATE_HZ


def _filtered(
    signal: Signal, kind: Literal["lowpass", "highpass", "bandpass"], cutoff_hz: float | tuple[float, float]
) -> Signal:
    sos = scipy.signal.butter(2, cutoff_hz, kind, fs=RATE_HZ, output="sos")
    return np.asarray(scipy.signal.sosfilt(sos, signal))


def _released(signal: Signal, *, attack_s: float, release_s: float) -> Signal:
    """Fade both ends, so that no note starts or ends with a click."""
    attack, release = round(attack_s * RATE_HZ), round(release_s * RATE_HZ)
    shape = np.ones(signal.shape[-1])
    shape[:attack] = np.linspace(0, 1, attack, endpoint=False)
    shape[shape.size - release :] *= np.linspace(1, 0, release)
    return signal * shape


class _Part:
    """The recording of one instrument: notes are added at beats."""

    def __init__(self, channels: int) -> None:
        self.audio: Signal = np.zeros((channels, LENGTH))

    def add(self, beat: float, sound: Signal, velocity: float) -> None:
        """Add a sound, shape (n,) or (channels, n); what would overrun the song is cut."""
        start = round(beat * BEAT_S * RATE_HZ)
        if start < 0 or start >= LENGTH:
            return
        end = min(start + sound.shape[-1], LENGTH)
        self.audio[:, start:end] += velocity * np.atleast_2d(sound)[:, : end - start]


def _humanised(rng: np.random.Generator, beat: float) -> float:
    """A beat played by hand: a few milliseconds off."""
    return max(beat + rng.normal(0, 0.003) / BEAT_S, 0.0)


def _kick(rng: np.random.Generator) -> Signal:
    t = _clock(0.45)
    pitch_hz = 50 + 140 * np.exp(-t / 0.028)
    body = np.sin(2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ) * np.exp(-t / 0.13)
    shell = _filtered(rng.standard_normal(t.size), "bandpass", (220, 700)) * np.exp(-t / 0.04)
    beater = _filtered(rng.standard_normal(t.size), "highpass", 2500) * np.exp(-t / 0.006)
    part = _Part(1)
    sound = _released(body + 0.45 * shell + 0.4 * beater, attack_s=0.0005, release_s=0.05)
    for bar in range(BARS):
        for beat, velocity in ((0, 1.0), (1.5, 0.55), (2, 0.85), (3.5, 0.4 if bar % 2 else 0.0)):
            part.add(_humanised(rng, 4 * bar + beat), sound, velocity * rng.uniform(0.9, 1.0))
    return part.audio


def _snare(rng: np.random.Generator) -> Signal:
    part = _Part(1)
    t = _clock(0.4)
    shell = np.sin(2 * np.pi * 196 * t) * np.exp(-t / 0.09) + 0.5 * np.sin(2 * np.pi * 331 * t) * np.exp(-t / 0.05)
    for bar in range(BARS):
        hits = [(1, 1.0), (3, 0.95), (2.75, 0.2), (1.75, 0.15)]
        if bar % 4 == 3:
            hits += [(3.25, 0.35), (3.5, 0.55), (3.75, 0.75)]
        for beat, velocity in hits:
            wires = _filtered(rng.standard_normal(t.size), "bandpass", (700, 9000)) * np.exp(-t / 0.11)
            sound = _released(0.6 * shell + 0.55 * wires, attack_s=0.0005, release_s=0.05)
            part.add(_humanised(rng, 4 * bar + beat), sound, velocity * rng.uniform(0.88, 1.0))
    return part.audio


def _hats(rng: np.random.Generator) -> Signal:
    part = _Part(2)
    for step in range(BARS * 8):
        open_hat = step % 8 == 7
        t = _clock(0.5 if open_hat else 0.15)
        metal = _filtered(rng.standard_normal((2, t.size)), "highpass", 5500)
        sound = np.stack([metal[0] + 0.4 * metal[1], metal[0] - 0.4 * metal[1]])
        sound = sound * np.exp(-t / (0.16 if open_hat else 0.035))
        velocity = (1.0, 0.45, 0.8, 0.5)[step % 4] * rng.uniform(0.75, 1.0)
        part.add(_humanised(rng, step / 2), _released(sound, attack_s=0.0005, release_s=0.02), velocity)
    return part.audio


def _bass_note(note: int, length_s: float) -> Signal:
    t = _clock(length_s)
    base_hz = _hertz(note)
    sound = np.zeros_like(t)
    for k in range(1, int(5000 / base_hz)):
        sound += np.sin(2 * np.pi * k * base_hz * t) / k * np.exp(-t * (0.6 + 0.35 * k))
    return _released(sound, attack_s=0.004, release_s=min(0.03, length_s / 3))


def _bass(rng: np.random.Generator) -> Signal:
    part = _Part(1)
    for bar in range(BARS):
        root = _CHORDS[bar % 4][0]
        for beat, steps, beats, velocity in (
            (0, 0, 1.4, 1.0), (1.5, 0, 0.45, 0.5), (2, 7, 0.9, 0.75), (3, 12, 0.4, 0.45), (3.5, 7, 0.45, 0.9)
        ):  # fmt: skip
            sound = _bass_note(root - 12 + steps, beats * BEAT_S)
            part.add(_humanised(rng, 4 * bar + beat), sound, velocity * rng.uniform(0.8, 1.0))
    return part.audio


def _epiano_note(note: int, length_s: float, brightness: float) -> Signal:
    t = _clock(length_s)
    angle = 2 * np.pi * _hertz(note) * t
    bark = np.sin(angle + (0.4 + 1.8 * brightness * np.exp(-t / 0.35)) * np.sin(angle)) * np.exp(-t / 1.3)
    tine = 0.12 * brightness * np.sin(7 * angle) * np.exp(-t / 0.12)
    return _released(bark + tine, attack_s=0.003, release_s=0.08)


def _epiano(rng: np.random.Generator) -> Signal:
    part = _Part(2)
    for bar in range(BARS):
        for beat, beats, velocity in ((0, 1.8, 0.9), (2.5, 1.2, 0.65)):
            for note in _CHORDS[bar % 4][1]:
                touch = velocity * rng.uniform(0.75, 1.0)
                at = _humanised(rng, 4 * bar + beat)
                part.add(at, _epiano_note(note, beats * BEAT_S, touch), touch)
    # The instrument's own stereo tremolo.
    swing = 0.25 * np.sin(2 * np.pi * 4.6 * np.arange(LENGTH) / RATE_HZ)
    return part.audio * np.stack([1 + swing, 1 - swing])


def _pluck_note(note: int, rng: np.random.Generator) -> Signal:
    """A plucked string (Karplus, Strong 1983): noise in a comb filter with a short average in its loop."""
    period = RATE_HZ / _hertz(note) - 0.5
    whole = math.floor(period)
    rest = period - whole
    loop = np.zeros(whole + 3)
    loop[0] = 1.0
    loop[whole : whole + 3] -= 0.494 * np.array([1 - rest, 1.0, rest])
    excitation = np.zeros(round(1.1 * RATE_HZ))
    excitation[:whole] = _filtered(rng.standard_normal(whole), "lowpass", 7000)
    return _released(np.asarray(scipy.signal.lfilter([1.0], loop, excitation)), attack_s=0.001, release_s=0.2)


def _pluck(rng: np.random.Generator) -> Signal:
    part = _Part(1)
    order = (0, 2, 1, 3, 2, 1)
    for step in range(BARS * 8):
        # A rest in every bar lets the room be heard.
        if step % 8 in (3, 7):
            continue
        chord = _CHORDS[(step // 8) % 4][1]
        note = chord[order[step % len(order)]] + 12
        accent = 1.0 if step % 8 == 0 else 0.65
        part.add(_humanised(rng, step / 2), _pluck_note(note, rng), accent * rng.uniform(0.7, 1.0))
    return part.audio


def _pad(rng: np.random.Generator) -> Signal:
    part = _Part(2)
    for bar in range(BARS):
        t = _clock(4 * BEAT_S + 0.35)
        sound = np.zeros((2, t.size))
        for note in _CHORDS[bar % 4][1]:
            for detune in (-0.07, 0.0, 0.06):
                phases = rng.uniform(0, 2 * np.pi, 2)
                angle = 2 * np.pi * _hertz(note - 12 + detune) * t
                sound += np.stack([scipy.signal.sawtooth(angle + p) for p in phases])
        part.add(4 * bar, _released(sound, attack_s=0.4, release_s=0.5), 1.0)
    swell = 0.7 + 0.3 * np.sin(2 * np.pi * np.arange(LENGTH) / LENGTH * 3 - np.pi / 2)
    return _filtered(_filtered(part.audio, "lowpass", 2600), "lowpass", 5000) * swell


def _lead_note(note: int, length_s: float) -> Signal:
    t = _clock(length_s)
    vibrato = 0.006 * np.minimum(t / 0.4, 1.0) * np.sin(2 * np.pi * 5.4 * t)
    angle = 2 * np.pi * np.cumsum(_hertz(note) * (1 + vibrato)) / RATE_HZ
    sound = np.zeros_like(t)
    for k in range(1, 10):
        sound += np.sin(k * angle) / k**1.2 * np.exp(-t * 0.4 * k)
    return _released(sound, attack_s=0.012, release_s=min(0.06, length_s / 3))


def _lead(rng: np.random.Generator) -> Signal:
    part = _Part(1)
    place = 3
    for phrase in range(1, BARS):
        for beat, beats in ((0, 0.9), (1, 0.45), (1.5, 0.9)):
            # Phrases leave the second half of the bar to the echoes.
            place = int(np.clip(place + rng.integers(-2, 3), 0, len(_SCALE) - 1))
            sound = _lead_note(_SCALE[place], beats * BEAT_S)
            part.add(_humanised(rng, 4 * phrase + beat), sound, rng.uniform(0.6, 1.0))
    return part.audio


INSTRUMENTS: dict[str, Callable[[np.random.Generator], Signal]] = {
    "drums_kick": _kick,
    "drums_snare": _snare,
    "drums_hats": _hats,
    "bass": _bass,
    "keys_epiano": _epiano,
    "keys_pluck": _pluck,
    "pad": _pad,
    "lead": _lead,
}


# -------------------------------------------------------------------- mixing


def _run(plugin: pedalboard.Plugin, audio: Signal, *, lead_in_s: float = 0.0) -> Signal:
    """Run one built-in effect; `lead_in_s` of silence first lets parameter smoothing settle."""
    lead = round(lead_in_s * RATE_HZ)
    padded = np.pad(audio, ((0, 0), (lead, 0))).astype(np.float32)
    return np.asarray(plugin.process(padded, RATE_HZ, reset=True), dtype=np.float64)[:, lead:]


def _equalize(audio: Signal, bands: Sequence[Band]) -> Signal:
    kinds: dict[str, Any] = {
        "bell": pedalboard.PeakFilter,
        "low_shelf": pedalboard.LowShelfFilter,
        "high_shelf": pedalboard.HighShelfFilter,
    }
    for band in bands:
        plugin = kinds[band.kind](cutoff_frequency_hz=band.frequency_hz, gain_db=band.gain_db, q=band.q)
        audio = _run(plugin, audio)
    return audio


def _compress(audio: Signal, settings: Compression) -> tuple[Signal, dict[str, float]]:
    """The compressed signal and its gain reduction in dB: largest, and the mean weighted by energy."""
    plugin = pedalboard.Compressor(
        threshold_db=settings.threshold_db,
        ratio=settings.ratio,
        attack_ms=settings.juce_attack_ms,
        release_ms=settings.juce_release_ms,
    )
    result = _run(plugin, audio)
    heard = np.abs(audio) > 1e-3
    reduction_db = 20 * np.log10(np.abs(audio[heard]) / np.maximum(np.abs(result[heard]), 1e-9))
    energy = audio[heard] ** 2
    return result, {
        "max_gain_reduction_db": round(float(reduction_db.max()), 2),
        "typical_gain_reduction_db": round(float((reduction_db * energy).sum() / energy.sum()), 2),
    }


def _pan(audio: Signal, *, gain_db: float, pan: float) -> Signal:
    left, right = pan_gains(pan, xp=np)
    stereo = np.repeat(audio, 2, axis=0) if audio.shape[0] == 1 else audio
    return np.asarray(stereo * db_to_gain(gain_db) * np.array([[left], [right]]), dtype=np.float64)


def _echo(audio: Signal, settings: Echo) -> Signal:
    # Pedalboard cuts the time down to whole samples; half a sample more makes it the stated one.
    seconds = settings.time_ms / 1000 + 0.5 / RATE_HZ
    plugin = pedalboard.Delay(delay_seconds=seconds, feedback=settings.feedback, mix=1.0)
    return audio + float(db_to_gain(settings.level_db)) * _run(plugin, audio)


def _reverb_plugin() -> pedalboard.Plugin:
    return pedalboard.Reverb(
        room_size=REVERB.room_size,
        damping=REVERB.damping,
        wet_level=REVERB.wet_level,
        dry_level=0.0,
        width=REVERB.width,
    )


def _mix_track(audio: Signal, track: Track) -> tuple[Signal, dict[str, float] | None]:
    """One stem through its channel, shape (2, n), and what its compressor did."""
    signal = _equalize(audio, track.eq)
    measured = None
    if track.compressor is not None:
        signal, measured = _compress(signal, track.compressor)
    signal = _pan(signal, gain_db=track.gain_db, pan=track.pan)
    return signal if track.delay is None else _echo(signal, track.delay), measured


def _decay_s(response: Signal, low_hz: float, high_hz: float) -> float:
    """RT60 from the slope of the backward-integrated energy between -5 and -35 dB (ISO 3382, T30)."""
    band = _filtered(response, "bandpass", (low_hz, high_hz))
    energy = np.cumsum((band**2).sum(axis=0)[::-1])[::-1]
    level_db = 10 * np.log10(np.maximum(energy / energy[0], 1e-12))
    used = np.flatnonzero((level_db <= -5) & (level_db >= -35))
    slope = np.polyfit(used / RATE_HZ, level_db[used], 1)[0]
    return round(float(-60 / slope), 3)


def _measure_reverb() -> dict[str, float]:
    impulse = np.zeros((2, 6 * RATE_HZ))
    impulse[:, 0] = 1.0
    # The reverb is linear: a small impulse keeps its float arithmetic the same as in the mix.
    response = _run(_reverb_plugin(), impulse, lead_in_s=0.2)
    onset = int(np.argmax(np.abs(response).max(axis=0) > 1e-5))
    mids_s = _decay_s(response, 500, 2000)
    return {
        "rt60_s": mids_s,
        "rt60_low_s": _decay_s(response, 60, 250),
        "rt60_high_s": _decay_s(response, 4000, 10000),
        "pre_delay_ms": round(1000 * onset / RATE_HZ, 2),
        "wet_energy_db": round(10 * math.log10(float((response**2).sum()) / 2), 2),
    }


# -------------------------------------------------------------------- truth


def _band_share_db(part: Signal, mix: Signal, band: Band) -> float:
    """How much of the mix's energy within a band comes from one track (dB); of a cut: without the cut."""
    wide = {
        "bell": (band.frequency_hz / math.sqrt(2), band.frequency_hz * math.sqrt(2)),
        "low_shelf": (30.0, band.frequency_hz),
        "high_shelf": (band.frequency_hz, 16000.0),
    }[band.kind]
    energies = []
    for audio in (part, mix):
        frequency_hz, power = scipy.signal.welch(audio, RATE_HZ, nperseg=8192)
        inside = (frequency_hz >= wide[0]) & (frequency_hz <= wide[1])
        energies.append(float(power[:, inside].sum()))
    share_db = 10 * math.log10(energies[0] / energies[1])
    return round(share_db + max(-band.gain_db, 0.0), 2)


def _track_truth(track: Track, measured: dict[str, float] | None, part: Signal, mix: Signal) -> dict[str, Any]:
    truth: dict[str, Any] = {"gain_db": track.gain_db, "pan": track.pan}
    truth["eq"] = [asdict(b) | {"share_of_mix_db": _band_share_db(part, mix, b)} for b in track.eq]
    truth["compressor"] = None
    if track.compressor is not None and measured is not None:
        c = track.compressor
        truth["compressor"] = {
            "threshold_db": c.threshold_db,
            "ratio": c.ratio,
            "attack_ms": round(c.juce_attack_ms / JUCE_TIME_DIVISOR, 3),
            "release_ms": round(c.juce_release_ms / JUCE_TIME_DIVISOR, 3),
            "knee_db": 0.0,
            "makeup_db": 0.0,
            "juce_attack_ms": c.juce_attack_ms,
            "juce_release_ms": c.juce_release_ms,
            **measured,
        }
    truth["delay"] = None
    if track.delay is not None:
        d = track.delay
        taps = [
            {"time_ms": n * d.time_ms, "level_db": round(d.level_db + (n - 1) * gain_to_db(d.feedback), 3)}
            for n in range(1, 5)
        ]
        truth["delay"] = {**asdict(d), "taps": taps}
    return truth


def _clear_effects(stems: Mapping[str, Mapping[str, Any]], reverb: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The decisions that are heard clearly: what a search has to find again."""
    clear: list[dict[str, Any]] = []
    for name, stem in stems.items():
        for band in stem["eq"]:
            if abs(band["gain_db"]) >= CLEAR_EQ_DB and band["share_of_mix_db"] >= CLEAR_SHARE_DB:
                clear.append(
                    {"channel": name, "effect": "eq"} | {k: band[k] for k in ("kind", "frequency_hz", "gain_db")}
                )
        reduction_db = (stem["compressor"] or {}).get("typical_gain_reduction_db", 0.0)
        if reduction_db >= CLEAR_REDUCTION_DB:
            clear.append({"channel": name, "effect": "compressor", "typical_gain_reduction_db": reduction_db})
        if abs(stem["pan"]) >= CLEAR_PAN:
            clear.append({"channel": name, "effect": "pan", "pan": stem["pan"]})
        if stem["delay"] is not None:
            clear.append({"channel": name, "effect": "delay", "time_ms": stem["delay"]["time_ms"]})
    clear.append({"channel": reverb["group"], "effect": "reverb", "rt60_s": reverb["rt60_s"]})
    return clear


def _truth(
    *, seed: int, stems: dict[str, dict[str, Any]], reverb: dict[str, Any], master_gain_db: float
) -> dict[str, Any]:
    return {
        "format": "mixbridge-demo-truth",
        "schema_version": 1,
        "name": NAME,
        "seed": seed,
        "sample_rate_hz": RATE_HZ,
        "tempo_bpm": TEMPO_BPM,
        "order": "eq, compressor, gain and pan, delay; then the group's reverb; then the master's gain",
        "pan_law": "constant power, unity gain at the centre; stereo stems are balanced by the same gains",
        "time_constants": (
            "attack_ms and release_ms are the times to 63.2 % of a step; juce_attack_ms and juce_release_ms "
            "are the same as set in Pedalboard, 2 pi times as long"
        ),
        "gain_reduction": "typical: mean over the stem, weighted by the energy at the compressor's input",
        "share_of_mix_db": "energy of the track in the band relative to that of the whole mix; of a cut: without it",
        "stems": stems,
        "groups": {
            name: {
                "stems": list(members),
                "gain_db": 0.0,
                "eq": [],
                "compressor": None,
                "reverb": name == reverb["group"],
            }
            for name, members in GROUPS.items()
        },
        "reverb": reverb,
        "master": {"gain_db": master_gain_db, "eq": [], "compressor": None},
        "clear_effects": _clear_effects(stems, reverb),
    }


# -------------------------------------------------------------------- the song


def _record(name: str, *, seed: int) -> Signal:
    """One stem as it will be read back: normalised and rounded to 24 bits."""
    index = list(INSTRUMENTS).index(name)
    audio = INSTRUMENTS[name](np.random.default_rng([seed, index]))
    # The last half second fades, so that no note is cut off.
    fade = RATE_HZ // 2
    audio[:, -fade:] *= np.linspace(1, 0, fade)
    audio *= db_to_gain(STEM_PEAK_DB) / np.abs(audio).max()
    return _rounded(audio)


def _rounded(audio: Signal) -> Signal:
    return np.round(audio * 2**23) / 2**23


def _write_flac(path: Path, audio: Signal) -> None:
    with whole_file(path) as temporary:
        soundfile.write(str(temporary), audio.T, RATE_HZ, format="FLAC", subtype="PCM_24")


def make_demo(folder: Path, *, seed: int = 0) -> DemoSong:
    """Write the demo song: ``stems/*.flac``, ``mix.flac`` and ``truth.json``.

    Parameters
    ----------
    folder : Path
        Made if it is not there; files of an earlier demo are replaced.
    seed : int, >= 0
        Of the performance: timing, dynamics, melody. The settings of the mix stay the same.
        The same seed gives the same bytes.

    Returns
    -------
    DemoSong

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    song = DemoSong(folder / "stems", folder / "mix.flac", folder / "truth.json")
    parts: dict[str, Signal] = {}
    measured: dict[str, dict[str, float] | None] = {}
    for name, track in TRACKS.items():
        stem = _record(name, seed=seed)
        _write_flac(song.stems_dir / f"{name}.flac", stem)
        parts[name], measured[name] = _mix_track(stem, track)
    keys = np.sum([parts[name] for name in GROUPS[REVERB_GROUP]], axis=0)
    wet = _run(_reverb_plugin(), keys, lead_in_s=0.2)
    mix = np.sum(list(parts.values()), axis=0) + wet
    master_gain_db = round(MIX_PEAK_DB - gain_to_db(float(np.abs(mix).max())), 2)
    _write_flac(song.mix_path, _rounded(mix * db_to_gain(master_gain_db)))
    reverb = {
        "group": REVERB_GROUP,
        "stems": list(GROUPS[REVERB_GROUP]),
        **asdict(REVERB),
        "wet_gain_db": round(gain_to_db(REVERB.wet_level * JUCE_WET_SCALE), 2),
        "wet_to_dry_db": round(10 * math.log10(float((wet**2).sum() / (keys**2).sum())), 2),
        **_measure_reverb(),
    }
    stems = {name: _track_truth(TRACKS[name], measured[name], parts[name], mix) for name in TRACKS}
    truth = _truth(seed=seed, stems=stems, reverb=reverb, master_gain_db=master_gain_db)
    write_text_whole(song.truth_path, json.dumps(truth, indent=1) + "\n")
    return song
