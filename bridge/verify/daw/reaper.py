"""REAPER as a renderer: its command line, a configuration of its own, and the copy it works on; nothing is measured.

REAPER renders what the project says, to where the project says. So it is given a copy with our
render settings. The copy lies beside the project for as long as REAPER runs: that way everything
in it that is relative to the project (media, also ``../``, JSFX as ``<Project>/...``, and whatever
an engineer has added) is found as in the project itself, and no path has to be understood.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ....exporters.reaper.rendering import with_render_settings
from ...choices import this_system
from ...errors import DawError, DawTimeoutError, OutputError
from ...hosting.places import vst3_folders
from ..locate import PROJECT_SUFFIX, SessionKind
from .process import MOST_LOG_BYTES, Ended, run_program
from .renderer import DawSession, RenderedByDaw, deliver, find_program

#: Environment variable that names the program.
PROGRAM_VARIABLE = "MIXBRIDGE_REAPER"

_REMEDY = "install it from reaper.fm (neither Linux distributions nor Python packages bring it)"

#: Name of the copy, up to the part that makes it unique. The dot hides it from `locate`, too.
_COPY_PREFIX = ".mixbridge-render-"

#: A copy older than this (s) was left behind by a run that was killed.
_STALE_S = 24 * 3600.0

#: File of a licence in REAPER's resource folder.
_LICENCE = "reaper-license.rk"

#: Lines of REAPER's log that hold one of these speak of something missing.
_COMPLAINTS = ("not available", "could not be loaded", "could not load", "failed to load", "missing", "offline")

_MOST_COMPLAINTS = 8


@dataclass(frozen=True)
class Reaper:
    """REAPER, started for one render and gone after it.

    Attributes
    ----------
    program : Path or None
        Where it is; looked for if not given.
    """

    program: Path | None = None
    name: str = "REAPER"
    kinds: tuple[SessionKind, ...] = ("reaper",)

    def find(self) -> Path:
        """The program; see `renderer.DawRenderer`."""
        return find_program(
            self.name,
            chosen=self.program,
            variable=PROGRAM_VARIABLE,
            usual=_usual_places(),
            commands=("reaper",),
            remedy=_REMEDY,
        )

    def render(self, session: DawSession, out: Path, *, timeout_s: float) -> RenderedByDaw:
        """Render a project; see `renderer.DawRenderer`."""
        program = self.find()
        with tempfile.TemporaryDirectory(prefix="mixbridge-reaper-", ignore_cleanup_errors=True) as name:
            private = Path(name).resolve()
            made, splash_log = private / "render.wav", private / "splash.txt"
            configuration = _write_configuration(private / "config", program)
            with _copy_beside(session, made) as copy:
                command: list[str | Path] = [
                    *_display(),
                    program,
                    *("-newinst", "-nosplash", "-ignoreerrors"),
                    *("-cfgfile", configuration, "-splashlog", splash_log),
                    *("-renderproject", copy),
                ]
                ended = run_program(command, folder=private, timeout_s=timeout_s)
            said = _start_of(splash_log)
            _check(ended, made, session, timeout_s=timeout_s)
            deliver(made, out, session=session, daw=self.name)
        return RenderedByDaw(version=_version(said), log=ended.log, complaints=_complaints(f"{said}\n{ended.log}"))


def _check(ended: Ended, made: Path, session: DawSession, *, timeout_s: float) -> None:
    """Raise an error for people unless the program came to an end and wrote something."""
    words = f"; its last words: {ended.last_words}" if ended.last_words else ""
    if ended.exit_code is None:
        raise DawTimeoutError(
            f"{session.path}: REAPER did not finish within {timeout_s:g} s and was ended{words}; raise "
            "--daw-timeout-s, or open the project in REAPER to see whether it asks something"
        )
    if ended.exit_code != 0:
        how = f"exit code {ended.exit_code}" if ended.exit_code > 0 else f"signal {-ended.exit_code}"
        raise DawError(
            f"{session.path}: REAPER failed ({how}){words}{_display_hint()}; "
            "open the project in REAPER, render there and compare it with --render"
        )
    if not made.is_file() or made.stat().st_size == 0:
        raise DawError(
            f"{session.path}: REAPER ended without a render{words}{_display_hint()}; "
            "open the project in REAPER, render there and compare it with --render"
        )


# ------------------------------------------------------------------------------------ places


def _usual_places() -> list[Path]:
    home = Path.home()
    if this_system() == "macos":
        folders = [Path("/Applications"), home / "Applications"]
        return [folder / name for folder in folders for name in ("REAPER.app", "REAPER64.app")]
    if this_system() == "windows":
        roots = [os.environ.get("PROGRAMFILES", "C:/Program Files"), "C:/Program Files"]
        found = [Path(root) / name / "reaper.exe" for root in roots for name in ("REAPER (x64)", "REAPER")]
        return list(dict.fromkeys(found))
    return [root / "REAPER" / "reaper" for root in (Path("/opt"), home / "opt", home, Path("/usr/local"))]


def _resource_folder() -> Path:
    """Where REAPER keeps the user's own settings."""
    if this_system() == "macos":
        return Path.home() / "Library" / "Application Support" / "REAPER"
    if this_system() == "windows":
        return Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming")) / "REAPER"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "REAPER"


def _display() -> list[str]:
    """What a command begins with so that REAPER, which cannot do without a display, has one."""
    virtual = None if _has_display() else shutil.which("xvfb-run")
    return [virtual, "--auto-servernum"] if virtual else []


def _display_hint() -> str:
    if _has_display() or shutil.which("xvfb-run"):
        return ""
    return "; REAPER needs a display, and there is none here: install xvfb"


def _has_display() -> bool:
    return this_system() != "linux" or any(os.environ.get(v) for v in ("DISPLAY", "WAYLAND_DISPLAY"))


# ----------------------------------------------------------------------------- configuration


def _write_configuration(folder: Path, program: Path) -> Path:
    """A resource folder in which REAPER asks nothing, opens no audio device, and finds our plugins.

    The user's own licence is taken along where there is one: without it an evaluation notice would
    stand in the way. Nothing else of the user's settings has a say in what is heard.
    """
    folder.mkdir()
    licence = _resource_folder() / _LICENCE
    with suppress(OSError):
        shutil.copy2(licence, folder / _LICENCE)
    file = folder / "reaper.ini"
    sections = {"REAPER": _settings(program), "audioconfig": {"mode": "4"}}
    lines = [f"[{name}]\n" + "".join(f"{k}={v}\n" for k, v in values.items()) for name, values in sections.items()]
    file.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    return file


def _settings(program: Path) -> Mapping[str, str]:
    # REAPER's own plugins lie beside the program, on macOS inside the application.
    own = [program.parent / "Plugins" / "FX", program.parent.parent / "Plugins" / "FX"]
    folders = ";".join(str(folder) for folder in [*own, *vst3_folders()] if folder.is_dir())
    return {
        # No look for updates, no last project, no notices about missing devices.
        "verchk": "0",
        "loadlastproj": "0",
        "showlastproj": "0",
        "newprojdo": "0",
        "splash": "0",
        "errnowarn": "5",
        "hasrecentlyopened": "1",
        "autosaveint": "0",
        # No audio device: "Dummy Audio" on Linux, none on macOS; Windows has a section of its own.
        "linux_audio_mode": "2",
        "coreaudioindevnew": "<none>",
        "coreaudiooutdevnew": "<none>",
        # Each system reads one of these.
        "vstpath": folders,
        "vstpath64": folders,
        "vstpath_arm64": folders,
    }


# ---------------------------------------------------------------------------------- the copy


@contextmanager
def _copy_beside(session: DawSession, made: Path) -> Iterator[Path]:
    """A copy of the project that renders to `made`; it is gone when the block ends."""
    folder = session.path.absolute().parent
    try:
        text = session.path.read_bytes()
    except OSError as error:
        raise DawError(f"{session.path}: cannot read the project ({error.strerror}); check the path") from None
    changed = with_render_settings(
        text, file=made.as_posix(), sample_rate_hz=session.sample_rate_hz, length_s=session.length_s
    )
    _remove_stale(folder)
    try:
        handle, name = tempfile.mkstemp(prefix=_COPY_PREFIX, suffix=PROJECT_SUFFIX, dir=folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: REAPER works on a copy beside the project, but nothing can be written here "
            f"({error.strerror}); copy the folder to where you can write"
        ) from None
    copy = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(changed)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _remove_stale(folder: Path) -> None:
    for path in folder.glob(f"{_COPY_PREFIX}*{PROJECT_SUFFIX}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_S:
                path.unlink()


# ----------------------------------------------------------------------------------- the log


def _start_of(splash_log: Path) -> str:
    """What REAPER wrote when it started; empty where it wrote nothing."""
    try:
        with splash_log.open("rb") as stream:
            return stream.read(MOST_LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _version(splash_log: str) -> str:
    """The first line of REAPER's start-up log is its version."""
    return " ".join(splash_log.partition("\n")[0].split())[:80]


def _complaints(log: str) -> tuple[str, ...]:
    lines = (" ".join(line.split())[:200] for line in log.splitlines())
    found = dict.fromkeys(line for line in lines if any(word in line.casefold() for word in _COMPLAINTS))
    return tuple(found)[:_MOST_COMPLAINTS]
