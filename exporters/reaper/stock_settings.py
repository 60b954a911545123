"""How our EQ, compressor, gate and delay are set on the plugins that come with REAPER, and back; no bytes here.

The bytes are in `stock`. A processor's dry/wet mix is the host's: every plugin is set fully wet.
What of the plugins' behaviour is measured and what is assumed is listed in docs/reaper-states.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ...bridge.errors import ExportError, ParameterError, SessionFileError
from ...bridge.processors.equations import (
    MAX_FREQUENCY_SHARE,
    BiquadKind,
    biquad,
    db_to_gain,
    gain_to_db,
)
from ...bridge.processors.laws import Law, law_of
from ...bridge.processors.specs import (
    BELLS,
    COMPRESSOR,
    DELAY,
    DELAY_TAPS,
    EQ,
    GATE,
    SILENT_LEVEL_DB,
    Parameter,
    ProcessorSpec,
    spec_of,
)
from ..chain import Insert as PluginInsert
from ..session import Insert
from .stock import (
    AUTOMATED_GAIN,
    BAND_FREQUENCY_HZ,
    BANDWIDTH_OCTAVES,
    FILTER_OFF_HZ,
    MAX_BAND_GAIN_DB,
    MAX_GAIN,
    SILENT_DB,
    Band,
    BandType,
    DelayTap,
    ReaComp,
    ReaDelay,
    ReaEq,
    ReaGate,
    Stock,
)

Array = npt.NDArray[np.float64]
Values = Mapping[str, float]

#: Shelves of ReaEQ get no steeper than at this bandwidth (octaves).
STEEPEST_SHELF_OCTAVES = 0.915

#: Values nearer to the end of a range than this (relative, at least absolute) left it by rounding.
_ROUNDING = 1e-6

#: Two Qs that are the same but for rounding (relative).
_SAME_Q = 1e-4

#: Below this a high-pass is nearer (at 30 Hz and above) to none than to one at ReaEQ's lowest frequency.
_LOWEST_PASS_HZ = 17.0

#: Levels below this are silence, and gains nearer to unity than `_SAME_LEVEL_DB` are unity.
_SILENT_BELOW_DB = -100.0
_SAME_LEVEL_DB = 0.1

_SHELVES: dict[BandType, str] = {BandType.LOW_SHELF: "low_shelf", BandType.HIGH_SHELF: "high_shelf"}
_PASSES: dict[BandType, str] = {BandType.HIGH_PASS: "highpass", BandType.LOW_PASS: "lowpass"}

#: Filters of ReaEQ whose response is known.
_SECTIONS: dict[BandType, BiquadKind] = {
    BandType.LOW_SHELF: "low_shelf",
    BandType.HIGH_SHELF: "high_shelf",
    BandType.LOW_PASS: "lowpass",
    BandType.HIGH_PASS: "highpass",
    BandType.BELL: "bell",
}


# ---------------------------------------------------------------------------- Q and bandwidth


def _bell_stretch(frequency_hz: float, sample_rate_hz: float) -> float:
    """How much wider a bell's bandwidth is meant than it comes out, as the sample rate is finite."""
    w0 = 2.0 * math.pi * min(frequency_hz, MAX_FREQUENCY_SHARE * sample_rate_hz) / sample_rate_hz
    return w0 / math.sin(w0)


def bandwidth_of_q(
    band_type: BandType, q: float, *, frequency_hz: float, gain_db: float, sample_rate_hz: float
) -> float:
    """Bandwidth (octaves) at which a band of ReaEQ has this Q (> 0); inverts `q_of_bandwidth`.

    Passes take neither frequency nor gain into account, bells no gain, shelves no frequency. The
    result may be out of the plugin's range; for a shelf it is 0 where no bandwidth has this Q.
    """
    if band_type in _SHELVES:
        amp = db_to_gain(gain_db / 2.0)
        square = 1.0 + (1.0 / (q * q) - 2.0) / (amp + 1.0 / amp)
        return math.sqrt(max(square, 0.0))
    octaves = 2.0 / math.log(2.0) * math.asinh(0.5 / q)
    return octaves if band_type in _PASSES else octaves / _bell_stretch(frequency_hz, sample_rate_hz)


def q_of_bandwidth(
    band_type: BandType, octaves: float, *, frequency_hz: float, gain_db: float, sample_rate_hz: float
) -> float:
    """Q of a band of ReaEQ (R. Bristow-Johnson's sections, their bandwidth and slope forms).

    Shelves have a slope of ``1 / octaves^2``, but no steeper than at `STEEPEST_SHELF_OCTAVES`.
    """
    if band_type in _SHELVES:
        amp = db_to_gain(gain_db / 2.0)
        square = max(octaves, STEEPEST_SHELF_OCTAVES) ** 2
        return float(1.0 / math.sqrt((amp + 1.0 / amp) * (square - 1.0) + 2.0))
    stretch = 1.0 if band_type in _PASSES else _bell_stretch(frequency_hz, sample_rate_hz)
    return 0.5 / math.sinh(0.5 * math.log(2.0) * octaves * stretch)


def rea_eq_response(bands: Iterable[Band], *, frequency_hz: npt.ArrayLike, sample_rate_hz: float) -> Array:
    """Magnitude of ReaEQ's response in dB, after measurements of the plugin by others.

    Parameters
    ----------
    bands : iterable of Band
        Disabled ones do nothing.
    frequency_hz : array, shape=(n,)
        Where it is wanted.
    sample_rate_hz : float > 0

    Returns
    -------
    array, shape=(n,)

    Raises
    ------
    SessionFileError
        If a band is of a type whose response is not known, or out of the plugin's range.
    """
    z = np.exp(-2j * np.pi * np.asarray(frequency_hz, dtype=np.float64) / sample_rate_hz)
    total = np.zeros(z.shape)
    for band in bands:
        if not band.enabled:
            continue
        q = _q_of(band, sample_rate_hz)
        b0, b1, b2, a1, a2 = biquad(
            _SECTIONS[band.type],
            frequency_hz=band.frequency_hz,
            gain_db=band.gain_db,
            q=q,
            sample_rate_hz=sample_rate_hz,
            xp=np,
        )
        total += 20.0 * np.log10(np.maximum(np.abs((b0 + b1 * z + b2 * z * z) / (1.0 + a1 * z + a2 * z * z)), 1e-30))
    return total


def _q_of(band: Band, sample_rate_hz: float) -> float:
    """Q of a band; `SessionFileError` if it is out of the plugin's range or its type's response is not known."""
    if band.type not in _SECTIONS:
        name = band.type.name.lower().replace("_", " ")
        raise SessionFileError(f"ReaEQ: a band of the type '{name}' is not read; use bells, shelves and passes")
    ranges = {
        "frequency_hz": BAND_FREQUENCY_HZ,
        "bandwidth_octaves": BANDWIDTH_OCTAVES,
        # Passes keep any gain without use.
        "gain_db": (-math.inf if band.type in _PASSES else SILENT_DB, MAX_BAND_GAIN_DB),
    }
    for name, (low, high) in ranges.items():
        value = getattr(band, name)
        if not low - _ROUNDING * abs(low) <= value <= high + _ROUNDING * high:
            raise SessionFileError(f"ReaEQ: {name} of a band is {value:g}, not from {low:g} to {high:g}; set it anew")
    return q_of_bandwidth(
        band.type,
        band.bandwidth_octaves,
        frequency_hz=band.frequency_hz,
        gain_db=band.gain_db,
        sample_rate_hz=sample_rate_hz,
    )


# ---------------------------------------------------------------------------- limits


def _spec_limits(spec: ProcessorSpec) -> dict[str, tuple[float, float]]:
    return {p.name: (p.minimum, p.maximum) for p in spec.parameters}


def stock_limits(processor_type: str, *, sample_rate_hz: float) -> dict[str, tuple[float, float]]:
    """Ranges within which every set of parameters can be expressed by the plugin that comes with REAPER.

    The end at which a section is off (`Parameter.off_at`) can be expressed as well, even where it
    is outside. Beyond these ranges some sets can: how wide a bell may be depends on its
    frequency, how steep a shelf may be on its gain. The gate's ratio and knee have their whole
    range, as they do nothing (see `to_stock`).

    Parameters
    ----------
    processor_type : {"eq", "compressor", "gate", "delay"}
    sample_rate_hz : float > 0

    Returns
    -------
    dict of str to (float, float)
        Minimum and maximum of every parameter of the type, in its unit.

    Raises
    ------
    ExportError
        If REAPER has no plugin for this type that we know.
    """
    if processor_type not in _TO_STOCK:
        raise ExportError(f"no plugin of REAPER's is known for {processor_type!r}; use its JSFX")
    limits = _spec_limits(spec_of(processor_type))
    if processor_type == COMPRESSOR.type:
        limits["makeup_db"] = (limits["makeup_db"][0], gain_to_db(MAX_GAIN))
    if processor_type == EQ.type:
        limits |= _eq_limits(limits, sample_rate_hz)
    return limits


def _eq_limits(spec: Mapping[str, tuple[float, float]], sample_rate_hz: float) -> dict[str, tuple[float, float]]:
    def q(band_type: BandType, octaves: float, frequency_hz: float) -> float:
        # Near 0 dB a shelf's steepest bandwidth gives the lowest of its largest Qs.
        return q_of_bandwidth(band_type, octaves, frequency_hz=frequency_hz, gain_db=0.0, sample_rate_hz=sample_rate_hz)

    (narrowest, widest), (lowest_hz, _) = BANDWIDTH_OCTAVES, BAND_FREQUENCY_HZ
    limits = {"highpass_hz": (lowest_hz, spec["highpass_hz"][1])}
    for name in ("low_shelf", "high_shelf", *(f"bell{n}" for n in range(1, BELLS + 1))):
        lowest_q, highest_q = spec[f"{name}_q"]
        if name.startswith("bell"):
            ends = q(BandType.BELL, widest, 0.001), q(BandType.BELL, narrowest, spec[f"{name}_hz"][1])
        else:
            ends = lowest_q, q(BandType.LOW_SHELF, STEEPEST_SHELF_OCTAVES, lowest_hz)
        limits[f"{name}_q"] = max(lowest_q, ends[0]), min(highest_q, ends[1])
        limits[f"{name}_db"] = spec[f"{name}_db"][0], min(spec[f"{name}_db"][1], gain_to_db(AUTOMATED_GAIN))
    return limits


def _within(value: float, ends: tuple[float, float], *, what: str, words: str) -> float:
    """The value, moved to the end of the range if rounding took it out; `ExportError` if it is outside."""
    low, high = ends
    held = min(max(value, low), high)
    if abs(held - value) > _ROUNDING * max(abs(held), 1.0):
        raise ExportError(
            f"{what}: {words} is {value:.4g}, but REAPER's plugin takes {low:.4g} to {high:.4g}; "
            "keep within its limits or use the JSFX"
        )
    return held


# ---------------------------------------------------------------------------- from ours to REAPER's


def to_stock(insert: Insert | PluginInsert, *, sample_rate_hz: float) -> Stock:
    """State of the plugin that comes with REAPER for an insert; its dry/wet mix is left to the host.

    * EQ: ReaEQ, the same response. Bands at 0 dB and passes that are off are left out. A high-pass below
      its lowest frequency becomes one there, or none if that is nearer.
    * Compressor: ReaComp on peaks; the make-up gain is its wet level.
    * Gate: ReaGate without hysteresis. It opens and closes, it does not expand: ratio and knee do
      nothing, but for a ratio of 1, at which the gate is left open.
    * Delay: ReaDelay, only echoes. Silent taps are left out.

    Parameters
    ----------
    insert : Insert
        Of one of these types. Of its law only the passes of the EQ are followed.
    sample_rate_hz : float > 0

    Raises
    ------
    ExportError
        If the plugin cannot be set so; the message names the insert, the parameter and the range.
    ParameterError
        If the insert's law is none of an EQ.
    """
    if insert.type not in _TO_STOCK:
        raise ExportError(f"{insert.id}: no plugin of REAPER's is known for {insert.type!r}; use its JSFX")
    return _TO_STOCK[insert.type](insert, sample_rate_hz)


def _eq_to_stock(insert: Insert | PluginInsert, sample_rate_hz: float) -> ReaEq:
    p, bands = insert.parameters, []

    def add(band_type: BandType, name: str, q: float, gain_db: float = 0.0) -> None:
        # Held where the reference holds it, so that both have the same response.
        frequency_hz = min(p[f"{name}_hz"], MAX_FREQUENCY_SHARE * sample_rate_hz)
        if band_type in _PASSES:
            frequency_hz = max(frequency_hz, BAND_FREQUENCY_HZ[0])
        octaves = bandwidth_of_q(
            band_type, q, frequency_hz=frequency_hz, gain_db=gain_db, sample_rate_hz=sample_rate_hz
        )
        narrowest = STEEPEST_SHELF_OCTAVES if band_type in _SHELVES else BANDWIDTH_OCTAVES[0]
        ends = narrowest, BANDWIDTH_OCTAVES[1]
        bands.append(
            Band(
                band_type,
                frequency_hz=_within(frequency_hz, BAND_FREQUENCY_HZ, what=insert.id, words=f"{name}_hz"),
                gain_db=_within(gain_db, (-math.inf, gain_to_db(AUTOMATED_GAIN)), what=insert.id, words=f"{name}_db"),
                bandwidth_octaves=_within(
                    octaves, ends, what=insert.id, words=f"with {name}_q {q:.4g} the bandwidth in octaves"
                ),
            )
        )

    law = law_of(insert.law, EQ.type)
    for band_type, name in _PASSES.items():
        if p[f"{name}_hz"] != EQ.parameter(f"{name}_hz").off_at and p[f"{name}_hz"] >= _LOWEST_PASS_HZ:
            for q in law.pass_qs:
                add(band_type, name, q)
    shaped = [*_SHELVES.items(), *((BandType.BELL, f"bell{n}") for n in range(1, BELLS + 1))]
    for band_type, name in shaped:
        if p[f"{name}_db"] != 0.0:
            add(band_type, name, p[f"{name}_q"], p[f"{name}_db"])
    # Without any band the plugin would have nothing to show.
    return ReaEq(tuple(bands) or (Band(enabled=False),))


def _compressor_to_stock(insert: Insert | PluginInsert, sample_rate_hz: float) -> ReaComp:
    p = insert.parameters
    limits = stock_limits(insert.type, sample_rate_hz=sample_rate_hz)
    return ReaComp(
        threshold_db=p["threshold_db"],
        ratio=p["ratio"],
        attack_ms=p["attack_ms"],
        release_ms=p["release_ms"],
        knee_db=p["knee_db"],
        wet_db=_within(p["makeup_db"], limits["makeup_db"], what=insert.id, words="makeup_db"),
        rms_size_ms=0.0,
    )


def _gate_to_stock(insert: Insert | PluginInsert, sample_rate_hz: float) -> ReaGate:
    p = insert.parameters
    always_open = ReaGate(threshold_db=SILENT_DB, attack_ms=p["attack_ms"], release_ms=p["release_ms"])
    if p["ratio"] == 1.0 or p["range_db"] == 0.0:
        return always_open
    # The signal itself is added to what the gate lets through: both together are at unity.
    wet = 1.0 - db_to_gain(-p["range_db"])
    return replace(always_open, threshold_db=p["threshold_db"], dry_db=-p["range_db"], wet_db=gain_to_db(wet))


def _delay_to_stock(insert: Insert | PluginInsert, sample_rate_hz: float) -> ReaDelay:
    p, taps = insert.parameters, []
    for n in range(1, DELAY_TAPS + 1):
        low_cut, high_cut, level_db = p[f"tap{n}_low_cut_hz"], p[f"tap{n}_high_cut_hz"], p[f"tap{n}_level_db"]
        if level_db == DELAY.parameter(f"tap{n}_level_db").off_at:
            continue
        taps.append(
            DelayTap(
                length_ms=p[f"tap{n}_time_ms"],
                length_beats=0.0,
                volume_db=level_db,
                pan=p[f"tap{n}_pan"],
                high_pass_hz=0.0 if low_cut == DELAY.parameter(f"tap{n}_low_cut_hz").off_at else low_cut,
                low_pass_hz=FILTER_OFF_HZ if high_cut == DELAY.parameter(f"tap{n}_high_cut_hz").off_at else high_cut,
            )
        )
    return ReaDelay(tuple(taps) or (DelayTap(enabled=False, length_beats=0.0),), wet_db=0.0, dry_db=-math.inf)


_TO_STOCK: dict[str, Callable[[Insert | PluginInsert, float], Stock]] = {
    EQ.type: _eq_to_stock,
    COMPRESSOR.type: _compressor_to_stock,
    GATE.type: _gate_to_stock,
    DELAY.type: _delay_to_stock,
}


# ---------------------------------------------------------------------------- from REAPER's to ours


def from_stock(state: Stock, *, sample_rate_hz: float, law: str = "") -> tuple[str, dict[str, float]]:
    """Processor type and parameters that a state was made of; inverts `to_stock`.

    Bands and taps are numbered in the plugin's order. What `to_stock` does not say in the state
    (ratio and knee of a gate) comes back as a hard gate's: the largest ratio and no knee.

    Parameters
    ----------
    state : ReaEq, ReaComp, ReaGate or ReaDelay
    sample_rate_hz : float > 0
    law : str
        Law of the processor, which says what the passes of an EQ are made of.

    Returns
    -------
    type : str
    parameters : dict of str to float
        All of the type, in slider order.

    Raises
    ------
    SessionFileError
        If the state does something that our processor does not; the message names it.
    ParameterError
        If there is no such law.
    """
    if isinstance(state, ReaEq):
        spec, values = EQ, _eq_from_stock(state, sample_rate_hz, law_of(law, EQ.type))
    elif isinstance(state, ReaComp):
        spec, values = COMPRESSOR, _compressor_from_stock(state)
    elif isinstance(state, ReaGate):
        spec, values = GATE, _gate_from_stock(state)
    else:
        spec, values = DELAY, _delay_from_stock(state)
    try:
        return spec.type, spec.check({name: _held(spec.parameter(name), v) for name, v in values.items()})
    except ParameterError as error:
        raise SessionFileError(f"{state.PLUGIN.name}: {error}; choose a value within") from None


def _held(parameter: Parameter, value: float) -> float:
    """The value, moved to the end of its range if rounding took it out."""
    held = parameter.limited(value)
    return held if abs(held - value) <= _ROUNDING * max(abs(held), 1.0) else value


def _refuse_unless(state: Stock | DelayTap, expected: Values, *, what: str) -> None:
    """Name the first field that is not as `to_stock` sets it."""
    for name, value in expected.items():
        found = getattr(state, name)
        silent = value <= _SILENT_BELOW_DB and found <= _SILENT_BELOW_DB
        if not silent and abs(found - value) > _ROUNDING * max(abs(value), 1.0):
            raise SessionFileError(f"{what}: {name} is {found:g}, which we have no setting for; set it to {value:g}")


def _eq_from_stock(state: ReaEq, sample_rate_hz: float, law: Law) -> dict[str, float]:
    _refuse_unless(state, {"output_gain_db": 0.0}, what="ReaEQ")
    values, passes = EQ.defaults(), {name: list[tuple[float, float]]() for name in _PASSES.values()}
    free = {BandType.BELL: [f"bell{n}" for n in range(1, BELLS + 1)]} | {t: [n] for t, n in _SHELVES.items()}
    for band in state.bands:
        if not band.enabled:
            continue
        q = _q_of(band, sample_rate_hz)
        if band.type in _PASSES:
            passes[_PASSES[band.type]].append((band.frequency_hz, q))
        elif not free[band.type]:
            kind = band.type.name.lower().replace("_", " ")
            raise SessionFileError(f"ReaEQ: more bands of the type '{kind}' than our EQ has; join or remove some")
        else:
            name = free[band.type].pop(0)
            values |= {f"{name}_hz": band.frequency_hz, f"{name}_db": band.gain_db, f"{name}_q": q}
    return values | {f"{name}_hz": _pass_frequency(name, found, law) for name, found in passes.items() if found}


def _pass_frequency(name: str, sections: Sequence[tuple[float, float]], law: Law) -> float:
    """Frequency of the high-pass or low-pass that these sections (frequency, Q) are."""
    frequencies, qs = zip(*sorted(sections, key=lambda section: section[1]), strict=True)
    wanted = sorted(law.pass_qs)
    same_q = len(qs) == len(wanted) and all(abs(q - w) <= _SAME_Q * w for q, w in zip(qs, wanted, strict=True))
    if not same_q or max(frequencies) - min(frequencies) > _ROUNDING * max(frequencies):
        octaves = bandwidth_of_q(BandType.LOW_PASS, wanted[0], frequency_hz=0.0, gain_db=0.0, sample_rate_hz=1.0)
        raise SessionFileError(
            f"ReaEQ: its {name} is not one our EQ has; use {len(wanted)}, the first with {octaves:.3f} octaves"
        )
    return float(frequencies[0])


#: What the detectors of both dynamics have to be set to.
_PLAIN_DETECTOR = {
    "rms_size_ms": 0.0,
    "detector_low_pass_hz": FILTER_OFF_HZ,
    "detector_high_pass_hz": 0.0,
    "detector_input": 0.0,
    "audition": 0.0,
    "filter_preview": 0.0,
}


def _compressor_from_stock(state: ReaComp) -> dict[str, float]:
    plain = {"look_ahead_ms": 0.0, "auto_makeup": 0.0, "auto_release": 0.0, "dry_db": SILENT_DB, "anti_aliasing": 0.0}
    _refuse_unless(state, _PLAIN_DETECTOR | plain, what="ReaComp")
    names = ("threshold_db", "ratio", "attack_ms", "release_ms", "knee_db")
    return {name: getattr(state, name) for name in names} | {"makeup_db": state.wet_db}


def _gate_from_stock(state: ReaGate) -> dict[str, float]:
    plain = {"pre_open_ms": 0.0, "hold_ms": 0.0, "noise_db": SILENT_DB, "hysteresis_db": 0.0, "inverts_wet": 0.0}
    _refuse_unless(state, _PLAIN_DETECTOR | plain, what="ReaGate")
    open_db = gain_to_db(db_to_gain(state.dry_db) + db_to_gain(state.wet_db))
    if abs(open_db) > _SAME_LEVEL_DB:
        raise SessionFileError(f"ReaGate: wet and dry together are at {open_db:.1f} dB; lower them to 0 dB")
    ratio, range_db, knee_db = (GATE.parameter(name) for name in ("ratio", "range_db", "knee_db"))
    values = {name: getattr(state, name) for name in ("attack_ms", "release_ms")}
    if state.threshold_db <= _SILENT_BELOW_DB:
        return GATE.defaults() | values
    return values | {
        "threshold_db": state.threshold_db,
        "ratio": ratio.maximum,
        "range_db": min(-state.dry_db, range_db.maximum),
        "knee_db": knee_db.minimum,
    }


def _delay_from_stock(state: ReaDelay) -> dict[str, float]:
    _refuse_unless(state, {"dry_db": SILENT_DB}, what="ReaDelay")
    values, used = DELAY.defaults(), 0
    for index, tap in enumerate(state.taps, start=1):
        if not tap.enabled:
            continue
        used += 1
        if used > DELAY_TAPS:
            raise SessionFileError(f"ReaDelay: more than {DELAY_TAPS} taps are on; switch some off")
        plain = {"length_beats": 0.0, "feedback_db": SILENT_DB, "width": 1.0}
        _refuse_unless(tap, plain, what=f"ReaDelay: tap {index}")
        values |= {
            f"tap{used}_time_ms": tap.length_ms,
            f"tap{used}_level_db": max(tap.volume_db + state.wet_db, SILENT_LEVEL_DB),
            f"tap{used}_pan": tap.pan,
            f"tap{used}_low_cut_hz": tap.high_pass_hz or DELAY.parameter(f"tap{used}_low_cut_hz").minimum,
            f"tap{used}_high_cut_hz": tap.low_pass_hz,
        }
    return values
