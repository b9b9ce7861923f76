"""Real datasets of milliseconds: composed songs, written and opened."""

import dataclasses
from pathlib import Path
from typing import Any

from songbloom.data.dataset import Dataset
from songbloom.data.shards import open_shards
from songbloom.model.config import ModelConfig, preset
from songbloom.model.sketch_symbols import NUM_CODES
from songbloom.training.synthetic import write_dataset


def nano_config(**changes: Any) -> ModelConfig:
    """The nano preset, over the composed songs' sketch tokens."""
    return dataclasses.replace(preset("nano"), **{"sketch_vocab_size": NUM_CODES, **changes})


def write_small_dataset(folder: Path, songs: int = 3, num_lines: int = 1, seed: int = 0) -> Path:
    """A dataset folder of `songs` songs of about eight seconds; returns it."""
    write_dataset(folder, songs=songs, seed=seed, num_lines=num_lines)
    return folder


def small_dataset(folder: Path, songs: int = 3, **options: Any) -> Dataset:
    """Written if it is not there, opened for the nano preset."""
    if not (folder / "dataset.json").exists():
        write_small_dataset(folder, songs)
    return Dataset(open_shards(folder), nano_config(), **options)
