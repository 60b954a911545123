"""Compresses the sounds of the page and measures their levels, block by block; players belong to the page."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ..errors import AudioContentError

Block = npt.NDArray[np.floating]

#: Sum of the players inside the page (bytes of base64): leaves room for the pictures
#: below 15 MB for a song of four minutes.
PLAYERS_BYTES = 13_500_000

#: Bit rates of MPEG-1 layer III (kbit/s) that are worth listening to.
BIT_RATES_KBPS = (192, 160, 128, 112, 96)
_HIGHEST_KBPS, _LOWEST_KBPS = 320, 32

#: Session rates that can be written as they are; others are resampled.
_MP3_RATES_HZ = (32000, 44100, 48000)

_BLOCK_FRAMES = 1 << 16


@dataclass(frozen=True)
class SoundLevels:
    """Peak and mean level of a stereo signal over both channels, linear, full scale 1."""

    peak: float
    rms: float


@dataclass(frozen=True)
class Sounds:
    """Target, match, difference and what else is played, compressed.

    Attributes
    ----------
    target, match, difference : bytes
        Audio files of the type `mime`.
    levels : dict of str to SoundLevels
        Of "target", "match", "difference" and the others before compression.
    scale : float
        Factor that was applied to all so that none clips; 1 where none would have.
    mime, codec : str
        Media type and a text such as "MP3, 128 kbit/s".
    others : dict of str to bytes
        Further files, by name.
    """

    target: bytes
    match: bytes
    difference: bytes
    levels: dict[str, SoundLevels]
    scale: float
    mime: str
    codec: str
    others: dict[str, bytes] = field(default_factory=dict)


def compress(
    target: npt.ArrayLike,
    match: npt.ArrayLike,
    *,
    sample_rate_hz: int,
    others: Mapping[str, npt.ArrayLike] | None = None,
) -> Sounds:
    """Compress target, match and ``target - match``, and others of the same shape, at one common level.

    Parameters
    ----------
    target, match : array of float, shape=(2, n), n >= 1
        Full scale is 1.
    sample_rate_hz : int > 0
    others : mapping of str to array, optional
        Names differ from "target", "match" and "difference".

    Raises
    ------
    AudioContentError
        If the shapes differ or are not (2, n >= 1), or a sample is not a finite number.
    """
    one, two = np.asarray(target), np.asarray(match)
    more = {name: np.asarray(audio) for name, audio in (others or {}).items()}
    for name, audio in (("target", one), ("match", two), *more.items()):
        if audio.ndim != 2 or audio.shape[0] != 2 or audio.shape[1] == 0 or audio.shape != one.shape:
            raise AudioContentError(
                f"report: the {name} has shape {audio.shape}; target and match must both be (2, frames) and not empty"
            )
    frames = one.shape[1]
    takes: dict[str, Callable[[slice], Block]] = {
        "target": lambda part: one[:, part],
        "match": lambda part: two[:, part],
        "difference": lambda part: one[:, part] - two[:, part],
        **{name: functools.partial(_part, audio) for name, audio in more.items()},
    }
    levels = {name: _levels(take, frames, name=name) for name, take in takes.items()}
    scale = min(1.0, 1.0 / max(max(level.peak for level in levels.values()), 1.0))
    codec = _Codec.for_song(frames / sample_rate_hz, players=len(takes))

    def encode(take: Callable[[slice], Block]) -> bytes:
        return codec.encode(take, frames=frames, sample_rate_hz=sample_rate_hz, scale=scale)

    # The encoder works outside the interpreter's lock, and is what writing a report takes longest for.
    with ThreadPoolExecutor(max_workers=len(takes)) as pool:
        files = dict(zip(takes, pool.map(encode, takes.values()), strict=True))
    rest = {name: files.pop(name) for name in more}
    return Sounds(**files, levels=levels, scale=scale, mime=codec.mime, codec=codec.text, others=rest)


def _part(audio: Block, part: slice) -> Block:
    return audio[:, part]


def _blocks(frames: int) -> Iterator[slice]:
    for start in range(0, frames, _BLOCK_FRAMES):
        yield slice(start, min(start + _BLOCK_FRAMES, frames))


def _levels(take: Callable[[slice], Block], frames: int, *, name: str) -> SoundLevels:
    peak, energy = 0.0, 0.0
    for part in _blocks(frames):
        block = take(part).astype(np.float64)
        if not np.isfinite(block).all():
            raise AudioContentError(f"report: the {name} holds samples that are not numbers; render it again")
        peak = max(peak, float(np.max(np.abs(block))))
        energy += float(np.sum(block * block))
    return SoundLevels(peak, math.sqrt(energy / (2 * frames)))


def bit_rate_kbps(duration_s: float, *, players: int = 3) -> int:
    """The highest rate at which players of this length stay within `PLAYERS_BYTES`, or the lowest there is."""
    fitting = [r for r in BIT_RATES_KBPS if players * r * 125 * duration_s * 4 / 3 <= PLAYERS_BYTES]
    return max(fitting, default=min(BIT_RATES_KBPS))


@dataclass(frozen=True)
class _Codec:
    format: str
    subtype: str
    mime: str
    text: str
    compression_level: float
    bit_rate_mode: str | None

    @classmethod
    def for_song(cls, duration_s: float, *, players: int = 3) -> _Codec:
        """MP3, which every browser plays; Ogg Vorbis where libsndfile was built without MP3."""
        if "MP3" in soundfile.available_formats():
            rate = bit_rate_kbps(duration_s, players=players)
            level = (_HIGHEST_KBPS - rate) / (_HIGHEST_KBPS - _LOWEST_KBPS)
            return cls("MP3", "MPEG_LAYER_III", "audio/mpeg", f"MP3, {rate} kbit/s", level, "CONSTANT")
        return cls("OGG", "VORBIS", "audio/ogg", "Ogg Vorbis", 0.6, None)

    def encode(self, take: Callable[[slice], Block], *, frames: int, sample_rate_hz: int, scale: float) -> bytes:
        rate = _playable_rate_hz(sample_rate_hz)
        stream = io.BytesIO()
        with soundfile.SoundFile(
            stream,
            "w",
            samplerate=rate,
            channels=2,
            format=self.format,
            subtype=self.subtype,
            compression_level=self.compression_level,
            bitrate_mode=self.bit_rate_mode,
        ) as file:
            resampler = None
            if rate != sample_rate_hz:
                resampler = soxr.ResampleStream(sample_rate_hz, rate, 2, dtype="float32")
            for part in _blocks(frames):
                block = np.ascontiguousarray(take(part).T, dtype=np.float32) * np.float32(scale)
                if resampler is not None:
                    block = resampler.resample_chunk(block, last=part.stop == frames)
                file.write(block)
        return stream.getvalue()


def _playable_rate_hz(sample_rate_hz: int) -> int:
    if sample_rate_hz in _MP3_RATES_HZ:
        return sample_rate_hz
    return 44100 if sample_rate_hz % 11025 == 0 else 48000
