"""Sessions with real VST3 plugins as graphs again: the same settings and sound, edits included, or a name."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mixbridge.bridge.audio import read_comment
from mixbridge.bridge.choices import this_system
from mixbridge.bridge.errors import PluginNotFoundError, PluginSettingError, SessionFileError
from mixbridge.bridge.graph import MixGraph, Processor
from mixbridge.bridge.hosting import places
from mixbridge.bridge.hosting.pool import PluginPool, PluginSettings
from mixbridge.bridge.hosting.registry import find_plugin
from mixbridge.bridge.hosting.state import decode_lsp_state, encode_lsp_state
from mixbridge.bridge.import_session import Imported, import_session
from mixbridge.bridge.null_test import random_parameters
from mixbridge.bridge.processors.reference import delay_samples
from mixbridge.bridge.processors.specs import spec_of
from mixbridge.bridge.responses import Response, load_response
from mixbridge.bridge.suites import Profile, choose_profiles
from mixbridge.cli import app
from mixbridge.exporters.chain import Chain, Insert
from mixbridge.exporters.reaper.read import read_project
from mixbridge.exporters.reaper.vst_chunk import Vst3State, vst3_chunk
from mixbridge.exporters.vstpreset import decode_vstpreset, encode_vstpreset

from .exports import export_pedalboard, export_reaper
from .mixes import assert_nulls, reference_render, write_stems
from .plugin_mixes import COMPRESSOR, EQ, GAIN, REVERB, WIDTH, Node_, mix_of
from .suites import installed

LINEAR_NULL_DB, DYNAMICS_NULL_DB = -60.0, -40.0
RATE_HZ = 44100
LSP, WITH_ZAM = "lsp", "compressor=zam,gate=zam,*=lsp"
LINEAR, DYNAMICS = ("eq", "delay", "reverb"), ("compressor", "gate")

Values = dict[str, float | str]


@pytest.fixture(scope="module")
def pool() -> Iterator[PluginPool]:
    with PluginPool(workers=1) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def suites() -> None:
    for suite in ("lsp", "zam"):
        installed(suite)


def project_of(graph: MixGraph, root: Path, pool: PluginPool, suites: str = LSP) -> Path:
    write_stems(graph, root / "stems")
    return export_reaper(
        graph, stems_dir=root / "stems", folder=root / "out", suites=suites, pool=pool, allow_unverified=True
    )


def chain_of(graph: MixGraph, root: Path, pool: PluginPool, suites: str = LSP) -> Path:
    write_stems(graph, root / "stems")
    return export_pedalboard(
        graph, stems_dir=root / "stems", folder=root / "out", suites=suites, pool=pool, allow_unverified=True
    )


def one(kind: str, parameters: Mapping[str, float], suites: str = LSP) -> MixGraph:
    return mix_of(choose_profiles(suites), track=[(kind, parameters, 0.7)], bus=[], master=[])


def processor(imported: Imported, kind: str) -> Processor:
    [found] = [p for p in imported.graph.processors if p.type == kind]
    return found


def plugin_inserts(path: Path) -> list[Insert]:
    chain = Chain.load(path) if path.suffix == ".json" else read_project(path)
    return [i for c in chain.channels for i in c.inserts if i.kind == "vst3"]


def with_values(insert: Insert, pool: PluginPool, values: Values) -> bytes:
    """The state of a plugin in which an engineer changed some values."""
    assert insert.plugin is not None
    plugin = find_plugin(class_id=insert.plugin.class_id, name=insert.plugin.name, bundle=insert.plugin.bundle)
    now = pool.read_back(
        plugin, PluginSettings(state=base64.b64decode(insert.state or "")), sample_rate_hz=RATE_HZ
    )  # fmt: skip
    writable = {p.name for p in pool.describe(plugin).parameters if p.writable} - {"Current Program"}
    settings = {name: value for name, value in now.items() if name in writable} | values
    return pool.component_state(plugin, PluginSettings(values=settings), sample_rate_hz=RATE_HZ)


def put_state(path: Path, insert: Insert, component: bytes) -> None:
    """Exchange the state of a plugin in a project."""
    assert insert.plugin is not None
    before, after = (
        vst3_chunk(insert.plugin.class_id, Vst3State(data), system=this_system()).lines()
        for data in (base64.b64decode(insert.state or ""), component)
    )
    pattern = r"\n\s*".join(map(re.escape, before))
    text, count = re.subn(pattern, lambda _found: "\n".join(after), path.read_text(encoding="utf-8"))
    assert count == 1
    path.write_text(text, encoding="utf-8")


def edited(path: Path, pool: PluginPool, **values: float | str) -> Path:
    """A project of one plugin after an engineer turned some of its knobs."""
    [insert] = plugin_inserts(path)
    put_state(path, insert, with_values(insert, pool, {k.replace("_", " "): v for k, v in values.items()}))
    return path


# ------------------------------------------------------------------------ there and back


@st.composite
def plugin_graphs(draw: st.DrawFn, profiles: Mapping[str, Profile], kinds: tuple[str, ...]) -> MixGraph:
    """Mixes of random processors, each within what its profile allows."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))

    def chain() -> list[Node_]:
        found: list[Node_] = []
        for kind in draw(st.lists(st.sampled_from(kinds), max_size=2)):
            parameters = random_parameters(profiles[kind], random)
            if kind == "reverb":
                # A response takes as long to load as it lasts.
                parameters |= {"decay_s": float(random.uniform(0.2, 0.5)), "low_decay_ratio": 1.0}
            if "makeup_db" in parameters:
                parameters["makeup_db"] = float(random.uniform(0.0, 6.0))
            found.append((kind, parameters, draw(st.sampled_from([1.0, float(random.random())]))))
        return [*found, ("gain_pan", GAIN, 1.0)]

    return mix_of(profiles, track=chain(), bus=[("imager", WIDTH, 1.0), *chain()], master=chain())


def assert_same_settings(found: Processor, wanted: Processor, profile: Profile) -> None:
    """The plugin would be set alike: settings it lacks may differ."""
    assert (found.type, found.law) == (wanted.type, wanted.law)
    assert found.mix == pytest.approx(wanted.mix, abs=1e-9)
    there, back = (profile.settings(p.parameters, sample_rate_hz=RATE_HZ) for p in (wanted, found))
    sample_ms = 500.0 / RATE_HZ
    for name, value in there.items():
        if isinstance(value, str):
            assert back[name] == value, name
        else:
            # Single precision, and half a sample of a delay.
            close_ms = sample_ms if name.endswith(" time") else 1e-5
            assert back[name] == pytest.approx(value, rel=5e-6, abs=close_ms), name
    for name in profile.recipe[0].files and set(wanted.parameters) - {"level_db", "pre_delay_ms"}:
        assert found.parameters[name] == wanted.parameters[name]


@pytest.mark.parametrize(
    ("export", "suites", "kinds", "null_db"),
    [
        pytest.param(project_of, LSP, LINEAR, LINEAR_NULL_DB, id="project-lsp-linear"),
        pytest.param(project_of, LSP, DYNAMICS, DYNAMICS_NULL_DB, id="project-lsp-dynamics"),
        pytest.param(project_of, WITH_ZAM, DYNAMICS, DYNAMICS_NULL_DB, id="project-zam-dynamics"),
        pytest.param(chain_of, LSP, LINEAR, LINEAR_NULL_DB, id="chain-lsp-linear"),
        pytest.param(chain_of, LSP, DYNAMICS, DYNAMICS_NULL_DB, id="chain-lsp-dynamics"),
    ],
)
def test_random_mixes_come_back(
    export: Callable[..., Path],
    suites: str,
    kinds: tuple[str, ...],
    null_db: float,
    pool: PluginPool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    profiles = choose_profiles(suites)

    @given(graph=plugin_graphs(profiles, kinds))
    # Smaller mixes say little more, and each takes seconds.
    @settings(
        max_examples=2 if kinds == LINEAR else 4,
        phases=[Phase.explicit, Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def check(graph: MixGraph) -> None:
        root = tmp_path_factory.mktemp("import")
        found = import_session(export(graph, root, pool, suites), pool=pool)
        assert found.notes == ()
        plugins = [[p for p in g.processors if p.type in kinds] for g in (found.graph, graph)]
        by_type = [sorted(listed, key=lambda p: (p.type, sorted(p.parameters.items())[0])) for listed in plugins]
        assert len(by_type[0]) == len(by_type[1])
        for channel in ("stem0", "bus", "master"):
            wanted = [p for p in graph.chain(channel) if p.type in kinds]
            name = graph.node(channel).name if export is project_of and channel != "master" else channel
            back = [p for p in found.graph.chain(name) if p.type in kinds]
            assert len(wanted) == len(back)
            for pair in zip(back, wanted, strict=True):
                assert_same_settings(*pair, profiles[pair[0].type])
        assert_nulls(
            reference_render(found.graph, found.stems_dir), reference_render(graph, root / "stems"), below_db=null_db
        )
        shutil.rmtree(root)

    check()


@pytest.mark.parametrize("name", ["reverb", "reverb_plate"])
def test_another_reverb_comes_back(name: str, tmp_path: Path, pool: PluginPool) -> None:
    installed("dragonfly")
    suites = f"reverb=zam:{name}"
    wanted = choose_profiles(suites)["reverb"].clamp(REVERB)
    found = import_session(project_of(one("reverb", wanted, suites), tmp_path, pool, suites), pool=pool)
    assert processor(found, "reverb").parameters == pytest.approx(wanted, rel=1e-5)


def test_both_laws_of_a_reverb_are_told_apart_by_the_response(tmp_path: Path, pool: PluginPool) -> None:
    graph = mix_of(choose_profiles(LSP), track=[("reverb", REVERB, 1.0)], bus=[("reverb", REVERB, 0.5)], master=[])
    nodes = [n.model_copy(update={"law": "freeverb"}) if n.id == "bus/0" else n for n in graph.nodes]
    path = project_of(MixGraph.model_validate({**graph.model_dump(), "nodes": nodes}), tmp_path, pool)
    # The folder may have been moved since.
    moved = path.parent.rename(tmp_path / "moved")
    found = [p for p in import_session(moved / path.name, pool=pool).graph.processors if p.type == "reverb"]
    assert {(p.law, p.mix) for p in found} == {("", 1.0), ("freeverb", 0.5)}
    assert all(p.parameters == pytest.approx(REVERB, rel=1e-6) for p in found)


# ------------------------------------------------------------------------ edits


@pytest.mark.parametrize(
    ("suites", "kind", "knob", "parameter", "wanted"),
    [
        (LSP, "compressor", {"Attack threshold": -21.0}, "threshold_db", -21.0),
        (WITH_ZAM, "compressor", {"Threshold": -21.0}, "threshold_db", -21.0),
        (LSP, "eq", {"Gain 1": 2.5}, "bell1_db", 2.5),
        (LSP, "eq", {"Filter type 3": "Off"}, "bell3_db", 0.0),
    ],
)
def test_what_an_engineer_turned_is_in_the_graph(
    suites: str, kind: str, knob: Values, parameter: str, wanted: float, tmp_path: Path, pool: PluginPool
) -> None:
    parameters = EQ if kind == "eq" else COMPRESSOR
    path = project_of(one(kind, parameters, suites), tmp_path, pool, suites)
    [insert] = plugin_inserts(path)
    put_state(path, insert, with_values(insert, pool, knob))
    found = processor(import_session(path, pool=pool), kind)
    assert found.parameters == pytest.approx(dict(parameters) | {parameter: wanted}, rel=1e-5, abs=1e-5)
    assert found.mix == pytest.approx(0.7)


def test_settings_that_the_profile_leaves_alone_are_refused_unless_they_only_show(
    tmp_path: Path, pool: PluginPool
) -> None:
    path = project_of(one("compressor", COMPRESSOR), tmp_path, pool)
    edited(path, pool, Pause_graph_analysis="on")
    found = import_session(path, pool=pool)
    assert found.notes == ("kick/in: Compressor Stereo: Pause graph analysis is on, which only changes its display, "
                           "and was left out",)  # fmt: skip
    edited(path, pool, Output_gain=3.0)
    with pytest.raises(PluginSettingError, match=r"a mix.rpp: kick/in: Compressor Stereo: Output gain is .*bypass"):
        import_session(path, pool=pool)


def test_a_bypassed_plugin_is_at_hand_or_left_out_but_never_in_the_way(tmp_path: Path, pool: PluginPool) -> None:
    path = project_of(one("compressor", COMPRESSOR), tmp_path, pool)
    head, found, rest = path.read_text(encoding="utf-8").partition("<VST ")
    assert found
    place = head.rindex("BYPASS 0")
    path.write_text(head[:place] + "BYPASS 1" + head[place + 8 :] + found + rest, encoding="utf-8")
    graph = import_session(path, pool=pool).graph
    assert not any(p.type == "compressor" for p in graph.processors)
    assert [p.processor.parameters for p in graph.pruned] == [COMPRESSOR]
    # What is refused otherwise is no obstacle here.
    imported = import_session(edited(path, pool, Output_gain=3.0), pool=pool)
    assert imported.graph.pruned == [] and "bypassed and was left out" in imported.notes[0]


def test_a_response_of_another_origin_is_refused(tmp_path: Path, pool: PluginPool) -> None:
    path = project_of(one("reverb", REVERB), tmp_path, pool)
    [file] = (path.parent / "ir").iterdir()
    samples, rate_hz = soundfile.read(file)
    comment = read_comment(file)
    for content, said, message in ((0.5 * samples, comment, "no longer the response"), (samples, "", "does not say")):
        with soundfile.SoundFile(file, "w", rate_hz, 2, "FLOAT") as written:
            if said:
                written.comment = said
            written.write(content)
        with pytest.raises(PluginSettingError, match=message):
            import_session(path, pool=pool)
    file.unlink()
    with pytest.raises(OSError, match=r"kick/in: .*no such file"):
        import_session(path, pool=pool)


def test_a_second_file_in_the_plugin_is_refused(tmp_path: Path, pool: PluginPool) -> None:
    path = project_of(one("reverb", REVERB), tmp_path, pool)
    [insert] = plugin_inserts(path)
    items = decode_lsp_state(base64.b64decode(insert.state or ""))
    put_state(path, insert, encode_lsp_state(items | {"ifn1": "/other.wav"}))
    with pytest.raises(PluginSettingError, match=r"loads /other.wav, which no profile does"):
        import_session(path, pool=pool)


# ------------------------------------------------------------------------ chains


def test_what_is_heard_of_a_chain_is_its_preset(tmp_path: Path, pool: PluginPool) -> None:
    path = chain_of(one("compressor", COMPRESSOR), tmp_path, pool)
    [insert] = plugin_inserts(path)
    preset = path.parent / str(insert.preset)
    held = decode_vstpreset(preset.read_bytes())
    state = insert.model_copy(update={"state": base64.b64encode(held.component).decode("ascii")})
    preset.write_bytes(encode_vstpreset(held.class_id, with_values(state, pool, {"Attack threshold": -21.0})))
    found = import_session(path, pool=pool)
    assert processor(found, "compressor").parameters["threshold_db"] == -21.0
    assert len(found.notes) == 1 and "Attack threshold was read from the preset" in found.notes[0]
    other = choose_profiles(LSP)["gate"].plugin
    assert other is not None
    preset.write_bytes(encode_vstpreset(other.class_id, held.component))
    with pytest.raises(SessionFileError, match="belongs to another plugin"):
        import_session(path, pool=pool)
    preset.unlink()
    with pytest.raises(SessionFileError, match="cannot read the preset"):
        import_session(path, pool=pool)


def test_a_plugin_that_is_not_here_is_named_or_its_values_are_read(
    tmp_path: Path, pool: PluginPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = one("compressor", COMPRESSOR)
    project = project_of(graph, tmp_path / "a", pool)
    chain = chain_of(graph, tmp_path / "b", pool)
    monkeypatch.setenv(places.HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setattr(places, "vst3_folders", lambda: [])
    with pytest.raises(PluginNotFoundError, match=r"a mix.rpp: kick/in: .*mixbridge plugins install lsp"):
        import_session(project, pool=pool)
    found = import_session(chain, pool=pool)
    assert processor(found, "compressor").parameters == COMPRESSOR
    assert "is not on this machine" in found.notes[0]


def test_values_alone_are_enough_without_the_plugin(tmp_path: Path) -> None:
    with PluginPool(workers=1) as pool:
        path = chain_of(one("compressor", COMPRESSOR), tmp_path, pool)
    text = re.sub(r'"preset": ".*?"', '"preset": null', path.read_text(encoding="utf-8"))
    path.write_text(text.replace('"Attack threshold": -24.0', '"Attack threshold": -21.0'), encoding="utf-8")
    found = processor(import_session(path, pool=pool), "compressor")
    assert found.parameters == pytest.approx(COMPRESSOR | {"threshold_db": -21.0})
    path.write_text(text.replace('"Ratio"', '"Retio"'), encoding="utf-8")
    with pytest.raises(PluginSettingError, match="nothing says what its Ratio is set to"):
        import_session(path, pool=pool)


# ------------------------------------------------------------------------ the rest


def test_a_response_says_what_made_it(tmp_path: Path) -> None:
    file = tmp_path / "r.wav"
    parameters = spec_of("reverb").check(REVERB | {"decay_s": 0.1 + 0.2})
    profile = choose_profiles(LSP)["reverb"]
    [samples] = profile.files(parameters, sample_rate_hz=RATE_HZ).values()
    Response(samples, parameters).save(file, sample_rate_hz=RATE_HZ)
    found = load_response(file)
    assert dict(found.parameters) == parameters | {"level_db": 0.0}
    np.testing.assert_allclose(found.samples, samples, atol=1e-7)
    assert soundfile.info(file).frames == samples.shape[1]
    assert delay_samples(found.parameters["pre_delay_ms"], sample_rate_hz=RATE_HZ) > 0


def test_the_command_reads_plugins(tmp_path: Path, pool: PluginPool) -> None:
    path = project_of(one("compressor", COMPRESSOR), tmp_path, pool)
    done = CliRunner().invoke(app, ["import", str(path), "--out", str(tmp_path / "g.json"), "--json"])
    assert done.exit_code == 0, done.stderr
    [found] = (p for p in MixGraph.load(tmp_path / "g.json").processors if p.type == "compressor")
    assert found.parameters == COMPRESSOR
    edited(path, pool, Sidechain_mode="RMS")
    done = CliRunner().invoke(app, ["import", str(path), "--out", str(tmp_path / "h.json")])
    assert done.exit_code == 2 and not (tmp_path / "h.json").exists()
    assert len(done.stderr.strip().splitlines()) == 1 and "Sidechain mode is RMS" in done.stderr
