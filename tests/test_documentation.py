"""The documentation says what is so: commands run as shown, tables equal the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mido
import pytest
import scipy.signal
from pydantic import BaseModel

from mixbridge.bridge import graph as graph_module
from mixbridge.bridge import tempo as tempo_module
from mixbridge.bridge.errors import DawNotFoundError
from mixbridge.bridge.graph import MAX_FILE_BYTES, MixGraph
from mixbridge.bridge.hosting.lv2 import find_lv2
from mixbridge.bridge.processors.specs import CHAIN_ORDER, SPECS, Parameter
from mixbridge.bridge.suites import choose_profiles
from mixbridge.bridge.verify.daw.ardour import Ardour

from .conftest import SONG_RATE_HZ, SmallSong
from .suites import installed

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FORMAT_PAGE = (ROOT / "docs" / "graph-format.md").read_text(encoding="utf-8")

GUIDES = ("guide-for-musicians.md", "guide-for-researchers.md")

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND_TIMEOUT_S = 900


def fences(text: str, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(text) if kind == language]


def commands_in(text: str) -> list[str]:
    lines = [line for block in fences(text, "console") for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines), "console blocks hold one command a line"
    return [line.removeprefix("$ ") for line in lines]


def commands_to_run() -> list[str]:
    """Those of the README, then what the guides add, each once: the guides are read after the README."""
    texts = [README, *((ROOT / "docs" / name).read_text(encoding="utf-8") for name in GUIDES)]
    return list(dict.fromkeys(command for text in texts for command in commands_in(text)))


def environment() -> dict[str, str]:
    """Ours, with the commands of the running interpreter first, and no terminal to draw for."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}


def run(command: list[str], *, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{command} failed with exit code {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def can_install(suite: str) -> bool:
    try:
        installed(suite)
    except pytest.skip.Exception:
        return False
    return True


def has_ardour() -> bool:
    """Ardour, and the LV2 plugins that the README has it play."""
    uris = {p.plugin.class_id for p in choose_profiles("lsp-lv2").values() if p.plugin is not None}
    try:
        Ardour().find()
    except DawNotFoundError:
        return False
    return set(find_lv2(uris)) == uris


# ------------------------------------------------------------------------------------ README


def test_there_are_exactly_two_set_up_commands_and_make_knows_them() -> None:
    set_up = README.partition("## Set up")[2].partition("\n## ")[0]
    commands = [line for block in fences(set_up, "console") for line in block.splitlines()]
    assert commands == ["$ make demo", "$ make test"]
    for command in commands:
        plan = run([*command.removeprefix("$ ").split(), "--dry-run"], cwd=ROOT)
        assert "scripts/bootstrap.py" in plan


@pytest.mark.slow
def test_the_commands_of_the_readme_and_the_guides_run_as_shown(
    tmp_path: Path, make_small_song: Callable[..., SmallSong]
) -> None:
    bass = 0.6
    song = make_small_song(seconds=6.5, gains={"kick": 0.8, "snare": 0.5, "bass": bass})
    # Faders alone cannot make this mix: the session needs an effect.
    dark = scipy.signal.sosfilt(scipy.signal.butter(1, 1500, fs=SONG_RATE_HZ, output="sos"), song.stems["bass"])
    song.write_mix(song.mix + bass * (dark - song.stems["bass"]))
    (groups,) = fences(README, "yaml")
    (tmp_path / "groups.yaml").write_text(groups, encoding="utf-8")
    tempo = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000), mido.MetaMessage("marker", text="Verse")])
    mido.MidiFile(tracks=[tempo]).save(tmp_path / "song.mid")
    has_plugins = can_install("lsp")
    missing = [word for word, there in (("lsp", has_plugins), ("ardour", has_ardour())) if not there]
    commands = [c for c in commands_to_run() if c.startswith("mixbridge ") and not any(w in c for w in missing)]
    assert commands
    for command in commands:
        run(["bash", "-c", command], cwd=tmp_path)

    # What the README's table promises is there, and the first look is a part only.
    promised = re.findall(r"^\| `([\w./]+)` \|", README.partition("| file |")[2].partition("\n\n")[0], re.MULTILINE)
    assert len(promised) == 8
    for name in promised:
        path = tmp_path / "mix.mixbridge" / name
        assert path.is_file() or any(path.iterdir()), f"{name} is missing"
    whole = MixGraph.load(tmp_path / "mix.mixbridge" / "graph.json")
    assert MixGraph.load(tmp_path / "first-look.mixbridge" / "graph.json").frames < whole.frames
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["seed"] == 7
    assert {bus.name for bus in MixGraph.load(tmp_path / "grouped.mixbridge" / "graph.json").buses} == {
        "drums",
        "low end",
    }

    if has_plugins:
        (verified,) = (tmp_path / "lsp.mixbridge").rglob("verify.json")
        assert json.loads(verified.read_text(encoding="utf-8"))["verdict"] == "green"

    # "make demo" analyses the files that the demo song consists of.
    plan = run(["make", "demo", "--dry-run"], cwd=ROOT)
    parts = re.findall(r"(?<=\sdemo-song/)\S+", plan)
    assert len(parts) == 2
    assert all((tmp_path / "mixbridge-demo" / part).exists() for part in parts)

    one_graph, many_graphs = fences(README, "python")
    printed = run([sys.executable, "-c", one_graph], cwd=tmp_path)
    assert "kick" in printed
    assert "plain_sum" in printed
    printed = run([sys.executable, "-c", many_graphs], cwd=tmp_path)
    assert "first-look" in printed
    assert "GRAFX with" in printed


def test_the_readme_names_the_options_of_analyze() -> None:
    help_text = run([sys.executable, "-m", "mixbridge", "analyze", "--help"], cwd=ROOT)
    known = set(re.findall(r"--[a-z][a-z-]+", help_text)) - {"--help"}
    table = README.partition("| option |")[2].partition("\n\n")[0]
    assert set(re.findall(r"--[a-z][a-z-]+", table)) == known
    for command in commands_to_run():
        if command.startswith("mixbridge analyze"):
            assert set(re.findall(r"--[a-z][a-z-]+", command)) <= known, command


PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]


def anchors(text: str) -> set[str]:
    """What links may name in a page: its headings without marks, in lower case, joined by hyphens."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", GUIDES)
def test_no_command_of_a_guide_hides_where_it_is_not_run(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert len(re.findall(r"^\s*```console$", text, re.MULTILINE)) == len(fences(text, "console")) > 3


@pytest.mark.parametrize("page", sorted(PAGES))
def test_relative_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), target


# -------------------------------------------------------------------------- docs/graph-format


def section(heading: str) -> str:
    match = re.search(rf"^(#+) {re.escape(heading)}$", FORMAT_PAGE, re.MULTILINE)
    assert match, f"the page has no section {heading!r}"
    return re.split(r"^#+ ", FORMAT_PAGE[match.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def table_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("The graph", "MixGraph"),
        ("Volume automation", "VolumePoint"),
        ("Pan automation", "PanPoint"),
        ("Tempo", "TempoMap"),
        ("Tempo point", "TempoPoint"),
        ("Marker", "Marker"),
        *((name, name) for name in ("Stem", "Bus", "Master", "Processor", "Evidence", "Edge", "Provenance", "Loss")),
    ],
)
def test_every_field_of_the_format_is_documented(heading: str, model: str) -> None:
    kind: type[BaseModel] = getattr(graph_module, model, None) or getattr(tempo_module, model)
    names = [row[0].strip("`") for row in table_rows(section(heading))]
    assert len(names) == len(set(names))
    assert set(names) == set(kind.model_fields)


def read_parameter(cells: list[str]) -> Parameter:
    name, label, unit, low, high, default, scale, off = cells
    assert scale in ("linear", "log")
    return Parameter(
        name=name.strip("`"),
        label=label,
        default=float(default),
        minimum=float(low),
        maximum=float(high),
        unit=unit,
        scale="log" if scale == "log" else "linear",
        off_at=float(off) if off else None,
    )


@pytest.mark.parametrize("kind", list(SPECS))
def test_the_parameter_tables_equal_the_specifications(kind: str) -> None:
    spec = SPECS[kind]
    read = [read_parameter(row) for row in table_rows(section(f"`{spec.type}`: {spec.label}"))]
    assert [p.name for p in read] == list(spec.names)
    for shown, real in zip(read, spec.parameters, strict=True):
        for field in ("label", "unit", "scale", "minimum", "maximum", "off_at"):
            assert getattr(shown, field) == getattr(real, field), f"{real.name}: {field}"
        # Written with six digits.
        assert shown.default == pytest.approx(real.default, rel=1e-5)


def test_the_parameter_tables_are_all_and_in_the_order_of_a_chain() -> None:
    shown = re.findall(r"^### `(\w+)`: ", FORMAT_PAGE, re.MULTILINE)
    assert shown == list(CHAIN_ORDER)


def test_the_example_is_a_graph_and_uses_every_field() -> None:
    (text,) = fences(FORMAT_PAGE, "json")
    graph = MixGraph.from_json(text)
    assert MixGraph.from_json(graph.to_json()) == graph
    data = json.loads(text)
    assert set(data) == set(MixGraph.model_fields)
    assert set(data["tempo"]) == set(tempo_module.TempoMap.model_fields)
    assert all(set(point) == set(tempo_module.TempoPoint.model_fields) for point in data["tempo"]["points"])
    by_type = {node["type"]: set(node) for node in data["nodes"]}
    for kind, model in (("stem", "Stem"), ("bus", "Bus"), ("master", "Master"), ("compressor", "Processor")):
        assert by_type[kind] == set(getattr(graph_module, model).model_fields)


def test_the_limit_of_a_file_is_the_one_in_force() -> None:
    assert f"at most {MAX_FILE_BYTES // 2**20} MiB" in FORMAT_PAGE
