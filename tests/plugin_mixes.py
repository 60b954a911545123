"""Mixes with settings that all plugin suites can follow, for the tests of exporters."""

from __future__ import annotations

from collections.abc import Mapping

from mixbridge.bridge.graph import Bus, Edge, Master, MixGraph, Node, Processor, Stem
from mixbridge.bridge.processors.specs import spec_of
from mixbridge.bridge.suites import Profile

from .mixes import chain_edges

Parameters = Mapping[str, float]


def settings_of(kind: str, **changed: float) -> dict[str, float]:
    """The defaults of a processor type, some of them changed."""
    return spec_of(kind).check(spec_of(kind).defaults() | changed)


#: Settings that all suites can follow.
EQ = settings_of(
    "eq", low_shelf_db=4.0, low_shelf_hz=180.0, bell1_db=-5.0, bell1_hz=400.0, bell3_db=6.0, bell3_q=2.0,
    high_shelf_db=-3.0, lowpass_hz=15000.0,
)  # fmt: skip
DELAY = settings_of(
    "delay", tap1_level_db=-8.0, tap1_time_ms=31.7, tap1_pan=-0.6, tap2_level_db=-11.0, tap2_time_ms=70.2,
    tap2_pan=0.4, tap2_high_cut_hz=4000.0, tap2_low_cut_hz=200.0,
)  # fmt: skip
REVERB = settings_of("reverb", level_db=-4.0, decay_s=0.7, pre_delay_ms=12.0, width=0.8, low_cut_hz=120.0)
COMPRESSOR = settings_of("compressor", threshold_db=-24.0, ratio=4.0, attack_ms=8.0, release_ms=90.0, knee_db=0.0,
                         makeup_db=5.0)  # fmt: skip
GATE = settings_of("gate", threshold_db=-30.0, ratio=4.0, range_db=40.0, attack_ms=1.0, release_ms=60.0, knee_db=0.0)
GAIN = {"gain_db": -2.5, "pan": 0.3}
WIDTH = {"width": 1.4}

Node_ = tuple[str, Parameters, float]


def mix_of(
    profiles: Mapping[str, Profile], *, track: list[Node_], bus: list[Node_], master: list[Node_], rate_hz: int = 44100
) -> MixGraph:
    """Two tracks, one of them in a bus, with processors that follow the laws of `profiles`."""

    def processors(channel: str, chain: list[Node_]) -> list[Processor]:
        laws = {kind: profile.law for kind, profile in profiles.items()}
        return [
            Processor(type=kind, id=f"{channel}/{index}", parameters=dict(values), mix=mix, law=laws.get(kind, ""))
            for index, (kind, values, mix) in enumerate(chain)
        ]

    nodes: list[Node] = []
    edges: list[Edge] = []
    members: list[tuple[Stem | Bus | Master, list[Node_], str | None]] = [
        (Stem(id="stem0", name="kick/in", file="kick.wav", offset_samples=-70), track, "bus"),
        (Stem(id="stem1", name="bass", file="bass.wav", channels=1, polarity=-1, offset_samples=500), [], "master"),
        (Bus(id="bus", name="drums"), bus, "master"),
        (Master(), master, None),
    ]
    for channel, chain, parent in members:
        placed = processors(channel.id, chain)
        nodes += [channel, *placed]
        edges += chain_edges(channel.id, placed, parent)
    return MixGraph(name="a mix", sample_rate_hz=rate_hz, frames=rate_hz, nodes=nodes, edges=edges)


def linear_mix(profiles: Mapping[str, Profile], *, rate_hz: int) -> MixGraph:
    """Equalizer, delay, reverb and what the host does, with a pan before and after them."""
    return mix_of(
        profiles,
        track=[("gain_pan", GAIN, 1.0), ("eq", EQ, 0.8), ("delay", DELAY, 0.7), ("gain_pan", GAIN, 0.5)],
        bus=[("imager", WIDTH, 1.0), ("reverb", REVERB, 0.4)],
        master=[("eq", dict(EQ) | {"bell2_db": 3.0, "bell2_hz": 900.0}, 1.0)],
        rate_hz=rate_hz,
    )


def dynamics_mix(profiles: Mapping[str, Profile], *, rate_hz: int) -> MixGraph:
    return mix_of(
        profiles,
        track=[("compressor", COMPRESSOR, 0.6), ("gain_pan", GAIN, 1.0)],
        bus=[("gate", GATE, 1.0)],
        master=[("compressor", dict(COMPRESSOR) | {"threshold_db": -12.0, "ratio": 2.0}, 1.0)],
        rate_hz=rate_hz,
    )
