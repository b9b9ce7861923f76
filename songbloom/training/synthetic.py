"""Composed songs as a training set, without preparation: for trials, tests and benchmarks."""

import dataclasses
import functools
import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

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
from songbloom.synth.corpus import load_score, song_language
from songbloom.synth.render import render
from songbloom.synth.score import MAX_LINES, Beat, Phone, Score, compose
from songbloom.training.sketch_corpus import song_folders
from songbloom.units import HOP, SAMPLE_RATE, Frames, Seconds, frames_to_seconds

REFERENCE_FRAMES: Frames = 250  # ten seconds
Sound = Literal["tokens", "none", "sung"]
# Of the lines of scores without sound. The more a rest may last, the less it tells; and where the
# words just sung stand twice in the lyrics, the model must know more than these to find its place.
PAUSES, ECHOES = 0.15, 0.3
# Scores in the style of a song are this often in another tempo, up to this much faster or slower:
# of few songs, each in its own, a model would learn the tempo by heart.
RETIMED, RETIMED_BY = 0.7, 1.25
SCORE_BYTES = 140_000  # of a score: the room of its latents, all zeros


def write_dataset(
    folder: Path,
    *,
    songs: int,
    seed: int = 0,
    num_lines: int | None = None,
    latent_dim: int = 64,
    codecs: Path | None = None,
    sound: Sound = "tokens",
    language: str = "en",
    frontend: str = "v1",
    on_progress: Callable[[int], None] = lambda songs: None,
) -> DatasetInfo:
    """Write `songs` composed songs as a dataset into `folder`; `num_lines` (1-8) shortens them.

    Sketch tokens are the scores' own symbols, which the embedded model's codec hears. `codecs` is
    the model folder that the dataset will say it was made with. Latents are those of the rendered
    song by its VAE ("sung", which needs the `synth` extra), zeros without references ("none": to
    read from, milliseconds a song), or follow the tokens: enough to learn from, nothing to hear.
    """
    writer = ShardWriter(folder, _header(codecs, latent_dim, frontend))
    model = load_model(codecs, device=torch.device("cpu")) if codecs and sound == "sung" else None
    pauses, echoes = (PAUSES, ECHOES) if sound == "none" else (0.0, 0.0)
    for index in range(songs):
        own = drawn_lines(seed, index) if sound == "none" and num_lines is None else num_lines
        own_language = song_language(language, seed, index)
        score = compose(
            seed, index, num_lines=own, language=own_language, pauses=pauses, echoes=echoes
        )
        sketch, clips = score_to_tokens(score), None
        latents = np.zeros((len(sketch), writer.header.latent_dim), np.float16)
        if model is not None:
            latents, clips = encode_song(score, model)
        elif sound == "tokens":
            latents = token_latents(sketch, writer.header.latent_dim, seed=seed + index)
        else:
            clips = np.zeros((0, REFERENCE_FRAMES, latents.shape[1]), np.float16)
        writer.add(training_song(score, sketch, latents, clips, frontend))
        on_progress(index + 1)
    return writer.finish()


def write_like(
    folder: Path,
    corpus: Path,
    *,
    songs: int,
    codecs: Path,
    seed: int = 0,
    frontend: str = "v1",
    on_progress: Callable[[int], None] = lambda songs: None,
) -> DatasetInfo:
    """Write `songs` scores in the styles of the songs in `corpus`, by turns, into `folder`.

    Each shares all that `compose` takes from `like`, has a clip of that song for its one reference,
    and its latents, over and over, for a past: to the transformer they tell how a song sounds and
    nothing of what is sung, nor where the beat is, so that it does not learn these from them. They
    are not to be painted. Song, clip and past are often played faster or slower. The clip starts
    where the score ends, for no part of the score is heard in it. Latents are by the VAE of the
    model folder `codecs`.
    """
    folders, model = song_folders(corpus), load_model(codecs, device=torch.device("cpu"))
    sung = functools.cache(lambda number: _sung(folders[number], model))
    writer = ShardWriter(folder, _header(codecs, 64, frontend))
    for index in range(songs):
        writer.add(_alike(sung(index % len(folders)), seed, index, frontend))
        on_progress(index + 1)
    return writer.finish()


class _Sung(NamedTuple):
    """A song of a corpus: its score, latents of its mix and of this in mono, each `[T, C]`."""

    score: Score
    latents: np.ndarray
    mono: np.ndarray

    def played(self, faster: float) -> "_Sung":
        """The song so much faster; of its score only tempo and beats are."""
        beats = tuple(Beat(beat.time / faster, beat.position) for beat in self.score.beats)
        score = dataclasses.replace(self.score, tempo=self.score.tempo * faster, beats=beats)
        return _Sung(score, retimed(self.latents, faster), retimed(self.mono, faster))


def _alike(sung: _Sung, seed: int, index: int, frontend: str) -> TrainingSong:
    """A score like a song, with a past and a clip of it: see `write_like`."""
    rng = random.Random(f"alike {seed} {index}")
    faster = RETIMED_BY ** rng.uniform(-1, 1) if rng.random() < RETIMED else 1.0
    # A short song has no more to play.
    like, latents, mono = sung.played(min(faster, len(sung.mono) / REFERENCE_FRAMES))
    lines = drawn_lines(seed, index)
    score = compose(seed, index, num_lines=lines, like=like, pauses=PAUSES, echoes=ECHOES)
    sketch = score_to_tokens(score)
    rolled = np.roll(latents, rng.randrange(len(latents)), axis=0)
    past = np.resize(rolled, (len(sketch), latents.shape[1]))
    begin = rng.randint(0, max(0, len(mono) - REFERENCE_FRAMES))
    clip = mono[begin : begin + REFERENCE_FRAMES]
    song = training_song(score, sketch, past, clip[None], frontend)
    end, start = frames_to_seconds(len(sketch)), frames_to_seconds(begin)
    heard = (end + beat.time - start for beat in like.beats if beat.time >= start)
    return dataclasses.replace(
        song,
        id=f"like-{song.id}",
        reference_starts=(len(sketch),),
        beats=(*song.beats, *heard),
    )


def retimed(latents: np.ndarray, faster: float) -> np.ndarray:
    """Latents `[T, C]` of a sound as it is, about, played `faster` (1: as it is), between frames by
    straight lines: `[T / faster, C]` in the same dtype."""
    if faster == 1:
        return latents
    centres = (np.arange(round(len(latents) / faster)) + 0.5) * faster
    at = np.clip(centres - 0.5, 0, len(latents) - 1)
    before = np.minimum(at.astype(int), len(latents) - 2)
    share = (at - before)[:, None]
    mixed = (1 - share) * latents[before] + share * latents[before + 1]
    return mixed.astype(latents.dtype)


def drawn_lines(seed: int, index: int) -> int:
    """How many lines a score without sound has: 2 to 8, all as often. A song with sound is mostly
    shorter, and from such songs alone a model learns to end before long lyrics do."""
    return random.Random(f"lines {seed} {index}").randint(2, MAX_LINES)


def _sung(folder: Path, model: Model) -> _Sung:
    mix = audio.to_stereo(audio.load(folder / "audio.flac", SAMPLE_RATE))
    mono = audio.to_stereo(audio.to_mono(mix))
    return _Sung(load_score(folder), _encode(mix, model), _encode(mono, model))


def training_song(
    score: Score,
    sketch: np.ndarray,
    latents: np.ndarray,
    clips: np.ndarray | None = None,
    frontend: str = "v1",
) -> TrainingSong:
    """A score's record: sketch `[T]`, latents `[T, C]`, and reference clips `[K, R, C]` from the
    starts that `clip_starts` names, by default windows of the latents."""
    frames = min(len(sketch), len(latents))
    starts, length = clip_starts(frames)
    if clips is None:
        clips = np.stack([latents[start : start + length] for start in starts])
    return TrainingSong(
        id=f"{score.split}-{score.seed}-{score.index:06d}",
        artist=score.voice,
        sketch=sketch[:frames],
        latents=latents[:frames],
        sections=tuple(sung_sections(score, frontend)),
        references=clips,
        reference_starts=starts[: len(clips)],
        beats=tuple(beat.time for beat in score.beats),
    )


def clip_starts(frames: Frames) -> tuple[tuple[Frames, ...], Frames]:
    """Where a song's reference clips of ten seconds start, and their length, as `prepare` cuts
    them."""
    return encode_latents.clip_starts(frames, REFERENCE_FRAMES)


def sung_sections(score: Score, frontend: str = "v1") -> Iterator[SungSection]:
    """A score's sections with the phonemes of their lines, and when these begin."""
    for number, section in enumerate(score.sections):
        numbers = [i for i, line in enumerate(score.lines) if line.section == number]
        said = line_phonemes([score.lines[i].text for i in numbers], frontend)
        sung = (_sung_line(score, i, text) for i, text in zip(numbers, said, strict=True))
        yield SungSection(section.tag, section.start, section.end, tuple(sung))


def _sung_line(score: Score, number: int, phonemes: str) -> SungLine:
    """A line; without times where the front end does not say what was sung, sound by sound."""
    line, begins = score.lines[number], _begins(score, number)
    known = begins if len(begins) == len(phonemes.split(" ")) else ()
    return SungLine(line.start, line.end, phonemes, known)


def _begins(score: Score, number: int) -> tuple[Seconds, ...]:
    """When the sounds of a line begin: each phone, or of a Chinese character initial and final."""
    begins: list[Seconds] = []
    words = {i: word for i, word in enumerate(score.words) if word.line == number}
    phones: dict[int, list[Phone]] = {i: [] for i in words}
    for phone in score.phones:
        if phone.word in phones:
            phones[phone.word].append(phone)
    for i, word in words.items():
        if "\u4e00" <= word.text[0] <= "\u9fff":
            vowel = next(phone for phone in phones[i] if phone.symbol[-1].isdigit())
            begins += [phones[i][0].start, vowel.start]
        else:
            begins += [phone.start for phone in phones[i]]
    return tuple(begins)


def token_latents(sketch: np.ndarray, latent_dim: int, *, seed: int) -> np.ndarray:
    """Latents `[T, C]` float16: a direction for every token, smoothed over time, and noise."""
    directions = np.random.default_rng(0).standard_normal((NUM_CODES, latent_dim))
    kernel = np.hanning(9) / np.hanning(9).sum()
    smooth = np.apply_along_axis(np.convolve, 0, directions[sketch], kernel, mode="same")
    noise = np.random.default_rng(seed).standard_normal(smooth.shape)
    return (smooth + 0.3 * noise).astype(np.float16)


def encode_song(score: Score, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Sing a score: latents of the mix `[T, C]`, and of its mono reference clips `[K, R, C]`."""
    mix = render(score).mix
    latents = _encode(mix, model)
    starts, length = clip_starts(min(len(latents), len(score_to_tokens(score))))
    mono = audio.to_stereo(audio.to_mono(mix))
    clips = [_encode(mono[:, s * HOP : (s + length) * HOP], model)[:length] for s in starts]
    return latents, np.stack(clips)


@torch.inference_mode()
def _encode(samples: np.ndarray, model: Model) -> np.ndarray:
    return model.vae.encode(torch.from_numpy(samples)[None])[0].half().numpy()


def _header(codecs: Path | None, latent_dim: int, frontend: str) -> DatasetHeader:
    if codecs is None:
        vae_hash = hashlib.sha256(f"token_latents {latent_dim}".encode()).hexdigest()
        codebook_hash = hashlib.sha256(b"songbloom.model.sketch_symbols").hexdigest()
    else:
        info = read_info(codecs)
        vae_hash, codebook_hash = info["sha256"]["vae.safetensors"], info["codebook_hash"]
        latent_dim = info["config"]["latent_dim"]
    return DatasetHeader(frontend, vae_hash, codebook_hash, NUM_CODES, latent_dim)
