"""The headline: what `songbloom train` has learnt by heart, `songbloom generate` sings back."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from songbloom import audio
from songbloom.data.shards import open_shards
from songbloom.hub import EMBEDDED_FOLDER
from songbloom.synth.render import render
from songbloom.synth.score import Score, compose
from songbloom.training.metrics import read_metrics
from songbloom.training.synthetic import write_dataset
from songbloom.units import SAMPLE_RATE
from songbloom_cli.main import run

SONGS, SEED = 3, 381  # short ones: 457 frames in all
LM_LOSS, FLOW_LOSS = 0.01, 0.3  # where a token by chance costs 7.3, and velocity zero about 1.9


def one_line(score: Score) -> str:
    """The score's lyrics as the dataset has them: a part without words is its tag once a second."""
    parts = []
    for number, section in enumerate(score.sections):
        lines = [line.text for line in score.lines if line.section == number]
        seconds = max(1, round(section.end - section.start))
        tags = [f"[{section.tag}]"] * (1 if lines else seconds)
        parts.append(" ".join([*tags, ".".join(lines)]).strip())
    return " , ".join(parts)


@pytest.mark.slow
def test_three_songs_are_sung_back(tmp_path: Path) -> None:
    """The nano preset learns three real songs from shards, and the exported model sings the sketch
    of each, greedily, token for token, from its words and another song's sound."""
    pytest.importorskip("pyworld")
    seedling = EMBEDDED_FOLDER / "seedling"
    write_dataset(
        tmp_path / "data", songs=SONGS, seed=SEED, num_lines=1, codecs=seedling, sound="sung"
    )
    trained = ["train", "--data", str(tmp_path / "data"), "--preset", "nano", "--gpus", "0"]
    batch = ["--batch-size", str(SONGS), "--micro-batch", str(SONGS)]
    assert run([*trained, *batch, "-o", str(tmp_path / "run")]) == 0
    *_, last = read_metrics(tmp_path / "run")
    assert last["lm_loss"] < LM_LOSS and last["flow_loss"] < FLOW_LOSS
    scores = [compose(SEED, index, num_lines=1) for index in range(SONGS)]
    shards = open_shards(tmp_path / "data")
    for index, score in enumerate(scores):
        other = render(scores[(index + 1) % SONGS]).mix  # a short song has no window to spare
        audio.save(tmp_path / "other.wav", other, SAMPLE_RATE)
        sung = sing(tmp_path, one_line(score), f"song{index}")
        true = next(
            shards.read(n).sketch for n in range(SONGS) if shards.ids[n].endswith(str(index))
        )
        whole = len(true) // 16 * 16  # the patch in which EOS comes is not sung
        assert len(set(true.tolist())) > 15, "a sketch of few tokens would prove little"
        assert sung.tolist() == true[:whole].tolist()


def sing(folder: Path, lyrics: str, name: str) -> np.ndarray:
    """The sketch of a song that the exported model makes, without any chance in it."""
    (folder / f"{name}.txt").write_text(lyrics, encoding="utf-8")
    wanted = [str(folder / f"{name}.txt"), "--prompt", str(folder / "other.wav")]
    model = ["--model", str(folder / "run" / "model"), "-o", str(folder / f"{name}.wav")]
    sampling = ["--temperature", "0", "--sketch-cfg", "1", "--latent-cfg", "1", "--steps", "12"]
    assert run(["generate", *wanted, *model, *sampling]) == 0
    return load_file(folder / f"{name}.song" / "arrays.safetensors")["sketch_tokens"]


def test_the_model_says_how_it_was_trained(tmp_path: Path) -> None:
    """model.json of a trained model names the settings, the dataset and the codecs' hashes."""
    seedling = EMBEDDED_FOLDER / "seedling"
    info = write_dataset(tmp_path / "data", songs=2, num_lines=1, codecs=seedling)
    asked = ["--data", str(tmp_path / "data"), "--preset", "nano", "--gpus", "0"]
    limits = ["--max-steps", "1", "--batch-size", "2", "--micro-batch", "2", "--crop", "1.28"]
    assert run(["train", *asked, *limits, "-o", str(tmp_path / "run")]) == 0
    made = json.loads((tmp_path / "run" / "model" / "model.json").read_text("utf-8"))
    own = json.loads((seedling / "model.json").read_text("utf-8"))
    assert made["training"]["dataset"]["hash"] == info.dataset_hash
    assert made["training"]["train"]["crop"] == 1.28
    assert made["codebook_hash"] == own["codebook_hash"]
    assert made["sha256"]["vae.safetensors"] == own["sha256"]["vae.safetensors"]
