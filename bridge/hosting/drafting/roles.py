"""What a plugin's controls are for, guessed from names, units and ranges alone; nothing is measured here.

Guesses are starting points: `probing` and `laws` confirm or refute them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...processors import equations as eq
from ...processors.specs import COMPRESSOR, DELAY, EQ, GATE, REVERB
from ..refs import ParameterDescription, PluginDescription

#: Processor types that a draft can be made for.
DRAFTABLE = (EQ.type, COMPRESSOR.type, GATE.type, DELAY.type, REVERB.type)

#: Plain texts that switch something on or off.
ON_TEXTS = frozenset({"on", "true", "yes", "enabled", "active"})
OFF_TEXTS = frozenset({"off", "false", "no", "none", "disabled", "bypass", "bypassed"})

#: A guess below this is none.
_LEAST_SCORE = 2.0

#: Controls of the display, of the transport and of listening aids: they never belong to a sound.
_COSMETIC = re.compile(
    r"\b(visib\w*|graph|meter\w*|listen|solo|mute|bypass|hue|midi|program|preset|pause|clear|inspect\w*|zoom|"
    r"automatically|buffer|latency|fft|analy\w+|scope|ui|scale|sync|bpm|tempo|on air)\b"
)


def words(name: str) -> tuple[str, ...]:
    """Words and numbers of a name, lower case ("Boost/Cut 1" -> boost, cut, 1; "LowGain" -> low, gain)."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return tuple(word.lower() for word in re.findall(r"[A-Za-z]+|\d+", spaced))


def plain(name: str) -> str:
    """`words` joined by single spaces, for patterns."""
    return " ".join(words(name))


def is_number(control: ParameterDescription) -> bool:
    """Whether a control is a number with a range, not a choice."""
    return not control.choices and control.minimum is not None and control.maximum is not None


def is_switch(control: ParameterDescription) -> bool:
    """Whether a control has few positions: a choice, or a number of two to eight steps."""
    return bool(control.choices) or (is_number(control) and 2 <= control.steps <= 8)


def positions(control: ParameterDescription) -> tuple[float | str, ...]:
    """All positions of a switch, as they are set."""
    if control.choices:
        return control.choices
    low, high = float(control.minimum or 0.0), float(control.maximum or 0.0)
    return tuple(low + (high - low) * i / (control.steps - 1) for i in range(control.steps))


def position_at(control: ParameterDescription, *, on: bool) -> float | str | None:
    """The position of a two-way switch that means on or off; None where it is no such switch."""
    found = positions(control) if is_switch(control) else ()
    if len(found) != 2:
        return None
    if not control.choices:
        return found[1 if on else 0]
    wanted = ON_TEXTS if on else OFF_TEXTS
    return next((text for text in control.choices if text.strip().lower() in wanted), None)


def is_cosmetic(control: ParameterDescription) -> bool:
    """Whether a control, by its name, has no part in the sound."""
    return _COSMETIC.search(plain(control.name)) is not None


# ------------------------------------------------------------------------------- single controls


@dataclass(frozen=True)
class _Role:
    """What a control's name and unit must look like; earlier patterns are better."""

    patterns: tuple[str, ...]
    units: frozenset[str]
    against: str = r"(?!)"

    def find(
        self, controls: Iterable[ParameterDescription], taken: Collection[str] = ()
    ) -> ParameterDescription | None:
        """The best control for the role, or None."""
        fitting = [c for c in controls if c.name not in taken and is_number(c) and not is_cosmetic(c)]
        for pattern in self.patterns:
            found = [
                c
                for c in fitting
                if re.search(pattern, plain(c.name))
                and not re.search(self.against, plain(c.name))
                and _unit(c) in self.units | {""}
            ]
            if found:
                return min(found, key=lambda c: (_unit(c) not in self.units, len(c.name)))
        return None


def _unit(control: ParameterDescription) -> str:
    return control.unit.strip().lower()


_DB = frozenset({"db", "dbfs"})
_TIME = frozenset({"ms", "s", "sec", "us"})
_HZ = frozenset({"hz", "khz"})
_BARE = frozenset({"", ":1", "x"})
_SIDE = r"side ?chain|\bsc\b"

_DYNAMICS: dict[str, _Role] = {
    "threshold_db": _Role((r"\bthresh(old)?\b|\bthr\b",), _DB, rf"\b(release|hyst\w*|clos\w*|boost)\b|{_SIDE}"),
    "ratio": _Role((r"\bratio\b",), _BARE, _SIDE),
    "attack_ms": _Role((r"\b(attack|att)\b",), _TIME, r"\bthresh"),
    "release_ms": _Role((r"\b(release|rel|recovery)\b",), _TIME, r"\bthresh"),
    "knee_db": _Role((r"\bknee\b",), _DB),
}
_MAKEUP = _Role((r"\bmake ?up\b", r"\b(output|post) gain\b", r"^gain$|^output$"), _DB, r"\blevel\b")
_RANGE = _Role(
    (r"\brange\b", r"\breduction\b|\bfloor\b|\bclose\b|\bdepth\b|\battenuation\b"), _DB, r"\bgain reduction\b"
)

_ROLES: dict[str, dict[str, _Role]] = {
    COMPRESSOR.type: {**_DYNAMICS, "makeup_db": _MAKEUP},
    GATE.type: {**_DYNAMICS, "range_db": _RANGE},
    REVERB.type: {
        "pre_delay_ms": _Role((r"\bpre ?delay\b",), _TIME),
        "decay_s": _Role((r"\bdecay\b|\brt ?60\b", r"\b(reverb|tail) time\b|^time$|\blength\b"), _TIME, r"pre ?delay"),
        "low_cut": _Role((r"\b(low ?cut|high ?pass|hpf)\b",), _HZ),
        "high_cut": _Role((r"\b(high ?cut|low ?pass|lpf)\b",), _HZ),
        "width": _Role((r"\bwidth\b",), frozenset({"%"})),
        "level_db": _Role(
            (r"\b(wet|late|reverb) (level|gain|amount)\b", r"^wet$", r"\blevel\b"), frozenset({"%"}) | _DB, "dry|early"
        ),
    },
}

#: The early reflections of a reverb.
EARLY = _Role((r"^early (level|gain|amount)$",), _DB | {"%"})
#: Gains that lead the untouched signal past the processor.
DRY = _Role((r"^dry (level|gain|amount)$|^dry$",), _DB | {"%"})
#: One knob from all dry to all wet.
MIX = _Role((r"^dry wet( balance| mix)?$|^(wet dry|mix|blend|wet)$",), frozenset({"%"}))


def find_roles(description: PluginDescription, processor: str) -> dict[str, ParameterDescription]:
    """Controls of a compressor, gate or reverb by physical parameter.

    Parameters
    ----------
    processor : {"compressor", "gate", "reverb"}

    Returns
    -------
    dict of str to ParameterDescription
        Parameters without a control are absent. The cuts of a reverb have their own names without the unit.
    """
    controls = [c for c in description.parameters if c.writable]
    found: dict[str, ParameterDescription] = {}
    for name, role in _ROLES[processor].items():
        control = role.find(controls, taken=[c.name for c in found.values()])
        if control is not None:
            found[name] = control
    return found


# ------------------------------------------------------------------------------- bands of an equalizer

#: Words for the shape of a band, in its name or among the choices of its type; the first that fits counts.
_SHAPES: tuple[tuple[eq.BiquadKind, str], ...] = (
    ("low_shelf", r"\b(lo(w)? ?shelf|ls|lowshelf|bass)\b"),
    ("high_shelf", r"\b(hi(gh)? ?shelf|hs|highshelf|treble)\b"),
    ("highpass", r"\b(hi(gh)? ?pass|hp|hpf|lo(w)? ?cut|lc)\b"),
    ("lowpass", r"\b(lo(w)? ?pass|lp|lpf|hi(gh)? ?cut|hc)\b"),
    ("bell", r"\b(bell|peak(ing)?|parametric|peq)\b"),
)
_BAND_PARTS: dict[str, str] = {
    "frequency": r"\bfreq(uency)?\b|\bhz\b",
    "gain": r"\bgain\b|\bboost( cut)?\b|\blevel\b",
    "q": r"\bq\b|\bquality( factor)?\b|\bbandwidth\b|\bbw\b|\bwidth\b|\bresonance\b",
    "kind": r"\btype\b|\bshape\b",
    "enable": r"\b(on|enable(d)?|active|power)\b",
    "mode": r"\bmode\b|\bcurve\b|\bmodel\b",
    "slope": r"\bslope\b|\border\b",
}
#: Words that say nothing about which band it is.
_FILLERS = frozenset({"filter", "band", "eq", "point", "node", "db", "hz", "cut", "shelf", "factor"})


@dataclass(frozen=True)
class Band:
    """The controls of one band of an equalizer; absent ones are None.

    Attributes
    ----------
    key : str
        What its controls have in common ("0", "l", "low").
    q : tuple of ParameterDescription
        Candidates for its Q or bandwidth, the likeliest first.
    shape : str
        What its name says it is, a kind of `equations.biquad`; empty where it says nothing.
    shapes : mapping of str to str
        Kind of section to the text of its choice, where it has a choice of shapes.
    off : str
        Choice of `kind` that switches the band off; empty if there is none.
    others : mapping of str to ParameterDescription
        Its switches for mode and slope.
    """

    key: str
    frequency: ParameterDescription
    gain: ParameterDescription | None = None
    q: tuple[ParameterDescription, ...] = ()
    kind: ParameterDescription | None = None
    enable: ParameterDescription | None = None
    shape: str = ""
    shapes: Mapping[str, str] = field(default_factory=dict)
    off: str = ""
    others: Mapping[str, ParameterDescription] = field(default_factory=dict)


def find_bands(description: PluginDescription) -> list[Band]:
    """Bands of an equalizer in the order of the plugin: whatever has a frequency and a gain or a shape."""
    groups: dict[str, dict[str, list[ParameterDescription]]] = {}
    for control in description.parameters:
        part = _part(control)
        if control.writable and part is not None:
            groups.setdefault(_key(control, part), {}).setdefault(part, []).append(control)
    bands = (_band(key, parts) for key, parts in groups.items() if "frequency" in parts)
    return [band for band in bands if band is not None]


def _part(control: ParameterDescription) -> str | None:
    """What part of a band a control could be."""
    text = plain(control.name)
    for part, pattern in _BAND_PARTS.items():
        numeric = part in ("frequency", "gain", "q")
        if re.search(pattern, text) and numeric == (is_number(control) and not is_switch(control)):
            return part if _fits(part, control) else None
    return None


def _fits(part: str, control: ParameterDescription) -> bool:
    unit = _unit(control)
    if part == "frequency":
        return unit in _HZ or (unit == "" and (control.maximum or 0.0) > 1000.0)
    if part == "gain":
        return unit in _DB | {""} and control.minimum is not None and control.minimum < 0.0 < (control.maximum or 0.0)
    if part == "kind":
        return len(control.choices) > 1
    return True


def _key(control: ParameterDescription, part: str) -> str:
    text = re.sub(_BAND_PARTS[part], " ", plain(control.name))
    return " ".join(word for word in text.split() if word not in _FILLERS)


def _band(key: str, parts: Mapping[str, Sequence[ParameterDescription]]) -> Band | None:
    frequency, gain = parts["frequency"][0], next(iter(parts.get("gain", ())), None)
    kind = next(iter(parts.get("kind", ())), None)
    shapes = _shapes(kind.choices if kind is not None else ())
    shape = _shape_of(f"{plain(frequency.name)} {plain(gain.name) if gain is not None else ''}")
    if gain is None and not shapes and shape not in ("highpass", "lowpass"):
        return None
    rank = re.compile(r"\bq\b|\bquality")
    off = next((c for c in (kind.choices if kind is not None else ()) if c.strip().lower() in OFF_TEXTS), "")
    return Band(
        key=key,
        frequency=frequency,
        gain=gain,
        q=tuple(sorted(parts.get("q", ()), key=lambda c: rank.search(plain(c.name)) is None)),
        kind=kind if shapes else None,
        enable=next((c for c in parts.get("enable", ()) if position_at(c, on=True) is not None), None),
        shape=shape if shape else {"l": "low_shelf", "h": "high_shelf"}.get(key, ""),
        shapes=shapes,
        off=off if shapes else "",
        others={part: parts[part][0] for part in ("mode", "slope") if part in parts},
    )


def _shape_of(text: str) -> str:
    return next((kind for kind, pattern in _SHAPES if re.search(pattern, text)), "")


def _shapes(choices: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for choice in choices:
        kind = _shape_of(plain(choice))
        if kind and not re.search(r"\bladder|\bnotch", plain(choice)):
            found.setdefault(kind, choice)
    return found


# ------------------------------------------------------------------------------- taps of a delay


@dataclass(frozen=True)
class TapControls:
    """The controls of one delay line; `key` is what they have in common.

    Attributes
    ----------
    off : float or str
        Position of `enable` that switches the line off.
    on : tuple of float or str
        All other positions.
    """

    key: str
    time: ParameterDescription
    level: ParameterDescription | None = None
    low_cut: ParameterDescription | None = None
    high_cut: ParameterDescription | None = None
    low_cut_on: ParameterDescription | None = None
    high_cut_on: ParameterDescription | None = None
    feedback: ParameterDescription | None = None
    enable: ParameterDescription | None = None
    off: float | str = 0.0
    on: tuple[float | str, ...] = ()


_TAP_PARTS: dict[str, _Role] = {
    "time": _Role((r"\btime\b", r"\bdelay\b"), _TIME, r"pre ?delay|feed ?back|ramp|smooth|\b(attack|release|hold)\b"),
    "level": _Role((r"\b(level|gain|volume|amount)\b",), _DB, r"\b(dry|input|in|feed ?back)\b"),
    "low_cut": _Role((r"\b(low ?cut|high ?pass|hpf)\b",), _HZ),
    "high_cut": _Role((r"\b(high ?cut|low ?pass|lpf)\b",), _HZ),
    "feedback": _Role((r"\bfeed ?back\b|\bfeedb\b|\bregen\w*\b",), _DB | {"%"}),
}


def find_taps(description: PluginDescription) -> list[TapControls]:
    """Delay lines of a plugin in their order; controls that bear no number belong to the only line."""
    groups: dict[str, list[ParameterDescription]] = {}
    for control in description.parameters:
        if control.writable:
            number = re.search(r"\d+", plain(control.name))
            groups.setdefault(number.group(0) if number else "", []).append(control)
    taps = []
    for key, controls in groups.items():
        parts = {name: role.find(controls) for name, role in _TAP_PARTS.items()}
        time = parts.pop("time")
        if time is not None:
            enable, off, on = _line_switch(controls)
            cuts = {f"{side}_on": _cut_switch(controls, _TAP_PARTS[side]) for side in ("low_cut", "high_cut")}
            taps.append(TapControls(key, time, enable=enable, off=off, on=on, **parts, **cuts))
    return taps


def _cut_switch(controls: Iterable[ParameterDescription], role: _Role) -> ParameterDescription | None:
    """The switch that lets a cut work, where it has one."""
    for control in controls:
        named = any(re.search(pattern, plain(control.name)) for pattern in role.patterns)
        if named and position_at(control, on=True) is not None and position_at(control, on=False) is not None:
            return control
    return None


def _line_switch(
    controls: Iterable[ParameterDescription],
) -> tuple[ParameterDescription | None, float | str, tuple[float | str, ...]]:
    """The switch of a delay line with its off position and its others."""
    for control in controls:
        text = plain(control.name)
        if not is_switch(control) or not re.search(r"\b(delay|line|tap)\b.*\b(on|enable|mode)\b", text):
            continue
        off = next((c for c in positions(control) if not c or (isinstance(c, str) and c.lower() in OFF_TEXTS)), None)
        if off is not None and not re.search(r"feed ?back", text):
            return control, off, tuple(c for c in positions(control) if c != off)
    return None, 0.0, ()


# ------------------------------------------------------------------------------- processor type


@dataclass(frozen=True)
class Guess:
    """A processor type a plugin could be; `reason` is for people."""

    processor: str
    score: float
    reason: str


_NAMES: dict[str, str] = {
    EQ.type: r"\b(eq\d*|equali[sz]er)\b|eq\d*\b",
    COMPRESSOR.type: r"comp(ressor|x\d)?\b|\blevell?er\b",
    GATE.type: r"gate|expander",
    DELAY.type: r"delay|echo",
    REVERB.type: r"verb|\b(hall|room|plate)\b",
}


def rank_types(description: PluginDescription) -> list[Guess]:
    """Processor types a plugin could be by its names, the likeliest first; empty when none is likely."""
    text = f"{plain(description.name)} {description.name.lower()} {description.category.lower()}"
    guesses = []
    for processor in DRAFTABLE:
        score, reason = _evidence(description, processor)
        if score and re.search(_NAMES[processor], text):
            score, reason = score + 2.0, f"{reason}; its name says so"
        guesses.append(Guess(processor, score, reason))
    return sorted((g for g in guesses if g.score >= _LEAST_SCORE), key=lambda g: -g.score)


def _evidence(description: PluginDescription, processor: str) -> tuple[float, str]:
    if processor == EQ.type:
        bands = [b for b in find_bands(description) if b.gain is not None]
        return min(2.0, len(bands)), f"{len(bands)} bands with frequency and gain"
    if processor == DELAY.type:
        taps = find_taps(description)
        return (1.0 + any(t.feedback for t in taps) if taps else 0.0), f"{len(taps)} delay times"
    roles = find_roles(description, processor)
    if processor == REVERB.type:
        return (1.0 + ("pre_delay_ms" in roles) if "decay_s" in roles else 0.0), "a decay time"
    if "threshold_db" not in roles or multiband_reason(description):
        return 0.0, ""
    if processor == COMPRESSOR.type:
        return (2.0 if "ratio" in roles else 0.0), "threshold and ratio"
    return 1.0 + ("range_db" in roles and "ratio" not in roles), "a threshold"


def multiband_reason(description: PluginDescription) -> str:
    """Why a dynamics plugin is none of ours: it has several thresholds; empty where it has not."""
    names = [
        plain(c.name) for c in description.parameters if c.writable and re.search(r"\bthresh(old)?\b", plain(c.name))
    ]
    numbered = {re.sub(r"\d+", "#", name) for name in names if re.search(r"\d", name)}
    several = any(sum(re.sub(r"\d+", "#", name) == stem for name in names) > 1 for stem in numbered)
    return "it has several thresholds, one for each band" if several else ""
