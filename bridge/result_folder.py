"""Names of what an analysis leaves in its folder; who writes and reads the files lives elsewhere."""

from __future__ import annotations

from pathlib import Path

FOLDER_SUFFIX = ".mixbridge"
GRAPH_FILE, MATCH_FILE, REPORT_FILE = "graph.json", "match.wav", "report.html"

#: What a stopped run needs to go on; gone when the run is complete.
UNFINISHED_FOLDER = ".unfinished"

#: The render of a session by the plugins that are written in it.
REAL_FILE = "real.wav"

#: Lists the sessions that were written and what they could not express.
EXPORT_FILE = "export.json"

#: What the processors met and did while the match was rendered; the report draws it.
TRACES_FILE = "traces.json"


def graph_file(path: Path) -> Path:
    """The graph file that a user means: the file itself, or that in the folder of an analysis."""
    return path / GRAPH_FILE if path.is_dir() else path
