"""The front end that the released models were trained with, quirks included.

A line is split at single spaces. A piece that is already a symbol of the vocabulary passes through
as it is, which also makes the English words "a", "I", "my" and "by" symbols of other languages;
everything else is pronounced. Scripts other than Latin and Chinese vanish without a trace.
"""

import functools
import re

from songbloom.lyrics import english, mandarin
from songbloom.lyrics.vocabulary import RELEASE_VOCABULARY

_PUNCTUATION = {
    **dict.fromkeys("：；，、·/", ","),
    **dict.fromkeys("。\n$", "."),
    "！": "!",
    "？": "?",
    **dict.fromkeys(("...", "~", "～"), "…"),
    "—": "-",
}
_REPLACED = re.compile("|".join(re.escape(mark) for mark in _PUNCTUATION))
_RUNS = re.compile(r"([\u4e00-\u9fa5]+)|([,.!?…\-])|([^\u4e00-\u9fa5,.!?…\-]+)")


def phonemes(line: str) -> str:
    """The phoneme string of a one-line lyric, symbols separated by single spaces.

    An empty piece (a double space) and a piece that nobody can pronounce leave an empty item
    behind, which the vocabulary encodes as id 0.
    """
    return " ".join(_piece(piece) for piece in line.split(" "))


@functools.lru_cache(maxsize=1 << 16)
def _piece(piece: str) -> str:
    if piece in RELEASE_VOCABULARY:
        return piece
    text = _REPLACED.sub(lambda match: _PUNCTUATION[match[0]], piece)
    symbols: list[str] = []
    for chinese, mark, other in _RUNS.findall(text):
        if chinese:
            symbols.extend(mandarin.pronounce(chinese))
        else:
            symbols.extend([mark] if mark else english.pronounce(other))
    return " ".join(symbol for symbol in symbols if symbol in RELEASE_VOCABULARY)
