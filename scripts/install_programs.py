"""Puts the programs that tests run on this machine, from Debian's packages, where that needs nobody's answer.

Runs on the system's Python with nothing but its standard library. What is there already is left alone; where something
cannot be installed this says why and succeeds: the tests that need it skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

LV2_FOLDERS = ("/usr/lib/lv2", "/usr/local/lib/lv2", str(Path.home() / ".lv2"))

#: Package, then the programs or folders of which one shows that it is there.
PACKAGES = {
    "ardour": ("ardour7-export", "ardour8-export"),
    "lsp-plugins-lv2": tuple(f"{folder}/lsp-plugins.lv2" for folder in LV2_FOLDERS),
    "chromium": ("chromium", "google-chrome"),
    "slurmctld": ("slurmctld",),
    "slurmd": ("slurmd",),
    "slurm-client": ("sbatch",),
    "munge": ("munged",),
    "zsh": ("zsh",),
    "fish": ("fish",),
}


def say(text: str) -> None:
    """One line about what happens now, on stderr."""
    sys.stderr.write(f"set-up: {text}\n")


def missing() -> list[str]:
    """The packages whose content is not on this machine."""
    # Daemons lie where only the administrator's PATH looks.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    return [
        name
        for name, signs in PACKAGES.items()
        if not any(Path(sign).is_dir() if "/" in sign else shutil.which(sign, path=path) for sign in signs)
    ]


def obstacle(packages: list[str]) -> str:
    """Why nothing can be installed here; empty if nothing is in the way."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get"
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return f"this needs root (apt-get install --no-install-recommends {' '.join(packages)})"
    return ""


def install(packages: list[str]) -> list[str]:
    """Install packages, with a fresh list where the present one does not have them; returns those that failed."""
    if _apt_get(packages):
        return []
    subprocess.run(["apt-get", "update", "-qq"], env=_environment(), stdout=subprocess.DEVNULL, check=False)
    if _apt_get(packages):
        return []
    # One that is not to be had must not cost the others.
    return [name for name in packages if not _apt_get([name])]


def _environment() -> dict[str, str]:
    return {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}


def _apt_get(packages: list[str]) -> bool:
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    return subprocess.run(command, env=_environment(), capture_output=True, check=False).returncode == 0


def main() -> int:
    """Entry point; always succeeds."""
    wanted = missing()
    if not wanted:
        return 0
    reason = obstacle(wanted)
    if not reason:
        say(f"installing {', '.join(wanted)}")
        wanted = install(wanted)
        reason = "apt-get failed"
    if wanted:
        say(f"{', '.join(wanted)} not installed: {reason}; tests that need it skip")
    return 0


if __name__ == "__main__":
    sys.exit(main())
