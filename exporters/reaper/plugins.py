"""Plugins as inserts of a REAPER project, VST3 and its own: which inserts they are, and their blocks; no JSFX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...bridge.choices import System
from ...bridge.hosting.pool import PluginPool, PluginRef, shared_pool
from ...bridge.processors.laws import kind_of
from ...bridge.suites import Profile, choose_profiles
from ..chain import Insert, PluginInfo
from ..inserts import MIXER_TYPES, InsertMaker, Responses, component_state, find_plugins, write_responses
from ..session import Session
from .rpp import Block
from .stock import stock_chunk
from .stock_settings import to_stock
from .vst_chunk import Vst3State, vst3_chunk, vst3_head, vst_block

#: Kinds of profile that REAPER runs.
REAPER_KINDS = ("vst3", "stock", "jsfx")


def plugin_profile(kind: str, profiles: Mapping[str, Profile]) -> Profile | None:
    """The profile of a kind of processor that a plugin realises; None for one that is a JSFX of ours.

    What the chosen suites lack, and the arithmetic of a mixer, is done by our JSFX.

    Parameters
    ----------
    profiles : mapping of str to Profile
        By kind of processor (`laws.kind_of`).
    """
    profile = profiles.get(kind)
    if kind in MIXER_TYPES or profile is None or profile.kind in ("jsfx", "mixer"):
        return None
    return profile


@dataclass(frozen=True)
class PluginInserts:
    """The inserts of a session that are plugins: VST3, and those that come with REAPER.

    Attributes
    ----------
    inserts : dict of str to Insert
        By insert id.
    plugins : dict of PluginInfo to PluginRef
        Each VST3 on this machine.
    vendors : dict of PluginInfo to str
    responses : dict
        Files that plugins load, by their name in the project's folder.
    """

    inserts: dict[str, Insert] = field(default_factory=dict)
    plugins: dict[PluginInfo, PluginRef] = field(default_factory=dict)
    vendors: dict[PluginInfo, str] = field(default_factory=dict)
    responses: Responses = field(default_factory=dict)


def plan_plugins(
    session: Session, *, suites: str, allow_unverified: bool = False, pool: PluginPool | None = None
) -> PluginInserts:
    """Find the plugins of a session's inserts and their settings; nothing is written.

    Parameters
    ----------
    suites : str
        Choice of plugin suites (`suites.choose_profiles`).

    Raises
    ------
    ExportError
        If a plugin cannot hold a node; the message names node, suite and remedy.
    PluginError, ProfileError
        If a plugin is missing, has no certificate or fails, or there is no such suite.
    """
    profiles = choose_profiles(suites)
    maker = InsertMaker(session.sample_rate_hz, profiles, suites, kinds=REAPER_KINDS)
    made: dict[str, Insert] = {}
    for strip in session.strips():
        for insert in strip.inserts:
            if plugin_profile(kind_of(insert.type, insert.law), profiles) is not None:
                made[insert.id] = maker.make(insert, strip)
    if not made:
        return PluginInserts()
    plugins = find_plugins(made.values(), allow_unverified=allow_unverified, pool=pool)
    vendors = {info: (pool or shared_pool()).describe(plugin).vendor for info, plugin in plugins.items()}
    return PluginInserts(made, plugins, vendors, maker.responses)


def plugin_blocks(
    planned: PluginInserts,
    *,
    sample_rate_hz: int,
    folder: Path,
    target: Path,
    system: System,
    pool: PluginPool | None = None,
) -> dict[str, Block]:
    """The block of every insert that is a plugin, by insert id; files that plugins load are written.

    Parameters
    ----------
    folder, target : Path
        Where the project will be, and where it is being written.
    system : {"windows", "macos", "linux"}
        The system that the project is for.
    """
    write_responses(planned.responses, target=target, sample_rate_hz=sample_rate_hz)
    blocks = {}
    for insert_id, insert in planned.inserts.items():
        info = insert.plugin
        if info is None:
            continue
        if insert.kind == "stock":
            state = to_stock(insert, sample_rate_hz=sample_rate_hz)
            blocks[insert_id] = vst_block(state.PLUGIN.head(system), stock_chunk(state))
            continue
        component = component_state(
            insert,
            planned.plugins[info],
            sample_rate_hz=sample_rate_hz,
            folder=folder,
            target=target,
            pool=pool,
        )
        head = vst3_head(
            info.name, vendor=planned.vendors[info], class_id=info.class_id, file=info.bundle, system=system
        )
        blocks[insert_id] = vst_block(head, vst3_chunk(info.class_id, Vst3State(component), system=system))
    return blocks
