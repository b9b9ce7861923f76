"""Words that a user wants said in a way of their own: `--lexicon words.txt`.

A line is a word and its symbols, blanks between them; `#` starts a comment:

    Siobhan   SH IH0 V AO1 N
    重庆       ch ong2 q ing4
"""

import difflib
import functools
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from songbloom.errors import SongBloomError
from songbloom.lyrics.vocabulary import V1_VOCABULARY, Vocabulary

Symbols = tuple[str, ...]
_LATIN = "A-Za-z0-9\u00c0-\u024f\u1e00-\u1eff'"


@dataclass(frozen=True)
class Lexicon:
    """Words (NFKC, lower case) and their symbols. Upper and lower case are the same word."""

    entries: Mapping[str, Symbols]

    def split(self, text: str) -> list[str | Symbols]:
        """`text` cut at the words that are in the lexicon; in their places stand their symbols.

        A word in Latin letters counts only where it stands by itself; any other word counts
        wherever it is written, because there are no blanks around it.
        """
        pieces: list[str | Symbols] = []
        for number, piece in enumerate(self._pattern.split(text)):
            if number % 2:
                pieces.append(self.entries[piece.lower()])
            elif piece:
                pieces.append(piece)
        return pieces

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        """The words as one group, the longest first."""
        longest_first = sorted(self.entries, key=lambda word: (-len(word), word))
        words = "|".join(map(_bordered, longest_first)) or r"(?!)"
        return re.compile(f"({words})")


def load_lexicon(path: Path, vocabulary: Vocabulary = V1_VOCABULARY) -> Lexicon:
    """Read a user's lexicon. `SongBloomError` names the line that cannot be used, and why."""
    path = Path(path)
    try:
        rows = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror or error})",
            "Name a text file with a word and its symbols on each line.",
        ) from error
    except UnicodeDecodeError as error:
        raise SongBloomError(
            f"{path}: not UTF-8 text (byte {error.start})", "Save it as UTF-8."
        ) from error
    entries: dict[str, Symbols] = {}
    for number, row in enumerate(rows, start=1):
        if not (fields := row.partition("#")[0].split()):
            continue
        where, symbols = f"{path}:{number}", fields[1:]
        word = unicodedata.normalize("NFKC", fields[0]).lower()
        if word in entries:
            raise SongBloomError(f"{where}: '{word}' is there twice", "Delete one of the lines.")
        entries[word] = checked(symbols, vocabulary, f"{where}: {word}")
    return Lexicon(entries)


def checked(symbols: list[str], vocabulary: Vocabulary, where: str) -> Symbols:
    """`symbols`, if they are some and all in the table; else `SongBloomError`."""
    example = "Write symbols with blanks between them, for example: P IY1 S"
    if not symbols:
        raise SongBloomError(f"{where}: no symbols; expected how it is said", example)
    for symbol in symbols:
        if symbol not in vocabulary or symbol.startswith("["):  # a tag is no sound
            near = difflib.get_close_matches(symbol, vocabulary.symbols, n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(near)}?" if near else example
            raise SongBloomError(f"{where}: no symbol is called '{symbol}'", hint)
    return tuple(symbols)


def _bordered(word: str) -> str:
    before = rf"(?<![{_LATIN}])" if re.match(f"[{_LATIN}]", word) else ""
    after = rf"(?![{_LATIN}])" if re.search(f"[{_LATIN}]$", word) else ""
    return before + "".join(map(_either_case, word)) + after


def _either_case(letter: str) -> str:
    """Not `re.IGNORECASE`, for which dotless ı is an i, so that a match might be no entry."""
    upper = letter.upper()
    return f"[{letter}{upper}]" if upper != letter == upper.lower() else re.escape(letter)
