"""What the embedded model is worth: every number of its songs, of lyrics and clips held out.

    pip install 'songbloom[eval,prepare,synth]'
    pip install --no-deps resemblyzer webrtcvad-wheels    # for the voice's style
    python benchmarks/seedling.py [--songs N] [--mandarin N] [--model MODEL] [--cache DIR]
                                  [--only chain,tune,rhythm,style,form,codec,speed] [--json]

Songs of 4 to 8 lines, with words partly and a voice wholly unseen, each sung after ten seconds of
another held-out song. Each is measured at every step from the synthesiser to the model:

* `synthesised`: the song as it was made
* `codec`: the same through the VAE
* `true sketch`: the DiT's song of the true sketch tokens
* `model`: the whole model, lyrics and clip alone

With --cache the songs are kept, and no song is made twice by the same model. What each table says
is in the modules of benchmarks/seedling_tables. Intervals are 95 %, by bootstrap over songs.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from seedling_tables import chain, codec, form, rhythm, songs, speed, style, tune

from songbloom import hub
from songbloom.model.checkpoint import Model, load_model
from songbloom.model.sketch_codec import SketchCodec
from songbloom.stages.stage import digest

TABLES = ("chain", "tune", "rhythm", "style", "form", "codec", "speed")
TIMED = 3  # songs


def measure(arguments: argparse.Namespace, cache: Path) -> Iterator[tuple[str, Any]]:
    """What is measured, then every table that was asked for as it is done."""
    folder = hub.resolve(arguments.model, hub.models_folder(None))
    model = load_model(folder, device=torch.device("cpu"))
    sketch = SketchCodec.load(model.folder, "sketch")
    wanted = arguments.only
    count = arguments.songs if set(wanted) - {"speed"} else min(TIMED, arguments.songs)
    english = _made(model, count, "en", cache)
    mandarin = arguments.mandarin if "chain" in wanted else 0
    tables = {
        "chain": lambda: chain.table(english, _made(model, mandarin, "zh", cache), sketch),
        "tune": lambda: tune.table(english),
        "rhythm": lambda: rhythm.table(english),
        "style": lambda: style.table(english),
        "form": lambda: form.table(english, model),
        "codec": lambda: codec.table(english, model, sketch),
        "speed": lambda: speed.table(english[:TIMED], model),
    }
    about = {
        "model": model.name,
        "model_sha256": digest(model.info["sha256"]),
        "frontend": model.config.frontend,
        "songs": len(english),
        "mandarin": mandarin,
        "seconds": round(sum(song.score.duration for song in english), 1),
    }
    yield from about.items()
    for name in wanted:
        yield name, tables[name]()


def _made(model: Model, count: int, language: str, cache: Path) -> list[songs.Song]:
    made = []
    for song in songs.songs(model, count, language, cache):
        made.append(song)
        print(f"{language}: {len(made)} of {count} songs are there", file=sys.stderr, flush=True)
    return made


def lines(name: str, value: Any) -> list[str]:
    """A table as text: rows of one kind are a table, all else a name and a value a line."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        columns = list(dict.fromkeys(key for row in value for key in row))
        shown = [[_cell(row.get(key)) for key in columns] for row in value]
        widths = [max(map(len, column)) for column in zip(columns, *shown, strict=True)]
        return ["", name] + [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in (columns, *shown)
        ]
    if isinstance(value, Mapping):
        return ["", name] + [line for key, inner in value.items() for line in lines(key, inner)]
    return [f"{name}: {_cell(value)}"]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "..".join(map(str, value))
    return "" if value is None else str(value)


def _tables(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if unknown := set(chosen) - set(TABLES):
        raise argparse.ArgumentTypeError(
            f"{', '.join(sorted(unknown))}: no such table; expected {', '.join(TABLES)}"
        )
    return chosen


def _positive(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"{text}: expected two songs or more")
    return number


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--songs", type=_positive, default=50)
    parser.add_argument("--mandarin", type=int, default=12, help="songs of the phone probe")
    parser.add_argument("--model", default="seedling", help="a name or a folder")
    parser.add_argument("--cache", type=Path, help="keep the songs here")
    parser.add_argument("--only", type=_tables, default=TABLES, metavar="TABLE,...")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(arguments, arguments.cache or Path(temporary))
        if arguments.json:
            print(json.dumps(dict(found), indent=1))
            return
        for name, value in found:
            print("\n".join(lines(name, value)), flush=True)


if __name__ == "__main__":
    main()
