"""REAPER projects with plugins: what stands in the file is what the plugin stores, and sounds like the graph."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixbridge.bridge.errors import ExportError, ParameterError
from mixbridge.bridge.graph import MixGraph
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.hosting.state import decode_lsp_state
from mixbridge.bridge.processors.specs import spec_of
from mixbridge.bridge.suites import choose_profiles
from mixbridge.bridge.verify.locate import model_notes
from mixbridge.bridge.verify.realise import RenderOptions, render_chain
from mixbridge.exporters.chain import Chain, Insert
from mixbridge.exporters.formats import check_exports
from mixbridge.exporters.reaper.read import read_project
from mixbridge.exporters.reaper.stock import ReaEq
from mixbridge.exporters.reaper.stock_settings import stock_limits, to_stock
from mixbridge.exporters.reaper.vst_chunk import decode_vst_chunk, vst3_number
from mixbridge.exporters.session import Insert as SessionInsert
from mixbridge.exporters.vstpreset import decode_vstpreset

from .dsp import random_parameters
from .exports import export_pedalboard, export_reaper
from .mixes import assert_nulls, reference_render, write_stems
from .plugin_mixes import COMPRESSOR, EQ, GAIN, GATE, REVERB, WIDTH, dynamics_mix, linear_mix, mix_of, settings_of
from .rpp_rebuild import Tree, from_rpp
from .suites import installed

#: What plugins reach, as for pedalboard's chains.
LINEAR_NULL_DB, DYNAMICS_NULL_DB = -60.0, -40.0

RATE_HZ = 44100


@pytest.fixture(scope="module")
def pool() -> Iterator[PluginPool]:
    with PluginPool(workers=1) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def lsp() -> Path:
    """Folder of LSP's bundle."""
    return installed("lsp")


def ids(graph: MixGraph) -> list[str]:
    return [node.id for node in graph.nodes]


def blocks(tree: Tree) -> list[Tree]:
    """All VST blocks of a project, in the order of the file."""
    inside = [c for c in tree.children if isinstance(c, Tree)]
    return [b for c in inside for b in ([c] if c.name == "VST" else blocks(c))]


def exported(graph: MixGraph, root: Path, suites: str, pool: PluginPool, **options: str) -> Path:
    write_stems(graph, root / "stems", frames=RATE_HZ)
    return export_reaper(
        graph, stems_dir=root / "stems", folder=root / "out", suites=suites, pool=pool, **options  # type: ignore[arg-type]
    )  # fmt: skip


def inserts(chain: Chain) -> list[Insert]:
    return [insert for channel in chain.channels for insert in channel.inserts]


@pytest.mark.parametrize(("mix", "below_db"), [(linear_mix, LINEAR_NULL_DB), (dynamics_mix, DYNAMICS_NULL_DB)])
def test_the_project_rendered_by_its_plugins_sounds_like_the_graph(
    tmp_path: Path,
    pool: PluginPool,
    mix: type[linear_mix],
    below_db: float,  # type: ignore[valid-type]
) -> None:
    graph = mix(choose_profiles("lsp"), rate_hz=RATE_HZ)  # type: ignore[operator]
    path = exported(graph, tmp_path, "lsp", pool)
    assert all(len(line) < 4000 for line in path.read_bytes().split(b"\n"))
    chain = read_project(path, node_ids=ids(graph))
    kinds = {insert.id: insert.kind for insert in inserts(chain)}
    assert "vst3" in kinds.values()
    assert all(kind == "jsfx" or "gain" not in name for name, kind in kinds.items())
    rendered = render_chain(chain, path.parent, pool=pool, options=RenderOptions(threads=1))
    assert_nulls(rendered, reference_render(graph, tmp_path / "stems"), below_db=below_db)


def test_a_state_is_what_the_plugin_stores(tmp_path: Path, pool: PluginPool) -> None:
    """The same bytes as in the preset that the other exporter writes, whose readers are tested there."""
    profiles = choose_profiles("lsp")
    graph = mix_of(profiles, track=[("eq", EQ, 0.8)], bus=[("reverb", REVERB, 1.0)], master=[("gate", GATE, 1.0)])
    path = exported(graph, tmp_path, "lsp", pool)
    chain = export_pedalboard(graph, stems_dir=tmp_path / "stems", folder=tmp_path / "chain", suites="lsp", pool=pool)
    presets = {i.id: chain.parent / str(i.preset) for i in inserts(Chain.load(chain))}
    found = {i.id: base64.b64decode(i.state or "") for i in inserts(read_project(path, node_ids=ids(graph)))}
    assert set(found) == set(presets) == {"stem0/0", "bus/0", "master/0"}
    for insert_id in ("stem0/0", "master/0"):
        assert found[insert_id] == decode_vstpreset(presets[insert_id].read_bytes()).component
    named = [v for v in decode_lsp_state(found["bus/0"]).values() if isinstance(v, str) and v.endswith(".wav")]
    assert named == [str(f) for f in (path.parent / "ir").iterdir()]


def test_dry_and_wet_of_a_plugin_are_reapers_own(tmp_path: Path, pool: PluginPool) -> None:
    graph = mix_of(choose_profiles("lsp"), track=[("eq", EQ, 0.8)], bus=[("compressor", COMPRESSOR, 1.0)], master=[])
    text = exported(graph, tmp_path, "lsp", pool).read_text(encoding="utf-8")
    assert re.findall(r"^ *WET (\S+) (\S+)$", text, re.MULTILINE) == [("0.8", "0")]
    # It belongs to the effect above it, whose window data follow.
    assert re.search(r"> *\n *WET 0.8 0\n *FLOATPOS", text)


def test_what_a_suite_lacks_and_the_mixer_does_is_a_jsfx(tmp_path: Path, pool: PluginPool) -> None:
    installed("zam")
    saturation = settings_of("saturation", drive_db=12.0)
    graph = mix_of(
        choose_profiles("zam"),
        track=[("eq", EQ, 1.0), ("saturation", saturation, 0.5), ("imager", WIDTH, 1.0)],
        bus=[("gain_pan", GAIN, 1.0), ("compressor", COMPRESSOR, 1.0)],
        master=[],
    )
    path = exported(graph, tmp_path, "zam", pool, allow_unverified="yes")
    found = {insert.type or "plugin" for insert in inserts(read_project(path, node_ids=ids(graph)))}
    assert found >= {"eq", "saturation", "imager", "plugin"}
    assert len(blocks(from_rpp(path.read_text(encoding="utf-8")))) == 1


@pytest.mark.parametrize("system", ["linux", "windows", "macos"])
def test_class_ids_are_those_of_the_system_it_is_for(tmp_path: Path, pool: PluginPool, system: str) -> None:
    """ZamAudio's differ on Windows, LSP's do not; both are found again here, whatever the system."""
    installed("zam")
    suites = "compressor=zam,*=lsp"
    graph = mix_of(choose_profiles(suites), track=[("eq", EQ, 1.0), ("compressor", COMPRESSOR, 1.0)], bus=[], master=[])
    path = exported(graph, tmp_path, suites, pool, system=system, allow_unverified="yes")
    found = blocks(from_rpp(path.read_text(encoding="utf-8")))
    identities = [str(block.parameters[4]) for block in found]
    numbers, class_ids = zip(*(re.fullmatch(r"(\d+)\{(\w{32})\}", text).groups() for text in identities), strict=True)  # type: ignore[union-attr]
    assert [int(n) for n in numbers] == [vst3_number(c) for c in class_ids]
    assert class_ids[0].startswith("6473702070653873")
    assert class_ids[1].startswith("445046206173636C" if system == "windows" else "2046504473616C63")
    for block, number in zip(found, numbers, strict=True):
        assert decode_vst_chunk([str(line[0]) for line in block.children]).number == int(number)  # type: ignore[index]
    here = [i.plugin.class_id for i in inserts(read_project(path, node_ids=ids(graph))) if i.plugin is not None]
    assert here == [p.class_id for k in ("eq", "compressor") if (p := choose_profiles(suites)[k].plugin) is not None]


def test_other_laws_and_plugins_that_no_daw_runs_are_refused_with_what_fits(tmp_path: Path, pool: PluginPool) -> None:
    graph = mix_of({}, track=[("delay", settings_of("delay", tap1_level_db=-6.0), 1.0)], bus=[], master=[])
    with pytest.raises(ExportError, match=r"another law.*--plugins delay=jsfx,\*=lsp"):
        exported(graph, tmp_path, "lsp", pool)
    graph = mix_of({}, track=[("eq", EQ, 1.0)], bus=[], master=[])
    with pytest.raises(ExportError, match=r"runs in no DAW; use --plugins eq=jsfx,\*=pedalboard"):
        exported(graph, tmp_path, "pedalboard", pool)
    assert not (tmp_path / "out").exists()


def test_a_law_that_only_a_plugin_follows_may_be_searched_for_it() -> None:
    laws = {kind: profile.law for kind, profile in choose_profiles("lsp").items()}
    assert any(laws.values())
    check_exports(["reaper"], laws=laws, plugins="lsp")


# ------------------------------------------------------------------------ plugins that come with REAPER


def within(kind: str, random: np.random.Generator) -> dict[str, float]:
    """Random settings that REAPER's plugin can follow."""
    profile = choose_profiles("reaplugs")[kind]
    values = profile.clamp(random_parameters(spec_of(kind), random))
    # ReaEQ has none between these two.
    return values | ({"highpass_hz": max(values["highpass_hz"], 20.0)} if kind == "eq" else {})


@pytest.mark.parametrize("kind", ["eq", "compressor", "gate", "delay"])
@pytest.mark.parametrize("rate_hz", [44100, 48000, 96000])
def test_ranges_of_reapers_plugins_are_no_wider_than_their_states(kind: str, rate_hz: int) -> None:
    reach = stock_limits(kind, sample_rate_hz=rate_hz)
    profile = choose_profiles("reaplugs")[kind]
    for name in profile.spec.names:
        low, high = profile.allowed(name)
        # A high-pass below the plugin's lowest frequency becomes one there, or none.
        assert name == "highpass_hz" or reach[name][0] <= low <= high <= reach[name][1], name


@given(seed=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reapers_own_plugins_are_read_back_with_the_same_sound(
    seed: int, pool: PluginPool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the file says, computed by the reference; REAPER itself is not at hand."""
    random = np.random.default_rng(seed)
    root = tmp_path_factory.mktemp("stock")
    graph = mix_of(
        {},
        track=[("eq", within("eq", random), 0.8), ("compressor", within("compressor", random), 1.0)],
        bus=[("gate", within("gate", random), 1.0), ("gain_pan", GAIN, 1.0)],
        master=[("delay", within("delay", random), 0.3), ("reverb", REVERB, 0.2)],
    )
    path = exported(graph, root, "reaplugs", pool)
    names = [str(block.parameters[0]) for block in blocks(from_rpp(path.read_text(encoding="utf-8")))]
    assert names == [f"VST: {n} (Cockos)" for n in ("ReaDelay", "ReaGate", "ReaEQ", "ReaComp")]
    chain = read_project(path, node_ids=ids(graph))
    kinds = {insert.id: insert.kind for insert in inserts(chain)}
    assert [kinds[i] for i in ("stem0/0", "stem0/1", "bus/0", "master/0", "master/1")] == ["stock"] * 4 + ["jsfx"]
    rendered = render_chain(chain, path.parent, pool=pool, options=RenderOptions(threads=1))
    assert_nulls(rendered, reference_render(graph, root / "stems"), below_db=LINEAR_NULL_DB)
    assert model_notes(chain) == [
        "ReaComp, ReaDelay, ReaEQ, ReaGate: computed from the settings read back, not run; they run in their DAW alone"
    ]


@pytest.mark.parametrize(("frequency_hz", "bands"), [(12.0, 0), (18.0, 1), (25.0, 1)])
def test_a_high_pass_below_what_reaeq_has_becomes_the_nearest(frequency_hz: float, bands: int) -> None:
    values = settings_of("eq", highpass_hz=frequency_hz)
    state = to_stock(SessionInsert("e", "eq", values, 1.0), sample_rate_hz=RATE_HZ)
    assert isinstance(state, ReaEq)
    assert [max(frequency_hz, 20.0)] * bands == [b.frequency_hz for b in state.bands if b.enabled]


def test_what_reapers_plugins_cannot_do_is_refused_before_anything_is_written(tmp_path: Path, pool: PluginPool) -> None:
    graph = mix_of(
        {}, track=[("delay", settings_of("delay", tap1_level_db=-6.0, tap1_pan=0.5), 1.0)], bus=[], master=[]
    )
    with pytest.raises(ExportError, match=r"tap1_pan: 0.5 is outside 0 to 0, all that ReaDelay can do"):
        exported(graph, tmp_path, "reaplugs", pool)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ParameterError, match=r"run in REAPER only"):
        check_exports(["pedalboard"], laws={"eq": ""}, plugins="reaplugs")
