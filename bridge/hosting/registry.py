"""What is known of the plugins on this machine, and finding one by name or class id; none is loaded here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import PluginNotFoundError
from . import places
from .bundles import PluginClass, changed_ns, find_bundles, listed_plugins
from .certificates import require_certificate as require_certificate
from .install import SUITES
from .keeping import alone_with, keep_text
from .refs import PluginRef

REGISTRY_FILE = "plugins.json"
SCHEMA_VERSION = 1


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ParameterEntry(_Model):
    """A parameter as the plugin shows it: texts at both ends and at its default, with the unit apart."""

    name: str
    unit: str = ""
    minimum: str = ""
    maximum: str = ""
    default: str = ""


class PluginEntry(_Model):
    """A plugin of a bundle. `parameters` is None where it was listed without being loaded."""

    name: str
    vendor: str = ""
    version: str = ""
    class_id: str = ""
    category: str = ""
    parameters: tuple[ParameterEntry, ...] | None = None


class BundleEntry(_Model):
    """A scanned bundle.

    Attributes
    ----------
    file_hash : str
        `bundles.file_hash` when it was scanned.
    changed_ns : int
        `bundles.changed_ns` when it was scanned.
    blacklisted : str or None
        Why it must not be loaded; None for a bundle that works.
    """

    path: str
    file_hash: str
    changed_ns: int
    blacklisted: str | None = None
    plugins: tuple[PluginEntry, ...] = ()

    @property
    def is_current(self) -> bool:
        """Whether the bundle is still there and was not exchanged since."""
        return self.changed_ns == changed_ns(Path(self.path))


class Registry(_Model):
    """All scanned bundles by path."""

    format: Literal["mixbridge-plugins"] = "mixbridge-plugins"
    schema_version: Literal[1] = 1
    bundles: tuple[BundleEntry, ...] = Field(default=())

    def bundle(self, path: Path) -> BundleEntry | None:
        """Return the entry of a bundle, if it was scanned and not exchanged since."""
        entry = next((b for b in self.bundles if b.path == str(path)), None)
        return entry if entry is not None and entry.is_current else None


def registry_path() -> Path:
    """File the registry is kept in."""
    return places.data_folder() / REGISTRY_FILE


def load_registry() -> Registry:
    """Read the registry; an empty one where nothing was scanned yet or the file is damaged."""
    path = registry_path()
    try:
        status = path.stat()
        return _read(path, status.st_mtime_ns, status.st_size)
    except (OSError, ValidationError):
        # All of it can be found out again by scanning.
        return Registry()


@lru_cache(maxsize=8)
def _read(path: Path, _changed_ns: int, _size: int) -> Registry:
    return Registry.model_validate_json(path.read_bytes())


def update_registry(change: Callable[[Registry], Registry]) -> Registry:
    """Read, change and write the registry while nobody else does.

    Raises
    ------
    PluginError
        If the file cannot be written.
    """
    path = registry_path()
    with alone_with(path):
        changed = change(load_registry())
        keep_text(path, changed.model_dump_json(indent=1) + "\n")
    return changed


# ------------------------------------------------------------------ finding


def find_plugin(*, class_id: str = "", name: str = "", bundle: str = "") -> PluginRef:
    """Find a plugin on this machine by class id, by name, or by both; no scan need have been made.

    A class id decides alone, as names change between versions. Our own suites come before what
    is installed on the system, which comes before other folders that were scanned.

    Parameters
    ----------
    class_id : str
        32 hexadecimal digits.
    name : str
        As the plugin calls itself; case does not matter. Of the plugins of several bundles with
        the same name, the first is taken.
    bundle : str
        File name of the bundle ("lsp-plugins.vst3"), or its path.

    Raises
    ------
    PluginNotFoundError
        When there is none, or it lies in a blacklisted bundle; the message says what to do.
    """
    wanted = _Wanted(class_id.upper(), name, bundle)
    blacklisted: BundleEntry | None = None
    registry = load_registry()
    for path in _candidate_bundles(registry, bundle):
        entry = registry.bundle(path)
        if entry is not None and entry.blacklisted is not None:
            if wanted.matches_file(path):
                blacklisted = blacklisted or entry
            continue
        found = wanted.find_in(path, entry)
        if found is not None:
            return PluginRef(name=found.name, path=path, class_id=found.class_id)
    if blacklisted is not None:
        raise PluginNotFoundError(
            f"{Path(blacklisted.path).name} is blacklisted: {blacklisted.blacklisted}; "
            "'mixbridge plugins scan --retry' tries it again"
        )
    if name and not bundle and not class_id and _is_builtin(name):
        return PluginRef(name=name)
    raise PluginNotFoundError(f"{wanted}: no such plugin on this machine; {_remedy(wanted)}")


class _Wanted:
    """What `find_plugin` was asked for."""

    def __init__(self, class_id: str, name: str, bundle: str) -> None:
        self.class_id = class_id
        self.name = name
        self.bundle = Path(bundle).name

    def __str__(self) -> str:
        words = self.name or self.class_id or self.bundle or "a plugin without a name"
        return f"{words} ({self.bundle})" if self.bundle not in ("", words) else words

    def find_in(self, path: Path, entry: BundleEntry | None) -> PluginClass | PluginEntry | None:
        """Look for the plugin among those of a bundle."""
        listed: list[PluginClass] | list[PluginEntry] = list(entry.plugins) if entry else listed_plugins(path)
        if not listed:
            # Only loading it would tell what is in it; a bundle of one plugin bears its name.
            fits = self.matches_file(path)
            return PluginClass(self.name or path.stem, class_id=self.class_id) if fits else None
        names_file = self.name.casefold() in ("", path.stem.casefold())
        if len(listed) == 1 and not self.class_id and names_file and self.matches_file(path):
            # The file of a bundle of one plugin names it as well as the plugin does.
            return listed[0]
        return next((plugin for plugin in listed if self._matches(plugin)), None)

    def _matches(self, plugin: PluginClass | PluginEntry) -> bool:
        if self.class_id and plugin.class_id:
            return plugin.class_id == self.class_id
        return bool(self.name) and plugin.name.casefold() == self.name.casefold()

    def matches_file(self, path: Path) -> bool:
        if self.bundle:
            return path.name == self.bundle
        return bool(self.name) and path.stem.casefold() == self.name.casefold()


def _candidate_bundles(registry: Registry, bundle: str) -> Iterator[Path]:
    """Bundles that may hold the plugin: those on the known folders, then others that were scanned."""
    if bundle and Path(bundle).is_absolute():
        yield Path(bundle)
        return
    seen = set()
    for path in find_bundles(places.vst3_folders()):
        seen.add(path)
        if not bundle or path.name == Path(bundle).name:
            yield path
    for entry in registry.bundles:
        path = Path(entry.path)
        if path not in seen and entry.is_current and (not bundle or path.name == Path(bundle).name):
            yield path


def _is_builtin(name: str) -> bool:
    import pedalboard

    kind = getattr(pedalboard, name, None)
    if not isinstance(kind, type) or not issubclass(kind, pedalboard.Plugin):
        return False
    return not issubclass(kind, pedalboard.PluginContainer | pedalboard.ExternalPlugin)


def _remedy(wanted: _Wanted) -> str:
    file = wanted.bundle or f"{wanted.name}.vst3"
    suite = next((s for s in SUITES.values() if fnmatch(file, s.bundles)), None)
    if suite is not None:
        return f"'mixbridge plugins install {suite.name}' puts {suite.title} on it"
    return "'mixbridge plugins list' shows those that are, 'mixbridge plugins scan --path FOLDER' finds more"
