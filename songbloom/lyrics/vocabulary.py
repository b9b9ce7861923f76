"""Phoneme symbols and their ids: what a model's lyric embedding is indexed by."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Vocabulary:
    """An ordered table of symbols; a symbol's id is its position. Id 0 is the empty symbol."""

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.symbols or self.symbols[0] != "":
            raise ValueError("the first symbol of a vocabulary must be the empty one")
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("a vocabulary has every symbol once")

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def encode(self, phonemes: str) -> list[int]:
        """Ids of a phoneme string split at single spaces.

        Symbols that the vocabulary lacks are dropped; a double space holds an empty item, which
        is id 0 and takes a place, as in the released tokenizer.
        """
        ids = self._ids
        return [ids[item] for item in phonemes.split(" ") if item in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """The phoneme string that `encode` makes `ids` of. `IndexError` for an id outside."""
        return " ".join(self.symbols[number] for number in ids)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols)}


def _release_symbols() -> tuple[str, ...]:
    data = resources.files("songbloom.lyrics").joinpath("data", "release_symbols.txt")
    return tuple(data.read_text(encoding="utf-8").split("\n")[:-1])


RELEASE_VOCABULARY = Vocabulary(_release_symbols())
