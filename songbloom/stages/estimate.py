"""What preparing a corpus costs, before it is done: `songbloom prepare --dry-run`.

Time and disk a stage takes for a second of song come from what this folder's ledger already holds,
else from a few songs that are put through all stages in a temporary folder. Everything else is
multiplication.
"""

import contextlib
import dataclasses
import itertools
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from songbloom.audio import info
from songbloom.errors import SongBloomError
from songbloom.manifest import Track
from songbloom.stages import sources
from songbloom.stages.chain import Chain
from songbloom.stages.crews import LocalCrew
from songbloom.stages.prepare import Task, permissive
from songbloom.stages.stage import STAGES
from songbloom.units import FRAME_RATE, Seconds

LARGE_HOURS = 100_000.0  # the paper's corpus
_LISTENED = 200  # songs whose length is read to tell how long all are
_RECORD = 2 * 64 + 4  # bytes a frame in the training set: fp16 latents and a token
_CLIPS = 4 / 3  # reference clips beside them: at most a third of a song


def estimate(task: Task, *, sample: int = 2) -> dict[str, Any]:
    """Songs, hours, and for each stage its backend, real-time factor, time and disk: JSON-able.

    Nothing is written into the output folder. `MissingAssetError` where a backend is not there.
    """
    found = sources.find(task.songs, exclude=[task.output])
    number, tracks = _survey(found, task.limit)
    hours = _mean_length(found.root, tracks) * number / 3600
    with tempfile.TemporaryDirectory() as folder:
        chain = _chain(task, found.root, Path(folder))
        try:
            trials = 0 if _known(chain) else _try(chain, task, _spread(tracks, sample))
            costs = _costs(chain)
            workers = LocalCrew.size_of(task.settings)
            return {
                "songs": number,
                "hours": round(hours, 3),
                "workers": workers,
                "tried_songs": trials,
                "stages": {
                    stage: _stage(chain, stage, costs.get(stage), hours, workers)
                    for stage in STAGES
                },
                "dataset_bytes": round(hours * 3600 * FRAME_RATE * _RECORD * _CLIPS),
                f"at_{LARGE_HOURS:g}_hours": _large(costs),
            }
        finally:
            chain.close()


def _chain(task: Task, root: Path, folder: Path) -> Chain:
    """The chain of the output folder if it was begun, else one in a temporary folder."""
    begun = task.output / "work"
    work = begun if (begun / "ledger.sqlite").exists() else folder
    return Chain(root, work, task.settings, permissive())


def _known(chain: Chain) -> bool:
    return all(chain.ledger.cost(stage)[0] for stage in STAGES if stage != "ingest")


def _try(chain: Chain, task: Task, tracks: Sequence[Track]) -> int:
    """Put songs through all stages, one after another, as one worker would."""
    if not tracks or chain.work.parent == task.output:
        return 0
    chain.take(sources.Sources(chain.root, iter(tracks)), task.part)
    crew = LocalCrew(dataclasses.replace(task.settings, workers=1), chain.work / "logs")
    try:
        chain.run(crew, STAGES, lambda event: None)
    finally:
        crew.close()
    return len(tracks)


def _costs(chain: Chain) -> dict[str, tuple[float, float]]:
    """Stage -> seconds of work and bytes of disk a second of song."""
    length: dict[str, Seconds] = dict.fromkeys(STAGES, 0.0)
    for track in chain.songs():
        for stage in track.results:
            length[stage] += track.duration or 0.0
    costs = {}
    for stage in (stage for stage in STAGES if length[stage] > 0):
        _, seconds, size = chain.ledger.cost(stage)
        costs[stage] = (seconds / length[stage], size / length[stage])
    return costs


def _stage(
    chain: Chain, stage: str, cost: tuple[float, float] | None, hours: float, workers: int
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "backend": chain.backends[stage].name,
        "why": chain.backends[stage].why,
    }
    if cost is None:
        return told
    factor, bytes_a_second = cost
    return told | {
        "real_time_factor": round(factor, 4),
        "hours": round(hours * factor / workers, 3),
        "bytes": round(hours * 3600 * bytes_a_second),
    }


def _large(costs: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    seconds = LARGE_HOURS * 3600
    return {
        "core_days": round(sum(factor for factor, _ in costs.values()) * LARGE_HOURS / 24, 1),
        "work_bytes": round(seconds * sum(size for _, size in costs.values())),
        "dataset_bytes": round(seconds * FRAME_RATE * _RECORD * _CLIPS),
    }


def _survey(found: sources.Sources, limit: int | None) -> tuple[int, list[Track]]:
    """How many songs there are, and some from all over the list (Vitter's algorithm R, seeded)."""
    rng, kept, number = random.Random(0), list[Track](), 0
    for number, track in enumerate(itertools.islice(found.tracks, limit), 1):
        if number <= _LISTENED:
            kept.append(track)
        elif (place := rng.randrange(number)) < _LISTENED:
            kept[place] = track
    return number, sorted(kept, key=lambda track: track.id)


def _mean_length(root: Path, tracks: Sequence[Track]) -> Seconds:
    """Of the songs whose headers can be read; the others will have their reason in the manifest."""
    lengths = []
    for track in tracks:
        with contextlib.suppress(SongBloomError):
            lengths.append(track.duration or info(root / track.audio).duration)
    return sum(lengths) / max(1, len(lengths))


def _spread(tracks: Sequence[Track], number: int) -> list[Track]:
    """That many songs from all over the list."""
    number = min(number, len(tracks))
    return [tracks[(2 * i + 1) * len(tracks) // (2 * number)] for i in range(number)]
