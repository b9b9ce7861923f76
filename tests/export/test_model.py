"""Models leave as they were: checkpoints put together, formats changed, nothing lost or guessed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.helpers import Ran, assert_refused
from export.conftest import generate, song_of
from generation.conftest import make_model
from safetensors.torch import load_file
from training.runs import Bench, apart, contents, here, make_bench, trained

from songbloom.export.model import ExportOptions, export_model
from songbloom.files import sha256
from songbloom.model.checkpoint import load_model, load_tensors, read_info, save_tensors


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="session")
def run(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps of one process, saved twice."""
    folder = tmp_path_factory.mktemp("one") / "run"
    trained(bench.words(folder, "--steps", 4, "--save-every", 2))
    return folder


@pytest.fixture(scope="session")
def adapted(bench: Bench, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of an adapter on that run's model."""
    folder = tmp_path_factory.mktemp("lora") / "run"
    trained(bench.words(folder, "--steps", 2, "--init-from", run / "model", "--lora", 2))
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of milliseconds."""
    folder = tmp_path_factory.mktemp("small") / "model"
    make_model(folder)
    return folder


def export(*words: object) -> Ran:
    return here(["export", *words])


def exported(*words: object) -> Ran:
    ran = export(*words)
    assert ran.code == 0, ran.err
    return ran


# ---------------------------------------------------------------- checkpoints


def test_a_run_is_exported_as_its_own_model(run: Path, tmp_path: Path) -> None:
    """The latest checkpoint's average is the model that training wrote, to the byte; model.json
    differs in saying which weights these are."""
    ran = exported(run, "-o", tmp_path / "model")
    assert ran.out == f"{tmp_path / 'model'}\n"
    ours, theirs = contents(tmp_path / "model"), contents(run / "model")
    differing = {name for name in ours if ours[name] != theirs.get(name)}
    assert differing == {"model.json", "README.md"} and theirs.keys() <= ours.keys()
    info, made = read_info(tmp_path / "model"), read_info(run / "model")
    assert info.pop("weights") == "ema"
    assert info == made


def test_weights_of_a_checkpoint(run: Path, tmp_path: Path) -> None:
    """Raw weights and the average are other weights, and those of the checkpoint that is named."""
    for name, words in {
        "ema": [run],
        "raw": [run, "--weights", "raw"],
        "before": [run / "checkpoints" / "step-00000002", "--weights", "raw"],
    }.items():
        exported(*words, "-o", tmp_path / name)
    hashes = {name: sha256(tmp_path / name / "model.safetensors") for name in ("ema", "raw")}
    hashes["before"] = sha256(tmp_path / "before" / "model.safetensors")
    assert len(set(hashes.values())) == 3
    stored = load_file(next((run / "checkpoints/step-00000002/engine").glob("*.safetensors")))
    for key, tensor in load_tensors(tmp_path / "before" / "model.safetensors").items():
        assert torch.equal(tensor, stored[f"model.{key}"]), key
    info = read_info(tmp_path / "before")
    assert (info["training"]["step"], info["training"]["last_row"]["step"]) == (2, 2)


def test_a_run_tells_what_it_was_trained_on(bench: Bench, run: Path, tmp_path: Path) -> None:
    """Songs, hours, licences and hash are in model.json and the card; the dataset may be gone."""
    exported(run, "-o", tmp_path / "model")
    data = read_info(tmp_path / "model")["training"]["dataset"]
    told = json.loads((bench.data / "dataset.json").read_text("utf-8"))
    assert (data["songs"], data["hash"]) == (12, told["dataset_hash"])
    assert data["hours"] == pytest.approx(told["hours"], abs=1e-3)
    card = (tmp_path / "model" / "README.md").read_text("utf-8")
    for text in ("| Songs | 12 |", "| Hours of music | 0.03 |", data["hash"], "nano"):
        assert text in card, text


def test_another_vae_is_refused(run: Path, small: Path, tmp_path: Path) -> None:
    """Codecs that did not make the training set are no codecs of this model."""
    refused = export(run, "-o", tmp_path / "x", "--codecs", small)
    assert_refused(refused, 1, "another VAE", "--codecs")
    assert not (tmp_path / "x").exists()


def test_a_run_without_an_average(run: Path, tmp_path: Path) -> None:
    """Where none is kept, the weights are as they are, and an average is refused."""
    shutil.copytree(run, tmp_path / "run")
    edit_json(tmp_path / "run" / "run.json", lambda made: made["train"].update(ema_decay=0.0))
    refused = export(tmp_path / "run", "-o", tmp_path / "x", "--weights", "ema")
    assert_refused(refused, 2, "no average", "--weights raw")
    exported(tmp_path / "run", "-o", tmp_path / "x")
    exported(run, "-o", tmp_path / "raw", "--weights", "raw")
    assert sha256(tmp_path / "x/model.safetensors") == sha256(tmp_path / "raw/model.safetensors")
    assert read_info(tmp_path / "x")["weights"] == "raw"


def test_another_base_is_refused(adapted: Path, small: Path, tmp_path: Path) -> None:
    """An adapter is merged into the model that it was trained from, and into no other."""
    words = (adapted, "-o", tmp_path / "x", "--codecs", "seedling", "--init-from")
    assert_refused(export(*words, small), 1, "another model", "--init-from")
    assert_refused(export(*words, tmp_path / "gone"), 4, "gone", "--init-from")
    assert not (tmp_path / "x").exists()


def edit_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    found = json.loads(path.read_text("utf-8"))
    edit(found)
    path.write_text(json.dumps(found), encoding="utf-8")


def test_lora_merged_and_apart(run: Path, adapted: Path, tmp_path: Path) -> None:
    """Apart, the adapter is the run's own; merged, the model is what merge-lora makes of it."""
    exported(adapted, "-o", tmp_path / "apart", "--lora", "apart")
    assert contents(tmp_path / "apart") == contents(adapted / "adapter")
    exported(adapted, "-o", tmp_path / "merged")
    trained(["merge-lora", run / "model", adapted / "adapter", "-o", tmp_path / "twin"])
    one, other = (tmp_path / n / "model.safetensors" for n in ("merged", "twin"))
    assert sha256(one) == sha256(other) != sha256(run / "model" / "model.safetensors")
    card = (tmp_path / "merged" / "README.md").read_text("utf-8")
    assert "## LoRA" in card and "rank 2" in card and "| Songs | 12 |" in card
    assert_refused(export(run, "-o", tmp_path / "x", "--lora", "apart"), 2, "--lora apart")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "ranks"),
    [(["--shard"], 2), (["--zero", 1], 2), (["--zero", 2], 4), (["--zero", 3], 4)],
    ids=["fsdp2", "zero1", "zero2", "zero3"],
)
def test_many_ranks_become_one_model(
    bench: Bench, run: Path, tmp_path: Path, words: list[object], ranks: int
) -> None:
    """What several ranks saved in parts is put together by this one process: the average is the
    run's own model to the byte, and the raw weights are those of one rank to rounding."""
    if "--zero" in words:
        pytest.importorskip("deepspeed")
    own = tmp_path / "run"
    split = ("--cpu-ranks", ranks, "--micro-batch", 4 // ranks, *words)
    apart(bench.words(own, "--steps", 4, "--save-every", 2, *split), tmp_path / "log")
    exported(own, "-o", tmp_path / "ema")
    name = "model.safetensors"
    assert sha256(tmp_path / "ema" / name) == sha256(own / "model" / name)
    exported(own, "-o", tmp_path / "raw", "--weights", "raw")
    exported(run, "-o", tmp_path / "one", "--weights", "raw")
    raw, one = (load_tensors(tmp_path / folder / name) for folder in ("raw", "one"))
    assert raw.keys() == one.keys()
    assert not all(torch.equal(raw[k], v) for k, v in load_tensors(tmp_path / "ema" / name).items())
    for key, tensor in one.items():
        assert torch.allclose(raw[key], tensor, rtol=0, atol=1e-5), key


# ---------------------------------------------------------------- formats


def test_export_of_a_model_gives_the_same_song(small: Path, tmp_path: Path, stage: Path) -> None:
    """Exported, exported in shards, and not at all: the same weights, and the same song."""
    exported(small, "-o", tmp_path / "whole")
    exported(small, "-o", tmp_path / "parts", "--shard-size", "50kB")
    assert sha256(tmp_path / "whole/model.safetensors") == sha256(small / "model.safetensors")
    shards = sorted((tmp_path / "parts").glob("model-*.safetensors"))
    assert len(shards) > 2 and not (tmp_path / "parts/model.safetensors").exists()
    index = json.loads((tmp_path / "parts/model.safetensors.index.json").read_text("utf-8"))
    assert index["metadata"]["sha256"] == {path.name: sha256(path) for path in shards}
    ours = load_tensors(tmp_path / "parts/model.safetensors")
    theirs = load_tensors(small / "model.safetensors")
    assert ours.keys() == theirs.keys() == index["weight_map"].keys()
    assert all(torch.equal(tensor, ours[key]) for key, tensor in theirs.items())
    models = (small, tmp_path / "whole", tmp_path / "parts")
    songs = {song_of(stage, model, tmp_path / f"{n}.wav") for n, model in enumerate(models)}
    assert len(songs) == 1
    shards[0].write_bytes(shards[1].read_bytes())
    assert_refused(generate(stage, tmp_path / "parts", tmp_path / "x.wav"), 1, shards[0].name)


def test_shards_tell_models_apart(small: Path, tmp_path: Path) -> None:
    """Two models laid out alike have indexes that differ, as the hashes of their files do."""
    make_model(tmp_path / "other", end_bias=1.0)
    told = []
    for name, model in (("a", small), ("b", tmp_path / "other")):
        report = exported(model, "-o", tmp_path / name, "--shard-size", "200kB", "--json").out
        told.append(json.loads(report)["weights_sha256"])
        assert told[-1] == sha256(tmp_path / name / "model.safetensors.index.json")
    assert told[0] != told[1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_number_formats(small: Path, tmp_path: Path, dtype: str) -> None:
    """The model's weights are rounded once, the VAE's are as they were."""
    exported(small, "-o", tmp_path / "m", "--dtype", dtype)
    wanted = getattr(torch, dtype)
    theirs = load_tensors(small / "model.safetensors")
    for key, tensor in load_tensors(tmp_path / "m/model.safetensors").items():
        assert tensor.dtype == wanted and torch.equal(tensor, theirs[key].to(wanted)), key
    assert sha256(tmp_path / "m/vae.safetensors") == sha256(small / "vae.safetensors")
    load_model(tmp_path / "m", device=torch.device("cpu"))


def test_a_weight_too_large_for_its_format(small: Path, tmp_path: Path) -> None:
    """float16 ends at 65504; a weight beyond is refused by name, not written as infinite."""
    shutil.copytree(small, tmp_path / "big")
    info = json.loads((tmp_path / "big/model.json").read_text("utf-8"))
    tensors = load_tensors(small / "model.safetensors")
    tensors["sketch_lm.bos"][0] = 1e6
    save_tensors(tmp_path / "big/model.safetensors", tensors)
    info["sha256"]["model.safetensors"] = sha256(tmp_path / "big/model.safetensors")
    (tmp_path / "big/model.json").write_text(json.dumps(info), encoding="utf-8")
    refused = export(tmp_path / "big", "-o", tmp_path / "x", "--dtype", "float16")
    assert_refused(refused, 1, "sketch_lm.bos", "float16", "bfloat16")
    assert not (tmp_path / "x").exists()


# ---------------------------------------------------------------- cards, targets, refusals


def scores_of(folder: Path) -> Path:
    path = folder / "evaluation.json"
    metric = {"value": 21.5, "interval": [20.0, 23.125], "songs": 50, "failed": 1, "unit": "%"}
    metric |= {"better": "lower", "backend": "whisper | tiny", "parts": {"substitutions": 3}}
    found = {
        "format": 1,
        "protocol": {"id": "0123456789abcdef", "name": "offline", "candidates": "first"},
        "test_set": {"hash": "feed", "songs": 51},
        "metrics": {"per": metric},
        "songs": [],
    }
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def test_scores_go_with_the_model(small: Path, tmp_path: Path) -> None:
    """model.json and the card hold every value with its interval, backend and protocol."""
    exported(small, "-o", tmp_path / "m", "--scores", scores_of(tmp_path))
    told = read_info(tmp_path / "m")["evaluation"]
    assert told["protocol"]["id"] == "0123456789abcdef"
    assert told["metrics"]["per"]["value"] == 21.5 and "parts" not in told["metrics"]["per"]
    card = (tmp_path / "m/README.md").read_text("utf-8")
    assert "| per | 21.5 % | 20 to 23.12 | lower | 50 | 1 | whisper \\| tiny |" in card
    assert "0123456789abcdef" in card and "`feed` of 51 songs" in card
    exported(tmp_path / "m", "-o", tmp_path / "again")
    assert read_info(tmp_path / "again")["evaluation"] == told, "and stay with it"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "metrics": 3}'])
def test_bad_scores(small: Path, tmp_path: Path, text: str) -> None:
    """What is no evaluation.json is refused before anything is read or written."""
    (tmp_path / "odd.json").write_text(text, encoding="utf-8")
    refused = export(small, "-o", tmp_path / "x", "--scores", tmp_path / "odd.json")
    assert_refused(refused, 1, "odd.json", "evaluate")
    assert not (tmp_path / "x").exists()


def test_the_card_names_every_file(small: Path, tmp_path: Path) -> None:
    """Every file's hash and size; a name cannot break out of its line."""
    exported(small, "-o", tmp_path / "m", "--name", "a <b>\n# c")
    info, card = read_info(tmp_path / "m"), (tmp_path / "m/README.md").read_text("utf-8")
    for name, digest in info["sha256"].items():
        size = (tmp_path / "m" / name).stat().st_size
        assert f"| `{name}` | {size:,} | `{digest}` |" in card
    assert "# a &lt;b&gt; # c\n" in card


def test_targets(small: Path, tmp_path: Path) -> None:
    """A model that is there stays unless forced, and then nothing of it is left; the same export
    gives the same bytes; the model itself is no target."""
    exported(small, "-o", tmp_path / "m", "--shard-size", "50kB")
    assert_refused(export(small, "-o", tmp_path / "m"), 2, "--force")
    exported(small, "-o", tmp_path / "m", "--force")
    exported(small, "-o", tmp_path / "twin")
    assert contents(tmp_path / "m") == contents(tmp_path / "twin")
    assert_refused(export(small, "-o", small, "--force"), 2, "the model itself")


@pytest.mark.parametrize(
    ("words", "code", "texts"),
    [
        (["nowhere"], 4, ["nowhere", "no such model"]),
        (["MODEL", "--weights", "ema"], 2, ["--weights"]),
        (["MODEL", "--weights", "best"], 2, ["best", "ema, raw"]),
        (["MODEL", "--dtype", "int3"], 2, ["--dtype", "float16"]),
        (["MODEL", "--quantise", "int4"], 2, ["--quantise", "int8"]),
        (["MODEL", "--to", "onnx"], 2, ["--to", "release"]),
        (["MODEL", "--lora", "both"], 2, ["--lora", "apart"]),
        (["MODEL", "--shard-size", "much"], 2, ["--shard-size", "2GB"]),
        (["MODEL", "--shard-size", "0"], 2, ["--shard-size"]),
        (["MODEL", "--lora", "apart", "--dtype", "float16"], 2, ["--lora apart", "--dtype"]),
        (["MODEL", "--to", "release", "--quantise", "int8"], 2, ["--to release", "--quantise"]),
        (["MODEL", "--scores", "nowhere.json"], 1, ["nowhere.json"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else str(value),
)
def test_refusals(
    small: Path, tmp_path: Path, words: list[str], code: int, texts: list[str]
) -> None:
    """Each mistake is told in one line, and nothing is written."""
    words = [str(small) if word == "MODEL" else word for word in words]
    assert_refused(export(*words, "-o", tmp_path / "x"), code, *texts)
    assert not (tmp_path / "x").exists()


def test_broken_checkpoints(run: Path, adapted: Path, tmp_path: Path) -> None:
    """An empty run, a checkpoint out of its run, a truncated file, an adapter: each by name."""
    (tmp_path / "run").mkdir()
    shutil.copy(run / "run.json", tmp_path / "run")
    target = tmp_path / "x"
    assert_refused(export(tmp_path / "run", "-o", target), 1, "holds no checkpoint")
    alone = tmp_path / "alone" / "step"
    shutil.copytree(run / "checkpoints" / "step-00000004", alone)
    assert_refused(export(alone, "-o", target), 1, "run.json")
    shutil.copytree(run, tmp_path / "cut")
    file = next((tmp_path / "cut/checkpoints/step-00000004/engine").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert_refused(export(tmp_path / "cut", "-o", target), 1, "step-00000004")
    assert_refused(export(adapted / "adapter", "-o", target), 2, "merge-lora")
    assert not target.exists()


def test_dry_run(run: Path, small: Path, tmp_path: Path) -> None:
    """Sizes are those of the files that come to be, and nothing is written."""
    for source, words in ((small, []), (small, ["--dtype", "bfloat16"]), (run, [])):
        ran = exported(source, "-o", tmp_path / "x", *words, "--dry-run", "--json")
        assert not (tmp_path / "x").exists()
        plan = json.loads(ran.out)
        exported(source, "-o", tmp_path / "x", *words)
        files = ("model.safetensors", "vae.safetensors")
        size = sum((tmp_path / "x" / name).stat().st_size for name in files)
        assert plan["disk_bytes"] == pytest.approx(size, rel=0.05)
        assert plan["parameters"] == read_info(tmp_path / "x")["parameters"]
        shutil.rmtree(tmp_path / "x")


def test_options_are_checked_without_a_command_line(small: Path, tmp_path: Path) -> None:
    """The library reports what it wrote."""
    report = export_model(small, tmp_path / "m", ExportOptions(dtype="bfloat16", name="mine"))
    info = read_info(tmp_path / "m")
    assert report["name"] == info["name"] == "mine" and report["sha256"] == info["sha256"]
    assert report["weights_sha256"] == sha256(tmp_path / "m/model.safetensors")
