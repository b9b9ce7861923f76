"""Training runs of seconds through the real command: in this process, or in processes of their own.

Everything is as small as it can be; songs are composed and say that the embedded model's codecs
made them, so that what is trained is a whole model.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cli.helpers import Ran
from safetensors.torch import load_file

from songbloom.files import sha256
from songbloom.hub import EMBEDDED_FOLDER
from songbloom.training.metrics import TIME_FIELDS, read_metrics
from songbloom.training.synthetic import write_dataset
from songbloom_cli.main import run as run_songbloom

SEEDLING = EMBEDDED_FOLDER / "seedling"
SONGS = 12  # one of them is held out
CONFIG = """
[model]
dim = 32
num_heads = 1
ar_layers = 1
dit_layers = 1
ffn_dim = 64
lyric_length = 64
reference_frames = 25

[model.sampling]
num_steps = 2
max_duration = 2.56

[train]
preset = "nano"
gpus = 0
crop = 2.56
batch_size = 4
learning_rate = 0.004
ema_decay = 0.98
micro_batch = 4
warmup_steps = 4
weight_decay = 0.1
validation_songs = 8
validate_every = 15
workers = 0
tensorboard = false
"""


@dataclass(frozen=True)
class Bench:
    """A configuration file and a dataset."""

    config: Path
    data: Path

    def words(self, run: Path, *more: object) -> list[str]:
        """The command line of a run; `more` comes last and so wins."""
        return ["train", *map(str, (self.config, "--data", self.data, "-o", run, *more))]


def make_bench(folder: Path) -> Bench:
    """Write both into a folder."""
    (folder / "train.toml").write_text(CONFIG, encoding="utf-8")
    write_dataset(folder / "data", songs=SONGS, num_lines=1, codecs=SEEDLING)
    return Bench(folder / "train.toml", folder / "data")


def here(words: Sequence[object]) -> Ran:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_songbloom([str(word) for word in words])
    return Ran(code, out.getvalue(), err.getvalue())


def trained(words: Sequence[object]) -> Ran:
    """Run a command line in this process; it must succeed."""
    ran = here(words)
    assert ran.code == 0, ran.err
    return ran


def begin(words: Sequence[object], log: Path) -> "subprocess.Popen[bytes]":
    """Start a command line in a process of its own, in the background; it writes to `log`."""
    command = [sys.executable, "-m", "songbloom_cli", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(log, "ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)


def apart(words: Sequence[object], log: Path) -> None:
    """Run a command line in processes of its own; it must succeed."""
    code = begin(words, log).wait(timeout=600)
    assert code == 0, log.read_text()


def rows(run: Path) -> list[dict[str, Any]]:
    """The metrics of a run, without what depends on the clock."""
    return [{k: v for k, v in r.items() if k not in TIME_FIELDS} for r in read_metrics(run)]


def checkpoint(run: Path, step: int | None = None) -> Path:
    """The folder of a step's checkpoint, or of the latest."""
    name = (run / "latest").read_text().strip() if step is None else f"step-{step:08d}"
    return run / "checkpoints" / name


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a plain engine's checkpoint."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted((folder / "engine").glob("*.safetensors")):
        found |= load_file(path)
    return found


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The model that came out."""
    return load_file(run / "model" / "model.safetensors")


def contents(folder: Path) -> dict[str, str]:
    """Relative path -> hash of every file in a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def assert_same_run(one: Path, other: Path) -> None:
    """All that training leaves is the same to the bit: metrics but for the clock, which checkpoints
    there are and what is in them, what `latest` and `best` name, and the model folder."""
    assert rows(one) == rows(other)
    assert contents(one / "model") == contents(other / "model")
    for name in ("latest", "best"):
        assert (one / name).read_text() == (other / name).read_text(), name
    ours, theirs = (sorted((run / "checkpoints").iterdir()) for run in (one, other))
    assert [path.name for path in ours] == [path.name for path in theirs]
    for pair in zip(ours, theirs, strict=True):
        assert_same_checkpoint(*pair)


def assert_same_checkpoint(one: Path, other: Path) -> None:
    """Every tensor and the state, to the bit. (The order of a file's own notes is not kept.)"""
    assert (one / "state.json").read_text() == (other / "state.json").read_text()
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def rewound(run: Path, step: int, target: Path) -> Path:
    """A copy of a run as it stood when it had saved `step`."""
    (target / "checkpoints").mkdir(parents=True)
    for path in (run / "run.json", run / "metrics.jsonl"):
        shutil.copy(path, target)
    shutil.copytree(checkpoint(run, step), checkpoint(target, step))
    return target


def events(text: str) -> list[dict[str, Any]]:
    """Lines of JSON."""
    return [json.loads(line) for line in text.splitlines()]
