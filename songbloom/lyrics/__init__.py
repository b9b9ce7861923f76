"""Lyrics: from what people write to what a model reads. Free of torch."""

from songbloom.lyrics.document import RULES, Finding, Line, Lyrics, Place, Section, Word
from songbloom.lyrics.formats import (
    FORMATS,
    Format,
    decode,
    detect,
    format_of,
    parse,
    parse_bytes,
    read,
    write,
)
from songbloom.lyrics.one_line import Convention

__all__ = [
    "FORMATS",
    "RULES",
    "Convention",
    "Finding",
    "Format",
    "Line",
    "Lyrics",
    "Place",
    "Section",
    "Word",
    "decode",
    "detect",
    "format_of",
    "parse",
    "parse_bytes",
    "read",
    "write",
]
