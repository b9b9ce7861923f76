"""What was measured, kept by content: a song, a model or a setting that changed has another key.

CACHE/scores.sqlite            amounts, weights and details
CACHE/METRIC/xx/KEY/           arrays.safetensors, where a metric keeps arrays
CACHE/work/                    what metrics derive from songs and share, such as separated vocals
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from songbloom.evaluation.metric import Measured
from songbloom.stages.ledger import Ledger, Result
from songbloom.stages.stage import result_folder
from songbloom.units import Seconds

ARRAYS_FILE = "arrays.safetensors"
WORK = "work"


class Cache:
    """An open cache; one process writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._ledger = Ledger(self.folder / "scores.sqlite")

    def place(self, metric: str, key: str) -> Path:
        """The folder that a result's arrays belong into."""
        return result_folder(self.folder, metric, key)

    def get(self, metric: str, key: str) -> Mapping[str, Any] | None:
        """The fields of a result; None where it, or its arrays, are not there."""
        result = self._ledger.get(metric, key)
        if result is None:
            return None
        whole = not result.fields.get("arrays") or (self.place(metric, key) / ARRAYS_FILE).is_file()
        return result.fields if whole else None

    def measured(self, metric: str, key: str) -> Measured | None:
        """A result; its arrays are read when they are looked at, and not kept."""
        fields = self.get(metric, key)
        if fields is None:
            return None
        file = self.place(metric, key) / ARRAYS_FILE
        arrays = _Arrays(file) if fields["arrays"] else {}
        return Measured(fields["amount"], fields["weight"], fields["details"], arrays)

    def put(self, metric: str, key: str, result: Result) -> None:
        """Keep a result whose arrays are in place. Failures are not kept: they are tried again."""
        if not result.reason:
            self._ledger.put(metric, key, result)

    def pace(self, metric: str) -> Seconds | None:
        """Seconds of work that a song took on average; None where none was measured here."""
        songs, seconds, _ = self._ledger.cost(metric)
        return seconds / songs if songs else None

    def close(self) -> None:
        """Let go of the files."""
        self._ledger.close()


class _Arrays(Mapping[str, np.ndarray]):
    """The arrays in a file, each read when it is asked for: 1,000 songs take no memory."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __getitem__(self, name: str) -> np.ndarray:
        with safe_open(self._file, "numpy") as stream:
            if name not in stream.keys():  # noqa: SIM118  # no mapping: it has nothing but keys()
                raise KeyError(name)
            return np.asarray(stream.get_tensor(name))

    def __iter__(self) -> Iterator[str]:
        with safe_open(self._file, "numpy") as stream:
            return iter(sorted(stream.keys()))

    def __len__(self) -> int:
        return sum(1 for _ in self)
