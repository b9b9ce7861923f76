"""Eight-bit weights: half a step off at most, a little change of the logits, told in the card."""

import json
from pathlib import Path

import pytest
import torch
from cli.helpers import assert_refused
from generation.conftest import make_model
from model.small import seeded
from training.runs import here

from songbloom.export.quantise import measure, quantised
from songbloom.export.trial import build, conditions, sing
from songbloom.model.checkpoint import load_model, load_tensors, read_contents, read_info
from songbloom.model.int8 import Int8Linear, is_scale, quantise, use_int8


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "model"
    make_model(folder, end_bias=-9)
    return folder


def test_rounding() -> None:
    """Every weight is within half a step of its row; a row of zeros stays zero; the largest weight
    of a row is kept."""
    name = "dit.layers.0.ffn.down.weight"
    weight = torch.randn(6, 40, generator=seeded(0))
    weight[2] = 0.0
    made = quantise({name: weight, "sketch_lm.head.0.weight": weight})
    assert torch.equal(made["sketch_lm.head.0.weight"], weight), "heads stay as they are"
    steps, scale = made[name], made["dit.layers.0.ffn.down.scale"][:, None]
    assert steps.dtype == torch.int8 and steps[2].count_nonzero() == 0
    assert ((steps * scale - weight).abs() <= scale / 2 + 1e-7).all()
    assert torch.equal(steps.abs().amax(1)[[0, 1, 3, 4, 5]], torch.full((5,), 127).to(torch.int8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_layer(dtype: torch.dtype) -> None:
    """The layer is the matrix of rounded weights, in every number format and shape."""
    weight = torch.randn(64, 96, generator=seeded(1))
    made = quantise({"dit.layers.0.x.weight": weight})
    layer = Int8Linear(96, 64)
    layer.weight = made["dit.layers.0.x.weight"]
    layer.scale = made["dit.layers.0.x.scale"].to(dtype)
    x = torch.randn(2, 3, 96, generator=seeded(2)).to(dtype)
    wanted = x.double() @ (layer.weight.double() * layer.scale.double()[:, None]).T
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 0.02, torch.float16: 0.003}[dtype]
    out = layer(x)
    assert out.shape == (2, 3, 64) and out.dtype == dtype
    assert (out.double() - wanted).abs().max() < tolerance * wanted.abs().max()


def test_every_matrix_of_the_blocks(small: Path) -> None:
    """Eight matrices a pair of layers; as many parameters as before; the same modules named."""
    before = read_contents(small)
    after = quantised(before)
    found = {k for k, t in after.songbloom.items() if t.dtype == torch.int8}
    layers = [f"{p}.layers.{i}" for p in ("sketch_lm", "dit") for i in range(2)]
    parts = ("attention.qkv", "attention.out", "ffn.gate_up", "ffn.down")
    assert found == {f"{layer}.{part}.weight" for layer in layers for part in parts}
    assert {k for k in after.songbloom if is_scale(k)} == {k[:-6] + "scale" for k in found}
    model = build(before, torch.float32)
    use_int8(model)
    assert model.state_dict().keys() == after.songbloom.keys()


def test_the_change_is_small_and_measured(small: Path) -> None:
    """Logits move by per cent of their spread; a coarser rounding moves them more, so the measure
    can tell; and it is the same each time."""
    whole = read_contents(small)
    small_change = measure(whole, quantised(whole))
    assert small_change == measure(whole, quantised(whole))
    assert 0 < small_change["logits_rms"] < 0.05 and small_change["velocity_rms"] < 0.05
    assert 0 < small_change["logits_kl"] < 0.05 and small_change["same_token"] > 0.8
    coarse = quantised(whole)
    for key, tensor in coarse.songbloom.items():
        if tensor.dtype == torch.int8:
            coarse.songbloom[key] = tensor // 32 * 32  # type: ignore[index]
    worse = measure(whole, coarse)
    assert worse["logits_rms"] > 5 * small_change["logits_rms"]
    assert worse["logits_kl"] > 5 * small_change["logits_kl"]
    same = measure(whole, whole)
    assert (same["logits_rms"], same["velocity_rms"], same["same_token"]) == (0, 0, 1)


def test_a_model_that_ends_at_once(tmp_path: Path) -> None:
    """Where the model sings nothing, drawn frames are measured."""
    make_model(tmp_path / "mute", end_bias=99)
    whole = read_contents(tmp_path / "mute")
    change = measure(whole, quantised(whole))
    assert change["patches"] == 4 and change["velocity_rms"] > 0


def test_export_and_load(small: Path, tmp_path: Path) -> None:
    """The folder is smaller, loads, sings what the measured model sings, and is named as int8; its
    card holds what changed and the speeds. What wants whole weights refuses it."""
    ran = here(["export", small, "-o", tmp_path / "m", "--quantise", "int8", "--json"])
    assert ran.code == 0, ran.err
    report, info = json.loads(ran.out), read_info(tmp_path / "m")
    told = info["quantisation"]
    assert told["kind"] == "int8" and told["change"] == measure_again(small)
    assert info["parameters"] == read_info(small)["parameters"]
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (small, tmp_path / "m")]
    assert sizes[1] < 0.75 * sizes[0]
    model = load_model(tmp_path / "m", device=torch.device("cpu"))
    whole, stored = read_contents(small), read_contents(tmp_path / "m")
    ours = sing(model.songbloom, conditions(stored), 3)
    theirs = sing(build(quantised(whole), torch.float32), conditions(whole), 3)
    assert torch.equal(ours.sketch, theirs.sketch) and torch.equal(ours.latents, theirs.latents)
    card = (tmp_path / "m/README.md").read_text("utf-8")
    assert f"{told['change']['logits_kl']:g}" in card and "int8, bfloat16 activations" in card
    assert report["quantisation"]["speeds"].keys() >= {"float32", "int8, float32 activations"}
    for words in (["--dtype", "float16"], ["--quantise", "int8"]):
        refused = here(["export", tmp_path / "m", "-o", tmp_path / "x", *words])
        assert_refused(refused, 1, "quantised")
    refused = here(["export", tmp_path / "m", "-o", tmp_path / "x", "--to", "release"])
    assert_refused(refused, 2, "quantised")
    assert load_tensors(tmp_path / "m/model.safetensors").keys() == stored.songbloom.keys()


def measure_again(folder: Path) -> dict[str, float]:
    whole = read_contents(folder)
    return measure(whole, quantised(whole))
