"""Importing a release: expressions in its yaml, what is refused and how it is named."""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from model.small import largest
from torch import Tensor

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.files import sha256
from songbloom.model.checkpoint import load_model, load_tensors
from songbloom.model.release import import_release, load_pickle_tensors
from songbloom.model.release_config import ReleaseYaml

Weights = dict[str, Tensor]


@pytest.fixture
def release(release_mini: Path, tmp_path: Path) -> Path:
    """A copy of the miniature release that a test may spoil."""
    return Path(shutil.copytree(release_mini, tmp_path / "release"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "model"


def edit_weights(folder: Path, change: Callable[[Weights], Any]) -> None:
    path = folder / "songbloom_mini.pt"
    weights = torch.load(path, weights_only=True)
    change(weights)
    torch.save(weights, path)


def edit_yaml(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "songbloom_mini.yaml"
    tree = yaml.safe_load(path.read_text("utf-8"))
    change(tree)
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")


def refused(folder: Path, target: Path, *words: str, kind: type = SongBloomError) -> SongBloomError:
    """The import raises with every word in its message, and leaves no model behind."""
    with pytest.raises(kind) as caught:
        import_release(folder, target)
    for word in words:
        assert word in caught.value.message
    assert not (target / "model.json").exists()
    return caught.value


# ---------------------------------------------------------------- the yaml's expressions


@pytest.fixture
def resolve(tmp_path: Path) -> Callable[..., Any]:
    """The value of key `x` in a yaml of these lines."""

    def value(text: str, **files: str) -> Any:
        for name, content in files.items():
            (tmp_path / f"{name}.yaml").write_text(content, encoding="utf-8")
        (tmp_path / "some_config.yaml").write_text(text, encoding="utf-8")
        return ReleaseYaml(tmp_path / "some_config.yaml")["x"]

    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 5\nx: ${a}", 5),
        ("a: {b: [1, 2]}\nx: ${a.b}", [1, 2]),
        ("a: 5\nx: n${a}m", "n5m"),
        ("x: ${eval:2 * (3 + 4) - 1}", 13),
        ("a: 7\nx: ${eval:${a} // 2}", 3),
        ("a: 7\nx: ${eval:-${a} / 2}", -3.5),
        ("x: ${concat:ab, cd,e}", "abcde"),
        ("x: ${get_fname:/some/place/song.v2.yaml}", "song.v2"),
        ("x: ${dynamic_path:???/weights.pt}", "./weights.pt"),
        ("x: ${load_yaml:${dynamic_path:???/list.yaml}}", ["p", "q"]),
        ("a: ${b}\nb: ${c}\nc: deep\nx: ${a}", "deep"),
        ("x: [1, {y: '${z}'}]\nz: 4", [1, {"y": 4}]),
    ],
)
def test_expressions(resolve: Callable[..., Any], text: str, value: Any) -> None:
    """Every resolver of the release, nested and within text."""
    assert resolve(text, list="[p, q]") == value


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "open('x')",
        "[1, 2]",
        "'a' * 3",
        "(1).real",
        "2 ** 9999999",
        "1 if True else 2",
        "lambda: 1",
        "1 / 0",
        "1 +",
    ],
)
def test_eval_is_arithmetic_only(resolve: Callable[..., Any], expression: str) -> None:
    """Anything but sums and products of numbers is refused, and says what it was."""
    with pytest.raises(SongBloomError, match=re.escape(expression)):
        resolve(f'x: "${{eval:{expression}}}"')


@pytest.mark.parametrize(
    "path", ["../outside.yaml", "/etc/hostname", "???/../outside.yaml", "a/../../outside.yaml"]
)
def test_load_yaml_stays_inside(resolve: Callable[..., Any], tmp_path: Path, path: str) -> None:
    """A release's yaml cannot read files outside its folder."""
    (tmp_path.parent / "outside.yaml").write_text("secret", encoding="utf-8")
    with pytest.raises(SongBloomError, match="outside"):
        resolve(f"x: ${{load_yaml:{path}}}")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("x: ${nowhere.to.be}", "nowhere.to.be"),
        ("x: ${env:HOME}", "env"),
        ("x: ${x}", "itself"),
        ("x: ${y}\ny: ${x}", "itself"),
        ("x: [unclosed", "some_config.yaml"),
        ("just text", "some_config.yaml"),
        ("", "some_config.yaml"),
        ("x: ${load_yaml:missing.yaml}", "missing.yaml"),
    ],
)
def test_bad_yaml(resolve: Callable[..., Any], text: str, word: str) -> None:
    """A missing key, an unknown resolver, a circle, broken yaml, a missing file: each by name."""
    with pytest.raises(SongBloomError, match=re.escape(word)):
        resolve(text)


# ---------------------------------------------------------------- a good import


def test_report_and_folder(release: Path, target: Path) -> None:
    """The folder holds weights, vocabulary, notice and hashes of each; the report counts them."""
    report = import_release(release, target)
    info = json.loads((target / "model.json").read_text("utf-8"))
    assert report["name"] == info["name"] == "songbloom_mini"
    assert report["ignored_duplicates"] > 0
    assert info["sha256"] == {name: sha256(target / name) for name in info["sha256"]}
    assert {"model.safetensors", "vae.safetensors", "vocabulary.json", "NOTICE.txt"} == set(
        info["sha256"]
    )
    assert info["source"]["sha256"] == sha256(release / "songbloom_mini.pt")
    weights = load_tensors(target / "model.safetensors")
    assert report["parameters"] == sum(t.numel() for t in weights.values())
    assert "academic" in (target / "NOTICE.txt").read_text("utf-8")
    assert len(json.loads((target / "vocabulary.json").read_text("utf-8"))) == 330


def test_import_is_reproducible(release: Path, target: Path, tmp_path: Path) -> None:
    """The same release gives the same bytes."""
    first = import_release(release, target)
    second = import_release(release, tmp_path / "again", name="songbloom_mini")
    assert first["sha256"] == second["sha256"]


def test_vae_keys_of_newer_and_older_releases(release: Path, target: Path, tmp_path: Path) -> None:
    """Duplicates in the prompt conditioner are ignored whatever they hold; without the VAE in the
    .pt, the VAE's own file gives the same model."""
    before = import_release(release, target)["sha256"]

    def spoil(weights: Weights) -> None:
        for key in weights:
            if ".prompt_wav.tokenizer." in key:
                weights[key] = torch.full((2,), float("nan"))

    edit_weights(release, spoil)
    report = import_release(release, tmp_path / "spoilt")
    assert report["sha256"] == before and report["ignored_duplicates"] > 0
    edit_weights(
        release,
        lambda weights: [weights.pop(k) for k in list(weights) if "vae." in k or "tokenizer" in k],
    )
    report = import_release(release, tmp_path / "lean")
    assert report["sha256"] == before and report["ignored_duplicates"] == 0


def test_weight_norm_is_folded(release: Path, target: Path) -> None:
    """weight = g v / |v|, the norm over all dimensions but the first, with |v| other than g."""
    own = torch.load(release / "autoencoder_music_dsp1920.ckpt", weights_only=True)["state_dict"]
    import_release(release, target)
    folded = load_tensors(target / "vae.safetensors")
    for side in ("encoder", "decoder"):
        g, v = (own[f"{side}.layers.0.weight_{part}"].double() for part in "gv")
        norm = v.square().sum(dim=(1, 2), keepdim=True).sqrt()
        assert largest(folded[f"{side}.0.weight"] - g * v / norm) < 1e-6


def test_existing_target(release: Path, target: Path) -> None:
    """A model is not overwritten unless forced."""
    import_release(release, target)
    before = sha256(target / "model.json")
    with pytest.raises(UsageError) as caught:
        import_release(release, target)
    assert "--force" in caught.value.hint
    assert sha256(target / "model.json") == before
    assert import_release(release, target, force=True)["name"] == "songbloom_mini"


def test_several_yamls(release: Path, target: Path) -> None:
    """With several releases in a folder the name chooses; without one, all are named."""
    shutil.copy(release / "songbloom_mini.yaml", release / "songbloom_mini_dpo.yaml")
    refused(release, target, "songbloom_mini,", "songbloom_mini_dpo", kind=UsageError)
    assert import_release(release, target, name="songbloom_mini_dpo")["name"] == (
        "songbloom_mini_dpo"
    )
    with pytest.raises(MissingAssetError, match="other.yaml"):
        import_release(release, target, name="other", force=True)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "key",
    [
        "pretrained_path",
        "max_dur",
        "vae.vae_cfg",
        "vae.vae_ckpt",
        "model.dim",
        "model.rotary_base_val",
        "model.condition_provider_cfg.lyrics.max_len",
        "model.condition_provider_cfg.lyrics.vocab_list",
        "inference.diff_temp",
        "inference.cfg_coef",
        "train_dataset.lyric_processor",
    ],
)
def test_missing_yaml_key(release: Path, target: Path, key: str) -> None:
    """A yaml that lacks a key is refused with the key's whole path: nothing is guessed."""

    def remove(tree: dict[str, Any]) -> None:
        *parents, last = key.split(".")
        for parent in parents:
            tree = tree[parent]
        del tree[last]

    edit_yaml(release, remove)
    refused(release, target, key, "songbloom_mini.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("time_cond_type", "adaLN"),
        ("diffusion_objective", "v"),
        ("backend", "bart"),
    ],
)
def test_unknown_variants(release: Path, target: Path, key: str, value: str) -> None:
    """What this project does not implement is refused by key and value."""
    edit_yaml(release, lambda tree: tree["model"].update({key: value}))
    refused(release, target, f"model.{key}", value)


@pytest.mark.parametrize(("key", "value"), [("dim", "wide"), ("num_heads", 0), ("dim", None)])
def test_yaml_of_wrong_kind(release: Path, target: Path, key: str, value: Any) -> None:
    """A size that is no number, or impossible, is refused by name, not by a traceback."""
    edit_yaml(release, lambda tree: tree["model"].update({key: value}))
    refused(release, target, key if key == "dim" else "heads")


SOME_KEYS = [
    "model.bos_token",
    "model.ar_transformer.layers.1.self_attn.k_proj.weight",
    "model.nar_dit.layers.0.ff.ff.0.gate_proj.weight",
    "model.nar_dit.layers.1.pre_norm.beta",
    "model.condition_provider.conditioners.lyrics.blank_emb",
]


@pytest.mark.parametrize("key", SOME_KEYS)
def test_missing_tensor(release: Path, target: Path, key: str) -> None:
    """A tensor that is not there is named by its released name."""
    edit_weights(release, lambda weights: weights.pop(key))
    refused(release, target, "lacks", key, "songbloom_mini.pt")


@pytest.mark.parametrize(
    "key", ["model.bonus.weight", "optimizer.state", "model.ar_transformer.layers.2.norm.weight"]
)
def test_unexpected_tensor(release: Path, target: Path, key: str) -> None:
    """A tensor that nothing uses is refused by name."""
    edit_weights(release, lambda weights: weights.update({key: torch.zeros(3)}))
    refused(release, target, "unexpected", key)


@pytest.mark.parametrize("key", SOME_KEYS)
def test_wrong_shape(release: Path, target: Path, key: str) -> None:
    """A tensor of another shape is refused by name, with both shapes."""
    edit_weights(release, lambda weights: weights.update({key: torch.zeros(3, 5)}))
    shapes = {"bos_token": "[128]", "k_proj": "[128, 128]", "gate": "[512, 128]", "beta": "[128]"}
    shape = next((shape for part, shape in shapes.items() if part in key), "[1, 128]")
    refused(release, target, f"{key} [3, 5] (expected {shape})")


@pytest.mark.parametrize("scale", [[1.0], [1.0, "x"], "high"])
def test_bad_guidance_scales(release: Path, target: Path, scale: Any) -> None:
    """Guidance is a number or a pair of them."""
    edit_yaml(release, lambda tree: tree["inference"].update(cfg_coef=scale))
    refused(release, target, "inference.cfg_coef")


@pytest.mark.parametrize("text", ["", "- a\n- b", "- ''\n- a\n- a", "5"])
def test_bad_vocabulary(release: Path, target: Path, text: str) -> None:
    """Symbols are a list of distinct ones whose first is empty."""
    (release / "vocab_g2p.yaml").write_text(text, encoding="utf-8")
    refused(release, target, "vocab_list")


def test_numbers_with_exponents(release: Path, target: Path) -> None:
    """yaml reads 2e4 as text; it is the number all the same."""
    edit_yaml(release, lambda tree: tree["model"].update(rotary_base_val="2e4"))
    import_release(release, target)
    assert load_model(target, device=torch.device("cpu")).config.ar_rope_base == 20_000


@pytest.mark.parametrize("key", SOME_KEYS[3:])
def test_nonzero_buffer(release: Path, target: Path, key: str) -> None:
    """Buffers that are zero in every release, and that we do not have, must be zero."""
    edit_weights(release, lambda weights: weights[key].fill_(0.25))
    refused(release, target, key, "zero")


def test_missing_vae_tensor(release: Path, target: Path) -> None:
    """The VAE's tensors are checked by name too, half of a weight norm included."""
    edit_weights(release, lambda weights: weights.pop("vae.vae.decoder.layers.0.weight_v"))
    refused(release, target, "decoder")


class Evil:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["zip", "bare"])
@pytest.mark.parametrize("file", ["songbloom_mini.pt", "autoencoder_music_dsp1920.ckpt"])
def test_pickled_code_does_not_run(
    release: Path, target: Path, tmp_path: Path, kind: str, file: str
) -> None:
    """A checkpoint with code in it is refused, and the code has not run: its file is not there."""
    proof = tmp_path / "ran"
    payload = {"model.bos_token": Evil(proof)}
    if kind == "zip":
        torch.save(payload, release / file)
    else:
        (release / file).write_bytes(pickle.dumps(payload))
    refused(release, target, file, "more than tensors" if kind == "zip" else "")
    assert not proof.exists()
    torch.load(release / file, weights_only=False) if kind == "zip" else pickle.loads(
        (release / file).read_bytes()
    )
    assert proof.exists(), "the file must be able to do harm for the test to mean something"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("file", ["songbloom_mini.pt", "autoencoder_music_dsp1920.ckpt"])
def test_truncated_checkpoint(release: Path, target: Path, file: str, share: float) -> None:
    """A checkpoint cut anywhere is refused by name."""
    data = (release / file).read_bytes()
    (release / file).write_bytes(data[: int(share * len(data))])
    refused(release, target, file)


@pytest.mark.parametrize("content", [{"state_dict": {"a": 1}}, [1, 2], {}, torch.zeros(2)])
def test_not_a_state_dict(tmp_path: Path, content: Any) -> None:
    """Numbers, lists and nothing at all are no weights."""
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(SongBloomError, match="odd.pt"):
        load_pickle_tensors(tmp_path / "odd.pt")


@pytest.mark.parametrize(
    "file",
    [
        "songbloom_mini.pt",
        "autoencoder_music_dsp1920.ckpt",
        "stable_audio_1920_vae.json",
        "vocab_g2p.yaml",
    ],
)
def test_missing_file(release: Path, target: Path, file: str) -> None:
    """A file that the yaml names and that is not there is named."""
    (release / file).unlink()
    refused(release, target, file)


def test_missing_folder_and_yaml(tmp_path: Path, target: Path) -> None:
    """No folder, and a folder without a yaml, are missing assets."""
    refused(tmp_path / "nowhere", target, "nowhere", kind=MissingAssetError)
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", target, "empty", kind=MissingAssetError)


@pytest.mark.parametrize("text", ["{", "[]", '{"model": 3}', "{}"])
def test_bad_vae_config(release: Path, target: Path, text: str) -> None:
    """A VAE config that is no JSON, or lacks what is needed, is named."""
    (release / "stable_audio_1920_vae.json").write_text(text, encoding="utf-8")
    refused(release, target, "stable_audio_1920_vae.json")


def test_imported_model_loads(mini_folder: Path) -> None:
    """What was imported loads whole, with the yaml's config."""
    model = load_model(mini_folder, device=torch.device("cpu"))
    assert (model.config.dim, model.config.ar_rope_base) == (128, 30_000)
    assert model.config.objective.masking == "release"
    assert model.config.sampling.max_duration == 160
