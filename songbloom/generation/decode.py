"""Latents to audio in bounded memory, chunk by chunk, equal to decoding the whole at once.

A chunk is decoded with the VAE's halo of frames on both sides, which are then cut away: nothing in
a chunk depends on latents farther off. Chunk borders are fixed, so audio does not depend on how
the latents arrive. Shorter audio than a chunk is one short chunk.
"""

import torch
from torch import Tensor

from songbloom.model.checkpoint import VAE
from songbloom.units import Frames

CHUNK_FRAMES: Frames = 128  # 5.12 s


class StreamingDecoder:
    """Push latents as they are made, get audio as soon as its halo is complete."""

    def __init__(self, vae: VAE, chunk_frames: Frames = CHUNK_FRAMES) -> None:
        self.vae, self.chunk = vae, chunk_frames
        alignment = vae.decode_alignment
        self.halo = -(-vae.decode_halo // alignment) * alignment
        if chunk_frames % alignment:
            raise ValueError(f"chunk of {chunk_frames} frames is no multiple of {alignment}")
        self.latents = torch.empty(0, vae.latent_dim)
        self.begin = 0  # first frame of the next chunk
        self.dropped = 0  # frames before `latents`

    def push(self, latents: Tensor) -> list[Tensor]:
        """Add `[T, C]`; the audio chunks `[2, n]` that are now complete."""
        self.latents = torch.cat([self.latents, latents.cpu().float()])
        chunks = []
        while self._end >= self.begin + self.chunk + self.halo:
            chunks.append(self._decode(self.begin + self.chunk))
        return chunks

    def flush(self) -> list[Tensor]:
        """The rest of the audio."""
        chunks = []
        while self.begin < self._end:
            chunks.append(self._decode(min(self.begin + self.chunk, self._end)))
        return chunks

    @property
    def _end(self) -> Frames:
        return self.dropped + len(self.latents)

    @torch.inference_mode()
    def _decode(self, end: Frames) -> Tensor:
        """Audio of frames `begin` to `end`; latents that no later chunk needs are let go."""
        first = max(0, self.begin - self.halo)
        window = self.latents[first - self.dropped : end + self.halo - self.dropped]
        device = next(self.vae.parameters()).device
        audio = self.vae.decode(window[None].to(device))[0].cpu()
        hop = self.vae.hop
        chunk = audio[:, (self.begin - first) * hop : (end - first) * hop]
        self.begin = end
        keep = max(self.dropped, end - self.halo)
        self.latents, self.dropped = self.latents[keep - self.dropped :], keep
        return chunk


def decode(vae: VAE, latents: Tensor, chunk_frames: Frames = CHUNK_FRAMES) -> Tensor:
    """Latents `[T, C]` -> audio `[2, T * hop]` float32 on the CPU."""
    decoder = StreamingDecoder(vae, chunk_frames)
    return torch.cat([torch.empty(2, 0), *decoder.push(latents), *decoder.flush()], dim=1)
