"""Speech by espeak-ng, in its own process: phones in, samples and phoneme times out."""

import base64
import importlib.util
import json
import shutil
import subprocess
import sys
from typing import Any

import numpy as np

from songbloom.errors import MissingAssetError, SongBloomError
from songbloom.synth import mandarin
from songbloom.synth.score import Phone
from songbloom.synth.spoken import Spoken
from songbloom.synth.syllables import base
from songbloom.synth.voices import Voice

SPEAKING_RATE = 110  # words a minute: slow speech has long, clear vowels
_MNEMONICS = {
    "AA": "A:", "AE": "a", "AH": "V", "AO": "O:", "AW": "aU", "AY": "aI", "B": "b", "CH": "tS",
    "D": "d", "DH": "D", "EH": "E", "ER": "3:", "EY": "eI", "F": "f", "G": "g", "HH": "h",
    "IH": "I", "IY": "i:", "JH": "dZ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "N",
    "OW": "oU", "OY": "OI", "P": "p", "R": "r", "S": "s", "SH": "S", "T": "t", "TH": "T",
    "UH": "U", "UW": "u:", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "Z",
}  # fmt: skip


def check_installed() -> None:
    """`MissingAssetError` unless espeak-ng is there as the package that has its library."""
    if importlib.util.find_spec("espeakng_loader") is None:
        program = shutil.which("espeak-ng")
        also = f" (the program {program} alone cannot give phoneme times)" if program else ""
        raise MissingAssetError(
            f"the espeak voices need the package espeakng_loader{also}",
            "Install it: pip install 'songbloom[synth]'   (Debian's espeak-ng package carries "
            "the same speech program)",
        )


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
                "voice": voice.source,
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
