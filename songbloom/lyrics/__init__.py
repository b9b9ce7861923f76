"""Lyrics: from what people write to what a model reads. Free of torch."""

from songbloom.lyrics.document import Finding, Line, Lyrics, Place, Section, Word
from songbloom.lyrics.formats import decode, parse, read

__all__ = ["Finding", "Line", "Lyrics", "Place", "Section", "Word", "decode", "parse", "read"]
