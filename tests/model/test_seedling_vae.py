"""Laws of seedling's codec and of its training."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from songbloom.audio import save as save_audio
from songbloom.errors import SongBloomError
from songbloom.model.seedling_vae import SeedlingVAE, SeedlingVAEConfig
from songbloom.training.seedling_vae import VAETraining, fit, fit_pca, load_vae, save
from songbloom.training.seedling_vae_score import log_mel_distance, pitch_kept

SMALL = SeedlingVAEConfig(coefficients=48, width=32)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Products this small are slower on several threads, much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def sing(seed: int, seconds: float = 4.0, pan: float = 0.0) -> np.ndarray:
    """`[2, samples]`: a gliding harmonic voice over noise bursts."""
    draw = np.random.default_rng(seed)
    time = np.arange(round(seconds * 48_000)) / 48_000
    pitch = 180 * 2 ** (np.round(3 * np.sin(2.1 * time + seed)) / 12 + 0.02 * np.sin(35 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / 48_000
    voice = sum(np.cos(k * phase + draw.uniform(0, 6)) / k for k in range(1, 30))
    noise = draw.normal(size=len(time)) * np.exp(-(time % 0.5) * 30)
    left, right = np.sqrt((1 + pan) / 2), np.sqrt((1 - pan) / 2)
    mono = 0.06 * voice + 0.05 * noise
    return np.stack([left * mono, right * mono]).astype(np.float32)


def fitted(config: SeedlingVAEConfig) -> SeedlingVAE:
    torch.manual_seed(0)
    model = SeedlingVAE(config).eval()
    songs = [torch.from_numpy(sing(seed, pan=0.2 * seed - 0.4))[None] for seed in range(5)]
    fit_pca(model, [model.features(song)[0] for song in songs])
    return model


@pytest.fixture(scope="module")
def model() -> SeedlingVAE:
    """A codec with a real PCA and a decoder network that is switched on."""
    codec = fitted(SMALL)
    with torch.no_grad():
        codec.decoder.outer.weight.normal_(std=0.02)
    return codec.requires_grad_(False)


@pytest.fixture(scope="module")
def latents(model: SeedlingVAE) -> Tensor:
    return model.encode(torch.from_numpy(sing(9, seconds=5.0))[None])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(3):
        song = folder / f"song_{number:03d}"
        song.mkdir()
        save_audio(song / "audio.flac", sing(number), 48_000)
        save_audio(song / "vocals.flac", sing(number + 10), 48_000)
        (song / "truth.json").write_text("{}")
    return folder


@pytest.mark.parametrize("samples", [1920, 1919 + 1920, 5 * 1920 + 7, 20 * 1920])
def test_every_whole_frame_of_audio_gives_one_latent_and_back(model, samples):
    """encode drops an incomplete last frame; decode gives 1920 samples a frame, T = 1 included."""
    latents = model.encode(torch.from_numpy(sing(0))[None, :, :samples])
    assert latents.shape == (1, samples // 1920, 64)
    audio = model.decode(latents)
    assert audio.shape == (1, 2, samples // 1920 * 1920)
    assert torch.isfinite(audio).all()


@pytest.mark.parametrize(("start", "stop"), [(0, 16), (16, 32), (48, 64), (32, 125), (112, 125)])
def test_a_chunk_with_the_halo_equals_the_whole_decode(model, latents, start, stop):
    """Streaming is exact: nothing beyond `decode_halo` frames reaches a chunk."""
    halo, hop = model.decode_halo, model.hop
    whole = model.decode(latents)[..., start * hop : stop * hop]
    low = max(start - halo, 0)
    chunk = model.decode(latents[:, low : stop + halo])[..., (start - low) * hop :]
    torch.testing.assert_close(chunk[..., : whole.shape[-1]], whole, atol=1e-5, rtol=0)


def test_a_smaller_halo_would_not_do(model, latents):
    """The halo is no larger than the next whole block below it allows: without it chunks differ."""
    whole = model.decode(latents)[..., 32 * 1920 : 48 * 1920]
    bare = model.decode(latents[:, 32:48])
    assert (bare - whole).abs().max() > 1e-3


def test_decoding_shifts_with_the_latents_by_whole_blocks(model, latents):
    """The same latents one block later sound the same one block later, away from the edges."""
    block, hop = model.decode_alignment, model.hop
    shifted = model.decode(torch.cat([latents[:, :block].flip(1), latents], dim=1))
    inner = slice(block * hop, (latents.shape[1] - block) * hop)
    moved = shifted[..., block * hop :][..., inner]
    torch.testing.assert_close(moved, model.decode(latents)[..., inner], atol=1e-5, rtol=0)


def test_songs_of_a_batch_do_not_touch(model, latents):
    """A batch of two decodes and encodes as two batches of one."""
    pair = torch.cat([latents, latents.flip(1)])
    audio = model.decode(pair)
    torch.testing.assert_close(audio[1:], model.decode(pair[1:]), atol=1e-5, rtol=0)
    again = model.encode(audio)
    torch.testing.assert_close(again[1:], model.encode(audio[1:]), atol=1e-4, rtol=0)


def test_the_mean_is_deterministic_and_a_sample_follows_its_generator(model):
    """No generator: the same latents each time. One seed, one sample; another seed, another."""
    audio = torch.from_numpy(sing(3))[None]
    mean = model.encode(audio)
    assert torch.equal(mean, model.encode(audio))
    first, same, other = (
        model.encode(audio, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert 0.02 < (first - mean).std() < 0.1  # the posterior starts at a deviation of exp(-3)


def test_true_spectra_come_back_as_the_sound(model):
    """The phase the decoder invents fits: audio from true magnitudes is close, and in tune."""
    audio = torch.from_numpy(sing(5, pan=0.5))[None]
    logs, pan = model.features(audio).split([model.num_bins, SMALL.pan_bands], dim=-1)
    magnitude = torch.expm1(logs) * SMALL.floor * model.window.square().sum().sqrt()
    mono = model._synthesise(model._griffin_lim(magnitude))
    heard = torch.stack([mono, mono], dim=1)
    centred = torch.from_numpy(sing(5))[None]
    assert log_mel_distance(centred, heard) < 0.25
    kept, cents = pitch_kept(centred, heard)
    assert kept > 0.9
    assert cents < 5


def test_a_steady_tone_stays_one_tone(model):
    """A tone between the bins is no 40 ms loop: its energy stays within 1 Hz of its frequency."""
    time = torch.arange(48_000 * 4) / 48_000
    tone = 0.2 * torch.sin(2 * np.pi * 212.5 * time)
    features = model.features(torch.stack([tone, tone])[None])
    magnitude = torch.expm1(features[..., : model.num_bins]) * SMALL.floor
    heard = model._synthesise(model._griffin_lim(magnitude))[0, 48_000:-48_000]
    power = torch.fft.rfft(heard * torch.hann_window(len(heard))).abs().square()
    near = slice(round((212.5 - 1) * 2), round((212.5 + 1) * 2) + 1)
    assert power[near].sum() / power.sum() > 0.9


@pytest.mark.parametrize("ripple", [0.0, 0.05])
def test_noise_stays_noise(model, ripple):
    """A smooth spectrum comes back as noise: its spread over bins and over milliseconds."""
    draw = torch.Generator().manual_seed(3)
    magnitude = 0.05 * torch.exp(ripple * torch.randn(1, 100, model.num_bins, generator=draw))
    heard = model._synthesise(model._griffin_lim(magnitude))
    noise = torch.randn(heard.shape, generator=draw)

    def spreads(audio: Tensor) -> Tensor:
        logs = torch.log(model._analyse(audio)[0, 10:-10, 100:900].abs())
        energy = audio[0, 4800:-4800].reshape(-1, 48).square().mean(-1)
        return torch.stack([logs.std(), energy.std() / energy.mean()])

    torch.testing.assert_close(spreads(heard), spreads(noise), rtol=0.1, atol=0)


def test_channel_weights_say_how_far_the_spectra_move(latents):
    """The same step in one channel after another moves the coefficients as far as their weights
    say, where the principal components alone decode."""
    codec = fitted(SMALL)
    channels = codec.latent_dim
    moved = codec.reconstruct(torch.eye(channels)[:, None] * codec.latent_std)
    steps = (moved - codec.reconstruct(torch.zeros(1, 1, channels))).square().mean((1, 2)).sqrt()
    torch.testing.assert_close(codec.channel_weights, steps / steps.mean(), rtol=1e-4, atol=1e-4)
    assert codec.channel_weights[0] > 2 * codec.channel_weights[-1]


def test_panning_survives(model):
    """What sits left comes back left, by the same level difference within 1.5 dB."""
    for pan in (0.4, -0.4):
        audio = torch.from_numpy(sing(2, pan=pan))[None]
        heard = model.decode(model.encode(audio))
        before, after = (x.square().mean(-1)[0] for x in (audio, heard))
        difference = 10 * torch.log10(before[0] / before[1]) - 10 * torch.log10(after[0] / after[1])
        assert abs(difference) < 1.5


def test_silence_stays_silent(model):
    """Digital silence decodes to less than -60 dBFS."""
    heard = fitted(SMALL).decode(fitted(SMALL).encode(torch.zeros(1, 2, 48_000)))
    assert heard.abs().max() < 0.03


def test_sizes_that_break_the_halo_are_refused():
    """More Griffin-Lim than half a block holds, or a window that is not four hops."""
    with pytest.raises(ValueError, match="half a block"):
        SeedlingVAEConfig(iterations=12)
    with pytest.raises(ValueError, match="half a block"):
        SeedlingVAEConfig(decoder_kernels=(5, 5, 5, 5))
    with pytest.raises(ValueError, match="four hops"):
        SeedlingVAEConfig(window=2048)


def test_config_and_weights_survive_their_files(model, latents, tmp_path):
    """config.json round-trips; every weight is stored once, strict, and fp16 changes little."""
    save(model, tmp_path)
    again = load_vae(tmp_path)
    assert again.config == model.config
    assert SeedlingVAEConfig(**json.loads(json.dumps(asdict(model.config)))) == model.config
    before, after = (m.spectra(latents)[0] for m in (model, again))
    assert (before - after).abs().max() < 0.02 * before.max()


def test_training_learns_and_whitens(corpus, tmp_path):
    """The loss falls below the PCA's, latents get unit variance, and the report has its scores."""
    seen = []
    report = fit(
        corpus,
        tmp_path,
        config=SMALL,
        training=VAETraining(steps=200, batch=4, frames=16, kl=1e-5, warmup=10),
        seed=0,
        on_progress=seen.append,
    )
    losses = [event["error"] for event in seen if event["stage"] == "train"]
    assert losses[-1] < losses[0]
    assert {"log_mel_l1", "voiced_kept", "f0_cents", "decode_rtf"} <= report.keys()
    codec = load_vae(tmp_path)
    songs = [codec.encode(torch.from_numpy(sing(seed))[None])[0] for seed in (1, 2)]
    assert 0.5 < torch.cat(songs).std(0).median() < 1.6


def test_a_killed_training_ends_in_the_same_bytes(corpus, tmp_path):
    """Stopped after a checkpoint and started again, a run ends as an undisturbed one does."""

    class Kill(Exception):
        pass

    def kill_at_100(event):
        if event.get("step") == 100:
            raise Kill

    settings = {
        "config": SMALL,
        "training": VAETraining(steps=120, batch=2, frames=8, checkpoint_every=0.05),
        "seed": 4,
    }
    fit(corpus, tmp_path / "whole", on_progress=lambda event: None, **settings)
    with pytest.raises(Kill):
        fit(corpus, tmp_path / "broken", on_progress=kill_at_100, **settings)
    assert (tmp_path / "broken" / "state.safetensors").exists()
    fit(corpus, tmp_path / "broken", on_progress=lambda event: None, **settings)
    whole, broken = (
        (tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "broken")
    )
    assert whole == broken


def test_a_folder_without_songs_is_named(tmp_path):
    """An empty corpus is the user's mistake, with what to type next."""
    with pytest.raises(SongBloomError, match="holds no song_") as caught:
        fit(
            tmp_path / "nothing",
            tmp_path / "out",
            config=SMALL,
            training=VAETraining(steps=0),
            seed=0,
            on_progress=lambda event: None,
        )
    assert "songbloom synth" in caught.value.hint
