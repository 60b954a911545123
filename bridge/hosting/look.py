"""Looks into one VST3 bundle and writes down what is in it: the program of the processes that a scan starts.

A bundle may crash or hang here; `scan` limits the time and draws its conclusions. What plugins
print goes where it likes, the result goes to a file.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .bundles import PluginClass, binary_of, listed_plugins

#: Bundles with more plugins than this and no list of their own are listed by name only.
MOST_LOADED = 8

#: Where a preset that the host writes holds the class id.
_CLASS_ID = slice(8, 40)


def look_into(bundle: Path) -> list[dict[str, Any]]:
    """Return the plugins of a bundle, as `registry.PluginEntry` takes them.

    Bundles that bring a list of their plugins are not loaded plugin by plugin: some of them hold
    hundreds, and a few that crash must not cost the others.

    Raises
    ------
    OSError, ImportError, ValueError
        When it cannot be loaded; the message says why.
    """
    binary = binary_of(bundle)
    if binary is None:
        raise ImportError("it holds nothing for this kind of machine")
    if sys.platform == "linux":
        # The system's own message names a missing library; the host would only say that it failed.
        ctypes.CDLL(str(binary))
    listed = listed_plugins(bundle)
    if listed:
        return [_entry(plugin) for plugin in listed]
    from pedalboard import VST3Plugin

    names = VST3Plugin.get_plugin_names_for_file(str(bundle))
    if not names:
        raise ImportError("it holds no plugins")
    if len(names) > MOST_LOADED:
        return [_entry(PluginClass(name)) for name in names]
    return [_load(bundle, name, VST3Plugin) for name in names]


def _entry(plugin: PluginClass) -> dict[str, Any]:
    return {**asdict(plugin), "parameters": None}


def _load(bundle: Path, name: str, host: Any) -> dict[str, Any]:
    plugin = host(str(bundle), plugin_name=name, initialization_timeout=0.0)
    found = PluginClass(
        name=name,
        vendor=plugin.manufacturer_name,
        version=plugin.version,
        class_id=bytes(plugin.preset_data[_CLASS_ID]).decode("ascii", errors="replace").upper(),
        category=plugin.category,
    )
    return {**asdict(found), "parameters": [_parameter(p) for p in plugin._parameters]}


def _parameter(parameter: Any) -> dict[str, str]:
    return {
        "name": parameter.name,
        "unit": parameter.label,
        "minimum": parameter.get_text_for_raw_value(0.0),
        "maximum": parameter.get_text_for_raw_value(1.0),
        "default": parameter.get_text_for_raw_value(parameter.default_raw_value),
    }


def main() -> None:
    """Entry point: ``python -m … BUNDLE RESULT``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("result", type=Path)
    arguments = parser.parse_args()
    try:
        result: dict[str, Any] = {"plugins": look_into(arguments.bundle)}
    except (OSError, ImportError, ValueError, RuntimeError) as error:
        result = {"error": " ".join(str(error).split())}
    arguments.result.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
