"""Installing plugin suites: from this machine's mirror, whole or not at all, and usable afterwards."""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest

from mixbridge.bridge.errors import InstallError
from mixbridge.bridge.hosting import install, places
from mixbridge.bridge.hosting.install import RELEASE, SUITES, Source, install_suite, system_sources

from .suites import installed

needs_apt = pytest.mark.skipif(
    sys.platform != "linux" or not all(map(shutil.which, ("apt-get", "dpkg-deb", "ldd"))),
    reason="needs a Debian-like machine",
)

STANZAS = """\
# The main archive
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 xyz
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""

LINES = """\
# deb http://commented.example/debian bookworm main
deb [arch=amd64,arm64 signed-by=/usr/share/keyrings/debian-archive.gpg] http://one.example/debian sid main # us
deb-src http://one.example/debian bookworm main
deb cdrom:[Debian]/ bookworm main
deb http://tools.example/linux bookworm main
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv(places.HOME_VARIABLE, str(folder))
    return folder


def write_apt(folder: Path) -> Path:
    (folder / "sources.list.d").mkdir(parents=True)
    (folder / "sources.list").write_text(LINES)
    (folder / "sources.list.d" / "debian.sources").write_text(STANZAS)
    (folder / "sources.list.d" / "old.list.disabled").write_text("deb http://disabled.example/debian bookworm main\n")
    return folder


def test_both_formats_of_apt_sources_are_read(tmp_path: Path) -> None:
    found = system_sources(write_apt(tmp_path))
    assert [s.uris for s in found] == [
        "http://one.example/debian",
        "http://tools.example/linux",
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
    ]
    assert found[0].options == {
        "Architectures": "amd64 arm64",
        "Signed-By": "/usr/share/keyrings/debian-archive.gpg",
    }
    assert found[2].suites == ("bookworm", "bookworm-updates")
    assert "Signed-By: \n -----BEGIN" in found[2].to_stanza(), "a key within the file must stay a continuation"


def test_debian_takes_its_own_mirror_first_and_the_measured_release(tmp_path: Path) -> None:
    choices, release = install._choose_sources(system_sources(write_apt(tmp_path)), {"ID": "debian"})
    assert release == RELEASE
    assert [c[0].uris for c in choices] == [
        "http://one.example/debian",
        "http://mirror.example/debian",
        "http://tools.example/linux",
    ]
    assert all(s.suites == (RELEASE,) and s.components == ("main",) for c in choices for s in c)


def test_other_systems_keep_their_own_releases(tmp_path: Path) -> None:
    found = system_sources(write_apt(tmp_path))
    assert install._choose_sources(found, {"ID": "ubuntu"}) == ([found], "")
    assert install._choose_sources([], {"ID": "ubuntu"}) == ([], "")


@pytest.mark.parametrize(("system", "words"), [("darwin", "macOS"), ("win32", "Windows")])
def test_other_platforms_are_told_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, system: str, words: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    for suite in SUITES.values():
        with pytest.raises(InstallError) as caught:
            install_suite(suite.name)
        message = str(caught.value)
        assert words in message and suite.site in message and "VST3" in message and "plugins scan" in message
    assert not home.exists()


def test_without_apt_the_message_says_so(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("Linux alone has apt")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InstallError, match="apt-get was not found"):
        install_suite("lsp")
    assert not home.exists()


def test_unknown_suite(home: Path) -> None:
    with pytest.raises(InstallError, match="nosuch: unknown plugin suite; known are lsp, zam, dragonfly"):
        install_suite("nosuch")


@needs_apt
def test_without_a_mirror_the_message_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "system_sources", list)
    with pytest.raises(InstallError, match="no package mirror was found"):
        install_suite("lsp")
    assert list((home / "suites").glob("*lsp*/*")) == []


@needs_apt
def test_a_mirror_that_does_not_answer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = Source("http://127.0.0.1:9/debian", ("trixie",), ("main",))
    monkeypatch.setattr(install, "system_sources", lambda: [nobody])
    monkeypatch.setattr(install, "_os_release", lambda: {"ID": "debian"})
    with pytest.raises(InstallError, match="does not answer") as caught:
        install_suite("lsp")
    assert "\n" not in str(caught.value)
    assert [p.name for p in (home / "suites").iterdir() if not p.name.endswith(".lock")] == []


# ------------------------------------------------------------------ a mirror of our own


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Callable[..., None]:
    """Publish packages, name to files in them, on a mirror that is a folder."""

    def publish(packages: dict[str, dict[str, bytes]]) -> None:
        root = tmp_path / "mirror"
        shutil.rmtree(root, ignore_errors=True)
        shown = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
        architecture = shown.stdout.strip()
        entries = [build_package(root, name, files, architecture) for name, files in packages.items()]
        index = "\n".join(entries).encode()
        forms = {"Packages": index, "Packages.gz": gzip.compress(index)}
        listed = ""
        for name, content in forms.items():
            path = f"main/binary-{architecture}/{name}"
            write(root / f"dists/{RELEASE}/{path}", content)
            listed += f" {hashlib.sha256(content).hexdigest()} {len(content)} {path}\n"
        release = f"Suite: {RELEASE}\nCodename: {RELEASE}\nDate: {formatdate(usegmt=True)}\nComponents: main\n"
        write(root / f"dists/{RELEASE}/Release", f"{release}Architectures: {architecture}\nSHA256:\n{listed}".encode())

    source = Source(f"file:{tmp_path}/mirror", (RELEASE,), ("main",), {"Trusted": "yes"})
    monkeypatch.setattr(install, "system_sources", lambda: [source])
    monkeypatch.setattr(install, "_os_release", lambda: {"ID": "debian"})
    return publish


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def build_package(root: Path, name: str, files: dict[str, bytes], architecture: str) -> str:
    """Build a package and return its entry in the mirror's list."""
    tree = root / "trees" / name
    (tree / "DEBIAN").mkdir(parents=True)
    control = (
        f"Package: {name}\nVersion: 1.0-1\nArchitecture: {architecture}\nMaintainer: a <a@b.example>\nDescription: d\n"
    )
    (tree / "DEBIAN" / "control").write_text(control)
    for path, content in files.items():
        write(tree / path, content)
    package = root / "pool" / f"{name}.deb"
    package.parent.mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, package], check=True, capture_output=True)
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    return f"{control}Filename: pool/{name}.deb\nSize: {package.stat().st_size}\nSHA256: {digest}\n"


def some_library() -> bytes:
    """A shared library that any Linux with Python has."""
    folder = Path(sysconfig.get_config_var("DESTSHARED"))
    return next(iter(sorted(folder.glob("_json*.so")))).read_bytes()


def bundle_file(name: str) -> str:
    return f"usr/lib/vst3/{name}.vst3/Contents/{platform.machine()}-linux/{name}.so"


@needs_apt
def test_install_is_whole_and_needs_no_second_time(
    home: Path, mirror: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror({"zam-plugins": {bundle_file("ZamA"): some_library(), bundle_file("ZamB"): some_library()}})
    seen: list[tuple[str, float]] = []
    manifest = install_suite("zam", progress=lambda phase, share, _words: seen.append((phase, share)))
    assert manifest.prefix == places.suite_prefix("zam") == home / "suites" / "zam"
    assert [b.name for b in manifest.bundles] == ["ZamA.vst3", "ZamB.vst3"]
    assert manifest.packages == {"zam-plugins": "1.0-1"}
    assert places.read_manifest(manifest.prefix) == manifest
    assert [share for _, share in seen] == sorted(share for _, share in seen) and seen[-1] == ("zam", 1.0)
    assert (places.vst3_folders()[0]) == manifest.prefix / "vst3"
    assert places.loader_command(manifest.bundles[0]) == []
    assert sorted(p.name for p in (home / "suites").iterdir()) == [".zam.lock", "zam"]

    def refuse(*_arguments: object, **_options: object) -> str:
        raise AssertionError("nothing may run for a suite that is installed")

    monkeypatch.setattr(install, "_run", refuse)
    assert install_suite("zam") == manifest


@needs_apt
def test_force_replaces_and_a_failure_keeps_the_old_one(home: Path, mirror: Callable[..., None]) -> None:
    mirror({"zam-plugins": {bundle_file("ZamA"): some_library()}})
    install_suite("zam")
    mirror({"zam-plugins": {bundle_file("ZamNew"): some_library()}})
    assert [b.name for b in install_suite("zam", force=True).bundles] == ["ZamNew.vst3"]
    mirror({"zam-plugins": {"usr/lib/lv2/zam.lv2/zam.so": some_library()}})
    with pytest.raises(InstallError, match="zam-plugins of this system holds no VST3"):
        install_suite("zam", force=True)
    left = places.read_manifest(places.suite_prefix("zam"))
    assert left is not None and [b.name for b in left.bundles] == ["ZamNew.vst3"]
    assert sorted(p.name for p in (home / "suites").iterdir()) == [".zam.lock", "zam"]


@needs_apt
def test_a_mirror_without_the_package(home: Path, mirror: Callable[..., None]) -> None:
    mirror({"something-else": {"usr/share/x": b"x"}})
    with pytest.raises(InstallError, match="zam-plugins") as caught:
        install_suite("zam")
    assert "\n" not in str(caught.value)
    assert places.installed_suites() == []


@needs_apt
def test_libraries_come_along_where_the_c_library_is_too_old(home: Path, mirror: Callable[..., None]) -> None:
    triplet = places.LOADERS[platform.machine()][1]
    newer = some_library() + b"GLIBC_2.999\x00"
    libraries = {name: {f"usr/lib/{triplet}/{name}.so.1": b"x"} for name in SUITES["dragonfly"].libraries}
    base = {name: {f"usr/lib/{triplet}/{name}.so.6": b"x"} for name in install._C_LIBRARY_PACKAGES}
    mirror({"dragonfly-reverb-vst3": {bundle_file("DragonflyA"): newer}, **libraries, **base})
    # The C library of this mirror is version 1.0: older than the system's, so never used.
    manifest = install_suite("dragonfly")
    assert manifest.needs_c_library == {"DragonflyA.vst3": "2.999"}
    assert manifest.c_library == "1.0"
    assert {p.name for p in (manifest.prefix / "libc").iterdir()} == {f"{name}.so.6" for name in base}
    assert {p.name for p in (manifest.prefix / "lib").iterdir()} == {f"{name}.so.1" for name in libraries}
    assert places.loader_command(manifest.bundles[0]) == []
    folder = str(manifest.prefix / "lib")
    assert places.loader_environment(manifest.bundles[0])["LD_LIBRARY_PATH"].split(":")[0] == folder


@needs_apt
def test_a_prefix_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(places.HOME_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(InstallError, match="cannot install LSP Plugins here"):
        install_suite("lsp")


# ------------------------------------------------------------------ the real suites


@pytest.mark.parametrize("suite", SUITES)
def test_real_suite_is_complete(suite: str) -> None:
    folder = installed(suite)
    manifest = places.read_manifest(folder.parent)
    assert manifest is not None and SUITES[suite].package in manifest.packages
    expected = {"lsp": "lsp-plugins.vst3", "zam": "ZamCompX2.vst3", "dragonfly": "DragonflyPlateReverb.vst3"}
    assert (folder / expected[suite]).is_dir()
    for bundle in manifest.bundles:
        assert install._missing_libraries(install._binary_of(bundle), places.loader_command(bundle)) == ()


def test_newer_loader_runs_this_python_with_all_its_packages() -> None:
    bundle = installed("lsp") / "lsp-plugins.vst3"
    command = places.loader_command(bundle)
    if not command:
        pytest.skip("the C library of this system is new enough")
    code = "import os, sys, pedalboard, mixbridge; print(os.confstr('CS_GNU_LIBC_VERSION'), sys.prefix)"
    environment = os.environ | places.loader_environment(bundle)
    done = subprocess.run(
        [*command, sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    version, prefix = done.stdout.split(maxsplit=1)[1].split(maxsplit=1)
    assert places.version_tuple(version) > places.version_tuple(places.system_c_library())
    assert prefix.strip() == sys.prefix


def test_data_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(places.HOME_VARIABLE, str(tmp_path / "elsewhere"))
    assert places.data_folder() == tmp_path / "elsewhere"
    assert places.suite_prefix("lsp") == tmp_path / "elsewhere" / "suites" / "lsp"
    assert places.vst3_folders() == places.system_vst3_folders(), "nothing is installed there"
