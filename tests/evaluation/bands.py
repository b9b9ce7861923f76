"""Songs for metrics that listen: synthesised bands, cut in two, the first half the style clip."""

from pathlib import Path

import numpy as np
import soxr

from songbloom import audio
from songbloom.evaluation.items import Item
from songbloom.synth.backing import play
from songbloom.synth.score import compose
from songbloom.units import SAMPLE_RATE

RATE = 16_000
NAMES = ("ash", "birch", "cedar", "elm")


def write_songs(folder: Path) -> Path:
    """`NAME.wav` and `references/NAME.wav`, seven seconds each, of four bands."""
    for number, name in enumerate(NAMES):
        band = soxr.resample(play(compose(3, number, num_lines=2)).T, SAMPLE_RATE, RATE).T
        half = 7 * RATE
        for path, part in (
            (folder / f"{name}.wav", band[:, half : 2 * half]),
            (folder / "references" / f"{name}.wav", band[:, :half]),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.save(path, part.astype(np.float32), RATE)
    return folder


def items(folder: Path, shift: int = 0) -> list[Item]:
    """The songs with their clips, or with the clips of songs `shift` further on."""
    clips = [*NAMES[shift:], *NAMES[:shift]]
    return [
        Item(name, folder / f"{name}.wav", None, folder / "references" / f"{clip}.wav")
        for name, clip in zip(NAMES, clips, strict=True)
    ]


def with_noise(folder: Path, target: Path, level: float) -> list[Item]:
    """The songs with white noise of a root mean square added."""
    noisy = []
    for number, item in enumerate(items(folder)):
        samples = audio.load(item.audio, RATE)
        noise = np.random.default_rng(number).standard_normal(samples.shape) * level
        path = target / f"{level:g}" / item.audio.name
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.save(path, (samples + noise).astype(np.float32), RATE)
        noisy.append(Item(item.name, path, None, item.reference))
    return noisy
