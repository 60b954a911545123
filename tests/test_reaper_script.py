"""The script that checks a project inside REAPER, run by a real Lua against a table that stands for REAPER."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from lupa import lua53, lua54

from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Processor, Pruned, Stem
from mixbridge.bridge.processors.laws import KINDS, type_and_law
from mixbridge.bridge.processors.specs import MIX, spec_of
from mixbridge.exporters.reaper.check_script import RENDER_NAME, SCRIPT_FILE, lua_string
from mixbridge.exporters.reaper.rendering import FLOAT_WAV

from .exports import export_reaper
from .reaper_api import OWN, ReaperTable, tracks_of

RATE_HZ, FRAMES = 48000, 48000 + 7

#: A name that breaks every naive way of writing it into a script.
ODD_NAME = "kick \"in\"\\ 'out' ]] --[[ größe 🥁 $track %d"


def exported(folder: Path, *, suites: str = "jsfx", keep_pruned: bool = False) -> Path:
    """A project with effects on a track, a group and the master; a gate of the track was pruned."""
    (folder / "stems").mkdir(parents=True)
    for name in ("a", "b"):
        soundfile.write(folder / "stems" / f"{name}.wav", np.full((FRAMES, 2), 0.1), RATE_HZ, subtype="FLOAT")

    def processor(kind: str, node: str) -> Processor:
        return Processor(type=kind, id=node, parameters=spec_of(kind).defaults())

    chains = [
        ("drums", [Stem(id="a", name=ODD_NAME, file="a.wav"), processor("eq", "a-eq"), processor("compressor", "a-c")]),
        ("master", [Stem(id="b", name="b", file="b.wav")]),
        ("master", [Bus(id="drums", name="drums"), processor("compressor", "drums-c")]),
        ("", [Master(), processor("eq", "m-eq")]),
    ]
    ends = [[node.id for node in chain] + ([target] if target else []) for target, chain in chains]
    graph = MixGraph(
        name="song",
        sample_rate_hz=RATE_HZ,
        frames=FRAMES,
        nodes=[node for _, chain in chains for node in chain],
        edges=[Edge(source=a, target=b) for chain in ends for a, b in pairwise(chain)],
    )
    graph = graph.with_pruned([Pruned(channel="a", processor=processor("gate", "a-g"))])
    out = folder / "it's a project"
    return export_reaper(graph, stems_dir=folder / "stems", folder=out, suites=suites, keep_pruned=keep_pruned)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("script"))


@pytest.fixture(params=[lua53, lua54], ids=["REAPER 6", "REAPER 7"])
def lua(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param
    return module


@pytest.fixture
def table(project: Path) -> ReaperTable:
    return ReaperTable(project, *tracks_of(project))


def renders(project: Path) -> tuple[Path, Callable[[], None]]:
    """Where the script's render will be, and what REAPER does when it renders."""
    file = project.parent / f"{RENDER_NAME}.wav"
    file.unlink(missing_ok=True)
    return file, lambda: file.write_bytes(b"new")


def test_a_project_that_is_complete_is_rendered_and_the_command_told(
    project: Path, table: ReaperTable, lua: ModuleType
) -> None:
    file, table.on_render = renders(project)
    before = dict(table.numbers), dict(table.texts)
    table.run(project.parent / SCRIPT_FILE, lua)
    assert table.commands == [42230]
    ((numbers, texts),) = table.rendered
    assert numbers == {
        "RENDER_SETTINGS": 0, "RENDER_BOUNDSFLAG": 0, "RENDER_STARTPOS": 0, "RENDER_ENDPOS": FRAMES / RATE_HZ,
        "RENDER_CHANNELS": 2, "RENDER_SRATE": RATE_HZ, "RENDER_TAILFLAG": 0, "RENDER_ADDTOPROJ": 0,
        "RENDER_DITHER": 0, "RENDER_NORMALIZE": 0,
    }  # fmt: skip
    assert texts == {
        "RENDER_FILE": str(project.parent).encode(),
        "RENDER_PATTERN": RENDER_NAME.encode(),
        "RENDER_FORMAT": FLOAT_WAV.encode(),
        "RENDER_FORMAT2": b"",
    }
    # What the user had set is back.
    assert {k: v for k, v in table.numbers.items() if v} == before[0]
    assert {k: v for k, v in table.texts.items() if v} == before[1]
    ((text, _, kind),) = table.boxes
    assert kind == 0 and b"Every effect was loaded" in text
    command = text.decode().splitlines()[-1]
    assert shlex.split(command) == ["mixbridge", "verify", str(project), "--render", str(file)]
    console = table.console.decode()
    assert command in console and "7.20" in console and "MISSING" not in console
    assert console.count("loaded as") == 4 and f"{ODD_NAME}: 2 effects, 2 written" in console


def test_a_missing_effect_is_named_with_its_remedy_and_asked_about(
    project: Path, table: ReaperTable, lua: ModuleType
) -> None:
    table.tracks[[t.name for t in table.tracks].index(ODD_NAME)].effects[1].unload()
    table.master.effects[0].unload()
    table.answer = 7
    table.run(project.parent / SCRIPT_FILE, lua)
    ((text, title, kind),) = table.boxes
    lines = text.decode().splitlines()
    assert kind == 4 and b"2 faults" in title and not table.commands
    assert lines[0].startswith(f"{ODD_NAME}: Compressor (JSFX) was not loaded")
    assert "Effects/mixbridge_compressor.jsfx" in lines[0] and lines[1].startswith("Master: Parametric EQ")
    assert table.console.decode().count("MISSING") == 2
    # Asked for all the same, it renders, and says again what is missing.
    _, table.on_render = renders(project)
    table.answer = 6
    table.run(project.parent / SCRIPT_FILE, lua)
    assert table.commands == [42230] and b"2 faults" in table.boxes[-1][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda track: setattr(track.effects[0], "offline", True), "is offline"),
        (lambda track: setattr(track.effects[0], "enabled", False), "is bypassed"),
        (lambda track: setattr(track.effects[0], "ident", ""), "was not loaded"),
        (lambda track: setattr(track.effects[0], "parameters", 0), "was not loaded"),
        (lambda track: track.effects.pop(0), "is not in the chain"),
    ],
)
def test_every_way_of_not_working_is_told_apart(
    project: Path, table: ReaperTable, change: Callable[[object], object], words: str
) -> None:
    drums = next(t for t in table.tracks if t.name == "drums")
    change(drums)
    table.answer = 7
    table.run(project.parent / SCRIPT_FILE, lua54)
    ((text, _, _),) = table.boxes
    assert text.decode().splitlines()[0].startswith("drums: Compressor (JSFX) ") and words in text.decode()


def test_what_was_written_bypassed_has_to_stay_so(tmp_path: Path) -> None:
    project = exported(tmp_path, keep_pruned=True)
    _, on_render = renders(project)
    for enabled in (False, True):
        table = ReaperTable(project, *tracks_of(project), answer=7)
        table.on_render = on_render
        (gate,) = [e for t in table.tracks for e in t.effects if "gate" in e.name.casefold()]
        assert not gate.enabled
        gate.enabled = enabled
        table.run(project.parent / SCRIPT_FILE, lua54)
        text = table.boxes[0][0].decode()
        assert ("Noise gate (JSFX) is at work, but was written bypassed" in text) == enabled, text
        assert ("Every effect was loaded" in text) != enabled


def test_effects_are_found_where_an_engineer_moved_them(project: Path, table: ReaperTable) -> None:
    _, table.on_render = renders(project)
    table.tracks.reverse()
    track = next(t for t in table.tracks if t.name == ODD_NAME)
    track.effects.reverse()
    track.effects.append(type(track.effects[0])("{OTHER}", "one more", 3))
    for effect in track.effects:
        effect.guid = effect.guid.lower()
    table.run(project.parent / SCRIPT_FILE, lua54)
    assert b"MISSING" not in table.console and b"3 effects, 2 written" in table.console


def test_another_project_is_left_alone(project: Path, table: ReaperTable) -> None:
    _, master = tracks_of(project)
    for found in (ReaperTable(project, [], master), ReaperTable(None, table.tracks, table.master)):
        found.run(project.parent / SCRIPT_FILE, lua54)
        assert not found.commands and "Open song.rpp" in found.boxes[0][0].decode()


def test_a_track_that_is_gone_is_a_fault(project: Path, table: ReaperTable) -> None:
    table.tracks = [t for t in table.tracks if t.name != "b"]
    table.answer = 7
    table.run(project.parent / SCRIPT_FILE, lua54)
    assert table.boxes[0][0].decode().startswith("track 'b' is not in this project")


def test_a_render_that_fails_is_said_and_an_old_one_is_not_taken_for_it(project: Path, table: ReaperTable) -> None:
    file, _ = renders(project)
    file.write_bytes(b"old")
    before = dict(table.numbers)

    def refuse() -> None:
        raise RuntimeError("disk full")

    for on_render, words in ((lambda: None, "cannot be written"), (refuse, "disk full")):
        table.on_render = on_render
        table.run(project.parent / SCRIPT_FILE, lua54)
        text = table.boxes[-1][0].decode()
        assert "wrote no" in text and words in text and "--render" not in text
        assert {k: v for k, v in table.numbers.items() if v} == before


def test_plugins_that_come_with_reaper_are_expected_by_name(tmp_path: Path) -> None:
    project = exported(tmp_path, suites="reaplugs")
    table = ReaperTable(project, *tracks_of(project), answer=7)
    for track in (*table.tracks, table.master):
        for effect in track.effects:
            effect.unload()
    table.run(project.parent / SCRIPT_FILE, lua54)
    text = table.boxes[0][0].decode()
    assert text.count("update REAPER") == 4 and "ReaComp" in text and "ReaEQ" in text


def test_a_loaded_jsfx_always_has_more_than_reaper_adds() -> None:
    # Older versions of REAPER add one parameter less: the script takes an effect for loaded only above `OWN`.
    for kind in KINDS:
        sliders = [*spec_of(type_and_law(kind)[0]).parameters, MIX]
        assert OWN - 1 + len(sliders) > OWN, kind


@settings(max_examples=60, deadline=None)
@given(text=st.text() | st.text(alphabet="\"\\\n\r\0]'\udcff\ud800é-0123456789"))
def test_any_text_is_the_same_in_lua(text: str) -> None:
    source = lua_string(text)
    assert "\n" not in source and "\r" not in source
    runtime = lua54.LuaRuntime(encoding=None)
    expected = b"".join(
        c.encode("utf-8", "surrogateescape" if "\udc80" <= c <= "\udcff" else "surrogatepass") for c in text
    )
    assert runtime.execute(b"return " + source.encode("utf-8")) == expected
