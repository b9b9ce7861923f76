"""The SongBloom model (arXiv 2506.07634) and the codecs around it."""
