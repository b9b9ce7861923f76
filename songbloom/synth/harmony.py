"""Keys, scales and chord loops."""

import random

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
# Semitones above the key and the triad's quality; diminished triads are left out.
_MAJOR_CHORDS = {
    "I": (0, "maj"), "ii": (2, "min"), "iii": (4, "min"), "IV": (5, "maj"), "V": (7, "maj"),
    "vi": (9, "min"), "bVII": (10, "maj"),
}  # fmt: skip
_MINOR_CHORDS = {
    "i": (0, "min"), "III": (3, "maj"), "iv": (5, "min"), "v": (7, "min"), "V": (7, "maj"),
    "VI": (8, "maj"), "VII": (10, "maj"),
}  # fmt: skip
_MAJOR_LOOPS = (
    "I V vi IV", "I vi IV V", "vi IV I V", "I IV V IV", "I IV vi V", "I iii IV V", "I ii IV V",
    "IV I V vi", "I bVII IV I", "vi V IV V", "I I IV V", "I V IV IV", "ii V I I", "vi ii V I",
)  # fmt: skip
_MINOR_LOOPS = (
    "i VI III VII", "i VII VI VII", "i iv VII III", "i VI iv V", "i iv i V", "i III VII iv",
    "VI VII i i", "i VII VI V", "i v VI VII", "iv VI i VII",
)  # fmt: skip

Triad = tuple[int, str]  # root 0-11, quality "maj" | "min"


def scale(mode: str) -> tuple[int, ...]:
    """Semitones of the seven steps above the key note."""
    return MAJOR if mode == "major" else MINOR


def chord_loop(rng: random.Random, key: int, mode: str) -> tuple[Triad, ...]:
    """Four triads, one a bar."""
    loops, chords = (
        (_MAJOR_LOOPS, _MAJOR_CHORDS) if mode == "major" else (_MINOR_LOOPS, _MINOR_CHORDS)
    )
    steps = [chords[name] for name in rng.choice(loops).split()]
    return tuple(((key + semitones) % 12, quality) for semitones, quality in steps)


def tones(triad: Triad) -> tuple[int, int, int]:
    """Pitch classes of a triad."""
    root, quality = triad
    return root, (root + (4 if quality == "maj" else 3)) % 12, (root + 7) % 12
