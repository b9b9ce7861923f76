"""How many syllables are sung, and how long they take."""

import pytest

from songbloom.lyrics import parse
from songbloom.lyrics.durations import (
    LINE_PAUSE,
    SECONDS_PER_SYLLABLE,
    line_seconds,
    section_seconds,
    song_seconds,
)
from songbloom.lyrics.syllables import count
from songbloom.synth.score import compose, vowels


@pytest.mark.parametrize(
    ("text", "syllables"),
    [
        ("City lights flicker", 5),
        ("don’t, don't!", 2),
        ("风轻轻吹过古道", 7),
        ("きゃりー", 3),
        ("사랑해요", 4),
        ("café été", 4),
        ("Москва слезам", 4),
        ("3 times", 2),
        ("{P IY1 S} of mind", 3),
        ("hmm", 1),
        ("blorptastic", 3),
        ("", 0),
        ("— … !", 0),
    ],
)
def test_syllables(text: str, syllables: int) -> None:
    """Lexicon words by their vowels, Chinese, kana and hangul by the letter, others by groups."""
    assert count(text) == syllables


def test_syllables_of_synthesised_lines_are_the_vowels_sung() -> None:
    """Every syllable of a synthesised song has one vowel, so the counts agree exactly."""
    for index in range(5):
        score = compose(7, index)
        assert sum(count(line.text) for line in score.lines) == len(vowels(score))


def test_counting_is_linear() -> None:
    """Hundreds of kilobytes on one line is counted in a moment, whatever it is made of."""
    for text in ("a" * 300_000, "la " * 100_000, "啊" * 100_000, "{" * 300_000, "1 " * 50_000):
        assert count(text) >= 0


def test_a_section_is_its_lines_or_its_tags() -> None:
    """Words take time by syllables, parts without words by how often their tag stands there."""
    lyrics = parse("[intro]\n[intro]\n[intro]\n[verse]\nCity lights flicker\nGo")
    intro, verse = lyrics.sections
    assert section_seconds(intro) == 3.0
    assert song_seconds(parse("[intro] [intro] , [verse] hmm", convention="240s")) > 10
    assert section_seconds(verse) == pytest.approx(6 * SECONDS_PER_SYLLABLE + 2 * LINE_PAUSE)
    assert song_seconds(lyrics) == section_seconds(intro) + section_seconds(verse)
    assert line_seconds("— !") == 0.0


def test_estimates_are_near_synthesised_songs() -> None:
    """The vocal sections of synthesised songs last as estimated, within a quarter at the median."""
    errors = []
    for index in range(40):
        score = compose(3, index, split="test")
        sections = parse(score.lyrics).sections
        for estimated, true in zip(sections, score.sections, strict=True):
            if estimated.lines:
                errors.append(abs(section_seconds(estimated) / (true.end - true.start) - 1))
    assert sorted(errors)[len(errors) // 2] < 0.25
