"""The form of a dataset that torch reads: grafx graphs as plain tensors; conversion of graphs is in `dataset_grafx`.

The file holds tensors, lists, dicts, numbers and text alone, so that ``torch.load(path, weights_only=True)`` reads it:
a file of pickled objects would run whatever its author put into it.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ... import __version__
from ..errors import DatasetError
from ..files import whole_file
from .dataset import FORMAT, SCHEMA_VERSION, Entry
from .dataset_grafx import COLUMNS, NODE_TYPES, GrafxMix, grafx_graph, stacked, to_grafx, unstacked

#: What torch raises on a file whose bytes were changed.
_DAMAGED = (
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)


@dataclass(frozen=True)
class GrafxEntry:
    """An entry with its graph as a grafx object."""

    entry: Entry
    mix: GrafxMix


def write_torch(path: Path, entries: Sequence[Entry]) -> None:
    """Write entries for torch (`OutputError` where that fails)."""
    content = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "mixbridge": __version__,
        "node_types": list(NODE_TYPES),
        "columns": {kind: list(names) for kind, names in COLUMNS.items()},
        "entries": [_packed(entry) for entry in entries],
    }
    with whole_file(path) as temporary:
        torch.save(content, temporary)


def _packed(entry: Entry) -> dict[str, Any]:
    mix = to_grafx(entry.graph)
    graph = mix.graph
    numbers = sorted(graph.nodes)
    edges = sorted((int(source), int(target)) for source, target in graph.edges())
    plain = entry.to_json()
    # As text: that of a thousand nodes would be ten thousand small objects.
    record = json.dumps(plain, ensure_ascii=False, allow_nan=False)
    return {
        **{key: plain[key] for key in ("name", "graph_sha256", "seed", "versions", "losses", "verify", "paths")},
        "types": torch.tensor([NODE_TYPES.index(graph.nodes[n]["node_type"]) for n in numbers]),
        "edges": torch.tensor(edges, dtype=torch.long).T.contiguous(),
        "rendering_orders": torch.tensor([int(graph.nodes[n]["rendering_order"]) for n in numbers]),
        "rendering_order_method": str(graph.rendering_order_method),
        "type_sequence": [str(kind) for kind in graph.type_sequence],
        "names": [graph.nodes[n]["name"] for n in numbers],
        "laws": [graph.nodes[n]["law"] for n in numbers],
        "parameters": {kind: stacked(kind, named) for kind, named in mix.parameters.items()},
        "record": record,
    }


def read_torch(path: Path) -> list[GrafxEntry]:
    """Read a dataset that was written for torch, with its grafx objects.

    Parameters
    ----------
    path : Path
        ``.pt``, as ``mixbridge dataset`` writes it.

    Returns
    -------
    list of GrafxEntry

    Raises
    ------
    DatasetError
        If the file is missing, damaged or of another kind.
    """
    path = Path(path)
    content = _loaded(path)
    try:
        kinds = [str(kind) for kind in content["node_types"]]
        return [_unpacked(packed, kinds, content["columns"]) for packed in content["entries"]]
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None
    except Exception as error:
        # grafx raises plain exceptions where an edge does not fit its nodes.
        raise DatasetError(f"{path}: malformed ({error!r}); write it with 'mixbridge dataset'") from None


def _loaded(path: Path) -> Mapping[str, Any]:
    try:
        # What is no archive is not ours; torch would try older formats and warn.
        if path.is_file() and not zipfile.is_zipfile(path):
            raise DatasetError(f"{path}: damaged or not a dataset; write it with 'mixbridge dataset'")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DatasetError(f"{path}: cannot read ({error.strerror}); write it with 'mixbridge dataset'") from None
    except DatasetError:
        raise
    except _DAMAGED:
        raise DatasetError(f"{path}: damaged or not a dataset; write it with 'mixbridge dataset'") from None
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise DatasetError(f"{path}: not a dataset (expected format {FORMAT!r})")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise DatasetError(f"{path}: schema_version {content.get('schema_version')!r} is not supported; collect again")
    return content


def _unpacked(packed: Mapping[str, Any], kinds: Sequence[str], columns: Mapping[str, Sequence[str]]) -> GrafxEntry:
    types = [kinds[i] for i in packed["types"].tolist()]
    graph = grafx_graph(zip(types, packed["names"], packed["laws"], strict=True), packed["edges"].T.tolist())
    for node, order in enumerate(packed["rendering_orders"].tolist()):
        graph.nodes[node]["rendering_order"] = order
    graph.rendering_order_method = packed["rendering_order_method"]
    graph.type_sequence = list(packed["type_sequence"])
    parameters = {kind: unstacked(columns[kind], table) for kind, table in packed["parameters"].items()}
    return GrafxEntry(Entry.from_json(json.loads(packed["record"])), GrafxMix(graph, parameters))


def as_grafx(entries: Sequence[Entry]) -> list[GrafxEntry]:
    """Entries, of either form of file, with their graphs as grafx objects."""
    return [GrafxEntry(entry, to_grafx(entry.graph)) for entry in entries]
