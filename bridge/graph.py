"""The mixing graph and graph.json, the one interchange format; no audio and no search live here.

A graph holds four kinds of nodes:

* a *stem*: a source, one audio file of the song;
* a *bus*: the sum of what flows into it (a group of tracks);
* the *master*: the last sum; every graph has exactly one;
* a *processor*: one input, one output, of a type in `processors.specs`.

A stem, a bus or the master together with the processors that follow it in a row is a *channel*
(a track, a group or the master of a DAW); `MixGraph.chain` lists those processors. What leaves
its last processor passes the channel's volume and pan automation and then flows into the channel's
parent and, at a level of its own, along each of its *sends*. A bus that sends alone feed is a *return*.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

import networkx as nx
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import GraphError, ParameterError
from .files import write_text_whole
from .processors.equations import db_to_gain, pan_gains
from .processors.laws import kind_of, law_of
from .processors.specs import GAIN_PAN, MIX, SEND_LEVEL, SPECS, VOLUME, spec_of
from .tempo import TempoMap

FORMAT = "mixbridge-graph"
SCHEMA_VERSION = 2

#: Version 1 had neither sends nor volume automation nor evidence; its files are read as they are.
READABLE_VERSIONS = (1, SCHEMA_VERSION)

#: Keys of `Provenance.sources`.
STEMS_SOURCE, MIX_SOURCE = "stems", "mix"

#: A graph file larger than this is refused unread: no song comes near it.
MAX_FILE_BYTES = 64 * 1024 * 1024


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, validate_assignment=True)


NodeId = Annotated[str, Field(min_length=1, max_length=400)]


class _Point(_Model):
    """A breakpoint of any automation."""

    time_s: Annotated[float, Field(ge=0.0)]


class VolumePoint(_Point):
    """A breakpoint of the volume automation of a channel or a send; see `volume_gains`.

    Attributes
    ----------
    time_s : float >= 0
        From the first frame of the session.
    gain_db : float
        In the range of `specs.VOLUME`, relative to the level of the channel or send.
    """

    gain_db: float

    @field_validator("gain_db")
    @classmethod
    def _gain_in_range(cls, value: float) -> float:
        return VOLUME.check(value)


class PanPoint(_Point):
    """A breakpoint of a channel's pan automation; see `pan_automation_gains`.

    Attributes
    ----------
    time_s : float >= 0
        From the first frame of the session.
    pan : float, -1 (left) to 1 (right)
        A position of its own, not one that adds to a gain/pan processor's.
    """

    pan: float

    @field_validator("pan")
    @classmethod
    def _pan_in_range(cls, value: float) -> float:
        return GAIN_PAN.parameter("pan").check(value)


def _growing(points: Sequence[_Point], what: str) -> None:
    if any(later.time_s <= earlier.time_s for earlier, later in pairwise(points)):
        raise ValueError(f"the times of {what} automation must grow from point to point")


class Evidence(_Model):
    """How sure the search is of a processor or a send.

    Attributes
    ----------
    loss_increase : float
        By how much L_a of the song grows without it.
    uncertainty : dict of str to float
        Error bars of parameters, each in the parameter's own unit.
    """

    loss_increase: float
    uncertainty: dict[str, float] = Field(default_factory=dict)


class _Channel(_Model):
    """What stems, buses and the master have in common."""

    volume: list[VolumePoint] = Field(default_factory=list)
    pan: list[PanPoint] = Field(default_factory=list)

    @field_validator("volume")
    @classmethod
    def _volume_in_order(cls, value: list[VolumePoint]) -> list[VolumePoint]:
        _growing(value, "volume")
        return value

    @field_validator("pan")
    @classmethod
    def _pan_in_order(cls, value: list[PanPoint]) -> list[PanPoint]:
        _growing(value, "pan")
        return value


class Stem(_Channel):
    """A source: one audio file, as it must be laid into the session.

    Attributes
    ----------
    file : str
        File name as given (relative to the stems folder).
    channels : int
        1 or 2.
    offset_samples : int
        Samples at the session's rate by which the stem is moved later (negative: earlier) to
        line up with the mix's first sample (see `MixGraph.position_samples`).
    polarity : int
        1, or -1 where the mix holds the stem inverted.
    volume : list of VolumePoint
        Volume automation at the channel's output (buses and the master have it too).
    pan : list of PanPoint
        Pan automation there, a pan of its own behind all processors (as for `volume`).
    """

    type: Literal["stem"] = "stem"
    id: NodeId
    name: str
    file: str
    channels: Literal[1, 2] = 2
    offset_samples: int = 0
    polarity: Literal[1, -1] = 1


class Bus(_Channel):
    """The sum of everything that flows into it: a group of tracks, or the return of sends."""

    type: Literal["bus"] = "bus"
    id: NodeId
    name: str


class Master(_Channel):
    """The final sum."""

    type: Literal["master"] = "master"
    id: NodeId = "master"
    name: str = "Master"


class Processor(_Model):
    """One processor: ``y = mix * f(u; parameters) + (1 - mix) * u``.

    Attributes
    ----------
    type : str
        A key of `processors.specs.SPECS`.
    parameters : dict of str to float
        All parameters of the type, in physical units (the unit is the suffix of the name).
    mix : float
        Dry/wet weight, 0 (dry) to 1 (wet).
    law : str
        Key of `processors.laws.LAWS` where the processor follows another plugin's law; empty for ours.
    evidence : Evidence or None
        How sure the search is of it.
    """

    type: str
    id: NodeId
    parameters: dict[str, float]
    mix: float = MIX.default
    law: str = ""
    evidence: Evidence | None = None

    @property
    def kind(self) -> str:
        """What has a profile, limits and a twin of its own; see `laws.kind_of`."""
        return kind_of(self.type, self.law)

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        return spec_of(value).type

    @field_validator("mix")
    @classmethod
    def _mix_in_range(cls, value: float) -> float:
        return MIX.check(value)

    @model_validator(mode="after")
    def _parameters_in_range(self) -> Self:
        # Written through __dict__: assigning would validate again without end.
        self.__dict__["parameters"] = spec_of(self.type).check(self.parameters)
        law_of(self.law, self.type)
        return self


class Pruned(_Model):
    """A processor that pruning took out, as it was set then; it is no part of the mix.

    Attributes
    ----------
    channel : str
        Id of the channel it was on.
    before : str
        Id of the processor of that channel that it stood before; empty for the channel's end.
    """

    channel: NodeId
    before: str = ""
    processor: Processor


Node = Stem | Bus | Master | Processor


def _parse_node(value: Any) -> Any:
    if isinstance(value, _Model):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("expected an object")
    kinds: dict[str, type[_Model]] = {"stem": Stem, "bus": Bus, "master": Master}
    kind = value.get("type")
    if not isinstance(kind, str) or (kind not in kinds and kind not in SPECS):
        raise ValueError(f"type: unknown node type {kind!r}; known are {', '.join([*kinds, *SPECS])}")
    return kinds.get(kind, Processor).model_validate(value)


class Edge(_Model):
    """A connection from the output of one node to the input of another.

    Attributes
    ----------
    send_db : float or None
        None for the main output. A number makes it a send: from the end of a channel, after its
        automation, into a bus, at this level (range of `specs.SEND_LEVEL`).
    volume : list of VolumePoint
        Of a send, automation of its level, relative to `send_db`; empty for the main output.
    evidence : Evidence or None
        Of a send, how sure the search is of it.
    """

    source: str
    target: str
    send_db: float | None = None
    volume: list[VolumePoint] = Field(default_factory=list)
    evidence: Evidence | None = None

    @field_validator("send_db")
    @classmethod
    def _level_in_range(cls, value: float | None) -> float | None:
        return None if value is None else SEND_LEVEL.check(value)

    @field_validator("volume")
    @classmethod
    def _volume_in_order(cls, value: list[VolumePoint]) -> list[VolumePoint]:
        _growing(value, "volume")
        return value


class Loss(_Model):
    """Match loss L_a at 30 kHz (see `metrics`) of the stages of a search, dimensionless."""

    plain_sum: float | None = None
    gain_pan: float | None = None
    console: float | None = None
    pruned: float | None = None
    reference: float | None = None


class Provenance(_Model):
    """Where a graph comes from: settings, seed, versions and what the search reached.

    Attributes
    ----------
    plugins : str
        The choice of plugin suites whose laws and ranges the search kept to.
    sources : dict of str to str
        Where the "stems" folder and the "mix" were, as absolute paths.
    """

    seed: int = 0
    quality: str = ""
    tolerance: float | None = None
    plugins: str = ""
    sources: dict[str, str] = Field(default_factory=dict)
    console_processors: int = 0
    loss: Loss = Field(default_factory=Loss)
    pruned_ratio: dict[str, float] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


class MixGraph(_Model):
    """A mixing graph.

    Attributes
    ----------
    name : str
        Name of the song.
    sample_rate_hz : int
        Rate of the session; offsets and `frames` count its samples.
    start_frame : int
        First frame of the mix that belongs to the session; above 0 where only a part was analysed.
    frames : int
        Length of the session in sample frames.
    tempo : TempoMap or None
        Tempo, time signatures and markers, from the first frame of the session; None where unknown.
    nodes : list of Stem, Bus, Master or Processor
    edges : list of Edge
    pruned : list of Pruned
        Processors that were taken out, in the order of the console, for those who want to try them.
    provenance : Provenance

    Raises
    ------
    GraphError
        From `from_json`, `load` and `validated` when a rule is broken; the message names the field.
    """

    format: Literal["mixbridge-graph"] = "mixbridge-graph"
    schema_version: Literal[2] = 2
    name: str
    sample_rate_hz: Annotated[int, Field(ge=8000, le=384000)]
    start_frame: Annotated[int, Field(ge=0)] = 0
    frames: Annotated[int, Field(ge=0)] = 0
    tempo: TempoMap | None = None
    nodes: list[Annotated[Node, Field(union_mode="left_to_right")]]
    edges: list[Edge]
    pruned: list[Pruned] = Field(default_factory=list)
    provenance: Provenance = Field(default_factory=Provenance)

    @field_validator("nodes", mode="before")
    @classmethod
    def _nodes_by_type(cls, value: Any) -> Any:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ValueError("expected a list")
        nodes = []
        for index, item in enumerate(value):
            try:
                nodes.append(_parse_node(item))
            except ValidationError as error:
                raise ValueError(f"{index}.{_first_error(error)}") from None
            except ValueError as error:
                raise ValueError(f"{index}.{error}") from None
        return nodes

    @model_validator(mode="after")
    def _topology(self) -> Self:
        check_topology(self)
        _check_pruned(self)
        return self

    # ---------------------------------------------------------------- look-ups

    def node(self, node_id: str) -> Node:
        """Return a node by id (`GraphError` if there is none)."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise GraphError(f"nodes: no node has the id {node_id!r}")

    def channel(self, channel_id: str) -> Stem | Bus | Master:
        """Return a stem, a bus or the master by id (`GraphError` if there is none)."""
        node = self.node(channel_id)
        if isinstance(node, Processor):
            raise GraphError(f"nodes: {channel_id!r} is a processor, not a channel")
        return node

    @property
    def stems(self) -> list[Stem]:
        """All stems in file order."""
        return [n for n in self.nodes if isinstance(n, Stem)]

    @property
    def buses(self) -> list[Bus]:
        """All buses in file order."""
        return [n for n in self.nodes if isinstance(n, Bus)]

    @property
    def master(self) -> Master:
        """The master."""
        return next(n for n in self.nodes if isinstance(n, Master))

    @property
    def processors(self) -> list[Processor]:
        """All processors in file order."""
        return [n for n in self.nodes if isinstance(n, Processor)]

    def channels(self) -> Iterator[Stem | Bus | Master]:
        """Every track, group and the master, each followed by its `chain`."""
        yield from self.stems
        yield from self.buses
        yield self.master

    def _main_targets(self) -> dict[str, str]:
        return {e.source: e.target for e in self.edges if e.send_db is None}

    def _walk(self, channel_id: str) -> Iterator[str]:
        targets = self._main_targets()
        current = targets.get(channel_id)
        while current is not None:
            yield current
            if not isinstance(self.node(current), Processor):
                return
            current = targets.get(current)

    def chain(self, channel_id: str) -> list[Processor]:
        """Processors of a channel in signal order."""
        nodes = (self.node(node_id) for node_id in self._walk(channel_id))
        return [n for n in nodes if isinstance(n, Processor)]

    def parent(self, channel_id: str) -> Bus | Master | None:
        """The bus or master a channel flows into; None for the master."""
        for node_id in self._walk(channel_id):
            node = self.node(node_id)
            if isinstance(node, Bus | Master):
                return node
        return None

    def children(self, bus_id: str) -> list[Stem | Bus]:
        """Channels that flow into a bus or the master, in file order."""
        found: list[Stem | Bus] = []
        channels: list[Stem | Bus] = [*self.stems, *self.buses]
        for channel in channels:
            parent = self.parent(channel.id)
            if parent is not None and parent.id == bus_id:
                found.append(channel)
        return found

    def path(self, channel_id: str) -> list[str]:
        """Ids of the channels that a channel flows through along main outputs, itself first, the master last."""
        parent = self.parent(channel_id)
        return [channel_id, *(self.path(parent.id) if parent is not None else [])]

    def stems_reaching(self, channel_id: str) -> frozenset[str]:
        """Ids of the stems that are heard through a channel, by main outputs or sends."""
        if isinstance(self.node(channel_id), Stem):
            return frozenset((channel_id,))
        sources = [c.id for c in self.children(channel_id)]
        sources += [channel for channel, target in self.all_sends() if target == channel_id]
        return frozenset().union(*(self.stems_reaching(source) for source in sources))

    def end(self, channel_id: str) -> str:
        """Id of the last node of a channel: its last processor, or itself."""
        chain = self.chain(channel_id)
        return chain[-1].id if chain else channel_id

    def sends(self, channel_id: str) -> list[Edge]:
        """Sends that leave a channel; `Edge.target` is a bus."""
        end = self.end(channel_id)
        return [e for e in self.edges if e.send_db is not None and e.source == end]

    def all_sends(self) -> dict[tuple[str, str], Edge]:
        """Every send by its channel and its bus."""
        return {(c.id, e.target): e for c in self.channels() for e in self.sends(c.id)}

    @property
    def returns(self) -> list[Bus]:
        """Buses that sends alone feed."""
        mains = set(self._main_targets().values())
        fed = {e.target for e in self.edges if e.send_db is not None}
        return [b for b in self.buses if b.id in fed and b.id not in mains]

    def position_samples(self, stem: Stem) -> int:
        """Where a stem's first sample lies, counted from the session's first frame (may be negative)."""
        return stem.offset_samples - self.start_frame

    @property
    def bpm(self) -> float | None:
        """The one tempo that stands for the session (quarter notes per minute); None where it is unknown."""
        return None if self.tempo is None else self.tempo.prevailing_bpm(self.frames / self.sample_rate_hz)

    # ---------------------------------------------------------------- changes

    def with_tempo(self, tempo: TempoMap) -> MixGraph:
        """A copy with a tempo map that counts from the mix's first frame."""
        return self.model_copy(update={"tempo": tempo.shifted(self.start_frame / self.sample_rate_hz)})

    def without(self, processor_ids: set[str]) -> MixGraph:
        """A copy in which the given processors are bypassed and gone; sends stay with their channel."""
        targets = self._main_targets()
        sources = {target: source for source, target in targets.items() if target in processor_ids}

        def onwards(node_id: str | None) -> str | None:
            while node_id in processor_ids:
                node_id = targets.get(node_id)
            return node_id

        def back(node_id: str) -> str:
            while node_id in processor_ids:
                node_id = sources[node_id]
            return node_id

        edges = []
        for edge in self.edges:
            if edge.send_db is not None:
                edges.append(edge.model_copy(update={"source": back(edge.source)}))
            elif edge.source not in processor_ids:
                target = onwards(edge.target)
                if target is not None:
                    edges.append(Edge(source=edge.source, target=target))
        return self.rebuilt([n for n in self.nodes if n.id not in processor_ids], edges)

    def without_sends(self, sends: Collection[tuple[str, str]]) -> MixGraph:
        """A copy without some sends, each given by its channel and its bus."""
        gone = {(self.end(channel), bus) for channel, bus in sends}
        kept = [e for e in self.edges if e.send_db is None or (e.source, e.target) not in gone]
        return self.rebuilt(self.nodes, kept)

    def tidied(self) -> MixGraph:
        """A copy without the buses, and their processors, that nothing flows into."""
        graph = self
        while True:
            fed = {e.target for e in graph.edges}
            silent = {b.id for b in graph.buses if b.id not in fed}
            if not silent:
                return graph
            gone = silent | {p.id for bus_id in silent for p in graph.chain(bus_id)}
            nodes = [n for n in graph.nodes if n.id not in gone]
            graph = graph.rebuilt(nodes, [e for e in graph.edges if e.source not in gone])

    def with_pruned(self, pruned: Sequence[Pruned]) -> MixGraph:
        """A copy that tells which processors were taken out; those of channels that are gone are left out."""
        return self.model_copy(update={"pruned": _still_placed(pruned, self.nodes)})

    def rebuilt(self, nodes: Sequence[Node], edges: Sequence[Edge]) -> MixGraph:
        """A copy with other nodes and edges, checked again."""
        return MixGraph(
            name=self.name,
            sample_rate_hz=self.sample_rate_hz,
            start_frame=self.start_frame,
            frames=self.frames,
            tempo=self.tempo,
            nodes=list(nodes),
            edges=list(edges),
            pruned=_still_placed(self.pruned, nodes),
            provenance=self.provenance,
        )

    # ---------------------------------------------------------------- files

    def to_json(self) -> str:
        """Serialise; stable under load, save, load."""
        # Without what is optional the file is what it was before there was any.
        data = self.model_dump(exclude={name for name in ("tempo", "pruned") if not getattr(self, name)})
        for part, name in ((data["nodes"], "pan"), (data["edges"], "volume")):
            for item in part:
                if item.get(name) == []:
                    del item[name]
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        """Write graph.json whole or not at all."""
        write_text_whole(path, self.to_json())

    @classmethod
    def from_json(cls, text: str, *, origin: str = "graph") -> MixGraph:
        """Parse and validate; `origin` is named in error messages.

        Raises
        ------
        GraphError
            If the text is not JSON or breaks a rule; the message names the field.
        """
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise GraphError(f"{origin}: not valid JSON ({error}); write it again with 'mixbridge analyze'") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise GraphError(f"{origin}: format: this is not a Mixbridge graph (expected {FORMAT!r})")
        if data.get("schema_version") not in READABLE_VERSIONS:
            raise GraphError(
                f"{origin}: schema_version: {data.get('schema_version')!r} is not supported; "
                f"this version of Mixbridge reads {' and '.join(map(str, READABLE_VERSIONS))}"
            )
        data["schema_version"] = SCHEMA_VERSION
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise GraphError(f"{origin}: {_first_error(error)}") from None

    @classmethod
    def load(cls, path: Path) -> MixGraph:
        """Read a graph file (`GraphError` when it is missing, too large or malformed)."""
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise GraphError(f"{path}: larger than {MAX_FILE_BYTES} bytes; this is not a graph file")
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise GraphError(f"{path}: cannot read the graph file ({reason})") from None
        return cls.from_json(text, origin=str(path))


class Timed(Protocol):
    """A breakpoint of anything that moves: a graph's, or one that was read from a session."""

    @property
    def time_s(self) -> float:
        """From the first frame of the session."""


class Breakpoint(Timed, Protocol):
    """What `volume_gains` needs of a point."""

    @property
    def gain_db(self) -> float:
        """Gain there."""


class PanBreakpoint(Timed, Protocol):
    """What `pan_automation_gains` needs of a point."""

    @property
    def pan(self) -> float:
        """Position there, -1 (left) to 1 (right)."""


def _course(
    points: Sequence[Timed], values: Sequence[float], *, frames: int, sample_rate_hz: float
) -> npt.NDArray[np.float64]:
    """The value of an automation at every sample: straight lines, and the first and last value held."""
    times_s = np.arange(frames) / sample_rate_hz
    return np.asarray(np.interp(times_s, [p.time_s for p in points], values))


def volume_gains(points: Sequence[Breakpoint], *, frames: int, sample_rate_hz: float) -> npt.NDArray[np.float64]:
    """Gain of the volume automation of a channel or a send at every sample.

    Between two points the amplitude changes linearly; before the first and after the last point
    their gain is held.

    Returns
    -------
    array, shape=(frames,)
        Linear amplitude; all 1 where there are no points.
    """
    if not points:
        return np.ones(frames)
    gains = [db_to_gain(p.gain_db) for p in points]
    return _course(points, gains, frames=frames, sample_rate_hz=sample_rate_hz)


def pan_automation_gains(
    points: Sequence[PanBreakpoint], *, frames: int, sample_rate_hz: float
) -> npt.NDArray[np.float64]:
    """Left and right gain of a channel's pan automation at every sample.

    Between two points the position changes linearly; before the first and after the last point it
    is held. The law is that of `equations.pan_gains`.

    Returns
    -------
    array, shape=(2, frames)
        Linear amplitude; all 1 where there are no points.
    """
    if not points:
        return np.ones((2, frames))
    return np.stack(pan_gains(pan_positions(points, frames=frames, sample_rate_hz=sample_rate_hz), xp=np))


def pan_positions(points: Sequence[PanBreakpoint], *, frames: int, sample_rate_hz: float) -> npt.NDArray[np.float64]:
    """Position of pan automation (of one point at least) at every sample, shape (frames,)."""
    return _course(points, [p.pan for p in points], frames=frames, sample_rate_hz=sample_rate_hz)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    cause = first.get("ctx", {}).get("error")
    message = str(cause) if isinstance(cause, ValueError | ParameterError) else first["msg"]
    if where.startswith("nodes") and where.count(".") == 0:
        return f"{where}.{message}"
    return f"{where}: {message}" if where else message


def _still_placed(pruned: Sequence[Pruned], nodes: Sequence[Node]) -> list[Pruned]:
    """What was pruned from channels that are there; what it stood before may be gone."""
    ids = {node.id for node in nodes}
    return [
        p if p.before in ids else p.model_copy(update={"before": ""})
        for p in pruned
        if p.channel in ids and p.processor.id not in ids
    ]


def _check_pruned(graph: MixGraph) -> None:
    """Check that what was pruned has a place and a name of its own."""
    channels = {channel.id for channel in graph.channels()}
    taken = {node.id for node in graph.nodes}
    for index, pruned in enumerate(graph.pruned):
        if pruned.channel not in channels:
            raise ValueError(f"pruned.{index}.channel: no channel has the id {pruned.channel!r}")
        if pruned.processor.id in taken:
            raise ValueError(f"pruned.{index}.processor.id: the id {pruned.processor.id!r} is used twice")
        if pruned.before and pruned.before not in {p.id for p in graph.chain(pruned.channel)}:
            raise ValueError(f"pruned.{index}.before: {pruned.before!r} is no processor of {pruned.channel!r}")
        taken.add(pruned.processor.id)


def check_topology(graph: MixGraph) -> None:
    """Check that the nodes form a mix: one master, no loops, nothing dangling.

    Raises
    ------
    ValueError
        Naming the node or edge that breaks a rule.
    """
    ids = [n.id for n in graph.nodes]
    for node_id in ids:
        if ids.count(node_id) > 1:
            raise ValueError(f"nodes: the id {node_id!r} is used twice")
    masters = [n for n in graph.nodes if isinstance(n, Master)]
    if len(masters) != 1:
        raise ValueError(f"nodes: a graph has exactly one master, found {len(masters)}")
    if not graph.stems:
        raise ValueError("nodes: a graph needs at least one stem")
    known = set(ids)
    net: nx.DiGraph[str] = nx.DiGraph()
    net.add_nodes_from(ids)
    for index, edge in enumerate(graph.edges):
        for end, node_id in (("source", edge.source), ("target", edge.target)):
            if node_id not in known:
                raise ValueError(f"edges.{index}.{end}: no node has the id {node_id!r}")
        if net.has_edge(edge.source, edge.target):
            raise ValueError(f"edges.{index}: {edge.source!r} to {edge.target!r} is listed twice")
        net.add_edge(edge.source, edge.target)
    if not nx.is_directed_acyclic_graph(net):
        raise ValueError("edges: the graph has a loop")
    after_master = nx.descendants(net, masters[0].id)
    for node in graph.nodes:
        if node.id in after_master and not isinstance(node, Processor):
            raise ValueError(f"edges: {node.id!r} comes after the master; only processors may")
    last = [n for n in ids if net.out_degree(n) == 0]
    for node in graph.nodes:
        inputs = net.in_degree(node.id)
        if isinstance(node, Stem) and inputs:
            raise ValueError(f"edges: the stem {node.id!r} cannot have an input")
        if isinstance(node, Processor) and inputs != 1:
            raise ValueError(f"edges: the processor {node.id!r} has {inputs} inputs, it needs exactly one")
    _check_outputs(graph, known_buses={b.id for b in graph.buses}, after_master=after_master | {masters[0].id})
    loose = [n for n in last if n != masters[0].id and n not in after_master]
    if loose:
        raise ValueError(f"edges: {loose[0]!r} does not reach the master's output")


def _check_outputs(graph: MixGraph, *, known_buses: set[str], after_master: set[str]) -> None:
    """One main output per node; sends go from the end of a channel into a bus."""
    main: dict[str, str] = {}
    for index, edge in enumerate(graph.edges):
        if edge.send_db is not None:
            continue
        if edge.source in main:
            raise ValueError(f"edges.{index}: {edge.source!r} has two outputs; a further one must be a send (send_db)")
        main[edge.source] = edge.target
    processors = {p.id for p in graph.processors}
    for index, edge in enumerate(graph.edges):
        if edge.send_db is None:
            if edge.evidence is not None:
                raise ValueError(f"edges.{index}.evidence: only sends carry evidence")
            if edge.volume:
                raise ValueError(f"edges.{index}.volume: only sends have automation; that of a channel is its node's")
            continue
        if edge.target not in known_buses:
            raise ValueError(f"edges.{index}: a send goes into a bus, {edge.target!r} is none")
        if edge.source in after_master:
            raise ValueError(f"edges.{index}: the master cannot send")
        if main.get(edge.source) in processors:
            raise ValueError(f"edges.{index}: a send leaves the end of a channel, {edge.source!r} is inside one")
