"""Lyrics: from what people write to what a model reads. Free of torch."""
