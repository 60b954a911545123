"""LV2 bundles on this machine: which holds a plugin, and folders with a few of them; none is loaded here."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Environment variable with the folders of LV2 bundles.
PATH_VARIABLE = "LV2_PATH"

_MANIFEST = "manifest.ttl"

_PREFIX = re.compile(r"^\s*@prefix\s+([\w-]*):\s*<([^>]*)>\s*\.", re.MULTILINE)
#: A plugin's part of a manifest: up to the full stop at the end of a line.
_PLUGIN = re.compile(r"^(<[^>]*>|[\w-]*:[\w.#/-]+)\s+a\s+[^.]*?lv2:Plugin\b(.*?)\s\.\s*$", re.MULTILINE | re.DOTALL)
_BINARY = re.compile(r"lv2:binary\s+<([^>]*)>")
_SEE_ALSO = re.compile(r"rdfs:seeAlso\s+((?:<[^>]*>\s*,?\s*)+)")

_SHORT_MANIFEST = """\
@prefix lv2: <http://lv2plug.in/ns/lv2core#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .

"""


@dataclass(frozen=True)
class Lv2Plugin:
    """A plugin as its bundle's manifest lists it.

    Attributes
    ----------
    binary : str
        File in the bundle.
    described_in : tuple of str
        Files in the bundle with the rest of its description.
    """

    uri: str
    bundle: Path
    binary: str
    described_in: tuple[str, ...]


def lv2_folders() -> list[Path]:
    """Folders that LV2 bundles lie in, the user's own first."""
    chosen = os.environ.get(PATH_VARIABLE, "")
    if chosen:
        return [Path(folder).expanduser() for folder in chosen.split(os.pathsep) if folder]
    if sys.platform == "darwin":
        return [Path.home() / "Library/Audio/Plug-Ins/LV2", Path("/Library/Audio/Plug-Ins/LV2")]
    if sys.platform == "win32":
        roots = [os.environ.get("APPDATA"), os.environ.get("COMMONPROGRAMFILES")]
        return [Path(root) / "LV2" for root in roots if root]
    return [Path.home() / ".lv2", Path("/usr/local/lib/lv2"), Path("/usr/lib/lv2"), Path("/usr/lib64/lv2")]


def find_lv2(uris: Iterable[str], *, folders: Iterable[Path] | None = None) -> dict[str, Lv2Plugin]:
    """Look plugins up in the manifests of all bundles.

    Parameters
    ----------
    folders : iterable of Path, optional
        Where bundles lie; `lv2_folders` if not given.

    Returns
    -------
    dict
        By URI; those that no bundle has are absent.
    """
    wanted, found = set(uris), dict[str, Lv2Plugin]()
    for folder in lv2_folders() if folders is None else folders:
        for manifest in sorted(folder.glob(f"*/{_MANIFEST}")):
            if not wanted - set(found):
                return found
            for plugin in _listed(manifest):
                if plugin.uri in wanted:
                    found.setdefault(plugin.uri, plugin)
    return found


def _listed(manifest: Path) -> Iterator[Lv2Plugin]:
    try:
        text = manifest.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    prefixes = dict(_PREFIX.findall(text))
    for subject, rest in _PLUGIN.findall(text):
        binary = _BINARY.search(rest)
        others = _SEE_ALSO.search(rest)
        described = re.findall(r"<([^>]*)>", others[1]) if others else []
        uri = _expanded(subject, prefixes)
        yield Lv2Plugin(uri, manifest.parent, binary[1] if binary else "", tuple(described))


def _expanded(subject: str, prefixes: Mapping[str, str]) -> str:
    if subject.startswith("<"):
        return subject[1:-1]
    prefix, _, name = subject.partition(":")
    return prefixes.get(prefix, prefix + ":") + name


def link_bundles(plugins: Iterable[Lv2Plugin], folder: Path) -> None:
    """Make a folder of bundles with some plugins alone, so that a host has nothing else to read.

    The files of each bundle are linked; its manifest lists the plugins asked for. What a host may load besides
    (interfaces, factory presets) is left out.
    """
    bundles: dict[Path, list[Lv2Plugin]] = {}
    for plugin in plugins:
        bundles.setdefault(plugin.bundle, []).append(plugin)
    for number, (bundle, listed) in enumerate(bundles.items()):
        if not all(plugin.binary and plugin.described_in for plugin in listed):
            (folder / f"{number}-{bundle.name}").symlink_to(bundle.resolve(), target_is_directory=True)
            continue
        target = folder / f"{number}-{bundle.name}"
        target.mkdir(parents=True)
        for file in bundle.iterdir():
            if file.name != _MANIFEST:
                (target / file.name).symlink_to(file.resolve())
        text = _SHORT_MANIFEST + "".join(_short(plugin) for plugin in listed)
        (target / _MANIFEST).write_text(text, encoding="utf-8")


def _short(plugin: Lv2Plugin) -> str:
    described = " , ".join(f"<{file}>" for file in plugin.described_in)
    return f"<{plugin.uri}>\n\ta lv2:Plugin ;\n\tlv2:binary <{plugin.binary}> ;\n\trdfs:seeAlso {described} .\n"
