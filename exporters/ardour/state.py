"""States of LV2 plugins that load files, as Ardour keeps them beside a session; no session file here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...bridge.responses import Response

#: Folder of a plugin's state; Ardour counts them up as a session is saved.
STATE_FOLDER = "state1"

_STATE_FILE = "state.ttl"

_STATE = """\
@prefix atom: <http://lv2plug.in/ns/ext/atom#> .
@prefix lv2: <http://lv2plug.in/ns/lv2core#> .
@prefix pset: <http://lv2plug.in/ns/ext/presets#> .
@prefix state: <http://lv2plug.in/ns/ext/state#> .

<>
	a pset:Preset ;
	lv2:appliesTo <{uri}> ;
	state:state [
{properties}
	] .
"""


def write_state(uri: str, files: Mapping[str, Response], *, folder: Path, sample_rate_hz: int) -> str:
    """Write the files a plugin loads and the state that names them.

    Parameters
    ----------
    uri : str
        Of the plugin.
    files : mapping of str to Response
        By the id of the plugin's parameter.
    folder : Path
        Of the plugin, within the session.

    Returns
    -------
    str
        Name of the state's folder within `folder`.
    """
    target = folder / STATE_FOLDER
    target.mkdir(parents=True, exist_ok=True)
    lines = []
    for key, response in files.items():
        response.save(target / f"{key}.wav", sample_rate_hz=sample_rate_hz)
        # A path in a state is relative to the state's folder.
        lines.append(f'\t\t<{uri}/ports#{key}> "{key}.wav"^^atom:Path')
    text = _STATE.format(uri=uri, properties=" ;\n".join(lines))
    (target / _STATE_FILE).write_text(text, encoding="utf-8")
    return STATE_FOLDER
