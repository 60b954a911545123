"""A plugin profile: how one plugin realises one processor, and with which settings; no file is read here.

`profile_files` reads profiles, `suites` chooses among them, a plugin pool runs the stages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import groupby
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from ..exporters.chain import PluginInfo
from .errors import ParameterError, ProfileError
from .expressions import FUNCTIONS, Formula, Function, Value
from .processors import equations as eq
from .processors import freeverb
from .processors.laws import law_of
from .processors.reference import apply_processor, delay_samples, reverb_length
from .processors.specs import MIX, REVERB, ProcessorSpec, spec_of

Audio = npt.NDArray[np.float64]
Parameters = Mapping[str, float]
Kind = Literal["vst3", "lv2", "builtin", "jsfx", "stock", "mixer"]
Plain = float | str

#: An impulse response goes on for this long (s) after the reverb has ended: its cuts ring on.
CUT_TAIL_S = 0.25

#: Name, in the formulas of a stage's gains, of the energy of the louder channel of its response.
RESPONSE_ENERGY = "response_energy"

#: What 0 and 1 of a port that switches stand for.
SWITCH = ("off", "on")

#: A value this little (relative) outside its limits is within: it was rounded on its way.
LIMIT_SLACK = 1e-9


class StrictModel(BaseModel):
    """Refuses unknown fields and other types than declared."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Measured(StrictModel):
    """What the null tests found; written by ``scripts/measure_profiles.py``.

    Attributes
    ----------
    sets : int
        Random parameter sets per sample rate.
    worst_null_db, median_null_db : float
        Energy of the difference to the reference relative to the reference.
    worst_response_db : float or None
        Largest difference of the frequency response, 20 Hz to 18 kHz; equalizers only.
    worst_decay_percent, worst_level_db : float or None
        Largest difference of decay time and level between the crossovers; reverbs only.
    version : str
        Of the plugin it was measured with.
    """

    sets: int
    rates_hz: list[int]
    worst_null_db: float
    median_null_db: float
    worst_response_db: float | None = None
    worst_decay_percent: float | None = None
    worst_level_db: float | None = None
    version: str = ""


class Shortfall(StrictModel):
    """Bounds a profile keeps in place of the usual targets, and why it cannot do better."""

    reason: str
    null_db: float | None = None
    response_db: float | None = None


@dataclass(frozen=True)
class ControlRecipe:
    """How one parameter of a plugin is computed; a text stands for itself. `place` is for messages.

    `resolution` computes by how much the value may be off without being heard; None: by rounding alone.
    """

    parameter: str
    id: str
    value: Formula | str
    place: str
    resolution: Formula | None = None


@dataclass(frozen=True)
class StageRecipe:
    """How a `Stage` is computed."""

    plugin: PluginInfo
    when: Formula
    branch: Formula
    mono: bool
    gains: tuple[Formula, Formula]
    controls: tuple[ControlRecipe, ...]
    files: tuple[str, ...]
    place: str


@dataclass(frozen=True)
class Lv2Ports:
    """How the ports of an LV2 plugin differ from the texts and units of a profile's controls.

    Attributes
    ----------
    gains : frozenset of str
        Symbols of ports that take a linear amplitude where the control has dB.
    choices : mapping of str to tuple of str
        What the whole numbers of a port stand for, from 0 on; ports not named are switches: off, on.
    dry, wet : str
        Symbols of the gains of input and effect at the plugin's output; empty where it has none.
    """

    gains: frozenset[str] = frozenset()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dry: str = ""
    wet: str = ""

    def value(self, symbol: str, control: Plain) -> float:
        """What a port is set to.

        Raises
        ------
        ValueError
            When a text is none of the port's choices.
        """
        if symbol in self.gains:
            return float(eq.db_to_gain(float(control)))
        if not isinstance(control, str):
            return float(control)
        choices = self.choices.get(symbol, SWITCH)
        if control not in choices:
            raise ValueError(f"{control!r} is none of {', '.join(choices)}")
        return float(choices.index(control))


@dataclass(frozen=True)
class Stage:
    """One run of one plugin; `run_stages` puts several together.

    Attributes
    ----------
    kind : {"vst3", "lv2", "builtin", "jsfx", "stock", "mixer"}
    plugin : PluginInfo or None
        None for the mixer, whose `values` are the physical parameters.
    values : dict of str to float or str
        Plugin parameter to value.
    files : dict of str to array, shape=(2, n)
        State id (built-ins: name of the argument) of each file the plugin loads.
    branch : int
        Stages of one branch run one after another; branches run beside each other and are added.
    mono : bool
        The stage is fed the mean of both channels.
    gains : tuple of float
        What the host multiplies the stage's left and right output by.
    """

    kind: Kind
    plugin: PluginInfo | None
    values: dict[str, Plain]
    files: dict[str, Audio] = field(default_factory=dict)
    branch: int = 0
    mono: bool = False
    gains: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Profile:
    """How one plugin (or the built-ins of a host) realises one processor.

    Attributes
    ----------
    suite, name : str
        `name` is that of its file; it equals `processor` for the suite's standard profile.
    processor : str
        Key of `specs.SPECS`.
    law : str
        Key of `laws.LAWS`: the law that the plugin follows.
    kind : {"vst3", "lv2", "builtin", "jsfx", "stock", "mixer"}
        Of kind "stock" are plugins that come with a DAW and run in it alone; its exporter knows their states.
    plugin : PluginInfo or None
        None for the mixer. A built-in profile may need several plugins: its name is then that of
        the profile, and `stages` tells what to run.
    limits : mapping of str to (float, float)
        Allowed ranges where they are narrower than the specification's; equal ends: fixed.
    search : bool
        Whether a search should use it: False where the law has no useful gradient.
    stereo : {"linked", "per channel", "mono sum"}
        What the plugin does with two channels.
    latency_samples : int
    display : tuple of str
        Patterns (`fnmatch`) for names of the plugin's parameters that change what it shows, never what is heard.
    notes : str
    measured : Measured or None
    shortfall : Shortfall or None
    source : str
        Path of the file, for messages.
    lv2 : Lv2Ports
        Of kind "lv2" alone.
    """

    suite: str
    name: str
    processor: str
    kind: Kind
    plugin: PluginInfo | None = None
    law: str = ""
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    search: bool = True
    stereo: str = "per channel"
    latency_samples: int = 0
    display: tuple[str, ...] = ()
    notes: str = ""
    measured: Measured | None = None
    shortfall: Shortfall | None = None
    source: str = ""
    lv2: Lv2Ports = Lv2Ports()
    recipe: tuple[StageRecipe, ...] = field(default=(), repr=False, compare=False)
    let: tuple[tuple[str, Formula], ...] = field(default=(), repr=False, compare=False)

    @property
    def spec(self) -> ProcessorSpec:
        """The processor's specification."""
        return spec_of(self.processor)

    def allowed(self, name: str) -> tuple[float, float]:
        """Lowest and highest value of a physical parameter with this plugin."""
        parameter = self.spec.parameter(name)
        return self.limits.get(name, (parameter.minimum, parameter.maximum))

    def check(self, parameters: Mapping[str, float]) -> dict[str, float]:
        """Return the parameters in slider order.

        Raises
        ------
        ParameterError
            When one is missing, unknown or outside what the plugin allows.
        """
        values = self.spec.check(parameters)
        for name, value in values.items():
            low, high = self.allowed(name)
            slack = LIMIT_SLACK * max(abs(low), abs(high), 1.0)
            if not low - slack <= value <= high + slack:
                raise ParameterError(
                    f"{self.processor}.{name}: {value:g} is outside {low:g} to {high:g}, all that "
                    f"{self._title()} can do; search with --plugins {self.suite} to stay inside"
                )
            values[name] = min(max(value, low), high)
        return values

    def clamp(self, parameters: Mapping[str, float]) -> dict[str, float]:
        """Return the parameters, each moved to the nearest value the plugin allows."""
        values = self.spec.check(parameters)
        return {name: min(max(value, self.allowed(name)[0]), self.allowed(name)[1]) for name, value in values.items()}

    def settings(self, parameters: Mapping[str, float], *, sample_rate_hz: float) -> dict[str, Plain]:
        """What to set on the plugin: its parameters by name.

        For built-ins and the mixer these are the physical parameters themselves (`stages` has the
        values of each built-in plugin, and of each LV2 plugin where a profile has several), for a
        JSFX its sliders, fully wet. Ports of LV2 plugins are named by their symbols.

        Raises
        ------
        ParameterError
            When a parameter is outside what the plugin allows.
        ProfileError
            When a formula cannot be computed; the message names file and field.
        """
        values = self.check(parameters)
        if self.kind == "vst3" or (self.kind == "lv2" and len(self.recipe) == 1):
            return self._stage_values(self.recipe[0], self._names(values, sample_rate_hz), sample_rate_hz)
        return {**values, MIX.name: MIX.maximum} if self.kind == "jsfx" else dict(values)

    def files(self, parameters: Mapping[str, float], *, sample_rate_hz: float) -> dict[str, Audio]:
        """Audio files the plugin must load, at `sample_rate_hz`: state id to array of shape (2, n).

        Raises
        ------
        ParameterError, ProfileError
            As `settings`.
        """
        values = self.check(parameters)
        if self.kind not in ("vst3", "lv2"):
            return {}
        return self._stage_files(self.recipe[0], values, sample_rate_hz)

    def stages(self, parameters: Mapping[str, float], *, sample_rate_hz: float) -> tuple[Stage, ...]:
        """All plugins to run, with their settings, by branch; exactly one unless the kind is "builtin" or "lv2".

        Raises
        ------
        ParameterError, ProfileError
            As `settings`.
        """
        values = self.check(parameters)
        if self.kind in ("jsfx", "stock", "mixer"):
            return (Stage(self.kind, self.plugin, self.settings(values, sample_rate_hz=sample_rate_hz)),)
        names = self._names(values, sample_rate_hz)
        stages = (
            self._stage(recipe, values, names, sample_rate_hz)
            for recipe in self.recipe
            if self._compute(recipe.when, names, sample_rate_hz, f"{recipe.place}when")
        )
        # Stages that repeat for every branch are written one after another.
        return tuple(sorted(stages, key=lambda stage: stage.branch))

    # ------------------------------------------------------------------ inside

    def _title(self) -> str:
        return self.plugin.name if self.plugin is not None else f"the {self.suite} suite"

    def _names(self, values: Mapping[str, float], rate: float) -> dict[str, Value]:
        names: dict[str, Value] = {**formula_constants(self.spec, rate), **values}
        for name, formula in self.let:
            names[name] = self._compute(formula, names, rate, f"let.{name}")
        return names

    def _compute(self, formula: Formula, names: Mapping[str, Value], rate: float, place: str) -> Value:
        try:
            return formula(names, formula_functions(rate))
        except ValueError as error:
            raise ProfileError(f"{self.source}: {place}: {error}") from None

    def _number(self, formula: Formula, names: Mapping[str, Value], rate: float, place: str) -> float:
        value = self._compute(formula, names, rate, place)
        if isinstance(value, str):
            raise ProfileError(f"{self.source}: {place}: expected a number, got {value!r}")
        return float(value)

    def _stage(self, recipe: StageRecipe, p: Parameters, names: dict[str, Value], rate: float) -> Stage:
        files = self._stage_files(recipe, p, rate)
        names = {**names, RESPONSE_ENERGY: _largest_energy(files)}
        left, right = (self._number(g, names, rate, f"{recipe.place}gains") for g in recipe.gains)
        return Stage(
            kind=self.kind,
            plugin=recipe.plugin,
            values=self._stage_values(recipe, names, rate),
            files=files,
            branch=int(self._number(recipe.branch, names, rate, f"{recipe.place}branch")),
            mono=recipe.mono,
            gains=(left, right),
        )

    def _stage_files(self, recipe: StageRecipe, p: Parameters, rate: float) -> dict[str, Audio]:
        if not recipe.files:
            return {}
        return dict.fromkeys(recipe.files, reverb_response(p, sample_rate_hz=rate, law=self.law))

    def _stage_values(self, recipe: StageRecipe, names: Mapping[str, Value], rate: float) -> dict[str, Plain]:
        values: dict[str, Plain] = {}
        for control in recipe.controls:
            value: Value = ""
            if isinstance(control.value, str):
                value = control.value
            else:
                value = self._compute(control.value, names, rate, f"{control.place}.value")
            value = float(value) if isinstance(value, bool) else value
            if self.kind != "lv2":
                values[control.parameter] = value
                continue
            try:
                values[control.id] = self.lv2.value(control.id, value)
            except ValueError as error:
                raise ProfileError(f"{self.source}: {control.place}.value: {error}") from None
        return values

    def shows_only(self, parameter: str) -> bool:
        """Whether a parameter of the plugin changes what the plugin shows and nothing that is heard."""
        return any(fnmatchcase(parameter, pattern) for pattern in self.display)

    def state_ids(self) -> dict[str, str]:
        """Plugin parameter to the id under which the plugin stores it, where the profile says so."""
        return {c.parameter: c.id for stage in self.recipe for c in stage.controls if c.id}


def run_stages(stages: Sequence[Stage], audio: Audio, *, run: Callable[[Stage, Audio], npt.ArrayLike]) -> Audio:
    """Put the stages of one profile together as a host does.

    Parameters
    ----------
    audio : array, shape=(2, n)
    run : callable
        Runs one stage's plugin over its input and returns as many samples.

    Returns
    -------
    array of float64, shape=(2, n)
    """
    total = np.zeros(np.shape(audio))
    for _, branch in groupby(stages, key=lambda stage: stage.branch):
        signal = np.asarray(audio, dtype=np.float64)
        for stage in branch:
            if stage.mono:
                signal = np.broadcast_to(signal.mean(axis=0), signal.shape)
            signal = np.asarray(run(stage, signal), dtype=np.float64) * np.array(stage.gains)[:, None]
        total += signal
    return total


def reverb_response(parameters: Parameters, *, sample_rate_hz: float, law: str = "") -> Audio:
    """Impulse response of the reverb to the mean of its input channels, with pre-delay and cuts.

    Its level is 0 dB: level and dry/wet stay outside, where they can be edited.

    Parameters
    ----------
    law : str
        Key of `laws.LAWS` of a law of the reverb; empty for ours.

    Returns
    -------
    array, shape=(2, n)
    """
    frames = delay_samples(parameters["pre_delay_ms"], sample_rate_hz=sample_rate_hz)
    frames += reverb_length(parameters, sample_rate_hz=sample_rate_hz, law=law_of(law, REVERB.type))
    frames += round(CUT_TAIL_S * sample_rate_hz)
    impulse = np.zeros((2, frames))
    impulse[:, 0] = 1.0
    at_unity = {**parameters, "level_db": 0.0}
    return apply_processor(REVERB.type, impulse, parameters=at_unity, sample_rate_hz=sample_rate_hz, law=law)


def _largest_energy(files: Mapping[str, Audio]) -> float:
    return max(
        (float(np.sum(np.float32(f).astype(np.float64) ** 2, axis=1).max()) for f in files.values()), default=0.0
    )


# ------------------------------------------------------------------------- formulas


def formula_constants(spec: ProcessorSpec, rate: float) -> dict[str, Value]:
    """Names every formula of a processor may use, besides its parameters."""
    names: dict[str, Value] = {
        "pi": math.pi,
        "butterworth_q": eq.BUTTERWORTH_Q,
        "sample_rate_hz": float(rate),
        "highest_hz": eq.MAX_FREQUENCY_SHARE * rate,
        "low_crossover_hz": eq.REVERB_CROSSOVERS_HZ[0],
        "high_crossover_hz": eq.REVERB_CROSSOVERS_HZ[1],
    }
    return names | {f"{p.name}_off": p.off_at for p in spec.parameters if p.off_at is not None}


@lru_cache(maxsize=16)
def formula_functions(rate: float) -> Mapping[str, Function]:
    """Functions of a formula; those of the processors come from where they are defined."""

    def pan(position: float, channel: int) -> float:
        return float(eq.pan_gains(position, xp=np)[channel])

    def zone(ratio: float, range_db: float, knee_db: float, index: int) -> float:
        return float(eq.gate_zone_db(ratio=ratio, range_db=range_db, knee_db=knee_db, xp=np)[index])

    return FUNCTIONS | {
        "db_to_gain": eq.db_to_gain,
        "gain_to_db": eq.gain_to_db,
        "pan_left": lambda position: pan(position, 0),
        "pan_right": lambda position: pan(position, 1),
        "delay_samples": lambda time_ms: float(delay_samples(time_ms, sample_rate_hz=rate)),
        "saturation_shape": eq.saturation_shape,
        "gate_zone_db": lambda ratio, range_db, knee_db: zone(ratio, range_db, knee_db, 0),
        "freeverb_room": freeverb.room_size,
        "freeverb_damping": lambda decay_s, ratio: freeverb.damping_share(decay_s, ratio, sample_rate_hz=rate),
        "freeverb_wet": freeverb.wet_level,
        "gate_depth_db": lambda ratio, range_db, knee_db: zone(ratio, range_db, knee_db, 1),
    }
