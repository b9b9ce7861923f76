"""Songs with known words as training examples for the embedded SongBloom.

An example is what the model learns from (sketch, latents, lyrics, reference) and, for training-only
losses, which lyric symbol comes next at every frame. It may have no latents: scores alone teach
the sketch transformer to read, at milliseconds each. T frames, C latent channels, L symbols.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from songbloom.lyrics.mandarin import pronounce
from songbloom.lyrics.vocabulary import V1_VOCABULARY
from songbloom.model.conditioning import NULL_CONDITIONS, Conditions, LyricIds
from songbloom.model.config import ModelConfig
from songbloom.model.sketch_symbols import score_to_tokens
from songbloom.model.songbloom import Batch
from songbloom.synth.score import Phone, Score
from songbloom.units import FRAME_RATE

NOTHING_NEXT = -1  # after the last sung symbol


@dataclass(frozen=True)
class Example:
    """One song. `next_symbol[f]` is the index, within `symbols`, of the first lyric symbol that
    begins at frame f or later: what a model about to choose frame f has to look at next."""

    sketch: np.ndarray  # [T] int64
    latents: np.ndarray | None  # [T, C] float32
    symbols: np.ndarray  # [L] int64
    next_symbol: np.ndarray  # [T + 1] int64, NOTHING_NEXT where there is none

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.sketch)


def from_score(
    score: Score, sketch: np.ndarray | None = None, latents: np.ndarray | None = None
) -> Example:
    """The example of a synthetic song; `sketch` defaults to the score's own symbols."""
    sketch = score_to_tokens(score) if sketch is None else sketch
    symbols, starts = lyric_symbols(score)
    next_symbol = _next_symbol(starts, len(sketch))
    return Example(sketch, latents, np.array(symbols, dtype=np.int64), next_symbol)


def lyric_symbols(score: Score) -> tuple[list[int], list[tuple[int, float]]]:
    """Symbol ids of a score's lyrics as the front end `v1` says them, and (index, start time) of
    the sung ones.

    Sections without words are their tag once a second, lines end with `.` but for a section's last,
    ` , ` stands between sections.
    """
    index = {symbol: i for i, symbol in enumerate(V1_VOCABULARY.symbols)}
    symbols: list[int] = []
    starts: list[tuple[int, float]] = []
    sung = _sung_lines(score)
    for number, section in enumerate(score.sections):
        symbols += [index[","]] if number else []
        lines = [i for i, line in enumerate(score.lines) if line.section == number]
        tags = 1 if lines else max(1, round(section.end - section.start))
        symbols += [index[f"[{section.tag}]"]] * tags
        for line in lines:
            symbols += [index["."]] if line != lines[0] else []
            starts += [(len(symbols) + i, at) for i, (_, at) in enumerate(sung[line])]
            symbols += [index[symbol] for symbol, _ in sung[line]]
    return symbols, starts


def _sung_lines(score: Score) -> list[list[tuple[str, float]]]:
    """Of each line its symbols and when they begin."""
    phones: dict[int, list[Phone]] = defaultdict(list)
    for phone in score.phones:
        phones[phone.word].append(phone)
    sung: list[list[tuple[str, float]]] = [[] for _ in score.lines]
    for number, word in enumerate(score.words):
        sung[word.line] += [(phone.symbol, phone.start) for phone in phones[number]]
    for number, line in enumerate(score.lines):
        if "\u4e00" <= line.text[:1] <= "\u9fff":
            characters = [phones[i] for i, word in enumerate(score.words) if word.line == number]
            begins = [at for own in characters for at in (own[0].start, _vowel_start(own))]
            sung[number] = list(zip(pronounce(line.text), begins, strict=True))
    return sung


def _vowel_start(phones: Sequence[Phone]) -> float:
    """When the final of a Mandarin syllable begins: its vowel has a digit."""
    return next(phone.start for phone in phones if phone.symbol[-1].isdigit())


def _next_symbol(starts: Sequence[tuple[int, float]], frames: int) -> np.ndarray:
    """For each frame the first sung symbol that begins in it or later."""
    if not starts:
        return np.full(frames + 1, NOTHING_NEXT)
    begins = np.array([int(at * FRAME_RATE) for _, at in starts])
    indices = np.array([index for index, _ in starts] + [NOTHING_NEXT])
    return indices[np.searchsorted(begins, np.arange(frames + 1), side="left")]


@dataclass(frozen=True)
class TrainingBatch:
    """A batch and the targets of its training-only losses."""

    batch: Batch
    corrupted: Tensor  # [B, T] int64: the sketch as the model hears it
    next_symbol: Tensor  # [B, T + 1] int64: index into the lyrics, NOTHING_NEXT for none
    next_id: Tensor  # [B, T + 1] int64: its symbol id, NOTHING_NEXT for none


def collate(
    examples: Sequence[Example],
    config: ModelConfig,
    rng: np.random.Generator,
    *,
    corruption: float,
    with_reference: bool,
) -> TrainingBatch:
    """Pad to whole patches; draw references, dropped conditions and `corruption` of the tokens.

    Padding is EOS and zeros, as in the release.
    """
    longest = max(example.num_frames for example in examples)
    frames = -(-(longest + 1) // config.patch_size) * config.patch_size  # room for EOS
    sketch = np.full((len(examples), frames), config.eos_id)
    latents = np.zeros((len(examples), frames, config.latent_dim), np.float32)
    following = np.full((len(examples), frames + 1), NOTHING_NEXT)
    ids = following.copy()
    for row, example in enumerate(examples):
        sketch[row, : example.num_frames] = example.sketch
        if example.latents is not None:
            latents[row, : example.num_frames] = example.latents
        nexts = np.where(example.next_symbol < config.lyric_length, example.next_symbol, -1)
        following[row, : len(nexts)] = nexts
        ids[row, : len(nexts)] = np.where(nexts >= 0, example.symbols[nexts], NOTHING_NEXT)
    noisy = rng.random(sketch.shape) < corruption
    corrupted = np.where(noisy, rng.integers(0, config.sketch_vocab_size, sketch.shape), sketch)
    lengths = torch.tensor([example.num_frames for example in examples])
    conditions = [_conditions(example, config, rng, with_reference) for example in examples]
    batch = Batch(torch.from_numpy(sketch), torch.from_numpy(latents), lengths, conditions)
    tensors = (torch.from_numpy(x) for x in (corrupted, following, ids))
    return TrainingBatch(batch, *tensors)


def _conditions(
    example: Example, config: ModelConfig, rng: np.random.Generator, with_reference: bool
) -> Conditions:
    """Lyrics and a window of the song as reference, each dropped at the config's rates."""
    everything, reference_only = rng.random(2)
    start = int(rng.integers(0, max(1, example.num_frames - config.reference_frames)))
    if everything < config.objective.condition_dropout and with_reference:
        return NULL_CONDITIONS
    lyrics = LyricIds.from_tokens(
        example.symbols.tolist(), V1_VOCABULARY, max_sentences=config.max_sentences
    )
    dropped = reference_only < config.objective.reference_dropout
    if not with_reference or dropped or example.latents is None:
        return Conditions(lyrics, None)
    window = example.latents[start : start + config.reference_frames]
    return Conditions(lyrics, torch.from_numpy(window))
