"""`songbloom codebook`: what its commands print and write, and how they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli.helpers import Cli, assert_refused

from songbloom.data.writer import ShardWriter
from songbloom.stages.codebook import Codebook
from songbloom.training import synthetic


@pytest.fixture
def embeddings(home: Path) -> Path:
    """A folder with two files of embeddings, 1500 frames in all."""
    folder = home / "embeddings"
    folder.mkdir()
    rng = np.random.default_rng(0)
    means = 4 * rng.standard_normal((12, 6))
    for name in ("a", "b"):
        which = rng.integers(0, 12, 750)
        rows = means[which] + 0.2 * rng.standard_normal((750, 6))
        np.save(folder / f"{name}.npy", rows.astype(np.float32))
    return folder


def fitted(cli: Cli, embeddings: Path, *flags: str) -> Path:
    ran = cli("codebook", "fit", embeddings, "-o", "book.safetensors", "--size", 16, *flags)
    assert (ran.code, ran.out) == (0, "book.safetensors\n"), ran
    return Path("book.safetensors")


def test_fit_show_and_check_agree(cli: Cli, embeddings: Path) -> None:
    """A fit writes a codebook; show and check tell the same of it, as text and as JSON."""
    book = fitted(cli, embeddings)
    shown = json.loads(cli("codebook", "show", book, "--json").out)
    checked = json.loads(cli("codebook", "check", book, embeddings, "--json").out)
    assert shown["hash"] == checked["hash"] == Codebook.load(book).hash
    assert (shown["size"], shown["dim"], shown["frames"]) == (16, 6, 1500)
    same = ("frames", "size", "dead", "entropy", "entropy_share", "top1_share", "chance")
    assert [shown[key] for key in same] == [checked[key] for key in same]
    assert checked["error"] == pytest.approx(shown["error"]) and checked["error"] < 0.01
    assert checked["chance"] == pytest.approx(np.log(16))
    text = cli("codebook", "check", book, embeddings / "a.npy", embeddings / "b.npy").out
    assert "entropy_share" in text and "top1_share" in text


def test_fit_tells_its_steps_as_events(cli: Cli, embeddings: Path) -> None:
    """With --json, a line for each step and a last one with what was made; the same bytes."""
    book = fitted(cli, embeddings)
    first = book.read_bytes()
    ran = cli("codebook", "fit", embeddings, "-o", book, "--size", "16", "--json")
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert [event["event"] for event in events] == ["step"] * (len(events) - 1) + ["done"]
    assert events[-2]["step"] == events[-2]["steps"] and events[-1]["failed"] == []
    assert book.read_bytes() == first
    fitted(cli, embeddings, "--seed", "1")
    assert book.read_bytes() != first


def test_a_dry_run_tells_the_work_and_writes_nothing(cli: Cli, embeddings: Path) -> None:
    """Frames, steps, arithmetic, memory and disk, before any of it is spent."""
    ran = cli("codebook", "fit", embeddings, "-o", "b.st", "--size", "16", "--dry-run", "--json")
    plan = json.loads(ran.out)
    assert (plan["files"], plan["frames"], plan["songs"]) == (2, 1500, 0)
    assert {"steps", "tera_flop", "memory_bytes", "disk_bytes"} <= plan.keys()
    assert not Path("b.st").exists()


def test_a_training_set_is_checked_by_its_tokens(cli: Cli, embeddings: Path, home: Path) -> None:
    """Frames by code of a training set whose tokens are the codebook's; another's is refused."""
    book = Codebook.load(fitted(cli, embeddings))
    header = synthetic.write_dataset(home / "other", songs=1, num_lines=1).header
    ran = cli("codebook", "check", "book.safetensors", home / "other")
    assert_refused(ran, 1, "its tokens are of the codebook")
    mine = type(header)(**{**vars(header), "codebook_hash": book.hash, "sketch_vocab_size": 16})
    writer = ShardWriter(home / "data", mine)
    score = synthetic.compose(0, 0, num_lines=1)
    length = len(synthetic.score_to_tokens(score))
    sketch = np.arange(length) % 4
    latents = np.zeros((length, 64), np.float16)
    writer.add(synthetic.training_song(score, sketch, latents))
    writer.finish()
    told = json.loads(cli("codebook", "check", "book.safetensors", home / "data", "--json").out)
    assert (told["frames"], told["dead"], told["error"]) == (length, 12, None)
    assert told["entropy"] == pytest.approx(2.0, abs=0.01)


def test_what_cannot_be_meant_is_refused(cli: Cli, embeddings: Path, home: Path) -> None:
    """No such file, no embeddings, too few frames, songs without a model, words for a number."""
    fit = ("codebook", "fit", embeddings, "-o", "b.st")
    assert_refused(cli("codebook", "show", "absent"), 1, "absent: no such codebook")
    assert_refused(cli(*fit, "--size", "5000"), 1, "1500 frames")
    assert_refused(cli(*fit, "--size", "1"), 2, "--size 1")
    assert_refused(cli(*fit, "--normalise", "some"), 2, "none or unit")
    assert_refused(cli("codebook", "fit", "absent.npy", "-o", "b.st"), 1, "absent.npy")
    (home / "songs").mkdir()
    assert_refused(
        cli("codebook", "fit", home / "songs", "-o", "b.st"), 4, "songs", "--tokenize-model"
    )
    (home / "text.npy").write_text("no array")
    assert_refused(cli("codebook", "check", "text.npy", "text.npy"), 1, "is no codebook")
    assert not Path("b.st").exists()
