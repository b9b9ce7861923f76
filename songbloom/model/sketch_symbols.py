"""What the seedling's sketch tokens mean: one code is the phone and the pitch of one frame.

numpy only, because symbolic pretraining labels thousands of scores a minute with it.

* code = phone_index * NUM_PITCHES + pitch_index, so there are 40 * 37 = 1480 codes.
* phone_index: 0 is no voice, 1..39 are the stressless ARPAbet phones in alphabetic order.
* pitch_index of a voiced frame: 0 unknown, 1..36 the semitones MIDI 43..78 of the note sung; notes
  outside are moved in by whole octaves.
* pitch_index of a frame without voice: 0 no chord, else 1 + 2 * root + (1 if minor), root 0 = C.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from songbloom.units import HOP, SAMPLE_RATE, Frames, Seconds, samples_to_frames

NO_VOICE = ""
PHONES: tuple[str, ...] = (
    NO_VOICE,
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY",
    "F", "G", "HH", "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY",
    "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
NUM_PHONES = len(PHONES)  # 40
LOWEST_NOTE, HIGHEST_NOTE = 43, 78  # MIDI G2 .. F#5
NUM_NOTES = HIGHEST_NOTE - LOWEST_NOTE + 1  # 36: three whole octaves, so that folding is exact
NUM_PITCHES = NUM_NOTES + 1  # 37
NUM_CHORDS = 25  # none, then 12 roots x (major, minor)
NUM_CODES = NUM_PHONES * NUM_PITCHES  # 1480
NUM_REACHABLE = NUM_CHORDS + (NUM_PHONES - 1) * NUM_PITCHES  # codes that have a meaning: 1468

_PHONE_INDEX = {phone: index for index, phone in enumerate(PHONES)}
_STRESSED = {f"{phone}{stress}": i for phone, i in _PHONE_INDEX.items() if i for stress in "012"}
_INDEX = {**_PHONE_INDEX, **_STRESSED}
IS_VOWEL = np.array([phone[:1] in tuple("AEIOU") for phone in PHONES])

Index = TypeVar("Index", int, np.ndarray)


class Timed(Protocol):
    """Something that sounds from `start` to `end`."""

    @property
    def start(self) -> Seconds: ...
    @property
    def end(self) -> Seconds: ...


class TimedNote(Timed, Protocol):
    """A note of the melody, by its MIDI number."""

    @property
    def midi(self) -> int: ...


class TimedPhone(TimedNote, Protocol):
    """A phone: ARPAbet `symbol`, with or without stress digit, and the note of its syllable."""

    @property
    def symbol(self) -> str: ...


class TimedChord(Timed, Protocol):
    """A chord: `root` 0-11 (0 = C), `quality` "maj" or "min"."""

    @property
    def root(self) -> int: ...
    @property
    def quality(self) -> str: ...


class TimedScore(Protocol):
    """The part of `songbloom.synth.score.Score` that sketch tokens are made from."""

    @property
    def phones(self) -> Sequence[TimedPhone]: ...
    @property
    def notes(self) -> Sequence[TimedNote]: ...
    @property
    def chords(self) -> Sequence[TimedChord]: ...
    @property
    def duration(self) -> Seconds: ...


@dataclass(frozen=True)
class FrameLabels:
    """What sounds at each frame's centre, each int64 `[T]`.

    `phone` 0..39; `note` 0..36, 0 where `phone` is 0; `chord` 0..24, known under a voice too.
    """

    phone: np.ndarray
    note: np.ndarray
    chord: np.ndarray

    @property
    def tokens(self) -> np.ndarray:
        """Sketch tokens `[T]` int64: the note where there is a voice, the chord elsewhere."""
        return encode_symbols(self.phone, np.where(self.phone > 0, self.note, self.chord))


def encode_symbols(phone_index: Index, pitch_index: Index) -> Index:
    """The code of a phone and a pitch (integers or integer arrays of one shape)."""
    return phone_index * NUM_PITCHES + pitch_index


def split_code(code: Index) -> tuple[Index, Index]:
    """`(phone_index, pitch_index)` of a code or an array of codes: inverse of `encode_symbols`."""
    return code // NUM_PITCHES, code % NUM_PITCHES


def phone_index(symbol: str) -> int:
    """Index of an ARPAbet phone, with or without stress digit; `KeyError` for any other string."""
    return _INDEX[symbol]


def note_index(midi: np.ndarray) -> np.ndarray:
    """Pitch index 1..36 of MIDI note numbers, moved into range by octaves; 0 stays 0 (unknown)."""
    midi = np.asarray(midi, dtype=np.int64)
    low = LOWEST_NOTE + (midi - LOWEST_NOTE) % 12
    high = HIGHEST_NOTE - (HIGHEST_NOTE - midi) % 12
    folded = np.where(midi < LOWEST_NOTE, low, np.where(midi > HIGHEST_NOTE, high, midi))
    return np.where(midi > 0, folded - LOWEST_NOTE + 1, 0)


def chord_index(root: int, quality: str) -> int:
    """Pitch index 1..24 of a chord: `root` 0-11 (0 = C), `quality` "maj" or "min"."""
    return 1 + 2 * (root % 12) + (quality == "min")


def score_to_labels(score: TimedScore) -> FrameLabels:
    """Phone, note and chord at the centre of each whole frame of `score`.

    A vowel's note is the one that the melody has at that moment (a vowel may be sung on two); a
    consonant has the note of its syllable, which begins or ends beside it.
    """
    frames = samples_to_frames(round(score.duration * SAMPLE_RATE))
    phone = _sound_at_centres(score.phones, [_INDEX[p.symbol] for p in score.phones], frames)
    syllable = _sound_at_centres(score.phones, [p.midi for p in score.phones], frames)
    melody = _sound_at_centres(score.notes, [n.midi for n in score.notes], frames)
    note = note_index(np.where(IS_VOWEL[phone] & (melody > 0), melody, syllable))
    chords = [chord_index(c.root, c.quality) for c in score.chords]
    return FrameLabels(phone, note, _sound_at_centres(score.chords, chords, frames))


def score_to_tokens(score: TimedScore) -> np.ndarray:
    """Sketch tokens `[T]` int64 of a synthetic song, straight from its score."""
    return score_to_labels(score).tokens


def _sound_at_centres(events: Sequence[Timed], values: list[int], frames: Frames) -> np.ndarray:
    """Value of the event that sounds at each frame's centre, 0 where none does, int64 `[frames]`.

    Events are half open (`start` <= centre < `end`) and in order of time; where two overlap, the
    later one counts.
    """
    if not events:
        return np.zeros(frames, dtype=np.int64)
    centres = (np.arange(frames) + 0.5) * (HOP / SAMPLE_RATE)
    starts = np.array([event.start for event in events])
    ends = np.array([event.end for event in events])
    last = np.searchsorted(starts, centres, side="right") - 1
    sounding = (last >= 0) & (centres < ends[last])
    return np.where(sounding, np.array(values, dtype=np.int64)[last], 0)
