"""One loaded plugin and the order of calls that makes its output right and repeatable; runs in a worker process.

Loading feeds a plugin noise, resetting does not clear every plugin, and some plugins keep what
they computed at the sample rate they were loaded with. So each render starts from a new,
silent instance at the target rate whose continuous parameters all differ from the wanted ones,
and only then gets its settings (see `HostedVst3.prepare`).
"""

from __future__ import annotations

import difflib
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pedalboard
from numpy.typing import NDArray
from pedalboard.io import AudioFile
from pedalboard.version import __version__ as pedalboard_version

from ..errors import PluginError, PluginNotFoundError, PluginOutputError, PluginRefusalError
from .factory import class_names, narrow
from .parameters import ParameterFacts, number_in
from .refs import ParameterDescription, PluginDescription, PluginRef, PluginSettings
from .state import (
    decode_dpf_state,
    decode_lsp_state,
    decode_raw_state,
    encode_lsp_state,
    encode_raw_state,
    is_dpf_state,
    is_lsp_state,
    replace_dpf_parameters,
)

#: Frames of silence that clear a plugin or let its settings arrive.
_SILENCE_FRAMES = 8192
#: A plugin that has not given this many frames back after that much silence never will.
_MOST_SILENCE_FRAMES = 1 << 20
_LOADING_RATE_HZ = 44100.0

#: LSP: spectrum displays that nobody sees here; without them the equalizer runs seven times faster.
_LSP_DISPLAYS = re.compile(r"[ior]fe(_[lrms])?")
#: LSP: its threads end with its last plugin, which takes 0.1 s; this small one prevents it.
_THREAD_KEEPER = "Delay Compensator Mono"
#: LSP plugins that get their memory from a background thread after the settings arrived.
_LSP_BACKGROUND = ("Artistic Delay",)
_LEAST_BACKGROUND_CALLS, _MOST_BACKGROUND_CALLS, _BACKGROUND_FRAMES = 64, 4000, 1024
#: Threads of a plugin that slept this long have nothing left to do; between looks for work they sleep 0.1 s,
#: and up to three pieces of work follow one another.
_REST_S = 0.6
_LOOK_EVERY_S = 0.005
#: Running for less than this between two looks, and this share of the time between them, is no work.
_WORK_NS, _WORK_SHARE = 300_000, 0.01
#: A file is loaded within these times: unheard and at rest, at most.
_UNHEARD_S, _FILE_LIMIT_S = 4.0, 60.0
#: Length of the signal that is repeated while files load; no less than the largest part of a convolution.
_PERIOD_FRAMES = 65536
#: A file is heard when it changes a response by this; the response has settled when it varies by no
#: more than this share of the change (convolutions round differently from block to block).
_HEARD, _SETTLED = 1e-6, 1e-3
#: Longer explanations of the host list all it knows.
_LONGEST_REASON = 200

#: DPF puts these before the plugin's own parameters; they belong to the host.
_DPF_HOST_PARAMETERS = ("Buffer Size", "Sample Rate", "Latency", "Current Program")

Alive = Callable[[], None]
Float32 = NDArray[np.float32]


class Rest:
    """How long the other threads of this process have had nothing to do.

    They look for work now and then, which is too short to count. A thread that waits for the
    processor stops the clock, so that a busy machine is waited for.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._counted_s = time.monotonic()
        self._ran_ns = other_threads()[1]

    def pause(self) -> None:
        """Let other threads run for a moment and see whether any had to."""
        time.sleep(_LOOK_EVERY_S)
        awake, ran_ns = other_threads()
        now_s = time.monotonic()
        passed_s = now_s - self._counted_s
        if ran_ns - self._ran_ns > _WORK_NS + _WORK_SHARE * passed_s * 1e9:
            self.seconds = 0.0
        elif not awake:
            self.seconds += passed_s
        self._counted_s, self._ran_ns = now_s, ran_ns


def other_threads() -> tuple[bool, int]:
    """Tell whether a thread beside the calling one is not asleep, and how many ns all of them have run.

    (False, 0) where the system does not tell.
    """
    own = str(threading.get_native_id())
    awake, ran_ns = False, 0
    try:
        for task in Path("/proc/self/task").iterdir():
            if task.name != own:
                awake |= (task / "stat").read_text().rpartition(")")[2].split()[0] != "S"
                ran_ns += int((task / "schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        # A thread that ends meanwhile is no longer there to be read.
        return awake, ran_ns
    return awake, ran_ns


class Hosted(ABC):
    """A plugin ready to be set and to process audio."""

    ref: PluginRef
    channels: tuple[int, ...]

    @abstractmethod
    def prepare(self, settings: PluginSettings, *, sample_rate_hz: float, block_frames: int, alive: Alive) -> None:
        """Clear the plugin and give it its settings; the next `process` starts a stream."""

    @abstractmethod
    def process(self, audio: Float32) -> Float32:
        """Continue the stream with more audio (channels, frames), float32."""

    @abstractmethod
    def describe(self) -> PluginDescription:
        """Return what the plugin says of itself."""

    @abstractmethod
    def component_state(self, settings: PluginSettings, *, sample_rate_hz: float, alive: Alive) -> bytes:
        """Return what the plugin stores with these settings."""

    @abstractmethod
    def read_back(self, settings: PluginSettings, *, sample_rate_hz: float, alive: Alive) -> dict[str, float | str]:
        """Return what every parameter is at after these settings."""

    def check_channels(self, channels: int) -> None:
        """Refuse a channel count the plugin does not take."""
        if channels not in self.channels:
            takes = " or ".join("mono" if n == 1 else "stereo" if n == 2 else f"{n} channels" for n in self.channels)
            raise PluginRefusalError(f"{self.ref.label}: takes {takes}, got {channels} channel(s)")

    def _checked(self, output: Float32, *, shape: tuple[int, int]) -> Float32:
        if output.shape != shape:
            raise PluginOutputError(f"{self.ref.label}: returned audio of shape {output.shape} for {shape}")
        if not np.isfinite(output).all():
            raise PluginOutputError(f"{self.ref.label}: wrote NaN or infinity; change its settings or use another")
        return output


def load(ref: PluginRef, *, alive: Alive) -> Hosted:
    """Load a plugin; `alive` is called between the steps, some of which take long.

    Raises
    ------
    PluginNotFoundError
        When the bundle does not exist or pedalboard has no such built-in.
    PluginError
        When it cannot be loaded, or is another plugin than asked for.
    """
    if ref.path is None:
        return HostedBuiltin(ref)
    hosted = HostedVst3(ref, ref.path, alive=alive)
    _keep_threads(ref.path)
    return hosted


class HostedVst3(Hosted):
    """A VST3 in pedalboard."""

    def __init__(self, ref: PluginRef, path: Path, *, alive: Alive) -> None:
        self.ref = ref
        self._path = path
        self._plugin: Any = _load_vst3(ref, path)
        alive()
        # Whatever the host guessed of the plugin, resetting it means making a new instance.
        self._plugin._reload_type = type(self._plugin._reload_type).PersistsAudioOnReset
        self._facts: dict[str, ParameterFacts] = {}
        self._rate_hz = _LOADING_RATE_HZ
        self._block_frames = _SILENCE_FRAMES
        self.class_id = _class_id(self._plugin)
        if ref.class_id and self.class_id != ref.class_id.upper():
            found = self.class_id or "none"
            raise PluginError(f"{ref.label}: has class id {found}, not {ref.class_id}; scan the plugins again")
        self._latency_samples = int(self._plugin.reported_latency_samples)
        self.channels = self._accepted_channels()
        alive()
        self._default = decode_raw_state(self._plugin.raw_state)
        self._lsp_default = decode_lsp_state(self._default[0]) if is_lsp_state(self._default[0]) else {}
        self._state_ids = self._ids_of_parameters()
        self._baseline = self._make_baseline()

    # -- rendering ------------------------------------------------------------------------------

    def prepare(self, settings: PluginSettings, *, sample_rate_hz: float, block_frames: int, alive: Alive) -> None:
        """Clear the plugin and give it its settings; the next `process` starts a stream.

        New instance in the baseline state, silence at the target rate; then the settings, so that
        they arrive while the rate is active; then silence until they have taken effect.
        """
        self._set(settings, sample_rate_hz=sample_rate_hz, block_frames=block_frames, quick=True, alive=alive)

    def process(self, audio: Float32) -> Float32:
        """Continue the stream with more audio (channels, frames), float32."""
        return self._checked(self._call(audio, reset=False), shape=(audio.shape[0], audio.shape[1]))

    def _call(self, audio: Float32, *, reset: bool) -> Float32:
        channels, frames = audio.shape
        if frames > channels:
            block = np.ascontiguousarray(audio, dtype=np.float32)
        else:
            # The host takes the shorter side for the channels.
            block = np.zeros((channels, channels + 1), dtype=np.float32)
            block[:, :frames] = audio
        if reset:
            # The host looks for the class once more to make the new instance.
            narrow(self._path, name=self.ref.name, class_id=self.class_id)
        try:
            output = self._plugin.process(block, self._rate_hz, buffer_size=self._block_frames, reset=reset)
        except (ValueError, RuntimeError, ImportError) as error:
            raise PluginRefusalError(f"{self.ref.label}: {_one_line(error)}") from None
        result: Float32 = output[:, :frames]
        return result

    def _silence(self, frames: int = _SILENCE_FRAMES, *, reset: bool = False) -> Float32:
        return self._call(np.zeros((self.channels[0], frames), dtype=np.float32), reset=reset)

    def _settle(self) -> None:
        """Run silence until as many frames come back as go in: the host holds back reported latency."""
        for _ in range(_MOST_SILENCE_FRAMES // _SILENCE_FRAMES):
            if self._silence().shape[1] == _SILENCE_FRAMES:
                return
        raise PluginOutputError(f"{self.ref.label}: gives back no audio; use another plugin")

    # -- settings -------------------------------------------------------------------------------

    def _set(
        self, settings: PluginSettings, *, sample_rate_hz: float, block_frames: int, quick: bool, alive: Alive
    ) -> None:
        self._rate_hz, self._block_frames = float(sample_rate_hz), block_frames
        self._plugin.raw_state = self._baseline
        self._silence(reset=True)
        alive()
        if self._lsp_default:
            self._set_lsp(settings, quick=quick, alive=alive)
        elif settings.strings:
            names = ", ".join(settings.strings)
            raise PluginRefusalError(f"{self.ref.label}: {names}: only LSP plugins take files through their state")
        elif settings.state is not None:
            self._plugin.raw_state = encode_raw_state(settings.state)
            self._settle()
            self._check_dpf_taken(settings.state)
        else:
            self._set_values(settings.values)
        self._check_values(settings.values)
        alive()

    def _set_values(self, values: Mapping[str, float | str | bool]) -> None:
        """Set the plugin through its parameters, then exactly where the form of its state is known."""
        parameters = self._parameters()
        for name, value in values.items():
            parameter = self._parameter(parameters, name)
            parameter.raw_value = self._fact(parameter).raw_value(parameter, value)
        self._settle()
        exact = self._exact_dpf(values)
        if exact is not None:
            self._plugin.raw_state = encode_raw_state(exact)
            self._settle()

    def _exact_dpf(self, values: Mapping[str, float | str | bool]) -> bytes | None:
        """Return the plugin's state with the wanted numbers at full precision; None where nothing changes."""
        component = decode_raw_state(self._plugin.raw_state)[0]
        if not is_dpf_state(component):
            return None
        now, exact = decode_dpf_state(component), {}
        for name, value in values.items():
            state_id, fact = self._state_ids.get(name, ""), self._facts[name]
            if not state_id or fact.choices:
                continue
            number = fact.number(value)
            # What arrived through the parameter proves that this is the right entry.
            if now[state_id] != np.float32(number) and np.isclose(now[state_id], number, rtol=1e-3, atol=1e-3):
                exact[state_id] = number
        return replace_dpf_parameters(component, exact) if exact else None

    def _check_dpf_taken(self, state: bytes) -> None:
        """See that a given state arrived; a plugin that cannot read it stays silent about it."""
        if not is_dpf_state(state) or not is_dpf_state(self._default[0]):
            return
        now = decode_dpf_state(decode_raw_state(self._plugin.raw_state)[0])
        for name, value in decode_dpf_state(state).items():
            if not np.isclose(now.get(name, np.nan), value, rtol=1e-6, atol=1e-9):
                raise PluginRefusalError(f"{self.ref.label}: {name}: the state does not fit this plugin")

    def _set_lsp(self, settings: PluginSettings, *, quick: bool, alive: Alive) -> None:
        """Set an LSP plugin through its state, where numbers are exact."""
        wanted = dict(self._lsp_default)
        if settings.state is not None:
            given = decode_lsp_state(settings.state)
            self._check_lsp_ids(given)
            wanted.update(given)
        if quick:
            wanted.update({k: 0.0 for k in wanted if _LSP_DISPLAYS.fullmatch(k)})
        parameters, unmapped = self._parameters(), {}
        for name, value in settings.values.items():
            fact = self._fact(self._parameter(parameters, name))
            if self._lsp_form(fact):
                wanted[self._state_ids[name]] = self._lsp_number(fact, value)
            else:
                unmapped[name] = value
        self._check_lsp_ids(settings.strings)
        wanted.update(settings.strings)
        files = {k: v for k, v in wanted.items() if isinstance(v, str) and v and "fn" in k}
        self._send_lsp(wanted, files, alive=alive)
        for name, value in unmapped.items():
            parameters[name].raw_value = self._fact(parameters[name]).raw_value(parameters[name], value)
        if unmapped:
            self._settle()

    def _send_lsp(self, wanted: Mapping[str, float | str], files: Mapping[str, str], *, alive: Alive) -> None:
        without = {k: "" if k in files else v for k, v in wanted.items()}
        self._plugin.raw_state = encode_raw_state(encode_lsp_state(without))
        self._settle()
        if self.ref.name.startswith(_LSP_BACKGROUND):
            self._wait_for_background(alive)
        if files:
            self._load_files(without, files, alive=alive)
        now = decode_lsp_state(decode_raw_state(self._plugin.raw_state)[0])
        for name, value in wanted.items():
            same = now.get(name) == (value if isinstance(value, str) else float(np.float32(value)))
            if not same and (name in self._state_ids.values() or name in files):
                raise PluginRefusalError(f"{self.ref.label}: {name} = {value}: the plugin made {now.get(name)} of it")

    def _check_lsp_ids(self, items: Mapping[str, float | str]) -> None:
        for name, value in items.items():
            if name not in self._lsp_default or isinstance(self._lsp_default[name], str) != isinstance(value, str):
                # An unknown item makes the plugin misread all that follow it.
                raise PluginRefusalError(f"{self.ref.label}: its state has no item {name!r} of this kind")

    def _lsp_number(self, fact: ParameterFacts, value: float | str | bool) -> float:
        form = self._lsp_form(fact)
        if form == "step":
            return float(fact.step_index(value))
        return _amplitude(fact.number(value)) if form == "level" else fact.number(value)

    def _lsp_form(self, fact: ParameterFacts) -> str:
        """How the state holds a parameter, told from its default: "step", "level", "plain"; "" if it does not show."""
        stored = self._lsp_default.get(self._state_ids.get(fact.name, ""))
        shown = number_in(fact.default_text)
        if stored is None or isinstance(stored, str):
            return ""
        if fact.default_text in fact.texts and fact.texts.index(fact.default_text) == stored:
            return "step"
        if shown is None:
            return ""
        if fact.unit == "dB" and np.isclose(stored, _amplitude(shown), rtol=2e-3, atol=1e-5):
            return "level"
        return "plain" if np.isclose(stored, shown, rtol=2e-3, atol=6e-3) else ""

    # -- what loads in the background -----------------------------------------------------------

    def _wait_for_background(self, alive: Alive) -> None:
        """Run silence until the plugin's own threads have rested for a while."""
        rested = Rest()
        for call in range(_MOST_BACKGROUND_CALLS):
            self._silence(_BACKGROUND_FRAMES)
            rested.pause()
            if call >= _LEAST_BACKGROUND_CALLS and rested.seconds > _REST_S:
                break
        alive()

    def _load_files(self, without: Mapping[str, float | str], files: Mapping[str, str], *, alive: Alive) -> None:
        """Name one file after another and wait until each is heard; leaves the memory silent.

        The plugin loads files in a thread of its own, tells nobody when it has done so, and swaps in
        the result twice, each time with its memory lost. So it is given a periodic signal until the
        response has changed, then stayed the same while the plugin's threads rested.
        """
        tail_frames, silent = self._measure_files(files)
        one_period = np.random.default_rng(0).uniform(-0.1, 0.1, (self.channels[0], _PERIOD_FRAMES))
        period = one_period.astype(np.float32)
        items = dict(without)
        # The same large block throughout: a swap, which comes between blocks, then always meets the
        # convolution at the same place and its rounding can be repeated.
        chosen_block_frames, self._block_frames = self._block_frames, _PERIOD_FRAMES
        before = self._response(period)
        before = self._response(period)
        for name, path in files.items():
            items[name] = path
            self._plugin.raw_state = encode_raw_state(encode_lsp_state(items))
            # A silent response cannot be heard to arrive, and sounds the same whether it has or not.
            if name not in silent:
                before = self._wait_for_file(period, before, path=path, alive=alive)
        for _ in range(1 + tail_frames // _PERIOD_FRAMES):
            self._silence(_PERIOD_FRAMES)
        self._block_frames = chosen_block_frames

    def _response(self, period: Float32) -> Float32:
        return self._call(period, reset=False)

    def _wait_for_file(self, period: Float32, before: Float32, *, path: str, alive: Alive) -> Float32:
        """Wait until the response differs from `before` for good; return it."""
        until_s = time.monotonic() + _FILE_LIMIT_S
        rested, last = Rest(), before
        while time.monotonic() < until_s:
            now = self._response(period)
            change = _difference(now, before)
            if _difference(now, last) > max(_HEARD, _SETTLED * change):
                rested = Rest()
            last = now
            rested.pause()
            alive()
            if change > _HEARD and rested.seconds > _REST_S:
                return last
            if rested.seconds > _UNHEARD_S:
                break
        raise PluginRefusalError(f"{self.ref.label}: {path}: loading it changed nothing; is it silent or unused?")

    def _measure_files(self, files: Mapping[str, str]) -> tuple[int, set[str]]:
        """Frames of the longest file at the rate that is active and a second more; names of those without sound."""
        longest_s, silent = 0.0, set()
        for name, path in files.items():
            try:
                with AudioFile(path) as audio_file:
                    longest_s = max(longest_s, audio_file.frames / audio_file.samplerate)
                    if not np.any(audio_file.read(audio_file.frames)):
                        silent.add(name)
            except (OSError, ValueError) as error:
                raise PluginRefusalError(f"{self.ref.label}: {path}: cannot be read ({_one_line(error)})") from None
        return int(np.ceil((longest_s + 1.0) * self._rate_hz)), silent

    # -- what the plugin says of itself ---------------------------------------------------------

    def describe(self) -> PluginDescription:
        """Return what the plugin says of itself."""
        parameters: list[ParameterDescription] = []
        for parameter in self._plugin._parameters:
            fact = self._fact(parameter)
            described = fact.describe(state_id=self._state_ids.get(fact.name, ""))
            parameters.append(described)
        plugin = self._plugin
        return PluginDescription(
            name=plugin.name,
            vendor=plugin.manufacturer_name,
            version=_readable(plugin.version),
            category=plugin.category,
            class_id=self.class_id,
            channels=self.channels,
            latency_samples=self._latency_samples,
            parameters=tuple(parameters),
        )

    def component_state(self, settings: PluginSettings, *, sample_rate_hz: float, alive: Alive) -> bytes:
        """Return what the plugin stores with these settings."""
        self._set(
            settings, sample_rate_hz=sample_rate_hz, block_frames=_SILENCE_FRAMES, quick=False, alive=alive
        )  # fmt: skip
        return decode_raw_state(self._plugin.raw_state)[0]

    def read_back(self, settings: PluginSettings, *, sample_rate_hz: float, alive: Alive) -> dict[str, float | str]:
        """Return what every parameter is at after these settings."""
        component = self.component_state(settings, sample_rate_hz=sample_rate_hz, alive=alive)
        stored: Mapping[str, float | str] = {}
        if is_lsp_state(component):
            stored = decode_lsp_state(component)
        elif is_dpf_state(component):
            stored = decode_dpf_state(component)
        values: dict[str, float | str] = {}
        for parameter in self._plugin._parameters:
            fact = self._fact(parameter)
            exact = stored.get(self._state_ids.get(fact.name, ""))
            shown = number_in(parameter.string_value)
            if fact.choices or shown is None:
                values[fact.name] = parameter.string_value
            elif isinstance(exact, float) and not fact.texts and (self._lsp_form(fact) or not self._lsp_default):
                values[fact.name] = _decibels(exact) if self._lsp_form(fact) == "level" else exact
            else:
                values[fact.name] = shown
        return values

    # -- parameters -----------------------------------------------------------------------------

    def _parameters(self) -> dict[str, Any]:
        # Asked anew each time: they belong to the instance that the last reset made.
        return {p.name: p for p in self._plugin._parameters}

    def _parameter(self, parameters: Mapping[str, Any], name: str) -> Any:
        parameter = parameters.get(name)
        if parameter is None or not self._fact(parameter).writable or name in _DPF_HOST_PARAMETERS:
            raise PluginRefusalError(f"{self.ref.label}: has no parameter {name!r} that can be set")
        return parameter

    def _fact(self, parameter: Any) -> ParameterFacts:
        name = parameter.name
        if name not in self._facts:
            self._facts[name] = ParameterFacts.of(parameter, label=self.ref.label)
        return self._facts[name]

    def _check_values(self, values: Mapping[str, float | str | bool]) -> None:
        parameters = self._parameters()
        for name, value in values.items():
            parameter = parameters[name]
            if not self._fact(parameter).is_at(parameter, value):
                raise PluginRefusalError(f"{self.ref.label}: {name} = {value}: shows {parameter.string_value} instead")

    def _ids_of_parameters(self) -> dict[str, str]:
        """Parameter name to id in the component state, where both come in the same order."""
        if self._lsp_default:
            ids = [k for k, v in self._lsp_default.items() if not isinstance(v, str)]
            parameters = list(self._plugin._parameters)
        elif is_dpf_state(self._default[0]):
            ids = list(decode_dpf_state(self._default[0]))
            parameters = [
                p for p in self._plugin._parameters if p.is_automatable and p.name not in _DPF_HOST_PARAMETERS
            ]
        else:
            return {}
        if len(ids) != len(parameters):
            return {}
        return {p.name: state_id for p, state_id in zip(parameters, ids, strict=True)}

    def _make_baseline(self) -> bytes:
        """Make the state every render starts from.

        An LSP plugin recomputes an object at the active sample rate only when its parameters
        change, so there all continuous parameters are moved away from where settings put them.
        """
        if not self._lsp_default:
            return encode_raw_state(*self._default)
        moved = dict(self._lsp_default)
        for parameter in self._plugin._parameters:
            state_id = self._state_ids.get(parameter.name)
            if state_id is not None and parameter.num_steps > 1000:
                moved[state_id] = float(moved[state_id]) * 0.9 + 1e-3
        return encode_raw_state(encode_lsp_state(moved))

    def _accepted_channels(self) -> tuple[int, ...]:
        refusals = []
        for channels in (2, 1):
            try:
                self._call(np.zeros((channels, _SILENCE_FRAMES), dtype=np.float32), reset=False)
            except PluginRefusalError as error:
                refusals.append(str(error))
            else:
                return (channels,)
        raise PluginRefusalError(f"{refusals[0]}; only mono and stereo effects can be used")


class HostedBuiltin(Hosted):
    """An effect that is part of pedalboard; a new one is made for each render."""

    def __init__(self, ref: PluginRef) -> None:
        self.ref = ref
        self.channels = (1, 2)
        self._class: Any = getattr(pedalboard, ref.name, None)
        plugin_class: Any = pedalboard.Plugin
        hosts: Any = (pedalboard.ExternalPlugin, pedalboard.PluginContainer)
        if not (isinstance(self._class, type) and issubclass(self._class, plugin_class)) or issubclass(
            self._class, hosts
        ):
            raise PluginNotFoundError(f"{ref.label}: pedalboard {pedalboard_version} has no such effect")
        self._effect: Any = None
        self._first = True
        self._rate_hz, self._block_frames = _LOADING_RATE_HZ, _SILENCE_FRAMES

    def prepare(self, settings: PluginSettings, *, sample_rate_hz: float, block_frames: int, alive: Alive) -> None:
        """Make a new effect with these settings."""
        self._rate_hz, self._block_frames, self._first = float(sample_rate_hz), block_frames, True
        if settings.state is not None:
            raise PluginRefusalError(f"{self.ref.label}: has no state; give its values")
        try:
            self._effect = self._class(**settings.strings)
        except (TypeError, ValueError, RuntimeError, OSError) as error:
            raise PluginRefusalError(f"{self.ref.label}: {_one_line(error)}") from None
        names = self._attributes()
        for name, value in settings.values.items():
            if name not in names:
                raise PluginRefusalError(f"{self.ref.label}: has no parameter {name!r}; it has {', '.join(names)}")
            self._set_attribute(name, value)
        alive()

    def _attributes(self) -> list[str]:
        members = ((name, getattr(self._class, name)) for name in dir(self._class))
        return [name for name, member in members if isinstance(member, property) and member.fset is not None]

    def _set_attribute(self, name: str, value: float | str | bool) -> None:
        before = getattr(self._effect, name)
        try:
            converted = getattr(type(before), value) if isinstance(value, str) else type(before)(value)
            setattr(self._effect, name, converted)
        except (TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise PluginRefusalError(f"{self.ref.label}: {name} = {value}: {_one_line(error)}") from None
        now = getattr(self._effect, name)
        if not (now == converted or np.isclose(now, converted, rtol=1e-5)):
            raise PluginRefusalError(f"{self.ref.label}: {name} = {value}: the effect made {now} of it")

    def process(self, audio: Float32) -> Float32:
        """Continue the stream with more audio (channels, frames), float32."""
        channels, frames = audio.shape
        block = np.zeros((channels, max(frames, channels + 1)), dtype=np.float32)
        block[:, :frames] = audio
        try:
            output = self._effect.process(block, self._rate_hz, buffer_size=self._block_frames, reset=self._first)
        except (ValueError, RuntimeError) as error:
            raise PluginRefusalError(f"{self.ref.label}: {_one_line(error)}") from None
        self._first = False
        return self._checked(output[:, :frames], shape=(channels, frames))

    def describe(self) -> PluginDescription:
        """Return the attributes of the effect."""
        effect: Any = self._class()
        described = []
        for name in self._attributes():
            default = getattr(effect, name)
            is_number = isinstance(default, int | float)
            choices = () if is_number else tuple(getattr(type(default), "__members__", ()))
            shown = float(default) if is_number else getattr(default, "name", str(default))
            described.append(ParameterDescription(name=name, default=shown, choices=choices, steps=len(choices)))
        return PluginDescription(
            name=self.ref.name,
            vendor="pedalboard",
            version=pedalboard_version,
            category="Fx",
            class_id="",
            channels=self.channels,
            latency_samples=0,
            parameters=tuple(described),
        )

    def component_state(self, settings: PluginSettings, *, sample_rate_hz: float, alive: Alive) -> bytes:
        """Refuse: built-ins store nothing."""
        raise PluginRefusalError(f"{self.ref.label}: has no state; its values say everything")

    def read_back(self, settings: PluginSettings, *, sample_rate_hz: float, alive: Alive) -> dict[str, float | str]:
        """Return the attributes after these settings."""
        self.prepare(settings, sample_rate_hz=sample_rate_hz, block_frames=_SILENCE_FRAMES, alive=alive)
        values: dict[str, float | str] = {}
        for name in self._attributes():
            value = getattr(self._effect, name)
            values[name] = float(value) if isinstance(value, int | float) else getattr(value, "name", str(value))
        return values


_thread_keepers: dict[Path, Any] = {}


def _keep_threads(path: Path) -> None:
    """Keep an idle plugin of the LSP bundle, so that its threads need not stop and start with every reset."""
    if path not in _thread_keepers and _THREAD_KEEPER in class_names(path):
        _thread_keepers[path] = _load_vst3(PluginRef(_THREAD_KEEPER, path), path)


def _load_vst3(ref: PluginRef, path: Path) -> Any:
    if not path.exists():
        raise PluginNotFoundError(f"{path}: no such plugin; scan the plugins again or install the suite")
    if not narrow(path, name=ref.name, class_id=ref.class_id.upper()):
        near = ", ".join(difflib.get_close_matches(ref.name, class_names(path), n=3, cutoff=0.0))
        raise PluginNotFoundError(f"{ref.label}: not in this bundle; it has {near} and others")
    try:
        # No time for warming up: the host would fill it with noise.
        return pedalboard.VST3Plugin(str(path), plugin_name=ref.name or None, initialization_timeout=0.0)
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        raise PluginError(f"{ref.label}: cannot be loaded from {path.parent} ({_one_line(error)})") from None


def _class_id(plugin: Any) -> str:
    header: bytes = plugin.preset_data[8:40]
    return header.decode("ascii", errors="replace").upper()


def _readable(version: str) -> str:
    """Undo swapped bytes in the version that some plugins give."""
    swapped = all(ord(c) & 0xFF == 0 for c in version)
    return "".join(chr(ord(c) >> 8) for c in version) if swapped else version


def _difference(a: Float32, b: Float32) -> float:
    return float(np.max(np.abs(a - b), initial=0.0))


def _amplitude(level_db: float) -> float:
    return 0.0 if level_db == -np.inf else float(10.0 ** (level_db / 20.0))


def _decibels(amplitude: float) -> float:
    return float(20.0 * np.log10(amplitude)) if amplitude > 0.0 else -np.inf


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"
