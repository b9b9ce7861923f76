"""Training state on disk: modules and optimizers in one safetensors file, resumed bit for bit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from songbloom.files import atomic_path


def save_state(
    path: Path,
    *,
    step: int,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write everything a run needs to go on after `step` steps, atomically."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {"step": step, "extra": dict(extra or {}), "optimizers": {}}
    for name, module in modules.items():
        tensors |= {f"module/{name}/{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        for index, values in state["state"].items():
            for key, value in values.items():
                tensors[f"optimizer/{name}/{index}/{key}"] = torch.as_tensor(value)
        scalars["optimizers"][name] = state["param_groups"]
    with atomic_path(path) as temporary:
        contiguous = {key: value.detach().contiguous() for key, value in tensors.items()}
        save_file(contiguous, temporary, metadata={"state": json.dumps(scalars)})


def load_state(
    path: Path, *, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> tuple[int, dict[str, Any]]:
    """Restore what `save_state` wrote, in place. Returns (step, extra)."""
    with safe_open(path, "pt") as stream:
        scalars = json.loads(stream.metadata()["state"])
        tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
    for name, module in modules.items():
        module.load_state_dict(_under(tensors, f"module/{name}/"))
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, f"optimizer/{name}/").items():
            index, field = key.split("/", 1)
            state.setdefault(int(index), {})[field] = value
        groups = scalars["optimizers"][name]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    return int(scalars["step"]), dict(scalars["extra"])


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
