"""Laws of songs from scores: the melody, words and chords printed; only what may be used."""

import subprocess
import sys
from pathlib import Path

import pytest

from songbloom.errors import UsageError
from songbloom.lyrics import formats, release
from songbloom.synth import corpus, harmony
from songbloom.synth import music21_scores as scores
from songbloom.synth.score import Score, vowels
from songbloom.synth.voices import BY_NAME, ENGINES

pytest.importorskip("music21", reason="needs the extra songbloom[scores]")

SYMBOL_WORDS = {"I": "AY1", "a": "AH0", "by": "B AY1", "my": "M AY1"}
FIRST_LINE = "I dream of Jeannie with the light brown hair"
STARTS = (2, 4, 7, 8, 9, 10, 11, 12, 14, 15, 16)  # quarters
TONES = (74, 72, 69, 70, 69, 67, 65, 69, 60, 62, 65)
SONGS = [scores.compose(3, index) for index in range(40)]


def test_jeanie_is_the_melody_printed_in_f_major() -> None:
    passage = next(p for p in scores.passages() if p.lines[0][3].text == "Jeannie")
    assert [word.text for word in passage.lines[0]] == FIRST_LINE.split()
    tones = [tone for word in passage.lines[0] for group in word.tones for tone in group]
    assert [(tone.start, tone.midi) for tone in tones] == list(zip(STARTS, TONES, strict=True))
    assert passage.tonic == (5, "maj") and passage.meter == 4


def test_music21_reads_the_same_notes() -> None:
    """Its own reader, on the words of the first verse."""
    from music21 import corpus as library

    part = library.parse("johnson_j_r/lift_every_voice").parts[0].stripTies().flatten()
    theirs = [(float(note.offset) + 1.5, note.pitch.midi) for note in part.notes]
    ours = [
        (tone.start, tone.midi)
        for passage in scores.read("johnson_j_r/lift_every_voice")
        for line in passage.lines
        for word in line
        for group in word.tones
        for tone in group
    ]
    assert ours[: len(theirs)] == theirs  # which begins with half a bar


@pytest.mark.parametrize("name", [*scores.REFUSED, "bach/bwv66.6"])
def test_what_may_not_be_used_is_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        scores.read(name)


def test_same_seed_same_song_through_json_and_every_passage_comes() -> None:
    assert scores.compose(3, 5) == SONGS[5] == Score.from_json(SONGS[5].to_json())
    assert {song.split for song in SONGS} == {"scores"}
    assert len({song.lyrics for song in SONGS}) > len(scores.passages()) / 2
    sung = {BY_NAME[scores.compose(3, n, engines=ENGINES).voice].engine for n in range(40)}
    assert sung == set(ENGINES)


def test_the_released_front_end_says_what_is_sung() -> None:
    for song in SONGS:
        items = release.phonemes(formats.parse(song.lyrics).line).split(" ")
        heard = [SYMBOL_WORDS.get(item, item) for item in items if item and item[0] not in "[,."]
        assert " ".join(heard).split() == [phone.symbol for phone in song.phones]


def test_phones_follow_each_other_and_lines_part() -> None:
    for song in SONGS:
        for phone, following in zip(song.phones, song.phones[1:], strict=False):
            assert phone.start < phone.end <= following.start + 1e-9
        for line, following in zip(song.lines, song.lines[1:], strict=False):
            assert following.start - line.end > 0.1
        assert song.phones[0].start > 0 and song.phones[-1].end < song.duration


def test_notes_lie_in_the_voices_range_and_carry_the_vowels() -> None:
    for song in SONGS:
        voice = BY_NAME[song.voice]
        starts = {round(note.start, 6) for note in song.notes}
        assert all(voice.low <= note.midi <= voice.high for note in song.notes)
        assert all(note.start < note.end for note in song.notes)
        assert all(round(vowel.start, 6) in starts for vowel in vowels(song))


def test_the_harmony_fits_the_melody_and_tiles_the_song() -> None:
    """Most of the time a chord's tone is sung; bars, chords and sections end together."""
    inside = total = 0.0
    for song in SONGS:
        assert song.chords[0].start == 0 and song.chords[-1].end == pytest.approx(song.duration)
        assert song.sections[-1].end == pytest.approx(song.duration)
        downbeats = [beat.time for beat in song.beats if beat.position == 1]
        assert downbeats == pytest.approx([chord.start for chord in song.chords])
        for note in song.notes:
            chord = next(c for c in song.chords if c.start <= note.start + 1e-6 < c.end)
            tones = harmony.tones((chord.root, chord.quality))
            inside += (note.end - note.start) * (note.midi % 12 in tones)
            total += note.end - note.start
    assert inside / total > 0.65


def test_a_corpus_of_them_is_made_and_knows_its_own(tmp_path: Path) -> None:
    pytest.importorskip("pyworld", reason="needs the extra songbloom[synth]")
    pytest.importorskip("espeakng_loader", reason="needs the extra songbloom[synth]")
    shortest = min(range(40), key=lambda n: SONGS[n].duration)
    folder = corpus.song_folder(tmp_path, shortest)
    corpus.write_song(folder, SONGS[shortest])
    assert corpus.load_score(folder) == SONGS[shortest]
    with pytest.raises(UsageError, match="split scores"):
        corpus.make_corpus(tmp_path, seed=3, songs=1)
    with pytest.raises(UsageError, match="in English"):
        corpus.plan_corpus(tmp_path, seed=3, songs=1, split="scores", language="zh")


def test_without_the_extra_the_error_names_it() -> None:
    code = """
import sys
sys.modules["music21"] = None
from songbloom.errors import MissingAssetError
from songbloom.synth import music21_scores
try:
    music21_scores.compose(1, 0)
except MissingAssetError as error:
    print(error.message, error.hint)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "songbloom[scores]" in ran.stdout, ran.stderr
