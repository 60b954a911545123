"""Projects read back as chains: what was exported, what a user may change in between, and what is refused."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings

from mixbridge.bridge.errors import AudioFileError, MixbridgeError, SessionFileError
from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Node, Processor, Stem
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.processors.equations import db_to_gain
from mixbridge.bridge.processors.specs import spec_of
from mixbridge.bridge.verify.realise import render_chain
from mixbridge.exporters.chain import Chain, Insert
from mixbridge.exporters.reaper.project import export_reaper
from mixbridge.exporters.reaper.read import read_project, tokens_of

from .mixes import assert_nulls, graphs, reference_render, write_stems
from .rpp_rebuild import render_project

RATE_HZ = 44100
FRAMES = 4410
QUOTES = "a\"b'c`d"


def processor(kind: str, node: str, *, mix: float = 1.0, **values: float) -> Processor:
    return Processor(type=kind, id=node, mix=mix, parameters=spec_of(kind).defaults() | values)


def small_graph() -> MixGraph:
    """Two tracks in folders within each other, one at the master, with something on every strip."""
    chains: list[tuple[str, list[Node]]] = [
        ("kit", [Stem(id="kick", name=QUOTES, file="kick.wav", offset_samples=-100, polarity=-1),
                 processor("eq", "kick-eq", bell2_db=4.5), processor("gain_pan", "kick-gp", gain_db=-3.0, pan=0.25)]),
        ("drums", [Bus(id="kit", name="Kit"), processor("compressor", "kit-c", threshold_db=-30.0, ratio=3.0)]),
        ("drums", [Stem(id="snare", name="snare", file="snare.wav", channels=1, offset_samples=50)]),
        ("master", [Bus(id="drums", name="Drums"), processor("gain_pan", "drums-gp", gain_db=2.0)]),
        ("master", [Stem(id="vox", name="Käte", file="vox.wav"), processor("reverb", "vox-r", mix=0.3, level_db=-9.0)]),
        ("", [Master(), processor("imager", "m-w", width=1.2), processor("gain_pan", "m-gp", pan=-0.1)]),
    ]  # fmt: skip
    nodes = [node for _, chain in chains for node in chain]
    ends = [[node.id for node in chain] + ([target] if target else []) for target, chain in chains]
    edges = [Edge(source=a, target=b) for chain in ends for a, b in pairwise(chain)]
    return MixGraph(name="small", sample_rate_hz=RATE_HZ, frames=FRAMES, nodes=nodes, edges=edges)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    (folder / "stems").mkdir()
    for number, (name, channels) in enumerate((("kick", 2), ("snare", 1), ("vox", 2))):
        audio = 0.1 * np.random.default_rng(number).standard_normal((FRAMES + 200, channels))
        soundfile.write(folder / "stems" / f"{name}.wav", audio, RATE_HZ, subtype="FLOAT")
    return export_reaper(small_graph(), stems_dir=folder / "stems", folder=folder / "reaper")


@pytest.fixture
def edited(exported: Path) -> Callable[..., Path]:
    """Write a changed copy beside the project; every change must hit something."""

    def edit(*changes: tuple[str, str], after: str = "") -> Path:
        text = exported.read_text("utf-8")
        start = text.index(after)
        for old, new in changes:
            assert old in text[start:], old
            text = text[:start] + text[start:].replace(old, new, 1)
        path = exported.with_name("edited.rpp")
        path.write_text(text, encoding="utf-8")
        return path

    return edit


def read(path: Path) -> Chain:
    ids = [n.id for n in small_graph().nodes]
    return read_project(path, node_ids=ids)


def insert_of(chain: Chain, node: str) -> Insert:
    return next(i for c in chain.channels for i in c.inserts if i.id == node)


# ------------------------------------------------------------------------------ our own projects


def test_everything_of_the_graph_is_found_again(exported: Path) -> None:
    chain = read(exported)
    assert (chain.sample_rate_hz, chain.frames) == (RATE_HZ, FRAMES)
    parents = {c.id: c.parent for c in chain.channels}
    assert parents == {
        "kick": "kit",
        "kit": "drums",
        "snare": "drums",
        "drums": "master",
        "vox": "master",
        "master": None,
    }
    kick = chain.channel("kick")
    assert kick.name == QUOTES and kick.source is not None
    assert (kick.source.offset_samples, kick.source.polarity, kick.source.channels) == (-100, -1, 2)
    assert kick.gain == pytest.approx(db_to_gain(-3.0), rel=1e-12) and kick.pan == pytest.approx(0.25, abs=1e-12)
    snare = chain.channel("snare").source
    assert snare is not None and (snare.offset_samples, snare.channels) == (50, 1)
    assert chain.channel("drums").gain == pytest.approx(db_to_gain(2.0), rel=1e-12)
    assert chain.channel("master").pan == pytest.approx(-0.1, abs=1e-12)
    for node in small_graph().processors:
        if node.type != "gain_pan":
            insert = insert_of(chain, node.id)
            assert insert.type == node.type and insert.kind == "jsfx" and not insert.bypassed
            assert insert.parameters == node.parameters
            assert insert.values == {**node.parameters, "mix": node.mix}
            assert insert.plugin is not None and (exported.parent / insert.plugin.bundle).is_file()


def no_pool() -> PluginPool:
    raise AssertionError("a project of JSFX needs no plugin workers")


def test_the_chain_renders_like_an_independent_rebuild_of_the_project(exported: Path) -> None:
    audio = render_chain(read(exported), exported.parent, pool=no_pool)
    wanted = render_project(exported)
    assert audio.shape == wanted.shape and np.abs(wanted).max() > 0.01
    assert np.abs(audio - wanted).max() < 1e-9


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_any_graph_comes_back_as_a_chain_that_sounds_the_same(graph: MixGraph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_stems(graph, Path(folder) / "stems")
        project = export_reaper(graph, stems_dir=Path(folder) / "stems", folder=Path(folder) / "reaper")
        chain = read_project(project, node_ids=[n.id for n in graph.nodes])
        audio = render_chain(chain, project.parent, pool=no_pool)
        assert_nulls(audio, reference_render(graph, Path(folder) / "stems"))


def test_without_a_graph_things_are_called_by_their_names(exported: Path) -> None:
    chain = read_project(exported)
    assert [c.id for c in chain.channels] == [QUOTES, "Kit", "snare", "Drums", "Käte", "master"]
    assert [i.id for c in chain.channels for i in c.inserts] == [
        f"{QUOTES}:eq", "Kit:compressor", "Käte:reverb", "master:imager"
    ]  # fmt: skip


# ------------------------------------------------------------------------------ what a user changes


def test_changes_made_in_the_daw_are_read(edited: Callable[..., Path]) -> None:
    chain = read(edited(("BYPASS 0 0 0", "BYPASS 1 0 0"), after="FXCHAIN"))
    assert [i.id for c in chain.channels for i in c.inserts if i.bypassed] == ["kit-c"]
    assert read(edited(("MUTESOLO 0 0 0", "MUTESOLO 1 0 0"), after='"Drums"')).channel("drums").gain == 0.0
    assert read(edited(("MAINSEND 1 0", "MAINSEND 0 0"), after='"Drums"')).channel("drums").gain == 0.0
    assert all(i.bypassed for i in read(edited(("FX 1", "FX 0"), after='"Kit"')).channel("kit").inserts)
    assert read(edited(("MASTER_FX 1", "MASTER_FX 0"))).channel("master").inserts[0].bypassed
    wet = read(edited(("FLOATPOS", "WET 0.25 0\n      FLOATPOS"), after='"Kit"'))
    assert wet.channel("kit").inserts[0].mix == 0.25
    moved = read(edited(("POSITION 0\n", "POSITION 0.01\n"), after='"Käte"')).channel("vox").source
    assert moved is not None and moved.offset_samples == 441


def test_windows_line_ends_a_byte_order_mark_and_unknown_chunks_change_nothing(exported: Path) -> None:
    text = exported.read_text("utf-8")
    text = text.replace(
        "  RIPPLE 0\n", '  RIPPLE 0\n  SOMETHING "new" 1 2\n  <NEWBLOCK x \'y\n    <INNER\n    >\n  >\n'
    )
    path = exported.with_name("other.rpp")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode("utf-8"))
    assert read(path).channels == read(exported).channels


def test_a_track_of_two_items_becomes_a_bus_of_two_tracks(exported: Path) -> None:
    text = exported.read_text("utf-8")
    start = text.index("<ITEM", text.index('"snare"'))
    item = text[start : text.index("<TRACK", start)].rsplit(">", 1)[0]
    path = exported.with_name("twice.rpp")
    path.write_text(text[:start] + item + text[start:], encoding="utf-8")
    chain = read(path)
    assert chain.channel("snare").kind == "bus"
    items = [c for c in chain.channels if c.parent == "snare"]
    assert len(items) == 2 and {c.source for c in items} == {read(exported).channel("snare").source}


@pytest.mark.parametrize(
    ("old", "new", "after", "words"),
    [
        ("SAMPLERATE 44100 1 0", "SAMPLERATE 44100 0 0", "", "sample rate"),
        ("PANMODE 3", "PANMODE 6", "", "panning mode"),
        ("PLAYRATE 1 0", "PLAYRATE 1.5 0", "", "normal rate"),
        ("MUTESOLO 0 0 0", "MUTESOLO 0 1 0", '"Drums"', "solo"),
        ("MASTERMUTESOLO 0", "MASTERMUTESOLO 1", "", "master"),
        ("MAINSEND 1 0", "AUXRECV 0 0 1 0 0 0 0 0 0 -1:U 0 -1 ''\n    MAINSEND 1 0", '"Drums"', "sends"),
        ("MAINSEND 1 0", "<VOLENV2\n ACT 1 -1\n PT 0 1 0\n >\n    MAINSEND 1 0", '"Drums"', "automation"),
        ("FADEIN 1 0 0", "FADEIN 1 0.01 0", '"snare"', "fade"),
        ("VOLPAN 1 0 1 -1", "VOLPAN 0.5 0 1 -1", "<ITEM", "volume"),
        ("PLAYRATE 1 1 0", "PLAYRATE 2 1 0", "<ITEM", "stretched"),
        ("CHANMODE 0", "CHANMODE 2", "<ITEM", "channel mode"),
        ("LENGTH 0.1", "LENGTH 9.1", '"Käte"', "longer"),
        ("LENGTH 0.1", "LENGTH 0.05", '"Käte"', "ends before"),
        ("ISBUS 1 1", "ISBUS 1 2", "", "folder"),
        ("ISBUS 2 -1", "ISBUS 2 -7", "", "folders"),
        ("<Project>/mixbridge_eq", "<Project>/../mixbridge_eq", "", "JSFX"),
        ("<Project>/mixbridge_eq", "loser/3BandEQ", "", "JSFX"),
        ("4.5 ", "4.5e3 ", "FXCHAIN", "number"),
        ("4.5 ", "nan ", "FXCHAIN", "number"),
        ('FILE "Media/vox.wav"', 'FILE "Media/vox.wav', "", "quote"),
        ("VOLPAN", "VOLPAN -1 0 -1 -1 1\n    VOLPANX", '"Drums"', "out of range"),
        ("VOLPAN", "VOLPAN 1 0.5 1 -1 1\n    VOLPANX", '"Drums"', "pan law"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_line(
    edited: Callable[..., Path], old: str, new: str, after: str, words: str
) -> None:
    path = edited((old, new), after=after)
    with pytest.raises(SessionFileError, match=r"edited\.rpp: line \d+: .*" + words):
        read(path)


def test_other_plugins_are_named_and_refused_only_by_who_renders(edited: Callable[..., Path]) -> None:
    vst = '<VST "VST3: Thing (Maker)" Thing.vst3 0 "" 1{00} ""\n        AAAA\n      >\n      FLOATPOS 0 0 0 0'
    path = edited(("BYPASS 0 0 0", f"BYPASS 0 0 0\n      {vst}\n      BYPASS 0 0 0"), after='"Kit"')
    kit = read(path).channel("kit")
    assert [i.kind for i in kit.inserts] == ["vst3", "jsfx"]
    assert kit.inserts[0].plugin is not None and kit.inserts[0].plugin.name == "VST3: Thing (Maker)"


def test_missing_files_are_named(exported: Path, edited: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(SessionFileError, match="nowhere"):
        read_project(tmp_path / "nowhere.rpp")
    gone = edited(('"Media/vox.wav"', '"Media/gone.wav"'))
    with pytest.raises(AudioFileError, match=r"line \d+: .*gone\.wav"):
        read(gone)
    soundfile.write(tmp_path / "gone.wav", np.zeros((FRAMES, 2)), RATE_HZ)
    source = read_project(gone, media_folder=tmp_path).channels[-2].source
    assert source is not None and Path(source.file) == tmp_path / "gone.wav"


# ------------------------------------------------------------------------------ broken text


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("NAME kick", ["NAME", "kick"]),
        ('FILE "a b.wav" 1', ["FILE", "a b.wav", "1"]),
        ("NAME 'a \"b\"' `c`", ["NAME", 'a "b"', "c"]),
        ('X "" 1 # rest', ["X", "", "1"]),
        ('X "#1" ;rest', ["X", "#1"]),
        ('X "open', None),
        ("", []),
    ],
)
def test_lines_are_split_as_reaper_splits_them(line: str, tokens: list[str] | None) -> None:
    assert tokens_of(line) == tokens


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"hello", b"<REAPER_PROJECT 0.1\n", b"<ITEM\n>\n", b">\n", b"\x00\xff" * 50, b"<" * 500]
)
def test_what_is_not_a_project_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.rpp"
    path.write_bytes(content)
    with pytest.raises(SessionFileError, match=r"x\.rpp"):
        read_project(path)


def test_deep_nesting_and_huge_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep.rpp"
    path.write_text("<REAPER_PROJECT 0.1\n" + "<A\n" * 100_000)
    with pytest.raises(SessionFileError, match="line 101"):
        read_project(path)
    monkeypatch.setattr("mixbridge.exporters.reaper.read.MAX_FILE_BYTES", 10)
    with pytest.raises(SessionFileError, match="larger"):
        read_project(path)


def test_damaged_projects_are_read_or_refused_but_never_crash(exported: Path) -> None:
    data = exported.read_bytes()
    generator = random.Random(5)
    path = exported.with_name("fuzz.rpp")
    words = [b"-", b"1e9", b"9" * 400, b'"', b"<", b">", b"\xff", b"nan", b"-1", b"\n", b"{}", b"0,5"]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(400):
        broken = bytearray(data)
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(broken))
            end = min(at + generator.choice((0, 1, 3, 40)), len(broken))
            broken[at:end] = generator.choice(words) if generator.random() < 0.8 else b""
        path.write_bytes(broken)
        try:
            read(path)
            outcomes["read"] += 1
        except MixbridgeError as error:
            assert "fuzz.rpp" in str(error), error
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20, outcomes
