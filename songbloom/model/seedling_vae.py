"""seedling's embedded codec: 48 kHz stereo <-> latents at 25 frames a second, small and CPU-fast.

* A magnitude codec. A frame of latents describes four spectra 10 ms apart (window 1920, hop 480);
  phase is made up by the decoder from the spectra alone.
* Stereo is one spectrum (RMS of left and right) plus a panning value in each of a few bands.
* Encoder and decoder are a fixed PCA (an affine skip both ways) plus a residual network of
  ConvNeXt blocks (arXiv:2201.03545) at 25 frames a second whose outputs start at zero.
* Phase: single-pass spectrogram inversion (Beauregard, Harish and Wyse 2015: each spectral peak
  advances at its interpolated frequency), started anew in the middle of every 16 frames, then a
  few iterations of fast Griffin-Lim (Perraudin, Balazs and Sondergaard 2013). Starting anew keeps
  the decoder's reach finite; 16 frames (one patch) is long enough that steady notes stay steady.
  A decoder that treats all frames alike turns a steady tone into a 40 ms loop.
* Where the decoded spectrum has no peaks it stands for noise, of which the network can only give
  the mean; a fixed noise, looped every block, lends its own ups and downs and phases there.
* Latents have zero mean and unit variance a dimension over the training corpus (fixed buffers).

Shapes: B batch, T latent frames, J = 4T spectra, F = 961 frequency bins, K = 256 coefficients of a
spectrum, C = 64 latent channels, W network width.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from songbloom.units import HOP, SAMPLE_RATE, Frames, Hz, Samples

_CHUNK = 1024  # spectra analysed at a time: bounds the memory of long songs
# Height in log magnitude of the highest of _NEAR bins over their mean: up to the first number a bin
# is noise, from the second on it is tone. Texture then has the spread of the original's.
_NOISE_BELOW, _TONE_ABOVE = 0.15, 0.35
_NEAR = 9  # bins, 225 Hz
_MAX_LOG = 5.0  # no spectrum of audio within +-1 has a log magnitude above 3.6


@dataclass(frozen=True)
class SeedlingVAEConfig:
    """The codec's sizes. Kernels are widths in frames of each block's depthwise convolution."""

    latent_dim: int = 64
    window: int = 1920  # samples; a multiple of 4 * `spectra_per_frame`
    spectra_per_frame: int = 4
    floor: float = 0.01  # added to magnitudes before the logarithm; white noise of this RMS
    pan_bands: int = 24
    coefficients: int = 256
    width: int = 384
    expansion: int = 2
    encoder_kernels: tuple[int, ...] = (5, 5, 5)
    decoder_kernels: tuple[int, ...] = (5, 5, 5, 3)
    block: int = 16  # frames between two starts of the phase
    iterations: int = 8  # of fast Griffin-Lim
    momentum: float = 0.9

    def __post_init__(self) -> None:
        for name in ("encoder_kernels", "decoder_kernels"):  # JSON gives lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.window != 4 * HOP // self.spectra_per_frame:
            raise ValueError(
                f"window {self.window} must be four hops of {HOP // self.spectra_per_frame}"
            )
        reach = _reach(self.decoder_kernels)
        needed = -(-(2 + 3 * self.iterations) // self.spectra_per_frame)
        if needed > self.block // 2 or reach >= self.block // 2:
            raise ValueError(
                f"phase reaches {needed} frames and the decoder {reach}: "
                f"both must fit in half a block of {self.block}"
            )


class SeedlingVAE(nn.Module):
    """Audio `[B, 2, samples]` in +-1 at 48 kHz <-> whitened latents `[B, T, 64]`, 25 a second.

    Chunked decoding: decode from frame `start - decode_halo` to `stop + decode_halo` (less at the
    song's ends) and keep `start:stop`. The result equals the whole decode to float precision where
    `start` is a multiple of `decode_alignment` and `stop` is one too or the end of the song.
    """

    sample_rate: Hz = SAMPLE_RATE
    hop: Samples = HOP

    basis: Tensor
    mean: Tensor
    coefficient_std: Tensor
    stack_basis: Tensor
    stack_mean: Tensor
    skip_std: Tensor
    latent_mean: Tensor
    latent_std: Tensor
    window: Tensor
    weight: Tensor
    bands: Tensor
    start_phase: Tensor
    noise_log: Tensor
    noise_phase: Tensor

    def __init__(self, config: SeedlingVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        stack = config.spectra_per_frame * config.coefficients
        features = self.num_bins + config.pan_bands
        for name, shape in {
            "basis": (features, config.coefficients),
            "mean": (features,),
            "coefficient_std": (config.coefficients,),
            "stack_basis": (stack, config.latent_dim),
            "stack_mean": (stack,),
            "skip_std": (config.latent_dim,),
            "latent_mean": (config.latent_dim,),
            "latent_std": (config.latent_dim,),
        }.items():
            fill = torch.ones if name.endswith("std") else torch.zeros
            self.register_buffer(name, fill(shape))
        self.encoder = _Network(stack, 2 * config.latent_dim, config, config.encoder_kernels)
        self.decoder = _Network(config.latent_dim, stack, config, config.decoder_kernels)
        self._register_constants()

    def _register_constants(self) -> None:
        config = self.config
        bin_hz = torch.arange(self.num_bins) * (SAMPLE_RATE / config.window)
        weight = (1 + bin_hz / 1500) ** -0.6  # the ear's bandwidths widen, the corpus thins out
        spread = torch.arange(self.num_bins) ** 2 * (math.pi / self.num_bins)  # Schroeder: no spike
        constants = {
            "window": torch.hann_window(config.window),
            "weight": torch.cat([weight, torch.full((config.pan_bands,), 0.5)]),
            "bands": _triangles(bin_hz, config.pan_bands),
            "start_phase": spread % (2 * math.pi),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        noise = self._looped_noise()  # [4 * block, F]
        logs = torch.log(noise.abs() + 1e-6)
        self.register_buffer("noise_log", logs - logs.mean(), persistent=False)
        self.register_buffer("noise_phase", torch.angle(noise), persistent=False)

    def _looped_noise(self) -> Tensor:
        """Spectra `[4 * block, F]` of a white noise that repeats every block."""
        noise = torch.randn(self.config.block * HOP, generator=torch.Generator().manual_seed(0))
        hop = self.config.window // 4
        edge = (self.config.window - hop) // 2
        looped = torch.cat([noise[-edge:], noise, noise[:edge]])
        return cast(Tensor, torch.fft.rfft(looped.unfold(0, self.config.window, hop) * self.window))

    @property
    def num_bins(self) -> int:
        return self.config.window // 2 + 1

    @property
    def decode_alignment(self) -> Frames:
        """Chunks of a chunked decode start at multiples of this many frames: the phase's block."""
        return self.config.block

    @property
    def decode_halo(self) -> Frames:
        """Frames of context a chunk needs on each side: one block.

        Griffin-Lim reaches 3 spectra an iteration and the overlap-add 2 more (26 spectra, 7 frames,
        by default); the phases there grow from the middle of the neighbouring block, and the
        spectra from there on depend on latents at most 7 frames off (the decoder's kernels).
        """
        return self.config.block

    @property
    def channel_weights(self) -> Tensor:
        """How far each latent channel moves the log magnitudes, against the mean channel: `[C]`.

        The first principal component of the skip moves them ten times as far as the last.
        """
        reach = self.skip_std * self.latent_std
        return reach / reach.mean()

    @torch.no_grad()
    def encode(self, audio: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Audio `[B, 2, samples]` -> latents `[B, samples // 1920, 64]`.

        The posterior's mean, or a sample of it where a `generator` is given.
        """
        mean, log_variance = self.posterior(self.coefficients(audio))
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator, device=generator.device)
            mean = mean + torch.exp(0.5 * log_variance) * noise.to(mean)
        return (mean - self.latent_mean) / self.latent_std

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents `[B, T, 64]`, T >= 1 -> audio `[B, 2, T * 1920]`. Deterministic."""
        magnitude, pan = self.spectra(latents)
        spectrum = self._griffin_lim(magnitude * self.window.square().sum().sqrt())
        gain = pan @ self.bands.T  # [B, J, F]
        left, right = torch.sqrt(1 + gain), torch.sqrt(1 - gain)
        return torch.stack([self._synthesise(spectrum * side) for side in (left, right)], dim=1)

    def spectra(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents `[B, T, 64]` -> magnitudes `[B, 4T, F]` and panning `[B, 4T, bands]` in +-1."""
        return self.unproject(self.reconstruct(latents * self.latent_std + self.latent_mean))

    def unproject(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients `[B, J, K]` -> magnitudes `[B, J, F]`, panning `[B, J, bands]`."""
        features = coefficients @ self.basis.T / self.weight + self.mean
        logs, pan = features.split([self.num_bins, self.config.pan_bands], dim=-1)
        magnitude = torch.exp(logs.clamp(max=_MAX_LOG) + math.log(self.config.floor))
        return (magnitude - self.config.floor).clamp(min=0.0), pan.clamp(-1.0, 1.0)

    def features(self, audio: Tensor) -> Tensor:
        """Audio `[B, 2, T * 1920]` -> log magnitudes and panning `[B, 4T, F + bands]`."""
        hop = HOP // self.config.spectra_per_frame
        edge = (self.config.window - hop) // 2  # spectrum j is centred on sample (j + 1/2) * hop
        frames = F.pad(audio, (edge, edge)).unfold(-1, self.config.window, hop)
        parts = [self._features(part) for part in frames.split(_CHUNK, dim=2)]
        return torch.cat(parts, dim=1)

    def _features(self, frames: Tensor) -> Tensor:
        scale = self.window.square().sum()  # white noise of RMS r has power r^2 in every bin
        power = torch.fft.rfft(frames * self.window).abs().square() / scale  # [B, 2, J, F]
        left, right = power.unbind(dim=1)
        logs = torch.log1p(torch.sqrt((left + right) / 2) / self.config.floor)
        energy = (left + right) @ self.bands
        pan = ((left - right) @ self.bands) / (energy + self.config.floor**2)
        return torch.cat([logs, pan], dim=-1)

    def coefficients(self, audio: Tensor) -> Tensor:
        """Audio `[B, 2, samples]` -> PCA coefficients `[B, 4 * (samples // 1920), K]`."""
        num_frames = audio.shape[-1] // HOP
        features = self.features(audio[..., : num_frames * HOP])
        return ((features - self.mean) * self.weight) @ self.basis

    def posterior(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients `[B, 4T, K]` -> mean and log variance `[B, T, C]`, before whitening."""
        stack = self._stack(coefficients)
        skip = (stack - self.stack_mean) @ self.stack_basis / self.skip_std
        change, log_variance = self.encoder(
            stack / self.coefficient_std.repeat(self.config.spectra_per_frame)
        ).chunk(2, dim=-1)
        return skip + change, (log_variance - 6.0).clamp(-12.0, 4.0)

    def reconstruct(self, latents: Tensor) -> Tensor:
        """Latents before whitening `[B, T, C]` -> coefficients `[B, 4T, K]`."""
        skip = (latents * self.skip_std) @ self.stack_basis.T + self.stack_mean
        scale = self.coefficient_std.repeat(self.config.spectra_per_frame)
        stack = skip + self.decoder(latents) * scale
        return stack.reshape(stack.shape[0], -1, self.config.coefficients)

    def _stack(self, coefficients: Tensor) -> Tensor:
        batch, _, size = coefficients.shape
        return coefficients.reshape(batch, -1, self.config.spectra_per_frame * size)  # [B, T, 4K]

    def _griffin_lim(self, magnitude: Tensor) -> Tensor:
        """Magnitudes `[B, J, F]` -> spectra `[B, J, F]` with phases that (nearly) fit together."""
        magnitude, phase = self._with_noise(magnitude, self._first_phase(magnitude))
        spectrum = torch.polar(magnitude, phase)
        previous: Tensor | None = None
        for _ in range(self.config.iterations):
            fitting = self._analyse(self._synthesise(spectrum))
            ahead = fitting
            if previous is not None:
                ahead = fitting + self.config.momentum * (fitting - previous)
            previous = fitting
            spectrum = ahead * (magnitude / (ahead.abs() + 1e-8))
        return spectrum

    def _with_noise(self, magnitude: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
        """Both `[B, J, F]`, with the looped noise's texture where the magnitudes have no peaks."""
        logs = torch.log(magnitude + 1e-5)
        highest = F.max_pool1d(logs, _NEAR, 1, _NEAR // 2)
        mean = F.avg_pool1d(logs, _NEAR, 1, _NEAR // 2, count_include_pad=False)
        share = (_TONE_ABOVE - (highest - mean)) / (_TONE_ABOVE - _NOISE_BELOW)
        share = share.clamp(0.0, 1.0)
        place = torch.arange(magnitude.shape[1], device=magnitude.device) % len(self.noise_log)
        lively = magnitude * torch.exp(share * self.noise_log[place])
        return lively, torch.where(share > 0.5, self.noise_phase[place], phase)

    def _first_phase(self, magnitude: Tensor) -> Tensor:
        """Phases `[B, J, F]`: grown both ways from the middle of each block, peak by peak."""
        batch, num_spectra, bins = magnitude.shape
        size = self.config.block * self.config.spectra_per_frame
        padding = -num_spectra % size
        padded = torch.cat([magnitude, magnitude[:, -1:].expand(-1, padding, -1)], dim=1)
        owner, advance = _peaks(padded.reshape(-1, size, bins))
        phase = torch.empty_like(advance)
        middle = size // 2
        phase[:, middle] = self.start_phase[owner[:, middle]]
        for step, stop in ((1, size), (-1, -1)):
            for j in range(middle + step, stop, step):
                move = 0.5 * step * (advance[:, j - step] + advance[:, j])
                phase[:, j] = (phase[:, j - step] + move).gather(1, owner[:, j])
        phase = phase.reshape(batch, -1, bins)[:, :num_spectra]
        # Growing counts phase from a window's centre, the transform from its first sample.
        return phase - math.pi * torch.arange(bins, device=phase.device)

    def _analyse(self, audio: Tensor) -> Tensor:
        """Audio `[B, J * 480]` -> spectra `[B, J, F]`."""
        hop = self.config.window // 4
        edge = (self.config.window - hop) // 2
        frames = F.pad(audio, (edge, edge)).unfold(-1, self.config.window, hop)
        return cast(Tensor, torch.fft.rfft(frames * self.window))

    def _synthesise(self, spectrum: Tensor) -> Tensor:
        """Spectra `[B, J, F]` -> the audio `[B, J * 480]` whose spectra come nearest to them."""
        frames = torch.fft.irfft(spectrum, n=self.config.window) * self.window
        hop = self.config.window // 4
        edge = (self.config.window - hop) // 2
        total = _overlap_add(frames)
        square = self.window.square().expand(1, spectrum.shape[1], -1)
        inner = slice(edge, edge + spectrum.shape[1] * hop)
        return total[:, inner] / _overlap_add(square)[:, inner]


def _overlap_add(frames: Tensor) -> Tensor:
    """Windows `[B, J, 4 * hop]` -> their sum at hops of a quarter window, `[B, (J + 3) * hop]`."""
    batch, count, window = frames.shape
    quarters = frames.reshape(batch, count, 4, window // 4)
    total = frames.new_zeros(batch, count + 3, window // 4)
    for shift in range(4):
        total[:, shift : shift + count] += quarters[:, :, shift]
    return total.reshape(batch, -1)


def _peaks(magnitude: Tensor) -> tuple[Tensor, Tensor]:
    """For each bin of spectra `[N, J, F]`: the nearest peak, and that peak's phase advance a hop.

    A peak's frequency is the top of the parabola through three log magnitudes; a hop is a quarter
    window, so bin k advances by k * pi / 2.
    """
    bins = magnitude.shape[-1]
    index = torch.arange(bins, device=magnitude.device)
    logs = torch.log(magnitude + 1e-5)
    below = F.pad(logs[..., :-1], (1, 0), value=-100.0)
    above = F.pad(logs[..., 1:], (0, 1), value=-100.0)
    peak = (logs > below) & (logs >= above)
    peak[..., 0] |= ~peak.any(dim=-1)  # silence has no peak: let bin 0 own everything
    curve = (below - 2 * logs + above).clamp(max=-1e-6)
    frequency = index + (0.5 * (below - above) / curve).clamp(-0.5, 0.5)
    last = torch.where(peak, index, -bins).cummax(dim=-1).values
    following = torch.where(peak, index, 3 * bins).flip(-1).cummin(dim=-1).values.flip(-1)
    owner = torch.where(following - index < index - last, following, last)
    return owner, (math.pi / 2) * frequency.gather(-1, owner)


def _triangles(bin_hz: Tensor, bands: int) -> Tensor:
    """`[F, bands]` triangles, evenly spaced on the mel scale, that sum to 1 in every bin."""
    mel = 2595 * torch.log10(1 + bin_hz / 700)
    place = mel / mel[-1] * (bands - 1)
    return (1 - (place[:, None] - torch.arange(bands)).abs()).clamp(min=0.0)


def _reach(kernels: tuple[int, ...]) -> Frames:
    """How many frames to each side a network with these kernels sees."""
    return sum((kernel - 1) // 2 for kernel in kernels)


class _Network(nn.Module):
    """`[B, T, inputs]` -> `[B, T, outputs]`; zero at initialisation."""

    def __init__(
        self, inputs: int, outputs: int, config: SeedlingVAEConfig, kernels: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.inner = nn.Linear(inputs, config.width)
        self.blocks = nn.ModuleList(
            _ConvNeXt(config.width, config.expansion, kernel) for kernel in kernels
        )
        self.norm = nn.LayerNorm(config.width)
        self.outer = nn.Linear(config.width, outputs)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.outer(self.norm(x)))


class _ConvNeXt(nn.Module):
    """Depthwise convolution over time, LayerNorm, two linear layers, residual."""

    def __init__(self, width: int, expansion: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        nn.init.normal_(self.down.weight, std=0.02 / math.sqrt(width))
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        local = self.depthwise(x.transpose(1, 2)).transpose(1, 2)  # [B, T, W]
        return x + cast(Tensor, self.down(F.gelu(self.up(self.norm(local)))))
