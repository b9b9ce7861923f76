"""`songbloom train`: what it tells before, meanwhile and after, and what comes out."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from training.runs import (
    SEEDLING,
    SONGS,
    Bench,
    checkpoint,
    contents,
    events,
    here,
    rows,
    trained,
    weights,
)

from songbloom.files import sha256
from songbloom.model.checkpoint import describe_vae, load_model, read_info
from songbloom.model.vae import OobleckConfig, OobleckVAE
from songbloom.training import launch
from songbloom.training.run import read_state
from songbloom.training.synthetic import write_dataset

PAPER = ("train", "--dry-run", "--preset", "full", "--gpus", 16, "--zero", 2)


# --- before it begins -----------------------------------------------------------------------------


def test_the_paper_takes_about_a_week() -> None:
    """16 A100s under ZeRO-2 train `full`, 150,000 steps of 128 songs, in five to ten days, and it
    fits; nothing is begun, and no GPU is needed to be told so."""
    plan = events(trained([*PAPER, "--json"]).out.replace("\n", " "))[0]
    assert plan["refusal"] is None
    text = trained(PAPER).out
    assert "16 x a100-80" in text and "128 songs a step" in text
    assert "for 150,000 steps" in text and "memory a rank" in text and "disk" in text
    days = float(text.split(" days for")[0].split()[-1])
    assert 5 < days < 10


def test_a_plan_that_cannot_fit_names_the_smallest_change(bench: Bench, tmp_path: Path) -> None:
    """It is shown and refused (exit code 1) with words to type, with which it fits; a run is not
    begun either."""
    words = ["train", "--dry-run", "--preset", "full", "--gpus", 1, "--micro-batch", 8]
    ran = here(words)
    assert ran.code == 1 and "memory a rank" in ran.out
    change = ran.err.split("it fits with ")[1].split(" (")[0].split()
    assert change[0].startswith("--")
    assert here([*words, *change]).code == 0
    huge = ("--preset", "full", "--batch-size", 4096, "--micro-batch", 4096, "--crop", 140)
    ran = here(["train", "--data", bench.data, "-o", tmp_path / "run", "--gpus", 0, *huge])
    assert ran.code == 1 and "the plan needs" in ran.err and "--dry-run" in ran.err
    assert not (tmp_path / "run").exists()


def test_the_batch_script_runs_what_was_typed(bench: Bench) -> None:
    """--emit slurm prints a script that bash accepts, with the same command in it, and exits."""
    words = ["train", str(bench.config), "--data", "my songs", "--gpus", "16", "--nodes", "2"]
    ran = trained([*words, "--emit", "slurm"])
    subprocess.run(["bash", "-n"], input=ran.out, text=True, check=True)
    assert f"songbloom {shlex.join(words)}\n" in ran.out
    assert "#SBATCH --nodes=2\n" in ran.out and "#SBATCH --ntasks-per-node=8\n" in ran.out


def test_a_hostfile_goes_to_deepspeeds_launcher(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--hostfile starts the same command on its machines, with the words behind -- in between; the
    exit code is the launcher's."""
    pytest.importorskip("deepspeed.launcher")
    started: list[list[str]] = []

    def keep(words: list[str], *, ranks_here: int) -> int:
        assert ranks_here == 2
        started.append(list(words))
        return 3

    monkeypatch.setattr(launch, "launch", keep)
    (tmp_path / "hosts").write_text("one slots=2\ntwo slots=2\n")
    ranks = ("--cpu-ranks", 4, "--nodes", 2, "--micro-batch", 1)
    words = bench.words(tmp_path / "run", *ranks, "--hostfile", tmp_path / "hosts")
    assert here([*words, "--", "--ssh_port=2222"]).code == 3
    (command,) = started
    assert command[2] == "deepspeed.launcher.runner" and "--num_nodes=2" in command
    assert command.index("--ssh_port=2222") < command.index("--module")
    program = command[command.index("--module") + 2 :]
    assert program[: len(words)] == words


# --- meanwhile ------------------------------------------------------------------------------------


def test_json_is_one_event_a_line(bench: Bench, tmp_path: Path) -> None:
    """stdout holds events alone: how it began, every step's numbers, checkpoints, and where the
    model is."""
    words = ("--steps", 4, "--save-every", 2, "--json")
    ran = trained(bench.words(tmp_path / "run", *words))
    told = events(ran.out)
    kinds = [event["event"] for event in told]
    assert kinds == ["started", "step", "step", "saved", "step", "step", "saved", "done"]
    steps = [event for event in told if event["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2, 3, 4]
    wanted = {"of", "loss", "lm_loss", "flow_loss", "lr", "grad_norm", "lm_chance", "epoch"}
    assert all(
        wanted | {"audio_seconds_per_second", "tokens_per_second"} <= e.keys() for e in steps
    )
    assert told[0]["songs"] == 11 and told[0]["held_out"] == 1 and told[0]["ranks"] == 1
    assert told[-1]["model"] == str(tmp_path / "run" / "model") and ran.err == ""


def test_a_log_gets_plain_lines(bench: Bench, tmp_path: Path) -> None:
    """Without a terminal the first and the last step are told on stderr; stdout is the model's
    folder, and all that --quiet leaves."""
    ran = trained(bench.words(tmp_path / "run", "--steps", 6))
    assert ran.out == f"{tmp_path / 'run' / 'model'}\n"
    assert "step 1/6  loss" in ran.err and "step 6/6  loss" in ran.err
    assert "(chance 7.30)" in ran.err and "\x1b" not in ran.err
    ran = trained(bench.words(tmp_path / "quiet", "--steps", 1, "--quiet"))
    assert ran.out == f"{tmp_path / 'quiet' / 'model'}\n" and ran.err == ""


def test_the_run_says_what_made_it(bench: Bench, tmp_path: Path) -> None:
    """run.json has the resolved settings, the exact command, versions, and the dataset: its size,
    its hash and those of its codecs."""
    words = bench.words(tmp_path / "run", "--steps", 1, "--lr", 0.002)
    trained(words)
    made = json.loads((tmp_path / "run" / "run.json").read_text())
    assert made["command"] == ["songbloom", *words]
    assert made["train"]["learning_rate"] == 0.002 and made["train"]["steps"] == 1
    assert made["model"]["ffn_dim"] == 64 and made["torch"] == torch.__version__
    described = json.loads((bench.data / "dataset.json").read_text())
    assert made["dataset"] == {
        "hash": described["dataset_hash"],
        "songs": 12,
        "hours": pytest.approx(described["hours"], abs=1e-4),
        "codebook_hash": described["codebook_hash"],
        "vae_hash": described["vae_hash"],
    }


def test_the_run_folder_follows_from_the_settings(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without -o the folder is named after all that decides what is learnt: the same command goes
    on, another seed is another run, more checkpoints are the same."""
    monkeypatch.chdir(tmp_path)
    words = ["train", bench.config, "--data", bench.data, "--steps", 4]
    first = trained([*words, "--max-steps", 2]).out
    assert first.startswith("runs/nano-")
    again = trained([*words, "--save-every", 2])
    assert again.out == first and "resumed: step 2" in again.err
    assert trained([*words, "--seed", 1]).out != first
    assert len(list(Path("runs").iterdir())) == 2


def test_checkpoints_that_are_kept(bench: Bench, tmp_path: Path) -> None:
    """The last `keep`, those of every `keep_every` steps, and the best by validation loss, which
    `best` names and state.json knows."""
    config = tmp_path / "train.toml"
    text = bench.config.read_text().replace("validate_every = 15", "validate_every = 2")
    config.write_text(text + "keep = 2\nkeep_every = 8\n")
    run = tmp_path / "run"
    words = Bench(config, bench.data).words(run, "--steps", 20, "--save-every", 2)
    trained([*words, "--lr", 0.03])  # too high, so that the last is not the best
    validated = {r["step"]: r["validation_loss"] for r in rows(run) if "validation_loss" in r}
    assert sorted(validated) == list(range(2, 21, 2))
    best = min(validated, key=lambda step: validated[step])
    assert best not in (8, 16, 18, 20), "the test needs a best one in between"
    kept = {path.name for path in (run / "checkpoints").iterdir()}
    assert kept == {f"step-{step:08d}" for step in (best, 8, 16, 18, 20)}
    assert (run / "best").read_text() == f"step-{best:08d}\n"
    assert (run / "latest").read_text() == "step-00000020\n"
    state = read_state(checkpoint(run))
    assert (state.best_step, state.best_loss) == (best, validated[best])


def test_samples_are_sung_on_the_way(bench: Bench, tmp_path: Path) -> None:
    """Every so often the held-out lyrics are sung into FLAC files, whose names are told; singing
    them does not change what is learnt."""
    for name, often in (("a", 2), ("b", 0)):
        words = ("--steps", 4, "--sample-every", often, "--json")
        ran = trained(bench.words(tmp_path / name / "run", *words))
        told = [event for event in events(ran.out) if event["event"] == "sampled"]
        assert [event["step"] for event in told] == ([2, 4] if often else [])
        for event in told:
            (file,) = event["files"]
            assert Path(file) == tmp_path / f"a/run/samples/step-{event['step']:08d}/0.flac"
            samples, rate = soundfile.read(file)
            assert rate == 48_000 and samples.shape[1] == 2 and len(samples) <= 2.56 * rate
            assert np.isfinite(samples).all()
    ours, theirs = (weights(tmp_path / name / "run") for name in "ab")
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


# --- what comes out -------------------------------------------------------------------------------


def generate(model: Path, folder: Path) -> None:
    """Sing with a model; there must be a song."""
    folder.mkdir()
    (folder / "lyrics.txt").write_text("[verse]\nLight in the morning\n")
    clip = 0.3 * np.sin(np.arange(96_000) * 0.03)
    soundfile.write(folder / "clip.wav", np.stack([clip, clip], 1), 48_000)
    song = folder / "song.flac"
    trained(
        [
            "generate",
            folder / "lyrics.txt",
            "--prompt",
            folder / "clip.wav",
            "-m",
            model,
            "-o",
            song,
        ]
    )
    samples, rate = soundfile.read(song)
    assert rate == 48_000 and len(samples) > 0 and np.isfinite(samples).all()


def test_the_model_that_comes_out_sings(one_rank: Path, bench: Bench, tmp_path: Path) -> None:
    """RUN/model is a model folder with the average of the weights, the codecs that made the
    dataset, and what it was made of; `songbloom generate` sings with it."""
    info = read_info(one_rank / "model")
    dataset = json.loads((bench.data / "dataset.json").read_text())
    assert info["sha256"]["vae.safetensors"] == dataset["vae_hash"]
    assert info["codebook_hash"] == dataset["codebook_hash"]
    assert info["training"]["step"] == 50 and info["training"]["last_row"] == rows(one_rank)[-1]
    generate(one_rank / "model", tmp_path / "song")


def test_a_lora_becomes_a_model(bench: Bench, one_rank: Path, tmp_path: Path) -> None:
    """--init-from MODEL --lora 4 trains a few weights on top of a model's into an adapter; merged,
    it is a model with the sketch transformer's q and v changed, and nothing else, and it sings."""
    base, run = one_rank / "model", tmp_path / "run"
    tuned = ("--init-from", base, "--lora", 4, "--lr", 0.01)
    begun = bench.words(run, "--steps", 6, *tuned)
    trained([*begun, "--max-steps", 3])
    ran = trained(begun)
    assert ran.out == f"{run / 'adapter'}\n" and not (run / "model").exists()
    assert "trained_parameters 512" in ran.err  # A and B of q and v, 4 x 32 each, in one layer
    trained(["merge-lora", base, run / "adapter", "-o", tmp_path / "merged"])
    cpu = torch.device("cpu")
    ours, theirs = (load_model(p, device=cpu).songbloom for p in (tmp_path / "merged", base))
    before = theirs.state_dict()
    changed = [n for n, t in ours.state_dict().items() if not torch.equal(t, before[n])]
    assert changed == ["sketch_lm.layers.0.attention.qkv.weight"]
    q, k, v = (ours.get_parameter(changed[0]) - theirs.get_parameter(changed[0])).chunk(3)
    assert q.abs().max() > 1e-4 and v.abs().max() > 1e-4 and k.abs().max() == 0
    generate(tmp_path / "merged", tmp_path / "song")


def test_what_is_frozen_stays(bench: Bench, one_rank: Path, tmp_path: Path) -> None:
    """--freeze keeps parts of a model to the bit while the others learn; a part that is not there
    is refused with those that are."""
    base, run = one_rank / "model", tmp_path / "run"
    words = bench.words(run, "--steps", 3, "--init-from", base, "--lr", 0.01)
    trained([*words, "--freeze", "sketch_lm,conditioner.lyrics"])
    cpu = torch.device("cpu")
    ours, theirs = (load_model(p, device=cpu).songbloom for p in (run / "model", base))
    before = theirs.state_dict()
    changed = {n.split(".")[0] for n, t in ours.state_dict().items() if not t.equal(before[n])}
    assert changed == {"conditioner", "patch_encoder", "dit"}
    assert ours.conditioner.lyrics.symbols.weight.equal(before["conditioner.lyrics.symbols.weight"])
    ran = here([*words, "-o", tmp_path / "x", "--freeze", "sketch", "--quiet"])
    assert ran.code == 2 and "sketch_lm, patch_encoder" in ran.err


def test_channels_are_weighed_as_the_vae_says(bench: Bench, tmp_path: Path) -> None:
    """weigh_channels changes the flow loss from the first step on and not the sketch's; a VAE that
    does not tell its channels apart is refused."""
    config, found = tmp_path / "weighed.toml", []
    config.write_text(bench.config.read_text() + "weigh_channels = true\n")
    weighed = Bench(config, bench.data)
    for number, one in enumerate((bench, weighed)):
        run = tmp_path / str(number)
        trained(one.words(run, "--steps", 1))
        found += rows(run)
    plain, weighed_row = found
    assert plain["lm_loss"] == weighed_row["lm_loss"]
    assert plain["flow_loss"] != weighed_row["flow_loss"]
    write_dataset(tmp_path / "data", songs=SONGS, num_lines=1, codecs=with_oobleck(tmp_path / "m"))
    words = Bench(config, tmp_path / "data").words(tmp_path / "x", "--codecs", tmp_path / "m")
    ran = here([*words, "--quiet"])
    assert ran.code == 2 and "the oobleck VAE of" in ran.err


def with_oobleck(folder: Path) -> Path:
    """The embedded model with a small stable-audio VAE, as it is drawn, in place of its own."""
    shutil.copytree(SEEDLING, folder)
    torch.manual_seed(0)
    vae = OobleckVAE(OobleckConfig(channels=4, multipliers=(1, 1, 1, 1, 1)))
    save_file(vae.state_dict(), folder / "vae.safetensors")
    info = json.loads((folder / "model.json").read_text())
    info["sha256"]["vae.safetensors"] = sha256(folder / "vae.safetensors")
    (folder / "model.json").write_text(json.dumps(info | {"vae": describe_vae(vae)}))
    return folder


def test_an_adapters_run_resumes_to_the_bit(bench: Bench, one_rank: Path, tmp_path: Path) -> None:
    """3 + 3 steps of LoRA are 6."""
    words = ("--steps", 6, "--init-from", one_rank / "model", "--lora", 4)
    trained(bench.words(tmp_path / "a", *words))
    trained(bench.words(tmp_path / "b", *words, "--max-steps", 3))
    trained(bench.words(tmp_path / "b", *words))
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert contents(tmp_path / "a" / "adapter") == contents(tmp_path / "b" / "adapter")


def test_fine_tuning_begins_where_the_model_is(
    bench: Bench, one_rank: Path, tmp_path: Path
) -> None:
    """--init-from starts at the losses that the model had reached, far below those of drawn
    weights."""
    trained(bench.words(tmp_path / "tuned", "--steps", 1, "--init-from", one_rank / "model"))
    drawn, tuned = rows(one_rank)[0], rows(tmp_path / "tuned")[0]
    assert tuned["lm_loss"] < drawn["lm_loss"] - 1


def test_reset_sketch(bench: Bench, one_rank: Path, tmp_path: Path) -> None:
    """A model whose codebook is unknown is refused, with the way out; --reset-sketch draws its
    tables anew, so that it begins at chance, and the new model knows its codebook."""
    base = tmp_path / "base"
    base.mkdir()
    for path in (one_rank / "model").iterdir():
        (base / path.name).symlink_to(path)
    info = json.loads((base / "model.json").read_text())
    (base / "model.json").unlink()
    (base / "model.json").write_text(json.dumps({**info, "codebook_hash": "unknown"}))
    words = bench.words(tmp_path / "run", "--steps", 1, "--init-from", base)
    ran = here([*words, "--quiet"])
    assert ran.code == 1 and "codebook is unknown" in ran.err and "--reset-sketch" in ran.err
    ran = trained([*words, "--reset-sketch", "-o", tmp_path / "reset"])
    assert "the sketch embedding and head are drawn anew" in ran.err
    (row,) = rows(tmp_path / "reset")
    assert row["lm_loss"] == pytest.approx(row["lm_chance"], abs=0.3)
    assert row["flow_loss"] < rows(one_rank)[0]["flow_loss"]
    dataset = json.loads((bench.data / "dataset.json").read_text())
    assert read_info(tmp_path / "reset" / "model")["codebook_hash"] == dataset["codebook_hash"]
