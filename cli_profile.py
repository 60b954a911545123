"""The command ``mixbridge plugins profile``: thin, no logic; it is mounted with the other plugin commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .bridge.errors import OutputError
from .cli_complete import complete_processor
from .cli_output import complain, errors_for_people, print_facts, print_json, progress_bar

if TYPE_CHECKING:
    from .bridge.hosting.drafting.draft import Draft


def profile_command(
    path: Annotated[Path, typer.Argument(metavar="PATH.vst3", help="The plugin.")],
    name: Annotated[str, typer.Option("--name", help="Which plugin of a file that holds several.")] = "",
    processor: Annotated[
        str,
        typer.Option(
            "--processor",
            help="eq, compressor, gate, delay or reverb; found out if left out.",
            autocompletion=complete_processor,
        ),
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; left out, your own suite 'drafts' gets it.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier draft and its corrections.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Draft a profile for a plugin you own: measure it, fit our equations to it, write the file for you to correct.

    Examples
    --------
    A file that holds one plugin:
    mixbridge plugins profile ~/.vst3/MyCompressor.vst3
    One of many, for the processor that you mean:
    mixbridge plugins profile ~/.vst3/lsp-plugins.vst3 --name "Expander Stereo" --processor gate

    Files
    -----
    A profile (TOML) in the suite 'drafts' of your own, or where --out says.
    """
    with errors_for_people():
        from .bridge.files import write_text_whole
        from .bridge.hosting.drafting.draft import DRAFTS_SUITE, bench_for, choose_plugin, draft_profile, stem_for
        from .bridge.hosting.places import data_folder
        from .bridge.hosting.pool import PluginPool
        from .bridge.preset_names import OWN_FOLDER
        from .bridge.suites import load_profile

        plugin = choose_plugin(path, name)
        with progress_bar() as bar, PluginPool(workers=1) as pool:
            bar.report("describe", 0.0, plugin.label)
            bench = bench_for(pool, plugin)
            own = data_folder() / OWN_FOLDER / DRAFTS_SUITE / f"{stem_for(bench.description)}.toml"
            file = (out or own).absolute()
            if file.exists() and not overwrite:
                raise OutputError(
                    f"{file}: exists and may hold corrections; --overwrite replaces it, --out writes elsewhere"
                )
            suite, stem = file.parent.name, file.stem
            draft = draft_profile(bench, path, processor=processor, suite=suite, file_stem=stem, progress=bar.report)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text_whole(file, draft.text)
        load_profile(file)
        if as_json:
            print_json(_as_json(draft, file))
            return
        print_facts(_facts(draft, file))
        for doubt in draft.doubts:
            complain(f"look at: {doubt}")


def _facts(draft: Draft, file: Path) -> list[tuple[str, str]]:
    from .bridge.hosting.places import data_folder
    from .bridge.null_test import targets
    from .bridge.preset_names import OWN_FOLDER

    profile, measured = draft.profile, draft.measured
    # What all profiles should reach, not what this one states of itself.
    target_db, _ = targets(replace(profile, shortfall=None))
    deep = sum(result.null_db <= target_db for result in draft.results)
    facts = [
        ("Plugin", draft.description.name),
        ("Processor", f"{profile.processor} ({draft.reason})"),
        ("Law", profile.law or "reference"),
        ("Null depth", f"{measured.median_null_db:.1f} dB median, {measured.worst_null_db:.1f} dB worst"),
        ("", f"{deep} of {len(draft.results)} random settings at {target_db:.0f} dB or deeper"),
    ]
    if measured.worst_response_db is not None:
        facts.append(("Response", f"within {measured.worst_response_db:g} dB"))
    facts += [("Found", finding) for finding in draft.findings]
    own = (data_folder() / OWN_FOLDER).absolute()
    choice = f"--plugins {profile.processor}={profile.suite}:{profile.name}"
    where = choice if file.parent.parent == own else f"put it into {own / profile.suite}, then {choice}"
    facts += [("File", str(file)), ("Use it with", where)]
    return facts


def _as_json(draft: Draft, file: Path) -> dict[str, object]:
    return {
        "plugin": draft.description.name,
        "class_id": draft.description.class_id,
        "processor": draft.profile.processor,
        "reason": draft.reason,
        "law": draft.profile.law,
        "file": str(file),
        "measured": draft.measured.model_dump(mode="json"),
        "findings": list(draft.findings),
        "doubts": list(draft.doubts),
        "settings": [{"null_db": round(r.null_db, 1), "material": r.material, **r.parameters} for r in draft.results],
        "renders": draft.renders,
    }
