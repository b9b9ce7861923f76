"""What runs in a worker of an evaluation: one metric kept in memory, one song after another."""

import contextlib
import importlib
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from songbloom.errors import SongBloomError
from songbloom.evaluation import metrics
from songbloom.evaluation.cache import ARRAYS_FILE
from songbloom.evaluation.items import Item, check_sound
from songbloom.evaluation.metric import Metric
from songbloom.manifest import Track
from songbloom.stages import stage
from songbloom.tables import PrepareConfig

STAGE = __name__  # workers load a stage by its module's name
SOUND = "sound"  # comes before all metrics: can this file be scored at all?
DIGITS = 6


@dataclass(frozen=True)
class Settings(PrepareConfig):
    """What a worker needs: the protocol's tables, and the folder that metrics share."""

    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    work: Path = Path()


@dataclass(frozen=True)
class Order(stage.Item):
    """A song to be measured by a metric."""

    song: Item = Item("", Path())
    metric: str = SOUND

    @classmethod
    def of(cls, song: Item, metric: str) -> "Order":
        """The order for a song, which workers call by its name."""
        track = Track(id=song.name, audio=song.audio.name)
        return cls(track=track, audio=song.audio, song=song, metric=metric)


def load(settings: PrepareConfig, device: str) -> stage.Process:
    """A worker's process; metrics come with their first song."""
    assert isinstance(settings, Settings)
    with contextlib.suppress(ImportError):  # of libraries' progress bars, which nobody sees here:
        tqdm = importlib.import_module("tqdm").tqdm  # its own lock outlives a worker that is ended
        tqdm.set_lock(threading.RLock())
    return _Process(settings)


class _Process:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._name = SOUND
        self._metric: Metric | None = None

    def __call__(self, item: stage.Item, folder: Path) -> dict[str, Any]:
        assert isinstance(item, Order)
        if item.metric == SOUND:
            return {"seconds": round(check_sound(item.audio), DIGITS)}
        measured = self._load(item.metric).measure(item.song)
        if not (math.isfinite(measured.amount) and math.isfinite(measured.weight)):
            raise SongBloomError(f"{item.metric} found no number", "Report this song.")
        if measured.arrays:
            save_file(dict(measured.arrays), folder / ARRAYS_FILE)
        return {
            "amount": round(float(measured.amount), DIGITS),
            "weight": round(float(measured.weight), DIGITS),
            "details": plain(measured.details),
            "arrays": bool(measured.arrays),
        }

    def _load(self, name: str) -> Metric:
        if self._metric is None or name != self._name:
            self._metric = None  # the last one's model goes before the next one comes
            table = self._settings.metrics.get(name, {})
            self._metric, self._name = metrics.load(name, table, self._settings.work), name
        return self._metric


def plain(value: Any) -> Any:
    """JSON of a value: numbers with six decimals at most, None for what is no number."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, str | bool | int | None):
        return value
    number = float(value)  # of NumPy as well
    return round(number, DIGITS) if math.isfinite(number) else None
