"""Real datasets of milliseconds: composed songs, written and opened."""

import dataclasses
from pathlib import Path
from typing import Any

from songbloom.data.dataset import Dataset
from songbloom.data.shards import SungLine, TrainingSong, open_shards
from songbloom.model.config import ModelConfig, preset
from songbloom.model.sketch_symbols import score_to_tokens
from songbloom.synth.score import compose
from songbloom.training.synthetic import token_latents, training_song, write_dataset


def nano_config(**changes: Any) -> ModelConfig:
    """The nano preset."""
    return dataclasses.replace(preset("nano"), **changes)


def small_songs(count: int, seed: int = 0) -> list[TrainingSong]:
    """Composed songs of one line, as records; times to the millisecond, ids in order."""
    songs = []
    for index in range(count):
        score = compose(seed, index, num_lines=1)
        sketch = score_to_tokens(score)
        songs.append(rounded(training_song(score, sketch, token_latents(sketch, 64, seed=index))))
    return songs


def rounded(song: TrainingSong) -> TrainingSong:
    """As it will be read: times to the millisecond."""

    def span(what: Any, **changes: Any) -> Any:
        times = {"start": round(what.start, 3), "end": round(what.end, 3)}
        return dataclasses.replace(what, **times, **changes)

    def line(what: SungLine) -> SungLine:
        return span(what, begins=tuple(round(at, 3) for at in what.begins))

    sections = tuple(span(s, lines=tuple(map(line, s.lines))) for s in song.sections)
    beats = tuple(round(at, 3) for at in song.beats)
    return dataclasses.replace(song, sections=sections, beats=beats)


def write_small_dataset(folder: Path, songs: int = 3, num_lines: int = 1, seed: int = 0) -> Path:
    """A dataset folder of `songs` songs of about eight seconds; returns it."""
    write_dataset(folder, songs=songs, seed=seed, num_lines=num_lines)
    return folder


def small_dataset(folder: Path, songs: int = 3, **options: Any) -> Dataset:
    """Written if it is not there, opened for the nano preset."""
    if not (folder / "dataset.json").exists():
        write_small_dataset(folder, songs)
    return Dataset(open_shards(folder), nano_config(), **options)
