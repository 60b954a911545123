"""The script that checks a project inside REAPER and renders it there: its text for one session; it is run by users.

``verify_in_reaper.lua`` beside this module is the part that is the same in every export; before it
stands a table of what was written into this project.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

from ...bridge.processors.laws import kind_of
from ...bridge.processors.specs import spec_of
from ..chain import Insert as PluginInsert
from ..session import Insert, Session, Strip
from .effects import EFFECTS_FOLDER, JSFX_FILES, slider_values
from .guids import node_guid
from .rendering import FLOAT_WAV
from .rpp import number

#: Name of the script in the folder of an exported project.
SCRIPT_FILE = "verify_in_reaper.lua"

#: Name of the script's render without its ending. Never that of the song: REAPER fills in what follows a "$".
RENDER_NAME = "rendered-in-reaper"

_HEAD = """\
-- Checks in REAPER whether every effect of this project was loaded, renders the master beside the project and
-- says how to compare the render with the match. Open the project, then: Actions > Show action list >
-- New action > Load ReaScript, choose this file and run it. Written by Mixbridge; needs REAPER 6.37 or later.
"""


@dataclass(frozen=True)
class _Effect:
    """What the script expects of one insert; `parameters` is the least number that it has when it is loaded."""

    guid: str
    name: str
    parameters: int
    bypassed: bool
    remedy: str


def check_script(
    session: Session, *, title: str, length_s: float, plugins: Mapping[str, PluginInsert] | None = None
) -> bytes:
    """The bytes of `SCRIPT_FILE` for one project.

    Parameters
    ----------
    session : Session
    title : str
        Name of the project's file without its ending.
    length_s : float
        Length of the session in seconds.
    plugins : mapping of str to chain.Insert, optional
        By insert id, those that are plugins; all others are JSFX.
    """
    lines = [
        "local session = {",
        f"  project = {lua_string(f'{title}.rpp')},",
        f"  render_name = {lua_string(RENDER_NAME)},",
        f"  render_format = {lua_string(FLOAT_WAV)},",
        f"  sample_rate_hz = {session.sample_rate_hz},",
        f"  length_s = {number(length_s)},",
        "  tracks = {",
        *(line for strip in session.strips() for line in _track_lines(strip, session, plugins or {})),
        "  },",
        "}",
    ]
    text = _HEAD + "\n" + "\n".join(lines) + "\n"
    return text.encode("utf-8") + (resources.files(__package__) / SCRIPT_FILE).read_bytes()


def _track_lines(strip: Strip, session: Session, plugins: Mapping[str, PluginInsert]) -> Iterator[str]:
    yield "    {"
    yield f"      guid = {lua_string(node_guid('track', strip.id))},"
    yield f"      name = {lua_string(strip.name or strip.id)},"
    yield f"      master = {_boolean(strip is session.master)},"
    yield "      effects = {"
    for insert in strip.inserts:
        effect = _effect(insert, plugins)
        yield f"        {{ guid = {lua_string(effect.guid)}, name = {lua_string(effect.name)},"
        yield f"          parameters = {effect.parameters}, bypassed = {_boolean(effect.bypassed)},"
        yield f"          remedy = {lua_string(effect.remedy)} }},"
    yield "      },"
    yield "    },"


def _effect(insert: Insert, plugins: Mapping[str, PluginInsert]) -> _Effect:
    guid, label = node_guid("fx", insert.id), spec_of(insert.type).label
    plugin = plugins.get(insert.id)
    if plugin is None:
        file = JSFX_FILES[kind_of(insert.type, insert.law)]
        remedy = f"{EFFECTS_FOLDER}/{file} must lie beside the project"
        return _Effect(guid, f"{label} (JSFX)", len(slider_values(insert)), insert.bypassed, remedy)
    remedy = "update REAPER" if plugin.kind == "stock" else "install it and let REAPER scan for plugins"
    # How many of its parameters a plugin shows to REAPER is its own business.
    return _Effect(guid, f"{label} ({plugin.title})", 1, insert.bypassed, remedy)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def lua_string(text: str) -> str:
    """A text as a string of Lua, on one line and with every byte as it is.

    Bytes that are not UTF-8, as names of files may hold, keep their value.
    """
    return '"' + "".join(_lua_character(c) for c in text) + '"'


def _lua_character(character: str) -> str:
    if character.isprintable() and character not in '"\\':
        return character
    # Half letters are either bytes that could not be decoded, or halves of a pair.
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\{byte:03d}" for byte in character.encode("utf-8", errors))
