"""Renders the mix that chain.json describes, with real plugins; it needs pedalboard, numpy and soundfile.

    python render.py --out mix.wav --plugin-folder ~/my-plugins

Every channel plays its stem or the sum of what feeds it through its inserts, then its fader, pan
and their automation; sends take what comes out there. Sums, faders, pans, widths and dry/wet are
done here, the rest by the plugins: VST3 plugins with the settings of their preset, and
pedalboard's own. JSFX run in REAPER only and are refused.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import math
import os
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pedalboard
import soundfile

Audio = npt.NDArray[np.float64]  # shape (2, frames)

FOLDER = Path(__file__).resolve().parent
BLOCK_FRAMES = 8192
SILENCE = np.zeros((2, BLOCK_FRAMES), dtype=np.float32)
FIRST_CHUNK = 48  # where the chunks of a .vstpreset begin: after its header
LSP_STATE = b"LSPS"  # how the state of an LSP plugin begins
CONTINUOUS_STEPS = 1000  # parameters with more steps are knobs, those with fewer are switches
LOAD_LIMIT_S, LOAD_PAUSE_S = 60.0, 0.05
STEADY_S = 1.5  # what a plugin loads in the background is there when nothing changed for so long
MEMORY_LATER = ("Artistic Delay",)  # plugins that get memory in the background once their settings arrived


def render(chain: Mapping[str, Any], plugin_folders: list[Path]) -> Audio:
    """The mix of the whole chain; every channel comes before those it feeds, the master is last."""
    rate_hz, frames = chain["sample_rate_hz"], chain["frames"]
    sums: dict[str, Audio] = {}
    signal = np.zeros((2, frames))
    for channel in chain["channels"]:
        logging.info("%s", channel["name"])
        if channel["source"]:
            signal = read_source(channel["source"], rate_hz, frames)
        else:
            signal = sums.pop(channel["id"], np.zeros((2, frames)))
        for insert in channel["inserts"]:
            if not insert["bypassed"]:
                signal = run_insert(insert, signal, rate_hz, plugin_folders)
        signal = signal * channel["gain"] * pan_gains(channel["pan"])
        signal = signal * volume_gains(channel["volume"], rate_hz, frames)
        signal = signal * pan_automation_gains(channel.get("pan_points", []), rate_hz, frames)
        sums[channel["parent"]] = sums.get(channel["parent"], 0.0) + signal
        for send in channel["sends"]:
            gains = send["gain"] * volume_gains(send.get("volume", []), rate_hz, frames)
            sums[send["target"]] = sums.get(send["target"], 0.0) + gains * signal
    return signal


def read_source(source: Mapping[str, Any], rate_hz: int, frames: int) -> Audio:
    """A stem at its place in the mix: both sides the same if it is mono, silence where it does not play."""
    data, file_rate_hz = soundfile.read(FOLDER / source["file"], dtype="float64", always_2d=True)
    if file_rate_hz != rate_hz:
        raise SystemExit(f"{source['file']}: has {file_rate_hz} Hz, the mix {rate_hz} Hz; export the mix again")
    placed = np.zeros((2, frames))
    skip = max(-source["offset_samples"], 0)
    start = max(source["offset_samples"], 0)
    part = data[skip : skip + max(frames - start, 0)].T * source["polarity"]
    placed[:, start : start + part.shape[1]] = part
    return placed


def pan_gains(pan: float | Audio) -> Audio:
    """Gains of the two sides: constant power, 1 at the centre."""
    angle = np.atleast_1d((1.0 + pan) * math.pi / 4.0)
    return math.sqrt(2.0) * np.stack([np.cos(angle), np.sin(angle)])


def volume_gains(points: list[dict[str, float]], rate_hz: int, frames: int) -> Audio:
    """Automation of a fader or a send: straight lines in amplitude."""
    if not points:
        return np.ones(1)
    return course(points, [10.0 ** (point["gain_db"] / 20.0) for point in points], rate_hz, frames)


def pan_automation_gains(points: list[dict[str, float]], rate_hz: int, frames: int) -> Audio:
    """Automation of a pan of its own behind the fader: straight lines in position."""
    if not points:
        return np.ones((2, 1))
    return pan_gains(course(points, [point["pan"] for point in points], rate_hz, frames))


def course(points: list[dict[str, float]], values: list[float], rate_hz: int, frames: int) -> Audio:
    """Straight lines between points, the first and the last value held."""
    return np.asarray(np.interp(np.arange(frames) / rate_hz, [point["time_s"] for point in points], values))


def run_insert(insert: Mapping[str, Any], dry: Audio, rate_hz: int, plugin_folders: list[Path]) -> Audio:
    """One insert, its dry part included."""
    if insert["mix"] == 0.0 or not dry.shape[1]:
        return dry
    if insert["kind"] == "mixer":
        wet = run_mixer(insert["type"], insert["parameters"], dry)
    elif insert["kind"] == "builtin":
        wet = run_branches(insert["branches"], dry, rate_hz)
    elif insert["kind"] == "vst3":
        wet = run_vst3(insert, dry, rate_hz, plugin_folders)
    else:
        raise SystemExit(f"{insert['id']}: {insert['kind']} inserts cannot be rendered here; open the mix in its DAW")
    if not np.all(np.isfinite(wet)):
        raise SystemExit(f"{insert['id']}: the plugin returned samples that are no numbers; check its version")
    return np.asarray(insert["mix"] * wet + (1.0 - insert["mix"]) * dry)


def run_mixer(kind: str, parameters: Mapping[str, float], audio: Audio) -> Audio:
    """Gain, pan and stereo width."""
    if kind == "gain_pan":
        return np.asarray(audio * 10.0 ** (parameters["gain_db"] / 20.0) * pan_gains(parameters["pan"]))
    mid = 0.5 * (audio[0] + audio[1])
    side = 0.5 * parameters["width"] * (audio[0] - audio[1])
    return np.stack([mid + side, mid - side])


def run_branches(branches: list[dict[str, Any]], audio: Audio, rate_hz: int) -> Audio:
    """The sum of branches, each some of pedalboard's own plugins in series."""
    out = np.zeros_like(audio)
    for branch in branches:
        heard = np.repeat(audio.mean(axis=0, keepdims=True), 2, axis=0) if branch["mono"] else audio
        signal = heard.astype(np.float32)
        for stage in branch["stages"]:
            files = {name: str(FOLDER / file) for name, file in stage["files"].items()}
            plugin = getattr(pedalboard, stage["name"])(**stage["values"], **files)
            signal = plugin(signal, rate_hz, buffer_size=BLOCK_FRAMES)
        out += signal * np.array([[branch["left"]], [branch["right"]]])
    return out


# --------------------------------------------------------------------------------- VST3


def run_vst3(insert: Mapping[str, Any], audio: Audio, rate_hz: int, plugin_folders: list[Path]) -> Audio:
    """One VST3 plugin with the settings of its preset, its delay removed."""
    info = insert["plugin"]
    plugin, default = load(info["name"], find(info["bundle"], plugin_folders))
    clear(plugin, default, rate_hz)
    plugin.preset_data = preset_with_files((FOLDER / insert["preset"]).read_bytes(), insert["files"])
    # Set once more this way, as pedalboard forgets what came by preset at the next reset.
    plugin.raw_state = plugin.raw_state
    settle(plugin, rate_hz)
    if any(name in info["name"] for name in MEMORY_LATER):
        wait_for_memory(plugin, rate_hz)
    if insert["files"]:
        wait_for_files(plugin, rate_hz, list(insert["files"].values()))
    late = insert["latency_samples"]
    padded = np.pad(audio, ((0, 0), (0, late))).astype(np.float32)
    out = plugin(padded, rate_hz, buffer_size=BLOCK_FRAMES, reset=False)
    return np.asarray(out[:, late:], dtype=np.float64)


def clear(plugin: Any, default: bytes, rate_hz: int) -> None:
    """Make a new, silent instance at this sample rate.

    Without it a plugin keeps the noise that pedalboard tests it with when it loads it, and LSP
    plugins what they computed for another rate: they compute anew what changes, and only that.
    So all continuous parameters are moved before they get their settings.
    """
    plugin.raw_state = default
    plugin(SILENCE, rate_hz, reset=True)
    if plugin.preset_data[FIRST_CHUNK:].startswith(LSP_STATE):
        for parameter in plugin._parameters:
            if parameter.num_steps > CONTINUOUS_STEPS:
                parameter.raw_value += 0.05 if parameter.raw_value < 0.5 else -0.05
        settle(plugin, rate_hz)


def settle(plugin: Any, rate_hz: int) -> None:
    """Run silence until settings have arrived and pedalboard gives back as much as it gets."""
    for _ in range(100):
        if plugin(SILENCE, rate_hz, reset=False).shape == SILENCE.shape:
            return


def wait_for_files(plugin: Any, rate_hz: int, files: list[str]) -> None:
    """Wait until the answer to an impulse stays the same: plugins read impulse responses in the background."""
    responses = [soundfile.read(FOLDER / file, always_2d=True)[0] for file in files]
    blocks = math.ceil((max(map(len, responses)) + rate_hz) / BLOCK_FRAMES)
    impulse = np.zeros((2, blocks * BLOCK_FRAMES), dtype=np.float32)
    impulse[:, 0] = 1.0
    audible = any(response.any() for response in responses)
    last = np.zeros_like(impulse)
    began_s = steady_from_s = time.monotonic()
    while time.monotonic() - steady_from_s < STEADY_S:
        heard = plugin(impulse, rate_hz, buffer_size=BLOCK_FRAMES, reset=False)
        now_s = time.monotonic()
        if np.abs(heard - last).max() > 1e-7 or heard.any() != audible:
            steady_from_s = now_s
        if now_s - began_s > LOAD_LIMIT_S:
            raise SystemExit(f"{files[0]}: the plugin does not load it; check its version")
        last = heard
        time.sleep(LOAD_PAUSE_S)


def wait_for_memory(plugin: Any, rate_hz: int) -> None:
    """Run silence while a plugin gets its memory from a thread of its own."""
    until_s = time.monotonic() + STEADY_S
    while time.monotonic() < until_s:
        plugin(SILENCE, rate_hz, reset=False)
        time.sleep(LOAD_PAUSE_S / 10.0)


@functools.lru_cache(maxsize=8)
def load(name: str, bundle: Path) -> tuple[Any, bytes]:
    """A plugin and its default state."""
    # pedalboard makes a table of all values of all parameters, which takes seconds and has no use here.
    pedalboard.VST3Plugin._get_parameters = lambda _plugin: {}  # type: ignore[attr-defined]
    try:
        plugin = pedalboard.VST3Plugin(str(bundle), plugin_name=name, initialization_timeout=0.0)
    except (ImportError, ValueError) as error:
        raise SystemExit(f"{name}: cannot be loaded from {bundle} ({error}); install it again") from None
    plugin._reload_type = type(plugin._reload_type).PersistsAudioOnReset
    return plugin, plugin.raw_state


def find(bundle: str, plugin_folders: list[Path]) -> Path:
    """A VST3 bundle by its file name: in the given folders, then where this system keeps plugins."""
    folders = [*plugin_folders, *standard_folders()]
    for folder in folders:
        for path in sorted(folder.expanduser().rglob(bundle)):
            return path
    looked = ", ".join(map(str, folders))
    raise SystemExit(f"{bundle}: not found in {looked}; install it or name its folder with --plugin-folder")


def standard_folders() -> list[Path]:
    """Where this system keeps VST3 plugins."""
    home, environment = Path.home(), os.environ
    if sys.platform == "darwin":
        return [home / "Library/Audio/Plug-Ins/VST3", Path("/Library/Audio/Plug-Ins/VST3")]
    if sys.platform == "win32":
        own = Path(environment.get("LOCALAPPDATA", home / "AppData/Local")) / "Programs/Common/VST3"
        return [own, Path(environment.get("COMMONPROGRAMFILES", "C:/Program Files/Common Files")) / "VST3"]
    return [home / ".vst3", Path("/usr/local/lib/vst3"), Path("/usr/lib/vst3")]


def preset_with_files(preset: bytes, files: Mapping[str, str]) -> bytes:
    """A preset in which the plugin's files are looked for in this folder, wherever it was moved to."""
    if not files:
        return preset
    (end,) = struct.unpack_from("<q", preset, FIRST_CHUNK - 8)
    component = preset[FIRST_CHUNK:end]
    for state_id, file in files.items():
        key = bytes([len(state_id)]) + state_id.encode()
        before, _, after = component.partition(key)
        length, digits = read_length(after)
        path = str(FOLDER / file).encode()
        component = before + key + write_length(len(path)) + path + after[digits + length :]
    head = preset[: FIRST_CHUNK - 8] + struct.pack("<q", FIRST_CHUNK + len(component))
    entry = struct.pack("<4si4sqq", b"List", 1, b"Comp", FIRST_CHUNK, len(component))
    return head + component + entry


def read_length(data: bytes) -> tuple[int, int]:
    """A length of seven bits a byte, the lowest first, and how many bytes it takes."""
    length = 0
    for index, byte in enumerate(data):
        length |= (byte & 127) << (7 * index)
        if byte < 128:
            return length, index + 1
    raise SystemExit("a preset of this folder is damaged; export the mix again")


def write_length(length: int) -> bytes:
    """The same the other way round."""
    low, rest = length & 127, length >> 7
    return bytes([low]) if not rest else bytes([low | 128]) + write_length(rest)


def main() -> None:
    """Render chain.json into one WAV file."""
    parser = argparse.ArgumentParser(description="Render the mix of this folder with its plugins.")
    parser.add_argument("--out", type=Path, default=FOLDER / "mix.wav", help="WAV file to write (32-bit float)")
    parser.add_argument(
        "--plugin-folder", type=Path, action="append", default=[], help="look for VST3 plugins here first"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        chain = json.loads((FOLDER / "chain.json").read_text(encoding="utf-8"))
        mix = render(chain, options.plugin_folder)
        partial = options.out.with_name(f".partial-{options.out.name}")
        soundfile.write(partial, mix.T.astype(np.float32), chain["sample_rate_hz"], format="WAV", subtype="FLOAT")
        partial.replace(options.out)
    except (OSError, soundfile.SoundFileError) as error:
        raise SystemExit(f"{error}; keep the files of this folder together") from None


if __name__ == "__main__":
    main()
