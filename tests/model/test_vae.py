"""The released VAE's architecture (its numbers are in test_parity)."""

import json
from pathlib import Path

import pytest
import torch
from model.small import largest, seeded

from songbloom.model.vae import OobleckConfig, OobleckVAE, SnakeBeta


@pytest.fixture(scope="module")
def vae() -> OobleckVAE:
    """The released strides, narrow."""
    torch.manual_seed(0)
    config = OobleckConfig(channels=4, multipliers=(1, 1, 1, 1, 1), latent_dim=8)
    return OobleckVAE(config).eval().requires_grad_(False)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_released_size() -> None:
    """At the released widths: 25 frames a second of 64 latents, and 84.28 M encoder and 84.41 M
    decoder parameters (the release counts a weight norm's gains too: one for each channel that a
    convolution's first weight dimension has)."""
    with torch.device("meta"):
        vae = OobleckVAE(OobleckConfig())
    assert (vae.hop, vae.sample_rate, vae.latent_dim) == (1920, 48_000, 64)
    gains = [
        sum(p.shape[0] for p in part.parameters() if p.ndim == 3)
        for part in (vae.encoder, vae.decoder)
    ]
    assert round((count(vae.encoder) + gains[0]) / 1e6, 2) == 84.28
    assert round((count(vae.decoder) + gains[1]) / 1e6, 2) == 84.41


@pytest.mark.parametrize("samples", [0, 1, 1919])
def test_less_than_a_frame(vae: OobleckVAE, samples: int) -> None:
    """Audio shorter than a frame has no latents, drawn or not."""
    audio = torch.zeros(1, 2, samples)
    assert vae.encode(audio).shape == vae.encode(audio, generator=seeded(1)).shape == (1, 0, 8)


@pytest.mark.parametrize(
    ("samples", "frames"), [(1920, 1), (1921, 1), (3839, 1), (3840, 2), (100_001, 52)]
)
def test_incomplete_frames_are_dropped(vae: OobleckVAE, samples: int, frames: int) -> None:
    """n samples have n // 1920 frames, and frames decode to 1920 samples each."""
    latents = vae.encode(torch.randn(1, 2, samples, generator=seeded(1)))
    assert latents.shape == (1, frames, 8)
    assert vae.decode(latents).shape == (1, 2, frames * 1920)


def test_posterior_sample(vae: OobleckVAE) -> None:
    """Without a generator the mean; with one mean + std * noise, drawn channels first, seeded."""
    audio = torch.randn(2, 2, 8 * 1920, generator=seeded(2))
    mean, std = vae.posterior(audio)
    assert (std > 1e-4).all()
    assert torch.equal(vae.encode(audio), mean)
    noise = torch.randn(2, 8, 8, generator=seeded(5)).transpose(1, 2)
    assert largest(vae.encode(audio, generator=seeded(5)) - (mean + std * noise)) < 1e-6


def test_stereo_is_kept_apart(vae: OobleckVAE) -> None:
    """Left and right are different inputs and outputs."""
    audio = torch.randn(1, 2, 4 * 1920, generator=seeded(3))
    assert not torch.equal(vae.encode(audio), vae.encode(audio.flip(1)))
    decoded = vae.decode(torch.randn(1, 4, 8, generator=seeded(4)))
    assert not torch.equal(decoded[:, 0], decoded[:, 1])


def test_rows_are_independent(vae: OobleckVAE) -> None:
    """A batch is its rows."""
    audio = torch.randn(3, 2, 4 * 1920, generator=seeded(6))
    latents = vae.encode(audio)
    assert largest(latents[1:2] - vae.encode(audio[1:2])) < 1e-6
    assert largest(vae.decode(latents)[2:] - vae.decode(latents[2:])) < 1e-6


def test_snake_is_the_formula() -> None:
    """x + sin^2(x e^alpha) / (e^beta + 1e-9), each channel with its own."""
    snake = SnakeBeta(2)
    snake.alpha.data, snake.beta.data = torch.tensor([0.5, -1.0]), torch.tensor([0.2, 1.0])
    x = torch.randn(1, 2, 50, generator=seeded(7))
    for channel in range(2):
        a, b = snake.alpha[channel].exp(), snake.beta[channel].exp()
        plain = x[:, channel] + (x[:, channel] * a).sin() ** 2 / (b + 1e-9)
        assert largest(snake(x)[:, channel] - plain) < 1e-6


def test_no_final_tanh(vae: OobleckVAE) -> None:
    """The decoder's output is not squashed: large latents go beyond +-1."""
    assert largest(vae.decode(1e3 * torch.randn(1, 4, 8, generator=seeded(8)))) > 1


def test_config_is_json() -> None:
    """Sizes survive JSON (lists become tuples again in build_vae)."""
    config = OobleckConfig(channels=2)
    assert json.loads(json.dumps(config.to_dict()))["strides"] == list(config.strides)


def test_released_config_file(release_mini: Path) -> None:
    """The miniature's own json has the released strides and no final tanh."""
    described = json.loads((release_mini / "stable_audio_1920_vae.json").read_text("utf-8"))
    decoder = described["model"]["decoder"]["config"]
    assert tuple(decoder["strides"]) == OobleckConfig().strides
    assert decoder["final_tanh"] is False
