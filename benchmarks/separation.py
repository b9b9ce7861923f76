"""How well and how fast songs are split, against stems that are known.

    python benchmarks/separation.py                        # twelve new songs, the embedded model
    python benchmarks/separation.py --model htdemucs       # any model of Demucs

Songs are composed for this: voices and words that nothing here was trained on (split "test"),
English and Mandarin by turns. SI-SDR is in dB, its improvement over taking the mixture itself for
the stem; times are of one thread, as shares of the songs' length (below 1 is faster than real
time).
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from songbloom import audio
from songbloom.stages import demucs_models, separate
from songbloom.synth.corpus import make_corpus
from songbloom.training.separator import score

MEASURES = ("vocals", "vocals_improvement", "accompaniment", "accompaniment_improvement")


def measure(songs: list[Path], model: str | None) -> dict[str, Any]:
    """Scores and speed of a model over song folders with known stems."""
    seedling = demucs_models.ModelFiles((separate.SEEDLING,))
    files = demucs_models.find(model) if model else seedling
    loaded = demucs_models.load(files)
    began, wall = time.process_time(), time.monotonic()
    found = score(loaded, songs, lambda row: print(row, flush=True))
    duration = sum(audio.info(song / "vocals.flac").duration for song in songs)
    return {
        "model": model or "seedling",
        "sha256": files.hashes,
        "songs": found["songs"],
        "median": found["summary"],
        "mean": {
            key: round(statistics.fmean(row[key] for row in found["songs"]), 2) for key in MEASURES
        },
        "seconds": round(duration, 1),
        "processor_share": round((time.process_time() - began) / duration, 3),
        "wall_share": round((time.monotonic() - wall) / duration, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=90)
    parser.add_argument("--language", default="mixed", choices=("en", "zh", "mixed"))
    parser.add_argument("--model", help="a name or a folder of Demucs (default: the embedded one)")
    parser.add_argument("--json", type=Path, help="write the result here as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder)
        make_corpus(
            corpus,
            seed=options.seed,
            songs=options.songs,
            split="test",
            language=options.language,
            workers=1,
        )
        result = measure(sorted(corpus.glob("song_*")), options.model)
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
