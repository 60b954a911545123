"""VST3 bundles as files: finding them, telling versions apart, reading their list of plugins; none is loaded here."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

#: What the name of every VST3 bundle ends in.
SUFFIX = ".vst3"

#: Folders between a plugin folder and a bundle in it: vendors like to have their own.
_MAX_DEPTH = 4

#: A list of plugins larger than this is no list of plugins.
_MAX_LIST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class PluginClass:
    """One plugin of a bundle, as the bundle's own list has it.

    Attributes
    ----------
    class_id : str
        32 hexadecimal digits, upper case; empty where it is not known.
    category : str
        Sub-categories, joined by "|" ("Fx|Dynamics|Stereo").
    """

    name: str
    vendor: str = ""
    version: str = ""
    class_id: str = ""
    category: str = ""


def find_bundles(folders: Iterable[Path]) -> list[Path]:
    """Return all VST3 bundles in some folders and the folders in them, in that order, each once.

    A path that is itself a bundle stands for itself; folders that do not exist hold nothing.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if folder.suffix == SUFFIX and folder.exists():
            found[folder.absolute()] = None
            continue
        top = len(folder.parts)
        for place, folders_in, files in os.walk(folder):
            here = Path(place)
            inside = sorted(name for name in [*folders_in, *files] if name.endswith(SUFFIX) and name != SUFFIX)
            found.update((here.absolute() / name, None) for name in inside)
            deeper = len(here.parts) - top < _MAX_DEPTH
            folders_in[:] = sorted(n for n in folders_in if deeper and not n.endswith(SUFFIX))
    return list(found)


def binary_of(bundle: Path) -> Path | None:
    """Return the file of a bundle that holds its code for this machine; None where there is none."""
    if bundle.is_file():
        return bundle
    if sys.platform == "darwin":
        folder, pattern = "MacOS", "*"
    elif sys.platform == "win32":
        folder, pattern = "x86_64-win" if platform.machine() == "AMD64" else "arm64-win", f"*{SUFFIX}"
    else:
        folder, pattern = f"{platform.machine()}-{sys.platform}", "*.so"
    found = sorted(p for p in (bundle / "Contents" / folder).glob(pattern) if p.is_file())
    return found[0] if found else None


def file_hash(bundle: Path) -> str:
    """SHA-256 of the code of a bundle, hexadecimal; changes whenever the plugin was exchanged.

    A bundle without code for this machine has the hash of nothing.
    """
    binary = binary_of(bundle)
    if binary is None:
        return hashlib.sha256().hexdigest()
    status = binary.stat()
    return _hash_of(binary, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _hash_of(binary: Path, _changed_ns: int, _size: int) -> str:
    with binary.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def changed_ns(bundle: Path) -> int:
    """Time the code of a bundle was last written, in ns; 0 where it is gone."""
    binary = binary_of(bundle)
    try:
        return binary.stat().st_mtime_ns if binary is not None else 0
    except OSError:
        return 0


def listed_plugins(bundle: Path) -> list[PluginClass]:
    """Return the plugins that a bundle's ``moduleinfo.json`` lists; empty where it has none."""
    for place in ("Contents/Resources/moduleinfo.json", "Contents/moduleinfo.json"):
        path = bundle / place
        try:
            if path.stat().st_size <= _MAX_LIST_BYTES:
                return _listed(_relaxed_json(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError):
            continue
    return []


def _listed(info: Any) -> list[PluginClass]:
    vendor = str(info.get("Factory Info", {}).get("Vendor", ""))
    found = []
    for entry in info.get("Classes", []):
        # Some plugins were built with a tool that misspells the key.
        kind = entry.get("Category", entry.get("Catetory"))
        class_id = str(entry.get("CID", "")).upper()
        if kind == "Audio Module Class" and re.fullmatch(r"[0-9A-F]{32}", class_id):
            found.append(
                PluginClass(
                    name=str(entry.get("Name") or class_id),
                    vendor=str(entry.get("Vendor") or vendor),
                    version=str(entry.get("Version") or info.get("Version", "")),
                    class_id=class_id,
                    category="|".join(str(part) for part in entry.get("Sub Categories", [])),
                )
            )
    return found


def _relaxed_json(text: str) -> Any:
    """Read JSON that may have comments and trailing commas, as the format of these lists allows."""
    try:
        return json.loads(text)
    except ValueError:
        string = r'"(?:[^"\\]|\\.)*"'
        plain = re.sub(rf"({string})|//[^\n]*|/\*.*?\*/", lambda m: m[1] or "", text, flags=re.DOTALL)
        plain = re.sub(rf"({string})|,(?=\s*[\]}}])", lambda m: m[1] or "", plain)
        return json.loads(plain)
