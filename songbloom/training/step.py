"""What a step adds up: losses over all frames of all ranks, whatever micro batch they came in."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from songbloom.data.loader import MicroBatch
from songbloom.model.config import ModelConfig
from songbloom.model.songbloom import Batch, FlowDraws, Losses, draw_flow

_MISHEARD = 0x6D697368  # tells its random stream from the flow's


class Sums(NamedTuple):
    """Summed losses and how many targets they are sums over."""

    sketch: float = 0.0
    flow: float = 0.0
    sketch_count: float = 0.0
    flow_count: float = 0.0
    auxiliary: float = 0.0

    def plus(self, losses: Losses) -> "Sums":
        """With a pass's losses added."""
        sketch_count, flow_count = losses.sketch_count.item(), losses.flow_count.item()
        return Sums(
            self.sketch + losses.sketch.item() * sketch_count,
            self.flow + losses.flow.item() * flow_count,
            self.sketch_count + sketch_count,
            self.flow_count + flow_count,
            self.auxiliary + losses.auxiliary.item() * sketch_count,
        )

    def named(self, flow_weight: float) -> dict[str, float]:
        """Mean losses: `loss`, `lm_loss` (nats a token), `flow_loss` (squared velocity error), and
        where there is one, `auxiliary_loss`."""
        sketch = self.sketch / max(self.sketch_count, 1)
        flow = self.flow / max(self.flow_count, 1)
        auxiliary = self.auxiliary / max(self.sketch_count, 1)
        loss = sketch + flow_weight * flow + auxiliary
        named = {"loss": loss, "lm_loss": sketch, "flow_loss": flow}
        return {**named, "auxiliary_loss": auxiliary} if auxiliary else named


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """Each value summed over all ranks."""
    total = torch.tensor(values, dtype=torch.float64)
    if dist.is_initialized():
        dist.all_reduce(total)
    return total.tolist()


def keys_of_step(micro_batches: Sequence[MicroBatch]) -> list[str]:
    """The songs of a step, those of all ranks."""
    keys = [key for micro_batch in micro_batches for key in micro_batch.keys]
    if not dist.is_initialized():
        return keys
    found: list[list[str]] = [[]] * dist.get_world_size()
    dist.all_gather_object(found, keys)
    return [key for own in found for key in own]


def count_targets(micro_batches: Sequence[MicroBatch], config: ModelConfig) -> tuple[float, float]:
    """Sketch targets and latent values that count in a step, over all ranks."""
    sketch = flow = 0
    for batch in (micro_batch.batch for micro_batch in micro_batches):
        frames = int(batch.lengths.sum())
        ends = len(batch.lengths) if batch.ends is None else int(batch.ends.sum())
        sketch += frames + ends if config.sketch_size else 0
        flow += frames * config.latent_dim if config.objective.flow_weight else 0
    sketch_count, flow_count = sum_over_ranks([sketch, flow])
    return max(sketch_count, 1), max(flow_count, 1)


def share(losses: Losses, counts: tuple[float, float], flow_weight: float) -> Tensor:
    """What a pass adds to the step's total loss: its frames' part of the two means."""
    sketch = losses.sketch * losses.sketch_count / counts[0]
    flow = losses.flow * losses.flow_count / counts[1]
    auxiliary = losses.auxiliary * losses.sketch_count / counts[0]
    return sketch + flow_weight * flow + auxiliary


def batch_to_device(
    micro_batch: MicroBatch, config: ModelConfig, device: torch.device, corruption: float = 0.0
) -> tuple[Batch, FlowDraws]:
    """The batch and its noise, each song's from its own seed and length: no song depends on the
    others of its batch. `corruption` is the share of sketch tokens that are misheard."""
    batch, draws = micro_batch.batch, draw_each(micro_batch, config)
    heard = mishear(micro_batch, config, corruption) if corruption else None
    known = (batch.ends, heard, batch.next_symbol, batch.next_beat, batch.tempo)
    moved = Batch(
        batch.sketch.to(device),
        batch.latents.to(device),
        batch.lengths.to(device),
        batch.conditions,  # the conditioner moves them
        *(None if x is None else x.to(device) for x in known),
    )
    drawn = (getattr(draws, field.name) for field in dataclasses.fields(draws))
    return moved, FlowDraws(*(x.to(device) for x in drawn))


def draw_each(micro_batch: MicroBatch, config: ModelConfig) -> FlowDraws:
    """Draws of every song for its own patches, followed by zeros in the padding."""
    patches = micro_batch.batch.sketch.shape[1] // config.patch_size
    rows = []
    for length, seed in zip(micro_batch.batch.lengths.tolist(), micro_batch.seeds, strict=True):
        own = -(-length // config.patch_size)
        generator = torch.Generator().manual_seed(seed)
        drawn = draw_flow(config, own, [generator])
        parts = (drawn.t, drawn.noise, drawn.drop_hidden, drawn.drop_sketch)
        rows.append([*(_pad(part, patches - own) for part in parts), drawn.drop_past])
    return FlowDraws(*(torch.cat(column) for column in zip(*rows, strict=True)))


def mishear(micro_batch: MicroBatch, config: ModelConfig, corruption: float) -> Tensor:
    """The sketches `[B, T]` with that share of their tokens drawn anew: what comes of listening to
    its own mistakes, a model that has only heard right tokens never learnt."""
    heard = micro_batch.batch.sketch.clone()
    for row, seed in zip(heard, micro_batch.seeds, strict=True):
        generator = torch.Generator().manual_seed(seed ^ _MISHEARD)
        wrong = torch.rand(len(row), generator=generator) < corruption
        drawn = torch.randint(config.sketch_vocab_size, (len(row),), generator=generator)
        row.copy_(torch.where(wrong, drawn, row))
    return heard


def _pad(part: Tensor, patches: int) -> Tensor:
    """`[1, N, ...]` with more patches of zeros."""
    return F.pad(part, (0, 0) * (part.dim() - 2) + (0, patches))
