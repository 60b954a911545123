"""Where plugins, their registry and our own suites lie on this machine; nothing is loaded or installed here."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

#: Environment variable that moves everything we keep on this machine to another folder.
HOME_VARIABLE = "MIXBRIDGE_HOME"

#: Written last into a suite's prefix: a prefix without it was never finished.
MANIFEST_FILE = "suite.json"

#: Where, below a suite's prefix, its VST3 bundles and the libraries that came along lie.
VST3_FOLDER = Path("vst3")
LIBRARY_FOLDER = Path("lib")
#: The C library and what must match it; apart, as it must never mix with the system's own loader.
C_LIBRARY_FOLDER = Path("libc")

#: Loader of each machine type and the folder Debian keeps its libraries in.
LOADERS: Mapping[str, tuple[str, str]] = {
    "x86_64": ("ld-linux-x86-64.so.2", "x86_64-linux-gnu"),
    "aarch64": ("ld-linux-aarch64.so.1", "aarch64-linux-gnu"),
}


def data_folder() -> Path:
    """Folder for everything kept between runs: suites, registry, certificates (it may not exist yet)."""
    chosen = os.environ.get(HOME_VARIABLE, "").strip()
    return Path(chosen).expanduser().absolute() if chosen else user_data_path("mixbridge", appauthor=False)


def suites_folder() -> Path:
    """Folder that holds one prefix for each installed suite."""
    return data_folder() / "suites"


def suite_prefix(suite: str) -> Path:
    """Folder that `suite` ("lsp", "zam", "dragonfly") is installed into."""
    return suites_folder() / suite


def system_vst3_folders() -> list[Path]:
    """Return the folders VST3 plugins are installed into on this platform, the user's own first."""
    if sys.platform == "darwin":
        return [Path.home() / "Library/Audio/Plug-Ins/VST3", Path("/Library/Audio/Plug-Ins/VST3")]
    if sys.platform == "win32":
        own = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "Programs/Common/VST3"
        shared = Path(os.environ.get("COMMONPROGRAMFILES", "C:/Program Files/Common Files")) / "VST3"
        return [own, shared]
    return [Path.home() / ".vst3", Path("/usr/local/lib/vst3"), Path("/usr/lib/vst3")]


def vst3_folders() -> list[Path]:
    """Return every folder to look for VST3 bundles in: our own suites, then the platform's.

    Our own come first because their versions are the ones the shipped profiles were measured with.
    """
    return [m.prefix / VST3_FOLDER for m in installed_suites()] + system_vst3_folders()


@dataclass(frozen=True)
class Manifest:
    """What an installed suite consists of.

    Attributes
    ----------
    packages : mapping of str to str
        Package name to version.
    c_library : str
        Version of the C library that came along; empty if none was needed.
    needs_c_library : mapping of str to str
        Bundle file name to the lowest version of the C library it runs with.
    needs_libraries : tuple of str
        Bundle file names that need a library that came along.
    """

    suite: str
    prefix: Path
    packages: Mapping[str, str] = field(default_factory=dict)
    c_library: str = ""
    needs_c_library: Mapping[str, str] = field(default_factory=dict)
    needs_libraries: tuple[str, ...] = ()

    @property
    def bundles(self) -> list[Path]:
        """The suite's VST3 bundles, by name."""
        return sorted((self.prefix / VST3_FOLDER).glob("*.vst3"))

    def to_json(self) -> str:
        """Serialise what `read_manifest` reads; the prefix is where the file lies."""
        content = {
            "suite": self.suite,
            "packages": dict(self.packages),
            "c_library": self.c_library,
            "needs_c_library": dict(self.needs_c_library),
            "needs_libraries": list(self.needs_libraries),
        }
        return json.dumps(content, indent=1) + "\n"


def read_manifest(prefix: Path) -> Manifest | None:
    """Return the manifest of an installed suite; None where it is not, or not wholly, installed."""
    try:
        data: Any = json.loads((prefix / MANIFEST_FILE).read_bytes())
        return Manifest(
            suite=str(data["suite"]),
            prefix=prefix,
            packages={str(k): str(v) for k, v in data["packages"].items()},
            c_library=str(data["c_library"]),
            needs_c_library={str(k): str(v) for k, v in data["needs_c_library"].items()},
            needs_libraries=tuple(str(name) for name in data["needs_libraries"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def installed_suites() -> list[Manifest]:
    """Manifests of all installed suites, by name."""
    try:
        prefixes = sorted(p for p in suites_folder().iterdir() if not p.name.startswith("."))
    except OSError:
        return []
    return [found for found in map(read_manifest, prefixes) if found is not None]


def loader_command(bundle: Path) -> list[str]:
    """Return what a command must begin with so that a program it starts can load `bundle`.

    Empty where the system's own C library and libraries suffice. Otherwise the newer loader that
    came along with the suite and its options; the program, by its absolute path
    (`sys.executable`), and its arguments follow. Its environment needs `loader_environment`.
    """
    manifest = _manifest_of(bundle)
    if manifest is None or not _came_along_needed(bundle, manifest):
        return []
    if not manifest.c_library or version_tuple(system_c_library()) >= version_tuple(manifest.c_library):
        # Only libraries are missing: `loader_environment` points to them.
        return []
    loader, triplet = LOADERS[platform.machine()]
    c_library = manifest.prefix / C_LIBRARY_FOLDER
    path = [c_library, manifest.prefix / LIBRARY_FOLDER, Path("/usr/local/lib"), Path("/usr/lib") / triplet]
    path += [Path("/lib") / triplet, Path("/usr/lib"), Path("/lib")]
    return [str(c_library / loader), "--library-path", ":".join(map(str, path))]


def loader_environment(bundle: Path) -> dict[str, str]:
    """Return the environment variables that must be set for the program `loader_command` starts."""
    manifest = _manifest_of(bundle)
    if manifest is None or not _came_along_needed(bundle, manifest):
        return {}
    if loader_command(bundle):
        return {}
    before = os.environ.get("LD_LIBRARY_PATH")
    own = str(manifest.prefix / LIBRARY_FOLDER)
    return {"LD_LIBRARY_PATH": f"{own}:{before}" if before else own}


def system_c_library() -> str:
    """Version of the GNU C library of this system ("2.36"); empty where there is none."""
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        return ""
    match = re.fullmatch(r"glibc (\d+(?:\.\d+)+)", name.strip())
    return match.group(1) if match else ""


def version_tuple(text: str) -> tuple[int, ...]:
    """Numbers of a dotted version, for comparing ("2.36" -> (2, 36); "" -> ())."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def _came_along_needed(bundle: Path, manifest: Manifest) -> bool:
    needed = manifest.needs_c_library.get(bundle.name, "")
    too_old = bool(needed) and version_tuple(system_c_library()) < version_tuple(needed)
    return too_old or bundle.name in manifest.needs_libraries


def _manifest_of(bundle: Path) -> Manifest | None:
    """Manifest of the suite a bundle belongs to, wherever its prefix lies."""
    for folder in bundle.absolute().parents:
        if folder.name == VST3_FOLDER.name and (folder.parent / MANIFEST_FILE).is_file():
            manifest_file = folder.parent / MANIFEST_FILE
            return _cached_manifest(folder.parent, manifest_file.stat().st_mtime_ns)
    return None


@lru_cache(maxsize=64)
def _cached_manifest(prefix: Path, _changed_ns: int) -> Manifest | None:
    return read_manifest(prefix)
