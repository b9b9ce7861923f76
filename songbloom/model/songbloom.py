"""SongBloom: a sketch transformer and a flow DiT, interleaved patch by patch (arXiv 2506.07634).

    conditions -> prefix -> [SketchLM] -> sketch tokens, hidden --> [DiT] -> latents of the patch
                                ^                                              |
                                +------------- [PatchEncoder] <----------------+

`forward` is the training pass, all patches at once; generation lives in `songbloom.generation`.
B songs, T = N P frames, P patch size, N patches, D dim, C latent channels, V sketch vocabulary.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from songbloom.model.conditioning import Conditioner, Conditions
from songbloom.model.config import ModelConfig, ObjectiveConfig
from songbloom.model.dit import DiT
from songbloom.model.flow import interpolate, logit_normal_t, velocity_target
from songbloom.model.patches import (
    interleave,
    patchify,
    previous_patches,
    sketch_targets,
    split_outputs,
)
from songbloom.model.sketch_lm import SketchLM


@dataclass(frozen=True)
class Batch:
    """Songs to learn from, padded to one length T (a multiple of the patch size).

    Frames at and beyond a song's length carry no loss and are not heard, whatever they hold.
    """

    sketch: Tensor  # [B, T] int64
    latents: Tensor  # [B, T, C]
    lengths: Tensor  # [B] int64, frames
    conditions: Sequence[Conditions]
    ends: Tensor | None = None  # [B] bool: the song ends there; None: all do
    heard: Tensor | None = None  # [B, T] int64: the sketch as the AR half hears it; None: as it is
    next_symbol: Tensor | None = None  # [B, T + 1] int64: lyric symbol sung next, -1 for unknown
    next_beat: Tensor | None = None  # [B, T + 1] int64: frames until the next beat, -1 for unknown
    tempo: Tensor | None = None  # [B], beats a minute, 0 for unknown

    def with_plain_padding(self, eos_id: int) -> "Batch":
        """EOS and zeros beyond each song, as the release pads: the last patch hears its padding."""
        beyond = torch.arange(self.sketch.shape[1], device=self.sketch.device)
        beyond = beyond >= self.lengths[:, None]
        return dataclasses.replace(
            self,
            sketch=self.sketch.masked_fill(beyond, eos_id),
            heard=None if self.heard is None else self.heard.masked_fill(beyond, eos_id),
            latents=self.latents.masked_fill(beyond[..., None], 0),
        )


@dataclass(frozen=True)
class FlowDraws:
    """Everything random in a training pass, drawn beforehand."""

    t: Tensor  # [B, N] in (0, 1)
    noise: Tensor  # [B, N, P, C]
    drop_hidden: Tensor  # [B, N] bool
    drop_sketch: Tensor  # [B, N] bool
    drop_past: Tensor  # [B] bool: the song's sound so far is not heard


@dataclass(frozen=True)
class Losses:
    """Mean losses over the frames that count, and how many those are."""

    total: Tensor
    sketch: Tensor  # nats a token
    flow: Tensor  # mean squared velocity error
    sketch_count: Tensor
    flow_count: Tensor
    auxiliary: Tensor  # 0, or what helps to learn: see `songbloom.training.auxiliary`


@dataclass(frozen=True)
class Predictions:
    """What the model says about a teacher-forced batch."""

    logits: Tensor  # [B, T + 1, V + 1]
    velocity: Tensor  # [B, N, P, C]
    hidden: Tensor  # [B, N, D]


def draw_flow(
    config: ModelConfig, num_patches: int, generators: Sequence[torch.Generator]
) -> FlowDraws:
    """Draw t, noise and masks, each song from its own generator: no song depends on its batch."""
    draws = [_draw_song(config, num_patches, generator) for generator in generators]
    return FlowDraws(*(torch.stack(x) for x in zip(*draws, strict=True)))


def _draw_song(
    config: ModelConfig, num_patches: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    t = logit_normal_t((num_patches,), generator)
    shape = (num_patches, config.patch_size, config.latent_dim)
    noise = torch.randn(shape, generator=generator)
    first, second = torch.rand((2, num_patches), generator=generator)
    past = torch.rand((), generator=generator) < config.objective.past_dropout
    return (t, noise, *_masks(config.objective, first, second), past)


def _masks(objective: ObjectiveConfig, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """(drop hidden, drop sketch): see `ObjectiveConfig.masking`."""
    joint, sketch_only = first < objective.joint_mask_rate, second < objective.sketch_mask_rate
    return (joint, sketch_only) if objective.masking == "release" else (joint, joint | sketch_only)


class PatchEncoder(nn.Module):
    """A patch of latents as one vector: the paper's "convolution" is two linear layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(-2),
            nn.Linear(config.patch_size * config.latent_dim, config.dim),
            nn.SiLU(),
            nn.Linear(config.dim, config.dim),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """`[..., P, C]` -> `[..., D]`."""
        return self.layers(latents)


class SongBloom(nn.Module):
    """The whole model but the VAE."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.conditioner = Conditioner(config)
        self.sketch_lm = SketchLM(config)
        self.patch_encoder = PatchEncoder(config)
        self.dit = DiT(config)
        self.channel_weights: Tensor | None = None  # [C] of the flow loss; None: all alike

    def init_weights(self, generator: torch.Generator, *, only: tuple[str, ...] = ("",)) -> None:
        """Draw every weight whose name begins like one of `only` (all do): normal with `init_std`
        (time frequencies: 1); norms 1, biases 0."""
        for name, parameter in self.named_parameters():
            if not name.startswith(only):
                continue
            if "norm" in name:
                nn.init.ones_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                std = 1.0 if name == "dit.time.frequencies" else self.config.init_std
                nn.init.normal_(parameter, std=std, generator=generator)

    def prefix(self, conditions: Sequence[Conditions]) -> Tensor:
        """Conditions of B songs -> `[B, prefix_length, D]`."""
        return torch.stack([self.conditioner(c) for c in conditions])

    def listen(self, sketch: Tensor, latents: Tensor, prefix: Tensor) -> tuple[Tensor, Tensor]:
        """The AR half, teacher-forced: sketch embeddings `[B, N, P, D]`, latents `[B, N, P, C]`,
        prefix `[B, prefix, D]` -> predicting outputs `[B, T + 1, D]`, hidden `[B, N, D]`.

        In a model without sketch the embeddings are `[B, N, 0, D]`, the outputs `[B, 1, D]`."""
        sequence = interleave(self.sketch_lm.bos, sketch, self.patch_encoder(latents))
        outputs = self.sketch_lm(torch.cat([prefix, sequence], dim=1))
        return split_outputs(outputs[:, prefix.shape[1] :], self.config.sketch_size)

    def paint(
        self, sketch: Tensor, latents: Tensor, past: Tensor, hidden: Tensor, draws: FlowDraws
    ) -> Tensor:
        """The flow half, all patches at once: velocity `[B, N, P, C]` of the latents at the drawn
        t; `past` are the latents as they are heard."""
        velocity = self.dit(
            interpolate(latents, draws.noise, draws.t).flatten(0, 1),
            draws.t.flatten(),
            hidden.masked_fill(draws.drop_hidden[..., None], 0).flatten(0, 1),
            sketch.masked_fill(draws.drop_sketch[..., None, None], 0).flatten(0, 1),
            previous_patches(past).flatten(0, 1),
        )
        return velocity.view_as(latents)

    def tokens(self, sketch: Tensor) -> Tensor:
        """A sketch `[B, T]` by patches: `[B, N, P]`, or `[B, N, 0]` in a model without sketch."""
        return patchify(sketch, self.config.patch_size)[..., : self.config.sketch_size]

    def predict(self, batch: Batch, draws: FlowDraws) -> Predictions:
        """The teacher-forced pass: every token and every patch at once."""
        batch = batch.with_plain_padding(self.config.eos_id)
        latents = patchify(batch.latents, self.config.patch_size)  # [B, N, P, C]
        sketch = self.sketch_lm.embedding(self.tokens(batch.sketch))  # [B, N, P, D]
        heard = sketch
        if batch.heard is not None:
            heard = self.sketch_lm.embedding(self.tokens(batch.heard))
        past = latents.masked_fill(draws.drop_past[:, None, None, None], 0)
        outputs, hidden = self.listen(heard, past, self.prefix(batch.conditions))
        velocity = torch.zeros_like(latents)
        if self.config.objective.flow_weight:  # else nobody learns to paint
            velocity = self.paint(sketch, latents, past, hidden, draws)
        return Predictions(self.sketch_lm.head(outputs), velocity, hidden)

    def forward(self, batch: Batch, draws: FlowDraws) -> Losses:
        """The two losses of the paper and their weighted sum; gradients of the flow loss reach the
        AR transformer through the hidden vectors."""
        return self.losses(self.predict(batch, draws), batch, draws)

    def losses(self, predictions: Predictions, batch: Batch, draws: FlowDraws) -> Losses:
        """Cross-entropy of the sketch and squared error of the velocity, over frames that count."""
        eos, ignore = self.config.eos_id, self.config.ignore_id
        tokens = self.tokens(batch.sketch).flatten(1)
        targets = sketch_targets(
            tokens, batch.lengths, eos_id=eos, ignore_id=ignore, ends=batch.ends
        )
        logits = predictions.logits.float().flatten(0, 1)
        sketch_count = (targets != ignore).sum()
        sketch = F.cross_entropy(logits, targets.flatten(), ignore_index=ignore, reduction="sum")
        latents = patchify(batch.latents, self.config.patch_size)
        error = predictions.velocity.float() - velocity_target(latents, draws.noise)
        frames = torch.arange(batch.sketch.shape[1], device=error.device)
        lasting = batch.lengths * bool(self.config.objective.flow_weight)
        counts = patchify(frames < lasting[:, None], self.config.patch_size)
        flow_count = counts.sum() * self.config.latent_dim
        squares = error.masked_fill(~counts[..., None], 0).square()
        if self.channel_weights is not None:
            squares = squares * self.channel_weights.to(squares)
        flow = squares.sum() / flow_count.clamp(min=1)
        sketch = sketch / sketch_count.clamp(min=1)  # without sketch nothing counts
        total = sketch + self.config.objective.flow_weight * flow
        return Losses(total, sketch, flow, sketch_count, flow_count, total.new_zeros(()))
