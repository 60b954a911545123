"""Manifests and folders of songs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixbridge.bridge.batch.manifest import MAX_NAME_BYTES, Song, read_manifest, safe_name, songs_in, write_manifest
from mixbridge.bridge.errors import ManifestError

_LINE = {"name": "a", "stems": "a/stems", "mix": "a/mix.wav"}


def _written(folder: Path, *lines: object) -> Path:
    path = folder / "songs.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def test_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    more = {"groups": "/groups.yaml", "start_s": 1, "end_s": 2.5}
    path = _written(tmp_path, _LINE, "", {**_LINE, "name": "b", **more})
    first, second = read_manifest(path)
    assert first == Song(name="a", stems=tmp_path / "a/stems", mix=tmp_path / "a/mix.wav")
    assert (second.groups, second.start_s, second.end_s) == (Path("/groups.yaml"), 1.0, 2.5)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({**_LINE, "name": "A"}, "name 'A' is that of line 1"),
        ({**_LINE, "name": "b", "stem": "x"}, "unknown key 'stem'"),
        ({"name": "b", "mix": "x"}, "lacks 'stems'"),
        ({**_LINE, "name": "../b"}, "no name for a folder"),
        ({**_LINE, "name": ""}, "no name for a folder"),
        ({**_LINE, "name": "b", "start_s": 3, "end_s": 2}, "not after start_s"),
        ({**_LINE, "name": "b", "start_s": -1}, "start_s"),
        ('{"name": "b", "stems": "s", "mix": "m", "end_s": NaN}', "end_s"),
        ({**_LINE, "name": 5}, "name"),
        ("[1]", "not a JSON object"),
        ("{", "not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: object, words: str) -> None:
    with pytest.raises(ManifestError, match="line 2: ") as caught:
        read_manifest(_written(tmp_path, _LINE, line))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.obstacles[0].line == 2


def test_all_bad_lines_are_told(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="and 1 more") as caught:
        read_manifest(_written(tmp_path, "{", _LINE, {"name": "b"}))
    assert [o.line for o in caught.value.obstacles] == [1, 3]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00"])
def test_a_file_without_songs_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "songs.jsonl"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"songs\.jsonl"):
        read_manifest(path)
    with pytest.raises(ManifestError, match="cannot read"):
        read_manifest(tmp_path / "nowhere.jsonl")
    with pytest.raises(ManifestError, match="cannot read"):
        read_manifest(tmp_path)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=MAX_NAME_BYTES + 20))
@example("con." + MAX_NAME_BYTES * "a")
def test_safe_names_are_safe_and_stay(text: str) -> None:
    name = safe_name(text)
    assert safe_name(name) == name
    assert name and Path("x", name).parent == Path("x") and len(name.encode()) <= MAX_NAME_BYTES
    Song(name=name, stems=Path("s"), mix=Path("m"))


_paths = st.lists(st.sampled_from(["a", "b c", "ü", "mix.wav"]), min_size=1, max_size=3).map(lambda p: Path(*p))
_times = st.one_of(st.none(), st.floats(0.0, 100.0))


@settings(max_examples=30, deadline=None)
@given(
    songs=st.lists(
        st.builds(
            Song,
            name=st.text(min_size=1, max_size=20).map(safe_name),
            stems=_paths,
            mix=_paths,
            groups=st.one_of(st.none(), _paths),
            start_s=_times,
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda song: song.name.casefold(),
    ),
    inside=st.booleans(),
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, songs: list[Song], inside: bool
) -> None:
    folder = tmp_path_factory.mktemp("songs").resolve()
    full = tuple(song.below(folder) for song in songs)
    path = (folder if inside else folder / "lists") / "songs.jsonl"
    write_manifest(path, full)
    assert read_manifest(path) == full
    assert (str(folder) in path.read_text(encoding="utf-8")) != inside


def test_the_same_name_is_not_written_twice(tmp_path: Path) -> None:
    song = Song(name="a", stems=tmp_path, mix=tmp_path)
    with pytest.raises(ManifestError, match="line 2"):
        write_manifest(tmp_path / "songs.jsonl", [song, song])
    with pytest.raises(ManifestError, match="no song"):
        write_manifest(tmp_path / "songs.jsonl", [])
    assert list(tmp_path.iterdir()) == []


def _song(folder: Path, mix: str = "mix.flac") -> None:
    (folder / "stems").mkdir(parents=True)
    (folder / mix).touch()


def test_songs_of_a_folder(tmp_path: Path) -> None:
    _song(tmp_path / "b")
    _song(tmp_path / "a", "mix.WAV")
    (tmp_path / "a/groups.yaml").touch()
    (tmp_path / "other/stems").mkdir(parents=True)
    a, b = songs_in(tmp_path)
    assert a == Song(
        name="a", stems=tmp_path / "a/stems", mix=tmp_path / "a/mix.WAV", groups=tmp_path / "a/groups.yaml"
    )
    assert (b.name, b.groups) == ("b", None)
    assert songs_in(tmp_path / "b") == (b,)


def test_folders_that_are_no_songs(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no song here"):
        songs_in(tmp_path)
    with pytest.raises(ManifestError, match="cannot read"):
        songs_in(tmp_path / "nowhere")
    _song(tmp_path / "a")
    (tmp_path / "a/mix.wav").touch()
    with pytest.raises(ManifestError, match="which is the mix"):
        songs_in(tmp_path)
    (tmp_path / "a/mix.wav").unlink()
    _song(tmp_path / "A")
    with pytest.raises(ManifestError, match="would both be"):
        songs_in(tmp_path)
