"""A file of many graphs for training: its entries, and the form with one JSON object a line; tensors live in
`dataset_torch`.

Each line has the graph in full, what can be told without parsing it (seed, versions, losses) and a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..choices import Host
from ..errors import DatasetError, GraphError
from ..files import write_text_whole
from ..graph import MixGraph
from ..verify.results import LossResult
from ..verify.verdict import Verdict

FORMAT = "mixbridge-dataset"
SCHEMA_VERSION = 1

JSON_SUFFIX, TORCH_SUFFIX = ".jsonl", ".pt"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Check(_Model):
    """What was verified about one session of a graph; see `verify.results.Verification`.

    Attributes
    ----------
    path : str
        The session file, relative to the folder of the result.
    """

    path: str
    session: str
    suites: str
    host: Host
    host_version: str
    verdict: Verdict
    gap: float | None
    gap_to: Literal["", "differentiable", "graph"]
    null_db: float | None
    loss: LossResult


class _Beside(BaseModel):
    """What an entry has beside its graph."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    name: str
    verify: list[Check] = Field(default_factory=list)
    paths: dict[str, str] = Field(default_factory=dict)


class Entry(_Beside):
    """One song of a dataset.

    Attributes
    ----------
    name : str
        Path of its result below the collected folder, with slashes; unique.
    graph : MixGraph
    verify : list of Check
        Of the sessions that were verified.
    paths : dict of str to str
        Where "folder", "stems", "mix" and "match" were, as absolute paths; empty unless they were wished for.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    graph: MixGraph

    @property
    def losses(self) -> dict[str, float]:
        """Match loss of the stages of the search, as far as they are known."""
        return self.graph.provenance.loss.model_dump(exclude_none=True)

    @property
    def loss(self) -> float | None:
        """Match loss of the graph: of the reference render, else of the search."""
        found = self.graph.provenance.loss
        return found.pruned if found.reference is None else found.reference

    @property
    def sha256(self) -> str:
        """Digest of the graph; see `digest_of`."""
        return digest_of(json.loads(self.graph.to_json()))

    def to_json(self) -> dict[str, Any]:
        """The entry as plain data, with what is only there to be looked at."""
        provenance = self.graph.provenance
        graph = json.loads(self.graph.to_json())
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "graph_sha256": digest_of(graph),
            "seed": provenance.seed,
            "versions": provenance.versions,
            "losses": self.losses,
            "verify": [check.model_dump(mode="json") for check in self.verify],
            "paths": self.paths,
            "graph": graph,
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The entry of plain data.

        Raises
        ------
        DatasetError
            If it is malformed or the graph is not the one that was written; the message is without a place.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise DatasetError(f"not an entry of a dataset (expected format {FORMAT!r})")
        if data.get("schema_version") != SCHEMA_VERSION:
            raise DatasetError(f"schema_version {data.get('schema_version')!r} is not supported; collect again")
        if data.get("graph_sha256") != digest_of(data.get("graph")):
            raise DatasetError("the graph is not the one that was written (graph_sha256); collect again")
        try:
            graph = MixGraph.from_json(json.dumps(data["graph"]))
            beside = _Beside.model_validate_json(json.dumps(dict(data)))
        except GraphError as error:
            raise DatasetError(str(error)) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DatasetError(f"{where}: {first['msg']}") from None
        return cls(graph=graph, name=beside.name, verify=beside.verify, paths=beside.paths)


def digest_of(graph: object) -> str:
    """SHA-256 (hex) of a graph as plain data: of its JSON with sorted keys, without blanks, in UTF-8."""
    text = json.dumps(graph, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_suffix(path: Path) -> None:
    """Refuse a file name that no form of a dataset has (`DatasetError`)."""
    if path.suffix.lower() not in (JSON_SUFFIX, TORCH_SUFFIX):
        raise DatasetError(f"{path}: call the file *{JSON_SUFFIX} (JSON) or *{TORCH_SUFFIX} (tensors)")


def write_dataset(path: Path, entries: Sequence[Entry]) -> None:
    """Write entries as JSON Lines or, with the ending ``.pt``, for torch.

    Raises
    ------
    DatasetError
        If the name has another ending, or there is no entry.
    OutputError
        If the file cannot be written.
    """
    check_suffix(path)
    if not entries:
        raise DatasetError(f"{path}: no graph to write")
    if path.suffix.lower() == TORCH_SUFFIX:
        from .dataset_torch import write_torch

        write_torch(path, entries)
    else:
        write_text_whole(path, "".join(_line(entry) for entry in entries))


def _line(entry: Entry) -> str:
    return json.dumps(entry.to_json(), ensure_ascii=False, allow_nan=False) + "\n"


def read_dataset(path: Path) -> list[Entry]:
    """Read a dataset of either form.

    Parameters
    ----------
    path : Path
        ``.jsonl`` or ``.pt``.

    Returns
    -------
    list of Entry
        In the order of the file.

    Raises
    ------
    DatasetError
        If the file is missing, of another ending, damaged or empty; the message names the line or entry.
    """
    path = Path(path)
    check_suffix(path)
    if path.suffix.lower() == TORCH_SUFFIX:
        from .dataset_torch import read_torch

        return [found.entry for found in read_torch(path)]
    entries = list(_parsed(path, _lines(path)))
    if not entries:
        raise DatasetError(f"{path}: holds no graph; write it with 'mixbridge dataset'")
    return entries


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise DatasetError(f"{path}: cannot read ({error.strerror}); write it with 'mixbridge dataset'") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not UTF-8 text; write it with 'mixbridge dataset'") from None


def _parsed(path: Path, lines: Iterable[str]) -> Iterable[Entry]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield Entry.from_json(json.loads(line))
        except DatasetError as error:
            raise DatasetError(f"{path}: line {number}: {error}") from None
        except (ValueError, RecursionError):
            raise DatasetError(f"{path}: line {number}: not valid JSON; write it with 'mixbridge dataset'") from None
