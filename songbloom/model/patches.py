"""The interleaved sequence: where each token of the AR transformer sits.

With P = patch_size frames a patch and N patches, S = 1 + N (P + 1) positions:

    index    0    1 ... P    P+1    P+2 ... 2P+1   2P+2   ...
    input    BOS  s1 ... sP  A1     s(P+1) ... s2P  A2    ...
    predicts s1   s2 ...  h1 s(P+1) s(P+2) ...  h2  s(2P+1) ...

s are sketch embeddings, A_i summarises patch i's latents. The output at a patch's last sketch token
is not a prediction: it is the hidden vector h_i that conditions the DiT on patch i. The output at
A_i predicts the next patch's first token, so the sketch of patch i + 1 hears the audio of patch i.

A model without sketch has no tokens in its patches, BOS A1 A2 ...; the output before A_i is h_i.
"""

import torch
from einops import rearrange
from torch import Tensor


def patchify(x: Tensor, patch_size: int) -> Tensor:
    """`[B, N P, ...]` -> `[B, N, P, ...]`. T must be a multiple of `patch_size`."""
    return rearrange(x, "b (n p) ... -> b n p ...", p=patch_size)


def interleave(bos: Tensor, sketch: Tensor, acoustic: Tensor) -> Tensor:
    """BOS `[D]`, sketch `[B, N, P, D]` and acoustic embeddings `[B, N, D]` -> `[B, S, D]`."""
    patches = torch.cat([sketch, acoustic.unsqueeze(2)], dim=2)  # [B, N, P + 1, D]
    sequence = rearrange(patches, "b n p d -> b (n p) d")
    return torch.cat([bos.expand(len(sequence), 1, -1), sequence], dim=1)


def split_outputs(outputs: Tensor, sketch_size: int) -> tuple[Tensor, Tensor]:
    """AR outputs `[B, S, D]` -> predicting ones `[B, N P + 1, D]`, hidden vectors `[B, N, D]`.

    `sketch_size` is the number of sketch tokens in a patch: P, or 0 in a model without sketch.
    """
    # Outputs that stand just before s1, ..., sP, A of each patch; the last of all predicts beyond.
    before = rearrange(outputs[:, :-1], "b (n p) d -> b n p d", p=sketch_size + 1)
    predicting, hidden = before[:, :, :-1].flatten(1, 2), before[:, :, -1]
    return torch.cat([predicting, outputs[:, -1:]], dim=1), hidden


def sketch_targets(
    sketch: Tensor, lengths: Tensor, *, eos_id: int, ignore_id: int, ends: Tensor | None = None
) -> Tensor:
    """Targets `[B, T + 1]` of the predicting outputs: the sketch, EOS at `lengths`, then ignored.

    `sketch` `[B, T]`, `lengths` `[B]` in frames, at most T. Where `ends` `[B]` is False the song
    goes on behind its last frame, and no EOS is learnt.
    """
    batch, frames = sketch.shape
    padded = torch.cat([sketch, sketch.new_full((batch, 1), ignore_id)], dim=1)
    at = torch.arange(frames + 1, device=sketch.device)
    end = eos_id if ends is None else torch.where(ends[:, None], eos_id, ignore_id)
    padded = torch.where(at == lengths[:, None], end, padded)
    return torch.where(at > lengths[:, None], ignore_id, padded)


def previous_patches(latents: Tensor) -> Tensor:
    """Shift patches `[B, N, P, C]` by one: the past that the DiT sees; zeros before the first."""
    return torch.cat([torch.zeros_like(latents[:, :1]), latents[:, :-1]], dim=1)
