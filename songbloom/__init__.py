"""songbloom: prepare, train, generate, evaluate and export lyrics-to-song models."""

__version__ = "0.1.0"
