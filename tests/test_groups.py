"""Groups: the file, its errors, and what is inferred from file names."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixbridge.bridge.errors import GroupsError
from mixbridge.bridge.groups import StemName, group_stems, infer_groups, name_stems, read_groups

FILES = ("kick.wav", "snare.wav", "bass.wav", "lead vox.flac", "808.wav")


def _write(folder: Path, text: str) -> Path:
    path = folder / "groups.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _grouped(folder: Path, text: str, files: tuple[str, ...] = FILES) -> dict[str, tuple[str, ...]]:
    path = _write(folder, text)
    written = read_groups(path)
    return group_stems(name_stems(files, written=written), written=written, origin=path)


def test_stems_by_name_and_file_name(tmp_path: Path) -> None:
    found = _grouped(tmp_path, "drums: [kick, snare.wav]\nvoices:\n  - lead vox\n")
    assert found == {"drums": ("kick", "snare"), "voices": ("lead vox",)}


def test_stems_by_id(tmp_path: Path) -> None:
    files = ("kick.flac", "kick.wav", "bass.wav")
    assert [n.id for n in name_stems(files)] == ["kick", "kick-2", "bass"]
    assert _grouped(tmp_path, "drums: [kick-2]", files) == {"drums": ("kick-2",)}
    assert _grouped(tmp_path, "drums: [kick.flac]", files) == {"drums": ("kick",)}


def test_numbers_and_words_of_yaml_are_names(tmp_path: Path) -> None:
    assert _grouped(tmp_path, "80: [808]\nyes: [bass]\n") == {"80": ("808",), "yes": ("bass",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected lines such as"),
        ("- kick\n- snare\n", "expected lines such as"),
        ("{}", "no groups"),
        ("drums: kick\n", "line 1: the group 'drums' needs a list"),
        ("drums: []\n", "needs a list"),
        ("drums: [kick]\ndrums: [snare]\n", "line 2: the group 'drums' is there twice"),
        ("drums: [[kick]]\n", "groups within groups"),
        ("drums: [kick, ]\nx: [~, '']\n", "not the name of a stem"),
        ("a/b: [kick]\n", "cannot name a group"),
        ("? [a]\n: [kick]\n", "cannot name a group"),
        ("master: [kick]\n", "name of the master"),
        ("drums: [kick\n", "not valid YAML"),
        ("drums: [kick, tuba]\n", "no stem is called 'tuba'"),
        ("drums: [kick, snar]\n", "did you mean 'snare'"),
        ("drums: [kick]\nlow: [bass, kick.wav]\n", "the stem 'kick.wav' is in 'drums' and in 'low'"),
        ("drums: [kick, kick]\n", "the stem 'kick' is twice"),
    ],
)
def test_errors_name_the_file_and_the_culprit(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(GroupsError) as caught:
        _grouped(tmp_path, text)
    assert message in str(caught.value)
    assert "groups.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ambiguous_name(tmp_path: Path) -> None:
    with pytest.raises(GroupsError, match=r"ambiguous; write kick\.flac or kick\.wav"):
        _grouped(tmp_path, "drums: [kick]", ("kick.flac", "kick.wav"))


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(GroupsError, match="cannot read the groups file"):
        read_groups(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"dr\xfcms: [kick]")
    with pytest.raises(GroupsError, match="not UTF-8"):
        read_groups(tmp_path / "latin.yaml")
    (tmp_path / "big.yaml").write_bytes(b"#" * 1_100_000)
    with pytest.raises(GroupsError, match="not a groups file"):
        read_groups(tmp_path / "big.yaml")
    (tmp_path / "deep.yaml").write_text("[" * 20000)
    with pytest.raises(GroupsError, match="not valid YAML"):
        read_groups(tmp_path / "deep.yaml")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("drums_kick", "drums_snare", "bass"), {"drums": (0, 1)}),
        (("05_drums_hats_a", "04_drums_main", "01_bass"), {"drums": (0, 1)}),
        (("Drums - Kick", "drums - snare", "Vox lead", "vox double"), {"Drums": (0, 1), "Vox": (2, 3)}),
        (("kick", "snare"), {"all": (0, 1)}),
        (("drums_kick", "bass_di"), {"all": (0, 1)}),
        (("drums_kick", "drums_snare"), {"drums": (0, 1)}),
        (("song_drums_kick", "song_drums_snare", "song_bass"), {"drums": (0, 1)}),
        (("only",), {"all": (0,)}),
        (("808_kick", "808_snare", "x"), {"808": (0, 1)}),
        (("drums", "drums_kick"), {"all": (0, 1)}),
        (("master_a", "master_b"), {"all": (0, 1)}),
        (("音_一", "音_二", "x"), {"音": (0, 1)}),
    ],
)
def test_inferred(names: tuple[str, ...], expected: dict[str, tuple[int, ...]]) -> None:
    assert infer_groups(names) == expected


def test_stems_without_a_shared_prefix_go_to_the_master() -> None:
    names = name_stems(("drums_kick.wav", "drums_snare.wav", "bass.wav"))
    assert group_stems(names) == {"drums": ("drums_kick", "drums_snare")}


def test_ids_are_unique_and_names_untouched() -> None:
    files = ("#kick.wav", "a\"b'c.wav", "音.wav", "master.wav", "drums.wav", "drums_a.wav", "drums_b.wav", "音.flac")
    named = name_stems(files)
    ids = [n.id for n in named]
    assert [n.name for n in named] == ["#kick", "a\"b'c", "音", "master", "drums", "drums_a", "drums_b", "音"]
    assert len(set(ids)) == len(ids)
    assert not {"master", "drums"} & set(ids)
    assert ids[:3] == ["#kick", "a\"b'c", "音"]


def test_ids_hold_no_slash() -> None:
    assert name_stems(("a\\b.wav", "a_b.wav")) == (
        StemName("a_b", "a\\b", "a\\b.wav"),
        StemName("a_b-2", "a_b", "a_b.wav"),
    )
