"""VAE latents, 25 a second: `latents.safetensors` with `latents` float16 `[T, C]`, T = samples //
1920, and `references` float16 `[K, R, C]`.

* `seedling`: the small VAE of the embedded model, or of a model folder.
* `stable-audio`: the VAE of a model folder or an installed model, a stable-audio-tools checkpoint,
  or a folder of diffusers' `AutoencoderOobleck`.
* Latents are the posterior's mean: nothing is drawn, so a song always has the same latents.
* Long songs are encoded in chunks of ten seconds that overlap by what the encoder can hear, so that
  borders do not show and memory does not grow.
* References are clips of the mono mix, each encoded by itself, as the clip given to `generate` will
  be: windows of the song's latents would know its stereo and what comes after.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from safetensors.numpy import save_file

from songbloom import audio, hub
from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.files import sha256
from songbloom.stages import codecs, sound
from songbloom.stages.stage import Backend, Item, Process
from songbloom.tables import PrepareConfig
from songbloom.units import HOP, SAMPLE_RATE, Frames, samples_to_frames, seconds_to_frames

if TYPE_CHECKING:
    from songbloom.model.seedling_vae import SeedlingVAE
    from songbloom.model.vae import OobleckVAE

    VAE: TypeAlias = OobleckVAE | SeedlingVAE

Encode = Callable[[np.ndarray], np.ndarray]
_CHUNK: Frames = 250  # ten seconds: about 1 GB while the released VAE encodes it
_HALF_LARGEST = 65504.0  # of float16
_DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
_CHECKPOINTS = (".ckpt", ".pt", ".pth")


def backend(settings: PrepareConfig) -> Backend:
    """The VAE that is named, else the embedded one."""
    wanted, path = settings.vae_backend, vae_path(settings)
    why = "a VAE is named" if settings.vae_model else "no other VAE is named"
    why = why if wanted == "auto" else "asked for"
    identity: dict[str, Any]
    if (path / "model.json").is_file():
        name = "seedling" if codecs.vae_kind(path) == "seedling" else "stable-audio"
        identity, licence = {"vae": codecs.vae_hash(path)}, codecs.licence(path)
    else:
        name, identity, licence = "stable-audio", {"files": list(map(sha256, _files(path)))}, ""
    if wanted not in ("auto", name):
        raise UsageError(
            f"--vae-backend {wanted}: {path} holds a VAE of the kind {name}",
            "Name another --vae-model, or leave --vae-backend out.",
        )
    return Backend(name, why, {**identity, "reference": settings.reference}, licence)


def vae_path(settings: PrepareConfig) -> Path:
    """Where the VAE that is named is, or the embedded one. `MissingAssetError` for none."""
    if settings.vae_model:
        return find(settings.vae_model)
    if settings.vae_backend != "stable-audio":
        return codecs.SEEDLING
    raise MissingAssetError(
        "stable-audio: no VAE is named",
        f"Give a model or a checkpoint as --vae-model, or type: songbloom pull {hub.RELEASES[0]}",
    )


def load(settings: PrepareConfig, device: str) -> Process:
    """The VAE in memory."""
    vae, vae_hash = read_vae(vae_path(settings))
    encode = encoder(vae, device)
    longest = seconds_to_frames(settings.reference)

    def process(item: Item, folder: Path) -> Mapping[str, Any]:
        mix = sound.to_stereo(sound.read(item.audio, SAMPLE_RATE))
        if mix.shape[1] < HOP:
            raise SongBloomError(
                f"{item.track.audio}: {mix.shape[1] / SAMPLE_RATE:.3f} s long; expected "
                f"{HOP / SAMPLE_RATE:g} s, one frame, at least",
                "Leave the song out.",
            )
        latents, starts, clips = encode_song(mix, encode, longest)
        save_file({"latents": latents, "references": clips}, folder / "latents.safetensors")
        return {
            "frames": len(latents),
            "reference_starts": list(starts),
            "vae_hash": vae_hash,
            "latent_dim": latents.shape[1],
        }

    return process


def find(name_or_path: str) -> Path:
    """What a VAE's name stands for: a model folder, a checkpoint's file, or a diffusers folder.

    `MissingAssetError` where there is none.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix in _CHECKPOINTS:
        if not path.is_file():
            raise MissingAssetError(f"{path}: no such checkpoint", "Check --vae-model.")
        return path
    if (path / "config.json").is_file() and not (path / "model.json").is_file():
        return path
    return hub.resolve(name_or_path, hub.models_folder(None))


def read_vae(path: Path) -> "tuple[VAE, str]":
    """The VAE that `find` found, and the hash of its weights. `SongBloomError` names what is odd.

    The hash is that of the file in which a model folder keeps them.
    """
    from songbloom.stages import stable_audio

    vae: VAE
    if path.is_file():
        vae, vae_hash = stable_audio.read_checkpoint(*_files(path))
    elif (path / "model.json").is_file():
        vae, vae_hash = _of_model(path)
    else:
        vae, vae_hash = stable_audio.read_diffusers(*_files(path))
    if (vae.sample_rate, vae.hop) != (SAMPLE_RATE, HOP):
        raise SongBloomError(
            f"{path}: a VAE for {vae.sample_rate} Hz with {vae.hop} samples a frame; expected "
            f"{SAMPLE_RATE} Hz and {HOP}",
            "Name the VAE of a SongBloom release.",
        )
    return vae.eval().requires_grad_(False), vae_hash


def encode_song(
    mix: np.ndarray, encode: Encode, longest: Frames
) -> tuple[np.ndarray, tuple[Frames, ...], np.ndarray]:
    """A song's mix `[2, n]` -> latents `[T, C]`, where its reference clips start, and theirs
    `[K, R, C]`."""
    latents = encode(mix)
    starts, length = clip_starts(len(latents), longest)
    mono = audio.to_stereo(audio.to_mono(mix))
    clips = [encode(mono[:, start * HOP : (start + length) * HOP]) for start in starts]
    return latents, starts, np.stack(clips)


def clip_starts(frames: Frames, longest: Frames) -> tuple[tuple[Frames, ...], Frames]:
    """Where a song's reference clips start, one after another, and their length: a third of the
    song at most."""
    length = max(1, min(longest, frames // 3))
    return tuple(range(0, frames - length + 1, length)), length


def encoder(vae: "VAE", device: str) -> Encode:
    """A function from sound `[2, n]` in +-1 to the posterior's means, float16 `[n // 1920, C]`."""
    import torch

    halo = encode_halo(vae)
    vae.to(device)

    @torch.inference_mode()
    def encode(samples: np.ndarray) -> np.ndarray:
        frames = samples_to_frames(samples.shape[1])
        parts = []
        for begin in range(0, frames, _CHUNK):
            end, first = min(begin + _CHUNK, frames), max(begin - halo, 0)
            # The last frame hears the samples of the incomplete one after it.
            stop = samples.shape[1] if end == frames else (end + halo) * HOP
            window = torch.from_numpy(samples[None, :, first * HOP : stop]).to(device)
            parts.append(vae.encode(window)[0, begin - first : end - first].cpu().numpy())
        return _half(np.concatenate(parts))

    return encode


def encode_halo(vae: "VAE") -> Frames:
    """Frames either side that a latent depends on, beyond its own."""
    from songbloom.model.vae import OobleckVAE

    if not isinstance(vae, OobleckVAE):  # spectra of four hops, and the encoder's kernels
        return 1 + sum(kernel // 2 for kernel in vae.config.encoder_kernels)
    step, reach = 1, 3  # samples from one value of a layer to the next; the first convolution
    for stride in vae.config.strides:
        reach += step * (3 * (1 + 3 + 9) + 2 * stride - stride // 2)  # residual units, strided
        step *= stride
    return math.ceil((reach + step) / HOP)  # and the last convolution


def _of_model(folder: Path) -> "tuple[VAE, str]":
    import torch

    from songbloom.model.checkpoint import build_vae, load_tensors, load_weights, read_info

    info, path = read_info(folder), folder / "vae.safetensors"
    expected = codecs.vae_hash(folder)
    if not path.is_file() or sha256(path) != expected:
        raise SongBloomError(
            f"{path}: missing, truncated or altered (its hash is not the one in model.json)",
            "Fetch, import or export the model again.",
        )
    vae = build_vae(info["vae"])
    load_weights(vae, load_tensors(path), folder, torch.float32)
    return vae, expected


def _files(path: Path) -> list[Path]:
    """The files of a VAE that is no model folder: weights, then config."""
    if path.is_file():
        return [path, _config_beside(path)]
    files = [path / _DIFFUSERS_WEIGHTS, path / "config.json"]
    for file in files:
        if not file.is_file():
            raise MissingAssetError(
                f"{file}: no such file", "Save the VAE again with diffusers' save_pretrained."
            )
    return files


def _config_beside(checkpoint: Path) -> Path:
    """A checkpoint's config: the .json of its name, else the only one beside it."""
    own = checkpoint.with_suffix(".json")
    found = [own] if own.is_file() else sorted(checkpoint.parent.glob("*.json"))
    if len(found) == 1:
        return found[0]
    raise MissingAssetError(
        f"{checkpoint}: {len(found)} .json files beside it, none of its name; expected its config",
        f"Put stable-audio-tools' config there as {own.name}.",
    )


def _half(latents: np.ndarray) -> np.ndarray:
    largest = float(np.abs(latents).max(initial=0.0))
    if not largest <= _HALF_LARGEST:
        raise SongBloomError(
            f"latents of up to {largest:g}, which 16 bits cannot hold", "Leave the song out."
        )
    return latents.astype(np.float16, order="C")  # safetensors writes memory as it lies
