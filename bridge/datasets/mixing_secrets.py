"""The layout of the 'Mixing Secrets' Free Multitrack Download Library (Cambridge Music Technology); nothing else here.

An archive ``<Artist>_<Title>_Full.zip`` unpacks to a folder of that name with tracks such as ``01_KickIn.wav``; one
without ``_Full`` is an excerpt. Mixes are downloaded apart: ``<Title>_Full_Preview.mp3`` (of an excerpt
``<Title>_Preview.mp3``) and, for some songs, ``<Title>_UnmasteredWAV.wav``. Nobody keeps them in the same place, so
several are looked at:

* in the song's folder ``mix.*``, or a file there that is called like a mix of the song;
* in the song's folder ``mixes/``, beside ``tracks/`` (the layout of the automix-toolkit); of several mixes one with
  "Full" in its name;
* beside the song folders, or where ``--mixes`` says, a file that is called like a mix of the song.

Of several, unmastered mixes come first, then uncompressed formats.

Subgroups come from ``groups.yaml`` or ``correspondence.yaml`` in the song's folder (the latter is what the data of the
pruning paper has: group names to lists of files; files that it does not list are no part of the mix), else from the
names of the tracks, which the library writes alike for all songs: ``Kick``, ``Snare``, ``ElecGtr1``, ``LeadVox``.

Source: https://cambridge-mt.com/ms/mtk/; https://github.com/sh-lee97/grafx-prune (``code/data/mixing_secrets``);
https://github.com/csteinmetz1/automix-toolkit (``automix/data/secrets.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..batch.manifest import GROUPS_FILE, MIX_STEM
from ..errors import GroupsError
from ..groups import read_groups
from .layout import DatasetSong, IncompleteSongError, Layout, ReadOptions, Skipped, Track, audio_files, subfolders

CORRESPONDENCE_FILE = "correspondence.yaml"
_TRACKS_FOLDER, _MIXES_FOLDER = "tracks", "mixes"
_FULL = "_Full"

#: What a mix's name has after the name of its song.
_MIX_WORDS = re.compile(r"[_\- ]*(full|excerpt|preview|unmastered|master(ed)?|mix(down)?|wav)$", re.IGNORECASE)
_UNMASTERED = re.compile("unmastered", re.IGNORECASE)
_LOSSY = frozenset((".mp3", ".ogg", ".oga", ".opus"))

#: Families of instruments by the words that track names begin with (after their number); the first match counts.
_FAMILIES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(rf"(?:{words})", re.IGNORECASE))
    for name, words in (
        ("BackingVox", r"back\w*vo|bv|bgv|harmony ?vo|harm\w*vo|choir|gang ?vo|group ?vo|vox ?double"),
        ("LeadVox", r"lead\w*vo|lv\d*$|vox|vocal|male ?vo|female ?vo|voice|rap"),
        ("Drums", r"kick|bass ?drum|snare|snr|hi-?hat|hat\d*$|tom\d*|floor ?tom|rack ?tom|over ?heads?|oh\d*$|drum|"
                  r"cymbal|ride|crash|china\d*$|splash|room\d*$|loop|beat"),
        ("Percussion", r"perc|shaker|tamb|conga|bongo|clap|cowbell|cajon|cabasa|triangle|guiro|djembe|timbale|maraca"),
        ("Bass", r"bass(?!oon|clar)|synth ?bass|sub\d*$|upright|double ?bass"),
        ("ElecGtr", r"elec\w*g|e-?gtr|lead ?gtr|rhythm ?gtr|gtr|guitar|slide"),
        ("AcGtr", r"ac\w*g|nylon|steel ?gtr|12 ?string"),
        ("Keys", r"piano|keys?|organ|rhodes|wurl|hammond|clav|epiano|harpsi|mellotron|accordion"),
        ("Synth", r"synth|pad|arp|lead ?synth|pluck|seq"),
        ("Strings", r"string|violin|viola|cello|fiddle|contrabass"),
        ("Brass", r"brass|trumpet|tpt|trombone|horn|tuba|sax|flugel"),
        ("Winds", r"flute|clarinet|oboe|bassoon|piccolo|whistle|winds?"),
    )
)  # fmt: skip

_NUMBER = re.compile(r"^\d+[\s_.\-]*")


@dataclass(frozen=True)
class _Mix:
    path: Path
    song: str
    full: bool

    @property
    def rank(self) -> tuple[bool, bool, str]:
        """Better mixes come first."""
        return not _UNMASTERED.search(self.path.stem), self.path.suffix.lower() in _LOSSY, self.path.name


def read(root: Path, options: ReadOptions) -> Iterator[DatasetSong | Skipped]:
    """Give all songs of a folder of unpacked archives.

    Parameters
    ----------
    root : Path
    options : ReadOptions
        `mixes` concerns it.
    """
    mixes = [_mix(p) for p in (audio_files(options.mixes, below=True) if options.mixes else audio_files(root))]
    folders = [f for f in subfolders(root) if options.mixes is None or not f.samefile(options.mixes)]
    titles = [_title(f.name) for f in folders]
    for folder in folders:
        try:
            song = _song(folder, mixes, titles=titles, full_beside=(root / f"{folder.name}{_FULL}").is_dir())
        except IncompleteSongError as error:
            yield Skipped(_song_name(folder.name), str(error))
        else:
            if song is not None:
                yield song
    for archive in sorted(root.glob("*.zip")):
        if not (root / archive.stem).is_dir():
            yield Skipped(_song_name(archive.stem), f"{archive.name} is not unpacked")


def _song(folder: Path, mixes: list[_Mix], *, titles: list[str], full_beside: bool) -> DatasetSong | None:
    """The song of a folder; None where there is no audio at all."""
    name = _song_name(folder.name)
    files = audio_files(folder, below=True)
    if not files:
        return None
    if full_beside:
        raise IncompleteSongError(f"an excerpt of {folder.name}{_FULL}, which is there as well")
    own, tracks = _parted(folder, files)
    title = _title(folder.name)
    full = folder.name.endswith(_FULL)
    keys = {_key(name)} | ({_key(title)} if titles.count(title) == 1 else set())
    beside = [m for m in mixes if m.song in keys and m.full == full] or [m for m in mixes if m.song in keys]
    found = own or beside
    if not found:
        raise IncompleteSongError("no mix; put it into the song's folder as 'mix.wav' or name its folder with --mixes")
    mix = min(found, key=lambda m: m.rank).path
    notes = ("the mix is of a compressed format",) if mix.suffix.lower() in _LOSSY else ()
    named, more = _with_groups(folder, tracks)
    return DatasetSong(name, folder.name, named, mix, notes=(*notes, *more))


def _parted(folder: Path, files: Iterable[Path]) -> tuple[list[_Mix], list[Path]]:
    """The song's own mixes and its tracks, from all audio files of its folder."""
    keys = {_key(_song_name(folder.name)), _key(_title(folder.name))}
    kept: list[_Mix] = []
    apart: list[_Mix] = []
    tracks: list[Path] = []
    for path in files:
        mix = _mix(path)
        if path.parent == folder / _MIXES_FOLDER:
            apart.append(mix)
        elif _is_own_mix(path, folder) or (mix.song in keys and not _NUMBER.match(path.stem)):
            kept.append(mix)
        else:
            tracks.append(path)
    below = [path for path in tracks if folder / _TRACKS_FOLDER in path.parents]
    return kept or [m for m in apart if m.full] or apart, below or tracks


def _is_own_mix(path: Path, folder: Path) -> bool:
    return path.parent == folder and path.stem.casefold() == MIX_STEM


def _with_groups(folder: Path, files: list[Path]) -> tuple[tuple[Track, ...], tuple[str, ...]]:
    if not files:
        raise IncompleteSongError("no tracks")
    written = [folder / name for name in (GROUPS_FILE, CORRESPONDENCE_FILE) if (folder / name).is_file()]
    if not written:
        return tuple(Track(path, path.stem, family_of(path.stem)) for path in files), ()
    try:
        groups = read_groups(written[0])
    except GroupsError as error:
        raise IncompleteSongError(str(error)) from None
    owner = _owners(groups, files, file_name=written[0].name)
    if written[0].name == GROUPS_FILE:
        return tuple(Track(path, path.stem, owner.get(path, "")) for path in files), ()
    tracks = tuple(Track(path, path.stem, owner[path]) for path in files if path in owner)
    left = len(files) - len(tracks)
    return tracks, (f"{left} files that {CORRESPONDENCE_FILE} does not list are left out",) if left else ()


def _owners(groups: Mapping[str, Iterable[str]], files: list[Path], *, file_name: str) -> dict[Path, str]:
    owner: dict[Path, str] = {}
    for group, members in groups.items():
        for member in members:
            found = [p for p in files if p.name == member] or [p for p in files if p.stem == member]
            if len(found) != 1:
                raise IncompleteSongError(f"{file_name}: {member!r} is {'missing' if not found else 'there twice'}")
            owner[found[0]] = group
    return owner


def family_of(track_name: str) -> str:
    """The subgroup that a track of the library belongs to by its name; empty where its name tells nothing.

    Parameters
    ----------
    track_name : str
        Such as ``04_Tom1`` or ``20_BackingVox1``.
    """
    bare = _NUMBER.sub("", track_name).replace("_", " ").strip()
    return next((name for name, words in _FAMILIES if words.match(bare)), "")


def _mix(path: Path) -> _Mix:
    """What the name of a mix says: its song and whether it is of the full song."""
    name, words = path.stem, []
    while (match := _MIX_WORDS.search(name)) and match.start():
        words.append(match[1].casefold())
        name = name[: match.start()]
    return _Mix(path, _key(name), bool({"full", "unmastered"} & set(words)))


def _song_name(folder_name: str) -> str:
    return folder_name.removesuffix(_FULL)


def _title(folder_name: str) -> str:
    return _song_name(folder_name).partition("_")[2] or _song_name(folder_name)


def _key(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


LAYOUT = Layout(
    label="Mixing Secrets",
    expects="folders <Artist>_<Title>_Full with tracks such as 01_Kick.wav, and mixes beside or in them",
    options=frozenset({"mixes"}),
    read=read,
)
