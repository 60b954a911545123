"""Identifiers of tracks, items and effects in a project: the same for the same node at every export; no lines here."""

from __future__ import annotations

import uuid

from .rpp import Word

_GUID_SPACE = uuid.UUID("7b1f4f0e-54a5-5d0b-9d0b-6e1c7a3b2f10")


def node_guid(kind: str, node_id: str) -> Word:
    """The same identifier for the same node at every export.

    Parameters
    ----------
    kind : str
        What of the node it is for: "track", "fx", "item", "take", "volume".
    """
    return Word("{" + str(uuid.uuid5(_GUID_SPACE, f"{kind}:{node_id}")).upper() + "}")
