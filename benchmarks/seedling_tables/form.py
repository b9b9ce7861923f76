"""Whether a song has the form that was asked for, by forced alignment and by where somebody sings.

The embedded aligner looks for the lyrics in the mix (its acoustic model is the sketch codec, which
has heard this synthesiser alone): `lines`, the share with half of their words found; `in_order`,
songs of two sung sections and more in which it is surer of the words as asked than of the same with
the sections the other way round (chance 50 %); `lengths`, sung sections between half and double
their length in the song as synthesised, a section not found being wrong. A model is not told the
times, so this is as rough as it should be. `shuffled` are the model's songs as if the next song's
lyrics had been asked for, which tells what is found by chance.

By the separated voice: `begins`, songs that begin with an intro where one is asked for, and with
the voice where none is; `ends` the same of the outro. Of the model also `ended`: songs that end by
themselves, before the limit; and how long they are against the songs as synthesised, the median and
the middle four fifths.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from alignment import lines_of

from seedling_tables.chain import SHUFFLED, interval, pairs_of, percent
from seedling_tables.songs import STEPS, Song
from songbloom import audio
from songbloom.evaluation import vocals
from songbloom.generation.bundle import bundle_path, read_bundle
from songbloom.generation.engine import max_patches
from songbloom.model.checkpoint import Model
from songbloom.stages import align, structure_similarity
from songbloom.stages.align_words import Aligner, Heard, SungLine
from songbloom.stages.structure_sections import Phrases
from songbloom.synth.score import Score
from songbloom.units import SAMPLE_RATE, Seconds, frames_to_seconds

_INTRO: Seconds = 1.3  # the shortest has 1.5 s to the first word; without one it is there at 1.1 s
_OUTRO: Seconds = 2.0
_ROUGHLY = 2.0


@dataclass(frozen=True)
class Form:
    """What is right of a song, each as (how many, of how many)."""

    lines: tuple[int, int]
    in_order: tuple[float, int]
    lengths: tuple[int, int]
    begins: tuple[int, int]
    ends: tuple[int, int]


def table(songs: Sequence[Song], model: Model) -> list[dict[str, Any]]:
    """A row a step."""
    aligner = align.embedded("seedling")
    rows = []
    for step in (*STEPS, SHUFFLED):
        pairs = pairs_of(songs, step)
        found = [
            _form(song, song.sound(sound), words.score, aligner) for song, words, sound in pairs
        ]
        row: dict[str, Any] = {"step": step}
        for name in Form.__dataclass_fields__:
            amounts, weights = zip(*(getattr(form, name) for form in found), strict=True)
            row |= {name: percent(amounts, weights), f"{name}_95": interval(amounts, weights)}
        rows.append(row | (_endings(songs, model) if step == "model" else {}))
    return rows


def _form(song: Song, path: Path, score: Score, aligner: Aligner) -> Form:
    """What is right of a sound of `song`, if it was asked for `score`."""
    samples, lines = audio.load(path, SAMPLE_RATE), lines_of(score)
    heard = aligner(samples, lines)
    by_line = list(_split(heard, [len(line.words) for line in lines]))
    duration = samples.shape[1] / SAMPLE_RATE
    phrases = structure_similarity.find_phrases(vocals.separated(path, song.work, "seedling"))
    begins, ends = _edges(phrases, [section.tag for section in score.sections], duration)
    return Form(
        (sum(map(_found, by_line)), len(lines)),
        _in_order(aligner, samples, lines, heard),
        _lengths(score, lines, by_line),
        (begins, 1),
        (ends, 1),
    )


def _split(heard: Sequence[Heard | None], sizes: Sequence[int]) -> Iterator[Sequence[Heard | None]]:
    at = 0
    for size in sizes:
        yield heard[at : at + size]
        at += size


def _found(words: Sequence[Heard | None]) -> bool:
    return 2 * len(_sure(words)) >= len(words)


def _sure(words: Sequence[Heard | None]) -> list[Heard]:
    return [word for word in words if word is not None and word.confidence >= align.HEARD]


def _in_order(
    aligner: Aligner, samples: np.ndarray, lines: Sequence[SungLine], heard: Sequence[Heard | None]
) -> tuple[float, int]:
    """1 for the order as asked, a half where both are alike; (0, 0) where there is one section."""
    if len({line.section for line in lines}) < 2:
        return 0.0, 0
    other = aligner(samples, sorted(lines, key=lambda line: -line.section))
    one, two = _sureness(heard), _sureness(other)
    return (one > two) + 0.5 * (one == two), 1


def _sureness(heard: Sequence[Heard | None]) -> float:
    return float(np.mean([word.confidence if word else 0.0 for word in heard]))


def _lengths(
    score: Score, lines: Sequence[SungLine], by_line: Sequence[Sequence[Heard | None]]
) -> tuple[int, int]:
    """Sung sections of roughly their length, of how many."""
    right, numbers = [], range(len(lines))
    for _, group in groupby(numbers, key=lambda n: lines[n].section):
        own = list(group)
        words = _sure([word for n in own for word in by_line[n]])
        asked = score.lines[own[-1]].end - score.lines[own[0]].start
        sung = words[-1].end - words[0].start if words else 0.0
        right.append(asked / _ROUGHLY <= sung <= asked * _ROUGHLY)
    return sum(right), len(right)


def _edges(phrases: Phrases, tags: Sequence[str], duration: Seconds) -> tuple[bool, bool]:
    """Whether the song begins, and ends, as asked: with the voice or without."""
    if not phrases:
        return False, False
    return (
        (phrases[0][0] >= _INTRO) == (tags[0] == "intro"),
        (duration - phrases[-1][1] >= _OUTRO) == (tags[-1] == "outro"),
    )


def _endings(songs: Sequence[Song], model: Model) -> dict[str, Any]:
    most = max_patches(model.config.sampling, model.config.patch_size) * model.config.patch_size
    frames = [len(read_bundle(bundle_path(song.sound("model"))).latents) for song in songs]
    ratios = [
        frames_to_seconds(n) / song.score.duration for n, song in zip(frames, songs, strict=True)
    ]
    ended = [n < most for n in frames]
    low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    return {
        "ended": percent(ended, np.ones(len(ended))),
        "length": round(float(middle), 2),
        "length_80": [round(float(low), 2), round(float(high), 2)],
    }
