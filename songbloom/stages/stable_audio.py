"""Stable-audio VAEs (Oobleck) as others store them: stable-audio-tools' checkpoints, diffusers'.

Both become `songbloom.model.vae.OobleckVAE`, and so have the hash that the VAE of a model folder
has: a dataset made with a checkpoint fits every model that was imported with the same weights.
Reading their files rather than running their libraries keeps that hash, encodes long songs in
chunks, and needs neither: stable-audio-tools wants an older Python and torch.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from songbloom.errors import SongBloomError
from songbloom.model.checkpoint import load_tensors
from songbloom.model.release import fold_vae, vae_config, vae_tensors
from songbloom.model.vae import OobleckConfig, OobleckVAE

# diffusers' names inside a block -> stable-audio-tools' numbers
_RESIDUAL = {"snake1": "layers.0", "conv1": "layers.1", "snake2": "layers.2", "conv2": "layers.3"}
_DOWN = {"res_unit1": "0", "res_unit2": "1", "res_unit3": "2", "snake1": "3", "conv1": "4"}
_UP = {"snake1": "0", "conv_t1": "1", "res_unit1": "2", "res_unit2": "3", "res_unit3": "4"}


def read_checkpoint(checkpoint: Path, config: Path) -> tuple[OobleckVAE, str]:
    """A stable-audio-tools checkpoint and its config -> the VAE and its hash. Runs no pickle."""
    return _loaded(*fold_vae(vae_config(config), vae_tensors(checkpoint), str(checkpoint)))


def read_diffusers(weights: Path, config: Path) -> tuple[OobleckVAE, str]:
    """What diffusers' `AutoencoderOobleck` saved -> the VAE and its hash."""
    sizes = _diffusers_config(config)
    tensors = dict(_renamed(load_tensors(weights), len(sizes.strides), weights))
    return _loaded(*fold_vae(sizes, tensors, str(weights)))


def _loaded(vae: OobleckVAE, weights: Mapping[str, Tensor]) -> tuple[OobleckVAE, str]:
    """`vae` with its weights, and the hash of the file that a model folder keeps them in."""
    tensors = {name: value.contiguous() for name, value in sorted(weights.items())}
    vae.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=True, assign=True)
    return vae, hashlib.sha256(save(tensors)).hexdigest()


def _diffusers_config(path: Path) -> OobleckConfig:
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["_class_name"] != "AutoencoderOobleck":
            raise KeyError(f"it is a {values['_class_name']}")
        width, latent_dim = values["encoder_hidden_size"], values["decoder_input_channels"]
        if values["decoder_channels"] != width or width != 2 * latent_dim:
            raise ValueError(
                f"encoder {width}, decoder {values['decoder_channels']} and latents {latent_dim} "
                "wide; expected 128, 128 and 64, or in their proportions"
            )
        return OobleckConfig(
            channels=width,
            multipliers=tuple(values["channel_multiples"]),
            strides=tuple(values["downsampling_ratios"]),
            latent_dim=latent_dim,
            audio_channels=values["audio_channels"],
            sample_rate=values["sampling_rate"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SongBloomError(
            f"{path}: not the config of diffusers' AutoencoderOobleck ({error})",
            "Save it again with diffusers' save_pretrained.",
        ) from error


def _renamed(
    tensors: Mapping[str, Tensor], blocks: int, path: Path
) -> Iterator[tuple[str, Tensor]]:
    """diffusers' tensors under stable-audio-tools' names and shapes."""
    for name, value in tensors.items():
        try:
            yield _name(name, blocks), value.flatten() if "snake" in name else value
        except (KeyError, ValueError) as error:
            raise SongBloomError(
                f"{path}: has a tensor '{name}' that no AutoencoderOobleck has",
                "Save it again with diffusers' save_pretrained.",
            ) from error


def _name(theirs: str, blocks: int) -> str:
    """`encoder.block.0.res_unit1.conv1.bias` -> `encoder.layers.1.layers.0.layers.1.bias`."""
    coder, *inside, tensor = theirs.split(".")
    if inside[0] != "block":
        outer = {"conv1": 0, "snake1": blocks + 1, "conv2": blocks + 2}
        return f"{coder}.layers.{outer[inside[0]]}.{tensor}"
    number, part, *rest = inside[1:]
    place = {"encoder": _DOWN, "decoder": _UP}[coder][part]
    path = [coder, "layers", str(int(number) + 1), "layers", place]
    return ".".join([*path, *(_RESIDUAL[name] for name in rest), tensor])
