"""The autoregressive sketch transformer: a LLaMA-style decoder over the interleaved sequence.

* RMSNorm before attention and feed-forward and at the end, SwiGLU, no biases
* rotary positions over the whole head, base `ar_rope_base`, position 0 at the prefix's first vector
* causal over everything, prefix included; no padding mask

B rows, S positions, D dim, V sketch vocabulary.
"""

import torch
from torch import Tensor, nn

from songbloom.model.cache import KVCache, LayerCache
from songbloom.model.config import ModelConfig
from songbloom.model.layers import Attention, SwiGLU, rope_table, run_block


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.attention = Attention(config.dim, config.num_heads, causal=True)
        self.ffn_norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.ffn = SwiGLU(config.dim, config.ffn_dim)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], cache: LayerCache | None = None
    ) -> Tensor:
        """`[B, S, D]` -> `[B, S, D]`."""
        x = x + self.attention(self.attention_norm(x), rope, cache)
        return x + self.ffn(self.ffn_norm(x))


class SketchLM(nn.Module):
    """The decoder and its head. The sketch embedding table is shared with the DiT's input."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = False  # less memory in training, about a third more time
        self.bos = nn.Parameter(torch.empty(config.dim))
        # The codebook, EOS, and the id whose targets carry no loss.
        self.embedding = nn.Embedding(config.sketch_vocab_size + 2, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.ar_layers))
        self.norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.head = nn.Sequential(
            nn.Linear(config.dim, config.dim, bias=False),
            nn.SiLU(),
            nn.Linear(config.dim, config.sketch_vocab_size + 1),
        )

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        """Embeddings `[B, S, D]` -> outputs `[B, S, D]`; with a cache, it grows by S positions."""
        start = 0 if cache is None else cache.length
        positions = torch.arange(start, start + x.shape[1], device=x.device)
        rope = rope_table(positions, self.config.head_dim, self.config.ar_rope_base)
        for index, layer in enumerate(self.layers):
            layer_cache = None if cache is None else cache.layer(index)
            x = run_block(layer, x, rope, layer_cache, checkpointed=self.activation_checkpointing)
        if cache is not None:
            cache.length += len(positions)
        return self.norm(x)

    def allocate_cache(self, rows: int, capacity: int) -> KVCache:
        """An empty cache for `rows` sequences of up to `capacity` positions."""
        return KVCache.allocate(
            num_layers=self.config.ar_layers,
            rows=rows,
            num_heads=self.config.num_heads,
            capacity=capacity,
            head_dim=self.config.head_dim,
            dtype=self.bos.dtype,
            device=self.bos.device,
        )
