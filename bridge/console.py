"""Builds the full console of a song: every processor on every track, group and the master.

Only the graph is built here; what its settings should be is found by `search`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from .errors import ParameterError
from .graph import Bus, Edge, Master, MixGraph, Node, Processor, Stem
from .processors.specs import spec_of

DEFAULT_CONSOLE = "full"


@dataclass(frozen=True)
class ConsolePreset:
    """Which processors a console has, in chain order, per kind of channel."""

    name: str
    description: str
    track: tuple[str, ...]
    group: tuple[str, ...]
    master: tuple[str, ...]


def load_console(name: str = DEFAULT_CONSOLE) -> ConsolePreset:
    """Read a console preset that ships with the product.

    Raises
    ------
    ParameterError
        If there is no preset of that name.
    """
    folder = resources.files(__package__.rpartition(".")[0] + ".presets.consoles")
    available = sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))
    if name not in available:
        raise ParameterError(f"console {name!r} does not exist; choose one of {', '.join(available)}")
    data = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    chains = {kind: tuple(spec_of(t).type for t in data[kind]) for kind in ("track", "group", "master")}
    return ConsolePreset(name, data["description"], **chains)


def build_console(
    *,
    name: str,
    sample_rate_hz: int,
    start_frame: int,
    frames: int,
    stems: Sequence[Stem],
    groups: Mapping[str, Sequence[str]],
    preset: ConsolePreset,
    laws: Mapping[str, str] | None = None,
) -> MixGraph:
    """The full console with every processor at its defaults.

    Parameters
    ----------
    groups : mapping of group name to stem ids
        Stems that are in no group flow straight into the master.
    laws : mapping of processor type to name of a law, optional
        Types that are not in it are left out of the console; all have the reference law if not given.
    """
    nodes: list[Node] = []
    edges: list[Edge] = []
    bus_ids = {group: _free_id(f"group:{group}", {s.id for s in stems}) for group in groups}
    parent_of = {stem_id: bus_ids[group] for group, members in groups.items() for stem_id in members}
    master = Master()

    def add_channel(channel: Stem | Bus | Master, chain: Sequence[str], target: str | None) -> None:
        nodes.append(channel)
        previous = channel.id
        for kind in chain:
            if laws is not None and kind not in laws:
                continue
            law = laws[kind] if laws is not None else ""
            processor = Processor(id=f"{channel.id}/{kind}", type=kind, parameters=spec_of(kind).defaults(), law=law)
            nodes.append(processor)
            edges.append(Edge(source=previous, target=processor.id))
            previous = processor.id
        if target is not None:
            edges.append(Edge(source=previous, target=target))

    for stem in stems:
        add_channel(stem, preset.track, parent_of.get(stem.id, master.id))
    for group, bus_id in bus_ids.items():
        add_channel(Bus(id=bus_id, name=group), preset.group, master.id)
    add_channel(master, preset.master, None)
    return MixGraph(
        name=name, sample_rate_hz=sample_rate_hz, start_frame=start_frame, frames=frames, nodes=nodes, edges=edges
    )


def _free_id(wanted: str, taken: set[str]) -> str:
    while wanted in taken:
        wanted += "_"
    return wanted
