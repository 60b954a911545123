"""Which JSFX realises which kind of processor, and its slider line; the files themselves are in presets/jsfx."""

from __future__ import annotations

from importlib import resources

from ...bridge.processors.laws import KINDS, type_and_law
from ...bridge.processors.specs import spec_of
from ..session import Insert
from .rpp import Token, Word, number

#: JSFX file of each kind of processor (`laws.kind_of`), below presets/jsfx and, in an export, below Effects.
JSFX_FILES = {
    kind: f"mixbridge_{law or processor_type}.jsfx" for kind in KINDS for processor_type, law in [type_and_law(kind)]
}

#: Folder of a project in which REAPER finds the effects that belong to it.
EFFECTS_FOLDER = "Effects"

#: How a project refers to an effect of that folder.
PROJECT_PREFIX = "<Project>/"

#: REAPER writes this many slider values per effect, "-" for sliders an effect does not have.
SLIDER_COUNT = 64


def jsfx_source(kind: str) -> bytes:
    """The JSFX of a kind of processor, as it ships."""
    folder = resources.files(__package__.rpartition(".exporters.")[0] + ".presets.jsfx")
    return (folder / JSFX_FILES[kind]).read_bytes()


def jsfx_reference(kind: str) -> str:
    """The effect name a project file uses."""
    return PROJECT_PREFIX + JSFX_FILES[kind]


def slider_values(insert: Insert) -> list[float]:
    """Values of the sliders in slider order: the parameters of the type, then `mix`."""
    return [*(insert.parameters[name] for name in spec_of(insert.type).names), insert.mix]


def slider_tokens(insert: Insert) -> list[Token]:
    """The line of slider values, filled up to `SLIDER_COUNT`."""
    values: list[Token] = [number(value) for value in slider_values(insert)]
    return values + [Word("-")] * (SLIDER_COUNT - len(values))
