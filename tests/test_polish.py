"""Polishing: what is kept lowers the loss as the plugins play it, and what is written plays what was promised."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from mixbridge.bridge.audio import write_wav
from mixbridge.bridge.errors import PluginCrashError, PluginError
from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Node, PanPoint, Processor, Provenance, Stem, VolumePoint
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.processors.reference import apply_processor
from mixbridge.bridge.processors.specs import spec_of
from mixbridge.bridge.suites import choose_profiles
from mixbridge.bridge.verify import polish
from mixbridge.bridge.verify.locate import find_jobs, open_job
from mixbridge.bridge.verify.polish_bench import Bench, SongLoss, edits
from mixbridge.bridge.verify.polish_moves import Prober, Surrogate, TwinShop, busiest_starts, room_of
from mixbridge.bridge.verify.polished import Polished
from mixbridge.bridge.verify.realise import RenderOptions, faded, send_gain
from mixbridge.bridge.verify.results import Verification
from mixbridge.bridge.verify.run import verify_paths
from mixbridge.bridge.verify.settings import VerifySettings
from mixbridge.bridge.verify.song import read_target
from mixbridge.cli_verify import verify
from mixbridge.exporters.formats import export_graph
from mixbridge.exporters.options import ExportOptions

from .dsp import null_db, programme
from .mixes import reference_render
from .suites import installed

RATE_HZ = 44100
SECONDS = 1.0

#: A promise is kept when the loss comes out within this.
SAME_LOSS = 1e-4


def processor(kind: str, node: str, *, suite: str = "jsfx", mix: float = 1.0, **values: float) -> Processor:
    """A node in the law of a suite, at its defaults but for `values`, inside what the suite's plugin can do."""
    profile = choose_profiles(suite).get(kind)
    parameters = spec_of(kind).defaults() | values
    if profile is None:
        return Processor(type=kind, id=node, mix=mix, parameters=parameters)
    return Processor(type=kind, id=node, mix=mix, law=profile.law, parameters=profile.clamp(parameters))


def graph_of(chains: dict[str, list[Processor]], *, sources: dict[str, str] | None = None) -> MixGraph:
    """One stem for every chain, all into the master, whose chain is named so."""
    stems = [name for name in chains if name != "master"]
    heads: dict[str, Node] = {name: Stem(id=name, name=name, file=f"{name}.wav") for name in stems}
    heads["master"] = Master()
    nodes = [node for name, head in heads.items() for node in (head, *chains.get(name, []))]
    ends = [[name, *(p.id for p in chains.get(name, [])), *(["master"] if name != "master" else [])] for name in heads]
    edges = [Edge(source=a, target=b) for chain in ends for a, b in pairwise(chain)]
    frames = round(SECONDS * RATE_HZ)
    provenance = Provenance(sources=sources or {})
    return MixGraph(
        name="song", sample_rate_hz=RATE_HZ, frames=frames, nodes=nodes, edges=edges, provenance=provenance
    )  # fmt: skip


def write_song(
    folder: Path,
    found: dict[str, list[Processor]],
    true: dict[str, list[Processor]],
    *,
    kind: str = "reaper",
    suite: str = "jsfx",
    route: Callable[[MixGraph], MixGraph] = lambda graph: graph,
) -> Path:
    """Stems, the mix of the true chains, and an analysis that found other ones, exported; `route` adds to both."""
    (folder / "stems").mkdir(parents=True)
    for number, name in enumerate(n for n in found if n != "master"):
        audio = 0.4 * programme(seconds=SECONDS, seed=number)
        soundfile.write(folder / "stems" / f"{name}.wav", audio.T, RATE_HZ, subtype="FLOAT")
    sources = {"mix": str(folder / "mix.wav"), "stems": str(folder / "stems")}
    graph = route(graph_of(found, sources=sources))
    write_wav(folder / "mix.wav", reference_render(route(graph_of(true)), folder / "stems"), sample_rate_hz=RATE_HZ)
    out = folder / "song.mixbridge"
    out.mkdir()
    graph.save(out / "graph.json")
    export_graph(
        graph,
        [kind],
        stems_dir=folder / "stems",
        folder=out,
        options=ExportOptions(plugins=suite, allow_unverified=True),
    )
    return out


def polished(folder: Path, **chosen: object) -> tuple[Verification, Polished]:
    settings = VerifySettings(polish=True, **chosen)  # type: ignore[arg-type]
    (result,) = verify_paths([folder], settings=settings)
    assert not result.error
    assert result.polished is not None
    return result, result.polished


def chains(*, off: float) -> dict[str, list[Processor]]:
    """Two tracks and a master; `off` detunes an EQ, a compressor and a fader."""
    return {
        "keys": [
            processor("eq", "keys-e", bell2_db=6.0 - 5.0 * off, bell3_db=-3.0),
            processor("gain_pan", "keys-g", gain_db=-2.0 + 1.5 * off, pan=-0.2),
            processor("imager", "keys-i", width=0.7),
        ],
        "bass": [processor("compressor", "bass-c", threshold_db=-30.0 + 8.0 * off, ratio=4.0, makeup_db=4.0)],
        "master": [processor("compressor", "m-c", threshold_db=-20.0, ratio=1.5)],
    }


@pytest.fixture(scope="module")
def detuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A REAPER session of a graph that is off; not to be changed."""
    return write_song(tmp_path_factory.mktemp("detuned"), chains(off=1.0), chains(off=0.0))


@pytest.fixture
def session(detuned: Path, tmp_path: Path) -> Path:
    """A copy of the session in which everything may be changed."""
    return Path(shutil.copytree(detuned, tmp_path / "song.mixbridge"))


@pytest.fixture
def perfect(tmp_path: Path) -> Path:
    """A session whose mix is what it plays."""
    right = {"bass": [processor("compressor", "bass-c", threshold_db=-30.0, ratio=4.0)], "master": []}
    return write_song(tmp_path / "perfect", right, right)


# ------------------------------------------------------------------------------- the whole


def test_a_detuned_session_gets_better_and_the_promise_is_kept(session: Path) -> None:
    before = (session / "graph.json").read_bytes()
    result, found = polished(session, polish_every_node=True, polish_trials=2)
    assert result.loss.real is not None and found.loss_before is not None and found.loss_after is not None
    assert found.loss_before == pytest.approx(result.loss.real, abs=SAME_LOSS)
    assert found.loss_after < 0.6 * found.loss_before
    assert (session / "graph.json").read_bytes() == before

    # Node by node the loss falls or stays.
    at = found.loss_before
    for node in found.nodes:
        assert node.loss_before == at
        assert node.loss_after < at if node.after else node.loss_after == at
        at = node.loss_after
    assert at == found.loss_after
    assert {n.id for n in found.nodes if n.after} >= {"keys-e", "bass-c"}

    # The new graph holds just these settings, and its session plays what was promised.
    old, new = MixGraph.load(session / "graph.json"), MixGraph.load(session / "graph.polished.json")
    assert found.graph == str(session / "graph.polished.json")
    changed = {n.id: n.after for n in found.nodes}
    for one, two in zip(old.processors, new.processors, strict=True):
        expected = {**one.parameters, "mix": one.mix, **changed[one.id]}
        assert expected == {**two.parameters, "mix": two.mix}
    assert "L_a" in new.provenance.notes[-1]
    (again,) = verify_paths([session / "polished"])
    assert again.path == found.session
    assert again.loss.real == pytest.approx(found.loss_after, abs=SAME_LOSS)
    # The session beside it is verified as before: nothing of the polished one gets in its way.
    assert [job.session.name for job in find_jobs(session)] == ["song.rpp"]


def test_the_same_seed_does_the_same_and_is_not_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A fader has no twin: random directions alone.
    wrong = {"keys": [processor("gain_pan", "keys-g", gain_db=-5.0, pan=0.4)], "master": []}
    right = {"keys": [processor("gain_pan", "keys-g", gain_db=-3.0, pan=0.1)], "master": []}
    one = write_song(tmp_path / "one", wrong, right)
    two = Path(shutil.copytree(one, tmp_path / "two" / "song.mixbridge"))
    _, first = polished(one, polish_every_node=True, polish_trials=6, seed=3)
    _, second = polished(two, polish_every_node=True, polish_trials=6, seed=3)
    assert first.nodes == second.nodes
    assert first.loss_after is not None and first.loss_before is not None
    assert first.loss_after < 0.9 * first.loss_before
    _, other = polished(two, polish_every_node=True, polish_trials=6, seed=4)
    assert other.nodes != second.nodes

    monkeypatch.setattr(Bench, "record", lambda *_a, **_k: pytest.fail("polished again"))
    assert polished(one, polish_every_node=True, polish_trials=6, seed=3)[1] == first
    # Without the option what was found stays in the result.
    (plain,) = verify_paths([one])
    assert plain.polished == first


def test_nothing_better_leaves_everything_as_it_is(perfect: Path) -> None:
    _, found = polished(perfect, polish_every_node=True, polish_trials=3)
    assert [(n.id, n.after, n.trials) for n in found.nodes] == [("bass-c", {}, 3)]
    assert found.loss_after == found.loss_before
    assert "nothing better" in found.note
    assert not found.graph and not found.session
    assert not list(perfect.glob("*polished*"))


def test_plugins_that_do_what_they_should_are_left_alone(perfect: Path) -> None:
    _, found = polished(perfect)
    assert found.nodes == () and "--polish-all" in found.note


def test_an_edited_session_is_refused(session: Path) -> None:
    project = session / "reaper" / "song.rpp"
    text = project.read_text()
    assert " -22 " in text
    project.write_text(text.replace(" -22 ", " -23 ", 1))
    _, found = polished(session, polish_every_node=True)
    assert "not polished" in found.note and "bass-c" in found.note and "export it again" in found.note
    assert not list(session.glob("graph.polished*"))


def test_a_missing_target_is_said(session: Path) -> None:
    graph = MixGraph.load(session / "graph.json")
    graph.provenance.sources.clear()
    graph.save(session / "graph.json")
    assert "no target" in polished(session, polish_every_node=True)[1].note


def test_a_plugin_that_fails_costs_its_node_only(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play = Bench.play

    def failing(bench: Bench, node: Processor) -> float:
        if node.id == "keys-g":
            raise PluginCrashError("Gain: crashed twice")
        return play(bench, node)

    monkeypatch.setattr(Bench, "play", failing)
    monkeypatch.setattr(polish, "nodes_to_polish", lambda *_a, **_k: ["keys-g", "bass-c"])
    monkeypatch.setattr(polish, "export_reaper", lambda *_a, **_k: (_ for _ in ()).throw(PluginError("no stems")))
    _, found = polished(session, polish_every_node=True, polish_trials=2)
    assert ["crashed twice" in n.note for n in found.nodes] == [True, False]
    assert found.nodes[0].after == {} and found.nodes[1].after
    # The graph is there all the same, with the command that makes a session of it.
    assert found.graph and not found.session
    assert f"mixbridge export {found.graph} STEMS --export reaper" in found.note


def test_the_command_says_what_it_wrote(perfect: Path, session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    app.command()(verify)
    monkeypatch.setattr(polish, "nodes_to_polish", lambda *_a, **_k: ["bass-c"])
    done = CliRunner().invoke(app, [str(session), "--polish-all", "--polish-trials", "1", "--seed", "1"])
    assert done.exit_code == 0, done.output
    assert "polished, L_a" in done.stdout and "(bass-c)" in done.stdout
    assert str(session / "graph.polished.json") in done.stdout
    done = CliRunner().invoke(app, [str(perfect), "--polish", "--polish-trials", "1", "--json"])
    (result,) = json.loads(done.stdout)
    assert result["polished"]["trials"] == 1 and result["polished"]["graph"] == ""


# ------------------------------------------------------------------------------- real plugins


def test_a_real_compressor_is_polished(tmp_path: Path) -> None:
    installed("zam")

    def compressed(threshold_db: float) -> dict[str, list[Processor]]:
        node = processor("compressor", "bass-c", suite="zam", threshold_db=threshold_db, ratio=4.0, makeup_db=3.0)
        return {"bass": [node], "master": []}

    out = write_song(tmp_path / "zam", compressed(-22.0), compressed(-28.0), kind="pedalboard", suite="zam")
    _, found = polished(out, polish_every_node=True, polish_trials=3, allow_unverified=True)
    assert found.loss_before is not None and found.loss_after is not None
    assert found.loss_after < 0.7 * found.loss_before
    # ZamCompX2's knee is fixed.
    assert "knee_db" not in found.nodes[0].after
    (again,) = verify_paths([out / "polished"], settings=VerifySettings(allow_unverified=True))
    assert again.path == found.session
    assert again.loss.real == pytest.approx(found.loss_after, abs=SAME_LOSS)


def test_another_reverb_is_polished_without_its_twin(tmp_path: Path) -> None:
    installed("dragonfly")
    suite = "reverb=zam:reverb_plate,*=pedalboard"

    def wet(level_db: float) -> dict[str, list[Processor]]:
        values = {"pre_delay_ms": 60.0, "decay_s": 0.8, "high_decay_ratio": 0.8}
        node = processor("reverb", "keys-r", suite=suite, mix=0.5, level_db=level_db, **values)
        return {"keys": [node], "master": []}

    out = write_song(tmp_path / "plate", wet(-24.0), wet(-6.0), kind="pedalboard", suite=suite)
    # It nulls nowhere, so that it is among the worst nodes without being asked for.
    result, found = polished(out, polish_trials=6, allow_unverified=True)
    assert result.nodes[0].id == "keys-r" and result.nodes[0].null_db is not None
    assert found.loss_before is not None and found.loss_after is not None
    assert found.loss_after < found.loss_before - 0.005
    profile = choose_profiles(suite)["reverb"]
    for name, value in found.nodes[0].after.items():
        low, high = (0.0, 1.0) if name == "mix" else profile.allowed(name)
        assert low <= value <= high, name


# ------------------------------------------------------------------------------- the parts


def shared_return(graph: MixGraph) -> MixGraph:
    """The same with a group for the bass, a return that all channels send to, and riding faders."""
    rides = {
        "keys": [VolumePoint(time_s=0.0, gain_db=-3.0), VolumePoint(time_s=0.8, gain_db=2.0)],
        "hall": [VolumePoint(time_s=0.5, gain_db=0.0), VolumePoint(time_s=0.9, gain_db=-9.0)],
    }
    nodes: list[Node] = [*graph.nodes, Bus(id="group", name="group"), Bus(id="hall", name="hall")]
    nodes += [
        processor("delay", "hall-d", tap1_level_db=-2.0, tap1_time_ms=60.0),
        processor("compressor", "hall-c", threshold_db=-30.0, ratio=2.0),
    ]
    nodes = [n.model_copy(update={"volume": rides[n.id]}) if n.id in rides else n for n in nodes]
    edges = [e.model_copy(update={"target": "group"}) if e.source == "bass-c" else e for e in graph.edges]
    pairs = [("hall", "hall-d"), ("hall-d", "hall-c"), ("hall-c", "master"), ("group", "master")]
    edges += [Edge(source=a, target=b) for a, b in pairs]
    swing = [PanPoint(time_s=0.2, pan=-0.5), PanPoint(time_s=0.9, pan=0.7)]
    nodes = [n.model_copy(update={"pan": swing}) if n.id in ("keys", "group") else n for n in nodes]
    sends = {("keys-i", "hall"): -4.0, ("bass-c", "hall"): -6.0, ("keys-i", "group"): -9.0, ("group", "hall"): -12.0}
    moving = [
        Edge(source=a, target=b, send_db=db, volume=rides["hall"] if (a, b) == ("keys-i", "hall") else [])
        for (a, b), db in sends.items()
    ]
    return graph.rebuilt(nodes, [*edges, *moving])


@pytest.fixture(scope="module")
def sending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detuned session with sends and automation; not to be changed."""
    return write_song(tmp_path_factory.mktemp("sending"), chains(off=1.0), chains(off=0.0), route=shared_return)


def test_trials_follow_sends_and_automation(sending: Path, tmp_path: Path) -> None:
    with bench_of(sending, ["keys-e", "bass-c", "hall-d"]) as bench:
        before = bench.record()
        graph = bench.graph
        for node_id, name in (("keys-e", "bell2_db"), ("bass-c", "makeup_db"), ("hall-d", "tap1_level_db")):
            node = bench.node(node_id)
            changed = node.model_copy(update={"parameters": {**node.parameters, name: node.parameters[name] - 3.0}})
            loss = bench.play(changed)
            assert bench.accept(changed, below=1e9) == pytest.approx(loss, abs=1e-6)
            assert loss != pytest.approx(before, abs=SAME_LOSS)
        assert bench.graph != graph
        graph = bench.graph
    graph.save(tmp_path / "graph.json")
    stems = Path(graph.provenance.sources["stems"])
    export_graph(graph, ["reaper"], stems_dir=stems, folder=tmp_path, options=ExportOptions(plugins="jsfx"))
    (again,) = verify_paths([tmp_path])
    assert again.loss.real == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("node_id", ["keys-e", "bass-c", "hall-d"])
def test_legs_are_all_ways_to_the_song(sending: Path, node_id: str) -> None:
    with bench_of(sending, [node_id]) as bench:
        bench.record()
        outs: dict[str, np.ndarray] = {}
        signal = bench.output_of(node_id)
        for leg in bench.legs(node_id):
            if leg.rest is not None:
                fed = (
                    send_gain(sends, frames=signal.shape[1], sample_rate_hz=RATE_HZ) * outs[feeder]
                    for feeder, sends in leg.feeders.items()
                )
                signal = leg.rest(slice(None)) + sum(fed)
            for insert in leg.inserts:
                signal = apply_processor(
                    insert.type, signal, parameters=insert.parameters, sample_rate_hz=RATE_HZ, mix=insert.mix
                )
            signal = outs[leg.channel.id] = faded(signal, leg.channel, sample_rate_hz=RATE_HZ)
        assert list(outs)[-1] == "master" and null_db(signal, bench.song()) < -80.0
        assert len(outs) == {"keys-e": 4, "bass-c": 4, "hall-d": 2}[node_id]


def test_edits_of_sends_and_automation_are_named(sending: Path) -> None:
    (job,) = find_jobs(sending)
    opened = open_job(job)
    assert edits(opened) == ""
    channels = list(opened.chain.channels)
    keys = next(i for i, c in enumerate(channels) if c.id == "keys")
    for update, words in (
        ({"sends": channels[keys].sends[:1]}, "other sends than in the graph"),
        ({"volume": ()}, "automation changed"),
        ({"pan_points": ()}, "automation changed"),
        ({"gain": 0.5}, "fader or pan moved"),
    ):
        changed = [*channels[:keys], channels[keys].model_copy(update=update), *channels[keys + 1 :]]
        chain = opened.chain.model_copy(update={"channels": tuple(changed)})
        assert edits(replace(opened, chain=chain)) == f"keys: {words}"


def bench_of(session: Path, nodes: list[str]) -> Bench:
    (job,) = find_jobs(session)
    opened = open_job(job)
    assert opened.graph is not None
    target = read_target(opened, Path(opened.graph.provenance.sources["mix"]))
    loss = SongLoss(target, sample_rate_hz=RATE_HZ)

    def no_pool() -> PluginPool:
        raise AssertionError("a JSFX needs no plugin worker")

    return Bench(opened, nodes, pool=no_pool, options=RenderOptions(), loss=loss)


def test_a_trial_plays_what_a_new_session_would(session: Path, tmp_path: Path) -> None:
    """A pan before a width becomes an insert; everything behind it is played again, and nothing is kept of it."""
    with bench_of(session, ["keys-g", "m-c"]) as bench:
        before = bench.record()
        node = bench.node("keys-g")
        wide = node.model_copy(update={"parameters": {"gain_db": 3.0, "pan": 0.5}})
        loss = bench.play(wide)
        assert loss != pytest.approx(before, abs=SAME_LOSS)
        assert bench.play(node) == pytest.approx(before, abs=1e-6)
        # Too high a bound, as if the plugin played something else the second time.
        assert bench.accept(wide, below=loss - 1e-3) is None
        assert bench.graph == MixGraph.load(session / "graph.json")
        assert bench.play(node) == pytest.approx(before, abs=1e-6)
        assert bench.accept(wide, below=loss + 1e-3) == pytest.approx(loss, abs=1e-6)
        # What comes behind is tried in the new song.
        behind = bench.node("m-c").model_copy(update={"mix": 0.5})
        second = bench.play(behind)
        bench.accept(behind, below=1e9)
        graph = bench.graph
    stems = Path(graph.provenance.sources["stems"])
    graph.save(tmp_path / "new" / "graph.json")
    export_graph(graph, ["reaper"], stems_dir=stems, folder=tmp_path / "new", options=ExportOptions(plugins="jsfx"))
    (again,) = verify_paths([tmp_path / "new"])
    assert again.loss.real == pytest.approx(second, abs=1e-5)


@pytest.mark.parametrize("routing", ["session", "sending"])
def test_the_surrogate_points_where_the_loss_falls(routing: str, request: pytest.FixtureRequest) -> None:
    with bench_of(request.getfixturevalue(routing), ["bass-c"]) as bench:
        before = bench.record()
        node = bench.node("bass-c")
        room = room_of(node, allowed=bench.realiser.allowed)
        surrogate = Surrogate(bench, "bass-c", room, shop=TwinShop(sample_rate_hz=RATE_HZ))
        assert surrogate.trusted
        goal = surrogate.descend(radius=0.05, steps=3)
        start = room.start(node)
        assert max(abs(goal[n] - start[n]) for n in start) <= 0.05 + 1e-9
        assert bench.play(room.moved(node, goal)) < before


def test_settings_that_switch_or_are_fixed_stay() -> None:
    node = processor("eq", "e", bell1_db=3.0, lowpass_hz=9000.0)
    room = room_of(node, allowed=lambda kind, name: (6.0, 6.0) if name == "bell4_db" else limits_of(kind, name))
    assert {"bell1_db", "bell1_hz", "bell1_q", "lowpass_hz", "bell2_db"} <= set(room.limits)
    # Off, at 0 dB, fixed by the plugin, wholly wet.
    assert not {"highpass_hz", "bell2_hz", "bell2_q", "bell4_db", "mix"} & set(room.limits)
    echo = processor("delay", "d", mix=0.5, tap1_level_db=-6.0)
    room = room_of(echo, allowed=limits_of)
    assert set(room.limits) == {"tap1_level_db", "tap1_pan", "mix"}
    moved = room.moved(echo, {"tap1_level_db": 2.0, "tap1_pan": room.start(echo)["tap1_pan"], "mix": 0.5})
    assert moved.parameters == {**echo.parameters, "tap1_level_db": 6.0} and moved.mix == 0.5
    silent = processor("reverb", "r", mix=0.5)
    assert set(room_of(silent, allowed=limits_of).limits) == {"mix"}


def limits_of(kind: str, name: str) -> tuple[float, float]:
    if name == "mix":
        return 0.0, 1.0
    parameter = spec_of(kind).parameter(name)
    return parameter.minimum, parameter.maximum


@pytest.mark.parametrize(
    ("losses", "share"),
    [((2.0, 1.0, 2.0), 0.0), ((3.0, 1.0, 1.0), 0.5), ((3.0, 2.0, 1.0), 2.0), ((1.0, 2.0, 3.0), -2.0)],
)
def test_the_parabola_leads_to_its_lowest_point(losses: tuple[float, float, float], share: float) -> None:
    node = processor("compressor", "c", threshold_db=-30.0, ratio=4.0)
    room = room_of(node, allowed=limits_of)
    prober = Prober(room, np.random.default_rng(1), 0.02)
    start = room.start(node)
    pair = prober.pair(start)
    found = prober.between(start, pair, losses)
    for name, at in start.items():
        assert abs(pair[1][name] - at) == pytest.approx(0.02) and pair[0][name] - at == pytest.approx(
            at - pair[1][name]
        )
        assert found[name] - at == pytest.approx(share * (pair[1][name] - at))


def test_windows_lie_where_the_signal_is() -> None:
    audio = np.zeros((2, 20 * 1000))
    audio[:, 7000:8000] = 1.0
    starts = busiest_starts(audio, sample_rate_hz=1000)
    assert len(starts) == 4 and starts == sorted(starts)
    # The second that sounds lies behind the warm-up of its window.
    assert any(start + 1 <= 7 < start + 4 for start in starts)
    assert busiest_starts(np.ones((2, 2500)), sample_rate_hz=1000) == [0]
    assert busiest_starts(np.ones((2, 500)), sample_rate_hz=1000) == [0]
