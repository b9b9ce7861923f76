"""Mandarin: Chinese characters to initials and finals with tones, as the released front end does.

Words are cut by jieba, read by pypinyin, and their tones follow `tone_sandhi`. A syllable is two
symbols: its initial (a vowel without one gets AA, EE, OO, y or w) and its final with the tone, as
in 吹 "ch ui1"; 5 is the neutral tone.
"""

import functools
from collections.abc import Callable
from importlib import resources
from typing import NamedTuple

from songbloom.lyrics import tone_sandhi
from songbloom.lyrics.tone_sandhi import Word

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

    tokenizer, tags = _dictionary(jieba.Tokenizer())

    class Tagger(jieba.posseg.POSTokenizer):
        def load_word_tag(self, dictionary) -> None:  # type: ignore[no-untyped-def]
            dictionary.close()
            self.word_tag_tab = tags

    tagger = Tagger(tokenizer)

    def read(text: str, style: pypinyin.Style) -> list[str]:
        text = "".join(_READ_AS.get(letter, letter) for letter in text)
        return list(
            pypinyin.lazy_pinyin(
                text, style=style, neutral_tone_with_five=True, errors=lambda rest: [""] * len(rest)
            )
        )

    return _Readers(
        cut=lambda text: [Word(pair.word, pair.flag) for pair in tagger.cut(text)],
        split=lambda text: list(tokenizer.cut_for_search(text)),
        initials=lambda text: read(text, pypinyin.Style.INITIALS),
        finals=lambda text: read(text, pypinyin.Style.FINALS_TONE3),
    )


def _dictionary(tokenizer):  # type: ignore[no-untyped-def]
    """`tokenizer` with jieba's own word counts, and the words' tags.

    jieba would read its dictionary twice and keep a cache in the shared temporary folder, which
    another user could fill; this reads it once, in half the time, and writes nothing.
    """
    counts: dict[str, int] = {}
    tags: dict[str, str] = {}
    with tokenizer.get_dict_file() as stream:
        for line in stream.read().decode("utf-8").splitlines():
            word, count, tag = line.split(" ")
            counts[word] = int(count)
            tags[word] = tag
    total = sum(counts.values())
    for word in tags:
        for end in range(len(word) - 1, 0, -1):  # the cutter walks by prefixes that are keys
            if word[:end] in counts:
                break
            counts[word[:end]] = 0
    tokenizer.FREQ, tokenizer.total, tokenizer.initialized = counts, total, True
    return tokenizer, tags


@functools.cache
def _simplified() -> dict[str, str]:
    data = resources.files("songbloom.lyrics").joinpath("data", "traditional.txt")
    return {pair[0]: pair[1] for pair in data.read_text(encoding="utf-8").split()}
