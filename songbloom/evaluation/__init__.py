"""Scores of generated songs: metrics, the protocol that pins them, and what is read from both."""
