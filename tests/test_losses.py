"""What a format cannot express: told on the terminal, noted in export.json, and refused with --strict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mixbridge.bridge.choices import ExportFormat
from mixbridge.bridge.errors import EXIT_USER_ERROR, ExportError
from mixbridge.bridge.graph import MixGraph
from mixbridge.cli import app
from mixbridge.exporters.formats import WRITERS, export_graph
from mixbridge.exporters.options import ExportOptions

from .mixes import write_stems
from .plugin_mixes import EQ, mix_of

WIDE = {"width": 1.5}


@pytest.fixture
def graph_path(tmp_path: Path) -> Path:
    """An EQ and a width: the second is unknown to DAWproject."""
    graph = mix_of({}, track=[("eq", EQ, 1.0)], bus=[("imager", WIDE, 1.0)], master=[])
    write_stems(graph, tmp_path / "stems")
    graph.save(tmp_path / "graph.json")
    return tmp_path / "graph.json"


def export(graph_path: Path, kind: str, *options: str):  # type: ignore[no-untyped-def] # of a package of typer's own
    return CliRunner().invoke(
        app, ["export", str(graph_path), str(graph_path.parent / "stems"), "--export", kind, *options]
    )


def test_losses_are_told_and_noted(graph_path: Path) -> None:
    done = export(graph_path, "dawproject")
    assert done.exit_code == 0, done.stderr
    assert "dawproject: lost: drums: " in done.stderr
    noted = json.loads((graph_path.parent / "export.json").read_text())["sessions"]["dawproject"]
    assert (graph_path.parent / noted["file"]).is_file()
    (loss,) = [loss for loss in noted["losses"] if loss["channel"] == "bus"]
    assert loss["node"] == "bus/0"
    assert loss["size_db"] == pytest.approx(3.5218, abs=1e-3), "1.5 is 3.5 dB more of the sides"


def test_a_session_that_loses_something_is_refused_and_not_written(graph_path: Path) -> None:
    done = export(graph_path, "dawproject", "--strict")
    assert done.exit_code == EXIT_USER_ERROR
    assert done.stderr.count("\n") == 1 and "--strict: would lose drums: " in done.stderr
    assert not (graph_path.parent / "dawproject").exists() and not (graph_path.parent / "export.json").exists()


def test_a_session_that_holds_everything_is_written_strictly(graph_path: Path) -> None:
    arguments = [
        "export",
        str(graph_path),
        str(graph_path.parent / "stems"),
        "--export",
        "reaper",
        "--strict",
        "--json",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    paths = json.loads(done.stdout)
    assert set(paths) == {"reaper", "record"}
    assert json.loads(Path(paths["record"]).read_text())["sessions"]["reaper"]["losses"] == []


def test_what_was_noted_of_other_formats_stays_while_they_are_there(graph_path: Path) -> None:
    folder, graph = graph_path.parent, MixGraph.load(graph_path)

    def noted(*formats: str) -> set[str]:
        written = export_graph(graph, formats, stems_dir=folder / "stems", folder=folder, options=ExportOptions())
        assert written.record is not None
        return set(json.loads(written.record.read_text())["sessions"])

    assert noted("reaper") == {"reaper"}
    assert noted("dawproject") == {"reaper", "dawproject"}
    next((folder / "dawproject").glob("*.dawproject")).unlink()
    assert noted("reaper") == {"reaper"}
    (folder / "export.json").write_text("{", encoding="utf-8")
    assert noted("reaper") == {"reaper"}


def test_strictness_names_how_much_more_there_is(graph_path: Path) -> None:
    graph = mix_of({}, track=[("imager", WIDE, 1.0)], bus=[("imager", WIDE, 1.0)], master=[("imager", WIDE, 1.0)])
    folder = graph_path.parent
    with pytest.raises(ExportError, match=r"would lose .* and 2 more"):
        export_graph(
            graph, ["dawproject"], stems_dir=folder / "stems", folder=folder, options=ExportOptions(strict=True)
        )


def test_every_format_on_offer_has_a_writer() -> None:
    assert [writer.format for writer in WRITERS.values()] == list(WRITERS)
    assert set(WRITERS) == set(ExportFormat)
