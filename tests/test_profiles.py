"""Null tests of the plugin profiles: real plugins against the reference on random settings.

The figures a profile states come from 100 settings at each rate (``scripts/measure_profiles.py``).
Here the first of the same settings are run again, as many as the plugin has time for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from mixbridge.bridge.hosting.pool import PluginPool, PluginSettings
from mixbridge.bridge.hosting.stages import StageRunner, plugin_of
from mixbridge.bridge.null_test import RATES_HZ, material, null_depth_db, null_test, targets
from mixbridge.bridge.processors.reference import apply_processor
from mixbridge.bridge.suites import Profile, load_suite, run_stages

from .suites import installed

#: Settings per rate. Most plugins take some hundredths of a second; one that allocates half a
#: gigabyte for each render, or loads a file, takes one.
SETS = {
    "lsp/delay": 4,
    "lsp/reverb": 4,
    "pedalboard/delay": 25,
    "pedalboard/reverb": 10,
    "zam/reverb": 6,
    "zam/reverb_plate": 6,
}
USUAL_SETS = 50
WORKERS = min(os.cpu_count() or 1, 4)

PROFILES = [
    f"{suite}/{name}"
    for suite in ("lsp", "zam", "pedalboard")
    for name, profile in load_suite(suite).profiles.items()
    if profile.kind in ("vst3", "builtin")
]


def installed_profile(which: str) -> Profile:
    """The profile, once its plugins are there; skips the test where they cannot be."""
    suite, _, name = which.partition("/")
    for needed in load_suite(suite).install:
        installed(needed)
    return load_suite(suite).profiles[name]


@pytest.fixture(scope="module")
def pool() -> Iterator[PluginPool]:
    with PluginPool(workers=WORKERS) as plugins:
        yield plugins


@pytest.fixture(scope="module")
def run(pool: PluginPool) -> Iterator[StageRunner]:
    with StageRunner(pool) as runner:
        yield runner


@pytest.mark.slow
@pytest.mark.parametrize("which", PROFILES)
def test_null_depth_on_random_settings(which: str, run: StageRunner) -> None:
    profile = installed_profile(which)
    sets = SETS.get(which, USUAL_SETS)
    results = null_test(profile, run=run, sets=sets, threads=WORKERS)
    assert len(results) == sets * len(RATES_HZ)
    null_db, response_db = targets(profile)
    worst = max(results, key=lambda result: result.null_db)
    assert worst.null_db <= null_db, worst
    if response_db is not None:
        worst = max(results, key=lambda result: result.response_db or 0.0)
        assert worst.response_db is not None and worst.response_db <= response_db, worst


@pytest.mark.parametrize("which", [p for p in PROFILES if not p.startswith("pedalboard/")])
def test_the_plugin_has_every_parameter_and_takes_every_value(which: str, pool: PluginPool) -> None:
    profile = installed_profile(which)
    [stage] = profile.stages(profile.clamp(profile.spec.defaults()), sample_rate_hz=48000)
    plugin = plugin_of(stage)
    described = pool.describe(plugin)
    taken = pool.read_back(plugin, PluginSettings(values=stage.values), sample_rate_hz=48000)
    assert profile.plugin is not None and described.class_id == profile.plugin.class_id
    ids = profile.state_ids()
    for name, value in stage.values.items():
        parameter = described.parameter(name)
        assert parameter is not None, name
        if parameter.state_id:
            assert parameter.state_id == ids[name]
        if isinstance(value, float):
            assert taken[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name
        elif isinstance(taken[name], str):
            assert taken[name] == value, name
        else:
            assert value == "-inf" and float(taken[name]) <= -80.0, name


@pytest.mark.parametrize("which", ["lsp/eq", "pedalboard/eq", "lsp/compressor", "lsp/gate", "zam/compressor"])
def test_neutral_settings_change_nothing(which: str, run: StageRunner) -> None:
    profile = installed_profile(which)
    parameters = profile.clamp(profile.spec.defaults())
    audio = material("drums", seconds=0.5, sample_rate_hz=48000)
    stages = profile.stages(parameters, sample_rate_hz=48000)
    found = run_stages(stages, audio, run=lambda stage, signal: run(stage, signal, 48000))
    assert null_depth_db(found, audio) < -130


def test_a_wrong_law_is_noticed(run: StageRunner) -> None:
    """The material and the depth asked for tell one law from another."""
    profile = installed_profile("zam/compressor")
    parameters = profile.clamp(profile.spec.defaults()) | {"threshold_db": -30.0, "ratio": 4.0}
    audio = material("drums", seconds=1.0, sample_rate_hz=44100)
    found = run_stages(
        profile.stages(parameters, sample_rate_hz=44100), audio, run=lambda stage, signal: run(stage, signal, 44100)
    )
    depths = {
        law: null_depth_db(
            found, apply_processor("compressor", audio, parameters=parameters, sample_rate_hz=44100, law=law)
        )
        for law in ("", "zam", "pedalboard")
    }
    assert depths["zam"] < targets(profile)[0] < min(depths[""], depths["pedalboard"])
    assert np.isfinite(list(depths.values())).all()
