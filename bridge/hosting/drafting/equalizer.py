"""Drafts equalizers: which band makes which section, its switches, and how its knobs follow ours, from responses."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...errors import ParameterError, PluginError, PluginOutputError, ProfileError
from ...processors import equations as eq
from ...processors.specs import BELLS, EQ
from ..refs import ParameterDescription
from . import roles
from .laws import IDENTITY, Form, Section, fit_form, fit_section, number, reach
from .probing import Audio, Bench, Value, response_db
from .recipe import Recipe, Setting, constant, fixed
from .roles import Band

Report = Callable[[str], None]

#: Sections of the reference and the kind of each, the most useful first: plugins may have fewer.
SECTIONS: tuple[tuple[str, eq.BiquadKind], ...] = (
    ("bell1", "bell"),
    ("low_shelf", "low_shelf"),
    ("high_shelf", "high_shelf"),
    ("bell2", "bell"),
    ("highpass", "highpass"),
    ("lowpass", "lowpass"),
    *((f"bell{n}", "bell") for n in range(3, BELLS + 1)),
)
_PASSES = ("highpass", "lowpass")

#: Where sections are measured (Hz), and gains (dB) at which a band's shape and Q are.
_CENTRE_HZ = 1000.0
_GAINS_DB = (9.0, -9.0, 3.0)
#: Far from the centre (Hz) a band should be the same section.
_FAR_HZ = (100.0, 8000.0)

#: Qs that matter; fits beyond are not used.
_Q_RANGE = (0.15, 12.0)
_Q_STEPS = 8

#: A section is ours if its response is within this (dB).
_CLOSE_DB = 0.5
#: A band with a gain of exactly 0 dB breaks some plugins: they get this instead (dB).
_NEARLY_ZERO_DB = 0.001
#: A Q that is off by more than this share somewhere is worth a word.
_FAR_SHARE = 0.05
#: What one part in a hundred of difference in Q counts for when switches are chosen (dB).
_Q_WEIGHT_DB = 5.0


@dataclass(frozen=True)
class _Shape:
    """What a band does when it is set to a kind: how its Q follows, how well it fits, what changes far from 1 kHz."""

    kind: eq.BiquadKind
    q_control: ParameterDescription | None
    q_form: Form | None
    fixed_q: float
    error_db: float
    q_spread: float
    far: tuple[str, ...] = ()


def draft_equalizer(bench: Bench, report: Report) -> Recipe:
    """Draft an equalizer.

    Raises
    ------
    ProfileError
        When none of its bands is a section of ours; the message says what to do.
    PluginError
        As the pool's `render`.
    """
    study = _Study(bench, roles.find_bands(bench.description))
    report(f"{len(study.bands)} bands: frequency responses")
    study.begin()
    study.choose_switches(report)
    sections = study.assign(report)
    if not any(name not in _PASSES for name in sections):
        raise ProfileError(
            f"{bench.description.name}: none of its bands is a bell or shelf like ours (within {_CLOSE_DB} dB); "
            "write its profile by hand (docs/profiles.md)"
        )
    return study.recipe(sections)


@dataclass
class _Study:
    bench: Bench
    bands: list[Band]
    base: dict[str, Value] = field(default_factory=dict)
    switches: dict[str, Value] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    zero_db: float = 0.0
    shapes: dict[tuple[object, ...], _Shape | None] = field(default_factory=dict)
    heard: tuple[dict[str, Value], Audio] | None = None

    # ------------------------------------------------------------------ neutral

    def begin(self) -> None:
        """Find settings of all bands that leave the signal alone.

        Raises
        ------
        ProfileError
            When there are none.
        """
        self.base = self._flat(0.0)
        try:
            _, flat = response_db(self.bench, self.base)
        except PluginOutputError:
            self.zero_db = _NEARLY_ZERO_DB
            self.base = self._flat(self.zero_db)
            _, flat = response_db(self.bench, self.base)
            self.remarks.append(
                f"A gain of exactly 0 dB breaks it, so bands are never closer to 0 than {self.zero_db} dB."
            )
        off_db = float(np.max(np.abs(flat)))
        if off_db > _CLOSE_DB:
            raise ProfileError(
                f"{self.bench.description.name}: is not flat with all gains at 0 dB (up to {off_db:.1f} dB); "
                "write its profile by hand (docs/profiles.md)"
            )

    def _flat(self, zero_db: float) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for band in self.bands:
            off = _off_position(band)
            if band.gain is not None and off is None:
                values[band.gain.name] = zero_db
            if off is not None:
                values[off[0]] = off[1]
        return values

    def _set(self, band: Band, kind: str, *, frequency_hz: float, gain_db: float) -> dict[str, Value]:
        """Values that make one band a section, all others neutral."""
        values = {**self.base, **self.switches, **_on_position(band, kind)}
        values[band.frequency.name] = frequency_hz / _hertz(band.frequency)
        if band.gain is not None:
            values[band.gain.name] = gain_db
        return values

    # ------------------------------------------------------------------ measuring one band

    def shape(self, band: Band, kind: eq.BiquadKind) -> _Shape | None:
        """Fit a band as a section of a kind; bands that are built alike are measured once."""
        key = (kind, tuple(self.switches.items()), *_likeness(band))
        if key not in self.shapes:
            try:
                self.shapes[key] = self._measured(band, kind)
            except (PluginError, ParameterError):
                self.shapes[key] = None
        found = self.shapes[key]
        if found is None or found.q_control is None:
            return found
        index = [c.name for c in _twin(band, found.q_control, self.bands)]
        control = next((c for c in band.q if c.name in index), None)
        return replace(found, q_control=control) if control else None

    def _measured(self, band: Band, kind: eq.BiquadKind) -> _Shape:
        q_control = self._working_q(band, kind)
        if q_control is None:
            sections = [self._section(band, kind, {}, gain) for gain in self._gains(kind)]
            qs = [s.q for s in sections]
            worst = max(s.error_db for s in sections)
            return _Shape(kind, None, None, float(np.median(qs)), worst, _spread(qs), self._far(band, kind, {}, qs[0]))
        values = _q_values(q_control)
        sections = self._sections_at(band, kind, q_control, values)
        inside = [k for k, s in enumerate(sections) if _is_ours(s)]
        if inside and len(inside) < _Q_STEPS - 2:
            # Only a part of its range is of use: look at that more closely.
            ends = values[max(inside[0] - 1, 0)], values[min(inside[-1] + 1, len(values) - 1)]
            more = [float(f"{v:.4g}") for v in np.geomspace(*ends, _Q_STEPS + 2)[1:-1]]
            values, sections = values + more, sections + self._sections_at(band, kind, q_control, more)
        pairs = sorted((s.q, v) for s, v in zip(sections, values, strict=True) if _is_ours(s))
        if len(pairs) < 3:
            raise ParameterError(f"{band.key}: no {kind}")
        middle = pairs[len(pairs) // 2][1]
        others = [self._section(band, kind, {q_control.name: middle}, gain) for gain in self._gains(kind)]
        form = fit_form(*zip(*pairs, strict=True), decibels=False)
        worst = max(s.error_db for s in (*others, *(s for s in sections if _is_ours(s))))
        far = self._far(band, kind, {q_control.name: middle}, others[0].q)
        return _Shape(kind, q_control, form, 0.0, worst, _spread([s.q for s in others]), far)

    def _far(self, band: Band, kind: eq.BiquadKind, more: Mapping[str, Value], q: float) -> tuple[str, ...]:
        """What is different at other frequencies, for people."""
        low, high = _span_hz(band)
        words = []
        for hz in (hz for hz in _FAR_HZ if low <= hz <= high):
            section = self._section(band, kind, more, self._gains(kind)[0], hz)
            drift = section.q / q - 1.0
            if abs(drift) > _FAR_SHARE or section.error_db > _CLOSE_DB:
                apart = f"its Q is {100.0 * drift:+.0f} % from that at {_CENTRE_HZ:g} Hz"
                words.append(f"at {hz:g} Hz {apart}, its shape {section.error_db:.2g} dB off")
        return tuple(words)

    def _sections_at(
        self, band: Band, kind: eq.BiquadKind, q_control: ParameterDescription, values: Sequence[float]
    ) -> list[Section]:
        return [self._section(band, kind, {q_control.name: v}, self._gains(kind)[0]) for v in values]

    def _gains(self, kind: str) -> tuple[float, ...]:
        return (0.0,) if kind in _PASSES else _GAINS_DB

    def _section(
        self, band: Band, kind: eq.BiquadKind, more: Mapping[str, Value], gain_db: float, at_hz: float = _CENTRE_HZ
    ) -> Section:
        low, high = _span_hz(band)
        frequency = min(max(at_hz, low), high)
        if kind in _PASSES:
            gain_db = 0.0
        values = {**self._set(band, kind, frequency_hz=frequency, gain_db=gain_db), **more}
        at, measured = response_db(self.bench, values)
        return fit_section(kind, at, measured, frequency_hz=frequency, gain_db=gain_db)

    def _working_q(self, band: Band, kind: str) -> ParameterDescription | None:
        """The first control for Q that changes the response at all."""
        for control in band.q:
            values = _q_values(control)
            low, high = _span_hz(band)
            frequency = min(max(_CENTRE_HZ, low), high)
            start = self._set(band, kind, frequency_hz=frequency, gain_db=self._gains(kind)[0])
            seen = [response_db(self.bench, {**start, control.name: v})[1] for v in (values[1], values[-2])]
            if np.max(np.abs(seen[0] - seen[1])) > 0.1:
                return control
        return None

    # ------------------------------------------------------------------ switches

    def choose_switches(self, report: Report) -> None:
        """Choose modes and slopes of the bands, then the plugin's own switches: what is nearest to our sections."""
        probe = self._probe_band()
        if probe is None:
            return
        band, kind = probe
        best = self._cost(band, kind)
        for part in ("mode", "slope"):
            control = band.others.get(part)
            if control is None or not roles.is_switch(control):
                continue
            for position in roles.positions(control):
                twins = {b.others[part].name: position for b in self.bands if part in b.others}
                best = self._try(twins, best, band, kind, report, f"{part} {position}")
        for control in self._own_switches():
            for position in roles.positions(control):
                if position != control.default:
                    best = self._try({control.name: position}, best, band, kind, report, f"{control.name} = {position}")

    def _probe_band(self) -> tuple[Band, eq.BiquadKind] | None:
        kinds = [(band, kind) for band in self.bands for kind in _kinds_of(band)]
        order = [kind for _, kind in SECTIONS]
        return min(kinds, key=lambda pair: order.index(pair[1])) if kinds else None

    def _own_switches(self) -> Iterator[ParameterDescription]:
        parts = {c.name for band in self.bands for c in _controls_of(band)}
        for control in self.bench.description.parameters:
            own = control.writable and control.name not in parts and not _belongs(control, self.bands)
            if (
                own
                and roles.is_switch(control)
                and not roles.is_cosmetic(control)
                and len(roles.positions(control)) <= 4
            ):
                yield control

    def _cost(self, band: Band, kind: eq.BiquadKind) -> float:
        """How far a band is from one of our sections (dB): its shape, and whether its Q is the same at all gains."""
        try:
            more: dict[str, Value] = {band.q[0].name: _q_values(band.q[0])[_Q_STEPS // 2]} if band.q else {}
            sections = [self._section(band, kind, more, gain) for gain in self._gains(kind)]
        except PluginError:
            return math.inf
        return max(s.error_db for s in sections) + _Q_WEIGHT_DB * _spread([s.q for s in sections])

    def _try(
        self, more: Mapping[str, Value], best: float, band: Band, kind: eq.BiquadKind, report: Report, words: str
    ) -> float:
        """Keep more switches if the band is nearer to ours with them."""
        before = dict(self.switches)
        if not self._changes(more, band, kind):
            return best
        self.switches.update(more)
        cost = self._cost(band, kind)
        if cost < 0.5 * best and best - cost > 0.005:
            report(f"{words}: within {cost:.2g} dB of our sections (before: {best:.2g})")
            return cost
        self.switches = before
        return best

    def _changes(self, more: Mapping[str, Value], band: Band, kind: eq.BiquadKind) -> bool:
        low, high = _span_hz(band)
        now = self._set(band, kind, frequency_hz=min(max(_CENTRE_HZ, low), high), gain_db=_GAINS_DB[0])
        try:
            other = response_db(self.bench, {**now, **more})[1]
        except PluginError:
            return False
        if self.heard is None or self.heard[0] != now:
            self.heard = (now, response_db(self.bench, now)[1])
        return not np.array_equal(self.heard[1], other)

    # ------------------------------------------------------------------ assignment

    def assign(self, report: Report) -> dict[str, tuple[Band, _Shape]]:
        """Give each section of ours a band that can be it: bands of one kind first, others where they are left."""
        free, found = list(self.bands), {}
        for name, kind in SECTIONS:
            for band in sorted(free, key=lambda b: len(_kinds_of(b))):
                if kind not in _kinds_of(band):
                    continue
                shape = self.shape(band, kind)
                if shape is not None and shape.error_db < _CLOSE_DB and _usable(shape):
                    found[name] = (band, shape)
                    free.remove(band)
                    break
            else:
                report(f"no band for {name}")
        order = [name for name, _ in SECTIONS]
        bands = [band.key for band in self.bands]
        # Bells in the plugin's order: bell 1 is its first.
        bells = sorted((n for n in found if n.startswith("bell")), key=order.index)
        ranked = sorted((found[n] for n in bells), key=lambda pair: bands.index(pair[0].key))
        return {**found, **dict(zip(bells, ranked, strict=True))}

    # ------------------------------------------------------------------ writing

    def recipe(self, sections: Mapping[str, tuple[Band, _Shape]]) -> Recipe:
        """Write down how each band follows its section."""
        recipe = Recipe(EQ.type, findings=list(self.remarks), doubts=list(self.doubts))
        if self.bench.channels == 1:
            recipe.doubts.append("The plugin has one channel: a stereo track needs two of it with the same settings.")
        used = {c.name for band, _ in sections.values() for c in _controls_of(band)}
        for name, position in {**self.base, **self.switches}.items():
            control = self.bench.description.parameter(name)
            is_used = name in used and name not in self.switches
            if control is not None and not is_used and position != control.default:
                recipe.settings.append(fixed(control, position if isinstance(position, str) else float(position)))
        for name in EQ.names:
            section = name.rsplit("_", 1)[0]
            if section in sections and name.endswith("_hz"):
                self._write_section(recipe, section, *sections[section])
            elif section not in sections:
                self._leave_out(recipe, name)
        errors = [shape.error_db for _, shape in sections.values()]
        recipe.findings.append(f"Single bands are within {max(errors):.2g} dB of RBJ sections.")
        return recipe

    def _leave_out(self, recipe: Recipe, name: str) -> None:
        parameter = EQ.parameter(name)
        if parameter.off_at is not None:
            recipe.limits[name] = (parameter.off_at, parameter.off_at)
        elif name.endswith("_db"):
            recipe.limits[name] = (0.0, 0.0)

    def _write_section(self, recipe: Recipe, section: str, band: Band, shape: _Shape) -> None:
        is_pass = section in _PASSES
        off = f"{section}_hz == {section}_hz_off" if is_pass else f"{section}_db == 0"
        recipe.settings += _switched(band, shape.kind, off)
        scale = _hertz(band.frequency)
        inside = f"min({section}_hz, highest_hz)"
        low, high = _span_hz(band)
        parameter = EQ.parameter(f"{section}_hz")
        if low > parameter.minimum or high < parameter.maximum:
            inside = f"min(max({section}_hz, {number(low)}), {number(high)}, highest_hz)"
        recipe.settings.append(Setting(band.frequency.name, inside if scale == 1.0 else f"{inside} / {number(scale)}"))
        if not (is_pass and high >= 0.9 * parameter.maximum):
            # A pass keeps its end of the range, which means off.
            keep_low, keep_high = section == "highpass", section == "lowpass"
            recipe.limit(parameter, parameter.minimum if keep_low else low, parameter.maximum if keep_high else high)
        if band.gain is not None and not is_pass:
            self._write_gain(recipe, section, band.gain)
        self._write_q(recipe, section, band, shape)

    def _write_gain(self, recipe: Recipe, section: str, control: ParameterDescription) -> None:
        name = f"{section}_db"
        formula = name
        if self.zero_db:
            formula = f"{name} if abs({name}) > {number(self.zero_db)} else {number(self.zero_db)}"
        recipe.settings.append(Setting(control.name, formula))
        low, high = float(control.minimum or 0.0), float(control.maximum or 0.0)
        recipe.limit(EQ.parameter(name), *reach(IDENTITY, EQ.parameter(name), low=low, high=high))

    def _write_q(self, recipe: Recipe, section: str, band: Band, shape: _Shape) -> None:
        if shape.q_spread > 0.03:
            recipe.doubts.append(
                f"The Q of {section} depends on its gain (by {100.0 * shape.q_spread:.0f} %): it is right at "
                f"{number(_GAINS_DB[0])} dB."
            )
        recipe.doubts += [f"{section}: {words}." for words in shape.far]
        if shape.q_control is None or shape.q_form is None:
            if section not in _PASSES:
                q = float(f"{min(max(shape.fixed_q, 0.2), 8.0):.4g}")
                recipe.limits[f"{section}_q"] = (q, q)
            return
        if section in _PASSES:
            recipe.settings.append(Setting(shape.q_control.name, shape.q_form.formula("butterworth_q")))
            return
        recipe.put(shape.q_control, shape.q_form, EQ.parameter(f"{section}_q"))
        if section in ("bell1", "low_shelf", "high_shelf"):
            recipe.findings.append(
                f"{shape.q_control.name} = {shape.q_form.formula('q')} for a {shape.kind.replace('_', ' ')} "
                f"(within {100.0 * shape.q_form.worst:.2g} %)."
            )


# ------------------------------------------------------------------------------- bands


def _kinds_of(band: Band) -> tuple[eq.BiquadKind, ...]:
    """Kinds of section a band may be, by its choices, its name, or else a bell."""
    kinds = tuple(dict.fromkeys(kind for _, kind in SECTIONS))
    if band.shapes:
        return tuple(kind for kind in kinds if kind in band.shapes)
    return tuple(kind for kind in kinds if kind == (band.shape or "bell"))


def _controls_of(band: Band) -> list[ParameterDescription]:
    parts = [band.frequency, band.gain, band.kind, band.enable, *band.q, *band.others.values()]
    return [part for part in parts if part is not None]


def _belongs(control: ParameterDescription, bands: Sequence[Band]) -> bool:
    """Whether a control bears the number of a band."""
    return bool(
        set(roles.words(control.name)) & {word for band in bands for word in band.key.split() if word.isdigit()}
    )


def _likeness(band: Band) -> tuple[object, ...]:
    """What bands that are built alike have in common."""
    return tuple(
        (re.sub(r"\d+", "#", c.name) if band.shapes else c.name, c.minimum, c.maximum, c.choices)
        for c in _controls_of(band)
    )


def _twin(band: Band, control: ParameterDescription, bands: Sequence[Band]) -> list[ParameterDescription]:
    """The control of a band that is what `control` is in its own band."""
    owner = next((b for b in bands if any(c.name == control.name for c in b.q)), None)
    if owner is None:
        return []
    place = [c.name for c in owner.q].index(control.name)
    return [band.q[place]] if place < len(band.q) else []


def _off_position(band: Band) -> tuple[str, Value] | None:
    """Control and position that switch a band off."""
    if band.kind is not None and band.off:
        return band.kind.name, band.off
    position = roles.position_at(band.enable, on=False) if band.enable is not None else None
    return (band.enable.name, position) if band.enable is not None and position is not None else None


def _on_position(band: Band, kind: str) -> dict[str, Value]:
    values: dict[str, Value] = {}
    if band.kind is not None and kind in band.shapes:
        values[band.kind.name] = band.shapes[kind]
    position = roles.position_at(band.enable, on=True) if band.enable is not None else None
    if band.enable is not None and position is not None:
        values[band.enable.name] = position
    return values


def _switched(band: Band, kind: str, off: str) -> Iterator[Setting]:
    """Settings of a band's shape and switch: off where the section does nothing."""
    if band.kind is not None and kind in band.shapes:
        shape = band.shapes[kind]
        if band.off:
            yield Setting(band.kind.name, f"{constant(band.off)} if {off} else {constant(shape)}")
        else:
            yield Setting(band.kind.name, text=shape)
    if band.enable is not None:
        first, second = (constant(roles.position_at(band.enable, on=on) or 0.0) for on in (False, True))
        yield Setting(band.enable.name, f"{first} if {off} else {second}")


def _hertz(control: ParameterDescription) -> float:
    return 1000.0 if control.unit.strip().lower() == "khz" else 1.0


def _span_hz(band: Band) -> tuple[float, float]:
    scale = _hertz(band.frequency)
    return float(band.frequency.minimum or 0.0) * scale, float(band.frequency.maximum or 0.0) * scale


def _q_values(control: ParameterDescription) -> list[float]:
    """Values of a Q or bandwidth control over its useful range."""
    low, high = float(control.minimum or 0.0), float(control.maximum or 0.0)
    top = min(high, 12.0)
    bottom = max(low, top / 60.0, 1e-3)
    return [float(f"{v:.4g}") for v in np.clip(np.geomspace(bottom, top, _Q_STEPS), low, high)]


def _is_ours(section: Section) -> bool:
    """Whether a fit is close and its Q one that matters."""
    return _Q_RANGE[0] < section.q < _Q_RANGE[1] and section.error_db < _CLOSE_DB


def _spread(values: Sequence[float]) -> float:
    """How far values are apart, as a share of their middle."""
    return float(np.ptp(values) / np.median(values)) if len(values) > 1 else 0.0


def _usable(shape: _Shape) -> bool:
    """A pass without a Q must be a Butterworth filter; others can have any Q."""
    if shape.kind not in _PASSES or shape.q_control is not None:
        return True
    return abs(shape.fixed_q / eq.BUTTERWORTH_Q - 1.0) < 0.02
