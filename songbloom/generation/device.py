"""Which device and dtype to run on."""

import torch

from songbloom.errors import UsageError


def choose_device(name: str) -> torch.device:
    """ "auto" is CUDA, else MPS, else the CPU. `UsageError` for a device that is not there."""
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in present.items() if there))
    if not present.get(name.split(":")[0], False):
        raise UsageError(
            f"--device {name}: this machine has none (or this torch was built without it)",
            "Leave --device out, or use --device cpu.",
        )
    return torch.device(name)


def choose_dtype(name: str) -> torch.dtype:
    """float32 or bfloat16."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
