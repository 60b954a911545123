"""Inserts as effects of an Ardour session: which plugins they are, with which values; no routing, no XML here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ...bridge.errors import ExportError
from ...bridge.null_test import MATERIALS, material, null_depth_db
from ...bridge.processors.equations import channel_gains, gain_and_pan, gain_to_db
from ...bridge.processors.laws import kind_of
from ...bridge.processors.reference import apply_processor
from ...bridge.processors.specs import GAIN_PAN, spec_of
from ...bridge.suites import Profile, choose_profiles
from ..chain import Insert as PlannedInsert
from ..chain import Stage
from ..inserts import MIXER_TYPES, InsertMaker
from ..losses import Loss
from ..session import Insert, Strip

#: Kinds of profile that Ardour runs.
ARDOUR_KINDS = ("lv2", "vst3")


#: The suites that have most for it.
DEFAULT_ARDOUR_SUITES = "lsp-lv2"

#: Length of the material that two laws are compared on (s).
_MATERIAL_S = 3.0


@dataclass(frozen=True)
class Effect:
    """One plugin in a route.

    Attributes
    ----------
    kind : {"lv2", "vst3"}
    id : str
        URI, or 32 hexadecimal digits.
    ports : mapping of str to float
        Of an LV2 plugin, by symbol.
    files : mapping of str to str
        Files that it loads: state id to path relative to the export's folder.
    insert : chain.Insert or None
        Of a VST3 plugin, whose state is asked of the plugin itself.
    """

    kind: str
    id: str
    name: str
    ports: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    active: bool = True
    insert: PlannedInsert | None = None


@dataclass(frozen=True)
class EffectBranch:
    """Effects in a row on one of the parallel paths of an insert, and the gains after them."""

    effects: tuple[Effect, ...]
    left: float = 1.0
    right: float = 1.0


@dataclass(frozen=True)
class Run:
    """How one insert is done.

    Attributes
    ----------
    alone : Effect or None
        The only plugin, where it mixes with its input by itself or need not.
    branches : tuple of EffectBranch
        Otherwise: what is added, each with the gain `mix`, to `1 - mix` of the input.
    """

    alone: Effect | None
    branches: tuple[EffectBranch, ...] = ()
    mix: float = 1.0


class ArdourPlugins:
    """Turns the inserts of a session into effects, and collects what none can hold.

    Attributes
    ----------
    maker : InsertMaker
    losses : list of Loss
    """

    def __init__(self, *, suites: str, sample_rate_hz: int) -> None:
        self.profiles = choose_profiles(suites)
        self.maker = InsertMaker(sample_rate_hz, self.profiles, suites, kinds=ARDOUR_KINDS)
        self.losses: list[Loss] = []

    def has(self, insert: Insert) -> bool:
        """Whether the chosen suites have a plugin for the kind of an insert; gain and width need none."""
        profile = self._profile(insert)
        return profile is not None and profile.kind in ARDOUR_KINDS

    def run(self, insert: Insert, strip: Strip) -> Run | None:
        """How an insert is done; None where no suite has anything for it, which is noted.

        Raises
        ------
        ExportError
            If the chosen suites cannot hold it and others can, or a setting is beyond the plugin.
        """
        profile = self._profile(insert)
        if profile is not None and insert.type in MIXER_TYPES:
            return Run(self._mixer_effect(insert, profile))
        if not any(p.kind in ARDOUR_KINDS for p in self.profiles.values()):
            raise ExportError(
                f"{strip.name}: {insert.id}: nothing of --plugins {self.maker.suites} runs in Ardour; "
                f"use --plugins {DEFAULT_ARDOUR_SUITES}"
            )
        insert = self._with_held_law(insert, profile, strip)
        if profile is None and not self.maker.suites_for(insert):
            what = f"{spec_of(insert.type).label} left out: no suite that runs in Ardour has one"
            self.losses.append(Loss(strip.id, insert.id, what))
            return None
        made = self.maker.make(insert, strip)
        profile = self.profiles[kind_of(insert.type, insert.law)]
        branches = tuple(self._branches(made))
        effects = [effect for branch in branches for effect in branch.effects]
        if len(effects) != 1 or (branches[0].left, branches[0].right) != (1.0, 1.0):
            return Run(None, branches, insert.mix)
        (alone,) = effects
        ports = profile.lv2
        if insert.mix != 1.0 and ports.dry:
            wet = insert.mix * alone.ports.get(ports.wet, 1.0)
            return Run(replace(alone, ports={**alone.ports, ports.dry: 1.0 - insert.mix, ports.wet: wet}))
        if insert.mix in (0.0, 1.0):
            return Run(replace(alone, active=insert.mix == 1.0))
        return Run(None, branches, insert.mix)

    def standby(self, insert: Insert, strip: Strip) -> tuple[Effect, ...]:
        """The plugins of an insert that is there to be tried, switched off; the sound stays what it is without.

        Raises
        ------
        ExportError
            As `run`.
        """
        known = len(self.losses)
        run = self.run(insert, strip) if insert.type not in MIXER_TYPES or self.has(insert) else None
        # How it would sound is nobody's loss as long as it is off.
        del self.losses[known:]
        if run is None:
            self.losses.append(Loss(strip.id, insert.id, f"{spec_of(insert.type).label}, bypassed, left out"))
            return ()
        found = [run.alone] if run.alone is not None else [e for branch in run.branches for e in branch.effects]
        return tuple(replace(effect, active=False) for effect in found)

    def _profile(self, insert: Insert) -> Profile | None:
        return self.profiles.get(kind_of(insert.type, insert.law))

    def _mixer_effect(self, insert: Insert, profile: Profile) -> Effect:
        """Gain, pan or width as a plugin, the dry part included."""
        if insert.type == GAIN_PAN.type:
            gain, pan = gain_and_pan(*channel_gains(**insert.parameters, mix=insert.mix))
            values = {"gain_db": max(gain_to_db(gain), GAIN_PAN.parameter("gain_db").minimum), "pan": pan}
        else:
            values = {"width": insert.mix * insert.parameters["width"] + 1.0 - insert.mix}
        (stage,) = profile.stages(profile.clamp(values), sample_rate_hz=self.maker.sample_rate_hz)
        ports = {symbol: float(value) for symbol, value in stage.values.items()}
        return Effect("lv2", _id_of(profile), _name_of(profile), ports)

    def _with_held_law(self, insert: Insert, profile: Profile | None, strip: Strip) -> Insert:
        """The insert under the law of its plugin, where no plugin follows its own; the difference is noted."""
        if profile is None or profile.kind not in ARDOUR_KINDS or profile.law == insert.law:
            return insert
        if self.maker.variant(profile, insert.law) is not None or self.maker.suites_for(insert):
            return insert
        held = replace(insert, law=profile.law, parameters=profile.clamp(insert.parameters))
        label, below_db = spec_of(insert.type).label, -self._difference_db(insert, held)
        what = (
            f"{_name_of(profile)} follows another law than this {label}; it differs {below_db:.0f} dB below its output"
        )
        self.losses.append(Loss(strip.id, insert.id, what))
        return held

    def _difference_db(self, insert: Insert, held: Insert) -> float:
        """Energy of the difference between two laws on the material of the null tests, at the insert's mix."""
        rate_hz = self.maker.sample_rate_hz
        worst = -np.inf
        for kind in MATERIALS:
            audio = material(kind, seconds=_MATERIAL_S, sample_rate_hz=rate_hz)
            made = [
                apply_processor(i.type, audio, parameters=i.parameters, sample_rate_hz=rate_hz, mix=i.mix, law=i.law)
                for i in (insert, held)
            ]
            worst = max(worst, null_depth_db(made[1], made[0]))
        return float(worst)

    def _branches(self, made: PlannedInsert) -> Iterator[EffectBranch]:
        if made.kind == "vst3":
            if made.plugin is not None:
                yield EffectBranch((Effect("vst3", made.plugin.class_id, made.plugin.name, insert=made),))
            return
        for branch in made.branches:
            effects = tuple(self._effect(stage, made) for stage in branch.stages)
            yield EffectBranch(effects, branch.left, branch.right)

    def _effect(self, stage: Stage, made: PlannedInsert) -> Effect:
        ports = {symbol: float(value) for symbol, value in stage.values.items()}
        named = made.plugin is not None and made.plugin.class_id == stage.name
        name = made.plugin.name if made.plugin is not None and named else stage.name.rpartition("/")[2]
        return Effect("lv2", stage.name, name, ports, dict(stage.files))


def _id_of(profile: Profile) -> str:
    return profile.plugin.class_id if profile.plugin is not None else ""


def _name_of(profile: Profile) -> str:
    return profile.plugin.name if profile.plugin is not None else ""
