"""What listeners are asked: the paper's six scales of its Table 3, in words of our own.

MUS, the music, and QLT, the sound, for vocals (V) and accompaniment (A) apart; CST, the likeness to
the style clip: from 1 to 5. CRR, the right words: from 1 to 4. The answers to A/B pairs are one
preference.
"""

from dataclasses import dataclass
from typing import Literal

VERSION = 1  # raise it with any change of a word: answers to other words are another test
SIDES = ("A", "B")
NEITHER = "none"


@dataclass(frozen=True)
class Scale:
    """A question, and what each score means, the best first: (score, word, explanation).

    `needs` is what a rater must have beside the song to answer it.
    """

    key: str
    name: str
    question: str
    steps: tuple[tuple[int, str, str], ...]
    needs: Literal["", "lyrics", "reference"] = ""

    @property
    def low(self) -> int:
        """The lowest score."""
        return self.steps[-1][0]

    @property
    def high(self) -> int:
        """The highest score."""
        return self.steps[0][0]


_MUSIC_VOCALS = (
    (5, "excellent", "A tune that stays in the ear, sung with feeling, as a professional would."),
    (4, "good", "Natural and in tune; small weaknesses."),
    (3, "fair", "A melody that holds together, but plain, stiff or uneven."),
    (2, "poor", "Often out of tune or time, or the tune leads nowhere."),
    (1, "bad", "No melody that one could sing back."),
)
_MUSIC_BACKING = (
    (5, "excellent", "Rich and well arranged; harmony, rhythm and form carry the song."),
    (4, "good", "Fits the song well; small weaknesses."),
    (3, "fair", "Fits, but repeats itself, is thin or does not develop."),
    (2, "poor", "Harmony or rhythm is often wrong or works against the voice."),
    (1, "bad", "No music that holds together."),
)
_SOUND = (
    (5, "excellent", "Like a studio recording."),
    (4, "good", "Clear; faults only for who listens for them."),
    (3, "fair", "Audible faults, such as noise or dullness, that do not spoil it."),
    (2, "poor", "Faults that disturb: distortion, gaps, a metallic or muffled sound."),
    (1, "bad", "Hard to listen to."),
)
_WORDS = (
    (4, "all right", "Every word of the lyrics is sung and can be understood."),
    (3, "nearly", "Single words are wrong, missing, added or unclear."),
    (2, "partly", "Several lines are wrong, missing, repeated or unclear."),
    (1, "hardly", "Most of the lyrics is not sung or cannot be understood."),
)
_LIKENESS = (
    (5, "same", "It could be from the same record as the clip: genre, instruments, voice, mood."),
    (4, "close", "The same style; one of these differs."),
    (3, "similar", "Related, but one would not think of the clip."),
    (2, "distant", "Little in common."),
    (1, "other", "Nothing in common."),
)
SCALES = (
    Scale(
        "MUS_V",
        "Singing: the music",
        "How good is the melody, and how well is it sung?",
        _MUSIC_VOCALS,
    ),
    Scale(
        "MUS_A",
        "Accompaniment: the music",
        "How good is the music that is played?",
        _MUSIC_BACKING,
    ),
    Scale(
        "QLT_V", "Singing: the sound", "How good does the voice sound, whatever it sings?", _SOUND
    ),
    Scale("QLT_A", "Accompaniment: the sound", "How good do the instruments sound?", _SOUND),
    Scale(
        "CRR",
        "The words",
        "Are the words of the lyrics sung, all of them and no others?",
        _WORDS,
        "lyrics",
    ),
    Scale(
        "CST",
        "The style",
        "How close is the song to the style of the clip?",
        _LIKENESS,
        "reference",
    ),
)
PREFERENCE = "Which of the two songs is better, all in all?"
