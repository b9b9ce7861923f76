"""Learning-rate schedule and optimizer."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer


def trapezoid(step: int, total: int, *, warmup: int, decay_from: float = 0.5) -> float:
    """Rate factor: linear warm-up, flat, then linear to zero from `decay_from` of `total`."""
    rise = min(1.0, (step + 1) / warmup)
    fall = min(1.0, (total - step) / max(1.0, (1 - decay_from) * total))
    return max(0.0, min(rise, fall))


def build_optimizer(modules: Iterable[nn.Module], rate: float) -> Optimizer:
    """Adam over every parameter that requires a gradient.

    (Muon needs half the steps at this size, but its orthogonalisation makes a step nearly three
    times as long on a CPU.)
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    return torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.98))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set every group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
