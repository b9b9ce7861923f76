"""SER of songs that are sung as asked, and of the same songs with two sections exchanged.

    pip install 'songbloom[prepare,synth]' mir_eval
    python benchmarks/ser.py [--songs N] [--cache DIR] [--json]

The long songs of benchmarks/structure.py: one to two minutes in the form intro, verse, chorus,
verse, chorus, inst, chorus, outro. `oracle` is told the true sections, `similarity` listens, with
the voice that the embedded separator finds. Asked is once what is sung, and once the first verse
before the intro.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import mean

from structure import songs

from songbloom import audio
from songbloom.evaluation import ser
from songbloom.evaluation.items import Item
from songbloom.synth.render import render
from songbloom.synth.score import Score
from songbloom.units import SAMPLE_RATE

BACKENDS = ("oracle", "similarity")


def item(score: Score, folder: Path) -> Item:
    """The song on disk, rendered if it is not there, with its true sections."""
    path = folder / f"{score.index}.flac"
    if not path.is_file():
        audio.save(path, render(score).mix, SAMPLE_RATE)
    path.with_suffix(".oracle.json").write_text(score.to_json())
    return Item(path.stem, path, asked(score))


def asked(score: Score, *, exchanged: bool = False) -> str:
    """Lyrics of the song, its parts without words as long as they are."""
    blocks = []
    for number, section in enumerate(score.sections):
        lines = [line.text for line in score.lines if line.section == number]
        length = "" if lines else f" x{round(section.end - section.start)}"
        blocks.append("\n".join([f"[{section.tag}{length}]", *lines]))
    if exchanged:
        blocks[0], blocks[1] = blocks[1], blocks[0]
    return "\n\n".join(blocks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=int, default=12)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.cache or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        metrics = {name: ser.load({"backend": name}, folder) for name in BACKENDS}
        rows = []
        for score in songs("long", options.songs):
            song = item(score, folder)
            other = Item(song.name, song.audio, asked(score, exchanged=True))
            first = [section.end - section.start for section in score.sections[:2]]
            row = {"song": score.index, "seconds": score.duration, "exchanged": 2 * min(first)}
            for name, metric in metrics.items():
                right, wrong = metric.measure(song), metric.measure(other)
                row |= {f"{name}_right": right.amount, f"{name}_exchanged": wrong.amount}
            rows.append({key: round(value, 1) for key, value in row.items()})
            if not options.json:
                print(*(f"{key} {value}" for key, value in rows[-1].items()), sep="  ", flush=True)
    total = sum(row["seconds"] for row in rows)
    shares = {
        f"{name}_{what}": round(100 * sum(row[f"{name}_{what}"] for row in rows) / total, 2)
        for name in BACKENDS
        for what in ("right", "exchanged")
    }
    shares["twice the shorter section"] = round(
        100 * mean(r["exchanged"] / r["seconds"] for r in rows), 2
    )
    print(json.dumps({"songs": rows, "ser": shares}) if options.json else f"SER %: {shares}")


if __name__ == "__main__":
    main()
