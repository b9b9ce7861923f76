"""How well the embedded aligners find the words of songs, and tell lyrics of other songs.

    pip install 'songbloom[prepare,synth]'
    python benchmarks/alignment.py [--songs N] [--cache DIR] [--sounds true,separated,mix] [--json]

Synthesised songs whose words' times are known, of no corpus, every other one by a voice that
training never has: in English, and half as many in Mandarin. Each is aligned on its true vocals, on
the vocals that the embedded separator finds, and on its mix. Word-start error (median, 90th
percentile) and line-start error (median) in seconds over words that were found; the share of words
that were not; `matched` for the right lyrics, for those with every fifth word replaced, and for
those of another song; the real-time factor of one core.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from songbloom import audio
from songbloom.lyrics import formats
from songbloom.manifest import Track
from songbloom.stages import align, separate
from songbloom.stages.align_words import Aligner, Heard, SungLine, sung_lines
from songbloom.stages.stage import Item
from songbloom.synth.render import render
from songbloom.synth.score import Score, compose
from songbloom.tables import PrepareConfig
from songbloom.units import SAMPLE_RATE

SEED = 90210
BACKENDS = ("seedling", "pocketsphinx", "seedling+pocketsphinx")
SOUNDS = ("true", "separated", "mix")


@dataclass(frozen=True)
class Song:
    """A song's truth, its folder, and the lyrics that it has not."""

    score: Score
    folder: Path
    other: Score

    def sound(self, kind: str) -> np.ndarray:
        return audio.load(self.folder / f"{kind}.flac", SAMPLE_RATE)


def songs(count: int, cache: Path, kinds: Sequence[str]) -> Iterator[Song]:
    """Songs with their sounds, made where the cache lacks them."""
    split = separate.load(PrepareConfig(), "cpu") if "separated" in kinds else None
    for language, number in (("en", count), ("zh", count // 2)):
        for index in range(number):
            score, other = (written(language, (index + n) % number) for n in (0, 1))
            folder = cache / f"{language}{index:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "mix.flac").exists():
                rendering = render(score)
                audio.save(folder / "true.flac", rendering.vocals, SAMPLE_RATE)
                audio.save(folder / "mix.flac", rendering.mix, SAMPLE_RATE)
            if split and not (folder / "separated.flac").exists():
                split(Item(Track("song", "mix.flac"), folder / "mix.flac"), folder)
                (folder / "vocals.flac").rename(folder / "separated.flac")
                (folder / "accompaniment.flac").unlink()
            yield Song(score, folder, other)


def written(language: str, index: int) -> Score:
    return compose(SEED, index, split="test" if index % 2 else "train", language=language)


def lines_of(score: Score) -> list[SungLine]:
    return sung_lines(formats.parse(score.lyrics), score.language)


def replaced(lines: Sequence[SungLine], others: Sequence[SungLine]) -> list[SungLine]:
    """The lines with every fifth word another one's."""
    strange = [word for line in others for word in line.words]
    found, number = [], 0
    for line in lines:
        words = list(line.words)
        for place in range(len(words)):
            number += 1
            if number % 5 == 0:
                words[place] = strange[number % len(strange)]
        found.append(SungLine(line.section, line.text, tuple(words)))
    return found


def matched(heard: Sequence[Heard | None]) -> float:
    """The share of the words that count as heard."""
    return float(np.mean([word is not None and word.confidence >= align.HEARD for word in heard]))


def measure(aligner: Aligner, song: Song, kind: str) -> dict[str, Any]:
    """What one song adds to a row."""
    samples, lines, others = song.sound(kind), lines_of(song.score), lines_of(song.other)
    begin = time.process_time()
    heard = align.locate(aligner, samples, lines)
    seconds = time.process_time() - begin
    words, firsts = errors(song.score, heard)
    return {
        "words": words,
        "firsts": firsts,
        "lost": [word is None for word in heard],
        "right": [matched(heard)],
        "fifth": [matched(align.locate(aligner, samples, replaced(lines, others)))],
        "wrong": [matched(align.locate(aligner, samples, others))],
        "rtf": [seconds / song.score.duration],
    }


def errors(score: Score, heard: Sequence[Heard | None]) -> tuple[list[float], list[float]]:
    """Word-start and line-start errors, of what was found."""
    words: list[float] = []
    firsts: list[float] = []
    last = -1
    for truth, word in zip(score.words, heard, strict=True):
        if word is not None:
            words.append(abs(word.start - truth.start))
            if truth.line != last:
                firsts.append(words[-1])
        last = truth.line
    return words, firsts


def row(found: dict[str, list[float]]) -> dict[str, float]:
    return {
        "word_median": round(float(np.median(found["words"])), 4),
        "word_p90": round(float(np.quantile(found["words"], 0.9)), 3),
        "line_median": round(float(np.median(found["firsts"])), 4),
        "lost": round(float(np.mean(found["lost"])), 3),
        "matched_right": round(float(np.mean(found["right"])), 3),
        "matched_right_least": round(min(found["right"]), 3),
        "matched_fifth_replaced": round(float(np.mean(found["fifth"])), 3),
        "matched_wrong": round(float(np.mean(found["wrong"])), 3),
        "matched_wrong_most": round(max(found["wrong"]), 3),
        "rtf": round(float(np.mean(found["rtf"])), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=int, default=12)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--sounds", default=",".join(SOUNDS))
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kinds = options.sounds.split(",")
    aligners = {name: align.embedded(name) for name in options.backends.split(",")}
    found: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for song in songs(options.songs, options.cache or Path(temporary), kinds):
            for name, aligner in aligners.items():
                for kind in kinds:
                    part = found.setdefault((song.score.language, kind, name), defaultdict(list))
                    for key, values in measure(aligner, song, kind).items():
                        part[key] += values
    rows = [
        {"language": language, "sound": kind, "backend": name, **row(part)}
        for (language, kind, name), part in sorted(found.items())
    ]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(" | ".join(rows[0]))
    for values in rows:
        print(" | ".join(str(value) for value in values.values()))


if __name__ == "__main__":
    main()
