"""Renders a graph file and a folder of stems to audio files, as a whole or one channel alone; the DSP is `render`'s."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..exporters.names import safe_name, unused_name
from .audio import probe, resampled_frames, sample_peak_db, write_wav
from .channels import continued, find_channel, soloed
from .errors import OutputError
from .graph import MIX_SOURCE, MixGraph
from .processors.reference import Audio
from .recovery_files import stem_loader, stems_folder
from .render import render_graph
from .result_folder import graph_file

#: Called with the share done, 0 to 1, and the name of the channel that is rendered next.
Progress = Callable[[float, str], None]

#: Ending of the file that a render is written to where the user names none.
RENDER_SUFFIX = ".render.wav"


@dataclass(frozen=True)
class Rendered:
    """What was rendered and written.

    Attributes
    ----------
    path : Path
        The mix, 32-bit float: it may exceed full scale.
    channels : dict of str to Path
        The output of every channel by its id, where that was asked for.
    peak_db : float
        Highest sample of the mix (dBFS).
    """

    path: Path
    channels: dict[str, Path] = field(default_factory=dict)
    sample_rate_hz: int = 0
    frames: int = 0
    peak_db: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "file": str(self.path),
            "channels": {channel: str(path) for channel, path in self.channels.items()},
            "sample_rate_hz": self.sample_rate_hz,
            "frames": self.frames,
            "peak_db": self.peak_db if math.isfinite(self.peak_db) else None,
        }


def render_files(
    graph_path: Path,
    stems_dir: Path | None = None,
    *,
    out: Path | None = None,
    only: str = "",
    channels_dir: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Rendered:
    """Render a graph with the reference DSP and write the result.

    Parameters
    ----------
    graph_path : Path
        Graph file, or folder of an analysis that holds one.
    stems_dir : Path, optional
        Folder with the stems, by default that of the analysis; they are moved, inverted and resampled as the
        graph says.
    out : Path, optional
        WAV file to write; named like the song in the current folder if not given.
    only : str
        Id or name of a channel: what its solo button would leave, through its groups and the master.
        What is dynamic there hears this channel alone, so that solos of all tracks need not add up to the mix.
    channels_dir : Path, optional
        Also write the output of every channel into this folder.
    overwrite : bool
        Replace files of an earlier render.

    Raises
    ------
    GraphError, ParameterError
        If the graph cannot be read or has no such channel.
    AudioFileError, AudioContentError
        If a stem is missing or cannot be used.
    OutputError
        If a file exists already, is one of the sources or cannot be written.
    """
    graph = MixGraph.load(graph_file(graph_path))
    stems_dir = stems_folder((graph,), stems_dir, beside=graph_path.parent, how="behind the graph")
    graph = _with_length(graph, stems_dir)
    channel = find_channel(graph, only) if only else None
    label = "" if channel is None else f".{safe_name(channel.name, fallback=channel.id)}"
    path = out or Path(f"{safe_name(graph.name, fallback='song')}{label}{RENDER_SUFFIX}")
    heard = graph if channel is None else soloed(graph, channel.id)
    names = {} if channels_dir is None else _file_names(heard)
    files = {channel_id: (channels_dir or Path()) / name for channel_id, name in names.items()}
    _check_free((path, *files.values()), _sources(graph, stems_dir), overwrite=overwrite)
    run = _Run(heard, stems_dir, files, progress or (lambda _share, _words: None))
    if channel is not None and any(bus.id == channel.id for bus in graph.returns):
        mix = run.behind(channel.id)
    else:
        mix = run.whole()
    write_wav(path, mix, sample_rate_hz=graph.sample_rate_hz)
    return Rendered(path, run.written, graph.sample_rate_hz, mix.shape[-1], sample_peak_db(mix))


def _with_length(graph: MixGraph, stems_dir: Path) -> MixGraph:
    """The graph with its length; that of its longest stem where it does not say."""
    if graph.frames:
        return graph
    ends = []
    for stem in graph.stems:
        info = probe(stems_dir / stem.file)
        length = resampled_frames(info.frames, from_hz=info.sample_rate_hz, to_hz=graph.sample_rate_hz)
        ends.append(length + graph.position_samples(stem))
    return graph.model_copy(update={"frames": max(1, *ends)})


def _file_names(graph: MixGraph) -> dict[str, str]:
    taken: set[str] = set()
    return {c.id: unused_name(safe_name(c.name, fallback=c.id), taken) + ".wav" for c in graph.channels()}


def _sources(graph: MixGraph, stems_dir: Path) -> set[Path]:
    """Files that must never be written over: the stems, and the finished mix."""
    mix = graph.provenance.sources.get(MIX_SOURCE)
    return {(stems_dir / stem.file).resolve() for stem in graph.stems} | ({Path(mix).resolve()} if mix else set())


def _check_free(paths: Iterable[Path], sources: set[Path], *, overwrite: bool) -> None:
    """Refuse, before any work is done, files that cannot be written or whose content must not be lost."""
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in sources:
            raise OutputError(f"{path}: is a stem or the mix of this graph; choose another file with --out")
        if path.resolve() in seen:
            raise OutputError(f"{path}: both the mix and a channel would be written here; choose another --out")
        seen.add(path.resolve())
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file with --out")
        if path.exists() and not overwrite:
            raise OutputError(f"{path}: exists; add --overwrite or choose another file with --out")
        place = next(p for p in path.absolute().parents if p.exists())
        if not place.is_dir() or not os.access(place, os.W_OK):
            raise OutputError(f"{path}: cannot write here; choose another folder with --out")


class _Run:
    """One rendering, with the outputs of channels as they come."""

    def __init__(self, graph: MixGraph, stems_dir: Path, files: Mapping[str, Path], progress: Progress) -> None:
        self._graph, self._load, self._files = graph, stem_loader(graph, stems_dir), files
        self._progress, self._begun = progress, 0
        self.written: dict[str, Path] = {}

    def whole(self) -> Audio:
        return render_graph(self._graph, self._load, progress=self._on_begin, on_channel=self._on_channel)

    def behind(self, channel_id: str) -> Audio:
        """What a channel gives, alone on its further way."""
        outputs: dict[str, Audio] = {}

        def keep(rendered_id: str, output: Audio) -> None:
            if rendered_id == channel_id:
                outputs[rendered_id] = output

        render_graph(self._graph, self._load, progress=self._on_begin, on_channel=keep)
        rest = continued(self._graph, channel_id)
        return render_graph(rest, lambda _stem: outputs[channel_id], on_channel=self._on_channel)

    def _on_begin(self, name: str) -> None:
        self._progress(self._begun / sum(1 for _ in self._graph.channels()), name)
        self._begun += 1

    def _on_channel(self, channel_id: str, output: Audio) -> None:
        path = self._files.get(channel_id)
        if path is not None:
            write_wav(path, output, sample_rate_hz=self._graph.sample_rate_hz)
            self.written[channel_id] = path
