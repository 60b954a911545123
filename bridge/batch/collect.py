"""Finds the results below a folder and collects them into a dataset; the forms of the file live in `dataset`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DatasetError, GraphError, MixbridgeError, OutputError
from ..graph import MIX_SOURCE, STEMS_SOURCE, MixGraph
from ..result_folder import FOLDER_SUFFIX, GRAPH_FILE, MATCH_FILE, UNFINISHED_FOLDER
from ..verify.results import VERIFY_FILE, Verification
from .dataset import Check, Entry, check_suffix, write_dataset

#: Results of `verify`, whatever is in front of the name or between it and its ending.
_VERIFY_PATTERN = f"*{Path(VERIFY_FILE).stem}*{Path(VERIFY_FILE).suffix}"

#: Called with the share done, 0 to 1, and a few words.
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class SkippedResult:
    """A result, or a part of one, that is not in the dataset, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Collected:
    """What was collected and what was not."""

    entries: tuple[Entry, ...]
    skipped: tuple[SkippedResult, ...]
    file: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data for scripts."""
        return {
            "file": str(self.file) if self.file else "",
            "songs": [
                {"name": e.name, "loss": e.loss, "graph_sha256": e.sha256, "verdicts": [c.verdict for c in e.verify]}
                for e in self.entries
            ],
            "skipped": [vars(skipped) for skipped in self.skipped],
        }


def collect(folder: Path, *, with_paths: bool = False, progress: Progress | None = None) -> Collected:
    """Read the results of all analyses in and below a folder.

    Parameters
    ----------
    folder : Path
        Of a batch, or any that holds results; hidden folders are passed over.
    with_paths : bool
        Keep the absolute paths of audio; otherwise a dataset tells nothing about the machine.
    progress : callable, optional

    Returns
    -------
    Collected
        In the order of the names.

    Raises
    ------
    DatasetError
        If there is no such folder or no usable result in it.
    """
    report = progress or (lambda _share, _words: None)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; name the folder of a batch or of results")
    entries: list[Entry] = []
    skipped: list[SkippedResult] = []
    found = list(_results(folder))
    for number, (result, name) in enumerate(zip(found, _names(found, folder), strict=True)):
        report(number / len(found), name)
        try:
            entry, troubles = _entry(result, name, with_paths=with_paths)
        except GraphError as error:
            skipped.append(SkippedResult(name, str(error)))
        else:
            entries.append(entry)
            skipped += troubles
    if not entries:
        first = f"; {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise DatasetError(f"{folder}: no finished result ({GRAPH_FILE}) here or below{first}")
    return Collected(tuple(entries), tuple(skipped))


def collect_to(
    folder: Path, path: Path, *, with_paths: bool = False, overwrite: bool = False, progress: Progress | None = None
) -> Collected:
    """Collect a folder into a file; see `collect` and `dataset.write_dataset`.

    Raises
    ------
    DatasetError
        As `collect`, or if the file's name has the wrong ending.
    OutputError
        If the file is there already and may not be replaced, or cannot be written.
    """
    check_suffix(path)
    if path.is_dir() or (path.exists() and not overwrite):
        what = "is a folder; name a file" if path.is_dir() else "is there already; add --overwrite or name another file"
        raise OutputError(f"{path}: {what}")
    found = collect(folder, with_paths=with_paths, progress=progress)
    write_dataset(path, found.entries)
    return Collected(found.entries, found.skipped, path)


def _results(folder: Path) -> Iterator[Path]:
    """Folders with a result, finished or not, by name."""
    if (folder / GRAPH_FILE).is_file() or (folder / UNFINISHED_FOLDER).is_dir():
        yield folder
    try:
        below = sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"{folder}: cannot read ({error.strerror}); change its access rights") from None
    for inner in below:
        yield from _results(inner)


def _names(results: Sequence[Path], folder: Path) -> list[str]:
    """Paths below the folder, as far as unique without the ending that folders of results have."""
    full = [r.resolve().name if r == folder else r.relative_to(folder).as_posix() for r in results]
    short = [name.removesuffix(FOLDER_SUFFIX) for name in full]
    return [s if short.count(s) == 1 else f for s, f in zip(short, full, strict=True)]


def _entry(result: Path, name: str, *, with_paths: bool) -> tuple[Entry, list[SkippedResult]]:
    if (result / UNFINISHED_FOLDER).is_dir():
        raise GraphError("unfinished; go on with --resume")
    graph = MixGraph.load(result / GRAPH_FILE)
    sources = graph.provenance.sources
    paths: dict[str, str] = {}
    if with_paths:
        match = result / MATCH_FILE
        paths = {"folder": str(result.resolve())}
        paths |= {key: sources[key] for key in (STEMS_SOURCE, MIX_SOURCE) if key in sources}
        paths |= {"match": str(match.resolve())} if match.is_file() else {}
    else:
        provenance = graph.provenance.model_copy(update={"sources": {}})
        graph = graph.model_copy(update={"provenance": provenance})
    checks: list[Check] = []
    troubles: list[SkippedResult] = []
    for file in sorted(result.rglob(_VERIFY_PATTERN)):
        try:
            checks.append(_check(Verification.load(file), file, result))
        except MixbridgeError as error:
            troubles.append(SkippedResult(f"{name}/{file.relative_to(result).as_posix()}", str(error)))
    return Entry(name=name, graph=graph, verify=checks, paths=paths), troubles


def _check(found: Verification, file: Path, result: Path) -> Check:
    session = (file.parent / Path(found.path).name).relative_to(result).as_posix()
    kept = {name: getattr(found, name) for name in Check.model_fields if name != "path"}
    return Check(path=session, **kept)
