"""The slow twin of `generation.engine`: no cache, no batch, no guidance rows.

Everything is computed from the beginning for every token: build the whole sequence, run it, look at
the last output. Slow, short, and hard to get wrong.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from songbloom.generation.draws import Draws
from songbloom.model.conditioning import NULL_CONDITIONS, Conditions
from songbloom.model.config import SamplingConfig
from songbloom.model.songbloom import SongBloom


@dataclass
class NaiveSong:
    """What has been sung so far."""

    tokens: list[int]
    patches: list[Tensor]  # each [P, C]

    @property
    def latents(self) -> Tensor:
        return torch.cat(self.patches)


@torch.no_grad()
def sing(
    model: SongBloom, conditions: Conditions, sampling: SamplingConfig, draws: Draws
) -> NaiveSong:
    """One whole song. Of the patch in which it ends, the frames before that are part of it when
    `keep_last_patch`, else none."""
    size, eos = model.config.patch_size, model.config.eos_id
    song = NaiveSong([], [])
    while len(song.patches) * size < sampling.max_duration * 25:
        patch, ended = len(song.patches), None
        for position in range(model.config.sketch_size):
            token = _next_token(model, conditions, sampling, draws, song, position)
            if ended is None and token == eos:
                ended = position
            song.tokens.append(token if ended is None else eos)
        if ended == 0 or (ended is not None and not sampling.keep_last_patch):
            del song.tokens[-size:]
            return song
        noise = draws.noise(patch, (size, model.config.latent_dim))
        song.patches.append(_paint(model, conditions, sampling, noise, song)[:ended])
        if ended is not None:
            del song.tokens[ended - size :]
            return song
    return song


def _last_output(model: SongBloom, conditions: Conditions, song: NaiveSong) -> Tensor:
    """prefix, BOS, s1 .. sP, A1, s(P+1) .. through the transformer; its last output `[D]`."""
    rows = [*model.conditioner(conditions), model.sketch_lm.bos]
    size = model.config.sketch_size
    for patch in range(len(song.patches) + 1):
        rows += [model.sketch_lm.embedding.weight[t] for t in song.tokens[patch * size :][:size]]
        if patch < len(song.patches):
            rows.append(model.patch_encoder(song.patches[patch]))
    return model.sketch_lm(torch.stack(rows)[None])[0, -1]


def _next_token(
    model: SongBloom,
    conditions: Conditions,
    sampling: SamplingConfig,
    draws: Draws,
    song: NaiveSong,
    position: int,
) -> int:
    logits = model.sketch_lm.head(_last_output(model, conditions, song))
    null = model.sketch_lm.head(_last_output(model, NULL_CONDITIONS, song))
    logits = null + sampling.sketch_cfg_scale * (logits - null)
    if song.patches:
        for token in set(song.tokens[-sampling.repetition_window :]) - {model.config.eos_id}:
            logits[token] /= sampling.repetition_penalty
    if sampling.temperature == 0:
        return int(logits.argmax())
    probs = torch.softmax(logits / sampling.temperature, dim=0)
    if sampling.top_k:
        probs[probs < probs.sort(descending=True).values[sampling.top_k - 1]] = 0
    return int(draws.token(probs / probs.sum(), len(song.patches), position))


def _paint(
    model: SongBloom,
    conditions: Conditions,
    sampling: SamplingConfig,
    noise: Tensor,
    song: NaiveSong,
) -> Tensor:
    """The last patch's latents, by Euler steps from t = 1 to 0."""
    hidden = _last_output(model, conditions, song)
    tokens = song.tokens[len(song.tokens) - model.config.sketch_size :]
    sketch = model.sketch_lm.embedding.weight[tokens]
    previous = song.patches[-1] if song.patches else torch.zeros_like(noise)

    def velocity(x: Tensor, t: float, hidden: Tensor, sketch: Tensor) -> Tensor:
        times = torch.tensor([t])
        return model.dit(x[None], times, hidden[None], sketch[None], previous[None])[0]

    threshold, steps = sampling.noise_temperature, sampling.num_steps
    x = torch.zeros_like(noise) if threshold < 1 else noise
    for step in range(steps):
        t, after = 1 - step / steps, 1 - (step + 1) / steps
        with_all = velocity(x, t, hidden, sketch)
        without = velocity(x, t, 0 * hidden, 0 * sketch)
        v = without + sampling.latent_cfg_scale * (with_all - without)
        renoise = after <= threshold < t
        x = (1 - after) * (x - v) + after * noise if renoise else x + (after - t) * v
    return x
