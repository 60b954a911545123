"""Drafts a profile of one plugin: what it is, a recipe for it, the file, and its null test; the parts do the work."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import PluginNotFoundError, PluginOutputError, PluginRefusalError, ProfileError
from ...null_test import NullResult, null_test, summarize, targets
from ...processors.specs import COMPRESSOR, DELAY, EQ, GATE, REVERB
from ...profile_files import read_profile
from ...profiles import Measured, Profile, Stage
from ..bundles import SUFFIX, listed_plugins
from ..pool import PluginPool
from ..refs import PluginDescription, PluginRef, PluginSettings
from ..registry import find_plugin, load_registry
from . import roles
from .delays import draft_delay
from .dynamics import draft_dynamics
from .equalizer import draft_equalizer
from .laws import number
from .probing import RATE_HZ, Audio, Bench, Values, behaviour
from .recipe import Recipe, write_recipe
from .reverbs import draft_reverb

#: Called with a phase, its share done (0 to 1) and a few words.
Progress = Callable[[str, float, str], None]

#: Suite that drafts belong to unless they are put elsewhere.
DRAFTS_SUITE = "drafts"

#: Random settings per sample rate in the null test of a draft.
NULL_SETS = 10
_NULL_SECONDS = 1.0

#: Plugins of a bundle that a message names.
_FEW = 4

#: How far each phase is into the whole.
_SHARES = {"describe": 0.0, "classify": 0.05, "measure": 0.1, "null test": 0.8}


@dataclass(frozen=True)
class Draft:
    """A drafted profile.

    Attributes
    ----------
    profile : Profile
        As the profile's reader understands `text`.
    text : str
        The file: TOML.
    reason : str
        Why it is this type of processor.
    findings, doubts : tuple of str
        What was measured, and what a person should look at.
    results : tuple of NullResult
        The null test.
    measured : Measured
        Its summary, as it stands in the file.
    renders : int
        How often the plugin was run for it.
    """

    description: PluginDescription
    profile: Profile
    text: str
    reason: str
    findings: tuple[str, ...]
    doubts: tuple[str, ...]
    results: tuple[NullResult, ...]
    measured: Measured
    renders: int


def choose_plugin(bundle: Path, name: str = "") -> PluginRef:
    """The plugin to draft a profile for.

    Parameters
    ----------
    bundle : Path
        A VST3 bundle anywhere.
    name : str
        Which of its plugins; may be empty where there is one.

    Raises
    ------
    PluginNotFoundError
        When there is no such bundle or plugin, it is blacklisted, or the bundle holds several; the message says what
        to do.
    """
    if bundle.suffix != SUFFIX or not bundle.exists():
        raise PluginNotFoundError(f"{bundle}: no such plugin; give the path of a {SUFFIX} that exists")
    path = bundle.absolute()
    entry = load_registry().bundle(path)
    if entry is not None and entry.blacklisted is not None:
        # Says why, and what to do.
        return find_plugin(bundle=str(path), name=name)
    listed = [p.name for p in listed_plugins(path)] or [p.name for p in (entry.plugins if entry is not None else ())]
    if name and listed:
        return find_plugin(bundle=str(path), name=name)
    if len(listed) > 1:
        few = ", ".join(f"'{n}'" for n in listed[:_FEW])
        raise PluginNotFoundError(f"{bundle.name}: holds {len(listed)} plugins; say which one with --name ({few}, ...)")
    return PluginRef(name=name or next(iter(listed), ""), path=path)


def bench_for(pool: PluginPool, plugin: PluginRef) -> Bench:
    """Put a plugin of the pool on the test bench.

    Raises
    ------
    PluginError
        As the pool's `describe`.
    """

    def render(values: Values, audio: Audio, sample_rate_hz: float) -> Audio:
        settings = PluginSettings(values=values)
        return np.asarray(pool.render(plugin, settings, audio.astype(np.float32), sample_rate_hz=sample_rate_hz))

    return Bench(render, pool.describe(plugin))


def draft_profile(
    bench: Bench,
    bundle: Path,
    *,
    processor: str = "",
    suite: str = DRAFTS_SUITE,
    file_stem: str = "",
    sets: int = NULL_SETS,
    progress: Progress | None = None,
) -> Draft:
    """Draft a profile for a plugin and test it.

    Parameters
    ----------
    bench : Bench
    bundle : Path
        The plugin's VST3 bundle.
    processor : str
        Type of processor it realises; empty to find out.
    suite, file_stem : str
        Suite the profile will belong to, and the name of its file without suffix.
    sets : int
        Random settings per sample rate in the null test.

    Raises
    ------
    PluginRefusalError
        When it is none of the types a draft can be made for; the message says what to do.
    ProfileError
        When it is, and yet nothing of ours fits it.
    PluginError
        When it cannot be run.
    """
    report = progress or (lambda phase, share, words: None)
    name = bench.description.name
    file_stem = file_stem or stem_for(bench.description)
    report("classify", _SHARES["classify"], name)
    guesses = _guesses(bench.description, processor)
    recipe, reason = _first_that_fits(bench, guesses, lambda words: report("measure", _SHARES["measure"], words))
    profile = _read(write_recipe(recipe, bench.description, bundle, {}), suite, file_stem, name)
    _doubt_linearity(bench, profile, recipe)
    report("null test", _SHARES["null test"], f"{2 * sets} random settings")
    results = _tested(bench, profile, recipe, sets)
    measured = summarize(results, version=bench.description.version)
    _state_shortfall(recipe, profile, measured)
    text = write_recipe(recipe, bench.description, bundle, measured.model_dump(exclude_none=True))
    return Draft(
        description=bench.description,
        profile=_read(text, suite, file_stem, name),
        text=text,
        reason=reason,
        findings=tuple(recipe.findings),
        doubts=tuple(recipe.doubts),
        results=tuple(results),
        measured=measured,
        renders=bench.renders,
    )


def _tested(bench: Bench, profile: Profile, recipe: Recipe, sets: int) -> list[NullResult]:
    """The null test; where the plugin writes no audio, silence stands for it and a doubt is added."""
    failed: list[str] = []

    def run(stage: Stage, audio: Audio, sample_rate_hz: float) -> Audio:
        try:
            return bench.run(stage.values, audio, sample_rate_hz=sample_rate_hz)
        except PluginOutputError:
            failed.append(
                ", ".join(f"{k} = {number(v) if isinstance(v, float) else v}" for k, v in stage.values.items())
            )
            return np.zeros_like(audio)

    results = null_test(profile, run=run, sets=sets, seconds=_NULL_SECONDS)
    if failed:
        recipe.doubts.append(f"It wrote NaN {len(failed)} times; first with {failed[0]}.")
    return results


def _doubt_linearity(bench: Bench, profile: Profile, recipe: Recipe) -> None:
    """See whether a processor that should be linear has a gain that depends on the level."""
    if not profile.spec.linear:
        return
    values = profile.settings(profile.clamp(profile.spec.defaults()), sample_rate_hz=RATE_HZ)
    if behaviour(bench, values).is_dynamic:
        recipe.doubts.append("Its gain depends on the level: it does more than this processor.")


def _state_shortfall(recipe: Recipe, profile: Profile, measured: Measured) -> None:
    """Keep the bounds that were reached where they miss the usual targets."""
    null_db, response_db = targets(profile)
    if measured.worst_null_db > null_db:
        recipe.bounds["null_db"] = math.ceil(measured.worst_null_db + 1e-9)
    if response_db is not None and (measured.worst_response_db or 0.0) > response_db:
        recipe.bounds["response_db"] = float(f"{1.05 * (measured.worst_response_db or 0.0):.2g}")
    if recipe.bounds and not recipe.expected:
        recipe.expected = "drafted; why it is no deeper was not looked into"


def stem_for(description: PluginDescription) -> str:
    """Name of the file of a draft without suffix, made of the plugin's name."""
    return "_".join(re.findall(r"[a-z0-9]+", description.name.lower())) or "plugin"


def _read(text: str, suite: str, file_stem: str, name: str) -> Profile:
    try:
        return read_profile(text, suite=suite, name=file_stem, source=f"draft of {name}")
    except ProfileError as error:
        raise ProfileError(f"{error}; this plugin needs a profile by hand (docs/profiles.md)") from None


def _guesses(description: PluginDescription, processor: str) -> Sequence[roles.Guess]:
    """What to try: what the user says, or what the names say.

    Raises
    ------
    PluginRefusalError
        When that is nothing a draft can be made for.
    """
    if processor:
        if processor not in roles.DRAFTABLE:
            raise PluginRefusalError(
                f"--processor {processor}: no draft can be made for this; choose of {', '.join(roles.DRAFTABLE)}"
            )
        return [roles.Guess(processor, 0.0, "as you said")]
    guesses = roles.rank_types(description)
    if not guesses:
        why = roles.multiband_reason(description)
        raise PluginRefusalError(
            f"{description.name}: is none of {', '.join(roles.DRAFTABLE)} by its controls{f' ({why})' if why else ''}; "
            "say what it is with --processor, or write its profile by hand (docs/profiles.md)"
        )
    return guesses


def _first_that_fits(bench: Bench, guesses: Sequence[roles.Guess], report: Callable[[str], None]) -> tuple[Recipe, str]:
    """The recipe of the likeliest type that fits; the first type's error if none does."""
    first: ProfileError | None = None
    for guess in guesses:
        try:
            return _drafted(bench, guess.processor, report), guess.reason
        except ProfileError as error:
            first = first or error
    raise first or PluginRefusalError(f"{bench.description.name}: nothing to try")


def _drafted(bench: Bench, processor: str, report: Callable[[str], None]) -> Recipe:
    if processor in (COMPRESSOR.type, GATE.type):
        return draft_dynamics(bench, processor, report)
    drafters = {EQ.type: draft_equalizer, DELAY.type: draft_delay, REVERB.type: draft_reverb}
    return drafters[processor](bench, report)
