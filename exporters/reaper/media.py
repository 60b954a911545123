"""The audio files of an exported project: copied, converted or linked, and where they lie; no project text here."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import soundfile

from ...bridge.audio import AudioInfo, probe, read_audio, resample, resampled_frames, write_wav
from ...bridge.errors import AudioFileError, ExportError
from ..session import Session, Track
from .rpp import has_all_quotes, one_line

MEDIA_FOLDER = "Media"

#: How a project names the kind of a file that REAPER reads itself, by file name ending.
SOURCE_KINDS = {
    ".wav": "WAVE", ".wave": "WAVE", ".aif": "WAVE", ".aiff": "WAVE", ".aifc": "WAVE",
    ".flac": "FLAC", ".ogg": "VORBIS", ".oga": "VORBIS", ".mp3": "MP3",
}  # fmt: skip

#: Plain WAV data that every DAW reads.
_PLAIN_WAV = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_FORBIDDEN = '<>:"/\\|?*'
_LONGEST_NAME = 120


@dataclass(frozen=True)
class PlacedMedia:
    """One track's file and how the project refers to it.

    Attributes
    ----------
    source : Path
        The stem.
    info : AudioInfo
    reference : str
        Path in the project file, with forward slashes.
    kind : str
        REAPER's name of the file type.
    linked : bool
        True if the stem itself is referred to, False if a copy goes to ``reference``.
    frames : int
        Length at the session's rate.
    """

    source: Path
    info: AudioInfo
    reference: str
    kind: str
    linked: bool
    frames: int


def safe_name(name: str, *, fallback: str) -> str:
    """A file name without its ending that every system accepts, as close to `name` as possible."""
    text = unicodedata.normalize("NFC", one_line(name))
    text = "".join("_" if c in _FORBIDDEN or "\ud800" <= c <= "\udfff" else c for c in text)[:_LONGEST_NAME]
    # File systems count bytes: 255 at most, less what endings and temporary names need.
    text = text.encode("utf-8")[: 2 * _LONGEST_NAME - 20].decode("utf-8", "ignore").strip().rstrip(". ")
    if text.startswith("."):
        text = "_" + text[1:]
    if text.split(".")[0].lower() in _RESERVED:
        text = "_" + text
    return text or fallback


def place_media(session: Session, *, stems_dir: Path, folder: Path, link: bool) -> dict[str, PlacedMedia]:
    """Decide for every track where its audio will be; reads headers, writes nothing.

    Parameters
    ----------
    folder : Path
        Where the project will be.
    link : bool
        Refer to the stems where they are, if REAPER reads them.

    Returns
    -------
    dict
        By track id.

    Raises
    ------
    AudioFileError, AudioContentError
        If a stem is missing or unreadable.
    ExportError
        If a stem's path cannot be written into a project.
    """
    placed: dict[str, PlacedMedia] = {}
    taken: set[str] = set()
    for track in session.tracks():
        source = _stem_path(stems_dir, track)
        info = probe(source)
        frames = resampled_frames(info.frames, from_hz=info.sample_rate_hz, to_hz=session.sample_rate_hz)
        kind = SOURCE_KINDS.get(source.suffix.lower())
        if link and kind is not None:
            placed[track.strip.id] = PlacedMedia(source, info, _link_to(source, folder), kind, True, frames)
        else:
            name = _unused(safe_name(source.stem, fallback="stem"), taken)
            reference = f"{MEDIA_FOLDER}/{name}.wav"
            placed[track.strip.id] = PlacedMedia(source, info, reference, SOURCE_KINDS[".wav"], False, frames)
    return placed


def _stem_path(stems_dir: Path, track: Track) -> Path:
    file = track.media.file
    if Path(file).is_absolute() or ".." in PurePosixPath(file.replace("\\", "/")).parts:
        raise ExportError(f"{file}: a stem must lie inside the stems folder; correct the graph's 'file'")
    return stems_dir / file


def _unused(name: str, taken: set[str]) -> str:
    # Some file systems do not tell upper from lower case.
    chosen, number = name, 2
    while chosen.casefold() in taken:
        chosen, number = f"{name}-{number}", number + 1
    taken.add(chosen.casefold())
    return chosen


def _link_to(source: Path, folder: Path) -> str:
    target = source.resolve()
    try:
        reference = Path(os.path.relpath(target, folder.resolve())).as_posix()
    except ValueError:
        reference = target.as_posix()
    if has_all_quotes(reference) or one_line(reference) != reference:
        raise ExportError(
            f"{source}: REAPER projects cannot refer to a path with this mix of quotes or control characters; "
            "rename it or export without --link"
        )
    return reference


def write_media(placed: Iterable[PlacedMedia], *, folder: Path, sample_rate_hz: int) -> None:
    """Write the copies into the project's folder: plain WAV files at the session's rate as they are, others converted.

    Raises
    ------
    AudioFileError, AudioContentError
        If a stem cannot be read.
    OutputError, OSError
        If a file cannot be written.
    """
    for media in placed:
        if media.linked:
            continue
        target = folder / media.reference
        target.parent.mkdir(parents=True, exist_ok=True)
        if _is_plain_wav(media.source) and media.info.sample_rate_hz == sample_rate_hz:
            shutil.copyfile(media.source, target)
        else:
            audio = read_audio(media.source)
            audio = resample(audio, from_hz=media.info.sample_rate_hz, to_hz=sample_rate_hz)
            write_wav(target, audio, sample_rate_hz=sample_rate_hz)
        times = media.source.stat()
        os.utime(target, ns=(times.st_mtime_ns, times.st_mtime_ns))


def _is_plain_wav(path: Path) -> bool:
    try:
        info = soundfile.info(str(path))
    except soundfile.SoundFileError as error:
        raise AudioFileError(f"{path}: cannot be read ({error}); export it again as WAV or FLAC") from None
    return info.format in ("WAV", "WAVEX") and info.subtype in _PLAIN_WAV
