"""Words of lyrics with the times at which they are sung."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from songbloom import audio
from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.lyrics import arpabet, formats
from songbloom.lyrics.vocabulary import V1_VOCABULARY
from songbloom.manifest import Track
from songbloom.stages import align, align_pocketsphinx, align_whisperx
from songbloom.stages.align_words import Heard, SungLine, SungWord, main_language, sung_lines
from songbloom.stages.stage import Item, Process
from songbloom.synth import mandarin
from songbloom.synth.render import render
from songbloom.synth.score import Score, compose
from songbloom.tables import PrepareConfig
from songbloom.units import SAMPLE_RATE

SEED = 7707  # of no corpus
BACKENDS = ("seedling", "pocketsphinx")
# Median and 90th percentile in seconds. Where a vowel is held for long, pocketsphinx, made for
# speech, may lose its place until the line ends.
LIMITS = {"seedling": (0.05, 0.15), "pocketsphinx": (0.06, 2.5)}


@pytest.fixture(scope="module", params=["en", "zh"])
def song(request: pytest.FixtureRequest) -> tuple[Score, np.ndarray]:
    """A song of three lines and its vocals."""
    score = compose(SEED, 1, split="test", num_lines=3, language=request.param)
    return score, sing(score)


@pytest.fixture(scope="module")
def english() -> tuple[Score, np.ndarray]:
    """An English song of three lines and its vocals."""
    score = compose(SEED, 1, split="test", num_lines=3)
    return score, sing(score)


@pytest.fixture(scope="module")
def processes() -> dict[str, Process]:
    """The embedded backends in memory."""
    return {name: align.load(PrepareConfig(align_backend=name), "cpu") for name in BACKENDS}


def sing(score: Score) -> np.ndarray:
    """A score's vocals; skips where the voice is not installed."""
    try:
        return render(score).vocals
    except MissingAssetError as error:
        pytest.skip(str(error))


def run(
    process: Process, samples: np.ndarray, lyrics: str | None, folder: Path, **known: Any
) -> Mapping[str, Any]:
    """What the stage tells of vocals and lyrics."""
    audio.save(folder / "vocals.flac", samples, SAMPLE_RATE)
    track = Track("song", "song.flac", lyrics_text=lyrics, **known)
    return process(Item(track, folder / "song.flac", folders={"separate": folder}), folder)


def words(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [word for line in told["lines"] for word in line["words"]]


@pytest.mark.parametrize("name", BACKENDS)
def test_words_are_found_at_their_times(
    name: str, song: tuple[Score, np.ndarray], processes: dict[str, Process], tmp_path: Path
) -> None:
    """On a song whose truth is known, English and Mandarin: words, lines, sections, language."""
    score, samples = song
    told = run(processes[name], samples, score.lyrics, tmp_path)
    truth = [word.start for word in score.words]
    errors = [abs(w["start"] - t) for w, t in zip(words(told), truth, strict=True)]
    median, most = LIMITS[name]
    assert np.median(errors) < median
    assert np.quantile(errors, 0.9) < most
    assert told["language"] == score.language
    assert told["matched"] > 0.5
    assert [line["text"] for line in told["lines"]] == [line.text for line in score.lines]
    assert [s["tag"] for s in told["sections"]] == [s.tag for s in score.sections]
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize("name", BACKENDS)
def test_lyrics_of_another_song_match_less(
    name: str, english: tuple[Score, np.ndarray], processes: dict[str, Process], tmp_path: Path
) -> None:
    """Fewer words are heard of another song's lyrics, and less surely."""
    score, samples = english
    right = run(processes[name], samples, score.lyrics, tmp_path)
    wrong = run(processes[name], samples, compose(SEED, 2).lyrics, tmp_path)
    assert wrong["matched"] < 0.5 < right["matched"]
    sure, unsure = ([word["confidence"] for word in words(told)] for told in (right, wrong))
    assert np.mean(unsure) < np.mean(sure) - 0.15


def test_auto_takes_the_seedling_where_it_is_sure(
    english: tuple[Score, np.ndarray], processes: dict[str, Process], tmp_path: Path
) -> None:
    """Of a voice that it knows, auto tells what the seedling tells; of another, pocketsphinx."""
    score, samples = english
    auto = align.load(PrepareConfig(), "cpu")
    other = compose(SEED, 2).lyrics
    assert run(auto, samples, score.lyrics, tmp_path) == run(
        processes["seedling"], samples, score.lyrics, tmp_path
    )
    assert run(auto, samples, other, tmp_path) == run(
        processes["pocketsphinx"], samples, other, tmp_path
    )


@pytest.mark.parametrize("name", BACKENDS)
def test_a_break_and_a_line_that_is_not_sung(
    name: str, english: tuple[Score, np.ndarray], processes: dict[str, Process], tmp_path: Path
) -> None:
    """30 s of silence in the middle, and a line too many, move no word; that line has no time."""
    score, samples = english
    cut = round((score.lines[0].end + score.lines[1].start) / 2 * SAMPLE_RATE)
    silence = np.zeros((2, 30 * SAMPLE_RATE), np.float32)
    longer = np.concatenate([samples[:, :cut], silence, samples[:, cut:]], axis=1)
    texts = [line.text for line in score.lines]
    lyrics = "\n".join(["[verse]", texts[0], "Yellow submarines are never lonely", *texts[1:]])
    told = run(processes[name], longer, lyrics, tmp_path)
    starts = [line["start"] for line in told["lines"]]
    assert starts[1] is None
    moved = [line.start + 30 * (number > 0) for number, line in enumerate(score.lines)]
    assert np.allclose([starts[0], *starts[2:]], moved, atol=1.0)
    assert told["lines"][1]["confidence"] == 0


@pytest.mark.parametrize("name", BACKENDS)
def test_the_same_song_tells_the_same(
    name: str, english: tuple[Score, np.ndarray], processes: dict[str, Process], tmp_path: Path
) -> None:
    """What came before leaves no trace."""
    score, samples = english
    first = run(processes[name], samples, score.lyrics, tmp_path)
    run(processes[name], samples[:, ::-1].copy(), compose(SEED, 2).lyrics, tmp_path)
    assert run(processes[name], samples, score.lyrics, tmp_path) == first


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("lyrics", [None, "[intro]\n\n[inst]\n"])
def test_a_song_without_words(
    name: str, lyrics: str | None, processes: dict[str, Process], tmp_path: Path
) -> None:
    """No lyrics, or tags alone: no lines, and nothing is said of how they match."""
    samples = np.zeros((2, 2 * SAMPLE_RATE), np.float32)
    told = run(processes[name], samples, lyrics, tmp_path, language="en")
    assert (told["lines"], told["matched"], told["language"]) == ([], None, "en")
    assert told["recovered"] == [] and told["transcript"] == ""


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("samples", [1, 2000, SAMPLE_RATE])
def test_silence_matches_nothing(
    name: str, samples: int, processes: dict[str, Process], tmp_path: Path
) -> None:
    """Lyrics of a silent song, however short, are not heard."""
    told = run(processes[name], np.zeros((2, samples), np.float32), "love me do", tmp_path)
    assert told["matched"] == 0
    assert told["lines"][0]["confidence"] < align.HEARD


class Elsewhere:
    """An aligner that hears a whole song's line at 50 s unsurely, and a part's at its start."""

    def __call__(self, samples: np.ndarray, lines: list[SungLine]) -> list[Heard | None]:
        at, sure = (50.0, 0.2) if samples.shape[1] > 60 * SAMPLE_RATE else (0.5, 0.8)
        return [Heard(at, at + 1, sure) for line in lines for _ in line.words]


def test_a_line_is_looked_for_where_the_lyrics_say() -> None:
    """A line found far from the time that LRC gives it is found again near that time."""
    lyrics = formats.parse("[00:10.00]love me do\n[00:14.00]\n")
    samples = np.zeros((2, 70 * SAMPLE_RATE), np.float32)
    heard = align.locate(Elsewhere(), samples, sung_lines(lyrics))
    assert heard == [Heard(9.75, 10.75, 0.8)] * 3


def test_a_line_that_is_not_heard_keeps_the_time_of_the_lyrics() -> None:
    """LRC's times stand where nothing was heard, with confidence 0."""
    lyrics = formats.parse("[00:10.00]love me do\n[00:14.00]\n")
    lines = sung_lines(lyrics)
    told = align.fields(lyrics, align.Alignment(lines, [None] * 3), 20.0)
    line = told["lines"][0]
    assert (line["start"], line["end"], line["confidence"]) == (10.0, 14.0, 0.0)
    assert [word["start"] for word in line["words"]] == [None] * 3


def test_a_part_without_words_fills_the_gap() -> None:
    """An intro lasts to the first word; of two parts in one gap nothing is known."""
    text = "[intro]\n\n[verse]\na b\n\n[inst]\n\n[silence]\n\n[chorus]\nc\n\n[outro]\n"
    lyrics = formats.parse(text)
    lines = sung_lines(lyrics)
    heard = [Heard(2.0, 3.0, 1.0), Heard(3.0, 4.0, 1.0), Heard(8.0, 9.0, 1.0)]
    told = align.fields(lyrics, align.Alignment(lines, heard), 12.0)
    spans = [(section["start"], section["end"]) for section in told["sections"]]
    assert spans == [(0, 2), (2, 4), (None, None), (None, None), (8, 9), (9, 12)]


def test_words_of_many_languages() -> None:
    """Blanks part words, Chinese characters are words, what nobody can say is none."""
    lyrics = formats.parse("[verse]\nDon't go - 7 times ♪\n月亮 yeah\n{P IY1 S}, (ooh)\n")
    lines = sung_lines(lyrics)
    assert [[word.text for word in line.words] for line in lines] == [
        ["Don't", "go", "7", "times"],
        ["月", "亮", "yeah"],
        ["{P IY1 S}", "(ooh)"],
    ]
    assert lines[1].words[1].phones == ("L", "Y", "AA", "NG")
    assert lines[0].words[2].phones == ("S", "EH", "V", "AH", "N")
    assert main_language(lines) == "en"


def test_mandarin_has_the_phones_of_the_synthesised_singers() -> None:
    """The two tables of Mandarin phones, of aligning and of singing, are one."""
    text = "去年夏天月亮的歌声雨下约会爱儿子女圆思知吃诗日风中雄穷群君"
    line = sung_lines(formats.parse(f"[verse]\n{text}\n"), "zh")[0]
    sung = [(*onset, vowel.rstrip("01"), *coda) for onset, vowel, coda in mandarin.syllables(text)]
    assert [word.phones for word in line.words] == sung


def test_every_symbol_of_the_front_end_is_said_in_arpabet() -> None:
    """Only tags, marks and pauses are silent, and nothing is said but the 39 phones."""
    silent = [symbol for symbol in V1_VOCABULARY.symbols if not arpabet.phones(symbol)]
    marks = {*"!,-.?_…", "", "AA", "EE", "OO", "I", "U", "SP", "SP2", "SP3", "UNK", "cl"}
    assert {symbol for symbol in silent if symbol[:1] != "["} == marks
    said = {phone for symbol in V1_VOCABULARY.symbols for phone in arpabet.phones(symbol)}
    assert said == arpabet.PHONES
    assert len(said) == 39


def test_a_language_without_its_program_fails_one_song_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing program for Spanish is the song's error, not one that ends the run."""
    monkeypatch.setenv("PATH", "")
    lyrics = formats.parse("[verse]\nmi corazón palpita\n")
    with pytest.raises(SongBloomError) as caught:
        sung_lines(lyrics, "es")
    assert not isinstance(caught.value, MissingAssetError)


def test_which_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both embedded ones; the seedling alone without pocketsphinx; WhisperX where it is named."""
    both = align.backend(PrepareConfig())
    assert both.name == "seedling+pocketsphinx"
    assert both.hash != align.backend(PrepareConfig(align_backend="pocketsphinx")).hash
    monkeypatch.setattr(align_pocketsphinx, "version", _missing)
    assert align.backend(PrepareConfig()).name == "seedling"
    with pytest.raises(MissingAssetError, match="pocketsphinx"):
        align.backend(PrepareConfig(align_backend="pocketsphinx"))
    monkeypatch.setenv("SONGBLOOM_TOOLS_PYTHON", str(tmp_path / "python"))
    with pytest.raises(MissingAssetError, match="no such program"):
        align.backend(PrepareConfig(align_model=str(tmp_path)))


def _missing() -> str:
    raise MissingAssetError("pocketsphinx: not installed")


def test_lyrics_are_compared_with_the_transcript() -> None:
    """Words that the lyrics lack are recovered; lyrics of other songs match none."""
    heard = [Heard(float(n), n + 0.5, 0.9) for n in range(6)]
    said = [
        align_whisperx.Said(text, when)
        for text, when in zip(["Love,", "love", "me", "DO", "oh", "yeah"], heard, strict=True)
    ]
    line = sung_lines(formats.parse("[verse]\nlove me do baby\n"))
    found, lacking = align_whisperx.compare(line, said)
    assert found == [heard[0], heard[2], heard[3], None] or found == [*heard[1:4], None]
    assert len(lacking) == 1 or [word.text for word in lacking] == ["Love,"]
    assert align_whisperx.compare(sung_lines(formats.parse("[verse]\nx y z\n")), said) == (
        None,
        said,
    )
    assert align_whisperx.compare([], said) == (None, said)


def test_a_line_is_looked_for_between_its_neighbours() -> None:
    """WhisperX looks for a line around its words that were heard, not where others were."""
    words = tuple(SungWord(text, (), "en") for text in "ab")
    lines = [SungLine(0, "a b", words)] * 3
    found = [Heard(1, 2, 1), Heard(2, 3, 1), None, Heard(4, 5, 1), None, None]
    windows = list(align_whisperx._windows(lines, found, 60.0))
    assert windows == [(0.5, 3.5), (3.0, 6.0), None]
    assert list(align_whisperx._windows([replace(lines[0])], [None, None], 60.0)) == [None]


@pytest.mark.slow
def test_whisperx_for_real(tmp_path: Path) -> None:
    """WhisperX itself, in the tools environment, with models that two variables name: the lyrics
    keep their words, each with a time, and an unlike text gives way to the transcript."""
    model = os.environ.get("SONGBLOOM_TEST_WHISPER")
    ctc = os.environ.get("SONGBLOOM_TEST_CTC")
    if not (model and ctc and os.environ.get("SONGBLOOM_TOOLS_PYTHON")):
        pytest.skip("SONGBLOOM_TOOLS_PYTHON, SONGBLOOM_TEST_WHISPER, SONGBLOOM_TEST_CTC not set")
    speech = tmp_path / "speech.wav"
    text = "Once upon a time there was a little girl who lived in a village near the forest."
    subprocess.run(["espeak-ng", "-v", "en-us", "-w", str(speech), text], check=True)
    samples = audio.to_stereo(audio.load(speech, SAMPLE_RATE))
    settings = PrepareConfig(align_backend="whisperx", align_model=model, align_ctc_model=ctc)
    process = align.load(settings, "cpu")
    told = run(process, samples, f"[verse]\n{text}\n", tmp_path)
    assert told["language"] == "en"
    assert told["matched"] > 0.5
    assert len(words(told)) == 17
    assert told == run(process, samples, f"[verse]\n{text}\n", tmp_path)
    told = run(process, samples, "[verse]\nxylophones buzz\n", tmp_path)
    assert told["matched"] == 0
    assert told["lines"][0]["section"] == -1
