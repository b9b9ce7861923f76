"""What every metric is: something found in each song, and a value made of it for a set of songs.

A metric is a module with `load(settings, work) -> Metric`, named in `songbloom.evaluation.metrics`.
`settings` is the protocol's table of the metric's name, which the module checks (`UsageError` for
what it does not know); `work` is a folder where metrics share what they derive from songs, such as
separated vocals. Loading is cheap: models come with the first song.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from songbloom.evaluation.items import Item


@dataclass(frozen=True)
class Measured:
    """What a metric found in one song.

    The value of a set of songs is `sum(amount) / sum(weight)`, but for corpus metrics; a weight of
    0 says that there is nothing to count (lyrics without words). `details` are JSON with finite
    numbers of at most six decimals, times in seconds. `arrays` are kept beside them, for metrics
    that compare sets of songs (embeddings `[n, d]`).
    """

    amount: float
    weight: float
    details: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


class Metric(Protocol):
    """A metric ready for one song after another.

    `needs` is of "lyrics" and "reference", without which a song fails, and "bundle", which the
    result follows from where there is one. The value of a `corpus` metric exists for a set of
    songs only; of the others `combine` is `ratio`, times 100 where the unit is "%". `better` is
    None where neither direction is. What `measure` returns depends on the item and the identity
    alone: not on songs before it, the number of workers, or paths.
    """

    name: str
    unit: str
    better: Literal["lower", "higher"] | None
    needs: frozenset[str]
    corpus: bool

    def identity(self) -> dict[str, Any]:
        """All that decides a number: backend, hashes of models, normaliser, versions, settings.

        "backend" is a short text, shown beside the metric's name. No paths, no device.
        """

    def measure(self, item: Item) -> Measured:
        """What is found in a song. `SongBloomError` for one that cannot be measured."""

    def combine(self, songs: Sequence[Measured]) -> float:
        """The value of a set of songs, with repetitions in a resample; NaN where there is none."""

    def parts(self, songs: Sequence[Measured]) -> dict[str, Any]:
        """What the value is made of, as JSON: counts, means, and the like."""


def ratio(songs: Sequence[Measured]) -> float:
    """Sum of the amounts over the sum of the weights; NaN where nothing was counted."""
    weight = sum(song.weight for song in songs)
    return sum(song.amount for song in songs) / weight if weight else float("nan")
