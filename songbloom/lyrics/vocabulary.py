"""Phoneme symbols and their ids: what a model's lyric embedding is indexed by.

`RELEASE_VOCABULARY` is the released models' table. `V1_VOCABULARY` begins with it, so that a
released model can be trained on with a longer table, and goes on with what the other languages of
the `v1` front end need. It is append-only: a symbol keeps its id and its meaning for ever, new ones
come last, and a model's own table is the beginning of it that was there when the model was made.

    ARPAbet with stress        English; its consonants also say Spanish, French and German
    pinyin initials and finals  Mandarin; the initials also say Cantonese and Korean
    a i u e o N, with ^         Japanese vowels on a low and on a high mora
    /i/ and /ˈi/                other sounds in IPA, unstressed and stressed
    /aai3/                      Cantonese vowels in Jyutping, with their tone
    /-k/ and /kk/               a stop that closes a syllable, a tense consonant (Korean)

There is no symbol for a word's end: it would make lyrics a quarter longer, of which a model hears
600 symbols, and stress, tones and the spelling of syllables already tell most of the words apart.
"""

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

    def lacking(self, phonemes: str) -> tuple[str, ...]:
        """The symbols of a phoneme string that `encode` drops, each once."""
        return tuple(item for item in dict.fromkeys(phonemes.split(" ")) if item not in self)

    def decode(self, ids: Iterable[int]) -> str:
        """The phoneme string that `encode` makes `ids` of. `IndexError` for an id outside."""
        return " ".join(self.symbols[number] for number in ids)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols)}


def _symbols(name: str) -> tuple[str, ...]:
    data = resources.files("songbloom.lyrics").joinpath("data", f"{name}_symbols.txt")
    return tuple(data.read_text(encoding="utf-8").split("\n")[:-1])


RELEASE_VOCABULARY = Vocabulary(_symbols("release"))
V1_VOCABULARY = Vocabulary(_symbols("v1"))
