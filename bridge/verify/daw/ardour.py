"""Ardour as a renderer: its command-line exporter, without a window or a sound card; nothing is measured.

Everything Ardour would keep (settings, plugin lists, peak files) goes into a folder that is removed again.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ....exporters.ardour.read import Tree, read_session, read_summary, used_plugins
from ...errors import DawError, DawTimeoutError, PluginNotFoundError
from ...hosting.lv2 import PATH_VARIABLE, Lv2Plugin, find_lv2, link_bundles
from ...hosting.registry import find_plugin
from ...suites import load_suite, suite_names
from ..locate import SessionKind
from .process import Ended, run_program
from .renderer import DawSession, RenderedByDaw, deliver, find_program

#: Environment variable that names the program, where it is not found by itself.
PROGRAM_VARIABLE = "MIXBRIDGE_ARDOUR"

#: Releases whose command-line exporter is looked for, the one that was measured first.
RELEASES = (7, 8)

#: Runs of the exporter that may hang before it is given up: about one in a hundred never begins.
ATTEMPTS = 4

#: A first run may take this long (s), and this many times the length of the session; each further one twice as long.
FIRST_RUN_S = 60.0
FIRST_RUN_LENGTHS = 4.0

#: Listing what one VST3 bundle holds may take this long (s).
_SCAN_TIMEOUT_S = 120.0

#: Port resampling is off: with it, some runs are 16 samples late.
_CONFIG = """\
<?xml version="1.0" encoding="UTF-8"?>
<Ardour><Config><Option name="port-resampler-quality" value="0"/></Config></Ardour>
"""

_REMEDY = "install it (on Debian and Ubuntu: apt-get install ardour)"

#: Folders below its home that Ardour is told to use, whatever the user's own are.
_HOME_FOLDERS = {"XDG_CONFIG_HOME": ".config", "XDG_CACHE_HOME": ".cache", "XDG_DATA_HOME": ".local/share"}

_RELEASE = re.compile(r"ardour(\d+)-export")


@dataclass(frozen=True)
class Ardour:
    """Ardour, started for one render and gone after it.

    Attributes
    ----------
    program : Path or None
        Its command-line exporter; looked for if not given.
    """

    program: Path | None = None
    name: str = "Ardour"
    kinds: tuple[SessionKind, ...] = ("ardour",)

    def find(self) -> Path:
        """The program; see `renderer.DawRenderer`."""
        return find_program(
            self.name,
            chosen=self.program,
            variable=PROGRAM_VARIABLE,
            usual=(),
            commands=tuple(f"ardour{release}-export" for release in RELEASES),
            remedy=_REMEDY,
        )

    def render(self, session: DawSession, out: Path, *, timeout_s: float) -> RenderedByDaw:
        """Render a session; see `renderer.DawRenderer`.

        A run that hangs is repeated, `ATTEMPTS` runs in all and none longer than `timeout_s`. Missing
        plugins and audio files are errors: Ardour itself would play on without them.

        Raises
        ------
        SessionFileError
            If the session cannot be read.
        PluginNotFoundError
            If a plugin is missing, or Ardour cannot load it.
        """
        program = self.find()
        tree = read_session(session.path)
        _check_media(session.path)
        with tempfile.TemporaryDirectory(prefix="mixbridge-ardour-", ignore_cleanup_errors=True) as name:
            work = Path(name).resolve()
            environment = _environment(tree, work, program)
            copy = _copied(session.path, tree, work / "session")
            made = work / "out.wav"
            command: list[str | Path] = [program, "-b", "float", "-o", made, copy, session.path.stem]
            ended = _run(command, session, made, work=work, environment=environment, timeout_s=timeout_s)
            if not made.is_file() or made.stat().st_size == 0:
                raise DawError(f"{session.path}: Ardour ended without a render; export the session again")
            deliver(made, out, session=session, daw=self.name)
        return RenderedByDaw(version=f"{self.name} {_release_of(program)}", log=ended.log)


def _release_of(program: Path) -> int:
    named = _RELEASE.search(program.name) or _RELEASE.search(program.resolve().name)
    return int(named[1]) if named else RELEASES[0]


def _run(
    command: list[str | Path],
    session: DawSession,
    made: Path,
    *,
    work: Path,
    environment: Mapping[str, str],
    timeout_s: float,
) -> Ended:
    limit_s = FIRST_RUN_S + FIRST_RUN_LENGTHS * session.length_s
    for attempt in range(ATTEMPTS):
        made.unlink(missing_ok=True)
        ended = run_program(
            command, folder=work, timeout_s=min(timeout_s, limit_s * 2.0**attempt), environment=environment
        )
        if ended.exit_code is None:
            continue
        if ended.exit_code != 0:
            said = f" ({ended.last_words})" if ended.last_words else ""
            raise DawError(f"{session.path}: Ardour does not open it{said}; export the session again")
        return ended
    raise DawTimeoutError(
        f"{session.path}: Ardour was not done in {ATTEMPTS} runs of up to {timeout_s:g} s; raise --daw-timeout-s, "
        "or open the session in Ardour"
    )


def _check_media(session: Path) -> None:
    """Ardour would play silence in the place of a file that is not there."""
    gone = [file for file in read_summary(session).media if not file.is_file()]
    if gone:
        raise DawError(f"{session}: refers to {gone[0].name}, which is missing; export the session again")


# ----------------------------------------------------------------------------- surroundings


def _environment(tree: Tree, work: Path, program: Path) -> dict[str, str]:
    """Settings and plugin lists of its own, and no display."""
    home = work / "home"
    settings = home / ".config" / f"ardour{_release_of(program)}"
    settings.mkdir(parents=True)
    (settings / "config").write_text(_CONFIG, encoding="utf-8")
    bundles = work / "lv2"
    bundles.mkdir()
    link_bundles(_lv2_plugins(tree), bundles)
    environment = {
        "HOME": str(home),
        **{variable: str(home / folder) for variable, folder in _HOME_FOLDERS.items()},
        "DISPLAY": "",
        "WAYLAND_DISPLAY": "",
        PATH_VARIABLE: str(bundles),
    }
    return environment | _scanned_vst3(tree, work, program, environment)


def _scanned_vst3(tree: Tree, work: Path, program: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Let Ardour list the VST3 bundles that are used; without a window it knows no others."""
    used = used_plugins(tree, "vst3")
    found = {class_id: find_plugin(class_id=class_id, bundle=_bundles().get(class_id, "")) for class_id in used}
    paths = {plugin.path.resolve() for plugin in found.values() if plugin.path is not None}
    folder = work / "vst3"
    folder.mkdir()
    # Ardour's own libraries, and beside them the scanner.
    libraries = program.parent.parent / "lib" / f"ardour{_release_of(program)}"
    scan = {**environment, "VST3_PATH": str(folder), "LD_LIBRARY_PATH": str(libraries)}
    for path in sorted(paths):
        bundle = folder / path.name
        bundle.symlink_to(path, target_is_directory=path.is_dir())
        command: list[str | Path] = [libraries / "ardour-vst3-scanner", "-q", "-f", bundle]
        if run_program(command, folder=work, timeout_s=_SCAN_TIMEOUT_S, environment=scan).exit_code is None:
            raise DawTimeoutError(f"{path}: Ardour does not come to an end listing it; check the plugin in Ardour")
    lists = [file.read_text(encoding="utf-8", errors="replace") for file in work.glob("home/.cache/**/*.v3i")]
    for class_id, plugin in found.items():
        if not any(class_id in listed for listed in lists):
            raise PluginNotFoundError(
                f"{plugin.label}: Ardour cannot load it, as it was built for another system or lacks libraries; "
                "export with other plugins (lsp-lv2)"
            )
    return {"VST3_PATH": str(folder)}


def _bundles() -> dict[str, str]:
    """File names of the VST3 bundles that profiles know, by class id: a session names no files."""
    profiles = (profile for suite in suite_names() for profile in load_suite(suite).profiles.values())
    return {p.plugin.class_id: p.plugin.bundle for p in profiles if p.kind == "vst3" and p.plugin is not None}


def _lv2_plugins(tree: Tree) -> Iterator[Lv2Plugin]:
    wanted = used_plugins(tree, "lv2")
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
