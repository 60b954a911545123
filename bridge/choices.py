"""What a user chooses by name or ending, and the defaults, free of torch; what a choice does lives elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from .processors.specs import GAIN_PAN, SPECS


class Quality(StrEnum):
    """How much work a search does."""

    draft = "draft"
    standard = "standard"
    best = "best"


class Pruning(StrEnum):
    """How candidates for pruning are ordered."""

    taylor = "taylor"
    hybrid = "hybrid"
    dry_wet = "dry_wet"
    brute_force = "brute_force"


class ExportFormat(StrEnum):
    """Session formats."""

    reaper = "reaper"
    ardour = "ardour"
    dawproject = "dawproject"
    pedalboard = "pedalboard"


class DatasetKind(StrEnum):
    """Published multitrack datasets whose layouts are known."""

    medleydb = "medleydb"
    mixing_secrets = "mixing-secrets"
    moisesdb = "moisesdb"
    musdb = "musdb18-hq"


class TrackSource(StrEnum):
    """What a dataset's tracks are: dry recordings, or stems that were made of them."""

    raw = "raw"
    stems = "stems"


class Daw(StrEnum):
    """DAWs that render their own sessions for a verification."""

    reaper = "reaper"
    ardour = "ardour"


class Cluster(StrEnum):
    """Schedulers that songs of a batch can be sent to."""

    slurm = "slurm"


#: Who rendered a session: our own hosts (empty), a DAW, or a user, who hands the render over.
Host = Literal["", "reaper", "ardour", "given"]

#: The DAWs among them.
DAW_HOSTS: Mapping[Daw, Host] = {Daw.reaper: "reaper", Daw.ardour: "ardour"}

#: The two halves of the gain/pan, which can be chosen apart.
GAIN, PAN = "gain", "pan"

#: What is no processor: levels of sends, and automation of volume, pan and sends.
SENDS, AUTOMATION = "sends", "automation"

#: Everything that has a strength.
PARTS = (*(name for name in SPECS if name != GAIN_PAN.type), GAIN, PAN, SENDS, AUTOMATION)

#: Formats libsndfile reads, by file name ending.
AUDIO_SUFFIXES = frozenset(
    (".wav", ".wave", ".w64", ".rf64", ".flac", ".aif", ".aiff", ".aifc", ".ogg", ".oga", ".opus", ".mp3")
)

DEFAULT_QUALITY = Quality.standard
DEFAULT_PRUNING = Pruning.taylor
DEFAULT_TOLERANCE = 0.01

#: Console preset; see `console.load_console`.
DEFAULT_CONSOLE = "full"

#: Plugin suites a session is written for: our JSFX need nothing installed but the DAW.
DEFAULT_SUITES = "jsfx"

#: Systems that a session can be written for: file names and class ids of some plugins differ.
System = Literal["windows", "macos", "linux"]


def this_system() -> System:
    """The system that this runs on."""
    return "windows" if sys.platform == "win32" else "macos" if sys.platform == "darwin" else "linux"
