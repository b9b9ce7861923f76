"""What a training is asked to do, and how it ended. Torch-free: plans and launchers read it too."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from songbloom.model.config import ModelConfig
from songbloom.tables import TrainConfig
from songbloom.units import FRAME_RATE, Frames

# Settings that do not change what is learnt: a run may go on with other ones.
FREE = {
    *("data", "max_steps", "gpus", "cpu_ranks", "nodes", "micro_batch", "shard", "workers"),
    *("activation_checkpointing", "compile", "on_corrupt", "save_every", "keep", "keep_every"),
    *("validate_every", "sample_every", "samples", "tensorboard", "wandb"),
}


@dataclass(frozen=True)
class Job:
    """What to train. `run` is the run folder; `codecs` and `init_from` are model folders.

    `resume` is a checkpoint or a run to go on from where the run folder has no checkpoint yet.
    """

    train: TrainConfig
    model: ModelConfig
    run: Path
    codecs: Path
    init_from: Path | None = None
    resume: Path | None = None
    command: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """How a training ended: finished steps, whether a signal stopped it, the last step's row, and
    the model or adapter folder."""

    step: int
    interrupted: bool
    row: dict[str, float]
    product: Path | None


def crop_frames(train: TrainConfig, model: ModelConfig) -> Frames:
    """The longest crop: whole patches, at least one."""
    seconds = model.sampling.max_duration if train.crop is None else train.crop
    return max(1, int(seconds * FRAME_RATE / model.patch_size + 1e-6)) * model.patch_size


def product_dtype(train: TrainConfig, *, on_gpu: bool) -> str:
    """Number format of matrix products: "bfloat16" or "float32"."""
    automatic = "bfloat16" if on_gpu else "float32"
    return automatic if train.dtype == "auto" else train.dtype


def default_folder(train: TrainConfig, model: ModelConfig) -> Path:
    """`runs/PRESET-HASH`, the hash over all that decides what is learnt: the same asks the same."""
    asked = flat({"train": dataclasses.asdict(train), "model": model.to_dict()})
    bound = {k: v for k, v in asked.items() if k == "train.data" or k[6:] not in FREE}
    digest = hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()
    return Path("runs") / f"{train.preset.replace('/', '-')}-{digest[:8]}"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one: {"train": {"seed": 0}} as {"train.seed": 0}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
