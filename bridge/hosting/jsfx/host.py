"""Effects as a caller sees them: load, look at the sliders, render; how they are compiled lives elsewhere."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import ParameterError, ScriptError
from .compile import Machine, compile_program
from .header import SECTIONS, Slider, Source, read_source
from .link import Program, link_module
from .parser import parse_module
from .traps import STATUS_SIZE, describe

Audio = npt.NDArray[np.float64]

#: Channels of every hosted effect.
CHANNELS = 2

#: A latency beyond this (s) is a mistake of the effect.
MAX_LATENCY_S = 10.0


def load_effect(source: str | Path, *, name: str = "script") -> Effect:
    """Parse and check a JSFX; machine code is made at the first render, once per process.

    Parameters
    ----------
    source : str or Path
        A path is read as a file; a str is the text of the effect itself.
    name : str
        Name of a text in messages.

    Raises
    ------
    ScriptError
        If the file cannot be read, or is outside what REAPER accepts or what is hosted; the
        message names file and line and says what to write instead.
    """
    if isinstance(source, Path):
        name, source = str(source), _read(source)
    return Effect(source, *_linked(source, name))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ScriptError(f"{path}: cannot read the effect ({error.strerror}); check the path") from None
    except UnicodeDecodeError as error:
        raise ScriptError(f"{path}: is no UTF-8 text (byte {error.start}); save it as UTF-8") from None


@functools.lru_cache(maxsize=128)
def _linked(text: str, name: str) -> tuple[Source, Program]:
    try:
        source = read_source(text, path=name)
        return source, link_module(parse_module(source), source)
    except RecursionError:
        raise ScriptError(f"{name}: expressions are nested too deeply; split them into statements") from None


@functools.lru_cache(maxsize=64)
def _machine(text: str) -> Machine:
    source, program = _linked(text, "")
    return compile_program(program, memory_slots=source.memory_slots)


@dataclass(frozen=True)
class _State:
    """Variables and memory of one running instance, and the report of the first error."""

    variables: Audio
    memory: Audio
    status: Audio


class Effect:
    """A JSFX that can be rendered; holds no state between renders, so it may be shared by threads."""

    def __init__(self, text: str, source: Source, program: Program) -> None:
        self._text, self._source, self._program = text, source, program

    @property
    def name(self) -> str:
        """What the effect calls itself (`desc:`)."""
        return self._source.name

    @property
    def sliders(self) -> tuple[Slider, ...]:
        """The sliders in order of their numbers."""
        return self._source.sliders

    def render(
        self,
        audio: npt.ArrayLike,
        values: Mapping[str, float] | Sequence[float],
        *,
        sample_rate_hz: float,
        block_frames: int = 512,
        compensate_latency: bool = False,
    ) -> Audio:
        """Run a new instance over a signal: @init, @slider, then @block and @sample block by block.

        Parameters
        ----------
        audio : array, shape=(2, n)
            Full scale is 1.
        values : mapping of str to float, or sequence of float
            Slider values by variable name, the others at their defaults; or all in slider order.
        sample_rate_hz : float > 0
        block_frames : int >= 1
            Length of a block; the last one may be shorter.
        compensate_latency : bool
            Remove the latency the effect reports, as a DAW does; otherwise the raw output.

        Returns
        -------
        array of float64, shape=(2, n)

        Raises
        ------
        ParameterError
            If audio, a value or a setting is malformed, unknown or outside its range.
        ScriptError
            If the effect does what REAPER would hide: addresses outside its memory, endless
            loops, infinite numbers; the message names file and line.
        """
        dry = _checked_audio(audio)
        if block_frames < 1:
            raise ParameterError(f"block_frames: expected 1 or more, got {block_frames}")
        state = self._start(values, sample_rate_hz)
        late = self._latency(state, sample_rate_hz) if compensate_latency else 0
        channels = np.zeros((CHANNELS, dry.shape[1] + late))
        channels[:, : dry.shape[1]] = dry
        self._process(state, channels, block_frames)
        if not np.isfinite(channels).all():
            raise ScriptError(f"{self._source.path}: the output is infinite or no number; limit it in @sample")
        return np.ascontiguousarray(channels[:, late:])

    def latency_samples(self, values: Mapping[str, float] | Sequence[float], *, sample_rate_hz: float) -> int:
        """Latency the effect reports for settings (`pdc_delay`), in samples.

        Raises
        ------
        ParameterError, ScriptError
            As `render`.
        """
        return self._latency(self._start(values, sample_rate_hz), sample_rate_hz)

    # -------------------------------------------------------------------- running

    @property
    def _compiled(self) -> Machine:
        return _machine(self._text)

    def _start(self, values: Mapping[str, float] | Sequence[float], sample_rate_hz: float) -> _State:
        if not (math.isfinite(sample_rate_hz) and sample_rate_hz > 0):
            raise ParameterError(f"sample_rate_hz: expected a number above 0, got {sample_rate_hz!r}")
        settings = self._settings(values)
        slots = self._compiled.slots
        state = _State(np.zeros(len(slots)), np.zeros(self._source.memory_slots), np.zeros(STATUS_SIZE))
        for name, value in {**settings, "srate": float(sample_rate_hz), "num_ch": float(CHANNELS)}.items():
            state.variables[slots[name]] = value
        nothing = np.zeros((CHANNELS, 1))
        for section in ("init", "slider"):
            self._run(section, state, nothing, 0, 0)
        return state

    def _process(self, state: _State, channels: Audio, block_frames: int) -> None:
        frames = channels.shape[1]
        for start in range(0, frames, block_frames):
            end = min(start + block_frames, frames)
            state.variables[self._compiled.slots["samplesblock"]] = end - start
            self._run("block", state, channels, start, end)
            self._run("sample", state, channels, start, end)

    def _run(self, section: str, state: _State, channels: Audio, start: int, end: int) -> None:
        if section not in self._program.sections:
            return
        arrays = (state.variables, state.memory, channels[0], channels[1], state.status)
        addresses = np.array([array.ctypes.data for array in arrays], dtype=np.int64)
        self._compiled.run(SECTIONS.index(section), start, end, addresses.ctypes.data)
        code, line, value = state.status
        if code:
            raise ScriptError(f"{self._source.path}:{int(line)}: {describe(int(code), float(value))}")

    def _latency(self, state: _State, sample_rate_hz: float) -> int:
        slots = self._compiled.slots
        late, first, last = (float(state.variables[slots[f"pdc_{part}"]]) for part in ("delay", "bot_ch", "top_ch"))
        if late == 0:
            return 0
        if late < 0 or late != int(late) or late > MAX_LATENCY_S * sample_rate_hz:
            raise ScriptError(f"{self._source.path}: pdc_delay = {late:g}; set it to a whole number of samples")
        if (first, last) != (0, CHANNELS):
            raise ScriptError(
                f"{self._source.path}: pdc_delay is ignored; set pdc_bot_ch = 0 and pdc_top_ch = {CHANNELS}"
            )
        return int(late)

    # ------------------------------------------------------------------- settings

    def _settings(self, values: Mapping[str, float] | Sequence[float]) -> dict[str, float]:
        names = [slider.variable for slider in self.sliders]
        if not isinstance(values, Mapping):
            if len(values) != len(names):
                raise ParameterError(f"{self.name}: expected {len(names)} slider values, got {len(values)}")
            values = dict(zip(names, values, strict=True))
        for unknown in values.keys() - set(names):
            raise ParameterError(f"{self.name}: there is no slider {unknown}; sliders are {', '.join(names)}")
        return {slider.variable: self._setting(slider, values.get(slider.variable)) for slider in self.sliders}

    def _setting(self, slider: Slider, value: float | None) -> float:
        if value is None:
            return slider.default
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
            raise ParameterError(f"{self.name}: {slider.variable}: expected a number, got {value!r}")
        if not slider.minimum <= value <= slider.maximum:
            raise ParameterError(
                f"{self.name}: {slider.variable}: {value:g} is outside {slider.minimum:g} to {slider.maximum:g}"
            )
        return float(value)


def _checked_audio(audio: npt.ArrayLike) -> Audio:
    dry = np.asarray(audio, dtype=np.float64)
    if dry.ndim != 2 or dry.shape[0] != CHANNELS:
        raise ParameterError(f"audio: expected shape ({CHANNELS}, n), got {dry.shape}")
    if not np.isfinite(dry).all():
        raise ParameterError("audio: holds infinite samples or no numbers; repair the file first")
    return dry
