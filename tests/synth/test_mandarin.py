"""Laws of Mandarin songs: said as the release reads them, in tune, in time; English untouched."""

import hashlib
import random
import time
from pathlib import Path

import numpy as np
import pytest

from songbloom.errors import UsageError
from songbloom.files import sha256
from songbloom.lyrics import formats, release
from songbloom.model.sketch_symbols import PHONES, score_to_tokens, split_code
from songbloom.synth import corpus, mandarin, mandarin_lyrics
from songbloom.synth.espeak import Speaker
from songbloom.synth.score import Score, compose, vowels
from songbloom.synth.syllables import base
from songbloom.synth.voice import sing
from songbloom.synth.voices import BY_LANGUAGE, BY_NAME, MANDARIN_TEST_VOICES, MANDARIN_VOICES
from songbloom.synth.words import held_out
from songbloom.units import FRAME_RATE, SAMPLE_RATE

SCORES = [compose(11, index, language="zh") for index in range(25)]
WORDS = sorted(
    {word for words in mandarin_lyrics.classes().values() for word in words}
    | mandarin_lyrics.closed_words()
)


def test_english_songs_are_what_they_were_before_there_were_mandarin_ones() -> None:
    digest = hashlib.sha256()
    for split in ("train", "test"):
        for index in range(12):
            digest.update(compose(11, index, split=split).to_json().encode())
    assert digest.hexdigest()[:16] == "950539c72f8a6036"


def test_same_seed_same_score_through_json_and_other_seeds_others() -> None:
    assert compose(11, 4, language="zh") == SCORES[4] == Score.from_json(SCORES[4].to_json())
    assert compose(12, 4, language="zh").lyrics != SCORES[4].lyrics != SCORES[5].lyrics
    assert {score.language for score in SCORES} == {"zh"}
    assert {score.voice for score in SCORES} == {voice.name for voice in BY_LANGUAGE["zh"]["train"]}


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_released_front_end_says_the_syllables_sung(split: str) -> None:
    """Its two symbols a character, by the table to phones, are the phones of the score."""
    for index in range(25):
        score = compose(11, index, split=split, language="zh")
        items = release.phonemes(formats.parse(score.lyrics).line).split(" ")
        heard = [item for item in items if item and item[0] not in "[,."]
        pairs = zip(heard[::2], heard[1::2], strict=True)
        said = [mandarin._syllable(initial, final) for initial, final in pairs]
        sung = [phone.symbol for phone in score.phones]
        assert [p for onset, vowel, coda in said for p in (*onset, vowel, *coda)] == sung
        assert len(said) == len(score.words) == len(vowels(score))


def test_a_word_is_a_character_with_its_own_time() -> None:
    for score in SCORES:
        for number, line in enumerate(score.lines):
            words = [word for word in score.words if word.line == number]
            assert line.text == "".join(word.text for word in words)
            assert 5 <= len(words) <= 10
            assert words[0].start == line.start and words[-1].end == line.end
        for number, word in enumerate(score.words):
            own = [phone for phone in score.phones if phone.word == number]
            assert (word.start, word.end) == (own[0].start, own[-1].end)
            assert len(word.text) == 1 and "\u4e00" <= word.text <= "\u9fa5"


def test_lyrics_come_back_as_the_sections_and_lines_written() -> None:
    for score in SCORES:
        lyrics = formats.parse(score.lyrics)
        assert [section.tag for section in lyrics.sections] == [s.tag for s in score.sections]
        lines = [line.text for section in lyrics.sections for line in section.lines]
        assert lines == [line.text for line in score.lines]
        assert not lyrics.warnings


def test_sketch_tokens_sing_the_vowel_written_in_the_middle_of_each_long_one() -> None:
    for score in SCORES[:8]:
        phones, _ = split_code(score_to_tokens(score))
        for vowel in vowels(score):
            if vowel.end - vowel.start > 0.1:
                frame = int((vowel.start + vowel.end) / 2 * FRAME_RATE)
                assert PHONES[phones[frame]] == base(vowel.symbol)


@pytest.mark.parametrize(
    ("text", "phones", "spelling"),
    [
        ("月亮", "Y W EH1 L Y AA0 NG", "yue4 liang5"),
        ("女儿", "N Y UW1 ER1", "nv3 er2"),
        ("去远方", "CH Y UW1 Y W EH1 N F AA1 NG", "qu4 yuan3 fang1"),
        ("四十", "S IH1 SH IH1", "si4 shi2"),
        ("爱你", "AY1 N IY1", "ai4 ni3"),
        ("春水", "CH W AH1 N SH W EY1", "chun1 shui3"),
        ("早操", "D Z AW1 T S AW1", "zao3 cao1"),
        ("我有烟", "W AO1 Y OW1 Y EH1 N", "wo2 you3 yan1"),
    ],
)
def test_phones_and_pinyin_of_syllables(text: str, phones: str, spelling: str) -> None:
    said = mandarin.syllables(text)
    assert " ".join(p for onset, vowel, coda in said for p in (*onset, vowel, *coda)) == phones
    assert mandarin.pinyin(text) == spelling


def test_words_have_a_reading_for_each_character_that_espeak_can_say() -> None:
    """It reads jiong, qiong and xiong as English."""
    for word in WORDS:
        assert len(mandarin.syllables(word)) == len(word)
        assert "iong" not in mandarin.pinyin(word), word


def test_a_character_without_a_reading_is_an_error() -> None:
    with pytest.raises(ValueError, match="no reading"):
        mandarin.syllables("你A")


def test_training_never_sings_held_out_words_or_the_test_voice() -> None:
    allowed = {w for w in WORDS if not held_out(w)} | mandarin_lyrics.closed_words()
    for seed in range(300):
        assert set(mandarin_lyrics.write_line(random.Random(seed))) <= allowed
    tests = [compose(5, index, split="test", language="zh") for index in range(10)]
    assert {score.voice for score in tests} == {voice.name for voice in MANDARIN_TEST_VOICES}
    assert not {score.voice for score in tests} & {score.voice for score in SCORES}


def test_a_language_or_another_languages_voice_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="'fr' is not one of en, zh"):
        compose(1, 0, language="fr")
    with pytest.raises(UsageError, match="'ash'"):
        compose(1, 0, language="zh", voice="ash")
    with pytest.raises(UsageError, match="'lan'"):
        compose(1, 0, voice="lan")


def test_a_mixed_corpus_takes_turns_and_its_folder_refuses_another_language(tmp_path: Path) -> None:
    """One song in four is Mandarin, the seed says which; two songs that differ tell a mixed corpus
    from one of a single language."""
    for seed, first in ((4, ["en", "en", "en", "zh"]), (3, ["zh", "en", "en", "en"])):
        drawn = [corpus.song_language("mixed", seed, index) for index in range(8)]
        assert drawn == first * 2
    for index in range(2):
        folder = corpus.song_folder(tmp_path, index)
        folder.mkdir()
        score = compose(3, index, language=corpus.song_language("mixed", 3, index))
        (folder / "truth.json").write_text(corpus.truth(score))
    pytest.importorskip("pyworld", reason="needs the extra songbloom[synth]")
    pytest.importorskip("espeakng_loader", reason="needs the extra songbloom[synth]")
    assert corpus.make_corpus(tmp_path, seed=3, songs=2, language="mixed").kept == 2
    for language in ("en", "zh"):
        with pytest.raises(UsageError, match=f"language {language}"):
            corpus.make_corpus(tmp_path, seed=3, songs=2, language=language)


class TestSound:
    """What is heard, where the speech program and the vocoder are installed."""

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        for name in ("pyworld", "espeakng_loader"):
            pytest.importorskip(name, reason="needs the extra songbloom[synth]")

    @pytest.mark.parametrize("voice", ["song", "lan"])
    def test_the_melody_and_the_times_sung_are_those_written(self, voice: str) -> None:
        """f0 in the middle of long notes is their note; there is sound in lines, none between."""

        import pyworld  # of the extra

        score = compose(11, 2, num_lines=2, voice=voice, language="zh")
        dry = sing(score)
        half = np.ascontiguousarray(dry[::2], dtype=np.float64)
        f0, times = pyworld.dio(half, SAMPLE_RATE // 2, f0_floor=60, f0_ceil=800)
        errors = []
        for note in score.notes:
            inside = (times > note.start + 0.08) & (times < note.end - 0.2) & (f0 > 0)
            if inside.sum() > 5:
                sung = 12 * np.log2(np.median(f0[inside]) / 440) + 69
                errors.append(abs(sung - note.midi))
        assert len(errors) > 5
        assert np.median(errors) < 0.1 and np.mean(np.array(errors) < 0.5) > 0.9
        quiet = np.ones(len(dry), dtype=bool)
        for line in score.lines:
            begin, end = round((line.start - 0.1) * 48000), round((line.end + 0.1) * 48000)
            quiet[begin:end] = False
        assert np.abs(dry[quiet]).max() < 1e-6

    def test_a_hiss_is_heard_where_s_and_sh_are_written(self) -> None:

        score = compose(11, 1, num_lines=3, voice="song", language="zh")
        dry = sing(score)

        def crossings(start: float, end: float) -> float:
            part = dry[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
            return float(np.mean(np.diff(np.signbit(part))) * SAMPLE_RATE)

        hiss = [crossings(p.start, p.end) for p in score.phones if p.symbol in ("S", "SH")]
        tones = [crossings(p.start, p.end) for p in vowels(score) if p.end - p.start > 0.15]
        assert hiss and np.median(hiss) > 5000 > 2 * np.median(tones)

    def test_espeak_says_every_syllable_of_the_lists_once_and_in_order(self) -> None:

        kinds: dict[str, str] = {}
        for word in WORDS:
            for syllable in mandarin.pinyin(word).split():
                kinds.setdefault(syllable.rstrip("12345"), word)
        words = sorted(set(kinds.values()))
        with Speaker() as speaker:
            for begin in range(0, len(words), 12):
                text = "".join(words[begin : begin + 12])
                spoken = speaker.say_mandarin(MANDARIN_VOICES[0], text)
                sung = mandarin.syllables(text)
                assert len(spoken.spans) == sum(len(o) + 1 + len(c) for o, _, c in sung)
                for (start, end), (following, _) in zip(
                    spoken.spans, spoken.spans[1:], strict=False
                ):
                    assert start < end <= following + 1e-9, text

    def test_breathy_voices_say_the_same_bytes_again(self) -> None:
        """espeak-ng seeds their breath with the clock's seconds unless it is told a seed."""

        heard = []
        for _ in range(2):
            with Speaker() as speaker:
                heard.append(speaker.say_mandarin(BY_NAME["mei"], "月亮").samples)
            time.sleep(1.0)
        np.testing.assert_array_equal(*heard)

    def test_a_song_is_the_same_bytes_again(self, tmp_path: Path) -> None:
        score = compose(5, 0, language="zh", num_lines=1, voice="mei")
        for name in ("a", "b"):
            corpus.write_song(tmp_path / name, score)
        first, second = (
            [sha256(path) for path in sorted((tmp_path / name).iterdir())] for name in ("a", "b")
        )
        assert len(first) == 5 and first == second
        assert (tmp_path / "a" / "lyrics.txt").read_text(encoding="utf-8") == score.lyrics
        assert corpus.load_score(tmp_path / "a") == score
