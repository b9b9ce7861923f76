"""English words and their phones (ARPAbet with stress), as the released front end says them.

The data is CMUdict, see `data/README.md`. It is read at the first look-up (about 0.1 s).
"""

import functools
import lzma
from importlib import resources

_FIRST_CODE = 33  # phone number 0 is written as "!"


def lookup(word: str) -> tuple[str, ...] | None:
    """The phones of `word` (case does not matter), or None for a word the lexicon lacks."""
    phones, codes = _tables()
    code = codes.get(word.lower())
    return None if code is None else tuple(phones[ord(letter) - _FIRST_CODE] for letter in code)


def words() -> tuple[str, ...]:
    """All words of the lexicon in code-point order, lower case; some have apostrophes."""
    return tuple(_tables()[1])


@functools.cache
def _tables() -> tuple[list[str], dict[str, str]]:
    """The phones by number, and each word's phones as one character a phone."""
    data = resources.files("songbloom.lyrics").joinpath("data", "lexicon.xz").read_bytes()
    header, _, body = lzma.decompress(data).decode("ascii").partition("\n")
    names, _, codes = body.partition("\n\n")
    return header.split(" "), dict(zip(names.split("\n"), codes.split("\n"), strict=True))
