"""The laws of other plugins' processors: how they differ from ours, as data; the equations are in `equations`.

A law keeps the parameters and their meaning and changes what is done with them (another gate
curve, another detector). Reference, twins and graph take the same law, so that a search fits the
compressor that will be in the session. Which plugin follows which law is said by its profile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ParameterError
from . import equations as eq
from .specs import SPECS, spec_of

#: Section Qs of Butterworth filters, by order.
BUTTERWORTH_QS: dict[int, tuple[float, ...]] = {
    2: (eq.BUTTERWORTH_Q,),
    4: (0.541196100146197, 1.306562964876376),
}

#: Two equal first-order sections in a row, as one second-order section.
DOUBLE_FIRST_ORDER_QS = (0.5,)


#: Name of the law of the reverb whose reflections are at fixed times (module `freeverb`).
FREEVERB = "freeverb"


@dataclass(frozen=True)
class Law:
    """What a processor does with its parameters.

    Attributes
    ----------
    name : str
        Empty for the reference law.
    types : tuple of str
        Processor types to which it applies; the others have the reference law.
    pass_qs : tuple of float
        Q of each section of the EQ's high-pass and low-pass.
    cut_qs : tuple of float
        The same for the cuts of delay taps.
    linked : bool
        Dynamics follow the louder channel (True) or each channel by itself.
    compressor_detector : {"level", "gain_reduction"}
        What attack and release smooth: the level before the curve or the reduction (dB) after it.
    gate : {"expander", "smoothstep", "power", "switch"}
        Expander with knee; S-curve between two levels; expander on an RMS level without knee or
        floor; on/off with linear ramps.
    reverb : {"noise", "freeverb"}
        Decaying noise in three bands, or the combs and all-passes of `freeverb`: its decay time is that
        of the lows, the high decay ratio holds at `freeverb.DAMPING_HZ` and goes no further down than
        the plugin's damping, the low decay ratio does nothing.
    beside : bool
        It stands beside the other laws of a suite as a choice, as another kind of processor would: one
        session may have processors of both (see `kind_of`).
    """

    name: str
    types: tuple[str, ...]
    pass_qs: tuple[float, ...] = BUTTERWORTH_QS[2]
    cut_qs: tuple[float, ...] = BUTTERWORTH_QS[2]
    linked: bool = True
    compressor_detector: Literal["level", "gain_reduction"] = "level"
    gate: Literal["expander", "smoothstep", "power", "switch"] = "expander"
    reverb: Literal["noise", "freeverb"] = "noise"
    beside: bool = False

    @property
    def gate_curve(self) -> Callable[..., Any]:
        """Static curve of the gate (`equations`); a switch has none of its own."""
        return eq.smoothstep_gate_gain_db if self.gate == "smoothstep" else eq.gate_gain_db


REFERENCE = Law("", ())

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        REFERENCE,
        Law("lsp", ("gate", "delay"), gate="smoothstep", cut_qs=BUTTERWORTH_QS[4]),
        Law("zam", ("compressor", "gate"), compressor_detector="gain_reduction", gate="switch"),
        Law(
            "pedalboard",
            ("eq", "compressor", "gate", "delay"),
            pass_qs=DOUBLE_FIRST_ORDER_QS,
            cut_qs=DOUBLE_FIRST_ORDER_QS,
            linked=False,
            gate="power",
        ),
        Law(FREEVERB, ("reverb",), cut_qs=DOUBLE_FIRST_ORDER_QS, reverb="freeverb", beside=True),
    )
}


def law_of(name: str, processor_type: str) -> Law:
    """The law of that name for a processor type.

    Raises
    ------
    ParameterError
        If there is no such law, or it does not concern this type.
    """
    if not name:
        return REFERENCE
    if name not in LAWS:
        raise ParameterError(f"unknown law {name!r}; known are {', '.join(n for n in LAWS if n)}")
    if spec_of(processor_type).type not in LAWS[name].types:
        raise ParameterError(f"{processor_type}: the law {name!r} does not concern it; leave its law empty")
    return LAWS[name]


#: Between the type and the law of a kind (see `kind_of`).
KIND_SEPARATOR = ":"


def kind_of(processor_type: str, law: str = "") -> str:
    """What tells the processors of a session apart that need profiles, limits and twins of their own.

    Returns
    -------
    str
        ``type:law`` for a law that stands beside others (``reverb:freeverb``), else the type: of the
        other laws a session has one per type.
    """
    return f"{processor_type}{KIND_SEPARATOR}{law}" if law and LAWS[law].beside else processor_type


def type_and_law(kind: str) -> tuple[str, str]:
    """Processor type of a kind, and the law it names ("" if none); inverts `kind_of` where it can.

    Raises
    ------
    ParameterError
        If there is no such type, or the law does not stand beside others of that type.
    """
    processor_type, separator, law = kind.partition(KIND_SEPARATOR)
    if separator and not law_of(law, processor_type).beside:
        raise ParameterError(f"{kind!r} names no law that can be chosen; known are {', '.join(KINDS)}")
    return spec_of(processor_type).type, law


#: All kinds: the processor types, and those of laws that stand beside others.
KINDS: tuple[str, ...] = (*SPECS, *(kind_of(t, law.name) for law in LAWS.values() if law.beside for t in law.types))
