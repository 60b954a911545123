"""Reads two graph files and their stems and compares them; how is in `recovery`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .audio import Audio, as_stereo, probe, read_at_rate
from .errors import AudioFileError
from .graph import STEMS_SOURCE, MixGraph, Stem
from .recovery import Recovery, evaluate
from .render import StemLoader
from .result_folder import graph_file


def compare_files(found_path: Path, truth_path: Path, *, stems_dir: Path | None = None) -> Recovery:
    """Compare two graph files, listening to the stems.

    Parameters
    ----------
    found_path, truth_path : Path
        Graph files, or folders of an analysis that hold one.
    stems_dir : Path, optional
        Where the stems are; the folder that either graph was found from if not given.

    Raises
    ------
    GraphError
        If a file cannot be read or the graphs are not of the same stems.
    AudioFileError, AudioContentError
        If a stem is missing or cannot be used; the message names the file and the remedy.
    """
    found, truth = (MixGraph.load(graph_file(p)) for p in (found_path, truth_path))
    folder = stems_folder((truth, found), stems_dir, beside=truth_path.parent, how="with --stems")
    return evaluate(found, truth, load_stem=stem_loader(truth, folder))


def stems_folder(graphs: Sequence[MixGraph], chosen: Path | None, *, beside: Path, how: str) -> Path:
    """The folder with the stems of some graphs: the one that was chosen, else one that a graph was found from.

    Parameters
    ----------
    beside : Path
        Where a folder ``stems`` is looked for if no graph tells of one that is there.
    how : str
        How a user names it, such as "with --stems".

    Raises
    ------
    AudioFileError
        If there is no such folder.
    """
    noted = [g.provenance.sources.get(STEMS_SOURCE) for g in graphs]
    folder = chosen or next((Path(n) for n in noted if n and Path(n).is_dir()), beside / "stems")
    if not folder.is_dir():
        raise AudioFileError(f"{folder}: no such folder; say where the stems are {how}")
    return folder


def stem_loader(graph: MixGraph, stems_dir: Path) -> StemLoader:
    """A function that reads the stems of a graph from a folder as its session holds them, shape (2, frames)."""

    def load(stem: Stem) -> Audio:
        info = probe(stems_dir / stem.file)
        position = graph.position_samples(stem)
        length = graph.frames or info.frames * graph.sample_rate_hz // info.sample_rate_hz
        audio = read_at_rate(info, rate_hz=graph.sample_rate_hz, start_frame=-position, frames=length)
        return stem.polarity * as_stereo(audio)

    return load
