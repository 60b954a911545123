"""Rendering Ardour sessions with Ardour itself, without a window or a sound card; no session is written here.

Everything Ardour would keep (settings, plugin lists, peak files) goes into a folder that is removed again.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import soundfile
from lxml import etree

from ..errors import PluginNotFoundError, SessionFileError, VerifyError
from ..files import whole_file
from ..suites import load_suite, suite_names
from .lv2 import PATH_VARIABLE, Lv2Plugin, find_lv2, link_bundles
from .registry import find_plugin

#: Environment variable that names the program, where it is not found by itself.
PROGRAM_VARIABLE = "MIXBRIDGE_ARDOUR"

#: Releases whose command-line exporter is looked for, the one that was measured first.
RELEASES = (7, 8)

#: Runs of the exporter that may hang before it is given up: about one in a hundred never begins.
ATTEMPTS = 4

#: Longest time for a run (s).
TIMEOUT_S = 600.0

#: Listing what one VST3 bundle holds may take this long (s).
_SCAN_TIMEOUT_S = 120.0

#: Port resampling is off: with it, some runs are 16 samples late.
_CONFIG = """\
<?xml version="1.0" encoding="UTF-8"?>
<Ardour><Config><Option name="port-resampler-quality" value="0"/></Config></Ardour>
"""

_INSTALL = "install Ardour (on Debian and Ubuntu: apt-get install ardour)"

#: Variables that would lead Ardour to the user's own settings, or to a display.
_PRIVATE = ("DISPLAY", "WAYLAND_DISPLAY", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")

#: A session file that was read; the library has no types of its own.
Tree: TypeAlias = Any

_RELEASE = re.compile(r"ardour(\d+)-export")


@dataclass(frozen=True)
class Ardour:
    """An Ardour on this machine.

    Attributes
    ----------
    program : Path
        Its command-line exporter.
    release : int
        Major version.
    """

    program: Path
    release: int
    name: str = "ardour"

    @classmethod
    def find(cls, program: Path | None = None) -> Ardour:
        """Look for Ardour: at a given path, where `PROGRAM_VARIABLE` says, or on the search path.

        Raises
        ------
        VerifyError
            If there is none.
        """
        chosen = str(program or os.environ.get(PROGRAM_VARIABLE, ""))
        if chosen:
            found = shutil.which(chosen)
            if found is None:
                raise VerifyError(f"{chosen}: no program that can be run; name ardour7-export, or {_INSTALL}")
            release = _RELEASE.search(Path(chosen).name) or _RELEASE.search(Path(found).resolve().name)
            return cls(Path(found).absolute(), int(release[1]) if release else RELEASES[0])
        for release_number in RELEASES:
            found = shutil.which(f"ardour{release_number}-export")
            if found is not None:
                return cls(Path(found).absolute(), release_number)
        raise VerifyError(f"Ardour: ardour{RELEASES[0]}-export is not on this machine; {_INSTALL}")

    @property
    def libraries(self) -> Path:
        """Folder of its own libraries and of the scanner of VST3 plugins."""
        return self.program.parent.parent / "lib" / f"ardour{self.release}"

    def render(self, session: Path, out: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        """Render a session from its beginning to its end into a float WAV file at the session's rate.

        Parameters
        ----------
        session : Path
            The ``.ardour`` file; neither it nor its folder is changed.
        out : Path
            Written whole or not at all.
        timeout_s : float
            For one run; a run that hangs is repeated up to `ATTEMPTS` times.

        Raises
        ------
        SessionFileError
            If the session cannot be read, or Ardour refuses it.
        PluginNotFoundError, VerifyError
            If a plugin or an audio file is missing, or Ardour does not come to an end.
        """
        tree = read_session(session)
        check_media(session, tree)
        with tempfile.TemporaryDirectory(prefix="mixbridge-ardour-") as folder:
            work = Path(folder)
            copy = _copied(session, tree, work / "session")
            environment = self._environment(tree, work)
            made = work / "out.wav"
            self._run(copy, session.stem, made, environment, timeout_s=timeout_s, shown=session)
            if not made.is_file() or soundfile.info(str(made)).frames == 0:
                raise SessionFileError(f"{session}: Ardour rendered nothing; export the session again")
            with whole_file(out) as temporary:
                shutil.copyfile(made, temporary)

    def _environment(self, tree: Tree, work: Path) -> dict[str, str]:
        home = work / "home"
        settings = home / ".config" / f"ardour{self.release}"
        settings.mkdir(parents=True)
        (settings / "config").write_text(_CONFIG, encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if key not in _PRIVATE}
        environment["HOME"] = str(home)
        bundles = work / "lv2"
        bundles.mkdir()
        link_bundles(_lv2_plugins(tree), bundles)
        environment[PATH_VARIABLE] = str(bundles)
        self._scan_vst3(tree, work, environment)
        return environment

    def _scan_vst3(self, tree: Tree, work: Path, environment: dict[str, str]) -> None:
        """Let Ardour list the VST3 bundles that are used; without a window it knows no others."""
        used = _used(tree, "vst3")
        found = {class_id: find_plugin(class_id=class_id, bundle=_bundles().get(class_id, "")) for class_id in used}
        paths = {plugin.path.resolve() for plugin in found.values() if plugin.path is not None}
        folder = work / "vst3"
        folder.mkdir()
        environment["VST3_PATH"] = str(folder)
        scanner = self.libraries / "ardour-vst3-scanner"
        for path in sorted(paths):
            bundle = folder / path.name
            bundle.symlink_to(path, target_is_directory=path.is_dir())
            scan = {**environment, "LD_LIBRARY_PATH": str(self.libraries)}
            command = [str(scanner), "-q", "-f", str(bundle)]
            if _finished(command, environment=scan, timeout_s=_SCAN_TIMEOUT_S) is None:
                raise VerifyError(f"{path}: Ardour does not come to an end listing it; check the plugin in Ardour")
        lists = [file.read_text(encoding="utf-8", errors="replace") for file in work.glob("home/.cache/**/*.v3i")]
        for class_id, plugin in found.items():
            if not any(class_id in listed for listed in lists):
                raise PluginNotFoundError(
                    f"{plugin.label}: Ardour cannot load it, as it was built for another system or lacks libraries; "
                    "export with other plugins (lsp-lv2)"
                )

    def _run(
        self, folder: Path, name: str, out: Path, environment: Mapping[str, str], *, timeout_s: float, shown: Path
    ) -> None:
        command = [str(self.program), "-b", "float", "-o", str(out), str(folder), name]
        for _attempt in range(ATTEMPTS):
            out.unlink(missing_ok=True)
            done = _finished(command, environment=environment, timeout_s=timeout_s)
            if done is None:
                continue
            if done.returncode:
                lines = [line for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
                said = f" ({lines[-1].strip()})" if lines else ""
                raise SessionFileError(f"{shown}: Ardour does not open it{said}; export the session again")
            return
        raise VerifyError(
            f"{shown}: Ardour was not done in {ATTEMPTS} runs of {timeout_s:g} s each; allow more time, or open it in "
            "Ardour"
        )


def _finished(
    command: list[str], *, environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[bytes] | None:
    """Run a program in a process group of its own; None if it had to be stopped."""
    process = subprocess.Popen(
        command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
        return subprocess.CompletedProcess(command, process.returncode, output)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def read_session(path: Path) -> Tree:
    """Read a session file.

    Raises
    ------
    SessionFileError
        If it is missing, no XML, or no session of Ardour's.
    """
    # No entities and no network: a session may come from anybody.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        tree = etree.parse(str(path), parser)
    except OSError:
        raise SessionFileError(f"{path}: cannot be read; name the .ardour file of a session") from None
    except etree.XMLSyntaxError as error:
        raise SessionFileError(f"{path}: no valid XML ({error.msg}); export the session again") from None
    if tree.getroot().tag != "Session":
        raise SessionFileError(f"{path}: is no session of Ardour's; name the .ardour file of a session")
    return tree


def check_media(session: Path, tree: Tree) -> None:
    """Check that every audio file is there: Ardour would play silence.

    Raises
    ------
    VerifyError
    """
    for source in tree.iterfind("Sources/Source"):
        name = source.get("origin") or source.get("name") or ""
        folders = sorted((session.parent / "interchange").glob("*/audiofiles"))
        if not any((folder / name).is_file() for folder in [session.parent, *folders]):
            raise VerifyError(f"{session}: refers to {name}, which is missing; export the session again")


def _used(tree: Tree, kind: str) -> list[str]:
    """Ids of the plugins of a kind in a session."""
    found = (p.get("unique-id") or "" for p in tree.iterfind(f"Routes/Route/Processor[@type='{kind}']"))
    return list(dict.fromkeys(found))


def _bundles() -> dict[str, str]:
    """File names of the VST3 bundles that profiles know, by class id: a session names no files."""
    profiles = (profile for suite in suite_names() for profile in load_suite(suite).profiles.values())
    return {p.plugin.class_id: p.plugin.bundle for p in profiles if p.kind == "vst3" and p.plugin is not None}


def _lv2_plugins(tree: Tree) -> Iterator[Lv2Plugin]:
    wanted = _used(tree, "lv2")
    found = find_lv2(wanted)
    for uri in wanted:
        if uri not in found:
            raise PluginNotFoundError(
                f"{uri}: no LV2 plugin on this machine is called so; install it (LSP Plugins on Debian and Ubuntu: "
                "apt-get install lsp-plugins-lv2)"
            )
        yield found[uri]


def _copied(session: Path, tree: Tree, folder: Path) -> Path:
    """A session folder that Ardour may write into, its media linked; returns the folder.

    The master plays into nothing: with a sound card's ports behind it, automation comes a quarter of a block late.
    """
    # The folder of the audio is found by the name of the session's folder.
    copy = folder / session.parent.resolve().name
    copy.mkdir(parents=True)
    # Ardour makes folders beside those of the audio: only these themselves are links.
    for original in [*session.parent.glob("interchange/*/audiofiles"), *session.parent.glob("plugins/*")]:
        link = copy / original.relative_to(session.parent)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(original.resolve(), target_is_directory=True)
    for route in tree.iterfind("Routes/Route"):
        about = route.find("PresentationInfo")
        if about is None or "MasterOut" not in (about.get("flags") or ""):
            continue
        for connection in list(route.iterfind("IO[@direction='Output']/Port/Connection")):
            port = connection.getparent()
            if port is not None:
                port.remove(connection)
    tree.write(str(copy / session.name), xml_declaration=True, encoding="UTF-8")
    return copy
