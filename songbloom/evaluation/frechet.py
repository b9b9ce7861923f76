"""Fréchet distance between sets of embeddings, each taken as a Gaussian (Dowson and Landau 1982).

    d = |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2))

The trace of the root is the sum of the singular values of C1^(1/2) C2^(1/2): all real, no root of a
product that is not symmetric, and right for sets of fewer points than dimensions.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

STEPS, ORDERS = 12, 8  # of the samples that `at_infinity` fits a line to
_BLOCK = 8192  # points that are looked at together


@dataclass(frozen=True)
class Gaussian:
    """A set of points by its size, its mean `[D]` and its scatter `[D, D]`, in double precision.

    The scatter is the sum of the outer products of the deviations from the mean.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray) -> "Gaussian":
        """Of points `[n, D]`."""
        points = np.asarray(points, dtype=np.float64)
        mean = points.mean(axis=0) if len(points) else np.zeros(points.shape[1])
        apart = points - mean
        return cls(len(points), mean, apart.T @ apart)

    def __add__(self, other: "Gaussian") -> "Gaussian":
        """Of the points of both (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        gap, share = other.mean - self.mean, other.count / max(count, 1)
        between = np.outer(gap, gap) * (self.count * share)
        return Gaussian(count, self.mean + gap * share, self.scatter + other.scatter + between)

    @property
    def dim(self) -> int:
        """D."""
        return len(self.mean)

    @cached_property
    def root(self) -> np.ndarray:
        """The symmetric square root of the covariance `[D, D]`, which is of n - 1 degrees."""
        values, vectors = np.linalg.eigh(self.scatter / (self.count - 1))
        rounding = values[-1] * self.dim * np.finfo(np.float64).eps  # its root would be none
        return (vectors * np.sqrt(np.where(values > rounding, values, 0.0))) @ vectors.T


def total(sets: Iterable[Gaussian]) -> Gaussian | None:
    """Of the points of all sets; None of none."""
    summed: Gaussian | None = None
    for one in sets:
        summed = one if summed is None else summed + one
    return summed


def distance(one: Gaussian, other: Gaussian) -> float:
    """Fréchet distance, 0 or more; NaN where a set has fewer than two points."""
    if min(one.count, other.count) < 2:
        return float("nan")
    gap = one.mean - other.mean
    spread = np.sum(one.root**2) + np.sum(other.root**2)  # the traces
    shared = np.linalg.svd(one.root @ other.root, compute_uv=False).sum()
    return max(0.0, float(gap @ gap + spread - 2 * shared))


def distance_of_few(points: np.ndarray, other: Gaussian) -> float:
    """The same of points `[n, D]`, quicker where n is less than D."""
    if min(len(points), other.count) < 2:
        return float("nan")
    mean = points.mean(axis=0, dtype=np.float64)
    apart = (points - mean) / np.sqrt(len(points) - 1)  # apart.T @ apart is the covariance
    gap = mean - other.mean
    spread = np.sum(apart**2) + np.sum(other.root**2)
    shared = np.linalg.svd(apart @ other.root, compute_uv=False).sum()
    return max(0.0, float(gap @ gap + spread - 2 * shared))


def at_infinity(sets: Sequence[np.ndarray], other: Gaussian, seed: int = 0) -> float | None:
    """What the distance of the points of all sets, each `[n, D]`, tends to with their number.

    A finite sample's distance is too high by about a constant over its size (Chong and Forsyth
    2020; for FAD, Gui et al. 2024): a line is fitted to the distances of samples against one over
    their sizes, and read at 0. The samples are the first n points of each of `ORDERS` random
    orders, n from a quarter of all points, at least twice D, to all. None of fewer than four times
    D points. The other set's own size is not corrected for.
    """
    most = sum(len(points) for points in sets)
    if most < 4 * other.dim:
        return None
    sizes = np.unique(np.linspace(max(2 * other.dim, most // 4), most, STEPS).astype(int))
    rng = np.random.Generator(np.random.PCG64(seed))
    distances = [_growing(sets, sizes, rng.permutation(most), other) for _ in range(ORDERS)]
    line = np.polynomial.Polynomial.fit(1 / sizes, np.mean(distances, axis=0), 1)
    return float(line(0.0))


def _growing(
    sets: Iterable[np.ndarray], sizes: np.ndarray, rank: np.ndarray, other: Gaussian
) -> list[float]:
    """Distances of the points of the lowest rank, as many as each size says."""
    step_of = np.searchsorted(sizes, rank, side="right")  # the first size that has a point
    steps: dict[int, Gaussian] = {}
    begin = 0
    for points in _blocks(sets):
        mine = step_of[begin : begin + len(points)]
        begin += len(points)
        for step in np.unique(mine).tolist():
            one = Gaussian.of(points[mine == step])
            steps[step] = steps[step] + one if step in steps else one
    grown = itertools.accumulate(steps[step] for step in range(len(sizes)))
    return [distance(one, other) for one in grown]


def _blocks(sets: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The points in their order, many at a time: sets are read once, a few in memory."""
    block: list[np.ndarray] = []
    for points in sets:
        block.append(points)
        if sum(map(len, block)) >= _BLOCK:
            yield np.concatenate(block)
            block = []
    if block:
        yield np.concatenate(block)
