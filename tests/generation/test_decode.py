"""Streaming decoding: equal to decoding the whole at once, whatever comes when."""

from typing import Any

import pytest
import torch
from model.small import largest, seeded
from torch import Tensor

from songbloom.generation.decode import CHUNK_FRAMES, StreamingDecoder, decode
from songbloom.model.seedling_vae import SeedlingVAE, SeedlingVAEConfig
from songbloom.model.vae import OobleckConfig, OobleckVAE

LENGTHS = [1, 17, 127, 128, 129, 300]


def latents(frames: int) -> Tensor:
    return torch.randn(frames, 64, generator=seeded(frames))


def whole(vae: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return vae.decode(x[None])[0]


@pytest.mark.parametrize("frames", LENGTHS)
def test_chunked_is_whole(mini: Any, frames: int) -> None:
    """The released VAE in chunks of 128 frames with its halo gives the whole decode's samples to
    1e-6, at the borders too and when the song is shorter than one chunk."""
    x = latents(frames)
    chunked = decode(mini.vae, x)
    assert chunked.shape == (2, frames * 1920)
    assert largest(chunked - whole(mini.vae, x)) < 1e-6


@pytest.fixture(scope="module")
def narrow() -> OobleckVAE:
    """The released strides with one channel a stage: the same reach, in milliseconds."""
    torch.manual_seed(0)
    config = OobleckConfig(channels=4, multipliers=(1, 1, 1, 1, 1), latent_dim=64)
    vae = OobleckVAE(config)
    for parameter in vae.parameters():
        parameter.data.mul_(1.5)
    return vae.eval().requires_grad_(False)


def test_halo_is_needed_and_enough(narrow: OobleckVAE) -> None:
    """Latents `decode_halo` frames off never change a frame's audio; some nearer one does, on both
    sides: the halo is not padded by much."""
    x = latents(60)
    base = whole(narrow, x).view(2, 60, 1920)
    changed = x.clone()
    changed[30] += 10
    moved = (whole(narrow, changed).view(2, 60, 1920) - base).abs().amax(dim=(0, 2)) > 0
    reached = moved.nonzero().flatten() - 30
    assert -narrow.decode_halo <= int(reached.min()) <= -8
    assert 8 <= int(reached.max()) <= narrow.decode_halo


def test_smaller_halo_would_be_heard(narrow: OobleckVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too small a halo the chunk borders differ, so the equality above can fail."""
    monkeypatch.setattr(OobleckVAE, "decode_halo", 4)
    x = latents(60)
    assert largest(decode(narrow, x, chunk_frames=20) - whole(narrow, x)) > 1e-4


@pytest.mark.parametrize("pieces", [[60], [16, 16, 16, 12], [1] * 60, [59, 1], [1, 0, 59]])
def test_arrival_does_not_matter(narrow: OobleckVAE, pieces: list[int]) -> None:
    """However latents arrive, the audio is bit for bit the same."""
    x = latents(60)
    decoder = StreamingDecoder(narrow, chunk_frames=16)
    chunks = [chunk for piece in x.split(pieces) for chunk in decoder.push(piece)]
    assert torch.equal(torch.cat(chunks + decoder.flush(), dim=1), decode(narrow, x, 16))
    assert decoder.flush() == []


def test_audio_comes_as_soon_as_its_halo(narrow: OobleckVAE) -> None:
    """A chunk is given out when the frames of its halo are there, and memory stays bounded."""
    decoder, halo = StreamingDecoder(narrow, chunk_frames=16), narrow.decode_halo
    given = [sum(c.shape[1] for c in decoder.push(latents(1))) // 1920 for _ in range(16 + halo)]
    assert sum(given[:-1]) == 0 and given[-1] == 16
    for _ in range(100):
        decoder.push(latents(1))
        assert len(decoder.latents) <= 16 + 2 * halo


def test_nothing_to_decode(narrow: OobleckVAE) -> None:
    """No latents are no samples."""
    assert decode(narrow, torch.empty(0, 64)).shape == (2, 0)


@pytest.mark.parametrize("frames", [1, 17, 48, 49, 100])
def test_seedling_chunked_is_whole(frames: int) -> None:
    """seedling's codec, whose phase starts anew at fixed frames, is exact in chunks too."""
    torch.manual_seed(3)
    vae = SeedlingVAE(SeedlingVAEConfig(width=32, encoder_kernels=(3,), decoder_kernels=(3, 3)))
    for parameter in vae.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(std=0.05)
    vae.eval().requires_grad_(False)
    x = latents(frames)
    alignment = vae.decode_alignment
    chunked = decode(vae, x, chunk_frames=3 * alignment)
    assert chunked.shape == (2, frames * 1920)
    assert largest(chunked - whole(vae, x)) < 1e-5


def test_chunks_must_fit_the_codec(narrow: OobleckVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that is no multiple of the codec's alignment is refused; the default fits all."""
    monkeypatch.setattr(OobleckVAE, "decode_alignment", 16)
    assert CHUNK_FRAMES % SeedlingVAE(SeedlingVAEConfig()).decode_alignment == 0
    with pytest.raises(ValueError, match="multiple of 16"):
        StreamingDecoder(narrow, chunk_frames=24)
