"""Composed songs as a training set, without preparation: for trials, tests and benchmarks."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from songbloom import audio
from songbloom.data.shards import (
    DatasetHeader,
    DatasetInfo,
    SungLine,
    SungSection,
    TrainingSong,
)
from songbloom.data.writer import ShardWriter
from songbloom.lyrics.frontends import line_phonemes
from songbloom.model.checkpoint import Model, load_model, read_info
from songbloom.model.sketch_symbols import NUM_CODES, score_to_tokens
from songbloom.stages import encode_latents
from songbloom.synth.render import render
from songbloom.synth.score import Score, compose
from songbloom.units import HOP, Frames

REFERENCE_FRAMES: Frames = 250  # ten seconds


def write_dataset(
    folder: Path,
    *,
    songs: int,
    seed: int = 0,
    num_lines: int | None = None,
    latent_dim: int = 64,
    codecs: Path | None = None,
    sung: bool = False,
) -> DatasetInfo:
    """Write `songs` composed songs as a dataset into `folder`; `num_lines` (1-8) shortens them.

    Sketch tokens are the scores' own symbols, which the embedded model's codec hears. `codecs` is
    the model folder that the dataset will say it was made with. If `sung`, the songs are rendered
    and its VAE encodes them (this needs the `synth` extra); else latents follow the tokens: enough
    to learn from, nothing to listen to.
    """
    writer = ShardWriter(folder, _header(codecs, latent_dim))
    model = load_model(codecs, device=torch.device("cpu")) if codecs and sung else None
    for index in range(songs):
        score = compose(seed, index, num_lines=num_lines)
        sketch = score_to_tokens(score)
        if model is not None:
            latents, clips = encode_song(score, model)
        else:
            latents = token_latents(sketch, writer.header.latent_dim, seed=seed + index)
            clips = None
        writer.add(training_song(score, sketch, latents, clips))
    return writer.finish()


def training_song(
    score: Score, sketch: np.ndarray, latents: np.ndarray, clips: np.ndarray | None = None
) -> TrainingSong:
    """A score's record: sketch `[T]`, latents `[T, C]`, and reference clips `[K, R, C]` from the
    starts that `clip_starts` names, by default windows of the latents."""
    frames = min(len(sketch), len(latents))
    starts, length = clip_starts(frames)
    if clips is None:
        clips = np.stack([latents[start : start + length] for start in starts])
    return TrainingSong(
        id=f"{score.split}-{score.seed}-{score.index:05d}",
        artist=score.voice,
        sketch=sketch[:frames],
        latents=latents[:frames],
        sections=tuple(sung_sections(score)),
        references=clips,
        reference_starts=starts,
    )


def clip_starts(frames: Frames) -> tuple[tuple[Frames, ...], Frames]:
    """Where a song's reference clips of ten seconds start, and their length, as `prepare` cuts
    them."""
    return encode_latents.clip_starts(frames, REFERENCE_FRAMES)


def sung_sections(score: Score) -> Iterator[SungSection]:
    """A score's sections with the phonemes of their lines."""
    for number, section in enumerate(score.sections):
        lines = [line for line in score.lines if line.section == number]
        said = line_phonemes([line.text for line in lines])
        sung = (SungLine(li.start, li.end, s) for li, s in zip(lines, said, strict=True))
        yield SungSection(section.tag, section.start, section.end, tuple(sung))


def token_latents(sketch: np.ndarray, latent_dim: int, *, seed: int) -> np.ndarray:
    """Latents `[T, C]` float16: a direction for every token, smoothed over time, and noise."""
    directions = np.random.default_rng(0).standard_normal((NUM_CODES, latent_dim))
    kernel = np.hanning(9) / np.hanning(9).sum()
    smooth = np.apply_along_axis(np.convolve, 0, directions[sketch], kernel, mode="same")
    noise = np.random.default_rng(seed).standard_normal(smooth.shape)
    return (smooth + 0.3 * noise).astype(np.float16)


@torch.inference_mode()
def encode_song(score: Score, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Sing a score: latents of the mix `[T, C]`, and of its mono reference clips `[K, R, C]`."""
    mix = render(score).mix
    latents = _encode(mix, model)
    starts, length = clip_starts(min(len(latents), len(score_to_tokens(score))))
    mono = audio.to_stereo(audio.to_mono(mix))
    clips = [_encode(mono[:, s * HOP : (s + length) * HOP], model)[:length] for s in starts]
    return latents, np.stack(clips)


def _encode(samples: np.ndarray, model: Model) -> np.ndarray:
    return model.vae.encode(torch.from_numpy(samples)[None])[0].half().numpy()


def _header(codecs: Path | None, latent_dim: int) -> DatasetHeader:
    if codecs is None:
        vae_hash = hashlib.sha256(f"token_latents {latent_dim}".encode()).hexdigest()
        codebook_hash = hashlib.sha256(b"songbloom.model.sketch_symbols").hexdigest()
    else:
        info = read_info(codecs)
        vae_hash, codebook_hash = info["sha256"]["vae.safetensors"], info["codebook_hash"]
        latent_dim = info["config"]["latent_dim"]
    return DatasetHeader("release", vae_hash, codebook_hash, NUM_CODES, latent_dim)
