"""Which plugin realises an insert, with which settings, states and files; no session's format here.

What is chosen among is the profiles of `bridge.suites`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations, groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..bridge.errors import ExportError, ParameterError, ProfileError
from ..bridge.hosting.pool import PluginPool, PluginRef, PluginSettings, shared_pool
from ..bridge.hosting.probe import ensure_certificate
from ..bridge.hosting.registry import find_plugin
from ..bridge.hosting.state import decode_lsp_state, encode_lsp_state
from ..bridge.processors.laws import kind_of
from ..bridge.processors.specs import GAIN_PAN, IMAGER, spec_of, type_named
from ..bridge.responses import Response
from ..bridge.suites import Profile, choose_profiles, load_suite, suite_names
from ..bridge.suites import Stage as ProfileStage
from .chain import Branch, Insert, PluginInfo, Stage
from .names import safe_name
from .session import Insert as SessionInsert
from .session import Strip

#: Folders of an export for the states of plugins, and for what they load.
PRESET_FOLDER = "presets"
RESPONSE_FOLDER = "ir"

#: What hosts and DAWs do themselves, whatever the suites say.
MIXER_TYPES = (GAIN_PAN.type, IMAGER.type)

#: Built-ins that are linear and treat each channel by itself: gains may come after them instead of before.
_COMMUTING = frozenset(
    (
        "Convolution",
        "Delay",
        "Gain",
        "HighpassFilter",
        "HighShelfFilter",
        "LowpassFilter",
        "LowShelfFilter",
        "PeakFilter",
    )
)

#: Where kinds of profile run that not every host has.
_RUNS_IN = {"jsfx": "runs in REAPER only", "stock": "runs in REAPER only", "lv2": "is no VST3; it is for Ardour"}

Responses = dict[str, Response]


@dataclass
class InsertMaker:
    """Turns the inserts of a session into plugins with their settings, numbered through all channels.

    Attributes
    ----------
    profiles : mapping of str to Profile
        By kind of processor (`laws.kind_of`).
    suites : str
        The choice that led to the profiles, for messages.
    kinds : tuple of str
        Kinds of profile that the host can run.
    responses : dict
        Files that the plugins load, filled as inserts are made, by their name in the folder.
    """

    sample_rate_hz: int
    profiles: Mapping[str, Profile]
    suites: str
    kinds: tuple[str, ...]
    responses: Responses = field(default_factory=dict)
    number: int = 0

    def of(self, strip: Strip) -> Iterator[Insert]:
        """The inserts of one channel.

        Raises
        ------
        ExportError
            If the profiles cannot hold one; the message names it and the remedy.
        """
        for insert in strip.inserts:
            yield self.make(insert, strip)

    def make(self, insert: SessionInsert, strip: Strip) -> Insert:
        """One insert; see `of`."""
        self.number += 1
        try:
            return self._insert(insert, strip)
        except (ParameterError, ProfileError) as error:
            raise ExportError(f"{strip.name}: {insert.id}: {error}") from None

    def _insert(self, insert: SessionInsert, strip: Strip) -> Insert:
        given = partial(
            Insert,
            id=insert.id,
            type=insert.type,
            law=insert.law,
            mix=insert.mix,
        )
        if insert.type in MIXER_TYPES:
            return given(kind="mixer", parameters=dict(insert.parameters))
        profile = self._profile(insert, strip)
        name = f"{self.number:02d}-{safe_name(strip.name, fallback='channel')}-{insert.type}"
        if profile.kind == "stock":
            return given(kind="stock", plugin=profile.plugin, parameters=profile.check(insert.parameters))
        if profile.kind in ("builtin", "lv2"):
            stages = profile.stages(insert.parameters, sample_rate_hz=self.sample_rate_hz)
            return given(
                kind=profile.kind,
                plugin=profile.plugin if profile.kind == "lv2" else None,
                parameters=dict(insert.parameters),
                branches=tuple(self._branches(stages, name, insert)),
            )
        files = profile.files(insert.parameters, sample_rate_hz=self.sample_rate_hz)
        return given(
            kind="vst3",
            plugin=profile.plugin,
            parameters=dict(insert.parameters),
            values=profile.settings(insert.parameters, sample_rate_hz=self.sample_rate_hz),
            preset=f"{PRESET_FOLDER}/{name}.vstpreset",
            files=self._files(files, name, insert),
            latency_samples=profile.latency_samples,
        )

    def _profile(self, insert: SessionInsert, strip: Strip) -> Profile:
        """The profile of an insert, which must follow the insert's law."""
        where = f"{strip.name}: {insert.id}"
        label = spec_of(insert.type).label
        profile = self.profiles.get(kind_of(insert.type, insert.law))
        if profile is None:
            raise ExportError(f"{where}: --plugins {self.suites} has no {label}; {self._remedy(insert)}")
        if profile.kind not in self.kinds:
            runs = _RUNS_IN.get(profile.kind, "runs in no DAW")
            raise ExportError(f"{where}: the {profile.suite} suite's {label} {runs}; {self._remedy(insert)}")
        if profile.law != insert.law:
            profile = self.variant(profile, insert.law) or profile
        if profile.law != insert.law:
            raise ExportError(
                f"{where}: the {profile.suite} suite's follows another law ({_law(profile.law)}) than this {label} "
                f"({_law(insert.law)}) and would sound different; {self._remedy(insert)}, "
                f"or search again with --plugins {self.suites}"
            )
        return profile

    def variant(self, profile: Profile, law: str) -> Profile | None:
        """Another profile of the same suite and type that follows a law and that the host runs."""
        others = load_suite(profile.suite).profiles.values()
        fitting = [p for p in others if p.processor == profile.processor and p.law == law and p.kind in self.kinds]
        return fitting[0] if fitting else None

    def suites_for(self, insert: SessionInsert) -> list[str]:
        """Names of the suites with a plugin that the host runs and that follows the insert's law; LV2 come first."""
        profiles = {suite: choose_profiles(suite).get(kind_of(insert.type, insert.law)) for suite in suite_names()}
        fitting = {s: p for s, p in profiles.items() if p is not None and p.kind in self.kinds and p.law == insert.law}
        return sorted(fitting, key=lambda suite: fitting[suite].kind != "lv2")

    def _remedy(self, insert: SessionInsert) -> str:
        """What to pass as --plugins instead: the same choice but for this type."""
        fitting = self.suites_for(insert)
        if not fitting:
            return "no suite has one that follows this law"
        others = [part for part in self.suites.split(",") if type_named(part.partition("=")[0].strip()) != insert.type]
        rest = [part if "=" in part else f"*={part.strip()}" for part in others if part.strip()]
        return f"use --plugins {','.join([f'{insert.type}={fitting[0]}', *rest])}"

    def _branches(self, stages: Sequence[ProfileStage], name: str, insert: SessionInsert) -> Iterator[Branch]:
        for number, (_, group) in enumerate(groupby(stages, key=lambda stage: stage.branch), start=1):
            branch = list(group)
            if any(stage.mono for stage in branch[1:]):
                raise ProfileError("stage: only the first stage of a branch may be mono; put the others into another")
            for before, after in combinations(branch, 2):
                if before.gains != (1.0, 1.0) and _name_of(after) not in _COMMUTING:
                    raise ProfileError(f"stage: gains before {_name_of(after)} cannot be exported; put them after it")
            left, right = (math.prod(stage.gains[side] for stage in branch) for side in (0, 1))
            yield Branch(
                mono=branch[0].mono,
                stages=tuple(self._stage(stage, f"{name}-{number}", insert) for stage in branch),
                left=left,
                right=right,
            )

    def _stage(self, stage: ProfileStage, name: str, insert: SessionInsert) -> Stage:
        return Stage(name=_name_of(stage), values=dict(stage.values), files=self._files(stage.files, name, insert))

    def _files(
        self, responses: Mapping[str, npt.NDArray[np.float64]], name: str, insert: SessionInsert
    ) -> dict[str, str]:
        """Where the files a plugin loads will lie."""
        files = {}
        for state_id, response in responses.items():
            files[state_id] = f"{RESPONSE_FOLDER}/{name}-{state_id}.wav"
            self.responses[files[state_id]] = Response(response, insert.parameters, insert.law)
        return files


def _name_of(stage: ProfileStage) -> str:
    """The class of a built-in, the URI of an LV2 plugin."""
    return (stage.plugin.class_id or stage.plugin.name) if stage.plugin is not None else ""


def _law(name: str) -> str:
    return f"that of {name}" if name else "ours"


def _plugin_of(insert: Insert) -> PluginInfo:
    if insert.plugin is None:
        raise ExportError(f"{insert.id}: a VST3 insert without a plugin; correct its profile")
    return insert.plugin


def find_plugins(
    inserts: Iterable[Insert], *, allow_unverified: bool, pool: PluginPool | None
) -> dict[PluginInfo, PluginRef]:
    """Every VST3 plugin of some inserts on this machine, each with its certificate.

    Raises
    ------
    PluginError
        If one is missing, has no certificate or fails.
    """
    found = {}
    for info in dict.fromkeys(_plugin_of(insert) for insert in inserts if insert.kind == "vst3"):
        plugin = find_plugin(class_id=info.class_id, name=info.name, bundle=info.bundle)
        ensure_certificate(plugin, pool or shared_pool(), allow_unverified=allow_unverified)
        found[info] = plugin
    return found


def component_state(
    insert: Insert,
    plugin: PluginRef,
    *,
    sample_rate_hz: int,
    folder: Path,
    target: Path,
    pool: PluginPool | None,
) -> bytes:
    """What a plugin stores when it is set as its insert says; `folder` is where `target` will be."""
    # The plugin must find its files while it is asked, and later where they will be.
    files = {state_id: str((target / file).resolve()) for state_id, file in insert.files.items()}
    component = (pool or shared_pool()).component_state(
        plugin, PluginSettings(values=insert.values, strings=files), sample_rate_hz=float(sample_rate_hz)
    )
    if not files:
        return component
    later = {state_id: str((folder / file).resolve()) for state_id, file in insert.files.items()}
    return encode_lsp_state(decode_lsp_state(component) | later)


def write_responses(responses: Responses, *, target: Path, sample_rate_hz: int) -> None:
    """Write the files that plugins load."""
    for name, response in responses.items():
        response.save(target / name, sample_rate_hz=sample_rate_hz)
