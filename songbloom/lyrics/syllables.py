"""How many syllables are sung: the measure of how long a line takes.

English words are counted in the lexicon; Chinese characters, hangul and kana are one syllable each;
words that the lexicon lacks, in whatever language, count their groups of vowels.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence

from songbloom.lyrics import lexicon
from songbloom.lyrics.numbers import spell_numbers

# One syllable a letter: Chinese characters, kana (a small one belongs to its neighbour), hangul.
_WHOLE = re.compile(
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7a3"
    "\u3041-\u3096\u30a1-\u30fa\u30fc\U00020000-\U0003ffff]"
)
_SMALL_KANA = frozenset("ぁぃぅぇぉゃゅょゎァィゥェォャュョヮ")
_INLINE = re.compile(r"\{([^{}]*)\}")  # phonemes in place of a word: {P IY1 S}
_WORD = re.compile(r"[^\W\d_]+(?:['’ʼ][^\W\d_]+)*")
_DIGIT = re.compile(r"[0-9]")
_VOWELS = re.compile("[aeiouyæœøıаеёиіїоуыэюяєαεηιουω]+")


def count(text: str) -> int:
    """Syllables in a line of lyrics; 0 where there is nothing to sing."""
    inline = sum(_in_phonemes(match[1].split()) for match in _INLINE.finditer(text))
    text = unicodedata.normalize("NFC", _INLINE.sub(" ", text))
    whole = sum(letter not in _SMALL_KANA for letter in _WHOLE.findall(text))
    text = _WHOLE.sub(" ", text)
    if _DIGIT.search(text):
        text = spell_numbers(text)
    return inline + whole + sum(_in_word(word) for word in _WORD.findall(text))


@functools.lru_cache(maxsize=1 << 16)
def _in_word(word: str) -> int:
    """At least one: a word without vowels ("hmm", "brr") is sung on its consonants."""
    word = word.replace("’", "'").replace("ʼ", "'").lower()
    if phones := lexicon.lookup(word):
        return _in_phonemes(phones)
    plain = unicodedata.normalize("NFD", word)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return max(1, len(_VOWELS.findall(plain)))


def _in_phonemes(symbols: Sequence[str]) -> int:
    """Vowels and finals, the symbols that carry a stress or a tone; at least one, if any."""
    return max(min(1, len(symbols)), sum(symbol[-1].isdigit() for symbol in symbols))
