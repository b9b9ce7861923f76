"""Training: the embedded codecs and the embedded SongBloom."""
