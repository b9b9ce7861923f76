"""Whether the voice is in tune: its pitch against the key, the notes and the true voice.

The pitch is that of WORLD (DIO, refined by StoneMask) in the voice that the embedded separator
finds, every 10 ms where somebody sings; of the true voice once, as the ceiling. `in_key`: frames
within 50 cents of a note of the song's scale; seven of twelve semitones are, so that chance is
58 %. The model chooses its own key: `in_heard_key` is by the scale that fits the accompaniment
alone best (Krumhansl and Kessler's profiles 1982), which `key_right` of the songs have rightly
where the key is known. `on_note`: frames within 50 cents of the melody's very note there. `voiced`:
of the song's time; `of_true`: seconds against those of the true voice. `low` to `high` hold nine of
ten frames, in Hz.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import librosa
import numpy as np
import pyworld

from seedling_tables.chain import interval, percent
from seedling_tables.songs import STEPS, Song
from songbloom.evaluation import vocals
from songbloom.stages import sound, structure_similarity
from songbloom.synth.harmony import scale
from songbloom.synth.score import Score
from songbloom.units import Seconds

TRUE_VOICE = "true voice"
FRAME: Seconds = 0.01
_LOWEST, _HIGHEST = 65.0, 900.0  # Hz
_NEAR = 0.5  # semitones
# How well each semitone above the key note fits, for a major and a minor key.
_PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


@dataclass(frozen=True)
class Sung:
    """A song's pitch in MIDI notes where voiced, else NaN, every 10 ms `[n]`; its heard scale."""

    pitch: np.ndarray
    heard_scale: frozenset[int]


def table(songs: Sequence[Song]) -> list[dict[str, Any]]:
    """A row a step."""
    true = [_sung(song, TRUE_VOICE) for song in songs]
    rows = [_row(TRUE_VOICE, songs, true, true)]
    for step in STEPS:
        rows.append(_row(step, songs, [_sung(song, step) for song in songs], true))
    return rows


def _sung(song: Song, step: str) -> Sung:
    if step == TRUE_VOICE:
        voice = sound.read(song.voice, vocals.RATE).mean(axis=0)
        _, band = song.parts(song.sound("synthesised"))
    else:
        voice, band = song.parts(song.sound(step))
    return Sung(pitch_of(voice), heard_scale(band))


def pitch_of(voice: np.ndarray) -> np.ndarray:
    """MIDI notes of a voice `[samples]` at 16 kHz every 10 ms, NaN where nobody sings."""
    samples = voice.astype(np.float64)
    rough, times = pyworld.dio(
        samples, vocals.RATE, f0_floor=_LOWEST, f0_ceil=_HIGHEST, frame_period=1000 * FRAME
    )
    hertz = pyworld.stonemask(samples, rough, times, vocals.RATE)
    sung = np.zeros(len(times), bool)
    for start, end in structure_similarity.find_phrases(voice):
        sung |= (times >= start) & (times < end)
    with np.errstate(divide="ignore"):
        return np.where(sung & (hertz > 0), librosa.hz_to_midi(hertz), np.nan)


def heard_scale(band: np.ndarray) -> frozenset[int]:
    """The pitch classes of the key that an accompaniment `[samples]` at 16 kHz fits best."""
    chroma = structure_similarity.listen(band).chroma.sum(axis=1)
    fits = {
        (key, mode): np.corrcoef(chroma, np.roll(profile, key))[0, 1]
        for mode, profile in _PROFILES.items()
        for key in range(12)
    }
    return _scale(*max(fits, key=lambda known: fits[known]))


def _scale(key: int, mode: str) -> frozenset[int]:
    return frozenset((key + step) % 12 for step in scale(mode))


def _row(
    step: str, songs: Sequence[Song], found: Sequence[Sung], true: Sequence[Sung]
) -> dict[str, Any]:
    voiced = [np.isfinite(sung.pitch).sum() for sung in found]
    heard = [_near(sung.pitch, sung.heard_scale) for sung in found]
    pitches = np.concatenate([sung.pitch for sung in found])
    low, high = np.nanquantile(pitches, (0.05, 0.95)) if any(voiced) else (np.nan, np.nan)
    row = {
        "step": step,
        "voiced": percent(voiced, [len(sung.pitch) for sung in found]),
        "of_true": percent(voiced, [np.isfinite(sung.pitch).sum() for sung in true]),
        "in_heard_key": percent(heard, voiced),
        "in_heard_key_95": interval(heard, voiced),
        "low": round(float(librosa.midi_to_hz(low))),
        "high": round(float(librosa.midi_to_hz(high))),
    }
    return row if step == "model" else row | _against_score(songs, found, voiced)


def _against_score(
    songs: Sequence[Song], found: Sequence[Sung], voiced: Sequence[int]
) -> dict[str, Any]:
    """What is known of a song with the score's own melody."""
    pairs = [(song.score, sung) for song, sung in zip(songs, found, strict=True)]
    scales = [_scale(score.key, score.mode) for score, _ in pairs]
    near = [_near(sung.pitch, known) for sung, known in zip(found, scales, strict=True)]
    off = [abs(sung.pitch - notes(score, len(sung.pitch))) for score, sung in pairs]
    return {
        "in_key": percent(near, voiced),
        "in_key_95": interval(near, voiced),
        "on_note": percent([np.sum(x <= _NEAR) for x in off], [np.isfinite(x).sum() for x in off]),
        "key_right": percent(
            [sung.heard_scale == known for sung, known in zip(found, scales, strict=True)],
            np.ones(len(found)),
        ),
    }


def _near(pitch: np.ndarray, classes: frozenset[int]) -> int:
    """Frames within 50 cents of one of the pitch classes."""
    apart = (pitch[:, None] - np.array(sorted(classes)) + 6) % 12 - 6
    return int((np.abs(apart).min(axis=1) <= _NEAR).sum())


def notes(score: Score, count: int) -> np.ndarray:
    """The melody's MIDI note every 10 ms `[count]`, NaN where there is none."""
    found = np.full(count, np.nan)
    for note in score.notes:
        found[round(note.start / FRAME) : round(note.end / FRAME)] = note.midi
    return found
