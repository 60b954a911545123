"""Real plugin suites for the tests: installed once for all test processes, or the test is skipped."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock
from platformdirs import user_cache_path

from mixbridge.bridge.errors import InstallError
from mixbridge.bridge.hosting import places
from mixbridge.bridge.hosting.install import install_suite


def use_test_home() -> Path:
    """Keep what the tests install and measure apart from the user's own; return that folder.

    Where MIXBRIDGE_HOME is set already, it is taken as it is. Processes started later inherit it.
    """
    if not os.environ.get(places.HOME_VARIABLE):
        os.environ[places.HOME_VARIABLE] = str(user_cache_path("mixbridge-tests", appauthor=False))
    home = places.data_folder()
    home.mkdir(parents=True, exist_ok=True)
    return home


def installed(suite: str) -> Path:
    """Return the folder with the VST3 bundles of "lsp", "zam" or "dragonfly"; install them if need be.

    Skips the calling test, saying why, on machines where they cannot be installed.
    """
    use_test_home()
    folder, reason = _install(suite, places.data_folder())
    if folder is None:
        pytest.skip(reason, allow_module_level=True)
    return folder


# Once per process: a machine without a network would otherwise be asked again by every test.
@cache
def _install(suite: str, home: Path) -> tuple[Path | None, str]:
    prefix = places.suite_prefix(suite)
    with FileLock(home / f"{suite}.lock"):
        users_own = _users_own_prefix(suite)
        if places.read_manifest(prefix) is None and places.read_manifest(users_own) is not None:
            prefix.parent.mkdir(parents=True, exist_ok=True)
            prefix.unlink(missing_ok=True)
            prefix.symlink_to(users_own)
        try:
            install_suite(suite)
        except InstallError as error:
            return None, str(error)
    return prefix / places.VST3_FOLDER, ""


def _users_own_prefix(suite: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(places.HOME_VARIABLE)
        return places.suite_prefix(suite)


def link_suites(home: Path, *suites: str) -> None:
    """Make installed suites also appear in another, empty, home: for tests of what is kept there."""
    for suite in suites:
        folder = installed(suite)
        (home / "suites").mkdir(parents=True, exist_ok=True)
        (home / "suites" / suite).symlink_to(folder.parent.resolve())
