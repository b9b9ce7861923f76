"""Laws of the sound: what is heard is what the score says, at its times, notes and levels."""

import subprocess
import sys

import numpy as np
import pytest

from songbloom.errors import SongBloomError
from songbloom.synth import arrangement, backing, espeak, instruments
from songbloom.synth.render import Rendering, render
from songbloom.synth.score import Phone, Score, compose, vowels
from songbloom.synth.voices import BY_NAME, Voice
from songbloom.units import SAMPLE_RATE

pyworld = pytest.importorskip("pyworld", reason="needs the extra songbloom[synth]")
pytest.importorskip("espeakng_loader", reason="needs the extra songbloom[synth]")

from songbloom.synth import voice as singing  # noqa: E402


@pytest.fixture(scope="module")
def score() -> Score:
    return compose(11, 2, num_lines=2, voice="ash")


@pytest.fixture(scope="module")
def dry(score: Score) -> np.ndarray:
    return singing.sing(score)


@pytest.fixture(scope="module")
def sound(score: Score) -> Rendering:
    return render(score)


def test_the_melody_sung_is_the_melody_written(score: Score, dry: np.ndarray) -> None:
    """In the middle of each long vowel, f0 is within half a semitone of its note."""
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


def test_it_sings_in_the_lines_and_is_quiet_between(score: Score, dry: np.ndarray) -> None:
    vowel_power, rest = [], np.ones(len(dry), dtype=bool)
    for vowel in vowels(score):
        span = slice(round(vowel.start * SAMPLE_RATE), round(vowel.end * SAMPLE_RATE))
        vowel_power.append(np.mean(dry[span] ** 2))
    for line in score.lines:
        begin, end = line.start - singing.MARGIN, line.end + singing.MARGIN
        rest[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE) + 1] = False
    assert np.min(vowel_power) > 1e-5
    assert np.mean(dry[rest] ** 2) < 1e-8


def test_hissing_consonants_are_noise_and_vowels_are_not(score: Score, dry: np.ndarray) -> None:
    """Zero crossings a second: high in S and SH, low in vowels."""

    def crossings(phone: Phone) -> float:
        part = dry[round(phone.start * SAMPLE_RATE) : round(phone.end * SAMPLE_RATE)]
        return np.mean(np.diff(np.signbit(part))) * SAMPLE_RATE

    hiss = [crossings(p) for p in score.phones if p.symbol in ("S", "SH")]
    open_vowels = [crossings(p) for p in vowels(score) if p.end - p.start > 0.15]
    assert hiss and min(hiss) > 7000 > 2 * np.median(open_vowels)


def test_the_mix_is_the_sum_of_its_stems_below_full_scale(sound: Rendering, score: Score) -> None:
    assert sound.mix.shape == (2, round(score.duration * SAMPLE_RATE))
    assert sound.mix.dtype == np.float32
    np.testing.assert_allclose(sound.vocals + sound.backing, sound.mix, atol=1e-6)
    assert np.abs(sound.mix).max() == pytest.approx(0.9, abs=1e-5)


def test_the_voice_is_4_to_8_db_above_the_band_while_it_sings(
    sound: Rendering, score: Score
) -> None:
    sung = np.zeros(sound.mix.shape[1], dtype=bool)
    for line in score.lines:
        sung[round(line.start * SAMPLE_RATE) : round(line.end * SAMPLE_RATE)] = True
    ratio = np.mean(sound.vocals[:, sung] ** 2) / np.mean(sound.backing[:, sung] ** 2)
    assert 3.9 < 10 * np.log10(ratio) < 8.1


def test_the_band_is_stereo_and_the_voice_is_in_the_middle(sound: Rendering) -> None:
    def side_share(stem: np.ndarray) -> float:
        return float(np.mean((stem[0] - stem[1]) ** 2) / np.mean((stem[0] + stem[1]) ** 2))

    assert side_share(sound.backing) > 0.005
    assert side_share(sound.vocals) < 0.1


def test_same_score_same_samples(sound: Rendering, score: Score) -> None:
    np.testing.assert_array_equal(render(score).mix, sound.mix)


def test_the_gpl_library_is_never_loaded_into_this_process(sound: Rendering) -> None:
    with open("/proc/self/maps") as maps:
        assert "espeak" not in maps.read()


def test_bars_keep_phones_apart_and_words_are_words() -> None:
    phones = tuple(
        Phone(symbol, 0.0, 0.1, 60, word)
        for symbol, word in (("F", 0), ("AY1", 0), ("ER0", 0), ("DH", 1), ("AH0", 1))
    )
    assert espeak.mnemonics(phones) == "[[f|'aI|3: D|@]]"


def test_every_phone_gets_a_span_in_order_even_when_one_is_swallowed(score: Score) -> None:
    line = tuple(p for p in score.phones if score.words[p.word].line == 0)
    with espeak.Speaker() as speaker:
        spoken = speaker.say(BY_NAME["ash"], line)
    assert len(spoken.spans) == len(line)
    assert all(begin < end for begin, end in spoken.spans)
    starts = [begin for begin, _ in spoken.spans]
    assert np.mean(np.diff(starts) > 0) > 0.95
    assert espeak._align(["k", "a", "t"], ["k", "a"]) == [0, 1]
    assert espeak._align(["aI", "3:"], ["a", "i", "3"]) == [0, 0, 1]


def test_a_voice_that_espeak_lacks_is_an_error_and_the_worker_lives_on(score: Score) -> None:
    line = tuple(p for p in score.phones if score.words[p.word].line == 0)
    with espeak.Speaker() as speaker:
        with pytest.raises(SongBloomError, match="no voice 'xx-nowhere'"):
            speaker.say(Voice("x", "xx-nowhere", 50, 60), line)
        assert len(speaker.say(BY_NAME["ash"], line).samples) > 10_000


def test_without_the_extra_the_error_names_it_and_the_debian_package() -> None:
    code = """
import sys
sys.modules["espeakng_loader"] = None
from songbloom.errors import MissingAssetError
from songbloom.synth.voice import check_installed
try:
    check_installed()
except MissingAssetError as error:
    print(error.message, error.hint)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "songbloom[synth]" in ran.stdout, ran.stderr
    assert "espeakng_loader" in ran.stdout and "Debian" in ran.stdout


@pytest.mark.parametrize("program", [0, 1, 4, 5, 16, 24, 25, 27, 32, 33, 35, 38, 48, 50, 89])
@pytest.mark.parametrize("midi", [40, 60, 76])
def test_instruments_play_in_tune(program: int, midi: int) -> None:
    """The strongest autocorrelation lag is a period of the note, within 6 cents."""
    tone = instruments.tone(program, midi)[4800 : 4800 + 24000].astype(np.float64)
    power = np.abs(np.fft.rfft(tone * np.hanning(len(tone)), 1 << 18)) ** 2
    correlation = np.fft.irfft(power)
    frequency = 440 * 2 ** ((midi - 69) / 12)
    near = SAMPLE_RATE / frequency * 2 ** (np.array([-60, 60]) / 1200)
    if 16 <= program < 24:  # the organ's lowest drawbar sounds an octave below
        near *= 2
    lags = np.arange(int(near[0]) - 1, int(near[1]) + 3)
    best = lags[np.argmax(correlation[lags])]
    a, b, c = correlation[best - 1 : best + 2]
    period = best + 0.5 * (a - c) / (a - 2 * b + c)
    expected = SAMPLE_RATE / frequency * (2 if 16 <= program < 24 else 1)
    assert abs(1200 * np.log2(period / expected)) < 6
    assert correlation[best] > 0.5 * correlation[0]


def test_the_band_plays_the_chords_written(score: Score) -> None:
    """Bass notes are roots or fifths; chord notes are the triad's; nothing sounds past the end."""
    for event in arrangement.arrange(score):
        chord = next(c for c in score.chords if c.start <= event.start + 1e-6 < c.end)
        tones = {
            "bass": {chord.root, (chord.root + 7) % 12},
            "comp": {(chord.root + step) % 12 for step in (0, 3, 4, 7)},
        }
        assert event.midi % 12 in tones.get(event.track, {event.midi % 12})
        assert 0 <= event.start < score.duration and 1 <= event.velocity <= 127
    assert np.isfinite(backing.play(score)).all()
