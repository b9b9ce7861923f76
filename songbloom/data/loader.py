"""An endless stream of samples, split among ranks; where it stands is one number.

Sample p of the stream is entry p mod n of epoch p div n, each epoch a permutation of the n tracks
drawn from (seed, epoch). An optimizer step takes the next `global_batch` samples, whoever computes
them: micro batch a of rank r takes the (a * world_size + r)-th `micro_batch` of these. So a run may
go on with other ranks, other micro batches, even another global batch, and within an epoch no
sample comes twice or never.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from songbloom.data.dataset import NOTHING_NEXT, Dataset, Sample
from songbloom.errors import SongBloomError, UsageError
from songbloom.model.songbloom import Batch
from songbloom.units import Frames

_ORDER = 0x6F72646572  # tells the permutations' random stream from the samples'
Place = tuple[int, int]  # (epoch, track)


@dataclass(frozen=True)
class MicroBatch:
    """Samples that pass through the model together."""

    batch: Batch  # float32 latents; frames beyond a sample's length are zeros
    keys: tuple[str, ...]  # track ids
    seeds: tuple[int, ...]  # one a sample, for its noise and masks

    @property
    def num_frames(self) -> Frames:
        """Frames that count, without padding."""
        return int(self.batch.lengths.sum())


class Loader:
    """Yields, for each optimizer step, this rank's micro batches; never ends.

    `workers` threads prepare micro batches ahead, `prefetch` for each of them; 0 prepares them when
    they are asked for. (Threads, because copying, converting and waiting for a disk all release the
    interpreter's lock; they need no second process, and no tensor has to travel.) `UsageError` when
    `global_batch` is not a multiple of `micro_batch * world_size`.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        global_batch: int,
        micro_batch: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        consumed: int = 0,
        workers: int = 0,
        prefetch: int = 2,
    ) -> None:
        if min(global_batch, micro_batch, world_size, prefetch) < 1 or min(seed, workers) < 0:
            raise UsageError(
                "loader: expected batches, ranks and prefetch of at least 1, seed and workers of 0"
            )
        if not 0 <= rank < world_size:
            raise UsageError(f"loader: rank {rank}; expected 0..{world_size - 1}")
        if global_batch % (micro_batch * world_size):
            lower = max(1, global_batch // (micro_batch * world_size)) * micro_batch * world_size
            raise UsageError(
                f"batch of {global_batch} samples cannot be split into micro batches of "
                f"{micro_batch} on {world_size} ranks",
                f"Choose a multiple of {micro_batch * world_size}, for example {lower}.",
            )
        self.dataset, self.seed, self.consumed = dataset, seed, consumed
        self.global_batch, self.micro_batch = global_batch, micro_batch
        self.rank, self.world_size = rank, world_size
        self.workers, self.prefetch = workers, prefetch

    @property
    def accumulation(self) -> int:
        """Micro batches of a rank in an optimizer step."""
        return self.global_batch // (self.micro_batch * self.world_size)

    @property
    def epoch(self) -> int:
        """The epoch of the next sample."""
        return self.consumed // len(self.dataset)

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands, the same on every rank; a step counts once it is yielded."""
        return {
            "seed": self.seed,
            "consumed": self.consumed,
            "tracks": len(self.dataset),
            "dataset": self.dataset.fingerprint,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from `state`; iterate anew afterwards.

        `SongBloomError` when that state is of other tracks: their order would be another one.
        """
        own = {"tracks": len(self.dataset), "dataset": self.dataset.fingerprint}
        if any(state[name] != value for name, value in own.items()):
            raise SongBloomError(
                f"{self.dataset.shards.folder}: holds {own['tracks']} tracks that are not the "
                f"{state['tracks']} of the checkpoint (dataset changed, or a shard left out)",
                "Mend the dataset, or begin a new run with --init-from this one's model.",
            )
        self.seed, self.consumed = state["seed"], state["consumed"]

    def __iter__(self) -> Iterator[list[MicroBatch]]:
        micro_batches = self._ahead() if self.workers else map(self._make, self._places())
        while True:
            step = [next(micro_batches) for _ in range(self.accumulation)]
            self.consumed += self.global_batch
            yield step

    def _places(self) -> Iterator[list[Place]]:
        """What this rank's micro batches are made of, from where the stream stands."""
        epoch, order = -1, np.empty(0, np.int64)
        first = self.consumed + self.rank * self.micro_batch
        while True:
            places = []
            for position in range(first, first + self.micro_batch):
                if position // len(self.dataset) != epoch:
                    epoch = position // len(self.dataset)
                    order = permutation(len(self.dataset), self.seed, epoch)
                places.append((epoch, int(order[position % len(self.dataset)])))
            yield places
            first += self.world_size * self.micro_batch

    def _make(self, places: Sequence[Place]) -> MicroBatch:
        return collate(
            [self.dataset.sample(track, epoch=epoch, seed=self.seed) for epoch, track in places],
            self.dataset.config.patch_size,
        )

    def _ahead(self) -> Iterator[MicroBatch]:
        """Micro batches in order, made by threads before they are asked for."""
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="loader")
        waiting: deque[Future[MicroBatch]] = deque()
        try:
            for places in self._places():
                waiting.append(pool.submit(self._make, places))
                if len(waiting) >= self.workers * self.prefetch:
                    yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `count` tracks in an epoch, int64 `[count]`.

    From the generator's raw numbers, whose stream numpy promises never to change.
    """
    bits = np.random.PCG64(np.random.SeedSequence([_ORDER, seed, epoch]))
    return np.argsort(bits.random_raw(count), kind="stable")


def collate(samples: Sequence[Sample], patch_size: Frames) -> MicroBatch:
    """Pad samples to the longest one's whole patches."""
    longest = max(len(sample.sketch) for sample in samples)
    frames = -(-longest // patch_size) * patch_size
    sketch = torch.empty(len(samples), frames, dtype=torch.int64)
    latents = torch.empty(len(samples), frames, samples[0].latents.shape[1])
    following, beats = torch.full((2, len(samples), frames + 1), NOTHING_NEXT)
    for row, sample in enumerate(samples):
        length = len(sample.sketch)
        following[row, : length + 1] = sample.next_symbol
        beats[row, : length + 1] = sample.next_beat
        sketch[row, :length], latents[row, :length] = sample.sketch, sample.latents
        sketch[row, length:], latents[row, length:] = 0, 0
    batch = Batch(
        sketch,
        latents,
        lengths=torch.tensor([len(sample.sketch) for sample in samples]),
        conditions=[sample.conditions for sample in samples],
        ends=torch.tensor([sample.ends for sample in samples]),
        next_symbol=following,
        next_beat=beats,
        tempo=torch.tensor([sample.tempo for sample in samples]),
    )
    keys, seeds = zip(*((sample.key, sample.seed) for sample in samples), strict=True)
    return MicroBatch(batch, keys, seeds)
