"""Japanese: kana and kanji to symbols, read by OpenJTalk (pyopenjtalk-plus, the `ja` extra).

A vowel on a high mora is written `a^`, on a low one `a`. Vowels that speech whispers (です) are
voiced, because a sung vowel has a note.
"""

import contextlib
import functools
import io
from collections.abc import Callable

from songbloom.errors import MissingAssetError, SongBloomError

_VOWELS = "aiueoN"
_BREAKS = frozenset(("^", "$", "#", "_", "?", "!", "{", "}", "sp"))


def pronounce(text: str) -> list[str]:
    """Symbols of a run of Japanese. `MissingAssetError` without the extra."""
    symbols: list[str] = []
    for phone in _reader()(text):
        name, _, high = phone.partition(":")
        if name == "unk":
            raise SongBloomError(
                f"lyrics: OpenJTalk cannot read all of '{text}'",
                "Write it in kana, or add the word to a file for --lexicon.",
            )
        if name in _BREAKS:
            continue
        name = name.lower() if name in "AIUEO" else name
        symbols.append(name + "^" if high == "1" and name in _VOWELS else name)
    return symbols


@functools.cache
def _reader() -> Callable[[str], list[str]]:
    """OpenJTalk with its dictionary; about a second."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells what else could be installed
            import pyopenjtalk

            read = functools.partial(pyopenjtalk.g2p_prosody, format="Numeric")
            read("あ")
    except (ImportError, AttributeError) as error:
        raise MissingAssetError(
            "Japanese lyrics need the package pyopenjtalk-plus, which is not installed",
            "Install it: pip install 'songbloom[ja]'",
        ) from error
    return read
