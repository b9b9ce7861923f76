"""A song through a model of Demucs, segment by segment, without holding the song."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from songbloom.units import SAMPLE_RATE, Hz

if TYPE_CHECKING:
    from demucs.apply import BagOfModels, Model

    AnyModel = Model | BagOfModels

OVERLAP = 0.25  # of neighbouring segments: Demucs' own default


def stems(
    model: "AnyModel", song: Iterable[np.ndarray], device: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks `[2, *]` of a song at 48 kHz -> (vocals, accompaniment) `[2, *]`, as long in all.

    The accompaniment is the sum of the sources other than vocals; for a model of vocals alone it is
    the song less the vocals, so that it keeps what lies above the model's rate.
    """
    sources, rate = list(model.sources), int(model.samplerate)
    voice = sources.index("vocals")
    passed: deque[np.ndarray] = deque()
    mixture = resampled(_remembered(song, passed), SAMPLE_RATE, rate)
    parts = (_vocals_first(part, voice) for part in separated(model, mixture, device))
    for part in resampled(parts, rate, SAMPLE_RATE):
        same = _taken(passed, part.shape[1])
        vocals = part[:2, : same.shape[1]]
        yield vocals, part[2:, : same.shape[1]] if len(sources) > 1 else same - vocals


def _remembered(blocks: Iterable[np.ndarray], passed: deque[np.ndarray]) -> Iterator[np.ndarray]:
    """The same blocks, which `passed` gets as well."""
    for block in blocks:
        passed.append(block)
        yield block


def _taken(passed: deque[np.ndarray], count: int) -> np.ndarray:
    """The first `count` samples of what has passed, or as many as are there."""
    parts = [np.zeros((2, 0), np.float32)]
    while count and passed:
        block = passed.popleft()
        parts.append(block[:, :count])
        if block.shape[1] > count:
            passed.appendleft(block[:, count:])
        count -= parts[-1].shape[1]
    return np.concatenate(parts, axis=1)


def _vocals_first(estimates: np.ndarray, voice: int) -> np.ndarray:
    """`[sources, 2, *]` -> `[4, *]`: vocals, the sum of the others; `[2, *]` of vocals alone."""
    others = np.delete(estimates, voice, axis=0)
    both = [estimates[voice], others.sum(0)] if len(others) else [estimates[voice]]
    return np.concatenate(both)


def resampled(blocks: Iterable[np.ndarray], rate: Hz, wanted: Hz) -> Iterator[np.ndarray]:
    """Blocks `[channels, *]` at another rate; of n samples, n * wanted / rate, rounded up."""
    if rate == wanted:
        yield from blocks
        return
    converter, taken, given = None, 0, 0
    for block in blocks:
        if converter is None:
            converter = soxr.ResampleStream(rate, wanted, len(block), "float32", quality="VHQ")
        taken += block.shape[1]
        result = converter.resample_chunk(np.ascontiguousarray(block.T, np.float32)).T
        given += result.shape[1]
        yield result
    if converter is not None:
        last = converter.resample_chunk(np.zeros((0, len(block)), np.float32), last=True).T
        size = -(-taken * wanted // rate) - given
        yield _longer(last, size)[:, :size]


def separated(model: "AnyModel", blocks: Iterable[np.ndarray], device: str) -> Iterator[np.ndarray]:
    """Blocks `[2, *]` of a song at the model's rate -> its sources `[sources, 2, *]`, as long.

    What `demucs.apply.apply_model` gives with shifts=0, without holding more than a few segments:
    its segments, its overlap, its triangular weights.
    """
    length = int(model.samplerate * _segment(model))
    stride = int((1 - OVERLAP) * length)
    window = _Window(iter(blocks), length)
    rising = np.arange(1, length // 2 + 1, dtype=np.float32)
    falling = np.arange(length - length // 2, 0, -1, dtype=np.float32)
    weights = np.concatenate([rising, falling]) / np.float32(length - length // 2)
    sums = np.zeros((len(model.sources), 2, 0), np.float32)
    total = np.zeros(0, np.float32)
    for start in itertools.count(0, stride):
        window.move(start)
        if window.left == 0:
            return
        estimate = _estimate(model, window, length, device)
        size = estimate.shape[-1]
        sums, total = (_longer(array, size) for array in (sums, total))
        sums[..., :size] += weights[:size] * estimate
        total[:size] += weights[:size]
        done = min(stride, size)
        yield sums[..., :done] / total[:done]
        sums, total = sums[..., done:], total[done:]


def _longer(array: np.ndarray, size: int) -> np.ndarray:
    """The array with zeros at the end of its last axis, `size` long at least."""
    missing = max(size - array.shape[-1], 0)
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])


class _Window:
    """The part of a streamed song `[2, *]` around a segment: one length before it, one after."""

    def __init__(self, blocks: Iterator[np.ndarray], length: int) -> None:
        self.samples = np.zeros((2, 0), np.float32)
        self.at = 0  # where the segment begins in `samples`
        self._first = 0  # where `samples` begins in the song
        self._blocks, self._length = blocks, length

    @property
    def left(self) -> int:
        """Samples from the segment's beginning on that are known of."""
        return max(self.samples.shape[1] - self.at, 0)

    def move(self, start: int) -> None:
        """Let the segment begin at `start`."""
        parts, end = [self.samples], self._first + self.samples.shape[1]
        while end < start + 2 * self._length and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            end += block.shape[1]
        first = min(max(start - self._length, self._first), end)
        self.samples = np.concatenate(parts, axis=1)[:, first - self._first :]
        self._first, self.at = first, start - first


def _estimate(model: "AnyModel", window: _Window, length: int, device: str) -> np.ndarray:
    """`[sources, 2, at most length]`: one segment, by Demucs, with the sound around it at hand.

    A last one that is shorter than a spectrum, which Demucs fails at, is filled up with silence.
    """
    import torch
    from demucs.apply import TensorChunk, apply_model

    size = min(window.left, length)
    least = max(getattr(part, "nfft", 0) for part in _parts(model))
    around = torch.from_numpy(_longer(window.samples, window.at + least))[None]
    chunk = TensorChunk(around, window.at, length)
    found = apply_model(model, chunk, shifts=0, split=False, device=device)
    estimate: np.ndarray = found[0, ..., :size].cpu().numpy()
    return estimate


def _segment(model: "AnyModel") -> Any:
    """Seconds that a model, or the shortest-sighted of a bag, works on at a time."""
    return min(part.segment for part in _parts(model))


def _parts(model: "AnyModel") -> Iterable[Any]:
    """The models of a bag, or the one model."""
    return getattr(model, "models", [model])
