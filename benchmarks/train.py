"""What our training costs over a bare loop, and how fast it is: tokens a second, memory, MFU.

    python benchmarks/train.py                          # CPU: dim 512, 8 + 4 layers, crops of 5 s
    python benchmarks/train.py --preset full --crop 149.76 --steps 10 --gpus 1     # on a GPU

Both sides train the same model on the same songs in one process, a step of one, a step of the
other: "ours" is `songbloom.training.trainer` with its loader, engine and checks; "bare" is the
model, autograd, clipping and AdamW in ten lines, on batches that are in memory already. The ratio
of the fastest steps is the overhead. No average of the weights on either side. Peak memory is
ours alone where `--ours-alone` is given; then the planner's prediction stands beside it.
"""

import argparse
import dataclasses
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from songbloom.hub import EMBEDDED_FOLDER
from songbloom.model.config import ModelConfig, preset
from songbloom.model.songbloom import SongBloom
from songbloom.tables import TrainConfig
from songbloom.training import planner, start
from songbloom.training.job import Job
from songbloom.training.metrics import throughput
from songbloom.training.optim import AdamWSettings, build_adamw
from songbloom.training.run import Run
from songbloom.training.signals import StopRequest
from songbloom.training.step import batch_to_device
from songbloom.training.synthetic import write_dataset
from songbloom.training.trainer import Trainer

CODECS = EMBEDDED_FOLDER / "seedling"
LARGE = ModelConfig(
    dim=512, num_heads=8, ar_layers=8, dit_layers=4, ffn_dim=2048, sketch_vocab_size=1480
)


class Bare:
    """The loop that anybody would write."""

    def __init__(self, config: ModelConfig, device: torch.device, dtype: str) -> None:
        self.device, self.bfloat16 = device, dtype == "bfloat16"
        self.model = SongBloom(config)
        self.model.init_weights(torch.Generator().manual_seed(0))
        self.model.to(device)
        self.optimizer = build_adamw(self.model, AdamWSettings())

    def step(self, micro_batches: list[Any]) -> None:
        for batch, draws in micro_batches:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                loss = self.model(batch, draws).total
            (loss / len(micro_batches)).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of a call, what it queued on the device included."""
    started_at = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started_at


def build(args: argparse.Namespace, folder: Path) -> tuple[Trainer, start.Settings]:
    """Our side, on songs whose latents follow from their tokens."""
    config = LARGE if args.preset is None else preset(args.preset)
    config = dataclasses.replace(config, sketch_vocab_size=1480)  # the codecs of the songs
    train = TrainConfig(
        data=str(folder / "data"),
        batch_size=args.batch_size,
        micro_batch=args.micro_batch,
        crop=args.crop,
        ema_decay=0.0,
        validation_songs=0,
        dtype=args.dtype,
        activation_checkpointing=args.activation_checkpointing,
        compile=args.compile,
        gpus=args.gpus,
    )
    write_dataset(folder / "data", songs=args.songs, codecs=CODECS, frontend=config.frontend)
    device = torch.device("cuda" if args.gpus else "cpu")
    job = Job(train, config, folder / "run", CODECS)
    return Trainer(job, Run(job.run), device, lambda event: None), start.Settings(train, config, {})


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fastest steps of both sides, and what they amount to."""
    trainer, settings = build(args, folder)
    device, stop = trainer.device, StopRequest()
    micro_batches = next(iter(trainer.loader))
    ready = [batch_to_device(m, trainer.config, device) for m in micro_batches]
    batches = iter(trainer.loader)
    plan = start.make_plan(settings, 1, None, on_gpu=device.type == "cuda")
    bare = None if args.ours_alone else Bare(trainer.config, device, plan.settings.dtype)
    ours_seconds, bare_seconds = [], []
    for _ in range(args.steps + 1):
        ours_seconds.append(timed(lambda: trainer.step(next(batches), stop), device))
        if bare is not None:
            bare_seconds.append(timed(lambda: bare.step(ready), device))
    best = min(ours_seconds[1:])
    speed = throughput(
        trainer.config,
        seconds=best,
        shapes=[(len(m.keys), m.batch.sketch.shape[1]) for m in micro_batches],
        frames=sum(m.num_frames for m in micro_batches),
        peak_tflops=planner.peak_tflops(plan.hardware, plan.settings.dtype),
    )
    row: dict[str, Any] = {"parameters": plan.to_dict()["total_parameters"], **speed}
    if bare is not None:
        row |= {"bare_seconds": min(bare_seconds[1:]), "ratio": best / min(bare_seconds[1:])}
    return row | {"peak_bytes": peak_bytes(device), "planned_bytes": plan.memory.total}


def peak_bytes(device: torch.device) -> int:
    """Most memory that this process (on a GPU: torch) has held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", help="sizes (default: dim 512, 8 + 4 layers)")
    parser.add_argument("--crop", type=float, default=5.12, help="seconds")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--micro-batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--gpus", type=int, default=0, choices=(0, 1))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--activation-checkpointing", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--ours-alone", action="store_true", help="for peak memory")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        row = measure(args, Path(folder))
    if args.json:
        print(json.dumps(row, indent=1))
        return
    for key, value in row.items():
        shown = f"{value / 1e9:.2f} GB" if key.endswith("_bytes") else f"{value:,.4g}"
        print(f"{key:28}{shown}")


if __name__ == "__main__":
    main()
