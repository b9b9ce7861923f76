"""What of a line reaches the singer: the text for the one line, and what nobody can say."""

import functools
import unicodedata

from songbloom.lyrics.document import Finding, Line
from songbloom.lyrics.tags import visible
from songbloom.lyrics.unsaid import release_drops

_PLAIN_MARKS = str.maketrans(
    {**dict.fromkeys("’‘ʼ＇´`", "'"), **dict.fromkeys('“”„«»"[]【】'), "–": "-", "‐": "-"}
)
_CLOSING = " ,.;:，。；：、-"
_MOST_NAMED = 12  # characters in one message


@functools.lru_cache(maxsize=1 << 8)
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
    sung = sung_text(text)
    dropped = _dropped(sung, frontend)
    return any(letter.isalnum() and letter not in dropped for letter in set(sung))


def character_findings(line: Line, frontend: str = "release") -> list[Finding]:
    """What is wrong with a line's characters: those that vanish, those that nobody sees."""
    findings = []
    if letters := _dropped(sung_text(line.text), frontend):
        message = f'the {frontend} front end cannot say "{shown(letters)}"; left out of the singing'
        place = line.place.moved(max(0, line.text.find(letters[0])))
        fix = "write it in Latin letters" if letters[0].isalpha() else "write it as words"
        findings.append(Finding(place, "unsayable-character", "warning", message, fix))
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


def _dropped(text: str, frontend: str) -> str:
    """The characters that the front end leaves out without a sound, each once."""
    if frontend == "release":
        return release_drops(text)
    from songbloom.lyrics import frontends  # which know all languages; most lyrics need one

    return frontends.unsayable(text, frontend)
