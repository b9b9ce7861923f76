"""Small songs that no two of are alike, and how a training set describes them."""

from pathlib import Path
from typing import Any

import numpy as np

from songbloom import audio
from songbloom.files import sha256
from songbloom.manifest import Track
from songbloom.stages import ingest

RATE = 16_000
NAMES = ("ash", "birch", "cedar", "elm", "fir")


def tune(seed: int, seconds: float = 13.0) -> np.ndarray:
    """Notes drawn at random, `[1, n]` at 16 kHz: a sound that no other seed has."""
    rng = np.random.default_rng(seed)
    time = np.arange(RATE // 4) / RATE
    notes = [
        sum(np.sin(2 * np.pi * f * time) for f in rng.uniform(150, 2200, 3)) * np.exp(-4 * time)
        for _ in range(round(seconds * 4))
    ]
    return (0.25 * np.concatenate(notes))[None].astype(np.float32)


def write_songs(folder: Path) -> Path:
    """Songs of these names with their lyrics, one too short and one silent."""
    for number, name in enumerate(NAMES):
        audio.save(folder / f"{name}.flac", tune(number), RATE)
        words = f"[verse]\nThe {name} is green\nThe {name} is tall\n\n[chorus]\nAll of them fall\n"
        (folder / f"{name}.txt").write_text(words)
    audio.save(folder / "short.flac", tune(8, 3.0), RATE)
    audio.save(folder / "still.flac", np.zeros((1, 12 * RATE), np.float32), RATE)
    return folder


def track(path: Path, name: str, artist: str = "") -> Track:
    """A song of a training set as `prepare` describes it."""
    fields: dict[str, Any] = {"audio_sha256": sha256(path), **ingest.measure(path)[0]}
    if path.with_suffix(".txt").is_file():
        fields["lyrics_sha256"] = sha256(path.with_suffix(".txt"))
    return Track(name, path.name, artist=artist, state="ready", results={"ingest": fields})
