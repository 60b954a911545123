"""Makes mixes with known settings by real plugins, from stems of songs; finding the settings again is not done here.

Every mix is an excerpt of a few stems through a sparse graph of random but musically sensible
settings: a fader and pan on every track, EQ and compressor on some, seldom a gate or a delay,
sometimes a shared reverb on a send and processors on the master. The graph is exported for a plugin
suite, and what was written is rendered by that suite's plugins. Settings are in our parameters and
keep to the suite's law and ranges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from mixbridge.bridge.audio import as_stereo, load_multitrack, write_wav
from mixbridge.bridge.graph import MIX_SOURCE, STEMS_SOURCE, Bus, Edge, Master, MixGraph, Node, Processor, Stem
from mixbridge.bridge.hosting.pool import PluginPool
from mixbridge.bridge.processors.equations import compressor_gain_db
from mixbridge.bridge.processors.laws import law_of
from mixbridge.bridge.processors.reference import Audio, detector_level_db
from mixbridge.bridge.processors.specs import BELLS, spec_of
from mixbridge.bridge.recovery_measure import frequency_grid, stem_sound
from mixbridge.bridge.render import apply_node, render_graph
from mixbridge.bridge.suites import Profile, choose_profiles
from mixbridge.bridge.verify.realise import render_chain
from mixbridge.exporters.chain import Chain
from mixbridge.exporters.pedalboard import export_pedalboard
from mixbridge.exporters.writer import ExportJob

TRACKS = (3, 6)
SECONDS = (15.0, 20.0)

#: Chance of each processor, on a track unless said otherwise.
CHANCE = {
    "eq": 0.6,
    "compressor": 0.4,
    "gate": 0.06,
    "delay": 0.08,
    "reverb": 0.4,
    "master_eq": 0.25,
    "master_comp": 0.2,
}

#: A stem is taken when this share of the excerpt's half seconds is within 40 dB of its loudest moment.
PLAYING_SHARE = 0.5

#: Peak of the sum in front of the master (dBFS).
SUM_PEAK_DB = -3.0


@dataclass(frozen=True)
class Source:
    """Stems of one song as one array each, shape (2, n)."""

    name: str
    sample_rate_hz: int
    stems: Mapping[str, Audio]


def read_source(folder: Path) -> Source:
    """Read a song's stems as they lie under its mix."""
    song = load_multitrack(folder / "stems", next(folder.glob("mix.*")))
    audio = {s.id: as_stereo(song.stem_audio(s)).astype(np.float64) for s in song.stems if not s.silent}
    return Source(folder.name, song.sample_rate_hz, audio)


def make_mix(source: Source, folder: Path, *, suite: str, seed: int, pool: PluginPool) -> None:
    """Write ``stems/``, ``mix.wav`` and ``graph.json`` (the truth, written last) into a folder."""
    random = np.random.default_rng([seed, 20])
    stems = _excerpt(source, random)
    folder.mkdir(parents=True, exist_ok=True)
    for name, audio in stems.items():
        write_wav(folder / "stems" / f"{name}.wav", audio, sample_rate_hz=source.sample_rate_hz)
    # What the plugins hear is what the files hold, in single precision.
    stems = {name: audio.astype(np.float32).astype(np.float64) for name, audio in stems.items()}
    truth = _Draft(stems, source, choose_profiles(suite), random).graph()
    sources = {STEMS_SOURCE: str((folder / "stems").resolve()), MIX_SOURCE: str((folder / "mix.wav").resolve())}
    provenance = truth.provenance.model_copy(update={"seed": seed, "plugins": suite, "sources": sources})
    truth = truth.model_copy(update={"provenance": provenance})
    job = ExportJob(graph=truth, stems_dir=folder / "stems", plugins=suite, pool=pool)
    file = export_pedalboard(job, folder / "session")
    mix = render_chain(Chain.load(file), file.parent, pool=pool)
    write_wav(folder / "mix.wav", mix, sample_rate_hz=source.sample_rate_hz)
    truth.save(folder / "graph.json")


def _excerpt(source: Source, random: np.random.Generator) -> dict[str, Audio]:
    """Some stems over a part of the song in which they play."""
    rate = source.sample_rate_hz
    whole = next(iter(source.stems.values())).shape[1]
    frames = min(whole, int(random.uniform(*SECONDS) * rate))
    count = int(random.integers(TRACKS[0], TRACKS[1], endpoint=True))
    best: list[str] = []
    for _ in range(12):
        start = int(random.integers(0, whole - frames, endpoint=True))
        names = [n for n, a in source.stems.items() if _plays(a[:, start : start + frames], a, rate)]
        if len(names) > len(best):
            best, begin = names, start
    if len(best) < TRACKS[0]:
        raise SystemExit(f"{source.name}: fewer than {TRACKS[0]} stems play together; leave this song out")
    chosen = sorted(random.permutation(best)[:count].tolist())
    return {name: source.stems[name][:, begin : begin + frames] for name in chosen}


def _plays(part: Audio, whole: Audio, rate: int) -> bool:
    step = rate // 2
    energy = np.add.reduceat((part**2).sum(axis=0), np.arange(0, part.shape[1], step))
    loudest = np.add.reduceat((whole**2).sum(axis=0), np.arange(0, whole.shape[1], step)).max()
    return bool(np.mean(energy > loudest * 1e-4) >= PLAYING_SHARE)


class _Draft:
    """A truth in the making: settings are chosen by what the processors will hear."""

    def __init__(
        self, stems: Mapping[str, Audio], source: Source, profiles: Mapping[str, Profile], random: np.random.Generator
    ) -> None:
        self.stems, self.rate, self.name = stems, source.sample_rate_hz, source.name
        self.profiles, self.random = profiles, random
        self.frames = next(iter(stems.values())).shape[1]
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []

    def graph(self) -> MixGraph:
        chains = {name: self._track(name, audio) for name, audio in self.stems.items()}
        room = self._room(list(chains)) if self._chance("reverb") else {}
        for name, chain in chains.items():
            self._channel(Stem(id=name, name=name, file=f"{name}.wav"), chain, "master")
        if room:
            decay = self._processor("reverb/room", "reverb", self._reverb_settings())
            self._channel(Bus(id="room", name="Room"), [decay], "master")
            ends = {name: chain[-1].id for name, chain in chains.items()}
            self.edges += [Edge(source=ends[name], target="room", send_db=level) for name, level in room.items()]
        self._channel(Master(), [], None)
        self._lower_to_peak()
        self._add_master()
        return self._built()

    def _built(self) -> MixGraph:
        return MixGraph(
            name=self.name, sample_rate_hz=self.rate, frames=self.frames, nodes=self.nodes, edges=self.edges
        )

    def _channel(self, node: Stem | Bus | Master, chain: Sequence[Processor], target: str | None) -> None:
        row: list[Node] = [node, *chain]
        self.nodes += row
        ids = [n.id for n in row] + ([target] if target is not None else [])
        self.edges += [Edge(source=a, target=b) for a, b in pairwise(ids)]

    def _chance(self, what: str) -> bool:
        return bool(self.random.uniform() < CHANCE[what])

    def _processor(self, node_id: str, kind: str, values: Mapping[str, float], *, mix: float = 1.0) -> Processor:
        profile = self.profiles[kind]
        settings = profile.clamp(spec_of(kind).defaults() | dict(values))
        return Processor(type=kind, id=node_id, parameters=settings, law=profile.law, mix=mix)

    # ---------------------------------------------------------------- tracks

    def _track(self, name: str, audio: Audio) -> list[Processor]:
        chain: list[Processor] = []

        def add(kind: str, values: Mapping[str, float], *, mix: float = 1.0) -> None:
            nonlocal audio
            chain.append(self._processor(f"{name}/{kind}", kind, values, mix=mix))
            audio = apply_node(chain[-1], audio, sample_rate_hz=self.rate)

        if self._chance("eq"):
            add("eq", self._eq_settings(audio, bands=int(self.random.integers(2, 3, endpoint=True)), most_db=9.0))
        if self._chance("compressor"):
            add("compressor", self._compressor_settings(audio, reduction_db=self.random.uniform(3.0, 8.0)))
        if self._chance("gate"):
            add("gate", self._gate_settings(audio))
        pan = 0.0 if self._one_in(0.3) else self.random.uniform(-0.8, 0.8)
        add("gain_pan", {"gain_db": round(self.random.uniform(-8.0, 4.0), 2), "pan": round(pan, 2)})
        if self._chance("delay"):
            add("delay", self._delay_settings(), mix=round(self.random.uniform(0.2, 0.4), 2))
        return chain

    def _one_in(self, share: float) -> bool:
        return bool(self.random.uniform() < share)

    def _eq_settings(self, audio: Audio, *, bands: int, most_db: float) -> dict[str, float]:
        """Bands where the channel has energy, no two of a kind."""
        sound = stem_sound(audio, sample_rate_hz=self.rate)
        grid = frequency_grid()
        heard = grid[sound.power > sound.power.max() * 1e-3]
        kinds = ["low_shelf", "high_shelf", "bell1", "bell2", "bell3", "bell4"][: 2 + BELLS]
        weights = np.array([1.0, 1.0, 1.0, 0.7, 0.5, 0.3])
        values: dict[str, float] = {}
        if self._one_in(0.25):
            values["highpass_hz"] = round(float(np.clip(heard[0] * self.random.uniform(0.8, 1.5), 25.0, 250.0)), 1)
            bands -= 1
        for kind in self.random.choice(kinds, size=bands, replace=False, p=weights / weights.sum()):
            gain_db = self.random.choice([-1.0, 1.0]) * self.random.uniform(0.25, 1.0) * most_db
            low, high = {"low_shelf": (60.0, 300.0), "high_shelf": (2500.0, 10000.0)}.get(kind, (120.0, 7000.0))
            inside = heard[(heard >= low) & (heard <= high)]
            if not len(inside):
                continue
            q = self.random.uniform(0.6, 2.5) if kind.startswith("bell") else 0.7071
            values |= {f"{kind}_hz": round(float(self.random.choice(inside)), 1), f"{kind}_db": round(gain_db, 2)}
            values |= {f"{kind}_q": round(q, 3)}
        return values

    def _compressor_settings(self, audio: Audio, *, reduction_db: float) -> dict[str, float]:
        """A threshold at which the meter shows so much reduction: the 95th percentile while the channel plays."""
        values = spec_of("compressor").defaults() | {
            "ratio": round(self.random.uniform(2.0, 6.0), 2),
            "attack_ms": round(float(np.exp(self.random.uniform(np.log(2.0), np.log(40.0)))), 2),
            "release_ms": round(float(np.exp(self.random.uniform(np.log(40.0), np.log(300.0)))), 1),
            "knee_db": 6.0,
        }
        values = dict(self.profiles["compressor"].clamp(values))
        level_db = self._levels(audio, values, "compressor")

        def shown_db(threshold_db: float) -> float:
            static = {"threshold_db": threshold_db, "ratio": values["ratio"], "knee_db": values["knee_db"]}
            return float(-np.percentile(compressor_gain_db(level_db, **static, xp=np), 5))

        low, high = -58.0, 0.0
        for _ in range(30):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if shown_db(middle) > reduction_db else (low, middle)
        makeup_db = round(0.5 * reduction_db, 1) if self._one_in(0.5) else 0.0
        return values | {"threshold_db": round(low, 1), "makeup_db": makeup_db}

    def _levels(self, audio: Audio, values: Mapping[str, float], kind: str) -> Audio:
        law = law_of(self.profiles[kind].law, kind)
        level_db = detector_level_db(audio, values, sample_rate_hz=self.rate, law=law)
        return np.asarray(level_db[level_db > level_db.max() - 40.0])

    def _gate_settings(self, audio: Audio) -> dict[str, float]:
        """An expander that closes where the channel is quietest."""
        values = {"ratio": round(self.random.uniform(2.0, 4.0), 2), "range_db": 40.0, "attack_ms": 2.0,
                  "release_ms": round(self.random.uniform(60.0, 200.0), 1)}  # fmt: skip
        level_db = self._levels(audio, spec_of("gate").defaults() | values, "gate")
        threshold_db = float(np.clip(np.percentile(level_db, self.random.uniform(10.0, 25.0)), -60.0, -10.0))
        return values | {"threshold_db": round(threshold_db, 1)}

    def _delay_settings(self) -> dict[str, float]:
        time_ms = round(self.random.uniform(150.0, 320.0), 1)
        values: dict[str, float] = {}
        for tap in range(1, int(self.random.integers(2, 3, endpoint=True)) + 1):
            values |= {f"tap{tap}_time_ms": time_ms * tap, f"tap{tap}_level_db": -2.0 - 6.0 * (tap - 1)}
        return values

    # ---------------------------------------------------------------- return and master

    def _room(self, names: Sequence[str]) -> dict[str, float]:
        """Which tracks send to the reverb, and at what level."""
        count = int(self.random.integers(2, len(names), endpoint=True))
        chosen = sorted(self.random.permutation(list(names))[:count].tolist())
        return {name: round(self.random.uniform(-16.0, -7.0), 1) for name in chosen}

    def _reverb_settings(self) -> dict[str, float]:
        return {
            "level_db": 0.0,
            "decay_s": round(self.random.uniform(0.6, 2.2), 2),
            "pre_delay_ms": round(self.random.uniform(0.0, 30.0), 1),
            "high_decay_ratio": round(self.random.uniform(0.4, 0.8), 2),
            "low_cut_hz": 120.0,
            "high_cut_hz": 9000.0,
        }

    def _lower_to_peak(self) -> None:
        """Bring all faders to where the sum peaks at `SUM_PEAK_DB`; the returns follow by themselves."""
        peak_db = 20.0 * np.log10(np.abs(render_graph(self._built(), lambda s: self.stems[s.id])).max())
        change_db = round(SUM_PEAK_DB - float(peak_db), 2)
        for index, node in enumerate(self.nodes):
            if isinstance(node, Processor) and node.type == "gain_pan":
                moved = node.parameters | {"gain_db": round(node.parameters["gain_db"] + change_db, 2)}
                self.nodes[index] = node.model_copy(update={"parameters": moved})

    def _add_master(self) -> None:
        total = render_graph(self._built(), lambda s: self.stems[s.id])
        chain: list[Processor] = []
        if self._chance("master_eq"):
            settings = self._eq_settings(total, bands=2, most_db=4.0)
            chain.append(self._processor("master/eq", "eq", settings))
            total = apply_node(chain[-1], total, sample_rate_hz=self.rate)
        if self._chance("master_comp"):
            settings = self._compressor_settings(total, reduction_db=self.random.uniform(1.5, 4.0))
            chain.append(self._processor("master/compressor", "compressor", settings))
        ids = ["master", *(n.id for n in chain)]
        self.nodes += chain
        self.edges += [Edge(source=a, target=b) for a, b in pairwise(ids)]
