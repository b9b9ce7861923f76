"""Conditions -> prefix: the reference clip's latents, then the lyrics, as vectors before BOS.

The prefix is [reference_frames][lyric_length] vectors (`prefix_order` may turn them round), always
that long: unused positions are zero vectors, attended like any other (the release has no padding
mask). L lyric length, D dim.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from songbloom.lyrics.vocabulary import Vocabulary
from songbloom.model.config import ModelConfig


@dataclass(frozen=True)
class LyricIds:
    """Lyric symbols, each with its section and its sentence within the section; all `[L]` int64."""

    tokens: Tensor
    sections: Tensor
    sentences: Tensor

    @classmethod
    def from_tokens(
        cls, tokens: list[int], vocabulary: Vocabulary, *, max_sentences: int
    ) -> "LyricIds":
        """Walk the symbol ids and note for each where it stands.

        A structure symbol opens a section and its first sentence; `.` ends a sentence; `,` changes
        nothing. Those three kinds take no sentence and count their own embedding twice (their
        section is themselves). Empty lyrics are the null condition: the one empty symbol, id 0.
        """
        ids = np.array(tokens or [0], dtype=np.int64)
        opens, ends, commas = _marks(vocabulary)[:, ids]
        opened = np.maximum.accumulate(np.where(opens, np.arange(len(ids)), -1))
        ended, inside = ends.cumsum(), opened >= 0
        sections = np.where(inside, ids[opened], 0)
        sentences = 1 + ended - np.where(inside, ended[opened], 0)
        marks = opens | ends | commas
        columns = (
            ids,
            np.where(marks, ids, sections),
            np.where(marks, 0, np.minimum(sentences, max_sentences - 1)),
        )
        return cls(*(torch.from_numpy(column) for column in columns))


@functools.lru_cache(maxsize=8)
def _marks(vocabulary: Vocabulary) -> np.ndarray:
    """Which symbols open a section, end a sentence, are commas: bool `[3, symbols]`."""
    symbols = vocabulary.symbols
    opens = [symbol.startswith("[") for symbol in symbols]
    return np.array([opens, [s == "." for s in symbols], [s == "," for s in symbols]])


class LyricConditioner(nn.Module):
    """Symbol + section (one shared table) + sentence embeddings, summed."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.length = config.lyric_length
        self.symbols = nn.Embedding(config.lyric_vocab_size, config.dim)
        self.sentences = nn.Embedding(config.max_sentences, config.dim)

    def forward(self, lyrics: LyricIds) -> Tensor:
        """-> `[lyric_length, D]`: cut to the length, or followed by zero vectors."""
        ids = (x[: self.length] for x in (lyrics.tokens, lyrics.sections, lyrics.sentences))
        tokens, sections, sentences = ids
        x = self.symbols(tokens) + self.symbols(sections)
        x = x + self._sentence(sentences)
        return F.pad(x, (0, 0, 0, self.length - len(x)))

    def _sentence(self, sentences: Tensor) -> Tensor:
        """Sentence 0 is "none" and adds nothing."""
        return self.sentences(sentences) * (sentences > 0).unsqueeze(-1)


class ReferenceConditioner(nn.Module):
    """A bias-free projection of the reference clip's VAE latents."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.length = config.reference_frames
        self.project = nn.Linear(config.latent_dim, config.dim, bias=False)

    def forward(self, latents: Tensor) -> Tensor:
        """`[T, C]` -> `[reference_frames, D]`: cut to the length, or followed by zero vectors."""
        x = self.project(latents[: self.length].to(self.project.weight.dtype))
        return F.pad(x, (0, 0, 0, self.length - len(x)))


@dataclass(frozen=True)
class Conditions:
    """What one song is conditioned on. `reference` None is the null reference (silence)."""

    lyrics: LyricIds
    reference: Tensor | None  # [T, C] latents
    # What only training may know of it, each [T] int64: its sketch; how far its next beat is, in
    # frames, -1 for unknown.
    reference_sketch: Tensor | None = None
    reference_beats: Tensor | None = None


# Empty lyrics (one empty symbol in the first sentence of no section) and no reference.
NULL_CONDITIONS = Conditions(
    LyricIds(torch.tensor([0]), torch.tensor([0]), torch.tensor([1])), reference=None
)


class Conditioner(nn.Module):
    """Both conditioners, and the order they stand in."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.latent_dim = config.latent_dim
        self.reversed = config.prefix_order == "lyrics-reference"
        self.lyrics = LyricConditioner(config)
        self.reference = ReferenceConditioner(config)

    def forward(self, conditions: Conditions) -> Tensor:
        """-> prefix `[prefix_length, D]`."""
        device = self.reference.project.weight.device
        ids = conditions.lyrics
        ids = LyricIds(ids.tokens.to(device), ids.sections.to(device), ids.sentences.to(device))
        latents = conditions.reference
        latents = torch.zeros(0, self.latent_dim) if latents is None else latents
        prefix = [self.reference(latents.to(device)), self.lyrics(ids)]
        return torch.cat(prefix[::-1] if self.reversed else prefix)
