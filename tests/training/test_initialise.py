"""--init-from: the same weights, or a refusal that names both sides."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from model.small import seeded, small_config, small_model

from songbloom.errors import SongBloomError
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY, Vocabulary
from songbloom.model.checkpoint import Model, describe_vae, save_model
from songbloom.model.config import ModelConfig, ObjectiveConfig, SamplingConfig
from songbloom.model.songbloom import SongBloom
from songbloom.model.vae import OobleckConfig, OobleckVAE
from songbloom.training.initialise import init_from

OURS = "c0de" * 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model whose codebook is known."""
    torch.manual_seed(1)
    vae = OobleckVAE(OobleckConfig(channels=4, multipliers=(1, 1, 1, 1, 1), latent_dim=8))
    model = small_model(seed=4)
    folder = tmp_path_factory.mktemp("models") / "small"
    save_model(
        folder,
        info={"name": "small", "licence": "none", "codebook_hash": OURS},
        config=model.config,
        vocabulary=RELEASE_VOCABULARY,
        songbloom=model.state_dict(),
        vae=vae.state_dict(),
        vae_info=describe_vae(vae),
    )
    return folder


def start(
    folder: Path,
    config: ModelConfig,
    *,
    vocabulary: Vocabulary = RELEASE_VOCABULARY,
    codebook_hash: str = OURS,
    reset_sketch: bool = False,
    seed: int = 9,
) -> tuple[SongBloom, list[str]]:
    model = SongBloom(config)
    model.init_weights(seeded(7))
    warnings = init_from(
        model,
        folder,
        vocabulary=vocabulary,
        codebook_hash=codebook_hash,
        reset_sketch=reset_sketch,
        generator=seeded(seed),
    )
    return model, warnings


def refused(folder: Path, config: ModelConfig, *words: str, **given: Any) -> str:
    with pytest.raises(SongBloomError) as caught:
        start(folder, config, **given)
    for word in (*words, str(folder)):
        assert word in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.hint


def test_weights_are_the_folders(folder: Path) -> None:
    """Every weight is the folder's, bit for bit, and stays trainable; objective and sampling may
    be others."""
    config = small_config(
        objective=ObjectiveConfig(flow_weight=1.0), sampling=SamplingConfig(top_k=3), init_std=0.5
    )
    model, warnings = start(folder, config)
    assert not warnings
    for name, weight in small_model(seed=4).state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_an_imported_release(mini_folder: Path, mini: Model) -> None:
    """A release does not publish its codebook: it is refused, and taken with --reset-sketch."""
    given = {"vocabulary": mini.vocabulary}
    hint = refused(mini_folder, mini.config, "unknown", "newly extracted tokens", **given)
    assert "--reset-sketch" in hint
    model, warnings = start(mini_folder, mini.config, reset_sketch=True, **given)  # type: ignore[arg-type]
    assert any("anew" in warning for warning in warnings)
    loaded = mini.songbloom.state_dict()
    for name, weight in model.state_dict().items():
        drawn = name.startswith(("sketch_lm.embedding", "sketch_lm.head"))
        assert torch.equal(weight, loaded[name]) != drawn, name


def test_codebook_that_is_called_unknown(folder: Path, tmp_path: Path) -> None:
    """A model that was trained on tokens of an unknown codebook says so, and is refused as well."""
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    info = json.loads((copy / "model.json").read_text("utf-8"))
    (copy / "model.json").write_text(json.dumps({**info, "codebook_hash": "unknown"}), "utf-8")
    refused(copy, small_config(), "unknown")


def test_reset_sketch(folder: Path) -> None:
    """Embedding and head come from the generator alone, at the size of the new codebook; all other
    weights are the folder's."""
    config = small_config(sketch_vocab_size=90)
    models = [
        start(folder, config, codebook_hash="f00d", reset_sketch=True, seed=seed)[0]
        for seed in (1, 1, 2)
    ]
    first, again, other = (model.state_dict() for model in models)
    base = small_model(seed=4).state_dict()
    for name in base:
        drawn = name.startswith(("sketch_lm.embedding", "sketch_lm.head"))
        assert torch.equal(first[name], again[name])
        assert drawn or torch.equal(first[name], base[name]), name
    assert not torch.equal(first["sketch_lm.head.2.weight"], other["sketch_lm.head.2.weight"])
    assert first["sketch_lm.embedding.weight"].shape == (92, 64)
    assert first["sketch_lm.embedding.weight"].std().item() == pytest.approx(0.08, rel=0.05)
    assert not first["sketch_lm.head.2.bias"].any()


def test_another_codebook(folder: Path) -> None:
    """Tokens of another codebook are refused with both hashes."""
    hint = refused(folder, small_config(), OURS[:12], "f00d", codebook_hash="f00d")
    assert "--reset-sketch" in hint


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dim": 128}, ["dim 64", "128"]),
        ({"ar_layers": 3}, ["ar_layers 2", "3"]),
        ({"ar_rope_base": 40_000.0}, ["ar_rope_base 20000.0", "40000.0"]),
        ({"prefix_order": "lyrics-reference"}, ["prefix_order"]),
        ({"dit_inputs": "hidden"}, ["dit_inputs"]),
        ({"patch_size": 8}, ["patch_size 4", "8"]),
        ({"sketch_vocab_size": 90}, ["sketch_vocab_size 40", "90"]),
        ({"frontend": "v1"}, ["'release'", "'v1'"]),
    ],
)
def test_another_config(folder: Path, changes: dict[str, Any], words: list[str]) -> None:
    """A config that gives the weights another shape or meaning is refused, shape or no shape."""
    hint = refused(folder, small_config(**changes), *words)
    assert ("--reset-sketch" in hint) == ("sketch_vocab_size" in changes)


def test_room_of_the_conditions_may_change(folder: Path) -> None:
    """More room for lyrics or reference is told, not refused."""
    _, warnings = start(folder, small_config(lyric_length=20, reference_frames=9))
    assert len(warnings) == 2 and "lyric_length 12" in warnings[0]


@pytest.mark.parametrize("cut", [7, 329])
def test_another_lyric_table(folder: Path, cut: int) -> None:
    """Other lyric symbols are refused with the place where they begin to differ."""
    symbols = RELEASE_VOCABULARY.symbols
    for other in (symbols[:cut], (*symbols[:cut], "new", *symbols[cut + 1 :])):
        refused(folder, small_config(), f"from number {cut} on", vocabulary=Vocabulary(other))


def test_altered_folder(folder: Path, tmp_path: Path) -> None:
    """A folder whose files are not those it was saved with is refused before anything is read."""
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "vocabulary.json").write_text(json.dumps([""]), "utf-8")
    with pytest.raises(SongBloomError, match="altered"):
        start(copy, small_config())
