"""What a speech program gives: samples of a line, and when it says each phone."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from songbloom.synth.score import Phone
from songbloom.units import Seconds


@dataclass(frozen=True)
class Spoken:
    """A spoken line: float64 samples and each phone's `(start, end)` in seconds."""

    samples: np.ndarray
    sample_rate: int
    spans: tuple[tuple[Seconds, Seconds], ...]


def spoken_words(phones: tuple[Phone, ...]) -> list[tuple[str, ...]]:
    """The symbols of a line's phones, word by word."""
    words = groupby(phones, key=lambda phone: phone.word)
    return [tuple(phone.symbol for phone in word) for _, word in words]
