"""Tab, as the shells press it: commands, options, values, channels and graphs, where there are such."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mixbridge.bridge.choices import PARTS
from mixbridge.bridge.preset_names import console_names, suite_names
from mixbridge.bridge.result_folder import GRAPH_FILE
from mixbridge.cli_complete import complete_amounts, complete_graph, complete_suites, whole_words

from .graphs import graph

#: Characters at which bash ends a word of its own accord; those that matter here.
BREAKS = "="


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command, as an installation has it."""
    folder = tmp_path_factory.mktemp("bin")
    path = folder / "mixbridge"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mixbridge "$@"\n', encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    environment = {**os.environ, "_MIXBRIDGE_COMPLETE": "source_bash"}
    script = subprocess.run([path], env=environment, capture_output=True, timeout=60, check=True).stdout
    (folder / "completion.bash").write_bytes(script)
    return folder


def shell(name: str, script: str, *, program: Path, cwd: Path) -> list[str]:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on this machine")
    environment = {
        **os.environ, "PATH": f"{program}{os.pathsep}{os.environ['PATH']}", "HOME": str(cwd), "TERM": "dumb",
    }  # fmt: skip
    done = subprocess.run(
        [found, "-c", script], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def bash(line: str, *, program: Path, cwd: Path) -> list[str]:
    """What bash offers at the end of a line; its words are cut as bash cuts them."""
    words = [""]
    for letter in line:
        if letter in " " + BREAKS:
            words += [letter, ""] if letter in BREAKS and words[-1] else [letter] if letter in BREAKS else [""]
        else:
            words[-1] += letter
    if line.endswith("="):
        words = words[:-1]
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"""
. {program}/completion.bash
COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}
_mixbridge_completion mixbridge
[ ${{#COMPREPLY[@]}} = 0 ] || printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return shell("bash", script, program=program, cwd=cwd)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    song = tmp_path / "song.mixbridge"
    song.mkdir()
    found = graph({"kick": [], "keys": [], "Low End": []}, groups={"drums": (["kick"], [])})
    found.save(song / GRAPH_FILE)
    (tmp_path / "stems").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mixbridge sh", ["show"]),
        ("mixbridge plugins pro", ["probe", "profile"]),
        ("mixbridge show --se", ["--settings"]),
        ("mixbridge analyze --console=d", ["dmc"]),
        ("mixbridge analyze --plugins eq=z", ["zam"]),
        ("mixbridge export --amount eq=0.5,lim", ["0.5,limiter=0.5"]),
        ("mixbridge export so", ["song.mixbridge/graph.json"]),
        ("mixbridge render song.mixbridge --only k", ["kick", "keys"]),
        ("mixbridge render song.mixbridge --only L", ["Low\\ End"]),
        ("mixbridge render song.mixbridge st", []),
    ],
)
def test_bash(line: str, expected: list[str], program: Path, place: Path) -> None:
    assert bash(line, program=program, cwd=place) == expected


def test_fish(program: Path, place: Path) -> None:
    script = "_MIXBRIDGE_COMPLETE=source_fish mixbridge | source; "
    found = shell("fish", f"{script} complete -C 'mixbridge analyze --plugins eq=z'", program=program, cwd=place)
    assert [item.partition("\t")[0] for item in found] == ["eq=zam"]


def test_zsh(program: Path, place: Path) -> None:
    # Stands in for the part of zsh that draws the menu, which needs a terminal.
    script = """
compdef() { :; }
_arguments() { print -r -- "$@"; }
eval "$(_MIXBRIDGE_COMPLETE=source_zsh mixbridge)"
words=(mixbridge analyze --plugins eq=z); CURRENT=4
_mixbridge_completion
"""
    assert shell("zsh", script, program=program, cwd=place) == ['*: :(("eq=zam"))']


def test_what_the_presets_and_the_graph_have_is_offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert {"full", "lti", "dmc", "paper"} <= set(console_names())
    assert complete_suites("") == list(suite_names())
    assert complete_suites("lsp,eq=")[0].startswith("lsp,eq=")
    assert [text.partition("=")[0] for text in complete_amounts("")] == list(PARTS)
    monkeypatch.chdir(tmp_path)
    for name in ("other", "deep/deeper/a.mixbridge", ".hidden.mixbridge", "two words.mixbridge"):
        (tmp_path / name).mkdir(parents=True)
    assert complete_graph("de") == ["deep/deeper/a.mixbridge"], "nothing else is in these folders"
    assert complete_graph("ot") == [], "the shell itself goes on from here"
    assert complete_graph("two") == [], "the shell quotes better"
    assert complete_graph(".h") == [".hidden.mixbridge"]


@pytest.mark.parametrize(
    ("words", "expected", "key"),
    [
        (["mixbridge", "show", "a"], ["mixbridge", "show", "a"], ""),
        (["m", "--plugins", "eq", "=", "l"], ["m", "--plugins", "l"], "eq="),
        (["m", "--plugins", "=", "l"], ["m", "--plugins", "l"], ""),
        (["m", "--plugins", "="], ["m", "--plugins", ""], ""),
        (["m", "--plugins", "=", "eq", "=", "l"], ["m", "--plugins", "l"], "eq="),
        (["m", "--amount", "eq", "=", "1", "--only", "e"], ["m", "--amount", "eq=1", "--only", "e"], ""),
    ],
)
def test_words_that_bash_cut_are_joined(words: list[str], expected: list[str], key: str) -> None:
    sent = {"_MIXBRIDGE_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    whole_words(sent)
    assert sent["COMP_WORDS"].split("\n") == expected
    assert int(sent["COMP_CWORD"]) == len(expected) - 1
    assert sent.get("_MIXBRIDGE_COMPLETE_KEY", "") == key


def test_other_shells_are_left_alone() -> None:
    sent = {"_MIXBRIDGE_COMPLETE": "complete_zsh", "COMP_WORDS": "a\n=\nb", "COMP_CWORD": "2"}
    whole_words(sent)
    assert sent["COMP_WORDS"] == "a\n=\nb"
