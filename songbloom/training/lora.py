"""LoRA: small trainable matrices beside frozen ones (Hu et al. 2021, arXiv 2106.09685).

    y = W x + (alpha / rank) B A x        A random, B zero at first: step 0 is the base model

An adapter is a folder, `adapter.safetensors` and `adapter.json`, bound to its base model by the
hash of the base's weights. D_in and D_out are the widths of the linear layer, r is the rank.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.files import sha256, write_text
from songbloom.model.checkpoint import (
    Contents,
    check_keys,
    check_whole_weights,
    load_model,
    load_tensors,
    read_contents,
    read_info,
    save_tensors,
    weights_hash,
    write_contents,
)
from songbloom.model.songbloom import SongBloom

FORMAT_VERSION = 1
# What model.json says of the base that is true of the merged model too.
_INHERITED = ("licence", "sketch_kind", "codebook_hash")
# matrix -> (linear layer of a block, which of how many matrices stacked in its rows)
_MATRICES = {
    "q": ("attention.qkv", 0, 3),
    "k": ("attention.qkv", 1, 3),
    "v": ("attention.qkv", 2, 3),
    "out": ("attention.out", 0, 1),
    "gate": ("ffn.gate_up", 0, 2),
    "up": ("ffn.gate_up", 1, 2),
    "down": ("ffn.down", 0, 1),
}
TARGETS = tuple(f"{part}.{matrix}" for part in ("sketch_lm", "dit") for matrix in _MATRICES)
_DIT_WARNING = (
    "LoRA on the DiT: in a published trial, adapting its attention destroyed the vocals; "
    "listen to samples early, or adapt sketch_lm alone"
)


@dataclass(frozen=True)
class LoraConfig:
    """Which matrices are adapted, in every layer: `targets` out of `TARGETS`.

    `alpha` None means twice the rank. Raises `UsageError` at construction for what cannot be.
    """

    rank: int = 16
    alpha: float | None = None
    targets: tuple[str, ...] = ("sketch_lm.q", "sketch_lm.v")

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UsageError(f"lora: rank is {self.rank}; expected at least 1", "Try --lora 16.")
        unknown = [target for target in self.targets if target not in TARGETS]
        if unknown or not self.targets:
            what = f"unknown target '{unknown[0]}'" if unknown else "no targets"
            raise UsageError(f"lora: {what}", f"Targets: {', '.join(TARGETS)}.")

    @property
    def scale(self) -> float:
        """What B A x is multiplied by."""
        return (2 * self.rank if self.alpha is None else self.alpha) / self.rank

    @property
    def warnings(self) -> list[str]:
        """What a user should know before training with this."""
        return [_DIT_WARNING] if any(t.startswith("dit.") for t in self.targets) else []


class LoraLinear(nn.Linear):
    """A linear layer of `parts` equal matrices stacked in its rows, those in `adapted` with LoRA.

    It takes over the layer's own weight under its own name, so the base model's keys stay as they
    are, and has plain parameters besides, which is all that DDP, FSDP2 and DeepSpeed ask for.
    """

    def __init__(
        self, base: nn.Linear, *, parts: int, adapted: Sequence[int], rank: int, scale: float
    ) -> None:
        size = base.in_features, base.out_features
        super().__init__(*size, bias=base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        self.parts, self.adapted, self.scale = parts, tuple(adapted), scale
        a = len(adapted), rank, base.in_features
        b = len(adapted), base.out_features // parts, rank
        self.lora_a = nn.Parameter(base.weight.new_zeros(a))
        self.lora_b = nn.Parameter(base.weight.new_zeros(b))

    def forward(self, x: Tensor) -> Tensor:
        """`[..., D_in]` -> `[..., D_out]`."""
        outputs = list(super().forward(x).chunk(self.parts, dim=-1))
        for part, a, b in zip(self.adapted, self.lora_a, self.lora_b, strict=True):
            outputs[part] = outputs[part] + self.scale * F.linear(F.linear(x, a), b)
        return torch.cat(outputs, dim=-1)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The plain layer W + scale B A. The weight is changed in place: this layer is done."""
        plain = nn.Linear(self.in_features, self.out_features, device="meta")
        plain.weight, plain.bias = self.weight, self.bias
        rows = plain.weight.view(self.parts, -1, self.in_features)
        for part, a, b in zip(self.adapted, self.lora_a, self.lora_b, strict=True):
            rows[part] += self.scale * (b @ a)
        return plain


def add_lora(
    model: SongBloom, config: LoraConfig, generator: torch.Generator
) -> list[nn.Parameter]:
    """Freeze the model and put LoRA beside its targets; returns the new, trainable parameters.

    A is drawn as a linear layer's weight would be (uniform within D_in^-1/2), B is zero.
    """
    layers = _insert(model, config)
    for layer in layers:
        bound = layer.in_features**-0.5
        nn.init.uniform_(layer.lora_a, -bound, bound, generator=generator)
    return [parameter for layer in layers for parameter in (layer.lora_a, layer.lora_b)]


def merge_lora(model: SongBloom) -> None:
    """Add every adapter to the weight beside it: the model is a plain one again."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LoraLinear):
                setattr(module, name, child.merged())


def is_lora(name: str) -> bool:
    """Whether a name in a state dict is an adapter's."""
    return name.rpartition(".")[2] in ("lora_a", "lora_b")


def lora_state(model: SongBloom) -> dict[str, Tensor]:
    """The adapter's tensors alone."""
    return {name: tensor for name, tensor in model.state_dict().items() if is_lora(name)}


def save_lora(
    folder: Path, tensors: Mapping[str, Tensor], config: LoraConfig, base: Mapping[str, Any]
) -> None:
    """Write an adapter folder; `base` is the base model's model.json. adapter.json comes last."""
    weights = Path(folder) / "adapter.safetensors"
    save_tensors(weights, tensors)
    described = {
        "format": FORMAT_VERSION,
        "kind": "songbloom-lora",
        **dataclasses.asdict(config),
        "base": {"name": base["name"], "sha256": weights_hash(base)},
        "sha256": sha256(weights),
    }
    write_text(Path(folder) / "adapter.json", json.dumps(described, indent=1) + "\n")


def load_lora(model: SongBloom, folder: Path, base: Mapping[str, Any]) -> LoraConfig:
    """Put an adapter folder beside a model's weights; `base` is that model's model.json.

    `SongBloomError` when the adapter is broken, or was trained on another base.
    """
    info = read_lora(folder)
    if info["base"]["sha256"] != weights_hash(base):
        raise SongBloomError(
            f"{folder}: an adapter of another model than {base['name']}: it was trained on "
            f"{info['base']['name']}, weights {info['base']['sha256'][:12]}",
            "Name the model folder that the adapter was trained from.",
        )
    weights = Path(folder) / "adapter.safetensors"
    if not weights.is_file() or sha256(weights) != info["sha256"]:
        raise SongBloomError(
            f"{weights}: missing, truncated or altered (its hash is not the one in adapter.json)",
            "Copy the adapter again.",
        )
    config = LoraConfig(info["rank"], info["alpha"], tuple(info["targets"]))
    _insert(model, config)
    tensors = load_tensors(weights)
    check_keys({k: v.shape for k, v in lora_state(model).items()}, tensors, str(weights))
    model.load_state_dict(tensors, strict=False)
    return config


def read_lora(folder: Path) -> dict[str, Any]:
    """`adapter.json` of an adapter folder. `SongBloomError` when it is missing or no such thing."""
    path = Path(folder) / "adapter.json"
    if not path.is_file():
        raise MissingAssetError(
            f"{folder}: no adapter folder (it has no adapter.json)",
            "Name the adapter of a run of songbloom train --lora: RUN/adapter",
        )
    try:
        info = json.loads(path.read_text("utf-8"))
        if info["format"] != FORMAT_VERSION:
            raise KeyError(f"format {info['format']}, expected {FORMAT_VERSION}")
        lacks = {"rank", "alpha", "targets", "base", "sha256"} - info.keys()
        lacks |= {"name", "sha256"} - info["base"].keys()
        if lacks:
            raise KeyError(f"lacks {', '.join(sorted(lacks))}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SongBloomError(
            f"{path}: not an adapter's description ({error})", "Copy the adapter again."
        ) from error
    return dict(info)


def merge_model(
    base: Path, adapter: Path, output: Path, *, name: str | None = None, force: bool = False
) -> dict[str, Any]:
    """A model folder and an adapter folder -> a model folder; returns its model.json.

    The weights are written in float32: rounding to less could drop the small updates. VAE, codec
    and vocabulary stay byte for byte, so that the model goes on fitting its training sets.
    """
    base, output = Path(base), Path(output)
    if output.resolve() == base.resolve():
        raise UsageError(f"{output}: is the base model itself", "Choose another -o.")
    if (output / "model.json").exists() and not force:
        raise UsageError(f"{output}: is a model already", "Choose another -o, or add --force.")
    return write_contents(output, merged(base, adapter, name or output.resolve().name))


def merged(base: Path, adapter: Path, name: str) -> Contents:
    """A model folder's contents with an adapter's weights added, in float32."""
    info = read_info(base)
    check_whole_weights(base, info, "an adapter")
    model = load_model(base, device=torch.device("cpu"))
    config = load_lora(model.songbloom, adapter, info)
    merge_lora(model.songbloom)
    return dataclasses.replace(
        read_contents(base),
        info={
            **{key: info[key] for key in _INHERITED if key in info},
            "name": name,
            "merged": {
                "base": {"name": model.name, "sha256": weights_hash(info)},
                "adapter": {
                    "sha256": read_lora(adapter)["sha256"],
                    **dataclasses.asdict(config),
                },
            },
        },
        songbloom=model.songbloom.state_dict(),
    )


def _insert(model: SongBloom, config: LoraConfig) -> list[LoraLinear]:
    """Freeze the model, replace its target layers, and return what stands there now."""
    if lora_state(model):
        raise ValueError("the model has LoRA already: merge it first")
    model.requires_grad_(False)
    inserted = []
    for part in ("sketch_lm", "dit"):
        for path, (parts, adapted) in _stacks(part, config.targets).items():
            for block in model.get_submodule(part).layers:  # type: ignore[union-attr]
                owner, name = path.split(".")
                layer = LoraLinear(
                    block.get_submodule(path),
                    parts=parts,
                    adapted=adapted,
                    rank=config.rank,
                    scale=config.scale,
                )
                setattr(block.get_submodule(owner), name, layer)
                inserted.append(layer)
    return inserted


def _stacks(part: str, targets: Sequence[str]) -> dict[str, tuple[int, list[int]]]:
    """Linear layer of a block -> (matrices stacked in it, those of them that are targets)."""
    stacks: dict[str, tuple[int, list[int]]] = {}
    for matrix, (path, index, parts) in _MATRICES.items():
        if f"{part}.{matrix}" in targets:
            stacks.setdefault(path, (parts, []))[1].append(index)
    return stacks
