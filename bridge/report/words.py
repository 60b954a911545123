"""Says what a graph does in words and numbers, for the page and the terminal alike; no mark-up lives here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np

from ..graph import Breakpoint, Bus, Edge, Master, MixGraph, PanBreakpoint, Processor, Stem
from ..processors.equations import (
    LEVEL_FLOOR_DB,
    compressor_gain_db,
    db_to_gain,
    gain_to_db,
    gate_gain_db,
    pan_gains,
    saturated,
    saturation_shape,
)
from ..processors.specs import BELLS, DELAY, DELAY_TAPS, EQ, SPECS, Parameter, ProcessorSpec, spec_of
from ..tempo import TempoMap, note_value

ChannelKind = Literal["track", "group", "return", "master"]

#: A section that changes the level by less than this is not worth a word.
AUDIBLE_DB = 0.1

#: Loudest level (dBFS) at which a compressor is asked whether it does anything: inside a float
#: session a group can run well over full scale.
_LOUDEST_DBFS = 12.0

#: Volume automation that starts or ends at or below this level (dB) fades in or out.
FADE_DB = -40.0

_SHORT_LABELS = {
    "eq": "EQ",
    "compressor": "Comp",
    "gate": "Gate",
    "saturation": "Drive",
    "imager": "Width",
    "gain_pan": "Gain/pan",
    "delay": "Delay",
    "reverb": "Reverb",
    "limiter": "Limit",
}


@dataclass(frozen=True)
class ChannelSummary:
    """What was found on one channel.

    Attributes
    ----------
    id : str
        Node id of the stem, bus or master.
    kind : {"track", "group", "return", "master"}
    name : str
    group : str or None
        Name of the group the channel flows into; None where that is the master or nothing.
    texts : tuple of str
        One text per processor, in chain order.
    mixer : tuple of str
        Automation of volume and pan, and sends, as far as there are such.
    alignment : str
        How a stem was moved or inverted to line up with the mix; empty where it was not.
    """

    id: str
    kind: ChannelKind
    name: str
    group: str | None
    texts: tuple[str, ...]
    mixer: tuple[str, ...] = ()
    alignment: str = ""


def summarise(graph: MixGraph) -> list[ChannelSummary]:
    """Describe every track, then every group and return, then the master, in file order."""
    summaries, bpm = [], graph.bpm
    for channel in graph.channels():
        parent = graph.parent(channel.id)
        summaries.append(
            ChannelSummary(
                id=channel.id,
                kind=channel_kind(graph, channel),
                name=channel.name,
                group=parent.name if isinstance(parent, Bus) else None,
                texts=tuple(describe_processor(p, bpm=bpm) for p in graph.chain(channel.id)),
                mixer=tuple(
                    text
                    for text in (
                        describe_volume(channel.volume),
                        describe_pan(channel.pan),
                        describe_sends(graph, channel.id),
                    )
                    if text
                ),
                alignment=describe_alignment(channel, sample_rate_hz=graph.sample_rate_hz)
                if isinstance(channel, Stem)
                else "",
            )
        )
    return summaries


def channel_kind(graph: MixGraph, channel: Stem | Bus | Master) -> ChannelKind:
    """What a mixer would call a channel; a return is fed by sends alone."""
    if isinstance(channel, Bus):
        return "return" if any(bus.id == channel.id for bus in graph.returns) else "group"
    return "track" if isinstance(channel, Stem) else "master"


def describe_sends(graph: MixGraph, channel_id: str) -> str:
    """The sends of a channel, such as "Sends: Reverb -12.3 dB, Slap +2 dB"; empty where it has none."""
    texts = [f"{graph.channel(send.target).name} {send_words(send)}" for send in graph.sends(channel_id)]
    return f"Send{'s' if len(texts) > 1 else ''}: {', '.join(texts)}" if texts else ""


def send_text(send: Edge) -> str:
    """The level of a send, such as "-12.3 dB"."""
    return change_text(send.send_db if send.send_db is not None else 0.0)


def send_words(send: Edge) -> str:
    """The level of a send and how it moves, such as "-12.3 dB (rides -20 to +3 dB)"."""
    gains_db = [point.gain_db for point in send.volume]
    if not gains_db or max(map(abs, gains_db)) < AUDIBLE_DB:
        return send_text(send)
    return f"{send_text(send)} (rides {_range_text(min(gains_db), max(gains_db))})"


def _range_text(low_db: float, high_db: float) -> str:
    return f"{change_text(low_db).removesuffix(' dB')} to {change_text(high_db)}"


def describe_pan(points: Sequence[PanBreakpoint]) -> str:
    """Pan automation, such as "Pan rides: 4 points, 35 % left to hard right"; empty where there is none."""
    if not points:
        return ""
    low, high = (pan_text(pick(p.pan for p in points)) for pick in (min, max))
    where = f"{low} throughout" if low == high else f"{len(points)} points, {low} to {high}"
    return f"Pan rides: {where}"


def describe_volume(points: Sequence[Breakpoint]) -> str:
    """Volume automation, such as "Fader rides: 4 points, -3.1 to +1 dB; fades out from 61.2 s to 64 s".

    Empty where there is none. The silent ends of fades do not count among the points.
    """
    if not points:
        return ""
    rides, parts = list(points), []
    fade_in = len(rides) > 1 and rides[0].gain_db <= FADE_DB < rides[1].gain_db
    fade_out = len(rides) > 1 and rides[-1].gain_db <= FADE_DB < rides[-2].gain_db
    if fade_in:
        start = rides.pop(0)
        parts.append(f"fades in from {_seconds(start)} to {_seconds(rides[0])}")
    end = rides.pop() if fade_out else None
    low, high = (pick(p.gain_db for p in rides) for pick in (min, max))
    if high - low >= AUDIBLE_DB:
        parts.append(f"{len(rides)} points, {_range_text(low, high)}")
    elif abs(high) >= AUDIBLE_DB:
        parts.append(f"{change_text(high)} throughout")
    if end is not None:
        parts.append(f"fades out from {_seconds(rides[-1])} to {_seconds(end)}")
    return f"Fader rides: {'; '.join(parts) or 'unity throughout'}"


def _seconds(point: Breakpoint) -> str:
    return f"{_trimmed(point.time_s, 1)} s"


def describe_alignment(stem: Stem, *, sample_rate_hz: int) -> str:
    """How a stem is moved and inverted, for example "moved 2.4 ms later, polarity inverted"."""
    parts = []
    if stem.offset_samples:
        direction = "later" if stem.offset_samples > 0 else "earlier"
        moved_ms = abs(stem.offset_samples) * 1000.0 / sample_rate_hz
        count = abs(stem.offset_samples)
        parts.append(f"moved {time_text(moved_ms)} ({count} sample{'s' if count > 1 else ''}) {direction}")
    if stem.polarity < 0:
        parts.append("polarity inverted")
    return ", ".join(parts)


def short_label(processor_type: str) -> str:
    """A label of at most eight characters or so, for boxes and table columns."""
    return _SHORT_LABELS.get(processor_type) or spec_of(processor_type).label


def describe_tempo(tempo: TempoMap, *, bpm: float) -> str:
    """A tempo map in words, such as "118 bpm, 4/4" or "about 97.5 bpm, 4/4, 3 changes"."""
    # Points that only begin a bar change nothing.
    changes = sum((a.bpm, a.signature) != (b.bpm, b.signature) for a, b in pairwise(tempo.points))
    signatures = dict.fromkeys(f"{p.numerator}/{p.denominator}" for p in tempo.points)
    about = "about " if any(p.bpm != bpm for p in tempo.points) else ""
    parts = [f"{about}{_trimmed(bpm, 2)} bpm", ", ".join(signatures)]
    return ", ".join([*parts, *([f"{changes} change{'s' if changes > 1 else ''}"] if changes else [])])


def describe_processor(processor: Processor, *, bpm: float | None = None) -> str:
    """One line about a processor, such as "EQ: high-pass 82 Hz; bell +4.2 dB at 2.3 kHz (Q 1.4)".

    Sections that are off or change the level by less than `AUDIBLE_DB` are left out; the
    dry/wet mix is named where it is not 100 %. A type without words of its own is described by
    the parameters that differ from their defaults. With a tempo (`bpm`, quarter notes per minute)
    delay times that are note values are named as such: "375 ms (1/8 dotted)".
    """
    if processor.mix == 0.0:
        return f"{processor_title(processor.type)}: bypassed (mix 0 %)"
    suffix = f", mix {percent_text(processor.mix)}" if processor.mix < 0.9995 else ""
    describe = partial(_delay, bpm=bpm) if processor.type == DELAY.type else _WORDS.get(processor.type)
    if describe is None:
        return _generic(spec_of(processor.type), processor.parameters) + suffix
    return describe(processor.parameters, processor.mix) + suffix


def db_effect(factor: float) -> float:
    """Decibels of a linear factor, held at the floor for 0."""
    return max(gain_to_db(factor), LEVEL_FLOOR_DB)


# ------------------------------------------------------------------------------ numbers


def _trimmed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def level_text(level_db: float) -> str:
    """A level, such as "-21 dB"."""
    return f"{_trimmed(level_db, 1)} dB"


def change_text(change_db: float) -> str:
    """A change of level with its sign, such as "+4.2 dB"."""
    text = level_text(change_db)
    return text if text.startswith("-") or text == "0 dB" else f"+{text}"


def frequency_text(frequency_hz: float) -> str:
    """A frequency, such as "82 Hz", "2.3 kHz" or "14 kHz"."""
    if round(frequency_hz) < 1000:
        return f"{_trimmed(frequency_hz, 0)} Hz"
    return f"{_trimmed(frequency_hz / 1000.0, 1)} kHz"


def time_text(time_ms: float) -> str:
    """A time, such as "0.35 ms", "12 ms" or "1.4 s"."""
    if round(time_ms) >= 1000:
        return f"{_trimmed(time_ms / 1000.0, 2)} s"
    return f"{_trimmed(time_ms, 2 if time_ms < 1 else 1 if time_ms < 10 else 0)} ms"


def ratio_text(ratio: float) -> str:
    """A bare number of two or three digits, such as "3.2"."""
    return _trimmed(ratio, 2 if ratio < 2 else 1)


def pan_text(pan: float) -> str:
    """A pan position, such as "35 % left"; "centre" where left and right differ by less than `AUDIBLE_DB`."""
    left, right = pan_gains(abs(pan), xp=np)
    if db_effect(float(right)) - db_effect(float(left)) < AUDIBLE_DB:
        return "centre"
    side = "left" if pan < 0 else "right"
    return f"hard {side}" if abs(pan) >= 0.995 else f"{max(100.0 * abs(pan), 1.0):.0f} % {side}"


def percent_text(share: float) -> str:
    """A share as percent, such as "35 %"; never 100 % where it is less."""
    percent = 100.0 * share
    if 99.0 < percent < 100.0:  # never rounded up to "100 %", which would read as untouched
        return f"{math.floor(10.0 * percent) / 10.0:.1f} %"
    return f"{percent:.0f} %" if percent >= 10.0 else f"{_trimmed(percent, 1)} %"


def _is_off(parameter: Parameter, value: float) -> bool:
    return parameter.off_at is not None and value == parameter.off_at


# --------------------------------------------------------------------------- processors


def processor_title(processor_type: str) -> str:
    """What a processor is called in a sentence, such as "EQ" or "Compressor"."""
    return "EQ" if processor_type == EQ.type else spec_of(processor_type).label


def _audible(change_db: float, mix: float) -> bool:
    """Whether a change of level is still heard beside the dry share of the signal."""
    return abs(db_effect(mix * db_to_gain(change_db) + 1.0 - mix)) >= AUDIBLE_DB


@dataclass(frozen=True)
class EqSection:
    """A section of an equalizer in words; passes have neither `gain` nor `q`."""

    name: str
    frequency: str
    gain: str = ""
    q: str = ""


def eq_sections_in_words(p: Mapping[str, float], *, mix: float = 1.0) -> list[EqSection]:
    """The sections that do something beside the dry share: high-pass, bands from low to high, low-pass."""
    bells = sorted((f"bell{n}" for n in range(1, BELLS + 1)), key=lambda band: p[f"{band}_hz"])
    bands = [
        EqSection(
            "bell" if band in bells else band.replace("_", " "),
            frequency_text(p[f"{band}_hz"]),
            change_text(p[f"{band}_db"]),
            f"Q {p[f'{band}_q']:.2g}",
        )
        for band in ("low_shelf", *bells, "high_shelf")
        if _audible(p[f"{band}_db"], mix)
    ]
    passes = {
        name: [EqSection(words, frequency_text(p[name]))] if not _is_off(EQ.parameter(name), p[name]) else []
        for name, words in (("highpass_hz", "high-pass"), ("lowpass_hz", "low-pass"))
    }
    return [*passes["highpass_hz"], *bands, *passes["lowpass_hz"]]


def sounding_taps(p: Mapping[str, float]) -> list[str]:
    """Prefixes, such as "tap2_", of a delay's taps that are on, by number."""
    taps = (f"tap{n}_" for n in range(1, DELAY_TAPS + 1))
    return [tap for tap in taps if not _is_off(DELAY.parameter(f"{tap}level_db"), p[f"{tap}level_db"])]


def _eq(p: Mapping[str, float], mix: float) -> str:
    parts = [
        f"{s.name} {s.gain} at {s.frequency} ({s.q})" if s.gain else f"{s.name} {s.frequency}"
        for s in eq_sections_in_words(p, mix=mix)
    ]
    return f"EQ: {'; '.join(parts) or 'flat'}"


def _ballistics(p: Mapping[str, float]) -> str:
    knee = f"knee {level_text(p['knee_db'])}" if p["knee_db"] >= AUDIBLE_DB else "hard knee"
    return f"attack {time_text(p['attack_ms'])}, release {time_text(p['release_ms'])}, {knee}"


def _compressor(p: Mapping[str, float], mix: float) -> str:
    reduction_db = compressor_gain_db(
        np.float64(_LOUDEST_DBFS), threshold_db=p["threshold_db"], ratio=p["ratio"], knee_db=p["knee_db"], xp=np
    )
    parts = []
    if abs(reduction_db) >= AUDIBLE_DB:
        parts.append(f"threshold {level_text(p['threshold_db'])}, ratio {ratio_text(p['ratio'])}:1, {_ballistics(p)}")
    if abs(p["makeup_db"]) >= AUDIBLE_DB:
        parts.append(f"make-up {change_text(p['makeup_db'])}")
    return f"Compressor: {', '.join(parts) or 'no gain reduction'}"


def _gate(p: Mapping[str, float], mix: float) -> str:
    quietest_db = gate_gain_db(
        np.float64(LEVEL_FLOOR_DB),
        threshold_db=p["threshold_db"],
        ratio=p["ratio"],
        range_db=p["range_db"],
        knee_db=p["knee_db"],
        xp=np,
    )
    if abs(quietest_db) < AUDIBLE_DB:
        return "Noise gate: always open"
    threshold, ratio = level_text(p["threshold_db"]), ratio_text(p["ratio"])
    return f"Noise gate: threshold {threshold}, ratio 1:{ratio}, range {level_text(p['range_db'])}, {_ballistics(p)}"


def _saturation(p: Mapping[str, float], mix: float) -> str:
    loudest = db_to_gain(_LOUDEST_DBFS)
    left = saturated(np.float64(loudest), saturation_shape(p["drive_db"]), xp=np) / loudest
    if not _audible(gain_to_db(float(left)), mix):
        return "Saturation: no drive"
    return f"Saturation: drive {level_text(p['drive_db'])}"


def _limiter(p: Mapping[str, float], mix: float) -> str:
    parts = []
    if _audible(p["gain_db"], mix):
        parts.append(f"input gain {change_text(p['gain_db'])}")
    if p["ceiling_db"] <= -AUDIBLE_DB:
        parts.append(f"ceiling {level_text(p['ceiling_db'])}")
    if not parts:
        return "Limiter: only above full scale"
    return f"Limiter: {', '.join(parts)}, release {time_text(p['release_ms'])}"


def _imager(p: Mapping[str, float], mix: float) -> str:
    width = p["width"]
    if not _audible(gain_to_db(width), mix):
        return "Stereo imager: width unchanged"
    if width == 0.0:
        return "Stereo imager: mono"
    return f"Stereo imager: width {percent_text(width)} ({'narrower' if width < 1.0 else 'wider'})"


def _gain_pan(p: Mapping[str, float], mix: float) -> str:
    parts = []
    if _audible(p["gain_db"], mix):
        parts.append(f"gain {change_text(p['gain_db'])}")
    if pan_text(p["pan"]) != "centre":
        parts.append(f"pan {pan_text(p['pan'])}")
    text = ", ".join(parts)
    return text[0].upper() + text[1:] if text else "Gain/pan: unchanged"


def cuts_in_words(spec: ProcessorSpec, p: Mapping[str, float], prefix: str = "") -> list[str]:
    """Low and high cut of a delay tap or a reverb, as far as they are on, such as "low cut 200 Hz"."""
    parts = []
    for name, text in (("low_cut", "low cut"), ("high_cut", "high cut")):
        key = f"{prefix}{name}_hz"
        if not _is_off(spec.parameter(key), p[key]):
            parts.append(f"{text} {frequency_text(p[key])}")
    return parts


def _delay(p: Mapping[str, float], mix: float, *, bpm: float | None = None) -> str:
    spec, taps = SPECS["delay"], []
    for tap in sounding_taps(p):
        time_ms = p[f"{tap}time_ms"]
        note = None if bpm is None else note_value(time_ms, bpm=bpm)
        time = time_text(time_ms) + (f" ({note})" if note is not None else "")
        parts = [f"{time} at {level_text(p[f'{tap}level_db'])}"]
        if pan_text(p[f"{tap}pan"]) != "centre":
            parts.append(pan_text(p[f"{tap}pan"]))
        taps.append((time_ms, ", ".join([*parts, *cuts_in_words(spec, p, tap)])))
    if not taps:
        return "Delay: all taps silent"
    count = f"{len(taps)} taps: " if len(taps) > 1 else ""
    return f"Delay: {count}{'; '.join(text for _, text in sorted(taps))}"


def _reverb(p: Mapping[str, float], mix: float) -> str:
    spec = SPECS["reverb"]
    if _is_off(spec.parameter("level_db"), p["level_db"]):
        return "Reverb: silent"
    tilt = []
    for name, text in (("low_decay_ratio", "lows"), ("high_decay_ratio", "highs")):
        if abs(p[name] - 1.0) >= 0.05:
            tilt.append(f"{text} x{p[name]:.2g}")
    parts = [f"decay {time_text(1000.0 * p['decay_s'])}" + (f" ({', '.join(tilt)})" if tilt else "")]
    if p["pre_delay_ms"] >= 0.1:
        parts.append(f"pre-delay {time_text(p['pre_delay_ms'])}")
    parts += cuts_in_words(spec, p)
    if p["width"] < 0.995:
        parts.append(f"width {percent_text(p['width'])}" if p["width"] else "mono")
    parts.append(f"level {level_text(p['level_db'])}")
    return f"Reverb: {', '.join(parts)}"


def _generic(spec: ProcessorSpec, p: Mapping[str, float]) -> str:
    parts = []
    for parameter in spec.parameters:
        value = p[parameter.name]
        if value != parameter.default and not _is_off(parameter, value):
            unit = "" if parameter.unit == "ratio" else f" {parameter.unit}".rstrip()
            label = parameter.title.lower()
            parts.append(f"{label} {value:.3g}{unit}")
    return f"{spec.label}: {', '.join(parts) or 'unchanged'}"


_WORDS: dict[str, Callable[[Mapping[str, float], float], str]] = {
    "eq": _eq,
    "compressor": _compressor,
    "gate": _gate,
    "saturation": _saturation,
    "imager": _imager,
    "gain_pan": _gain_pan,
    "reverb": _reverb,
    "limiter": _limiter,
}
