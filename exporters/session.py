"""The DAW-neutral session of a mix: tracks, folders, returns, faders, sends and media; no DAW's file format here.

A session is a tree like the one a mixer shows, with sends across it. The gain and pan of the graph
go onto the faders wherever that changes nothing; what a fader cannot express stays an insert.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..bridge.graph import Bus, Master, MixGraph, PanPoint, Processor, Pruned, Stem, VolumePoint
from ..bridge.processors.equations import channel_gains, db_to_gain, gain_and_pan, gain_to_db
from ..bridge.processors.specs import GAIN_PAN, spec_of
from ..bridge.tempo import TempoMap
from .families import REFERENCE, RETURN, family_of
from .thinning import thinned_pan, thinned_volume

#: A fader's usual upper end. What is louder is split over the fader and a gain insert.
MAX_FADER_DB = 12.0

#: Pans nearer to the centre than this are the centre (0.00001 dB).
CENTRE_PAN = 1e-6

#: Id of the track that holds the finished mix. Ids of stems and groups come from names of files and hold no slash.
REFERENCE_ID = "reference/mix"

_PAN_DIGITS = 12

#: Types that treat left and right alike and apart, so that a pan may come before or after them.
PER_CHANNEL = frozenset(("eq", "delay", "gain_pan"))


@dataclass(frozen=True)
class Insert:
    """A processor in a channel's insert chain; all insert chains are pre-fader.

    Attributes
    ----------
    id : str
        Unique within the session.
    type : str
        Key of `specs.SPECS`.
    parameters : dict of str to float
        All parameters of the type, in slider order.
    mix : float
        Dry/wet weight, 0 to 1.
    law : str
        Key of `laws.LAWS`; empty for ours.
    bypassed : bool
        There to be tried; the signal passes unchanged.
    """

    id: str
    type: str
    parameters: dict[str, float]
    mix: float
    law: str = ""
    bypassed: bool = False


@dataclass(frozen=True)
class Media:
    """The audio file of a track.

    Attributes
    ----------
    file : str
        Relative to the stems folder.
    offset_samples : int
        Where the file's first sample lies, counted at the session's rate from the session's
        first frame; negative when the session starts inside the file.
    polarity : int
        1 or -1.
    channels : int
        1 or 2.
    """

    file: str
    offset_samples: int
    polarity: int
    channels: int


@dataclass(frozen=True)
class Send:
    """A post-fader send: it takes what leaves a channel, after its automation.

    Attributes
    ----------
    target : str
        Id of the strip it feeds: a return, or a folder.
    gain : float >= 0
        Linear amplitude.
    volume : tuple of VolumePoint
        Automation in dB relative to `gain`. Empty: the level stays where it is.
    """

    target: str
    gain: float
    volume: tuple[VolumePoint, ...] = ()


@dataclass(frozen=True)
class Strip:
    """What every channel has: a name, inserts and, after them, a fader, a pan and sends.

    Attributes
    ----------
    gain : float >= 0
        Linear amplitude.
    pan : float, -1 (left) to 1 (right)
        Constant power with unity gain at the centre (`equations.pan_gains`). 0 where there are
        `pan_points`: a fader has one pan, and that is what moves.
    sends : tuple of Send
        One a target at most.
    volume : tuple of VolumePoint
        Automation in dB relative to `gain`, as `graph.volume_gains` draws it; it acts before the
        sends. Empty: the fader stays where it is.
    pan_points : tuple of PanPoint
        Automation of the pan, as `graph.pan_automation_gains` draws it; it acts before the sends.
    family : str
        Key of `families.FAMILY_COLOURS`; empty where the names tell nothing.
    """

    id: str
    name: str
    inserts: tuple[Insert, ...]
    gain: float
    pan: float
    sends: tuple[Send, ...] = ()
    volume: tuple[VolumePoint, ...] = ()
    pan_points: tuple[PanPoint, ...] = ()
    family: str = ""


@dataclass(frozen=True)
class Track:
    """A channel that plays a file."""

    strip: Strip
    media: Media


@dataclass(frozen=True)
class Return:
    """A channel that sends alone feed."""

    strip: Strip


@dataclass(frozen=True)
class Folder:
    """A channel that sums others; never empty. Sends may feed it as well."""

    strip: Strip
    children: tuple[Child, ...]


#: What lies in a folder or directly on the master.
Child = Track | Folder | Return


@dataclass(frozen=True)
class Session:
    """A whole session.

    Attributes
    ----------
    children : tuple of Track or Folder
        What flows into the master, in the order of the stems, without the returns there.
    frames : int
        Length at `sample_rate_hz`; 0 if the graph does not say.
    returns : tuple of Return
        Those that flow into the master, in the order of the graph. A return that flows into a
        group is a child of its folder.
    reference : Track, optional
        The finished mix, to compare with: heard past the master, and silent until a user wants it. Its file
        is an absolute path.
    tempo : TempoMap or None
        Tempo, bars and markers from the session's first frame; None where the graph does not say.
    """

    name: str
    sample_rate_hz: int
    frames: int
    children: tuple[Child, ...]
    master: Strip
    returns: tuple[Return, ...] = ()
    reference: Track | None = None
    tempo: TempoMap | None = None

    def tracks(self) -> Iterator[Track]:
        """All tracks, in the order of the session."""
        for child, _ in self.walk():
            if isinstance(child, Track):
                yield child

    def strips(self) -> Iterator[Strip]:
        """All channels: what the session shows from top to bottom, its returns, the master last."""
        for child, _ in self.walk():
            yield child.strip
        yield self.master

    def walk(self) -> Iterator[tuple[Child, str]]:
        """Everything but the master, each with the id of the strip it flows into; a folder before what it holds."""
        yield from _walk([*self.children, *self.returns], self.master.id)


def _walk(children: Sequence[Child], parent_id: str) -> Iterator[tuple[Child, str]]:
    for child in children:
        yield child, parent_id
        if isinstance(child, Folder):
            yield from _walk(child.children, child.strip.id)


def build_session(
    graph: MixGraph,
    *,
    max_fader_db: float = MAX_FADER_DB,
    reference_path: Path | None = None,
    keep_pruned: bool = False,
) -> Session:
    """Lay a graph out as a session that sounds the same.

    Parameters
    ----------
    graph : MixGraph
    max_fader_db : float
        The highest fader position of the DAW; louder gains get a gain insert for the rest.
    reference_path : Path, optional
        The finished mix, if the session is to have it for comparison.
    keep_pruned : bool
        Have the processors that pruning took out, bypassed, where they were.

    Returns
    -------
    Session
        Buses that nothing flows into are left out: they are silent.
    """
    graph = graph.tidied()
    children: dict[str, list[Stem | Bus]] = {}
    for channel in graph.channels():
        parent = graph.parent(channel.id)
        if parent is not None and not isinstance(channel, Master):
            children.setdefault(parent.id, []).append(channel)
    order = {stem.id: index for index, stem in enumerate(graph.stems)}

    def first_stem(channel: Stem | Bus) -> int:
        if isinstance(channel, Stem):
            return order[channel.id]
        return min((first_stem(c) for c in children.get(channel.id, [])), default=len(order))

    def strip_of(channel: Stem | Bus | Master) -> Strip:
        strip = _strip(graph, channel, max_fader_db=max_fader_db)
        return _with_pruned(strip, graph.pruned) if keep_pruned else strip

    def lay_out(channel: Stem | Bus) -> Child:
        strip = strip_of(channel)
        if isinstance(channel, Stem):
            return Track(strip, _media(graph, channel))
        inside = inside_of(channel.id)
        return Folder(strip, inside) if inside else Return(strip)

    def inside_of(parent_id: str) -> tuple[Child, ...]:
        return tuple(lay_out(channel) for channel in sorted(children.get(parent_id, []), key=first_stem))

    laid = inside_of(graph.master.id)
    return Session(
        name=graph.name,
        sample_rate_hz=graph.sample_rate_hz,
        frames=graph.frames,
        children=tuple(child for child in laid if not isinstance(child, Return)),
        master=strip_of(graph.master),
        returns=tuple(child for child in laid if isinstance(child, Return)),
        reference=None if reference_path is None else _reference(graph, reference_path),
        tempo=graph.tempo,
    )


def _reference(graph: MixGraph, path: Path) -> Track:
    strip = Strip(REFERENCE_ID, f"{path.stem} (reference)", (), 1.0, 0.0, family=REFERENCE)
    return Track(strip, Media(str(path.absolute()), -graph.start_frame, 1, 2))


def _media(graph: MixGraph, stem: Stem) -> Media:
    return Media(
        file=stem.file,
        offset_samples=graph.position_samples(stem),
        polarity=stem.polarity,
        channels=stem.channels,
    )


# ------------------------------------------------------------------------- fader and pan


def solve_fader(left: float, right: float) -> tuple[float, float]:
    """The one (gain, pan) whose channel gains are `left` and `right`.

    Parameters
    ----------
    left, right : float >= 0

    Returns
    -------
    gain : float >= 0
    pan : float, -1 to 1
        0 exactly where both gains agree.
    """
    gain, pan = gain_and_pan(left, right)
    # Rounded far below anything audible, so that a pan of 0.4 reads 0.4 and hard is hard.
    pan = round(pan, _PAN_DIGITS)
    return (gain, 0.0) if abs(pan) < CENTRE_PAN else (gain, pan)


def _strip(graph: MixGraph, channel: Stem | Bus | Master, *, max_fader_db: float) -> Strip:
    """One channel. Its automation comes after all processors; a pan that moves leaves no fader for another one."""
    inserts, left, right = _split(graph.chain(channel.id), pans=not channel.pan)
    gain, pan = solve_fader(left, right)
    highest = db_to_gain(max_fader_db)
    # What exceeds the fader by rounding alone is no reason for a gain insert.
    if gain > highest * (1.0 + 1e-12):
        inserts.extend(_trims(channel.id, gain_to_db(gain / highest)))
    gain = min(gain, highest)
    sends = tuple(
        Send(edge.target, db_to_gain(edge.send_db), thinned_volume(edge.volume))
        for edge in graph.sends(channel.id)
        if edge.send_db is not None
    )
    return Strip(
        id=channel.id,
        name=channel.name,
        inserts=tuple(inserts),
        gain=gain,
        pan=pan,
        sends=sends,
        volume=thinned_volume(channel.volume),
        pan_points=thinned_pan(channel.pan),
        family=_family(graph, channel),
    )


def _family(graph: MixGraph, channel: Stem | Bus | Master) -> str:
    """By its name, else that of all it sums, else by the names of its groups; what sums nothing is a return."""
    if isinstance(channel, Master):
        return ""
    inside = {""}
    if isinstance(channel, Bus):
        inside = {_family(graph, child) for child in graph.children(channel.id)}
        if not inside:
            return RETURN
    shared = inside.pop() if len(inside) == 1 else ""
    groups = [graph.node(node_id) for node_id in graph.path(channel.id)[1:]]
    return family_of(channel.name) or shared or family_of(*(g.name for g in groups if isinstance(g, Bus)))


def _split(chain: Sequence[Processor], *, pans: bool) -> tuple[list[Insert], float, float]:
    """What stays an insert, and the channel gains of what commutes with everything after it.

    Without `pans` both gains are the same: every pan stays an insert.
    """
    left = right = 1.0
    inserts: list[Insert] = []
    for index, node in enumerate(chain):
        after = chain[index + 1 :]
        if node.type == GAIN_PAN.type and all(spec_of(n.type).linear for n in after):
            node_left, node_right = channel_gains(**node.parameters, mix=node.mix)
            if not pans or not all(n.type in PER_CHANNEL for n in after):
                # The gain may move past a width or reverb, the pan may not.
                gain, pan = solve_fader(node_left, node_right)
                if pan != 0.0:
                    inserts.append(Insert(node.id, node.type, {"gain_db": 0.0, "pan": pan}, 1.0))
                node_left = node_right = gain
            left, right = left * node_left, right * node_right
        else:
            inserts.append(Insert(node.id, node.type, dict(node.parameters), node.mix, node.law))
    return inserts, left, right


def _with_pruned(strip: Strip, pruned: Sequence[Pruned]) -> Strip:
    """A strip with what was pruned from it; before what became the fader is before the fader."""
    inserts = list(strip.inserts)
    for one in (p for p in pruned if p.channel == strip.id):
        node = one.processor
        place = next((i for i, insert in enumerate(inserts) if insert.id == one.before), len(inserts))
        inserts.insert(place, Insert(node.id, node.type, dict(node.parameters), node.mix, node.law, bypassed=True))
    return replace(strip, inserts=tuple(inserts))


def _trims(channel_id: str, rest_db: float) -> Iterator[Insert]:
    """Gain inserts that add up to `rest_db` (> 0), as few as their range allows."""
    count = math.ceil(rest_db / GAIN_PAN.parameter("gain_db").maximum)
    for number in range(1, count + 1):
        values = {"gain_db": rest_db / count, "pan": GAIN_PAN.parameter("pan").default}
        yield Insert(f"{channel_id}:trim{number}", GAIN_PAN.type, GAIN_PAN.check(values), 1.0)
