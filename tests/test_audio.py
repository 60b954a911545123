"""Audio in: reading, resampling, alignment, and one message for each kind of bad input."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixbridge.bridge.audio import (
    Aligner,
    Multitrack,
    band_limit_hz,
    count_clipped,
    load_multitrack,
    probe,
    read_audio,
    resample,
    write_wav,
)
from mixbridge.bridge.errors import AudioContentError, AudioFileError, GroupsError, OutputError, ParameterError

from .conftest import SONG_RATE_HZ as RATE_HZ
from .conftest import SmallSong

SONGS = Path(__file__).resolve().parents[2] / "shared" / "songs"


def _load(song: SmallSong, **settings: object) -> Multitrack:
    return load_multitrack(song.stems_dir, song.mix_path, **settings)  # type: ignore[arg-type]


def _shifted(audio: np.ndarray, offset: int) -> np.ndarray:
    """Moved later by `offset` samples, the same length."""
    out = np.zeros_like(audio)
    if offset >= 0:
        out[:, offset:] = audio[:, : audio.shape[1] - offset]
    else:
        out[:, :offset] = audio[:, -offset:]
    return out


def _only(song: Multitrack, text: str) -> str:
    """The one warning, which must hold `text`."""
    assert len(song.warnings) == 1, song.warnings
    assert text in song.warnings[0]
    return song.warnings[0]


# -------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {"subtype": "PCM_24"}),
        ("a.wav", {"subtype": "DOUBLE"}),
        ("a.flac", {"subtype": "PCM_16"}),
        ("a.aiff", {"subtype": "PCM_16"}),
        ("a.ogg", {}),
        ("a.mp3", {}),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_formats_read_whole_and_in_part(tmp_path: Path, name: str, options: dict[str, str], channels: int) -> None:
    t = np.arange(RATE_HZ) / RATE_HZ
    audio = 0.4 * np.stack([np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 550 * t)])[:channels]
    soundfile.write(tmp_path / name, audio.T, RATE_HZ, **options)
    info = probe(tmp_path / name)
    assert (info.sample_rate_hz, info.channels) == (RATE_HZ, channels)
    found = read_audio(tmp_path / name)
    assert found.dtype == np.float32
    assert found.shape == (channels, info.frames)
    middle = slice(4000, 40000)
    # Lossy formats cannot be exact; all must be aligned.
    assert np.abs(found[:, middle] - audio[:, middle]).max() < (0.05 if name[2:] in ("ogg", "mp3") else 1e-4)
    part = read_audio(tmp_path / name, start_frame=12345, frames=1000)
    assert np.abs(part - found[:, 12345:13345]).max() < 1e-3


def test_part_outside_the_file(small_song: SmallSong) -> None:
    for start, frames in ((-1, 10), (0, 10**9), (10**9, None), (5, -1)):
        with pytest.raises(ParameterError, match=r"mix\.wav"):
            read_audio(small_song.mix_path, start_frame=start, frames=frames)


def test_written_wav_is_float_exact_and_repeatable(tmp_path: Path) -> None:
    audio = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32) * 3
    write_wav(tmp_path / "a.wav", audio, sample_rate_hz=48000)
    write_wav(tmp_path / "b.wav", audio, sample_rate_hz=48000)
    assert soundfile.info(tmp_path / "a.wav").subtype == "FLOAT"
    assert probe(tmp_path / "a.wav").sample_rate_hz == 48000
    assert np.array_equal(read_audio(tmp_path / "a.wav"), audio)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_wav(tmp_path / "file" / "c.wav", audio, sample_rate_hz=48000)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44100, 48000), (48000, 44100), (44100, 30000), (96000, 30000)])
def test_resampling_keeps_time_level_and_length(from_hz: int, to_hz: int) -> None:
    n = from_hz * 2 + 13
    tone = np.stack([np.sin(2 * np.pi * 1000 * np.arange(n) / from_hz), np.zeros(n)])
    found = resample(tone, from_hz=from_hz, to_hz=to_hz)
    assert found.shape == (2, round(n * to_hz / from_hz))
    expected = np.sin(2 * np.pi * 1000 * np.arange(found.shape[1]) / to_hz)
    assert np.abs(found[0, 2000:-2000] - expected[2000:-2000]).max() < 1e-5
    assert not found[1].any()


def test_resampling_of_next_to_nothing() -> None:
    assert resample(np.zeros((1, 0)), from_hz=44100, to_hz=30000).shape == (1, 0)
    assert resample(np.ones((2, 1)), from_hz=44100, to_hz=96000).shape == (2, 2)


# -------------------------------------------------------------------- a song


def test_a_clean_song(small_song: SmallSong) -> None:
    steps: list[tuple[str, float]] = []
    song = _load(small_song, progress=lambda text, share: steps.append((text, share)))
    assert song.warnings == ()
    assert (song.name, song.sample_rate_hz, song.start_frame, song.frames) == ("mix", RATE_HZ, 0, 4 * RATE_HZ)
    assert [s.id for s in song.stems] == ["bass", "keys", "kick"]
    assert song.groups == {"all": ("bass", "keys", "kick")}
    assert np.array_equal(song.mix_audio(), small_song.mix)
    for stem in song.stems:
        assert (stem.offset_samples, stem.polarity, stem.silent) == (0, 1, False)
        assert np.array_equal(song.stem_audio(stem), np.broadcast_to(small_song.stems[stem.name], (2, song.frames)))
    shares = [share for _, share in steps]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_part_of_a_song(small_song: SmallSong) -> None:
    song = _load(small_song, start_s=1.0, end_s=3.5)
    assert (song.start_frame, song.frames) == (RATE_HZ, round(2.5 * RATE_HZ))
    window = slice(RATE_HZ, round(3.5 * RATE_HZ))
    assert np.array_equal(song.mix_audio(), small_song.mix[:, window])
    assert np.array_equal(song.stem_audio(song.stems[2]), small_song.stems["kick"][:, window])


def test_end_as_long_as_the_song_to_the_printed_digit(small_song: SmallSong) -> None:
    assert _load(small_song, end_s=4.0).frames == 4 * RATE_HZ


def test_groups_file(small_song: SmallSong, tmp_path: Path) -> None:
    (tmp_path / "groups.yaml").write_text("low: [kick, bass.wav]")
    assert _load(small_song, groups_path=tmp_path / "groups.yaml").groups == {"low": ("kick", "bass")}
    (tmp_path / "groups.yaml").write_text("low: [kick, tuba]")
    with pytest.raises(GroupsError, match="tuba"):
        _load(small_song, groups_path=tmp_path / "groups.yaml")


def test_mono_mix(small_song: SmallSong) -> None:
    small_song.write_mix(small_song.mix[:1])
    song = _load(small_song)
    assert song.warnings == ()
    assert np.array_equal(song.mix_audio(), small_song.mix[[0, 0]])


def test_odd_names_survive(make_small_song: Callable[..., SmallSong]) -> None:
    gains = {"#kick": 0.5, "a\"b'c": 0.5, "音": 0.5, "two words": 0.5}
    song = _load(make_small_song(gains=gains))
    assert {s.name for s in song.stems} == {s.id for s in song.stems} == set(gains)


def test_kick_twice_in_two_formats(small_song: SmallSong) -> None:
    small_song.write_stem("kick.flac", small_song.stems["bass"][:, ::-1], subtype="PCM_16")
    song = _load(small_song)
    assert [(s.id, s.name) for s in song.stems[2:]] == [("kick", "kick"), ("kick-2", "kick")]


def test_every_rate_holds_the_same_signal(small_song: SmallSong) -> None:
    small_song.write_stem("bass.wav", _shifted(small_song.stems["bass"], -777))
    song = _load(small_song, start_s=0.5, end_s=3.5)
    stem = song.stems[0]
    assert stem.offset_samples == 777
    assert np.array_equal(
        song.stem_audio(stem, rate_hz=30000), resample(song.stem_audio(stem), from_hz=RATE_HZ, to_hz=30000)
    )
    assert song.stem_audio(stem, rate_hz=30000).shape == song.mix_audio(rate_hz=30000).shape == (2, 90000)


# -------------------------------------------------------------------- alignment


@pytest.mark.parametrize("offset", [3, -5, 960, -11025, 20000, -21500])
@pytest.mark.parametrize("polarity", [1, -1])
def test_shift_and_polarity_are_found(small_song: SmallSong, offset: int, polarity: int) -> None:
    small_song.write_stem("keys.wav", polarity * _shifted(small_song.stems["keys"], -offset))
    song = _load(small_song)
    keys = song.stems[1]
    assert (keys.offset_samples, keys.polarity) == (offset, polarity)
    assert [s.offset_samples for s in song.stems if s is not keys] == [0, 0]
    inside = slice(abs(offset), song.frames - abs(offset))
    assert np.array_equal(song.stem_audio(keys)[:, inside], small_song.stems["keys"][:, inside])


def test_corrections_are_reported(small_song: SmallSong) -> None:
    small_song.write_stem("kick.wav", -_shifted(small_song.stems["kick"], 882))
    moved, inverted = _load(small_song).warnings
    assert moved == "kick.wav: moved 882 samples (20.0 ms) earlier to line up with the mix"
    assert inverted.startswith("kick.wav: polarity inverted")


def test_one_sample_is_left_to_the_equalizer_if_it_may_be_its_phase() -> None:
    random = np.random.default_rng(3)
    dull = np.convolve(random.standard_normal(6 * RATE_HZ), np.hanning(9), "same")[None].astype(np.float32)
    mix = np.repeat(_shifted(dull, 2), 2, axis=0)
    sharp = random.standard_normal((2, 6 * RATE_HZ)).astype(np.float32)
    assert Aligner(mix, sample_rate_hz=RATE_HZ).locate(dull).offset_samples in (0, 2)
    assert Aligner(_shifted(sharp, 2), sample_rate_hz=RATE_HZ).locate(sharp).offset_samples == 2


def test_a_stem_that_is_not_in_the_mix_stays(small_song: SmallSong) -> None:
    other = 0.1 * np.random.default_rng(99).standard_normal((1, 4 * RATE_HZ))
    small_song.write_stem("other.wav", other)
    song = _load(small_song)
    assert song.warnings == ()
    assert all((s.offset_samples, s.polarity) == (0, 1) for s in song.stems)


def test_an_aligned_loop_is_not_moved_by_a_beat() -> None:
    beat = round(0.25 * RATE_HZ)
    random = np.random.default_rng(5)
    hit = random.standard_normal(beat) * np.exp(-np.arange(beat) / 800)
    loop = np.tile(hit, 24)[None].astype(np.float32)
    # Another instrument plays the same sample half a beat and a beat later, twice as loud.
    mix = np.repeat(0.5 * loop + _shifted(loop, beat // 2) + 0.2 * random.standard_normal(loop.shape), 2, axis=0)
    placement = Aligner(np.asarray(_shifted(mix, 0), dtype=np.float32), sample_rate_hz=RATE_HZ).locate(loop)
    plain = Aligner(np.repeat(loop, 2, axis=0), sample_rate_hz=RATE_HZ).locate(loop)
    assert (plain.offset_samples, plain.polarity) == (0, 1)
    # Here the louder copy wins or nothing moves, but never without a remark.
    assert placement.offset_samples == 0 or placement.repeats


def test_an_echo_louder_than_nothing_does_not_move_the_dry_sound(small_song: SmallSong) -> None:
    keys = small_song.stems["keys"]
    small_song.write_mix(small_song.mix + 0.5 * _shifted(keys, 9000) + 0.4 * _shifted(keys, 18000))
    assert _load(small_song).stems[1].offset_samples == 0


def test_alignment_within_a_part_reaches_beyond_it(small_song: SmallSong) -> None:
    small_song.write_stem("keys.wav", _shifted(small_song.stems["keys"], -5000))
    song = _load(small_song, start_s=1.0, end_s=3.0)
    assert song.stems[1].offset_samples == 5000
    assert np.array_equal(song.stem_audio(song.stems[1]), small_song.stems["keys"][:, RATE_HZ : 3 * RATE_HZ])


@pytest.mark.songs
@pytest.mark.parametrize("name", ["band8", "caesium", "lmms_mauiwowi", "lmms_reggae_try", "webband_etienne"])
def test_real_aligned_songs_stay_and_shifts_are_found(name: str) -> None:
    if not (SONGS / name).is_dir():
        pytest.skip("the songs folder is not beside the checkout")
    song = load_multitrack(SONGS / name / "stems", SONGS / name / "mix.flac")
    for stem in song.stems:
        assert abs(stem.offset_samples) <= 2, stem.id
        assert stem.polarity == 1, stem.id
    aligner = Aligner(song.mix_audio(), sample_rate_hz=song.sample_rate_hz)
    # The clearest stem of each song: the loop-like rest can only be found up to a beat.
    placed = [(aligner.locate(song.stem_audio(s)), s) for s in song.stems]
    clear = max(placed, key=lambda p: p[0].clarity)[1]
    audio = song.stem_audio(clear)
    for offset in (-960, 4001):
        found = aligner.locate(-_shifted(audio, -offset))
        assert abs(found.offset_samples - offset) <= 1
        assert found.polarity == -1


# -------------------------------------------------------------------- remarks


def test_silent_stem(small_song: SmallSong) -> None:
    small_song.write_stem("silent.wav", np.zeros((1, 1000)))
    song = _load(small_song)
    _only(song, "silent.wav: silent")
    assert [s.silent for s in song.stems] == [False, False, False, True]
    assert not song.stem_audio(song.stems[3]).any()


def test_stem_that_is_silent_in_the_part(small_song: SmallSong) -> None:
    kick = small_song.stems["kick"].copy()
    kick[:, RATE_HZ:] = 0
    small_song.write_stem("kick.wav", kick)
    assert not any(s.silent for s in _load(small_song).stems)
    _only(_load(small_song, start_s=2.0), "kick.wav: silent in the analysed part")


def test_duplicate_stems(small_song: SmallSong) -> None:
    bass = small_song.stems["bass"]
    small_song.write_stem("zz.wav", np.repeat(bass, 2, axis=0))
    warning = _only(_load(small_song), "the same samples")
    assert "zz.wav" in warning
    assert "bass.wav" in warning


def test_clipped_mix(small_song: SmallSong) -> None:
    clipped = np.clip(small_song.mix * 60, -1, 1)
    small_song.write_mix(clipped, subtype="PCM_16")
    count = count_clipped(clipped)
    assert count > 100
    _only(_load(small_song), f"mix.wav: clipped, {count} samples")


def test_counting_clipped_samples() -> None:
    audio = np.zeros((2, 100))
    audio[0, 10:13] = 1.0
    audio[1, 50:52] = -1.0
    audio[1, 97:] = -1.5
    assert count_clipped(audio) == 6


def test_other_sample_rate(small_song: SmallSong) -> None:
    kick = resample(small_song.stems["kick"], from_hz=RATE_HZ, to_hz=48000)
    small_song.write_stem("kick.wav", kick, rate_hz=48000)
    song = _load(small_song, start_s=0.777)
    _only(song, "kick.wav: 48000 Hz, resampled to the mix's 44100 Hz")
    expected = small_song.stems["kick"][:, song.start_frame :]
    found = song.stem_audio(song.stems[2])
    assert song.stems[2].offset_samples == 0
    difference = resample(found - expected, from_hz=RATE_HZ, to_hz=30000)[:, 500:-500]
    assert np.abs(difference).max() < 1e-3


def test_stem_longer_than_the_mix(small_song: SmallSong) -> None:
    longer = np.pad(small_song.stems["kick"], ((0, 0), (0, 2 * RATE_HZ)), constant_values=0.01)
    small_song.write_stem("kick.wav", longer)
    song = _load(small_song)
    _only(song, "mix.wav: shorter than 1 of 3 stems (kick.wav is 2.00 s longer); their tails are cut")
    assert song.stem_audio(song.stems[2]).shape == (2, 4 * RATE_HZ)


def test_all_stems_shorter_than_the_mix(make_small_song: Callable[..., SmallSong]) -> None:
    small_song = make_small_song(seconds=10.0)
    for name, audio in small_song.stems.items():
        small_song.write_stem(f"{name}.wav", audio[:, : 5 * RATE_HZ])
    song = _load(small_song)
    _only(song, "all stems end 5.00 s or more before the mix")
    assert not song.stem_audio(song.stems[0])[:, 5 * RATE_HZ :].any()


def test_mix_within_the_stems_folder(small_song: SmallSong) -> None:
    inside = small_song.stems_dir / "mix.wav"
    small_song.mix_path.rename(inside)
    song = load_multitrack(small_song.stems_dir, inside)
    _only(song, "mix.wav: this is the mix")
    assert [s.name for s in song.stems] == ["bass", "keys", "kick"]


def test_other_files_are_passed_over(small_song: SmallSong) -> None:
    for name in ("notes.txt", ".hidden.wav", "._kick.wav", "kick.wav.asd"):
        (small_song.stems_dir / name).write_text("x")
    (small_song.stems_dir / "folder.wav").mkdir()
    assert len(_load(small_song).stems) == 3
    (small_song.stems_dir / "bass.m4a").write_text("x")
    _only(_load(small_song), "bass.m4a: left out")


def test_band_limited_mix(small_song: SmallSong) -> None:
    half = resample(small_song.mix, from_hz=RATE_HZ, to_hz=22050)
    small_song.write_mix(resample(half, from_hz=22050, to_hz=RATE_HZ))
    warning = _only(_load(small_song), "mix.wav: holds nothing above about")
    assert 10.0 < float(warning.split("about ")[1].split(" kHz")[0]) < 11.2


def test_dull_mix_is_not_band_limited() -> None:
    noise = np.cumsum(np.random.default_rng(0).standard_normal((2, 10 * RATE_HZ)), axis=1)
    noise = np.diff(np.cumsum(noise - noise.mean(axis=1, keepdims=True), axis=1), axis=1)
    assert band_limit_hz((noise / np.abs(noise).max()).astype(np.float32), sample_rate_hz=RATE_HZ) is None


@pytest.mark.songs
def test_the_lossy_song_is_noticed() -> None:
    if not (SONGS / "caesium").is_dir():
        pytest.skip("the songs folder is not beside the checkout")
    audio = read_audio(SONGS / "caesium" / "mix.flac")
    assert band_limit_hz(audio, sample_rate_hz=48000) == pytest.approx(9500, abs=400)


def test_very_low_level(small_song: SmallSong) -> None:
    small_song.write_stem("kick.wav", small_song.stems["kick"] * 0.002)
    _only(_load(small_song), "kick.wav: very low level (peak -")
    small_song.write_stem("kick.wav", small_song.stems["kick"])
    small_song.write_mix(small_song.mix * 0.002)
    _only(_load(small_song), "mix.wav: very low level")


# -------------------------------------------------------------------- errors


def _refused(error: type[Exception], text: str, action: Callable[[], object]) -> None:
    with pytest.raises(error) as caught:
        action()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_folder(small_song: SmallSong, tmp_path: Path) -> None:
    _refused(
        AudioFileError, "nowhere: no such folder", lambda: load_multitrack(tmp_path / "nowhere", small_song.mix_path)
    )


def test_folder_is_a_file(small_song: SmallSong) -> None:
    mix = small_song.mix_path
    _refused(AudioFileError, "mix.wav: not a folder", lambda: load_multitrack(mix, mix))


def test_empty_folder(small_song: SmallSong, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _refused(AudioFileError, "empty: no audio files", lambda: load_multitrack(tmp_path / "empty", small_song.mix_path))


def test_no_such_mix(small_song: SmallSong) -> None:
    small_song.mix_path.unlink()
    _refused(AudioFileError, "mix.wav: no such file", lambda: _load(small_song))


def test_mix_is_a_folder(small_song: SmallSong) -> None:
    _refused(AudioFileError, "stems: not a file", lambda: load_multitrack(small_song.stems_dir, small_song.stems_dir))


def test_not_audio(small_song: SmallSong) -> None:
    (small_song.stems_dir / "fake.wav").write_text("this is a text")
    _refused(AudioFileError, "fake.wav: damaged or not an audio file", lambda: _load(small_song))


def test_zero_bytes(small_song: SmallSong) -> None:
    (small_song.stems_dir / "void.wav").write_bytes(b"")
    _refused(AudioFileError, "void.wav: the file is empty", lambda: _load(small_song))


def test_zero_length(small_song: SmallSong) -> None:
    small_song.write_stem("void.wav", np.zeros((2, 0)))
    _refused(AudioFileError, "void.wav: holds no audio", lambda: _load(small_song))


@pytest.mark.parametrize("name", ["torn.wav", "torn.aiff", "torn.flac", "torn.mp3"])
def test_breaks_off(small_song: SmallSong, name: str) -> None:
    path = small_song.stems_dir / name
    soundfile.write(path, small_song.stems["kick"].T, RATE_HZ)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    _refused(AudioFileError, f"{name}: damaged", lambda: _load(small_song))


def test_wav_of_unknown_length_from_a_pipe_is_read(small_song: SmallSong) -> None:
    path = small_song.stems_dir / "kick.wav"
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(data))
    assert _load(small_song).warnings == ()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may read everything")
def test_no_permission(small_song: SmallSong) -> None:
    (small_song.stems_dir / "kick.wav").chmod(0)
    _refused(AudioFileError, "kick.wav: no permission", lambda: _load(small_song))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number(small_song: SmallSong, value: float) -> None:
    broken = small_song.stems["kick"].copy()
    broken[0, RATE_HZ] = value
    small_song.write_stem("kick.wav", broken)
    _refused(
        AudioContentError, "kick.wav: 1 samples are NaN or infinite (the first at 1.000 s)", lambda: _load(small_song)
    )


def test_not_a_number_in_the_mix(small_song: SmallSong) -> None:
    small_song.mix[1, 5] = np.nan
    small_song.write_mix(small_song.mix)
    _refused(AudioContentError, "mix.wav: 1 samples are NaN", lambda: _load(small_song))


def test_surround(small_song: SmallSong) -> None:
    small_song.write_stem("room.wav", np.ones((3, 1000)))
    _refused(AudioContentError, "room.wav: has 3 channels", lambda: _load(small_song))
    (small_song.stems_dir / "room.wav").unlink()
    small_song.write_mix(np.ones((6, 1000)))
    _refused(AudioContentError, "mix.wav: has 6 channels", lambda: _load(small_song))


def test_silent_mix(small_song: SmallSong) -> None:
    small_song.write_mix(np.zeros((2, RATE_HZ)))
    _refused(AudioContentError, "mix.wav: the mix is silent", lambda: _load(small_song))


def test_all_stems_silent(small_song: SmallSong) -> None:
    for name in small_song.stems:
        small_song.write_stem(f"{name}.wav", np.zeros((1, RATE_HZ)))
    _refused(AudioContentError, "stems: all stems are silent", lambda: _load(small_song))


@pytest.mark.parametrize(
    ("start_s", "end_s", "text"),
    [
        (-1.0, None, "--start -1 s: outside mix.wav, which is 4.00 s long"),
        (5.0, None, "--start 5 s: outside"),
        (None, 4.5, "--end 4.5 s: outside"),
        (float("nan"), None, "--start nan s: outside"),
        (None, float("inf"), "--end inf s: outside"),
        (2.0, 1.0, "--start 2 s is not before --end 1 s"),
        (2.0, 2.0, "is not before"),
        (4.0, None, "is not before"),
        (None, 0.0, "is not before"),
    ],
)
def test_start_and_end(small_song: SmallSong, start_s: float | None, end_s: float | None, text: str) -> None:
    _refused(ParameterError, text, lambda: _load(small_song, start_s=start_s, end_s=end_s))
