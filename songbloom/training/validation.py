"""Songs held out of training, and the losses on them: always the same crops, noise and masks."""

import hashlib
import math

import torch

from songbloom.data.dataset import Dataset, Sample
from songbloom.data.loader import collate
from songbloom.training.engine import Engine, rank, world_size
from songbloom.training.step import Sums, batch_to_device, sum_over_ranks


def hold_out(dataset: Dataset, count: int) -> tuple[Dataset, Dataset | None]:
    """Two datasets over the same files: the songs to learn, and `count` others, by their ids' hash.

    The second one drops no conditions; it is None for a count of 0.
    """
    if count == 0:
        return dataset, None
    names = [hashlib.sha256(dataset.shards.ids[int(n)].encode()).digest() for n in dataset.tracks]
    order = sorted(range(len(names)), key=names.__getitem__)
    return dataset.subset(order[count:]), dataset.subset(order[:count], dropout=False)


def samples(held_out: Dataset, seed: int) -> list[Sample]:
    """The fixed sample of every held-out song."""
    return [held_out.sample(track, epoch=0, seed=seed) for track in range(len(held_out))]


@torch.no_grad()
def validate(engine: Engine, held_out: Dataset, seed: int, device: torch.device) -> Sums:
    """Losses over all held-out songs, shared out among the ranks.

    Every rank makes as many passes, for engines that gather weights in them; the songs of ranks
    that have run out count nothing.
    """
    total = Sums()
    for turn in range(math.ceil(len(held_out) / world_size())):
        track = turn * world_size() + rank()
        sample = held_out.sample(min(track, len(held_out) - 1), epoch=0, seed=seed)
        micro_batch = collate([sample], held_out.config.patch_size)
        batch, draws = batch_to_device(micro_batch, held_out.config, device)
        losses = engine.losses(batch, draws, last=True)
        if track < len(held_out):
            total = total.plus(losses)
    return Sums(*sum_over_ranks(total))
