"""Takes a JSFX file apart: header lines, sliders, pins, memory and the code of each section; no code is read here.

Strict: what REAPER would drop or misread in silence is an error that says what to write instead.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ...errors import ScriptError
from .language import BUILTIN_VARIABLES

#: Sections in the order in which they are compiled and run.
SECTIONS = ("init", "slider", "block", "sample", "serialize")

#: Sections of the language that have nothing to say in an offline render of audio.
_UNHOSTED_SECTIONS = {"gfx": "drawing"}

#: REAPER writes 64 slider values per effect, and older engines drop the sliders above.
MAX_SLIDERS = 64

#: Memory is handed out in pieces of this many slots; FFT buffers must lie within one.
MEMORY_PAGE_SLOTS = 65_536
DEFAULT_MEMORY_SLOTS = 8_388_608
MAX_MEMORY_SLOTS = 33_554_432

_IGNORED_KEYS = ("tags", "author", "version")
_UNHOSTED_KEYS = ("import", "filename", "config")
_IGNORED_OPTIONS = ("no_meter", "want_all_kb")

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SLIDER = re.compile(
    rf"""slider(?P<index>\d{{1,4}}):
    (?:(?P<variable>[^=<>,]*)=)?
    (?P<default>{_NUMBER})
    <(?P<minimum>{_NUMBER}),(?P<maximum>{_NUMBER})
    (?:,(?P<step>{_NUMBER})(?P<shape>:[^>{{]*)?(?:\{{(?P<choices>[^}}>]*)\}})?)?>
    (?P<label>.*)""",
    re.VERBOSE | re.ASCII,
)
_SHAPE = re.compile(rf":(?:log(?:={_NUMBER})?|sqr(?:=\d+)?)", re.ASCII)
_VARIABLE = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True)
class Slider:
    """One slider of an effect.

    Attributes
    ----------
    index : int
        Its number in the file, from 1.
    variable : str
        Name by which the code and `Effect.render` know it, lower case.
    default, minimum, maximum : float
    label : str
        Text for people.
    choices : tuple of str
        Names of the values 0, 1, 2 ... where the slider is a list, else empty.
    """

    index: int
    variable: str
    default: float
    minimum: float
    maximum: float
    label: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Code of a section, and the number of its first line in the file."""

    code: str
    first_line: int


@dataclass(frozen=True)
class Source:
    """A file taken apart.

    Attributes
    ----------
    path : str
        Name for messages.
    name : str
        What `desc:` says.
    sliders : tuple of Slider
        In order of their numbers.
    memory_slots : int
        Size of the effect's memory, in numbers of 64 bits.
    sections : dict of str to Section
        By name, in the order of `SECTIONS`.
    """

    path: str
    name: str
    sliders: tuple[Slider, ...]
    memory_slots: int
    sections: dict[str, Section]


def read_source(text: str, *, path: str) -> Source:
    """Take the text of a JSFX apart.

    Raises
    ------
    ScriptError
        If a header line, slider or section is malformed, unknown or not hosted; the message
        names `path`, the line and the remedy.
    """
    if text.startswith("\ufeff"):
        raise ScriptError(f"{path}:1: a byte order mark hides desc:; save the file as UTF-8 without one")
    if "\0" in text:
        raise ScriptError(f"{path}: holds a zero byte; this is no JSFX")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    header, sections = _split_sections(lines, path)
    reader = _HeaderReader(path)
    # A file that begins with a section has no first line of its own: its name is missing all the same.
    for number, line in header or [(1, "")]:
        reader.read(number, line)
    return reader.finish(sections)


def _split_sections(lines: list[str], path: str) -> tuple[list[tuple[int, str]], dict[str, Section]]:
    header: list[tuple[int, str]] = []
    starts: list[tuple[str, int]] = []
    for number, line in enumerate(lines, 1):
        if re.match(r"\s+@[A-Za-z]", line):
            raise ScriptError(f"{path}:{number}: an indented section is ignored; start {line.strip()} in column 1")
        if line.startswith("@"):
            starts.append((_section_name(line, path, number, [name for name, _ in starts]), number))
        elif not starts:
            header.append((number, line))
    sections = {}
    ends = [number for _, number in starts[1:]] + [len(lines) + 1]
    for (name, first), end in zip(starts, ends, strict=False):
        sections[name] = Section("\n".join(lines[first : end - 1]), first + 1)
    return header, {name: sections[name] for name in SECTIONS if name in sections}


def _section_name(line: str, path: str, number: int, known: list[str]) -> str:
    name = line[1:].rstrip()
    where = f"{path}:{number}: "
    if name in _UNHOSTED_SECTIONS or name.split(" ")[0] in _UNHOSTED_SECTIONS:
        raise ScriptError(f"{where}@{name.split(' ')[0]} ({_UNHOSTED_SECTIONS[name.split(' ')[0]]}) is not hosted")
    if name not in SECTIONS:
        allowed = ", ".join(f"@{section}" for section in SECTIONS)
        raise ScriptError(f"{where}unknown section {line.strip()[:40]!r}; write one of {allowed} alone on its line")
    if name in known:
        raise ScriptError(f"{where}@{name} stands here for the second time; join the two")
    return name


class _HeaderReader:
    """Collects what the header lines say."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._name = ""
        self._sliders: dict[int, Slider] = {}
        self._memory_slots = DEFAULT_MEMORY_SLOTS
        self._pins: dict[str, list[str]] = {"in_pin": [], "out_pin": []}

    def _fail(self, number: int, message: str) -> ScriptError:
        return ScriptError(f"{self._path}:{number}: {message}")

    def read(self, number: int, line: str) -> None:
        """Take one line."""
        if number == 1 and not line.startswith("desc:"):
            raise self._fail(1, "the first line must be desc: and the name of the effect")
        if not line.strip() or line.startswith("//"):
            return
        if "//" in line:
            raise self._fail(number, "the comment would become part of the value; give it a line of its own")
        key, colon, value = line.partition(":")
        if colon and key == "desc":
            self._read_name(number, value)
        elif colon and key in self._pins:
            self._pins[key].append(value.strip())
        elif colon and key == "options":
            self._read_options(number, value)
        elif re.match(r"\s*slider", line, re.IGNORECASE):
            self._read_slider(number, line)
        elif unhosted := re.match(rf"({'|'.join(_UNHOSTED_KEYS)})\b", line):
            raise self._fail(number, f"{unhosted[1]} is not hosted; keep the effect in one file")
        elif not (colon and key in _IGNORED_KEYS):
            raise self._fail(number, f"{line[:40]!r} is no header line REAPER knows; put // before it")

    def _read_name(self, number: int, value: str) -> None:
        if self._name:
            raise self._fail(number, "desc: stands here for the second time; keep one")
        if not value.strip():
            raise self._fail(number, "desc: has no name; write one behind it")
        self._name = value.strip()

    def _read_options(self, number: int, value: str) -> None:
        for word in value.split():
            name, _, setting = word.partition("=")
            if name == "maxmem":
                self._memory_slots = self._slots(number, setting)
            elif name not in _IGNORED_OPTIONS:
                raise self._fail(number, f"option {word[:40]!r} is not hosted; remove it")

    def _slots(self, number: int, setting: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", setting) or not 0 < int(setting) <= MAX_MEMORY_SLOTS:
            raise self._fail(number, f"maxmem={setting[:20]}: write a whole number from 1 to {MAX_MEMORY_SLOTS}")
        return math.ceil(int(setting) / MEMORY_PAGE_SLOTS) * MEMORY_PAGE_SLOTS

    def _read_slider(self, number: int, line: str) -> None:
        match = _SLIDER.fullmatch(line)
        if match is None:
            raise self._fail(
                number, "the slider would vanish; write it as sliderN:name=default<min,max,step>Label on one line"
            )
        index = int(match["index"])
        variable = match["variable"] if match["variable"] is not None else f"slider{index}"
        self._check_slider(number, match, index, variable)
        self._sliders[index] = Slider(
            index=index,
            variable=variable,
            default=float(match["default"]),
            minimum=float(match["minimum"]),
            maximum=float(match["maximum"]),
            label=match["label"].strip().removeprefix("-").strip(),
            choices=self._choices(number, match),
        )

    def _check_slider(self, number: int, match: re.Match[str], index: int, variable: str) -> None:
        if not 1 <= index <= MAX_SLIDERS:
            raise self._fail(number, f"slider numbers go from 1 to {MAX_SLIDERS}")
        if index in self._sliders:
            raise self._fail(number, f"slider{index} stands here for the second time; give each its own number")
        if not _VARIABLE.fullmatch(variable):
            raise self._fail(number, f"slider variable {variable[:40]!r} would read as 0; write lower case a-z 0-9 _")
        if variable in BUILTIN_VARIABLES:
            raise self._fail(number, f"slider variable {variable} replaces REAPER's own variable; choose another name")
        if variable in (slider.variable for slider in self._sliders.values()) or (
            re.fullmatch(r"slider\d+", variable) and variable != f"slider{index}"
        ):
            raise self._fail(number, f"slider variable {variable} belongs to another slider; choose another name")
        if not match["label"].strip().removeprefix("-").strip():
            raise self._fail(number, "a slider without a label vanishes; write one behind >")
        if match["shape"] and not _SHAPE.fullmatch(match["shape"]):
            raise self._fail(number, f"shape {match['shape']!r} is unknown; write :log, :log=middle or :sqr=power")
        default, low, high = (float(match[key]) for key in ("default", "minimum", "maximum"))
        if not (math.isfinite(low) and math.isfinite(high) and low < high and low <= default <= high):
            raise self._fail(
                number, f"default {default:g} must lie in {low:g} to {high:g}; REAPER does not hold it there"
            )

    def _choices(self, number: int, match: re.Match[str]) -> tuple[str, ...]:
        if match["choices"] is None:
            return ()
        names = tuple(name.strip() for name in match["choices"].split(","))
        limits = (float(match["minimum"]), float(match["maximum"]), float(match["step"]))
        if limits != (0, len(names) - 1, 1) or not all(names):
            raise self._fail(number, f"a list of {len(names)} choices needs the range <0,{len(names) - 1},1{{...}}>")
        return names

    def finish(self, sections: dict[str, Section]) -> Source:
        """Check the whole and hand it over."""
        if {len(names) for names in self._pins.values()} not in ({0}, {2}):
            raise self._fail(1, "only stereo is hosted; write two in_pin: and two out_pin: lines")
        if "sample" not in sections:
            raise self._fail(1, "without @sample the effect passes no sound; add the section")
        return Source(
            self._path, self._name, tuple(self._sliders[n] for n in sorted(self._sliders)), self._memory_slots, sections
        )
