"""Reads plugin profiles from TOML and checks them; what a profile does is in `profiles`.

docs/profiles.md describes the format.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from ..exporters.chain import PluginInfo
from ..exporters.reaper.effects import JSFX_FILES
from .errors import ProfileError
from .expressions import Formula
from .processors.laws import kind_of, law_of
from .processors.specs import spec_of
from .profiles import (
    RESPONSE_ENERGY,
    ControlRecipe,
    Kind,
    Lv2Ports,
    Measured,
    Profile,
    Shortfall,
    StageRecipe,
    StrictModel,
    formula_constants,
    formula_functions,
)

Model = TypeVar("Model", bound=StrictModel)


class _Control(StrictModel):
    """One parameter of a plugin: `value` is a formula, `text` a fixed text.

    `resolution` is a formula of the rate: how far off the value may be without being heard. `each` repeats
    it, once for each place of its lists: ``{n}`` stands for what the list `n` has there.
    """

    parameter: str
    id: str = ""
    value: str | float | None = None
    text: str | None = None
    resolution: str | float | None = None
    each: dict[str, list[int]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        _rows(self.each)
        if (self.value is None) == (self.text is None):
            raise ValueError("give either value (a formula) or text")
        return self


class _File(StrictModel):
    """An audio file the plugin loads: the `reverb_response`."""

    id: str
    response: Literal["reverb"]


class _StageFile(StrictModel):
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
    def _pair(cls, value: Any) -> Any:
        return _as_tuple(value)

    @field_validator("each")
    @classmethod
    def _even(cls, value: dict[str, list[int]]) -> dict[str, list[int]]:
        _rows(value)
        return value


class _Lv2(StrictModel):
    """See `Lv2Ports`; controls whose symbol is in `leave_out` are those of the base that this plugin lacks."""

    gains: list[str] = Field(default_factory=list)
    choices: dict[str, list[str]] = Field(default_factory=dict)
    leave_out: list[str] = Field(default_factory=list)
    dry: str = ""
    wet: str = ""

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if bool(self.dry) != bool(self.wet):
            raise ValueError("lv2: give both dry and wet, or neither")
        return self


class _ProfileFile(StrictModel):
    processor: str
    law: str = ""
    kind: Kind
    search: bool = True
    stereo: Literal["linked", "per channel", "mono sum"]
    latency_samples: int = Field(default=0, ge=0)
    display: list[str] = Field(default_factory=list)
    notes: str = ""
    plugin: PluginInfo | None = None
    limits: dict[str, tuple[float, float]] = Field(default_factory=dict)
    let: dict[str, str] = Field(default_factory=dict)
    control: list[_Control] = Field(default_factory=list)
    file: list[_File] = Field(default_factory=list)
    stage: list[_StageFile] = Field(default_factory=list)
    lv2: _Lv2 = _Lv2()
    shortfall: Shortfall | None = None
    measured: Measured | None = None

    @field_validator("processor")
    @classmethod
    def _known(cls, value: str) -> str:
        return spec_of(value).type

    @field_validator("limits", mode="before")
    @classmethod
    def _as_tuples(cls, value: Any) -> Any:
        return {k: _as_tuple(v) for k, v in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        law_of(self.law, self.processor)
        if (self.kind in ("vst3", "lv2", "stock")) != (self.plugin is not None):
            raise ValueError("plugin: a profile of kind vst3, lv2 or stock has one, the others have none")
        if self.kind != "lv2" and (self.kind == "builtin") != bool(self.stage):
            raise ValueError("stage: a profile of kind builtin has at least one, the others but lv2 have none")
        if self.kind not in ("vst3", "lv2") and (self.control or self.file):
            raise ValueError("control: only a profile of kind vst3 or lv2 has controls of its own")
        if self.stage and (self.control or self.file):
            raise ValueError("control: belongs to a stage where there are stages")
        if self.kind != "lv2" and self.lv2 != _Lv2():
            raise ValueError("lv2: only a profile of kind lv2 has it")
        if self.kind != "vst3" and self.display:
            raise ValueError("display: only a profile of kind vst3 names parameters of a plugin")
        for name, (low, high) in self.limits.items():
            parameter = spec_of(self.processor).parameter(name)
            if not parameter.minimum <= low <= high <= parameter.maximum:
                raise ValueError(
                    f"limits.{name}: must rise and lie within {parameter.minimum:g} to {parameter.maximum:g}"
                )
        return self


def _rows(each: Mapping[str, Sequence[int]]) -> list[dict[str, int]]:
    """The repetitions of `each`: one without placeholders if it is empty."""
    if len({len(column) for column in each.values()}) > 1:
        raise ValueError("each: its lists must be of the same length")
    return [dict(zip(each, row, strict=True)) for row in zip(*each.values(), strict=True)] if each else [{}]


def _as_tuple(value: Any) -> Any:
    """TOML has no tuples: the strictness is for types, not for the kind of sequence."""
    return tuple(value) if isinstance(value, list) else value


class _Reader:
    """Turns the content of a profile file into a `Profile`; errors name the file and the field."""

    def __init__(self, source: str, data: _ProfileFile) -> None:
        self.source = source
        self.data = data
        spec = spec_of(data.processor)
        self.functions = frozenset(formula_functions(1.0))
        self.names = {*spec.names, *formula_constants(spec, 1.0)}

    def profile(self, suite: str, name: str) -> Profile:
        data = self.data
        let = []
        for key, text in data.let.items():
            let.append((key, self._formula(text, f"let.{key}")))
            self.names.add(key)
        plugin = data.plugin
        if data.kind == "jsfx":
            plugin = PluginInfo(name=JSFX_FILES[kind_of(data.processor, data.law)])
        elif data.kind == "builtin":
            plugin = PluginInfo(name=name)
        return Profile(
            suite=suite,
            name=name,
            processor=data.processor,
            kind=data.kind,
            plugin=plugin,
            law=data.law,
            limits=data.limits,
            search=data.search,
            stereo=data.stereo,
            latency_samples=data.latency_samples,
            display=tuple(data.display),
            notes=data.notes.strip(),
            measured=data.measured,
            shortfall=data.shortfall,
            source=self.source,
            lv2=Lv2Ports(
                gains=frozenset(data.lv2.gains),
                choices={symbol: tuple(texts) for symbol, texts in data.lv2.choices.items()},
                dry=data.lv2.dry,
                wet=data.lv2.wet,
            ),
            recipe=tuple(self._stages()),
            let=tuple(let),
        )

    def _stages(self) -> Iterator[StageRecipe]:
        if self.data.plugin is not None and not self.data.stage and self.data.kind in ("vst3", "lv2"):
            alone = _StageFile(plugin=self.data.plugin.name, control=self.data.control, file=self.data.file)
            yield self._stage(alone, self.data.plugin, {}, "")
        for number, stage in enumerate(self.data.stage, start=1):
            for each in _rows(stage.each):
                yield self._stage(stage, self._stage_plugin(stage.plugin), each, f"stage.{number}.")

    def _stage_plugin(self, name: str) -> PluginInfo:
        """A built-in by its class; an LV2 plugin by its URI, from the bundle of the profile's plugin."""
        if self.data.kind != "lv2" or self.data.plugin is None:
            return PluginInfo(name=name)
        return self.data.plugin.model_copy(update={"name": name.rpartition("/")[2], "class_id": name})

    def _stage(self, stage: _StageFile, plugin: PluginInfo, each: Mapping[str, int], place: str) -> StageRecipe:
        left, right = (self._formula(g, f"{place}gains", each, more={RESPONSE_ENERGY}) for g in stage.gains)
        return StageRecipe(
            plugin=plugin,
            when=self._formula(stage.when, f"{place}when", each),
            branch=self._formula(stage.branch, f"{place}branch", each),
            mono=stage.mono,
            gains=(left, right),
            controls=tuple(self._controls(stage.control, each, place)),
            files=tuple(f.id for f in stage.file),
            place=place,
        )

    def _controls(self, controls: Sequence[_Control], outer: Mapping[str, int], place: str) -> Iterator[ControlRecipe]:
        seen = set()
        for number, control in enumerate(controls, start=1):
            where = f"{place}control.{number}"
            for inner in _rows(control.each):
                each = {**outer, **inner}
                parameter = self._filled(control.parameter, f"{where}.parameter", each)
                if parameter in seen:
                    raise ProfileError(f"{self.source}: {where}.parameter: {parameter!r} is set twice")
                seen.add(parameter)
                if self._filled(control.id, f"{where}.id", each) in self.data.lv2.leave_out:
                    continue
                value: Formula | str = control.text or ""
                if control.value is not None:
                    value = self._formula(str(control.value), f"{where}.value", each)
                resolution = None
                if control.resolution is not None:
                    resolution = self._formula(str(control.resolution), f"{where}.resolution", each)
                yield ControlRecipe(parameter, self._filled(control.id, f"{where}.id", each), value, where, resolution)

    def _formula(
        self, text: str, place: str, each: Mapping[str, int] | None = None, more: AbstractSet[str] = frozenset()
    ) -> Formula:
        filled = self._filled(text, place, each or {})
        try:
            return Formula(filled, names=self.names | more, functions=self.functions)
        except ValueError as error:
            raise ProfileError(f"{self.source}: {place}: {error}") from None

    def _filled(self, text: str, place: str, each: Mapping[str, int]) -> str:
        for name, number in each.items():
            text = text.replace(f"{{{name}}}", str(number))
        if "{" in text:
            raise ProfileError(f"{self.source}: {place}: {text!r} has a placeholder that `each` lacks")
        return text


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
    data: _ProfileFile = parsed(source, text.encode("utf-8"), _ProfileFile, complete=_with_base)
    return _Reader(source, data).profile(suite, name)


#: What a profile never takes over from its base: the proof and the parameters' names are the other plugin's.
_OWN = ("measured", "display")


def _with_base(data: dict[str, Any]) -> dict[str, Any]:
    """The content of a profile, with what it leaves out taken from the shipped one that `base` names."""
    base = data.pop("base", None)
    if base is None:
        return data
    suite, _, name = str(base).partition(":")
    file = resources.files(__package__.rpartition(".")[0] + ".presets.plugins") / suite / f"{name}.toml"
    if not file.is_file():
        raise ValueError(f"base: there is no profile {base!r}; give suite:name of one that ships")
    rest = tomllib.loads(file.read_text(encoding="utf-8"))
    return {**{key: value for key, value in rest.items() if key not in _OWN}, **data}


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


def parsed(
    source: str,
    raw: bytes,
    model: type[Model],
    *,
    complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda data: data,
) -> Model:
    """Read TOML into a model, `complete` before it is checked; `ProfileError` names `source` and the field."""
    try:
        return model.model_validate(complete(tomllib.loads(raw.decode("utf-8"))))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{source}: not valid TOML ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
        cause = first.get("ctx", {}).get("error")
        message = str(cause) if isinstance(cause, ValueError) else first["msg"]
        raise ProfileError(f"{source}: {where}: {message}" if where else f"{source}: {message}") from None
    except ValueError as error:
        raise ProfileError(f"{source}: {error}") from None
