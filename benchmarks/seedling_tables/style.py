"""Whether a song takes after its own clip more than after another song's.

For each song and each other clip: is the own one nearer? The share of pairs won, in per cent, ties
counting half; chance is 50. `rest` is what followed the clip in its own song: as near as a song can
be, so it says what a feature can tell. The true sketch has a tempo and a key of its own.

* `voice`: cosine of speaker embeddings (Resemblyzer; musicnn's of the voice alone where that is not
  installed) of the separated voices, over pairs of clips by different voices
* `tempo`: ratio, up to octaves, of librosa's estimates
* `key`: correlation of the mean chroma of the accompaniments
* `instruments`: cosine of musicnn's mean embeddings of the accompaniments
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np

from seedling_tables.chain import interval, percent
from seedling_tables.songs import Song
from songbloom.evaluation import musicnn, vocals
from songbloom.stages import structure_similarity

_LEVEL = 10 ** (-30 / 20)
ROWS: dict[str, Callable[[Song], Path]] = {
    "rest": lambda song: song.clip_rest,
    "true sketch": lambda song: song.sound("true sketch"),
    "model": lambda song: song.sound("model"),
}


@dataclass(frozen=True)
class Style:
    """What is heard of a sound: embeddings, chroma `[12]`, tempo in beats a minute."""

    voice: np.ndarray
    tempo: float
    key: np.ndarray
    instruments: np.ndarray


class Listener:
    """The models that hear style, in memory."""

    def __init__(self) -> None:
        self._music = musicnn.Embedder()
        try:
            from resemblyzer import VoiceEncoder
        except ImportError:
            self.voices, self._voice = "musicnn", self._mean
        else:
            self.voices = "resemblyzer"
            self._voice = VoiceEncoder("cpu", verbose=False).embed_utterance

    def __call__(self, song: Song, path: Path) -> Style:
        voice, band = song.parts(path)
        return Style(
            self._voice(_sung(voice)),
            float(np.atleast_1d(librosa.feature.tempo(y=band, sr=vocals.RATE))[0]),
            structure_similarity.listen(band).chroma.sum(axis=1),
            self._mean(band),
        )

    def _mean(self, samples: np.ndarray) -> np.ndarray:
        return self._music(samples).mean(axis=0)


def _sung(voice: np.ndarray) -> np.ndarray:
    """Where somebody sings in a voice `[n]` at 16 kHz, at the level that Resemblyzer wants."""
    phrases = structure_similarity.find_phrases(voice)
    parts = [voice[round(a * vocals.RATE) : round(b * vocals.RATE)] for a, b in phrases]
    sung = np.concatenate(parts) if parts else voice
    return sung * (_LEVEL / (np.sqrt(np.mean(sung**2)) + 1e-9))


def table(songs: Sequence[Song]) -> dict[str, Any]:
    """Win rates of every feature at `ROWS`."""
    listener = Listener()
    clips = [listener(song, song.clip) for song in songs]
    rows = []
    for name, path in ROWS.items():
        found = [listener(song, path(song)) for song in songs]
        rows.append({"step": name} | _wins(songs, found, clips))
    return {"voices_by": listener.voices, "rows": rows}


def _wins(songs: Sequence[Song], found: Sequence[Style], clips: Sequence[Style]) -> dict[str, Any]:
    singers = np.array([song.clip_score.voice for song in songs])
    row: dict[str, Any] = {}
    for feature, nearness in _NEARNESS.items():
        near = np.array(
            [[nearness(getattr(s, feature), getattr(c, feature)) for c in clips] for s in found]
        )
        counted = ~np.eye(len(songs), dtype=bool)
        if feature == "voice":
            counted &= singers[:, None] != singers[None]
        own = np.diag(near)[:, None]
        won = ((near < own) + 0.5 * (near == own)) * counted
        row[feature] = percent(won, counted)
        row[f"{feature}_95"] = interval(won.sum(axis=1), counted.sum(axis=1))
    return row


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other) + 1e-9))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    return _cosine(one - one.mean(), other - other.mean())


def _tempo(one: float, other: float) -> float:
    return -abs((np.log2(one / other) + 0.5) % 1 - 0.5)


_NEARNESS: dict[str, Callable[[Any, Any], float]] = {
    "voice": _cosine,
    "tempo": _tempo,
    "key": _correlation,
    "instruments": _cosine,
}
