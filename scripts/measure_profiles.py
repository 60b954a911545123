"""Measures the shipped plugin profiles; writes what was found into them and into docs/profiles.md.

Run by hand after a profile or a plugin has changed: ``python scripts/measure_profiles.py [SUITE[/PROFILE] ...]``. The
test itself is in `bridge.null_test`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from mixbridge.bridge.errors import MixbridgeError, ProfileError
from mixbridge.bridge.files import write_text_whole
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.hosting.stages import StageRunner
from mixbridge.bridge.null_test import null_test, summarize, targets
from mixbridge.bridge.suites import SUITE_FILE, Measured, Profile, load_profile, load_suite, suite_names

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ROOT / "presets" / "plugins"
PAGE = ROOT / "docs" / "profiles.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
HEADING = "[measured]"


def main() -> int:
    """Measure the suites named on the command line, or all that have plugins."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("profiles", nargs="*", default=list(suite_names()), help="suite or suite/profile")
    parser.add_argument("--sets", type=int, default=100, help="random settings per sample rate")
    options = parser.parse_args()
    threads = os.cpu_count() or 1
    missed = 0
    try:
        with PluginPool(workers=threads) as pool, StageRunner(pool) as run:
            for profile in chosen(options.profiles):
                begun = time.monotonic()
                results = null_test(profile, run=run, sets=options.sets, threads=threads)
                measured = summarize(results, version=version_of(profile))
                write_profile(PROFILES / profile.suite / f"{profile.name}.toml", measured)
                missed += report(profile, measured, time.monotonic() - begun)
    except MixbridgeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    write_page()
    return 1 if missed else 0


def chosen(names: Sequence[str]) -> Iterator[Profile]:
    """The profiles of plugins among those named."""
    for name in names:
        suite, _, single = name.partition("/")
        profiles = load_suite(suite).profiles
        if single and single not in profiles:
            raise ProfileError(f"{name}: there is no such profile; choose of {', '.join(profiles)}")
        for profile in profiles.values():
            if profile.kind in ("vst3", "builtin") and single in ("", profile.name):
                yield profile


def version_of(profile: Profile) -> str:
    """Version of the plugin, for built-ins that of pedalboard."""
    if profile.kind == "builtin":
        return metadata.version("pedalboard")
    return profile.plugin.version if profile.plugin is not None else ""


def report(profile: Profile, measured: Measured, took_s: float) -> bool:
    """Print one line; whether the profile misses what it must keep to."""
    null_db, response_db = targets(profile)
    missed = measured.worst_null_db > null_db
    missed |= response_db is not None and (measured.worst_response_db or 0.0) > response_db
    figures = ", ".join(f"{k} {v}" for k, v in measured.model_dump(exclude_none=True).items() if "_" in k)
    sys.stdout.write(
        f"{profile.suite}/{profile.name}: {figures} ({took_s:.0f} s){'  MISSES ITS TARGET' if missed else ''}\n"
    )
    return missed


def write_profile(path: Path, measured: Measured) -> None:
    """Replace the last table of the file, which is the measured one, or add it."""
    text = path.read_text(encoding="utf-8").partition(f"\n{HEADING}\n")[0].rstrip("\n")
    lines = [HEADING]
    for key, value in measured.model_dump(exclude_none=True).items():
        lines.append(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}")
    write_text_whole(path, text + "\n\n" + "\n".join(lines) + "\n")


def write_page() -> None:
    """Put all measured figures into the page, as they stand in the files now."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [
        "| suite | profile | worst null (dB) | median (dB) | response (dB) | decay (%) | level (dB) | bound (dB) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(PROFILES.glob("*/*.toml")):
        if path.name != SUITE_FILE and (profile := load_profile(path)).measured is not None:
            lines.append(row(profile, profile.measured))
    write_text_whole(PAGE, "\n".join([before + BEGIN, "", *lines, "", END + after]))


def row(profile: Profile, measured: Measured) -> str:
    """One profile as a line of the table."""
    numbers = (
        measured.worst_null_db,
        measured.median_null_db,
        measured.worst_response_db,
        measured.worst_decay_percent,
        measured.worst_level_db,
        targets(profile)[0],
    )
    cells = ["" if number is None else f"{number:g}" for number in numbers]
    return "| " + " | ".join([f"`{profile.suite}`", f"`{profile.name}`", *cells]) + " |"


if __name__ == "__main__":
    sys.exit(main())
