"""Puts the open plugin suites on a Debian-like machine without root; finding and running plugins is elsewhere.

Packages are downloaded with a private copy of the package lists from the machine's own mirror
and unpacked into a prefix of ours. Nothing of the system is changed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import InstallError
from . import places
from .bundles import binary_of

#: Called with the phase, the share done (0 to 1) and a few words.
Progress = Callable[[str, float, str], None]

#: Debian release whose versions of the suites the shipped profiles were measured with.
RELEASE = "trixie"

#: Longest wait for one run of apt-get; a suite with its libraries is about 50 MB.
APT_TIME_LIMIT_S = 900.0
TOOL_TIME_LIMIT_S = 120.0

_C_LIBRARY_PACKAGES = ("libc6", "libgcc-s1", "libstdc++6")
_WINDOW_PACKAGES = (
    *("libgl1", "libglvnd0", "libglx0", "libx11-6", "libxcb1", "libxau6", "libxdmcp6", "libxext6"),
    *("libxrandr2", "libxrender1", "libbsd0", "libmd0"),
)
_DRAWING_PACKAGES = (
    *("libcairo2", "libfontconfig1", "libfreetype6", "libpixman-1-0", "libpng16-16t64", "libexpat1", "libbrotli1"),
    *("zlib1g", "libxcb-render0", "libxcb-shm0"),
)
_AUDIO_FILE_PACKAGES = (
    *("libsndfile1", "libflac14", "libvorbis0a", "libvorbisenc2", "libogg0", "libopus0"),
    *("libmpg123-0t64", "libmp3lame0"),
)


@dataclass(frozen=True)
class Suite:
    """A plugin suite that can be installed.

    Attributes
    ----------
    package : str
        Debian package that holds its VST3 bundles.
    bundles : str
        Pattern of the file names of its bundles.
    libraries : tuple of str
        Packages with the libraries the bundles need, for machines that lack some of them.
    """

    name: str
    title: str
    package: str
    site: str
    bundles: str
    libraries: tuple[str, ...]


SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "lsp",
            "LSP Plugins",
            "lsp-plugins-vst3",
            "https://lsp-plug.in",
            "lsp-plugins*.vst3",
            _WINDOW_PACKAGES + _DRAWING_PACKAGES + _AUDIO_FILE_PACKAGES,
        ),
        Suite(
            "zam",
            "ZamAudio plugins",
            "zam-plugins",
            "https://www.zamaudio.com",
            "Za[mM]*.vst3",
            (*_WINDOW_PACKAGES, "libsamplerate0", "libzita-convolver4", "libfftw3-single3", "libgomp1"),
        ),
        Suite(
            "dragonfly",
            "Dragonfly Reverb",
            "dragonfly-reverb-vst3",
            "https://michaelwillis.github.io/dragonfly-reverb",
            "Dragonfly*.vst3",
            _WINDOW_PACKAGES,
        ),
    )
}


def check_suite_names(names: Sequence[str]) -> None:
    """Refuse names of suites that cannot be installed (`InstallError`)."""
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        raise InstallError(f"{unknown[0]}: unknown plugin suite; known are {', '.join(SUITES)}")


def install_suite(name: str, *, force: bool = False, progress: Progress | None = None) -> places.Manifest:
    """Install a plugin suite into its prefix below `places.data_folder`.

    Parameters
    ----------
    name : {"lsp", "zam", "dragonfly"}
    force : bool
        Install again what is already there (it stays in use until the new one is complete).

    Returns
    -------
    Manifest
        Of the suite as it is now installed; with `force` False an installed suite is returned as it is.

    Raises
    ------
    InstallError
        For an unknown suite, on a platform this cannot be done on (the message says what to do by
        hand), without the tools, the network or the disk space.
    """
    check_suite_names([name])
    suite = SUITES[name]
    report = progress or (lambda _phase, _share, _words: None)
    prefix = places.suite_prefix(name)
    found = places.read_manifest(prefix)
    if found is not None and not force:
        report(name, 1.0, "already installed")
        return found
    _check_platform(suite)
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(prefix.parent / f".{name}.lock", timeout=2 * APT_TIME_LIMIT_S):
            found = places.read_manifest(prefix)
            if found is not None and not force:
                return found
            return _install(suite, prefix, report)
    except Timeout:
        raise InstallError(f"{suite.title}: another installation has been running for long; stop it first") from None
    except OSError as error:
        if isinstance(error, InstallError):
            raise
        raise InstallError(f"{prefix}: cannot install {suite.title} here ({error.strerror or error})") from None


def _by_hand(suite: Suite) -> str:
    folder = places.system_vst3_folders()[0]
    return f"download its VST3 from {suite.site}, put the .vst3 into {folder} and run 'mixbridge plugins scan'"


def _check_platform(suite: Suite) -> None:
    by_hand = _by_hand(suite)
    if sys.platform != "linux":
        system = "macOS" if sys.platform == "darwin" else "Windows" if sys.platform == "win32" else sys.platform
        raise InstallError(f"{suite.title}: cannot be installed for you on {system}; {by_hand}")
    missing = [tool for tool in ("apt-get", "dpkg-deb", "ldd") if shutil.which(tool) is None]
    if missing:
        raise InstallError(
            f"{suite.title}: {missing[0]} was not found, so this is no Debian-like machine; install the suite's "
            f"package of your distribution, or {by_hand}"
        )
    if platform.machine() not in places.LOADERS:
        raise InstallError(f"{suite.title}: there are no packages for {platform.machine()} machines; {by_hand}")


def _install(suite: Suite, prefix: Path, report: Progress) -> places.Manifest:
    with tempfile.TemporaryDirectory(prefix=f".{suite.name}-", dir=prefix.parent) as name:
        work = Path(name)
        new = work / "prefix"
        mirror = _first_mirror_that_answers(work, suite, report)
        report(suite.name, 0.3, f"downloading {suite.package}")
        try:
            packages = mirror.download([suite.package], work / "suite")
        except InstallError as error:
            raise InstallError(f"{suite.title}: the mirror does not give it ({error}); {_by_hand(suite)}") from None
        bundles = _take_bundles(work / "suite", new, suite)
        report(suite.name, 0.6, f"checking {len(bundles)} bundles")
        needs = {bundle.name: _needs(bundle) for bundle in bundles}
        manifest = places.Manifest(
            suite=suite.name,
            prefix=new,
            packages=packages,
            needs_c_library={bundle: need.c_library for bundle, need in needs.items() if need.c_library},
            needs_libraries=tuple(bundle for bundle, need in needs.items() if need.libraries),
        )
        if any(not need.met for need in needs.values()):
            report(suite.name, 0.7, "downloading the libraries it needs")
            manifest = _add_libraries(manifest, suite, mirror, work / "libraries")
        (new / places.MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        for bundle in manifest.bundles:
            _check_loads(bundle)
        _replace_folder(new, prefix, spare=work / "replaced")
    report(suite.name, 1.0, f"{len(bundles)} bundles in {prefix}")
    return replace(manifest, prefix=prefix)


def _replace_folder(new: Path, folder: Path, *, spare: Path) -> None:
    new.chmod(0o755)
    if folder.exists():
        folder.rename(spare)
    new.rename(folder)


# ------------------------------------------------------------------ downloading


@dataclass(frozen=True)
class Source:
    """One entry of apt's sources: where packages come from and how they are verified."""

    uris: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)

    def to_stanza(self) -> str:
        """Write it in the deb822 form of a ``.sources`` file."""
        fields = {"Types": "deb", "URIs": self.uris, "Suites": " ".join(self.suites)}
        if self.components:
            fields["Components"] = " ".join(self.components)
        return "".join(f"{name}: {value}\n" for name, value in {**fields, **self.options}.items())


class Mirror:
    """Package lists of some sources, apart from the system's, and downloads from them."""

    def __init__(self, folder: Path, sources: Sequence[Source], release: str) -> None:
        self._folder = folder
        self._release = release
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "mirror.sources").write_text("\n".join(s.to_stanza() for s in sources), encoding="utf-8")
        # The system's hooks after an update look after the system's own lists.
        hooks = ("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success")
        (folder / "apt.conf").write_text("".join(f"#clear {hook};\n" for hook in hooks), encoding="utf-8")

    def update(self) -> None:
        """Fetch the package lists (`InstallError` when the mirror does not answer)."""
        self._apt("update", cwd=self._folder)

    def download(self, names: Sequence[str], folder: Path) -> dict[str, str]:
        """Download packages into `folder`, unpack them there and return their versions by name."""
        folder.mkdir()
        wanted = [f"{name}/{self._release}" if self._release else name for name in names]
        self._apt("download", *wanted, cwd=folder)
        versions = {}
        for package in sorted(folder.glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(package), str(folder)], cwd=folder, time_limit_s=TOOL_TIME_LIMIT_S)
            shown = ["dpkg-deb", "--show", "--showformat=${Package} ${Version}", str(package)]
            name, version = _run(shown, cwd=folder, time_limit_s=TOOL_TIME_LIMIT_S).split()
            versions[name] = version
            package.unlink()
        return versions

    def _apt(self, *arguments: str, cwd: Path) -> None:
        options = {
            "Dir::Etc::sourcelist": self._folder / "mirror.sources",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::Lists": self._folder / "lists",
            "Dir::Cache": self._folder / "cache",
            "Acquire::Retries": 2,
            "Acquire::http::Timeout": 30,
            "Acquire::https::Timeout": 30,
            "Acquire::Languages": "none",
            "APT::Update::Error-Mode": "any",
        }
        if os.geteuid() == 0:
            # The unprivileged user apt would change to may not write into our folder.
            options["APT::Sandbox::User"] = "root"
        command = ["apt-get", "--quiet", "--quiet", "--config-file", str(self._folder / "apt.conf")]
        command += [part for name, value in options.items() for part in ("--option", f"{name}={value}")]
        _run([*command, *arguments], cwd=cwd, time_limit_s=APT_TIME_LIMIT_S)


def _first_mirror_that_answers(work: Path, suite: Suite, report: Progress) -> Mirror:
    """Fetch package lists from the first of the machine's sources that has what is needed."""
    choices, release = _choose_sources(system_sources(), _os_release())
    if not choices:
        raise InstallError(
            f"{suite.title}: no package mirror was found in this machine's apt sources (/etc/apt); add one there"
        )
    problem = InstallError("")
    for index, sources in enumerate(choices):
        report(suite.name, 0.1, "reading the package lists of this machine's mirror")
        mirror = Mirror(work / f"apt{index}", sources, release)
        try:
            mirror.update()
        except InstallError as error:
            problem = error
        else:
            return mirror
    raise InstallError(
        f"{suite.title}: the package mirror of this machine does not answer ({problem}); try again later"
    )


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _choose_sources(sources: Sequence[Source], release: Mapping[str, str]) -> tuple[list[list[Source]], str]:
    """Return the sets of sources to try, best first, and the release to ask for ("" for any).

    On Debian every mirror also holds `RELEASE`, whatever the machine itself runs. Other systems
    keep the suites among their own packages, if at all.
    """
    if release.get("ID") != "debian":
        return ([list(sources)] if sources else []), ""
    # Names with a dash or slash are additions to a release: updates, security, backports.
    main = [s for s in sources if any(re.fullmatch(r"\w+", name) for name in s.suites) and "main" in s.components]
    # Others also name their sources after Debian's releases: Debian's own come first.
    main.sort(key=lambda s: (_is_debians_own(s), "debian-archive" in s.options.get("Signed-By", "")), reverse=True)
    return [[replace(s, suites=(RELEASE,), components=("main",))] for s in main], RELEASE


def _is_debians_own(source: Source) -> bool:
    return bool(re.search(r"(^|/)debian/?$", source.uris.split()[0]))


def system_sources(folder: Path = Path("/etc/apt")) -> list[Source]:
    """Read the machine's apt sources: ``sources.list`` and ``sources.list.d``, in both of apt's formats."""
    found: list[Source] = []
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if path.suffix == ".sources":
            found += _read_stanzas(text)
        elif path.suffix == ".list":
            found += _read_lines(text)
    return found


def _read_stanzas(text: str) -> Iterator[Source]:
    """Sources of the deb822 format: paragraphs of ``Field: value`` with indented continuations."""
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t" and name:
                fields[name] += "\n" + line
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().title().replace("Uris", "URIs")
                fields[name] = value.strip()
        if fields.pop("Enabled", "yes").lower() in ("no", "false", "0"):
            continue
        types, uris = fields.pop("Types", "").split(), fields.pop("URIs", "")
        suites, components = fields.pop("Suites", "").split(), fields.pop("Components", "").split()
        if "deb" in types and uris and suites and not uris.startswith("cdrom"):
            yield Source(uris, tuple(suites), tuple(components), fields)


#: Options of the one-line format that have another name in the deb822 format.
_OPTION_NAMES = {"arch": "Architectures", "lang": "Languages", "target": "Targets"}


def _read_lines(text: str) -> Iterator[Source]:
    """Sources of the one-line format: ``deb [option=value ...] uri suite component ...``."""
    pattern = re.compile(r"deb[ \t]+(?:\[([^]]*)\][ \t]+)?(\S+)[ \t]+(\S+)[ \t]*([^#]*)")
    for line in text.splitlines():
        match = pattern.match(line.strip())
        if match is None or match[2].startswith("cdrom"):
            continue
        pairs = [part.partition("=") for part in (match[1] or "").split()]
        options = {_OPTION_NAMES.get(key, key.title()): value.replace(",", " ") for key, _, value in pairs}
        yield Source(match[2], (match[3],), tuple(match[4].split()), options)


# ------------------------------------------------------------------ unpacking


def _take_bundles(unpacked: Path, prefix: Path, suite: Suite) -> list[Path]:
    """Move the VST3 bundles out of an unpacked package."""
    folder = prefix / places.VST3_FOLDER
    folder.mkdir(parents=True)
    found = [p for p in sorted(unpacked.rglob("*.vst3")) if p.is_dir()]
    if not found:
        raise InstallError(f"{suite.title}: the package {suite.package} of this system holds no VST3 plugins")
    for bundle in found:
        bundle.rename(folder / bundle.name)
    return sorted(folder.iterdir())


@dataclass(frozen=True)
class _Needs:
    """What a bundle needs that this system lacks: a newer C library, libraries by name."""

    c_library: str
    libraries: tuple[str, ...]

    @property
    def met(self) -> bool:
        too_old = places.version_tuple(places.system_c_library()) < places.version_tuple(self.c_library)
        return not self.libraries and not too_old


def _needs(bundle: Path) -> _Needs:
    """Look up what the binary of a bundle asks for; it is not loaded."""
    binary = _binary_of(bundle)
    asked = set(re.findall(rb"GLIBC_(\d+(?:\.\d+)+)\x00", binary.read_bytes()))
    versions = sorted((v.decode() for v in asked), key=places.version_tuple)
    return _Needs(versions[-1] if versions else "", _missing_libraries(binary, []))


def _binary_of(bundle: Path) -> Path:
    found = binary_of(bundle)
    if found is None:
        raise InstallError(f"{bundle.name}: the package holds no plugin for {platform.machine()} machines")
    return found


def _missing_libraries(binary: Path, loader: Sequence[str]) -> tuple[str, ...]:
    """Names of the libraries that the loader does not find for a binary."""
    command = [*loader, "--list", str(binary)] if loader else ["ldd", str(binary)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        env=os.environ | places.loader_environment(binary) | {"LC_ALL": "C"},
        timeout=TOOL_TIME_LIMIT_S,
        check=False,
    )
    return tuple(re.findall(r"^\s*(\S+) => not found", done.stdout, flags=re.MULTILINE))


def _add_libraries(manifest: places.Manifest, suite: Suite, mirror: Mirror, work: Path) -> places.Manifest:
    """Download the libraries the suite needs into its prefix, with the C library they were built for."""
    packages = mirror.download([*_C_LIBRARY_PACKAGES], work)
    c_library = manifest.prefix / places.C_LIBRARY_FOLDER
    _take_libraries(work, c_library)
    packages |= mirror.download(list(suite.libraries), work / "more")
    _take_libraries(work / "more", manifest.prefix / places.LIBRARY_FOLDER)
    version = ".".join(re.findall(r"\d+", packages["libc6"])[:2])
    return replace(manifest, c_library=version, packages={**manifest.packages, **packages})


def _take_libraries(unpacked: Path, folder: Path) -> None:
    """Move the libraries out of unpacked packages into one folder."""
    folder.mkdir(parents=True)
    triplet = places.LOADERS[platform.machine()][1]
    for library in sorted(unpacked.glob(f"usr/lib/{triplet}/*.so*")) + sorted(unpacked.glob(f"lib/{triplet}/*.so*")):
        if not library.is_dir() and not (folder / library.name).exists():
            library.rename(folder / library.name)


def _check_loads(bundle: Path) -> None:
    """Refuse a suite whose libraries are not all there: it would only fail later and less clearly."""
    missing = _missing_libraries(_binary_of(bundle), places.loader_command(bundle))
    if missing:
        raise InstallError(f"{bundle.name}: needs libraries that no package of this system provides: {missing[0]}")


def _run(command: Sequence[str], *, cwd: Path, time_limit_s: float) -> str:
    """Run a tool and return its output; its complaint becomes the message of an `InstallError`."""
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=time_limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InstallError(f"{command[0]} did not finish within {time_limit_s:.0f} s; check the network") from None
    if done.returncode:
        complaints = [line[2:].strip() for line in done.stderr.splitlines() if line.startswith("E:")]
        raise InstallError(f"{command[0]}: {(complaints or [done.stderr.strip() or 'failed'])[0]}")
    return done.stdout
