"""English words to ARPAbet phones, as the released front end says them.

A word is looked up, spelled out when short, taken apart when it is a compound, and only then
guessed by `predictor`. The released front end sees one word at a time, so the part of speech of a
heteronym ("record") is what a tagger says of the bare word.
"""

import functools
import re
import unicodedata
from importlib import resources

import wordsegment

from songbloom.lyrics import lexicon
from songbloom.lyrics.numbers import spell_numbers

_SPOKEN = re.compile(r"[^ A-Za-z'.,?!\-]")
_HANGING = re.compile("'{4,}")
_TOKEN = re.compile(r"[A-Za-z][A-Za-z'\-]+[A-Za-z]|[A-Za-z]+|\S")
_POSSESSIVE = re.compile(r"([a-z]+)'s")
_LONGEST_SPELLED = 3
_LONGEST_READ = 200  # letters; the segmenter would take minutes over what nobody sings anyway
_HOT = {
    "chatgpt": "CH AE1 T JH IY1 P IY1 T IY1",
    "json": "JH EY1 S AH0 N",
}
# What a tagger says of the bare word where that is not a noun: an averaged perceptron trained on
# newspapers, as the release's is, takes even "refuse" and "invite" for nouns.
_BARE_PARTICIPLES = "blessed crooked cursed dogged jagged learned ragged recapped used"
_BARE_TAGS = {
    **dict.fromkeys(_BARE_PARTICIPLES.split(" "), "VBN"),
    **dict.fromkeys(("recapping", "relaying"), "VBG"),
    "affect": "VB",
    "closer": "JJR",
    "complex": "JJ",
}


def pronounce(text: str) -> list[str]:
    """Phones and punctuation marks of a run of text without Chinese characters.

    Accents fall off, digits become words, everything that is not a Latin letter, an apostrophe or
    one of `. , ? ! -` vanishes. An apostrophe outside a word is the symbol "-", three at most.
    """
    text = unicodedata.normalize("NFD", spell_numbers(text))
    text = _HANGING.sub("'''", _SPOKEN.sub("", text))
    symbols: list[str] = []
    for token in _TOKEN.findall(text):
        symbols.extend(_token(token))
    return ["-" if symbol == "'" else symbol for symbol in symbols if symbol != "UW"]


@functools.lru_cache(maxsize=1 << 16)
def _token(token: str) -> tuple[str, ...]:
    word = token[:_LONGEST_READ].lower()
    if not token[-1].isalpha():
        return (token,)
    if len(word) == 1:
        return ("EY1",) if token == "A" else lexicon.lookup(word) or ()
    if word in _heteronyms():
        when_tagged, otherwise, tag = _heteronyms()[word]
        return when_tagged if _BARE_TAGS.get(word, "NN").startswith(tag) else otherwise
    return _word(word)


def _word(word: str) -> tuple[str, ...]:
    """Phones of a lower-case word, which may hold apostrophes and hyphens."""
    if len(word) > 1 and (known := _lookup(word)):
        return known
    if len(word) <= _LONGEST_SPELLED:
        return tuple(phone for letter in word for phone in _letter(letter))
    if owner := _POSSESSIVE.fullmatch(word):
        return _possessive(_word(owner[1]))
    parts = _segmenter().segment(word)
    if len(parts) == 1:
        from songbloom.lyrics import predictor  # needs numpy, which few lyrics do

        return predictor.predict(word)
    return tuple(phone for part in parts for phone in _word(part))


def _lookup(word: str) -> tuple[str, ...] | None:
    return tuple(_HOT[word].split()) if word in _HOT else lexicon.lookup(word)


def _letter(letter: str) -> tuple[str, ...]:
    """The letter's name; other characters stand for themselves."""
    if letter == "a":
        return ("EY1",)
    return (lexicon.lookup(letter) or (letter,)) if letter.isalpha() else (letter,)


def _possessive(phones: tuple[str, ...]) -> tuple[str, ...]:
    """'s after a voiceless sound, after a hissing one, and elsewhere."""
    last = phones[-1] if phones else ""
    if last in ("P", "T", "K", "F", "TH", "HH"):
        return (*phones, "S")
    if last in ("S", "Z", "SH", "ZH", "CH", "JH"):
        return (*phones, "AH0", "Z")
    return (*phones, "Z")


@functools.cache
def _heteronyms() -> dict[str, tuple[tuple[str, ...], tuple[str, ...], str]]:
    """Word -> phones under the tag, phones elsewhere, tag prefix."""
    data = resources.files("songbloom.lyrics").joinpath("data", "heteronyms.txt")
    table = {}
    for line in data.read_text(encoding="ascii").splitlines()[1:]:
        word, when_tagged, otherwise, tag = line.split("|")
        table[word] = (tuple(when_tagged.split()), tuple(otherwise.split()), tag)
    return table


@functools.cache
def _segmenter() -> "wordsegment.Segmenter":
    """The word segmenter with its counts; almost a second, and few lyrics need it."""
    segmenter = wordsegment.Segmenter()
    segmenter.load()
    return segmenter
