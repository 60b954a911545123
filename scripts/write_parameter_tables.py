"""Writes the parameter tables of docs/graph-format.md from the specifications; no other text is generated."""

from __future__ import annotations

import sys
from pathlib import Path

from mixbridge.bridge.files import write_text_whole
from mixbridge.bridge.processors.specs import CHAIN_ORDER, Parameter, spec_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "graph-format.md"
BEGIN, END = "<!-- parameters: begin -->", "<!-- parameters: end -->"


def number(value: float) -> str:
    """A number as short as it can be without loss in practice."""
    return f"{value:.6g}"


def row(parameter: Parameter) -> str:
    """One parameter as a line of a table."""
    off = "" if parameter.off_at is None else number(parameter.off_at)
    cells = (
        f"`{parameter.name}`",
        parameter.label,
        parameter.unit,
        number(parameter.minimum),
        number(parameter.maximum),
        number(parameter.default),
        parameter.scale,
        off,
    )
    return "| " + " | ".join(cells) + " |"


def tables() -> str:
    """All tables, in the order of a channel's chain."""
    parts = []
    for name in CHAIN_ORDER:
        spec = spec_of(name)
        parts += [
            f"### `{spec.type}`: {spec.label}",
            "",
            "| parameter | meaning | unit | from | to | default | scale | off at |",
            "|---|---|---|---|---|---|---|---|",
            *(row(p) for p in spec.parameters),
            "",
        ]
    return "\n".join(parts)


def main() -> None:
    """Entry point."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{PAGE}: the lines {BEGIN} and {END} are missing; put them where the tables belong")
    write_text_whole(PAGE, f"{before}{BEGIN}\n\n{tables()}\n{END}{after}")


if __name__ == "__main__":
    main()
