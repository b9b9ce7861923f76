"""Weights in eight bits: int8 matrices with one scale a row, activations as they are.

    y = (x W8^T) s        W8 = round(W / s), s = max |W| of the row / 127

Only the linear layers of the two transformers' blocks are stored so, which is where nearly all
weights are. They take a quarter of float32's memory. Whether they are faster too depends: a linear
layer of the full model (1536 to 4608) on 2 rows by one AVX-512 core took 2.6 ms in float32, 3.6 in
bfloat16, 1.6 with int8 weights under bfloat16 activations and 6.8 under float32 ones; on 100 rows
18, 80, 60 and 28. torchao 0.18 stores the same, took 11.3 ms where these lines take 6.8, complains
beside CPU torch about libraries it cannot load, and would be needed to read a model folder.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INT8 = "int8"
_BLOCKS = ("sketch_lm.layers.", "dit.layers.")
_LARGEST = 127


class Int8Linear(nn.Module):
    """A linear layer without bias whose weight is stored in eight bits."""

    weight: Tensor  # [D_out, D_in] int8
    scale: Tensor  # [D_out], in the dtype of the activations

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        """`[..., D_in]` -> `[..., D_out]`."""
        if x.dtype == torch.bfloat16 and not x.is_cuda:  # PyTorch's kernel for it; slow in float32
            flat = torch._weight_int8pack_mm(x.flatten(0, -2), self.weight, self.scale)
            return flat.view(*x.shape[:-1], -1)
        return F.linear(x, self.weight.to(x.dtype)) * self.scale


def is_quantised(name: str, tensor: Tensor) -> bool:
    """Whether a tensor of a state dict is a matrix that `quantise` takes."""
    return name.startswith(_BLOCKS) and name.endswith(".weight") and tensor.dim() == 2


def is_scale(name: str) -> bool:
    """Whether a name in a state dict is that of a matrix's scales, which are no parameters."""
    return name.startswith(_BLOCKS) and name.endswith(".scale")


def quantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the blocks' matrices in int8, each with its scales `[D_out]` in float32."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not is_quantised(name, tensor):
            found[name] = tensor
            continue
        rows = tensor.float()
        scale = rows.abs().amax(dim=1) / _LARGEST
        steps = rows / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        found[name] = steps.round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
        found[name.removesuffix("weight") + "scale"] = scale
    return found


def use_int8(model: nn.Module) -> None:
    """Replace the blocks' linear layers, in place, by such that hold what `quantise` makes."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name.startswith(_BLOCKS):
            owner, _, own = name.rpartition(".")
            layer = Int8Linear(module.in_features, module.out_features)
            setattr(model.get_submodule(owner), own, layer)
