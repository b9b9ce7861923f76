"""The key-value cache as a value: allocated once, passed in, appended to, rewound by its length.

L layers, B rows, H heads, S positions, K head_dim.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class LayerCache:
    """One layer's view of a `KVCache`; `start` positions are filled."""

    keys: Tensor  # [B, H, S, K]
    values: Tensor  # [B, H, S, K]
    start: int

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store new `[B, H, n, K]` and return all that is stored, `[B, H, start + n, K]`."""
        end = self.start + keys.shape[2]
        self.keys[:, :, self.start : end] = keys
        self.values[:, :, self.start : end] = values
        return self.keys[:, :, :end], self.values[:, :, :end]


@dataclass
class KVCache:
    """Keys and values of every layer and position; `length` positions are filled."""

    keys: Tensor  # [L, B, H, S, K]
    values: Tensor  # [L, B, H, S, K]
    length: int = 0

    @classmethod
    def allocate(
        cls,
        *,
        num_layers: int,
        rows: int,
        num_heads: int,
        capacity: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> "KVCache":
        """An empty cache for `capacity` positions of `rows` sequences."""
        shape = (num_layers, rows, num_heads, capacity, head_dim)
        return cls(
            torch.empty(shape, dtype=dtype, device=device),
            torch.empty(shape, dtype=dtype, device=device),
        )

    def layer(self, index: int) -> LayerCache:
        """The cache of one layer, to be appended to at the present length."""
        return LayerCache(self.keys[index], self.values[index], self.length)

    def select(self, rows: Tensor) -> "KVCache":
        """The cache of some rows only: songs that have ended leave the batch."""
        return KVCache(self.keys[:, rows], self.values[:, rows], self.length)
