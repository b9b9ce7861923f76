"""PER: exactly the share of phones that is wrong, laid to the lines that are wrong."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from songbloom import audio
from songbloom.errors import SongBloomError, UsageError
from songbloom.evaluation import normaliser, per, vocals
from songbloom.evaluation.comparison import KINDS
from songbloom.evaluation.items import Item
from songbloom.evaluation.metric import Measured
from songbloom.lyrics import parse
from songbloom.stages.align_words import sung_lines
from songbloom.synth.render import render
from songbloom.synth.score import compose
from songbloom.units import SAMPLE_RATE

VERSES = (
    "The river runs below the hill\nAnd all the little birds are still",
    "A candle burns for you tonight\nThe morning brings another light",
    "We carry water, bread and wine\nThe road is yours, the road is mine",
)
CHORUS = "Sing it to me one more time\nEvery word and every rhyme"
PARTS = [("verse", VERSES[0]), ("chorus", CHORUS), ("verse", VERSES[1]), ("chorus", CHORUS)]
PARTS += [("verse", VERSES[2])]


def written(parts: list[tuple[str, str]]) -> str:
    """Lyrics of such parts, with an introduction."""
    return "[intro]\n\n" + "\n\n".join(f"[{tag}]\n{text}" for tag, text in parts)


def phones(text: str) -> list[str]:
    """All phones of lyrics."""
    lines = sung_lines(parse(normaliser.normalised(text)))
    return [phone for line in lines for word in line.words for phone in word.phones]


def oracle(folder: Path, lyrics: str, transcript: str, name: str = "song") -> Measured:
    """What the metric finds where it is told what is sung."""
    (folder / f"{name}.oracle.txt").write_text(transcript, encoding="utf-8")
    item = Item(name, folder / f"{name}.flac", lyrics=lyrics)
    return per.load({"backend": "oracle"}, folder).measure(item)


def value(*songs: Measured) -> float:
    return per.load({"backend": "oracle"}, Path()).combine(songs)


def edits(counts: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(counts[kind] for kind in KINDS)


@pytest.mark.parametrize("dropped", range(len(PARTS)))
def test_a_part_that_is_not_sung_costs_its_share(tmp_path: Path, dropped: int) -> None:
    """The rate is the part's share of the phones, to the last digit, and all of it is that part's.

    The last verse among them, which a scorer that cuts both texts to the shorter would give away,
    and a chorus that is sung once instead of twice.
    """
    left = PARTS[:dropped] + PARTS[dropped + 1 :]
    song = oracle(tmp_path, written(PARTS), written(left))
    missing, every = len(phones(PARTS[dropped][1])), len(phones(written(PARTS)))
    assert value(song) == 100 * missing / every
    assert edits(song.details["phones"]) == (0, missing, 0)
    wrong = [s["section"] for s in song.details["sections"] if any(edits(s["phones"]))]
    same = [1 + n for n, part in enumerate(PARTS) if part == PARTS[dropped]]
    assert len(wrong) == 1 and wrong[0] in same  # which of two choruses, nobody can tell


def test_what_is_sung_right_costs_nothing(tmp_path: Path) -> None:
    """Whatever the case, punctuation, line breaks, hyphens and digits of the transcript."""
    lyrics = "[verse]\nA well-known road: 24 miles, I'm coming home\n(ooh) Don’t wait {W EY1 T}\n"
    same = "a well known ROAD twenty-four miles i'm coming home ooh! don't\nwait {W EY1 T}"
    assert edits(oracle(tmp_path, lyrics, same).details["phones"]) == (0, 0, 0)
    assert value(oracle(tmp_path, lyrics, lyrics)) == 0.0


def test_what_is_sung_besides_counts(tmp_path: Path) -> None:
    """Words that nobody asked for are insertions of the line before them, above 100 % too."""
    first, second = CHORUS.splitlines()
    besides = "She came in through the garden door"
    song = oracle(tmp_path, "[verse]\n" + CHORUS, "\n".join([first, besides, second]))
    rows = [edits(line["phones"]) for line in song.details["lines"]]
    assert rows == [(0, 0, len(phones(besides))), (0, 0, 0)]
    assert value(oracle(tmp_path, "[verse]\nhello", "hello " * 4)) == 300.0
    assert value(oracle(tmp_path, "[verse]\nhello", "")) == 100.0


def test_lines_and_words_add_up(tmp_path: Path) -> None:
    """A wrong word is that word's; words make lines, lines sections, sections the song."""
    song = oracle(tmp_path, written(PARTS), written(PARTS).replace("candle", "handle"))
    details = song.details
    assert edits(details["phones"]) == (1, 0, 0)
    words = [word for line in details["lines"] for word in line["words"] if word[2]]
    assert words == [["candle", 6, 1]]
    line = next(line for line in details["lines"] if any(edits(line["phones"])))
    assert (line["text"], line["heard"]) == (
        "a candle burns for you tonight",
        "a handle burns for you tonight",
    )
    for rows in (details["lines"], details["sections"]):
        assert sum(row["phones"]["asked"] for row in rows) == song.weight
        assert sum(sum(edits(row["phones"])) for row in rows) == song.amount
    assert sum(word[1] for line in details["lines"] for word in line["words"]) == song.weight


def corrupted(text: str, generator: random.Random) -> str:
    """A transcript of somebody who mishears."""
    words = text.split()
    others = sum((verse.split() for verse in VERSES), [])
    heard = []
    for word in words:
        lot = generator.random()
        if lot > 0.15:
            heard.append(generator.choice(others) if lot < 0.35 else word)
        if lot > 0.9:
            heard.append(generator.choice(others))
    return " ".join(heard)


def test_agrees_with_jiwer(tmp_path: Path) -> None:
    """Phone and word error rates of songs and of all of them, on the same strings."""
    jiwer = pytest.importorskip("jiwer", reason="jiwer is not installed")
    generator = random.Random(7)
    texts = ["\n".join(text for _, text in PARTS[: n % 5 + 1]) for n in range(20)]
    heard = [corrupted(text, generator) for text in texts]
    songs = [
        oracle(tmp_path, "[verse]\n" + text, said) for text, said in zip(texts, heard, strict=True)
    ]
    strings = [[" ".join(phones(x)) for x in side] for side in (texts, heard)]
    for n, song in enumerate(songs):
        theirs = jiwer.process_words(strings[0][n], strings[1][n])
        assert value(song) == pytest.approx(100 * theirs.wer, abs=1e-9)
        assert song.weight == theirs.hits + theirs.substitutions + theirs.deletions
    assert value(*songs) == pytest.approx(100 * jiwer.wer(*strings), abs=1e-9)
    spelt = [[" ".join(map(normaliser.spelling, x.lower().split())) for x in side]
             for side in (texts, heard)]  # fmt: skip
    parts = per.load({"backend": "oracle"}, tmp_path).parts(songs)
    assert parts["word_error_rate"] == pytest.approx(100 * jiwer.wer(*spelt), abs=1e-3)
    assert parts["rate"] == pytest.approx(value(*songs), abs=1e-3)
    kinds = sum(parts[kind] for kind in KINDS)
    assert kinds == pytest.approx(parts["rate"], abs=1e-5)


def test_mandarin_is_compared_by_sound(tmp_path: Path) -> None:
    """Characters that sound alike, tone aside, are the same; a character is a word."""
    lyrics = "[verse]\n月亮代表我的心\n你问我爱你有多深\n"
    song = oracle(tmp_path, lyrics, "月亮代表我的新\n你问我爱你有多深")
    assert song.details["language"] == "zh"
    assert edits(song.details["phones"]) == (0, 0, 0)
    assert song.details["words"] == {
        "asked": 15, "substitutions": 1, "deletions": 0, "insertions": 0,
    }  # fmt: skip
    dropped = oracle(tmp_path, lyrics, "月亮代表我的心")
    assert dropped.amount == len(phones("你问我爱你有多深")) > 0


def test_what_cannot_be_measured_says_so(tmp_path: Path) -> None:
    """No lyrics, lyrics without words, no transcript: one line and what to do."""
    metric = per.load({"backend": "oracle"}, tmp_path)
    for lyrics, message in (
        (None, "no lyrics"),
        ("[intro]\n", "no words"),
        ("[verse]\nhi", "orac"),
    ):
        with pytest.raises(SongBloomError, match=message) as caught:
            metric.measure(Item("song", tmp_path / "song.flac", lyrics=lyrics))
        assert caught.value.hint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "wav2vec"}, "expected whisper-tiny.en, faster-whisper, whisperx, oracle"),
        ({"beam": "5"}, "beam: unknown"),
        ({"model": 3}, "expected text"),
        ({"model": "large-v3"}, "has none to choose"),
        ({"backend": "oracle", "separate_model": "htdemucs"}, "has none to choose"),
        ({"compute_type": "int4"}, "compute_type is 'int4'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    """Before anything is measured."""
    with pytest.raises(UsageError, match=message):
        per.load(settings, Path())


def test_a_transcript_is_not_what_it_says_of_the_sound() -> None:
    """Annotations of recognisers are no words."""
    said = normaliser.without_annotations("[Music] ♪ Hello *applause* (upbeat music) world ♪")
    assert said == "Hello world"


@pytest.fixture(scope="module")
def sung(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Two short songs, of the first all and the voice, and the voices of both; their lyrics."""
    scores = [compose(77, number, split="test") for number in (7, 4)]
    sounds = [render(score) for score in scores]
    folder = tmp_path_factory.mktemp("sung")
    audio.save(folder / "mix.flac", sounds[0].mix, SAMPLE_RATE)
    audio.save(folder / "cut.flac", sounds[0].vocals, SAMPLE_RATE)
    both = np.concatenate([sound.vocals for sound in sounds], axis=1)
    audio.save(folder / "whole.flac", both, SAMPLE_RATE)
    return folder, [score.lyrics for score in scores]


def test_with_the_embedded_recogniser(sung: tuple[Path, list[str]], tmp_path: Path) -> None:
    """It hears a synthesised song through the embedded separator."""
    pytest.importorskip("faster_whisper", reason="songbloom[eval] is not installed")
    folder, lyrics = sung
    item = Item("song", folder / "mix.flac", lyrics=lyrics[0])
    found = per.load({}, tmp_path).measure(item)
    assert 0 < per.load({}, tmp_path).combine([found]) < 50


def test_the_last_part_left_out_with_a_real_recogniser(
    sung: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """The rate rises by the part's share of the phones, less the errors that were in it.

    Or by a little less, where what was misheard before is like some of what is missing. What is
    heard of the first part does not depend on what follows, or on what was heard before.
    """
    pytest.importorskip("faster_whisper", reason="songbloom[eval] is not installed")
    folder, lyrics = sung
    metric = per.load({"separate_model": "none"}, tmp_path)
    whole, cut = (
        metric.measure(Item(name, folder / f"{name}.flac", lyrics="".join(lyrics)))
        for name in ("whole", "cut")
    )
    added = len(sung_lines(parse(lyrics[1])))
    mine = [line["phones"] for line in whole.details["lines"][-added:]]
    missing = sum(counts["asked"] for counts in mine)
    errors = sum(sum(edits(counts)) for counts in mine)
    assert missing / whole.weight > 0.3 and errors < 0.5 * missing
    assert whole.details["transcript"].startswith(cut.details["transcript"])
    rise = metric.combine([cut]) - metric.combine([whole])
    share = 100 * (missing - errors) / whole.weight
    assert share - 3 < rise <= share + 1e-9


def test_an_english_recogniser_does_not_score_mandarin(tmp_path: Path) -> None:
    """It says so, before it listens."""
    pytest.importorskip("faster_whisper", reason="songbloom[eval] is not installed")
    item = Item("song", tmp_path / "song.flac", lyrics="[verse]\n月亮代表我的心\n")
    with pytest.raises(SongBloomError, match=r"Mandarin.*whisper-tiny\.en") as caught:
        per.load({}, tmp_path).measure(item)
    assert "multilingual" in caught.value.hint


def test_the_voice_is_separated_once(sung: tuple[Path, list[str]], tmp_path: Path) -> None:
    """First and later calls give the same samples; a half-written file is made again."""
    path = tmp_path / "song.flac"
    samples, rate = soundfile.read(sung[0] / "mix.flac", frames=5 * SAMPLE_RATE)
    soundfile.write(path, samples, rate)
    first = vocals.separated(path, tmp_path, "seedling")
    assert first.shape == (5 * vocals.RATE,) and first.dtype == np.float32
    (kept,) = (tmp_path / "vocals").iterdir()
    made = kept.stat().st_mtime_ns
    assert np.array_equal(vocals.separated(path, tmp_path, "seedling"), first)
    assert kept.stat().st_mtime_ns == made
    kept.write_bytes(b"")
    assert np.array_equal(vocals.separated(path, tmp_path, "seedling"), first)
    mono = vocals.separated(path, tmp_path / "none", vocals.NONE)
    assert mono.shape == first.shape and not (tmp_path / "none").exists()
