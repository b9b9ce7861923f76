"""MCC, MuLan cycle consistency: how like its reference clip a song sounds.

The cosine of the mean embeddings of song and clip, from -1 to 1; of a set of songs, their mean. A
song scores 1 against itself. What an unrelated pair scores depends on the embeddings, and is told
as the part `shuffled`: the mean cosine of every song with the clips of the others. The paper's MCC
is MuLan's; `muq-mulan` is its open stand-in, and there the reference may be a description in words:
a .txt file in a table's column `reference`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from songbloom.errors import SongBloomError
from songbloom.evaluation import embeddings
from songbloom.evaluation.embeddings import Embeddings
from songbloom.evaluation.items import Item
from songbloom.evaluation.metric import Measured, ratio
from songbloom.files import sha256


@dataclass
class MCC:
    """The metric; see the module."""

    embeddings: Embeddings
    name: str = "mcc"
    unit: str = "cosine"
    better: Literal["lower", "higher"] | None = "higher"
    needs: frozenset[str] = field(default=frozenset({"reference"}))
    corpus: bool = False

    def identity(self) -> dict[str, Any]:
        """Those of the embeddings."""
        return self.embeddings.identity

    def measure(self, item: Item) -> Measured:
        """The cosine, the windows of both, and their directions as arrays `[D]`."""
        if item.reference is None:
            raise SongBloomError(f"{item.name}: no reference clip", "Name its folder.")
        embeddings.check_clip(item.reference)
        song, clip = self.embeddings.of(item.audio), self.embeddings.of(item.reference)
        arrays = {"song": _direction(song, item.audio), "reference": _direction(clip, item.audio)}
        cosine = float(np.clip(arrays["song"] @ arrays["reference"], -1.0, 1.0))
        details = {
            "windows": len(song),
            "reference_windows": len(clip),
            "reference_sha256": sha256(item.reference),
        }
        return Measured(cosine, 1.0, details, arrays)

    def combine(self, songs: Sequence[Measured]) -> float:
        """The songs' mean."""
        return ratio(songs)

    def parts(self, songs: Sequence[Measured]) -> dict[str, Any]:
        """Chance level, lowest and highest."""
        every = sorted(song.amount for song in songs)
        return {"shuffled": shuffled(songs), "lowest": every[0], "highest": every[-1]}


def shuffled(songs: Sequence[Measured]) -> float | None:
    """Mean cosine of songs with the clips of other songs; None where all have the same clip."""
    clips: dict[str, tuple[int, np.ndarray]] = {}  # clip -> how many songs have it, its direction
    for song in songs:
        key = song.details["reference_sha256"]
        count = clips[key][0] if key in clips else 0
        clips[key] = count + 1, song.arrays["reference"]
    if len(clips) < 2:
        return None
    every = np.sum([count * clip for count, clip in clips.values()], axis=0, dtype=np.float64)
    cosines, pairs = 0.0, 0
    for song in songs:
        count, clip = clips[song.details["reference_sha256"]]
        cosines += float(song.arrays["song"] @ (every - count * clip))
        pairs += len(songs) - count
    return cosines / pairs


def load(settings: Mapping[str, Any], work: Path) -> MCC:
    """The metric that a protocol's [mcc] describes: backend, model."""
    return MCC(Embeddings(embeddings.model("mcc", settings), work))


def _direction(windows: np.ndarray, path: Path) -> np.ndarray:
    """The mean of windows `[n, D]` at length 1, float64 `[D]`."""
    mean = windows.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(mean)
    if not length:
        raise SongBloomError(f"{path}: its embedding is all zeros", "Leave the song out.")
    return np.asarray(mean / length)
