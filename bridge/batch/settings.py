"""What a user chooses about a batch, and its form as JSON; which song is done under which choice is in `keys`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter

from ...exporters.formats import check_exports
from ...exporters.options import ExportOptions
from ..choices import ExportFormat, this_system
from ..search.search import SearchSettings
from ..suites import choose_profiles

#: Sessions that our own hosts render, so that they can be verified without a DAW.
VERIFIED_FORMATS = (ExportFormat.reaper, ExportFormat.pedalboard)


@dataclass(frozen=True)
class SongSettings:
    """What decides on the result of a song.

    Attributes
    ----------
    exports : sequence of str
        Session formats to write, from `choices.ExportFormat`.
    verify : bool
        Render the sessions that our own hosts can render, and measure what was lost.
    """

    search: SearchSettings = field(default_factory=SearchSettings)
    exports: Sequence[str] = ()
    export_options: ExportOptions = field(default_factory=ExportOptions)
    verify: bool = True

    @property
    def verifies(self) -> bool:
        """Whether there will be anything to verify."""
        return self.verify and any(kind in VERIFIED_FORMATS for kind in self.exports)

    def check(self, *, here: bool = True) -> None:
        """Raise `MixbridgeError` for settings that no song can be done with.

        Parameters
        ----------
        here : bool
            The songs are done on this machine: its devices are looked at.
        """
        (self.search if here else replace(self.search, device="cpu")).check()
        laws = {kind: p.law for kind, p in choose_profiles(self.search.plugins).items() if p.search}
        check_exports(self.exports, laws=laws, plugins=self.search.plugins)

    def to_json(self) -> dict[str, Any]:
        """As plain data; defaults that depend on the machine are written out."""
        system = self.export_options.system or this_system()
        full = replace(self, export_options=replace(self.export_options, system=system))
        found: dict[str, Any] = _SETTINGS.dump_python(full, mode="json")
        return found

    @classmethod
    def from_json(cls, data: object) -> SongSettings:
        """The opposite of `to_json`."""
        return _SETTINGS.validate_python(data)


_SETTINGS = TypeAdapter(SongSettings)
