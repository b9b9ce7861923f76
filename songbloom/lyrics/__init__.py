"""Lyrics: from what people write to what a model reads. Free of torch."""

from songbloom.lyrics.formats import Lyrics, Section, decode, parse, read

__all__ = ["Lyrics", "Section", "decode", "parse", "read"]
