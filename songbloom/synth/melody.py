"""Rhythm and melody of one sung line."""

import random

from songbloom.synth.harmony import Triad, scale, tones

MIN_NOTE = 0.2  # seconds: shorter syllables stop being words
MELISMA_SHARE = 0.05


def rhythm(rng: random.Random, num_syllables: int, tempo: float, meter: int) -> list[float]:
    """Length in beats of each syllable, on the eighth grid, the last one held."""
    beat = 60.0 / tempo
    choices = [length for length in (0.5, 1.0, 1.5, 2.0) if length * beat >= MIN_NOTE]
    ideal = rng.uniform(0.3, 0.46)  # seconds a syllable, the singer's pace in this line
    weights = [1.0 / (0.03 + (length * beat - ideal) ** 2) ** 2 for length in choices]
    lengths = rng.choices(choices, weights, k=num_syllables)
    lengths[-1] = max(1.0, rng.choice((1.0, 1.5, 2.0)))
    if meter == 3:
        lengths[-1] = rng.choice((1.0, 2.0))
    return lengths


def melody(
    rng: random.Random,
    starts: list[float],
    chords: list[Triad],
    *,
    key: int,
    mode: str,
    low: int,
    high: int,
    contour: list[float],
) -> list[int]:
    """One MIDI note a syllable.

    `starts` are beats, `chords` the triad under each; `contour` the line's shape as heights 0..1 at
    equal distances. Notes on a beat are chord tones, notes between are scale steps near the last.
    """
    ladder = [note for note in range(low, high + 1) if (note - key) % 12 in scale(mode)]
    notes: list[int] = []
    for i, (start, chord) in enumerate(zip(starts, chords, strict=True)):
        height = _at(contour, i / max(1, len(starts) - 1)) + rng.uniform(-0.12, 0.12)
        wanted = low + height * (high - low)
        strong = start % 1.0 == 0.0 or i == len(starts) - 1
        options = [n for n in ladder if n % 12 in tones(chord)] if strong else ladder
        previous = notes[-1] if notes else round(wanted)
        notes.append(_nearest(options or ladder, wanted, previous, rng))
    return notes


def contour(rng: random.Random) -> list[float]:
    """A shape for a line: five heights between 0.1 and 0.95, smooth."""
    start, peak, end = rng.uniform(0.2, 0.6), rng.uniform(0.5, 0.95), rng.uniform(0.1, 0.6)
    if rng.random() < 0.3:
        start, peak = peak, start
    return [start, (start + peak) / 2 + rng.uniform(-0.1, 0.1), peak, (peak + end) / 2, end]


def _nearest(options: list[int], wanted: float, previous: int, rng: random.Random) -> int:
    """Trade the contour against small steps; leaps over a fifth cost much."""

    def cost(note: int) -> float:
        step = abs(note - previous)
        return abs(note - wanted) + 0.6 * step + (4.0 * (step - 7) if step > 7 else 0.0)

    best = sorted(options, key=cost)[:2]
    return best[1] if len(best) > 1 and rng.random() < 0.3 else best[0]


def _at(shape: list[float], position: float) -> float:
    x = position * (len(shape) - 1)
    i = min(int(x), len(shape) - 2)
    return shape[i] + (x - i) * (shape[i + 1] - shape[i])
