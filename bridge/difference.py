"""What changed from one graph to another, channel by channel and setting by setting; no sound is heard, no file read.

Stems correspond as in `recovery_match`; groups and returns by id, name or the stems they carry; processors of a
channel by id, else by type and position. How single processors differ is told by `difference_nodes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .difference_nodes import node_changes
from .difference_values import Change, ChangeKind, number_change, text_change
from .graph import (
    Breakpoint,
    Bus,
    Edge,
    Loss,
    Master,
    MixGraph,
    PanBreakpoint,
    Processor,
    Stem,
    Timed,
    pan_positions,
    volume_gains,
)
from .processors.specs import SEND_LEVEL, VOLUME
from .recovery_match import SAME_RETURN_SHARE, same_stems, share_of_union
from .recovery_measure import STEP_S
from .report.words import (
    AUDIBLE_DB,
    channel_kind,
    describe_alignment,
    describe_pan,
    describe_processor,
    describe_volume,
    processor_title,
    send_words,
)

#: Change of a match loss that its four decimals show.
_LOSS_STEP = 0.0001

#: Channel of changes that concern the whole graph.
SONG = "song"

_Channel = Stem | Bus | Master


@dataclass(frozen=True)
class _Pair:
    """Two graphs and which of their channels correspond (id before to id after)."""

    before: MixGraph
    after: MixGraph
    channels: Mapping[str, str]

    def sends(self, before_id: str, after_id: str) -> Iterator[tuple[str, Edge | None, Edge | None]]:
        """Target's name and both sends, of which one may be None."""
        old = {self.channels.get(s.target, f"-{s.target}"): s for s in self.before.sends(before_id)}
        new = {s.target: s for s in self.after.sends(after_id)}
        for target in dict.fromkeys([*old, *new]):
            before, after = old.get(target), new.get(target)
            graph, edge = (self.after, after) if after is not None else (self.before, before)
            if edge is not None:
                yield graph.channel(edge.target).name, before, after


def changes(before: MixGraph, after: MixGraph) -> list[Change]:
    """Everything that differs, in the order of the channels; what is too small to hear is marked as such.

    Ids, evidence, versions, notes and what was pruned are not compared.
    """
    pair = _Pair(before, after, match_channels(before, after))
    found = list(_song_changes(before, after))
    for channel in before.channels():
        other = pair.channels.get(channel.id)
        if other is None:
            found.append(_whole_channel(before, channel, "removed"))
        else:
            found += _channel_changes(pair, channel, after.channel(other))
    there = set(pair.channels.values())
    return found + [_whole_channel(after, c, "added") for c in after.channels() if c.id not in there]


# ------------------------------------------------------------------------------ matching


def match_channels(before: MixGraph, after: MixGraph) -> dict[str, str]:
    """Ids of the channels that both graphs have, before to after.

    Stems as `recovery_match.same_stems`; buses whose id is the same, else whose name is, else which carry most
    of the same stems; the masters.
    """
    stems = same_stems(before, after)
    pairs = {**stems, before.master.id: after.master.id}
    returns = {bus.id for graph in (before, after) for bus in graph.returns}

    def alike(test: Callable[[Bus, Bus], float], least: float) -> None:
        left = [b for b in before.buses if b.id not in pairs]
        free = [b for b in after.buses if b.id not in pairs.values()]
        ranked = sorted(((test(a, b), a.id, b.id) for a in left for b in free), key=lambda r: r[0], reverse=True)
        for likeness, old, new in ranked:
            if likeness >= least and old not in pairs and new not in pairs.values():
                pairs[old] = new

    def carried(a: Bus, b: Bus) -> float:
        mine = frozenset(stems.get(s, f"-{s}") for s in before.stems_reaching(a.id))
        same_kind = (a.id in returns) == (b.id in returns)
        theirs = after.stems_reaching(b.id)
        return share_of_union(mine, theirs) if same_kind and (mine or theirs) else 0.0

    alike(lambda a, b: float(a.id == b.id), 1.0)
    alike(lambda a, b: float(a.name == b.name), 1.0)
    alike(carried, SAME_RETURN_SHARE)
    return pairs


def match_processors(before: Sequence[Processor], after: Sequence[Processor]) -> list[tuple[Processor, Processor]]:
    """Processors of two chains that correspond: of the same type and id, else the next of the type."""
    by_id = {node.id: node for node in after}
    pairs = {n.id: by_id[n.id] for n in before if n.id in by_id and by_id[n.id].type == n.type}
    taken = {node.id for node in pairs.values()}
    for node in before:
        if node.id not in pairs:
            free = next((n for n in after if n.type == node.type and n.id not in taken), None)
            if free is not None:
                pairs[node.id] = free
                taken.add(free.id)
    return [(node, pairs[node.id]) for node in before if node.id in pairs]


# ------------------------------------------------------------------------------- changes


def _song_changes(before: MixGraph, after: MixGraph) -> Iterator[Change]:
    rows: Sequence[tuple[str, object, object]] = (
        ("name", before.name, after.name),
        ("sample rate", f"{before.sample_rate_hz} Hz", f"{after.sample_rate_hz} Hz"),
        ("start in the mix", f"{before.start_frame} samples", f"{after.start_frame} samples"),
        ("length", f"{before.frames} samples", f"{after.frames} samples"),
        ("tempo", _bpm(before), _bpm(after)),
        ("seed", before.provenance.seed, after.provenance.seed),
        ("quality", before.provenance.quality, after.provenance.quality),
        ("tolerance", before.provenance.tolerance, after.provenance.tolerance),
        ("plugins", before.provenance.plugins, after.provenance.plugins),
    )
    for setting, old, new in rows:
        if old != new:
            yield text_change(SONG, SONG, "Song", setting, _shown(old), _shown(new))
    for stage in Loss.model_fields:
        old_loss, new_loss = getattr(before.provenance.loss, stage), getattr(after.provenance.loss, stage)
        if old_loss == new_loss:
            continue
        setting = stage.replace("_", " ")
        if old_loss is None or new_loss is None:
            yield text_change(SONG, SONG, "Match loss", setting, _shown(old_loss), _shown(new_loss))
            continue
        gap = new_loss - old_loss
        yield Change(
            SONG, SONG, "Match loss", "changed", setting, old_loss, new_loss,
            text=f"{setting} {old_loss:.4f} → {new_loss:.4f} ({gap:+.4f})", small=abs(gap) < _LOSS_STEP,
        )  # fmt: skip


def _bpm(graph: MixGraph) -> str:
    return "" if graph.bpm is None else f"{graph.bpm:.2f} bpm"


def _shown(value: object) -> str:
    return "none" if value is None or value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def _whole_channel(graph: MixGraph, channel: _Channel, change: str) -> Change:
    kind = channel_kind(graph, channel)
    words = [describe_processor(node, bpm=graph.bpm) for node in graph.chain(channel.id)]
    return Change(
        channel.name, kind, kind.capitalize(), "added" if change == "added" else "removed",
        text=f"{change}: {'; '.join(words) or 'without processors'}",
    )  # fmt: skip


def _channel_changes(pair: _Pair, old: _Channel, new: _Channel) -> Iterator[Change]:
    before, after = pair.before, pair.after
    name, kind = new.name, channel_kind(after, new)
    if old.name != new.name:
        yield text_change(name, kind, kind.capitalize(), "name", old.name, new.name)
    if isinstance(old, Stem) and isinstance(new, Stem):
        yield from _file_changes(pair, old, new)
    parents = before.parent(old.id), after.parent(new.id)
    if parents[0] is not None and parents[1] is not None and pair.channels.get(parents[0].id) != parents[1].id:
        yield text_change(name, kind, "Group", "", parents[0].name, parents[1].name)
    chains = before.chain(old.id), after.chain(new.id)
    matched = match_processors(*chains)
    for node in chains[0]:
        if node.id not in {a.id for a, _ in matched}:
            words = describe_processor(node, bpm=before.bpm)
            yield Change(name, kind, processor_title(node.type), "removed", text=f"removed: {words}")
    for a, b in matched:
        rates_hz = before.sample_rate_hz, after.sample_rate_hz
        yield from node_changes(name, kind, a, b, sample_rates_hz=rates_hz)
    for node in chains[1]:
        if node.id not in {b.id for _, b in matched}:
            words = describe_processor(node, bpm=after.bpm)
            yield Change(name, kind, processor_title(node.type), "added", text=f"added: {words}")
    order = [b.id for _, b in matched], [n.id for n in chains[1] if n.id in {b.id for _, b in matched}]
    if order[0] != order[1]:
        titles = [", ".join(processor_title(n.type) for n in chain) for chain in chains]
        yield text_change(name, kind, "Chain", "order", *titles)
    length_s = max(g.frames / g.sample_rate_hz for g in (before, after))
    yield from _volume_changes(name, kind, "Fader ride", old.volume, new.volume, length_s=length_s)
    yield from _pan_changes(name, kind, old.pan, new.pan, length_s=length_s)
    for target, a_send, b_send in pair.sends(old.id, new.id):
        yield from _send_changes(name, kind, f"Send to {target}", a_send, b_send, length_s=length_s)


def _file_changes(pair: _Pair, old: Stem, new: Stem) -> Iterator[Change]:
    name, kind = new.name, channel_kind(pair.after, new)
    for setting, a, b in (("file", old.file, new.file), ("channels", old.channels, new.channels)):
        if a != b:
            yield text_change(name, kind, "File", setting, str(a), str(b))
    if (old.offset_samples, old.polarity) != (new.offset_samples, new.polarity):
        words = [
            describe_alignment(stem, sample_rate_hz=graph.sample_rate_hz) or "as it is"
            for stem, graph in ((old, pair.before), (new, pair.after))
        ]
        yield text_change(name, kind, "File", "placed", *words)


def _send_changes(
    channel: str, kind: str, part: str, old: Edge | None, new: Edge | None, *, length_s: float
) -> Iterator[Change]:
    if old is None or new is None:
        edge, change = (new, "added") if old is None else (old, "removed")
        if edge is not None:
            level = edge.send_db
            yield Change(
                channel, kind, part, "added" if old is None else "removed", "level",
                before=None if old is None else level, after=level if old is None else None, unit="dB",
                text=f"{change}: {send_words(edge)}",
            )  # fmt: skip
        return
    levels = [SEND_LEVEL.default if edge.send_db is None else edge.send_db for edge in (old, new)]
    yield from number_change(channel, kind, part, "level", SEND_LEVEL, *levels)
    yield from _volume_changes(channel, kind, f"{part}, ride", old.volume, new.volume, length_s=length_s)


# ---------------------------------------------------------------------------- automation


def _grid(points: Sequence[Timed], *, length_s: float) -> dict[str, float | int]:
    """Ten values a step, from the first frame to the end of song and automation."""
    last_s = max([length_s, *(point.time_s for point in points)])
    return {"frames": int(last_s / STEP_S * 10) + 2, "sample_rate_hz": 10.0 / STEP_S}


def _volume_changes(
    channel: str, kind: str, part: str, old: Sequence[Breakpoint], new: Sequence[Breakpoint], *, length_s: float
) -> Iterator[Change]:
    if [(p.time_s, p.gain_db) for p in old] == [(p.time_s, p.gain_db) for p in new]:
        return
    grid = _grid([*old, *new], length_s=length_s)
    curves = [
        np.maximum(20.0 * np.log10(np.maximum(volume_gains(points, **grid), 1e-9)), VOLUME.minimum)  # type: ignore[arg-type]
        for points in (old, new)
    ]
    gap_db = curves[1] - curves[0]
    at = int(np.argmax(np.abs(gap_db)))
    words = [describe_volume(points).partition(": ")[2] or "none" for points in (old, new)]
    yield _ride_change(channel, kind, part, words, f"{gap_db[at]:+.1f} dB", float(gap_db[at]), at, "dB", AUDIBLE_DB)


def _pan_changes(
    channel: str, kind: str, old: Sequence[PanBreakpoint], new: Sequence[PanBreakpoint], *, length_s: float
) -> Iterator[Change]:
    if [(p.time_s, p.pan) for p in old] == [(p.time_s, p.pan) for p in new]:
        return
    grid = _grid([*old, *new], length_s=length_s)
    centre = np.zeros(int(grid["frames"]))
    curves = [pan_positions(points, **grid) if points else centre for points in (old, new)]  # type: ignore[arg-type]
    gap = curves[1] - curves[0]
    at = int(np.argmax(np.abs(gap)))
    words = [describe_pan(points).partition(": ")[2] or "none" for points in (old, new)]
    size = f"{100.0 * abs(gap[at]):.0f} % to the {'right' if gap[at] > 0 else 'left'}"
    yield _ride_change(channel, kind, "Pan ride", words, size, float(gap[at]), at, "", 0.01)


def _ride_change(
    channel: str,
    kind: str,
    part: str,
    words: Sequence[str],
    size: str,
    gap: float,
    at: int,
    unit: str,
    step: float,
) -> Change:
    at_s = at * STEP_S / 10.0
    change: ChangeKind = "added" if words[0] == "none" else "removed" if words[1] == "none" else "changed"
    before, after = words
    text = f"{before} → {after}" if before != after else before
    return Change(
        channel, kind, part, change, "ride", before, after, unit, difference=gap, at_s=at_s,
        text=f"{text}; at most {size} apart, at {at_s:.1f} s", small=abs(gap) < step,
    )  # fmt: skip
