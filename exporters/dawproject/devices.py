"""The four devices that the format defines, set as our processors are; no XML and no plugins here.

The format names their settings and units but no equations: bands are those of any parametric
equalizer, detectors and knees are those of the program that opens the file. How far the static
curve can be off for that reason, or because a device has no dry/wet, comes with every device.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from ...bridge.processors import equations as eq
from ...bridge.processors.laws import law_of
from ...bridge.processors.specs import BELLS, COMPRESSOR, EQ, GATE, LIMITER, spec_of
from ..session import Insert


class Unit(StrEnum):
    """Units of the format, as the schema spells them."""

    linear = "linear"
    normalized = "normalized"
    percent = "percent"
    decibel = "decibel"
    hertz = "hertz"
    semitones = "semitones"
    seconds = "seconds"
    beats = "beats"
    bpm = "bpm"


@dataclass(frozen=True)
class Quantity:
    """A value with its unit."""

    value: float
    unit: Unit


@dataclass(frozen=True)
class Band:
    """One band of an equalizer.

    Attributes
    ----------
    type : str
        As the schema has it: highPass, lowPass, bell, lowShelf, highShelf.
    frequency : Quantity
        In semitones: MIDI pitch, 69 at 440 Hz.
    gain : Quantity or None
        None for passes.
    """

    type: str
    frequency: Quantity
    gain: Quantity | None
    q: Quantity | None
    enabled: bool = True


@dataclass(frozen=True)
class BuiltIn:
    """A device that the format itself defines.

    Attributes
    ----------
    element : str
        Equalizer, Compressor, NoiseGate or Limiter.
    settings : mapping of str to Quantity
        By the name of their element.
    """

    element: str
    name: str
    settings: Mapping[str, Quantity] = field(default_factory=dict)
    bands: tuple[Band, ...] = ()
    enabled: bool = True


@dataclass(frozen=True)
class Realised:
    """A processor as a device.

    Attributes
    ----------
    difference_db : float or None
        By how much its gain differs at most from the processor's, over frequency or level (of full
        scale and below); None where the curve is not known.
    """

    device: BuiltIn
    difference_db: float | None


#: Which device a processor type is.
ELEMENTS: Mapping[str, str] = {
    EQ.type: "Equalizer",
    COMPRESSOR.type: "Compressor",
    GATE.type: "NoiseGate",
    LIMITER.type: "Limiter",
}

#: Devices with a gain before and after what they do.
WITH_GAINS = ("Equalizer", "Compressor", "Limiter")
INPUT_GAIN, OUTPUT_GAIN = "InputGain", "OutputGain"

#: Pitch of 440 Hz.
_A4, _A4_HZ = 69.0, 440.0

#: Levels at which static curves are compared: from 100 dB below full scale up to it.
_LEVELS_DB = np.linspace(-100.0, 0.0, 401)

#: Frequencies at which responses are compared.
_FREQUENCIES_HZ = np.geomspace(20.0, 20000.0, 400)

#: Responses below this (dB) are not told apart: nobody hears them beside the rest.
_RESPONSE_FLOOR_DB = -60.0

Curve = npt.NDArray[np.float64]


def hertz_to_semitones(frequency_hz: float) -> float:
    """A frequency (> 0) as MIDI pitch."""
    return _A4 + 12.0 * math.log2(frequency_hz / _A4_HZ)


def semitones_to_hertz(pitch: float) -> float:
    """Inverts `hertz_to_semitones`."""
    return float(_A4_HZ * 2.0 ** ((pitch - _A4) / 12.0))


def ratio_to_percent(ratio: float) -> float:
    """A ratio (n:1, from 1 up) as the share of the level beyond the threshold that is taken away (0 to 100 %)."""
    return 100.0 * (1.0 - 1.0 / ratio)


def percent_to_ratio(percent: float) -> float:
    """Inverts `ratio_to_percent`; infinity for 100 % and more."""
    return 1.0 / (1.0 - percent / 100.0) if percent < 100.0 else math.inf


def gain_device(gain_db: float) -> BuiltIn:
    """An equalizer without bands: the one device of the format that does nothing but a gain."""
    return BuiltIn("Equalizer", "Gain", {OUTPUT_GAIN: _decibel(gain_db)})


def with_gain(device: BuiltIn, setting: str, gain_db: float) -> BuiltIn:
    """A device of `WITH_GAINS` with its `setting`, a gain before or after it, raised by `gain_db`."""
    before = device.settings[setting].value if setting in device.settings else 0.0
    settings = {**device.settings, setting: _decibel(before + gain_db)}
    return BuiltIn(device.element, device.name, settings, device.bands, device.enabled)


def built_in(insert: Insert, *, sample_rate_hz: int) -> Realised:
    """A processor of a type in `ELEMENTS` as a device of the format."""
    makers = {
        EQ.type: _equalizer,
        COMPRESSOR.type: _compressor,
        GATE.type: _gate,
        LIMITER.type: _limiter,
    }
    return makers[insert.type](insert, sample_rate_hz)


# ---------------------------------------------------------------------------- equalizer


@dataclass(frozen=True)
class _Section:
    """A second-order section by its settings."""

    kind: eq.BiquadKind
    frequency_hz: float
    gain_db: float
    q: float

    def response(self, sample_rate_hz: int) -> Curve:
        """Complex gain at the frequencies that are compared."""
        b0, b1, b2, a1, a2 = eq.biquad(
            self.kind,
            frequency_hz=self.frequency_hz,
            gain_db=self.gain_db,
            q=self.q,
            sample_rate_hz=sample_rate_hz,
            xp=np,
        )
        top_hz = eq.MAX_FREQUENCY_SHARE * sample_rate_hz
        z = np.exp(-2j * cmath.pi * np.minimum(_FREQUENCIES_HZ, top_hz) / sample_rate_hz)
        return np.asarray((b0 + z * (b1 + z * b2)) / (1.0 + z * (a1 + z * a2)))


_BAND_TYPES: Mapping[eq.BiquadKind, str] = {
    "highpass": "highPass",
    "lowpass": "lowPass",
    "bell": "bell",
    "low_shelf": "lowShelf",
    "high_shelf": "highShelf",
}


def _equalizer(insert: Insert, sample_rate_hz: int) -> Realised:
    sections = list(_sections(insert, sample_rate_hz))
    written = [_blended(section, insert.mix) for section in sections]
    wet = _product(sections, sample_rate_hz)
    wanted = insert.mix * wet + (1.0 - insert.mix)
    difference = np.abs(_level_db(wanted) - _level_db(_product(written, sample_rate_hz)))
    device = BuiltIn("Equalizer", EQ.label, {}, tuple(_band(section) for section in written))
    return Realised(device, float(difference.max()))


def _sections(insert: Insert, sample_rate_hz: int) -> Iterator[_Section]:
    """The sections of our equalizer that do something, as `reference.eq_sections` has them."""
    p, law = insert.parameters, law_of(insert.law, insert.type)
    highest_hz = eq.MAX_FREQUENCY_SHARE * sample_rate_hz

    def passes(kind: eq.BiquadKind, name: str) -> Iterator[_Section]:
        if p[name] != EQ.parameter(name).off_at:
            yield from (_Section(kind, min(p[name], highest_hz), 0.0, q) for q in law.pass_qs)

    def band(kind: eq.BiquadKind, name: str) -> Iterator[_Section]:
        if p[f"{name}_db"] != 0.0:
            yield _Section(kind, min(p[f"{name}_hz"], highest_hz), p[f"{name}_db"], p[f"{name}_q"])

    yield from passes("highpass", "highpass_hz")
    yield from band("low_shelf", "low_shelf")
    for number in range(1, BELLS + 1):
        yield from band("bell", f"bell{number}")
    yield from band("high_shelf", "high_shelf")
    yield from passes("lowpass", "lowpass_hz")


def _blended(section: _Section, mix: float) -> _Section:
    """A section with some of the dry signal in it, as near to it as a section without can be.

    Exact for a bell: ``mix * bell + (1 - mix)`` has the bell's poles and is a bell with another
    gain and Q. A shelf keeps its frequency and Q and gets the gain that the blend has at its end.
    """
    if mix == 1.0 or section.kind in ("highpass", "lowpass"):
        return section
    gain = mix * float(eq.db_to_gain(section.gain_db)) + 1.0 - mix
    gain_db = eq.gain_to_db(gain)
    if section.kind != "bell":
        return _Section(section.kind, section.frequency_hz, gain_db, section.q)
    # Poles of a bell are at a width of 1 / (A Q), A being the square root of its gain.
    q = section.q * float(eq.db_to_gain((section.gain_db - gain_db) / 2.0))
    return _Section("bell", section.frequency_hz, gain_db, q)


def _band(section: _Section) -> Band:
    passes = section.kind in ("highpass", "lowpass")
    return Band(
        _BAND_TYPES[section.kind],
        Quantity(hertz_to_semitones(section.frequency_hz), Unit.semitones),
        None if passes else _decibel(section.gain_db),
        Quantity(section.q, Unit.linear),
    )


def _product(sections: list[_Section], sample_rate_hz: int) -> Curve:
    responses = [section.response(sample_rate_hz) for section in sections]
    return np.asarray(np.prod(responses, axis=0) if responses else np.ones(len(_FREQUENCIES_HZ), dtype=complex))


def _level_db(response: Curve) -> Curve:
    floor = float(eq.db_to_gain(_RESPONSE_FLOOR_DB))
    return np.asarray(20.0 * np.log10(np.maximum(np.abs(response), floor)))


# ----------------------------------------------------------------------------- dynamics


def _compressor(insert: Insert, _rate_hz: int) -> Realised:
    p = insert.parameters
    threshold_db, makeup_db = p["threshold_db"], p["makeup_db"]

    def curve(knee_db: float, ratio: float) -> Curve:
        return np.asarray(
            eq.compressor_gain_db(_LEVELS_DB, threshold_db=threshold_db, ratio=ratio, knee_db=knee_db, xp=np)
        )

    wanted = _blend(curve(p["knee_db"], p["ratio"]) + makeup_db, insert.mix)
    ratio, output_db = p["ratio"], makeup_db
    if insert.mix != 1.0:
        # Right below the threshold and at full scale; in between a compressor beside its dry signal bends.
        output_db = float(_blend(np.array(makeup_db), insert.mix))
        reduction_db = float(wanted[-1]) - output_db
        ratio = 1.0 / (1.0 + reduction_db / -threshold_db) if threshold_db < 0.0 else 1.0
    settings = {
        "Attack": _seconds(p["attack_ms"]),
        OUTPUT_GAIN: _decibel(output_db),
        "Ratio": Quantity(ratio_to_percent(ratio), Unit.percent),
        "Release": _seconds(p["release_ms"]),
        "Threshold": _decibel(threshold_db),
    }
    return _dynamics(insert, settings, wanted, curve(0.0, ratio) + output_db)


def _gate(insert: Insert, _rate_hz: int) -> Realised:
    p, law = insert.parameters, law_of(insert.law, insert.type)
    given = {"threshold_db": p["threshold_db"], "ratio": p["ratio"]}
    wanted = None
    if law.gate in ("expander", "smoothstep"):
        full = law.gate_curve(_LEVELS_DB, **given, range_db=p["range_db"], knee_db=p["knee_db"], xp=np)
        wanted = _blend(full, insert.mix)
    range_db = -float(_blend(np.array(-p["range_db"]), insert.mix))
    settings = {
        "Attack": _seconds(p["attack_ms"]),
        "Range": _decibel(-range_db),
        "Ratio": Quantity(ratio_to_percent(p["ratio"]), Unit.percent),
        "Release": _seconds(p["release_ms"]),
        "Threshold": _decibel(p["threshold_db"]),
    }
    written = eq.gate_gain_db(_LEVELS_DB, **given, range_db=range_db, knee_db=0.0, xp=np)
    return _dynamics(insert, settings, wanted, np.asarray(written))


def _limiter(insert: Insert, _rate_hz: int) -> Realised:
    p = insert.parameters
    full = np.minimum(p["gain_db"], p["ceiling_db"] - _LEVELS_DB)
    settings = {
        # Ours has come down to a peak by the time it is there; the look-ahead is the nearest to an attack.
        "Attack": _seconds(eq.LIMITER_LOOK_AHEAD_MS),
        INPUT_GAIN: _decibel(p["gain_db"]),
        "Release": _seconds(p["release_ms"]),
        "Threshold": _decibel(p["ceiling_db"]),
    }
    return _dynamics(insert, settings, _blend(full, insert.mix), full)


def _dynamics(insert: Insert, settings: Mapping[str, Quantity], wanted: Curve | None, written: Curve) -> Realised:
    device = BuiltIn(ELEMENTS[insert.type], spec_of(insert.type).label, settings)
    return Realised(device, None if wanted is None else float(np.abs(wanted - written).max()))


def _blend(gain_db: Curve, mix: float) -> Curve:
    """Gain of a processor beside its dry signal (dB)."""
    return np.asarray(20.0 * np.log10(np.maximum(mix * eq.db_to_gain(gain_db) + 1.0 - mix, 1e-10)))


def _decibel(value: float) -> Quantity:
    return Quantity(value, Unit.decibel)


def _seconds(time_ms: float) -> Quantity:
    return Quantity(time_ms / 1000.0, Unit.seconds)
