"""Pedalboard chains: the folder alone renders to what the graph sounds like, and is whole or not there."""

from __future__ import annotations

import ast
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixbridge.bridge.errors import (
    ExportError,
    OutputError,
    PluginNotFoundError,
    PluginUnverifiedError,
    ProfileError,
    SessionFileError,
)
from mixbridge.bridge.graph import MixGraph, Node, Processor
from mixbridge.bridge.hosting import places
from mixbridge.bridge.hosting.certificates import load_certificate, save_certificate
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.hosting.registry import find_plugin
from mixbridge.bridge.hosting.state import decode_lsp_state
from mixbridge.bridge.processors.specs import SPECS, spec_of
from mixbridge.bridge.suites import Profile, choose_profiles
from mixbridge.exporters import pedalboard_render
from mixbridge.exporters.chain import (
    Branch,
    Chain,
    Channel,
    Insert,
    PanPoint,
    PluginInfo,
    Send,
    Source,
    Stage,
    VolumePoint,
    in_signal_order,
)
from mixbridge.exporters.pedalboard import build_chain
from mixbridge.exporters.session import build_session
from mixbridge.exporters.vstpreset import decode_vstpreset, encode_vstpreset

from .dsp import null_db, random_parameters
from .exports import export_pedalboard
from .mixes import assert_nulls, reference_render, routed, write_stems
from .plugin_mixes import (
    COMPRESSOR,
    DELAY,
    EQ,
    GAIN,
    GATE,
    REVERB,
    WIDTH,
    Node_,
    dynamics_mix,
    linear_mix,
    mix_of,
)
from .suites import installed, link_suites

#: Arithmetic alone, with stems and mix in single precision.
EXACT_NULL_DB = -120.0
LINEAR_NULL_DB = -60.0
DYNAMICS_NULL_DB = -40.0

LINEAR_KINDS = tuple(kind for kind, spec in SPECS.items() if spec.linear)


# ----------------------------------------------------------------------------- material


def following(graph: MixGraph, profiles: Mapping[str, Profile]) -> MixGraph:
    """The same graph with every processor within the law and the limits of its profile."""

    def follow(node: Node) -> Node:
        if not isinstance(node, Processor):
            return node
        values = dict(node.parameters)
        if node.type == "eq":
            # Single precision costs the plugins' lowest and narrowest bands more than is asked for here.
            values |= {name: max(v, 300.0) for name, v in values.items() if name.endswith("_hz")}
            values |= {name: min(v, 3.0) for name, v in values.items() if name.endswith("_q")}
        profile = profiles[node.type]
        values = {name: min(max(v, profile.allowed(name)[0]), profile.allowed(name)[1]) for name, v in values.items()}
        return Processor(type=node.type, id=node.id, parameters=values, mix=node.mix, law=profile.law)

    return graph.model_copy(update={"nodes": [follow(node) for node in graph.nodes]})


@pytest.fixture
def exported(tmp_path: Path) -> Callable[..., Path]:
    """Export a graph whose stems are written first; returns the folder."""

    def export(graph: MixGraph, suites: str, **options: Any) -> Path:
        write_stems(graph, tmp_path / "stems", frames=graph.frames or graph.sample_rate_hz)
        chain = export_pedalboard(
            graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out", suites=suites, **options
        )
        assert chain == tmp_path / "out" / "chain.json"
        return chain.parent

    return export


def loader(bundles: Path) -> tuple[list[str], dict[str, str]]:
    """How a Python that can load these bundles is started: command and environment."""
    bundle = next(bundles.glob("*.vst3"))
    return [*places.loader_command(bundle), sys.executable], dict(os.environ) | places.loader_environment(bundle)


def run_script(
    folder: Path, *, bundles: Path | None = None, expect: int = 0, arguments: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run an export's render.py in a fresh process, as its README says; `bundles` is where the VST3s are."""
    command, environment = ([sys.executable], dict(os.environ)) if bundles is None else loader(bundles)
    if bundles is not None:
        arguments = ("--plugin-folder", str(bundles), *arguments)
    done = subprocess.run(
        [*command, "render.py", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == expect, done.stderr
    return done


def rendered(folder: Path, *, bundles: Path | None = None) -> np.ndarray:
    run_script(folder, bundles=bundles, arguments=("--out", "mix.wav"))
    audio, _ = soundfile.read(folder / "mix.wav", always_2d=True)
    return np.asarray(audio.T)


def rendered_here(folder: Path) -> np.ndarray:
    """The same without a new process; for mixes without VST3 plugins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pedalboard_render, "FOLDER", folder)
        return pedalboard_render.render(json.loads((folder / "chain.json").read_text(encoding="utf-8")), [])


# -------------------------------------------------------------------------------- proof


@given(graph=routed(allowed=("gain_pan", "gain_pan", "imager")))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_faders_pans_widths_sends_and_automation_are_exact(
    graph: MixGraph, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("a folder with blanks")
    write_stems(graph, root / "the stems")
    chain = export_pedalboard(graph, stems_dir=root / "the stems", folder=root / "out put", suites="pedalboard")
    expected = reference_render(graph, root / "the stems")
    assert_nulls(rendered_here(chain.parent), expected, below_db=EXACT_NULL_DB)
    shutil.rmtree(root)


@given(graph=routed(allowed=LINEAR_KINDS))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_built_ins_null_in_any_linear_graph(graph: MixGraph, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("linear")
    graph = following(graph, choose_profiles("pedalboard"))
    write_stems(graph, root / "stems")
    chain = export_pedalboard(graph, stems_dir=root / "stems", folder=root / "out", suites="pedalboard")
    assert_nulls(rendered_here(chain.parent), reference_render(graph, root / "stems"), below_db=LINEAR_NULL_DB)
    shutil.rmtree(root)


def test_render_py_reproduces_the_mix_in_a_fresh_process(exported: Callable[..., Path], tmp_path: Path) -> None:
    profiles = choose_profiles("pedalboard")
    graph = mix_of(
        profiles,
        track=[("eq", EQ, 0.8), ("imager", WIDTH, 1.0), ("gain_pan", GAIN, 1.0)],
        bus=[("delay", DELAY, 0.7), ("gain_pan", GAIN, 0.5)],
        master=[("reverb", REVERB, 0.3), ("eq", EQ, 1.0)],
    )
    folder = exported(graph, "pedalboard")
    assert_nulls(rendered(folder), reference_render(graph, tmp_path / "stems"), below_db=LINEAR_NULL_DB)


@pytest.mark.parametrize("rate_hz", [44100, 48000])
def test_built_in_dynamics_null(exported: Callable[..., Path], tmp_path: Path, rate_hz: int) -> None:
    profiles = choose_profiles("pedalboard")
    gate = dict(GATE) | {"range_db": 80.0}
    graph = mix_of(
        profiles,
        track=[("gate", gate, 1.0), ("gain_pan", GAIN, 1.0)],
        bus=[("compressor", COMPRESSOR, 0.6)],
        master=[("compressor", COMPRESSOR, 1.0)],
        rate_hz=rate_hz,
    )
    folder = exported(graph, "pedalboard")
    assert_nulls(rendered_here(folder), reference_render(graph, tmp_path / "stems"), below_db=DYNAMICS_NULL_DB)


def test_a_broken_level_is_noticed(exported: Callable[..., Path], tmp_path: Path) -> None:
    """The proofs above can fail: a fader that is wrong by 0.02 dB does not null."""
    graph = mix_of({}, track=[("gain_pan", GAIN, 1.0)], bus=[], master=[])
    folder = exported(graph, "pedalboard")
    expected = reference_render(graph, tmp_path / "stems")
    assert_nulls(rendered_here(folder), expected, below_db=EXACT_NULL_DB)
    data = json.loads((folder / "chain.json").read_text())
    data["channels"][0]["gain"] *= 10 ** (0.02 / 20)
    (folder / "chain.json").write_text(json.dumps(data))
    assert null_db(rendered_here(folder), expected) > LINEAR_NULL_DB


# -------------------------------------------------------------------------------- VST3


@pytest.fixture(scope="module")
def pool() -> Iterator[PluginPool]:
    with PluginPool(workers=1) as made:
        yield made


@pytest.fixture(scope="module")
def lsp() -> Path:
    """Folder of LSP's bundle."""
    return installed("lsp")


@pytest.fixture(scope="module")
def zam() -> Path:
    """Folder of ZamAudio's bundles."""
    return installed("zam")


def test_lsp_nulls_in_a_fresh_process_and_in_another_folder(
    exported: Callable[..., Path], tmp_path: Path, lsp: Path, pool: PluginPool
) -> None:
    graph = linear_mix(choose_profiles("lsp"), rate_hz=44100)
    folder = exported(graph, "lsp", allow_unverified=True, pool=pool)
    moved = tmp_path / "音 somewhere else" / "deep" / "down"
    moved.parent.mkdir(parents=True)
    folder.rename(moved)
    expected = reference_render(graph, tmp_path / "stems")
    assert_nulls(rendered(moved, bundles=lsp), expected, below_db=LINEAR_NULL_DB)


def test_lsp_dynamics_null_in_a_fresh_process(
    exported: Callable[..., Path], tmp_path: Path, lsp: Path, pool: PluginPool
) -> None:
    graph = dynamics_mix(choose_profiles("lsp"), rate_hz=48000)
    folder = exported(graph, "lsp", allow_unverified=True, pool=pool)
    expected = reference_render(graph, tmp_path / "stems")
    assert_nulls(rendered(folder, bundles=lsp), expected, below_db=DYNAMICS_NULL_DB)


def random_linear_mix(profiles: Mapping[str, Profile], seed: int) -> MixGraph:
    """Linear processors in random order with settings drawn over their ranges."""
    random = np.random.default_rng(seed)

    def chain() -> list[Node_]:
        kinds = [str(kind) for kind in random.permutation(LINEAR_KINDS)[: random.integers(1, 4)]]
        return [(kind, random_parameters(spec_of(kind), random), float(random.choice([1.0, 0.6]))) for kind in kinds]

    graph = mix_of({}, track=chain(), bus=chain(), master=chain(), rate_hz=(44100, 48000)[seed % 2])
    return following(graph, profiles)


@pytest.mark.parametrize("seed", [1])
def test_lsp_nulls_in_random_linear_graphs(
    exported: Callable[..., Path], tmp_path: Path, lsp: Path, pool: PluginPool, seed: int
) -> None:
    graph = random_linear_mix(choose_profiles("lsp"), seed)
    folder = exported(graph, "lsp", allow_unverified=True, pool=pool)
    expected = reference_render(graph, tmp_path / "stems")
    assert_nulls(rendered(folder, bundles=lsp), expected, below_db=LINEAR_NULL_DB)


#: Loads presets as any host does and writes down what the plugin then holds.
LOAD_PRESETS = """
import json, sys
from pathlib import Path
import pedalboard
pedalboard.VST3Plugin._get_parameters = lambda plugin: {}
found = {}
for line in json.loads(sys.argv[1]):
    plugin = pedalboard.VST3Plugin(line["bundle"], plugin_name=line["name"], initialization_timeout=0.0)
    plugin.load_preset(line["preset"])
    found[line["preset"]] = plugin.preset_data.hex()
Path(sys.argv[2]).write_text(json.dumps(found))
"""


def test_presets_are_what_a_fresh_process_reads(
    exported: Callable[..., Path], tmp_path: Path, lsp: Path, zam: Path, pool: PluginPool
) -> None:
    suites = "compressor=zam,*=lsp"
    profiles = choose_profiles(suites)
    graph = mix_of(
        profiles,
        track=[("eq", EQ, 1.0), ("compressor", COMPRESSOR, 1.0)],
        bus=[("reverb", REVERB, 1.0)],
        master=[("gate", GATE, 1.0)],
    )
    folder = exported(graph, suites, allow_unverified=True, pool=pool)
    inserts = [insert for channel in Chain.load(folder / "chain.json").channels for insert in channel.inserts]
    orders = [
        {
            "preset": str(folder / str(insert.preset)),
            "name": insert.plugin.name,
            "bundle": str((zam if insert.type == "compressor" else lsp) / insert.plugin.bundle),
        }
        for insert in inserts
        if insert.plugin is not None
    ]
    assert [Path(order["preset"]).name for order in orders] == [
        "01-kick_in-eq.vstpreset", "02-kick_in-compressor.vstpreset", "03-drums-reverb.vstpreset",
        "04-Master-gate.vstpreset",
    ]  # fmt: skip
    command, environment = loader(lsp)
    program = [*command, "-c", LOAD_PRESETS, json.dumps(orders), str(tmp_path / "found.json")]
    subprocess.run(program, env=environment, check=True, timeout=120, capture_output=True)
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found) == 4
    for name, data in found.items():
        written, read = decode_vstpreset(Path(name).read_bytes()), decode_vstpreset(bytes.fromhex(data))
        assert read.class_id == written.class_id
        assert read.component == written.component
    # Files are named where they lie now, so that other hosts find them too.
    reverb = decode_lsp_state(decode_vstpreset(Path(orders[2]["preset"]).read_bytes()).component)
    named = [Path(value) for value in reverb.values() if isinstance(value, str) and value.endswith(".wav")]
    assert named == [folder / file for file in inserts[2].files.values()] and all(path.is_file() for path in named)


@pytest.fixture
def zam_home(zam: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home with ZamAudio's plugins but no certificates."""
    assert zam.is_dir()
    link_suites(tmp_path / "home", "zam")
    monkeypatch.setenv(places.HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def test_plugins_are_certified_on_the_way(
    exported: Callable[..., Path], tmp_path: Path, zam_home: Path, zam: Path, pool: PluginPool
) -> None:
    profiles = choose_profiles("zam")
    graph = mix_of(profiles, track=[("compressor", COMPRESSOR, 1.0)], bus=[], master=[])
    folder = exported(graph, "zam", pool=pool)
    info = profiles["compressor"].plugin
    assert info is not None
    plugin = find_plugin(class_id=info.class_id, name=info.name, bundle=info.bundle)
    certificate = load_certificate(plugin)
    assert certificate is not None and certificate.passed
    expected = reference_render(graph, tmp_path / "stems")
    assert_nulls(rendered(folder, bundles=zam), expected, below_db=DYNAMICS_NULL_DB)
    shutil.rmtree(folder)
    save_certificate(plugin, certificate.model_copy(update={"passed": False, "reasons": ("it hums",)}))
    with pytest.raises(PluginUnverifiedError, match="hums"):
        exported(graph, "zam", pool=pool)
    assert not folder.exists()
    assert exported(graph, "zam", pool=pool, allow_unverified=True).is_dir()


def test_a_plugin_that_is_not_there_is_named(
    exported: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(places.HOME_VARIABLE, str(tmp_path / "empty"))
    monkeypatch.setattr(places, "system_vst3_folders", lambda: [])
    graph = mix_of(choose_profiles("lsp"), track=[("eq", EQ, 1.0)], bus=[], master=[])
    with pytest.raises(PluginNotFoundError, match="plugins install lsp"):
        exported(graph, "lsp")
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- what cannot be exported


def refusal(graph: MixGraph, suites: str) -> str:
    with pytest.raises(ExportError) as caught:
        build_chain(build_session(graph), graph, profiles=choose_profiles(suites), suites=suites)
    message = str(caught.value)
    assert "\n" not in message
    return message


def remedy_in(message: str) -> str:
    """What the message says to pass as --plugins instead."""
    return message.partition("use --plugins ")[2].split()[0].rstrip(",;")


def test_a_type_the_suite_lacks_is_named_with_a_choice_that_works() -> None:
    graph = mix_of(
        {}, track=[("gain_pan", GAIN, 1.0), ("reverb", REVERB, 1.0)], bus=[("reverb", REVERB, 1.0)], master=[]
    )
    message = refusal(graph, "eq=lsp,compressor=zam")
    assert "kick/in" in message and "stem0/1" in message and "Reverb" in message and "eq=lsp,compressor=zam" in message
    suites = remedy_in(message)
    chosen = choose_profiles(suites)
    assert (chosen["eq"].suite, chosen["compressor"].suite) == ("lsp", "zam")
    chain = build_chain(build_session(graph), graph, profiles=chosen, suites=suites)
    assert [i.type for c in chain.channels for i in c.inserts].count("reverb") == 2


def test_another_law_is_refused_with_a_choice_that_works() -> None:
    graph = mix_of({}, track=[("compressor", COMPRESSOR, 1.0)], bus=[], master=[])
    message = refusal(graph, "pedalboard")
    assert "stem0/0" in message and "law" in message and "pedalboard" in message
    suites = remedy_in(message)
    chosen = choose_profiles(suites)
    assert chosen["eq"].suite == "pedalboard" and chosen["compressor"].law == ""
    assert (
        build_chain(build_session(graph), graph, profiles=chosen, suites=suites).channels[0].inserts[0].kind == "vst3"
    )


def test_settings_beyond_the_plugin_are_refused() -> None:
    profiles = choose_profiles("pedalboard")
    graph = mix_of(profiles, track=[("compressor", dict(COMPRESSOR) | {"knee_db": 6.0}, 1.0)], bus=[], master=[])
    message = refusal(graph, "pedalboard")
    assert "stem0/0" in message and "knee_db" in message


def test_jsfx_are_refused_by_export_and_script(exported: Callable[..., Path], tmp_path: Path) -> None:
    graph = mix_of({}, track=[("eq", EQ, 1.0)], bus=[], master=[("gain_pan", GAIN, 1.0), ("imager", WIDTH, 1.0)])
    message = refusal(graph, "jsfx")
    assert "REAPER" in message and choose_profiles(remedy_in(message))["eq"].kind == "vst3"
    with pytest.raises(ExportError):
        exported(graph, "jsfx")
    assert not (tmp_path / "out").exists()
    # The host does gain, pan and width itself, whatever the suite.
    plain = mix_of({}, track=[("imager", WIDTH, 1.0)], bus=[], master=[])
    folder = exported(plain, "jsfx")
    insert = {"id": "x", "kind": "jsfx", "type": "eq", "mix": 1.0, "bypassed": False, "plugin": {"name": "eq.jsfx"}}
    data = json.loads((folder / "chain.json").read_text())
    data["channels"][0]["inserts"].append(insert)
    (folder / "chain.json").write_text(json.dumps(data))
    assert "jsfx" in run_script(folder, expect=1).stderr
    assert not (folder / "mix.wav").exists()


def test_an_unknown_suite_is_named(exported: Callable[..., Path], tmp_path: Path) -> None:
    graph = mix_of({}, track=[], bus=[], master=[])
    with pytest.raises(ProfileError, match="nosuch"):
        exported(graph, "nosuch")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------- folder


def test_the_folder_holds_what_its_chain_names(exported: Callable[..., Path]) -> None:
    graph = mix_of(choose_profiles("pedalboard"), track=[("reverb", REVERB, 1.0)], bus=[], master=[("eq", EQ, 1.0)])
    folder = exported(graph, "pedalboard")
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")}
    chain = Chain.load(folder / "chain.json")
    responses = {
        f for c in chain.channels for i in c.inserts for b in i.branches for s in b.stages for f in s.files.values()
    }
    (response,) = responses
    assert names == {"chain.json", "render.py", "README.txt", "audio/kick.wav", "audio/bass.wav", response}
    assert response.startswith("ir/01-kick_in-reverb")
    info = soundfile.info(folder / response)
    assert (info.subtype, info.samplerate, info.channels) == ("FLOAT", graph.sample_rate_hz, 2)
    assert [c.id for c in chain.channels] == ["stem0", "bus", "stem1", "master"]
    assert [c.parent for c in chain.channels] == ["bus", "master", "master", None]
    assert chain.suites == "pedalboard" and chain.frames == graph.frames
    readme = (folder / "README.txt").read_text()
    assert "render.py" in readme and "--plugin-folder" in readme and len(readme.splitlines()) == 2
    assert (folder / "render.py").read_bytes() == Path(str(pedalboard_render.__file__)).read_bytes()


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("rate_hz", [44100, 48000])
def test_stems_are_copied_linked_or_converted(tmp_path: Path, link: bool, rate_hz: int) -> None:
    graph = mix_of({}, track=[("gain_pan", GAIN, 1.0)], bus=[], master=[])
    write_stems(graph, tmp_path / "stems", rate_hz=rate_hz, frames=graph.frames)
    chain = export_pedalboard(
        graph, stems_dir=tmp_path / "stems", folder=tmp_path / "out", suites="pedalboard", link=link
    )
    assert_nulls(rendered_here(chain.parent), reference_render(graph, tmp_path / "stems"), below_db=EXACT_NULL_DB)
    linked = link and rate_hz == graph.sample_rate_hz
    assert (tmp_path / "out" / "audio").exists() != linked


def test_a_graph_without_a_length_lasts_as_long_as_its_stems(exported: Callable[..., Path]) -> None:
    graph = mix_of({}, track=[], bus=[], master=[])
    folder = exported(graph.model_copy(update={"frames": 0, "start_frame": 0}), "pedalboard")
    assert Chain.load(folder / "chain.json").frames == 500 + graph.sample_rate_hz
    with pytest.raises(ExportError, match="frames"):
        unknown = graph.model_copy(update={"frames": 0})
        build_chain(build_session(unknown), unknown, profiles={})


def test_an_earlier_export_is_replaced_and_added_files_stay(exported: Callable[..., Path]) -> None:
    profiles = choose_profiles("pedalboard")
    folder = exported(mix_of(profiles, track=[("reverb", REVERB, 1.0)], bus=[], master=[]), "pedalboard")
    (folder / "notes.txt").write_text("mine")
    (folder / "render.py").write_text("changed")
    exported(mix_of(profiles, track=[], bus=[], master=[]), "pedalboard")
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "render (kept 1).py").read_text() == "changed"
    assert not (folder / "ir").exists()


def test_a_failed_export_leaves_the_old_one(exported: Callable[..., Path], tmp_path: Path) -> None:
    graph = mix_of({}, track=[("gain_pan", GAIN, 1.0)], bus=[], master=[])
    folder = exported(graph, "pedalboard")
    before = (folder / "chain.json").read_bytes()
    with pytest.raises(ExportError):
        exported(mix_of({}, track=[("eq", EQ, 1.0)], bus=[], master=[]), "jsfx")
    assert (folder / "chain.json").read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not an export"):
        export_pedalboard(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "other", suites="pedalboard")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".partial")] == []


# --------------------------------------------------------------------------- chain.json


PANS = (PanPoint(time_s=0.0, pan=-1.0), PanPoint(time_s=1.0, pan=0.5))
POINTS = (VolumePoint(time_s=0.0, gain_db=-120.0), VolumePoint(time_s=1.5, gain_db=20.0))


def small_chain() -> Chain:
    """One insert of every kind, a send and automation."""
    plugin = PluginInfo(name="Compressor Stereo", bundle="a.vst3", class_id="0" * 32, version="1")
    branch = Branch(mono=True, stages=(Stage(name="Gain", values={"gain_db": 1.0}, files={"x": "ir/x.wav"}),), left=0.5)
    inserts = (
        Insert(id="a", type="compressor", kind="vst3", plugin=plugin, values={"Ratio": 2.0, "Mode": "Down"},
               preset="presets/01.vstpreset", files={"ifn0": "ir/1.wav"}, latency_samples=3, mix=0.5),
        Insert(id="b", type="eq", law="pedalboard", kind="builtin", branches=(branch,), parameters=dict(EQ)),
        Insert(id="c", kind="jsfx", plugin=PluginInfo(name="x.jsfx", bundle="Effects/x.jsfx"), bypassed=True),
        Insert(id="d", type="gain_pan", kind="mixer", parameters=dict(GAIN)),
    )  # fmt: skip
    source = Source(file="audio/kick 音.wav", offset_samples=-4, polarity=-1, channels=1)
    return Chain(
        name="x", sample_rate_hz=44100, frames=10, suites="lsp",
        channels=(
            Channel(id="k", name="kick", kind="track", parent="m", source=source, inserts=inserts, gain=0.3, pan=-1.0,
                    volume=VolumePoint.copies(POINTS), pan_points=PANS,
                    sends=(Send(target="r", gain=0.1, volume=VolumePoint.copies(POINTS)),)),
            Channel(id="r", name="room", kind="bus", parent="m"),
            Channel(id="m", name="Master", kind="master", volume=VolumePoint.copies(POINTS[:1])),
        ),
    )  # fmt: skip


def test_a_chain_survives_its_file(tmp_path: Path) -> None:
    chain = small_chain()
    chain.save(tmp_path / "chain.json")
    loaded = Chain.load(tmp_path / "chain.json")
    assert loaded == chain and loaded.to_json() == chain.to_json()


def test_a_chain_of_version_1_is_read(tmp_path: Path) -> None:
    """Its channels say nothing of sends and automation."""
    data = json.loads(small_chain().to_json())
    data["schema_version"] = 1
    for channel in data["channels"]:
        del channel["sends"], channel["volume"]
        channel.pop("pan_points", None)
    (tmp_path / "chain.json").write_text(json.dumps(data))
    loaded = Chain.load(tmp_path / "chain.json")
    bare = [c.model_copy(update={"sends": (), "volume": (), "pan_points": ()}) for c in small_chain().channels]
    assert loaded == small_chain().model_copy(update={"channels": tuple(bare)})


def test_a_chain_without_moving_pans_and_sends_says_nothing_of_them() -> None:
    channels = json.loads(small_chain().to_json())["channels"]
    assert ["pan_points" in c for c in channels] == [True, False, False]
    still = small_chain().channels[0].model_copy(update={"pan_points": (), "sends": (Send(target="r", gain=0.1),)})
    chain = small_chain().model_copy(update={"channels": (still, *small_chain().channels[1:])})
    (first, *_) = json.loads(chain.to_json())["channels"]
    assert "pan_points" not in first and first["sends"] == [{"target": "r", "gain": 0.1}]


@given(graph=routed(allowed=("gain_pan",)), random=st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_channels_stand_before_all_they_feed_whatever_their_order_was(graph: MixGraph, random: Random) -> None:
    chain = build_chain(build_session(graph, max_fader_db=math.inf), graph, profiles={})
    assert in_signal_order(chain.channels) == chain.channels
    assert Chain.model_validate_json(chain.to_json()) == chain
    shuffled = list(chain.channels)
    random.shuffle(shuffled)
    order = [c.id for c in in_signal_order(shuffled)]
    assert sorted(order) == sorted(c.id for c in shuffled)
    assert all(order.index(c.id) < order.index(target) for c in shuffled for target, _ in c.feeds())


def test_channels_that_feed_each_other_are_named() -> None:
    buses = [
        Channel(id=one, name=f"bus {one}", kind="bus", parent="m", sends=(Send(target=two, gain=1.0),))
        for one, two in ("ab", "ba")
    ]
    with pytest.raises(SessionFileError, match=r"bus a, bus b: .*; remove"):
        in_signal_order([*buses, Channel(id="m", name="Master", kind="master")])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["channels"][0].update(gain=-1.0), "channels.0.gain"),
        (lambda d: d["channels"][0]["sends"][0].update(target="nobody"), "channels.0.sends.0.target: 'nobody'"),
        (lambda d: d["channels"][0]["sends"][0].update(target="m"), "'m' is not a bus"),
        (lambda d: d["channels"][0]["sends"][0].update(gain=-0.1), "channels.0.sends.0.gain"),
        (lambda d: d["channels"][0]["sends"].append({"target": "r", "gain": 1.0}), "channels.0.sends"),
        (lambda d: d["channels"][2].update(sends=[{"target": "r", "gain": 1.0}]), "channels.2.sends"),
        (lambda d: d["channels"][0]["volume"].reverse(), "channels.0.volume"),
        (lambda d: d["channels"][0]["volume"][0].update(time_s=-1.0), "channels.0.volume.0.time_s"),
        (lambda d: d["channels"][0]["pan_points"].reverse(), "channels.0.pan_points"),
        (lambda d: d["channels"][0]["pan_points"][0].update(pan=-1.5), "channels.0.pan_points.0.pan"),
        (lambda d: d["channels"][0]["sends"][0]["volume"].reverse(), "channels.0.sends.0.volume"),
        (lambda d: d.update(schema_version=3), "schema_version: 3 is not supported"),
        (lambda d: d["channels"][0].update(parent="nobody"), "channels.0.parent"),
        (lambda d: d["channels"][0].update(source=None), "channels.0.source"),
        (lambda d: d["channels"][0]["inserts"][0].update(plugin=None), "channels.0.inserts.0"),
        (lambda d: d["channels"][0]["inserts"][0].update(mix=2.0), "channels.0.inserts.0.mix"),
        (lambda d: d["channels"][0]["inserts"][3].update(branches=[{}]), "channels.0.inserts.3"),
        (lambda d: d["channels"][0]["inserts"][0].update(type="phaser"), "phaser"),
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d.update(format="other"), "format"),
        (lambda d: d["channels"].reverse(), "master"),
    ],
)
def test_a_damaged_chain_names_the_field(tmp_path: Path, change: Callable[[Any], None], words: str) -> None:
    data = json.loads(small_chain().to_json())
    change(data)
    path = tmp_path / "chain.json"
    path.write_text(json.dumps(data))
    with pytest.raises(SessionFileError) as caught:
        Chain.load(path)
    assert words in str(caught.value) and str(path) in str(caught.value)


# ------------------------------------------------------------------------------- script


def test_the_script_stands_alone() -> None:
    source = Path(str(pedalboard_render.__file__)).read_text(encoding="utf-8")
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"numpy", "pedalboard", "soundfile"}


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_the_script_looks_where_the_system_keeps_plugins(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert pedalboard_render.standard_folders() == places.system_vst3_folders()


def test_the_script_says_what_is_missing(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = exported(mix_of({}, track=[], bus=[], master=[]), "pedalboard")
    data = json.loads((folder / "chain.json").read_text())
    plugin = {"name": "None", "bundle": "no-such-plugin.vst3", "class_id": "", "version": ""}
    insert = {"id": "x", "kind": "vst3", "plugin": plugin, "mix": 1.0, "bypassed": False}
    data["channels"][0]["inserts"].append(insert)
    (folder / "chain.json").write_text(json.dumps(data))
    message = run_script(folder, expect=1, arguments=("--plugin-folder", str(tmp_path / "there"))).stderr
    assert "no-such-plugin.vst3" in message and "--plugin-folder" in message and str(tmp_path / "there") in message
    assert "Traceback" not in message
    audio = folder / "audio" / "kick.wav"
    data["channels"][0]["inserts"][-1]["bypassed"] = True
    (folder / "chain.json").write_text(json.dumps(data))
    run_script(folder)
    assert soundfile.info(folder / "mix.wav").subtype == "FLOAT"
    soundfile.write(audio, np.zeros((100, 2)), 48000)
    assert "48000" in run_script(folder, expect=1).stderr
    audio.unlink()
    message = run_script(folder, expect=1).stderr
    assert "kick.wav" in message and "Traceback" not in message


def test_paths_in_presets_follow_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Long and short paths, each with lengths of one and two bytes, in a state as LSP writes it."""
    monkeypatch.setattr(pedalboard_render, "FOLDER", tmp_path)
    for old in ("/a.wav", "/" + "x" * 300 + ".wav"):
        length = bytes([len(old)]) if len(old) < 128 else bytes([len(old) & 127 | 128, len(old) >> 7])
        component = b"LSPS\x01\x00\x04ifn0" + length + old.encode() + b"\x03wet\x00\x00\x80?"
        preset = encode_vstpreset("A" * 32, component)
        moved = decode_vstpreset(pedalboard_render.preset_with_files(preset, {"ifn0": "ir/1.wav"}))
        new = str(tmp_path / "ir/1.wav").encode()
        assert len(new) < 128
        assert moved.component == b"LSPS\x01\x00\x04ifn0" + bytes([len(new)]) + new + b"\x03wet\x00\x00\x80?"
        assert moved.class_id == "A" * 32
