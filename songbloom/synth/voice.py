"""Singing: a speech program says a line's phones, WORLD moves them to the score's times and notes.

WORLD (pyworld): Morise, Yokomori, Ozawa, "WORLD: a vocoder-based high-quality speech synthesis
system", 2016.
"""

import importlib.util
from collections.abc import Iterable

import numpy as np
import soxr

from songbloom.errors import MissingAssetError
from songbloom.synth import espeak, festival, piper
from songbloom.synth.score import Line, Phone, Score
from songbloom.synth.spoken import Spoken
from songbloom.synth.syllables import BURSTS, UNVOICED, base, is_vowel
from songbloom.synth.voices import BY_NAME, DEFAULT_ENGINES, Voice
from songbloom.units import SAMPLE_RATE

FRAME_MS = 5.0
_FRAME = FRAME_MS / 1000.0
BURST = 0.045  # seconds at a stop's end that keep their length
VOICE_ONSET = 0.05  # seconds in which a vowel may still be the breath of the stop before it
MARGIN = 0.08  # seconds rendered before and after a line
_ENGINES = {"espeak": espeak, "festival": festival, "piper": piper}
_DIPHTHONGS = frozenset(("AW", "AY", "EY", "OW", "OY"))


def check_installed(engines: Iterable[str] = DEFAULT_ENGINES) -> None:
    """`MissingAssetError` unless the vocoder and the speech engines are there."""
    if importlib.util.find_spec("pyworld") is None:
        raise MissingAssetError(
            "singing needs the package pyworld", "Install it: pip install 'songbloom[synth]'"
        )
    for engine in engines:
        _ENGINES[engine].check_installed()


def sing(score: Score) -> np.ndarray:
    """The score's vocal line, float32 `[samples]` at 48 kHz, dry, lines at -20 dBFS.

    `MissingAssetError` when the speech program or the vocoder is not installed.
    """
    voice = BY_NAME[score.voice]
    check_installed([voice.engine])
    lines = [
        tuple(phone for phone in score.phones if score.words[phone.word].line == number)
        for number in range(len(score.lines))
    ]
    out = np.zeros(round(score.duration * SAMPLE_RATE), dtype=np.float64)
    for line, phones, source in zip(score.lines, lines, _say(score, lines), strict=True):
        wave = _sing_line(score, line, phones, voice, source)
        begin = round((line.start - MARGIN) * SAMPLE_RATE)
        wave = wave[max(0, -begin) :][: max(0, len(out) - max(0, begin))]
        out[max(0, begin) : max(0, begin) + len(wave)] += wave
    return out.astype(np.float32)


def _say(score: Score, lines: list[tuple[Phone, ...]]) -> list[Spoken]:
    """Every line as the score's voice speaks it."""
    voice = BY_NAME[score.voice]
    if voice.engine == "festival":
        return festival.say(voice, lines)
    if voice.engine == "piper":
        return piper.say(voice, lines)
    with espeak.Speaker() as speaker:
        if score.language == "zh":
            return [speaker.say_mandarin(voice, line.text) for line in score.lines]
        return [speaker.say(voice, phones) for phones in lines]


def _sing_line(
    score: Score, line: Line, phones: tuple[Phone, ...], voice: Voice, spoken: Spoken
) -> np.ndarray:
    import pyworld

    begin = line.start - MARGIN
    times = np.arange(begin, line.end + MARGIN, _FRAME)
    envelope, aperiodicity, periodic = _analyse(spoken, voice)
    source = _warp(times, phones, spoken.spans) / _FRAME
    voiced = _voiced(times, phones, periodic[np.minimum(source.astype(int), len(periodic) - 1)])
    f0 = np.where(voiced, 440.0 * 2 ** ((_pitch(score, times, phones) - 69.0) / 12.0), 0.0)
    frames = np.exp(_at(np.log(envelope + 1e-16), source))
    noise = np.where(voiced[:, None], _at(aperiodicity, source), 1.0)
    wave = pyworld.synthesize(f0, frames, np.ascontiguousarray(noise), spoken.sample_rate, FRAME_MS)
    wave = wave[: round(len(times) * _FRAME * spoken.sample_rate)]
    wave *= _fade(len(wave), round(0.03 * spoken.sample_rate))
    wave *= 0.1 / (np.sqrt(np.mean(wave**2)) + 1e-9)
    return soxr.resample(wave, spoken.sample_rate, SAMPLE_RATE, quality="HQ")


def _analyse(spoken: Spoken, voice: Voice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spectral envelope and aperiodicity `[frames, bins]`, and which frames are voiced."""
    import pyworld

    rate, samples = spoken.sample_rate, np.ascontiguousarray(spoken.samples)
    f0, times = pyworld.dio(samples, rate, f0_floor=60, f0_ceil=400, frame_period=FRAME_MS)
    f0 = pyworld.stonemask(samples, f0, times, rate)
    envelope = pyworld.cheaptrick(samples, f0, times, rate)
    aperiodicity = pyworld.d4c(samples, f0, times, rate)
    if voice.formant != 1.0:
        bins = np.arange(envelope.shape[1])
        lower = np.minimum(bins / voice.formant, bins[-1])
        envelope = np.exp(_at(np.log(envelope.T + 1e-16), lower).T)
        envelope = np.ascontiguousarray(envelope)
    return envelope, aperiodicity, f0 > 0


def _warp(
    times: np.ndarray, phones: tuple[Phone, ...], spans: tuple[tuple[float, float], ...]
) -> np.ndarray:
    """Where in the spoken line each sung time is heard, in seconds."""
    sung, said = [phones[0].start - MARGIN], [max(0.0, spans[0][0] - MARGIN)]
    for phone, (begin, end) in zip(phones, spans, strict=True):
        for share_sung, share_said in _knots(phone, end - begin):
            sung.append(phone.start + share_sung * (phone.end - phone.start))
            said.append(begin + share_said * (end - begin))
    sung.append(phones[-1].end + MARGIN)
    said.append(spans[-1][1] + MARGIN)
    return np.interp(times, np.maximum.accumulate(sung), np.maximum.accumulate(said))


def _knots(phone: Phone, said: float) -> list[tuple[float, float]]:
    """Shares of (sung, said) duration: vowels keep their edges and stretch in the middle."""
    length = phone.end - phone.start
    if base(phone.symbol) in BURSTS and said > length:  # the silence before it is what gives way
        kept = min(BURST, 0.6 * length)
        return [(0.0, 0.0), (1.0 - kept / length, 1.0 - kept / said), (0.999, 0.999)]
    if not is_vowel(phone.symbol) or length <= said or said < 0.06:
        return [(0.0, 0.0), (0.999, 0.999)]
    edge = min(0.045, 0.3 * said)
    first, last = edge, edge
    if base(phone.symbol) in _DIPHTHONGS:  # the first half is held, the glide comes late
        first, last = min(0.1, 0.4 * said), min(0.12, 0.45 * said)
    return [
        (0.0, 0.0),
        (first / length, first / said),
        (1.0 - last / length, 1.0 - last / said),
        (0.999, 0.999),
    ]


def _voiced(times: np.ndarray, phones: tuple[Phone, ...], periodic: np.ndarray) -> np.ndarray:
    """Which frames have a pitch: voiced phones, but for the breath at a vowel's start."""
    starts = np.array([phone.start for phone in phones])
    number = np.clip(np.searchsorted(starts, times, side="right") - 1, 0, len(phones) - 1)
    table = np.array([base(phone.symbol) not in UNVOICED for phone in phones])
    fresh = times - starts[number] < VOICE_ONSET
    return table[number] & (periodic | ~fresh)


def _pitch(score: Score, times: np.ndarray, phones: tuple[Phone, ...]) -> np.ndarray:
    """MIDI pitch at each time: the notes, joined by glides, with vibrato on long ones."""
    words = {phone.word for phone in phones}
    notes = [note for note in score.notes if note.word in words]
    starts = np.array([note.start for note in notes])
    midi = np.array([note.midi for note in notes], dtype=np.float64)
    # The glide is over when the vowel starts: look a little ahead.
    ahead = np.clip(np.searchsorted(starts, times + 0.045, side="right") - 1, 0, len(notes) - 1)
    kernel = np.hanning(21)  # 0.1 s
    steps = np.pad(midi[ahead], 10, mode="edge")
    pitch = np.convolve(steps, kernel / kernel.sum(), mode="valid")
    inside = times - starts[np.clip(np.searchsorted(starts, times, "right") - 1, 0, len(notes) - 1)]
    depth = 0.28 * np.clip((inside - 0.28) / 0.25, 0.0, 1.0)
    rate = 5.0 + (score.style % 97) / 97.0
    drift = 0.04 * np.sin(2 * np.pi * 0.7 * times + score.style % 7)
    return pitch + depth * np.sin(2 * np.pi * rate * inside) + drift


def _at(frames: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Rows of `frames` at fractional positions, interpolated."""
    position = np.clip(position, 0, len(frames) - 1)
    low = np.minimum(position.astype(int), len(frames) - 2)
    share = (position - low)[:, None]
    return frames[low] * (1.0 - share) + frames[low + 1] * share


def _fade(length: int, ramp: int) -> np.ndarray:
    fade = np.ones(length)
    fade[:ramp] = np.linspace(0.0, 1.0, ramp)
    fade[length - ramp :] = np.linspace(1.0, 0.0, ramp)
    return fade
