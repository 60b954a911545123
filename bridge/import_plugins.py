"""What the VST3 plugins of a session are set to, as processors of ours; sessions are read elsewhere.

A plugin with a profile is asked in a worker what the state in the session means, and the profile is
inverted (`profile_inverse`). Then the same plugin is set as the profile would set it, and everything it
tells is compared: a setting that the profile knows nothing of is named, never passed over.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..exporters.chain import Insert, PluginInfo
from ..exporters.inserts import RESPONSE_FOLDER
from ..exporters.reaper.vst_chunk import class_id_on
from ..exporters.session import Insert as Node
from ..exporters.vstpreset import read_vstpreset
from .choices import this_system
from .errors import PluginNotFoundError, PluginSettingError, SessionFileError
from .hosting.pool import PluginPool, PluginRef, PluginSettings
from .hosting.registry import find_plugin
from .hosting.state import decode_lsp_state, encode_lsp_state, is_lsp_state
from .profile_inverse import Reading, read_parameters, same_value
from .profiles import Plain, Profile
from .responses import Response, load_response
from .suites import load_suite, suite_names

#: A chain's values are those of its preset if they differ by no more, in the unit of the parameter.
_SHOWN = 1e-3

#: Folders of a path as any system writes them.
_SEPARATORS = re.compile(r"[\\/]")


@dataclass(frozen=True)
class PluginNode:
    """A plugin as a processor of ours.

    Attributes
    ----------
    node : session.Insert
        Its type, law, parameters and dry/wet.
    notes : tuple of str
        What was passed over, for people.
    """

    node: Node
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """What a plugin is set to.

    Attributes
    ----------
    values : dict of str to float or str
        Its parameters by name.
    files : dict of str to str
        Files it loads, by state id.
    plugin : PluginRef or None
        Where it was asked; None where the session itself told its values.
    """

    values: Mapping[str, Plain]
    files: Mapping[str, str]
    plugin: PluginRef | None = None


@dataclass
class PluginReader:
    """Reads the VST3 inserts of one session.

    Attributes
    ----------
    folder : Path
        The session's, which its files are relative to.
    media_folder : Path or None
        Where else to look for files that plugins load.
    pool : callable
        Gives the pool when the first plugin must be asked.
    """

    folder: Path
    sample_rate_hz: int
    pool: Callable[[], PluginPool]
    media_folder: Path | None = None
    _responses: dict[Path, Response] = field(default_factory=dict, init=False)

    def read(self, insert: Insert) -> PluginNode | None:
        """The processor that a plugin is set to be; None for a plugin without a profile.

        Raises
        ------
        PluginNotFoundError
            If the plugin must be asked and is not on this machine.
        PluginSettingError
            If it is set to something that no profile writes; the message names the setting.
        PluginError, SessionFileError, AudioFileError, AudioContentError
            If plugin, preset or a file that it loads cannot be used.
        """
        profiles = list(_profiles_of(insert))
        if not profiles:
            return None
        notes: list[str] = []
        found = self._found(insert, notes)
        errors: list[PluginSettingError] = []
        for profile in self._of_the_law(profiles, found):
            try:
                reading = self._reading(profile, found, near=_hint(insert, profile))
            except PluginSettingError as error:
                errors.append(error)
                continue
            node = Node(insert.id, profile.processor, reading.parameters, insert.mix, profile.law)
            return PluginNode(node, (*notes, *reading.notes))
        if errors:
            raise errors[0]
        raise PluginSettingError(f"{insert.title}: no profile of it follows the law of its reverb; bypass the plugin")

    # ------------------------------------------------------------------ what the session tells

    def _found(self, insert: Insert, notes: list[str]) -> _Found:
        """Ask the plugin what its state means; without a state the session's own values stand."""
        state = self._state(insert)
        if state is None:
            if not insert.values:
                raise PluginSettingError(f"{insert.title}: its settings cannot be read; bypass it there and save")
            return _Found(insert.values, insert.files)
        try:
            found = self._asked(insert, state)
        except PluginNotFoundError:
            if not insert.values:
                raise
            notes.append(f"{insert.title}: is not on this machine; its values were read, not its preset")
            return _Found(insert.values, insert.files)
        for name, value in insert.values.items():
            if name not in found.values or not same_value(found.values[name], value, resolution=_SHOWN):
                notes.append(f"{insert.title}: {name} was read from the preset, which is heard; its value is another")
        return found

    def _state(self, insert: Insert) -> bytes | None:
        if insert.state is not None:
            try:
                return base64.b64decode(insert.state, validate=True)
            except ValueError:
                raise SessionFileError(f"{insert.title}: its state is not base64; export the session again") from None
        if insert.preset is None:
            return None
        path = self.folder / insert.preset
        preset = read_vstpreset(path)
        if insert.plugin is not None and not _is_same(PluginInfo(name="", class_id=preset.class_id), insert.plugin):
            raise SessionFileError(f"{path}: belongs to another plugin than {insert.title}; export the session again")
        return preset.component

    def _asked(self, insert: Insert, state: bytes) -> _Found:
        info = insert.plugin or PluginInfo(name=insert.title)
        plugin = find_plugin(class_id=info.class_id, name=info.name, bundle=info.bundle)
        files = dict[str, str]()
        if is_lsp_state(state):
            items = decode_lsp_state(state)
            files = {key: text for key, text in items.items() if isinstance(text, str) and text}
            # What it loads says nothing of its parameters, takes seconds, and may have been moved.
            state = encode_lsp_state({key: "" if isinstance(v, str) else v for key, v in items.items()})
        values = self.pool().read_back(plugin, PluginSettings(state=state), sample_rate_hz=self.sample_rate_hz)
        # Those of a chain are named beside the preset, so that its folder may move.
        return _Found(values, files | dict(insert.files), plugin)

    # ------------------------------------------------------------------ one profile

    def _of_the_law(self, profiles: Sequence[Profile], found: _Found) -> Iterator[Profile]:
        """Profiles that may be meant: of those that load a response only the ones of its law."""
        for profile in profiles:
            ids = profile.recipe[0].files
            loaded = bool(ids) and all(found.files.get(key) for key in ids)
            if not loaded or self._response(profile, found).law == profile.law:
                yield profile

    def _reading(self, profile: Profile, found: _Found, *, near: Mapping[str, float] | None) -> Reading:
        name = _title(profile)
        ids = profile.recipe[0].files
        for key in {*ids, *found.files}:
            if (key in ids) != bool(found.files.get(key)):
                what = "has no response loaded" if key in ids else f"loads {found.files[key]}, which no profile does"
                raise PluginSettingError(f"{name}: {what}; bypass it there and save, or export the session again")
        if ids:
            told = dict(self._response(profile, found).parameters)
            level = (near or profile.spec.defaults())["level_db"]
            # Limits narrower than what the response says would change it.
            near = profile.check({**told, "level_db": level})
        reading = read_parameters(profile, found.values, sample_rate_hz=self.sample_rate_hz, near=near)
        return Reading(reading.parameters, (*reading.notes, *self._compare(profile, found, reading)))

    def _response(self, profile: Profile, found: _Found) -> Response:
        path = self._file(found.files[profile.recipe[0].files[0]])
        if path not in self._responses:
            self._responses[path] = load_response(path)
        return self._responses[path]

    def _file(self, text: str) -> Path:
        """Where a file that a plugin loads lies: as the session says, else by its name where exports have it."""
        name = _SEPARATORS.split(text)[-1]
        folders = [self.folder / RESPONSE_FOLDER, *([self.media_folder] if self.media_folder else [])]
        places = [self.folder / text, *(folder / name for folder in folders)]
        try:
            return next((place for place in places if place.is_file()), places[0])
        except (OSError, ValueError):
            raise SessionFileError(f"{text[:80]!r} is not a file name; choose the file in the plugin again") from None

    # ------------------------------------------------------------------ the proof

    def _compare(self, profile: Profile, found: _Found, reading: Reading) -> Iterator[str]:
        """Refuse settings that the profile leaves alone and that are not as the plugin has them of itself.

        Yields notes of those that change nothing but what the plugin shows.
        """
        written = profile.settings(reading.parameters, sample_rate_hz=self.sample_rate_hz)
        plain = self._plain(found.plugin, written) if found.plugin is not None else {}
        for name, value in found.values.items():
            if name in written or (found.plugin is not None and name not in plain):
                continue
            if name in plain and same_value(value, plain[name]):
                continue
            if profile.shows_only(name):
                yield f"{_title(profile)}: {name} is {value}, which only changes its display, and was left out"
                continue
            usual = f"set it to {plain[name]}" if name in plain else "remove it"
            raise PluginSettingError(
                f"{_title(profile)}: {name} is {value}, which the profile {profile.suite}/{profile.name} leaves alone; "
                f"{usual}, or bypass the plugin"
            )

    def _plain(self, plugin: PluginRef, written: Mapping[str, Plain]) -> dict[str, Plain]:
        """Everything that can be set on a plugin, as it is when only these values were set."""
        values = self.pool().read_back(plugin, PluginSettings(values=written), sample_rate_hz=self.sample_rate_hz)
        settable = {p.name for p in self.pool().describe(plugin).parameters if p.writable}
        return {name: value for name, value in values.items() if name in settable}


def _title(profile: Profile) -> str:
    return profile.plugin.name if profile.plugin is not None else profile.name


def _profiles_of(insert: Insert) -> Iterator[Profile]:
    """Profiles of a plugin in all suites; those of the type and law that a chain names come first."""
    info = insert.plugin
    if insert.kind != "vst3" or info is None:
        return
    fitting = [
        profile
        for name in suite_names()
        for profile in load_suite(name).profiles.values()
        if profile.kind == "vst3" and profile.plugin is not None and _is_same(profile.plugin, info)
    ]
    yield from sorted(fitting, key=lambda p: (p.processor, p.law) != (insert.type, insert.law))


def _is_same(ours: PluginInfo, theirs: PluginInfo) -> bool:
    """Whether two descriptions are of one plugin: by class id, by name where there is none."""
    if not (ours.class_id and theirs.class_id):
        return ours.name.casefold() == theirs.name.casefold()
    return class_id_on(ours.class_id, this_system()) == class_id_on(theirs.class_id, this_system())


def _hint(insert: Insert, profile: Profile) -> Mapping[str, float] | None:
    """What a chain says the plugin was set from, where it says so for this profile's processor."""
    known = insert.type == profile.processor and set(insert.parameters) == set(profile.spec.names)
    return insert.parameters if known else None
