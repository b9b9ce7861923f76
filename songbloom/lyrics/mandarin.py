"""Mandarin: Chinese characters to initials and finals with tones, as the released front end does.

Words are cut as jieba cuts them, read by pypinyin, and their tones follow `tone_sandhi`. A syllable
is two symbols: its initial (a vowel without one gets AA, EE, OO, y or w) and its final with the
tone, as in 吹 "ch ui1"; 5 is the neutral tone.
"""

import functools
from importlib import resources

from songbloom.lyrics import mandarin_words, tone_sandhi
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
    read_as = "".join(_simplified().get(letter, letter) for letter in text)
    words = tone_sandhi.merge(mandarin_words.cut(read_as), _finals)
    return [symbol for word in words for symbol in _word(word)]


@functools.lru_cache(maxsize=1 << 16)
def _word(word: Word) -> tuple[str, ...]:
    finals = tone_sandhi.spoken(word, _finals(word.text), mandarin_words.split)
    pairs = zip(_read(word.text, initials=True), finals, strict=True)
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


def _finals(text: str) -> list[str]:
    return list(_read(text, initials=False))


@functools.lru_cache(maxsize=1 << 16)
def _read(text: str, initials: bool) -> tuple[str, ...]:
    """The initials or finals of a word, "" for a character without a reading."""
    import pypinyin  # half a second

    syllables = pypinyin.pinyin(
        text,
        style=pypinyin.Style.INITIALS if initials else pypinyin.Style.FINALS_TONE3,
        neutral_tone_with_five=True,
        errors=_no_reading,  # type: ignore[arg-type]  # a list is what it takes
    )
    return tuple(readings[0] for readings in syllables)


def _no_reading(letters: str) -> list[str]:
    return [""] * len(letters)


@functools.cache
def _simplified() -> dict[str, str]:
    """What a character is read as: its simplified form, 恩 for 嗯 and 母 for 呣."""
    data = resources.files("songbloom.lyrics").joinpath("data", "traditional.txt")
    pairs = data.read_text(encoding="utf-8").split()
    return {pair[0]: _READ_AS.get(pair[1], pair[1]) for pair in pairs} | _READ_AS
