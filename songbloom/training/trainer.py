"""The training loop: batches in, a run folder out. The same on one CPU and on many GPUs.

A step's numbers do not depend on how its songs are spread over ranks and micro batches: both losses
are means over all frames of the step, and everything random about a song is drawn from a seed of
its own. A stopped run goes on where it was, to the bit where nothing but the stop has changed.
"""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from songbloom.data.dataset import Dataset
from songbloom.data.loader import Loader, MicroBatch
from songbloom.data.shards import open_shards
from songbloom.errors import SongBloomError, UsageError
from songbloom.training import planner
from songbloom.training.engine import EngineSettings, build_engine, rank, world_size
from songbloom.training.job import Job, Outcome, crop_frames, product_dtype
from songbloom.training.metrics import MetricsLog, read_metrics, throughput
from songbloom.training.optim import AdamWSettings, ema_decay, warmup_cosine
from songbloom.training.product import Product
from songbloom.training.run import Run, TrainState, find_checkpoint, read_state
from songbloom.training.signals import StopRequest
from songbloom.training.step import (
    Sums,
    batch_to_device,
    count_targets,
    keys_of_step,
    share,
    sum_over_ranks,
)
from songbloom.training.validation import hold_out, samples, validate

Event = dict[str, Any]


def train(job: Job, device: torch.device, on_event: Callable[[Event], None]) -> Outcome:
    """Train to `max_steps`, or until SIGTERM or SIGINT; every rank calls it in a process group.

    `on_event` hears of steps, checkpoints, validation and samples, on rank 0. `SongBloomError` for
    data, models and checkpoints that do not fit each other, and for a loss that is not finite.
    """
    with StopRequest() as stop, closing(Run(job.run)) as run:  # also when building fails
        return Trainer(job, run, device, on_event if rank() == 0 else _nobody).train(stop)


class Trainer:
    """Everything a run needs, built and resumed."""

    def __init__(
        self, job: Job, run: Run, device: torch.device, on_event: Callable[[Event], None]
    ) -> None:
        self.job, self.run, self.device, self.on_event = job, run, device, on_event
        self.config, self.settings = job.model, job.train
        self.product = Product(job)
        self.dataset, self.held_out = self._open_data()
        self.loader = self._loader()
        self.model = self.product.build(self.dataset.info.header.codebook_hash)
        for message in self.product.warnings:
            self.on_event({"event": "warning", "message": message})
        self._tune_blocks()
        parameters = list(self.model.parameters())  # counted before an engine shares them out
        self._trained = sum(p.numel() for p in parameters if p.requires_grad)
        self._trained_share = self._trained / sum(p.numel() for p in parameters)
        self.engine = build_engine(self.model, self._engine_settings(), device)
        self.state = TrainState(zero=self.settings.zero)
        self._resume()

    def train(self, stop: StopRequest) -> Outcome:
        """The loop: a step, and once in a while validation, a checkpoint, a song."""
        settings, row = self.settings, dict[str, float]()
        last = min(settings.max_steps or settings.steps, settings.steps)
        self.on_event({"event": "started", "step": self.state.step, "of": last, **self._facts()})
        log, batches = self._open_log(), iter(self.loader)
        while self.state.step < last and not stop.requested:
            started_at = time.monotonic()
            micro_batches = next(batches)
            row = self.step(micro_batches, stop)
            row |= self._speed(micro_batches, time.monotonic() - started_at)
            due = self._due(settings.validate_every) or self.state.step == settings.steps
            if self.held_out is not None and due:  # not at a stop, which must leave no trace
                row |= self._validate(self.held_out)
            log.write(row)
            self.on_event({"event": "step", "of": last, **row})
            if stop.requested or self.state.step == last or self._due(settings.save_every):
                log.sync()
                self._save(row)
            if self.held_out is not None and self._due(settings.sample_every):
                self._sing(self.held_out)
        log.close()
        over = self.state.step >= last
        return Outcome(self.state.step, not over, row, self._finish() if over else None)

    def step(self, micro_batches: Sequence[MicroBatch], stop: StopRequest) -> dict[str, float]:
        """One update from this rank's micro batches; the step's row of metrics."""
        weight = self.config.objective.flow_weight
        counts, sums = count_targets(micro_batches, self.config), Sums()
        for index, micro_batch in enumerate(micro_batches):
            batch, draws = batch_to_device(
                micro_batch, self.config, self.device, self.settings.corrupt_sketch
            )
            losses = self.engine.losses(batch, draws, last=index == len(micro_batches) - 1)
            self._check_finite(losses.total, micro_batch)
            self.engine.backward(share(losses, counts, weight) * world_size())
            sums = sums.plus(losses)
        rate, norm = self._update(micro_batches)
        *total, asked = sum_over_ranks([*sums, float(stop.asked)])
        stop.requested = asked > 0  # every rank stops at the same step
        self.state = dataclasses.replace(
            self.state, step=self.state.step + 1, loader=self.loader.state_dict()
        )
        named = {**Sums(*total).named(weight), "lm_chance": self._chance}
        epoch = self.state.loader["consumed"] / len(self.dataset)
        return {"step": self.state.step, **named, "lr": rate, "grad_norm": norm, "epoch": epoch}

    def _update(self, micro_batches: Sequence[MicroBatch]) -> tuple[float, float]:
        """Move the weights; learning rate and gradient norm."""
        settings, step = self.settings, self.state.step
        factor = warmup_cosine(step, settings.steps, warmup=settings.warmup_steps)
        rate = settings.learning_rate * factor
        try:
            return rate, self.engine.step(rate, ema_decay(step, settings.ema_decay))
        except FloatingPointError as error:
            raise self._not_finite(str(error), keys_of_step(micro_batches)) from error

    def _check_finite(self, loss: torch.Tensor, micro_batch: MicroBatch) -> None:
        if not torch.isfinite(loss):
            raise self._not_finite(f"the loss is {loss.item()}", micro_batch.keys)

    def _not_finite(self, what: str, keys: Sequence[str]) -> SongBloomError:
        return SongBloomError(
            f"step {self.state.step + 1}: {what}; nothing was updated. "
            f"Songs of the batch: {', '.join(keys)}",
            "Restore these songs' shards and type the same again; or go on in another run with a "
            f"lower --lr: -o OTHER --resume {self.run.folder}",
        )

    def _open_data(self) -> tuple[Dataset, Dataset | None]:
        settings, config = self.settings, self.config
        assert settings.data is not None, "a job names its training set: see start.make_job"
        corrupt: Any = settings.on_corrupt
        shards = open_shards(Path(settings.data), corrupt=corrupt)
        for reason in shards.skipped:
            self.on_event({"event": "warning", "message": f"left out: {reason}"})
        reference: Any = settings.reference
        dataset = Dataset(
            shards,
            config,
            max_frames=crop_frames(settings, config),
            reference=reference,
            codebook_hash=self.product.codebook_hash,
            vae_hash=self.product.vae_hash,
        )
        _check_same_everywhere(dataset)
        described = {
            "hash": shards.info.dataset_hash,
            "songs": len(shards),
            "hours": round(shards.info.hours, 4),
            "codebook_hash": shards.info.header.codebook_hash,
            "vae_hash": shards.info.header.vae_hash,
        }
        self.run.begin(self.job, dataset=described)
        return hold_out(dataset, min(settings.validation_songs, len(dataset) // 10))

    def _loader(self) -> Loader:
        return Loader(
            self.dataset,
            global_batch=self.settings.batch_size,
            micro_batch=self.settings.micro_batch,
            rank=rank(),
            world_size=world_size(),
            seed=self.settings.seed,
            workers=self.settings.workers,
        )

    def _tune_blocks(self) -> None:
        for transformer in (self.model.sketch_lm, self.model.dit):
            transformer.activation_checkpointing = self.settings.activation_checkpointing
            if self.settings.compile:
                for block in transformer.layers:
                    block.compile()

    def _engine_settings(self) -> EngineSettings:
        s = self.settings
        return EngineSettings(
            optimizer=AdamWSettings(s.weight_decay, s.beta1, s.beta2),
            grad_clip=s.grad_clip,
            average=s.ema_decay > 0,
            accumulation=self.loader.accumulation,
            zero=s.zero,
            shard=s.shard,
            bfloat16=self._dtype == "bfloat16",
        )

    @property
    def _chance(self) -> float:
        """The sketch loss of one who knows nothing: ln of the codebook's size."""
        return math.log(max(1, self.config.sketch_vocab_size))

    @property
    def _dtype(self) -> str:
        return product_dtype(self.settings, on_gpu=self.device.type == "cuda")

    def _resume(self) -> None:
        checkpoint = self._checkpoint()
        if checkpoint is None:
            return
        state = read_state(checkpoint)
        if state.zero != self.settings.zero:
            raise SongBloomError(
                f"{checkpoint}: written with --zero {state.zero}, not {self.settings.zero}",
                f"Go on with --zero {state.zero}, or begin a new run with --init-from.",
            )
        self.loader.load_state_dict(dict(state.loader))
        self._load(checkpoint)
        if checkpoint.parent == self.run.checkpoints:
            self.run.point(state)
        else:  # another run's best is not here
            state = dataclasses.replace(state, best_loss=None, best_step=None)
        self.state = state
        self.on_event({"event": "resumed", "step": state.step, "checkpoint": str(checkpoint)})

    def _checkpoint(self) -> Path | None:
        """What to go on from: the run's latest, else what `--resume` names."""
        latest, named = self.run.latest(), self.job.resume
        if latest is None:
            return None if named is None else find_checkpoint(named)
        own = named is not None and named.resolve().parent == self.run.checkpoints.resolve()
        if named is not None and own and named.name != latest.name:
            raise UsageError(
                f"{named}: this run has gone on to {latest.name}",
                "Begin another run from it: add another -o.",
            )
        return latest

    def _load(self, checkpoint: Path) -> None:
        try:
            self.engine.load(checkpoint / "engine")
        except SongBloomError:
            raise
        except Exception as error:  # whatever torch or DeepSpeed makes of it
            own = checkpoint.parent == self.run.checkpoints
            raise SongBloomError(
                f"{checkpoint}: cannot be loaded ({error})",
                "Delete this folder, and the run goes on from the checkpoint before it."
                if own
                else "Name another checkpoint, or train with the settings that this one has.",
            ) from error

    def _open_log(self) -> MetricsLog:
        return MetricsLog(
            self.run.folder,
            step=self.state.step,
            rank=rank(),
            tensorboard=None if self.settings.tensorboard else False,
            wandb_project=self.settings.wandb,
        )

    def _facts(self) -> Event:
        return {
            "run": str(self.run.folder),
            "songs": len(self.dataset),
            "held_out": 0 if self.held_out is None else len(self.held_out),
            "trained_parameters": self._trained,
            "ranks": world_size(),
            "device": self.device.type,
            "dtype": self._dtype,
        }

    def _speed(self, micro_batches: Sequence[MicroBatch], seconds: float) -> dict[str, float]:
        shapes = [(len(m.keys), m.batch.sketch.shape[1]) for m in micro_batches]
        frames = sum(m.num_frames for m in micro_batches) * world_size()
        peak = None
        if self.device.type == "cuda":
            known = planner.recognise(torch.cuda.get_device_name(self.device))
            peak = planner.peak_tflops(known, self._dtype) if known else None
        return throughput(
            self.config,
            seconds=seconds,
            shapes=shapes,
            frames=frames,
            world_size=world_size(),
            peak_tflops=peak,
            trained=self._trained_share,
        )

    def _due(self, every: int) -> bool:
        return every > 0 and self.state.step % every == 0

    def _validate(self, held_out: Dataset) -> dict[str, float]:
        sums = validate(self.engine, held_out, self.settings.seed, self.device)
        named = sums.named(self.config.objective.flow_weight)
        return {f"validation_{name}": value for name, value in named.items()}

    def _save(self, row: dict[str, float]) -> None:
        loss, best = row.get("validation_loss"), self.state.best_loss
        better = loss is not None and loss < (math.inf if best is None else best)
        if better:
            self.state = dataclasses.replace(self.state, best_loss=loss, best_step=self.state.step)
        checkpoint = self.run.save(self.state, self.engine.save, self.settings)
        self.on_event({"event": "saved", "step": self.state.step, "checkpoint": str(checkpoint)})

    def _sing(self, held_out: Dataset) -> None:
        """Songs of held-out lyrics with the weights as they would be exported now."""
        weights = self.engine.weights(averaged=self.settings.ema_decay > 0)
        if rank() == 0:
            chosen = samples(held_out, self.settings.seed)[: self.settings.samples]
            folder = self.run.folder / "samples" / f"step-{self.state.step:08d}"
            files = self.product.sing(weights, chosen, folder, self.device)
            self.on_event({"event": "sampled", "step": self.state.step, "files": files})

    def _finish(self) -> Path | None:
        """Write the model (or the adapter) that came out."""
        weights = self.engine.weights(averaged=self.settings.ema_decay > 0)
        if rank() != 0:
            return None
        rows = deque(read_metrics(self.run.folder), maxlen=1)  # perhaps an earlier process's
        row = rows[0] if rows else {}
        return self.product.write(weights, self.run.folder, step=self.state.step, row=row)


def _check_same_everywhere(dataset: Dataset) -> None:
    """`SongBloomError` where the ranks' copies of the dataset differ: so would their order."""
    own = float(dataset.fingerprint % 2**40)  # exact in a sum over thousands of ranks
    if sum_over_ranks([own])[0] != own * world_size():
        raise SongBloomError(
            f"{dataset.shards.folder}: not the same songs on all machines",
            "Copy the dataset again to the machine that skipped a shard, or share one copy.",
        )


def _nobody(event: Event) -> None:
    pass
