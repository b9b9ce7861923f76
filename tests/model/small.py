"""Models and inputs of milliseconds, with weights large enough to tell things apart."""

from typing import Any

import torch
from torch import Tensor

from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY
from songbloom.model.conditioning import Conditions, LyricIds
from songbloom.model.config import ModelConfig
from songbloom.model.songbloom import Batch, FlowDraws, SongBloom, draw_flow


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_config(**changes: Any) -> ModelConfig:
    """Patches of 4 frames and 8 latent channels."""
    sizes: dict[str, Any] = {
        "dim": 64,
        "num_heads": 2,
        "ar_layers": 2,
        "dit_layers": 2,
        "ffn_dim": 96,
        "sketch_vocab_size": 40,
        "patch_size": 4,
        "latent_dim": 8,
        "lyric_length": 12,
        "reference_frames": 6,
        "time_features_dim": 16,
        "init_std": 0.08,
    }
    return ModelConfig(**{**sizes, **changes})


def small_model(seed: int = 0, **changes: Any) -> SongBloom:
    """Random weights; the sketch head's are scaled up, so that tokens clearly differ."""
    model = SongBloom(small_config(**changes))
    model.init_weights(seeded(seed))
    with torch.no_grad():
        model.sketch_lm.head[2].weight.mul_(8)
    return model.eval()


def random_conditions(config: ModelConfig, seed: int) -> Conditions:
    """Random symbols with section marks, a comma and a full stop; 5 frames of clip."""
    words = torch.randint(20, 300, (5,), generator=seeded(seed)).tolist()
    period, comma = (RELEASE_VOCABULARY.symbols.index(mark) for mark in ".,")
    tokens = [1, *words[:2], period, words[2], comma, 2, *words[3:]]
    ids = LyricIds.from_tokens(tokens, RELEASE_VOCABULARY, max_sentences=config.max_sentences)
    return Conditions(ids, torch.randn(5, config.latent_dim, generator=seeded(seed + 1)))


def random_batch(
    config: ModelConfig, lengths: list[int], num_patches: int, seed: int = 3
) -> tuple[Batch, FlowDraws]:
    """Songs of `lengths` frames padded to `num_patches`, with every random draw of a pass."""
    generator, songs = seeded(seed), len(lengths)
    frames = num_patches * config.patch_size
    sketch = torch.randint(config.sketch_vocab_size, (songs, frames), generator=generator)
    latents = torch.randn(songs, frames, config.latent_dim, generator=generator)
    conditions = [random_conditions(config, seed + 10 * i) for i in range(songs)]
    draws = draw_flow(config, num_patches, [seeded(100 * seed + i) for i in range(songs)])
    return Batch(sketch, latents, torch.tensor(lengths), conditions), draws


def largest(difference: Tensor) -> float:
    """Largest absolute entry, as a float."""
    return float(difference.detach().abs().max()) if difference.numel() else 0.0
