"""Sketch tokens of songs: what they say, how many there are, which backend makes them."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from stages.corpora import run

from songbloom import audio, hub
from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.manifest import Track
from songbloom.model.sketch_codec import SketchCodec
from songbloom.model.sketch_symbols import score_to_tokens
from songbloom.stages import codecs, embeddings, tokenize, tools, tools_environment
from songbloom.stages.codebook import Codebook, Source
from songbloom.stages.stage import Item, Process
from songbloom.synth.corpus import write_song
from songbloom.synth.render import render
from songbloom.synth.score import Score, compose
from songbloom.tables import PrepareConfig
from songbloom.training.sketch_codec import score_tokens
from songbloom.units import HOP, SAMPLE_RATE

SEEDLING = PrepareConfig()


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Score, Path]]:
    """Four composed songs of the held-out voices and words, sung afresh."""
    folder = tmp_path_factory.mktemp("songs")
    made = []
    for index in range(4):
        score = compose(77, index, split="test", num_lines=2)
        path = folder / f"{index}.flac"
        audio.save(path, render(score).mix, SAMPLE_RATE)
        made.append((score, path))
    return made


@pytest.fixture(scope="module")
def seedling() -> Process:
    return tokenize.load(SEEDLING, "cpu")


def item(path: Path) -> Item:
    return Item(Track(path.stem, path.name), path)


def tokens_of(process: Process, path: Path, folder: Path) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    process(item(path), folder)
    return np.load(folder / "tokens.npy", allow_pickle=False)


def noise(path: Path, samples: int, channels: int = 2, rate: int = SAMPLE_RATE) -> Path:
    rng = np.random.default_rng(samples)
    audio.save(path, 0.2 * rng.standard_normal((channels, samples)).astype(np.float32), rate)
    return path


# The embedded codec


def test_tokens_name_the_phones_and_notes_that_are_sung(
    seedling: Process, songs: list[tuple[Score, Path]], tmp_path: Path
) -> None:
    """On songs never heard before, against their scores (measured: see benchmarks/tokens.py)."""
    heard = [tokens_of(seedling, path, tmp_path) for _, path in songs]
    true = [score_to_tokens(score)[: len(h)] for (score, _), h in zip(songs, heard, strict=True)]
    scores = score_tokens([h[: len(t)] for h, t in zip(heard, true, strict=True)], true)
    assert scores["voicing_accuracy"] > 0.95
    assert scores["phone_accuracy"] > 0.75
    assert scores["voiced_phone_accuracy"] > 0.55
    assert scores["pitch_accuracy"] > 0.8
    assert scores["chord_accuracy"] > 0.7


def test_tokens_are_the_model_s_own_and_say_what_made_them(
    seedling: Process, songs: list[tuple[Score, Path]], tmp_path: Path
) -> None:
    """They equal what the codec itself gives, with the hash that the model folder states."""
    path = songs[0][1]
    fields = seedling(item(path), tmp_path)
    codec = SketchCodec.load(hub.EMBEDDED_FOLDER / "seedling", "sketch")
    mix = torch.from_numpy(audio.load(path, SAMPLE_RATE))[None]
    tokens = np.load(tmp_path / "tokens.npy", allow_pickle=False)
    assert tokens.dtype == np.int32 and tokens.tolist() == codec.encode(mix)[0].tolist()
    stated = json.loads((hub.EMBEDDED_FOLDER / "seedling" / "model.json").read_text())
    assert fields == {
        "frames": mix.shape[-1] // HOP,
        "vocab_size": 1480,
        "codebook_hash": stated["codebook_hash"],
        "used": len(set(tokens.tolist())),
    }
    assert codec.codebook_hash == stated["codebook_hash"]


@pytest.mark.parametrize("samples", [1920, 1921, 3839, 3840, 95_999, 96_000])
def test_there_is_a_token_for_every_whole_frame(
    seedling: Process, tmp_path: Path, samples: int
) -> None:
    """T = samples // 1920: an incomplete last frame is dropped, nothing is made up."""
    path = noise(tmp_path / "n.wav", samples)
    assert len(tokens_of(seedling, path, tmp_path)) == samples // HOP


def test_other_rates_and_channels_are_the_same_song(
    seedling: Process, songs: list[tuple[Score, Path]], tmp_path: Path
) -> None:
    """Mono, six channels and 44.1 kHz give nearly the tokens of 48 kHz stereo, and as many."""
    import soxr

    mix = audio.load(songs[0][1], SAMPLE_RATE)
    mono = mix.mean(0, keepdims=True)
    half = mix * 0.5
    surround = np.concatenate([half, half.mean(0, keepdims=True), 0 * mono, 0 * half])
    low = soxr.resample(mix.T, SAMPLE_RATE, 44_100, quality="VHQ").T
    own = tokens_of(seedling, songs[0][1], tmp_path / "own")
    for name, samples, rate in (
        ("mono", mono, SAMPLE_RATE),
        ("surround", surround, SAMPLE_RATE),
        ("low", low, 44_100),
    ):
        audio.save(tmp_path / f"{name}.wav", samples, rate)
        tokens = tokens_of(seedling, tmp_path / f"{name}.wav", tmp_path / name)
        length = min(len(tokens), len(own))
        assert abs(len(tokens) - len(own)) <= 1
        assert (tokens[:length] == own[:length]).mean() > (0.7 if name == "surround" else 0.95)


def test_songs_do_not_depend_on_songs_before(
    seedling: Process, songs: list[tuple[Score, Path]], tmp_path: Path
) -> None:
    """A process gives the bytes that a fresh one gives, after any other song."""
    tokens_of(seedling, songs[1][1], tmp_path / "b")
    tokens_of(seedling, songs[0][1], tmp_path / "a")
    tokens_of(tokenize.load(SEEDLING, "cpu"), songs[0][1], tmp_path / "c")
    first, again = ((tmp_path / name / "tokens.npy").read_bytes() for name in "ac")
    assert first == again


def test_what_is_shorter_than_a_frame_is_refused_by_name(seedling: Process, tmp_path: Path) -> None:
    """One sample too few is an error that says how long the song is; so is no sound at all."""
    with pytest.raises(SongBloomError, match=r"short\.wav: 0\.040 s"):
        seedling(item(noise(tmp_path / "short.wav", 1919)), tmp_path)
    (tmp_path / "text.mp3").write_text("no sound at all\n" * 99)
    with pytest.raises(SongBloomError, match=r"text\.mp3"):
        seedling(item(tmp_path / "text.mp3"), tmp_path)


# The score's own


def test_a_synthetic_song_s_tokens_are_its_score_s(tmp_path: Path) -> None:
    """As many as the sound has frames, in the codec's symbols, under the codec's hash; not the
    codec's own, which mishears."""
    score = compose(77, 1, split="test", num_lines=2)
    write_song(tmp_path / "song", score)
    path = tmp_path / "song" / "audio.flac"
    process = tokenize.load(dataclasses.replace(SEEDLING, tokenize_backend="score"), "cpu")
    fields = process(item(path), tmp_path)
    tokens = np.load(tmp_path / "tokens.npy", allow_pickle=False)
    assert tokens.dtype == np.int32 and tokens.tolist() == score_to_tokens(score).tolist()
    assert fields == {
        "frames": audio.load(path, SAMPLE_RATE).shape[1] // HOP,
        "vocab_size": 1480,
        "codebook_hash": codecs.codebook_hash(codecs.SEEDLING),
        "used": len(set(tokens.tolist())),
    }
    assert tokens.tolist() != tokens_of(tokenize.load(SEEDLING, "cpu"), path, tmp_path).tolist()


def test_a_song_without_its_score_or_with_another_s_is_refused(tmp_path: Path) -> None:
    """What is not a synthetic song, and a truth.json of other length, are named; only who asks for
    it gets this backend."""
    score = compose(77, 1, split="test", num_lines=2)
    settings = dataclasses.replace(SEEDLING, tokenize_backend="score")
    assert tokenize.backend(settings).hash != tokenize.backend(SEEDLING).hash
    process = tokenize.load(settings, "cpu")
    path = noise(tmp_path / "n.wav", SAMPLE_RATE)
    with pytest.raises(SongBloomError, match=r"truth\.json"):
        process(item(path), tmp_path)
    (tmp_path / "truth.json").write_text(score.to_json())
    with pytest.raises(SongBloomError, match=r"n\.wav: 25 frames of sound, \d+ in its truth"):
        process(item(path), tmp_path)


def test_another_score_makes_other_tokens(tmp_path: Path) -> None:
    """A song that failed for want of its score is done when that is there, and again when it
    changes, though its sound does not."""
    score, song, out = (
        compose(77, 1, split="test", num_lines=2),
        tmp_path / "song",
        tmp_path / "out",
    )
    write_song(song, score)
    (song / "truth.json").unlink()
    words = ("tokenize", song / "audio.flac", "--tokenize-backend", "score", "-o", out)
    assert "truth.json" in run(*words).err
    chords = tuple(dataclasses.replace(chord, root=(chord.root + 1) % 12) for chord in score.chords)
    for truth in (score, dataclasses.replace(score, chords=chords)):
        (song / "truth.json").write_text(truth.to_json())
        assert run(*words).code == 0
        tokens = np.load(out / "audio" / "tokens.npy", allow_pickle=False)
        assert tokens.tolist() == score_to_tokens(truth).tolist()


# Which backend


def small_book(model: str, size: int = 50, dim: int = 32, layer: int = -1) -> Codebook:
    centroids = np.random.default_rng(0).standard_normal((size, dim)).astype(np.float32)
    return Codebook(centroids, np.ones(size, np.int64), Source(model, layer))


def test_auto_takes_muq_only_where_a_model_and_a_codebook_are_named() -> None:
    """Without one of them the embedded codec works, and the reason names what is lacking."""
    for changes, lacks in (
        ({}, "a model or a codebook"),
        ({"codebook": "y"}, "a model"),
    ):
        backend = tokenize.backend(dataclasses.replace(SEEDLING, **changes))
        assert backend.name == "seedling" and f"need {lacks}," in backend.why
    asked = dataclasses.replace(SEEDLING, tokenize_backend="seedling", codebook="y")
    assert tokenize.backend(asked).why == "asked for"


def test_a_model_that_is_named_is_used_or_refused(mini_folder: Path) -> None:
    """A model folder with a sketch codec tokenizes; one without, and a MuQ model without its
    codebook, are refused: never is another codec used than the one named."""
    named = dataclasses.replace(SEEDLING, tokenize_model=str(codecs.SEEDLING))
    assert tokenize.backend(named).hash == tokenize.backend(SEEDLING).hash
    assert tokenize.backend(named).why == "its model is named"
    for name in (str(mini_folder), "no/such"):
        with pytest.raises(MissingAssetError) as caught:
            tokenize.backend(dataclasses.replace(SEEDLING, tokenize_model=name))
        assert "--codebook" in caught.value.hint


def test_muq_without_its_parts_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No model, no codebook, no folder, no tools environment: a missing asset with a command."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv(tools_environment.PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr(tools_environment, "imports_here", lambda name: False)
    settings = dataclasses.replace(SEEDLING, tokenize_backend="muq")
    (tmp_path / "muq").mkdir()
    for changes, told in (
        ({}, "hf download OpenMuQ"),
        ({"tokenize_model": "no/such"}, "codebook fit"),
        ({"tokenize_model": "no/such", "codebook": "x"}, "hf download no/such"),
        ({"tokenize_model": str(tmp_path / "muq"), "codebook": "x"}, "tools install muq"),
    ):
        settings = dataclasses.replace(settings, **changes)
        with pytest.raises(MissingAssetError) as caught:
            tokenize.backend(settings)
        assert told in caught.value.hint


def test_the_backend_is_known_without_torch() -> None:
    """Asking which backend would work imports no torch."""
    code = (
        "import sys; from songbloom.stages import tokenize, encode_latents\n"
        "from songbloom.tables import PrepareConfig\n"
        "tokenize.backend(PrepareConfig()); encode_latents.backend(PrepareConfig())\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# MuQ's own windows: a stand-in for the tool whose embeddings are the samples' loudness


class Loudness:
    """In place of the tools' worker: an embedding is the mean square and the number of samples."""

    def __init__(self, name: str, options: dict[str, object], *, timeout: float) -> None:
        self.lengths: list[int] = []

    def call(self, command: str, arguments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        samples = arguments["samples"]
        self.lengths.append(len(samples))
        assert command == "embed" and samples.ndim == 1 and len(samples) % 960 == 0
        blocks = samples.reshape(-1, 960)
        return {"embeddings": np.square(blocks).mean(1, keepdims=True)}

    def close(self) -> None:
        pass


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tokenize.MuqEmbedder:
    monkeypatch.setattr(tools, "Tool", Loudness)
    return tokenize.MuqEmbedder(tmp_path, -1, "cpu", 30.0)


@pytest.mark.parametrize("frames", [1, 24, 25, 499, 500, 501, 626, 1300])
def test_windows_put_every_frame_in_its_place(embedder: tokenize.MuqEmbedder, frames: int) -> None:
    """The embeddings of windows are those of the frames they stand for, at every length; no window
    is shorter than a second or longer than MuQ was trained on."""
    rng = np.random.default_rng(frames)
    loud = np.repeat(rng.uniform(0.1, 1.0, frames), HOP)
    samples = np.stack([loud, loud]).astype(np.float32)
    extra = np.zeros((2, frames % 7 * 100), np.float32)
    got = embedder(np.concatenate([samples, extra], axis=1))
    assert got.shape == (frames, 1)
    assert frames == 1 or np.corrcoef(got[:, 0], loud[::HOP] ** 2)[0, 1] > 0.99
    lengths = embedder._tool.lengths  # type: ignore[attr-defined]
    assert min(lengths) >= 24_000 and max(lengths) <= 30 * 24_000
    assert len(lengths) == -(-frames // 500)


# MuQ itself


@pytest.fixture(scope="module")
def tiny_muq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of MuQ's own class, saved by its own `save_pretrained`."""
    try:
        here = tools_environment.imports_here("muq")
        program = sys.executable if here else str(tools_environment.python("muq"))
    except MissingAssetError as missing:
        pytest.skip(f"needs MuQ. {missing.hint}")
    folder = tmp_path_factory.mktemp("muq")
    code = f"import sys; sys.path.append({str(tools_environment.STUBS)!r})\n" + TINY_MUQ
    made = subprocess.run(
        [program, "-c", code, str(folder)], capture_output=True, text=True, timeout=600
    )
    assert made.returncode == 0, made.stderr
    return folder


TINY_MUQ = """
import sys
import torch
from muq import MuQ, MuQConfig
from transformers import Wav2Vec2ConformerConfig
torch.manual_seed(0)
conformer = Wav2Vec2ConformerConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    position_embeddings_type="rotary").to_dict()
conformer = {k: v for k, v in conformer.items() if k not in ("id2label", "label2id")}
config = MuQConfig(
    conv_dim=16, encoder_dim=32, encoder_depth=2, codebook_size=16,
    stat={"melspec_2048_mean": 6.768, "melspec_2048_std": 18.417}, w2v2_config=conformer)
MuQ(config).eval().save_pretrained(sys.argv[1])
"""


@pytest.mark.slow
def test_muq_s_own_weights_make_tokens(
    tiny_muq: Path, songs: list[tuple[Score, Path]], tmp_path: Path
) -> None:
    """Saved and loaded by MuQ's library in its own Python: a token a frame, the same again, by the
    codebook that was fitted to its embeddings; the layer is the codebook's."""
    from songbloom.stages import codebook

    model = tokenize.muq_hash(tiny_muq)
    books = {}
    for layer in (-1, 0):
        source = Source(model, layer)
        embedder = tokenize.MuqEmbedder(tiny_muq, layer, "cpu", 30.0)
        kept = tmp_path / f"embeddings{layer}"
        found = embeddings.embed_songs([songs[0][1].parent], embedder, source, kept)
        embedder.close()
        assert len(found.paths) == 2 and not found.failed
        stream = codebook.Stream(found.paths)
        plan = codebook.Plan(size=20, passes=2)
        books[layer] = codebook.fit(stream, tmp_path / f"{layer}.st", plan, source=source)
    settings = PrepareConfig(tokenize_model=str(tiny_muq), codebook=str(tmp_path / "-1.st"))
    assert tokenize.backend(settings).name == "muq"
    process = tokenize.load(settings, "cpu")
    fields = process(item(songs[1][1]), tmp_path)
    tokens = np.load(tmp_path / "tokens.npy")
    assert len(tokens) == fields["frames"] == audio.load(songs[1][1], SAMPLE_RATE).shape[1] // HOP
    assert fields["codebook_hash"] == books[-1].hash and fields["used"] > 5
    process(item(songs[0][1]), tmp_path)
    process(item(songs[1][1]), tmp_path)
    assert np.array_equal(tokens, np.load(tmp_path / "tokens.npy"))
    settings = dataclasses.replace(settings, codebook=str(tmp_path / "0.st"))
    tokenize.load(settings, "cpu")(item(songs[1][1]), tmp_path)
    assert not np.array_equal(tokens, np.load(tmp_path / "tokens.npy"))
    small_book("other").save(tmp_path / "other.st")
    with pytest.raises(SongBloomError, match="other weights"):
        tokenize.load(dataclasses.replace(settings, codebook=str(tmp_path / "other.st")), "cpu")


def test_model_folders_that_say_nothing_are_named(tmp_path: Path) -> None:
    """A folder without model.json, or with one that lacks a hash, is an error with its name."""
    with pytest.raises(MissingAssetError, match=r"no model\.json"):
        codecs.vae_hash(tmp_path)
    for text in ("{}", "[]", "not json", '{"sha256": {}}'):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(SongBloomError, match=r"model\.json"):
            codecs.vae_hash(tmp_path)
