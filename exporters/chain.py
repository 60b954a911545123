"""chain.json: a mix as channels with plugin inserts and sends, as any host can render it; no plugin is run here.

The form in which the pedalboard export is written and in which the verifier holds whatever it
read from disk, also a DAW's session. Sums, faders, pans, widths and dry/wet are the host's work;
`Insert.kind` says who does an insert.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import networkx as nx
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..bridge.errors import ParameterError, SessionFileError
from ..bridge.files import write_text_whole
from ..bridge.graph import Breakpoint, PanBreakpoint, Timed
from ..bridge.processors.specs import MIX, SPECS

CHAIN_FILE = "chain.json"
FORMAT = "mixbridge-chain"
SCHEMA_VERSION = 2

#: Version 1 had neither sends nor volume automation; its files are read as they are.
READABLE_VERSIONS = (1, SCHEMA_VERSION)

#: A chain file larger than this is refused unread.
MAX_FILE_BYTES = 64 * 1024 * 1024


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class PluginInfo(_Model):
    """Which plugin an insert uses.

    Attributes
    ----------
    name : str
        As the plugin calls itself ("Compressor Stereo"); for built-ins the class in pedalboard,
        for a JSFX its file name.
    bundle : str
        File name of the VST3 bundle ("lsp-plugins.vst3"); empty for built-ins; for a JSFX the
        path of its file relative to the chain file.
    class_id : str
        32 hexadecimal digits, upper case; the URI of an LV2 plugin; empty for built-ins and JSFX.
    """

    name: str
    bundle: str = ""
    class_id: str = ""
    version: str = ""


class Stage(_Model):
    """One plugin built into pedalboard, or one LV2 plugin, as a part of an insert.

    Attributes
    ----------
    name : str
        Its class in pedalboard ("PeakFilter"), or its URI.
    values : dict of str to float or str
        Its attributes or ports; what is not named keeps its default.
    files : dict of str to str
        Attributes that name a file, with the path relative to the chain file: the impulse
        response of a convolution.
    """

    name: str
    values: dict[str, float | str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)


class Branch(_Model):
    """Stages in series on one of the parallel paths of an insert.

    Attributes
    ----------
    mono : bool
        Both sides of the branch hear ``(L + R) / 2``; otherwise it hears left and right.
    stages : tuple of Stage
        None at all: a plain wire.
    left, right : float
        Linear gain of the branch's outputs, after its stages.
    """

    mono: bool = False
    stages: tuple[Stage, ...] = ()
    left: float = 1.0
    right: float = 1.0


class Insert(_Model):
    """One processor of a channel: ``y = mix * f(u) + (1 - mix) * u``.

    What `f` is depends on `kind`: one VST3 plugin or JSFX with its `values`, the sum of the
    `branches` of pedalboard's built-ins, or the mixer's own arithmetic.

    Attributes
    ----------
    id : str
        The graph's node, where there is one.
    type : str
        Key of `specs.SPECS`; empty for an effect that realises none of ours.
    law : str
        Key of `laws.LAWS`; empty for the reference law.
    kind : {"vst3", "lv2", "builtin", "jsfx", "stock", "mixer"}
        A VST3 or LV2 plugin, a pedalboard built-in, a JSFX, a plugin that runs in its DAW alone (what is known
        of it is in `parameters`), or arithmetic of the mixer itself (gain/pan and width, from `parameters`).
    parameters : dict of str to float
        Physical parameters of `type`; empty where they are not known.
    values : dict of str to float or str
        What is set on the plugin: its parameters by name, the sliders of a JSFX by variable name.
    preset : str or None
        `.vstpreset` with the same settings, relative to the chain file.
    state : str or None
        State of the plugin's component, base64, where the session holds it itself instead of a preset.
    files : dict of str to str
        Files the plugin loads (impulse responses), state id to path relative to the chain file.
    latency_samples : int
        Delay of the plugin that the host must remove.
    branches : tuple of Branch
        Of kind "builtin" and "lv2" alone: ``f(u)`` is their sum; silence if there are none.
    """

    id: str
    type: str = ""
    law: str = ""
    kind: Literal["vst3", "lv2", "builtin", "jsfx", "stock", "mixer"]
    plugin: PluginInfo | None = None
    parameters: dict[str, float] = Field(default_factory=dict)
    values: dict[str, float | str] = Field(default_factory=dict)
    preset: str | None = None
    state: str | None = None
    files: dict[str, str] = Field(default_factory=dict)
    latency_samples: Annotated[int, Field(ge=0)] = 0
    mix: float = MIX.default
    bypassed: bool = False
    branches: tuple[Branch, ...] = ()

    @property
    def title(self) -> str:
        """What people call it: the plugin's name, else the type."""
        return self.plugin.name if self.plugin is not None else self.type or self.id

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        if value and value not in SPECS:
            raise ValueError(f"unknown processor type {value!r}; known are {', '.join(SPECS)}")
        return value

    @field_validator("mix")
    @classmethod
    def _mix_in_range(cls, value: float) -> float:
        return MIX.check(value)

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        if (self.kind in ("vst3", "lv2", "jsfx", "stock")) != (self.plugin is not None):
            raise ValueError("plugin: inserts of VST3, LV2, JSFX and a DAW's own plugins have one, others have none")
        if self.branches and self.kind not in ("builtin", "lv2"):
            raise ValueError("branches: only inserts of pedalboard's built-ins and of LV2 plugins have them")
        return self


class Source(_Model):
    """The audio file of a track; see `session.Media`. `file` is relative to the chain file."""

    file: str
    offset_samples: int = 0
    polarity: Literal[1, -1] = 1
    channels: Literal[1, 2] = 2


class _Point(_Model):
    """A breakpoint of any automation."""

    time_s: Annotated[float, Field(ge=0.0)]


class VolumePoint(_Point):
    """A breakpoint of the automation of a fader or a send, as `graph.volume_gains` draws it.

    Attributes
    ----------
    time_s : float >= 0
        From the first frame of the session.
    gain_db : float
        Relative to the fader or send. A project made by hand may go beyond what the search would find.
    """

    gain_db: float

    @classmethod
    def copies(cls, points: Iterable[Breakpoint]) -> tuple[Self, ...]:
        """The same points as those of a graph or session."""
        return tuple(cls(time_s=point.time_s, gain_db=point.gain_db) for point in points)


class PanPoint(_Point):
    """A breakpoint of the automation of a pan, as `graph.pan_automation_gains` draws it.

    Attributes
    ----------
    time_s : float >= 0
        From the first frame of the session.
    pan : float, -1 (left) to 1 (right)
    """

    pan: Annotated[float, Field(ge=-1.0, le=1.0)]

    @classmethod
    def copies(cls, points: Iterable[PanBreakpoint]) -> tuple[Self, ...]:
        """The same points as those of a graph or session."""
        return tuple(cls(time_s=point.time_s, pan=point.pan) for point in points)


def _never_falling(points: Sequence[Timed]) -> None:
    if any(later.time_s < earlier.time_s for earlier, later in pairwise(points)):
        raise ValueError("the times of its points must not fall")


class Send(_Model):
    """A post-fader send: it takes what leaves a channel, after its automation.

    Attributes
    ----------
    target : str
        Id of the bus it feeds.
    gain : float >= 0
        Linear amplitude.
    volume : tuple of VolumePoint
        Automation of the level, relative to `gain`, with times as in `Channel.volume`.
    """

    target: str
    gain: Annotated[float, Field(ge=0.0)]
    volume: tuple[VolumePoint, ...] = ()

    @field_validator("volume")
    @classmethod
    def _times_never_fall(cls, value: tuple[VolumePoint, ...]) -> tuple[VolumePoint, ...]:
        _never_falling(value)
        return value


class Channel(_Model):
    """A track, bus or the master: source or sum of what feeds it, inserts, then fader, pan and sends.

    Attributes
    ----------
    kind : {"track", "bus", "master"}
        A bus is fed by channels whose `parent` it is and by sends.
    parent : str or None
        Id of the bus or master it flows into; None for the master alone.
    gain : float >= 0
        Linear fader gain after the inserts.
    pan : float, -1 to 1
        `equations.pan_gains`.
    volume : tuple of VolumePoint
        Automation of the fader; it acts on the way to the parent and on the sends alike. Times
        never fall; two points at one time are a jump. Empty: the fader stays where it is.
    pan_points : tuple of PanPoint
        Automation of a pan of its own behind `pan`, with times as in `volume`; it acts where that does.
    sends : tuple of Send
        One a target at most; the master has none.
    """

    id: str
    name: str
    kind: Literal["track", "bus", "master"]
    parent: str | None = None
    source: Source | None = None
    inserts: tuple[Insert, ...] = ()
    gain: Annotated[float, Field(ge=0.0)] = 1.0
    pan: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.0
    volume: tuple[VolumePoint, ...] = ()
    pan_points: tuple[PanPoint, ...] = ()
    sends: tuple[Send, ...] = ()

    @field_validator("volume")
    @classmethod
    def _volume_never_falls(cls, value: tuple[VolumePoint, ...]) -> tuple[VolumePoint, ...]:
        _never_falling(value)
        return value

    @field_validator("pan_points")
    @classmethod
    def _pan_never_falls(cls, value: tuple[PanPoint, ...]) -> tuple[PanPoint, ...]:
        _never_falling(value)
        return value

    @field_validator("sends")
    @classmethod
    def _one_a_target(cls, value: tuple[Send, ...]) -> tuple[Send, ...]:
        if len({send.target for send in value}) != len(value):
            raise ValueError("two of them have the same target")
        return value

    def feeds(self) -> Iterator[tuple[str, Send]]:
        """Where its output flows: ids of channels, each with the level on the way there, 1 for the parent."""
        if self.parent is not None:
            yield self.parent, Send(target=self.parent, gain=1.0)
        for send in self.sends:
            yield send.target, send


def in_signal_order(channels: Iterable[Channel]) -> tuple[Channel, ...]:
    """Every channel before those it feeds, and otherwise in the order given.

    Raises
    ------
    SessionFileError
        If channels feed each other in a loop.
    """
    given = list(channels)
    order = {channel.id: place for place, channel in enumerate(given)}
    net: nx.DiGraph[int] = nx.DiGraph()
    net.add_nodes_from(order.values())
    for channel in given:
        net.add_edges_from((order[channel.id], order[target]) for target, _ in channel.feeds() if target in order)
    try:
        return tuple(given[place] for place in nx.lexicographical_topological_sort(net))
    except nx.NetworkXUnfeasible:
        looping = [given[source].name for source, _ in nx.find_cycle(net)]
        raise SessionFileError(
            f"{', '.join(looping)}: the sends lead back to where they come from; remove one of them"
        ) from None


class Chain(_Model):
    """A whole mix; every channel stands before those it feeds, the master is last.

    Attributes
    ----------
    suites : str
        The choice of plugin suites it was written for, as given to ``--plugins``.
    frames : int
        Length in sample frames at `sample_rate_hz`.
    """

    format: Literal["mixbridge-chain"] = "mixbridge-chain"
    schema_version: Literal[2] = 2
    name: str
    sample_rate_hz: Annotated[int, Field(ge=8000, le=384000)]
    frames: Annotated[int, Field(ge=0)]
    suites: str = ""
    channels: tuple[Channel, ...]

    @model_validator(mode="after")
    def _order(self) -> Self:
        names = [c.id for c in self.channels]
        if len(set(names)) != len(names):
            raise ValueError("channels: an id is used twice")
        if not self.channels or self.channels[-1].kind != "master" or self.channels[-1].parent is not None:
            raise ValueError("channels: the last one must be the master")
        if self.channels[-1].sends:
            raise ValueError(f"channels.{len(names) - 1}.sends: the master cannot send")
        for index, channel in enumerate(self.channels[:-1]):
            if channel.kind == "master":
                raise ValueError(f"channels.{index}: only the last channel is the master")
            if channel.parent not in names[index + 1 :]:
                raise ValueError(f"channels.{index}.parent: {channel.parent!r} does not come after {channel.id!r}")
            if (channel.kind == "track") != (channel.source is not None):
                raise ValueError(f"channels.{index}.source: tracks have one, buses have none")
            _check_feeds(index, channel, self.channels[index + 1 :])
        return self

    def channel(self, channel_id: str) -> Channel:
        """Return a channel by id (`SessionFileError` if there is none)."""
        for channel in self.channels:
            if channel.id == channel_id:
                return channel
        raise SessionFileError(f"chain: no channel has the id {channel_id!r}")

    def to_json(self) -> str:
        """Serialise; stable under load, save, load."""
        data = self.model_dump(mode="json")
        # Without automation of pan and sends the file is what it was before there was any.
        for channel in data["channels"]:
            _drop_empty(channel, "pan_points")
            for send in channel["sends"]:
                _drop_empty(send, "volume")
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        """Write chain.json whole or not at all."""
        write_text_whole(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Chain:
        """Read chain.json.

        Raises
        ------
        SessionFileError
            When it is missing, too large or malformed; the message names the field.
        """
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise SessionFileError(f"{path}: larger than {MAX_FILE_BYTES} bytes; this is not a chain file")
            data: Any = json.loads(path.read_bytes())
        except OSError as error:
            raise SessionFileError(f"{path}: cannot read the chain file ({error.strerror})") from None
        except (ValueError, RecursionError):
            raise SessionFileError(f"{path}: not valid JSON; export it again") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise SessionFileError(f"{path}: format: this is not a Mixbridge chain (expected {FORMAT!r})")
        if data.get("schema_version") not in READABLE_VERSIONS:
            raise SessionFileError(
                f"{path}: schema_version: {data.get('schema_version')!r} is not supported; "
                f"this version of Mixbridge reads {' and '.join(map(str, READABLE_VERSIONS))}"
            )
        data["schema_version"] = SCHEMA_VERSION
        try:
            # JSON has no tuples: the strictness is for types, not for the kind of sequence.
            return cls.model_validate_json(json.dumps(data))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            cause = first.get("ctx", {}).get("error")
            message = str(cause) if isinstance(cause, ValueError | ParameterError) else first["msg"]
            raise SessionFileError(f"{path}: {where}: {message}" if where else f"{path}: {message}") from None


def _drop_empty(data: dict[str, Any], name: str) -> None:
    if not data[name]:
        del data[name]


def _check_feeds(index: int, channel: Channel, later: Sequence[Channel]) -> None:
    """Check that a channel feeds channels that can be fed and that come after it."""
    kinds = {c.id: c.kind for c in later}
    if kinds.get(channel.parent or "") == "track":
        raise ValueError(f"channels.{index}.parent: {channel.parent!r} is a track; only buses and the master sum")
    for number, send in enumerate(channel.sends):
        where = f"channels.{index}.sends.{number}.target"
        if send.target not in kinds:
            raise ValueError(f"{where}: {send.target!r} does not come after {channel.id!r}")
        if kinds[send.target] != "bus":
            raise ValueError(f"{where}: {send.target!r} is not a bus")
