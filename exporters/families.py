"""Families of instruments and their colours, read off the names of tracks; no DAW's way to write a colour here."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Families that no name of an instrument tells.
RETURN, REFERENCE = "return", "reference"

#: Colours as #rrggbb: Okabe and Ito's palette, which colour-blind people can tell apart, and two greys.
FAMILY_COLOURS: Mapping[str, str] = {
    "drums": "#d55e00",
    "percussion": "#e69f00",
    "bass": "#0072b2",
    "guitar": "#009e73",
    "keys": "#f0e442",
    "synth": "#cc79a7",
    "strings and wind": "#56b4e9",
    "voice": "#c0c0ff",
    RETURN: "#8c8c8c",
    REFERENCE: "#5a5a5a",
}

#: Words that names of tracks begin or end with; the longest that fits decides.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "drums": (
        "drum", "bassdrum", "kit", "kick", "kik", "bd", "snare", "snr", "sd", "hat", "hihat", "hh", "tom", "overhead",
        "oh", "cymbal", "crash", "ride", "beat",
    ),
    "percussion": (
        "perc", "conga", "bongo", "shaker", "tamb", "clap", "cowbell", "cajon", "timbale", "triangle", "wood",
    ),
    "bass": ("bass", "sub", "808", "contrabass"),
    "guitar": ("guitar", "gtr", "strum", "banjo", "ukulele", "mandolin"),
    "keys": ("key", "piano", "pno", "rhodes", "organ", "wurli", "clav", "harpsichord", "ep"),
    "synth": ("synth", "syn", "pad", "arp", "pluck", "sequence", "saw"),
    "strings and wind": (
        "string", "harp", "violin", "viola", "cello", "brass", "trumpet", "trombone", "sax", "horn", "flute",
        "clarinet", "wind", "harmonica", "oboe",
    ),
    "voice": ("vocal", "vox", "voc", "voice", "sing", "choir", "bv", "bgv", "harm", "rap"),
}  # fmt: skip

#: What a track does rather than what it is; asked where no other word tells.
_ROLES: Mapping[str, tuple[str, ...]] = {"synth": ("lead", "chord"), "drums": ("room",), "voice": ("backing",)}

#: Words this short stand for an instrument only where they are the whole word.
_ABBREVIATION_LENGTH = 2


def family_of(*names: str) -> str:
    """The family that the first of some names that tells anything belongs to; empty if none does.

    Parameters
    ----------
    names : str
        Of a track, then of the groups it lies in, from the inside out.

    Returns
    -------
    str
        Key of `FAMILY_COLOURS`.
    """
    for known in (_WORDS, _ROLES):
        for name in names:
            # "bass drum" is a drum: the last word names the thing, those before it tell what kind of it.
            for word in reversed(re.findall(r"[a-z]+|808", name.lower())):
                fitting = [
                    (len(part), family) for family, parts in known.items() for part in parts if _fits(word, part)
                ]
                if fitting:
                    return max(fitting, key=lambda found: found[0])[1]
    return ""


def _fits(word: str, part: str) -> bool:
    whole = len(part) <= _ABBREVIATION_LENGTH
    return word == part if whole else word.startswith(part) or word.endswith(part)


def colour_of(family: str) -> str:
    """#rrggbb of a family; empty where there is none."""
    return FAMILY_COLOURS.get(family, "")
