"""Rebuilds and renders a session from a written .rpp alone, read with two independent parsers."""

from __future__ import annotations

import functools
import itertools
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rpp
import rppxml
import soundfile

from mixbridge.bridge.audio import as_stereo, resample
from mixbridge.bridge.processors.reference import apply_processor

SINE_LAW = 0.70710678


@dataclass
class Tree:
    """A block: name, parameters, and its lines and blocks in order."""

    name: str
    parameters: list[object]
    children: list[Tree | list[object]] = field(default_factory=list)

    def line(self, keyword: str) -> list[object]:
        found = [c for c in self.children if isinstance(c, list) and c and c[0] == keyword]
        assert len(found) == 1, f"{self.name}: {len(found)} lines {keyword}"
        return found[0][1:]

    def numbers(self, keyword: str) -> list[float]:
        return [float(str(v)) for v in self.line(keyword)]

    def blocks(self, name: str) -> list[Tree]:
        return [c for c in self.children if isinstance(c, Tree) and c.name == name]


def from_rpp(text: str) -> Tree:
    def convert(element: object) -> Tree:
        children = []
        for child in element.children:  # type: ignore[attr-defined]
            if isinstance(child, str):
                children.append([child])
            else:
                children.append(list(child) if isinstance(child, list) else convert(child))
        return Tree(element.tag, list(element.attrib), children)  # type: ignore[attr-defined]

    return convert(rpp.loads(text))


def from_rppxml(text: str) -> Tree:
    def convert(element: object) -> Tree:
        children = [list(c) if isinstance(c, list) else convert(c) for c in element.children]  # type: ignore[attr-defined]
        return Tree(element.name, list(element.params), children)  # type: ignore[attr-defined]

    return convert(rppxml.loads(text))


def assert_agree(one: Tree, two: Tree) -> None:
    """Both parsers saw the same; `two` turns what looks like a number into one."""
    assert one.name == two.name
    assert_same_tokens(one.parameters, two.parameters)
    assert len(one.children) == len(two.children), one.name
    for left, right in zip(one.children, two.children, strict=True):
        assert type(left) is type(right)
        if isinstance(left, Tree):
            assert isinstance(right, Tree)
            assert_agree(left, right)
        elif str(left[0]).startswith("|"):
            # One parser keeps the bar of a line of free text, the other blanks at its end.
            assert [str(left[0])[1:].strip()] == [str(v).strip() for v in right]  # type: ignore[union-attr]
        else:
            assert_same_tokens(left, right)  # type: ignore[arg-type]


def assert_same_tokens(one: list[object], two: list[object]) -> None:
    assert len(one) == len(two), (one, two)
    for left, right in zip(one, two, strict=True):
        if isinstance(right, str):
            assert left == right
        else:
            assert float(str(left)) == right, (one, two)


def read_project(path: Path) -> Tree:
    """Read with both parsers, which must agree."""
    text = path.read_bytes().decode("utf-8")
    tree = from_rpp(text)
    assert_agree(tree, from_rppxml(text))
    return tree


def track_name(track: Tree) -> str:
    """The name as REAPER shows it: the block where there is one, else the line."""
    blocks = track.blocks("NAME")
    if blocks:
        (line,) = blocks[0].children
        return str(line[0]).removeprefix("|")  # type: ignore[index]
    return str(track.line("NAME")[0])


def track_depths(project: Tree) -> list[tuple[str, int]]:
    """Names of all tracks with the number of folders around each."""
    depth, found = 0, []
    for track in project.blocks("TRACK"):
        found.append((track_name(track), depth))
        kind, change = track.numbers("ISBUS")
        assert (kind, change) in ((0, 0), (1, 1)) or (kind == 2 and change < 0)
        depth += int(change)
        assert depth >= 0
    assert depth == 0, "a folder is left open"
    return found


# ------------------------------------------------------------------------------- render


def fader_gains(values: list[float], *, project_law: float, envelope: np.ndarray) -> np.ndarray:
    """REAPER's measured formula for panning mode 3; only laws that need no table are accepted.

    Parameters
    ----------
    envelope : array, shape=(n,)
        The pan envelope, +1 for left. REAPER adds it to the fader's pan or replaces that.
    """
    volume, pan, law = values[:3]
    law = project_law if law < 0 else law
    assert pan == 0.0 or not envelope.any(), "nobody says for sure what a panned fader makes of a pan envelope"
    position = pan - envelope
    if abs(law - SINE_LAW) < 1e-8:
        boost = 1.0
    else:
        assert not position.any(), "a panned fader needs the sine law"
        boost = law * math.sqrt(2.0)
    theta = (1.0 + position) * math.pi / 4.0
    return volume * boost * np.stack([np.cos(theta), np.sin(theta)])


def slider_names(jsfx: Path) -> list[str]:
    names = re.findall(r"^slider(\d+):(\w+)=", jsfx.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(n) for n, _ in names] == list(range(1, len(names) + 1))
    return [name for _, name in names]


def run_effect(effect: Tree, audio: np.ndarray, *, rate_hz: int, folder: Path) -> np.ndarray:
    reference = str(effect.parameters[0])
    assert reference.startswith("<Project>/")
    jsfx = folder / "Effects" / reference.removeprefix("<Project>/")
    names = slider_names(jsfx)
    (values,) = effect.children
    assert isinstance(values, list) and len(values) == 64
    assert all(v == "-" for v in values[len(names) :])
    settings = {name: float(str(value)) for name, value in zip(names, values, strict=False)}
    mix = settings.pop("mix")
    kind = jsfx.stem.removeprefix("mixbridge_")
    return apply_processor(kind, audio, parameters=settings, sample_rate_hz=rate_hz, mix=mix)


def run_chain(chains: list[Tree], audio: np.ndarray, *, rate_hz: int, folder: Path) -> np.ndarray:
    for chain in chains:
        bypassed = [c[1] == "1" for c in chain.children if isinstance(c, list) and c[0] == "BYPASS"]
        for effect, off in zip(chain.blocks("JS"), bypassed, strict=True):
            audio = audio if off else run_effect(effect, audio, rate_hz=rate_hz, folder=folder)
    return audio


def whole(samples: float) -> int:
    assert abs(samples - round(samples)) < 1e-4, f"{samples} is between two samples"
    return round(samples)


def play_items(track: Tree, *, frames: int, rate_hz: int, folder: Path) -> np.ndarray:
    out = np.zeros((2, frames))
    for item in track.blocks("ITEM"):
        assert item.numbers("FADEIN")[1:3] == [0, 0] and item.numbers("FADEOUT")[1:3] == [0, 0]
        assert item.numbers("LOOP") == [0] and item.numbers("VOLPAN")[:3] == [1, 0, 1]
        start, skip, length = (whole(item.numbers(k)[0] * rate_hz) for k in ("POSITION", "SOFFS", "LENGTH"))
        file = folder / str(item.blocks("SOURCE")[0].line("FILE")[0])
        data, from_hz = soundfile.read(file, dtype="float32", always_2d=True)
        audio = as_stereo(resample(data.T, from_hz=from_hz, to_hz=rate_hz))[:, skip : skip + length]
        assert audio.shape[1] == length, "the item is longer than its file"
        assert start + length <= frames, "the item is longer than the session"
        out[:, start : start + length] += audio
    return -out if track.numbers("IPHASE") == [1] else out


def envelope_course(chunks: list[Tree], *, frames: int, rate_hz: int, rest: float) -> np.ndarray:
    """Value at every sample of an envelope of straight lines; `rest` where there is none."""
    if not chunks:
        return np.full(frames, rest)
    (envelope,) = chunks
    lines = [c for c in envelope.children if isinstance(c, list)]
    # Volumes have a scaling, pans have none.
    scalings = [float(str(c[1])) for c in lines if c[0] == "VOLTYPE"]
    assert envelope.numbers("ACT")[0] == 1 and scalings == ([] if "PAN" in envelope.name else [0])
    points = [[float(str(v)) for v in c[1:]] for c in lines if c[0] == "PT"]
    assert points and all(len(p) == 3 and p[2] == 0 for p in points), (
        "every point has a time, a value and a line to the next"
    )
    values = np.full(frames, points[0][1])
    for (start_s, start, _), (end_s, end, _) in itertools.pairwise(points):
        assert end_s > start_s >= 0
        first, last = math.ceil(start_s * rate_hz), min(math.ceil(end_s * rate_hz), frames)
        position = (np.arange(first, last) / rate_hz - start_s) / (end_s - start_s)
        values[first:last] = start + (end - start) * position
        values[last:] = end
    return values


def receives(track: Tree) -> list[tuple[int, float]]:
    """Index of the sending track and gain of each receive; only plain post-fader sends are accepted."""
    return [(source, gain) for source, gain, _ in moving_receives(track)]


def moving_receives(track: Tree) -> list[tuple[int, float, list[Tree]]]:
    """The same with the envelopes of each receive, which stand behind its line."""
    found: list[tuple[int, float, list[Tree]]] = []
    for item in track.children:
        if isinstance(item, Tree):
            assert item.name not in ("AUXPANENV", "AUXMUTEENV")
            if item.name == "AUXVOLENV":
                found[-1][2].append(item)
        elif item[0] == "AUXRECV":
            source, mode, gain, *rest = item[1:]
            assert [str(v) for v in rest] == ["0", "0", "0", "0", "0", "0", "-1:U", "0", "-1", ""], item
            assert float(str(mode)) == 0 and float(str(gain)) >= 0
            found.append((whole(float(str(source))), float(str(gain)), []))
    return found


def parents(project: Tree) -> list[int | None]:
    """Index of the folder around each track."""
    folders: list[int] = []
    found: list[int | None] = []
    for index, track in enumerate(project.blocks("TRACK")):
        found.append(folders[-1] if folders else None)
        change = int(track.numbers("ISBUS")[1])
        if change > 0:
            folders.append(index)
        elif change:
            del folders[change:]
    assert not folders
    return found


def render_project(path: Path) -> np.ndarray:
    """Render the master of a project with the reference DSP; shape (2, n)."""
    project, folder = read_project(path), path.parent
    rate_hz = int(project.numbers("SAMPLERATE")[0])
    bounds, start_s, end_s, tail, _ = project.numbers("RENDER_RANGE")
    assert (bounds, start_s, tail) == (0, 0, 0)
    frames = whole(end_s * rate_hz)
    (project_law,) = project.numbers("PANLAW")
    assert project_law == 1 and project.numbers("GLOBAL_AUTO") == [-1]
    tracks = project.blocks("TRACK")
    # What does not play into its parent is not in the master, except for what it sends to others.
    folder_of = [
        parent if track.numbers("MAINSEND")[0] else -1 for track, parent in zip(tracks, parents(project), strict=True)
    ]

    def course(envelopes: list[Tree], rest: float) -> np.ndarray:
        return envelope_course(envelopes, frames=frames, rate_hz=rate_hz, rest=rest)

    def finish(
        audio: np.ndarray, *, chains: list[Tree], fader: list[float], volume: list[Tree], pan: list[Tree]
    ) -> np.ndarray:
        audio = run_chain(chains, audio, rate_hz=rate_hz, folder=folder)
        return audio * fader_gains(fader, project_law=project_law, envelope=course(pan, 0.0)) * course(volume, 1.0)

    @functools.cache
    def output(index: int) -> np.ndarray:
        track = tracks[index]
        assert track.numbers("MAINSEND") == [1, 0] and track.numbers("MUTESOLO") == [0, 0, 0]
        assert track.numbers("AUTOMODE") == [0]
        audio = play_items(track, frames=frames, rate_hz=rate_hz, folder=folder)
        audio = audio + sum(output(i) for i, parent in enumerate(folder_of) if parent == index)
        audio = audio + sum(
            gain * course(envelopes, 1.0) * output(source) for source, gain, envelopes in moving_receives(track)
        )
        return finish(
            audio,
            chains=track.blocks("FXCHAIN"),
            fader=track.numbers("VOLPAN"),
            volume=track.blocks("VOLENV2"),
            pan=track.blocks("PANENV2"),
        )

    total = np.zeros((2, frames)) + sum(output(i) for i, parent in enumerate(folder_of) if parent is None)
    assert project.numbers("MASTERAUTOMODE") == [0]
    return finish(
        total,
        chains=project.blocks("MASTERFXLIST"),
        fader=project.numbers("MASTER_VOLUME"),
        volume=project.blocks("MASTERVOLENV2"),
        pan=project.blocks("MASTERPANENV2"),
    )
