"""How a model learnt to sing: phones wrong at every checkpoint, against hours of training.

    pip install 'songbloom[eval,prepare,synth]'
    python benchmarks/seedling_curve.py RUN... [--songs N] [--like MODEL] [--cache DIR] [--json]

RUNs are run folders of `songbloom train` in the order in which each went on from the one before.
Every checkpoint that they still have sings the songs of benchmarks/seedling.py, with the sampling
settings of --like. A row has:

* `hours`: of the steps up to there, over all runs, on the machine that took them
* `lm`, `flow`: the last validation losses before it (flow: of the run's own kind)
* `true sketch`, `model`: phones wrong in per cent by the ear of the model's own sketch codec, of
  the DiT's songs of true sketch tokens and of the whole model's, with 95 % intervals over songs
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from seedling import lines
from seedling_tables import chain, songs

from songbloom import hub
from songbloom.export import sources
from songbloom.model.checkpoint import load_model, write_contents
from songbloom.model.config import SamplingConfig
from songbloom.model.sketch_codec import SketchCodec
from songbloom.stages.stage import digest
from songbloom.training.metrics import read_metrics

STEPS = ("true sketch", "model")


def rows(
    runs: list[Path], count: int, sampling: SamplingConfig, cache: Path
) -> Iterator[dict[str, Any]]:
    """A row a checkpoint, as it is done."""
    hours = 0.0
    for run in runs:
        metrics = list(read_metrics(run))
        for checkpoint in sorted((run / "checkpoints").glob("step-*")):
            step = int(checkpoint.name.removeprefix("step-"))
            before = [row for row in metrics if row["step"] <= step]
            folder = _write_model(checkpoint, sampling, cache / "checkpoints")
            yield {
                "run": run.name,
                "step": step,
                "hours": round(hours + _hours(before), 2),
                **{name: _last(before, f"validation_{name}_loss") for name in ("lm", "flow")},
                **_phones_wrong(folder, count, cache),
            }
        hours += _hours(metrics)


def _hours(metrics: list[dict[str, Any]]) -> float:
    return sum(row["seconds"] for row in metrics) / 3600


def _last(metrics: list[dict[str, Any]], name: str) -> float | None:
    found = [row[name] for row in metrics if name in row]
    return round(found[-1], 3) if found else None


def _write_model(checkpoint: Path, sampling: SamplingConfig, cache: Path) -> Path:
    """The checkpoint as a model folder, written once for the same settings."""
    folder = cache / digest([str(checkpoint.resolve()), dataclasses.asdict(sampling)])[:16]
    if not (folder / "model.json").exists():
        contents = sources.read(sources.find(str(checkpoint), models=hub.models_folder(None)))
        config = dataclasses.replace(contents.config, sampling=sampling)
        write_contents(folder, dataclasses.replace(contents, config=config))
    return folder


def _phones_wrong(folder: Path, count: int, cache: Path) -> dict[str, Any]:
    model = load_model(folder, device=torch.device("cpu"))
    made = list(songs.songs(model, count, "en", cache))
    codec = SketchCodec.load(folder, "sketch")
    row: dict[str, Any] = {}
    for step in STEPS:
        counts = [_count(song, song.sound(step), codec) for song in made]
        row |= chain.share(step, *zip(*counts, strict=True))
    return row


def _count(song: songs.Song, sound: Path, codec: SketchCodec) -> tuple[int, int]:
    asked = chain.true_phones(song)
    return chain.wrong_phones(asked, chain.heard_phones(codec, sound)), len(asked)


def main() -> None:
    """Print the curve."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--like", default="seedling", help="model whose settings all sing with")
    parser.add_argument("--cache", type=Path, help="keep models and songs here")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for run in arguments.runs:
        if not any((run / "checkpoints").glob("step-*")):
            parser.error(f"{run}: no checkpoint; expected a run folder of songbloom train")
    like = load_model(
        hub.resolve(arguments.like, hub.models_folder(None)), device=torch.device("cpu")
    )
    with tempfile.TemporaryDirectory() as temporary:
        found = []
        cache = arguments.cache or Path(temporary)
        for row in rows(arguments.runs, arguments.songs, like.config.sampling, cache):
            found.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    print(json.dumps(found, indent=1) if arguments.json else "\n".join(lines("curve", found)))


if __name__ == "__main__":
    main()
