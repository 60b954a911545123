"""Makes the virtual environment: Mixbridge with pinned dependencies, and torch's CPU build where there is no GPU.

Runs on the system's Python with nothing but its standard library, so it is also written for
Pythons that are too old for the rest: they get a message, not a syntax error. A second run with
nothing changed does nothing; what was installed is remembered in a stamp inside the environment.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
PYPROJECT = ROOT / "pyproject.toml"
OLDEST_PYTHON = (3, 11)
STAMP_NAME = "mixbridge-stamp.txt"


class SetupError(Exception):
    """A step of the set-up failed; the message is one line with the remedy."""


def say(text: str) -> None:
    """One line about what happens now, on stderr."""
    sys.stderr.write("set-up: %s\n" % text)
    sys.stderr.flush()


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA driver is at work on this machine."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def pinned(name: str) -> str:
    """The line of constraints.txt that pins a package, such as ``torch==1.2.3``."""
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        if line.partition("==")[0] == name:
            return line.partition(";")[0].strip()
    raise SetupError("%s: does not pin %s; add the line %s==VERSION" % (CONSTRAINTS, name, name))


def fingerprint(extras: str, torch_index: str) -> str:
    """Changes whenever an installation would turn out differently."""
    digest = hashlib.sha256()
    for path in (CONSTRAINTS, PYPROJECT, Path(__file__)):
        digest.update(path.read_bytes())
    parts = (extras, torch_index, sys.version, str(ROOT), str(has_nvidia_gpu()))
    digest.update("\n".join(parts).encode())
    return digest.hexdigest()


def python_of(venv: Path) -> Path:
    """The interpreter of an environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def same_python(venv: Path) -> bool:
    """Whether an environment exists, works and has the version of the Python that runs this."""
    code = "import sys, pip; raise SystemExit(sys.version_info[:3] != %r)" % (tuple(sys.version_info[:3]),)
    try:
        return subprocess.run([str(python_of(venv)), "-c", code], stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def create_venv(venv: Path) -> None:
    """Make an empty environment in place of an unusable one."""
    if same_python(venv):
        return
    say("creating %s with Python %s" % (venv, sys.version.split()[0]))
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)]).returncode:
        raise SetupError("Python has no working venv module; install it (on Debian and Ubuntu: python3-venv)")


def pip(venv: Path, *arguments: str, quiet: bool = False) -> bool:
    """Run pip's install in an environment; True when it succeeded."""
    command = [str(python_of(venv)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    stream = subprocess.DEVNULL if quiet else None
    return subprocess.run([*command, *arguments], stdout=stream, stderr=stream, cwd=str(ROOT)).returncode == 0


def install_torch(venv: Path, torch_index: str) -> None:
    """Install the pinned torch: the CPU build without a GPU, wherever that build can be had.

    The local version ``+cpu`` exists only on indexes that carry CPU builds. It is installed
    without dependencies: they come with everything else, from the ordinary index.
    """
    torch = pinned("torch")
    if torch_index:
        say("installing %s from the index in TORCH_INDEX" % torch)
        if not pip(venv, "--no-deps", "--index-url", torch_index, torch):
            raise SetupError("the index in TORCH_INDEX has no %s for this Python; check its address" % torch)
        return
    if not has_nvidia_gpu() and sys.platform != "darwin":
        say("no NVIDIA GPU found: installing the CPU build of %s" % torch)
        if pip(venv, "--no-deps", torch + "+cpu", quiet=True):
            return
        say(
            "the package index has no CPU build: installing the general one, which is large (see TORCH_INDEX in README)"
        )
    else:
        say("installing %s" % torch)
    if not pip(venv, "-c", str(CONSTRAINTS), torch):
        raise SetupError("pip could not install %s; its message is above" % torch)


def install(venv: Path, extras: str, torch_index: str) -> None:
    """Install everything, Mixbridge itself editable."""
    # setuptools from here and no build isolation below: so the build back end is pinned as well.
    setuptools, editable = pinned("setuptools"), ".[%s]" % extras if extras else "."
    if not pip(venv, setuptools):
        raise SetupError("pip could not install %s; its message is above" % setuptools)
    install_torch(venv, torch_index)
    say("installing Mixbridge and its pinned dependencies")
    if not pip(venv, "-c", str(CONSTRAINTS), "--no-build-isolation", "-e", editable):
        raise SetupError("pip could not install Mixbridge and its dependencies; its message is above")


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description="Create or update the virtual environment of this checkout.")
    parser.add_argument("venv", type=Path, help="folder of the environment")
    parser.add_argument("--extras", default="", help="extras of pyproject.toml to install, such as dev")
    parser.add_argument("--torch-index", default="", help="address of a package index that carries CPU builds of torch")
    options = parser.parse_args()
    venv = options.venv.absolute()
    stamp = venv / STAMP_NAME
    try:
        if sys.version_info < OLDEST_PYTHON:
            raise SetupError(
                "Mixbridge needs Python %d.%d or newer, this is %d.%d; choose one with make PYTHON=..."
                % (OLDEST_PYTHON + tuple(sys.version_info[:2]))
            )
        wanted = {fingerprint(extras, options.torch_index) for extras in {options.extras, "dev"}}
        # An environment with the development tools serves everything else as well.
        if stamp.is_file() and stamp.read_text(encoding="utf-8") in wanted and python_of(venv).exists():
            return 0
        create_venv(venv)
        if stamp.exists():
            stamp.unlink()
        install(venv, options.extras, options.torch_index)
        stamp.write_text(fingerprint(options.extras, options.torch_index), encoding="utf-8")
    except SetupError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
