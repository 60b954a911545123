"""Scanning for plugins: what crashes or hangs is blacklisted, everything else is found, by name or class id."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mixbridge.bridge.errors import PluginError, PluginNotFoundError
from mixbridge.bridge.hosting import places, registry
from mixbridge.bridge.hosting.bundles import file_hash, find_bundles, listed_plugins
from mixbridge.bridge.hosting.registry import find_plugin, load_registry
from mixbridge.bridge.hosting.scan import scan
from mixbridge.cli_plugins import plugins_app

from .suites import installed

ZAM_COMP_X2 = "2046504473616C633250435A00000000"
LSP_COMPRESSOR = "647370206B31732020202020756E7363"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="faulty plugins are made for Linux")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, on a machine without any plugins of its own."""
    folder = tmp_path / "home"
    monkeypatch.setenv(places.HOME_VARIABLE, str(folder))
    monkeypatch.setattr(places, "system_vst3_folders", list)
    return folder


@pytest.fixture
def with_suite(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Have some bundles of a suite in the home, as if it consisted of them."""

    def make(suite: str, *bundles: str) -> Path:
        monkeypatch.delenv(places.HOME_VARIABLE)
        source = installed(suite).parent
        monkeypatch.setenv(places.HOME_VARIABLE, str(home))
        prefix = places.suite_prefix(suite)
        (prefix / "vst3").mkdir(parents=True)
        for name in ("lib", "libc", places.MANIFEST_FILE):
            if (source / name).exists():
                (prefix / name).symlink_to(source / name)
        for bundle in bundles:
            shutil.copytree(source / "vst3" / bundle, prefix / "vst3" / bundle)
        return prefix / "vst3"

    return make


def make_bundle(folder: Path, name: str, code: bytes | None) -> Path:
    bundle = folder / f"{name}.vst3"
    place = bundle / "Contents" / f"{platform.machine()}-linux"
    place.mkdir(parents=True)
    if code is not None:
        (place / f"{name}.so").write_bytes(code)
    return bundle


def with_every_instruction_illegal(library: bytes) -> bytes:
    """A library whose code stops the process that runs any of it."""
    assert library[:5] == b"\x7fELF\x02", "a 64-bit library"
    changed = bytearray(library)
    (table,) = struct.unpack_from("<Q", library, 32)
    size, count = struct.unpack_from("<HH", library, 54)
    for index in range(count):
        kind, flags, offset, _, _, length = struct.unpack_from("<IIQQQQ", library, table + index * size)
        if kind == 1 and flags & 1:
            illegal = b"\x0f\x0b" if platform.machine() == "x86_64" else b"\x00\x00"
            changed[offset : offset + length // 2 * 2] = illegal * (length // 2)
    return bytes(changed)


# ------------------------------------------------------------------ files


def test_bundles_are_found_in_vendor_folders_and_each_once(tmp_path: Path) -> None:
    for path in ("A.vst3/Contents", "vendor/B.vst3/Contents/Inner.vst3", "vendor/deep/C.vst3", "not-a-plugin/x"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "Old.vst3").write_bytes(b"code")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = find_bundles([tmp_path, tmp_path / "vendor", tmp_path / "A.vst3", tmp_path / "missing"])
    assert [p.name for p in found] == ["A.vst3", "Old.vst3", "B.vst3", "C.vst3"]


def test_plugin_lists_may_have_comments_and_trailing_commas(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, "Many", None)
    (bundle / "Contents" / "Resources").mkdir()
    one = '{"CID": "%s", "Category": "%s", "Name": "%s", "Sub Categories": ["Fx", "EQ",],},'
    text = (
        '{ // list\n "Factory Info": {"Vendor": "V // not a comment, really"}, /* more\n */ "Classes": ['
        + one % ("ab" * 16, "Audio Module Class", 'Say \\"A, ]\\"')
        + one % ("cd" * 16, "Component Controller Class", "B")
        + one % ("nonsense", "Audio Module Class", "C")
        + "], }"
    )
    (bundle / "Contents" / "Resources" / "moduleinfo.json").write_text(text)
    (only,) = listed_plugins(bundle)
    assert (only.name, only.class_id, only.category) == ('Say "A, ]"', "AB" * 16, "Fx|EQ")
    assert only.vendor == "V // not a comment, really"
    (bundle / "Contents" / "Resources" / "moduleinfo.json").write_text("[1, 2")
    assert listed_plugins(bundle) == []


# ------------------------------------------------------------------ scanning


@linux_only
def test_faulty_bundles_are_blacklisted_and_the_others_listed(with_suite: Callable[..., Path], tmp_path: Path) -> None:
    zam = with_suite("zam", "ZamCompX2.vst3", "ZamVerb.vst3")
    with_suite("lsp", "lsp-plugins.vst3")
    other = tmp_path / "other"
    code = next((zam / "ZamCompX2.vst3").rglob("*.so")).read_bytes()
    make_bundle(other, "Crash", with_every_instruction_illegal(code))
    make_bundle(other, "Garbage", b"this is no library" * 100)
    make_bundle(other, "Empty", None)
    result = scan([other], time_limit_s=8.0)
    reasons = {Path(b.path).stem: b.blacklisted for b in result.bundles}
    assert reasons.pop("ZamCompX2") is None and reasons.pop("lsp-plugins") is None
    assert reasons.pop("ZamVerb") == "it did not finish loading within 8 s"
    assert "it crashed while it was loaded (" in str(reasons.pop("Crash"))
    assert "it cannot be loaded: Garbage.so: invalid ELF header" in str(reasons.pop("Garbage")).replace(
        f"Contents/{platform.machine()}-linux/", ""
    )
    assert reasons.pop("Empty") == "it cannot be loaded: it holds nothing for this kind of machine"
    assert not reasons
    assert result.plugins == 185
    compressor = next(b for b in result.bundles if b.path.endswith("ZamCompX2.vst3"))
    (plugin,) = compressor.plugins
    assert (plugin.name, plugin.vendor, plugin.version, plugin.class_id) == (
        *("ZamCompX2", "Damien Zammit", "4.2.0"),
        ZAM_COMP_X2,
    )
    ratio = next(p for p in plugin.parameters or () if p.name == "Ratio")
    assert (float(ratio.minimum), float(ratio.maximum), float(ratio.default)) == (1.0, 20.0, 4.0)
    assert compressor.file_hash == file_hash(zam / "ZamCompX2.vst3")
    assert load_registry().bundles == result.bundles

    again = scan([other], time_limit_s=8.0)
    assert not again.opened, "nothing changed, so nothing is opened"
    assert again.bundles == result.bundles
    with pytest.raises(PluginNotFoundError, match=r"ZamVerb\.vst3 is blacklisted: .*8 s; .*scan --retry"):
        find_plugin(name="ZamVerb")

    # A blacklisted plugin is tried again when the user says so, or when it was exchanged.
    shutil.rmtree(other / "Garbage.vst3")
    make_bundle(other, "Garbage", code)
    binary = next((other / "Garbage.vst3").rglob("*.so"))
    os.utime(binary, ns=(1, 1))
    assert [Path(p).stem for p in scan([other], time_limit_s=8.0).opened] == ["Garbage"]
    shutil.rmtree(zam / "ZamVerb.vst3")
    retried = scan([other], retry=True, time_limit_s=8.0)
    assert sorted(Path(p).stem for p in retried.opened) == ["Crash", "Empty"]
    assert find_plugin(bundle="Garbage.vst3").name == "ZamCompX2"
    assert "ZamVerb" not in {Path(b.path).stem for b in load_registry().bundles}


@linux_only
def test_ctrl_c_ends_the_scan_and_what_it_started(with_suite: Callable[..., Path], home: Path) -> None:
    with_suite("zam", "ZamVerb.vst3")
    code = "from mixbridge.cli_plugins import plugins_app; plugins_app(prog_name='mixbridge')"
    # Where Ctrl-C is ignored, as in a background job, a child would ignore it, too.
    prepare = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    process = subprocess.Popen(
        [sys.executable, "-c", prepare + code, "scan"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HOME": str(home)},
    )
    assert wait_for(lambda: bool(processes_that_mention("ZamVerb.vst3"))), "the plugin is being loaded"
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=20)
    assert process.returncode == 130, messages
    assert messages.strip().endswith("stopped") and "Traceback" not in messages
    assert wait_for(lambda: not processes_that_mention("ZamVerb.vst3")), "nothing is left behind"


def processes_that_mention(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command and "hosting.look" in command:
            found.append(command)
    return found


def wait_for(condition: Callable[[], bool], *, seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def test_unknown_folders_are_refused(home: Path) -> None:
    with pytest.raises(PluginNotFoundError, match="nowhere: no such folder or plugin; check --path"):
        scan([Path("nowhere")])


def test_a_damaged_registry_is_made_anew(home: Path) -> None:
    home.mkdir()
    registry.registry_path().write_text("{ damaged")
    assert load_registry().bundles == ()
    assert scan().bundles == ()
    assert json.loads(registry.registry_path().read_text())["format"] == "mixbridge-plugins"


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(places.HOME_VARIABLE, str(tmp_path / "file"))
    monkeypatch.setattr(places, "system_vst3_folders", list)
    with pytest.raises(PluginError, match=places.HOME_VARIABLE):
        scan()


# ------------------------------------------------------------------ finding


def test_plugins_are_found_without_a_scan(with_suite: Callable[..., Path]) -> None:
    zam, lsp = with_suite("zam", "ZamCompX2.vst3"), with_suite("lsp", "lsp-plugins.vst3")
    bundle = lsp / "lsp-plugins.vst3"
    by_id = find_plugin(class_id=LSP_COMPRESSOR.lower())
    assert (by_id.name, by_id.path, by_id.class_id) == ("Compressor Stereo", bundle, LSP_COMPRESSOR)
    assert find_plugin(name="compressor stereo") == by_id
    assert find_plugin(name="Renamed Since", class_id=LSP_COMPRESSOR, bundle="lsp-plugins.vst3") == by_id
    named = find_plugin(name="ZamCompX2", class_id=ZAM_COMP_X2, bundle="ZamCompX2.vst3")
    assert (named.name, named.path, named.class_id) == ("ZamCompX2", zam / "ZamCompX2.vst3", ZAM_COMP_X2)
    assert find_plugin(name="ZamCompX2").path == named.path
    assert find_plugin(bundle=str(zam / "ZamCompX2.vst3")).path == named.path
    assert not registry.registry_path().exists()
    with pytest.raises(PluginNotFoundError, match="Compressor Septaphonic"):
        find_plugin(name="Compressor Septaphonic", bundle="lsp-plugins.vst3")


def test_our_own_suite_comes_before_the_system(
    with_suite: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zam = with_suite("zam", "ZamCompX2.vst3")
    system = tmp_path / "system"
    shutil.copytree(zam / "ZamCompX2.vst3", system / "ZamCompX2.vst3")
    monkeypatch.setattr(places, "system_vst3_folders", lambda: [system])
    assert find_plugin(name="ZamCompX2").path == zam / "ZamCompX2.vst3"
    shutil.rmtree(zam)
    assert find_plugin(name="ZamCompX2").path == system / "ZamCompX2.vst3"


def test_the_remedy_names_the_suite(home: Path) -> None:
    for kind, bundle in (("lsp", "lsp-plugins.vst3"), ("zam", "ZamGateX2.vst3"), ("dragonfly", "DragonflyHall.vst3")):
        with pytest.raises(PluginNotFoundError, match=f"Thing .*'mixbridge plugins install {kind}'"):
            find_plugin(name="Thing", bundle=bundle)
    with pytest.raises(PluginNotFoundError, match=r"Thing: .*'mixbridge plugins scan --path"):
        find_plugin(name="Thing")


def test_builtins_are_found_by_name_alone(home: Path) -> None:
    assert find_plugin(name="Compressor").path is None
    for name in ("Pedalboard", "VST3Plugin", "load_plugin", "Plugin2"):
        with pytest.raises(PluginNotFoundError):
            find_plugin(name=name)


# ------------------------------------------------------------------ commands


@linux_only
def test_commands_scan_list_and_show(with_suite: Callable[..., Path], tmp_path: Path) -> None:
    with_suite("zam", "ZamCompX2.vst3", "ZamGateX2.vst3")
    make_bundle(tmp_path / "other", "Garbage", b"no library")
    run = CliRunner().invoke
    listed = run(plugins_app, ["list"])
    assert listed.exit_code == 0 and listed.stdout == "" and "plugins scan" in listed.stderr
    scanned = run(plugins_app, ["scan", "--path", str(tmp_path / "other"), "--json"])
    assert scanned.exit_code == 0 and scanned.stderr == "", "quiet where nobody watches"
    content = json.loads(scanned.stdout)
    assert content["plugins"] == 2
    assert [(Path(b["path"]).stem, b["blacklisted"] is None, b["opened"]) for b in content["bundles"]] == [
        *(("ZamCompX2", True, True), ("ZamGateX2", True, True), ("Garbage", False, True))
    ]
    assert run(plugins_app, ["scan", "--path", str(tmp_path / "other")]).stdout == "2 plugins in 2 bundles\n"
    listed = run(plugins_app, ["list", "gate"])
    assert listed.stdout.split("\t")[:2] == ["ZamGateX2", "Damien Zammit"] and listed.stdout.count("\n") == 1
    (entry,) = json.loads(run(plugins_app, ["list", "gate", "--json"]).stdout)
    assert entry["name"] == "ZamGateX2" and entry["probe"] is None and len(entry["parameters"]) == 12
    shown = run(plugins_app, ["show", ZAM_COMP_X2, "--json"])
    assert json.loads(shown.stdout)["name"] == "ZamCompX2"
    shown = run(plugins_app, ["show", "ZamCompX2"])
    assert "Ratio\t4\t1 to 20" in shown.stdout and "mixbridge plugins probe" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "Nothing"], "Nothing: no such plugin"),
        (["probe", "Nothing"], "Nothing: no such plugin"),
        (["install", "nosuch"], "nosuch: unknown plugin suite"),
        (["scan", "--path", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_user_errors_are_one_line_and_exit_code_2(home: Path, arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(plugins_app, arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith(f"mixbridge: {words}") and result.stderr.count("\n") == 1
