"""Whether an earlier result still holds: a digest of all that goes into a verification; nothing is verified here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ... import __version__
from ..choices import Host
from ..errors import MixbridgeError, VerifyError
from ..hosting.registry import find_plugin
from ..result_folder import MATCH_FILE
from .daw.known import daw_renderer
from .locate import Job, Opened, result_file
from .realise import find_media
from .results import SCHEMA_VERSION, Verification
from .settings import VerifySettings

#: Larger files are told apart by size and time of change instead of their content.
_HASHED_BYTES = 1 << 20


def digest(opened: Opened, mix_path: Path | None, settings: VerifySettings) -> str:
    """A mark of the session, its graph, effects, audio, plugins and target, and of this version."""
    marks = {str(path.absolute()): _mark(path) for path in _files(opened, mix_path, settings)}
    what = {"version": [__version__, SCHEMA_VERSION], "worst": settings.worst, "files": marks}
    if settings.host:
        what["host"] = settings.host
    text = json.dumps(what, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii", "backslashreplace")).hexdigest()


def still_valid(job: Job, inputs: str, *, host: Host = "") -> Verification | None:
    """The earlier result beside a session, if it was made from the same and its render is still there."""
    path = result_file(job, host=host)
    try:
        earlier = Verification.load(path)
    except VerifyError:
        return None
    same = earlier.inputs == inputs and Path(earlier.path).name == job.session.name
    return earlier if same and (path.parent / earlier.real_file).is_file() else None


def _files(opened: Opened, mix_path: Path | None, settings: VerifySettings) -> Iterator[Path]:
    job, folder = opened.job, opened.folder
    yield job.session
    if job.graph_path is not None:
        yield job.graph_path
        yield job.graph_path.parent / MATCH_FILE
    if mix_path is not None:
        yield mix_path
    if settings.render_path is not None:
        yield settings.render_path
    if settings.daw is not None:
        yield daw_renderer(settings.daw, program=settings.daw_program).find()
    yield from opened.files
    for channel in opened.chain.channels:
        if channel.source is not None:
            yield find_media(channel.source, folder, media_folder=settings.stems_dir)
        for insert in channel.inserts:
            yield from (folder / file for file in insert.files.values())
            yield from (folder / f for b in insert.branches for s in b.stages for f in s.files.values())
            if insert.preset is not None:
                yield folder / insert.preset
            if insert.plugin is not None and insert.kind == "jsfx":
                yield folder / insert.plugin.bundle
            elif insert.plugin is not None:
                yield from _bundle(insert.plugin.class_id, insert.plugin.name, insert.plugin.bundle)


def _bundle(class_id: str, name: str, bundle: str) -> Iterator[Path]:
    try:
        plugin = find_plugin(class_id=class_id, name=name, bundle=bundle)
    except MixbridgeError:
        # What is missing is said by whoever renders.
        return
    if plugin.path is not None:
        yield plugin.path


def _mark(path: Path) -> str:
    try:
        status = path.stat()
        if status.st_size > _HASHED_BYTES or not path.is_file():
            return f"{status.st_size}:{status.st_mtime_ns}"
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "missing"
