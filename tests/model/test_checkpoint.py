"""A model folder: what is saved is what is loaded; anything altered is refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from model.small import largest, random_batch, small_model
from safetensors.torch import save_file

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.files import sha256
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY
from songbloom.model.checkpoint import (
    describe_vae,
    load_model,
    load_tensors,
    load_weights,
    save_model,
)
from songbloom.model.songbloom import SongBloom
from songbloom.model.vae import OobleckConfig, OobleckVAE

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[SongBloom, OobleckVAE, Path]:
    """A small model with its VAE, and the folder they were saved in."""
    model = small_model(seed=4)
    torch.manual_seed(1)
    vae = OobleckVAE(OobleckConfig(channels=4, multipliers=(1, 2, 1, 1, 1), latent_dim=8)).eval()
    folder = tmp_path_factory.mktemp("models") / "small"
    save(folder, model, vae)
    return model, vae, folder


def save(folder: Path, model: SongBloom, vae: OobleckVAE) -> dict[str, Any]:
    return save_model(
        folder,
        info={"name": "small", "licence": "none"},
        config=model.config,
        vocabulary=RELEASE_VOCABULARY,
        songbloom=model.state_dict(),
        vae=vae.state_dict(),
        vae_info=describe_vae(vae),
    )


@pytest.fixture
def folder(saved: tuple[SongBloom, OobleckVAE, Path], tmp_path: Path) -> Path:
    """A copy of the folder that a test may spoil."""
    return Path(shutil.copytree(saved[2], tmp_path / "small"))


def reseal(folder: Path) -> None:
    """Make model.json's hashes agree with the files again."""
    edit_json(folder, lambda info: info.update(sha256={n: sha256(folder / n) for n in info[_SUM]}))


_SUM = "sha256"


def edit_json(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    info = json.loads((folder / "model.json").read_text("utf-8"))
    change(info)
    (folder / "model.json").write_text(json.dumps(info), encoding="utf-8")


def refused(folder: Path, *words: str, kind: type = SongBloomError) -> None:
    with pytest.raises(kind) as caught:
        load_model(folder, device=CPU)
    for word in words:
        assert word in caught.value.message
    assert "\n" not in caught.value.message


def test_round_trip(saved: tuple[SongBloom, OobleckVAE, Path]) -> None:
    """Loaded weights, config, vocabulary and VAE are the saved ones, bit for bit."""
    model, vae, folder = saved
    loaded = load_model(folder, device=CPU)
    assert loaded.name == "small"
    assert loaded.config == model.config
    assert loaded.vocabulary == RELEASE_VOCABULARY
    for before, after in ((model, loaded.songbloom), (vae, loaded.vae)):
        state = after.state_dict()
        assert state.keys() == before.state_dict().keys()
        for name, tensor in before.state_dict().items():
            assert torch.equal(tensor, state[name])
    assert not any(p.requires_grad for p in loaded.songbloom.parameters())
    assert not loaded.songbloom.training and not loaded.vae.training


def test_saving_twice_gives_the_same_bytes(
    saved: tuple[SongBloom, OobleckVAE, Path], tmp_path: Path
) -> None:
    """Nothing in a model folder depends on when or where it was written."""
    model, vae, folder = saved
    save(tmp_path / "again", model, vae)
    for path in sorted(folder.iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


@torch.no_grad()
def test_bfloat16(saved: tuple[SongBloom, OobleckVAE, Path]) -> None:
    """In bfloat16 the model is near its float32 self and the VAE stays float32."""
    model, _, folder = saved
    loaded = load_model(folder, device=CPU, dtype=torch.bfloat16)
    assert {p.dtype for p in loaded.songbloom.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in loaded.vae.parameters()} == {torch.float32}
    batch, _ = random_batch(model.config, [8], 2)
    prefix = model.prefix(batch.conditions)
    near = loaded.songbloom.prefix(batch.conditions)
    assert near.dtype == torch.bfloat16
    outputs, rounded = model.sketch_lm(prefix), loaded.songbloom.sketch_lm(near)
    assert 0 < largest(outputs - rounded.float()) < 0.2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("file", ["model.safetensors", "vae.safetensors", "vocabulary.json"])
def test_truncated(folder: Path, file: str, share: float) -> None:
    """A file cut anywhere is refused by its name."""
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data[: int(share * len(data))])
    refused(folder, file, "truncated")


@pytest.mark.parametrize("file", ["model.safetensors", "vae.safetensors"])
def test_tampered(folder: Path, file: str) -> None:
    """One flipped bit in the last weight is refused by the file's name."""
    data = bytearray((folder / file).read_bytes())
    data[-1] ^= 1
    (folder / file).write_bytes(data)
    refused(folder, file, "altered")


def test_truncated_and_resealed(folder: Path) -> None:
    """A broken file whose hash was written anew is still refused, not a crash."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    reseal(folder)
    refused(folder, "model.safetensors")


@pytest.mark.parametrize("file", ["model.safetensors", "vae.safetensors", "vocabulary.json"])
def test_missing_file(folder: Path, file: str) -> None:
    """A file that is gone is named."""
    (folder / file).unlink()
    refused(folder, file, "missing")


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_tensors(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    reseal(folder)


def test_missing_tensor(folder: Path) -> None:
    """Tensors that are not there are named."""
    edit_weights(folder, lambda w: w.pop("dit.layers.1.attention.qkv.weight"))
    refused(folder, "lacks", "dit.layers.1.attention.qkv.weight")


def test_unexpected_tensor(folder: Path) -> None:
    """Tensors that nothing uses are named."""
    edit_weights(folder, lambda w: w.update({"bonus": torch.zeros(1)}))
    refused(folder, "unexpected", "bonus")


def test_misshapen_tensor(folder: Path) -> None:
    """A tensor of another shape is named with both shapes."""
    edit_weights(folder, lambda w: w.update({"sketch_lm.bos": torch.zeros(7)}))
    refused(folder, "sketch_lm.bos [7] (expected [64])")


def test_many_missing_tensors_stay_one_line(folder: Path) -> None:
    """Of many names a few are shown and the rest counted."""
    edit_weights(folder, lambda w: [w.pop(k) for k in list(w) if k.startswith("dit.")])
    refused(folder, "lacks", "more")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"format": 99}', '{"format": 1}'])
def test_bad_description(folder: Path, text: str) -> None:
    """A model.json that is none, of another format or incomplete is refused by its name."""
    (folder / "model.json").write_text(text, encoding="utf-8")
    refused(folder, "model.json")


@pytest.mark.parametrize("key", ["config", "vae", "sha256", "name"])
def test_incomplete_description(folder: Path, key: str) -> None:
    """A model.json without one of its tables names the table."""
    edit_json(folder, lambda info: info.pop(key))
    refused(folder, "model.json", key)


def test_unknown_config_key(folder: Path) -> None:
    """A key that this version does not know is named, with the nearest one."""
    edit_json(folder, lambda info: info["config"].update(num_head=3))
    refused(folder, "num_head")


def test_unknown_vae(folder: Path) -> None:
    """A kind of VAE that this version does not have is named."""
    edit_json(folder, lambda info: info["vae"].update(kind="encodec"))
    refused(folder, "encodec")


def test_no_model_here(tmp_path: Path) -> None:
    """A folder without model.json is a missing asset."""
    refused(tmp_path, str(tmp_path), kind=MissingAssetError)


def test_killed_while_saving_is_no_model(
    saved: tuple[SongBloom, OobleckVAE, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """model.json comes last: before it is there, the folder is not taken for a model."""
    model, vae, _ = saved
    written: list[str] = []
    from songbloom.model import checkpoint

    write = checkpoint.write_text

    def note(path: Path, text: str) -> None:
        written.extend(sorted(p.name for p in path.parent.iterdir()))
        write(path, text)
        written.append(path.name)

    monkeypatch.setattr(checkpoint, "write_text", note)
    save(tmp_path / "small", model, vae)
    assert written[-1] == "model.json" and written.count("model.json") == 1
    assert {"model.safetensors", "vae.safetensors"} <= set(written)


def test_weights_lie_as_torch_lays_them() -> None:
    """Wherever a file's bytes were: else the last bits of a product depend on the file's header."""
    weights = {"weight": torch.arange(13.0)[1:].view(3, 4), "bias": torch.arange(4.0)[1:]}
    assert all(tensor.data_ptr() % 64 for tensor in weights.values())
    layer = torch.nn.Linear(4, 3)
    load_weights(layer, weights, Path("here"), torch.float32)
    assert all(parameter.data_ptr() % 64 == 0 for parameter in layer.parameters())
    assert torch.equal(layer.weight, weights["weight"]) and torch.equal(layer.bias, weights["bias"])
