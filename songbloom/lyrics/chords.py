"""Chords among lyrics, as songbooks write them: `[Am]Hello [G/B]darkness`, or in rows of their own.

A letter alone may be anything (the alphabet is sung, sections are called A and B), so chords are
left out only of a text where one of them is more than a letter or stands behind words.
"""

import re
from collections.abc import Sequence

from songbloom.lyrics.document import Finding, Place

_CHORD = re.compile(
    r"[A-G][#b♯♭]?(?:maj|min|dim|aug|sus|add|m|M|\+|°)?[0-9]{0,2}"
    r"(?:(?:sus|add|maj|[#b♯♭])[0-9]{1,2})*(?:/[A-G][#b♯♭]?)?"
)
_BRACKETED = re.compile(rf"\[({_CHORD.pattern})\]")
_BEHIND_WORDS = re.compile(rf"[^\[\]\s]\s*{_BRACKETED.pattern}")
_BORDERS = str.maketrans("|[]", "   ")
_LONGEST_ROW = 200  # characters


def without_chords(rows: Sequence[str]) -> tuple[list[str | None], list[Finding]]:
    """The rows without chords, None for one that held nothing else; one finding says so."""
    found = [at for at, row in enumerate(rows) if _BRACKETED.search(row) or _only_chords(row)]
    kept: list[str | None] = list(rows)
    if not any(_is_sure(rows[at]) for at in found):
        return kept, []
    for at in found:
        words = "" if _only_chords(rows[at]) else _BRACKETED.sub("", rows[at])
        kept[at] = words if words.strip() else None
    message = f"chords in {len(found)} rows are not sung"
    return kept, [Finding(Place(found[0] + 1, 1), "chords", "info", message)]


def _only_chords(row: str) -> tuple[str, ...]:
    """The chords of a row that holds two or more and nothing else."""
    chords = row.translate(_BORDERS).split() if len(row) <= _LONGEST_ROW else []
    return tuple(chords) if len(chords) > 1 and all(map(_CHORD.fullmatch, chords)) else ()


def _is_sure(row: str) -> bool:
    chords = _only_chords(row) or _BRACKETED.findall(row)
    return any(len(chord) > 1 for chord in chords) or _BEHIND_WORDS.search(row) is not None
