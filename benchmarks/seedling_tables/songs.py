"""Held-out songs and what the model makes of them, each made once.

CACHE/songs/NAME/        the song as synthesised, with its stems and its score; the clip to be sung
                         after; the rest of the clip's song
CACHE/MODEL/NAME/        STEP.flac, and the bundle of the whole model's song
CACHE/work/              what is derived from sounds, by their content (separated voices)

NAME follows from the scores of the song and of the clip's song, MODEL from all files and settings
of the model. A clip is ten seconds of a held-out song by another voice, from its first word on.
"""

import dataclasses
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from songbloom import audio
from songbloom.evaluation import vocals
from songbloom.files import atomic_path
from songbloom.generation.decode import decode
from songbloom.generation.draws import CounterDraws
from songbloom.generation.engine import generate_patches
from songbloom.generation.options import GenerateOptions
from songbloom.generation.song import generate
from songbloom.hub import lyric_limits
from songbloom.lyrics.frontends import phonemes
from songbloom.model.checkpoint import Model
from songbloom.model.conditioning import Conditions, LyricIds
from songbloom.model.sketch_symbols import score_to_tokens
from songbloom.requests import Request, read_requests
from songbloom.stages import sound
from songbloom.stages.stage import digest
from songbloom.synth.corpus import is_done, write_song
from songbloom.synth.render import render
from songbloom.synth.score import SPLITS, Score, compose
from songbloom.synth.voices import DEFAULT_ENGINES, singers
from songbloom.units import SAMPLE_RATE, Seconds

SEED, CLIP_SEED = 2026, 2027
CLIP_SECONDS: Seconds = 10.0
CLIP_LINES = 8  # of the song that it is cut from, so that something is left
STEPS = ("synthesised", "codec", "true sketch", "model")


@dataclass(frozen=True)
class Song:
    """A song and where its sounds are."""

    score: Score
    clip_score: Score
    truth: Path
    made: Path
    work: Path

    @property
    def clip(self) -> Path:
        """What it is sung after."""
        return self.truth / "clip.flac"

    @property
    def clip_rest(self) -> Path:
        """The song of the clip behind it."""
        return self.truth / "clip_rest.flac"

    @property
    def voice(self) -> Path:
        """The true voice alone."""
        return self.truth / "vocals.flac"

    def sound(self, step: str) -> Path:
        """The song at one of `STEPS`."""
        if step == "synthesised":
            return self.truth / "audio.flac"
        return self.made / f"{step.replace(' ', '_')}.flac"

    def parts(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Voice and accompaniment `[n]` at 16 kHz of a sound, by the embedded separator."""
        voice = vocals.separated(path, self.work, "seedling")
        mix = sound.read(path, vocals.RATE).mean(axis=0)
        length = min(len(voice), len(mix))
        return voice[:length], mix[:length] - voice[:length]


class TrueSketch(CounterDraws):
    """Draws that choose the tokens of a known sketch, and then the end."""

    def __init__(self, seed: int, sketch: Tensor, patch_size: int, eos: int) -> None:
        super().__init__(seed)
        self.sketch, self.patch_size, self.eos = sketch, patch_size, eos

    def token(self, probs: Tensor, patch: int, position: int) -> Tensor:
        """The true token, whatever the model thinks of it."""
        at = patch * self.patch_size + position
        return self.sketch[at] if at < len(self.sketch) else torch.tensor(self.eos)


def songs(model: Model, count: int, language: str, cache: Path) -> Iterator[Song]:
    """`count` songs in all their steps, made on the CPU where the cache lacks them."""
    made = cache / digest([model.info["sha256"], model.info["config"]])[:16]
    voices = [v.name for split in SPLITS for v in singers(language, split, DEFAULT_ENGINES)]
    for number in range(count):
        score = compose(SEED, number, split="test", language=language, num_lines=4 + number % 5)
        clip = compose(
            CLIP_SEED, number, split="test", language=language, num_lines=CLIP_LINES,
            voice=voices[number % len(voices)],
        )  # fmt: skip
        key = digest([score.to_json(), clip.to_json()])[:8]
        name = f"{language}_{number:03d}_{key}"
        song = Song(score, clip, cache / "songs" / name, made / name, cache / "work")
        _write_truth(song)
        _write_made(song, model, number)
        yield song


def _write_truth(song: Song) -> None:
    if not is_done(song.truth):
        write_song(song.truth, song.score)
    if song.clip_rest.exists():
        return
    mix, begin = render(song.clip_score).mix, song.clip_score.lines[0].start
    first, end = (round(seconds * SAMPLE_RATE) for seconds in (begin, begin + CLIP_SECONDS))
    _save(song.clip, mix[:, first:end])
    _save(song.clip_rest, mix[:, end:])


def _write_made(song: Song, model: Model, seed: int) -> None:
    song.made.mkdir(parents=True, exist_ok=True)
    if not song.sound("codec").exists():
        _save(song.sound("codec"), through_codec(model, song.sound("synthesised")))
    request = _request(song, model)
    if not song.sound("true sketch").exists():
        _save(song.sound("true sketch"), _of_true_sketch(song, model, request, seed))
    options = GenerateOptions(seed=seed, device="cpu")
    generate([request], model.folder, song.sound("model"), options)  # skips what is there


def _request(song: Song, model: Model) -> Request:
    """What `songbloom generate lyrics.txt --prompt clip.flac` asks for."""
    lyrics, limits = str(song.truth / "lyrics.txt"), lyric_limits(model.config)
    return read_requests(lyrics, song.clip, io.BytesIO(), limits)[0]


@torch.inference_mode()
def through_codec(model: Model, path: Path) -> np.ndarray:
    """A sound file encoded and decoded, `[2, n]`."""
    return decode(model.vae, _encoded(model, audio.load(path, SAMPLE_RATE))).numpy()


@torch.inference_mode()
def _of_true_sketch(song: Song, model: Model, request: Request, seed: int) -> np.ndarray:
    """What the DiT makes of the song's own sketch tokens, `[2, n]`."""
    config, vocabulary = model.config, model.vocabulary
    ids = vocabulary.encode(phonemes(request.lyrics.line, config.frontend))
    lyrics = LyricIds.from_tokens(ids, vocabulary, max_sentences=config.max_sentences)
    clip = audio.to_mono(audio.load(song.clip, SAMPLE_RATE))
    conditions = Conditions(lyrics, _encoded(model, audio.to_stereo(clip)))
    sketch = torch.from_numpy(score_to_tokens(song.score))
    draws = TrueSketch(seed, sketch, config.patch_size, config.eos_id)
    # Tokens are drawn, up to the sketch's end, whatever the model's own way is.
    sampling = dataclasses.replace(
        config.sampling, temperature=1.0, keep_last_patch=True, max_duration=song.score.duration
    )
    patches = generate_patches(model.songbloom, [conditions], sampling, [draws])
    latents = torch.cat([patch.latents for step in patches for patch in step])
    return decode(model.vae, latents).numpy()


def _encoded(model: Model, samples: np.ndarray) -> Tensor:
    """Latents `[T, C]` of sound `[2, n]`."""
    return model.vae.encode(torch.from_numpy(samples)[None])[0]


def _save(path: Path, samples: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        audio.save(temporary, samples, SAMPLE_RATE)
