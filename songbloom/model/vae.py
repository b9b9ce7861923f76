"""The stable-audio VAE (Oobleck): 48 kHz stereo <-> 64 latents, 25 frames a second.

Our own rather than diffusers': the core stays small, streams patch by patch, and keeps the released
layout so that importing is folding the weight norms. Strided convolutions with SnakeBeta residual
units, as in the Descript codec; nothing recurrent, so a decoded frame depends on a bounded window.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from songbloom.units import SAMPLE_RATE


@dataclass(frozen=True)
class OobleckConfig:
    """Sizes of the VAE. The stage widths are `channels` times 1 and then each of `multipliers`."""

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 8, 16)
    strides: tuple[int, ...] = (2, 4, 4, 6, 10)
    latent_dim: int = 64
    audio_channels: int = 2
    sample_rate: int = SAMPLE_RATE

    def to_dict(self) -> dict[str, object]:
        """JSON-able dict."""
        return dataclasses.asdict(self)


class SnakeBeta(nn.Module):
    """x + sin^2(x e^alpha) / (e^beta + 1e-9), per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, n]` -> the same shape."""
        alpha, beta = self.alpha.exp()[:, None], self.beta.exp()[:, None]
        return x + torch.sin(x * alpha).square() / (beta + 1e-9)


class ResidualUnit(nn.Module):
    """A dilated 7-tap convolution and a 1-tap one, added to the input."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            SnakeBeta(channels),
            nn.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation),
            SnakeBeta(channels),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, n]` -> the same shape."""
        return x + self.layers(x)


def _residual_units(channels: int) -> list[nn.Module]:
    return [ResidualUnit(channels, dilation) for dilation in (1, 3, 9)]


class EncoderBlock(nn.Module):
    """Three residual units, then downsampling by `stride`."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        down = nn.Conv1d(width, out, 2 * stride, stride, padding=math.ceil(stride / 2))
        self.layers = nn.Sequential(*_residual_units(width), SnakeBeta(width), down)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, n]` -> `[B, out, n / stride]`."""
        return self.layers(x)


class DecoderBlock(nn.Module):
    """Upsampling by `stride`, then three residual units."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        up = nn.ConvTranspose1d(width, out, 2 * stride, stride, padding=math.ceil(stride / 2))
        self.layers = nn.Sequential(SnakeBeta(width), up, *_residual_units(out))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, n]` -> `[B, out, n * stride]`."""
        return self.layers(x)


class OobleckVAE(nn.Module):
    """Encoder to a diagonal Gaussian posterior, and decoder. Runs in float32."""

    # One latent reaches 8.3 frames back and 9.3 ahead in the decoder of the released strides.
    decode_halo = 10
    decode_alignment = 1  # a window to decode may begin at any frame

    def __init__(self, config: OobleckConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels, *(config.channels * m for m in config.multipliers)]
        stages = list(zip(widths[:-1], widths[1:], config.strides, strict=True))
        self.encoder = nn.Sequential(
            nn.Conv1d(config.audio_channels, widths[0], 7, padding=3),
            *(EncoderBlock(a, b, stride) for a, b, stride in stages),
            SnakeBeta(widths[-1]),
            nn.Conv1d(widths[-1], 2 * config.latent_dim, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv1d(config.latent_dim, widths[-1], 7, padding=3),
            *(DecoderBlock(b, a, stride) for a, b, stride in reversed(stages)),
            SnakeBeta(widths[0]),
            nn.Conv1d(widths[0], config.audio_channels, 7, padding=3, bias=False),
        )

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config.sample_rate

    @property
    def latent_dim(self) -> int:
        """Channels of a latent frame."""
        return self.config.latent_dim

    @property
    def hop(self) -> int:
        """Samples a latent frame stands for."""
        return math.prod(self.config.strides)

    def posterior(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Audio `[B, 2, n]` -> mean and standard deviation, `[B, n // hop, C]` each.

        An incomplete last frame is dropped, though the frame before it hears its samples.
        """
        frames = audio.shape[-1] // self.hop
        if frames == 0:
            empty = audio.new_zeros(len(audio), 0, self.latent_dim)
            return empty, empty
        encoded = self.encoder(audio)[..., :frames]
        mean, scale = encoded.transpose(1, 2).chunk(2, dim=-1)
        return mean, F.softplus(scale) + 1e-4

    def encode(self, audio: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Audio `[B, 2, n]` -> latents `[B, n // hop, C]`: a posterior sample, or without a
        generator the posterior's mean."""
        mean, std = self.posterior(audio)
        if generator is None:
            return mean
        # Drawn channels first, on the CPU: the released order of numbers.
        noise = torch.randn(mean.transpose(1, 2).shape, generator=generator).transpose(1, 2)
        return mean + std * noise.to(mean.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents `[B, T, C]` -> audio `[B, 2, T * hop]`."""
        return self.decoder(latents.transpose(1, 2))
