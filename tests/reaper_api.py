"""A table that stands for REAPER's script interface: it holds a project as it was written and records what is called.

REAPER itself is not free to be had by every machine that runs the tests. What a script does in it
is seen here as far as it is a matter of the calls it makes; names and meanings are those of the
public reference of the interface.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from mixbridge.exporters.reaper.tree import Chunk, ProjectText

#: REAPER's own parameters of an effect: Bypass, Wet, Delta.
OWN = 3


@dataclass
class Effect:
    """One effect of a chain; `parameters` without those of REAPER's own."""

    guid: str
    name: str
    parameters: int
    ident: str = "somewhere"
    offline: bool = False
    enabled: bool = True

    def unload(self) -> None:
        """What becomes of an effect whose file is not there: it stays in the chain, without its parameters."""
        self.parameters, self.ident = 0, ""


@dataclass
class Track:
    guid: str
    name: str
    effects: list[Effect] = field(default_factory=list)


def tracks_of(project: Path) -> tuple[list[Track], Track]:
    """The tracks of a project and its master, every effect loaded."""
    text = ProjectText(project)

    def effects(chain: Chunk | None) -> list[Effect]:
        found: list[Effect] = []
        enabled = True
        for item in chain.items if chain is not None else ():
            if isinstance(item, Chunk) and item.keyword in ("JS", "VST"):
                (values,) = item.items if item.keyword == "JS" else (None,)
                count = sum(t != "-" for t in text.tokens(values)) if values is not None else 20
                found.append(Effect("", text.tokens(item.head)[1], count, enabled=enabled))
            elif not isinstance(item, Chunk) and item.keyword == "BYPASS":
                enabled = text.tokens(item)[1] == "0"
            elif not isinstance(item, Chunk) and item.keyword == "FXID":
                found[-1].guid = text.tokens(item)[1]
        return found

    def named(chunk: Chunk) -> str:
        name = chunk.line("NAME")
        return text.tokens(name)[1] if name is not None else ""

    tracks = [
        Track(text.tokens(c.head)[1], named(c), effects(next(iter(c.chunks("FXCHAIN")), None)))
        for c in text.root.chunks("TRACK")
    ]
    return tracks, Track("", "MASTER", effects(next(iter(text.root.chunks("MASTERFXLIST")), None)))


class ReaperTable:
    """Runs a script against the table; texts are bytes, as Lua has them."""

    def __init__(self, project: Path | None, tracks: list[Track], master: Track, *, answer: int = 6) -> None:
        self.project, self.tracks, self.master, self.answer = project, tracks, master, answer
        self.console = b""
        self.boxes: list[tuple[bytes, bytes, int]] = []
        self.commands: list[int] = []
        self.numbers: dict[str, float] = {"RENDER_NORMALIZE": 7.0, "RENDER_BOUNDSFLAG": 2.0}
        self.texts: dict[str, bytes] = {"RENDER_FILE": b"/elsewhere", "RENDER_FORMAT2": b"l3pm"}
        #: What was set when the render was asked for.
        self.rendered: list[tuple[dict[str, float], dict[str, bytes]]] = []
        self.on_render: Callable[[], None] = lambda: None

    def run(self, script: Path, lua: ModuleType) -> None:
        runtime = lua.LuaRuntime(encoding=None, unpack_returned_tuples=True)
        table = runtime.table()
        for name in dir(self):
            if name[:1].isupper():
                table[name.encode()] = getattr(self, name)
        table[b"file_exists"] = lambda path: Path(path.decode()).is_file()
        # Another name than those of the interface is an error, as it is in REAPER.
        runtime.execute(b"local t = ... ; setmetatable(t, {__index = function(_, k) error('no ' .. k) end})", table)
        runtime.globals()[b"reaper"] = table
        runtime.execute(script.read_bytes())

    # ------------------------------------------------------------------- the interface

    def ClearConsole(self) -> None:  # noqa: N802
        self.console = b""

    def ShowConsoleMsg(self, text: bytes) -> None:  # noqa: N802
        self.console += text

    def ShowMessageBox(self, text: bytes, title: bytes, kind: int) -> int:  # noqa: N802
        self.boxes.append((text, title, kind))
        return self.answer

    def GetAppVersion(self) -> bytes:  # noqa: N802
        return b"7.20/linux-x86_64"

    def EnumProjects(self, index: int, _text: bytes) -> tuple[int, bytes]:  # noqa: N802
        assert index == -1
        return 1, b"" if self.project is None else str(self.project).encode()

    def CountTracks(self, _project: int) -> int:  # noqa: N802
        return len(self.tracks)

    def GetTrack(self, _project: int, index: int) -> Track:  # noqa: N802
        return self.tracks[index]

    def GetMasterTrack(self, _project: int) -> Track:  # noqa: N802
        return self.master

    def GetTrackGUID(self, track: Track) -> bytes:  # noqa: N802
        return track.guid.encode()

    def TrackFX_GetCount(self, track: Track) -> int:  # noqa: N802
        return len(track.effects)

    def TrackFX_GetFXGUID(self, track: Track, index: int) -> bytes:  # noqa: N802
        return track.effects[index].guid.encode()

    def TrackFX_GetFXName(self, track: Track, index: int, _text: bytes) -> tuple[bool, bytes]:  # noqa: N802
        return True, track.effects[index].name.encode()

    def TrackFX_GetNumParams(self, track: Track, index: int) -> int:  # noqa: N802
        return track.effects[index].parameters + OWN

    def TrackFX_GetOffline(self, track: Track, index: int) -> bool:  # noqa: N802
        return track.effects[index].offline

    def TrackFX_GetEnabled(self, track: Track, index: int) -> bool:  # noqa: N802
        return track.effects[index].enabled

    def TrackFX_GetNamedConfigParm(self, track: Track, index: int, name: bytes) -> tuple[bool, bytes]:  # noqa: N802
        assert name == b"fx_ident"
        return True, track.effects[index].ident.encode()

    def GetSetProjectInfo(self, _project: int, name: bytes, value: float, is_set: bool) -> float:  # noqa: N802
        if is_set:
            self.numbers[name.decode()] = value
        return self.numbers.get(name.decode(), 0.0)

    def GetSetProjectInfo_String(  # noqa: N802
        self, _project: int, name: bytes, value: bytes, is_set: bool
    ) -> tuple[bool, bytes]:
        if is_set:
            self.texts[name.decode()] = value
        return True, self.texts.get(name.decode(), b"")

    def Main_OnCommand(self, command: int, _flag: int) -> Any:  # noqa: N802
        self.commands.append(command)
        self.rendered.append((dict(self.numbers), dict(self.texts)))
        self.on_render()
