"""A run: the folder that a training leaves, and goes on from.

    run.json             what was asked: model, settings, command, versions, dataset
    metrics.jsonl        a row a step (songbloom.training.metrics)
    checkpoints/step-N/  engine/ (weights, optimizer, average) and state.json, whole or not there
    latest, best         names of checkpoints, the best by validation loss
    samples/step-N/      songs from held-out lyrics
    model/ or adapter/   what `songbloom generate` or `songbloom merge-lora` takes

Only rank 0 writes, but for the engine's own files.
"""

import dataclasses
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

import songbloom
from songbloom.errors import SongBloomError, UsageError
from songbloom.files import lock, write_text
from songbloom.model.checkpoint import read_info, weights_hash
from songbloom.tables import TrainConfig
from songbloom.training.engine import barrier, rank, world_size
from songbloom.training.job import FREE, Job, flat


@dataclass(frozen=True)
class TrainState:
    """Where a run stands, beside the engine's part: finished steps, the loader, the best so far
    (the lowest validation loss, and the step of its checkpoint)."""

    step: int = 0
    loader: Mapping[str, int] = dataclasses.field(default_factory=dict)
    best_loss: float | None = None
    best_step: int | None = None
    zero: int = 0


class Run:
    """A run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.checkpoints = self.folder / "checkpoints"
        self._lock: IO[str] | None = None

    def begin(self, job: Job, dataset: Mapping[str, Any]) -> None:
        """Write run.json, or see that the run that is here was asked for the same.

        From here to `close` no other training may begin here. `UsageError` names the settings that
        differ in what is learnt; `SongBloomError` where another process trains.
        """
        if rank() == 0:
            self._lock = lock(
                self.folder,
                SongBloomError(
                    f"{self.folder}: another process is training here",
                    "Wait for it to end, stop it, or choose another run folder with -o.",
                ),
            )
        asked = {"train": dataclasses.asdict(job.train), "model": job.model.to_dict()}
        if (self.folder / "run.json").exists():
            self._check_same(read_run(self.folder), asked)
        if rank() == 0 and self.latest() is None:
            base = None if job.init_from is None else weights_hash(read_info(job.init_from))
            made = {"dataset": dict(dataset), "base": base, "command": list(job.command)}
            described = {**asked, **made, **_versions()}
            write_text(self.folder / "run.json", json.dumps(described, indent=1) + "\n")
        barrier()

    def _check_same(self, found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        was = flat({key: found.get(key, {}) for key in asked})
        now = flat(json.loads(json.dumps(asked)))  # tuples as lists, as in the file
        bound = [k for k in now if k.removeprefix("train.") not in FREE]
        differing = [f"{k} was {was.get(k)}, now {now[k]}" for k in bound if was.get(k) != now[k]]
        if differing:
            raise UsageError(
                f"{self.folder}: a run with other settings ({'; '.join(differing[:3])})",
                "Go on with the settings it began with, or choose another -o.",
            )

    def close(self) -> None:
        """Let others train here; the end of the process does so too."""
        if self._lock is not None:
            self._lock.close()

    def latest(self) -> Path | None:
        """The newest whole checkpoint."""
        found = sorted(self.checkpoints.glob("step-*"))
        return found[-1] if found else None

    def save(self, state: TrainState, write: Callable[[Path], None], train: TrainConfig) -> Path:
        """A checkpoint under a temporary name, then its own; older ones go. All ranks call it."""
        target = self.checkpoints / f"step-{state.step:08d}"
        unfinished = self.checkpoints / f".{target.name}"
        if rank() == 0:
            for left in self.checkpoints.glob(".step-*"):
                shutil.rmtree(left)
            (unfinished / "engine").mkdir(parents=True)
        barrier()
        write(unfinished / "engine")
        barrier()
        if rank() == 0:
            write_text(unfinished / "state.json", json.dumps(dataclasses.asdict(state)) + "\n")
            shutil.rmtree(target, ignore_errors=True)
            os.replace(unfinished, target)
            self.point(state)
            self._prune(state, train)
        barrier()
        return target

    def point(self, state: TrainState) -> None:
        """Write `latest` and `best` (again: a kill may have come between them and a checkpoint)."""
        if rank() == 0:
            for name, step in (("latest", state.step), ("best", state.best_step)):
                if step is not None:
                    write_text(self.folder / name, f"step-{step:08d}\n")

    def _prune(self, state: TrainState, train: TrainConfig) -> None:
        kept = sorted(self.checkpoints.glob("step-*"))[-train.keep :]
        for path in self.checkpoints.glob("step-*"):
            step = int(path.name.removeprefix("step-"))
            forever = step == state.best_step or (train.keep_every and step % train.keep_every == 0)
            if path not in kept and not forever:
                shutil.rmtree(path)


def read_run(folder: Path) -> dict[str, Any]:
    """`run.json`. `SongBloomError` when the folder is no run."""
    path = Path(folder) / "run.json"
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise SongBloomError(
            f"{folder}: not a run (no readable run.json)",
            "Name what songbloom train made.",
        ) from error


def read_state(checkpoint: Path) -> TrainState:
    """`state.json` of a checkpoint. `SongBloomError` when there is none."""
    try:
        return TrainState(**json.loads((checkpoint / "state.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SongBloomError(
            f"{checkpoint}: not a checkpoint (no readable state.json)",
            "Name a folder like RUN/checkpoints/step-00001000, or the run itself.",
        ) from error


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that `path` is, or the latest of the run that it is."""
    if (path / "state.json").exists():
        return path
    found = Run(path).latest()
    if found is None:
        raise SongBloomError(
            f"{path}: holds no checkpoint", "Name a run, or one of its checkpoints/step-N."
        )
    return found


def _versions() -> dict[str, Any]:
    here = Path(songbloom.__file__).parent
    git = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "songbloom": songbloom.__version__,
        "git": git.stdout.strip() or None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "world_size": world_size(),
    }
