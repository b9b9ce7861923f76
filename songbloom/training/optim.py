"""Learning-rate schedules and optimizers."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class AdamWSettings:
    """AdamW's constants but the learning rate, which the schedule sets."""

    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Every trained parameter once: weights of linear layers decay, all others do not."""
    decayed = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = (
        {"params": [p for p in trained if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in trained if id(p) not in decayed], "weight_decay": 0.0},
    )
    return [group for group in groups if group["params"]]


def build_adamw(model: nn.Module, settings: AdamWSettings) -> torch.optim.AdamW:
    """AdamW without decay on norms, embeddings, biases and other vectors."""
    return torch.optim.AdamW(
        parameter_groups(model, settings.weight_decay),
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
    )


def warmup_cosine(step: int, total: int, *, warmup: int, floor: float = 0.0) -> float:
    """Rate factor of steps 0..total-1: linear to 1, then half a cosine down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def ema_decay(step: int, decay: float) -> float:
    """Decay after `step` steps: the average forgets the drawn weights quickly, then slows down."""
    return min(decay, (1 + step) / (10 + step))
