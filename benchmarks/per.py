"""What the phoneme error rate says of songs that are sung without any error: the scorer's floor.

    pip install 'songbloom[eval,prepare,synth]' jiwer
    python benchmarks/per.py [--songs N] [--cache DIR] [--json]

Songs as `songbloom synth` makes them, of its test split: English, with voices and words that
nothing here was trained on. Scored as generated songs are: the mix through a separator and the
embedded recogniser; beside it the mix as it is, and the true voice. `jiwer` is the same rate by
that library, on the same phone strings; `accompaniment` what is scored where nobody sings.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import jiwer
import torch

from songbloom.evaluation import per
from songbloom.evaluation.items import Item
from songbloom.lyrics import parse
from songbloom.synth.corpus import is_done, song_folder, write_song
from songbloom.synth.score import compose

SEED = 77
WAYS = (
    ("separated by the seedling", "audio", {}),
    ("the mix", "audio", {"separate_model": "none"}),
    ("true voice", "vocals", {"separate_model": "none"}),
    ("accompaniment", "backing", {}),
)


def measured(
    name: str, sound: str, settings: dict[str, str], folders: list[Path]
) -> dict[str, Any]:
    """The metric over all songs by one way."""
    metric = per.load(settings, folders[0].parent / "work")
    begin = time.perf_counter()
    songs = [
        metric.measure(
            Item(folder.name, folder / f"{sound}.flac", lyrics=(folder / "lyrics.txt").read_text())
        )
        for folder in folders
    ]
    seconds = time.perf_counter() - begin
    parts = metric.parts(songs)
    rates = {key: parts[key] for key in ("rate", "substitutions", "deletions", "insertions")}
    texts = [(folder / "lyrics.txt").read_text() for folder in folders]
    strings = [
        [_phones(per.asked(parse(text))) for text in texts],
        [_phones(per.heard(x.details["transcript"], x.details["language"])) for x in songs],
    ]
    return {
        "way": name,
        **{key: round(value, 3) for key, value in rates.items()},
        "jiwer": round(100 * jiwer.wer(*strings), 3),
        "word_error_rate": round(parts["word_error_rate"], 3),
        "seconds_per_song": round(seconds / len(songs), 2),
    }


def _phones(lines: Any) -> str:
    return " ".join(phone for line in lines for word in line.words for phone in word.phones)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=int, default=12)
    parser.add_argument("--cache", type=Path, help="keep the rendered songs here")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = chosen.cache or Path(temporary)
        folders = [song_folder(root, number) for number in range(chosen.songs)]
        for number, folder in enumerate(folders):
            if not is_done(folder):
                write_song(folder, compose(SEED, number, split="test"))
        rows = [measured(*way, folders) for way in WAYS]
    if chosen.json:
        print(json.dumps({"seed": SEED, "songs": chosen.songs, "rows": rows}, indent=2))
        return
    columns = list(rows[0])[1:]
    print(f"{'':26}" + "".join(f"{column:>17}" for column in columns))
    for row in rows:
        print(f"{row['way']:26}" + "".join(f"{row[column]:17.2f}" for column in columns))


if __name__ == "__main__":
    main()
