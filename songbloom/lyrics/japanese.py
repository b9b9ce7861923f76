"""Japanese: kana and kanji to symbols, read by OpenJTalk (pyopenjtalk-plus, the `ja` extra).

A vowel on a high mora is written `a^`, on a low one `a`. Vowels that speech whispers (です) are
voiced, because a sung vowel has a note.
"""

import contextlib
import functools
import io
from collections.abc import Callable

from songbloom.errors import MissingAssetError, SongBloomError

_VOWELS = frozenset("aiueoN")
_WHISPERED = frozenset("AIUEO")
_BREAKS = frozenset(("^", "$", "#", "_", "?", "!", "{", "}", "sp"))


def pronounce(text: str) -> list[str]:
    """Symbols of a run of Japanese. `MissingAssetError` without the extra."""
    phones = [phone.partition(":") for phone in _reader()(text)]
    said = [(name, high) for name, _, high in phones if name not in _BREAKS]
    if not said or any(name == "unk" for name, _ in said):
        raise SongBloomError(
            f"lyrics: OpenJTalk cannot read all of '{text}'",
            "Write it in kana, or add the word to a file for --lexicon.",
        )
    return [_symbol(name, high == "1") for name, high in said]


def _symbol(name: str, high: bool) -> str:
    name = name.lower() if name in _WHISPERED else name
    return f"{name}^" if high and name in _VOWELS else name


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
