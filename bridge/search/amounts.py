"""What a processor amounts to: nothing, a plain gain, or the same with fewer settings; graphs are changed elsewhere.

A section, tap or processor that changes the level by less than `NEGLIGIBLE_DB` between
`AUDIBLE_HZ` does nothing, and neither does a wet path that stays `INAUDIBLE_WET_DB` below the dry one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.signal

from ..graph import Processor
from ..processors.equations import channel_gains, compressor_gain_db, db_to_gain, gain_and_pan, gain_to_db
from ..processors.laws import law_of
from ..processors.reference import eq_sections
from ..processors.specs import BELLS, DELAY_TAPS, GAIN_PAN, MIX, SATURATION, SILENT_LEVEL_DB, SPECS, Parameter, spec_of
from .parameters import Limits

#: A change of level below this is not heard, and not worth a setting.
NEGLIGIBLE_DB = 0.05

#: Where equalizers are compared.
AUDIBLE_HZ = (30.0, 15000.0)

#: A wet path this far below the dry one is silent.
INAUDIBLE_WET_DB = -60.0

#: Widths and pans this near to "unchanged" are it: less than `NEGLIGIBLE_DB` on either channel.
NEGLIGIBLE_SHARE = 0.005

#: No signal inside a session is expected above this level.
LOUDEST_DBFS = 12.0

#: The bands of the EQ that have a gain; the passes have none.
EQ_BANDS = ("low_shelf", *(f"bell{n}" for n in range(1, BELLS + 1)), "high_shelf")
EQ_PASSES = ("highpass", "lowpass")

_GRID_HZ = np.geomspace(*AUDIBLE_HZ, 240)

#: Wet paths: with these silent, what is left is the dry signal at the level ``1 - mix``.
_WET_ONLY = ("delay", "reverb")


@dataclass(frozen=True)
class Gains:
    """Gain of the left and the right channel, linear, >= 0."""

    left: float
    right: float

    @property
    def equal(self) -> bool:
        """Whether both channels get the same gain."""
        return math.isclose(self.left, self.right, rel_tol=1e-9)

    @property
    def inverse(self) -> Gains | None:
        """What undoes it; None where a channel is silent."""
        return Gains(1.0 / self.left, 1.0 / self.right) if self.left > 0.0 and self.right > 0.0 else None

    def __mul__(self, other: Gains) -> Gains:
        """Both in a row."""
        return Gains(self.left * other.left, self.right * other.right)


def gains_of(node: Processor) -> Gains | None:
    """The plain gain a processor amounts to; None if it does more.

    A gain/pan always does; a compressor that never reduces is its make-up, a delay or a reverb
    without a wet signal is its dry level.
    """
    if node.mix == 0.0:
        return Gains(1.0, 1.0)
    if node.type == "gain_pan":
        return Gains(*channel_gains(**node.parameters, mix=node.mix))
    if node.type == "compressor" and _largest_reduction_db(node.parameters) < NEGLIGIBLE_DB:
        gain = node.mix * db_to_gain(node.parameters["makeup_db"]) + 1.0 - node.mix
        return Gains(gain, gain)
    if node.type in _WET_ONLY and _is_dry(node):
        return Gains(1.0 - node.mix, 1.0 - node.mix)
    return None


def gain_pan_settings(gains: Gains, *, limits: Limits | None = None) -> dict[str, float] | None:
    """Parameters of the gain/pan with these gains; None where they are out of its range."""
    gain, pan = gain_and_pan(gains.left, gains.right)
    found = {"gain_db": gain_to_db(gain), "pan": pan}
    return found if fits(GAIN_PAN.type, found, limits) else None


def is_neutral(node: Processor, *, mono: bool = False) -> bool:
    """Whether a processor leaves the signal as it is, within the bounds of this module.

    Parameters
    ----------
    mono : bool
        What flows into it is the same on both channels.
    """
    p = node.parameters
    gains = gains_of(node)
    if gains is not None:
        gain, pan = gain_and_pan(gains.left, gains.right)
        return gain > 0.0 and abs(gain_to_db(gain)) < NEGLIGIBLE_DB and abs(pan) < NEGLIGIBLE_SHARE
    if node.type == "eq":
        return all(p[f"{band}_db"] == 0.0 for band in EQ_BANDS) and all(pass_is_off(p, name) for name in EQ_PASSES)
    if node.type == "imager":
        return mono or abs(p["width"] - 1.0) * node.mix < NEGLIGIBLE_SHARE
    if node.type == "gate":
        return _gate_stays_open(node)
    return node.type == SATURATION.type and p["drive_db"] == SATURATION.parameter("drive_db").default


def makes_stereo(node: Processor) -> bool:
    """Whether a processor may give different channels from equal ones."""
    if node.type == "gain_pan":
        return node.parameters["pan"] != 0.0
    return node.type in _WET_ONLY


def readable(node: Processor, *, sample_rate_hz: float, limits: Limits | None = None) -> Processor:
    """The same processor with every setting that does nothing at its default.

    Bands and taps that are not heard are switched off; the frequency and Q of a band that is off,
    and all settings of a silent tap, say nothing and are reset.
    """
    p, idle = node.parameters, []
    if node.type == "eq":
        off = [b for b in EQ_BANDS if abs(_band_peak_db(p, b, node.law, sample_rate_hz)) < NEGLIGIBLE_DB]
        idle = [f"{band}_{end}" for band in off for end in ("hz", "db", "q")]
    elif node.type == "delay":
        silent = [tap for tap in range(1, DELAY_TAPS + 1) if _tap_is_silent(p, tap, node.mix)]
        idle = [name for tap in silent for name in p if name.startswith(f"tap{tap}_")]
    return reset(node, idle, limits=limits)


def reset(node: Processor, names: Collection[str], *, limits: Limits | None = None) -> Processor:
    """The processor with some parameters at their defaults, or as near as the limits allow."""
    values = dict(node.parameters)
    for name in names:
        parameter = SPECS[node.type].parameter(name)
        low, high = allowed(parameter, node.kind, limits)
        values[name] = min(max(parameter.default, low), high)
    return node if values == node.parameters else replaced(node, values)


def replaced(node: Processor, parameters: Mapping[str, float], *, mix: float | None = None) -> Processor:
    """A copy with other settings, checked again; what was known about the old ones is forgotten."""
    return Processor(
        id=node.id,
        type=node.type,
        parameters=dict(parameters),
        mix=node.mix if mix is None else mix,
        law=node.law,
    )


def allowed(parameter: Parameter, kind: str, limits: Limits | None) -> tuple[float, float]:
    """Lowest and highest value of a parameter of a type."""
    return (limits or {}).get(kind, {}).get(parameter.name, (parameter.minimum, parameter.maximum))


def fits(kind: str, values: Mapping[str, float], limits: Limits | None) -> bool:
    """Whether all values of a type are within their ranges."""
    ranges = ((values[p.name], allowed(p, kind, limits)) for p in spec_of(kind).parameters)
    return all(low <= value <= high for value, (low, high) in ranges)


def pass_is_off(values: Mapping[str, float], name: str) -> bool:
    """Whether the EQ's high-pass or low-pass is bypassed."""
    return values[f"{name}_hz"] == SPECS["eq"].parameter(f"{name}_hz").off_at


def eq_response(
    values: Mapping[str, float], *, frequencies_hz: npt.NDArray[np.float64], law: str, sample_rate_hz: float
) -> npt.NDArray[np.complex128]:
    """Frequency response of an equalizer, wet only, at some frequencies below half the rate."""
    sections = eq_sections(values, sample_rate_hz=sample_rate_hz, law=law_of(law, "eq"))
    if not len(sections):
        return np.ones(len(frequencies_hz), dtype=np.complex128)
    _, response = scipy.signal.freqz_sos(sections, worN=frequencies_hz, fs=sample_rate_hz)
    return np.asarray(response, dtype=np.complex128)


def audible_grid_hz(sample_rate_hz: float) -> npt.NDArray[np.float64]:
    """Frequencies at which equalizers are compared, spaced evenly in octaves."""
    highest_hz = 0.45 * sample_rate_hz
    return _GRID_HZ[highest_hz > _GRID_HZ]


def _band_peak_db(values: Mapping[str, float], band: str, law: str, sample_rate_hz: float) -> float:
    """Largest change of level by one band alone where it is heard."""
    if abs(values[f"{band}_db"]) < NEGLIGIBLE_DB:
        return values[f"{band}_db"]
    alone = SPECS["eq"].defaults() | {name: values[name] for name in (f"{band}_hz", f"{band}_db", f"{band}_q")}
    grid_hz = audible_grid_hz(sample_rate_hz)
    response = eq_response(alone, frequencies_hz=grid_hz, law=law, sample_rate_hz=sample_rate_hz)
    return float(np.max(np.abs(20.0 * np.log10(np.maximum(np.abs(response), 1e-9)))))


def _largest_reduction_db(p: Mapping[str, float]) -> float:
    static = {name: p[name] for name in ("threshold_db", "ratio", "knee_db")}
    return -float(compressor_gain_db(np.array(LOUDEST_DBFS), **static, xp=np))


def _gate_stays_open(node: Processor) -> bool:
    curve = law_of(node.law, node.type).gate
    p = node.parameters
    # A switch has no ratio; a gate that follows its power has no range.
    no_range = curve != "power" and p["range_db"] < NEGLIGIBLE_DB
    no_ratio = curve != "switch" and p["ratio"] == SPECS["gate"].parameter("ratio").minimum
    return no_range or no_ratio


def _is_dry(node: Processor) -> bool:
    if node.type == "reverb":
        return _wet_is_silent(node.parameters["level_db"], node.mix)
    return all(_tap_is_silent(node.parameters, tap, node.mix) for tap in range(1, DELAY_TAPS + 1))


def _tap_is_silent(values: Mapping[str, float], tap: int, mix: float) -> bool:
    return _wet_is_silent(values[f"tap{tap}_level_db"], mix)


def _wet_is_silent(level_db: float, mix: float) -> bool:
    if level_db == SILENT_LEVEL_DB:
        return True
    dry = MIX.maximum - mix
    return dry > 0.0 and level_db + gain_to_db(mix / dry) < INAUDIBLE_WET_DB
