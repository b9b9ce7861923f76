"""LoRA: nothing at first, everything in the adapter, nothing lost in the merge."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from generation.conftest import make_model
from model.small import largest, random_batch, seeded, small_model
from torch import Tensor, nn

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.files import sha256
from songbloom.model.checkpoint import Model, load_model, read_info
from songbloom.model.songbloom import SongBloom
from songbloom.training.lora import (
    TARGETS,
    LoraConfig,
    LoraLinear,
    add_lora,
    is_lora,
    load_lora,
    lora_state,
    merge_lora,
    merge_model,
    save_lora,
)

CPU = torch.device("cpu")
EVERYWHERE = LoraConfig(rank=3, targets=TARGETS)


@torch.no_grad()
def said(model: SongBloom) -> Tensor:
    predictions = model.predict(*random_batch(model.config, [12], 3))
    return torch.cat([predictions.logits.flatten(), predictions.velocity.flatten()])


def stir(parameters: Sequence[nn.Parameter], seed: int = 0) -> None:
    """As if trained: B is no longer zero."""
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn(parameter.shape, generator=seeded(seed)) * 0.1)


@pytest.mark.parametrize("config", [LoraConfig(rank=4), EVERYWHERE])
def test_step_zero_is_the_base(config: LoraConfig) -> None:
    """B is zero at first, so the outputs are bit for bit the base's."""
    model = small_model()
    before = said(model)
    add_lora(model, config, seeded(1))
    assert torch.equal(said(model), before)


def test_only_the_adapter_learns() -> None:
    """Everything else is frozen; every returned parameter gets a gradient once B is not zero, and
    the state dict is the base's with the adapter's tensors added."""
    model = small_model()
    keys = set(model.state_dict())
    parameters = add_lora(model, LoraConfig(rank=4), seeded(1))
    assert [p for p in model.parameters() if p.requires_grad] == parameters
    assert {k for k in model.state_dict() if not is_lora(k)} == keys
    assert lora_state(model).keys() == set(model.state_dict()) - keys
    stir(parameters)
    model(*random_batch(model.config, [12], 3)).total.backward()
    assert all(p.grad is not None and p.grad.any() for p in parameters)
    assert not any(p.grad is not None for p in model.parameters() if not p.requires_grad)


def test_default_targets_are_q_and_v_of_the_sketch_transformer() -> None:
    """q and v rows of the fused matrix move, k rows stay, and the DiT stays whole."""
    model, base = small_model(), small_model()
    stir(add_lora(model, LoraConfig(rank=4), seeded(1)))
    merge_lora(model)
    for name, weight in base.state_dict().items():
        moved = (model.state_dict()[name] - weight).abs().sum(-1) > 0
        if name.startswith("sketch_lm") and name.endswith("qkv.weight"):
            assert [bool(part.all()) for part in moved.chunk(3)] == [True, False, True], name
            assert not moved.chunk(3)[1].any(), name
        else:
            assert not moved.any(), name


@pytest.mark.parametrize("target", TARGETS)
def test_adapter_is_the_formula(target: str) -> None:
    """Each target adds scale B A to the rows of its own matrix."""
    part, matrix = target.split(".")
    model, base = small_model(), small_model()
    stir(add_lora(model, LoraConfig(rank=2, alpha=3.0, targets=(target,)), seeded(1)))
    a, b = (next(v for k, v in lora_state(model).items() if k.endswith(x)) for x in ("_a", "_b"))
    merge_lora(model)
    path, index, parts = {
        "q": ("attention.qkv", 0, 3),
        "k": ("attention.qkv", 1, 3),
        "v": ("attention.qkv", 2, 3),
        "out": ("attention.out", 0, 1),
        "gate": ("ffn.gate_up", 0, 2),
        "up": ("ffn.gate_up", 1, 2),
        "down": ("ffn.down", 0, 1),
    }[matrix]
    key = f"{part}.layers.0.{path}.weight"
    change = model.state_dict()[key] - base.state_dict()[key]
    expected = torch.zeros_like(change)
    expected.chunk(parts)[index].copy_(1.5 * b[0] @ a[0])
    assert largest(change - expected) < 1e-6


def test_merged_is_unmerged() -> None:
    """The merged model is a plain one and says the same, to float32 rounding."""
    model = small_model()
    before = said(model)
    stir(add_lora(model, EVERYWHERE, seeded(1)))
    adapted = said(model)
    merge_lora(model)
    assert not any(isinstance(module, LoraLinear) for module in model.modules())
    assert model.state_dict().keys() == small_model().state_dict().keys()
    merged = said(model)
    scale = largest(merged)
    assert largest(adapted - before) > 0.1 * scale, "the adapter must matter"
    assert largest(merged - adapted) < 2e-6 * scale


def test_draws_follow_the_generator() -> None:
    """One seed gives the same A, another seed another."""
    states = []
    for seed in (1, 1, 2):
        model = small_model()
        add_lora(model, LoraConfig(), seeded(seed))
        states.append(torch.cat([v.flatten() for v in lora_state(model).values()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"targets": ("sketch_lm.w",)}, "sketch_lm.w"),
        ({"targets": ()}, "no targets"),
    ],
)
def test_bad_config(values: dict[str, Any], words: str) -> None:
    """A rank below 1, and targets that are none, are refused."""
    with pytest.raises(UsageError, match=words):
        LoraConfig(**values)


def test_dit_targets_warn() -> None:
    """Adapting the DiT warns of what a published trial found; the default does not."""
    assert not LoraConfig().warnings
    (warning,) = LoraConfig(targets=("dit.q",)).warnings
    assert "vocals" in warning


# ---------------------------------------------------------------- folders


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora") / "base"
    make_model(folder)
    (folder / "NOTICE.txt").write_text("yours to read", encoding="utf-8")
    return folder


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    model = load_model(base, device=CPU)
    stir(add_lora(model.songbloom, LoraConfig(rank=2), seeded(1)))
    folder = tmp_path / "adapter"
    save_lora(folder, lora_state(model.songbloom), LoraConfig(rank=2), model.info)
    return folder


def adapted(base: Path, adapter: Path) -> Model:
    model = load_model(base, device=CPU)
    load_lora(model.songbloom, adapter, model.info)
    return model


def test_folder_round_trip(base: Path, adapter: Path) -> None:
    """What is loaded is what was saved, config included; saving again gives the same bytes."""
    model = load_model(base, device=CPU)
    config = load_lora(model.songbloom, adapter, model.info)
    assert config == LoraConfig(rank=2)
    again = adapter.with_name("again")
    save_lora(again, lora_state(model.songbloom), config, model.info)
    for name in ("adapter.safetensors", "adapter.json"):
        assert (again / name).read_bytes() == (adapter / name).read_bytes()


def test_another_base_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    """An adapter put to a model it was not trained on is refused, and both are named."""
    other = tmp_path / "other"
    make_model(other, end_bias=1.0)
    with pytest.raises(SongBloomError, match="another model than small"):
        adapted(other, adapter)
    with pytest.raises(SongBloomError, match="another model"):
        merge_model(other, adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_broken_adapter_is_refused(base: Path, adapter: Path) -> None:
    """A cut, missing or meddled adapter is refused by its file's name."""
    weights, described = adapter / "adapter.safetensors", adapter / "adapter.json"
    data, text = weights.read_bytes(), described.read_text("utf-8")
    for broken in (data[:-1], b""):
        weights.write_bytes(broken)
        with pytest.raises(SongBloomError, match="adapter.safetensors"):
            adapted(base, adapter)
    weights.write_bytes(data)
    info = json.loads(text)
    for spoilt in ("", "[]", "{}", text.replace('"format": 1', '"format": 7')):
        described.write_text(spoilt, "utf-8")
        with pytest.raises(SongBloomError, match="adapter.json"):
            adapted(base, adapter)
    described.write_text(json.dumps({**info, "rank": 3}), "utf-8")
    with pytest.raises(SongBloomError, match="misshapes"):
        adapted(base, adapter)
    described.unlink()
    with pytest.raises(MissingAssetError, match="no adapter folder"):
        adapted(base, adapter)


def test_merged_folder(base: Path, adapter: Path, tmp_path: Path) -> None:
    """The merged folder says what base and adapter say, keeps VAE, vocabulary and notice byte for
    byte, and tells what it was made of."""
    info = merge_model(base, adapter, tmp_path / "merged")
    merged = load_model(tmp_path / "merged", device=CPU)
    expected = said(adapted(base, adapter).songbloom)
    assert largest(said(merged.songbloom) - expected) < 1e-5
    before = read_info(base)
    for name in ("vae.safetensors", "vocabulary.json", "NOTICE.txt"):
        assert info["sha256"][name] == sha256(base / name)
    assert info["name"] == "merged" and info["licence"] == before["licence"]
    assert info["merged"]["base"] == {
        "name": "small",
        "sha256": before["sha256"]["model.safetensors"],
    }
    assert info["merged"]["adapter"]["sha256"] == sha256(adapter / "adapter.safetensors")
    assert info["merged"]["adapter"]["rank"] == 2


def test_merging_twice_gives_the_same_bytes(base: Path, adapter: Path, tmp_path: Path) -> None:
    """Nothing in the merged folder depends on when or where it was made."""
    for name in ("one", "two"):
        merge_model(base, adapter, tmp_path / name, name="song")
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_merge_keeps_what_is_there(base: Path, adapter: Path, tmp_path: Path) -> None:
    """A model is replaced when forced only, and the base never."""
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    with pytest.raises(UsageError, match="is a model already"):
        merge_model(base, adapter, copy)
    for force in (False, True):
        with pytest.raises(UsageError, match="the base model itself"):
            merge_model(copy, adapter, copy, force=force)
    assert merge_model(base, adapter, copy, force=True)["name"] == "copy"
