"""The rectified-flow DiT: a patch's velocity from its sketch, its hidden vector and one patch back.

* sequence of 2 + 3 P vectors: [time][hidden][sketch P][previous latents P][noisy latents P]
  (`dit_inputs` may leave out sketch and previous latents, as the paper's ablations do)
* full attention, LayerNorm before attention and feed-forward, SwiGLU, no biases, no final norm
* rotary positions over part of the head (`dit_rope_dim`), base `dit_rope_base`
* time enters as a vector of the sequence, from learned Fourier features

B patches (any number, each on its own), P patch size, D dim, C latent channels.
"""

import math

import torch
from torch import Tensor, nn

from songbloom.model.config import ModelConfig
from songbloom.model.layers import Attention, SwiGLU, rope_table, run_block


class TimeEmbedding(nn.Module):
    """[cos, sin](2 pi t w) with a learned w, then a two-layer MLP."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.empty(config.time_features_dim // 2, 1))
        self.mlp = nn.Sequential(
            nn.Linear(config.time_features_dim, config.dim, bias=False),
            nn.SiLU(),
            nn.Linear(config.dim, config.dim),
        )

    def forward(self, t: Tensor) -> Tensor:
        """t `[B]` in [0, 1] -> `[B, D]`."""
        phase = 2 * math.pi * t.unsqueeze(-1) @ self.frequencies.T
        return self.mlp(torch.cat([phase.cos(), phase.sin()], dim=-1))


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim, eps=1e-5, bias=False)
        self.attention = Attention(config.dim, config.num_heads, causal=False)
        self.ffn_norm = nn.LayerNorm(config.dim, eps=1e-5, bias=False)
        self.ffn = SwiGLU(config.dim, config.ffn_dim)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """`[B, dit_length, D]` -> the same shape."""
        x = x + self.attention(self.attention_norm(x), rope)
        return x + self.ffn(self.ffn_norm(x))


class DiT(nn.Module):
    """Velocity of a patch."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = False  # less memory in training, about a third more time
        self.time = TimeEmbedding(config)
        self.project_in = nn.Linear(config.latent_dim, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.dit_layers))
        self.project_out = nn.Linear(config.dim, config.latent_dim)

    def forward(
        self, noisy: Tensor, t: Tensor, hidden: Tensor, sketch: Tensor, previous: Tensor
    ) -> Tensor:
        """noisy and previous latents `[B, P, C]`, t `[B]`, hidden `[B, D]`, sketch embeddings
        `[B, P, D]` -> velocity `[B, P, C]`."""
        sketch = sketch[:, : self.config.dit_sketch_size]
        previous = previous[:, : self.config.dit_context_size]
        heads = torch.stack([self.time(t), hidden], dim=1)
        latents = self.project_in(torch.cat([previous, noisy], dim=1))
        x = torch.cat([heads, sketch, latents], dim=1)
        positions = torch.arange(x.shape[1], device=x.device)
        rope = rope_table(positions, self.config.dit_rope_dim, self.config.dit_rope_base)
        for layer in self.layers:
            x = run_block(layer, x, rope, checkpointed=self.activation_checkpointing)
        return self.project_out(x[:, -noisy.shape[1] :])
