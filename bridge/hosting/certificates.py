"""Certificates: what a probe measured of a plugin on this machine, where they are kept, and asking for one.

Nothing is measured here; see `probe`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import PluginUnverifiedError
from . import places
from .bundles import SUFFIX, file_hash
from .keeping import keep_text
from .refs import PluginRef

#: Raised whenever probes measure something else or judge differently: older certificates no longer count.
PROBE_VERSION = 1

_FOLDER = "certificates"

Count = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RateResult(_Model):
    """How a plugin behaves at one sample rate, at the settings of the probe.

    Attributes
    ----------
    refused : str
        Why it does not run at this rate; empty if it does, and the rest is then measured.
    latency_samples : int or None
        Delay of the largest peak of its answer to an impulse; None if it stays silent.
    block_difference_db : float or None
        Largest difference between renders in blocks of different length, dBFS; None if all are
        equal to the last bit.
    tail_s : float or None
        Time until the answer to an impulse stays 90 dB below its peak; None if longer than the probe.
    denormals : int
        Samples that are not zero but too small for normal numbers: they can make a processor slow.
    """

    sample_rate_hz: float
    refused: str = ""
    latency_samples: Count | None = None
    block_difference_db: float | None = None
    tail_s: float | None = None
    denormals: Count = 0


class Certificate(_Model):
    """What a probe measured of one plugin.

    Attributes
    ----------
    host : str
        Host and its version, as plugins behave differently in different ones.
    reasons : tuple of str
        Why it did not pass; empty if it did.
    notes : tuple of str
        What is unusual but can be lived with.
    channels : tuple of int
        Channel counts it takes.
    reported_latency_samples : int
        What it says of itself; not to be relied upon.
    block_frames : int or None
        Block length that renders must keep to; None if the output does not depend on it.
    deterministic : bool
        Same input, same output to the last bit: in one process and in a fresh one.
    state_restored : bool
        A fresh process that is given its state renders the same, to the last bit.
    crosstalk_db : float or None
        Level of the right output while only the left input sounds, against the left output;
        None for mono plugins and where it stays silent.
    self_noise_db : float or None
        Peak of the output for silence, dBFS; None for silence.
    """

    format: Literal["mixbridge-certificate"] = "mixbridge-certificate"
    schema_version: Literal[1] = 1
    probe_version: int = PROBE_VERSION
    host: str
    name: str
    vendor: str = ""
    version: str = ""
    class_id: str = ""
    bundle: str = ""
    file_hash: str
    passed: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    reported_latency_samples: int = 0
    block_frames: int | None = None
    deterministic: bool = False
    state_restored: bool = False
    crosstalk_db: float | None = None
    self_noise_db: float | None = None
    rates: tuple[RateResult, ...] = ()


def host_version() -> str:
    """Name and version of the host that plugins run in."""
    return f"pedalboard {importlib.metadata.version('pedalboard')}"


def hash_of(plugin: PluginRef) -> str:
    """Hash that tells versions of a plugin apart: of its bundle's code, for built-ins of the host's version."""
    if plugin.path is None:
        return hashlib.sha256(host_version().encode()).hexdigest()
    return file_hash(plugin.path)


def certificate_path(plugin: PluginRef, *, class_id: str = "") -> Path:
    """File the certificate of a plugin is kept in, whether there is one or not.

    Parameters
    ----------
    class_id : str
        As the plugin itself has it, where `plugin` leaves it open.
    """
    subject = plugin.class_id or class_id or plugin.name
    readable = "".join(c if c.isascii() and c.isalnum() else "-" for c in subject)
    return places.data_folder() / _FOLDER / f"{readable}-{_short(hash_of(plugin))}.json"


def _short(file_hash: str) -> str:
    return file_hash[:16]


def load_certificate(plugin: PluginRef) -> Certificate | None:
    """Return the certificate of this very version of a plugin; None if there is none that still counts."""
    exact = certificate_path(plugin)
    # Without a class id the plugin goes by its name; the file does not.
    others = [] if plugin.class_id else sorted(exact.parent.glob(f"*-{_short(hash_of(plugin))}.json"))
    for path in [exact, *others]:
        try:
            found = Certificate.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue
        current = (PROBE_VERSION, host_version(), hash_of(plugin))
        if plugin.class_id:
            same = found.class_id == plugin.class_id
        else:
            same = plugin.name in (found.name, found.bundle.removesuffix(SUFFIX))
        if same and (found.probe_version, found.host, found.file_hash) == current:
            return found
    return None


def save_certificate(plugin: PluginRef, certificate: Certificate) -> Path:
    """Keep a certificate; returns its file (`PluginError` if it cannot be written)."""
    path = certificate_path(plugin, class_id=certificate.class_id)
    keep_text(path, certificate.model_dump_json(indent=1) + "\n")
    return path


def require_certificate(plugin: PluginRef, *, allow_unverified: bool = False) -> Certificate | None:
    """Insist that a plugin passed its probe on this machine.

    Parameters
    ----------
    allow_unverified : bool
        Accept it all the same, as the user asked for.

    Returns
    -------
    Certificate or None
        Its certificate; with `allow_unverified` also one that did not pass, or None.

    Raises
    ------
    PluginUnverifiedError
        When it has no certificate or did not pass; the message names the remedy.
    """
    certificate = load_certificate(plugin)
    if allow_unverified or (certificate is not None and certificate.passed):
        return certificate
    if certificate is None:
        raise PluginUnverifiedError(
            f"{plugin.name}: was never probed on this machine; 'mixbridge plugins probe \"{plugin.name}\"' does it, "
            "--allow-unverified uses it all the same"
        )
    raise PluginUnverifiedError(
        f"{plugin.name}: did not pass its probe ({certificate.reasons[0]}); choose another plugin, or "
        "--allow-unverified uses it all the same"
    )
