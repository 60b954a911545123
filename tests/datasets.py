"""Small folders laid out like published multitrack datasets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

RATE_HZ = 44100


def write_sound(path: Path, *, seed: int, channels: int = 2, seconds: float = 0.4, rate_hz: int = RATE_HZ) -> Path:
    """Noise of its own for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate_hz), channels))
    soundfile.write(path, noise.astype(np.float32), rate_hz, format="MP3" if path.suffix == ".mp3" else None)
    return path


def medleydb_song(
    root: Path,
    name: str,
    stems: Sequence[tuple[str | list[str], Sequence[str | list[str]]]],
    *,
    metadata: Path | None = None,
    **facts: Any,
) -> Path:
    """A song with stems, each an instrument and those of its recordings."""
    folder = root / name
    write_sound(folder / f"{name}_MIX.wav", seed=99)
    content: dict[str, Any] = {
        "artist": name.partition("_")[0],
        "has_bleed": "no",
        "version": 1.2,
        **facts,
        "stems": {},
    }
    for s, (instrument, recordings) in enumerate(stems, start=1):
        raw = {}
        for r, played in enumerate(recordings, start=1):
            file = f"{name}_RAW_{s:02}_{r:02}.wav"
            write_sound(folder / f"{name}_RAW" / file, seed=10 * s + r, channels=1)
            raw[f"R{r:02}"] = {"filename": file, "instrument": played}
        file = f"{name}_STEM_{s:02}.wav"
        write_sound(folder / f"{name}_STEMS" / file, seed=s)
        content["stems"][f"S{s:02}"] = {"component": "", "filename": file, "instrument": instrument, "raw": raw}
    place = (metadata or folder) / f"{name}_METADATA.yaml"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(yaml.safe_dump(content))
    return folder


def musdb_song(root: Path, name: str, *, split: str = "train") -> Path:
    """A song with its four sources and their mixture."""
    folder = root / split / name
    for seed, part in enumerate(("mixture", "bass", "drums", "other", "vocals")):
        write_sound(folder / f"{part}.wav", seed=seed)
    return folder


def moisesdb_song(
    root: Path, uuid: str, *, artist: str, song: str, stems: list[tuple[str, list[dict[str, Any]]]]
) -> Path:
    """A song with stems, each a name and tracks: trackType and what `write_sound` is asked."""
    folder = root / "moisesdb_v0.1" / uuid
    listed, seed = [], 0
    for stem, tracks in stems:
        entries = []
        for track in tracks:
            seed += 1
            track_id = f"{uuid}-{seed}"
            asked = {key: value for key, value in track.items() if key not in ("trackType", "has_bleed")}
            write_sound(folder / stem / f"{track_id}.wav", seed=seed, **asked)
            bleed = track.get("has_bleed", False)
            entries.append({"id": track_id, "trackType": track["trackType"], "extension": "wav", "has_bleed": bleed})
        listed.append({"stemName": stem, "tracks": entries})
    (folder / "data.json").write_text(json.dumps({"artist": artist, "song": song, "genre": "pop", "stems": listed}))
    return folder


def mixing_secrets_song(root: Path, name: str, tracks: list[str], *, inner: str = "") -> Path:
    """An unpacked archive."""
    folder = root / name
    for seed, track in enumerate(tracks, start=1):
        write_sound(folder / inner / f"{seed:02}_{track}.wav", seed=seed, channels=1)
    return folder
