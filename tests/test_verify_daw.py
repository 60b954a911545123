"""Verification by a DAW and of renders that are handed over: processes, errors, files, and what is measured.

REAPER cannot be installed by a test: it is neither free nor in any package index. What is ours is how
a program is called, watched, ended and its render taken over, so a small program stands for REAPER in
that: it reads where the project it is given is to be rendered to, and does there what a test wants of
it. Where it renders, it does so by our own reader and hosts, and so is right only if the copy that REAPER
is given finds its media and effects. One test runs the real REAPER where MIXBRIDGE_REAPER names it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbridge.bridge.choices import Daw
from mixbridge.bridge.errors import (
    EXIT_FAILURE,
    EXIT_OK,
    EXIT_USER_ERROR,
    DawError,
    DawNotFoundError,
    DawTimeoutError,
    ExportError,
    OutputError,
    VerifyError,
)
from mixbridge.bridge.graph import MixGraph, Provenance
from mixbridge.bridge.verify.daw import reaper as reaper_module
from mixbridge.bridge.verify.daw.process import MOST_LOG_BYTES, run_program
from mixbridge.bridge.verify.daw.reaper import PROGRAM_VARIABLE, Reaper
from mixbridge.bridge.verify.daw.renderer import DawSession
from mixbridge.bridge.verify.results import Verification
from mixbridge.bridge.verify.run import verify_paths
from mixbridge.bridge.verify.settings import VerifySettings
from mixbridge.exporters.reaper.rendering import FLOAT_WAV, with_render_settings
from mixbridge.exporters.reaper.tree import Chunk, ProjectText

from .exports import export_reaper
from .test_report import Page
from .test_verify import FRAMES, RATE_HZ, change, project_of, write_song

PARENT = Path(__file__).resolve().parents[2]

#: Stands for REAPER: called as it is, it renders what the project says, or misbehaves as STAND_IN says.
STAND_IN = f"""#!{sys.executable}
import json, os, re, shutil, subprocess, sys, time
from pathlib import Path

arguments = sys.argv[1:]
mode = os.environ.get("STAND_IN", "render")
copy = Path(arguments[arguments.index("-renderproject") + 1])
ini = Path(arguments[arguments.index("-cfgfile") + 1])
splash = Path(arguments[arguments.index("-splashlog") + 1])
splash.write_text("REAPER v7.20/linux-x86_64\\nLoading plug-in: some.so\\n" + "scanned a plug-in\\n" * 2000)
if "STAND_IN_NOTES" in os.environ:
    Path(os.environ["STAND_IN_NOTES"]).write_text(json.dumps({{
        "arguments": arguments, "copy": str(copy), "text": copy.read_text("utf-8"), "ini": ini.read_text("utf-8"),
        "licence": (ini.parent / "reaper-license.rk").is_file(), "private": str(ini.parent.parent),
    }}))
if mode == "hang":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(os.environ["STAND_IN_PIDS"]).write_text(f"{{os.getpid()}} {{child.pid}}")
    print("What shall I do?", flush=True)
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
if mode == "crash":
    print("cannot open the display", flush=True)
    sys.exit(3)
if mode == "killed":
    os.kill(os.getpid(), 11)
if mode == "nothing":
    print("nothing to do", flush=True)
    sys.exit(0)
if mode == "missing":
    print("The following effects are not available: VST3: Nowhere")

def setting(keyword):
    (line,) = re.findall(rf'(?m)^  {{keyword}} (.*)$', copy.read_text("utf-8"))
    return line.strip('"').split(" ")

out = Path(" ".join(setting("RENDER_FILE")))
assert setting("RENDER_RANGE")[:2] == ["0", "0"]
assert setting("RENDER_PATTERN") == [""] and setting("RENDER_STEMS") == ["0"]
rate_hz = int(setting("RENDER_FMT")[2])
frames = round(float(setting("RENDER_RANGE")[2]) * rate_hz)
if mode == "flood":
    for _ in range(400):
        sys.stdout.write("x" * 99999 + "\\n")
    print("the end of the flood", flush=True)
if mode == "text":
    out.write_text("no audio")
elif mode in ("silent", "short"):
    import numpy as np
    import soundfile

    soundfile.write(out, np.full((frames // 2, 2), float(mode == "short")), rate_hz, subtype="FLOAT")
elif "STAND_IN_RENDER" in os.environ:
    shutil.copy(os.environ["STAND_IN_RENDER"], out)
else:
    sys.path.insert(0, {str(PARENT)!r})
    import soundfile
    from mixbridge.bridge.verify.realise import render_chain
    from mixbridge.exporters.reaper.read import read_project

    audio = render_chain(read_project(copy), copy.parent, pool=lambda: 1 / 0)
    soundfile.write(out, audio[:, :frames].T, rate_hz, subtype="FLOAT")
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A song analysed and exported to REAPER, linked to its stems; not to be changed."""
    folder = tmp_path_factory.mktemp("original")
    graph = write_song(folder, dynamics=False)
    # Linked: media lie outside of the project's folder, which a copy elsewhere would not find.
    export_reaper(graph, stems_dir=folder / "stems", folder=folder / "song.mixbridge" / "reaper", link=True)
    return folder


@pytest.fixture
def song(original: Path, tmp_path: Path) -> Path:
    """A copy that may be changed. Its graph names no mix: a loss takes long, and few tests are about it."""
    shutil.copytree(original, tmp_path / "song")
    file = tmp_path / "song" / "song.mixbridge" / "graph.json"
    MixGraph.load(file).model_copy(update={"provenance": Provenance()}).save(file)
    return tmp_path / "song"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # There is no display where tests run; the stand-in needs none, and must not be given one.
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    program = tmp_path / "stand-in"
    program.write_text(STAND_IN, encoding="utf-8")
    program.chmod(0o755)
    return program


@pytest.fixture
def quick(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in hands over the match instead of rendering."""
    monkeypatch.setenv("STAND_IN_RENDER", str(song / "song.mixbridge" / "match.wav"))


def by_reaper(path: Path, program: Path, **settings: object) -> Verification:
    chosen = VerifySettings(daw=Daw.reaper, daw_program=program, **settings)  # type: ignore[arg-type]
    (result,) = verify_paths([path], settings=chosen)
    return result


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --------------------------------------------------------------------------------- a render


@pytest.mark.usefixtures("quick")
def test_a_project_is_rendered_by_the_daw_and_measured_by_us(
    song: Path, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_NOTES", str(tmp_path / "notes.json"))
    licence = tmp_path / "xdg" / "REAPER" / "reaper-license.rk"
    licence.parent.mkdir(parents=True)
    licence.write_text("a licence")
    project, out = project_of(song), song / "song.mixbridge"
    own = Verification(path=str(project), verdict="amber")
    own.save(project.parent / "verify.json")
    before, text = contents(song), project.read_bytes()
    result = by_reaper(project, stand_in, mix_path=song / "mix.wav")
    assert result.error == "" and result.verdict == "green" and result.host == "reaper"
    assert result.host_version == "REAPER v7.20/linux-x86_64" and result.notes == ()
    assert result.null_db is not None and result.null_db < -100.0 and result.gap is not None
    assert result.nodes == () and result.features.keys() == {"real", "graph", "target"}
    # The results of our own hosts stay as they are, and nothing else is left behind.
    after = contents(song)
    new = {"reaper/verify.reaper.json", "real.reaper.wav", "report.html"}
    assert after.keys() - before.keys() == {f"song.mixbridge/{name}" for name in new}
    assert all(after[name] == before[name] for name in before) and project.read_bytes() == text
    assert Verification.load(out / "reaper" / "verify.reaper.json") == result
    assert Verification.load(out / "reaper" / "verify.json") == own
    page = Page((out / "report.html").read_text("utf-8"))
    assert "rendered by REAPER v7.20" in page.text
    assert [s["data-verdict"] for s in page.all("section") if "data-verdict" in s] == ["green"]

    notes = json.loads((tmp_path / "notes.json").read_text("utf-8"))
    assert Path(notes["copy"]).parent == project.parent and notes["licence"]
    assert not Path(notes["copy"]).exists() and not Path(notes["private"]).exists()
    assert {"-newinst", "-nosplash", "-ignoreerrors"} <= set(notes["arguments"])
    assert "linux_audio_mode=2\n" in notes["ini"] and notes["ini"].startswith("[REAPER]\n")

    # What has not changed is not rendered again; another program is.
    stamp = (out / "real.reaper.wav").stat().st_mtime_ns
    assert by_reaper(project, stand_in, mix_path=song / "mix.wav") == result
    assert (out / "real.reaper.wav").stat().st_mtime_ns == stamp


@pytest.mark.usefixtures("quick")
def test_what_is_rendered_does_not_depend_on_what_was_rendered_last(song: Path, stand_in: Path) -> None:
    project = project_of(song)
    change(project, 'RENDER_PATTERN ""', "RENDER_PATTERN $track\n  RENDER_NORMALIZE 1 0.5 0")
    change(project, "RENDER_STEMS 0", "RENDER_STEMS 3")
    change(project, f"RENDER_FMT 0 2 {RATE_HZ}", "RENDER_FMT 0 1 22050")
    result = by_reaper(project, stand_in)
    assert result.error == "" and result.null_db is not None and result.null_db < -100.0


def test_a_change_in_the_project_is_heard_in_its_render(song: Path, stand_in: Path) -> None:
    # The vox at half its level: without its media or effects the difference would be as large as the song.
    change(project_of(song), "VOLPAN 0.8", "VOLPAN 0.4", after='NAME "vox"')
    result = by_reaper(project_of(song), stand_in)
    assert result.error == "" and result.null_db is not None
    assert -20.0 < result.null_db < -6.0


@pytest.mark.usefixtures("quick")
def test_a_project_that_we_cannot_read_can_be_rendered_all_the_same(song: Path, stand_in: Path) -> None:
    # A fade is what an engineer adds first, and nothing that our own hosts follow.
    project = project_of(song)
    change(project, "FADEIN 1 0 0", "FADEIN 1 0.5 0")
    (refused,) = verify_paths([project])
    assert refused.verdict == "failed" and "faded" in refused.error
    results = [by_reaper(project, stand_in), given_one(song, song / "song.mixbridge" / "match.wav")]
    for result in results:
        assert result.error == "" and result.null_db is not None and result.null_db < -100.0
        assert result.frames == FRAMES and "could not be read" in result.notes[0] and "faded" in result.notes[0]
    # Damaged is another thing, and so are files that are gone: nobody renders those.
    whole = project.read_bytes()
    project.write_bytes(whole[:-200])
    assert "does not end" in by_reaper(project, stand_in).error
    project.write_bytes(whole)
    (song / "stems" / "vox.wav").unlink()
    refused = by_reaper(project, stand_in)
    assert "vox.wav" in " ".join([refused.error, *(o.words for o in refused.obstacles)])


@pytest.mark.usefixtures("quick")
def test_what_the_log_says_is_missing_is_noted(song: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "missing")
    result = by_reaper(project_of(song), stand_in)
    assert result.notes[1:] == ("REAPER says: The following effects are not available: VST3: Nowhere",)


@pytest.mark.usefixtures("quick")
def test_an_endless_log_costs_neither_disk_nor_time(
    song: Path, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "flood")
    project = project_of(song)
    session = DawSession(project, sample_rate_hz=RATE_HZ, frames=FRAMES)
    made = Reaper(stand_in).render(session, tmp_path / "out.wav", timeout_s=60.0)
    assert len(made.log) < 10_000 and made.log.endswith("the end of the flood\n")
    assert soundfile.info(tmp_path / "out.wav").frames == FRAMES


def test_a_log_that_grows_is_cut_while_the_program_runs(tmp_path: Path) -> None:
    # The program waits with its end, so that its last words are thrown away with the rest of the log.
    lines = ["import time", "for _ in range(40):", " print('x' * (1 << 19), flush=True)", " time.sleep(0.02)"]
    code = "\n".join([*lines, "print('x' * (5 << 20))", "print('end', flush=True)", "time.sleep(1)"])
    ended = run_program([sys.executable, "-c", code], folder=tmp_path, timeout_s=60.0)
    assert ended.exit_code == 0 and ended.last_words.endswith("end")
    assert (tmp_path / "log.txt").stat().st_size < MOST_LOG_BYTES + (16 << 19) < 40 << 19


# --------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("crash", ["exit code 3", "cannot open the display", "--render"]),
        ("killed", ["signal 11"]),
        ("nothing", ["ended without a render", "nothing to do", "--render"]),
        ("silent", ["silence", "muted"]),
        ("short", ["ends after 1.6 s of 3.2 s"]),
        ("text", ["cannot be read", "not an audio file"]),
    ],
)
def test_every_failure_is_one_line_and_changes_nothing(
    song: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch, mode: str, words: list[str]
) -> None:
    monkeypatch.setenv("STAND_IN", mode)
    before = contents(song)
    result = by_reaper(project_of(song), stand_in)
    assert result.verdict == "failed" and result.error.startswith(str(project_of(song)))
    assert all(word in result.error for word in words), result.error
    assert "\n" not in result.error and contents(song) == before


def test_a_program_that_hangs_is_ended_with_its_children(
    song: Path, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "hang")
    monkeypatch.setenv("STAND_IN_PIDS", str(tmp_path / "pids"))
    before, began_s = contents(song), time.monotonic()
    session = DawSession(project_of(song), sample_rate_hz=RATE_HZ, frames=FRAMES)
    with pytest.raises(DawTimeoutError, match=r"within 3 s.*What shall I do\?.*--daw-timeout-s"):
        Reaper(stand_in).render(session, tmp_path / "out.wav", timeout_s=3.0)
    assert time.monotonic() - began_s < 30.0 and contents(song) == before and not (tmp_path / "out.wav").exists()
    for process_id in map(int, (tmp_path / "pids").read_text().split()):
        assert has_ended(process_id)


def has_ended(process_id: int) -> bool:
    """Whether a process is gone, within a moment; one that nobody has waited for yet counts as gone."""
    for _ in range(100):
        try:
            os.kill(process_id, 0)
            if "\nState:\tZ" in Path(f"/proc/{process_id}/status").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_what_a_program_leaves_behind_is_ended(tmp_path: Path) -> None:
    child = "import time; time.sleep(600)"
    code = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid)"
    ended = run_program([sys.executable, "-c", code], folder=tmp_path, timeout_s=60.0)
    assert ended.exit_code == 0 and has_ended(int(ended.log))


def test_nothing_stays_when_the_user_interrupts(song: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reaper_module, "run_program", interrupted)
    before = contents(song)
    with pytest.raises(KeyboardInterrupt):
        by_reaper(project_of(song), stand_in)
    assert contents(song) == before


@pytest.mark.usefixtures("quick")
def test_copies_of_runs_that_were_killed_are_removed(song: Path, stand_in: Path) -> None:
    folder = project_of(song).parent
    old, new = folder / ".mixbridge-render-old.rpp", folder / ".mixbridge-render-new.rpp"
    for path in (old, new):
        path.write_text("<REAPER_PROJECT\n>\n")
    os.utime(old, (time.time() - 10**6,) * 2)
    assert by_reaper(project_of(song), stand_in).error == ""
    assert new.exists() and not old.exists()


def test_a_folder_that_cannot_be_written_is_named(
    song: Path, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_args: object, **options: object) -> tuple[int, str]:
        raise PermissionError(13, "Permission denied")

    # Whoever runs the tests as an administrator may write everywhere.
    monkeypatch.setattr(reaper_module.tempfile, "mkstemp", refused)
    session = DawSession(project_of(song), sample_rate_hz=RATE_HZ, frames=FRAMES)
    with pytest.raises(OutputError, match="copy the folder to where you can write"):
        Reaper(stand_in).render(session, tmp_path / "out.wav", timeout_s=3.0)


# -------------------------------------------------------------------------------- the program


def test_a_program_is_looked_for_in_order(stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper_module, "_usual_places", lambda: [tmp_path / "opt" / "reaper"])
    monkeypatch.delenv(PROGRAM_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DawNotFoundError) as caught:
        Reaper().find()
    message = str(caught.value)
    assert all(w in message for w in (PROGRAM_VARIABLE, str(tmp_path / "opt"), "PATH", "--daw-program", "reaper.fm"))

    for place in ("bin", "opt", "named", "chosen"):
        (tmp_path / place).mkdir()
        shutil.copy(stand_in, tmp_path / place / "reaper")
        if place == "named":
            monkeypatch.setenv(PROGRAM_VARIABLE, str(tmp_path / "named" / "reaper"))
        chosen = tmp_path / "chosen" / "reaper" if place == "chosen" else None
        assert Reaper(chosen).find() == tmp_path / place / "reaper"

    for missing in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DawNotFoundError, match="--daw-program"):
            Reaper(missing).find()
    monkeypatch.setenv(PROGRAM_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(DawNotFoundError, match=PROGRAM_VARIABLE):
        Reaper().find()


def test_an_application_of_macos_is_a_folder(stand_in: Path, tmp_path: Path) -> None:
    program = tmp_path / "REAPER.app" / "Contents" / "MacOS" / "REAPER"
    program.parent.mkdir(parents=True)
    shutil.copy(stand_in, program)
    assert Reaper(tmp_path / "REAPER.app").find() == program


def test_a_program_that_is_none_is_named(song: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fnothing that runs")
    program.chmod(0o755)
    result = by_reaper(project_of(song), program)
    assert str(program) in result.error and "cannot be started" in result.error


@pytest.mark.usefixtures("quick")
def test_without_a_display_a_virtual_one_is_used(
    song: Path, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(reaper_module, "this_system", lambda: "linux")
    wrapper = tmp_path / "bin" / "xvfb-run"
    wrapper.parent.mkdir()
    wrapper.write_text('#!/bin/sh\necho "virtual display"\n[ "$1" = --auto-servernum ] || exit 9\nshift\nexec "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")
    session = DawSession(project_of(song), sample_rate_hz=RATE_HZ, frames=FRAMES)
    assert "virtual display" in Reaper(stand_in).render(session, tmp_path / "out.wav", timeout_s=60.0).log
    monkeypatch.setattr(reaper_module.shutil, "which", lambda _name: None)
    monkeypatch.setenv("STAND_IN", "nothing")
    with pytest.raises(DawError, match="install xvfb"):
        Reaper(stand_in).render(session, tmp_path / "out.wav", timeout_s=60.0)


# ------------------------------------------------------------------------------ render settings


def test_only_the_render_settings_of_a_project_change(song: Path) -> None:
    text = project_of(song).read_bytes()
    extra = (
        b"  RENDER_FILE2 x\n  RENDER_NORMALIZE 1 0 0\n  <RENDER_METADATA\n    <RENDER_X\n    >\n    TAG a\n  >\n"
        b"  <NOTES 0 2\n    |RENDER_FILE stays\n  >\n  <EXTENSIONS\n    RENDER_STEMS stays\n  >\n"
    )
    head, _, rest = text.partition(b"\n")
    changed = with_render_settings(
        head + b"\n" + extra + rest.rstrip(), file='/tmp/a "b"/é.wav', sample_rate_hz=96000, length_s=1.5
    )
    again = with_render_settings(changed, file="/tmp/x.wav", sample_rate_hz=96000, length_s=1.5)
    back = with_render_settings(text, file="song.wav", sample_rate_hz=RATE_HZ, length_s=FRAMES / RATE_HZ)
    assert sorted(back.splitlines()) == sorted(text.splitlines())
    kept = set(changed.splitlines())
    assert {b"    |RENDER_FILE stays", b"    RENDER_STEMS stays"} <= kept
    assert not any(b"TAG a" in line or b"RENDER_X" in line or b"FILE2" in line for line in kept)
    assert again.count(b"\n  RENDER_") == changed.count(b"\n  RENDER_") and len(again) < len(changed)
    assert again.count(b"<RENDER_CFG") == 1

    path = song / "changed.rpp"
    path.write_bytes(changed)
    project = ProjectText(path)

    def tokens(keyword: str) -> list[str]:
        (line,) = project.root.lines(keyword)
        return project.tokens(line)[1:]

    assert tokens("RENDER_FILE") == ['/tmp/a "b"/é.wav'] and tokens("RENDER_PATTERN") == [""]
    assert tokens("RENDER_FMT") == ["0", "2", "96000"] and tokens("RENDER_RANGE") == ["0", "0", "1.5", "0", "1000"]
    (configuration,) = project.root.chunks("RENDER_CFG")
    assert [i.text for i in configuration.items if not isinstance(i, Chunk)] == [FLOAT_WAV]
    with pytest.raises(ExportError, match="quotes"):
        with_render_settings(text, file="/tmp/\"'`", sample_rate_hz=1, length_s=1.0)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_render_settings_are_found_in_any_project(data: st.DataObject) -> None:
    names = st.sampled_from(["RENDER_FILE x", "RENDER_CFG", "TRACK", "NAME a", "NOTES", "|RENDER_FMT"])

    def lines(depth: int) -> list[str]:
        found = []
        for name in data.draw(st.lists(names, max_size=4)):
            if depth < 3 and data.draw(st.booleans()):
                found += ["<" + name, *lines(depth + 1), ">"]
            else:
                found.append(name)
        return found

    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    body = lines(1)
    text = end.join(["<REAPER_PROJECT 0.1", *body, ">"]).encode()
    changed = with_render_settings(text, file="out.wav", sample_rate_hz=8000, length_s=1.0)
    assert with_render_settings(changed, file="out.wav", sample_rate_hz=8000, length_s=1.0) == changed
    # Every other block is there as it was, in its order.
    expected, depth, dropped = [], 0, -1
    for line in body:
        ours = depth == 0 and line.lstrip("<").startswith("RENDER_")
        if line.startswith("<"):
            dropped = depth if ours and dropped < 0 else dropped
            depth += 1
        if dropped < 0 and not ours:
            expected.append(line)
        if line == ">":
            depth -= 1
            dropped = -1 if depth == dropped else dropped
    count = len(
        with_render_settings(b"<REAPER_PROJECT\n>\n", file="out.wav", sample_rate_hz=8000, length_s=1.0).splitlines()
    )
    assert [line.strip() for line in changed.decode().splitlines()][count - 1 : -1] == expected


# ------------------------------------------------------------------------------ a given render


@settings(max_examples=6, deadline=None)
@given(
    gain_db=st.floats(-6.0, 6.0).filter(lambda g: abs(g) > 0.01),
    late=st.integers(-9000, 9000),
    extra=st.integers(0, 3000),
)
def test_a_given_render_has_the_null_and_offset_that_it_has(
    original: Path, tmp_path_factory: pytest.TempPathFactory, gain_db: float, late: int, extra: int
) -> None:
    folder = tmp_path_factory.mktemp("given")
    match, _ = soundfile.read(original / "song.mixbridge" / "match.wav", always_2d=True)
    gain = 10 ** (gain_db / 20)
    moved = np.concatenate([np.zeros((max(late, 0), 2)), match[max(-late, 0) :], np.zeros((extra, 2))])
    soundfile.write(folder / "given.wav", gain * moved, RATE_HZ, subtype="FLOAT")
    shutil.copytree(original, folder / "song")
    file = folder / "song" / "song.mixbridge" / "graph.json"
    MixGraph.load(file).model_copy(update={"provenance": Provenance()}).save(file)
    result = given_one(folder / "song", folder / "given.wav")
    assert result.offset_samples == late and result.host == "given"
    # What an early render lacks is its first part: with that left out, the gain is all that differs.
    lost = float(np.sum(match[: max(-late, 0)] ** 2) / np.sum(match**2))
    expected = 10 * np.log10((gain - 1.0) ** 2 * (1.0 - lost) + lost)
    assert result.null_db == pytest.approx(expected, abs=0.05)
    assert result.loudness_difference_lu == pytest.approx(gain_db, abs=0.3)


def given_one(song: Path, render: Path, **settings: object) -> Verification:
    chosen = VerifySettings(render_path=render, **settings)  # type: ignore[arg-type]
    (result,) = verify_paths([project_of(song)], settings=chosen)
    return result


def test_a_given_render_stays_where_it_is_and_has_a_result_of_its_own(song: Path) -> None:
    render = song / "elsewhere" / "in reaper.wav"
    render.parent.mkdir()
    shutil.copy(song / "song.mixbridge" / "match.wav", render)
    before = contents(song)
    result = given_one(song, render, mix_path=song / "mix.wav")
    assert result.verdict == "green" and result.nodes == () and result.host_version == ""
    after = contents(song)
    new = {"song.mixbridge/reaper/verify.given.json", "song.mixbridge/report.html"}
    assert after.keys() - before.keys() == new and all(after[name] == before[name] for name in before)
    assert (project_of(song).parent / result.real_file).samefile(render)
    page = Page((song / "song.mixbridge" / "report.html").read_text("utf-8"))
    assert "rendered by hand" in page.text
    # Another render under the same name is compared anew.
    match, rate_hz = soundfile.read(render, always_2d=True)
    soundfile.write(render, 0.5 * match, rate_hz, subtype="FLOAT")
    assert given_one(song, render).null_db == pytest.approx(-6.02, abs=0.05)


def test_renders_of_other_rates_and_lengths_are_noted(song: Path) -> None:
    match, _ = soundfile.read(song / "song.mixbridge" / "match.wav", always_2d=True)
    short = song / "short.wav"
    soundfile.write(short, match[: FRAMES // 2], RATE_HZ, subtype="FLOAT")
    assert any("ends after 1.60 s, the session after 3.20 s" in note for note in given_one(song, short).notes)
    other = song / "other.wav"
    soundfile.write(other, match, 48000, subtype="FLOAT")
    assert any("48000 Hz" in note for note in given_one(song, other).notes)
    silent = song / "silent.wav"
    soundfile.write(silent, 0.0 * match, RATE_HZ, subtype="FLOAT")
    for path, words in ((silent, "silent"), (song / "missing.wav", "no such file")):
        result = given_one(song, path)
        assert result.verdict == "failed" and words in result.error and path.name in result.error


def test_contradictions_are_said_at_once(song: Path, stand_in: Path) -> None:
    render, project = song / "song.mixbridge" / "match.wav", project_of(song)
    for wrong, words in (
        ({"render_path": render, "daw": Daw.reaper}, "--render"),
        ({"render_path": render, "polish": True}, "--polish"),
        ({"daw": Daw.reaper, "daw_program": stand_in, "stems_dir": song}, "--stems"),
        ({"daw_program": stand_in}, "--with"),
    ):
        with pytest.raises(VerifyError, match=words):
            verify_paths([project], settings=VerifySettings(**wrong))  # type: ignore[arg-type]
    shutil.copytree(project.parent, song / "second")
    with pytest.raises(VerifyError, match="of which session"):
        verify_paths([project, song / "second"], settings=VerifySettings(render_path=render))


@pytest.mark.usefixtures("quick")
def test_a_daw_takes_the_sessions_that_it_opens(song: Path, stand_in: Path) -> None:
    chain = song / "song.mixbridge" / "pedalboard"
    chain.mkdir()
    (chain / "chain.json").write_text("{}")
    result = by_reaper(song / "song.mixbridge", stand_in)
    assert result.path.endswith("song.rpp") and result.error == ""
    refused = by_reaper(chain, stand_in)
    assert refused.verdict == "failed" and "--export reaper" in refused.error


# -------------------------------------------------------------------------------- the command


@pytest.mark.usefixtures("quick")
def test_the_command_shows_who_rendered(
    command: Callable[..., tuple[int, str, str]], song: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_of(song)
    code, stdout, stderr = command(project, "--with", "reaper", "--daw-program", stand_in, "--mix", song / "mix.wav")
    assert (code, stderr) == (EXIT_OK, "") and stdout.rstrip().endswith("REAPER v7.20/linux-x86_64")
    monkeypatch.setenv("STAND_IN", "crash")
    code, stdout, stderr = command(project, "--with", "reaper", "--daw-program", stand_in, "--again", "--json")
    assert code == EXIT_USER_ERROR and json.loads(stdout)[0]["verdict"] == "failed"
    assert len(stderr.strip().splitlines()) == 1 and "exit code 3" in stderr
    code, _, stderr = command(project, "--with", "reaper", "--daw-program", song / "nowhere")
    assert code == EXIT_USER_ERROR and len(stderr.strip().splitlines()) == 1 and "nowhere" in stderr
    match, rate_hz = soundfile.read(song / "song.mixbridge" / "match.wav", always_2d=True)
    soundfile.write(song / "half.wav", 0.5 * match, rate_hz, subtype="FLOAT")
    code, stdout, _ = command(project, "--render", song / "half.wav", "--mix", song / "mix.wav")
    assert code == EXIT_FAILURE and stdout.rstrip().endswith("hand")


# ------------------------------------------------------------------------------ the real REAPER


@pytest.mark.skipif(not os.environ.get(PROGRAM_VARIABLE), reason=f"{PROGRAM_VARIABLE} names no REAPER")
def test_the_real_reaper_renders_what_we_meant(song: Path) -> None:
    (result,) = verify_paths([project_of(song)], settings=VerifySettings(daw=Daw.reaper, mix_path=song / "mix.wav"))
    assert result.error == "" and result.host_version and result.notes == ()
    assert result.verdict == "green" and result.offset_samples == 0
    assert result.null_db is not None and result.null_db < -80.0
