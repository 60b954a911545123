"""Which exporter writes which session format, and whether a format can hold a graph; no format's details here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..bridge.choices import DEFAULT_SUITES, ExportFormat
from ..bridge.errors import ParameterError
from ..bridge.graph import MIX_SOURCE, MixGraph
from ..bridge.hosting.registry import find_plugin
from ..bridge.processors.laws import kind_of, type_and_law
from ..bridge.result_folder import GRAPH_FILE
from ..bridge.strength import with_amounts
from ..bridge.suites import Profile, choose_profiles
from ..bridge.tempo import read_tempo_map
from .inserts import MIXER_TYPES
from .options import ExportOptions
from .pedalboard import export_pedalboard
from .reaper.plugins import REAPER_KINDS, plugin_profile
from .reaper.project import export_reaper

#: Called with the name of what is about to be written.
Report = Callable[[str], None]


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
        other = list(dict.fromkeys(type_and_law(n)[0] for n, law in laws.items() if not _in_reaper(n, law, profiles)))
        if kind == ExportFormat.reaper and other:
            parts = [f"{processor_type}={DEFAULT_SUITES}" for processor_type in other]
            raise ParameterError(
                f"--export reaper: nothing of {plugins!r} for {', '.join(other)} runs in REAPER, and our JSFX does not "
                f"follow its law; search with --plugins {','.join([*parts, f'*={plugins}'])} or with "
                f"--plugins {DEFAULT_SUITES}"
            )
        scripts = [t for t in laws if t not in MIXER_TYPES and t in profiles and profiles[t].kind in ("jsfx", "stock")]
        if kind == ExportFormat.pedalboard and scripts:
            types = dict.fromkeys(type_and_law(name)[0] for name in scripts)
            raise ParameterError(
                f"--export pedalboard: the {plugins!r} plugins for {', '.join(types)} run in REAPER only; "
                "choose other plugins, such as --plugins lsp"
            )
        if kind in (ExportFormat.pedalboard, ExportFormat.reaper):
            for used in (profiles[t].plugin for t in laws if t in profiles and profiles[t].kind == "vst3"):
                if used is not None:
                    find_plugin(class_id=used.class_id, name=used.name, bundle=used.bundle)


def check_tempo_map(formats: Sequence[str]) -> None:
    """Refuse a tempo map for formats none of which can hold it.

    Raises
    ------
    ParameterError
    """
    if ExportFormat.reaper not in formats:
        raise ParameterError(
            f"--tempo-map: {', '.join(formats)} has no tempo; leave it out or add --export {ExportFormat.reaper}"
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
) -> dict[str, Path]:
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
    files = export_graph(graph, formats, stems_dir=stems_dir, folder=target, options=options, report=report)
    if amounts:
        files["graph"] = target / GRAPH_FILE
        graph.save(files["graph"])
    return files


def _mix_of(graph: MixGraph) -> Path | None:
    """The finished mix, where it still lies at the place that the graph remembers."""
    path = Path(graph.provenance.sources.get(MIX_SOURCE, ""))
    return path if path.is_absolute() and path.is_file() else None


def _in_reaper(kind: str, law: str, profiles: Mapping[str, Profile]) -> bool:
    """Whether a REAPER project can hold a kind: as a plugin of the chosen suites, or as one of our JSFX."""
    profile = plugin_profile(kind, profiles)
    return _has_jsfx(kind, law) if profile is None else profile.kind in REAPER_KINDS


def _has_jsfx(kind: str, law: str) -> bool:
    """Whether one of our JSFX follows a law of a kind: the reference law, or one that stands beside it."""
    processor_type, _ = type_and_law(kind)
    return type_and_law(kind_of(processor_type, law))[1] == law


def export_graph(
    graph: MixGraph,
    formats: Sequence[str],
    *,
    stems_dir: Path,
    folder: Path,
    options: ExportOptions | None = None,
    report: Report | None = None,
) -> dict[str, Path]:
    """Write a graph as sessions, each into a folder of its own below `folder`.

    Parameters
    ----------
    formats : sequence of str
        From `choices.ExportFormat`.
    options : ExportOptions, optional
        The finished mix is put into sessions if it still lies where the graph says.

    Returns
    -------
    dict of str to Path
        The session file of every format.

    Raises
    ------
    MixbridgeError
        If a format cannot hold the graph, a plugin is missing or nothing can be written.
    """
    chosen = options or ExportOptions()
    job = _Job(
        graph=graph,
        stems_dir=stems_dir,
        options=chosen,
        plugins=chosen.plugins or graph.provenance.plugins or DEFAULT_SUITES,
        reference_path=_mix_of(graph) if chosen.with_reference else None,
    )
    check_exports(formats, laws={kind_of(p.type, p.law): p.law for p in graph.processors}, plugins=job.plugins)
    files = {}
    for kind in (kind for kind in ExportFormat if kind in formats):
        writer = _WRITERS[kind]
        if report is not None:
            report(writer.title)
        files[kind.value] = writer.write(job, folder / kind)
    return files


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A graph and what its sessions are to be like."""

    graph: MixGraph
    stems_dir: Path
    options: ExportOptions
    plugins: str
    reference_path: Path | None


@dataclass(frozen=True)
class _Writer:
    """How a format is written.

    Attributes
    ----------
    title : str
        What people call it.
    write : callable
        Writes a job into a folder and returns the session's file.
    """

    title: str
    write: Callable[[_Job, Path], Path]


def _write_reaper(job: _Job, folder: Path) -> Path:
    return export_reaper(
        job.graph,
        stems_dir=job.stems_dir,
        folder=folder,
        link=job.options.link,
        reference_path=job.reference_path,
        keep_pruned=job.options.keep_pruned,
        suites=job.plugins,
        system=job.options.system,
        allow_unverified=job.options.allow_unverified,
    )


def _write_pedalboard(job: _Job, folder: Path) -> Path:
    return export_pedalboard(
        job.graph,
        stems_dir=job.stems_dir,
        folder=folder,
        suites=job.plugins,
        link=job.options.link,
        allow_unverified=job.options.allow_unverified,
    )


_WRITERS = {
    ExportFormat.reaper: _Writer("REAPER project", _write_reaper),
    ExportFormat.pedalboard: _Writer("pedalboard chain", _write_pedalboard),
}
