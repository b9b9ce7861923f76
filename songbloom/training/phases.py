"""The embedded SongBloom's trainer, in phases that each move only what they teach.

* read: the sketch transformer on scores (no audio, milliseconds a song), with the reading losses
* listen: the same on songs with audio: latents between the patches, a reference before the lyrics
* paint: the DiT on those songs, hearing the hidden vectors of a sketch transformer at rest
* sing: both at once, the flow loss reaching the sketch transformer through the hidden vectors

Each phase resumes from the last checkpoint of its own folder, and its data are a pure function of
(seed, step), so a killed run ends in the same weights as an undisturbed one.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from songbloom.errors import SongBloomError
from songbloom.files import write_text
from songbloom.model.config import ModelConfig
from songbloom.model.patches import patchify, sketch_targets
from songbloom.model.songbloom import Losses, Predictions, SongBloom, draw_flow
from songbloom.synth.score import compose
from songbloom.training.auxiliary import ReadingLosses, prepare_tables
from songbloom.training.examples import Example, TrainingBatch, collate, from_score
from songbloom.training.optim import build_optimizer, set_learning_rate, trapezoid
from songbloom.training.state import load_state, save_state

Phase = Literal["read", "listen", "paint", "sing"]


@dataclass(frozen=True)
class TrainConfig:
    """One phase of a run. `frames_per_step` bounds a batch by its padded frames."""

    model: ModelConfig
    phase: Phase
    steps: int
    seed: int = 0
    frames_per_step: int = 1600
    learning_rate: float = 1e-3
    warmup: int = 50
    decay_from: float = 0.5
    corruption: float = 0.03
    mandarin: float = 0.25
    guidance_weight: float = 0.3
    symbol_weight: float = 0.3
    flow_weight: float = 1.0
    grad_clip: float = 1.0
    save_every: int = 100
    curriculum: tuple[tuple[float, int, int], ...] = field(
        # (until this share of the steps, fewest lines, most lines)
        default=((0.15, 1, 2), (0.45, 1, 4), (1.0, 2, 8))
    )


def train(
    config: TrainConfig,
    run: Path,
    *,
    examples: Sequence[Example] = (),
    init_from: Path | None = None,
    on_log: Callable[[dict[str, Any]], None] = lambda row: None,
) -> Path:
    """Run a phase to its last step, continuing where the folder's checkpoint stopped.

    `examples` are the songs with latents (all phases but read). `init_from` is another phase's
    checkpoint, whose weights (not optimizers) this one starts from. Returns the checkpoint.
    """
    trainer = Trainer(config, examples)
    checkpoint = Path(run) / "state.safetensors"
    step = trainer.resume(checkpoint, init_from)
    write_text(Path(run) / "train.json", json.dumps(dataclasses.asdict(config), indent=1))
    while step < config.steps:
        started_at = time.monotonic()
        row = trainer.step(step)
        step += 1
        if step % config.save_every == 0 or step == config.steps:
            trainer.save(checkpoint, step)
        on_log({"step": step, **row, "seconds": time.monotonic() - started_at})
    return checkpoint


class Trainer:
    """Model, training-only losses and optimizers of one phase."""

    def __init__(self, config: TrainConfig, examples: Sequence[Example]) -> None:
        if config.phase != "read" and not examples:
            raise SongBloomError(f"training phase '{config.phase}' needs songs with latents")
        self.config, self.examples = config, examples
        generator = torch.Generator().manual_seed(config.seed)
        self.model = SongBloom(config.model)
        self.model.init_weights(generator)
        prepare_tables(self.model, generator)
        self.reading = ReadingLosses(config.model)
        for head in (self.reading.next_symbol, self.reading.brought_symbol):
            nn.init.normal_(head.weight, std=0.02, generator=generator)
            nn.init.zeros_(head.bias)
        self.reading.watch(self.model)
        self._freeze_unused()
        self.modules: dict[str, nn.Module] = {"model": self.model, "reading": self.reading}
        self.optimizer: Optimizer = build_optimizer(self.modules.values(), config.learning_rate)

    def _freeze_unused(self) -> None:
        """A phase moves only the half it teaches."""
        for name, parameter in self.model.named_parameters():
            flow = name.startswith("dit.")
            parameter.requires_grad_(self.config.phase == "sing" or flow == self._paints)

    @property
    def _paints(self) -> bool:
        return self.config.phase == "paint"

    def resume(self, checkpoint: Path, init_from: Path | None) -> int:
        """Load this phase's checkpoint, or another's weights; the step to go on from."""
        if checkpoint.exists():
            return load_state(
                checkpoint, modules=self.modules, optimizers={"adam": self.optimizer}
            )[0]
        if init_from is not None:
            load_state(init_from, modules=self.modules, optimizers={})
        return 0

    def save(self, checkpoint: Path, step: int) -> None:
        """Write the state after `step` steps."""
        save_state(checkpoint, step=step, modules=self.modules, optimizers={"adam": self.optimizer})

    def step(self, step: int) -> dict[str, float]:
        """One optimizer step; the losses by name. A loss that is not finite stops the run."""
        config = self.config
        factor = trapezoid(step, config.steps, warmup=config.warmup, decay_from=config.decay_from)
        set_learning_rate(self.optimizer, factor * config.learning_rate)
        losses = self.losses(step)
        total = losses["total"]
        if not torch.isfinite(total):
            raise SongBloomError(f"step {step}: the loss is {total.item()}", "Lower the rates.")
        total.backward()
        parameters = [p for m in self.modules.values() for p in m.parameters()]
        nn.utils.clip_grad_norm_(parameters, config.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {name: value.item() for name, value in losses.items()}

    def losses(self, step: int) -> dict[str, Tensor]:
        """Losses of step number `step`, whose data depend on nothing else but the seed."""
        rng = np.random.default_rng([self.config.seed, step])
        chosen = self._choose(step, rng)
        batch = collate(
            chosen,
            self.config.model,
            rng,
            corruption=self.config.corruption,
            with_reference=self.config.phase != "read",
        )
        return self._paint(batch, step) if self._paints else self._sing(batch, step)

    def _choose(self, step: int, rng: np.random.Generator) -> list[Example]:
        """Songs up to the frame budget: newly composed ones to read, or some of the corpus."""
        chosen: list[Example] = []
        while True:
            song = self._read_song(step, rng) if self.config.phase == "read" else self._song(rng)
            longest = max(example.num_frames for example in [*chosen, song])
            if chosen and longest * (len(chosen) + 1) > self.config.frames_per_step:
                return chosen
            chosen.append(song)

    def _read_song(self, step: int, rng: np.random.Generator) -> Example:
        share = step / self.config.steps
        low, high = next((lo, hi) for end, lo, hi in self.config.curriculum if share < end)
        index = int(rng.integers(0, 2**31))
        lines = int(rng.integers(low, high + 1))
        language = "zh" if rng.random() < self.config.mandarin else "en"
        score = compose(self.config.seed + 1_000, index, num_lines=lines, language=language)
        return from_score(score)

    def _song(self, rng: np.random.Generator) -> Example:
        return self.examples[int(rng.integers(0, len(self.examples)))]

    def _sing(self, batch: TrainingBatch, step: int) -> dict[str, Tensor]:
        """The sketch loss with its reading losses, and in the phase "sing" the flow loss."""
        outputs, hidden, reading = self._listen(batch)
        logits = self.model.sketch_lm.head(outputs)
        if self.config.phase != "sing":
            sketch = self._sketch_loss(logits, batch)
            return {"total": sketch + sum(reading.values()), "sketch": sketch, **reading}
        losses = self._flow(batch, hidden, logits, step)
        total = losses.sketch + self.config.flow_weight * losses.flow + sum(reading.values())
        return {"total": total, "sketch": losses.sketch, "flow": losses.flow, **reading}

    def _paint(self, batch: TrainingBatch, step: int) -> dict[str, Tensor]:
        """The flow loss alone."""
        with torch.no_grad():
            outputs, hidden, _ = self._listen(batch)
            logits = self.model.sketch_lm.head(outputs)
        flow = self._flow(batch, hidden, logits, step).flow
        return {"total": flow, "flow": flow}

    def _listen(self, batch: TrainingBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Predicting outputs, hidden vectors and reading losses of the sketch transformer."""
        model, config = self.model, self.config.model
        latents = patchify(batch.batch.latents, config.patch_size)
        sketch = patchify(model.sketch_lm.embedding(batch.corrupted), config.patch_size)
        # Without audio there is no reference to attend to.
        lyrics_at = 0 if self.config.phase == "read" else config.reference_frames
        prefix = model.prefix(batch.batch.conditions)[:, config.reference_frames - lyrics_at :]
        outputs, hidden = model.listen(sketch, latents, prefix)
        return outputs, hidden, self._reading(batch, outputs, lyrics_at, prefix.shape[1])

    def _flow(self, batch: TrainingBatch, hidden: Tensor, logits: Tensor, step: int) -> Losses:
        """The model's own losses at this step's draws; the DiT gets the true sketch."""
        model, size = self.model, self.config.model.patch_size
        draws = self._draws(batch, step)
        clean = patchify(model.sketch_lm.embedding(batch.batch.sketch), size)
        velocity = model.paint(clean, patchify(batch.batch.latents, size), hidden, draws)
        return model.losses(Predictions(logits, velocity, hidden), batch.batch, draws)

    def _draws(self, batch: TrainingBatch, step: int) -> Any:
        rows, frames = batch.batch.sketch.shape
        generators = [
            torch.Generator().manual_seed(hash((self.config.seed, step, row)) & (2**63 - 1))
            for row in range(rows)
        ]
        return draw_flow(self.config.model, frames // self.config.model.patch_size, generators)

    def _reading(
        self, batch: TrainingBatch, outputs: Tensor, lyrics_at: int, bos_at: int
    ) -> dict[str, Tensor]:
        looked, brought = self.reading.attention_losses(
            self.model, batch.next_symbol, batch.next_id, lyrics_at=lyrics_at, bos_at=bos_at
        )
        symbol = self.reading.symbol_loss(outputs, batch.next_id)
        return {
            "guidance": self.config.guidance_weight * looked,
            "brought": self.config.symbol_weight * brought,
            "symbol": self.config.symbol_weight * symbol,
        }

    def _sketch_loss(self, logits: Tensor, batch: TrainingBatch) -> Tensor:
        eos, ignore = self.config.model.eos_id, self.config.model.ignore_id
        targets = sketch_targets(
            batch.batch.sketch, batch.batch.lengths, eos_id=eos, ignore_id=ignore
        )
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=ignore)
