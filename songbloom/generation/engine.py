"""The generation loop: patches of several songs at once, yielded as they are made.

Per patch: P sketch tokens one by one (none in a model without sketch), one more step for the hidden
vector, the flow from noise to latents, and the latents' embedding becomes the next step's input.
Guidance runs as extra rows of the same batch, the null rows after the conditional ones. B songs,
R rows (B or 2 B), P patch size, C latent channels, D dim, V sketch vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from songbloom.generation.draws import Draws
from songbloom.model.cache import KVCache
from songbloom.model.conditioning import NULL_CONDITIONS, Conditions
from songbloom.model.config import SamplingConfig
from songbloom.model.flow import euler
from songbloom.model.sampling import guide, penalize_repetition, probabilities
from songbloom.model.songbloom import SongBloom


@dataclass(frozen=True)
class Patch:
    """One patch of one song. P may be less in the last one (`SamplingConfig.keep_last_patch`)."""

    song: int
    index: int
    sketch: Tensor  # [P] int64, on the CPU; [0] in a model without sketch
    latents: Tensor  # [P, C] float32, on the CPU


def max_patches(sampling: SamplingConfig, patch_size: int) -> int:
    """The length limit in patches; the patch that crosses it is still made."""
    return max(1, math.ceil(sampling.max_frames / patch_size))


@torch.inference_mode()
def generate_patches(
    model: SongBloom,
    conditions: Sequence[Conditions],
    sampling: SamplingConfig,
    draws: Sequence[Draws],
) -> Iterator[list[Patch]]:
    """Yield the next patch of every song that still sounds.

    A song ends when one of its tokens is EOS (the frames of that patch before it are yielded when
    `keep_last_patch`, else nothing of it) or at the length limit. Temperature 0 is greedy.
    """
    session, size = _Session(model, conditions, sampling, draws), model.config.patch_size
    for index in range(max_patches(sampling, size)):
        sketch, hidden = session.sketch_patch(index)
        frames = size - (sketch == model.config.eos_id).sum(dim=1)  # all is EOS after an EOS
        sounds = frames >= (1 if sampling.keep_last_patch else size)
        session.retire(sounds)
        sketch, hidden, frames = sketch[sounds], hidden[sounds], frames[sounds]
        if not session.songs:
            return
        latents = session.latent_patch(index, sketch, hidden)
        yield [
            Patch(song, index, sketch[row, :end].cpu(), latents[row, :end].float().cpu())
            for row, (song, end) in enumerate(zip(session.songs, frames.tolist(), strict=True))
        ]
        session.retire(frames == size)
        if not session.songs:
            return


class _Session:
    """What is carried from patch to patch."""

    def __init__(
        self,
        model: SongBloom,
        conditions: Sequence[Conditions],
        sampling: SamplingConfig,
        draws: Sequence[Draws],
    ) -> None:
        self.model, self.sampling, self.draws = model, sampling, draws
        self.songs = list(range(len(conditions)))
        # The sketch alone is guided against the null condition.
        self.guided = sampling.sketch_cfg_scale != 1.0 and model.config.sketch_size > 0
        size, device = model.config.patch_size, model.sketch_lm.bos.device
        null = [NULL_CONDITIONS] * len(conditions) if self.guided else []
        prefix = model.prefix([*conditions, *null])  # [R, prefix, D]
        bos = model.sketch_lm.bos.expand(len(prefix), 1, -1)
        self.inputs = torch.cat([prefix, bos], dim=1)
        capacity = model.config.sequence_length(max_patches(sampling, size))
        self.cache: KVCache = model.sketch_lm.allocate_cache(len(prefix), capacity)
        shape = (len(conditions), size, model.config.latent_dim)
        self.previous = torch.zeros(shape, device=device, dtype=prefix.dtype)
        self.recent = torch.full(
            (len(conditions), sampling.repetition_window), model.config.eos_id, device=device
        )

    def sketch_patch(self, index: int) -> tuple[Tensor, Tensor]:
        """The patch's tokens `[B, P]` and hidden vectors `[B, D]`, which take no guidance.

        Behind an EOS the patch is filled with EOS, as it is in training.
        """
        config = self.model.config
        tokens = self.recent.new_empty(len(self.songs), config.sketch_size)
        for position in range(config.sketch_size):
            ended = (tokens[:, :position] == config.eos_id).any(dim=1)
            token = self._choose(self._step(), index, position).masked_fill(ended, config.eos_id)
            tokens[:, position] = token
            self.recent = torch.cat([self.recent[:, 1:], token[:, None]], dim=1)
            self._feed(self.model.sketch_lm.embedding(token))
        return tokens, self._step()[: len(self.songs)]

    def latent_patch(self, index: int, sketch: Tensor, hidden: Tensor) -> Tensor:
        """Latents `[B, P, C]`: the flow, guided against masked hidden and sketch."""
        noise = torch.stack([self.draws[s].noise(index, self._latent_shape) for s in self.songs])
        embedded = self.model.sketch_lm.embedding(sketch)
        scale = self.sampling.latent_cfg_scale
        if scale != 1.0:
            hidden = torch.cat([hidden, torch.zeros_like(hidden)])
            embedded = torch.cat([embedded, torch.zeros_like(embedded)])
        copies = len(hidden) // len(noise)
        previous = self.previous.repeat(copies, 1, 1)

        def velocity(noisy: Tensor, t: Tensor) -> Tensor:
            times = t.to(noisy.device).expand(len(hidden))
            v = self.model.dit(noisy.repeat(copies, 1, 1), times, hidden, embedded, previous)
            if scale == 1.0:
                return v
            conditional, null = v.chunk(2)
            return guide(conditional, null, scale)

        self.previous = euler(
            velocity,
            noise.to(hidden),
            num_steps=self.sampling.num_steps,
            noise_temperature=self.sampling.noise_temperature,
        )
        self._feed(self.model.patch_encoder(self.previous))
        return self.previous

    def retire(self, keep: Tensor) -> None:
        """Songs that have ended leave the batch, with their rows."""
        if keep.all():
            return
        rows = keep.repeat(2) if self.guided else keep
        self.songs = [song for song, kept in zip(self.songs, keep.tolist(), strict=True) if kept]
        self.cache = self.cache.select(rows)
        self.previous, self.recent = self.previous[keep], self.recent[keep]
        self.inputs = self.inputs[rows]

    @property
    def _latent_shape(self) -> tuple[int, int]:
        return self.model.config.patch_size, self.model.config.latent_dim

    def _step(self) -> Tensor:
        """Run the inputs through the transformer: outputs at the last position, `[R, D]`."""
        return self.model.sketch_lm(self.inputs, self.cache)[:, -1]

    def _feed(self, embedding: Tensor) -> None:
        """`[B, D]`, the same for conditional and null rows, is the next input."""
        rows = torch.cat([embedding, embedding]) if self.guided else embedding
        self.inputs = rows.unsqueeze(1)

    def _choose(self, outputs: Tensor, patch: int, position: int) -> Tensor:
        """The next token of every song, `[B]`: guidance, penalty, temperature, top-k, draw."""
        sampling, logits = self.sampling, self.model.sketch_lm.head(outputs).float()
        if self.guided:
            conditional, null = logits.chunk(2)
            logits = guide(conditional, null, sampling.sketch_cfg_scale)
        if patch > 0 and sampling.repetition_penalty != 1.0:  # the release spares the first patch
            eos = self.model.config.eos_id
            logits = penalize_repetition(logits, self.recent, sampling.repetition_penalty, eos)
        if sampling.temperature <= 0:
            return logits.argmax(dim=-1)
        probs = probabilities(logits, sampling.temperature, sampling.top_k)
        rows = zip(self.songs, probs, strict=True)
        return torch.stack([self.draws[s].token(p, patch, position) for s, p in rows])
