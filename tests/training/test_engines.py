"""One training, five engines: the same losses, the same weights, the same refusals."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training.conftest import STEPS
from training.overflow import overflow
from training.runs import Bench, apart, rows, trained, weights

# fp32 rounding, which sums in another order on two ranks. Seen in 50 steps: 2e-7 of a loss, 1e-5 of
# a gradient norm (2e-7 without DeepSpeed, which adds 1e-6 to it), 1e-6 in a weight.
LOSSES, NORM, WEIGHTS = 2e-6, 1e-4, 1e-5

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed"
)


def assert_same_curve(one: Path, other: Path) -> None:
    """Every row agrees to rounding, and so do the models."""
    first, second = rows(one), rows(other)
    assert [row["step"] for row in second] == [row["step"] for row in first]
    for ours, theirs in zip(first, second, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            tolerance = NORM if name == "grad_norm" else LOSSES
            assert theirs[name] == pytest.approx(value, rel=tolerance), (ours["step"], name)
    theirs = weights(other)
    for name, tensor in weights(one).items():
        assert torch.allclose(theirs[name], tensor, rtol=0, atol=WEIGHTS), name


def test_the_curve_goes_down(one_rank: Path) -> None:
    """There is something to compare: fifty steps, over several epochs, in which the sketch loss
    falls well below the chance line."""
    made = rows(one_rank)
    assert [row["step"] for row in made] == list(range(1, STEPS + 1))
    assert made[-1]["epoch"] > 10 and made[0]["lm_chance"] == pytest.approx(7.2998, abs=1e-4)
    assert made[0]["lm_loss"] == pytest.approx(made[0]["lm_chance"], abs=0.1)
    assert made[-1]["lm_loss"] < made[-1]["lm_chance"] - 1.5


def test_two_ranks_learn_as_one(one_rank: Path, two_ranks: Path) -> None:
    """Two processes under DDP make the steps of one process with the doubled micro batch."""
    assert_same_curve(one_rank, two_ranks)


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(["--zero", 2], marks=needs_deepspeed),
        pytest.param(["--zero", 1], marks=[needs_deepspeed, pytest.mark.slow]),
        pytest.param(["--zero", 3], marks=[needs_deepspeed, pytest.mark.slow]),
        pytest.param(["--shard"], marks=pytest.mark.slow),
        pytest.param(["--micro-batch", 1], marks=pytest.mark.slow),
        pytest.param(["--zero", 2, "--micro-batch", 1], marks=[needs_deepspeed, pytest.mark.slow]),
        pytest.param(["--zero", 3, "--micro-batch", 1], marks=[needs_deepspeed, pytest.mark.slow]),
        pytest.param(["--shard", "--micro-batch", 1], marks=pytest.mark.slow),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_every_engine_learns_as_one_rank(
    bench: Bench, one_rank: Path, tmp_path: Path, engine: list[object]
) -> None:
    """DeepSpeed's stages and FSDP2 on two processes, with and without adding up gradients."""
    words = ("--steps", STEPS, "--save-every", 20, "--cpu-ranks", 2, "--micro-batch", 2, *engine)
    apart(bench.words(tmp_path / "run", *words), tmp_path / "log")
    assert_same_curve(one_rank, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    [
        [],
        ["--shard"],
        pytest.param(["--zero", 2], marks=needs_deepspeed),
        pytest.param(["--zero", 3], marks=needs_deepspeed),
    ],
    ids=lambda words: " ".join(map(str, words)) or "ddp",
)
def test_every_engine_trains_an_adapter(
    bench: Bench, one_rank: Path, tmp_path: Path, engine: list[object]
) -> None:
    """With most weights frozen, two processes make the adapter that one makes."""
    words = ("--steps", 10, "--init-from", one_rank / "model", "--lora", 4)
    trained(bench.words(tmp_path / "one", *words))
    both = (*words, "--cpu-ranks", 2, "--micro-batch", 2, *engine)
    apart(bench.words(tmp_path / "two", *both), tmp_path / "log")
    ours, theirs = (
        load_file(tmp_path / name / "adapter" / "adapter.safetensors") for name in ("one", "two")
    )
    assert ours.keys() == theirs.keys() and any(t.abs().max() > 0 for t in ours.values())
    for name, tensor in ours.items():
        assert torch.allclose(theirs[name], tensor, rtol=0, atol=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    [
        [],
        ["--shard", "--activation-checkpointing"],
        pytest.param(["--zero", 2, "--activation-checkpointing"], marks=needs_deepspeed),
        pytest.param(["--zero", 3], marks=needs_deepspeed),
    ],
    ids=lambda words: " ".join(map(str, words)) or "ddp",
)
def test_every_engine_computes_in_bfloat16(
    bench: Bench, one_rank: Path, tmp_path: Path, engine: list[object]
) -> None:
    """Under autocast the losses stay near those of float32, for every engine alike: weights and
    moments are float32."""
    words = ("--steps", STEPS, "--max-steps", 20, "--dtype", "bfloat16", *engine)
    both = (*words, "--cpu-ranks", 2, "--micro-batch", 2)
    apart(bench.words(tmp_path / "run", *both), tmp_path / "log")
    for ours, theirs in zip(rows(one_rank)[:20], rows(tmp_path / "run"), strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=0.01), ours["step"]
    assert {tensor.dtype for tensor in weights(tmp_path / "run").values()} == {torch.float32}


@pytest.mark.slow
def test_workers_of_another_launcher_join(bench: Bench, one_rank: Path, tmp_path: Path) -> None:
    """Under torchrun's variables the command starts nobody: it is one of the ranks."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ranks = ("--cpu-ranks", 2, "--micro-batch", 2)
    words = bench.words(tmp_path / "run", "--steps", STEPS, "--max-steps", 5, *ranks)
    subprocess.run(
        [*torchrun, "--nproc-per-node=2", "--module", "songbloom_cli", *words],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for ours, theirs in zip(rows(one_rank)[:5], rows(tmp_path / "run"), strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=LOSSES)


def test_an_infinite_gradient_moves_nothing() -> None:
    """The plain engine names the norm and leaves weights, moments and average as they were."""
    assert overflow(zero=0).startswith("the gradient norm is ")


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.parametrize("zero", [1, 2, 3])
def test_an_infinite_gradient_moves_nothing_under_deepspeed(zero: int) -> None:
    """So do DeepSpeed's stages."""
    script = Path(__file__).parent / "overflow.py"
    done = subprocess.run(
        [sys.executable, script, str(zero)], capture_output=True, text=True, timeout=300
    )
    assert "the gradient norm is " in done.stdout, done.stderr


def test_without_deepspeed_only_zero_is_missing(bench: Bench, tmp_path: Path) -> None:
    """Nothing else imports it: where it cannot be, --zero 2 says what to install (exit code 4),
    and the plain engine trains."""
    hidden = (
        "import sys\n"
        "sys.modules['deepspeed'] = None\n"
        "from songbloom_cli.main import run\n"
        "words = sys.argv[1:]\n"
        "print(run(words), run([*words, '--zero', '2', '-o', words[-1] + '-zero']))"
    )
    words = bench.words(tmp_path / "run", "--steps", 1, "-o", tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", hidden, *words], capture_output=True, text=True)
    assert done.stdout.endswith("0 4\n"), done.stderr
    assert "--zero needs DeepSpeed, which is not installed" in done.stderr
    assert "pip install 'songbloom[deepspeed]'" in done.stderr
