"""Builds the full console of a song: every processor on every track, group and the master.

Only the graph is built here; what its settings should be is found by `search`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .choices import DEFAULT_CONSOLE
from .errors import ParameterError
from .graph import Bus, Edge, Master, MixGraph, Node, Processor, Stem
from .preset_names import SUFFIX, console_names, consoles_folder
from .processors.laws import KINDS, type_and_law
from .processors.specs import SEND_LEVEL, spec_of

#: Level a send has in a console that nothing has been fitted to yet: off.
_SEND_OFF_DB = SEND_LEVEL.minimum


@dataclass(frozen=True)
class ReturnPreset:
    """A return: a bus that sends feed, and who sends into it."""

    name: str
    chain: tuple[str, ...]
    from_tracks: bool
    from_groups: bool


@dataclass(frozen=True)
class ConsolePreset:
    """Which processors a console has, in chain order, per kind of channel."""

    name: str
    description: str
    track: tuple[str, ...]
    group: tuple[str, ...]
    master: tuple[str, ...]
    returns: tuple[ReturnPreset, ...] = ()


class _Return(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1)
    chain: list[str] = Field(min_length=1)
    from_tracks: bool = True
    from_groups: bool = False


class _Console(BaseModel):
    """The form of a preset's file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    description: str = ""
    track: list[str]
    group: list[str]
    master: list[str]
    returns: list[_Return] = Field(default_factory=list, alias="return")


def load_console(name: str = DEFAULT_CONSOLE) -> ConsolePreset:
    """Read a console: a preset that ships with the product, or a file of the user's own.

    Parameters
    ----------
    name : str
        Name of a preset, or path of a file that ends in ``.toml``.

    Raises
    ------
    ParameterError
        If there is no such preset or file, or the file is malformed.
    """
    if name in console_names():
        return _read_console((consoles_folder() / f"{name}{SUFFIX}").read_bytes(), name=name, origin=name)
    path = Path(name)
    if path.suffix != SUFFIX:
        choices = ", ".join(console_names())
        raise ParameterError(f"console {name!r} does not exist; choose one of {choices}, or a {SUFFIX} file")
    try:
        return _read_console(path.read_bytes(), name=path.stem, origin=str(path))
    except OSError as error:
        raise ParameterError(f"{path}: cannot read the console ({error.strerror}); check the path") from None


def _read_console(text: bytes, *, name: str, origin: str) -> ConsolePreset:
    try:
        found = _Console.model_validate(tomllib.loads(text.decode("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ParameterError(f"{origin}: {where}: {first['msg']}") from None
    except ValueError as error:
        raise ParameterError(f"{origin}: not valid TOML ({error})") from None
    return ConsolePreset(
        name,
        found.description,
        _chain(found.track, f"{origin}: track"),
        _chain(found.group, f"{origin}: group"),
        _chain(found.master, f"{origin}: master"),
        tuple(
            ReturnPreset(r.name, _chain(r.chain, f"{origin}: return {r.name}"), r.from_tracks, r.from_groups)
            for r in found.returns
        ),
    )


def _chain(kinds: Sequence[str], where: str) -> tuple[str, ...]:
    """Check a chain: known kinds (``type`` or ``type:law``, see `laws.kind_of`), each at most once."""
    for kind in kinds:
        try:
            type_and_law(kind)
        except ParameterError as error:
            raise ParameterError(f"{where}: {error}") from None
        if kinds.count(kind) > 1:
            raise ParameterError(f"{where}: {kind} is listed twice; a channel holds each processor once")
    return tuple(kinds)


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
    laws : mapping of kind (`laws.kind_of`) to name of a law, optional
        Kinds that are not in it are left out of the console. If it is not given, all are there and have
        the reference law, or the one they name.

    Returns
    -------
    MixGraph
        Sends are laid out at their lowest level, which is silent.
    """
    kinds = set(KINDS) if laws is None else set(laws)
    chosen = laws or {}
    bus_ids = {group: _free_id(f"group:{group}", {s.id for s in stems}) for group in groups}
    parent_of = {stem_id: bus_ids[group] for group, members in groups.items() for stem_id in members}
    master = Master()
    nodes: list[Node] = []
    edges: list[Edge] = []

    def add_channel(channel: Stem | Bus | Master, chain: Sequence[str], target: str | None) -> str:
        """Lay a channel and return its last node."""
        nodes.append(channel)
        previous = channel.id
        for kind in (k for k in chain if k in kinds):
            processor_type, own_law = type_and_law(kind)
            processor = Processor(
                id=f"{channel.id}/{kind}",
                type=processor_type,
                parameters=spec_of(processor_type).defaults(),
                law=chosen.get(kind, own_law),
            )
            nodes.append(processor)
            edges.append(Edge(source=previous, target=processor.id))
            previous = processor.id
        if target is not None:
            edges.append(Edge(source=previous, target=target))
        return previous

    track_ends = [add_channel(stem, preset.track, parent_of.get(stem.id, master.id)) for stem in stems]
    group_ends = [add_channel(Bus(id=i, name=g), preset.group, master.id) for g, i in bus_ids.items()]
    for bus in preset.returns:
        if not set(bus.chain) & kinds:
            continue  # no plugin of the suite does any of it
        bus_id = _free_id(f"return:{bus.name}", {n.id for n in nodes})
        add_channel(Bus(id=bus_id, name=bus.name), bus.chain, master.id)
        edges += _sends([*track_ends * bus.from_tracks, *group_ends * bus.from_groups], bus_id)
    add_channel(master, preset.master, None)
    return MixGraph(
        name=name, sample_rate_hz=sample_rate_hz, start_frame=start_frame, frames=frames, nodes=nodes, edges=edges
    )


def _sends(sources: Sequence[str], target: str) -> Iterator[Edge]:
    for source in sources:
        yield Edge(source=source, target=target, send_db=_SEND_OFF_DB)


def _free_id(wanted: str, taken: set[str]) -> str:
    while wanted in taken:
        wanted += "_"
    return wanted
