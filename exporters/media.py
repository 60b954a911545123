"""The audio files of an export: copied, converted or linked, and where they lie; no session text here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import soundfile

from ..bridge.audio import AudioInfo, probe, read_audio, resample, resampled_frames, write_wav
from ..bridge.errors import AudioFileError, ExportError
from .names import safe_name, unused_name
from .session import Media, Session, Track

#: Plain WAV data that every DAW reads.
_PLAIN_WAV = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")


@dataclass(frozen=True)
class PlacedMedia:
    """One track's file and how the session refers to it.

    Attributes
    ----------
    source : Path
        The stem.
    info : AudioInfo
    reference : str
        Path in the session file, with forward slashes, relative to the export's folder (of a
        linked file on another drive: absolute).
    linked : bool
        True if the stem itself is referred to, False if a copy goes to ``reference``.
    frames : int
        Length at the session's rate.
    """

    source: Path
    info: AudioInfo
    reference: str
    linked: bool
    frames: int


def place_media(
    session: Session, *, stems_dir: Path, folder: Path, subfolder: str, can_link: Callable[[AudioInfo], bool]
) -> dict[str, PlacedMedia]:
    """Decide for every track, and the reference, where its audio will be; reads headers, writes nothing.

    Parameters
    ----------
    folder : Path
        Where the export will be.
    subfolder : str
        Where the copies lie in it.
    can_link : callable
        Whether to refer to a stem where it is instead of copying it.

    Returns
    -------
    dict
        By track id.

    Raises
    ------
    AudioFileError, AudioContentError
        If a stem is missing or unreadable.
    ExportError
        If a stem lies outside the stems folder.
    """
    sources = {track.strip.id: _stem_path(stems_dir, track) for track in session.tracks()}
    if session.reference is not None:
        sources[session.reference.strip.id] = Path(session.reference.media.file)
    placed: dict[str, PlacedMedia] = {}
    taken: set[str] = set()
    for track_id, source in sources.items():
        info = probe(source)
        frames = resampled_frames(info.frames, from_hz=info.sample_rate_hz, to_hz=session.sample_rate_hz)
        if can_link(info):
            placed[track_id] = PlacedMedia(source, info, _link_to(source, folder), True, frames)
        else:
            reference = f"{subfolder}/{unused_name(safe_name(source.stem, fallback='stem'), taken)}.wav"
            placed[track_id] = PlacedMedia(source, info, reference, False, frames)
    return placed


def _stem_path(stems_dir: Path, track: Track) -> Path:
    file = track.media.file
    if Path(file).is_absolute() or ".." in PurePosixPath(file.replace("\\", "/")).parts:
        raise ExportError(f"{file}: a stem must lie inside the stems folder; correct the graph's 'file'")
    return stems_dir / file


def _link_to(source: Path, folder: Path) -> str:
    target = source.resolve()
    try:
        return Path(os.path.relpath(target, folder.resolve())).as_posix()
    except ValueError:
        return target.as_posix()


def session_frames(session: Session, placed: Mapping[str, PlacedMedia]) -> int:
    """Length of the session at its rate: what the graph says, else up to the end of the last stem."""
    ends = (t.media.offset_samples + placed[t.strip.id].frames for t in session.tracks())
    return max(session.frames or max(ends, default=0), 0)


def part_heard(media: Media, placed: PlacedMedia, *, frames: int) -> tuple[int, int, int]:
    """The part of a track's file that lies within a session of `frames`, in samples at the session's rate.

    Returns
    -------
    position, skipped, length : int
        Where it begins in the session and in the file, and how long it is; a length of 0 or less means that
        nothing of it is heard.
    """
    position, skipped = max(media.offset_samples, 0), max(-media.offset_samples, 0)
    return position, skipped, min(placed.frames - skipped, frames - position)


def write_media(placed: Iterable[PlacedMedia], *, folder: Path, sample_rate_hz: int) -> None:
    """Write the copies into the export's folder: plain WAV files at the session's rate as they are, others converted.

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
