"""Sketch tokens, 25 a second: `tokens.npy` int32 `[T]`, T = samples // 1920 at 48 kHz.

* `seedling`: the sketch codec of the embedded model or of a model folder, which hears the phone and
  the pitch of each frame.
* `score`: what the score of a synthesised song says, in that codec's symbols: what it would hear if
  it never misheard. From these a DiT learns to take the transformer, which writes as clearly, at
  its word.
* `muq`: embeddings of MuQ, each rounded to the nearest centroid of a codebook that
  `songbloom codebook fit` made. The codebook says which layer, and of which weights.

An incomplete last frame is dropped, as the VAE does; nothing is padded that is kept.
"""

import hashlib
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from songbloom import hub
from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.files import sha256
from songbloom.stages import codecs, sound, tools, tools_environment
from songbloom.stages.codebook import Codebook
from songbloom.stages.stage import Backend, Item, Process
from songbloom.tables import PrepareConfig
from songbloom.units import FRAME_RATE, HOP, SAMPLE_RATE, Frames, samples_to_frames

MUQ_RATE = SAMPLE_RATE // 2
# MuQ was trained on 30 s: 20 s are kept of each window, with 5 s either side. So an embedding
# depends on sound at most 25 s off.
_KEPT: Frames = 500
_MARGIN: Frames = 125
SCORE = "truth.json"  # beside a synthesised song's sound
WINDOWS = f"{_KEPT}+{_MARGIN}"
_SHORTEST: Frames = 25  # what is shorter is filled up with silence: the spectra's windows need it


def backend(settings: PrepareConfig) -> Backend:
    """MuQ where its model and a codebook are named, else a sketch codec; the score only where it
    is asked for."""
    model, codebook = settings.tokenize_model, settings.codebook
    wanted = settings.tokenize_backend
    if wanted in ("seedling", "score") or (wanted == "auto" and not (model and codebook)):
        lacks = "a model" if codebook else "a model or a codebook"
        why = "its model is named" if model else f"MuQ would need {lacks}, which is not named"
        name, why = ("seedling", why) if wanted == "auto" else (wanted, "asked for")
        folder = codec_folder(settings)
        identity = {"codebook_hash": codecs.codebook_hash(folder)}
        beside = SCORE if name == "score" else ""
        return Backend(name, why, identity, codecs.licence(folder), beside)
    _require_muq(settings)
    book = Codebook.load(Path(str(codebook)).expanduser())
    version = tools_environment.pins("muq")["muq"]
    identity = {"codebook_hash": book.hash, "muq": version, "windows": WINDOWS}
    why = "asked for" if wanted == "muq" else "its model and a codebook are named"
    return Backend("muq", why, identity, tools_environment.TOOLS["muq"].licence)


def load(settings: PrepareConfig, device: str) -> Process:
    """The tokenizer in memory."""
    name = backend(settings).name
    if name == "score":
        return _score(codec_folder(settings))
    if name == "seedling":
        return _seedling(codec_folder(settings), device)
    book = Codebook.load(Path(str(settings.codebook)).expanduser())
    model = muq_folder(settings)
    if muq_hash(model) != book.source.model:
        raise SongBloomError(
            f"{settings.codebook}: fitted to embeddings of other weights than those in {model}",
            "Name the MuQ model that the codebook was made with, or fit another codebook.",
        )
    embedder = MuqEmbedder(model, book.source.layer, device, settings.item_timeout)

    def process(item: Item, folder: Path) -> Mapping[str, Any]:
        tokens = book.tokenize(embedder(_song(item)), device)
        return _write(folder, tokens, book.size, book.hash)

    weakref.finalize(process, embedder.close)
    return process


def codec_folder(settings: PrepareConfig) -> Path:
    """The model folder whose sketch codec is meant: the one that is named, or the embedded one.

    `MissingAssetError` for a name that stands for no model folder with a sketch codec.
    """
    if not settings.tokenize_model:
        return codecs.SEEDLING
    hint = "Name a model folder with a sketch codec; or to use a MuQ model, its --codebook too."
    try:
        folder = hub.resolve(settings.tokenize_model, hub.models_folder(None))
    except MissingAssetError as error:
        raise MissingAssetError(error.message, hint) from error
    if not (folder / "sketch.json").is_file():
        raise MissingAssetError(f"{folder}: holds no sketch codec (it has no sketch.json)", hint)
    return folder


def muq_folder(settings: PrepareConfig) -> Path:
    """The folder of the MuQ model that is named; `MissingAssetError` where there is none."""
    if not settings.tokenize_model:
        raise MissingAssetError(
            "muq: no model is named to embed songs with",
            "Type: hf download OpenMuQ/MuQ-large-msd-iter, and give it as --tokenize-model.",
        )
    return codecs.local_folder(settings.tokenize_model, "a MuQ model")


def muq_hash(folder: Path) -> str:
    """Hex SHA-256 of a MuQ model: its configuration and its weights."""
    hint = "A MuQ model is a folder with config.json and model.safetensors, as its library saves."
    try:
        parts = [sha256(folder / name) for name in ("config.json", "model.safetensors")]
    except OSError as error:
        raise MissingAssetError(f"{error.filename}: no such file", hint) from error
    return hashlib.sha256("".join(parts).encode()).hexdigest()


class MuqEmbedder:
    """MuQ, through the tools environment, for one song after another."""

    def __init__(self, model: Path, layer: int, device: str, item_timeout: float) -> None:
        options = {"model": str(model.resolve()), "layer": layer, "device": device}
        longest = (_KEPT + 2 * _MARGIN) / FRAME_RATE
        self._tool = tools.Tool("muq", options, timeout=60 + item_timeout * longest)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Embeddings `[T, D]` of 48 kHz sound `[2, n]`."""
        frames = samples_to_frames(samples.shape[1])
        mono = samples[:, : frames * HOP].mean(0)
        mono = soxr.resample(mono, SAMPLE_RATE, MUQ_RATE, quality="VHQ")
        hop = HOP * MUQ_RATE // SAMPLE_RATE
        mono = np.pad(mono, (0, max(0, frames * hop - len(mono))))
        parts = [self._window(mono, at, frames, hop) for at in range(0, frames, _KEPT)]
        return np.concatenate(parts)

    def close(self) -> None:
        """End the tool's worker."""
        self._tool.close()

    def _window(self, mono: np.ndarray, at: Frames, frames: Frames, hop: int) -> np.ndarray:
        """Embeddings of `_KEPT` frames from `at`, or fewer at the song's end."""
        first, last = max(at - _MARGIN, 0), min(at + _KEPT + _MARGIN, frames)
        window = mono[first * hop : last * hop]
        window = np.pad(window, (0, max(0, _SHORTEST * hop - len(window))))
        embeddings = self._tool.call("embed", {"samples": window})["embeddings"]
        if not np.isfinite(embeddings).all():
            raise SongBloomError(
                f"MuQ gives NaN for the sound from {first / FRAME_RATE:g} s", "Leave the song out."
            )
        kept: np.ndarray = embeddings[at - first : min(at + _KEPT, frames) - first]
        return kept


def _seedling(model: Path, device: str) -> Process:
    import torch

    from songbloom.model.sketch_codec import SketchCodec

    codec = SketchCodec.load(model, "sketch").to(device)
    codebook_hash = codecs.codebook_hash(model)

    def process(item: Item, folder: Path) -> Mapping[str, Any]:
        audio = torch.from_numpy(_song(item))[None].to(device)
        tokens = codec.encode(audio)[0].cpu().numpy()
        return _write(folder, tokens, codec.vocab_size, codebook_hash)

    return process


def _score(model: Path) -> Process:
    from songbloom.model.sketch_symbols import NUM_CODES, score_to_tokens
    from songbloom.synth.corpus import load_score

    codebook_hash = codecs.codebook_hash(model)

    def process(item: Item, folder: Path) -> Mapping[str, Any]:
        frames = samples_to_frames(_song(item).shape[1])
        tokens = score_to_tokens(load_score(item.audio.parent))
        if len(tokens) != frames:
            raise SongBloomError(
                f"{item.track.audio}: {frames} frames of sound, {len(tokens)} in its {SCORE}",
                "Make the song again: songbloom synth",
            )
        return _write(folder, tokens, NUM_CODES, codebook_hash)

    return process


def _song(item: Item) -> np.ndarray:
    """A song's sound `[2, n]` at 48 kHz, one frame long at least."""
    samples = sound.to_stereo(sound.read(item.audio, SAMPLE_RATE))
    if samples.shape[1] < HOP:
        raise SongBloomError(
            f"{item.track.audio}: {samples.shape[1] / SAMPLE_RATE:.3f} s long; expected "
            f"{HOP / SAMPLE_RATE:g} s, one frame, at least",
            "Leave the song out.",
        )
    return samples


def _write(
    folder: Path, tokens: np.ndarray, vocab_size: int, codebook_hash: str
) -> Mapping[str, Any]:
    np.save(folder / "tokens.npy", tokens.astype(np.int32), allow_pickle=False)
    return {
        "frames": len(tokens),
        "vocab_size": vocab_size,
        "codebook_hash": codebook_hash,
        "used": len(np.unique(tokens)),
    }


def _require_muq(settings: PrepareConfig) -> None:
    """`MissingAssetError` for whatever of MuQ is not there."""
    if settings.tokenize_model and not settings.codebook:
        raise MissingAssetError(
            "muq: no codebook is named",
            "Make one with songbloom codebook fit, and give it as --codebook.",
        )
    muq_folder(settings)
    if not tools_environment.imports_here("muq"):
        tools_environment.python("muq")
