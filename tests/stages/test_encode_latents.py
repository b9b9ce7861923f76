"""VAE latents of songs: the posterior's means, whatever the length, of three kinds of VAE."""

import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from songbloom import audio, hub
from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.manifest import Track
from songbloom.model.checkpoint import load_model, read_info
from songbloom.model.release import load_pickle_tensors
from songbloom.model.seedling_vae import SeedlingVAE
from songbloom.model.vae import OobleckConfig, OobleckVAE
from songbloom.stages import encode_latents
from songbloom.stages.encode_latents import clip_starts, encode_halo, encoder, read_vae
from songbloom.stages.stage import Item
from songbloom.synth.render import render
from songbloom.synth.score import compose
from songbloom.tables import PrepareConfig
from songbloom.training import synthetic
from songbloom.units import HOP, SAMPLE_RATE

CONFIG, CHECKPOINT = "stable_audio_1920_vae.json", "autoencoder_music_dsp1920.ckpt"
SEEDLING = hub.EMBEDDED_FOLDER / "seedling"


@pytest.fixture(scope="module")
def mix() -> np.ndarray:
    """Ten to twenty seconds of a composed song, `[2, n]`."""
    return render(compose(78, 0, num_lines=2)).mix


@pytest.fixture
def checkpoint(release_mini: Path, tmp_path: Path) -> Path:
    """The VAE of the miniature release, as stable-audio-tools keeps it."""
    for name in (CONFIG, CHECKPOINT):
        shutil.copy(release_mini / name, tmp_path / name)
    return tmp_path / CHECKPOINT


def wide(scale: float = 0.05, channels: int = 4) -> OobleckVAE:
    """Random weights that let everything in reach be heard."""
    vae = OobleckVAE(OobleckConfig(channels=channels, multipliers=(1, 1, 1, 1, 1), latent_dim=4))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.normal_(0, scale, generator=generator)
    return vae.eval().requires_grad_(False)


def run(settings: PrepareConfig, path: Path, folder: Path) -> tuple[dict, dict]:
    folder.mkdir(exist_ok=True)
    process = encode_latents.load(settings, "cpu")
    fields = process(Item(Track(path.stem, path.name), path), folder)
    return dict(fields), load_file(folder / "latents.safetensors")


def noise(samples: int, channels: int = 2) -> np.ndarray:
    rng = np.random.default_rng(samples)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


# What is written


def test_latents_are_the_means_and_references_clips_of_the_mono_mix(
    mix: np.ndarray, tmp_path: Path
) -> None:
    """The embedded VAE's own encode, without draws; clips encoded by themselves; the hash that
    training asks for. The same song as a training set of composed songs has it."""
    audio.save(tmp_path / "song.wav", mix, SAMPLE_RATE)
    mix = audio.load(tmp_path / "song.wav", SAMPLE_RATE)
    fields, arrays = run(PrepareConfig(reference=3.0), tmp_path / "song.wav", tmp_path / "out")
    vae = load_model(SEEDLING, device=torch.device("cpu")).vae
    frames = mix.shape[1] // HOP
    whole = vae.encode(torch.from_numpy(mix)[None])[0].numpy()
    assert arrays["latents"].dtype == np.float16 and arrays["latents"].shape == (frames, 64)
    assert np.abs(arrays["latents"] - whole).max() < 4e-3  # of float16 up to 4
    starts = fields["reference_starts"]
    assert starts == list(range(0, frames - 75 + 1, 75)) and len(starts) >= 3
    mono = audio.to_stereo(audio.to_mono(mix))
    for start, clip in zip(starts, arrays["references"], strict=True):
        window = torch.from_numpy(mono[None, :, start * HOP : (start + 75) * HOP])
        assert np.abs(clip - vae.encode(window)[0].numpy()).max() < 4e-3
    assert fields["vae_hash"] == read_info(SEEDLING)["sha256"]["vae.safetensors"]
    assert (fields["frames"], fields["latent_dim"]) == (frames, 64)


def test_composed_training_sets_have_the_same_latents() -> None:
    """What `songbloom.training.synthetic` encodes of a score is what this stage encodes of it."""
    score = compose(78, 1, num_lines=1)
    model = load_model(SEEDLING, device=torch.device("cpu"))
    latents, clips = synthetic.encode_song(score, model)
    encode = encoder(model.vae, "cpu")
    ours, starts, references = encode_latents.encode_song(render(score).mix, encode, 250)
    assert np.abs(latents.astype(np.float32) - ours).max() < 4e-3
    assert np.abs(clips.astype(np.float32) - references).max() < 4e-3
    assert (starts, references.shape[1]) == synthetic.clip_starts(len(ours))


@pytest.mark.parametrize("samples", [1920, 1921, 3839, 9600, 100_000])
def test_there_is_a_latent_for_every_whole_frame_and_a_clip_at_least(
    tmp_path: Path, samples: int
) -> None:
    """T = samples // 1920; clips are as long as a third of the song, one frame at least, and the
    same run gives the same bytes."""
    audio.save(tmp_path / "n.wav", noise(samples), SAMPLE_RATE)
    fields, arrays = run(PrepareConfig(), tmp_path / "n.wav", tmp_path / "a")
    frames = samples // HOP
    assert len(arrays["latents"]) == fields["frames"] == frames
    length = max(1, frames // 3)
    assert arrays["references"].shape == (frames // length, length, 64)
    run(PrepareConfig(), tmp_path / "n.wav", tmp_path / "b")
    first, again = ((tmp_path / name / "latents.safetensors").read_bytes() for name in "ab")
    assert first == again


@pytest.mark.parametrize("channels", [1, 6])
def test_mono_and_surround_are_taken(tmp_path: Path, channels: int) -> None:
    """Any number of channels becomes stereo: mono is the same as itself doubled."""
    samples = noise(40_000, channels)
    audio.save(tmp_path / "n.wav", samples, SAMPLE_RATE)
    _, arrays = run(PrepareConfig(), tmp_path / "n.wav", tmp_path / "a")
    assert arrays["latents"].shape == (20, 64)
    if channels == 1:
        audio.save(tmp_path / "d.wav", samples.repeat(2, axis=0), SAMPLE_RATE)
        _, doubled = run(PrepareConfig(), tmp_path / "d.wav", tmp_path / "b")
        assert np.array_equal(arrays["latents"], doubled["latents"])


def test_what_is_shorter_than_a_frame_is_refused_by_name(tmp_path: Path) -> None:
    """One sample too few is an error with the song's name and length."""
    audio.save(tmp_path / "short.wav", noise(1919), SAMPLE_RATE)
    with pytest.raises(SongBloomError, match=r"short\.wav: 0\.040 s"):
        run(PrepareConfig(), tmp_path / "short.wav", tmp_path / "out")


def test_clips_follow_one_another() -> None:
    """As many as fit, none past the end, no longer than a third."""
    assert clip_starts(1, 250) == ((0,), 1)
    assert clip_starts(742, 250) == ((0, 247, 494), 247)
    assert clip_starts(1000, 250) == ((0, 250, 500, 750), 250)
    assert clip_starts(1000, 250) == synthetic.clip_starts(1000)


# Long songs


@pytest.mark.parametrize("kind", ["seedling", "oobleck"])
def test_chunks_give_the_latents_of_the_whole(
    kind: str, mix: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks of 13 frames and in one piece: the same but for rounding; without halo it shows."""
    vae = read_vae(SEEDLING)[0] if kind == "seedling" else wide()
    song = mix[:, : 60 * HOP + 700]
    whole = vae.encode(torch.from_numpy(song)[None])[0].numpy()
    size = np.abs(whole).max()
    monkeypatch.setattr(encode_latents, "_CHUNK", 13)
    monkeypatch.setattr(encode_latents, "_half", lambda latents: latents)
    chunked = encoder(vae, "cpu")(song)
    assert chunked.shape == whole.shape == (60, whole.shape[1])
    assert np.abs(chunked - whole).max() < 1e-5 * max(size, 1.0)
    monkeypatch.setattr(encode_latents, "encode_halo", lambda vae: 0)
    assert np.abs(encoder(vae, "cpu")(song) - whole).max() > 1e-3 * size


@pytest.mark.parametrize("kind", ["seedling", "oobleck"])
def test_a_latent_hears_its_halo_and_no_more(kind: str) -> None:
    """By gradient: samples outside the halo have no part in a latent, samples near its rim have."""
    vae = read_vae(SEEDLING)[0] if kind == "seedling" else wide(0.3).double()
    frame, halo = 20, encode_halo(vae)
    song = torch.from_numpy(noise(41 * HOP))[None].to(next(vae.parameters()).dtype)
    song.requires_grad_()
    if isinstance(vae, SeedlingVAE):  # its encode keeps no gradients
        mean, _ = vae.posterior(vae.coefficients(song))
    else:
        mean, _ = vae.posterior(song)
    mean[0, frame].square().sum().backward()
    assert song.grad is not None
    reach = song.grad.abs().sum((0, 1)).view(-1, HOP).sum(1).nonzero()[:, 0]
    assert frame - halo <= int(reach.min()) <= frame - halo + 1
    assert frame + halo - 1 <= int(reach.max()) <= frame + halo


# VAEs of others


def test_a_stable_audio_checkpoint_is_the_vae_of_the_imported_model(
    checkpoint: Path, mini_folder: Path, tmp_path: Path
) -> None:
    """The same latents and the same hash as the model folder that was imported with it, so that
    the model can be trained on what the checkpoint encoded."""
    audio.save(tmp_path / "n.wav", noise(60_000), SAMPLE_RATE)
    names = {"checkpoint": str(checkpoint), "model": str(mini_folder)}
    made = {
        name: run(PrepareConfig(vae_model=value), tmp_path / "n.wav", tmp_path / name)
        for name, value in names.items()
    }
    assert made["checkpoint"][0] == made["model"][0]
    stated = read_info(mini_folder)["sha256"]["vae.safetensors"]
    assert made["model"][0]["vae_hash"] == stated
    assert np.array_equal(made["checkpoint"][1]["latents"], made["model"][1]["latents"])
    own = load_model(mini_folder, device=torch.device("cpu")).vae
    whole = own.encode(torch.from_numpy(audio.load(tmp_path / "n.wav", SAMPLE_RATE))[None])[0]
    assert whole.std() > 0.01
    assert np.abs(made["model"][1]["latents"] - whole.numpy()).max() < 1e-3 * whole.abs().max()
    backends = [encode_latents.backend(PrepareConfig(vae_model=value)) for value in names.values()]
    assert [backend.name for backend in backends] == ["stable-audio"] * 2
    assert "academic" in backends[1].licence


def test_a_checkpoint_of_a_training_run_is_read_without_its_discriminator(
    checkpoint: Path, tmp_path: Path
) -> None:
    """stable-audio-tools' own training checkpoints hold the VAE under `autoencoder.`, and more. The
    config is the .json of the checkpoint's name, or the only one."""
    plain = read_vae(checkpoint)[1]
    tensors = load_pickle_tensors(checkpoint)
    wrapped = {f"autoencoder.{k.removeprefix('autoencoder.')}": v for k, v in tensors.items()}
    extra = {"discriminator.layers.0.weight": torch.zeros(3)}
    torch.save({"state_dict": {**wrapped, **extra}}, tmp_path / "run.ckpt")
    shutil.copy(tmp_path / CONFIG, tmp_path / "run.json")
    assert read_vae(tmp_path / "run.ckpt")[1] == plain
    with pytest.raises(MissingAssetError, match=r"2 \.json files"):
        read_vae(checkpoint)


def test_a_diffusers_folder_gives_diffusers_own_means(tmp_path: Path) -> None:
    """Tiny random weights of `AutoencoderOobleck`, saved by diffusers: its own encoder's means."""
    diffusers = pytest.importorskip("diffusers", reason="needs the extra 'vae'")
    torch.manual_seed(0)
    theirs = diffusers.AutoencoderOobleck(
        encoder_hidden_size=8,
        downsampling_ratios=[2, 4, 4, 6, 10],
        channel_multiples=[1, 2, 1, 1, 2],
        decoder_channels=8,
        decoder_input_channels=4,
        sampling_rate=SAMPLE_RATE,
    ).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "snake" in name:
                parameter.normal_(0, 0.3)
    theirs.save_pretrained(tmp_path / "vae")
    vae, vae_hash = read_vae(encode_latents.find(str(tmp_path / "vae")))
    song = torch.from_numpy(noise(30 * HOP))[None]
    with torch.no_grad():
        expected = theirs.encode(song).latent_dist.mean[0].T
        decoded = theirs.decode(expected.T[None]).sample
    assert torch.allclose(vae.encode(song)[0], expected, atol=1e-5)
    assert torch.allclose(vae.decode(expected[None]), decoded, atol=1e-5)
    assert expected.std() > 0.01 and len(vae_hash) == 64
    audio.save(tmp_path / "n.wav", song[0].numpy(), SAMPLE_RATE)
    fields, arrays = run(
        PrepareConfig(vae_model=str(tmp_path / "vae")), tmp_path / "n.wav", tmp_path / "out"
    )
    assert fields["vae_hash"] == vae_hash and fields["latent_dim"] == 4
    assert np.abs(arrays["latents"] - expected.numpy()).max() < 1e-3


def test_vaes_that_do_not_fit_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    """Another rate, other sizes, no config, a cut file, a pickle with code in it, no VAE at all."""
    config = json.loads((tmp_path / CONFIG).read_text())
    whole = checkpoint.read_bytes()

    def refused(match: str, kind: type[SongBloomError] = SongBloomError) -> None:
        with pytest.raises(kind, match=match):
            encode_latents.load(PrepareConfig(vae_model=str(checkpoint)), "cpu")

    def write(**changes: object) -> None:
        (tmp_path / CONFIG).write_text(json.dumps({**config, **changes}))

    write(sample_rate=44_100)
    refused("44100 Hz")
    write(model={**config["model"], "decoder": {"config": {"channels": 2}}})
    refused("lacks")
    write(audio_channels=1)
    refused("misshapes")
    (tmp_path / CONFIG).write_text("not json")
    refused(CONFIG)
    write()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    refused("truncated")
    checkpoint.write_bytes(pickle.dumps(Bomb(str(tmp_path / "exploded"))))
    refused(CHECKPOINT)
    assert not (tmp_path / "exploded").exists()
    (tmp_path / CONFIG).unlink()
    refused("expected its config", MissingAssetError)
    checkpoint.unlink()
    refused("no such checkpoint", MissingAssetError)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def test_diffusers_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Another class, other proportions, no weights: named."""
    config = {
        "_class_name": "AutoencoderOobleck",
        "encoder_hidden_size": 8,
        "decoder_channels": 8,
        "decoder_input_channels": 4,
        "channel_multiples": [1, 1, 1, 1, 2],
        "downsampling_ratios": [2, 4, 4, 6, 10],
        "audio_channels": 2,
        "sampling_rate": SAMPLE_RATE,
    }

    def refused(match: str, **changes: object) -> None:
        (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(SongBloomError, match=match):
            encode_latents.load(PrepareConfig(vae_model=str(tmp_path)), "cpu")

    refused("diffusion_pytorch_model.safetensors: no such file")
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"x" * 50)
    refused("it is a AutoencoderKL", _class_name="AutoencoderKL")
    refused("proportions", decoder_channels=16)
    refused("not a readable safetensors")


def test_the_backend_is_called_what_the_vae_is(mini_folder: Path) -> None:
    """A model folder's VAE is of one kind, and asking for the other is a mistake."""
    for folder, kind, other in (
        (SEEDLING, "seedling", "stable-audio"),
        (mini_folder, "stable-audio", "seedling"),
    ):
        named = PrepareConfig(vae_model=str(folder))
        assert encode_latents.backend(named).name == kind
        with pytest.raises(UsageError, match=f"of the kind {kind}"):
            encode_latents.backend(dataclasses.replace(named, vae_backend=other))


def test_names_that_stand_for_nothing_say_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No VAE named, no such model, a model folder whose VAE was altered."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with pytest.raises(MissingAssetError) as caught:
        encode_latents.backend(PrepareConfig(vae_backend="stable-audio"))
    assert "songbloom pull" in caught.value.hint
    with pytest.raises(MissingAssetError, match="no such model"):
        encode_latents.backend(PrepareConfig(vae_model="songbloom_full_150s"))
    folder = Path(shutil.copytree(SEEDLING, tmp_path / "model"))
    weights = bytearray((folder / "vae.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "vae.safetensors").write_bytes(weights)
    with pytest.raises(SongBloomError, match="altered"):
        encode_latents.load(PrepareConfig(vae_model=str(folder)), "cpu")


def test_latents_that_16_bits_cannot_hold_are_refused() -> None:
    """Infinite or huge latents are an error, never silently infinite."""
    for value in (np.inf, np.nan, 1e6):
        with pytest.raises(SongBloomError, match="16 bits"):
            encode_latents._half(np.array([[0.0, value]], np.float32))
