"""Characters that people say and the released front end leaves out without a sound."""

import unicodedata

_UNREAD_SYMBOLS = frozenset("&@%+=€¥")  # people say them, the released front end does not


def release_drops(text: str) -> str:
    """The characters that the released front end leaves out though people say them, each once."""
    return "".join(filter(_is_dropped, dict.fromkeys(text)))


def _is_dropped(letter: str) -> bool:
    if letter.isascii() or "\u4e00" <= letter <= "\u9fa5" or letter in "£～":
        return letter in _UNREAD_SYMBOLS
    if unicodedata.category(letter)[0] not in "LNS":
        return False
    base = unicodedata.normalize("NFD", letter)[0]
    return not (base.isascii() and base.isalpha())
