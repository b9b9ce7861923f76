"""Sizes of a model without its weights: every tensor lives on torch's meta device."""

from typing import Any

import torch
from torch import nn

from songbloom.model.config import ModelConfig
from songbloom.model.songbloom import SongBloom


def summarize(config: ModelConfig) -> dict[str, Any]:
    """Parameter counts by part, their sizes in bytes, and the config. Nothing is allocated."""
    with torch.device("meta"):
        model = SongBloom(config)
    parts = {
        "lyrics": model.conditioner.lyrics,
        "reference": model.conditioner.reference,
        "sketch_embedding": model.sketch_lm.embedding,
        "sketch_transformer": nn.ModuleList([model.sketch_lm.layers, model.sketch_lm.norm]),
        "sketch_head": model.sketch_lm.head,
        "patch_encoder": model.patch_encoder,
        "time_embedding": model.dit.time,
        "dit": model.dit.layers,
        "latent_projections": nn.ModuleList([model.dit.project_in, model.dit.project_out]),
    }
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    counts["bos"] = model.sketch_lm.bos.numel()
    total = sum(p.numel() for p in model.parameters())
    assert sum(counts.values()) == total, "a part is counted twice or not at all"
    return {
        "config": config.to_dict(),
        "parameters": counts,
        "total_parameters": total,
        "bytes": {"float32": 4 * total, "bfloat16": 2 * total},
    }
