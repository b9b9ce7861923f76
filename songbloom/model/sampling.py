"""From logits to a sketch token. Pure: draws come in as numbers or as an explicit generator.

B songs, V + 1 logits: the codebook, then EOS.
"""

import torch
from torch import Tensor


def guide(conditional: Tensor, null: Tensor, cfg_scale: float) -> Tensor:
    """Classifier-free guidance: null + cfg_scale * (conditional - null); 1.0 is off."""
    return null + (conditional - null) * cfg_scale


def penalize_repetition(logits: Tensor, recent: Tensor, penalty: float, eos_id: int) -> Tensor:
    """Divide the logits `[B, V + 1]` of the tokens in `recent` `[B, W]` by `penalty`, EOS excepted.

    Divided whatever their sign, as the released sampler does: a negative logit rises.
    """
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, recent, True)
    seen[:, eos_id] = False
    return torch.where(seen, logits / penalty, logits)


def probabilities(logits: Tensor, temperature: float, top_k: int) -> Tensor:
    """softmax(logits / temperature) over the `top_k` most likely (and those tied with the last)."""
    probs = torch.softmax(logits.float() / temperature, dim=-1)
    if 0 < top_k < probs.shape[-1]:
        kth = probs.topk(top_k, dim=-1).values[..., -1:]
        probs = torch.where(probs < kth, 0.0, probs)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    return probs


def invert_cdf(probs: Tensor, uniform: Tensor) -> Tensor:
    """Sample `[B]` tokens from `probs` `[B, V + 1]` with one `uniform` `[B]` draw in [0, 1) each.

    The same draws give the same tokens on every device, and a song's draws are its own.
    """
    cumulative = probs.double().cumsum(dim=-1)
    threshold = uniform.double().unsqueeze(-1) * cumulative[..., -1:]
    tokens = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1)
    return tokens.clamp(max=probs.shape[-1] - 1)
