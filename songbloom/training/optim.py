"""Learning-rate schedule and parameter groups."""

import torch
from torch import nn
from torch.optim import Optimizer


def trapezoid(step: int, total: int, *, warmup: int, decay_from: float = 0.5) -> float:
    """Rate factor: linear warm-up, flat, then linear to zero from `decay_from` of `total`."""
    rise = min(1.0, (step + 1) / warmup)
    fall = min(1.0, (total - step) / max(1.0, (1 - decay_from) * total))
    return max(0.0, min(rise, fall))


def build_optimizers(
    modules: dict[str, nn.Module], *, muon_lr: float, adam_lr: float
) -> dict[str, Optimizer]:
    """Muon for the matrices inside transformer layers, Adam for everything else.

    Every parameter that requires a gradient is in exactly one of the two.
    """
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for module in modules.values():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                inside = ".layers." in name and parameter.ndim == 2
                (matrices if inside and "patch_encoder" not in name else rest).append(parameter)
    return {
        "muon": torch.optim.Muon(matrices, lr=muon_lr, momentum=0.95, weight_decay=0.0),
        "adam": torch.optim.Adam(rest, lr=adam_lr, betas=(0.9, 0.98)),
    }


def scale_learning_rates(optimizers: dict[str, Optimizer], factor: float) -> None:
    """Set every group to `factor` times the rate it was built with."""
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group.setdefault("base_lr", group["lr"])
            group["lr"] = group["base_lr"] * factor
