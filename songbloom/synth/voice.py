"""Singing: espeak-ng says a line's phones, WORLD moves them to the score's times and notes.

WORLD (pyworld): Morise, Yokomori, Ozawa, "WORLD: a vocoder-based high-quality speech synthesis
system", 2016.
"""

import base64
import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.synth import mandarin
from songbloom.synth.score import Line, Phone, Score
from songbloom.synth.syllables import BURSTS, UNVOICED, base, is_vowel
from songbloom.synth.voices import BY_NAME, Voice
from songbloom.units import SAMPLE_RATE

FRAME_MS = 5.0
_FRAME = FRAME_MS / 1000.0
SPEAKING_RATE = 110  # words a minute: slow speech has long, clear vowels
BURST = 0.045  # seconds at a stop's end that keep their length
VOICE_ONSET = 0.05  # seconds in which a vowel may still be the breath of the stop before it
MARGIN = 0.08  # seconds rendered before and after a line
_MNEMONICS = {
    "AA": "A:", "AE": "a", "AH": "V", "AO": "O:", "AW": "aU", "AY": "aI", "B": "b", "CH": "tS",
    "D": "d", "DH": "D", "EH": "E", "ER": "3:", "EY": "eI", "F": "f", "G": "g", "HH": "h",
    "IH": "I", "IY": "i:", "JH": "dZ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "N",
    "OW": "oU", "OY": "OI", "P": "p", "R": "r", "S": "s", "SH": "S", "T": "t", "TH": "T",
    "UH": "U", "UW": "u:", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "Z",
}  # fmt: skip
_DIPHTHONGS = frozenset(("AW", "AY", "EY", "OW", "OY"))


@dataclass(frozen=True)
class Spoken:
    """A spoken line: float64 samples and each phone's `(start, end)` in seconds."""

    samples: np.ndarray
    sample_rate: int
    spans: tuple[tuple[float, float], ...]


class Speaker:
    """The espeak-ng worker process. Use as a context manager, or `close` it.

    espeak-ng's noise and flutter go on from what it said before, so every song has a new one.
    """

    def __init__(self) -> None:
        check_installed()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "songbloom.synth.espeak_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Speaker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def say(self, voice: Voice, phones: tuple[Phone, ...]) -> Spoken:
        """Speak `phones` on one pitch. `SongBloomError` when espeak-ng fails."""
        samples, rate, events = self._speak(voice, mnemonics(phones))
        return Spoken(samples, rate, _spans(phones, events, len(samples) / rate))

    def say_mandarin(self, voice: Voice, text: str) -> Spoken:
        """Speak a line of Chinese characters on one pitch. `SongBloomError` as `say`."""
        samples, rate, events = self._speak(voice, mandarin.pinyin(text))
        return Spoken(samples, rate, mandarin.spans(mandarin.syllables(text), events))

    def _speak(self, voice: Voice, text: str) -> tuple[np.ndarray, int, list[tuple[str, float]]]:
        """Samples, their rate, and when each phoneme begins, in seconds."""
        answer = self._ask(
            {
                "voice": voice.espeak,
                "text": text,
                "rate": SPEAKING_RATE,
                "pitch": 50,
                "range": 0,
            }
        )
        samples = np.frombuffer(base64.b64decode(answer["samples"]), dtype="<i2") / 32768.0
        rate = answer["sample_rate"]
        return samples, rate, [(name, sample / rate) for name, sample in answer["phonemes"]]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": "its process ended"}
        if "error" in answer:
            raise SongBloomError(f"espeak-ng: {answer['error']}", "Try again, or reinstall it.")
        return answer


def check_installed() -> None:
    """`MissingAssetError` unless the `synth` extra is there."""
    missing = [
        name for name in ("espeakng_loader", "pyworld") if importlib.util.find_spec(name) is None
    ]
    if missing:
        program = shutil.which("espeak-ng")
        also = f" (the program {program} alone cannot give phoneme times)" if program else ""
        raise MissingAssetError(
            f"singing needs the packages {' and '.join(missing)}{also}",
            "Install them: pip install 'songbloom[synth]'   (Debian's espeak-ng package carries "
            "the same speech program)",
        )


def mnemonics(phones: tuple[Phone, ...]) -> str:
    """espeak-ng phoneme input: `[[k|'i:|p|| D|@]]`, words apart, every phone set off by a bar."""
    words: list[str] = []
    previous = None
    for phone in phones:
        if phone.word != previous:
            words.append("")
            previous = phone.word
        words[-1] += ("|" if words[-1] else "") + _mnemonic(phone.symbol)
    return "[[" + " ".join(words) + "]]"


def sing(score: Score) -> np.ndarray:
    """The score's vocal line, float32 `[samples]` at 48 kHz, dry, lines at -20 dBFS.

    `MissingAssetError` when the speech program or the vocoder is not installed.
    """
    voice = BY_NAME[score.voice]
    lines = [
        tuple(phone for phone in score.phones if score.words[phone.word].line == number)
        for number in range(len(score.lines))
    ]
    with Speaker() as speaker:
        if score.language == "zh":
            spoken = [speaker.say_mandarin(voice, line.text) for line in score.lines]
        else:
            spoken = [speaker.say(voice, phones) for phones in lines]
    out = np.zeros(round(score.duration * SAMPLE_RATE), dtype=np.float64)
    for line, phones, source in zip(score.lines, lines, spoken, strict=True):
        wave = _sing_line(score, line, phones, voice, source)
        begin = round((line.start - MARGIN) * SAMPLE_RATE)
        wave = wave[max(0, -begin) :][: max(0, len(out) - max(0, begin))]
        out[max(0, begin) : max(0, begin) + len(wave)] += wave
    return out.astype(np.float32)


def _mnemonic(symbol: str) -> str:
    if symbol == "AH0":
        return "@"
    mark = {"1": "'", "2": ","}.get(symbol[-1], "")
    return mark + _MNEMONICS[base(symbol)]


def _spans(
    phones: tuple[Phone, ...], events: list[tuple[str, float]], duration: float
) -> tuple[tuple[float, float], ...]:
    """Match espeak-ng's phoneme events to the phones asked for (it adds pauses and glides)."""
    ends = [time for _, time in events[1:]] + [duration]
    spoken = [
        (name.strip("',"), time, end)
        for (name, time), end in zip(events, ends, strict=True)
        if not name.startswith("_") and name not in ("", ";")
    ]
    wanted = [_mnemonic(phone.symbol).strip("',") for phone in phones]
    owners = _align(wanted, [name for name, _, _ in spoken])
    spans: list[tuple[float, float]] = []
    for number in range(len(phones)):
        own = [spoken[i] for i, owner in enumerate(owners) if owner == number]
        if own:
            spans.append((own[0][1], own[-1][2]))
        else:  # swallowed: a sliver of what came before
            end = spans[-1][1] if spans else events[0][1]
            spans.append((max(0.0, end - 0.02), end))
    return tuple(spans)


def _align(wanted: list[str], heard: list[str]) -> list[int]:
    """For each heard phoneme the index of the wanted one it belongs to (edit distance)."""
    rows, columns = len(wanted) + 1, len(heard) + 1
    cost = np.zeros((rows, columns))
    cost[:, 0], cost[0, :] = np.arange(rows), np.arange(columns)
    for i in range(1, rows):
        for j in range(1, columns):
            cost[i, j] = min(
                cost[i - 1, j - 1] + _mismatch(wanted[i - 1], heard[j - 1]),
                cost[i - 1, j] + 1.0,
                cost[i, j - 1] + 0.8,
            )
    owners = [0] * len(heard)
    i, j = rows - 1, columns - 1
    while j > 0:
        matched = cost[i - 1, j - 1] + _mismatch(wanted[i - 1], heard[j - 1]) if i > 0 else np.inf
        if i > 0 and cost[i, j] == matched:
            i, j = i - 1, j - 1
            owners[j] = i
        elif cost[i, j] == cost[i, j - 1] + 0.8 or i == 0:
            j -= 1
            owners[j] = max(0, i - 1)
        else:
            i -= 1
    return owners


def _mismatch(wanted: str, heard: str) -> float:
    if wanted == heard:
        return 0.0
    if wanted[0] == heard[0]:
        return 0.2
    vowels = "aAeEiIoOuUV@03"
    return 0.7 if (wanted[0] in vowels) == (heard[0] in vowels) else 1.6


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
