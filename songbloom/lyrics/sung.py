"""What of a line reaches the singer: the text for the one line, and what nobody can say."""

import unicodedata

from songbloom.lyrics.document import Finding, Line
from songbloom.lyrics.tags import visible

_PLAIN_MARKS = str.maketrans(
    {**dict.fromkeys("’‘ʼ＇´`", "'"), **dict.fromkeys('“”„«»"[]【】'), "–": "-", "‐": "-"}
)
_CLOSING = " ,.;:，。；：、-"
_UNREAD_SYMBOLS = frozenset("&@%+=€¥")  # people say them, the released front end does not
_MOST_NAMED = 12  # characters in one message


def sung_text(line: str) -> str:
    """A line as it goes into the one-line format.

    Single spaces, plain quotes, no brackets, no closing punctuation that the separators replace;
    a comma standing alone, which would end the section, moves to the word before it.
    """
    plain = visible(unicodedata.normalize("NFC", line).translate(_PLAIN_MARKS))
    if not plain.isascii():
        plain = plain.translate({ord(c): ord(c) - 0xFEE0 for c in set(plain) if _is_wide(c)})
    return " ".join(plain.split()).replace(" ,", ",").strip(_CLOSING)


def can_be_sung(text: str, frontend: str = "release") -> bool:
    """Whether the front end says anything of a line."""
    letters = set(sung_text(text))
    return any(letter.isalnum() and not _vanishes(letter, frontend) for letter in letters)


def character_findings(line: Line, frontend: str = "release") -> list[Finding]:
    """What is wrong with a line's characters: those that vanish, those that nobody sees."""
    findings = []
    if letters := "".join(c for c in dict.fromkeys(sung_text(line.text)) if _vanishes(c, frontend)):
        message = f'the {frontend} front end cannot say "{shown(letters)}"; left out of the singing'
        place = line.place.moved(max(0, line.text.find(letters[0])))
        findings.append(
            Finding(place, "unsayable-character", "warning", message, "write it as words")
        )
    if not line.text.isascii() and (hidden := len(line.text) - len(visible(line.text))):
        message = f"{hidden} invisible characters (zero-width or direction marks)"
        findings.append(Finding(line.place, "invisible-character", "info", message, "delete them"))
    return findings


def shown(text: str, most: int = _MOST_NAMED) -> str:
    """The text for a message: no longer than `most` characters, none of them invisible."""
    seen = "".join(c for c in visible(text[: 2 * most]) if c.isprintable())
    return seen if len(seen) <= most else f"{seen[:most]}…"


def _is_wide(letter: str) -> bool:
    """A full-width letter or digit."""
    return "０" <= letter <= "ｚ" and letter.isalnum()


def _vanishes(letter: str, frontend: str) -> bool:
    """Whether the front end leaves the character out without a sound."""
    if letter.isascii() or "\u4e00" <= letter <= "\u9fa5" or letter in "£～":
        return letter in _UNREAD_SYMBOLS
    if unicodedata.category(letter)[0] not in "LNS":
        return False
    if frontend != "release" and letter.isalnum():
        return False
    base = unicodedata.normalize("NFD", letter)[0]
    return not (base.isascii() and base.isalpha())
