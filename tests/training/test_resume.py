"""A stop leaves no trace: paused, signalled, killed, or gone on with other ranks."""

import gc
import importlib.util
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from training.conftest import STEPS
from training.runs import (
    SONGS,
    Bench,
    apart,
    assert_same_checkpoint,
    assert_same_run,
    begin,
    checkpoint,
    contents,
    here,
    rewound,
    rows,
    tensors,
    trained,
    weights,
)

from songbloom.data.dataset import Dataset, Sample
from songbloom.data.loader import permutation
from songbloom.training.run import read_state

# Saves and validation at odd moments, in a run of 160 samples: 14 epochs of 11 songs.
ODD = ("--steps", 40, "--save-every", 3)
LEARNT = SONGS - 1
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed"
)


@pytest.fixture(scope="session")
def undisturbed(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stops."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    trained(bench.words(run, *ODD))
    return run


def wait_for_rows(process: "subprocess.Popen[bytes]", run: Path, count: int) -> None:
    """Until a run's metrics have `count` lines, or the run is over."""
    log, deadline = run / "metrics.jsonl", time.monotonic() + 300
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= count):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- the same ranks: to the bit -------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pause_leaves_no_trace(bench: Bench, tmp_path: Path, workers: int) -> None:
    """5 + 7 steps are 12: weights, moments, average, loader, metrics and model, to the bit. Step 5
    ends within the second epoch, and the rest crosses two borders, once inside a batch."""
    config = bench.config.with_name(f"workers-{workers}.toml")
    text = bench.config.read_text().replace("workers = 0", f"workers = {workers}")
    config.write_text(text.replace("validate_every = 15", "validate_every = 4"))
    words = Bench(config, bench.data).words
    trained(words(tmp_path / "a" / "run", "--steps", 12, "--save-every", 4))
    stopped = words(tmp_path / "b" / "run", "--steps", 12, "--save-every", 4)
    trained([*stopped, "--max-steps", 5])
    assert read_state(checkpoint(tmp_path / "b" / "run")).loader["consumed"] == 20
    assert 20 // LEARNT == 1 and 48 // LEARNT == 4  # epochs, none of which a batch divides
    trained(stopped)
    one, other = tmp_path / "a" / "run", tmp_path / "b" / "run"
    assert rows(one) == rows(other)
    parts = {name.split(".")[0] for name in tensors(checkpoint(one))}
    assert parts == {"model", "optimizer", "average"}
    assert_same_checkpoint(checkpoint(one), checkpoint(other))
    ours, theirs = contents(one / "model"), contents(other / "model")
    assert ours.pop("model.json") != theirs.pop("model.json")  # it tells of --max-steps 5
    assert ours == theirs


def test_nothing_left_to_do_changes_nothing(
    undisturbed: Path, bench: Bench, tmp_path: Path
) -> None:
    """The same command after the end takes no step and leaves the same bytes, also where a kill
    came between the last checkpoint and what follows it."""
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    for name in ("latest", "best"):
        (run / name).unlink()
    shutil.rmtree(run / "model")
    assert trained(bench.words(run, *ODD)).out == f"{run / 'model'}\n"
    assert_same_run(undisturbed, run)


def test_sigterm_saves_and_leaves_no_trace(bench: Bench, undisturbed: Path, tmp_path: Path) -> None:
    """SIGTERM ends the step, saves and exits 130, saying how to go on; the whole is then the run
    that was not stopped, to the bit."""
    run = tmp_path / "run"
    process = begin(bench.words(run, *ODD), tmp_path / "log")
    wait_for_rows(process, run, 4)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert "type the same again" in (tmp_path / "log").read_text()
    stopped = read_state(checkpoint(run)).step
    assert 4 <= stopped < 40 and rows(run)[-1]["step"] == stopped
    assert not (run / "model").exists()
    trained(bench.words(run, *ODD))
    assert_same_run(undisturbed, run)


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_kill_9_leaves_no_trace(
    bench: Bench, undisturbed: Path, tmp_path: Path, kills: int
) -> None:
    """Killed again and again, at random moments of steps and of saves, and started again: in the
    end the whole run is the one that was never killed, to the bit."""
    run, rng = tmp_path / "run", np.random.default_rng(kills)
    for _ in range(kills):
        process = begin(bench.words(run, *ODD), tmp_path / "log")
        done = read_state(checkpoint(run)).step if (run / "latest").exists() else 0
        wait_for_rows(process, run, done + int(rng.integers(1, 8)))
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert read_state(checkpoint(run)).step >= 3, "no kill came after a checkpoint"
    trained(bench.words(run, *ODD))
    assert_same_run(undisturbed, run)


# --- other ranks: every sample once, and the same losses to rounding ------------------------------


def assert_goes_on_as(undisturbed: Path, run: Path, last: int) -> None:
    """Rows to step `last` are the same to fp32 rounding."""
    ours, theirs = rows(run), rows(undisturbed)[:last]
    assert [row["step"] for row in ours] == list(range(1, last + 1))
    for one, other in zip(ours, theirs, strict=True):
        for name in ("loss", "lm_loss", "flow_loss", "lr", "epoch"):
            assert one[name] == pytest.approx(other[name], rel=2e-6), (one["step"], name)


def test_two_ranks_become_one(
    bench: Bench, two_ranks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of two processes, gone on with by one, learns every sample of the stream once from
    where it stood, and comes out as if nothing had changed."""
    run = rewound(two_ranks, 20, tmp_path / "run")
    drawn: list[tuple[int, int]] = []
    sample = Dataset.sample

    def recorded(self: Dataset, track: int, *, epoch: int, seed: int) -> Sample:
        if self.dropout:  # not those held out
            drawn.append((epoch, track))
        return sample(self, track, epoch=epoch, seed=seed)

    monkeypatch.setattr(Dataset, "sample", recorded)
    trained(bench.words(run, "--steps", STEPS, "--save-every", 20))
    places = (divmod(position, LEARNT) for position in range(4 * 20, 4 * STEPS))
    assert drawn == [(epoch, permutation(LEARNT, 0, epoch)[place]) for epoch, place in places]
    assert_goes_on_as(two_ranks, run, STEPS)
    theirs = weights(two_ranks)
    assert all(torch.allclose(theirs[n], t, rtol=0, atol=1e-4) for n, t in weights(run).items())


def test_one_rank_becomes_two(bench: Bench, one_rank: Path, tmp_path: Path) -> None:
    """A run of one process goes on with two, which share the samples."""
    run = rewound(one_rank, 20, tmp_path / "run")
    words = ("--steps", STEPS, "--save-every", 20, "--max-steps", 26)
    apart(bench.words(run, *words, "--cpu-ranks", 2, "--micro-batch", 2), tmp_path / "log")
    assert_goes_on_as(one_rank, run, 26)


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(["--zero", 1], marks=needs_deepspeed),
        pytest.param(["--zero", 2], marks=needs_deepspeed),
        pytest.param(["--zero", 3], marks=needs_deepspeed),
        ["--shard"],
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_every_engine_goes_on_with_other_ranks(
    bench: Bench, one_rank: Path, tmp_path: Path, engine: list[object]
) -> None:
    """Two ranks, then one, then two again: DeepSpeed through its universal checkpoint, FSDP2
    through torch's distributed one; the losses are those of one rank from beginning to end."""
    run, log = tmp_path / "run", tmp_path / "log"
    words = bench.words(run, "--steps", STEPS, "--save-every", 20, *engine)
    both = (*words, "--cpu-ranks", 2, "--micro-batch", 2)
    apart([*both, "--max-steps", 7], log)
    apart([*words, "--max-steps", 15], log)
    apart([*both, "--max-steps", 23], log)
    assert_goes_on_as(one_rank, run, 23)


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    [
        [],
        ["--shard"],
        pytest.param(["--zero", 1], marks=needs_deepspeed),
        pytest.param(["--zero", 2], marks=needs_deepspeed),
        pytest.param(["--zero", 3], marks=needs_deepspeed),
    ],
    ids=lambda words: " ".join(map(str, words)) or "ddp",
)
def test_two_ranks_pause_without_a_trace(
    bench: Bench, tmp_path: Path, engine: list[object]
) -> None:
    """5 + 7 steps of two ranks are 12, to the bit, under every engine."""
    for name, stops in (("a", [12]), ("b", [5, 12])):
        for stop in stops:
            words = ("--steps", 12, "--cpu-ranks", 2, "--micro-batch", 2, "--max-steps", stop)
            apart(bench.words(tmp_path / name / "run", *words, *engine), tmp_path / "log")
    one, other = tmp_path / "a" / "run", tmp_path / "b" / "run"
    assert rows(one) == rows(other)
    ours, theirs = weights(one), weights(other)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_sigterm_stops_all_ranks_at_the_same_step(
    bench: Bench, two_ranks: Path, tmp_path: Path
) -> None:
    """SIGTERM at the process that was typed lets both ranks save (130); the same command again ends
    in the run that was not stopped, to the bit. So does kill -9 of it."""
    run, log = tmp_path / "run", tmp_path / "log"
    words = ("--steps", STEPS, "--save-every", 20, "--cpu-ranks", 2, "--micro-batch", 2)
    process = begin(bench.words(run, *words), log)
    wait_for_rows(process, run, 7)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 130, log.read_text()
    stopped = read_state(checkpoint(run)).step
    assert 7 <= stopped < STEPS and rows(run)[-1]["step"] == stopped
    process = begin(bench.words(run, *words), log)
    wait_for_rows(process, run, 30)
    process.kill()
    process.wait()
    time.sleep(1)  # the kernel ends the workers
    apart(bench.words(run, *words), log)
    assert rows(run) == rows(two_ranks)
    assert_same_checkpoint(checkpoint(run), checkpoint(two_ranks))
    assert "Traceback" not in log.read_text()


# --- what a run goes on from ----------------------------------------------------------------------


@pytest.fixture
def short(one_rank: Path, tmp_path: Path) -> Path:
    """A run of 50 steps that stands at step 20, its checkpoint of step 10 beside it."""
    run = rewound(one_rank, 20, tmp_path / "run")
    shutil.copytree(checkpoint(run, 20), checkpoint(run, 10))
    state = json.loads((checkpoint(run, 20) / "state.json").read_text())
    state |= {"step": 10, "loader": {**state["loader"], "consumed": 40}}
    (checkpoint(run, 10) / "state.json").write_text(json.dumps(state))
    return run


FIFTY = ("--steps", STEPS, "--save-every", 20, "--max-steps", 22)


def test_other_settings_are_refused_by_name(bench: Bench, short: Path, tmp_path: Path) -> None:
    """What changes what is learnt may not change within a run, and is named with both values;
    nothing is touched."""
    before = contents(short)
    other = tmp_path / "other.toml"
    other.write_text(bench.config.read_text().replace("ffn_dim = 64", "ffn_dim = 96"))
    for words, message in (
        (["--lr", 0.1], "train.learning_rate was 0.004, now 0.1"),
        (["--seed", 1], "train.seed was 0, now 1"),
        (["--steps", 60], "train.steps was 50, now 60"),
        (["--zero", 2], "train.zero was 0, now 2"),
        (["--lora", 4, "--init-from", "seedling"], "train.init_from was None, now seedling"),
    ):
        ran = here(bench.words(short, *FIFTY, *words))
        assert ran.code == 2 and message in ran.err and "another -o" in ran.err, ran.err
    ran = here(Bench(other, bench.data).words(short, *FIFTY))
    assert ran.code == 2 and "model.ffn_dim was 64, now 96" in ran.err
    assert {k: v for k, v in contents(short).items() if k != ".lock"} == before


def test_what_does_not_matter_may_change(bench: Bench, short: Path, tmp_path: Path) -> None:
    """Micro batches, checkpoints, the data's place: a run goes on with other ones."""
    moved = tmp_path / "moved"
    shutil.copytree(bench.data, moved)
    words = ("--data", moved, "--micro-batch", 1, "--save-every", 7, "--activation-checkpointing")
    trained(bench.words(short, *FIFTY, *words))
    assert rows(short)[-1]["step"] == 22


def test_resume_never(bench: Bench, short: Path, tmp_path: Path) -> None:
    """--resume never refuses a folder with a run in it, and begins in another."""
    ran = here(bench.words(short, *FIFTY, "--resume", "never"))
    assert ran.code == 2 and "a run is there already" in ran.err
    trained(bench.words(tmp_path / "new", "--steps", 1, "--resume", "never"))


def test_resume_path(bench: Bench, short: Path, tmp_path: Path) -> None:
    """A checkpoint, or a run, of elsewhere is where a new run begins; then its own are. A
    checkpoint that the run itself has left behind is refused. The new run has its own settings."""
    begun = ("--lr", 0.001, "--resume", checkpoint(short, 10))
    forked = bench.words(tmp_path / "a", *FIFTY, *begun)
    told = trained([*forked, "--max-steps", 11]).err
    assert "resumed: step 10" in told and rows(tmp_path / "a")[0]["step"] == 11
    assert "resumed: step 11" in trained([*forked, "--max-steps", 12]).err
    assert "resumed: step 20" in trained(bench.words(tmp_path / "b", *FIFTY, "--resume", short)).err
    ran = here(bench.words(short, *FIFTY, "--resume", checkpoint(short, 10)))
    assert ran.code == 2 and "has gone on to step-00000020" in ran.err
    ran = here(bench.words(tmp_path / "c", *FIFTY, "--resume", tmp_path))
    assert ran.code == 1 and "holds no checkpoint" in ran.err


def test_another_runs_best_is_not_this_ones(bench: Bench, short: Path, tmp_path: Path) -> None:
    """A run that begins from another's checkpoint finds its own best."""
    state = json.loads((checkpoint(short, 20) / "state.json").read_text())
    state |= {"best_loss": 0.0, "best_step": 20}
    (checkpoint(short, 20) / "state.json").write_text(json.dumps(state))
    run = tmp_path / "new"
    trained(bench.words(run, "--steps", 21, "--resume", short))
    assert (run / "best").read_text() == "step-00000021\n"


def test_a_half_written_checkpoint_is_nothing(bench: Bench, short: Path) -> None:
    """What a kill left of a save is passed over, and gone after the next one."""
    half = short / "checkpoints" / ".step-00000021"
    shutil.copytree(checkpoint(short, 20) / "engine", half / "engine")
    assert "resumed: step 20" in trained(bench.words(short, *FIFTY)).err
    assert not half.exists()


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No garbage is collected, so what an error's cycles hold open stays open."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("damage", ["truncated", "garbled", "missing", "no state"])
def test_a_broken_checkpoint_is_named(bench: Bench, short: Path, damage: str) -> None:
    """One that cannot be read is an error of one line with its name, the run is let go, and the
    hint works: without it the run goes on from the one before."""
    broken = checkpoint(short, 20)
    (file,) = (broken / "engine").iterdir()
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-1000])
    elif damage == "garbled":
        file.write_bytes(b"?" * file.stat().st_size)
    elif damage == "missing":
        file.unlink()
    else:
        (broken / "state.json").write_text("{")
    ran = here(bench.words(short, *FIFTY))
    assert ran.code == 1 and len(ran.err.splitlines()) == 2, ran.err
    assert str(broken) in ran.err and "fault of songbloom" not in ran.err
    shutil.rmtree(broken)
    assert "resumed: step 10" in trained(bench.words(short, *FIFTY)).err


def test_a_checkpoint_of_another_model_is_named(bench: Bench, short: Path, tmp_path: Path) -> None:
    """--resume with a checkpoint that does not fit the model says so, and not to delete it."""
    other = tmp_path / "other.toml"
    other.write_text(bench.config.read_text().replace("ffn_dim = 64", "ffn_dim = 96"))
    ran = here(Bench(other, bench.data).words(tmp_path / "new", "--steps", 50, "--resume", short))
    assert ran.code == 1 and "cannot be loaded" in ran.err and "Delete" not in ran.err
