"""`export --to release`: what is written is what the importer of released models reads back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from cli.helpers import Ran, assert_refused
from export.conftest import song_of
from generation.conftest import make_model
from training.runs import contents, here

from songbloom.errors import SongBloomError
from songbloom.export import release
from songbloom.export.trial import build, conditions, sing
from songbloom.model.checkpoint import load_model, load_tensors, read_contents, read_info
from songbloom.model.release import fold_vae, import_release, released_vae
from songbloom.model.vae import OobleckConfig, OobleckVAE

MINI = Path(__file__).parents[1] / "data" / "release_mini"


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released model, imported."""
    folder = tmp_path_factory.mktemp("release") / "mini"
    import_release(MINI, folder)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of ours that a release can be, with settings that one cannot have."""
    folder = tmp_path_factory.mktemp("own") / "ours"
    make_model(folder, ffn_dim=128, end_bias=-9)
    return folder


def to_release(*words: object) -> Ran:
    return here(["export", *words, "--to", "release"])


def test_a_release_comes_back(imported: Path, tmp_path: Path) -> None:
    """Import, export, import: weights, VAE, vocabulary, config and notice are the same bytes."""
    assert to_release(imported, "-o", tmp_path / "out").code == 0
    import_release(tmp_path / "out", tmp_path / "back")
    first, second = contents(imported), contents(tmp_path / "back")
    assert first.pop("model.json") != second.pop("model.json") and first == second
    before, after = read_info(imported), read_info(tmp_path / "back")
    assert before.pop("source") != after.pop("source"), "another .pt"
    assert before == after


def test_it_is_laid_out_as_released(imported: Path, tmp_path: Path) -> None:
    """The yaml says what the release's says, key by key; the .pt has its tensors, but for the
    copies of the VAE that newer releases leave out, bit by bit where they are the model's."""
    to_release(imported, "-o", tmp_path / "out")
    theirs, ours = (
        yaml.safe_load((folder / "songbloom_mini.yaml").read_text("utf-8"))
        for folder in (MINI, tmp_path / "out")
    )
    theirs["min_dur"] = 0  # of its training alone
    assert ours == theirs
    before, after = (
        torch.load(folder / "songbloom_mini.pt", weights_only=True)
        for folder in (MINI, tmp_path / "out")
    )
    copies = {key for key in before if ".prompt_wav.tokenizer." in key}
    assert copies and after.keys() == before.keys() - copies
    for key, tensor in after.items():
        same = torch.equal(tensor, before[key])
        assert same or ("vae." in key and torch.allclose(tensor, before[key], atol=1e-6)), key


def test_our_model_sings_the_same_from_a_release(own: Path, tmp_path: Path, stage: Path) -> None:
    """Tokens, latents and songs of a model of ours are those of the model that was imported back;
    what a yaml cannot say is told."""
    ran = to_release(own, "-o", tmp_path / "out", "--name", "songbloom_own")
    assert ran.code == 0 and "objective.masking is 'paper'" in ran.err
    assert_refused(to_release(own, "-o", tmp_path / "x", "--name", "a/b"), 2, "a/b", "--name")
    import_release(tmp_path / "out", tmp_path / "back")
    model = load_model(tmp_path / "back", device=torch.device("cpu"))
    assert model.name == "songbloom_own" and model.config.ffn_dim == 128
    songs = []
    for folder in (own, tmp_path / "back"):
        parts = read_contents(folder)
        songs.append(sing(build(parts, torch.float32), conditions(parts), 4))
    assert len(songs[0].sketch) == 16 and torch.equal(songs[0].sketch, songs[1].sketch)
    assert torch.equal(songs[0].latents, songs[1].latents)
    files = [tmp_path / f"{name}.wav" for name in ("before", "after")]
    assert song_of(stage, own, files[0]) == song_of(stage, tmp_path / "back", files[1])


def test_same_bytes(own: Path, tmp_path: Path) -> None:
    """The same model gives the same files, in folders of other names; half precision stays so."""
    for name in ("one", "other"):
        assert to_release(own, "-o", tmp_path / name, "--dtype", "bfloat16").code == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "other")
    import_release(tmp_path / "one", tmp_path / "back")
    kinds = {t.dtype for t in load_tensors(tmp_path / "back/model.safetensors").values()}
    assert kinds == {torch.bfloat16}


def test_kernels_without_a_direction() -> None:
    """A VAE's kernel of zeros, which weight norm cannot divide by, comes back as zeros."""
    config = OobleckConfig(channels=4, multipliers=(1, 1, 1, 1, 1), latent_dim=8)
    tensors = OobleckVAE(config).state_dict()
    key = next(key for key in tensors if key.endswith(".weight"))
    tensors[key][0] = 0.0
    _, folded = fold_vae(config, released_vae(tensors), "test")
    assert all(torch.equal(tensor, folded[name]) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ffn_dim": 96}, "ffn_dim"),
        ({"ffn_dim": 128, "prefix_order": "lyrics-reference"}, "prefix_order"),
        ({"ffn_dim": 128, "dit_inputs": "hidden"}, "dit_inputs"),
        ({"ffn_dim": 128, "sketch_vocab_size": 0, "dit_inputs": "hidden"}, "sketch"),
    ],
    ids=["ffn_dim", "prefix_order", "dit_inputs", "no sketch"],
)
def test_what_no_release_can_be(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    """A model of another build is refused by the key that differs, before weights are read."""
    make_model(tmp_path / "odd", **changes)
    (tmp_path / "odd" / "model.safetensors").unlink()
    refused = to_release(tmp_path / "odd", "-o", tmp_path / "x")
    assert_refused(refused, 2, "--to release", text, "Leave --to out")
    assert not (tmp_path / "x").exists()


def test_another_vae_is_no_release(tmp_path: Path) -> None:
    """The embedded model's VAE is not the release's."""
    assert_refused(to_release("seedling", "-o", tmp_path / "x"), 2, "oobleck", "seedling")


def test_what_comes_back_otherwise_is_not_written(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tensor that differs in one bit from the model's stops the export: nothing is left."""
    whole = release.released_tensors

    def careless(*args: Any) -> dict[str, torch.Tensor]:
        tensors = whole(*args)
        tensors["model.bos_token"][0] += 1e-6
        return tensors

    monkeypatch.setattr(release, "released_tensors", careless)
    with pytest.raises(SongBloomError, match="sketch_lm.bos came back otherwise"):
        release.write_release(read_contents(own), tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_release_is_not_overwritten(own: Path, tmp_path: Path) -> None:
    """A folder with a release in it stays unless forced."""
    assert to_release(own, "-o", tmp_path / "out").code == 0
    assert_refused(to_release(own, "-o", tmp_path / "out"), 2, "--force")
    assert to_release(own, "-o", tmp_path / "out", "--force").code == 0


def test_report(own: Path, tmp_path: Path) -> None:
    """--json tells files and what the layout cannot say."""
    ran = to_release(own, "-o", tmp_path / "out", "--json")
    report = json.loads(ran.out)
    assert report["kind"] == "release" and len(report["warnings"]) > 0
    assert report["sha256"].keys() == contents(tmp_path / "out").keys() - {"README.md"}
