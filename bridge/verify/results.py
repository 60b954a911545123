"""verify.json: what a verification found; nothing is measured here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..choices import Host
from ..errors import VerifyError
from ..features import Features
from ..files import write_text_whole
from .polished import Polished
from .verdict import Verdict

VERIFY_FILE = "verify.json"
FORMAT = "mixbridge-verify"
SCHEMA_VERSION = 1

#: A result file larger than this is refused unread.
MAX_FILE_BYTES = 64 * 1024 * 1024

#: A null deeper than this reads this (dB): far below the last bit of a float file.
DEEPEST_NULL_DB = -200.0

NodeKind = Literal["insert", "fader", "volume", "send", "media", "missing", "extra"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class NodeResult(_Model):
    """One insert, fader, automation, send or source in the real chain against its reference fed with the same input.

    Attributes
    ----------
    id : str
        Node of the graph or insert of the session; a channel's fader is ``<channel>:fader``, its
        volume automation ``<channel>:volume``, its source ``<channel>:media``, a send
        ``<channel>><bus>``.
    kind : {"insert", "fader", "volume", "send", "media", "missing", "extra"}
        "missing": in the graph, but not (or bypassed) in the session; "extra": the other way round.
    plugin : str
        What does the work there; empty for the mixer itself.
    null_db : float or None
        Difference to the reference relative to the reference; None where there is no reference.
    level_error_db : float or None
        Level above that of the reference; None where one of them is silent.
    offset_samples : int
        By how much it comes too late; looked for where the null is poor.
    impact_db : float or None
        The difference as it reaches the song through faders and sends, relative to the song;
        automation counts by its mean power.
    contribution : float or None
        What L_a falls by when the reference takes this node's place; measured for the worst nodes.
    """

    id: str
    channel: str
    channel_name: str
    type: str = ""
    kind: NodeKind = "insert"
    plugin: str = ""
    null_db: float | None = None
    level_error_db: float | None = None
    offset_samples: int = 0
    impact_db: float | None = None
    contribution: float | None = None
    note: str = ""


class ChannelResult(_Model):
    """A track, bus or the master: its output against its reference fed with the same input."""

    id: str
    name: str
    kind: Literal["track", "bus", "master"]
    null_db: float | None = None
    level_error_db: float | None = None


class LossResult(_Model):
    """L_a against the target (see `metrics`).

    Attributes
    ----------
    real, graph : float or None
        Of the render by plugins and of the graph's reference render.
    differentiable : float or None
        What the search reached with its twins, where that was measured against this target.
    """

    real: float | None = None
    graph: float | None = None
    differentiable: float | None = None


class OctaveResult(_Model):
    """Level differences of the real render in one octave band (dB)."""

    centre_hz: float
    to_graph_db: float | None = None
    to_target_db: float | None = None


class ObstacleResult(_Model):
    """One of the things that could not be rendered; see `errors.Obstacle`."""

    line: int | None
    words: str


class Verification(_Model):
    """What was found about one session file.

    Attributes
    ----------
    path : str
        The session file, or what was named if none was found.
    host : {"", "reaper", "given"}
        Who rendered it: our own hosts (empty), a DAW, or the user, with `--render`.
    host_version : str
        What the DAW says of its version.
    error : str
        Why nothing was measured; empty otherwise.
    obstacles : tuple of ObstacleResult
        All that the session holds and that cannot be rendered, where that is why.
    gap : float or None
        Transfer gap: L_a of the real render minus that of the twins, or minus that of the
        graph's reference render where the former is not known (`gap_to`).
    offset_samples : int
        By how much the render came too late; it was moved back before anything was compared.
    null_db : float or None
        Difference to the graph's own render relative to that render.
    loudness_difference_lu : float or None
        Integrated loudness above that of the graph's own render.
    features : dict
        Of "real", "graph" and "target", as far as there are such.
    nodes : tuple of NodeResult
        Worst first; none where others rendered: they tell the master alone.
    real_file : str
        The render, relative to the folder of `path`.
    inputs : str
        Digest of everything that went in; the same digest gives the same result.
    polished : Polished or None
        What came of improving the nodes, where that was asked for.
    """

    format: Literal["mixbridge-verify"] = "mixbridge-verify"
    schema_version: Literal[1] = 1
    path: str
    name: str = ""
    session: Literal["", "reaper", "ardour", "chain"] = ""
    suites: str = ""
    host: Host = ""
    host_version: str = ""
    verdict: Verdict
    error: str = ""
    obstacles: tuple[ObstacleResult, ...] = ()
    graph: str = ""
    target: str = ""
    sample_rate_hz: int = 0
    frames: int = 0
    loss: LossResult = Field(default_factory=LossResult)
    gap: float | None = None
    gap_to: Literal["", "differentiable", "graph"] = ""
    offset_samples: int = 0
    null_db: float | None = None
    loudness_difference_lu: float | None = None
    octaves: tuple[OctaveResult, ...] = ()
    features: dict[str, Features] = Field(default_factory=dict)
    nodes: tuple[NodeResult, ...] = ()
    channels: tuple[ChannelResult, ...] = ()
    notes: tuple[str, ...] = ()
    real_file: str = ""
    inputs: str = ""
    polished: Polished | None = None
    wall_s: Annotated[float, Field(ge=0.0)] = 0.0

    def to_json(self) -> str:
        """Serialise; stable under load, save, load."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=True, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        """Write verify.json whole or not at all."""
        write_text_whole(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read verify.json (`VerifyError` when it is missing, too large or malformed)."""
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise VerifyError(f"{path}: larger than {MAX_FILE_BYTES} bytes; this is not a result of 'verify'")
            data: Any = path.read_bytes()
            return cls.model_validate_json(data)
        except OSError as error:
            raise VerifyError(f"{path}: cannot read the result ({error.strerror}); verify again") from None
        except (ValidationError, ValueError, RecursionError) as error:
            if isinstance(error, VerifyError):
                raise
            raise VerifyError(f"{path}: not a result of this version; verify again with --again") from None
