"""Mandarin: Chinese characters to initials and finals with tones, as the released front end does.

Words are cut by jieba, read by pypinyin, and their tones follow `tone_sandhi`. A syllable is two
symbols: its initial (a vowel without one gets AA, EE, OO, y or w) and its final with the tone, as
in 吹 "ch ui1"; 5 is the neutral tone.
"""

import functools
from collections.abc import Callable
from importlib import resources
from typing import IO, TYPE_CHECKING, NamedTuple

from songbloom.lyrics import tone_sandhi
from songbloom.lyrics.tone_sandhi import Word

if TYPE_CHECKING:
    import jieba

# Characters that the released front end reads as others: 嗯 and 呣 have no vowel of their own.
_READ_AS = {"嗯": "恩", "呣": "母"}
_SHORT_FINALS = {"uei": "ui", "iou": "iu", "uen": "un"}
_BUZZED = {"z": "i0", "c": "i0", "s": "i0", "zh": "ir", "ch": "ir", "sh": "ir", "r": "ir"}
# Syllables without an initial whose final is not simply what is left after a glide.
_GLIDED = {
    "i": ("y", "i"),
    "in": ("y", "in"),
    "ing": ("y", "ing"),
    "ian": ("y", "En"),
    "ie": ("y", "E"),
    "iou": ("y", "ou"),
    "io": ("OO", "o"),
    "u": ("w", "u"),
    "v": ("y", "v"),
    "ve": ("y", "ve"),
    "van": ("y", "van"),
    "vn": ("y", "vn"),
}
_GLIDES = {"i": "y", "u": "w"}
_OPENINGS = {"a": "AA", "e": "EE", "o": "OO"}


def pronounce(text: str) -> list[str]:
    """Symbols of a run of Chinese characters (U+4E00-9FA5); what has no reading is left out."""
    readers = _readers()
    simplified = "".join(_simplified().get(letter, letter) for letter in text)
    words = tone_sandhi.merge(readers.cut(simplified), _finals)
    return [symbol for word in words for symbol in _word(word)]


@functools.lru_cache(maxsize=1 << 16)
def _word(word: Word) -> tuple[str, ...]:
    finals = tone_sandhi.spoken(word, _finals(word.text), _readers().split)
    pairs = zip(_initials(word.text), finals, strict=True)
    return tuple(symbol for initial, final in pairs for symbol in _syllable(initial, final))


def _syllable(initial: str, final: str) -> tuple[str, ...]:
    """The two symbols of a syllable: opencpop's strict notation, the tone after the final."""
    vowel, tone = final[:-1], final[-1:]
    if not vowel:
        return ()
    if initial:
        buzzed = _BUZZED.get(initial) if vowel == "i" else None
        return initial, (buzzed or _SHORT_FINALS.get(vowel, vowel)) + tone
    if vowel in _GLIDED:
        glide, rest = _GLIDED[vowel]
        return glide, rest + tone
    if vowel[0] in _GLIDES:
        return _GLIDES[vowel[0]], vowel[1:] + tone
    return (_OPENINGS[vowel[0]], vowel + tone) if vowel[0] in _OPENINGS else ()


class _Readers(NamedTuple):
    """The two libraries, loaded: cut into tagged words, cut for search, initials, finals."""

    cut: Callable[[str], list[Word]]
    split: Callable[[str], list[str]]
    initials: Callable[[str], list[str]]
    finals: Callable[[str], list[str]]


@functools.lru_cache(maxsize=1 << 16)
def _initials(text: str) -> tuple[str, ...]:
    return tuple(_readers().initials(text))


def _finals(text: str) -> list[str]:
    return list(_cached_finals(text))


@functools.lru_cache(maxsize=1 << 16)
def _cached_finals(text: str) -> tuple[str, ...]:
    return tuple(_readers().finals(text))


@functools.cache
def _readers() -> _Readers:
    """jieba and pypinyin with their tables; about a second, hence not at import."""
    import jieba.posseg
    import pypinyin

    tokenizer = jieba.Tokenizer()
    tags = _load_dictionary(tokenizer)

    class Tagger(jieba.posseg.POSTokenizer):
        def load_word_tag(self, dictionary: IO[bytes]) -> None:
            dictionary.close()
            self.word_tag_tab = tags

    tagger = Tagger(tokenizer)

    def read(text: str, style: pypinyin.Style) -> list[str]:
        text = "".join(_READ_AS.get(letter, letter) for letter in text)
        syllables = pypinyin.pinyin(
            text,
            style=style,
            neutral_tone_with_five=True,
            errors=_no_reading,  # type: ignore[arg-type]  # a list is what it takes
        )
        return [readings[0] for readings in syllables]

    return _Readers(
        cut=lambda text: [Word(pair.word, pair.flag) for pair in tagger.cut(text)],
        split=lambda text: list(tokenizer.cut_for_search(text)),
        initials=lambda text: read(text, pypinyin.Style.INITIALS),
        finals=lambda text: read(text, pypinyin.Style.FINALS_TONE3),
    )


def _no_reading(letters: str) -> list[str]:
    return [""] * len(letters)


def _load_dictionary(tokenizer: "jieba.Tokenizer") -> dict[str, str]:
    """Fill `tokenizer` with jieba's own word counts; the words' tags.

    jieba would read its dictionary twice and keep a cache in the shared temporary folder, which
    another user could fill; this reads it once, in half the time, and writes nothing.
    """
    with tokenizer.get_dict_file() as stream:
        fields = stream.read().decode("utf-8").split()
    words, numbers = fields[::3], [int(count) for count in fields[1::3]]
    counts = dict(zip(words, numbers, strict=True))
    for word in words:  # the cutter finds words by walking over prefixes, which must be keys
        prefix = word[:-1]
        while prefix and prefix not in counts:
            counts[prefix] = 0
            prefix = prefix[:-1]
    tokenizer.FREQ, tokenizer.total, tokenizer.initialized = counts, sum(numbers), True
    return dict(zip(words, fields[2::3], strict=True))


@functools.cache
def _simplified() -> dict[str, str]:
    data = resources.files("songbloom.lyrics").joinpath("data", "traditional.txt")
    return {pair[0]: pair[1] for pair in data.read_text(encoding="utf-8").split()}
