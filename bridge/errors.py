"""The error tree of the project and the exit codes that belong to it; nothing else lives here.

Every error a user can cause derives from `MixbridgeError`. Its message is one line that names
the file or setting and the remedy. Subclasses stay compatible with the builtin a caller would
expect (`ValueError`, `OSError`), so that code that knows nothing of Mixbridge still works.
"""

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USER_ERROR = 2
EXIT_AMBER = 3
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Obstacle:
    """One of the things for which something could not be done.

    Attributes
    ----------
    line : int or None
        Where it stands in the file, from 1.
    words : str
    """

    line: int | None
    words: str


class MixbridgeError(Exception):
    """Root of all errors that are reported to the user as one line.

    Attributes
    ----------
    obstacles : tuple of Obstacle
        Everything that stands in the way, where it was looked for; the message tells the first.
    """

    exit_code = EXIT_USER_ERROR
    obstacles: tuple[Obstacle, ...] = ()


class AudioFileError(MixbridgeError, OSError):
    """An audio file or folder is missing, unreadable, empty or holds no usable audio."""


class AudioContentError(MixbridgeError, ValueError):
    """An audio file was read, but what it holds cannot be used (NaN samples, wrong length)."""


class ParameterError(MixbridgeError, ValueError):
    """A setting is outside its range, of the wrong type or unknown."""


class GraphError(MixbridgeError, ValueError):
    """A graph, or the file that holds it, is malformed; the message names the field."""


class GroupsError(MixbridgeError, ValueError):
    """The file that assigns stems to groups is malformed or names unknown stems."""


class TempoMapError(MixbridgeError, ValueError):
    """A MIDI file is missing, damaged or holds no tempo map that can be used."""


class OutputError(MixbridgeError, OSError):
    """The output folder cannot be written or holds something that must not be overwritten."""


class ExportError(MixbridgeError, ValueError):
    """A graph cannot be expressed in the chosen session format."""


class DatasetError(MixbridgeError, ValueError):
    """A dataset is not laid out as it should be, or a file of collected graphs is malformed."""


class SessionFileError(MixbridgeError, ValueError):
    """A session file of a DAW could not be read; the message names the line or field."""


class PluginError(MixbridgeError, RuntimeError):
    """A plugin cannot be used; the message names the plugin and the remedy."""


class PluginNotFoundError(PluginError):
    """No plugin of that name or class id is known on this machine."""


class PluginCrashError(PluginError):
    """A plugin took its worker process down, also at the second attempt."""


class PluginTimeoutError(PluginError, TimeoutError):
    """A plugin did not answer within its time limit, also at the second attempt."""


class PluginRefusalError(PluginError):
    """A plugin does not take the sample rate, channels, parameter or state it was given."""


class PluginOutputError(PluginError):
    """What a plugin returned cannot be used: NaN, infinity, another length or shape."""


class PluginUnverifiedError(PluginError):
    """A plugin has no passing certificate."""


class PluginSettingError(PluginError):
    """A plugin is set to something that none of its profiles writes; the message names the setting."""


class InstallError(MixbridgeError, OSError):
    """A plugin suite could not be put on this machine."""


class ProfileError(MixbridgeError, ValueError):
    """A plugin profile or suite is malformed or unknown; the message names the file and field."""


class ScriptError(MixbridgeError, ValueError):
    """A JSFX is outside what REAPER accepts or what we host; the message names file and line."""


class VerifyError(MixbridgeError, ValueError):
    """What was written cannot be rendered or compared; the message names the file."""


class ManifestError(MixbridgeError, ValueError):
    """A list of songs is missing, malformed or names one twice; the message names the line."""


class BatchError(MixbridgeError, RuntimeError):
    """A batch cannot be run, or one of its songs was not finished; the message names what and the remedy."""


class DawError(MixbridgeError, RuntimeError):
    """A DAW did not render a session; the message names the session and the remedy."""


class DawNotFoundError(DawError):
    """The program of a DAW is not on this machine, or not where it was said to be."""


class DawTimeoutError(DawError, TimeoutError):
    """A DAW did not finish within its time limit and was ended."""


def combined(errors: Sequence[MixbridgeError], *, mixed: type[MixbridgeError]) -> MixbridgeError:
    """One error for several: its message is the first one's and how many more there are, `obstacles` has them all.

    Parameters
    ----------
    errors : sequence of MixbridgeError
        At least one; the same words about the same line count once.
    mixed : type
        What to raise where they are of several types.
    """
    found = dict.fromkeys(o for error in errors for o in error.obstacles or (Obstacle(None, str(error)),))
    kinds = {type(error) for error in errors}
    more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
    error = (kinds.pop() if len(kinds) == 1 else mixed)(f"{errors[0]}{more}")
    error.obstacles = tuple(found)
    return error


class ListenError(MixbridgeError, ValueError):
    """A listening test cannot be made, or its collected results cannot be used; the message names the file."""
