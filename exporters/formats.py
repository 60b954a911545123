"""Which exporter writes which session format, and whether a format can hold a graph; no format's details here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..bridge.choices import DEFAULT_SUITES, ExportFormat, System
from ..bridge.errors import ParameterError
from ..bridge.graph import MIX_SOURCE, MixGraph
from ..bridge.hosting.registry import find_plugin
from ..bridge.processors.laws import kind_of, type_and_law
from ..bridge.result_folder import GRAPH_FILE
from ..bridge.strength import with_amounts
from ..bridge.suites import Profile, choose_profiles
from ..bridge.tempo import read_tempo_map
from .inserts import MIXER_TYPES
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
    plugins: str | None = None,
    amounts: Mapping[str, float] | None = None,
    tempo_map_path: Path | None = None,
    link: bool = False,
    with_reference: bool = True,
    system: System | None = None,
    allow_unverified: bool = False,
    report: Report | None = None,
) -> dict[str, Path]:
    """Write other sessions of a graph that was found before; see `export_graph` for what is not named here.

    Parameters
    ----------
    graph_path : Path
        graph.json of an analysis.
    folder : Path, optional
        Beside the graph if not given.
    plugins : str, optional
        Those of the search if not given.
    amounts : mapping of str to float, optional
        Strength by part (`strength.with_amounts`). The weakened graph is written beside its sessions, so that
        they can be verified; it must not take the place of the one that was found.
    tempo_map_path : Path, optional
        MIDI file with the song's tempo, in place of that of the graph.
    with_reference : bool
        Put the finished mix into DAW sessions, if it still lies where the analysis found it.

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
    files = export_graph(
        graph,
        formats,
        stems_dir=stems_dir,
        folder=target,
        plugins=plugins or graph.provenance.plugins or DEFAULT_SUITES,
        link=link,
        reference_path=_mix_of(graph) if with_reference else None,
        system=system,
        allow_unverified=allow_unverified,
        report=report,
    )
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
    plugins: str,
    link: bool = False,
    reference_path: Path | None = None,
    system: System | None = None,
    allow_unverified: bool = False,
    report: Report | None = None,
) -> dict[str, Path]:
    """Write a graph as sessions, each into a folder of its own below `folder`.

    Parameters
    ----------
    formats : sequence of str
        From `choices.ExportFormat`.
    plugins : str
        Choice of plugin suites (`suites.choose_profiles`).
    link : bool
        Refer to the stems where they are instead of copying them.
    reference_path : Path, optional
        The finished mix, for DAW sessions to have as a muted track.
    system : {"windows", "macos", "linux"}, optional
        The system that DAW sessions are for; this one if not given.
    allow_unverified : bool
        Use plugins that have no passing certificate.

    Returns
    -------
    dict of str to Path
        The session file of every format.

    Raises
    ------
    MixbridgeError
        If a format cannot hold the graph, a plugin is missing or nothing can be written.
    """
    check_exports(formats, laws={kind_of(p.type, p.law): p.law for p in graph.processors}, plugins=plugins)
    say = report or (lambda _words: None)
    files = {}
    if ExportFormat.reaper in formats:
        say("REAPER project")
        files[ExportFormat.reaper.value] = export_reaper(
            graph,
            stems_dir=stems_dir,
            folder=folder / ExportFormat.reaper,
            link=link,
            reference_path=reference_path,
            suites=plugins,
            system=system,
            allow_unverified=allow_unverified,
        )
    if ExportFormat.pedalboard in formats:
        say("pedalboard chain")
        files[ExportFormat.pedalboard.value] = export_pedalboard(
            graph,
            stems_dir=stems_dir,
            folder=folder / ExportFormat.pedalboard,
            suites=plugins,
            link=link,
            allow_unverified=allow_unverified,
        )
    return files
