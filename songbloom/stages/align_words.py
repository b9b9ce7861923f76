"""The words of lyrics and how they sound: what an aligner looks for. Torch-free.

A word is what stands between blanks; of Chinese characters each is one. Its phones are those of the
`v1` front end, as `arpabet` has them; what nobody can say (a lone dash, an emoji) is no word.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from songbloom.errors import SongBloomError
from songbloom.lyrics import arpabet, languages, v1
from songbloom.lyrics.document import Line, Lyrics
from songbloom.lyrics.languages import Voices
from songbloom.units import Seconds

_PIECE = re.compile(r"\{[^{}]*\}|[^\s{}]+")
_LANGUAGE_OF_SCRIPT = {"kana": "ja", "hangul": "ko"}


@dataclass(frozen=True)
class SungWord:
    """A word as written, its stressless ARPAbet phones, its language."""

    text: str
    phones: tuple[str, ...]
    language: str


@dataclass(frozen=True)
class SungLine:
    """A line with its section's index, and when it is sung, where the lyrics say so."""

    section: int
    text: str
    words: tuple[SungWord, ...]
    start: Seconds | None = None
    end: Seconds | None = None


@dataclass(frozen=True)
class Heard:
    """When a word was heard, in seconds, and how surely, 0..1."""

    start: Seconds
    end: Seconds
    confidence: float


# How an aligner is asked: sound float32 `[channels, n]` at 48 kHz and lines; for each word in order
# what was heard, None where its line is not sung.
Aligner = Callable[[np.ndarray, Sequence[SungLine]], list[Heard | None]]


def sung_lines(lyrics: Lyrics, language: str | None = None) -> list[SungLine]:
    """The lines that have words, in order; `language` overrides what the letters tell.

    `SongBloomError` where a language needs a program or an extra that is not installed.
    """
    language = language if language in languages.LANGUAGES else None
    texts = [text for section in lyrics.sections for text in section.texts]
    song = languages.of_song("\n".join(texts), language)
    found = [
        _sung_line(number, line, languages.of_sentence(line.text, song, language))
        for number, section in enumerate(lyrics.sections)
        for line in section.lines
    ]
    return [line for line in found if line.words]


def main_language(lines: Sequence[SungLine]) -> str:
    """The language of most words; "" without words."""
    counts = Counter(word.language for line in lines for word in line.words)
    return max(counts, key=lambda name: (counts[name], name)) if counts else ""


def _sung_line(section: int, line: Line, voices: Voices) -> SungLine:
    words = tuple(word for word in _words(line.text, voices) if word.phones)
    return SungLine(section, line.text, words, line.start, line.end)


def _words(text: str, voices: Voices) -> Iterator[SungWord]:
    for piece in _PIECE.findall(text):
        for run, language in _runs(piece, voices):
            if language == "zh":
                yield from _characters(run)
            else:
                yield SungWord(run, _phones(run, language), language)


def _runs(piece: str, voices: Voices) -> Iterator[tuple[str, str]]:
    """A piece without blanks, cut where Chinese characters of Mandarin meet other letters."""
    if piece[0] == "{" or voices.han != "zh":
        yield piece, _language(piece, voices)
        return
    for run in re.findall(r"[\u3400-\u9fff]+|[^\u3400-\u9fff]+", piece):
        yield run, _language(run, voices)


def _language(piece: str, voices: Voices) -> str:
    scripts = {languages.script(letter) for letter in piece}
    for script, language in _LANGUAGE_OF_SCRIPT.items():
        if script in scripts:
            return language
    if "han" in scripts:
        return voices.han
    return voices.latin if "latin" in scripts else voices.digits


def _characters(run: str) -> Iterator[SungWord]:
    """The characters of a run, each read as it is beside the others."""
    symbols = _say(run, "zh")
    if len(symbols) != 2 * len(run):  # one that is not read; the others still are
        symbols = [symbol for letter in run for symbol in (_say(letter, "zh") or ["", ""])[:2]]
    for letter, initial, final in zip(run, symbols[::2], symbols[1::2], strict=True):
        yield SungWord(letter, _joined((initial, final)), "zh")


def _phones(text: str, language: str) -> tuple[str, ...]:
    return _joined(_say(text, language))


def _joined(symbols: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """The phones of symbols; a glide that ends one and begins the next is one."""
    phones: list[str] = []
    for symbol in symbols:
        said = arpabet.phones(symbol)
        glides = phones[-1:] == [*said[:1]] and phones[-1:] in (["Y"], ["W"])
        phones += said[1:] if glides else said
    return tuple(phones)


def _say(text: str, language: str) -> list[str]:
    try:
        return v1.phonemes(text, language=language).split()
    except SongBloomError as error:
        if language == "zh":
            return []  # a character without a reading
        # What is missing is missing for this song's language, not for the whole run.
        raise SongBloomError(error.message, error.hint) from error
