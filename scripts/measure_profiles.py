"""Measures the shipped plugin profiles and writes what was found into them; the test itself is in `bridge.null_test`.

Run by hand after a profile or a plugin has changed: ``python scripts/measure_profiles.py [SUITE ...]``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from mixbridge.bridge.errors import MixbridgeError
from mixbridge.bridge.files import write_text_whole
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.hosting.stages import StageRunner
from mixbridge.bridge.null_test import null_test, summarize, targets
from mixbridge.bridge.suites import Measured, Profile, load_suite, suite_names

PROFILES = Path(__file__).parent.parent / "presets" / "plugins"
HEADING = "[measured]"


def main() -> int:
    """Measure the suites named on the command line, or all that have plugins."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("suites", nargs="*", default=list(suite_names()))
    parser.add_argument("--sets", type=int, default=100, help="random settings per sample rate")
    options = parser.parse_args()
    threads = os.cpu_count() or 1
    missed = 0
    try:
        with PluginPool(workers=threads) as pool, StageRunner(pool) as run:
            for suite in options.suites:
                for profile in load_suite(suite).profiles.values():
                    if profile.kind in ("vst3", "builtin"):
                        begun = time.monotonic()
                        results = null_test(profile, run=run, sets=options.sets, threads=threads)
                        measured = summarize(results, version=profile.plugin.version if profile.plugin else "")
                        _write(PROFILES / suite / f"{profile.name}.toml", measured)
                        missed += _report(profile, measured, time.monotonic() - begun)
    except MixbridgeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 1 if missed else 0


def _report(profile: Profile, measured: Measured, took_s: float) -> bool:
    """Print one line; whether the profile misses what it must keep to."""
    null_db, response_db = targets(profile)
    missed = measured.worst_null_db > null_db
    missed |= response_db is not None and (measured.worst_response_db or 0.0) > response_db
    figures = ", ".join(f"{k} {v}" for k, v in measured.model_dump(exclude_none=True).items() if "_" in k)
    sys.stdout.write(
        f"{profile.suite}/{profile.name}: {figures} ({took_s:.0f} s){'  MISSES ITS TARGET' if missed else ''}\n"
    )
    return missed


def _write(path: Path, measured: Measured) -> None:
    """Replace the last table of the file, which is the measured one, or add it."""
    text = path.read_text(encoding="utf-8").partition(f"\n{HEADING}\n")[0].rstrip("\n")
    lines = [HEADING]
    for key, value in measured.model_dump(exclude_none=True).items():
        lines.append(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}")
    write_text_whole(path, text + "\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
