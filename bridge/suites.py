"""Plugin suites and their profiles: which plugin realises which processor, and how; no plugin is run here.

A profile is a file of `presets/plugins/<suite>`: the plugin, a formula for each of its parameters,
the limits within which it can follow its law, and what a null test measured. Profiles of the
user's own, in ``profiles/<suite>`` of the data folder, take precedence. docs/profiles.md describes
the format. A suite maps each processor type it has to one profile.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..exporters.chain import PluginInfo
from ..exporters.reaper.effects import JSFX_FILES
from .errors import ParameterError, ProfileError
from .expressions import FUNCTIONS, Formula, Function, Value
from .hosting.places import data_folder
from .processors import equations as eq
from .processors.laws import law_of
from .processors.reference import apply_processor, delay_samples, reverb_length
from .processors.specs import MIX, REVERB, SPECS, ProcessorSpec, spec_of

Audio = npt.NDArray[np.float64]
Kind = Literal["vst3", "builtin", "jsfx", "mixer"]
Plain = float | str

#: File of a suite's folder that describes the suite itself.
SUITE_FILE = "suite.toml"

#: Folder of the data folder that holds the user's own suites and profiles.
OWN_FOLDER = "profiles"

#: Every processor type that the chosen suites do not name otherwise.
OTHERS = "*"

#: An impulse response goes on for this long (s) after the reverb has ended: its cuts ring on.
CUT_TAIL_S = 0.25

#: A value this little (relative) outside its limits is within: it was rounded on its way.
LIMIT_SLACK = 1e-9


# ------------------------------------------------------------------------- what the files hold


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class _Control(_Model):
    """One parameter of a plugin: `value` is a formula, `text` a fixed text.

    `each` repeats it, once for each place of its lists: ``{n}`` stands for what the list `n` has there.
    """

    parameter: str
    id: str = ""
    value: str | float | None = None
    text: str | None = None
    each: dict[str, list[int]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        _rows(self.each)
        if (self.value is None) == (self.text is None):
            raise ValueError("give either value (a formula) or text")
        return self


class _File(_Model):
    """An audio file the plugin loads: the `reverb_response`."""

    id: str
    response: Literal["reverb"]


class _StageFile(_Model):
    """One plugin of several; see `Stage`. `when` is a formula that says whether it is needed."""

    plugin: str
    each: dict[str, list[int]] = Field(default_factory=dict)
    when: str = "True"
    branch: str = "0"
    mono: bool = False
    gains: tuple[str, str] = ("1", "1")
    control: list[_Control] = Field(default_factory=list)
    file: list[_File] = Field(default_factory=list)

    @field_validator("gains", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("each")
    @classmethod
    def _even(cls, value: dict[str, list[int]]) -> dict[str, list[int]]:
        _rows(value)
        return value


class Measured(_Model):
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


class Shortfall(_Model):
    """Bounds a profile keeps in place of the usual targets, and why it cannot do better."""

    reason: str
    null_db: float | None = None
    response_db: float | None = None


class _ProfileFile(_Model):
    processor: str
    law: str = ""
    kind: Kind
    search: bool = True
    stereo: Literal["linked", "per channel", "mono sum"]
    latency_samples: int = Field(default=0, ge=0)
    notes: str = ""
    plugin: PluginInfo | None = None
    limits: dict[str, tuple[float, float]] = Field(default_factory=dict)
    let: dict[str, str] = Field(default_factory=dict)
    control: list[_Control] = Field(default_factory=list)
    file: list[_File] = Field(default_factory=list)
    stage: list[_StageFile] = Field(default_factory=list)
    shortfall: Shortfall | None = None
    measured: Measured | None = None

    @field_validator("processor")
    @classmethod
    def _known(cls, value: str) -> str:
        return spec_of(value).type

    @field_validator("limits", mode="before")
    @classmethod
    def _as_tuples(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: tuple(map(_as_float, v)) if isinstance(v, list) else v for k, v in value.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        law_of(self.law, self.processor)
        if (self.kind == "vst3") != (self.plugin is not None):
            raise ValueError("plugin: a profile of kind vst3 has one, the others have none")
        if (self.kind == "builtin") != bool(self.stage):
            raise ValueError("stage: a profile of kind builtin has at least one, the others have none")
        if self.kind != "vst3" and (self.control or self.file):
            raise ValueError("control: only a profile of kind vst3 has controls of its own")
        for name, (low, high) in self.limits.items():
            parameter = spec_of(self.processor).parameter(name)
            if not parameter.minimum <= low <= high <= parameter.maximum:
                raise ValueError(
                    f"limits.{name}: must rise and lie within {parameter.minimum:g} to {parameter.maximum:g}"
                )
        return self


class _SuiteFile(_Model):
    description: str
    install: list[str] = Field(default_factory=list)
    mixer: list[str] = Field(default_factory=list)

    @field_validator("mixer")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return [spec_of(name).type for name in value]


def _rows(each: Mapping[str, Sequence[int]]) -> list[dict[str, int]]:
    """The repetitions of `each`: one without placeholders if it is empty."""
    if len({len(column) for column in each.values()}) > 1:
        raise ValueError("each: its lists must be of the same length")
    return [dict(zip(each, row, strict=True)) for row in zip(*each.values(), strict=True)] if each else [{}]


def _as_float(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


# ------------------------------------------------------------------------- profiles


@dataclass(frozen=True)
class Stage:
    """One run of one plugin; `run_stages` puts several together.

    Attributes
    ----------
    kind : {"vst3", "builtin", "jsfx", "mixer"}
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
    kind : {"vst3", "builtin", "jsfx", "mixer"}
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
    notes : str
    measured : Measured or None
    shortfall : Shortfall or None
    source : str
        Path of the file, for messages.
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
    notes: str = ""
    measured: Measured | None = None
    shortfall: Shortfall | None = None
    source: str = ""
    _recipe: tuple[_StageRecipe, ...] = field(default=(), repr=False, compare=False)
    _let: tuple[tuple[str, Formula], ...] = field(default=(), repr=False, compare=False)

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
        values of each built-in plugin), for a JSFX its sliders, fully wet.

        Raises
        ------
        ParameterError
            When a parameter is outside what the plugin allows.
        ProfileError
            When a formula cannot be computed; the message names file and field.
        """
        values = self.check(parameters)
        if self.kind == "vst3":
            return self._stage_values(self._recipe[0], self._names(values, sample_rate_hz), sample_rate_hz)
        return {**values, MIX.name: MIX.maximum} if self.kind == "jsfx" else dict(values)

    def files(self, parameters: Mapping[str, float], *, sample_rate_hz: float) -> dict[str, Audio]:
        """Audio files the plugin must load, at `sample_rate_hz`: state id to array of shape (2, n).

        Raises
        ------
        ParameterError, ProfileError
            As `settings`.
        """
        values = self.check(parameters)
        if self.kind != "vst3":
            return {}
        return _stage_files(self._recipe[0], values, sample_rate_hz)

    def stages(self, parameters: Mapping[str, float], *, sample_rate_hz: float) -> tuple[Stage, ...]:
        """All plugins to run, with their settings; exactly one unless the kind is "builtin".

        Raises
        ------
        ParameterError, ProfileError
            As `settings`.
        """
        values = self.check(parameters)
        if self.kind in ("jsfx", "mixer"):
            return (Stage(self.kind, self.plugin, self.settings(values, sample_rate_hz=sample_rate_hz)),)
        names = self._names(values, sample_rate_hz)
        return tuple(
            self._stage(recipe, values, names, sample_rate_hz)
            for recipe in self._recipe
            if self._compute(recipe.when, names, sample_rate_hz, f"{recipe.place}when")
        )

    # ------------------------------------------------------------------ inside

    def _title(self) -> str:
        return self.plugin.name if self.plugin is not None else f"the {self.suite} suite"

    def _names(self, values: Mapping[str, float], rate: float) -> dict[str, Value]:
        names = _constants(self.spec, rate) | values
        for name, formula in self._let:
            names[name] = self._compute(formula, names, rate, f"let.{name}")
        return names

    def _compute(self, formula: Formula, names: Mapping[str, Value], rate: float, place: str) -> Value:
        try:
            return formula(names, _functions(rate))
        except ValueError as error:
            raise ProfileError(f"{self.source}: {place}: {error}") from None

    def _number(self, formula: Formula, names: Mapping[str, Value], rate: float, place: str) -> float:
        value = self._compute(formula, names, rate, place)
        if isinstance(value, str):
            raise ProfileError(f"{self.source}: {place}: expected a number, got {value!r}")
        return float(value)

    def _stage(self, recipe: _StageRecipe, p: Parameters, names: dict[str, Value], rate: float) -> Stage:
        files = _stage_files(recipe, p, rate)
        names = names | {"response_energy": _largest_energy(files)}
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

    def _stage_values(self, recipe: _StageRecipe, names: Mapping[str, Value], rate: float) -> dict[str, Plain]:
        values: dict[str, Plain] = {}
        for control in recipe.controls:
            if isinstance(control.value, str):
                values[control.parameter] = control.value
            else:
                value = self._compute(control.value, names, rate, f"{control.place}.value")
                values[control.parameter] = float(value) if isinstance(value, bool) else value
        return values

    def state_ids(self) -> dict[str, str]:
        """Plugin parameter to the id under which the plugin stores it, where the profile says so."""
        return {c.parameter: c.id for stage in self._recipe for c in stage.controls if c.id}


Parameters = Mapping[str, float]


@dataclass(frozen=True)
class _ControlRecipe:
    parameter: str
    id: str
    value: Formula | str
    place: str


@dataclass(frozen=True)
class _StageRecipe:
    plugin: PluginInfo
    when: Formula
    branch: Formula
    mono: bool
    gains: tuple[Formula, Formula]
    controls: tuple[_ControlRecipe, ...]
    files: tuple[str, ...]
    place: str


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


def reverb_response(parameters: Parameters, *, sample_rate_hz: float) -> Audio:
    """Impulse response of the reverb to the mean of its input channels, with pre-delay and cuts.

    Its level is 0 dB: level and dry/wet stay outside, where they can be edited.

    Returns
    -------
    array, shape=(2, n)
    """
    frames = delay_samples(parameters["pre_delay_ms"], sample_rate_hz=sample_rate_hz)
    frames += reverb_length(parameters, sample_rate_hz=sample_rate_hz) + round(CUT_TAIL_S * sample_rate_hz)
    impulse = np.zeros((2, frames))
    impulse[:, 0] = 1.0
    at_unity = {**parameters, "level_db": 0.0}
    return apply_processor(REVERB.type, impulse, parameters=at_unity, sample_rate_hz=sample_rate_hz)


def _stage_files(recipe: _StageRecipe, parameters: Parameters, rate: float) -> dict[str, Audio]:
    if not recipe.files:
        return {}
    response = reverb_response(parameters, sample_rate_hz=rate)
    return dict.fromkeys(recipe.files, response)


def _largest_energy(files: Mapping[str, Audio]) -> float:
    return max(
        (float(np.sum(np.float32(f).astype(np.float64) ** 2, axis=1).max()) for f in files.values()), default=0.0
    )


# ------------------------------------------------------------------------- formulas


def _constants(spec: ProcessorSpec, rate: float) -> dict[str, Value]:
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


def _functions(rate: float) -> dict[str, Function]:
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
        "gate_zone_db": lambda *arguments: zone(*arguments, 0),
        "gate_depth_db": lambda *arguments: zone(*arguments, 1),
    }


class _Reader:
    """Turns a profile file into a `Profile`; `_fail` names the file and the field."""

    def __init__(self, source: str, data: _ProfileFile) -> None:
        self.source = source
        self.data = data
        spec = spec_of(data.processor)
        self.functions = frozenset(_functions(1.0))
        self.names = {*spec.names, *_constants(spec, 1.0)}

    def profile(self, suite: str, name: str) -> Profile:
        data = self.data
        let = []
        for key, text in data.let.items():
            let.append((key, self._formula(text, f"let.{key}")))
            self.names.add(key)
        plugin = data.plugin
        if data.kind == "jsfx":
            plugin = PluginInfo(name=JSFX_FILES[data.processor])
        elif data.kind == "builtin":
            plugin = PluginInfo(name=name)
        limits = dict(data.limits)
        return Profile(
            suite=suite,
            name=name,
            processor=data.processor,
            kind=data.kind,
            plugin=plugin,
            law=data.law,
            limits=limits,
            search=data.search,
            stereo=data.stereo,
            latency_samples=data.latency_samples,
            notes=data.notes.strip(),
            measured=data.measured,
            shortfall=data.shortfall,
            source=self.source,
            _recipe=tuple(self._stages()),
            _let=tuple(let),
        )

    def _stages(self) -> Iterator[_StageRecipe]:
        if self.data.kind == "vst3" and self.data.plugin is not None:
            alone = _StageFile(plugin=self.data.plugin.name, control=self.data.control, file=self.data.file)
            yield self._stage(alone, self.data.plugin, {}, "")
        for number, stage in enumerate(self.data.stage, start=1):
            for each in _rows(stage.each):
                yield self._stage(stage, PluginInfo(name=stage.plugin), each, f"stage.{number}.")

    def _stage(self, stage: _StageFile, plugin: PluginInfo, each: Mapping[str, int], place: str) -> _StageRecipe:
        before = set(self.names)
        try:
            self.names.add("response_energy")
            left, right = (self._formula(g, f"{place}gains", each) for g in stage.gains)
            return _StageRecipe(
                plugin=plugin,
                when=self._formula(stage.when, f"{place}when", each),
                branch=self._formula(stage.branch, f"{place}branch", each),
                mono=stage.mono,
                gains=(left, right),
                controls=tuple(self._controls(stage.control, each, place)),
                files=tuple(f.id for f in stage.file),
                place=place,
            )
        finally:
            self.names = before

    def _controls(self, controls: Sequence[_Control], outer: Mapping[str, int], place: str) -> Iterator[_ControlRecipe]:
        seen = set()
        for number, control in enumerate(controls, start=1):
            where = f"{place}control.{number}"
            for inner in _rows(control.each):
                each = {**outer, **inner}
                parameter = self._filled(control.parameter, f"{where}.parameter", each)
                if parameter in seen:
                    raise ProfileError(f"{self.source}: {where}.parameter: {parameter!r} is set twice")
                seen.add(parameter)
                value: Formula | str = control.text or ""
                if control.value is not None:
                    value = self._formula(str(control.value), f"{where}.value", each)
                yield _ControlRecipe(parameter, self._filled(control.id, f"{where}.id", each), value, where)

    def _formula(self, text: str, place: str, each: Mapping[str, int] | None = None) -> Formula:
        try:
            return Formula(self._filled(text, place, each or {}), names=self.names, functions=self.functions)
        except ValueError as error:
            if isinstance(error, ProfileError):
                raise
            raise ProfileError(f"{self.source}: {place}: {error}") from None

    def _filled(self, text: str, place: str, each: Mapping[str, int]) -> str:
        for name, number in each.items():
            text = text.replace(f"{{{name}}}", str(number))
        if "{" in text:
            raise ProfileError(f"{self.source}: {place}: {text!r} has a placeholder that `each` lacks")
        return text


def _parsed(source: str, raw: bytes, model: type[_Model]) -> Any:
    try:
        return model.model_validate(tomllib.loads(raw.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{source}: not valid TOML ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
        cause = first.get("ctx", {}).get("error")
        message = str(cause) if isinstance(cause, ValueError) else first["msg"]
        raise ProfileError(f"{source}: {where}: {message}" if where else f"{source}: {message}") from None


def read_profile(text: str, *, suite: str, name: str, source: str) -> Profile:
    """Read one profile.

    Parameters
    ----------
    text : str
        TOML.
    suite, name : str
        What it belongs to; a file's name without suffix.
    source : str
        What messages call it.

    Raises
    ------
    ProfileError
        When it is malformed; the message names file and field.
    """
    data: _ProfileFile = _parsed(source, text.encode("utf-8"), _ProfileFile)
    return _Reader(source, data).profile(suite, name)


def load_profile(path: Path, *, suite: str = "") -> Profile:
    """Read a profile from any file; `suite` defaults to the name of its folder.

    Raises
    ------
    ProfileError
        When it cannot be read or is malformed; the message names file and field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: cannot read the profile ({error})") from None
    return read_profile(text, suite=suite or path.absolute().parent.name, name=path.stem, source=str(path))


# ------------------------------------------------------------------------- suites


@dataclass(frozen=True)
class Suite:
    """A family of plugins.

    Attributes
    ----------
    profiles : mapping of str to Profile
        By the name of their file; the one named like its processor type is the standard.
    install : tuple of str
        What ``mixbridge plugins install`` must have put on the machine.
    """

    name: str
    description: str
    install: tuple[str, ...]
    profiles: Mapping[str, Profile]


def suite_names() -> tuple[str, ...]:
    """Names of all suites, shipped and the user's own."""
    return tuple(sorted({folder.name for folder in _folders()}))


def load_suite(name: str) -> Suite:
    """Read a suite with all its profiles.

    Raises
    ------
    ProfileError
        When there is none of that name or a file of it is malformed.
    """
    if name not in suite_names():
        raise ProfileError(f"plugin suite {name!r} does not exist; choose of {', '.join(suite_names())}")
    return _load_suite(name, str(data_folder()))


@lru_cache(maxsize=64)
def _load_suite(name: str, _data_folder: str) -> Suite:
    about = _SuiteFile(description="")
    profiles: dict[str, Profile] = {}
    for folder in (f for f in _folders() if f.name == name):
        files = {f.name: f for f in folder.iterdir() if f.name.endswith(".toml")}
        if SUITE_FILE in files:
            about = _parsed(str(files[SUITE_FILE]), files.pop(SUITE_FILE).read_bytes(), _SuiteFile)
        for file_name, file in sorted(files.items()):
            stem = file_name.removesuffix(".toml")
            profile = read_profile(file.read_text(encoding="utf-8"), suite=name, name=stem, source=str(file))
            profiles[stem] = profile
    for processor in about.mixer:
        profiles.setdefault(processor, Profile(suite=name, name=processor, processor=processor, kind="mixer"))
    order = list(SPECS)
    ordered = sorted(profiles.items(), key=lambda item: (order.index(item[1].processor), item[0]))
    return Suite(name, about.description, tuple(about.install), dict(ordered))


def _folders() -> Iterator[Traversable]:
    """Folders of suites, the user's own last, so that they win."""
    shipped = resources.files(__package__.rpartition(".")[0] + ".presets.plugins")
    own = data_folder() / OWN_FOLDER
    for root in (shipped, own) if own.is_dir() else (shipped,):
        for folder in root.iterdir():
            if folder.is_dir() and any(f.name.endswith(".toml") for f in folder.iterdir()):
                yield folder


def choose_profiles(text: str) -> dict[str, Profile]:
    """Read a choice of suites: a suite's name, or ``type=suite`` pairs and ``*=suite`` for the rest.

    Parameters
    ----------
    text : str
        Such as ``lsp`` or ``eq=lsp,compressor=zam,*=pedalboard``. ``type=suite:name`` chooses
        another profile than the suite's standard one (``reverb=zam:reverb_hall``).

    Returns
    -------
    dict of str to Profile
        By processor type, in the order of the specifications; types that the chosen suites lack
        are absent.

    Raises
    ------
    ProfileError
        On an unknown suite, type or profile, or a type that is chosen twice.
    """
    wanted: dict[str, str] = {}
    for part in (p.strip() for p in text.split(",")):
        key, _, choice = (s.strip() for s in part.partition("=")) if "=" in part else (OTHERS, "", part)
        if key not in SPECS and key != OTHERS:
            raise ProfileError(f"plugins {text!r}: unknown processor type {key!r}; known are {', '.join(SPECS)}")
        if key in wanted:
            raise ProfileError(f"plugins {text!r}: {key!r} is chosen twice")
        wanted[key] = choice
    chosen = {}
    for processor in SPECS:
        if processor in wanted:
            chosen[processor] = _chosen(processor, wanted[processor])
        elif OTHERS in wanted:
            standard = load_suite(wanted[OTHERS]).profiles.get(processor)
            if standard is not None:
                chosen[processor] = standard
    return chosen


def _chosen(processor: str, choice: str) -> Profile:
    suite_name, _, name = choice.partition(":")
    suite = load_suite(suite_name)
    fitting = {n: p for n, p in suite.profiles.items() if p.processor == processor}
    if (name or processor) not in fitting:
        known = ", ".join(f"{suite_name}:{n}" for n in fitting) or "none"
        raise ProfileError(f"plugins: {choice!r} has no such profile for {processor!r}; there is {known}")
    return fitting[name or processor]
