"""The main job: stems and a mix in, a folder with graph, render, report and sessions out.

Ties audio, search, render, report and exporters together and keeps the output folder in order;
none of them lives here.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..exporters.formats import Exports, check_exports, check_strict, export_graph
from ..exporters.losses import NotedLoss
from ..exporters.options import ExportOptions
from .audio import Multitrack, load_multitrack, resample, write_wav
from .errors import ExportError, OutputError
from .graph import MIX_SOURCE, STEMS_SOURCE, MixGraph, Stem
from .metrics import LOSS_RATE_HZ, match_loss
from .render import render_graph
from .report.page import write_report
from .report.traces import TraceMeter
from .report.words import summarise
from .result_folder import FOLDER_SUFFIX, GRAPH_FILE, MATCH_FILE, REPORT_FILE, TRACES_FILE, UNFINISHED_FOLDER
from .search.search import Search, SearchSettings
from .search.working_set import WorkingSet
from .suites import choose_profiles
from .tempo import TempoMap, read_tempo_map

_CHECKPOINT_FILE = "search.json"

#: Called with a phase, its share done (0 to 1) and a few words.
Progress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class AnalyzeSettings:
    """What a user chooses about an analysis.

    Attributes
    ----------
    exports : sequence of str
        Session formats to write, from `choices.ExportFormat`.
    export_options : ExportOptions
        What the sessions are to be like; their plugins are those of the search.
    tempo_map_path : Path or None
        MIDI file with the tempo of the song, from the first frame of the mix.
    name : str
        What the song is called; after its mix if empty.
    resume : bool
        Continue a run that was stopped.
    overwrite : bool
        Replace an earlier result.
    """

    search: SearchSettings = field(default_factory=SearchSettings)
    exports: Sequence[str] = ()
    export_options: ExportOptions = field(default_factory=ExportOptions)
    start_s: float | None = None
    end_s: float | None = None
    groups_path: Path | None = None
    tempo_map_path: Path | None = None
    name: str = ""
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Analysis:
    """What an analysis found and wrote; `losses` is what each session format could not express."""

    graph: MixGraph
    folder: Path
    files: dict[str, Path]
    losses: dict[str, list[NotedLoss]]
    warnings: tuple[str, ...]
    wall_s: float
    cpu_s: float

    def to_json(self) -> dict[str, Any]:
        """Everything the summary shows, as plain data."""
        provenance = self.graph.provenance
        return {
            "name": self.graph.name,
            "folder": str(self.folder),
            "files": {kind: str(path) for kind, path in self.files.items()},
            "loss": provenance.loss.model_dump(),
            "processors": {
                "console": provenance.console_processors,
                "pruned_graph": len(self.graph.processors),
                "pruned_ratio": provenance.pruned_ratio,
            },
            "channels": [
                {
                    "id": c.id,
                    "kind": c.kind,
                    "name": c.name,
                    "group": c.group,
                    "processors": list(c.texts),
                    "mixer": list(c.mixer),
                }
                for c in summarise(self.graph)
            ],
            "losses": self.losses,
            "warnings": list(self.warnings),
            "seed": provenance.seed,
            "quality": provenance.quality,
            "tolerance": provenance.tolerance,
            "wall_s": round(self.wall_s, 3),
            "cpu_s": round(self.cpu_s, 3),
        }


def default_folder(mix_path: Path) -> Path:
    """Where results go when the user does not say: beside nothing, in the current folder."""
    return Path(mix_path.stem + FOLDER_SUFFIX)


def analyze(
    stems_dir: Path,
    mix_path: Path,
    *,
    folder: Path | None = None,
    settings: AnalyzeSettings | None = None,
    progress: Progress | None = None,
) -> Analysis:
    """Find the graph that turns stems into their mix, and write everything a user gets.

    Input is checked in full before anything is written. A run that is stopped in the middle
    leaves a folder that ``resume`` continues.

    Parameters
    ----------
    stems_dir, mix_path : Path
    folder : Path, optional
        Output; ``<mix name>.mixbridge`` in the current folder if not given.

    Returns
    -------
    Analysis

    Raises
    ------
    MixbridgeError
        On bad input, settings out of range or an output folder that must not be overwritten.
    """
    chosen = settings or AnalyzeSettings()
    report = progress or (lambda _phase, _share, _words: None)
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    chosen.search.check()
    laws = {kind: p.law for kind, p in choose_profiles(chosen.search.plugins).items() if p.search}
    check_exports(chosen.exports, laws=laws, plugins=chosen.search.plugins)
    out = folder if folder is not None else default_folder(mix_path)
    check_output(out, resume=chosen.resume, overwrite=chosen.overwrite)
    tempo = None if chosen.tempo_map_path is None else read_tempo_map(chosen.tempo_map_path)
    song = load_multitrack(
        stems_dir,
        mix_path,
        start_s=chosen.start_s,
        end_s=chosen.end_s,
        groups_path=chosen.groups_path,
        progress=lambda words, share: report("read", share, words),
    )
    if chosen.name:
        song = replace(song, name=chosen.name)
    work = _open_work(out, resume=chosen.resume)
    graph = _search(song, work, settings=_in_tempo(chosen, tempo, song), progress=report)
    if tempo is not None:
        graph = graph.with_tempo(tempo)
    files, losses, graph = _write_results(song, graph, out, stems_dir=stems_dir, settings=chosen, report=report)
    shutil.rmtree(work)
    # The graph is there by now: what a format would lose must not cost the search.
    check_strict(graph, chosen.exports, stems_dir=stems_dir, options=chosen.export_options)
    used_s, used_cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    return Analysis(graph, out, files, losses, song.warnings, used_s, used_cpu_s)


def _in_tempo(settings: AnalyzeSettings, tempo: TempoMap | None, song: Multitrack) -> AnalyzeSettings:
    """The settings with the tempo that delay times are rounded to; where nothing is rounded the tempo has no say."""
    if tempo is None or not settings.search.snap:
        return settings
    rate_hz = song.sample_rate_hz
    bpm = tempo.shifted(song.start_frame / rate_hz).prevailing_bpm(song.frames / rate_hz)
    return replace(settings, search=replace(settings.search, bpm=bpm))


def check_output(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder whose content must not be lost.

    Raises
    ------
    OutputError
        If it is a file, holds foreign files, or an earlier or unfinished run of ours without
        the option that says what to do with it.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder}: is a file; choose another folder with --out")
    if not any(folder.iterdir()):
        return
    if (folder / UNFINISHED_FOLDER).is_dir():
        if not resume and not overwrite:
            raise OutputError(f"{folder}: holds an unfinished run; add --resume to go on or --overwrite to start anew")
    elif (folder / GRAPH_FILE).is_file():
        if not overwrite:
            raise OutputError(f"{folder}: holds an earlier result; add --overwrite or choose another folder with --out")
    else:
        raise OutputError(f"{folder}: is not empty and not ours; choose another folder with --out")


def _open_work(out: Path, *, resume: bool) -> Path:
    work = out / UNFINISHED_FOLDER
    if work.exists() and not resume:
        shutil.rmtree(work)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot write here ({error.strerror}); choose another folder with --out") from None
    return work


def stem_node(source: Any) -> Stem:
    """The graph's node of a stem that was read."""
    return Stem(
        id=source.id,
        name=source.name,
        file=source.info.path.name,
        channels=source.info.channels,
        offset_samples=source.offset_samples,
        polarity=source.polarity,
    )


def _search(song: Multitrack, work: Path, *, settings: AnalyzeSettings, progress: Progress) -> MixGraph:
    names = len(song.stems)
    done: list[str] = []

    def on_stem(name: str) -> None:
        progress("resample", len(done) / names, name)
        done.append(name)

    # What was resampled for other stems or another part of the mix must not be taken for this.
    source = [(s.info.path.name, s.info.frames, s.offset_samples, s.polarity) for s in song.stems]
    key = f"{song.start_frame}:{song.frames}:{source}"
    stamp = work / "source.txt"
    if stamp.exists() and stamp.read_text(encoding="utf-8") != key:
        raise OutputError(f"{work.parent}: belongs to other stems or another part of the mix; choose another --out")
    stamp.write_text(key, encoding="utf-8")
    audio = WorkingSet.create(song, work, progress=on_stem)
    checkpoint = work / _CHECKPOINT_FILE
    return search_of(
        song, audio, settings=settings.search, checkpoint=checkpoint, resume=settings.resume, progress=progress
    ).run()


def search_of(
    song: Multitrack,
    audio: WorkingSet,
    *,
    settings: SearchSettings,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Search:
    """The search over a song that was read; what is not named here is as for `Search`."""
    return Search(
        audio,
        name=song.name,
        sample_rate_hz=song.sample_rate_hz,
        start_frame=song.start_frame,
        frames=song.frames,
        stems=[stem_node(s) for s in song.stems],
        groups=song.groups,
        settings=settings,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
    )


def _write_results(
    song: Multitrack,
    graph: MixGraph,
    out: Path,
    *,
    stems_dir: Path,
    settings: AnalyzeSettings,
    report: Progress,
) -> tuple[dict[str, Path], dict[str, list[NotedLoss]], MixGraph]:
    sources = {s.id: s for s in song.stems}
    rendered: list[str] = []

    def on_channel(name: str) -> None:
        report("render", len(rendered) / (len(sources) + len(graph.buses) + 1), name)
        rendered.append(name)

    meter = TraceMeter(sample_rate_hz=graph.sample_rate_hz)
    match = render_graph(
        graph, lambda stem: song.stem_audio(sources[stem.id]), progress=on_channel, on_node=meter.observe
    )
    traces = meter.traces(graph)
    target = song.mix_audio()
    pair = [resample(a, from_hz=song.sample_rate_hz, to_hz=LOSS_RATE_HZ) for a in (match, target)]
    provenance = graph.provenance.model_copy(
        update={
            "loss": graph.provenance.loss.model_copy(update={"reference": match_loss(*pair)["total"]}),
            "notes": list(song.warnings),
            "sources": {STEMS_SOURCE: str(stems_dir.resolve()), MIX_SOURCE: str(song.mix.path.resolve())},
        }
    )
    graph = graph.model_copy(update={"provenance": provenance})
    files = {"graph": out / GRAPH_FILE, "match": out / MATCH_FILE, "report": out / REPORT_FILE}
    report("write", 0.2, MATCH_FILE)
    write_wav(files["match"], match, sample_rate_hz=song.sample_rate_hz)
    written = _export(graph, out, stems_dir=stems_dir, settings=settings, report=report)
    report("write", 0.7, REPORT_FILE)
    traces.save(out / TRACES_FILE)
    write_report(files["report"], graph=graph, target=target, match=match, warnings=song.warnings, traces=traces)
    # Last, because its presence says that the result is complete.
    graph.save(files["graph"])
    report("write", 1.0, GRAPH_FILE)
    return files | written.files, written.losses, graph


def _export(graph: MixGraph, out: Path, *, stems_dir: Path, settings: AnalyzeSettings, report: Progress) -> Exports:
    """The sessions that are wished for; none where they may lose nothing and would."""
    try:
        check_strict(graph, settings.exports, stems_dir=stems_dir, options=settings.export_options)
    except ExportError:
        return Exports()
    return export_graph(
        graph,
        settings.exports,
        stems_dir=stems_dir,
        folder=out,
        options=settings.export_options,
        report=lambda words: report("write", 0.4, words),
    )
