"""What goes wrong is named, with what to type next, and leaves what was there as it was."""

import contextlib
import ctypes
import fcntl
import json
import math
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file, save_file
from training.runs import (
    SEEDLING,
    SONGS,
    Bench,
    assert_same_run,
    begin,
    checkpoint,
    contents,
    here,
    rows,
    tensors,
    trained,
)

from songbloom.data.dataset import Dataset
from songbloom.data.loader import permutation
from songbloom.data.shards import open_shards
from songbloom.data.writer import merge
from songbloom.training.start import load_settings
from songbloom.training.synthetic import write_dataset
from songbloom.training.validation import hold_out

TEN = ("--steps", 10, "--save-every", 1)


def refused(words: list[str], code: int, *parts: str) -> None:
    """One line of what and where and one of what to do, the exit code, nothing on stdout."""
    ran = here(words)
    assert (ran.code, ran.out) == (code, ""), ran
    assert len(ran.err.splitlines()) == 2, ran.err
    assert "fault of songbloom" not in ran.err
    for part in parts:
        assert part in ran.err, f"{part!r} is not in {ran.err!r}"


# --- losses that are not finite -------------------------------------------------------------------


def shared_out(bench: Bench) -> tuple[list[str], list[str]]:
    """Ids of the songs that are learnt, in the dataset's order, and of those held out."""
    settings, shards = load_settings(bench.config, {}), open_shards(bench.data)
    learnt, held_out = hold_out(Dataset(shards, settings.model), SONGS // 10)
    assert held_out is not None
    first, second = ([shards.ids[int(n)] for n in part.tracks] for part in (learnt, held_out))
    return first, second


def poisoned(bench: Bench, folder: Path, song: str) -> Bench:
    """The same with a copy of the dataset in which a song's latents are NaN."""
    shutil.copytree(bench.data, folder)
    shards = open_shards(folder)
    (path,) = (folder / "shards").iterdir()
    size, loaded = path.stat().st_size, load_file(path)
    row = int(shards.row[shards.ids.index(song)])
    begins, ends = loaded["offsets"][row : row + 2, 0].tolist()
    loaded["latents"][begins:ends] = math.nan
    save_file(loaded, path, metadata={"songbloom_shard": "1"})
    assert path.stat().st_size == size
    return Bench(bench.config, folder)


@pytest.fixture
def sick(bench: Bench, tmp_path: Path) -> tuple[Bench, str]:
    """A dataset with NaN in a song that step 3 learns, and the song's id."""
    learnt, _ = shared_out(bench)
    song = learnt[int(permutation(len(learnt), 0, 0)[9])]
    return poisoned(bench, tmp_path / "sick-data", song), song


def test_a_loss_that_is_not_a_number_stops_before_the_update(
    bench: Bench, sick: tuple[Bench, str], tmp_path: Path
) -> None:
    """The step and its songs are named (exit code 1), nothing of the step is written, and weights
    and moments are those of the step before; with the song mended, the same command ends as a run
    that never met it."""
    data, song = sick
    run = tmp_path / "sick" / "run"
    refused(
        data.words(run, *TEN, "--quiet"),
        1,
        "step 3: the loss is nan",
        "nothing was updated",
        song,
        f"--resume {run}",
    )
    assert [row["step"] for row in rows(run)] == [1, 2]
    assert checkpoint(run).name == "step-00000002"
    healthy = tmp_path / "healthy" / "run"
    trained(bench.words(healthy, *TEN, "--max-steps", 2))
    ours, theirs = tensors(checkpoint(run)), tensors(checkpoint(healthy))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    shutil.rmtree(data.data)
    shutil.copytree(bench.data, data.data)
    trained(data.words(run, *TEN))
    trained(bench.words(healthy, *TEN))
    shutil.rmtree(run / "model")  # it names the dataset's folder
    shutil.rmtree(healthy / "model")
    assert_same_run(healthy, run)


def test_a_validation_that_is_not_a_number_is_never_the_best(bench: Bench, tmp_path: Path) -> None:
    """A broken held-out song leaves `best` empty, and null in the metrics, and training goes on."""
    _, (song,) = shared_out(bench)
    trained(poisoned(bench, tmp_path / "data", song).words(tmp_path / "run", "--steps", 2))
    assert rows(tmp_path / "run")[-1]["validation_loss"] is None
    assert not (tmp_path / "run" / "best").exists()
    assert (tmp_path / "run" / "model").is_dir()


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_stops_all_ranks(
    sick: tuple[Bench, str], tmp_path: Path
) -> None:
    """The rank that meets it explains; the others, which wait for its gradients, end soon."""
    data, song = sick
    words = data.words(tmp_path / "run", *TEN, "--cpu-ranks", 2, "--micro-batch", 2)
    begun = time.monotonic()
    assert begin(words, tmp_path / "log").wait(300) == 1
    assert time.monotonic() - begun < 300
    said = (tmp_path / "log").read_text()
    assert "step 3: the loss is nan" in said and song in said
    assert said.count("error:") == 1 and "Traceback" not in said
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 2]


# --- datasets -------------------------------------------------------------------------------------


@pytest.fixture
def two_shards(bench: Bench, tmp_path: Path) -> Bench:
    """A dataset of two shards of six songs."""
    for seed in (0, 1):
        write_dataset(tmp_path / f"{seed}", songs=6, seed=seed, num_lines=1, codecs=SEEDLING)
    merge([tmp_path / "0", tmp_path / "1"], tmp_path / "both")
    return Bench(bench.config, tmp_path / "both")


def test_a_corrupt_shard_is_refused_or_left_out(two_shards: Bench, tmp_path: Path) -> None:
    """By default the shard is named and nothing begins; --on-corrupt skip names it and learns from
    the others; a run that had learnt from it does not go on as if nothing were missing."""
    trained(two_shards.words(tmp_path / "whole", "--steps", 4, "--max-steps", 1))
    shard = two_shards.data / "shards" / "000001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    words = two_shards.words(tmp_path / "run", "--steps", 4)
    refused(words, 1, "000001.safetensors", "missing or corrupt shard", "'skip'")
    assert not (tmp_path / "run").exists()
    ran = trained([*words, "--on-corrupt", "skip", "--json"])
    warning, begun = (json.loads(line) for line in ran.out.splitlines()[:2])
    assert warning["event"] == "warning" and "000001.safetensors" in warning["message"]
    assert begun["songs"] + begun["held_out"] == 6
    whole = two_shards.words(tmp_path / "whole", "--steps", 4, "--on-corrupt", "skip", "--quiet")
    refused(whole, 1, "tracks that are not the 11 of the checkpoint")


@pytest.mark.parametrize(
    "key, value, message, hint",
    [
        ("codebook_hash", "0" * 64, "sketch tokens were made with the codebook", "--codecs MODEL"),
        ("sketch_vocab_size", 7, "the number of sketch tokens is 7", "sketch_vocab_size = 7"),
        ("vae_hash", "0" * 64, "latents were made with the VAE", "--vae-model MODEL"),
        ("latent_dim", 32, "", ""),
        ("frontend", "release", "phonemes were made by the front end release", "--frontend v1"),
        ("frontend", "release", "the model has v1", "--preset full_150s"),
        ("format", 99, "format 99, expected 1", "Write the dataset again"),
        ("complete", False, "not finished", "it goes on where it stopped"),
    ],
)
def test_a_dataset_of_another_kind_is_refused(
    bench: Bench, tmp_path: Path, key: str, value: object, message: str, hint: str
) -> None:
    """Tokens, latents or phonemes that are not this model's are named, with the stage that makes
    the right ones; nothing begins."""
    folder = tmp_path / "data"
    shutil.copytree(bench.data, folder)
    described = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(described | {key: value}))
    refused(Bench(bench.config, folder).words(tmp_path / "run"), 1, str(folder), message, hint)
    assert not (tmp_path / "run").exists()


def test_missing_data_is_named(bench: Bench, tmp_path: Path) -> None:
    """Neither a dataset, nor a folder that is none, nor an empty one: each says what to type."""
    run = tmp_path / "run"
    refused(["train", str(bench.config), "-o", str(run)], 2, "no training set", "--data")
    refused(Bench(bench.config, tmp_path / "no").words(run), 1, "no dataset", "songbloom prepare")
    refused(Bench(bench.config, tmp_path).words(run), 1, "no dataset.json")
    assert not run.exists()


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["--batch-size", 5, "--micro-batch", 2], 2, "does not divide"),
        (["--preset", "nanno"], 2, "Did you mean 'nano'"),
        (["--codecs", "nobody"], 4, "nobody"),
        (["--init-from", "nobody"], 4, "nobody"),
        (["--lora", 4], 2, "--init-from MODEL"),
        (["--zero", 4], 2, "--zero: 4 is not possible"),
        (["--zero", 2, "--shard"], 2, "Leave one of them out"),
        (["--lr", "nan"], 2, "finite"),
        (["--dtype", "float16"], 2, "bfloat16"),
        (["--emit", "lsf", "--gpus", 2], 2, "slurm"),
        (["--resume", "nowhere"], 1, "nowhere: holds no checkpoint"),
        (["--hostfile", "nowhere", "--cpu-ranks", 2, "--micro-batch", 2], 2, "nowhere"),
        (["--nodes", 2, "--cpu-ranks", 3, "--batch-size", 12], 2, "do not divide"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_settings_that_cannot_be_meant(
    bench: Bench, tmp_path: Path, words: list[object], code: int, message: str
) -> None:
    """Each is refused with its name and what would do."""
    refused(bench.words(tmp_path / "run", *words), code, message)


@pytest.mark.skipif(torch.cuda.device_count() >= 2, reason="there are two GPUs")
def test_gpus_that_are_not_there(bench: Bench, tmp_path: Path) -> None:
    """--gpus 2 says how many there are, and how to train on the CPU."""
    refused(bench.words(tmp_path / "run", "--gpus", 2), 2, "this one has", "--gpus 0 --cpu-ranks N")


@pytest.mark.parametrize(
    "line, message",
    [
        ("[model]\nwidth = 3", "width"),
        ("[model]\ndim = 'wide'", "dim is 'wide'; expected a whole number"),
        ("[model]\ndim = 36", "head_dim"),
        ("[model]\nfrontend = 'release'", "lyric_vocab_size = 330"),
        ("[model.sampling]\nsteps = 3", "steps"),
        ("[train]\nlearning_rat = 3", "Did you mean 'learning_rate'"),
        ("[train]\nlearning_rate = 'high'", "train.learning_rate"),
        ("[trian]\nsteps = 3", "Did you mean 'train'"),
        ("[train", "is not TOML"),
    ],
)
def test_a_bad_line_in_the_file(bench: Bench, tmp_path: Path, line: str, message: str) -> None:
    """A key, a value or a table that cannot be is named."""
    config = tmp_path / "bad.toml"
    config.write_text(line + "\n")
    words = Bench(config, bench.data).words(tmp_path / "run", "--preset", "nano", "--gpus", 0)
    refused(words, 2, message)


# --- run folders ----------------------------------------------------------------------------------


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Root may write anywhere; meanwhile this thread may not."""
    libc = ctypes.CDLL(None)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    kept = list(data)
    data[0] = data[3] = 0  # effective
    assert libc.capset(header, data) == 0
    try:
        yield
    finally:
        data[:] = kept
        assert libc.capset(header, data) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="capabilities are Linux's")
def test_a_run_folder_that_cannot_be_written(bench: Bench, tmp_path: Path) -> None:
    """A folder without permission, or a file in its place, is named before anything is learnt."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    with without_privileges():
        refused(bench.words(closed, *TEN), 1, f"{closed}: cannot be written", "-o")
        refused(bench.words(closed / "run", *TEN), 1, "cannot be written", "-o")
    (tmp_path / "file").write_text("")
    refused(bench.words(tmp_path / "file", *TEN), 1, "file: cannot be written", "-o")


def test_one_training_a_folder(bench: Bench, tmp_path: Path) -> None:
    """While one process trains in a folder, another is refused and touches nothing; the lock ends
    with its owner."""
    run = tmp_path / "run"
    trained(bench.words(run, *TEN, "--max-steps", 1))
    before = contents(run)
    with open(run / ".lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused(bench.words(run, *TEN), 1, "another process is training here", "another run folder")
    assert contents(run) == before
    trained(bench.words(run, *TEN))


# --- code in a checkpoint -------------------------------------------------------------------------


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.proof,)


def test_a_deepspeed_checkpoint_runs_no_code(bench: Bench, tmp_path: Path) -> None:
    """DeepSpeed's files are pickles; one with code in it is refused, and the code has not run."""
    pytest.importorskip("deepspeed")
    words = bench.words(tmp_path / "run", "--steps", 2, "--zero", 1)
    log, proof = tmp_path / "log", tmp_path / "ran"
    assert begin([*words, "--max-steps", 1], log).wait(timeout=600) == 0, log.read_text()
    (state,) = checkpoint(tmp_path / "run").glob("engine/deepspeed/*optim_states.pt")
    torch.save({"more": Evil(proof)}, state)
    assert begin(words, log).wait(timeout=600) == 1
    assert "step-00000001: cannot be loaded" in log.read_text()
    assert not proof.exists()
