"""What stands in an Ardour session file as far as others must know it; the mixer in it is Ardour's to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lxml import etree

from ...bridge.errors import SessionFileError
from .session_file import CLOCK_HZ

#: A session file that was read; the library has no types of its own.
Tree: TypeAlias = Any

#: A longer session (s) is none of ours.
_LONGEST_S = 1e6


@dataclass(frozen=True)
class SessionSummary:
    """Rate, length and files of a session.

    Attributes
    ----------
    frames : int
        Of its session range, which begins at 0.
    media : tuple of Path
        Every audio file it plays, whether it is there or not.
    """

    sample_rate_hz: int
    frames: int
    media: tuple[Path, ...]


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


def read_summary(path: Path) -> SessionSummary:
    """Rate, length and files of a session; see `read_session` for what is raised."""
    tree = read_session(path)
    rate = tree.getroot().get("sample-rate") or ""
    if not rate.isdecimal() or not int(rate):
        raise SessionFileError(f"{path}: sample-rate: not a number; export the session again")
    ends = (
        e.get("end") or "" for e in tree.iterfind("Locations/Location") if "IsSessionRange" in (e.get("flags") or "")
    )
    length_s = _seconds(next(ends, ""), path)
    folders = sorted((path.parent / "interchange").glob("*/audiofiles"))
    names = [e.get("origin") or e.get("name") or "" for e in tree.iterfind("Sources/Source")]
    media = tuple(_placed(name, [path.parent, *folders]) for name in dict.fromkeys(names))
    return SessionSummary(int(rate), round(length_s * int(rate)), media)


def used_plugins(tree: Tree, kind: str) -> list[str]:
    """Ids of the plugins of a kind ("lv2", "vst3") in a session."""
    found = (p.get("unique-id") or "" for p in tree.iterfind(f"Routes/Route/Processor[@type='{kind}']"))
    return list(dict.fromkeys(found))


def _seconds(clock: str, path: Path) -> float:
    ticks = clock.removeprefix("a")
    if not ticks.isdecimal() or len(ticks) > 20 or int(ticks) / CLOCK_HZ > _LONGEST_S:
        raise SessionFileError(f"{path}: the session has no range that says how long it is; export it again")
    return int(ticks) / CLOCK_HZ


def _placed(name: str, folders: list[Path]) -> Path:
    """The file of a source: in one of the folders, or where an absolute name says."""
    return next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)
