"""Freeverb, a law of the reverb: against pedalboard's own, decay and loudness, twin, JSFX, and beside our reverb."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pedalboard
import pytest
import scipy.signal
import soundfile
import torch

import mixbridge.presets.jsfx
from mixbridge.bridge.choices import ExportFormat
from mixbridge.bridge.console import build_console, load_console
from mixbridge.bridge.errors import ParameterError
from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Node, Processor, Stem
from mixbridge.bridge.hosting.jsfx.host import Effect, load_effect
from mixbridge.bridge.metrics import LOSS_RATE_HZ
from mixbridge.bridge.processors import freeverb
from mixbridge.bridge.processors.laws import KINDS, kind_of, law_of, type_and_law
from mixbridge.bridge.processors.reference import apply_processor
from mixbridge.bridge.processors.specs import MIX, REVERB
from mixbridge.bridge.processors.twins import TWINS, TwinSettings, make_twins
from mixbridge.bridge.profiles import reverb_response
from mixbridge.bridge.render import render_graph
from mixbridge.bridge.search.parameters import ConsoleParameters, plan_of
from mixbridge.bridge.suites import choose_profiles
from mixbridge.exporters.chain import Chain
from mixbridge.exporters.formats import check_exports
from mixbridge.exporters.reaper.effects import JSFX_FILES
from mixbridge.exporters.reaper.read import read_project

from .dsp import null_db, programme, random_parameters
from .eel import Effect as SlowEffect
from .eel import read_source
from .exports import export_pedalboard, export_reaper

LAW, KIND = "freeverb", "reverb:freeverb"
CPU = torch.device("cpu")


def settings(**changes: float) -> dict[str, float]:
    return REVERB.defaults() | {"level_db": 0.0, "high_decay_ratio": 1.0} | changes


def played(audio: np.ndarray, parameters: dict[str, float], *, rate_hz: int, law: str = LAW) -> np.ndarray:
    return apply_processor("reverb", audio, parameters=parameters, sample_rate_hz=rate_hz, law=law)


def impulse(seconds: float, rate_hz: int) -> np.ndarray:
    audio = np.zeros((2, int(seconds * rate_hz)))
    audio[:, 0] = 1.0
    return audio


# ------------------------------------------------------------------------- the reverberator


@pytest.mark.parametrize("rate_hz", [44100, 48000, 96000])
@pytest.mark.parametrize(
    ("decay_s", "high_decay_ratio", "width"), [(0.62, 0.9, 1.0), (2.0, 0.5, 0.4), (5.0, 0.1, 0.0), (1.0, 1.0, 1.0)]
)
def test_nulls_against_the_plugin_at_the_floor_of_single_precision(
    rate_hz: int, decay_s: float, high_decay_ratio: float, width: float
) -> None:
    parameters = settings(decay_s=decay_s, high_decay_ratio=high_decay_ratio, width=width, level_db=-3.0)
    audio = programme(seconds=1.5, rate_hz=rate_hz).astype(np.float32)
    plugin = pedalboard.Reverb(
        room_size=freeverb.room_size(decay_s),
        damping=freeverb.damping_share(decay_s, high_decay_ratio, sample_rate_hz=rate_hz),
        wet_level=freeverb.wet_level(decay_s) * 10 ** (-3 / 20),
        dry_level=0.0,
        width=width,
    )
    assert null_db(plugin(audio, rate_hz), played(audio, parameters, rate_hz=rate_hz)) < -110.0


def decay_s(response: np.ndarray, rate_hz: int, band_hz: tuple[float, float]) -> float:
    """RT60 from the slope between 5 and 35 dB below the start."""
    sos = scipy.signal.butter(2, band_hz, "bandpass", fs=rate_hz, output="sos")
    energy = np.sum(scipy.signal.sosfiltfilt(sos, response) ** 2, axis=0)
    left_db = 10 * np.log10(np.cumsum(energy[::-1])[::-1] / energy.sum())
    start, end = (int(np.argmax(left_db < level)) for level in (-5.0, -35.0))
    return 2.0 * (end - start) / rate_hz


@pytest.mark.parametrize("wanted_s", [0.7, 1.2, 4.0])
def test_decay_is_that_of_the_lows(wanted_s: float) -> None:
    response = played(impulse(1.3 * wanted_s, 44100), settings(decay_s=wanted_s), rate_hz=44100)
    # Combs of other lengths than the mean decay faster and slower: what is left is theirs that are slower.
    assert decay_s(response, 44100, (60.0, 500.0)) == pytest.approx(wanted_s, rel=0.08)


@pytest.mark.parametrize("rate_hz", [44100, 96000])
@pytest.mark.parametrize("ratio", [0.9, 0.6])
def test_high_decay_ratio_holds_at_its_frequency(rate_hz: int, ratio: float) -> None:
    around = (0.97 * freeverb.DAMPING_HZ, 1.03 * freeverb.DAMPING_HZ)
    wanted = settings(decay_s=2.0, high_decay_ratio=ratio)
    lows, highs = (
        decay_s(played(impulse(3.0, rate_hz), p, rate_hz=rate_hz), rate_hz, around)
        for p in (settings(decay_s=2.0), wanted)
    )
    assert highs / lows == pytest.approx(ratio, rel=0.05)


def test_damping_ends_where_that_of_the_plugin_does() -> None:
    shares = [freeverb.damping_share(0.8, ratio, sample_rate_hz=44100) for ratio in (1.0, 0.8, 0.3, 0.1)]
    assert shares[0] == 0.0 and 0.0 < shares[1] < 1.0 and shares[2:] == [1.0, 1.0]
    audio = programme(seconds=0.3)
    low, lower = (played(audio, settings(decay_s=0.8, high_decay_ratio=r), rate_hz=44100) for r in (0.3, 0.1))
    assert np.array_equal(low, lower)


@pytest.mark.parametrize("wanted_s", [0.7, 1.5, 4.0])
@pytest.mark.parametrize("width", [0.0, 1.0])
def test_it_is_about_as_loud_as_ours(wanted_s: float, width: float) -> None:
    noise = np.random.default_rng(1).standard_normal((2, 4 * 44100))
    noise = scipy.signal.sosfilt(scipy.signal.butter(2, (250, 4000), "bandpass", fs=44100, output="sos"), noise)
    parameters = settings(decay_s=wanted_s, width=width)
    theirs, ours = (float(np.mean(played(noise, parameters, rate_hz=44100, law=law) ** 2)) for law in (LAW, ""))
    assert abs(10 * np.log10(theirs / ours)) < 3.0


def test_the_response_that_convolution_plugins_load_is_the_reverb() -> None:
    parameters = settings(decay_s=0.7, pre_delay_ms=12.0, low_cut_hz=150.0, high_cut_hz=7000.0, width=0.6)
    response = reverb_response(parameters, sample_rate_hz=44100, law=LAW)
    audio = programme(seconds=2.0)
    found = np.stack([scipy.signal.oaconvolve(audio.mean(axis=0), taps)[: audio.shape[1]] for taps in response])
    assert null_db(found, played(audio, parameters, rate_hz=44100)) < -65.0


# ----------------------------------------------------------------------------------- twin


def twin_of(**settings_: float) -> torch.nn.Module:
    rates = TwinSettings.exact(sample_rate_hz=30000) if not settings_ else TwinSettings.for_search(**settings_)
    return TWINS["reverb"](rates, law_of(LAW, "reverb"))


def tensors(parameters: dict[str, float], dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {name: torch.tensor([value], dtype=dtype) for name, value in {**parameters, MIX.name: 1.0}.items()}


def test_the_longest_tail_does_not_fold_back() -> None:
    """A burst, then silence: what folded back would be heard before it."""
    audio = np.zeros((2, 3 * 30000), dtype=np.float32)
    audio[:, 45000:48000] = np.random.default_rng(3).standard_normal((2, 3000))
    twin = twin_of(sample_rate_hz=30000, design_rate_hz=30000)
    with torch.no_grad():
        out = twin(torch.tensor(audio)[None], **tensors(settings(decay_s=5.0)))[0].numpy()
    expected = played(audio, settings(decay_s=5.0), rate_hz=30000)
    assert np.abs(out[:, :45000]).max() < 10 ** (-60 / 20) * np.abs(expected).max()
    assert null_db(out, expected) < -70.0


@pytest.mark.parametrize("design_rate_hz", [44100, 48000])
def test_a_search_at_30_khz_hears_the_combs_of_the_session(design_rate_hz: int) -> None:
    parameters = settings(decay_s=1.1, high_decay_ratio=0.7, low_cut_hz=120.0)
    expected = np.fft.rfft(played(impulse(2.0, design_rate_hz), parameters, rate_hz=design_rate_hz))
    short = torch.tensor(impulse(2.0, 30000), dtype=torch.float32)[None]
    with torch.no_grad():
        out = twin_of(sample_rate_hz=30000, design_rate_hz=design_rate_hz)(short, **tensors(parameters))[0]
    band = slice(2 * 80, 2 * 12000)
    assert (
        null_db(*(np.concatenate([s.real, s.imag]) for s in (np.fft.rfft(out.numpy())[:, band], expected[:, band])))
        < -45.0
    )


@pytest.mark.parametrize("name", ["decay_s", "high_decay_ratio", "width", "level_db", "low_cut_hz"])
def test_gradient_agrees_with_a_finite_difference(name: str) -> None:
    values = settings(decay_s=1.3, high_decay_ratio=0.7, width=0.6, low_cut_hz=200.0)
    random = np.random.default_rng(1)
    audio, weights = (torch.tensor(random.standard_normal((1, 2, 9000))) for _ in range(2))
    twin = twin_of()

    def weighted(value: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = (weights * twin(audio, **{**tensors(values, torch.float64), name: value})).sum()
        return out

    centre = torch.tensor([values[name]], dtype=torch.float64, requires_grad=True)
    weighted(centre).backward()
    step = 1e-6
    with torch.no_grad():
        difference = (weighted(centre + step) - weighted(centre - step)) / (2 * step)
    assert centre.grad is not None
    assert float(centre.grad) == pytest.approx(float(difference), rel=1e-4)


def test_a_search_finds_its_way_back_from_more_damping_than_there_is() -> None:
    truth = settings(decay_s=0.9, high_decay_ratio=0.8)
    start = settings(decay_s=0.9, high_decay_ratio=0.2)
    audio = torch.tensor(programme(seconds=1.0, rate_hz=30000), dtype=torch.float32)[None]
    twin = twin_of(sample_rate_hz=30000, design_rate_hz=44100)
    with torch.no_grad():
        target = twin(audio, **tensors(truth))
    ratio = torch.tensor([start["high_decay_ratio"]], requires_grad=True)
    optimiser = torch.optim.Adam([ratio], lr=0.03)
    for _ in range(60):
        optimiser.zero_grad()
        (twin(audio, **{**tensors(start), "high_decay_ratio": ratio}) - target).square().mean().backward()
        optimiser.step()
    assert float(ratio.detach()) == pytest.approx(0.8, abs=0.03)


# ----------------------------------------------------------------------------------- JSFX


@pytest.fixture(scope="module")
def script() -> Path:
    return Path(str(mixbridge.presets.jsfx.__file__)).parent / JSFX_FILES[KIND]


@pytest.fixture(scope="module")
def effect(script: Path) -> Effect:
    return load_effect(script)


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000, 96000])
def test_the_jsfx_is_the_reference(effect: Effect, rate_hz: int) -> None:
    random = np.random.default_rng(rate_hz)
    audio = programme(seconds=0.4, rate_hz=rate_hz)
    for mix in (1.0, 0.37, 0.0):
        parameters = random_parameters(REVERB, random)
        expected = apply_processor("reverb", audio, parameters=parameters, sample_rate_hz=rate_hz, mix=mix, law=LAW)
        found = effect.render(audio, parameters | {"mix": mix}, sample_rate_hz=rate_hz)
        assert null_db(found, expected) < -150.0


def test_the_jsfx_has_the_sliders_of_the_reverb(script: Path) -> None:
    found = read_source(script).sliders
    for slider, parameter in zip(found, [*REVERB.parameters, MIX], strict=True):
        assert slider["name"] == parameter.name and float(slider["default"]) == parameter.default
        assert (float(slider["minimum"]), float(slider["maximum"])) == (parameter.minimum, parameter.maximum)
    hidden = [s["name"] for s in found if s["label"].startswith("-")]
    assert hidden == ["low_decay_ratio"], "REAPER hides a slider whose label begins with a hyphen"
    text = script.read_text(encoding="ascii")
    assert text.startswith("desc:Mixbridge Reverb") and max(map(len, text.splitlines())) <= 120
    assert all(str(n) in text for n in (*freeverb.COMBS, *freeverb.ALL_PASSES, freeverb.SPREAD))
    assert f"low_cut_hz > {REVERB.parameter('low_cut_hz').off_at:g}" in text


def moved(script: Path, start: dict[str, float], changes: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """A quarter of a second of a sine at 8 kHz with the first settings and another after sliders have moved."""
    audio = np.stack([np.sin(2 * np.pi * 150 * np.arange(2000) / 8000)] * 2)
    running = SlowEffect(script, sample_rate_hz=8000, values=[*start.values(), 1.0])
    before = running.process(audio)
    running.variables.update(changes)
    running.run("slider")
    return before, running.process(audio)


def test_the_jsfx_begins_with_empty_lines_when_it_is_switched_on(script: Path) -> None:
    before, after = moved(script, settings(level_db=-60.0), {"level_db": 0.0})
    assert not before.any()
    audio = np.stack([np.sin(2 * np.pi * 150 * np.arange(2000) / 8000)] * 2)
    # The level moves for 20 ms.
    assert null_db(after[:, 160:], played(audio, settings(), rate_hz=8000)[:, 160:]) < -150.0


@pytest.mark.parametrize("changes", [{"decay_s": 3.0}, {"high_decay_ratio": 0.3}, {"width": 0.0}, {"level_db": -60.0}])
def test_a_slider_of_the_jsfx_moves_without_a_jump(script: Path, changes: dict[str, float]) -> None:
    before, after = moved(script, settings(decay_s=0.7, width=1.0), changes)
    steps = np.abs(np.diff(np.concatenate([before, after], axis=1)))
    assert steps[:, 1990:2200].max() < 1.5 * steps[:, :1990].max()
    assert after[:, 200:].any() == ("level_db" not in changes)


# --------------------------------------------------------------------- two laws in a session


def test_kinds() -> None:
    assert kind_of("reverb", LAW) == KIND and kind_of("reverb") == kind_of("reverb", "") == "reverb"
    assert kind_of("gate", "lsp") == "gate", "a suite has one gate"
    assert type_and_law(KIND) == ("reverb", LAW) and type_and_law("gate") == ("gate", "")
    assert KIND in KINDS and len(set(KINDS)) == len(KINDS)
    for wrong in ("reverb:", "reverb:lsp", "gate:lsp", "eq:freeverb", "reverb:nonsense", "nonsense"):
        with pytest.raises(ParameterError):
            type_and_law(wrong)


@pytest.mark.parametrize(("suite", "there"), [("jsfx", True), ("lsp", True), ("pedalboard", True), ("zam", False)])
def test_a_choice_of_suites_has_it_beside_the_standard_reverb(suite: str, there: bool) -> None:
    chosen = choose_profiles(suite)
    assert chosen["reverb"].law == "" and (KIND in chosen) == there
    if there:
        assert chosen[KIND].law == LAW and chosen[KIND].suite == suite
        assert chosen[KIND].allowed("low_decay_ratio") == (1.0, 1.0)
    mixed = choose_profiles(f"reverb={suite},*=lsp")
    assert (KIND in mixed) == there and (not there or mixed[KIND].suite == suite)


def test_chosen_by_name_it_takes_the_place_of_the_standard_reverb() -> None:
    chosen = choose_profiles("reverb=pedalboard:reverb_freeverb,*=lsp")
    assert chosen["reverb"].law == LAW and chosen[KIND] == chosen["reverb"]


@pytest.fixture(scope="module")
def console_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("console") / "two.toml"
    returns = "".join(f'[[return]]\nname = "{n}"\nchain = ["{k}"]\n' for n, k in (("Hall", "reverb"), ("Room", KIND)))
    path.write_text(f'track = ["gain_pan"]\ngroup = []\nmaster = []\n{returns}', encoding="utf-8")
    return path


@pytest.mark.parametrize(("suite", "expected"), [("lsp", ["", LAW]), ("zam", [""]), (None, ["", LAW])])
def test_a_console_lays_it_out_where_the_suite_has_it(
    console_file: Path, suite: str | None, expected: list[str]
) -> None:
    laws = None if suite is None else {kind: p.law for kind, p in choose_profiles(suite).items()}
    graph = build_console(
        name="song",
        sample_rate_hz=44100,
        start_frame=0,
        frames=44100,
        stems=[Stem(id="voice", name="voice", file="voice.wav")],
        groups={},
        preset=load_console(str(console_file)),
        laws=laws,
    )
    reverbs = [p for p in graph.processors if p.type == "reverb"]
    assert [p.law for p in reverbs] == expected and len(graph.returns) == len(expected)
    assert len({p.id for p in graph.processors}) == len(graph.processors)


def test_a_console_with_an_unknown_law_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('track = ["reverb:nonsense"]\ngroup = []\nmaster = []\n', encoding="utf-8")
    with pytest.raises(ParameterError, match=r"wrong.toml: track: unknown law 'nonsense'"):
        load_console(str(path))


def two_reverbs(*, rate_hz: int) -> MixGraph:
    """A track that sends into two returns: our reverb and Freeverb."""
    nodes: list[Node] = [Stem(id="voice", name="voice", file="voice.wav")]
    edges = [Edge(source="voice", target="master")]
    for bus, law, wanted_s in (("hall", "", 0.8), ("room", LAW, 0.7)):
        parameters = settings(decay_s=wanted_s, high_decay_ratio=0.8, low_cut_hz=100.0, level_db=-6.0)
        parameters["high_cut_hz"] = 9000.0
        nodes += [Bus(id=bus, name=bus), Processor(type="reverb", id=f"{bus}/r", parameters=parameters, law=law)]
        edges += [Edge(source="voice", target=bus, send_db=-3.0), Edge(source=bus, target=f"{bus}/r")]
        edges.append(Edge(source=f"{bus}/r", target="master"))
    return MixGraph(name="two", sample_rate_hz=rate_hz, frames=rate_hz, nodes=[*nodes, Master()], edges=edges)


def test_the_engine_renders_both_with_twins_of_their_own() -> None:
    graph = two_reverbs(rate_hz=LOSS_RATE_HZ)
    audio = (0.3 * programme(seconds=1.0, rate_hz=LOSS_RATE_HZ)).astype(np.float32)
    parameters = ConsoleParameters(graph, device=CPU)
    plan = plan_of(graph)
    assert {kind: len(names) for kind, names in plan.names_by_type.items()} == {"reverb": 1, KIND: 1, "send": 2}
    twins = make_twins(TwinSettings.exact(sample_rate_hz=LOSS_RATE_HZ))
    with torch.no_grad():
        values = parameters.for_plan(plan, parameters.values())
        found = plan.render(twins, torch.tensor(audio)[None], values).numpy()
    expected = render_graph(parameters.to_graph(graph), lambda _stem: audio)
    assert null_db(found, expected) < -70.0
    assert [p.law for p in parameters.to_graph(graph).processors] == ["", LAW]


def test_limits_are_those_of_the_kind() -> None:
    limits = {kind: p.limits for kind, p in choose_profiles("pedalboard").items()}
    graph = two_reverbs(rate_hz=44100)
    short = [
        p.model_copy(update={"parameters": {**p.parameters, "decay_s": 0.2, "low_decay_ratio": 1.6}})
        if isinstance(p, Processor)
        else p
        for p in graph.nodes
    ]
    found = ConsoleParameters(graph.rebuilt(short, graph.edges), device=CPU, limits=limits).to_graph(graph)
    ours, theirs = (p.parameters for p in found.processors)
    assert ours["decay_s"] == pytest.approx(0.2) and ours["low_decay_ratio"] == pytest.approx(1.6)
    assert theirs["decay_s"] == pytest.approx(0.611) and theirs["low_decay_ratio"] == 1.0


@pytest.fixture
def stems(tmp_path: Path) -> Path:
    audio = 0.3 * programme(seconds=1.0)
    soundfile.write(tmp_path / "voice.wav", audio.T, 44100, subtype="FLOAT")
    return tmp_path


def test_both_are_exported_for_pedalboard(stems: Path) -> None:
    graph = two_reverbs(rate_hz=44100)
    path = export_pedalboard(graph, stems_dir=stems, folder=stems / "out", suites="pedalboard")
    inserts = {i.law: i for c in Chain.load(path).channels for i in c.inserts}
    used = {law: [s.name for branch in i.branches for s in branch.stages] for law, i in inserts.items()}
    assert used == {"": ["Convolution"], LAW: [*["HighpassFilter"] * 2, *["LowpassFilter"] * 2, "Reverb"]}


def test_both_are_exported_for_reaper_and_read_back(stems: Path) -> None:
    graph = two_reverbs(rate_hz=44100)
    path = export_reaper(graph, stems_dir=stems, folder=stems / "out")
    assert {f.name for f in (path.parent / "Effects").iterdir()} == {JSFX_FILES["reverb"], JSFX_FILES[KIND]}
    found = {i.law: i for c in read_project(path).channels for i in c.inserts}
    for node in graph.processors:
        insert = found[node.law]
        assert insert.type == "reverb" and insert.parameters == pytest.approx(node.parameters)


def test_formats_accept_it_where_it_can_be_realised() -> None:
    laws = {KIND: LAW, "reverb": ""}
    check_exports([ExportFormat.reaper], laws=laws, plugins="jsfx")
    check_exports([ExportFormat.reaper], laws={"reverb": LAW}, plugins="jsfx")
    check_exports([ExportFormat.pedalboard], laws=laws, plugins="pedalboard")
    with pytest.raises(ParameterError, match="gate"):
        check_exports([ExportFormat.reaper], laws={**laws, "gate": "lsp"}, plugins="jsfx")
