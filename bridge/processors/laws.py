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
from .specs import spec_of

#: Section Qs of Butterworth filters, by order.
BUTTERWORTH_QS: dict[int, tuple[float, ...]] = {
    2: (eq.BUTTERWORTH_Q,),
    4: (0.541196100146197, 1.306562964876376),
}

#: Two equal first-order sections in a row, as one second-order section.
DOUBLE_FIRST_ORDER_QS = (0.5,)


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
    """

    name: str
    types: tuple[str, ...]
    pass_qs: tuple[float, ...] = BUTTERWORTH_QS[2]
    cut_qs: tuple[float, ...] = BUTTERWORTH_QS[2]
    linked: bool = True
    compressor_detector: Literal["level", "gain_reduction"] = "level"
    gate: Literal["expander", "smoothstep", "power", "switch"] = "expander"

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
