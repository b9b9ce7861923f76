"""What can be exported: a run, one of its checkpoints, or a model folder; and what each holds."""

import dataclasses
import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from songbloom import hub
from songbloom.data import shards
from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.model.checkpoint import (
    Contents,
    check_keys,
    read_contents,
    read_info,
    weights_hash,
)
from songbloom.model.config import ModelConfig
from songbloom.model.songbloom import SongBloom
from songbloom.stages.summary import Summary, tracks
from songbloom.tables import TrainConfig
from songbloom.training.auxiliary import plain_weights
from songbloom.training.engine import read_weights
from songbloom.training.job import Job
from songbloom.training.lora import merged
from songbloom.training.metrics import read_metrics
from songbloom.training.product import Product
from songbloom.training.run import find_checkpoint, read_run, read_state


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a run, and the job that it is of."""

    folder: Path
    job: Job
    made: Mapping[str, Any]  # run.json
    step: int
    zero: int

    @property
    def average(self) -> bool:
        """Whether the run keeps a moving average of its weights."""
        return self.job.train.ema_decay > 0


def find(
    named: str, *, models: Path, codecs: str | None = None, init_from: str | None = None
) -> Checkpoint | Path:
    """What a name or path means: a checkpoint, or a model folder.

    `models` is where models are installed; `codecs` and `init_from` are named in place of those
    that run.json names. Errors tell what is not there.
    """
    path = Path(named)
    if (path / "adapter.json").exists():
        raise UsageError(
            f"{named}: an adapter, which is no model by itself",
            "Type: songbloom merge-lora BASE ADAPTER -o MODEL. Or export the run that made it.",
        )
    is_run = (path / "run.json").exists() or (path / "state.json").exists()
    return _checkpoint(path, models, codecs, init_from) if is_run else hub.resolve(named, models)


def read(
    source: Checkpoint | Path, *, averaged: bool | None = None, name: str | None = None
) -> Contents:
    """The contents of a model folder, or of the model that a checkpoint holds, LoRA merged.

    `averaged` chooses among a run's weights; None is the average where there is one. `UsageError`
    for an average that was not kept, and for weights of a model folder, which has one kind.
    """
    if isinstance(source, Path):
        if averaged is not None:
            raise UsageError(
                f"{source}: a model folder, which has one kind of weights",
                "Leave --weights out, or name the run that made it.",
            )
        contents = read_contents(source)
        return _described(contents, {"name": name or contents.info["name"]})
    averaged, run, product = _chosen(source, averaged), source.job.run, Product(source.job)
    tensors, row = read_tensors(source, averaged=averaged), _row(run, source.step)
    if product.lora is None:
        expected = {key: tensor.shape for key, tensor in shapes(source.job.model).items()}
        check_keys(expected, tensors, str(source.folder))
    contents, own = product.contents(tensors, run, step=source.step, row=row), name or run.name
    training = {**contents.info["training"], "dataset": data_facts(source)}
    if source.job.init_from is not None and product.lora is not None:  # both or neither
        with tempfile.TemporaryDirectory() as folder:
            adapter = product.write_adapter(tensors, Path(folder))
            contents = merged(source.job.init_from, adapter, own)
    more = {"name": own, "weights": "ema" if averaged else "raw", "training": training}
    return _described(contents, more)


def read_adapter(source: Checkpoint, output: Path, *, averaged: bool | None = None) -> Path:
    """Write the adapter that a checkpoint of a LoRA run holds into a folder, and return it."""
    tensors = read_tensors(source, averaged=_chosen(source, averaged))
    return Product(source.job).write_adapter(tensors, output)


def read_tensors(source: Checkpoint, *, averaged: bool) -> dict[str, Tensor]:
    """A checkpoint's whole fp32 weights, without what only training has. `SongBloomError` where
    they cannot be read."""
    try:
        return plain_weights(
            read_weights(source.folder / "engine", zero=source.zero, averaged=averaged)
        )
    except SongBloomError:
        raise
    except Exception as error:  # whatever torch or DeepSpeed makes of it
        raise SongBloomError(
            f"{source.folder}: cannot be read ({error})", "Name another checkpoint of the run."
        ) from error


def described(source: Checkpoint | Path) -> tuple[ModelConfig, Path]:
    """A source's config, and the model folder that its VAE is in."""
    if isinstance(source, Checkpoint):
        return source.job.model, source.job.codecs
    return ModelConfig.from_dict(read_info(source)["config"], str(source / "model.json")), source


def shapes(config: ModelConfig) -> dict[str, Tensor]:
    """A model's tensors without memory, on the meta device."""
    with torch.device("meta"):
        return SongBloom(config).state_dict()


def data_facts(source: Checkpoint) -> dict[str, Any]:
    """What a run was trained on: songs, hours, hash; licences by hours where the set is still
    there and is the same."""
    dataset = dict(source.made["dataset"])
    folder = Path(source.job.train.data or "")
    try:
        info = shards.read_info(folder)
        if info.dataset_hash != dataset["hash"]:
            return dataset
        dataset["hours"] = round(info.hours, 4)
        summary = Summary()
        for track in tracks(folder):
            summary.add(track)
        dataset["licences"] = summary.licences.rows()
    except SongBloomError:  # moved since, or not made by `prepare`
        pass
    return dataset


def _checkpoint(path: Path, models: Path, codecs: str | None, init_from: str | None) -> Checkpoint:
    folder = find_checkpoint(path).resolve()
    state, run = read_state(folder), folder.parent.parent
    made = read_run(run)
    try:
        train, model = TrainConfig(**made["train"]), ModelConfig.from_dict(made["model"])
        dataset = made["dataset"]
    except (TypeError, KeyError) as error:
        raise SongBloomError(
            f"{run / 'run.json'}: not a description of a run ({error})",
            "Export it with the version of songbloom that made it.",
        ) from error
    start = init_from or train.init_from
    base = None if start is None else _resolved(start, models, "--init-from")
    if codecs is None and base is not None and train.codecs == TrainConfig().codecs:
        own = base  # as `train` chooses
    else:
        own = _resolved(codecs or train.codecs, models, "--codecs")
    if base is not None and made.get("base") not in (None, weights_hash(read_info(base))):
        raise SongBloomError(
            f"{base}: another model than the one that the run began from ({made['base'][:12]})",
            "Name the folder of that model: --init-from MODEL",
        )
    vae = dataset.get("vae_hash")
    if vae not in (None, "unknown", read_info(own)["sha256"]["vae.safetensors"]):
        raise SongBloomError(
            f"{own}: another VAE than the one that made the run's training set ({vae[:12]})",
            "Name the model folder that the training had as codecs: --codecs MODEL",
        )
    job = Job(train=train, model=model, run=run, codecs=own, init_from=base)
    return Checkpoint(folder, job, made, state.step, state.zero)


def _resolved(named: str, models: Path, flag: str) -> Path:
    try:
        return hub.resolve(named, models)
    except MissingAssetError as error:
        raise MissingAssetError(
            f"{error.message}; the run was trained with it",
            f"Name where it is now: {flag} MODEL",
        ) from error


def _chosen(source: Checkpoint, averaged: bool | None) -> bool:
    if averaged and not source.average:
        raise UsageError(
            f"{source.job.run}: keeps no average of its weights (ema_decay 0)",
            "Take the weights as they are: --weights raw",
        )
    return source.average if averaged is None else averaged


def _row(run: Path, step: int) -> dict[str, Any]:
    """The metrics of a step; empty where they are gone."""
    rows = deque((row for row in read_metrics(run) if row["step"] <= step), maxlen=1)
    return rows[0] if rows else {}


def _described(contents: Contents, more: Mapping[str, Any]) -> Contents:
    return dataclasses.replace(contents, info={**contents.info, **more})
