"""Published datasets become manifests: every layout is read to songs with the right tracks, groups and mix."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from mixbridge.bridge.audio import load_multitrack, read_audio
from mixbridge.bridge.batch.manifest import Song, read_manifest, songs_in, write_manifest
from mixbridge.bridge.choices import DatasetKind, TrackSource
from mixbridge.bridge.datasets import song_folder as song_folders
from mixbridge.bridge.datasets.layout import ReadOptions
from mixbridge.bridge.datasets.make_manifest import Made, Selection, find_songs, make_manifest
from mixbridge.bridge.datasets.mixing_secrets import family_of
from mixbridge.bridge.errors import DatasetError, OutputError, ParameterError
from mixbridge.cli import app

from .datasets import medleydb_song, mixing_secrets_song, moisesdb_song, musdb_song, write_sound

BAND: list[tuple[str | list[str], list[str | list[str]]]] = [
    ("drum set", ["kick drum", "snare drum", "drum set"]),
    ("electric bass", ["electric bass"]),
    (["male singer", "vocalists"], [["male singer"], "fx/processed sound"]),
    ("drum set", ["shaker", "shaker"]),
]


def loaded(song: Song) -> tuple[list[str], dict[str, list[str]]]:
    """Names of stems and groups as an analysis sees them, groups by names of stems."""
    found = load_multitrack(song.stems, song.mix, groups_path=song.groups)
    name = {stem.id: stem.name for stem in found.stems}
    return list(name.values()), {group: [name[i] for i in ids] for group, ids in found.groups.items()}


def reasons(made: Made) -> dict[str, str]:
    return {skipped.name: skipped.reason for skipped in made.skipped}


# ------------------------------------------------------------------ MedleyDB


def test_medleydb_recordings_are_the_stems_and_its_stems_the_groups(tmp_path: Path) -> None:
    folder = medleydb_song(tmp_path / "Audio", "Ava_Water", BAND, has_bleed="yes")
    made = make_manifest(DatasetKind.medleydb, tmp_path, tmp_path / "out")
    (song,) = read_manifest(tmp_path / "out" / "manifest.jsonl")
    stems, groups = loaded(song)
    assert stems == [
        "01_kick drum", "02_snare drum", "03_drum set", "04_electric bass", "05_male singer", "06_fx_processed sound",
        "07_shaker", "08_shaker",
    ]  # fmt: skip
    assert groups == {"drum set": stems[:3], "male singer, vocalists": stems[4:6], "drum set 2": stems[6:]}
    assert made.songs[0].song.notes == ("recordings with bleed",)
    assert np.array_equal(read_audio(song.mix), read_audio(folder / "Ava_Water_MIX.wav"))
    assert np.array_equal(
        read_audio(song.stems / "04_electric bass.wav"), read_audio(folder / "Ava_Water_RAW/Ava_Water_RAW_02_01.wav")
    )


def test_medleydb_stems_can_be_the_stems(tmp_path: Path) -> None:
    medleydb_song(tmp_path, "Ava_Water", BAND)
    make_manifest(DatasetKind.medleydb, tmp_path, tmp_path / "out", options=ReadOptions(tracks=TrackSource.stems))
    (song,) = read_manifest(tmp_path / "out" / "manifest.jsonl")
    stems, groups = loaded(song)
    assert stems == ["01_drum set", "02_electric bass", "03_male singer, vocalists", "04_drum set 2"]
    assert groups == {"all": stems}


def test_medleydb_metadata_may_lie_apart_and_incomplete_songs_are_named(tmp_path: Path) -> None:
    root, apart = tmp_path / "medley", tmp_path / "apart"
    medleydb_song(root / "V1", "A_One", BAND, metadata=apart)
    medleydb_song(root / "V2", "B_Two", [("piano", [])], metadata=apart)
    for name in ("C_Raw", "D_Mix", "E_Yaml", "F_Path", "G_Cut"):
        medleydb_song(root / "V2", name, [("piano", ["piano"])], metadata=apart)
    (root / "V2/C_Raw/C_Raw_RAW/C_Raw_RAW_01_01.wav").unlink()
    (root / "V2/D_Mix/D_Mix_MIX.wav").unlink()
    (apart / "E_Yaml_METADATA.yaml").write_text("stems: [")
    (apart / "F_Path_METADATA.yaml").write_text("stems: {S01: {filename: ../../x.wav, instrument: piano}}")
    os.truncate(root / "V2/G_Cut/G_Cut_RAW/G_Cut_RAW_01_01.wav", 100)
    (root / "V2" / "notes").mkdir()
    found = find_songs(DatasetKind.medleydb, root, options=ReadOptions(metadata=apart))
    assert [(one.name, one.song.split) for one in found.songs] == [("A_One", "V1"), ("B_Two", "V2")]
    assert [track.path.name for track in found.songs[1].song.tracks] == ["B_Two_STEM_01.wav"]
    told = reasons(found)
    assert told["C_Raw"] == "C_Raw_RAW_01_01.wav is missing" and told["D_Mix"] == "D_Mix_MIX.wav is missing"
    assert "not valid YAML" in told["E_Yaml"] and "no file name" in told["F_Path"] and "damaged" in told["G_Cut"]
    assert len(told) == 5
    # Without the metadata none of them can be used.
    assert not find_songs(DatasetKind.medleydb, root).songs


# ------------------------------------------------------------------ MUSDB18-HQ


def test_musdb_splits_sources_and_mixture(tmp_path: Path) -> None:
    musdb_song(tmp_path, "A - One")
    musdb_song(tmp_path, "B - Two", split="test")
    musdb_song(tmp_path, "C - Three", split="test")
    (tmp_path / "test/C - Three/bass.wav").unlink()
    made = make_manifest(DatasetKind.musdb, tmp_path, tmp_path / "out", selection=Selection(split="TEST"))
    (song,) = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert song.name == "B - Two" and reasons(made) == {"C - Three": "bass.wav is missing"}
    stems, groups = loaded(song)
    assert stems == ["bass", "drums", "other", "vocals"] and groups == {"all": stems}
    everything = find_songs(DatasetKind.musdb, tmp_path)
    assert [(one.name, one.song.split) for one in everything.songs] == [("A - One", "train"), ("B - Two", "test")]
    assert [o.song.split for o in find_songs(DatasetKind.musdb, tmp_path / "test").songs] == ["test"]
    with pytest.raises(DatasetError, match="no split 'valid'; there are test, train"):
        find_songs(DatasetKind.musdb, tmp_path, selection=Selection(split="valid"))


# ------------------------------------------------------------------ MoisesDB


def test_moisesdb_mixes_are_summed(tmp_path: Path) -> None:
    stems = [
        ("drums", [{"trackType": "kick_drum"}, {"trackType": "snare_drum", "channels": 1}]),
        ("bass", [{"trackType": "bass_guitar", "seconds": 0.6, "has_bleed": True}]),
        ("drums", [{"trackType": "cymbals", "rate_hz": 48000}]),
    ]
    folder = moisesdb_song(tmp_path, "0f1e2d3c-aaaa", artist="Ann/Bo", song="Song?", stems=stems)
    made = make_manifest(DatasetKind.moisesdb, tmp_path, tmp_path / "out")
    (song,) = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert song.name == "Ann_Bo - Song_" and made.songs[0].song.notes == ("bleed in 1 of 4 tracks",)
    found, groups = loaded(song)
    assert found == ["01_kick_drum", "02_snare_drum", "03_cymbals", "04_bass_guitar"]
    assert groups == {"drums": found[:3]}
    info = soundfile.info(song.mix)
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (44100, 2, "FLOAT", round(0.6 * 44100))
    # The one at another rate is resampled; without it the sum is exact.
    tracks = [read_audio(p) for p in sorted((folder / "drums").iterdir())[:2]] + [
        read_audio(next((folder / "bass").iterdir()))
    ]
    expected = np.zeros((2, info.frames))
    for audio in tracks:
        expected[:, : audio.shape[1]] += audio
    song_folders.sum_tracks(
        [*sorted((folder / "drums").iterdir())[:2], next((folder / "bass").iterdir())], tmp_path / "sum.wav"
    )
    assert np.abs(read_audio(tmp_path / "sum.wav") - expected).max() < 1e-6
    rest = read_audio(song.mix) - expected
    assert 0.05 < rest[:, :17000].std() < 0.15 and np.abs(rest[:, 18000:]).max() < 1e-4


def test_long_mixes_are_summed_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_sound(tmp_path / f"{n}.wav", seed=n, rate_hz=rate) for n, rate in enumerate((44100, 44100, 48000))]
    song_folders.sum_tracks(paths, tmp_path / "whole.wav")
    monkeypatch.setattr(song_folders, "_BLOCK_S", 0.07)
    song_folders.sum_tracks(paths, tmp_path / "blocks.wav")
    assert np.abs(read_audio(tmp_path / "whole.wav") - read_audio(tmp_path / "blocks.wav")).max() < 1e-5


def test_moisesdb_songs_of_one_name_stay_apart_and_broken_ones_are_named(tmp_path: Path) -> None:
    piano = [("piano", [{"trackType": "grand_piano"}])]
    for uuid in ("aaaaaaaa-1", "bbbbbbbb-1", "cccccccc-1", "dddddddd-1", "eeeeeeee-1"):
        name = "Same" if uuid < "c" else uuid[0]
        moisesdb_song(tmp_path, uuid, artist="Ann", song=name, stems=piano)
    place = tmp_path / "moisesdb_v0.1"
    (place / "cccccccc-1" / "data.json").write_text("{")
    (place / "dddddddd-1" / "piano" / "dddddddd-1-1.wav").unlink()
    (place / "eeeeeeee-1" / "data.json").write_text('{"song": "e", "stems": [{"stemName": "..", "tracks": []}]}')
    found = find_songs(DatasetKind.moisesdb, tmp_path)
    assert [one.name for one in found.songs] == ["Ann - Same (aaaaaaaa)", "Ann - Same (bbbbbbbb)"]
    told = reasons(found)
    assert told["cccccccc-1"] == "data.json is not valid JSON" and "is missing" in told["Ann - d"]
    assert told["e"] == "no tracks"


# ------------------------------------------------------------------ Mixing Secrets

KIT = ["KickIn", "Snare", "Overheads", "Bass", "ElecGtr1", "ElecGtr2", "LeadVox", "BackingVox1", "BackingVox2", "FX"]


def test_mixing_secrets_groups_come_from_names(tmp_path: Path) -> None:
    mixing_secrets_song(tmp_path, "TheBand_TheSong_Full", KIT, inner="TheBand_TheSong_Full")
    (tmp_path / "__MACOSX").mkdir()
    write_sound(tmp_path / "TheSong_Full_Preview.mp3", seed=50)
    write_sound(tmp_path / "TheSong_UnmasteredWAV.wav", seed=51)
    make_manifest(DatasetKind.mixing_secrets, tmp_path, tmp_path / "out")
    (song,) = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert song.name == "TheBand_TheSong"
    stems, groups = loaded(song)
    assert stems == [f"{n:02}_{name}" for n, name in enumerate(KIT, start=1)]
    assert groups == {"Drums": stems[:3], "ElecGtr": stems[4:6], "BackingVox": stems[7:9]}
    assert np.array_equal(read_audio(song.mix), read_audio(tmp_path / "TheSong_UnmasteredWAV.wav"))


def test_mixing_secrets_mixes_are_found_where_people_keep_them(tmp_path: Path) -> None:
    root, mixes = tmp_path / "songs", tmp_path / "mixes"
    inside = mixing_secrets_song(root, "A_Inside_Full", KIT[:2])
    write_sound(inside / "mix.flac", seed=60)
    apart = mixing_secrets_song(root, "B_Apart_Full", KIT[:2], inner="tracks")
    write_sound(apart / "mixes" / "B_Apart_Excerpt_Preview.mp3", seed=61)
    write_sound(apart / "mixes" / "B_Apart_Full_Preview.mp3", seed=62)
    mixing_secrets_song(root, "C_Beside_Full", KIT[:2])
    write_sound(mixes / "deep" / "Beside_Full_Preview.mp3", seed=63)
    mixing_secrets_song(root, "D_Two_Full", KIT[:2])
    mixing_secrets_song(root, "E_Two_Full", KIT[:2])
    write_sound(mixes / "Two_Full_Preview.mp3", seed=64)
    mixing_secrets_song(root, "A_Inside", KIT[:2])
    (root / "F_Packed_Full.zip").write_bytes(b"PK")
    found = find_songs(DatasetKind.mixing_secrets, root, options=ReadOptions(mixes=mixes))
    assert {one.name: one.song.mix and one.song.mix.name for one in found.songs} == {
        "A_Inside": "mix.flac", "B_Apart": "B_Apart_Full_Preview.mp3", "C_Beside": "Beside_Full_Preview.mp3",
    }  # fmt: skip
    told = [(s.name, s.reason) for s in found.skipped]
    assert [name for name, _ in told] == ["A_Inside", "D_Two", "E_Two", "F_Packed"]
    assert "an excerpt of A_Inside_Full" in told[0][1] and "no mix" in told[1][1] and "not unpacked" in told[3][1]
    assert len(found.songs[1].song.tracks) == 2


def test_mixing_secrets_takes_groups_of_the_pruning_paper(tmp_path: Path) -> None:
    folder = mixing_secrets_song(tmp_path, "A_Song", ["Kick", "Snare", "Spare", "Vox"])
    write_sound(folder / "mix.wav", seed=70)
    (folder / "correspondence.yaml").write_text("Drum: [01_Kick.wav, 02_Snare.wav]\nLead: [04_Vox.wav]\n")
    made = make_manifest(DatasetKind.mixing_secrets, tmp_path, tmp_path / "out")
    (song,) = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert loaded(song) == (["01_Kick", "02_Snare", "04_Vox"], {"Drum": ["01_Kick", "02_Snare"]})
    assert "1 files" in made.songs[0].song.notes[0]
    (folder / "groups.yaml").write_text("Beat: [01_Kick, 03_Spare]\n")
    make_manifest(DatasetKind.mixing_secrets, tmp_path, tmp_path / "out")
    stems, groups = loaded(song)
    assert len(stems) == 4 and groups == {"Beat": ["01_Kick", "03_Spare"]}
    (folder / "groups.yaml").write_text("Beat: [Nobody]\n")
    assert "'Nobody' is missing" in reasons(find_songs(DatasetKind.mixing_secrets, tmp_path))["A_Song"]


def test_a_mix_of_an_excerpt_is_not_taken_for_the_song(tmp_path: Path) -> None:
    folder = mixing_secrets_song(tmp_path, "A_Song_Full", ["Kick", "Snare"])
    write_sound(folder / "mix.wav", seed=70, seconds=0.1)
    assert "mix.wav lasts" in reasons(find_songs(DatasetKind.mixing_secrets, tmp_path))["A_Song"]


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("01_KickTrigger", "Drums"), ("07_Loop", "Drums"), ("08_DrumsReverb", "Drums"), ("05_HiHat", "Drums"),
        ("06_Tambourine", "Percussion"), ("10_BassDI", "Bass"), ("03_BassDrum", "Drums"), ("17_ElecGtr6", "ElecGtr"),
        ("12_AcousticGtr", "AcGtr"), ("18_LeadVox", "LeadVox"), ("19_LeadVoxDT", "LeadVox"),
        ("20_BackingVox1", "BackingVox"),
        ("21_Piano", "Keys"), ("22_Synth2", "Synth"), ("23_Cello", "Strings"), ("24_Trumpet", "Brass"), ("25_SFX", ""),
    ],
)  # fmt: skip
def test_families_are_read_from_track_names(name: str, family: str) -> None:
    assert family_of(name) == family


# ------------------------------------------------------------------ what all have in common


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in sorted(folder.rglob("*")) if not p.is_dir()}


def test_a_second_run_changes_nothing_and_takes_new_songs_in(tmp_path: Path) -> None:
    piano = [("piano", [{"trackType": "grand_piano"}, {"trackType": "grand_piano"}])]
    moisesdb_song(tmp_path, "bbbbbbbb", artist="B", song="B", stems=piano)
    out = tmp_path / "out"
    make_manifest(DatasetKind.moisesdb, tmp_path, out)
    before = snapshot(out / "songs")
    moisesdb_song(tmp_path, "aaaaaaaa", artist="A", song="A", stems=piano)
    make_manifest(DatasetKind.moisesdb, tmp_path, out)
    after = snapshot(out / "songs")
    assert before == {path: after[path] for path in before} and len(after) == 2 * len(before)
    assert [song.name for song in read_manifest(out / "manifest.jsonl")] == ["A - A", "B - B"]
    # The folders are also what a batch without a manifest takes.
    assert [song.name for song in songs_in(out / "songs")] == ["A - A", "B - B"]


def test_what_changed_in_the_dataset_is_brought_up_to_date(tmp_path: Path) -> None:
    folder = moisesdb_song(
        tmp_path, "bbbbbbbb", artist="B", song="B", stems=[("x", [{"trackType": "a"}, {"trackType": "b"}])]
    )
    out = tmp_path / "out"
    make_manifest(DatasetKind.moisesdb, tmp_path, out)
    (song,) = read_manifest(out / "manifest.jsonl")
    before = read_audio(song.mix)
    data = json.loads((folder / "data.json").read_text())
    data["stems"][0]["tracks"].pop()
    (folder / "data.json").write_text(json.dumps(data))
    make_manifest(DatasetKind.moisesdb, tmp_path, out)
    assert [p.name for p in song.stems.iterdir()] == ["01_a.wav"]
    assert not np.allclose(before, read_audio(song.mix))
    write_sound(folder / "x" / "bbbbbbbb-1.wav", seed=8, seconds=0.3)
    make_manifest(DatasetKind.moisesdb, tmp_path, out)
    assert np.allclose(read_audio(song.mix), read_audio(song.stems / "01_a.wav"))


def test_what_was_added_by_hand_stays(tmp_path: Path) -> None:
    musdb_song(tmp_path, "A - One")
    out = tmp_path / "out"
    make_manifest(DatasetKind.musdb, tmp_path, out)
    path = out / "manifest.jsonl"
    (song,) = read_manifest(path)
    other = Song(name="mine", stems=tmp_path / "mine" / "stems", mix=tmp_path / "mine" / "mix.wav")
    gone = song.model_copy(update={"name": "gone", "stems": out / "songs" / "gone" / "stems"})
    write_manifest(path, [song.model_copy(update={"start_s": 0.1, "end_s": 0.3}), other, gone])
    make_manifest(DatasetKind.musdb, tmp_path, out)
    found = read_manifest(path)
    assert [(s.name, s.start_s, s.end_s) for s in found] == [("A - One", 0.1, 0.3), ("mine", None, None)]


def test_where_links_are_not_allowed_files_are_linked_hard_or_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no privilege")

    source = musdb_song(tmp_path, "A - One") / "bass.wav"
    monkeypatch.setattr(Path, "symlink_to", refused)
    make_manifest(DatasetKind.musdb, tmp_path, tmp_path / "hard")
    bass = tmp_path / "hard/songs/A - One/stems/bass.wav"
    assert not bass.is_symlink() and bass.samefile(source)
    monkeypatch.setattr(os, "link", refused)
    make_manifest(DatasetKind.musdb, tmp_path, tmp_path / "copy")
    bass = tmp_path / "copy/songs/A - One/stems/bass.wav"
    assert not bass.samefile(source) and bass.read_bytes() == source.read_bytes()
    before = snapshot(tmp_path / "copy/songs")
    make_manifest(DatasetKind.musdb, tmp_path, tmp_path / "copy")
    assert snapshot(tmp_path / "copy/songs") == before


@pytest.mark.parametrize("file", ["stems/mine.wav", "stems/bass.wav", "mix.wav", "groups.yaml"])
def test_files_of_others_are_never_removed(tmp_path: Path, file: str) -> None:
    musdb_song(tmp_path, "A - One")
    mine = tmp_path / "out/songs/A - One" / file
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"x")
    with pytest.raises(OutputError, match="is not ours"):
        make_manifest(DatasetKind.musdb, tmp_path, tmp_path / "out")
    assert mine.read_bytes() == b"x"


def test_a_run_that_was_stopped_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    piano = [("piano", [{"trackType": "grand_piano"}])]
    moisesdb_song(tmp_path, "aaaaaaaa", artist="A", song="A", stems=piano)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(song_folders, "groups_text", stop)
        make_manifest(DatasetKind.moisesdb, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
    make_manifest(DatasetKind.moisesdb, tmp_path, tmp_path / "out")
    (song,) = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert loaded(song) == (["01_grand_piano"], {"all": ["01_grand_piano"]})


def test_what_was_made_inside_the_dataset_is_no_song_of_it(tmp_path: Path) -> None:
    folder = mixing_secrets_song(tmp_path, "A_Song", ["Kick", "Snare"])
    write_sound(folder / "mix.wav", seed=70)
    make_manifest(DatasetKind.mixing_secrets, tmp_path, tmp_path / "out")
    again = find_songs(DatasetKind.mixing_secrets, tmp_path)
    assert [one.name for one in again.songs] == ["A_Song"] and not again.skipped


@pytest.mark.parametrize("kind", list(DatasetKind))
def test_what_is_no_dataset_is_refused(tmp_path: Path, kind: DatasetKind) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        find_songs(kind, tmp_path / "nowhere")
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(DatasetError, match="not a folder"):
        find_songs(kind, tmp_path / "readme.txt")
    with pytest.raises(DatasetError, match=r"no song of .* here; expected"):
        find_songs(kind, tmp_path)


def test_options_of_other_datasets_are_refused(tmp_path: Path) -> None:
    musdb_song(tmp_path, "A - One")
    with pytest.raises(ParameterError, match="--mixes does not concern MUSDB18-HQ"):
        find_songs(DatasetKind.musdb, tmp_path, options=ReadOptions(mixes=tmp_path))
    with pytest.raises(DatasetError, match="none of 1 songs is called X"):
        find_songs(DatasetKind.musdb, tmp_path, selection=Selection(only=("X",)))


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_command_lists_writes_and_tells_what_it_skipped(tmp_path: Path) -> None:
    for name in ("A - One", "B - Two", "C - Three"):
        musdb_song(tmp_path, name)
    (tmp_path / "train/B - Two/bass.wav").write_bytes(b"")
    code, out, err = run("manifest", "musdb18-hq", tmp_path, "--dry-run", "--only", "a*", "--only", "b*")
    assert code == 0 and out.startswith("A - One\ttrain\t4\t0") and "B - Two" not in out
    assert "B - Two: skipped" in err and "0 bytes" in err
    code, out, err = run("manifest", "musdb18-hq", tmp_path, "--out", tmp_path / "out", "--json", "--strict")
    told = json.loads(out)
    assert code == 1 and [s["name"] for s in told["skipped"]] == ["B - Two"]
    assert [s["name"] for s in told["songs"]] == ["A - One", "C - Three"]
    assert Path(told["manifest"]) == tmp_path / "out" / "manifest.jsonl"
    code, out, _ = run("manifest", "musdb18-hq", tmp_path, "--dry-run", "--limit", 1)
    assert code == 0 and out.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--out", "readme.txt"), (), ("--out", "o", "--only", "B*")])
def test_the_command_refuses_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    musdb_song(tmp_path, "A - One")
    musdb_song(tmp_path, "B - Two")
    (tmp_path / "train/B - Two/bass.wav").unlink()
    monkeypatch.chdir(tmp_path)
    Path("readme.txt").write_text("x")
    code, out, err = run("manifest", "musdb18-hq", ".", *arguments)
    assert code == 2 and not out and err.count("\n") == 1 and err.startswith("mixbridge: ")
    assert not Path("o").exists()
