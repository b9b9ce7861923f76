"""Laws of the scores: pure, exact, consistent with themselves and with the lyric front end."""

from itertools import pairwise

import pytest

from songbloom.errors import UsageError
from songbloom.lyrics import formats, release
from songbloom.lyrics.lexicon import lookup
from songbloom.synth import harmony
from songbloom.synth.lyrics import closed_words
from songbloom.synth.score import Score, compose, vowels
from songbloom.synth.syllables import is_vowel, syllables
from songbloom.synth.voices import BY_NAME, TEST_VOICES
from songbloom.synth.words import classes, gerund, held_out, past, plural, third_person

SCORES = [compose(11, index) for index in range(25)]
# Words that are also symbols of the released vocabulary: its front end passes them through.
SYMBOL_WORDS = {"I": "AY1", "by": "B AY1", "my": "M AY1"}


def _ends_meet(items: tuple, end: float) -> bool:
    borders = [item.start for item in items] + [end]
    pairs = zip(items, borders[1:], strict=True)
    return borders[0] == 0 and all(item.end == pytest.approx(border) for item, border in pairs)


def test_same_seed_and_index_same_score_others_another() -> None:
    assert compose(11, 4) == SCORES[4]
    assert compose(12, 4).lyrics != SCORES[4].lyrics != SCORES[5].lyrics
    assert compose(11, 4, split="test").lyrics != SCORES[4].lyrics


def test_json_round_trip_is_exact() -> None:
    for score in SCORES[:5]:
        assert Score.from_json(score.to_json()) == score


@pytest.mark.parametrize("score", SCORES[:10], ids=lambda score: str(score.index))
def test_phones_are_the_lexicons_phones_of_the_words_written(score: Score) -> None:
    for number, word in enumerate(score.words):
        assert lookup(word.text) == tuple(p.symbol for p in score.phones if p.word == number)
    for number, line in enumerate(score.lines):
        assert line.text.split() == [word.text for word in score.words if word.line == number]


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_released_front_end_says_what_is_sung(split: str) -> None:
    """But for the words that it takes for symbols of its vocabulary, as the release does."""
    for index in range(25):
        score = compose(11, index, split=split)
        items = release.phonemes(formats.parse(score.lyrics).line).split(" ")
        heard = [SYMBOL_WORDS.get(item, item) for item in items if item and item[0] not in "[,."]
        assert " ".join(heard).split() == [phone.symbol for phone in score.phones]


def test_no_word_of_the_lists_is_said_otherwise_by_the_released_front_end() -> None:
    """Homographs, and words that it would split or spell, must not be in the lists."""
    for word in sorted({word for words in classes().values() for word in words}):
        assert release.phonemes(word) == " ".join(lookup(word) or ()), word


def test_phones_follow_each_other_and_lines_part() -> None:
    for score in SCORES:
        for phone, following in zip(score.phones, score.phones[1:], strict=False):
            assert phone.start < phone.end <= following.start + 1e-9
        for line, following in zip(score.lines, score.lines[1:], strict=False):
            assert following.start - line.end > 0.1
        assert score.phones[0].start >= 0 and score.phones[-1].end <= score.duration


def test_vowels_begin_on_their_notes_which_begin_on_the_eighth_grid() -> None:
    for score in SCORES:
        starts = {round(note.start, 6) for note in score.notes}
        for vowel in vowels(score):
            eighths = vowel.start / (30.0 / score.tempo)
            assert round(vowel.start, 6) in starts
            assert eighths == pytest.approx(round(eighths), abs=1e-6)


def test_consonants_take_at_most_half_and_vowels_carry_the_note() -> None:
    for score in SCORES:
        sung = vowels(score)
        for vowel, following in zip(sung, sung[1:], strict=False):
            same_line = score.words[vowel.word].line == score.words[following.word].line
            if same_line:
                assert vowel.end - vowel.start >= 0.499 * (following.start - vowel.start)


def test_melody_stays_in_range_and_key_and_downbeats_agree_with_the_chord() -> None:
    for score in SCORES:
        voice = BY_NAME[score.voice]
        scale = {(score.key + step) % 12 for step in harmony.scale(score.mode)}
        for phone in score.phones:
            assert voice.low <= phone.midi <= voice.high
        for vowel in vowels(score):
            chord = next(c for c in score.chords if c.start <= vowel.start + 1e-6 < c.end)
            tones = harmony.tones((chord.root, chord.quality))
            assert vowel.midi % 12 in scale | set(tones)
            beats = vowel.start * score.tempo / 60
            if abs(beats - round(beats)) < 1e-6:
                assert vowel.midi % 12 in tones


def test_sections_and_chords_tile_the_song_and_beats_count_bars() -> None:
    for score in SCORES:
        assert _ends_meet(score.sections, score.duration)
        assert _ends_meet(score.chords, score.duration)
        downbeats = [beat.time for beat in score.beats if beat.position == 1]
        assert downbeats == pytest.approx([chord.start for chord in score.chords])
        for line in score.lines:
            section = score.sections[line.section]
            assert section.start <= line.start + 0.5 and line.end <= section.end


def test_songs_have_two_to_eight_lines_of_four_to_eight_words_and_last_12_to_46_seconds() -> None:
    for score in [compose(1, index) for index in range(300)]:
        assert 2 <= len(score.lines) <= 8
        assert 12 <= score.duration <= 46
        assert all(4 <= len(line.text.split()) <= 8 for line in score.lines)


def test_training_never_sings_held_out_words_or_the_test_voice() -> None:
    for index in range(150):
        score = compose(5, index)
        open_words = {word.text.lower() for word in score.words} - {
            word.lower() for word in closed_words()
        }
        assert not any(map(held_out, open_words))
        assert score.voice not in {voice.name for voice in TEST_VOICES}


def test_test_songs_have_unseen_words_and_the_test_voice() -> None:
    scores = [compose(5, index, split="test") for index in range(40)]
    words = [word.text.lower() for score in scores for word in score.words]
    unseen = [word for word in words if held_out(word)]
    assert 0.1 < len(unseen) / len(words) < 0.5
    assert {score.voice for score in scores} == {"yew"}


def test_vocabulary_is_wide() -> None:
    assert len({word for words in classes().values() for word in words}) > 3000


def test_word_forms() -> None:
    assert [plural(noun) for noun in ("wife", "city", "church", "toy")] == [
        "wives", "cities", "churches", "toys",
    ]  # fmt: skip
    assert [third_person(verb) for verb in ("carry", "kiss", "play")] == [
        "carries", "kisses", "plays",
    ]  # fmt: skip
    assert [past(verb) for verb in ("sing", "try", "stop", "dance")] == [
        "sang", "tried", "stopped", "danced",
    ]  # fmt: skip
    assert [gerund(verb) for verb in ("tie", "dance", "run", "see")] == [
        "tying", "dancing", "running", "seeing",
    ]  # fmt: skip


def test_syllables_keep_every_phone_and_begin_as_english_words_do() -> None:
    monster = syllables(("M", "AA1", "N", "S", "T", "ER0"))
    assert monster == [(("M",), "AA1", ("N",)), (("S", "T"), "ER0", ())]
    assert syllables(("S", "IH1", "NG", "IH0", "NG"))[0] == (("S",), "IH1", ("NG",))
    for word in classes()["N"]:
        phones = lookup(word) or ()
        parts = syllables(phones)
        assert tuple(p for onset, vowel, coda in parts for p in (*onset, vowel, *coda)) == phones
        assert len(parts) == sum(map(is_vowel, phones))


@pytest.mark.parametrize(
    "options",
    [
        {"split": "valid"},
        {"num_lines": 0},
        {"num_lines": 9},
        {"voice": "nobody"},
        {"pauses": 1.5},
        {"echoes": -0.5},
    ],
)
def test_a_choice_that_is_not_there_is_named(options: dict) -> None:
    with pytest.raises(UsageError, match=str(next(iter(options.values())))):
        compose(1, 0, **options)


def test_lines_voice_and_unseen_share_can_be_asked_for() -> None:
    score = compose(1, 0, num_lines=5, voice="rue", unseen_share=1.0)
    assert len(score.lines) == 5 and score.voice == "rue"
    assert any(held_out(word.text.lower()) for word in score.words)


def test_a_song_like_another_shares_its_style_and_nothing_else() -> None:
    """Voice, key, tempo, meter and band are the other song's; words and melody are its own."""
    for index in range(8):
        other = compose(5, index, language="zh" if index == 7 else "en")
        score = compose(6, 30 + index, like=other)
        for name in ("voice", "language", "key", "mode", "tempo", "meter", "programs"):
            assert getattr(score, name) == getattr(other, name)
        assert score.lyrics != other.lyrics
        tonic = {(note.midi - score.key) % 12 for note in score.notes}
        assert tonic <= set(harmony.scale(score.mode))


def test_after_lines_with_pauses_the_voice_rests_for_whole_bars_more() -> None:
    """A bar or more after every line with pauses everywhere, not without; songs stay whole bars."""
    plain, paused = (compose(9, 4, num_lines=6, pauses=share) for share in (0.0, 1.0))
    for score, rests_long in ((plain, False), (paused, True)):
        bar = score.meter * 60 / score.tempo
        rests = [b.start - a.end for a, b in pairwise(score.lines)]
        assert all(rest > bar for rest in rests) == rests_long
        bars = score.duration / bar
        assert bars == pytest.approx(round(bars))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_echoing_line_begins_or_ends_as_an_earlier_one(language: str) -> None:
    """All lines but the first do where all are asked to; of lines written freely, not all do."""

    def echo(texts: list[list[str]], number: int) -> bool:
        line = texts[number]
        return any(line[0] == other[0] or line[-1] == other[-1] for other in texts[:number])

    for share in (0.0, 1.0):
        score = compose(9, 4, num_lines=8, echoes=share, language=language)
        numbers = range(len(score.lines))
        texts = [[word.text for word in score.words if word.line == line] for line in numbers]
        assert all(echo(texts, number) for number in numbers[1:]) == (share == 1.0)
