"""Audio files in: probing, reading, resampling, checks and alignment of stems to a mix; no processing of sound.

Audio arrays have the shape (channels, frames) and are float32; full scale is 1.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.io.wavfile
import scipy.signal
import soundfile
import soxr

from .choices import AUDIO_SUFFIXES
from .errors import AudioContentError, AudioFileError, ParameterError
from .files import whole_file
from .groups import StemName, group_stems, name_stems, read_groups
from .processors.equations import gain_to_db

Audio = npt.NDArray[np.float32]
Progress = Callable[[str, float], None]

#: Audio formats that libsndfile does not read: passing over them in silence would lose a stem.
UNSUPPORTED_SUFFIXES = frozenset((".m4a", ".mp4", ".aac", ".alac", ".wma", ".wv", ".ape", ".mka", ".webm"))

#: Formats in which libsndfile seeks to the exact sample.
EXACT_SEEK_FORMATS = frozenset(("WAV", "WAVEX", "W64", "RF64", "AIFF", "FLAC"))

MAX_CHANNELS = 2

#: A file whose peak stays below this (dBFS) is silent; dither of a 16-bit file is below it.
SILENT_PEAK_DB = -80.0
#: A file whose peak stays below this (dBFS) is worth a remark.
LOW_PEAK_DB = -50.0
#: Samples from here up count as full scale (16-bit full scale is 0.99997) ...
CLIP_LEVEL = 0.9999
#: ... and as clipped when at least so many follow each other.
CLIP_RUN = 3

#: A mix is band-limited when its spectrum falls by so much (dB) within 1 kHz and stays there ...
BAND_EDGE_DB = 40.0
#: ... below this frequency (Hz); the usual encoders at decent rates cut above it.
BAND_EDGE_MAX_HZ = 16500.0

#: Lengths that differ by less (s) are not worth a remark.
LENGTH_TOLERANCE_S = 0.05
#: Reverb tails last: the stems may end so much (s) before the mix without a remark.
TAIL_TOLERANCE_S = 4.0


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says."""

    path: Path
    sample_rate_hz: int
    channels: int
    frames: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate_hz


def probe(path: Path) -> AudioInfo:
    """Read the header of an audio file.

    Raises
    ------
    AudioFileError
        If the file is missing, unreadable or empty.
    AudioContentError
        If it has more than two channels.
    """
    if not path.exists():
        raise AudioFileError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise AudioFileError(f"{path}: not a file; name an audio file")
    if path.stat().st_size == 0:
        raise AudioFileError(f"{path}: the file is empty (0 bytes); export it again")
    try:
        header = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from None
    info = AudioInfo(path, int(header.samplerate), int(header.channels), int(header.frames))
    if header.format in ("WAV", "WAVEX", "AIFF") and _is_cut_short(path):
        raise AudioFileError(f"{path}: damaged, the file is shorter than its header says; copy or export it again")
    if info.frames <= 0:
        raise AudioFileError(f"{path}: holds no audio (length zero); export it again")
    if info.channels > MAX_CHANNELS:
        raise AudioContentError(f"{path}: has {info.channels} channels; export it as mono or stereo")
    return info


def _is_cut_short(path: Path) -> bool:
    """Whether a RIFF or FORM chunk claims more bytes than there are: libsndfile reads on without a word."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
        length = path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from None
    claimed = int.from_bytes(head[4:], "little" if head[:4] == b"RIFF" else "big") + len(head)
    # Programs that write to a pipe leave the largest size; a few missing bytes are padding.
    return head[:4] in (b"RIFF", b"FORM") and claimed < 0xFFFFFF00 and claimed > length + 1024


def _unreadable(path: Path, error: Exception) -> AudioFileError:
    if not os.access(path, os.R_OK):
        return AudioFileError(f"{path}: no permission to read the file; change its access rights")
    reason = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
    return AudioFileError(f"{path}: damaged or not an audio file ({reason}); export it again as WAV or FLAC")


def read_audio(path: Path, *, start_frame: int = 0, frames: int | None = None) -> Audio:
    """Read a part of an audio file.

    Parameters
    ----------
    path : Path
    start_frame : int
        First sample frame, 0 to the length of the file.
    frames : int, optional
        Number of sample frames; up to the end if not given.

    Returns
    -------
    array of float32, shape=(channels, frames)

    Raises
    ------
    AudioFileError
        If the file is missing, unreadable, empty or ends early.
    AudioContentError
        If it has more than two channels or holds NaN or infinite samples.
    ParameterError
        If the part lies outside the file.
    """
    info = probe(path)
    count = info.frames - start_frame if frames is None else frames
    if start_frame < 0 or count < 0 or start_frame + count > info.frames:
        raise ParameterError(
            f"{path}: frames {start_frame} to {start_frame + count} were asked for, the file has {info.frames}"
        )
    data = _decode(path, start_frame=start_frame, frames=count)
    if len(data) != count:
        end_s = (start_frame + len(data)) / info.sample_rate_hz
        raise AudioFileError(f"{path}: damaged, the audio breaks off at {end_s:.2f} s; copy or export it again")
    bad = ~np.isfinite(data).all(axis=1)
    if bad.any():
        at_s = (start_frame + int(bad.argmax())) / info.sample_rate_hz
        raise AudioContentError(
            f"{path}: {int(bad.sum())} samples are NaN or infinite (the first at {at_s:.3f} s); export it again"
        )
    return np.ascontiguousarray(data.T)


def _decode(path: Path, *, start_frame: int, frames: int) -> Audio:
    """Decode a part of a file, shape (frames, channels); shorter where the file breaks off."""
    try:
        with soundfile.SoundFile(str(path)) as file:
            # After a seek, libsndfile gives zeros or displaced samples of MP3 and OGG files, and
            # every read of soundfile ends in a seek. So these are decoded in one go from the start.
            lead = 0 if file.format in EXACT_SEEK_FORMATS else start_frame
            if lead != start_frame:
                file.seek(start_frame)
            data: Audio = file.read(lead + frames, dtype="float32", always_2d=True)[lead:]
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from None
    return data


def write_wav(path: Path, audio: npt.ArrayLike, *, sample_rate_hz: int, comment: str = "") -> None:
    """Write a 32-bit float WAV file, whole or not at all; the same audio gives the same bytes.

    Parameters
    ----------
    audio : array, shape=(channels, frames)
    comment : str
        Text that the file carries with it; empty for none.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    samples = np.ascontiguousarray(np.asarray(audio, dtype=np.float32).T)
    with whole_file(path) as temporary:
        # libsndfile stamps float files with the time of day (PEAK chunk); scipy does not.
        scipy.io.wavfile.write(str(temporary), sample_rate_hz, samples)
        if comment:
            _append_comment(temporary, comment)


def _append_comment(path: Path, comment: str) -> None:
    """Put a comment (chunk LIST of type INFO) behind the audio of a WAV file."""
    text = comment.encode("utf-8") + b"\0"
    text += b"\0" * (len(text) % 2)
    item = b"ICMT" + struct.pack("<I", len(text)) + text
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"LIST" + struct.pack("<I", 4 + len(item)) + b"INFO" + item)
        length = file.tell()
        file.seek(4)
        file.write(struct.pack("<I", length - 8))


def read_comment(path: Path) -> str:
    """The comment that an audio file carries with it; empty where it has none.

    Raises
    ------
    AudioFileError
        If the file cannot be read.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            return str(file.comment)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from None


def resampled_frames(frames: int, *, from_hz: int, to_hz: int) -> int:
    """Length after `resample`: the nearest whole number of sample frames."""
    return round(frames * to_hz / from_hz)


def resample(audio: npt.ArrayLike, *, from_hz: int, to_hz: int) -> Audio:
    """Change the sample rate, without delay (soxr, very high quality, linear phase).

    Parameters
    ----------
    audio : array, shape=(channels, frames)
    from_hz, to_hz : int

    Returns
    -------
    array of float32, shape=(channels, round(frames * to_hz / from_hz))
    """
    source = np.asarray(audio, dtype=np.float32)
    if from_hz == to_hz:
        return source
    wanted = resampled_frames(source.shape[1], from_hz=from_hz, to_hz=to_hz)
    if wanted == 0:
        return np.zeros((source.shape[0], 0), dtype=np.float32)
    result = soxr.resample(np.ascontiguousarray(source.T), from_hz, to_hz, quality="VHQ").T
    missing = wanted - result.shape[1]
    if missing > 0:
        result = np.pad(result, ((0, 0), (0, missing)))
    return np.ascontiguousarray(result[:, :wanted], dtype=np.float32)


def as_stereo(audio: Audio) -> Audio:
    """Mono duplicated to both channels; stereo as it is; shape (2, frames)."""
    return np.repeat(audio, 2, axis=0) if audio.shape[0] == 1 else audio


def _read_padded(info: AudioInfo, *, start_frame: int, frames: int) -> Audio:
    """Frames of a file at its own rate; zeros where the request lies outside the file."""
    first, last = max(start_frame, 0), min(start_frame + frames, info.frames)
    out = np.zeros((info.channels, frames), dtype=np.float32)
    if first < last:
        out[:, first - start_frame : last - start_frame] = read_audio(info.path, start_frame=first, frames=last - first)
    return out


def read_at_rate(info: AudioInfo, *, rate_hz: int, start_frame: int, frames: int) -> Audio:
    """A part of a file as if the whole file had been resampled to `rate_hz`; zeros outside the file.

    `start_frame` and `frames` count at `rate_hz`.
    """
    if rate_hz == info.sample_rate_hz:
        return _read_padded(info, start_frame=start_frame, frames=frames)
    common = math.gcd(rate_hz, info.sample_rate_hz)
    # Cutting where both rates have a sample keeps the phase of the resampled grid exact; the
    # margin of 50 ms or more is longer than the resampler's filter.
    step_out, step_in = rate_hz // common, info.sample_rate_hz // common
    margin = math.ceil(0.05 * common)
    first = start_frame // step_out - margin
    last = -(-(start_frame + frames) // step_out) + margin
    source = _read_padded(info, start_frame=first * step_in, frames=(last - first) * step_in)
    skip = start_frame - first * step_out
    return resample(source, from_hz=info.sample_rate_hz, to_hz=rate_hz)[:, skip : skip + frames]


@dataclass(frozen=True)
class StemSource:
    """One stem of a song and how it must be laid under the mix.

    Attributes
    ----------
    id : str
        Unique within the song; holds no slash and differs from "master" and all group names.
    name : str
        File name without its ending, untouched.
    info : AudioInfo
    offset_samples : int
        At the session rate; above 0 the stem must be moved later, below 0 earlier.
    polarity : int
        1, or -1 where the mix holds the stem inverted.
    silent : bool
        True if nothing is heard within the analysed part.
    """

    id: str
    name: str
    info: AudioInfo
    offset_samples: int
    polarity: int
    silent: bool


@dataclass(frozen=True)
class Multitrack:
    """A mix and its stems, checked and aligned; audio is read when it is asked for.

    Attributes
    ----------
    name : str
        Name of the song: the mix's file name without its ending.
    mix : AudioInfo
    sample_rate_hz : int
        The session rate: that of the mix.
    start_frame, frames : int
        The part of the mix that is analysed, at the session rate.
    stems : tuple of StemSource
        By file name.
    groups : dict of str to tuple of str
        Stem ids by group name; stems in no group go to the master.
    warnings : tuple of str
        One line each, for the user.
    """

    name: str
    mix: AudioInfo
    sample_rate_hz: int
    start_frame: int
    frames: int
    stems: tuple[StemSource, ...]
    groups: dict[str, tuple[str, ...]]
    warnings: tuple[str, ...]

    def mix_audio(self, *, rate_hz: int | None = None) -> Audio:
        """The analysed part of the mix.

        Parameters
        ----------
        rate_hz : int, optional
            Resample to this rate; the session rate if not given.

        Returns
        -------
        array of float32, shape=(2, n)
            Mono duplicated. ``n = round(frames * rate_hz / sample_rate_hz)``.
        """
        audio = _read_padded(self.mix, start_frame=self.start_frame, frames=self.frames)
        return resample(as_stereo(audio), from_hz=self.sample_rate_hz, to_hz=rate_hz or self.sample_rate_hz)

    def stem_audio(self, stem: StemSource, *, rate_hz: int | None = None) -> Audio:
        """A stem as it lies under the analysed part of the mix: aligned, polarity applied.

        Parameters
        ----------
        stem : StemSource
        rate_hz : int, optional
            Resample to this rate; the session rate if not given. The window is cut at the
            session rate first, so that every rate holds the same signal.

        Returns
        -------
        array of float32, shape=(2, n)
            Mono duplicated, zeros where the stem has no audio; n as in `mix_audio`.
        """
        start = self.start_frame - stem.offset_samples
        audio = read_at_rate(stem.info, rate_hz=self.sample_rate_hz, start_frame=start, frames=self.frames)
        if stem.polarity < 0:
            audio = -audio
        return as_stereo(resample(audio, from_hz=self.sample_rate_hz, to_hz=rate_hz or self.sample_rate_hz))


# -------------------------------------------------------------------- alignment


@dataclass(frozen=True)
class Placement:
    """Where a stem lies under the mix, as far as that is certain.

    Attributes
    ----------
    offset_samples : int
        Above 0: move the stem later.
    polarity : int
        1 or -1.
    clarity : float
        Height of the correlation peak over the scatter of all lags; below `Aligner.CLEAR` nothing is corrected.
    repeats : bool
        The offset is one of several that fit about equally well, as with a loop.
    """

    offset_samples: int
    polarity: int
    clarity: float
    repeats: bool


class Aligner:
    """Finds constant offset and polarity of stems by whitened cross-correlation with the mix.

    The generalised cross-correlation (Knapp, Carter, "The generalized correlation method for
    estimation of time delay", IEEE TASSP 24(4), 1976) with the SCOT weighting, from spectra smoothed
    over a sixth of an octave, so that the noise between partials is not blown up. It is exact:
    stem segments that fade into each other meet mix segments longer by the search range.

    Parameters
    ----------
    mix : array, shape=(2, n)
    sample_rate_hz : int

    Notes
    -----
    A wrong move does more harm than a missed one. So the peak must stand out, lag 0 wins when it
    is comparably strong, and offsets that the phase shift of an equalizer explains are left.
    """

    SEARCH_S = 0.5
    #: Peaks of unrelated signals reach 4 to 6.
    CLEAR = 10.0
    #: A stem stays where it is when the peak near lag 0 reaches this share of the highest.
    STAY_SHARE = 0.65
    #: Peaks this close to the highest are taken for equals, and the smallest move wins.
    EQUAL_SHARE = 0.97
    #: Another peak this high makes the song repeat itself within the search range.
    REPEAT_SHARE = 0.75
    #: Unless `CLEAR` is exceeded by this factor, a stem that repeats itself is not moved.
    REPEAT_CLEAR = 2.5
    #: Moves below this (samples) are left to the phase of equalizers, unless lag 0 holds next to nothing.
    SMALLEST_MOVE = 3
    SMALL_MOVE_SHARE = 0.3
    #: The inverted peak must exceed the upright one within 1 ms by this factor.
    FLIP_RATIO = 1.25
    #: Longer songs are judged by this much (s), which bounds time and memory.
    LONGEST_S = 600.0

    _FADE_S = 0.03

    def __init__(self, mix: Audio, *, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._reach = round(self.SEARCH_S * sample_rate_hz)
        self._fade = round(self._FADE_S * sample_rate_hz)
        self._margin = self._reach + self._fade
        self._size = 1 << math.ceil(math.log2(4 * sample_rate_hz))
        self._hop = self._size - 2 * self._margin - self._fade
        self._frames = min(mix.shape[1], round(self.LONGEST_S * sample_rate_hz))
        self._starts = range(-self._fade, self._frames, self._hop)
        window = _faded(self._size, self._fade)
        self._spectra = [
            scipy.fft.rfft(_slice(mix[:, : self._frames], start - self._margin, self._size) * window)
            for start in self._starts
        ]
        self._mix_power = self._smooth(sum((_power(x) for x in self._spectra), np.zeros(1)))

    def correlation(self, stem: Audio) -> npt.NDArray[np.float64]:
        """Whitened correlation at the lags -0.5 s to 0.5 s; about 1 where the mix is the shifted stem.

        Parameters
        ----------
        stem : array, shape=(1, n) or (2, n)
            n as in the mix. Mono is compared with both channels, stereo channel by channel.
        """
        length = self._hop + self._fade
        window = _faded(length, self._fade)
        cross = np.zeros(self._size // 2 + 1, dtype=np.complex128)
        power = np.zeros(self._size // 2 + 1)
        for start, mix in zip(self._starts, self._spectra, strict=True):
            segment = _slice(stem[:, : self._frames], start, length) * window
            if not segment.any():
                continue
            spectrum = scipy.fft.rfft(segment, n=self._size)
            cross += (np.conj(spectrum) * mix).sum(axis=0)
            power += _power(spectrum) * (2 / stem.shape[0])
        weight = self._weight(self._smooth(power))
        total = int(np.count_nonzero(weight))
        # Each segment begins `margin` after its mix segment, so lag 0 is found at that index.
        lags = scipy.fft.irfft(cross * weight, n=self._size) * (self._size / 2 / max(total, 1))
        return np.asarray(lags[self._fade : self._fade + 2 * self._reach + 1])

    def _weight(self, power: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        frequency_hz = np.fft.rfftfreq(self._size, 1 / self._rate_hz)
        used = (frequency_hz > 40) & (frequency_hz < 0.45 * self._rate_hz)
        used &= (power > 1e-7 * power.max(initial=0)) & (self._mix_power > 1e-9 * self._mix_power.max(initial=0))
        return np.where(used, 1 / np.sqrt(np.where(used, power * self._mix_power, 1.0)), 0.0)

    def _smooth(self, power: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        index = np.arange(len(power))
        half = np.maximum((0.06 * index).astype(int), round(15 * self._size / self._rate_hz))
        running = np.concatenate([[0.0], np.cumsum(power)])
        low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(power))
        return np.asarray((running[high] - running[low]) / (high - low), dtype=np.float64)

    def locate(self, stem: Audio) -> Placement:
        """Decide on the offset and polarity of a stem, shape (1 or 2, n)."""
        lags = self.correlation(stem)
        height = np.abs(lags)
        scatter = 1.4826 * float(np.median(height))
        clarity = float(height.max()) / scatter if scatter > 0 else 0.0
        if clarity < self.CLEAR:
            return Placement(0, 1, clarity, False)
        chosen, repeats = self._choose(height, clarity=clarity)
        return Placement(chosen - self._reach, self._polarity(lags, chosen), clarity, repeats)

    def _choose(self, height: npt.NDArray[np.float64], *, clarity: float) -> tuple[int, bool]:
        """Index of the lag to correct, and whether others fit as well."""
        zero, top = self._reach, float(height.max())
        near = slice(zero - self.SMALLEST_MOVE + 1, zero + self.SMALLEST_MOVE)
        best = int(height.argmax())
        if near.start <= best < near.stop:
            return (best if height[zero] < self.SMALL_MOVE_SHARE * top else zero), False
        if height[near].max() >= self.STAY_SHARE * top:
            return zero, False
        blur = round(0.005 * self._rate_hz)
        elsewhere = height.copy()
        elsewhere[max(best - blur, 0) : best + blur + 1] = 0
        repeats = bool(elsewhere.max() >= self.REPEAT_SHARE * top)
        if repeats and clarity < self.REPEAT_CLEAR * self.CLEAR:
            return zero, True
        equals = np.flatnonzero((elsewhere >= self.EQUAL_SHARE * top) | (height == top))
        smallest = int(equals[np.abs(equals - zero).argmin()])
        around = height[max(smallest - blur, 0) : smallest + blur + 1]
        return max(smallest - blur, 0) + int(around.argmax()), repeats

    def _polarity(self, lags: npt.NDArray[np.float64], chosen: int) -> int:
        reach = max(round(0.001 * self._rate_hz), 1)
        around = lags[max(chosen - reach, 0) : chosen + reach + 1]
        return -1 if -float(around.min()) > self.FLIP_RATIO * max(float(around.max()), 0.0) else 1


def _faded(length: int, fade: int) -> Audio:
    """Ones with linear fades at both ends; shifted by ``length - fade`` and added they make one."""
    window = np.ones(length, dtype=np.float32)
    ramp = (np.arange(fade, dtype=np.float32) + 0.5) / fade
    window[:fade] = ramp
    window[length - fade :] = ramp[::-1]
    return window


def _slice(audio: Audio, start: int, length: int) -> Audio:
    """Frames ``start`` to ``start + length``; zeros outside the array."""
    first, last = max(start, 0), min(start + length, audio.shape[1])
    if last <= first:
        return np.zeros((audio.shape[0], length), dtype=np.float32)
    return np.pad(audio[:, first:last], ((0, 0), (first - start, start + length - last)))


def _power(spectrum: npt.NDArray[np.complexfloating]) -> npt.NDArray[np.float64]:
    return np.asarray((spectrum.real.astype(np.float64) ** 2 + spectrum.imag.astype(np.float64) ** 2).sum(axis=0))


# -------------------------------------------------------------------- checks


def sample_peak_db(audio: npt.NDArray[np.floating]) -> float:
    """Highest sample (dBFS) of audio of any shape; minus infinity where it is silent."""
    return gain_to_db(float(np.abs(audio).max(initial=0.0)))


def count_clipped(audio: npt.NDArray[np.floating]) -> int:
    """Samples within runs of three or more at full scale; `audio` has the shape (channels, frames)."""
    full = np.abs(audio) >= CLIP_LEVEL
    count = 0
    for row in full:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
        runs = edges[1::2] - edges[::2]
        count += int(runs[runs >= CLIP_RUN].sum())
    return count


def band_limit_hz(audio: Audio, *, sample_rate_hz: int) -> float | None:
    """Frequency above which a mix holds nothing, if its spectrum ends in a cliff.

    Parameters
    ----------
    audio : array, shape=(channels, frames)

    Returns
    -------
    float or None
        In Hz; None when the spectrum reaches `BAND_EDGE_MAX_HZ` or fades out gently.
    """
    if audio.shape[1] < 8192:
        return None
    frequency_hz, power = scipy.signal.welch(audio, sample_rate_hz, nperseg=4096)
    level_db = 10 * np.log10(power.mean(axis=0) + 1e-30)
    top_hz = min(BAND_EDGE_MAX_HZ, sample_rate_hz / 2 - 1500)
    for edge_hz in np.arange(2000.0, top_hz, 250.0):
        below_db = level_db[(frequency_hz > edge_hz - 1500) & (frequency_hz < edge_hz - 500)].mean()
        above_db = level_db[(frequency_hz > edge_hz + 500) & (frequency_hz < 0.49 * sample_rate_hz)].max()
        if below_db - above_db >= BAND_EDGE_DB:
            return float(frequency_hz[level_db > below_db - BAND_EDGE_DB].max())
    return None


def _mix_warnings(info: AudioInfo, audio: Audio) -> list[str]:
    """Check the analysed part of the mix, shape (2, n)."""
    name = info.path.name
    peak_db = sample_peak_db(audio)
    if peak_db < SILENT_PEAK_DB:
        raise AudioContentError(
            f"{info.path}: the mix is silent in the analysed part; choose another --start and --end"
        )
    warnings = []
    clipped = count_clipped(audio[: info.channels])
    if clipped:
        warnings.append(f"{name}: clipped, {clipped} samples lie at full scale; distortion of this kind is not matched")
    if peak_db < LOW_PEAK_DB:
        warnings.append(f"{name}: very low level (peak {peak_db:.1f} dBFS); check that this is the right file")
    edge_hz = band_limit_hz(audio, sample_rate_hz=info.sample_rate_hz)
    if edge_hz is not None:
        warnings.append(
            f"{name}: holds nothing above about {edge_hz / 1000:.1f} kHz (lossy or resampled source); "
            "take a better master if there is one, and judge the match below that frequency"
        )
    return warnings


# -------------------------------------------------------------------- loading


def list_stems(folder: Path, *, mix_path: Path) -> tuple[list[Path], list[str]]:
    """Audio files of the stems folder without the mix, by name, and remarks.

    Raises
    ------
    AudioFileError
        If there is no such folder, it cannot be listed or holds no audio.
    """
    if not folder.exists():
        raise AudioFileError(f"{folder}: no such folder; name the folder that holds the stems")
    if not folder.is_dir():
        raise AudioFileError(f"{folder}: not a folder; name the folder that holds the stems")
    try:
        entries = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    except OSError as error:
        raise AudioFileError(f"{folder}: cannot list the folder ({error.strerror}); change its access rights") from None
    paths, warnings = [], []
    for path in entries:
        suffix = path.suffix.lower()
        if suffix in UNSUPPORTED_SUFFIXES:
            warnings.append(f"{path.name}: left out, this format cannot be read; convert it to WAV or FLAC")
        if suffix not in AUDIO_SUFFIXES:
            continue
        if mix_path.exists() and path.samefile(mix_path):
            warnings.append(f"{path.name}: this is the mix, so it is not used as a stem")
            continue
        paths.append(path)
    if not paths:
        raise AudioFileError(f"{folder}: no audio files here; put the stems there as WAV, FLAC, AIFF, OGG or MP3")
    return paths, warnings


def _window(mix: AudioInfo, *, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    """First frame and number of frames of the analysed part."""
    for name, value in (("--start", start_s), ("--end", end_s)):
        # Half a frame of grace: the length as printed may be rounded up.
        if value is not None and not 0 <= value <= mix.duration_s + 0.5 / mix.sample_rate_hz:
            raise ParameterError(f"{name} {value:g} s: outside {mix.path.name}, which is {mix.duration_s:.2f} s long")
    start = 0 if start_s is None else round(start_s * mix.sample_rate_hz)
    end = mix.frames if end_s is None else min(round(end_s * mix.sample_rate_hz), mix.frames)
    if start >= end:
        raise ParameterError(
            f"--start {start / mix.sample_rate_hz:g} s is not before --end {end / mix.sample_rate_hz:g} s; "
            f"choose a part of {mix.path.name}"
        )
    return start, end - start


def _length_warnings(mix: AudioInfo, infos: Sequence[AudioInfo]) -> list[str]:
    longer = [i for i in infos if i.duration_s > mix.duration_s + LENGTH_TOLERANCE_S]
    if longer:
        longest = max(longer, key=lambda i: i.duration_s)
        return [
            f"{mix.path.name}: shorter than {len(longer)} of {len(infos)} stems ({longest.path.name} is "
            f"{longest.duration_s - mix.duration_s:.2f} s longer); their tails are cut"
        ]
    longest = max(infos, key=lambda i: i.duration_s)
    if longest.duration_s < mix.duration_s - TAIL_TOLERANCE_S:
        return [
            f"{mix.path.name}: all stems end {mix.duration_s - longest.duration_s:.2f} s or more before the mix; "
            "check that no stem is missing, or choose an earlier --end"
        ]
    return []


class _Examiner:
    """Reads the stems one at a time, checks them and lays them under the mix."""

    def __init__(self, mix: AudioInfo, *, start_frame: int, frames: int) -> None:
        self._mix, self._start, self._frames = mix, start_frame, frames
        audio = as_stereo(_read_padded(mix, start_frame=start_frame, frames=frames))
        self.warnings = _mix_warnings(mix, audio)
        self._aligner = Aligner(audio, sample_rate_hz=mix.sample_rate_hz)
        self._seen: dict[bytes, str] = {}

    def examine(self, name: StemName, info: AudioInfo) -> StemSource:
        """Check one stem, note what is to be noted and place it."""
        rate_hz, file_name = self._mix.sample_rate_hz, info.path.name
        if info.sample_rate_hz != rate_hz:
            self.warnings.append(f"{file_name}: {info.sample_rate_hz} Hz, resampled to the mix's {rate_hz} Hz")
        # What alignment may move into the analysed part counts as heard.
        margin = round(Aligner.SEARCH_S * rate_hz)
        wide = read_at_rate(info, rate_hz=rate_hz, start_frame=self._start - margin, frames=self._frames + 2 * margin)
        peak_db = sample_peak_db(wide)
        silent = peak_db < SILENT_PEAK_DB
        placement = Placement(0, 1, 0.0, False)
        if silent:
            self.warnings.append(
                f"{file_name}: silent in the analysed part; it is kept, but nothing can be found for it"
            )
        else:
            if peak_db < LOW_PEAK_DB:
                self.warnings.append(f"{file_name}: very low level (peak {peak_db:.1f} dBFS); check its export")
            self._note_duplicate(file_name, wide)
            placement = self._aligner.locate(wide[:, margin : margin + self._frames])
            self._note_placement(file_name, placement)
        return StemSource(name.id, name.name, info, placement.offset_samples, placement.polarity, silent)

    def _note_duplicate(self, file_name: str, audio: Audio) -> None:
        digest = hashlib.blake2b(np.ascontiguousarray(as_stereo(audio)).tobytes(), digest_size=16).digest()
        if digest in self._seen:
            self.warnings.append(
                f"{file_name}: the same samples as {self._seen[digest]}; remove one of them unless the mix holds both"
            )
        self._seen.setdefault(digest, file_name)

    def _note_placement(self, file_name: str, placement: Placement) -> None:
        offset, time_ms = placement.offset_samples, 1000 * abs(placement.offset_samples) / self._mix.sample_rate_hz
        if offset:
            way = "later" if offset > 0 else "earlier"
            doubt = "; it repeats itself, so check by ear that it was not moved by a beat" if placement.repeats else ""
            self.warnings.append(
                f"{file_name}: moved {abs(offset)} samples ({time_ms:.1f} ms) {way} to line up with the mix{doubt}"
            )
        elif placement.repeats:
            self.warnings.append(f"{file_name}: may not line up with the mix, but it repeats itself; left where it is")
        if placement.polarity < 0:
            self.warnings.append(f"{file_name}: polarity inverted, because the mix holds it upside down")


def load_multitrack(
    stems_dir: Path,
    mix_path: Path,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    groups_path: Path | None = None,
    progress: Progress | None = None,
) -> Multitrack:
    """Read a folder of stems and their mix, check everything and line the stems up.

    Parameters
    ----------
    stems_dir : Path
        Folder; its audio files are the stems. Other files and hidden ones are passed over.
    mix_path : Path
    start_s, end_s : float, optional
        The part of the mix to analyse, in seconds of the mix.
    groups_path : Path, optional
        A groups.yaml (see `groups`); otherwise groups come from file-name prefixes.
    progress : callable, optional
        Called with a line of text and the share done, 0 to 1.

    Returns
    -------
    Multitrack

    Raises
    ------
    AudioFileError
        If a folder or file is missing, unreadable or empty.
    AudioContentError
        On NaN or infinite samples, more than two channels, or if the mix or all stems are silent.
    ParameterError
        If start and end do not mark a part of the mix.
    GroupsError
        If the groups file is malformed or names unknown stems.
    """
    report = progress or (lambda _text, _share: None)
    paths, warnings = list_stems(stems_dir, mix_path=mix_path)
    mix = probe(mix_path)
    start_frame, frames = _window(mix, start_s=start_s, end_s=end_s)
    written = None if groups_path is None else read_groups(groups_path)
    names = name_stems([p.name for p in paths], written=written)
    groups = group_stems(names, written=written, origin=groups_path)
    infos = [probe(path) for path in paths]
    warnings += _length_warnings(mix, infos)
    report(mix_path.name, 0.0)
    examiner = _Examiner(mix, start_frame=start_frame, frames=frames)
    stems = []
    for index, (name, info) in enumerate(zip(names, infos, strict=True)):
        report(info.path.name, (index + 1) / (len(infos) + 1))
        stems.append(examiner.examine(name, info))
    report("stems read", 1.0)
    if all(stem.silent for stem in stems):
        raise AudioContentError(f"{stems_dir}: all stems are silent in the analysed part; check --start and --end")
    return Multitrack(
        name=mix_path.stem,
        mix=mix,
        sample_rate_hz=mix.sample_rate_hz,
        start_frame=start_frame,
        frames=frames,
        stems=tuple(stems),
        groups=groups,
        warnings=(*warnings, *examiner.warnings),
    )
