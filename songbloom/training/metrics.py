"""What a run writes down of itself: `metrics.jsonl`, TensorBoard, Weights & Biases, throughput.

A row is a step's numbers, one JSON object a line, `step` first. A resumed run cuts off the rows
beyond the step it resumes from, so that in the end its file equals an undisturbed run's in all but
`TIME_FIELDS`. Only rank 0 writes.
"""

import importlib
import importlib.util
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.files import write_text
from songbloom.model.config import ModelConfig
from songbloom.training.planner import flops, sequence_length
from songbloom.units import FRAME_RATE, Frames, Seconds

FILE_NAME = "metrics.jsonl"
TIME_FIELDS = ("seconds", "audio_seconds_per_second", "tokens_per_second", "mfu")


class MetricsLog:
    """The log of a run folder, continued after `step` finished steps.

    `tensorboard` None writes event files where tensorboard is installed, True insists
    (`MissingAssetError` where it is not). `wandb_project` names a project of Weights & Biases; None
    is off. On ranks other than 0 nothing is opened or written.
    """

    def __init__(
        self,
        run: Path,
        *,
        step: int = 0,
        rank: int = 0,
        tensorboard: bool | None = None,
        wandb_project: str | None = None,
    ) -> None:
        self._file = self._tensorboard = self._wandb = None
        if rank != 0:
            return
        run = Path(run)
        if tensorboard is not False:
            self._tensorboard = _open_tensorboard(run, step, insist=tensorboard is True)
        if wandb_project is not None:
            self._wandb = _open_wandb(run, wandb_project)
        self._file = _continue(run / FILE_NAME, step)

    def write(self, row: Mapping[str, float | int]) -> None:
        """Add a row, which has a `step`. What is not finite is null in the file."""
        if self._file is None:
            return
        ordered = {"step": row["step"], **row}
        finite = {k: v if math.isfinite(v) else None for k, v in ordered.items()}
        self._file.write(json.dumps(finite) + "\n")
        self._file.flush()
        if self._tensorboard is not None:
            for key, value in row.items():
                if key != "step":
                    self._tensorboard.add_scalar(key, value, row["step"])
        if self._wandb is not None:
            self._wandb.log(ordered)

    def sync(self) -> None:
        """Put all rows on the disk: before a checkpoint that relies on them."""
        if self._file is not None:
            os.fsync(self._file.fileno())
        if self._tensorboard is not None:
            self._tensorboard.flush()

    def close(self) -> None:
        """End all logs; again is harmless."""
        if self._file is not None:
            self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()
        self._file = self._tensorboard = self._wandb = None


def read_metrics(run: Path) -> Iterator[dict[str, Any]]:
    """The rows of a run folder; none where there is no log. A torn last row is left out."""
    path = Path(run) / FILE_NAME
    if path.exists():
        with open(path, "rb") as stream:
            yield from (row for line in stream if (row := _row(line)) is not None)


def throughput(
    model: ModelConfig,
    *,
    seconds: Seconds,
    shapes: Sequence[tuple[int, Frames]],
    frames: Frames,
    world_size: int = 1,
    peak_tflops: float | None = None,
    trained: float = 1.0,
) -> dict[str, float]:
    """How fast a step was: the `TIME_FIELDS` of its row.

    `shapes` are (songs, padded frames) of this rank's micro batches, `frames` the unpadded frames
    of all ranks' songs. Tokens are positions of the sketch transformer, prefix and padding
    included; other ranks are taken to have as many as this one. `mfu` is the share of
    `peak_tflops` that one rank's forward and backward passes reach, recomputation not counted;
    left out where the peak is unknown. `trained` is the share of weights that have gradients.
    """
    tokens = sum(songs * sequence_length(model, padded) for songs, padded in shapes)
    work = sum(songs * flops(model, padded).training(trained) for songs, padded in shapes)
    speed = {
        "seconds": seconds,
        "audio_seconds_per_second": frames / FRAME_RATE / seconds,
        "tokens_per_second": tokens * world_size / seconds,
    }
    if peak_tflops is not None:
        speed["mfu"] = work / (seconds * peak_tflops * 1e12)
    return speed


def _continue(path: Path, step: int) -> Any:
    """The file opened for more rows, without those beyond `step` and without a torn last one."""
    if not path.exists():
        write_text(path, "")
    kept = 0
    with open(path, "rb") as stream:
        for line in stream:
            row = _row(line)
            if row is None or row["step"] > step:
                break
            kept += len(line)
    os.truncate(path, kept)
    return open(path, "a", encoding="utf-8")


def _row(line: bytes) -> dict[str, Any] | None:
    """None for what is no whole row."""
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _open_tensorboard(run: Path, step: int, *, insist: bool) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        if insist:
            raise MissingAssetError(
                "tensorboard is not installed", "Type: pip install 'songbloom[tensorboard]'"
            )
        return None
    from torch.utils.tensorboard import SummaryWriter

    # Readers drop what an earlier process wrote from this step on.
    return SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)


def _open_wandb(run: Path, project: str) -> Any:
    """A run of Weights & Biases that is the same one after a resume: its id is kept in the run."""
    if importlib.util.find_spec("wandb") is None:
        raise MissingAssetError("wandb is not installed", "Type: pip install 'songbloom[wandb]'")
    wandb: Any = importlib.import_module("wandb")

    kept = run / "wandb_id.txt"
    if not kept.exists():
        write_text(kept, wandb.util.generate_id())
    try:
        opened = wandb.init(
            project=project,
            id=kept.read_text("utf-8").strip(),
            name=run.resolve().name,
            dir=str(run),
            resume="allow",
        )
    except wandb.errors.Error as error:
        raise SongBloomError(
            f"Weights & Biases: {error}", "Run wandb login, or set WANDB_MODE=offline."
        ) from error
    opened.define_metric("*", step_metric="step")  # a resumed run logs some steps again
    return opened
