"""Plays an Ardour session without Ardour: faders, balances, sends, taps, connections, automation; no plugins.

Written from Ardour's own behaviour and not from the exporter, with the standard library's XML alone.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile

CLOCK_HZ = 282_240_000

#: The low-pass between the automation of a fader or a send and its gain (1/s).
GLIDE_PER_S = 156.825


def frames_of(time: str, rate_hz: int) -> int:
    frames = int(time.removeprefix("a")) * rate_hz / CLOCK_HZ
    assert frames == round(frames), f"{time} lies between two samples"
    return round(frames)


def control(parent: ET.Element | None, name: str, default: float) -> float:
    found = None if parent is None else parent.find(f"Controllable[@name='{name}']")
    return default if found is None else float(found.get("value", ""))


def automation(parent: ET.Element | None, name: str, *, frames: int, rate_hz: int) -> np.ndarray | None:
    """The value of what plays its automation, at every sample."""
    listed = None if parent is None else parent.find(f"Automation/AutomationList[@automation-id='{name}']")
    if listed is None:
        return None
    assert listed.get("state") == "Play" and listed.get("interpolation-style") == "Linear"
    events = [line.split() for line in (listed.findtext("events") or "").strip().splitlines()]
    times = [int(time.removeprefix("a")) * rate_hz / CLOCK_HZ for time, _ in events]
    return np.interp(np.arange(frames), times, [float(value) for _, value in events])


def glided(values: np.ndarray, rate_hz: int) -> np.ndarray:
    """Each sample has the gain that the samples before it led to."""
    step = GLIDE_PER_S / rate_hz
    return scipy.signal.lfilter([0.0, step], [1.0, step - 1.0], values, zi=[values[0]])[0]


class Mixer:
    """The routes of a session, each rendered once all that feeds it has been."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = ET.parse(path).getroot()
        self.rate_hz = int(self.root.attrib["sample-rate"])
        location = self.root.find("Locations/Location[@flags='IsSessionRange']")
        assert location is not None and location.get("start") == "a0"
        self.frames = frames_of(location.attrib["end"], self.rate_hz)
        self.routes = {route.attrib["name"]: route for route in self.root.iterfind("Routes/Route")}
        self.by_id = {route.attrib["id"]: name for name, route in self.routes.items()}
        self.inputs = {name: np.zeros((2, self.frames)) for name in self.routes}

    def render(self) -> np.ndarray:
        waiting = dict(self.routes)
        while waiting:
            fed = {target for route in waiting.values() for target in self._targets(route)}
            ready = [name for name in waiting if name not in fed]
            assert ready, "a loop"
            for name in ready:
                output = self._run(waiting.pop(name))
                if name == "Master":
                    return output
        raise AssertionError("no master")

    def _targets(self, route: ET.Element) -> set[str]:
        sends = {self.by_id[p.attrib["target"]] for p in route.iterfind("Processor[@type='intsend']")}
        return sends | {other.rpartition("/")[0] for other in self._others(route) if not other.startswith("system:")}

    def _others(self, route: ET.Element) -> list[str]:
        return [c.attrib["other"] for c in route.iterfind("IO[@direction='Output']/Port/Connection")]

    def _run(self, route: ET.Element) -> np.ndarray:
        signal = self.inputs[route.attrib["name"]]
        azimuth = automation(route.find("Pannable"), "pan-azimuth", frames=self.frames, rate_hz=self.rate_hz)
        if azimuth is None:
            azimuth = np.array([control(route.find("Pannable"), "pan-azimuth", 0.5)])
        balance = np.minimum(1.0, [2.0 - 2.0 * azimuth, 2.0 * azimuth])
        phase = route.find("Controllable[@name='phase']")
        signs = [-1.0 if d == "1" else 1.0 for d in ("00" if phase is None else phase.attrib["phase-invert"])[::-1]]
        if route.get("audio-playlist"):
            signal = self._played(route.attrib["audio-playlist"])
        signal = signal * np.array(signs)[:, None]
        for processor in route.iterfind("Processor"):
            kind = processor.attrib["type"]
            gain = self._gain(processor, {"amp": "gain", "intsend": "send"}.get(kind, ""))
            if kind == "trim":
                signal = signal * control(processor, "trimcontrol", 1.0)
            elif kind == "amp":
                assert np.max(gain) <= 2.0
                signal = signal * gain
            elif kind == "intsend":
                target = self.routes[self.by_id[processor.attrib["target"]]]
                assert target.find("Processor[@type='intreturn']") is not None
                self.inputs[target.attrib["name"]] += gain * balance * signal
            else:
                assert kind in ("diskreader", "intreturn", "main-outs")
        signal = signal * balance
        mute = route.find("MuteMaster")
        if mute is None or mute.get("muted") != "1":
            for side, port in enumerate(route.iterfind("IO[@direction='Output']/Port")):
                for connection in port.iterfind("Connection"):
                    name, _, number = connection.attrib["other"].rpartition("/audio_in ")
                    if name:
                        self.inputs[name][int(number) - 1] += signal[side]
        return signal

    def _gain(self, processor: ET.Element, name: str) -> np.ndarray | float:
        ride = automation(processor, name, frames=self.frames, rate_hz=self.rate_hz)
        # What moves ends at a gain of 2, whatever it is told.
        return control(processor, "gaincontrol", 1.0) if ride is None else glided(np.minimum(ride, 2.0), self.rate_hz)

    def _played(self, playlist: str) -> np.ndarray:
        out = np.zeros((2, self.frames))
        sources = {s.attrib["id"]: s for s in self.root.iterfind("Sources/Source")}
        for region in self.root.iterfind(f"Playlists/Playlist[@id='{playlist}']/Region"):
            assert region.get("fade-in-active") == region.get("fade-out-active") == "0"
            length, position = (frames_of(t, self.rate_hz) for t in region.attrib["length"].split("@"))
            start = frames_of(region.attrib["start"], self.rate_hz)
            for side in (0, 1):
                source = sources[region.attrib[f"source-{side}"]]
                folder = self.path.parent / "interchange" / self.path.parent.name / "audiofiles"
                file = Path(source.get("origin") or folder / source.attrib["name"])
                audio, rate_hz = soundfile.read(file, always_2d=True)
                assert rate_hz == self.rate_hz
                part = audio[start : start + length, int(source.attrib["channel"])]
                out[side, position : position + length] = part
        return out
