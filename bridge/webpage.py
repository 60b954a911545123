"""Self-contained pages from a folder's template, styles and scripts; what a page says belongs to its own package.

The template gets `style`, `script` and `script_hash`, the latter for a content policy that lets this
script run and no other.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

TEMPLATE = "page.html"


def data_uri(mime: str, data: bytes) -> str:
    """A file as an address that the page carries itself."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def self_contained_page(
    package: str,
    values: Mapping[str, Any],
    *,
    scripts: Sequence[str],
    styles: Sequence[str],
    filters: Mapping[str, Callable[..., Any]] | None = None,
) -> str:
    """The page `TEMPLATE` of a package, with its scripts and styles inside.

    Parameters
    ----------
    package : str
        Import name of the package whose folder holds the files.
    values : mapping of str to object
        What the template shows; texts are escaped.
    scripts, styles : sequence of str
        Names of files, joined in this order.
    filters : mapping of str to callable, optional
        Further filters of the template.
    """
    folder = resources.files(package)
    script, style = ("".join(folder.joinpath(name).read_text("utf-8") for name in names) for names in (scripts, styles))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(str(folder))),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters or {})
    return environment.get_template(TEMPLATE).render(
        **values,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
    )
