"""How sure a value is, and whether two systems differ: all draws from one stated seed.

Songs are the unit that is drawn, never lines or words: those of one song are alike. A metric whose
value is a sum over songs gets a percentile bootstrap interval (Efron & Tibshirani 1993) and, for
two systems over the same songs, a paired permutation test. The value of a corpus metric (FAD) grows
when songs repeat, so resampling would bias it; it gets a delete-a-group jackknife (Kott 2001).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

GROUPS = 20  # of the jackknife
_EXACT = 12  # songs up to which all 2^n exchanges are counted
_TIE = 1e-12  # of rounding: an exchange as extreme as what was seen counts


@dataclass(frozen=True)
class Statistics:
    """How many resamples and exchanges are drawn, the intervals' confidence, and the seed."""

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def rng(self) -> np.random.Generator:
        """The generator of every draw, from its start."""
        return np.random.Generator(np.random.PCG64(self.seed))


@dataclass(frozen=True)
class Difference:
    """System A less system B over the songs of both: the value, its interval, and the p-value of
    "no difference" (two-sided). None where too few songs say nothing."""

    value: float
    interval: tuple[float, float] | None
    p: float | None


def bootstrap(
    amounts: np.ndarray, weights: np.ndarray, statistics: Statistics
) -> tuple[float, float] | None:
    """Percentile interval of `sum(amounts) / sum(weights)` over songs, both `[n]`; None where
    fewer than two songs have a weight."""
    if np.count_nonzero(weights) < 2:
        return None
    drawn = [_ratio(amounts[i], weights[i]) for i in _draws(len(amounts), statistics)]
    return _percentiles(drawn, statistics)


def paired(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], statistics: Statistics
) -> Difference:
    """Compare two systems' `(amounts, weights)`, each `[n]`, of the same songs in the same order.

    The interval draws songs, each with both systems' results. The test exchanges the systems'
    results within songs: all ways for twelve songs and fewer, else `resamples` random ones.
    """
    value = _ratio(*one) - _ratio(*other)
    count = len(one[0])
    if count < 2 or not math.isfinite(value):
        return Difference(value, None, None)
    drawn = [
        _ratio(one[0][i], one[1][i]) - _ratio(other[0][i], other[1][i])
        for i in _draws(count, statistics)
    ]
    extreme, total = 0, 0
    for swap in _exchanges(count, statistics):
        amounts = np.where(swap, other[0], one[0]), np.where(swap, one[0], other[0])
        weights = np.where(swap, other[1], one[1]), np.where(swap, one[1], other[1])
        difference = _ratio(amounts[0], weights[0]) - _ratio(amounts[1], weights[1])
        extreme += not abs(difference) < abs(value) - _TIE  # no value at all counts as extreme
        total += 1
    if count > _EXACT:  # what was seen is itself one of the exchanges
        extreme, total = extreme + 1, total + 1
    return Difference(value, _percentiles(drawn, statistics), extreme / total)


def leave_out(count: int, statistics: Statistics) -> list[np.ndarray]:
    """For each group of the jackknife, which of `count` songs are kept: `[count]` bool.

    Songs are dealt to groups of equal size at random; below twice `GROUPS` songs each is its own.
    """
    groups = GROUPS if count >= 2 * GROUPS else count
    dealt = np.arange(count) % groups
    group = np.empty(count, dtype=np.int64)
    group[statistics.rng().permutation(count)] = dealt
    return [group != number for number in range(groups)]


def jackknife(
    value: float, replicates: Sequence[float], statistics: Statistics
) -> tuple[float, float] | None:
    """Interval around a positive value from those without each group; None of fewer than two.

    It is made of their logarithms, so that a distance is never below 0.
    """
    if min(value, *replicates, math.inf) <= 0:
        return None
    interval = _around(math.log(value), [math.log(x) for x in replicates], statistics)
    return None if interval is None else (math.exp(interval[0]), math.exp(interval[1]))


def paired_jackknife(
    values: tuple[float, float],
    replicates: tuple[Sequence[float], Sequence[float]],
    statistics: Statistics,
) -> Difference:
    """Compare two systems' values of a corpus metric by the same groups left out of both."""
    value = values[0] - values[1]
    apart = [a - b for a, b in zip(*replicates, strict=True)]
    error = _jackknife_error(apart)
    if error is None:
        return Difference(value, None, None)
    degrees = len(apart) - 1
    p = 2 * float(stdtr(degrees, -abs(value) / error)) if error else float(value == 0)
    return Difference(value, _around(value, apart, statistics), p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for how many are looked at (Holm 1979); None stays None."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, i) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        adjusted[i] = least
    return adjusted


def replicates_of(
    combine: Callable[[np.ndarray], float], count: int, statistics: Statistics
) -> list[float]:
    """The values without each group; `combine` is given which songs are kept."""
    return [combine(kept) for kept in leave_out(count, statistics)] if count > 1 else []


def _draws(count: int, statistics: Statistics) -> Iterator[np.ndarray]:
    """Indices of each resample of `count` songs."""
    rng = statistics.rng()
    return (rng.integers(count, size=count) for _ in range(statistics.resamples))


def _exchanges(count: int, statistics: Statistics) -> Iterator[np.ndarray]:
    """In which songs the systems are exchanged, `[count]` bool."""
    if count <= _EXACT:
        bits = np.arange(count)
        return ((number >> bits & 1).astype(bool) for number in range(1 << count))
    rng = statistics.rng()
    return (rng.random(count) < 0.5 for _ in range(statistics.resamples))


def _ratio(amounts: np.ndarray, weights: np.ndarray) -> float:
    weight = float(weights.sum())
    return float(amounts.sum()) / weight if weight else math.nan


def _percentiles(values: Sequence[float], statistics: Statistics) -> tuple[float, float] | None:
    """The middle `confidence` of the values that are numbers."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return None
    tail = (1 - statistics.confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def _around(
    value: float, replicates: Sequence[float], statistics: Statistics
) -> tuple[float, float] | None:
    """Interval of Student's t around a value from those without each group."""
    error = _jackknife_error(replicates)
    if error is None:
        return None
    reach = float(stdtrit(len(replicates) - 1, 0.5 + statistics.confidence / 2)) * error
    return value - reach, value + reach


def _jackknife_error(replicates: Sequence[float]) -> float | None:
    """Standard error from the values without each of g groups."""
    if len(replicates) < 2 or not all(math.isfinite(value) for value in replicates):
        return None
    spread = np.asarray(replicates) - np.mean(replicates)
    groups = len(replicates)
    return float(np.sqrt((groups - 1) / groups * np.sum(spread**2)))
