"""Released checkpoints: the only file that knows the released key names.

A release is a folder: `NAME.yaml`, the `.pt` it names (a bare state dict), a VAE `.json` and
`.ckpt`, and a vocabulary. `import_release` makes a model folder of it. Checkpoints are pickles:
they are read with torch's restricted unpickler, which makes tensors and runs nothing else.
"""

import json
import math
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.files import sha256
from songbloom.model.checkpoint import check_keys, describe_vae, save_model
from songbloom.model.config import ModelConfig
from songbloom.model.release_config import ReleaseYaml, model_config, vocabulary
from songbloom.model.songbloom import SongBloom
from songbloom.model.vae import OobleckConfig, OobleckVAE

NOTICE = """\
These weights were imported from a SongBloom release. The release's licence allows academic use
only: no commercial use and no use in production, for the weights and for what is made with them
as its terms say. songbloom's own code is Apache-2.0 and carries none of the released code. Read
the licence file that came with the release before you use, share or build on these weights.
"""
LICENCE = "academic use only (SongBloom release)"
# Older checkpoints carry the VAE once more inside the prompt conditioner.
_DUPLICATE_VAE = "model.condition_provider.conditioners.prompt_wav.tokenizer."
_LYRICS = "condition_provider.conditioners.lyrics"

# our key -> the released keys whose tensors, stacked along dimension 0, it holds
_SINGLE: dict[str, tuple[str, ...]] = {
    "sketch_lm.bos": ("bos_token",),
    "sketch_lm.embedding.weight": ("skeleton_emb.weight",),
    "sketch_lm.norm.weight": ("ar_transformer.norm.weight",),
    "sketch_lm.head.0.weight": ("skeleton_classifier.0.weight",),
    "sketch_lm.head.2.weight": ("skeleton_classifier.2.weight",),
    "sketch_lm.head.2.bias": ("skeleton_classifier.2.bias",),
    "conditioner.reference.project.weight": (
        "condition_provider.conditioners.prompt_wav.output_proj.weight",
    ),
    "conditioner.lyrics.symbols.weight": (f"{_LYRICS}.output_proj.weight",),
    "conditioner.lyrics.sentences.weight": (f"{_LYRICS}.sentence_idx_in_structure_emb.weight",),
    "patch_encoder.layers.1.weight": ("block_conv.1.weight",),
    "patch_encoder.layers.1.bias": ("block_conv.1.bias",),
    "patch_encoder.layers.3.weight": ("block_conv.3.weight",),
    "patch_encoder.layers.3.bias": ("block_conv.3.bias",),
    "dit.time.frequencies": ("timestep_features.weight",),
    "dit.time.mlp.0.weight": ("to_timestep_embed.0.weight",),
    "dit.time.mlp.2.weight": ("to_timestep_embed.2.weight",),
    "dit.time.mlp.2.bias": ("to_timestep_embed.2.bias",),
    "dit.project_in.weight": ("project_in.weight",),
    "dit.project_in.bias": ("project_in.bias",),
    "dit.project_out.weight": ("project_out.weight",),
    "dit.project_out.bias": ("project_out.bias",),
}
_AR_LAYER: dict[str, tuple[str, ...]] = {
    "attention.qkv.weight": tuple(f"self_attn.{x}_proj.weight" for x in "qkv"),
    "attention.out.weight": ("self_attn.o_proj.weight",),
    "ffn.gate_up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "ffn.down.weight": ("mlp.down_proj.weight",),
    "attention_norm.weight": ("input_layernorm.weight",),
    "ffn_norm.weight": ("post_attention_layernorm.weight",),
}
_DIT_LAYER: dict[str, tuple[str, ...]] = {
    "attention.qkv.weight": ("self_attn.to_qkv.weight",),
    "attention.out.weight": ("self_attn.to_out.weight",),
    "ffn.gate_up.weight": ("ff.ff.0.gate_proj.weight", "ff.ff.0.up_proj.weight"),
    "ffn.down.weight": ("ff.ff.2.weight",),
    "attention_norm.weight": ("pre_norm.gamma",),
    "ffn_norm.weight": ("ff_norm.gamma",),
}


def release_keys(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    """For every tensor of ours, the released tensors (without `model.`) it is stacked from."""
    keys = dict(_SINGLE)
    for ours, theirs, count, layer in (
        ("sketch_lm.layers", "ar_transformer.layers", config.ar_layers, _AR_LAYER),
        ("dit.layers", "nar_dit.layers", config.dit_layers, _DIT_LAYER),
    ):
        for i in range(count):
            for key, sources in layer.items():
                keys[f"{ours}.{i}.{key}"] = tuple(f"{theirs}.{i}.{s}" for s in sources)
    return keys


def zero_keys(config: ModelConfig) -> list[str]:
    """Released tensors (without `model.`) that are always zero and that we do not have."""
    norms = [f"nar_dit.layers.{i}.{n}.beta" for i in range(config.dit_layers) for n in _DIT_NORMS]
    return [f"{_LYRICS}.blank_emb", *norms]


_DIT_NORMS = ("pre_norm", "ff_norm")


def import_release(
    folder: Path, target: Path, *, name: str | None = None, force: bool = False
) -> dict[str, Any]:
    """Make a model folder of a release folder.

    `name` chooses among several yaml files (default: the only one). Nothing that is pickled runs.
    `SongBloomError` names a missing file, yaml key, or tensor, and every unexpected tensor.
    Returns a report: name, parameters, tensors, ignored duplicates, licence, sha256 by file.
    """
    target = Path(target)
    if (target / "model.json").exists() and not force:
        raise UsageError(f"{target}: is a model already", "Choose another -o, or add --force.")
    release = ReleaseYaml(_find_yaml(Path(folder), name))
    config = model_config(release)
    checkpoint = release.file(release["pretrained_path"])
    tensors = load_pickle_tensors(checkpoint)
    duplicates = [key for key in tensors if key.startswith(_DUPLICATE_VAE)]
    model, vae_tensors = _split(tensors, config, str(checkpoint))
    vae, vae_state = _vae(release, vae_tensors)
    info = save_model(
        target,
        info={
            "name": name or release.path.stem,
            "licence": LICENCE,
            "source": {"checkpoint": checkpoint.name, "sha256": sha256(checkpoint)},
        },
        config=config,
        vocabulary=vocabulary(release),
        songbloom=model,
        vae=vae_state,
        vae_info=describe_vae(vae),
        notice=NOTICE,
    )
    return {
        "name": info["name"],
        "path": str(target),
        "parameters": info["parameters"],
        "tensors": len(model) + len(vae_state),
        "ignored_duplicates": len(duplicates),
        "licence": LICENCE,
        "sha256": info["sha256"],
    }


def released_tensors(
    config: ModelConfig, model: Mapping[str, Tensor], vae: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The released state dict of our tensors: what `import_release` splits, put together again."""
    dtype = model["sketch_lm.bos"].dtype
    theirs = {key: torch.zeros(config.dim, dtype=dtype) for key in zero_keys(config)}
    theirs[f"{_LYRICS}.blank_emb"] = torch.zeros(1, config.dim, dtype=dtype)
    for ours, sources in release_keys(config).items():
        parts = model[ours].chunk(len(sources))
        theirs |= {source: part.clone() for source, part in zip(sources, parts, strict=True)}
    return {
        **{f"vae.vae.{key}": tensor for key, tensor in released_vae(vae).items()},
        **{f"model.{key}": theirs[key] for key in sorted(theirs)},
    }


def released_vae(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The VAE's tensors by stable-audio-tools' keys: every kernel as direction and length.

    The direction is the kernel itself, so that folding it again gives the same bits.
    """
    found: dict[str, Tensor] = {}
    for key, value in tensors.items():
        theirs = key.replace("coder.", "coder.layers.", 1)
        if not key.endswith(".weight"):
            found[theirs] = value
            continue
        ones = value.new_ones(len(value), *[1] * (value.dim() - 1))
        _, length = torch._weight_norm_interface(value, ones, 0)  # as folding it will measure it
        found[f"{theirs}_g"] = length.view_as(ones)
        # A kernel of zeros has no direction: any will do.
        found[f"{theirs}_v"] = torch.where(length.view_as(ones) == 0, ones, value)
    return found


def released_vae_config(config: OobleckConfig) -> dict[str, Any]:
    """The .json of a VAE, as stable-audio-tools reads it and `vae_config` does."""
    sizes = {
        "channels": config.channels,
        "c_mults": list(config.multipliers),
        "strides": list(config.strides),
        "use_snake": True,
    }
    own, hop = config.latent_dim, math.prod(config.strides)
    encoder = {"in_channels": config.audio_channels, **sizes, "latent_dim": 2 * own}
    decoder = {"out_channels": config.audio_channels, **sizes, "latent_dim": own}
    return {
        "model_type": "autoencoder",
        "sample_rate": config.sample_rate,
        "audio_channels": config.audio_channels,
        "model": {
            "encoder": {"type": "oobleck", "config": encoder},
            "decoder": {"type": "oobleck", "config": {**decoder, "final_tanh": False}},
            "bottleneck": {"type": "vae"},
            "latent_dim": own,
            "downsampling_ratio": hop,
            "io_channels": config.audio_channels,
        },
    }


def load_pickle_tensors(path: Path) -> dict[str, Tensor]:
    """A `.pt`/`.ckpt` state dict (bare, or under "state_dict") read without running its code."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise SongBloomError(
            f"{path}: holds more than tensors; it was not read on, since that could run code",
            "Fetch the file again from a source you trust, as a plain state dict.",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise SongBloomError(
            f"{path}: truncated, or not a PyTorch checkpoint", "Fetch the file again."
        ) from error
    tensors = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise SongBloomError(f"{path}: expected a dictionary of tensors (a state dict)")
    return dict(tensors)


def _is_zip(path: Path) -> bool:
    return zipfile.is_zipfile(path)


def _find_yaml(folder: Path, name: str | None) -> Path:
    if not folder.is_dir():
        raise MissingAssetError(
            f"{folder}: no such folder", "Give the folder that holds the release's yaml and .pt."
        )
    if name is not None:
        candidates = [folder / f"{name}.yaml"]
    else:
        candidates = [p for p in sorted(folder.glob("*.yaml")) if p.stem != "vocab_g2p"]
    found = [path for path in candidates if path.is_file()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.stem for path in found)
    if found:
        raise UsageError(f"{folder}: holds several releases ({names})", "Choose one with --name.")
    raise MissingAssetError(
        f"{folder}: holds no {name or 'model'}.yaml", "Put all files of the release there."
    )


def _split(
    tensors: Mapping[str, Tensor], config: ModelConfig, where: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(our model's state dict, the released VAE's): every tensor is used or known to be spare."""
    kept = {k: v for k, v in tensors.items() if not k.startswith(_DUPLICATE_VAE)}
    vae = {k.removeprefix("vae.vae."): v for k, v in kept.items() if k.startswith("vae.vae.")}
    theirs = {k: v for k, v in kept.items() if not k.startswith("vae.vae.")}
    check_keys({f"model.{k}": v for k, v in _released_shapes(config).items()}, theirs, where)
    for key in zero_keys(config):
        if theirs[f"model.{key}"].any():
            raise SongBloomError(f"{where}: model.{key} is not zero, as it is in every release")
    model = {
        ours: torch.cat([theirs[f"model.{s}"] for s in sources])
        for ours, sources in release_keys(config).items()
    }
    return model, vae


def _released_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """Shapes of the released tensors (without `model.`): stacked ones are equal parts of ours."""
    with torch.device("meta"):
        whole = {k: v.shape for k, v in SongBloom(config).state_dict().items()}
    shapes = {
        source: torch.Size((whole[ours][0] // len(sources), *whole[ours][1:]))
        for ours, sources in release_keys(config).items()
        for source in sources
    }
    zeros = {k: torch.Size([config.dim]) for k in zero_keys(config)}
    return {**shapes, **zeros, f"{_LYRICS}.blank_emb": torch.Size([1, config.dim])}


def _vae(
    release: ReleaseYaml, from_checkpoint: dict[str, Tensor]
) -> tuple[OobleckVAE, dict[str, Tensor]]:
    """The VAE and its folded weights: the checkpoint's own copy wins, as it does in the release."""
    ckpt, config = release.file(release["vae.vae_ckpt"]), release.file(release["vae.vae_cfg"])
    own = vae_tensors(ckpt)
    where = release["pretrained_path"] if from_checkpoint else ckpt
    return fold_vae(vae_config(config), from_checkpoint or own, f"{where}: VAE")


def vae_tensors(path: Path) -> dict[str, Tensor]:
    """The VAE of a stable-audio-tools checkpoint, without what only its training needs."""
    tensors = load_pickle_tensors(path)
    wrapped = {k: v for k, v in tensors.items() if k.startswith("autoencoder.")}
    return {k.removeprefix("autoencoder."): v for k, v in (wrapped or tensors).items()}


def fold_vae(
    config: OobleckConfig, tensors: Mapping[str, Tensor], where: str
) -> tuple[OobleckVAE, dict[str, Tensor]]:
    """The VAE, without weights of its own yet, and its weights, from stable-audio-tools' keys.

    `SongBloomError` names missing, unexpected and misshapen tensors.
    """
    with torch.device("meta"):
        vae = OobleckVAE(config)
    folded = dict(_fold(tensors))
    check_keys({k: v.shape for k, v in vae.state_dict().items()}, folded, where)
    return vae, folded


def vae_config(path: Path) -> OobleckConfig:
    """The sizes in a stable-audio-tools VAE's .json. `SongBloomError` for any other file."""
    try:
        described = json.loads(path.read_text("utf-8"))
        decoder = described["model"]["decoder"]["config"]
        return OobleckConfig(
            channels=decoder["channels"],
            multipliers=tuple(decoder["c_mults"]),
            strides=tuple(decoder["strides"]),
            latent_dim=decoder["latent_dim"],
            audio_channels=described["audio_channels"],
            sample_rate=described["sample_rate"],
        )
    except KeyError as error:
        raise SongBloomError(f"{path}: lacks {error} of a stable-audio VAE config") from error
    except (ValueError, TypeError) as error:
        raise SongBloomError(f"{path}: not a stable-audio VAE config ({error})") from error


def _fold(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """weight = g v / |v|, norms over all but the first dimension; and our shorter key names.

    Half of a pair alone gives nothing: the folded weight is then missing by its name.
    """
    for key, value in tensors.items():
        ours = key.replace("coder.layers.", "coder.", 1)
        direction = tensors.get(key.removesuffix("_g") + "_v")
        if key.endswith("weight_g") and direction is not None:
            yield ours.removesuffix("_g"), torch._weight_norm(direction, value, 0)
        elif not key.endswith(("weight_g", "weight_v")):
            yield ours, value
