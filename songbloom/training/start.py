"""From settings to processes that train: what runs where, whether it can fit, and the start."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from songbloom import config, hub
from songbloom.errors import SongBloomError, UsageError
from songbloom.lyrics.frontends import vocabulary
from songbloom.model.config import ModelConfig, preset_values
from songbloom.tables import TrainConfig
from songbloom.training import planner
from songbloom.training.job import Job, Outcome, crop_frames, default_folder, product_dtype
from songbloom.training.launch import Ranks, ranks_per_node

_DEFAULT_GPU = "a100-80"  # the paper's


@dataclass(frozen=True)
class Settings:
    """What to train, checked: [train] and the model of the preset with [model] on top."""

    train: TrainConfig
    model: ModelConfig
    origins: Mapping[str, str]


def load_settings(path: Path | None, flags: Mapping[str, object]) -> Settings:
    """Settings from preset, file, environment and flags. `UsageError` naming what cannot be."""
    named = config.load(path, flags=flags).config.train.preset
    values = preset_values(named)
    own = {f"train.{key}": value for key, value in values.pop("train", {}).items()}
    loaded = config.load(path, flags=flags, preset=(named, own))
    where = f"preset {named} with [model]"
    model = ModelConfig.from_dict(_merged(values, loaded.model), where)
    symbols = len(vocabulary(model.frontend))
    if model.lyric_vocab_size != symbols:
        raise UsageError(
            f"{where}: lyric_vocab_size is {model.lyric_vocab_size}; the front end "
            f"'{model.frontend}' has {symbols} symbols",
            f"Write lyric_vocab_size = {symbols} in the table [model].",
        )
    return Settings(loaded.config.train, model, loaded.origins)


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables merge key by key; anything else is replaced."""
    merged = dict(values)
    for key, change in changes.items():
        inside = merged.get(key)
        if isinstance(change, Mapping) and isinstance(inside, Mapping):
            change = _merged(inside, change)
        merged[key] = change
    return merged


def make_job(
    settings: Settings, *, run: Path | None, resume: str, models: Path, command: list[str]
) -> Job:
    """The job of the settings. `resume` is "auto", "never", or a path; `models` is the folder of
    installed models. `UsageError` where "never" finds a run, and without a training set."""
    train = settings.train
    if train.data is None:
        raise UsageError("train: no training set is named", "Type: --data DATASET")
    folder = run or default_folder(train, settings.model)
    if resume == "never" and (folder / "run.json").exists():
        raise UsageError(
            f"{folder}: a run is there already, and --resume is never",
            "Choose another -o, or leave --resume out to go on with it.",
        )
    start = None if train.init_from is None else hub.resolve(train.init_from, models)
    chosen = settings.origins["train.codecs"] != "default" or start is None
    return Job(
        train=train,
        model=settings.model,
        run=folder,
        codecs=hub.resolve(train.codecs, models) if chosen or start is None else start,
        init_from=start,
        resume=None if resume in ("auto", "never") else Path(resume),
        command=command,
    )


def num_ranks(train: TrainConfig) -> tuple[int, bool]:
    """Ranks over all machines, and whether they compute on GPUs.

    `UsageError` when GPUs are asked for and this machine has too few.
    """
    here = _gpus_here() if train.gpus is None or train.gpus > 0 else 0
    wanted = here * train.nodes if train.gpus is None else train.gpus
    if wanted == 0:
        return train.cpu_ranks, False
    if ranks_per_node(wanted, train.nodes) > here:
        raise UsageError(
            f"--gpus {wanted} on {train.nodes} machines; this one has {here}",
            "Lower --gpus, raise --nodes, or use --gpus 0 --cpu-ranks N for the CPU.",
        )
    return wanted, True


def make_plan(settings: Settings, ranks: int, gpu: str | None, *, on_gpu: bool) -> planner.Plan:
    """What the run will cost on `ranks` devices called `gpu` (None: this machine's)."""
    train, model = settings.train, settings.model
    name = gpu or (_gpu_name() if on_gpu else "cpu")
    dtype: Any = product_dtype(train, on_gpu=name != "cpu")
    return planner.plan(
        model,
        planner.PlanSettings(
            gpus=ranks,
            zero=train.zero,  # type: ignore[arg-type]  # 0 to 3, as its table checks
            sharding="full" if train.shard else "none",
            gpu=name,
            micro_batch=train.micro_batch,
            global_batch=train.batch_size,
            frames=crop_frames(train, model),
            dtype=dtype,
            activation_checkpointing=train.activation_checkpointing,
            ema=train.ema_decay > 0,
            max_steps=train.max_steps or train.steps,
            keep=train.keep,
            trainable=_lora_parameters(train.lora, model) if train.lora else None,
            memory=_memory_here() // ranks if name == "cpu" else None,
        ),
    )


def check_plan(plan: planner.Plan) -> None:
    """`SongBloomError` for a plan that cannot fit, with the smallest change that would."""
    refused = planner.refusal(plan)
    if refused:
        smaller = "Choose a smaller --preset, or see" if plan.hardware.name == "cpu" else "See"
        raise SongBloomError(f"train: {refused}", f"{smaller} all of it with --dry-run.")


def work(
    job: Job, ranks: Ranks | None, *, on_gpu: bool, on_event: Callable[[dict[str, Any]], None]
) -> Outcome:
    """Train as one of `ranks` (None: alone), in a process group of its own."""
    import torch
    import torch.distributed as dist

    from songbloom.training.trainer import train

    # A batch system may show each of its tasks one GPU alone.
    index = ranks.local_rank % torch.cuda.device_count() if on_gpu and ranks else 0
    device = torch.device("cuda", index) if on_gpu else None
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    patience = timedelta(hours=2)  # while the first rank sings samples or writes to a slow disk
    if device is not None:
        torch.cuda.set_device(device)
    if ranks is None:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    else:
        os.environ.update(ranks.environment())
        dist.init_process_group(
            backend, rank=ranks.rank, world_size=ranks.world_size, timeout=patience
        )
    try:
        return train(job, device or torch.device("cpu"), on_event)
    finally:
        dist.destroy_process_group()


def _lora_parameters(rank: int, model: ModelConfig) -> int:
    """A and B of the default targets, q and v, in every layer of the sketch transformer."""
    return 2 * model.ar_layers * rank * 2 * model.dim


def _gpus_here() -> int:
    import torch

    return torch.cuda.device_count()


def _gpu_name() -> str:
    """The planner's name for this machine's GPU; the paper's where it is unknown or absent."""
    import torch

    if not torch.cuda.is_available():
        return _DEFAULT_GPU
    known = planner.recognise(torch.cuda.get_device_name())
    return known.name if known else _DEFAULT_GPU


def _memory_here() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
