"""The full backends, through their libraries: tiny models of random weights in the libraries' own
formats, which show that sound goes in as it should and comes out as the library would have it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from songbloom import audio
from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.evaluation import aesthetics, embeddings
from songbloom.evaluation.embeddings import Embeddings
from songbloom.evaluation.items import Item
from songbloom.stages import tools, tools_environment


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve and a half seconds of coloured noise, in stereo."""
    noise = np.random.default_rng(0).standard_normal((2, 150_000)).cumsum(axis=1)
    path = tmp_path_factory.mktemp("song") / "song.wav"
    audio.save(path, (noise / np.abs(noise).max()).astype(np.float32), 12_000)
    return path


def embedded(backend: str, model: Path, song: Path, work: Path) -> np.ndarray:
    """A song's embeddings, which are the same when they are made anew."""
    settings = {"backend": backend, "model": str(model)}
    first, second = (
        Embeddings(embeddings.model("fad", settings), work / part).of(song) for part in "ab"
    )
    np.testing.assert_array_equal(first, second)
    return first


def test_encodec(song: Path, tmp_path: Path) -> None:
    """75 embeddings a second, those of the library's encoder for ten seconds at a time."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.EncodecConfig(
        num_filters=4, hidden_size=8, num_lstm_layers=1, codebook_size=16, codebook_dim=8
    )
    model = transformers.EncodecModel(config).eval()
    model.save_pretrained(tmp_path / "encodec")
    found = embedded("encodec", tmp_path / "encodec", song, tmp_path)
    mono = torch.from_numpy(embeddings.mono(song, 24_000))
    with torch.inference_mode():
        expected = model.encoder(mono[None, None, :240_000])[0].T
    assert found.shape == (938, 8)
    np.testing.assert_allclose(found[:750], expected.numpy(), atol=1e-6)


def test_clap(song: Path, tmp_path: Path) -> None:
    """Windows of ten seconds, every second, embedded as the library does each."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = tiny_clap(transformers, tmp_path / "clap")
    found = embedded("clap", tmp_path / "clap", song, tmp_path)
    extractor = transformers.ClapFeatureExtractor.from_pretrained(tmp_path / "clap")
    third = embeddings.mono(song, 48_000)[2 * 48_000 :][:480_000]
    features = extractor(third, sampling_rate=48_000, return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_audio_features(**features)
    assert found.shape == (3, 16)
    np.testing.assert_allclose(found[2:], expected.pooler_output.numpy(), atol=1e-5)


def tiny_clap(transformers: Any, folder: Path) -> Any:
    """A CLAP model of random weights, saved as the library saves its own."""
    audio_config = {
        "window_size": 8, "num_mel_bins": 64, "spec_size": 256, "patch_size": 4,
        "patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2],
        "hidden_size": 32, "projection_dim": 16, "num_classes": 4,
    }  # fmt: skip
    text_config = {
        "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "projection_dim": 16, "max_position_embeddings": 32,
    }  # fmt: skip
    config = transformers.ClapConfig(
        audio_config=audio_config, text_config=text_config, projection_dim=16
    )
    model = transformers.ClapModel(config).eval()
    model.save_pretrained(folder)
    extractor = transformers.ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad")
    extractor.save_pretrained(folder)
    return model


def test_vggish(song: Path, tmp_path: Path) -> None:
    """0.96 s a window, the library's numbers before the last ReLU; weights that are none are
    refused with their file."""
    vggish = pytest.importorskip("torchvggish.torchvggish")
    inputs = pytest.importorskip("torchvggish.vggish_input")
    torch.manual_seed(0)
    model = vggish.VGG(vggish.make_layers(), postprocess=False).eval()
    torch.save(model.state_dict(), tmp_path / "vggish.pth")
    found = embedded("vggish", tmp_path / "vggish.pth", song, tmp_path)
    windows = inputs.waveform_to_examples(embeddings.mono(song, 16_000), 16_000)
    with torch.inference_mode():
        expected = model(windows.detach())
    assert found.shape == (13, 128)
    np.testing.assert_allclose(found.clip(0), expected.numpy(), atol=1e-6)
    assert (found < 0).any()
    torch.save({"other": torch.zeros(2)}, tmp_path / "vggish.pth")
    with pytest.raises(SongBloomError, match="vggish.pth: is not torchvggish's weights"):
        embedded("vggish", tmp_path / "vggish.pth", song, tmp_path / "again")


def test_audiobox(song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four axes, of a song the mean of its ten-second clips by their lengths, in the scale that
    the model's own file holds; a clip alone has the library's number."""
    aes = pytest.importorskip("audiobox_aesthetics.model.aes")
    small = {
        "encoder_layers": 2, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 32,
        "encoder_attention_heads": 2, "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + "
        "[(16,2,2)] * 2", "conv_pos": 16, "conv_pos_groups": 2,
    }  # fmt: skip
    config = aes.WavLMConfig({**vars(aes.DEFAULT_AUDIO_CFG), **small})
    monkeypatch.setattr(aes, "DEFAULT_AUDIO_CFG", config)
    torch.manual_seed(0)
    scale = {axis: {"mean": 5.0 + n, "std": 2.0} for n, axis in enumerate(aesthetics.AXES)}
    model = aes.AesMultiOutput(nth_layer=3, target_transform=scale).eval()
    model.save_pretrained(tmp_path / "aes")
    metric = aesthetics.load({"model": str(tmp_path / "aes"), "axis": "CE"}, tmp_path)
    measured = metric.measure(Item("song", song))
    mono = torch.from_numpy(embeddings.mono(song, 16_000))
    guesses = []
    for clip in mono.split(160_000):
        wav = torch.zeros(1, 1, 160_000)
        wav[..., : len(clip)] = clip
        mask = torch.zeros(1, 1, 160_000, dtype=torch.bool)
        mask[..., : len(clip)] = True
        with torch.inference_mode():
            guesses.append((float(model({"wav": wav, "mask": mask})["CE"]), len(clip)))
    raw = sum(g * n for g, n in guesses) / sum(n for _, n in guesses)
    assert measured.amount == pytest.approx(5 + 2 * raw, abs=1e-5)
    assert set(measured.details) == set(aesthetics.AXES)
    assert metric.parts([measured])["CE"] == metric.combine([measured]) == measured.amount
    assert str(tmp_path) not in json.dumps(metric.identity())


MULAN = """
import runpy, sys
runpy.run_path(sys.argv[2])["_mend_torchaudio"]()
sys.path.append(sys.argv[3])
from muq import MuQ, MuQConfig, MuQMuLan
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Wav2Vec2ConformerConfig, XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizerFast,
)

folder = sys.argv[1]
small = Wav2Vec2ConformerConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
).to_dict()
del small["id2label"], small["label2id"]
stat = {"melspec_2048_mean": 0.0, "melspec_2048_std": 1.0}
MuQ(MuQConfig(conv_dim=32, encoder_dim=32, encoder_depth=2, codebook_size=16, stat=stat,
              w2v2_config=small)).save_pretrained(f"{folder}/muq")
words = [(w, -1.0) for w in ("<s>", "<pad>", "</s>", "<unk>", *"\u2581abcdefghijklmnopqrstuvwxyz")]
tokenizer = Tokenizer(models.Unigram(words, unk_id=3))
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
tokenizer = XLMRobertaTokenizerFast(tokenizer_object=tokenizer)
tokenizer.save_pretrained(f"{folder}/xlm-roberta")
XLMRobertaModel(XLMRobertaConfig(
    vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32, max_position_embeddings=64,
)).save_pretrained(f"{folder}/xlm-roberta")
tower = {"dim": 24, "tf_depth": 1, "heads": 2, "dim_head": 8, "ff_mult": 2}
MuQMuLan({
    "mulan": {"sr": 24000, "clip_secs": 10, "dim_latent": 16},
    "audio_model": {"name": f"{folder}/muq", "model_dim": 32, "use_layer_idx": -1},
    "text_model": {"name": f"{folder}/xlm-roberta", "model_dim": 32, "use_layer_idx": -1},
    "audio_transformer": tower, "text_transformer": tower | {"max_seq_len": 64},
}).save_pretrained(f"{folder}/mulan")
import numpy, torch
model = MuQMuLan.from_pretrained(f"{folder}/mulan", local_files_only=True).eval()
with torch.inference_mode():
    whole = model(wavs=torch.from_numpy(numpy.load(f"{folder}/song.npy"))[None])
    text = model(texts=["slow piano"])
numpy.save(f"{folder}/expected.npy", torch.cat([whole, text]).numpy())
"""


@pytest.mark.slow
def test_muq_mulan(song: Path, tmp_path: Path) -> None:
    """Through the tools environment: clips of ten seconds whose mean is what MuQ-MuLan's library
    gives for the song, and descriptions in the same space."""
    try:
        python = tools_environment.python("muq")
    except MissingAssetError as error:
        pytest.skip(error.message)
    np.save(tmp_path / "song.npy", embeddings.mono(song, 24_000))
    worker = tools.FOLDER / "tool_worker.py"
    command = [python, "-I", "-c", MULAN, tmp_path, worker, tools_environment.STUBS]
    subprocess.run([str(word) for word in command], check=True)
    expected = np.load(tmp_path / "expected.npy")
    found = embedded("muq-mulan", tmp_path / "mulan", song, tmp_path)
    assert found.shape == (2, 16)
    np.testing.assert_allclose(found.mean(axis=0), expected[0], atol=1e-5)
    (tmp_path / "style.txt").write_text("slow piano\n")
    words = embedded("muq-mulan", tmp_path / "mulan", tmp_path / "style.txt", tmp_path)
    np.testing.assert_allclose(words, expected[1:], atol=1e-5)
