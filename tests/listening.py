"""Folders as ``analyze`` and ``verify`` leave them, small, and ratings, for the tests of listening tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.signal
import soundfile

from mixbridge.bridge.audio import write_wav
from mixbridge.bridge.graph import Edge, Master, MixGraph, Provenance, Stem
from mixbridge.bridge.listen.ratings import RatedSong, Rating, Ratings, TestInfo
from mixbridge.bridge.verify.results import Verification

RATE_HZ = 44100


def noise_song(seconds: float, *, seed: int) -> np.ndarray:
    """Noise whose colour and level change, shape (2, frames)."""
    random = np.random.default_rng(seed)
    frames = round(seconds * RATE_HZ)
    audio = 0.1 * random.standard_normal((2, frames))
    audio += 0.4 * scipy.signal.lfilter([0.05], [1.0, -0.95], random.standard_normal((1, frames)))
    return np.asarray(audio * (0.5 + 0.4 * np.sin(np.arange(frames) / RATE_HZ)), dtype=np.float32)


def make_folder(parent: Path, name: str, *, seconds: float = 4.0, seed: int = 0, real: int = 1) -> Path:
    """A folder with graph.json, match.wav and as many verified sessions as asked for; the mix and stems beside it."""
    folder, stems = parent / f"{name}.mixbridge", parent / f"{name} stems"
    folder.mkdir(parents=True)
    stems.mkdir()
    mix = noise_song(seconds, seed=seed)
    parts = {"a": 0.7 * mix, "b": 0.2 * mix[:1]}
    for stem, audio in parts.items():
        soundfile.write(stems / f"{stem}.wav", audio.T, RATE_HZ, subtype="FLOAT")
    soundfile.write(parent / f"{name}.wav", mix.T, RATE_HZ, subtype="FLOAT")
    graph = MixGraph(
        name=name,
        sample_rate_hz=RATE_HZ,
        frames=mix.shape[1],
        nodes=[*(Stem(id=stem, name=stem, file=f"{stem}.wav") for stem in parts), Master(id="master")],
        edges=[Edge(source=stem, target="master") for stem in parts],
        provenance=Provenance(sources={"mix": str(parent / f"{name}.wav"), "stems": str(stems)}),
    )
    graph.save(folder / "graph.json")
    write_wav(folder / "match.wav", 0.5 * mix, sample_rate_hz=RATE_HZ)
    for number in range(real):
        session = folder / f"session{number}"
        session.mkdir()
        (session / "chain.json").write_text("{}", encoding="utf-8")
        late = np.pad(0.9 * mix, ((0, 0), (10, 0)))
        write_wav(folder / f"real{number}.wav", late, sample_rate_hz=RATE_HZ)
        found = Verification(
            path=str(session / "chain.json"),
            verdict="green",
            session="chain",
            sample_rate_hz=RATE_HZ,
            frames=mix.shape[1],
            offset_samples=10,
            real_file=f"../real{number}.wav",
        )
        found.save(session / "verify.json")
    return folder


def rated(participant: str, songs: dict[str, dict[str, int]], *, test: str = "abc") -> Ratings:
    """What a listener gave: scores of each condition, by song."""
    return Ratings(
        test=TestInfo(id=test, title="A test", seed=0),
        participant=participant,
        songs=tuple(
            RatedSong(
                song=song,
                position=position,
                start_s=0.0,
                end_s=4.0,
                loudness_lufs=-23.0,
                seconds=30.5,
                ratings=tuple(
                    Rating(condition=condition, title=condition.title(), label=chr(65 + i), score=score, gain_db=-0.25)
                    for i, (condition, score) in enumerate(scores.items())
                ),
            )
            for position, (song, scores) in enumerate(songs.items(), start=1)
        ),
    )
