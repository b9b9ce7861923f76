"""Synthetic songs with exactly known words, phones, notes, chords, beats and sections."""
