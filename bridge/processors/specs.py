"""What each processor type is: its parameters with unit, range, default and meaning.

This is the one place where a range or a default is written. The reference DSP, the
differentiable twins, the JSFX sliders, the graph file and the exporters all read it from here.
No signal processing lives here (see `equations`, `reference` and `twins`).

Every processor is used as ``y = mix * f(u) + (1 - mix) * u``; `MIX` describes that weight.
At its defaults every processor leaves the signal unchanged for any `mix`, except delay and
reverb, whose wet paths are silent at their default levels, and the limiter, which leaves
unchanged what stays within full scale. (A ceiling of 0 dB that switched the limiter off would be
neutral without that exception, but no engineer expects the highest ceiling to let peaks pass.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ..errors import ParameterError

Scale = Literal["linear", "log"]

#: Chain order on every track, group and on the master: that of Lee et al., DAFx 2024, section 3, with
#: saturation among the dynamics, where levels are still the track's own, and the limiter last, where
#: nothing can raise the level above its ceiling again.
CHAIN_ORDER = ("eq", "compressor", "gate", "saturation", "imager", "gain_pan", "delay", "reverb", "limiter")

#: Types that are fed by sends where they stand on a return, fully wet.
SEND_EFFECTS = ("delay", "reverb")

DELAY_TAPS = 4
BELLS = 4

#: Level at and below which a delay tap is silent.
SILENT_LEVEL_DB = -60.0


@dataclass(frozen=True)
class Parameter:
    """One physical parameter of a processor.

    Attributes
    ----------
    name : str
        Identifier with the unit as suffix, lower case (it is also the JSFX slider variable).
    label : str
        Text for people, with the unit.
    default, minimum, maximum : float
        In the unit of the parameter; both ends are allowed values.
    unit : str
        "dB", "Hz", "ms", "s", "ratio" or "" (dimensionless).
    scale : {"linear", "log"}
        How a knob (or an optimiser) should move through the range.
    off_at : float or None
        The end of the range at which the section is bypassed exactly.
    """

    name: str
    label: str
    default: float
    minimum: float
    maximum: float
    unit: str
    scale: Scale = "linear"
    off_at: float | None = None

    @property
    def title(self) -> str:
        """The label without unit and explanation, such as "Threshold"."""
        return self.label.partition(" (")[0].partition(",")[0]

    def check(self, value: float) -> float:
        """Return `value` as float.

        Raises
        ------
        ParameterError
            If the value is not a finite number within the range.
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ParameterError(f"{self.name}: expected a number, got {value!r}")
        if not math.isfinite(value) or not self.minimum <= value <= self.maximum:
            raise ParameterError(
                f"{self.name}: {value!r} is outside {self.minimum:g} to {self.maximum:g} {self.unit}".rstrip()
            )
        return float(value)

    def limited(self, value: float) -> float:
        """The value, or the end of the range that it exceeds."""
        return min(max(value, self.minimum), self.maximum)


@dataclass(frozen=True)
class ProcessorSpec:
    """A processor type: its name, letter in a chain, label and parameters in slider order."""

    type: str
    letter: str
    label: str
    linear: bool
    parameters: tuple[Parameter, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names in slider order."""
        return tuple(p.name for p in self.parameters)

    def parameter(self, name: str) -> Parameter:
        """Look up one parameter by name (`ParameterError` if there is none)."""
        for candidate in self.parameters:
            if candidate.name == name:
                return candidate
        raise ParameterError(f"{self.type}: unknown parameter {name!r}; it has {', '.join(self.names)}")

    def defaults(self) -> dict[str, float]:
        """All parameters at their defaults."""
        return {p.name: p.default for p in self.parameters}

    def check(self, values: Mapping[str, float]) -> dict[str, float]:
        """Validate a complete set of values and return it in slider order.

        Raises
        ------
        ParameterError
            On an unknown, missing or out-of-range parameter; the message names it.
        """
        for name in values:
            self.parameter(name)
        missing = [name for name in self.names if name not in values]
        if missing:
            raise ParameterError(f"{self.type}: missing parameter {missing[0]!r}")
        try:
            return {p.name: p.check(values[p.name]) for p in self.parameters}
        except ParameterError as error:
            raise ParameterError(f"{self.type}.{error}") from None


MIX = Parameter("mix", "Mix (dry 0 ... wet 1)", 1.0, 0.0, 1.0, "")

#: Level of a send; post-fader.
SEND_LEVEL = Parameter("level_db", "Send level (dB)", 0.0, -60.0, 12.0, "dB", off_at=-60.0)

#: Gain of a breakpoint of volume automation, relative to the fader.
VOLUME = Parameter("gain_db", "Volume (dB)", 0.0, -80.0, 12.0, "dB")


def _frequency(
    name: str, label: str, default: float, low: float, high: float, off_at: float | None = None
) -> Parameter:
    return Parameter(f"{name}_hz", f"{label} frequency (Hz)", default, low, high, "Hz", "log", off_at)


def _band(name: str, label: str, default_hz: float) -> Iterable[Parameter]:
    yield _frequency(name, label, default_hz, 20.0, 20000.0)
    yield Parameter(f"{name}_db", f"{label} gain (dB)", 0.0, -24.0, 24.0, "dB")
    yield Parameter(f"{name}_q", f"{label} Q", math.sqrt(0.5), 0.2, 8.0, "", "log")


_BELL_DEFAULTS_HZ = (150.0, 500.0, 1500.0, 5000.0)

EQ = ProcessorSpec(
    "eq",
    "e",
    "Parametric EQ",
    True,
    (
        _frequency("highpass", "High-pass", 10.0, 10.0, 2000.0, off_at=10.0),
        *_band("low_shelf", "Low shelf", 100.0),
        *(p for n in range(1, BELLS + 1) for p in _band(f"bell{n}", f"Bell {n}", _BELL_DEFAULTS_HZ[n - 1])),
        *_band("high_shelf", "High shelf", 8000.0),
        _frequency("lowpass", "Low-pass", 24000.0, 1000.0, 24000.0, off_at=24000.0),
    ),
)

_ATTACK = Parameter("attack_ms", "Attack (ms)", 10.0, 0.1, 200.0, "ms", "log")
_RELEASE = Parameter("release_ms", "Release (ms)", 100.0, 5.0, 2000.0, "ms", "log")
_KNEE = Parameter("knee_db", "Knee, full width (dB)", 6.0, 0.0, 24.0, "dB")

COMPRESSOR = ProcessorSpec(
    "compressor",
    "c",
    "Compressor",
    False,
    (
        Parameter("threshold_db", "Threshold (dBFS)", 0.0, -60.0, 0.0, "dB"),
        Parameter("ratio", "Ratio (n:1)", 1.0, 1.0, 20.0, "ratio", "log"),
        _ATTACK,
        _RELEASE,
        _KNEE,
        Parameter("makeup_db", "Make-up gain (dB)", 0.0, -12.0, 24.0, "dB"),
    ),
)

GATE = ProcessorSpec(
    "gate",
    "n",
    "Noise gate",
    False,
    (
        Parameter("threshold_db", "Threshold (dBFS)", -80.0, -80.0, 0.0, "dB"),
        Parameter("ratio", "Expansion ratio (1:n)", 1.0, 1.0, 20.0, "ratio", "log"),
        Parameter("range_db", "Range, largest attenuation (dB)", 60.0, 0.0, 80.0, "dB"),
        _ATTACK,
        _RELEASE,
        _KNEE,
    ),
)

SATURATION = ProcessorSpec(
    "saturation",
    "x",
    "Saturation",
    False,
    (Parameter("drive_db", "Drive (dB)", 0.0, 0.0, 36.0, "dB"),),
)

IMAGER = ProcessorSpec(
    "imager",
    "s",
    "Stereo imager",
    True,
    (Parameter("width", "Width (0 mono, 1 unchanged, 2 wide)", 1.0, 0.0, 2.0, ""),),
)

GAIN_PAN = ProcessorSpec(
    "gain_pan",
    "g",
    "Gain/pan",
    True,
    (
        Parameter("gain_db", "Gain (dB)", 0.0, -80.0, 36.0, "dB"),
        Parameter("pan", "Pan (-1 left ... 1 right)", 0.0, -1.0, 1.0, ""),
    ),
)


def _tap(n: int) -> Iterable[Parameter]:
    label = f"Tap {n}"
    yield Parameter(f"tap{n}_time_ms", f"{label} time (ms)", 125.0 * n, 1.0, 2000.0, "ms", "log")
    yield Parameter(
        f"tap{n}_level_db", f"{label} level (dB)", SILENT_LEVEL_DB, SILENT_LEVEL_DB, 6.0, "dB", off_at=SILENT_LEVEL_DB
    )
    yield Parameter(f"tap{n}_pan", f"{label} pan (-1 left ... 1 right)", 0.0, -1.0, 1.0, "")
    yield _frequency(f"tap{n}_low_cut", f"{label} low cut", 20.0, 20.0, 2000.0, off_at=20.0)
    yield _frequency(f"tap{n}_high_cut", f"{label} high cut", 20000.0, 500.0, 20000.0, off_at=20000.0)


DELAY = ProcessorSpec(
    "delay",
    "d",
    "Multitap delay",
    True,
    tuple(p for n in range(1, DELAY_TAPS + 1) for p in _tap(n)),
)

REVERB = ProcessorSpec(
    "reverb",
    "r",
    "Reverb",
    True,
    (
        Parameter("pre_delay_ms", "Pre-delay (ms)", 0.0, 0.0, 250.0, "ms"),
        Parameter("decay_s", "Decay time, RT60 of the mids (s)", 1.0, 0.1, 5.0, "s", "log"),
        Parameter("low_decay_ratio", "Low damping (decay below 250 Hz, x)", 1.0, 0.3, 2.0, "ratio", "log"),
        Parameter("high_decay_ratio", "High damping (decay above 4 kHz, x)", 0.6, 0.1, 1.0, "ratio", "log"),
        _frequency("low_cut", "Low cut", 20.0, 20.0, 2000.0, off_at=20.0),
        _frequency("high_cut", "High cut", 20000.0, 500.0, 20000.0, off_at=20000.0),
        Parameter("width", "Width (0 mono, 1 full)", 1.0, 0.0, 1.0, ""),
        Parameter("level_db", "Level (dB)", SILENT_LEVEL_DB, SILENT_LEVEL_DB, 12.0, "dB", off_at=SILENT_LEVEL_DB),
    ),
)

LIMITER = ProcessorSpec(
    "limiter",
    "l",
    "Limiter",
    False,
    (
        Parameter("gain_db", "Input gain (dB)", 0.0, 0.0, 24.0, "dB"),
        Parameter("ceiling_db", "Ceiling (dBFS)", 0.0, -24.0, 0.0, "dB"),
        _RELEASE,
    ),
)

SPECS: dict[str, ProcessorSpec] = {
    spec.type: spec for spec in (EQ, COMPRESSOR, GATE, SATURATION, IMAGER, GAIN_PAN, DELAY, REVERB, LIMITER)
}


#: Short names that engineers type for a processor type.
SHORT_NAMES = {"comp": COMPRESSOR.type, "width": IMAGER.type}


def type_named(text: str) -> str:
    """The processor type that a user may have typed by its short name; any other text as it is."""
    return SHORT_NAMES.get(text, text)


def spec_of(processor_type: str) -> ProcessorSpec:
    """Return the specification of a processor type.

    Raises
    ------
    ParameterError
        If there is no such type.
    """
    if processor_type not in SPECS:
        raise ParameterError(f"unknown processor type {processor_type!r}; known are {', '.join(SPECS)}")
    return SPECS[processor_type]
