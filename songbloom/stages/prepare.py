"""One run of `songbloom prepare`, from a folder of songs to a training set that can be used."""

import dataclasses
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from songbloom.data.shards import DatasetInfo, read_info
from songbloom.data.writer import ShardWriter
from songbloom.errors import SongBloomError, UsageError
from songbloom.files import sole_user, write_text
from songbloom.manifest import Track
from songbloom.stages import assemble, card, sources
from songbloom.stages.chain import Chain, Event, Part, count, write_manifest
from songbloom.stages.crews import Crew
from songbloom.stages.stage import STAGES, digest
from songbloom.tables import FiltersConfig, PrepareConfig

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Task:
    """What a run is asked for. `songs` is a folder, a sound file or a manifest."""

    songs: Path
    output: Path
    settings: PrepareConfig
    filters: FiltersConfig
    stages: tuple[str, ...] = STAGES
    part: Part = Part()
    limit: int | None = None
    retry_failed: bool = False


@dataclass(frozen=True)
class Report:
    """What came of it: songs by state, those that are not ready by (state, stage, reason), and the
    training set where it was made."""

    output: Path
    states: Mapping[str, int]
    reasons: Mapping[tuple[str, str, str], int]
    dataset: DatasetInfo | None
    notes: tuple[str, ...] = ()


def prepare(
    task: Task, make_crew: Callable[[Path], Crew], on_event: Callable[[Event], None]
) -> Report:
    """Do what is missing and write down what is there. The same call again goes on after any stop.

    `make_crew` gets the folder for workers' logs. `SongBloomError` where another process prepares
    here, and for what would befall every song; a song's own failure is in the report.
    """
    busy = SongBloomError(
        f"{task.output}: another process prepares here", "Wait for it, or choose another -o."
    )
    with sole_user(task.output, busy):
        found = sources.find(task.songs, exclude=[task.output])
        chain = Chain(found.root, task.output / "work", task.settings, task.filters)
        try:
            _write_description(task, chain, _described_inputs(task.output))  # `status` reads it
            chain.ledger.forget_failures(passing_only=not task.retry_failed)
            total = chain.take(found, task.part, task.limit)
            on_event({"event": "songs", "songs": total, "folder": str(task.songs)})
            for note in found.notes:
                on_event({"event": "note", "message": note})
            _run(task, chain, make_crew, on_event)
            return _conclude(task, chain, tuple(found.notes), on_event)
        finally:
            chain.close()


def _run(
    task: Task,
    chain: Chain,
    make_crew: Callable[[Path], Crew],
    on_event: Callable[[Event], None],
) -> None:
    chain.mend()
    if not any(track.state == "pending" for track in chain.songs()):
        return  # nothing to wait for: no need to wake anybody
    crew = make_crew(chain.work / "logs")
    try:
        chain.run(crew, task.stages, on_event, batch=task.settings.batch)
    finally:
        crew.close()


def _conclude(
    task: Task, chain: Chain, notes: tuple[str, ...], on_event: Callable[[Event], None]
) -> Report:
    """Manifest, training set and card."""
    write_manifest(task.output / "manifest.jsonl", chain)
    states, reasons = count(chain.songs())
    dataset = None
    if states["ready"] and not states["pending"]:
        dataset = _assemble(task, chain, on_event)
        if task.settings.stems == "delete":
            shutil.rmtree(chain.work / "separate", ignore_errors=True)
    else:
        _write_description(task, chain, "")
        if not states["pending"]:  # no song is left of those that a training set here may hold
            _remove_dataset(task.output)
    card.write_card(task.output)
    return Report(task.output, dict(states), dict(reasons), dataset, notes)


def _assemble(task: Task, chain: Chain, on_event: Callable[[Event], None]) -> DatasetInfo:
    """The training set of the ready songs; one that is there and theirs is kept."""
    rules = assemble.Rules(task.settings.frontend, task.filters.min_line_confidence)
    inputs = digest_songs(chain, rules)
    if _described_inputs(task.output) != inputs:
        _remove_dataset(task.output)  # of other songs or settings; the stages' files are there
        _write_description(task, chain, inputs)
    elif (task.output / "dataset.json").exists() and (info := read_info(task.output)).complete:
        return info
    ready = Counter(track.state for track in chain.songs())["ready"]
    on_event({"event": "stage", "stage": "dataset", "backend": "safetensors", "waiting": ready})
    writer: ShardWriter | None = None
    for track in _ready(chain):
        writer = writer or ShardWriter(task.output, assemble.header(track, rules.frontend))
        if track.id not in writer:
            writer.add(assemble.training_song(chain.item(track), rules))
    assert writer is not None
    return writer.finish()


def digest_songs(chain: Chain, rules: assemble.Rules) -> str:
    """Hex SHA-256 of all that the training set follows from."""
    running = digest([FORMAT_VERSION, dataclasses.asdict(rules)])
    for track in _ready(chain):
        keys = [track.results[stage]["key"] for stage in STAGES if stage != "ingest"]
        running = digest([running, track.id, track.artist, keys])
    return running


def _ready(chain: Chain) -> Iterator[Track]:
    return (track for track in chain.songs() if track.state == "ready")


def _write_description(task: Task, chain: Chain, inputs: str) -> None:
    described = {
        "format": FORMAT_VERSION,
        "kind": "songbloom preparation",
        "songs": os.path.relpath(chain.root, task.output),
        "settings": dataclasses.asdict(task.settings),
        "filters": dataclasses.asdict(task.filters),
        "backends": {
            stage: {**dataclasses.asdict(found), "hash": found.hash}
            for stage, found in chain.backends.items()
        },
        "slice": f"{task.part.number}/{task.part.count}",
        "inputs": inputs,
    }
    write_text(task.output / "prepare.json", json.dumps(described, indent=1) + "\n")


def _described_inputs(output: Path) -> str:
    try:
        described: dict[str, Any] = json.loads((output / "prepare.json").read_text("utf-8"))
        return str(described["inputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _remove_dataset(output: Path) -> None:
    shutil.rmtree(output / "shards", ignore_errors=True)
    for name in ("dataset.json", "index.jsonl"):
        (output / name).unlink(missing_ok=True)


def stages_named(text: str | None) -> tuple[str, ...]:
    """Stages of a list with commas, in their own order; all for None. `UsageError` for others."""
    if text is None:
        return STAGES
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in STAGES:
            raise UsageError(f"--stages: no stage '{name}'", f"Stages: {', '.join(STAGES)}.")
    return tuple(stage for stage in STAGES if stage in names)


def permissive() -> FiltersConfig:
    """Filters that refuse nothing: for single stages, and for trials."""
    return FiltersConfig(
        min_duration=0.0,
        max_duration=math.inf,
        min_rms=-math.inf,
        max_silence=1.0,
        max_clipped=1.0,
        min_sample_rate=0,
        min_voice=0.0,
        min_alignment=0.0,
        min_line_confidence=0.0,
        lyrics="optional",
    )
