"""Scores of a set of songs: every metric over every song, resumable, the same bytes each time.

Songs are measured by worker processes, a metric at a time; what is measured is filed under its
content, so that a killed evaluation goes on and a changed song is measured again. A song that
cannot be measured fails, with the reason, and stops no other.

The result is JSON: no times, no paths, songs in order of their names.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from songbloom.errors import SongBloomError
from songbloom.evaluation import metrics, protocol, statistics
from songbloom.evaluation.cache import WORK, Cache
from songbloom.evaluation.items import Item
from songbloom.evaluation.metric import Measured, Metric
from songbloom.evaluation.protocol import Protocol
from songbloom.evaluation.worker import SOUND, STAGE, Order, Settings, plain
from songbloom.files import sha256, sole_user, write_text
from songbloom.stages import runner
from songbloom.stages.crews import Crew, LocalCrew
from songbloom.stages.ledger import Result
from songbloom.stages.stage import digest
from songbloom.stages.worker import Job
from songbloom.units import Seconds

FORMAT = 1
_VERSION = 1  # of what is filed; another one measures everything again
_FIRST_TIMEOUT: Seconds = 600.0  # a song's share of loading a model
_LONGEST_SOUND: Seconds = 600.0  # to read one file
_NEEDED = {
    "lyrics": "no lyrics; expected NAME.txt or .lrc beside it",
    "reference": "no reference clip; expected NAME.reference.wav or references/NAME.wav",
}
Event = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What to do: songs in order of their names, the protocol, where measurements are kept."""

    items: tuple[Item, ...]
    protocol: Protocol
    cache: Path
    workers: int | None = None

    @property
    def settings(self) -> Settings:
        """What workers need to know."""
        return Settings(
            workers=self.workers, metrics=self.protocol.settings, work=self.cache / WORK
        )


def local_crew(task: Task) -> Crew:
    """Worker processes of this machine, no more than songs."""
    size = min(LocalCrew.size_of(task.settings), len(task.items))
    return LocalCrew(task.settings, task.cache / "logs", size=size)


def evaluate(
    task: Task,
    on_event: Callable[[Event], None] = lambda event: None,
    make_crew: Callable[[Task], Crew] = local_crew,
) -> dict[str, Any]:
    """Measure what is not measured yet and put the result together (see the module).

    `UsageError` for settings that a metric does not know, `MissingAssetError` for a backend that is
    not installed, `SongBloomError` when another process uses the cache.
    """
    with _opened(task) as evaluation:
        evaluation.measure(on_event, make_crew)
        return evaluation.result()


def plan(task: Task) -> dict[str, Any]:
    """What `evaluate` would do: songs, and by metric how many are measured already, and how many
    seconds the others would take one worker, where it is known from others."""
    with _opened(task) as evaluation:
        return evaluation.plan()


def write(result: Mapping[str, Any], path: Path) -> None:
    """Write a result as `evaluation.json`."""
    write_text(path, json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read(path: Path) -> dict[str, Any]:
    """A result that `write` wrote; `path` is the file or its folder. `SongBloomError` if none."""
    path = path / "evaluation.json" if path.is_dir() else path
    try:
        result = json.loads(path.read_text("utf-8"))
        right = result["format"] == FORMAT and bool(result["protocol"]["id"])
        right = right and all(key in result for key in ("test_set", "metrics", "songs", "failed"))
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror or error})",
            "Name the evaluation.json that songbloom evaluate wrote, or its folder.",
        ) from error
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise SongBloomError(
            f"{path}: is no evaluation of format {FORMAT}",
            "Name the evaluation.json that songbloom evaluate wrote.",
        )
    return dict(result)


@contextlib.contextmanager
def _opened(task: Task) -> Iterator["_Evaluation"]:
    busy = SongBloomError(
        f"{task.cache}: another evaluation works here", "Wait for it, or name another --cache."
    )
    with sole_user(task.cache, busy):
        cache = Cache(task.cache)
        try:
            yield _Evaluation(task, cache)
        finally:
            cache.close()


class _Evaluation:
    """A task at work."""

    def __init__(self, task: Task, cache: Cache) -> None:
        self.task, self.cache = task, cache
        settings = task.settings
        self.metrics: dict[str, Metric] = {
            name: metrics.load(name, settings.metrics.get(name, {}), settings.work)
            for name in task.protocol.metrics
        }
        self.identities = {name: plain(metric.identity()) for name, metric in self.metrics.items()}
        self.contents = _contents(task.items)
        self.refused: dict[str, str] = {}  # key -> why it could not be measured

    def measure(self, on_event: Callable[[Event], None], make_crew: Callable[[Task], Crew]) -> None:
        """Measure what is not in the cache; no worker is woken for nothing."""
        crew: Crew | None = None
        try:
            for metric in (SOUND, *self.metrics):
                waiting = self._waiting(metric)
                told = {"stage": metric, "waiting": len(waiting), "backend": self._backend(metric)}
                on_event({"event": "stage", **told})
                if waiting:
                    crew = crew or make_crew(self.task)
                    self._run(crew, metric, waiting, on_event)
        finally:
            if crew is not None:
                crew.close()

    def plan(self) -> dict[str, Any]:
        """See the module's `plan`."""
        rows = {}
        for metric in (SOUND, *self.metrics):
            waiting, pace = len(self._waiting(metric)), self.cache.pace(metric)
            seconds = None if pace is None else round(waiting * pace, 1)
            rows[metric] = {"to_measure": waiting, "estimated_worker_seconds": seconds}
        return {
            "protocol": self._protocol()["id"],
            "songs": len(self.task.items),
            "audio_bytes": sum(_size(item.audio) for item in self.task.items),
            "workers": LocalCrew.size_of(self.task.settings),
            "metrics": rows,
            "lacking_input": sum(
                any(self._failure(name, item) for name in self.metrics) for item in self.task.items
            ),
        }

    def result(self) -> dict[str, Any]:
        """The JSON of all songs."""
        pinned = self._protocol()
        test_set = {"hash": pinned.pop("test_set"), "songs": len(self.task.items)}
        found = {name: self._measured(name) for name in self.metrics}
        return {
            "format": FORMAT,
            "protocol": pinned,
            "test_set": test_set,
            "metrics": {name: self._value(name, songs) for name, songs in found.items()},
            "songs": [self._song(index, found) for index in range(len(self.task.items))],
            "failed": [
                {"name": item.name, "metric": name, "reason": reason}
                for item in self.task.items
                for name in self.metrics
                if (reason := self._failure(name, item))
            ],
        }

    def _run(
        self, crew: Crew, metric: str, items: Sequence[Item], on_event: Callable[[Event], None]
    ) -> None:
        jobs = (self._job(metric, item) for item in items)
        for done, (job, result) in enumerate(runner.run(crew, STAGE, jobs), 1):
            assert isinstance(job.item, Order)
            item = job.item.song
            self.cache.put(metric, job.key, result)
            told: dict[str, Any] = {"state": "failed" if result.reason else "done"}
            if result.reason:
                told["reason"] = self.refused[job.key] = _without_paths(result, item)
            told |= {"done": done, "of": len(items)}
            on_event({"event": "song", "stage": metric, "id": item.name, **told})

    def _job(self, metric: str, item: Item) -> Job:
        key = self._key(metric, item)
        if metric == SOUND:
            timeout = _LONGEST_SOUND
        else:
            timeout = _FIRST_TIMEOUT + self.task.settings.item_timeout * self._seconds(item)
        return Job(key, Order.of(item, metric), self.cache.place(metric, key), timeout)

    def _seconds(self, item: Item) -> Seconds:
        sound = self.cache.get(SOUND, self._key(SOUND, item))
        return float(sound["seconds"]) if sound else 0.0

    def _key(self, metric: str, item: Item) -> str:
        content = self.contents[item.name]
        if metric == SOUND:
            return digest([_VERSION, SOUND, content.audio])
        bundle = content.bundle if "bundle" in self.metrics[metric].needs else None
        asked = [content.lyrics, content.reference, content.truth, bundle]
        return digest([_VERSION, metric, self.identities[metric], content.audio, *asked])

    def _waiting(self, metric: str) -> list[Item]:
        """Songs that a metric has still to measure; of those with the same content, the first."""
        waiting: dict[str, Item] = {}
        for item in self.task.items:
            if not self._failure(metric, item):
                key = self._key(metric, item)
                if self.cache.get(metric, key) is None:
                    waiting.setdefault(key, item)
        return list(waiting.values())

    def _failure(self, metric: str, item: Item) -> str:
        """Why a song could not be measured, or cannot be; empty where nothing is against it."""
        if "audio" in item.problems:
            return item.problems["audio"]
        if self.contents[item.name].audio is None:
            return f"{item.audio.name}: no such file"
        if metric != SOUND:
            if reason := self._failure(SOUND, item):
                return reason
            for need in sorted(self.metrics[metric].needs & _NEEDED.keys()):
                if getattr(item, need) is None:
                    return item.problems.get(need, _NEEDED[need])
        return self.refused.get(self._key(metric, item), "")

    def _measured(self, metric: str) -> dict[int, Measured]:
        """What a metric found, by the songs' places in order."""
        found = {}
        for index, item in enumerate(self.task.items):
            if not self._failure(metric, item):
                measured = self.cache.measured(metric, self._key(metric, item))
                assert measured is not None
                found[index] = measured
        return found

    def _value(self, name: str, found: Mapping[int, Measured]) -> dict[str, Any]:
        """A metric's value over all songs, with its interval and parts."""
        metric, songs = self.metrics[name], list(found.values())
        value = _combined(metric, songs)
        how = self.task.protocol.statistics
        extra: dict[str, Any] = {}
        if metric.corpus:
            without = statistics.replicates_of(
                lambda kept: _combined(metric, [found[i] for i in found if kept[i]]),
                len(self.task.items),
                how,
            )
            interval = statistics.jackknife(value, without, how)
            extra["replicates"] = without
        else:
            amounts = np.array([song.amount for song in songs]) * _scale(metric)
            weights = np.array([song.weight for song in songs])
            interval = statistics.bootstrap(amounts, weights, how)
        row = plain(
            {
                "value": value,
                "interval": interval,
                "songs": len(songs),
                "failed": len(self.task.items) - len(songs),
                "unit": metric.unit,
                "better": metric.better,
                "backend": self._backend(name),
                "parts": metric.parts(songs) if songs else {},
                **extra,
            }
        )
        return dict(row)

    def _song(self, index: int, found: Mapping[str, Mapping[int, Measured]]) -> dict[str, Any]:
        item = self.task.items[index]
        measured = {}
        for name, songs in found.items():
            if index in songs:
                song, scale = songs[index], _scale(self.metrics[name])
                value = plain(scale * song.amount / song.weight) if song.weight else None
                measured[name] = {"value": value, "weight": song.weight, "details": song.details}
        return {
            "name": item.name,
            "audio_sha256": self.contents[item.name].audio,
            "measured": measured,
        }

    def _backend(self, metric: str) -> str:
        if metric == SOUND:
            return "every file read to its end"
        return str(self.identities[metric].get("backend", ""))

    def _protocol(self) -> dict[str, Any]:
        needs = frozenset().union(*(metric.needs for metric in self.metrics.values()))
        test_set = protocol.test_set_hash(self.task.items, needs)
        return protocol.identity(self.task.protocol, self.identities, test_set)


def _combined(metric: Metric, songs: Sequence[Measured]) -> float:
    return metric.combine(songs) if songs else math.nan


def _scale(metric: Metric) -> float:
    return 100.0 if metric.unit == "%" else 1.0


@dataclass(frozen=True)
class _Content:
    """Hashes of all that a result can follow from; None for what is not there."""

    audio: str | None
    lyrics: str | None
    reference: str | None
    truth: list[str | None]  # NAME.oracle.txt and .json, which the backends "oracle" read
    bundle: str | None


def _contents(items: Sequence[Item]) -> dict[str, _Content]:
    """The contents of every song, by name; hashing lets go of the interpreter, so threads help."""
    with ThreadPoolExecutor() as pool:
        return dict(zip((item.name for item in items), pool.map(_content, items), strict=True))


def _content(item: Item) -> _Content:
    return _Content(
        audio=_hash(item.audio),
        lyrics=None if item.lyrics is None else digest(item.lyrics),
        reference=_hash(item.reference),
        truth=[_hash(item.audio.with_suffix(f".oracle.{kind}")) for kind in ("txt", "json")],
        bundle=None if item.bundle is None else _bundle_hash(item.bundle),
    )


def _hash(path: Path | None) -> str | None:
    try:
        return None if path is None else sha256(path)
    except OSError:
        return None


def _bundle_hash(bundle: Path) -> str:
    """Of the files in a bundle, not of folders that it may hold."""
    files = sorted(path for path in bundle.iterdir() if path.is_file())
    return digest([[path.name, _hash(path)] for path in files])


def _without_paths(result: Result, item: Item) -> str:
    """A reason that reads the same on every machine."""
    reason = result.reason
    for path in (item.reference, item.bundle, item.audio):
        reason = reason if path is None else reason.replace(str(path), path.name)
    return reason


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
