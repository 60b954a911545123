"""Which plugin, with which settings, and what a plugin says of itself: plain data that crosses to the workers.

Neither processes nor plugins are touched here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import PluginError

#: Length of the blocks plugins are fed with, unless their certificate wants another.
BLOCK_FRAMES = 8192


@dataclass(frozen=True)
class PluginRef:
    """Which plugin to use.

    Attributes
    ----------
    name : str
        The plugin's own name ("Compressor Stereo"); for built-ins the class in pedalboard.
    path : Path or None
        VST3 bundle; None for a built-in of pedalboard.
    class_id : str
        32 hexadecimal digits, upper case, as in the header of a preset; checked where given.
    """

    name: str
    path: Path | None = None
    class_id: str = ""

    @property
    def label(self) -> str:
        """How error messages call the plugin."""
        return f"{self.name} ({self.path.name})" if self.path is not None else f"{self.name} (built-in)"

    def to_data(self) -> dict[str, Any]:
        """Return what `from_data` reads."""
        return {
            "name": self.name,
            "path": None if self.path is None else str(self.path.absolute()),
            "class_id": self.class_id,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> PluginRef:
        """Rebuild what `to_data` wrote."""
        path = data["path"]
        return cls(data["name"], None if path is None else Path(path), data["class_id"])


@dataclass(frozen=True)
class PluginSettings:
    """What to set on a plugin before audio runs through it; what is not named stays at its default.

    Attributes
    ----------
    values : mapping of str to float, str or bool
        Parameter name (for built-ins the attribute) to physical value in the parameter's own unit,
        or to the text of a choice. A number for a choice is its index.
    strings : mapping of str to str
        Settings that exist only in the state: paths of files the plugin loads (LSP's ``ifn0``); for
        the built-in ``Convolution`` its ``impulse_response_filename``.
    state : bytes or None
        Component state, as `PluginPool.component_state` returns it; used instead of `values`.
    """

    values: Mapping[str, float | str | bool] = field(default_factory=dict)
    strings: Mapping[str, str] = field(default_factory=dict)
    state: bytes | None = None

    def __post_init__(self) -> None:
        if self.state is not None and self.values:
            raise PluginError("settings: give either a state or values, not both")

    def to_data(self) -> dict[str, Any]:
        """Return what `from_data` reads."""
        state = None if self.state is None else base64.b64encode(self.state).decode("ascii")
        values = {str(name): _plain(value) for name, value in self.values.items()}
        return {"values": values, "strings": dict(self.strings), "state": state}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> PluginSettings:
        """Rebuild what `to_data` wrote."""
        state = data["state"]
        return cls(data["values"], data["strings"], None if state is None else base64.b64decode(state))


def _plain(value: float | str | bool) -> float | str | bool:
    """Numbers of numpy and their like as what JSON can carry."""
    return value if isinstance(value, str | bool) else float(value)


@dataclass(frozen=True)
class ParameterDescription:
    """One parameter as the plugin describes it.

    Attributes
    ----------
    name : str
        Name in the plugin; for built-ins the attribute.
    state_id : str
        Id in the component state where its form is known, else empty.
    unit : str
        As the plugin labels it ("dB", "ms"); may be empty.
    minimum, maximum : float or None
        Ends of the range in that unit; None for choices and where the texts are no numbers.
    default : float or str
        In that unit, or the text of the choice.
    steps : int
        Number of distinct values; 0 for a continuous parameter.
    choices : tuple of str
        Texts of the choices by index; empty for numbers.
    writable : bool
        False for meters and for what the host sets itself.
    """

    name: str
    state_id: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    default: float | str = 0.0
    steps: int = 0
    choices: tuple[str, ...] = ()
    writable: bool = True


@dataclass(frozen=True)
class PluginDescription:
    """What a loaded plugin says of itself.

    Attributes
    ----------
    class_id : str
        32 hexadecimal digits, upper case; empty for built-ins.
    channels : tuple of int
        Channel counts it takes; it gives as many as it takes.
    latency_samples : int
        What it reports in its default state; measured latency may differ.
    """

    name: str
    vendor: str
    version: str
    category: str
    class_id: str
    channels: tuple[int, ...]
    latency_samples: int
    parameters: tuple[ParameterDescription, ...]

    def to_data(self) -> dict[str, Any]:
        """Return what `from_data` reads; JSON can carry it."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> PluginDescription:
        """Rebuild what `to_data` wrote."""
        parameters = tuple(ParameterDescription(**{**p, "choices": tuple(p["choices"])}) for p in data["parameters"])
        return cls(**{**data, "channels": tuple(data["channels"]), "parameters": parameters})

    def parameter(self, name: str) -> ParameterDescription | None:
        """Return the parameter of that name, or None."""
        return next((p for p in self.parameters if p.name == name), None)
