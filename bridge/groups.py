"""Names of stems and which stems form a group: groups.yaml and file-name prefixes; no audio lives here.

groups.yaml is a mapping from group names to lists of stems::

    drums: [kick, snare, hats]
    voices: [lead, double.wav]

A stem is given by its name, its id or its file name. Stems in no group go to the master.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import yaml

from .errors import GroupsError
from .graph import Master

#: The group of all stems where nothing else is known.
ALL = "all"

#: Ids that no stem and no group may take.
RESERVED = frozenset({Master.model_fields["id"].default})

_NUMBERING = re.compile(r"^\d{1,2}[\s_.\-]+(?=\S)")
_PREFIX = re.compile(r"^([^\s_.\-]+)[\s_.\-]+(?=[^\s_.\-])")

#: A groups file larger than this is not one.
_MAX_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class StemName:
    """How one stem is called: unique id, name without ending, and file name."""

    id: str
    name: str
    file: str


def name_stems(files: Sequence[str], *, written: Mapping[str, Sequence[str]] | None = None) -> tuple[StemName, ...]:
    """Give every stem file a unique id.

    Parameters
    ----------
    files : sequence of str
        File names in the order of the stems.
    written : mapping, optional
        Groups as `read_groups` returns them. Their names are kept free, or those of the inferred
        groups where there is no file.

    Returns
    -------
    tuple of StemName
        The id is the name; a number is added where it is taken, and slashes are replaced.
    """
    names = [PurePath(file).stem for file in files]
    groups = infer_groups(names) if written is None else written
    taken = {*RESERVED, *groups}
    result = []
    for name, file in zip(names, files, strict=True):
        base = re.sub(r"[/\\]", "_", name)
        stem_id, number = base, 2
        while stem_id in taken:
            stem_id, number = f"{base}-{number}", number + 1
        taken.add(stem_id)
        result.append(StemName(stem_id, name, file))
    return tuple(result)


def infer_groups(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Find groups by shared prefixes such as ``drums_kick`` and ``drums_snare``.

    A leading number such as ``01_`` is ignored, upper and lower case are the same. A prefix
    counts when at least two stems share it; one that all stems share is taken for the name of
    the song if there are prefixes behind it. If there are no shared prefixes, all stems form
    the group `ALL`.

    Returns
    -------
    dict of str to tuple of int
        Positions in `names` by group name.
    """
    bare = [_NUMBERING.sub("", name) for name in names]
    found = _shared_prefixes(bare)
    if len(names) > 1 and any(len(members) == len(names) for members in found.values()):
        found = _shared_prefixes([_PREFIX.sub("", name) for name in bare]) or found
    return found or {ALL: tuple(range(len(names)))}


def _shared_prefixes(names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    members: dict[str, list[int]] = {}
    spelling: dict[str, str] = {}
    for index, name in enumerate(names):
        match = _PREFIX.match(name)
        # The master keeps its id, whatever the files are called.
        if match is None or match[1].casefold() in RESERVED or "/" in match[1]:
            continue
        key = match[1].casefold()
        spelling.setdefault(key, match[1])
        members.setdefault(key, []).append(index)
    return {spelling[key]: tuple(found) for key, found in members.items() if len(found) > 1}


def read_groups(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a groups.yaml without looking at the stems.

    Returns
    -------
    dict of str to tuple of str
        What the file says, in its order; every scalar is text (``808`` is a name, not a number).

    Raises
    ------
    GroupsError
        If the file cannot be read or is not a mapping from names to lists of names; the message
        names the file and the line.
    """
    root = _compose(path)
    if not isinstance(root, yaml.MappingNode):
        raise GroupsError(f"{path}: expected lines such as 'drums: [kick, snare]'")
    groups: dict[str, tuple[str, ...]] = {}
    for key, value in root.value:
        where = f"{path}, line {key.start_mark.line + 1}"
        name = key.value if isinstance(key, yaml.ScalarNode) else ""
        _check_group_name(name, where=where)
        if name in groups:
            raise GroupsError(f"{where}: the group {name!r} is there twice; join the two lists")
        if not isinstance(value, yaml.SequenceNode) or not value.value:
            raise GroupsError(f"{where}: the group {name!r} needs a list of stems, such as [kick, snare]")
        for item in value.value:
            if not isinstance(item, yaml.ScalarNode) or not item.value:
                raise GroupsError(
                    f"{path}, line {item.start_mark.line + 1}: the group {name!r} holds something that is "
                    "not the name of a stem; groups within groups are not supported"
                )
        groups[name] = tuple(item.value for item in value.value)
    if not groups:
        raise GroupsError(f"{path}: no groups in it; write lines such as 'drums: [kick, snare]'")
    return groups


def _compose(path: Path) -> yaml.Node | None:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise GroupsError(f"{path}: larger than {_MAX_FILE_BYTES} bytes; this is not a groups file")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise GroupsError(f"{path}: cannot read the groups file ({reason}); check --groups") from None
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        reason = getattr(error, "problem", None) or "it cannot be parsed"
        raise GroupsError(f"{path}{line}: not valid YAML ({reason})") from None
    return node


def _check_group_name(name: str, *, where: str) -> None:
    if not name.strip() or "/" in name or not name.isprintable():
        raise GroupsError(f"{where}: {name!r} cannot name a group; use a plain word without slashes")
    if name in RESERVED:
        raise GroupsError(f"{where}: {name!r} is the name of the master; choose another for the group")


def group_stems(
    stems: Sequence[StemName], *, written: Mapping[str, Sequence[str]] | None = None, origin: Path | None = None
) -> dict[str, tuple[str, ...]]:
    """Assign stems to groups.

    Parameters
    ----------
    stems : sequence of StemName
    written : mapping, optional
        Groups as `read_groups` returns them; inferred from the names if not given.
    origin : Path, optional
        The file to name in messages.

    Returns
    -------
    dict of str to tuple of str
        Stem ids by group name. Stems in no group go to the master directly.

    Raises
    ------
    GroupsError
        If a stem is unknown, ambiguous or in two groups; the message names file and stem.
    """
    if written is None:
        found = infer_groups([stem.name for stem in stems])
        return {group: tuple(stems[i].id for i in members) for group, members in found.items()}
    where = "groups" if origin is None else str(origin)
    owner: dict[str, str] = {}
    groups: dict[str, tuple[str, ...]] = {}
    for group, references in written.items():
        ids = []
        for reference in references:
            stem = _find(reference, stems, where=where, group=group)
            if stem.id in owner:
                place = "twice" if owner[stem.id] == group else f"in {owner[stem.id]!r} and in {group!r}"
                raise GroupsError(f"{where}: the stem {reference!r} is {place}; a stem belongs to one group at most")
            owner[stem.id] = group
            ids.append(stem.id)
        groups[group] = tuple(ids)
    return groups


def _find(reference: str, stems: Sequence[StemName], *, where: str, group: str) -> StemName:
    by_file = [s for s in stems if s.file == reference]
    found = by_file or [s for s in stems if reference in (s.id, s.name)]
    if len(found) == 1:
        return found[0]
    if found:
        files = " or ".join(s.file for s in found)
        raise GroupsError(f"{where}: {reference!r} in the group {group!r} is ambiguous; write {files}")
    known = [name for s in stems for name in (s.name, s.file)]
    close = difflib.get_close_matches(reference, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the stems are {', '.join(s.name for s in stems)}"
    raise GroupsError(f"{where}: no stem is called {reference!r} (group {group!r}); {hint}")
