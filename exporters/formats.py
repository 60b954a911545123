"""All session formats: whether they can hold a graph, and writing it in several of them; no format's details here.

Another format is another `writer.Writer` in `WRITERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..bridge.choices import DEFAULT_SUITES, ExportFormat
from ..bridge.errors import ExportError, ParameterError
from ..bridge.graph import MIX_SOURCE, MixGraph
from ..bridge.hosting.registry import find_plugin
from ..bridge.processors.laws import kind_of
from ..bridge.result_folder import GRAPH_FILE
from ..bridge.strength import with_amounts
from ..bridge.suites import choose_profiles
from ..bridge.tempo import read_tempo_map
from . import pedalboard
from .ardour import writer as ardour
from .dawproject import writer as dawproject
from .losses import NotedLoss
from .options import ExportOptions
from .reaper import writer as reaper
from .record import record_exports
from .writer import ExportJob

WRITERS = {writer.format: writer for writer in (reaper.WRITER, ardour.WRITER, dawproject.WRITER, pedalboard.WRITER)}

#: Called with the name of what is about to be written.
Report = Callable[[str], None]


@dataclass(frozen=True)
class Exports:
    """What was written.

    Attributes
    ----------
    files : dict of str to Path
        The session file of every format.
    losses : dict of str to list of NotedLoss
        What each format could not express.
    record : Path or None
        export.json, which lists both; None where there was nothing to write.
    """

    files: dict[str, Path] = field(default_factory=dict)
    losses: dict[str, list[NotedLoss]] = field(default_factory=dict)
    record: Path | None = None

    def to_json(self) -> dict[str, str]:
        """The paths as plain data."""
        paths = self.files if self.record is None else self.files | {"record": self.record}
        return {kind: str(path) for kind, path in paths.items()}


def check_exports(formats: Sequence[str], *, laws: Mapping[str, str], plugins: str) -> None:
    """Refuse, before any work is done, formats that are unknown or cannot hold the processors, and missing plugins.

    Parameters
    ----------
    laws : mapping of kind (`laws.kind_of`) to the name of its law
        All kinds a search will use, or a graph has; the reference law is "".
    plugins : str
        The choice of suites (`suites.choose_profiles`).

    Raises
    ------
    ParameterError, ProfileError, PluginNotFoundError
    """
    profiles = choose_profiles(plugins)
    for kind in formats:
        if kind not in list(ExportFormat):
            raise ParameterError(f"--export {kind}: unknown format; choose one of {', '.join(ExportFormat)}")
        WRITERS[ExportFormat(kind)].check(laws, plugins)
        for used in (profiles[t].plugin for t in laws if t in profiles and profiles[t].kind == "vst3"):
            if used is not None:
                find_plugin(class_id=used.class_id, name=used.name, bundle=used.bundle)


def check_tempo_map(formats: Sequence[str]) -> None:
    """Refuse a tempo map for formats none of which can hold it.

    Raises
    ------
    ParameterError
    """
    able = [kind for kind, writer in WRITERS.items() if writer.holds_tempo]
    if not set(able) & set(formats):
        raise ParameterError(
            f"--tempo-map: {', '.join(formats)} has no tempo; leave it out or add --export {' or '.join(able)}"
        )


def export_again(
    graph_path: Path,
    formats: Sequence[str],
    *,
    stems_dir: Path,
    folder: Path | None = None,
    options: ExportOptions | None = None,
    amounts: Mapping[str, float] | None = None,
    tempo_map_path: Path | None = None,
    report: Report | None = None,
) -> Exports:
    """Write other sessions of a graph that was found before; see `export_graph` for what is not named here.

    Parameters
    ----------
    graph_path : Path
        graph.json of an analysis.
    folder : Path, optional
        Beside the graph if not given.
    amounts : mapping of str to float, optional
        Strength by part (`strength.with_amounts`). The weakened graph is written beside its sessions, so that
        they can be verified; it must not take the place of the one that was found.
    tempo_map_path : Path, optional
        MIDI file with the song's tempo, in place of that of the graph.

    Raises
    ------
    MixbridgeError
        Also if `amounts` are given and `folder` is that of the graph.
    """
    graph = MixGraph.load(graph_path)
    if tempo_map_path is not None:
        check_tempo_map(formats)
        graph = graph.with_tempo(read_tempo_map(tempo_map_path))
    target = folder or graph_path.parent
    if amounts:
        if target.resolve() == graph_path.parent.resolve():
            raise ParameterError(f"{target}: holds the full match; name another folder with --out for a weaker one")
        graph = with_amounts(graph, amounts)
    written = export_graph(graph, formats, stems_dir=stems_dir, folder=target, options=options, report=report)
    if amounts:
        written.files["graph"] = target / GRAPH_FILE
        graph.save(written.files["graph"])
    return written


def _mix_of(graph: MixGraph) -> Path | None:
    """The finished mix, where it still lies at the place that the graph remembers."""
    path = Path(graph.provenance.sources.get(MIX_SOURCE, ""))
    return path if path.is_absolute() and path.is_file() else None


def _job(graph: MixGraph, *, stems_dir: Path, options: ExportOptions | None) -> ExportJob:
    chosen = options or ExportOptions()
    return ExportJob(
        graph=graph,
        stems_dir=stems_dir,
        options=chosen,
        plugins=chosen.plugins or graph.provenance.plugins or DEFAULT_SUITES,
        reference_path=_mix_of(graph) if chosen.with_reference else None,
    )


def _losses(job: ExportJob, formats: Sequence[str]) -> dict[str, list[NotedLoss]]:
    wanted = {kind.value: writer for kind, writer in WRITERS.items() if kind in formats}
    return {kind: [loss.noted(job.graph) for loss in writer.losses(job)] for kind, writer in wanted.items()}


def check_strict(
    graph: MixGraph, formats: Sequence[str], *, stems_dir: Path, options: ExportOptions | None = None
) -> None:
    """Refuse formats that cannot express all of a graph, if the options ask for that.

    Raises
    ------
    ExportError
        Naming the first loss.
    """
    job = _job(graph, stems_dir=stems_dir, options=options)
    if job.options.strict:
        _refuse(_losses(job, formats))


def _refuse(found: Mapping[str, Sequence[NotedLoss]]) -> None:
    for kind, losses in found.items():
        if losses:
            more = f" and {len(losses) - 1} more" if len(losses) > 1 else ""
            raise ExportError(
                f"--export {kind} --strict: would lose {losses[0]['text']}{more}; leave --strict out to have "
                "them listed, or choose other plugins or another format"
            )


def export_graph(
    graph: MixGraph,
    formats: Sequence[str],
    *,
    stems_dir: Path,
    folder: Path,
    options: ExportOptions | None = None,
    report: Report | None = None,
) -> Exports:
    """Write a graph as sessions, each into a folder of its own below `folder`, and note there what was written.

    Parameters
    ----------
    formats : sequence of str
        From `choices.ExportFormat`.
    options : ExportOptions, optional
        The finished mix is put into sessions if it still lies where the graph says.

    Returns
    -------
    Exports

    Raises
    ------
    MixbridgeError
        If a format cannot hold the graph, a plugin is missing or nothing can be written.
    """
    job = _job(graph, stems_dir=stems_dir, options=options)
    check_exports(formats, laws={kind_of(p.type, p.law): p.law for p in graph.processors}, plugins=job.plugins)
    written = Exports(losses=_losses(job, formats))
    if job.options.strict:
        _refuse(written.losses)
    for kind in written.losses:
        writer = WRITERS[ExportFormat(kind)]
        if report is not None:
            report(writer.title)
        written.files[kind] = writer.write(job, folder / kind)
    if not written.files:
        return written
    record = record_exports(folder, files=written.files, losses=written.losses, plugins=job.plugins)
    return replace(written, record=record)
