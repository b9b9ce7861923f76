"""The accompaniment as notes: drums, bass, chords and pad, drawn from the score's style."""

import random
from dataclasses import dataclass

from songbloom.synth.harmony import tones
from songbloom.synth.score import Chord, Score
from songbloom.units import Seconds

# General MIDI drum notes.
KICK, SNARE, RIM, HAT, OPEN_HAT, CRASH, TOM = 36, 38, 37, 42, 46, 49, 45
SWING_SHARE = 0.2

# Patterns: (eighth within a 4/4 bar, drum, velocity)
_DRUMS = {
    "rock": [(0, KICK, 110), (4, KICK, 100), (5, KICK, 80), (2, SNARE, 105), (6, SNARE, 105)],
    "pop": [(0, KICK, 110), (3, KICK, 85), (4, KICK, 95), (2, SNARE, 100), (6, SNARE, 105)],
    "floor": [(n, KICK, 105) for n in (0, 2, 4, 6)] + [(2, SNARE, 90), (6, SNARE, 90)],
    "half": [(0, KICK, 110), (5, KICK, 80), (4, SNARE, 108)],
    "rim": [(0, KICK, 90), (3, KICK, 70), (2, RIM, 90), (6, RIM, 90)],
}
_WALTZ = [(0, KICK, 105), (2, SNARE, 80), (4, SNARE, 80)]
_HATS = {"eighths": (0, 1, 2, 3, 4, 5, 6, 7), "quarters": (0, 2, 4, 6), "off": (1, 3, 5, 7)}


@dataclass(frozen=True)
class Event:
    """One note of the accompaniment. `track` is drums, bass, comp or pad; `velocity` 1-127."""

    track: str
    start: Seconds
    end: Seconds
    midi: int
    velocity: int


def arrange(score: Score) -> list[Event]:
    """Every note that accompanies the score, in order of time."""
    rng = random.Random(score.style)
    beat = 60.0 / score.tempo
    events = _bass(rng, score, beat) + _comp(rng, score, beat)
    if "pad" in score.programs:
        events += _pad(score)
    if "drums" in score.programs:
        events += _drums(rng, score, beat)
    inside = [event for event in events if event.start < score.duration - 0.05]
    return sorted(inside, key=lambda e: (e.start, e.track, e.midi))


def _bass(rng: random.Random, score: Score, beat: Seconds) -> list[Event]:
    pattern = rng.choice(("long", "quarters", "eighths", "fifths"))
    events = []
    for chord in score.chords:
        low = 28 + (chord.root - 28) % 12  # E1..D#2
        steps = {"long": score.meter, "eighths": 0.5}.get(pattern, 1.0)
        for n in range(round((chord.end - chord.start) / (steps * beat))):
            start = chord.start + n * steps * beat
            note = low + 7 if pattern == "fifths" and n % 2 else low
            events.append(
                Event("bass", start, start + 0.92 * steps * beat, note, rng.randint(84, 100))
            )
    return events


def _comp(rng: random.Random, score: Score, beat: Seconds) -> list[Event]:
    pattern = rng.choice(("block", "quarters", "strum", "arpeggio", "arpeggio", "offbeat"))
    center = rng.randint(57, 64)
    events = []
    for chord in score.chords:
        voicing = _voicing(chord, center)
        eighths = 2 * score.meter
        if pattern == "arpeggio":
            ladder = [*voicing, voicing[0] + 12, *reversed(voicing[1:])]
            hits = [(n, [ladder[n % len(ladder)]], 2.5) for n in range(eighths)]
        else:
            places = {
                "block": (0,), "quarters": range(0, eighths, 2), "strum": (0, 2, 3, 5, 6, 7),
                "offbeat": range(1, eighths, 2),
            }[pattern]  # fmt: skip
            length = {"block": eighths - 0.3, "strum": 1.4, "quarters": 1.8, "offbeat": 0.9}[
                pattern
            ]
            hits = [(n, voicing, length) for n in places if n < eighths]
        for n, notes, length in hits:
            start = chord.start + n * beat / 2
            for order, note in enumerate(notes):
                at = start + 0.008 * order
                velocity = rng.randint(62, 84)
                events.append(Event("comp", at, at + length * beat / 2, note, velocity))
    return events


def _pad(score: Score) -> list[Event]:
    return [
        Event("pad", chord.start, chord.end, note, 64)
        for chord in score.chords
        for note in _voicing(chord, 55)
    ]


def _drums(rng: random.Random, score: Score, beat: Seconds) -> list[Event]:
    pattern = _WALTZ if score.meter == 3 else _DRUMS[rng.choice(sorted(_DRUMS))]
    hats = _HATS[rng.choice(sorted(_HATS))]
    events = []
    starts = {round(section.start, 6): section.tag for section in score.sections}
    tag = ""
    for number, chord in enumerate(score.chords):
        tag = starts.get(round(chord.start, 6), tag)
        if round(chord.start, 6) in starts and number:
            events.append(Event("drums", chord.start, chord.start + 1.0, CRASH, 70))
        for place, drum, velocity in pattern:
            if tag == "intro" and drum == SNARE:
                continue
            at = chord.start + place * beat / 2
            events.append(Event("drums", at, at + 0.2, drum, velocity + rng.randint(-6, 6)))
        for place in hats:
            if place < 2 * score.meter:
                at = chord.start + place * beat / 2
                events.append(Event("drums", at, at + 0.1, HAT, rng.randint(45, 75)))
    return events


def _voicing(chord: Chord, center: int) -> list[int]:
    """The triad in the inversion nearest to `center`, low to high."""
    return sorted(
        center - 6 + (tone - center + 6) % 12 for tone in tones((chord.root, chord.quality))
    )
