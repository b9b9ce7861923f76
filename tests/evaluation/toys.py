"""Small songs, metrics that need no model, and a crew of this very process."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from songbloom.evaluation import metrics
from songbloom.evaluation.evaluate import Task
from songbloom.evaluation.items import Item, check_sound, find
from songbloom.evaluation.metric import Measured, ratio
from songbloom.evaluation.protocol import Protocol
from songbloom.stages import sound
from songbloom.stages.ledger import Result
from songbloom.stages.worker import Job, Worker

RATE = 8000
TOYS = dict.fromkeys(("level", "share", "middle"), "evaluation.toys:load")
LYRICS = "[verse]\nhello world\n\n[chorus]\ngood night\n"


def tone(path: Path, *, level: float = 0.1, seconds: float = 1.0, seed: int = 0) -> Path:
    """A second of noise at a level: every seed sounds different."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    soundfile.write(path, np.clip(level * noise, -0.99, 0.99), RATE)
    return path


def songs(folder: Path, count: int) -> Path:
    """`count` songs of rising level, each with lyrics."""
    for number in range(count):
        path = tone(folder / f"song_{number:04d}.wav", level=0.01 * (1 + number % 30), seed=number)
        path.with_suffix(".txt").write_text(LYRICS)
    return folder


class Level:
    """The root mean square; `corpus` makes it the middle of all samples' energies instead."""

    name, unit, better = "level", "", "lower"
    needs: frozenset[str] = frozenset({"lyrics"})

    def __init__(self, corpus: bool, unit: str) -> None:
        self.corpus, self.unit = corpus, unit

    def identity(self) -> dict[str, Any]:
        return {"backend": "toy", "corpus": self.corpus, "unit": self.unit}

    def measure(self, item: Item) -> Measured:
        if item.reference is not None:
            check_sound(item.reference)
        samples = sound.read(item.audio, RATE)
        arrays = {"energy": np.tile(np.square(samples), (4, 1))} if self.corpus else {}
        amount = float(np.square(samples).sum())
        return Measured(amount, samples.size, {"samples": samples.size, "bad": np.nan}, arrays)

    def combine(self, songs: Sequence[Measured]) -> float:
        if self.corpus:
            return float(np.median([np.mean(song.arrays["energy"]) for song in songs]))
        return ratio(songs) * (100 if self.unit == "%" else 1)

    def parts(self, songs: Sequence[Measured]) -> dict[str, Any]:
        return {"samples": sum(song.details["samples"] for song in songs)}


def load(settings: Mapping[str, Any], work: Path) -> Level:
    return Level(bool(settings.get("corpus")), str(settings.get("unit", "")))


class Inline:
    """A crew of one, in this process; after `patience` jobs the user gives up."""

    size = 1

    def __init__(self, task: Task, patience: int | None = None) -> None:
        self.worker = Worker(task.settings, "cpu")
        self.patience, self.jobs = patience, list[str]()

    def submit(self, worker: int, stage: str, jobs: Sequence[Job]) -> "Future[list[Result]]":
        if self.patience is not None and len(self.jobs) >= self.patience:
            raise KeyboardInterrupt
        self.jobs += [job.item.track.id for job in jobs]
        future: Future[list[Result]] = Future()
        try:
            future.set_result(self.worker.run(stage, jobs))
        except Exception as error:
            future.set_exception(error)
        return future

    def restart(self, worker: int) -> None:
        raise AssertionError

    def close(self) -> None:
        pass


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metrics `level`, `share` in per cent, and `middle` of a corpus."""
    monkeypatch.setattr(metrics, "METRICS", TOYS)


def task(folder: Path, cache: Path, **changes: Any) -> Task:
    """All songs of a folder by the three toys."""
    settings: dict[str, dict[str, Any]] = {"share": {"unit": "%"}, "middle": {"corpus": True}}
    protocol = Protocol("toys", ("level", "share", "middle"), settings=settings)
    return Task(find(folder), changes.pop("protocol", protocol), cache, **changes)
