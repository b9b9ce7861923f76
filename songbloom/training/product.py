"""What a run makes: a model folder, or with LoRA an adapter; and songs on the way.

The VAE and the sketch codec are those that made the training set (`Job.codecs`): their hashes are
what the dataset is checked against, and the new model folder gets copies of them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from songbloom import audio
from songbloom.data.dataset import Sample
from songbloom.errors import UsageError
from songbloom.generation.decode import decode
from songbloom.generation.draws import CounterDraws
from songbloom.generation.engine import generate_patches
from songbloom.lyrics.frontends import vocabulary
from songbloom.model.checkpoint import (
    VAE,
    Contents,
    build_vae,
    load_tensors,
    load_weights,
    read_info,
    write_contents,
)
from songbloom.model.seedling_vae import SeedlingVAE
from songbloom.model.songbloom import SongBloom
from songbloom.tables import TrainConfig
from songbloom.training.auxiliary import (
    AssistedSongBloom,
    factor_tables,
    init_auxiliary,
    init_tables,
    plain_weights,
)
from songbloom.training.initialise import init_from
from songbloom.training.job import Job
from songbloom.training.lora import LoraConfig, add_lora, is_lora, merge_lora, save_lora
from songbloom.training.metrics import TIME_FIELDS
from songbloom.training.run import read_run
from songbloom.units import SAMPLE_RATE, Frames, frames_to_seconds

_LICENCE = "that of the songs it was trained on: whoever trained it knows"


class Product:
    """Where the weights start, and what they end as."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.codecs = read_info(job.codecs)
        self.vae_hash: str = self.codecs["sha256"]["vae.safetensors"]
        known = self.codecs.get("codebook_hash")
        self.codebook_hash: str | None = known if known != "unknown" else None
        self.lora = LoraConfig(rank=job.train.lora) if job.train.lora else None
        self.warnings: list[str] = []
        if self.lora is not None and job.init_from is None:
            raise UsageError("--lora: adapts a model, and none is named", "Add --init-from MODEL.")
        if self.lora is not None and job.train.reset_sketch:
            raise UsageError(
                "--lora with --reset-sketch: an adapter leaves the redrawn tables as they are",
                "Leave one of them out.",
            )
        excluded = _not_with_reading(job.train)
        if assistance(job.train) and excluded:
            raise UsageError(
                f"[train] reading, listening or counting with {excluded[0]}: they look into whole "
                "layers",
                "Leave one of them out.",
            )

    def build(self, codebook_hash: str) -> SongBloom:
        """The model with its first weights, drawn from the run's seed where no model gives them.

        `codebook_hash` is the training set's.
        """
        self.codebook_hash = codebook_hash  # that of the codecs, where theirs is known
        train = self.job.train
        generator = torch.Generator().manual_seed(train.seed)
        model = self._empty()
        model.init_weights(generator)
        if self.job.init_from is not None:
            self.warnings = init_from(
                model,
                self.job.init_from,
                vocabulary=vocabulary(self.job.model.frontend),
                codebook_hash=codebook_hash,
                reset_sketch=train.reset_sketch,
                generator=generator,
            )
        if self.lora is not None:
            add_lora(model, self.lora, generator)
            self.warnings += self.lora.warnings
        self._add_help(model, generator)
        if not self.job.model.objective.flow_weight:
            model.dit.requires_grad_(False)  # nothing of the loss reaches it
        if train.freeze:
            freeze(model, train.freeze.split(","))
        if train.weigh_channels:
            model.channel_weights = self._channel_weights()
        return model

    def _channel_weights(self) -> Tensor:
        vae = self._vae()
        if not isinstance(vae, SeedlingVAE):
            raise UsageError(
                f"[train] weigh_channels: the {self.codecs['vae']['kind']} VAE of "
                f"{self.job.codecs} does not tell how much of the sound each channel moves",
                "Leave it out.",
            )
        return vae.channel_weights

    def _vae(self) -> VAE:
        vae = build_vae(self.codecs["vae"])
        tensors = load_tensors(self.job.codecs / "vae.safetensors")
        load_weights(vae, tensors, self.job.codecs, torch.float32)
        return cast(VAE, vae.eval())

    def _empty(self) -> SongBloom:
        """The model, with training-only losses where they are asked for."""
        model, train = self.job.model, self.job.train
        if assistance(train):
            return AssistedSongBloom(model, train.reading, train.listening, train.counting)
        return SongBloom(model)

    def _add_help(self, model: SongBloom, generator: torch.Generator) -> None:
        """What only training has: see `songbloom.training.auxiliary`."""
        if isinstance(model, AssistedSongBloom):
            init_auxiliary(model, generator)
        if self.job.train.factored_sketch:
            factor_tables(model)
            if self.job.init_from is None:
                init_tables(model, generator)

    def write(
        self, weights: Mapping[str, Tensor], run: Path, *, step: int, row: Mapping[str, float]
    ) -> Path:
        """The model folder, or the adapter folder, from whole fp32 weights."""
        weights = plain_weights(weights)
        if self.lora is not None:
            return self.write_adapter(weights, run / "adapter")
        write_contents(run / "model", self.contents(weights, run, step=step, row=row))
        return run / "model"

    def write_adapter(self, weights: Mapping[str, Tensor], folder: Path) -> Path:
        """The adapter folder of a training with LoRA."""
        assert self.lora is not None and self.job.init_from is not None, "a training without LoRA"
        adapter = {name: tensor for name, tensor in weights.items() if is_lora(name)}
        save_lora(folder, adapter, self.lora, read_info(self.job.init_from))
        return folder

    def contents(
        self, weights: Mapping[str, Tensor], run: Path, *, step: int, row: Mapping[str, float]
    ) -> Contents:
        """What the model folder is written from, from whole fp32 weights."""
        made = read_run(run)
        return Contents(
            info={
                "name": run.resolve().name,
                "licence": self._licence(),
                "sketch_kind": self.codecs.get("sketch_kind", "unknown"),
                "codebook_hash": self.codebook_hash
                or made["dataset"].get("codebook_hash", "unknown"),
                "training": {
                    **{key: made[key] for key in ("train", "dataset", "songbloom", "git", "torch")},
                    "step": step,
                    "last_row": {k: v for k, v in row.items() if k not in TIME_FIELDS},
                },
            },
            config=self.job.model,
            vocabulary=vocabulary(self.job.model.frontend),
            songbloom=weights,
            vae=load_tensors(self.job.codecs / "vae.safetensors"),
            vae_info=self.codecs["vae"],
            notice=self._notice(),
            codec=self.job.codecs,
        )

    def _licence(self) -> str:
        """A model that began as another one is bound by that one's licence too."""
        if self.job.init_from is None:
            return _LICENCE
        theirs = str(read_info(self.job.init_from).get("licence", "unknown"))
        return theirs if theirs.endswith(_LICENCE) else f"{theirs}; and {_LICENCE}"

    def _notice(self) -> str:
        path = None if self.job.init_from is None else self.job.init_from / "NOTICE.txt"
        return path.read_text("utf-8") if path is not None and path.exists() else ""

    def sing(
        self,
        weights: Mapping[str, Tensor],
        samples: Sequence[Sample],
        folder: Path,
        device: torch.device,
    ) -> list[str]:
        """A FLAC file of each sample's lyrics and reference, at most as long as the sample."""
        model = self._plain(weights, device)
        vae = self._vae().to(device)
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for number, sample in enumerate(samples):
            latents = _sing(model, sample, self.job.train.seed + number)
            path = folder / f"{number}.flac"
            audio.save(path, decode(vae, latents).numpy(), SAMPLE_RATE)
            files.append(str(path))
        return files

    def _plain(self, weights: Mapping[str, Tensor], device: torch.device) -> SongBloom:
        """A model for inference with these weights, LoRA's added in."""
        model = SongBloom(self.job.model)
        if self.lora is not None:
            add_lora(model, self.lora, torch.Generator())
        model.load_state_dict(plain_weights(weights))
        merge_lora(model)
        return model.to(device).eval().requires_grad_(False)


def freeze(model: SongBloom, parts: Sequence[str]) -> None:
    """Keep the parameters whose names begin with one of `parts`, at a dot, as they are.

    `UsageError` for a part that the model does not have, or when nothing is left to train.
    """
    for part in parts:
        found = [p for name, p in model.named_parameters() if f"{name}.".startswith(f"{part}.")]
        if not found:
            known = ", ".join(name for name, _ in model.named_children())
            raise UsageError(
                f"--freeze {part}: no weights of the model are called so",
                f"Name one of {known}, or a part of one, like conditioner.lyrics.",
            )
        for parameter in found:
            parameter.requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        raise UsageError("--freeze: nothing is left to train", "Name fewer parts.")


def assistance(train: TrainConfig) -> bool:
    """Whether training-only losses are asked for that look into layers."""
    return bool(train.reading or train.listening or train.counting)


def _not_with_reading(train: TrainConfig) -> list[str]:
    """Settings in use that share out, replace or recompute the layers that reading looks into."""
    used = {
        "--shard": train.shard,
        "--zero 3": train.zero == 3,
        "--activation-checkpointing": train.activation_checkpointing,
        "--lora": train.lora,
    }
    return [name for name, value in used.items() if value]


def _sing(model: SongBloom, sample: Sample, seed: int) -> Tensor:
    """Latents `[T, C]` in the sample's conditions."""
    frames: Frames = len(sample.sketch)
    sampling = dataclasses.replace(model.config.sampling, max_duration=frames_to_seconds(frames))
    patches = generate_patches(model, [sample.conditions], sampling, [CounterDraws(seed)])
    latents = [patch.latents for step in patches for patch in step]
    return torch.cat([torch.zeros(0, model.config.latent_dim), *latents])
