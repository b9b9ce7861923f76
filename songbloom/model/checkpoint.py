"""A model on disk: a folder of safetensors and one `model.json` that says what they are.

    model.json           name, sizes, sampling defaults, VAE, licence, sha256 of the rest
    model.safetensors    `SongBloom`'s weights; or shards of it and model.safetensors.index.json
    vae.safetensors      the VAE's weights
    vocabulary.json      the lyric symbols, in order
    sketch.safetensors   the sketch codec's weights, where the model has one

Weights are only ever read as safetensors: nothing in a model folder can run code.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.files import atomic_path, sha256, write_text
from songbloom.lyrics import frontends
from songbloom.lyrics.vocabulary import Vocabulary
from songbloom.model.config import ModelConfig
from songbloom.model.int8 import INT8, is_scale, use_int8
from songbloom.model.seedling_vae import SeedlingVAE, SeedlingVAEConfig
from songbloom.model.songbloom import SongBloom
from songbloom.model.vae import OobleckConfig, OobleckVAE

_ALIGNMENT = 64  # bytes
FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"
INDEX_SUFFIX = ".index.json"
_DERIVED = ("format", "kind", "parameters", "config", "vae", "sha256")  # save_model writes these
_REQUIRED = ("name", "parameters", "config", "vae", "sha256")
VAE = OobleckVAE | SeedlingVAE
VAE_KINDS: dict[str, tuple[type[Any], type[Any]]] = {
    "oobleck": (OobleckConfig, OobleckVAE),
    "seedling": (SeedlingVAEConfig, SeedlingVAE),
}


@dataclass(frozen=True)
class Model:
    """A loaded model folder."""

    folder: Path
    info: dict[str, Any]  # model.json
    config: ModelConfig
    vocabulary: Vocabulary
    songbloom: SongBloom
    vae: VAE

    @property
    def name(self) -> str:
        """The name the model calls itself."""
        return str(self.info["name"])


@dataclass(frozen=True)
class Contents:
    """What a model folder is written from; `codec` is a model folder whose sketch codec it gets."""

    info: Mapping[str, Any]
    config: ModelConfig
    vocabulary: Vocabulary
    songbloom: Mapping[str, Tensor]
    vae: Mapping[str, Tensor]
    vae_info: Mapping[str, Any]
    notice: str = ""
    codec: Path | None = None


def read_info(folder: Path) -> dict[str, Any]:
    """`model.json` of a model folder. `SongBloomError` when it is missing or no JSON object."""
    path = Path(folder) / "model.json"
    if not path.is_file():
        raise MissingAssetError(
            f"{folder}: no model folder (it has no model.json)", "List models: songbloom models"
        )
    try:
        info = json.loads(path.read_text("utf-8"))
        if info["format"] != FORMAT_VERSION:
            raise SongBloomError(
                f"{path}: format {info['format']}, expected {FORMAT_VERSION}",
                "Export or import the model again with this version of songbloom.",
            )
        lacks = [key for key in _REQUIRED if key not in info]
        if lacks:
            raise KeyError(f"lacks {', '.join(lacks)}")
    except (ValueError, KeyError, TypeError) as error:
        raise SongBloomError(
            f"{path}: not a model description ({error})", "Fetch or import the model again."
        ) from error
    return dict(info)


def load_model(folder: Path, *, device: torch.device, dtype: torch.dtype = torch.float32) -> Model:
    """Load a model folder for inference; the VAE stays in float32.

    Every file's hash is checked first. `SongBloomError` for a truncated or tampered file and for
    missing, unexpected or misshapen tensors, by name.
    """
    folder = Path(folder)
    info = read_info(folder)
    verify(folder, info)
    config = ModelConfig.from_dict(info["config"], str(folder / "model.json"))
    vocabulary = Vocabulary(tuple(json.loads((folder / "vocabulary.json").read_text("utf-8"))))
    frontends.check_vocabulary(vocabulary, config.frontend, str(folder / "vocabulary.json"))
    with torch.device("meta"):
        songbloom = SongBloom(config)
        if quantisation(info):
            use_int8(songbloom)
    vae = build_vae(info["vae"])
    load_weights(songbloom, load_tensors(folder / WEIGHTS), folder, dtype)
    load_weights(vae, load_tensors(folder / "vae.safetensors"), folder, torch.float32)
    songbloom.to(device).eval().requires_grad_(False)
    vae.to(device).eval().requires_grad_(False)
    return Model(folder, info, config, vocabulary, songbloom, vae)


def read_contents(folder: Path) -> Contents:
    """A model folder's contents as they are stored; every file's hash is checked first.

    `info` is without what `save_model` adds by itself. `SongBloomError` as from `load_model`.
    """
    folder = Path(folder)
    info = read_info(folder)
    verify(folder, info)
    notice = folder / "NOTICE.txt"
    return Contents(
        info={key: value for key, value in info.items() if key not in _DERIVED},
        config=ModelConfig.from_dict(info["config"], str(folder / "model.json")),
        vocabulary=Vocabulary(tuple(json.loads((folder / "vocabulary.json").read_text("utf-8")))),
        songbloom=load_tensors(folder / WEIGHTS),
        vae=load_tensors(folder / "vae.safetensors"),
        vae_info=info["vae"],
        notice=notice.read_text("utf-8") if notice.exists() else "",
        codec=folder,
    )


def write_contents(
    folder: Path, contents: Contents, *, shard_bytes: int | None = None
) -> dict[str, Any]:
    """`save_model` of contents, after the sketch codec's files; returns `model.json`."""
    if contents.codec is not None:
        copy_sketch_codec(contents.codec, folder)
    parts = {f.name: getattr(contents, f.name) for f in dataclasses.fields(contents)}
    del parts["codec"]
    return save_model(folder, **parts, shard_bytes=shard_bytes)


def save_model(
    folder: Path,
    *,
    info: Mapping[str, Any],
    config: ModelConfig,
    vocabulary: Vocabulary,
    songbloom: Mapping[str, Tensor],
    vae: Mapping[str, Tensor],
    vae_info: Mapping[str, Any],
    notice: str = "",
    shard_bytes: int | None = None,
) -> dict[str, Any]:
    """Write a model folder; `model.json` comes last, so that a folder is whole or not a model.

    Weights of more than `shard_bytes` go into shards of at most that (a larger tensor is one of its
    own). Returns what it wrote into `model.json`.
    """
    folder = Path(folder)
    weights = save_shards(folder / WEIGHTS, songbloom, shard_bytes)
    save_tensors(folder / "vae.safetensors", vae)
    write_text(folder / "vocabulary.json", json.dumps(vocabulary.symbols, ensure_ascii=False))
    if notice:
        write_text(folder / "NOTICE.txt", notice)
    files = [*weights, "vae.safetensors", "vocabulary.json"]
    for optional in ("NOTICE.txt", "sketch.safetensors", "sketch.json"):
        files += [optional] if (folder / optional).exists() else []
    described = {
        "format": FORMAT_VERSION,
        "kind": "songbloom",
        **info,
        "parameters": sum(t.numel() for name, t in songbloom.items() if not is_scale(name)),
        "config": config.to_dict(),
        "vae": dict(vae_info),
        "sha256": {name: sha256(folder / name) for name in files},
    }
    write_text(folder / "model.json", json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    return described


def verify(folder: Path, info: Mapping[str, Any]) -> None:
    """Compare every file's hash with `model.json`; `SongBloomError` names one that differs."""
    for name, expected in info["sha256"].items():
        path = Path(folder) / name
        if not path.is_file():
            raise SongBloomError(f"{path}: missing from the model folder", "Fetch the model again.")
        if sha256(path) != expected:
            raise SongBloomError(
                f"{path}: truncated or altered (its hash is not the one in model.json)",
                "Fetch, import or export the model again.",
            )


def weights_hash(info: Mapping[str, Any]) -> str:
    """What tells a model's weights from all others: the sha256 of their file, or of their index,
    which holds those of the shards."""
    hashes = info["sha256"]
    return str(hashes[WEIGHTS] if WEIGHTS in hashes else hashes[WEIGHTS + INDEX_SUFFIX])


def quantisation(info: Mapping[str, Any]) -> str | None:
    """How a model's weights are quantised: "int8", or None. `SongBloomError` for another way."""
    kind = info.get("quantisation", {}).get("kind")
    if kind not in (None, INT8):
        raise SongBloomError(
            f"model.json: weights quantised as {kind}, which this version does not know",
            "Update songbloom, or fetch the model again.",
        )
    return None if kind is None else str(kind)


def check_whole_weights(folder: Path, info: Mapping[str, Any], use: str) -> None:
    """`SongBloomError` where the weights are quantised: they are for singing, not for `use`."""
    if kind := quantisation(info):
        raise SongBloomError(
            f"{folder}: its weights are quantised ({kind}), which is of no use to {use}",
            "Name the model that it was made of.",
        )


def copy_sketch_codec(source: Path, target: Path) -> None:
    """Copy the sketch codec's files to another model folder, where `source` has one."""
    for name in ("sketch.safetensors", "sketch.json"):
        if (source / name).exists():
            with atomic_path(target / name) as temporary:
                shutil.copyfile(source / name, temporary)


def build_vae(described: Mapping[str, Any]) -> Any:
    """The VAE that `model.json`'s "vae" table describes, without weights of its own yet."""
    try:
        config_class, vae_class = VAE_KINDS[described["kind"]]
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in described["config"].items()}
        return vae_class(config_class(**values))
    except (KeyError, TypeError) as error:
        raise SongBloomError(
            f"model.json: a VAE that this version does not know ({error})",
            "Update songbloom, or fetch the model again.",
        ) from error


def describe_vae(vae: VAE) -> dict[str, Any]:
    """The "vae" table of `model.json`."""
    kind = next(kind for kind, (_, cls) in VAE_KINDS.items() if isinstance(vae, cls))
    return {"kind": kind, "config": dataclasses.asdict(vae.config)}


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or the shards that the index beside it lists.

    `SongBloomError` when it is missing, truncated or something else.
    """
    index = path.with_name(path.name + INDEX_SUFFIX)
    try:
        if path.exists() or not index.exists():
            return load_file(path)
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        return {
            k: v for name in names for k, v in load_file(path.with_name(Path(name).name)).items()
        }
    except (OSError, SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise SongBloomError(
            f"{path}: not a readable safetensors file ({error})", "Fetch the file again."
        ) from error


def load_weights(
    module: nn.Module, tensors: Mapping[str, Tensor], where: Path, dtype: torch.dtype
) -> None:
    """Put `tensors` into `module`, cast to `dtype`; keys and shapes must agree exactly."""
    check_keys({k: v.shape for k, v in module.state_dict().items()}, tensors, str(where))
    cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}
    module.load_state_dict({k: _aligned(v) for k, v in cast.items()}, strict=True, assign=True)


def _aligned(tensor: Tensor) -> Tensor:
    """The tensor at an address as torch gives them. Where it lies in memory decides how a product
    is summed, so its last bits: a tensor of a mapped file lies anywhere, by the file's header."""
    return tensor if tensor.data_ptr() % _ALIGNMENT == 0 else tensor.clone()


def check_keys(
    expected: Mapping[str, torch.Size], tensors: Mapping[str, Tensor], where: str
) -> None:
    """`SongBloomError` naming missing, unexpected and misshapen tensors."""
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected)
    wrong = [
        f"{k} {list(tensors[k].shape)} (expected {list(shape)})"
        for k, shape in sorted(expected.items())
        if k in tensors and tensors[k].shape != shape
    ]
    complaints = [
        f"{what} {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for what, names in (("lacks", missing), ("has unexpected", extra), ("misshapes", wrong))
        if names
    ]
    if complaints:
        raise SongBloomError(
            f"{where}: {'; '.join(complaints)}", "These weights are of another model or version."
        )


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, atomically; the same tensors give the same bytes."""
    with atomic_path(path) as temporary:
        save_file({k: v.contiguous() for k, v in sorted(tensors.items())}, temporary)


def save_shards(path: Path, tensors: Mapping[str, Tensor], most: int | None) -> list[str]:
    """Write tensors into `path`, or where they take more than `most` bytes, into shards of at most
    that with the hubs' index beside them; the names of the files written."""
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in sorted(tensors.items()):
        if most is not None and filled + tensor.nbytes > most and shards[-1]:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += tensor.nbytes
    if len(shards) == 1:
        save_tensors(path, tensors)
        return [path.name]
    names = [
        f"{path.stem}-{i:05d}-of-{len(shards):05d}{path.suffix}" for i in range(1, len(shards) + 1)
    ]
    for name, shard in zip(names, shards, strict=True):
        save_tensors(path.with_name(name), shard)
    index = {
        "metadata": {
            "total_size": sum(tensor.nbytes for tensor in tensors.values()),
            "sha256": {name: sha256(path.with_name(name)) for name in names},
        },
        "weight_map": {k: name for name, shard in zip(names, shards, strict=True) for k in shard},
    }
    write_text(path.with_name(path.name + INDEX_SUFFIX), json.dumps(index, indent=1) + "\n")
    return [*names, path.name + INDEX_SUFFIX]
