"""Puts Ardour and LSP's LV2 plugins on this machine for the tests, where that can be done without asking anybody.

Runs on the system's Python with nothing but its standard library. Where they are there already it does nothing; where
it cannot install them it says why and succeeds: the tests that need them skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ("ardour", "lsp-plugins-lv2")
EXPORTERS = ("ardour7-export", "ardour8-export")
LV2_FOLDERS = ("/usr/lib/lv2", "/usr/local/lib/lv2", str(Path.home() / ".lv2"))


def say(text: str) -> None:
    """One line about what happens now, on stderr."""
    sys.stderr.write(f"set-up: {text}\n")


def missing() -> list[str]:
    """The packages whose content is not on this machine."""
    there = {
        "ardour": any(shutil.which(name) for name in EXPORTERS),
        "lsp-plugins-lv2": any((Path(folder) / "lsp-plugins.lv2").is_dir() for folder in LV2_FOLDERS),
    }
    return [name for name in PACKAGES if not there[name]]


def obstacle() -> str:
    """Why nothing can be installed here; empty if nothing is in the way."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get"
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return f"this needs root (apt-get install --no-install-recommends {' '.join(PACKAGES)})"
    return ""


def install(packages: list[str]) -> bool:
    """Install packages, with a fresh list where the present one does not have them."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    for refresh in (False, True):
        if refresh:
            subprocess.run(["apt-get", "update", "-qq"], env=environment, stdout=subprocess.DEVNULL, check=False)
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        if done.returncode == 0:
            return True
    return False


def main() -> int:
    """Entry point; always succeeds."""
    wanted = missing()
    if not wanted:
        return 0
    names = " and ".join(wanted)
    reason = obstacle()
    if not reason:
        say(f"installing {names}")
        if install(wanted):
            return 0
        reason = "apt-get failed"
    say(f"{names} not installed: {reason}; tests that need it skip")
    return 0


if __name__ == "__main__":
    sys.exit(main())
