"""What the shell offers when Tab is pressed: graphs, suites, consoles, parts, channels; no command is defined here.

It must answer at once: nothing here loads torch, and numpy only where a graph is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Annotated

import typer

from .bridge.choices import AUDIO_SUFFIXES, PARTS
from .bridge.errors import MixbridgeError
from .bridge.preset_names import SUFFIX, console_names, suite_names
from .bridge.processors.specs import SPECS
from .bridge.result_folder import FOLDER_SUFFIX, graph_file

#: Set by the completion scripts of the shells.
COMPLETE_VARIABLE = "_MIXBRIDGE_COMPLETE"

#: Folders in folders are looked into this deep while each holds nothing else.
_DEEPEST = 8


def complete_console(incomplete: str) -> list[str]:
    """Consoles by name, and files that hold one."""
    return [*_beginning(console_names(), incomplete), *_paths(incomplete, (SUFFIX,))]


def complete_suites(incomplete: str) -> list[str]:
    """Suites, alone or by processor (``eq=lsp,*=jsfx``)."""
    return _in_list(incomplete, keys=("*", *SPECS), values=suite_names(), alone=suite_names())


def complete_amounts(incomplete: str) -> list[str]:
    """Parts of a match with a strength to begin with (``eq=0.5,reverb=0.5``)."""
    return _in_list(incomplete, keys=PARTS, values=("0", "0.25", "0.5", "0.75", "1"), default="0.5")


def complete_parts(incomplete: str) -> list[str]:
    """Parts of a match, separated by commas (``eq,pan``)."""
    return _in_list(incomplete, alone=PARTS)


def complete_graph(incomplete: str) -> list[str]:
    """Graph files and folders of an analysis."""
    return _paths(incomplete, (".json",), folders=True)


def complete_graph_file(incomplete: str) -> list[str]:
    """Graph files; folders are looked into."""
    return _paths(incomplete, (".json",))


def complete_session(incomplete: str) -> list[str]:
    """Session files."""
    return _paths(incomplete, (".rpp", ".json"))


def complete_verifiable(incomplete: str) -> list[str]:
    """Session files and folders of an analysis."""
    return _paths(incomplete, (".rpp", ".ardour", ".json"), folders=True)


def complete_audio(incomplete: str) -> list[str]:
    """Audio files."""
    return _paths(incomplete, tuple(AUDIO_SUFFIXES))


def complete_of(suffix: str) -> Callable[[str], list[str]]:
    """A completion of files with an ending, such as ".yaml"."""

    def complete(incomplete: str) -> list[str]:
        return _paths(incomplete, (suffix,))

    return complete


def complete_processor(incomplete: str) -> list[str]:
    """Processor types."""
    return _beginning(SPECS, incomplete)


def complete_installable(incomplete: str) -> list[str]:
    """Plugin suites that can be installed."""
    from .bridge.hosting.install import SUITES

    return _beginning(SUITES, incomplete)


def complete_channel(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the channels of the graph that was named before."""
    from .bridge.graph import MixGraph

    # An option that still lacks its value keeps the arguments from being told apart.
    path = ctx.params.get("graph") or next(iter(ctx.args), None)
    try:
        names = [channel.name for channel in MixGraph.load(graph_file(Path(str(path)))).channels()] if path else []
    except MixbridgeError:
        return []
    if os.environ.get(COMPLETE_VARIABLE) == "complete_bash":
        # The other shells quote what they insert.
        names = [re.sub(r"([^\w./-])", r"\\\1", name) for name in names]
    return _beginning(dict.fromkeys(names), incomplete)


#: Argument and option of every command that looks at graphs.
GraphArgument = Annotated[
    Path, typer.Argument(help="graph.json, or the folder of an analysis.", autocompletion=complete_graph)
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only", help="Only this channel, by name; may be given more than once.", autocompletion=complete_channel
    ),
]


# ------------------------------------------------------------------------------- values


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _in_list(
    incomplete: str,
    *,
    keys: Iterable[str] = (),
    values: Iterable[str] = (),
    alone: Iterable[str] = (),
    default: str = "",
) -> list[str]:
    """Complete the last item of a list with commas: a word alone, a key with its value, or the value of a key.

    bash takes ``=`` for the end of a word, see `whole_words`: there the value stands alone.
    """
    before, comma, item = incomplete.rpartition(",")
    done = before + comma
    key, equals, begun = item.partition("=")
    if equals:
        return [f"{done}{key}={value}" for value in values if value.startswith(begun)]
    if os.environ.get(_KEY_VARIABLE) and not comma:
        return _beginning(values, incomplete)
    found = [word for word in alone if word.startswith(item)]
    if item or default:
        found += [f"{name}={v}" for name in keys if name.startswith(item) for v in ([default] if default else values)]
    return [done + word for word in found]


# -------------------------------------------------------------------------------- paths


def _paths(incomplete: str, suffixes: tuple[str, ...], *, folders: bool = False) -> list[str]:
    """Files with one of these endings, folders to look into and, if wished for, folders of an analysis.

    Nothing where a shell would have to quote what is found: it completes such names better itself.
    """
    found = [incomplete]
    for _ in range(_DEEPEST):
        found = list(_entries(found[0], suffixes, folders=folders))
        # A shell would take the only choice as final and put a blank behind it.
        if len(found) != 1 or not found[0].endswith("/"):
            break
    else:
        return []
    return [] if any(set(path) & set(" \t\n'\"\\$`!*?[](){}<>|&;#~:") for path in found) else found


def _entries(incomplete: str, suffixes: tuple[str, ...], *, folders: bool) -> Iterator[str]:
    place, slash, begun = incomplete.rpartition("/")
    try:
        entries = sorted(os.scandir(place + slash or "."), key=lambda entry: entry.name)
    except (OSError, ValueError):
        return
    for entry in entries:
        if not entry.name.startswith(begun) or (entry.name.startswith(".") and not begun):
            continue
        path = place + slash + entry.name
        if entry.is_dir():
            yield path if folders and entry.name.endswith(FOLDER_SUFFIX) else f"{path}/"
        elif entry.name.lower().endswith(suffixes):
            yield path


# --------------------------------------------------------------------------------- bash

#: Tells the completions that what is complete stands behind a key and ``=``.
_KEY_VARIABLE = "_MIXBRIDGE_COMPLETE_KEY"


def whole_words(environment: MutableMapping[str, str]) -> None:
    """Put the words together again that bash cuts at every ``=``.

    Of ``--plugins eq=ls`` it sends ``--plugins``, ``eq``, ``=`` and ``ls``, and replaces the last of them alone:
    so the last word is completed as if it stood alone, and those before it are joined.

    Parameters
    ----------
    environment : mutable mapping of str to str
        With the variables of bash's protocol; they are changed.
    """
    if environment.get(COMPLETE_VARIABLE) != "complete_bash":
        return
    words = environment.get("COMP_WORDS", "").split("\n")
    try:
        at = int(environment.get("COMP_CWORD", ""))
    except ValueError:
        return
    before, current = words[:at], words[at] if at < len(words) else ""
    if current == "=":
        before, current = [*before, current], ""
    joined: list[str] = []
    for word in before:
        if word == "=" and joined:
            joined[-1] += "="
        elif joined and joined[-1].endswith("="):
            joined[-1] += word
        else:
            joined.append(word)
    if joined and joined[-1].endswith("="):
        key = joined.pop()
        if key.startswith("--"):
            option, _, begun = key.partition("=")
            joined.append(option)
            key = begun
        if key:
            environment[_KEY_VARIABLE] = key
    environment["COMP_WORDS"] = "\n".join([*joined, current])
    environment["COMP_CWORD"] = str(len(joined))
