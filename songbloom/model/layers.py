"""The parts both transformers are made of: rotary positions, attention, the gated feed-forward.

B batch, S positions, D dim, H heads, K head_dim. Norms differ (RMSNorm in the AR transformer,
LayerNorm in the DiT), so each model brings its own.
"""

import importlib.util
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from songbloom.model.cache import LayerCache

_HAS_FLASH = importlib.util.find_spec("flash_attn") is not None


def rope_table(positions: Tensor, rope_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """cos and sin `[S, rope_dim]` of the rotary angles at integer `positions` `[S]`, in float32.

    Half-split layout: dimension i rotates with dimension i + rope_dim / 2. The frequencies stay
    float32 whatever the model's dtype: rounding them to bfloat16 moves late positions by radians.
    """
    exponents = torch.arange(0, rope_dim, 2, device=positions.device, dtype=torch.float32)
    frequencies = 1.0 / (base ** (exponents / rope_dim))
    angles = torch.outer(positions.float(), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def apply_rope(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the first rope_dim of `x` `[B, H, S, K]`; the rest passes unchanged."""
    cos, sin = rope
    rope_dim = cos.shape[-1]
    rotated, rest = x[..., :rope_dim].float(), x[..., rope_dim:]
    first, second = rotated.chunk(2, dim=-1)
    rotated = rotated * cos + torch.cat([-second, first], dim=-1) * sin
    return torch.cat([rotated.to(x.dtype), rest], dim=-1)


def attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """softmax(q k^T / sqrt(K)) v for `[B, H, S, K]`; `causal` aligns last query and last key.

    PyTorch SDPA; FlashAttention in half precision on a GPU where the `flash` extra is installed.
    """
    if _HAS_FLASH and q.is_cuda and q.dtype in (torch.float16, torch.bfloat16):
        from flash_attn import flash_attn_func

        q, k, v = (rearrange(x, "b h s k -> b s h k") for x in (q, k, v))
        return rearrange(flash_attn_func(q, k, v, causal=causal), "b s h k -> b h s k")
    queries, keys = q.shape[-2], k.shape[-2]
    if not causal or queries == 1:  # one query that is the last position sees everything
        return F.scaled_dot_product_attention(q, k, v)
    if queries == keys:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    visible = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=visible)


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions and no biases."""

    def __init__(self, dim: int, num_heads: int, *, causal: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.causal = causal
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], cache: LayerCache | None = None
    ) -> Tensor:
        """`x` `[B, S, D]` -> `[B, S, D]`; with a cache, S new positions after those it holds."""
        q, k, v = rearrange(self.qkv(x), "b s (n h k) -> n b h s k", n=3, h=self.num_heads)
        q, k = apply_rope(q, rope), apply_rope(k, rope)
        if cache is not None:
            k, v = cache.append(k, v)
        out = attention(q, k, v, causal=self.causal)
        return self.out(rearrange(out, "b h s k -> b s (h k)"))


class SwiGLU(nn.Module):
    """down(SiLU(gate(x)) * up(x)), no biases."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(dim, 2 * ffn_dim, bias=False)
        self.down = nn.Linear(ffn_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., D]` -> `[..., D]`."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


def run_block(block: nn.Module, *inputs: Any, checkpointed: bool) -> Tensor:
    """`block(*inputs)`. When `checkpointed` and gradients are wanted, nothing inside the block is
    kept: the backward pass computes it again. Blocks draw nothing at random, so no RNG is saved."""
    if checkpointed and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
    return block(*inputs)
