"""The commands below ``mixbridge plugins``: thin, no logic."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .bridge.errors import EXIT_FAILURE
from .cli_complete import complete_installable
from .cli_output import complain, errors_for_people, print_facts, print_json, print_table, progress_bar
from .cli_profile import profile_command

if TYPE_CHECKING:
    from .bridge.hosting.certificates import Certificate
    from .bridge.hosting.refs import ParameterDescription, PluginRef
    from .bridge.hosting.registry import BundleEntry, PluginEntry

plugins_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Find, install and check VST3 plugins.",
)

_AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@plugins_app.command("scan")
def scan_command(
    path: Annotated[
        list[Path] | None, typer.Option("--path", help="Also look in this folder, or at this .vst3.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try blacklisted plugins again.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Find the VST3 plugins of this machine; what crashes or hangs is blacklisted.

    Examples
    --------
    The folders of this system:
    mixbridge plugins scan
    Another folder, too, and what crashed the last time:
    mixbridge plugins scan --path ~/plugins --retry
    """
    with errors_for_people():
        from .bridge.hosting.scan import scan

        with progress_bar() as bar:
            result = scan(path or [], retry=retry, progress=bar.report)
        if as_json:
            print_json(
                {
                    "plugins": result.plugins,
                    "bundles": [_bundle_json(b, opened=b.path in result.opened) for b in result.bundles],
                }
            )
            return
        for bundle in result.blacklisted:
            complain(f"{Path(bundle.path).name} is blacklisted: {bundle.blacklisted}")
        typer.echo(f"{result.plugins} plugins in {len(result.bundles) - len(result.blacklisted)} bundles")


@plugins_app.command("list")
def list_command(
    text: Annotated[str, typer.Argument(help="Only plugins with this in their name, vendor or category.")] = "",
    as_json: _AsJson = False,
) -> None:
    """List the plugins the last scan found.

    Examples
    --------
    mixbridge plugins list
    Compressors alone:
    mixbridge plugins list compressor
    """
    with errors_for_people():
        from .bridge.hosting.registry import load_registry

        found = [
            (bundle, plugin)
            for bundle in load_registry().bundles
            if bundle.is_current
            for plugin in bundle.plugins
            if text.casefold() in f"{plugin.name} {plugin.vendor} {plugin.category}".casefold()
        ]
        if as_json:
            print_json([_plugin_json(bundle, plugin) for bundle, plugin in found])
        elif found:
            rows = [
                (p.name, p.vendor, p.category.replace("|", " "), Path(b.path).name, _verified(b, p)) for b, p in found
            ]
            print_table(("Name", "Vendor", "Category", "Bundle", "Probe"), rows)
        else:
            complain("no plugins are listed; 'mixbridge plugins scan' finds those of this machine")


@plugins_app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="Name, class id or .vst3 file of a plugin.")],
    as_json: _AsJson = False,
) -> None:
    """Show a plugin with its parameters and what a probe measured of it.

    Examples
    --------
    mixbridge plugins show ZamCompX2
    Everything, for a script:
    mixbridge plugins show "Compressor Stereo" --json
    """
    with errors_for_people():
        from .bridge.hosting.certificates import load_certificate
        from .bridge.hosting.pool import PluginPool

        plugin = _find(name)
        with PluginPool(workers=1) as pool:
            seen = pool.describe(plugin)
        certificate = load_certificate(plugin)
        if as_json:
            measured = None if certificate is None else certificate.model_dump(mode="json")
            print_json({**seen.to_data(), "path": _path_text(plugin), "certificate": measured})
            return
        facts = [
            ("Name", seen.name),
            ("Vendor", seen.vendor),
            ("Version", seen.version),
            ("Category", seen.category.replace("|", " ")),
            ("Class id", seen.class_id),
            ("File", _path_text(plugin) or "part of pedalboard"),
            ("Channels", " or ".join(map(str, seen.channels))),
            *_certificate_facts(certificate, plugin.name),
        ]
        print_facts(facts)
        rows = [(p.name, _default_text(p), _range_text(p), p.unit if not p.choices else "") for p in seen.parameters]
        print_table(("Parameter", "Default", "Range", "Unit"), rows)


@plugins_app.command("probe")
def probe_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names, class ids or .vst3 files.")],
    as_json: _AsJson = False,
) -> None:
    """Measure plugins and issue a certificate for each.

    Rates, block sizes, latency, determinism and whether a stored state comes back the same.

    Examples
    --------
    mixbridge plugins probe ZamGateX2
    Several at once:
    mixbridge plugins probe "Compressor Stereo" ZamGateX2 --json

    Exit codes
    ----------
    0 all passed, 1 one did not, 2 wrong input (one line names it and the remedy), 130 stopped
    """
    with errors_for_people():
        from .bridge.hosting.certificates import save_certificate
        from .bridge.hosting.pool import PluginPool
        from .bridge.hosting.probe import probe

        certificates = []
        with progress_bar() as bar, PluginPool(workers=1) as pool:
            for plugin in [_find(name) for name in names]:
                certificates.append(probe(plugin, pool, progress=bar.report))
                save_certificate(plugin, certificates[-1])
        if as_json:
            print_json([certificate.model_dump(mode="json") for certificate in certificates])
        else:
            for certificate in certificates:
                print_facts([("Name", certificate.name), *_certificate_facts(certificate, certificate.name)])
        if not all(certificate.passed for certificate in certificates):
            raise typer.Exit(EXIT_FAILURE)


@plugins_app.command("install")
def install_command(
    suites: Annotated[
        list[str],
        typer.Argument(metavar="SUITE...", help="lsp, zam or dragonfly.", autocompletion=complete_installable),
    ],
    force: Annotated[bool, typer.Option("--force", help="Install again what is there already.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Install open plugin suites for Mixbridge alone, without changing the system (Debian-like machines).

    Examples
    --------
    mixbridge plugins install lsp
    All of them, anew:
    mixbridge plugins install lsp zam dragonfly --force

    Files
    -----
    A folder for each suite in the data folder; MIXBRIDGE_HOME moves it.
    """
    with errors_for_people():
        from .bridge.hosting.install import check_suite_names, install_suite

        check_suite_names(suites)
        with progress_bar() as bar:
            installed = [install_suite(suite, force=force, progress=bar.report) for suite in suites]
        if as_json:
            print_json(
                [
                    {"suite": m.suite, "folder": str(m.prefix), "packages": dict(m.packages)}
                    | {"bundles": [str(b) for b in m.bundles]}
                    for m in installed
                ]
            )
            return
        for manifest in installed:
            typer.echo(f"{manifest.suite}: {len(manifest.bundles)} bundles in {manifest.prefix}")


# ------------------------------------------------------------------ shared by the commands


def _find(text: str) -> PluginRef:
    """Find what a user named: by class id, bundle file or name."""
    from .bridge.hosting.registry import find_plugin

    if re.fullmatch(r"[0-9A-Fa-f]{32}", text):
        return find_plugin(class_id=text)
    if text.endswith(".vst3"):
        path = Path(text)
        return find_plugin(bundle=str(path.absolute()) if path.exists() else text)
    return find_plugin(name=text)


def _path_text(plugin: PluginRef) -> str | None:
    return None if plugin.path is None else str(plugin.path)


def _ref_of(bundle: BundleEntry, plugin: PluginEntry) -> PluginRef:
    from .bridge.hosting.refs import PluginRef

    return PluginRef(name=plugin.name, path=Path(bundle.path), class_id=plugin.class_id)


def _verified(bundle: BundleEntry, plugin: PluginEntry) -> str:
    from .bridge.hosting.certificates import load_certificate

    certificate = load_certificate(_ref_of(bundle, plugin))
    return "" if certificate is None else "passed" if certificate.passed else "did not pass"


def _bundle_json(bundle: BundleEntry, *, opened: bool) -> dict[str, Any]:
    return {
        "path": bundle.path,
        "file_hash": bundle.file_hash,
        "blacklisted": bundle.blacklisted,
        "opened": opened,
        "plugins": [plugin.name for plugin in bundle.plugins],
    }


def _plugin_json(bundle: BundleEntry, plugin: PluginEntry) -> dict[str, Any]:
    content: dict[str, Any] = plugin.model_dump(mode="json")
    probed = _verified(bundle, plugin) or None
    return {**content, "path": bundle.path, "file_hash": bundle.file_hash, "probe": probed}


def _certificate_facts(certificate: Certificate | None, name: str) -> list[tuple[str, str]]:
    if certificate is None:
        return [("Probe", f"not made on this machine; 'mixbridge plugins probe \"{name}\"' does it")]
    facts = [("Probe", "passed" if certificate.passed else "did not pass")]
    facts += [("Reason", reason) for reason in certificate.reasons]
    facts += [("Note", note) for note in certificate.notes]
    for rate in certificate.rates:
        if not rate.refused:
            tail = "longer than the probe" if rate.tail_s is None else f"{rate.tail_s:.3f} s"
            latency = "unknown" if rate.latency_samples is None else f"{rate.latency_samples} samples"
            facts.append((f"{rate.sample_rate_hz / 1000:g} kHz", f"latency {latency}, tail {tail}"))
    return facts


def _default_text(parameter: ParameterDescription) -> str:
    default = parameter.default
    return default if isinstance(default, str) else f"{default:g}"


def _range_text(parameter: ParameterDescription) -> str:
    if parameter.choices:
        return ", ".join(parameter.choices)
    if parameter.minimum is None or parameter.maximum is None:
        return ""
    return f"{parameter.minimum:g} to {parameter.maximum:g}"


plugins_app.command("profile")(profile_command)
