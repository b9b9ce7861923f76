"""What MCC and FAD of the embedded embeddings say of songs whose likeness is known.

    pip install 'songbloom[synth]'
    python benchmarks/embeddings.py [--songs N] [--cache DIR] [--json]

Songs as `songbloom synth` makes them (seed 3), the first ten seconds as the style clip, the rest as
the song "in its style". MCC of the songs with their own clips and with all others', how many songs
are most like their own; FAD against the clips, clean and with white noise of a signal-to-noise
ratio.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import soxr
import torch

from songbloom import audio
from songbloom.evaluation import fad, mcc
from songbloom.evaluation.items import Item
from songbloom.synth.render import render
from songbloom.synth.score import compose
from songbloom.units import SAMPLE_RATE

RATE = 16_000
CLIP = 10 * RATE
RATIOS = (None, 40, 30, 20, 10, 0)  # dB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=12)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", action="store_true")
    wish = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        folder = wish.cache or Path(made)
        items = [_song(folder, number) for number in range(wish.songs)]
        found = {**_likeness(items, folder), "fad": _distances(items, folder)}
    print(json.dumps(found, indent=None if wish.json else 1))


def _song(folder: Path, number: int) -> Item:
    paths = folder / f"{number}.flac", folder / f"{number}.clip.flac"
    if not all(path.is_file() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        mix = soxr.resample(render(compose(3, number)).mix.T, SAMPLE_RATE, RATE).T
        for path, part in zip(paths, (mix[:, CLIP:], mix[:, :CLIP]), strict=True):
            audio.save(path, part.astype(np.float32), RATE)
    return Item(str(number), paths[0], None, paths[1])


def _likeness(items: list[Item], folder: Path) -> dict[str, float]:
    metric = mcc.load({}, folder / "work")
    songs = [metric.measure(item) for item in items]
    every = np.array([[a.arrays["song"] @ b.arrays["reference"] for b in songs] for a in songs])
    return {
        "mcc": round(metric.combine(songs), 3),
        "mcc_shuffled": round(metric.parts(songs)["shuffled"], 3),
        "most_like_own_clip": round(float(np.mean(every.argmax(1) == np.arange(len(songs)))), 3),
    }


def _distances(items: list[Item], folder: Path) -> dict[str, float]:
    metric = fad.load({}, folder / "work")
    values = {}
    for ratio in RATIOS:
        songs = [metric.measure(_noisy(item, ratio, folder)) for item in items]
        values["clean" if ratio is None else f"{ratio} dB"] = round(metric.combine(songs), 3)
    return values


def _noisy(item: Item, ratio: float | None, folder: Path) -> Item:
    """The song with white noise at a signal-to-noise ratio."""
    if ratio is None:
        return item
    samples = audio.load(item.audio, RATE)
    level = np.sqrt(np.mean(samples**2)) * 10 ** (-ratio / 20)
    noise = np.random.default_rng(int(item.name)).standard_normal(samples.shape) * level
    path = folder / f"{item.name}.{ratio}.flac"
    audio.save(path, (samples + noise).astype(np.float32), RATE)
    return Item(item.name, path, None, item.reference)


if __name__ == "__main__":
    main()
