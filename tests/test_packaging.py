"""What an installation consists of: the wheel, the pins, the licence."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mixbridge

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]
NOT_INSTALLED = {".git", ".venv", "build", "dist", "tests", "benchmarks", "scripts", "docs"}

#: What a torch for GPUs pins by itself.
GPU_LIBRARIES = ("nvidia-", "cuda-", "triton")


def folder_of(package: str) -> Path:
    return ROOT.joinpath(*package.split(".")[1:])


def shipped_files() -> set[str]:
    """All files in the folders of the packages, as they should lie in the wheel."""
    shipped = set()
    for package in PACKAGES:
        for path in folder_of(package).iterdir():
            at_the_top = package == "mixbridge"
            if path.is_file() and (not at_the_top or path.suffix == ".py" or path.name == "py.typed"):
                shipped.add(f"{package.replace('.', '/')}/{path.name}")
    # Profiles lie in a folder for each suite, which is no package.
    suites = folder_of("mixbridge.presets.plugins")
    return shipped | {f"mixbridge/presets/plugins/{p.relative_to(suites).as_posix()}" for p in suites.glob("*/*.toml")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy: setuptools leaves files in the folder it builds, and takes old ones along.
    copy = tmp_path_factory.mktemp("source") / "mixbridge"
    ignored = shutil.ignore_patterns(
        *NOT_INSTALLED, "__pycache__", "*.egg-info", "*.mixbridge", ".*_cache", "demo-song"
    )
    shutil.copytree(ROOT, copy, ignore=ignored)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", str(out), str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    information = f"mixbridge-{mixbridge.__version__}.dist-info/"
    assert {name for name in names if not name.startswith(information)} == shipped_files()
    assert f"{information}licenses/LICENSE" in names


def test_the_wheel_holds_what_the_program_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"mixbridge/cli.py", "mixbridge/py.typed", "mixbridge/bridge/report/page.html"} <= names
    jsfx = [name for name in names if name.startswith("mixbridge/presets/jsfx/") and name.endswith(".jsfx")]
    assert len(jsfx) == len(list((ROOT / "presets" / "jsfx").glob("*.jsfx"))) > 0


def test_the_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import mixbridge, mixbridge.cli; print(mixbridge.__file__); mixbridge.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        str(tmp_path / "mixbridge" / "__init__.py"),
        f"mixbridge {mixbridge.__version__}",
    ]


def test_every_package_folder_is_listed() -> None:
    found = {"mixbridge"}
    for init in ROOT.glob("*/**/__init__.py"):
        parts = init.relative_to(ROOT).parent.parts
        if parts[0] not in NOT_INSTALLED:
            found.add(".".join(["mixbridge", *parts]))
    assert found == set(PACKAGES)


# -------------------------------------------------------------------------------------- pins


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def installation() -> set[str]:
    """Names of all packages that an installation with the development tools needs here."""
    found: set[str] = set()
    waiting = [("mixbridge", frozenset({"dev"}))]
    while waiting:
        package, extras = waiting.pop()
        for line in metadata.requires(package) or []:
            needed = Requirement(line)
            wanted = not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in extras or {""})
            name = canonicalize_name(needed.name)
            if wanted and name not in found and not name.startswith(GPU_LIBRARIES):
                found.add(name)
                waiting.append((name, frozenset(needed.extras)))
    return found


def test_every_package_is_pinned_to_one_version_in_order() -> None:
    names = [pin.name for pin in pins()]
    assert names == sorted({canonicalize_name(name) for name in names})
    for pin in pins():
        assert re.fullmatch(r"==\d[\w.]*", str(pin.specifier)), f"{pin} is not one version"
    assert installation() <= set(names)


def test_the_pins_are_what_the_project_asks_for() -> None:
    version = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins()}
    optional = PROJECT["project"]["optional-dependencies"]["dev"]
    for line in [*PROJECT["project"]["dependencies"], *optional, *PROJECT["build-system"]["requires"]]:
        needed = Requirement(line)
        assert needed.specifier.contains(version[canonicalize_name(needed.name)]), line


def test_no_package_index_is_named() -> None:
    index = re.compile(r"--(extra-)?index-url[ =]+\S*://|://[\w.-]*(pypi|pythonhosted|download\.)", re.IGNORECASE)
    for name in (
        "Makefile",
        "README.md",
        "CONTRIBUTING.md",
        "constraints.txt",
        "pyproject.toml",
        "scripts/bootstrap.py",
    ):
        assert not index.search((ROOT / name).read_text(encoding="utf-8")), name


# ----------------------------------------------------------------------------------- bootstrap


def test_a_failed_set_up_says_why_in_one_line_and_leaves_no_stamp(tmp_path: Path) -> None:
    # An index that is an empty folder: no network is needed to find that it has no torch.
    venv, index = tmp_path / "venv", tmp_path / "index"
    index.mkdir()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "bootstrap.py"), str(venv), "--torch-index", index.as_uri()],
        env={**plain, "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("set-up: the index in TORCH_INDEX has no torch==")
    assert not list(venv.glob("*stamp*"))
