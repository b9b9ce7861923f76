"""Whether the syllables of the sketch keep a beat, and whether it is the clip's.

Vowels of the sketch tokens begin where syllables do. `on_clip`: the mean cosine of the distances of
one to the next in half beats of the clip's song, 1 where each is a whole number of them and 0 on no
grid; `on_own`: in half beats of the song's own best tempo between `SLOWEST` and `FASTEST`;
`follows`: the correlation of this tempo with the clip's, over songs. `score`: of the clips' own
songs, whose tokens are frames of 40 ms, too, so that it says what can be had.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seedling_tables.songs import Song
from songbloom.generation.bundle import bundle_path, read_bundle
from songbloom.model.sketch_symbols import IS_VOWEL, score_to_tokens, split_code
from songbloom.units import FRAME_RATE

SLOWEST, FASTEST = 80, 132  # beats a minute, less than an octave apart
_SHORTEST, _LONGEST = 5, 49  # frames between syllables of one line
ROWS: dict[str, Callable[[Song], np.ndarray]] = {
    "score": lambda song: score_to_tokens(song.clip_score),
    "model": lambda song: read_bundle(bundle_path(song.sound("model"))).sketch.numpy(),
}


def table(songs: Sequence[Song]) -> list[dict[str, Any]]:
    """A row for the clips' scores and one for the model's songs."""
    asked = [song.clip_score.tempo for song in songs]
    rows = []
    for name, sketch in ROWS.items():
        found = [distances(sketch(song)) for song in songs]
        own = [max(range(SLOWEST, FASTEST + 1), key=lambda x, d=d: on_grid(d, x)) for d in found]
        rows.append(
            {
                "step": name,
                "on_clip": _mean(found, asked),
                "on_own": _mean(found, own),
                "follows": round(float(np.corrcoef(own, asked)[0, 1]), 2),
            }
        )
    return rows


def distances(sketch: np.ndarray) -> np.ndarray:
    """Frames from each syllable of a sketch `[T]` to the next of the same line."""
    phones, _ = split_code(sketch)
    begins = IS_VOWEL[phones] & np.append(True, phones[1:] != phones[:-1])
    apart = np.diff(np.flatnonzero(begins))
    return apart[(apart >= _SHORTEST) & (apart <= _LONGEST)]


def on_grid(apart: np.ndarray, tempo: float) -> float:
    """Mean cosine of distances in frames on the grid of half beats; 0 where there are none."""
    half_beat = 30 / tempo * FRAME_RATE
    return float(np.cos(2 * np.pi * apart / half_beat).mean()) if len(apart) else 0.0


def _mean(found: Sequence[np.ndarray], tempi: Sequence[float]) -> float:
    return round(float(np.mean([on_grid(d, x) for d, x in zip(found, tempi, strict=True)])), 2)
